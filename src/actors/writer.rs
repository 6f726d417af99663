//! The WriterActor: carries notices and triggers to the camera's recorder, and tells others what it did. It
//! touches no file: that happens on the archive's thread.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};

use super::gaps;
use super::guard::{CameraPart, guarded};
use super::messages::{
    Frame, Looked, LookedAt, Part, PartFailed, SessionEnded, SetDetector, Trigger, TurnTaken, WriterState,
};
use super::registry::{CameraEntry, Registry};
use crate::archive::Archive;
use crate::archive::recorder::{CameraRecorder, Fact, Sighting, Trouble};
use crate::clock;
use crate::domain::camera::{Event, Reason};
use crate::domain::recorder::Onset;

const TICK: Duration = Duration::from_millis(250);

/// The alarm of a camera that the archive's disk keeps from recording.
pub const DISK_ALARM: &str = "disk";

/// The kind of alarm that a trouble raises.
fn alarm_of(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Disk => DISK_ALARM,
        Trouble::Encoder => "encoder",
    }
}

/// Nothing keeps the camera from recording any more.
pub fn clear_alarms(registry: &Registry, camera: &str) {
    for trouble in [Trouble::Disk, Trouble::Encoder] {
        registry.clear_alarm(alarm_of(trouble), Some(camera));
    }
}

/// What a WriterActor is made of.
pub struct WriterActor {
    pub camera: String,
    pub generation: u64,
    /// When it is gone, so is this, once its recording is closed: an actor with an interval does not end for want of
    /// addresses.
    pub owner: Weak<()>,
    pub recorder: Arc<CameraRecorder>,
    pub archive: Arc<Archive>,
    pub detector: Option<Recipient<WriterState>>,
    pub entry: Arc<CameraEntry>,
    pub registry: Arc<Registry>,
    pub parent: Recipient<PartFailed>,
    pub span: tracing::Span,
}

impl CameraPart for WriterActor {
    const PART: Part = Part::Writer;

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

impl Actor for WriterActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        guarded(self, context, "writer.started", |actor, context| {
            let address = context.address();
            actor.recorder.wake_with(move || address.do_send(TurnTaken));
            context.run_interval(TICK, |actor, context| {
                guarded(actor, context, "writer.tick", |actor, context| {
                    actor.recorder.notice();
                    actor.publish();
                    // A disk that did not take the end of the recording may take it later.
                    if actor.owner.strong_count() == 0 && actor.recorder.is_closed() {
                        context.stop();
                    }
                });
            });
        });
    }

    fn stopped(&mut self, context: &mut Self::Context) {
        guarded(self, context, "writer.stopped", |actor, _| actor.publish());
    }
}

impl WriterActor {
    /// Tells what happened on the archive's thread.
    fn publish(&self) {
        for fact in self.recorder.take_facts() {
            self.publish_fact(fact);
        }
    }

    fn publish_fact(&self, fact: Fact) {
        let camera = self.camera.clone();
        match fact {
            Fact::Opened(row) => {
                tracing::info!(path = %row.path, reason = row.reason.name(), "recording");
                self.set_recording(true);
                self.registry.tell(Event::RecordingOpened { camera, id: row.id, path: row.path, start: row.start });
            }
            Fact::Closed(row) => {
                let end = row.end.unwrap_or(row.start);
                let seconds = (end - row.start).num_milliseconds() as f64 / 1000.0;
                let file = self.archive.root().join(&row.path);
                tracing::info!(file = %file.display(), seconds, bytes = row.bytes, reason = row.reason.name(), "recorded");
                self.set_recording(false);
                let (id, path, start, bytes) = (row.id, row.path, row.start, row.bytes);
                self.registry.tell(Event::RecordingClosed { camera, id, path, start, end, bytes });
            }
            Fact::Gap(gap) => gaps::tell(&self.entry, &self.registry, &gap),
            Fact::Trouble { trouble, message } => {
                if self.registry.raise_alarm(alarm_of(trouble), Some(&camera), clock::utc_now(), message.clone()) {
                    tracing::error!(cause = message, "cannot record");
                }
                self.set_recording(false);
            }
            Fact::Well { recording } => {
                tracing::info!("records again");
                self.set_recording(recording);
                clear_alarms(&self.registry, &camera);
            }
            Fact::Panicked { cause, wait } => {
                tracing::error!(cause, wait_s = wait.as_secs_f64(), "writing crashed and goes on after a wait");
                self.parent.do_send(PartFailed {
                    camera,
                    part: Part::ArchiveWorker,
                    generation: self.generation,
                    cause,
                });
            }
        }
    }

    fn set_recording(&self, recording: bool) {
        self.entry.update(|status| status.recording = recording);
        if let Some(detector) = &self.detector {
            detector.do_send(WriterState { recording });
        }
    }
}

impl Handler<Frame> for WriterActor {
    type Result = ();

    fn handle(&mut self, _: Frame, context: &mut Self::Context) {
        guarded(self, context, "writer.frame", |actor, _| actor.recorder.notice());
    }
}

impl Handler<Trigger> for WriterActor {
    type Result = ();

    fn handle(&mut self, trigger: Trigger, context: &mut Self::Context) {
        guarded(self, context, "writer.trigger", |actor, _| {
            let Trigger { session, onset_us, last_motion_us, mapped, .. } = trigger;
            let onset = Onset { session, onset_us, last_motion_us, reason: Reason::Motion };
            actor.recorder.sighted(Sighting { onset, mapped });
        });
    }
}

impl Handler<Looked> for WriterActor {
    type Result = ();

    fn handle(&mut self, looked: Looked, context: &mut Self::Context) {
        guarded(self, context, "writer.looked", |actor, _| {
            if let Some(LookedAt { session, pts_us, utc }) = looked.pictures {
                actor.recorder.looked(session, pts_us, utc);
            }
            if let Some(seq) = looked.seq {
                actor.recorder.detector_passed(seq);
            }
        });
    }
}

impl Handler<SessionEnded> for WriterActor {
    type Result = ();

    fn handle(&mut self, ended: SessionEnded, context: &mut Self::Context) {
        guarded(self, context, "writer.session_ended", |actor, _| actor.recorder.session_ended(ended.0));
    }
}

impl Handler<SetDetector> for WriterActor {
    type Result = ();

    fn handle(&mut self, detector: SetDetector, context: &mut Self::Context) {
        guarded(self, context, "writer.set_detector", |actor, _| actor.detector = Some(detector.0));
    }
}

impl Handler<TurnTaken> for WriterActor {
    type Result = ();

    fn handle(&mut self, _: TurnTaken, context: &mut Self::Context) {
        guarded(self, context, "writer.turn_taken", |actor, _| actor.publish());
    }
}
