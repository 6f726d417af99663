//! NAL units of H.264 and H.265: finding them, naming them, reading picture sizes from them, and the records
//! (`avcC`, `hvcC`) that files describe them with.
//!
//! Belongs here: pure functions over bytes. Does not belong here: libav, containers, timestamps. Nothing here
//! trusts its input: damaged bytes give fewer units or None, never a panic.

use crate::domain::stream::VideoCodec;

/// What a NAL unit is to a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A slice of a picture at which decoding may begin: IDR or BLA.
    KeySlice,
    /// A slice of a clean random access picture (H.265): decoding may begin here, but pictures that are shown
    /// before it are lost.
    CleanRandomAccessSlice,
    /// A slice of any other picture.
    Slice,
    Vps,
    Sps,
    Pps,
    Sei,
    AccessUnitDelimiter,
    Filler,
    Other,
}

impl UnitKind {
    /// Names a unit by its header. None for an empty unit, and for codecs that have no NAL units.
    pub fn of(codec: VideoCodec, unit: &[u8]) -> Option<Self> {
        let header = *unit.first()?;
        Some(match codec {
            VideoCodec::H264 => match header & 0x1f {
                1..=4 => UnitKind::Slice,
                5 => UnitKind::KeySlice,
                6 => UnitKind::Sei,
                7 => UnitKind::Sps,
                8 => UnitKind::Pps,
                9 => UnitKind::AccessUnitDelimiter,
                12 => UnitKind::Filler,
                _ => UnitKind::Other,
            },
            VideoCodec::H265 => match (header >> 1) & 0x3f {
                16..=20 => UnitKind::KeySlice,
                21 => UnitKind::CleanRandomAccessSlice,
                0..=31 => UnitKind::Slice,
                32 => UnitKind::Vps,
                33 => UnitKind::Sps,
                34 => UnitKind::Pps,
                35 => UnitKind::AccessUnitDelimiter,
                38 => UnitKind::Filler,
                39 | 40 => UnitKind::Sei,
                _ => UnitKind::Other,
            },
            VideoCodec::Mjpeg | VideoCodec::Mpeg4 => return None,
        })
    }

    /// Does the unit hold coded picture data?
    pub fn is_slice(self) -> bool {
        matches!(self, UnitKind::KeySlice | UnitKind::CleanRandomAccessSlice | UnitKind::Slice)
    }

    /// May decoding begin at a picture made of such slices?
    pub fn is_key(self) -> bool {
        matches!(self, UnitKind::KeySlice | UnitKind::CleanRandomAccessSlice)
    }

    /// Is the unit part of a sample in a file? Parameter sets are in the file's description, delimiters and
    /// filler say nothing.
    pub fn is_stored(self) -> bool {
        !matches!(
            self,
            UnitKind::Vps | UnitKind::Sps | UnitKind::Pps | UnitKind::AccessUnitDelimiter | UnitKind::Filler
        )
    }
}

/// Do these NAL units, with start codes, hold slices of a picture whose first slice is not among them? Both codecs say
/// so in the bit after the header: H.264 7.3.3 (`first_mb_in_slice`), H.265 7.3.6.1
/// (`first_slice_segment_in_pic_flag`).
pub fn continues_picture(codec: VideoCodec, data: &[u8]) -> bool {
    let header_bytes = if codec == VideoCodec::H265 { 2 } else { 1 };
    // The later partitions of an H.264 slice have no such bit.
    let is_partition = |unit: &[u8]| codec == VideoCodec::H264 && matches!(unit.first().map(|b| b & 0x1f), Some(3 | 4));
    let mut slices = units(data, false).filter(|unit| UnitKind::of(codec, unit).is_some_and(UnitKind::is_slice));
    let Some(first) = slices.next() else { return false };
    is_partition(first) || first.get(header_bytes).is_some_and(|byte| byte & 0x80 == 0)
}

/// The NAL units of an access unit, with start codes or with four-byte lengths before them. Empty units are
/// left out; a length that reaches past the end ends the iteration.
pub fn units(data: &[u8], length_prefixed: bool) -> Units<'_> {
    Units { rest: if length_prefixed { data } else { after_start_code(data) }, length_prefixed }
}

/// See [`units`].
#[derive(Clone, Debug)]
pub struct Units<'a> {
    rest: &'a [u8],
    length_prefixed: bool,
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let unit = if self.length_prefixed {
                let (length, rest) = self.rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let Some((unit, rest)) = rest.split_at_checked(length) else {
                    self.rest = &[];
                    return None;
                };
                self.rest = rest;
                unit
            } else {
                let end = find_start_code(self.rest).unwrap_or(self.rest.len());
                let (unit, rest) = self.rest.split_at(end);
                self.rest = after_start_code(rest);
                // Zeros before the next start code are not the unit's: none ends in a zero byte.
                let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                &unit[..length]
            };
            if !unit.is_empty() {
                return Some(unit);
            }
        }
        None
    }
}

/// Is this picture one that no other needs to be decoded? H.265's are told with their temporal layer: those of higher
/// ones may need it even so. None: others need it, or nobody knows.
pub fn unneeded_layer(codec: VideoCodec, data: &[u8], length_prefixed: bool) -> Option<u8> {
    if codec == VideoCodec::Mjpeg {
        return Some(0);
    }
    let mut layer = None;
    for unit in units(data, length_prefixed) {
        if !UnitKind::of(codec, unit).is_some_and(UnitKind::is_slice) {
            continue;
        }
        let is_unneeded = match codec {
            VideoCodec::H264 => unit[0] >> 5 & 3 == 0,
            // Sub-layer non-reference pictures have the even types below 16.
            VideoCodec::H265 => matches!(unit[0] >> 1 & 0x3f, 0 | 2 | 4 | 6 | 8 | 10 | 12 | 14),
            VideoCodec::Mjpeg | VideoCodec::Mpeg4 => false,
        };
        if !is_unneeded {
            return None;
        }
        layer = Some(layer_of(codec, unit));
    }
    layer
}

/// The temporal layer of an access unit; 0 where there is only one.
pub fn temporal_layer(codec: VideoCodec, data: &[u8], length_prefixed: bool) -> u8 {
    let mut slices =
        units(data, length_prefixed).filter(|unit| UnitKind::of(codec, unit).is_some_and(UnitKind::is_slice));
    slices.next().map_or(0, |unit| layer_of(codec, unit))
}

fn layer_of(codec: VideoCodec, unit: &[u8]) -> u8 {
    match (codec, unit.get(1)) {
        (VideoCodec::H265, Some(second)) => (second & 7).saturating_sub(1),
        _ => 0,
    }
}

/// Where the next 00 00 01 begins.
fn find_start_code(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at + 3 <= data.len() {
        match data[at + 2] {
            0 => at += 1,
            1 if data[at] == 0 && data[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

/// What follows the first start code; nothing if there is none.
fn after_start_code(data: &[u8]) -> &[u8] {
    find_start_code(data).map_or(&[], |at| &data[at + 3..])
}

/// May decoding begin at this access unit? For MJPEG always.
pub fn is_keyframe(codec: VideoCodec, data: &[u8], length_prefixed: bool) -> bool {
    match codec {
        VideoCodec::Mjpeg => return true,
        VideoCodec::Mpeg4 => return is_intra_vop(data),
        VideoCodec::H264 | VideoCodec::H265 => {}
    }
    units(data, length_prefixed)
        .filter_map(|unit| UnitKind::of(codec, unit))
        .find(|kind| kind.is_slice())
        .is_some_and(UnitKind::is_key)
}

/// Is the first picture of an MPEG-4 packet an intra one (ISO/IEC 14496-2, 6.2.5: `vop_coding_type` 0)?
fn is_intra_vop(data: &[u8]) -> bool {
    const VOP: u8 = 0xb6;
    let mut rest = after_start_code(data);
    while let Some((&code, after)) = rest.split_first() {
        if code == VOP {
            return after.first().is_some_and(|byte| byte >> 6 == 0);
        }
        rest = after_start_code(rest);
    }
    false
}

/// Appends the access unit as a file stores it: four-byte lengths, without the units that are not stored.
/// A codec without units is appended as it is.
pub fn append_sample(codec: VideoCodec, data: &[u8], length_prefixed: bool, out: &mut Vec<u8>) {
    if matches!(codec, VideoCodec::Mjpeg | VideoCodec::Mpeg4) {
        out.extend_from_slice(data);
        return;
    }
    for unit in units(data, length_prefixed) {
        if UnitKind::of(codec, unit).is_some_and(UnitKind::is_stored)
            && let Ok(length) = u32::try_from(unit.len())
        {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(unit);
        }
    }
}

/// What a sequence parameter set says about its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    pub id: u32,
    /// Width in pixels of what is shown (the coded width less the cropped part).
    pub width: u32,
    /// Height in pixels of what is shown.
    pub height: u32,
    /// 0: grey, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4.
    pub chroma_format: u8,
    pub luma_bits: u8,
    pub chroma_bits: u8,
}

/// Reads a sequence parameter set (the unit with its header). None if it is damaged.
pub fn parse_sps(codec: VideoCodec, unit: &[u8]) -> Option<Sps> {
    match codec {
        VideoCodec::H264 => parse_sps_h264(unit),
        VideoCodec::H265 => parse_sps_h265(unit),
        VideoCodec::Mjpeg | VideoCodec::Mpeg4 => None,
    }
}

fn parse_sps_h264(unit: &[u8]) -> Option<Sps> {
    let payload = unescape(unit.get(1..)?);
    let mut bits = Bits::new(&payload);
    let profile = bits.take(8)?;
    bits.take(16)?;
    let id = bits.golomb()?;
    let (mut chroma_format, mut luma_bits, mut chroma_bits) = (1, 8, 8);
    let mut separate_planes = false;
    if h264_profile_says_chroma(profile as u8) {
        chroma_format = bits.golomb()?;
        if chroma_format == 3 {
            separate_planes = bits.flag()?;
        }
        luma_bits = bits.golomb()?.checked_add(8)?;
        chroma_bits = bits.golomb()?.checked_add(8)?;
        bits.flag()?;
        if bits.flag()? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.flag()?;
            bits.signed_golomb()?;
            bits.signed_golomb()?;
            let frames = bits.golomb()?;
            if frames > 255 {
                return None;
            }
            for _ in 0..frames {
                bits.signed_golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.flag()?;
    let width_blocks = bits.golomb()?.checked_add(1)?;
    let height_units = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.flag()?;
    }
    bits.flag()?;
    let fields = if frames_only { 1 } else { 2 };
    let (crop_x, crop_y) = match (separate_planes, chroma_format) {
        (false, 1) => (2, 2 * fields),
        (false, 2) => (2, fields),
        _ => (1, fields),
    };
    let window = bits.window(crop_x, crop_y)?;
    Some(Sps {
        id,
        width: cropped(width_blocks.checked_mul(16)?, window.0)?,
        height: cropped(height_units.checked_mul(16)?.checked_mul(fields)?, window.1)?,
        chroma_format: u8::try_from(chroma_format).ok().filter(|format| *format <= 3)?,
        luma_bits: u8::try_from(luma_bits).ok().filter(|depth| *depth <= 16)?,
        chroma_bits: u8::try_from(chroma_bits).ok().filter(|depth| *depth <= 16)?,
    })
}

fn h264_profile_says_chroma(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

/// Length in bytes of the general part of `profile_tier_level`.
const PROFILE_TIER_LEVEL: usize = 12;

fn parse_sps_h265(unit: &[u8]) -> Option<Sps> {
    let payload = unescape(unit.get(2..)?);
    let mut bits = Bits::new(&payload);
    bits.take(4)?;
    let sub_layers = bits.take(3)?;
    bits.flag()?;
    bits.skip(PROFILE_TIER_LEVEL * 8)?;
    if sub_layers > 0 {
        let mut present = [(false, false); 8];
        for layer in present.iter_mut().take(sub_layers as usize) {
            *layer = (bits.flag()?, bits.flag()?);
        }
        bits.skip(2 * (8 - sub_layers as usize))?;
        for (profile, level) in present {
            bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
        }
    }
    let id = bits.golomb()?;
    let chroma_format = bits.golomb()?;
    let separate_planes = chroma_format == 3 && bits.flag()?;
    let width = bits.golomb()?;
    let height = bits.golomb()?;
    let (crop_x, crop_y) = match (separate_planes, chroma_format) {
        (false, 1) => (2, 2),
        (false, 2) => (2, 1),
        _ => (1, 1),
    };
    let window = bits.window(crop_x, crop_y)?;
    Some(Sps {
        id,
        width: cropped(width, window.0)?,
        height: cropped(height, window.1)?,
        chroma_format: u8::try_from(chroma_format).ok().filter(|format| *format <= 3)?,
        luma_bits: u8::try_from(bits.golomb()?.checked_add(8)?).ok().filter(|depth| *depth <= 16)?,
        chroma_bits: u8::try_from(bits.golomb()?.checked_add(8)?).ok().filter(|depth| *depth <= 16)?,
    })
}

/// No camera's picture is larger: a greater size is damage.
const MAX_SIDE: u32 = 32_768;

fn cropped(coded: u32, crop: u32) -> Option<u32> {
    coded.checked_sub(crop).filter(|side| (1..=MAX_SIDE).contains(side))
}

/// Removes the emulation prevention bytes.
fn unescape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for byte in data {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// Bits from the highest down; None past the end.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Bits { data, at: 0 }
    }

    fn flag(&mut self) -> Option<bool> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.data.len() * 8)?;
        Some(())
    }

    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }

    fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }

    fn skip_scaling_list(&mut self, entries: usize) -> Option<()> {
        let (mut last, mut next) = (8, 8);
        for _ in 0..entries {
            if next != 0 {
                next = (last + self.signed_golomb()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
        Some(())
    }

    /// A cropping window's width and height in pixels.
    fn window(&mut self, unit_x: u32, unit_y: u32) -> Option<(u32, u32)> {
        if !self.flag()? {
            return Some((0, 0));
        }
        let x = self.golomb()?.checked_add(self.golomb()?)?;
        let y = self.golomb()?.checked_add(self.golomb()?)?;
        Some((x.checked_mul(unit_x)?, y.checked_mul(unit_y)?))
    }
}

/// The parameter sets in force, as cameras send them in band or in a record: by kind and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    vps: Vec<Set>,
    sps: Vec<Set>,
    pps: Vec<Set>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    id: u32,
    unit: Vec<u8>,
}

impl ParameterSets {
    /// The sets of an access unit alone.
    pub fn of_access_unit(codec: VideoCodec, data: &[u8], length_prefixed: bool) -> Self {
        let mut sets = ParameterSets::default();
        for unit in units(data, length_prefixed) {
            sets.put(codec, unit);
        }
        sets
    }

    /// The sets of codec extradata: an `avcC` or `hvcC` body, or NAL units with start codes.
    pub fn of_extradata(codec: VideoCodec, data: &[u8]) -> Self {
        match record_units(codec, data) {
            Some(units) => {
                let mut sets = ParameterSets::default();
                for unit in units {
                    sets.put(codec, unit);
                }
                sets
            }
            None => ParameterSets::of_access_unit(codec, data, false),
        }
    }

    /// Takes the sets of an access unit in. True if that changed anything. A new sequence parameter set that
    /// comes with its picture parameter sets replaces all that was known.
    pub fn absorb(&mut self, codec: VideoCodec, data: &[u8], length_prefixed: bool) -> bool {
        let new = ParameterSets::of_access_unit(codec, data, length_prefixed);
        if new.is_empty() {
            return false;
        }
        let before = self.clone();
        let sequence_changed = new.sps.iter().any(|set| !self.sps.contains(set));
        if sequence_changed && new.is_complete(codec) {
            *self = new;
        } else {
            for set in new.vps.into_iter().chain(new.sps).chain(new.pps) {
                self.put(codec, &set.unit);
            }
        }
        *self != before
    }

    fn put(&mut self, codec: VideoCodec, unit: &[u8]) {
        let (sets, id) = match UnitKind::of(codec, unit) {
            Some(UnitKind::Vps) => (&mut self.vps, unit.get(2).map(|byte| u32::from(byte >> 4))),
            Some(UnitKind::Sps) => (&mut self.sps, parse_sps(codec, unit).map(|sps| sps.id)),
            Some(UnitKind::Pps) => {
                let header = if codec == VideoCodec::H265 { 2 } else { 1 };
                let payload = unescape(unit.get(header..).unwrap_or_default());
                (&mut self.pps, Bits::new(&payload).golomb())
            }
            _ => return,
        };
        // Ids end at 15, 31 and 255: a greater one is damage, and so is a unit that a record could not hold.
        let Some(id) = id.filter(|id| *id <= 255 && unit.len() <= usize::from(u16::MAX)) else { return };
        match sets.binary_search_by_key(&id, |set| set.id) {
            Ok(at) => sets[at].unit = unit.to_vec(),
            Err(at) => sets.insert(at, Set { id, unit: unit.to_vec() }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.vps.is_empty() && self.sps.is_empty() && self.pps.is_empty()
    }

    /// Is there enough to describe a stream?
    pub fn is_complete(&self, codec: VideoCodec) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty() && (codec != VideoCodec::H265 || !self.vps.is_empty())
    }

    /// What the first sequence parameter set says.
    pub fn sps(&self, codec: VideoCodec) -> Option<Sps> {
        parse_sps(codec, &self.sps.first()?.unit)
    }

    /// The body of `avcC` or `hvcC`. None if a set is missing or damaged.
    pub fn config_record(&self, codec: VideoCodec) -> Option<Vec<u8>> {
        fn units(sets: &[Set]) -> Vec<&[u8]> {
            sets.iter().map(|set| set.unit.as_slice()).collect()
        }
        match codec {
            VideoCodec::H264 => avcc(&units(&self.sps), &units(&self.pps)),
            VideoCodec::H265 => hvcc(&units(&self.vps), &units(&self.sps), &units(&self.pps)),
            VideoCodec::Mjpeg | VideoCodec::Mpeg4 => None,
        }
    }
}

/// The body of `avcC` for four-byte lengths. None if a set is missing or damaged.
pub fn avcc(sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let first = *sps.first()?;
    let info = parse_sps_h264(first)?;
    let profile = *first.get(1)?;
    let mut out = vec![1, profile, *first.get(2)?, *first.get(3)?, 0xff];
    out.push(0xe0 | u8::try_from(sps.len()).ok().filter(|count| *count < 32)?);
    for unit in sps {
        append_short(unit, &mut out)?;
    }
    out.push(u8::try_from(pps.len()).ok().filter(|count| *count > 0)?);
    for unit in pps {
        append_short(unit, &mut out)?;
    }
    if matches!(profile, 100 | 110 | 122 | 144 | 244 | 44 | 118 | 128 | 138 | 139 | 134 | 135 | 83 | 86) {
        let extension = [0xfc | info.chroma_format, 0xf8 | (info.luma_bits - 8), 0xf8 | (info.chroma_bits - 8), 0];
        out.extend_from_slice(&extension);
    }
    Some(out)
}

/// The body of `hvcC` for four-byte lengths. None if a set is missing or damaged.
pub fn hvcc(vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let first = *sps.first()?;
    let info = parse_sps_h265(first)?;
    let payload = unescape(first.get(2..)?);
    let head = *payload.first()?;
    let (layers, nested) = ((head >> 1 & 7) + 1, head & 1);
    let mut out = vec![1];
    out.extend_from_slice(payload.get(1..1 + PROFILE_TIER_LEVEL)?);
    // Segmentation and parallelism: not said. Frame rate: not said.
    out.extend_from_slice(&[0xf0, 0x00, 0xfc, 0xfc | info.chroma_format]);
    out.extend_from_slice(&[0xf8 | (info.luma_bits - 8), 0xf8 | (info.chroma_bits - 8), 0, 0]);
    out.push(layers << 3 | nested << 2 | 3);
    out.push(3);
    for (kind, units) in [(32u8, vps), (33, sps), (34, pps)] {
        // The top bit: all units of this kind are here and none is in the samples.
        out.push(0x80 | kind);
        out.extend_from_slice(&u16::try_from(units.len()).ok().filter(|count| *count > 0)?.to_be_bytes());
        for unit in units {
            append_short(unit, &mut out)?;
        }
    }
    Some(out)
}

fn append_short(unit: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u16::try_from(unit.len()).ok()?.to_be_bytes());
    out.extend_from_slice(unit);
    Some(())
}

/// How many bytes the NAL unit lengths have in a stream with this `avcC` or `hvcC` body; None if the bytes are
/// no such record (then units have start codes).
pub fn length_bytes(codec: VideoCodec, record: &[u8]) -> Option<u8> {
    record_units(codec, record)?;
    let at = if codec == VideoCodec::H265 { 21 } else { 4 };
    Some((record.get(at)? & 3) + 1)
}

/// The units inside an `avcC` or `hvcC` body.
pub(crate) fn record_units(codec: VideoCodec, record: &[u8]) -> Option<Vec<&[u8]>> {
    fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, left) = rest.split_at_checked(count)?;
        *rest = left;
        Some(taken)
    }
    fn take_units<'a>(rest: &mut &'a [u8], count: usize, units: &mut Vec<&'a [u8]>) -> Option<()> {
        for _ in 0..count {
            let length = take(rest, 2)?;
            units.push(take(rest, usize::from(u16::from_be_bytes([length[0], length[1]])))?);
        }
        Some(())
    }
    let mut units = Vec::new();
    let mut rest = record;
    if record.first() != Some(&1) {
        return None;
    }
    match codec {
        VideoCodec::H264 => {
            let sps = take(&mut rest, 6)?[5] & 0x1f;
            take_units(&mut rest, usize::from(sps), &mut units)?;
            let pps = take(&mut rest, 1)?[0];
            take_units(&mut rest, usize::from(pps), &mut units)?;
        }
        VideoCodec::H265 => {
            for _ in 0..take(&mut rest, 23)?[22] {
                let head = take(&mut rest, 3)?;
                take_units(&mut rest, usize::from(u16::from_be_bytes([head[1], head[2]])), &mut units)?;
            }
        }
        VideoCodec::Mjpeg | VideoCodec::Mpeg4 => return None,
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Sets of small clips: 320x240 with B-frames (x264, High), 1920x1080 baseline (cropped from 1088), and
    // 640x360 (x265, Main, cropped from 640x368).
    const H264_HIGH: [&str; 2] = ["6764000dacd94141fb011000000300100000030320f1429960", "68ebe3cb22c0"];
    const H264_BASE: [&str; 2] = ["6742c028da01e0089f97011000000300100000030320f1832a", "68ce0fc8"];
    const H265: [&str; 3] = [
        "40010c01ffff01600000030090000003000003003f959809",
        "42010101600000030090000003000003003fa00502016965959a4932bc05a02000000300200000030321",
        "4401c172b46240",
    ];
    const AVCC_HIGH: &str =
        "0164000dffe100196764000dacd94141fb011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
    const HVCC: &str = "0101600000009000000000003ff000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003000003003f959809a10001002a42010101600000030090000003000003003fa00502016965959a4932bc05a02000000300200000030321a2000100074401c172b46240";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    fn joined(units: &[&str], length_prefixed: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for unit in units.iter().map(|unit| hex(unit)) {
            if length_prefixed {
                out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
            } else {
                out.extend_from_slice(&[0, 0, 0, 1]);
            }
            out.extend_from_slice(&unit);
        }
        out
    }

    #[test]
    fn units_are_found_in_both_forms() {
        let data = [0, 0, 0, 1, 9, 16, 0, 0, 1, 0x65, 1, 0, 0, 3, 0, 0, 0, 0, 1, 6, 5, 0x80, 0, 0];
        let expected: [&[u8]; 3] = [&[9, 16], &[0x65, 1, 0, 0, 3], &[6, 5, 0x80]];
        assert_eq!(units(&data, false).collect::<Vec<_>>(), expected);
        let data = [0, 0, 0, 2, 9, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0x65, 0, 0, 0, 9, 1, 2];
        let expected: [&[u8]; 2] = [&[9, 16], &[0x65]];
        assert_eq!(units(&data, true).collect::<Vec<_>>(), expected);
        assert_eq!(units(&[1, 2, 3], false).count(), 0);
    }

    #[test]
    fn a_slice_tells_whether_its_picture_began_before_it() {
        let continues = |codec, unit: &[u8]| continues_picture(codec, &[&[0, 0, 1][..], unit].concat());
        assert!(continues(VideoCodec::H264, &[0x65, 0x40]) && continues(VideoCodec::H264, &[0x41, 0x02]));
        assert!(!continues(VideoCodec::H264, &[0x65, 0x88]) && !continues(VideoCodec::H264, &[0x67, 0x40]));
        assert!(continues(VideoCodec::H264, &[0x44, 0x80]), "a later partition");
        assert!(continues(VideoCodec::H265, &[19 << 1, 1, 0x40]) && !continues(VideoCodec::H265, &[19 << 1, 1, 0xa0]));
        assert!(!continues(VideoCodec::H265, &[33 << 1, 1, 0x40]) && !continues(VideoCodec::H264, &[]));
    }

    #[test]
    fn a_keyframe_is_known_by_its_first_slice() {
        let key = |codec, header: u8| is_keyframe(codec, &[0, 0, 1, header, 1, 0x80], false);
        assert!(key(VideoCodec::H264, 0x65));
        assert!(!key(VideoCodec::H264, 0x41));
        // A recovery point alone is none.
        assert!(!is_keyframe(VideoCodec::H264, &[0, 0, 1, 6, 6, 1, 0xc4, 0x80, 0, 0, 1, 0x41, 1], false));
        let h265: Vec<u8> = (0..64).filter(|kind| key(VideoCodec::H265, kind << 1)).collect();
        assert_eq!(h265, [16, 17, 18, 19, 20, 21]);
        assert!(is_keyframe(VideoCodec::Mjpeg, &[], false));
    }

    #[test]
    fn sizes_are_those_shown() {
        let size = |codec, unit| parse_sps(codec, &hex(unit)).map(|sps| (sps.width, sps.height));
        assert_eq!(size(VideoCodec::H264, H264_HIGH[0]), Some((320, 240)));
        assert_eq!(size(VideoCodec::H264, H264_BASE[0]), Some((1920, 1080)));
        assert_eq!(size(VideoCodec::H265, H265[1]), Some((640, 360)));
    }

    #[test]
    fn records_are_those_that_ffmpeg_writes() {
        for length_prefixed in [false, true] {
            let data = joined(&H264_HIGH, length_prefixed);
            let sets = ParameterSets::of_access_unit(VideoCodec::H264, &data, length_prefixed);
            assert_eq!(sets.config_record(VideoCodec::H264), Some(hex(AVCC_HIGH)));
        }
        let sets = ParameterSets::of_access_unit(VideoCodec::H265, &joined(&H265, false), false);
        let ours = sets.config_record(VideoCodec::H265).unwrap();
        assert_eq!(ours, hex(HVCC));
    }

    #[test]
    fn records_give_their_sets_back() {
        for (codec, sets) in [(VideoCodec::H264, &H264_BASE[..]), (VideoCodec::H265, &H265[..])] {
            let sets = ParameterSets::of_access_unit(codec, &joined(sets, false), false);
            let record = sets.config_record(codec).unwrap();
            assert_eq!(length_bytes(codec, &record), Some(4));
            assert_eq!(ParameterSets::of_extradata(codec, &record), sets);
        }
        let annex_b = joined(&H264_BASE, false);
        assert_eq!(length_bytes(VideoCodec::H264, &annex_b), None);
        assert!(ParameterSets::of_extradata(VideoCodec::H264, &annex_b).is_complete(VideoCodec::H264));
    }

    #[test]
    fn sets_sent_again_change_nothing_and_new_ones_replace_all() {
        let mut sets = ParameterSets::default();
        let high = joined(&H264_HIGH, false);
        assert!(sets.absorb(VideoCodec::H264, &high, false));
        assert!(!sets.absorb(VideoCodec::H264, &high, false));
        assert!(!sets.absorb(VideoCodec::H264, &[0, 0, 1, 0x65, 0x88], false));
        assert!(sets.absorb(VideoCodec::H264, &joined(&H264_BASE, false), false));
        let base = ParameterSets::of_access_unit(VideoCodec::H264, &joined(&H264_BASE, false), false);
        assert_eq!(sets, base);
    }

    #[test]
    fn a_sample_holds_slices_and_messages_with_lengths() {
        let data = [0, 0, 0, 1, 9, 16, 0, 0, 1, 6, 5, 0x80, 0, 0, 1, 12, 0xff, 0, 0, 1, 0x65, 0x88, 0x84];
        let mut out = Vec::new();
        append_sample(VideoCodec::H264, &data, false, &mut out);
        assert_eq!(out, [0, 0, 0, 3, 6, 5, 0x80, 0, 0, 0, 3, 0x65, 0x88, 0x84]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..200), length_prefixed: bool) {
            for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Mjpeg] {
                let _ = is_keyframe(codec, &data, length_prefixed);
                let _ = parse_sps(codec, &data);
                let _ = length_bytes(codec, &data);
                let _ = ParameterSets::of_extradata(codec, &data).config_record(codec);
                let mut sets = ParameterSets::default();
                sets.absorb(codec, &data, length_prefixed);
                let _ = sets.config_record(codec);
                append_sample(codec, &data, length_prefixed, &mut Vec::new());
            }
        }

        #[test]
        fn damaged_sets_never_panic(at in 0usize..60, value: u8) {
            for (codec, sets) in [(VideoCodec::H264, &H264_HIGH[..]), (VideoCodec::H265, &H265[..])] {
                let mut data = joined(sets, false);
                let at = at % data.len();
                data[at] = value;
                let _ = ParameterSets::of_access_unit(codec, &data, false).config_record(codec);
            }
        }

        #[test]
        fn both_forms_give_the_same_units(payloads in prop::collection::vec(prop::collection::vec(1u8..=255, 1..20), 0..6)) {
            let (mut marked, mut counted) = (Vec::new(), Vec::new());
            for payload in &payloads {
                marked.extend_from_slice(&[0, 0, 1]);
                marked.extend_from_slice(payload);
                counted.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                counted.extend_from_slice(payload);
            }
            prop_assert!(units(&marked, false).eq(payloads.iter().map(Vec::as_slice)));
            prop_assert!(units(&counted, true).eq(payloads.iter().map(Vec::as_slice)));
        }
    }
}
