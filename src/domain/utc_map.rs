//! A session's map from stream time to UTC, by the lower envelope of (arrival - dts).
//!
//! Probing and camera bursts hand packets over late, never early: the smallest difference seen is the nearest
//! to the truth. In a session's first seconds the map follows a smaller difference at once; later it is slewed
//! by at most 500 ppm, so that the time of rows never jumps. The envelope is the minimum over the last one to
//! two windows, so that a camera whose clock is slow is followed too.

/// For so long after the first arrival the map may still jump down. Not a length of stream time: a camera may
/// send a whole GOP of many seconds at once.
const SETTLING_US: i64 = 5_000_000;
/// Length of one window of the envelope.
const WINDOW_US: i64 = 60_000_000;
/// Most that the map moves, in microseconds per second of stream time.
const SLEW_PPM: i64 = 500;

#[derive(Clone, Debug, Default)]
pub struct UtcMap {
    state: Option<State>,
}

#[derive(Clone, Debug)]
struct State {
    first_arrival_us: i64,
    settled: bool,
    last_dts_us: i64,
    /// UTC - stream time, as mapped now.
    offset_us: i64,
    window_start_us: i64,
    window_min_us: i64,
    previous_min_us: i64,
}

impl UtcMap {
    /// A packet of `dts_us` was handed over at `arrival_us` (UTC).
    pub fn observe(&mut self, dts_us: i64, arrival_us: i64) {
        let difference = arrival_us - dts_us;
        let Some(state) = &mut self.state else {
            self.state = Some(State {
                first_arrival_us: arrival_us,
                settled: false,
                last_dts_us: dts_us,
                offset_us: difference,
                window_start_us: dts_us,
                window_min_us: difference,
                previous_min_us: difference,
            });
            return;
        };
        if dts_us - state.window_start_us > WINDOW_US {
            state.previous_min_us = state.window_min_us;
            state.window_min_us = difference;
            state.window_start_us = dts_us;
        }
        state.window_min_us = state.window_min_us.min(difference);
        let envelope = state.window_min_us.min(state.previous_min_us);
        let elapsed = (dts_us - state.last_dts_us).max(0);
        state.last_dts_us = state.last_dts_us.max(dts_us);
        // For good: the wall clock may be set back.
        state.settled |= arrival_us - state.first_arrival_us > SETTLING_US;
        if !state.settled {
            state.offset_us = state.offset_us.min(envelope);
        } else {
            let step = elapsed * SLEW_PPM / 1_000_000;
            state.offset_us += (envelope - state.offset_us).clamp(-step, step);
        }
    }

    /// The UTC of a stream time, in microseconds since 1970; 0 before the first observation.
    pub fn utc_us(&self, pts_us: i64) -> i64 {
        self.state.as_ref().map_or(0, |state| pts_us + state.offset_us)
    }

    /// The stream time of a UTC: the inverse of [`UtcMap::utc_us`].
    pub fn pts_us(&self, utc_us: i64) -> i64 {
        self.state.as_ref().map_or(0, |state| utc_us - state.offset_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: i64 = 1_700_000_000_000_000;

    #[test]
    fn a_burst_after_connecting_does_not_shift_the_time() {
        let mut map = UtcMap::default();
        // 2 s of packets handed over at once, then in real time.
        for frame in 0..30 {
            map.observe(frame * 66_667, UTC + 2_000_000);
        }
        for frame in 30..90 {
            map.observe(frame * 66_667, UTC + frame * 66_667);
        }
        assert!((map.utc_us(1_000_000) - (UTC + 1_000_000)).abs() < 70_000);
    }

    #[test]
    fn a_burst_may_be_a_long_gop() {
        let mut map = UtcMap::default();
        for frame in 0..120 {
            map.observe(frame * 100_000, UTC + 12_000_000);
        }
        map.observe(12_000_000, UTC + 12_000_000);
        assert_eq!(map.utc_us(0), UTC);
    }

    #[test]
    fn later_it_slews_and_never_jumps() {
        let mut map = UtcMap::default();
        let mut last = i64::MIN;
        for second in 0..600 {
            let dts = second * 1_000_000;
            // The wall clock steps an hour back in the middle.
            let step = if second > 300 { -3_600_000_000 } else { 0 };
            map.observe(dts, UTC + dts + step);
            let now = map.utc_us(dts);
            assert!(now > last);
            last = now;
        }
    }

    #[test]
    fn a_slow_camera_clock_is_followed() {
        let mut map = UtcMap::default();
        for second in 0..3600_i64 {
            let dts = second * 1_000_000;
            // The camera loses 100 ppm.
            map.observe(dts, UTC + dts + second * 100);
        }
        let error = map.utc_us(3_599_000_000) - (UTC + 3_599_000_000 + 359_900);
        assert!(error.abs() < 20_000, "{error}");
    }
}
