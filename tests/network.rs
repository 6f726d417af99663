//! Cameras and networks that fail: each is told as what it is, comes back by itself, and harms nobody else.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use support::*;
use tarsier::clock::{monotonic, utc_now};

/// A continuous camera without a detector, with short deadlines.
fn continuous(source: &str) -> String {
    format!(
        "source: {source}\nconnect_timeout: 4s\nread_timeout: 4s\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous }}\n"
    )
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value} is a time")).parse().unwrap()
}

/// A camera's recordings, oldest first.
fn files_of(daemon: &Daemon, camera: &str) -> Vec<PathBuf> {
    recording_files(&daemon.archive().join(camera))
}

/// All that was recorded of a camera is one unbroken run of its clip, with a file after the other.
#[track_caller]
fn assert_all_recorded(daemon: &Daemon, camera: &str, clip: &Clip) {
    let mut all = Vec::new();
    for path in files_of(daemon, camera) {
        decodes_cleanly(&path).unwrap();
        all.extend(vcl_units(&path, clip.codec));
    }
    assert_run_of(&all, &vcl_units(&clip.path, clip.codec));
}

/// The camera is off, and its error says why.
#[track_caller]
fn wait_for_cause(daemon: &Daemon, camera: &str, words: &str, deadline: Duration) -> Value {
    daemon.wait_for_camera(camera, deadline, |found| {
        ["backoff", "reconnecting"].contains(&found["state"].as_str().unwrap())
            && found["error"].as_str().is_some_and(|error| error.contains(words))
    })
}

#[track_caller]
fn wait_for_packets(daemon: &Daemon, camera: &str, more: f64) {
    let before = daemon.metric("tarsier_packets_total", camera).unwrap();
    wait_for(&format!("packets of {camera}"), secs(40), || {
        daemon.metric("tarsier_packets_total", camera).filter(|packets| *packets >= before + more)
    });
}

#[test]
fn a_camera_that_is_cut_off_for_20_s_comes_back_with_a_gap_and_the_others_do_not_notice() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let blind = Clip::spec().seconds(6.0).make();
    let server = RtspServer::start(&[
        Mount::new("far", &clip),
        Mount::new("near", &clip),
        Mount::new("blind", &blind).without_keyframes(),
    ]);
    let relay = Relay::to(server.port("far"));
    let mut daemon = Daemon::builder()
        .camera("far", &continuous(&server.url_through("far", &relay)))
        .camera("near", &continuous(&server.url("near")))
        .camera("blind", &continuous(&server.url("blind")))
        .start();
    let events = daemon.events();
    for camera in ["far", "near"] {
        daemon.wait_for_state(camera, "running", secs(30));
        wait_for_packets(&daemon, camera, 60.0);
    }
    let memory_before = daemon.memory_kib("VmRSS");

    let (cut_at, began) = (utc_now(), monotonic());
    relay.cut();
    let camera = wait_for_cause(&daemon, "far", "", secs(6));
    assert!(began.elapsed() < secs(5), "within read_timeout: {:?}", began.elapsed());
    assert!(camera["error"].as_str().is_some_and(|error| error.len() > 20), "{camera}");
    holds_for("one camera is off and the other on", secs(20).saturating_sub(began.elapsed()), || {
        let far = daemon.camera("far").unwrap();
        assert!(["backoff", "reconnecting"].contains(&far["state"].as_str().unwrap()), "{far}");
        assert!(!far["error"].is_null(), "{far}");
        daemon.camera("near").unwrap()["state"] == "running"
    });
    assert_eq!(daemon.get_text("/readyz").0, 503);
    let far = wait_for_cause(&daemon, "far", "refused", secs(5));
    assert_eq!(far["reconnects"], 0, "{far}");

    let healed_at = utc_now();
    relay.heal();
    let camera = daemon.wait_for_state("far", "running", secs(40));
    assert_eq!((&camera["reconnects"], &camera["error"]), (&1.into(), &Value::Null), "{camera}");
    assert_eq!(daemon.metric("tarsier_reconnects_total", "far"), Some(1.0));
    let gap = wait_for("the gap", secs(10), || daemon.gaps("far").into_iter().next());
    assert_eq!(gap["cause"], "disconnected", "{gap}");
    let (start, end) = (time(&gap["start"]), time(&gap["end"]));
    assert!((start - cut_at).abs() < TimeDelta::seconds(2), "cut at {cut_at}: {gap}");
    // A camera may hand over at once what it has since its last keyframe.
    assert!(end > healed_at - TimeDelta::seconds(2) && end <= utc_now(), "healed at {healed_at}: {gap}");
    let seconds = daemon.metric("tarsier_gap_seconds_total", "far").unwrap();
    assert!((seconds - (end - start).as_seconds_f64()).abs() < 0.5, "{seconds} and {gap}");
    events.wait_for("the gap", secs(5), |event| event.kind == "gap" && event.data["camera"] == "far");

    let rows = wait_for("a second recording", secs(20), || Some(daemon.recordings("far")).filter(|r| r.len() >= 2));
    assert!(rows[0].complete, "what was recorded before is closed: {:?}", rows[0]);
    assert!((rows[0].end.unwrap() - start).abs() < TimeDelta::milliseconds(500), "{:?} and {gap}", rows[0]);
    // While it is open its start is as was thought at first.
    assert!((rows[1].start - end).abs() < TimeDelta::milliseconds(1500), "{:?} and {gap}", rows[1]);
    wait_for_packets(&daemon, "far", 45.0);

    // Pictures come, and none of them is a keyframe.
    let camera = wait_for_cause(&daemon, "blind", "keyframe", secs(90));
    assert_eq!(camera["recording"], false, "{camera}");
    assert!(daemon.recordings("blind").is_empty());
    daemon.wait_for_stderr("no keyframe in 60 s", secs(5));
    let memory = daemon.memory_kib("VmRSS");
    assert!(memory < memory_before + 60_000, "{memory_before} KiB became {memory} KiB");

    assert_eq!(server.stats("near").connections, 1);
    assert!(daemon.gaps("near").is_empty());
    assert_eq!(daemon.gaps("far").len(), 1);
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    assert_all_recorded(&daemon, "near", &clip);
    for path in recording_files(&daemon.archive()) {
        decodes_cleanly(&path).unwrap();
    }
}

/// A port where nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Answers every connection with `talk` until its peer goes.
fn server_that(talk: impl Fn(&mut TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), talk) = (stream, talk.clone()) else { return };
            // Its peer goes away when it has had enough.
            thread::spawn(move || while talk(&mut stream).is_ok() {});
        }
    });
    port
}

/// Bytes that mean nothing, and never end.
fn babble(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut random = fastrand::Rng::with_seed(11);
    let block: Vec<u8> = (0..16 * 1024).map(|_| random.u8(..)).collect();
    stream.write_all(&block)
}

#[test]
fn bad_sources_are_told_for_what_they_are_and_harm_nobody() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let with_sound = Clip::spec().seconds(10.0).audio(AudioCodec::Aac).make();
    let server = RtspServer::start(&[
        Mount::new("good", &clip),
        Mount::new("basic", &clip).basic_auth("viewer", "right-1"),
        Mount::new("digest", &clip).digest_auth("viewer", "right-2"),
        Mount::new("sound", &with_sound).without_video(),
        Mount::new("other", &clip),
    ]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let garbage = server_that(babble);
    let line_without_end = server_that(|stream| stream.write_all(&[b'a'; 16 * 1024]));
    let hangs_up = server_that(|stream| {
        let mut request = [0; 1000];
        let _ = stream.read(&mut request)?;
        Err(std::io::ErrorKind::Other.into())
    });
    let page = server_that(|stream| {
        let mut request = [0; 1000];
        if stream.read(&mut request)? == 0 {
            return Err(std::io::ErrorKind::Other.into());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<h1>Hello</h1>")
    });
    let missing = server.url("other").replace("/other", "/elsewhere");
    let credentials = |user: &str, password: &str| format!("username: {user}\npassword: {password}\n");
    let cameras = [
        ("refused", continuous(&format!("rtsp://127.0.0.1:{}/live", closed_port())), "connection refused"),
        ("silent", continuous(&format!("rtsp://127.0.0.1:{silent_port}/live")), "no stream within 4 s"),
        ("nameless", continuous("rtsp://no-such-camera.invalid/live"), "no-such-camera.invalid"),
        ("missing", continuous(&missing), "404"),
        ("sound", continuous(&server.url("sound")), "no video"),
        ("garbage", continuous(&format!("rtsp://127.0.0.1:{garbage}/live")), ""),
        ("endless", continuous(&format!("rtsp://127.0.0.1:{line_without_end}/live")), ""),
        ("flood", continuous(&format!("http://127.0.0.1:{garbage}/live")), ""),
        ("hangs-up", continuous(&format!("rtsp://127.0.0.1:{hangs_up}/live")), ""),
        ("page", continuous(&format!("http://127.0.0.1:{page}/")), "no video stream"),
        (
            "basic",
            continuous(&server.url("basic").replace("viewer:right-1@", "")) + &credentials("viewer", "wrong-1"),
            "password",
        ),
        (
            "digest",
            continuous(&server.url("digest").replace("viewer:right-2@", "")) + &credentials("viewer", "wrong-2"),
            "password",
        ),
        ("anonymous", continuous(&server.url("basic").replace("viewer:right-1@", "")), "password"),
    ];
    let mut builder = Daemon::builder().camera("good", &continuous(&server.url("good")));
    for (name, yaml, _) in &cameras {
        builder = builder.camera(name, yaml);
    }
    let mut daemon = builder.start();
    let began = monotonic();
    daemon.wait_for_state("good", "running", secs(30));
    for (name, _, words) in &cameras {
        let camera = wait_for_cause(&daemon, name, words, secs(20));
        let error = camera["error"].as_str().unwrap();
        assert!(error.len() > 20, "{name}: {error}");
        for secret in ["right-1", "wrong-1", "right-2", "wrong-2"] {
            assert!(!error.contains(secret), "{name}: {error}");
        }
        assert_eq!(camera["recording"], false, "{name}");
    }
    holds_for("the good one records", secs(12).saturating_sub(began.elapsed()), || {
        daemon.camera("good").unwrap()["state"] == "running"
    });
    // 1 s, 2 s, 4 s: a locked account is worse than a late camera. Two of the three share a server.
    let seconds = began.elapsed().as_secs();
    for (mount, most) in [("digest", 6), ("basic", 12)] {
        let connections = server.stats(mount).connections;
        assert!((1..=most).contains(&connections), "{connections} connections to {mount} in {seconds} s");
    }
    let log = daemon.stderr();
    for (name, _, _) in &cameras {
        assert!(log.lines().any(|line| line.contains(&format!("camera={name}")) && line.contains("cause=")), "{name}");
    }
    let peak = daemon.memory_kib("VmHWM");
    assert!(peak < 400_000, "{peak} KiB at most");
    assert_eq!(server.stats("good").connections, 1);
    assert!(daemon.gaps("good").is_empty());

    // A password that is put right is taken at once.
    let right = continuous(&server.url("digest").replace("viewer:right-2@", "")) + &credentials("viewer", "right-2");
    daemon.replace_camera("digest", &right);
    daemon.wait_for_state("digest", "running", secs(20));
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    assert_all_recorded(&daemon, "good", &clip);
}

#[test]
fn streams_that_stall_tear_or_lie_are_lived_through() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let names = ["good", "stalls", "torn", "corrupt", "jumps", "slow"];
    let server = RtspServer::start(&names.map(|name| Mount::new(name, &clip)));
    let relays = names.map(|name| Relay::to(server.port(name)));
    let relay = |name: &str| &relays[names.iter().position(|other| *other == name).unwrap()];
    let mut builder = Daemon::builder();
    for name in names {
        builder = builder.camera(name, &continuous(&server.url_through(name, relay(name))));
    }
    let mut daemon = builder.start();
    for name in names {
        daemon.wait_for_state(name, "running", secs(30));
    }
    wait_for_packets(&daemon, "jumps", 30.0);

    // Nothing comes any more and nobody hangs up.
    let began = monotonic();
    relay("stalls").stall();
    // In the middle of a packet, again and again.
    relay("torn").cut_after(20_001);
    relay("corrupt").corrupt(3_000);
    // An hour on, back again, half an hour back.
    server.shift_timestamps("jumps", 3600.0);
    let camera = wait_for_cause(&daemon, "stalls", "nothing came for 4 s", secs(15));
    assert!(began.elapsed() < secs(4 + 2), "within read_timeout: {:?} {camera}", began.elapsed());
    server.shift_timestamps("jumps", 0.0);
    wait_for_packets(&daemon, "jumps", 30.0);
    server.shift_timestamps("jumps", -1800.0);
    wait_for_packets(&daemon, "jumps", 30.0);
    wait_for("a torn connection that is tried again", secs(30), || (relay("torn").accepted() >= 2).then_some(()));
    relay("stalls").heal();
    relay("torn").heal();
    relay("corrupt").heal();
    for name in names {
        daemon.wait_for_state(name, "running", secs(60));
        wait_for_packets(&daemon, name, 30.0);
    }
    for name in ["stalls", "torn"] {
        assert_eq!(daemon.gaps(name)[0]["cause"], "disconnected", "{name}");
    }
    daemon.wait_for_stderr("clock jumped by", secs(5));
    for name in ["good", "jumps"] {
        assert_eq!(server.stats(name).connections, 1, "{name}");
        assert!(daemon.gaps(name).is_empty(), "{name}");
    }
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    for name in ["good", "jumps"] {
        assert_all_recorded(&daemon, name, &clip);
    }
    // Time goes on in the recording as it did in the world.
    for path in files_of(&daemon, "jumps") {
        let (frames, seconds) = (read_frames(&path).len(), duration_s(&path));
        assert!((seconds - frames as f64 / 15.0).abs() < 1.0, "{frames} frames in {seconds} s");
    }
    for name in ["stalls", "torn"] {
        for path in files_of(&daemon, name) {
            // The last picture may be cut off where the stream was.
            let units = vcl_units(&path, clip.codec);
            assert_run_of(&units[..units.len() - 1], &vcl_units(&clip.path, clip.codec));
        }
    }
}

#[test]
fn rtsp_over_udp_and_with_credentials_of_their_own() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    // Characters that mean something in an address.
    let password = "p@ss/w:rd%41#?&";
    let server = RtspServer::start(&[
        Mount::new("udp", &clip),
        Mount::new("auto", &clip),
        Mount::new("basic", &clip).basic_auth("viewer", password),
        Mount::new("digest", &clip).digest_auth("the viewer", password),
    ]);
    let plain = |mount: &str| format!("rtsp://127.0.0.1:{}/{mount}", server.port(mount));
    let names = ["udp", "auto", "basic", "digest"];
    let builder = Daemon::builder()
        .camera("udp", &(continuous(&plain("udp")) + "transport: udp\n"))
        .camera("auto", &(continuous(&plain("auto")) + "transport: auto\n"))
        .camera("basic", &(continuous(&plain("basic")) + &format!("username: viewer\npassword: \"{password}\"\n")))
        .camera("digest", &(continuous(&plain("digest")) + "username: the viewer\npassword_file: digest.password\n"));
    std::fs::write(builder.folder().join("digest.password"), format!("{password}\n")).unwrap();
    let mut daemon = builder.start();
    for name in names {
        daemon.wait_for_state(name, "running", secs(40));
        wait_for_packets(&daemon, name, 45.0);
    }
    let log = daemon.stderr();
    assert!(!log.contains("p@ss") && !log.contains("p%40ss"), "{log}");
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    for name in names {
        assert_all_recorded(&daemon, name, &clip);
    }
}

#[test]
fn a_detector_may_look_at_a_stream_of_its_own() {
    const PRE_ALARM_S: f64 = 2.0;
    let still = Clip::spec().size(640, 360).seconds(60.0).gop_seconds(1.0).make();
    let moves = Clip::spec().seconds(60.0).gop_seconds(1.0).motion(16.4, 19.4).make();
    let server =
        RtspServer::start(&[Mount::new("both", &moves), Mount::new("main", &still), Mount::new("sub", &moves)]);
    let sub_cable = Relay::to(server.port("sub"));
    let camera = |source: String, detect_source: String| {
        format!(
            "source: {source}\ndetect_source: {detect_source}\nread_timeout: 4s\n\
             detect: {{ warm_up: 2s, minimal_duration: 3s }}\nrecord: {{ pre_alarm: {PRE_ALARM_S}s }}\n"
        )
    };
    let mut daemon = Daemon::builder()
        // The same pictures twice, so that it is known which of the main stream belong to the motion.
        .camera("both", &camera(server.url("both"), server.url("both")))
        // Nothing moves in the main stream: only the other one can tell.
        .camera("main", &camera(server.url("main"), server.url_through("sub", &sub_cable)))
        .start();
    let both = daemon.wait_for_recording("both", secs(60), |recording| recording.complete);
    let main = daemon.wait_for_recording("main", secs(60), |recording| recording.complete);
    assert_eq!(server.stats("both").connections, 2);
    for recording in [&both, &main] {
        assert_eq!(recording.reason, "motion");
        // Widened by what is not known of the two streams' clocks, and to a keyframe.
        let pre_alarm = recording.pre_alarm_s.unwrap();
        assert!((PRE_ALARM_S..PRE_ALARM_S + 2.5).contains(&pre_alarm), "{pre_alarm}");
    }
    let frames = read_frames(&daemon.archive().join(&both.path));
    assert_unbroken(&frames, moves.frames);
    let motion = moves.motion_frames()[0].clone();
    let (first, last) = (frames[0].number, frames.last().unwrap().number);
    assert_eq!(first % moves.gop, 0);
    let wanted = motion.start - (PRE_ALARM_S * 15.0) as u32;
    assert!((wanted - 40..=wanted + 4).contains(&first), "from frame {first}; wanted {wanted}");
    let end = motion.end + 3 * 15;
    assert!((end - 5..end + 30).contains(&last), "up to frame {last}; the event ends at {end}");
    let path = daemon.archive().join(&main.path);
    let probed = probe(&path);
    assert_eq!(probed["streams"][0]["width"], 640, "the main stream is recorded: {probed}");
    assert_run_of(&vcl_units(&path, still.codec), &vcl_units(&still.path, still.codec));

    // Without its stream the detector is blind: everything is recorded, and that is said.
    sub_cable.cut();
    let camera = daemon.wait_for_state("main", "degraded", secs(15));
    assert!(camera["error"].as_str().unwrap().contains("detect_source"), "{camera}");
    daemon.wait_for_recording("main", secs(15), |recording| recording.reason == "detector_down");
    sub_cable.heal();
    daemon.wait_for_state("main", "running", secs(40));
    daemon.wait_for_recording("main", secs(40), |recording| recording.reason == "detector_down" && recording.complete);
    assert!(daemon.gaps("main").is_empty());
    assert_eq!(server.stats("main").connections, 1);
    assert_eq!(daemon.terminate(secs(6)), Some(0));
}

#[test]
fn a_camera_that_flaps_or_sends_damaged_pictures_does_not_fill_the_log() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let source = clip.path.to_str().unwrap();
    let damaged =
        Clip::drawn_by_ffmpeg("damaged", &["-i", source, "-map", "0:v", "-c", "copy", "-bsf:v", "noise=amount=40"]);
    let server = RtspServer::start(&[Mount::new("flaps", &clip)]);
    let relay = Relay::to(server.port("flaps"));
    let daemon = Daemon::builder()
        .env("RUST_LOG", "warn,tarsier=debug,libav=debug")
        .camera("flaps", &continuous(&server.url_through("flaps", &relay)))
        .camera("damaged", &format!("source: {}\nloop: true\ndetect: {{ warm_up: 1s }}\n", damaged.display()))
        .start();
    daemon.wait_for_state("flaps", "running", secs(30));
    daemon.wait_for_state("damaged", "running", secs(30));
    relay.corrupt(400);
    let began = monotonic();
    let before = daemon.stderr().len();
    holds_for("the daemon lives", secs(12), || {
        relay.drop_connections();
        daemon.get_text("/healthz").0 == 200
    });
    let log = daemon.stderr().split_off(before);
    let seconds = began.elapsed().as_secs_f64();
    // By what is said, without times, numbers and counts.
    let mut complaints = std::collections::BTreeMap::<String, usize>::new();
    for line in log.lines() {
        let said = line.split_once(' ').map_or(line, |(_, said)| said);
        if said.trim_start().starts_with("WARN") || said.trim_start().starts_with("ERROR") {
            let said = said.split(" (").next().unwrap().replace(|c: char| c.is_ascii_digit(), "");
            *complaints.entry(said).or_default() += 1;
        }
    }
    for camera in ["flaps", "damaged"] {
        assert!(complaints.keys().any(|said| said.contains(&format!("camera={camera}"))), "{camera} is complained of");
    }
    assert!(log.contains(" times in the last second)"), "what was folded is counted");
    for (said, count) in complaints {
        assert!(count as f64 <= seconds + 2.0, "{count} times in {seconds} s: {said}");
    }
}
