//! What the commands that look at one source have in common: reading and decoding it to its end, when there is
//! motion, signals, the progress bar. What they tell of it is theirs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{DONE, INPUT_WRONG, limit};
use crate::actors::shared::Playback;
use crate::clock;
use crate::domain::config::{AudioMode, CameraConfig};
use crate::domain::motion::{Motion, MotionChange, MotionState};
use crate::domain::source_url::SourceKind;
use crate::domain::stream::Track;
use crate::media::decode::DecodeCounts;
use crate::media::packet::Session;
use crate::media::picture::Picture;
use crate::media::source::{self, Cancel, OpenOptions, Source, SourceErrorKind};
use crate::media::{DecodeError, DetectError, Detector, LumaDecoder, LumaView, Score};

/// Why a look ended early.
pub enum Trouble {
    /// What was asked for can't be done.
    Input(String),
    /// Standard output is closed.
    Output(io::Error),
    Ours(anyhow::Error),
}

impl From<DetectError> for Trouble {
    fn from(error: DetectError) -> Self {
        Trouble::Ours(error.into())
    }
}

/// Says what the trouble is, and with which code the process ends.
pub fn exit_code(result: Result<(), Trouble>) -> anyhow::Result<u8> {
    match result {
        Ok(()) => Ok(DONE),
        Err(Trouble::Input(cause)) => {
            eprintln!("{cause}");
            Ok(INPUT_WRONG)
        }
        // Whoever closed the pipe has seen enough.
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(DONE),
        Err(Trouble::Output(error)) => Err(error).context("cannot write to the standard output"),
        Err(Trouble::Ours(error)) => Err(error),
    }
}

/// Who looks.
pub trait Viewer {
    /// The source is open.
    fn opened(&mut self, session: &Arc<Session>, source: &dyn Source) -> Result<(), Trouble>;
    /// The next picture, in order of presentation.
    fn look(&mut self, view: &LumaView, picture: Picture);
    /// After a packet, whose pictures have been looked at.
    fn after_packet(&mut self) -> Result<(), Trouble>;
    /// The source is over, in whatever way.
    fn end(&mut self, counts: DecodeCounts) -> Result<(), Trouble>;
}

/// Shows `viewer` the pictures that `camera` detects motion in, until the source ends, is cancelled, or has been
/// looked at for long enough.
pub fn look(
    camera: &CameraConfig,
    Playback { real_time, at_most }: Playback,
    cancel: &Cancel,
    viewer: &mut impl Viewer,
) -> Result<(), Trouble> {
    let url = camera.detect_source.clone().unwrap_or_else(|| camera.source.clone());
    let options = OpenOptions {
        url: url.clone(),
        transport: camera.transport,
        connect_timeout: camera.connect_timeout,
        read_timeout: camera.read_timeout,
        keyframe_timeout: source::KEYFRAME_TIMEOUT,
        repeat: false,
        real_time,
        at_most,
        audio: AudioMode::Off,
    };
    let is_time_over = Arc::new(AtomicBool::new(false));
    if let Some(at_most) = at_most.filter(|_| url.kind() != SourceKind::File) {
        let (cancel, is_over) = (cancel.clone(), Arc::clone(&is_time_over));
        limit::after(at_most, move || {
            is_over.store(true, Ordering::Relaxed);
            cancel.cancel();
        })
        .map_err(Trouble::Ours)?;
    }
    let too_late = || Trouble::Input(format!("{url}: no picture came before the time was over"));
    let session = Arc::new(Session::new(1));
    let mut source = match source::open(&options, Arc::clone(&session), cancel) {
        Ok(source) => source,
        Err(error) if error.kind == SourceErrorKind::Cancelled => {
            return if is_time_over.load(Ordering::Relaxed) { Err(too_late()) } else { Ok(()) };
        }
        Err(error) => return Err(Trouble::Input(error.to_string())),
    };
    viewer.opened(&session, source.as_ref())?;

    let is_as_fast_as_can_be = url.kind() == SourceKind::File && !real_time;
    let mut decoder = if is_as_fast_as_can_be { LumaDecoder::with_all_threads() } else { LumaDecoder::new() };
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
        if let Err(error @ DecodeError::Unsupported { .. }) =
            decoder.decode_pictures(&packet, &mut |view, picture| viewer.look(&view, picture))
        {
            break Err(Trouble::Input(format!("{url}: {error}")));
        }
        viewer.after_packet()?;
    };
    // What is still inside counts, however the stream ended.
    decoder.drain_pictures(&mut |view, picture| viewer.look(&view, picture)).ok();
    viewer.end(decoder.counts())?;
    if ended.is_ok() && decoder.counts().pictures == 0 && is_time_over.load(Ordering::Relaxed) {
        return Err(too_late());
    }
    ended
}

/// The first signal ends the work in order, a second one at once.
pub fn cancel_on_signal(cancel: Cancel) -> anyhow::Result<()> {
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

/// Motion in the stream's time, counted from its first picture.
pub struct Watch {
    pub detector: Detector,
    motion: Motion,
    first_us: Option<i64>,
    /// Of the latest picture.
    pub last_us: i64,
    pub events: u64,
    news: Vec<News>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum News {
    Started { start: f64 },
    Event { start: f64, end: f64, open: bool },
}

impl Watch {
    pub fn new(camera: &CameraConfig) -> Result<Self, DetectError> {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Ok(Watch {
            detector: Detector::new(&camera.detect)?,
            motion: Motion::new(us(camera.detect.warm_up), us(camera.detect.minimal_duration)),
            first_us: None,
            last_us: 0,
            events: 0,
            news: Vec::new(),
        })
    }

    /// Looks for tampering too.
    pub fn with_tamper(mut self, camera: &CameraConfig) -> Self {
        self.detector = self.detector.with_tamper(&camera.detect);
        self
    }

    /// Looks at the next picture.
    pub fn look(&mut self, view: &LumaView) -> Result<Score, DetectError> {
        self.first_us.get_or_insert(view.pts_us);
        self.last_us = self.last_us.max(self.since_first_us(view.pts_us));
        let score = self.detector.look(view)?;
        let change = self.motion.look(view.session, view.pts_us, score.moving);
        self.take(change, false);
        Ok(score)
    }

    /// The stream is over: an event that is open ends with its last motion.
    pub fn end(&mut self) {
        let change = self.motion.end();
        self.take(change, true);
    }

    /// What there is to tell since it was asked last.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    pub fn state(&self) -> MotionState {
        self.motion.state()
    }

    pub fn since_first_us(&self, pts_us: i64) -> i64 {
        pts_us.saturating_sub(self.first_us.unwrap_or(pts_us))
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
}

/// Seconds to the millisecond.
pub fn seconds(us: i64) -> f64 {
    (us as f64 / 1000.0).round() / 1000.0
}

/// How far the work is, on standard error; seen on a terminal only.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    pub fn hidden() -> Self {
        Progress { bar: ProgressBar::hidden(), began: clock::monotonic() }
    }

    pub fn start(&mut self, duration_us: Option<i64>) {
        self.began = clock::monotonic();
        self.bar = match duration_us {
            Some(us) => ProgressBar::new(us.unsigned_abs() / 1000)
                .with_style(style("{wide_bar} {percent}%, {msg}, {eta} left"))
                .with_message("0x"),
            None => ProgressBar::new_spinner().with_style(style("{spinner} looking, Ctrl-C ends it")),
        };
    }

    /// The stream is looked at up to here.
    pub fn set(&self, at_us: i64) {
        if self.bar.is_hidden() {
            return;
        }
        let took_s = clock::monotonic().duration_since(self.began).as_secs_f64();
        self.bar.set_message(format!("{:.1}x", at_us as f64 / 1e6 / took_s.max(0.001)));
        self.bar.set_position(at_us.unsigned_abs() / 1000);
    }

    /// Does something that the bar must not get in the way of.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Do both names lead to the same file?
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_to_milliseconds() {
        assert_eq!(seconds(12_400_067), 12.4);
        assert_eq!(seconds(-66_667), -0.067);
    }
}
