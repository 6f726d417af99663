//! What is deleted to keep the archive within its limits, as a pure plan, and when its clock can be trusted.
//!
//! Does not belong here: files, the index, the disk (`archive::retention` asks them and carries the plan out).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::config::MinFree;

/// A step of the wall clock by more than this pauses deleting by age.
const STEP: TimeDelta = TimeDelta::hours(1);
/// A clock that is later by more than this than all that is known is not believed at a start. So long a pause is rare
/// enough to wait another day.
const LONGEST_PAUSE: TimeDelta = TimeDelta::days(1);
/// A stepped clock that has run steadily for so long is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A closed recording that may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: i64,
    pub end: DateTime<Utc>,
    pub bytes: u64,
    /// Deleting it would tear a file that is being written, or that a person wants kept.
    pub protected: bool,
}

/// Why a recording goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Older than the camera's `retention.max_age`.
    Age,
    /// To make room: the camera's or the archive's `max_size`, or `min_free`.
    Room,
}

/// Which of `oldest_first` go: all that ended before `older_than`, and then from the oldest on until they hold
/// `release_bytes` in sum. Protected ones stay.
pub fn plan(
    oldest_first: &[Candidate],
    older_than: Option<DateTime<Utc>>,
    release_bytes: u64,
) -> Vec<(Candidate, Why)> {
    let aged = |candidate: &Candidate| older_than.is_some_and(|limit| candidate.end < limit);
    let deletable = || oldest_first.iter().filter(|candidate| !candidate.protected);
    let mut missing = release_bytes;
    for candidate in deletable().filter(|candidate| aged(candidate)) {
        missing = missing.saturating_sub(candidate.bytes);
    }
    let mut doomed = Vec::new();
    for candidate in deletable() {
        if aged(candidate) {
            doomed.push((*candidate, Why::Age));
        } else if missing > 0 {
            missing = missing.saturating_sub(candidate.bytes);
            doomed.push((*candidate, Why::Room));
        }
    }
    doomed
}

/// Whose oldest recording goes next where all cameras share what is too little: always of the one that holds most. So
/// a camera that holds no more than an equal share loses nothing while another holds more, however noisy that is.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    used_bytes: BTreeMap<String, u64>,
}

impl Shares {
    /// What each camera holds.
    pub fn new(used_bytes: BTreeMap<String, u64>) -> Self {
        Shares { used_bytes }
    }

    /// The cameras that hold most of those that still have something to delete; more than one where they hold the same.
    pub fn largest(&self) -> Vec<String> {
        let most = self.used_bytes.values().max();
        self.used_bytes.iter().filter(|(_, bytes)| Some(*bytes) == most).map(|(camera, _)| camera.clone()).collect()
    }

    pub fn released(&mut self, camera: &str, bytes: u64) {
        if let Some(used) = self.used_bytes.get_mut(camera) {
            *used = used.saturating_sub(bytes);
        }
    }

    /// Nothing of it may be deleted any more.
    pub fn is_exhausted(&mut self, camera: &str) {
        self.used_bytes.remove(camera);
    }
}

/// Bytes that must be released so that `used_bytes` is within `limit_bytes`.
pub fn excess(used_bytes: u64, limit_bytes: Option<u64>) -> u64 {
    limit_bytes.map_or(0, |limit| used_bytes.saturating_sub(limit))
}

/// Bytes that must be released so that `min_free` holds on a file system with so much free and in all.
pub fn short_of(min_free: MinFree, free_bytes: u64, total_bytes: u64) -> u64 {
    let wanted = match min_free {
        MinFree::Bytes(bytes) => bytes,
        MinFree::Share(share) => (total_bytes as f64 * share.clamp(0.0, 1.0)).ceil() as u64,
    };
    wanted.saturating_sub(free_bytes)
}

/// The moment before which a recording is too old, if its age counts at all.
pub fn age_limit(now: DateTime<Utc>, max_age: Option<Duration>) -> Option<DateTime<Utc>> {
    // An age that reaches back before all time deletes nothing.
    now.checked_sub_signed(TimeDelta::from_std(max_age?).ok()?)
}

/// Tells whether the wall clock may decide what is too old. A clock that steps (a dead battery, a wrong time
/// server) could delete the whole archive: after a step of more than an hour nothing is deleted by age until
/// the clock is back, has been steady for a day, or a person says that it is right.
#[derive(Clone, Debug, Default)]
pub struct ClockGuard {
    /// The last look, and the clock before it stepped with the time since.
    last: Option<(Duration, DateTime<Utc>)>,
    stepped: Option<Stepped>,
}

#[derive(Clone, Copy, Debug)]
struct Stepped {
    at: Duration,
    by: TimeDelta,
}

impl ClockGuard {
    /// Begins, at the monotonic time 0, with a wall clock that says `wall`, where the last thing known is of `known`. A
    /// clock before that, or much later, has stepped while nobody looked: a dead battery, a wrong time server at boot.
    pub fn begin(&mut self, wall: DateTime<Utc>, known: Option<DateTime<Utc>>) {
        self.last = Some((Duration::ZERO, wall));
        let by = known.map_or(TimeDelta::zero(), |known| wall - known);
        if by < -STEP || by > LONGEST_PAUSE {
            self.stepped = Some(Stepped { at: Duration::ZERO, by });
        }
    }

    /// Looks at both clocks: `monotonic` since any fixed moment, and the wall clock. Answers by how much the
    /// wall clock is off, where deleting by age must wait.
    pub fn look(&mut self, monotonic: Duration, wall: DateTime<Utc>) -> Option<TimeDelta> {
        if let Some((last_monotonic, last_wall)) = self.last {
            let passed = TimeDelta::from_std(monotonic.saturating_sub(last_monotonic)).unwrap_or(TimeDelta::MAX);
            let step = (wall - last_wall).checked_sub(&passed).unwrap_or(TimeDelta::MAX);
            if step.abs() > STEP {
                let before = self.stepped.map_or(TimeDelta::zero(), |stepped| stepped.by);
                let by = before.checked_add(&step).unwrap_or(step);
                self.stepped = (by.abs() > STEP).then_some(Stepped { at: monotonic, by });
            }
        }
        self.last = Some((monotonic, wall));
        if self.stepped.is_some_and(|stepped| monotonic.saturating_sub(stepped.at) >= BELIEVED_AFTER) {
            self.stepped = None;
        }
        self.stepped.map(|stepped| stepped.by)
    }

    /// A person says that the clock is right (a restart, or SIGHUP).
    pub fn believe(&mut self) {
        self.stepped = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).expect("in range")
    }

    fn candidate(id: i64, bytes: u64) -> Candidate {
        Candidate { id, end: at(id * 60), bytes, protected: false }
    }

    fn ids(doomed: &[(Candidate, Why)]) -> Vec<i64> {
        doomed.iter().map(|(candidate, _)| candidate.id).collect()
    }

    #[test]
    fn nothing_goes_while_all_is_within_its_limits() {
        let all = [candidate(1, 10), candidate(2, 10)];
        assert!(plan(&all, None, excess(20, Some(20))).is_empty());
        assert!(plan(&all, Some(at(60)), 0).is_empty());
    }

    #[test]
    fn the_oldest_goes_first_and_no_more_than_needed() {
        let all = [candidate(1, 10), candidate(2, 10), candidate(3, 10)];
        assert_eq!(ids(&plan(&all, None, 11)), [1, 2]);
        assert_eq!(ids(&plan(&all, None, 10)), [1]);
    }

    #[test]
    fn what_age_releases_counts_as_room() {
        let all = [candidate(1, 10), candidate(2, 10), candidate(3, 10)];
        let doomed = plan(&all, Some(at(61)), 10);
        assert_eq!(doomed, [(all[0], Why::Age)]);
    }

    #[test]
    fn a_protected_recording_stays_whatever_its_age() {
        let all = [Candidate { protected: true, ..candidate(1, 10) }, candidate(2, 10)];
        assert_eq!(ids(&plan(&all, Some(at(1_000_000)), 100)), [2]);
    }

    #[test]
    fn min_free_counts_a_share_of_the_whole_file_system() {
        assert_eq!(short_of(MinFree::Share(0.05), 40, 1000), 10);
        assert_eq!(short_of(MinFree::Share(0.05), 50, 1000), 0);
        assert_eq!(short_of(MinFree::Bytes(100), 30, 1000), 70);
    }

    #[test]
    fn an_age_longer_than_all_time_deletes_nothing() {
        assert_eq!(age_limit(at(0), Some(Duration::MAX)), None);
        assert_eq!(age_limit(at(0), None), None);
        assert_eq!(age_limit(at(10), Some(Duration::from_secs(10))), Some(at(0)));
    }

    #[test]
    fn a_clock_that_steps_is_not_believed_until_it_is_back() {
        let mut guard = ClockGuard::default();
        let second = Duration::from_secs;
        assert_eq!(guard.look(second(0), at(0)), None);
        assert_eq!(guard.look(second(60), at(90)), None, "a small correction");
        let years = guard.look(second(120), at(150 + 100_000_000)).expect("stepped");
        assert_eq!(years.num_seconds(), 100_000_000);
        assert!(guard.look(second(180), at(210 + 100_000_000)).is_some(), "it is still off");
        assert_eq!(guard.look(second(240), at(270)), None, "it is back");
    }

    #[test]
    fn a_step_is_believed_after_a_steady_day_or_on_a_persons_word() {
        let mut guard = ClockGuard::default();
        let hours = |h: u64| Duration::from_secs(h * 3600);
        guard.look(hours(0), at(0));
        assert!(guard.look(hours(1), at(3600 * 101)).is_some());
        assert!(guard.look(hours(24), at(3600 * 124)).is_some());
        assert_eq!(guard.look(hours(25), at(3600 * 125)), None);

        guard.look(hours(26), at(0));
        guard.believe();
        assert_eq!(guard.look(hours(27), at(3600)), None);
    }

    #[test]
    fn a_clock_that_is_wrong_at_the_start_is_not_believed() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        for (known_s, is_believed) in [
            (None, true),
            (Some(0), true),
            (Some(-80_000), true),
            (Some(1800), true),
            (Some(4000), false),
            (Some(1_700_000_000), false),
            (Some(-90_000), false),
            (Some(-300_000_000), false),
        ] {
            let mut guard = ClockGuard::default();
            guard.begin(at(0), known_s.map(at));
            assert_eq!(guard.look(hours(1), at(3600)).is_none(), is_believed, "{known_s:?}");
            assert!(guard.look(hours(25), at(25 * 3600)).is_none(), "after a steady day");
        }
        // It started in 1970, and then the right time came.
        let mut guard = ClockGuard::default();
        guard.begin(DateTime::UNIX_EPOCH, Some(at(-60)));
        assert!(guard.look(hours(1), DateTime::UNIX_EPOCH + TimeDelta::hours(1)).is_some());
        assert!(guard.look(hours(2), at(7200)).is_none(), "it is back");
    }

    proptest! {
        #[test]
        fn nobody_loses_its_share_to_a_noisy_camera(
            cameras in prop::collection::vec(prop::collection::vec(0u64..50, 0..12), 1..6),
            release in 0u64..1500,
        ) {
            let mut left: BTreeMap<String, Vec<u64>> =
                cameras.iter().enumerate().map(|(n, files)| (format!("c{n}"), files.clone())).collect();
            let used = |left: &BTreeMap<String, Vec<u64>>| -> BTreeMap<String, u64> {
                left.iter().map(|(camera, files)| (camera.clone(), files.iter().sum())).collect()
            };
            let mut shares = Shares::new(used(&left));
            let (mut released, mut last) = (0, 0);
            let mut before: BTreeMap<String, u64> = BTreeMap::new();
            while released < release {
                let Some(camera) = shares.largest().into_iter().next() else { break };
                let held = used(&left)[&camera];
                let files = left.get_mut(&camera).unwrap();
                if files.is_empty() {
                    shares.is_exhausted(&camera);
                    continue;
                }
                last = files.remove(0);
                released += last;
                shares.released(&camera, last);
                before.insert(camera, held);
            }
            // Enough, and no more than needed; or nothing is left.
            prop_assert!(released >= release || left.values().all(Vec::is_empty));
            prop_assert!(released == 0 || released - last < release);
            // Whoever lost something held, before its last loss, as much as each of the others holds now.
            let now = used(&left);
            for held in before.values() {
                prop_assert!(now.values().all(|other| other <= held), "{before:?} {now:?}");
            }
            // So whoever held no more than an equal share of what may stay has lost nothing, but for a file's length.
            let all: u64 = cameras.iter().flatten().sum();
            let share = all.saturating_sub(release) / cameras.len() as u64;
            for (n, files) in cameras.iter().enumerate() {
                let had: u64 = files.iter().sum();
                let has = now[&format!("c{n}")];
                prop_assert!(had + 50 > share || has == had);
                prop_assert!(has + 50 >= had.min(share));
            }
        }

        #[test]
        fn the_plan_keeps_every_promise(
            rows in prop::collection::vec((0i64..1000, 0u64..50, any::<bool>()), 0..40),
            age in prop::option::of(0i64..1000),
            release in 0u64..1000,
        ) {
            let all: Vec<Candidate> = rows
                .iter()
                .enumerate()
                .map(|(n, (end, bytes, protected))| {
                    Candidate { id: n as i64, end: at(*end), bytes: *bytes, protected: *protected }
                })
                .collect();
            let limit = age.map(at);
            let doomed = plan(&all, limit, release);
            let gone = ids(&doomed);

            // Nobody twice, nothing protected, in order.
            prop_assert!(gone.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(doomed.iter().all(|(candidate, _)| !candidate.protected));
            // All that is too old and may go, goes; `Why` says the truth.
            for candidate in &all {
                let aged = limit.is_some_and(|limit| candidate.end < limit);
                if aged && !candidate.protected {
                    prop_assert!(doomed.contains(&(*candidate, Why::Age)));
                } else {
                    prop_assert!(!doomed.contains(&(*candidate, Why::Age)));
                }
            }
            // Enough is released, or nothing is left that could be.
            let released: u64 = doomed.iter().map(|(candidate, _)| candidate.bytes).sum();
            let kept = all.iter().filter(|c| !c.protected && !gone.contains(&c.id)).count();
            prop_assert!(released >= release || kept == 0);
            // No more than needed: without the last one deleted for room it would not be enough.
            if let Some((last, _)) = doomed.iter().rev().find(|(_, why)| *why == Why::Room) {
                prop_assert!(released - last.bytes < release);
                // Oldest first: nothing deletable before it was spared.
                prop_assert!(all.iter().all(|c| c.id >= last.id || c.protected || gone.contains(&c.id)));
            }
        }
    }
}
