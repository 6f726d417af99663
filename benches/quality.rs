//! How well motion is detected, by Tarsier's detectors and OpenCV's MOG2: `make quality DIR=folder` (or `cargo bench
//! --bench quality -- folder [detector ...]`).
//!
//! The folder holds clips and a `truth.json`: by name of a clip its `duration` in seconds, the `events` (pairs of
//! seconds in which something of interest moves), what to `ignore` (pairs, too), and its `file`, in the folder or in
//! `clips` below it. Detection runs at full rate and on raw looks: pictures with motion, merged over two seconds,
//! without any hold. docs/detection.md says what the columns are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use tarsier::domain::config::{Algorithm, Area, DetectConfig};
use tarsier::domain::judge::{Figures, HEADINGS, Seconds, Truth, judge};
use tarsier::media::packet::Session;
use tarsier::media::source::{self, Cancel, OpenOptions};
use tarsier::media::{Detector, LumaDecoder, LumaView};

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
    let detectors = [("adaptive", Some(adaptive())), ("seed", Some(seed())), ("MOG2", None)];
    for (detector, config) in detectors.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name)) {
        println!("\n`{detector}`\n");
        println!("| clip | {} | CPU ms a picture |", HEADINGS.join(" | "));
        println!("|---{}|--:|", "|--:".repeat(HEADINGS.len()));
        let (mut all, mut cost) = (Figures::default(), Cost::default());
        for (name, truth) in &truth {
            let clip = clip(folder, name, truth);
            let Looks { looks, cpu_s } = match config {
                Some(config) => detect(&clip, config)?,
                None => mog2(&clip)?,
            };
            let own = Cost { cpu_s, pictures: looks.len() };
            let figures = judge(truth, &moving(&looks));
            println!("{}", row(name, &figures, own));
            all.add(&figures);
            cost = Cost { cpu_s: cost.cpu_s + own.cpu_s, pictures: cost.pictures + own.pictures };
        }
        println!("{}", row("**all**", &all, cost));
    }
    Ok(())
}

/// What looking took.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_s: f64,
    pictures: usize,
}

fn row(name: &str, figures: &Figures, cost: Cost) -> String {
    let cpu_ms = 1000.0 * cost.cpu_s / cost.pictures.max(1) as f64;
    format!("| {name} | {} | {cpu_ms:.2} |", figures.summary().cells().join(" | "))
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

/// What a detector says of each picture of a clip.
#[derive(serde::Deserialize)]
struct Looks {
    /// Seconds from the first picture, and whether there is motion.
    looks: Vec<(f64, bool)>,
    cpu_s: f64,
}

/// When pictures were motion, each up to the next.
fn moving(looks: &[(f64, bool)]) -> Vec<Seconds> {
    let ends = looks.iter().skip(1).map(|(at, _)| *at).chain(looks.last().map(|(at, _)| at + 0.05));
    looks.iter().zip(ends).filter(|((_, moving), _)| *moving).map(|((at, _), end)| (*at, end)).collect()
}

/// Tarsier links no module that has MOG2: Python's does it.
fn mog2(clip: &Path) -> Result<Looks, String> {
    // Made by deploy/setup-debian.sh beside the build.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/mog2.py");
    let python = target.join("opencv-reference/bin/python");
    let output = Command::new(&python).arg(script).arg(clip).output();
    let output = output.map_err(|error| format!("{}: {error} (make setup makes it)", python.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{script}: {error}"))
}

fn detect(clip: &Path, config: &DetectConfig) -> Result<Looks, String> {
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
    Ok(Looks { looks, cpu_s })
}

/// CPU seconds of this thread.
fn thread_cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
