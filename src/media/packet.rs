//! One encoded access unit (or audio frame), shared by everyone who needs it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::domain::ring::RingItem;
use crate::domain::stream::{StreamInfo, Track, VideoCodec, ticks_to_us};
use crate::domain::utc_map::UtcMap;

/// One connection to a source: pts belong to it.
#[derive(Debug)]
pub struct Session {
    /// Rises with every connection of the process.
    pub id: u64,
    clock: std::sync::Mutex<UtcMap>,
}

impl Session {
    pub fn new(id: u64) -> Self {
        Session { id, clock: std::sync::Mutex::new(UtcMap::default()) }
    }

    /// Tells the session's clock that the packet decoded at `dts_us` was handed over at `arrival_us` (UTC).
    pub fn observe(&self, dts_us: i64, arrival_us: i64) {
        self.clock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).observe(dts_us, arrival_us);
    }

    /// The time in this session of a moment; the inverse of [`Session::utc`].
    pub fn pts_us(&self, utc: DateTime<Utc>) -> i64 {
        self.clock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pts_us(utc.timestamp_micros())
    }

    /// The moment at which the picture with this time was taken, as well as is known now.
    pub fn utc(&self, pts_us: i64) -> DateTime<Utc> {
        let us = self.clock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).utc_us(pts_us);
        DateTime::from_timestamp_micros(us).unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
    }
}

/// An access unit of video or a frame of audio. Always behind an `Arc`: ring, writer, detector and viewers
/// share these bytes.
pub struct Packet {
    pub session: Arc<Session>,
    pub stream: Arc<StreamInfo>,
    pub track: Track,
    pub keyframe: bool,
    /// In ticks of the track's timescale; rises strictly within a session and track.
    pub dts: i64,
    pub pts: i64,
    /// As the source sent it: H.264 and H.265 with start codes or with lengths (see `length_prefixed`).
    pub(crate) payload: ffmpeg_next::Packet,
    /// NAL units have four-byte lengths (from MP4 and MKV files) and not start codes.
    pub length_prefixed: bool,
}

impl Packet {
    /// A keyframe as a recording's file holds it, by itself; `pts` in ticks of the stream's video.
    pub fn of_file(stream: StreamInfo, pts: i64, data: &[u8]) -> Self {
        Packet {
            session: Arc::new(Session::new(0)),
            length_prefixed: matches!(stream.video.codec, VideoCodec::H264 | VideoCodec::H265),
            stream: Arc::new(stream),
            track: Track::Video,
            keyframe: true,
            dts: pts,
            pts,
            payload: ffmpeg_next::Packet::copy(data),
        }
    }

    pub fn data(&self) -> &[u8] {
        self.payload.data().unwrap_or_default()
    }

    pub fn timescale(&self) -> u32 {
        match (self.track, &self.stream.audio) {
            (Track::Audio, Some(audio)) => audio.timescale,
            _ => self.stream.video.timescale,
        }
    }

    pub fn dts_us(&self) -> i64 {
        ticks_to_us(self.dts, self.timescale())
    }

    pub fn pts_us(&self) -> i64 {
        ticks_to_us(self.pts, self.timescale())
    }

    pub fn codec(&self) -> VideoCodec {
        self.stream.video.codec
    }
}

impl RingItem for Arc<Packet> {
    fn bytes(&self) -> u64 {
        (self.data().len() + std::mem::size_of::<Packet>()) as u64
    }

    fn dts_us(&self) -> i64 {
        Packet::dts_us(self)
    }

    fn pts_us(&self) -> i64 {
        Packet::pts_us(self)
    }

    fn session(&self) -> u64 {
        self.session.id
    }

    fn is_keyframe(&self) -> bool {
        self.keyframe
    }
}
