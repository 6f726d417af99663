//! Recordings as AVI, for players and programs that know nothing else: MJPEG or MPEG-4 at one constant rate, no
//! sound.
//!
//! An open file is an AVI file whose sizes are 0 and that has no index; closing appends the index and then writes the
//! sizes into its front. Pictures stand in places of the same length; an empty chunk shows the picture before it
//! again. Layout of the chunks: Microsoft's "AVI RIFF File Reference"; a recording's [`FileMeta`] is the comment in its
//! `INFO` list.
//!
//! Belongs here: chunks, places, the index, and what a file's bytes say of its state. Does not belong here: opening,
//! writing and deleting files ([`super::file`]).

mod read;
mod scan;

pub(super) use read::{contents, describe};
pub use scan::plan_repair;

use std::io;
use std::sync::Arc;

use super::container::{Container, Cutter, Extent, FileMeta, Trailer};
use crate::domain::stream::{StreamInfo, Track, VideoCodec, VideoTrack, ticks_to_us};
use crate::media::Packet;

/// What every AVI file begins with.
pub(super) const FIRST_BYTE: u8 = b'R';

const PICTURE: &[u8; 4] = b"00dc";
const INDEX: &[u8; 4] = b"idx1";
/// In the index: the picture stands for itself.
const KEY_FLAG: u32 = 0x10;
/// In the header: the file has an index.
const HAS_INDEX: u32 = 0x10;
/// All sizes and places are numbers of 32 bits.
const MOST_BYTES: u64 = u32::MAX as u64 - (64 << 20);
/// Places in which nothing is shown anew, one after the other, at most: a stream that pauses for longer goes on
/// early.
const LONGEST_PAUSE_S: i64 = 600;

// Where the front's numbers are, which closing a file fills in.
const RIFF_SIZE_AT: usize = 4;
const FLAGS_AT: usize = 44;
const TOTAL_AT: usize = 48;
const LARGEST_AT: usize = 60;
const SCALE_AT: usize = 128;
const RATE_AT: usize = 132;
const LENGTH_AT: usize = 140;
const LARGEST_OF_STREAM_AT: usize = 144;
/// Its codec.
const CODEC_AT: usize = 112;
/// The chunk of its format; width and height in it.
const FORMAT_AT: usize = 164;
const SIZE_AT: [usize; 2] = [4, 8];
/// From the beginning of a chunk: its picture.
const PICTURE_AT: u64 = 8;
/// From the end of the front: the size of the list of pictures, and its name.
const MOVI_SIZE_BEFORE_END: usize = 8;

/// All before the first picture. Numbers that are known at the end only are 0.
fn front(video: &VideoTrack, step_ticks: u32, meta: &FileMeta) -> io::Result<Vec<u8>> {
    let code = match video.codec {
        VideoCodec::Mjpeg => b"MJPG",
        VideoCodec::Mpeg4 => b"DIVX",
        VideoCodec::H264 | VideoCodec::H265 => {
            let what = format!(
                "avi takes no {} (set record.container to mp4 or mkv, or record.encode.codec to mpeg4)",
                video.codec.name()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    };
    let side = |pixels: u32| {
        u16::try_from(pixels)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the picture is too large for avi"))
    };
    let (width, height) = (side(video.width)?, side(video.height)?);
    let us_a_picture = ticks_to_us(step_ticks.into(), video.timescale);

    let mut main = Vec::new();
    let us_a_picture = u32::try_from(us_a_picture).unwrap_or(u32::MAX);
    put_numbers(&[us_a_picture, 0, 0, 0, 0, 0, 1, 0, width.into(), height.into(), 0, 0, 0, 0], &mut main);

    let mut header = [b"vids".as_slice(), code].concat();
    put_numbers(&[0, 0, 0, step_ticks, video.timescale, 0, 0, 0, u32::MAX, 0], &mut header);
    [0, 0, width, height].iter().for_each(|side| header.extend_from_slice(&side.to_le_bytes()));

    let mut format = Vec::new();
    let format_bytes = u32::try_from(40 + video.config_record.len()).unwrap_or(40);
    put_numbers(&[format_bytes, width.into(), height.into()], &mut format);
    format.extend_from_slice(&[1, 0, 24, 0]);
    format.extend_from_slice(code);
    put_numbers(&[u32::from(width) * u32::from(height) * 3, 0, 0, 0, 0], &mut format);
    format.extend_from_slice(&video.config_record);

    let mut stream = b"strl".to_vec();
    put_chunk(b"strh", &header, &mut stream)?;
    put_chunk(b"strf", &format, &mut stream)?;
    let mut headers = b"hdrl".to_vec();
    put_chunk(b"avih", &main, &mut headers)?;
    put_chunk(b"LIST", &stream, &mut headers)?;

    let mut info = b"INFO".to_vec();
    put_chunk(b"ISFT", b"tarsier\0", &mut info)?;
    put_chunk(b"ICMT", &[serde_json::to_string(meta)?.as_bytes(), b"\0"].concat(), &mut info)?;

    let mut out = b"RIFF\0\0\0\0AVI ".to_vec();
    put_chunk(b"LIST", &headers, &mut out)?;
    put_chunk(b"LIST", &info, &mut out)?;
    out.extend_from_slice(b"LIST\0\0\0\0movi");
    Ok(out)
}

fn put_numbers(numbers: &[u32], out: &mut Vec<u8>) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

/// A chunk, padded to an even length.
fn put_chunk(name: &[u8; 4], body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let size = u32::try_from(body.len()).map_err(|_| io::Error::other("too large for a chunk of an avi file"))?;
    out.extend_from_slice(name);
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(body);
    if size % 2 == 1 {
        out.push(0);
    }
    Ok(())
}

/// A place of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Bytes of its picture; 0: the picture before it is shown again.
    size: u32,
    key: bool,
}

impl Place {
    const EMPTY: Place = Place { size: 0, key: false };

    /// Bytes of its chunk.
    fn chunk_bytes(self) -> u64 {
        8 + u64::from(self.size) + u64::from(self.size % 2)
    }
}

/// All pictures of a file.
#[derive(Clone, Debug, Default)]
struct Contents {
    places: Vec<Place>,
}

impl Contents {
    fn packets(&self) -> u64 {
        self.places.iter().filter(|place| place.size > 0).count() as u64
    }

    /// Bytes of all chunks.
    fn bytes(&self) -> u64 {
        self.places.iter().map(|place| place.chunk_bytes()).sum()
    }

    fn duration_us(&self, step_ticks: u32, timescale: u32) -> i64 {
        let places = i64::try_from(self.places.len()).unwrap_or(i64::MAX);
        ticks_to_us(places.saturating_mul(step_ticks.into()), timescale.max(1))
    }
}

/// What closing a file does to it: see the module's head. `end` is where its last picture ends.
fn trailer(front: &[u8], contents: &Contents, end: u64) -> io::Result<Trailer> {
    let mut index = Vec::with_capacity(contents.places.len() * 16);
    // Places count from the list's name on.
    let mut at = 4u64;
    let mut largest = 0;
    for place in &contents.places {
        index.extend_from_slice(PICTURE);
        let flags = if place.key { KEY_FLAG } else { 0 };
        put_numbers(&[flags, u32::try_from(at).unwrap_or(u32::MAX), place.size], &mut index);
        at += place.chunk_bytes();
        largest = largest.max(place.size);
    }
    let mut append = Vec::with_capacity(index.len() + 8);
    put_chunk(INDEX, &index, &mut append)?;

    let number = |value: u64| u32::try_from(value).map_err(|_| io::Error::other("the file is too large for avi"));
    let total = number(contents.places.len() as u64)?;
    let movi_size_at = front.len() - MOVI_SIZE_BEFORE_END;
    let mut closed = front.to_vec();
    for (place, value) in [
        (RIFF_SIZE_AT, number(end + append.len() as u64 - 8)?),
        (FLAGS_AT, HAS_INDEX),
        (TOTAL_AT, total),
        (LARGEST_AT, largest),
        (LENGTH_AT, total),
        (LARGEST_OF_STREAM_AT, largest),
        (movi_size_at, number(end - movi_size_at as u64 - 4)?),
    ] {
        closed[place..place + 4].copy_from_slice(&value.to_le_bytes());
    }
    Ok(Trailer { append, patches: vec![(0, closed)] })
}

/// Makes the bytes of one file.
pub(super) struct Avi {
    stream: Arc<StreamInfo>,
    meta: FileMeta,
    cutter: Cutter,
    /// Of the fragment that is not full yet.
    waiting: Vec<Picture>,
    first_pts: Option<i64>,
    /// Once the first fragment is full.
    grid: Option<Grid>,
    /// Of the fragment that was given out and is not in the file yet.
    pending: Vec<Place>,
    contents: Contents,
    bytes: u64,
}

struct Picture {
    pts: i64,
    key: bool,
    data: Vec<u8>,
}

/// The file's places.
struct Grid {
    step_ticks: u32,
    front: Vec<u8>,
    /// Places given out so far.
    places: i64,
}

impl Avi {
    pub(super) fn new(stream: &Arc<StreamInfo>, meta: &FileMeta) -> io::Result<Self> {
        // Whether the stream can be described is known before its rate is.
        front(&stream.video, 1, meta)?;
        Ok(Avi {
            stream: Arc::clone(stream),
            meta: meta.clone(),
            cutter: Cutter::default(),
            waiting: Vec::new(),
            first_pts: None,
            grid: None,
            pending: Vec::new(),
            contents: Contents::default(),
            bytes: 0,
        })
    }

    fn cut(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.cutter.reset();
        let Some(first_pts) = self.first_pts.filter(|_| !self.waiting.is_empty()) else { return Ok(None) };
        let timescale = self.stream.video.timescale;
        let mut out = Vec::new();
        let grid = match &mut self.grid {
            Some(grid) => grid,
            None => {
                let step_ticks = step_of(&self.waiting, timescale);
                let front = front(&self.stream.video, step_ticks, &self.meta)?;
                out.extend_from_slice(&front);
                self.grid.insert(Grid { step_ticks, front, places: 0 })
            }
        };
        let step = i64::from(grid.step_ticks);
        self.pending.clear();
        for picture in self.waiting.drain(..) {
            let wanted = (picture.pts - first_pts + step / 2).div_euclid(step);
            let longest = LONGEST_PAUSE_S * i64::from(timescale) / step;
            for _ in grid.places..wanted.min(grid.places.saturating_add(longest)) {
                put_chunk(PICTURE, &[], &mut out)?;
                self.pending.push(Place::EMPTY);
                grid.places += 1;
            }
            let before = out.len();
            put_chunk(PICTURE, &picture.data, &mut out)?;
            let size = u32::try_from(picture.data.len()).unwrap_or(u32::MAX);
            debug_assert_eq!(Place { size, key: picture.key }.chunk_bytes(), (out.len() - before) as u64);
            self.pending.push(Place { size, key: picture.key });
            grid.places += 1;
        }
        if self.bytes + out.len() as u64 > MOST_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "an avi file ends at 4 GB (lower record.max_file)",
            ));
        }
        self.bytes += out.len() as u64;
        Ok(Some(out))
    }
}

/// The distance of two pictures in ticks: the usual one where they keep to it, else half of it, so that each has a
/// place near its time.
fn step_of(pictures: &[Picture], timescale: u32) -> u32 {
    let mut distances: Vec<i64> =
        pictures.windows(2).map(|pair| pair[1].pts - pair[0].pts).filter(|distance| *distance > 0).collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or_else(|| i64::from(timescale / 25));
    let keeps = |distance: &i64| (distance - usual).abs() * 50 <= usual;
    let step = if distances.iter().all(keeps) { usual } else { usual / 2 };
    u32::try_from(step.max(i64::from(timescale / 240)).max(1)).unwrap_or(u32::MAX)
}

impl Container for Avi {
    fn push(&mut self, packet: &Packet) -> io::Result<Option<Vec<u8>>> {
        if packet.track == Track::Audio || (self.first_pts.is_none() && !packet.keyframe) {
            return Ok(None);
        }
        if packet.codec() != self.stream.video.codec {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is of another stream than the file"));
        }
        self.first_pts.get_or_insert(packet.pts);
        let cut = if self.cutter.cut_before(packet) { self.cut()? } else { None };
        // The headers are in the file's front, and also where older players look for them.
        let is_mpeg4_key = packet.keyframe && packet.codec() == VideoCodec::Mpeg4;
        let headers = if is_mpeg4_key { self.stream.video.config_record.as_slice() } else { &[] };
        self.waiting.push(Picture { pts: packet.pts, key: packet.keyframe, data: [headers, packet.data()].concat() });
        self.cutter.add(packet);
        // The first fragment tells the rate: it must be full.
        if cut.is_none() && self.grid.is_some() && self.cutter.cut_after() {
            return self.cut();
        }
        Ok(cut)
    }

    fn flush(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.cut()
    }

    fn written(&mut self, _: u64) {
        self.contents.places.append(&mut self.pending);
    }

    fn extent(&self) -> Extent {
        let timescale = self.stream.video.timescale;
        let first_pts_us = ticks_to_us(self.first_pts.unwrap_or(0), timescale);
        let duration_us = self.grid.as_ref().map_or(0, |grid| self.contents.duration_us(grid.step_ticks, timescale));
        Extent { first_pts_us, end_pts_us: first_pts_us.saturating_add(duration_us), packets: self.contents.packets() }
    }

    fn trailer(&self, end: u64) -> io::Result<Trailer> {
        let grid = self.grid.as_ref().ok_or_else(|| io::Error::other("nothing was recorded"))?;
        trailer(&grid.front, &self.contents, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(times: impl IntoIterator<Item = i64>) -> Vec<Picture> {
        times.into_iter().map(|pts| Picture { pts, key: true, data: vec![1] }).collect()
    }

    #[test]
    fn the_distance_is_the_usual_one_or_half_of_it() {
        assert_eq!(step_of(&pictures((0..12).map(|n| n * 1000)), 20_000), 1000);
        assert_eq!(step_of(&pictures([0, 40_000, 79_900, 120_100, 160_000]), 1_000_000), 40_000);
        assert_eq!(step_of(&pictures([0, 40_000, 75_000, 121_000, 160_000]), 1_000_000), 20_000);
        assert_eq!(step_of(&pictures([7]), 90_000), 3600);
    }
}
