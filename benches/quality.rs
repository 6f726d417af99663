//! How well motion is detected: `make quality DIR=folder` (or `cargo bench --bench quality -- folder [algorithm ...]`).
//!
//! The folder holds clips and a `truth.json`: by name of a clip its `duration` in seconds, the `events` (pairs of
//! seconds in which something of interest moves), what to `ignore` (pairs, too), and its `file`, in the folder or in
//! `clips` below it. Detection runs at full rate and on raw looks: pictures with motion, merged over two seconds,
//! without any hold. docs/detection.md says what the columns are.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Deserialize;
use tarsier::domain::config::{Algorithm, Area, DetectConfig};
use tarsier::media::packet::Session;
use tarsier::media::source::{self, Cancel, OpenOptions};
use tarsier::media::{Detector, LumaDecoder, LumaView};

/// Detections closer than that are one.
const MERGE_S: f64 = 2.0;
/// What happens earlier is not counted: cameras have a warm-up.
const WARM_UP_S: f64 = 5.0;
/// After an event nothing counts as idle for so long.
const TAIL_S: f64 = 10.0;
/// An event may be found so much before it begins, and after it ended.
const SLACK_S: f64 = 1.0;
const STEP_S: f64 = 0.02;

type Seconds = (f64, f64);

#[derive(Deserialize)]
struct Truth {
    file: Option<String>,
    duration: f64,
    events: Vec<Seconds>,
    #[serde(default)]
    ignore: Vec<Seconds>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(folder) = arguments.first().map(PathBuf::from) else {
        eprintln!("name a folder with clips and a truth.json: make quality DIR=folder");
        return ExitCode::FAILURE;
    };
    match run(&folder, &arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("{cause}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, only: &[String]) -> Result<(), String> {
    let path = folder.join("truth.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let truth: BTreeMap<String, Truth> =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let algorithms = [("adaptive", adaptive()), ("seed", seed())];
    for (algorithm, config) in algorithms.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name)) {
        println!("\n`{algorithm}`\n");
        println!(
            "| clip | events | recall | fresh | precision | false alarms/h | idle flagged | coverage | latency p50 | p90 | \
             CPU ms a picture |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        let mut all = Figures::default();
        for (name, truth) in &truth {
            let (moving, cost) = detect(&clip(folder, name, truth), config)?;
            let figures = Figures { cpu_s: cost.0, pictures: cost.1, ..judge(truth, &moving) };
            println!("{}", figures.row(name));
            all.add(&figures);
        }
        println!("{}", all.row("**all**"));
    }
    Ok(())
}

fn clip(folder: &Path, name: &str, truth: &Truth) -> PathBuf {
    let file = truth.file.clone().unwrap_or_else(|| format!("{name}.mp4"));
    let beside = folder.join(&file);
    if beside.exists() { beside } else { folder.join("clips").join(file) }
}

/// The presets.
fn seed() -> DetectConfig {
    DetectConfig { algorithm: Algorithm::Seed, min_area: Area::Pixels(1500), ..DetectConfig::default() }
}

fn adaptive() -> DetectConfig {
    DetectConfig { algorithm: Algorithm::Adaptive, width: 320, ..seed() }
}

/// When pictures of the clip were motion, and the CPU seconds and pictures it took.
fn detect(clip: &Path, config: &DetectConfig) -> Result<(Vec<Seconds>, (f64, f64)), String> {
    let shown = clip.to_str().ok_or_else(|| format!("{}: the name is no text", clip.display()))?;
    let options = OpenOptions::of_file(clip);
    let session = Arc::new(Session::new(1));
    let mut source = source::open(&options, session, &Cancel::new()).map_err(|error| error.to_string())?;
    let mut decoder = LumaDecoder::new();
    let mut detector = Detector::new(config).map_err(|error| error.to_string())?;
    let mut looks: Vec<(f64, bool)> = Vec::new();
    let (mut first_us, mut cpu_s, mut fault) = (None, 0.0, None);
    let mut look = |view: LumaView| {
        let from = *first_us.get_or_insert(view.pts_us);
        let before_s = thread_cpu_s();
        let score = detector.look(&view);
        cpu_s += thread_cpu_s() - before_s;
        match score {
            Ok(score) => looks.push(((view.pts_us - from) as f64 / 1e6, score.moving)),
            Err(error) => fault = Some(error.to_string()),
        }
    };
    while let Some(packet) = source.next().map_err(|error| error.to_string())? {
        decoder.decode(&packet, &mut look).map_err(|error| format!("{shown}: {error}"))?;
    }
    decoder.drain(&mut look).map_err(|error| format!("{shown}: {error}"))?;
    if let Some(fault) = fault {
        return Err(format!("{shown}: {fault}"));
    }
    let ends = looks.iter().skip(1).map(|(at, _)| *at).chain(looks.last().map(|(at, _)| at + 0.05));
    let moving = looks.iter().zip(ends).filter(|((_, moving), _)| *moving).map(|((at, _), end)| (*at, end)).collect();
    Ok((moving, (cpu_s, looks.len() as f64)))
}

/// CPU seconds of this thread.
fn thread_cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Counts and sums, of a clip or of all.
#[derive(Default)]
struct Figures {
    events: f64,
    hit: f64,
    fresh: f64,
    right: f64,
    wrong: f64,
    idle_s: f64,
    idle_flagged_s: f64,
    event_s: f64,
    event_flagged_s: f64,
    latencies: Vec<f64>,
    cpu_s: f64,
    pictures: f64,
}

/// Holds the detections against the truth.
fn judge(truth: &Truth, moving: &[Seconds]) -> Figures {
    let steps = (truth.duration / STEP_S).round() as usize;
    let events: Vec<Seconds> = truth.events.iter().copied().filter(|event| event.1 > WARM_UP_S).collect();
    let found: Vec<Seconds> = merged(moving)
        .into_iter()
        .filter(|found| found.1 > WARM_UP_S)
        .map(|(from, to)| (from.max(WARM_UP_S), to.min(truth.duration)))
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

    let mut figures = Figures { events: events.len() as f64, ..Figures::default() };
    for &(from, to) in &events {
        let hits: Vec<&Seconds> = found.iter().filter(|found| found.0 < to + SLACK_S && found.1 > from).collect();
        let Some(first) = hits.iter().map(|hit| hit.0.max(from)).min_by(f64::total_cmp) else { continue };
        figures.hit += 1.0;
        figures.latencies.push((first - from.max(WARM_UP_S)).max(0.0));
        // A detector that was on already, without a cause, has not found it.
        let before: Vec<usize> = range(((from - TAIL_S).max(WARM_UP_S), from)).filter(|&n| idle[n]).collect();
        let on = before.iter().filter(|&&n| flagged[n]).count();
        let starts = hits.iter().any(|hit| hit.0 >= from - SLACK_S && hit.0 < to + SLACK_S);
        if starts || seconds(before.len()) < 1.0 || 2 * on < before.len() {
            figures.fresh += 1.0;
        }
    }
    for &(from, to) in &found {
        if events.iter().any(|event| from < event.1 + SLACK_S && to > event.0) {
            figures.right += 1.0;
        } else if range((from, to.max(from + STEP_S))).any(|n| idle[n]) {
            figures.wrong += 1.0;
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
    fn add(&mut self, other: &Figures) {
        self.latencies.extend(&other.latencies);
        for (sum, value) in [
            (&mut self.events, other.events),
            (&mut self.hit, other.hit),
            (&mut self.fresh, other.fresh),
            (&mut self.right, other.right),
            (&mut self.wrong, other.wrong),
            (&mut self.idle_s, other.idle_s),
            (&mut self.idle_flagged_s, other.idle_flagged_s),
            (&mut self.event_s, other.event_s),
            (&mut self.event_flagged_s, other.event_flagged_s),
            (&mut self.cpu_s, other.cpu_s),
            (&mut self.pictures, other.pictures),
        ] {
            *sum += value;
        }
    }

    fn row(&self, name: &str) -> String {
        let share = |part: f64, whole: f64| if whole > 0.0 { format!("{:.2}", part / whole) } else { "–".into() };
        let mut latencies = self.latencies.clone();
        latencies.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * (latencies.len().saturating_sub(1)) as f64;
            let (low, high) = (latencies.get(place.floor() as usize), latencies.get(place.ceil() as usize));
            match (low, high) {
                (Some(low), Some(high)) => format!("{:.2} s", low + (high - low) * place.fract()),
                _ => "–".into(),
            }
        };
        format!(
            "| {name} | {} | {} | {} | {} | {:.1} | {:.1} % | {} | {} | {} | {:.2} |",
            self.events,
            share(self.hit, self.events),
            share(self.fresh, self.events),
            share(self.right, self.right + self.wrong),
            self.wrong * 3600.0 / self.idle_s.max(STEP_S),
            100.0 * self.idle_flagged_s / self.idle_s.max(STEP_S),
            share(self.event_flagged_s, self.event_s),
            quantile(0.5),
            quantile(0.9),
            1000.0 * self.cpu_s / self.pictures.max(1.0),
        )
    }
}
