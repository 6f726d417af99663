//! The DetectorActor: takes notices of new frames, has them looked at on the shared threads, and answers with
//! triggers. It decides nothing itself and never decodes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};

use super::confirmer::{Confirmer, Request};
use super::guard::{CameraPart, guarded};
use super::looker::{Change, Look, Looker};
use super::messages::{Frame, Looked, LookedAt, Part, PartFailed, SessionEnded, SetWriter, Trigger, WriterState};
use super::registry::{Alarm, CameraEntry, Registry};
use super::shots::Shot;
use crate::archive::backgrounds::Backgrounds;
use crate::archive::index::Index;
use crate::archive::recorder::MappedOnset;
use crate::clock;
use crate::domain::backoff::Backoff;
use crate::domain::camera::{Event, Reason};
use crate::domain::config::DetectConfig;
use crate::domain::finding::{Cause, Finding, Region, ZoneSet};
use crate::domain::motion::MotionChange;
use crate::domain::recording::MotionEvent;
use crate::domain::score::Score;
use crate::domain::tamper::TamperChange;
use crate::media::PacketRing;
use crate::media::looks::{Looks, Seen};
use crate::media::packet::Session;
use crate::pool::Pool;

/// Triggers that are kept for a new writer.
const KEPT_TRIGGERS: usize = 16;
const TICK: Duration = Duration::from_millis(250);
/// How far the clocks of a camera's two streams may lie apart: both are mapped by arrival.
const STREAMS_APART: Duration = Duration::from_millis(500);

/// The kind of alarm that is raised when the camera is covered, turned away, … ([`crate::domain::tamper`]).
const TAMPER_ALARM: &str = "tamper";

/// Nobody knows any more of anything that was done to the camera.
pub fn clear_alarms(registry: &Registry, entry: &CameraEntry, camera: &str) {
    entry.update(|status| status.tamper = None);
    registry.clear_alarm(TAMPER_ALARM, Some(camera));
}

/// What a DetectorActor is made of.
pub struct DetectorActor {
    pub camera: String,
    pub generation: u64,
    /// When it is gone, so is this.
    pub owner: Weak<()>,
    pub config: DetectConfig,
    /// Only motion in these zones is recorded; none: all.
    pub recorded_zones: ZoneSet,
    pub ring: Arc<PacketRing>,
    /// What was known of the scene before; None: each connection is a new scene.
    pub backgrounds: Option<Arc<Backgrounds>>,
    /// Who asks models what events show; None: nobody.
    pub confirmer: Option<Arc<Confirmer>>,
    /// Who draws what was seen finds it there; None: nobody does.
    pub looks: Option<Arc<Looks>>,
    /// It looks at another stream than the one that is recorded.
    pub own_stream: bool,
    pub pool: Pool,
    /// Handed over when the writer has started, and again when it was replaced.
    pub writer: Option<SetWriter>,
    pub index: Index,
    pub entry: Arc<CameraEntry>,
    pub registry: Arc<Registry>,
    pub parent: Recipient<PartFailed>,
    pub span: tracing::Span,
    pub work: Work,
}

/// Where the looking stands.
pub struct Work {
    looker: LookerState,
    /// There was news while a turn was under way.
    again: bool,
    /// The session that gets no more packets.
    ending: Option<u64>,
    backoff: Backoff,
    began: Instant,
    /// The camera has settled; a new looker needs no warm-up.
    settled: bool,
    /// How far in the ring the looking is.
    passed: u64,
    /// The motion event that goes on.
    event: Option<OpenEvent>,
    /// The last triggers, for a writer that takes the place of a crashed one.
    sent: VecDeque<Trigger>,
}

/// A motion event that goes on, and what was seen of it.
struct OpenEvent {
    row: MotionEvent,
    session: Arc<Session>,
    onset_us: i64,
    last_us: i64,
    zones: ZoneSet,
    /// Largest share so far of a picture with boxes.
    strongest: f64,
    /// From when on it is recorded, where only some zones are.
    recorded_us: Option<i64>,
}

impl OpenEvent {
    /// Takes the pictures of a turn; the same ones again change nothing.
    fn see(&mut self, pictures: &[Seen]) {
        for Seen { session, pts_us, share, finding } in pictures {
            if session.id != self.session.id || *pts_us < self.onset_us {
                continue;
            }
            self.row.max_score = self.row.max_score.max(Score::of(*share));
            self.last_us = self.last_us.max(*pts_us);
            self.zones = self.zones.union(finding.zones);
            if !finding.regions.is_empty() && *share > self.strongest {
                self.strongest = *share;
                self.row.boxes = boxes(finding);
            }
        }
    }

    /// It ended at this time, or with the last picture of its session.
    fn ended(self, end_us: i64, config: &DetectConfig) -> MotionEvent {
        let (end, zones) = (Some(self.session.utc(end_us.min(self.last_us))), config.zone_names(self.zones));
        MotionEvent { end, zones, ..self.row }
    }
}

/// The largest boxes of a picture, as a row keeps them.
fn boxes(finding: &Finding) -> Vec<Region> {
    const MOST: usize = 8;
    let mut boxes = finding.regions.clone();
    boxes.sort_by(|a, b| (b.width * b.height).total_cmp(&(a.width * a.height)));
    boxes.truncate(MOST);
    // Finer than any picture; and a row is short.
    let short = |share: f32| (share.clamp(0.0, 1.0) * 1e4).round() / 1e4;
    boxes
        .into_iter()
        .map(|Region { left, top, width, height }| Region {
            left: short(left),
            top: short(top),
            width: short(width),
            height: short(height),
        })
        .collect()
}

enum LookerState {
    Idle(Box<Looker>),
    OnTurn,
    /// Crashed; a new one is made then.
    Down(Instant),
}

impl Work {
    /// `settled`: see [`Looker::new`].
    pub fn new(settled: bool) -> Self {
        let now = clock::monotonic();
        Work {
            looker: LookerState::Down(now),
            again: false,
            ending: None,
            backoff: Backoff::default(),
            began: now,
            settled,
            passed: 0,
            event: None,
            sent: VecDeque::new(),
        }
    }
}

impl CameraPart for DetectorActor {
    const PART: Part = Part::Detector;

    fn camera(&self) -> &str {
        &self.camera
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn span(&self) -> &tracing::Span {
        &self.span
    }

    fn parent(&self) -> &Recipient<PartFailed> {
        &self.parent
    }
}

impl Actor for DetectorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        guarded(self, context, "detector.started", |_, context| {
            context.run_interval(TICK, |actor, context| {
                guarded(actor, context, "detector.tick", |actor, context| match actor.is_orphan() {
                    true => context.stop(),
                    false => actor.turn(context),
                });
            });
        });
    }

    fn stopped(&mut self, context: &mut Self::Context) {
        guarded(self, context, "detector.stopped", |actor, _| {
            // Else the camera's next life has the word.
            if !actor.is_orphan() {
                actor.entry.update(|status| status.motion = false);
                clear_alarms(&actor.registry, &actor.entry, &actor.camera);
            }
            actor.end_event(i64::MAX);
            if let LookerState::Idle(looker) = &actor.work.looker {
                looker.keep_background();
            }
        });
    }
}

/// The end of a turn on the shared threads.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct TurnDone(Result<(Box<Looker>, Look, Option<u64>), String>);

impl DetectorActor {
    fn is_orphan(&self) -> bool {
        self.owner.strong_count() == 0
    }

    /// Starts a turn unless one is under way.
    fn turn(&mut self, context: &mut Context<Self>) {
        let now = clock::monotonic();
        let mut looker = match std::mem::replace(&mut self.work.looker, LookerState::OnTurn) {
            LookerState::OnTurn => {
                self.work.again = true;
                return;
            }
            LookerState::Down(until) if now < until => {
                self.work.looker = LookerState::Down(until);
                return;
            }
            LookerState::Down(_) => {
                match Looker::new(&self.camera, &self.config, Arc::clone(&self.ring), self.work.settled) {
                    Ok(looker) => {
                        self.work.began = now;
                        let looker = looker.with_backgrounds(self.backgrounds.clone());
                        let looker = looker.with_shots(self.confirmer.is_some() && self.config.confirm.is_some());
                        Box::new(looker.shown_to(self.entry.glimpses()))
                    }
                    Err(cause) => return self.worker_failed(cause),
                }
            }
            LookerState::Idle(looker) => looker,
        };
        self.work.again = false;
        let ending = self.work.ending;
        let address = context.address();
        let span = self.span.clone();
        self.pool.submit(
            move || {
                let _in_span = span.enter();
                let mut look = looker.look();
                let ended = if look.more { None } else { ending };
                if ended.is_some() {
                    let last = looker.drain();
                    look.changes.extend(last.changes);
                    look.seen.extend(last.seen);
                    look.tampering.extend(last.tampering);
                    look.shots.extend(last.shots);
                    look.decoded += last.decoded;
                    look.looked = last.looked.or(look.looked);
                }
                (looker, look, ended)
            },
            move |result| address.do_send(TurnDone(result)),
        );
    }

    fn worker_failed(&mut self, cause: String) {
        let now = clock::monotonic();
        let wait = self.work.backoff.failed(now - self.work.began, fastrand::f64());
        self.work.looker = LookerState::Down(now + wait);
        self.entry.update(|status| status.motion = false);
        clear_alarms(&self.registry, &self.entry, &self.camera);
        self.end_event(i64::MAX);
        self.parent.do_send(PartFailed {
            camera: self.camera.clone(),
            part: Part::DetectorWorker,
            generation: self.generation,
            cause,
        });
    }

    fn publish(&mut self, look: Look) {
        let counters = &self.entry.counters;
        counters.frames_decoded.fetch_add(look.decoded, Ordering::Relaxed);
        counters.frames_skipped.fetch_add(look.skipped, Ordering::Relaxed);
        if let Some(fault) = look.fault {
            tracing::warn!(cause = fault, "a picture could not be decoded; detection goes on with the next");
        }
        // Before anything is told: who waits for the looking to have passed a picture finds what was seen in it.
        if let Some(looks) = &self.looks {
            looks.add(&look.seen);
        }
        for (session, change) in &look.tampering {
            self.publish_tampering(session, *change);
        }
        let scores = look.seen.iter().map(|seen| (seen.session.utc(seen.pts_us), Score::of(seen.share)));
        self.index.see(&self.camera, scores);
        let mut shots = look.shots;
        for change in look.changes {
            if let Some(event) = &mut self.work.event {
                event.see(&look.seen);
                self.confirm(&mut shots);
            }
            self.publish_change(change);
        }
        if let Some(event) = &mut self.work.event {
            event.see(&look.seen);
            self.confirm(&mut shots);
        }
        self.work.settled |= look.looked.is_some();
        let is_news = look.looked.is_some() || look.passed.is_some();
        self.work.passed = look.passed.unwrap_or(self.work.passed);
        if let Some(writer) = self.writer.as_ref().filter(|_| is_news) {
            let pictures = look.looked.map(|(session, pts_us)| {
                let utc = self.own_stream.then(|| session.utc(pts_us));
                LookedAt { session: session.id, pts_us, utc }
            });
            writer.looked.do_send(Looked { seq: Some(self.work.passed).filter(|_| !self.own_stream), pictures });
        }
    }

    /// Asks a model about those of the pictures that are of the event that goes on.
    fn confirm(&self, shots: &mut Vec<Shot>) {
        let (Some(confirmer), Some(event), Some(config)) = (&self.confirmer, &self.work.event, &self.config.confirm)
        else {
            return;
        };
        let is_of_it = |shot: &mut Shot| (shot.session, shot.onset_us) == (event.session.id, event.onset_us);
        for Shot { picture, .. } in shots.extract_if(.., is_of_it) {
            let (camera, entry) = (self.camera.clone(), Arc::clone(&self.entry));
            let (event, start) = (event.row.id, event.row.start);
            let generation = entry.status().generation;
            confirmer.ask(Request { camera, entry, config: config.clone(), event, start, picture, generation });
        }
    }

    fn publish_change(&mut self, change: Change) {
        let Change { session, seq, motion, finding } = change;
        let camera = self.camera.clone();
        match motion {
            MotionChange::Started { onset_us } => {
                self.entry.counters.motion_events.fetch_add(1, Ordering::Relaxed);
                self.entry.update(|status| status.motion = true);
                let MotionEvent { start: at, cause, zones, boxes, .. } = self.begin_event(&session, onset_us, &finding);
                tracing::info!(%at, cause = cause.map(Cause::name), zones = zones.join(","), "motion");
                self.registry.tell(Event::MotionStarted { camera, at, cause, zones, boxes });
                self.trigger_where_recorded(&session, seq, onset_us, onset_us, &finding);
            }
            MotionChange::Prolonged { onset_us, last_motion_us } => {
                self.trigger_where_recorded(&session, seq, onset_us, last_motion_us, &finding);
            }
            MotionChange::Ended { last_motion_us, .. } => {
                let held_us = self.config.minimal_duration.as_micros() as i64;
                self.end_event(last_motion_us.saturating_add(held_us));
                self.entry.update(|status| status.motion = false);
                let at = session.utc(last_motion_us);
                tracing::info!(%at, "no more motion");
                self.registry.tell(Event::MotionEnded { camera, at });
            }
        }
    }

    fn publish_tampering(&self, session: &Session, change: TamperChange) {
        match change {
            TamperChange::Began { cause, since_us } => {
                let (since, message) = (session.utc(since_us), cause.message());
                let camera = Some(self.camera.clone());
                self.entry.update(|status| status.tamper = Some(cause));
                let (kind, message) = (TAMPER_ALARM.to_owned(), message.to_owned());
                tracing::warn!(%since, cause = cause.name(), "{message}");
                self.registry.raise(Alarm { kind, camera, cause: Some(cause), since, message });
            }
            TamperChange::Over { at_us } => {
                tracing::info!(at = %session.utc(at_us), "the camera's view is as usual again");
                clear_alarms(&self.registry, &self.entry, &self.camera);
            }
        }
    }

    /// Returns its row as it begins.
    fn begin_event(&mut self, session: &Arc<Session>, onset_us: i64, finding: &Finding) -> MotionEvent {
        self.end_event(i64::MAX);
        let start = session.utc(onset_us);
        let row = MotionEvent {
            cause: finding.cause,
            zones: self.config.zone_names(finding.zones),
            boxes: boxes(finding),
            ..MotionEvent::new(self.index.next_id(), &self.camera, start, Reason::Motion)
        };
        self.index.put_event(row.clone());
        self.work.event = Some(OpenEvent {
            row: row.clone(),
            session: Arc::clone(session),
            onset_us,
            last_us: onset_us,
            zones: finding.zones,
            strongest: 0.0,
            recorded_us: None,
        });
        row
    }

    fn end_event(&mut self, end_us: i64) {
        if let Some(event) = self.work.event.take() {
            self.index.put_event(event.ended(end_us, &self.config));
        }
    }

    /// Triggers unless only other zones are recorded: then the recording begins with the first picture in one that is.
    fn trigger_where_recorded(
        &mut self,
        session: &Arc<Session>,
        seq: u64,
        onset_us: i64,
        last_motion_us: i64,
        finding: &Finding,
    ) {
        if self.recorded_zones.is_empty() {
            return self.trigger(session, seq, onset_us, last_motion_us);
        }
        if let Some(event) = self.work.event.as_mut().filter(|_| finding.zones.meets(self.recorded_zones)) {
            let recorded_us = *event.recorded_us.get_or_insert(last_motion_us);
            self.trigger(session, seq, recorded_us, last_motion_us);
        }
    }

    fn trigger(&mut self, session: &Arc<Session>, seq: u64, onset_us: i64, last_motion_us: i64) {
        let mapped = self.own_stream.then(|| MappedOnset {
            onset: session.utc(onset_us),
            last_motion: session.utc(last_motion_us),
            uncertainty: STREAMS_APART,
        });
        let trigger = Trigger { session: session.id, seq, onset_us, last_motion_us, mapped };
        let sent = &mut self.work.sent;
        match sent.back_mut() {
            Some(last) if (last.session, last.onset_us) == (trigger.session, onset_us) => *last = trigger,
            _ => sent.push_back(trigger),
        }
        if sent.len() > KEPT_TRIGGERS {
            sent.pop_front();
        }
        if let Some(writer) = &self.writer {
            writer.triggers.do_send(trigger);
        }
    }
}

impl Handler<Frame> for DetectorActor {
    type Result = ();

    fn handle(&mut self, _: Frame, context: &mut Self::Context) {
        guarded(self, context, "detector.frame", |actor, context| actor.turn(context));
    }
}

impl Handler<SessionEnded> for DetectorActor {
    type Result = ();

    fn handle(&mut self, ended: SessionEnded, context: &mut Self::Context) {
        guarded(self, context, "detector.session_ended", |actor, context| {
            actor.work.ending = Some(ended.0);
            actor.turn(context);
        });
    }
}

impl Handler<SetWriter> for DetectorActor {
    type Result = ();

    fn handle(&mut self, writer: SetWriter, context: &mut Self::Context) {
        guarded(self, context, "detector.set_writer", |actor, _| {
            // What the writer before may not have got; what is stored already changes nothing.
            for trigger in &actor.work.sent {
                writer.triggers.do_send(*trigger);
            }
            actor.writer = Some(writer);
        });
    }
}

impl Handler<WriterState> for DetectorActor {
    type Result = ();

    fn handle(&mut self, state: WriterState, context: &mut Self::Context) {
        guarded(self, context, "detector.writer_state", |_, _| {
            tracing::debug!(recording = state.recording, "the writer says what it does");
        });
    }
}

impl Handler<TurnDone> for DetectorActor {
    type Result = ();

    fn handle(&mut self, done: TurnDone, context: &mut Self::Context) {
        guarded(self, context, "detector.turn_done", |actor, context| match done.0 {
            Err(cause) => actor.worker_failed(cause),
            Ok((looker, look, ended)) => {
                let more = look.more || actor.work.again;
                actor.work.looker = LookerState::Idle(looker);
                actor.publish(look);
                if let Some(session) = ended {
                    actor.work.ending = None;
                    if let Some(writer) = &actor.writer {
                        writer.ended.do_send(SessionEnded(session));
                    }
                }
                if more || actor.work.ending.is_some() {
                    actor.turn(context);
                }
            }
        });
    }
}
