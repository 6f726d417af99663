//! Clips that know their frame numbers and move when they are told to.
//!
//! The picture is drawn here and encoded by the ffmpeg command line. Along its top edge it carries its frame
//! number as a row of squares in two greys close enough that no motion detector should mind. Below is a fixed
//! pattern, and a white box that moves in the given stretches and stands still between them.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Raise it when the drawing changes, so that old clips are not taken for new ones.
const DRAWING_VERSION: u32 = 2;
pub(super) const NUMBER_BITS: usize = 16;
pub(super) const CHECK_BITS: usize = 8;
/// Squares along the top: a dark and a light one to compare with, then number and check, high bit first.
pub(super) const SQUARES: usize = 2 + NUMBER_BITS + CHECK_BITS;
pub(super) const SQUARES_A_ROW: usize = SQUARES / 2;
const DARK: u8 = 122;
const LIGHT: u8 = 128;

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Codec {
    H264,
    H265,
    Mjpeg,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum AudioCodec {
    Aac,
    Alaw,
    Mulaw,
}

/// What a clip is made of; [`Clip::spec`] begins one, [`ClipSpec::make`] makes it or finds it.
#[derive(Clone, Debug, Hash)]
pub struct ClipSpec {
    codec: Codec,
    width: u32,
    height: u32,
    fps: u32,
    frames: u32,
    gop: u32,
    bframes: u32,
    motion: Vec<Range<u32>>,
    motion_ms: Vec<Range<u64>>,
    milliseconds: u64,
    gop_ms: u64,
    audio: Option<AudioCodec>,
    bitrate_kbit: Option<u32>,
}

/// A clip on disk.
#[derive(Clone, Debug)]
pub struct Clip {
    pub path: PathBuf,
    pub codec: Codec,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    /// Frames in the clip; frame numbers are `0..frames`.
    pub frames: u32,
    pub gop: u32,
    motion: Vec<Range<u32>>,
}

impl Clip {
    /// 320x240 H.264 at 15 fps, 20 s, a keyframe every 2 s, no B-frames, no motion, no sound.
    pub fn spec() -> ClipSpec {
        ClipSpec {
            codec: Codec::H264,
            width: 320,
            height: 240,
            fps: 15,
            frames: 0,
            gop: 0,
            bframes: 0,
            motion: Vec::new(),
            motion_ms: Vec::new(),
            milliseconds: 20_000,
            gop_ms: 2_000,
            audio: None,
            bitrate_kbit: None,
        }
    }

    /// A clip that ffmpeg draws by itself (an mp4), kept under `name` as long as the arguments are the same.
    pub fn drawn_by_ffmpeg(name: &str, arguments: &[&str]) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        arguments.hash(&mut hasher);
        let path = clips_dir().join(format!("{name}-{:016x}.mp4", hasher.finish()));
        make_once(&path, |part| {
            let output = Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-y"])
                .args(arguments)
                .arg(part)
                .output()
                .expect("the ffmpeg command line is installed (make setup)");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        });
        path
    }

    /// The stretches in which the box moves: each frame in them differs from the one before.
    pub fn motion_frames(&self) -> &[Range<u32>] {
        &self.motion
    }

    pub fn seconds(&self) -> f64 {
        f64::from(self.frames) / f64::from(self.fps)
    }
}

impl ClipSpec {
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    pub fn fps(mut self, fps: u32) -> Self {
        self.fps = fps;
        self
    }

    pub fn seconds(mut self, seconds: f64) -> Self {
        self.milliseconds = (seconds * 1000.0) as u64;
        self
    }

    pub fn gop_seconds(mut self, seconds: f64) -> Self {
        self.gop_ms = (seconds * 1000.0) as u64;
        self
    }

    pub fn bframes(mut self, bframes: u32) -> Self {
        self.bframes = bframes;
        self
    }

    /// The box moves from second `from` up to second `to`; may be called more than once.
    pub fn motion(mut self, from: f64, to: f64) -> Self {
        self.motion_ms.push((from * 1000.0) as u64..(to * 1000.0) as u64);
        self
    }

    pub fn audio(mut self, codec: AudioCodec) -> Self {
        self.audio = Some(codec);
        self
    }

    /// A fixed bit rate instead of a fixed quality, for tests about load.
    pub fn bitrate_kbit(mut self, kbit: u32) -> Self {
        self.bitrate_kbit = Some(kbit);
        self
    }

    pub fn make(mut self) -> Clip {
        let frame_of = |ms: u64| u32::try_from(ms * u64::from(self.fps) / 1000).unwrap();
        self.frames = frame_of(self.milliseconds);
        self.gop = frame_of(self.gop_ms).max(1);
        self.motion = self.motion_ms.iter().map(|m| frame_of(m.start)..frame_of(m.end)).collect();
        let mut hasher = DefaultHasher::new();
        (DRAWING_VERSION, &self).hash(&mut hasher);
        let plain_mp4 = self.codec != Codec::Mjpeg && matches!(self.audio, None | Some(AudioCodec::Aac));
        let extension = if plain_mp4 { "mp4" } else { "mov" };
        let path = clips_dir().join(format!("{:?}-{:016x}.{extension}", self.codec, hasher.finish()));
        make_once(&path, |part| self.encode(part));
        Clip {
            path,
            codec: self.codec,
            width: self.width,
            height: self.height,
            fps: self.fps,
            frames: self.frames,
            gop: self.gop,
            motion: self.motion,
        }
    }

    fn encode(&self, to: &Path) {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s"]);
        command.arg(format!("{}x{}", self.width, self.height));
        command.args(["-r", &self.fps.to_string(), "-i", "pipe:0"]);
        let sound_seconds = format!("{}", self.milliseconds as f64 / 1000.0);
        if let Some(audio) = self.audio {
            let rate = if audio == AudioCodec::Aac { 48_000 } else { 8_000 };
            command.args([
                "-f",
                "lavfi",
                "-i",
                &format!("sine=frequency=440:sample_rate={rate}:duration={sound_seconds}"),
            ]);
        }
        let gop = self.gop.to_string();
        let bframes = self.bframes.to_string();
        let rate = self.bitrate_kbit.map(|kbit| format!("{kbit}k"));
        match self.codec {
            Codec::H264 => {
                command.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", &gop, "-keyint_min", &gop]);
                command.args(["-sc_threshold", "0", "-bf", &bframes, "-pix_fmt", "yuv420p"]);
                match &rate {
                    Some(rate) => command.args(["-b:v", rate, "-maxrate", rate, "-bufsize", rate]),
                    None => command.args(["-qp", "16"]),
                };
            }
            Codec::H265 => {
                let options = format!(
                    "log-level=none:keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes={bframes}:qp=14"
                );
                command.args(["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", &options, "-tag:v", "hvc1"]);
                command.args(["-pix_fmt", "yuv420p"]);
            }
            Codec::Mjpeg => {
                // RTP carries only JPEGs with the standard tables.
                command.args(["-c:v", "mjpeg", "-huffman", "default", "-q:v", "2", "-pix_fmt", "yuvj420p"]);
            }
        }
        match self.audio {
            Some(AudioCodec::Aac) => command.args(["-c:a", "aac", "-b:a", "64k"]),
            Some(AudioCodec::Alaw) => command.args(["-c:a", "pcm_alaw"]),
            Some(AudioCodec::Mulaw) => command.args(["-c:a", "pcm_mulaw"]),
            None => command.arg("-an"),
        };
        command.arg(to).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the ffmpeg command line is installed (make setup)");
        let mut pipe = child.stdin.take().unwrap();
        let mut painter = Painter::new(self);
        for number in 0..self.frames {
            if pipe.write_all(painter.paint(number)).is_err() {
                break; // ffmpeg ended; its words come below
            }
        }
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ffmpeg could not make {}: {words}", to.display());
    }
}

/// Joins H.264 (or H.265) clips of different sizes into one raw stream that changes size in band.
pub fn concat(clips: &[&Clip]) -> Clip {
    let first = clips[0];
    let mut hasher = DefaultHasher::new();
    for clip in clips {
        clip.path.hash(&mut hasher);
    }
    let extension = if first.codec == Codec::H265 { "h265" } else { "h264" };
    let muxer = if first.codec == Codec::H265 { "hevc" } else { "h264" };
    let path = clips_dir().join(format!("concat-{:016x}.{extension}", hasher.finish()));
    make_once(&path, |part| {
        let mut joined = File::create(part).unwrap();
        for clip in clips {
            let output = Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-i"])
                .arg(&clip.path)
                .args(["-map", "0:v", "-c", "copy", "-f", muxer, "pipe:1"])
                .output()
                .expect("the ffmpeg command line is installed (make setup)");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            joined.write_all(&output.stdout).unwrap();
        }
    });
    let mut motion = Vec::new();
    let mut frames = 0;
    for clip in clips {
        motion.extend(clip.motion.iter().map(|m| m.start + frames..m.end + frames));
        frames += clip.frames;
    }
    Clip { path, frames, motion, ..first.clone() }
}

/// Tests run in processes of their own: one makes a clip, the others wait for it.
fn make_once(path: &Path, make: impl FnOnce(&Path)) {
    if path.exists() {
        return;
    }
    let extension = path.extension().unwrap().to_str().unwrap();
    let lock = File::create(path.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !path.exists() {
        let part = path.with_extension(format!("part.{extension}"));
        make(&part);
        fs::rename(&part, path).unwrap();
    }
    drop(lock);
}

fn clips_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-clips");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Side in pixels of one square of the frame number.
pub(super) fn square_side(width: usize) -> usize {
    (width / (SQUARES_A_ROW + 4)) & !1
}

pub(super) fn check_of(number: u32) -> u32 {
    (number.wrapping_mul(2_654_435_761) >> 16) & 0xff ^ 0x5a
}

struct Painter {
    width: usize,
    height: usize,
    motion: Vec<Range<u32>>,
    still: Vec<u8>,
    frame: Vec<u8>,
    /// Steps the box has made.
    steps: usize,
}

impl Painter {
    fn new(spec: &ClipSpec) -> Self {
        let (width, height) = (spec.width as usize, spec.height as usize);
        assert!(width % 2 == 0 && height % 2 == 0, "even sizes only");
        let mut still = vec![128u8; width * height * 3 / 2];
        for y in 0..height {
            for x in 0..width {
                // A slope, stripes and a little grain, in the darker half.
                let slope = 40 + 50 * x / width + 20 * y / height;
                let stripe = if (x * 8 / width + y * 6 / height) % 2 == 0 { 12 } else { 0 };
                let grain = (x * 7919 + y * 104_729) % 5;
                still[y * width + x] = (slope + stripe + grain) as u8;
            }
        }
        // Something black, so that the darkest and (with the box) the lightest grey are always the same.
        fill(&mut still, width, 0, height - height / 16, width / 8, height / 16, 16);
        let frame = still.clone();
        Painter { width, height, motion: spec.motion.clone(), still, frame, steps: 0 }
    }

    fn paint(&mut self, number: u32) -> &[u8] {
        self.frame.copy_from_slice(&self.still);
        if self.motion.iter().any(|stretch| stretch.contains(&number)) {
            self.steps += 1;
        }
        let (box_width, box_height) = (self.width / 6, self.height / 4);
        let track = self.width - box_width;
        let step = (self.width / 32).max(2);
        let way = (self.steps * step) % (2 * track);
        let left = if way <= track { way } else { 2 * track - way };
        fill(&mut self.frame, self.width, left, self.height / 2, box_width, box_height, 235);
        let side = square_side(self.width);
        let bits = (number << CHECK_BITS) | check_of(number);
        for square in 0..SQUARES {
            let light = match square {
                0 => false,
                1 => true,
                _ => bits >> (SQUARES - 1 - square) & 1 == 1,
            };
            let (row, column) = (square / SQUARES_A_ROW, square % SQUARES_A_ROW);
            let grey = if light { LIGHT } else { DARK };
            fill(&mut self.frame, self.width, column * side, row * side, side, side, grey);
        }
        &self.frame
    }
}

fn fill(plane: &mut [u8], stride: usize, left: usize, top: usize, width: usize, height: usize, grey: u8) {
    for row in plane.chunks_exact_mut(stride).skip(top).take(height) {
        row[left..left + width].fill(grey);
    }
}
