//! Hints that the cameras' folder may have changed. A hint says only *look*: what is there is read by content.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

/// A quiet time after a hint, so that an editor's save is read once it is whole.
const SETTLE: Duration = Duration::from_millis(100);
/// A burst of hints is answered at the latest after this.
const AT_MOST: Duration = Duration::from_secs(1);
/// How often the watch is tried again where it could not be set, or its folder was replaced.
const REWATCH: Duration = Duration::from_secs(2);

/// Calls `look` after changes in `folder`, from a thread of its own. The folder may be missing, and may be
/// replaced at any time; the Supervisor's own poll covers what the system does not tell.
pub fn start(folder: &Path, look: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let folder = folder.to_owned();
    thread::Builder::new().name("config-watch".into()).spawn(move || run(&folder, look)).map(|_| ())
}

fn run(folder: &Path, look: impl Fn()) {
    let (hints, hinted) = mpsc::channel();
    let mut watched: Option<(notify::RecommendedWatcher, Option<Identity>)> = None;
    loop {
        let identity = Identity::of(folder);
        if watched.as_ref().is_none_or(|(_, of)| *of != identity) {
            watched = watch(folder, hints.clone()).map(|watcher| (watcher, identity));
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
