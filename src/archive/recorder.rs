//! Carries one camera's packets from its ring into files: runs [`Recorder`]'s steps on the archive's thread.
//!
//! Belongs here: opening, filling, closing and giving up files as the state machine says, and writing down rows
//! and gaps. Does not belong here: when to record (`domain::recorder`), how a file looks (`archive::file`), who
//! restarts whom (`actors`). The open file and the state machine live here and not in an actor, so that a crash
//! of the actor costs no recording.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::Archive;
use super::disk::is_full;
use super::encoding::{self, Encoding};
use super::file::{Extent, FileMeta, Finished, RecordingFile};
use crate::clock;
use crate::domain::backoff::Backoff;
use crate::domain::camera::{Counters, GapCause, Reason};
use crate::domain::config::{AudioMode, ContainerKind, EncodeConfig, RecordMode};
use crate::domain::missing::{Missing, OpenGap};
use crate::domain::recorder::{Answer, Onset, PacketMeta, Recorder, RecorderConfig, Start, Step};
use crate::domain::recording::{Gap, Recording};
use crate::domain::ring::Read;
use crate::domain::schedule::Schedule;
use crate::domain::stream::Track;
use crate::failpoint;
use crate::media::looks::Looks;
use crate::media::packet::Session;
use crate::media::transcode::{Shown, TranscoderSettings};
use crate::media::{Packet, PacketRing};
use crate::pool::{Pool, panic_text};

/// Packets that one turn on the archive's thread may take before other cameras get theirs.
const PACKETS_A_TURN: usize = 256;
/// And so long it may go on, where the disk is slow.
const TURN_AT_MOST: Duration = Duration::from_millis(200);
/// A disk that was too slow so shortly ago still is.
const STILL_SLOW: Duration = Duration::from_secs(30);
/// What is buffered for longer is written though its fragment is not full: the camera may have gone silent.
const STALE: Duration = Duration::from_millis(700);
/// On a disk that is well, what the detector sees is answered much sooner.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Wait after a failed write before it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// A recording that turns out to have begun so much earlier is told anew.
const WORTH_TELLING: TimeDelta = TimeDelta::milliseconds(100);
/// What is drawn on waits for so long for the detector to look at it.
const LOOK_AT_MOST_US: i64 = 1_000_000;
/// A detector that is further behind is as good as down.
const HOPELESS_LAG_US: i64 = 8_000_000;

/// How a camera is recorded.
#[derive(Clone, Debug)]
pub struct RecorderSettings {
    pub decisions: RecorderConfig,
    /// Where one of its rules holds, it says the mode.
    pub schedule: Option<Schedule>,
    pub container: ContainerKind,
    pub audio: AudioMode,
    /// None: what the camera sends is stored as it is.
    pub encode: Option<EncodeConfig>,
    /// What the detector sees, to be drawn into what is encoded; None where there is none.
    pub shows: Option<Shown>,
    /// Is there a detector whose progress has to be waited for?
    pub detects: bool,
}

/// A detector's answer.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub onset: Onset,
    /// Where the detector looks at a stream of its own: the UTC of its times, and how far wrong that may be.
    pub mapped: Option<MappedOnset>,
}

/// Times of another stream's session, to be mapped to the recorded one.
#[derive(Clone, Copy, Debug)]
pub struct MappedOnset {
    pub onset: DateTime<Utc>,
    pub last_motion: DateTime<Utc>,
    pub uncertainty: Duration,
}

/// What happened, for those who tell others about it.
#[derive(Debug)]
pub enum Fact {
    Opened(Recording),
    Closed(Recording),
    Gap(Gap),
    /// Recording is not possible now: why, and what to do. Told at every try.
    Trouble {
        trouble: Trouble,
        message: String,
    },
    /// It is possible again; does the file go on that was open?
    Well {
        recording: bool,
    },
    /// The work itself crashed and goes on after the wait.
    Panicked {
        cause: String,
        wait: Duration,
    },
}

/// What keeps a camera from recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Disk,
    /// Of `record.encode`.
    Encoder,
}

/// One camera's way into the archive.
pub struct CameraRecorder {
    /// For those who wake it.
    me: Weak<CameraRecorder>,
    camera: String,
    settings: RecorderSettings,
    archive: Arc<Archive>,
    /// Where recordings are encoded.
    pool: Pool,
    ring: Arc<PacketRing>,
    counters: Arc<Counters>,
    inbox: Mutex<Inbox>,
    state: Mutex<State>,
    facts: Mutex<Vec<Fact>>,
    /// Called after a turn that left facts.
    on_facts: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// A turn is waiting on the archive's thread already.
    queued: AtomicBool,
    /// What is published: read by others while the archive's thread may hang.
    trouble: Mutex<Option<String>>,
    missing: Mutex<Option<OpenGap>>,
    detector_is_down: AtomicBool,
    /// The last session whose end was seen to.
    ended_session: AtomicU64,
}

/// What came in since the last turn.
#[derive(Default)]
struct Inbox {
    sightings: VecDeque<Told>,
    looked: Option<Looked>,
    detector_down: Option<bool>,
    /// The detector has decoded everything before this sequence.
    detector_passed: Option<u64>,
    /// This session gets no more packets.
    ended_session: Option<u64>,
    close: bool,
}

/// A sighting that waits for its answer.
#[derive(Clone)]
struct Told {
    sighting: Sighting,
    at: Instant,
    /// With what its recording would begin that is held now: on a disk that takes nothing, the ring lets go of it.
    start: Option<(Arc<Session>, i64)>,
    /// The disk has refused something meanwhile.
    was_refused: bool,
}

/// How far the detector has looked.
#[derive(Clone, Copy)]
struct Looked {
    session: u64,
    pts_us: i64,
    /// Set where its stream is another than the recorded one.
    utc: Option<DateTime<Utc>>,
}

impl Looked {
    /// In the session of the recorded stream, whose newest packet is this one.
    fn of(self, newest: &Packet) -> (u64, i64) {
        match self.utc {
            Some(utc) => (newest.session.id, newest.session.pts_us(utc).min(newest.pts_us())),
            None => (self.session, self.pts_us),
        }
    }
}

struct State {
    recorder: Recorder,
    /// What the detector said, not yet answered; all of it is from before `looked`.
    sightings: VecDeque<Told>,
    looked: Option<Looked>,
    detector_passed: Option<u64>,
    ended_session: Option<u64>,
    file: Option<OpenFile>,
    /// Makes the packets of the file that is open or about to be.
    encoding: Option<Encoding>,
    /// Session and time up to which a file that was given up holds pictures.
    encoded_to: Option<(u64, i64)>,
    /// Last decode time of video at the cursor, for audio packets between.
    video_dts_us: i64,
    retry_at: Option<Instant>,
    /// The disk has refused something since the last packet was taken.
    was_refused: bool,
    /// A file operation is under way: after a panic the file can't be trusted.
    in_file: bool,
    missing: Missing,
    /// Where the newest recording that is closed ends.
    recorded_to: Option<DateTime<Utc>>,
    /// When packets were lost last because they were not stored in time.
    overtaken_at: Option<Instant>,
    /// Session and time up to which the detector has looked, or from which it should.
    watched: (u64, i64),
    backoff: Backoff,
    turn_began: Option<Instant>,
    closed: bool,
}

struct OpenFile {
    file: RecordingFile,
    row: Recording,
    /// Its start as the index was told.
    told_start: DateTime<Utc>,
    session: Arc<Session>,
    first_pts_us: i64,
    last_pts_us: i64,
    /// Usual distance of two pictures, for the end of the last one.
    frame_us: i64,
    /// It begins where the file before it ends.
    follows: bool,
    /// Where the state machine would begin this file again.
    begin_seq: u64,
    flushed_at: Instant,
}

/// What is left of a turn.
struct Budget {
    packets: usize,
    until: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a turn came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Everything that is there was taken.
    CaughtUp,
    /// There is more for another turn.
    Busy,
    /// The disk refuses; try later.
    Blocked,
    /// The encoder has enough to do, or has to end first; it wakes the recorder.
    Encoding,
}

impl CameraRecorder {
    pub fn new(
        camera: &str,
        settings: RecorderSettings,
        archive: Arc<Archive>,
        pool: Pool,
        ring: Arc<PacketRing>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let decisions = settings.decisions;
        Arc::new_cyclic(|me| CameraRecorder {
            me: Weak::clone(me),
            camera: camera.to_owned(),
            settings,
            archive,
            pool,
            ring,
            counters,
            inbox: Mutex::default(),
            state: Mutex::new(State {
                recorder: Recorder::new(decisions),
                sightings: VecDeque::new(),
                looked: None,
                detector_passed: None,
                ended_session: None,
                file: None,
                encoding: None,
                encoded_to: None,
                video_dts_us: i64::MIN,
                retry_at: None,
                was_refused: false,
                in_file: false,
                missing: Missing::default(),
                recorded_to: None,
                overtaken_at: None,
                watched: (0, 0),
                backoff: Backoff::default(),
                turn_began: None,
                closed: false,
            }),
            facts: Mutex::default(),
            on_facts: Mutex::default(),
            queued: AtomicBool::new(false),
            trouble: Mutex::default(),
            missing: Mutex::default(),
            detector_is_down: AtomicBool::new(false),
            ended_session: AtomicU64::new(0),
        })
    }

    /// Who is to be woken when there are facts to take.
    pub fn wake_with(&self, wake: impl Fn() + Send + 'static) {
        *lock(&self.on_facts) = Some(Box::new(wake));
    }

    /// What happened since the last call, in order.
    pub fn take_facts(&self) -> Vec<Fact> {
        std::mem::take(&mut *lock(&self.facts))
    }

    /// There are new packets: asks for a turn on the archive's thread. Cheap and never blocks.
    pub fn notice(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.archive.enqueue(Arc::clone(self));
        }
    }

    /// The detector saw motion begin or go on.
    pub fn sighted(self: &Arc<Self>, sighting: Sighting) {
        let start = self.onset_here(sighting).and_then(|onset| self.start_of(onset));
        let at = clock::monotonic();
        let mut inbox = lock(&self.inbox);
        match inbox.sightings.back_mut().map(|told| &mut told.sighting) {
            Some(last)
                if last.onset.onset_us == sighting.onset.onset_us && last.onset.session == sighting.onset.session =>
            {
                *last = sighting;
            }
            _ => inbox.sightings.push_back(Told { sighting, at, start, was_refused: false }),
        }
        drop(inbox);
        self.notice();
    }

    /// The detector has looked at everything up to here; `utc` where its stream is another than the recorded one.
    pub fn looked(self: &Arc<Self>, session: u64, pts_us: i64, utc: Option<DateTime<Utc>>) {
        let mut inbox = lock(&self.inbox);
        inbox.looked = Some(Looked { session, pts_us, utc });
        inbox.detector_down = Some(false);
        drop(inbox);
        self.notice();
    }

    /// The detector has decoded everything before `seq` of this ring, and what it saw was told before.
    pub fn detector_passed(self: &Arc<Self>, seq: u64) {
        lock(&self.inbox).detector_passed = Some(seq);
        self.notice();
    }

    pub fn detector_down(self: &Arc<Self>, down: bool) {
        lock(&self.inbox).detector_down = Some(down);
        self.notice();
    }

    /// An event by hand, from now.
    pub fn trigger_now(self: &Arc<Self>) -> bool {
        let Some(newest) = self.ring.newest() else { return false };
        let at_us = newest.pts_us();
        let onset =
            Onset { session: newest.session.id, onset_us: at_us, last_motion_us: at_us, reason: Reason::Manual };
        self.sighted(Sighting { onset, mapped: None });
        true
    }

    /// The session gets no more packets: what is open is finished.
    pub fn session_ended(self: &Arc<Self>, session: u64) {
        lock(&self.inbox).ended_session = Some(session);
        self.notice();
    }

    /// Where the detector has to put what it sees; None: nobody wants to know.
    pub fn looks(&self) -> Option<&Arc<Looks>> {
        self.settings.shows.as_ref().map(|shown| &shown.looks)
    }

    /// Is what was open when this session ended finished?
    pub fn has_ended(&self, session: u64) -> bool {
        self.ended_session.load(Ordering::Acquire) >= session
    }

    /// Takes what is left in the ring, finishes the file, and is closed for good.
    pub fn close(self: &Arc<Self>) {
        lock(&self.inbox).close = true;
        self.notice();
    }

    /// Is everything stored and finished after [`CameraRecorder::close`]?
    pub fn is_closed(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.closed)
    }

    /// Why the disk refuses, while it does.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// What cannot be stored, while that goes on.
    pub fn missing(&self) -> Option<OpenGap> {
        *lock(&self.missing)
    }

    /// Is everything recorded because nothing is detected?
    pub fn is_detector_down(&self) -> bool {
        self.detector_is_down.load(Ordering::Relaxed)
    }

    /// One turn on the archive's thread. True if it wants another one at once.
    pub(super) fn turn(&self) -> bool {
        self.queued.store(false, Ordering::Release);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            failpoint::reach("worker.archive", &self.camera);
            let mut state = lock(&self.state);
            let progress = self.advance_all(&mut state);
            *lock(&self.missing) = state.missing.gap();
            progress
        }));
        let again = match outcome {
            Ok(progress) => progress == Progress::Busy,
            Err(panic) => {
                self.after_panic(&panic_text(panic.as_ref()));
                false
            }
        };
        if !lock(&self.facts).is_empty()
            && let Some(wake) = &*lock(&self.on_facts)
        {
            wake();
        }
        again
    }

    fn tell(&self, fact: Fact) {
        lock(&self.facts).push(fact);
    }

    fn after_panic(&self, cause: &str) {
        let mut state = lock(&self.state);
        self.wait_after_panic(&mut state, cause);
        if std::mem::take(&mut state.in_file)
            && let Some(open) = state.file.take()
        {
            let _ = catch_unwind(AssertUnwindSafe(|| self.give_up(&mut state, open)));
        }
    }

    fn wait_after_panic(&self, state: &mut State, cause: &str) {
        let now = clock::monotonic();
        let lived = state.turn_began.map_or(Duration::ZERO, |began| now - began);
        state.turn_began = Some(now);
        let wait = state.backoff.failed(lived, fastrand::f64());
        state.retry_at = Some(now + wait);
        self.tell(Fact::Panicked { cause: cause.to_owned(), wait });
    }

    /// Takes everything that may be taken now.
    fn advance_all(&self, state: &mut State) -> Progress {
        if state.closed {
            return Progress::CaughtUp;
        }
        let closing = lock(&self.inbox).close;
        if state.retry_at.is_some_and(|at| clock::monotonic() < at) && !closing {
            return Progress::Blocked;
        }
        state.retry_at = None;
        self.take_inbox(state);
        self.follow_schedule(state);
        self.judge_detector(state);
        if self.store(state, RecordingFile::retry).is_err() {
            return Progress::Blocked;
        }
        if let Err(NotNow::Disk) = self.store_encoded(state) {
            return Progress::Blocked;
        }
        let mut budget = Budget { packets: PACKETS_A_TURN, until: clock::monotonic() + TURN_AT_MOST };
        let mut progress = self.advance(state, &mut budget);
        while progress == Progress::CaughtUp
            && let Some(told) = state.sightings.front().cloned()
        {
            progress = self.answer(state, &told);
            if progress == Progress::CaughtUp {
                state.sightings.pop_front();
                progress = self.advance(state, &mut budget);
            }
        }
        if progress == Progress::CaughtUp {
            self.take_looked(state);
            progress = self.advance(state, &mut budget);
        }
        if progress == Progress::CaughtUp {
            let ended = state.ended_session;
            if closing || ended.is_some_and(|session| state.recorder.session() == Some(session)) {
                progress = self.finish_event(state);
            }
            if progress == Progress::CaughtUp
                && let Some(session) = state.ended_session.take()
            {
                self.ended_session.store(session, Ordering::Release);
            }
        }
        if progress == Progress::CaughtUp {
            self.let_producer_on(state);
        }
        if progress == Progress::CaughtUp && state.recorder.cursor().is_none() {
            self.look_after_disk(state);
        }
        if progress != Progress::Busy
            && let Some(open) = &mut state.file
        {
            // What waits in the buffer for longer than a fragment is written by the clock.
            let now = clock::monotonic();
            if now - open.flushed_at > STALE {
                open.flushed_at = now;
                progress = self.store(state, RecordingFile::flush).map_or(Progress::Blocked, |()| progress);
            }
        }
        if closing && !matches!(progress, Progress::Busy | Progress::Encoding) {
            if let Some(open) = state.file.take() {
                let stored_to = self.give_up(state, open);
                state.missing.begins(stored_to, GapCause::DiskError);
            }
            // What the ring still holds goes with it.
            if let Some(newest) = self.ring.newest() {
                self.end_gap(state, newest.session.utc(newest.pts_us()));
            }
            state.closed = true;
        }
        progress
    }

    /// Records in the mode of this moment from now on.
    fn follow_schedule(&self, state: &mut State) {
        let Some((schedule, newest)) = self.settings.schedule.as_ref().zip(self.ring.newest()) else { return };
        let mode = schedule.mode(newest.session.utc(newest.pts_us())).unwrap_or(self.settings.decisions.mode);
        state.recorder.set_mode(mode, newest.session.id, newest.pts_us());
    }

    /// Tells a producer that waits for its readers how far they are. A dead detector is not waited for.
    fn let_producer_on(&self, state: &State) {
        let looks = self.settings.detects && !self.detector_is_down.load(Ordering::Relaxed);
        let looked = if looks { state.detector_passed.unwrap_or(0) } else { self.ring.end() };
        self.ring.pass(state.recorder.storing_from().map_or(looked, |seq| seq.min(looked)));
    }

    /// Is the detector there and near enough? If not, everything is recorded.
    fn judge_detector(&self, state: &mut State) {
        let Some(newest) = self.ring.newest() else { return };
        let (session, now_us) = (newest.session.id, newest.pts_us());
        if state.watched.0 != session {
            state.watched = (session, now_us);
        }
        if let Some((looked_session, looked_us)) = state.looked.map(|looked| looked.of(&newest))
            && looked_session == session
        {
            state.watched.1 = state.watched.1.max(looked_us);
        }
        let reported = lock(&self.inbox).detector_down.take();
        if !self.settings.detects {
            return;
        }
        // Where pictures are rare, those that wait in the decoder for others are old, and nobody is behind.
        let unread_us = state.detector_passed.and_then(|seq| self.ring.lag_us(seq));
        let lag_us = unread_us.unwrap_or(i64::MAX).min(now_us - state.watched.1);
        let is_near = lag_us < HOPELESS_LAG_US;
        let is_down = self.detector_is_down.load(Ordering::Relaxed);
        let down = match reported {
            Some(down) => down || !is_near,
            None => is_down || !is_near,
        };
        if down != is_down {
            self.detector_is_down.store(down, Ordering::Relaxed);
            state.recorder.detector_down(down, session, now_us);
        }
    }

    /// Takes over what the detector said: all of it at once, because an event may be finished only when no
    /// sighting from before `looked` is on its way.
    fn take_inbox(&self, state: &mut State) {
        let mut inbox = lock(&self.inbox);
        state.sightings.append(&mut inbox.sightings);
        state.looked = inbox.looked.take().or(state.looked.take());
        state.detector_passed = inbox.detector_passed.or(state.detector_passed);
        state.ended_session = inbox.ended_session.take().or(state.ended_session);
    }

    fn take_looked(&self, state: &mut State) {
        let newest = self.ring.newest();
        if !self.settings.detects {
            if let Some(newest) = newest {
                state.recorder.looked(newest.session.id, newest.pts_us());
            }
            return;
        }
        let (Some(looked), Some(newest)) = (state.looked.take(), newest) else { return };
        let (session, pts_us) = looked.of(&newest);
        state.recorder.looked(session, pts_us);
    }

    /// A sighting in the session of the recorded stream, once there is one.
    fn onset_here(&self, sighting: Sighting) -> Option<Onset> {
        let newest = self.ring.newest()?;
        let mut onset = sighting.onset;
        if let Some(mapped) = sighting.mapped {
            onset.session = newest.session.id;
            let wider = i64::try_from(mapped.uncertainty.as_micros()).unwrap_or(0);
            onset.onset_us = newest.session.pts_us(mapped.onset) - wider;
            onset.last_motion_us = newest.session.pts_us(mapped.last_motion) + wider;
        }
        Some(onset)
    }

    /// Session and time with which an event's recording would begin, as far as it is held.
    fn start_of(&self, onset: Onset) -> Option<(Arc<Session>, i64)> {
        let from_us = onset.onset_us - self.settings.decisions.pre_alarm_us;
        let packet = self.ring.start_for(onset.session, from_us).and_then(|seq| self.ring.get(seq))?;
        Some((Arc::clone(&packet.session), packet.pts_us()))
    }

    /// Begins an event or prolongs the open one.
    fn answer(&self, state: &mut State, told: &Told) -> Progress {
        let Some(onset) = self.onset_here(told.sighting) else { return Progress::CaughtUp };
        let answer = state.recorder.trigger(onset, |pts| self.ring.start_for(onset.session, pts));
        if let Answer::Begin(seq) = answer {
            let finished = self.finish_event(state);
            if finished != Progress::CaughtUp {
                return finished;
            }
            state.recorder.begin(onset.session, seq, Some(onset));
        }
        self.miss_what_was_held(state, told, onset);
        Progress::CaughtUp
    }

    /// What an event's recording should have begun with was there when the event was told, and the disk took it too
    /// late.
    fn miss_what_was_held(&self, state: &mut State, told: &Told, onset: Onset) {
        let was_late = told.was_refused || clock::monotonic() - told.at > ANSWERED_WITHIN;
        let Some((session, held_us)) = &told.start else { return };
        if !was_late || state.recorder.mode() != RecordMode::Motion || state.missing.gap().is_some() {
            return;
        }
        let held_from = session.utc(*held_us);
        let since = state.recorded_to.map_or(held_from, |recorded_to| recorded_to.max(held_from));
        let cause = if told.was_refused { GapCause::DiskError } else { GapCause::DiskTooSlow };
        match self.start_of(onset) {
            // Until the file begins.
            Some((_, left_us)) if state.file.is_none() && *held_us < left_us => state.missing.begins(since, cause),
            Some(_) => {}
            // All of it is gone, and its session with it.
            None => {
                state.missing.begins(since, cause);
                let end_us = onset.last_motion_us + self.settings.decisions.minimal_duration_us;
                self.end_gap(state, session.utc(end_us));
            }
        }
    }

    /// Runs the state machine's steps over the ring.
    fn advance(&self, state: &mut State, budget: &mut Budget) -> Progress {
        loop {
            let Some(seq) = state.recorder.cursor() else {
                let Some((session, start)) = self.next_start(&state.recorder) else { return Progress::CaughtUp };
                state.recorder.begin(session, start, None);
                continue;
            };
            if budget.packets == 0 || clock::monotonic() >= budget.until {
                return Progress::Busy;
            }
            if state.encoding.as_ref().is_some_and(Encoding::is_full) {
                return Progress::Encoding;
            }
            budget.packets -= 1;
            let packet = match self.ring.read(seq) {
                Read::Empty => return Progress::CaughtUp,
                Read::Overtaken { resume } => match self.overtaken(state, seq, resume) {
                    Progress::CaughtUp => continue,
                    later => return later,
                },
                Read::Item(packet) => {
                    state.was_refused = false;
                    packet
                }
            };
            if self.waits_for_look(state, seq) {
                return Progress::CaughtUp;
            }
            if packet.track == Track::Video {
                state.video_dts_us = packet.dts_us();
            }
            let session = packet.session.id;
            let meta = PacketMeta {
                seq,
                session,
                stream: Arc::as_ptr(&packet.stream) as usize as u64,
                // Audio never ends an event: what decides is how far video has come.
                dts_us: if packet.track == Track::Video { packet.dts_us() } else { state.video_dts_us },
                pts_us: packet.pts_us(),
                keyframe: packet.keyframe,
            };
            let done = match state.recorder.step(meta, |pts| self.ring.start_for(session, pts)) {
                Step::Write => self.take(state, &packet),
                Step::Begin => match self.close_file(state) {
                    Ok(()) => self.begin(state, seq, &packet),
                    Err(later) => {
                        // What was given up has rewound already, and further back.
                        if state.file.is_some() || matches!(later, NotNow::Encoder) {
                            state.recorder.rewind(seq);
                        }
                        Err(later)
                    }
                },
                Step::Skip => Ok(()),
                Step::Wait => return Progress::CaughtUp,
                Step::Finish => match self.finish_event(state) {
                    Progress::CaughtUp => Ok(()),
                    later => return later,
                },
            };
            if let Err(later) = done {
                return later.into();
            }
        }
    }

    /// Is the packet to be drawn on, and the detector about to look at it? It is not waited for where it is far behind or
    /// at the end, and never with a decision to be answered: that asks for all that was passed before it.
    fn waits_for_look(&self, state: &State, seq: u64) -> bool {
        self.settings.shows.is_some()
            && !self.detector_is_down.load(Ordering::Relaxed)
            && state.sightings.is_empty()
            && state.ended_session.is_none()
            && state.detector_passed.is_some_and(|passed| passed <= seq)
            && self.ring.lag_us(seq).is_some_and(|lag_us| lag_us < LOOK_AT_MOST_US)
            && !lock(&self.inbox).close
    }

    /// The session and sequence at which recording has to begin although nothing triggered, if it has to.
    fn next_start(&self, recorder: &Recorder) -> Option<(u64, u64)> {
        let newest = self.ring.newest()?.session.id;
        let seq = match recorder.wants_start(newest)? {
            Start::At(seq) => self.ring.next_keyframe(seq)?,
            Start::Time(pts_us) => self.ring.start_for(newest, pts_us)?,
        };
        Some((self.ring.get(seq)?.session.id, seq))
    }

    /// The last keyframe in the older half of what the ring holds from `seq` on; `seq` where there is none.
    fn keyframe_ahead(&self, seq: u64) -> u64 {
        let (Some(oldest), Some(newest)) = (self.ring.get(seq), self.ring.newest()) else { return seq };
        if oldest.session.id != newest.session.id {
            return seq;
        }
        let middle_us = oldest.pts_us().midpoint(newest.pts_us());
        self.ring.start_for(newest.session.id, middle_us).map_or(seq, |start| start.max(seq))
    }

    /// The ring let packets go that were to be stored: the disk was too slow for too long.
    fn overtaken(&self, state: &mut State, seq: u64, resume: u64) -> Progress {
        let stored_to = state.file.as_ref().map(OpenFile::end);
        let is_encoded = state.encoding.is_some();
        if let Err(later) = self.close_file(state) {
            return later.into();
        }
        let now = clock::monotonic();
        let again =
            state.overtaken_at.replace(now).is_some_and(|last| now.saturating_duration_since(last) < STILL_SLOW);
        // With some of the ring ahead, gaps and files are few and long instead of many and short.
        let resume = if again { self.keyframe_ahead(resume) } else { resume };
        if state.recorder.overtaken(resume) {
            self.counters.packets_dropped.fetch_add(resume - seq, Ordering::Relaxed);
            let cause = match state.was_refused {
                true => GapCause::DiskError,
                false if is_encoded => GapCause::Encoder,
                false => GapCause::DiskTooSlow,
            };
            if cause == GapCause::DiskTooSlow {
                self.archive.was_too_slow.store(true, Ordering::Release);
            }
            // Where nothing was stored yet, the oldest that is left is the nearest to what is gone.
            let after = || self.ring.get(resume).or_else(|| self.ring.newest());
            let since = stored_to.or_else(|| after().map(|packet| packet.session.utc(packet.pts_us())));
            since.into_iter().for_each(|since| state.missing.begins(since, cause));
        }
        Progress::CaughtUp
    }

    /// A new file begins with this packet of the ring.
    fn begin(&self, state: &mut State, seq: u64, packet: &Arc<Packet>) -> Result<(), NotNow> {
        let Some(encode) = self.settings.encode else { return self.begin_file(state, seq, packet) };
        let settings = TranscoderSettings {
            encode,
            needs_rate: self.settings.container == ContainerKind::Avi,
            from_us: state.encoded_to.take().filter(|(session, _)| *session == packet.session.id).map(|(_, us)| us),
            shows: self.settings.shows.clone(),
            camera: self.camera.clone(),
            zone: self.archive.layout.zone(),
        };
        let me = Weak::clone(&self.me);
        let wake = move || {
            if let Some(recorder) = me.upgrade() {
                recorder.notice();
            }
        };
        state.encoding = Some(Encoding::start(seq, settings, self.pool.clone(), wake));
        self.take(state, packet)
    }

    /// Takes the file's next packet from the ring: into the file, or first to the encoder.
    fn take(&self, state: &mut State, packet: &Arc<Packet>) -> Result<(), NotNow> {
        match &state.encoding {
            Some(encoding) => {
                encoding.push(Arc::clone(packet), state.recorder.motion_left_us(packet.pts_us()));
                Ok(())
            }
            None => self.write(state, packet),
        }
    }

    /// Puts what is encoded so far into the file, which begins with the first packet. Err(NotNow::Encoder): there
    /// is more to come.
    fn store_encoded(&self, state: &mut State) -> Result<(), NotNow> {
        while let Some(encoding) = &state.encoding {
            let begin_seq = encoding.begin_seq;
            if let Some(packet) = encoding.pop() {
                match state.file {
                    Some(_) => self.write(state, &packet)?,
                    None => self.begin_file(state, begin_seq, &packet)?,
                }
                continue;
            }
            match encoding.progress() {
                encoding::Progress::Running => return Err(NotNow::Encoder),
                encoding::Progress::Finished => state.encoding = None,
                encoding::Progress::Failed(cause) => {
                    let message = format!("cannot encode the recording: {cause} (see record.encode)");
                    let since = self.give_up_encoding(state, begin_seq);
                    self.blocked(state, Trouble::Encoder, message, since);
                    return Err(NotNow::Disk);
                }
                encoding::Progress::Crashed(panic) => {
                    self.give_up_encoding(state, begin_seq);
                    self.wait_after_panic(state, &panic);
                    return Err(NotNow::Disk);
                }
            }
        }
        Ok(())
    }

    /// Ends what is encoded so far, to go on after it. Returns to when it is stored.
    fn give_up_encoding(&self, state: &mut State, begin_seq: u64) -> Option<DateTime<Utc>> {
        state.encoding = None;
        if let Some(open) = state.file.take() {
            return Some(self.give_up(state, open));
        }
        state.recorder.rewind(begin_seq);
        self.ring.get(begin_seq).map(|packet| packet.session.utc(packet.pts_us()))
    }

    fn begin_file(&self, state: &mut State, seq: u64, packet: &Packet) -> Result<(), NotNow> {
        let first_pts_us = packet.pts_us();
        let start = packet.session.utc(first_pts_us);
        let onset = state.recorder.onset_us().filter(|_| !state.recorder.has_rolled());
        let onset = onset.map(|us| packet.session.utc(us));
        let pre_alarm_s = onset.map(|onset| (onset - start).num_microseconds().unwrap_or(0) as f64 / 1e6);
        let reason = state.recorder.reason();
        let meta = FileMeta { camera: self.camera.clone(), start, reason, onset, pre_alarm_s };
        let with_audio = self.settings.audio != AudioMode::Off;
        state.in_file = true;
        let created = self.archive.create_file(&meta, self.settings.container, &packet.stream, with_audio);
        state.in_file = false;
        let (file, path) = match created {
            Ok(created) => created,
            Err(error) => {
                state.encoding = None;
                state.recorder.rewind(seq);
                return Err(self.refused(state, &error, start));
            }
        };
        let row = Recording {
            id: self.archive.index().next_id(),
            camera: meta.camera,
            start,
            end: None,
            pre_alarm_s,
            bytes: 0,
            path,
            motion_s: 0.0,
            complete: false,
            reason: meta.reason,
        };
        self.archive.index().put(row.clone());
        state.file = Some(OpenFile {
            file,
            told_start: row.start,
            row,
            session: Arc::clone(&packet.session),
            first_pts_us,
            last_pts_us: first_pts_us,
            frame_us: 0,
            follows: state.recorder.has_rolled(),
            begin_seq: seq,
            flushed_at: clock::monotonic(),
        });
        self.write(state, packet)?;
        if let Some(open) = &state.file {
            self.tell(Fact::Opened(open.row.clone()));
        }
        self.end_gap(state, start);
        Ok(())
    }

    fn end_gap(&self, state: &mut State, end: DateTime<Utc>) {
        if let Some(gap) = state.missing.ends(&self.camera, end) {
            self.archive.index().add_gap(gap.clone());
            self.tell(Fact::Gap(gap));
        }
    }

    /// Appends a packet to the open file.
    fn write(&self, state: &mut State, packet: &Packet) -> Result<(), NotNow> {
        if let Some(open) = &mut state.file
            && packet.track == Track::Video
        {
            // The session's clock learns that the first packets came late. Where a file goes on after another, its
            // start is the other's end.
            if !open.follows {
                open.row.start = open.row.start.min(open.session.utc(open.first_pts_us));
                if open.told_start - open.row.start > WORTH_TELLING {
                    open.told_start = open.row.start;
                    self.archive.index().put(open.row.clone());
                }
            }
            let pts_us = packet.pts_us();
            if pts_us > open.last_pts_us {
                open.frame_us = pts_us - open.last_pts_us;
                open.last_pts_us = pts_us;
            }
        }
        self.store(state, |file| file.write(packet))
    }

    /// Runs a file operation that may append to the file.
    fn store(&self, state: &mut State, work: impl FnOnce(&mut RecordingFile) -> io::Result<()>) -> Result<(), NotNow> {
        let before = state.file.as_ref().map_or(0, |open| open.file.bytes());
        self.in_file(state, |open| work(&mut open.file))?;
        if let Some(open) = &mut state.file {
            let written = open.file.bytes().saturating_sub(before);
            if written > 0 {
                open.flushed_at = clock::monotonic();
                self.counters.recorded_bytes.fetch_add(written, Ordering::Relaxed);
                self.archive.wrote();
                self.disk_is_well(true);
            }
        }
        Ok(())
    }

    /// Runs a file operation; where the disk refuses, gives the file up and remembers to try again. On a full disk
    /// the file stays and goes on when there is room.
    fn in_file(&self, state: &mut State, work: impl FnOnce(&mut OpenFile) -> io::Result<()>) -> Result<(), NotNow> {
        let Some(open) = &mut state.file else { return Ok(()) };
        state.in_file = true;
        let result = work(open);
        state.in_file = false;
        let Err(error) = result else { return Ok(()) };
        let Some(open) = state.file.take() else { return Ok(()) };
        if is_full(&error) && open.file.bytes() > 0 && state.encoding.is_none() {
            state.file = Some(open);
            self.blocked(state, Trouble::Disk, self.archive.explain(&error), None);
            return Err(NotNow::Disk);
        }
        let stored_to = self.give_up(state, open);
        Err(self.refused(state, &error, stored_to))
    }

    /// Cuts a file back to what is whole and begins again at the keyframe before what is missing, so that
    /// nothing is lost if the disk recovers while the ring still holds it. Returns to when it is stored.
    fn give_up(&self, state: &mut State, open: OpenFile) -> DateTime<Utc> {
        let OpenFile { file, row, session, first_pts_us, begin_seq, .. } = open;
        state.encoding = None;
        let stored_us = match file.abandon() {
            Some(finished) => {
                self.closed(state, row, &session, finished);
                finished.end_pts_us
            }
            None => {
                self.archive.index().remove(row.id);
                first_pts_us
            }
        };
        // What is decoded anew for what follows is not stored twice.
        state.encoded_to = self.settings.encode.map(|_| (session.id, stored_us));
        let resume = self.ring.start_for(session.id, stored_us).unwrap_or(begin_seq).max(begin_seq);
        state.recorder.rewind(resume);
        session.utc(stored_us)
    }

    /// Nothing is to be recorded now: is the disk that refused well again?
    fn look_after_disk(&self, state: &mut State) {
        if lock(&self.trouble).is_none() {
            return;
        }
        match self.archive.check_room() {
            Ok(()) => self.disk_is_well(false),
            Err(error) => {
                state.retry_at = Some(clock::monotonic() + RETRY);
                self.hindered(Trouble::Disk, self.archive.explain(&error));
            }
        }
    }

    fn disk_is_well(&self, recording: bool) {
        if lock(&self.trouble).take().is_some() {
            self.tell(Fact::Well { recording });
        }
    }

    fn refused(&self, state: &mut State, error: &io::Error, since: DateTime<Utc>) -> NotNow {
        self.blocked(state, Trouble::Disk, self.archive.explain(error), Some(since));
        NotNow::Disk
    }

    /// Nothing can be stored from `since` on, until it is tried again; None: what is to be stored is not lost yet.
    fn blocked(&self, state: &mut State, trouble: Trouble, message: String, since: Option<DateTime<Utc>>) {
        let cause = match trouble {
            Trouble::Disk => GapCause::DiskError,
            Trouble::Encoder => GapCause::Encoder,
        };
        since.into_iter().for_each(|since| state.missing.begins(since, cause));
        state.was_refused |= trouble == Trouble::Disk;
        state.sightings.iter_mut().for_each(|told| told.was_refused |= trouble == Trouble::Disk);
        state.retry_at = Some(clock::monotonic() + RETRY);
        self.hindered(trouble, message);
    }

    fn hindered(&self, trouble: Trouble, message: String) {
        *lock(&self.trouble) = Some(message.clone());
        self.tell(Fact::Trouble { trouble, message });
    }

    /// Finalises the open file, if any.
    fn close_file(&self, state: &mut State) -> Result<(), NotNow> {
        if let Some(encoding) = &state.encoding {
            encoding.end();
            self.store_encoded(state)?;
        }
        // What is buffered first: if the disk refuses it, the file is given up with nothing lost.
        self.store(state, RecordingFile::flush)?;
        let Some(open) = state.file.take() else { return Ok(()) };
        let (extent, bytes) = (open.file.extent(), open.file.bytes());
        state.in_file = true;
        let finished = open.file.finish();
        state.in_file = false;
        self.archive.wrote();
        match finished {
            Ok(finished) => {
                self.closed(state, open.row, &open.session, finished);
                Ok(())
            }
            Err(error) => {
                // Nothing is lost: it stays as a valid file without an index, and the next start finalises it.
                let Extent { first_pts_us, end_pts_us, packets } = extent;
                let finished = Finished { bytes, first_pts_us, end_pts_us, packets, complete: false };
                self.closed(state, open.row, &open.session, finished);
                self.hindered(Trouble::Disk, self.archive.explain(&error));
                Ok(())
            }
        }
    }

    /// Writes down that a file is closed.
    fn closed(&self, state: &mut State, row: Recording, session: &Session, finished: Finished) {
        let Finished { bytes, first_pts_us, end_pts_us, complete, .. } = finished;
        let motion_s = state.recorder.motion_between(first_pts_us, end_pts_us) as f64 / 1e6;
        let end = Some(session.utc(end_pts_us).max(row.start));
        state.recorded_to = state.recorded_to.max(end);
        self.archive.has_unfinished.fetch_or(!complete, Ordering::AcqRel);
        let row = Recording { end, bytes, motion_s, complete, ..row };
        self.archive.index().put(row.clone());
        self.tell(Fact::Closed(row));
    }

    /// Finalises the event's file and forgets the event. Where the disk refuses, the event stays and is tried again.
    fn finish_event(&self, state: &mut State) -> Progress {
        if let Err(later) = self.close_file(state) {
            return later.into();
        }
        let at_cursor = state.recorder.cursor().and_then(|seq| self.ring.get(seq));
        state.recorder.finished();
        if let Some(packet) = at_cursor.or_else(|| self.ring.newest()) {
            self.end_gap(state, packet.session.utc(packet.pts_us()));
        }
        Progress::CaughtUp
    }
}

/// Why something has to be tried again later; it is written down where it has to be.
enum NotNow {
    /// The disk refused, or encoding failed.
    Disk,
    /// The encoder is not done.
    Encoder,
}

impl From<NotNow> for Progress {
    fn from(later: NotNow) -> Self {
        match later {
            NotNow::Disk => Progress::Blocked,
            NotNow::Encoder => Progress::Encoding,
        }
    }
}

impl OpenFile {
    fn end(&self) -> DateTime<Utc> {
        self.session.utc(self.last_pts_us + self.frame_us)
    }
}
