//! SIGTERM and SIGINT finish all recordings and end the process in order; a second one ends it at once.

mod support;

use std::net::TcpListener;

use support::*;

const FPS: u32 = 10;
const IN_TIME: u64 = 5;

/// Moves from its fourth second on.
fn moving_clip() -> Clip {
    Clip::spec().size(160, 120).fps(FPS).seconds(60.0).gop_seconds(2.0).motion(4.0, 60.0).make()
}

fn yaml(source: &str, mode: &str, more: &str) -> String {
    format!(
        "source: {source}\n{more}detect: {{ warm_up: 1s, width: 160, min_area: 1% }}\n\
         record: {{ mode: {mode}, pre_alarm: 2s }}\n"
    )
}

fn ends_mid_event(signal: i32) {
    let clip = moving_clip();
    let server = RtspServer::start(&[Mount::new("yard", &clip), Mount::new("door", &clip)]);
    let mut daemon = Daemon::builder()
        .camera("yard", &yaml(&server.url("yard"), "motion", ""))
        .camera("door", &yaml(&server.url("door"), "motion", "").replace("pre_alarm", "container: mkv, pre_alarm"))
        .start();
    for camera in ["yard", "door"] {
        daemon.wait_for_camera(camera, secs(30), |camera| camera["recording"] == true && camera["motion"] == true);
    }
    // Well into the event, and within a fragment.
    let long = |camera| server.stats(camera).sent >= u64::from(8 * FPS + 3);
    wait_for("the event to go on", secs(30), || (long("yard") && long("door")).then_some(()));
    let rows = ["yard", "door"].map(|camera| daemon.recordings(camera).pop().unwrap());
    let sent = ["yard", "door"].map(|camera| server.stats(camera).sent);
    daemon.signal(signal);
    assert_eq!(daemon.wait_for_exit(secs(IN_TIME)), Some(0));
    for (row, sent) in rows.into_iter().zip(sent) {
        assert!(!row.complete, "it was open");
        let path = daemon.archive().join(&row.path);
        let frames = read_frames(&path);
        assert_unbroken(&frames, clip.frames);
        let last = frames[frames.len() - 1].number;
        assert!(u64::from(last) + 1 + u64::from(FPS) / 2 >= sent, "the last picture is {last} of {sent} sent");
        let seconds = frames.len() as f64 / f64::from(FPS);
        assert!((duration_s(&path) - seconds).abs() < 0.15, "{} s named, {seconds} s held", duration_s(&path));
        assert_seekable(&path);
    }
    // The index knows, and what is closed needs no repair.
    daemon.restart();
    for camera in ["yard", "door"] {
        let row = &daemon.recordings(camera)[0];
        assert!(row.complete && row.end.is_some(), "{row:?}");
        assert_eq!(row.reason, "motion");
    }
    let log = daemon.stderr();
    let repaired = log.lines().filter(|line| line.contains("was open and is whole now")).count();
    assert_eq!(repaired, 0, "nothing was left open");
}

/// A player that jumps to the second half lands there without reading the whole file.
fn assert_seekable(path: &std::path::Path) {
    let half = duration_s(path) / 2.0;
    let output = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-ss", &half.to_string(), "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-f", "framemd5", "pipe:1"])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.lines().any(|line| line.starts_with("0,")), "{}: {words}", path.display());
    if path.extension().is_some_and(|extension| extension == "mp4") {
        let boxes = top_level_boxes(&std::fs::read(path).unwrap());
        let named = |name: &str| boxes.iter().filter(|found| *found == name).count();
        assert_eq!((named("moov"), named("mdat"), named("moof")), (1, 1, 0), "not fragmented any more: {boxes:?}");
    }
}

fn top_level_boxes(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while bytes.len() >= 8 {
        names.push(String::from_utf8_lossy(&bytes[4..8]).into_owned());
        let short = u64::from(u32::from_be_bytes(bytes[..4].try_into().unwrap()));
        let length = if short == 1 { u64::from_be_bytes(bytes[8..16].try_into().unwrap()) } else { short };
        bytes = &bytes[(length as usize).clamp(8, bytes.len())..];
    }
    names
}

#[test]
fn sigterm_in_the_middle_of_an_event() {
    ends_mid_event(libc::SIGTERM);
}

#[test]
fn sigint_in_the_middle_of_an_event() {
    ends_mid_event(libc::SIGINT);
}

/// Servers that take the connection and say nothing, one of them in the middle of its stream; a viewer of events.
#[test]
fn hanging_servers_and_viewers_hold_nothing_up() {
    let clip = moving_clip();
    let server = RtspServer::start(&[Mount::new("yard", &clip), Mount::new("stalled", &clip)]);
    let relay = Relay::to(server.port("stalled"));
    // Its backlog takes connections and nobody answers them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let slow = "connect_timeout: 60s\nread_timeout: 60s\n";
    let mut daemon = Daemon::builder()
        .camera("yard", &yaml(&server.url("yard"), "continuous", ""))
        .camera("stalled", &yaml(&server.url_through("stalled", &relay), "continuous", slow))
        .camera("silent-rtsp", &yaml(&format!("rtsp://127.0.0.1:{port}/x"), "continuous", slow))
        .camera("silent-http", &yaml(&format!("http://127.0.0.1:{port}/x"), "continuous", slow))
        .start();
    let _viewer = daemon.events();
    for camera in ["yard", "stalled"] {
        daemon.wait_for_camera(camera, secs(30), |camera| camera["recording"] == true);
    }
    relay.stall();
    for camera in ["silent-rtsp", "silent-http"] {
        daemon.wait_for_state(camera, "starting", secs(10));
    }
    wait_for("some more video", secs(20), || (server.stats("yard").sent >= 40).then_some(()));
    let paths = ["yard", "stalled"].map(|camera| daemon.archive().join(&daemon.recordings(camera)[0].path));
    assert_eq!(daemon.terminate(secs(IN_TIME)), Some(0));
    for path in paths {
        assert_unbroken(&read_frames(&path), clip.frames);
        assert_seekable(&path);
    }
    assert!(!daemon.stderr().contains("left behind"), "everything ended by itself");
}

/// A disk that hangs is stood in for by the archive's thread, which sleeps at its first look at the third second.
fn stalled_disk(clip: &Clip, server: &RtspServer) -> Daemon {
    let daemon = Daemon::builder()
        .env("FAILPOINTS", "worker.archive@yard=30*off->sleep(60000)")
        .camera("yard", &yaml(&server.url("yard"), "continuous", ""))
        .start();
    daemon.wait_for_camera("yard", secs(30), |camera| camera["recording"] == true);
    // The thread looks at least at each picture.
    wait_for("the disk to hang", secs(30), || (server.stats("yard").sent >= u64::from(clip.gop + 60)).then_some(()));
    daemon
}

#[test]
fn a_stalled_disk_is_left_to_the_next_start() {
    let clip = moving_clip();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let mut daemon = stalled_disk(&clip, &server);
    assert_eq!(daemon.terminate(secs(IN_TIME)), Some(0));
    assert!(daemon.stderr().contains("finished at the next start"), "it says so");
    daemon.restart();
    let row = daemon.wait_for_recording("yard", secs(20), |row| row.complete);
    assert_unbroken(&read_frames(&daemon.archive().join(&row.path)), clip.frames);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let clip = moving_clip();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let mut daemon = stalled_disk(&clip, &server);
    daemon.signal(libc::SIGTERM);
    daemon.wait_for_stderr("finishing all recordings", secs(5));
    let start = tarsier::clock::monotonic();
    daemon.signal(libc::SIGINT);
    assert_eq!(daemon.wait_for_exit(secs(5)), Some(128 + libc::SIGINT));
    assert!(start.elapsed() < secs(2), "at once, and not after {:?}", start.elapsed());
}
