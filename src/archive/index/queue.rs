//! Changes that wait to be written: one a row, whatever happened to it since, and never more than memory bears.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::domain::recording::{Gap, Recording};

/// Rows and gaps that may wait while the disk fails; beyond it the oldest are given up (a scan of the files
/// finds the rows again) and counted.
const MOST: usize = 50_000;

/// What is to become of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Put {
        recording: Recording,
        /// Found in the archive and not recorded now: it is ordered by its start, not by its id.
        found: bool,
    },
    Remove,
}

type GapKey = (DateTime<Utc>, String, &'static str);

#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: BTreeMap<i64, Change>,
    gaps: BTreeMap<GapKey, Gap>,
    /// Gaps that ended before are forgotten, by camera.
    forgotten: BTreeMap<String, DateTime<Utc>>,
    given_up: u64,
}

impl Queue {
    pub fn put(&mut self, recording: Recording, found: bool) {
        let id = recording.id;
        let found = found || matches!(self.rows.get(&id), Some(Change::Put { found: true, .. }));
        self.rows.insert(id, Change::Put { recording, found });
        self.bound();
    }

    pub fn remove(&mut self, id: i64) {
        self.rows.insert(id, Change::Remove);
        self.bound();
    }

    /// A gap with the same camera, start and cause is the same gap, now longer.
    pub fn add_gap(&mut self, gap: Gap) {
        self.gaps.insert((gap.start, gap.camera.clone(), gap.cause.name()), gap);
        self.bound();
    }

    pub fn forget_gaps(&mut self, camera: &str, before: DateTime<Utc>) {
        let known = self.forgotten.entry(camera.to_owned()).or_insert(before);
        *known = before.max(*known);
    }

    pub fn get(&self, id: i64) -> Option<&Change> {
        self.rows.get(&id)
    }

    pub fn rows(&self) -> impl Iterator<Item = (i64, &Change)> {
        self.rows.iter().map(|(id, change)| (*id, change))
    }

    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.values()
    }

    pub fn forgotten(&self) -> impl Iterator<Item = (&str, DateTime<Utc>)> {
        self.forgotten.iter().map(|(camera, before)| (camera.as_str(), *before))
    }

    pub fn len(&self) -> usize {
        self.rows.len() + self.gaps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.forgotten.is_empty()
    }

    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// `failed` could not be written: what has been queued since is newer and stays.
    pub fn give_back(&mut self, failed: Queue) {
        for (id, change) in failed.rows {
            match (self.rows.get_mut(&id), change) {
                (Some(Change::Put { found, .. }), Change::Put { found: true, .. }) => *found = true,
                (Some(_), _) => {}
                (None, change) => {
                    self.rows.insert(id, change);
                }
            }
        }
        for (key, gap) in failed.gaps {
            self.gaps.entry(key).or_insert(gap);
        }
        for (camera, before) in failed.forgotten {
            self.forget_gaps(&camera, before);
        }
        self.given_up += failed.given_up;
        self.bound();
    }

    fn bound(&mut self) {
        while self.rows.len() > MOST {
            self.rows.pop_first();
            self.given_up += 1;
        }
        while self.gaps.len() > MOST {
            self.gaps.pop_first();
            self.given_up += 1;
        }
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
        queue.put(recording(1, "a", 0), false);
        queue.put(Recording { bytes: 7, ..recording(1, "a", 0) }, false);
        assert_eq!(queue.len(), 1);
        assert!(matches!(queue.get(1), Some(Change::Put { recording, .. }) if recording.bytes == 7));
        queue.remove(1);
        assert_eq!(queue.get(1), Some(&Change::Remove));
    }

    #[test]
    fn what_failed_does_not_undo_what_came_since() {
        let mut queue = Queue::default();
        queue.put(recording(1, "a", 0), true);
        queue.put(recording(2, "a", 60), false);
        let failed = std::mem::take(&mut queue);
        queue.put(Recording { bytes: 9, ..recording(1, "a", 0) }, false);
        queue.remove(2);
        queue.give_back(failed);
        let Some(Change::Put { recording, found: true }) = queue.get(1) else { panic!("{queue:?}") };
        assert_eq!(recording.bytes, 9);
        assert_eq!(queue.get(2), Some(&Change::Remove));
    }

    #[test]
    fn a_disk_that_never_comes_back_does_not_fill_the_memory() {
        let mut queue = Queue::default();
        for id in 0..MOST as i64 + 10 {
            queue.put(recording(id, "a", id), false);
            queue.add_gap(Gap { camera: "a".into(), start: at(id), end: at(id + 1), cause: GapCause::Down });
        }
        assert_eq!((queue.len(), queue.given_up()), (2 * MOST, 20));
        assert_eq!(queue.get(9), None);
        assert!(queue.get(10).is_some());
    }
}
