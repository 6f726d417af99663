//! One key of a camera's file set or removed in the file's text, by its place: every comment, the order and each
//! character that is not the key's own stay.
//!
//! What was written is parsed again and must say what was wanted and nothing else, so that a layout that isn't
//! understood here is refused and never spoilt. Belongs here: text in, text out. Whether the value is a possible one
//! doesn't.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use super::expand::expand;
use super::problem::{Mark, Problem};
use super::tree::{self, Content, Entry, Node};

/// Columns by which what is in a section is indented.
const INDENT: usize = 2;

/// Why a text was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("{key:?} is no key (a key is words with dots between, such as `detect.width`)")]
    NotAKey { key: String },
    #[error("`{section}` is a value and no section, so that `{key}` can't be in it (edit the file's text)")]
    NotASection { section: String, key: String },
    /// The text is no YAML; where and why.
    #[error("{0}")]
    NotYaml(Box<Problem>),
    #[error("`{key}` can't be changed without changing more than it (edit the file's text)")]
    Entangled { key: String },
}

/// The text with `key` (`detect.width`) set to `value`, which stands there as it is: a `${NAME}` in it is a variable.
/// Sections that are missing are created.
pub fn set(text: &str, key: &str, value: &Value) -> Result<String, EditError> {
    change(text, key, Some(value))
}

/// The text without `key`, and without the sections that held nothing else. What isn't there is no error.
pub fn remove(text: &str, key: &str) -> Result<String, EditError> {
    change(text, key, None)
}

/// Each value of a text by its key, as it is written: no variables filled in. What lists hold is in one text. Empty
/// where the text is no YAML.
pub fn written(text: &str) -> BTreeMap<String, String> {
    fn collect(path: &str, value: &Value, all: &mut BTreeMap<String, String>) {
        let text = match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    collect(&path, value, all);
                }
                return;
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        all.insert(path.to_owned(), text);
    }
    let mut all = BTreeMap::new();
    if let Ok((Some(root), _)) = parse(text) {
        collect("", &meaning(&root), &mut all);
    }
    all.remove("");
    all
}

/// A fault of `key` in a text, at its place.
pub fn fault_at(file: &Path, text: &str, key: &str, what: String) -> Problem {
    let mut node = tree::parse(file, text, &as_written).0;
    let mut at = Mark::top(file);
    for name in key.split('.') {
        let Some(Node { content: Content::Map(entries), .. }) = node else { break };
        let Some(entry) = entries.into_iter().find(|entry| entry.key == name) else { break };
        at = entry.value.at.clone();
        node = Some(entry.value);
    }
    at.problem(what, None)
}

fn change(text: &str, key: &str, value: Option<&Value>) -> Result<String, EditError> {
    let path: Vec<&str> = key.split('.').collect();
    if !path.iter().all(|name| tree::is_plain_name(name)) {
        return Err(EditError::NotAKey { key: key.chars().take(80).collect() });
    }
    let (root, faults) = parse(text)?;
    let page = Page::new(text);
    let splices = match value {
        Some(value) => page.set(root.as_ref(), &path, value)?,
        None => page.remove(root.as_ref(), &path),
    };
    let edited = page.with(splices);
    let mut wanted = root.as_ref().map_or(Value::Null, meaning);
    let value = value.map(texts);
    // What is no possible value may be written: its fault is told where values are judged.
    let more_faults = value.as_ref().map_or(0, broken);
    put(&mut wanted, &path, value);
    let entangled = || EditError::Entangled { key: key.to_owned() };
    let (after, faults_after) = parse(&edited).map_err(|_| entangled())?;
    let after = after.as_ref().map_or(Value::Null, meaning);
    if pruned(&after) != pruned(&wanted) || faults_after > faults + more_faults {
        return Err(entangled());
    }
    Ok(edited)
}

/// The tree, and how many faults it has that leave the rest readable.
fn parse(text: &str) -> Result<(Option<Node>, usize), EditError> {
    let (root, mut faults) = tree::parse(Path::new(""), text, &as_written);
    match faults.pop() {
        Some(fault) if root.is_none() => Err(EditError::NotYaml(Box::new(fault))),
        last => Ok((root, faults.len() + usize::from(last.is_some()))),
    }
}

/// Values count as they are written: every variable is there, and nobody looks at what it holds.
pub(super) fn as_written(name: &str) -> Option<OsString> {
    Some(name.into())
}

/// What a tree says, all values as the texts they are written with.
fn meaning(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        // Told from every text.
        Content::Broken => Value::Bool(false),
        Content::Scalar(scalar) => Value::String(scalar.written.clone()),
        Content::List(nodes) => nodes.iter().map(meaning).collect(),
        Content::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), meaning(&entry.value))).collect())
        }
    }
}

/// A value as [`meaning`] would have it.
fn texts(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        Value::Array(items) => items.iter().map(texts).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(name, value)| (name.clone(), texts(value))).collect()),
        Value::String(text) if expand(text, &as_written).is_err() => Value::Bool(false),
        Value::Null | Value::String(_) => value.clone(),
    }
}

/// How many of these texts have something that is no variable between `${` and `}`.
fn broken(value: &Value) -> usize {
    match value {
        Value::Bool(_) => 1,
        Value::Array(items) => items.iter().map(broken).sum(),
        Value::Object(map) => map.values().map(broken).sum(),
        _ => 0,
    }
}

/// A section with nothing in it says as much as none.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let inside = map.iter().map(|(name, value)| (name.clone(), pruned(value)));
            let inside: Map<String, Value> = inside.filter(|(_, value)| !value.is_null()).collect();
            if inside.is_empty() { Value::Null } else { Value::Object(inside) }
        }
        Value::Array(items) => items.iter().map(pruned).collect(),
        other => other.clone(),
    }
}

/// Sets or removes what is at `path`.
fn put(root: &mut Value, path: &[&str], value: Option<Value>) {
    let Some((name, rest)) = path.split_first() else {
        *root = value.unwrap_or(Value::Null);
        return;
    };
    if root.is_null() && value.is_some() {
        *root = Value::Object(Map::new());
    }
    let Value::Object(map) = root else { return };
    match (rest, &value) {
        ([], None) => _ = map.remove(*name),
        (_, None) if !map.contains_key(*name) => {}
        _ => put(map.entry(*name).or_insert(Value::Null), rest, value),
    }
}

/// Instead of these characters this text.
type Splice = (Range<usize>, String);

/// A text by its characters.
struct Page {
    chars: Vec<char>,
    line_break: &'static str,
}

/// A value as it is written: behind its key, and in the lines below.
#[derive(Default)]
struct Rendered {
    beside: String,
    below: Vec<String>,
}

impl Page {
    fn new(text: &str) -> Self {
        let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Page { chars: text.chars().collect(), line_break }
    }

    fn with(&self, mut splices: Vec<Splice>) -> String {
        let mut chars = self.chars.clone();
        splices.sort_by_key(|(range, _)| range.start);
        for (range, text) in splices.into_iter().rev() {
            let range = range.start.min(chars.len())..range.end.min(chars.len());
            if range.start <= range.end {
                chars.splice(range, text.chars());
            }
        }
        chars.into_iter().collect()
    }

    fn set(&self, root: Option<&Node>, path: &[&str], value: &Value) -> Result<Vec<Splice>, EditError> {
        let Some(mut node) = root else { return Ok(vec![self.append(path, value)]) };
        let mut parent: Option<(&Entry, bool)> = None;
        for (depth, name) in path.iter().enumerate() {
            match &node.content {
                Content::Map(entries) => match entries.iter().find(|entry| entry.key == *name) {
                    Some(entry) => {
                        parent = Some((entry, node.extent.is_block));
                        node = &entry.value;
                    }
                    None => return Ok(self.insert(node, entries, &path[depth..], value).into_iter().collect()),
                },
                Content::Null if let Some((entry, in_block)) = parent => {
                    return Ok(self.replace(entry, in_block, &nested(&path[depth..], value)));
                }
                _ => {
                    return Err(EditError::NotASection { section: path[..depth].join("."), key: path.join(".") });
                }
            }
        }
        Ok(parent.map(|(entry, in_block)| self.replace(entry, in_block, value)).unwrap_or_default())
    }

    /// Into a text that has nothing but comments.
    fn append(&self, path: &[&str], value: &Value) -> Splice {
        let end = self.chars.len();
        let before = if self.line_end(end) == end && self.line_start(end) < end { self.line_break } else { "" };
        (end..end, format!("{before}{}{}", self.lines(path, value, 0).join(self.line_break), self.line_break))
    }

    /// At the end of a section.
    fn insert(&self, section: &Node, entries: &[Entry], path: &[&str], value: &Value) -> Option<Splice> {
        let (name, rest) = path.split_first()?;
        let last = entries.last().map(|entry| self.entry_end(entry));
        if !section.extent.is_block {
            let at = last.unwrap_or(section.extent.end.saturating_sub(1));
            let comma = if last.is_some() { ", " } else { "" };
            return Some((at..at, format!("{comma}{name}: {}", flow(&nested(rest, value)))));
        }
        let column = entries.first()?.key_at.column.saturating_sub(1) as usize;
        let at = self.line_end(last?);
        let lines = self.lines(path, value, column);
        Some((at..at, lines.iter().map(|line| format!("{}{line}", self.line_break)).collect()))
    }

    /// A key that is new, in lines of its own.
    fn lines(&self, path: &[&str], value: &Value, column: usize) -> Vec<String> {
        render(&nested(path, value), column, true).below
    }

    fn replace(&self, entry: &Entry, in_block: bool, value: &Value) -> Vec<Splice> {
        let column = entry.key_at.column.saturating_sub(1) as usize;
        let Rendered { beside, below } = render(value, column + INDENT, in_block);
        let below: String = below.iter().map(|line| format!("{}{line}", self.line_break)).collect();
        let extent = entry.value.extent;
        let Some(behind) = self.behind_colon(entry) else {
            // `{name}`, without a colon.
            let at = entry.key_extent.end;
            return vec![(at..at, format!(": {beside}"))];
        };
        let beside_key = if beside.is_empty() { beside.clone() } else { format!(" {beside}") };
        if self.is_nothing(&entry.value) {
            let end = self.line_end(behind);
            return vec![(behind..behind, beside_key), (end..end, below)];
        }
        if !extent.is_block {
            if below.is_empty() {
                return vec![(extent.start..extent.end, beside)];
            }
            let end = self.line_end(extent.end);
            return vec![(behind..extent.end, String::new()), (end..end, below)];
        }
        // The lines of the old value go; what is behind the key stays, but for the `|` of a text.
        let header_end = self.line_end(behind);
        let sign_end = match entry.value.content {
            Content::Scalar(_) | Content::Broken => {
                let sign = (behind..header_end).find(|&at| !self.is_space(at)).unwrap_or(behind);
                (sign..header_end).find(|&at| self.is_space(at)).unwrap_or(header_end)
            }
            _ => behind,
        };
        let lines = self.line_start(extent.start)..self.next_line(self.node_end(&entry.value));
        vec![(behind..sign_end, beside_key), (header_end..header_end, below), (lines, String::new())]
    }

    fn remove(&self, root: Option<&Node>, path: &[&str]) -> Vec<Splice> {
        // The sections on the way, each with the number of the entry that leads on.
        let mut way: Vec<(&Node, &[Entry], usize)> = Vec::new();
        let mut node = root;
        for name in path {
            let Some((section, entries)) = node.and_then(|node| match &node.content {
                Content::Map(entries) => Some((node, entries.as_slice())),
                _ => None,
            }) else {
                return Vec::new();
            };
            let Some(at) = entries.iter().position(|entry| entry.key == *name) else { return Vec::new() };
            way.push((section, entries, at));
            node = Some(&entries[at].value);
        }
        // A section that holds nothing else goes too, unless a comment is in it.
        while let [.., (_, above, at), (_, [only], _)] = way.as_slice()
            && !self.chars.get(above[*at].key_extent.end..only.key_extent.start).unwrap_or_default().contains(&'#')
        {
            way.pop();
        }
        let Some((section, entries, at)) = way.pop() else { return Vec::new() };
        let entry = &entries[at];
        let (start, end) = (entry.key_extent.start, self.entry_end(entry));
        let range = match (section.extent.is_block, entries.get(at + 1), at.checked_sub(1)) {
            (true, _, _) => self.line_start(start)..self.next_line(end),
            (false, Some(next), _) => start..next.key_extent.start,
            (false, None, Some(before)) => self.entry_end(&entries[before])..end,
            (false, None, None) => start..end,
        };
        vec![(range, String::new())]
    }

    /// Where what belongs to a key ends.
    fn entry_end(&self, entry: &Entry) -> usize {
        match self.is_nothing(&entry.value) {
            true => self.behind_colon(entry).unwrap_or(entry.key_extent.end),
            false => self.node_end(&entry.value),
        }
    }

    fn node_end(&self, node: &Node) -> usize {
        let extent = node.extent;
        match &node.content {
            _ if !extent.is_block => extent.end,
            Content::Map(entries) => entries.last().map_or(extent.start, |entry| self.entry_end(entry)),
            Content::List(nodes) => nodes.last().map_or(extent.start, |node| self.node_end(node)),
            // The blank lines behind a text are nobody's.
            _ => (extent.start..extent.end).rev().find(|&at| !self.is_space(at)).map_or(extent.start, |at| at + 1),
        }
    }

    /// Is nothing written there, not even `null`?
    fn is_nothing(&self, node: &Node) -> bool {
        let written = self.chars.get(node.extent.start..node.extent.end).unwrap_or_default();
        matches!(node.content, Content::Null) && !written.iter().any(|c| *c == '~' || c.is_alphabetic())
    }

    /// The place behind a key's colon.
    fn behind_colon(&self, entry: &Entry) -> Option<usize> {
        let at = (entry.key_extent.end..self.chars.len()).find(|&at| !self.is_space(at))?;
        (self.chars[at] == ':').then_some(at + 1)
    }

    fn is_space(&self, at: usize) -> bool {
        self.chars.get(at).is_some_and(|c| c.is_whitespace())
    }

    fn line_start(&self, at: usize) -> usize {
        let before = self.chars.iter().take(at);
        at.min(self.chars.len()) - before.rev().take_while(|c| !matches!(c, '\n' | '\r')).count()
    }

    /// Before the line break.
    fn line_end(&self, at: usize) -> usize {
        at + self.chars.iter().skip(at).take_while(|c| !matches!(c, '\n' | '\r')).count()
    }

    /// Behind the line break.
    fn next_line(&self, at: usize) -> usize {
        let end = self.line_end(at);
        match (self.chars.get(end), self.chars.get(end + 1)) {
            (Some('\r'), Some('\n')) => end + 2,
            (Some(_), _) => end + 1,
            (None, _) => end,
        }
    }
}

/// The value inside the sections of `path`.
fn nested(path: &[&str], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |value, name| {
        let mut section = Map::new();
        section.insert((*name).to_owned(), value);
        Value::Object(section)
    })
}

fn render(value: &Value, column: usize, in_block: bool) -> Rendered {
    let indent = " ".repeat(column);
    match value {
        Value::Object(map) if in_block && !map.is_empty() => {
            let mut below = Vec::new();
            for (name, value) in map {
                let inside = render(value, column + INDENT, true);
                let space = if inside.beside.is_empty() { "" } else { " " };
                below.push(format!("{indent}{name}:{space}{}", inside.beside));
                below.extend(inside.below);
            }
            Rendered { beside: String::new(), below }
        }
        // Polygons and zones: one a line.
        Value::Array(items) if in_block && items.iter().any(|item| item.is_array() || item.is_object()) => {
            let below = items.iter().map(|item| format!("{indent}- {}", flow(item))).collect();
            Rendered { beside: String::new(), below }
        }
        _ => Rendered { beside: flow(value), below: Vec::new() },
    }
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let inside: Vec<String> =
                map.iter().map(|(name, value)| format!("{}: {}", scalar(name), flow(value))).collect();
            format!("{{{}}}", inside.join(", "))
        }
    }
}

/// A text that any YAML reads as that text: in quotes where it could be taken for something else.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./%+=@:;~()* ".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let means_itself = !matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    ) && text.parse::<f64>().is_err();
    let ends_well = !text.ends_with([' ', ':']) && !text.contains(": ");
    if starts_well && ends_well && means_itself && text.chars().all(is_plain) {
        text.to_owned()
    } else if text.chars().any(char::is_control) {
        // Every JSON text is one of YAML's.
        Value::from(text).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FILE: &str = "\
# The front door.
source: rtsp://192.0.2.10/ch1  # main stream
password: \"a # b\"

detect:
  # quiet at night
  width: 500 # px
  masks:
    # the street
    - [[0, 0], [0.4, 0], [0.4, 0.1]]
    - [[0, 0], [1, 0], [1, 0.1]]
  # the end of detect
record: {mode: motion, pre_alarm: 5s} # short
retention:
  # max_age: 30d
# The end.
";

    #[test]
    fn a_value_is_replaced_where_it_is() {
        for (key, value, from, to) in [
            ("detect.width", json!(320), "width: 500 #", "width: 320 #"),
            ("source", json!("rtsp://h:1/x?a=b"), "rtsp://192.0.2.10/ch1 ", "'rtsp://h:1/x?a=b' "),
            ("password", json!("it's"), "\"a # b\"", "'it''s'"),
            ("password", json!("two\nlines\t\""), "\"a # b\"", "\"two\\nlines\\t\\\"\""),
            ("record.mode", json!("off"), "mode: motion,", "mode: 'off',"),
            ("record.pre_alarm", json!("2s"), "pre_alarm: 5s}", "pre_alarm: 2s}"),
            (
                "record",
                json!({"mode": "off"}),
                "record: {mode: motion, pre_alarm: 5s} # short",
                "record: # short\n  mode: 'off'",
            ),
            (
                "detect.masks",
                json!([[[0, 0.5], [1, 0.5], [1, 1]]]),
                "masks:\n    # the street\n    - [[0, 0], [0.4, 0], [0.4, 0.1]]\n    - [[0, 0], [1, 0], [1, 0.1]]\n",
                "masks:\n    - [[0, 0.5], [1, 0.5], [1, 1]]\n    # the street\n",
            ),
            (
                "detect.masks",
                json!([]),
                "masks:\n    # the street\n    - [[0, 0], [0.4, 0], [0.4, 0.1]]\n    - [[0, 0], [1, 0], [1, 0.1]]\n",
                "masks: []\n    # the street\n",
            ),
        ] {
            assert!(FILE.contains(from), "{from}");
            assert_eq!(set(FILE, key, &value).unwrap(), FILE.replacen(from, to, 1), "{key}");
        }
    }

    #[test]
    fn what_is_missing_is_added_at_the_end_of_its_section() {
        for (key, value, from, to) in [
            ("enabled", json!(false), "  # max_age: 30d", "enabled: false\n  # max_age: 30d"),
            ("detect.fps", json!(5), "[1, 0.1]]\n", "[1, 0.1]]\n  fps: 5\n"),
            ("record.audio", json!("copy"), "pre_alarm: 5s}", "pre_alarm: 5s, audio: copy}"),
            ("record.encode.codec", json!("h264"), "pre_alarm: 5s}", "pre_alarm: 5s, encode: {codec: h264}}"),
            ("retention.max_age", json!("30d"), "retention:\n", "retention:\n  max_age: 30d\n"),
        ] {
            assert_eq!(set(FILE, key, &value).unwrap(), FILE.replacen(from, to, 1), "{key}");
        }
        let new = set("", "record.encode.codec", &json!("h264")).unwrap();
        assert_eq!(new, "record:\n  encode:\n    codec: h264\n");
        assert_eq!(set("# none", "source", &json!("0")).unwrap(), "# none\nsource: '0'\n");
        assert_eq!(set("a: 1", "b.c", &json!(null)).unwrap(), "a: 1\nb:\n  c: null");
        assert_eq!(set("{}", "b.c", &json!(1)).unwrap(), "{b: {c: 1}}");
        assert_eq!(set("a: 1\r\n", "b", &json!(1)).unwrap(), "a: 1\r\nb: 1\r\n");
        assert_eq!(
            set("a:\n  b: |\n    x\n\nc: 1\n", "a.d", &json!(1)).unwrap(),
            "a:\n  b: |\n    x\n  d: 1\n\nc: 1\n"
        );
        assert_eq!(set("b: |  # n\n  x\n  y\n\nc: 1\n", "b", &json!(1)).unwrap(), "b: 1  # n\n\nc: 1\n");
        assert_eq!(set("b:\n- x\n- y\nc: 1\n", "b", &json!(["z"])).unwrap(), "b: [z]\nc: 1\n");
        assert_eq!(set("{a, b: }", "a", &json!(1)).unwrap(), "{a: 1, b: }");
        assert_eq!(set("{a, b: }", "b", &json!(1)).unwrap(), "{a, b: 1 }");
    }

    #[test]
    fn what_is_removed_takes_its_line_with_it() {
        for (key, from, to) in [
            ("detect.width", "  width: 500 # px\n", ""),
            (
                "detect.masks",
                "masks:\n    # the street\n    - [[0, 0], [0.4, 0], [0.4, 0.1]]\n    - [[0, 0], [1, 0], [1, 0.1]]\n",
                "",
            ),
            ("record.mode", "{mode: motion, pre_alarm: 5s}", "{pre_alarm: 5s}"),
            ("record.pre_alarm", "{mode: motion, pre_alarm: 5s}", "{mode: motion}"),
            ("record", "record: {mode: motion, pre_alarm: 5s} # short\n", ""),
            ("detect.fps", "", ""),
            ("source.x", "", ""),
        ] {
            let expected = FILE.replacen(&format!("  {from}"), to, usize::from(key == "detect.masks"));
            let expected = if key == "detect.masks" { expected } else { FILE.replacen(from, to, 1) };
            assert_eq!(remove(FILE, key).unwrap(), expected, "{key}");
        }
        assert_eq!(remove("a: 1\nb:\n  c:\n    d: 1\n", "b.c.d").unwrap(), "a: 1\n");
        assert_eq!(remove("a: 1\nb:\n  # why\n  c: 1\n", "b.c").unwrap(), "a: 1\nb:\n  # why\n");
        assert_eq!(remove("{a: {b: 1}}", "a.b").unwrap(), "{}");
    }

    #[test]
    fn what_would_change_more_is_refused() {
        for (text, key) in [("a: &x 1\nb: *x\n", "a"), ("a: &x {c: 1}\nb: *x\n", "b.c")] {
            assert!(matches!(set(text, key, &json!(2)), Err(EditError::Entangled { .. })), "{text}");
        }
        assert_eq!(set("? a\n: 1\n", "a", &json!(2)).unwrap(), "? a\n: 2\n");
        assert_eq!(set("a: &x 1\nb: *x\n", "b", &json!(2)).unwrap(), "a: &x 1\nb: 2\n");
        assert!(matches!(set("a: 1", "a.b", &json!(2)), Err(EditError::NotASection { .. })));
        assert!(matches!(set("a: [1", "a", &json!(2)), Err(EditError::NotYaml(_))));
        assert!(matches!(set("", "a..b", &json!(2)), Err(EditError::NotAKey { .. })));
        // A fault elsewhere is no reason not to.
        assert_eq!(set("a: ${\nb: 1\n", "b", &json!(2)).unwrap(), "a: ${\nb: 2\n");
        assert_eq!(set("a: ${\nb: 1\n", "a", &json!(2)).unwrap(), "a: 2\nb: 1\n");
    }

    #[test]
    fn values_as_they_are_written() {
        let all = written("source: rtsp://${HOST}/\nrecord: {mode: off}\ndetect:\n  masks: [[[0, 0]]]\n");
        let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(all, [("detect.masks", "[[[\"0\",\"0\"]]]"), ("record.mode", "off"), ("source", "rtsp://${HOST}/")]);
    }

    const KEYS: [&str; 8] = [
        "source",
        "password",
        "enabled",
        "detect.width",
        "detect.masks",
        "record.encode.codec",
        "record.mode",
        "retention.max_age",
    ];

    /// A file as people write them: comments everywhere, sections in both styles.
    fn file() -> impl Strategy<Value = String> {
        let comment = || prop_oneof![Just(""), Just(" # why"), Just("   # it's \"so\": {")];
        let lone = || prop_oneof![Just(""), Just("\n"), Just("# note: x\n"), Just("  # deeper\n")];
        let value =
            || prop_oneof![Just("1"), Just("'a: # b'"), Just("\"x\\n\""), Just(""), Just("~"), Just("a b"), Just("ü")];
        let block = |name: &'static str| {
            (lone(), value(), comment(), lone(), value(), comment()).prop_map(move |(l1, v1, c1, l2, v2, c2)| {
                format!("{name}:\n{l1}    width: {v1}{c1}\n{l2}    mode: {v2}{c2}\n")
            })
        };
        let braces = |name: &'static str| {
            (value(), comment()).prop_map(move |(v, c)| format!("{name}: {{ mode: {v}, list: [1, {{a: b}}] }}{c}\n"))
        };
        let list = (lone(), comment()).prop_map(|(l, c)| format!("zones:{c}\n{l}- a{c}\n-   b: 1\n    c: 2\n"));
        let text = comment().prop_map(|c| format!("text: |-{c}\n  one\n   two\n\n"));
        let plain = (value(), comment()).prop_map(|(v, c)| format!("source: {v}{c}\n"));
        let part = |strategy: BoxedStrategy<String>| (lone(), strategy).prop_map(|(l, s)| format!("{l}{s}"));
        (
            part(prop_oneof![plain, Just(String::new())].boxed()),
            part(
                prop_oneof![block("detect"), braces("detect"), Just(String::new()), Just("detect:\n".to_owned())]
                    .boxed(),
            ),
            part(prop_oneof![list, text, Just(String::new())].boxed()),
            part(prop_oneof![block("record"), braces("record"), Just(String::new())].boxed()),
            lone(),
        )
            .prop_map(|(a, b, c, d, e)| [a.as_str(), &b, &c, &d, e].concat())
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            (0..5000u32).prop_map(Value::from),
            Just(json!([[[0, 0.5], [1, 0]], []])),
            Just(json!({"name": "a b", "polygon": [[0, 1]]})),
            "[ -~]{0,20}".prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
        ]
    }

    fn comments(text: &str) -> usize {
        text.matches("# why").count() + text.matches("# note").count() + text.matches("# deeper").count()
    }

    proptest! {
        #[test]
        fn a_change_is_of_that_key_only(text in file(), key in prop::sample::select(&KEYS[..]), value in value()) {
            let before = written(&text);
            let edited = match set(&text, key, &value) {
                Ok(edited) => edited,
                // Only where the file's layout or the text itself is beyond YAML.
                Err(EditError::NotASection { .. }) => return Ok(()),
                Err(error) => {
                    let odd = value.as_str().is_some_and(|text| text.chars().any(|c| c.is_control() || !c.is_ascii()));
                    prop_assert!(odd, "{error}\n{text}");
                    return Ok(());
                }
            };
            let path: Vec<&str> = key.split('.').collect();
            let mut expected = parse(&text).unwrap().0.map_or(Value::Null, |root| meaning(&root));
            put(&mut expected, &path, Some(texts(&value)));
            let found = parse(&edited).unwrap().0.map_or(Value::Null, |root| meaning(&root));
            prop_assert_eq!(found, expected, "{}", edited);
            prop_assert!(comments(&edited) == comments(&text), "{}\n->\n{}", text, edited);
            // And gone again, with nothing else of what there was.
            let gone = remove(&edited, key).unwrap();
            let is_other = |path: &str| path != key && !path.starts_with(&format!("{key}."));
            let others: BTreeMap<_, _> = before.into_iter().filter(|(path, value)| is_other(path) && value != "null").collect();
            let left: BTreeMap<_, _> = written(&gone).into_iter().filter(|(_, value)| value != "null").collect();
            prop_assert_eq!(left, others, "{}", gone);
        }

        #[test]
        fn no_text_is_too_odd_to_be_answered(
            text in "(a|b|: |\n|  |- |\\{|\\}|\\[|\\]|,|&a|\\*a|\"|'|\\||>|\\?|<<|---|#|!|ü){0,24}",
            key in prop::sample::select(&["a", "b", "a.b", "a.b.a"][..]),
        ) {
            for edited in [set(&text, key, &json!(1)), remove(&text, key)].into_iter().flatten() {
                let _ = written(&edited);
            }
        }
    }
}
