//! From a tree to settings: every key checked against the table, flat, and merged key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use super::places;
use super::problem::{Mark, Problem, one_line};
use super::table::{CAMERA, Fault, GLOBAL, Key, Kind, Preset, nearest};
use super::tree::{Content, Node};
use crate::domain::source_url::redact_urls;

/// Checked values by the path of their key. A key that is not given is not there.
#[derive(Clone, Default)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, Setting>,
    /// Keys that were given with a value that was refused.
    faulty: BTreeSet<&'static str>,
}

#[derive(Clone)]
pub(super) struct Setting {
    /// As the typed structures take it. May be a secret.
    pub value: Value,
    /// As it may be shown.
    pub shown: String,
    pub at: Mark,
}

impl Settings {
    pub fn get(&self, path: &str) -> Option<&Setting> {
        self.values.get(path)
    }

    /// Was the key given, even if with an impossible value?
    pub fn was_given(&self, path: &str) -> bool {
        self.values.contains_key(path) || self.faulty.contains(path)
    }

    pub fn is_faulty(&self, path: &str) -> bool {
        self.faulty.contains(path)
    }

    pub fn remove(&mut self, path: &str) {
        self.values.remove(path);
    }

    /// The values of `over` where it has any, else the ones here.
    pub fn merged_under(mut self, over: Settings) -> Settings {
        self.values.extend(over.values);
        self.faulty.extend(over.faulty);
        self
    }

    /// Takes the keys below `section` of `tree` in; reports what is wrong with them.
    pub fn read(table: &'static [Key], tree: &Node, problems: &mut Vec<Problem>) -> Settings {
        let mut settings = Settings::default();
        settings.read_section(table, tree, "", problems);
        settings
    }

    /// Checks one value and takes it in.
    pub fn put(&mut self, key: &'static Key, node: &Node, problems: &mut Vec<Problem>) {
        match read_value(key, node) {
            Ok(Some(setting)) => {
                self.values.insert(key.path, setting);
            }
            Ok(None) => {
                self.faulty.insert(key.path);
            }
            Err(problem) => {
                self.faulty.insert(key.path);
                problems.push(problem);
            }
        }
    }

    fn read_section(&mut self, table: &'static [Key], node: &Node, section: &str, problems: &mut Vec<Problem>) {
        let entries = match &node.content {
            Content::Map(entries) => entries,
            // All its keys are commented out.
            Content::Null | Content::Broken => return,
            _ if section.is_empty() => {
                let hint = "write lines such as `source: rtsp://HOST/PATH`".to_owned();
                problems.push(node.at.problem("the file holds no keys", hint));
                return;
            }
            _ => {
                let inside: Vec<&str> = names_in(table, section).into_iter().take(2).collect();
                let hint = format!("it holds keys such as `{}`", inside.join("` and `"));
                problems.push(node.at.problem(format!("`{section}` is a section, not a value"), hint));
                return;
            }
        };
        for entry in entries {
            let path = if section.is_empty() { entry.key.clone() } else { format!("{section}.{}", entry.key) };
            if let Some(key) = table.iter().find(|key| key.path == path) {
                self.put(key, &entry.value, problems);
            } else if !names_in(table, &path).is_empty() {
                self.read_section(table, &entry.value, &path, problems);
            } else {
                problems.push(unknown(table, section, &entry.key, &entry.key_at));
            }
        }
    }

    /// The structure of these settings, completed with the table's presets. `deny_unknown_fields` there and this
    /// here keep table and structure in step.
    pub fn typed<T: DeserializeOwned>(&self, table: &'static [Key], file: &Mark) -> Result<T, Problem> {
        let mut root = Mapping::new();
        for key in table {
            let value = match (self.values.get(key.path), key.preset) {
                (Some(setting), _) => setting.value.clone(),
                (None, Preset::Is(text) | Preset::OrNone(text)) => match key.read(text) {
                    Ok(value) => value,
                    Err(fault) => return Err(file.problem(format!("preset of `{}`: {fault:?}", key.path), None)),
                },
                (None, Preset::Nothing | Preset::Required) => Value::Null,
            };
            put(&mut root, key.path, value);
        }
        serde_path_to_error::deserialize(Value::Mapping(root)).map_err(|error| {
            let names: Vec<String> = error
                .path()
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Map { key } => Some(key.clone()),
                    _ => None,
                })
                .collect();
            let path = names.join(".");
            // serde's own message could quote a value.
            let at = self.values.get(path.as_str()).map_or(file, |setting| &setting.at);
            at.problem(format!("`{path}` is not possible"), None)
        })
    }
}

/// None: reported already.
fn read_value(key: &'static Key, node: &Node) -> Result<Option<Setting>, Problem> {
    let fault = match &node.content {
        Content::Broken => return Ok(None),
        Content::Null if key.is_optional() => {
            return Ok(Some(Setting { value: Value::Null, shown: "null".to_owned(), at: node.at.clone() }));
        }
        Content::Null => {
            let hint =
                preset_hint(key).map_or("give it one".to_owned(), |hint| format!("{hint}; give one or remove it"));
            return Err(node.at.problem(format!("`{}` has no value", key.path), hint));
        }
        Content::Scalar(scalar) => match key.read(&scalar.text) {
            Ok(value) => return Ok(Some(Setting { value, shown: key.show(scalar), at: node.at.clone() })),
            Err(fault) => (fault, show(key, &scalar.written)),
        },
        Content::Map(_) => (Fault { reason: None, hint: None }, Some("a section".to_owned())),
        Content::List(nodes) => match key.kind {
            Kind::List(items) | Kind::ListOrPath(items) => {
                let value = places::read(key.path, items, nodes)?;
                let shown = serde_json::to_string(&value).unwrap_or_default();
                return Ok(Some(Setting { value, shown, at: node.at.clone() }));
            }
            _ => (Fault { reason: None, hint: None }, Some("a list".to_owned())),
        },
    };
    let (Fault { reason, hint }, shown) = fault;
    let what = match (reason, shown) {
        (Some(reason), _) => format!("`{}`: {reason}", key.path),
        (None, Some(shown)) => format!("`{}` must be {}, not {shown}", key.path, key.kind.expects()),
        (None, None) => format!("`{}` must be {}", key.path, key.kind.expects()),
    };
    Err(node.at.problem(what, hint.or_else(|| preset_hint(key))))
}

/// Puts a value where its path leads, section by section.
fn put(map: &mut Mapping, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            map.insert(path.into(), value);
        }
        Some((section, rest)) => {
            if let Value::Mapping(inner) = map.entry(section.into()).or_insert_with(|| Mapping::new().into()) {
                put(inner, rest, value);
            }
        }
    }
}

fn preset_hint(key: &Key) -> Option<String> {
    match key.preset {
        Preset::Is(text) | Preset::OrNone(text) => Some(format!("the default is `{text}`")),
        Preset::Nothing | Preset::Required => None,
    }
}

/// What was written, short, without variables filled in and without secrets.
fn show(key: &Key, written: &str) -> Option<String> {
    if matches!(key.kind, Kind::Secret | Kind::Source) {
        return None;
    }
    let mut short: String = one_line(&redact_urls(written)).chars().take(60).collect();
    if short.len() < written.len() {
        short.push('…');
    }
    Some(format!("`{short}`"))
}

/// Names of the keys and sections directly inside `section`.
fn names_in(table: &'static [Key], section: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = table
        .iter()
        .filter_map(|key| match section {
            "" => Some(key.path),
            _ => key.path.strip_prefix(section)?.strip_prefix('.'),
        })
        .map(|rest| rest.split_once('.').map_or(rest, |(name, _)| name))
        .collect();
    names.dedup();
    names
}

/// The fault of a key that nobody knows, with the one that is probably meant: here, or in another section.
pub(super) fn unknown(table: &'static [Key], section: &str, name: &str, at: &Mark) -> Problem {
    let here = names_in(table, section);
    let join = |name: &str| if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    let elsewhere =
        || table.iter().map(|key| key.path).find(|path| *path == name || path.ends_with(&format!(".{name}")));
    let near = nearest(name, here.iter().copied()).map(join);
    let hint = match near.or_else(|| elsewhere().map(str::to_owned)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if std::ptr::eq(table, GLOBAL) && names_in(CAMERA, "").contains(&name) => {
            "a camera's keys belong into its file, or under `defaults`".to_owned()
        }
        None if section.is_empty() => "docs/configuration.md lists all keys".to_owned(),
        None => format!("`{section}` knows {}", here.join(", ")),
    };
    at.problem(format!("unknown key `{}`", join(name)), hint)
}
