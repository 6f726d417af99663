//! What the kinds of recording files have in common: each makes bytes to append, and at the end bytes to
//! append and to overwrite.

use std::io;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::mp4::SampleTable;
use crate::domain::camera::Reason;
use crate::domain::stream::{StreamInfo, Track};
use crate::media::Packet;

/// What a recording is, kept in its file, so that the index can be rebuilt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileMeta {
    pub camera: String,
    /// UTC of the first video packet.
    pub start: DateTime<Utc>,
    pub reason: Reason,
    /// UTC of the frame that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<DateTime<Utc>>,
    /// Trigger - start, as delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_alarm_s: Option<f64>,
}

/// What a file holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Time of the first video packet, in the session's clock.
    pub first_pts_us: i64,
    /// Time at which the last video packet's picture ends.
    pub end_pts_us: i64,
    /// Packets of all tracks.
    pub packets: u64,
}

/// What a file holds, sample by sample.
pub(super) struct Contents {
    pub(super) stream: StreamInfo,
    pub(super) video: SampleTable,
    pub(super) audio: SampleTable,
    /// The tracks' times, in their own ticks, at which the file's first picture is shown.
    pub(super) video_zero: i64,
    pub(super) audio_zero: i64,
}

/// How a file is closed: bytes to append, and then, each in one write, bytes to overwrite. In every state in
/// between the file can be read, and `repair` finishes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trailer {
    pub append: Vec<u8>,
    pub patches: Vec<(u64, Vec<u8>)>,
}

/// Makes the bytes of one recording.
pub(super) trait Container: Send {
    /// Takes a packet; gives the bytes to append when a fragment is full.
    fn push(&mut self, packet: &Packet) -> io::Result<Option<Vec<u8>>>;
    /// Gives the bytes of what is buffered, if anything is.
    fn flush(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// The bytes that were given last are in the file, from `at` on. Until this is called they do not count.
    fn written(&mut self, at: u64);
    /// What the file holds of what is written.
    fn extent(&self) -> Extent;
    /// How to close the file, which ends at `end`.
    fn trailer(&self, end: u64) -> io::Result<Trailer>;
}

/// A fragment is cut when it is this long.
const FRAGMENT_US: i64 = 500_000;
/// A fragment is cut before a keyframe, so that viewers can join there, unless it is shorter than this.
const SHORTEST_US: i64 = 200_000;
/// A fragment is cut when it is this large, whatever its length.
const FRAGMENT_BYTES: usize = 16 << 20;

/// Says where fragments end.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    first_video_us: Option<i64>,
    first_audio_us: Option<i64>,
    last_video_us: Option<i64>,
    bytes: usize,
    slow: bool,
}

impl Cutter {
    /// Must the fragment be cut before this packet?
    pub(super) fn cut_before(&self, packet: &Packet) -> bool {
        let since = |first: Option<i64>| first.map_or(0, |first_us| packet.dts_us().saturating_sub(first_us));
        if self.bytes > 0 && self.bytes + packet.data().len() > FRAGMENT_BYTES {
            return true;
        }
        match packet.track {
            Track::Video => {
                let length_us = since(self.first_video_us);
                length_us >= FRAGMENT_US || (packet.keyframe && length_us >= SHORTEST_US)
            }
            // The video cuts; only where it has stalled the audio does.
            Track::Audio => since(self.first_audio_us) >= 2 * FRAGMENT_US,
        }
    }

    /// The packet is part of the fragment now.
    pub(super) fn add(&mut self, packet: &Packet) {
        let dts_us = packet.dts_us();
        self.bytes += packet.data().len();
        if packet.track == Track::Audio {
            self.first_audio_us.get_or_insert(dts_us);
            return;
        }
        self.first_video_us.get_or_insert(dts_us);
        self.slow = self.last_video_us.is_some_and(|last| dts_us.saturating_sub(last) >= FRAGMENT_US);
        self.last_video_us = Some(dts_us);
    }

    /// Must the fragment be cut here, without waiting for the next packet? A slow camera's packet is not held
    /// back until the next one comes.
    pub(super) fn cut_after(&self) -> bool {
        self.slow && self.first_video_us.is_some()
    }

    /// The fragment was cut.
    pub(super) fn reset(&mut self) {
        *self = Cutter { last_video_us: self.last_video_us, slow: self.slow, ..Cutter::default() };
    }
}

/// What the next start does with a file.
#[derive(Clone, Debug, PartialEq)]
pub enum RepairPlan {
    /// It is closed as it should be.
    Complete(Found),
    /// It was open: cut it to `keep` bytes, then close it.
    Finish { found: Found, keep: u64, trailer: Trailer },
    /// It holds no packet.
    Delete,
}

/// What a file turned out to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub meta: FileMeta,
    pub duration_us: i64,
    pub packets: u64,
    /// Torn or damaged bytes at the end that hold nothing usable.
    pub torn_bytes: u64,
}

/// Why a file can't be repaired. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a recording of tarsier: {0}")]
    NotARecording(String),
}

/// Bytes that can be read at any place: a file, or a test's memory.
pub trait ReadAt {
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer`; an end before that is an error.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for std::fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, at)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Reads `length` bytes at `at`; None past the end.
pub(super) fn read(source: &dyn ReadAt, at: u64, length: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
    match (at.checked_add(length).filter(|end| *end <= size), usize::try_from(length)) {
        (Some(_), Ok(length)) => {
            let mut buffer = vec![0; length];
            source.read_at(at, &mut buffer)?;
            Ok(Some(buffer))
        }
        _ => Ok(None),
    }
}

/// Is there nothing but zeros? So a file looks whose data a power cut took.
pub(super) fn all_zero(source: &dyn ReadAt, size: u64) -> io::Result<bool> {
    const CHUNK: u64 = 1 << 16;
    let mut at = 0;
    while at < size {
        let length = CHUNK.min(size - at);
        if read(source, at, length, size)?.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            return Ok(false);
        }
        at += length;
    }
    Ok(true)
}
