//! USB cameras and other V4L2 devices: JPEG pictures as they are sent, raw ones made JPEGs ([`super::raw`]).
//!
//! Belongs here: what V4L2 needs. Does not belong here: pixels.

use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use v4l::buffer;
use v4l::capability::Flags;
use v4l::io::mmap;
use v4l::io::traits::{CaptureStream, Stream};
use v4l::video::Capture;
use v4l::{Device, FourCC};

use super::intake::{Intake, Ticks, VideoSetup};
use super::raw::{self, RawPictures};
use super::{Cancel, OpenOptions, Source, SourceError, SourceErrorKind};
use crate::clock;
use crate::domain::source_url::SourceUrl;
use crate::domain::stream::VideoCodec;
use crate::media::av;
use crate::media::packet::{Packet, Session};

const BUFFERS: u32 = 4;
/// Waits are cut into such slices, so that a cancel is heard.
const SLICE_MS: i32 = 100;

/// Opens a device by its index (`0`) or path.
pub(super) fn open(
    options: &OpenOptions,
    session: Arc<Session>,
    cancel: &Cancel,
) -> Result<Box<dyn Source>, SourceError> {
    av::init();
    let url = &options.url;
    let text = url.expose();
    let path = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("/dev/video{text}"),
        false => text.to_owned(),
    };
    if path.contains('\0') {
        return Err(SourceError::new(SourceErrorKind::NotFound, url, "there is a NUL in the name"));
    }
    let device = Device::with_path(&path).map_err(|error| match (error.kind(), cameras_here()) {
        (io::ErrorKind::NotFound, Some(others)) => {
            let what = format!("there is no {path}; this machine has {others}");
            SourceError::new(SourceErrorKind::NotFound, url, what)
        }
        (io::ErrorKind::NotFound, None) => {
            let what = format!("there is no {path}, and no other camera at this machine; is it plugged in?");
            SourceError::new(SourceErrorKind::NotFound, url, what)
        }
        _ => explain(&error, url, "cannot be opened"),
    })?;
    let no_camera = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL | libc::ENODEV) => {
            SourceError::new(SourceErrorKind::Unsupported, url, "this device is no camera")
        }
        _ => explain(&error, url, "does not say what it can do"),
    };
    let capabilities = device.query_caps().map_err(no_camera)?.capabilities;
    if !capabilities.contains(Flags::VIDEO_CAPTURE | Flags::STREAMING) {
        let what = "this device takes no pictures; a camera often has a second device for other data, try the other";
        return Err(SourceError::new(SourceErrorKind::Unsupported, url, what));
    }
    let formats = device.enum_formats().map_err(|error| explain(&error, url, "does not list its formats"))?;
    let codes: Vec<FourCC> = formats.iter().map(|format| format.fourcc).collect();
    let Some(wanted) = best(&codes) else {
        let names: Vec<_> = codes.iter().map(FourCC::to_string).collect();
        let what = format!("this camera sends {} only; Tarsier takes MJPEG and usual raw pictures", names.join(", "));
        return Err(SourceError::new(SourceErrorKind::Unsupported, url, what));
    };
    let refused = |error: io::Error| explain(&error, url, &format!("refuses to send {wanted}"));
    let mut format = device.format().map_err(refused)?;
    format.fourcc = wanted;
    let format = device.set_format(&format).map_err(refused)?;
    let raw = match raw::pixel_of(&format.fourcc.repr) {
        _ if is_jpeg(&format.fourcc) => None,
        Some(pixel) => {
            tracing::info!(format = %format.fourcc, "the camera sends raw pictures; they are made JPEGs");
            let pictures = RawPictures::new(pixel, format.width, format.height, format.stride as usize);
            Some(pictures.map_err(|error| SourceError::new(SourceErrorKind::Unsupported, url, error.to_string()))?)
        }
        None => {
            let what = format!("the camera insists on {}, which Tarsier does not take", format.fourcc);
            return Err(SourceError::new(SourceErrorKind::Unsupported, url, what));
        }
    };
    let interval = device.params().ok().map(|parameters| parameters.interval);
    let rate = interval.map(|interval| f64::from(interval.denominator) / f64::from(interval.numerator));
    let stream = start(&device).map_err(|error| explain(&error, url, "does not start"))?;
    let setup = VideoSetup {
        codec: VideoCodec::Mjpeg,
        ticks: Ticks::new(1, 1_000_000),
        extradata: Vec::new(),
        size: (format.width, format.height),
        frames_per_second: rate,
        quarter_turns: 0,
        reorder: 0,
        has_decode_times: true,
        stamp_by_arrival: false,
    };
    Ok(Box::new(DeviceSource {
        url: url.clone(),
        read_timeout: options.read_timeout,
        cancel: cancel.clone(),
        opened: clock::monotonic(),
        last_picture: clock::monotonic(),
        raw,
        intake: Intake::new(Arc::clone(&session), setup, None),
        session,
        last_sequence: None,
        lost: 0,
        stream: ManuallyDrop::new(stream),
    }))
}

/// JPEGs rather than raw pictures: they need no work and less of the cable.
fn best(codes: &[FourCC]) -> Option<FourCC> {
    let raw = || codes.iter().find(|code| raw::pixel_of(&code.repr).is_some());
    codes.iter().find(|code| is_jpeg(code)).or_else(raw).copied()
}

/// The names of this machine's devices that may be cameras.
fn cameras_here() -> Option<String> {
    let entries = std::fs::read_dir("/dev").ok()?.filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.strip_prefix("video").is_some_and(|number| number.parse::<u32>().is_ok()));
    names.sort_by_key(|name| (name.len(), name.clone()));
    (!names.is_empty()).then(|| names.iter().map(|name| format!("/dev/{name}")).collect::<Vec<_>>().join(", "))
}

fn is_jpeg(format: &FourCC) -> bool {
    matches!(&format.repr, b"MJPG" | b"JPEG")
}

/// Starts the flow of pictures, with one buffer left for the first wait to hand in.
fn start(device: &Device) -> io::Result<mmap::Stream<'static>> {
    let mut stream = mmap::Stream::with_buffers(device, buffer::Type::VideoCapture, BUFFERS)?;
    stream.set_timeout(Duration::from_millis(u64::from(SLICE_MS.unsigned_abs())));
    for index in 1..BUFFERS as usize {
        // The driver may have given fewer.
        match CaptureStream::queue(&mut stream, index) {
            Err(error) if index == 1 => return Err(error),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    stream.start()?;
    Ok(stream)
}

struct DeviceSource {
    url: SourceUrl,
    read_timeout: Duration,
    cancel: Cancel,
    opened: Instant,
    last_picture: Instant,
    session: Arc<Session>,
    /// Makes JPEGs of what the camera sends; None: it sends them.
    raw: Option<RawPictures>,
    intake: Intake,
    last_sequence: Option<u32>,
    lost: u64,
    stream: ManuallyDrop<mmap::Stream<'static>>,
}

impl Drop for DeviceSource {
    fn drop(&mut self) {
        // The crate panics in its own drop if the driver does not stop in order. That must not end the process.
        // SAFETY: taken once, here, and not used again.
        let stream = unsafe { ManuallyDrop::take(&mut self.stream) };
        if catch_unwind(AssertUnwindSafe(|| drop(stream))).is_err() {
            tracing::warn!(source = %self.url, "the camera's driver did not stop in order");
        }
    }
}

impl DeviceSource {
    /// Waits for a picture, in slices.
    fn wait(&mut self) -> Result<(), SourceError> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(SourceError::new(SourceErrorKind::Cancelled, &self.url, "stopped"));
            }
            match self.stream.handle().poll(libc::POLLIN, SLICE_MS) {
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(&error, &self.url, "does not answer any more")),
            }
            if clock::monotonic().saturating_duration_since(self.last_picture) >= self.read_timeout {
                let what = format!("no picture for {} s; is it unplugged?", self.read_timeout.as_secs_f64());
                return Err(SourceError::new(SourceErrorKind::Timeout, &self.url, what));
            }
        }
    }
}

impl Source for DeviceSource {
    fn next(&mut self) -> Result<Option<Packet>, SourceError> {
        loop {
            if let Some(packet) = self.intake.pop() {
                self.last_picture = clock::monotonic();
                self.session.observe(packet.dts_us(), clock::utc_now().timestamp_micros());
                return Ok(Some(packet));
            }
            self.wait()?;
            let (data, meta) = match CaptureStream::next(&mut *self.stream) {
                Ok(picture) => picture,
                Err(error) => return Err(explain(&error, &self.url, "does not answer any more")),
            };
            self.cancel.advance();
            if let Some(last) = self.last_sequence.replace(meta.sequence) {
                self.lost += u64::from(meta.sequence.wrapping_sub(last).saturating_sub(1).min(1000));
            }
            let length = usize::try_from(meta.bytesused).unwrap_or(0);
            let Some(picture) = data.get(..length).filter(|picture| !picture.is_empty()) else { continue };
            if meta.flags.contains(buffer::Flags::ERROR) {
                continue;
            }
            let at_us = meta.timestamp.sec.saturating_mul(1_000_000).saturating_add(meta.timestamp.usec);
            let arrival_us = clock::monotonic().saturating_duration_since(self.opened).as_micros();
            let arrival_us = i64::try_from(arrival_us).unwrap_or(i64::MAX);
            let payload = match &mut self.raw {
                None => Some(ffmpeg_next::Packet::copy(picture)),
                Some(raw) => raw
                    .jpeg(picture)
                    .map_err(|error| SourceError::new(SourceErrorKind::Broken, &self.url, error.to_string()))?,
            };
            let Some(payload) = payload else { continue };
            self.intake.video(payload, Some(at_us), Some(at_us), Some(arrival_us));
        }
    }

    fn lost_packets(&self) -> u64 {
        self.lost
    }
}

/// A failure of the system in plain words.
fn explain(error: &io::Error, url: &SourceUrl, what: &str) -> SourceError {
    let (kind, hint) = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => (SourceErrorKind::NotFound, "; is it plugged in?"),
        Some(libc::EACCES | libc::EPERM) => {
            (SourceErrorKind::Unauthorized, "; add the user that Tarsier runs as to the group `video`")
        }
        Some(libc::EBUSY) => (SourceErrorKind::Unreachable, "; another program uses it"),
        _ => (SourceErrorKind::Broken, ""),
    };
    SourceError::new(kind, url, format!("the camera {what}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpegs_are_preferred_to_raw_pictures_and_those_to_nothing() {
        let codes = |names: &[&[u8; 4]]| names.iter().map(|name| FourCC::new(name)).collect::<Vec<_>>();
        let chosen = |names: &[&[u8; 4]]| best(&codes(names)).map(|code| code.repr);
        assert_eq!(chosen(&[b"YUYV", b"MJPG"]), Some(*b"MJPG"));
        assert_eq!(chosen(&[b"pBAA", b"NV12", b"YUYV"]), Some(*b"NV12"));
        assert_eq!(chosen(&[b"pBAA", b"H264"]), None);
        assert_eq!(chosen(&[]), None);
    }
}
