//! Recordings as Matroska: a cluster for each half second while the file is open; cues, duration and sizes are
//! added when it is closed.
//!
//! An open file is a Matroska file of unknown length. Closing appends the cues and then, in one small write near
//! the file's beginning, gives the segment its size, its table of contents and its duration. Times are exact to
//! a tenth of a millisecond. Audio from before the first picture is left out: Matroska has no time before 0.
//!
//! Belongs here: elements, clusters, and what a file's bytes say of its state. Does not belong here: opening,
//! writing and deleting files ([`super::file`]).

mod ebml;
mod scan;

pub use scan::plan_repair;

use std::io;
use std::sync::Arc;

use ebml::{id, put, put_checked, put_float, put_text, put_uint, void};

use super::container::{Container, Cutter, Extent, FileMeta, Trailer};
use crate::domain::stream::{AudioCodec, StreamInfo, Track, VideoCodec};
use crate::media::{Packet, nal};

/// What every Matroska file begins with.
pub(super) const FIRST_BYTE: u8 = 0x1a;

/// Microseconds of one tick of a file's timestamps.
const TICK_US: i64 = 100;
const VIDEO_TRACK: u8 = 1;
const AUDIO_TRACK: u8 = 2;
/// Name of the tag that holds a recording's [`FileMeta`] as JSON.
const META_TAG: &str = "TARSIER";
/// Length of the table of contents: four entries.
const SEEK_HEAD_BYTES: usize = 5 + 4 * 21;
/// Length of the duration element.
const DURATION_BYTES: usize = 11;
/// 2001-01-01, from which Matroska counts.
const EPOCH_S: i64 = 978_307_200;

/// All before the first cluster.
#[derive(Clone, Debug)]
struct Front {
    bytes: Vec<u8>,
    /// Where the segment's content begins; positions count from here.
    segment_at: usize,
    duration_at: usize,
    info_at: usize,
    tracks_at: usize,
    tags_at: usize,
}

fn ebml_header() -> Vec<u8> {
    let mut body = Vec::new();
    put_uint(id::EBML_VERSION, 1, &mut body);
    put_uint(id::EBML_READ_VERSION, 1, &mut body);
    put_uint(id::EBML_MAX_ID_LENGTH, 4, &mut body);
    put_uint(id::EBML_MAX_SIZE_LENGTH, 8, &mut body);
    put_text(id::DOC_TYPE, "matroska", &mut body);
    put_uint(id::DOC_TYPE_VERSION, 4, &mut body);
    put_uint(id::DOC_TYPE_READ_VERSION, 2, &mut body);
    let mut out = Vec::new();
    put(id::EBML, &body, &mut out);
    out
}

fn front(stream: &StreamInfo, with_audio: bool, meta: &FileMeta) -> io::Result<Front> {
    let mut bytes = ebml_header();
    ebml::put_id(id::SEGMENT, &mut bytes);
    bytes.extend_from_slice(&ebml::UNKNOWN_SIZE);
    let segment_at = bytes.len();
    bytes.extend_from_slice(&void(SEEK_HEAD_BYTES));
    let info_at = bytes.len();
    let mut info = void(DURATION_BYTES);
    put_uint(id::TIMESTAMP_SCALE, TICK_US as u64 * 1000, &mut info);
    let seconds = meta.start.timestamp().saturating_sub(EPOCH_S);
    let nanoseconds = seconds.saturating_mul(1_000_000_000).saturating_add(meta.start.timestamp_subsec_nanos().into());
    put(id::DATE_UTC, &nanoseconds.to_be_bytes(), &mut info);
    put_text(id::MUXING_APP, "tarsier", &mut info);
    put_text(id::WRITING_APP, "tarsier", &mut info);
    put(id::INFO, &info, &mut bytes);
    // Id and size of the element before it.
    let duration_at = bytes.len() - info.len();
    let tracks_at = bytes.len();
    put(id::TRACKS, &tracks(stream, with_audio)?, &mut bytes);
    let tags_at = bytes.len();
    put(id::TAGS, &tags(meta)?, &mut bytes);
    Ok(Front { bytes, segment_at, duration_at, info_at, tracks_at, tags_at })
}

fn tracks(stream: &StreamInfo, with_audio: bool) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let video = &stream.video;
    let mut entry = track_head(VIDEO_TRACK, 1);
    let codec = match video.codec {
        VideoCodec::H264 => "V_MPEG4/ISO/AVC",
        VideoCodec::H265 => "V_MPEGH/ISO/HEVC",
        VideoCodec::Mjpeg => "V_MJPEG",
        VideoCodec::Mpeg4 => "V_MPEG4/ISO/ASP",
    };
    put_text(id::CODEC_ID, codec, &mut entry);
    if !video.config_record.is_empty() {
        put(id::CODEC_PRIVATE, &video.config_record, &mut entry);
    }
    let mut picture = Vec::new();
    put_uint(id::PIXEL_WIDTH, video.width.into(), &mut picture);
    put_uint(id::PIXEL_HEIGHT, video.height.into(), &mut picture);
    put(id::VIDEO, &picture, &mut entry);
    put(id::TRACK_ENTRY, &entry, &mut out);
    if let Some(audio) = stream.audio.as_ref().filter(|_| with_audio) {
        let mut entry = track_head(AUDIO_TRACK, 2);
        match audio.codec {
            AudioCodec::Aac => {
                put_text(id::CODEC_ID, "A_AAC", &mut entry);
                put(id::CODEC_PRIVATE, &audio.config_record, &mut entry);
            }
            AudioCodec::Flac => {
                if audio.config_record.len() != 34 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "FLAC needs its 34 bytes of STREAMINFO"));
                }
                put_text(id::CODEC_ID, "A_FLAC", &mut entry);
                put(id::CODEC_PRIVATE, &[b"fLaC\x80\0\0\x22", audio.config_record.as_slice()].concat(), &mut entry);
            }
        }
        let mut sound = Vec::new();
        put_float(id::SAMPLING_FREQUENCY, audio.sample_rate.into(), &mut sound);
        put_uint(id::CHANNELS, audio.channels.into(), &mut sound);
        put(id::AUDIO, &sound, &mut entry);
        put(id::TRACK_ENTRY, &entry, &mut out);
    }
    Ok(out)
}

fn track_head(number: u8, kind: u64) -> Vec<u8> {
    let mut entry = Vec::new();
    put_uint(id::TRACK_NUMBER, number.into(), &mut entry);
    put_uint(id::TRACK_UID, number.into(), &mut entry);
    put_uint(id::TRACK_TYPE, kind, &mut entry);
    put_uint(id::FLAG_LACING, 0, &mut entry);
    put_text(id::LANGUAGE, "und", &mut entry);
    entry
}

fn tags(meta: &FileMeta) -> io::Result<Vec<u8>> {
    let mut simple = Vec::new();
    put_text(id::TAG_NAME, META_TAG, &mut simple);
    put_text(id::TAG_STRING, &serde_json::to_string(meta)?, &mut simple);
    let mut tag = Vec::new();
    put(id::TARGETS, &[], &mut tag);
    put(id::SIMPLE_TAG, &simple, &mut tag);
    let mut out = Vec::new();
    put(id::TAG, &tag, &mut out);
    Ok(out)
}

/// What a cluster holds, kept in a void element at its beginning, so that a scan need not read the media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    /// Time of the first keyframe.
    key: Option<u64>,
    packets: u32,
    /// When the last picture that is shown ends.
    end: u64,
}

const SUMMARY_BYTES: usize = 2 + 21;

impl Summary {
    fn put(&self, out: &mut Vec<u8>) {
        let mut body = vec![u8::from(self.key.is_some())];
        body.extend_from_slice(&self.key.unwrap_or(0).to_be_bytes());
        body.extend_from_slice(&self.packets.to_be_bytes());
        body.extend_from_slice(&self.end.to_be_bytes());
        put(id::VOID, &body, out);
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let body: &[u8; SUMMARY_BYTES - 2] = body.try_into().ok()?;
        let number = |from: usize| u64::from_be_bytes(body[from..from + 8].try_into().unwrap_or_default());
        Some(Summary {
            key: (body[0] == 1).then(|| number(1)),
            packets: u32::from_be_bytes(body[9..13].try_into().ok()?),
            end: number(13),
        })
    }
}

/// All clusters of a file.
#[derive(Clone, Debug, Default)]
struct Contents {
    /// Time of a keyframe and where its cluster begins, from the segment's content on.
    cues: Vec<(u64, u64)>,
    packets: u64,
    end: u64,
}

impl Contents {
    fn add(&mut self, summary: &Summary, position: u64) {
        if let Some(key) = summary.key {
            self.cues.push((key, position));
        }
        self.packets += u64::from(summary.packets);
        self.end = self.end.max(summary.end);
    }
}

/// What closing a file does to it: see the module's head.
fn trailer(front: &Front, contents: &Contents, end: u64) -> Trailer {
    let mut cues = Vec::new();
    for (time, position) in &contents.cues {
        let mut track = Vec::new();
        put_uint(id::CUE_TRACK, VIDEO_TRACK.into(), &mut track);
        put_uint(id::CUE_CLUSTER_POSITION, *position, &mut track);
        let mut point = Vec::new();
        put_uint(id::CUE_TIME, *time, &mut point);
        put(id::CUE_TRACK_POSITIONS, &track, &mut point);
        put(id::CUE_POINT, &point, &mut cues);
    }
    // So that a closed file tells what it holds without being read.
    Summary { key: None, packets: u32::try_from(contents.packets).unwrap_or(u32::MAX), end: contents.end }
        .put(&mut cues);
    let mut append = Vec::with_capacity(cues.len() + 32);
    put_checked(id::CUES, &cues, &mut append);

    let segment_at = front.segment_at;
    let mut seeks = Vec::new();
    for (id, at) in [
        (id::INFO, front.info_at as u64),
        (id::TRACKS, front.tracks_at as u64),
        (id::TAGS, front.tags_at as u64),
        (id::CUES, end),
    ] {
        let mut seek = Vec::new();
        put(id::SEEK_ID, &id.to_be_bytes(), &mut seek);
        put(id::SEEK_POSITION, &(at - segment_at as u64).to_be_bytes(), &mut seek);
        put(id::SEEK, &seek, &mut seeks);
    }
    let mut seek_head = Vec::new();
    put(id::SEEK_HEAD, &seeks, &mut seek_head);
    let mut duration = Vec::new();
    put_float(id::DURATION, contents.end as f64, &mut duration);

    let mut patched = front.bytes.clone();
    patched[segment_at - 8..segment_at]
        .copy_from_slice(&ebml::long_size(end + append.len() as u64 - segment_at as u64));
    patched[segment_at..segment_at + SEEK_HEAD_BYTES].copy_from_slice(&seek_head);
    patched[front.duration_at..front.duration_at + DURATION_BYTES].copy_from_slice(&duration);
    let from = segment_at - 8;
    patched.truncate(front.duration_at + DURATION_BYTES);
    Trailer { append, patches: vec![(from as u64, patched.split_off(from))] }
}

/// Makes the bytes of one file.
pub(super) struct Mkv {
    stream: Arc<StreamInfo>,
    with_audio: bool,
    front: Front,
    cutter: Cutter,
    blocks: Vec<Block>,
    data: Vec<u8>,
    /// The first picture's time.
    zero_us: Option<i64>,
    last_video_us: Option<i64>,
    step_us: i64,
    pending: Vec<(Summary, usize)>,
    contents: Contents,
    /// The front is in the file.
    begun: bool,
}

struct Block {
    track: Track,
    /// Since the first picture, in ticks.
    time: u64,
    size: usize,
    key: bool,
    end: u64,
}

impl Mkv {
    pub(super) fn new(stream: &Arc<StreamInfo>, with_audio: bool, meta: &FileMeta) -> io::Result<Self> {
        Ok(Mkv {
            stream: stream.clone(),
            with_audio: with_audio && stream.audio.is_some(),
            front: front(stream, with_audio, meta)?,
            cutter: Cutter::default(),
            blocks: Vec::new(),
            data: Vec::new(),
            zero_us: None,
            last_video_us: None,
            step_us: 40_000,
            pending: Vec::new(),
            contents: Contents::default(),
            begun: false,
        })
    }

    fn add(&mut self, packet: &Packet, zero_us: i64) {
        let before = self.data.len();
        match packet.track {
            Track::Video => {
                nal::append_sample(self.stream.video.codec, packet.data(), packet.length_prefixed, &mut self.data)
            }
            Track::Audio => self.data.extend_from_slice(packet.data()),
        }
        let size = self.data.len() - before;
        let time_us = packet.pts_us().saturating_sub(zero_us);
        if size == 0 || (packet.track == Track::Audio && time_us < 0) {
            self.data.truncate(before);
            return;
        }
        if packet.track == Track::Video {
            if let Some(last) = self.last_video_us {
                self.step_us = packet.dts_us().saturating_sub(last).max(1);
            }
            self.last_video_us = Some(packet.dts_us());
        }
        // A picture from before the first one cannot be decoded; it is kept nevertheless.
        let time_us = time_us.max(0);
        let tick = |us: i64| u64::try_from((us + TICK_US / 2) / TICK_US).unwrap_or(0);
        let end = if packet.track == Track::Video { tick(time_us.saturating_add(self.step_us)) } else { 0 };
        let key = packet.keyframe || packet.track == Track::Audio;
        self.blocks.push(Block { track: packet.track, time: tick(time_us), size, key, end });
        self.cutter.add(packet);
    }

    /// Clusters of all that is buffered.
    fn cut(&mut self) -> Option<Vec<u8>> {
        self.cutter.reset();
        if self.blocks.is_empty() {
            return None;
        }
        self.pending.clear();
        let mut out = Vec::with_capacity(self.data.len() + 4096);
        if !self.begun {
            out.extend_from_slice(&self.front.bytes);
        }
        let mut data = self.data.as_slice();
        let mut blocks = self.blocks.as_slice();
        while let Some(first) = blocks.first() {
            // Times in a cluster are 16 bits about its own.
            let fits = |block: &&Block| i16::try_from(block.time as i64 - first.time as i64).is_ok();
            let count = blocks.iter().take_while(fits).count();
            let (these, rest) = blocks.split_at(count);
            let summary = Summary {
                key: these.iter().find(|b| b.key && b.track == Track::Video).map(|b| b.time),
                packets: u32::try_from(count).unwrap_or(u32::MAX),
                end: these.iter().map(|block| block.end).max().unwrap_or(0),
            };
            let mut body = Vec::new();
            put_uint(id::TIMESTAMP, first.time, &mut body);
            summary.put(&mut body);
            for block in these {
                let (payload, left) = data.split_at(block.size);
                data = left;
                ebml::put_id(id::SIMPLE_BLOCK, &mut body);
                ebml::put_size(payload.len() as u64 + 4, &mut body);
                body.push(0x80 | if block.track == Track::Video { VIDEO_TRACK } else { AUDIO_TRACK });
                body.extend_from_slice(&((block.time as i64 - first.time as i64) as i16).to_be_bytes());
                body.push(if block.key { 0x80 } else { 0 });
                body.extend_from_slice(payload);
            }
            self.pending.push((summary, out.len()));
            put_checked(id::CLUSTER, &body, &mut out);
            blocks = rest;
        }
        self.blocks.clear();
        self.data.clear();
        Some(out)
    }
}

impl Container for Mkv {
    fn push(&mut self, packet: &Packet) -> io::Result<Option<Vec<u8>>> {
        let zero_us = match (self.zero_us, packet.track) {
            (Some(zero_us), _) => zero_us,
            (None, Track::Video) if packet.keyframe => *self.zero_us.insert(packet.pts_us()),
            _ => return Ok(None),
        };
        if packet.track == Track::Audio && !self.with_audio {
            return Ok(None);
        }
        if packet.track == Track::Video && packet.codec() != self.stream.video.codec {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is of another stream than the file"));
        }
        let cut = if self.cutter.cut_before(packet) { self.cut() } else { None };
        self.add(packet, zero_us);
        if cut.is_none() && self.cutter.cut_after() {
            return Ok(self.cut());
        }
        Ok(cut)
    }

    fn flush(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.cut())
    }

    fn written(&mut self, at: u64) {
        for (summary, offset) in self.pending.drain(..) {
            self.contents.add(&summary, at + offset as u64 - self.front.segment_at as u64);
        }
        self.begun = true;
    }

    fn extent(&self) -> Extent {
        let first_pts_us = self.zero_us.unwrap_or(0);
        let shown_us = i64::try_from(self.contents.end).unwrap_or(i64::MAX).saturating_mul(TICK_US);
        Extent { first_pts_us, end_pts_us: first_pts_us.saturating_add(shown_us), packets: self.contents.packets }
    }

    fn trailer(&self, end: u64) -> io::Result<Trailer> {
        Ok(trailer(&self.front, &self.contents, end))
    }
}
