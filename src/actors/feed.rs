//! One stream of a camera over all its connections: its ring, the reader thread that lives now, and when the
//! next one is due.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::messages::{Feed, FeedReport};
use super::reader::{FeedStats, Listeners, Reader};
use super::shared::Shared;
use crate::clock;
use crate::domain::backoff::Backoff;
use crate::domain::camera::Counters;
use crate::domain::config::{AudioMode, CameraConfig};
use crate::domain::source_url::SourceUrl;
use crate::media::PacketRing;
use crate::media::packet::Session;
use crate::media::source::{Cancel, KEYFRAME_TIMEOUT, OpenOptions};

/// Beyond its own deadline a thread gets so long before it is abandoned.
const GRACE: Duration = Duration::from_secs(3);
/// Abandoned threads of one stream that may hang at the same time; beyond it no new connection is tried.
const MOST_ABANDONED: usize = 3;
/// Over how long rates are taken.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Where a stream's connection stands.
#[derive(Debug)]
pub enum Phase {
    Idle,
    Connecting {
        since: Instant,
    },
    Live {
        session: u64,
        since: Instant,
    },
    Waiting {
        until: Instant,
        cause: String,
    },
    /// A file came to its end.
    Ended,
}

/// One stream.
pub struct FeedLine {
    pub ring: Arc<PacketRing>,
    pub listeners: Arc<Listeners>,
    pub phase: Phase,
    /// Which reader's reports count.
    pub life: u64,
    /// Why the last connection ended.
    pub last_cause: Option<String>,
    feed: Feed,
    url: SourceUrl,
    stats: Arc<FeedStats>,
    backoff: Backoff,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
    abandoned: Vec<JoinHandle<()>>,
    connected_before: bool,
    /// A number that changes while the reader is at work, and when it last did.
    progress: (u64, Instant),
    /// Keyframes so far, and when the last one was noticed.
    keyframes: (u64, Instant),
    rate_from: (u64, u64, Instant),
    rate: (f64, u64),
}

impl FeedLine {
    pub fn new(feed: Feed, url: SourceUrl, ring: Arc<PacketRing>) -> Self {
        let now = clock::monotonic();
        FeedLine {
            ring,
            listeners: Arc::default(),
            phase: Phase::Idle,
            life: 0,
            last_cause: None,
            feed,
            url,
            stats: Arc::default(),
            backoff: Backoff::default(),
            cancel: Cancel::default(),
            thread: None,
            abandoned: Vec::new(),
            connected_before: false,
            progress: (0, now),
            keyframes: (0, now),
            rate_from: (0, 0, now),
            rate: (0.0, 0),
        }
    }

    /// Starts a reader.
    pub fn connect(
        &mut self,
        config: &CameraConfig,
        shared: &Shared,
        counters: Arc<Counters>,
        span: tracing::Span,
        report: impl Fn(FeedReport) + Send + 'static,
    ) -> io::Result<()> {
        self.abandoned.retain(|thread| !thread.is_finished());
        if self.abandoned.len() >= MOST_ABANDONED {
            return Err(io::Error::other(format!("{MOST_ABANDONED} connections hang and can't be interrupted")));
        }
        self.life = shared.next_life();
        self.cancel = Cancel::default();
        let now = clock::monotonic();
        self.phase = Phase::Connecting { since: now };
        let session = shared.next_session();
        let reader = Reader {
            camera: config.name.clone(),
            feed: self.feed,
            life: self.life,
            options: OpenOptions {
                url: self.url.clone(),
                transport: config.transport,
                connect_timeout: config.connect_timeout,
                read_timeout: config.read_timeout,
                keyframe_timeout: KEYFRAME_TIMEOUT,
                repeat: config.repeat,
                // Two streams keep in step by the clock, and what repeats would never end.
                real_time: shared.playback.real_time || config.repeat || config.detect_source.is_some(),
                at_most: shared.playback.at_most,
                audio: if self.feed == Feed::Main { config.record.audio } else { AudioMode::Off },
            },
            session: Arc::new(Session::new(session)),
            ring: Arc::clone(&self.ring),
            listeners: Arc::clone(&self.listeners),
            counters,
            stats: Arc::clone(&self.stats),
            cancel: self.cancel.clone(),
            span,
        };
        self.thread = Some(reader.start(report)?);
        Ok(())
    }

    /// Packets come. True if this is not the first connection.
    pub fn live(&mut self, session: u64) -> bool {
        let now = clock::monotonic();
        self.phase = Phase::Live { session, since: now };
        self.progress.1 = now;
        self.keyframes.1 = now;
        self.last_cause = None;
        std::mem::replace(&mut self.connected_before, true)
    }

    /// The connection is gone. Returns the wait before the next.
    pub fn lost(&mut self, cause: String) -> Duration {
        let now = clock::monotonic();
        let lived = match self.phase {
            Phase::Live { since, .. } => now - since,
            _ => Duration::ZERO,
        };
        let wait = self.backoff.failed(lived, fastrand::f64());
        self.last_cause = Some(cause.clone());
        self.phase = Phase::Waiting { until: now + wait, cause };
        wait
    }

    pub fn ended(&mut self) {
        self.phase = Phase::Ended;
    }

    /// The session that gets packets now.
    pub fn live_session(&self) -> Option<u64> {
        match self.phase {
            Phase::Live { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Has it been live for at least so long?
    pub fn has_lived(&self, at_least: Duration) -> bool {
        matches!(self.phase, Phase::Live { since, .. } if clock::monotonic() - since >= at_least)
    }

    /// Was a connection tried before the present try?
    pub fn was_tried(&self) -> bool {
        self.connected_before || self.backoff.failures() > 0
    }

    pub fn is_due(&self) -> bool {
        matches!(self.phase, Phase::Waiting { until, .. } if clock::monotonic() >= until)
    }

    /// An operator wants no more waiting. True if it was waiting.
    pub fn retry_now(&mut self) -> bool {
        self.backoff.reset();
        matches!(self.phase, Phase::Waiting { .. })
    }

    /// Tells the reader to end.
    pub fn cancel(&mut self) {
        self.cancel.cancel();
    }

    /// Is no reader at work?
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Gives the reader up if it does not keep its own deadlines (name resolution and some drivers can't be
    /// interrupted): what it may still bring is cut off. Returns the cause.
    pub fn past_deadline(&mut self, connect_timeout: Duration, read_timeout: Duration) -> Option<String> {
        let now = clock::monotonic();
        let stats = &self.stats;
        let read = stats.bytes.load(Ordering::Relaxed).wrapping_add(self.cancel.progress());
        let progress = read.wrapping_add(stats.waits.load(Ordering::Relaxed));
        if progress != self.progress.0 {
            self.progress = (progress, now);
        }
        let silent = now - self.progress.1;
        let cause = match self.phase {
            Phase::Connecting { since } if silent.min(now - since) > connect_timeout + read_timeout + GRACE => {
                "the connection hangs and can't be interrupted; it is abandoned (check the camera's address)"
            }
            Phase::Live { .. } if silent > read_timeout + GRACE => {
                "no packet within read_timeout, and reading can't be interrupted; the connection is abandoned"
            }
            _ => return None,
        };
        self.cancel.cancel();
        // Cuts its output; its reports are of a life that is over.
        self.ring.admit();
        self.life = 0;
        self.abandoned.extend(self.thread.take());
        Some(cause.to_owned())
    }

    /// What to tell of a stream that has sent no keyframe for a minute.
    pub fn keyframe_trouble(&mut self) -> Option<String> {
        let (now, keyframes) = (clock::monotonic(), self.stats.keyframes.load(Ordering::Relaxed));
        if keyframes != self.keyframes.0 {
            self.keyframes = (keyframes, now);
        }
        let missing = now - self.keyframes.1;
        (matches!(self.phase, Phase::Live { .. }) && missing > KEYFRAME_TIMEOUT).then(|| {
            format!(
                "no keyframe for {} s: recordings start late and detection can't catch up (set the camera's keyframe \
                 interval to 1-2 s)",
                KEYFRAME_TIMEOUT.as_secs()
            )
        })
    }

    /// (frames a second, bits a second) over the last few seconds.
    pub fn rates(&mut self) -> (f64, u64) {
        let now = clock::monotonic();
        let (frames, bytes) = (self.stats.frames.load(Ordering::Relaxed), self.stats.bytes.load(Ordering::Relaxed));
        let (frames_before, bytes_before, since) = self.rate_from;
        let seconds = (now - since).as_secs_f64();
        if seconds >= RATE_WINDOW.as_secs_f64() {
            self.rate_from = (frames, bytes, now);
            let fps = (frames - frames_before) as f64 / seconds;
            self.rate = ((fps * 100.0).round() / 100.0, ((bytes - bytes_before) as f64 * 8.0 / seconds) as u64);
        }
        if matches!(self.phase, Phase::Live { .. }) { self.rate } else { (0.0, 0) }
    }
}

impl Drop for FeedLine {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
