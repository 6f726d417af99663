//! `tarsier inspect`: what the detector sees in a source, as a video, in a browser, and as a report at the end.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::limit::LimitArgs;
use super::look::{News, Progress, Trouble, Viewer, Watch, cancel_on_signal, exit_code, is_same_file, look, seconds};
use super::{INPUT_WRONG, or_told};
use crate::actors::shared::Playback;
use crate::clock;
use crate::config;
use crate::domain::config::{Algorithm, DetectConfig};
use crate::domain::motion::MotionState;
use crate::domain::separation::{Separation, middle};
use crate::domain::source_url::SourceKind;
use crate::media::decode::DecodeCounts;
use crate::media::encode::EncoderError;
use crate::media::encode::file::{EncodeError, VideoFile};
use crate::media::packet::Session;
use crate::media::panes::{Facts, Panes};
use crate::media::picture::{BgrView, Picture, ToBgr};
use crate::media::source::{Cancel, Source};
use crate::media::{LumaView, Score, jpeg};
use crate::web::PanesServer;

/// Pictures for browsers come no faster than that.
const BROWSER_STEP: Duration = Duration::from_millis(33);

/// What `tarsier inspect` takes.
#[derive(Args)]
pub struct InspectArgs {
    /// Address, device or file; ${NAME} is taken from the environment
    #[arg(value_name = "SOURCE", required_unless_present = "camera")]
    source: Option<String>,
    /// Take the configuration from a camera's file, and its source where none is given
    #[arg(long, value_name = "FILE")]
    camera: Option<PathBuf>,
    /// Change a key of the camera's configuration
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write the panes to this MP4 file
    #[arg(long, value_name = "FILE", value_parser = mp4_path)]
    out: Option<PathBuf>,
    /// Show the panes in a browser on this machine; a file then plays in its own time and waits for the first viewer.
    /// Without a port the system picks one
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    serve: Option<u16>,
    #[command(flatten)]
    limit: LimitArgs,
}

fn mp4_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("mp4") => Ok(path),
        _ => Err("the video is an MP4 file: let its name end in .mp4".to_owned()),
    }
}

/// Looks at the source until it ends or a signal comes.
pub fn run(arguments: &InspectArgs, config_path: &Path) -> anyhow::Result<u8> {
    let (source, sets) = (arguments.source.as_deref(), &arguments.sets[..]);
    let camera = config::load_global(config_path).and_then(|loaded| match (&arguments.camera, source) {
        (Some(file), source) => config::camera_from_file(file, source, sets, &loaded),
        (None, source) => config::camera_from_source(source.unwrap_or_default(), sets, &loaded),
    });
    let Some(camera) = or_told(camera) else { return Ok(INPUT_WRONG) };
    let url = camera.detect_source.as_ref().unwrap_or(&camera.source);
    let is_file = url.kind() == SourceKind::File;
    if let Some(out) = &arguments.out
        && is_file
        && is_same_file(out, Path::new(url.expose()))
    {
        eprintln!("{}: is the source itself; name another file", out.display());
        return Ok(INPUT_WRONG);
    }
    let cancel = Cancel::new();
    cancel_on_signal(cancel.clone())?;
    let mut inspector = Inspector {
        watch: Watch::new(&camera)?.with_tamper(&camera),
        report: Report { has_level: camera.detect.algorithm == Algorithm::Seed, ..Report::default() },
        to_bgr: ToBgr::default(),
        panes: None,
        out: arguments.out.clone(),
        video: None,
        serve: arguments.serve,
        server: None,
        shown: None,
        cancel: cancel.clone(),
        is_file,
        quarter_turns: 0,
        detect: camera.detect.clone(),
        session: None,
        progress: Progress::hidden(),
        fault: None,
    };
    let real_time = is_file && arguments.serve.is_some();
    let playback = Playback { real_time, at_most: arguments.limit.at_most() };
    let mut result = look(&camera, playback, &cancel, &mut inspector);
    if result.is_ok() && inspector.report.pictures == 0 && !cancel.is_cancelled() {
        result = Err(Trouble::Input(format!("{url}: holds no picture that could be decoded")));
    }
    inspector.progress.clear();
    exit_code(result)
}

/// Draws, shows and counts what the detector sees.
struct Inspector {
    watch: Watch,
    report: Report,
    to_bgr: ToBgr,
    /// There from the first picture on, where somebody wants to see it.
    panes: Option<Panes>,
    out: Option<PathBuf>,
    video: Option<VideoFile>,
    serve: Option<u16>,
    server: Option<PanesServer>,
    /// When a browser was last given a picture.
    shown: Option<Instant>,
    cancel: Cancel,
    is_file: bool,
    quarter_turns: u8,
    detect: DetectConfig,
    session: Option<Arc<Session>>,
    progress: Progress,
    fault: Option<Trouble>,
}

impl Viewer for Inspector {
    fn opened(&mut self, session: &Arc<Session>, source: &dyn Source) -> Result<(), Trouble> {
        self.quarter_turns = source.quarter_turns();
        self.session = Some(Arc::clone(session));
        if let Some(port) = self.serve {
            let server = PanesServer::start(port)
                .map_err(|error| Trouble::Input(format!("cannot listen on port {port} of this machine: {error}")))?;
            print(&format!("{}\n", server.url()))?;
            if self.is_file {
                eprintln!("waiting for somebody to open it");
                while !server.wait_for_viewer(Duration::from_millis(100)) && !self.cancel.is_cancelled() {}
            }
            self.server = Some(server);
        }
        self.progress.start(source.duration_us());
        Ok(())
    }

    fn look(&mut self, view: &LumaView, picture: Picture) {
        if self.fault.is_none() {
            self.fault = self.inspect(view, picture).err();
        }
    }

    fn after_packet(&mut self) -> Result<(), Trouble> {
        self.progress.set(self.watch.last_us);
        self.fault.take().map_or(Ok(()), Err)
    }

    fn end(&mut self, counts: DecodeCounts) -> Result<(), Trouble> {
        self.watch.end();
        self.report.hear(self.watch.news());
        self.after_packet()?;
        if let Some(video) = self.video.take() {
            video.finish().map_err(encode_trouble)?;
        }
        self.progress.clear();
        if counts.errors > 0 {
            eprintln!("{} damaged packets or pictures", counts.errors);
        }
        if self.report.pictures > 0 {
            print(&self.report.text())?;
        }
        Ok(())
    }
}

impl Inspector {
    fn inspect(&mut self, view: &LumaView, picture: Picture) -> Result<(), Trouble> {
        let score = self.watch.look(view)?;
        let at_us = self.watch.since_first_us(view.pts_us);
        let state = self.watch.state();
        self.report.add(at_us, &score, state, self.watch.detector.picture_size());
        self.report.hear(self.watch.news());

        let for_browser = self.is_browser_ready();
        if self.out.is_none() && !for_browser {
            return Ok(());
        }
        let panes = match &mut self.panes {
            Some(panes) => panes,
            none => none.insert(Panes::new(view.width, view.height, self.quarter_turns, &self.detect)?),
        };
        let (width, height) = panes.source_size(view.width, view.height);
        let source = self.to_bgr.run(picture, width, height).map_err(|error| {
            Trouble::Input(format!("cannot draw pictures of {}x{}: {error}", view.width, view.height))
        })?;
        let time = match (&self.session, self.is_file) {
            (Some(session), false) => session.utc(view.pts_us).format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            _ => time_text(at_us),
        };
        let detector = &self.watch.detector;
        let facts = Facts { score: &score, state, tampering: detector.tampering(), at_us, time: &time };
        let drawing = panes.draw(source, |stage| detector.stage(stage), &facts)?;
        if let Some(out) = &self.out {
            write(&mut self.video, out, drawing, at_us).map_err(encode_trouble)?;
        }
        if for_browser && let Some(server) = &self.server {
            server.show(jpeg::of_drawing(drawing).map_err(|error| Trouble::Ours(error.into()))?);
            self.shown = Some(clock::monotonic());
        }
        Ok(())
    }

    fn is_browser_ready(&self) -> bool {
        self.server.as_ref().is_some_and(PanesServer::is_watched)
            && self.shown.is_none_or(|shown| clock::monotonic().duration_since(shown) >= BROWSER_STEP)
    }
}

/// Writes into the file, which begins with the first picture.
fn write(video: &mut Option<VideoFile>, path: &Path, drawing: BgrView, at_us: i64) -> Result<(), EncodeError> {
    let video = match video {
        Some(video) => video,
        none => none.insert(VideoFile::create(path, drawing.width, drawing.height)?),
    };
    video.write(drawing, at_us)
}

fn encode_trouble(error: EncodeError) -> Trouble {
    match error {
        EncodeError::File { .. } | EncodeError::Encoder(EncoderError::Missing(_)) => Trouble::Input(error.to_string()),
        EncodeError::Encoder(_) | EncodeError::Libav(_) => Trouble::Ours(error.into()),
    }
}

fn print(text: &str) -> Result<(), Trouble> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Trouble::Output)
}

/// `01:02:03.4`
fn time_text(us: i64) -> String {
    let tenths = us.max(0) / 100_000;
    let s = tenths / 10;
    format!("{:02}:{:02}:{:02}.{}", s / 3600, s / 60 % 60, s % 60, tenths % 10)
}

/// What there is to say at the end.
#[derive(Default)]
struct Report {
    pictures: u64,
    /// Of the pictures that are compared.
    size: (u32, u32),
    level_pixels: u32,
    /// Motion is what reaches the level, and nothing else.
    has_level: bool,
    last: Option<(i64, MotionState)>,
    warm_up_us: i64,
    idle_us: i64,
    motion_us: i64,
    events: Vec<Event>,
    /// The largest change in the event that is open.
    peak: u32,
    /// The largest change while idle; None: there was no such picture.
    idle_peak: Option<u32>,
    /// Of all pictures after the warm-up.
    separation: Separation,
}

struct Event {
    start: f64,
    end: f64,
    open: bool,
    peak: u32,
}

impl Report {
    fn add(&mut self, at_us: i64, score: &Score, state: MotionState, size: (u32, u32)) {
        self.pictures += 1;
        self.size = size;
        self.level_pixels = score.level_pixels;
        let changed = score.changed_pixels;
        if let Some((before_us, before)) = self.last.replace((at_us, state)) {
            let step_us = (at_us - before_us).max(0);
            match before {
                MotionState::WarmUp { .. } => self.warm_up_us += step_us,
                MotionState::Idle => self.idle_us += step_us,
                MotionState::Motion { .. } => self.motion_us += step_us,
            }
        }
        match state {
            MotionState::WarmUp { .. } => return,
            MotionState::Idle => self.idle_peak = self.idle_peak.max(Some(changed)),
            MotionState::Motion { .. } => self.peak = self.peak.max(changed),
        }
        self.separation.add(changed);
    }

    fn hear(&mut self, news: Vec<News>) {
        for news in news {
            if let News::Event { start, end, open } = news {
                self.events.push(Event { start, end, open, peak: std::mem::take(&mut self.peak) });
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String never fails.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let total_us = self.warm_up_us + self.idle_us + self.motion_us;
        let (width, height) = self.size;
        writeln!(out, "{} pictures in {:.1} s, compared at {width}x{height}", self.pictures, seconds(total_us))?;
        for (what, us) in [("warm-up", self.warm_up_us), ("idle", self.idle_us), ("motion", self.motion_us)] {
            let percent = 100.0 * us as f64 / total_us.max(1) as f64;
            writeln!(out, "  {what:8} {:9.1} s {percent:5.1} %", seconds(us))?;
        }
        writeln!(out, "events: {}", self.events.len())?;
        for Event { start, end, open, peak } in &self.events {
            let open = if *open { ", open at the end" } else { "" };
            writeln!(out, "  {start:10.3} s to {end:10.3} s, at most {}{open}", self.area(*peak))?;
        }
        if self.has_level { self.write_level(out) } else { Ok(()) }
    }

    fn write_level(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "level: {}", self.area(self.level_pixels))?;
        let weakest = self.events.iter().map(|event| event.peak).min();
        if let Some(idle) = self.idle_peak {
            writeln!(out, "  idle pictures changed by at most {}", self.area(idle))?;
        }
        match (self.idle_peak, weakest) {
            (Some(idle), Some(weakest)) if weakest > idle => {
                writeln!(out, "  the weakest event reached {}", self.area(weakest))?;
                let level = self.area(middle(idle, weakest));
                writeln!(out, "  {level} would tell these events from idle with most room on both sides")?;
            }
            (_, Some(weakest)) => writeln!(out, "  the weakest event reached {}", self.area(weakest))?,
            (_, None) => {}
        }
        match self.separation.split() {
            Some(split) => {
                let (quiet, moving) = (self.area(split.quiet_most), self.area(split.moving_least));
                writeln!(out, "whatever the level, the pictures after the warm-up fall into two groups:")?;
                writeln!(out, "  {} quiet ones, at most {quiet}", split.quiet_pictures)?;
                writeln!(out, "  {} moving ones, at least {moving}", split.moving_pictures)?;
                let level = split.level_pixels;
                writeln!(out, "  {} separates them: --set detect.min_area={level}", self.area(level))
            }
            None => writeln!(out, "whatever the level, the pictures after the warm-up don't fall into two groups"),
        }
    }

    fn area(&self, pixels: u32) -> String {
        format!("{pixels} px ({})", self.share_text(pixels))
    }

    fn share_text(&self, pixels: u32) -> String {
        let all = f64::from(self.size.0) * f64::from(self.size.1);
        format!("{:.2}%", 100.0 * f64::from(pixels) / all.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Finding;

    fn score(changed_pixels: u32) -> Score {
        let moving = changed_pixels >= 1500;
        Score { changed_pixels, level_pixels: 1500, moving, finding: Finding::default() }
    }

    #[test]
    fn the_report_holds_events_shares_and_the_level() {
        let mut report = Report { has_level: true, ..Report::default() };
        let mut add = |at_s: i64, changed, state| report.add(at_s * 1_000_000, &score(changed), state, (500, 281));
        let (warm_up, motion) = (MotionState::WarmUp { left_us: 1 }, MotionState::Motion { left_us: 1 });
        for at_s in 0..5 {
            add(at_s, 100_000, warm_up);
        }
        for at_s in 5..13 {
            add(at_s, 99, MotionState::Idle);
        }
        for at_s in 13..20 {
            add(at_s, 10_000, motion);
        }
        add(20, 0, MotionState::Idle);
        report.hear(vec![News::Started { start: 13.0 }, News::Event { start: 13.0, end: 19.0, open: false }]);
        let expected = "\
21 pictures in 20.0 s, compared at 500x281
  warm-up        5.0 s  25.0 %
  idle           8.0 s  40.0 %
  motion         7.0 s  35.0 %
events: 1
      13.000 s to     19.000 s, at most 10000 px (7.12%)
level: 1500 px (1.07%)
  idle pictures changed by at most 99 px (0.07%)
  the weakest event reached 10000 px (7.12%)
  1000 px (0.71%) would tell these events from idle with most room on both sides
whatever the level, the pictures after the warm-up fall into two groups:
  9 quiet ones, at most 99 px (0.07%)
  7 moving ones, at least 10000 px (7.12%)
  1000 px (0.71%) separates them: --set detect.min_area=1000
";
        assert_eq!(report.text(), expected);
    }

    #[test]
    fn times_are_of_a_clock() {
        assert_eq!(time_text(3_723_456_789), "01:02:03.4");
        assert_eq!(time_text(-1), "00:00:00.0");
    }
}
