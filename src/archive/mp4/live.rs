//! Live video as MP4: each access unit is a fragment of its own and goes out at once.
//!
//! A fragment depends on its packet and on where the stream's time begins, and on nothing that was sent before, so
//! that all viewers share the same bytes.

use std::io;

use chrono::{DateTime, Utc};

use super::table::Sample;
use super::{boxes, encode, fragment};
use crate::domain::stream::{StreamInfo, Track, rescale};
use crate::media::{Packet, nal};

/// What a viewer needs before any fragment: `ftyp` and `moov`.
pub fn init_segment(stream: &StreamInfo) -> io::Result<Vec<u8>> {
    let with_audio = stream.browser_audio().is_some();
    let mut out = Vec::new();
    encode(&boxes::ftyp(), &mut out)?;
    encode(&boxes::open(stream, with_audio, DateTime::<Utc>::UNIX_EPOCH, 0, 0)?, &mut out)?;
    Ok(out)
}

/// The packet as a `moof` and an `mdat`; None where a viewer has no use for it (sound that browsers don't play, an
/// access unit without a picture). `zero_us` is where the stream's time begins, in the session's clock;
/// `duration` is in ticks of the packet's track: what comes next is not known yet, so it is a guess that the next
/// fragment's own time corrects.
pub fn segment(packet: &Packet, number: u32, zero_us: i64, duration: u32) -> io::Result<Option<Vec<u8>>> {
    if packet.track == Track::Audio && packet.stream.browser_audio().is_none() {
        return Ok(None);
    }
    let (mut video_data, mut audio_data) = (Vec::new(), Vec::new());
    match packet.track {
        Track::Video => {
            nal::append_sample(packet.codec(), packet.data(), packet.length_prefixed, &mut video_data);
        }
        Track::Audio => audio_data.extend_from_slice(packet.data()),
    }
    let size = u32::try_from(video_data.len() + audio_data.len()).unwrap_or(u32::MAX);
    if size == 0 {
        return Ok(None);
    }
    let zero = rescale(zero_us, 1_000_000, packet.timescale());
    let sample = Sample {
        dts: u64::try_from(packet.dts.saturating_sub(zero)).unwrap_or(0),
        duration,
        composition: i32::try_from(packet.pts.saturating_sub(packet.dts).max(0)).unwrap_or(i32::MAX),
        size,
        key: packet.keyframe || packet.track == Track::Audio,
    };
    let (video, audio) = match packet.track {
        Track::Video => (vec![sample], Vec::new()),
        Track::Audio => (Vec::new(), vec![sample]),
    };
    let fragment = fragment::assemble(number, video, audio, &mut video_data, &mut audio_data)?;
    Ok(Some(fragment.bytes))
}
