//! Pictures into packets, through libav's encoders.
//!
//! Belongs here: opening an encoder, feeding it, the description of what comes out. Does not belong here: which
//! pictures are encoded and what is drawn on them ([`super::transcode`], [`super::panes`]), files (the archive's, and
//! [`file`] for drawings).

pub mod file;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::{Dictionary, codec};
use thiserror::Error;

use super::av;
use super::nal::ParameterSets;
use crate::domain::stream::{VideoCodec, VideoTrack};

/// What an encoder is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderSettings {
    pub codec: VideoCodec,
    /// In pixels; both even, but for MJPEG and MPEG-4.
    pub width: u32,
    pub height: u32,
    /// Ticks a second of the pictures' times; MPEG-4 takes no more than 65535.
    pub timescale: u32,
    /// Pictures a second, about: what bits are spent for. The pictures' own times are what is written.
    pub rate: f64,
    /// Pictures from one keyframe to the next.
    pub keyframe_distance: u32,
    /// 1 (small) to 100 (best).
    pub quality: u32,
    /// 0: as many as there are processors.
    pub threads: usize,
    pub colour: Colour,
}

/// How a decoder should understand the values of YUV pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    pub space: ffmpeg::color::Space,
    pub range: ffmpeg::color::Range,
}

impl Colour {
    /// What libav's scaler makes of RGB drawings.
    pub const OF_DRAWINGS: Colour =
        Colour { space: ffmpeg::color::Space::SMPTE170M, range: ffmpeg::color::Range::MPEG };
}

/// Why nothing was encoded.
#[derive(Debug, Error)]
pub enum EncoderError {
    #[error("libav was built without an encoder for {} (Debian's has one)", .0.name())]
    Missing(VideoCodec),
    #[error("the {} encoder takes no such pictures ({width}x{height}): {cause}", codec.name())]
    Refused { codec: VideoCodec, width: u32, height: u32, cause: ffmpeg::Error },
    #[error("encoding failed: {0}")]
    Failed(#[from] ffmpeg::Error),
    #[error("the {} encoder does not describe its stream", .0.name())]
    Undescribed(VideoCodec),
}

/// An open encoder without any delay: each picture comes out as a packet at once, and no picture refers to a later
/// one. It takes pictures of the format [`pixel_format`] gives.
pub struct Encoder {
    encoder: ffmpeg::encoder::Video,
    settings: EncoderSettings,
}

/// The pixel format that an encoder of this codec takes.
pub fn pixel_format(codec: VideoCodec) -> Pixel {
    match codec {
        VideoCodec::Mjpeg => Pixel::YUVJ420P,
        VideoCodec::H264 | VideoCodec::H265 | VideoCodec::Mpeg4 => Pixel::YUV420P,
    }
}

fn find(codec: VideoCodec) -> Option<ffmpeg::Codec> {
    let (name, id) = match codec {
        VideoCodec::H264 => ("libx264", codec::Id::H264),
        VideoCodec::H265 => ("libx265", codec::Id::HEVC),
        VideoCodec::Mjpeg => ("mjpeg", codec::Id::MJPEG),
        VideoCodec::Mpeg4 => ("mpeg4", codec::Id::MPEG4),
    };
    ffmpeg::encoder::find_by_name(name).or_else(|| ffmpeg::encoder::find(id))
}

/// x264's constant rate factor, which rises by 6 for half the bits: 23, its usual one, at quality 70.
fn rate_factor(quality: u32) -> f64 {
    48.2 - 0.36 * f64::from(quality)
}

/// The quantiser of MPEG-4 and JPEG, 2 (best) to 31: 5 at quality 70.
fn quantiser(quality: u32) -> i32 {
    let lost = f64::from(100 - quality.min(100)) / 99.0;
    (2.0 + 29.0 * lost * lost).round() as i32
}

impl Encoder {
    pub fn open(settings: EncoderSettings) -> Result<Self, EncoderError> {
        av::init();
        let EncoderSettings { codec, width, height, .. } = settings;
        let found = find(codec).ok_or(EncoderError::Missing(codec))?;
        let mut context = ffmpeg::codec::Context::new_with_codec(found);
        context.set_flags(ffmpeg::codec::Flags::GLOBAL_HEADER);
        context.set_time_base((1, settings.timescale.clamp(1, i32::MAX as u32) as i32));
        context.set_frame_rate(Some(((settings.rate * 1000.0).round().max(1.0) as i32, 1000)));
        context.set_threading(ffmpeg::threading::Config { count: settings.threads, ..Default::default() });
        let mut encoder = context.encoder().video()?;
        encoder.set_width(width);
        encoder.set_height(height);
        encoder.set_format(pixel_format(codec));
        encoder.set_colorspace(settings.colour.space);
        encoder.set_color_range(settings.colour.range);
        encoder.set_gop(settings.keyframe_distance);
        encoder.set_max_b_frames(0);
        let mut options = Dictionary::new();
        match codec {
            VideoCodec::H264 | VideoCodec::H265 => {
                // x265 needs a larger factor for the same look.
                let harder = if codec == VideoCodec::H265 { 4.0 } else { 0.0 };
                let preset = if codec == VideoCodec::H265 { "ultrafast" } else { "veryfast" };
                options.set("preset", preset);
                options.set("tune", "zerolatency");
                options.set("crf", &format!("{:.1}", rate_factor(settings.quality) + harder));
                // It has a log of its own, and threads of its own.
                let pools = if settings.threads == 1 { ":pools=none:frame-threads=1" } else { "" };
                options.set("x265-params", &format!("log-level=none:open-gop=0{pools}"));
            }
            VideoCodec::Mjpeg | VideoCodec::Mpeg4 => {
                encoder.set_qmin(quantiser(settings.quality));
                encoder.set_qmax(quantiser(settings.quality));
            }
        }
        let encoder = encoder.open_as_with(found, options).map_err(|cause| EncoderError::Refused {
            codec,
            width,
            height,
            cause,
        })?;
        Ok(Encoder { encoder, settings })
    }

    /// The encoder itself, for a muxer of libav's.
    fn inner(&self) -> &ffmpeg::encoder::Video {
        &self.encoder
    }

    /// Takes a picture, whose time is in ticks and later than the one before.
    pub fn send(&mut self, picture: &frame::Video) -> Result<(), EncoderError> {
        Ok(self.encoder.send_frame(picture)?)
    }

    /// No more pictures come.
    pub fn finish(&mut self) -> Result<(), EncoderError> {
        Ok(self.encoder.send_eof()?)
    }

    /// The next packet that is ready. None: another picture is needed first.
    pub fn receive(&mut self) -> Result<Option<ffmpeg::Packet>, EncoderError> {
        let mut packet = ffmpeg::Packet::empty();
        match self.encoder.receive_packet(&mut packet) {
            Ok(()) => Ok(Some(packet)),
            Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN } | ffmpeg::Error::Eof) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What comes out, as a recording describes it.
    pub fn track(&self) -> Result<VideoTrack, EncoderError> {
        let EncoderSettings { codec, width, height, timescale, .. } = self.settings;
        let headers = unsafe_av::extradata(&self.encoder);
        let config_record = match codec {
            VideoCodec::H264 | VideoCodec::H265 => ParameterSets::of_extradata(codec, &headers)
                .config_record(codec)
                .ok_or(EncoderError::Undescribed(codec))?,
            VideoCodec::Mpeg4 => headers,
            VideoCodec::Mjpeg => Vec::new(),
        };
        Ok(VideoTrack { codec, width, height, timescale, config_record, quarter_turns: 0 })
    }
}

/// What ffmpeg-next has no safe call for.
mod unsafe_av {
    use ffmpeg_next as ffmpeg;

    /// The headers that an open encoder gives for its stream.
    pub fn extradata(encoder: &ffmpeg::encoder::Video) -> Vec<u8> {
        // SAFETY: the context is open and borrowed; its extradata, where there is any, holds `extradata_size` bytes.
        unsafe {
            let context = &*encoder.as_ptr();
            match usize::try_from(context.extradata_size) {
                Ok(size) if size > 0 && !context.extradata.is_null() => {
                    std::slice::from_raw_parts(context.extradata, size).to_vec()
                }
                _ => Vec::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: EncoderSettings = EncoderSettings {
        codec: VideoCodec::H264,
        width: 64,
        height: 48,
        timescale: 30_000,
        rate: 25.0,
        keyframe_distance: 5,
        quality: 70,
        threads: 1,
        colour: Colour::OF_DRAWINGS,
    };

    #[test]
    fn every_codec_gives_a_packet_a_picture_at_once_and_describes_itself() {
        for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Mjpeg, VideoCodec::Mpeg4] {
            let mut encoder = Encoder::open(EncoderSettings { codec, ..SETTINGS }).unwrap();
            let track = encoder.track().unwrap();
            assert_eq!((track.codec, track.width, track.height, track.timescale), (codec, 64, 48, 30_000));
            assert_eq!(track.config_record.is_empty(), codec == VideoCodec::Mjpeg, "{codec:?}");
            for number in 0..12 {
                let mut picture = frame::Video::new(pixel_format(codec), 64, 48);
                for plane in 0..3 {
                    let values = (0..).map(|at: u32| 100 + (at * 31 % 64) as u8);
                    picture.data_mut(plane).iter_mut().zip(values).for_each(|(to, value)| *to = value);
                }
                picture.set_pts(Some(number * 1200));
                encoder.send(&picture).unwrap();
                let packet = encoder.receive().unwrap().unwrap_or_else(|| panic!("{codec:?} holds back"));
                assert_eq!((packet.pts(), packet.dts()), (Some(number * 1200), Some(number * 1200)), "{codec:?}");
                let expected = codec == VideoCodec::Mjpeg || number % 5 == 0;
                assert_eq!(packet.is_key(), expected, "{codec:?} {number}");
                let data = packet.data().unwrap();
                assert_eq!(crate::media::nal::is_keyframe(codec, data, false), expected, "{codec:?} {number}");
                assert!(encoder.receive().unwrap().is_none());
            }
            encoder.finish().unwrap();
            assert!(encoder.receive().unwrap().is_none(), "{codec:?}");
        }
    }

    #[test]
    fn quality_goes_from_small_to_best() {
        assert_eq!([1, 70, 100].map(quantiser), [31, 5, 2]);
        assert!((rate_factor(70) - 23.0).abs() < 0.01 && rate_factor(1) < 51.0 && rate_factor(100) > 0.0);
    }

    #[test]
    fn pictures_that_an_encoder_does_not_take_are_named() {
        let error = Encoder::open(EncoderSettings { width: 63, ..SETTINGS }).err().unwrap();
        assert!(error.to_string().starts_with("the h264 encoder takes no such pictures (63x48): "), "{error}");
    }
}
