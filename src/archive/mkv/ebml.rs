//! The elements that Matroska is made of: writing, reading, and their checksum.

/// Elements that a recording has. Named as the specification names them.
pub(super) mod id {
    pub const EBML: u32 = 0x1a45_dfa3;
    pub const EBML_VERSION: u32 = 0x4286;
    pub const EBML_READ_VERSION: u32 = 0x42f7;
    pub const EBML_MAX_ID_LENGTH: u32 = 0x42f2;
    pub const EBML_MAX_SIZE_LENGTH: u32 = 0x42f3;
    pub const DOC_TYPE: u32 = 0x4282;
    pub const DOC_TYPE_VERSION: u32 = 0x4287;
    pub const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub const VOID: u32 = 0xec;
    pub const CRC32: u32 = 0xbf;
    pub const SEGMENT: u32 = 0x1853_8067;
    pub const SEEK_HEAD: u32 = 0x114d_9b74;
    pub const SEEK: u32 = 0x4dbb;
    pub const SEEK_ID: u32 = 0x53ab;
    pub const SEEK_POSITION: u32 = 0x53ac;
    pub const INFO: u32 = 0x1549_a966;
    pub const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub const DURATION: u32 = 0x4489;
    pub const DATE_UTC: u32 = 0x4461;
    pub const MUXING_APP: u32 = 0x4d80;
    pub const WRITING_APP: u32 = 0x5741;
    pub const TRACKS: u32 = 0x1654_ae6b;
    pub const TRACK_ENTRY: u32 = 0xae;
    pub const TRACK_NUMBER: u32 = 0xd7;
    pub const TRACK_UID: u32 = 0x73c5;
    pub const TRACK_TYPE: u32 = 0x83;
    pub const FLAG_LACING: u32 = 0x9c;
    pub const LANGUAGE: u32 = 0x22_b59c;
    pub const CODEC_ID: u32 = 0x86;
    pub const CODEC_PRIVATE: u32 = 0x63a2;
    pub const VIDEO: u32 = 0xe0;
    pub const PIXEL_WIDTH: u32 = 0xb0;
    pub const PIXEL_HEIGHT: u32 = 0xba;
    pub const AUDIO: u32 = 0xe1;
    pub const SAMPLING_FREQUENCY: u32 = 0xb5;
    pub const CHANNELS: u32 = 0x9f;
    pub const TAGS: u32 = 0x1254_c367;
    pub const TAG: u32 = 0x7373;
    pub const TARGETS: u32 = 0x63c0;
    pub const SIMPLE_TAG: u32 = 0x67c8;
    pub const TAG_NAME: u32 = 0x45a3;
    pub const TAG_STRING: u32 = 0x4487;
    pub const CLUSTER: u32 = 0x1f43_b675;
    pub const TIMESTAMP: u32 = 0xe7;
    pub const SIMPLE_BLOCK: u32 = 0xa3;
    pub const CUES: u32 = 0x1c53_bb6b;
    pub const CUE_POINT: u32 = 0xbb;
    pub const CUE_TIME: u32 = 0xb3;
    pub const CUE_TRACK_POSITIONS: u32 = 0xb7;
    pub const CUE_TRACK: u32 = 0xf7;
    pub const CUE_CLUSTER_POSITION: u32 = 0xf1;
}

pub(super) fn put_id(id: u32, out: &mut Vec<u8>) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(&bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(3)..]);
}

/// A size in one byte where it fits, else in eight.
pub(super) fn put_size(size: u64, out: &mut Vec<u8>) {
    if size < 0x7f {
        out.push(0x80 | size as u8);
    } else {
        out.extend_from_slice(&long_size(size));
    }
}

/// A size in eight bytes.
pub(super) fn long_size(size: u64) -> [u8; 8] {
    (size | 1 << 56).to_be_bytes()
}

/// The size of an element whose end is not known yet.
pub(super) const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

pub(super) fn put(id: u32, body: &[u8], out: &mut Vec<u8>) {
    put_id(id, out);
    put_size(body.len() as u64, out);
    out.extend_from_slice(body);
}

pub(super) fn put_uint(id: u32, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    put(id, &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(7)..], out);
}

pub(super) fn put_float(id: u32, value: f64, out: &mut Vec<u8>) {
    put(id, &value.to_be_bytes(), out);
}

pub(super) fn put_text(id: u32, text: &str, out: &mut Vec<u8>) {
    put(id, text.as_bytes(), out);
}

/// An element that readers skip, of so many bytes in all.
pub(super) fn void(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    put_id(id::VOID, &mut out);
    put_size(bytes.saturating_sub(2) as u64, &mut out);
    out.resize(bytes, 0);
    out
}

/// Length of a checksum element.
pub(super) const CRC_BYTES: usize = 6;

/// Puts a checksum of `body` and then `body` into an element with a long size.
pub(super) fn put_checked(id: u32, body: &[u8], out: &mut Vec<u8>) {
    put_id(id, out);
    out.extend_from_slice(&long_size((body.len() + CRC_BYTES) as u64));
    put(id::CRC32, &crc32(body).to_le_bytes(), out);
    out.extend_from_slice(body);
}

/// The body of an element that [`put_checked`] made, without its checksum; None if the checksum is wrong.
pub(super) fn checked_body(element_body: &[u8]) -> Option<&[u8]> {
    let (head, body) = element_body.split_at_checked(CRC_BYTES)?;
    let stored = u32::from_le_bytes(head[2..].try_into().ok()?);
    (head[..2] == [0xbf, 0x84] && stored == crc32(body)).then_some(body)
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut value = n as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
};

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

/// Id, length of the head and length of the body of the element at the beginning of `bytes`. None if the head
/// is not all there or is damaged; the body need not be there.
pub(super) fn header(bytes: &[u8]) -> Option<(u32, usize, u64)> {
    let first = *bytes.first()?;
    let id_bytes = first.leading_zeros() as usize + 1;
    if id_bytes > 4 {
        return None;
    }
    let id = bytes.get(..id_bytes)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let first = *bytes.get(id_bytes)?;
    let size_bytes = first.leading_zeros() as usize + 1;
    if size_bytes > 8 {
        return None;
    }
    let size = bytes.get(id_bytes..id_bytes + size_bytes)?;
    let size = size.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)) & ((1 << (7 * size_bytes)) - 1);
    Some((id, id_bytes + size_bytes, size))
}

/// The elements in `bytes`, each with its body; ends at damage.
pub(super) fn elements(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (id, head, size) = header(rest)?;
        let body = rest.get(head..)?.get(..usize::try_from(size).ok()?)?;
        rest = &rest[head + body.len()..];
        Some((id, body))
    })
}

/// The body of the first element of this kind.
pub(super) fn child(bytes: &[u8], id: u32) -> Option<&[u8]> {
    elements(bytes).find(|(found, _)| *found == id).map(|(_, body)| body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_as_written() {
        let mut out = Vec::new();
        put_uint(id::TIMESTAMP, 0, &mut out);
        put_uint(id::DOC_TYPE, 300, &mut out);
        put(id::CLUSTER, &[7; 500], &mut out);
        out.extend_from_slice(&void(20));
        let found: Vec<(u32, &[u8])> = elements(&out).collect();
        assert_eq!(
            found,
            [(id::TIMESTAMP, &[0][..]), (id::DOC_TYPE, &[1, 44]), (id::CLUSTER, &[7; 500]), (id::VOID, &[0; 18])]
        );
        assert_eq!(elements(&out[..out.len() - 1]).count(), 3);
    }

    #[test]
    fn checksums_are_the_usual_ones() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mut out = Vec::new();
        put_checked(id::CUES, b"123456789", &mut out);
        let body = child(&out, id::CUES).unwrap();
        assert_eq!(checked_body(body), Some(&b"123456789"[..]));
        let mut damaged = body.to_vec();
        damaged[9] ^= 1;
        assert_eq!(checked_body(&damaged), None);
    }
}
