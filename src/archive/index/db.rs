//! The index's database file: opening, migrating, and rows to and from SQL.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params};
use serde::Serialize;

use super::journal::{Deleted, Entry, Forgotten, FoundIn, Journals, Listed, Scores};
use super::queue::{Change, Place, Queue, Waiting};
use crate::domain::camera::{GapCause, Reason};
use crate::domain::finding::Cause;
use crate::domain::found;
use crate::domain::recording::{Gap, MotionEvent, Recording};
use crate::domain::score::{Minute, Score};

/// One migration a version, from version 1. Never change one that has been released: add the next.
pub(super) const MIGRATIONS: [&str; 6] = [
    "
    CREATE TABLE recordings (
        id INTEGER PRIMARY KEY,
        -- Order of the lists. Rises with the id, but what was found in the archive is put where its start belongs.
        seq INTEGER NOT NULL,
        camera TEXT NOT NULL,
        start_us INTEGER NOT NULL,
        end_us INTEGER,
        pre_alarm_s REAL,
        bytes INTEGER NOT NULL,
        path TEXT NOT NULL UNIQUE,
        motion_s REAL NOT NULL,
        complete INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE INDEX recordings_seq ON recordings(seq, id, start_us, end_us);
    CREATE INDEX recordings_camera_seq ON recordings(camera, seq, id, start_us, end_us, bytes);
    CREATE INDEX recordings_start ON recordings(start_us);
    CREATE INDEX recordings_camera_start ON recordings(camera, start_us);
    CREATE INDEX recordings_length ON recordings(end_us - start_us);
    CREATE INDEX recordings_open ON recordings(start_us) WHERE end_us IS NULL;
    CREATE TABLE gaps (
        id INTEGER PRIMARY KEY,
        camera TEXT NOT NULL,
        start_us INTEGER NOT NULL,
        end_us INTEGER NOT NULL,
        cause TEXT NOT NULL,
        UNIQUE (camera, start_us, cause)
    ) STRICT;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
",
    "
    -- A minute since 1970, packed by `domain::score`.
    CREATE TABLE scores (
        camera TEXT NOT NULL,
        minute INTEGER NOT NULL,
        seconds BLOB NOT NULL,
        PRIMARY KEY (camera, minute)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        camera TEXT NOT NULL,
        start_us INTEGER NOT NULL,
        end_us INTEGER,
        reason TEXT NOT NULL,
        max_score INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX events_start ON events(start_us, id);
    CREATE INDEX events_camera_start ON events(camera, start_us, id);
    CREATE INDEX events_length ON events(end_us - start_us);
    CREATE INDEX events_open ON events(start_us) WHERE end_us IS NULL;
    -- As they were listed before: by the recordings that they made.
    INSERT INTO events SELECT id, camera, start_us + CAST(round(pre_alarm_s * 1000000) AS INTEGER), end_us, reason, 255
        FROM recordings WHERE reason IN ('motion', 'manual') AND pre_alarm_s IS NOT NULL;
    -- A gap that goes on has no end.
    CREATE TABLE gaps_3 (
        id INTEGER PRIMARY KEY,
        camera TEXT NOT NULL,
        start_us INTEGER NOT NULL,
        end_us INTEGER,
        cause TEXT NOT NULL,
        UNIQUE (camera, start_us, cause)
    ) STRICT;
    INSERT INTO gaps_3 SELECT id, camera, start_us, end_us, cause FROM gaps;
    DROP TABLE gaps;
    ALTER TABLE gaps_3 RENAME TO gaps;
    CREATE INDEX gaps_start ON gaps(start_us, id);
    CREATE INDEX gaps_camera_start ON gaps(camera, start_us, id);
    CREATE INDEX gaps_length ON gaps(end_us - start_us);
    CREATE INDEX gaps_open ON gaps(start_us) WHERE end_us IS NULL;
",
    "
    -- See `note_disorder`.
    INSERT INTO meta SELECT 'disorder_us', coalesce(max(latest_us - start_us), 0)
        FROM (SELECT start_us, max(start_us) OVER (ORDER BY seq, id) AS latest_us FROM recordings);
",
    "
    ALTER TABLE events ADD COLUMN cause TEXT;
    -- Lists as JSON.
    ALTER TABLE events ADD COLUMN zones TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE events ADD COLUMN boxes TEXT NOT NULL DEFAULT '[]';
",
    "
    -- A list, too; NULL where no model was asked.
    ALTER TABLE events ADD COLUMN found TEXT;
",
];

/// Distance of the order of two recordings that follow each other: room for what is found between them.
const SEQ_STEP: i64 = 1 << 20;

const MINUTE_US: i64 = 60 * 1_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Ids that are set aside at once, so that none is used twice after a crash.
const ID_RESERVE: i64 = 256;

pub(super) const COLUMNS: &str =
    "id, camera, start_us, end_us, pre_alarm_s, bytes, path, motion_s, complete, reason, seq";

/// Why the database could not be used.
#[derive(Debug)]
pub(super) enum DbError {
    /// It is no index, or a broken one: it has to make way.
    Broken(String),
    /// The disk, the folder or a lock is in the way: try again.
    Failing(String),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        if is_broken(&error) { DbError::Broken(error.to_string()) } else { DbError::Failing(error.to_string()) }
    }
}

/// Does this error mean that the file itself is damaged?
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The writer's connection.
pub(super) struct Db {
    connection: Connection,
    path: PathBuf,
    /// Device and inode, to notice that the file was taken away.
    file: Option<(u64, u64)>,
    reserved_id: i64,
    mark: Mark,
}

/// What the file says of its last end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Whatever it said when it was opened.
    Old,
    /// None: an end now would be a crash.
    Open,
    Closed,
}

/// What the index knew when it was opened.
pub(super) struct Found {
    /// Larger than all ids ever given out.
    pub next_id: i64,
    /// When it was closed in order; None after a crash.
    pub closed: Option<DateTime<Utc>>,
    /// It has just been made.
    pub new: bool,
    /// What the journals say is in it.
    pub replayed: bool,
}

impl Db {
    pub fn open(path: &Path) -> Result<(Self, Found), DbError> {
        let new = make(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(2))?;
        // Before anything is changed in a file that may be another's.
        version(&connection)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // Rows are as safe as the files they speak of: both are made so by `archive.sync`.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        migrate(&mut connection)?;
        let meta = |name: &str| -> rusqlite::Result<Option<i64>> {
            connection.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0)).optional()
        };
        let largest: Option<i64> = connection.query_row("SELECT max(id) FROM recordings", [], |row| row.get(0))?;
        let reserved_id = meta("next_id")?.unwrap_or(1);
        let next_id = reserved_id.max(largest.unwrap_or(0) + 1);
        let closed = meta("closed_us")?.and_then(DateTime::from_timestamp_micros);
        let replayed = meta("replayed")?.is_some();
        let file = std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let db = Db { connection, path: path.to_owned(), file, reserved_id: 0, mark: Mark::Old };
        Ok((db, Found { next_id, closed, new, replayed }))
    }

    /// Is the file that this connection writes still the one at its path?
    pub fn in_place(&self) -> bool {
        std::fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino())) == self.file
    }

    /// Is there something to write even though no change waits?
    pub fn wants_write(&self, next_id: i64) -> bool {
        match self.mark {
            Mark::Old => true,
            Mark::Open => next_id + ID_RESERVE / 2 > self.reserved_id,
            Mark::Closed => false,
        }
    }

    /// Looks for damage in the whole file.
    pub fn check(&self) -> Result<(), DbError> {
        let verdict: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(DbError::Broken(verdict)) }
    }

    /// Writes all of `queue` or nothing. The journal gets it first: it may say more than the database, never less.
    pub fn write(&mut self, queue: &mut Queue, next_id: i64, journals: &Journals) -> Result<(), DbError> {
        let reserved_id = next_id + ID_RESERVE;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut entries = Vec::new();
        for (id, Waiting { what, is_noted }) in queue.rows() {
            let entry = match what {
                Change::Put { recording, place } => {
                    let recording = finite(recording.clone());
                    put(&transaction, &recording, *place).map(|seq| Some(Entry::Recording(Listed { seq, recording })))
                }
                Change::Remove { of } => remove(&transaction, id, of.clone()),
            };
            let entry = unless_its_own_fault(entry, || format!("recording {id}"))?;
            entries.extend(entry.filter(|_| !is_noted));
        }
        for Waiting { what: gap, is_noted } in queue.gaps() {
            let entry = put_gap(&transaction, gap).map(|()| Some(Entry::Gap(gap.clone())));
            let entry = unless_its_own_fault(entry, || format!("gap {gap:?}"))?;
            entries.extend(entry.filter(|_| !is_noted));
        }
        entries.extend(queue.no_gaps().iter().cloned().map(Entry::NoGap));
        for (camera, Waiting { what, is_noted }) in queue.open_gaps() {
            let opened = set_open_gap(&transaction, camera, what.as_ref())?;
            entries.extend(opened.into_iter().filter(|_| !is_noted));
        }
        for Waiting { what: event, is_noted } in queue.events() {
            let entry = put_event(&transaction, event).map(|()| Some(Entry::Event(event.clone())));
            let entry = unless_its_own_fault(entry, || format!("event {}", event.id))?;
            entries.extend(entry.filter(|_| !is_noted));
        }
        for (id, Waiting { what: found, is_noted }) in queue.found() {
            entries.extend(put_found(&transaction, id, found)?.filter(|_| !is_noted));
        }
        for (id, Waiting { is_noted, .. }) in queue.no_events() {
            entries.extend(remove_event(&transaction, id)?.filter(|_| !is_noted));
        }
        for (minute, camera, Waiting { what, is_noted }) in queue.minutes() {
            let entry = put_minute(&transaction, camera, minute, what).map(Some);
            let entry = unless_its_own_fault(entry, || format!("a minute of {camera}"))?;
            entries.extend(entry.filter(|_| !is_noted));
        }
        let mut over = Vec::new();
        for (camera, before) in queue.forgotten() {
            let gone = forget(&transaction, camera, before)?;
            let line = |day| Entry::Forgotten(Forgotten { camera: camera.to_owned(), day, before });
            entries.extend(gone.into_iter().map(line));
            over.push((camera.to_owned(), before, days_left(&transaction, camera, before)?));
        }
        if queue.is_replayed {
            set_meta(&transaction, "replayed", 1)?;
        }
        set_meta(&transaction, "next_id", reserved_id)?;
        transaction.execute("DELETE FROM meta WHERE name = 'closed_us'", [])?;
        journals.append(&entries).map_err(|error| DbError::Failing(error.to_string()))?;
        queue.noted();
        transaction.commit()?;
        self.reserved_id = reserved_id;
        self.mark = Mark::Open;
        for (camera, before, kept) in over {
            if let Err(error) = journals.forget(&camera, before, &kept) {
                tracing::warn!(camera, %error, "old journals cannot be removed");
            }
        }
        Ok(())
    }

    /// Marks an end in order. The next write takes the mark off.
    pub fn mark_closed(&mut self, next_id: i64, now: DateTime<Utc>) -> Result<(), DbError> {
        if self.mark == Mark::Closed {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        set_meta(&transaction, "next_id", next_id)?;
        set_meta(&transaction, "closed_us", now.timestamp_micros())?;
        transaction.commit()?;
        self.mark = Mark::Closed;
        Ok(())
    }
}

/// How many migrations the database has seen.
fn version(connection: &Connection) -> Result<usize, DbError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if version == 0 && tables > 0 {
        return Err(DbError::Broken("it is the database of another program".into()));
    }
    usize::try_from(version)
        .ok()
        .filter(|version| *version <= MIGRATIONS.len())
        .ok_or_else(|| DbError::Broken(format!("it has version {version}, made by a newer tarsier")))
}

/// Makes the database where there is none, whole before it is seen: who asks meanwhile finds no half of it. True where
/// it did.
fn make(path: &Path) -> Result<bool, DbError> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(false);
    }
    let failing = |error: std::io::Error| DbError::Failing(error.to_string());
    let beside = with_suffix(path, ".new");
    // What a crash left; and the journal of a database that was taken away is not this one's.
    for stale in [&beside, &with_suffix(&beside, "-journal"), &with_suffix(path, "-wal"), &with_suffix(path, "-shm")] {
        match std::fs::remove_file(stale) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failing(error)),
            _ => {}
        }
    }
    let mut connection = Connection::open(&beside)?;
    migrate(&mut connection)?;
    connection.close().map_err(|(_, error)| error)?;
    std::fs::rename(&beside, path).map_err(failing)?;
    Ok(true)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn migrate(connection: &mut Connection) -> Result<(), DbError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = version(&transaction)?;
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    }
    transaction.commit()?;
    Ok(())
}

/// A row that SQLite will never take must not keep the others waiting: it is dropped and told.
fn unless_its_own_fault(
    done: rusqlite::Result<Option<Entry>>,
    what: impl Fn() -> String,
) -> rusqlite::Result<Option<Entry>> {
    match done {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
            ) =>
        {
            tracing::error!("the index does not take {}: {error}", what());
            Ok(None)
        }
        done => done,
    }
}

fn set_meta(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![name, value])
        .map(|_| ())
}

/// What can't be a number in the database or the journal is none.
fn finite(recording: Recording) -> Recording {
    let pre_alarm_s = recording.pre_alarm_s.filter(|seconds| seconds.is_finite());
    let motion_s = if recording.motion_s.is_finite() { recording.motion_s } else { 0.0 };
    Recording { pre_alarm_s, motion_s, ..recording }
}

/// Puts a row in, and tells its place in the order.
fn put(connection: &Connection, recording: &Recording, place: Place) -> rusqlite::Result<i64> {
    let start_us = recording.start.timestamp_micros();
    let seq = match place {
        Place::Last => None,
        Place::ByStart => seq_by_start(connection, start_us)?,
        Place::At(seq) => Some(seq),
    };
    let seq = seq.unwrap_or_else(|| recording.id.saturating_mul(SEQ_STEP));
    note_disorder(connection, recording.id, seq, start_us)?;
    // One file has one row.
    connection
        .prepare_cached("DELETE FROM recordings WHERE path = ? AND id <> ?")?
        .execute(params![recording.path, recording.id])?;
    connection
        .prepare_cached(
            "INSERT INTO recordings
                (id, seq, camera, start_us, end_us, pre_alarm_s, bytes, path, motion_s, complete, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (id) DO UPDATE SET
                camera = ?3, start_us = ?4, end_us = ?5, pre_alarm_s = ?6, bytes = ?7, path = ?8, motion_s = ?9,
                complete = ?10, reason = ?11
             RETURNING seq",
        )?
        .query_row(
            params![
                recording.id,
                seq,
                recording.camera,
                start_us,
                recording.end.map(|end| end.timestamp_micros()),
                recording.pre_alarm_s,
                i64::try_from(recording.bytes).unwrap_or(i64::MAX),
                recording.path,
                recording.motion_s,
                recording.complete,
                recording.reason.name(),
            ],
            |row| row.get(0),
        )
}

/// By how much a start may be corrected when a recording is closed, without a note.
const CORRECTION_US: i64 = 30 * 1_000_000;
/// What a reader adds to the disorder: two starts may be corrected against each other.
pub(super) const SLACK_US: i64 = 2 * CORRECTION_US;

/// Keeps an upper bound of how far a recording's start lies before that of one that the order of the lists has before
/// it: 0 but for pre-alarms, bursts and steps of the clock. With it a reader finds where in the order a time begins
/// and ends, and does not walk through all rows or sort many.
fn note_disorder(connection: &Connection, id: i64, seq: i64, start_us: i64) -> rusqlite::Result<()> {
    let known: Option<i64> = connection
        .prepare_cached("SELECT start_us FROM recordings WHERE id = ?")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let disorder_us = |connection: &Connection| -> rusqlite::Result<i64> {
        let mut meta = connection.prepare_cached("SELECT value FROM meta WHERE name = 'disorder_us'")?;
        Ok(meta.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
    };
    if let Some(known_us) = known {
        let moved_us = start_us.saturating_sub(known_us).saturating_abs();
        if moved_us > CORRECTION_US {
            set_meta(connection, "disorder_us", disorder_us(connection)?.saturating_add(moved_us))?;
        }
        return Ok(());
    }
    let beside = |sql: &str| -> rusqlite::Result<Option<i64>> {
        connection.prepare_cached(sql)?.query_row(params![seq, id], |row| row.get(0)).optional()
    };
    let next_us = beside("SELECT start_us FROM recordings WHERE (seq, id) > (?1, ?2) ORDER BY seq, id LIMIT 1")?;
    let old_us = disorder_us(connection)?;
    let new_us = match next_us {
        // The last of all: the latest start before it is known exactly.
        None => {
            let latest: Option<i64> =
                connection.prepare_cached("SELECT max(start_us) FROM recordings")?.query_row([], |row| row.get(0))?;
            old_us.max(latest.map_or(0, |latest_us| latest_us.saturating_sub(start_us)))
        }
        // Between two: no start before it is later than the one before and the bound, nor earlier behind it.
        Some(next_us) => {
            let before_us = beside(
                "SELECT start_us FROM recordings WHERE (seq, id) < (?1, ?2) ORDER BY seq DESC, id DESC LIMIT 1",
            )?;
            let early_us = before_us.map_or(0, |before_us| before_us.saturating_sub(start_us));
            let late_us = start_us.saturating_sub(next_us);
            old_us.saturating_add(early_us.max(late_us).max(0))
        }
    };
    if new_us > old_us { set_meta(connection, "disorder_us", new_us) } else { Ok(()) }
}

/// Takes a row out. The journal is told whose it was.
fn remove(connection: &Connection, id: i64, of: Option<(String, DateTime<Utc>)>) -> rusqlite::Result<Option<Entry>> {
    let stored = connection
        .prepare_cached("DELETE FROM recordings WHERE id = ? RETURNING camera, start_us")?
        .query_row([id], |row| Ok((row.get(0)?, utc(row.get(1)?))))
        .optional()?;
    Ok(stored.or(of).map(|(camera, start)| Entry::Deleted(Deleted { id, camera, start })))
}

/// The order of a recording that was found: between the ones that started before and after it. None where it
/// is the newest.
fn seq_by_start(connection: &Connection, start_us: i64) -> rusqlite::Result<Option<i64>> {
    let mut earlier = connection
        .prepare_cached("SELECT seq FROM recordings WHERE start_us <= ? ORDER BY start_us DESC, seq DESC LIMIT 1")?;
    let mut later =
        connection.prepare_cached("SELECT seq FROM recordings WHERE start_us > ? ORDER BY start_us, seq LIMIT 1")?;
    let earlier: Option<i64> = earlier.query_row([start_us], |row| row.get(0)).optional()?;
    let later: Option<i64> = later.query_row([start_us], |row| row.get(0)).optional()?;
    Ok(match (earlier, later) {
        (_, None) => None,
        (None, Some(later)) => Some(later - SEQ_STEP),
        (Some(earlier), Some(later)) => Some(earlier + (later - earlier).max(0) / 2),
    })
}

/// Puts the one gap of a camera in that goes on now. One that did before, and has got no end, was none.
fn set_open_gap(connection: &Connection, camera: &str, gap: Option<&Gap>) -> rusqlite::Result<Vec<Entry>> {
    let known = gap.map(|gap| (gap.start.timestamp_micros(), gap.cause.name())).unwrap_or_default();
    let mut none = connection.prepare_cached(
        "DELETE FROM gaps WHERE camera = ?1 AND end_us IS NULL AND NOT (start_us = ?2 AND cause = ?3)
         RETURNING camera, start_us, end_us, cause",
    )?;
    let none = none.query_map(params![camera, known.0, known.1], gap_of)?;
    let mut entries = none.map(|gap| gap.map(Entry::NoGap)).collect::<rusqlite::Result<Vec<_>>>()?;
    if let Some(gap) = gap {
        put_gap(connection, gap)?;
        entries.push(Entry::Gap(gap.clone()));
    }
    Ok(entries)
}

/// One with the same key is the same gap: the later end is right, and any end more than none.
fn put_gap(connection: &Connection, gap: &Gap) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO gaps (camera, start_us, end_us, cause) VALUES (?, ?, ?, ?)
             ON CONFLICT (camera, start_us, cause) DO UPDATE SET
                end_us = coalesce(max(end_us, excluded.end_us), end_us, excluded.end_us)",
        )?
        .execute(params![
            gap.camera,
            gap.start.timestamp_micros(),
            gap.end.map(|end| end.timestamp_micros()),
            gap.cause.name()
        ])
        .map(|_| ())
}

/// What is known of an event: one that is over does not go on again.
fn put_event(connection: &Connection, event: &MotionEvent) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO events (id, camera, start_us, end_us, reason, max_score, cause, zones, boxes, found)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET
                end_us = excluded.end_us, max_score = excluded.max_score, cause = excluded.cause,
                zones = excluded.zones, boxes = excluded.boxes, found = coalesce(excluded.found, found)
             WHERE excluded.end_us IS NOT NULL",
        )?
        .execute(params![
            event.id,
            event.camera,
            event.start.timestamp_micros(),
            event.end.map(|end| end.timestamp_micros()),
            event.reason.name(),
            event.max_score.byte(),
            event.cause.map(Cause::name),
            list(&event.zones),
            list(&event.boxes),
            event.found.as_deref().map(list),
        ])
        .map(|_| ())
}

/// What a model found in an event. Of one that is gone it is not kept.
fn put_found(connection: &Connection, id: i64, found: &[found::Found]) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached("UPDATE events SET found = ? WHERE id = ? RETURNING camera, start_us")?
        .query_row(params![list(found), id], |row| {
            let (camera, start, found) = (row.get(0)?, utc(row.get(1)?), found.to_vec());
            Ok(Entry::Found(FoundIn { id, camera, start, found }))
        })
        .optional()
}

/// Takes an event out. The journal is told whose it was.
fn remove_event(connection: &Connection, id: i64) -> rusqlite::Result<Option<Entry>> {
    let stored = connection
        .prepare_cached("DELETE FROM events WHERE id = ? RETURNING camera, start_us")?
        .query_row([id], |row| Ok(Deleted { id, camera: row.get(0)?, start: utc(row.get(1)?) }))
        .optional()?;
    Ok(stored.map(Entry::NoEvent))
}

/// A list as it is kept.
fn list<T: Serialize>(items: &[T]) -> String {
    serde_json::to_string(items).unwrap_or_else(|_| "[]".to_owned())
}

/// Puts a minute in beside what is known of it already, and tells what is known now.
fn put_minute(connection: &Connection, camera: &str, minute: i64, scores: &Minute) -> rusqlite::Result<Entry> {
    let known: Option<Vec<u8>> = connection
        .prepare_cached("SELECT seconds FROM scores WHERE camera = ? AND minute = ?")?
        .query_row(params![camera, minute], |row| row.get(0))
        .optional()?;
    let mut seconds = known.and_then(|packed| Minute::unpack(&packed)).unwrap_or_default();
    seconds.merge(scores);
    connection
        .prepare_cached(
            "INSERT INTO scores (camera, minute, seconds) VALUES (?, ?, ?)
             ON CONFLICT (camera, minute) DO UPDATE SET seconds = excluded.seconds",
        )?
        .execute(params![camera, minute, seconds.pack()])?;
    Ok(Entry::Score(Scores { camera: camera.to_owned(), minute: utc(minute.saturating_mul(MINUTE_US)), seconds }))
}

/// Tables of what a camera had at a time, each with SQL for when it begins and ends.
const RECORDINGS: (&str, &str, &str) = ("recordings", "start_us", "end_us");
const GAPS: (&str, &str, &str) = ("gaps", "start_us", "end_us");
const EVENTS: (&str, &str, &str) = ("events", "start_us", "end_us");
const SCORES: (&str, &str, &str) = ("scores", "minute * 60000000", "(minute + 1) * 60000000");

/// Forgets what a camera had before a moment, except on days of which an older recording is left. Returns the days
/// on which there was something.
fn forget(connection: &Connection, camera: &str, before: DateTime<Utc>) -> rusqlite::Result<BTreeSet<NaiveDate>> {
    let mut days = BTreeSet::new();
    for (table, start_us, end_us) in [GAPS, EVENTS, SCORES] {
        let sql = format!(
            "DELETE FROM {table} WHERE camera = ?1 AND {end_us} < ?2 AND {start_us} / {DAY_US} NOT IN
                (SELECT start_us / {DAY_US} FROM recordings WHERE camera = ?1 AND start_us < ?2)
             RETURNING {start_us} / {DAY_US}"
        );
        days.append(&mut days_of(connection, &sql, camera, before)?);
    }
    Ok(days)
}

/// The days before a moment of which anything is left.
fn days_left(connection: &Connection, camera: &str, before: DateTime<Utc>) -> rusqlite::Result<BTreeSet<NaiveDate>> {
    let mut days = BTreeSet::new();
    for (table, start_us, _) in [RECORDINGS, GAPS, EVENTS, SCORES] {
        let sql = format!("SELECT DISTINCT {start_us} / {DAY_US} FROM {table} WHERE camera = ?1 AND {start_us} < ?2");
        days.append(&mut days_of(connection, &sql, camera, before)?);
    }
    Ok(days)
}

/// Runs SQL that answers with numbers of days.
fn days_of(
    connection: &Connection,
    sql: &str,
    camera: &str,
    before: DateTime<Utc>,
) -> rusqlite::Result<BTreeSet<NaiveDate>> {
    connection
        .prepare_cached(sql)?
        .query_map(params![camera, before.timestamp_micros()], |row| {
            Ok(utc(row.get::<_, i64>(0)? * DAY_US).date_naive())
        })?
        .collect()
}

fn utc(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
}

/// Reads [`COLUMNS`].
pub(super) fn recording_of(row: &Row<'_>) -> rusqlite::Result<Recording> {
    let reason: String = row.get(9)?;
    Ok(Recording {
        id: row.get(0)?,
        camera: row.get(1)?,
        start: utc(row.get(2)?),
        end: row.get::<_, Option<i64>>(3)?.map(utc),
        pre_alarm_s: row.get(4)?,
        bytes: row.get::<_, i64>(5)?.max(0) as u64,
        path: row.get(6)?,
        motion_s: row.get(7)?,
        complete: row.get(8)?,
        reason: Reason::from_name(&reason).unwrap_or(Reason::Continuous),
    })
}

/// Reads the reader's `EVENT_COLUMNS`.
pub(super) fn event_of(row: &Row<'_>) -> rusqlite::Result<MotionEvent> {
    let reason: String = row.get(4)?;
    Ok(MotionEvent {
        id: row.get(0)?,
        camera: row.get(1)?,
        start: utc(row.get(2)?),
        end: row.get::<_, Option<i64>>(3)?.map(utc),
        reason: Reason::from_name(&reason).unwrap_or(Reason::Motion),
        max_score: Score::of_byte(row.get(5)?),
        cause: row.get::<_, Option<String>>(6)?.and_then(|name| Cause::from_name(&name)),
        zones: serde_json::from_str(&row.get::<_, String>(7)?).unwrap_or_default(),
        boxes: serde_json::from_str(&row.get::<_, String>(8)?).unwrap_or_default(),
        found: row.get::<_, Option<String>>(9)?.and_then(|found| serde_json::from_str(&found).ok()),
    })
}

/// Reads `camera, start_us, end_us, cause`.
pub(super) fn gap_of(row: &Row<'_>) -> rusqlite::Result<Gap> {
    let cause: String = row.get(3)?;
    Ok(Gap {
        camera: row.get(0)?,
        start: utc(row.get(1)?),
        end: row.get::<_, Option<i64>>(2)?.map(utc),
        cause: GapCause::from_name(&cause).unwrap_or(GapCause::Crash),
    })
}

/// Moves a broken database out of the way, with its journal, and tells where to.
pub(super) fn move_aside(path: &Path, now: DateTime<Utc>) -> std::io::Result<PathBuf> {
    let stamp = now.format(".broken-%Y-%m-%dT%H%M%SZ").to_string();
    let aside = (1..)
        .map(|attempt| with_suffix(path, &if attempt == 1 { stamp.clone() } else { format!("{stamp}_{attempt}") }))
        .find(|aside| !aside.exists())
        .expect("the numbers do not end");
    match std::fs::rename(path, &aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        renamed => renamed?,
    }
    for journal in ["-wal", "-shm"] {
        match std::fs::rename(with_suffix(path, journal), with_suffix(&aside, journal)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(aside)
}

/// The gaps that can still be read from a broken database: no scan of the files could find them again.
pub(super) fn salvage_gaps(path: &Path) -> Vec<Gap> {
    let read = || -> rusqlite::Result<Vec<Gap>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let mut statement = connection.prepare("SELECT camera, start_us, end_us, cause FROM gaps ORDER BY id")?;
        let rows = statement.query_map([], gap_of)?;
        Ok(rows.map_while(Result::ok).filter(|gap| gap.end.is_none_or(|end| gap.start <= end)).collect())
    };
    read().unwrap_or_default()
}
