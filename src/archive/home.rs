//! Is the archive's disk there, and is the archive ours? A disk that is not mounted leaves an empty folder in its
//! place, and what is written there fills the wrong disk and is hidden when the right one comes back.
//!
//! The archive's root holds a marker. That it was there, and on which file system, is remembered outside of it. Where
//! the marker is gone and the file system is another one, nothing is written until it is back. A lock beside the marker
//! keeps a second process out, whenever the disk comes.
//!
//! Does not belong here: disks that are there and refuse ([`super::disk`]).

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::disk::is_full;

/// The marker's file in the archive's root.
pub const MARKER_NAME: &str = ".tarsier-archive";
/// Held while a process records into the archive. Holds the moment up to which all is written that was told, and which
/// boot of the machine that was in.
pub const LOCK_NAME: &str = "index.lock";
/// The file that remembers it, outside of the archive.
pub const NOTE_NAME: &str = ".tarsier-archive-seen";

/// Where an archive lives.
#[derive(Debug, Default)]
pub struct Home {
    root: PathBuf,
    /// None: nobody watches.
    note: Option<PathBuf>,
    seen: Mutex<Option<Seen>>,
    /// None as long as nothing was locked: the disk is not there, or its file system knows no locks.
    lock: Mutex<Option<Arc<File>>>,
    /// Held by who takes the lock, while a disk is asked that may hang.
    taking: Mutex<()>,
}

/// What was seen of the archive when it was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    archive: PathBuf,
    marker: String,
    /// Number of the file system's device.
    device: u64,
    /// The root is where a file system is mounted.
    is_mounted: bool,
}

/// The archive's disk is not there.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the disk of {} is not mounted: {MARKER_NAME} is not in it (mount it; or, if the archive is to begin anew here, remove {})", root.display(), note.display())]
pub struct NotMounted {
    root: PathBuf,
    note: PathBuf,
}

/// Does the error say that the archive's disk is not there?
pub fn is_not_mounted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotMounted>())
}

/// What whoever had the archive last noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Up to this moment all was written that was told.
    pub at: DateTime<Utc>,
    /// The machine has not been off since: what was written is there, synced or not.
    pub stayed_up: bool,
}

/// Tells one boot of the machine from the next.
static BOOT_ID: LazyLock<Option<String>> =
    LazyLock::new(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()));

/// Another process records into the archive.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the archive {} is in use by another tarsier: stop that one, or give this one its own archive.path", root.display())]
pub struct InUse {
    root: PathBuf,
}

/// Does the error say that another process records into the archive?
pub fn is_in_use(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<InUse>())
}

impl Home {
    /// Of an archive that nobody watches over.
    pub fn unwatched(root: &Path) -> Self {
        Home { root: root.to_owned(), ..Home::default() }
    }

    /// Of an archive whose marker is remembered in `note_folder`.
    pub fn watched(root: &Path, note_folder: &Path) -> Self {
        let note = note_folder.join(NOTE_NAME);
        let seen = fs::read(&note).ok().and_then(|json| serde_json::from_slice::<Seen>(&json).ok());
        // One of another path says nothing of this.
        let seen = seen.filter(|seen| seen.archive == root);
        Home { root: root.to_owned(), note: Some(note), seen: Mutex::new(seen), ..Home::default() }
    }

    /// Is it there, and ours? Like [`Home::check_place`], and takes the lock where it is not held.
    pub fn check(&self) -> io::Result<()> {
        self.check_place()?;
        self.take_lock()
    }

    fn take_lock(&self) -> io::Result<()> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.root.join(LOCK_NAME);
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let there = fs::metadata(&path).map(identity).ok();
        let ours = self.held().clone().and_then(|file| file.metadata().ok()).map(identity);
        if ours.is_some() && ours == there {
            return Ok(());
        }
        // A disk without room for an empty file, or that is read-only, says so to who writes.
        let opened = File::options().write(true).create(true).truncate(false).open(&path);
        let Ok(file) = opened else { return Ok(()) };
        match file.try_lock() {
            Ok(()) => *self.held() = Some(Arc::new(file)),
            Err(TryLockError::WouldBlock) => return Err(io::Error::other(InUse { root: self.root.clone() })),
            // A file system without locks: nobody can be kept out.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(())
    }

    /// Is it there? Makes its folder and its marker where it never was, or where somebody took them away.
    pub fn check_place(&self) -> io::Result<()> {
        let Some(note) = &self.note else { return fs::create_dir_all(&self.root) };
        // Not held while a disk is asked that may hang.
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let path = self.root.join(MARKER_NAME);
        let marker = match fs::read_to_string(&path) {
            Ok(marker) => marker.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (device, is_mounted) = place(&self.root)?;
                if seen.is_some_and(|seen| (seen.device, seen.is_mounted) != (device, is_mounted)) {
                    return Err(io::Error::other(NotMounted { root: self.root.clone(), note: note.clone() }));
                }
                fs::create_dir_all(&self.root)?;
                let marker = format!("{:016x}", fastrand::u64(..));
                if let Err(error) = fs::write(&path, format!("{marker}\n")) {
                    let _ = fs::remove_file(&path);
                    // It is there, and retention has to make room first.
                    return if is_full(&error) { Ok(()) } else { Err(error) };
                }
                marker
            }
            Err(error) => return Err(error),
        };
        let (device, is_mounted) = place(&self.root)?;
        self.remember(Seen { archive: self.root.clone(), marker, device, is_mounted });
        Ok(())
    }

    /// Was it somewhere else, and is not there now? Other trouble is no reason to think so.
    pub fn is_missing(&self) -> bool {
        self.check_place().is_err_and(|error| is_not_mounted(&error))
    }

    /// Notes that all is written that was told up to this moment. Takes no room that it has not taken before.
    pub fn note(&self, at: DateTime<Utc>) {
        let Some(file) = self.held().clone() else { return };
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let line = format!("{at} {}\n", BOOT_ID.as_deref().unwrap_or_default());
        if let Err(error) = file.write_all_at(line.as_bytes(), 0) {
            tracing::debug!(%error, "that all is well cannot be noted");
        }
    }

    /// The last note of whoever had the archive last.
    pub fn noted(&self) -> Option<Noted> {
        let text = fs::read_to_string(self.root.join(LOCK_NAME)).ok()?;
        let mut words = text.split_whitespace();
        let at = words.next()?.parse().ok()?;
        Some(Noted { at, stayed_up: words.next().is_some_and(|boot| BOOT_ID.as_deref() == Some(boot)) })
    }

    /// Lets another process have it.
    pub fn release(&self) {
        *self.held() = None;
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, now: Seen) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&now) {
            return;
        }
        if let Some(note) = &self.note {
            let written = serde_json::to_vec(&now).map_err(io::Error::from).and_then(|json| fs::write(note, json));
            if let Err(error) = written {
                let note = note.display();
                tracing::warn!(
                    "{note} cannot be written: {error} (a disk that is not mounted at the next start is not noticed)"
                );
            }
        }
        *seen = Some(now);
    }
}

/// The file system that holds the folder, or the nearest one above it that exists, and whether it is mounted there.
fn place(root: &Path) -> io::Result<(u64, bool)> {
    let existing = root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let device = fs::metadata(existing)?.dev();
    let above = existing.parent().filter(|_| existing == root);
    let is_mounted = above.and_then(|above| fs::metadata(above).ok()).is_some_and(|above| above.dev() != device);
    Ok((device, is_mounted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen_elsewhere(home: &Home) -> String {
        let note = home.note.as_ref().unwrap();
        let mut seen: Seen = serde_json::from_slice(&fs::read(note).unwrap()).unwrap();
        seen.device += 1;
        seen.is_mounted = true;
        fs::write(note, serde_json::to_vec(&seen).unwrap()).unwrap();
        seen.marker
    }

    #[test]
    fn an_archive_that_was_on_a_disk_is_not_made_anew_where_the_disk_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("archive");
        let home = Home::watched(&root, folder.path());
        home.check().unwrap();
        let marker = seen_elsewhere(&home);
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();

        let home = Home::watched(&root, folder.path());
        for _ in 0..2 {
            assert!(home.is_missing());
            let error = home.check().unwrap_err().to_string();
            assert!(error.contains("not mounted") && error.contains(NOTE_NAME), "{error}");
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing is written");
        }
        fs::write(root.join(MARKER_NAME), &marker).unwrap();
        home.check().unwrap();
        // Another archive's path, or a person's word: it may begin.
        assert!(Home::watched(&folder.path().join("other"), folder.path()).check().is_ok());
        seen_elsewhere(&home);
        fs::remove_file(root.join(MARKER_NAME)).unwrap();
        fs::remove_file(folder.path().join(NOTE_NAME)).unwrap();
        drop(home);
        Home::watched(&root, folder.path()).check().unwrap();
    }

    #[test]
    fn a_folder_that_somebody_removed_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("far/archive");
        let home = Home::watched(&root, folder.path());
        home.check().unwrap();
        fs::remove_dir_all(folder.path().join("far")).unwrap();
        home.check().unwrap();
        assert!(root.join(MARKER_NAME).exists());
    }

    #[test]
    fn a_note_that_is_none_is_no_note() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NOTE_NAME), "{").unwrap();
        Home::watched(&folder.path().join("archive"), folder.path()).check().unwrap();
    }

    #[test]
    fn where_nobody_watches_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        Home::unwatched(folder.path()).check_place().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_noted_is_there_for_the_next_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::unwatched(folder.path());
        home.note(DateTime::UNIX_EPOCH);
        assert_eq!(home.noted(), None, "it is not ours yet");
        home.check().unwrap();
        let moments = [1_700_000_000_123_456, 1_700_000_002_000_000].map(DateTime::from_timestamp_micros);
        for moment in moments {
            home.note(moment.unwrap());
            assert_eq!(home.noted(), moment.map(|at| Noted { at, stayed_up: true }));
        }
        home.release();
        let next = Home::unwatched(folder.path());
        next.check().unwrap();
        assert_eq!(next.noted().map(|noted| noted.at), moments[1]);
        let text = fs::read_to_string(folder.path().join(LOCK_NAME)).unwrap();
        for (note, why) in [(text[..27].to_owned(), "no boot"), (text.replace('-', "+"), "no time")] {
            fs::write(folder.path().join(LOCK_NAME), note).unwrap();
            assert!(next.noted().is_none_or(|noted| !noted.stayed_up), "{why}");
        }
        fs::write(folder.path().join(LOCK_NAME), [0; 28]).unwrap();
        assert_eq!(next.noted(), None, "a cut took it");
    }

    #[test]
    fn a_disk_that_comes_late_is_locked_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("archive");
        fs::write(&root, "in its place").unwrap();
        let (first, second) = (Home::watched(&root, folder.path()), Home::unwatched(&root));
        assert!(first.check().is_err() && second.check().is_err());
        fs::remove_file(&root).unwrap();
        first.check().unwrap();
        let error = second.check().unwrap_err();
        assert!(is_in_use(&error) && error.to_string().contains("another tarsier"), "{error}");
        first.check().unwrap();
        // The disk is another one now.
        fs::rename(&root, folder.path().join("old")).unwrap();
        first.check().unwrap();
        assert!(second.check().is_err());
        drop(first);
        second.check().unwrap();
    }
}
