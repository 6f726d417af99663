//! One camera: settings of its file and of `defaults` become a `CameraConfig`, or faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::confirm::{self, Models, RawConfirm};
use super::global::ZoneText;
use super::places::{PolygonList, RawZone};
use super::problem::{Mark, Problem, one_line};
use super::settings::Settings;
use super::table::{CAMERA, nearest};
use super::text;
use super::units::{AreaText, Bytes, PictureSizeText, RateText, Span};
use crate::domain::config::{
    Algorithm, AudioMode, CameraConfig, ContainerKind, DetectConfig, Effort, EncodeConfig, OnSceneChange, OverlayKind,
    RecordConfig, RecordMode, RetentionConfig, Transport,
};
use crate::domain::schedule::Schedule;
use crate::domain::source_url::{SourceKind, SourceUrl};
use crate::domain::stream::VideoCodec;
use crate::domain::zone::{Polygon, Zone};

/// Its places are numbers of 32 bits.
const LONGEST_AVI: Duration = Duration::from_secs(3600);
/// Longer is no password.
const LONGEST_PASSWORD_BYTES: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCamera {
    source: String,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    transport: Transport,
    connect_timeout: Span,
    read_timeout: Span,
    detect_source: Option<String>,
    enabled: bool,
    #[serde(rename = "loop")]
    repeat: bool,
    detect: RawDetect,
    record: RawRecord,
    retention: RawRetention,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDetect {
    enabled: bool,
    algorithm: Algorithm,
    effort: Effort,
    fps: u32,
    on_scene_change: OnSceneChange,
    tamper: bool,
    warm_up: Span,
    minimal_duration: Span,
    width: u32,
    blur: u32,
    normalize: bool,
    frames: u32,
    threshold: u32,
    dilate: u32,
    erode: u32,
    min_area: AreaText,
    masks: Option<Vec<PolygonList>>,
    zones: Option<Vec<RawZone>>,
    confirm: RawConfirm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    mode: RecordMode,
    zones: Option<Vec<String>>,
    schedule: Option<String>,
    timezone: ZoneText,
    pre_alarm: Span,
    container: ContainerKind,
    audio: AudioMode,
    max_file: Span,
    buffer: Bytes,
    encode: RawEncode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEncode {
    enabled: Option<bool>,
    codec: Option<EncodeCodec>,
    scale_to: Option<PictureSizeText>,
    frame_rate: Option<RateText>,
    overlay: OverlayKind,
    quality: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EncodeCodec {
    H264,
    H265,
    Mjpeg,
    Mpeg4,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    max_age: Option<Span>,
    events: Option<Span>,
    max_size: Option<Bytes>,
}

/// The settings of a camera over the defaults. A password of the camera's own, in whichever form, replaces the
/// default one.
pub(super) fn merge(mut defaults: Settings, own: Settings) -> Settings {
    if own.was_given("password") || own.was_given("password_file") {
        defaults.remove("password");
        defaults.remove("password_file");
    }
    defaults.merged_under(own)
}

/// Builds a camera. `settings` are merged already; `folder` is what relative paths are relative to. None: there
/// are faults, old ones or new ones.
pub(super) fn build(
    name: &str,
    settings: &Settings,
    file: &Mark,
    folder: &Path,
    models: Models,
    problems: &mut Vec<Problem>,
) -> Option<CameraConfig> {
    if !settings.was_given("source") {
        let hint = "add a line such as `source: rtsp://HOST/PATH`".to_owned();
        problems.push(file.problem("`source` is missing", hint));
        return None;
    }
    if settings.is_faulty("source") {
        return None;
    }
    let raw: RawCamera = match settings.typed(CAMERA, file) {
        Ok(raw) => raw,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let before = problems.len();
    let source = resolve(&raw.source, folder);
    let detect_source = raw.detect_source.as_deref().map(|text| resolve(text, folder));
    let at = |path: &str| settings.get(path).map_or(file, |setting| &setting.at);

    let password = match (raw.password, &raw.password_file) {
        (Some(_), Some(_)) => {
            let hint = "keep one of the two".to_owned();
            problems.push(at("password_file").problem("both `password` and `password_file` are given", hint));
            None
        }
        (Some(password), None) => Some(password),
        (None, Some(path)) => match read_password(&folder.join(path)) {
            Ok(password) => Some(password),
            Err(what) => {
                let hint = "it holds the password in its first line".to_owned();
                problems.push(at("password_file").problem(format!("`password_file` {what}"), hint));
                None
            }
        },
        (None, None) => None,
    };
    if password.is_some() && raw.username.is_none() && !settings.is_faulty("username") {
        let place = if settings.get("password").is_some() { "password" } else { "password_file" };
        problems.push(at(place).problem("a password without a `username`", "add `username`".to_owned()));
    }
    let username = raw.username.as_deref();
    if let (Some(user), Some(address)) = (settings.get("username"), settings.get("source"))
        && username.is_some()
        && has_user(&source)
        && user.at.file == address.at.file
    {
        let hint = "keep those in `source`, or `username` and `password`".to_owned();
        problems.push(user.at.problem("`source` holds a user already", hint));
    }
    let source = with_credentials(source, username, password.as_deref());
    let detect_source = detect_source.map(|url| with_credentials(url, username, password.as_deref()));
    if raw.repeat && source.kind() != SourceKind::File {
        problems.push(at("loop").problem("only a file can be repeated", "remove `loop`".to_owned()));
    }
    let masks: Vec<Polygon> = raw.detect.masks.unwrap_or_default().into_iter().map(|mask| mask.0).collect();
    let zones: Vec<Zone> = raw.detect.zones.unwrap_or_default().into_iter().map(Zone::from).collect();
    let recorded_zones = raw.record.zones.clone().unwrap_or_default();
    if !zones.is_empty() && raw.detect.algorithm == Algorithm::Seed {
        let hint = "set `detect.algorithm` to `adaptive`, or use `detect.masks`".to_owned();
        problems.push(at("detect.zones").problem("`seed` knows no zones", hint));
    }
    for name in &recorded_zones {
        let known = || zones.iter().map(|zone| zone.name.as_str());
        if known().any(|known| known == name) {
            continue;
        }
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if zones.is_empty() => "there are no `detect.zones`".to_owned(),
            None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
        };
        problems.push(at("record.zones").problem(format!("no zone is called `{}`", one_line(name)), hint));
    }
    let confirm = confirm::build(raw.detect.confirm, settings, file, folder, models, problems);
    let (encode, container) = encoding(&raw.record, settings, file, problems);
    // The table has read it once already.
    let schedule = raw.record.schedule.as_deref().and_then(|text| Schedule::parse(text, raw.record.timezone.0).ok());
    if problems.len() > before {
        return None;
    }
    Some(CameraConfig {
        name: name.to_owned(),
        source,
        transport: raw.transport,
        connect_timeout: raw.connect_timeout.0,
        read_timeout: raw.read_timeout.0,
        detect_source,
        enabled: raw.enabled,
        repeat: raw.repeat,
        detect: DetectConfig {
            enabled: raw.detect.enabled,
            algorithm: raw.detect.algorithm,
            effort: raw.detect.effort,
            fps: raw.detect.fps,
            on_scene_change: raw.detect.on_scene_change,
            tamper: raw.detect.tamper,
            warm_up: raw.detect.warm_up.0,
            minimal_duration: raw.detect.minimal_duration.0,
            width: raw.detect.width,
            blur: raw.detect.blur,
            normalize: raw.detect.normalize,
            frames: raw.detect.frames,
            threshold: raw.detect.threshold,
            dilate: raw.detect.dilate,
            erode: raw.detect.erode,
            min_area: raw.detect.min_area.0,
            masks,
            zones,
            confirm,
        },
        record: RecordConfig {
            mode: raw.record.mode,
            zones: recorded_zones,
            schedule,
            pre_alarm: raw.record.pre_alarm.0,
            container,
            audio: raw.record.audio,
            max_file: raw.record.max_file.0,
            buffer_bytes: raw.record.buffer.0,
            encode,
        },
        retention: RetentionConfig {
            max_age: raw.retention.max_age.map(|age| age.0),
            events_max_age: raw.retention.events.map(|age| age.0),
            max_size_bytes: raw.retention.max_size.map(|size| size.0),
        },
    })
}

/// How recordings are encoded, if they are, and what they are put into: what is not given follows from the other.
fn encoding(
    raw: &RawRecord,
    settings: &Settings,
    file: &Mark,
    problems: &mut Vec<Problem>,
) -> (Option<EncodeConfig>, ContainerKind) {
    const KEYS: [&str; 5] = ["codec", "scale_to", "frame_rate", "overlay", "quality"];
    let given = |key: &str| settings.get(key).filter(|setting| !setting.value.is_null());
    let is_wanted = || KEYS.iter().any(|key| given(&format!("record.encode.{key}")).is_some());
    let at = |key: &str| given(key).map_or(file, |setting| &setting.at);
    let container_given = given("record.container").map(|_| raw.container);
    if container_given == Some(ContainerKind::Avi) && raw.max_file.0 > LONGEST_AVI {
        let hint = "set `record.max_file` to `1h` or less".to_owned();
        problems.push(at("record.max_file").problem("an avi file holds no more than an hour", hint));
    }
    if !raw.encode.enabled.unwrap_or_else(is_wanted) {
        return (None, raw.container);
    }
    let codec = match raw.encode.codec {
        Some(EncodeCodec::H264) => VideoCodec::H264,
        Some(EncodeCodec::H265) => VideoCodec::H265,
        Some(EncodeCodec::Mjpeg) => VideoCodec::Mjpeg,
        Some(EncodeCodec::Mpeg4) => VideoCodec::Mpeg4,
        None if container_given == Some(ContainerKind::Avi) => VideoCodec::Mpeg4,
        None => VideoCodec::H264,
    };
    let container = match container_given {
        None if codec == VideoCodec::Mpeg4 => ContainerKind::Avi,
        _ => raw.container,
    };
    let hint = match (container, codec) {
        (ContainerKind::Avi, VideoCodec::H264 | VideoCodec::H265) => {
            Some("set `record.encode.codec` to `mpeg4` or `mjpeg`, or `record.container` to `mp4` or `mkv`")
        }
        (ContainerKind::Mp4, VideoCodec::Mpeg4) => Some("set `record.container` to `avi` or `mkv`"),
        _ => None,
    };
    if let Some(hint) = hint {
        let what = format!("{} does not go into {}", codec.name(), container.extension());
        problems.push(at("record.encode.codec").problem(what, hint.to_owned()));
    }
    let encode = EncodeConfig {
        codec,
        scale_to: raw.encode.scale_to.map(|size| size.0),
        frame_rate: raw.encode.frame_rate.map(|rate| rate.0),
        overlay: raw.encode.overlay,
        quality: raw.encode.quality,
    };
    (Some(encode), container)
}

/// Relative paths of files hang on `folder`; everything else is as written.
fn resolve(text: &str, folder: &Path) -> SourceUrl {
    let url = SourceUrl::new(text);
    match url.kind() {
        SourceKind::File => SourceUrl::new(folder.join(text).to_string_lossy()),
        _ => url,
    }
}

/// Does a network address hold a user?
fn has_user(url: &SourceUrl) -> bool {
    matches!(url.kind(), SourceKind::Rtsp | SourceKind::Http)
        && url::Url::parse(url.expose()).is_ok_and(|address| !address.username().is_empty())
}

/// Credentials that an address holds already are left alone: they are nearer than those of `defaults`.
fn with_credentials(url: SourceUrl, username: Option<&str>, password: Option<&str>) -> SourceUrl {
    match (username, url.kind()) {
        (Some(username), SourceKind::Rtsp | SourceKind::Http) if !has_user(&url) => {
            url.with_credentials(username, password)
        }
        _ => url,
    }
}

/// The first line of a small regular file. What is wrong with it never quotes it.
fn read_password(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "names a file that does not exist".to_owned(),
        _ => text::describe(&error).0,
    })?;
    if size.is_file() && size.len() > LONGEST_PASSWORD_BYTES {
        return Err("names a file too large for a password".to_owned());
    }
    match text::read(path) {
        Ok(Some(content)) => match content.lines().next() {
            Some(line) if !line.is_empty() => Ok(line.to_owned()),
            _ => Err("names an empty file".to_owned()),
        },
        Ok(None) => Err("names a file that does not exist".to_owned()),
        Err(problem) => Err(problem.what),
    }
}
