//! Puts into a new index what the day journals say: rows as they were, and what no file can say.
//!
//! A row whose file is gone is left out, and so is what the index knows already: it was told later. Files that no
//! journal speaks of are `recovery`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, NaiveDate, Utc};

use super::index::journal::{Deleted, Entry, Forgotten, FoundIn, Journals, Listed, Scores};
use super::index::{Index, IndexError};
use crate::domain::found::Found;
use crate::domain::recording::{Gap, MotionEvent, Recording};
use crate::domain::score::{self, Minute};

/// So much of a file has its last lines.
const LAST_BYTES: u64 = 16 << 10;
/// Changes after which the index is waited for.
const CHUNK: u32 = 1000;

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Days {
    /// So many days of those that there are, the newest.
    Newest(usize),
    All,
    /// Only the last lines of the two newest days: what a crash may have kept from the index.
    LastLines,
}

/// What was put into the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub recordings: u64,
    /// Lines that could not be understood.
    pub unclear: usize,
    /// Journals that could not be read, and why.
    pub failures: Vec<String>,
}

/// Why a replay broke off.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("{0}")]
    Slow(String),
    #[error("the journals cannot be listed: {0}")]
    Journals(io::Error),
}

/// Reads the journals, a day after the other, and tells the index what it does not know.
pub fn replay(root: &Path, index: &Index, which: Days, stop: &AtomicBool) -> Result<Replayed, ReplayError> {
    let journals = Journals::of(root);
    let mut days = journals.days().map_err(ReplayError::Journals)?;
    let newest = match which {
        Days::Newest(count) => count,
        Days::LastLines => 2,
        Days::All => usize::MAX,
    };
    while days.len() > newest {
        days.pop_first();
    }
    if days.is_empty() && which != Days::All {
        return Ok(Replayed::default());
    }
    let most_bytes = if which == Days::LastLines { LAST_BYTES } else { u64::MAX };
    let mut replay = Replay { root, index, stop, changes: 0, done: Replayed::default() };
    for (day, folders) in days {
        let folded = replay.read(&journals, day, &folders, most_bytes);
        replay.apply(folded, which)?;
    }
    replay.flush()?;
    if which == Days::All {
        index.replayed();
        replay.flush()?;
    }
    Ok(replay.done)
}

/// What is left of a day's lines when each has overruled those before it.
#[derive(Default)]
struct Folded {
    recordings: BTreeMap<i64, Listed>,
    gaps: BTreeMap<(String, DateTime<Utc>, &'static str), Gap>,
    events: BTreeMap<i64, MotionEvent>,
    /// What a model found in events, some of which are known otherwise.
    found: BTreeMap<i64, Vec<Found>>,
    /// Those that a person took away: ids are not used again.
    no_events: BTreeSet<i64>,
    minutes: BTreeMap<(String, i64), Minute>,
}

impl Folded {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Recording(listed) => _ = self.recordings.insert(listed.recording.id, listed),
            Entry::Deleted(Deleted { id, .. }) => _ = self.recordings.remove(&id),
            Entry::Gap(gap) => {
                let known = self.gaps.entry((gap.camera.clone(), gap.start, gap.cause.name())).or_insert(gap.clone());
                known.end = known.end.max(gap.end);
            }
            Entry::NoGap(gap) => {
                self.gaps.retain(|_, known| {
                    known.end.is_some()
                        || (&known.camera, known.start, known.cause) != (&gap.camera, gap.start, gap.cause)
                });
            }
            Entry::Event(event) => _ = self.events.insert(event.id, event),
            Entry::Found(FoundIn { id, found, .. }) => _ = self.found.insert(id, found),
            Entry::NoEvent(Deleted { id, .. }) => {
                self.events.remove(&id);
                self.found.remove(&id);
                self.no_events.insert(id);
            }
            Entry::Score(Scores { camera, minute, seconds }) => {
                let (minute, _) = score::place_of(minute.timestamp());
                self.minutes.entry((camera, minute)).or_default().merge(&seconds);
            }
            Entry::Forgotten(Forgotten { camera, before, .. }) => {
                let before_us = before.timestamp_micros();
                self.gaps.retain(|_, gap| {
                    gap.camera != camera || gap.end.is_none_or(|end| end.timestamp_micros() >= before_us)
                });
                self.events.retain(|_, event| {
                    event.camera != camera || event.end.is_none_or(|end| end.timestamp_micros() >= before_us)
                });
                self.minutes.retain(|(of, minute), _| {
                    *of != camera || (minute + 1) * score::SECONDS as i64 * 1_000_000 >= before_us
                });
            }
        }
    }
}

struct Replay<'a> {
    root: &'a Path,
    index: &'a Index,
    stop: &'a AtomicBool,
    changes: u32,
    done: Replayed,
}

impl Replay<'_> {
    fn read(&mut self, journals: &Journals, day: NaiveDate, folders: &BTreeSet<String>, most_bytes: u64) -> Folded {
        let mut folded = Folded::default();
        for folder in folders {
            match journals.read(folder, day, most_bytes) {
                Ok((entries, unclear)) => {
                    self.done.unclear += unclear;
                    entries.into_iter().for_each(|entry| folded.take(entry));
                }
                // Retention removes old ones meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.done.failures.push(format!("the journal of {folder} of {day}: {error}")),
            }
        }
        folded
    }

    fn apply(&mut self, folded: Folded, which: Days) -> Result<(), ReplayError> {
        for Listed { seq, recording } in folded.recordings.into_values() {
            if self.is_missing(&recording)? {
                self.index.restore(rounded(recording), seq);
                self.done.recordings += 1;
                self.changed()?;
            }
        }
        for gap in folded.gaps.into_values() {
            self.index.restore_gap(gap, which == Days::All);
            self.changed()?;
        }
        for id in folded.no_events {
            self.index.restore_no_event(id);
            self.changed()?;
        }
        for event in folded.events.into_values() {
            self.index.restore_event(event);
            self.changed()?;
        }
        for (id, found) in folded.found {
            self.index.restore_confirmed(id, found);
            self.changed()?;
        }
        for ((camera, minute), scores) in folded.minutes {
            self.index.restore_minute(&camera, minute, &scores);
            self.changed()?;
        }
        Ok(())
    }

    /// Does the index lack this recording, or its end, though its file is there?
    fn is_missing(&self, recording: &Recording) -> Result<bool, ReplayError> {
        if std::fs::symlink_metadata(self.root.join(&recording.path)).is_err() || self.index.is_live(recording.id) {
            return Ok(false);
        }
        Ok(match self.index.recording(recording.id)? {
            Some(known) => known.end.is_none() && recording.end.is_some(),
            None => !self.index.is_live_path(&recording.path) && self.index.by_path(&recording.path)?.is_none(),
        })
    }

    fn changed(&mut self) -> Result<(), ReplayError> {
        self.changes += 1;
        if self.changes >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ReplayError> {
        if self.stop.load(Ordering::Acquire) {
            return Err(ReplayError::Stopped);
        }
        self.changes = 0;
        match self.index.flush() {
            true => Ok(()),
            false => Err(ReplayError::Slow(self.index.trouble().unwrap_or_else(|| "the index is slow".to_owned()))),
        }
    }
}

/// Seconds are whole microseconds; read from text they may be off by the last bit.
fn rounded(recording: Recording) -> Recording {
    let round = |seconds: f64| (seconds * 1e6).round() / 1e6;
    Recording { pre_alarm_s: recording.pre_alarm_s.map(round), motion_s: round(recording.motion_s), ..recording }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::OnceLock;

    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::archive::recovery::repair_open;
    use crate::archive::recovery::tests::{Place, closed, minutes_ago, row};
    use crate::domain::camera::{GapCause, Reason};
    use crate::domain::finding::{Cause, Region};
    use crate::domain::recording::RecordingQuery;
    use crate::domain::score::{Score, Series};

    const CAMERAS: [&str; 2] = ["yard", "door"];

    /// One thing that happens to an archive. Times are minutes before now.
    #[derive(Clone, Debug)]
    enum Deed {
        Record {
            camera: usize,
            minutes: i64,
            motion_us: i64,
            pre_alarm_us: Option<i64>,
        },
        /// A file that was found, as after an earlier repair.
        Find {
            camera: usize,
            minutes: i64,
        },
        /// One of those that are there, by hand or by retention.
        Delete {
            which: usize,
        },
        Gap {
            camera: usize,
            minutes: i64,
            seconds: i64,
            cause: GapCause,
        },
        /// A gap begins to go on, turns out to be none, or is over.
        OpenGap {
            camera: usize,
            minutes: Option<i64>,
            seconds: Option<i64>,
        },
        Look {
            camera: usize,
            minutes: i64,
            bytes: Vec<u8>,
        },
        Move {
            camera: usize,
            minutes: i64,
            seconds: i64,
            score: u8,
        },
        /// One of the events that are there goes.
        Unmark {
            which: usize,
        },
        /// All that is older goes, as retention has it.
        Forget {
            camera: usize,
            minutes: i64,
        },
        Restart,
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        // Over three days, so that whole ones can be forgotten.
        let minutes = 5i64..4500;
        let seconds = 0i64..600_000_000;
        let cause = prop::sample::select(vec![GapCause::Disconnected, GapCause::Reload, GapCause::DiskTooSlow]);
        let deed = prop_oneof![
            5 => (0usize..2, minutes.clone(), seconds.clone(), prop::option::of(seconds))
                .prop_map(|(camera, minutes, motion_us, pre_alarm_us)| Deed::Record { camera, minutes, motion_us, pre_alarm_us }),
            1 => (0usize..2, minutes.clone()).prop_map(|(camera, minutes)| Deed::Find { camera, minutes }),
            2 => any::<usize>().prop_map(|which| Deed::Delete { which }),
            3 => (0usize..2, minutes.clone(), 1i64..9000, cause)
                .prop_map(|(camera, minutes, seconds, cause)| Deed::Gap { camera, minutes, seconds, cause }),
            2 => (0usize..2, prop::option::of(minutes.clone()), prop::option::of(1i64..9000))
                .prop_map(|(camera, minutes, seconds)| Deed::OpenGap { camera, minutes, seconds }),
            2 => (0usize..2, minutes.clone(), 0i64..9000, any::<u8>())
                .prop_map(|(camera, minutes, seconds, score)| Deed::Move { camera, minutes, seconds, score }),
            1 => any::<usize>().prop_map(|which| Deed::Unmark { which }),
            2 => (0usize..2, minutes.clone(), prop::collection::vec(0u8..255, 1..90))
                .prop_map(|(camera, minutes, bytes)| Deed::Look { camera, minutes, bytes }),
            1 => (0usize..2, minutes).prop_map(|(camera, minutes)| Deed::Forget { camera, minutes }),
            1 => Just(Deed::Restart),
        ];
        prop::collection::vec(deed, 1..25)
    }

    /// All that an index can be asked for.
    #[derive(Debug, PartialEq)]
    struct Told {
        recordings: Vec<Recording>,
        gaps: Vec<Gap>,
        events: Vec<(MotionEvent, Vec<i64>)>,
        scores: Vec<Series>,
    }

    fn told(index: &Index) -> Told {
        // An end in order writes minutes that go on, too.
        assert!(index.close());
        let query = RecordingQuery { limit: 1000, ..RecordingQuery::default() };
        let mut gaps = index.gaps(&query).unwrap().items;
        gaps.sort_by_key(|gap| (gap.start, gap.camera.clone(), gap.cause.name()));
        // The same stretch each time: time goes on meanwhile.
        static STRETCH: OnceLock<(DateTime<Utc>, DateTime<Utc>)> = OnceLock::new();
        let (from, to) = *STRETCH.get_or_init(|| (minutes_ago(5000), minutes_ago(0)));
        let scores = CAMERAS.map(|camera| index.scores(camera, from, to).unwrap());
        let events = index.events(&query).unwrap().items;
        Told { recordings: index.recordings(&query).unwrap().items, gaps, events, scores: scores.into() }
    }

    fn lose_index(place: &Place) {
        for name in ["index.db", "index.db-wal", "index.db-shm"] {
            let _ = fs::remove_file(place.root().join(name));
        }
    }

    fn put_file(place: &Place, row: Recording) -> Recording {
        let path = format!("{}/{}-{}.mp4", row.camera, row.start.timestamp(), row.id);
        let row = closed(Recording { path, ..row });
        let bytes = place.write(&row, true);
        Recording { bytes, ..row }
    }

    fn delete(place: &Place, index: &Index, row: &Recording) {
        fs::remove_file(place.root().join(&row.path)).unwrap();
        index.remove(row.id);
    }

    impl Deed {
        fn run(&self, place: &Place, index: &Index) {
            let begun = |camera: usize, minutes: i64| row(index.next_id(), CAMERAS[camera], minutes_ago(minutes));
            match *self {
                Deed::Record { camera, minutes, motion_us, pre_alarm_us } => {
                    let open = Recording {
                        pre_alarm_s: pre_alarm_us.map(|us| us as f64 / 1e6),
                        motion_s: 0.0,
                        reason: if motion_us % 2 == 0 { Reason::Motion } else { Reason::Manual },
                        ..begun(camera, minutes)
                    };
                    index.put(open.clone());
                    index.put(Recording { motion_s: motion_us as f64 / 1e6, ..put_file(place, open) });
                }
                Deed::Find { camera, minutes } => index.put_found(put_file(place, begun(camera, minutes))),
                Deed::Delete { which } => {
                    let rows = told(index).recordings;
                    if let Some(row) = rows.get(which % rows.len().max(1)) {
                        delete(place, index, row);
                    }
                }
                Deed::OpenGap { camera, minutes, seconds } => {
                    let cause = GapCause::Disconnected;
                    index.set_open_gap(CAMERAS[camera], minutes.map(|minutes| (minutes_ago(minutes), cause)));
                    if let (Some(minutes), Some(seconds)) = (minutes, seconds) {
                        let start = minutes_ago(minutes);
                        let end = Some(start + TimeDelta::seconds(seconds));
                        index.add_gap(Gap { camera: CAMERAS[camera].into(), start, end, cause });
                        index.set_open_gap(CAMERAS[camera], None);
                    }
                }
                Deed::Move { camera, minutes, seconds, score } => {
                    let start = minutes_ago(minutes);
                    let event = MotionEvent::new(index.next_id(), CAMERAS[camera], start, Reason::Motion);
                    index.put_event(event.clone());
                    let end = Some(start + TimeDelta::seconds(seconds));
                    let max_score = Score::of_byte(score);
                    let (cause, zones) = (Some(Cause::SceneChange), vec!["gate".to_owned()]);
                    let share = f32::from(score) / 255.0;
                    let boxes = vec![Region { left: share, top: 0.25, width: 0.1, height: share / 3.0 }];
                    let known = |share| Found { class: "person".to_owned(), score: share, region: boxes[0] };
                    // Some are looked at while they go on, some afterwards, some not at all; and in some is nothing.
                    if score % 4 == 1 {
                        index.confirm_event(event.id, vec![known(0.5)]);
                    }
                    index.put_event(MotionEvent {
                        end,
                        max_score,
                        cause,
                        zones,
                        boxes: boxes.clone(),
                        ..event.clone()
                    });
                    match score % 4 {
                        1 => index.confirm_event(event.id, vec![known(0.75), known(0.5)]),
                        2 => index.confirm_event(event.id, Vec::new()),
                        _ => {}
                    }
                }
                Deed::Unmark { which } => {
                    let events = told(index).events;
                    if let Some((event, _)) = events.get(which % events.len().max(1)) {
                        index.remove_event(event.id);
                    }
                }
                Deed::Look { camera, minutes, ref bytes } => {
                    let time = |second: usize| minutes_ago(minutes) + TimeDelta::seconds(second as i64);
                    let seen = bytes.iter().enumerate().map(|(second, byte)| (time(second), Score::of_byte(*byte)));
                    index.see(CAMERAS[camera], seen);
                }
                Deed::Gap { camera, minutes, seconds, cause } => {
                    let start = minutes_ago(minutes);
                    let end = start + TimeDelta::seconds(seconds);
                    index.add_gap(Gap { camera: CAMERAS[camera].into(), start, end: Some(end), cause });
                }
                Deed::Forget { camera, minutes } => {
                    let before = minutes_ago(minutes);
                    for row in told(index).recordings {
                        // Some are kept by a person.
                        if row.camera == CAMERAS[camera] && row.start < before && row.id % 4 != 0 {
                            delete(place, index, &row);
                        }
                    }
                    index.forget(CAMERAS[camera], before);
                }
                Deed::Restart => {}
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn a_lost_index_comes_back_as_it_was(deeds in deeds()) {
            let place = Place::new();
            let mut index = place.open();
            for deed in &deeds {
                deed.run(&place, &index);
                if matches!(deed, Deed::Restart) {
                    drop(index);
                    index = place.open();
                }
            }
            // The end of the process ends them.
            CAMERAS.iter().for_each(|camera| index.set_open_gap(camera, None));
            let before = told(&index);
            let next = index.next_id();
            drop(index);
            lose_index(&place);
            let index = place.open();
            repair_open(place.root(), &index);
            let report = place.scan(&index);
            prop_assert_eq!(report.found, 0);
            prop_assert_eq!(told(&index), before);
            let has_given = !told(&index).recordings.is_empty();
            prop_assert!(!has_given || index.next_id() > next, "an id is given twice");
        }
    }

    #[test]
    fn after_a_crash_the_index_is_told_what_only_the_journal_got() {
        let place = Place::new();
        let index = place.open();
        place.scan(&index);
        let open = row(index.next_id(), "yard", minutes_ago(5));
        index.put(open.clone());
        assert!(index.close());
        drop(index);
        // The journal had two more lines when the process was killed, and the index had not.
        let kept = fs::read(place.root().join("index.db")).unwrap();
        let index = place.open();
        let ended =
            Recording { motion_s: 1.25, ..put_file(&place, Recording { path: open.path.clone(), ..open.clone() }) };
        let _ = fs::remove_file(place.root().join(&open.path));
        let ended = Recording { id: open.id, ..ended };
        index.put(ended.clone());
        let other = put_file(&place, row(index.next_id(), "door", minutes_ago(4)));
        index.put(other.clone());
        drop(index);
        lose_index(&place);
        fs::write(place.root().join("index.db"), kept).unwrap();
        let index = place.open_after_crash();
        assert!(!index.wants_replay());
        assert_eq!(repair_open(place.root(), &index).replayed, 2);
        assert_eq!(told(&index).recordings, [other, ended]);
    }

    #[test]
    fn what_was_open_when_index_and_process_went_is_whole_under_its_id() {
        let place = Place::new();
        let index = place.open();
        let open = row(index.next_id(), "yard", minutes_ago(5));
        place.write(&open, false);
        index.put(open.clone());
        drop(index);
        lose_index(&place);
        let index = place.open();
        let report = repair_open(place.root(), &index);
        assert_eq!((report.repaired, report.gaps, report.replayed), (1, 1, 1));
        let Told { recordings, gaps, .. } = told(&index);
        assert_eq!((recordings[0].id, recordings[0].complete), (open.id, true));
        assert_eq!((gaps.len(), gaps[0].start), (1, recordings[0].end.unwrap()));
    }

    #[test]
    fn a_start_that_ends_before_the_replay_is_done_leaves_it_to_the_next() {
        let place = Place::new();
        let index = place.open();
        for days in 0..5 {
            let written = put_file(&place, row(index.next_id(), "yard", minutes_ago(5 + days * 24 * 60)));
            index.put(written);
        }
        place.scan(&index);
        let before = told(&index);
        drop(index);
        lose_index(&place);
        let index = place.open();
        repair_open(place.root(), &index);
        assert!(told(&index).recordings.len() < 5, "the newest days only");
        drop(index);
        let index = place.open();
        assert!(index.wants_replay());
        place.scan(&index);
        assert_eq!(told(&index), before);
        assert!(!index.wants_replay());
        drop(index);
        assert!(!place.open().wants_replay());
    }

    #[test]
    fn what_no_journal_knows_is_read_from_its_file_and_what_has_no_file_has_no_row() {
        let place = Place::new();
        let index = place.open();
        let rows: Vec<Recording> = (0..3)
            .map(|n| {
                let row = put_file(&place, row(index.next_id(), "yard", minutes_ago(50 - n)));
                index.put(row.clone());
                row
            })
            .collect();
        drop(index);
        let [gone, unknown, kept] = &rows[..] else { panic!("three") };
        fs::remove_file(place.root().join(&gone.path)).unwrap();
        let journal = place.root().join(format!(".journal/yard/{}.jsonl", unknown.start.date_naive()));
        let lines = fs::read_to_string(&journal).unwrap();
        let others: String =
            lines.lines().filter(|line| !line.contains(&unknown.path)).map(|line| format!("{line}\n")).collect();
        fs::write(&journal, others).unwrap();
        lose_index(&place);
        let index = place.open();
        let report = place.scan(&index);
        assert_eq!((report.replayed, report.found), (1, 1));
        let recordings = told(&index).recordings;
        assert_eq!(recordings.len(), 2);
        assert!(recordings.contains(kept));
        let adopted = recordings.iter().find(|row| row.id != kept.id).unwrap();
        assert_eq!((adopted.start, adopted.bytes, adopted.motion_s), (unknown.start, unknown.bytes, 0.0));
    }

    #[test]
    fn a_journal_is_gone_with_the_last_recording_of_its_day_and_no_sooner() {
        let place = Place::new();
        let index = place.open();
        let journal = |days: i64| {
            let day = minutes_ago(days * 24 * 60).date_naive();
            place.root().join(format!(".journal/yard/{day}.jsonl"))
        };
        let rows: Vec<Recording> =
            (1..=4).map(|days| put_file(&place, row(index.next_id(), "yard", minutes_ago(days * 24 * 60)))).collect();
        rows.iter().for_each(|row| index.put(row.clone()));
        assert!(index.flush());
        assert!((1..=4).all(|days| journal(days).exists()));
        // The one of three days ago is kept by a person.
        delete(&place, &index, &rows[1]);
        delete(&place, &index, &rows[3]);
        index.forget("yard", minutes_ago(36 * 60));
        assert!(index.flush());
        let left: Vec<bool> = (1..=4).map(|days| journal(days).exists()).collect();
        let is_day_over = minutes_ago(36 * 60).date_naive() > minutes_ago(48 * 60).date_naive();
        assert_eq!(left, [true, !is_day_over, true, false]);
    }
}
