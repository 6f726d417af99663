//! A recording's file: created, appended to, closed in place, and made whole again after a crash.
//!
//! Belongs here: opening, writing, cutting and deleting. Does not belong here: what the bytes are
//! ([`super::mp4`], [`super::mkv`], [`super::avi`]), which packets are recorded, and when the disk is told to sync.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::container::{Container, Found, PlanError, RepairPlan, Trailer};
pub use super::container::{Extent, FileMeta};
use super::{avi, mkv, mp4};
use crate::domain::config::ContainerKind;
use crate::domain::stream::StreamInfo;
use crate::media::Packet;

/// A closed recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    pub bytes: u64,
    /// Time of the first video packet, in the session's clock.
    pub first_pts_us: i64,
    /// Time at which the last video packet's picture ends.
    pub end_pts_us: i64,
    /// Packets of all tracks. 0: the file was deleted.
    pub packets: u64,
    /// It is an ordinary seekable file. False only after [`RecordingFile::abandon`]: it is a valid one without
    /// an index, and [`repair`] closes it later.
    pub complete: bool,
}

/// An open recording. Dropped without [`RecordingFile::finish`] it stays as a valid file without an index;
/// one without a packet is deleted.
pub struct RecordingFile {
    file: File,
    path: PathBuf,
    container: Box<dyn Container>,
    /// Length of the file: only whole fragments.
    bytes: u64,
    /// A write failed and the file could not be cut back.
    torn: bool,
    /// A fragment that the disk did not take.
    unwritten: Option<Vec<u8>>,
}

impl RecordingFile {
    /// Creates the file, and the folders above it where they are missing; a taken name is an error of kind
    /// `AlreadyExists`, a stream that the container can't describe one of kind `InvalidData`. Nothing is written
    /// before the first fragment is full.
    pub fn create(
        path: &Path,
        kind: ContainerKind,
        stream: &Arc<StreamInfo>,
        with_audio: bool,
        meta: &FileMeta,
    ) -> io::Result<Self> {
        let container: Box<dyn Container> = match kind {
            ContainerKind::Mp4 => Box::new(mp4::Mp4::new(stream, with_audio, meta)?),
            ContainerKind::Mkv => Box::new(mkv::Mkv::new(stream, with_audio, meta)?),
            ContainerKind::Avi => Box::new(avi::Avi::new(stream, meta)?),
        };
        let file = create_file(path)?;
        Ok(RecordingFile { file, path: path.to_owned(), container, bytes: 0, torn: false, unwritten: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the next packet of the stream, in arrival order, from a keyframe on. It reaches the file with its
    /// fragment, at most half a second of pictures later. After an error the file holds all fragments before
    /// it: give it to [`RecordingFile::abandon`], or, where the disk may take it later, call
    /// [`RecordingFile::retry`] till it does; the packet is not to be given again.
    pub fn write(&mut self, packet: &Packet) -> io::Result<()> {
        debug_assert!(self.unwritten.is_none(), "what failed is tried first");
        self.unwritten = self.container.push(packet)?;
        self.retry()
    }

    /// Writes what is buffered as a fragment of its own.
    pub fn flush(&mut self) -> io::Result<()> {
        self.retry()?;
        self.unwritten = self.container.flush()?;
        self.retry()
    }

    /// Writes the fragment that the disk did not take before.
    pub fn retry(&mut self) -> io::Result<()> {
        let Some(bytes) = self.unwritten.take() else { return Ok(()) };
        if let Err(error) = self.append(&bytes) {
            self.unwritten = Some(bytes);
            return Err(error);
        }
        self.container.written(self.bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Appends all or nothing. `self.bytes` is the caller's to move.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.cut_back()?;
        }
        // One write(2), unless the disk takes less than all.
        self.file.write_all_at(bytes, self.bytes).inspect_err(|_| {
            self.torn = true;
            let _ = self.cut_back();
        })
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.torn = false;
        Ok(())
    }

    /// Leaves the file as a failed write on a full disk does that could not be cut back at once.
    #[cfg(test)]
    pub(super) fn tear_for_test(&mut self, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.bytes).expect("a disk with room");
        self.torn = true;
    }

    /// Length of the file. What is buffered does not count.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the file holds. What is buffered does not count.
    pub fn extent(&self) -> Extent {
        self.container.extent()
    }

    /// Writes what is buffered and closes the file: an ordinary seekable one, in place. After an error it is a
    /// valid file without an index, which [`repair`] closes later. Without a packet it is deleted.
    pub fn finish(mut self) -> io::Result<Finished> {
        self.flush()?;
        self.close()
    }

    /// After a failed write: gives up what is buffered and closes the file as well as the disk allows. None:
    /// it held no packet and was deleted.
    pub fn abandon(mut self) -> Option<Finished> {
        if self.torn {
            let _ = self.cut_back();
        }
        let extent = self.container.extent();
        let finished = self.close().unwrap_or_else(|_| {
            let bytes = self.file.metadata().map_or(self.bytes, |metadata| metadata.len());
            finished(bytes, extent, false)
        });
        (finished.packets > 0).then_some(finished)
    }

    fn close(&mut self) -> io::Result<Finished> {
        let extent = self.container.extent();
        if self.bytes == 0 {
            // Deleted when dropped.
            return Ok(finished(0, extent, true));
        }
        let trailer = self.container.trailer(self.bytes)?;
        self.append(&trailer.append)?;
        for (at, bytes) in &trailer.patches {
            self.file.write_all_at(bytes, *at)?;
        }
        self.bytes += trailer.append.len() as u64;
        Ok(finished(self.bytes, extent, true))
    }
}

impl Drop for RecordingFile {
    fn drop(&mut self) {
        if self.bytes == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn finished(bytes: u64, extent: Extent, complete: bool) -> Finished {
    let Extent { first_pts_us, end_pts_us, packets } = extent;
    Finished { bytes, first_pts_us, end_pts_us, packets, complete }
}

/// Creates the file and the folders above it; retention may take a folder away in between.
fn create_file(path: &Path) -> io::Result<File> {
    let mut attempts = 0;
    loop {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 3 => {
                attempts += 1;
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
            }
            result => return result,
        }
    }
}

/// A file that is whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Repaired {
    pub meta: FileMeta,
    /// UTC of the end of the last picture.
    pub end: DateTime<Utc>,
    pub bytes: u64,
    pub packets: u64,
    /// Bytes of a torn or damaged tail that were cut off.
    pub cut_bytes: u64,
    /// Nothing had to be done.
    pub already_complete: bool,
}

impl Repaired {
    /// Nothing in a file is later than the last write to it. Its own start may be: that was noted with the first
    /// packet, and a camera that sends its last seconds at once is understood only by the packets that follow.
    fn not_after(mut self, written: DateTime<Utc>) -> Self {
        let late = (self.end - written).max(TimeDelta::zero());
        self.end -= late;
        self.meta.start -= late;
        self
    }
}

/// Why a file could not be made whole. It is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {what}", path.display())]
    NotARecording { path: PathBuf, what: String },
}

/// What the next start does with a file that was open: cuts the torn tail and closes it. Ok(None): it held no
/// packet and was deleted. A closed file is left alone, so this may be called for any recording, but for none
/// that is being written.
pub fn repair(path: &Path) -> Result<Option<Repaired>, RepairError> {
    let plan = look(path)?;
    let in_io = |source| RepairError::Io { path: path.to_owned(), source };
    match plan {
        RepairPlan::Complete(found) => {
            let bytes = std::fs::metadata(path).map_err(in_io)?.len();
            Ok(Some(repaired(found, bytes, true)))
        }
        RepairPlan::Finish { found, keep, trailer } => {
            let written = std::fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(in_io)?;
            finish_file(path, keep, &trailer).map_err(in_io)?;
            let repaired = repaired(found, keep + trailer.append.len() as u64, false);
            Ok(Some(repaired.not_after(written.into())))
        }
        RepairPlan::Delete => {
            std::fs::remove_file(path).map_err(in_io)?;
            Ok(None)
        }
    }
}

/// What a file holds, without touching it. `already_complete` is false where [`repair`] would have to do
/// something. Ok(None): it holds no packet.
pub fn inspect(path: &Path) -> Result<Option<Repaired>, RepairError> {
    let plan = look(path)?;
    let bytes = std::fs::metadata(path).map_err(|source| RepairError::Io { path: path.to_owned(), source })?.len();
    Ok(match plan {
        RepairPlan::Complete(found) => Some(repaired(found, bytes, true)),
        RepairPlan::Finish { found, .. } => Some(repaired(found, bytes, false)),
        RepairPlan::Delete => None,
    })
}

fn look(path: &Path) -> Result<RepairPlan, RepairError> {
    let planned = File::open(path).map_err(PlanError::from).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(PlanError::NotARecording("not a file".to_owned()));
        }
        let mut first = [0];
        match file.read_at(&mut first, 0)? {
            1 if first == [mkv::FIRST_BYTE] => mkv::plan_repair(&file),
            1 if first == [avi::FIRST_BYTE] => avi::plan_repair(&file),
            _ => mp4::plan_repair(&file),
        }
    });
    planned.map_err(|error| match error {
        PlanError::Io(source) => RepairError::Io { path: path.to_owned(), source },
        PlanError::NotARecording(_) => RepairError::NotARecording { path: path.to_owned(), what: error.to_string() },
    })
}

fn finish_file(path: &Path, keep: u64, trailer: &Trailer) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(keep)?;
    if let Err(error) = file.write_all_at(&trailer.append, keep) {
        let _ = file.set_len(keep);
        return Err(error);
    }
    for (at, bytes) in &trailer.patches {
        file.write_all_at(bytes, *at)?;
    }
    Ok(())
}

fn repaired(found: Found, bytes: u64, already_complete: bool) -> Repaired {
    let end = TimeDelta::microseconds(found.duration_us);
    Repaired {
        end: found.meta.start.checked_add_signed(end).unwrap_or(found.meta.start),
        bytes,
        packets: found.packets,
        cut_bytes: found.torn_bytes,
        already_complete,
        meta: found.meta,
    }
}
