//! A keyframe as a JPEG, for snapshots and thumbnails; a drawing as a JPEG or a PNG.
//!
//! Belongs here: one packet (or drawing) in, one image file out. Does not belong here: which packet, and who wants the picture.

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling;

use super::decode::{DecodeError, carry, open_decoder};
use super::packet::Packet;
use super::panes::turned;
use super::picture::{BgrView, FromBgr};
use crate::domain::stream::{Track, VideoCodec};

/// libav's quantiser scale, 2 (best) to 31.
const QUALITY: i32 = 4;

/// The picture of a keyframe as a JPEG, turned as it is to be shown, and no wider than `max_width`. What a camera sent
/// as a JPEG stays as it is where it need be neither scaled nor turned.
pub fn snapshot(packet: &Packet, max_width: Option<u32>) -> Result<Vec<u8>, DecodeError> {
    if packet.track != Track::Video || !packet.keyframe {
        return Err(DecodeError::NotAKeyframe);
    }
    let turns = packet.stream.video.quarter_turns % 4;
    let fits = max_width.is_none_or(|max| packet.stream.video.width <= max);
    if packet.codec() == VideoCodec::Mjpeg && fits && turns == 0 && is_whole_jpeg(packet.data()) {
        return Ok(packet.data().to_vec());
    }
    let picture = decode(packet)?;
    let (width, height) = (picture.width(), picture.height());
    let shown = turned((width, height), turns);
    let shown_width = max_width.map_or(shown.0, |max| shown.0.min(max.max(1)));
    let shown_height = (u64::from(shown.1) * u64::from(shown_width)).div_ceil(u64::from(shown.0).max(1)).max(1) as u32;
    let (target_width, target_height) = turned((shown_width, shown_height), turns);
    let failed = |error: ffmpeg::Error| DecodeError::Image(error.to_string());
    // Scaling also makes other formats, and limited range, what a JPEG is.
    let scaled = match picture.format() == Pixel::YUVJ420P && (target_width, target_height) == (width, height) {
        true => picture,
        false => {
            let mut scaled = ffmpeg::frame::Video::empty();
            let flags = scaling::Flags::AREA | scaling::Flags::ACCURATE_RND;
            scaling::Context::get(picture.format(), width, height, Pixel::YUVJ420P, target_width, target_height, flags)
                .and_then(|mut scaler| scaler.run(&picture, &mut scaled))
                .map_err(failed)?;
            scaled
        }
    };
    encode(turn(scaled, turns)).map_err(failed)
}

/// A YUVJ420P picture by so many quarter turns clockwise.
fn turn(picture: ffmpeg::frame::Video, turns: u8) -> ffmpeg::frame::Video {
    if turns == 0 {
        return picture;
    }
    let (width, height) = turned((picture.width(), picture.height()), turns);
    let mut shown = ffmpeg::frame::Video::new(picture.format(), width, height);
    for plane in 0..picture.planes() {
        let (from_width, from_height) = (picture.plane_width(plane) as usize, picture.plane_height(plane) as usize);
        let (from_stride, to_stride) = (picture.stride(plane), shown.stride(plane));
        let (from, to) = (picture.data(plane), shown.data_mut(plane));
        for (y, row) in from.chunks(from_stride).take(from_height).enumerate() {
            for (x, pixel) in row.iter().take(from_width).enumerate() {
                let (to_x, to_y) = match turns {
                    1 => (from_height - 1 - y, x),
                    2 => (from_width - 1 - x, from_height - 1 - y),
                    _ => (y, from_width - 1 - x),
                };
                if let Some(place) = to.get_mut(to_y * to_stride + to_x) {
                    *place = *pixel;
                }
            }
        }
    }
    shown
}

/// A drawing as a JPEG.
pub fn of_drawing(drawing: BgrView) -> Result<Vec<u8>, DecodeError> {
    let failed = |error: ffmpeg::Error| DecodeError::Image(error.to_string());
    encode(FromBgr::new(Pixel::YUVJ420P).run(drawing).map_err(failed)?).map_err(failed)
}

/// A drawing as a PNG.
pub fn png_of_drawing(drawing: BgrView) -> Result<Vec<u8>, DecodeError> {
    let failed = |error: ffmpeg::Error| DecodeError::Image(error.to_string());
    let picture = FromBgr::new(Pixel::RGB24).run(drawing).map_err(failed)?;
    encode_as(ffmpeg::codec::Id::PNG, picture).map_err(failed)
}

/// Decodes the packet by itself.
fn decode(packet: &Packet) -> Result<ffmpeg::frame::Video, DecodeError> {
    let codec = packet.codec().name();
    let mut decoder = open_decoder(&packet.stream.video, packet.length_prefixed, 1)
        .map_err(|cause| DecodeError::Unsupported { codec, cause })?;
    let mut carrier = ffmpeg::Packet::empty();
    carry(&mut carrier, packet);
    let sent = decoder.send_packet(&carrier).and_then(|()| decoder.send_eof());
    sent.map_err(|error| DecodeError::Damaged { codec, cause: error.to_string() })?;
    let mut picture = ffmpeg::frame::Video::empty();
    decoder.receive_frame(&mut picture).map_err(|_| DecodeError::NoPicture)?;
    Ok(picture)
}

fn encode(picture: ffmpeg::frame::Video) -> Result<Vec<u8>, ffmpeg::Error> {
    encode_as(ffmpeg::codec::Id::MJPEG, picture)
}

fn encode_as(id: ffmpeg::codec::Id, mut picture: ffmpeg::frame::Video) -> Result<Vec<u8>, ffmpeg::Error> {
    let codec = ffmpeg::encoder::find(id).ok_or(ffmpeg::Error::EncoderNotFound)?;
    let mut context = ffmpeg::codec::Context::new_with_codec(codec);
    context.set_flags(ffmpeg::codec::Flags::QSCALE);
    context.set_threading(ffmpeg::threading::Config { count: 1, ..Default::default() });
    let mut encoder = context.encoder().video()?;
    encoder.set_width(picture.width());
    encoder.set_height(picture.height());
    encoder.set_format(picture.format());
    encoder.set_color_range(ffmpeg::color::Range::JPEG);
    encoder.set_time_base((1, 25));
    let lambda = QUALITY * ffmpeg::ffi::FF_QP2LAMBDA;
    encoder.set_global_quality(lambda);
    let mut encoder = encoder.open_as(codec)?;
    picture.set_kind(ffmpeg::picture::Type::I);
    picture.set_pts(Some(0));
    encoder.send_frame(&picture)?;
    encoder.send_eof()?;
    let mut image = ffmpeg::Packet::empty();
    encoder.receive_packet(&mut image)?;
    image.data().map(<[u8]>::to_vec).ok_or(ffmpeg::Error::InvalidData)
}

/// Many cameras leave the Huffman tables out of their MJPEG; browsers do not show that.
fn is_whole_jpeg(data: &[u8]) -> bool {
    let mut rest = match data {
        [0xff, 0xd8, rest @ ..] => rest,
        _ => return false,
    };
    loop {
        match rest {
            [0xff, 0xc4, ..] => return true,
            // Start of scan: the tables come before it, or not at all.
            [0xff, 0xda, ..] => return false,
            [0xff, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                match rest.get(2 + length.max(2)..) {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::media::testing;

    /// Size and grey picture of a JPEG, as the ffmpeg program sees them.
    fn seen(folder: &Path, jpeg: &[u8], size: &str) -> Vec<u8> {
        let path = folder.join("seen.jpg");
        std::fs::write(&path, jpeg).unwrap();
        let luma = testing::luma(&path);
        let (width, height) = size.split_once('x').unwrap();
        assert_eq!(luma.len(), width.parse::<usize>().unwrap() * height.parse::<usize>().unwrap(), "not {size}");
        luma
    }

    fn mean_distance(a: &[u8], b: &[u8]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    }

    #[test]
    fn it_is_the_picture_in_full_range() {
        let folder = tempfile::tempdir().unwrap();
        for (name, encode) in [
            ("a.mp4", &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"][..]),
            ("a.ts", &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]),
            ("b.mp4", &["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"]),
        ] {
            let clip = testing::clip(folder.path(), name, "322x182", 1, encode);
            let jpeg = snapshot(&testing::packets(&clip, 1)[0], None).expect("a keyframe becomes a picture");
            let shown = clip.to_str().unwrap();
            let filter = "scale=in_range=tv:out_range=pc,format=yuvj420p,extractplanes=y";
            let expected = testing::ffmpeg(&["-i", shown, "-vf", filter, "-frames:v", "1", "-f", "rawvideo", "-"]);
            let distance = mean_distance(&seen(folder.path(), &jpeg, "322x182"), &expected);
            assert!(distance < 4.0, "{name}: {distance} levels off");
        }
    }

    #[test]
    fn it_is_scaled_down_to_a_width_and_never_up() {
        let folder = tempfile::tempdir().unwrap();
        let clip = testing::clip(folder.path(), "a.mp4", "640x360", 1, &["-c:v", "libx264", "-preset", "ultrafast"]);
        let packet = &testing::packets(&clip, 1)[0];
        seen(folder.path(), &snapshot(packet, Some(161)).unwrap(), "161x91");
        seen(folder.path(), &snapshot(packet, Some(2000)).unwrap(), "640x360");
    }

    #[test]
    fn it_is_turned_as_it_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let clip = testing::clip(folder.path(), "a.mp4", "322x182", 1, &["-c:v", "libx264", "-preset", "ultrafast"]);
        for (turns, filter, size) in
            [(1, "transpose=clock", "182x322"), (2, "hflip,vflip", "322x182"), (3, "transpose=cclock", "182x322")]
        {
            let mut packet = testing::packets(&clip, 1).remove(0);
            let video = crate::domain::stream::VideoTrack { quarter_turns: turns, ..packet.stream.video.clone() };
            packet.stream = std::sync::Arc::new(crate::domain::stream::StreamInfo { video, audio: None });
            let jpeg = snapshot(&packet, None).expect("a keyframe becomes a picture");
            let filter = format!("{filter},scale=in_range=tv:out_range=pc,format=yuvj420p,extractplanes=y");
            let shown = clip.to_str().unwrap();
            let expected = testing::ffmpeg(&["-i", shown, "-vf", &filter, "-frames:v", "1", "-f", "rawvideo", "-"]);
            let distance = mean_distance(&seen(folder.path(), &jpeg, size), &expected);
            assert!(distance < 4.0, "{turns} quarter turns: {distance} levels off");
            let small = snapshot(&packet, Some(91)).unwrap();
            let size = if turns == 2 { "91x52" } else { "91x161" };
            seen(folder.path(), &small, size);
        }
    }

    #[test]
    fn a_jpeg_of_the_camera_is_passed_on_but_not_one_without_tables() {
        let folder = tempfile::tempdir().unwrap();
        let encode = ["-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-huffman", "default"];
        let clip = testing::clip(folder.path(), "a.mkv", "320x180", 1, &encode);
        let mut packets = testing::packets(&clip, 1);
        assert_eq!(snapshot(&packets[0], None).unwrap(), packets[0].data());
        let whole = snapshot(&packets[0], None).unwrap();
        let at = whole.windows(2).position(|pair| pair == [0xff, 0xc4]).expect("it has tables");
        let length = usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
        let without = [&whole[..at], &whole[at + 2 + length..]].concat();
        assert!(!is_whole_jpeg(&without));
        packets[0].payload = ffmpeg::Packet::copy(&without);
        let jpeg = snapshot(&packets[0], None).unwrap();
        assert!(is_whole_jpeg(&jpeg));
        let distance = mean_distance(&seen(folder.path(), &jpeg, "320x180"), &seen(folder.path(), &whole, "320x180"));
        assert!(distance < 4.0, "{distance} levels off");
    }

    #[test]
    fn what_is_no_keyframe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let clip = testing::clip(folder.path(), "a.mp4", "320x180", 1, &["-c:v", "libx264", "-preset", "ultrafast"]);
        let mut packets = testing::packets(&clip, 1);
        assert!(matches!(snapshot(&packets[1], None), Err(DecodeError::NotAKeyframe)));
        packets[0].payload = ffmpeg::Packet::copy(&[0, 0, 0, 4, 0x65, 1, 2, 3]);
        assert!(matches!(
            snapshot(&packets[0], None),
            Err(DecodeError::NoPicture | DecodeError::Damaged { codec: "h264", .. })
        ));
    }
}
