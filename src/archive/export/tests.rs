//! Stretches of real streams over several files, judged packet by packet by ffprobe.

use super::*;
use crate::archive::file::{FileMeta, RecordingFile};
use crate::archive::testing::*;
use crate::domain::camera::Reason;
use crate::domain::config::ContainerKind;
use crate::domain::config::ContainerKind::{Avi, Mkv, Mp4};
use crate::media::Packet;

fn at_us(us: i64) -> DateTime<Utc> {
    "2026-01-31T08:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::microseconds(us)
}

struct Place {
    folder: tempfile::TempDir,
    index: Index,
}

/// A packet as ffprobe reads it.
#[derive(Clone, Debug, PartialEq)]
struct Probed {
    us: i64,
    hash: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(folder.path()).unwrap();
        Place { folder, index }
    }

    /// Records the packets as the camera `yard`, its first picture at `start_us`. Open ones are left as while they
    /// are written.
    fn record(&self, packets: &[Packet], kind: ContainerKind, start_us: i64, closed: bool) {
        let (id, start) = (self.index.next_id(), at_us(start_us));
        let path = format!("yard/{id}.{}", kind.extension());
        let reason = Reason::Continuous;
        let meta = FileMeta { camera: "yard".into(), start, reason, onset: None, pre_alarm_s: None };
        let full = self.folder.path().join(&path);
        let mut file = RecordingFile::create(&full, kind, &packets[0].stream, true, &meta).unwrap();
        packets.iter().for_each(|packet| file.write(packet).unwrap());
        file.flush().unwrap();
        let (extent, mut end) = (file.extent(), None);
        if closed {
            file.finish().unwrap();
            end = Some(start + TimeDelta::microseconds(extent.end_pts_us - extent.first_pts_us));
        }
        self.index.put(Recording {
            id,
            camera: "yard".into(),
            start,
            end,
            pre_alarm_s: None,
            bytes: 0,
            path,
            motion_s: 0.0,
            complete: closed,
            reason,
        });
        assert!(self.index.flush());
    }

    fn plan(&self, from_us: i64, to_us: i64) -> Result<Export, ExportError> {
        Export::plan(self.folder.path(), &self.index, "yard", at_us(from_us), at_us(to_us))
    }

    fn export(&self, from_us: i64, to_us: i64) -> PathBuf {
        let mut bytes = Vec::new();
        self.plan(from_us, to_us)
            .unwrap()
            .write(&mut |piece| {
                assert!(piece.len() < 5 << 20, "a piece of {} bytes", piece.len());
                bytes.extend(piece);
                ControlFlow::Continue(())
            })
            .unwrap();
        let path = self.folder.path().join("export.mp4");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn seconds(value: &serde_json::Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn probed(path: &Path, track: &str) -> Vec<Probed> {
    let probed = |packet: &serde_json::Value| Probed {
        us: (seconds(&packet["pts_time"]) * 1e6).round() as i64,
        hash: packet["data_hash"].as_str().unwrap().to_owned(),
    };
    probe_packets(path, track, "data_hash").iter().map(probed).collect()
}

fn decode_times(path: &Path, track: &str) -> Vec<f64> {
    probe_packets(path, track, "dts_time").iter().map(|packet| seconds(&packet["dts_time"])).collect()
}

/// Cuts a stream at keyframes into files of so many at least.
fn cut(packets: &[Packet], least_us: i64) -> Vec<&[Packet]> {
    let mut cuts = vec![0];
    let mut since = packets[0].pts_us();
    for (n, packet) in packets.iter().enumerate() {
        if packet.keyframe && packet.track == Track::Video && packet.pts_us() - since >= least_us {
            cuts.push(n);
            since = packet.pts_us();
        }
    }
    cuts.push(packets.len());
    cuts.windows(2).map(|pair| &packets[pair[0]..pair[1]]).collect()
}

fn first_pts_us(packets: &[Packet]) -> i64 {
    packets.iter().find(|packet| packet.track == Track::Video && packet.keyframe).unwrap().pts_us()
}

/// The whole clip as files of 3 s, the last one open.
fn in_files(clip: &Clip, kinds: &[ContainerKind]) -> Place {
    let place = Place::new();
    let zero = first_pts_us(&clip.packets);
    let files = cut(&clip.packets, 3_000_000);
    assert!(files.len() >= 4);
    for (n, packets) in files.iter().enumerate() {
        let start_us = first_pts_us(packets) - zero;
        place.record(packets, kinds[n % kinds.len()], start_us, n + 1 < files.len());
    }
    place
}

/// What the export of `from_us..to_us` must hold of the clip: times from `from_us` on.
fn expected(clip: &Clip, from_us: i64, to_us: i64) -> (Vec<Probed>, Vec<Probed>) {
    let zero = first_pts_us(&clip.packets);
    let video = probed(&clip.path, "v");
    let audio = probed(&clip.path, "a");
    let source: Vec<&Packet> = clip.video().collect();
    assert_eq!(source.len(), video.len());
    let time = |packet: &Packet| packet.pts_us() - zero;
    let key = source.iter().rposition(|packet| packet.keyframe && time(packet) <= from_us).unwrap();
    let of = |packet: &Packet, probed: &Probed| Probed { us: time(packet) - from_us, hash: probed.hash.clone() };
    let pairs = source.iter().zip(&video).skip(key);
    let video = pairs.filter(|(packet, _)| time(packet) < to_us).map(|(packet, probed)| of(packet, probed)).collect();
    let sounds = clip.packets.iter().filter(|packet| packet.track == Track::Audio);
    let audio = sounds
        .zip(&audio)
        .filter(|(packet, _)| time(packet) > from_us - 21_334 && time(packet) < to_us)
        .map(|(packet, probed)| of(packet, probed))
        .collect();
    (video, audio)
}

#[track_caller]
fn assert_same(what: &str, found: &[Probed], expected: &[Probed], tolerance_us: i64) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found.hash != expected.hash);
    assert!(
        differs.is_none() && found.len() == expected.len(),
        "{what}: {} packets and not {}, others from {differs:?} on: {:?} {:?}",
        found.len(),
        expected.len(),
        found.last(),
        expected.last(),
    );
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found.us - expected.us).abs() <= tolerance_us, "{what}: packet {n} of {found:?} and not {expected:?}");
    }
}

#[track_caller]
fn assert_exact(clip: &Clip, kinds: &[ContainerKind], from_us: i64, to_us: i64, tolerance_us: i64) {
    let place = in_files(clip, kinds);
    let path = place.export(from_us, to_us);
    let (video, audio) = expected(clip, from_us, to_us);
    let found = probed(&path, "v");
    // Pictures after the end may be needed by those before it.
    let more = found.len().saturating_sub(video.len());
    assert!(more <= 5, "{more} pictures more than asked for");
    let kept: Vec<Probed> = found.iter().filter(|packet| packet.us < to_us - from_us - tolerance_us).cloned().collect();
    assert_same("video", &kept, &video, tolerance_us);
    assert_same("audio", &probed(&path, "a"), &audio, tolerance_us);
    for track in ["v", "a"] {
        let times = decode_times(&path, track);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{track}: {times:?}");
    }
    decode(&path);
}

#[test]
fn a_stretch_over_several_files_has_exactly_the_packets_of_the_source() {
    let plain = clip("mp4", "13", H264, AAC);
    assert_exact(&plain, &[Mp4], 1_730_000, 10_110_000, 100);
    assert_exact(&plain, &[Mkv], 1_730_000, 10_110_000, 500);
    assert_exact(&plain, &[Mkv, Mp4], 4_200_000, 12_010_000, 500);
    let with_b = clip("mp4", "13", H264_B, AAC);
    assert_exact(&with_b, &[Mp4], 3_510_000, 11_500_000, 100);
    // Matroska leaves the sound out that is before a file's first picture.
    let silent = clip("mp4", "13", H264_B, &[]);
    assert_exact(&silent, &[Mp4, Mkv], 2_900_000, 12_300_000, 500);
}

#[test]
fn other_codecs_are_stitched_too() {
    for (extension, video, audio, kind) in [
        ("mp4", H265, AAC, Mp4),
        ("mp4", H265, &[], Mkv),
        ("mp4", MJPEG, &[], Mp4),
        ("mp4", MJPEG, &[], Mkv),
        ("mp4", MJPEG, &[], Avi),
    ] {
        assert_exact(&clip(extension, "13", video, audio), &[kind], 3_330_000, 10_110_000, 600);
    }
}

#[test]
fn what_no_mp4_holds_is_said() {
    for kind in [Avi, Mkv] {
        let clip = clip("avi", "2", MPEG4, &[]);
        let place = Place::new();
        place.record(&clip.packets, kind, 0, true);
        let refused = place.plan(0, 2_000_000).unwrap_err();
        assert!(matches!(&refused, ExportError::Unreadable(why) if why.contains("take the file itself")), "{refused}");
    }
}

#[test]
fn where_nothing_was_recorded_the_time_goes_on() {
    let clip = clip("mp4", "13", H264, AAC);
    let place = Place::new();
    let zero = first_pts_us(&clip.packets);
    // An hour is missing after the second file, and a tenth of a second, which is none, after the first.
    for (n, packets) in cut(&clip.packets, 3_000_000).into_iter().enumerate() {
        let later_us = [0, 100_000, 3_600_000_000, 3_600_000_000][n.min(3)];
        place.record(packets, Mp4, first_pts_us(packets) - zero + later_us, true);
    }
    // It begins with what there is.
    let path = place.export(-20_000_000, 3_700_000_000);
    let found = probed(&path, "v");
    let source = probed(&clip.path, "v");
    assert_eq!(found.len(), source.len());
    for (found, source) in found.iter().zip(&source) {
        let later_us = if source.us < 6_000_000 { 0 } else { 3_600_000_000 };
        assert_eq!((found.us, &found.hash), (source.us + later_us, &source.hash));
    }
    let sounds = probed(&path, "a");
    // The first is from before the first picture.
    assert_eq!(sounds.len() + 1, probed(&clip.path, "a").len());
    assert!(sounds.iter().all(|sound| sound.us < 6_100_000 || sound.us > 3_605_900_000));
    let plan = place.plan(-20_000_000, 3_700_000_000).unwrap();
    assert_eq!((plan.from(), plan.to(), plan.next()), (at_us(0), at_us(3_613_000_000), None));
}

#[test]
fn pictures_of_another_kind_end_the_file_and_it_says_from_where_they_are() {
    let (small, other) = (clip("mp4", "4", H264, AAC), clip("mp4", "4", H265, AAC));
    let place = Place::new();
    place.record(&small.packets, Mp4, 0, true);
    place.record(&small.packets, Mkv, 4_000_000, true);
    place.record(&other.packets, Mp4, 8_000_000, true);
    let plan = place.plan(1_000_000, 11_000_000).unwrap();
    assert_eq!((plan.to(), plan.next()), (at_us(8_000_000), Some(at_us(8_000_000))));
    let path = place.export(1_000_000, 11_000_000);
    assert_eq!(probed(&path, "v").len(), 175);
    assert_eq!(probe(&path, "v", "stream=codec_name"), "h264");
    let path = place.export(8_000_000, 11_000_000);
    assert_eq!(probe(&path, "v", "stream=codec_name"), "hevc");
}

#[test]
fn sound_of_another_kind_is_left_out() {
    let place = Place::new();
    let (with, without) = (clip("mp4", "4", H264, AAC), clip("mp4", "4", H264, &[]));
    place.record(&without.packets, Mp4, 0, true);
    place.record(&with.packets, Mp4, 4_000_000, true);
    place.record(&clip("mp4", "4", H264, FLAC).packets, Mp4, 8_000_000, true);
    let path = place.export(0, 12_000_000);
    assert_eq!(probed(&path, "v").len(), 300);
    let sounds = probed(&path, "a");
    assert!(sounds.iter().all(|sound| (3_900_000..8_100_000).contains(&sound.us)), "{sounds:?}");
    assert_eq!(probe(&path, "a", "stream=codec_name"), "aac");
    assert!(sounds.len() > 180);
}

#[test]
fn where_nothing_is_there_is_no_export_and_what_is_damaged_is_said() {
    let place = Place::new();
    let clip = clip("mp4", "4", H264, AAC);
    place.record(&clip.packets, Mp4, 0, true);
    assert!(matches!(place.plan(5_000_000, 6_000_000), Err(ExportError::Nothing)));
    // The one that is being written has not come as far.
    place.record(&clip.packets, Mp4, 10_000_000, false);
    assert!(matches!(place.plan(15_000_000, 16_000_000), Err(ExportError::Nothing)));
    assert!(place.plan(13_900_000, 16_000_000).is_ok());
    for row in place.index.walk(0, 10).unwrap() {
        std::fs::write(place.folder.path().join(row.path), vec![7; 4000]).unwrap();
    }
    let error = place.plan(0, 16_000_000).unwrap_err();
    assert!(matches!(&error, ExportError::Unreadable(what) if what.contains("yard/")), "{error}");
}

#[test]
fn an_export_ends_when_nobody_takes_it() {
    let place = in_files(&clip("mp4", "13", H264, AAC), &[Mp4]);
    let mut pieces = 0;
    let mut send = |_| {
        pieces += 1;
        if pieces < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    place.plan(0, 13_000_000).unwrap().write(&mut send).unwrap();
    assert_eq!(pieces, 3);
}
