//! The names of recordings inside the archive: a checked template of `{camera}` and the time of the first packet.
//!
//! A [`Layout`] that exists is harmless: it can be formatted for every time, stays inside the archive and tells
//! cameras apart. Creating folders and finding out whether a name is taken belong to the archive.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

/// Time specifiers that give something fit for a file's name. chrono knows more; those would put spaces, colons
/// or slashes into names, or can't be formatted at all.
const SPECIFIERS: &[&str] = &[
    "Y", "y", "m", "d", "j", "H", "I", "p", "M", "S", "3f", "6f", "b", "B", "a", "A", "u", "G", "V", "U", "W", "s", "F",
];

/// Most bytes of one folder or file name of a layout, so that the camera's name, `_2` and the extension still
/// fit into the 255 that file systems take.
const LONGEST_NAME_BYTES: usize = 150;

/// A checked template of file names. Equal texts are equal layouts.
#[derive(Clone, PartialEq, Eq)]
pub struct Layout {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Camera,
    /// With its `%`.
    Time(String),
}

impl Layout {
    /// Checks a template. The error says what is wrong with it, without naming the key it came from.
    pub fn parse(text: &str) -> Result<Layout, String> {
        let pieces = split(text)?;
        if !pieces.contains(&Piece::Camera) {
            return Err("without `{camera}` the cameras' files would mix".to_owned());
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Time(_))) {
            return Err("without a time such as `%Y-%m-%dT%H%M%S` all recordings would have one name".to_owned());
        }
        let layout = Layout { text: text.to_owned(), pieces };
        // An instant whose fields have their usual widths.
        layout.render("c", DateTime::UNIX_EPOCH).split('/').try_for_each(check_name)?;
        Ok(layout)
    }

    /// The file's path relative to the archive's root. `attempt` 1 is the plain name; 2 ends in `_2`, and so on
    /// for names that are taken. `extension` comes without its dot.
    pub fn path(&self, camera: &str, start: DateTime<Utc>, attempt: u32, extension: &str) -> PathBuf {
        let mut name = self.render(camera, start);
        if attempt > 1 {
            name.push_str(&format!("_{attempt}"));
        }
        name.push('.');
        name.push_str(extension);
        PathBuf::from(name)
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn render(&self, camera: &str, start: DateTime<Utc>) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Camera => camera.to_owned(),
                Piece::Time(specifier) => start.format(specifier).to_string(),
            })
            .collect()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layout({:?})", self.text)
    }
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let special = match first {
            '{' => {
                rest = rest.strip_prefix("{camera}").ok_or("the only name in braces is `{camera}`")?;
                Piece::Camera
            }
            '}' => return Err("`}` without a `{`".to_owned()),
            '%' => {
                rest = &rest[1..];
                if let Some(after) = rest.strip_prefix('%') {
                    plain.push('%');
                    rest = after;
                    continue;
                }
                let specifier = SPECIFIERS.iter().find(|known| rest.starts_with(**known)).ok_or_else(|| {
                    let wrong: String = rest.chars().take(1).collect();
                    format!("`%{wrong}` is no time that a file name can hold")
                })?;
                rest = &rest[specifier.len()..];
                Piece::Time(format!("%{specifier}"))
            }
            '\\' => return Err("`\\` can't be in a file name here; folders are separated by `/`".to_owned()),
            _ if first.is_control() => return Err("there is a control character in it".to_owned()),
            _ => {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(special);
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    if text.starts_with('/') {
        return Err("it must not begin with `/`: it is relative to `archive.path`".to_owned());
    }
    Ok(pieces)
}

fn check_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("a folder or file in it has no name".to_owned()),
        "." | ".." => Err(format!("`{name}` would leave the archive's folders")),
        _ if name.len() > LONGEST_NAME_BYTES => Err("a folder or file name in it is too long".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use chrono::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn april() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2017, 4, 2, 9, 5, 7).unwrap()
    }

    #[test]
    fn the_default_layout() {
        let layout = Layout::parse("{camera}/%Y/%m/%d/video_%Y-%m-%dT%H%M%S").unwrap();
        let path = |attempt| layout.path("front-door", april(), attempt, "mp4").display().to_string();
        assert_eq!(path(1), "front-door/2017/04/02/video_2017-04-02T090507.mp4");
        assert_eq!(path(2), "front-door/2017/04/02/video_2017-04-02T090507_2.mp4");
    }

    #[test]
    fn what_is_refused_and_why() {
        let reasons: Vec<String> = [
            "%Y/%m/%d",
            "{camera}/video",
            "{camera}/%Q",
            "{camera}/%",
            "{camera}/%-d",
            "{camera}/%T",
            "{camera}/%Y-%m-%d%#z",
            "{name}/%Y",
            "{camera",
            "camera}/%Y",
            "/{camera}/%Y",
            "../{camera}/%Y",
            "{camera}/../../%Y",
            "{camera}//%Y",
            "{camera}/%Y/",
            "{camera}/./%Y",
            "{camera}\\%Y",
            "{camera}\n%Y",
            "",
        ]
        .iter()
        .map(|text| format!("{text:?}: {}", Layout::parse(text).unwrap_err()))
        .collect();
        insta::assert_snapshot!(reasons.join("\n"));
    }

    #[test]
    fn every_specifier_can_be_formatted() {
        for specifier in SPECIFIERS {
            let layout = Layout::parse(&format!("{{camera}}_%{specifier}")).unwrap();
            let name = layout.path("c", april(), 1, "mkv").display().to_string();
            assert!(name.len() > "c_.mkv".len() && !name.contains(['/', ':', ' ', '%']), "{specifier}: {name}");
        }
    }

    #[test]
    fn a_double_percent_is_a_percent() {
        let layout = Layout::parse("{camera}_100%%_%Y").unwrap();
        assert_eq!(layout.path("c", april(), 1, "mp4"), PathBuf::from("c_100%_2017.mp4"));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_inside_the_archive(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("{camera}".to_owned()), Just("/".to_owned()), Just("..".to_owned()), Just(".".to_owned()),
                    "%[%YmdHMSjTDxcz+3f6:.#-]{1,3}", "[a-z]{1,4}", ".{0,3}",
                ],
                0..9,
            ),
            seconds in 0i64..4_000_000_000,
            attempt in 1u32..9,
        ) {
            if let Ok(layout) = Layout::parse(&parts.concat()) {
                let path = layout.path("cam", DateTime::from_timestamp(seconds, 0).unwrap(), attempt, "mp4");
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                let text = path.display().to_string();
                prop_assert!(text.contains("cam") && text.ends_with(".mp4"));
            }
        }

        #[test]
        fn attempts_and_cameras_never_share_a_name(seconds in 0i64..4_000_000_000, a in 1u32..99, b in 1u32..99) {
            let layout = Layout::parse("{camera}/%Y/%m/%d/video_%Y-%m-%dT%H%M%S").unwrap();
            let start = DateTime::from_timestamp(seconds, 0).unwrap();
            prop_assert_eq!(layout.path("c", start, a, "mp4") == layout.path("c", start, b, "mp4"), a == b);
            prop_assert_ne!(layout.path("c", start, a, "mp4"), layout.path("d", start, a, "mp4"));
        }
    }
}
