//! Recordings of real streams, judged by ffprobe and ffmpeg.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::container::{ReadAt, RepairPlan, Trailer};
use super::file::{FileMeta, Finished, RecordingFile, inspect, repair};
use super::mp4::plan_repair;
use super::testing::*;
use crate::domain::camera::Reason;
use crate::domain::config::ContainerKind;
use crate::domain::stream::Track;
use crate::media::Packet;

fn meta() -> FileMeta {
    let start: DateTime<Utc> = "2026-11-25T10:00:00Z".parse().unwrap();
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

/// Records the clip and leaves the file as a `kill -9` would.
fn record_and_kill(clip: &Clip, path: &Path, kind: ContainerKind) {
    let mut file = open(clip, path, kind);
    for packet in &clip.packets {
        file.write(packet).unwrap();
    }
    file.flush().unwrap();
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
    assert_eq!(kinds, ["ftyp", "uuid", "mdat", "moov"]);
}

#[test]
fn h264_with_b_frames_and_aac() {
    assert_mp4(&clip("mp4", "4", H264_B, AAC), "avc1", Some("mp4a"));
}

#[test]
fn h264_with_start_codes_and_parameter_sets_in_band() {
    assert_mp4(&clip("ts", "4", H264_B, &[]), "avc1", None);
}

#[test]
fn h264_with_flac() {
    assert_mp4(&clip("mp4", "4", H264, FLAC), "avc1", Some("fLaC"));
}

#[test]
fn h265_with_b_frames() {
    assert_mp4(&clip("mp4", "4", H265, &[]), "hvc1", None);
}

#[test]
fn mjpeg() {
    assert_mp4(&clip("mp4", "3", MJPEG, &[]), "jpeg", None);
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
    let clip = clip("mp4", "4", H264_B, AAC);
    let folder = tempfile::tempdir().unwrap();
    let (killed, closed) = (folder.path().join("killed.mp4"), folder.path().join("closed.mp4"));
    record_and_kill(&clip, &killed, ContainerKind::Mp4);
    assert!(!inspect(&killed).unwrap().unwrap().already_complete);
    let repaired = repair(&killed).unwrap().unwrap();
    assert_eq!((repaired.packets, repaired.cut_bytes), (clip.packets.len() as u64, 0));
    assert_eq!(repaired.meta, meta());
    assert_eq!((repaired.end - meta().start).num_milliseconds(), 4000);
    assert!(!repaired.already_complete);
    assert_whole(&clip, &killed, 0.000_02);
    // The same bytes as if it had been closed.
    record(&clip, &closed, ContainerKind::Mp4);
    assert!(std::fs::read(&killed).unwrap() == std::fs::read(&closed).unwrap());
    let again = repair(&killed).unwrap().unwrap();
    assert!(again.already_complete);
    assert_eq!((again.meta, again.end, again.bytes, again.packets), {
        (repaired.meta, repaired.end, repaired.bytes, repaired.packets)
    });
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_plays() {
    let clip = clip("mp4", "4", H264_B, AAC);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    record_and_kill(&clip, &path, ContainerKind::Mp4);
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

#[test]
fn a_full_disk_leaves_whole_fragments() {
    // A file of limited size stands for the disk.
    let clip = clip("mp4", "4", H264, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let mut file = open(&clip, &path, ContainerKind::Mp4);
    let mut written = 0;
    for (n, packet) in clip.packets.iter().enumerate() {
        file.write(packet).unwrap();
        if n == 60 {
            written = file.bytes();
            // What a short write leaves behind.
            file.tear_for_test(b"half a fragment");
        }
    }
    assert!(written > 0);
    let finished = file.finish().unwrap();
    assert_eq!(finished.packets, 100);
    assert_whole(&clip, &path, 0.000_02);
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

/// Does to bytes in memory what `repair` does to a file.
fn apply(bytes: &mut Vec<u8>, keep: u64, trailer: &Trailer) {
    bytes.truncate(keep as usize);
    bytes.extend_from_slice(&trailer.append);
    for (at, patch) in &trailer.patches {
        bytes[*at as usize..*at as usize + patch.len()].copy_from_slice(patch);
    }
}

fn small_file(closed: bool) -> (Vec<u8>, Vec<Packet>) {
    let small = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-vf", "scale=64:48"];
    let mut clip = clip("mp4", "3", &small, AAC);
    let first = clip.packets.iter().position(|packet| packet.keyframe).unwrap();
    clip.packets.drain(..first);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    if closed {
        record(&clip, &path, ContainerKind::Mp4);
    } else {
        record_and_kill(&clip, &path, ContainerKind::Mp4);
    }
    (std::fs::read(&path).unwrap(), clip.packets)
}

/// Plans, does it, and checks that nothing is left to do. Gives the packets found.
fn repaired_in_memory(bytes: &mut Vec<u8>) -> Option<u64> {
    match plan_repair(bytes).ok()? {
        RepairPlan::Delete => Some(0),
        RepairPlan::Complete(found) => Some(found.packets),
        RepairPlan::Finish { found, keep, trailer } => {
            assert!(keep <= bytes.size().unwrap());
            apply(bytes, keep, &trailer);
            let again = plan_repair(bytes).unwrap();
            let RepairPlan::Complete(after) = again else { panic!("not idempotent: {again:?}") };
            assert_eq!((after.packets, &after.meta), (found.packets, &found.meta));
            assert!((after.duration_us - found.duration_us).abs() <= 1);
            Some(found.packets)
        }
    }
}

#[test]
fn every_truncation_is_repaired_with_all_whole_fragments() {
    let (bytes, packets) = small_file(false);
    let fragment_ends: Vec<usize> =
        top_level(&bytes).into_iter().filter(|(kind, _)| kind == b"mdat").map(|(_, range)| range.end).collect();
    let mut before = 0;
    for length in 0..=bytes.len() {
        // All lengths around the ends of boxes, and a sample of the rest.
        let near = fragment_ends.iter().any(|end| end.abs_diff(length) < 40);
        if length > 3000 && !near && length % 97 != 0 {
            continue;
        }
        let mut torn = bytes[..length].to_vec();
        let found = repaired_in_memory(&mut torn).unwrap_or_else(|| panic!("refused at {length}"));
        assert!(found >= before, "{found} packets at {length}, {before} before");
        assert_eq!(found > 0, length >= fragment_ends[0], "at {length}");
        before = found;
    }
    assert_eq!(before, packets.len() as u64);
}

#[test]
fn a_kill_while_closing_is_finished() {
    let (open, packets) = small_file(false);
    let (closed, _) = small_file(true);
    assert!(closed.len() > open.len());
    let free_at = top_level(&open).into_iter().find(|(kind, _)| kind == b"free").unwrap().1;
    for length in (open.len()..=closed.len()).step_by(7).chain([closed.len()]) {
        // The moov is (partly) appended, the header is not changed yet ...
        let mut bytes = closed[..length].to_vec();
        bytes[free_at.clone()].copy_from_slice(&open[free_at.clone()]);
        let mut unpatched = bytes.clone();
        assert_eq!(repaired_in_memory(&mut unpatched), Some(packets.len() as u64));
        assert!(unpatched == closed, "at {length}");
        // ... or, after a power cut, is changed although the moov is not all there, or is there as zeros.
        let mut patched = closed[..length].to_vec();
        assert_eq!(repaired_in_memory(&mut patched), Some(packets.len() as u64));
        assert!(patched == closed, "at {length}");
        let mut zeros = closed[..length].to_vec();
        zeros.resize(closed.len(), 0);
        assert_eq!(repaired_in_memory(&mut zeros), Some(packets.len() as u64));
        assert!(zeros == closed, "zeros at {length}");
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let (bytes, packets) = small_file(false);
    let fragments: Vec<usize> =
        top_level(&bytes).into_iter().filter(|(kind, _)| kind == b"mdat").map(|(_, range)| range.start).collect();
    let mut torn = bytes.clone();
    torn[fragments[3] + 8..].fill(0);
    let found = repaired_in_memory(&mut torn).unwrap();
    assert!(found > 0 && found < packets.len() as u64 * 4 / 5, "{found} of {}", packets.len());
    assert_eq!(repaired_in_memory(&mut vec![0; 10_000]), Some(0));
}

#[test]
fn damage_in_the_middle_costs_only_what_is_damaged() {
    let (mut bytes, packets) = small_file(false);
    let moofs: Vec<_> = top_level(&bytes).into_iter().filter(|(kind, _)| kind == b"moof").collect();
    let middle = moofs[moofs.len() / 2].1.clone();
    bytes[middle.start..middle.start + 30].fill(0xa5);
    let found = repaired_in_memory(&mut bytes).unwrap() as usize;
    assert!(found < packets.len() && found > packets.len() * 3 / 4, "{found} of {}", packets.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    std::fs::write(&path, &bytes).unwrap();
    let args = ["-i", "FILE", "-map", "0:v", "-f", "null", "-"];
    let _ = std::process::Command::new("ffmpeg").args(args).output();
    assert!(probe(&path, "v", "format=duration").starts_with("3.0"));
}

#[test]
fn flipped_bytes_never_panic() {
    for closed in [false, true] {
        let (bytes, _) = small_file(closed);
        let mut random = fastrand::Rng::with_seed(7);
        let boxes: Vec<_> = top_level(&bytes).into_iter().filter(|(kind, _)| kind != b"mdat").collect();
        for round in 0..3000 {
            let mut damaged = bytes.clone();
            for _ in 0..random.usize(1..4) {
                // Mostly in the descriptions.
                let range = match random.u8(0..4) {
                    0 => 0..bytes.len(),
                    _ => boxes[random.usize(..boxes.len())].1.clone(),
                };
                let at = random.usize(range);
                damaged[at] = if round % 2 == 0 { random.u8(..) } else { damaged[at] ^ 1 << random.u8(0..8) };
            }
            repaired_in_memory(&mut damaged);
        }
    }
}

#[test]
fn garbage_is_no_recording() {
    let mut random = fastrand::Rng::with_seed(11);
    for length in [1, 7, 8, 36, 100, 5000] {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(1..)).collect();
        assert_eq!(repaired_in_memory(&mut bytes), None);
    }
}
