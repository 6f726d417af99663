//! Changes that wait to be written: one a row, whatever happened to it since, and never more than memory bears.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::domain::found::Found;
use crate::domain::recording::{Gap, MotionEvent, Recording};
use crate::domain::score::Minute;

/// Rows and gaps that may wait while the disk fails; beyond it the oldest are given up (a scan of the files
/// finds the rows again) and counted.
const MOST: usize = 50_000;

/// What is to become of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Put {
        recording: Recording,
        place: Place,
    },
    /// Its camera and start, where they are known: the row may never have been written.
    Remove {
        of: Option<(String, DateTime<Utc>)>,
    },
}

/// Where a new row belongs in the order of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is recorded now: by its id.
    Last,
    /// Found in the archive and not recorded now: by its start.
    ByStart,
    /// Where the journal says that it was.
    At(i64),
}

/// Number of the minute, and the camera.
type MinuteKey = (i64, String);

type GapKey = (DateTime<Utc>, String, &'static str);

/// Something that waits, and whether the journal has it already.
#[derive(Clone, Debug)]
pub(super) struct Waiting<T> {
    pub what: T,
    pub is_noted: bool,
}

impl<T> Waiting<T> {
    fn new(what: T) -> Self {
        Waiting { what, is_noted: false }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: BTreeMap<i64, Waiting<Change>>,
    gaps: BTreeMap<GapKey, Waiting<Gap>>,
    /// By camera: the gap that goes on now, or that none does.
    open_gaps: BTreeMap<String, Waiting<Option<Gap>>>,
    /// Gaps that the journal may have as going on, though the database never got them: what goes on is told anew.
    no_gaps: Vec<Gap>,
    events: BTreeMap<i64, Waiting<MotionEvent>>,
    /// What a model found in events.
    found: BTreeMap<i64, Waiting<Vec<Found>>>,
    /// Events that go.
    no_events: BTreeMap<i64, Waiting<()>>,
    minutes: BTreeMap<MinuteKey, Waiting<Minute>>,
    /// Gaps that ended before are forgotten, by camera.
    forgotten: BTreeMap<String, DateTime<Utc>>,
    /// All that the journals say has been queued before.
    pub is_replayed: bool,
    given_up: u64,
}

impl Queue {
    pub fn put(&mut self, recording: Recording, place: Place) {
        let id = recording.id;
        let place = match self.get(id) {
            Some(Change::Put { place: before, .. }) if place == Place::Last => *before,
            _ => place,
        };
        // What comes from the journal is in it.
        let is_noted = matches!(place, Place::At(_)) && self.rows.get(&id).is_none_or(|row| row.is_noted);
        self.rows.insert(id, Waiting { what: Change::Put { recording, place }, is_noted });
        self.bound();
    }

    pub fn remove(&mut self, id: i64) {
        let of = match self.get(id) {
            Some(Change::Put { recording, .. }) => Some((recording.camera.clone(), recording.start)),
            Some(Change::Remove { of }) => of.clone(),
            None => None,
        };
        self.rows.insert(id, Waiting::new(Change::Remove { of }));
        self.bound();
    }

    /// A gap with the same camera, start and cause is the same gap, now longer.
    pub fn add_gap(&mut self, gap: Gap) {
        self.gaps.insert((gap.start, gap.camera.clone(), gap.cause.name()), Waiting::new(gap));
        self.bound();
    }

    /// Which gap of a camera goes on.
    pub fn set_open_gap(&mut self, camera: &str, gap: Option<Gap>) {
        self.open_gaps.insert(camera.to_owned(), Waiting::new(gap));
    }

    pub fn no_gaps(&self) -> &[Gap] {
        &self.no_gaps
    }

    pub fn open_gaps(&self) -> impl Iterator<Item = (&str, &Waiting<Option<Gap>>)> {
        self.open_gaps.iter().map(|(camera, gap)| (camera.as_str(), gap))
    }

    /// A gap that the journal has.
    pub fn restore_gap(&mut self, gap: Gap) {
        let key = (gap.start, gap.camera.clone(), gap.cause.name());
        self.gaps.entry(key).or_insert(Waiting { what: gap, is_noted: true });
        self.bound();
    }

    pub fn put_event(&mut self, event: MotionEvent) {
        self.events.insert(event.id, Waiting::new(event));
        self.bound();
    }

    /// An event that the journal has.
    pub fn restore_event(&mut self, event: MotionEvent) {
        self.events.entry(event.id).or_insert(Waiting { what: event, is_noted: true });
        self.bound();
    }

    pub fn confirm_event(&mut self, id: i64, found: Vec<Found>) {
        self.found.insert(id, Waiting::new(found));
        self.bound();
    }

    /// What the journal has of an event.
    pub fn restore_confirmed(&mut self, id: i64, found: Vec<Found>) {
        self.found.entry(id).or_insert(Waiting { what: found, is_noted: true });
        self.bound();
    }

    pub fn found(&self) -> impl Iterator<Item = (i64, &Waiting<Vec<Found>>)> {
        self.found.iter().map(|(id, found)| (*id, found))
    }

    /// It goes, and what is still said of it, too. Its id is not used again.
    pub fn remove_event(&mut self, id: i64, is_noted: bool) {
        self.no_events.insert(id, Waiting { what: (), is_noted });
        self.bound();
    }

    pub fn no_events(&self) -> impl Iterator<Item = (i64, &Waiting<()>)> {
        self.no_events.iter().map(|(id, gone)| (*id, gone))
    }

    pub fn events(&self) -> impl Iterator<Item = &Waiting<MotionEvent>> {
        self.events.values()
    }

    /// Takes what was seen of a minute, from a camera or from the journal.
    pub fn see(&mut self, camera: &str, minute: i64, scores: &Minute, is_noted: bool) {
        let waiting = self.minutes.entry((minute, camera.to_owned()));
        let waiting = waiting.or_insert(Waiting { what: Minute::default(), is_noted });
        waiting.what.merge(scores);
        waiting.is_noted &= is_noted;
        self.bound();
    }

    pub fn minutes(&self) -> impl Iterator<Item = (i64, &str, &Waiting<Minute>)> {
        self.minutes.iter().map(|((minute, camera), scores)| (*minute, camera.as_str(), scores))
    }

    pub fn forget(&mut self, camera: &str, before: DateTime<Utc>) {
        let known = self.forgotten.entry(camera.to_owned()).or_insert(before);
        *known = before.max(*known);
    }

    pub fn get(&self, id: i64) -> Option<&Change> {
        self.rows.get(&id).map(|row| &row.what)
    }

    pub fn rows(&self) -> impl Iterator<Item = (i64, &Waiting<Change>)> {
        self.rows.iter().map(|(id, change)| (*id, change))
    }

    pub fn gaps(&self) -> impl Iterator<Item = &Waiting<Gap>> {
        self.gaps.values()
    }

    /// The journal has all of it now; whether the database takes it is another question.
    pub fn noted(&mut self) {
        self.rows.values_mut().for_each(|row| row.is_noted = true);
        self.gaps.values_mut().for_each(|gap| gap.is_noted = true);
        self.open_gaps.values_mut().for_each(|gap| gap.is_noted = true);
        self.events.values_mut().for_each(|event| event.is_noted = true);
        self.found.values_mut().for_each(|found| found.is_noted = true);
        self.no_events.values_mut().for_each(|gone| gone.is_noted = true);
        self.minutes.values_mut().for_each(|minute| minute.is_noted = true);
        self.no_gaps.clear();
    }

    pub fn forgotten(&self) -> impl Iterator<Item = (&str, DateTime<Utc>)> {
        self.forgotten.iter().map(|(camera, before)| (camera.as_str(), *before))
    }

    pub fn len(&self) -> usize {
        let of_events = self.events.len() + self.found.len() + self.no_events.len();
        self.rows.len() + self.gaps.len() + of_events + self.minutes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
            && self.open_gaps.is_empty()
            && self.no_gaps.is_empty()
            && self.forgotten.is_empty()
            && !self.is_replayed
    }

    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// `failed` could not be written: what has been queued since is newer and stays.
    pub fn give_back(&mut self, failed: Queue) {
        for (id, change) in failed.rows {
            match (self.rows.get_mut(&id).map(|row| &mut row.what), change.what) {
                (Some(Change::Put { place, .. }), Change::Put { place: before, .. }) if *place == Place::Last => {
                    *place = before;
                }
                (Some(Change::Remove { of: of @ None }), Change::Put { recording, .. }) => {
                    *of = Some((recording.camera, recording.start));
                }
                (Some(_), _) => {}
                (None, what) => {
                    self.rows.insert(id, Waiting { what, is_noted: change.is_noted });
                }
            }
        }
        put_back(&mut self.gaps, failed.gaps);
        for (camera, gap) in failed.open_gaps {
            // Some of the lines may be in the journal.
            self.no_gaps.extend(gap.what.clone());
            self.open_gaps.entry(camera).or_insert(Waiting::new(gap.what));
        }
        self.no_gaps.extend(failed.no_gaps);
        self.no_gaps.sort_by(|one, other| (&one.camera, one.start).cmp(&(&other.camera, other.start)));
        self.no_gaps.dedup();
        put_back(&mut self.events, failed.events);
        put_back(&mut self.found, failed.found);
        put_back(&mut self.no_events, failed.no_events);
        for ((minute, camera), scores) in failed.minutes {
            self.see(&camera, minute, &scores.what, scores.is_noted);
        }
        for (camera, before) in failed.forgotten {
            self.forget(&camera, before);
        }
        self.is_replayed |= failed.is_replayed;
        self.given_up += failed.given_up;
        self.bound();
    }

    fn bound(&mut self) {
        self.given_up += shorten(&mut self.rows)
            + shorten(&mut self.events)
            + shorten(&mut self.found)
            + shorten(&mut self.no_events)
            + shorten(&mut self.minutes)
            + shorten(&mut self.gaps);
        let too_many = self.no_gaps.len().saturating_sub(MOST);
        self.no_gaps.drain(..too_many);
    }
}

/// Lets the oldest go where there are too many; how many went.
fn shorten<K: Ord, V>(waiting: &mut BTreeMap<K, V>) -> u64 {
    let too_many = waiting.len().saturating_sub(MOST);
    (0..too_many).for_each(|_| _ = waiting.pop_first());
    too_many as u64
}

/// Puts back what failed, where nothing newer waits.
fn put_back<K: Ord, V>(waiting: &mut BTreeMap<K, V>, failed: BTreeMap<K, V>) {
    for (key, what) in failed {
        waiting.entry(key).or_insert(what);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, recording};
    use super::*;
    use crate::domain::camera::GapCause;

    #[test]
    fn one_change_a_row_and_the_newest_counts() {
        let mut queue = Queue::default();
        queue.put(recording(1, "a", 0), Place::Last);
        queue.put(Recording { bytes: 7, ..recording(1, "a", 0) }, Place::Last);
        assert_eq!(queue.len(), 1);
        assert!(matches!(queue.get(1), Some(Change::Put { recording, .. }) if recording.bytes == 7));
        queue.remove(1);
        assert_eq!(queue.get(1), Some(&Change::Remove { of: Some(("a".into(), at(0))) }));
    }

    #[test]
    fn what_failed_does_not_undo_what_came_since() {
        let mut queue = Queue::default();
        queue.put(recording(1, "a", 0), Place::ByStart);
        queue.put(recording(2, "a", 60), Place::Last);
        let failed = std::mem::take(&mut queue);
        queue.put(Recording { bytes: 9, ..recording(1, "a", 0) }, Place::Last);
        queue.remove(2);
        queue.give_back(failed);
        let Some(Change::Put { recording, place: Place::ByStart }) = queue.get(1) else { panic!("{queue:?}") };
        assert_eq!(recording.bytes, 9);
        assert_eq!(queue.get(2), Some(&Change::Remove { of: Some(("a".into(), at(60))) }));
    }

    #[test]
    fn a_gap_that_only_the_journal_may_have_is_taken_back_there() {
        let open = |second| Gap { camera: "a".into(), start: at(second), end: None, cause: GapCause::DiskError };
        let mut queue = Queue::default();
        queue.set_open_gap("a", Some(open(1)));
        for _ in 0..2 {
            let mut failed = std::mem::take(&mut queue);
            failed.noted();
            queue.give_back(failed);
        }
        assert_eq!(queue.no_gaps(), [open(1)]);
        let (_, waiting) = queue.open_gaps().next().unwrap();
        assert_eq!((&waiting.what, waiting.is_noted), (&Some(open(1)), false), "and told anew while it goes on");
        queue.set_open_gap("a", None);
        assert_eq!(queue.no_gaps(), [open(1)]);
        queue.noted();
        assert_eq!(queue.no_gaps(), []);
    }

    #[test]
    fn a_disk_that_never_comes_back_does_not_fill_the_memory() {
        let mut queue = Queue::default();
        for id in 0..MOST as i64 + 10 {
            queue.put(recording(id, "a", id), Place::Last);
            queue.add_gap(Gap { camera: "a".into(), start: at(id), end: Some(at(id + 1)), cause: GapCause::Down });
        }
        assert_eq!((queue.len(), queue.given_up()), (2 * MOST, 20));
        assert_eq!(queue.get(9), None);
        assert!(queue.get(10).is_some());
    }
}
