//! What the bytes of a Matroska file that was open say: its front, its whole clusters, and how to close it.

use std::collections::VecDeque;
use std::io;

use super::ebml::{self, child, elements, header, id};
use super::{Contents, Front, META_TAG, SUMMARY_BYTES, Summary, TICK_US, ebml_header, trailer};
use super::{DURATION_BYTES, SEEK_HEAD_BYTES};
use crate::archive::container::{FileMeta, Found, PlanError, ReadAt, RepairPlan, all_zero, read};

/// No front and no cues are larger: a greater size is damage.
const MAX_FRONT_BYTES: u64 = 4 << 20;
/// So many of the last clusters have their checksum looked at.
const VERIFIED_CLUSTERS: usize = 64;
/// Id and size of a cluster, its checksum, its timestamp at its longest, and its summary.
const PEEK_BYTES: u64 = 12 + ebml::CRC_BYTES as u64 + 10 + SUMMARY_BYTES as u64;
/// More than this after the front without one cluster is no torn tail: somebody should look at it.
const MAX_TORN_BYTES: u64 = 64 << 20;
/// No stream pauses for longer within one file, in ticks.
const LONGEST_PAUSE: u64 = 1800 * 1_000_000 / TICK_US as u64;

/// Reads a file's state and says how to make it whole.
pub fn plan_repair(source: &dyn ReadAt) -> Result<RepairPlan, PlanError> {
    let size = source.size()?;
    let Some((front, meta)) = read_front(source, size)? else { return Ok(RepairPlan::Delete) };
    let found = |contents: &Contents, torn_bytes| Found {
        meta: meta.clone(),
        duration_us: i64::try_from(contents.end).unwrap_or(i64::MAX).saturating_mul(TICK_US),
        packets: contents.packets,
        torn_bytes,
    };
    if let Some(contents) = complete(source, &front, size)? {
        return Ok(RepairPlan::Complete(found(&contents, 0)));
    }
    let scanned = scan(source, &front, size)?;
    if scanned.contents.packets == 0 {
        if size - front.bytes.len() as u64 > MAX_TORN_BYTES {
            return Err(PlanError::NotARecording("it is damaged from its first cluster on".to_owned()));
        }
        return Ok(RepairPlan::Delete);
    }
    let torn_bytes = if scanned.closing { 0 } else { size - scanned.end };
    Ok(RepairPlan::Finish {
        found: found(&scanned.contents, torn_bytes),
        keep: scanned.end,
        trailer: trailer(&front, &scanned.contents, scanned.end),
    })
}

fn not_ours(what: &str) -> PlanError {
    PlanError::NotARecording(what.to_owned())
}

/// None: the file ends before its first cluster begins.
pub(super) fn read_front(source: &dyn ReadAt, size: u64) -> Result<Option<(Front, FileMeta)>, PlanError> {
    let ebml = ebml_header();
    let segment_at = ebml.len() + 12;
    let info_at = segment_at + SEEK_HEAD_BYTES;
    let Some(beginning) = read(source, 0, size.min(ebml.len() as u64), size)? else { return Ok(None) };
    if !ebml.starts_with(&beginning) {
        return if all_zero(source, size)? { Ok(None) } else { Err(not_ours("it does not begin like one")) };
    }
    let mut at = info_at as u64;
    let mut ends = [0; 3];
    for (end, wanted) in ends.iter_mut().zip([id::INFO, id::TRACKS, id::TAGS]) {
        if at + 12 > size {
            return Ok(None);
        }
        let Some(peek) = read(source, at, 12, size)? else { return Ok(None) };
        let found = header(&peek).filter(|(id, _, length)| *id == wanted && *length <= MAX_FRONT_BYTES);
        let Some((_, head, length)) = found else { return Err(not_ours("its description is damaged")) };
        at += head as u64 + length;
        *end = at as usize;
    }
    let Some(bytes) = read(source, 0, at, size)? else { return Ok(None) };
    let [tracks_at, tags_at, _] = ends;
    let duration_at = header(&bytes[info_at..]).map_or(0, |(_, head, _)| info_at + head);
    if !bytes[..segment_at - 8].ends_with(&id::SEGMENT.to_be_bytes()) || duration_at + DURATION_BYTES > tracks_at {
        return Err(not_ours("its description is damaged"));
    }
    let tags = child(&bytes[tags_at..], id::TAGS).unwrap_or_default();
    let meta = elements(tags)
        .flat_map(|(_, tag)| elements(tag))
        .filter(|(found, _)| *found == id::SIMPLE_TAG)
        .find(|(_, simple)| child(simple, id::TAG_NAME) == Some(META_TAG.as_bytes()))
        .and_then(|(_, simple)| child(simple, id::TAG_STRING));
    let Some(meta) = meta else { return Err(not_ours("its description is another program's")) };
    let meta: FileMeta = serde_json::from_slice(meta)
        .map_err(|error| PlanError::NotARecording(format!("its description is damaged: {error}")))?;
    Ok(Some((Front { bytes, segment_at, duration_at, info_at, tracks_at, tags_at }, meta)))
}

/// What the file holds if it was closed.
fn complete(source: &dyn ReadAt, front: &Front, size: u64) -> io::Result<Option<Contents>> {
    let segment_at = front.segment_at;
    let Some((_, _, segment_bytes)) = header(&front.bytes[segment_at - 12..]) else { return Ok(None) };
    let end = segment_at as u64 + segment_bytes;
    if front.bytes[segment_at - 8..segment_at] == ebml::UNKNOWN_SIZE || end > size {
        return Ok(None);
    }
    let Some(seek_head) = child(&front.bytes[segment_at..], id::SEEK_HEAD) else { return Ok(None) };
    let cues = elements(seek_head)
        .find(|(_, seek)| child(seek, id::SEEK_ID) == Some(&id::CUES.to_be_bytes()))
        .and_then(|(_, seek)| child(seek, id::SEEK_POSITION)?.try_into().ok())
        .map(u64::from_be_bytes);
    let Some(cues_at) = cues.and_then(|position| position.checked_add(segment_at as u64)) else { return Ok(None) };
    let Some(length) = end.checked_sub(cues_at).filter(|length| *length <= MAX_FRONT_BYTES) else { return Ok(None) };
    let Some(element) = read(source, cues_at, length, size)? else { return Ok(None) };
    let Some(body) = child(&element, id::CUES).and_then(ebml::checked_body) else { return Ok(None) };
    let Some(summary) = child(body, id::VOID).and_then(Summary::parse) else { return Ok(None) };
    let duration = (summary.end as f64).to_be_bytes();
    if child(&front.bytes[front.duration_at..], id::DURATION) != Some(&duration) || summary.packets == 0 {
        return Ok(None);
    }
    Ok(Some(Contents { cues: Vec::new(), packets: u64::from(summary.packets), end: summary.end }))
}

struct Scanned {
    contents: Contents,
    /// Where the last good cluster ends.
    end: u64,
    /// Closing had begun: what follows are the cues.
    closing: bool,
}

pub(super) struct Placed {
    pub(super) summary: Summary,
    pub(super) at: u64,
    pub(super) head: u64,
    pub(super) end: u64,
}

fn scan(source: &dyn ReadAt, front: &Front, size: u64) -> io::Result<Scanned> {
    let mut contents = Contents::default();
    let mut end = front.bytes.len() as u64;
    let mut recent: VecDeque<Placed> = VecDeque::new();
    let mut newest = 0;
    let mut closing = false;
    let mut at = end;
    let segment_at = front.segment_at as u64;
    while at < size {
        let mut placed = parse(source, at, size, newest)?;
        if placed.is_none() {
            let peek = read(source, at, 4.min(size - at), size)?;
            closing = peek.is_some_and(|peek| peek == id::CUES.to_be_bytes());
            // Damage in the middle costs what is damaged, not what follows.
            placed = find_next(source, at, size, newest)?;
        }
        let Some(placed) = placed else { break };
        closing = false;
        newest = newest.max(placed.summary.end);
        at = placed.end;
        recent.push_back(placed);
        if recent.len() > VERIFIED_CLUSTERS
            && let Some(old) = recent.pop_front()
        {
            contents.add(&old.summary, old.at - segment_at);
            end = old.end;
        }
    }
    while let Some(last) = recent.back() {
        if is_sound(source, last, size)? {
            break;
        }
        recent.pop_back();
        closing = false;
    }
    for placed in recent {
        contents.add(&placed.summary, placed.at - segment_at);
        end = placed.end;
    }
    Ok(Scanned { contents, end, closing })
}

/// The whole cluster at `at`, if there is one.
pub(super) fn parse(source: &dyn ReadAt, at: u64, size: u64, newest: u64) -> io::Result<Option<Placed>> {
    let Some(bytes) = read(source, at, PEEK_BYTES.min(size - at), size)? else { return Ok(None) };
    let Some((id::CLUSTER, head, length)) = header(&bytes) else { return Ok(None) };
    let Some(end) = (at + head as u64).checked_add(length).filter(|end| *end <= size) else { return Ok(None) };
    let body = bytes.get(head + ebml::CRC_BYTES..).unwrap_or_default();
    let Some(summary) = child(body, id::VOID).and_then(Summary::parse) else { return Ok(None) };
    if summary.end > newest.saturating_add(LONGEST_PAUSE) {
        return Ok(None);
    }
    Ok(Some(Placed { summary, at, head: head as u64, end }))
}

/// The next good cluster after the damage at `from`.
fn find_next(source: &dyn ReadAt, from: u64, size: u64, newest: u64) -> io::Result<Option<Placed>> {
    const CHUNK: u64 = 1 << 18;
    let wanted = id::CLUSTER.to_be_bytes();
    let mut chunk_at = from + 1;
    while chunk_at + 4 <= size {
        let Some(bytes) = read(source, chunk_at, CHUNK.min(size - chunk_at), size)? else { break };
        for (offset, window) in bytes.windows(4).enumerate() {
            if window == wanted
                && let Some(placed) = parse(source, chunk_at + offset as u64, size, newest)?
                && is_sound(source, &placed, size)?
            {
                return Ok(Some(placed));
            }
        }
        if bytes.len() < CHUNK as usize {
            break;
        }
        chunk_at += CHUNK - 3;
    }
    Ok(None)
}

/// Is the cluster's checksum right?
fn is_sound(source: &dyn ReadAt, placed: &Placed, size: u64) -> io::Result<bool> {
    let from = placed.at + placed.head;
    let body = read(source, from, placed.end - from, size)?;
    Ok(body.is_some_and(|body| ebml::checked_body(&body).is_some()))
}
