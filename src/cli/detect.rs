//! `tarsier detect`: when there is motion in a source, without a daemon and without recording.
//!
//! Files are read as fast as the processor can, live sources as they come; all times are the stream's own, so both
//! give the same events.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{DONE, INPUT_WRONG};
use crate::config;
use crate::domain::config::{AudioMode, CameraConfig};
use crate::domain::motion::{Motion, MotionChange};
use crate::domain::stream::Track;
use crate::media::decode::DecodeCounts;
use crate::media::packet::Session;
use crate::media::source::{self, Cancel, OpenOptions, SourceErrorKind};
use crate::media::{DecodeError, DetectError, Detector, LumaDecoder, LumaView};

/// What `tarsier detect` takes.
#[derive(Args)]
pub struct DetectArgs {
    /// Address, device or file; ${NAME} is taken from the environment
    #[arg(value_name = "SOURCE")]
    source: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Change a key of the camera's configuration
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Looks at the source until it ends or a signal comes.
pub fn run(arguments: &DetectArgs, config_path: &Path) -> anyhow::Result<u8> {
    let camera = config::load_global(config_path)
        .and_then(|loaded| config::camera_from_source(&arguments.source, &arguments.sets, &loaded));
    let camera = match camera {
        Ok(camera) => camera,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            return Ok(INPUT_WRONG);
        }
    };
    let cancel = Cancel::new();
    cancel_on_signal(cancel.clone())?;
    let mut printer = Printer { json: arguments.json, out: io::stdout(), bar: ProgressBar::hidden() };
    match look(&camera, &cancel, &mut printer) {
        Ok(()) => Ok(DONE),
        Err(Trouble::Input(cause)) => {
            printer.bar.finish_and_clear();
            eprintln!("{cause}");
            Ok(INPUT_WRONG)
        }
        // Whoever closed the pipe has seen enough.
        Err(Trouble::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(DONE),
        Err(Trouble::Output(error)) => Err(error).context("cannot write to the standard output"),
        Err(Trouble::Ours(error)) => Err(error.into()),
    }
}

/// Why it ended early.
enum Trouble {
    Input(String),
    Output(io::Error),
    Ours(DetectError),
}

/// The first signal ends the work in order, a second one at once.
fn cancel_on_signal(cancel: Cancel) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for (number, signal) in signals.forever().enumerate() {
                if number > 0 {
                    std::process::exit(128 + signal);
                }
                cancel.cancel();
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn look(camera: &CameraConfig, cancel: &Cancel, printer: &mut Printer<impl Write>) -> Result<(), Trouble> {
    let url = camera.detect_source.clone().unwrap_or_else(|| camera.source.clone());
    let options = OpenOptions {
        url: url.clone(),
        transport: camera.transport,
        connect_timeout: camera.connect_timeout,
        read_timeout: camera.read_timeout,
        keyframe_timeout: source::KEYFRAME_TIMEOUT,
        repeat: false,
        real_time: false,
        audio: AudioMode::Off,
    };
    let session = Arc::new(Session::new(1));
    let mut source = match source::open(&options, session, cancel) {
        Ok(source) => source,
        Err(error) if error.kind == SourceErrorKind::Cancelled => return Ok(()),
        Err(error) => return Err(Trouble::Input(error.to_string())),
    };
    printer.start_bar(source.duration_us());

    let mut decoder = LumaDecoder::new();
    let mut watch = Watch::new(camera).map_err(Trouble::Ours)?;
    let ended = loop {
        let packet = match source.next() {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(error) if error.kind == SourceErrorKind::Cancelled => break Ok(()),
            Err(error) => break Err(Trouble::Input(error.to_string())),
        };
        if packet.track != Track::Video {
            continue;
        }
        // The decoder counts what is damaged and goes on.
        if let Err(error @ DecodeError::Unsupported { .. }) = decoder.decode(&packet, &mut |view| watch.look(&view)) {
            break Err(Trouble::Input(format!("{url}: {error}")));
        }
        watch.hand_over(printer)?;
    };
    // What is still inside counts, however the stream ended.
    decoder.drain(&mut |view| watch.look(&view)).ok();
    watch.end();
    watch.hand_over(printer)?;
    printer.bar.finish_and_clear();
    printer.sum_up(&watch, decoder.counts());
    ended
}

/// Motion in the stream's time, counted from its first picture.
struct Watch {
    detector: Detector,
    motion: Motion,
    first_us: Option<i64>,
    last_us: i64,
    events: u64,
    news: Vec<News>,
    fault: Option<DetectError>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum News {
    Started { start: f64 },
    Event { start: f64, end: f64, open: bool },
}

impl Watch {
    fn new(camera: &CameraConfig) -> Result<Self, DetectError> {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Ok(Watch {
            detector: Detector::new(&camera.detect)?,
            motion: Motion::new(us(camera.detect.warm_up), us(camera.detect.minimal_duration)),
            first_us: None,
            last_us: 0,
            events: 0,
            news: Vec::new(),
            fault: None,
        })
    }

    fn look(&mut self, view: &LumaView) {
        self.first_us.get_or_insert(view.pts_us);
        self.last_us = self.last_us.max(self.since_first_us(view.pts_us));
        match self.detector.look(view) {
            Ok(score) => {
                let change = self.motion.look(view.session, view.pts_us, score.moving);
                self.take(change, false);
            }
            Err(error) => self.fault = Some(error),
        }
    }

    /// The stream is over: an event that is open ends with its last motion.
    fn end(&mut self) {
        let change = self.motion.end();
        self.take(change, true);
    }

    fn take(&mut self, change: Option<MotionChange>, open: bool) {
        match change {
            Some(MotionChange::Started { onset_us }) => {
                self.events += 1;
                self.news.push(News::Started { start: seconds(self.since_first_us(onset_us)) });
            }
            Some(MotionChange::Ended { onset_us, last_motion_us }) => {
                let (start, end) = (self.since_first_us(onset_us), self.since_first_us(last_motion_us));
                self.news.push(News::Event { start: seconds(start), end: seconds(end), open });
            }
            Some(MotionChange::Prolonged { .. }) | None => {}
        }
    }

    fn since_first_us(&self, pts_us: i64) -> i64 {
        pts_us.saturating_sub(self.first_us.unwrap_or(pts_us))
    }

    fn hand_over(&mut self, printer: &mut Printer<impl Write>) -> Result<(), Trouble> {
        if let Some(fault) = self.fault.take() {
            return Err(Trouble::Ours(fault));
        }
        for news in self.news.drain(..) {
            printer.tell(news).map_err(Trouble::Output)?;
        }
        printer.bar.set_position(self.last_us.unsigned_abs() / 1000);
        Ok(())
    }
}

/// Seconds to the millisecond.
fn seconds(us: i64) -> f64 {
    (us as f64 / 1000.0).round() / 1000.0
}

/// What is printed, and how far the work is.
struct Printer<W> {
    json: bool,
    out: W,
    /// On standard error, in milliseconds; seen on a terminal only.
    bar: ProgressBar,
}

#[derive(Serialize)]
struct Line {
    event: &'static str,
    start: f64,
    end: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
}

impl<W: Write> Printer<W> {
    fn start_bar(&mut self, duration_us: Option<i64>) {
        self.bar = match duration_us {
            Some(us) => {
                ProgressBar::new(us.unsigned_abs() / 1000).with_style(style("{wide_bar} {percent}% {eta} left"))
            }
            None => ProgressBar::new_spinner().with_style(style("{spinner} looking, Ctrl-C ends it")),
        };
    }

    fn tell(&mut self, news: News) -> io::Result<()> {
        let Some(line) = self.line(news) else { return Ok(()) };
        let out = &mut self.out;
        self.bar.suspend(|| {
            out.write_all(line.as_bytes())?;
            out.flush()
        })
    }

    fn line(&self, news: News) -> Option<String> {
        Some(match (news, self.json) {
            (News::Started { .. }, true) => return None,
            (News::Started { start }, false) => format!("{start:10.3} s  motion\n"),
            (News::Event { start, end, open }, true) => {
                let line = Line { event: "motion", start, end, open };
                serde_json::to_string(&line).expect("numbers and a word become JSON") + "\n"
            }
            (News::Event { start, end, open }, false) => {
                let how = if open { "last motion, still within an event" } else { "last motion" };
                format!("{end:10.3} s  {how}, after {:.3} s\n", end - start)
            }
        })
    }

    /// For people, on standard error.
    fn sum_up(&self, watch: &Watch, counts: DecodeCounts) {
        if counts.errors > 0 {
            eprintln!("{} damaged packets or pictures", counts.errors);
        }
        if !self.json {
            eprintln!("{} events in {:.1} s ({} pictures)", watch.events, seconds(watch.last_us), counts.pictures);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: bool, news: News) -> Option<String> {
        Printer { json, out: Vec::new(), bar: ProgressBar::hidden() }.line(news)
    }

    #[test]
    fn an_event_is_one_object_a_line() {
        let event = |open| News::Event { start: 12.4, end: 31.0, open };
        assert_eq!(line(true, News::Started { start: 12.4 }), None);
        assert_eq!(line(true, event(false)).unwrap(), "{\"event\":\"motion\",\"start\":12.4,\"end\":31.0}\n");
        assert_eq!(
            line(true, event(true)).unwrap(),
            "{\"event\":\"motion\",\"start\":12.4,\"end\":31.0,\"open\":true}\n"
        );
    }

    #[test]
    fn people_get_lines_too() {
        assert_eq!(line(false, News::Started { start: 12.4 }).unwrap(), "    12.400 s  motion\n");
        let event = News::Event { start: 12.4, end: 31.0, open: false };
        assert_eq!(line(false, event).unwrap(), "    31.000 s  last motion, after 18.600 s\n");
    }

    #[test]
    fn seconds_are_rounded_to_milliseconds() {
        assert_eq!(seconds(12_400_067), 12.4);
        assert_eq!(seconds(-66_667), -0.067);
    }
}
