//! The pictures of an AVI recording, closed or still being written: where each lies, and when it is shown.

use super::scan::{Front, complete, scan};
use super::{Contents as Places, PICTURE_AT, SIZE_AT};
use crate::archive::container::{Contents, PlanError, ReadAt};
use crate::archive::mp4::{Sample, SampleTable};
use crate::domain::stream::{StreamInfo, VideoCodec, VideoTrack};

/// An AVI file may count in whole pictures: its times are counted finer, so that moments between two can be told.
const LEAST_TIMESCALE: u32 = 90_000;

/// What the file's stream is; None where it holds nothing yet.
pub(in crate::archive) fn describe(source: &dyn ReadAt) -> Result<Option<StreamInfo>, PlanError> {
    Front::read(source, source.size()?)?.map(|front| stream_of(&front)).transpose()
}

/// All pictures that the file holds; None where it holds none yet.
pub(in crate::archive) fn contents(source: &dyn ReadAt) -> Result<Option<Contents>, PlanError> {
    let size = source.size()?;
    let Some(front) = Front::read(source, size)? else { return Ok(None) };
    let stream = stream_of(&front)?;
    let places = match complete(source, &front, size)? {
        Some(places) => places,
        None => scan(source, &front, size)?,
    };
    let video = table(&places, front.bytes.len() as u64, front.step_ticks().saturating_mul(finer(&front)));
    let audio = SampleTable::default();
    Ok((!video.is_empty()).then_some(Contents { stream, video, audio, video_zero: 0, audio_zero: 0 }))
}

/// A picture is shown in its place, and in the empty ones behind it.
fn table(places: &Places, mut at: u64, step_ticks: u32) -> SampleTable {
    let mut table = SampleTable::default();
    for (dts, place) in (0..).step_by(step_ticks.max(1) as usize).zip(&places.places) {
        if place.size > 0 {
            let sample = Sample { dts, duration: step_ticks, composition: 0, size: place.size, key: place.key };
            table.add(at + PICTURE_AT, &[sample]);
        }
        at += place.chunk_bytes();
    }
    table
}

/// By how much its clock is counted finer.
fn finer(front: &Front) -> u32 {
    LEAST_TIMESCALE.div_ceil(front.timescale().max(1))
}

fn stream_of(front: &Front) -> Result<StreamInfo, PlanError> {
    let other = || PlanError::NotARecording("its description is of another kind".to_owned());
    let codec = match front.codec() {
        b"MJPG" => VideoCodec::Mjpeg,
        b"DIVX" => VideoCodec::Mpeg4,
        _ => return Err(other()),
    };
    let (format, timescale) = (front.format().ok_or_else(other)?, front.timescale().saturating_mul(finer(front)));
    let [width, height] = SIZE_AT.map(|at| format.get(at..at + 4)?.first_chunk().copied().map(u32::from_le_bytes));
    let (Some(width), Some(height), true) = (width, height, timescale > 0) else { return Err(other()) };
    let config_record = format.get(40..).unwrap_or_default().to_vec();
    // AVI does not tell how pictures are turned.
    let video = VideoTrack { codec, width, height, quarter_turns: 0, timescale, config_record };
    Ok(StreamInfo { video, audio: None })
}
