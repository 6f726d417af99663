//! Recordings of real streams, judged by ffprobe and ffmpeg.

mod continuous;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::container::{Container, PlanError, ReadAt, RepairPlan, Trailer};
use super::file::{FileMeta, Finished, RecordingFile, inspect, repair};
use super::index::Index;
use super::testing::*;
use super::{Archive, avi, mkv, mp4};
use crate::domain::camera::Reason;
use crate::domain::config::{ContainerKind, SyncCadence};
use crate::domain::layout::Layout;
use crate::domain::stream::Track;
use crate::media::Packet;

fn meta() -> FileMeta {
    let start: DateTime<Utc> = "2025-11-25T10:00:00Z".parse().unwrap();
    FileMeta {
        camera: "front-door".to_owned(),
        start,
        reason: Reason::Motion,
        onset: Some(start + TimeDelta::seconds(5)),
        pre_alarm_s: Some(5.0),
    }
}

fn open(clip: &Clip, path: &Path, kind: ContainerKind) -> RecordingFile {
    RecordingFile::create(path, kind, &clip.stream, true, &meta()).unwrap()
}

const KINDS: [ContainerKind; 2] = [ContainerKind::Mp4, ContainerKind::Mkv];

/// Records the clip and leaves the file as a `kill -9` would. Gives where its fragments end.
fn record_and_kill(clip: &Clip, path: &Path, kind: ContainerKind) -> Vec<usize> {
    let mut file = open(clip, path, kind);
    let mut ends = Vec::new();
    for packet in &clip.packets {
        file.write(packet).unwrap();
        ends.push(file.bytes() as usize);
    }
    file.flush().unwrap();
    ends.push(file.bytes() as usize);
    ends.retain(|end| *end > 0);
    ends.dedup();
    ends
}

fn record(clip: &Clip, path: &Path, kind: ContainerKind) -> Finished {
    let mut file = open(clip, path, kind);
    for packet in &clip.packets {
        file.write(packet).unwrap();
    }
    file.finish().unwrap()
}

/// The clip's presentation times less the first picture's, as a recording should have them.
fn expected_times(clip: &Clip, track: Track) -> Vec<f64> {
    let zero = clip.video().next().unwrap().pts_us();
    clip.packets.iter().filter(|p| p.track == track).map(|p| (p.pts_us() - zero) as f64 / 1e6).collect()
}

#[track_caller]
fn assert_times(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (n, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= tolerance, "packet {n}: {actual} instead of {expected}");
    }
}

/// Everything that must hold of a closed recording of the whole clip.
fn assert_whole(clip: &Clip, path: &Path, tolerance: f64) {
    assert_eq!(decode(path), decode(&clip.path), "other pictures than the clip's");
    assert_times(&times(path, "v"), &expected_times(clip, Track::Video), tolerance);
    let duration: f64 = probe(path, "v", "format=duration").parse().unwrap();
    let audio_end = expected_times(clip, Track::Audio).last().map_or(0.0, |last| last + 0.15);
    let video_end = clip.duration_us() as f64 / 1e6;
    assert!(duration >= video_end - 0.001 && duration <= video_end.max(audio_end) + 0.001, "{duration} s");
    let start: f64 = probe(path, "v", "stream=start_time").parse().unwrap();
    assert!(start.abs() <= tolerance, "starts at {start}");
    // Seeking finds the keyframe before, without a complaint.
    let args = ["-xerror", "-ss", "1.5", "-i", "FILE", "-map", "0:v", "-frames:v", "3", "-f", "framemd5", "-"];
    let sought = run("ffmpeg", &args, path);
    let whole = decode(path);
    let first = sought.lines().find(|line| !line.starts_with('#')).unwrap();
    let hash = first.rsplit(',').next().unwrap().trim();
    let position = whole.iter().position(|frame| frame == hash).expect("a picture of the clip");
    assert!((37..=38).contains(&position), "seeking to 1.5 s gave picture {position}");
}

fn assert_mp4(clip: &Clip, tag: &str, audio_tag: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    record_and_kill(clip, &path, ContainerKind::Mp4);
    // Open: valid as it is.
    assert_eq!(decode(&path).len(), clip.video().count());
    assert_times(&times(&path, "v"), &expected_times(clip, Track::Video), 0.000_02);
    std::fs::remove_file(&path).unwrap();

    let finished = record(clip, &path, ContainerKind::Mp4);
    assert_eq!(finished.packets, clip.packets.len() as u64);
    assert_eq!(finished.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(finished.first_pts_us, clip.video().next().unwrap().pts_us());
    assert!((finished.end_pts_us - finished.first_pts_us - clip.duration_us()).abs() <= 1000);
    assert_whole(clip, &path, 0.000_02);
    assert_eq!(probe(&path, "v", "stream=codec_tag_string"), tag);
    if let Some(audio_tag) = audio_tag {
        assert_eq!(probe(&path, "a", "stream=codec_tag_string"), audio_tag);
        assert_times(&times(&path, "a"), &expected_times(clip, Track::Audio), 0.000_2);
    }
    let kinds: Vec<String> = top_level(&std::fs::read(&path).unwrap())
        .into_iter()
        .map(|(kind, _)| String::from_utf8(kind.to_vec()).unwrap())
        .collect();
    assert_eq!(kinds, ["ftyp", "uuid", "mdat", "moov", "free"]);
}

fn assert_mkv(clip: &Clip, audio: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mkv");
    record_and_kill(clip, &path, ContainerKind::Mkv);
    assert_eq!(decode(&path).len(), clip.video().count());
    assert_times(&times(&path, "v"), &expected_times(clip, Track::Video), 0.000_06);
    std::fs::remove_file(&path).unwrap();

    let finished = record(clip, &path, ContainerKind::Mkv);
    assert_eq!(finished.bytes, std::fs::metadata(&path).unwrap().len());
    assert!((finished.end_pts_us - finished.first_pts_us - clip.duration_us()).abs() <= 1000);
    assert_whole(clip, &path, 0.000_06);
    if audio {
        let expected: Vec<f64> = expected_times(clip, Track::Audio).into_iter().filter(|time| *time >= 0.0).collect();
        assert_times(&times(&path, "a"), &expected, 0.000_06);
    }
    let repaired = repair(&path).unwrap().unwrap();
    assert!(repaired.already_complete);
    assert_eq!((repaired.packets, repaired.meta), (finished.packets, meta()));
    let tag = probe(&path, "v", "format_tags=TARSIER");
    assert!(tag.contains("front-door"), "{tag}");
}

fn assert_avi(clip: &Clip, tag: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.avi");
    record_and_kill(clip, &path, ContainerKind::Avi);
    assert_eq!(decode(&path).len(), clip.video().count());
    let mut open = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();

    let finished = record(clip, &path, ContainerKind::Avi);
    assert_eq!(finished.packets, clip.packets.len() as u64);
    assert_eq!(finished.bytes, std::fs::metadata(&path).unwrap().len());
    assert!((finished.end_pts_us - finished.first_pts_us - clip.duration_us()).abs() <= 1000);
    assert_whole(clip, &path, 0.000_02);
    assert_eq!(probe(&path, "v", "stream=codec_tag_string,r_frame_rate"), format!("{tag},25/1"));
    let repaired = repair(&path).unwrap().unwrap();
    assert!(repaired.already_complete);
    assert_eq!((repaired.packets, repaired.meta), (finished.packets, meta()));

    // A crash costs what is torn, and the file is closed as it would have been.
    let closed = std::fs::read(&path).unwrap();
    let whole = repaired_in_memory(ContainerKind::Avi, &mut open.clone()).unwrap();
    assert_eq!(whole, finished.packets);
    for cut in (0..open.len()).rev().step_by(open.len() / 40) {
        open.truncate(cut);
        let packets = repaired_in_memory(ContainerKind::Avi, &mut open.clone()).unwrap();
        assert!(packets <= whole);
    }
    // Also one in the middle of closing.
    let front = closed.windows(4).position(|name| name == b"movi").unwrap() + 4;
    let mut half_closed = closed.clone();
    half_closed[..front].copy_from_slice(&open_front(clip)[..front]);
    assert_eq!(repaired_in_memory(ContainerKind::Avi, &mut half_closed), Some(whole));
    assert!(half_closed == closed);
}

/// The beginning of a file that is not closed.
fn open_front(clip: &Clip) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.avi");
    record_and_kill(clip, &path, ContainerKind::Avi);
    std::fs::read(&path).unwrap()
}

#[test]
fn avi_holds_mpeg4_and_mjpeg_and_survives_a_crash() {
    assert_avi(&clip("mkv", "4", MPEG4, &[]), "DIVX");
    assert_avi(&clip("mp4", "4", MJPEG, &[]), "MJPG");
}

#[test]
fn avi_and_mp4_say_what_they_do_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    for (extension, codec, kind, hint) in [
        ("mp4", H264, ContainerKind::Avi, "avi takes no h264 (set record.container to mp4 or mkv"),
        ("mkv", MPEG4, ContainerKind::Mp4, "set record.container to avi or mkv"),
    ] {
        let clip = clip(extension, "1", codec, &[]);
        let path = folder.path().join("refused");
        let error = RecordingFile::create(&path, kind, &clip.stream, true, &meta()).err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(hint), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn pictures_of_an_avi_keep_their_times_when_some_are_missing() {
    let mut clip = clip("mp4", "4", MJPEG, &[]);
    clip.packets.retain(|packet| !(1_500_000..2_500_000).contains(&packet.pts_us()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.avi");
    record(&clip, &path, ContainerKind::Avi);
    let shown: Vec<f64> = times(&path, "v");
    let expected = expected_times(&clip, Track::Video);
    assert_eq!(expected.len(), 75);
    assert!(expected.iter().all(|time| shown.iter().any(|at| (at - time).abs() < 0.001)), "{shown:?}");
    let duration: f64 = probe(&path, "v", "format=duration").parse().unwrap();
    assert!((duration - 4.0).abs() < 0.001, "{duration}");
}

#[test]
fn h264_with_b_frames_and_aac() {
    let clip = clip("mp4", "4", H264_B, AAC);
    assert_mp4(&clip, "avc1", Some("mp4a"));
    assert_mkv(&clip, true);
}

#[test]
fn h264_with_start_codes_and_parameter_sets_in_band() {
    let clip = clip("ts", "4", H264_B, &[]);
    assert_mp4(&clip, "avc1", None);
    assert_mkv(&clip, false);
}

#[test]
fn h264_with_flac() {
    let clip = clip("mp4", "4", H264, FLAC);
    assert_mp4(&clip, "avc1", Some("fLaC"));
    assert_mkv(&clip, true);
}

#[test]
fn h265_with_b_frames() {
    let clip = clip("mp4", "4", H265, &[]);
    assert_mp4(&clip, "hvc1", None);
    assert_mkv(&clip, false);
}

#[test]
fn mjpeg() {
    let clip = clip("mp4", "3", MJPEG, &[]);
    assert_mp4(&clip, "jpeg", None);
    assert_mkv(&clip, false);
}

#[test]
fn a_recording_from_the_middle_begins_at_its_keyframe() {
    let mut clip = clip("mp4", "4", H264_B, AAC);
    let keys: Vec<usize> = (0..clip.packets.len()).filter(|n| clip.packets[*n].keyframe).collect();
    clip.packets.drain(..keys[1]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let finished = record(&clip, &path, ContainerKind::Mp4);
    assert_eq!(finished.first_pts_us, clip.packets[0].pts_us());
    assert_eq!(decode(&path).len(), 75);
    assert_times(&times(&path, "v"), &expected_times(&clip, Track::Video), 0.000_02);
    assert_times(&times(&path, "a"), &expected_times(&clip, Track::Audio), 0.000_2);
    assert_eq!(probe(&path, "v", "stream=start_time"), "0.000000");
}

#[test]
fn what_was_killed_is_repaired() {
    // In H.265, pictures that no other refers to begin with a byte of zeros.
    for (encode, kind) in [H264_B, H265].into_iter().flat_map(|encode| KINDS.map(|kind| (encode, kind))) {
        let mut clip = clip("mp4", "4", encode, AAC);
        let first = clip.packets.iter().position(|packet| packet.keyframe).unwrap();
        clip.packets.drain(..first);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).with_extension(kind.extension());
        let (killed, closed) = (path("killed"), path("closed"));
        record_and_kill(&clip, &killed, kind);
        assert!(!inspect(&killed).unwrap().unwrap().already_complete);
        let repaired = repair(&killed).unwrap().unwrap();
        let finished = record(&clip, &closed, kind);
        assert_eq!((repaired.packets, repaired.cut_bytes), (finished.packets, 0));
        assert_eq!(repaired.meta, meta());
        assert_eq!((repaired.end - meta().start).num_milliseconds(), 4000);
        assert!(!repaired.already_complete);
        assert_whole(&clip, &killed, 0.000_06);
        // The same bytes as if it had been closed.
        assert!(std::fs::read(&killed).unwrap() == std::fs::read(&closed).unwrap());
        let again = repair(&killed).unwrap().unwrap();
        assert!(again.already_complete);
        assert_eq!((again.meta, again.end, again.bytes, again.packets), {
            (repaired.meta, repaired.end, repaired.bytes, repaired.packets)
        });
    }
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_plays() {
    let clip = clip("mp4", "4", H264_B, AAC);
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").with_extension(kind.extension());
        record_and_kill(&clip, &path, kind);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1000]).unwrap();
        let repaired = repair(&path).unwrap().unwrap();
        assert!(repaired.cut_bytes > 0);
        let seconds = (repaired.end - meta().start).as_seconds_f64();
        assert!((3.0..4.0).contains(&seconds), "{seconds} s");
        let pictures = decode(&path);
        // The last pictures may refer over one that was cut off.
        let certain = pictures.len() - 3;
        assert_eq!(pictures[..certain], decode(&clip.path)[..certain]);
        assert!(pictures.len() as f64 >= (seconds * 25.0).floor() - 3.0, "{} pictures", pictures.len());
    }
}

#[test]
fn a_failed_write_is_cut_back_before_the_next() {
    let clip = clip("mp4", "4", H264, &[]);
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").with_extension(kind.extension());
        let mut file = open(&clip, &path, kind);
        for (n, packet) in clip.packets.iter().enumerate() {
            file.write(packet).unwrap();
            if n == 60 {
                file.tear_for_test(b"half a fragment");
            }
        }
        let finished = file.finish().unwrap();
        assert_eq!(finished.packets, 100);
        assert_whole(&clip, &path, 0.000_06);
    }
}

/// Runs [`on_a_full_disk`] in a process that can write no file beyond a limit: that stands for the disk.
#[test]
fn a_full_disk_leaves_whole_fragments() {
    let clip = clip("mp4", "4", H264_B, &[]);
    let size_kib = std::fs::metadata(&clip.path).unwrap().len() / 1024;
    for kind in KINDS {
        for kib in [1, size_kib / 3, size_kib / 2, size_kib * 2 / 3] {
            let output = std::process::Command::new("bash")
                .args([
                    "-c",
                    "trap '' XFSZ; ulimit -f \"$1\"; exec \"$0\" --exact archive::tests::on_a_full_disk --ignored",
                ])
                .arg(std::env::current_exe().unwrap())
                .arg(kib.to_string())
                .env("TARSIER_TEST_CLIP", &clip.path)
                .env("TARSIER_TEST_EXTENSION", kind.extension())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{kib} KiB of {size_kib}: {said}");
        }
    }
}

#[test]
#[ignore = "run by a_full_disk_leaves_whole_fragments, under a limit"]
fn on_a_full_disk() {
    let clip = Clip::open(Path::new(&std::env::var("TARSIER_TEST_CLIP").unwrap()));
    let extension = std::env::var("TARSIER_TEST_EXTENSION").unwrap();
    let kind = KINDS.into_iter().find(|kind| kind.extension() == extension).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").with_extension(&extension);
    let mut file = open(&clip, &path, kind);
    let error = clip.packets.iter().find_map(|packet| file.write(packet).err()).expect("the disk gets full");
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge, "{error}");
    let bytes = file.bytes();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    let Some(finished) = file.abandon() else {
        assert!(bytes == 0 && !path.exists());
        return;
    };
    assert!(finished.packets > 0 && finished.bytes >= bytes);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), finished.bytes);
    let pictures = decode(&path);
    assert_eq!(pictures.len() as u64, finished.packets);
    if finished.complete {
        assert!(repair(&path).unwrap().unwrap().already_complete);
    }
}

#[test]
fn no_file_without_a_packet_stays() {
    let clip = clip("mp4", "1", H264, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/a.mp4");
    let file = open(&clip, &path, ContainerKind::Mp4);
    assert_eq!(file.finish().unwrap().packets, 0);
    assert!(!path.exists());
    let mut file = open(&clip, &path, ContainerKind::Mp4);
    let taken = RecordingFile::create(&path, ContainerKind::Mp4, &clip.stream, true, &meta());
    assert_eq!(taken.err().unwrap().kind(), std::io::ErrorKind::AlreadyExists);
    // Not a keyframe: nothing can begin with it.
    file.write(&clip.packets[1]).unwrap();
    assert_eq!(file.abandon(), None);
    assert!(!path.exists());
    std::fs::write(&path, b"").unwrap();
    assert_eq!(repair(&path).unwrap(), None);
    assert!(!path.exists());
}

#[test]
fn another_programs_file_is_left_alone() {
    let clip = clip("mp4", "1", H264, &[]);
    let before = std::fs::read(&clip.path).unwrap();
    let error = repair(&clip.path).unwrap_err().to_string();
    assert!(error.contains("clip.mp4: not a recording of tarsier"), "{error}");
    assert!(std::fs::read(&clip.path).unwrap() == before);
}

#[test]
fn a_slow_camera_is_not_held_back() {
    let clip = clip("mp4", "1", MJPEG, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let mut file = open(&clip, &path, ContainerKind::Mp4);
    let second = i64::from(clip.stream.video.timescale);
    let mut lengths = Vec::new();
    for n in 0..5 {
        let data = clip.packets[n as usize].data();
        file.write(&packet(&clip.stream, Track::Video, n * second, n * second, true, data)).unwrap();
        lengths.push(file.bytes());
    }
    assert!(lengths[1..].windows(2).all(|pair| pair[0] > 0 && pair[0] < pair[1]), "{lengths:?}");
    let finished = file.finish().unwrap();
    assert_eq!((finished.packets, finished.end_pts_us), (5, 5_000_000));
    assert_times(&times(&path, "v"), &[0.0, 1.0, 2.0, 3.0, 4.0], 0.0);
}

#[test]
fn a_stream_that_cannot_be_described_makes_no_file() {
    let mut stream = (*made_up_stream()).clone();
    stream.video.config_record.truncate(7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let refused = RecordingFile::create(&path, ContainerKind::Mp4, &Arc::new(stream), true, &meta());
    assert_eq!(refused.err().unwrap().kind(), std::io::ErrorKind::InvalidData);
    assert!(!path.exists());
}

/// Records in memory. Gives the open file and the closed one.
fn in_memory(container: &mut dyn Container, packets: &[Packet]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut open = Vec::new();
    for packet in packets {
        if let Some(bytes) = container.push(packet).unwrap() {
            container.written(open.len() as u64);
            open.extend(bytes);
        }
    }
    if let Some(bytes) = container.flush().unwrap() {
        container.written(open.len() as u64);
        open.extend(bytes);
    }
    if open.is_empty() {
        return None;
    }
    let trailer = container.trailer(open.len() as u64).unwrap();
    let mut closed = open.clone();
    apply(&mut closed, open.len() as u64, &trailer);
    Some((open, closed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn repair_closes_any_recording_as_it_would_have_been_closed(
        start in -1i64 << 40..1 << 40,
        steps in prop::collection::vec((any::<bool>(), 1i64..60_000, 0i64..20_000, 0u8..20, 1usize..300), 1..120),
        torn in 0usize..400,
    ) {
        let stream = made_up_stream();
        let (mut video, mut audio) = (start, start * 48 / 90);
        let packets: Vec<Packet> = steps
            .iter()
            .enumerate()
            .map(|(n, (is_video, step, composition, key, size))| {
                if *is_video || n == 0 {
                    video += step;
                    let data = [&[0, 0, 1, if *key == 0 || n == 0 { 0x65 } else { 0x41 }][..], &vec![0x88; *size]].concat();
                    packet(&stream, Track::Video, video, video + composition, *key == 0 || n == 0, &data)
                } else {
                    audio += step / 20 + 1;
                    packet(&stream, Track::Audio, audio, audio, false, &vec![0x21; *size])
                }
            })
            .collect();
        for kind in KINDS {
            let mut container: Box<dyn Container> = match kind {
                ContainerKind::Mp4 => Box::new(mp4::Mp4::new(&stream, true, &meta()).unwrap()),
                ContainerKind::Mkv => Box::new(mkv::Mkv::new(&stream, true, &meta()).unwrap()),
                ContainerKind::Avi => unreachable!("it takes no H.264"),
            };
            let (mut open, closed) = in_memory(container.as_mut(), &packets).unwrap();
            prop_assert!(matches!(plan(kind, &closed), Ok(RepairPlan::Complete(_))));
            let mut cut = open[..open.len().saturating_sub(torn)].to_vec();
            prop_assert!(repaired_in_memory(kind, &mut cut).is_some());
            prop_assert_eq!(repaired_in_memory(kind, &mut open), Some(container.extent().packets));
            prop_assert!(open == closed);
        }
    }
}

const KEY: &[u8] = &[0, 0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x65, 0x88, 0x84, 0x21];
const OTHER: &[u8] = &[0, 0, 0, 1, 9, 0x30, 0, 0, 0, 1, 0x41, 0x9a, 0x22];

/// A second of pictures in an odd rhythm, far from the clock's zero, with audio that begins `late` samples after
/// the first picture.
fn made_up(late: i64) -> Vec<Packet> {
    let stream = made_up_stream();
    let zero = 90_000 * 5_000_000;
    let mut packets = Vec::new();
    let (mut dts, mut audio) = (zero - 6000, zero / 90_000 * 48_000 + late);
    for n in 0..15 {
        // Pictures come in threes: a reference and two B-frames, two pictures late.
        let shown = [9000, 3000, 6000][n % 3];
        let (key, data) = if n == 0 { (true, KEY) } else { (false, OTHER) };
        let pts = if n == 0 { zero } else { dts + shown };
        packets.push(packet(&stream, Track::Video, dts, pts, key, data));
        dts += 6000 + [0, 7, -5][n % 3];
        while audio * 90_000 < dts * 48_000 {
            packets.push(packet(&stream, Track::Audio, audio, audio, false, &[0x21, 0x10, 4, 5]));
            audio += 1024;
        }
    }
    packets
}

/// Moves a clip to another clock of 90 kHz, far from its zero and with an odd rhythm, and its audio by so many
/// samples.
fn moved(clip: &mut Clip, late: i64) {
    let mut stream = (*clip.stream).clone();
    let scale = i64::from(stream.video.timescale);
    stream.video.timescale = 90_000;
    clip.stream = Arc::new(stream);
    let zero_s = 5_000_000;
    let video = |ticks: i64| {
        let at = zero_s * 90_000 + ticks * 90_000 / scale;
        at + (at / 3600 * 7919).rem_euclid(11)
    };
    for packet in &mut clip.packets {
        packet.stream = clip.stream.clone();
        (packet.dts, packet.pts) = match packet.track {
            Track::Video => (video(packet.dts), video(packet.pts)),
            Track::Audio => (packet.dts + late + zero_s * 48_000, packet.pts + late + zero_s * 48_000),
        };
    }
}

#[test]
fn times_are_the_sources_own_wherever_its_clock_stands() {
    for late in [-4000, 0, 30_001] {
        let mut clip = clip("mp4", "2", H264_B, AAC);
        let first = clip.packets.iter().position(|packet| packet.keyframe).unwrap();
        clip.packets.drain(..first);
        moved(&mut clip, late);
        for kind in KINDS {
            let folder = tempfile::tempdir().unwrap();
            for name in ["open", "closed"] {
                let path = folder.path().join(name).with_extension(kind.extension());
                if name == "open" {
                    record_and_kill(&clip, &path, kind);
                } else {
                    record(&clip, &path, kind);
                }
                let tolerance = if kind == ContainerKind::Mp4 { 0.000_02 } else { 0.000_06 };
                assert_times(&times(&path, "v"), &expected_times(&clip, Track::Video), tolerance);
                let mut audio = expected_times(&clip, Track::Audio);
                if kind == ContainerKind::Mkv {
                    audio.retain(|time| *time >= 0.0);
                }
                assert_times(&times(&path, "a"), &audio, tolerance);
                assert_eq!(decode(&path).len(), 50);
            }
        }
    }
}

#[test]
fn the_boxes_are_these() {
    let clip = Clip::of(made_up(-4000));
    let folder = tempfile::tempdir().unwrap();
    let (open, closed) = (folder.path().join("open.mp4"), folder.path().join("closed.mp4"));
    record_and_kill(&clip, &open, ContainerKind::Mp4);
    record(&clip, &closed, ContainerKind::Mp4);
    insta::assert_snapshot!(box_tree(&std::fs::read(&open).unwrap()), @r"
    ftyp 32
    uuid 145
    free 16
    moov 1212
      mvhd 120
      mvex 72
        trex 32
        trex 32
      trak 540
        tkhd 104
        mdia 392
          mdhd 44
          hdlr 45
          minf 295
            dinf 36
              dref 28
            stbl 231
              stsd 155
              stts 16
              stsc 16
              stsz 20
              stco 16
            vmhd 20
        edts 36
          elst 28
      trak 472
        tkhd 104
        mdia 324
          mdhd 44
          hdlr 45
          minf 227
            dinf 36
              dref 28
            stbl 167
              stsd 91
              stts 16
              stsc 16
              stsz 20
              stco 16
            smhd 16
        edts 36
          elst 28
    moof 696
      mfhd 16
      traf 192
        tfhd 16
        tfdt 20
        trun 148
      traf 480
        tfhd 16
        tfdt 20
        trun 436
    mdat 169
    moof 616
      mfhd 16
      traf 176
        tfhd 16
        tfdt 20
        trun 132
      traf 416
        tfhd 16
        tfdt 20
        trun 372
    mdat 145
    ");
    insta::assert_snapshot!(box_tree(&std::fs::read(&closed).unwrap()), @r"
    ftyp 32
    uuid 145
    mdat 2854
    moov 1732
      mvhd 120
      trak 900
        tkhd 104
        mdia 752
          mdhd 44
          hdlr 45
          minf 655
            dinf 36
              dref 28
            stbl 591
              stsd 155
              stts 128
              stsc 40
              stsz 80
              ctts 136
              stss 20
              stco 24
            vmhd 20
        edts 36
          elst 28
      trak 704
        tkhd 104
        mdia 556
          mdhd 44
          hdlr 45
          minf 459
            dinf 36
              dref 28
            stbl 399
              stsd 91
              stts 24
              stsc 40
              stsz 212
              stco 24
            smhd 16
        edts 36
          elst 28
    free 16
    ");
}

#[test]
fn the_description_is_what_browsers_want() {
    use mp4_atom::{Atom, Codec, Moov};
    let clip = Clip::of(made_up(30_001));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    record(&clip, &path, ContainerKind::Mp4);
    let bytes = std::fs::read(&path).unwrap();
    let (_, range) = top_level(&bytes).into_iter().find(|(kind, _)| kind == b"moov").unwrap();
    let moov = Moov::decode_body(&mut &bytes[range.start + 8..range.end]).unwrap();
    let [video, audio] = moov.trak.as_slice() else { panic!("two tracks") };
    let Codec::Avc1(avc1) = &video.mdia.minf.stbl.stsd.codecs[0] else { panic!("avc1") };
    assert_eq!((avc1.avcc.length_size, avc1.avcc.sequence_parameter_sets.len()), (4, 1));
    assert!(moov.mvex.is_none());
    // 15 pictures of 6000 ticks, and what the rhythm adds; the first is shown 6000 ticks after it is decoded.
    assert_eq!(moov.mvhd.timescale, 90_000);
    let edits = |trak: &mp4_atom::Trak| {
        let list = trak.edts.clone().unwrap().elst.unwrap();
        list.entries.iter().map(|edit| (edit.segment_duration, edit.media_time)).collect::<Vec<_>>()
    };
    let [(shown, Some(6000))] = edits(video)[..] else { panic!("{:?}", edits(video)) };
    assert_eq!((video.tkhd.duration, video.mdia.mdhd.timescale), (shown, 90_000));
    // The audio comes 30 001 of 48 000 later.
    let [(56_252, None), (sounds, Some(0))] = edits(audio)[..] else { panic!("{:?}", edits(audio)) };
    assert_eq!(audio.tkhd.duration, 56_252 + sounds);
    assert_eq!(moov.mvhd.duration, video.tkhd.duration.max(audio.tkhd.duration));
}

/// Does to bytes in memory what `repair` does to a file.
fn apply(bytes: &mut Vec<u8>, keep: u64, trailer: &Trailer) {
    bytes.truncate(keep as usize);
    bytes.extend_from_slice(&trailer.append);
    for (at, patch) in &trailer.patches {
        bytes[*at as usize..*at as usize + patch.len()].copy_from_slice(patch);
    }
}

/// A small recording's bytes, where its fragments end, and how many packets it holds.
fn small_file(kind: ContainerKind, closed: bool) -> (Vec<u8>, Vec<usize>, u64) {
    let small = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-vf", "scale=64:48"];
    let clip = clip("mp4", "3", &small, AAC);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").with_extension(kind.extension());
    let ends = record_and_kill(&clip, &path, kind);
    let open = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let finished = record(&clip, &path, kind);
    (if closed { std::fs::read(&path).unwrap() } else { open }, ends, finished.packets)
}

fn plan(kind: ContainerKind, bytes: &Vec<u8>) -> Result<RepairPlan, PlanError> {
    match kind {
        ContainerKind::Mp4 => mp4::plan_repair(bytes),
        ContainerKind::Mkv => mkv::plan_repair(bytes),
        ContainerKind::Avi => avi::plan_repair(bytes),
    }
}

/// Plans, does it, and checks that nothing is left to do. Gives the packets found.
fn repaired_in_memory(kind: ContainerKind, bytes: &mut Vec<u8>) -> Option<u64> {
    match plan(kind, bytes).ok()? {
        RepairPlan::Delete => Some(0),
        RepairPlan::Complete(found) => Some(found.packets),
        RepairPlan::Finish { found, keep, trailer } => {
            assert!(keep <= bytes.size().unwrap());
            apply(bytes, keep, &trailer);
            let again = plan(kind, bytes).unwrap();
            let RepairPlan::Complete(after) = again else { panic!("not idempotent: {again:?}") };
            assert_eq!((after.packets, &after.meta), (found.packets, &found.meta));
            assert!((after.duration_us - found.duration_us).abs() <= 1);
            Some(found.packets)
        }
    }
}

#[test]
fn every_truncation_is_repaired_with_all_whole_fragments() {
    for kind in KINDS {
        let (bytes, ends, packets) = small_file(kind, false);
        let mut before = 0;
        for length in 0..=bytes.len() {
            // All lengths around the ends of fragments, and a sample of the rest.
            let near = ends.iter().any(|end| end.abs_diff(length) < 40);
            if length > 3000 && !near && length % 97 != 0 {
                continue;
            }
            let mut torn = bytes[..length].to_vec();
            let found = repaired_in_memory(kind, &mut torn).unwrap_or_else(|| panic!("refused at {length}"));
            assert!(found >= before, "{found} packets at {length}, {before} before");
            assert_eq!(found > 0, length >= ends[0], "at {length}");
            assert!(found == before || ends.contains(&length), "at {length}, in the middle of a fragment");
            before = found;
        }
        assert_eq!(before, packets);
    }
}

#[test]
fn a_kill_while_closing_is_finished() {
    for kind in KINDS {
        let (open, _, packets) = small_file(kind, false);
        let (closed, _, _) = small_file(kind, true);
        assert!(closed.len() > open.len());
        for length in (open.len()..=closed.len()).step_by(7).chain([closed.len()]) {
            // What is appended is there (in part), the beginning is not changed yet ...
            let mut unpatched = closed[..length].to_vec();
            unpatched[..open.len()].copy_from_slice(&open);
            assert_eq!(repaired_in_memory(kind, &mut unpatched), Some(packets));
            assert!(unpatched == closed, "at {length}");
            // ... or, after a power cut, is changed although not all is appended, or is there as zeros.
            let mut patched = closed[..length].to_vec();
            assert_eq!(repaired_in_memory(kind, &mut patched), Some(packets));
            assert!(patched == closed, "at {length}");
            let mut zeros = closed[..length].to_vec();
            zeros.resize(closed.len(), 0);
            assert_eq!(repaired_in_memory(kind, &mut zeros), Some(packets));
            assert!(zeros == closed, "zeros at {length}");
        }
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    for kind in KINDS {
        let (mut bytes, ends, packets) = small_file(kind, false);
        // The fragment's description is there, its data is not.
        bytes[ends[2] + 1000..].fill(0);
        let found = repaired_in_memory(kind, &mut bytes).unwrap();
        assert!(found > packets * 2 / 5 && found < packets * 4 / 5, "{found} of {packets}");
        assert_eq!(repaired_in_memory(kind, &mut vec![0; 10_000]), Some(0));
    }
}

#[test]
fn damage_in_the_middle_costs_only_what_is_damaged() {
    for kind in KINDS {
        let (mut bytes, ends, packets) = small_file(kind, false);
        let middle = ends[2];
        bytes[middle..middle + 30].fill(0xa5);
        let found = repaired_in_memory(kind, &mut bytes).unwrap();
        assert!(found < packets && found > packets * 3 / 4, "{found} of {packets}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").with_extension(kind.extension());
        std::fs::write(&path, &bytes).unwrap();
        let duration = probe(&path, "v", "format=duration");
        assert!(duration.starts_with("3.0"), "{duration}");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for (kind, closed) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let (bytes, ends, _) = small_file(kind, closed);
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..1500 {
            let mut damaged = bytes.clone();
            for _ in 0..random.usize(1..4) {
                // Mostly in the descriptions.
                let at = match random.u8(0..4) {
                    0 => random.usize(..bytes.len()),
                    1 => ends[random.usize(..ends.len())] + random.usize(..500),
                    2 => bytes.len() - 1 - random.usize(..1000),
                    _ => random.usize(..1500),
                };
                let Some(byte) = damaged.get_mut(at) else { continue };
                *byte = if round % 2 == 0 { random.u8(..) } else { *byte ^ 1 << random.u8(0..8) };
            }
            repaired_in_memory(kind, &mut damaged);
        }
    }
}

#[test]
fn garbage_is_no_recording() {
    let mut random = fastrand::Rng::with_seed(11);
    for kind in KINDS {
        for length in [1, 7, 8, 36, 100, 5000] {
            let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(1..)).collect();
            assert_eq!(repaired_in_memory(kind, &mut bytes), None);
        }
    }
}

#[test]
fn two_recordings_in_one_second_have_two_names_in_summer_and_in_winter_time() {
    let clip = clip("mp4", "1", H264, &[]);
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::parse("{camera}/{trigger}/%Y-%m-%dT%H%M%S").unwrap().in_zone("Europe/Berlin".parse().unwrap());
    let index = Index::open(root.path()).unwrap();
    let archive = Archive::start(root.path(), layout, SyncCadence::Never, index).unwrap();
    // The second and third share a second; the fourth comes an hour later, when clocks have been put back.
    let starts = ["2024-10-27T00:29:59Z", "2024-10-27T00:30:00.1Z", "2024-10-27T00:30:00.9Z", "2024-10-27T01:30:00Z"];
    let names: Vec<String> = starts
        .iter()
        .map(|start| {
            let meta = FileMeta { start: start.parse().unwrap(), ..meta() };
            let (mut file, name) = archive.create_file(&meta, ContainerKind::Mp4, &clip.stream, false).unwrap();
            clip.packets.iter().for_each(|packet| file.write(packet).unwrap());
            file.finish().unwrap();
            name
        })
        .collect();
    let stem = "front-door/motion/2024-10-27T02";
    assert_eq!(names, ["2959.mp4", "3000.mp4", "3000_2.mp4", "3000_3.mp4"].map(|end| format!("{stem}{end}")));
    assert!(names.iter().all(|name| root.path().join(name).metadata().unwrap().len() > 0));
    archive.stop();
}
