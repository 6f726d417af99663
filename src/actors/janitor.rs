//! Keeps the archive in order behind the running cameras: within its limits, and with an index that is right. Three
//! threads, because a look through a large archive takes long, a full disk can't wait, and one that stalls has to be told
//! of by somebody who does not wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::registry::Registry;
use super::writer::DISK_ALARM;
use crate::archive::index::Index;
use crate::archive::retention::{self, Limits};
use crate::archive::{Archive, disk, recovery};
use crate::clock;
use crate::domain::config::{ArchiveConfig, MinFree, RetentionConfig};
use crate::domain::retention::{ClockGuard, short_of};

/// How often the archive is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// And how often where there is so little room beyond what is kept free: a minute of 64 cameras.
const EVERY_IF_SHORT: Duration = Duration::from_secs(1);
const SHORT_BYTES: u64 = 2_000_000_000;
/// Alarms that only a person can end.
const ROOM_ALARM: &str = "disk_low";
const CLOCK_ALARM: &str = "clock_stepped";
const INDEX_ALARM: &str = "index";
/// Alarms of a disk that stalls, and of one that keeps nothing. They end by themselves.
const SLOW_ALARM: &str = "disk_slow";
const SYNC_ALARM: &str = "disk_sync";
/// A turn of the archive's thread writes a few megabytes: a disk that takes so long for them stalls.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// A disk with which nothing was wrong for so long is well again.
const WELL_AFTER: Duration = Duration::from_secs(30);
/// How often a thread that asks no disk looks.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The limits that hold now. The Supervisor changes them as configuration comes and goes.
pub struct Retention {
    state: Mutex<State>,
}

struct State {
    cameras: BTreeMap<String, RetentionConfig>,
    max_size_bytes: Option<u64>,
    min_free: MinFree,
    clock: ClockGuard,
}

impl Retention {
    pub fn new(archive: &ArchiveConfig) -> Self {
        Retention {
            state: Mutex::new(State {
                cameras: BTreeMap::new(),
                max_size_bytes: archive.max_size_bytes,
                min_free: archive.min_free,
                clock: ClockGuard::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A camera's limits; they outlive its file, so that removing a camera deletes nothing sooner or later.
    pub fn set_camera(&self, name: &str, limits: RetentionConfig) {
        self.lock().cameras.insert(name.to_owned(), limits);
    }

    /// The archive's limits were read again by a person's wish, who by that says that the clock is right.
    pub fn set_archive(&self, archive: &ArchiveConfig) {
        let mut state = self.lock();
        (state.max_size_bytes, state.min_free) = (archive.max_size_bytes, archive.min_free);
        state.clock.believe();
    }
}

/// Starts the threads; they end with the archive.
pub fn start(archive: Arc<Archive>, retention: Arc<Retention>, registry: Arc<Registry>) -> std::io::Result<()> {
    let scanned = Arc::clone(&archive);
    let told = Arc::clone(&registry);
    thread::Builder::new().name("archive-scan".into()).spawn(move || scan(&scanned, &told))?;
    let (watched, told) = (Arc::clone(&archive), Arc::clone(&registry));
    thread::Builder::new().name("archive-watch".into()).spawn(move || watch(&watched, &told))?;
    let began = clock::monotonic();
    let run = move || {
        retention.lock().clock.begin(clock::utc_now(), last_known(archive.index()));
        while !archive.is_stopped() {
            let is_short = look(&archive, &retention, &registry, clock::monotonic() - began);
            archive.wait_for_retention(if is_short { EVERY_IF_SHORT } else { EVERY });
        }
    };
    thread::Builder::new().name("janitor".into()).spawn(run).map(|_| ())
}

/// Does the disk keep no camera from recording?
fn has_disk(registry: &Registry) -> bool {
    registry.alarms().iter().all(|alarm| alarm.kind != DISK_ALARM)
}

/// Tells when the disk stalls, or keeps nothing: those who wait for it can't.
fn watch(archive: &Archive, registry: &Registry) {
    let root = archive.root().display();
    let too_slow = format!(
        "the disk of {root} is too slow: it stalls for more than {} s, or does not take what the cameras send (look at its health and who else uses it; the cameras' rings bridge about ten seconds)",
        STALLED_AFTER.as_secs()
    );
    let mut last: BTreeMap<&str, Instant> = BTreeMap::new();
    while !archive.is_stopped() {
        let now = clock::monotonic();
        let is_slow = archive.take_too_slow()
            || archive.busy_since().is_some_and(|since| now.saturating_duration_since(since) >= STALLED_AFTER);
        for (kind, trouble) in
            [(SLOW_ALARM, is_slow.then(|| too_slow.clone())), (SYNC_ALARM, archive.take_sync_trouble())]
        {
            if let Some(message) = trouble {
                last.insert(kind, now);
                if registry.raise_alarm(kind, None, clock::utc_now(), message.clone()) {
                    tracing::warn!("{message}");
                }
            } else if last.get(kind).is_some_and(|last| now.saturating_duration_since(*last) >= WELL_AFTER) {
                last.remove(kind);
                registry.clear_alarm(kind, None);
            }
        }
        archive.wait_for_stop(WATCH_EVERY);
    }
}

/// The last moment that the archive knows of.
fn last_known(index: &Index) -> Option<DateTime<Utc>> {
    index.last_end().ok().flatten().max(index.closed_before())
}

/// Looks through the whole archive at the start, and again whenever the index had to be begun anew, or a file could not
/// be closed and the disk is well again.
fn scan(archive: &Archive, registry: &Registry) {
    let mut is_due = true;
    while !archive.is_stopped() {
        // Of a disk that is not there nothing may be concluded.
        if is_due && !archive.index().home().is_missing() {
            let report = recovery::scan_all(archive.root(), archive.index(), archive.stop_flag());
            tracing::info!(%report, "the archive was looked through");
            // What the disk did not take it may take later.
            is_due = report.stopped;
        }
        archive.wait_for_stop(EVERY);
        is_due |= archive.index().wants_scan() || (has_disk(registry) && archive.take_unfinished());
    }
}

/// Looks once; tells whether room is short.
fn look(archive: &Archive, retention: &Retention, registry: &Registry, since_start: Duration) -> bool {
    let now = clock::utc_now();
    let alarm = |kind: &str, message: Option<String>| match message {
        Some(message) => {
            registry.raise_alarm(kind, None, now, message);
        }
        None => registry.clear_alarm(kind, None),
    };
    alarm(INDEX_ALARM, archive.index().trouble());
    // Where its files are not there, its rows stay.
    if archive.index().home().is_missing() {
        return false;
    }
    let space = disk::space(archive.root()).ok();
    let limits = {
        let mut state = retention.lock();
        let step = state.clock.look(since_start, now);
        alarm(
            CLOCK_ALARM,
            step.map(|step| {
                let hours = step.num_minutes() as f64 / 60.0;
                format!(
                    "the clock is {hours:.1} h off what it was; nothing is deleted by age until it has run steadily for a day (if it is wrong, set it; then send SIGHUP)"
                )
            }),
        );
        Limits {
            cameras: state.cameras.clone(),
            others: RetentionConfig::default(),
            max_size_bytes: state.max_size_bytes,
            min_free: retention::with_reserve(state.min_free, space),
            space,
            now: step.is_none().then_some(now),
        }
    };
    let is_short = space.is_some_and(|space| {
        short_of(limits.min_free, space.free_bytes.saturating_sub(SHORT_BYTES), space.total_bytes) > 0
    });
    match retention::run(archive.root(), archive.index(), &limits) {
        Err(error) => tracing::warn!(%error, "retention cannot read the index"),
        Ok(report) => {
            if !report.deleted.is_empty() || !report.failures.is_empty() {
                tracing::info!(%report, "retention");
            }
            let root = archive.root().display();
            alarm(
                ROOM_ALARM,
                (report.short_bytes > 0).then(|| {
                    let short_mb = report.short_bytes.div_ceil(1_000_000);
                    format!("the disk of {root} is {short_mb} MB short of archive.min_free or over archive.max_size, and no recording is left to delete (free some space)")
                }),
            );
        }
    }
    is_short
}
