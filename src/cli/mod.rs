//! The command line: what each command takes, and how its end becomes an exit code.

pub mod backtest;
pub mod check;
pub mod detect;
pub mod import_pynvr;
pub mod inspect;
mod limit;
mod look;
mod people;
pub mod record;
pub mod recordings;
mod retention;
pub mod run;
mod sheet;
mod token;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Problem;
use crate::media::confirm;

/// Done.
pub const DONE: u8 = 0;
/// The input or the configuration was wrong.
pub const INPUT_WRONG: u8 = 1;
/// A fault of Tarsier's own.
pub const OUR_FAULT: u8 = 70;

#[derive(Parser)]
#[command(
    name = "tarsier",
    version,
    about = "A network video recorder: drop a YAML file, get recordings with their pre-alarm",
    after_help = "Examples:\n  tarsier run --config /etc/tarsier/tarsier.yaml\n  tarsier check\n  tarsier detect --json clip.mp4\n  tarsier record /dev/video0 --out recordings\n  tarsier recordings list"
)]
struct Arguments {
    /// The global configuration; it may be missing, then defaults apply
    #[arg(long, global = true, default_value = "tarsier.yaml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the recorder: one camera for each file in config.d
    #[command(after_help = "Example:\n  tarsier run --config /etc/tarsier/tarsier.yaml")]
    Run,
    /// Check the configuration and print every problem of every file
    #[command(after_help = "Example:\n  tarsier check --config /etc/tarsier/tarsier.yaml --effective")]
    Check {
        /// Print the merged configuration of every camera, and where each value came from
        #[arg(long)]
        effective: bool,
    },
    /// Find motion in a source and print when it happens
    #[command(
        after_help = "Examples:\n  tarsier detect --json clip.mp4\n  tarsier detect 'rtsp://viewer:${PASSWORD}@192.0.2.10/live' --set detect.algorithm=seed\n  tarsier detect night.mkv --sheet events.png"
    )]
    Detect(detect::DetectArgs),
    /// Replay stored video through the detector: what other values would have found, and how right that is
    #[command(
        after_help = "Examples:\n  tarsier backtest --camera front-door --from 2026-05-01 --set detect.fps=5 --sheet changes\n  tarsier backtest --labels clips/truth.json --sweep detect.algorithm=adaptive,seed\n  tarsier backtest --camera front-door --suggest"
    )]
    Backtest(backtest::BacktestArgs),
    /// Show what the detector sees: as a video, in a browser, and as a report
    #[command(
        after_help = "Examples:\n  tarsier inspect clip.mp4 --out panes.mp4 --set detect.algorithm=seed\n  tarsier inspect --camera config.d/front-door.yaml --serve"
    )]
    Inspect(inspect::InspectArgs),
    /// Record one source without a daemon
    #[command(
        after_help = "Example:\n  tarsier record 'rtsp://viewer:${PASSWORD}@192.0.2.10/live' --out recordings --for 1h"
    )]
    Record(record::RecordArgs),
    /// Turn a configuration of pynvr into one of Tarsier; runs no Python
    #[command(
        after_help = "Examples:\n  tarsier import-pynvr config.py\n  tarsier import-pynvr config.py --camera front-door --out /etc/tarsier"
    )]
    ImportPynvr(import_pynvr::ImportArgs),
    /// List, verify or repair the recordings of the archive
    #[command(subcommand, after_help = "Example:\n  tarsier recordings list --camera front-door")]
    Recordings(recordings::RecordingsCommand),
    /// Add, list, change or remove users; with the first one everyone has to log in
    #[command(
        subcommand,
        after_help = "Examples:\n  tarsier user add anna --role admin\n  tarsier user add bert --camera front-door --camera yard\n  tarsier user list"
    )]
    User(user::UserCommand),
    /// Add, list or remove tokens, by which programs come in
    #[command(subcommand, after_help = "Example:\n  tarsier token add prometheus --expires 365d")]
    Token(token::TokenCommand),
    /// Look at pictures with a model; the daemon starts this, nobody else
    #[command(hide = true)]
    Confirm,
}

/// What was read of a configuration. None: its faults are told, one a line.
fn or_told<T>(read: Result<T, Vec<Problem>>) -> Option<T> {
    read.map_err(|problems| problems.iter().for_each(|problem| eprintln!("{problem}"))).ok()
}

/// Runs the command that was asked for.
pub fn main() -> ExitCode {
    crate::failpoint::set_up();
    let arguments = Arguments::parse();
    let config = arguments.config;
    let done = match arguments.command {
        Command::Run => run::run(&config),
        Command::Check { effective } => Ok(check::run(&config, effective)),
        Command::Detect(arguments) => detect::run(&arguments, &config),
        Command::Backtest(arguments) => backtest::run(&arguments, &config),
        Command::Inspect(arguments) => inspect::run(&arguments, &config),
        Command::Record(arguments) => record::run(&arguments, &config),
        Command::ImportPynvr(arguments) => import_pynvr::run(&arguments),
        Command::Recordings(command) => recordings::run(&command, &config),
        Command::User(command) => user::run(&command, &config),
        Command::Token(command) => token::run(&command, &config),
        Command::Confirm => {
            let served = confirm::serve(std::io::stdin().lock(), std::io::stdout().lock());
            served.map(|()| DONE).map_err(anyhow::Error::from)
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tarsier: {}", crate::domain::source_url::redact_urls(&format!("{error:#}")));
            ExitCode::from(OUR_FAULT)
        }
    }
}
