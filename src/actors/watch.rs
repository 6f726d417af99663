//! Hints that the cameras' folder may have changed. A hint says only *look*: what is there is read by content.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

/// A quiet time after a hint, so that an editor's save is read once it is whole.
const SETTLE: Duration = Duration::from_millis(100);
/// A burst of hints is answered at the latest after this.
const AT_MOST: Duration = Duration::from_secs(1);
/// How often the watch is tried again where it could not be set, or its folder was replaced.
const REWATCH: Duration = Duration::from_secs(2);

/// A folder that is watched.
#[derive(Clone, Default)]
pub struct Watch {
    folder: Arc<Mutex<PathBuf>>,
}

impl Watch {
    /// The folder that is watched from now on.
    pub fn set_folder(&self, folder: &Path) {
        folder.clone_into(&mut self.folder.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Calls `look` after changes in the folder, from a thread of its own. The folder may be missing, and may be
    /// replaced at any time; the Supervisor's own poll covers what the system does not tell.
    pub fn start(&self, look: impl Fn() + Send + 'static) -> std::io::Result<()> {
        let watch = self.clone();
        thread::Builder::new().name("config-watch".into()).spawn(move || watch.run(look)).map(|_| ())
    }

    fn run(&self, look: impl Fn()) {
        let (hints, hinted) = mpsc::channel();
        let mut watched: Option<(notify::RecommendedWatcher, Option<Identity>)> = None;
        loop {
            let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let identity = Identity::of(&folder);
            if watched.as_ref().is_none_or(|(_, of)| *of != identity) {
                watched = watch(&folder, hints.clone()).map(|watcher| (watcher, identity));
                look();
            }
            match hinted.recv_timeout(REWATCH) {
                Ok(()) => {
                    let mut waited = Duration::ZERO;
                    while waited < AT_MOST && hinted.recv_timeout(SETTLE).is_ok() {
                        waited += SETTLE;
                    }
                    look();
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Which folder a name leads to now.
#[derive(PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    real: PathBuf,
}

impl Identity {
    fn of(folder: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(folder).ok()?;
        let real = std::fs::canonicalize(folder).ok()?;
        Some(Identity { device: metadata.dev(), inode: metadata.ino(), real })
    }
}

fn watch(folder: &Path, hints: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let hint = move |event: notify::Result<notify::Event>| {
        // Reading a file is no change; everything else, an overflow and a fault too, is a reason to look.
        if !event.is_ok_and(|event| event.kind.is_access() && !event.need_rescan()) {
            let _ = hints.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(hint).ok()?;
    match watcher.watch(folder, RecursiveMode::NonRecursive) {
        Ok(()) => Some(watcher),
        Err(error) => {
            tracing::debug!(folder = %folder.display(), %error, "cannot watch; the folder is polled");
            None
        }
    }
}
