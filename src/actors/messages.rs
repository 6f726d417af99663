//! What the actors tell each other. Data are nouns, commands imperatives, facts past participles.

use std::sync::Arc;

use actix::{Message, Recipient};
use chrono::{DateTime, Utc};

use crate::archive::recorder::MappedOnset;
use crate::media::packet::Session;
use crate::media::source::SourceError;

/// Reader to detector and writer: an access unit is in the ring. Only a notice: where a mailbox is full it is
/// left out, the next one says the same.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Frame {
    pub session: u64,
    pub seq: u64,
    pub pts_us: i64,
    pub keyframe: bool,
    pub bytes: usize,
}

/// Detector to writer: motion began, or goes on. Carries the frame that decided, so that the writer cuts
/// exactly, however late the detector is.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Trigger {
    pub session: u64,
    /// Sequence in the detector's ring of the frame that decided.
    pub seq: u64,
    /// Presentation time of that frame.
    pub onset_us: i64,
    /// Presentation time of the last frame with motion so far.
    pub last_motion_us: i64,
    /// Set where the detector looks at a stream of its own.
    pub mapped: Option<MappedOnset>,
}

/// Detector to writer: how far it is, and all triggers from before are sent.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Looked {
    /// Every packet before this sequence was decoded; pictures that wait for others may still be in the decoder.
    /// None where the detector looks at a stream of its own.
    pub seq: Option<u64>,
    pub pictures: Option<LookedAt>,
}

/// Every picture up to here was looked at.
#[derive(Clone, Copy, Debug)]
pub struct LookedAt {
    pub session: u64,
    pub pts_us: i64,
    /// Set where the detector looks at a stream of its own.
    pub utc: Option<DateTime<Utc>>,
}

/// Writer to detector: what it does now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct WriterState {
    /// A file is open.
    pub recording: bool,
}

/// The session gets no more packets.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SessionEnded(pub u64);

/// The archive's thread left facts to take.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct TurnTaken;

/// Which part of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Camera,
    Detector,
    Writer,
    Reader,
    /// Work on a shared thread that belongs to the detector.
    DetectorWorker,
    /// Work on the archive's thread that belongs to the writer.
    ArchiveWorker,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Camera => "camera actor",
            Part::Detector => "detector actor",
            Part::Writer => "writer actor",
            Part::Reader => "reader",
            Part::DetectorWorker => "detection worker",
            Part::ArchiveWorker => "archive worker",
        }
    }
}

/// A part crashed. Where the part is an actor it is gone already.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct PartFailed {
    pub camera: String,
    pub part: Part,
    /// Which life of it.
    pub generation: u64,
    pub cause: String,
}

/// Which of a camera's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// `source`: what is recorded.
    Main,
    /// `detect_source`: what only the detector looks at.
    Detect,
}

impl Feed {
    /// The key of the configuration that names it.
    pub fn key(self) -> &'static str {
        match self {
            Feed::Main => "source",
            Feed::Detect => "detect_source",
        }
    }
}

/// Reader thread to CameraActor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FeedReport {
    pub feed: Feed,
    /// Which life of the reader.
    pub life: u64,
    pub news: FeedNews,
}

#[derive(Debug)]
pub enum FeedNews {
    /// The first packet of a session is in the ring.
    Live { session: Arc<Session>, first_pts_us: i64 },
    /// The source has ended (a file).
    Ended,
    /// The connection failed or was lost.
    Lost(SourceError),
    /// The thread panicked.
    Crashed(String),
}

/// To a CameraActor: finish the recording, close the connection, and report [`CameraStopped`].
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopCamera;

/// To a CameraActor: what is waiting in backoff tries again now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RetryNow;

/// To a CameraActor, from a person or a rule: an event by hand.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct TriggerByHand;

/// To a DetectorActor: who writes from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetWriter {
    pub triggers: Recipient<Trigger>,
    pub looked: Recipient<Looked>,
    pub ended: Recipient<SessionEnded>,
}

/// To a WriterActor: who detects from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetDetector(pub Recipient<WriterState>);

/// A CameraActor has ended as it was told.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct CameraStopped {
    pub camera: String,
    pub generation: u64,
    /// Until when its video is stored; what follows is a gap.
    pub covered_to: Option<DateTime<Utc>>,
}
