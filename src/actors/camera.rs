//! The CameraActor: owns one camera's ring, readers, detector, writer and recorder; starts and restarts them
//! with backoff, and publishes the camera's state. No packet passes through it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Recipient};
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::confirmer;
use super::detector::{self, DetectorActor, Work};
use super::feed::{FeedLine, Phase};
use super::gaps;
use super::guard::{CameraPart, guarded};
use super::messages::{
    CameraStopped, Feed, FeedNews, FeedReport, Part, PartFailed, RetryNow, SessionEnded, SetDetector, SetWriter,
    StopCamera, TriggerByHand,
};
use super::registry::{CameraEntry, Glimpses};
use super::shared::Shared;
use super::writer::{self, WriterActor};
use crate::archive::recorder::{CameraRecorder, RecorderSettings};
use crate::clock;
use crate::domain::backoff::Backoff;
use crate::domain::camera::{CameraState, Event, GapCause, Reason};
use crate::domain::config::{CameraConfig, OverlayKind, RecordMode};
use crate::domain::missing::{Missing, OpenGap};
use crate::domain::recorder::RecorderConfig;
use crate::domain::recording::MotionEvent;
use crate::domain::ring::RingBounds;
use crate::domain::source_url::SourceKind;
use crate::media::PacketRing;
use crate::media::looks::Looks;
use crate::media::packet::Session;
use crate::media::transcode::Shown;

const TICK: Duration = Duration::from_millis(250);
const STOPPING_TICK: Duration = Duration::from_millis(20);
/// What the ring keeps beyond the pre-alarm: how far detector and disk may fall behind.
const RING_SLACK: Duration = Duration::from_secs(10);
/// Likewise for a file that is not played in real time: rare pictures may wait in the decoder for so long.
const FILE_RING_SLACK: Duration = Duration::from_secs(60);
/// What the detector saw is kept for so much longer than its pictures: encoding may be behind as well.
const LOOKS_SLACK: Duration = Duration::from_secs(10);
/// Bound on the ring of a stream that is only looked at.
const DETECT_RING_BYTES: u64 = 16 << 20;
/// A crash stays in the published `error` for so long after the part is back.
const TELL_CRASH_FOR: Duration = Duration::from_secs(60);
/// The first packets of a connection come late and in a burst; after so long the session's clock knows better when
/// the first of them was taken.
const CLOCK_SETTLES: Duration = Duration::from_millis(500);
/// A closing connection gets so long before the recording is finished without waiting for it.
const CLOSE_CONNECTION: Duration = Duration::from_millis(700);
/// A camera that stops has to be done by then.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
/// A detector that has not drained its session by then is not waited for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// Who hears of a camera's ends.
#[derive(Clone)]
pub struct Parent {
    pub failed: Recipient<PartFailed>,
    pub stopped: Recipient<CameraStopped>,
}

/// One camera.
pub struct CameraActor {
    config: Arc<CameraConfig>,
    generation: u64,
    shared: Arc<Shared>,
    entry: Arc<CameraEntry>,
    parent: Parent,
    span: tracing::Span,
    main: FeedLine,
    /// The stream of `detect_source`.
    detect: Option<FeedLine>,
    recorder: OwnedRecorder,
    writer: Child<WriterActor>,
    detector: Child<DetectorActor>,
    missing: Missing,
    /// The gap that goes on, as the index was told: a crash of the process must not take it along.
    told_gap: Option<OpenGap>,
    /// Where the open gap ends. It is written down a moment later.
    returned: Option<Returned>,
    /// The last crash of a part.
    crash: Option<(Instant, String)>,
    /// A session ended; by then its recording is finished with or without the detector.
    draining: Option<(u64, Instant)>,
    stopping: Option<Stopping>,
}

/// The first picture after a gap.
struct Returned {
    session: Arc<Session>,
    first_pts_us: i64,
    at: Instant,
}

struct Stopping {
    began: Instant,
    closing: bool,
}

/// Closed when its owner goes, however it goes.
struct OwnedRecorder(Arc<CameraRecorder>);

impl Drop for OwnedRecorder {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An actor that is restarted when it crashes, and that ends when this is gone.
struct Child<A: Actor> {
    owned: Arc<()>,
    address: Option<Addr<A>>,
    /// Which life of it this is.
    generation: u64,
    backoff: Backoff,
    began: Instant,
    restart_at: Option<Instant>,
}

impl<A: Actor> Child<A> {
    fn new(now: Instant) -> Self {
        let owned = Arc::new(());
        Child { owned, address: None, generation: 0, backoff: Backoff::default(), began: now, restart_at: None }
    }

    fn owner(&self) -> Weak<()> {
        Arc::downgrade(&self.owned)
    }

    fn started(&mut self, address: Addr<A>) {
        *self = Child {
            owned: Arc::clone(&self.owned),
            address: Some(address),
            generation: self.generation + 1,
            began: clock::monotonic(),
            restart_at: None,
            backoff: self.backoff.clone(),
        };
    }

    /// Does it live, and in this life?
    fn lives(&self, generation: u64) -> bool {
        self.address.is_some() && self.generation == generation
    }

    /// It is gone: when it is started again.
    fn failed(&mut self) -> Duration {
        let now = clock::monotonic();
        let wait = self.backoff.failed(now - self.began, fastrand::f64());
        self.address = None;
        self.restart_at = Some(now + wait);
        wait
    }

    /// Gone without a word (a panic outside every handler).
    fn is_dead(&self) -> bool {
        self.address.as_ref().is_some_and(|address| !address.connected())
    }

    fn is_due(&self) -> bool {
        self.restart_at.is_some_and(|at| clock::monotonic() >= at)
    }
}

impl CameraPart for CameraActor {
    const PART: Part = Part::Camera;

    fn camera(&self) -> &str {
        &self.config.name
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn span(&self) -> &tracing::Span {
        &self.span
    }

    fn parent(&self) -> &Recipient<PartFailed> {
        &self.parent.failed
    }
}

impl Actor for CameraActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        guarded(self, context, "camera.started", |actor, context| {
            tracing::info!(source = %actor.config.source, "starts");
            context.run_interval(TICK, |actor, context| {
                guarded(actor, context, "camera.tick", Self::tick);
            });
            actor.start_writer(context);
            actor.start_detector(context);
            actor.connect(Feed::Main, context);
            actor.connect(Feed::Detect, context);
            actor.publish();
        });
    }

    fn stopped(&mut self, context: &mut Self::Context) {
        guarded(self, context, "camera.stopped", |actor, _| {
            actor.end_returned_gap();
            actor.end_gap(clock::utc_now());
            actor.tell_gap(None);
            actor.withdraw();
            tracing::info!("stopped");
        });
    }
}

impl CameraActor {
    /// A camera that is ready to be started. `open_gap`: since when its video is missing, where it ran before;
    /// `crash`: why its last actor crashed, if that is why it starts.
    pub fn new(
        config: Arc<CameraConfig>,
        generation: u64,
        shared: Arc<Shared>,
        parent: Parent,
        open_gap: Option<OpenGap>,
        crash: Option<String>,
    ) -> Self {
        let now = clock::monotonic();
        let entry = shared.registry.entry(&config.name);
        // Spans of this level are there whatever the log's level: each line needs its camera.
        let span = tracing::error_span!("camera", camera = %config.name, generation);
        let is_camera = shared.playback.real_time || config.source.kind() != SourceKind::File;
        let slack = if is_camera { RING_SLACK } else { FILE_RING_SLACK };
        let keep = config.record.pre_alarm + slack;
        let ring = Arc::new(PacketRing::new(bounds(keep, config.record.buffer_bytes)));
        let detect = config.detect_source.clone().filter(|_| config.detect.enabled).map(|url| {
            let ring = Arc::new(PacketRing::new(bounds(RING_SLACK, DETECT_RING_BYTES)));
            FeedLine::new(Feed::Detect, url, ring)
        });
        let settings = RecorderSettings {
            decisions: RecorderConfig {
                mode: config.record.mode,
                pre_alarm_us: micros(config.record.pre_alarm),
                minimal_duration_us: micros(config.detect.minimal_duration),
                max_file_us: micros(config.record.max_file),
            },
            schedule: config.record.schedule.clone(),
            container: config.record.container,
            audio: config.record.audio,
            encode: config.record.encode,
            shows: shown(&config, keep, detect.is_some()),
            detects: config.detect.enabled,
        };
        let recorder = CameraRecorder::new(
            &config.name,
            settings,
            Arc::clone(&shared.archive),
            shared.pool.clone(),
            Arc::clone(&ring),
            Arc::clone(&entry.counters),
        );
        entry.set_ring(Some(Arc::clone(&ring)));
        let detects = config.detect.enabled;
        entry.set_glimpses(
            detects.then(|| Arc::new(Glimpses { config: config.detect.clone(), newest: watch::channel(None).0 })),
        );
        entry.update(|status| {
            let at = clock::utc_now();
            (status.generation, status.started_at, status.since) = (generation, Some(at), at);
            (status.state, status.error) = (CameraState::Starting, crash.clone());
            (status.resolution, status.codec, status.mime) = (None, None, None);
        });
        CameraActor {
            main: FeedLine::new(Feed::Main, config.source.clone(), ring),
            detect,
            config,
            generation,
            shared,
            entry,
            parent,
            span,
            recorder: OwnedRecorder(recorder),
            writer: Child::new(now),
            detector: Child::new(now),
            missing: Missing::new(open_gap),
            told_gap: None,
            returned: None,
            crash: crash.map(|text| (now, text)),
            draining: None,
            stopping: None,
        }
    }

    /// Takes back what is published of a running camera, unless its next life has begun already.
    fn withdraw(&self) {
        self.entry.unset_ring(&self.main.ring);
        self.entry.update(|status| {
            if status.generation == self.generation {
                status.motion = false;
                status.recording = false;
                (status.fps, status.bitrate) = (0.0, 0);
            }
        });
    }

    fn start_writer(&mut self, context: &mut Context<Self>) {
        let writer = WriterActor {
            camera: self.config.name.clone(),
            generation: self.writer.generation + 1,
            owner: self.writer.owner(),
            recorder: Arc::clone(&self.recorder.0),
            archive: Arc::clone(&self.shared.archive),
            detector: None,
            entry: Arc::clone(&self.entry),
            registry: Arc::clone(&self.shared.registry),
            parent: context.address().recipient(),
            span: self.span.clone(),
        };
        let address = writer.start();
        self.main.listeners.set_writer(Some(address.clone().recipient()));
        self.writer.started(address);
        self.introduce();
    }

    fn start_detector(&mut self, context: &mut Context<Self>) {
        if !self.config.detect.enabled {
            return;
        }
        let looked_at = self.detect.as_ref().unwrap_or(&self.main);
        let detector = DetectorActor {
            camera: self.config.name.clone(),
            generation: self.detector.generation + 1,
            owner: self.detector.owner(),
            recorded_zones: self.config.detect.zone_set(&self.config.record.zones),
            config: self.config.detect.clone(),
            ring: Arc::clone(&looked_at.ring),
            // A file begins where it begins, and not where it was left.
            backgrounds: self.shared.backgrounds.clone().filter(|_| self.config.source.kind() != SourceKind::File),
            confirmer: self.shared.confirmer.clone(),
            looks: self.recorder.0.looks().cloned(),
            own_stream: self.detect.is_some(),
            pool: self.shared.pool.clone(),
            writer: None,
            index: self.shared.archive.index().clone(),
            entry: Arc::clone(&self.entry),
            registry: Arc::clone(&self.shared.registry),
            parent: context.address().recipient(),
            span: self.span.clone(),
            work: Work::new(looked_at.has_lived(self.config.detect.warm_up)),
        };
        let address = detector.start();
        looked_at.listeners.set_detector(Some(address.clone().recipient()));
        self.detector.started(address);
        self.introduce();
    }

    /// Tells writer and detector of each other.
    fn introduce(&self) {
        let (Some(writer), Some(detector)) = (&self.writer.address, &self.detector.address) else { return };
        writer.do_send(SetDetector(detector.clone().recipient()));
        detector.do_send(SetWriter {
            triggers: writer.clone().recipient(),
            looked: writer.clone().recipient(),
            ended: writer.clone().recipient(),
        });
    }

    fn line(&mut self, feed: Feed) -> Option<&mut FeedLine> {
        match feed {
            Feed::Main => Some(&mut self.main),
            Feed::Detect => self.detect.as_mut(),
        }
    }

    fn connect(&mut self, feed: Feed, context: &mut Context<Self>) {
        let (config, shared) = (Arc::clone(&self.config), Arc::clone(&self.shared));
        let (counters, span) = (Arc::clone(&self.entry.counters), self.span.clone());
        let Some(line) = self.line(feed) else { return };
        let address = context.address();
        if let Err(error) = line.connect(&config, &shared, counters, span, move |report| address.do_send(report)) {
            let cause = format!("cannot start a thread: {error} (raise the process's limits)");
            self.lost(feed, cause);
        }
    }

    /// A connection failed or was lost: the next try comes after a wait.
    fn lost(&mut self, feed: Feed, cause: String) {
        let Some(line) = self.line(feed) else { return };
        let session = line.live_session();
        let wait = line.lost(cause.clone());
        if self.stopping.is_some() {
            return;
        }
        tracing::warn!(cause, wait_s = wait.as_secs_f64(), stream = feed.key(), "no connection; tries again");
        match feed {
            Feed::Main => self.offline(session, GapCause::Disconnected),
            Feed::Detect => self.recorder.0.detector_down(true),
        }
    }

    /// No more packets come: what is open is finished once the detector has seen the rest.
    fn offline(&mut self, session: Option<u64>, cause: GapCause) {
        if let Some(session) = session {
            self.draining = Some((session, clock::monotonic() + DRAIN_DEADLINE));
            match &self.detector.address {
                Some(detector) if self.detect.is_none() => detector.do_send(SessionEnded(session)),
                _ => self.recorder.0.session_ended(session),
            }
        }
        self.end_returned_gap();
        if self.config.record.mode_at(clock::utc_now()) != RecordMode::Off {
            let since = self.covered_to().or(self.entry.status().started_at).unwrap_or_else(clock::utc_now);
            self.missing.begins(since, cause);
        }
    }

    /// The UTC of the newest packet.
    fn covered_to(&self) -> Option<DateTime<Utc>> {
        self.main.ring.newest().map(|packet| packet.session.utc(packet.pts_us()))
    }

    /// Writes down the open gap, if the first picture after it has come.
    fn end_returned_gap(&mut self) {
        if let Some(Returned { session, first_pts_us, .. }) = self.returned.take() {
            self.end_gap(session.utc(first_pts_us));
        }
    }

    fn end_gap(&mut self, end: DateTime<Utc>) {
        if let Some(gap) = self.missing.ends(&self.config.name, end) {
            gaps::write_down(&self.shared.archive, &self.entry, &self.shared.registry, gap);
        }
    }

    /// Lists a gap that goes on, or takes back that one does.
    fn tell_gap(&mut self, gap: Option<OpenGap>) {
        if self.told_gap != gap {
            self.told_gap = gap;
            let told = gap.map(|OpenGap { since, cause }| (since, cause));
            self.shared.archive.index().set_open_gap(&self.config.name, told);
        }
    }

    /// While nothing is to be recorded nothing is missing; where the schedule ends that, it may be at once.
    fn follow_mode(&mut self) {
        let now = clock::utc_now();
        let is_off = self.config.record.mode_at(now) == RecordMode::Off;
        match self.main.phase {
            _ if is_off => self.end_gap(now),
            Phase::Waiting { .. } | Phase::Connecting { .. } if self.main.was_tried() => {
                self.missing.begins(now, GapCause::Disconnected);
            }
            _ => {}
        }
    }

    fn part_failed(&mut self, part: Part, cause: &str) {
        self.entry.counters.restarts.fetch_add(1, Ordering::Relaxed);
        let text = format!("the {} crashed: {cause}", part.name());
        let wait = match part {
            Part::Writer => Some(self.writer.failed()),
            Part::Detector => Some(self.detector.failed()),
            Part::Camera | Part::Reader | Part::DetectorWorker | Part::ArchiveWorker => None,
        };
        match wait {
            Some(wait) => tracing::error!(part = part.name(), cause, wait_s = wait.as_secs_f64(), "crashed; restarts"),
            None => tracing::error!(part = part.name(), cause, "crashed; restarts"),
        }
        if matches!(part, Part::Detector | Part::DetectorWorker) {
            self.recorder.0.detector_down(true);
        }
        self.crash = Some((clock::monotonic(), text));
        self.publish();
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        if self.stopping.is_some() {
            return self.tick_stopping(context);
        }
        let gone = "it ended without a word";
        if self.writer.is_dead() {
            self.part_failed(Part::Writer, gone);
        }
        if self.detector.is_dead() {
            self.part_failed(Part::Detector, gone);
        }
        if self.writer.is_due() {
            self.start_writer(context);
        }
        if self.detector.is_due() {
            self.start_detector(context);
        }
        for feed in [Feed::Main, Feed::Detect] {
            let (connect_timeout, read_timeout) = (self.config.connect_timeout, self.config.read_timeout);
            let Some(line) = self.line(feed) else { continue };
            if let Some(cause) = line.past_deadline(connect_timeout, read_timeout) {
                self.shared.registry.thread_abandoned();
                self.lost(feed, cause);
            } else if line.is_due() {
                self.connect(feed, context);
            }
        }
        if self.draining.is_some_and(|(session, _)| self.recorder.0.has_ended(session)) {
            self.draining = None;
        }
        if self.draining.is_some_and(|(_, at)| clock::monotonic() >= at)
            && let Some((session, _)) = self.draining.take()
        {
            self.recorder.0.session_ended(session);
        }
        self.follow_mode();
        if self.returned.as_ref().is_some_and(|returned| clock::monotonic() - returned.at >= CLOCK_SETTLES) {
            self.end_returned_gap();
        }
        if self.crash.as_ref().is_some_and(|(at, _)| clock::monotonic() - *at > TELL_CRASH_FOR) {
            self.crash = None;
        }
        self.publish();
    }

    fn tick_stopping(&mut self, context: &mut Context<Self>) {
        let Some(stopping) = &mut self.stopping else { return };
        let waited = clock::monotonic() - stopping.began;
        if !stopping.closing && (self.main.is_finished() || waited > CLOSE_CONNECTION) {
            stopping.closing = true;
            self.recorder.0.close();
        }
        let is_closed = stopping.closing && self.recorder.0.is_closed();
        if !is_closed && waited < STOP_DEADLINE {
            return;
        }
        if !is_closed {
            tracing::error!("the disk stalls; the open recording is finished at the next start");
        }
        if !self.main.is_finished() {
            self.shared.registry.thread_abandoned();
        }
        self.end_returned_gap();
        let covered_to = match self.main.phase {
            // Nothing was missing up to now.
            Phase::Ended => None,
            // What is missing up to now has its own cause; the stop's begins here.
            _ if self.missing.gap().is_some() => {
                let now = clock::utc_now();
                self.end_gap(now);
                Some(now)
            }
            _ => self.covered_to(),
        };
        let (camera, generation) = (self.config.name.clone(), self.generation);
        if let Some(writer) = &self.writer.address {
            writer.do_send(super::messages::TurnTaken);
        }
        // Before the Supervisor says what is missing from now on.
        self.tell_gap(None);
        self.withdraw();
        self.parent.stopped.do_send(CameraStopped { camera, generation, covered_to });
        context.stop();
    }

    /// The state as the outside sees it.
    fn publish(&mut self) {
        // One of them at a time, which began first: the other tells of itself when it ends.
        self.tell_gap(self.missing.gap().into_iter().chain(self.recorder.0.missing()).min_by_key(|gap| gap.since));
        let disk = self.recorder.0.trouble();
        let blocked = disk.clone();
        let detector_down = self.recorder.0.is_detector_down();
        let keyframe_trouble = self.main.keyframe_trouble();
        let is_file = self.config.source.kind() == SourceKind::File;
        let (state, trouble) = match &self.main.phase {
            // A file's last event is being finished.
            Phase::Ended | Phase::Waiting { .. } if is_file && self.draining.is_some() => (CameraState::Running, None),
            Phase::Ended => (CameraState::Stopped, None),
            Phase::Waiting { cause, .. } => (CameraState::Backoff, Some(cause.clone())),
            Phase::Connecting { .. } if self.main.was_tried() => {
                (CameraState::Reconnecting, self.main.last_cause.clone())
            }
            Phase::Connecting { .. } | Phase::Idle => (CameraState::Starting, None),
            Phase::Live { .. } if disk.is_some() => (CameraState::Degraded, disk),
            Phase::Live { .. } if detector_down => {
                let cause = self.detect.as_ref().and_then(|line| line.last_cause.clone());
                let text = cause.map_or("the detector is down; everything is recorded".to_owned(), |cause| {
                    format!("detect_source: {cause}; everything is recorded meanwhile")
                });
                (CameraState::Degraded, Some(text))
            }
            Phase::Live { .. } => (CameraState::Running, keyframe_trouble),
        };
        let is_new = trouble.is_some() && self.entry.status().error != trouble;
        if let (CameraState::Running, true, Some(cause)) = (state, is_new, &trouble) {
            tracing::warn!(cause, "trouble with the stream");
        }
        let crash = self.crash.as_ref().map(|(_, text)| text.clone());
        let error = match (trouble, crash) {
            (Some(trouble), Some(crash)) if state == CameraState::Degraded => Some(format!("{crash}; {trouble}")),
            (trouble, crash) => trouble.or(crash),
        };
        let rates = self.main.rates();
        let newest = self.main.ring.newest();
        let counters = &self.entry.counters;
        let mut news = None;
        let expects_recording = self.config.record.mode_at(clock::utc_now()) != RecordMode::Off;
        self.entry.update(|status| {
            status.expects_recording = expects_recording;
            status.recording_blocked = blocked;
            if status.state != state {
                status.since = clock::utc_now();
                news = Some(Event::CameraState { camera: status.name.clone(), state, error: error.clone() });
            }
            (status.state, status.error) = (state, error);
            (status.fps, status.bitrate) = rates;
            status.restarts = counters.restarts.load(Ordering::Relaxed);
            status.reconnects = counters.reconnects.load(Ordering::Relaxed);
            if let Some(packet) = newest {
                let video = &packet.stream.video;
                status.codec = Some(video.codec.name().to_owned());
                status.resolution = Some(format!("{}x{}", video.width, video.height));
                status.mime = packet.stream.mime();
            }
        });
        if let Some(news) = news {
            tracing::info!(state = state.name(), "state");
            self.shared.registry.tell(news);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// What is drawn of the detection, where that is wanted.
fn shown(config: &CameraConfig, keep: Duration, own_stream: bool) -> Option<Shown> {
    let overlay = config.record.encode.map(|encode| encode.overlay);
    let looks = || Arc::new(Looks::new(keep + LOOKS_SLACK, own_stream));
    (overlay == Some(OverlayKind::Detection) && config.detect.enabled)
        .then(|| Shown { looks: looks(), zones: config.detect.zones.clone() })
}

fn bounds(keep: Duration, max_bytes: u64) -> RingBounds {
    RingBounds { keep_us: micros(keep), max_bytes }
}

impl Handler<FeedReport> for CameraActor {
    type Result = ();

    fn handle(&mut self, report: FeedReport, context: &mut Self::Context) {
        guarded(self, context, "camera.feed_report", |actor, _| {
            let feed = report.feed;
            let Some(line) = actor.line(feed) else { return };
            if line.life != report.life {
                return;
            }
            match report.news {
                FeedNews::Live { session, first_pts_us } => {
                    let again = line.live(session.id);
                    if feed == Feed::Main {
                        actor.entry.counters.reconnects.fetch_add(u64::from(again), Ordering::Relaxed);
                        actor.returned = Some(Returned { session, first_pts_us, at: clock::monotonic() });
                        tracing::info!("connected");
                    }
                }
                FeedNews::Ended => {
                    let session = line.live_session();
                    line.ended();
                    if feed == Feed::Main && actor.stopping.is_none() {
                        tracing::info!("the source has ended");
                        actor.offline(session, GapCause::Disconnected);
                        actor.missing = Missing::default();
                    }
                }
                FeedNews::Lost(error) => actor.lost(feed, error.to_string()),
                FeedNews::Crashed(cause) => {
                    actor.lost(feed, format!("the reader crashed: {cause}"));
                    actor.part_failed(Part::Reader, &cause);
                    actor.missing.is_because_of(GapCause::Crash);
                }
            }
            if actor.stopping.is_none() {
                actor.publish();
            }
        });
    }
}

impl Handler<PartFailed> for CameraActor {
    type Result = ();

    fn handle(&mut self, failed: PartFailed, context: &mut Self::Context) {
        guarded(self, context, "camera.part_failed", |actor, _| {
            // Its `stopped` may crash, too: that is no second crash of the part.
            let is_known = match failed.part {
                Part::Writer => !actor.writer.lives(failed.generation),
                Part::Detector => !actor.detector.lives(failed.generation),
                Part::Camera | Part::Reader | Part::DetectorWorker | Part::ArchiveWorker => false,
            };
            if !is_known {
                actor.part_failed(failed.part, &failed.cause);
            }
        });
    }
}

impl Handler<StopCamera> for CameraActor {
    type Result = ();

    fn handle(&mut self, _: StopCamera, context: &mut Self::Context) {
        guarded(self, context, "camera.stop", |actor, context| {
            if actor.stopping.is_some() {
                return;
            }
            actor.main.cancel();
            if let Some(line) = &mut actor.detect {
                line.cancel();
            }
            actor.stopping = Some(Stopping { began: clock::monotonic(), closing: false });
            context.run_interval(STOPPING_TICK, |actor, context| {
                guarded(actor, context, "camera.stopping", Self::tick_stopping);
            });
        });
    }
}

impl Handler<RetryNow> for CameraActor {
    type Result = ();

    fn handle(&mut self, _: RetryNow, context: &mut Self::Context) {
        guarded(self, context, "camera.retry", |actor, context| {
            for feed in [Feed::Main, Feed::Detect] {
                if actor.line(feed).is_some_and(FeedLine::retry_now) {
                    actor.connect(feed, context);
                }
            }
            actor.publish();
        });
    }
}

impl Handler<TriggerByHand> for CameraActor {
    type Result = ();

    fn handle(&mut self, _: TriggerByHand, context: &mut Self::Context) {
        guarded(self, context, "camera.trigger", |actor, _| {
            let Some(start) = actor.covered_to().filter(|_| actor.recorder.0.trigger_now()) else {
                tracing::warn!("an event was asked for, but there is no video yet");
                return;
            };
            let index = actor.shared.archive.index();
            let end = Some(start + actor.config.detect.minimal_duration);
            let event = MotionEvent::new(index.next_id(), &actor.config.name, start, Reason::Manual);
            index.put_event(MotionEvent { end, ..event });
        });
    }
}

impl Drop for CameraActor {
    fn drop(&mut self) {
        writer::clear_alarms(&self.shared.registry, &self.config.name);
        confirmer::clear_alarms(&self.shared.registry, &self.config.name);
        // Else the camera's next life has the word.
        if self.entry.status().generation == self.generation {
            detector::clear_alarms(&self.shared.registry, &self.entry, &self.config.name);
        }
    }
}
