//! Reads the frame numbers back from a recording, decoded by the ffmpeg command line.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::clips::{CHECK_BITS, SQUARES, SQUARES_A_ROW, check_of, square_side};

/// A frame of a recording, in the order of presentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// The number burnt into the picture: the frame's place in its clip.
    pub number: u32,
    /// Presentation time in the file.
    pub pts_s: f64,
}

/// Decodes `path` and reads every frame's number. A file that does not decode without an error, or a picture
/// whose number is unreadable, fails the test.
#[track_caller]
pub fn read_frames(path: &Path) -> Vec<Frame> {
    let probed = probe(path);
    let video = probed["streams"]
        .as_array()
        .and_then(|streams| streams.iter().find(|s| s["codec_type"] == "video"))
        .unwrap_or_else(|| panic!("{} has no video: {probed}", path.display()));
    let width = video["width"].as_u64().unwrap() as usize;
    let side = square_side(width);
    let (band_width, band_height) = (side * SQUARES_A_ROW, side * 2);
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-fps_mode", "passthrough", "-vf"])
        .arg(format!("crop={band_width}:{band_height}:0:0"))
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"])
        .output()
        .expect("the ffmpeg command line is installed (make setup)");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} does not decode: {words}", path.display());
    let times = presentation_times(path);
    let numbers: Vec<u32> = output
        .stdout
        .chunks_exact(band_width * band_height)
        .enumerate()
        .map(|(at, band)| {
            number_of(band, band_width, side)
                .unwrap_or_else(|| panic!("{}: the number of picture {at} is unreadable", path.display()))
        })
        .collect();
    assert_eq!(numbers.len(), times.len(), "{}: pictures and packets", path.display());
    numbers.into_iter().zip(times).map(|(number, pts_s)| Frame { number, pts_s }).collect()
}

fn number_of(band: &[u8], stride: usize, side: usize) -> Option<u32> {
    let mean = |square: usize| {
        let (row, column) = (square / SQUARES_A_ROW, square % SQUARES_A_ROW);
        let margin = side / 4;
        let mut sum = 0u32;
        let mut count = 0u32;
        for y in row * side + margin..(row + 1) * side - margin {
            for x in column * side + margin..(column + 1) * side - margin {
                sum += u32::from(band[y * stride + x]);
                count += 1;
            }
        }
        f64::from(sum) / f64::from(count)
    };
    let middle = (mean(0) + mean(1)) / 2.0;
    let bits = (2..SQUARES).fold(0u32, |bits, square| bits << 1 | u32::from(mean(square) > middle));
    let number = bits >> CHECK_BITS;
    (bits & ((1 << CHECK_BITS) - 1) == check_of(number)).then_some(number)
}

fn presentation_times(path: &Path) -> Vec<f64> {
    let probed = ffprobe(path, &["-select_streams", "v:0", "-show_entries", "packet=pts_time"]);
    let mut times: Vec<f64> = probed["packets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|packet| packet["pts_time"].as_str().expect("every packet has a time").parse().unwrap())
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Every frame is the one after the frame before it (a clip of `clip_frames` starts again at 0) and comes later.
#[track_caller]
pub fn assert_unbroken(frames: &[Frame], clip_frames: u32) {
    for pair in frames.windows(2) {
        let next = (pair[0].number + 1) % clip_frames;
        assert_eq!(pair[1].number, next, "after frame {} at {} s", pair[0].number, pair[0].pts_s);
        assert!(pair[1].pts_s > pair[0].pts_s, "times stand still at {} s", pair[0].pts_s);
    }
}

/// What `ffprobe -show_streams -show_format` says.
#[track_caller]
pub fn probe(path: &Path) -> Value {
    ffprobe(path, &["-show_streams", "-show_format"])
}

/// The duration that the container names, in seconds.
#[track_caller]
pub fn duration_s(path: &Path) -> f64 {
    let probed = probe(path);
    let text = probed["format"]["duration"].as_str().unwrap_or_else(|| panic!("no duration: {probed}"));
    text.parse().unwrap()
}

/// `ffmpeg -xerror` decodes everything in the file without a word.
pub fn decodes_cleanly(path: &Path) -> Result<(), String> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .expect("the ffmpeg command line is installed (make setup)");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && words.is_empty() { Ok(()) } else { Err(format!("{}: {words}", path.display())) }
}

#[track_caller]
fn ffprobe(path: &Path, arguments: &[&str]) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json"])
        .args(arguments)
        .arg(path)
        .output()
        .expect("ffprobe is installed (make setup)");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffprobe {}: {words}", path.display());
    serde_json::from_slice(&output.stdout).unwrap()
}
