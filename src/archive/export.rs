//! One MP4 of any stretch of a camera's recordings, stitched from their files packet by packet, as a stream.
//!
//! Nothing is encoded anew. The stream begins at the keyframe at or before the wanted start, and an edit list has
//! players begin where it was asked to. Files that follow each other are joined without a seam; where nothing was
//! recorded the time goes on, so that the player's position is the time of day less the start's. Where the
//! pictures change their kind (codec, size, parameter sets) one MP4 can't go on: it ends there, and says so.
//! Sound goes along where it is of the kind of the first.
//!
//! Belongs here: which files, which samples, and at what time. Does not belong here: boxes ([`super::mp4`]), reading
//! files ([`super::footage`]), and who asks (`web`).

#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use super::container::{Contents, PlanError};
use super::footage::{Footage, describe, us_between, us_to_ticks};
use super::index::{Index, IndexError};
use super::mp4;
use super::mp4::Sample;
use crate::domain::recording::{Recording, RecordingQuery};
use crate::domain::stream::{StreamInfo, Track, VideoCodec, VideoTrack, rescale};

/// Files of one export.
const MOST_FILES: usize = 20_000;
/// Files follow each other without a gap if the clock says so to within this: it is slewed while they are written.
const SEAM: TimeDelta = TimeDelta::milliseconds(500);
/// Sound is joined if it is this near.
const AUDIO_SEAM_MS: i64 = 10;
/// A fragment is cut when it is this long.
const FRAGMENT_MS: i64 = 500;
/// A fragment is cut when it is this large.
const FRAGMENT_BYTES: usize = 4 << 20;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("{MOST_FILES} recordings and more are too many for one file: ask for a shorter stretch")]
    TooMany,
    #[error("nothing is recorded in this stretch")]
    Nothing,
    #[error("no recording of this stretch can be read (first: {0})")]
    Unreadable(String),
}

/// What to export, and from which files.
#[derive(Debug)]
pub struct Export {
    root: PathBuf,
    files: Vec<Recording>,
    stream: StreamInfo,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
}

impl Export {
    /// Looks which files hold pictures of `from..to`, and what they are of. Blocks on the disk.
    pub fn plan(
        root: &Path,
        index: &Index,
        camera: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Self, ExportError> {
        let mut rows = rows(index, camera, from, to)?.into_iter();
        let (mut files, mut stream, mut next) = (Vec::new(), None::<StreamInfo>, None);
        let mut unreadable = None;
        for row in rows.by_ref() {
            let described = match describe(root, &row.path) {
                Ok(Some(this)) if this.video.codec == VideoCodec::Mpeg4 => Err(PlanError::NotARecording(
                    "MPEG-4 Part 2 video does not go into MP4 (take the file itself)".to_owned(),
                )),
                described => described,
            };
            let this = match described {
                Ok(Some(this)) => this,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(path = row.path, %error, "a recording is left out of an export");
                    unreadable.get_or_insert(format!("{}: {error}", row.path));
                    continue;
                }
            };
            let Some(first) = &mut stream else {
                // The file that is being written may not have come as far.
                if row.end.is_some() || shown_after(root, &row, from) {
                    stream = Some(this);
                    files.push(row);
                }
                continue;
            };
            if !is_same(&first.video, &this.video) {
                next = Some(row.start);
                break;
            }
            if first.audio.is_none() {
                first.audio = this.audio;
            }
            files.push(row);
        }
        let Some((stream, first)) = stream.zip(files.first()) else {
            return Err(unreadable.map_or(ExportError::Nothing, ExportError::Unreadable));
        };
        let from = from.max(first.start);
        let last_end = files.iter().map(|row| row.end.unwrap_or(to)).max().unwrap_or(to);
        Ok(Export { root: root.to_owned(), stream, from, to: to.min(last_end).max(from), next, files })
    }

    /// What a player shows first.
    pub fn from(&self) -> DateTime<Utc> {
        self.from
    }

    /// Where the export ends. A file that is being written is taken as far as it is.
    pub fn to(&self) -> DateTime<Utc> {
        self.to
    }

    /// The pictures are of another kind from here on, and have to be asked for by themselves.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.next
    }

    /// Makes the MP4, piece by piece, each of a few megabytes at most. It blocks on the disk and on `send`, and ends
    /// when that breaks.
    pub fn write(&self, send: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>) -> io::Result<()> {
        let mut stitch = Stitch::new(self, send);
        for row in &self.files {
            // A file that retention has deleted meanwhile is a gap.
            let footage = match Footage::read(&self.root, row, self.from, self.to) {
                Ok(Some(footage)) => footage,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(path = row.path, %error, "an export goes on without a recording");
                    continue;
                }
            };
            if stitch.take(row, &footage)?.is_break() {
                break;
            }
        }
        stitch.flush().map(|_| ())
    }
}

/// The camera's recordings of the stretch, in order.
fn rows(index: &Index, camera: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Recording>, ExportError> {
    let (from, to) = (Some(from), Some(to));
    let mut query =
        RecordingQuery { camera: Some(camera.to_owned()), from, to, limit: 1000, ..RecordingQuery::default() };
    let mut rows = Vec::new();
    loop {
        let page = index.recordings(&query)?;
        rows.extend(page.items);
        if rows.len() > MOST_FILES {
            return Err(ExportError::TooMany);
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    rows.sort_by_key(|row| (row.start, row.id));
    Ok(rows)
}

/// Are the pictures of one kind? The clock in which they count does not matter.
fn is_same(one: &VideoTrack, other: &VideoTrack) -> bool {
    *one == VideoTrack { timescale: one.timescale, ..other.clone() }
}

/// Is there a picture in the file that is shown after `from`?
fn shown_after(root: &Path, row: &Recording, from: DateTime<Utc>) -> bool {
    let Ok(Some(footage)) = Footage::read(root, row, from, from) else { return false };
    let Contents { stream, video, video_zero, .. } = &footage.contents;
    let from = us_to_ticks(us_between(row.start, from), stream.video.timescale);
    video.end() - video_zero > from
}

/// Ticks of a file's track as ticks of the export's.
#[derive(Clone, Copy)]
struct Clock {
    from: u32,
    to: u32,
    /// The file's tick at which its first picture is shown, and the same in the export.
    zero: i64,
    origin: i64,
}

impl Clock {
    fn place(&self, ticks: i64) -> i64 {
        self.origin.saturating_add(rescale(ticks.saturating_sub(self.zero), self.from, self.to))
    }

    fn sample(&self, sample: &Sample) -> Timed {
        let dts = i64::try_from(sample.dts).unwrap_or(i64::MAX);
        Timed {
            dts: self.place(dts),
            end: self.place(dts.saturating_add(sample.duration.into())),
            shown: self.place(dts.saturating_add(sample.composition.into())),
        }
    }
}

/// A sample's times in the export.
#[derive(Clone, Copy)]
struct Timed {
    dts: i64,
    end: i64,
    shown: i64,
}

/// What is collected of one track for the next fragment.
#[derive(Default)]
struct Pending {
    samples: Vec<Sample>,
    data: Vec<u8>,
    /// Where the last sample ends.
    end: Option<i64>,
}

impl Pending {
    fn add(&mut self, footage: &Footage, at: u64, sample: &Sample, time: Timed) -> io::Result<()> {
        let dts = self.end.map_or(time.dts, |end| time.dts.max(end)).max(0);
        let end = time.end.max(dts + 1);
        footage.append(&mut self.data, at, sample.size)?;
        self.samples.push(Sample {
            dts: u64::try_from(dts).unwrap_or(0),
            duration: u32::try_from(end - dts).unwrap_or(u32::MAX),
            composition: i32::try_from((time.shown - dts).max(0)).unwrap_or(0),
            size: sample.size,
            key: sample.key,
        });
        self.end = Some(end);
        Ok(())
    }

    fn first(&self) -> Option<i64> {
        self.samples.first().and_then(|sample| i64::try_from(sample.dts).ok())
    }
}

/// Puts the files' samples one after the other.
struct Stitch<'a> {
    export: &'a Export,
    send: &'a mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
    video: Pending,
    audio: Pending,
    fragments: u32,
    begun: Option<Begun>,
    /// When the last file's last picture ends, and by how many ticks its pictures are shown after they are decoded.
    last: Option<(DateTime<Utc>, i64)>,
}

/// Times of the export, in its ticks; its first picture is decoded at 0.
#[derive(Clone, Copy)]
struct Begun {
    start: DateTime<Utc>,
    /// When the first file's first picture is shown.
    origin: i64,
    /// The sound that a player begins with, and where pictures and sound end.
    audio_edit: i64,
    video_end: i64,
    audio_end: i64,
}

impl<'a> Stitch<'a> {
    fn new(export: &'a Export, send: &'a mut dyn FnMut(Vec<u8>) -> ControlFlow<()>) -> Self {
        Stitch {
            export,
            send,
            video: Pending::default(),
            audio: Pending::default(),
            fragments: 0,
            begun: None,
            last: None,
        }
    }

    fn timescale(&self) -> u32 {
        self.export.stream.video.timescale
    }

    fn audio_timescale(&self) -> u32 {
        self.export.stream.audio.as_ref().map_or(1, |audio| audio.timescale)
    }

    /// Begins with the keyframe at or before what is to be shown first: tells its decode time in the file.
    fn begin(&mut self, row: &Recording, footage: &Footage) -> io::Result<(Begun, u64, ControlFlow<()>)> {
        let Contents { stream, video, video_zero, .. } = &footage.contents;
        let (of_file, timescale) = (stream.video.timescale, self.timescale());
        let from = us_to_ticks(us_between(row.start, self.export.from), of_file) + video_zero;
        let shown = |sample: &Sample| i64::try_from(sample.dts).unwrap_or(0) + i64::from(sample.composition);
        let first = video.samples().next().map_or(0, |sample| sample.dts);
        let keys = video.samples().filter(|sample| sample.key);
        let key = keys.take_while(|key| shown(key) <= from).last().map_or(first, |key| key.dts);
        let key_dts = i64::try_from(key).unwrap_or(0);
        let origin = -rescale(key_dts - video_zero, of_file, timescale);
        let edit = (origin + us_to_ticks(us_between(row.start, self.export.from), timescale)).max(0);
        let duration = us_to_ticks(us_between(self.export.from, self.export.to), timescale).max(0);
        let to_audio = |ticks| rescale(ticks, timescale, self.audio_timescale());
        let begun = Begun {
            start: row.start,
            origin,
            audio_edit: to_audio(edit),
            video_end: edit + duration,
            audio_end: to_audio(edit + duration),
        };
        let (lead, audio_lead) = (edit.unsigned_abs(), begun.audio_edit.unsigned_abs());
        let head = mp4::stream_head(&self.export.stream, self.export.from, lead, audio_lead, duration.unsigned_abs())?;
        let sent = (self.send)(head);
        Ok((begun, key, sent))
    }

    /// Appends a file; breaks when the end is reached or nobody takes it any more.
    fn take(&mut self, row: &Recording, footage: &Footage) -> io::Result<ControlFlow<()>> {
        let contents = &footage.contents;
        let (timescale, audio_timescale) = (self.timescale(), self.audio_timescale());
        let (begun, first_dts, sent) = match self.begun {
            Some(begun) => (begun, 0, ControlFlow::Continue(())),
            None => self.begin(row, footage)?,
        };
        self.begun = Some(begun);
        if sent.is_break() {
            return Ok(sent);
        }
        let mut clock =
            Clock { from: contents.stream.video.timescale, to: timescale, zero: contents.video_zero, origin: 0 };
        clock.origin = match (self.video.end, self.last) {
            (Some(end), Some((last_end, lead))) => {
                // Decoding goes on where it ended, and what is decoded next is shown as much later as before.
                let seam = end + lead;
                let by_clock = begun.origin + us_to_ticks(us_between(begun.start, row.start), timescale);
                if (row.start - last_end).abs() <= SEAM { seam } else { by_clock.max(seam) }
            }
            _ => begun.origin,
        };
        let lead = contents.video.samples().next().map_or(0, |key| key.composition);
        self.last = row.end.map(|end| (end, rescale(lead.into(), clock.from, clock.to)));
        let audio = contents.stream.audio.as_ref().filter(|audio| {
            let wanted = self.export.stream.audio.as_ref();
            wanted.is_some_and(|wanted| {
                (wanted.codec, wanted.sample_rate, wanted.channels, &wanted.config_record)
                    == (audio.codec, audio.sample_rate, audio.channels, &audio.config_record)
            })
        });
        let mut audio_clock = audio.map(|audio| Clock {
            from: audio.timescale,
            to: audio_timescale,
            zero: contents.audio_zero,
            origin: rescale(clock.origin, timescale, audio_timescale),
        });
        if let (Some(audio_clock), Some(end), Some(first)) =
            (&mut audio_clock, self.audio.end, contents.audio.samples().next())
        {
            let apart = audio_clock.sample(&first).dts - end;
            if apart.abs() <= AUDIO_SEAM_MS * i64::from(audio_timescale) / 1000 {
                audio_clock.origin -= apart;
            }
        }
        let mut done = false;
        for (track, at, sample) in in_order(contents) {
            match track {
                Track::Video if sample.dts < first_dts => {}
                Track::Video => {
                    let time = clock.sample(&sample);
                    // All later ones are decoded later, and so shown later.
                    done |= time.dts >= begun.video_end;
                    if done {
                        // Their sound is stored no later than the pictures after them.
                        if time.dts >= begun.video_end + 2 * i64::from(timescale) {
                            break;
                        }
                        continue;
                    }
                    if self.is_full(&sample, time) && self.flush()?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    self.video.add(footage, at, &sample, time)?;
                }
                Track::Audio => {
                    let Some(time) = audio_clock.map(|clock| clock.sample(&sample)) else { continue };
                    if time.dts >= 0 && time.end > begun.audio_edit && time.dts < begun.audio_end {
                        self.audio.add(footage, at, &sample, time)?;
                    }
                }
            }
        }
        if done {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Is what is collected a fragment, before this picture comes to it?
    fn is_full(&self, next: &Sample, time: Timed) -> bool {
        let bytes = self.video.data.len() + self.audio.data.len();
        let Some(first) = self.video.first() else { return bytes > FRAGMENT_BYTES };
        let length_ms = rescale(time.dts - first, self.timescale(), 1000);
        next.key || length_ms >= FRAGMENT_MS || bytes + next.size as usize > FRAGMENT_BYTES
    }

    /// Sends what is collected.
    fn flush(&mut self) -> io::Result<ControlFlow<()>> {
        if self.video.samples.is_empty() && self.audio.samples.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.fragments = self.fragments.wrapping_add(1);
        let (video, audio) = (std::mem::take(&mut self.video.samples), std::mem::take(&mut self.audio.samples));
        let fragment = mp4::assemble(self.fragments, video, audio, &mut self.video.data, &mut self.audio.data)?;
        Ok((self.send)(fragment.bytes))
    }
}

/// All samples of a file in the order in which they lie in it.
fn in_order(contents: &Contents) -> impl Iterator<Item = (Track, u64, Sample)> + '_ {
    let (mut video, mut audio) = (contents.video.placed().peekable(), contents.audio.placed().peekable());
    std::iter::from_fn(move || {
        let audio_at = audio.peek().map(|(at, _)| *at);
        let is_video = video.peek().is_some_and(|(at, _)| audio_at.is_none_or(|audio_at| *at < audio_at));
        let (track, next) = if is_video { (Track::Video, video.next()) } else { (Track::Audio, audio.next()) };
        next.map(|(at, sample)| (track, at, sample))
    })
}
