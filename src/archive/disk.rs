//! The file system under the archive: how much room it has, and making what was written survive a power cut.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::config::SyncCadence;

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What an ordinary user may still write.
    pub free_bytes: u64,
}

/// The room on the file system that holds `path`, or the nearest folder above it that exists.
pub fn space(path: &Path) -> io::Result<Space> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(if existing.as_os_str().is_empty() { Path::new(".") } else { existing })?;
    Ok(Space {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

/// Did this fail because there is no room (a full disk or a used-up quota)?
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes all that was written to the file system of `path` survive a power cut. Blocks until it is on the disk.
pub fn sync(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Syncs the archive's file system by `archive.sync`, on a thread of its own: once for all cameras, and only
/// where something was written. Dropping it stops it.
pub struct Syncer {
    shared: Arc<Shared>,
    cadence: SyncCadence,
    root: PathBuf,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    dirty: bool,
    stop: bool,
    trouble: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs now and keeps what came of it.
    fn sync(&self, root: &Path) {
        let failed = sync(root).err().map(|error| format!("cannot sync the disk of {}: {error}", root.display()));
        let mut state = self.lock();
        if failed.is_some() && failed != state.trouble {
            tracing::warn!("{}", failed.as_deref().unwrap_or_default());
        }
        if failed.is_some() {
            state.dirty = true;
        }
        state.trouble = failed;
    }
}

impl Syncer {
    pub fn start(root: &Path, cadence: SyncCadence) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        if let SyncCadence::Every(every) = cadence {
            let (shared, root) = (Arc::clone(&shared), root.to_owned());
            std::thread::Builder::new().name("archive-sync".into()).spawn(move || run(&shared, &root, every))?;
        }
        Ok(Syncer { shared, cadence, root: root.to_owned() })
    }

    /// A fragment was written. With `archive.sync: fragment` it is made safe before this returns.
    pub fn wrote(&self) {
        match self.cadence {
            SyncCadence::Every(_) => {
                let mut state = self.shared.lock();
                if !state.dirty {
                    state.dirty = true;
                    self.shared.changed.notify_one();
                }
            }
            SyncCadence::EveryFragment => self.shared.sync(&self.root),
            SyncCadence::Never => {}
        }
    }

    /// What went wrong at the last sync, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
    }
}

fn run(shared: &Shared, root: &Path, every: Duration) {
    loop {
        let mut state = shared.lock();
        while !state.dirty && !state.stop {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // What is written while waiting goes with this sync.
        let (mut state, _) = shared
            .changed
            .wait_timeout_while(state, every, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        let (dirty, stop) = (std::mem::take(&mut state.dirty), state.stop);
        drop(state);
        if dirty {
            shared.sync(root);
        }
        if stop {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_yet_has_the_room_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let here = space(folder.path()).unwrap();
        assert!(here.total_bytes > 0 && here.free_bytes <= here.total_bytes);
        let below = space(&folder.path().join("not/yet/there")).unwrap();
        assert_eq!(below.total_bytes, here.total_bytes);
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        // /dev/full answers every write as a full disk does.
        let error = std::fs::write("/dev/full", b"x").unwrap_err();
        assert!(is_full(&error));
        assert!(!is_full(&io::Error::from(io::ErrorKind::PermissionDenied)));
    }

    #[test]
    fn what_was_written_is_synced_and_trouble_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let syncer = Syncer::start(&gone, SyncCadence::EveryFragment).unwrap();
        syncer.wrote();
        assert!(syncer.trouble().unwrap().contains("gone"));
        std::fs::create_dir(&gone).unwrap();
        syncer.wrote();
        assert_eq!(syncer.trouble(), None);
    }

    #[test]
    fn a_cadence_syncs_by_itself_and_again_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let syncer = Syncer::start(&gone, SyncCadence::Every(Duration::from_millis(1))).unwrap();
        syncer.wrote();
        let deadline = crate::clock::monotonic() + Duration::from_secs(10);
        while syncer.trouble().is_none() {
            assert!(crate::clock::monotonic() < deadline, "never synced");
            std::thread::yield_now();
        }
        std::fs::create_dir(&gone).unwrap();
        while syncer.trouble().is_some() {
            assert!(crate::clock::monotonic() < deadline, "never tried again");
            std::thread::yield_now();
        }
    }
}
