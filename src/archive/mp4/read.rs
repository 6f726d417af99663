//! The samples of a recording, closed or still being written: where each lies, and when it is shown.

use mp4_atom::{Moov, Stbl, StszSamples, Trak};

use super::scan::{Head, scan};
use super::table::{Sample, SampleTable};
use super::{AUDIO_TRACK, VIDEO_TRACK, boxes};
use crate::archive::container::{Contents, PlanError, ReadAt};
use crate::domain::stream::{StreamInfo, rescale};

/// What the file's stream is; None where it holds nothing yet.
pub(in crate::archive) fn describe(source: &dyn ReadAt) -> Result<Option<StreamInfo>, PlanError> {
    match Head::read(source, source.size()?)? {
        Some(head) => stream_of(&head.moov).map(Some),
        None => Ok(None),
    }
}

/// All samples that the file holds; None where it holds nothing yet.
pub(in crate::archive) fn contents(source: &dyn ReadAt) -> Result<Option<Contents>, PlanError> {
    let size = source.size()?;
    let Some(head) = Head::read(source, size)? else { return Ok(None) };
    let stream = stream_of(&head.moov)?;
    let closed = head.closing(source, size)?;
    let tables = match &closed {
        Some(moov) => [VIDEO_TRACK, AUDIO_TRACK].map(|id| track(moov, id).map(table).unwrap_or_default()),
        None => {
            let tables = scan(source, &head, size)?.tables;
            [tables.video, tables.audio]
        }
    };
    let [video, audio] = tables;
    let described = closed.as_ref().unwrap_or(&head.moov);
    let zero = |id| track(described, id).map_or(0, |trak| zero(trak, described.mvhd.timescale));
    let (video_zero, audio_zero) = (zero(VIDEO_TRACK), zero(AUDIO_TRACK));
    Ok((!video.is_empty()).then_some(Contents { stream, video, audio, video_zero, audio_zero }))
}

fn stream_of(moov: &Moov) -> Result<StreamInfo, PlanError> {
    boxes::stream_of(moov).ok_or_else(|| PlanError::NotARecording("its description is of another kind".to_owned()))
}

fn track(moov: &Moov, id: u32) -> Option<&Trak> {
    moov.trak.iter().find(|trak| trak.tkhd.track_id == id)
}

/// The track's time, in its ticks, at which the file's first picture is shown.
fn zero(trak: &Trak, movie_timescale: u32) -> i64 {
    let edits = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref());
    let mut late = 0;
    for edit in edits.iter().flat_map(|elst| &elst.entries) {
        match edit.media_time {
            Some(at) => return i64::try_from(at).unwrap_or(0).saturating_sub(late),
            None => {
                let ticks = i64::try_from(edit.segment_duration).unwrap_or(0);
                late += rescale(ticks, movie_timescale, trak.mdia.mdhd.timescale);
            }
        }
    }
    -late
}

/// A closed file's samples of one track; as far as its boxes agree.
fn table(trak: &Trak) -> SampleTable {
    let mut table = SampleTable::default();
    let stbl = &trak.mdia.minf.stbl;
    let mut samples = samples(stbl);
    let offsets: Vec<u64> = match (&stbl.co64, &stbl.stco) {
        (Some(long), _) => long.entries.clone(),
        (None, Some(short)) => short.entries.iter().map(|at| u64::from(*at)).collect(),
        (None, None) => Vec::new(),
    };
    let mut runs = stbl.stsc.entries.iter().peekable();
    let mut a_chunk = 0;
    for (number, at) in (1u32..).zip(offsets) {
        if let Some(run) = runs.next_if(|run| run.first_chunk == number) {
            a_chunk = run.samples_per_chunk;
        }
        let chunk: Vec<Sample> = samples.by_ref().take(a_chunk as usize).collect();
        table.add(at, &chunk);
    }
    table
}

fn samples(stbl: &Stbl) -> impl Iterator<Item = Sample> + '_ {
    let sizes: Box<dyn Iterator<Item = u32>> = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => Box::new(std::iter::repeat_n(*size, *count as usize)),
        StszSamples::Different { sizes } => Box::new(sizes.iter().copied()),
    };
    let durations = stbl.stts.entries.iter().flat_map(|e| std::iter::repeat_n(e.sample_delta, e.sample_count as usize));
    let compositions = stbl.ctts.iter().flat_map(|ctts| &ctts.entries);
    let mut compositions = compositions
        .flat_map(|e| std::iter::repeat_n(i32::try_from(e.sample_offset).unwrap_or(0), e.sample_count as usize));
    let mut keys = stbl.stss.as_ref().map(|stss| stss.entries.iter().copied().peekable());
    let mut dts = 0u64;
    (1u32..).zip(sizes.zip(durations)).map(move |(number, (size, duration))| {
        let key = keys.as_mut().is_none_or(|keys| keys.next_if_eq(&number).is_some());
        let sample = Sample { dts, duration, composition: compositions.next().unwrap_or(0), size, key };
        dts = dts.saturating_add(u64::from(duration));
        sample
    })
}
