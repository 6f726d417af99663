//! Passwords in a file's text: hidden before the text is shown over the network, and put back when it returns.
//!
//! Hidden are the values of what is a password or sounds like one, the credentials in addresses, and both wherever
//! else they stand, in comments too. `${NAME}` alone says no secret and stays. A text that is no YAML is gone through
//! line by line, and rather too much of it is hidden.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::edit::{self, as_written};
use super::problem::Problem;
use super::table::{CAMERA, Kind};
use super::tree::{self, Content, Node};
use crate::domain::source_url::redact_urls;

/// What stands where a secret was.
const HIDDEN: &str = "***";
/// Shorter ones are hidden at their keys only: elsewhere they would turn words to stars.
const LEAST_SECRET: usize = 4;

/// The text as it may be shown.
pub fn hide(text: &str) -> String {
    let (veiled, secrets) = hide_values(text);
    hide_in_lines(&veiled, &secrets)
}

/// Does this text hold a secret?
pub fn has_secret(text: &str) -> bool {
    hide(text) != text
}

/// `shown` with the secrets of `stored` where it still has the stars that [`hide`] put there. A secret goes back to
/// its own key only, and one of an address only to the same host.
pub fn restore(shown: &str, stored: &str) -> String {
    let (veiled, secrets) = hide_values(stored);
    let hidden = hide_in_lines(&veiled, &secrets);
    let mut pairs: Vec<(&str, &str)> =
        hidden.lines().zip(veiled.lines()).filter(|(hidden, line)| hidden != line).collect();
    // A line that came back as it was shown is the line that was there.
    let mut text = String::with_capacity(shown.len());
    for line in shown.split_inclusive('\n') {
        let words = line.trim_end_matches(['\n', '\r']);
        match pairs.iter().position(|(hidden, _)| *hidden == words) {
            Some(at) => text.push_str(pairs.remove(at).1),
            None => text.push_str(words),
        }
        text.push_str(&line[words.len()..]);
    }
    restore_values(text, stored)
}

/// Faults of stars where a secret should be: nothing was there to be put back.
pub fn left_over(file: &Path, text: &str) -> Vec<Problem> {
    let starred = scalars(text).into_iter().filter(|scalar| scalar.is_starred());
    starred
        .map(|Scalar { path, node, .. }| {
            let what = format!("`{path}`: `{HIDDEN}` stands for what is not shown, and there is nothing to put here");
            let hint = "write it out; user and password have keys of their own, `username` and `password`";
            Problem { file: file.to_path_buf(), ..node.at.problem(what, hint.to_owned()) }
        })
        .collect()
}

/// What may be secret about a key's value.
#[derive(Clone, Copy, PartialEq)]
enum Secrecy {
    All,
    /// Who somebody is, where it is an address.
    Credentials,
}

fn secrecy(path: &str) -> Secrecy {
    let known = CAMERA.iter().find(|key| key.path == path);
    match known.map(|key| &key.kind) {
        Some(Kind::Secret) => Secrecy::All,
        None if SECRET_WORDS.iter().any(|word| path.to_ascii_lowercase().contains(word)) => Secrecy::All,
        _ => Secrecy::Credentials,
    }
}

/// What is called by one of these, or nearly so, is secret.
const SECRET_WORDS: [&str; 5] = ["pass", "pasw", "pwd", "secret", "token"];

/// `${NAME}` and nothing else.
fn is_variable(written: &str) -> bool {
    let name = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// A text of a tree.
struct Scalar {
    path: String,
    node: Node,
    written: String,
}

impl Scalar {
    fn is_starred(&self) -> bool {
        match secrecy(&self.path) {
            Secrecy::All => self.written.trim() == HIDDEN,
            Secrecy::Credentials => self.written.contains("://") && self.written.contains(HIDDEN),
        }
    }

    /// Without the line break behind a text in lines of its own.
    fn extent(&self, chars: &[char]) -> Range<usize> {
        let (start, end) = (self.node.extent.start, self.node.extent.end.min(chars.len()));
        if !self.node.extent.is_block {
            return start..end.max(start);
        }
        let last = (start..end).rev().find(|&at| chars.get(at).is_some_and(|c| !c.is_whitespace()));
        start..last.map_or(start, |at| at + 1)
    }
}

/// All texts of a tree; none where the text is no YAML.
fn scalars(text: &str) -> Vec<Scalar> {
    fn walk(path: String, node: Node, found: &mut Vec<Scalar>) {
        match node.content {
            Content::Map(entries) => {
                for entry in entries {
                    if secrecy(&path) == Secrecy::All {
                        // `password: { hunter2: x }`
                        let node =
                            Node { extent: entry.key_extent, ..Node::without_text(entry.key_at, Content::Broken) };
                        found.push(Scalar { path: path.clone(), node, written: entry.key.clone() });
                    }
                    let path = if path.is_empty() { entry.key } else { format!("{path}.{}", entry.key) };
                    walk(path, entry.value, found);
                }
            }
            Content::List(nodes) => nodes.into_iter().for_each(|node| walk(path.clone(), node, found)),
            Content::Scalar(ref scalar) => {
                let written = scalar.written.clone();
                found.push(Scalar { path, node, written });
            }
            // Its text is not known: it has a `${` that is no variable.
            Content::Broken => found.push(Scalar { path, node, written: String::new() }),
            Content::Null => {}
        }
    }
    let mut found = Vec::new();
    if let (Some(root), _) = tree::parse(Path::new(""), text, &as_written) {
        walk(String::new(), root, &mut found);
    }
    found
}

/// User and password of an address. The last `@` ends them: a password may hold one.
fn credentials(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    rest.rsplit_once('@').map(|(credentials, _)| credentials)
}

/// Without the secrets of keys, and what they were.
fn hide_values(text: &str) -> (String, Vec<String>) {
    let mut chars: Vec<char> = text.chars().collect();
    let mut secrets: Vec<String> = Vec::new();
    let mut splices: Vec<(Range<usize>, String)> = Vec::new();
    for scalar in scalars(text) {
        let extent = scalar.extent(&chars);
        match secrecy(&scalar.path) {
            Secrecy::All if is_variable(&scalar.written) => {}
            Secrecy::All => {
                let stars = if scalar.node.extent.is_block { HIDDEN.to_owned() } else { format!("'{HIDDEN}'") };
                splices.push((extent, stars));
                secrets.extend(scalar.written.lines().map(str::to_owned));
            }
            Secrecy::Credentials => {
                let Some(found) = credentials(&scalar.written) else { continue };
                secrets.push(found.split_once(':').map_or(found, |(_, password)| password).to_owned());
                let raw: String = chars.get(extent.clone()).unwrap_or_default().iter().collect();
                if let (Some(from), Some(to)) = (raw.find("://"), raw.rfind('@')) {
                    let stars = format!("{}{HIDDEN}{}", raw.get(..from + 3).unwrap_or_default(), &raw[to..]);
                    splices.push((extent, stars));
                }
            }
        }
    }
    splices.sort_by_key(|(extent, _)| extent.start);
    for (extent, stars) in splices.into_iter().rev() {
        chars.splice(extent, stars.chars());
    }
    secrets.retain(|secret| secret.chars().count() >= LEAST_SECRET);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    (chars.into_iter().collect(), secrets)
}

/// Line for line, without the secrets that are known, and without what looks like one in comments. Of a text that is
/// no YAML everything may be one.
fn hide_in_lines(text: &str, secrets: &[String]) -> String {
    let (root, faults) = tree::parse(Path::new(""), text, &as_written);
    // What a fault hides from the tree is hidden here.
    let is_yaml = root.is_some() && faults.is_empty();
    let mut out = String::with_capacity(text.len());
    // The indentation of the line that held the key of a secret, whose value may go on below.
    let mut below: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let words = line.trim_end_matches(['\n', '\r']);
        let indent = words.chars().take_while(|c| c.is_whitespace()).count();
        let mut shown = secrets.iter().fold(words.to_owned(), |shown, secret| shown.replace(secret, HIDDEN));
        shown = redact_urls(&shown);
        if !is_yaml && below.is_some_and(|above| indent > above || words.trim().is_empty()) {
            if !words.trim().is_empty() {
                shown = format!("{}{HIDDEN}", " ".repeat(indent));
            }
        } else {
            below = None;
            let from = if is_yaml { comment_of(&shown) } else { Some(0) };
            if let Some(cut) = from.and_then(|from| secret_in(&shown, from, is_yaml)) {
                shown.truncate(cut);
                shown.push_str(HIDDEN);
                below = Some(indent);
            }
        }
        out.push_str(&shown);
        out.push_str(&line[words.len()..]);
    }
    out
}

/// Where the comment of a line begins.
fn comment_of(line: &str) -> Option<usize> {
    let is_comment =
        |at: usize| line.get(..at).is_some_and(|before| before.is_empty() || before.ends_with(char::is_whitespace));
    line.match_indices('#').map(|(at, _)| at).find(|&at| is_comment(at))
}

/// Where behind `from` the value of something begins that sounds secret: behind its `:` or `=`, or, unless `is_yaml`,
/// behind the word.
fn secret_in(line: &str, from: usize, is_yaml: bool) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let behind = lower.get(from..)?;
    let word = SECRET_WORDS.iter().filter_map(|word| behind.find(word)).min()? + from;
    let name_end = lower[word..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(|length| word + length)?;
    let sign = line[name_end..].find([':', '=']).map(|at| name_end + at + 1);
    let value = if is_yaml { sign? } else { sign.unwrap_or(name_end) };
    let rest = line[value..].trim();
    let is_file = lower[word..name_end].starts_with("password_file");
    let says_nothing = rest.is_empty() && is_yaml || rest == format!("'{HIDDEN}'");
    if is_file || says_nothing || is_variable(rest.trim_matches(['"', '\''])) {
        return None;
    }
    Some(value)
}

/// Puts back what stands at keys.
fn restore_values(mut text: String, stored: &str) -> String {
    let stored_chars: Vec<char> = stored.chars().collect();
    let before = scalars(stored);
    // From the end: places before it stay.
    for shown in scalars(&text).into_iter().rev().filter(Scalar::is_starred) {
        let Some(was) = before.iter().find(|was| was.path == shown.path && !was.is_starred()) else { continue };
        let is_same_kind = was.node.extent.is_block == shown.node.extent.is_block;
        let raw: String = stored_chars.get(was.extent(&stored_chars)).unwrap_or_default().iter().collect();
        match secrecy(&shown.path) {
            Secrecy::All if is_same_kind => text = splice(&text, &shown, &raw),
            Secrecy::All => text = put(text, &shown.path, &was.written),
            Secrecy::Credentials => {
                let Some(found) = credentials(&was.written) else { continue };
                let is_same = host(&shown.written) == host(&was.written);
                if is_same && credentials(&shown.written) == Some(HIDDEN) {
                    let address = shown.written.replacen(&format!("{HIDDEN}@"), &format!("{found}@"), 1);
                    let raw_too = address == was.written && is_same_kind;
                    text = if raw_too { splice(&text, &shown, &raw) } else { put(text, &shown.path, &address) };
                }
            }
        }
    }
    text
}

/// Host and port of an address.
fn host(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    place.split(['/', '?', '#', '\\']).next().map(str::to_ascii_lowercase)
}

/// `raw` instead of what is written there.
fn splice(text: &str, scalar: &Scalar, raw: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let extent = scalar.extent(&chars);
    chars.splice(extent, raw.chars());
    chars.into_iter().collect()
}

fn put(text: String, path: &str, value: &str) -> String {
    edit::set(&text, path, &Value::from(value)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "canary hunter2 p@ss";

    #[test]
    fn secrets_are_hidden_wherever_they_are_and_come_back() {
        for (text, shown) in [
            ("password: canary-1 # why\nusername: v\n", "password: '***' # why\nusername: v\n"),
            ("password: ${PASSWORD}\n", "password: ${PASSWORD}\n"),
            ("password: x${PASSWORD}\n", "password: '***'\n"),
            ("password_file: a.password\n", "password_file: a.password\n"),
            ("password: |\n  canary-1\n\nloop: true\n", "password: |\n  ***\n\nloop: true\n"),
            ("password: \"canary\n  one\"\nloop: true\n", "password: '***'\nloop: true\n"),
            ("pasword: canary-1\n", "pasword: '***'\n"),
            ("source: rtsp://v:can@ry/1@h:5/x?a=b\n", "source: rtsp://***@h:5/x?a=b\n"),
            ("source: \"rtsp://v:can ry@h/x\" # n\n", "source: \"rtsp://***@h/x\" # n\n"),
            ("source: http://h/x?user=a&b=c\n", "source: http://h/x?user=***&b=c\n"),
            ("# password: canary-1\nsource: a.mp4\n", "# password:***\nsource: a.mp4\n"),
            ("# was canary-1\npassword: canary-1\n", "# was ***\npassword: '***'\n"),
            ("{source: rtsp://h/, password: canary-1}\n", "{source: rtsp://h/, password: '***'}\n"),
            // No YAML, or with a fault.
            ("password canary-1\nloop: true\n", "password***\nloop: true\n"),
            ("password: canary-1\npassword: canary-2\n", "password: '***'\npassword:***\n"),
            ("\"a password\": canary-1\nloop: true\n", "\"a password\":***\nloop: true\n"),
            ("password: !canary-1 x\n", "password: '***'\n"),
            ("password: ${canary-1\n", "password: '***'\n"),
            ("rtsp://v:canary@h/\n", "rtsp://***@h/\n"),
            ("<<: {password: canary-1}\nloop: true\n", "<<: {password:***\nloop: true\n"),
            (
                "detect: [\npassword: canary-1\nsource: rtsp://v:c@h/\n",
                "detect: [\npassword:***\nsource: rtsp://***@h/\n",
            ),
            ("detect: [\npassword: |\n  canary-1\nloop: true\n", "detect: [\npassword:***\n  ***\nloop: true\n"),
            ("source: [ # password canary: 1\n", "source: [ # password canary:***\n"),
        ] {
            assert_eq!(hide(text), shown, "{text}");
            assert_eq!(restore(shown, text), text);
            assert_eq!(has_secret(text), text != shown);
        }
        // No possible file, so that it need not come back.
        assert_eq!(hide("password: {canary-1: canary-2}\n"), "password:***\n");
    }

    #[test]
    fn a_secret_goes_back_to_its_own_place_only() {
        let stored = "source: rtsp://v:canary@cam/1\npassword: canary-1\n";
        let moved = "source: rtsp://***@cam/2 # new\nloop: true\npassword: '***'\n";
        assert_eq!(restore(moved, stored), "source: rtsp://v:canary@cam/2 # new\nloop: true\npassword: canary-1\n");
        for elsewhere in [
            "source: rtsp://***@evil.example/1\n",
            "source: rtsp://***@cam:99/1\n",
            "detect_source: rtsp://***@cam/1\n",
            "username: '***'\nsource: rtsp://evil.example/***\n",
        ] {
            let text = restore(elsewhere, stored);
            assert!(!text.contains("canary"), "{text}");
            assert_eq!(left_over(Path::new("a.yaml"), &text).len(), 1, "{text}");
        }
        let fault = left_over(Path::new("a.yaml"), "loop: true\npassword: '***'\n").remove(0).to_string();
        assert!(fault.starts_with("a.yaml:2:11: `password`: `***` stands for"), "{fault}");
        assert_eq!(left_over(Path::new("a.yaml"), "source: rtsp://h/\nusername: '***'\n"), []);
    }

    proptest! {
        #[test]
        fn no_text_shows_its_password(
            before in "(loop: true\n|# note\n|detect: \\{\n|detect: \\[1]\n|\n|  x: 1\n){0,3}",
            style in 0..6usize,
            after in "(loop: true\n|# canary hunter2 p@ss\n|record: \\[\n|x: \"\n|\n|  y: 1\n){0,3}",
        ) {
            let secret = match style {
                0 => format!("password: {CANARY}\n"),
                1 => format!("password: \"{CANARY}\"\n"),
                2 => format!("password:\n  '{CANARY}'\n"),
                3 => format!("password: |\n  {CANARY}\n"),
                4 => format!("source: rtsp://v:{}@h/\n", CANARY.replace(' ', "_")),
                _ => format!("# password: {CANARY}\n"),
            };
            // A comment tells it only where it is known from elsewhere.
            let after = if style < 4 && tree::parse(Path::new(""), &format!("{before}{secret}{after}"), &as_written).0.is_some() { after } else { after.replace(CANARY, "") };
            let text = format!("{before}{secret}{after}");
            let shown = hide(&text);
            prop_assert!(!shown.contains("hunter2"), "{}\n->\n{}", text, shown);
            prop_assert_eq!(restore(&shown, &text), text);
        }
    }
}
