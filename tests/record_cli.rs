//! `tarsier record` as people meet it.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::*;

/// Runs tarsier in `folder`, which holds the archive `out`.
fn tarsier(folder: &Path, arguments: &[&str], failpoints: &str) -> Output {
    fs::write(folder.join("tarsier.yaml"), format!("archive: {{ path: out }}\n{SEED}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
    command.args(arguments).current_dir(folder).env("FAILPOINTS", failpoints);
    let output = command.output().expect("tarsier starts");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

/// What was recorded, oldest first.
fn rows(folder: &Path) -> Vec<RecordingRow> {
    let output = tarsier(folder, &["recordings", "list", "--json"], "");
    let mut rows: Vec<RecordingRow> =
        json_lines(&output).into_iter().map(|row| serde_json::from_value(row).unwrap()).collect();
    rows.sort_by_key(|row| row.start);
    rows
}

fn numbers(folder: &Path, row: &RecordingRow, clip: &Clip) -> Vec<u32> {
    let frames = read_frames(&folder.join("out").join(&row.path));
    // A recording ends in the order of decoding: of the last pictures, one may be missing that others waited for.
    assert_unbroken(&frames[..frames.len().saturating_sub(3)], clip.frames);
    frames.iter().map(|frame| frame.number).collect()
}

#[test]
fn it_ends_after_its_time_and_names_the_file_as_the_layout_says() {
    let clip = Clip::spec().seconds(20.0).make();
    let folder = tempfile::tempdir().unwrap();
    let layout = "archive: { layout: \"{camera}/{trigger}/%Y-%m-%dT%H%M%S%z\", timezone: local }\n";
    fs::write(folder.path().join("tarsier.yaml"), layout).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .args(["record", clip.path.to_str().unwrap(), "--out", "out", "--for", "3s"])
        .args(["--set", "record.mode=continuous"])
        .current_dir(folder.path())
        .env("TZ", "America/Phoenix")
        .output()
        .expect("tarsier starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let files = recording_files(&folder.path().join("out"));
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.strip_prefix(folder.path()).unwrap().to_str().unwrap();
    // No daylight saving there.
    assert!(name.starts_with("out/camera/continuous/") && name.ends_with("-0700.mp4"), "{name}");
    let seconds = duration_s(file);
    assert!((2.9..=3.1).contains(&seconds), "{seconds} s of the file's own time, not {seconds}");
}

#[test]
fn a_time_that_is_none_is_exit_code_2() {
    for time in ["5", "soon", ""] {
        let output = Command::new(env!("CARGO_BIN_EXE_tarsier"))
            .args(["record", "clip.mp4", "--out", "out", "--for", time])
            .current_dir(tempfile::tempdir().unwrap().path())
            .output()
            .expect("tarsier starts");
        assert_eq!(output.status.code(), Some(2), "{time}");
    }
}

/// Ten minutes of video; at its own pace this test would be cut off.
fn long_clip() -> Clip {
    let spec = Clip::spec().size(160, 120).fps(2).seconds(600.0).gop_seconds(4.0).bframes(2);
    spec.motion(100.0, 104.0).motion(300.0, 310.0).motion(314.0, 318.0).motion(594.0, 600.0).make()
}

/// The recordings of `clip` are exactly the events that `tarsier detect` finds in it, with their pre-alarm.
fn assert_events_are_recorded(clip: &Clip, failpoints: &str) {
    const PRE_ALARM_S: u32 = 5;
    const MINIMAL_S: u32 = 10;
    let folder = tempfile::tempdir().unwrap();
    let path = clip.path.to_str().unwrap();
    let events = json_lines(&tarsier(folder.path(), &["detect", "--json", path], ""));
    assert!(events.len() >= 2, "{events:?}");
    tarsier(folder.path(), &["record", path, "--out", "out"], failpoints);
    let rows = rows(folder.path());
    assert_eq!(rows.len(), events.len(), "{rows:?} and {events:?}");
    let frame_of = |event: &Value, key: &str| (event[key].as_f64().unwrap() * f64::from(clip.fps)).round() as u32;
    let mut first = None;
    for (row, event) in rows.iter().zip(&events) {
        let numbers = numbers(folder.path(), row, clip);
        let trigger = numbers[0] + (row.pre_alarm_s.unwrap() * f64::from(clip.fps)).round() as u32;
        assert_eq!(trigger, frame_of(event, "start"), "{row:?} and {event}");
        assert_eq!(numbers[0], trigger.saturating_sub(PRE_ALARM_S * clip.fps) / clip.gop * clip.gop, "{row:?}");
        let last = (frame_of(event, "end") + MINIMAL_S * clip.fps).min(clip.frames - 1);
        // Decode times decide, which lie before those of presentation.
        let off = numbers[numbers.len() - 1].abs_diff(last);
        assert!(off <= 5, "{row:?} ends with frame {}, not {last}", numbers[numbers.len() - 1]);
        // The rows' times are the file's own, from the moment on when it was opened.
        let between = (row.start - rows[0].start).as_seconds_f64();
        let first = *first.get_or_insert(numbers[0]);
        assert!(
            (between - f64::from(numbers[0] - first) / f64::from(clip.fps)).abs() < 0.01,
            "{row:?} is {between} s after"
        );
    }
}

#[test]
fn a_file_is_recorded_faster_than_it_plays_with_the_events_that_detect_finds() {
    assert_events_are_recorded(&long_clip(), "");
    let spec = Clip::spec().size(160, 120).seconds(60.0).audio(AudioCodec::Aac).codec(Codec::H265).bframes(2);
    assert_events_are_recorded(&spec.motion(8.0, 10.0).motion(40.0, 41.0).make(), "");
    // The last pictures are still in the decoder when the file is over.
    let spec = Clip::spec().size(160, 120).seconds(30.0).bframes(2).motion(8.0, 8.2).motion(29.8, 30.0);
    assert_events_are_recorded(&spec.make(), "");
}

#[test]
fn pictures_that_are_far_apart_are_no_detector_that_is_behind() {
    // The whole clip as a time lapse: a picture every five seconds, and some wait for later ones.
    let clip = long_clip();
    let folder = tempfile::tempdir().unwrap();
    let lapse = folder.path().join("lapse.mp4");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-itsscale", "10", "-i", clip.path.to_str().unwrap(), "-c", "copy"])
        .arg(&lapse)
        .status()
        .expect("the ffmpeg command line is installed (make setup)");
    assert!(made.success());
    let path = lapse.to_str().unwrap();
    let events = json_lines(&tarsier(folder.path(), &["detect", "--json", path], ""));
    tarsier(folder.path(), &["record", path, "--out", "out"], "");
    let rows = rows(folder.path());
    assert!(!events.is_empty() && rows.len() == events.len(), "{rows:?} and {events:?}");
    assert!(rows.iter().all(|row| row.reason == "motion" && row.pre_alarm_s >= Some(5.0)), "{rows:?}");
}

#[test]
fn a_file_waits_for_a_slow_disk_and_a_slow_detector() {
    let clip = Clip::spec().size(160, 120).seconds(60.0).motion(8.0, 10.0).motion(40.0, 41.0).make();
    assert_events_are_recorded(&clip, "worker.archive@camera=10%sleep(150);worker.detector@camera=10%sleep(150)");
}

#[test]
fn every_packet_of_a_file_is_recorded() {
    let clip = long_clip();
    let folder = tempfile::tempdir().unwrap();
    let path = clip.path.to_str().unwrap();
    tarsier(folder.path(), &["record", path, "--out", "out", "--set", "record.mode=continuous"], "");
    // `max_file` is ten minutes of the file's own time.
    let rows = rows(folder.path());
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(numbers(folder.path(), row, &clip).len(), clip.frames as usize);
    assert_eq!(vcl_units(&folder.path().join("out").join(&row.path), clip.codec), vcl_units(&clip.path, clip.codec));
}

#[test]
fn a_file_waits_for_the_encoder_too() {
    let clip = Clip::spec().seconds(30.0).motion(6.0, 9.0).make();
    let folder = tempfile::tempdir().unwrap();
    let encode = ["--set", "record.mode=continuous", "--set", "record.encode.codec=h264"];
    let record = ["record", clip.path.to_str().unwrap(), "--out", "out"];
    tarsier(folder.path(), &[&record[..], &encode].concat(), "worker.archive@camera=10%sleep(150)");
    let rows = rows(folder.path());
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(numbers(folder.path(), row, &clip).len(), clip.frames as usize);
}
