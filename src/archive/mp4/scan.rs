//! What the bytes of a file that was open say: its description, its whole fragments, and how to close it.

use std::collections::VecDeque;
use std::io;

use mp4_atom::{Atom, Codec, Ftyp, Moof, Moov, StszSamples, TrunSamples};

use super::boxes::{self, KEY_FLAGS};
use super::fragment::{Fragment, TrackRun};
use super::table::Sample;
use super::{AUDIO_TRACK, FREE_BYTES, META_UUID, SEAL_BYTES, Tables, VIDEO_TRACK, seal, trailer};
use crate::archive::container::{FileMeta, Found, PlanError, ReadAt, RepairPlan, all_zero, read};
use crate::domain::stream::ticks_to_us;

/// No `uuid`, no `moov` of an open file and no `moof` is larger: a greater size is damage.
const MAX_BOX_BYTES: u64 = 4 << 20;
/// Read at once at the beginning of a fragment; most of its `moof`s fit.
const PEEK_BYTES: u64 = 4096;
/// So many of the last fragments have their data looked at: a power cut may leave sizes right and data empty.
const VERIFIED_FRAGMENTS: usize = 64;
/// No stream pauses for longer within one file. The first audio may come late.
const LONGEST_PAUSE_S: u64 = 1800;
/// More than this after the head without one fragment is no torn tail: somebody should look at it.
const MAX_TORN_BYTES: u64 = 64 << 20;

/// Reads a file's state and says how to make it whole.
pub fn plan_repair(source: &dyn ReadAt) -> Result<RepairPlan, PlanError> {
    let size = source.size()?;
    let Some(head) = Head::read(source, size)? else { return Ok(RepairPlan::Delete) };
    if let Some(found) = head.complete(source, size)? {
        return Ok(RepairPlan::Complete(found));
    }
    let scanned = scan(source, &head, size)?;
    if scanned.tables.video.is_empty() {
        if size - head.fragments_at > MAX_TORN_BYTES {
            return Err(PlanError::NotARecording("it is damaged from its first fragment on".to_owned()));
        }
        return Ok(RepairPlan::Delete);
    }
    let trailer = trailer(&head.moov, &scanned.tables, head.free_at, scanned.end)?;
    let torn_bytes = if scanned.closing { 0 } else { size - scanned.end };
    let found = head.found(&scanned.tables, torn_bytes);
    Ok(RepairPlan::Finish { found, keep: scanned.end, trailer })
}

/// All before the first fragment.
pub(super) struct Head {
    meta: FileMeta,
    free_at: u64,
    pub(super) moov: Moov,
    fragments_at: u64,
    nal_units: bool,
    has_audio: bool,
}

/// The header of a box.
struct BoxAt {
    kind: [u8; 4],
    body_at: u64,
    end: u64,
}

/// None if not even the header is there or it is no header.
fn box_at(source: &dyn ReadAt, at: u64, size: u64) -> io::Result<Option<BoxAt>> {
    let Some(bytes) = read(source, at, 8, size)? else { return Ok(None) };
    let kind = [bytes[4], bytes[5], bytes[6], bytes[7]];
    let length = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let (header, length) = if length == 1 {
        let Some(long) = read(source, at + 8, 8, size)? else { return Ok(None) };
        (16, long.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    } else {
        (8, length)
    };
    Ok(at.checked_add(length).filter(|_| length >= header).map(|end| BoxAt { kind, body_at: at + header, end }))
}

fn not_ours(what: &str) -> PlanError {
    PlanError::NotARecording(what.to_owned())
}

impl Head {
    /// None: the file ends before its first fragment begins.
    pub(super) fn read(source: &dyn ReadAt, size: u64) -> Result<Option<Self>, PlanError> {
        let mut ftyp = Vec::new();
        super::encode(&boxes::ftyp(), &mut ftyp)?;
        if size < ftyp.len() as u64 {
            let bytes = read(source, 0, size, size)?.unwrap_or_default();
            if ftyp.starts_with(&bytes) || bytes.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            return Err(not_ours("it does not begin like one"));
        }
        let first = box_at(source, 0, size)?.filter(|first| first.kind == *Ftyp::KIND.as_ref());
        let Some(first) = first.filter(|first| first.end <= MAX_BOX_BYTES) else {
            if all_zero(source, size)? {
                return Ok(None);
            }
            return Err(not_ours("it does not begin like one"));
        };
        let Some(meta) = whole_box(source, first.end, size, b"uuid", 16)? else { return Ok(None) };
        if !meta.bytes.starts_with(&META_UUID) {
            return Err(not_ours("its description is another program's"));
        }
        let free_at = meta.end;
        let meta: FileMeta = serde_json::from_slice(&meta.bytes[META_UUID.len()..])
            .map_err(|error| PlanError::NotARecording(format!("its description is damaged: {error}")))?;
        let moov_at = free_at + FREE_BYTES as u64;
        let Some(moov) = whole_box(source, moov_at, size, b"moov", 0)? else { return Ok(None) };
        let fragments_at = moov.end;
        let mut moov = Moov::decode_body(&mut moov.bytes.as_slice())
            .map_err(|error| PlanError::NotARecording(format!("its first moov is damaged: {error}")))?;
        let video = moov.trak.iter().find(|trak| trak.tkhd.track_id == VIDEO_TRACK);
        let Some(video) = video.filter(|video| video.mdia.mdhd.timescale > 0) else {
            return Err(not_ours("its first moov has no video"));
        };
        moov.mvhd.timescale = video.mdia.mdhd.timescale;
        let codec = video.mdia.minf.stbl.stsd.codecs.first();
        let nal_units = matches!(codec, Some(Codec::Avc1(_) | Codec::Hvc1(_)));
        let has_audio = moov.trak.iter().any(|trak| trak.tkhd.track_id == AUDIO_TRACK);
        Ok(Some(Head { meta, free_at, moov, fragments_at, nal_units, has_audio }))
    }

    /// The description with all samples, if the file was closed.
    pub(super) fn closing(&self, source: &dyn ReadAt, size: u64) -> io::Result<Option<Moov>> {
        let mdat = box_at(source, self.free_at, size)?;
        let Some(mdat) = mdat.filter(|mdat| mdat.kind == *b"mdat" && mdat.end > self.fragments_at) else {
            return Ok(None);
        };
        let last = box_at(source, mdat.end, size)?;
        let Some(last) = last.filter(|last| last.kind == *b"moov") else { return Ok(None) };
        let length = last.end - mdat.end;
        let Some(closing) = read(source, mdat.end, length.saturating_add(SEAL_BYTES as u64), size)? else {
            return Ok(None);
        };
        let (boxed, sealed) = closing.split_at(closing.len() - SEAL_BYTES);
        if sealed != seal(boxed) {
            return Ok(None);
        }
        let body = &boxed[(last.body_at - mdat.end) as usize..];
        Ok(Moov::decode_body(&mut &*body).ok())
    }

    /// What the file holds if it was closed.
    fn complete(&self, source: &dyn ReadAt, size: u64) -> io::Result<Option<Found>> {
        let Some(moov) = self.closing(source, size)? else { return Ok(None) };
        let count = |samples: &StszSamples| match samples {
            StszSamples::Identical { count, .. } => u64::from(*count),
            StszSamples::Different { sizes } => sizes.len() as u64,
        };
        let Some(video) = moov.trak.iter().find(|trak| trak.tkhd.track_id == VIDEO_TRACK) else { return Ok(None) };
        if count(&video.mdia.minf.stbl.stsz.samples) == 0 || moov.mvhd.timescale == 0 {
            return Ok(None);
        }
        let duration = i64::try_from(video.tkhd.duration).unwrap_or(i64::MAX);
        Ok(Some(Found {
            meta: self.meta.clone(),
            duration_us: ticks_to_us(duration, moov.mvhd.timescale),
            packets: moov.trak.iter().map(|trak| count(&trak.mdia.minf.stbl.stsz.samples)).sum(),
            torn_bytes: 0,
        }))
    }

    fn found(&self, tables: &Tables, torn_bytes: u64) -> Found {
        let video = self.moov.trak.iter().find(|trak| trak.tkhd.track_id == VIDEO_TRACK);
        let (lead, timescale) = video.map_or((0, 1), |trak| (boxes::lead(trak), trak.mdia.mdhd.timescale));
        let shown = i64::try_from(boxes::shown_ticks(&tables.video, lead)).unwrap_or(i64::MAX);
        Found {
            meta: self.meta.clone(),
            duration_us: ticks_to_us(shown, timescale),
            packets: tables.video.len() + tables.audio.len(),
            torn_bytes,
        }
    }
}

struct WholeBox {
    bytes: Vec<u8>,
    end: u64,
}

/// The body of the box at `at`; None if the file ends inside it.
fn whole_box(
    source: &dyn ReadAt,
    at: u64,
    size: u64,
    kind: &[u8; 4],
    at_least: u64,
) -> Result<Option<WholeBox>, PlanError> {
    if size < at.saturating_add(16) {
        return Ok(None);
    }
    let found = box_at(source, at, size)?
        .filter(|found| found.kind == *kind && found.end - found.body_at <= MAX_BOX_BYTES)
        .filter(|found| found.end - found.body_at >= at_least)
        .ok_or_else(|| PlanError::NotARecording(format!("{} is missing", String::from_utf8_lossy(kind))))?;
    Ok(read(source, found.body_at, found.end - found.body_at, size)?.map(|bytes| WholeBox { bytes, end: found.end }))
}

pub(super) struct Scanned {
    pub(super) tables: Tables,
    /// Where the last good fragment ends.
    end: u64,
    /// Closing had begun: what follows is a `moov`.
    closing: bool,
}

struct Placed {
    fragment: Fragment,
    at: u64,
    end: u64,
}

pub(super) fn scan(source: &dyn ReadAt, head: &Head, size: u64) -> io::Result<Scanned> {
    let mut tables = Tables::default();
    let mut end = head.fragments_at;
    let mut recent: VecDeque<Placed> = VecDeque::new();
    let mut times = Times::new(head);
    let mut closing = false;
    let mut at = head.fragments_at;
    while at < size {
        let mut placed = parse(source, head, at, size)?.filter(|placed| times.fit(&placed.fragment));
        if placed.is_none() {
            closing = box_at(source, at, size)?.is_some_and(|found| found.kind == *b"moov");
            // Damage in the middle costs what is damaged, not what follows.
            placed = find_next(source, head, at, size, &times)?;
        }
        let Some(placed) = placed else { break };
        closing = false;
        times.advance(&placed.fragment);
        at = placed.end;
        recent.push_back(placed);
        if recent.len() > VERIFIED_FRAGMENTS
            && let Some(old) = recent.pop_front()
        {
            tables.add(&old.fragment, old.at);
            end = old.end;
        }
    }
    while let Some(last) = recent.back() {
        if is_sound(source, head, last)? {
            break;
        }
        recent.pop_back();
        closing = false;
    }
    for placed in recent {
        tables.add(&placed.fragment, placed.at);
        end = placed.end;
    }
    Ok(Scanned { tables, end, closing })
}

/// Decode times rise from fragment to fragment, and by no more than a pause explains; what does not is damaged.
struct Times {
    video: Time,
    audio: Time,
}

struct Time {
    newest: Option<u64>,
    longest_pause: u64,
}

impl Times {
    fn new(head: &Head) -> Self {
        let time = |track| {
            let trak = head.moov.trak.iter().find(|trak| trak.tkhd.track_id == track);
            let timescale = trak.map_or(1, |trak| trak.mdia.mdhd.timescale);
            Time { newest: None, longest_pause: LONGEST_PAUSE_S * u64::from(timescale) }
        };
        Times { video: time(VIDEO_TRACK), audio: time(AUDIO_TRACK) }
    }

    fn fit(&self, fragment: &Fragment) -> bool {
        self.video.fits(&fragment.video) && self.audio.fits(&fragment.audio)
    }

    fn advance(&mut self, fragment: &Fragment) {
        self.video.advance(&fragment.video);
        self.audio.advance(&fragment.audio);
    }
}

impl Time {
    fn fits(&self, run: &Option<TrackRun>) -> bool {
        let Some(first) = run.as_ref().and_then(|run| run.samples.first()) else { return true };
        let rises = self.newest.is_none_or(|newest| first.dts > newest);
        rises && first.dts.saturating_sub(self.newest.unwrap_or(0)) <= self.longest_pause
    }

    fn advance(&mut self, run: &Option<TrackRun>) {
        self.newest = run.as_ref().and_then(|run| Some(run.samples.last()?.dts)).or(self.newest);
    }
}

/// The whole fragment at `at`, if there is one.
fn parse(source: &dyn ReadAt, head: &Head, at: u64, size: u64) -> io::Result<Option<Placed>> {
    let Some(mut bytes) = read(source, at, PEEK_BYTES.min(size - at), size)? else { return Ok(None) };
    let Some((length, kind)) = header(&bytes) else { return Ok(None) };
    if kind != *b"moof" || !(8..=MAX_BOX_BYTES).contains(&length) {
        return Ok(None);
    }
    let mdat_at = length as usize;
    if bytes.len() < mdat_at + 8 {
        let Some(more) = read(source, at, length + 8, size)? else { return Ok(None) };
        bytes = more;
    }
    let Some((mdat_length, kind)) = bytes.get(mdat_at..).and_then(header) else { return Ok(None) };
    let end = length + mdat_length;
    if kind != *b"mdat" || mdat_length < 8 || at + end > size {
        return Ok(None);
    }
    let Ok(moof) = Moof::decode_body(&mut &bytes[8..mdat_at]) else { return Ok(None) };
    Ok(runs(&moof, head, length + 8, end).map(|fragment| Placed { fragment, at, end: at + end }))
}

/// Size and kind of a box with a short header.
fn header(bytes: &[u8]) -> Option<(u64, [u8; 4])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    Some((u64::from(u32::from_be_bytes(*length)), *rest.first_chunk::<4>()?))
}

/// The runs of a fragment whose data lies in `data_at..end`; None if anything in it is not as we write it.
fn runs(moof: &Moof, head: &Head, data_at: u64, end: u64) -> Option<Fragment> {
    let mut fragment = Fragment::default();
    for traf in &moof.traf {
        let slot = match traf.tfhd.track_id {
            VIDEO_TRACK => &mut fragment.video,
            AUDIO_TRACK if head.has_audio => &mut fragment.audio,
            _ => return None,
        };
        let [trun] = traf.trun.as_slice() else { return None };
        let TrunSamples::Explicit(entries) = &trun.samples else { return None };
        let mut dts = traf.tfdt.as_ref()?.base_media_decode_time;
        let from = u64::try_from(trun.data_offset?).ok().filter(|from| *from >= data_at)?;
        let mut at = from;
        let mut samples = Vec::with_capacity(entries.len());
        for entry in entries {
            let sample = Sample {
                dts,
                duration: entry.duration.filter(|ticks| *ticks > 0)?,
                composition: i32::try_from(entry.cts?).ok()?,
                size: entry.size.filter(|size| *size > 0)?,
                key: entry.flags? == KEY_FLAGS,
            };
            dts = dts.checked_add(u64::from(sample.duration))?;
            at += u64::from(sample.size);
            samples.push(sample);
        }
        if at > end || samples.is_empty() || slot.is_some() {
            return None;
        }
        *slot = Some(TrackRun { data_at: usize::try_from(from).ok()?, samples });
    }
    (fragment.video.is_some() || fragment.audio.is_some()).then_some(fragment)
}

/// The next good fragment after the damage at `from`.
fn find_next(source: &dyn ReadAt, head: &Head, from: u64, size: u64, times: &Times) -> io::Result<Option<Placed>> {
    const CHUNK: u64 = 1 << 18;
    let mut chunk_at = from + 1;
    while chunk_at + 8 <= size {
        let Some(bytes) = read(source, chunk_at, CHUNK.min(size - chunk_at), size)? else { break };
        for (offset, window) in bytes.windows(8).enumerate() {
            if window[4..] == *b"moof" {
                let placed = parse(source, head, chunk_at + offset as u64, size)?;
                if let Some(placed) = placed.filter(|placed| times.fit(&placed.fragment)) {
                    return Ok(Some(placed));
                }
            }
        }
        if bytes.len() < CHUNK as usize {
            break;
        }
        chunk_at += CHUNK - 7;
    }
    Ok(None)
}

/// Is the data of the fragment's pictures there?
fn is_sound(source: &dyn ReadAt, head: &Head, placed: &Placed) -> io::Result<bool> {
    let size = placed.end;
    let Some(run) = &placed.fragment.video else { return Ok(true) };
    let mut at = placed.at + run.data_at as u64;
    for sample in &run.samples {
        let Some(data) = read(source, at, u64::from(sample.size), size)? else { return Ok(false) };
        let sound = if head.nal_units { lengths_add_up(&data) } else { data.starts_with(&[0xff, 0xd8]) };
        if !sound {
            return Ok(false);
        }
        at += u64::from(sample.size);
    }
    Ok(true)
}

fn lengths_add_up(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { return false };
        let length = u32::from_be_bytes(*length) as usize;
        let Some((unit, tail)) = tail.split_at_checked(length) else { return false };
        // No unit begins with two zeros; an H.265 picture that no other refers to (TRAIL_N) begins with one.
        if unit.iter().take(2).all(|byte| *byte == 0) {
            return false;
        }
        rest = tail;
    }
    true
}
