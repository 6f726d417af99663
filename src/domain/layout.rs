//! The names of recordings inside the archive: a checked template of `{camera}`, `{trigger}` and the time of the first
//! packet.
//!
//! A [`Layout`] that exists is harmless: it can be formatted for every time, stays inside the archive and tells
//! cameras apart. Creating folders and finding out whether a name is taken belong to the archive.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::camera::Reason;
use super::timezone::Zone;

/// Time specifiers that give something fit for a file's name. chrono knows more; those would put spaces, colons
/// or slashes into names, or can't be formatted at all.
const SPECIFIERS: &[&str] = &[
    "Y", "y", "m", "d", "j", "H", "I", "p", "M", "S", "3f", "6f", "b", "B", "a", "A", "u", "G", "V", "U", "W", "s",
    "F", "z",
];

/// Most bytes of one folder or file name of a layout, so that the camera's name, `_2` and the extension still
/// fit into the 255 that file systems take.
const LONGEST_NAME_BYTES: usize = 150;

/// A checked template of file names, and the zone of its times. Both equal: equal layouts.
#[derive(Clone, PartialEq, Eq)]
pub struct Layout {
    text: String,
    pieces: Vec<Piece>,
    zone: Zone,
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Camera,
    /// What began the recording.
    Trigger,
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
        let layout = Layout { text: text.to_owned(), pieces, zone: Zone::UTC };
        // An instant whose fields have their usual widths, and the longest reason.
        layout.render("c", Reason::DetectorDown, DateTime::UNIX_EPOCH).split('/').try_for_each(check_name)?;
        Ok(layout)
    }

    /// The same template with its times in another zone; at first they are in UTC.
    pub fn in_zone(self, zone: Zone) -> Layout {
        Layout { zone, ..self }
    }

    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The file's path relative to the archive's root. `attempt` 1 is the plain name; 2 ends in `_2`, and so on
    /// for names that are taken. `extension` comes without its dot.
    pub fn path(&self, camera: &str, reason: Reason, start: DateTime<Utc>, attempt: u32, extension: &str) -> PathBuf {
        let mut name = self.render(camera, reason, start);
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

    fn render(&self, camera: &str, reason: Reason, start: DateTime<Utc>) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Camera => camera.to_owned(),
                Piece::Trigger => reason.name().to_owned(),
                Piece::Time(specifier) => self.zone.format(start, specifier),
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
        write!(f, "Layout({:?}, {})", self.text, self.zone)
    }
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let special = match first {
            '{' => {
                let names = [("{camera}", Piece::Camera), ("{trigger}", Piece::Trigger)];
                let named = names.into_iter().find_map(|(name, piece)| Some((rest.strip_prefix(name)?, piece)));
                let (after, piece) = named.ok_or("the only names in braces are `{camera}` and `{trigger}`")?;
                rest = after;
                piece
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
        let path = |attempt| layout.path("front-door", Reason::Motion, april(), attempt, "mp4").display().to_string();
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
            let name = layout.path("c", Reason::Motion, april(), 1, "mkv").display().to_string();
            assert!(name.len() > "c_.mkv".len() && !name.contains(['/', ':', ' ', '%']), "{specifier}: {name}");
        }
    }

    #[test]
    fn what_began_the_recording_is_in_its_name() {
        let layout = Layout::parse("{camera}/{trigger}/%Y-%m-%dT%H%M%S").unwrap();
        for (reason, path) in [
            (Reason::Motion, "c/motion/2017-04-02T090507.mp4"),
            (Reason::Manual, "c/manual/2017-04-02T090507.mp4"),
            (Reason::Continuous, "c/continuous/2017-04-02T090507.mp4"),
            (Reason::DetectorDown, "c/detector_down/2017-04-02T090507.mp4"),
        ] {
            assert_eq!(layout.path("c", reason, april(), 1, "mp4"), PathBuf::from(path));
        }
        assert!(Layout::parse("{trigger}/%Y").is_err(), "the cameras' files would mix");
    }

    #[test]
    fn times_of_a_zone_with_its_daylight_saving() {
        let layout = Layout::parse("{camera}/%Y-%m-%d/%H%M%S%z_%s").unwrap();
        let name = |zone: &str, instant: &str| {
            let layout = layout.clone().in_zone(zone.parse().unwrap());
            let instant = DateTime::parse_from_rfc3339(instant).unwrap().to_utc();
            layout.path("c", Reason::Motion, instant, 1, "mp4").display().to_string()
        };
        assert_eq!(name("UTC", "2017-04-02T23:05:07Z"), "c/2017-04-02/230507+0000_1491174307.mp4");
        assert_eq!(name("Europe/Berlin", "2017-04-02T23:05:07Z"), "c/2017-04-03/010507+0200_1491174307.mp4");
        assert_eq!(name("America/St_Johns", "2017-01-02T02:00:00Z"), "c/2017-01-01/223000-0330_1483322400.mp4");
        // An hour that there is not, and one that there is twice.
        assert_eq!(name("Europe/Berlin", "2024-03-31T00:59:59Z"), "c/2024-03-31/015959+0100_1711846799.mp4");
        assert_eq!(name("Europe/Berlin", "2024-03-31T01:00:00Z"), "c/2024-03-31/030000+0200_1711846800.mp4");
        assert_eq!(name("Europe/Berlin", "2024-10-27T00:30:00Z"), "c/2024-10-27/023000+0200_1729989000.mp4");
        assert_eq!(name("Europe/Berlin", "2024-10-27T01:30:00Z"), "c/2024-10-27/023000+0100_1729992600.mp4");
    }

    #[test]
    fn another_zone_is_another_layout() {
        let layout = Layout::parse("{camera}/%Y").unwrap();
        assert_ne!(layout.clone().in_zone(Zone::Local), layout);
        assert_eq!(layout.clone().in_zone("UTC".parse().unwrap()), layout);
    }

    #[test]
    fn a_double_percent_is_a_percent() {
        let layout = Layout::parse("{camera}_100%%_%Y").unwrap();
        assert_eq!(layout.path("c", Reason::Motion, april(), 1, "mp4"), PathBuf::from("c_100%_2017.mp4"));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_inside_the_archive(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("{camera}".to_owned()), Just("{trigger}".to_owned()), Just("/".to_owned()), Just("..".to_owned()), Just(".".to_owned()),
                    "%[%YmdHMSjTDxcz+3f6:.#-]{1,3}", "[a-z]{1,4}", ".{0,3}",
                ],
                0..9,
            ),
            seconds in 0i64..4_000_000_000,
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            attempt in 1u32..9,
        ) {
            if let Ok(layout) = Layout::parse(&parts.concat()) {
                let layout = layout.in_zone(Zone::Named(zone));
                let path = layout.path("cam", Reason::Manual, DateTime::from_timestamp(seconds, 0).unwrap(), attempt, "mp4");
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                let text = path.display().to_string();
                prop_assert!(text.contains("cam") && text.ends_with(".mp4"));
            }
        }

        #[test]
        fn attempts_and_cameras_never_share_a_name(seconds in 0i64..4_000_000_000, a in 1u32..99, b in 1u32..99) {
            let layout = Layout::parse("{camera}/%Y/%m/%d/video_%Y-%m-%dT%H%M%S").unwrap();
            let start = DateTime::from_timestamp(seconds, 0).unwrap();
            prop_assert_eq!(layout.path("c", Reason::Motion, start, a, "mp4") == layout.path("c", Reason::Motion, start, b, "mp4"), a == b);
            prop_assert_ne!(layout.path("c", Reason::Motion, start, a, "mp4"), layout.path("d", Reason::Motion, start, a, "mp4"));
        }
    }
}
