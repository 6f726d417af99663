//! Rows of the index: recordings and gaps, and how they are asked for.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::camera::{GapCause, Reason};
use super::finding::{Cause, Region};
use super::found::Found;
use super::score::Score;

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// Rises with every recording of the archive and is never used twice.
    pub id: i64,
    pub camera: String,
    /// UTC of the first video packet.
    pub start: DateTime<Utc>,
    /// UTC of the end of the last video packet; None while the recording is open.
    pub end: Option<DateTime<Utc>>,
    /// Trigger - start, as delivered; None where nothing triggered.
    pub pre_alarm_s: Option<f64>,
    pub bytes: u64,
    /// Relative to the archive's root.
    pub path: String,
    /// Seconds of motion in this file.
    pub motion_s: f64,
    /// Closed and finalised.
    pub complete: bool,
    pub reason: Reason,
}

impl Recording {
    /// Is there motion in it, or was it begun by hand?
    pub fn is_event(&self) -> bool {
        self.motion_s > 0.0 || matches!(self.reason, Reason::Motion | Reason::Manual)
    }
}

/// A recording as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ListedRecording {
    #[serde(flatten)]
    pub recording: Recording,
    /// A person wants it kept: neither retention nor a request deletes it.
    pub protected: bool,
}

/// A stretch that should have been recorded and was not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    pub camera: String,
    pub start: DateTime<Utc>,
    /// None while it goes on.
    pub end: Option<DateTime<Utc>>,
    pub cause: GapCause,
}

/// A stretch in which something moved, or that was asked for by hand: a mark on the camera's time, recorded or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MotionEvent {
    /// Of the same numbers as the recordings' ids.
    pub id: i64,
    pub camera: String,
    /// UTC of the picture that decided.
    pub start: DateTime<Utc>,
    /// UTC of the last motion + `minimal_duration`, or of the last picture; None while it goes on.
    pub end: Option<DateTime<Utc>>,
    /// `motion` or `manual`.
    pub reason: Reason,
    /// The largest while it lasted; known when it is over.
    pub max_score: Score,
    /// What began it; None for one by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The names of the zones that it touched, in the order of the configuration; known when it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Where something moved in its strongest picture, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boxes: Vec<Region>,
    /// What a model found in its best pictures, the surest first; None: none was asked, or it has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Vec<Found>>,
}

impl MotionEvent {
    /// One that begins; nothing is known of what it was yet.
    pub fn new(id: i64, camera: impl Into<String>, start: DateTime<Utc>, reason: Reason) -> Self {
        MotionEvent {
            id,
            camera: camera.into(),
            start,
            end: None,
            reason,
            max_score: Score::UNSEEN,
            cause: None,
            zones: Vec::new(),
            boxes: Vec::new(),
            found: None,
        }
    }
}

/// Which rows, newest first. Rows that overlap `from..to` count.
#[derive(Clone, Debug, Default)]
pub struct RecordingQuery {
    pub camera: Option<String>,
    /// Of these cameras only; None: of all.
    pub among: Option<Vec<String>>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Rows a page; 0 means the default of 100. At most 1000.
    pub limit: u32,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Which events, beside the [`RecordingQuery`].
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// At least so long; one that goes on has no length yet.
    pub least: Option<TimeDelta>,
    pub began: Option<Began>,
    /// Those that touched this zone.
    pub zone: Option<String>,
    /// Those in which a model found something of this class.
    pub found: Option<String>,
}

/// What began an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    By(Cause),
    ByHand,
}

/// A page of rows, and the cursor of the next one if there is more.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}
