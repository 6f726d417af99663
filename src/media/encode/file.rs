//! Drawings as an H.264 video in an MP4 file, through libav's encoder and muxer.
//!
//! Belongs here: the file and its end. Does not belong here: the encoder ([`super`]), what is drawn
//! ([`crate::media::panes`]), recordings (the archive writes those).

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::Rational;
use ffmpeg_next::format::context;
use thiserror::Error;

use super::{Colour, Encoder, EncoderError, EncoderSettings, pixel_format};
use crate::domain::stream::VideoCodec;
use crate::media::av;
use crate::media::new_file::NewFile;
use crate::media::picture::{BgrView, FromBgr};

/// Ticks a second of the file.
const TIMESCALE: i32 = 90_000;
/// Pictures from one keyframe to the next: how exactly a player can jump.
const KEYFRAME_DISTANCE: u32 = 50;
/// The encoder spends its bits as for this rate; the pictures' own times are what is written.
const USUAL_RATE: i32 = 25;
/// About x264's own.
const QUALITY: u32 = 72;

/// Why there is no video file.
#[derive(Debug, Error)]
pub enum EncodeError {
    #[error("cannot write {}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error("making the video failed: {0}")]
    Libav(#[from] ffmpeg::Error),
}

/// A video file under way. It has its name only when it is finished; dropped before that, nothing stays behind.
pub struct VideoFile {
    path: PathBuf,
    unfinished: NewFile,
    fault: Fault,
    output: context::Output,
    encoder: Encoder,
    convert: FromBgr,
    last_ticks: Option<i64>,
    /// From the last picture but one to the last: how long the last is shown.
    step_ticks: i64,
}

impl VideoFile {
    /// Begins a file of pictures of this size; both sides must be even.
    pub fn create(path: &Path, width: u32, height: u32) -> Result<Self, EncodeError> {
        av::init();
        let created = NewFile::create(path);
        let (unfinished, file) = created.map_err(|cause| EncodeError::File { path: path.to_owned(), cause })?;
        let fault = Fault::default();
        let watched = context::StreamIo::from_write_seek(WatchedFile { file, fault: fault.clone() })?;
        let mut output = ffmpeg::format::output_to_stream(watched, None, Some("mp4"))?;
        let encoder = Encoder::open(EncoderSettings {
            codec: VideoCodec::H264,
            width,
            height,
            timescale: TIMESCALE as u32,
            rate: f64::from(USUAL_RATE),
            keyframe_distance: KEYFRAME_DISTANCE,
            quality: QUALITY,
            threads: 0,
            colour: Colour::OF_DRAWINGS,
        })?;
        output.add_stream_with(encoder.inner())?.set_time_base((1, TIMESCALE));
        output.write_header()?;
        Ok(VideoFile {
            path: path.to_owned(),
            unfinished,
            fault,
            output,
            encoder,
            convert: FromBgr::new(pixel_format(VideoCodec::H264)),
            last_ticks: None,
            step_ticks: i64::from(TIMESCALE / USUAL_RATE),
        })
    }

    /// Adds a picture, `at_us` after the first. One that is not later than the one before comes right after it.
    pub fn write(&mut self, drawing: BgrView, at_us: i64) -> Result<(), EncodeError> {
        let mut picture = self.convert.run(drawing)?;
        // To the nearest: the stream's own microseconds are rounded already.
        let mut ticks = ((i128::from(at_us) * i128::from(TIMESCALE) + 500_000).div_euclid(1_000_000)) as i64;
        if let Some(last) = self.last_ticks {
            ticks = ticks.max(last + 1);
            self.step_ticks = ticks - last;
        }
        self.last_ticks = Some(ticks);
        picture.set_pts(Some(ticks));
        self.encoder.send(&picture)?;
        self.receive()
    }

    /// Makes it a whole file under its own name.
    pub fn finish(mut self) -> Result<(), EncodeError> {
        self.encoder.finish()?;
        self.receive()?;
        let ended = self.output.write_trailer();
        self.check_file()?;
        ended?;
        let VideoFile { path, unfinished, fault, output, .. } = self;
        // Closing writes what libav still holds.
        drop(output);
        check(&path, &fault)?;
        unfinished.finish().map_err(|cause| EncodeError::File { path, cause })
    }

    fn receive(&mut self) -> Result<(), EncodeError> {
        let to = self.output.stream(0).map_or(Rational(1, TIMESCALE), |stream| stream.time_base());
        while let Some(mut packet) = self.encoder.receive()? {
            packet.set_stream(0);
            packet.set_duration(self.step_ticks);
            packet.rescale_ts(Rational(1, TIMESCALE), to);
            let written = packet.write_interleaved(&mut self.output);
            self.check_file()?;
            written?;
        }
        Ok(())
    }

    fn check_file(&self) -> Result<(), EncodeError> {
        check(&self.path, &self.fault)
    }
}

fn check(path: &Path, fault: &Fault) -> Result<(), EncodeError> {
    match fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(cause) => Err(EncodeError::File { path: path.to_owned(), cause }),
        None => Ok(()),
    }
}

/// What the disk said first; libav passes on little of it.
type Fault = Arc<Mutex<Option<io::Error>>>;

struct WatchedFile {
    file: File,
    fault: Fault,
}

impl WatchedFile {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            let kept = io::Error::new(error.kind(), error.to_string());
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(kept);
        })
    }
}

impl Write for WatchedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.note(result)
    }
}

impl Seek for WatchedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let result = self.file.seek(to);
        self.note(result)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::media::testing;

    fn drawing(data: &[u8]) -> BgrView<'_> {
        BgrView { width: 64, height: 48, data }
    }

    #[test]
    fn pictures_keep_their_times_and_colours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let mut file = VideoFile::create(&path, 64, 48).unwrap();
        let red: Vec<u8> = [20, 20, 230].repeat(64 * 48);
        // One comes late, one at the same time as the one before.
        for at_us in [0, 100_000, 200_000, 1_000_000, 1_000_000, 1_100_000] {
            file.write(drawing(&red), at_us).unwrap();
        }
        assert!(!path.exists());
        file.finish().unwrap();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.mp4"]);

        let times: Vec<i64> = testing::packets(&path, 1).iter().map(|packet| packet.pts_us()).collect();
        assert_eq!(times, [0, 100_000, 200_000, 1_000_000, 1_000_011, 1_100_000]);
        let shown = path.to_str().unwrap();
        let pixels = testing::ffmpeg(&["-i", shown, "-f", "rawvideo", "-pix_fmt", "bgr24", "-"]);
        assert!(pixels.chunks(3).all(|pixel| pixel[0] < 40 && pixel[1] < 40 && pixel[2] > 210), "{:?}", &pixels[..9]);
    }

    #[test]
    fn what_is_broken_off_leaves_nothing_and_keeps_the_file_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        fs::write(&path, "before").unwrap();
        let mut file = VideoFile::create(&path, 64, 48).unwrap();
        file.write(drawing(&vec![128; 3 * 64 * 48]), 0).unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = VideoFile::create(Path::new("/no/such/folder/a.mp4"), 64, 48).err().unwrap();
        assert!(error.to_string().starts_with("cannot write /no/such/folder/a.mp4: "), "{error}");
    }

    #[test]
    fn a_full_disk_is_told() {
        let fault = Fault::default();
        let mut full =
            WatchedFile { file: File::options().write(true).open("/dev/full").unwrap(), fault: fault.clone() };
        assert!(full.write(b"x").is_err());
        let error = check(Path::new("a.mp4"), &fault).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
    }
}
