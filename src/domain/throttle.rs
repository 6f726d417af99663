//! Attempts that get rarer: after a few failures each further one has to wait, twice as long each time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Failures that are free.
pub const FREE: u32 = 5;
/// The first wait; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// After so long without an attempt all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Most keys that are remembered: the one that was quiet longest makes room.
const MOST_KEYS: usize = 4096;

/// Counts attempts by key: a user's name, an address.
#[derive(Debug)]
pub struct Throttle<K> {
    longest_wait: Duration,
    tries: HashMap<K, Tries>,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    failed: u32,
    last: Instant,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    pub fn new(longest_wait: Duration) -> Self {
        Throttle { longest_wait, tries: HashMap::new() }
    }

    /// How long the key has to wait before its next attempt; zero: it may.
    pub fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(tries) = self.tries.get(key) else { return Duration::ZERO };
        let since = now.saturating_duration_since(tries.last);
        self.wait_after(tries.failed).saturating_sub(since)
    }

    /// An attempt begins; it counts as failed until [`Throttle::succeeded`], so that many at one time gain nothing.
    pub fn begin(&mut self, key: K, now: Instant) {
        if !self.tries.contains_key(&key) {
            self.make_room(now);
        }
        let tries = self.tries.entry(key).or_insert(Tries { failed: 0, last: now });
        if now.saturating_duration_since(tries.last) >= FORGOTTEN_AFTER {
            tries.failed = 0;
        }
        *tries = Tries { failed: tries.failed.saturating_add(1), last: now };
    }

    /// Takes the attempt back that succeeded; failures before it stay.
    pub fn succeeded(&mut self, key: &K) {
        if let Some(tries) = self.tries.get_mut(key) {
            tries.failed = tries.failed.saturating_sub(1);
        }
    }

    /// Takes all failures back.
    pub fn forget(&mut self, key: &K) {
        self.tries.remove(key);
    }

    fn wait_after(&self, failed: u32) -> Duration {
        match failed.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => FIRST_WAIT.saturating_mul(2u32.saturating_pow(more)).min(self.longest_wait),
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.tries.len() < MOST_KEYS {
            return;
        }
        self.tries.retain(|_, tries| now.saturating_duration_since(tries.last) < FORGOTTEN_AFTER);
        if self.tries.len() >= MOST_KEYS
            && let Some(oldest) = self.tries.iter().min_by_key(|(_, tries)| tries.last).map(|(key, _)| key.clone())
        {
            self.tries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_an_hour_of_quiet_forgets() {
        let mut throttle = Throttle::new(s(60));
        let mut now = clock::monotonic();
        let mut waits = Vec::new();
        for _ in 0..14 {
            now += throttle.wait(&"anna", now);
            throttle.begin("anna", now);
            waits.push(throttle.wait(&"anna", now).as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(throttle.wait(&"bert", now), s(0));
        assert_eq!(throttle.wait(&"anna", now + s(59)), s(1));
        throttle.begin("anna", now + s(3600));
        assert_eq!(throttle.wait(&"anna", now + s(3600)), s(0));
    }

    #[test]
    fn one_that_succeeded_takes_only_itself_back() {
        let mut throttle = Throttle::new(s(60));
        let now = clock::monotonic();
        for _ in 0..6 {
            throttle.begin("here", now);
        }
        throttle.succeeded(&"here");
        assert_eq!(throttle.wait(&"here", now), s(1));
        throttle.forget(&"here");
        assert_eq!(throttle.wait(&"here", now), s(0));
        throttle.succeeded(&"nobody");
    }

    #[test]
    fn a_flood_of_names_takes_no_more_than_its_room() {
        let mut throttle = Throttle::new(s(60));
        let now = clock::monotonic();
        for _ in 0..9 {
            throttle.begin(u32::MAX, now + s(100));
        }
        for name in 0..10_000u32 {
            throttle.begin(name, now + Duration::from_millis(name.into()));
        }
        assert_eq!(throttle.tries.len(), MOST_KEYS);
        assert!(throttle.wait(&u32::MAX, now + s(100)) > s(0), "the one that goes on is remembered");
    }
}
