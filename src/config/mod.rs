//! YAML to typed configuration, with file, line and column of every fault.
//!
//! The way of a value: `text` reads a file, `tree` parses it into values that know their place (`${NAME}` filled
//! in by `expand`), `settings` checks each against the `table` of keys and merges key by key, `camera` and
//! `global` make the structures of [`crate::domain::config`] of them. `scan` finds the cameras' files,
//! `effective` prints what holds and why. `confirm` tries the
//! models that a camera names. `edit` changes a key in a file's text and nothing beside it, `veil` hides its
//! passwords, `store` puts it into its place. `labels` reads what people said of their videos, `tunable` tells a
//! form of the keys of detection.
//!
//! All faults of all files are collected; none of them holds a password. What a changed configuration means for
//! a running camera does not belong here.

mod camera;
mod confirm;
pub mod edit;
mod effective;
mod expand;
mod global;
mod labels;
mod places;
mod problem;
mod scan;
mod settings;
pub mod store;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod tree;
pub mod tunable;
mod units;
pub mod veil;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use confirm::Models;
pub use labels::read as read_labels;
pub use problem::Problem;
pub use scan::is_camera_name;

use self::expand::{Environment, expand};
use self::problem::Mark;
use self::settings::Settings;
use self::table::{CAMERA, GLOBAL};
use self::tree::{Content, Node, Scalar};
use crate::domain::config::{CameraConfig, GlobalConfig};

/// Most faults that are told of one file.
const MOST_PROBLEMS: usize = 50;

/// `tarsier.yaml` with `tarsier.local.yaml` over it.
#[derive(Clone)]
pub struct Loaded {
    pub global: GlobalConfig,
    settings: Settings,
    /// Merged under every camera; may hold a password.
    defaults: Settings,
    /// The folder of `tarsier.yaml`: what relative paths are relative to.
    folder: PathBuf,
    environment: Arc<Environment>,
    models: Models,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("global", &self.global).finish_non_exhaustive()
    }
}

/// What one look at the cameras' folder found.
#[derive(Debug)]
pub struct Scan {
    /// By name; a file that can't be used with all that is wrong with it.
    pub cameras: BTreeMap<String, Result<CameraConfig, Vec<Problem>>>,
    /// Of files that can be no camera's, and of the folder itself.
    pub problems: Vec<Problem>,
    /// False: the folder could not be listed, so that nothing is known of any camera, and none is gone.
    pub listed: bool,
}

impl Scan {
    /// Every fault, in order of the files.
    pub fn all_problems(&self) -> Vec<Problem> {
        let of_cameras = self.cameras.values().filter_map(|camera| camera.as_ref().err()).flatten();
        let mut all: Vec<Problem> = self.problems.iter().chain(of_cameras).cloned().collect();
        all.sort();
        all
    }
}

impl Loaded {
    /// The same, for looks at cameras' files that do so about the models that they name.
    pub fn with(&self, models: Models) -> Loaded {
        Loaded { models, ..self.clone() }
    }

    /// A fault of a key of `tarsier.yaml`, at its place: what the values alone do not show.
    pub fn problem(&self, key: &str, what: impl Into<String>, hint: impl Into<Option<String>>) -> Problem {
        let place = self.settings.get(key).map(|setting| setting.at.clone());
        place.unwrap_or_else(|| Mark::option(key)).problem(what, hint)
    }
}

/// Reads `tarsier.yaml` (missing or empty: defaults) and `tarsier.local.yaml` beside it.
pub fn load_global(path: &Path) -> Result<Loaded, Vec<Problem>> {
    match load_what_can_be(path) {
        (loaded, problems) if problems.is_empty() => Ok(loaded),
        (_, problems) => Err(problems),
    }
}

/// As [`load_global`], with the default in place of each value that is wrong: for looking at the cameras' files
/// even so.
pub fn load_what_can_be(path: &Path) -> (Loaded, Vec<Problem>) {
    load_with(path, Arc::new(|name: &str| std::env::var_os(name)))
}

fn load_with(path: &Path, environment: Arc<Environment>) -> (Loaded, Vec<Problem>) {
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut problems = Vec::new();
    let mut settings = Settings::default();
    let mut defaults = Settings::default();
    for file in [path.to_path_buf(), local_of(path)] {
        let (more, more_defaults) = read_global(&file, &*environment, &mut problems);
        settings = settings.merged_under(more);
        defaults = camera::merge(defaults, more_defaults);
    }
    let top = Mark::top(path);
    let global = global::build(&settings, &top, &folder).unwrap_or_else(|problem| {
        problems.push(problem);
        global::build(&Settings::default(), &top, &folder).expect("the table's presets are possible: tests load them")
    });
    (Loaded { global, settings, defaults, folder, environment, models: Models::default() }, problems)
}

/// `tarsier.local.yaml` beside `tarsier.yaml`.
fn local_of(path: &Path) -> PathBuf {
    let extension = path.extension().unwrap_or("yaml".as_ref()).to_string_lossy().into_owned();
    path.with_extension(format!("local.{extension}"))
}

/// The settings of one global file and of its `defaults`.
fn read_global(file: &Path, environment: &Environment, problems: &mut Vec<Problem>) -> (Settings, Settings) {
    let nothing = (Settings::default(), Settings::default());
    let text = match text::read(file) {
        Ok(Some(text)) => text,
        Ok(None) => return nothing,
        Err(problem) => {
            problems.push(problem);
            return nothing;
        }
    };
    let (tree, mut found) = tree::parse(file, &text, environment);
    let Some(mut tree) = tree else {
        problems.append(&mut found);
        return nothing;
    };
    let mut defaults = Settings::default();
    if let Content::Map(entries) = &mut tree.content
        && let Some(at) = entries.iter().position(|entry| entry.key == "defaults")
    {
        let section = entries.remove(at).value;
        match section.content {
            Content::Map(_) | Content::Null => defaults = Settings::read(CAMERA, &section, &mut found),
            _ => found.push(section.at.problem(
                "`defaults` is a section, not a value",
                "it holds keys of cameras, such as `record`".to_owned(),
            )),
        }
    }
    let settings = Settings::read(GLOBAL, &tree, &mut found);
    in_order(&mut found);
    problems.append(&mut found);
    (settings, defaults)
}

/// Sorts the faults of one file by their places. A file of something else altogether doesn't flood the log.
fn in_order(problems: &mut Vec<Problem>) {
    problems.sort_by_key(|problem| (problem.line, problem.column));
    if let Some(at) = problems.get(MOST_PROBLEMS).cloned() {
        let what = format!("{} more faults in this file", problems.len() - MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        problems.push(Problem { what, hint: Some("mend those above first".to_owned()), ..at });
    }
}

/// One look at the cameras' folder, by content.
pub fn scan_cameras(loaded: &Loaded) -> Scan {
    let found = scan::scan(loaded);
    let cameras = found.cameras.into_iter().map(|(name, result)| (name, result.map(|(camera, _)| camera))).collect();
    Scan { cameras, problems: found.problems, listed: found.listed }
}

/// What holds for `tarsier.yaml` and every camera without a fault, as YAML with the place of each value beside
/// it, and the faults of the others. No secrets.
pub fn effective(loaded: &Loaded) -> (String, Scan) {
    let found = scan::scan(loaded);
    let mut out = String::new();
    effective::print_global(&loaded.settings, &mut out);
    let mut cameras = BTreeMap::new();
    for (name, result) in found.cameras {
        if let Ok((_, settings)) = &result {
            effective::print_camera(&name, settings, &mut out);
        }
        cameras.insert(name, result.map(|(camera, _)| camera));
    }
    (out, Scan { cameras, problems: found.problems, listed: found.listed })
}

/// A camera of the command line: its source, and settings as `KEY=VALUE` over the `defaults` of `tarsier.yaml`.
/// `${NAME}` is filled in both; relative paths are relative to the working folder.
pub fn camera_from_source(source: &str, sets: &[String], loaded: &Loaded) -> Result<CameraConfig, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut own = Settings::default();
    put_text(&mut own, "source", source, &Mark::option("SOURCE"), loaded, &mut problems);
    put_sets(&mut own, sets, loaded, &mut problems);
    let settings = camera::merge(loaded.defaults.clone(), own);
    let camera =
        camera::build("camera", &settings, &Mark::option("SOURCE"), Path::new(""), loaded.models, &mut problems);
    match camera {
        Some(camera) if problems.is_empty() => Ok(camera),
        _ => Err(problems),
    }
}

/// A duration as the files have it, for the command line.
pub fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<units::Span>() {
        Ok(span) => Ok(span.0),
        Err(hint) => Err(hint.unwrap_or_else(|| "write for example `90s`, `10min` or `1h30min`".to_owned())),
    }
}

/// The camera of one file, wherever that is, with settings as `KEY=VALUE` over it. With `source`, what it says holds
/// for that source, for detection too.
pub fn camera_from_file(
    path: &Path,
    source: Option<&str>,
    sets: &[String],
    loaded: &Loaded,
) -> Result<CameraConfig, Vec<Problem>> {
    let Some((mut own, mut problems)) = scan::read_own(path, loaded)? else {
        let hint = "give the file of a camera, such as `config.d/front-door.yaml`".to_owned();
        return Err(vec![Mark::top(path).problem("there is no such file", hint)]);
    };
    put_sets(&mut own, sets, loaded, &mut problems);
    let settings = camera::merge(loaded.defaults.clone(), own);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let camera = camera::build(&name, &settings, &Mark::top(path), &loaded.folder, loaded.models, &mut problems);
    in_order(&mut problems);
    match (camera, source) {
        (Some(camera), None) if problems.is_empty() => Ok(camera),
        // The file's credentials are for the file's camera.
        (Some(camera), Some(source)) if problems.is_empty() => {
            let other = camera_from_source(source, &[], loaded)?;
            Ok(CameraConfig { source: other.source, detect_source: None, ..camera })
        }
        _ => Err(problems),
    }
}

/// Why a key of `tarsier.yaml` or of a camera would not take a value, or None where it would. `text` is meant as it
/// is: nothing in it is a variable.
pub fn refusal(path: &str, text: &str) -> Option<String> {
    let Some(key) = GLOBAL.iter().chain(CAMERA).find(|key| key.path == path) else {
        return Some(format!("`{path}` is not available yet"));
    };
    let content = Content::Scalar(Scalar { text: text.to_owned(), written: text.to_owned() });
    let mut problems = Vec::new();
    Settings::default().put(key, &Node::without_text(Mark::option(path), content), &mut problems);
    problems.pop().map(|problem| match problem.hint {
        Some(hint) => format!("{} ({hint})", problem.what),
        None => problem.what,
    })
}

/// The rows of `docs/configuration.md`: one a key, first those of `tarsier.yaml`, then those of a camera.
pub fn reference() -> Vec<String> {
    GLOBAL.iter().chain(CAMERA).map(table::reference_row).collect()
}

fn put_sets(settings: &mut Settings, sets: &[String], loaded: &Loaded, problems: &mut Vec<Problem>) {
    for set in sets {
        let Some((name, value)) = set.split_once('=') else {
            let hint = "write for example `--set detect.threshold=15`".to_owned();
            problems.push(Mark::option("--set").problem("KEY=VALUE without a `=`", hint));
            continue;
        };
        put_text(settings, name.trim(), value, &Mark::option("--set"), loaded, problems);
    }
}

fn put_text(settings: &mut Settings, name: &str, text: &str, at: &Mark, loaded: &Loaded, problems: &mut Vec<Problem>) {
    let Some(key) = CAMERA.iter().find(|key| key.path == name) else {
        let (section, last) = name.rsplit_once('.').unwrap_or(("", name));
        problems.push(settings::unknown(CAMERA, section, last, at));
        return;
    };
    if matches!(key.kind, table::Kind::List(_) | table::Kind::ListOrPath(_)) {
        // Written as in a file.
        let (tree, mut found) = tree::parse(&at.file, text, &*loaded.environment);
        problems.append(&mut found);
        let nothing = Node::without_text(at.clone(), Content::Null);
        return settings.put(key, &tree.unwrap_or(nothing), problems);
    }
    let content = match expand(text, &*loaded.environment) {
        Ok(expanded) => Content::Scalar(Scalar { text: expanded, written: text.to_owned() }),
        Err((what, hint)) => {
            problems.push(at.problem(what, hint));
            Content::Broken
        }
    };
    settings.put(key, &Node::without_text(at.clone(), content), problems);
}
