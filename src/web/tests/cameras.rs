//! Cameras: states, commands, snapshots.

use super::*;

#[test]
fn cameras_are_listed_as_they_are() {
    let served = Served::start();
    assert_eq!(served.json("/api/cameras"), json!([]));
    served.registry.entry("yard").update(|status| {
        status.state = CameraState::Running;
        status.since = first_start();
        status.started_at = Some(first_start());
        status.fps = 15.0;
        status.bitrate = 2_000_000;
        status.resolution = Some("1920x1080".into());
        status.codec = Some("h264".into());
        status.mime = Some("video/mp4; codecs=\"avc1.64001f\"".into());
        status.recording = true;
        status.generation = 3;
        status.expects_recording = true;
    });
    let fault = "config.d/attic.yaml:7:3: unknown key `recrod` (did you mean `record`?)";
    served.registry.entry("attic").update(|status| status.config_error = Some(fault.into()));
    let cameras = served.json("/api/cameras");
    assert_eq!(
        cameras[1],
        json!({
            "name": "yard", "state": "running", "since": "2026-01-31T08:00:00Z", "error": null, "restarts": 0,
            "reconnects": 0, "fps": 15.0, "bitrate": 2_000_000, "resolution": "1920x1080", "codec": "h264",
            "mime": "video/mp4; codecs=\"avc1.64001f\"",
            "motion": false, "recording": true, "started_at": "2026-01-31T08:00:00Z", "generation": 3,
        })
    );
    assert_eq!((&cameras[0]["name"], &cameras[0]["config_error"]), (&json!("attic"), &json!(fault)));
    assert_eq!(served.json("/api/cameras/yard"), cameras[1]);
    served.registry.remove("attic");
    assert_eq!(served.json("/api/cameras").as_array().unwrap().len(), 1);
    served.get("/api/cameras/attic").problem(404);
}

#[test]
fn commands_reach_the_camera_that_runs() {
    let served = Served::start();
    let asked = commands_of(&served, "yard");
    served.registry.entry("attic");
    for path in ["trigger", "restart"] {
        let answer = served.ask("POST", &format!("/api/cameras/yard/{path}"), &[]);
        assert_eq!((answer.status, answer.json()), (202, json!({"camera": "yard", "command": path})));
        let detail = served.ask("POST", &format!("/api/cameras/attic/{path}"), &[]).problem(409);
        assert!(detail.contains("attic"), "{detail}");
        served.get(&format!("/api/cameras/yard/{path}")).problem(405);
    }
    assert_eq!(*asked.lock().unwrap(), [CameraCommand::Trigger, CameraCommand::Restart]);
}

#[test]
fn a_panic_in_a_handler_is_answered_and_ends_nothing() {
    let served = Served::start();
    served.registry.entry("yard").set_commands(Some(Box::new(|_| panic!("a fault in the camera's commands"))));
    for _ in 0..5 {
        let answer = served.ask("POST", "/api/cameras/yard/trigger", &[]);
        assert!(answer.problem(500).contains("POST /api/cameras/yard/trigger"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(served.get("/api/cameras/yard").status, 200);
}

#[test]
fn a_snapshot_is_the_newest_keyframe() {
    let served = Served::start();
    let entry = served.registry.entry("yard");
    let answer = served.get("/api/cameras/yard/snapshot.jpg");
    assert!(answer.problem(503).contains("yard"));
    assert_eq!(answer.header("retry-after"), "2");

    let empty = PacketRing::new(RingBounds { keep_us: 1, max_bytes: 1 });
    entry.set_ring(Some(Arc::new(empty)));
    served.get("/api/cameras/yard/snapshot.jpg").problem(503);

    let (filled, pictures) = ring(served.folder.path(), &["-c:v", "mjpeg"], "clip.mkv");
    entry.set_ring(Some(filled));
    let answer = served.get("/api/cameras/yard/snapshot.jpg");
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/jpeg"));
    assert_eq!(answer.body, *pictures.last().unwrap());
    assert!(answer.body.starts_with(&[0xff, 0xd8]));

    // Of a GOP's pictures it is the first: the others cannot be decoded alone.
    let encode = ["-c:v", "libx264", "-g", "10", "-sc_threshold", "0"];
    let (filled, keyframes) = ring(served.folder.path(), &encode, "clip.mp4");
    assert_eq!(keyframes.len(), 3);
    entry.set_ring(Some(filled));
    assert_eq!(served.get("/api/cameras/yard/snapshot.jpg").body, keyframes[2]);
}

#[test]
fn the_score_says_how_much_changed_and_when_nobody_looked() {
    let served = Served::start();
    served.registry.entry("yard");
    let at = |second| first_start() + TimeDelta::seconds(second);
    let shares = [(0, 0.0), (1, 0.01), (3, 1.0), (3000, 0.5)];
    served.index.see("yard", shares.map(|(second, share)| (at(second), Score::of(share))));
    let score = served.json("/api/cameras/yard/score?from=2026-01-31T08:00:00Z&to=2026-01-31T08:00:05Z");
    assert_eq!(
        (&score["camera"], &score["from"], &score["step_s"]),
        (&json!("yard"), &json!("2026-01-31T08:00:00Z"), &json!(1))
    );
    let points = score["score"].as_array().unwrap();
    assert_eq!((&points[0], &points[2..]), (&json!(0.0), &[Value::Null, json!(1.0), Value::Null][..]));
    assert!((points[1].as_f64().unwrap() - 0.01).abs() < 0.0004, "{score}");
    // A day: the largest of each step.
    let score = served.json("/api/cameras/yard/score?from=2026-01-31T08:00:00Z&to=2026-02-01T08:00:00Z");
    let points = score["score"].as_array().unwrap();
    assert_eq!((&score["step_s"], points.len()), (&json!(60), 1440));
    assert_eq!((&points[0], &points[1]), (&json!(1.0), &Value::Null));
    assert!(points[50].as_f64().is_some());
    // Without times it is the last hour.
    let score = served.json("/api/cameras/yard/score");
    assert!(score["score"].as_array().unwrap().iter().all(Value::is_null));
    served.get("/api/cameras/nobody/score").problem(404);
    served.get("/api/cameras/yard/score?from=yesterday").problem(400);
}

#[test]
fn a_failing_snapshot_tells_no_secret_and_ends_nothing() {
    let served = Served::start_with(Arc::new(|packet| {
        assert_ne!(packet.session.id, 2, "a fault in the decoder");
        Err(format!("cannot decode rtsp://viewer:{CANARY}@192.0.2.1/ch1"))
    }));
    let (filled, _) = ring(served.folder.path(), &["-c:v", "mjpeg"], "clip.mkv");
    served.registry.entry("yard").set_ring(Some(filled));
    let detail = served.get("/api/cameras/yard/snapshot.jpg").problem(500);
    assert!(detail.contains("rtsp://***@192.0.2.1/ch1") && !detail.contains(CANARY), "{detail}");

    let panics = PacketRing::new(RingBounds { keep_us: 10_000_000, max_bytes: 64 << 20 });
    let producer = panics.admit();
    for packet in testing::packets(&served.folder.path().join("clip.mkv"), 2) {
        panics.push(producer, Arc::new(packet)).unwrap();
    }
    served.registry.entry("shed").set_ring(Some(Arc::new(panics)));
    for _ in 0..20 {
        served.get("/api/cameras/shed/snapshot.jpg").problem(500);
    }
    assert_eq!(served.get("/healthz").status, 200);
}
