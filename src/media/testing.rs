//! Clips for this layer's unit tests: made by ffmpeg, read packet by packet without any of `source`'s work.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ffmpeg_next as ffmpeg;

use super::packet::{Packet, Session};
use crate::domain::stream::{StreamInfo, Track, VideoCodec, VideoTrack};

/// Runs ffmpeg with these arguments and returns what it wrote to standard output.
pub fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(arguments)
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A clip of ffmpeg's moving test picture, `seconds` at 15 pictures a second.
pub fn clip(folder: &Path, name: &str, size: &str, seconds: u32, encode: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let input = format!("testsrc2=size={size}:rate=15:duration={seconds}");
    let mut arguments = vec!["-f", "lavfi", "-i", &input];
    arguments.extend_from_slice(encode);
    let shown = path.to_str().expect("the path is text");
    arguments.push(shown);
    ffmpeg(&arguments);
    path
}

/// The luma planes that ffmpeg itself decodes, one after the other.
pub fn luma(path: &Path) -> Vec<u8> {
    let shown = path.to_str().expect("the path is text");
    ffmpeg(&["-i", shown, "-map", "0:v", "-vf", "extractplanes=y", "-fps_mode", "passthrough", "-f", "rawvideo", "-"])
}

/// The video packets of a file as one session.
pub fn packets(path: &Path, session: u64) -> Vec<Packet> {
    let mut input = ffmpeg::format::input(path).expect("the clip opens");
    let stream = input.streams().best(ffmpeg::media::Type::Video).expect("the clip has video");
    let (index, base) = (stream.index(), stream.time_base());
    assert_eq!(base.numerator(), 1, "the clip counts time in ticks of a whole clock");
    let codec = match stream.parameters().id() {
        ffmpeg::codec::Id::H264 => VideoCodec::H264,
        ffmpeg::codec::Id::HEVC => VideoCodec::H265,
        ffmpeg::codec::Id::MJPEG => VideoCodec::Mjpeg,
        other => panic!("a clip in {other:?}"),
    };
    // SAFETY: the parameters live as long as the stream, and hold `extradata_size` bytes.
    let (width, height, extradata) = unsafe {
        let parameters = &*stream.parameters().as_ptr();
        let bytes = match parameters.extradata.is_null() {
            true => Vec::new(),
            false => std::slice::from_raw_parts(parameters.extradata, parameters.extradata_size as usize).to_vec(),
        };
        (parameters.width as u32, parameters.height as u32, bytes)
    };
    let length_prefixed = codec != VideoCodec::Mjpeg && extradata.first() == Some(&1);
    let video = VideoTrack {
        codec,
        width,
        height,
        quarter_turns: 0,
        timescale: base.denominator() as u32,
        config_record: if length_prefixed { extradata } else { Vec::new() },
    };
    let (session, stream) = (Arc::new(Session::new(session)), Arc::new(StreamInfo { video, audio: None }));
    let mut packets = Vec::new();
    for (of, payload) in input.packets() {
        if of.index() == index {
            packets.push(Packet {
                session: session.clone(),
                stream: stream.clone(),
                track: Track::Video,
                keyframe: payload.is_key(),
                dts: payload.dts().or(payload.pts()).expect("the clip has times"),
                pts: payload.pts().or(payload.dts()).expect("the clip has times"),
                payload,
                length_prefixed,
            });
        }
    }
    packets
}
