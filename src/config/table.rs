//! Every key there is: its type, default and meaning. One table drives the checks, the hints, the reference in
//! `docs/configuration.md` and the example.

use std::net::{Ipv4Addr, SocketAddr};

use serde_yaml::Value;

use super::tree::Scalar;
use super::units::{AreaText, Bytes, FreeText, Hint, PictureSizeText, RateText, ScoreText, Span, SyncText};
use crate::domain::source_url::{SourceKind, SourceUrl, redact_urls};
use crate::domain::timezone::Zone as TimeZone;

/// One key of the configuration.
pub(super) struct Key {
    /// With its section: `record.pre_alarm`.
    pub path: &'static str,
    pub kind: Kind,
    pub preset: Preset,
    pub meaning: &'static str,
}

/// What holds where a key is not given.
#[derive(Clone, Copy)]
pub(super) enum Preset {
    /// This value, as it would be written.
    Is(&'static str),
    /// This value; `null` or `none` switches it off.
    OrNone(&'static str),
    /// Nothing, which can also be written: `null` or `none`.
    Nothing,
    /// It has to be given.
    Required,
}

/// The type of a value, and which values are possible.
pub(super) enum Kind {
    Flag,
    Choice {
        now: &'static [&'static str],
        later: &'static [&'static str],
    },
    /// Both ends are allowed.
    Duration(&'static str, &'static str),
    Size(&'static str, &'static str),
    Whole(u32, u32),
    /// The side of a Gaussian kernel.
    Kernel(u32),
    Area,
    FreeSpace,
    Sync,
    Text,
    Secret,
    Path,
    Layout,
    Zone,
    /// Rules of a week.
    Schedule,
    Listen,
    LogFilter,
    Source,
    /// Width and height of a picture, even for the encoders' sake.
    PictureSize,
    /// Pictures a second.
    Rate,
    /// How sure somebody is, 0 to 1.
    Score,
    /// A list, read by [`super::places`].
    List(Items),
    /// Such a list, or the path of a file that holds one, an item a line.
    ListOrPath(Items),
}

/// What a list holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// Polygons.
    Masks,
    Zones,
    /// Names of zones.
    ZoneNames,
    /// Names of what a model knows.
    ClassNames,
}

use Kind::*;
use Preset::*;

const fn key(path: &'static str, kind: Kind, preset: Preset, meaning: &'static str) -> Key {
    Key { path, kind, preset, meaning }
}

/// `tarsier.yaml` and `tarsier.local.yaml`; `defaults` beside them holds keys of [`CAMERA`].
pub(super) const GLOBAL: &[Key] = &[
    key("cameras", Path, Is("config.d"), "folder that is watched for cameras"),
    key("archive.path", Path, Is("archive"), "root of the recordings"),
    key(
        "archive.layout",
        Layout,
        Is("{camera}/%Y/%m/%d/video_%Y-%m-%dT%H%M%S"),
        "names of the recordings: the camera, what began them, and strftime of the file's first packet; a taken name \
         gets `_2`, the container gives the extension",
    ),
    key(
        "archive.timezone",
        Zone,
        Is("UTC"),
        "zone of the times in `archive.layout`; `local` is the machine's. All other times stay in UTC",
    ),
    key(
        "archive.max_size",
        Size("1B", "8000TB"),
        Nothing,
        "size of the whole archive; the oldest recordings make room",
    ),
    key(
        "archive.min_free",
        FreeSpace,
        Is("5%"),
        "space kept free on the archive's file system; the oldest recordings make room",
    ),
    key(
        "archive.sync",
        Sync,
        Is("1s"),
        "how often what was written is made to survive a power cut: every so often, after every `fragment`, or `never`",
    ),
    key("log.path", Path, OrNone("log/tarsier.log"), "the log's file; `none` for no file"),
    key("log.level", LogFilter, Is("info"), "least level, or a filter as `RUST_LOG` takes it; `RUST_LOG` goes first"),
    key("log.max_size", Size("1kB", "1TB"), Is("32MiB"), "size at which the log's file rolls over"),
    key("log.backups", Whole(0, 1000), Is("20"), "rolled files that are kept"),
    key("log.format", Choice { now: &["text", "json"], later: &[] }, Is("text"), "format of a line"),
    key("log.console", Flag, Is("true"), "log to the console (stderr) too"),
    key(
        "web.listen",
        Listen,
        Is("127.0.0.1:8787"),
        "address of the web page and the API; one that other machines reach needs users (`tarsier user add`); port 0: \
         the system picks one, and the log says which",
    ),
    key("web.address_file", Path, Nothing, "file into which the address that was taken is written"),
    key(
        "web.names",
        Text,
        Nothing,
        "names by which browsers reach it besides its address, such as `nvr.example.org`, with `,` between; others are \
         refused",
    ),
    key(
        "web.allow_local",
        Flag,
        Is("false"),
        "let admins set cameras over the network to files and devices of this machine, and to what only its files \
         should hold",
    ),
    key(
        "web.tls.certificate",
        Path,
        Nothing,
        "file with the server's certificate and those between it and its root, in PEM; with it there is HTTPS only. \
         Read again on SIGHUP",
    ),
    key("web.tls.key", Path, Nothing, "file with the certificate's private key, in PEM"),
];

/// `config.d/NAME.yaml`, and `defaults` of `tarsier.yaml`.
pub(super) const CAMERA: &[Key] = &[
    key(
        "source",
        Source,
        Required,
        "where the video comes from: `rtsp://`, `rtsps://`, `http://`, `https://`, a device (`\"0\"`, `/dev/video0`) or \
         a file",
    ),
    key("username", Text, Nothing, "user at the camera, for `source` and `detect_source`"),
    key("password", Secret, Nothing, "that user's password; better `${NAME}` than the password itself"),
    key("password_file", Path, Nothing, "file whose first line is the password"),
    key(
        "transport",
        Choice { now: &["tcp", "udp", "auto"], later: &[] },
        Is("tcp"),
        "how RTSP's packets travel; `auto` tries UDP, then TCP",
    ),
    key("connect_timeout", Duration("100ms", "5min"), Is("10s"), "longest wait for a connection and its stream"),
    key("read_timeout", Duration("100ms", "5min"), Is("10s"), "longest silence before the connection counts as lost"),
    key("detect_source", Source, Nothing, "a smaller stream of the same camera that detection looks at instead"),
    key("enabled", Flag, Is("true"), "`false`: the camera is left alone"),
    key("loop", Flag, Is("false"), "a file starts again at its end"),
    key("detect.enabled", Flag, Is("true"), "look for motion"),
    key(
        "detect.algorithm",
        Choice { now: &["seed", "adaptive"], later: &[] },
        Is("adaptive"),
        "`seed`: differences of blurred, normalised pictures; `adaptive`: what moves before a background that is learned",
    ),
    key(
        "detect.effort",
        Choice { now: &["auto", "full"], later: &["eco"] },
        Is("auto"),
        "`full` looks at every picture, `auto` at fewer where the machine can't keep up",
    ),
    key("detect.fps", Whole(1, 60), Is("10"), "looks a second, at most (`adaptive`; `seed` looks at every picture)"),
    key(
        "detect.on_scene_change",
        Choice { now: &["record", "ignore"], later: &[] },
        Is("ignore"),
        "whether a switched light or a turned camera counts as motion (`adaptive`)",
    ),
    key(
        "detect.tamper",
        Flag,
        Is("true"),
        "raise an alarm when the camera is covered, out of focus, turned away, frozen, black or shows a card; `false` \
         for cameras that are steered",
    ),
    key("detect.warm_up", Duration("0s", "1h"), Is("5s"), "no detection until the camera has settled after a connect"),
    key(
        "detect.minimal_duration",
        Duration("100ms", "1h"),
        Is("10s"),
        "an event ends so long after its last motion; each motion within it prolongs it",
    ),
    key(
        "detect.width",
        Whole(16, 4096),
        Is("500"),
        "width in pixels to which pictures are scaled first; `adaptive` takes 320 at most",
    ),
    key("detect.blur", Kernel(99), Is("11"), "`seed`: side in pixels of the Gaussian blur; 0 for none"),
    key("detect.normalize", Flag, Is("true"), "`seed`: stretch each picture's grey values to the full range"),
    key("detect.frames", Whole(2, 3), Is("2"), "`seed`: pictures that are compared, 2 or 3"),
    key("detect.threshold", Whole(1, 255), Is("10"), "`seed`: difference in grey above which a pixel has changed"),
    key("detect.dilate", Whole(0, 50), Is("8"), "`seed`: rounds by which changed areas grow"),
    key("detect.erode", Whole(0, 50), Is("4"), "`seed`: rounds by which changed areas shrink afterwards"),
    key(
        "detect.min_area",
        Area,
        Is("1.067%"),
        "`seed`: changed area from which a picture is motion: a share of the picture, or pixels of the scaled picture",
    ),
    key(
        "detect.masks",
        List(Items::Masks),
        Nothing,
        "places where nothing counts, such as a street or a clock in the picture; corners as shares of the picture's \
         width and height from the upper left",
    ),
    key(
        "detect.zones",
        List(Items::Zones),
        Nothing,
        "places with a `name` and a `polygon`, and by choice (`adaptive` only) `min_area` and `max_area` in percent of \
         the picture, `sensitivity` 1 to 100 (50 is as elsewhere) and `dwell`, how long a thing has to be there; events \
         say which zones they touch",
    ),
    key(
        "detect.confirm.enabled",
        Flag,
        Nothing,
        "ask a model what the best pictures of each event show, and say it with the event; any other key of \
         `detect.confirm` says so too, `false` overrules them",
    ),
    key(
        "detect.confirm.model",
        Path,
        Nothing,
        "file with the model, in ONNX, or `hog`: OpenCV's own for people, which is taken if nothing is said",
    ),
    key(
        "detect.confirm.format",
        Choice { now: &["auto", "yolov5", "yolov8", "yolov10"], later: &[] },
        Is("auto"),
        "what the model puts out; `auto` tells by its shape",
    ),
    key(
        "detect.confirm.classes",
        ListOrPath(Items::ClassNames),
        Nothing,
        "names of what the model knows, by its numbers; without it those in the model's file, else those of COCO where it knows \
         80",
    ),
    key("detect.confirm.threshold", Score, Is("0.5"), "how sure the model has to be"),
    key(
        "detect.confirm.only",
        List(Items::ClassNames),
        Nothing,
        "classes that count, such as `[person, car]`; without it all do",
    ),
    key(
        "record.mode",
        Choice { now: &["motion", "continuous", "off"], later: &[] },
        Is("motion"),
        "record events, everything or nothing",
    ),
    key(
        "record.zones",
        List(Items::ZoneNames),
        Nothing,
        "only motion in these of `detect.zones` is recorded; without it, all motion is",
    ),
    key(
        "record.schedule",
        Schedule,
        Nothing,
        "other modes at certain times of the week, such as `mon-fri 08:00-18:00 continuous; sat,sun off`: the first \
         line that holds says the mode, and where none does `record.mode` holds",
    ),
    key(
        "record.timezone",
        Zone,
        Is("local"),
        "whose clock `record.schedule` goes by: the machine's own or a zone such as `Europe/Berlin`, in summer and in \
         winter",
    ),
    key("record.pre_alarm", Duration("0s", "10min"), Is("5s"), "video from before the trigger that is in the file"),
    key(
        "record.container",
        Choice { now: &["mp4", "mkv", "avi"], later: &[] },
        Is("mp4"),
        "format of the recordings; `avi` for MJPEG cameras and for `record.encode` with `mpeg4` (where it is the \
         default) or `mjpeg`, without sound",
    ),
    key(
        "record.audio",
        Choice { now: &["auto", "copy", "off"], later: &[] },
        Is("auto"),
        "`auto`: AAC copied, G.711 kept as FLAC, without loss; `copy`: AAC only",
    ),
    key("record.max_file", Duration("1s", "1d"), Is("10min"), "longer recordings are cut at a keyframe, without a gap"),
    key(
        "record.buffer",
        Size("1MiB", "4GiB"),
        Is("32MiB"),
        "most memory for the camera's last seconds of video; it has to hold `pre_alarm`",
    ),
    key(
        "record.encode.enabled",
        Flag,
        Nothing,
        "decode and encode recordings anew; any other key of `record.encode` says so too, `false` overrules them",
    ),
    key(
        "record.encode.codec",
        Choice { now: &["h264", "h265", "mjpeg", "mpeg4"], later: &[] },
        Nothing,
        "codec of the recordings: `h264` if nothing is said, in `avi` `mpeg4`",
    ),
    key("record.encode.scale_to", PictureSize, Nothing, "size of the recordings' pictures; the camera's if not given"),
    key(
        "record.encode.frame_rate",
        Rate,
        Nothing,
        "constant rate in pictures a second: pictures are left out or repeated; the camera's own if not given",
    ),
    key(
        "record.encode.overlay",
        Choice { now: &["false", "true", "detection"], later: &[] },
        Is("false"),
        "`true`: write the camera, the time and `MOTION n s` into the picture; `detection`: draw what the detector saw in \
         it, too: boxes, their cause, the share that changed, and zones",
    ),
    key("record.encode.quality", Whole(1, 100), Is("70"), "1 is small, 100 is best"),
    key("retention.max_age", Duration("1min", "36500d"), Nothing, "older recordings of this camera are deleted"),
    key(
        "retention.events",
        Duration("1min", "36500d"),
        Nothing,
        "older recordings with motion in them are deleted; without it `max_age` holds for them too",
    ),
    key(
        "retention.max_size",
        Size("1B", "8000TB"),
        Nothing,
        "size of this camera's recordings; the oldest make room, with motion or without",
    ),
];

/// Why a value is not taken.
#[derive(Debug)]
pub(super) struct Fault {
    /// What is wrong, where "must be ..., not ..." doesn't say it.
    pub reason: Option<String>,
    pub hint: Hint,
}

impl Fault {
    fn because(reason: impl Into<String>, hint: &str) -> Self {
        Fault { reason: Some(reason.into()), hint: Some(hint.to_owned()) }
    }
}

impl From<Hint> for Fault {
    fn from(hint: Hint) -> Self {
        Fault { reason: None, hint }
    }
}

impl Key {
    /// The value of a text, as the typed structures take it.
    pub fn read(&self, text: &str) -> Result<Value, Fault> {
        if self.is_optional() && text == "none" && !matches!(self.kind, Text | Secret | Source) {
            return Ok(Value::Null);
        }
        self.kind.read(text)
    }

    /// May nothing be given?
    pub fn is_optional(&self) -> bool {
        matches!(self.preset, Nothing | OrNone(_))
    }

    /// The value as it may be shown to anyone.
    pub fn show(&self, scalar: &Scalar) -> String {
        match self.kind {
            Secret => "***".to_owned(),
            // Variables stay unexpanded: parts of an address may be secret beyond its password.
            Source => redact_urls(&scalar.written),
            _ => redact_urls(&scalar.text),
        }
    }
}

impl Kind {
    /// `must be ...`, and the type's name in the reference.
    pub fn expects(&self) -> String {
        match self {
            Flag => "`true` or `false`".to_owned(),
            Choice { now, .. } => {
                let quoted: Vec<String> = now.iter().map(|name| format!("`{name}`")).collect();
                match quoted.split_last() {
                    Some((last, [])) => last.clone(),
                    Some((last, others)) => format!("{} or {last}", others.join(", ")),
                    None => String::new(),
                }
            }
            Duration(least, most) => format!("a duration from {least} to {most}"),
            Size("1B", _) => "a size of more than 0".to_owned(),
            Size(least, most) => format!("a size from {least} to {most}"),
            Whole(least, most) => format!("a whole number from {least} to {most}"),
            Kernel(most) => format!("0 or an odd number up to {most}"),
            Area => "a number of pixels from 1, or a percentage".to_owned(),
            FreeSpace => "a size or a percentage".to_owned(),
            Sync => "a duration from 100ms to 1h, `fragment` or `never`".to_owned(),
            Text | Secret => "a text".to_owned(),
            Path => "a path".to_owned(),
            Layout => "a layout of file names".to_owned(),
            Schedule => "lines such as `mon-fri 08:00-18:00 continuous`, with `;` between".to_owned(),
            Zone => "`UTC`, `local` or a zone such as `Europe/Berlin`".to_owned(),
            Listen => "an address with its port, such as `127.0.0.1:8787`".to_owned(),
            LogFilter => "`error`, `warn`, `info`, `debug`, `trace`, `off` or a filter".to_owned(),
            Source => "an address, a device or a file".to_owned(),
            PictureSize => "width and height such as `1280x720`, both even and from 16 to 8192".to_owned(),
            Rate => "a number from 0.1 to 60".to_owned(),
            List(Items::Masks) => "a list of polygons such as `[[0, 0], [0.4, 0], [0.4, 0.1], [0, 0.1]]`".to_owned(),
            List(Items::Zones) => "a list of zones, each with `name` and `polygon`".to_owned(),
            List(Items::ZoneNames) => "a list of names of `detect.zones`".to_owned(),
            Score => "a number from 0 to 1".to_owned(),
            List(Items::ClassNames) => "a list of names".to_owned(),
            ListOrPath(_) => "a list of names, or a path of a file with one a line".to_owned(),
        }
    }

    fn read(&self, text: &str) -> Result<Value, Fault> {
        let string = || Value::String(text.to_owned());
        match self {
            Flag => match text {
                "true" | "True" | "TRUE" => Ok(Value::Bool(true)),
                "false" | "False" | "FALSE" => Ok(Value::Bool(false)),
                "yes" | "on" => Err(Some("write `true`".to_owned()).into()),
                "no" | "off" => Err(Some("write `false`".to_owned()).into()),
                _ => Err(None.into()),
            },
            Choice { now, .. } if now.contains(&text) => Ok(string()),
            Choice { now, later } if later.contains(&text) => {
                Err(Fault::because(format!("`{text}` is not available yet"), &format!("use {}", now.join(" or "))))
            }
            Choice { now, .. } => {
                let near = nearest(text, now.iter().copied());
                Err(near.map(|near| format!("did you mean `{near}`?")).into())
            }
            Duration(least, most) => within(text.parse::<Span>()?, least, most).map(|()| string()),
            Size(least, most) => within(text.parse::<Bytes>()?, least, most).map(|()| string()),
            Whole(least, most) => match text.parse() {
                Ok(number) if (*least..=*most).contains(&number) => Ok(Value::from(number)),
                _ => Err(None.into()),
            },
            Kernel(most) => match text.parse::<u32>() {
                Ok(number) if number <= *most && (number == 0 || number % 2 == 1) => Ok(Value::from(number)),
                _ => Err(None.into()),
            },
            Area => Ok(text.parse::<AreaText>().map(|_| string())?),
            FreeSpace => Ok(text.parse::<FreeText>().map(|_| string())?),
            Sync => Ok(text.parse::<SyncText>().map(|_| string())?),
            Text | Secret => Ok(string()),
            Path | ListOrPath(_) if text.trim().is_empty() || text.contains('\0') => Err(None.into()),
            Path | ListOrPath(_) => Ok(string()),
            Layout => match crate::domain::layout::Layout::parse(text) {
                Ok(_) => Ok(string()),
                Err(reason) => Err(Fault { reason: Some(reason), hint: None }),
            },
            Zone => match text.parse::<TimeZone>() {
                Ok(_) => Ok(string()),
                Err(()) => Err(nearest(text, TimeZone::names()).map(|near| format!("did you mean `{near}`?")).into()),
            },
            Schedule => match crate::domain::schedule::Schedule::parse(text, TimeZone::UTC) {
                Ok(_) => Ok(string()),
                Err(reason) => Err(Fault { reason: Some(reason), hint: None }),
            },
            Listen => listen(text).map(|address| Value::String(address.to_string())),
            LogFilter => log_filter(text).map(|()| string()),
            Source => source(text).map(|()| string()),
            PictureSize => Ok(text.parse::<PictureSizeText>().map(|_| string())?),
            Rate => Ok(text.parse::<RateText>().map(|_| string())?),
            Score => Ok(text.parse::<ScoreText>().map(|_| string())?),
            List(_) => Err(None.into()),
        }
    }
}

fn within<T: PartialOrd + std::str::FromStr>(value: T, least: &str, most: &str) -> Result<(), Fault> {
    let bound = |text: &str| text.parse::<T>().ok();
    let above = bound(least).is_none_or(|least| value >= least);
    let below = bound(most).is_none_or(|most| value <= most);
    if above && below { Ok(()) } else { Err(None.into()) }
}

fn listen(text: &str) -> Result<SocketAddr, Fault> {
    match text.strip_prefix("localhost:").map(str::parse::<u16>) {
        Some(Ok(port)) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        _ => text.parse().map_err(|_| Fault::from(None)),
    }
}

fn log_filter(text: &str) -> Result<(), Fault> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // A filter takes any single word as the name of a module; here it would be a level with a typing error.
    let wrong = text.split(',').map(str::trim).find(|part| !part.contains('=') && !LEVELS.contains(part));
    if let Some(wrong) = wrong {
        return Err(nearest(wrong, LEVELS.into_iter()).map(|near| format!("did you mean `{near}`?")).into());
    }
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| ())
        .map_err(|_| Fault::from(Some("a filter looks like `info,tarsier::media=debug`".to_owned())))
}

/// Nothing of the text is quoted: it may hold a password.
fn source(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::because("is empty", "give an address, a device or a file"));
    }
    if text.trim() != text || text.contains(|c: char| c.is_control()) {
        return Err(Fault::because("has white space around it or a line break in it", "remove it"));
    }
    match SourceUrl::new(text).kind() {
        SourceKind::Rtsp | SourceKind::Http => match url::Url::parse(text) {
            Ok(address) if address.host_str().is_some_and(|host| !host.is_empty()) => Ok(()),
            Ok(_) => Err(Fault::because("the address has no host", "write `rtsp://HOST:PORT/PATH`")),
            Err(error) => Err(Fault::because(
                format!("not a possible address: {error}"),
                "a user and password with special characters belong into `username` and `password`",
            )),
        },
        SourceKind::File => match text.split_once("://") {
            Some(("file", _)) => Err(Fault::because("a file is given by its path alone", "remove `file://`")),
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => Err(Fault::because(
                format!("`{scheme}://` is no kind of source"),
                "there are rtsp, rtsps, http and https, devices and files",
            )),
            _ => Ok(()),
        },
        SourceKind::Device => Ok(()),
    }
}

/// The known word that is probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The rows of the reference: one a key, as `docs/configuration.md` has them.
pub(super) fn reference_row(key: &Key) -> String {
    let preset = match key.preset {
        Is(text) | OrNone(text) => format!("`{text}`"),
        Nothing => "none".to_owned(),
        Required => "has to be given".to_owned(),
    };
    format!("| `{}` | {} | {} | {} |", key.path, key.kind.expects(), preset, key.meaning)
}
