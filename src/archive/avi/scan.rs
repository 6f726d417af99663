//! What the bytes of an AVI file that was open say: its front, its whole pictures, and how to close it.

use std::io;

use super::{
    CODEC_AT, Contents, FLAGS_AT, FORMAT_AT, HAS_INDEX, INDEX, LARGEST_OF_STREAM_AT, MOVI_SIZE_BEFORE_END, PICTURE,
    Place, RATE_AT, RIFF_SIZE_AT, SCALE_AT, TOTAL_AT, trailer,
};
use crate::archive::container::{FileMeta, Found, PlanError, ReadAt, RepairPlan, all_zero, read};

/// No front is larger: a greater size is damage.
const MAX_FRONT_BYTES: u64 = 1 << 20;
/// Chunk headers are read in pieces of this size.
const WINDOW_BYTES: u64 = 1 << 16;
/// Enough of a picture to tell whether it stands for itself: MPEG-4's headers come before it.
const PEEK_BYTES: u64 = 256;

/// Reads a file's state and says how to make it whole.
pub fn plan_repair(source: &dyn ReadAt) -> Result<RepairPlan, PlanError> {
    let size = source.size()?;
    let Some(front) = Front::read(source, size)? else { return Ok(RepairPlan::Delete) };
    let found = |contents: &Contents, torn_bytes| Found {
        meta: front.meta.clone(),
        duration_us: contents.duration_us(front.step_ticks(), front.timescale()),
        packets: contents.packets(),
        torn_bytes,
    };
    if let Some(contents) = complete(source, &front, size)? {
        return Ok(RepairPlan::Complete(found(&contents, 0)));
    }
    let contents = scan(source, &front, size)?;
    if contents.packets() == 0 {
        return Ok(RepairPlan::Delete);
    }
    let keep = front.bytes.len() as u64 + contents.bytes();
    let is_closing = read(source, keep, 4, size)?.is_some_and(|name| name == INDEX);
    let torn_bytes = if is_closing { 0 } else { size - keep };
    let trailer = trailer(&front.bytes, &contents, keep)?;
    Ok(RepairPlan::Finish { found: found(&contents, torn_bytes), keep, trailer })
}

fn not_ours(what: &str) -> PlanError {
    PlanError::NotARecording(what.to_owned())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// All before the first picture.
pub(super) struct Front {
    pub(super) bytes: Vec<u8>,
    meta: FileMeta,
}

impl Front {
    /// None: the file ends before its first picture begins.
    pub(super) fn read(source: &dyn ReadAt, size: u64) -> Result<Option<Self>, PlanError> {
        let front = read_front(source, size)?;
        Ok(front.map(|(bytes, meta)| Front { bytes, meta }))
    }

    /// Ticks from one place to the next.
    pub(super) fn step_ticks(&self) -> u32 {
        number(&self.bytes, SCALE_AT)
    }

    /// Ticks a second.
    pub(super) fn timescale(&self) -> u32 {
        number(&self.bytes, RATE_AT)
    }

    pub(super) fn codec(&self) -> &[u8] {
        self.bytes.get(CODEC_AT..CODEC_AT + 4).unwrap_or_default()
    }

    /// What the stream's format says.
    pub(super) fn format(&self) -> Option<&[u8]> {
        let chunk = self.bytes.get(FORMAT_AT..).filter(|chunk| chunk.starts_with(b"strf"))?;
        chunk.get(8..8 + number(chunk, 4) as usize)
    }
}

fn read_front(source: &dyn ReadAt, size: u64) -> Result<Option<(Vec<u8>, FileMeta)>, PlanError> {
    let Some(beginning) = read(source, 0, 12.min(size), size)? else { return Ok(None) };
    if !beginning.starts_with(b"RIFF") || beginning.get(8..).is_some_and(|name| !b"AVI ".starts_with(name)) {
        return if all_zero(source, size)? { Ok(None) } else { Err(not_ours("it does not begin like one")) };
    }
    let mut at = 12;
    let mut meta = None;
    loop {
        let Some(head) = read(source, at, 12, size)? else { return Ok(None) };
        let (name, length, kind) = (&head[..4], u64::from(number(&head, 4)), &head[8..]);
        if name != b"LIST" || at > MAX_FRONT_BYTES {
            return Err(not_ours("its description is damaged"));
        }
        if kind == b"movi" {
            let Some(front) = read(source, 0, at + 12, size)? else { return Ok(None) };
            let Some(meta) = meta else { return Err(not_ours("its description is another program's")) };
            if front.get(100..104) != Some(b"strh") {
                return Err(not_ours("its description is damaged"));
            }
            return Ok(Some((front, meta)));
        }
        if length > MAX_FRONT_BYTES {
            return Err(not_ours("its description is damaged"));
        }
        let Some(body) = read(source, at + 12, length.saturating_sub(4), size)? else { return Ok(None) };
        if kind == b"INFO" {
            meta = Some(comment(&body).ok_or_else(|| not_ours("its description is another program's"))??);
        }
        at += 8 + length + length % 2;
    }
}

/// The recording's description in an `INFO` list.
fn comment(mut info: &[u8]) -> Option<Result<FileMeta, PlanError>> {
    loop {
        let (head, rest) = info.split_at_checked(8)?;
        let length = number(head, 4) as usize;
        let body = rest.get(..length)?;
        if head.starts_with(b"ICMT") {
            let json = body.strip_suffix(b"\0").unwrap_or(body);
            return Some(
                serde_json::from_slice(json)
                    .map_err(|error| PlanError::NotARecording(format!("its description is damaged: {error}"))),
            );
        }
        info = rest.get(length + length % 2..)?;
    }
}

/// What the file holds if it was closed.
pub(super) fn complete(source: &dyn ReadAt, front: &Front, size: u64) -> io::Result<Option<Contents>> {
    let front = front.bytes.as_slice();
    let movi_size_at = front.len() - MOVI_SIZE_BEFORE_END;
    let index_at = movi_size_at as u64 + 4 + u64::from(number(front, movi_size_at));
    if number(front, FLAGS_AT) & HAS_INDEX == 0 || u64::from(number(front, RIFF_SIZE_AT)) + 8 > size {
        return Ok(None);
    }
    let Some(head) = read(source, index_at, 8, size)? else { return Ok(None) };
    let length = u64::from(number(&head, 4));
    if &head[..4] != INDEX || length != u64::from(number(front, TOTAL_AT)) * 16 {
        return Ok(None);
    }
    let Some(index) = read(source, index_at + 8, length, size)? else { return Ok(None) };
    let places = index.chunks_exact(16).map(|entry| Place { size: number(entry, 12), key: number(entry, 4) != 0 });
    let contents = Contents { places: places.collect() };
    let is_whole = front.len() as u64 + contents.bytes() == index_at
        && contents.places.iter().map(|place| place.size).max() == Some(number(front, LARGEST_OF_STREAM_AT));
    Ok(is_whole.then_some(contents))
}

/// The whole pictures behind the front, up to the first thing that is none.
pub(super) fn scan(source: &dyn ReadAt, front: &Front, size: u64) -> io::Result<Contents> {
    let (mut at, is_mpeg4) = (front.bytes.len() as u64, front.codec() == b"DIVX");
    let mut contents = Contents::default();
    let mut window = (at, Vec::new());
    let mut peek = |from: u64, length: u64| -> io::Result<Option<Vec<u8>>> {
        let holds = |(start, bytes): &(u64, Vec<u8>)| from >= *start && from + length <= start + bytes.len() as u64;
        if !holds(&window) {
            let Some(bytes) = read(source, from, WINDOW_BYTES.min(size.saturating_sub(from)), size)? else {
                return Ok(None);
            };
            window = (from, bytes);
        }
        let start = (from - window.0) as usize;
        Ok(window.1.get(start..start + length as usize).map(<[u8]>::to_vec))
    };
    while let Some(head) = peek(at, 8)? {
        let place = Place { size: number(&head, 4), key: false };
        if &head[..4] != PICTURE || at + place.chunk_bytes() > size {
            break;
        }
        let beginning = peek(at + 8, PEEK_BYTES.min(place.size.into()))?.unwrap_or_default();
        let key = match is_mpeg4 {
            true => crate::media::nal::is_keyframe(crate::domain::stream::VideoCodec::Mpeg4, &beginning, false),
            // A JPEG; zeros are what a power cut leaves of one.
            false => beginning.starts_with(&[0xff, 0xd8]),
        };
        if place.size > 0 && beginning.iter().all(|byte| *byte == 0) {
            break;
        }
        contents.places.push(Place { key, ..place });
        at += place.chunk_bytes();
    }
    Ok(contents)
}
