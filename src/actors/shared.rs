//! What all cameras of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Registry;
use crate::archive::Archive;
use crate::pool::Pool;

/// The outside of a camera: where it publishes, records and computes.
pub struct Shared {
    pub registry: Arc<Registry>,
    pub archive: Arc<Archive>,
    pub pool: Pool,
    sessions: AtomicU64,
    lives: AtomicU64,
}

impl Shared {
    pub fn new(registry: Arc<Registry>, archive: Arc<Archive>, pool: Pool) -> Self {
        Shared { registry, archive, pool, sessions: AtomicU64::new(0), lives: AtomicU64::new(0) }
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
