//! `tarsier backtest`: stored video through the detector, with today's values and with others.
//!
//! Belongs here: what the command takes, and the order of the work. Which video and which labels is
//! [`takes`]', which values are tried [`variants`]', what is printed [`report`]'s.

mod report;
mod takes;
mod variants;

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;

use self::report::{Report, Sheets};
use self::takes::Take;
use self::variants::{Base, Variant};
use super::look::{Progress, Trouble, cancel_on_signal, exit_code};
use super::recordings::parse_time;
use super::{INPUT_WRONG, or_told};
use crate::config;
use crate::domain::judge::{Changes, Figures, Seconds, compare, judge};
use crate::media::backtest::{self, BacktestError, FoundEvent, Options, Played};
use crate::media::source::Cancel;

/// What `tarsier backtest` takes.
#[derive(Args)]
pub struct BacktestArgs {
    /// Files to look at; without them the recordings of --camera, or the clips that --labels names
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A camera of the configuration: its values, its recordings, and what people said of its events
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Recordings from this time on (RFC 3339; a date alone is its midnight in UTC); without --from and --to those that
    /// people said something of, or else the last day's
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "camera")]
    from: Option<DateTime<Utc>>,
    /// Recordings up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "camera")]
    to: Option<DateTime<Utc>>,
    /// Change a key of the camera's configuration, and tell which events that would gain and lose
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// What was there: a list of labels, or a truth.json
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Try each of these values; several sweeps: all combinations
    #[arg(long = "sweep", value_name = "KEY=A,B,C")]
    sweeps: Vec<String>,
    /// Try a grid of the values that matter, and propose the best for what is labelled
    #[arg(long)]
    suggest: bool,
    /// Write a picture of each event gained and lost into this folder: gained.png and lost.png
    #[arg(long, value_name = "FOLDER")]
    sheet: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Decode without the loop filter: a fifth quicker, but not quite the pictures that the camera sent
    #[arg(long)]
    quick: bool,
}

/// Replays, compares, tells.
pub fn run(arguments: &BacktestArgs, config_path: &Path) -> anyhow::Result<u8> {
    let Some(loaded) = or_told(config::load_global(config_path)) else { return Ok(INPUT_WRONG) };
    let wrong = |cause: String| {
        eprintln!("{cause}");
        Ok(INPUT_WRONG)
    };
    let base = Base { camera: arguments.camera.as_deref(), loaded: &loaded };
    let variants = match variants::all(&base, &arguments.sets, &arguments.sweeps, arguments.suggest) {
        Ok(variants) => variants,
        Err(causes) => return wrong(causes.join("\n")),
    };
    let labels = match arguments.labels.as_deref().map(config::read_labels).transpose() {
        Ok(labels) => labels,
        Err(problem) => return wrong(problem.to_string()),
    };
    let takes = match takes::gather(arguments, labels, &loaded) {
        Ok(takes) => takes,
        Err(cause) => return wrong(cause),
    };
    if arguments.suggest && takes.iter().all(|take| !take.is_labelled()) {
        let hint = "say of some events whether they are right, on the page or in a file for --labels";
        return wrong(format!("nothing is labelled in this video, so nothing can be suggested ({hint})"));
    }
    let sheets = match arguments.sheet.as_deref().map(Sheets::in_folder).transpose() {
        Ok(sheets) => sheets,
        Err(cause) => return wrong(cause),
    };
    let cancel = Cancel::new();
    cancel_on_signal(cancel.clone())?;
    exit_code(replay(arguments, &takes, &variants, sheets, &cancel))
}

/// What one variant found in all takes.
struct Outcome {
    events: usize,
    /// None: nothing is labelled.
    figures: Option<Figures>,
    /// Against the first variant, by take.
    changes: Vec<Changes>,
}

fn replay(
    arguments: &BacktestArgs,
    takes: &[Take],
    variants: &[Variant],
    sheets: Option<Sheets>,
    cancel: &Cancel,
) -> Result<(), Trouble> {
    let mut progress = Progress::hidden();
    let length_us = takes.iter().map(|take| take.reel.length_us.max(0)).sum();
    progress.start(Some(length_us));
    let reels: Vec<_> = takes.iter().map(|take| take.reel.clone()).collect();
    let configs: Vec<_> = variants.iter().map(|variant| variant.config.clone()).collect();
    let options = Options { without_loop_filter: arguments.quick, ..Options::default() };
    let played = backtest::run(&reels, &configs, options, cancel, &|at_us| progress.set(at_us)).map_err(trouble);
    progress.clear();
    let played = played?;
    let outcomes: Vec<Outcome> = (0..variants.len()).map(|n| outcome(takes, &played, n)).collect();
    let report = Report { takes, played: &played, variants, outcomes: &outcomes };
    report.print(arguments.json, &mut io::stdout().lock()).map_err(Trouble::Output)?;
    if let Some(sheets) = sheets {
        for said in sheets.draw(&report, cancel)? {
            if !arguments.json {
                eprintln!("{said}");
            }
        }
    }
    let faults: Vec<String> = played.into_iter().flat_map(|played| played.faults).collect();
    if faults.is_empty() { Ok(()) } else { Err(Trouble::Input(faults.join("\n"))) }
}

fn trouble(error: BacktestError) -> Trouble {
    match error {
        BacktestError::Cancelled => Trouble::Input("ended before it was done".to_owned()),
        error => Trouble::Ours(error.into()),
    }
}

fn outcome(takes: &[Take], played: &[Played], variant: usize) -> Outcome {
    let mut outcome = Outcome { events: 0, figures: None, changes: Vec::new() };
    for (take, played) in takes.iter().zip(played) {
        let run = &played.runs[variant];
        outcome.events += run.events.len();
        outcome.changes.push(compare(&spans(&played.runs[0].events), &spans(&run.events)));
        if let Some(truth) = take.truth(played.last_us) {
            let moving: Vec<Seconds> = run.moving.iter().map(|&(from, to)| (seconds(from), seconds(to))).collect();
            outcome.figures.get_or_insert_default().add(&judge(&truth, &moving));
        }
    }
    outcome
}

fn spans(events: &[FoundEvent]) -> Vec<Seconds> {
    events.iter().map(|event| (seconds(event.start_us), seconds(event.last_motion_us))).collect()
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
