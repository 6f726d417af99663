//! What holds in the end, and where each value came from: `tarsier check --effective`.

use std::fmt::Write;

use super::settings::Settings;
use super::table::{CAMERA, GLOBAL, Key, Preset};

/// All settings as YAML, each with its place in a comment.
pub(super) fn print(title: &str, table: &'static [Key], settings: &Settings, out: &mut String) {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut open = "";
    for key in table {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if section != open {
            lines.push((format!("{section}:"), String::new()));
            open = section;
        }
        let (value, place) = match (settings.get(key.path), key.preset) {
            (Some(setting), _) if setting.value.is_sequence() => (setting.shown.clone(), setting.at.to_string()),
            (Some(setting), _) => (scalar(&setting.shown), setting.at.to_string()),
            (None, Preset::Is(text) | Preset::OrNone(text)) => (scalar(text), "default".to_owned()),
            (None, Preset::Nothing | Preset::Required) => ("null".to_owned(), "default".to_owned()),
        };
        let indent = if section.is_empty() { "" } else { "  " };
        lines.push((format!("{indent}{name}: {value}"), place));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    // Writing into a String can't fail.
    let _ = writeln!(out, "--- # {title}");
    for (line, place) in lines {
        let _ = match place.as_str() {
            "" => writeln!(out, "{line}"),
            _ => writeln!(out, "{line:width$}  # {place}"),
        };
    }
}

pub(super) fn print_global(settings: &Settings, out: &mut String) {
    print("tarsier.yaml", GLOBAL, settings, out);
}

pub(super) fn print_camera(name: &str, settings: &Settings, out: &mut String) {
    print(&format!("camera {name}"), CAMERA, settings, out);
}

/// A text as YAML writes it: quoted where it would be read as something else.
fn scalar(text: &str) -> String {
    let plain_flag =
        matches!(text, "true" | "false" | "null") || text.bytes().all(|b| b.is_ascii_digit()) && text.len() < 10;
    if plain_flag {
        return text.to_owned();
    }
    match serde_yaml::to_string(text) {
        Ok(yaml) if yaml.trim_end().lines().count() == 1 => yaml.trim_end().to_owned(),
        _ => format!("{text:?}"),
    }
}
