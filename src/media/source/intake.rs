//! What a demuxer hands over, made into the packets of the house: stamped, described, keyframes known.
//!
//! Belongs here: everything about a packet that does not depend on where it came from. Does not belong here:
//! reading, waiting, the wall clock.

use std::collections::VecDeque;
use std::sync::Arc;

use ffmpeg_next::packet::side_data;

use super::audio::AudioIntake;
use crate::domain::stream::{StreamInfo, Track, VideoCodec, VideoTrack, ticks_to_us};
use crate::domain::timeline::{Stamp, Timeline};
use crate::media::nal::{self, ParameterSets, UnitKind};
use crate::media::packet::{Packet, Session};

/// Ticks beyond this are damage.
const MAX_TICKS: i64 = 1 << 61;
/// Pictures that may wait for others before they are shown. The standards allow more than any camera uses, and a
/// clock that steps back must not be taken for such pictures.
const MAX_REORDER: usize = 4;
/// Pictures that wait, after a connect, until the time and the order of the first ones are known; after
/// [`MAX_HELD_US`] three are enough.
const MAX_HELD: usize = 8;
const MAX_HELD_US: i64 = 500_000;
const MAX_HELD_AUDIO: usize = 256;
/// The clock of pictures that come without timestamps.
pub(super) const ARRIVAL_TIMESCALE: u32 = 90_000;

/// Turns a source's ticks into those of a track whose timescale is a whole number of Hz.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    num: i64,
    pub timescale: u32,
}

impl Ticks {
    /// `num / den` seconds a tick.
    pub fn new(num: i32, den: i32) -> Self {
        match u32::try_from(den) {
            Ok(timescale) if timescale > 0 && num > 0 => Ticks { num: i64::from(num), timescale },
            _ => Ticks { num: 1, timescale: ARRIVAL_TIMESCALE },
        }
    }

    pub fn of(self, raw: Option<i64>) -> Option<i64> {
        raw?.checked_mul(self.num).filter(|ticks| (-MAX_TICKS..=MAX_TICKS).contains(ticks))
    }

    pub fn in_ticks(self, us: i64) -> i64 {
        let ticks = i128::from(us) * i128::from(self.timescale) / 1_000_000;
        ticks.clamp(i128::from(-MAX_TICKS), i128::from(MAX_TICKS)) as i64
    }
}

/// What is known of a video stream before its first packet.
pub(super) struct VideoSetup {
    pub codec: VideoCodec,
    pub ticks: Ticks,
    /// Parameter sets from outside the stream, as libav gives them.
    pub extradata: Vec<u8>,
    /// Width and height in pixels as the container says, for streams that don't say it in each keyframe.
    pub size: (u32, u32),
    pub frames_per_second: Option<f64>,
    /// See [`VideoTrack::quarter_turns`].
    pub quarter_turns: u8,
    /// Pictures that wait for others before they are shown, as far as is known.
    pub reorder: usize,
    /// The source gives decode times, and they are right.
    pub has_decode_times: bool,
    /// The stream's own timestamps mean nothing: pictures get the time of their arrival.
    pub stamp_by_arrival: bool,
}

/// The way in of one session.
pub(super) struct Intake {
    session: Arc<Session>,
    setup: VideoSetup,
    sets: ParameterSets,
    /// Length of NAL unit lengths in bytes; None: start codes.
    length_bytes: Option<u8>,
    order: DecodeOrder,
    timeline: Timeline,
    stream: Option<Arc<StreamInfo>>,
    audio: Option<AudioIntake>,
    ready: VecDeque<Packet>,
    skipped: u64,
    /// Pictures that came first, until the time of the very first is known, and the newest if more of it may come.
    held: Vec<Held>,
    /// The source hands pictures over in pieces: which was the last piece of one is known when the next one comes.
    in_pieces: bool,
    /// Sound that came until then. A camera may send it all before the pictures that it belongs to.
    held_audio: VecDeque<Held>,
    /// When the first picture that is let in is shown.
    first_us: Option<i64>,
}

struct Held {
    payload: ffmpeg_next::Packet,
    dts: Option<i64>,
    pts: Option<i64>,
    arrival_us: Option<i64>,
}

impl Held {
    /// Takes another piece of the picture in. Parameter sets are not repeated within one.
    fn grow(&mut self, codec: VideoCodec, piece: &ffmpeg_next::Packet, dts: Option<i64>, pts: Option<i64>) {
        let mut data = self.payload.data().unwrap_or_default().to_vec();
        for unit in nal::units(piece.data().unwrap_or_default(), false) {
            if UnitKind::of(codec, unit).is_some_and(UnitKind::is_stored) {
                data.extend_from_slice(&[0, 0, 0, 1]);
                data.extend_from_slice(unit);
            }
        }
        self.payload = ffmpeg_next::Packet::copy(&data);
        self.dts = self.dts.or(dts);
        self.pts = self.pts.or(pts);
    }
}

impl Intake {
    pub fn new(session: Arc<Session>, setup: VideoSetup, audio: Option<AudioIntake>) -> Self {
        let ticks_per_second = f64::from(setup.ticks.timescale);
        let rate = setup.frames_per_second.filter(|rate| (0.1..=1000.0).contains(rate)).unwrap_or(25.0);
        Intake {
            session,
            sets: ParameterSets::of_extradata(setup.codec, &setup.extradata),
            length_bytes: nal::length_bytes(setup.codec, &setup.extradata),
            order: DecodeOrder::new(setup.reorder, setup.ticks.timescale),
            timeline: Timeline::new(setup.ticks.timescale, (ticks_per_second / rate).round() as i64),
            setup,
            stream: None,
            audio,
            ready: VecDeque::new(),
            skipped: 0,
            held: Vec::new(),
            in_pieces: false,
            held_audio: VecDeque::new(),
            first_us: None,
        }
    }

    /// The next packet that is ready.
    pub fn pop(&mut self) -> Option<Packet> {
        self.ready.pop_front()
    }

    /// Has there been a keyframe with all that is needed to decode it?
    pub fn has_started(&self) -> bool {
        self.stream.is_some()
    }

    /// Ticks from one picture to the next, as last seen.
    pub fn nominal_ticks(&self) -> i64 {
        self.timeline.nominal()
    }

    pub fn ticks(&self) -> Ticks {
        self.setup.ticks
    }

    /// Takes a packet of the video stream in. `dts` and `pts` are in the track's ticks; `arrival_us` is on any
    /// clock that rises by real time, None for a file.
    pub fn video(&mut self, payload: ffmpeg_next::Packet, dts: Option<i64>, pts: Option<i64>, arrival_us: Option<i64>) {
        let (dts, pts) = match arrival_us {
            Some(arrival_us) if self.setup.stamp_by_arrival => {
                let ticks = self.setup.ticks.in_ticks(arrival_us);
                (Some(ticks), Some(ticks))
            }
            _ => (dts, pts),
        };
        let dts = dts.filter(|_| self.setup.has_decode_times);
        if self.is_piece(&payload) {
            self.in_pieces = true;
            if let Some(begun) = self.held.last_mut() {
                begun.grow(self.setup.codec, &payload, dts, pts);
                return;
            }
        }
        let settled = dts.is_some() || self.setup.codec == VideoCodec::Mjpeg && pts.is_some();
        if self.timeline.has_begun() || (self.held.is_empty() && settled) {
            let mut next = Held { payload, dts, pts, arrival_us };
            if self.in_pieces {
                match std::mem::replace(&mut self.held, vec![next]).pop() {
                    Some(whole) => next = whole,
                    None => return,
                }
            }
            self.stamped_video(next.payload, next.dts, next.pts, next.arrival_us);
            self.release_audio();
            return;
        }
        let whole = self.held.len();
        self.held.push(Held { payload, dts, pts, arrival_us });
        let waited_us = arrival_us.zip(self.held[0].arrival_us).map_or(0, |(now, first)| now.saturating_sub(first));
        let enough = settled || waited_us >= MAX_HELD_US;
        let known = if self.in_pieces { whole } else { self.held.len() };
        if known >= MAX_HELD || (known >= 3 && enough) {
            let begun = self.held.split_off(known);
            self.release();
            self.held = begun;
        }
    }

    /// Some demuxers cut a picture of several slices where parameter sets are repeated before each of them.
    fn is_piece(&self, payload: &ffmpeg_next::Packet) -> bool {
        self.length_bytes.is_none()
            && matches!(self.setup.codec, VideoCodec::H264 | VideoCodec::H265)
            && payload.data().is_some_and(|data| nal::continues_picture(self.setup.codec, data))
    }

    /// Lets in what was held. After a connect the first picture may have no time, and no picture a decode
    /// time: those after it tell.
    pub fn release(&mut self) {
        let mut known: Vec<i64> = self.held.iter().filter_map(|held| held.pts.or(held.dts)).collect();
        known.sort_unstable();
        let distances = known.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).filter(|step| *step > 0);
        let distance = distances.min().unwrap_or(self.timeline.nominal());
        if !self.timeline.has_begun() {
            self.timeline = Timeline::new(self.setup.ticks.timescale, distance);
        }
        // Pictures that were decoded before this one and are shown after it.
        let waiting = |at: usize| {
            let pts = self.held[at].pts;
            self.held[..at].iter().filter(|before| pts.is_some() && before.pts > pts).count()
        };
        self.order.delay = (0..self.held.len()).map(waiting).fold(self.order.delay, usize::max).min(MAX_REORDER);
        // The very first is shown before all others.
        let first_pts = known.first().map(|earliest| earliest.saturating_sub(distance));
        for (at, held) in std::mem::take(&mut self.held).into_iter().enumerate() {
            let pts = if at == 0 { held.pts.or(held.dts).or(first_pts) } else { held.pts };
            self.stamped_video(held.payload, held.dts, pts, held.arrival_us);
        }
        self.release_audio();
    }

    fn release_audio(&mut self) {
        let Some(ticks) = self.audio_ticks() else { return };
        for held in std::mem::take(&mut self.held_audio) {
            let at_us = held.dts.or(held.pts).map(|at| ticks_to_us(at, ticks.timescale));
            // Nothing is to be heard before there is something to be seen.
            if at_us.zip(self.first_us).is_none_or(|(at_us, first_us)| at_us >= first_us) {
                self.audio(held.payload, held.dts, held.pts, held.arrival_us);
            }
        }
    }

    fn stamped_video(
        &mut self,
        payload: ffmpeg_next::Packet,
        dts: Option<i64>,
        pts: Option<i64>,
        arrival_us: Option<i64>,
    ) {
        let dts = self.order.dts(dts, pts, self.timeline.nominal());
        let stamp = self.timeline.stamp(dts, pts, arrival_us);
        report_jump("video", &stamp);
        let seen = match self.setup.codec {
            VideoCodec::Mjpeg => self.look_at_jpeg(payload),
            VideoCodec::H264 | VideoCodec::H265 => self.look_at_units(payload),
            VideoCodec::Mpeg4 => self.look_at_vop(payload),
        };
        match (seen, &self.stream) {
            (Some((payload, keyframe)), Some(stream)) => {
                self.first_us.get_or_insert(ticks_to_us(stamp.pts, self.setup.ticks.timescale));
                self.ready.push_back(Packet {
                    session: Arc::clone(&self.session),
                    stream: Arc::clone(stream),
                    track: Track::Video,
                    keyframe,
                    dts: stamp.dts,
                    pts: stamp.pts,
                    payload,
                    length_prefixed: self.length_bytes.is_some(),
                });
            }
            _ => self.skipped += 1,
        }
    }

    /// Finds the size of a JPEG picture; what is no picture is left out.
    fn look_at_jpeg(&mut self, payload: ffmpeg_next::Packet) -> Option<(ffmpeg_next::Packet, bool)> {
        let (width, height) = jpeg_size(payload.data()?)?;
        self.describe(width, height, Vec::new());
        Some((payload, true))
    }

    /// MPEG-4 from a file: its headers and its size are the container's.
    fn look_at_vop(&mut self, payload: ffmpeg_next::Packet) -> Option<(ffmpeg_next::Packet, bool)> {
        let keyframe = nal::is_keyframe(VideoCodec::Mpeg4, payload.data()?, false);
        let (width, height) = self.setup.size;
        if keyframe && width > 0 && height > 0 {
            self.describe(width, height, self.setup.extradata.clone());
        }
        Some((payload, keyframe))
    }

    /// Looks through the NAL units of an access unit; one without a slice is left out once its parameter sets
    /// are known.
    fn look_at_units(&mut self, mut payload: ffmpeg_next::Packet) -> Option<(ffmpeg_next::Packet, bool)> {
        let codec = self.setup.codec;
        let extradata = payload.side_data().find(|data| data.kind() == side_data::Type::NewExtraData);
        if let Some(extradata) = extradata.map(|data| data.data().to_vec()) {
            self.sets = ParameterSets::of_extradata(codec, &extradata);
            self.length_bytes = nal::length_bytes(codec, &extradata);
        }
        if let Some(length_bytes) = self.length_bytes.filter(|bytes| *bytes != 4) {
            payload = ffmpeg_next::Packet::copy(&with_wide_lengths(payload.data()?, length_bytes)?);
        }
        let data = payload.data()?;
        let length_prefixed = self.length_bytes.is_some();
        let (mut has_sets, mut slice) = (false, None);
        for unit in nal::units(data, length_prefixed) {
            let Some(kind) = UnitKind::of(codec, unit) else { continue };
            has_sets |= matches!(kind, UnitKind::Vps | UnitKind::Sps | UnitKind::Pps);
            if kind.is_slice() {
                slice = Some(kind);
                break;
            }
        }
        if has_sets {
            self.sets.absorb(codec, data, length_prefixed);
        }
        let keyframe = slice?.is_key();
        if keyframe {
            let described = self.sets.sps(codec).zip(self.sets.config_record(codec));
            if let Some((sps, record)) = described {
                self.describe(sps.width, sps.height, record);
            }
        }
        Some((payload, keyframe))
    }

    /// From here on the stream is this one.
    fn describe(&mut self, width: u32, height: u32, config_record: Vec<u8>) {
        let before = self.stream.as_ref().map(|stream| &stream.video);
        let unchanged = before.is_some_and(|video| {
            video.width == width && video.height == height && video.config_record == config_record
        });
        if unchanged {
            return;
        }
        let codec = self.setup.codec;
        if before.is_some() {
            tracing::info!(codec = codec.name(), width, height, "the stream changed its description");
        } else if self.skipped > 0 {
            tracing::debug!(packets = self.skipped, "skipped what came before the first keyframe");
        }
        self.stream = Some(Arc::new(StreamInfo {
            video: VideoTrack {
                codec,
                width,
                height,
                quarter_turns: self.setup.quarter_turns,
                timescale: self.setup.ticks.timescale,
                config_record,
            },
            audio: self.audio.as_ref().map(|audio| audio.track().clone()),
        }));
    }

    /// Takes a packet of the audio stream in, see [`Intake::video`]. What comes before the first keyframe is
    /// left out.
    pub fn audio(&mut self, payload: ffmpeg_next::Packet, dts: Option<i64>, pts: Option<i64>, arrival_us: Option<i64>) {
        if !self.timeline.has_begun() {
            if self.held_audio.len() >= MAX_HELD_AUDIO {
                self.held_audio.pop_front();
            }
            self.held_audio.push_back(Held { payload, dts, pts, arrival_us });
            return;
        }
        if let (Some(audio), Some(_)) = (&mut self.audio, &self.stream) {
            audio.take(payload, dts.or(pts), arrival_us);
        }
        self.collect_audio();
    }

    pub fn audio_ticks(&self) -> Option<Ticks> {
        self.audio.as_ref().map(AudioIntake::ticks)
    }

    fn collect_audio(&mut self) {
        let (Some(audio), Some(stream)) = (&mut self.audio, &self.stream) else { return };
        while let Some((payload, stamp)) = audio.pop() {
            report_jump("audio", &stamp);
            self.ready.push_back(Packet {
                session: Arc::clone(&self.session),
                stream: Arc::clone(stream),
                track: Track::Audio,
                keyframe: false,
                dts: stamp.dts,
                pts: stamp.pts,
                payload,
                length_prefixed: false,
            });
        }
    }

    /// Nothing more comes: what was held back is made ready.
    pub fn finish(&mut self) {
        self.release();
        if let (Some(audio), Some(_)) = (&mut self.audio, &self.stream) {
            audio.finish();
        }
        self.collect_audio();
    }
}

fn report_jump(track: &str, stamp: &Stamp) {
    if let Some(jumped_us) = stamp.jumped_us {
        let seconds = jumped_us as f64 / 1e6;
        tracing::warn!(track, "the source's clock jumped by {seconds:.3} s; the recording goes on without the jump");
    }
}

/// Decode times for streams that give none (RTSP) or wrong ones: the presentation times in their own order,
/// as many pictures late as pictures may wait.
#[derive(Debug)]
struct DecodeOrder {
    delay: usize,
    timescale: i64,
    /// The greatest presentation times so far, ascending, at most `delay + 1`.
    greatest: Vec<i64>,
    last_dts: Option<i64>,
}

impl DecodeOrder {
    fn new(delay: usize, timescale: u32) -> Self {
        let (timescale, greatest) = (i64::from(timescale), Vec::new());
        DecodeOrder { delay: delay.min(MAX_REORDER), timescale, greatest, last_dts: None }
    }

    fn dts(&mut self, dts: Option<i64>, pts: Option<i64>, nominal: i64) -> Option<i64> {
        let Some(pts) = pts else { return dts };
        if let Some(greatest) = self.greatest.last()
            && !(-5 * self.timescale..10 * self.timescale).contains(&(pts.saturating_sub(*greatest)))
        {
            // Another time altogether: what was before it says nothing.
            self.greatest.clear();
            self.last_dts = None;
        }
        let dts = dts.filter(|dts| *dts <= pts);
        if dts.is_none() && self.last_dts.is_some_and(|last| pts <= last) && self.delay < MAX_REORDER {
            // A picture that should have been decoded already: more of them wait than was known.
            self.delay += 1;
        }
        let at = self.greatest.partition_point(|other| *other < pts);
        self.greatest.insert(at, pts);
        if self.greatest.len() > self.delay + 1 {
            self.greatest.remove(0);
        }
        let missing = (self.delay + 1 - self.greatest.len()) as i64;
        let ordered = self.greatest.first().map_or(pts, |first| first.saturating_sub(missing * nominal));
        let dts = dts.unwrap_or(ordered.min(pts));
        self.last_dts = Some(dts);
        Some(dts)
    }
}

/// An access unit with NAL unit lengths of one to three bytes, with those of four.
fn with_wide_lengths(data: &[u8], length_bytes: u8) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() + 64);
    let mut rest = data;
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(usize::from(length_bytes))?;
        let length = length.iter().fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        let (unit, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(unit);
        rest = after;
    }
    Some(out)
}

/// Width and height of a JPEG picture, from its frame header.
fn jpeg_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut rest = data.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let (&[fill, marker], after) = rest.split_first_chunk::<2>()?;
        if fill != 0xff {
            return None;
        }
        match marker {
            0xff => rest = &rest[1..],
            // Markers without a body.
            0x01 | 0xd0..=0xd7 => rest = after,
            0xd9 | 0xda => return None,
            _ => {
                let (length, _) = after.split_first_chunk::<2>()?;
                let body = after.get(2..usize::from(u16::from_be_bytes(*length)))?;
                if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                    let [_, h1, h0, w1, w0] = *body.first_chunk::<5>()?;
                    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
                    return (width > 0 && height > 0).then_some((u32::from(width), u32::from(height)));
                }
                rest = &after[2 + body.len()..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Presentation times in decode order, with B-frames between: I P B B P B B.
    const REORDERED: [i64; 7] = [0, 3, 1, 2, 6, 4, 5];

    #[test]
    fn decode_times_are_made_where_there_are_none() {
        let mut order = DecodeOrder::new(1, 1000);
        let made: Vec<_> = REORDERED.iter().map(|pts| order.dts(None, Some(pts * 40), 40).unwrap()).collect();
        assert_eq!(made, [-40, 0, 40, 80, 120, 160, 200]);
    }

    #[test]
    fn right_decode_times_are_kept_and_wrong_ones_replaced() {
        let mut order = DecodeOrder::new(1, 1000);
        assert_eq!(order.dts(Some(-50), Some(0), 40), Some(-50));
        assert_eq!(order.dts(Some(500), Some(120), 40), Some(0));
        assert_eq!(order.dts(Some(7), None, 40), Some(7));
    }

    #[test]
    fn an_unknown_delay_is_found_out() {
        let mut order = DecodeOrder::new(0, 1000);
        let all = (0..5).flat_map(|gop| REORDERED.map(|pts| (gop * 7 + pts) * 40));
        let made: Vec<_> = all.map(|pts| (order.dts(None, Some(pts), 40).unwrap(), pts)).collect();
        assert!(made.iter().skip(7).all(|(dts, pts)| dts <= pts), "{made:?}");
        assert!(made[7..].windows(2).all(|pair| pair[0].0 < pair[1].0), "{made:?}");
    }

    #[test]
    fn a_jump_back_does_not_pin_decode_times() {
        let mut order = DecodeOrder::new(2, 1000);
        for pts in REORDERED {
            order.dts(None, Some(1_000_000 + pts * 40), 40);
        }
        let made: Vec<_> = REORDERED.iter().map(|pts| order.dts(None, Some(pts * 40), 40).unwrap()).collect();
        assert_eq!(made, [-80, -40, 0, 40, 80, 120, 160]);
    }

    /// A 16x16 picture as x264 makes it: parameter sets and an IDR slice.
    const PICTURE: &[u8] = &[
        0x00, 0x00, 0x00, 0x01, 0x67, 0x42, 0xc0, 0x0a, 0xd9, 0x1e, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
        0x00, 0x03, 0x00, 0x08, 0x3c, 0x48, 0x99, 0x20, 0x00, 0x00, 0x00, 0x01, 0x68, 0xcb, 0x83, 0xcb, 0x20, 0x00,
        0x00, 0x01, 0x65, 0x88, 0x84, 0x05, 0x7f, 0xff, 0xff, 0x0f, 0x45, 0x00, 0x01, 0x42, 0xdf, 0x80,
    ];

    /// What an intake makes of these times.
    fn stamps(reorder: usize, has_decode_times: bool, raw: &[(Option<i64>, Option<i64>)]) -> Vec<(i64, i64)> {
        let setup = VideoSetup {
            codec: VideoCodec::H264,
            ticks: Ticks::new(1, 90_000),
            extradata: Vec::new(),
            size: (0, 0),
            frames_per_second: None,
            quarter_turns: 0,
            reorder,
            has_decode_times,
            stamp_by_arrival: false,
        };
        let mut intake = Intake::new(Arc::new(Session::new(1)), setup, None);
        for (dts, pts) in raw {
            intake.video(ffmpeg_next::Packet::copy(PICTURE), *dts, *pts, Some(0));
        }
        intake.finish();
        std::iter::from_fn(|| intake.pop()).map(|packet| (packet.dts, packet.pts)).collect()
    }

    /// IDR, P, B, B, P as libav hands them over after an RTSP connect.
    #[test]
    fn the_first_picture_after_a_connect_gets_its_time_from_the_others() {
        // As libav makes them up: right only in the end.
        let raw = [
            (None, None),
            (Some(28_080), Some(28_080)),
            (None, Some(16_081)),
            (Some(16_081), Some(22_080)),
            (Some(22_080), Some(46_080)),
        ];
        let expected = [(-1916, 10_082), (4083, 28_080), (10_082, 16_081), (16_081, 22_080), (22_080, 46_080)];
        assert_eq!(stamps(2, false, &raw), expected);
        let expected = [(4083, 10_082), (10_082, 28_080), (16_081, 16_081), (22_080, 22_080), (28_080, 46_080)];
        assert_eq!(stamps(0, false, &raw), expected, "the order tells how many pictures wait");
    }

    #[test]
    fn pictures_without_any_decode_time_keep_their_order() {
        let raw: Vec<_> = (0..4).flat_map(|gop| REORDERED.map(|pts| (None, Some((gop * 7 + pts) * 6000)))).collect();
        let made = stamps(0, false, &raw);
        assert!(made.windows(2).all(|pair| pair[0].0 < pair[1].0), "{made:?}");
        assert!(made.iter().zip(&raw).all(|(made, raw)| Some(made.1) == raw.1 && made.0 <= made.1), "{made:?}");
    }

    #[test]
    fn jpeg_sizes() {
        let picture =
            [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xc0, 0, 8, 8, 0x01, 0xe0, 0x02, 0x80, 3, 0xff, 0xda];
        assert_eq!(jpeg_size(&picture), Some((640, 480)));
        assert_eq!(jpeg_size(&picture[..14]), None);
        assert_eq!(jpeg_size(b"<html>"), None);
    }

    #[test]
    fn short_lengths_are_widened() {
        assert_eq!(with_wide_lengths(&[0, 2, 7, 8, 0, 1, 9], 2), Some(vec![0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9]));
        assert_eq!(with_wide_lengths(&[0, 3, 7, 8], 2), None);
    }

    #[test]
    fn odd_time_bases_stay_exact() {
        let ticks = Ticks::new(1001, 30_000);
        assert_eq!((ticks.of(Some(3)), ticks.timescale), (Some(3003), 30_000));
        assert_eq!(ticks.of(Some(i64::MAX)), None);
        assert_eq!(Ticks::new(0, 0).timescale, ARRIVAL_TIMESCALE);
    }

    proptest! {
        #[test]
        fn jpeg_garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = jpeg_size(&data);
            let _ = jpeg_size(&[&[0xff, 0xd8][..], &data].concat());
            let _ = with_wide_lengths(&data, 2);
        }

        #[test]
        fn decode_times_never_pass_presentation(all in prop::collection::vec(-1_000_000i64..1_000_000, 1..100)) {
            let mut order = DecodeOrder::new(0, 1000);
            for pts in all {
                prop_assert!(order.dts(None, Some(pts), 40).is_some_and(|dts| dts <= pts));
            }
        }
    }
}
