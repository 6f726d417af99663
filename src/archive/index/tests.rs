//! The index on real folders: what is kept, how it is listed, and what happens when the disk or the file fails.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::domain::camera::{GapCause, Reason};
use crate::domain::finding::{Cause, Region};
use crate::domain::recording::{Began, EventFilter, Page, RecordingQuery};
use crate::domain::score::Score;

pub(in crate::archive) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).expect("in range")
}

/// A closed recording of a minute that starts at `second`.
pub(in crate::archive) fn recording(id: i64, camera: &str, second: i64) -> Recording {
    Recording {
        id,
        camera: camera.to_owned(),
        start: at(second),
        end: Some(at(second + 60)),
        pre_alarm_s: Some(5.0),
        bytes: 1000,
        path: format!("{camera}/{id}.mp4"),
        motion_s: 12.5,
        complete: true,
        reason: Reason::Motion,
    }
}

fn gap(camera: &str, second: i64, cause: GapCause) -> Gap {
    Gap { camera: camera.into(), start: at(second), end: Some(at(second + 10)), cause }
}

/// Waits for a fact, with a deadline.
fn wait_for(what: &str, fact: impl Fn() -> bool) {
    let deadline = clock::monotonic() + Duration::from_secs(20);
    while !fact() {
        assert!(clock::monotonic() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ids(page: &Page<Recording>) -> Vec<i64> {
    page.items.iter().map(|row| row.id).collect()
}

fn all(index: &IndexReader) -> Vec<i64> {
    ids(&index.recordings(&RecordingQuery::default()).unwrap())
}

#[test]
fn what_is_put_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("made/for/me");
    let row = Recording { end: None, pre_alarm_s: None, complete: false, ..recording(1, "yard", 0) };
    {
        let index = Index::open(&root).unwrap();
        assert_eq!(index.next_id(), 1);
        index.put(row.clone());
        assert_eq!(index.recording(1).unwrap(), Some(row.clone()), "at once, even if it waits");
        assert!(index.flush());
        assert_eq!(all(&index), [1]);
        index.add_gap(gap("yard", 0, GapCause::Reload));
    }
    assert!(!root.join("index.db-wal").exists(), "an end in order leaves one file");
    let index = Index::open(&root).unwrap();
    assert_eq!(index.trouble(), None);
    assert_eq!(index.open_recordings().unwrap(), [row]);
    assert_eq!(index.gaps(&RecordingQuery::default()).unwrap().items, [gap("yard", 0, GapCause::Reload)]);
    assert!(index.closed_before().is_some());
    assert_eq!(index.next_id(), 2);
}

#[test]
fn a_change_after_the_end_takes_its_mark_off_and_is_kept() {
    let closed_in = |changed: bool| {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(folder.path()).unwrap();
        index.put(recording(1, "yard", 0));
        assert!(index.close());
        if changed {
            index.put(recording(2, "yard", 0));
            assert!(index.flush());
        }
        // As a process that exits with handles left behind.
        let copy = tempfile::tempdir().unwrap();
        for name in ["index.db", "index.db-wal"] {
            fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let index = Index::open(copy.path()).unwrap();
        (index.closed_before().is_some(), all(&index).len())
    };
    assert_eq!(closed_in(false), (true, 1));
    assert_eq!(closed_in(true), (false, 2));
}

#[test]
fn no_id_is_given_twice_not_even_after_a_crash_or_the_removal_of_the_last_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    for round in 0..4 {
        let index = Index::open(folder.path()).unwrap();
        for _ in 0..300 {
            assert!(seen.insert(index.next_id()), "round {round}");
        }
        let last = *seen.last().unwrap();
        index.put(recording(last, "yard", round));
        assert!(index.flush());
        index.remove(last);
        assert!(index.flush());
        if round % 2 == 0 {
            // A crash: a copy of the files as they are now takes their place after the end.
            let copy = tempfile::tempdir().unwrap();
            let names = ["index.db", "index.db-wal"];
            for name in names {
                fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
            }
            drop(index);
            for name in names {
                fs::copy(copy.path().join(name), folder.path().join(name)).unwrap();
            }
            let index = Index::open(folder.path()).unwrap();
            assert_eq!(index.closed_before(), None);
        }
    }
}

#[test]
fn pages_go_through_all_rows_newest_first_while_more_come() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    (1..=25).for_each(|id| index.put(recording(id, if id % 5 == 0 { "five" } else { "rest" }, id * 100)));
    index.flush();
    let mut query = RecordingQuery { limit: 10, ..RecordingQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = index.recordings(&query).unwrap();
        seen.extend(ids(&page));
        // A new one does not move the pages that follow.
        index.put(recording(100 + seen.len() as i64, "rest", 10_000));
        index.flush();
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
    let query = RecordingQuery { camera: Some("five".into()), limit: 5, ..RecordingQuery::default() };
    let page = index.recordings(&query).unwrap();
    assert_eq!((ids(&page), page.next), (vec![25, 20, 15, 10, 5], None));
}

#[test]
fn a_cursor_of_someone_elses_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    for cursor in ["", "x", "1", "1_", "1_2_3", "1; DROP TABLE recordings"] {
        let query = RecordingQuery { cursor: Some(cursor.into()), ..RecordingQuery::default() };
        assert!(matches!(index.recordings(&query), Err(IndexError::BadCursor)), "{cursor}");
    }
    let query = RecordingQuery { cursor: Some("1".into()), ..RecordingQuery::default() };
    assert!(matches!(index.gaps(&query), Err(IndexError::BadCursor)));
    assert!(matches!(index.events(&query), Err(IndexError::BadCursor)));
}

#[test]
fn a_span_of_time_gets_what_overlaps_it() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    (1..=9).for_each(|id| index.put(recording(id, if id == 5 { "other" } else { "yard" }, id * 100)));
    // One that is long, and one that is still open.
    index.put(Recording { end: Some(at(850)), ..recording(10, "long", 50) });
    index.put(Recording { end: None, complete: false, ..recording(11, "open", 400) });
    index.flush();
    let ask = |camera: Option<&str>, from: Option<i64>, to: Option<i64>| {
        let query = RecordingQuery {
            camera: camera.map(str::to_owned),
            from: from.map(at),
            to: to.map(at),
            ..RecordingQuery::default()
        };
        ids(&index.recordings(&query).unwrap())
    };
    assert_eq!(ask(None, Some(430), Some(500)), [11, 10, 4]);
    assert_eq!(ask(None, Some(460), Some(501)), [11, 10, 5], "the 4th ended exactly at 460");
    assert_eq!(ask(Some("yard"), Some(430), None), [9, 8, 7, 6, 4]);
    assert_eq!(ask(None, Some(1000), None), [11]);
    assert_eq!(ask(None, None, Some(100)), [10]);
    assert_eq!(ask(Some("nobody"), None, None), [0; 0]);
    assert_eq!(ask(None, Some(500), Some(100)), [0; 0]);
}

#[test]
fn the_order_is_that_of_the_recording_and_not_of_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    // The clock steps an hour back between the second and the third.
    for (id, second) in [(1, 7200), (2, 7300), (3, 3800), (4, 3900)] {
        index.put(recording(id, "yard", second));
    }
    index.flush();
    assert_eq!(all(&index), [4, 3, 2, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the clock did, a span of time gets all that overlaps it, in the order of the lists.
    #[test]
    fn a_span_of_time_gets_all_that_overlaps_it(
        rows in prop::collection::vec((prop_oneof![0i64..40_000, 0i64..400], 1i64..500, 0u8..10), 1..60),
        spans in prop::collection::vec((prop::option::of(-100i64..41_000), prop::option::of(0i64..20_000), any::<bool>()), 1..8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(folder.path()).unwrap();
        let mut late = 0;
        for (n, (second, seconds, kind)) in rows.iter().enumerate() {
            // Time goes on, but for some that are anywhere.
            late += 50;
            let second = if *kind < 6 { late } else { *second };
            let id = n as i64 + 1;
            let camera = if id % 3 == 0 { "door" } else { "yard" };
            let row = Recording { end: Some(at(second + seconds)), ..recording(id, camera, second) };
            match kind {
                8 => index.put_found(row),
                // Its start is known better in the end.
                9 => {
                    index.put(recording(id, camera, second + 700));
                    prop_assert!(index.flush());
                    index.put(row);
                }
                _ => index.put(row),
            }
            prop_assert!(index.flush());
        }
        let listed = index.recordings(&RecordingQuery { limit: 1000, ..RecordingQuery::default() }).unwrap().items;
        prop_assert_eq!(listed.len(), rows.len());
        for (from, length, of_one) in spans {
            let from = from.map(at);
            let to = length.map(|length| from.unwrap_or(at(0)) + TimeDelta::seconds(length));
            let camera = of_one.then(|| "yard".to_owned());
            let expected: Vec<i64> = listed
                .iter()
                .filter(|row| camera.as_ref().is_none_or(|camera| row.camera == *camera))
                .filter(|row| to.is_none_or(|to| row.start < to))
                .filter(|row| from.is_none_or(|from| row.end > Some(from) || row.start >= from))
                .map(|row| row.id)
                .collect();
            let query = RecordingQuery { camera, from, to, limit: 1000, ..RecordingQuery::default() };
            prop_assert_eq!(ids(&index.recordings(&query).unwrap()), expected, "{:?}", query);
        }
    }
}

#[test]
fn what_is_found_later_is_listed_where_it_belongs() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    (1..=3).for_each(|id| index.put(recording(id, "yard", id * 1000)));
    index.flush();
    for (id, second) in [(10, 1100), (11, 1200), (12, 1300), (13, 500), (14, 3500)] {
        index.put_found(recording(id, "found", second));
    }
    index.put(recording(15, "yard", 4000));
    // What it is told of later does not move it.
    index.put(Recording { bytes: 5, ..recording(11, "found", 1200) });
    index.flush();
    assert_eq!(all(&index), [15, 14, 3, 2, 12, 11, 10, 1, 13]);
}

#[test]
fn a_long_row_of_finds_between_two_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    index.put(recording(1, "yard", 0));
    index.put(recording(2, "yard", 100_000));
    index.flush();
    (10..80).for_each(|id| index.put_found(recording(id, "found", id * 100)));
    index.flush();
    let expected: Vec<i64> = [2].into_iter().chain((10..80).rev()).chain([1]).collect();
    assert_eq!(all(&index), expected);
}

#[test]
fn one_file_has_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    index.put(recording(1, "yard", 0));
    index.flush();
    index.put(Recording { path: "yard/1.mp4".into(), ..recording(2, "yard", 5) });
    index.flush();
    assert_eq!(all(&index), [2]);
    assert_eq!(index.by_path("yard/1.mp4").unwrap().unwrap().id, 2);
}

#[test]
fn a_gap_that_goes_on_is_one_gap() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    index.add_gap(gap("yard", 0, GapCause::Disconnected));
    index.flush();
    index.add_gap(Gap { end: Some(at(99)), ..gap("yard", 0, GapCause::Disconnected) });
    index.add_gap(gap("yard", 0, GapCause::Reload));
    index.add_gap(gap("door", 50, GapCause::Down));
    index.flush();
    let ask = |query: RecordingQuery| index.gaps(&query).unwrap();
    assert_eq!(ask(RecordingQuery::default()).items.len(), 3);
    let yard = ask(RecordingQuery { camera: Some("yard".into()), from: Some(at(20)), ..RecordingQuery::default() });
    assert_eq!(yard.items, [Gap { end: Some(at(99)), ..gap("yard", 0, GapCause::Disconnected) }]);
    let first = ask(RecordingQuery { limit: 1, ..RecordingQuery::default() });
    assert_eq!(first.items[0].camera, "door");
    let second = ask(RecordingQuery { limit: 2, cursor: first.next, ..RecordingQuery::default() });
    assert_eq!((second.items.len(), second.next), (2, None));
}

#[test]
fn a_gap_that_goes_on_has_no_end_and_may_turn_out_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    let gaps = || {
        assert!(index.flush());
        index.gaps(&RecordingQuery::default()).unwrap().items
    };
    let open = |second, cause| Gap { end: None, ..gap("yard", second, cause) };
    index.set_open_gap("yard", Some((at(5), GapCause::Disconnected)));
    index.set_open_gap("door", Some((at(0), GapCause::Reload)));
    assert_eq!(gaps(), [open(5, GapCause::Disconnected), Gap { camera: "door".into(), ..open(0, GapCause::Reload) }]);
    // Its cause is known better by now; then it is over.
    index.set_open_gap("yard", Some((at(5), GapCause::Crash)));
    index.set_open_gap("door", None);
    assert_eq!(gaps(), [open(5, GapCause::Crash)]);
    let after = RecordingQuery { from: Some(at(1000)), ..RecordingQuery::default() };
    assert_eq!(index.gaps(&after).unwrap().items.len(), 1);
    index.add_gap(gap("yard", 5, GapCause::Crash));
    index.set_open_gap("yard", None);
    assert_eq!(gaps(), [gap("yard", 5, GapCause::Crash)]);
    // What comes late does not open it again.
    index.add_gap(open(5, GapCause::Crash));
    assert_eq!(gaps(), [gap("yard", 5, GapCause::Crash)]);
}

#[test]
fn the_latest_of_each_camera() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    assert_eq!(index.latest().unwrap(), []);
    for (id, camera) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
        index.put(recording(id, camera, id));
    }
    index.flush();
    let latest: Vec<i64> = index.latest().unwrap().iter().map(|row| row.id).collect();
    assert_eq!(latest, [3, 2, 4]);
}

#[test]
fn only_one_process_records_into_an_archive_but_anyone_may_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(IndexReader::open(folder.path()), Err(IndexError::Missing { .. })));
    let index = Index::open(folder.path()).unwrap();
    let refused = Index::open(folder.path()).err().expect("in use");
    assert!(refused.to_string().contains("in use by another tarsier"), "{refused}");
    index.put(recording(1, "yard", 0));
    index.flush();
    assert_eq!(all(&IndexReader::open(folder.path()).unwrap()), [1]);
    drop(index);
    Index::open(folder.path()).unwrap();
}

#[test]
fn a_row_that_sqlite_does_not_take_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    index.put(Recording { motion_s: f64::NAN, pre_alarm_s: Some(f64::INFINITY), ..recording(1, "yard", 0) });
    index.put(recording(2, "yard", 0));
    assert!(index.flush());
    assert_eq!(index.recording(1).unwrap().unwrap().motion_s, 0.0);
    assert_eq!(all(&index), [2, 1]);
}

/// The files beside the index that were moved aside.
fn aside(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("index.db.broken-") && !name.ends_with("-wal") && !name.ends_with("-shm"));
    names.sort();
    names
}

#[test]
fn a_file_that_is_no_database_makes_way_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let other_program = |path: &Path| {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 3").unwrap();
    };
    let newer = |path: &Path| {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE recordings (x); PRAGMA user_version = 99").unwrap();
    };
    let garbage = |path: &Path| fs::write(path, vec![0xA5; 100_000]).unwrap();
    let makers: [&dyn Fn(&Path); 3] = [&garbage, &newer, &|path| {
        other_program(path);
        Connection::open(path).unwrap().pragma_update(None, "user_version", 0).unwrap();
    }];
    for (n, make) in makers.into_iter().enumerate() {
        make(&path);
        let bytes = fs::read(&path).unwrap();
        let index = Index::open(folder.path()).unwrap();
        let trouble = index.trouble().expect("it is told");
        assert!(trouble.contains("index.db.broken-"), "{trouble}");
        assert!(index.wants_scan());
        // Its ids begin above all that the broken one can have given out.
        let id = index.next_id();
        assert!(id > 1_600_000_000, "{id}");
        index.put(recording(id, "yard", 0));
        assert!(index.flush());
        assert_eq!(all(&index), [id]);
        assert_eq!(aside(folder.path()).len(), n + 1);
        let kept = aside(folder.path()).into_iter().map(|name| fs::read(folder.path().join(name)).unwrap());
        assert!(kept.into_iter().any(|kept| kept == bytes));
        index.rebuilt();
        assert_eq!(index.trouble(), None);
        drop(index);
        fs::remove_file(&path).unwrap();
    }
}

/// An index with so many rows that it has many pages; the rows and gaps are written down in it.
fn large(root: &Path) {
    let index = Index::open(root).unwrap();
    (1..=3000).for_each(|id| index.put(recording(id, "yard", id * 100)));
    index.add_gap(gap("yard", 0, GapCause::Disconnected));
    assert!(index.flush());
}

#[test]
fn damage_in_the_middle_is_found_and_the_gaps_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    large(folder.path());
    let path = folder.path().join(FILE_NAME);
    // The pages of the table of recordings; the schema and the gaps stay.
    let root: i64 = {
        let connection = Connection::open(&path).unwrap();
        connection.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'recordings'", [], |r| r.get(0)).unwrap()
    };
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start((root as u64 - 1) * 4096)).unwrap();
    file.write_all(&[0xFF; 4096]).unwrap();
    drop(file);
    let index = Index::open(folder.path()).unwrap();
    wait_for("the damage is found", || index.wants_scan());
    index.put(recording(9999, "yard", 0));
    assert!(index.flush());
    assert_eq!(all(&index), [9999]);
    assert_eq!(index.gaps(&RecordingQuery::default()).unwrap().items.len(), 1);
    assert_eq!(aside(folder.path()).len(), 1);
}

#[test]
fn half_a_database_makes_way() {
    let folder = tempfile::tempdir().unwrap();
    large(folder.path());
    let path = folder.path().join(FILE_NAME);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2 + 100).unwrap();
    let index = Index::open(folder.path()).unwrap();
    wait_for("it is told", || index.wants_scan());
    index.put(recording(9999, "yard", 0));
    assert!(index.flush());
    assert_eq!(all(&index), [9999]);
}

#[test]
fn who_asks_while_an_index_is_made_finds_none_or_a_whole_one() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| {
                loop {
                    match IndexReader::open(folder.path())
                        .and_then(|index| index.recordings(&RecordingQuery::default()))
                    {
                        Err(IndexError::Missing { .. }) => {}
                        answer => return answer.unwrap(),
                    }
                }
            });
            let index = Index::open(folder.path()).unwrap();
            assert!(index.flush());
            assert_eq!(asks.join().unwrap().items, []);
        });
    }
}

#[test]
fn an_empty_file_is_a_new_index() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), b"").unwrap();
    fs::create_dir(folder.path().join("yard")).unwrap();
    let index = Index::open(folder.path()).unwrap();
    assert_eq!(index.trouble(), None);
    assert!(index.next_id() > 1_600_000_000, "there were recordings before");
}

#[test]
fn an_index_that_is_taken_away_is_begun_anew_and_what_is_open_stays_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    let open = Recording { end: None, complete: false, ..recording(1, "yard", 0) };
    index.put(open.clone());
    index.put(recording(2, "yard", 0));
    index.flush();
    assert_eq!(all(&index), [2, 1]);
    fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
    index.put(recording(3, "yard", 0));
    wait_for("it is told", || index.wants_scan());
    wait_for("what is open is in it", || {
        index.recordings(&RecordingQuery::default()).is_ok_and(|page| ids(&page) == [3, 1])
    });
    assert_eq!(index.open_recordings().unwrap(), [open]);
}

#[test]
fn a_folder_that_cannot_be_written_is_trouble_and_not_an_error_and_heals() {
    let place = tempfile::tempdir().unwrap();
    // A file where the folder should be: root, as whom tests may run, could write into any folder.
    let root = place.path().join("archive");
    fs::write(&root, b"in the way").unwrap();
    let index = Index::open(&root).unwrap();
    assert!(index.trouble().expect("it is told").contains("archive"));
    let id = index.next_id();
    index.put(recording(id, "yard", 0));
    index.add_gap(gap("yard", 0, GapCause::DiskError));
    assert_eq!(index.recording(id).unwrap().map(|row| row.id), Some(id));
    fs::remove_file(&root).unwrap();
    wait_for("it heals by itself", || index.trouble().is_none());
    assert_eq!(all(&index), [id]);
    assert_eq!(index.gaps(&RecordingQuery::default()).unwrap().items.len(), 1);
}

#[test]
fn a_disk_that_fails_keeps_the_changes_and_takes_them_when_it_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    index.put(recording(1, "yard", 0));
    assert!(index.flush());
    // Another program holds the database: nothing can be written.
    let blocker = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    blocker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    index.put(recording(2, "yard", 0));
    index.put(Recording { bytes: 77, ..recording(2, "yard", 0) });
    wait_for("it is told", || index.trouble().is_some_and(|trouble| trouble.contains("cannot be written")));
    assert!(!index.flush(), "what waits is not called written");
    assert_eq!(all(&index), [1], "readers go on");
    blocker.execute_batch("ROLLBACK").unwrap();
    wait_for("it heals by itself", || index.trouble().is_none());
    assert_eq!(index.recording(2).unwrap().unwrap().bytes, 77);
}

#[test]
fn an_index_of_the_first_version_keeps_its_rows_and_tells_their_events() {
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    old.execute_batch(db::MIGRATIONS[0]).unwrap();
    let us = |second| at(second).timestamp_micros();
    let values = format!("(1, 9, 'yard', {}, {}, 2.5, 5, 'yard/1.mp4', 1.5, 1, 'motion')", us(0), us(60));
    let continuous = format!("(2, 10, 'yard', {}, {}, NULL, 5, 'yard/2.mp4', 0, 1, 'continuous')", us(60), us(90));
    old.execute_batch(&format!(
        "INSERT INTO recordings (id, seq, camera, start_us, end_us, pre_alarm_s, bytes, path, motion_s, complete, reason)
            VALUES {values}, {continuous};
         INSERT INTO gaps (camera, start_us, end_us, cause) VALUES ('yard', {}, {}, 'reload');
         PRAGMA user_version = 1",
        us(0),
        us(10),
    ))
    .unwrap();
    drop(old);
    let index = Index::open(folder.path()).unwrap();
    assert_eq!((index.trouble(), all(&index)), (None, vec![2, 1]));
    assert_eq!(index.gaps(&RecordingQuery::default()).unwrap().items, [gap("yard", 0, GapCause::Reload)]);
    let start = at(0) + TimeDelta::milliseconds(2500);
    let event = MotionEvent { end: Some(at(60)), ..MotionEvent::new(1, "yard", start, Reason::Motion) };
    assert_eq!(index.events(&RecordingQuery::default()).unwrap().items, [(event, vec![1])]);
}

#[test]
fn events_are_asked_by_length_cause_and_zone_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    let event = |id: i64, seconds: Option<i64>, reason, cause, zones: &[&str]| MotionEvent {
        end: seconds.map(|seconds| at(id * 100 + seconds)),
        cause,
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        ..MotionEvent::new(id, "yard", at(id * 100), reason)
    };
    index.put_event(event(1, Some(5), Reason::Motion, Some(Cause::Motion), &["gate", "drive"]));
    index.put_event(event(2, Some(30), Reason::Motion, Some(Cause::SceneChange), &[]));
    index.put_event(event(3, Some(31), Reason::Manual, None, &[]));
    index.put_event(event(4, None, Reason::Motion, Some(Cause::Motion), &["gate"]));
    index.flush();
    let found = |filter: &EventFilter, limit| {
        let page = index.events_that(&RecordingQuery { limit, ..RecordingQuery::default() }, filter).unwrap();
        (page.items.iter().map(|(event, _)| event.id).collect::<Vec<_>>(), page.next)
    };
    let ids = |filter: EventFilter| found(&filter, 0).0;
    let least = |seconds| EventFilter { least: Some(TimeDelta::seconds(seconds)), ..EventFilter::default() };
    assert_eq!(ids(least(5)), [3, 2, 1], "one that goes on has no length yet");
    assert_eq!(ids(least(31)), [3]);
    let began = |began| EventFilter { began: Some(began), ..EventFilter::default() };
    assert_eq!(ids(began(Began::By(Cause::Motion))), [4, 1]);
    assert_eq!(ids(began(Began::ByHand)), [3]);
    let zone = |zone: &str| EventFilter { zone: Some(zone.to_owned()), ..EventFilter::default() };
    assert_eq!(ids(zone("gate")), [4, 1]);
    assert_eq!(ids(zone("gat")), [0; 0]);
    let (first, next) = found(&zone("gate"), 1);
    assert_eq!(first, [4]);
    let rest = RecordingQuery { limit: 1, cursor: next, ..RecordingQuery::default() };
    let rest = index.events_that(&rest, &zone("gate")).unwrap();
    assert_eq!((rest.items[0].0.id, rest.next), (1, None));

    index.remove_event(1);
    index.flush();
    assert_eq!(ids(EventFilter::default()), [4, 3, 2]);
    assert_eq!((index.event(1).unwrap(), index.event(2).unwrap().map(|(event, _)| event.id)), (None, Some(2)));
}

#[test]
fn what_a_model_found_stays_with_its_event_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    let known = |class: &str| {
        vec![found::Found {
            class: class.to_owned(),
            score: 0.5,
            region: Region { left: 0.0, top: 0.0, width: 0.5, height: 1.0 },
        }]
    };
    let open = |id| MotionEvent::new(id, "yard", at(id * 100), Reason::Motion);
    let ended = |id| MotionEvent { end: Some(at(id * 100 + 10)), ..open(id) };
    for id in 1..=3 {
        index.put_event(open(id));
    }
    // In one queue, and while it goes on; the end does not take it away.
    index.confirm_event(1, known("cat"));
    index.flush();
    index.put_event(ended(1));
    index.confirm_event(2, Vec::new());
    index.put_event(ended(2));
    index.remove_event(3);
    index.flush();
    index.confirm_event(2, known("dog"));
    index.confirm_event(3, known("dog"));
    index.confirm_event(99, known("dog"));
    index.flush();
    let told = |id| index.event(id).unwrap().map(|(event, _)| event);
    assert_eq!(told(1), Some(MotionEvent { found: Some(known("cat")), ..ended(1) }));
    assert_eq!(told(2), Some(MotionEvent { found: Some(known("dog")), ..ended(2) }));
    assert_eq!((told(3), told(99), index.trouble()), (None, None, None));
    let filter = EventFilter { found: Some("dog".to_owned()), ..EventFilter::default() };
    let page = index.events_that(&RecordingQuery::default(), &filter).unwrap();
    assert_eq!(page.items.iter().map(|(event, _)| event.id).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_page_of_few_that_fit_goes_on_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    let rare = [1, 60_000];
    for id in 1..=60_000 {
        let zones = if rare.contains(&id) { vec!["gate".to_owned()] } else { Vec::new() };
        index.put_event(MotionEvent {
            zones,
            end: Some(at(id + 1)),
            ..MotionEvent::new(id, "yard", at(id), Reason::Motion)
        });
        if id % 10_000 == 0 {
            wait_for("the rows are written", || index.flush());
        }
    }
    let filter = EventFilter { zone: Some("gate".to_owned()), ..EventFilter::default() };
    let mut query = RecordingQuery::default();
    let mut pages = Vec::new();
    loop {
        let page = index.events_that(&query, &filter).unwrap();
        pages.push(page.items.iter().map(|(event, _)| event.id).collect::<Vec<_>>());
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, [[60_000], [1]]);
}

/// What a camera sees in a second of the day: nothing at night but for noise, a busy street by day.
fn share_at(random: &mut fastrand::Rng, second: i64) -> f64 {
    let is_day = (6..22).contains(&(second / 3600));
    match (is_day, random.u8(..)) {
        (true, 0..160) => random.f64() * 0.05,
        (false, 0..8) => random.f64() * 0.001,
        _ => 0.0,
    }
}

#[test]
fn a_day_of_a_cameras_scores_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let midnight = at(0).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let size = || fs::metadata(folder.path().join(FILE_NAME)).unwrap().len();
    let mut random = fastrand::Rng::with_seed(7);
    drop(Index::open(folder.path()).unwrap());
    let before = size();
    for share_of in [share_at, |random: &mut fastrand::Rng, _| random.f64()] {
        let index = Index::open(folder.path()).unwrap();
        let camera = format!("camera-{}", random.u16(..));
        for minute in 0..24 * 60 {
            let seconds = minute * 60..(minute + 1) * 60;
            let time = |second| midnight + TimeDelta::seconds(second);
            let seen = seconds.map(|second| (time(second), Score::of(share_of(&mut random, second))));
            index.see(&camera, seen.collect::<Vec<_>>());
            // As it comes: a minute after the other.
            assert!(index.flush());
        }
    }
    let grown = size() - before;
    assert!(grown < 2 * 200_000, "two days of a camera, one of them of pure noise: {grown} bytes");
    eprintln!("{} bytes a day", grown / 2);
}

#[test]
fn scores_are_there_at_once_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let byte = |bytes: &[u8]| bytes.iter().map(|byte| Score::of_byte(*byte)).collect::<Vec<_>>();
    let now = DateTime::from_timestamp(clock::utc_now().timestamp(), 0).unwrap();
    let ask = |index: &Index| index.scores("yard", now, now + TimeDelta::seconds(4)).unwrap();
    let index = Index::open(folder.path()).unwrap();
    index.see("yard", [(now, Score::of_byte(3)), (now + TimeDelta::seconds(2), Score::of_byte(0))]);
    index.see("door", [(now, Score::of_byte(77))]);
    index.see("yard", [(now + TimeDelta::milliseconds(500), Score::of_byte(9))]);
    assert_eq!(ask(&index).points, byte(&[9, 255, 0, 255]));
    drop(index);
    let index = Index::open(folder.path()).unwrap();
    assert_eq!(ask(&index).points, byte(&[9, 255, 0, 255]));
    // The rest of the minute, of the next process.
    index.see("yard", [(now + TimeDelta::seconds(1), Score::of_byte(200)), (now, Score::of_byte(1))]);
    assert_eq!(ask(&index).points, byte(&[9, 200, 0, 255]));
    assert!(index.close());
    assert_eq!(ask(&index).points, byte(&[9, 200, 0, 255]));
}

#[test]
fn what_was_written_waits_for_the_archives_sync() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    assert!(index.flush());
    index.take_unsynced();
    index.put(recording(1, "yard", 0));
    assert!(index.flush());
    assert!(index.take_unsynced());
    assert!(!index.take_unsynced());
}

#[test]
fn a_change_is_in_the_journal_once_however_often_the_disk_fails() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    assert!(index.flush());
    // A folder in the journal's place: the database takes nothing either.
    fs::create_dir_all(folder.path().join(".journal/yard/2023-11-14.jsonl")).unwrap();
    index.put(recording(1, "yard", 0));
    wait_for("it is told", || index.trouble().is_some_and(|trouble| trouble.contains("2023-11-14.jsonl")));
    assert_eq!(all(&index), [0; 0]);
    fs::remove_dir(folder.path().join(".journal/yard/2023-11-14.jsonl")).unwrap();
    wait_for("it heals by itself", || index.trouble().is_none());
    // And the other way round.
    let blocker = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    blocker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    index.remove(1);
    wait_for("it is told again", || index.trouble().is_some());
    blocker.execute_batch("ROLLBACK").unwrap();
    wait_for("it heals again", || index.trouble().is_none());
    let lines = fs::read_to_string(folder.path().join(".journal/yard/2023-11-14.jsonl")).unwrap();
    let kinds: Vec<&str> = lines.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(kinds, ["recording", "deleted"]);
}

#[test]
fn the_index_is_no_secret_and_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    assert!(index.flush());
    let mode = fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0);
}

#[test]
fn a_hundred_thousand_rows_are_asked_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    for block in 0..10 {
        for id in block * 10_000 + 1..=(block + 1) * 10_000 {
            index.put(recording(id, if id % 8 == 0 { "eight" } else { "rest" }, id * 100));
        }
        wait_for("the rows are written", || index.flush());
    }
    let queries = [
        RecordingQuery { from: Some(at(9_999_000)), ..RecordingQuery::default() },
        RecordingQuery { to: Some(at(5000)), ..RecordingQuery::default() },
        RecordingQuery { from: Some(at(4_000_000)), to: Some(at(4_001_000)), ..RecordingQuery::default() },
        RecordingQuery { camera: Some("eight".into()), from: Some(at(1)), ..RecordingQuery::default() },
        RecordingQuery { camera: Some("nobody".into()), ..RecordingQuery::default() },
    ];
    for query in queries {
        let begun = clock::monotonic();
        index.recordings(&query).unwrap();
        // Some milliseconds on any machine; a walk through the table would take a hundred times as long.
        assert!(begun.elapsed() < Duration::from_millis(500), "{query:?}: {:?}", begun.elapsed());
    }
}
