//! What all cameras of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::confirmer::Confirmer;
use super::registry::Registry;
use crate::archive::Archive;
use crate::archive::backgrounds::Backgrounds;
use crate::pool::Pool;

/// How files are played that stand in for a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playback {
    /// At the pace of their timestamps; false: as fast as they can be looked at and recorded.
    pub real_time: bool,
    /// No longer than this, in their own time.
    pub at_most: Option<Duration>,
}

/// As a camera plays: at its own pace, to its end.
impl Default for Playback {
    fn default() -> Self {
        Playback { real_time: true, at_most: None }
    }
}

/// The outside of a camera: where it publishes, records and computes.
pub struct Shared {
    pub registry: Arc<Registry>,
    pub archive: Arc<Archive>,
    pub pool: Pool,
    pub playback: Playback,
    /// What detectors know of their scenes; None: each connection is a new scene.
    pub backgrounds: Option<Arc<Backgrounds>>,
    /// Who asks models what events show; None: nobody.
    pub confirmer: Option<Arc<Confirmer>>,
    sessions: AtomicU64,
    lives: AtomicU64,
}

impl Shared {
    pub fn new(registry: Arc<Registry>, archive: Arc<Archive>, pool: Pool) -> Self {
        Shared {
            registry,
            archive,
            pool,
            playback: Playback::default(),
            backgrounds: None,
            confirmer: None,
            sessions: AtomicU64::new(0),
            lives: AtomicU64::new(0),
        }
    }

    /// A number for a new session; it rises over all cameras and is never used twice.
    pub fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number for a new life of a reader, likewise.
    pub fn next_life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed) + 1
    }
}
