//! What a start does with what a crash left: [`repair_open`] before anything records, [`scan_all`] behind it.
//!
//! The files are the truth: what they say of themselves overrules the index.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::file::{self, RepairError, Repaired};
use super::index::{Index, IndexError};
use super::paths;
use crate::clock;
use crate::domain::camera::{GapCause, Reason};
use crate::domain::recording::{Gap, Recording};

/// A continuous recording that ended so shortly before the process did ended because of it.
const ENDED_WITH_IT: TimeDelta = TimeDelta::seconds(10);
/// A file that is unknown and new may belong to a recording that is just being begun: it is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// After a crash these closed recordings' files are checked, too: a power cut may have taken their ends.
const RECENT: TimeDelta = TimeDelta::minutes(2);
/// Rows that are read at once, and changes after which the scan waits for the index.
const CHUNK: u32 = 500;
/// Extensions of recordings.
const EXTENSIONS: [&str; 2] = ["mp4", "mkv"];

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
    /// Files the index did not know.
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
    fn failed(&mut self, what: String) {
        tracing::error!("{what}");
        self.failures.push(what);
    }
}

/// Finishes the files of all recordings that were open when the process ended, and writes down as a gap what the
/// cameras missed since: those whose recording was open, and those that recorded continuously up to the end. To
/// be called before anything records.
pub fn repair_open(archive_root: &Path, index: &Index) -> RecoveryReport {
    let mut report = RecoveryReport::default();
    if let Err(error) = try_repair_open(archive_root, index, clock::utc_now(), &mut report) {
        report.failed(format!("recordings that were open at the last end wait for the scan: {error}"));
    }
    index.flush();
    report
}

fn try_repair_open(
    root: &Path,
    index: &Index,
    now: DateTime<Utc>,
    report: &mut RecoveryReport,
) -> Result<(), IndexError> {
    // Where each camera's recording broke off.
    let mut ends: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    for row in index.latest()? {
        let is_continuous = matches!(row.reason, Reason::Continuous | Reason::DetectorDown);
        if let (Some(end), Some(closed), true) = (row.end, index.closed_before(), is_continuous)
            && end + ENDED_WITH_IT >= closed
        {
            ends.insert(row.camera, end);
        }
    }
    for row in index.open_recordings()? {
        let camera = row.camera.clone();
        let end = repair_row(root, index, row, report);
        let known = ends.entry(camera).or_insert(end);
        *known = end.max(*known);
    }
    for (camera, start) in ends.into_iter().filter(|(_, start)| *start < now) {
        report.gaps += 1;
        index.add_gap(Gap { camera, start, end: now, cause: GapCause::Down });
    }
    Ok(())
}

/// Makes the file of a row whole and brings the row up to what the file says. Returns where it ends.
fn repair_row(root: &Path, index: &Index, row: Recording, report: &mut RecoveryReport) -> DateTime<Utc> {
    report.files += 1;
    let path = match paths::inside(root, &row.path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(camera = %row.camera, "the recording {} is gone: its row is dropped", row.path);
            index.remove(row.id);
            report.dropped += 1;
            return row.start;
        }
        Err(error) => return give_up(root, index, row, &error.to_string(), report),
    };
    match file::repair(&path) {
        Ok(Some(repaired)) => {
            let end = repaired.end;
            count(&row.path, &repaired, report);
            index.put(Recording {
                end: Some(end),
                bytes: repaired.bytes,
                pre_alarm_s: row.pre_alarm_s.or(repaired.meta.pre_alarm_s),
                complete: true,
                ..row
            });
            end
        }
        Ok(None) => {
            tracing::info!(camera = %row.camera, "the recording {} held no packet and is deleted", row.path);
            index.remove(row.id);
            report.empty += 1;
            row.start
        }
        Err(error) => give_up(root, index, row, &error.to_string(), report),
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
fn give_up(root: &Path, index: &Index, row: Recording, why: &str, report: &mut RecoveryReport) -> DateTime<Utc> {
    report.failed(format!("the recording {} of {} cannot be made whole: {why}", row.path, row.camera));
    let metadata = fs::symlink_metadata(root.join(&row.path)).ok();
    let written = metadata.as_ref().and_then(|metadata| metadata.modified().ok()).map(DateTime::<Utc>::from);
    let end = row.end.or(written).unwrap_or(row.start).max(row.start);
    let bytes = metadata.map_or(row.bytes, |metadata| metadata.len());
    if row.end.is_none() || row.complete || row.bytes != bytes {
        index.put(Recording { end: Some(end), bytes, complete: false, ..row });
    }
    end
}

/// Walks the whole archive: files the index does not know get rows, those that were not closed are made whole,
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
        Err(Ended::Failed(what)) => report.failed(format!("the scan of the archive broke off: {what}")),
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

impl Scan<'_> {
    fn run(&mut self) -> Result<(), Ended> {
        self.flush()?;
        if self.index.closed_before().is_none() {
            self.recent = self.index.latest()?.iter().filter_map(|row| row.end).max().map(|end| end - RECENT);
        }
        self.walk()?;
        self.second_look()?;
        self.drop_rows()?;
        self.flush()
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
        repair_row(self.root, self.index, row, &mut self.report);
        self.changed()
    }

    fn unknown(&mut self, path: &str) -> Result<(), Ended> {
        self.report.files += 1;
        match file::repair(&self.root.join(path)) {
            Ok(Some(repaired)) => {
                count(path, &repaired, &mut self.report);
                self.report.found += 1;
                tracing::info!(camera = %repaired.meta.camera, "the recording {path} was not in the index");
                self.index.put_found(Recording {
                    id: self.index.next_id(),
                    camera: repaired.meta.camera,
                    start: repaired.meta.start,
                    end: Some(repaired.end),
                    pre_alarm_s: repaired.meta.pre_alarm_s,
                    bytes: repaired.bytes,
                    path: path.to_owned(),
                    motion_s: 0.0,
                    complete: true,
                    reason: repaired.meta.reason,
                });
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
