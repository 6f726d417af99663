//! The index: which recordings and gaps the archive has, in SQLite beside them.
//!
//! The files are the truth and the index a cache of it that can be rebuilt (`archive::recovery`); what no file says
//! is in the day journals, which are written with it. Nobody who records ever waits on it: changes are queued in
//! memory and one thread writes them; questions have read-only connections of their own. A disk that fails keeps the
//! changes queued, a broken database is moved aside and a new one begun: recording goes on.

mod db;
pub mod journal;
mod queue;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use self::db::{Db, DbError, Found};
use self::journal::Journals;
use self::queue::{Change, Place, Queue};
pub use self::reader::{ClosedQuery, IndexReader, Position};
use self::writer::Writer;
use super::home::{self, Home, Noted};
use super::state::StateDb;
use crate::clock;
use crate::domain::camera::GapCause;
use crate::domain::found;
use crate::domain::recording::{Gap, MotionEvent, Recording};
use crate::domain::score::{self, Minute, Score, Series};

/// The index's file in the archive's root.
pub const FILE_NAME: &str = "index.db";

/// A minute is written so long after its end: the detector may be behind.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(5);
/// So many minutes that go on are more than there can be: a clock went astray, and they are written as they are.
const MOST_MINUTES: usize = 10_000;
/// Of an answer of scores, but for the last.
const MOST_POINTS: usize = 2000;

/// So long before the last note that all was well what was written may not have been on the disk yet.
const UNSYNCED: TimeDelta = TimeDelta::seconds(10);
/// How long [`Index::flush`] and [`Index::close`] wait for the disk.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// How long the last handle does.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Why the index could not be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("{0}")]
    InUse(std::io::Error),
    #[error("the archive {} has no index: `tarsier recordings repair` makes one from its journals and files", root.display())]
    Missing { root: PathBuf },
    #[error("the index {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: rusqlite::Error },
    #[error("the cursor is none that this archive gave out: ask without it")]
    BadCursor,
    #[error("the index's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// The index of one archive, for the process that records into it. Clones share it; when the last one goes, what
/// is queued is written.
#[derive(Clone)]
pub struct Index {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    opened: DateTime<Utc>,
    closed_before: Option<DateTime<Utc>>,
    state: StateDb,
    noted: Option<Noted>,
}

struct Shared {
    path: PathBuf,
    home: Home,
    reader: IndexReader,
    next_id: AtomicI64,
    /// Written to since the last sync.
    unsynced: AtomicBool,
    /// It is to be noted that all is well, see [`Index::note_alive`].
    notes_alive: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Changes ever queued, and how many of them are written.
    queued: u64,
    written: u64,
    /// Scores of minutes that go on, by camera and minute.
    minutes: BTreeMap<(String, i64), Minute>,
    /// Recordings that are open in this process.
    live: BTreeMap<i64, Recording>,
    /// Gaps that go on in this process, by camera.
    live_gaps: BTreeMap<String, Gap>,
    failing: Option<String>,
    rebuilding: Option<String>,
    /// The database does not know yet what the journals say.
    wants_replay: bool,
    ask: Ask,
    ended: bool,
}

/// What the writer is asked for beside the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ask {
    #[default]
    Nothing,
    /// Mark an end in order.
    Mark,
    /// And end.
    End,
}

impl Index {
    /// Opens the index of an archive, and makes folder and index where they are missing. Trouble with the disk
    /// or a broken index is no error: see [`Index::trouble`].
    pub fn open(archive_root: &Path) -> Result<Index, IndexError> {
        Index::open_at(archive_root, Home::unwatched(archive_root))
    }

    /// Like [`Index::open`], but nothing is written, now or later, while the archive's disk is not there.
    pub fn open_at(archive_root: &Path, home: Home) -> Result<Index, IndexError> {
        let now = clock::utc_now();
        let path = archive_root.join(FILE_NAME);
        let noted = home.noted();
        let prepared = match home.check() {
            Err(error) if home::is_in_use(&error) => return Err(IndexError::InUse(error)),
            checked => checked.map_err(|error| error.to_string()),
        };
        let shared = Shared {
            reader: IndexReader::new(path.clone()),
            // What is given out before the index could be read is larger than all that is in it.
            next_id: AtomicI64::new(first_id(now)),
            unsynced: AtomicBool::new(false),
            notes_alive: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            home,
            path,
        };
        let mut closed_before = None;
        let opened = prepared.map_err(DbError::Failing).and_then(|()| Db::open(&shared.path));
        let db = match opened {
            Ok((db, found)) => {
                closed_before = found.closed;
                shared.lock().wants_replay = !found.replayed;
                // A new index in an old archive: its ids begin above all that were given out before.
                if !found.new || !has_folders(archive_root) {
                    shared.next_id.store(found.next_id, Ordering::SeqCst);
                }
                Some(db)
            }
            Err(DbError::Broken(what)) => match writer::make_way(&shared.path, &what) {
                Ok((db, aside)) => {
                    let mut state = shared.lock();
                    db::salvage_gaps(&aside).into_iter().for_each(|gap| state.queue.add_gap(gap));
                    state.begun_anew(writer::rebuilding(&shared.path, &what, &aside));
                    drop(state);
                    Some(db)
                }
                Err(what) => shared.fails(&what),
            },
            Err(DbError::Failing(what)) => shared.fails(&what),
        };
        let shared = Arc::new(shared);
        let (for_writer, writer) = (
            Arc::clone(&shared),
            Writer { was_open: db.is_some(), db, unchecked: true, journals: Journals::of(archive_root) },
        );
        std::thread::Builder::new()
            .name("index".into())
            .spawn(move || writer.run(&for_writer))
            .map_err(IndexError::Thread)?;
        Ok(Index {
            handle: Arc::new(Handle { shared, opened: now, closed_before, state: StateDb::of(archive_root), noted }),
        })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// An id for the next recording. Never blocks, and never gives one twice.
    pub fn next_id(&self) -> i64 {
        self.shared().next_id.fetch_add(1, Ordering::SeqCst)
    }

    /// Inserts the recording, or replaces the row of its id. Queued.
    pub fn put(&self, recording: Recording) {
        self.change(|state| {
            match recording.end {
                None => state.live.insert(recording.id, recording.clone()),
                Some(_) => state.live.remove(&recording.id),
            };
            state.queue.put(recording, Place::Last);
        });
    }

    /// Like [`Index::put`] for a file that was found: it is listed where its start belongs. Queued.
    pub fn put_found(&self, recording: Recording) {
        self.change(|state| state.queue.put(recording, Place::ByStart));
    }

    /// Like [`Index::put`] for a row that the journal has, with its place in the order. Queued.
    pub fn restore(&self, recording: Recording, seq: i64) {
        self.shared().next_id.fetch_max(recording.id + 1, Ordering::SeqCst);
        self.change(|state| state.queue.put(recording, Place::At(seq)));
    }

    /// Removes a recording's row. Queued.
    pub fn remove(&self, id: i64) {
        self.change(|state| {
            state.live.remove(&id);
            state.queue.remove(id);
        });
    }

    /// Writes a gap down. One with the same camera, start and cause is the same gap, which now ends at `end`. Queued.
    pub fn add_gap(&self, gap: Gap) {
        self.change(|state| state.queue.add_gap(in_micros(gap)));
    }

    /// Says which gap of a camera goes on now: since when, and why. None takes back what was said before, if it has
    /// not ended as a gap meanwhile. Queued.
    pub fn set_open_gap(&self, camera: &str, gap: Option<(DateTime<Utc>, GapCause)>) {
        let gap = gap.map(|(start, cause)| in_micros(Gap { camera: camera.to_owned(), start, end: None, cause }));
        self.change(|state| {
            match &gap {
                Some(gap) => state.live_gaps.insert(camera.to_owned(), gap.clone()),
                None => state.live_gaps.remove(camera),
            };
            state.queue.set_open_gap(camera, gap);
        });
    }

    /// Gaps that go on, each camera's one.
    pub fn live_gaps(&self) -> Vec<Gap> {
        self.shared().lock().live_gaps.values().cloned().collect()
    }

    /// The gap of a camera that goes on.
    pub fn live_gap(&self, camera: &str) -> Option<Gap> {
        self.shared().lock().live_gaps.get(camera).cloned()
    }

    /// Like [`Index::add_gap`] for one that the journal has; `is_over`: what goes on is known by now. Queued.
    pub fn restore_gap(&self, gap: Gap, is_over: bool) {
        let opened = self.opened();
        self.change(|state| match gap.end {
            // One that nobody ended did not go on for longer than until this process began.
            None if is_over && !state.live_gaps.values().any(|live| *live == gap) => {
                state.queue.add_gap(Gap { end: Some(opened.max(gap.start)), ..gap });
            }
            _ => state.queue.restore_gap(gap),
        });
    }

    /// Writes an event down, or what is known of it now. Queued.
    pub fn put_event(&self, event: MotionEvent) {
        self.change(|state| state.queue.put_event(event));
    }

    /// Like [`Index::put_event`] for one that the journal has. Queued.
    pub fn restore_event(&self, event: MotionEvent) {
        self.shared().next_id.fetch_max(event.id + 1, Ordering::SeqCst);
        self.change(|state| state.queue.restore_event(event));
    }

    /// Writes down what a model found in an event, of all its pictures so far. Queued.
    pub fn confirm_event(&self, event: i64, found: Vec<found::Found>) {
        self.change(|state| state.queue.confirm_event(event, found));
    }

    /// Like [`Index::confirm_event`] for what the journal has. Queued.
    pub fn restore_confirmed(&self, event: i64, found: Vec<found::Found>) {
        self.change(|state| state.queue.restore_confirmed(event, found));
    }

    /// Takes an event away that is over; no recording goes with it. Queued.
    pub fn remove_event(&self, id: i64) {
        self.change(|state| state.queue.remove_event(id, false));
    }

    /// Like [`Index::remove_event`] for one of which the journal says so. Queued.
    pub fn restore_no_event(&self, id: i64) {
        self.change(|state| state.queue.remove_event(id, true));
    }

    /// Notes motion scores of a camera, each with its time. Kept in memory until their minutes are over.
    pub fn see(&self, camera: &str, scores: impl IntoIterator<Item = (DateTime<Utc>, Score)>) {
        let mut state = self.shared().lock();
        for (time, score) in scores {
            let (minute, second) = score::place_of(time.timestamp());
            state.minutes.entry((camera.to_owned(), minute)).or_default().see(second, score);
        }
    }

    /// Scores of a minute that the journal has. Queued.
    pub fn restore_minute(&self, camera: &str, minute: i64, scores: &Minute) {
        self.change(|state| state.queue.see(camera, minute, scores, true));
    }

    /// A camera's motion scores from one moment to another, in a few thousand points at most.
    pub fn scores(&self, camera: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Series, IndexError> {
        let mut series = Series::over(from.timestamp(), to.timestamp(), MOST_POINTS);
        let end_s = series.from_s + series.step_s * series.points.len() as i64;
        let (first, last) = (score::place_of(series.from_s).0, score::place_of(end_s - 1).0);
        {
            // First what is not written yet: what is written meanwhile counts twice, which changes nothing.
            let state = self.shared().lock();
            let going_on = state.minutes.iter().map(|((of, minute), scores)| (*minute, of.as_str(), scores));
            let waiting = state.queue.minutes().map(|(minute, of, waiting)| (minute, of, &waiting.what));
            let unwritten = going_on.chain(waiting).filter(|(_, of, _)| *of == camera);
            unwritten.for_each(|(minute, _, scores)| series.take(minute, scores));
        }
        for (minute, scores) in self.shared().reader.minutes(camera, first, last.saturating_add(1))? {
            series.take(minute, &scores);
        }
        Ok(series)
    }

    /// Forgets what else is known of a camera from before this moment, its day journals too, except of days of which
    /// a recording is left. For retention, when it has deleted all it may up to here. Queued.
    pub fn forget(&self, camera: &str, before: DateTime<Utc>) {
        self.change(|state| state.queue.forget(camera, before));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared().lock();
        change(&mut state);
        state.queued += 1;
        drop(state);
        self.shared().changed.notify_all();
    }

    /// Waits until all that was queued before is written. False where the disk did not take it in two seconds.
    pub fn flush(&self) -> bool {
        let state = self.shared().lock();
        let up_to = state.queued;
        self.wait_for(state, up_to)
    }

    /// Like [`Index::flush`], and marks an end in order: for the end of the process. A change after it takes the
    /// mark off again.
    pub fn close(&self) -> bool {
        let mut state = self.shared().lock();
        state.ask = Ask::Mark;
        state.queued += 1;
        let up_to = state.queued;
        self.shared().changed.notify_all();
        self.wait_for(state, up_to)
    }

    fn wait_for(&self, state: MutexGuard<'_, State>, up_to: u64) -> bool {
        let pending = |state: &mut State| state.written < up_to && !state.ended;
        let waited = self.shared().changed.wait_timeout_while(state, FLUSH_WITHIN, pending);
        waited.unwrap_or_else(PoisonError::into_inner).0.written >= up_to
    }

    /// What is wrong with the index now, for the log, the API and an alarm.
    pub fn trouble(&self) -> Option<String> {
        let state = self.shared().lock();
        let given_up = state.queue.given_up();
        let failing = state.failing.clone().map(|what| match given_up {
            0 => what,
            lost => format!("{what}; {lost} were given up and are found by the next scan"),
        });
        let rebuilding = state.rebuilding.clone();
        drop(state);
        failing.or(rebuilding).or_else(|| self.handle.state.trouble())
    }

    /// The index was new and has been rebuilt from the journals and the files.
    pub fn rebuilt(&self) {
        self.shared().lock().rebuilding = None;
    }

    /// Is the database new, so that what the journals say has to be put into it?
    pub fn wants_replay(&self) -> bool {
        self.shared().lock().wants_replay
    }

    /// The next scan is to look whether the database lacks anything that the journals say.
    pub fn replay_again(&self) {
        self.shared().lock().wants_replay = true;
    }

    /// What the journals say is in the database. Queued.
    pub fn replayed(&self) {
        self.change(|state| {
            state.wants_replay = false;
            state.queue.is_replayed = true;
        });
    }

    /// Was anything written since the last call, that a power cut could take?
    pub fn take_unsynced(&self) -> bool {
        self.shared().unsynced.swap(false, Ordering::SeqCst)
    }

    /// Is a scan of all files due, because the index had to be begun anew?
    pub fn wants_scan(&self) -> bool {
        self.shared().lock().rebuilding.is_some()
    }

    /// What people decided about the archive.
    pub fn state(&self) -> &StateDb {
        &self.handle.state
    }

    /// Where the archive lives, to ask whether its disk is there.
    pub fn home(&self) -> &Home {
        &self.shared().home
    }

    /// When this process opened the index: files written since are its own.
    pub fn opened(&self) -> DateTime<Utc> {
        self.handle.opened
    }

    /// When the index was closed in order before this process opened it; None after a crash.
    pub fn closed_before(&self) -> Option<DateTime<Utc>> {
        self.handle.closed_before
    }

    /// From now on it is noted, every few seconds, that all is written that was told. Where a crash leaves nothing
    /// open of a camera, it misses what came after the last note. For when each camera has told what it misses.
    pub fn note_alive(&self) {
        self.shared().notes_alive.store(true, Ordering::SeqCst);
    }

    /// The last note of the process that had the archive before this one.
    pub fn alive_before(&self) -> Option<DateTime<Utc>> {
        self.handle.noted.map(|noted| noted.at)
    }

    /// Up to this moment all is there that was told to that process: where the machine was off since, a power cut may
    /// have taken what was not synced yet.
    pub fn safe_before(&self) -> Option<DateTime<Utc>> {
        self.handle.noted.map(|noted| if noted.stayed_up { noted.at } else { noted.at - UNSYNCED })
    }

    /// Is this recording open in this process?
    pub fn is_live(&self, id: i64) -> bool {
        self.shared().lock().live.contains_key(&id)
    }

    /// Is this recording gone, though its row may still be read?
    pub fn is_removed(&self, id: i64) -> bool {
        matches!(self.shared().lock().queue.get(id), Some(Change::Remove { .. }))
    }

    /// Is this file being recorded by this process?
    pub fn is_live_path(&self, path: &str) -> bool {
        self.shared().lock().live.values().any(|recording| recording.path == path)
    }

    /// The recording of this id, also where its row still waits to be written.
    pub fn recording(&self, id: i64) -> Result<Option<Recording>, IndexError> {
        match self.shared().lock().queue.get(id) {
            Some(Change::Put { recording, .. }) => return Ok(Some(recording.clone())),
            Some(Change::Remove { .. }) => return Ok(None),
            None => {}
        }
        self.shared().reader.recording(id)
    }
}

impl std::ops::Deref for Index {
    type Target = IndexReader;

    fn deref(&self) -> &IndexReader {
        &self.shared().reader
    }
}

/// With the times that the database keeps: a gap is known again by its start, in the journals too.
fn in_micros(gap: Gap) -> Gap {
    Gap { start: gap.start.trunc_subsecs(6), end: gap.end.map(|end| end.trunc_subsecs(6)), ..gap }
}

/// The first id of a new index in an old archive: no archive has given out more than one a millisecond.
fn first_id(now: DateTime<Utc>) -> i64 {
    now.timestamp_millis().max(1)
}

impl State {
    /// Queues the minutes that are over, or all of them.
    fn settle_minutes(&mut self, now: DateTime<Utc>, all: bool) {
        let (current, _) = score::place_of((now - SETTLED_AFTER).timestamp());
        let all = all || self.minutes.len() > MOST_MINUTES;
        let State { minutes, queue, .. } = self;
        minutes.retain(|(camera, minute), scores| {
            let is_over = all || *minute < current;
            if is_over {
                queue.see(camera, *minute, scores, false);
            }
            !is_over
        });
    }

    /// The database is a new one, for this reason.
    fn begun_anew(&mut self, why: String) {
        self.rebuilding = Some(why);
        self.wants_replay = true;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, what: &str) -> Option<Db> {
        let trouble = format!("the index {} cannot be used: {what}", self.path.display());
        tracing::error!("{trouble}");
        self.lock().failing = Some(trouble);
        None
    }

    /// The database could be opened after all.
    fn learn(&self, found: &Found) {
        self.next_id.fetch_max(found.next_id, Ordering::SeqCst);
        self.lock().wants_replay |= !found.replayed;
    }

    /// Somebody has removed the database.
    fn taken_away(&self) {
        let what = format!("the index {} was taken away", self.path.display());
        tracing::error!("{what}: a new one is made from the journals and the files");
        self.lock().begun_anew(format!("{what} and is rebuilt from the journals and the files"));
        self.renewed();
    }

    /// The database is another one now, and knows nothing of what is open.
    fn renewed(&self) {
        let mut state = self.lock();
        let State { queue, live, live_gaps, .. } = &mut *state;
        for (camera, gap) in live_gaps.iter() {
            queue.set_open_gap(camera, Some(gap.clone()));
        }
        for recording in live.values() {
            if queue.get(recording.id).is_none() {
                queue.put(recording.clone(), Place::Last);
            }
        }
        state.queued += 1;
        drop(state);
        self.next_id.fetch_max(first_id(clock::utc_now()), Ordering::SeqCst);
        self.reader.renew();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ask = Ask::End;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, END_WITHIN, |state| !state.ended);
        drop(waited);
        self.shared.home.release();
    }
}

fn has_folders(archive_root: &Path) -> bool {
    std::fs::read_dir(archive_root)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

#[cfg(test)]
pub(in crate::archive) mod tests;
