//! What a file holds of its source, byte for byte: its VCL NAL units, or for MJPEG its JPEGs' scan data.

use std::path::Path;
use std::process::Command;

use super::clips::Codec;

/// A hash of every VCL NAL unit (or JPEG scan) of a file, in decoding order.
#[track_caller]
pub fn vcl_units(path: &Path, codec: Codec) -> Vec<u64> {
    let muxer = match codec {
        Codec::H264 => "h264",
        Codec::H265 => "hevc",
        Codec::Mjpeg => "mjpeg",
    };
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-c", "copy", "-f", muxer, "pipe:1"])
        .output()
        .expect("the ffmpeg command line is installed (make setup)");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let bytes = &output.stdout;
    match codec {
        Codec::H264 => nal_units(bytes).filter(|n| matches!(n[0] & 0x1f, 1..=5)).map(hash).collect(),
        Codec::H265 => nal_units(bytes).filter(|n| n[0] >> 1 & 0x3f < 32).map(hash).collect(),
        Codec::Mjpeg => jpegs(bytes).map(|jpeg| hash(scan(jpeg))).collect(),
    }
}

/// `part` is one unbroken run of `whole`, which repeats (a looped clip). Gives back where in `whole` it starts.
/// The hashes of a clip must differ from each other, which its burnt-in frame numbers see to.
#[track_caller]
pub fn assert_run_of(part: &[u64], whole: &[u64]) -> usize {
    assert!(!part.is_empty(), "nothing was recorded");
    let start = whole.iter().position(|unit| *unit == part[0]).expect("the first unit is one of the source's");
    for (at, unit) in part.iter().enumerate() {
        let place = (start + at) % whole.len();
        if *unit != whole[place] {
            let found = whole.iter().position(|w| w == unit);
            panic!("unit {at} should be the source's {place}, and is its {found:?}");
        }
    }
    start
}

fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a: the same in every process.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

pub(super) fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream[at..].starts_with(&[0, 0, 1]) {
            starts.push(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|s| s - 3).chain([stream.len()]).collect();
    starts.into_iter().zip(ends).filter_map(move |(start, end)| {
        let unit = &stream[start..end];
        let length = unit.iter().rposition(|b| *b != 0)? + 1; // trailing zeros belong to the next start code
        Some(&unit[..length])
    })
}

/// Splits a stream of JPEGs at their end markers (a scan holds none).
pub(super) fn jpegs(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let start = rest.windows(2).position(|w| w == [0xff, 0xd8])?;
        let length = rest[start..].windows(2).position(|w| w == [0xff, 0xd9])? + 2;
        let jpeg = &rest[start..start + length];
        rest = &rest[start + length..];
        Some(jpeg)
    })
}

fn scan(jpeg: &[u8]) -> &[u8] {
    let start = jpeg.windows(2).position(|w| w == [0xff, 0xda]).expect("a JPEG has a scan");
    let header = usize::from(u16::from_be_bytes([jpeg[start + 2], jpeg[start + 3]]));
    &jpeg[start + 2 + header..jpeg.len() - 2]
}
