//! The typed configuration: what is left when YAML has been parsed, merged and checked.
//!
//! Every value here is possible; `config` refuses the others with file, line and column. Two configurations
//! that compare equal need no restart.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::finding::ZoneSet;
use super::found::OutputFormat;
use super::layout::Layout;
use super::schedule::Schedule;
use super::source_url::SourceUrl;
use super::stream::VideoCodec;
use super::zone::{Polygon, Zone};

/// One camera, as `config.d/NAME.yaml` and the defaults under it give it.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraConfig {
    /// The file's stem, `[a-z0-9][a-z0-9_-]*`.
    pub name: String,
    /// With `username`, `password` and `password_file` already in it.
    pub source: SourceUrl,
    pub transport: Transport,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    /// A low-resolution stream for detection only.
    pub detect_source: Option<SourceUrl>,
    pub enabled: bool,
    /// A file source starts again at its end (`loop`).
    pub repeat: bool,
    pub detect: DetectConfig,
    pub record: RecordConfig,
    pub retention: RetentionConfig,
}

/// How RTSP packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Tcp,
    Udp,
    /// UDP first, then TCP.
    Auto,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DetectConfig {
    pub enabled: bool,
    pub algorithm: Algorithm,
    pub effort: Effort,
    /// Looks a second at most (`adaptive`).
    pub fps: u32,
    /// What becomes of a scene change (`adaptive`).
    pub on_scene_change: OnSceneChange,
    /// Tell when the camera is covered, turned away, out of focus … ([`super::tamper`]).
    pub tamper: bool,
    /// No detection until the camera has settled after a connect.
    pub warm_up: Duration,
    /// An event lasts at least this long after its last motion.
    pub minimal_duration: Duration,
    /// Width in pixels to which pictures are scaled before they are compared; height follows.
    pub width: u32,
    /// Side of the Gaussian kernel in pixels, odd; 0 or 1 switches the blur off.
    pub blur: u32,
    /// Stretch each picture's grey values to the full range before comparing.
    pub normalize: bool,
    /// Pictures compared: 2 (with the previous) or 3 (with the two before).
    pub frames: u32,
    /// Grey difference above which a pixel counts as changed, 1..=255 (255: none ever does).
    pub threshold: u32,
    /// Rounds of 3x3 dilation after the threshold.
    pub dilate: u32,
    /// Rounds of 3x3 erosion after the dilation.
    pub erode: u32,
    /// Changed area from which a picture is motion.
    pub min_area: Area,
    /// Places where nothing counts.
    pub masks: Vec<Polygon>,
    /// Places with names and rules of their own (`adaptive`); at most [`ZoneSet::MOST`].
    pub zones: Vec<Zone>,
    /// What looks at an event's best pictures, if anything does.
    pub confirm: Option<ConfirmConfig>,
}

impl DetectConfig {
    /// The zones of these names; unknown ones are none.
    pub fn zone_set(&self, names: &[String]) -> ZoneSet {
        let mut set = ZoneSet::default();
        self.zones.iter().enumerate().filter(|(_, zone)| names.contains(&zone.name)).for_each(|(n, _)| set.insert(n));
        set
    }

    /// The names of these zones.
    pub fn zone_names(&self, set: ZoneSet) -> Vec<String> {
        self.zones.iter().enumerate().filter(|(n, _)| set.contains(*n)).map(|(_, zone)| zone.name.clone()).collect()
    }
}

/// What holds where a camera's file says nothing.
impl Default for DetectConfig {
    fn default() -> Self {
        DetectConfig {
            enabled: true,
            algorithm: Algorithm::Adaptive,
            effort: Effort::Auto,
            fps: 10,
            on_scene_change: OnSceneChange::Ignore,
            tamper: true,
            warm_up: Duration::from_secs(5),
            minimal_duration: Duration::from_secs(10),
            width: 500,
            blur: 11,
            normalize: true,
            frames: 2,
            threshold: 10,
            dilate: 8,
            erode: 4,
            min_area: Area::Share(1.067 / 100.0),
            masks: Vec::new(),
            zones: Vec::new(),
            confirm: None,
        }
    }
}

/// What an event's best pictures are asked (`detect.confirm`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfirmConfig {
    pub model: Model,
    /// Least score that counts, 0 to 1.
    pub threshold: f32,
    /// Only these classes count; none: all.
    pub only: Vec<String>,
}

/// A model that knows things in pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// OpenCV's own, which knows people that stand or walk upright.
    Hog,
    Onnx {
        /// Absolute, or relative to the working folder.
        path: PathBuf,
        /// None: its output's shape tells.
        format: Option<OutputFormat>,
        /// The names of what it knows, by their numbers; none: see [`super::found::names`].
        classes: Vec<String>,
    },
}

impl Model {
    /// What [`Model::Hog`] knows.
    pub const PERSON: &str = "person";

    /// How the configuration names [`Model::Hog`].
    pub const HOG: &str = "hog";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Difference of blurred, normalised pictures (pynvr's detector).
    Seed,
    /// A background with its deviation, blobs and tracks ([`super::adaptive`]).
    Adaptive,
}

/// What becomes of a picture that is suddenly another one: a switched light, a camera that was turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSceneChange {
    /// It counts as motion.
    Record,
    /// It is learned, and that is all.
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    Auto,
    Full,
}

/// A changed area: pixels of the scaled picture, or a share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Area {
    Pixels(u32),
    /// 0.0..=1.0; written `1.2%`.
    Share(f64),
}

impl Area {
    /// The least number of changed pixels, in a picture of `picture_pixels`, that is motion; at least 1.
    pub fn pixels_of(self, picture_pixels: u32) -> u32 {
        match self {
            Area::Pixels(pixels) => pixels.max(1),
            Area::Share(share) => ((share * f64::from(picture_pixels)).ceil() as u32).max(1),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordConfig {
    pub mode: RecordMode,
    /// Only motion in these of `detect.zones` is recorded; none: all.
    pub zones: Vec<String>,
    /// Where one of its rules holds, it says the mode.
    pub schedule: Option<Schedule>,
    /// Video from before the trigger that is in the file.
    pub pre_alarm: Duration,
    pub container: ContainerKind,
    pub audio: AudioMode,
    /// Longer recordings are cut at a keyframe.
    pub max_file: Duration,
    /// Bound in bytes of the packets a camera keeps in memory (`record.buffer`).
    pub buffer_bytes: u64,
    /// None: what the camera sends is stored as it is.
    pub encode: Option<EncodeConfig>,
}

impl RecordConfig {
    /// The mode at this moment.
    pub fn mode_at(&self, at: DateTime<Utc>) -> RecordMode {
        self.schedule.as_ref().and_then(|schedule| schedule.mode(at)).unwrap_or(self.mode)
    }
}

/// How recordings are encoded anew (`record.encode`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncodeConfig {
    pub codec: VideoCodec,
    /// Width and height in pixels; None: the camera's.
    pub scale_to: Option<(u32, u32)>,
    /// Pictures a second, constant: pictures are left out or repeated. None: the camera's own, and their own times.
    pub frame_rate: Option<f64>,
    /// What is drawn into the picture.
    pub overlay: OverlayKind,
    /// 1 (small) to 100 (best).
    pub quality: u32,
}

/// What is drawn into pictures that are encoded anew (`record.encode.overlay`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OverlayKind {
    #[serde(rename = "false")]
    Nothing,
    /// The camera, the time, and that there is motion.
    #[serde(rename = "true")]
    Words,
    /// And what the detector saw in the picture: boxes, cause, score and zones.
    #[serde(rename = "detection")]
    Detection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordMode {
    Motion,
    Continuous,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    Mp4,
    Mkv,
    Avi,
}

impl ContainerKind {
    /// File name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            ContainerKind::Mp4 => "mp4",
            ContainerKind::Mkv => "mkv",
            ContainerKind::Avi => "avi",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioMode {
    /// AAC copied, G.711 to FLAC.
    Auto,
    /// AAC copied, everything else left out.
    Copy,
    Off,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetentionConfig {
    pub max_age: Option<Duration>,
    /// The age of recordings with motion in them; None: the same as of all others.
    pub events_max_age: Option<Duration>,
    pub max_size_bytes: Option<u64>,
}

/// `tarsier.yaml` with `tarsier.local.yaml` over it. Paths are absolute or relative to the working folder.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// The folder that is watched (`cameras`).
    pub cameras_dir: PathBuf,
    pub archive: ArchiveConfig,
    pub log: LogConfig,
    pub web: WebConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveConfig {
    pub path: PathBuf,
    /// Names of the recordings inside it (`layout`, `timezone`).
    pub layout: Layout,
    pub max_size_bytes: Option<u64>,
    pub min_free: MinFree,
    pub sync: SyncCadence,
}

/// Space that is kept free on the archive's file system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinFree {
    Bytes(u64),
    /// 0.0..=1.0 of the file system's size.
    Share(f64),
}

/// How often what was written is made to survive a power cut (`archive.sync`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncCadence {
    Every(Duration),
    EveryFragment,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// None: no file.
    pub path: Option<PathBuf>,
    /// A level or a filter as `RUST_LOG` takes it.
    pub level: String,
    pub max_size_bytes: u64,
    pub backups: u32,
    pub format: LogFormat,
    pub console: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// `127.0.0.1:8787`; port 0 lets the system pick.
    pub listen: std::net::SocketAddr,
    /// Where the chosen address is written, if anywhere.
    pub address_file: Option<PathBuf>,
    /// Names by which browsers reach it besides its address, in small letters.
    pub names: Vec<String>,
    /// None: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// May cameras be set over the network to sources and files of this machine?
    pub allow_local: bool,
}

/// What the server shows of itself, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Its certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
