//! Sources, against real cameras, real files and bad ones.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::{AudioCodec, Clip, Codec, MjpegServer, Mount, Relay, RtspServer, assert_run_of, concat, vcl_units};
use tarsier::clock::{monotonic, utc_now};
use tarsier::domain::config::{AudioMode, Transport};
use tarsier::domain::source_url::SourceUrl;
use tarsier::domain::stream::{self, Track, VideoCodec};
use tarsier::media::nal;
use tarsier::media::packet::{Packet, Session};
use tarsier::media::source::{self, Cancel, KEYFRAME_TIMEOUT, OpenOptions, Source, SourceError, SourceErrorKind};

fn options(source: &str) -> OpenOptions {
    OpenOptions {
        url: SourceUrl::new(source),
        transport: Transport::Tcp,
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(5),
        keyframe_timeout: KEYFRAME_TIMEOUT,
        repeat: false,
        real_time: false,
        at_most: None,
        audio: AudioMode::Auto,
    }
}

fn of_file(path: &Path) -> OpenOptions {
    options(path.to_str().unwrap())
}

fn open(options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    source::open(options, Arc::new(Session::new(1)), &Cancel::new())
}

/// The error that opening gives.
#[track_caller]
fn refused(options: &OpenOptions) -> SourceError {
    match open(options) {
        Ok(_) => panic!("{} opened", options.url),
        Err(error) => error,
    }
}

fn take(source: &mut dyn Source, count: usize) -> Vec<Packet> {
    (0..count).map(|_| source.next().unwrap().expect("more packets")).collect()
}

fn take_video(source: &mut dyn Source, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.len() < count {
        packets.extend(source.next().unwrap().filter(|packet| packet.track == Track::Video));
    }
    packets
}

/// All packets of a file; the error that ended it, if any.
fn take_all(source: &mut dyn Source) -> (Vec<Packet>, Option<SourceError>) {
    let mut packets = Vec::new();
    loop {
        match source.next() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, None),
            Err(error) => return (packets, Some(error)),
        }
    }
}

fn of(track: Track, packets: &[Packet]) -> Vec<&Packet> {
    packets.iter().filter(|packet| packet.track == track).collect()
}

#[track_caller]
fn ffmpeg(arguments: &[&str]) {
    let output = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The video packets of a file as ffprobe sees them: pts in seconds, and size.
fn probe(path: &Path) -> Vec<(f64, usize)> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time,size", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let mut fields = line.split(',');
        (fields.next().unwrap().parse().unwrap_or(f64::NAN), fields.next().unwrap().parse().unwrap())
    };
    text.lines().filter(|line| !line.is_empty()).map(row).collect()
}

#[track_caller]
fn assert_orderly(packets: &[&Packet]) {
    assert!(packets.windows(2).all(|pair| pair[0].dts < pair[1].dts), "decode times rise");
    assert!(packets.iter().all(|packet| packet.pts >= packet.dts), "pictures follow their decoding");
    let mut shown: Vec<_> = packets.iter().map(|packet| packet.pts).collect();
    shown.sort_unstable();
    assert!(shown.windows(2).all(|pair| pair[0] < pair[1]), "no two pictures at one time");
}

/// Pictures come one frame apart when put in the order in which they are shown.
#[track_caller]
fn assert_even(packets: &[&Packet], fps: u32) {
    let mut shown: Vec<_> = packets.iter().map(|packet| packet.pts_us()).collect();
    shown.sort_unstable();
    let frame_us = 1_000_000 / i64::from(fps);
    for pair in shown.windows(2) {
        assert!((pair[1] - pair[0] - frame_us).abs() < 1_500, "{shown:?}");
    }
}

#[test]
fn files_give_every_packet_with_its_time() {
    let scratch = tempfile::tempdir().unwrap();
    let cases = [
        (Codec::H264, 0, "mp4"),
        (Codec::H264, 2, "mp4"),
        (Codec::H264, 2, "mkv"),
        (Codec::H264, 2, "ts"),
        (Codec::H264, 2, "avi"),
        (Codec::H265, 0, "mp4"),
        (Codec::H265, 3, "mkv"),
        (Codec::Mjpeg, 0, "mkv"),
        (Codec::Mjpeg, 0, "avi"),
    ];
    for (codec, bframes, extension) in cases {
        let name = format!("{codec:?} with {bframes} B-frames in {extension}");
        let clip = Clip::spec().codec(codec).bframes(bframes).seconds(4.0).gop_seconds(1.0).make();
        let path = scratch.path().join(format!("{codec:?}{bframes}.{extension}"));
        ffmpeg(&["-i", clip.path.to_str().unwrap(), "-c", "copy", path.to_str().unwrap()]);
        let (packets, error) = take_all(&mut *open(&of_file(&path)).unwrap());
        assert_eq!(error, None, "{name}");
        let video = of(Track::Video, &packets);
        assert_orderly(&video);
        let expected = probe(&path);
        assert_eq!(video.len(), expected.len(), "{name}");
        for (packet, (seconds, size)) in video.iter().zip(expected) {
            assert_eq!(packet.data().len(), size, "{name}");
            if extension != "avi" {
                let difference = packet.pts_us() as f64 / 1e6 - seconds;
                assert!(difference.abs() < 1e-5, "{name}: {difference}");
            }
        }
        let keys: Vec<_> = video.iter().enumerate().filter(|(_, p)| p.keyframe).map(|(at, _)| at).collect();
        let gop = if codec == Codec::Mjpeg { 1 } else { 15 };
        assert_eq!(keys, (0..60).step_by(gop).collect::<Vec<_>>(), "{name}");
        let first = &video[0].stream.video;
        assert_eq!((first.width, first.height), (320, 240), "{name}");
        assert_eq!(
            video[0].length_prefixed,
            codec != Codec::Mjpeg && matches!(extension, "mp4" | "mkv" | "avi"),
            "{name}"
        );
        assert_eq!(first.config_record.is_empty(), codec == Codec::Mjpeg, "{name}");
        assert!(video.iter().all(|packet| Arc::ptr_eq(&packet.stream, &video[0].stream)), "{name}");
    }
}

#[test]
fn a_raw_stream_gets_times_at_its_rate() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::spec().seconds(3.0).make();
    let path = scratch.path().join("raw.h264");
    ffmpeg(&["-i", clip.path.to_str().unwrap(), "-c", "copy", path.to_str().unwrap()]);
    let (packets, error) = take_all(&mut *open(&of_file(&path)).unwrap());
    assert_eq!((packets.len(), error), (45, None));
    assert_orderly(&of(Track::Video, &packets));
    assert!(!packets[0].length_prefixed);
}

#[test]
fn a_size_that_changes_in_band_begins_a_new_description() {
    let small = Clip::spec().seconds(2.0).make();
    let large = Clip::spec().size(640, 360).seconds(2.0).make();
    let joined = concat(&[&small, &large, &small]);
    let (packets, error) = take_all(&mut *open(&of_file(&joined.path)).unwrap());
    assert_eq!((packets.len(), error), (90, None));
    let sizes: Vec<_> = packets.iter().map(|packet| packet.stream.video.width).collect();
    assert_eq!(sizes, [vec![320; 30], vec![640; 30], vec![320; 30]].concat());
    assert!(packets[30].keyframe && packets[60].keyframe);
    assert_eq!(packets[0].stream, packets[60].stream);
}

#[test]
fn a_repeated_file_goes_on_without_a_tear() {
    for (bframes, audio) in [(0, None), (2, Some(AudioCodec::Aac)), (0, Some(AudioCodec::Mulaw))] {
        let mut spec = Clip::spec().bframes(bframes).seconds(1.0);
        if let Some(audio) = audio {
            spec = spec.audio(audio);
        }
        let clip = spec.make();
        let mut source = open(&OpenOptions { repeat: true, ..of_file(&clip.path) }).unwrap();
        let packets = take(&mut *source, if audio.is_some() { 200 } else { 100 });
        let video = of(Track::Video, &packets);
        assert!(video.len() > 30, "more than two rounds");
        assert_orderly(&video);
        assert_even(&video[..video.len() / 15 * 15], clip.fps);
        assert!(video.iter().step_by(15).all(|packet| packet.keyframe));
        assert!(packets.iter().all(|packet| Arc::ptr_eq(&packet.stream, &packets[0].stream)));
        if audio.is_some() {
            let sound = of(Track::Audio, &packets);
            assert!(sound.windows(2).all(|pair| pair[0].dts < pair[1].dts));
            let (last_sound, last_video) = (sound[sound.len() - 1].pts_us(), video[video.len() - 1].pts_us());
            assert!((last_sound - last_video).abs() < 500_000, "{last_sound} and {last_video}");
        }
    }
}

#[test]
fn a_file_in_real_time_keeps_its_pace() {
    let clip = Clip::spec().seconds(1.0).make();
    let began = monotonic();
    let (packets, _) = take_all(&mut *open(&OpenOptions { real_time: true, ..of_file(&clip.path) }).unwrap());
    assert_eq!(packets.len(), 15);
    assert!((900..1500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[test]
fn g711_becomes_flac_without_loss() {
    let scratch = tempfile::tempdir().unwrap();
    for audio in [AudioCodec::Alaw, AudioCodec::Mulaw] {
        let clip = Clip::spec().seconds(2.0).audio(audio).make();
        let (packets, error) = take_all(&mut *open(&of_file(&clip.path)).unwrap());
        assert_eq!(error, None);
        let sound = of(Track::Audio, &packets);
        let track = sound[0].stream.audio.clone().unwrap();
        assert_eq!((track.codec, track.sample_rate, track.channels), (stream::AudioCodec::Flac, 8000, 1));
        assert!(sound.iter().enumerate().all(|(at, packet)| packet.dts == at as i64 * 800));
        // A FLAC file: the mark, STREAMINFO as the last block of metadata, the frames.
        let path = scratch.path().join("sound.flac");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"fLaC\x80\x00\x00\x22").unwrap();
        file.write_all(&track.config_record).unwrap();
        for packet in &sound {
            file.write_all(packet.data()).unwrap();
        }
        let decoded = |path: &Path| {
            let raw = scratch.path().join("raw");
            ffmpeg(&["-i", path.to_str().unwrap(), "-map", "0:a", "-f", "s16le", raw.to_str().unwrap()]);
            std::fs::read(raw).unwrap()
        };
        let (ours, theirs) = (decoded(&path), decoded(&clip.path));
        assert_eq!(theirs.len(), 32_000);
        assert!(ours.starts_with(&theirs) && ours.len() - theirs.len() < 1600);
    }
}

#[test]
fn sound_is_chosen_by_mode() {
    let scratch = tempfile::tempdir().unwrap();
    let g711 = Clip::spec().seconds(2.0).audio(AudioCodec::Alaw).make();
    let aac = Clip::spec().seconds(2.0).audio(AudioCodec::Aac).make();
    let has_audio = |path: &Path, audio| {
        let (packets, _) = take_all(&mut *open(&OpenOptions { audio, ..of_file(path) }).unwrap());
        assert_eq!(packets[0].stream.audio.is_some(), packets.iter().any(|packet| packet.track == Track::Audio));
        packets[0].stream.audio.is_some()
    };
    assert!(!has_audio(&g711.path, AudioMode::Copy));
    assert!(!has_audio(&aac.path, AudioMode::Off));
    assert!(has_audio(&aac.path, AudioMode::Copy));
    // With a header in each frame (transport streams): taken off, and the same configuration.
    let ts = scratch.path().join("sound.ts");
    ffmpeg(&["-i", aac.path.to_str().unwrap(), "-c", "copy", ts.to_str().unwrap()]);
    let (plain, _) = take_all(&mut *open(&of_file(&aac.path)).unwrap());
    let (adts, _) = take_all(&mut *open(&of_file(&ts)).unwrap());
    let config = |packets: &[Packet]| packets[0].stream.audio.clone().unwrap().config_record[..2].to_vec();
    assert_eq!(config(&plain), config(&adts));
    let frames = |packets: &[Packet]| of(Track::Audio, packets).iter().map(|p| p.data().to_vec()).collect::<Vec<_>>();
    let (plain, adts) = (frames(&plain), frames(&adts));
    // The plain file marks its first frame as not to be heard.
    assert!(!plain.is_empty() && adts.ends_with(&plain) && adts.len() - plain.len() <= 1);
}

#[test]
fn bad_files_get_a_clear_error() {
    let scratch = tempfile::tempdir().unwrap();
    let made = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let clip = Clip::spec().seconds(4.0).make();
    let whole = std::fs::read(&clip.path).unwrap();
    let sound = scratch.path().join("sound.wav");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1", sound.to_str().unwrap()]);
    let other = scratch.path().join("other.mkv");
    ffmpeg(&["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", "-c:v", "mpeg2video", other.to_str().unwrap()]);
    let cases = [
        (scratch.path().join("nothing.mp4"), SourceErrorKind::NotFound, "no such file"),
        (scratch.path().to_owned(), SourceErrorKind::NotFound, "folder"),
        (made("empty.mp4", b""), SourceErrorKind::Broken, "the file is empty"),
        (made("text.mp4", &b"not a video at all\n".repeat(1000)), SourceErrorKind::Broken, "no video file"),
        (made("cut.mp4", &whole[..whole.len() / 2]), SourceErrorKind::Broken, "cut off"),
        (sound, SourceErrorKind::NoVideo, "pcm_s16le"),
        (other, SourceErrorKind::Unsupported, "mpeg2video"),
    ];
    for (path, kind, words) in cases {
        let error = refused(&of_file(&path));
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn a_file_that_is_cut_off_gives_what_it_has_and_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::spec().seconds(4.0).make();
    let front = scratch.path().join("front.mp4");
    let source = clip.path.to_str().unwrap();
    ffmpeg(&["-i", source, "-c", "copy", "-movflags", "+faststart", front.to_str().unwrap()]);
    let mkv = scratch.path().join("whole.mkv");
    ffmpeg(&["-i", source, "-c", "copy", mkv.to_str().unwrap()]);
    for path in [front, mkv] {
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
        let (packets, error) = take_all(&mut *open(&of_file(&path)).unwrap());
        assert!((10..60).contains(&packets.len()), "{} of {}", packets.len(), path.display());
        let error = error.unwrap_or_else(|| panic!("{} ended in good order", path.display()));
        assert_eq!(error.kind, SourceErrorKind::Broken, "{error}");
        assert!(error.message.contains("cut off"), "{error}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::spec().seconds(2.0).bframes(2).audio(AudioCodec::Aac).make();
    let whole = std::fs::read(&clip.path).unwrap();
    let path = scratch.path().join("damaged.mp4");
    let mut state = 1u64;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 20) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(mut source) = open(&of_file(&path)) {
            let (packets, _) = take_all(&mut *source);
            let video = of(Track::Video, &packets);
            assert!(video.windows(2).all(|pair| pair[0].dts < pair[1].dts));
        }
    }
}

#[test]
fn cameras_are_read_in_every_codec_and_transport() {
    let clips = [
        Clip::spec().seconds(6.0).make(),
        Clip::spec().bframes(2).audio(AudioCodec::Aac).seconds(6.0).make(),
        Clip::spec().codec(Codec::H265).bframes(3).seconds(6.0).make(),
        Clip::spec().codec(Codec::Mjpeg).audio(AudioCodec::Alaw).seconds(6.0).make(),
    ];
    let names: Vec<_> = (0..clips.len()).map(|at| format!("cam{at}")).collect();
    let mounts: Vec<_> = clips.iter().zip(&names).map(|(clip, name)| Mount::new(name, clip)).collect();
    let server = RtspServer::start(&mounts);
    for transport in [Transport::Tcp, Transport::Udp, Transport::Auto] {
        for (clip, name) in clips.iter().zip(&names) {
            let began = monotonic();
            let session = Arc::new(Session::new(7));
            let options = OpenOptions { transport, ..options(&server.url(name)) };
            let mut source = source::open(&options, Arc::clone(&session), &Cancel::new()).unwrap();
            assert!(began.elapsed() < Duration::from_secs(4), "{name} opened in {:?}", began.elapsed());
            let packets = take_video(&mut *source, 40);
            let late = packets[39].session.utc(packets[39].pts_us()) - utc_now();
            assert!(late.num_milliseconds().abs() < 1500, "{name} is {late} off");
            assert!(Arc::ptr_eq(&packets[0].session, &session));
            let all: Vec<_> = packets.iter().collect();
            assert!(packets[0].keyframe, "{name} by {transport:?}");
            assert_orderly(&all);
            // The last ones may wait for pictures that were not read any more.
            let mut shown: Vec<_> = all.clone();
            shown.sort_by_key(|packet| packet.pts);
            assert_even(&shown[..34], clip.fps);
            let delayed = packets[0].pts > packets[0].dts;
            assert!(delayed || all.iter().all(|packet| packet.pts == packet.dts), "{name} by {transport:?}");
            let codec = match clip.codec {
                Codec::H264 => VideoCodec::H264,
                Codec::H265 => VideoCodec::H265,
                Codec::Mjpeg => VideoCodec::Mjpeg,
            };
            let video = &packets[0].stream.video;
            assert_eq!((video.codec, video.width, video.height), (codec, 320, 240));
            assert!(!packets[0].length_prefixed);
            assert_eq!(source.lost_packets(), 0);
        }
    }
}

#[test]
fn what_the_camera_sends_comes_through_unchanged() {
    let scratch = tempfile::tempdir().unwrap();
    for (codec, bframes) in [(Codec::H264, 0), (Codec::H264, 2), (Codec::H265, 2), (Codec::Mjpeg, 0)] {
        let clip = Clip::spec().codec(codec).bframes(bframes).seconds(3.0).motion(0.0, 3.0).make();
        let server = RtspServer::start(&[Mount::new("cam", &clip)]);
        // More than one round of the clip.
        let packets = take(&mut *open(&options(&server.url("cam"))).unwrap(), 70);
        let path = scratch.path().join(match codec {
            Codec::H264 => "got.h264",
            Codec::H265 => "got.hevc",
            Codec::Mjpeg => "got.mjpeg",
        });
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.data().to_vec()).collect();
        std::fs::write(&path, bytes).unwrap();
        let units = vcl_units(&path, codec);
        assert_eq!(units.len(), 70, "{codec:?}: a slice a picture");
        assert_run_of(&units, &vcl_units(&clip.path, codec));
    }
}

/// With parameter sets before each slice of a keyframe, as GStreamer's payloader sends them, libav takes each for a
/// picture.
#[test]
fn a_picture_of_several_slices_is_one_packet() {
    let scratch = tempfile::tempdir().unwrap();
    let h264 = "-c:v libx264 -preset ultrafast -g 15 -x264-params slices=4:bframes=0";
    let h265 = "-c:v libx265 -preset ultrafast -g 15 -x265-params slices=4:bframes=0:log-level=none";
    for (codec, file, encoder) in [(Codec::H264, "got.h264", h264), (Codec::H265, "got.hevc", h265)] {
        let arguments = format!("-f lavfi -i testsrc2=size=320x240:rate=15:duration=4 {encoder}");
        let clip = Clip::drawn_by_ffmpeg("slices", &arguments.split(' ').collect::<Vec<_>>());
        let server = RtspServer::start(&[Mount::of_file("cam", &clip, 15)]);
        let packets = take(&mut *open(&options(&server.url("cam"))).unwrap(), 50);
        let all: Vec<_> = packets.iter().collect();
        assert_orderly(&all);
        assert_even(&all, 15);
        assert_eq!(packets.iter().filter(|packet| packet.keyframe).count(), 4);
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.data().to_vec()).collect();
        std::fs::write(scratch.path().join(file), bytes).unwrap();
        let units = vcl_units(&scratch.path().join(file), codec);
        assert_eq!(units.len(), 4 * 50, "{codec:?}");
        assert_run_of(&units, &vcl_units(&clip, codec));
    }
}

#[test]
fn a_bad_cable_brings_no_panic_and_no_disorder() {
    let clip = Clip::spec().seconds(6.0).bframes(2).motion(0.0, 6.0).audio(AudioCodec::Aac).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip)]);
    let relay = Relay::to(server.port("cam"));
    let options = OpenOptions { read_timeout: Duration::from_secs(2), ..options(&server.url_through("cam", &relay)) };
    let mut ended = 0;
    for round in 0..6 {
        relay.heal();
        let mut source = open(&options).unwrap();
        take(&mut *source, 10);
        match round % 2 {
            0 => relay.corrupt(500),
            _ => relay.cut_after(5000 + round),
        }
        let mut packets = Vec::new();
        while packets.len() < 250 {
            match source.next() {
                Ok(packet) => packets.push(packet.expect("a camera has no end")),
                Err(error) => {
                    assert!(!error.message.is_empty());
                    ended += 1;
                    break;
                }
            }
        }
        let video = of(Track::Video, &packets);
        assert!(video.windows(2).all(|pair| pair[0].dts < pair[1].dts));
    }
    assert!(ended >= 3, "a cut cable ends the stream");
}

#[test]
fn lost_packets_are_counted() {
    let clip = Clip::spec().size(64, 48).seconds(3.0).gop_seconds(1.0).make();
    let camera = LossyCamera::start(&clip, false);
    let mut source = open(&OpenOptions { transport: Transport::Udp, ..options(&camera.url) }).unwrap();
    let began = monotonic();
    while source.lost_packets() < 4 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} lost", source.lost_packets());
        source.next().unwrap();
    }
}

#[test]
fn where_udp_is_blocked_auto_takes_tcp() {
    let clip = Clip::spec().size(64, 48).seconds(3.0).gop_seconds(1.0).make();
    let camera = LossyCamera::start(&clip, true);
    let error = refused(&OpenOptions {
        transport: Transport::Udp,
        connect_timeout: Duration::from_secs(1),
        ..options(&camera.url)
    });
    assert_eq!(error.kind, SourceErrorKind::Timeout, "{error}");
    let mut source = open(&OpenOptions { transport: Transport::Auto, ..options(&camera.url) }).unwrap();
    assert_orderly(&take(&mut *source, 30).iter().collect::<Vec<_>>());
}

/// A camera that speaks just enough RTSP to send H.264. By UDP it loses some packets, or all of them.
struct LossyCamera {
    url: String,
}

impl LossyCamera {
    fn start(clip: &Clip, udp_is_blocked: bool) -> Self {
        let (packets, _) = take_all(&mut *open(&of_file(&clip.path)).unwrap());
        let sets = avcc_units(&packets[0].stream.video.config_record);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rtsp://{}/lossy", listener.local_addr().unwrap());
        let pictures: Vec<Vec<u8>> = packets.iter().map(|packet| packet.data().to_vec()).collect();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                Self::serve(&client, &sets, &pictures, udp_is_blocked);
            }
        });
        LossyCamera { url }
    }

    /// One client, to its end.
    fn serve(mut client: &TcpStream, sets: &[Vec<u8>], pictures: &[Vec<u8>], udp_is_blocked: bool) {
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Port of the client; None: inside the connection.
        let mut to: Option<u16> = None;
        loop {
            let request: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let Some(first) = request.first() else { return };
            let value = |name: &str| {
                let line = request.iter().find(|line| line.starts_with(name));
                line.map(|line| line.split_once(": ").unwrap().1.to_owned()).unwrap_or_default()
            };
            let (mut head, mut body) = (String::new(), "");
            if first.starts_with("DESCRIBE") {
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
                        c=IN IP4 127.0.0.1\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
                        a=control:track1\r\n";
                head = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", body.len());
            } else if first.starts_with("SETUP") {
                let transport = value("Transport");
                let ports = transport.split_once("client_port=").map(|(_, ports)| ports);
                to = ports.map(|ports| ports.split(['-', ';']).next().unwrap().parse().unwrap());
                let own = socket.local_addr().unwrap().port();
                let own = if to.is_some() { format!(";server_port={own}-{}", own + 1) } else { String::new() };
                head = format!("Session: 1\r\nTransport: {transport}{own}\r\n");
            }
            let answer = format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n{head}\r\n{body}", value("CSeq"));
            if client.write_all(answer.as_bytes()).is_err() {
                return;
            }
            if first.starts_with("PLAY") {
                match to {
                    None => Self::send(sets, pictures, |_, packet| {
                        let mut framed = vec![b'$', 0];
                        framed.extend_from_slice(&(packet.len() as u16).to_be_bytes());
                        framed.extend_from_slice(packet);
                        client.write_all(&framed).is_ok()
                    }),
                    Some(_) if udp_is_blocked => {}
                    Some(port) => Self::send(sets, pictures, |number, packet| {
                        let lost = number > 30 && number % 15 > 10 && number % 2 == 0;
                        lost || socket.send_to(packet, ("127.0.0.1", port)).is_ok()
                    }),
                }
            }
        }
    }

    /// Sends the pictures over and over, until nobody listens any more.
    fn send(sets: &[Vec<u8>], pictures: &[Vec<u8>], mut deliver: impl FnMut(u32, &[u8]) -> bool) {
        let mut sequence = 0u16;
        for number in 0u32..450 {
            let picture = &pictures[number as usize % pictures.len()];
            let mut units: Vec<&[u8]> = Vec::new();
            if number % 15 == 0 {
                units.extend(sets.iter().map(Vec::as_slice));
            }
            units.extend(nal::units(picture, true).filter(|unit| matches!(unit[0] & 0x1f, 1 | 5)));
            let last = units.len() - 1;
            for (at, unit) in units.into_iter().enumerate() {
                assert!(unit.len() < 1400, "one packet a unit");
                sequence += 1;
                let mut packet = vec![0x80, 96 | if at == last { 0x80 } else { 0 }];
                packet.extend_from_slice(&sequence.to_be_bytes());
                packet.extend_from_slice(&(number * 6000).to_be_bytes());
                packet.extend_from_slice(&[0, 0, 0, 1]);
                packet.extend_from_slice(unit);
                if !deliver(number, &packet) {
                    return;
                }
            }
            // The camera's pace.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The parameter sets inside an `avcC`.
fn avcc_units(record: &[u8]) -> Vec<Vec<u8>> {
    let sps_length = usize::from(u16::from_be_bytes([record[6], record[7]]));
    let pps_at = 8 + sps_length + 1;
    let pps_length = usize::from(u16::from_be_bytes([record[pps_at], record[pps_at + 1]]));
    vec![record[8..8 + sps_length].to_vec(), record[pps_at + 2..pps_at + 2 + pps_length].to_vec()]
}

#[test]
fn a_stream_joined_in_the_middle_begins_at_a_keyframe() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(3.0).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip).join_now()]);
    let mut first = open(&options(&server.url("cam"))).unwrap();
    let _ = take(&mut *first, 20);
    let mut second = open(&options(&server.url("cam"))).unwrap();
    let packets = take(&mut *second, 50);
    assert!(packets[0].keyframe && packets[45].keyframe);
    assert_eq!(packets.iter().filter(|packet| packet.keyframe).count(), 2);
    assert_even(&packets.iter().collect::<Vec<_>>(), clip.fps);
}

#[test]
fn passwords_are_asked_for_and_never_shown() {
    let clip = Clip::spec().seconds(4.0).make();
    let mounts = [
        Mount::new("basic", &clip).basic_auth("viewer", "canary-1"),
        Mount::new("digest", &clip).digest_auth("viewer", "canary-1"),
    ];
    let server = RtspServer::start(&mounts);
    for name in ["basic", "digest"] {
        assert_eq!(take(&mut *open(&options(&server.url(name))).unwrap(), 5).len(), 5);
        let wrong = server.url(name).replace("canary-1", "canary-2");
        let before = server.stats(name).connections;
        let error = refused(&options(&wrong));
        assert_eq!(error.kind, SourceErrorKind::Unauthorized, "{error}");
        assert!(error.message.contains("password") && !error.message.contains("canary"), "{error}");
        assert!(server.stats(name).connections <= before + 2, "a wrong password is not hammered");
        let none = server.url(name).replace("viewer:canary-1@", "");
        assert_eq!(refused(&options(&none)).kind, SourceErrorKind::Unauthorized);
    }
}

#[test]
fn odd_passwords_reach_the_camera() {
    let clip = Clip::spec().seconds(4.0).make();
    let password = "p@s:s/w?r#d%1 x";
    let mounts = [
        Mount::new("basic", &clip).basic_auth("me", password),
        Mount::new("digest", &clip).digest_auth("me", password),
    ];
    let server = RtspServer::start(&mounts);
    for name in ["basic", "digest"] {
        let url = format!("rtsp://127.0.0.1:{}/{name}", server.port(name));
        let url = SourceUrl::new(url).with_credentials("me", Some(password));
        let mut source = open(&OpenOptions { url, ..options("") }).unwrap();
        assert_eq!(take(&mut *source, 3).len(), 3);
    }
}

#[test]
fn a_stream_that_is_not_there_is_named_so() {
    let clip = Clip::spec().seconds(4.0).audio(AudioCodec::Aac).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip), Mount::new("sound", &clip).without_video()]);
    for transport in [Transport::Tcp, Transport::Auto] {
        let missing = OpenOptions { transport, ..options(&format!("{}/missing", server.url("cam"))) };
        let error = refused(&missing);
        assert_eq!(error.kind, SourceErrorKind::NotFound, "{error}");
    }
    let error = refused(&options(&server.url("sound")));
    assert_eq!(error.kind, SourceErrorKind::NoVideo, "{error}");
    assert!(error.message.contains("aac"), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(&options(&format!("rtsp://u:canary@{nobody}/x")));
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert!(error.message.contains("refused") && !error.message.contains("canary"), "{error}");
}

/// A server that takes connections and says nothing.
fn silent_server() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_silent_server_costs_no_more_than_the_connect_timeout() {
    let (_listener, address) = silent_server();
    for scheme in ["rtsp", "rtsps", "http", "https"] {
        for transport in [Transport::Tcp, Transport::Auto] {
            let began = monotonic();
            let limit = Duration::from_secs(1);
            let error = refused(&OpenOptions {
                connect_timeout: limit,
                transport,
                ..options(&format!("{scheme}://{address}/live"))
            });
            assert_eq!(error.kind, SourceErrorKind::Timeout, "{error}");
            let took = began.elapsed();
            assert!(took >= limit && took < limit + Duration::from_millis(500), "{scheme} took {took:?}");
        }
    }
}

#[test]
fn a_camera_that_falls_silent_is_noticed_by_the_read_timeout() {
    let clip = Clip::spec().seconds(6.0).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip)]);
    for transport in [Transport::Tcp, Transport::Udp] {
        let limit = Duration::from_secs(1);
        let url = server.url("cam");
        let mut source = open(&OpenOptions { transport, read_timeout: limit, ..options(&url) }).unwrap();
        take(&mut *source, 20);
        server.stall("cam", true);
        let mut began = monotonic();
        let error = loop {
            match source.next() {
                Ok(_) => began = monotonic(),
                Err(error) => break error,
            }
        };
        let took = began.elapsed();
        assert_eq!(error.kind, SourceErrorKind::Timeout, "{error}");
        assert!(took < limit + Duration::from_millis(500), "{took:?}");
        let closing = monotonic();
        drop(source);
        assert!(closing.elapsed() < Duration::from_millis(1500), "closed in {:?}", closing.elapsed());
        server.stall("cam", false);
    }
}

#[test]
fn a_stream_without_keyframes_is_given_up_with_a_reason() {
    let clip = Clip::spec().seconds(6.0).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip).without_keyframes()]);
    let cancel = Cancel::new();
    let options = OpenOptions { keyframe_timeout: Duration::from_secs(3), ..options(&server.url("cam")) };
    let mut source = source::open(&options, Arc::new(Session::new(1)), &cancel).unwrap();
    let error = source.next().err().expect("no packet can be used");
    assert_eq!(error.kind, SourceErrorKind::Broken, "{error}");
    assert!(error.message.contains("keyframe"), "{error}");
    assert!(cancel.progress() > 10);
}

#[test]
fn the_end_of_a_live_stream_is_an_error() {
    let clip = Clip::spec().seconds(6.0).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip)]);
    let mut source = open(&options(&server.url("cam"))).unwrap();
    take(&mut *source, 10);
    server.kick("cam");
    let (_, error) = take_all(&mut *source);
    let error = error.expect("a cut connection is no good end");
    assert_ne!(error.kind, SourceErrorKind::Timeout, "{error}");
}

#[test]
fn timestamps_that_jump_are_bridged() {
    let clip = Clip::spec().seconds(6.0).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip)]);
    let mut source = open(&options(&server.url("cam"))).unwrap();
    let mut packets = take(&mut *source, 20);
    // An hour on, back again, and then (the server knows no time before its start) a clock that stands still.
    for seconds in [3600.0, 0.0, -1800.0] {
        server.shift_timestamps("cam", seconds);
        packets.extend(take(&mut *source, 45));
    }
    let all: Vec<_> = packets.iter().collect();
    assert_orderly(&all);
    for part in packets[19..].chunks_exact(45) {
        let span_us = part[44].pts_us() - part[0].pts_us();
        assert!((2_500_000..3_600_000).contains(&span_us), "44 pictures at 15 a second take {span_us} us");
    }
}

#[test]
fn everything_stops_at_once_when_cancelled() {
    let (_listener, address) = silent_server();
    let clip = Clip::spec().seconds(6.0).make();
    let server = RtspServer::start(&[Mount::new("cam", &clip)]);
    let long = Duration::from_secs(60);
    let patient =
        |source: &str| OpenOptions { connect_timeout: long, read_timeout: long, real_time: true, ..options(source) };
    let slow = concat_slow(&clip);
    // In open, in next, and in the wait for a file's next picture.
    for case in [format!("rtsp://{address}/live"), server.url("cam"), slow.1.to_str().unwrap().to_owned()] {
        let cancel = Cancel::new();
        let (options, seen) = (patient(&case), cancel.clone());
        let (say, hear) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let result = source::open(&options, Arc::new(Session::new(1)), &seen).map(|mut source| {
                loop {
                    match source.next() {
                        Ok(Some(_)) => say.send(()).unwrap(),
                        Ok(None) => panic!("it ended"),
                        Err(error) => break error,
                    }
                }
            });
            result.unwrap_or_else(|error| error)
        });
        if !case.contains("/live") {
            for _ in 0..3 {
                hear.recv_timeout(Duration::from_secs(10)).unwrap();
            }
            server.stall("cam", true);
        }
        let began = monotonic();
        cancel.cancel();
        assert_eq!(thread.join().unwrap().kind, SourceErrorKind::Cancelled, "{case}");
        assert!(began.elapsed() < Duration::from_millis(1500), "{case} stopped in {:?}", began.elapsed());
    }
}

/// A file that shows a picture every two seconds.
fn concat_slow(clip: &Clip) -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("slow.mkv");
    ffmpeg(&["-itsscale", "5", "-i", clip.path.to_str().unwrap(), "-c", "copy", path.to_str().unwrap()]);
    (scratch, path)
}

#[test]
fn pictures_over_http_are_stamped_as_they_arrive() {
    let clip = Clip::spec().codec(Codec::Mjpeg).seconds(4.0).make();
    let server = MjpegServer::start_with_password(&clip, "viewer", "canary-1");
    let mut source = open(&options(&server.url())).unwrap();
    let packets = take(&mut *source, 30);
    let all: Vec<_> = packets.iter().collect();
    assert_orderly(&all);
    assert!(packets.iter().all(|packet| packet.keyframe));
    assert_eq!((packets[0].stream.video.codec, packets[0].stream.video.width), (VideoCodec::Mjpeg, 320));
    let span_us = packets[29].pts_us() - packets[0].pts_us();
    assert!((1_500_000..2_500_000).contains(&span_us), "29 pictures at 15 a second: {span_us}");
    let error = refused(&options(&server.url().replace("canary-1", "canary-2")));
    assert_eq!(error.kind, SourceErrorKind::Unauthorized, "{error}");
    assert!(!error.message.contains("canary"), "{error}");
}

#[test]
fn a_device_that_is_no_camera_is_refused() {
    let error = refused(&options("97"));
    assert_eq!(error.kind, SourceErrorKind::NotFound, "{error}");
    let error = refused(&options("/dev/null"));
    assert_eq!(error.kind, SourceErrorKind::Unsupported, "{error}");
}
