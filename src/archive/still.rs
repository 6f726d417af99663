//! One picture of a moment: the keyframe of a recording that is nearest to it, as a packet.
//!
//! Belongs here: which keyframe, and its bytes. Does not belong here: decoding it (`media::jpeg`), which recording
//! holds a moment (`archive::index`), and who asks (`web`).

use std::ops::RangeInclusive;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::footage::{Footage, us_between, us_to_ticks};
use super::mp4::Sample;
use crate::domain::recording::Recording;
use crate::domain::stream::ticks_to_us;
use crate::media::Packet;

pub use super::container::PlanError;

/// No keyframe of a camera is larger: a greater size is damage.
const MOST_BYTES: u32 = 64 << 20;

/// A keyframe, and when it was taken.
pub struct Still {
    pub packet: Packet,
    pub taken_at: DateTime<Utc>,
}

/// The keyframe of a recording that is shown within a time and nearest to a moment; where none is shown within it, the
/// last before, and else the first of all. None: the file holds no picture yet. Blocks on the disk.
pub fn keyframe(
    root: &Path,
    row: &Recording,
    within: &RangeInclusive<DateTime<Utc>>,
    moment: DateTime<Utc>,
) -> Result<Option<Still>, PlanError> {
    let Some(footage) = Footage::read(root, row, *within.start(), *within.end())? else { return Ok(None) };
    let (stream, zero) = (&footage.contents.stream, footage.contents.video_zero);
    let ticks = |time: DateTime<Utc>| us_to_ticks(us_between(row.start, time), stream.video.timescale);
    let shown = |sample: &Sample| {
        i64::try_from(sample.dts).unwrap_or(i64::MAX).saturating_add(sample.composition.into()).saturating_sub(zero)
    };
    let (start, end, wanted) = (ticks(*within.start()), ticks(*within.end()), ticks(moment));
    let mut best: Option<(u64, Sample)> = None;
    for (at, key) in footage.contents.video.placed().filter(|(_, sample)| sample.key) {
        let is_better = best.is_none_or(|(_, best)| {
            let inside = (start..=end).contains(&shown(&key));
            let nearer = shown(&best) < start || shown(&key).abs_diff(wanted) < shown(&best).abs_diff(wanted);
            shown(&key) < start || inside && nearer
        });
        if is_better {
            best = Some((at, key));
        }
    }
    let Some((at, key)) = best else { return Ok(None) };
    if key.size > MOST_BYTES {
        return Err(PlanError::NotARecording(format!("a picture of it has {} bytes", key.size)));
    }
    let mut data = Vec::new();
    footage.append(&mut data, at, key.size)?;
    let taken_at = row.start + TimeDelta::microseconds(ticks_to_us(shown(&key), stream.video.timescale));
    let pts = shown(&key);
    Ok(Some(Still { packet: Packet::of_file(footage.contents.stream, pts, &data), taken_at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::file::{FileMeta, RecordingFile};
    use crate::archive::testing::*;
    use crate::domain::camera::Reason;
    use crate::domain::config::ContainerKind;

    fn at_us(us: i64) -> DateTime<Utc> {
        "2026-01-31T08:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::microseconds(us)
    }

    /// The packets as a recording that begins at 0; an open one is left as while it is written.
    fn recorded(root: &Path, clip: &Clip, kind: ContainerKind, closed: bool) -> Recording {
        let path = format!("yard/1.{}", kind.extension());
        let (start, reason) = (at_us(0), Reason::Continuous);
        let meta = FileMeta { camera: "yard".into(), start, reason, onset: None, pre_alarm_s: None };
        let mut file = RecordingFile::create(&root.join(&path), kind, &clip.stream, true, &meta).unwrap();
        clip.packets.iter().for_each(|packet| file.write(packet).unwrap());
        file.flush().unwrap();
        if closed {
            file.finish().unwrap();
        }
        let end = closed.then(|| at_us(clip.duration_us()));
        let (camera, motion_s, bytes, pre_alarm_s, complete) = ("yard".to_owned(), 0.0, 0, None, closed);
        Recording { id: 1, camera, start, end, pre_alarm_s, bytes, path, motion_s, complete, reason }
    }

    #[test]
    fn the_keyframe_of_a_moment_is_found_in_every_kind_of_file() {
        // 25 pictures a second, a keyframe each second.
        for (kind, encode) in [
            (ContainerKind::Mp4, H264_B),
            (ContainerKind::Mp4, H265),
            (ContainerKind::Mkv, H264),
            (ContainerKind::Mkv, H265),
            (ContainerKind::Mkv, MPEG4),
            (ContainerKind::Avi, MPEG4),
        ] {
            let clip = clip(if encode == MPEG4 { "avi" } else { "mp4" }, "4", encode, &[]);
            let keys: Vec<&Packet> = clip.video().filter(|packet| packet.keyframe).collect();
            assert_eq!(keys.len(), 4);
            for closed in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let row = recorded(folder.path(), &clip, kind, closed);
                let found = |from_us: i64, to_us: i64, moment_us: i64| {
                    let within = at_us(from_us)..=at_us(to_us);
                    let still = keyframe(folder.path(), &row, &within, at_us(moment_us)).unwrap();
                    let still = still.unwrap_or_else(|| panic!("{kind:?}, {closed}: nothing at {moment_us}"));
                    // Before a picture of an AVI file the headers come again.
                    let is_of = |key: &&Packet| still.packet.data().ends_with(key.data());
                    let at = keys.iter().position(is_of).expect("one of the clip's");
                    let off_us = (still.taken_at - at_us(at as i64 * 1_000_000)).num_microseconds().unwrap();
                    assert!(off_us.abs() < 2000, "{kind:?}: keyframe {at} is {off_us} us off");
                    let jpeg = crate::media::jpeg::snapshot(&still.packet, Some(64)).expect("a picture");
                    assert!(jpeg.starts_with(&[0xff, 0xd8]));
                    at
                };
                let at = |us| found(us, us, us);
                assert_eq!([-5, 0, 999_000, 1_002_000, 2_500_000, 9_000_000].map(at), [0, 0, 0, 1, 2, 3], "{kind:?}");
                // Of several within the time the nearest; of none the last before it.
                assert_eq!(found(500_000, 3_500_000, 2_400_000), 2, "{kind:?}");
                assert_eq!(found(500_000, 3_500_000, 600_000), 1, "{kind:?}");
                assert_eq!(found(1_200_000, 1_800_000, 1_700_000), 1, "{kind:?}");
            }
        }
    }

    #[test]
    fn every_picture_of_a_camera_that_sends_jpegs_is_one_to_show() {
        for kind in [ContainerKind::Mp4, ContainerKind::Mkv, ContainerKind::Avi] {
            let clip = clip("mp4", "1", MJPEG, &[]);
            for closed in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let row = recorded(folder.path(), &clip, kind, closed);
                for (n, packet) in clip.video().enumerate() {
                    let moment = at_us(n as i64 * 40_000);
                    let still = keyframe(folder.path(), &row, &(moment..=moment), moment).unwrap();
                    let still = still.unwrap_or_else(|| panic!("{kind:?}, {closed}: nothing at {n}"));
                    assert!(still.packet.data() == packet.data(), "{kind:?}, {closed}: not picture {n}");
                    let jpeg = crate::media::jpeg::snapshot(&still.packet, Some(64)).expect("a picture");
                    assert!(jpeg.starts_with(&[0xff, 0xd8]));
                }
            }
        }
    }

    #[test]
    fn what_is_cut_or_no_recording_is_told() {
        for (kind, encode) in [(ContainerKind::Avi, MPEG4), (ContainerKind::Mkv, H264), (ContainerKind::Mp4, H264)] {
            let folder = tempfile::tempdir().unwrap();
            let clip = clip(if encode == MPEG4 { "avi" } else { "mp4" }, "2", encode, &[]);
            let row = recorded(folder.path(), &clip, kind, true);
            let path = folder.path().join(&row.path);
            let whole = std::fs::read(&path).unwrap();
            let ask = || keyframe(folder.path(), &row, &(at_us(0)..=at_us(0)), at_us(0));
            for length in (0..whole.len()).step_by(whole.len() / 40) {
                std::fs::write(&path, &whole[..length]).unwrap();
                // Whatever it says, it says it.
                let _ = ask();
                let mut damaged = whole.clone();
                damaged.iter_mut().skip(length).take(8).for_each(|byte| *byte = 0xff);
                std::fs::write(&path, damaged).unwrap();
                let _ = ask();
            }
            std::fs::write(&path, b"noise that is no recording at all").unwrap();
            assert!(matches!(ask(), Err(PlanError::NotARecording(_)) | Ok(None)));
            std::fs::remove_file(&path).unwrap();
            assert!(matches!(ask(), Err(PlanError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound));
        }
    }
}
