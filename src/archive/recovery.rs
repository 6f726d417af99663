//! What a start does with what a crash left: [`repair_open`] before anything records, [`scan_all`] behind it.
//!
//! The files are the truth: what they say of themselves overrules the index. What they can't say is in the day
//! journals, which a new index is told first (`archive::replay`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::file::{self, RepairError, Repaired};
use super::holes;
use super::index::{Index, IndexError};
use super::paths;
use super::replay::{self, Days, ReplayError, replay};
use crate::clock;
use crate::domain::camera::{GapCause, Reason};
use crate::domain::missing::{OpenGap, Remains, after_last_life};
use crate::domain::recording::{Gap, MotionEvent, Recording, RecordingQuery};

/// A file that is unknown and new may belong to a recording that is just being begun: it is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// After a crash these closed recordings' files are checked, too: a power cut may have taken their ends.
const RECENT: TimeDelta = TimeDelta::minutes(2);
/// Rows that are read at once, and changes after which the scan waits for the index.
const CHUNK: u32 = 500;
/// Extensions of recordings.
const EXTENSIONS: [&str; 3] = ["mp4", "mkv", "avi"];

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Files that were looked at.
    pub files: u64,
    /// Files that were open and are whole now.
    pub repaired: u64,
    /// Bytes of torn tails that were cut off.
    pub cut_bytes: u64,
    /// Files without a packet, deleted.
    pub empty: u64,
    /// Rows that the journals had and the index had not.
    pub replayed: u64,
    /// Files that neither knew.
    pub found: u64,
    /// Rows whose file is gone, dropped.
    pub dropped: u64,
    pub gaps: u64,
    /// Recordings that could not be made whole, and why.
    pub failures: Vec<String>,
    /// Files that are none of Tarsier's recordings: left alone.
    pub foreign: u64,
    /// Ended before all was seen.
    pub stopped: bool,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {} repaired ({} bytes cut off)", self.files, self.repaired, self.cut_bytes)?;
        let counts = [
            (self.empty, "empty ones deleted"),
            (self.replayed, "rows taken from the journals"),
            (self.found, "new to the index"),
            (self.dropped, "rows without a file dropped"),
            (self.gaps, "gaps written down"),
            (self.foreign, "foreign files left alone"),
        ];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if let Some(first) = self.failures.first() {
            write!(f, ", {} failed (first: {first})", self.failures.len())?;
        }
        f.write_str(if self.stopped { ", stopped before the end" } else { "" })
    }
}

impl RecoveryReport {
    /// Both in one.
    pub fn and(mut self, other: RecoveryReport) -> RecoveryReport {
        self.files = self.files.max(other.files);
        self.repaired += other.repaired;
        self.cut_bytes += other.cut_bytes;
        self.empty += other.empty;
        self.replayed += other.replayed;
        self.found += other.found;
        self.dropped += other.dropped;
        self.gaps += other.gaps;
        self.foreign += other.foreign;
        self.failures.extend(other.failures);
        self.failures.dedup();
        self.stopped |= other.stopped;
        self
    }

    fn replayed(&mut self, replayed: replay::Replayed) {
        self.replayed += replayed.recordings;
        if replayed.unclear > 0 {
            tracing::warn!(lines = replayed.unclear, "lines of the journals are not understood and passed over");
        }
        replayed.failures.into_iter().for_each(|what| self.failed(what));
    }

    fn failed(&mut self, what: String) {
        tracing::error!("{what}");
        self.failures.push(what);
    }
}

/// Finishes the files of all recordings that were open when the process ended, and writes down since when their
/// cameras miss something: that goes on until they record again. To be called before anything records.
pub fn repair_open(archive_root: &Path, index: &Index) -> RecoveryReport {
    let mut report = RecoveryReport::default();
    // A new index has to know what was open; the rest of the journals is the scan's. After a crash it may lack what
    // the journals got last.
    let which = match (index.wants_replay(), index.closed_before()) {
        (true, _) => Some(Days::Newest(2)),
        (false, None) => Some(Days::LastLines),
        (false, _) => None,
    };
    if let Some(which) = which {
        match replay(archive_root, index, which, &AtomicBool::new(false)) {
            Ok(replayed) => report.replayed(replayed),
            Err(error) => {
                index.replay_again();
                report.failed(format!("the journals wait for the scan: {error}"));
            }
        }
    }
    if let Err(error) = try_repair_open(archive_root, index, &mut report) {
        report.failed(format!("recordings that were open at the last end wait for the scan: {error}"));
    }
    if index.trouble().is_none() {
        index.flush();
    }
    report
}

fn try_repair_open(root: &Path, index: &Index, report: &mut RecoveryReport) -> Result<(), IndexError> {
    let mut remains: BTreeMap<String, Remains> = BTreeMap::new();
    for Gap { camera, start: since, cause, .. } in index.open_gaps()? {
        let left = remains.entry(camera.clone()).or_default();
        // There is one a camera, but for what a crash kept from the index.
        let before = left.gap.replace(OpenGap { since, cause });
        before.and_then(|before| before.ended(&camera, since)).into_iter().for_each(|gap| index.add_gap(gap));
    }
    let mut changes = Vec::new();
    for row in index.open_recordings()? {
        let left = remains.entry(row.camera.clone()).or_default();
        let start = row.start;
        let Mended { end, change } = mend(root, index, row, report);
        left.recorded = left.recorded.max(Some((start, end)));
        changes.push(change);
    }
    for (camera, left) in remains {
        let after = after_last_life(left, index.covered_to(&camera)?, index.alive_before());
        let Some((gap, before_to)) = after else { continue };
        let before = left.gap.zip(before_to).and_then(|(gap, to)| gap.ended(&camera, to));
        report.gaps += 1 + u64::from(before.is_some());
        before.into_iter().for_each(|gap| index.add_gap(gap));
        index.set_open_gap(&camera, Some((gap.since, gap.cause)));
    }
    // After the gaps: a disk that takes some of it and then no more must not leave a recording that is over and nothing
    // that tells what follows it.
    changes.into_iter().for_each(|change| change.make(index));
    end_events(index)
}

/// What became of the file of a row.
struct Mended {
    /// Where it ends.
    end: DateTime<Utc>,
    change: RowChange,
}

/// What its row has to say now.
enum RowChange {
    Put(Recording),
    Remove(i64),
    Nothing,
}

impl RowChange {
    fn make(self, index: &Index) {
        match self {
            RowChange::Put(row) => index.put(row),
            RowChange::Remove(id) => index.remove(id),
            RowChange::Nothing => {}
        }
    }
}

/// Ends the events that went on when the process ended: with the last recording that holds some of them.
fn end_events(index: &Index) -> Result<(), IndexError> {
    let open = index.open_events()?;
    if !open.is_empty() {
        index.flush();
    }
    for event in open {
        let query =
            RecordingQuery { camera: Some(event.camera.clone()), from: Some(event.start), ..Default::default() };
        let held_to = index.recordings(&query)?.items.iter().filter_map(|row| row.end).max();
        index.put_event(MotionEvent { end: Some(held_to.unwrap_or(event.start).max(event.start)), ..event });
    }
    Ok(())
}

/// Makes the file of a row whole. The row is changed by the caller.
fn mend(root: &Path, index: &Index, row: Recording, report: &mut RecoveryReport) -> Mended {
    report.files += 1;
    let path = match paths::inside(root, &row.path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(camera = %row.camera, "the recording {} is gone: its row is dropped", row.path);
            report.dropped += 1;
            return Mended { end: row.start, change: RowChange::Remove(row.id) };
        }
        Err(error) => return give_up(root, row, &error.to_string(), report),
    };
    match file::repair(&path) {
        Ok(Some(repaired)) => {
            // Of a closed recording the row knows better than the file, whose start was noted with its first packet.
            let start = if repaired.already_complete { row.start } else { repaired.meta.start };
            let end = row.end.filter(|_| repaired.already_complete);
            let end = end.unwrap_or(start + (repaired.end - repaired.meta.start));
            count(&row.path, &repaired, report);
            if !repaired.already_complete {
                lost(index, &row, end, report);
            }
            let row = Recording {
                start,
                end: Some(end),
                bytes: repaired.bytes,
                pre_alarm_s: row.pre_alarm_s.or(repaired.meta.pre_alarm_s),
                complete: true,
                ..row
            };
            Mended { end, change: RowChange::Put(row) }
        }
        Ok(None) => {
            tracing::info!(camera = %row.camera, "the recording {} held no packet and is deleted", row.path);
            lost(index, &row, row.start, report);
            report.empty += 1;
            Mended { end: row.start, change: RowChange::Remove(row.id) }
        }
        Err(error) => give_up(root, row, &error.to_string(), report),
    }
}

/// Of a recording that had been closed, a power cut took what was after this moment: what followed it knows nothing of
/// that.
fn lost(index: &Index, row: &Recording, from: DateTime<Utc>, report: &mut RecoveryReport) {
    if let Some(end) = row.end.filter(|end| *end > from) {
        report.gaps += 1;
        index.add_gap(Gap { camera: row.camera.clone(), start: from, end: Some(end), cause: GapCause::Down });
    }
}

fn count(path: &str, repaired: &Repaired, report: &mut RecoveryReport) {
    if !repaired.already_complete {
        report.repaired += 1;
        report.cut_bytes += repaired.cut_bytes;
        let Repaired { meta, packets, cut_bytes, .. } = repaired;
        tracing::info!(camera = %meta.camera, packets, cut_bytes, "the recording {path} was open and is whole now");
    }
}

/// The row says that its file is not whole, and ends where the file was last written.
fn give_up(root: &Path, row: Recording, why: &str, report: &mut RecoveryReport) -> Mended {
    report.failed(format!("the recording {} of {} cannot be made whole: {why}", row.path, row.camera));
    let metadata = fs::symlink_metadata(root.join(&row.path)).ok();
    let written = metadata.as_ref().and_then(|metadata| metadata.modified().ok()).map(DateTime::<Utc>::from);
    // What is in it may be read though nothing can be written.
    let found = file::inspect(&root.join(&row.path)).ok().flatten();
    let held = found.map(|found| row.start + (found.end - found.meta.start)).min(written);
    let end = row.end.or(held).or(written).unwrap_or(row.start).max(row.start);
    let bytes = metadata.map_or(row.bytes, |metadata| metadata.len());
    let is_news = row.end.is_none() || row.complete || row.bytes != bytes;
    let row = Recording { end: Some(end), bytes, complete: false, ..row };
    Mended { end, change: if is_news { RowChange::Put(row) } else { RowChange::Nothing } }
}

/// Walks the whole archive: a new index is told what the journals say, files that it does not know get rows, those that were not closed are made whole,
/// rows without a file are dropped. For a thread of its own, whose priority it lowers; `stop` ends it early.
pub fn scan_all(archive_root: &Path, index: &Index, stop: &AtomicBool) -> RecoveryReport {
    scan_all_telling(archive_root, index, stop, &mut |_| {})
}

/// Like [`scan_all`], and tells after each file how far it is.
pub fn scan_all_telling(
    archive_root: &Path,
    index: &Index,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&RecoveryReport),
) -> RecoveryReport {
    // Only this thread's priority, and the disk's with it. Where it may not be lowered the scan is as quick as it is.
    let _ = rustix::process::setpriority_process(None, 10);
    let mut scan = Scan {
        root: archive_root,
        index,
        stop,
        tell,
        recent: None,
        changes: 0,
        later: Vec::new(),
        report: RecoveryReport::default(),
    };
    let done = scan.run();
    let mut report = scan.report;
    match done {
        Ok(()) => index.rebuilt(),
        Err(Ended::Stopped) => report.stopped = true,
        Err(Ended::Failed(what)) => {
            report.stopped = true;
            report.failed(format!("the scan of the archive broke off: {what}"));
        }
    }
    report
}

struct Scan<'a> {
    root: &'a Path,
    index: &'a Index,
    stop: &'a AtomicBool,
    tell: &'a mut dyn FnMut(&RecoveryReport),
    /// Closed recordings that end after this are checked, too.
    recent: Option<DateTime<Utc>>,
    changes: u32,
    /// New, unknown files and their lengths.
    later: Vec<(String, u64)>,
    report: RecoveryReport,
}

enum Ended {
    Stopped,
    Failed(String),
}

impl From<IndexError> for Ended {
    fn from(error: IndexError) -> Self {
        Ended::Failed(error.to_string())
    }
}

impl From<ReplayError> for Ended {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Stopped => Ended::Stopped,
            error => Ended::Failed(error.to_string()),
        }
    }
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), Ended> {
        self.flush()?;
        if self.index.wants_replay() {
            self.report.replayed(replay(self.root, self.index, Days::All, self.stop)?);
        }
        if self.index.closed_before().is_none() {
            self.recent = self.last_end()?.map(|end| end - RECENT);
        }
        self.walk()?;
        self.second_look()?;
        self.drop_rows()?;
        self.flush()?;
        if self.index.closed_before().is_none() {
            let since = match self.index.safe_before() {
                None => self.last_end()?.map(|last| last - RECENT),
                safe => safe,
            };
            self.report.gaps += since.map_or(Ok(0), |since| holes::fill(self.index, since))?;
        }
        self.flush()
    }

    /// Where the newest closed recording ends.
    fn last_end(&self) -> Result<Option<DateTime<Utc>>, IndexError> {
        Ok(self.index.latest()?.iter().filter_map(|row| row.end).max())
    }

    fn check_stop(&self) -> Result<(), Ended> {
        if self.stop.load(Ordering::Acquire) { Err(Ended::Stopped) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Ended> {
        self.changes = 0;
        match self.index.flush() {
            true => Ok(()),
            false => Err(Ended::Failed(self.index.trouble().unwrap_or_else(|| "the index is slow".to_owned()))),
        }
    }

    /// One more change was queued: not more of them than the index can take.
    fn changed(&mut self) -> Result<(), Ended> {
        self.changes += 1;
        if self.changes >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Goes through all folders, each in the order of its names, so that what is found comes in the order of time.
    fn walk(&mut self) -> Result<(), Ended> {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            self.check_stop()?;
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Ok(entries) => entries,
                // Retention removes empty folders meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && folder != Path::new("") => continue,
                Err(error) => {
                    self.report.failed(format!("cannot look into {}: {error}", self.root.join(&folder).display()));
                    continue;
                }
            };
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            let mut below = Vec::new();
            for entry in entries {
                let name = entry.file_name();
                let (Some(name), Ok(kind)) = (name.to_str(), entry.file_type()) else { continue };
                if name.starts_with('.') || name == "lost+found" {
                    continue;
                }
                let path = folder.join(name);
                if kind.is_dir() {
                    below.push(path);
                } else if kind.is_file() && has_extension(&path) {
                    self.file(&path)?;
                }
            }
            folders.extend(below.into_iter().rev());
        }
        Ok(())
    }

    fn file(&mut self, relative: &Path) -> Result<(), Ended> {
        self.check_stop()?;
        let Some(path) = relative.to_str() else { return Ok(()) };
        let Ok(metadata) = fs::symlink_metadata(self.root.join(path)) else { return Ok(()) };
        if self.index.is_live_path(path) {
            return Ok(());
        }
        let known = self.index.by_path(path)?;
        // What was queued since is newer than what could be read.
        let known = known.map(|row| self.index.recording(row.id)).transpose()?;
        match known {
            Some(None) => {}
            // A new database knows nothing, and the journals do.
            None if self.index.wants_replay() => {
                return Err(Ended::Failed("the index was taken away meanwhile".to_owned()));
            }
            Some(Some(row)) => {
                let is_recent = matches!((row.end, self.recent), (Some(end), Some(recent)) if end >= recent);
                if row.end.is_none() || !row.complete || row.bytes != metadata.len() || is_recent {
                    self.known(row)?;
                } else {
                    self.report.files += 1;
                }
            }
            None if self.is_new(&metadata) => self.later.push((path.to_owned(), metadata.len())),
            None => self.unknown(path)?,
        }
        (self.tell)(&self.report);
        Ok(())
    }

    /// May this process have written it?
    fn is_new(&self, metadata: &fs::Metadata) -> bool {
        let Ok(modified) = metadata.modified() else { return true };
        let modified = DateTime::<Utc>::from(modified);
        // Clocks of files tick coarsely.
        modified + TimeDelta::milliseconds(20) >= self.index.opened() && modified <= clock::utc_now()
    }

    /// A file whose row may be wrong.
    fn known(&mut self, row: Recording) -> Result<(), Ended> {
        mend(self.root, self.index, row, &mut self.report).change.make(self.index);
        self.changed()
    }

    fn unknown(&mut self, path: &str) -> Result<(), Ended> {
        self.report.files += 1;
        match file::repair(&self.root.join(path)) {
            Ok(Some(repaired)) => {
                count(path, &repaired, &mut self.report);
                self.report.found += 1;
                tracing::info!(camera = %repaired.meta.camera, "the recording {path} was not in the index");
                let camera = repaired.meta.camera;
                self.index.put_found(Recording {
                    id: self.index.next_id(),
                    camera: camera.clone(),
                    start: repaired.meta.start,
                    end: Some(repaired.end),
                    pre_alarm_s: repaired.meta.pre_alarm_s,
                    bytes: repaired.bytes,
                    path: path.to_owned(),
                    motion_s: 0.0,
                    complete: true,
                    reason: repaired.meta.reason,
                });
                if let Some(onset) = repaired.meta.onset {
                    self.found_event(&camera, onset, repaired.end, repaired.meta.reason)?;
                }
                self.changed()?;
            }
            Ok(None) => {
                tracing::info!("the recording {path} held no packet and is deleted");
                self.report.empty += 1;
            }
            Err(RepairError::NotARecording { .. }) => {
                tracing::debug!("{path} is none of Tarsier's recordings and left alone");
                self.report.foreign += 1;
            }
            Err(RepairError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.report.failed(format!("the recording {path} cannot be read: {error}")),
        }
        Ok(())
    }

    /// The event that made a recording that no journal knew, unless a journal knew the event.
    fn found_event(
        &mut self,
        camera: &str,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        reason: Reason,
    ) -> Result<(), Ended> {
        let at_start = RecordingQuery {
            camera: Some(camera.to_owned()),
            from: Some(start),
            to: Some(start + TimeDelta::milliseconds(1)),
            ..RecordingQuery::default()
        };
        let is_event = matches!(reason, Reason::Motion | Reason::Manual);
        if is_event && start <= end && self.index.events(&at_start)?.items.is_empty() {
            let event = MotionEvent::new(self.index.next_id(), camera, start, reason);
            self.index.put_event(MotionEvent { end: Some(end), ..event });
        }
        Ok(())
    }

    /// New files that nobody has claimed and that have not grown since are no recording of this process.
    fn second_look(&mut self) -> Result<(), Ended> {
        if self.later.is_empty() {
            return Ok(());
        }
        let until = clock::monotonic() + SECOND_LOOK;
        while clock::monotonic() < until {
            self.check_stop()?;
            std::thread::park_timeout(Duration::from_millis(100));
        }
        self.flush()?;
        for (path, bytes) in std::mem::take(&mut self.later) {
            self.check_stop()?;
            let is_unchanged = fs::symlink_metadata(self.root.join(&path)).is_ok_and(|now| now.len() == bytes);
            if is_unchanged && !self.index.is_live_path(&path) && self.index.by_path(&path)?.is_none() {
                self.unknown(&path)?;
                (self.tell)(&self.report);
            }
        }
        Ok(())
    }

    fn drop_rows(&mut self) -> Result<(), Ended> {
        // A root that cannot be read proves nothing.
        if let Err(error) = fs::read_dir(self.root) {
            return Err(Ended::Failed(error.to_string()));
        }
        let mut after = i64::MIN;
        loop {
            let rows = self.index.walk(after, CHUNK)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id;
            for row in rows {
                self.check_stop()?;
                let is_gone = fs::symlink_metadata(self.root.join(&row.path))
                    .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
                if is_gone && !self.index.is_live(row.id) {
                    tracing::warn!(camera = %row.camera, "the recording {} is gone: its row is dropped", row.path);
                    self.report.dropped += 1;
                    self.index.remove(row.id);
                    self.changed()?;
                }
            }
        }
    }
}

fn has_extension(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::archive::file::{FileMeta, RecordingFile};
    use crate::archive::index::tests::recording;
    use crate::archive::testing::{Clip, H264, clip, decode};
    use crate::domain::camera::GapCause;
    use crate::domain::config::ContainerKind;

    const SECONDS: i64 = 3;

    /// An archive in a folder, and a clip of 3 s to make recordings of.
    pub(in crate::archive) struct Place {
        folder: tempfile::TempDir,
        clip: Clip,
    }

    /// As whole seconds: what the files say is compared exactly.
    pub(in crate::archive) fn minutes_ago(minutes: i64) -> DateTime<Utc> {
        let now = clock::utc_now().timestamp();
        DateTime::from_timestamp(now - minutes * 60, 0).unwrap()
    }

    pub(in crate::archive) fn row(id: i64, camera: &str, start: DateTime<Utc>) -> Recording {
        Recording { start, end: None, bytes: 0, complete: false, ..recording(id, camera, 0) }
    }

    pub(in crate::archive) fn closed(row: Recording) -> Recording {
        Recording { end: Some(row.start + TimeDelta::seconds(SECONDS)), complete: true, ..row }
    }

    impl Place {
        pub(in crate::archive) fn new() -> Self {
            Place { folder: tempfile::tempdir().unwrap(), clip: clip("mp4", "3", H264, &[]) }
        }

        pub(in crate::archive) fn root(&self) -> &Path {
            self.folder.path()
        }

        pub(in crate::archive) fn open(&self) -> Index {
            Index::open(self.root()).unwrap()
        }

        /// The index as after a crash: without the mark of an end in order.
        pub(in crate::archive) fn open_after_crash(&self) -> Index {
            let connection = rusqlite::Connection::open(self.root().join("index.db")).unwrap();
            connection.execute("DELETE FROM meta WHERE name = 'closed_us'", []).unwrap();
            drop(connection);
            let index = self.open();
            assert_eq!(index.closed_before(), None);
            index
        }

        /// Writes the recording's file; not closed, it is as `kill -9` leaves it.
        pub(in crate::archive) fn write(&self, row: &Recording, is_closed: bool) -> u64 {
            let path = self.root().join(&row.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let meta = FileMeta {
                camera: row.camera.clone(),
                start: row.start,
                reason: row.reason,
                onset: None,
                pre_alarm_s: row.pre_alarm_s,
            };
            let mut file = RecordingFile::create(&path, ContainerKind::Mp4, &self.clip.stream, false, &meta).unwrap();
            for packet in self.clip.video() {
                file.write(packet).unwrap();
            }
            if is_closed {
                file.finish().unwrap().bytes
            } else {
                file.flush().unwrap();
                let bytes = file.bytes();
                drop(file);
                bytes
            }
        }

        pub(in crate::archive) fn scan(&self, index: &Index) -> RecoveryReport {
            let report = scan_all(self.root(), index, &AtomicBool::new(false));
            assert_eq!(report.failures, [""; 0]);
            report
        }
    }

    fn rows(index: &Index) -> Vec<Recording> {
        assert!(index.flush());
        index.recordings(&RecordingQuery::default()).unwrap().items
    }

    fn gaps(index: &Index) -> Vec<Gap> {
        index.gaps(&RecordingQuery::default()).unwrap().items
    }

    #[test]
    fn what_was_open_is_whole_and_what_was_missed_is_written_down() {
        let place = Place::new();
        let start = minutes_ago(5);
        let open = row(1, "yard", start);
        let bytes = place.write(&open, false);
        // A torn last fragment.
        let path = place.root().join(&open.path);
        let torn = fs::read(&path).unwrap();
        fs::write(&path, [&torn[..], &[0, 0, 9, 9, b'm', b'o', b'o', b'f', 1, 2, 3]].concat()).unwrap();
        {
            let index = place.open();
            index.put(open.clone());
        }
        let index = place.open_after_crash();
        let report = repair_open(place.root(), &index);
        assert_eq!((report.repaired, report.cut_bytes, report.gaps, report.failures.len()), (1, 11, 1, 0));
        let end = start + TimeDelta::seconds(SECONDS);
        let bytes_now = fs::metadata(&path).unwrap().len();
        assert!(bytes_now > bytes);
        assert_eq!(
            rows(&index),
            [Recording { end: Some(end), bytes: bytes_now, complete: true, ..open }],
            "what only the row knows is kept"
        );
        let [gap] = &gaps(&index)[..] else { panic!("one gap") };
        assert_eq!((gap.camera.as_str(), gap.start, gap.cause), ("yard", end, GapCause::Down));
        assert_eq!(gap.end, None, "it goes on till the camera records again");
        assert_eq!(decode(&path).len(), SECONDS as usize * 25);
    }

    #[test]
    fn an_event_that_went_on_ends_with_what_was_recorded_of_it() {
        let place = Place::new();
        let start = minutes_ago(5);
        let open = row(1, "yard", start);
        place.write(&open, false);
        let event = |id, camera: &str, start| MotionEvent::new(id, camera, start, Reason::Motion);
        {
            let index = place.open();
            index.put(open);
            index.put_event(event(2, "yard", start + TimeDelta::seconds(1)));
            index.put_event(event(3, "door", start));
        }
        let index = place.open_after_crash();
        repair_open(place.root(), &index);
        assert!(index.flush());
        let events = index.events(&RecordingQuery::default()).unwrap().items;
        let ends: Vec<_> = events.into_iter().map(|(event, held)| (event.id, event.end.unwrap(), held)).collect();
        assert_eq!(ends, [(2, start + TimeDelta::seconds(SECONDS), vec![1]), (3, start, vec![])]);
    }

    #[test]
    fn what_came_in_a_burst_ends_no_later_than_it_was_written() {
        let place = Place::new();
        // Its first packet was taken for new, and the seconds that followed came with it at once.
        let open = row(1, "yard", clock::utc_now());
        place.write(&open, false);
        {
            let index = place.open();
            index.put(open.clone());
        }
        let index = place.open_after_crash();
        let report = repair_open(place.root(), &index);
        assert_eq!((report.repaired, report.gaps), (1, 1));
        let [repaired] = &rows(&index)[..] else { panic!("one recording") };
        let end = repaired.end.unwrap();
        assert!(end <= clock::utc_now() && end - repaired.start == TimeDelta::seconds(SECONDS), "{repaired:?}");
        assert_eq!(gaps(&index)[0].start, end);
        // A later look, at the closed file, knows no better.
        scan_all(place.root(), &index, &AtomicBool::new(false));
        assert_eq!(rows(&index), std::slice::from_ref(repaired));
    }

    #[test]
    fn a_file_without_a_packet_goes_with_its_row_and_the_gap_begins_at_its_start() {
        let place = Place::new();
        let open = row(1, "yard", minutes_ago(5));
        fs::create_dir(place.root().join("yard")).unwrap();
        fs::write(place.root().join(&open.path), b"").unwrap();
        let gone = row(2, "door", minutes_ago(4));
        let index = place.open();
        index.put(open.clone());
        index.put(gone.clone());
        drop(index);
        let index = place.open_after_crash();
        let report = repair_open(place.root(), &index);
        assert_eq!((report.empty, report.dropped), (1, 1));
        assert_eq!(rows(&index), []);
        assert!(!place.root().join(&open.path).exists());
        let starts: Vec<_> = gaps(&index).into_iter().map(|gap| gap.start).collect();
        assert_eq!(starts, [gone.start, open.start]);
    }

    #[test]
    fn what_cannot_be_made_whole_is_closed_as_it_is_and_told() {
        let place = Place::new();
        let open = row(1, "yard", minutes_ago(5));
        fs::create_dir(place.root().join("yard")).unwrap();
        fs::write(place.root().join(&open.path), [7; 5000]).unwrap();
        {
            place.open().put(open.clone());
        }
        let index = place.open_after_crash();
        let report = repair_open(place.root(), &index);
        assert!(report.failures[0].contains("yard/1.mp4"), "{report}");
        let [row] = &rows(&index)[..] else { panic!("one row") };
        assert_eq!((row.complete, row.bytes), (false, 5000));
        assert!(row.end.unwrap() > open.start);
        assert_eq!(fs::read(place.root().join(&open.path)).unwrap(), [7; 5000]);
    }

    #[test]
    fn a_row_that_points_out_of_the_archive_touches_nothing() {
        let place = Place::new();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim.mp4");
        fs::write(&victim, b"").unwrap();
        let evil = Recording { path: victim.to_str().unwrap().into(), ..row(1, "yard", minutes_ago(5)) };
        {
            place.open().put(evil);
        }
        let index = place.open_after_crash();
        assert_eq!(repair_open(place.root(), &index).failures.len(), 1);
        assert!(victim.exists(), "an empty file would have been deleted");
    }

    #[test]
    fn what_was_missing_at_the_end_goes_on_however_often_nobody_records() {
        let place = Place::new();
        let end = minutes_ago(5);
        place.open().set_open_gap("yard", Some((end, GapCause::Down)));
        for _ in 0..2 {
            let index = place.open();
            repair_open(place.root(), &index);
            assert!(index.flush());
            let expected = Gap { camera: "yard".into(), start: end, end: None, cause: GapCause::Down };
            assert_eq!((index.live_gaps(), gaps(&index)), (vec![expected.clone()], vec![expected]));
        }
    }

    #[test]
    fn a_camera_that_was_back_when_the_process_was_killed_has_two_gaps() {
        let place = Place::new();
        let (open, since) = (row(1, "yard", minutes_ago(5)), minutes_ago(6));
        place.write(&open, false);
        {
            let index = place.open();
            index.set_open_gap("yard", Some((since, GapCause::Disconnected)));
            index.put(open.clone());
        }
        let index = place.open_after_crash();
        assert_eq!(repair_open(place.root(), &index).gaps, 2);
        assert!(index.flush());
        let end = closed(open.clone()).end.unwrap();
        let told: Vec<_> = gaps(&index).into_iter().map(|gap| (gap.start, gap.end, gap.cause)).collect();
        assert_eq!(told, [(end, None, GapCause::Down), (since, Some(open.start), GapCause::Disconnected)]);
    }

    #[test]
    fn an_index_that_was_lost_is_rebuilt_from_the_files() {
        let place = Place::new();
        let mut expected = Vec::new();
        for (id, camera, minutes) in [(1, "yard", 50), (2, "door", 40), (3, "yard", 30), (4, "door", 20)] {
            let row = closed(row(id, camera, minutes_ago(minutes)));
            let bytes = place.write(&row, true);
            expected.insert(0, Recording { bytes, motion_s: 0.0, ..row });
        }
        // The newest was open when the power went.
        let torn = row(5, "yard", minutes_ago(10));
        place.write(&torn, false);
        let bytes = |row: &Recording| fs::metadata(place.root().join(&row.path)).unwrap().len();
        let index = place.open();
        let report = place.scan(&index);
        assert_eq!((report.found, report.repaired, report.dropped), (5, 1, 0));
        expected.insert(0, Recording { bytes: bytes(&torn), motion_s: 0.0, ..closed(torn) });
        let found: Vec<Recording> = rows(&index);
        let as_found: Vec<Recording> =
            expected.iter().zip(&found).map(|(row, found)| Recording { id: found.id, ..row.clone() }).collect();
        assert_eq!(found, as_found);
        // Once more: there is nothing to do.
        let again = place.scan(&index);
        assert_eq!((again.files, again.found, again.repaired), (5, 0, 0));
        assert_eq!(rows(&index), found);
    }

    #[test]
    fn a_broken_index_is_rebuilt_and_says_so_until_it_is() {
        let place = Place::new();
        place.write(&closed(row(1, "yard", minutes_ago(5))), true);
        fs::write(place.root().join("index.db"), [1; 9999]).unwrap();
        let index = place.open();
        assert!(index.trouble().is_some());
        let stopped = scan_all(place.root(), &index, &AtomicBool::new(true));
        assert!(stopped.stopped && index.trouble().is_some());
        assert_eq!(place.scan(&index).found, 1);
        assert_eq!((index.trouble(), rows(&index).len()), (None, 1));
    }

    #[test]
    fn rows_without_a_file_go_and_foreign_files_stay() {
        let place = Place::new();
        let kept = closed(row(1, "yard", minutes_ago(5)));
        let bytes = place.write(&kept, true);
        // Another program's clip, and things that only look like recordings.
        let foreign = place.root().join("yard/holiday.mp4");
        fs::copy(&place.clip.path, &foreign).unwrap();
        fs::write(place.root().join("yard/notes.mp4"), b"not a film").unwrap();
        fs::write(place.root().join("yard/.hidden.mp4"), b"").unwrap();
        fs::write(place.root().join("yard/list.txt"), b"").unwrap();
        fs::create_dir(place.root().join("yard/folder.mp4")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("empty.mp4"), b"").unwrap();
        std::os::unix::fs::symlink(outside.path(), place.root().join("yard/link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("empty.mp4"), place.root().join("yard/link.mp4")).unwrap();
        let index = place.open();
        index.put(Recording { bytes, ..kept.clone() });
        index.put(closed(row(2, "yard", minutes_ago(4))));
        index.put(row(3, "yard", clock::utc_now()));
        drop(index);
        let index = place.open();
        index.put(row(3, "yard", clock::utc_now()));
        let before = fs::read(&foreign).unwrap();
        let report = place.scan(&index);
        assert_eq!((report.dropped, report.foreign, report.found), (1, 2, 0));
        let ids: Vec<i64> = rows(&index).iter().map(|row| row.id).collect();
        assert_eq!(ids, [3, 1], "the 3rd is being begun now");
        assert_eq!(fs::read(&foreign).unwrap(), before);
        assert!(outside.path().join("empty.mp4").exists() && place.root().join("yard/.hidden.mp4").exists());
    }

    #[test]
    fn a_recording_that_is_being_written_is_left_alone() {
        let place = Place::new();
        let index = place.open();
        // One whose row is there, and one whose file exists before its row does.
        let open = row(1, "yard", clock::utc_now());
        place.write(&open, false);
        index.put(open.clone());
        let begun = row(2, "yard", clock::utc_now());
        place.write(&begun, false);
        let before = |row: &Recording| fs::read(place.root().join(&row.path)).unwrap();
        let (first, second) = (before(&open), before(&begun));
        let report = std::thread::scope(|scope| {
            let scan = scope.spawn(|| place.scan(&index));
            index.put(begun.clone());
            scan.join().unwrap()
        });
        assert_eq!((report.found, report.repaired), (0, 0));
        assert!(before(&open) == first && before(&begun) == second);
    }

    #[test]
    fn a_file_of_this_process_without_a_row_is_adopted_at_the_second_look() {
        let place = Place::new();
        let index = place.open();
        place.write(&row(1, "yard", clock::utc_now()), false);
        let report = place.scan(&index);
        assert_eq!((report.found, report.repaired), (1, 1));
    }

    #[test]
    fn a_closed_file_whose_end_a_power_cut_took_is_made_whole() {
        let place = Place::new();
        let row = closed(row(1, "yard", minutes_ago(5)));
        let bytes = place.write(&row, true);
        {
            place.open().put(Recording { bytes, ..row.clone() });
        }
        let path = place.root().join(&row.path);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes - 20).unwrap();
        let index = place.open_after_crash();
        repair_open(place.root(), &index);
        place.scan(&index);
        assert!(!decode(&path).is_empty());
        let [after] = &rows(&index)[..] else { panic!("one row") };
        assert!(after.complete);
        assert_eq!(after.bytes, fs::metadata(&path).unwrap().len());
    }

    #[test]
    fn what_a_power_cut_took_of_a_closed_file_is_a_gap() {
        let place = Place::new();
        let row = closed(row(1, "yard", minutes_ago(5)));
        let bytes = place.write(&row, true);
        {
            place.open().put(Recording { bytes, ..row.clone() });
        }
        let file = fs::OpenOptions::new().write(true).open(place.root().join(&row.path)).unwrap();
        file.set_len(bytes / 2).unwrap();
        let index = place.open_after_crash();
        repair_open(place.root(), &index);
        place.scan(&index);
        let [after] = &rows(&index)[..] else { panic!("one row") };
        assert!(after.end < row.end, "{after:?}");
        let told = gaps(&index).into_iter().find(|gap| gap.start == after.end.unwrap()).expect("a gap from its end on");
        assert_eq!((told.end, told.cause), (row.end, GapCause::Down));
    }

    #[test]
    fn what_a_crash_took_between_two_files_that_nobody_knew_is_a_gap() {
        let place = Place::new();
        let start = minutes_ago(5);
        let continuous = |id, camera: &str, second| Recording {
            reason: Reason::Continuous,
            ..row(id, camera, start + TimeDelta::seconds(second))
        };
        place.write(&continuous(1, "yard", 0), false);
        place.write(&continuous(2, "yard", 20), false);
        // Told already, but for a moment.
        let (first, second) = (continuous(3, "door", 0), continuous(4, "door", 20));
        for row in [&first, &second] {
            place.write(row, true);
        }
        place.open().add_gap(Gap {
            camera: "door".into(),
            start: first.start + TimeDelta::milliseconds(3500),
            end: Some(second.start),
            cause: GapCause::Reload,
        });
        let index = place.open_after_crash();
        repair_open(place.root(), &index);
        place.scan(&index);
        let down: Vec<_> = gaps(&index).into_iter().filter(|gap| gap.cause == GapCause::Down).collect();
        let [gap] = &down[..] else { panic!("{down:?}") };
        assert_eq!(
            (gap.camera.as_str(), gap.start, gap.end),
            ("yard", start + TimeDelta::seconds(SECONDS), Some(start + TimeDelta::seconds(20)))
        );
    }

    #[test]
    fn the_scan_stops_when_it_is_told_to() {
        let place = Place::new();
        let index = place.open();
        let stop = Arc::new(AtomicBool::new(true));
        // The second look alone would last seconds.
        place.write(&row(1, "yard", clock::utc_now()), false);
        let report = scan_all(place.root(), &index, &stop);
        assert!(report.stopped && report.to_string().contains("stopped"));
        assert_eq!(rows(&index), []);
    }
}
