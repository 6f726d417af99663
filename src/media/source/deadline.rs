//! When a blocking call has to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// The caller's way to stop a source from another thread.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    progress: AtomicU64,
}

impl Cancel {
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Makes `open` and `next` return `Cancelled` within about 0.1 s, now and ever after.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// How many packets have been read, those among them that were of no use: a thread whose number rises
    /// does not hang.
    pub fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self) {
        self.shared.progress.fetch_add(1, Ordering::Relaxed);
    }
}

/// A deadline that a foreign library asks about from inside its blocking calls.
#[derive(Debug)]
pub(super) struct Deadline {
    cancel: Cancel,
    began: Instant,
    /// Microseconds after `began`.
    at_us: AtomicU64,
    /// It has passed while the library was waiting, which was told to give up.
    interrupted: AtomicBool,
    closing: AtomicBool,
}

impl Deadline {
    pub fn new(cancel: &Cancel, after: Duration) -> Arc<Self> {
        let deadline = Deadline {
            cancel: cancel.clone(),
            began: clock::monotonic(),
            at_us: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        };
        deadline.set(after);
        Arc::new(deadline)
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(clock::monotonic().duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// The deadline is `after` from now.
    pub fn set(&self, after: Duration) {
        let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.at_us.store(self.elapsed_us().saturating_add(after_us), Ordering::Relaxed);
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// From now on only closing is left to do: a cancelled caller still wants the camera to be told.
    pub fn close_within(&self, limit: Duration) {
        self.set(limit);
        self.closing.store(true, Ordering::Relaxed);
    }

    pub fn has_passed(&self) -> bool {
        self.elapsed_us() >= self.at_us.load(Ordering::Relaxed)
    }

    pub fn left(&self) -> Duration {
        Duration::from_micros(self.at_us.load(Ordering::Relaxed).saturating_sub(self.elapsed_us()))
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Did a wait end because of the deadline, whatever the call made of it?
    pub fn has_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub fn interrupts(&self) -> bool {
        if self.has_passed() {
            self.interrupted.store(true, Ordering::Relaxed);
            return true;
        }
        self.is_cancelled() && !self.closing.load(Ordering::Relaxed)
    }
}
