//! Keeps the archive within its limits: asks the index, has `domain::retention` plan, and deletes.
//!
//! Only files that the index owns are deleted, and never one that is open. The file goes first and then its row:
//! after a crash in between the row is found without its file and dropped.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::RESERVE_BYTES;
use super::disk::Space;
use super::index::{ClosedQuery, Index, IndexError, IndexReader, Position};
use super::paths;
use super::state::Protected;
use crate::domain::config::{MinFree, RetentionConfig};
use crate::domain::recording::Recording;
use crate::domain::retention::{Candidate, Shares, Why, age_limit, excess, plan, short_of};

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

/// What a new file needs is kept free, whatever is configured: else recording would stop while there is much to delete.
pub fn with_reserve(min_free: MinFree, space: Option<Space>) -> MinFree {
    let least_bytes = RESERVE_BYTES + (1 << 20);
    match (min_free, space) {
        (MinFree::Bytes(bytes), _) => MinFree::Bytes(bytes.max(least_bytes)),
        (MinFree::Share(share), Some(space)) if space.total_bytes as f64 * share < least_bytes as f64 => {
            MinFree::Bytes(least_bytes)
        }
        (share, _) => share,
    }
}

/// Deletes what is too old or too much. Blocks as long as the disk does.
pub fn run(archive_root: &Path, index: &Index, limits: &Limits) -> Result<RetentionReport, IndexError> {
    let Ok(protected) = index.state().protected() else {
        // An alarm tells.
        return Ok(RetentionReport::default());
    };
    let mut run = Run::new(archive_root, index, Some(index), protected);
    run.all(limits)?;
    // A camera's oldest go first: what is left of it from before the last of them is kept for a reason.
    let mut room: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for Deleted { recording, .. } in run.report.deleted.iter().filter(|deleted| deleted.why == Why::Room) {
        let last = room.entry(&recording.camera).or_insert(recording.start);
        *last = recording.start.max(*last);
    }
    room.into_iter().for_each(|(camera, before)| index.forget(camera, before));
    Ok(run.report)
}

/// What [`run`] would delete now. Deletes nothing, whoever else uses the archive.
pub fn dry_run(
    archive_root: &Path,
    index: &IndexReader,
    protected: Protected,
    limits: &Limits,
) -> Result<RetentionReport, IndexError> {
    let mut run = Run::new(archive_root, index, None, protected);
    run.all(limits)?;
    Ok(run.report)
}

struct Run<'a> {
    root: &'a Path,
    index: &'a IndexReader,
    /// None: nothing is deleted.
    owner: Option<&'a Index>,
    protected: Protected,
    report: RetentionReport,
    /// Deleted, though its row may still be read, or not to be deleted.
    done_with: HashSet<i64>,
}

/// A camera's recordings from the oldest on, read as they are needed.
#[derive(Default)]
struct Oldest {
    rows: VecDeque<(Position, Recording)>,
    after: Option<Position>,
    is_last: bool,
}

impl<'a> Run<'a> {
    fn new(root: &'a Path, index: &'a IndexReader, owner: Option<&'a Index>, protected: Protected) -> Self {
        Run { root, index, owner, protected, report: RetentionReport::default(), done_with: HashSet::new() }
    }

    fn all(&mut self, limits: &Limits) -> Result<(), IndexError> {
        let mut used = self.index.usage()?;
        for (camera, used_bytes) in &mut used {
            let limit = limits.cameras.get(camera).unwrap_or(&limits.others);
            let freed_before = self.report.freed_bytes;
            self.delete_aged(camera, limit, limits.now)?;
            let left_bytes = used_bytes.saturating_sub(self.report.freed_bytes - freed_before);
            self.delete(
                &ClosedQuery { camera: Some(camera), ..ClosedQuery::default() },
                excess(left_bytes, limit.max_size_bytes),
            )?;
            *used_bytes = used_bytes.saturating_sub(self.report.freed_bytes - freed_before);
        }
        let short_bytes = limits
            .space
            .map_or(0, |space| short_of(limits.min_free, space.free_bytes, space.total_bytes))
            .saturating_sub(self.report.freed_bytes);
        let release_bytes = excess(used.values().sum(), limits.max_size_bytes).max(short_bytes);
        self.report.short_bytes = self.delete_fairly(used, release_bytes)?;
        Ok(())
    }

    /// Deletes what is older than the camera's limits. What was recorded after something younger is younger than that
    /// itself, whatever the clock said: a clock that was wrong for a while makes nothing old.
    fn delete_aged(
        &mut self,
        camera: &str,
        limit: &RetentionConfig,
        now: Option<DateTime<Utc>>,
    ) -> Result<(), IndexError> {
        let Some(now) = now else { return Ok(()) };
        let of_events = limit.events_max_age.or(limit.max_age);
        let passes = if of_events == limit.max_age {
            vec![(None, limit.max_age)]
        } else {
            vec![(Some(false), limit.max_age), (Some(true), of_events)]
        };
        let deleted_before = self.report.deleted.len();
        for (events, max_age) in &passes {
            let Some(before) = age_limit(now, *max_age) else { continue };
            let until = self.index.first_ended(camera, before, now)?;
            let camera = Some(camera);
            self.delete(
                &ClosedQuery { camera, ended_before: Some(before), events: *events, until, ..ClosedQuery::default() },
                0,
            )?;
        }
        let longest = passes.iter().map(|(_, max_age)| age_limit(now, *max_age)).min().flatten();
        if let Some((owner, before)) = self.owner.zip(longest)
            && self.report.deleted.len() > deleted_before
        {
            owner.forget(camera, before);
        }
        Ok(())
    }

    /// Deletes from the oldest on of what is asked for: what ended before the query's limit, and else until
    /// `release_bytes` are released.
    fn delete(&mut self, query: &ClosedQuery<'_>, mut release_bytes: u64) -> Result<(), IndexError> {
        let older_than = query.ended_before;
        let mut after: Option<Position> = None;
        while older_than.is_some() || release_bytes > 0 {
            let rows = self.index.closed(&ClosedQuery { after, limit: CHUNK, ..query.clone() })?;
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
        Ok(())
    }

    /// Deletes the oldest of whoever holds most until `release_bytes` are released. Returns how many are missing still.
    fn delete_fairly(&mut self, used: BTreeMap<String, u64>, mut release_bytes: u64) -> Result<u64, IndexError> {
        let mut shares = Shares::new(used);
        let mut oldest: BTreeMap<String, Oldest> = BTreeMap::new();
        while release_bytes > 0 {
            let largest = shares.largest();
            // Of those that hold the same, the oldest.
            let mut next: Option<(Position, &String)> = None;
            for camera in &largest {
                match self.oldest(camera, oldest.entry(camera.clone()).or_default())? {
                    Some(position) if next.is_none_or(|(other, _)| position < other) => next = Some((position, camera)),
                    Some(_) => {}
                    None => shares.is_exhausted(camera),
                }
            }
            match next.and_then(|(_, camera)| Some((camera, oldest.get_mut(camera)?.rows.pop_front()?))) {
                Some((camera, (_, row))) => {
                    let freed_bytes = self.delete_one(row, Why::Room);
                    shares.released(camera, freed_bytes);
                    release_bytes = release_bytes.saturating_sub(freed_bytes);
                }
                None if largest.is_empty() => break,
                None => {}
            }
        }
        Ok(release_bytes)
    }

    /// Brings the camera's oldest recording that may be deleted to the front, and tells its place.
    fn oldest(&self, camera: &str, oldest: &mut Oldest) -> Result<Option<Position>, IndexError> {
        loop {
            while let Some((position, row)) = oldest.rows.front() {
                if self.candidate(row).is_some_and(|candidate| !candidate.protected) {
                    return Ok(Some(*position));
                }
                oldest.rows.pop_front();
            }
            if oldest.is_last {
                return Ok(None);
            }
            let query =
                ClosedQuery { camera: Some(camera), after: oldest.after, limit: CHUNK, ..ClosedQuery::default() };
            let rows = self.index.closed(&query)?;
            oldest.is_last = rows.len() < CHUNK as usize;
            oldest.after = rows.last().map(|(position, _)| *position);
            oldest.rows.extend(rows);
        }
    }

    fn candidate(&self, row: &Recording) -> Option<Candidate> {
        // A disk that is too full for the index keeps rows of what is deleted.
        if self.done_with.contains(&row.id) || self.owner.is_some_and(|owner| owner.is_removed(row.id)) {
            return None;
        }
        let is_live = self.owner.is_some_and(|owner| owner.is_live(row.id));
        let protected = is_live || self.protected.has(&row.path);
        row.end.map(|end| Candidate { id: row.id, end, bytes: row.bytes, protected })
    }

    /// Bytes that were freed.
    fn delete_one(&mut self, recording: Recording, why: Why) -> u64 {
        self.done_with.insert(recording.id);
        if let Some(owner) = self.owner {
            // Protected since this run began?
            if owner.state().protected().is_ok_and(|now| now.has(&recording.path)) {
                return 0;
            }
            if let Err(error) = paths::delete(self.root, &recording.path, &recording.camera) {
                self.report.failures.push(format!("{}: {error}", recording.path));
                return 0;
            }
            tracing::debug!(camera = %recording.camera, path = %recording.path, ?why, "recording deleted");
            owner.remove(recording.id);
        }
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
    use chrono::TimeDelta;

    use crate::domain::camera::{GapCause, Reason};
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
        let max_age = max_age_s.map(Duration::from_secs);
        let config = RetentionConfig { max_age, max_size_bytes, ..RetentionConfig::default() };
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
        let others = RetentionConfig { max_size_bytes: Some(0), ..RetentionConfig::default() };
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

    #[test]
    fn recordings_with_motion_live_by_their_own_age() {
        let mut all = six();
        for row in &mut all {
            row.reason = Reason::Continuous;
            row.motion_s = 0.0;
        }
        // Motion was seen in the first, and the third was begun by hand.
        all[0].motion_s = 0.5;
        all[2].reason = Reason::Manual;
        let place = Place::with(&all);
        let limits = |events_s: u64| {
            let events_max_age = Some(Duration::from_secs(events_s));
            let cameras = of("odd", Some(92_000), None)
                .into_iter()
                .map(|(camera, config)| (camera, RetentionConfig { events_max_age, ..config }))
                .collect();
            Limits { cameras, ..none() }
        };
        // 92 000 s before 100 000 is 8000: all would go.
        let would = dry_run(place.folder.path(), &place.index, Protected::default(), &limits(99_500)).unwrap();
        let ids: Vec<i64> = would.deleted.iter().map(|deleted| deleted.recording.id).collect();
        assert_eq!((ids, place.ids().len(), place.has("odd/5.mp4")), (vec![5], 6, true), "nothing is deleted yet");
        place.run(&limits(99_500));
        assert_eq!(place.ids(), [1, 2, 3, 4, 6]);
        place.run(&limits(98_000));
        assert_eq!(place.ids(), [2, 3, 4, 6]);
    }

    #[test]
    fn a_noisy_camera_makes_room_before_the_others_do() {
        // The quiet one's two are the oldest.
        let mut all: Vec<Recording> = (1..=2).map(|id| recording(id, "quiet", id * 10)).collect();
        all.extend((3..=20).map(|id| recording(id, "noisy", id * 1000)));
        all.extend((21..=24).map(|id| recording(id, "other", id * 1000)));
        let place = Place::with(&all);
        let report = place.run(&Limits { max_size_bytes: Some(9000), ..none() });
        assert!(report.deleted.iter().all(|deleted| deleted.recording.camera == "noisy"));
        assert_eq!(place.ids(), [1, 2, 18, 19, 20, 21, 22, 23, 24]);
        place.run(&Limits { max_size_bytes: Some(6000), ..none() });
        assert_eq!(place.ids(), [1, 2, 19, 20, 23, 24], "an equal share for each");
        let space = Some(Space { total_bytes: 100_000, free_bytes: 0 });
        place.run(&Limits { min_free: MinFree::Bytes(2500), space, ..none() });
        assert_eq!(place.ids().len(), 3);
    }

    #[test]
    fn a_clock_that_was_wrong_makes_nothing_old() {
        // 3 and 4 were recorded in 1970, 5 in 2035; the clock is right again.
        let mut all: Vec<Recording> = (1..=7).map(|id| recording(id, "odd", id * 10_000)).collect();
        let back = TimeDelta::days(50 * 365);
        for (n, by) in [(2, -back), (3, -back), (4, back / 5)] {
            all[n].start += by;
            all[n].end = all[n].end.map(|end| end + by);
        }
        let place = Place::with(&all);
        let age = |age_s| Limits { cameras: of("odd", Some(age_s), None), ..none() };
        place.run(&age(85_000));
        assert_eq!(place.ids(), [2, 3, 4, 5, 6, 7], "what follows the second is younger than it");
        place.run(&age(50_000));
        assert_eq!(place.ids(), [5, 6, 7], "and goes when the sixth is the oldest left");
    }

    #[test]
    fn thousands_are_deleted_in_a_second() {
        // 64 cameras of 4 Mbit/s write 32 MB/s: with files of 5 MB, which is short, that is 7 of them a second.
        let cameras = 64;
        let all: Vec<Recording> =
            (1..=6400).map(|id| recording(id, &format!("c{:02}", id % cameras), id * 10)).collect();
        let place = Place::with(&all);
        let began = crate::clock::monotonic();
        let report = place.run(&Limits { max_size_bytes: Some(3_200_000), ..none() });
        let took = began.elapsed();
        assert_eq!(report.deleted.len(), 3200);
        println!("3200 of 6400 recordings deleted in {took:?}");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert!(place.index.usage().unwrap().values().all(|bytes| *bytes == 50_000), "an equal share for each");
    }

    #[test]
    fn what_a_new_file_needs_is_kept_free_whatever_is_configured() {
        let space = |total_bytes| Some(Space { total_bytes, free_bytes: 0 });
        let least = MinFree::Bytes(9 << 20);
        assert_eq!(with_reserve(MinFree::Bytes(0), None), least);
        assert_eq!(with_reserve(MinFree::Share(0.0), space(1 << 40)), least);
        assert_eq!(with_reserve(MinFree::Share(0.05), space(100 << 20)), least);
        assert_eq!(with_reserve(MinFree::Share(0.05), space(1 << 40)), MinFree::Share(0.05));
        assert_eq!(with_reserve(MinFree::Bytes(10 << 20), None), MinFree::Bytes(10 << 20));
    }
}
