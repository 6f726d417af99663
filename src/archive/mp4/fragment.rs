//! Packets to fragments of MP4: bytes only, no file.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use mp4_atom::{Mfhd, Moof, Moov, Tfdt, Tfhd, Traf, Trun, TrunEntry};

use super::boxes::{self, KEY_FLAGS, OTHER_FLAGS};
use super::table::Sample;
use super::{AUDIO_TRACK, VIDEO_TRACK, encode};
use crate::archive::container::Cutter;
use crate::domain::stream::{AudioCodec, StreamInfo, Track, rescale};
use crate::media::{Packet, nal};

/// Samples of one track in a fragment; their data lies in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackRun {
    /// Where the data begins, from the fragment's first byte.
    pub data_at: usize,
    pub samples: Vec<Sample>,
}

/// A `moof` and its `mdat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    pub bytes: Vec<u8>,
    pub video: Option<TrackRun>,
    pub audio: Option<TrackRun>,
}

impl Fragment {
    /// May a viewer begin with this fragment?
    pub fn starts_with_keyframe(&self) -> bool {
        self.video.as_ref().is_some_and(|run| run.samples.first().is_some_and(|sample| sample.key))
    }
}

/// Turns the packets of one stream into fragments of about half a second. The first video packet's picture is
/// shown at 0; audio before it is kept and skipped by an edit.
pub struct Fragmenter {
    stream: Arc<StreamInfo>,
    with_audio: bool,
    start: DateTime<Utc>,
    video: TrackBuffer,
    audio: TrackBuffer,
    cutter: Cutter,
    zero: Option<Zero>,
    moov: Option<Moov>,
    fragments: u32,
}

/// Where the file's time begins.
#[derive(Clone, Copy, Debug)]
struct Zero {
    /// The first picture's, in video ticks and in microseconds.
    pts: i64,
    pts_us: i64,
    video_dts: i64,
    /// `pts` in audio ticks.
    audio: i64,
}

#[derive(Default)]
struct TrackBuffer {
    data: Vec<u8>,
    pending: Vec<Pending>,
    /// Decode time of the newest packet so far, also of those that were cut off already.
    last_dts: Option<i64>,
    /// Ticks between the newest two packets.
    step: Option<i64>,
    /// What is subtracted from the source's ticks; set with the first fragment.
    base: Option<i64>,
}

struct Pending {
    dts: i64,
    pts: i64,
    size: u32,
    key: bool,
}

impl TrackBuffer {
    /// Takes a packet whose data was appended already.
    fn add(&mut self, packet: &Packet, dts: i64, size: u32) {
        if let Some(last) = self.last_dts {
            self.step = Some(dts.saturating_sub(last));
        }
        self.last_dts = Some(dts);
        self.pending.push(Pending {
            dts,
            pts: packet.pts.max(dts),
            size,
            key: packet.keyframe || packet.track == Track::Audio,
        });
    }

    /// Decode times rise strictly: the source sees to it, and a file must not depend on it.
    fn fit(&self, dts: i64) -> i64 {
        self.last_dts.map_or(dts, |last| dts.max(last.saturating_add(1)))
    }

    /// Ends the run. `next_dts` is the next packet's time, where it is known; else the last sample is as long
    /// as the one before.
    fn take(&mut self, next_dts: Option<i64>, usual_step: i64) -> Vec<Sample> {
        let base = self.base.unwrap_or(0);
        let pending = std::mem::take(&mut self.pending);
        let last_step = self.step.unwrap_or(usual_step).max(1);
        let ends = pending.iter().skip(1).map(|next| Some(next.dts)).chain([next_dts]);
        pending
            .iter()
            .zip(ends)
            .map(|(sample, end)| Sample {
                dts: u64::try_from(sample.dts.saturating_sub(base)).unwrap_or(0),
                duration: u32::try_from(end.map_or(last_step, |end| end.saturating_sub(sample.dts)))
                    .unwrap_or(u32::MAX),
                composition: i32::try_from(sample.pts.saturating_sub(sample.dts)).unwrap_or(i32::MAX),
                size: sample.size,
                key: sample.key,
            })
            .collect()
    }
}

impl Fragmenter {
    /// `start` is written down as the time of creation.
    pub fn new(stream: &Arc<StreamInfo>, with_audio: bool, start: DateTime<Utc>) -> Self {
        Fragmenter {
            stream: stream.clone(),
            with_audio: with_audio && stream.audio.is_some(),
            start,
            video: TrackBuffer::default(),
            audio: TrackBuffer::default(),
            cutter: Cutter::default(),
            zero: None,
            moov: None,
            fragments: 0,
        }
    }

    /// Takes the next packet in arrival order; gives a fragment if one is full. Packets before the first video
    /// packet, which must be a keyframe, are left out.
    pub fn push(&mut self, packet: &Packet) -> io::Result<Option<Fragment>> {
        match packet.track {
            Track::Video => self.push_video(packet),
            Track::Audio if self.with_audio && self.zero.is_some() => self.push_audio(packet),
            Track::Audio => Ok(None),
        }
    }

    fn push_video(&mut self, packet: &Packet) -> io::Result<Option<Fragment>> {
        if packet.codec() != self.stream.video.codec || packet.timescale() != self.stream.video.timescale {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is of another stream than the file"));
        }
        if self.zero.is_none() && !packet.keyframe {
            return Ok(None);
        }
        let dts = self.video.fit(packet.dts);
        let mut cut = if self.cutter.cut_before(packet) { self.cut(Some(dts), None)? } else { None };
        let before = self.video.data.len();
        nal::append_sample(self.stream.video.codec, packet.data(), packet.length_prefixed, &mut self.video.data);
        let size = u32::try_from(self.video.data.len() - before).unwrap_or(u32::MAX);
        if size > 0 {
            self.zero.get_or_insert_with(|| Zero {
                pts: packet.pts.max(dts),
                pts_us: packet.pts_us(),
                video_dts: dts,
                audio: self
                    .stream
                    .audio
                    .as_ref()
                    .map_or(0, |audio| rescale(packet.pts.max(dts), self.stream.video.timescale, audio.timescale)),
            });
            self.video.add(packet, dts, size);
            self.cutter.add(packet);
            if cut.is_none() && self.cutter.cut_after() {
                cut = self.cut(None, None)?;
            }
        }
        Ok(cut)
    }

    fn push_audio(&mut self, packet: &Packet) -> io::Result<Option<Fragment>> {
        let dts = self.audio.fit(packet.dts);
        let cut = if self.cutter.cut_before(packet) { self.cut(None, Some(dts))? } else { None };
        if self.audio.base.is_some_and(|base| dts < base) || packet.data().is_empty() {
            return Ok(cut);
        }
        self.audio.data.extend_from_slice(packet.data());
        let size = u32::try_from(packet.data().len()).unwrap_or(u32::MAX);
        self.audio.add(packet, dts, size);
        self.cutter.add(packet);
        Ok(cut)
    }

    /// A fragment of all that is buffered.
    pub fn flush(&mut self) -> io::Result<Option<Fragment>> {
        self.cut(None, None)
    }

    /// The description of the stream; there from the first fragment on.
    pub fn moov(&self) -> Option<&Moov> {
        self.moov.as_ref()
    }

    /// What a viewer needs before any fragment (`ftyp` and `moov`); there from the first fragment on.
    pub fn init_segment(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(moov) = &self.moov else { return Ok(None) };
        let mut out = Vec::new();
        encode(&boxes::ftyp(), &mut out)?;
        encode(moov, &mut out)?;
        Ok(Some(out))
    }

    /// Time of the first picture, in the session's clock.
    pub fn first_pts_us(&self) -> Option<i64> {
        self.zero.map(|zero| zero.pts_us)
    }

    pub(super) fn video_timescale(&self) -> u32 {
        self.stream.video.timescale
    }

    /// Ticks by which the first picture is shown later than it is decoded.
    pub(super) fn video_lead(&self) -> u64 {
        self.zero.map_or(0, |zero| u64::try_from(zero.pts - zero.video_dts).unwrap_or(0))
    }

    fn cut(&mut self, next_video: Option<i64>, next_audio: Option<i64>) -> io::Result<Option<Fragment>> {
        self.cutter.reset();
        let Some(zero) = self.zero else { return Ok(None) };
        if self.video.pending.is_empty() && self.audio.pending.is_empty() {
            return Ok(None);
        }
        if self.moov.is_none() {
            let first_audio = self.audio.pending.first().map_or(zero.audio, |first| first.dts);
            self.video.base = Some(zero.video_dts);
            self.audio.base = Some(first_audio.min(zero.audio));
            let audio_lead = u64::try_from(zero.audio - first_audio).unwrap_or(0);
            let moov = boxes::open(&self.stream, self.with_audio, self.start, self.video_lead(), audio_lead)?;
            self.moov = Some(moov);
        }
        let audio_step = self.stream.audio.as_ref().map_or(1, |audio| match audio.codec {
            AudioCodec::Aac => 1024 * i64::from(audio.timescale) / i64::from(audio.sample_rate.max(1)),
            AudioCodec::Flac => i64::from(audio.timescale) / 50,
        });
        let video = self.video.take(next_video, i64::from(self.stream.video.timescale) / 25);
        let audio = self.audio.take(next_audio, audio_step);
        self.fragments = self.fragments.wrapping_add(1);
        assemble(self.fragments, video, audio, &mut self.video.data, &mut self.audio.data).map(Some)
    }
}

/// A fragment of these samples. Their data is taken, and what held it stays for the next ones.
pub(in crate::archive) fn assemble(
    sequence_number: u32,
    video: Vec<Sample>,
    audio: Vec<Sample>,
    video_data: &mut Vec<u8>,
    audio_data: &mut Vec<u8>,
) -> io::Result<Fragment> {
    let mut moof = Moof { mfhd: Mfhd { sequence_number }, traf: Vec::new() };
    for (id, samples) in [(VIDEO_TRACK, &video), (AUDIO_TRACK, &audio)] {
        moof.traf.extend(traf(id, samples));
    }
    let mut head = Vec::with_capacity(64 + 16 * (video.len() + audio.len()));
    encode(&moof, &mut head)?;
    let video_at = head.len() + 8;
    let audio_at = video_at + video_data.len();
    for traf in &mut moof.traf {
        let at = if traf.tfhd.track_id == VIDEO_TRACK { video_at } else { audio_at };
        for trun in &mut traf.trun {
            trun.data_offset = i32::try_from(at).ok();
        }
    }
    let body = video_data.len() + audio_data.len();
    let mut bytes = Vec::with_capacity(head.len() + 8 + body);
    encode(&moof, &mut bytes)?;
    let size = u32::try_from(body + 8).map_err(|_| io::Error::other("a fragment larger than 4 GB"))?;
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    bytes.append(video_data);
    bytes.append(audio_data);
    let run = |data_at, samples: Vec<Sample>| (!samples.is_empty()).then_some(TrackRun { data_at, samples });
    Ok(Fragment { bytes, video: run(video_at, video), audio: run(audio_at, audio) })
}

fn traf(track_id: u32, samples: &[Sample]) -> Option<Traf> {
    let first = samples.first()?;
    let entries: Vec<TrunEntry> = samples
        .iter()
        .map(|sample| TrunEntry {
            duration: Some(sample.duration),
            size: Some(sample.size),
            flags: Some(if sample.key { KEY_FLAGS } else { OTHER_FLAGS }),
            cts: Some(i64::from(sample.composition)),
        })
        .collect();
    Some(Traf {
        tfhd: Tfhd { track_id, default_base_is_moof: true, ..Default::default() },
        tfdt: Some(Tfdt { base_media_decode_time: first.dts }),
        trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
        ..Default::default()
    })
}
