//! One connection to a source, on a thread of its own: packets from the source into the ring, notices to those
//! who read it. How often to connect is the CameraActor's to say.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::Recipient;

use super::messages::{Feed, FeedNews, FeedReport, Frame};
use crate::domain::camera::Counters;
use crate::domain::source_url::SourceKind;
use crate::domain::stream::Track;
use crate::failpoint;
use crate::media::PacketRing;
use crate::media::packet::Session;
use crate::media::source::{self, Cancel, OpenOptions, SourceError};
use crate::pool::panic_text;

/// A file that is not played in real time runs so far ahead of detector and recorder: less than either may lag
/// behind (see `looker`, `archive::recorder`) and than the ring keeps beyond the pre-alarm.
const LEAD_US: i64 = 1_000_000;
/// Waits are cut into such slices, so that a cancel is heard.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// Who is told of each access unit. Outlives a reader and its listeners; either may be replaced.
#[derive(Default)]
pub struct Listeners {
    detector: Mutex<Option<Recipient<Frame>>>,
    writer: Mutex<Option<Recipient<Frame>>>,
}

impl Listeners {
    pub fn set_detector(&self, recipient: Option<Recipient<Frame>>) {
        *self.detector.lock().unwrap_or_else(PoisonError::into_inner) = recipient;
    }

    pub fn set_writer(&self, recipient: Option<Recipient<Frame>>) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = recipient;
    }

    fn tell(&self, frame: Frame) {
        for listener in [&self.detector, &self.writer] {
            if let Some(recipient) = &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
                // A full mailbox holds a notice already; one more says nothing new.
                let _ = recipient.try_send(frame);
            }
        }
    }
}

/// What a reader did so far, for rates and deadlines.
#[derive(Debug, Default)]
pub struct FeedStats {
    pub frames: AtomicU64,
    pub bytes: AtomicU64,
    pub keyframes: AtomicU64,
    /// How often it waited for those who read the ring.
    pub waits: AtomicU64,
}

/// One life of a reader.
pub struct Reader {
    pub camera: String,
    pub feed: Feed,
    pub life: u64,
    pub options: OpenOptions,
    pub session: Arc<Session>,
    pub ring: Arc<PacketRing>,
    pub listeners: Arc<Listeners>,
    pub counters: Arc<Counters>,
    pub stats: Arc<FeedStats>,
    pub cancel: Cancel,
    pub span: tracing::Span,
}

impl Reader {
    /// Starts the thread. Its end, however it comes, is the last report.
    pub fn start(self, report: impl Fn(FeedReport) + Send + 'static) -> io::Result<JoinHandle<()>> {
        let producer = self.ring.admit();
        thread::Builder::new().name(format!("reader-{}", self.camera)).spawn(move || {
            let _in_span = self.span.enter();
            let (feed, life) = (self.feed, self.life);
            let run = AssertUnwindSafe(|| self.run_once(producer, &report));
            let news = match catch_unwind(run) {
                Ok(Ok(())) => FeedNews::Ended,
                Ok(Err(error)) => FeedNews::Lost(error),
                Err(panic) => FeedNews::Crashed(panic_text(panic.as_ref())),
            };
            report(FeedReport { feed, life, news });
        })
    }

    fn run_once(&self, producer: u64, report: &impl Fn(FeedReport)) -> Result<(), SourceError> {
        failpoint::reach("reader.open", &self.camera);
        let mut source = source::open(&self.options, Arc::clone(&self.session), &self.cancel)?;
        let mut lost_before = 0;
        let mut is_live = false;
        let waits = !self.options.real_time && self.options.url.kind() == SourceKind::File;
        let mut newest = None;
        let ended = loop {
            let packet = match source.next() {
                Ok(Some(packet)) => packet,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            failpoint::reach("reader.packet", &self.camera);
            if waits {
                self.wait_for_readers(newest, |limit| self.ring.wait_for_readers(packet.dts_us(), LEAD_US, limit));
            }
            let packet = Arc::new(packet);
            let Some(seq) = self.ring.push(producer, Arc::clone(&packet)) else {
                // Past its deadline and replaced: nobody waits for what this thread still has.
                return Ok(());
            };
            let bytes = packet.data().len();
            self.stats.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if self.feed == Feed::Main {
                self.counters.packets.fetch_add(1, Ordering::Relaxed);
                self.counters.ring_bytes.store(self.ring.bytes(), Ordering::Relaxed);
            }
            let lost = source.lost_packets();
            self.counters.packets_lost.fetch_add(lost.saturating_sub(lost_before), Ordering::Relaxed);
            lost_before = lost;
            if packet.track != Track::Video {
                continue;
            }
            self.stats.frames.fetch_add(1, Ordering::Relaxed);
            self.stats.keyframes.fetch_add(u64::from(packet.keyframe), Ordering::Relaxed);
            let (session, pts_us) = (packet.session.id, packet.pts_us());
            if !is_live {
                is_live = true;
                let news = FeedNews::Live { session: Arc::clone(&packet.session), first_pts_us: pts_us };
                report(FeedReport { feed: self.feed, life: self.life, news });
            }
            let frame = Frame { session, seq, pts_us, keyframe: packet.keyframe, bytes };
            self.listeners.tell(frame);
            newest = Some(frame);
        };
        if waits {
            self.wait_for_readers(newest, |limit| self.ring.wait_till_read(limit));
        }
        ended
    }

    /// Waits till those who read the ring are near, as `wait` says, or till nobody wants more.
    fn wait_for_readers(&self, newest: Option<Frame>, wait: impl Fn(Duration) -> bool) {
        if wait(Duration::ZERO) {
            return;
        }
        // Sound comes without a notice.
        if let Some(frame) = newest {
            self.listeners.tell(frame);
        }
        while !wait(WAIT_SLICE) && !self.cancel.is_cancelled() {
            self.stats.waits.fetch_add(1, Ordering::Relaxed);
        }
    }
}
