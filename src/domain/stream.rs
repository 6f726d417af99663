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

impl StreamInfo {
    /// The audio that browsers play beside live video, if there is any: AAC.
    pub fn browser_audio(&self) -> Option<&AudioTrack> {
        self.audio.as_ref().filter(|audio| audio.codec == AudioCodec::Aac)
    }

    /// The media type of the live stream as browsers want to hear it (RFC 6381): `video/mp4; codecs="avc1.64001f"`.
    /// None where no browser plays the video as MP4.
    pub fn mime(&self) -> Option<String> {
        let record = self.video.config_record.as_slice();
        let video = match self.video.codec {
            VideoCodec::H264 => avc1(record)?,
            VideoCodec::H265 => hvc1(record)?,
            VideoCodec::Mjpeg | VideoCodec::Mpeg4 => return None,
        };
        let audio = self.browser_audio().and_then(|audio| mp4a(&audio.config_record));
        let audio = audio.map(|audio| format!(", {audio}")).unwrap_or_default();
        Some(format!("video/mp4; codecs=\"{video}{audio}\""))
    }
}

/// Profile, constraints and level of an `avcC` body.
fn avc1(record: &[u8]) -> Option<String> {
    let [_, profile, constraints, level, ..] = record else { return None };
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// The same of an `hvcC` body (ISO/IEC 14496-15, annex E): compatibility bits back to front, constraints without the
/// zeros at their end.
fn hvc1(record: &[u8]) -> Option<String> {
    let [_, general, c0, c1, c2, c3, constraints @ ..] = record else { return None };
    let (constraints, rest) = constraints.split_at_checked(6)?;
    let level = rest.first()?;
    let space = ["", "A", "B", "C"][usize::from(general >> 6)];
    let tier = if general & 0x20 == 0 { 'L' } else { 'H' };
    let compatible = u32::from_be_bytes([*c0, *c1, *c2, *c3]).reverse_bits();
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let constraints: String = constraints[..used].iter().map(|byte| format!(".{byte:X}")).collect();
    Some(format!("hvc1.{space}{}.{compatible:X}.{tier}{level}{constraints}", general & 0x1f))
}

/// The object type of an AudioSpecificConfig.
fn mp4a(config: &[u8]) -> Option<String> {
    let [first, rest @ ..] = config else { return None };
    let object_type = match first >> 3 {
        // Escaped: six bits more.
        31 => 32 + ((first & 7) << 3 | rest.first()? >> 5),
        plain => plain,
    };
    Some(format!("mp4a.40.{object_type}"))
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

/// Ticks of a clock of `from` Hz as ticks of one of `to` Hz, rounded to nearest.
pub fn rescale(ticks: i64, from: u32, to: u32) -> i64 {
    let (from, to) = (i128::from(from.max(1)), i128::from(to));
    let scaled = (i128::from(ticks) * to + from / 2).div_euclid(from);
    i64::try_from(scaled).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(codec: VideoCodec, config_record: &[u8], audio: Option<(AudioCodec, &[u8])>) -> StreamInfo {
        StreamInfo {
            video: VideoTrack {
                codec,
                width: 640,
                height: 360,
                quarter_turns: 0,
                timescale: 90_000,
                config_record: config_record.to_vec(),
            },
            audio: audio.map(|(codec, record)| AudioTrack {
                codec,
                sample_rate: 48_000,
                channels: 2,
                timescale: 48_000,
                config_record: record.to_vec(),
            }),
        }
    }

    #[test]
    fn browsers_are_told_what_comes() {
        let avcc = [1, 0x64, 0x00, 0x1f, 0xff];
        let hvcc = [1, 0x01, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xf0];
        let main10 = [1, 0x22, 0x20, 0, 0, 0, 0xb0, 0, 0, 0, 0, 1, 153];
        for (codec, record, audio, mime) in [
            (VideoCodec::H264, &avcc[..], None, Some("avc1.64001f")),
            (VideoCodec::H264, &avcc, Some((AudioCodec::Aac, &[0x11, 0x90][..])), Some("avc1.64001f, mp4a.40.2")),
            (VideoCodec::H264, &avcc, Some((AudioCodec::Aac, &[0xf9, 0x40])), Some("avc1.64001f, mp4a.40.42")),
            (VideoCodec::H264, &avcc, Some((AudioCodec::Flac, &[0; 34])), Some("avc1.64001f")),
            (VideoCodec::H265, &hvcc, None, Some("hvc1.1.6.L93.90")),
            (VideoCodec::H265, &main10, None, Some("hvc1.2.4.H153.B0.0.0.0.0.1")),
            (VideoCodec::H265, &hvcc[..9], None, None),
            (VideoCodec::H264, &[], None, None),
            (VideoCodec::Mjpeg, &[], None, None),
        ] {
            let mime = mime.map(|codecs| format!("video/mp4; codecs=\"{codecs}\""));
            assert_eq!(stream(codec, record, audio).mime(), mime, "{codec:?}");
        }
    }
}
