//! What a session's stream is made of: codecs, sizes, clocks.

/// A video codec that Tarsier can record. Named as FFmpeg names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    H264,
    H265,
    Mjpeg,
    /// MPEG-4 Part 2: the codec of DivX and Xvid.
    Mpeg4,
}

impl VideoCodec {
    /// The short name used in the API, the log and the index.
    pub fn name(self) -> &'static str {
        match self {
            VideoCodec::H264 => "h264",
            VideoCodec::H265 => "h265",
            VideoCodec::Mjpeg => "mjpeg",
            VideoCodec::Mpeg4 => "mpeg4",
        }
    }
}

/// An audio codec as it is stored in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    Aac,
    /// What G.711 becomes, without loss, because MP4 cannot hold G.711.
    Flac,
}

/// The video track of a session, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTrack {
    pub codec: VideoCodec,
    /// Coded picture width in pixels.
    pub width: u32,
    /// Coded picture height in pixels.
    pub height: u32,
    /// By how many quarter turns, clockwise, its pictures are to be shown: 0 to 3.
    pub quarter_turns: u8,
    /// Ticks a second of the track's timestamps (the source's own clock).
    pub timescale: u32,
    /// The body of `avcC` (H.264) or `hvcC` (H.265), whose samples are stored with four-byte NAL unit lengths; the
    /// headers before the first picture (MPEG-4); empty for MJPEG.
    pub config_record: Vec<u8>,
}

/// The audio track of a session, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioTrack {
    pub codec: AudioCodec,
    pub sample_rate: u32,
    pub channels: u16,
    /// Ticks a second of the track's timestamps.
    pub timescale: u32,
    /// AAC: the AudioSpecificConfig. FLAC: the 34 bytes of the STREAMINFO block.
    pub config_record: Vec<u8>,
}

/// One unchanging description of a stream. When a camera changes its codec, size or parameter sets in band, a
/// new description begins, and with it a new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    pub video: VideoTrack,
    pub audio: Option<AudioTrack>,
}

/// Which track of a [`StreamInfo`] a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    Video,
    Audio,
}

/// Ticks of a clock of `timescale` Hz as microseconds, rounded to nearest.
pub fn ticks_to_us(ticks: i64, timescale: u32) -> i64 {
    let scaled = i128::from(ticks) * 1_000_000;
    let half = i128::from(timescale) / 2;
    ((scaled + if ticks < 0 { -half } else { half }) / i128::from(timescale)) as i64
}
