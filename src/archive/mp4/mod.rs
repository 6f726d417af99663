//! Recordings as MP4: fragments while the file is open, an ordinary seekable file once it is closed.
//!
//! An open file is `ftyp`, `uuid` (what the recording is, see [`FileMeta`]), `free` (16 bytes), a `moov`
//! without samples, then a `moof` and an `mdat` for each half second. Closing appends an ordinary `moov` with
//! all samples (and a small `free` that seals it), and then turns the `free` into the header of one 64-bit `mdat` that swallows everything up to
//! it: one write of 16 bytes, before which the file is a good fragmented one and after which it is a good
//! ordinary one. The media is never copied.
//!
//! Belongs here: boxes, fragments, sample tables, and what a file's bytes say of its state. Does not belong
//! here: opening, writing and deleting files ([`super::file`]).

mod boxes;
mod fragment;
pub mod live;
mod read;
mod scan;
mod table;

pub(super) use fragment::assemble;
pub use fragment::{Fragment, Fragmenter, TrackRun};
pub(super) use read::{contents, describe};
pub use scan::plan_repair;
pub use table::{Sample, SampleTable};

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use mp4_atom::{Encode, Moov};

use super::container::{Container, Extent, FileMeta, Trailer};
use crate::domain::stream::{StreamInfo, ticks_to_us};
use crate::media::Packet;

pub(super) const VIDEO_TRACK: u32 = 1;
pub(super) const AUDIO_TRACK: u32 = 2;

/// Size of the `free` box that becomes the header of the closed file's `mdat`.
const FREE_BYTES: usize = 16;

/// Marks the `uuid` box that holds a recording's [`FileMeta`] as JSON.
const META_UUID: [u8; 16] =
    [0x6f, 0x0a, 0x1c, 0x58, 0x3e, 0x5b, 0x4d, 0x0e, 0x9a, 0x77, 0x51, 0xc2, 0x8d, 0x24, 0xb3, 0x90];

fn bad(error: mp4_atom::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encode(boxed: &impl Encode, out: &mut Vec<u8>) -> io::Result<()> {
    boxed.encode(out).map_err(bad)
}

/// What a player needs before the fragments of an export: see [`boxes::stream_head`].
pub(super) fn stream_head(
    stream: &StreamInfo,
    start: DateTime<Utc>,
    video_lead: u64,
    audio_lead: u64,
    duration: u64,
) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    encode(&boxes::ftyp(), &mut out)?;
    encode(&boxes::stream_head(stream, start, video_lead, audio_lead, duration)?, &mut out)?;
    Ok(out)
}

/// A recording's samples by track, and where they are in the file.
#[derive(Clone, Debug, Default)]
struct Tables {
    video: SampleTable,
    audio: SampleTable,
}

impl Tables {
    fn get(&self, track: u32) -> Option<&SampleTable> {
        match track {
            VIDEO_TRACK => Some(&self.video),
            AUDIO_TRACK => Some(&self.audio),
            _ => None,
        }
    }

    /// Takes in the samples of a fragment that begins at `at` of the file.
    fn add(&mut self, fragment: &Fragment, at: u64) {
        for (table, run) in [(&mut self.video, &fragment.video), (&mut self.audio, &fragment.audio)] {
            if let Some(run) = run {
                table.add(at + run.data_at as u64, &run.samples);
            }
        }
    }
}

/// Size of the `free` box after a closed file's `moov`.
const SEAL_BYTES: usize = 16;

/// The last box of a closed file: a hash (FNV-1a) of its `moov`. Players skip it; it tells a `moov` that is all
/// there from one whose blocks a power cut lost.
fn seal(moov: &[u8]) -> [u8; SEAL_BYTES] {
    let hash = moov
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut sealed = *b"\0\0\0\x10free\0\0\0\0\0\0\0\0";
    sealed[8..].copy_from_slice(&hash.to_be_bytes());
    sealed
}

/// What closing a file does to it: see the module's head.
fn trailer(open_moov: &Moov, tables: &Tables, free_at: u64, end: u64) -> io::Result<Trailer> {
    let mut append = Vec::new();
    encode(&boxes::complete(open_moov, tables), &mut append)?;
    let sealed = seal(&append);
    append.extend_from_slice(&sealed);
    let mut header = Vec::with_capacity(FREE_BYTES);
    header.extend_from_slice(&1u32.to_be_bytes());
    header.extend_from_slice(b"mdat");
    header.extend_from_slice(&(end - free_at).to_be_bytes());
    Ok(Trailer { append, patches: vec![(free_at, header)] })
}

/// Makes the bytes of one file.
pub(super) struct Mp4 {
    fragmenter: Fragmenter,
    /// What the file is, until it is written.
    meta: FileMeta,
    free_at: u64,
    head_bytes: usize,
    tables: Tables,
    pending: Option<Fragment>,
    first_pts_us: Option<i64>,
}

impl Mp4 {
    pub(super) fn new(stream: &Arc<StreamInfo>, with_audio: bool, meta: &FileMeta) -> io::Result<Self> {
        // A stream that can't be described is refused here and not with the first fragment.
        boxes::open(stream, with_audio, meta.start, 0, 0)?;
        Ok(Mp4 {
            fragmenter: Fragmenter::new(stream, with_audio, meta.start),
            meta: meta.clone(),
            free_at: 0,
            head_bytes: 0,
            tables: Tables::default(),
            pending: None,
            first_pts_us: None,
        })
    }

    /// The bytes to write for a fragment: itself, and the head of the file before the first.
    fn stage(&mut self, fragment: Option<Fragment>) -> io::Result<Option<Vec<u8>>> {
        let Some(mut fragment) = fragment else { return Ok(None) };
        let bytes = if self.tables.video.is_empty() {
            let moov = self.fragmenter.moov().ok_or_else(|| io::Error::other("a fragment before its description"))?;
            let mut head = Vec::with_capacity(fragment.bytes.len() + 2048);
            encode(&boxes::ftyp(), &mut head)?;
            boxes::append_meta(&self.meta, &mut head)?;
            self.free_at = head.len() as u64;
            boxes::append_free(&mut head);
            encode(moov, &mut head)?;
            self.head_bytes = head.len();
            head.append(&mut fragment.bytes);
            head
        } else {
            self.head_bytes = 0;
            std::mem::take(&mut fragment.bytes)
        };
        self.pending = Some(fragment);
        Ok(Some(bytes))
    }
}

impl Container for Mp4 {
    fn push(&mut self, packet: &Packet) -> io::Result<Option<Vec<u8>>> {
        let fragment = self.fragmenter.push(packet)?;
        if self.first_pts_us.is_none() {
            self.first_pts_us = self.fragmenter.first_pts_us();
        }
        self.stage(fragment)
    }

    fn flush(&mut self) -> io::Result<Option<Vec<u8>>> {
        let fragment = self.fragmenter.flush()?;
        self.stage(fragment)
    }

    fn written(&mut self, at: u64) {
        if let Some(fragment) = self.pending.take() {
            self.tables.add(&fragment, at + self.head_bytes as u64);
        }
    }

    fn extent(&self) -> Extent {
        let first_pts_us = self.first_pts_us.unwrap_or(0);
        let duration = boxes::shown_ticks(&self.tables.video, self.fragmenter.video_lead());
        Extent {
            first_pts_us,
            end_pts_us: first_pts_us.saturating_add(ticks_to_us(
                i64::try_from(duration).unwrap_or(i64::MAX),
                self.fragmenter.video_timescale(),
            )),
            packets: self.tables.video.len() + self.tables.audio.len(),
        }
    }

    fn trailer(&self, end: u64) -> io::Result<Trailer> {
        let moov = self.fragmenter.moov().ok_or_else(|| io::Error::other("nothing was recorded"))?;
        trailer(moov, &self.tables, self.free_at, end)
    }
}
