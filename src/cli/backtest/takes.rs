//! Which video is looked at, and what is known of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{BacktestArgs, seconds};
use crate::archive::index::IndexReader;
use crate::archive::state::StateDb;
use crate::archive::stretches::{self, Stretch};
use crate::clock;
use crate::config::Loaded;
use crate::domain::judge::{Seconds, Truth};
use crate::domain::label::{Label, LabelFile, Verdict};
use crate::media::backtest::Reel;
use crate::media::packet::Session;
use crate::media::source::{self, Cancel, OpenOptions};

/// So much around a label is looked at: what settles before it, and what hangs on behind it.
const AROUND: TimeDelta = TimeDelta::seconds(20);
/// Recordings of so long are looked at where nobody says which.
const LAST: TimeDelta = TimeDelta::hours(24);

/// A stretch of video.
pub struct Take {
    /// The file; None: of the archive.
    pub file: Option<PathBuf>,
    /// When its first picture was taken; of the archive's.
    start: Option<Stretch>,
    pub reel: Reel,
    known: Known,
}

enum Known {
    Nothing,
    All(Truth),
    /// In seconds of the reel.
    Parts(Vec<(Seconds, Verdict)>),
}

impl Take {
    pub fn is_labelled(&self) -> bool {
        !matches!(self.known, Known::Nothing)
    }

    /// What was there, of video that ends at `last_us`.
    pub fn truth(&self, last_us: i64) -> Option<Truth> {
        match &self.known {
            Known::Nothing => None,
            Known::All(truth) => Some(truth.clone()),
            Known::Parts(parts) => {
                let of = |wanted: Verdict| -> Vec<Seconds> {
                    parts.iter().filter(|(_, verdict)| *verdict == wanted).map(|(span, _)| *span).collect()
                };
                Some(Truth::of_parts(seconds(last_us), of(Verdict::Event), &of(Verdict::NotEvent)))
            }
        }
    }

    /// A time of it, for people and programs.
    pub fn time(&self, at_us: i64) -> String {
        match &self.start {
            Some(stretch) => stretch.utc(at_us).to_rfc3339_opts(SecondsFormat::Millis, true),
            None => format!("{:.3}", seconds(at_us)),
        }
    }

    pub fn utc(&self, at_us: i64) -> Option<DateTime<Utc>> {
        self.start.as_ref().map(|stretch| stretch.utc(at_us))
    }

    fn of_file(file: PathBuf, known: Known) -> Self {
        let options = OpenOptions::of_file(&file);
        // What can't be opened is told when it is played.
        let length_us = source::open(&options, Arc::new(Session::new(1)), &Cancel::new())
            .ok()
            .and_then(|source| source.duration_us())
            .unwrap_or(0);
        let reel = Reel { length_us, ..Reel::of_file(file.clone()) };
        Take { file: Some(file), start: None, reel, known }
    }

    fn of_stretch(stretch: Stretch, labels: &[Label]) -> Self {
        let (from, to) = (stretch.utc(stretch.reel.from_us), stretch.utc(stretch.reel.to_us.min(i64::MAX / 2)));
        let in_reel = |at: DateTime<Utc>| seconds(stretch.at_us(at).max(0));
        let parts: Vec<(Seconds, Verdict)> = labels
            .iter()
            .filter(|label| label.to > from.max(stretch.start) && label.from < to)
            .map(|label| ((in_reel(label.from), in_reel(label.to)), label.verdict))
            .collect();
        let known = if parts.is_empty() { Known::Nothing } else { Known::Parts(parts) };
        let reel = stretch.reel.clone();
        Take { file: None, start: Some(stretch), reel, known }
    }
}

/// All video of this command, in order. The error says what is missing.
pub fn gather(arguments: &BacktestArgs, labels: Option<LabelFile>, loaded: &Loaded) -> Result<Vec<Take>, String> {
    let takes = match (&arguments.files[..], &arguments.camera, labels) {
        ([], Some(camera), labels) => of_camera(camera, arguments, labels, loaded)?,
        ([], None, Some(labels)) => {
            let folder = arguments.labels.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
            of_labels(folder, labels)
        }
        ([], None, None) => return Err("name files, a --camera, or --labels that name clips".to_owned()),
        (files, _, labels) => {
            let labels = labels.unwrap_or_default();
            files.iter().map(|file| Take::of_file(file.clone(), known(file, &labels))).collect()
        }
    };
    if takes.is_empty() {
        return Err(match &arguments.camera {
            Some(camera) => format!("the archive holds nothing of {camera} in this time"),
            None => "the labels name no clip".to_owned(),
        });
    }
    Ok(takes)
}

/// What the labels say of this file, which they know by its name.
fn known(file: &Path, labels: &LabelFile) -> Known {
    let is_it = |name: &str| Path::new(name).file_name() == file.file_name();
    let mut clips = labels.clips.iter();
    if let Some((_, truth)) = clips.find(|(name, truth)| is_it(&clip_file(name, truth))) {
        return Known::All(truth.clone());
    }
    let parts = labels.of_files.iter().filter(|(name, ..)| is_it(name));
    let parts: Vec<_> = parts.map(|(_, span, verdict)| (*span, *verdict)).collect();
    if parts.is_empty() { Known::Nothing } else { Known::Parts(parts) }
}

fn clip_file(name: &str, truth: &Truth) -> String {
    truth.file.clone().unwrap_or_else(|| format!("{name}.mp4"))
}

/// The clips that the labels name, in their folder or in `clips` below it.
fn of_labels(folder: &Path, labels: LabelFile) -> Vec<Take> {
    let place = |name: &str| {
        let beside = folder.join(name);
        if beside.exists() {
            beside
        } else {
            Some(folder.join("clips").join(name)).filter(|p| p.exists()).unwrap_or(beside)
        }
    };
    let mut files: Vec<String> = labels.clips.iter().map(|(name, truth)| clip_file(name, truth)).collect();
    files.extend(labels.of_files.iter().map(|(name, ..)| name.clone()));
    files.dedup();
    let take = |name: String| {
        let file = place(&name);
        let known = known(&file, &labels);
        Take::of_file(file, known)
    };
    files.into_iter().map(take).collect()
}

fn of_camera(
    camera: &str,
    arguments: &BacktestArgs,
    labels: Option<LabelFile>,
    loaded: &Loaded,
) -> Result<Vec<Take>, String> {
    let root = &loaded.global.archive.path;
    let labels: Vec<Label> = match labels {
        Some(file) => file.of_cameras.into_iter().filter(|label| label.camera == camera).collect(),
        None => {
            let stored = StateDb::of(root).labels().map_err(|error| error.to_string())?;
            stored.of_camera(camera).cloned().collect()
        }
    };
    let spans = match (arguments.from, arguments.to) {
        (None, None) if labels.is_empty() => vec![(Some(clock::utc_now() - LAST), None)],
        (None, None) => around(&labels).into_iter().map(|(from, to)| (Some(from), Some(to))).collect(),
        span => vec![span],
    };
    let index = IndexReader::open(root).map_err(|error| error.to_string())?;
    let mut takes = Vec::new();
    for (from, to) in spans {
        let stretches = stretches::of(&index, root, camera, from, to).map_err(|error| error.to_string())?;
        takes.extend(stretches.into_iter().map(|stretch| Take::of_stretch(stretch, &labels)));
    }
    Ok(takes)
}

/// The time around labels, each moment once.
fn around(labels: &[Label]) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let mut spans: Vec<_> = labels.iter().map(|label| (label.from - AROUND, label.to + AROUND)).collect();
    spans.sort();
    let mut merged: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_lie_close_are_one_span() {
        let at = |s: i64| DateTime::from_timestamp(1_800_000_000 + s, 0).unwrap();
        let label = |from, to| Label { camera: "yard".into(), from: at(from), to: at(to), verdict: Verdict::Event };
        let spans = around(&[label(500, 510), label(100, 110), label(130, 140)]);
        assert_eq!(spans, [(at(80), at(160)), (at(480), at(530))]);
    }

    #[test]
    fn a_file_is_known_by_its_name() {
        let truth = Truth { duration: 9.0, ..Truth::default() };
        let labels = LabelFile {
            clips: [("gate".to_owned(), truth)].into(),
            of_files: vec![("yard.mkv".into(), (1.0, 2.0), Verdict::Event)],
            ..LabelFile::default()
        };
        assert!(matches!(known(Path::new("/clips/gate.mp4"), &labels), Known::All(_)));
        assert!(matches!(known(Path::new("yard.mkv"), &labels), Known::Parts(_)));
        assert!(matches!(known(Path::new("yard.mp4"), &labels), Known::Nothing));
    }
}
