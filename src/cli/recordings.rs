//! `tarsier recordings`: what the archive holds, whether it is whole, and making it so.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::retention::{self, RetentionArgs};
use super::{INPUT_WRONG, or_told};
use crate::archive::file;
use crate::archive::index::{Index, IndexError, IndexReader};
use crate::archive::state::{StateDb, StateError};
use crate::archive::{holes, paths, recovery};
use crate::clock;
use crate::config::{self, Loaded};
use crate::domain::config::{CameraConfig, RecordMode};
use crate::domain::recording::{ListedRecording, Recording, RecordingQuery};
use crate::domain::retention::age_limit;
use crate::media::readback::read_back;

/// The recording's own length and what the index says may differ by so much: a second, or a thousandth.
const TOLERANCE_S: f64 = 1.0;
const TOLERANCE: f64 = 0.001;
/// A file says when its recording began as was thought when it did; its row, as was known when it ended. After a
/// connect a camera may send what is long past.
const START_APART: TimeDelta = TimeDelta::minutes(1);

/// So much may be missing between two recordings: connecting takes time after a start.
const HOLE: TimeDelta = TimeDelta::seconds(5);

/// What to do with the recordings.
#[derive(Clone, Debug, Subcommand)]
pub enum RecordingsCommand {
    /// List recordings, newest first
    #[command(after_help = "Example:\n  tarsier recordings list --camera front-door --from 2026-05-01 --json")]
    List(ListArgs),
    /// Read recordings back and decode them, and look for stretches of a continuous camera that are missing and no gap
    /// tells of; exit code 1 if anything is wrong
    #[command(
        after_help = "Examples:\n  tarsier recordings verify --from 2026-05-01T06:00:00Z\n  tarsier recordings verify --sample 5%"
    )]
    Verify(VerifyArgs),
    /// Rebuild the index from the journals and the files, and make whole what a crash left open (stop `tarsier run`
    /// first)
    #[command(after_help = "Example:\n  tarsier recordings repair --config /etc/tarsier/tarsier.yaml")]
    Repair,
    /// Delete what is over the limits of the configuration, as `tarsier run` does by itself (stop it first)
    #[command(after_help = "Example:\n  tarsier recordings retention --dry-run")]
    Retention(RetentionArgs),
}

/// Which recordings.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only this camera's
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Only what ends after this time (RFC 3339; a date alone is its midnight in UTC)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<DateTime<Utc>>,
    /// Only what starts before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<DateTime<Utc>>,
}

#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    #[command(flatten)]
    selection: Selection,
    /// One JSON object a line, as the API has it
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    selection: Selection,
    /// Read all packets but decode none: much quicker
    #[arg(long)]
    no_decode: bool,
    /// Read back only so many of the recordings, others at each run
    #[arg(long, value_name = "N%", value_parser = parse_share, default_value = "100%")]
    sample: f64,
}

/// Runs the command on the archive of this configuration. Returns the exit code.
pub fn run(command: &RecordingsCommand, config: &Path) -> anyhow::Result<u8> {
    let Some(loaded) = or_told(config::load_global(config)) else { return Ok(INPUT_WRONG) };
    let done = on_archive(command, &loaded, &mut io::stdout().lock());
    match done {
        Ok(code) => Ok(code),
        Err(error) if is_closed_pipe(&error) => Ok(0),
        Err(error) if is_their_input(&error) => {
            eprintln!("tarsier: {error:#}");
            Ok(1)
        }
        Err(error) => Err(error),
    }
}

/// Whoever closed the pipe has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// No archive, a busy one, a broken one: nothing that Tarsier did wrong.
fn is_their_input(error: &anyhow::Error) -> bool {
    error.downcast_ref::<IndexError>().is_some() || error.downcast_ref::<StateError>().is_some()
}

fn on_archive(command: &RecordingsCommand, loaded: &Loaded, out: &mut dyn Write) -> anyhow::Result<u8> {
    let root = &loaded.global.archive.path;
    match command {
        RecordingsCommand::List(arguments) => list(root, arguments, out),
        RecordingsCommand::Verify(arguments) => verify(loaded, arguments, out),
        RecordingsCommand::Repair => repair(root, out),
        RecordingsCommand::Retention(arguments) => retention::run(arguments, loaded, out),
    }
}

pub(super) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map(|date| date.and_time(NaiveTime::MIN).and_utc())
        .map_err(|_| "not a time like 2026-05-01T06:00:00Z or 2026-05-01".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    percent
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "not a share like 5%, up to 100%".to_owned())
}

/// All recordings of a selection, newest first, page by page.
fn each(
    index: &IndexReader,
    selection: &Selection,
    mut visit: impl FnMut(&Recording) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Selection { camera, from, to } = selection.clone();
    let mut query = RecordingQuery { camera, from, to, limit: 1000, ..RecordingQuery::default() };
    loop {
        let page = index.recordings(&query)?;
        page.items.iter().try_for_each(&mut visit)?;
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(()),
        }
    }
}

fn list(root: &Path, arguments: &ListArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let index = IndexReader::open(root)?;
    let protected = StateDb::of(root).protected();
    let mut out = io::BufWriter::new(out);
    each(&index, &arguments.selection, |row| {
        if arguments.json {
            let protected = protected.as_ref().map_or(true, |protected| protected.has(&row.path));
            let row = ListedRecording { recording: row.clone(), protected };
            serde_json::to_writer(&mut out, &row).map_err(io::Error::from)?;
            return Ok(writeln!(out)?);
        }
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let end = row.end.map_or_else(|| format!("{:<24}", "open"), time);
        let state = if row.end.is_some() && !row.complete { " (not whole)" } else { "" };
        let (start, camera, reason, path) = (time(row.start), &row.camera, row.reason.name(), &row.path);
        Ok(writeln!(out, "{start}  {end}  {:>9}  {reason:<13}  {camera}  {path}{state}", size(row.bytes))?)
    })?;
    out.flush()?;
    Ok(0)
}

fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A progress bar on a terminal, none in a pipe.
fn progress(length: Option<u64>, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn verify(loaded: &Loaded, arguments: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let root = loaded.global.archive.path.as_path();
    let index = IndexReader::open(root)?;
    // What libav has to say comes back as errors.
    ffmpeg_next::util::log::set_level(ffmpeg_next::util::log::Level::Quiet);
    let mut total = 0;
    each(&index, &arguments.selection, |row| {
        total += row.bytes;
        Ok(())
    })?;
    let bar = progress(Some(total), "{bar:40} {bytes}/{total_bytes} {eta} {wide_msg}");
    let (mut checked, mut wrong, mut open) = (0_u64, 0_u64, 0_u64);
    let cameras = config::scan_cameras(loaded).cameras;
    let cameras = cameras.into_iter().filter_map(|(name, camera)| Some((name, camera.ok()?))).collect();
    let mut holes = Holes { index: &index, cameras, later: BTreeMap::new(), found: 0 };
    each(&index, &arguments.selection, |row| {
        bar.set_message(row.path.clone());
        if row.end.is_none() {
            open += 1;
            return Ok(());
        }
        let hole = holes.before(row)?;
        let is_sampled = arguments.sample >= 1.0 || fastrand::f64() < arguments.sample;
        let mut problems = if is_sampled { verify_one(root, row, !arguments.no_decode) } else { Vec::new() };
        bar.inc(row.bytes);
        // Retention may have taken it meanwhile.
        if !problems.is_empty() && index.recording(row.id)?.is_none() {
            return Ok(());
        }
        checked += u64::from(is_sampled);
        wrong += u64::from(!problems.is_empty());
        problems.extend(hole);
        bar.suspend(|| problems.iter().try_for_each(|problem| writeln!(out, "{}: {problem}", row.path)))?;
        Ok(())
    })?;
    bar.finish_and_clear();
    let being_written = if open > 0 { format!(", {open} being written and not looked at") } else { String::new() };
    let missing = match holes.found {
        0 => String::new(),
        found => format!(", {found} stretches are missing that no gap tells of"),
    };
    writeln!(out, "{checked} recordings verified, {wrong} with problems{missing}{being_written}")?;
    Ok(u8::from(wrong > 0 || holes.found > 0))
}

/// Looks for what is missing between the recordings of a camera that records continuously.
struct Holes<'a> {
    index: &'a IndexReader,
    /// As they are configured now.
    cameras: BTreeMap<String, CameraConfig>,
    /// By camera: the start of the recording that was visited last, if it is a continuous one.
    later: BTreeMap<String, Option<DateTime<Utc>>>,
    found: u64,
}

impl Holes<'_> {
    /// Should what was recorded after this moment be there? Not where the schedule says otherwise, nor where only the
    /// events are kept by now.
    fn goes_on(&self, camera: &str, end: DateTime<Utc>) -> bool {
        let Some(CameraConfig { record, retention, .. }) = self.cameras.get(camera) else { return true };
        let is_scheduled = record.schedule.is_none() || record.mode_at(end + HOLE) == RecordMode::Continuous;
        let plain_until = age_limit(clock::utc_now(), retention.max_age).filter(|_| retention.events_max_age.is_some());
        is_scheduled && plain_until.is_none_or(|until| end >= until)
    }

    /// What is missing between this recording and the one that was visited before, which is the next in time.
    fn before(&mut self, row: &Recording) -> anyhow::Result<Option<String>> {
        let is_continuous = holes::is_continuous(row.reason);
        let later = self.later.insert(row.camera.clone(), is_continuous.then_some(row.start)).flatten();
        let (Some(end), Some(next), true) = (row.end, later, is_continuous) else { return Ok(None) };
        if next - end <= HOLE || !self.goes_on(&row.camera, end) {
            return Ok(None);
        }
        let stretches = holes::untold(self.index, &row.camera, end, next)?;
        let missing: TimeDelta = stretches.into_iter().map(|missing| missing.end - missing.start).sum();
        if missing <= HOLE {
            return Ok(None);
        }
        self.found += 1;
        let seconds = missing.as_seconds_f64();
        Ok(Some(format!("the next begins {seconds:.1} s later and no gap tells why (was the camera switched off?)")))
    }
}

/// What is wrong with a recording.
fn verify_one(root: &Path, row: &Recording, decode: bool) -> Vec<String> {
    let path = match paths::inside(root, &row.path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return vec!["the file is gone".to_owned()],
        Err(error) => return vec![error.to_string()],
    };
    let mut problems = Vec::new();
    if !row.complete {
        problems.push("is not closed in order (`tarsier recordings repair` tries again)".to_owned());
    }
    let read = read_back(&path, decode);
    match file::inspect(&path) {
        Ok(Some(inspected)) => {
            if inspected.bytes != row.bytes {
                problems.push(format!("has {} bytes and not {}", inspected.bytes, row.bytes));
            }
            if !inspected.already_complete && row.complete {
                problems.push("has a torn end (`tarsier recordings repair` mends it)".to_owned());
            }
            if inspected.meta.camera != row.camera || (inspected.meta.start - row.start).abs() > START_APART {
                problems.push(format!(
                    "says that it is {}'s of {}",
                    inspected.meta.camera,
                    inspected.meta.start.to_rfc3339_opts(SecondsFormat::Millis, true)
                ));
            }
            if read.packets != inspected.packets {
                problems.push(format!("{} of {} packets can be read", read.packets, inspected.packets));
            }
        }
        Ok(None) => problems.push("holds no packet".to_owned()),
        Err(error) => problems.push(error.to_string()),
    }
    if let Some(end) = row.end.filter(|_| read.packets > 0) {
        let expected_s = (end - row.start).as_seconds_f64();
        if (read.duration_s - expected_s).abs() > TOLERANCE_S.max(expected_s * TOLERANCE) {
            problems.push(format!("lasts {:.1} s and not {expected_s:.1} s", read.duration_s));
        }
    }
    problems.extend(read.problems);
    problems
}

fn repair(root: &Path, out: &mut dyn Write) -> anyhow::Result<u8> {
    if !root.is_dir() {
        bail!(IndexError::Missing { root: root.to_owned() });
    }
    let index = Index::open(root)?;
    if let Some(trouble) = index.trouble() {
        writeln!(out, "{trouble}")?;
    }
    index.replay_again();
    let opened = recovery::repair_open(root, &index);
    let bar = progress(None, "{spinner} {pos} files {wide_msg}");
    let scanned = recovery::scan_all_telling(root, &index, &AtomicBool::new(false), &mut |report| {
        bar.set_position(report.files);
        bar.set_message(format!("{} new, {} repaired", report.found, report.repaired));
    });
    bar.finish_and_clear();
    let report = opened.and(scanned);
    writeln!(out, "{report}")?;
    let trouble = index.trouble();
    let wrong: Vec<&String> = report.failures.iter().chain(&trouble).collect();
    wrong.iter().try_for_each(|what| writeln!(out, "{what}"))?;
    Ok(u8::from(!wrong.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chrono::TimeDelta;
    use clap::Parser;

    use super::*;
    use crate::archive::file::{FileMeta, RecordingFile};
    use crate::archive::testing::{AAC, H264, clip};
    use crate::domain::camera::{GapCause, Reason};
    use crate::domain::config::ContainerKind;
    use crate::domain::recording::Gap;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: RecordingsCommand,
    }

    struct Place {
        folder: tempfile::TempDir,
        index: Index,
    }

    impl Place {
        /// Recordings of 2 s with sound, a minute apart: yard, door, yard.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let index = Index::open(folder.path()).unwrap();
            let clip = clip("mp4", "2", H264, AAC);
            for (id, camera) in [(1, "yard"), (2, "door"), (3, "yard")] {
                let start = DateTime::from_timestamp(1_700_000_000 + id * 60, 500_000_000).unwrap();
                let meta = FileMeta {
                    camera: camera.into(),
                    start,
                    reason: Reason::Motion,
                    onset: None,
                    pre_alarm_s: Some(1.0),
                };
                let path = format!("{camera}/{id}.mp4");
                let mut file =
                    RecordingFile::create(&folder.path().join(&path), ContainerKind::Mp4, &clip.stream, true, &meta)
                        .unwrap();
                clip.packets.iter().for_each(|packet| file.write(packet).unwrap());
                index.put(Recording {
                    id,
                    camera: camera.into(),
                    start,
                    end: Some(start + TimeDelta::seconds(2)),
                    pre_alarm_s: Some(1.0),
                    bytes: file.finish().unwrap().bytes,
                    path,
                    motion_s: 1.5,
                    complete: true,
                    reason: Reason::Motion,
                });
            }
            assert!(index.flush());
            Place { folder, index }
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            self.folder.path().join(path)
        }

        fn run(&self, arguments: &[&str]) -> (u8, String) {
            let mut out = Vec::new();
            let code = run(self.folder.path(), arguments, &mut out).unwrap();
            (code, String::from_utf8(out).unwrap())
        }
    }

    fn run(root: &Path, arguments: &[&str], out: &mut dyn Write) -> anyhow::Result<u8> {
        let cli = Cli::try_parse_from(["recordings"].iter().chain(arguments)).unwrap();
        let (mut loaded, _) = config::load_what_can_be(&root.join("tarsier.yaml"));
        loaded.global.archive.path = root.to_owned();
        on_archive(&cli.command, &loaded, out)
    }

    #[test]
    fn list_shows_the_newest_first_and_selects() {
        let place = Place::new();
        let (code, text) = place.run(&["list"]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!((code, lines.len()), (0, 3));
        assert_eq!(lines[0][..2], ["2023-11-14T22:16:20.500Z", "2023-11-14T22:16:22.500Z"]);
        assert_eq!(lines[0][4..], ["motion", "yard", "yard/3.mp4"]);
        let (_, json) = place.run(&["list", "--json", "--camera", "door"]);
        let row: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((row["id"].as_i64(), row["start"].as_str()), (Some(2), Some("2023-11-14T22:15:20.500Z")));
        let count = |arguments: &[&str]| place.run(arguments).1.lines().count();
        assert_eq!(count(&["list", "--from", "2023-11-14T22:15:00Z"]), 2);
        assert_eq!(count(&["list", "--to", "2023-11-15", "--from", "2023-11-14"]), 3);
        assert_eq!(count(&["list", "--from", "2023-11-15"]), 0);
    }

    #[test]
    fn a_time_that_is_none_is_refused_by_name() {
        let error = Cli::try_parse_from(["recordings", "list", "--from", "yesterday"]).err().unwrap().to_string();
        assert!(error.contains("--from") && error.contains("2026-05-01"), "{error}");
    }

    #[test]
    fn without_an_index_it_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for command in ["list", "verify"] {
            let error = run(folder.path(), &[command], &mut Vec::new()).unwrap_err();
            assert!(is_their_input(&error) && error.to_string().contains("recordings repair"), "{error}");
        }
        let error = run(&folder.path().join("gone"), &["repair"], &mut Vec::new()).unwrap_err();
        assert!(is_their_input(&error));
    }

    #[test]
    fn whole_recordings_verify() {
        let place = Place::new();
        assert_eq!(place.run(&["verify"]), (0, "3 recordings verified, 0 with problems\n".to_owned()));
        assert_eq!(place.run(&["verify", "--camera", "door", "--no-decode"]).0, 0);
    }

    #[test]
    fn verify_finds_what_is_damaged() {
        let place = Place::new();
        // Pictures painted over: all boxes are in order, and only decoding shows it.
        let painted = place.path("yard/1.mp4");
        let mut bytes = fs::read(&painted).unwrap();
        let middle = bytes.len() / 3;
        for (n, byte) in bytes[middle..middle + 2000].iter_mut().enumerate() {
            *byte = (n * n % 251) as u8;
        }
        fs::write(&painted, bytes).unwrap();
        // One cut off, one gone.
        let cut = place.path("door/2.mp4");
        let length = fs::metadata(&cut).unwrap().len();
        fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(length - 3000).unwrap();
        fs::remove_file(place.path("yard/3.mp4")).unwrap();
        let (code, text) = place.run(&["verify"]);
        assert_eq!(code, 1);
        for expected in
            ["yard/1.mp4: ", "door/2.mp4: ", "yard/3.mp4: the file is gone", "3 recordings verified, 3 with"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn what_is_being_written_is_not_looked_at() {
        let place = Place::new();
        let row = place.index.recording(1).unwrap().unwrap();
        place.index.put(Recording { end: None, complete: false, path: "yard/none.mp4".into(), ..row });
        assert!(place.index.flush());
        let (code, text) = place.run(&["verify", "--camera", "yard"]);
        assert_eq!(
            (code, text.as_str()),
            (0, "1 recordings verified, 0 with problems, 1 being written and not looked at\n")
        );
        let (_, list) = place.run(&["list"]);
        assert!(list.contains("  open  "), "{list}");
    }

    #[test]
    fn repair_rebuilds_a_lost_index_but_not_under_a_running_tarsier() {
        let place = Place::new();
        let error = run(place.folder.path(), &["repair"], &mut Vec::new()).unwrap_err();
        assert!(is_their_input(&error) && error.to_string().contains("in use"), "{error}");
        let Place { folder, index } = place;
        drop(index);
        let before = list_json(folder.path());
        fs::write(folder.path().join("index.db"), b"no database at all, but long enough to be one").unwrap();
        let mut out = Vec::new();
        assert_eq!(run(folder.path(), &["repair"], &mut out).unwrap(), 0);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("3 rows taken from the journals") && text.contains("index.db.broken-"), "{text}");
        assert_eq!(list_json(folder.path()), before);
    }

    fn list_json(root: &Path) -> String {
        let mut out = Vec::new();
        run(root, &["list", "--json"], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn retention_says_what_would_go_and_why_before_it_goes() {
        let place = Place::new();
        fs::create_dir(place.path("config.d")).unwrap();
        // How full this machine's disk is does not matter here.
        fs::write(place.path("tarsier.yaml"), "archive: { min_free: 1B }\n").unwrap();
        fs::write(place.path("config.d/yard.yaml"), "source: a.mp4\nretention: { max_size: 1B }\n").unwrap();
        // Broken: its limits are not known, and none holds.
        fs::write(place.path("config.d/door.yaml"), "source: [\nretention: { max_age: 1d }\n").unwrap();
        let (code, text) = place.run(&["retention", "--dry-run"]);
        assert_eq!(code, 0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[0].starts_with("2023-11-14T22:14:20Z ") && lines[0].contains("yard/1.mp4: to make room"),
            "{text}"
        );
        assert!(lines[1].contains("yard/3.mp4") && lines[2].starts_with("2 recordings would be deleted, "), "{text}");
        assert_eq!(place.run(&["list"]).1.lines().count(), 3);

        let error = run(place.folder.path(), &["retention"], &mut Vec::new()).unwrap_err();
        assert!(is_their_input(&error) && error.to_string().contains("in use"), "{error}");
        fs::write(place.path("config.d/yard.yaml"), "source: a.mp4\nretention: { max_age: 36500d, events: 1d }\n")
            .unwrap();
        let Place { folder, index } = place;
        drop(index);
        let mut out = Vec::new();
        assert_eq!(run(folder.path(), &["retention"], &mut out).unwrap(), 0);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("yard/1.mp4: older than retention.events"), "{text}");
        assert!(!folder.path().join("yard/1.mp4").exists() && folder.path().join("door/2.mp4").exists());
        let mut out = Vec::new();
        run(folder.path(), &["list"], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }

    #[test]
    fn what_a_continuous_camera_misses_without_a_gap_is_told() {
        let place = Place::new();
        assert_eq!(place.run(&["verify"]).0, 0, "recordings of events have nothing between them");
        for id in [1, 3] {
            let row = place.index.recording(id).unwrap().unwrap();
            place.index.put(Recording { reason: Reason::Continuous, ..row });
        }
        assert!(place.index.flush());
        let (code, text) = place.run(&["verify", "--sample", "0.001%"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("yard/1.mp4: the next begins 118.0 s later and no gap tells why"), "{text}");
        assert!(text.contains("1 stretches are missing"), "{text}");
        // The schedule said so, or only the events are left.
        fs::create_dir(place.path("config.d")).unwrap();
        for (keys, code) in [
            ("record: { mode: off, schedule: \"daily\" }", 1),
            ("record: { mode: off, schedule: \"22:00-22:14 continuous\", timezone: UTC }", 0),
            ("record: { mode: off, schedule: \"22:00-23:00 continuous\", timezone: UTC }", 1),
            ("retention: { max_age: 1d, events: 36500d }", 0),
            ("retention: { max_age: 1d }", 1),
        ] {
            fs::write(place.path("config.d/yard.yaml"), format!("source: a.mp4\n{keys}\n")).unwrap();
            assert_eq!(place.run(&["verify", "--no-decode"]).0, code, "{keys}");
        }
        fs::remove_dir_all(place.path("config.d")).unwrap();
        let [first, last] = [1, 3].map(|id| place.index.recording(id).unwrap().unwrap());
        let gap = |start, end| Gap { camera: "yard".into(), start, end: Some(end), cause: GapCause::Down };
        let middle = first.start + TimeDelta::seconds(60);
        place.index.add_gap(gap(first.end.unwrap(), middle));
        assert!(place.index.flush());
        assert!(place.run(&["verify", "--no-decode"]).1.contains("begins 60.0 s later"));
        place.index.add_gap(gap(middle, last.start - TimeDelta::seconds(3)));
        assert!(place.index.flush());
        assert_eq!(place.run(&["verify"]).0, 0);
    }

    #[test]
    fn a_sample_is_a_share() {
        let place = Place::new();
        let (code, text) = place.run(&["verify", "--sample", "100%"]);
        assert_eq!((code, text.as_str()), (0, "3 recordings verified, 0 with problems\n"));
        assert!(place.run(&["verify", "--sample", "0.000001"]).1.starts_with("0 recordings verified"));
        for share in ["0%", "101%", "-5%", "many", ""] {
            assert!(Cli::try_parse_from(["recordings", "verify", "--sample", share]).is_err(), "{share}");
        }
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1000, 999_949, 999_950, 1_500_000, 3_200_000_000_000_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 MB", "3200.0 TB"]);
    }
}
