//! The samples of a Matroska recording, closed or still being written: where each lies, and when it is shown.

use std::io;
use std::ops::Range;

use super::ebml::{self, child, elements, header, id};
use super::scan::{Placed, parse, read_front};
use super::{AUDIO_TRACK, Front, TICK_US, VIDEO_TRACK};
use crate::archive::container::{Contents, PlanError, ReadAt, read};
use crate::archive::mp4::{Sample, SampleTable};
use crate::domain::stream::{AudioCodec, AudioTrack, StreamInfo, VideoCodec, VideoTrack};

/// Ticks a second.
const TIMESCALE: u32 = (1_000_000 / TICK_US) as u32;
/// Head of an element, and of a block in it.
const BLOCK_HEAD_BYTES: u64 = 12 + 4;
/// Pictures that come before one that is shown earlier: no codec here holds back more.
const MOST_REORDERED: usize = 16;
/// Pictures that are shown before the end may be stored this much later.
const REORDERED: u64 = 2 * TIMESCALE as u64;

/// What the file's stream is; None where it holds nothing yet.
pub(in crate::archive) fn describe(source: &dyn ReadAt) -> Result<Option<StreamInfo>, PlanError> {
    match read_front(source, source.size()?)? {
        Some((front, _)) => stream_of(&front).map(Some),
        None => Ok(None),
    }
}

/// The samples from the keyframe before `wanted` to its end, in microseconds since the file's first picture; None
/// where there is none.
pub(in crate::archive) fn contents(source: &dyn ReadAt, wanted: &Range<i64>) -> Result<Option<Contents>, PlanError> {
    let size = source.size()?;
    let Some((front, _)) = read_front(source, size)? else { return Ok(None) };
    let stream = stream_of(&front)?;
    let tick = |us: i64| u64::try_from(us / TICK_US).unwrap_or(0);
    let (from, end) = (tick(wanted.start), tick(wanted.end).saturating_add(REORDERED));
    let first = front.bytes.len() as u64;
    let (mut begin, mut at, mut newest) = (first, first, 0);
    while let Some(placed) = parse(source, at, size, newest)? {
        if let Some(key) = placed.summary.key {
            if key > from {
                break;
            }
            begin = placed.at;
        }
        newest = newest.max(placed.summary.end);
        at = placed.end;
    }
    let mut blocks = Blocks::default();
    (at, newest) = (begin, newest.max(end));
    while let Some(placed) = parse(source, at, size, newest)? {
        newest = newest.max(placed.summary.end);
        if blocks.take(source, &placed, size)? > end {
            break;
        }
        at = placed.end;
    }
    if blocks.video.is_empty() {
        return Ok(None);
    }
    let (video, video_zero) = blocks.video_table();
    let played: Vec<i64> = blocks.audio.iter().map(|block| i64::try_from(block.shown).unwrap_or(0)).collect();
    let audio = table(&blocks.audio, &played, 0);
    Ok(Some(Contents { stream, video, audio, video_zero, audio_zero: 0 }))
}

fn stream_of(front: &Front) -> Result<StreamInfo, PlanError> {
    let tracks = front.bytes.get(front.tracks_at..).and_then(|bytes| child(bytes, id::TRACKS)).unwrap_or_default();
    parse_tracks(tracks).ok_or_else(|| PlanError::NotARecording("its description is of another kind".to_owned()))
}

fn parse_tracks(tracks: &[u8]) -> Option<StreamInfo> {
    let (mut video, mut audio) = (None, None);
    for (_, entry) in elements(tracks).filter(|(found, _)| *found == id::TRACK_ENTRY) {
        let private = child(entry, id::CODEC_PRIVATE).unwrap_or_default();
        if let Some(picture) = child(entry, id::VIDEO) {
            let codec = match child(entry, id::CODEC_ID)? {
                b"V_MPEG4/ISO/AVC" => VideoCodec::H264,
                b"V_MPEGH/ISO/HEVC" => VideoCodec::H265,
                b"V_MJPEG" => VideoCodec::Mjpeg,
                b"V_MPEG4/ISO/ASP" => VideoCodec::Mpeg4,
                _ => return None,
            };
            let side = |id| u32::try_from(uint(child(picture, id)?)).ok();
            let (width, height) = (side(id::PIXEL_WIDTH)?, side(id::PIXEL_HEIGHT)?);
            let config_record = private.to_vec();
            // Matroska as it is written here does not tell how pictures are turned.
            let (quarter_turns, timescale) = (0, TIMESCALE);
            video = Some(VideoTrack { codec, width, height, quarter_turns, timescale, config_record });
        } else if let Some(sound) = child(entry, id::AUDIO) {
            let (codec, config_record) = match child(entry, id::CODEC_ID)? {
                b"A_AAC" => (AudioCodec::Aac, private.to_vec()),
                // After its mark and the head of its only block.
                b"A_FLAC" => (AudioCodec::Flac, private.get(8..)?.to_vec()),
                _ => return None,
            };
            let rate = f64::from_be_bytes(child(sound, id::SAMPLING_FREQUENCY)?.try_into().ok()?);
            let channels = u16::try_from(uint(child(sound, id::CHANNELS)?)).ok()?;
            audio = Some(AudioTrack { codec, sample_rate: rate as u32, channels, timescale: TIMESCALE, config_record });
        }
    }
    Some(StreamInfo { video: video?, audio })
}

fn uint(body: &[u8]) -> u64 {
    body.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A picture or a piece of sound, and where its data lies.
struct Block {
    at: u64,
    size: u32,
    shown: u64,
    key: bool,
}

/// The blocks with their decode times, all `later` by so much. A block takes as long as the next one says, and the
/// last one as long as the one before.
fn table(blocks: &[Block], decoded: &[i64], later: i64) -> SampleTable {
    let mut table = SampleTable::default();
    let (mut next, mut step) = (0, 1);
    for (n, (block, decoded_at)) in blocks.iter().zip(decoded).enumerate() {
        let dts = u64::try_from(decoded_at.saturating_add(later)).unwrap_or(0).max(next);
        next = dts + 1;
        step = decoded.get(n + 1).map_or(step, |following| following - decoded_at);
        let shown = block.shown.saturating_add_signed(later);
        let composition = i32::try_from(shown as i64 - dts as i64).unwrap_or(0);
        let duration = u32::try_from(step).unwrap_or(1);
        table.add(block.at, &[Sample { dts, duration, composition, size: block.size, key: block.key }]);
    }
    table
}

#[derive(Default)]
struct Blocks {
    video: Vec<Block>,
    audio: Vec<Block>,
}

impl Blocks {
    /// Takes the blocks of a cluster, without their data; tells the cluster's time.
    fn take(&mut self, source: &dyn ReadAt, placed: &Placed, size: u64) -> io::Result<u64> {
        let mut at = placed.at + placed.head + ebml::CRC_BYTES as u64;
        let mut time = 0;
        while at < placed.end {
            let Some(bytes) = read(source, at, BLOCK_HEAD_BYTES.min(placed.end - at), size)? else { break };
            let Some((found, head, length)) = header(&bytes) else { break };
            let body = bytes.get(head..).unwrap_or_default();
            match (found, body) {
                (id::TIMESTAMP, _) => time = uint(body.get(..length as usize).unwrap_or_default()),
                (id::SIMPLE_BLOCK, [track, high, low, flags, ..]) if length > 4 => {
                    let shown = time.saturating_add_signed(i16::from_be_bytes([*high, *low]).into());
                    let size = u32::try_from(length - 4).unwrap_or(u32::MAX);
                    let block = Block { at: at + head as u64 + 4, size, shown, key: flags & 0x80 != 0 };
                    match track & 0x7f {
                        VIDEO_TRACK => self.video.push(block),
                        AUDIO_TRACK => self.audio.push(block),
                        _ => {}
                    }
                }
                _ => {}
            }
            at = at.saturating_add(head as u64).saturating_add(length);
        }
        Ok(time)
    }

    /// The pictures with decode times, and the time at which the file's first picture is shown.
    fn video_table(&self) -> (SampleTable, i64) {
        let shown: Vec<u64> = self.video.iter().map(|block| block.shown).collect();
        let decoded = decode_times(&shown);
        // Times before 0 move all to later.
        let later = decoded.first().map_or(0, |first| (-first).max(0));
        (table(&self.video, &decoded, later), later)
    }
}

/// Matroska keeps no decode times. Pictures are decoded in the order they are stored in, as evenly as they are
/// shown, and none after it is shown.
fn decode_times(shown: &[u64]) -> Vec<i64> {
    let held_back = |at: usize| {
        let before = shown[at.saturating_sub(MOST_REORDERED)..at].iter();
        before.filter(|other| **other > shown[at]).count()
    };
    let depth = (0..shown.len()).map(held_back).max().unwrap_or(0);
    let mut sorted: Vec<i64> = shown.iter().map(|time| i64::try_from(*time).unwrap_or(i64::MAX)).collect();
    sorted.sort_unstable();
    let first = sorted.first().copied().unwrap_or(0);
    let step = sorted.get(1).map_or(0, |second| second - first).max(1);
    let before = (1..=depth as i64).rev().map(|pictures| first - pictures * step);
    before.chain(sorted.iter().copied()).take(shown.len()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pictures_in_order_are_decoded_when_they_are_shown() {
        assert_eq!(decode_times(&[5, 9, 12]), [5, 9, 12]);
        // I P B B P B B
        assert_eq!(decode_times(&[0, 30, 10, 20, 60, 40, 50]), [-10, 0, 10, 20, 30, 40, 50]);
    }

    proptest! {
        #[test]
        fn decode_times_rise_and_none_is_after_its_picture(groups in prop::collection::vec((1usize..5, 1u64..50), 1..20)) {
            // Each group: one picture that is shown after those that follow it.
            let (mut shown, mut time) = (Vec::new(), 0);
            for (between, step) in groups {
                shown.push(time + between as u64 * step);
                shown.extend((0..between as u64).map(|n| time + n * step));
                time += (between as u64 + 1) * step;
            }
            let decoded = decode_times(&shown);
            prop_assert_eq!(decoded.len(), shown.len());
            prop_assert!(decoded.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(decoded.iter().zip(&shown).all(|(decoded, shown)| *decoded <= *shown as i64));
        }
    }
}
