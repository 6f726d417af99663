//! What is said of a camera: its state, counters and causes, as the API, the log and the metrics show them.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::finding::{Cause, Region};
use super::found::Found;
use super::tamper::Tampering;

/// The state of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    Starting,
    Running,
    /// Recording, with the detector or the disk in trouble.
    Degraded,
    Reconnecting,
    Backoff,
    Disabled,
    ConfigError,
    Stopped,
}

impl CameraState {
    /// The name as the API and the log show it.
    pub fn name(self) -> &'static str {
        match self {
            CameraState::Starting => "starting",
            CameraState::Running => "running",
            CameraState::Degraded => "degraded",
            CameraState::Reconnecting => "reconnecting",
            CameraState::Backoff => "backoff",
            CameraState::Disabled => "disabled",
            CameraState::ConfigError => "config_error",
            CameraState::Stopped => "stopped",
        }
    }
}

/// Why a recording was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Motion,
    Manual,
    Continuous,
    /// The detector was down, so everything was recorded.
    DetectorDown,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Motion => "motion",
            Reason::Manual => "manual",
            Reason::Continuous => "continuous",
            Reason::DetectorDown => "detector_down",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Reason::Motion, Reason::Manual, Reason::Continuous, Reason::DetectorDown]
            .into_iter()
            .find(|reason| reason.name() == name)
    }
}

/// Why a stretch that should have been recorded was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The camera's file was changed and the camera restarted.
    Reload,
    /// The connection was lost or could not be made.
    Disconnected,
    /// The disk could not keep up and packets left the ring unwritten.
    DiskTooSlow,
    /// A write failed: full, read-only or broken disk.
    DiskError,
    /// `record.encode` failed, or could not keep up and packets left the ring.
    Encoder,
    /// A part of Tarsier crashed.
    Crash,
    /// The process was down.
    Down,
}

impl GapCause {
    pub fn name(self) -> &'static str {
        match self {
            GapCause::Reload => "reload",
            GapCause::Disconnected => "disconnected",
            GapCause::DiskTooSlow => "disk_too_slow",
            GapCause::DiskError => "disk_error",
            GapCause::Encoder => "encoder",
            GapCause::Crash => "crash",
            GapCause::Down => "down",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        use GapCause::{Crash, Disconnected, DiskError, DiskTooSlow, Down, Encoder, Reload};
        [Reload, Disconnected, DiskTooSlow, DiskError, Encoder, Crash, Down]
            .into_iter()
            .find(|cause| cause.name() == name)
    }
}

/// What is known of a camera at one moment. Published whole; readers never wait on an actor.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CameraStatus {
    pub name: String,
    pub state: CameraState,
    /// When `state` began.
    pub since: DateTime<Utc>,
    /// The cause of the trouble the camera is in, if any; never holds a password.
    pub error: Option<String>,
    /// Crashes of any of its parts that were answered with a restart.
    pub restarts: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Video access units a second, over the last few seconds.
    pub fps: f64,
    /// Bits a second, over the last few seconds.
    pub bitrate: u64,
    /// `1920x1080`, once known.
    pub resolution: Option<String>,
    pub codec: Option<String>,
    /// What `live` sends, as browsers want to hear it: `video/mp4; codecs="avc1.64001f"`. Null where that is not known
    /// yet, and where no browser plays it (`live.mjpeg` is there then).
    pub mime: Option<String>,
    /// Is there motion now (from the trigger to its last motion + `minimal_duration`)?
    pub motion: bool,
    /// Is a file being written now?
    pub recording: bool,
    /// What was done to the camera, while its `tamper` alarm is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tamper: Option<Tampering>,
    /// When the camera was (re)started: changes exactly then. Null while it never was.
    pub started_at: Option<DateTime<Utc>>,
    /// One life of the CameraActor; rises with every start.
    pub generation: u64,
    /// The running configuration is older than its file, which is broken: `file:line:column: what (what to do)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    /// It is enabled and its mode is not `off`: while it does not record, the daemon is not ready.
    #[serde(skip)]
    pub expects_recording: bool,
    /// Why nothing can be written now though packets arrive (a full disk), if so.
    #[serde(skip)]
    pub recording_blocked: Option<String>,
}

/// Counters of a camera since the process started; they outlive its restarts.
#[derive(Debug, Default)]
pub struct Counters {
    pub packets: AtomicU64,
    /// Left the ring unwritten though they should have been recorded.
    pub packets_dropped: AtomicU64,
    /// Lost by the network, as the transport counted them.
    pub packets_lost: AtomicU64,
    pub frames_decoded: AtomicU64,
    /// Not looked at, because detection was behind.
    pub frames_skipped: AtomicU64,
    pub motion_events: AtomicU64,
    /// Pictures of events that a model has looked at.
    pub pictures_confirmed: AtomicU64,
    /// Pictures of events that no model looked at, because it was behind or failed.
    pub pictures_unconfirmed: AtomicU64,
    pub restarts: AtomicU64,
    pub reconnects: AtomicU64,
    pub recorded_bytes: AtomicU64,
    /// Milliseconds that should have been recorded and were not.
    pub gap_ms: AtomicU64,
    /// A gauge: bytes in the ring now.
    pub ring_bytes: AtomicU64,
    /// A gauge: who looks at live pictures now.
    pub viewers: AtomicU64,
    /// How often a viewer was too slow and went on at a later keyframe.
    pub viewer_skips: AtomicU64,
}

/// A fact that is worth telling: streamed by `/api/events`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    CameraState {
        camera: String,
        state: CameraState,
        error: Option<String>,
    },
    CameraRemoved {
        camera: String,
    },
    MotionStarted {
        camera: String,
        at: DateTime<Utc>,
        cause: Option<Cause>,
        zones: Vec<String>,
        boxes: Vec<Region>,
    },
    MotionEnded {
        camera: String,
        at: DateTime<Utc>,
    },
    /// What a model found in an event's pictures so far.
    Found {
        camera: String,
        /// The event's.
        id: i64,
        start: DateTime<Utc>,
        found: Vec<Found>,
    },
    RecordingOpened {
        camera: String,
        id: i64,
        path: String,
        start: DateTime<Utc>,
    },
    RecordingClosed {
        camera: String,
        id: i64,
        path: String,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        bytes: u64,
    },
    ConfigApplied {
        camera: String,
    },
    ConfigRefused {
        /// Null where the file is no camera's.
        camera: Option<String>,
        file: String,
        error: String,
    },
    Gap {
        camera: String,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        cause: GapCause,
    },
    Alarm {
        kind: String,
        camera: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<Tampering>,
        message: String,
        active: bool,
    },
}
