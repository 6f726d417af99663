//! Waiting for a fact with a deadline.

use std::time::Duration;

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Asks `fact` until it answers, and panics with `what` at the deadline.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut fact: impl FnMut() -> Option<T>) -> T {
    let start = tarsier::clock::monotonic();
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Asks `fact` again and again for so long: it has to be true all the time.
#[track_caller]
pub fn holds_for(what: &str, duration: Duration, mut fact: impl FnMut() -> bool) {
    let start = tarsier::clock::monotonic();
    while start.elapsed() < duration {
        assert!(fact(), "no more after {:?}: {what}", start.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
}
