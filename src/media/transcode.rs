//! From packets to other packets: decoded, scaled, written on, and encoded anew, in the same session's time.
//!
//! Belongs here: which pictures are kept and when they are shown, what is written into them. Does not belong here:
//! decoding and encoding themselves ([`super::decode`], [`super::encode`]), when to record.

use std::collections::VecDeque;
use std::sync::Arc;

use ffmpeg_next::format::Pixel;
use ffmpeg_next::{color, frame};
use thiserror::Error;

use super::decode::{self, DecodeError, LumaDecoder};
use super::encode::{Colour, Encoder, EncoderError, EncoderSettings, pixel_format};
use super::looks::{Looks, Seen};
use super::overlay::{self, Overlay};
use super::packet::{Packet, Session};
use super::picture::{Picture, Scaler};
use crate::domain::config::{EncodeConfig, OverlayKind};
use crate::domain::finding::Region;
use crate::domain::stream::{StreamInfo, Track, VideoTrack};
use crate::domain::timezone::Zone;
use crate::domain::zone;

/// Ticks a second where pictures keep their own times. All usual rates are whole ticks of it.
const FREE_TIMESCALE: u32 = 30_000;
/// Ticks of one picture where they come at a constant rate.
const FIXED_TICKS: i64 = 1000;
/// Where the rate has to be found, it is found from so many packets.
const PACKETS_FOR_RATE: usize = 16;
const USUAL_RATE: f64 = 25.0;
/// Seconds from one keyframe to the next.
const KEYFRAME_SECONDS: f64 = 2.0;
/// A hole in the stream is filled with the picture before it for so long.
const LONGEST_REPEAT_S: f64 = 2.0;
/// At a constant rate a picture may be this much of a place too early: no camera is quite even.
const EARLIEST: f64 = 0.25;
/// Pictures a decoder may hold back.
const REORDERED: usize = 64;

/// What a transcoder is set to.
#[derive(Clone, Debug)]
pub struct TranscoderSettings {
    pub encode: EncodeConfig,
    /// The container knows one constant rate only.
    pub needs_rate: bool,
    /// Pictures from before this time are only decoded.
    pub from_us: Option<i64>,
    /// For the overlay.
    pub camera: String,
    pub zone: Zone,
    /// Likewise; None: nothing of it is drawn.
    pub shows: Option<Shown>,
}

/// What a camera's detector sees, to be drawn.
#[derive(Clone, Debug)]
pub struct Shown {
    pub looks: Arc<Looks>,
    /// The camera's, in the order of the configuration.
    pub zones: Vec<zone::Zone>,
}

/// Why there are no packets.
#[derive(Debug, Error)]
pub enum TranscodeError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error("a picture could not be scaled: {0}")]
    Scale(ffmpeg_next::Error),
    #[error("the overlay could not be drawn: {0}")]
    Overlay(#[from] opencv::Error),
}

/// Makes the packets of one recording. What comes out begins with a keyframe, has the times of what goes in, and is
/// described by one [`StreamInfo`].
pub struct Transcoder {
    settings: TranscoderSettings,
    decoder: LumaDecoder,
    /// Kept until the rate is known.
    first: Vec<Input>,
    making: Making,
}

/// All that works on decoded pictures.
struct Making {
    pace: Option<Pace>,
    /// Where pictures come from now.
    source: Option<(Arc<Session>, Arc<StreamInfo>)>,
    /// For pictures still in the decoder: time and motion.
    motion: VecDeque<(i64, Option<i64>)>,
    scaler: Scaler,
    overlay: Overlay,
    output: Option<Output>,
    /// Sound that came before the first picture was encoded.
    held_audio: Vec<Arc<Packet>>,
    ready: Vec<Packet>,
    error: Option<TranscodeError>,
}

struct Output {
    encoder: Encoder,
    session: Arc<Session>,
    stream: Arc<StreamInfo>,
    /// Ticks of the first picture; the encoder counts from 0.
    from: i64,
    last: frame::Video,
}

/// A packet, and for how long its event still lasts at its time, in microseconds; None: there is no motion.
type Input = (Arc<Packet>, Option<i64>);

impl Transcoder {
    pub fn new(settings: TranscoderSettings) -> Self {
        let format = pixel_format(settings.encode.codec);
        Transcoder {
            decoder: LumaDecoder::new(),
            first: Vec::new(),
            making: Making {
                pace: None,
                source: None,
                motion: VecDeque::new(),
                scaler: Scaler::new(format),
                overlay: Overlay::default(),
                output: None,
                held_audio: Vec::new(),
                ready: Vec::new(),
                error: None,
            },
            settings,
        }
    }

    /// Takes the next packet of a stream, from a keyframe on. `motion_left_us`: for how long the event still lasts at
    /// the packet's time; None: there is no motion. A damaged packet is passed over.
    pub fn take(&mut self, packet: Arc<Packet>, motion_left_us: Option<i64>) -> Result<Vec<Packet>, TranscodeError> {
        if self.making.pace.is_none() {
            self.first.push((packet, motion_left_us));
            let must_be_found = self.settings.needs_rate && self.settings.encode.frame_rate.is_none();
            if must_be_found && self.first.iter().filter(|(packet, _)| is_video(packet)).count() < PACKETS_FOR_RATE {
                return Ok(Vec::new());
            }
            self.begin()?;
        } else {
            self.process(packet, motion_left_us)?;
        }
        Ok(std::mem::take(&mut self.making.ready))
    }

    /// No more packets come: what is still inside.
    pub fn finish(&mut self) -> Result<Vec<Packet>, TranscodeError> {
        self.begin()?;
        let Transcoder { settings, decoder, making, .. } = self;
        decoder.drain_pictures(&mut |view, picture| making.see(settings, view.pts_us, picture)).ok();
        making.error.take().map_or(Ok(()), Err)?;
        if let Some(output) = &mut making.output {
            output.encoder.finish()?;
            making.collect()?;
        }
        Ok(std::mem::take(&mut making.ready))
    }

    /// Packets and pictures that were damaged.
    pub fn damaged(&self) -> u64 {
        self.decoder.counts().errors
    }

    fn begin(&mut self) -> Result<(), TranscodeError> {
        if self.making.pace.is_none() {
            let rate = match (self.settings.encode.frame_rate, self.settings.needs_rate) {
                (None, true) => Some(usual_rate(&self.first)),
                (rate, _) => rate,
            };
            self.making.pace = Some(Pace::new(rate));
        }
        std::mem::take(&mut self.first).into_iter().try_for_each(|(packet, left)| self.process(packet, left))
    }

    fn process(&mut self, packet: Arc<Packet>, motion_left_us: Option<i64>) -> Result<(), TranscodeError> {
        let Transcoder { settings, decoder, making, .. } = self;
        if !is_video(&packet) {
            making.pass_on(packet);
            return Ok(());
        }
        making.motion.push_back((packet.pts_us(), motion_left_us));
        if making.motion.len() > REORDERED {
            making.motion.pop_front();
        }
        making.source = Some((Arc::clone(&packet.session), Arc::clone(&packet.stream)));
        let decoded = decoder.decode_pictures(&packet, &mut |view, picture| making.see(settings, view.pts_us, picture));
        if let Some(error) = making.error.take() {
            return Err(error);
        }
        match decoded {
            Err(error @ DecodeError::Unsupported { .. }) => Err(error.into()),
            // Counted; the next keyframe mends it.
            _ => Ok(()),
        }
    }
}

impl Making {
    /// Takes the next decoded picture.
    fn see(&mut self, settings: &TranscoderSettings, pts_us: i64, picture: Picture) {
        if self.error.is_none()
            && let Err(error) = self.make(settings, pts_us, picture)
        {
            self.error = Some(error);
        }
    }

    fn make(&mut self, settings: &TranscoderSettings, pts_us: i64, picture: Picture) -> Result<(), TranscodeError> {
        let motion_left_us = self.motion.iter().find(|(pts, _)| *pts == pts_us).and_then(|(_, left)| *left);
        if settings.from_us.is_some_and(|from_us| pts_us < from_us) {
            return Ok(());
        }
        let Some((session, stream)) = self.source.clone() else { return Ok(()) };
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let Some(Place { ticks, repeats }) = pace.place(pts_us) else { return Ok(()) };
        let (timescale, rate) = (pace.timescale(), pace.rate().unwrap_or(USUAL_RATE));

        let from = picture.frame();
        let (width, height) = settings.encode.scale_to.unwrap_or_else(|| encodable(from.width(), from.height()));
        let mut made = frame::Video::empty();
        self.scaler.run(from, width, height, &mut made).map_err(TranscodeError::Scale)?;
        if settings.encode.overlay != OverlayKind::Nothing {
            let seen = settings.shows.as_ref().and_then(|shown| Some((shown, shown.looks.of(&session, pts_us)?)));
            if let Some((shown, seen)) = &seen {
                shown.draw(seen, &mut made)?;
            }
            let time = settings.zone.format(session.utc(pts_us), "%Y-%m-%d %H:%M:%S");
            let title = format!("{}  {time}", settings.camera);
            let motion = motion_left_us.map(|left_us| format!("MOTION {} s", (left_us.max(0) + 999_999) / 1_000_000));
            let found = seen.as_ref().and_then(|(shown, seen)| shown.words(seen));
            let mut lines = vec![(title.as_str(), overlay::Colour::Black)];
            lines.extend(motion.as_deref().map(|motion| (motion, overlay::Colour::Red)));
            lines.extend(found.as_deref().map(|found| (found, overlay::Colour::Black)));
            self.overlay.draw(&mut made, &lines)?;
        }

        let output = match &mut self.output {
            Some(output) => output,
            None => {
                let encoder = Encoder::open(EncoderSettings {
                    codec: settings.encode.codec,
                    width,
                    height,
                    timescale,
                    rate,
                    keyframe_distance: (rate * KEYFRAME_SECONDS).round().max(1.0) as u32,
                    quality: settings.encode.quality,
                    threads: 1,
                    colour: colour_of(from, settings),
                })?;
                let video = VideoTrack { quarter_turns: stream.video.quarter_turns, ..encoder.track()? };
                let stream = Arc::new(StreamInfo { video, audio: stream.audio.clone() });
                self.output.insert(Output { encoder, session, stream, from: ticks, last: frame::Video::empty() })
            }
        };
        let at = ticks - output.from;
        let mut again = std::mem::replace(&mut output.last, frame::Video::empty());
        for repeat in (1..=repeats).rev() {
            again.set_pts(Some(at - repeat * FIXED_TICKS));
            self.encode(&again)?;
        }
        made.set_pts(Some(at));
        self.encode(&made)?;
        if let Some(output) = &mut self.output {
            output.last = made;
        }
        Ok(())
    }

    fn encode(&mut self, picture: &frame::Video) -> Result<(), TranscodeError> {
        if let Some(output) = &mut self.output {
            output.encoder.send(picture)?;
        }
        self.collect()
    }

    /// Sound is not encoded anew.
    fn pass_on(&mut self, packet: Arc<Packet>) {
        let Some(output) = &self.output else {
            self.held_audio.push(packet);
            return;
        };
        self.ready.push(Packet {
            session: Arc::clone(&packet.session),
            stream: Arc::clone(&output.stream),
            track: packet.track,
            keyframe: packet.keyframe,
            dts: packet.dts,
            pts: packet.pts,
            payload: decode::shared(&packet),
            length_prefixed: packet.length_prefixed,
        });
    }

    fn collect(&mut self) -> Result<(), TranscodeError> {
        let Some(output) = &mut self.output else { return Ok(()) };
        while let Some(payload) = output.encoder.receive()? {
            let pts = payload.pts().unwrap_or(0) + output.from;
            self.ready.push(Packet {
                session: Arc::clone(&output.session),
                stream: Arc::clone(&output.stream),
                track: Track::Video,
                keyframe: payload.is_key(),
                dts: payload.dts().map_or(pts, |dts| dts + output.from),
                pts,
                payload,
                length_prefixed: false,
            });
        }
        std::mem::take(&mut self.held_audio).into_iter().for_each(|packet| self.pass_on(packet));
        Ok(())
    }
}

impl Shown {
    /// Outlines of what was seen, over those of the zones; a zone in which something counts has the same colour.
    fn draw(&self, seen: &Seen, picture: &mut frame::Video) -> opencv::Result<()> {
        for (n, zone) in self.zones.iter().enumerate() {
            let colour = if seen.finding.zones.contains(n) { overlay::Colour::Green } else { overlay::Colour::Blue };
            overlay::outline(picture, zone.polygon.corners(), colour)?;
        }
        for Region { left, top, width, height } in &seen.finding.regions {
            let (right, bottom) = (left + width, top + height);
            let corners = [(*left, *top), (right, *top), (right, bottom), (*left, bottom)];
            overlay::outline(picture, &corners, overlay::Colour::Green)?;
        }
        Ok(())
    }

    /// Why the picture was taken for motion or not, how much of it changed, and in which zones something counts. None:
    /// there is nothing to say.
    fn words(&self, seen: &Seen) -> Option<String> {
        let cause = seen.finding.cause?.name();
        let zones = self.zones.iter().enumerate().filter(|(n, _)| seen.finding.zones.contains(*n));
        let zones: String = zones.map(|(_, zone)| format!("  {}", zone.name)).collect();
        Some(format!("{cause} {:.2} %{zones}", 100.0 * seen.share))
    }
}

/// The nearest size that all encoders take: even sides, and not less than they can do.
fn encodable(width: u32, height: u32) -> (u32, u32) {
    const LEAST: u32 = 16;
    ((width & !1).max(LEAST), (height & !1).max(LEAST))
}

/// Converting between ranges is the scaler's; what it leaves as it is keeps its name.
fn colour_of(picture: &frame::Video, settings: &TranscoderSettings) -> Colour {
    let is_full = pixel_format(settings.encode.codec) == Pixel::YUVJ420P;
    let is_jpeg_format = matches!(
        picture.format(),
        Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P
    );
    let range = match (is_full, is_jpeg_format) {
        (true, _) => color::Range::JPEG,
        (false, true) => color::Range::MPEG,
        (false, false) => picture.color_range(),
    };
    Colour { space: picture.color_space(), range }
}

fn is_video(packet: &Packet) -> bool {
    packet.track == Track::Video
}

/// The rate of these packets, to whole pictures a second.
fn usual_rate(packets: &[Input]) -> f64 {
    let mut times: Vec<i64> =
        packets.iter().filter(|(packet, _)| is_video(packet)).map(|(packet, _)| packet.pts_us()).collect();
    times.sort_unstable();
    match (times.first(), times.last()) {
        (Some(first), Some(last)) if last > first => {
            let seconds = (last - first) as f64 / 1e6;
            ((times.len() - 1) as f64 / seconds).round().clamp(1.0, 60.0)
        }
        _ => USUAL_RATE,
    }
}

/// When pictures are shown.
#[derive(Debug)]
enum Pace {
    /// At their own times.
    Free { last: Option<i64> },
    /// At a constant rate, in thousandths of a picture a second.
    Fixed { millihertz: u32, begun: Option<Begun> },
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    first_us: i64,
    first_ticks: i64,
    last_slot: i64,
}

/// Where a picture goes.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    ticks: i64,
    /// So many pictures are missing before it: the one before is shown again.
    repeats: i64,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        match rate {
            None => Pace::Free { last: None },
            Some(rate) => Pace::Fixed { millihertz: (rate * 1000.0).round().max(1.0) as u32, begun: None },
        }
    }

    fn timescale(&self) -> u32 {
        match self {
            Pace::Free { .. } => FREE_TIMESCALE,
            Pace::Fixed { millihertz, .. } => *millihertz,
        }
    }

    fn rate(&self) -> Option<f64> {
        match self {
            Pace::Free { .. } => None,
            Pace::Fixed { millihertz, .. } => Some(f64::from(*millihertz) / 1000.0),
        }
    }

    /// Where a picture of this time goes; None: it is left out, its place is taken.
    fn place(&mut self, pts_us: i64) -> Option<Place> {
        let ticks = us_to_ticks(pts_us, self.timescale());
        match self {
            Pace::Free { last } => {
                let ticks = last.map_or(ticks, |last| ticks.max(last + 1));
                *last = Some(ticks);
                Some(Place { ticks, repeats: 0 })
            }
            Pace::Fixed { begun: begun @ None, .. } => {
                *begun = Some(Begun { first_us: pts_us, first_ticks: ticks, last_slot: 0 });
                Some(Place { ticks, repeats: 0 })
            }
            Pace::Fixed { millihertz, begun: Some(begun) } => {
                let since_us = pts_us.saturating_sub(begun.first_us);
                let slot = (since_us as f64 * f64::from(*millihertz) / 1e9 + EARLIEST).floor() as i64;
                let missing = slot - begun.last_slot - 1;
                if missing < 0 {
                    return None;
                }
                begun.last_slot = slot;
                let most = (f64::from(*millihertz) / 1000.0 * LONGEST_REPEAT_S) as i64;
                let repeats = if missing <= most { missing } else { 0 };
                Some(Place { ticks: begun.first_ticks + slot * FIXED_TICKS, repeats })
            }
        }
    }
}

/// To nearest; the inverse of [`crate::domain::stream::ticks_to_us`].
fn us_to_ticks(us: i64, timescale: u32) -> i64 {
    ((i128::from(us) * i128::from(timescale) + 500_000).div_euclid(1_000_000)) as i64
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::domain::finding::{Cause, Finding, ZoneSet};
    use crate::domain::stream::VideoCodec;
    use crate::domain::zone::Polygon;
    use crate::media::testing;

    fn places(rate: f64, times_us: impl IntoIterator<Item = i64>) -> Vec<Option<(i64, i64)>> {
        let mut pace = Pace::new(Some(rate));
        times_us.into_iter().map(|us| pace.place(us).map(|place| (place.ticks, place.repeats))).collect()
    }

    #[test]
    fn a_constant_rate_leaves_pictures_out_or_repeats_them() {
        let half = places(10.0, (0..5).map(|n| n * 50_000));
        assert_eq!(half, [Some((0, 0)), None, Some((1000, 0)), None, Some((2000, 0))]);
        // A camera that is not quite even loses nothing.
        let uneven = places(25.0, [0, 31_000, 80_000, 111_000, 160_000, 208_000]);
        assert!(uneven.iter().all(|place| matches!(place, Some((_, 0)))), "{uneven:?}");
        let double = places(10.0, (0..3).map(|n| 7_000_000 + n * 200_000));
        assert_eq!(double, [Some((70_000, 0)), Some((72_000, 1)), Some((74_000, 1))]);
        // The longest hole is not filled, and what comes after it is in its place.
        assert_eq!(places(10.0, [0, 60_000_000]), [Some((0, 0)), Some((600_000, 0))]);
    }

    #[test]
    fn pictures_of_25_a_second_at_20_or_30_fall_on_the_rate() {
        for (rate, expected) in [(20.0, 200), (30.0, 300), (12.5, 125), (25.0, 250)] {
            let places = places(rate, (0..250).map(|n| n * 40_000));
            let shown: i64 = places.iter().flatten().map(|(_, repeats)| 1 + repeats).sum();
            assert!((shown - expected).abs() <= 1, "{rate}: {shown}");
        }
    }

    #[test]
    fn free_pictures_keep_their_times_and_never_stand_still() {
        let mut pace = Pace::new(None);
        let ticks: Vec<i64> = [0, 33_367, 66_733, 66_733, 100_000].map(|us| pace.place(us).unwrap().ticks).into();
        assert_eq!(ticks, [0, 1001, 2002, 2003, 3000]);
    }

    fn settings(codec: VideoCodec) -> TranscoderSettings {
        let encode =
            EncodeConfig { codec, scale_to: None, frame_rate: None, overlay: OverlayKind::Nothing, quality: 70 };
        let camera = "door".to_owned();
        TranscoderSettings { encode, needs_rate: false, from_us: None, camera, zone: Zone::UTC, shows: None }
    }

    /// Four seconds of 160x120 in H.264 with B-frames, 15 pictures a second.
    fn clip(folder: &Path) -> Vec<Arc<Packet>> {
        let encode = ["-c:v", "libx264", "-bf", "2", "-g", "15", "-pix_fmt", "yuv420p"];
        let clip = testing::clip(folder, "clip.mp4", "160x120", 4, &encode);
        testing::packets(&clip, 1).into_iter().map(Arc::new).collect()
    }

    fn run(settings: TranscoderSettings, input: &[Arc<Packet>], motion_left_us: Option<i64>) -> Vec<Packet> {
        let mut transcoder = Transcoder::new(settings);
        let mut output = Vec::new();
        for packet in input {
            output.extend(transcoder.take(Arc::clone(packet), motion_left_us).unwrap());
        }
        output.extend(transcoder.finish().unwrap());
        output
    }

    #[test]
    fn every_picture_comes_out_at_its_time_in_every_codec() {
        let folder = tempfile::tempdir().unwrap();
        let input = clip(folder.path());
        let mut times: Vec<i64> = input.iter().map(|packet| packet.pts_us()).collect();
        times.sort_unstable();
        for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Mjpeg, VideoCodec::Mpeg4] {
            let output = run(settings(codec), &input, None);
            let made: Vec<i64> = output.iter().map(|packet| packet.pts_us()).collect();
            assert_eq!(made.len(), times.len(), "{codec:?}");
            assert!(made.iter().zip(&times).all(|(made, time)| (made - time).abs() <= 17), "{codec:?}: {made:?}");
            assert!(output[0].keyframe && output.iter().all(|packet| packet.codec() == codec));
            assert!(output.iter().all(|packet| packet.dts_us() == packet.pts_us()));
        }
    }

    #[test]
    fn size_and_rate_are_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let input = clip(folder.path());
        let mut asked = settings(VideoCodec::H264);
        asked.encode = EncodeConfig { scale_to: Some((96, 64)), frame_rate: Some(10.0), ..asked.encode };
        let output = run(asked, &input, None);
        assert_eq!((output[0].stream.video.width, output[0].stream.video.height), (96, 64));
        let steps: Vec<i64> = output.windows(2).map(|pair| pair[1].pts_us() - pair[0].pts_us()).collect();
        assert!(steps.iter().all(|step| *step == 100_000), "{steps:?}");
        assert_eq!(output.len(), 40);
        for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Mjpeg, VideoCodec::Mpeg4] {
            let mut asked = settings(codec);
            asked.encode.frame_rate = Some(40.0);
            let times: Vec<i64> = run(asked, &input, None).iter().map(|packet| packet.pts_us() / 1000).collect();
            assert!(times.len() > 155 && times.windows(2).all(|pair| pair[1] - pair[0] == 25), "{codec:?}: {times:?}");
        }
    }

    #[test]
    fn a_container_with_one_rate_gets_the_sources() {
        let folder = tempfile::tempdir().unwrap();
        let input = clip(folder.path());
        let asked = TranscoderSettings { needs_rate: true, ..settings(VideoCodec::Mpeg4) };
        let output = run(asked.clone(), &input, None);
        assert_eq!(output.len(), input.len());
        assert_eq!(output[0].stream.video.timescale, 15_000);
        // Also where there is too little to find it from at first.
        assert_eq!(run(asked, &input[..3], None).len(), 3);
    }

    #[test]
    fn the_overlay_is_in_the_picture_and_says_motion_only_while_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let input = clip(folder.path());
        let picture = |overlay, motion_left_us| {
            let mut asked = settings(VideoCodec::Mjpeg);
            asked.encode.overlay = overlay;
            let output = run(asked, &input[..15], motion_left_us);
            let path = folder.path().join("out.jpg");
            std::fs::write(&path, output[5].data()).unwrap();
            let shown = path.to_str().unwrap();
            testing::ffmpeg(&["-i", shown, "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        };
        let (plain, still) = (picture(OverlayKind::Nothing, None), picture(OverlayKind::Words, None));
        let moving = picture(OverlayKind::Words, Some(6_200_000));
        let differing = |a: &[u8], b: &[u8], rows: std::ops::Range<usize>| {
            let area = 160 * rows.start..160 * rows.end;
            a[area.clone()].iter().zip(&b[area]).filter(|(a, b)| a.abs_diff(**b) > 24).count()
        };
        // The first line is 16 rows high, and so is the second.
        assert!(differing(&plain, &still, 0..16) > 500);
        assert!(differing(&plain, &still, 24..120) < 20);
        assert!(differing(&still, &moving, 16..32) > 300);
        assert!(differing(&still, &moving, 0..8) < 20);
    }

    /// Of the sixth picture only, and the twelfth was not looked at.
    #[test]
    fn what_the_detector_saw_is_drawn_into_the_picture_it_saw_it_in() {
        const GREEN_U: u8 = 70;
        let folder = tempfile::tempdir().unwrap();
        let input = clip(folder.path());
        let looks = Arc::new(Looks::new(Duration::from_secs(10), false));
        let mut times: Vec<i64> = input.iter().map(|packet| packet.pts_us()).collect();
        times.sort_unstable();
        let region = Region { left: 0.5, top: 0.5, width: 0.25, height: 0.35 };
        for (n, &pts_us) in times.iter().enumerate().filter(|(n, _)| *n != 11) {
            let mut finding = Finding::default();
            if n == 5 {
                finding = Finding { cause: Some(Cause::Motion), regions: vec![region], zones: ZoneSet::default() };
                finding.zones.insert(0);
            }
            looks.add(&[Seen { session: Arc::clone(&input[0].session), pts_us, share: 0.1, finding }]);
        }
        let polygon = Polygon::new(vec![(0.1, 0.6), (0.3, 0.6), (0.3, 0.9)]).unwrap();
        let gate = zone::Zone {
            name: "gate".to_owned(),
            polygon,
            min_area: 0.0,
            max_area: 1.0,
            sensitivity: 50,
            dwell: Duration::ZERO,
        };
        let mut asked = settings(VideoCodec::Mjpeg);
        asked.encode = EncodeConfig { overlay: OverlayKind::Detection, quality: 100, ..asked.encode };
        let shown = Shown { looks, zones: vec![gate] };
        let words = Seen {
            session: Arc::clone(&input[0].session),
            pts_us: 0,
            share: 0.1,
            finding: Finding { cause: Some(Cause::Light), regions: Vec::new(), zones: ZoneSet(1) },
        };
        assert_eq!(shown.words(&words).as_deref(), Some("light 10.00 %  gate"));
        asked.shows = Some(shown);
        let output = run(asked, &input, None);
        // U of the picture, 80x60.
        let u = |n: usize| -> Vec<u8> {
            let path = folder.path().join("out.jpg");
            std::fs::write(&path, output[n].data()).unwrap();
            let planes = ["-i", path.to_str().unwrap(), "-f", "rawvideo", "-pix_fmt", "yuvj420p", "-"];
            testing::ffmpeg(&planes)[160 * 120..][..80 * 60].to_vec()
        };
        let (before, with, unseen) = (u(4), u(5), u(11));
        let green = |u: &[u8], x: usize, y: usize| u[y * 80 + x].abs_diff(GREEN_U) < 12;
        for (x, y) in [(40, 40), (60, 40), (50, 30), (50, 51)] {
            assert!(green(&with, x, y) && !green(&before, x, y), "the box's edge is at ({x}, {y})");
        }
        assert!(!green(&with, 50, 42), "what is in the box stays");
        assert!(green(&with, 16, 36), "something counts in the zone");
        let blue = |u: &[u8]| u[36 * 80 + 16] > 170;
        assert!(blue(&before), "in the zone nothing counts");
        assert!(!blue(&unseen) && !green(&unseen, 16, 36), "nobody looked at it, so nothing is said of it");
    }

    #[test]
    fn what_is_stored_already_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let input = clip(folder.path());
        let from_us = input[0].pts_us() + 1_900_000;
        let output = run(TranscoderSettings { from_us: Some(from_us), ..settings(VideoCodec::H264) }, &input, None);
        assert!(output[0].keyframe && output[0].pts_us() >= from_us);
        assert_eq!(output.len(), input.iter().filter(|packet| packet.pts_us() >= from_us).count());
    }

    #[test]
    fn damage_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut input = clip(folder.path());
        let broken = testing::packets(&folder.path().join("clip.mp4"), 1)
            .into_iter()
            .nth(20)
            .map(|packet| Packet { payload: ffmpeg_next::Packet::copy(&[0xff; 40]), ..packet });
        input[20] = Arc::new(broken.unwrap());
        let output = run(settings(VideoCodec::H264), &input, None);
        assert!(output.len() > input.len() - 8, "{}", output.len());
    }
}
