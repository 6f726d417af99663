//! `tarsier import-pynvr`: the configuration of pynvr as Tarsier's. Reads the assignments and runs no Python.
//!
//! What can't be carried over is said on stderr and in the files, with its line. Neither quotes a value that may
//! hold a password; the camera's address itself goes into the camera's file alone.

mod python;
mod token;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use self::python::{Module, Value};
use super::{DONE, INPUT_WRONG};
use crate::config;

/// Larger is no configuration.
const MOST_BYTES: u64 = 1 << 20;

/// Every name that pynvr's configuration has.
const NAMES: &[&str] = &[
    "cam",
    "LOG_FILE_PATH",
    "APP_LOG_LEVEL",
    "MAIN_LOG_FILE_MAX_SIZE",
    "LOG_BACKUPS_COUNT",
    "LOG_FORMAT",
    "LOG_TO_CONSOLE",
    "INITIAL_WAIT_INTERVAL_BEFORE_MOTION_DETECTION_SECS",
    "MINIMAL_MOTION_DURATION",
    "PRE_ALARM_RECORDING_SECONDS",
    "PATH_FOR_VIDEO",
    "subFolderNameGeneratorFunc",
    "scaleFrameTo",
    "FOURCC_CODEC",
    "OUTPUT_FILES_EXTENSION",
    "OUTPUT_FRAME_RATE",
];

/// What `tarsier import-pynvr` takes.
#[derive(Args)]
pub struct ImportArgs {
    /// pynvr's config.py; a machine_specific_configuration.py that it imports is read too
    #[arg(value_name = "CONFIG.PY")]
    file: PathBuf,
    /// Name of the camera: of its file, and of its recordings' folder
    #[arg(long, value_name = "NAME", default_value = "camera", value_parser = camera_name)]
    camera: String,
    /// Write tarsier.yaml and config.d/NAME.yaml into this folder instead of printing them; nothing is overwritten
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn camera_name(text: &str) -> Result<String, String> {
    match config::is_camera_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a camera's name has a-z, 0-9, `-` and `_`, and begins with a letter or a digit".to_owned()),
    }
}

/// Prints or writes the files. Returns the exit code: 1 where there is nothing to make a camera of.
pub fn run(arguments: &ImportArgs) -> anyhow::Result<u8> {
    let shown = arguments.file.display();
    let import = match read_module(&arguments.file).and_then(Import::of) {
        Ok(import) => import,
        Err(what) => {
            eprintln!("{shown}{what}");
            return Ok(INPUT_WRONG);
        }
    };
    for note in &import.notes {
        let line = if note.line > 0 { format!(":{}", note.line) } else { String::new() };
        eprintln!("{shown}{line}: {}", note.text);
    }
    let camera_file = format!("config.d/{}.yaml", arguments.camera);
    let (global, camera) = (import.file("tarsier.yaml", Part::Global), import.file(&camera_file, Part::Camera));
    let Some(folder) = &arguments.out else {
        // Whoever closed the pipe has seen enough.
        let _ = write!(io::stdout(), "{global}---\n{camera}");
        return Ok(DONE);
    };
    fs::create_dir_all(folder.join("config.d")).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in [("tarsier.yaml", global), (camera_file.as_str(), camera)] {
        let path = folder.join(name);
        // It may hold a password.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                eprintln!("{}: is there already (move it away, or choose another --out or --camera)", path.display());
                return Ok(INPUT_WRONG);
            }
            made => made
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))?,
        }
        eprintln!("wrote {}", path.display());
    }
    Ok(DONE)
}

fn read_module(file: &Path) -> Result<Module, String> {
    let text = read_text(file).map_err(|what| format!(": {what}"))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut module = Module::default();
    let mut imported = Vec::new();
    let mut import = |name: &str| {
        // Twice would be a circle.
        if imported.iter().any(|known| known == name) {
            return None;
        }
        imported.push(name.to_owned());
        read_text(&folder.join(format!("{name}.py"))).ok()
    };
    match python::read(&mut module, &text, &mut import) {
        Ok(()) => Ok(module),
        Err(fault) => {
            let place = match fault.module {
                Some(name) => format!(": imports {name}.py, there in line {}", fault.line),
                None => format!(":{}", fault.line),
            };
            Err(format!("{place}: {} (is it a Python file?)", fault.what))
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(error.to_string()),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => Err("too large for a configuration".to_owned()),
        // Comments of old files are in all kinds of encodings; values that would be hurt are refused later.
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Global,
    Camera,
}

/// Something that could not be carried over, or not quite.
struct Note {
    part: Part,
    /// 0: nowhere in particular.
    line: u32,
    text: String,
}

/// What becomes of a configuration.
struct Import {
    module: Module,
    /// Keys and values of Tarsier's files, in order.
    values: Vec<(Part, &'static str, String)>,
    notes: Vec<Note>,
}

impl Import {
    /// The error begins with its place, or `: `.
    fn of(module: Module) -> Result<Import, String> {
        let mut import = Import { module, values: Vec::new(), notes: Vec::new() };
        import.archive();
        import.log();
        import.camera()?;
        import.encoding();
        import.unknown_names();
        Ok(import)
    }

    fn archive(&mut self) {
        self.carry(Part::Global, "PATH_FOR_VIDEO", "archive.path", path);
        self.carry(Part::Global, "subFolderNameGeneratorFunc", "archive.layout", |value| {
            let name = "video_%Y-%m-%dT%H%M%S";
            let folder = match value {
                Value::None => return Ok(format!("{{camera}}/{name}")),
                Value::Function(inner) => match &**inner {
                    Value::Text(text) => text.replace('%', "%%"),
                    Value::Template(text, _) => text.clone(),
                    Value::Unknown(why) => return Err(format!("its function is not recognised: {why}")),
                    _ => return Err("its function is not recognised".to_owned()),
                },
                _ => return Err("its function is not recognised".to_owned()),
            };
            Ok(format!("{{camera}}/{}/{name}", folder.trim_matches('/')))
        });
        let unpadded = match self.value("subFolderNameGeneratorFunc") {
            Some((line, Value::Function(inner))) if matches!(**inner, Value::Template(_, false)) => Some(line),
            _ => None,
        };
        if let Some(line) = unpadded {
            self.note(Part::Global, line, "subFolderNameGeneratorFunc: its numbers have leading zeros here");
        }
    }

    fn log(&mut self) {
        self.carry(Part::Global, "LOG_FILE_PATH", "log.path", path);
        self.carry(Part::Global, "APP_LOG_LEVEL", "log.level", level);
        self.carry(Part::Global, "MAIN_LOG_FILE_MAX_SIZE", "log.max_size", |value| match value {
            Value::Int(bytes) if *bytes > 0 && bytes % (1 << 20) == 0 => Ok(format!("{}MiB", bytes >> 20)),
            Value::Int(bytes) if *bytes > 0 => Ok(format!("{bytes}B")),
            Value::Int(0) => Err("a log's file always rolls over here".to_owned()),
            _ => Err("not a number of bytes".to_owned()),
        });
        self.carry(Part::Global, "LOG_BACKUPS_COUNT", "log.backups", |value| match value {
            Value::Int(number) => Ok(number.to_string()),
            _ => Err("not a whole number".to_owned()),
        });
        let own_format = match self.value("LOG_FORMAT") {
            Some((line, value)) if *value != Value::Text(PYNVR_LOG_FORMAT.to_owned()) => Some(line),
            _ => None,
        };
        if let Some(line) = own_format {
            self.note(Part::Global, line, "LOG_FORMAT is not carried over: a line's format is `text` or `json` here");
        }
        self.carry(Part::Global, "LOG_TO_CONSOLE", "log.console", |value| match value {
            Value::Flag(flag) => Ok(flag.to_string()),
            Value::Int(number) => Ok((*number != 0).to_string()),
            _ => Err("not a truth value".to_owned()),
        });
    }

    fn camera(&mut self) -> Result<(), String> {
        let hint = "(write what the camera's address is as text, `cam = \"rtsp://...\"`)";
        let text = match self.value("cam") {
            None => return Err(": there is no `cam` in it (is it pynvr's config.py?)".to_owned()),
            Some((_, Value::Int(number))) => number.to_string(),
            Some((line, Value::Text(text))) if text.contains('\u{fffd}') => {
                return Err(format!(":{line}: `cam` is not UTF-8 {hint}"));
            }
            Some((_, Value::Text(text))) => text.clone(),
            Some((line, Value::Unknown(why))) => return Err(format!(":{line}: `cam` can't be read: {why} {hint}")),
            Some((line, _)) => return Err(format!(":{line}: `cam` is no address and no number {hint}")),
        };
        if let Some(why) = config::refusal("source", &text) {
            let line = self.value("cam").map_or(0, |(line, _)| line);
            return Err(format!(":{line}: `cam` can't be taken: {why}"));
        }
        self.values.push((Part::Camera, "source", text));
        self.conditional(Part::Camera, "cam");
        // What it finds is what pynvr found.
        self.values.push((Part::Camera, "detect.algorithm", "seed".to_owned()));
        self.carry(Part::Camera, "INITIAL_WAIT_INTERVAL_BEFORE_MOTION_DETECTION_SECS", "detect.warm_up", seconds);
        self.carry(Part::Camera, "MINIMAL_MOTION_DURATION", "detect.minimal_duration", seconds);
        self.carry(Part::Camera, "PRE_ALARM_RECORDING_SECONDS", "record.pre_alarm", seconds);
        Ok(())
    }

    /// pynvr encoded every recording anew, and wrote into the picture.
    fn encoding(&mut self) {
        self.carry(Part::Camera, "OUTPUT_FILES_EXTENSION", "record.container", |value| match value {
            Value::Text(text) => Ok(text.trim_start_matches('.').to_ascii_lowercase()),
            _ => Err("not a text".to_owned()),
        });
        self.carry(Part::Camera, "FOURCC_CODEC", "record.encode.codec", |value| match value {
            Value::Text(code) => match code.to_ascii_uppercase().as_str() {
                "DIVX" | "XVID" | "MP4V" | "DX50" | "FMP4" => Ok("mpeg4".to_owned()),
                "MJPG" => Ok("mjpeg".to_owned()),
                "H264" | "X264" | "AVC1" => Ok("h264".to_owned()),
                "H265" | "X265" | "HEVC" | "HEV1" | "HVC1" => Ok("h265".to_owned()),
                _ => Err("no codec that Tarsier knows".to_owned()),
            },
            _ => Err("not a text".to_owned()),
        });
        if !matches!(self.value("scaleFrameTo"), Some((_, Value::None))) {
            self.carry(Part::Camera, "scaleFrameTo", "record.encode.scale_to", |value| match value {
                Value::List(sides) => match sides[..] {
                    [Value::Int(width), Value::Int(height)] => Ok(format!("{width}x{height}")),
                    _ => Err("not a width and a height".to_owned()),
                },
                _ => Err("not a width and a height".to_owned()),
            });
        }
        self.carry(Part::Camera, "OUTPUT_FRAME_RATE", "record.encode.frame_rate", |value| match value {
            Value::Int(rate) => Ok(rate.to_string()),
            Value::Float(rate) => Ok(rate.to_string()),
            _ => Err("not a number".to_owned()),
        });
        let codec = self.taken("record.encode.codec").map(str::to_owned);
        let is_unfit = matches!(
            (self.taken("record.container"), codec.as_deref()),
            (Some("avi"), Some("h264" | "h265")) | (Some("mp4"), Some("mpeg4"))
        );
        if is_unfit
            && let Some((_, _, container)) = self.values.iter_mut().find(|(_, key, _)| *key == "record.container")
        {
            let text = format!("recordings are mkv files: {container} does not go with that codec here");
            *container = "mkv".to_owned();
            self.note(Part::Camera, 0, text);
        }
        if self.values.iter().any(|(_, key, _)| key.starts_with("record.encode.")) {
            self.values.push((Part::Camera, "record.encode.overlay", "true".to_owned()));
            let text = "recordings are encoded anew, as pynvr did; without `encode` (and `container`) they hold the \
                        camera's own stream, without loss and at a small part of the cost";
            self.note(Part::Camera, 0, text);
        }
    }

    /// A name that nothing reads may be one of pynvr's with a typing error.
    fn unknown_names(&mut self) {
        let module = &self.module;
        let strange = module.names.iter().filter(|(name, assignment)| {
            !NAMES.contains(&name.as_str())
                && !module.used.contains(*name)
                && !matches!(assignment.value, Value::Function(_) | Value::Dict(_))
        });
        let strange: Vec<(u32, String)> = strange.map(|(name, assignment)| (assignment.line, name.clone())).collect();
        for (line, name) in strange {
            self.note(Part::Global, line, format!("{name} is not carried over: pynvr has no such setting"));
        }
    }

    fn value(&self, name: &str) -> Option<(u32, &Value)> {
        self.module.names.get(name).map(|assignment| (assignment.line, &assignment.value))
    }

    /// The value that a key has so far.
    fn taken(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(_, of, _)| *of == key).map(|(_, _, value)| value.as_str())
    }

    fn note(&mut self, part: Part, line: u32, text: impl Into<String>) {
        self.notes.push(Note { part, line, text: text.into() });
    }

    fn conditional(&mut self, part: Part, name: &str) {
        if let Some(line) = self.module.conditional.get(name).copied() {
            self.note(part, line, format!("{name} is not carried over from here: it depends on a condition"));
        }
    }

    /// One setting of pynvr's to one key, if it is given and possible.
    fn carry(&mut self, part: Part, name: &str, key: &'static str, text: impl Fn(&Value) -> Result<String, String>) {
        self.conditional(part, name);
        let Some((line, value)) = self.value(name) else { return };
        let text = match value {
            Value::Unknown(why) => Err((*why).to_owned()),
            value => text(value),
        };
        match text.and_then(|text| config::refusal(key, &text).map_or(Ok(text), Err)) {
            Ok(text) => self.values.push((part, key, text)),
            Err(why) => self.note(part, line, format!("{name} is not carried over: {why}")),
        }
    }

    /// One of Tarsier's files.
    fn file(&self, name: &str, part: Part) -> String {
        let mut out =
            format!("# {name}: made by `tarsier import-pynvr`; docs/configuration.md says what each key means.\n");
        let notes: Vec<&Note> = self.notes.iter().filter(|note| note.part == part).collect();
        if !notes.is_empty() {
            out.push_str("#\n# What is different from pynvr:\n");
        }
        for note in notes {
            let place = if note.line > 0 { format!(" (line {})", note.line) } else { String::new() };
            // Writing to a String can't fail.
            let _ = writeln!(out, "# - {}{place}", note.text);
        }
        let mut open: Vec<&str> = Vec::new();
        for (_, key, value) in self.values.iter().filter(|(of, ..)| *of == part) {
            let mut sections: Vec<&str> = key.split('.').collect();
            let last = sections.pop().unwrap_or(key);
            for depth in 0..sections.len() {
                if open.get(..=depth) != sections.get(..=depth) {
                    let _ = writeln!(out, "{}{}:", "  ".repeat(depth), sections[depth]);
                }
            }
            let _ = writeln!(out, "{}{last}: {}", "  ".repeat(sections.len()), scalar(key, value));
            open = sections;
        }
        out
    }
}

/// The line format of pynvr's own configuration.
const PYNVR_LOG_FORMAT: &str = "%(asctime)s - %(levelname)s - %(message)s";

fn path(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) if text.contains('\u{fffd}') => Err("it is not UTF-8".to_owned()),
        Value::Text(text) => Ok(text.clone()),
        _ => Err("not a path".to_owned()),
    }
}

fn level(value: &Value) -> Result<String, String> {
    let name = match value {
        Value::Name(name) => name.rsplit('.').next().unwrap_or(name),
        Value::Text(name) => name,
        Value::Int(number) => match number {
            ..=9 => "NOTSET",
            10..=19 => "DEBUG",
            20..=29 => "INFO",
            30..=39 => "WARNING",
            40.. => "ERROR",
        },
        _ => return Err("no level of a log".to_owned()),
    };
    match name.to_ascii_uppercase().as_str() {
        "NOTSET" => Ok("trace".to_owned()),
        "DEBUG" => Ok("debug".to_owned()),
        "INFO" => Ok("info".to_owned()),
        "WARN" | "WARNING" => Ok("warn".to_owned()),
        "ERROR" | "CRITICAL" | "FATAL" => Ok("error".to_owned()),
        _ => Err("no level of a log".to_owned()),
    }
}

fn seconds(value: &Value) -> Result<String, String> {
    match value {
        Value::Int(number) => Ok(format!("{number}s")),
        Value::Float(number) => Ok(format!("{number}s")),
        _ => Err("not a number of seconds".to_owned()),
    }
}

/// A key's value as YAML, with `${` kept from being a variable.
fn scalar(key: &str, text: &str) -> String {
    let escaped = text.replace("${", "$${");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let begins_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.'));
    let is_unit = text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_alphabetic());
    // `source: "0"` is a text, as the documents have it.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && key != "source";
    let is_word = !matches!(text.to_ascii_lowercase().as_str(), "null" | "yes" | "no" | "on" | "off");
    if text.chars().all(is_plain) && (begins_plain || is_unit || is_number) && !text.is_empty() && is_word {
        escaped
    } else {
        // JSON's strings are YAML's.
        serde_json::Value::String(escaped).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::RecordMode;

    fn import(text: &str) -> Import {
        let mut module = Module::default();
        python::read(&mut module, text, &mut |_| None).unwrap();
        Import::of(module).unwrap_or_else(|what| panic!("{what}"))
    }

    fn notes(import: &Import) -> Vec<&str> {
        import.notes.iter().map(|note| note.text.as_str()).collect()
    }

    fn value<'a>(import: &'a Import, key: &str) -> Option<&'a str> {
        import.values.iter().find(|(_, known, _)| *known == key).map(|(_, _, value)| value.as_str())
    }

    /// What Tarsier makes of the files.
    fn loaded(import: &Import) -> (config::Loaded, crate::domain::config::CameraConfig) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("config.d")).unwrap();
        fs::write(folder.path().join("tarsier.yaml"), import.file("tarsier.yaml", Part::Global)).unwrap();
        fs::write(folder.path().join("config.d/yard.yaml"), import.file("yard", Part::Camera)).unwrap();
        let loaded = config::load_global(&folder.path().join("tarsier.yaml")).unwrap();
        let mut scan = config::scan_cameras(&loaded);
        assert_eq!(scan.all_problems(), []);
        (loaded, scan.cameras.remove("yard").unwrap().unwrap())
    }

    #[test]
    fn odd_passwords_and_paths_arrive_as_they_are() {
        for address in [
            "rtsp://me:p${X}%41s$$s@192.0.2.10:554/a?b=c#d",
            "rtsp://me:\u{e9}'{}[]: !@192.0.2.10/live",
            "/dev/video0",
            "0",
            "null",
            "clips/my clip: 1 #2.mp4",
        ] {
            let escaped = address.replace('\'', "\\'");
            let (_, camera) = loaded(&import(&format!("cam = '{escaped}'\nPATH_FOR_VIDEO = 'a ${{HOME}}: b'\n")));
            let source = camera.source.expose();
            assert!(source == address || source.ends_with(&format!("/{address}")), "{address}: {source}");
        }
        let (loaded, camera) = loaded(&import("cam = 0\nPATH_FOR_VIDEO = '/srv/${HOME}: b'\nLOG_FILE_PATH = 'no'\n"));
        assert_eq!(loaded.global.archive.path, Path::new("/srv/${HOME}: b"));
        assert_eq!(loaded.global.log.path.unwrap().file_name().unwrap(), "no");
        assert_eq!((camera.source.expose(), camera.record.mode), ("0", RecordMode::Motion));
    }

    #[test]
    fn folders_by_time() {
        let layout = |function: &str| {
            let import = import(&format!("cam = 0\nsubFolderNameGeneratorFunc = {function}\n"));
            loaded(&import);
            (value(&import, "archive.layout").map(str::to_owned), notes(&import).join("\n"))
        };
        let (found, said) = layout("lambda t: '{:04}/{:02}'.format(t.year, t.month)");
        assert_eq!((found.as_deref(), said.as_str()), (Some("{camera}/%Y/%m/video_%Y-%m-%dT%H%M%S"), ""));
        assert_eq!(layout("None").0.as_deref(), Some("{camera}/video_%Y-%m-%dT%H%M%S"));
        assert_eq!(layout("lambda t: 'all'").0.as_deref(), Some("{camera}/all/video_%Y-%m-%dT%H%M%S"));
        let (found, said) = layout("lambda t: '%d' % t.day");
        assert_eq!(found.as_deref(), Some("{camera}/%d/video_%Y-%m-%dT%H%M%S"));
        assert!(said.contains("leading zeros"), "{said}");
        for strange in
            ["lambda t: folder_of(t)", "make_function()", "lambda t: '../' + str(t.year)", "lambda t: '{'", "7"]
        {
            let (found, said) = layout(strange);
            assert!(
                found.is_none() && said.contains("subFolderNameGeneratorFunc is not carried over"),
                "{strange}: {said}"
            );
        }
    }

    #[test]
    fn levels_sizes_and_times() {
        for (written, meant) in
            [("logging.DEBUG", "debug"), ("WARNING", "warn"), ("'critical'", "error"), ("20", "info"), ("0", "trace")]
        {
            assert_eq!(value(&import(&format!("cam = 0\nAPP_LOG_LEVEL = {written}\n")), "log.level"), Some(meant));
        }
        let import = import(
            "cam = 0\nMAIN_LOG_FILE_MAX_SIZE = 5 * 1000 * 1000\nPRE_ALARM_RECORDING_SECONDS = 2.5\n\
             MINIMAL_MOTION_DURATION = 0\nINITIAL_WAIT_INTERVAL_BEFORE_MOTION_DETECTION_SECS = '5'\nLOG_BACKUPS_COUNT = -1\n",
        );
        assert_eq!(value(&import, "log.max_size"), Some("5000000B"));
        assert_eq!(value(&import, "record.pre_alarm"), Some("2.5s"));
        assert_eq!(loaded(&import).1.record.pre_alarm.as_millis(), 2500);
        let notes = notes(&import);
        assert_eq!(notes.len(), 3, "{notes:?}");
        for name in ["MINIMAL_MOTION_DURATION", "INITIAL_WAIT", "LOG_BACKUPS_COUNT"] {
            assert!(notes.iter().any(|note| note.starts_with(name)), "{notes:?}");
        }
    }

    #[test]
    fn what_depends_or_is_not_known_is_said() {
        let found = import(
            "cam = 0\nBASE = 'x'\nPATH_FOR_VIDEO = BASE + '/v'\nPRE_ALARM_RECORDING_SECOND = 4\nif DEBUG:\n    \
             LOG_TO_CONSOLE = True\n",
        );
        assert_eq!(
            notes(&found),
            [
                "LOG_TO_CONSOLE is not carried over from here: it depends on a condition",
                "PRE_ALARM_RECORDING_SECOND is not carried over: pynvr has no such setting",
            ]
        );
        assert_eq!(value(&found, "archive.path"), Some("x/v"));
    }

    #[test]
    fn no_camera_no_files() {
        for text in
            ["", "cam = None", "cam = ['0']", "cam = find_it()", "cam = ''", "cam = 'ftp://h/canary-1'", "cam = -1.5"]
        {
            let mut module = Module::default();
            python::read(&mut module, text, &mut |_| None).unwrap();
            let what = Import::of(module).err().unwrap_or_else(|| panic!("{text:?} was taken"));
            assert!(what.contains("`cam`") && !what.contains("canary"), "{text}: {what}");
        }
    }
}
