//! RTSP(S), HTTP and files, through libav.
//!
//! Belongs here: libav's options, its errors in plain words, the pace and the repetition of files. Does not
//! belong here: what packets mean (see `intake`).

use std::collections::BTreeSet;
use std::ffi::{CString, c_int};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffmpeg_next::codec::Id;
use ffmpeg_next::util::interrupt;
use ffmpeg_next::{Dictionary, Error, ffi, format, media, packet};

use super::audio::{AudioIntake, AudioSetup};
use super::deadline::Deadline;
use super::intake::{ARRIVAL_TIMESCALE, Intake, Ticks, VideoSetup};
use super::{CLOSE_TIMEOUT, Cancel, OpenOptions, Source, SourceError, SourceErrorKind};
use crate::clock;
use crate::domain::config::{AudioMode, Transport};
use crate::domain::source_url::SourceKind;
use crate::domain::stream::{Track, VideoCodec};
use crate::media::av::{self, Watch};
use crate::media::packet::{Packet, Session};

/// With `transport: auto`, UDP has this long to bring packets before TCP is tried.
const UDP_TRIAL: Duration = Duration::from_secs(3);
/// A camera that was late with its stream, or fell silent, is told that nobody waits any more, within this time.
const HANG_UP_TIMEOUT: Duration = Duration::from_millis(200);
/// Receive buffer asked for each UDP socket.
const UDP_BUFFER_BYTES: u32 = 4 << 20;
/// A live stream is looked at for so much of its own time, if it does not describe itself sooner.
const LIVE_ANALYSIS_US: u32 = 1_500_000;
/// So many unreadable packets in a row end a live stream.
const MAX_BAD_READS: u32 = 100;
/// Sleeps are cut into such slices, so that a cancel is heard.
const SLICE: Duration = Duration::from_millis(50);

/// The rotation of a stream's display matrix, clockwise; what lies between is taken for the nearest quarter.
fn quarter_turns(stream: &format::stream::Stream) -> u8 {
    let matrix = stream.side_data().find(|data| data.kind() == packet::side_data::Type::DisplayMatrix);
    let Some(matrix) = matrix.as_ref().map(packet::SideData::data) else { return 0 };
    let number = |at: usize| matrix.get(4 * at..)?.first_chunk().map(|bytes| f64::from(i32::from_ne_bytes(*bytes)));
    let (Some(along), Some(across)) = (number(0), number(1)) else { return 0 };
    let quarters = across.atan2(along) / std::f64::consts::FRAC_PI_2;
    (quarters.round() as i32).rem_euclid(4) as u8
}

/// Opens what `options` says.
pub(super) fn open(
    options: &OpenOptions,
    session: Arc<Session>,
    cancel: &Cancel,
) -> Result<Box<dyn Source>, SourceError> {
    av::init();
    let watch = Watch::new(&options.url);
    let _entered = watch.enter();
    let input = open_input(options, cancel, &watch)?;
    let setup = choose_streams(&input.context, options)?;
    let live = options.url.kind() != SourceKind::File;
    Ok(Box::new(LibavSource {
        options: options.clone(),
        cancel: cancel.clone(),
        watch: Arc::clone(&watch),
        live,
        finite: setup.finite,
        video_index: setup.video_index,
        audio_index: setup.audio_index,
        intake: Intake::new(Arc::clone(&session), setup.video, setup.audio),
        session,
        opened: clock::monotonic(),
        first_us: None,
        without_video: Duration::ZERO,
        bad_reads: 0,
        pace: None,
        repetition: Repetition::default(),
        state: State::Reading,
        input: Some(input),
    }))
}

/// An open input and the deadline that its interrupt callback asks about.
struct Opened {
    context: format::context::Input,
    deadline: Arc<Deadline>,
    /// Read already, to see whether anything comes.
    first: Option<packet::Packet>,
}

struct LibavSource {
    options: OpenOptions,
    cancel: Cancel,
    watch: Arc<Watch>,
    session: Arc<Session>,
    /// It sends by itself, at its own pace.
    live: bool,
    /// It has an end.
    finite: bool,
    video_index: usize,
    audio_index: Option<usize>,
    intake: Intake,
    opened: Instant,
    /// Decode time of the first picture.
    first_us: Option<i64>,
    /// Time spent in reading since the last picture.
    without_video: Duration,
    bad_reads: u32,
    pace: Option<Pace>,
    repetition: Repetition,
    state: State,
    /// None after it failed to be opened again, or was closed.
    input: Option<Opened>,
}

/// What is left to do.
enum State {
    Reading,
    /// Nothing more is read; what is ready goes out first.
    Ending(Result<(), SourceError>),
}

/// The moment that belongs to a file's timestamp.
struct Pace {
    start: Instant,
    first_us: i64,
}

/// Where in its repetitions a file is; in the video track's ticks.
#[derive(Default)]
struct Repetition {
    /// Added to what the file says.
    offset: i64,
    first_dts: Option<i64>,
    /// End of the last picture so far, before the offset.
    end: Option<i64>,
    pictures: u64,
    /// Audio before this (in its own ticks, with offset) was already heard.
    audio_end: Option<i64>,
}

impl Source for LibavSource {
    fn next(&mut self) -> Result<Option<Packet>, SourceError> {
        let watch = Arc::clone(&self.watch);
        let _entered = watch.enter();
        loop {
            if let Some(packet) = self.intake.pop() {
                if self.is_over(&packet) {
                    self.end(Ok(()));
                    return Ok(None);
                }
                self.keep_pace(&packet)?;
                self.observe(&packet);
                return Ok(Some(packet));
            }
            match &self.state {
                State::Ending(result) => return result.clone().map(|()| None),
                State::Reading => {}
            }
            if self.cancel.is_cancelled() {
                return Err(self.cancelled());
            }
            if let Err(error) = self.read() {
                self.end(Err(error));
            }
        }
    }

    fn lost_packets(&self) -> u64 {
        self.watch.lost_packets()
    }

    fn quarter_turns(&self) -> u8 {
        let stream = self.input.as_ref().and_then(|input| input.context.stream(self.video_index));
        stream.map_or(0, |stream| quarter_turns(&stream))
    }

    fn duration_us(&self) -> Option<i64> {
        let input = self.input.as_ref().filter(|_| self.finite)?;
        // libav counts the length of a file in microseconds.
        Some(input.context.duration()).filter(|&us| us > 0)
    }
}

impl Drop for LibavSource {
    fn drop(&mut self) {
        let _entered = self.watch.enter();
        self.close();
    }
}

impl LibavSource {
    fn error(&self, kind: SourceErrorKind, what: impl AsRef<str>) -> SourceError {
        SourceError::new(kind, &self.options.url, what)
    }

    fn cancelled(&self) -> SourceError {
        self.error(SourceErrorKind::Cancelled, "stopped")
    }

    fn silent(&self) -> SourceError {
        let limit = self.options.read_timeout.as_secs_f64();
        let what = format!("nothing came for {limit} s; is the camera still on, and the network up?");
        self.error(SourceErrorKind::Timeout, what)
    }

    fn close(&mut self) {
        let is_silent = matches!(&self.state, State::Ending(Err(error)) if error.kind == SourceErrorKind::Timeout);
        if let Some(opened) = self.input.take() {
            opened.deadline.close_within(if is_silent { HANG_UP_TIMEOUT } else { CLOSE_TIMEOUT });
        }
    }

    /// Nothing more is read, and `next` says so when all that is ready has gone out.
    fn end(&mut self, result: Result<(), SourceError>) {
        self.intake.finish();
        self.state = State::Ending(result);
    }

    /// Reads one packet and lets it in.
    fn read(&mut self) -> Result<(), SourceError> {
        let limit = self.options.read_timeout;
        let Some(opened) = &mut self.input else {
            return Err(self.cancelled());
        };
        // Sound alone is no sign of life of a camera.
        let began = clock::monotonic();
        opened.deadline.set(limit.saturating_sub(self.without_video));
        let mut payload = packet::Packet::empty();
        let result = match opened.first.take() {
            Some(first) => {
                payload = first;
                Ok(())
            }
            None => payload.read(&mut opened.context),
        };
        if self.live {
            self.without_video += began.elapsed_now();
        }
        let interrupted = opened.deadline.has_interrupted();
        match result {
            Ok(()) => {
                self.bad_reads = 0;
                self.take(payload);
                if interrupted && !self.cancel.is_cancelled() {
                    // What its parser still held when it was told to give up: the camera sent nothing.
                    return Err(self.silent());
                }
                self.look_for_keyframe()
            }
            Err(Error::Eof) => self.at_end(),
            Err(error) => self.after_failure(error),
        }
    }

    fn take(&mut self, payload: packet::Packet) {
        self.cancel.advance();
        let arrived = clock::monotonic();
        let arrival_us =
            self.live.then(|| i64::try_from(arrived.duration_since(self.opened).as_micros()).unwrap_or(i64::MAX));
        let (dts, pts) = (payload.dts(), payload.pts());
        if payload.stream() == self.video_index {
            self.without_video = Duration::ZERO;
            let ticks = self.intake.ticks();
            let (dts, pts) = (ticks.of(dts), ticks.of(pts));
            let duration = ticks.of(Some(payload.duration())).filter(|ticks| *ticks > 0);
            let duration = duration.unwrap_or_else(|| self.intake.nominal_ticks());
            let (dts, pts) = self.repetition.picture(dts, pts, duration);
            self.intake.video(payload, dts, pts, arrival_us);
        } else if Some(payload.stream()) == self.audio_index
            && let Some(ticks) = self.intake.audio_ticks()
        {
            let length = ticks.of(Some(payload.duration())).unwrap_or(0);
            let (dts, pts) = (ticks.of(dts), ticks.of(pts));
            let shift = self.repetition.audio_shift(self.intake.ticks(), ticks);
            let moved = |raw: Option<i64>| raw.map(|raw| raw.saturating_add(shift));
            let (dts, pts) = (moved(dts), moved(pts));
            if self.repetition.is_new_audio(dts.or(pts), length) {
                self.intake.audio(payload, dts, pts, arrival_us);
            }
        }
    }

    fn look_for_keyframe(&mut self) -> Result<(), SourceError> {
        if self.intake.has_started() || !self.live || self.opened.elapsed_now() < self.options.keyframe_timeout {
            return Ok(());
        }
        let what = format!(
            "no keyframe in {} s, so that nothing can be shown or recorded; set a shorter keyframe interval \
             (GOP) in the camera",
            self.options.keyframe_timeout.as_secs_f64()
        );
        Err(self.error(SourceErrorKind::Broken, what))
    }

    fn at_end(&mut self) -> Result<(), SourceError> {
        self.intake.release();
        if self.watch.ended_early() {
            let what = "the file ends in the middle: it was cut off or is still being written";
            return Err(self.error(SourceErrorKind::Broken, what));
        }
        if self.live && !self.finite {
            return Err(self.error(SourceErrorKind::Broken, "the camera ended the stream"));
        }
        if !self.intake.has_started() {
            return Err(self.error(SourceErrorKind::Broken, "there is no keyframe in it, nothing can be shown"));
        }
        if !self.options.repeat || self.live {
            self.end(Ok(()));
            return Ok(());
        }
        if self.repetition.pictures == 0 {
            return Err(self.error(SourceErrorKind::Broken, "there is nothing left in the file to repeat"));
        }
        self.repetition.begin_again();
        // Opened again and not sought back in: that works for every kind of file, and begins as the first time.
        self.close();
        let input = open_input(&self.options, &self.cancel, &self.watch)?;
        let setup = choose_streams(&input.context, &self.options)?;
        (self.video_index, self.audio_index) = (setup.video_index, self.audio_index.and(setup.audio_index));
        self.input = Some(input);
        Ok(())
    }

    fn after_failure(&mut self, error: Error) -> Result<(), SourceError> {
        let deadline_passed = self.input.as_ref().is_some_and(|opened| opened.deadline.has_passed());
        if self.cancel.is_cancelled() {
            return Err(self.cancelled());
        }
        if deadline_passed || error == Error::Exit || error == (Error::Other { errno: libc::ETIMEDOUT }) {
            return Err(self.silent());
        }
        self.bad_reads += 1;
        let passing = matches!(error, Error::InvalidData | Error::Other { errno: libc::EAGAIN });
        if passing && self.bad_reads <= MAX_BAD_READS {
            if error != Error::InvalidData {
                std::thread::sleep(Duration::from_millis(10));
            }
            return Ok(());
        }
        Err(explain(error, &self.options, &self.watch))
    }

    /// Is that more of a file than was asked for?
    fn is_over(&self, packet: &Packet) -> bool {
        let after_us = self.first_us.map_or(0, |first_us| packet.dts_us().saturating_sub(first_us));
        let limit = self.options.at_most.filter(|_| !self.live);
        limit.is_some_and(|limit| i128::from(after_us) >= limit.as_micros().cast_signed())
    }

    /// Tells the session's clock of a picture. A file that is read as fast as it can begins now and goes on in its
    /// own time.
    fn observe(&mut self, packet: &Packet) {
        if packet.track != Track::Video {
            return;
        }
        let is_first = self.first_us.is_none();
        self.first_us.get_or_insert(packet.dts_us());
        if is_first || self.live || self.options.real_time {
            self.session.observe(packet.dts_us(), clock::utc_now().timestamp_micros());
        }
    }

    /// For a file that is read in real time: waits until it is the packet's turn.
    fn keep_pace(&mut self, packet: &Packet) -> Result<(), SourceError> {
        if self.live || !self.options.real_time {
            return Ok(());
        }
        let at_us = packet.dts_us();
        let pace = self.pace.get_or_insert_with(|| Pace { start: clock::monotonic(), first_us: at_us });
        let after = Duration::from_micros(u64::try_from(at_us.saturating_sub(pace.first_us)).unwrap_or(0));
        loop {
            if self.cancel.is_cancelled() {
                return Err(self.cancelled());
            }
            let left = after.saturating_sub(pace.start.elapsed_now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// Time since, by the house's clock.
trait ElapsedNow {
    fn elapsed_now(&self) -> Duration;
}

impl ElapsedNow for Instant {
    fn elapsed_now(&self) -> Duration {
        clock::monotonic().saturating_duration_since(*self)
    }
}

impl Repetition {
    /// The times of a picture, in this repetition.
    fn picture(&mut self, dts: Option<i64>, pts: Option<i64>, duration: i64) -> (Option<i64>, Option<i64>) {
        self.pictures += 1;
        if let Some(at) = dts.or(pts) {
            self.first_dts.get_or_insert(at);
            self.end = self.end.max(Some(at.saturating_add(duration)));
        }
        let moved = |raw: Option<i64>| raw.map(|raw| raw.saturating_add(self.offset));
        (moved(dts), moved(pts))
    }

    /// The file begins again where its last picture ends.
    fn begin_again(&mut self) {
        if let (Some(first), Some(end)) = (self.first_dts.take(), self.end.take()) {
            self.offset = self.offset.saturating_add(end.saturating_sub(first));
        }
        self.pictures = 0;
    }

    fn audio_shift(&self, video: Ticks, audio: Ticks) -> i64 {
        (i128::from(self.offset) * i128::from(audio.timescale) / i128::from(video.timescale.max(1))) as i64
    }

    /// Where the sound of a file is longer than its pictures, the beginning of the next repetition is left out.
    fn is_new_audio(&mut self, at: Option<i64>, length: i64) -> bool {
        let Some(at) = at else { return true };
        if self.offset > 0 && self.audio_end.is_some_and(|end| at < end) {
            return false;
        }
        self.audio_end = self.audio_end.max(Some(at.saturating_add(length)));
        true
    }
}

/// Opens the input: for `transport: auto` by UDP first, then by TCP.
fn open_input(options: &OpenOptions, cancel: &Cancel, watch: &Watch) -> Result<Opened, SourceError> {
    let overall = Deadline::new(cancel, options.connect_timeout);
    let address = match options.url.kind() {
        // A name with a colon in it is still a name.
        SourceKind::File => format!("file:{}", options.url.expose()),
        _ => options.url.expose().to_owned(),
    };
    if address.contains('\0') {
        return Err(SourceError::new(SourceErrorKind::NotFound, &options.url, "there is a NUL in the name"));
    }
    let is_rtsp = options.url.kind() == SourceKind::Rtsp;
    let attempt = |transport: Option<&str>, limit: Duration| {
        let deadline = Deadline::new(cancel, limit);
        let context = open_context(&address, &deadline, dictionary(options, transport), is_rtsp)?;
        let mut opened = Opened { context, deadline, first: None };
        if is_rtsp {
            // A connection is worth something when packets come by it.
            let mut first = packet::Packet::empty();
            match first.read(&mut opened.context) {
                Ok(()) => opened.first = Some(first),
                Err(error) => {
                    opened.deadline.close_within(HANG_UP_TIMEOUT);
                    return Err(error);
                }
            }
        }
        Ok(opened)
    };
    let result = match (options.url.kind(), options.transport) {
        (SourceKind::Rtsp, Transport::Tcp) => attempt(Some("tcp"), overall.left()),
        (SourceKind::Rtsp, Transport::Udp) => attempt(Some("udp"), overall.left()),
        (SourceKind::Rtsp, Transport::Auto) => {
            let trial = attempt(Some("udp"), UDP_TRIAL.min(options.connect_timeout / 2));
            match trial {
                Err(error) if !is_final(error) && !cancel.is_cancelled() => {
                    tracing::info!(%error, "nothing comes by UDP, trying TCP");
                    attempt(Some("tcp"), overall.left())
                }
                result => result,
            }
        }
        _ => attempt(None, overall.left()),
    };
    result.map_err(|error| {
        if cancel.is_cancelled() {
            SourceError::new(SourceErrorKind::Cancelled, &options.url, "stopped")
        } else if overall.has_passed() || error == Error::Exit {
            let limit = options.connect_timeout.as_secs_f64();
            let what = format!("no stream within {limit} s; are address and port right, and is the camera on?");
            SourceError::new(SourceErrorKind::Timeout, &options.url, what)
        } else {
            explain(error, options, watch)
        }
    })
}

/// Opens an input whose blocking calls ask `deadline`. A stream that describes itself (`may_skip_look`: RTSP) is
/// not looked into: that would cost seconds, and what is missing comes with the keyframes.
fn open_context(
    address: &str,
    deadline: &Arc<Deadline>,
    options: Dictionary,
    may_skip_look: bool,
) -> Result<format::context::Input, Error> {
    let address = CString::new(address).map_err(|_| Error::Other { errno: libc::EINVAL })?;
    let asked = Arc::clone(deadline);
    let interrupt = interrupt::new(Box::new(move || asked.interrupts()));
    // SAFETY: the context is ours until it is wrapped; a failed open frees it. The options are handed over and
    // taken back, used up or not. The interrupt's guard lives as long as the context, which asks it to the end.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(Error::Other { errno: libc::ENOMEM });
        }
        (*context).interrupt_callback = interrupt.interrupt;
        let mut options = options.disown();
        let result =
            ffi::avformat_open_input(&raw mut context, address.as_ptr(), std::ptr::null_mut(), &raw mut options);
        drop(Dictionary::own(options));
        if result < 0 {
            return Err(Error::from(result));
        }
        let mut input = format::context::Input::wrap_with_interrupt(context, interrupt.guard);
        if may_skip_look && describes_itself(&input) {
            return Ok(input);
        }
        let result = ffi::avformat_find_stream_info(input.as_mut_ptr(), std::ptr::null_mut());
        if result < 0 || deadline.interrupts() {
            // An interrupted look may pass for a short one.
            deadline.close_within(HANG_UP_TIMEOUT);
            return Err(if result < 0 { Error::from(result) } else { Error::Exit });
        }
        Ok(input)
    }
}

/// Is it known of each stream what it is, before any packet has come?
fn describes_itself(input: &format::context::Input) -> bool {
    input.streams().len() > 0 && input.streams().all(|stream| stream.parameters().id() != Id::None)
}

/// Would another transport meet the same answer?
fn is_final(error: Error) -> bool {
    matches!(error, Error::HttpUnauthorized | Error::HttpForbidden | Error::HttpNotFound)
        || matches!(error, Error::Other { errno: libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH })
}

fn dictionary(options: &OpenOptions, transport: Option<&str>) -> Dictionary<'static> {
    let mut dictionary = Dictionary::new();
    // The interrupt callback keeps the deadlines. This one is libav's own, for the threads it makes itself.
    let timeout_us = (options.connect_timeout.max(options.read_timeout) + Duration::from_secs(5)).as_micros();
    match options.url.kind() {
        SourceKind::Rtsp => {
            dictionary.set("timeout", &timeout_us.to_string());
            dictionary.set("buffer_size", &UDP_BUFFER_BYTES.to_string());
            let kinds = if options.audio == AudioMode::Off { "video" } else { "video+audio" };
            dictionary.set("allowed_media_types", kinds);
            if let Some(transport) = transport {
                dictionary.set("rtsp_transport", transport);
            }
            dictionary.set("protocol_whitelist", "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto,http,https");
        }
        SourceKind::Http => {
            dictionary.set("timeout", &timeout_us.to_string());
            dictionary.set("protocol_whitelist", "http,https,tcp,tls,crypto,httpproxy");
        }
        SourceKind::File | SourceKind::Device => {
            // Presentation times that the container leaves out (AVI).
            dictionary.set("fflags", "+genpts");
            dictionary.set("protocol_whitelist", "file,crypto");
        }
    }
    if options.url.kind() != SourceKind::File {
        dictionary.set("analyzeduration", &LIVE_ANALYSIS_US.to_string());
        // The rate is not guessed from pictures: that alone would take twenty of them.
        dictionary.set("fpsprobesize", "0");
        dictionary.set("user_agent", concat!("Tarsier/", env!("CARGO_PKG_VERSION")));
    }
    dictionary
}

/// What was found in an input.
struct Streams {
    video_index: usize,
    audio_index: Option<usize>,
    video: VideoSetup,
    audio: Option<AudioIntake>,
    finite: bool,
}

fn choose_streams(input: &format::context::Input, options: &OpenOptions) -> Result<Streams, SourceError> {
    let mut other = BTreeSet::new();
    let mut unsupported = BTreeSet::new();
    let mut video = None;
    for stream in input.streams() {
        let (parameters, id) = (stream.parameters(), stream.parameters().id());
        let codec = match id {
            Id::H264 => VideoCodec::H264,
            Id::HEVC => VideoCodec::H265,
            Id::MJPEG => VideoCodec::Mjpeg,
            Id::MPEG4 => VideoCodec::Mpeg4,
            _ if parameters.medium() == media::Type::Video => {
                unsupported.insert(id.name());
                continue;
            }
            _ => {
                other.insert(id.name());
                continue;
            }
        };
        // A cover picture is no video.
        if video.is_none() && !stream.disposition().contains(format::stream::Disposition::ATTACHED_PIC) {
            video = Some((stream, codec));
        }
    }
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    let Some((stream, codec)) = video else {
        let (kind, what) = if !unsupported.is_empty() {
            let what = format!(
                "its video is {}, which Tarsier cannot record; set the camera to H.264, H.265, MPEG-4 or MJPEG",
                list(&unsupported)
            );
            (SourceErrorKind::Unsupported, what)
        } else if other.is_empty() {
            (SourceErrorKind::NoVideo, "there is no video in it".to_owned())
        } else {
            (SourceErrorKind::NoVideo, format!("there is no video in it, only {}", list(&other)))
        };
        return Err(SourceError::new(kind, &options.url, what));
    };
    // A stream of loose JPEG pictures has no clock of its own.
    let stamp_by_arrival = options.url.kind() == SourceKind::Http && input.format().name().contains("mpjpeg");
    let base = stream.time_base();
    let ticks = match stamp_by_arrival {
        true => Ticks::new(1, ARRIVAL_TIMESCALE as i32),
        false => Ticks::new(base.numerator(), base.denominator()),
    };
    let rate = [stream.avg_frame_rate(), stream.rate()].into_iter().find(|rate| rate.numerator() > 0);
    let parameters = stream.parameters();
    // SAFETY: the parameters belong to the open input, which outlives this reading of them.
    let (extradata, reorder, size) = unsafe {
        let parameters = &*parameters.as_ptr();
        let side = |pixels| u32::try_from(pixels).unwrap_or(0);
        let size = (side(parameters.width), side(parameters.height));
        (copied(parameters.extradata, parameters.extradata_size), parameters.video_delay, size)
    };
    let video = VideoSetup {
        codec,
        ticks,
        extradata,
        size,
        frames_per_second: rate.map(f64::from),
        quarter_turns: quarter_turns(&stream),
        reorder: usize::try_from(reorder).unwrap_or(0),
        // RTP knows presentation times only; what libav makes of them is wrong in the beginning.
        has_decode_times: options.url.kind() != SourceKind::Rtsp,
        stamp_by_arrival,
    };
    let (audio_index, audio) = match options.audio {
        AudioMode::Off => (None, None),
        mode => choose_audio(input, mode),
    };
    Ok(Streams { video_index: stream.index(), audio_index, video, audio, finite: input.duration() > 0 })
}

/// The first audio stream that can be stored.
fn choose_audio(input: &format::context::Input, mode: AudioMode) -> (Option<usize>, Option<AudioIntake>) {
    for stream in input.streams().filter(|stream| stream.parameters().medium() == media::Type::Audio) {
        let parameters = stream.parameters();
        let base = stream.time_base();
        // SAFETY: as for the video stream.
        let setup = unsafe {
            let raw = &*parameters.as_ptr();
            AudioSetup {
                ticks: Ticks::new(base.numerator(), base.denominator()),
                sample_rate: u32::try_from(raw.sample_rate).unwrap_or(0),
                channels: u16::try_from(raw.channels).unwrap_or(0),
                profile: raw.profile,
                extradata: copied(raw.extradata, raw.extradata_size),
                parameters: parameters.clone(),
            }
        };
        if let Some(intake) = AudioIntake::new(setup, mode) {
            return (Some(stream.index()), Some(intake));
        }
    }
    (None, None)
}

/// A copy of libav's bytes.
///
/// # Safety
/// `data` is null or points to `size` readable bytes.
pub(super) unsafe fn copied(data: *const u8, size: c_int) -> Vec<u8> {
    match usize::try_from(size) {
        Ok(size) if size > 0 && !data.is_null() => unsafe { std::slice::from_raw_parts(data, size) }.to_vec(),
        _ => Vec::new(),
    }
}

fn is_empty(options: &OpenOptions) -> bool {
    std::fs::metadata(options.url.expose()).is_ok_and(|metadata| metadata.len() == 0)
}

/// A failure of libav in plain words.
fn explain(error: Error, options: &OpenOptions, watch: &Watch) -> SourceError {
    use SourceErrorKind::*;
    let file = options.url.kind() == SourceKind::File;
    let said = watch.take_error();
    let (kind, what) = match error {
        Error::HttpUnauthorized => {
            (Unauthorized, "wrong user name or password (401); check `username` and `password`".to_owned())
        }
        Error::HttpForbidden => (Unauthorized, "access denied (403); the user may not see this stream".to_owned()),
        Error::HttpNotFound => (NotFound, "there is no such stream (404); check the path in `source`".to_owned()),
        Error::Other { errno: libc::ENOENT } if file => (NotFound, "there is no such file".to_owned()),
        Error::Other { errno: libc::EACCES | libc::EPERM } if file => {
            (NotFound, "not readable: permission denied".to_owned())
        }
        Error::Other { errno: libc::EISDIR } => (NotFound, "this is a folder, not a file".to_owned()),
        Error::Other { errno: libc::ECONNREFUSED } => {
            (Unreachable, "connection refused; are address and port right?".to_owned())
        }
        Error::ProtocolNotFound => (Unsupported, "this kind of address is not supported".to_owned()),
        Error::InvalidData if file && is_empty(options) => (Broken, "the file is empty".to_owned()),
        Error::InvalidData if file => (Broken, "this is no video file, or it is damaged or cut off".to_owned()),
        Error::InvalidData => (Broken, "what came is no video stream".to_owned()),
        Error::HttpBadRequest | Error::HttpOther4xx | Error::HttpServerError | Error::StreamNotFound => {
            (Broken, format!("the camera refused: {error}"))
        }
        Error::Eof => (Broken, if file { "the file is empty".to_owned() } else { "the camera hung up".to_owned() }),
        Error::Other { .. } if said.as_deref().is_some_and(|said| said.contains("Failed to resolve hostname")) => {
            return SourceError::new(
                Unreachable,
                &options.url,
                "this name is not known; is it right, and does DNS work?",
            );
        }
        Error::Other { .. } => (Unreachable, error.to_string()),
        _ => (Broken, error.to_string()),
    };
    let is_clear = what.contains("refused;") || what.contains("is empty");
    let what = match said {
        Some(said) if !matches!(kind, Unauthorized | NotFound) && !is_clear => {
            format!("{what} (libav: {said})")
        }
        _ => what,
    };
    SourceError::new(kind, &options.url, what)
}
