//! `tarsier detect` as people and scripts meet it.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::*;

fn detect(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .args(["detect", "--set", "detect.algorithm=seed"])
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("tarsier starts")
}

fn events(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = std::str::from_utf8(&output.stdout).expect("the output is text");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

#[track_caller]
fn assert_event(event: &Value, start: f64, end: f64, open: bool) {
    let near = |key: &str, seconds: f64| (event[key].as_f64().expect("a number") - seconds).abs() < 0.3;
    assert!(event["event"] == "motion" && near("start", start) && near("end", end), "{event}, not {start} to {end}");
    assert_eq!(event.get("open"), open.then_some(&Value::Bool(true)), "{event}");
}

#[test]
fn events_are_in_the_streams_own_time() {
    // In the warm-up; two stretches that are one event; one alone; one that is open at the end.
    let motion = [(1.0, 3.0), (8.0, 10.0), (16.0, 18.0), (32.0, 34.0), (48.0, 50.0)];
    let spec = motion.iter().fold(Clip::spec().seconds(52.0), |spec, &(from, to)| spec.motion(from, to));
    for clip in [spec.clone().make(), spec.bframes(2).codec(Codec::H265).make()] {
        let path = clip.path.to_str().unwrap();
        let output = detect(&["--json", path]);
        let events = events(&output);
        assert_eq!(events.len(), 3, "{events:?}");
        assert_event(&events[0], 8.0, 18.0, false);
        assert_event(&events[1], 32.0, 34.0, false);
        assert_event(&events[2], 48.0, 50.0, true);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_file_ends_after_its_own_time() {
    let clip = Clip::spec().seconds(20.0).motion(6.0, 12.0).make();
    let path = clip.path.to_str().unwrap();
    let in_9_s = || (tarsier::clock::utc_now() + secs(9)).to_rfc3339();
    for (limit, value, shortest, longest) in [("--for", None, 8.8, 9.0), ("--until", Some(in_9_s), 6.0, 9.0)] {
        // The moment is that of its own run.
        let value = value.map_or_else(|| "9s".to_owned(), |value| value());
        let output = detect(&["--json", path, limit, &value]);
        let [event] = &events(&output)[..] else { panic!("{limit}: {}", String::from_utf8_lossy(&output.stdout)) };
        let end = event["end"].as_f64().unwrap();
        assert!((shortest..longest).contains(&end) && event["open"] == true, "{limit}: {event}");
    }
}

#[test]
fn a_still_scene_is_no_motion_not_even_right_after_the_warm_up() {
    let clip = Clip::spec().seconds(12.0).make();
    let path = clip.path.to_str().unwrap();
    assert_eq!(events(&detect(&["--json", path])), Vec::<Value>::new());
    assert_eq!(events(&detect(&["--json", path, "--set", "detect.warm_up=0s"])), Vec::<Value>::new());
}

#[test]
fn settings_of_the_command_line_hold() {
    let clip = Clip::spec().seconds(12.0).motion(1.0, 2.0).motion(6.0, 8.0).make();
    let path = clip.path.to_str().unwrap();
    let output = detect(&["--json", path, "--set", "detect.warm_up=0s", "--set", "detect.minimal_duration=2s"]);
    let events = events(&output);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_event(&events[0], 1.0, 2.0, false);
    assert_event(&events[1], 6.0, 8.0, false);
    let output = detect(&["--json", path, "--set", "detect.min_area=100%"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

#[test]
fn the_adaptive_algorithm_finds_what_moves_from_its_place() {
    let clip = Clip::spec().seconds(24.0).motion(8.0, 10.0).make();
    let output = detect(&["--json", clip.path.to_str().unwrap(), "--set", "detect.algorithm=adaptive"]);
    let events = events(&output);
    assert_eq!(events.len(), 1, "{events:?}");
    let start = events[0]["start"].as_f64().expect("a number");
    // What moved and stands still is still there.
    let end = events[0]["end"].as_f64().expect("a number");
    assert!((8.0..8.8).contains(&start) && end > 10.0, "{events:?}");
    // A box that never moves is none.
    let clip = Clip::spec().seconds(12.0).make();
    let output = detect(&["--json", clip.path.to_str().unwrap(), "--set", "detect.algorithm=adaptive"]);
    assert_eq!(self::events(&output), Vec::<Value>::new());
}

#[test]
fn people_get_lines_and_a_sum() {
    let clip = Clip::spec().seconds(20.0).motion(6.0, 8.0).make();
    let output = detect(&[clip.path.to_str().unwrap()]);
    let lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert!(
        matches!(lines[..], [start, end] if start.ends_with("s  motion") && end.contains("last motion")),
        "{lines:?}"
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "1 events in 19.9 s (300 pictures)\n");
}

/// Greenish pixels of a drawing, as contours are.
fn green_pixels(image: &Path) -> usize {
    let raw = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i", image.to_str().unwrap(), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .expect("the ffmpeg command line is installed (make setup)");
    assert!(raw.status.success(), "{}", String::from_utf8_lossy(&raw.stderr));
    raw.stdout.as_chunks::<3>().0.iter().filter(|[red, green, blue]| *green > 150 && *red < 120 && *blue < 140).count()
}

#[test]
fn a_sheet_shows_each_event() {
    let folder = tempfile::tempdir().unwrap();
    let spec = Clip::spec().seconds(40.0);
    let (two, none) = (spec.clone().motion(6.0, 8.0).motion(24.0, 26.0).make(), spec.make());
    let size = |path: &Path| {
        let stream = &probe(path)["streams"][0];
        (stream["width"].as_u64().unwrap(), stream["height"].as_u64().unwrap())
    };
    for name in ["events.png", "events.jpg"] {
        let sheet = folder.path().join(name);
        let output = detect(&[two.path.to_str().unwrap(), "--sheet", sheet.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{name}: 2 events")));
        // Two pictures of 320x240 beside each other, and words.
        assert!(matches!(size(&sheet), (652..=664, 280..=310)), "{:?}", size(&sheet));
        assert!(green_pixels(&sheet) > 200, "the outlines of what moves");
    }
    let sheet = folder.path().join("none.png");
    assert!(detect(&["--json", none.path.to_str().unwrap(), "--sheet", sheet.to_str().unwrap()]).status.success());
    assert!(size(&sheet).1 < 60 && green_pixels(&sheet) == 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing unfinished stays");
}

#[test]
fn a_sheet_that_cannot_be_written_is_told_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("folder.png")).unwrap();
    for place in ["no/such/folder/events.png", folder.path().join("folder.png").to_str().unwrap()] {
        // The source does not exist either: the sheet comes first.
        let output = detect(&["clip.mp4", "--sheet", place]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(place) && !stderr.contains("clip.mp4"), "{stderr}");
    }
    assert_eq!(detect(&["clip.mp4", "--sheet", "events.gif"]).status.code(), Some(2));
    let sheet = folder.path().join("events.png");
    assert_eq!(detect(&["clip.mp4", "--sheet", sheet.to_str().unwrap()]).status.code(), Some(1));
    assert!(!sheet.exists(), "without a source there is no sheet");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_wrong_is_said_and_the_exit_code_is_1() {
    let output = detect(&["no/such/clip.mp4"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no/such/clip.mp4"), "{stderr}");

    let output = detect(&["clip.mp4", "--set", "detect.treshold=15"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("treshold") && stderr.contains("threshold"), "{stderr}");

    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "no video").unwrap();
    assert_eq!(detect(&[text.to_str().unwrap()]).status.code(), Some(1));

    // Nobody listens there; the password stays with us.
    let output = detect(&["rtsp://viewer:canary-7319@127.0.0.1:1/live"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("127.0.0.1:1") && !stderr.contains("canary-7319"), "{stderr}");
}

#[test]
fn a_call_that_is_wrong_is_exit_code_2_and_help_shows_an_example() {
    assert_eq!(detect(&[]).status.code(), Some(2));
    assert_eq!(detect(&["--jsno", "clip.mp4"]).status.code(), Some(2));
    let output = detect(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("tarsier detect --json clip.mp4"));
}

#[test]
fn a_live_stream_is_watched_until_a_signal_comes() {
    let clip = Clip::spec().seconds(20.0).motion(3.0, 4.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let mut tarsier = Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .args([
            "detect",
            "--json",
            &server.url("yard"),
            "--set",
            "detect.algorithm=seed",
            "--set",
            "detect.warm_up=500ms",
        ])
        .args(["--set", "detect.minimal_duration=1s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tarsier starts");
    let (lines, line) = std::sync::mpsc::channel();
    let stdout = tarsier.stdout.take().expect("it is piped");
    std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|l| lines.send(l)));
    let event = line.recv_timeout(secs(40)).expect("an event is told as soon as it is over");
    assert!(event.starts_with("{\"event\":\"motion\","), "{event}");
    send_signal(tarsier.id(), libc::SIGTERM);
    let status = wait_for("tarsier to end", secs(5), || tarsier.try_wait().expect("it can be waited for"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_live_stream_is_watched_for_as_long_as_is_said() {
    let server = RtspServer::start(&[Mount::new("yard", &Clip::spec().seconds(20.0).make())]);
    let began = tarsier::clock::monotonic();
    let output = detect(&[&server.url("yard"), "--for", "4s"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(began.elapsed() >= secs(4) && stderr.starts_with("0 events in "), "{stderr}");

    // Nobody answers in time: that is no success.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = detect(&[&format!("rtsp://127.0.0.1:{}/live", silent.local_addr().unwrap().port()), "--for", "1s"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no picture came"), "{stderr}");
}

#[test]
fn a_time_that_is_over_or_none_is_exit_code_2() {
    for (limit, value) in [("--for", "5"), ("--until", "2020-01-01T00:00:00Z"), ("--until", "noon")] {
        let output = detect(&["clip.mp4", limit, value]);
        assert_eq!(output.status.code(), Some(2), "{limit} {value}");
    }
    assert_eq!(detect(&["clip.mp4", "--for", "5s", "--until", "22:30"]).status.code(), Some(2));
}
