//! The day journals: what the index is told, as lines of JSON in files that are only ever appended to.
//!
//! One file a camera and UTC day, `.journal/CAMERA/2026-11-25.jsonl` below the archive's root. A line belongs to
//! the day on which what it speaks of began, so that a day is forgotten as a whole. A later line about the same
//! thing overrules an earlier one. What a crash left of a last line is ignored, and cut before the next is added.
//!
//! Belongs here: lines, and the files they are in. Does not belong here: what an index is rebuilt of
//! (`archive::replay`), and when a line is written (the index's writer).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::found::Found;
use crate::domain::recording::{Gap, MotionEvent, Recording};
use crate::domain::score::Minute;

/// The journals' folder in the archive's root. A camera's name can't begin with a dot, and no scan looks into it.
pub const FOLDER: &str = ".journal";
/// Of the lines. A reader passes over what is newer than it.
const VERSION: u32 = 1;
const EXTENSION: &str = "jsonl";
/// For what names a camera that no configuration could have: another's file, or a damaged one.
const NAMELESS: &str = "_";

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Recording(Listed),
    Deleted(Deleted),
    Gap(Gap),
    /// A gap that went on was none.
    NoGap(Gap),
    Event(MotionEvent),
    /// What a model found in an event.
    Found(FoundIn),
    /// A person took an event away.
    NoEvent(Deleted),
    Score(Scores),
    Forgotten(Forgotten),
}

/// A recording's row, when it was opened and again when it was closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its place in the order of the lists.
    pub seq: i64,
    #[serde(flatten)]
    pub recording: Recording,
}

/// A recording, or an event, is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deleted {
    pub id: i64,
    pub camera: String,
    pub start: DateTime<Utc>,
}

/// What a model found in an event, of all its pictures so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundIn {
    pub id: i64,
    pub camera: String,
    /// When the event began.
    pub start: DateTime<Utc>,
    pub found: Vec<Found>,
}

/// The motion scores of a minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub camera: String,
    /// Its first moment.
    pub minute: DateTime<Utc>,
    /// See [`Minute::pack`]; in Base64.
    #[serde(with = "packed")]
    pub seconds: Minute,
}

/// What else the camera had on this day and ended before the moment is forgotten; recordings are deleted one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forgotten {
    pub camera: String,
    pub day: NaiveDate,
    pub before: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Line<E> {
    v: u32,
    #[serde(flatten)]
    entry: E,
}

impl Entry {
    /// Whose file a line is in, and of which day.
    fn home(&self) -> (&str, NaiveDate) {
        match self {
            Entry::Recording(Listed { recording, .. }) => (&recording.camera, recording.start.date_naive()),
            Entry::Deleted(deleted) | Entry::NoEvent(deleted) => (&deleted.camera, deleted.start.date_naive()),
            Entry::Gap(gap) | Entry::NoGap(gap) => (&gap.camera, gap.start.date_naive()),
            Entry::Event(event) => (&event.camera, event.start.date_naive()),
            Entry::Found(found) => (&found.camera, found.start.date_naive()),
            Entry::Score(scores) => (&scores.camera, scores.minute.date_naive()),
            Entry::Forgotten(forgotten) => (&forgotten.camera, forgotten.day),
        }
    }
}

/// A minute of scores as text.
mod packed {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::domain::score::Minute;

    pub fn serialize<S: Serializer>(minute: &Minute, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(minute.pack()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Minute, D::Error> {
        let text = String::deserialize(deserializer)?;
        let packed = STANDARD.decode(text).map_err(de::Error::custom)?;
        Minute::unpack(&packed).ok_or_else(|| de::Error::custom("not a minute of scores"))
    }
}

/// The day's first moment.
pub fn begin_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The journals of one archive.
#[derive(Clone, Debug)]
pub struct Journals {
    folder: PathBuf,
}

impl Journals {
    pub fn of(archive_root: &Path) -> Self {
        Journals { folder: archive_root.join(FOLDER) }
    }

    fn path(&self, folder: &str, day: NaiveDate) -> PathBuf {
        self.folder.join(folder).join(format!("{day}.{EXTENSION}"))
    }

    /// Adds lines, each file's with one write. After an error some may have been added; adding them again changes
    /// nothing.
    pub fn append(&self, entries: &[Entry]) -> io::Result<()> {
        let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for entry in entries {
            let (camera, day) = entry.home();
            let lines = files.entry(self.path(folder_of(camera), day)).or_default();
            serde_json::to_writer(&mut *lines, &Line { v: VERSION, entry }).map_err(io::Error::other)?;
            lines.push(b'\n');
        }
        for (path, lines) in files {
            append_lines(&path, &lines)
                .map_err(|error| io::Error::new(error.kind(), format!("the journal {}: {error}", path.display())))?;
        }
        Ok(())
    }

    /// All days, oldest first, each with the folders that have a file of it.
    pub fn days(&self) -> io::Result<BTreeMap<NaiveDate, BTreeSet<String>>> {
        let mut days: BTreeMap<NaiveDate, BTreeSet<String>> = BTreeMap::new();
        for folder in names_in(&self.folder)? {
            for day in self.days_of(&folder)? {
                days.entry(day).or_default().insert(folder.clone());
            }
        }
        Ok(days)
    }

    fn days_of(&self, folder: &str) -> io::Result<Vec<NaiveDate>> {
        match names_in(&self.folder.join(folder)) {
            // A file in the folder's place is none of ours.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
            names => Ok(names?.iter().filter_map(|name| day_of(name)).collect()),
        }
    }

    /// The lines of a file in their order, or of its last bytes, and how many could not be understood.
    pub fn read(&self, folder: &str, day: NaiveDate, most_bytes: u64) -> io::Result<(Vec<Entry>, usize)> {
        let mut file = File::open(self.path(folder, day))?;
        let skipped = file.metadata()?.len().saturating_sub(most_bytes);
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(skipped))?;
        file.read_to_end(&mut text)?;
        if skipped > 0 {
            // The first may be half a line.
            let first = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
            text.drain(..first);
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut unclear = 0;
        let entries = text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .filter_map(|line| {
                let line = serde_json::from_slice::<Line<Entry>>(line).ok().filter(|line| line.v <= VERSION);
                unclear += usize::from(line.is_none());
                line.map(|line| line.entry)
            })
            .collect();
        Ok((entries, unclear))
    }

    /// Removes the days of a camera that ended before, except those in `kept`.
    pub fn forget(&self, camera: &str, before: DateTime<Utc>, kept: &BTreeSet<NaiveDate>) -> io::Result<()> {
        let folder = folder_of(camera);
        if folder == NAMELESS {
            return Ok(());
        }
        let is_over = |day: &NaiveDate| day.checked_add_days(Days::new(1)).is_some_and(|next| begin_of(next) <= before);
        for day in self.days_of(folder)?.into_iter().filter(is_over).filter(|day| !kept.contains(day)) {
            match fs::remove_file(self.path(folder, day)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The folder of a camera's journals. A name that was read from a file may be anything.
fn folder_of(camera: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = !camera.is_empty() && camera.len() <= 200 && camera.bytes().all(is_plain);
    if is_name && !camera.starts_with('.') { camera } else { NAMELESS }
}

fn day_of(name: &str) -> Option<NaiveDate> {
    let (day, extension) = name.split_once('.')?;
    NaiveDate::parse_from_str(day, "%Y-%m-%d").ok().filter(|_| extension == EXTENSION)
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// All or nothing, behind the last whole line.
fn append_lines(path: &Path, lines: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let end = whole_lines(&file)?;
    file.write_all_at(lines, end).inspect_err(|_| drop(file.set_len(end)))
}

/// Where the last whole line ends; what follows it is cut off.
fn whole_lines(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length == 0 || (file.read_exact_at(&mut last, length - 1).is_ok() && last == *b"\n") {
        return Ok(length);
    }
    let mut text = Vec::new();
    (&*file).read_to_end(&mut text)?;
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
    file.set_len(end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, recording};
    use super::*;
    use crate::domain::camera::{GapCause, Reason};
    use crate::domain::finding::{Cause, Region};
    use crate::domain::score::Score;

    fn listed(id: i64, camera: &str, second: i64) -> Entry {
        Entry::Recording(Listed { seq: id << 20, recording: recording(id, camera, second) })
    }

    fn all_kinds() -> Vec<Entry> {
        let mut minute = Minute::default();
        minute.see(17, Score::of(0.03));
        vec![
            listed(1, "yard", 0),
            Entry::Deleted(Deleted { id: 1, camera: "yard".into(), start: at(0) }),
            Entry::Gap(Gap { camera: "yard".into(), start: at(0), end: Some(at(5)), cause: GapCause::DiskTooSlow }),
            Entry::NoGap(Gap { camera: "yard".into(), start: at(7), end: None, cause: GapCause::Crash }),
            Entry::Event(MotionEvent {
                cause: Some(Cause::Motion),
                zones: vec!["gate".into()],
                boxes: vec![Region { left: 0.1, top: 0.2, width: 0.3, height: 0.4 }],
                ..MotionEvent::new(9, "yard", at(1), Reason::Motion)
            }),
            Entry::Found(FoundIn {
                id: 9,
                camera: "yard".into(),
                start: at(1),
                found: vec![Found {
                    class: "person".into(),
                    score: 0.75,
                    region: Region { left: 0.1, top: 0.2, width: 0.3, height: 0.4 },
                }],
            }),
            Entry::NoEvent(Deleted { id: 9, camera: "yard".into(), start: at(1) }),
            Entry::Score(Scores { camera: "yard".into(), minute: at(40), seconds: minute }),
            Entry::Forgotten(Forgotten { camera: "yard".into(), day: at(0).date_naive(), before: at(0) }),
        ]
    }

    struct Place {
        folder: tempfile::TempDir,
        journals: Journals,
        day: NaiveDate,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Place { journals: Journals::of(folder.path()), folder, day: at(0).date_naive() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join(".journal/yard/2023-11-14.jsonl")
        }

        fn read(&self) -> (Vec<Entry>, usize) {
            self.journals.read("yard", self.day, u64::MAX).unwrap()
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let place = Place::new();
        place.journals.append(&all_kinds()).unwrap();
        assert_eq!(place.read(), (all_kinds(), 0));
        let text = fs::read_to_string(place.path()).unwrap();
        assert!(text.starts_with(r#"{"v":1,"recording":{"seq":1048576,"id":1,"camera":"yard","start":"2023-11-14T"#));
    }

    #[test]
    fn a_torn_last_line_is_ignored_and_cut() {
        let place = Place::new();
        place.journals.append(&all_kinds()).unwrap();
        let whole = fs::read(place.path()).unwrap();
        for torn in 1..whole.len() {
            fs::write(place.path(), &whole[..torn]).unwrap();
            let lines = whole[..torn].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(place.read(), (all_kinds()[..lines].to_vec(), 0));
            if torn % 37 == 0 {
                place.journals.append(&[listed(7, "yard", 1)]).unwrap();
                let expected: Vec<Entry> = all_kinds()[..lines].iter().cloned().chain([listed(7, "yard", 1)]).collect();
                assert_eq!(place.read(), (expected, 0));
            }
        }
    }

    #[test]
    fn the_last_lines_are_whole_ones() {
        let place = Place::new();
        place.journals.append(&all_kinds()).unwrap();
        let length = fs::metadata(place.path()).unwrap().len();
        for most in 0..=length + 1 {
            let (entries, unclear) = place.journals.read("yard", place.day, most).unwrap();
            assert_eq!((unclear, &entries[..]), (0, &all_kinds()[all_kinds().len() - entries.len()..]));
            assert_eq!(entries.len() == all_kinds().len(), most >= length);
        }
    }

    #[test]
    fn what_a_newer_version_writes_is_passed_over() {
        let place = Place::new();
        place.journals.append(&[listed(1, "yard", 0)]).unwrap();
        let line = fs::read_to_string(place.path()).unwrap();
        let newer = format!("{}{{\"v\":1,\"smell\":{{}}}}\nnoise\n{line}", line.replace("\"v\":1", "\"v\":2"));
        fs::write(place.path(), newer).unwrap();
        assert_eq!(place.read(), (vec![listed(1, "yard", 0)], 3));
    }

    #[test]
    fn each_camera_and_day_has_its_file_and_no_name_leads_out() {
        let place = Place::new();
        let day_s = 24 * 60 * 60;
        let entries = [
            listed(1, "yard", 0),
            listed(2, "door", day_s),
            listed(3, "yard", day_s),
            listed(4, "../../etc", 0),
            listed(5, ".hidden", 0),
        ];
        place.journals.append(&entries).unwrap();
        let days = place.journals.days().unwrap();
        let days: Vec<Vec<&str>> = days.values().map(|folders| folders.iter().map(String::as_str).collect()).collect();
        assert_eq!(days, [vec!["_", "yard"], vec!["door", "yard"]]);
        assert_eq!(place.journals.read("_", place.day, u64::MAX).unwrap().0, entries[3..]);
        assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_whole_days_of_which_nothing_is_kept_are_forgotten() {
        let place = Place::new();
        let day = |n: i64| place.day + Days::new(n as u64);
        for n in 0..4 {
            place.journals.append(&[listed(n, "yard", n * 86_400), listed(n, "door", n * 86_400)]).unwrap();
        }
        // In the middle of the fourth day.
        place.journals.forget("yard", begin_of(day(3)) + chrono::TimeDelta::hours(5), &[day(1)].into()).unwrap();
        assert_eq!(
            place.journals.days_of("yard").unwrap().into_iter().collect::<BTreeSet<_>>(),
            [day(1), day(3)].into()
        );
        assert_eq!(place.journals.days_of("door").unwrap().len(), 4);
        place.journals.forget("nobody", begin_of(day(3)), &[].into()).unwrap();
    }
}
