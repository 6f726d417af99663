//! Files of labels: what people said of their videos, as YAML or JSON.
//!
//! A list, one label an item, as `tarsier backtest` and pages write it (JSON with one object a line is one, too):
//!
//! ```yaml
//! - { camera: yard, from: "2026-05-01T06:00:00Z", to: "2026-05-01T06:00:20Z", verdict: event }
//! - { file: gate.mp4, from: 12.0, to: 20.4, verdict: not-event }
//! ```
//!
//! Or a map from clips to all that is in them (`truth.json`): see [`Truth`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};

use super::problem::{Mark, Problem};
use super::{scan, text};
use crate::domain::judge::Truth;
use crate::domain::label::{Label, LabelFile, Verdict};

const HINT: &str = "a label is for example { camera: yard, from: \"2026-05-01T06:00:00Z\", to: \
                    \"2026-05-01T06:00:20Z\", verdict: event }, or { file: gate.mp4, from: 12.0, to: 20.4, verdict: \
                    not-event }";

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    camera: Option<String>,
    file: Option<String>,
    from: Moment,
    to: Moment,
    verdict: Verdict,
}

/// Of a camera a time, of a file seconds.
#[derive(Clone, Copy)]
enum Moment {
    Utc(DateTime<Utc>),
    Seconds(f64),
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as 2026-05-01T06:00:00Z, or seconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                let time = DateTime::parse_from_rfc3339(text).map_err(|_| E::custom(format!("{text:?} is no time")))?;
                Ok(Moment::Utc(time.to_utc()))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Moment, E> {
                Ok(Moment::Seconds(seconds))
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Moment, E> {
                Ok(Moment::Seconds(seconds as f64))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Moment, E> {
                Ok(Moment::Seconds(seconds as f64))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads a file of labels.
pub fn read(path: &Path) -> Result<LabelFile, Problem> {
    let text = text::read(path)?
        .ok_or_else(|| Mark::top(path).problem("there is no such file", "labels are a YAML or JSON file".to_owned()))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<LabelFile, Problem> {
    let begins = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#') && *line != "---");
    match begins {
        None => Ok(LabelFile::default()),
        Some(line) if line.starts_with(['-', '[']) => {
            let items: Vec<Item> = typed(path, text, 0)?;
            collect(path, items.into_iter().map(|item| (1, item)))
        }
        // One object a line.
        Some(line) if line.starts_with('{') && line.ends_with('}') && line.contains("\"verdict\"") => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let items: Vec<(u32, Item)> = lines
                .map(|(n, line)| Ok((n as u32 + 1, typed(path, line, n as u32)?)))
                .collect::<Result<_, Problem>>()?;
            collect(path, items)
        }
        Some(_) => {
            let clips: BTreeMap<String, Truth> = typed(path, text, 0)?;
            Ok(LabelFile { clips, ..LabelFile::default() })
        }
    }
}

/// `before`: lines of the file that come before the text.
fn typed<T: DeserializeOwned>(path: &Path, text: &str, before: u32) -> Result<T, Problem> {
    serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line() as u32, at.column() as u32));
        let at = Mark { line: before + line, column, ..Mark::top(path) };
        at.problem(format!("is no label: {error}"), HINT.to_owned())
    })
}

fn collect(path: &Path, items: impl IntoIterator<Item = (u32, Item)>) -> Result<LabelFile, Problem> {
    let mut labels = LabelFile::default();
    for (n, (line, item)) in items.into_iter().enumerate() {
        let wrong = |what: &str| {
            let at = Mark { line, ..Mark::top(path) };
            at.problem(format!("label {} {what}", n + 1), HINT.to_owned())
        };
        match (item.camera, item.file, item.from, item.to) {
            (Some(camera), None, Moment::Utc(from), Moment::Utc(to)) => {
                if !scan::is_camera_name(&camera) {
                    return Err(wrong("names no camera"));
                }
                if from >= to {
                    return Err(wrong("ends before it begins"));
                }
                labels.of_cameras.push(Label { camera, from, to, verdict: item.verdict });
            }
            (None, Some(file), Moment::Seconds(from), Moment::Seconds(to)) => {
                if !(from < to && from >= 0.0 && to.is_finite()) {
                    return Err(wrong("ends before it begins"));
                }
                labels.of_files.push((file, (from, to), item.verdict));
            }
            _ => return Err(wrong("is neither a camera's, with times, nor a file's, with seconds")),
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LabelFile, String> {
        parse(Path::new("labels.yaml"), text).map_err(|problem| problem.to_string())
    }

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_is_read_as_yaml_as_json_and_line_by_line() {
        let yaml = "# by hand\n- {camera: yard, from: 2026-05-01T06:00:00Z, to: \"2026-05-01T08:00:20+02:00\", verdict: event}\n\
                    - {file: gate.mp4, from: 12, to: 20.4, verdict: not-event}\n";
        let lines = "{\"camera\":\"yard\",\"from\":\"2026-05-01T06:00:00Z\",\"to\":\"2026-05-01T06:00:20Z\",\"verdict\":\"event\"}\n\
                     {\"file\":\"gate.mp4\",\"from\":12.0,\"to\":20.4,\"verdict\":\"not-event\"}\n\n";
        let json = format!("[{}]", lines.trim().replace('\n', ","));
        let (from, to) = (time("2026-05-01T06:00:00Z"), time("2026-05-01T06:00:20Z"));
        let expected = LabelFile {
            of_cameras: vec![Label { camera: "yard".into(), from, to, verdict: Verdict::Event }],
            of_files: vec![("gate.mp4".into(), (12.0, 20.4), Verdict::NotEvent)],
            ..LabelFile::default()
        };
        for text in [yaml, lines, &json] {
            assert_eq!(read(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(read("\n"), Ok(LabelFile::default()));
    }

    #[test]
    fn the_truth_of_clips_is_taken_as_it_is() {
        let labels = read(
            r#"{ "gate": {"file": "gate.mp4", "duration": 60.0, "events": [[12.0, 20.4]], "fps": 10, "ignore": [[30, 31.5]]} }"#,
        );
        let truth = &labels.unwrap().clips["gate"];
        assert_eq!(
            (truth.duration, &truth.events[..], &truth.ignore[..]),
            (60.0, &[(12.0, 20.4)][..], &[(30.0, 31.5)][..])
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, words) in [
            ("- {camera: yard, from: soon, to: later, verdict: event}", 1, "is no time"),
            ("- {camera: yard, from: 1, to: 2, verdict: event}", 1, "neither a camera's"),
            ("- {file: a.mp4, from: 5, to: 2, verdict: event}", 1, "ends before"),
            ("- {camera: ../x, from: 2026-05-01T06:00:00Z, to: 2026-05-01T06:00:01Z, verdict: event}", 1, "no camera"),
            (
                "- {file: a.mp4, from: 1, to: 2, verdict: event}\n- {file: a.mp4, from: 1, to: 2, verdict: maybe}",
                2,
                "maybe",
            ),
            (
                "{\"file\":\"a\",\"from\":1,\"to\":2,\"verdict\":\"event\"}\n{\"file\":\"a\",\"from\":2}",
                2,
                "missing field",
            ),
            ("gate: 12", 1, "is no label"),
            ("just words", 1, "is no label"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.starts_with(&format!("labels.yaml:{line}:")) && problem.contains(words), "{problem}");
        }
    }
}
