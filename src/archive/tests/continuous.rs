//! Continuous recording is cut into files, and what the camera sent is in them once, all of it and in order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::archive::{CameraRecorder, RecorderSettings};
use crate::clock;
use crate::domain::camera::Counters;
use crate::domain::config::{AudioMode, RecordMode};
use crate::domain::recorder::RecorderConfig;
use crate::domain::ring::RingBounds;
use crate::media::PacketRing;
use crate::media::packet::Session;
use crate::pool::Pool;

use super::*;

const GOP: [&str; 6] = ["-g", "12", "-keyint_min", "12", "-sc_threshold", "0"];

/// Hashes of a file's packets by track.
fn hashes(path: &Path) -> [Vec<String>; 2] {
    ["v", "a"].map(|track| {
        let packets = probe_packets(path, track, "data_hash");
        packets.iter().map(|packet| packet["data_hash"].as_str().unwrap().to_owned()).collect()
    })
}

/// Sends a clip through ring and recorder into files of a second and a half, of which the recorder hears after each
/// so many packets; gives them in order.
fn record_continuously(clip: &Clip, kind: ContainerKind, root: &Path, told_after: usize) -> Vec<std::path::PathBuf> {
    let layout = Layout::parse("{camera}/%Y-%m-%dT%H%M%S").unwrap();
    let index = Index::open(root).unwrap();
    let archive = Archive::start(root, layout, SyncCadence::Never, index.clone()).unwrap();
    let ring = Arc::new(PacketRing::new(RingBounds { keep_us: 200_000_000, max_bytes: 1 << 30 }));
    let decisions = RecorderConfig {
        mode: RecordMode::Continuous,
        pre_alarm_us: 0,
        minimal_duration_us: 0,
        max_file_us: 1_000_000,
    };
    let settings = RecorderSettings {
        decisions,
        schedule: None,
        container: kind,
        audio: AudioMode::Auto,
        encode: None,
        shows: None,
        detects: false,
    };
    let counters = Arc::new(Counters::default());
    let pool = Pool::start(1).unwrap();
    let recorder =
        CameraRecorder::new("yard", settings, Arc::clone(&archive), pool, Arc::clone(&ring), counters.clone());
    let producer = ring.admit();
    for (at, packet) in clip.packets.iter().enumerate() {
        let packet = Packet {
            session: packet.session.clone(),
            stream: packet.stream.clone(),
            track: packet.track,
            keyframe: packet.keyframe,
            dts: packet.dts,
            pts: packet.pts,
            payload: ffmpeg_next::Packet::copy(packet.data()),
            length_prefixed: packet.length_prefixed,
        };
        ring.push(producer, Arc::new(packet));
        if (at + 1) % told_after == 0 {
            recorder.notice();
        }
    }
    recorder.close();
    let began = clock::monotonic();
    while !recorder.is_closed() {
        assert!(began.elapsed() < Duration::from_secs(60), "the recorder never ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(index.flush());
    let mut rows = index.walk(0, 1000).unwrap();
    rows.sort_by_key(|row| (row.start, row.id));
    assert!(rows.iter().all(|row| row.complete));
    assert_eq!(counters.packets_dropped.load(Ordering::Relaxed), 0);
    archive.stop();
    rows.iter().map(|row| root.join(&row.path)).collect()
}

#[track_caller]
fn assert_all_is_there_once(clip: &Clip, kind: ContainerKind, tracks: &[usize]) {
    let root = tempfile::tempdir().unwrap();
    let files = record_continuously(clip, kind, root.path(), 1);
    assert!(files.len() > 100, "{} files", files.len());
    let source = hashes(&clip.path);
    let mut found = [Vec::new(), Vec::new()];
    for file in &files {
        let [video, audio] = hashes(file);
        // Two or three GOPs.
        assert!(video.len() == 36 || file == files.last().unwrap(), "{}: {} pictures", file.display(), video.len());
        found[0].extend(video);
        found[1].extend(audio);
    }
    for track in tracks {
        let first = found[*track].first().expect("a packet");
        // Sound may begin before the first picture.
        let before = source[*track].iter().position(|hash| hash == first).expect("one of the source's");
        assert!(before <= 2 * track, "{before} packets are missing at the start");
        assert_eq!(found[*track].len(), source[*track].len() - before);
        let differs = found[*track].iter().zip(&source[*track][before..]).position(|(found, source)| found != source);
        assert_eq!(differs, None, "track {track}");
    }
}

#[test]
fn over_a_hundred_cuts_no_packet_is_missing_or_doubled() {
    let clip = clip("mp4", "150", &[H264, &GOP].concat(), AAC);
    assert_all_is_there_once(&clip, ContainerKind::Mp4, &[0, 1]);
}

#[test]
fn over_a_hundred_cuts_no_packet_is_missing_or_doubled_in_matroska() {
    let clip = clip("mp4", "150", &[H264, &GOP].concat(), AAC);
    assert_all_is_there_once(&clip, ContainerKind::Mkv, &[0]);
}

#[test]
fn over_a_hundred_cuts_no_packet_is_missing_or_doubled_where_pictures_are_reordered() {
    let clip = clip("mp4", "150", &[H264_B, &GOP].concat(), AAC);
    assert_all_is_there_once(&clip, ContainerKind::Mp4, &[0, 1]);
}

#[test]
fn connections_that_came_and_went_before_the_disk_took_anything_are_all_recorded() {
    let mut clip = clip("mp4", "6", &[H264, &GOP].concat(), &[]);
    let sessions = [1, 2, 3].map(|id| Arc::new(Session::new(id)));
    for (at, packet) in clip.packets.iter_mut().enumerate() {
        packet.session = Arc::clone(&sessions[at / 48 % 3]);
    }
    clip.packets.truncate(3 * 48);
    let root = tempfile::tempdir().unwrap();
    let files = record_continuously(&clip, ContainerKind::Mp4, root.path(), usize::MAX);
    let found: Vec<String> = files.iter().flat_map(|file| hashes(file)[0].clone()).collect();
    assert_eq!(found, hashes(&clip.path)[0][..3 * 48]);
}
