//! For the archive's tests: clips made by the ffmpeg command, their packets, and what ffprobe says of a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mp4_atom::{Atom, Codec, Encode, Moov};

use crate::domain::stream::{AudioCodec, AudioTrack, StreamInfo, Track, VideoCodec, VideoTrack};
use crate::media::Packet;
use crate::media::nal::{self, ParameterSets};
use crate::media::packet::Session;

/// A clip and its packets as a source would hand them over.
pub struct Clip {
    pub path: PathBuf,
    pub stream: Arc<StreamInfo>,
    pub packets: Vec<Packet>,
    _folder: Option<tempfile::TempDir>,
}

impl Clip {
    /// Packets without a clip of their own.
    pub fn of(packets: Vec<Packet>) -> Self {
        let stream = packets.first().expect("a packet").stream.clone();
        Clip { path: PathBuf::new(), stream, packets, _folder: None }
    }

    /// Takes a clip apart that is there already.
    pub fn open(path: &Path) -> Self {
        let (stream, packets) = demux(path);
        Clip { path: path.to_owned(), stream, packets, _folder: None }
    }

    pub fn video(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(|packet| packet.track == Track::Video)
    }

    pub fn duration_us(&self) -> i64 {
        let first = self.video().next().expect("a packet").pts_us();
        let mut pts: Vec<i64> = self.video().map(Packet::pts_us).collect();
        pts.sort_unstable();
        let step = pts[1] - pts[0];
        pts.last().expect("a packet") - first + step
    }
}

pub const H264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"];
pub const H264_B: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "3", "-pix_fmt", "yuv420p"];
pub const H265: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=none:keyint=25:bframes=3",
    "-tag:v",
    "hvc1",
];
pub const MJPEG: &[&str] = &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "8"];
pub const MPEG4: &[&str] = &["-c:v", "mpeg4", "-g", "25", "-q:v", "5"];
pub const AAC: &[&str] = &["-c:a", "aac", "-b:a", "64k"];
pub const FLAC: &[&str] = &["-c:a", "flac", "-strict", "experimental", "-sample_fmt", "s16", "-ar", "8000"];

/// Makes a clip of so many seconds, 25 pictures a second, and takes it apart.
pub fn clip(extension: &str, seconds: &str, video: &[&str], audio: &[&str]) -> Clip {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(format!("clip.{extension}"));
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25"]);
    if !audio.is_empty() {
        command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    }
    command.args(["-t", seconds]).args(video).args(audio).arg(&path);
    assert!(command.status().expect("ffmpeg is installed").success());
    let (stream, packets) = demux(&path);
    Clip { path, stream, packets, _folder: Some(folder) }
}

/// A stream's headers, as its container holds them.
fn extradata(input: &ffmpeg_next::format::context::Input, index: usize) -> Vec<u8> {
    let parameters = input.stream(index).expect("a stream").parameters();
    // SAFETY: the parameters live as long as the stream, and hold `extradata_size` bytes.
    unsafe {
        let parameters = &*parameters.as_ptr();
        std::slice::from_raw_parts(parameters.extradata, parameters.extradata_size as usize).to_vec()
    }
}

fn demux(path: &Path) -> (Arc<StreamInfo>, Vec<Packet>) {
    use ffmpeg_next::codec::Id;
    ffmpeg_next::init().expect("libav");
    let mut input = ffmpeg_next::format::input(path).expect("a clip");
    let bytes = std::fs::read(path).expect("a clip");
    let moov = top_level(&bytes).into_iter().find(|(kind, _)| kind == b"moov");
    let codecs: Vec<Codec> = moov.map_or(Vec::new(), |(_, range)| {
        let moov = Moov::decode_body(&mut &bytes[range.start + 8..range.end]).expect("a moov");
        moov.trak.into_iter().map(|trak| trak.mdia.minf.stbl.stsd.codecs[0].clone()).collect()
    });
    let timescale = |index: usize, input: &ffmpeg_next::format::context::Input| {
        let base = input.stream(index).expect("a stream").time_base();
        assert_eq!(base.numerator(), 1);
        base.denominator() as u32
    };
    let mut video = None;
    let mut audio = None;
    for stream in input.streams() {
        let index = stream.index();
        match stream.parameters().id() {
            Id::H264 => video = Some((index, VideoCodec::H264)),
            Id::HEVC => video = Some((index, VideoCodec::H265)),
            Id::MJPEG => video = Some((index, VideoCodec::Mjpeg)),
            Id::MPEG4 => video = Some((index, VideoCodec::Mpeg4)),
            Id::AAC => audio = Some((index, AudioCodec::Aac, 48_000, 1)),
            Id::FLAC => audio = Some((index, AudioCodec::Flac, 8_000, 1)),
            other => panic!("{other:?}"),
        }
    }
    let (video_index, codec) = video.expect("video");
    let length_prefixed = !codecs.is_empty();
    let payloads: Vec<(usize, ffmpeg_next::Packet)> =
        input.packets().map(|(stream, packet)| (stream.index(), packet)).collect();
    let mut config_record = Vec::new();
    match codecs.get(video_index) {
        Some(Codec::Avc1(entry)) => entry.avcc.encode_body(&mut config_record).expect("avcC"),
        Some(Codec::Hvc1(entry)) => entry.hvcc.encode_body(&mut config_record).expect("hvcC"),
        Some(_) => {}
        None if codec == VideoCodec::Mpeg4 => config_record = extradata(&input, video_index),
        None => {
            let first = payloads.iter().find(|(index, _)| *index == video_index).expect("a packet");
            let data = first.1.data().expect("data");
            config_record = ParameterSets::of_access_unit(codec, data, false).config_record(codec).expect("sets");
        }
    }
    let audio_track = audio.map(|(index, codec, sample_rate, channels)| {
        let config_record = match codecs.get(index) {
            Some(Codec::Mp4a(entry)) => entry.esds.es_desc.dec_config.dec_specific.clone().expect("a config").raw,
            Some(Codec::Flac(entry)) => {
                let mut boxed = Vec::new();
                entry.dfla.encode(&mut boxed).expect("dfLa");
                boxed[16..50].to_vec()
            }
            other => panic!("{other:?}"),
        };
        AudioTrack { codec, sample_rate, channels, timescale: timescale(index, &input), config_record }
    });
    let stream = Arc::new(StreamInfo {
        video: VideoTrack {
            codec,
            width: 320,
            height: 240,
            quarter_turns: 0,
            timescale: timescale(video_index, &input),
            config_record,
        },
        audio: audio_track,
    });
    let session = Arc::new(Session::new(1));
    let packets = payloads
        .into_iter()
        .map(|(index, packet)| {
            let track = if index == video_index { Track::Video } else { Track::Audio };
            let data = packet.data().expect("data");
            Packet {
                session: session.clone(),
                stream: stream.clone(),
                track,
                keyframe: track == Track::Video && nal::is_keyframe(codec, data, length_prefixed),
                dts: packet.dts().expect("dts"),
                pts: packet.pts().expect("pts"),
                length_prefixed,
                payload: ffmpeg_next::Packet::copy(data),
            }
        })
        .collect();
    (stream, packets)
}

/// A packet made up by hand.
pub fn packet(stream: &Arc<StreamInfo>, track: Track, dts: i64, pts: i64, keyframe: bool, data: &[u8]) -> Packet {
    Packet {
        session: Arc::new(Session::new(1)),
        stream: stream.clone(),
        track,
        keyframe,
        dts,
        pts,
        length_prefixed: false,
        payload: ffmpeg_next::Packet::copy(data),
    }
}

/// Kind and place of a file's top level boxes.
pub fn top_level(bytes: &[u8]) -> Vec<([u8; 4], std::ops::Range<usize>)> {
    let mut boxes = Vec::new();
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let length = match word(at) {
            1 => word(at + 8) << 32 | word(at + 12),
            length => length,
        };
        boxes.push((bytes[at + 4..at + 8].try_into().expect("four bytes"), at..at + length));
        at += length;
    }
    boxes
}

/// Runs a command that must succeed and must say nothing on stderr; gives its stdout.
pub fn run(program: &str, args: &[&str], path: &Path) -> String {
    let mut command = Command::new(program);
    command.args(["-v", "error"]);
    for arg in args {
        command.arg(if *arg == "FILE" { path.as_os_str() } else { arg.as_ref() });
    }
    let output = command.output().expect("ffmpeg is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// Decodes everything; any complaint is a failure. Gives the hashes of the pictures.
pub fn decode(path: &Path) -> Vec<String> {
    run("ffmpeg", &["-xerror", "-i", "FILE", "-f", "null", "-"], path);
    run("ffmpeg", &["-xerror", "-i", "FILE", "-map", "0:v", "-f", "framemd5", "-"], path)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit(',').next().expect("a hash").trim().to_owned())
        .collect()
}

/// Presentation times of a stream's packets in seconds, in decode order, as ffprobe reads them.
pub fn times(path: &Path, stream: &str) -> Vec<f64> {
    run("ffprobe", &["-select_streams", stream, "-show_entries", "packet=pts_time", "-of", "csv=p=0", "FILE"], path)
        .lines()
        .filter_map(|line| line.trim_matches(',').parse().ok())
        .collect()
}

/// One entry of ffprobe, like `stream=codec_tag_string`.
pub fn probe(path: &Path, stream: &str, entry: &str) -> String {
    run("ffprobe", &["-select_streams", stream, "-show_entries", entry, "-of", "csv=p=0", "FILE"], path)
        .trim()
        .trim_end_matches(',')
        .to_owned()
}

/// A file's boxes, one a line, with their lengths.
pub fn box_tree(bytes: &[u8]) -> String {
    fn walk(bytes: &[u8], depth: usize, out: &mut String) {
        const HOLDERS: [&[u8; 4]; 10] =
            [b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl", b"mvex", b"moof", b"traf"];
        for (kind, range) in top_level(bytes) {
            out.push_str(&format!("{:1$}{2} {3}\n", "", 2 * depth, String::from_utf8_lossy(&kind), range.len()));
            if HOLDERS.contains(&&kind) {
                walk(&bytes[range.start + 8..range.end], depth + 1, out);
            }
        }
    }
    let mut out = String::new();
    walk(bytes, 0, &mut out);
    out
}

/// A stream made up by hand: H.264 of 90 kHz with AAC.
pub fn made_up_stream() -> Arc<StreamInfo> {
    let sps = [
        0x67, 0x64, 0x00, 0x0d, 0xac, 0xd9, 0x41, 0x41, 0xfa, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
        0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
    ];
    let pps = [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
    let config_record = nal::avcc(&[&sps], &[&pps]).expect("sets");
    let (codec, width, height, timescale) = (VideoCodec::H264, 320, 240, 90_000);
    Arc::new(StreamInfo {
        video: VideoTrack { codec, width, height, quarter_turns: 0, timescale, config_record },
        audio: Some(AudioTrack {
            codec: AudioCodec::Aac,
            sample_rate: 48_000,
            channels: 1,
            timescale: 48_000,
            config_record: vec![0x11, 0x88],
        }),
    })
}
