//! The tree of recordings, and the one thread that writes it.
//!
//! Belongs here: files and their containers, the index, recovery, retention, the disk's state. Does not belong
//! here: when a camera is recorded (`domain::recorder`), who restarts whom (`actors`).
//!
//! One [`Archive`] serves all cameras that record under one root: its thread gives each camera that has packets
//! a turn, one after the other, so that a stalling disk stalls this thread and nothing else. What waits meanwhile
//! waits in the cameras' rings.

pub mod avi;
pub mod backgrounds;
mod container;
pub mod disk;
mod encoding;
pub mod export;
pub mod file;
mod footage;
pub mod holes;
pub mod home;
pub mod index;
pub mod mkv;
pub mod mp4;
pub mod paths;
pub mod recorder;
pub mod recovery;
mod replay;
pub mod retention;
pub mod state;
pub mod still;
pub mod stretches;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub use recorder::{CameraRecorder, Fact, RecorderSettings};

use self::file::{FileMeta, RecordingFile};
use self::index::Index;
use crate::clock;
use crate::domain::config::{ContainerKind, SyncCadence};
use crate::domain::layout::Layout;
use crate::domain::stream::StreamInfo;

/// Free space below which no new file is begun: what the open ones need to be finalised.
pub const RESERVE_BYTES: u64 = 8 << 20;
/// Names that are tried for a file (`_2`, `_3`, …) before giving up.
const NAME_ATTEMPTS: u32 = 1000;

/// Where recordings go. Shared by all cameras.
pub struct Archive {
    root: PathBuf,
    layout: Layout,
    index: Index,
    sync: SyncCadence,
    /// Written to since the last sync.
    dirty: AtomicBool,
    turns: mpsc::Sender<Turn>,
    /// The disk is full: retention should look now.
    /// A file was left that is not closed in order.
    has_unfinished: AtomicBool,
    needs_room: (Mutex<bool>, Condvar),
    stopped: AtomicBool,
    /// When the turn began that is under way, and when the sync did.
    turn_began: Mutex<Option<Instant>>,
    sync_began: Mutex<Option<Instant>>,
    /// Why a sync failed, and that a camera lost packets while it waited for the disk: not told yet.
    sync_trouble: Mutex<Option<String>>,
    was_too_slow: AtomicBool,
}

enum Turn {
    Of(Arc<CameraRecorder>),
    Stop,
}

impl Archive {
    /// Starts the archive's threads. The folder need not exist or be writable yet: cameras say so when they
    /// record, and go on when it is.
    pub fn start(root: &Path, layout: Layout, sync: SyncCadence, index: Index) -> io::Result<Arc<Self>> {
        let (turns, waiting) = mpsc::channel();
        let archive = Arc::new(Archive {
            root: root.to_owned(),
            layout,
            index,
            sync,
            dirty: AtomicBool::new(false),
            turns,
            needs_room: (Mutex::new(false), Condvar::new()),
            has_unfinished: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            turn_began: Mutex::new(None),
            sync_began: Mutex::new(None),
            sync_trouble: Mutex::new(None),
            was_too_slow: AtomicBool::new(false),
        });
        let working = Arc::downgrade(&archive);
        thread::Builder::new().name("archive".into()).spawn(move || {
            let note = |began| {
                if let Some(archive) = working.upgrade() {
                    *archive.turn_began.lock().unwrap_or_else(PoisonError::into_inner) = began;
                }
            };
            while let Ok(Turn::Of(recorder)) = waiting.recv() {
                note(Some(clock::monotonic()));
                let wants_more = recorder.turn();
                note(None);
                if wants_more {
                    // Behind the other cameras, and once: it may have been noticed meanwhile.
                    recorder.notice();
                }
            }
        })?;
        if let SyncCadence::Every(cadence) = sync {
            let syncing = Arc::downgrade(&archive);
            thread::Builder::new().name("archive-sync".into()).spawn(move || {
                // Holds the archive only while it syncs: the index is closed when its last user goes.
                while let Some(archive) = syncing.upgrade().filter(|archive| !archive.is_stopped()) {
                    archive.sync_now();
                    drop(archive);
                    thread::sleep(cadence);
                }
            })?;
        }
        Ok(archive)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Since when the disk is waited for, by who writes or who makes it durable: long ago where it stalls.
    pub fn busy_since(&self) -> Option<Instant> {
        let began = |of: &Mutex<Option<Instant>>| *of.lock().unwrap_or_else(PoisonError::into_inner);
        [began(&self.turn_began), began(&self.sync_began)].into_iter().flatten().min()
    }

    /// Why something could not be made durable since the last call.
    pub fn take_sync_trouble(&self) -> Option<String> {
        self.sync_trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Did a camera lose packets since the last call, because the disk did not take them in time?
    pub fn take_too_slow(&self) -> bool {
        self.was_too_slow.swap(false, Ordering::AcqRel)
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    fn enqueue(&self, recorder: Arc<CameraRecorder>) {
        // Without a thread the process is ending.
        let _ = self.turns.send(Turn::Of(recorder));
    }

    /// Is the archive there, writable, and with room for a new file?
    fn check_room(&self) -> io::Result<()> {
        self.index.home().check()?;
        rustix::fs::access(&self.root, rustix::fs::Access::WRITE_OK)?;
        if disk::space(&self.root)?.free_bytes < RESERVE_BYTES {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    /// Makes the file of a recording under its name by the layout. Returns it with its path below the root.
    fn create_file(
        &self,
        meta: &FileMeta,
        container: ContainerKind,
        stream: &Arc<StreamInfo>,
        with_audio: bool,
    ) -> io::Result<(RecordingFile, String)> {
        self.check_room()?;
        for attempt in 1..=NAME_ATTEMPTS {
            let relative = self.layout.path(&meta.camera, meta.reason, meta.start, attempt, container.extension());
            let path = self.root.join(&relative);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            match RecordingFile::create(&path, container, stream, with_audio, meta) {
                Ok(file) => return Ok((file, relative.to_string_lossy().into_owned())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{NAME_ATTEMPTS} recordings have the same name; make archive.layout finer")))
    }

    fn wrote(&self) {
        self.dirty.store(true, Ordering::Release);
        if self.sync == SyncCadence::EveryFragment {
            self.sync_now();
        }
    }

    /// Makes all that was written survive a power cut: once for all cameras, and only where something was written.
    fn sync_now(&self) {
        if !(self.dirty.swap(false, Ordering::AcqRel) | self.index.take_unsynced()) {
            return;
        }
        let note = |began| *self.sync_began.lock().unwrap_or_else(PoisonError::into_inner) = began;
        note(Some(clock::monotonic()));
        let synced = disk::sync_file_system(&self.root);
        note(None);
        if let Err(error) = synced {
            self.dirty.store(true, Ordering::Release);
            let root = self.root.display();
            let trouble = format!("what is recorded in {root} cannot be made durable: {error} (check the disk)");
            *self.sync_trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        }
    }

    /// What a failed write means, for a person; asks for room where the disk is full.
    fn explain(&self, error: &io::Error) -> String {
        let root = self.root.display();
        if home::is_not_mounted(error) || home::is_in_use(error) {
            return error.to_string();
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.ask_for_room();
                format!("the disk of {root} is full (free some space, or lower retention.max_size)")
            }
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                format!("{root} is not a folder (move the file that is in its place away, or change archive.path)")
            }
            io::ErrorKind::ReadOnlyFilesystem => format!("the disk of {root} is read-only (check and remount it)"),
            io::ErrorKind::PermissionDenied => {
                format!("{root} is not writable by Tarsier's user (change its owner or archive.path)")
            }
            // The stream and its container, not the disk.
            io::ErrorKind::InvalidData => error.to_string(),
            _ => format!("cannot write to {root}: {error} (check the disk)"),
        }
    }

    /// Is there a file since the last call that the disk did not let be closed, for a scan to close?
    pub fn take_unfinished(&self) -> bool {
        self.has_unfinished.swap(false, Ordering::AcqRel)
    }

    fn ask_for_room(&self) {
        *self.needs_room.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.needs_room.1.notify_all();
    }

    /// Waits until retention should look: for `at_most`, or until the disk is full, or the archive stops.
    pub fn wait_for_retention(&self, at_most: Duration) {
        let guard = self.needs_room.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.needs_room.1.wait_timeout_while(guard, at_most, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Waits for `at_most`, or until the archive stops.
    pub fn wait_for_stop(&self, at_most: Duration) {
        let guard = self.needs_room.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.needs_room.1.wait_timeout_while(guard, at_most, |_| !self.is_stopped()));
    }

    /// True once the archive stops, for work that has to end with it.
    pub fn stop_flag(&self) -> &AtomicBool {
        &self.stopped
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends the threads after what is queued, and writes the index.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let _ = self.turns.send(Turn::Stop);
        self.ask_for_room();
        self.index.close();
        if self.sync != SyncCadence::Never {
            self.sync_now();
        }
    }
}
