//! Ring arithmetic: what is kept, what is let go, where a cursor stands.
//!
//! One producer pushes, any number of cursors read. A cursor that was overtaken is told so and goes on at the
//! next keyframe; what it missed is the caller's to write down.

use std::collections::VecDeque;

/// What the ring has to know of an item.
pub trait RingItem {
    /// Memory the item holds.
    fn bytes(&self) -> u64;
    /// Decode time in microseconds; rises within a session.
    fn dts_us(&self) -> i64;
    /// Presentation time in microseconds.
    fn pts_us(&self) -> i64;
    /// The connection the item came by.
    fn session(&self) -> u64;
    /// Can decoding start here? Never true for audio.
    fn is_keyframe(&self) -> bool;
}

/// How much a ring keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBounds {
    /// Time before the newest item that stays, back to the keyframe before it: video of older sessions counts, what
    /// lies between sessions does not.
    pub keep_us: i64,
    /// Hard bound on memory.
    pub max_bytes: u64,
}

/// Items in the order of their arrival, each with a sequence number that never repeats.
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<T>,
    /// Sequence of `items[0]`.
    first_seq: u64,
    bytes: u64,
    bounds: RingBounds,
    /// Sessions that are held, and what brings their times to one that goes on from each to the next.
    sessions: VecDeque<(u64, i64)>,
}

/// What a cursor gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// The item at the cursor.
    Item(T),
    /// Nothing new yet.
    Empty,
    /// Items from the cursor up to `resume` (not included) are gone or cannot be decoded without them;
    /// `resume` is the next keyframe held, or the end of the ring.
    Overtaken { resume: u64 },
}

impl<T: RingItem + Clone> Ring<T> {
    pub fn new(bounds: RingBounds) -> Self {
        Ring { items: VecDeque::new(), first_seq: 0, bytes: 0, bounds, sessions: VecDeque::new() }
    }

    /// Appends an item, lets the oldest go, and returns the item's sequence number.
    pub fn push(&mut self, item: T) -> u64 {
        let seq = self.end();
        self.bytes += item.bytes();
        if self.sessions.back().is_none_or(|(session, _)| *session != item.session()) {
            let goes_on_at =
                self.items.back().map_or(item.dts_us(), |last| last.dts_us() + self.shift_us(last.session()));
            self.sessions.push_back((item.session(), goes_on_at - item.dts_us()));
        }
        self.items.push_back(item);
        self.evict_by_time();
        self.evict_by_bytes();
        seq
    }

    fn shift_us(&self, session: u64) -> i64 {
        self.sessions.iter().rev().find(|(held, _)| *held == session).map_or(0, |(_, shift_us)| *shift_us)
    }

    /// Lets whole GOPs go while the next keyframe is old enough to be the first. Where a camera comes and goes, as much
    /// of it is held as of one that stays.
    fn evict_by_time(&mut self) {
        let Some(newest) = self.items.back() else { return };
        let horizon = newest.dts_us() + self.shift_us(newest.session()) - self.bounds.keep_us;
        while let Some(next_key) = self.items.iter().skip(1).position(RingItem::is_keyframe).map(|i| i + 1) {
            let key = &self.items[next_key];
            if key.pts_us() + self.shift_us(key.session()) > horizon {
                break;
            }
            for _ in 0..next_key {
                self.pop_front();
            }
        }
    }

    fn evict_by_bytes(&mut self) {
        while self.bytes > self.bounds.max_bytes && self.items.len() > 1 {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(item) = self.items.pop_front() {
            self.bytes -= item.bytes();
            self.first_seq += 1;
            if self.items.front().is_some_and(|next| next.session() != item.session()) {
                self.sessions.pop_front();
            }
        }
    }

    /// Sequence the next pushed item will get.
    pub fn end(&self) -> u64 {
        self.first_seq + self.items.len() as u64
    }

    /// What a reader at `seq` has before it: decode time in microseconds up to `next_us`, and bytes held.
    pub fn ahead_of(&self, seq: u64, next_us: i64) -> (i64, u64) {
        let held = usize::try_from(self.end().saturating_sub(seq)).unwrap_or(usize::MAX).min(self.items.len());
        let ahead = self.items.range(self.items.len() - held..);
        let since_us = ahead.clone().next().map_or(next_us, RingItem::dts_us);
        (next_us.saturating_sub(since_us), ahead.map(RingItem::bytes).sum())
    }

    /// Sequence of the oldest item held (equal to `end` when empty).
    pub fn start(&self) -> u64 {
        self.first_seq
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn get(&self, seq: u64) -> Option<&T> {
        self.items.get(usize::try_from(seq.checked_sub(self.first_seq)?).ok()?)
    }

    pub fn newest(&self) -> Option<&T> {
        self.items.back()
    }

    /// Reads at `seq`.
    pub fn read(&self, seq: u64) -> Read<T> {
        if seq < self.first_seq {
            return Read::Overtaken { resume: self.next_keyframe(self.first_seq).unwrap_or_else(|| self.end()) };
        }
        match self.get(seq) {
            Some(item) => Read::Item(item.clone()),
            None => Read::Empty,
        }
    }

    /// The first keyframe at or after `seq`.
    pub fn next_keyframe(&self, seq: u64) -> Option<u64> {
        let skip = usize::try_from(seq.saturating_sub(self.first_seq)).ok()?;
        let at = self.items.iter().skip(skip).position(RingItem::is_keyframe)?;
        Some(self.first_seq + (skip + at) as u64)
    }

    /// The newest keyframe held.
    pub fn newest_keyframe(&self) -> Option<u64> {
        let at = self.items.iter().rposition(RingItem::is_keyframe)?;
        Some(self.first_seq + at as u64)
    }

    /// Where a recording that wants everything from `pts_us` of `session` starts: the last keyframe of that
    /// session at or before it, else the session's oldest keyframe held.
    pub fn start_for(&self, session: u64, pts_us: i64) -> Option<u64> {
        let mut oldest = None;
        for (at, item) in self.items.iter().enumerate().rev() {
            if item.session() == session && item.is_keyframe() {
                if item.pts_us() <= pts_us {
                    return Some(self.first_seq + at as u64);
                }
                oldest = Some(self.first_seq + at as u64);
            } else if item.session() < session {
                break;
            }
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item {
        bytes: u64,
        us: i64,
        session: u64,
        keyframe: bool,
    }

    impl RingItem for Item {
        fn bytes(&self) -> u64 {
            self.bytes
        }

        fn dts_us(&self) -> i64 {
            self.us
        }

        fn pts_us(&self) -> i64 {
            self.us
        }

        fn session(&self) -> u64 {
            self.session
        }

        fn is_keyframe(&self) -> bool {
            self.keyframe
        }
    }

    /// Items 100 ms apart, a keyframe every `gop`; a new session, with times from 0, after each of `lengths`.
    fn items(lengths: &[usize], gop: usize) -> Vec<Item> {
        let of_session = |(session, length): (usize, &usize)| {
            let item = move |n: usize| Item {
                bytes: 1000,
                us: n as i64 * 100_000,
                session: session as u64 + 1,
                keyframe: n.is_multiple_of(gop),
            };
            (0..*length).map(item).collect::<Vec<_>>()
        };
        lengths.iter().enumerate().flat_map(of_session).collect()
    }

    const WIDE: RingBounds = RingBounds { keep_us: i64::MAX / 4, max_bytes: u64::MAX };

    #[test]
    fn a_recording_starts_at_the_keyframe_before_its_time() {
        let mut ring = Ring::new(WIDE);
        items(&[50], 20).into_iter().for_each(|item| {
            ring.push(item);
        });
        assert_eq!(ring.start_for(1, 4_500_000), Some(40));
        assert_eq!(ring.start_for(1, 4_000_000), Some(40));
        assert_eq!(ring.start_for(1, 3_999_999), Some(20));
        assert_eq!(ring.start_for(1, -1), Some(0), "what is not held any more starts at the oldest keyframe");
        assert_eq!(ring.start_for(2, 0), None, "no such session");
    }

    #[test]
    fn of_a_camera_that_comes_and_goes_no_more_is_held_than_of_one_that_stays() {
        let mut ring = Ring::new(RingBounds { keep_us: 4_000_000, max_bytes: u64::MAX });
        let mut most = 0;
        for item in items(&[15; 40], 5) {
            ring.push(item);
            most = most.max(ring.end() - ring.start());
        }
        assert!((41..=50).contains(&most), "{most} items of 100 ms");
        assert!(ring.sessions.len() <= 4);
    }

    #[test]
    fn what_a_reader_has_before_it_is_counted() {
        let mut ring = Ring::new(RingBounds { keep_us: 1_000_000, max_bytes: u64::MAX });
        assert_eq!(ring.ahead_of(0, 700_000), (0, 0));
        items(&[50], 5).into_iter().for_each(|item| {
            ring.push(item);
        });
        assert_eq!(ring.ahead_of(50, 5_000_000), (0, 0), "it has read all");
        assert_eq!(ring.ahead_of(48, 5_000_000), (200_000, 2000));
        let held = ring.end() - ring.start();
        assert_eq!(ring.ahead_of(0, 5_000_000), (held as i64 * 100_000, held * 1000), "no more than is held");
    }

    proptest! {
        #[test]
        fn bounds_hold_and_what_must_stay_stays(
            lengths in prop::collection::vec(1usize..80, 1..4),
            gop in 1usize..40,
            keep_s in 0i64..10,
            max_items in 1u64..200,
        ) {
            let bounds = RingBounds { keep_us: keep_s * 1_000_000, max_bytes: max_items * 1000 };
            let mut ring = Ring::new(bounds);
            let all = items(&lengths, gop);
            for (seq, item) in all.iter().enumerate() {
                prop_assert_eq!(ring.push(item.clone()), seq as u64);
                prop_assert!(ring.bytes() <= bounds.max_bytes);
                // A recording that wants the time that is kept finds its keyframe, unless bytes ran out.
                let from_us = item.us - bounds.keep_us;
                let start = ring.start_for(item.session, from_us);
                if ring.bytes() + 1000 <= bounds.max_bytes && item.us >= bounds.keep_us {
                    let start = start.expect("a keyframe is held");
                    prop_assert!(all[start as usize].us <= from_us);
                    prop_assert!(all[start as usize].keyframe);
                }
            }
        }

        #[test]
        fn a_cursor_meets_every_item_once_in_order_or_is_told_what_it_missed(
            lengths in prop::collection::vec(1usize..60, 1..4),
            gop in 1usize..30,
            keep_s in 0i64..5,
            reads in prop::collection::vec(0usize..12, 1..200),
        ) {
            let mut ring = Ring::new(RingBounds { keep_us: keep_s * 1_000_000, max_bytes: 60_000 });
            let all = items(&lengths, gop);
            let (mut cursor, mut met, mut missed) = (0u64, 0u64, 0u64);
            let mut reads = reads.into_iter().cycle();
            for item in &all {
                ring.push(item.clone());
                for _ in 0..reads.next().unwrap_or(0) {
                    match ring.read(cursor) {
                        Read::Item(item) => {
                            prop_assert_eq!(&item, &all[cursor as usize]);
                            (cursor, met) = (cursor + 1, met + 1);
                        }
                        Read::Empty => {
                            prop_assert_eq!(cursor, ring.end());
                            break;
                        }
                        Read::Overtaken { resume } => {
                            prop_assert!(resume > cursor && resume <= ring.end());
                            prop_assert!(resume == ring.end() || all[resume as usize].keyframe);
                            missed += resume - cursor;
                            cursor = resume;
                        }
                    }
                }
            }
            prop_assert_eq!(met + missed, cursor);
        }
    }
}
