//! Raw pictures of a USB camera, made JPEGs before they are kept: raw ones would fill memory and disk in no time.
//!
//! Belongs here: the pixel formats of cameras, and how their bytes lie. Does not belong here: talking to the device
//! ([`super::device`]), the encoder itself ([`crate::media::encode`]).

use ffmpeg_next::format::Pixel;
use ffmpeg_next::{color, frame};

use crate::domain::stream::VideoCodec;
use crate::media::encode::{Colour, Encoder, EncoderError, EncoderSettings, pixel_format};
use crate::media::picture::Scaler;

/// High: recordings of such a camera are made from these.
const QUALITY: u32 = 85;

/// Makes JPEGs of one camera's raw pictures.
pub(super) struct RawPictures {
    format: Pixel,
    /// Bytes from one row to the next of the first plane, as the driver says.
    stride: usize,
    raw: frame::Video,
    scaler: Scaler,
    encoder: Encoder,
    count: i64,
}

/// The pixel format of a V4L2 code; None: a format that is not taken.
pub(super) fn pixel_of(code: &[u8; 4]) -> Option<Pixel> {
    Some(match code {
        b"YUYV" | b"YUY2" => Pixel::YUYV422,
        b"UYVY" => Pixel::UYVY422,
        b"NV12" => Pixel::NV12,
        b"NV21" => Pixel::NV21,
        b"YU12" | b"I420" => Pixel::YUV420P,
        b"422P" => Pixel::YUV422P,
        b"GREY" | b"Y800" => Pixel::GRAY8,
        b"RGB3" => Pixel::RGB24,
        b"BGR3" => Pixel::BGR24,
        _ => return None,
    })
}

impl RawPictures {
    pub fn new(format: Pixel, width: u32, height: u32, stride: usize) -> Result<Self, EncoderError> {
        let encoder = Encoder::open(EncoderSettings {
            codec: VideoCodec::Mjpeg,
            width,
            height,
            timescale: 25,
            rate: 25.0,
            keyframe_distance: 1,
            quality: QUALITY,
            threads: 1,
            colour: Colour { space: color::Space::SMPTE170M, range: color::Range::JPEG },
        })?;
        let raw = frame::Video::new(format, width, height);
        let scaler = Scaler::new(pixel_format(VideoCodec::Mjpeg));
        Ok(RawPictures { format, stride, raw, scaler, encoder, count: 0 })
    }

    /// A picture as a JPEG. None: there are too few bytes for one.
    pub fn jpeg(&mut self, bytes: &[u8]) -> Result<Option<ffmpeg_next::Packet>, EncoderError> {
        let RawPictures { format, raw, stride, .. } = self;
        let mut rest = bytes;
        for plane in 0..raw.planes() {
            let first_row_bytes = row_bytes(*format, raw.width() as usize, 0);
            let row_bytes = row_bytes(*format, raw.plane_width(plane) as usize, plane);
            // Rows of other planes are as much shorter as they are narrower.
            let from_stride = (*stride).max(first_row_bytes) * row_bytes / first_row_bytes;
            let rows = raw.plane_height(plane) as usize;
            let needed = from_stride * rows.saturating_sub(1) + row_bytes;
            let Some(source) = rest.get(..needed) else { return Ok(None) };
            let to_stride = raw.stride(plane);
            let targets = raw.data_mut(plane).chunks_mut(to_stride).take(rows);
            targets.zip(source.chunks(from_stride)).for_each(|(to, from)| {
                to[..row_bytes].copy_from_slice(&from[..row_bytes]);
            });
            rest = rest.get(from_stride * rows..).unwrap_or_default();
        }
        let (width, height) = (self.raw.width(), self.raw.height());
        let mut picture = frame::Video::empty();
        self.scaler.run(&self.raw, width, height, &mut picture)?;
        picture.set_pts(Some(self.count));
        self.count += 1;
        self.encoder.send(&picture)?;
        self.encoder.receive()
    }
}

/// Bytes of a row of pixels that are `width` wide in their own plane.
fn row_bytes(format: Pixel, width: usize, plane: usize) -> usize {
    match (format, plane) {
        // Two pixels share their colour.
        (Pixel::YUYV422 | Pixel::UYVY422, _) => width.next_multiple_of(2) * 2,
        (Pixel::RGB24 | Pixel::BGR24, _) => 3 * width,
        (Pixel::NV12 | Pixel::NV21, 1) => 2 * width,
        _ => width,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::ffmpeg;

    const SIZE: (u32, u32) = (64, 48);

    fn raw_picture(pix_fmt: &str) -> Vec<u8> {
        let input = format!("testsrc2=size={}x{}:rate=1:duration=1", SIZE.0, SIZE.1);
        ffmpeg(&["-f", "lavfi", "-i", &input, "-frames:v", "1", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-"])
    }

    fn grey_of(jpeg: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        std::fs::write(&path, jpeg).unwrap();
        ffmpeg(&["-i", path.to_str().unwrap(), "-pix_fmt", "gray", "-f", "rawvideo", "-"])
    }

    #[test]
    fn every_raw_format_becomes_the_same_picture() {
        let expected = raw_picture("gray");
        for (code, pix_fmt) in [
            (b"YUYV", "yuyv422"),
            (b"UYVY", "uyvy422"),
            (b"NV12", "nv12"),
            (b"NV21", "nv21"),
            (b"YU12", "yuv420p"),
            (b"422P", "yuv422p"),
            (b"GREY", "gray"),
            (b"RGB3", "rgb24"),
            (b"BGR3", "bgr24"),
        ] {
            let raw = raw_picture(pix_fmt);
            let mut pictures = RawPictures::new(pixel_of(code).unwrap(), SIZE.0, SIZE.1, 0).unwrap();
            for _ in 0..2 {
                let jpeg = pictures.jpeg(&raw).unwrap().unwrap();
                assert!(jpeg.data().unwrap().starts_with(&[0xff, 0xd8]));
                let grey = grey_of(jpeg.data().unwrap());
                let off: u64 = grey.iter().zip(&expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                assert_eq!(grey.len(), expected.len());
                assert!(off / (grey.len() as u64) < 10, "{pix_fmt}: {off}");
            }
            assert!(pictures.jpeg(&raw[..raw.len() / 2]).unwrap().is_none(), "{pix_fmt}: half a picture");
        }
        assert!(pixel_of(b"H264").is_none());
    }

    #[test]
    fn rows_may_be_padded() {
        let tight = raw_picture("yuyv422");
        let padded: Vec<u8> = tight.chunks(128).flat_map(|row| [row, &[0x55; 32]].concat()).collect();
        let jpeg = |bytes: &[u8], stride| {
            let mut pictures = RawPictures::new(Pixel::YUYV422, SIZE.0, SIZE.1, stride).unwrap();
            pictures.jpeg(bytes).unwrap().unwrap().data().unwrap().to_vec()
        };
        assert!(jpeg(&tight, 128) == jpeg(&padded, 160));
    }
}
