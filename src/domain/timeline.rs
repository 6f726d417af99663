//! Timestamps of one track, made fit for a file: decode times rise strictly, jumps are bridged.
//!
//! Differences of the source's own ticks are kept exactly; only what cannot be stored is changed. A jump is
//! told from a real pause by the arrival: a camera that was silent for a minute may well step a minute.

/// A step back by more than this, or forward by more than [`FORWARD_US`] beyond what arrival explains, is a jump.
const BACKWARD_US: i64 = 1_000_000;
const FORWARD_US: i64 = 10_000_000;

/// The timestamps of one track of one session.
#[derive(Clone, Debug)]
pub struct Timeline {
    timescale: i64,
    /// Added to what the source says, since the last jump.
    offset: i64,
    /// Ticks from one packet to the next where the source does not say.
    nominal: i64,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    dts: i64,
    arrival_us: i64,
}

/// What a packet is stored with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub dts: i64,
    pub pts: i64,
    /// The source's clock jumped before this packet, by so many microseconds, and the jump was bridged.
    pub jumped_us: Option<i64>,
}

impl Timeline {
    /// `nominal` is the usual number of ticks from one packet to the next.
    pub fn new(timescale: u32, nominal: i64) -> Self {
        Timeline { timescale: i64::from(timescale.max(1)), offset: 0, nominal: nominal.max(1), last: None }
    }

    /// Ticks from one packet to the next, as last seen.
    pub fn nominal(&self) -> i64 {
        self.nominal
    }

    /// Has a packet been stamped?
    pub fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    /// Stamps the next packet. `dts` and `pts` are the source's; where both are missing the packet follows the
    /// last one at the usual distance. `arrival_us` is any clock that rises by real time; for a file it is
    /// None, and then every long step counts as a jump.
    pub fn stamp(&mut self, dts: Option<i64>, pts: Option<i64>, arrival_us: Option<i64>) -> Stamp {
        let Some(last) = self.last else {
            let first = dts.or(pts).unwrap_or(0);
            self.last = Some(Last { dts: first, arrival_us: arrival_us.unwrap_or(0) });
            return Stamp { dts: first, pts: pts.unwrap_or(first).max(first), jumped_us: None };
        };
        let expected = last.dts.saturating_add(self.nominal);
        let said = dts.or(pts).map_or(expected, |ticks| ticks.saturating_add(self.offset));
        let step_us = self.to_us(said.saturating_sub(last.dts));
        let waited_us = arrival_us.map_or(0, |arrival| arrival - last.arrival_us);
        let mut jumped_us = None;
        let mut stored = said;
        if step_us < -BACKWARD_US || step_us > FORWARD_US.saturating_add(waited_us) {
            let bridge = self.to_ticks(waited_us).max(self.nominal);
            stored = last.dts.saturating_add(bridge);
            self.offset = self.offset.saturating_add(stored.saturating_sub(said));
            jumped_us = Some(step_us);
        } else if stored <= last.dts {
            // A burst with one time has to rise; a clock that stands still or went back while time passed has
            // to go on.
            let waited = self.to_ticks(waited_us);
            stored = last.dts.saturating_add(if waited >= self.nominal / 2 { waited.max(1) } else { 1 });
            if waited >= self.nominal / 2 && last.dts.saturating_sub(said) > self.nominal.saturating_mul(2) {
                self.offset = self.offset.saturating_add(stored.saturating_sub(said));
                jumped_us = Some(step_us);
            }
        } else if dts.is_some() && step_us < BACKWARD_US {
            self.nominal = stored - last.dts;
        }
        self.last = Some(Last { dts: stored, arrival_us: arrival_us.unwrap_or(0) });
        let shown = match (dts, pts) {
            (_, Some(pts)) => pts.saturating_add(self.offset),
            _ => stored,
        };
        // No codec shows a picture more than a few seconds after it is decoded: a wilder value is damage.
        let latest = stored.saturating_add(self.to_ticks(FORWARD_US));
        Stamp { dts: stored, pts: if shown > latest { stored } else { shown.max(stored) }, jumped_us }
    }

    fn to_us(&self, ticks: i64) -> i64 {
        (i128::from(ticks) * 1_000_000 / i128::from(self.timescale)).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    fn to_ticks(&self, us: i64) -> i64 {
        (i128::from(us) * i128::from(self.timescale) / 1_000_000).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamped(timeline: &mut Timeline, dts: i64, arrival_us: i64) -> Stamp {
        timeline.stamp(Some(dts), Some(dts), Some(arrival_us))
    }

    #[test]
    fn an_orderly_clock_is_kept_exactly() {
        let mut timeline = Timeline::new(90_000, 6000);
        let steps = [500, 6506, 12512, 18500, 24521];
        for (n, dts) in steps.into_iter().enumerate() {
            let stamp = stamped(&mut timeline, dts, n as i64 * 66_667);
            assert_eq!((stamp.dts, stamp.jumped_us), (dts, None));
        }
    }

    #[test]
    fn a_jump_back_is_bridged_by_the_time_that_passed() {
        let mut timeline = Timeline::new(1000, 40);
        stamped(&mut timeline, 50_000, 0);
        let stamp = stamped(&mut timeline, 100, 40_000);
        assert_eq!((stamp.dts, stamp.jumped_us), (50_040, Some(-49_900_000)));
        assert_eq!(stamped(&mut timeline, 140, 80_000).dts, 50_080);
    }

    #[test]
    fn a_real_pause_is_no_jump() {
        let mut timeline = Timeline::new(1000, 40);
        stamped(&mut timeline, 0, 0);
        let stamp = stamped(&mut timeline, 60_000, 60_000_000);
        assert_eq!((stamp.dts, stamp.jumped_us), (60_000, None));
    }

    #[test]
    fn repeated_times_still_rise() {
        let mut timeline = Timeline::new(1000, 40);
        let all: Vec<i64> = [0, 0, 0, 40].into_iter().map(|dts| stamped(&mut timeline, dts, 0).dts).collect();
        assert_eq!(all, [0, 1, 2, 40]);
    }

    #[test]
    fn a_clock_that_stands_still_is_carried_on_by_the_arrival() {
        let mut timeline = Timeline::new(1000, 40);
        for frame in 0..10 {
            stamped(&mut timeline, frame * 40, frame * 40_000);
        }
        let stuck: Vec<i64> = (10..60).map(|frame| stamped(&mut timeline, 360, frame * 40_000).dts).collect();
        assert_eq!(stuck, (10..60).map(|frame| frame * 40).collect::<Vec<_>>());
    }

    #[test]
    fn one_time_given_twice_shifts_nothing() {
        let mut timeline = Timeline::new(1000, 40);
        let said = [0, 40, 40, 120, 160];
        let all = said.iter().enumerate().map(|(at, dts)| stamped(&mut timeline, *dts, at as i64 * 40_000).dts);
        assert_eq!(all.collect::<Vec<_>>(), [0, 40, 80, 120, 160]);
    }

    #[test]
    fn a_small_step_back_is_bridged_too() {
        let mut timeline = Timeline::new(1000, 40);
        let said = [1000, 1040, 740, 780, 820];
        let all = said.iter().enumerate().map(|(at, dts)| stamped(&mut timeline, *dts, at as i64 * 40_000).dts);
        assert_eq!(all.collect::<Vec<_>>(), [1000, 1040, 1080, 1120, 1160]);
    }

    #[test]
    fn missing_times_follow_at_the_usual_distance() {
        let mut timeline = Timeline::new(1000, 40);
        stamped(&mut timeline, 1000, 0);
        stamped(&mut timeline, 1050, 50_000);
        assert_eq!(timeline.stamp(None, None, Some(100_000)).dts, 1100);
    }

    proptest! {
        #[test]
        fn whatever_comes_decode_times_rise_and_pictures_follow(
            packets in prop::collection::vec((any::<Option<i64>>(), any::<Option<i64>>(), 0i64..100_000_000), 1..60),
        ) {
            // Within ±2^61: the intake takes no more from a source.
            let tame = |ticks: Option<i64>| ticks.map(|t| t >> 3);
            let mut timeline = Timeline::new(90_000, 3000);
            let (mut last, mut arrival) = (None, 0);
            for (dts, pts, wait) in packets {
                arrival += wait;
                let stamp = timeline.stamp(tame(dts), tame(pts), Some(arrival));
                if let Some(last) = last {
                    prop_assert!(stamp.dts > last);
                }
                prop_assert!(stamp.pts >= stamp.dts);
                last = Some(stamp.dts);
            }
        }
    }
}
