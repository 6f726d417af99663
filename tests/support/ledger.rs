//! What the archive says became of each picture of a [`NumberedCamera`]: it is in one file, or a gap tells of its time,
//! or its recording was deleted. Nothing else may be.
//!
//! Read from the day journals, which say also what the index has forgotten with old recordings, and from the files
//! themselves, as soon as they are closed: retention may delete them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::numbered::{NumberedCamera, numbers_in};

/// The times of a recording and of a gap come of the moments at which pictures arrive, and the camera knows when it
/// took them: so far the two may be apart on a machine that is busy.
pub const TOLERANCE: TimeDelta = TimeDelta::milliseconds(500);

type Stretch = Range<DateTime<Utc>>;

/// A recording that was closed, as the journal has it.
struct Closed {
    camera: String,
    stretch: Stretch,
    path: String,
    /// None: it was deleted before anybody could look.
    numbers: Option<Vec<u64>>,
    is_deleted: bool,
}

/// All that was written down and stored so far.
#[derive(Default)]
pub struct Ledger {
    archive: PathBuf,
    /// How far each journal was read.
    read: BTreeMap<PathBuf, usize>,
    recordings: BTreeMap<i64, Closed>,
    gaps: BTreeMap<(String, DateTime<Utc>, String), Option<DateTime<Utc>>>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// What became of the pictures of a camera.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub taken: u64,
    /// Of those, the ones that were sent to nobody.
    pub unsent: u64,
    pub in_files: u64,
    /// Of those, the ones whose file retention has deleted.
    pub deleted: u64,
    /// Of the deleted, the ones that nobody had read before: their row tells.
    pub deleted_unread: u64,
    pub in_gaps: BTreeMap<String, u64>,
    /// Of those in gaps, the ones that are within the tolerance of its edge, and not between.
    pub at_edges: u64,
    /// Were not to be recorded.
    pub unwanted: u64,
    pub missing: Vec<Range<u64>>,
    pub doubled: Vec<Range<u64>>,
    /// Stored, though a gap says that nothing was at their time.
    pub belied: Vec<Range<u64>>,
}

impl Verdict {
    /// Takes in what became of another camera's; runs of numbers stand one after the other.
    pub fn add(&mut self, other: &Verdict) {
        self.taken += other.taken;
        self.unsent += other.unsent;
        self.in_files += other.in_files;
        self.deleted += other.deleted;
        self.deleted_unread += other.deleted_unread;
        self.at_edges += other.at_edges;
        self.unwanted += other.unwanted;
        other.in_gaps.iter().for_each(|(cause, pictures)| *self.in_gaps.entry(cause.clone()).or_default() += pictures);
        self.missing.extend(other.missing.iter().cloned());
        self.doubled.extend(other.doubled.iter().cloned());
        self.belied.extend(other.belied.iter().cloned());
    }
}

impl Ledger {
    pub fn of(archive: &Path) -> Self {
        Ledger { archive: archive.to_owned(), ..Ledger::default() }
    }

    /// Reads what was written down since the last time, and the files that were closed.
    pub fn look(&mut self) {
        let mut journals: Vec<PathBuf> = Vec::new();
        for camera in fs::read_dir(self.archive.join(".journal")).into_iter().flatten().flatten() {
            journals.extend(fs::read_dir(camera.path()).into_iter().flatten().flatten().map(|day| day.path()));
        }
        journals.sort();
        let mut looked_at = BTreeSet::new();
        for path in journals {
            let Ok(text) = fs::read(&path) else { continue };
            let from = self.read.get(&path).copied().unwrap_or(0).min(text.len());
            let to = text.iter().rposition(|byte| *byte == b'\n').map_or(from, |end| end + 1).max(from);
            for line in text[from..to].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                // A torn line in the middle cannot be: the next is written over it.
                let line = serde_json::from_slice(line).expect("a line of the journal is JSON");
                looked_at.extend(self.take(&line));
            }
            self.read.insert(path, to);
        }
        for id in looked_at {
            let Some(closed) = self.recordings.get_mut(&id).filter(|closed| !closed.is_deleted) else { continue };
            let path = self.archive.join(&closed.path);
            match numbers_in(&path) {
                Ok(numbers) => closed.numbers = Some(numbers),
                // Its row is older than its end.
                Err(_) if !path.exists() => {}
                Err(error) => self.unreadable.push(error),
            }
        }
    }

    /// Takes a line; gives back the recording whose file can be looked at now.
    fn take(&mut self, line: &Value) -> Option<i64> {
        let time = |of: &Value, key: &str| of[key].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
        let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
        if let Some(row) = line.get("recording") {
            let id = row["id"].as_i64()?;
            let stretch = time(row, "start")?..time(row, "end")?;
            let known = self.recordings.remove(&id);
            let numbers = known.and_then(|known| known.numbers);
            let (camera, path) = (text(row, "camera"), text(row, "path"));
            self.recordings.insert(id, Closed { camera, stretch, path, numbers, is_deleted: false });
            return Some(id);
        }
        if let Some(deleted) = line.get("deleted") {
            if let Some(closed) = self.recordings.get_mut(&deleted["id"].as_i64()?) {
                closed.is_deleted = true;
            }
        } else if let Some(gap) = line.get("gap") {
            let end = self.gaps.entry((text(gap, "camera"), time(gap, "start")?, text(gap, "cause"))).or_default();
            *end = (*end).max(time(gap, "end"));
        } else if let Some(gap) = line.get("no_gap") {
            // One that has ended has been one.
            let known = (text(gap, "camera"), time(gap, "start")?, text(gap, "cause"));
            self.gaps.retain(|key, end| *key != known || end.is_some());
        }
        None
    }

    /// Gaps of a camera, each with its cause; one that goes on does so till `now`.
    pub fn gaps(&self, camera: &str, now: DateTime<Utc>) -> Vec<(Stretch, &str)> {
        let of_camera = self.gaps.iter().filter(|((of, _, _), _)| of == camera);
        of_camera.map(|((_, start, cause), end)| (*start..end.unwrap_or(now), cause.as_str())).collect()
    }

    /// Recordings that were deleted, and their number of all.
    pub fn deleted(&self) -> (usize, usize) {
        (self.recordings.values().filter(|closed| closed.is_deleted).count(), self.recordings.len())
    }

    /// Numbers of the pictures of a camera that are in files, or were, each as often as it is.
    fn stored(&self, camera: &str) -> BTreeMap<u64, (u32, bool)> {
        let mut stored = BTreeMap::new();
        // A recording that was found again may have two rows; its file counts once.
        let mut paths = BTreeSet::new();
        for closed in self.recordings.values().filter(|closed| closed.camera == camera) {
            if !paths.insert(&closed.path) {
                continue;
            }
            for number in closed.numbers.iter().flatten() {
                let known: &mut (u32, bool) = stored.entry(*number).or_default();
                known.0 += 1;
                known.1 |= closed.is_deleted;
            }
        }
        stored
    }

    /// The number of the first picture that was stored.
    pub fn first(&self, camera: &str) -> Option<u64> {
        self.stored(camera).keys().next().copied()
    }

    /// Since when the archive knows of a camera.
    pub fn known_since(&self, camera: &str) -> Option<DateTime<Utc>> {
        let recorded = self.recordings.values().filter(|closed| closed.camera == camera);
        let told = self.gaps.keys().filter(|(of, _, _)| of == camera);
        recorded.map(|closed| closed.stretch.start).chain(told.map(|(_, start, _)| *start)).min()
    }

    /// Says what became of the pictures in `judged`, all of which were to be recorded but for those taken in
    /// `unwanted`.
    pub fn judge(&self, name: &str, camera: &NumberedCamera, judged: &[Range<u64>], unwanted: &[Stretch]) -> Verdict {
        let stored = self.stored(name);
        let gaps = self.gaps(name, camera.taken_at(camera.taken()));
        let unread: Vec<&Stretch> = self
            .recordings
            .values()
            .filter(|closed| closed.camera == name && closed.is_deleted && closed.numbers.is_none())
            .map(|closed| &closed.stretch)
            .collect();
        let sent = camera.sent();
        let within = |stretch: &Stretch, at: DateTime<Utc>, wider: TimeDelta| {
            stretch.start - wider <= at && at < stretch.end + wider
        };
        let mut verdict = Verdict::default();
        for number in judged.iter().cloned().flatten() {
            let at = camera.taken_at(number);
            let (times, is_deleted) = stored.get(&number).copied().unwrap_or_default();
            verdict.taken += 1;
            verdict.unsent += u64::from(!sent.iter().any(|run| run.contains(&number)));
            if times > 0 {
                verdict.in_files += 1;
                verdict.deleted += u64::from(is_deleted);
                if times > 1 {
                    add(&mut verdict.doubled, number);
                }
                if gaps.iter().any(|(gap, _)| within(gap, at, -TOLERANCE)) {
                    add(&mut verdict.belied, number);
                }
                continue;
            }
            let in_gap = |wider| gaps.iter().find(|(gap, _)| within(gap, at, wider)).map(|(_, cause)| *cause);
            if let Some(cause) = in_gap(TimeDelta::zero()) {
                *verdict.in_gaps.entry(cause.to_owned()).or_default() += 1;
            } else if unwanted.iter().any(|stretch| within(stretch, at, TimeDelta::zero())) {
                verdict.unwanted += 1;
            } else if unread.iter().any(|stretch| within(stretch, at, TOLERANCE)) {
                verdict.deleted += 1;
                verdict.deleted_unread += 1;
            } else if let Some(cause) = in_gap(TOLERANCE) {
                *verdict.in_gaps.entry(cause.to_owned()).or_default() += 1;
                verdict.at_edges += 1;
            } else {
                add(&mut verdict.missing, number);
            }
        }
        verdict
    }
}

/// Adds a number to runs that rise.
fn add(runs: &mut Vec<Range<u64>>, number: u64) {
    match runs.last_mut() {
        Some(run) if run.end == number => run.end += 1,
        _ => runs.push(number..number + 1),
    }
}

/// How many numbers there are in runs.
pub fn count(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}
