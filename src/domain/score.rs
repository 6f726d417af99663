//! The motion score: how much of the picture changed, second by second, in one byte.
//!
//! Belongs here: the scale, a minute of it, how a minute is packed, and how a long time is shown in few points. Does
//! not belong here: how change is measured (`media::detect`), and where minutes are kept (`archive::index`).

use serde::{Deserialize, Serialize};

/// The largest changed share of the picture in a second, on a logarithmic scale: 0 is no change, and the byte `b` from
/// 1 to 254 is the share `10^(6 * (b - 1) / 253 - 6)`, from a millionth of the picture to all of it, in steps of 5.6 %.
/// 255 is a second in which nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(u8);

const DECADES: f64 = 6.0;
const STEPS: f64 = 253.0;

impl Score {
    pub const UNSEEN: Score = Score(255);

    /// Of a changed share of the picture, 0 to 1.
    pub fn of(share: f64) -> Self {
        if share > 0.0 {
            let step = ((share.log10() + DECADES) / DECADES * STEPS).round();
            // A float becomes the nearest number that a byte can hold.
            Score(1 + step.clamp(0.0, STEPS) as u8)
        } else {
            Score(0)
        }
    }

    pub fn of_byte(byte: u8) -> Self {
        Score(byte)
    }

    pub fn byte(self) -> u8 {
        self.0
    }

    /// The changed share, 0 to 1; None where nobody looked.
    pub fn share(self) -> Option<f64> {
        match self.0 {
            255 => None,
            0 => Some(0.0),
            byte => Some(10f64.powf(f64::from(byte - 1) / STEPS * DECADES - DECADES)),
        }
    }

    /// Like [`Score::share`], to as many digits as the scale has steps for.
    pub fn short_share(self) -> Option<f64> {
        self.share().map(|share| (share * 1e8).round() / 1e8)
    }

    /// The larger one; not to have looked is less than to have seen nothing.
    pub fn max(self, other: Score) -> Score {
        if self == Score::UNSEEN || (other != Score::UNSEEN && other.0 > self.0) { other } else { self }
    }
}

/// Seconds of a minute.
pub const SECONDS: usize = 60;

/// The scores of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute([u8; SECONDS]);

impl Default for Minute {
    fn default() -> Self {
        Minute([Score::UNSEEN.0; SECONDS])
    }
}

impl Minute {
    /// Notes a score of this second of the minute.
    pub fn see(&mut self, second: usize, score: Score) {
        if let Some(known) = self.0.get_mut(second) {
            *known = Score(*known).max(score).0;
        }
    }

    /// Takes what another one saw of the same minute.
    pub fn merge(&mut self, other: &Minute) {
        other.scores().enumerate().for_each(|(second, score)| self.see(second, score));
    }

    pub fn scores(&self) -> impl Iterator<Item = Score> {
        self.0.iter().map(|byte| Score(*byte))
    }

    /// In few bytes: pairs of a length and a byte that is repeated so often, or the 60 bytes where that is shorter.
    pub fn pack(&self) -> Vec<u8> {
        let mut pairs: Vec<u8> = Vec::new();
        for byte in self.0 {
            match pairs[..] {
                [.., ref mut length, last] if last == byte => *length += 1,
                _ => pairs.extend([1, byte]),
            }
        }
        if pairs.len() < SECONDS { pairs } else { self.0.to_vec() }
    }

    /// What [`Minute::pack`] made; None if it did not make it.
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        if let Ok(bytes) = <[u8; SECONDS]>::try_from(packed) {
            return Some(Minute(bytes));
        }
        let pairs = packed.chunks(2);
        let bytes = pairs.map(|pair| match pair {
            [length, byte] => Some(std::iter::repeat_n(*byte, usize::from(*length))),
            _ => None,
        });
        let bytes: Vec<u8> = bytes.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        bytes.try_into().ok().map(Minute)
    }
}

/// The number of the minute that a time is in, and the second of it. Both count from 1970.
pub fn place_of(second: i64) -> (i64, usize) {
    (second.div_euclid(SECONDS as i64), second.rem_euclid(SECONDS as i64) as usize)
}

/// Scores over a time, each the largest of `step_s` seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The first point's first second, since 1970: a multiple of the step.
    pub from_s: i64,
    pub step_s: i64,
    pub points: Vec<Score>,
}

/// Lengths of a step that a person can read off a scale.
const STEPS_S: [i64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

impl Series {
    /// Empty, from one second to another (left out), in at most `most` points and one more.
    pub fn over(from_s: i64, to_s: i64, most: usize) -> Self {
        let length_s = to_s.saturating_sub(from_s).max(1);
        let least_s = length_s.saturating_add(most as i64 - 1) / (most as i64).max(1);
        let longest_s = STEPS_S[STEPS_S.len() - 1];
        let round_up = || least_s.saturating_add(longest_s - 1) / longest_s * longest_s;
        let step_s = STEPS_S.into_iter().find(|step| *step >= least_s).unwrap_or_else(round_up);
        let from_s = from_s.div_euclid(step_s) * step_s;
        let count = (to_s.saturating_sub(from_s).max(1) + step_s - 1) / step_s;
        Series { from_s, step_s, points: vec![Score::UNSEEN; count as usize] }
    }

    /// Takes a minute, whose number this is.
    pub fn take(&mut self, minute: i64, scores: &Minute) {
        let first_s = minute * SECONDS as i64 - self.from_s;
        for (second, score) in scores.scores().enumerate() {
            let at = (first_s + second as i64).div_euclid(self.step_s);
            if let Some(point) = usize::try_from(at).ok().and_then(|at| self.points.get_mut(at)) {
                *point = point.max(score);
            }
        }
    }

    /// The second in the middle of the step with the largest score, the first of several; None where nobody looked.
    pub fn peak_s(&self) -> Option<i64> {
        let seen = self.points.iter().enumerate().rev().filter_map(|(at, score)| Some((at, score.share()?)));
        let (at, _) = seen.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        Some(self.from_s + at as i64 * self.step_s + self.step_s / 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scale_is_as_documented() {
        assert_eq!(Score::of(0.0).byte(), 0);
        assert_eq!(Score::of(1e-6).byte(), 1);
        assert_eq!(Score::of(1e-9).byte(), 1, "any change is more than none");
        assert_eq!(Score::of(1.0).byte(), 254);
        assert_eq!(Score::of(7.0).byte(), 254);
        assert_eq!(Score::of(f64::NAN).byte(), 0);
        assert_eq!(Score::of_byte(254).share(), Some(1.0));
        assert_eq!(Score::of_byte(255).share(), None);
        assert!((Score::of_byte(1).share().unwrap() - 1e-6).abs() < 1e-12);
    }

    #[test]
    fn not_to_have_looked_is_less_than_nothing() {
        assert_eq!(Score::UNSEEN.max(Score(0)), Score(0));
        assert_eq!(Score(0).max(Score::UNSEEN), Score(0));
        assert_eq!(Score(3).max(Score(2)), Score(3));
    }

    #[test]
    fn a_quiet_minute_takes_two_bytes() {
        let mut minute = Minute::default();
        (0..60).for_each(|second| minute.see(second, Score(0)));
        assert_eq!(minute.pack(), [60, 0]);
        minute.see(7, Score(9));
        assert_eq!(minute.pack(), [7, 0, 1, 9, 52, 0]);
        minute.see(99, Score(9));
    }

    #[test]
    fn steps_are_round_and_points_few() {
        let shape = |from, to| {
            let series = Series::over(from, to, 2000);
            (series.from_s, series.step_s, series.points.len())
        };
        assert_eq!(shape(100, 1100), (100, 1, 1000));
        assert_eq!(shape(7, 3607), (6, 2, 1801));
        assert_eq!(shape(86_400, 2 * 86_400), (86_400, 60, 1440));
        assert_eq!(shape(50, 50), (50, 1, 1));
        let (_, step, points) = shape(0, 50 * 365 * 86_400);
        assert!(step % 7200 == 0 && points <= 2001, "{step} {points}");
        // All that a time can be.
        assert!(shape(-8_400_000_000_000, 8_300_000_000_000).2 <= 2001);
    }

    #[test]
    fn the_peak_is_the_first_of_the_largest() {
        let peak = |bytes: &[u8]| {
            let points = bytes.iter().map(|byte| Score::of_byte(*byte)).collect();
            Series { from_s: 100, step_s: 1, points }.peak_s()
        };
        assert_eq!(peak(&[255, 3, 9, 255, 9, 0]), Some(102));
        assert_eq!(peak(&[255, 0, 255]), Some(101));
        assert_eq!((peak(&[255]), peak(&[])), (None, None));
    }

    proptest! {
        #[test]
        fn a_byte_is_near_its_share(share in 1e-6f64..1.0) {
            let back = Score::of(share).share().unwrap();
            prop_assert!((back / share).log10().abs() <= DECADES / STEPS / 2.0 + 1e-9);
        }

        #[test]
        fn a_minute_is_unpacked_as_it_was(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 60)) {
            let minute = Minute(bytes.try_into().unwrap());
            let packed = minute.pack();
            prop_assert!(packed.len() <= SECONDS);
            prop_assert_eq!(Minute::unpack(&packed), Some(minute));
        }

        #[test]
        fn noise_is_no_minute_or_a_whole_one(bytes in prop::collection::vec(any::<u8>(), 0..130)) {
            let _ = Minute::unpack(&bytes);
        }

        /// Each point is the largest of its seconds, whatever the minutes and the step.
        #[test]
        fn a_series_has_the_largest_of_each_step(
            seen in prop::collection::vec((0i64..6000, 0u8..=254), 0..200), from in 0i64..5000, length in 1i64..5000, most in 1usize..300,
        ) {
            let mut minutes = std::collections::BTreeMap::<i64, Minute>::new();
            for (second, byte) in &seen {
                let (minute, second) = place_of(*second);
                minutes.entry(minute).or_default().see(second, Score(*byte));
            }
            let mut series = Series::over(from, from + length, most);
            minutes.iter().for_each(|(minute, scores)| series.take(*minute, scores));
            prop_assert!(series.points.len() <= most + 1);
            for (at, point) in series.points.iter().enumerate() {
                let first = series.from_s + at as i64 * series.step_s;
                let expected = seen.iter().filter(|(second, _)| (first..first + series.step_s).contains(second)).map(|(_, byte)| *byte).max();
                prop_assert_eq!(point.byte(), expected.unwrap_or(255));
            }
        }
    }
}
