//! What a detector knows of its scene outlives a lost connection, a reload and the daemon: who moves right after is seen
//! at once, and nothing else is.

mod support;

use std::fs;

use support::*;

const FPS: f64 = 15.0;

fn camera(url: &str) -> String {
    format!("source: {url}\ndetect: {{ algorithm: adaptive, minimal_duration: 2s }}\nrecord: {{ pre_alarm: 5s }}\n")
}

/// Waits until so many seconds of the camera's video were looked at since the daemon started.
fn look_for(daemon: &Daemon, camera: &str, seconds: f64) {
    wait_for("the detector to look", secs(90), || {
        daemon.metric("tarsier_frames_decoded_total", camera).filter(|frames| *frames >= seconds * FPS)
    });
}

fn events(daemon: &Daemon, camera: &str) -> Vec<serde_json::Value> {
    daemon.listed_events(&format!("camera={camera}"))
}

#[test]
fn who_moves_at_the_restart_is_seen_at_once() {
    let still = Clip::spec().seconds(60.0).gop_seconds(1.0).make();
    let moving = Clip::spec().seconds(60.0).gop_seconds(1.0).motion(0.4, 5.0).make();
    let server = RtspServer::start(&[Mount::new("still", &still), Mount::new("moving", &moving)]);
    let mut daemon = Daemon::builder().camera("yard", &camera(&server.url("still"))).start();
    look_for(&daemon, "yard", 12.0);
    assert_eq!(events(&daemon, "yard"), Vec::<serde_json::Value>::new());
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    let kept = daemon.archive().join(".background/yard");
    assert!(kept.metadata().is_ok_and(|file| file.len() > 200_000), "{}", kept.display());

    // The same scene; its first client begins it.
    daemon.write_camera("yard", &camera(&server.url("moving")));
    daemon.restart();
    let recording = daemon.wait_for_recording("yard", secs(60), |_| true);
    let delivered_s = recording.pre_alarm_s.expect("it was triggered");
    // Without a memory nothing starts in the first five seconds.
    assert!((0.3..2.5).contains(&delivered_s), "triggered {delivered_s} s after the first picture");
}

#[test]
fn a_restart_before_a_still_scene_or_another_one_is_no_event() {
    let still = Clip::spec().seconds(60.0).gop_seconds(1.0).make();
    let scene = "gradients=s=320x240:r=15:c0=white:c1=black:speed=0.00001:seed=5,noise=alls=4:allf=t";
    let other =
        ["-f", "lavfi", "-i", scene, "-t", "30", "-c:v", "libx264", "-g", "15", "-bf", "0", "-pix_fmt", "yuv420p"];
    let other = Clip::drawn_by_ffmpeg("another-scene", &other);
    let server = RtspServer::start(&[Mount::new("still", &still), Mount::of_file("other", &other, 15)]);
    let mut daemon = Daemon::builder().camera("yard", &camera(&server.url("still"))).start();
    look_for(&daemon, "yard", 12.0);
    // What was kept is damaged in the end, too.
    for (mount, is_damaged) in [("still", false), ("other", false), ("still", true)] {
        assert_eq!(daemon.terminate(secs(6)), Some(0));
        if is_damaged {
            fs::write(daemon.archive().join(".background/yard"), b"nothing").unwrap();
        }
        daemon.write_camera("yard", &camera(&server.url(mount)));
        daemon.restart();
        look_for(&daemon, "yard", 7.0);
        assert_eq!(events(&daemon, "yard"), Vec::<serde_json::Value>::new(), "{mount}");
    }
}

/// The connection alone is lost, or the camera's file is changed, before something that moves and before nothing.
#[test]
fn who_moves_at_a_reconnect_or_a_reload_is_seen_at_once_and_nothing_else_is() {
    let still = Clip::spec().seconds(60.0).gop_seconds(1.0).make();
    let moving = Clip::spec().seconds(60.0).gop_seconds(1.0).motion(0.4, 5.0).make();
    let before = RtspServer::start(&[Mount::new("yard", &still)]);
    // The same scene; the first client of a mount begins it.
    let after = RtspServer::start(&[Mount::new("yard", &moving), Mount::new("gate", &moving)]);
    let (cut, cut_calm) = (Relay::to(before.port("yard")), Relay::to(before.port("yard")));
    let changed = |url: &str| camera(url).replace("minimal_duration: 2s", "minimal_duration: 3s");
    let daemon = Daemon::builder()
        .camera("cut", &camera(&before.url_through("yard", &cut)))
        .camera("cut-calm", &camera(&before.url_through("yard", &cut_calm)))
        .camera("edited", &camera(&before.url("yard")))
        .camera("edited-calm", &camera(&before.url("yard")))
        .start();
    let all = ["cut", "cut-calm", "edited", "edited-calm"];
    all.iter().for_each(|camera| look_for(&daemon, camera, 12.0));
    assert_eq!(all.map(|camera| events(&daemon, camera).len()), [0; 4]);

    cut.lead_to(after.port("yard"));
    cut.drop_connections();
    cut_calm.drop_connections();
    daemon.write_camera("edited", &changed(&after.url("gate")));
    daemon.write_camera("edited-calm", &changed(&before.url("yard")));
    for camera in ["cut", "edited"] {
        let recording = daemon.wait_for_recording(camera, secs(60), |_| true);
        let delivered_s = recording.pre_alarm_s.expect("it was triggered");
        // Without a memory nothing starts in the first five seconds.
        assert!((0.3..2.5).contains(&delivered_s), "{camera}: triggered {delivered_s} s after the first picture");
    }
    for camera in ["cut-calm", "edited-calm"] {
        look_for(&daemon, camera, 21.0);
        assert_eq!(events(&daemon, camera), Vec::<serde_json::Value>::new(), "{camera}");
    }
    let count = |metric: &str, camera: &str| daemon.metric(metric, camera).expect("it is counted");
    assert_eq!(["cut", "cut-calm"].map(|camera| count("tarsier_reconnects_total", camera)), [1.0; 2]);
    assert_eq!(["edited", "edited-calm"].map(|camera| events(&daemon, camera).len()), [1, 0]);
}
