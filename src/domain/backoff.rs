//! Waiting before the next try: 1 s doubling to 60 s with jitter, from the start again after a minute of health.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// How often in a row a part has failed.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The part failed after living `lived`: how long to wait. `jitter` is in 0.0..=1.0 and takes off up to a
    /// quarter, so that cameras that fell together do not come back together.
    pub fn failed(&mut self, lived: Duration, jitter: f64) -> Duration {
        if lived >= HEALTHY_AFTER {
            self.failures = 0;
        }
        let doubled = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures += 1;
        doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The next wait is the first again (an operator asked to retry now).
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_minute_and_forgives_after_a_minute_of_health() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.failed(Duration::ZERO, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failed(Duration::from_secs(61), 0.0).as_secs(), 1);
    }

    #[test]
    fn jitter_takes_off_a_quarter_at_most() {
        let wait = Backoff::default().failed(Duration::ZERO, 1.0);
        assert_eq!(wait, Duration::from_millis(750));
    }
}
