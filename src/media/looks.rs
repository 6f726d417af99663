//! What a camera's detector saw in the last pictures, for whoever draws it into the same pictures.
//!
//! Belongs here: keeping it for as long as its pictures may be asked for, and finding what fits one. Does not belong
//! here: looking ([`super::detect`]), drawing ([`super::overlay`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;

use super::packet::Session;
use crate::domain::finding::Finding;

/// Whatever the pictures' rate is, no more are kept.
const MOST: usize = 10_000;
/// Of another stream than the one that is drawn on, a look holds for so long.
const HOLDS: TimeDelta = TimeDelta::milliseconds(500);

/// A picture that was looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    pub session: Arc<Session>,
    pub pts_us: i64,
    /// How much of the picture changed, 0 to 1.
    pub share: f64,
    pub finding: Finding,
}

/// The last pictures that were looked at, oldest first.
#[derive(Debug)]
pub struct Looks {
    keep_us: i64,
    /// The detector looks at another stream than the one that is drawn on: its pictures are found by UTC.
    own_stream: bool,
    seen: Mutex<VecDeque<Seen>>,
}

impl Looks {
    /// Keeps the pictures of the last `keep`.
    pub fn new(keep: Duration, own_stream: bool) -> Self {
        Looks { keep_us: i64::try_from(keep.as_micros()).unwrap_or(i64::MAX), own_stream, seen: Mutex::default() }
    }

    /// More pictures, in order.
    pub fn add(&self, more: &[Seen]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(more.iter().cloned());
        let Some(newest) = seen.back().map(|newest| (newest.session.id, newest.pts_us)) else { return };
        let is_old = |old: &Seen| old.session.id == newest.0 && newest.1.saturating_sub(old.pts_us) > self.keep_us;
        while seen.front().is_some_and(is_old) || seen.len() > MOST {
            seen.pop_front();
        }
    }

    /// What was seen in the picture at `pts_us` of `session`. None: it was not looked at, or not yet.
    pub fn of(&self, session: &Session, pts_us: i64) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest_first = seen.iter().rev();
        let found = if self.own_stream {
            let at = session.utc(pts_us);
            newest_first
                .find(|seen| seen.session.utc(seen.pts_us) <= at)
                .filter(|seen| at - seen.session.utc(seen.pts_us) <= HOLDS)
        } else {
            newest_first.find(|seen| seen.session.id == session.id && seen.pts_us == pts_us)
        };
        found.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn seen(session: &Arc<Session>, pts_us: i64) -> Seen {
        Seen { session: Arc::clone(session), pts_us, share: pts_us as f64 / 1e6, finding: Finding::default() }
    }

    #[test]
    fn a_picture_has_its_own_look_or_none_and_old_ones_go() {
        let (one, two) = (Arc::new(Session::new(1)), Arc::new(Session::new(2)));
        let looks = Looks::new(Duration::from_secs(2), false);
        looks.add(&[seen(&one, 0), seen(&one, 100_000)]);
        looks.add(&[seen(&two, 0)]);
        assert_eq!(looks.of(&one, 100_000).map(|seen| seen.share), Some(0.1));
        assert!(looks.of(&one, 50_000).is_none() && looks.of(&two, 100_000).is_none());
        looks.add(&[seen(&one, 2_050_000)]);
        assert!(looks.of(&one, 0).is_none() && looks.of(&one, 100_000).is_some());
    }

    #[test]
    fn of_another_stream_the_look_before_holds_for_half_a_second() {
        let now = clock::utc_now();
        let (main, own) = (Arc::new(Session::new(1)), Arc::new(Session::new(2)));
        main.observe(0, now.timestamp_micros());
        own.observe(5_000_000, now.timestamp_micros());
        let looks = Looks::new(Duration::from_secs(2), true);
        looks.add(&[seen(&own, 5_100_000), seen(&own, 5_200_000)]);
        let share = |pts_us| looks.of(&main, pts_us).map(|seen| seen.share);
        assert_eq!(
            [50_000, 150_000, 250_000, 650_000, 750_000].map(share),
            [None, Some(5.1), Some(5.2), Some(5.2), None]
        );
    }
}
