//! The boxes of a recording: descriptions before there are samples, and with all of them.

use std::io;

use chrono::{DateTime, Utc};
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Co64, Codec, Ctts, CttsEntry, Decode, Dfla, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry,
    Esds, Flac, FourCC, Ftyp, Hdlr, Hvc1, Hvcc, Jpeg, Matrix, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl,
    Stco, Stsc, StscEntry, Stsd, Stss, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Trak, Trex, Url, Visual, Vmhd,
};

use super::table::SampleTable;
use super::{AUDIO_TRACK, FREE_BYTES, META_UUID, Tables, VIDEO_TRACK, bad};
use crate::archive::container::FileMeta;
use crate::domain::stream::{AudioCodec, AudioTrack, StreamInfo, VideoCodec, VideoTrack};

/// Seconds from MP4's epoch (1904) to Unix's.
const EPOCH_OFFSET_S: i64 = 2_082_844_800;

/// `sample_depends_on`: on no other sample.
pub(super) const KEY_FLAGS: u32 = 0x0200_0000;
/// `sample_depends_on`: on others; not a sync sample.
pub(super) const OTHER_FLAGS: u32 = 0x0101_0000;

pub(super) fn ftyp() -> Ftyp {
    Ftyp {
        major_brand: FourCC::new(b"isom"),
        minor_version: 512,
        compatible_brands: [b"isom", b"iso2", b"iso6", b"mp41"].map(FourCC::new).to_vec(),
    }
}

pub(super) fn append_meta(meta: &FileMeta, out: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(meta)?;
    let size =
        u32::try_from(json.len() + 24).map_err(|_| io::Error::other("the recording's description is too long"))?;
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(b"uuid");
    out.extend_from_slice(&META_UUID);
    out.extend_from_slice(&json);
    Ok(())
}

pub(super) fn append_free(out: &mut Vec<u8>) {
    out.extend_from_slice(&(FREE_BYTES as u32).to_be_bytes());
    out.extend_from_slice(b"free");
    out.resize(out.len() + FREE_BYTES - 8, 0);
}

/// The description of an open file. `video_lead` and `audio_lead` are the ticks by which the tracks' zeros lie
/// before the first picture.
pub(super) fn open(
    stream: &StreamInfo,
    with_audio: bool,
    start: DateTime<Utc>,
    video_lead: u64,
    audio_lead: u64,
) -> io::Result<Moov> {
    let created = u64::try_from(start.timestamp().saturating_add(EPOCH_OFFSET_S)).unwrap_or(0);
    let audio = stream.audio.as_ref().filter(|_| with_audio);
    let mut trak = vec![track(Kind::Video(&stream.video), created, video_lead)?];
    if let Some(audio) = audio {
        trak.push(track(Kind::Audio(audio), created, audio_lead)?);
    }
    let trex = trak
        .iter()
        .map(|trak| Trex {
            track_id: trak.tkhd.track_id,
            default_sample_description_index: 1,
            default_sample_duration: 0,
            default_sample_size: 0,
            default_sample_flags: 0,
        })
        .collect();
    Ok(Moov {
        mvhd: Mvhd {
            creation_time: created,
            modification_time: created,
            // Edits are then exact for the video.
            timescale: stream.video.timescale,
            duration: 0,
            rate: 1.into(),
            volume: 1.into(),
            matrix: Default::default(),
            next_track_id: AUDIO_TRACK + 1,
        },
        mvex: Some(Mvex { mehd: None, trex }),
        trak,
        ..Default::default()
    })
}

enum Kind<'a> {
    Video(&'a VideoTrack),
    Audio(&'a AudioTrack),
}

/// How players turn pictures of this size, clockwise, and move them back to where they were.
fn display_matrix(quarter_turns: u8, width: u16, height: u16) -> Matrix {
    const ONE: i32 = 1 << 16;
    let (right, down) = (i32::from(width) << 16, i32::from(height) << 16);
    let (a, b, c, d, x, y) = match quarter_turns % 4 {
        0 => return Matrix::default(),
        1 => (0, ONE, -ONE, 0, down, 0),
        2 => (-ONE, 0, 0, -ONE, right, down),
        _ => (0, -ONE, ONE, 0, 0, right),
    };
    Matrix { a, b, c, d, x, y, ..Matrix::default() }
}

fn track(kind: Kind<'_>, created: u64, lead: u64) -> io::Result<Trak> {
    let (id, timescale, handler, name, codec) = match kind {
        Kind::Video(video) => (VIDEO_TRACK, video.timescale, b"vide", "VideoHandler", video_entry(video)?),
        Kind::Audio(audio) => (AUDIO_TRACK, audio.timescale, b"soun", "SoundHandler", audio_entry(audio)?),
    };
    let (width, height) = match kind {
        Kind::Video(video) => (side(video.width)?, side(video.height)?),
        Kind::Audio(_) => (0, 0),
    };
    let is_video = id == VIDEO_TRACK;
    Ok(Trak {
        tkhd: Tkhd {
            creation_time: created,
            modification_time: created,
            track_id: id,
            enabled: true,
            in_movie: true,
            alternate_group: u16::from(!is_video),
            volume: u8::from(!is_video).into(),
            matrix: match kind {
                Kind::Video(video) => display_matrix(video.quarter_turns, width, height),
                Kind::Audio(_) => Matrix::default(),
            },
            width: width.into(),
            height: height.into(),
            ..Default::default()
        },
        edts: (lead > 0).then(|| edits(vec![edit(0, Some(lead))])),
        mdia: Mdia {
            mdhd: Mdhd {
                creation_time: created,
                modification_time: created,
                timescale,
                duration: 0,
                language: "und".to_owned(),
            },
            hdlr: Hdlr { handler: FourCC::new(handler), name: name.to_owned() },
            minf: Minf {
                vmhd: is_video.then(Vmhd::default),
                smhd: (!is_video).then(Smhd::default),
                dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
                stbl: Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Default::default() },
                ..Default::default()
            },
        },
        ..Default::default()
    })
}

fn side(pixels: u32) -> io::Result<u16> {
    u16::try_from(pixels).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the picture is too large for mp4"))
}

fn edits(entries: Vec<ElstEntry>) -> Edts {
    Edts { elst: Some(Elst { entries }) }
}

fn edit(segment_duration: u64, media_time: Option<u64>) -> ElstEntry {
    ElstEntry { segment_duration, media_time, media_rate: 1.into() }
}

fn video_entry(video: &VideoTrack) -> io::Result<Codec> {
    let visual = Visual {
        data_reference_index: 1,
        width: side(video.width)?,
        height: side(video.height)?,
        ..Default::default()
    };
    let mut record = video.config_record.as_slice();
    Ok(match video.codec {
        VideoCodec::H264 => {
            Avc1 { visual, avcc: Avcc::decode_body(&mut record).map_err(bad)?, ..Default::default() }.into()
        }
        VideoCodec::H265 => {
            Hvc1 { visual, hvcc: Hvcc::decode_body(&mut record).map_err(bad)?, ..Default::default() }.into()
        }
        VideoCodec::Mjpeg => Jpeg { visual, ..Default::default() }.into(),
        VideoCodec::Mpeg4 => {
            let what = "mp4 takes no MPEG-4 Part 2 video here (set record.container to avi or mkv)";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    })
}

fn audio_entry(track: &AudioTrack) -> io::Result<Codec> {
    let audio = Audio {
        data_reference_index: 1,
        channel_count: track.channels,
        sample_size: 16,
        // A rate that does not fit is said by the codec's own record only.
        sample_rate: u16::try_from(track.sample_rate).unwrap_or(0).into(),
    };
    Ok(match track.codec {
        AudioCodec::Aac => {
            let dec_specific = DecoderSpecific { raw: track.config_record.clone(), ..Default::default() };
            let dec_config = DecoderConfig {
                object_type_indication: 0x40,
                stream_type: 5,
                dec_specific: Some(dec_specific),
                ..Default::default()
            };
            let es_desc =
                EsDescriptor { es_id: AUDIO_TRACK as u16, dec_config, sl_config: SLConfig {}, ..Default::default() };
            Mp4a { audio, esds: Esds { es_desc }, btrt: None, taic: None }.into()
        }
        AudioCodec::Flac => {
            if track.config_record.len() != 34 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "FLAC needs its 34 bytes of STREAMINFO"));
            }
            let mut boxed = Vec::with_capacity(50);
            boxed.extend_from_slice(&50u32.to_be_bytes());
            boxed.extend_from_slice(b"dfLa\0\0\0\0\x80\0\0\x22");
            boxed.extend_from_slice(&track.config_record);
            Flac { audio, dfla: Dfla::decode(&mut boxed.as_slice()).map_err(bad)? }.into()
        }
    })
}

/// How long a track's pictures are shown, in its ticks.
pub(super) fn shown_ticks(table: &SampleTable, lead: u64) -> u64 {
    u64::try_from(table.end()).unwrap_or(0).saturating_sub(lead)
}

fn rescale(ticks: u64, from: u32, to: u32) -> u64 {
    let (from, to) = (u128::from(from.max(1)), u128::from(to));
    u64::try_from((u128::from(ticks) * to + from / 2) / from).unwrap_or(u64::MAX)
}

/// By how many ticks a track's zero lies before the first picture.
pub(super) fn lead(trak: &Trak) -> u64 {
    let first = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref()?.entries.first()?.media_time);
    first.unwrap_or(0)
}

/// The description of a closed file: an open file's, with all samples.
pub(super) fn complete(open: &Moov, tables: &Tables) -> Moov {
    let mut moov = Moov { mvex: None, ..open.clone() };
    let movie_timescale = moov.mvhd.timescale;
    moov.trak.retain(|trak| tables.get(trak.tkhd.track_id).is_some_and(|table| !table.is_empty()));
    for trak in &mut moov.trak {
        let Some(table) = tables.get(trak.tkhd.track_id) else { continue };
        let lead = lead(trak);
        let timescale = trak.mdia.mdhd.timescale;
        let to_movie = |ticks| rescale(ticks, timescale, movie_timescale);
        // The first sample is the track's zero from now on.
        let late = table.first_dts().saturating_sub(lead);
        let media_time = lead.saturating_sub(table.first_dts());
        let shown = to_movie(shown_ticks(table, lead.max(table.first_dts())));
        let mut entries = Vec::new();
        if late > 0 {
            entries.push(edit(to_movie(late), None));
        }
        entries.push(edit(shown, Some(media_time)));
        trak.tkhd.duration = to_movie(late) + shown;
        trak.edts = Some(edits(entries));
        trak.mdia.mdhd.duration = table.decode_end().saturating_sub(table.first_dts());
        moov.mvhd.duration = moov.mvhd.duration.max(trak.tkhd.duration);
        fill(&mut trak.mdia.minf.stbl, table);
    }
    moov
}

fn fill(stbl: &mut Stbl, table: &SampleTable) {
    let mut stts: Vec<SttsEntry> = Vec::new();
    let mut ctts: Vec<CttsEntry> = Vec::new();
    let mut keys = Vec::new();
    let mut sizes = Vec::new();
    for (number, sample) in (1u32..).zip(table.samples()) {
        match stts.last_mut() {
            Some(last) if last.sample_delta == sample.duration => last.sample_count += 1,
            _ => stts.push(SttsEntry { sample_count: 1, sample_delta: sample.duration }),
        }
        let sample_offset = i64::from(sample.composition);
        match ctts.last_mut() {
            Some(last) if last.sample_offset == sample_offset => last.sample_count += 1,
            _ => ctts.push(CttsEntry { sample_count: 1, sample_offset }),
        }
        if sample.key {
            keys.push(number);
        }
        sizes.push(sample.size);
    }
    let mut stsc: Vec<StscEntry> = Vec::new();
    let mut offsets = Vec::new();
    for (first_chunk, (at, samples_per_chunk)) in (1u32..).zip(table.chunks()) {
        if stsc.last().is_none_or(|last| last.samples_per_chunk != samples_per_chunk) {
            stsc.push(StscEntry { first_chunk, samples_per_chunk, sample_description_index: 1 });
        }
        offsets.push(at);
    }
    stbl.stts = Stts { entries: stts };
    stbl.ctts = ctts.iter().any(|entry| entry.sample_offset != 0).then_some(Ctts { entries: ctts });
    // Without this box every sample is a sync sample.
    stbl.stss = (keys.len() < sizes.len()).then_some(Stss { entries: keys });
    stbl.stsc = Stsc { entries: stsc };
    stbl.stsz = Stsz { samples: StszSamples::Different { sizes } };
    let short: Result<Vec<u32>, _> = offsets.iter().map(|at| u32::try_from(*at)).collect();
    (stbl.stco, stbl.co64) = match short {
        Ok(entries) => (Some(Stco { entries }), None),
        Err(_) => (None, Some(Co64 { entries: offsets })),
    };
}

#[cfg(test)]
mod tests {
    use super::super::table::Sample;
    use super::*;

    #[test]
    fn a_file_beyond_4_gb_has_long_offsets() {
        let mut table = SampleTable::default();
        for n in 0..3u64 {
            let sample = Sample { dts: n * 3000, duration: 3000, composition: 0, size: 9, key: n == 0 };
            table.add((n + 1) << 31, &[sample]);
        }
        let mut stbl = Stbl::default();
        fill(&mut stbl, &table);
        assert_eq!(stbl.co64, Some(Co64 { entries: vec![1 << 31, 2 << 31, 3 << 31] }));
        assert_eq!((stbl.stco, stbl.ctts), (None, None));
        assert_eq!(stbl.stss, Some(Stss { entries: vec![1] }));
        assert_eq!(stbl.stts.entries, [SttsEntry { sample_count: 3, sample_delta: 3000 }]);
    }
}
