//! What is missing of a camera's time: since when and why, over the lives of its connections, its actor and the process.
//!
//! Whoever should record and does not has one stretch that goes on ([`Missing`]), and writes it down when it ends with
//! the first picture that is stored again. What a life of the process left open goes on in the next
//! ([`after_last_life`], [`known_to`]). So recordings and gaps together are the whole time.

use chrono::{DateTime, TimeDelta, Utc};

use super::camera::GapCause;
use super::recording::Gap;

/// A continuous recording that ended so shortly before the process did ended because of it.
const ENDED_WITH_IT: TimeDelta = TimeDelta::seconds(10);
/// A recording may end so much after the gap that follows it began.
const LAST_PICTURES: TimeDelta = TimeDelta::seconds(1);
/// That all is well is noted so often, at least.
const NOTED_WITHIN: TimeDelta = TimeDelta::seconds(5);

/// A gap that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGap {
    pub since: DateTime<Utc>,
    pub cause: GapCause,
}

impl OpenGap {
    /// As a row of `camera`, once it is over. None: nothing was missing.
    pub fn ended(self, camera: &str, end: DateTime<Utc>) -> Option<Gap> {
        let OpenGap { since: start, cause } = self;
        (start < end).then(|| Gap { camera: camera.to_owned(), start, end: Some(end), cause })
    }
}

/// What is missing now, if anything is.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    open: Option<OpenGap>,
}

impl Missing {
    pub fn new(open: Option<OpenGap>) -> Self {
        Missing { open }
    }

    /// The gap that goes on.
    pub fn gap(&self) -> Option<OpenGap> {
        self.open
    }

    /// Nothing is stored from `since` on. Where something is missing already, that goes on.
    pub fn begins(&mut self, since: DateTime<Utc>, cause: GapCause) {
        self.open.get_or_insert(OpenGap { since, cause });
    }

    /// The cause turns out to be another.
    pub fn is_because_of(&mut self, cause: GapCause) {
        if let Some(open) = &mut self.open {
            open.cause = cause;
        }
    }

    /// Something is stored again from `end` on: the gap to write down for `camera`.
    pub fn ends(&mut self, camera: &str, end: DateTime<Utc>) -> Option<Gap> {
        self.open.take()?.ended(camera, end)
    }
}

/// What a life of the process left of a camera when it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remains {
    /// Was missing already.
    pub gap: Option<OpenGap>,
    /// Start and end of what was being recorded, as far as it is there.
    pub recorded: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// What is missing since the last life of the process, and until when what was missing before it was: None where that
/// is the same gap and goes on. `covered_to` and `alive_to`: see [`known_to`].
pub fn after_last_life(
    remains: Remains,
    covered_to: Option<DateTime<Utc>>,
    alive_to: Option<DateTime<Utc>>,
) -> Option<(OpenGap, Option<DateTime<Utc>>)> {
    let down = |since| OpenGap { since, cause: GapCause::Down };
    match (remains.gap, remains.recorded) {
        (None, None) => None,
        (None, Some((_, end))) => Some((down(end), None)),
        (Some(gap), None) => {
            // Nothing was well any more when it began: the disk did not take what had been missing before. Whether the
            // camera records continuously is not known; if not, its gap begins some seconds too early at worst.
            let was_well = alive_to.is_none_or(|alive_to| alive_to + NOTED_WITHIN >= gap.since);
            let known = known_to(covered_to, alive_to, true).filter(|_| !was_well);
            Some((OpenGap { since: known.unwrap_or(gap.since).min(gap.since), ..gap }, None))
        }
        // The camera was back, and the gap's end was not written down any more.
        (Some(gap), Some((start, end))) if start > gap.since => Some((down(end), Some(start))),
        // Its recording had not ended yet when the gap began; of its last pictures some went with the process. Or the
        // camera was back, and what it sent first was older than the gap.
        (Some(gap), Some((_, end))) => {
            let is_back = end > gap.since + LAST_PICTURES;
            Some((if is_back { down(end) } else { OpenGap { since: end, ..gap } }, None))
        }
    }
}

/// Up to when it is known what became of a camera's time in the last life of the process, which left nothing open of
/// it: it had nothing to record when that ended, or the end came just between. `covered_to`: the end of its last
/// recording, or of its last gap that is over. `alive_to`: when that life noted for the last time that all is
/// well: what it had told by then is known.
/// None: the camera is new, or too little is known.
pub fn known_to(
    covered_to: Option<DateTime<Utc>>,
    alive_to: Option<DateTime<Utc>>,
    is_continuous: bool,
) -> Option<DateTime<Utc>> {
    let covered_to = covered_to?;
    match alive_to {
        Some(alive_to) if is_continuous && covered_to + ENDED_WITH_IT >= alive_to => Some(covered_to),
        Some(alive_to) => Some(alive_to.max(covered_to)),
        None => is_continuous.then_some(covered_to),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn what_is_missing_already_goes_on_and_no_time_is_no_gap() {
        let mut missing = Missing::default();
        assert_eq!(missing.ends("yard", at(1)), None);
        missing.begins(at(10), GapCause::Disconnected);
        missing.begins(at(12), GapCause::Crash);
        let gap = Gap { camera: "yard".into(), start: at(10), end: Some(at(15)), cause: GapCause::Disconnected };
        assert_eq!(missing.ends("yard", at(15)), Some(gap));
        missing.begins(at(20), GapCause::Reload);
        assert_eq!((missing.ends("yard", at(20)), missing.gap()), (None, None));
    }

    #[test]
    fn who_had_nothing_open_at_the_end_misses_what_came_after_it() {
        let known = |covered: Option<i64>, alive: Option<i64>, is_continuous| {
            known_to(covered.map(at), alive.map(at), is_continuous)
        };
        assert_eq!(known(None, Some(100), true), None, "a new camera");
        assert_eq!(known(Some(98), Some(100), true), Some(at(98)), "its file had just ended");
        assert_eq!(known(Some(98), Some(100), false), Some(at(100)), "nothing moved");
        assert_eq!(known(Some(40), Some(100), true), Some(at(100)), "it was off");
        assert_eq!(known(Some(103), Some(100), true), Some(at(103)), "it wrote after the last note");
        assert_eq!(known(Some(98), None, true), Some(at(98)));
        assert_eq!(known(Some(98), None, false), None);
    }

    #[test]
    fn what_was_missing_at_the_end_goes_on_and_what_was_recorded_ends() {
        let gap = |since| OpenGap { since: at(since), cause: GapCause::Disconnected };
        let down = |since| OpenGap { since: at(since), cause: GapCause::Down };
        let after = |gap, recorded: Option<(i64, i64)>, alive: i64| {
            let recorded = recorded.map(|(start, end)| (at(start), at(end)));
            after_last_life(Remains { gap, recorded }, Some(at(95)), Some(at(alive)))
        };
        assert_eq!(after(None, None, 100), None);
        assert_eq!(after(None, Some((50, 90)), 100), Some((down(90), None)));
        assert_eq!(after(Some(gap(50)), None, 50), Some((gap(50), None)));
        assert_eq!(after(Some(gap(101)), None, 100), Some((gap(101), None)), "told a moment after the last note");
        assert_eq!(after(Some(gap(150)), None, 100), Some((gap(95), None)), "nothing could be told from here on");
        assert_eq!(after(Some(gap(150)), None, 120), Some((gap(120), None)));
        assert_eq!(after(Some(gap(60)), Some((70, 90)), 60), Some((down(90), Some(at(70)))));
        assert_eq!(after(Some(gap(90)), Some((70, 89)), 60), Some((gap(89), None)));
        assert_eq!(after(Some(gap(80)), Some((75, 89)), 60), Some((down(89), None)), "it sent what was older");
    }

    /// What becomes of a continuous camera, each for some time in ms.
    #[derive(Clone, Copy, Debug)]
    enum Spell {
        /// It sends.
        Sends(i64),
        /// Its connection or its actor is gone.
        Lost(i64, GapCause),
        /// The process is killed, and what it had not written yet of a recording goes with it.
        Killed { down: i64, torn: i64, since_note: i64 },
        /// The process ends in order.
        Ended { down: i64 },
    }

    fn spell() -> impl Strategy<Value = Spell> {
        let cause = prop_oneof![Just(GapCause::Disconnected), Just(GapCause::Crash), Just(GapCause::DiskError)];
        prop_oneof![
            (1i64..60_000).prop_map(Spell::Sends),
            (1i64..60_000, cause).prop_map(|(length, cause)| Spell::Lost(length, cause)),
            (1i64..60_000, 0i64..1000, 0i64..2000).prop_map(|(down, torn, since_note)| Spell::Killed {
                down,
                torn,
                since_note
            }),
            (1i64..60_000).prop_map(|down| Spell::Ended { down }),
        ]
    }

    /// A continuous camera, what is stored of it, and what its index says.
    #[derive(Default)]
    struct Story {
        now: i64,
        missing: Missing,
        /// Start of what is being recorded; it goes up to now.
        recording: Option<i64>,
        recorded: Vec<(i64, i64)>,
        gaps: Vec<(i64, i64)>,
    }

    fn ms(at: DateTime<Utc>) -> i64 {
        (at - DateTime::UNIX_EPOCH).num_milliseconds()
    }

    fn time(ms: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms)
    }

    impl Story {
        fn write(&mut self, gap: Option<Gap>) {
            self.gaps.extend(gap.map(|gap| (ms(gap.start), ms(gap.end.unwrap()))));
        }

        fn covered_to(&self) -> Option<i64> {
            self.recorded.iter().chain(&self.gaps).map(|stretch| stretch.1).max()
        }

        fn live(&mut self, spell: Spell) {
            match spell {
                Spell::Sends(length) => {
                    if self.recording.is_none() {
                        let gap = self.missing.ends("yard", time(self.now));
                        self.write(gap);
                        self.recording = Some(self.now);
                    }
                    self.now += length;
                }
                Spell::Lost(length, cause) => {
                    self.recorded.extend(self.recording.take().map(|start| (start, self.now)));
                    self.missing.begins(time(self.now), cause);
                    self.now += length;
                }
                Spell::Killed { down, torn, since_note } => {
                    let recorded = self.recording.take().map(|start| (start, (self.now - torn).max(start)));
                    self.recorded.extend(recorded);
                    self.begin_again(recorded, self.now - since_note);
                    self.now += down;
                }
                Spell::Ended { down } => {
                    self.recorded.extend(self.recording.take().map(|start| (start, self.now)));
                    self.begin_again(None, self.now);
                    self.now += down;
                }
            }
        }

        /// As the next process does, which knows what the index holds.
        fn begin_again(&mut self, recorded: Option<(i64, i64)>, alive_to: i64) {
            let (covered_to, alive_to) = (self.covered_to().map(time), Some(time(alive_to)));
            let recorded = recorded.map(|(start, end)| (time(start), time(end)));
            let left = std::mem::take(&mut self.missing).gap();
            let open = match after_last_life(Remains { gap: left, recorded }, covered_to, alive_to) {
                Some((open, before_to)) => {
                    let before = left.zip(before_to).and_then(|(gap, to)| gap.ended("yard", to));
                    self.write(before);
                    Some(open)
                }
                None => known_to(covered_to, alive_to, true).map(|since| OpenGap { since, cause: GapCause::Down }),
            };
            self.missing = Missing::new(open);
        }
    }

    proptest! {
        /// Whatever happens, and however often: each moment since the first picture is recorded or in a gap, and none
        /// is both.
        #[test]
        fn recordings_and_gaps_are_the_whole_time(spells in prop::collection::vec(spell(), 1..40)) {
            let mut story = Story { now: 1_000_000, ..Story::default() };
            story.live(Spell::Sends(1));
            spells.into_iter().for_each(|spell| story.live(spell));
            story.live(Spell::Sends(1));
            story.live(Spell::Lost(1, GapCause::Disconnected));
            let mut all: Vec<_> = story.recorded.iter().chain(&story.gaps).copied().filter(|(a, b)| a < b).collect();
            all.sort_unstable();
            prop_assert_eq!(all[0].0, 1_000_000);
            prop_assert_eq!(all.last().unwrap().1, story.now - 1);
            for pair in all.windows(2) {
                prop_assert_eq!(pair[0].1, pair[1].0, "{:?}", pair);
            }
        }
    }
}
