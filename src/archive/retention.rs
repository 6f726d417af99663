//! Keeps the archive within its limits: asks the index, has `domain::retention` plan, and deletes.
//!
//! Only files that the index owns are deleted, and never one that is open. The file goes first and then its row:
//! after a crash in between the row is found without its file and dropped.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::disk::Space;
use super::index::{ClosedQuery, Index, IndexError, Position};
use super::paths;
use super::state::Protected;
use crate::domain::config::{MinFree, RetentionConfig};
use crate::domain::recording::Recording;
use crate::domain::retention::{Candidate, Why, age_limit, excess, plan, short_of};

/// Recordings that are planned for at once.
const CHUNK: u32 = 500;

/// The limits, and the state of the world that they are held against.
#[derive(Clone, Debug)]
pub struct Limits {
    /// By camera.
    pub cameras: BTreeMap<String, RetentionConfig>,
    /// Of cameras that have recordings and no file in `config.d` any more.
    pub others: RetentionConfig,
    /// Of the whole archive.
    pub max_size_bytes: Option<u64>,
    pub min_free: MinFree,
    /// None: the room is not known, and `min_free` waits.
    pub space: Option<Space>,
    /// None: the clock is not to be trusted (see `domain::retention::ClockGuard`), and nothing is too old.
    pub now: Option<DateTime<Utc>>,
}

/// A recording that went.
#[derive(Clone, Debug)]
pub struct Deleted {
    pub recording: Recording,
    pub why: Why,
}

/// What one run did.
#[derive(Debug, Default)]
pub struct RetentionReport {
    pub deleted: Vec<Deleted>,
    pub freed_bytes: u64,
    /// Still over the archive's size or under `min_free` by so much, with nothing left that may be deleted.
    pub short_bytes: u64,
    /// Files that could not be deleted, and why; their rows stay.
    pub failures: Vec<String>,
}

impl fmt::Display for RetentionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} recordings deleted, {} bytes freed", self.deleted.len(), self.freed_bytes)?;
        if self.short_bytes > 0 {
            write!(f, ", {} bytes more are needed and nothing is left to delete", self.short_bytes)?;
        }
        if let Some(first) = self.failures.first() {
            write!(f, ", {} could not be deleted (first: {first})", self.failures.len())?;
        }
        Ok(())
    }
}

/// Deletes what is too old or too much. Blocks as long as the disk does.
pub fn run(archive_root: &Path, index: &Index, limits: &Limits) -> Result<RetentionReport, IndexError> {
    let protected = match index.state().protected() {
        Ok(protected) => protected,
        // An alarm tells.
        Err(_) => return Ok(RetentionReport::default()),
    };
    let mut run =
        Run { root: archive_root, index, protected, report: RetentionReport::default(), done_with: HashSet::new() };
    let usage = index.usage()?;
    for (camera, used_bytes) in &usage {
        let limit = limits.cameras.get(camera).unwrap_or(&limits.others);
        let freed_before = run.report.freed_bytes;
        if let Some(before) = limits.now.and_then(|now| age_limit(now, limit.max_age)) {
            let deleted_before = run.report.deleted.len();
            run.delete(Some(camera), Some(before), 0)?;
            if run.report.deleted.len() > deleted_before {
                index.forget(camera, before);
            }
        }
        let left_bytes = used_bytes.saturating_sub(run.report.freed_bytes - freed_before);
        run.delete(Some(camera), None, excess(left_bytes, limit.max_size_bytes))?;
    }
    let left_bytes = usage.values().sum::<u64>().saturating_sub(run.report.freed_bytes);
    let short_bytes = limits
        .space
        .map_or(0, |space| short_of(limits.min_free, space.free_bytes, space.total_bytes))
        .saturating_sub(run.report.freed_bytes);
    let release_bytes = excess(left_bytes, limits.max_size_bytes).max(short_bytes);
    run.report.short_bytes = run.delete(None, None, release_bytes)?;
    // A camera's oldest go first: what is left of it from before the last of them is kept for a reason.
    let mut room: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for Deleted { recording, .. } in run.report.deleted.iter().filter(|deleted| deleted.why == Why::Room) {
        let last = room.entry(&recording.camera).or_insert(recording.start);
        *last = recording.start.max(*last);
    }
    room.into_iter().for_each(|(camera, before)| index.forget(camera, before));
    Ok(run.report)
}

struct Run<'a> {
    root: &'a Path,
    index: &'a Index,
    protected: Protected,
    report: RetentionReport,
    /// Deleted, though its row may still be read, or not to be deleted.
    done_with: HashSet<i64>,
}

impl Run<'_> {
    /// Deletes from the oldest on, of one camera or of all: what ended before `older_than`, and else until
    /// `release_bytes` are released. Returns how many of them are missing still.
    fn delete(
        &mut self,
        camera: Option<&str>,
        older_than: Option<DateTime<Utc>>,
        mut release_bytes: u64,
    ) -> Result<u64, IndexError> {
        let mut after: Option<Position> = None;
        while older_than.is_some() || release_bytes > 0 {
            let query = ClosedQuery { camera, ended_before: older_than, after, limit: CHUNK };
            let rows = self.index.closed(&query)?;
            let is_last = rows.len() < CHUNK as usize;
            after = rows.last().map(|(position, _)| *position);
            loop {
                // Again after a failure: another one goes for one that cannot.
                let candidates: Vec<Candidate> = rows.iter().filter_map(|(_, row)| self.candidate(row)).collect();
                let doomed: BTreeMap<i64, Why> = plan(&candidates, older_than, release_bytes)
                    .into_iter()
                    .map(|(candidate, why)| (candidate.id, why))
                    .collect();
                if doomed.is_empty() {
                    break;
                }
                for (_, row) in &rows {
                    if let Some(why) = doomed.get(&row.id) {
                        release_bytes = release_bytes.saturating_sub(self.delete_one(row.clone(), *why));
                    }
                }
            }
            if is_last {
                break;
            }
        }
        Ok(release_bytes)
    }

    fn candidate(&self, row: &Recording) -> Option<Candidate> {
        if self.done_with.contains(&row.id) {
            return None;
        }
        let protected = self.index.is_live(row.id) || self.protected.has(&row.path);
        row.end.map(|end| Candidate { id: row.id, end, bytes: row.bytes, protected })
    }

    /// Bytes that were freed.
    fn delete_one(&mut self, recording: Recording, why: Why) -> u64 {
        self.done_with.insert(recording.id);
        // Protected since this run began?
        if self.index.state().protected().is_ok_and(|now| now.has(&recording.path)) {
            return 0;
        }
        if let Err(error) = paths::delete(self.root, &recording.path, &recording.camera) {
            self.report.failures.push(format!("{}: {error}", recording.path));
            return 0;
        }
        tracing::debug!(camera = %recording.camera, path = %recording.path, ?why, "recording deleted");
        self.index.remove(recording.id);
        let bytes = recording.bytes;
        self.report.freed_bytes += bytes;
        self.report.deleted.push(Deleted { recording, why });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::archive::index::tests::{at, recording};
    use crate::domain::camera::GapCause;
    use crate::domain::recording::{Gap, RecordingQuery};

    struct Place {
        folder: tempfile::TempDir,
        index: Index,
    }

    impl Place {
        /// An archive with a file of 1000 bytes and a row for each.
        fn with(recordings: &[Recording]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let index = Index::open(folder.path()).unwrap();
            for recording in recordings {
                let path = folder.path().join(&recording.path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, vec![0; 1000]).unwrap();
                index.put(recording.clone());
            }
            assert!(index.flush());
            Place { folder, index }
        }

        fn run(&self, limits: &Limits) -> RetentionReport {
            let report = run(self.folder.path(), &self.index, limits).unwrap();
            assert!(self.index.flush());
            report
        }

        fn ids(&self) -> Vec<i64> {
            let page = self.index.recordings(&RecordingQuery::default()).unwrap();
            let mut ids: Vec<i64> = page.items.iter().map(|row| row.id).collect();
            ids.sort_unstable();
            ids
        }

        fn files(&self) -> usize {
            self.ids().len() - self.index.walk(0, 1000).unwrap().iter().filter(|r| !self.has(&r.path)).count()
        }

        fn has(&self, path: &str) -> bool {
            self.folder.path().join(path).exists()
        }
    }

    fn none() -> Limits {
        Limits {
            cameras: BTreeMap::new(),
            others: RetentionConfig::default(),
            max_size_bytes: None,
            min_free: MinFree::Bytes(0),
            space: None,
            now: Some(at(100_000)),
        }
    }

    fn of(camera: &str, max_age_s: Option<u64>, max_size_bytes: Option<u64>) -> BTreeMap<String, RetentionConfig> {
        let config = RetentionConfig { max_age: max_age_s.map(Duration::from_secs), max_size_bytes };
        BTreeMap::from([(camera.to_owned(), config)])
    }

    fn six() -> Vec<Recording> {
        (1..=6).map(|id| recording(id, if id % 2 == 0 { "even" } else { "odd" }, id * 1000)).collect()
    }

    #[test]
    fn without_limits_nothing_goes() {
        let place = Place::with(&six());
        assert_eq!(place.run(&none()).deleted.len(), 0);
        assert_eq!((place.ids().len(), place.files()), (6, 6));
    }

    #[test]
    fn age_is_each_cameras_own_and_takes_its_old_gaps_along() {
        let place = Place::with(&six());
        for (camera, second) in [("odd", 500), ("odd", 90_000), ("even", 500)] {
            let gap =
                Gap { camera: camera.into(), start: at(second), end: Some(at(second + 1)), cause: GapCause::Down };
            place.index.add_gap(gap);
        }
        // 96 000 s before 100 000 is 4000: recordings 1 and 3 ended before it.
        let report = place.run(&Limits { cameras: of("odd", Some(96_000), None), ..none() });
        assert!(report.deleted.iter().all(|deleted| deleted.why == Why::Age));
        assert_eq!(place.ids(), [2, 4, 5, 6]);
        assert!(!place.has("odd/1.mp4") && place.has("even/2.mp4"));
        assert_eq!(place.index.gaps(&RecordingQuery::default()).unwrap().items.len(), 2);
    }

    #[test]
    fn age_waits_while_the_clock_is_not_trusted() {
        let place = Place::with(&six());
        let limits = Limits { cameras: of("odd", Some(1), None), now: None, ..none() };
        assert_eq!(place.run(&limits).deleted.len(), 0);
    }

    #[test]
    fn a_cameras_size_takes_its_own_oldest() {
        let place = Place::with(&six());
        place.run(&Limits { cameras: of("odd", None, Some(1500)), ..none() });
        assert_eq!(place.ids(), [2, 4, 5, 6]);
    }

    #[test]
    fn a_camera_without_a_file_has_the_limits_of_the_others() {
        let place = Place::with(&six());
        let others = RetentionConfig { max_age: None, max_size_bytes: Some(0) };
        place.run(&Limits { cameras: of("odd", None, None), others, ..none() });
        assert_eq!(place.ids(), [1, 3, 5]);
    }

    #[test]
    fn the_archives_size_and_min_free_take_the_oldest_of_all() {
        let place = Place::with(&six());
        let report = place.run(&Limits { max_size_bytes: Some(4000), ..none() });
        assert_eq!((place.ids(), report.freed_bytes, report.short_bytes), (vec![3, 4, 5, 6], 2000, 0));
        // min_free works without max_size.
        let space = Some(Space { total_bytes: 100_000, free_bytes: 3500 });
        place.run(&Limits { min_free: MinFree::Share(0.05), space, ..none() });
        assert_eq!(place.ids(), [5, 6]);
    }

    #[test]
    fn when_nothing_is_left_to_delete_it_says_how_much_is_missing() {
        let open = Recording { end: None, complete: false, ..recording(1, "odd", 0) };
        let place = Place::with(&[open, recording(2, "odd", 1000)]);
        let space = Some(Space { total_bytes: 100_000, free_bytes: 0 });
        let report = place.run(&Limits { min_free: MinFree::Bytes(5000), space, ..none() });
        assert_eq!((place.ids(), report.short_bytes), (vec![1], 4000));
        assert!(place.has("odd/1.mp4"), "the open one stays");
        assert!(report.to_string().contains("4000 bytes more are needed"), "{report}");
    }

    #[test]
    fn many_more_than_a_chunk_go_in_one_run() {
        let all: Vec<Recording> = (1..=1300).map(|id| recording(id, "odd", id)).collect();
        let place = Place::with(&all);
        let report = place.run(&Limits { max_size_bytes: Some(100_000), ..none() });
        assert_eq!((report.deleted.len(), place.ids()[0]), (1200, 1201));
    }

    #[test]
    fn a_file_that_is_missing_loses_its_row() {
        let place = Place::with(&six());
        fs::remove_file(place.folder.path().join("odd/1.mp4")).unwrap();
        place.run(&Limits { max_size_bytes: Some(5000), ..none() });
        assert_eq!(place.ids(), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_file_that_cannot_be_deleted_keeps_its_row_and_the_next_goes() {
        let place = Place::with(&six());
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("1.mp4"), b"kept").unwrap();
        fs::remove_dir_all(place.folder.path().join("odd")).unwrap();
        symlink(outside.path(), place.folder.path().join("odd")).unwrap();
        let report = place.run(&Limits { max_size_bytes: Some(5000), ..none() });
        assert_eq!(place.ids(), [1, 3, 4, 5, 6]);
        assert!(outside.path().join("1.mp4").exists());
        assert!(report.failures[0].contains("odd/1.mp4"), "{report}");
    }

    #[test]
    fn what_a_person_protects_stays_whatever_the_limits() {
        let place = Place::with(&six());
        place.index.state().protect("odd/1.mp4", 1, at(0)).unwrap();
        place.index.state().protect("even/4.mp4", 4, at(0)).unwrap();
        let report = place.run(&Limits { max_size_bytes: Some(0), cameras: of("odd", Some(1), None), ..none() });
        assert_eq!((place.ids(), report.short_bytes), (vec![1, 4], 2000));
        assert!(place.has("odd/1.mp4") && place.has("even/4.mp4"));
        place.index.state().unprotect("odd/1.mp4").unwrap();
        place.run(&Limits { max_size_bytes: Some(0), ..none() });
        assert_eq!(place.ids(), [4]);
    }

    #[test]
    fn nothing_goes_while_nobody_knows_what_is_protected() {
        let place = Place::with(&six());
        place.index.state().protect("odd/1.mp4", 1, at(0)).unwrap();
        fs::write(place.folder.path().join("state.db"), [7; 9000]).unwrap();
        fs::copy(place.folder.path().join("state.db"), place.folder.path().join("other")).unwrap();
        fs::rename(place.folder.path().join("other"), place.folder.path().join("state.db")).unwrap();
        let report = place.run(&Limits { max_size_bytes: Some(0), ..none() });
        assert_eq!((place.ids().len(), report.deleted.len()), (6, 0));
        assert!(place.index.trouble().unwrap().contains("state.db"));
    }

    #[test]
    fn files_that_the_index_does_not_own_stay() {
        let place = Place::with(&six());
        fs::write(place.folder.path().join("odd/holiday.mp4"), b"mine").unwrap();
        place.run(&Limits { max_size_bytes: Some(0), ..none() });
        assert!(place.ids().is_empty());
        assert!(place.has("odd/holiday.mp4") && !place.has("odd/1.mp4"));
    }
}
