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
