//! Detections held against what people say was there: recall, precision, false alarms, latency; and two runs of a
//! detector against each other.
//!
//! Belongs here: the definitions of those figures, once for all who tell them (`make quality`, `tarsier backtest`).
//! Does not belong here: running a detector (`media::backtest`), and where labels come from.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Detections closer than that are one.
const MERGE_S: f64 = 2.0;
/// What happens earlier is not counted: cameras have a warm-up.
const WARM_UP_S: f64 = 5.0;
/// After an event nothing counts as idle for so long.
const TAIL_S: f64 = 10.0;
/// An event may be found so much before it begins, and after it ended.
const SLACK_S: f64 = 1.0;
const STEP_S: f64 = 0.02;
/// Longer than any video that is judged in one piece.
const LONGEST_S: f64 = 7.0 * 86_400.0;

/// From one second to another, from the first picture on.
pub type Seconds = (f64, f64);

/// What is known of a stretch of video.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Truth {
    /// The clip's file, where it has one of another name.
    pub file: Option<String>,
    /// Seconds.
    pub duration: f64,
    /// When something of interest moves.
    pub events: Vec<Seconds>,
    /// What says nothing, for or against.
    #[serde(default)]
    pub ignore: Vec<Seconds>,
}

impl Truth {
    /// Of a stretch of which only parts are labelled: all but them says nothing.
    pub fn of_parts(duration: f64, events: Vec<Seconds>, idle: &[Seconds]) -> Self {
        let mut known: Vec<Seconds> = events.iter().chain(idle).copied().collect();
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ignore = Vec::new();
        let mut told_to = 0.0;
        for (from, to) in known {
            if from > told_to {
                ignore.push((told_to, from));
            }
            told_to = f64::max(told_to, to);
        }
        if told_to < duration {
            ignore.push((told_to, duration));
        }
        Truth { file: None, duration, events, ignore }
    }
}

/// Counts and sums, of a clip or of many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub events: u32,
    /// Events that were found.
    pub hit: u32,
    /// Events that the detector began on.
    pub fresh: u32,
    /// Detections on an event, and those on none.
    pub right: u32,
    pub wrong: u32,
    pub idle_s: f64,
    pub idle_flagged_s: f64,
    pub event_s: f64,
    pub event_flagged_s: f64,
    /// Seconds from an event's begin to the first motion, of those that were found.
    pub latencies: Vec<f64>,
}

/// The figures as they are told. None: there was nothing to count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub events: u32,
    pub recall: Option<f64>,
    pub fresh: Option<f64>,
    pub precision: Option<f64>,
    pub false_alarms_h: Option<f64>,
    pub idle_flagged: Option<f64>,
    pub coverage: Option<f64>,
    pub latency_p50_s: Option<f64>,
    pub latency_p90_s: Option<f64>,
}

/// What stands above [`Summary::cells`].
pub const HEADINGS: [&str; 9] = [
    "events",
    "recall",
    "fresh",
    "precision",
    "false alarms/h",
    "idle flagged",
    "coverage",
    "latency p50",
    "latency p90",
];

/// Holds the pictures with motion, as (from, to) in order, against the truth.
pub fn judge(truth: &Truth, moving: &[Seconds]) -> Figures {
    let duration = if truth.duration.is_finite() { truth.duration.clamp(0.0, LONGEST_S) } else { 0.0 };
    let steps = (duration / STEP_S).round() as usize;
    let events: Vec<Seconds> = truth.events.iter().copied().filter(|event| event.1 > WARM_UP_S).collect();
    let found: Vec<Seconds> = merged(moving)
        .into_iter()
        .filter(|found| found.1 > WARM_UP_S)
        .map(|(from, to)| (from.max(WARM_UP_S), to.min(duration)))
        .collect();
    let range = |(from, to): Seconds| -> Range<usize> {
        let place = |at: f64| ((at / STEP_S).round().max(0.0) as usize).min(steps);
        place(from)..place(to).max(place(from))
    };
    let mask = |intervals: &[Seconds]| {
        let mut mask = vec![false; steps];
        intervals.iter().for_each(|&interval| mask[range(interval)].fill(true));
        mask
    };
    let tails: Vec<Seconds> = events.iter().map(|event| (event.1, event.1 + TAIL_S)).collect();
    let (in_event, ignored, flagged) = (mask(&events), mask(&truth.ignore), mask(&found));
    let (tail, warm_up) = (mask(&tails), mask(&[(0.0, WARM_UP_S)]));
    let idle: Vec<bool> = (0..steps).map(|n| !in_event[n] && !ignored[n] && !tail[n] && !warm_up[n]).collect();
    let seconds = |count: usize| count as f64 * STEP_S;

    let mut figures = Figures { events: events.len() as u32, ..Figures::default() };
    for &(from, to) in &events {
        let hits: Vec<&Seconds> = found.iter().filter(|found| found.0 < to + SLACK_S && found.1 > from).collect();
        let Some(first) = hits.iter().map(|hit| hit.0.max(from)).min_by(f64::total_cmp) else { continue };
        figures.hit += 1;
        figures.latencies.push((first - from.max(WARM_UP_S)).max(0.0));
        // A detector that was on already, without a cause, has not found it.
        let before: Vec<usize> = range(((from - TAIL_S).max(WARM_UP_S), from)).filter(|&n| idle[n]).collect();
        let on = before.iter().filter(|&&n| flagged[n]).count();
        let starts = hits.iter().any(|hit| hit.0 >= from - SLACK_S && hit.0 < to + SLACK_S);
        if starts || seconds(before.len()) < 1.0 || 2 * on < before.len() {
            figures.fresh += 1;
        }
    }
    for &(from, to) in &found {
        if events.iter().any(|event| from < event.1 + SLACK_S && to > event.0) {
            figures.right += 1;
        } else if range((from, to.max(from + STEP_S))).any(|n| idle[n]) {
            figures.wrong += 1;
        }
    }
    let count = |test: &dyn Fn(usize) -> bool| seconds((0..steps).filter(|&n| test(n)).count());
    figures.idle_s = count(&|n| idle[n]);
    figures.idle_flagged_s = count(&|n| idle[n] && flagged[n]);
    figures.event_s = count(&|n| in_event[n] && !warm_up[n]);
    figures.event_flagged_s = count(&|n| in_event[n] && !warm_up[n] && flagged[n]);
    figures
}

fn merged(intervals: &[Seconds]) -> Vec<Seconds> {
    let mut merged: Vec<Seconds> = Vec::new();
    for &(from, to) in intervals {
        match merged.last_mut() {
            Some(last) if from - last.1 <= MERGE_S => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        self.events += other.events;
        self.hit += other.hit;
        self.fresh += other.fresh;
        self.right += other.right;
        self.wrong += other.wrong;
        self.idle_s += other.idle_s;
        self.idle_flagged_s += other.idle_flagged_s;
        self.event_s += other.event_s;
        self.event_flagged_s += other.event_flagged_s;
        self.latencies.extend(&other.latencies);
    }

    pub fn summary(&self) -> Summary {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let of_events = |part: u32| share(f64::from(part), f64::from(self.events));
        let mut latencies = self.latencies.clone();
        latencies.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * latencies.len().saturating_sub(1) as f64;
            let (low, high) = (latencies.get(place.floor() as usize)?, latencies.get(place.ceil() as usize)?);
            Some(low + (high - low) * place.fract())
        };
        Summary {
            events: self.events,
            recall: of_events(self.hit),
            fresh: of_events(self.fresh),
            precision: share(f64::from(self.right), f64::from(self.right + self.wrong)),
            false_alarms_h: share(3600.0 * f64::from(self.wrong), self.idle_s),
            idle_flagged: share(self.idle_flagged_s, self.idle_s),
            coverage: share(self.event_flagged_s, self.event_s),
            latency_p50_s: quantile(0.5),
            latency_p90_s: quantile(0.9),
        }
    }
}

impl Summary {
    /// For a table, in the order of [`HEADINGS`].
    pub fn cells(&self) -> [String; 9] {
        let cell = |value: Option<f64>, show: &dyn Fn(f64) -> String| value.map_or_else(|| "–".to_owned(), show);
        let share = |value| cell(value, &|share| format!("{share:.2}"));
        let seconds = |value| cell(value, &|seconds| format!("{seconds:.2} s"));
        [
            self.events.to_string(),
            share(self.recall),
            share(self.fresh),
            share(self.precision),
            cell(self.false_alarms_h, &|alarms| format!("{alarms:.1}")),
            cell(self.idle_flagged, &|share| format!("{:.1} %", 100.0 * share)),
            share(self.coverage),
            seconds(self.latency_p50_s),
            seconds(self.latency_p90_s),
        ]
    }
}

/// What became of the events of one run in another one: indices into both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of the other run, those that meet one of this run.
    pub kept: Vec<usize>,
    /// Of the other run, those that meet none.
    pub gained: Vec<usize>,
    /// Of this run, those that no event of the other one meets.
    pub lost: Vec<usize>,
}

/// Compares the events of two runs. Two events meet if they overlap, or almost do.
pub fn compare(before: &[Seconds], after: &[Seconds]) -> Changes {
    let meets = |a: &Seconds, b: &Seconds| a.0 <= b.1 + SLACK_S && b.0 <= a.1 + SLACK_S;
    let mut changes = Changes::default();
    for (n, event) in after.iter().enumerate() {
        let list = if before.iter().any(|old| meets(old, event)) { &mut changes.kept } else { &mut changes.gained };
        list.push(n);
    }
    changes.lost = (0..before.len()).filter(|&n| !after.iter().any(|event| meets(event, &before[n]))).collect();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(events: &[Seconds], ignore: &[Seconds]) -> Truth {
        Truth { file: None, duration: 100.0, events: events.to_vec(), ignore: ignore.to_vec() }
    }

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn an_event_that_is_found_late_has_recall_coverage_and_latency() {
        let figures = judge(&truth(&[(20.0, 30.0), (60.0, 70.0)], &[]), &[(22.0, 26.0), (27.0, 30.0)]);
        let summary = figures.summary();
        assert_eq!((figures.hit, figures.fresh, figures.right, figures.wrong), (1, 1, 1, 0));
        assert!(near(summary.recall, 0.5) && near(summary.precision, 1.0) && near(summary.latency_p50_s, 2.0));
        // Two detections that are one: 8 s of 20 s.
        assert!(near(summary.coverage, 0.4), "{summary:?}");
        // 100 s less 5 s of warm-up, 20 s of events and 20 s after them.
        assert!((figures.idle_s - 55.0).abs() < 0.1 && near(summary.false_alarms_h, 0.0), "{figures:?}");
    }

    #[test]
    fn what_is_on_without_a_cause_is_wrong_or_not_fresh() {
        let figures = judge(&truth(&[(60.0, 70.0)], &[]), &[(10.0, 12.0), (40.0, 65.0)]);
        assert_eq!((figures.hit, figures.fresh, figures.right, figures.wrong), (1, 0, 1, 1));
        // 22 s of 75 s that are idle.
        assert!((figures.summary().idle_flagged.unwrap() - 22.0 / 75.0).abs() < 0.01);
        assert_eq!(figures.summary().latency_p90_s, Some(0.0));
    }

    #[test]
    fn the_warm_up_what_is_ignored_and_the_tail_say_nothing() {
        let truth = truth(&[(1.0, 4.0), (20.0, 30.0)], &[(50.0, 60.0)]);
        let figures = judge(&truth, &[(0.0, 4.0), (20.0, 30.0), (33.0, 38.0), (51.0, 59.0)]);
        assert_eq!((figures.events, figures.hit, figures.wrong), (1, 1, 0));
        assert_eq!(figures.idle_flagged_s, 0.0);
    }

    #[test]
    fn nothing_to_count_is_no_figure() {
        let summary = judge(&truth(&[], &[(0.0, 100.0)]), &[(10.0, 20.0)]).summary();
        assert_eq!((summary.recall, summary.precision, summary.false_alarms_h), (None, None, None));
        assert!(summary.cells().iter().skip(1).all(|cell| cell == "–"), "{:?}", summary.cells());
        for duration in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(judge(&Truth { duration, ..Truth::default() }, &[(0.0, 9.0)]).wrong, 0);
        }
    }

    #[test]
    fn of_what_is_labelled_in_parts_only_those_count() {
        let truth = Truth::of_parts(100.0, vec![(20.0, 30.0)], &[(60.0, 70.0)]);
        assert_eq!(truth.ignore, [(0.0, 20.0), (30.0, 60.0), (70.0, 100.0)]);
        // Something where nobody has said what it is; and something that somebody has said is nothing.
        let figures = judge(&truth, &[(21.0, 30.0), (45.0, 50.0), (61.0, 63.0)]);
        assert_eq!((figures.hit, figures.right, figures.wrong), (1, 1, 1));
        assert!((figures.idle_s - 10.0).abs() < 0.1, "{figures:?}");
    }

    #[test]
    fn figures_of_many_clips_are_of_all_their_events() {
        let mut all = judge(&truth(&[(20.0, 30.0)], &[]), &[(21.0, 30.0)]);
        all.add(&judge(&truth(&[(20.0, 30.0)], &[]), &[(23.0, 30.0)]));
        let summary = all.summary();
        assert_eq!((all.events, summary.recall), (2, Some(1.0)));
        assert!(near(summary.latency_p50_s, 2.0) && near(summary.latency_p90_s, 2.8), "{summary:?}");
    }

    #[test]
    fn two_runs_differ_by_what_meets_nothing_of_the_other() {
        let changes = compare(&[(10.0, 12.0), (30.0, 40.0)], &[(12.5, 13.0), (50.0, 60.0)]);
        assert_eq!(changes, Changes { kept: vec![0], gained: vec![1], lost: vec![1] });
        assert_eq!(compare(&[], &[]), Changes::default());
    }
}
