//! Questions to the index, on read-only connections of their own: they never wait on the writer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params, params_from_iter};

use super::IndexError;
use super::db::{COLUMNS, SLACK_US, event_of, gap_of, is_broken, recording_of};
use crate::domain::camera::Reason;
use crate::domain::recording::{Began, EventFilter, Gap, MotionEvent, Page, Recording, RecordingQuery};
use crate::domain::score::Minute;

const DEFAULT_LIMIT: u32 = 100;
const LARGEST_LIMIT: u32 = 1000;
/// Connections that are kept for the next question.
const KEPT: usize = 4;
/// Most events that one page looks through for those that fit.
const LOOKED_THROUGH: u32 = 50_000;
/// So few rows in a span of time are sorted; more are met often enough on the way through all of them.
const FEW: i64 = 20_000;

const EVENT_COLUMNS: &str = "id, camera, start_us, end_us, reason, max_score, cause, zones, boxes, found";

/// Reads the index of one archive.
pub struct IndexReader {
    path: PathBuf,
    pool: Mutex<Vec<(u64, Connection)>>,
    /// Rises when the file is replaced: older connections read the file that went.
    generation: AtomicU64,
    /// A reader met damage; the writer looks into it.
    pub(super) suspect: AtomicBool,
}

/// Place of a row in the order of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    seq: i64,
    id: i64,
}

/// Which closed recordings, oldest first.
#[derive(Clone, Debug, Default)]
pub struct ClosedQuery<'a> {
    pub camera: Option<&'a str>,
    pub ended_before: Option<DateTime<Utc>>,
    /// Only those with motion in them, or only those without (see [`Recording::is_event`]).
    pub events: Option<bool>,
    /// Up to here in the order of the lists; left out itself.
    pub until: Option<Position>,
    pub after: Option<Position>,
    pub limit: u32,
}

impl IndexReader {
    /// Opens the index of an archive for reading only, whoever else uses it.
    pub fn open(archive_root: &Path) -> Result<Self, IndexError> {
        let path = archive_root.join(super::FILE_NAME);
        if !path.exists() {
            return Err(IndexError::Missing { root: archive_root.to_owned() });
        }
        let reader = IndexReader::new(path);
        reader.ask(|connection| connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(())))?;
        Ok(reader)
    }

    pub(super) fn new(path: PathBuf) -> Self {
        IndexReader { path, pool: Mutex::default(), generation: AtomicU64::new(0), suspect: AtomicBool::new(false) }
    }

    /// The file was replaced: connections to the old one are not used again.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(2))?;
        Ok(connection)
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, IndexError> {
        let generation = self.generation.load(Ordering::SeqCst);
        let kept = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some((its, connection)) if its == generation => Ok(connection),
            _ => self.connect(),
        };
        let answer = connection.and_then(|connection| {
            let answer = question(&connection)?;
            let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            if pool.len() < KEPT && self.generation.load(Ordering::SeqCst) == generation {
                pool.push((generation, connection));
            }
            Ok(answer)
        });
        answer.map_err(|source| {
            if is_broken(&source) {
                self.suspect.store(true, Ordering::SeqCst);
            }
            IndexError::Read { path: self.path.clone(), source }
        })
    }

    /// Recordings, newest first.
    pub fn recordings(&self, query: &RecordingQuery) -> Result<Page<Recording>, IndexError> {
        let cursor = query.cursor.as_deref().map(|cursor| position_of(cursor).ok_or(IndexError::BadCursor));
        let cursor = cursor.transpose()?;
        let limit = limit_of(query);
        let mut rows = self.ask(|connection| {
            let span = Span::of(connection, "recordings", query)?;
            let places = Places::of(connection, &span, query)?;
            let is_sorted = !places.are_near && span.is_narrow(connection, query)?;
            let index = match (is_sorted, &query.camera) {
                (true, None) => "recordings_start",
                (true, Some(_)) => "recordings_camera_start",
                (false, None) => "recordings_seq",
                (false, Some(_)) => "recordings_camera_seq",
            };
            let mut filter = Filter::default();
            filter.overlap(query);
            if let Some(after_us) = span.after_us {
                filter.and("start_us >= ?", [Value::Integer(after_us)]);
            }
            if let Some(after) = places.after {
                filter.and("seq >= ?", [Value::Integer(after)]);
            }
            if let Some(before) = places.before {
                filter.and("seq <= ?", [Value::Integer(before)]);
            }
            if let Some(Position { seq, id }) = cursor {
                filter.and("(seq, id) < (?, ?)", [Value::Integer(seq), Value::Integer(id)]);
            }
            let sql = format!(
                "SELECT {COLUMNS} FROM recordings INDEXED BY {index} WHERE {} ORDER BY seq DESC, id DESC LIMIT {}",
                filter.sql(),
                limit + 1
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(&filter.values), |row| {
                let recording = recording_of(row)?;
                Ok((Position { seq: row.get(10)?, id: recording.id }, recording))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(Position { seq, id }, _)| format!("{seq}_{id}"));
        Ok(Page { items: rows.into_iter().map(|(_, recording)| recording).collect(), next })
    }

    /// Gaps, those that began last first.
    pub fn gaps(&self, query: &RecordingQuery) -> Result<Page<Gap>, IndexError> {
        self.by_start("gaps", "camera, start_us, end_us, cause", query, &Filter::default(), |_, row| gap_of(row))
    }

    /// Gaps that nobody has ended yet.
    pub fn open_gaps(&self) -> Result<Vec<Gap>, IndexError> {
        self.ask(|connection| {
            let sql = "SELECT camera, start_us, end_us, cause FROM gaps WHERE end_us IS NULL ORDER BY start_us";
            connection.prepare_cached(sql)?.query_map([], gap_of)?.collect()
        })
    }

    /// The end of a camera's last recording, or of its last gap: up to there it is known what became of its time.
    /// None: nothing of it is known.
    pub fn covered_to(&self, camera: &str) -> Result<Option<DateTime<Utc>>, IndexError> {
        let end = self.ask(|connection| {
            let last = |sql: &str| -> rusqlite::Result<Option<i64>> {
                connection.prepare_cached(sql)?.query_row([camera], |row| row.get(0)).optional()
            };
            let recorded =
                last("SELECT end_us FROM recordings WHERE camera = ? AND end_us IS NOT NULL ORDER BY seq DESC, id DESC LIMIT 1")?;
            let told = last("SELECT end_us FROM gaps WHERE camera = ? AND end_us IS NOT NULL ORDER BY start_us DESC LIMIT 1")?;
            Ok(recorded.max(told))
        });
        Ok(end?.and_then(DateTime::from_timestamp_micros))
    }

    /// Motion events, those that began last first, each with the recordings that hold some of it, oldest first.
    pub fn events(&self, query: &RecordingQuery) -> Result<Page<(MotionEvent, Vec<i64>)>, IndexError> {
        self.events_that(query, &EventFilter::default())
    }

    /// Those of them that fit a filter. Where few do, a page may have less than its limit, and still a next one.
    pub fn events_that(
        &self,
        query: &RecordingQuery,
        filter: &EventFilter,
    ) -> Result<Page<(MotionEvent, Vec<i64>)>, IndexError> {
        let mut fits = Filter::default();
        if let Some(least) = filter.least {
            fits.and("end_us - start_us >= ?", [Value::Integer(least.num_microseconds().unwrap_or(i64::MAX))]);
        }
        match filter.began {
            Some(Began::By(cause)) => fits.and("cause = ?", [Value::Text(cause.name().to_owned())]),
            Some(Began::ByHand) => fits.and("reason = ?", [Value::Text(Reason::Manual.name().to_owned())]),
            None => {}
        }
        if let Some(zone) = &filter.zone {
            fits.and("? IN (SELECT value FROM json_each(zones))", [Value::Text(zone.clone())]);
        }
        if let Some(class) = &filter.found {
            let class = [Value::Text(class.clone())];
            fits.and("? IN (SELECT json_extract(value, '$.class') FROM json_each(found))", class);
        }
        self.by_start("events", EVENT_COLUMNS, query, &fits, |connection, row| {
            let event = event_of(row)?;
            let recordings = recordings_of(connection, &event)?;
            Ok((event, recordings))
        })
    }

    /// The event of this id, with the recordings that hold some of it, oldest first.
    pub fn event(&self, id: i64) -> Result<Option<(MotionEvent, Vec<i64>)>, IndexError> {
        self.ask(|connection| {
            let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE id = ?");
            let event = connection.prepare_cached(&sql)?.query_row([id], event_of).optional()?;
            event.map(|event| Ok((recordings_of(connection, &event)?, event))).transpose()
        })
        .map(|found| found.map(|(recordings, event)| (event, recordings)))
    }

    /// Events that nobody has ended yet.
    pub fn open_events(&self) -> Result<Vec<MotionEvent>, IndexError> {
        self.ask(|connection| {
            let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE end_us IS NULL ORDER BY start_us");
            connection.prepare_cached(&sql)?.query_map([], event_of)?.collect()
        })
    }

    /// A page of a table whose order is that of the starts: rows that `fits` takes, of the first
    /// [`LOOKED_THROUGH`], so that a page takes no longer however few it takes.
    fn by_start<T>(
        &self,
        table: &str,
        columns: &str,
        query: &RecordingQuery,
        fits: &Filter,
        read: impl Fn(&Connection, &Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>, IndexError> {
        let cursor = query.cursor.as_deref().map(|cursor| position_of(cursor).ok_or(IndexError::BadCursor));
        let cursor = cursor.transpose()?;
        let limit = limit_of(query);
        let place_of = |row: &Row<'_>| Ok(Position { seq: row.get("start_us")?, id: row.get("id")? });
        let (mut rows, looked_to) = self.ask(|connection| {
            let mut filter = Filter::default();
            filter.overlap(query);
            if let Some(after_us) = Span::of(connection, table, query)?.after_us {
                filter.and("start_us >= ?", [Value::Integer(after_us)]);
            }
            if let Some(Position { seq: start_us, id }) = cursor {
                filter.and("(start_us, id) < (?, ?)", [Value::Integer(start_us), Value::Integer(id)]);
            }
            let from = format!("FROM {table} WHERE {} ORDER BY start_us DESC, id DESC", filter.sql());
            let sql = format!(
                "SELECT {columns}, start_us AS place_us, id AS place_id \
                 FROM (SELECT * {from} LIMIT {LOOKED_THROUGH}) WHERE {} LIMIT {}",
                fits.sql(),
                limit + 1
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(filter.values.iter().chain(&fits.values)), |row| {
                let place = Position { seq: row.get("place_us")?, id: row.get("place_id")? };
                Ok((place, read(connection, row)?))
            })?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let looked_to = match rows.len() <= limit && !fits.conditions.is_empty() {
                true => connection
                    .prepare_cached(&format!("SELECT start_us, id {from} LIMIT 1 OFFSET {}", LOOKED_THROUGH - 1))?
                    .query_row(params_from_iter(&filter.values), place_of)
                    .optional()?,
                false => None,
            };
            Ok((rows, looked_to))
        })?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(place, _)| *place).or(looked_to);
        let next = next.map(|Position { seq, id }| format!("{seq}_{id}"));
        Ok(Page { items: rows.into_iter().map(|(_, item)| item).collect(), next })
    }

    /// The minutes of scores of a camera that are written, from one to another (left out), by their numbers.
    pub(super) fn minutes(&self, camera: &str, from: i64, to: i64) -> Result<Vec<(i64, Minute)>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT minute, seconds FROM scores WHERE camera = ? AND minute >= ? AND minute < ? ORDER BY minute",
            )?;
            let rows = statement.query_map(params![camera, from, to], |row| {
                Ok((row.get(0)?, Minute::unpack(&row.get::<_, Vec<u8>>(1)?).unwrap_or_default()))
            })?;
            rows.collect()
        })
    }

    /// The recording of this id.
    pub fn recording(&self, id: i64) -> Result<Option<Recording>, IndexError> {
        self.one("id = ?", Value::Integer(id))
    }

    /// The recording of this file, by its path in the archive.
    pub fn by_path(&self, path: &str) -> Result<Option<Recording>, IndexError> {
        self.one("path = ?", Value::Text(path.to_owned()))
    }

    /// The last recording of each camera.
    pub fn latest(&self) -> Result<Vec<Recording>, IndexError> {
        self.many(
            "WHERE id IN (
                SELECT (SELECT id FROM recordings WHERE camera = each.camera ORDER BY seq DESC, id DESC LIMIT 1)
                FROM (SELECT DISTINCT camera FROM recordings) AS each)
             ORDER BY camera",
            vec![],
        )
    }

    /// Recordings that nobody has closed yet, in order.
    pub fn open_recordings(&self) -> Result<Vec<Recording>, IndexError> {
        self.many("WHERE end_us IS NULL ORDER BY seq, id", vec![])
    }

    /// Up to `limit` recordings with ids above `after`, by their ids: a walk through all of them.
    pub fn walk(&self, after: i64, limit: u32) -> Result<Vec<Recording>, IndexError> {
        self.many("WHERE id > ? ORDER BY id LIMIT ?", vec![Value::Integer(after), Value::Integer(limit.into())])
    }

    /// Closed recordings, oldest first, with their places.
    pub fn closed(&self, query: &ClosedQuery<'_>) -> Result<Vec<(Position, Recording)>, IndexError> {
        let mut filter = Filter::default();
        filter.and("end_us IS NOT NULL", []);
        if let Some(camera) = query.camera {
            filter.and("camera = ?", [Value::Text(camera.to_owned())]);
        }
        if let Some(before) = query.ended_before {
            filter.and("end_us < ?", [Value::Integer(before.timestamp_micros())]);
        }
        match query.events {
            Some(true) => filter.and("(motion_s > 0 OR reason IN ('motion', 'manual'))", []),
            Some(false) => filter.and("NOT (motion_s > 0 OR reason IN ('motion', 'manual'))", []),
            None => {}
        }
        if let Some(Position { seq, id }) = query.until {
            filter.and("(seq, id) < (?, ?)", [Value::Integer(seq), Value::Integer(id)]);
        }
        if let Some(Position { seq, id }) = query.after {
            filter.and("(seq, id) > (?, ?)", [Value::Integer(seq), Value::Integer(id)]);
        }
        let sql =
            format!("SELECT {COLUMNS} FROM recordings WHERE {} ORDER BY seq, id LIMIT {}", filter.sql(), query.limit);
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(&filter.values), |row| {
                let recording = recording_of(row)?;
                Ok((Position { seq: row.get(10)?, id: recording.id }, recording))
            })?;
            rows.collect()
        })
    }

    /// The first recording, in the order of the lists, of a camera that ended in this time.
    pub fn first_ended(
        &self,
        camera: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Option<Position>, IndexError> {
        self.ask(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, id FROM recordings INDEXED BY recordings_camera_seq
                     WHERE camera = ? AND end_us BETWEEN ? AND ? ORDER BY seq, id LIMIT 1",
                )?
                .query_row(params![camera, from.timestamp_micros(), to.timestamp_micros()], |row| {
                    Ok(Position { seq: row.get(0)?, id: row.get(1)? })
                })
                .optional()
        })
    }

    /// When the last recording ended, as far as the clock that wrote it down was right.
    pub fn last_end(&self) -> Result<Option<DateTime<Utc>>, IndexError> {
        let end = self.ask(|connection| {
            connection
                .prepare_cached(
                    "SELECT end_us FROM recordings WHERE end_us IS NOT NULL ORDER BY seq DESC, id DESC LIMIT 1",
                )?
                .query_row([], |row| row.get::<_, i64>(0))
                .optional()
        });
        Ok(end?.and_then(DateTime::from_timestamp_micros))
    }

    /// Bytes of each camera's recordings, open ones too.
    pub fn usage(&self) -> Result<BTreeMap<String, u64>, IndexError> {
        self.ask(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT camera, sum(bytes) FROM recordings GROUP BY camera")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64)))?;
            rows.collect()
        })
    }

    fn one(&self, condition: &str, value: Value) -> Result<Option<Recording>, IndexError> {
        self.ask(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM recordings WHERE {condition}"))?
                .query_row([value], recording_of)
                .optional()
        })
    }

    fn many(&self, rest: &str, values: Vec<Value>) -> Result<Vec<Recording>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM recordings {rest}"))?;
            statement.query_map(params_from_iter(values), recording_of)?.collect()
        })
    }
}

fn limit_of(query: &RecordingQuery) -> usize {
    let limit = if query.limit == 0 { DEFAULT_LIMIT } else { query.limit };
    limit.min(LARGEST_LIMIT) as usize
}

fn position_of(cursor: &str) -> Option<Position> {
    let (seq, id) = cursor.split_once('_')?;
    Some(Position { seq: seq.parse().ok()?, id: id.parse().ok()? })
}

/// The recordings that hold some of an event, oldest first.
fn recordings_of(connection: &Connection, event: &MotionEvent) -> rusqlite::Result<Vec<i64>> {
    let start_us = event.start.timestamp_micros();
    let end_us = event.end.map_or(i64::MAX, |end| end.timestamp_micros().max(start_us.saturating_add(1)));
    let earliest_us = Span::earliest(connection, "recordings", start_us)?;
    connection
        .prepare_cached(
            "SELECT id FROM recordings WHERE camera = ?1 AND start_us >= ?2 AND start_us < ?3
                AND (end_us > ?4 OR end_us IS NULL)
             ORDER BY start_us, id LIMIT 1000",
        )?
        .query_map(params![event.camera, earliest_us, end_us, start_us], |row| row.get(0))?
        .collect()
}

/// Conditions of a WHERE and their values.
#[derive(Default)]
struct Filter {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Filter {
    fn and(&mut self, condition: &'static str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition);
        self.values.extend(values);
    }

    /// Rows of the camera that overlap `from..to`; what is open has no end yet.
    fn overlap(&mut self, query: &RecordingQuery) {
        if let Some(camera) = &query.camera {
            self.and("camera = ?", [Value::Text(camera.clone())]);
        }
        if let Some(among) = &query.among {
            let names = serde_json::Value::from(among.clone()).to_string();
            self.and("camera IN (SELECT value FROM json_each(?))", [Value::Text(names)]);
        }
        if query.from > query.to && query.to.is_some() {
            self.and("0", []);
        }
        if let Some(to) = query.to {
            self.and("start_us < ?", [Value::Integer(to.timestamp_micros())]);
        }
        if let Some(from) = query.from {
            let from = Value::Integer(from.timestamp_micros());
            self.and("(end_us > ? OR end_us IS NULL OR start_us >= ?)", [from.clone(), from]);
        }
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() { "1".to_owned() } else { self.conditions.join(" AND ") }
    }
}

/// The places in the order of the recordings that a query's rows can have.
struct Places {
    after: Option<i64>,
    before: Option<i64>,
    /// There is not much more between them than what is asked for: the clock was not set by much.
    are_near: bool,
}

/// With more disorder than this the places are too far apart to help.
const MOST_DISORDER_US: i64 = 2 * 60 * 60 * 1_000_000;

impl Places {
    fn of(connection: &Connection, span: &Span, query: &RecordingQuery) -> rusqlite::Result<Self> {
        let disorder_us: Option<i64> = connection
            .prepare_cached("SELECT value FROM meta WHERE name = 'disorder_us'")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let disorder_us = disorder_us.unwrap_or(0).saturating_add(SLACK_US);
        let place = |sql: &str, start_us: i64| -> rusqlite::Result<Option<i64>> {
            connection.prepare_cached(sql)?.query_row([start_us], |row| row.get(0)).optional()
        };
        // Whatever the order has before a recording that began so much earlier began before the span, and whatever it
        // has behind one that began so much later began after it.
        let after = match span.after_us {
            Some(after_us) => place(
                "SELECT seq FROM recordings WHERE start_us < ? ORDER BY start_us DESC LIMIT 1",
                after_us.saturating_sub(disorder_us),
            )?,
            None => None,
        };
        let before = match query.to {
            Some(to) => place(
                "SELECT seq FROM recordings WHERE start_us >= ? ORDER BY start_us LIMIT 1",
                to.timestamp_micros().saturating_add(disorder_us),
            )?,
            None => None,
        };
        Ok(Places { after, before, are_near: disorder_us <= MOST_DISORDER_US })
    }
}

/// The starts that a query's rows can have.
struct Span {
    after_us: Option<i64>,
}

impl Span {
    fn of(connection: &Connection, table: &str, query: &RecordingQuery) -> rusqlite::Result<Self> {
        let after_us = query.from.map(|from| Span::earliest(connection, table, from.timestamp_micros())).transpose()?;
        Ok(Span { after_us })
    }

    /// When the first row can have started that overlaps anything from `from_us` on.
    fn earliest(connection: &Connection, table: &str, from_us: i64) -> rusqlite::Result<i64> {
        // Nothing that overlaps started longer before than the longest recording is, or than the oldest open one.
        let (longest_us, open_us): (Option<i64>, Option<i64>) = connection
            .prepare_cached(&format!(
                "SELECT (SELECT max(end_us - start_us) FROM {table}),
                        (SELECT min(start_us) FROM {table} WHERE end_us IS NULL)",
            ))?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let closed_us = from_us.saturating_sub(longest_us.unwrap_or(0).max(0));
        Ok(open_us.map_or(closed_us, |open_us| closed_us.min(open_us)))
    }

    /// Is it quicker to sort this span than to go through all rows in their order?
    fn is_narrow(&self, connection: &Connection, query: &RecordingQuery) -> rusqlite::Result<bool> {
        if self.after_us.is_none() && query.to.is_none() {
            return Ok(false);
        }
        let mut filter = Filter::default();
        if let Some(camera) = &query.camera {
            filter.and("camera = ?", [Value::Text(camera.clone())]);
        }
        filter.and("start_us >= ?", [Value::Integer(self.after_us.unwrap_or(i64::MIN))]);
        filter.and("start_us < ?", [Value::Integer(query.to.map_or(i64::MAX, |to| to.timestamp_micros()))]);
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM recordings WHERE {} LIMIT {FEW})", filter.sql());
        let rows: i64 =
            connection.prepare_cached(&sql)?.query_row(params_from_iter(&filter.values), |row| row.get(0))?;
        Ok(rows < FEW)
    }
}
