//! What people decided: which recordings are protected, which events are none, and who may see what ([`people`]). In `state.db` beside the
//! index, which no repair rewrites.
//!
//! Does not belong here: anything that files or journals can say again (`archive::index`). A recording is known by
//! its path and an event by its camera and begin, which are the same whatever becomes of the index.

pub mod people;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::domain::label::{Label, Verdict};

/// Its file in the archive's root.
pub const FILE_NAME: &str = "state.db";

/// One migration a version, from version 1. Never change one that has been released: add the next.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE protected (
        path TEXT PRIMARY KEY,
        -- As the index had it then, for a person who looks.
        recording INTEGER NOT NULL,
        since_us INTEGER NOT NULL
    ) STRICT;
    ",
    people::TABLES,
    "
    CREATE TABLE labels (
        camera TEXT NOT NULL,
        from_us INTEGER NOT NULL,
        to_us INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        -- As the index had it then, for a person who looks.
        event INTEGER NOT NULL,
        since_us INTEGER NOT NULL,
        PRIMARY KEY (camera, from_us)
    ) STRICT, WITHOUT ROWID;
    ",
];

/// Why nothing can be known of, or changed in, what people decided.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} cannot be used: {what} (until it can, no recording is deleted; restore it from a backup, or remove it if nothing is to be protected)", path.display())]
pub struct StateError {
    path: PathBuf,
    what: String,
}

/// What people decided about one archive.
pub struct StateDb {
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// Device and inode of the file that was read; None while there is none.
    file: Option<(u64, u64)>,
    decided: Result<Decided, StateError>,
}

/// What was decided about recordings and events, at one moment.
#[derive(Clone, Debug, Default)]
struct Decided {
    protected: Protected,
    labels: Labels,
}

/// The protected recordings at one moment: since when, by path.
#[derive(Clone, Debug, Default)]
pub struct Protected(Arc<BTreeMap<String, DateTime<Utc>>>);

impl Protected {
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// What people said of events, at one moment: by camera and begin in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Labels(Arc<BTreeMap<(String, i64), Label>>);

impl Labels {
    /// What was said of the event of this camera that began then.
    pub fn verdict(&self, camera: &str, start: DateTime<Utc>) -> Option<Verdict> {
        self.0.get(&(camera.to_owned(), start.timestamp_micros())).map(|label| label.verdict)
    }

    /// All of one camera, oldest first.
    pub fn of_camera(&self, camera: &str) -> impl Iterator<Item = &Label> {
        let first = (camera.to_owned(), i64::MIN);
        self.0.range(first..).take_while(move |((of, _), _)| of == camera).map(|(_, label)| label)
    }
}

impl StateDb {
    /// Of the archive with this root. The file is made when there is something to keep in it.
    pub fn of(archive_root: &Path) -> Self {
        let path = archive_root.join(FILE_NAME);
        StateDb { path, loaded: Mutex::new(Loaded { file: None, decided: Ok(Decided::default()) }) }
    }

    /// Which recordings are protected. A file that has changed hands (a disk that came late, a restored backup) is
    /// read again.
    pub fn protected(&self) -> Result<Protected, StateError> {
        Ok(self.load().decided.clone()?.protected)
    }

    /// Why they are not known, for the log and an alarm.
    pub fn trouble(&self) -> Option<String> {
        self.protected().err().map(|error| error.to_string())
    }

    /// Keeps a recording from being deleted. It is on the disk when this returns. Blocks as long as the disk does.
    pub fn protect(&self, path: &str, recording: i64, since: DateTime<Utc>) -> Result<(), StateError> {
        self.change(|connection| {
            connection.execute(
                "INSERT INTO protected (path, recording, since_us) VALUES (?, ?, ?) ON CONFLICT (path) DO NOTHING",
                params![path, recording, since.timestamp_micros()],
            )
        })
    }

    /// Leaves a recording to retention again.
    pub fn unprotect(&self, path: &str) -> Result<(), StateError> {
        self.change(|connection| connection.execute("DELETE FROM protected WHERE path = ?", [path]))
    }

    /// What people said of events.
    pub fn labels(&self) -> Result<Labels, StateError> {
        Ok(self.load().decided.clone()?.labels)
    }

    /// Keeps what a person says of an event, in place of what was said before.
    pub fn label(&self, label: &Label, event: i64, since: DateTime<Utc>) -> Result<(), StateError> {
        let Label { camera, from, to, verdict } = label;
        let (from_us, to_us, since_us) = (from.timestamp_micros(), to.timestamp_micros(), since.timestamp_micros());
        self.change(|connection| {
            connection.execute(
                "INSERT OR REPLACE INTO labels (camera, from_us, to_us, verdict, event, since_us)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![camera, from_us, to_us, verdict.name(), event, since_us],
            )
        })
    }

    /// Takes back what was said of the event of this camera that began then.
    pub fn unlabel(&self, camera: &str, start: DateTime<Utc>) -> Result<(), StateError> {
        let sql = "DELETE FROM labels WHERE camera = ? AND from_us = ?";
        self.change(|connection| connection.execute(sql, params![camera, start.timestamp_micros()]))
    }

    fn change(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<usize>) -> Result<(), StateError> {
        let mut loaded = self.load();
        // What can't be read is not written to.
        loaded.decided.clone()?;
        let changed = open(&self.path).and_then(|connection| {
            change(&connection)?;
            read(&connection)
        });
        let decided = changed.map_err(|error| self.error(&error.to_string()))?;
        *loaded = Loaded { file: self.identity(), decided: Ok(decided) };
        Ok(())
    }

    fn load(&self) -> MutexGuard<'_, Loaded> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.identity();
        if loaded.file != file || loaded.decided.is_err() {
            let decided = match file {
                None => Ok(Decided::default()),
                Some(_) => open(&self.path).and_then(|connection| read(&connection)),
            };
            *loaded = Loaded { file, decided: decided.map_err(|error| self.error(&error.to_string())) };
        }
        loaded
    }

    fn identity(&self) -> Option<(u64, u64)> {
        identity(&self.path)
    }

    fn error(&self, what: &str) -> StateError {
        StateError { path: self.path.clone(), what: what.to_owned() }
    }
}

/// Device and inode of a file; None where there is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Makes the file, if it is not there, so that nobody else reads the passwords' hashes in it. A person who makes it as
/// root leaves it to the owner of the archive, who runs the recorder.
fn create(path: &Path) -> io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file: File = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    };
    if rustix::process::geteuid().is_root()
        && let Some(folder) = path.parent()
    {
        let owner = std::fs::metadata(folder)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // What keeps it from being made keeps SQLite from opening it, and SQLite's error is the one that is told.
    let _ = create(path);
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    // A decision of a person is on the disk before it is called taken: with FULL a power cut may bring the rollback
    // journal back, and with it what was before.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let version =
        |on: &Connection| on.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map(|v| v as usize);
    if version(&connection)? < MIGRATIONS.len() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for migration in &MIGRATIONS[version(&transaction)?.min(MIGRATIONS.len())..] {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        transaction.commit()?;
    }
    Ok(connection)
}

fn read(connection: &Connection) -> rusqlite::Result<Decided> {
    let time = |us: i64| DateTime::from_timestamp_micros(us).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    let mut statement = connection.prepare("SELECT path, since_us FROM protected")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, time(row.get(1)?))))?;
    let protected = Protected(Arc::new(rows.collect::<rusqlite::Result<_>>()?));
    let mut statement = connection.prepare("SELECT camera, from_us, to_us, verdict FROM labels")?;
    let rows = statement.query_map([], |row| {
        let (camera, from_us): (String, i64) = (row.get(0)?, row.get(1)?);
        // A word of a newer version says nothing to this one.
        let verdict = Verdict::from_name(&row.get::<_, String>(3)?);
        let (from, to) = (time(from_us), time(row.get(2)?));
        Ok(verdict.map(|verdict| ((camera.clone(), from_us), Label { camera, from, to, verdict })))
    })?;
    let labels: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Decided { protected, labels: Labels(Arc::new(labels.into_iter().flatten().collect())) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::index::tests::at;
    use super::*;

    #[test]
    fn what_is_protected_stays_so_until_a_person_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDb::of(folder.path());
        assert!(!state.protected().unwrap().has("yard/1.mp4"));
        assert!(!folder.path().join(FILE_NAME).exists(), "nothing to keep, no file");
        state.unprotect("yard/1.mp4").unwrap();
        state.protect("yard/1.mp4", 1, at(0)).unwrap();
        state.protect("yard/1.mp4", 1, at(9)).unwrap();
        state.protect("yard/2.mp4", 2, at(9)).unwrap();
        state.unprotect("yard/2.mp4").unwrap();
        for state in [state, StateDb::of(folder.path())] {
            let protected = state.protected().unwrap();
            assert_eq!(protected.0.iter().collect::<Vec<_>>(), [(&"yard/1.mp4".to_owned(), &at(0))]);
        }
    }

    #[test]
    fn the_last_word_about_an_event_holds() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDb::of(folder.path());
        let label =
            |camera: &str, from, verdict| Label { camera: camera.into(), from: at(from), to: at(from + 5), verdict };
        state.label(&label("yard", 10, Verdict::Event), 1, at(90)).unwrap();
        state.label(&label("yard", 10, Verdict::NotEvent), 1, at(91)).unwrap();
        state.label(&label("yard", 2, Verdict::Event), 2, at(92)).unwrap();
        state.label(&label("door", 10, Verdict::Event), 3, at(93)).unwrap();
        state.label(&label("yard", 30, Verdict::Event), 4, at(94)).unwrap();
        state.unlabel("yard", at(30)).unwrap();
        for state in [state, StateDb::of(folder.path())] {
            let labels = state.labels().unwrap();
            let of_yard: Vec<Label> = labels.of_camera("yard").cloned().collect();
            assert_eq!(of_yard, [label("yard", 2, Verdict::Event), label("yard", 10, Verdict::NotEvent)]);
            assert_eq!(labels.verdict("door", at(10)), Some(Verdict::Event));
            assert_eq!(labels.verdict("yard", at(30)), None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_left_alone_and_read_when_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        StateDb::of(folder.path()).protect("yard/1.mp4", 1, at(0)).unwrap();
        let kept = fs::read(&path).unwrap();
        fs::write(&path, [7; 9000]).unwrap();
        let state = StateDb::of(folder.path());
        let trouble = state.trouble().unwrap();
        assert!(trouble.contains("state.db") && trouble.contains("no recording is deleted"), "{trouble}");
        assert!(state.protect("yard/2.mp4", 2, at(0)).is_err());
        assert_eq!(fs::read(&path).unwrap(), [7; 9000]);
        fs::write(&path, kept).unwrap();
        assert!(state.protected().unwrap().has("yard/1.mp4"));
        assert_eq!(state.trouble(), None);
    }

    #[test]
    fn a_disk_that_comes_late_brings_its_protection() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDb::of(&folder.path().join("disk"));
        assert!(!state.protected().unwrap().has("yard/1.mp4"));
        fs::create_dir(folder.path().join("disk")).unwrap();
        StateDb::of(&folder.path().join("disk")).protect("yard/1.mp4", 1, at(0)).unwrap();
        assert!(state.protected().unwrap().has("yard/1.mp4"));
    }
}
