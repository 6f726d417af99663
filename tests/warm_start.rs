//! What a detector knows of its scene outlives the daemon: who moves at the restart is seen at once, and nothing else
//! is.

mod support;

use std::fs;

use support::*;

const FPS: f64 = 15.0;

fn camera(url: &str) -> String {
    format!("source: {url}\ndetect: {{ algorithm: adaptive, minimal_duration: 2s }}\nrecord: {{ pre_alarm: 5s }}\n")
}

/// Waits until so many seconds of the camera's video were looked at since the daemon started.
fn look_for(daemon: &Daemon, seconds: f64) {
    wait_for("the detector to look", secs(90), || {
        daemon.metric("tarsier_frames_decoded_total", "yard").filter(|frames| *frames >= seconds * FPS)
    });
}

fn events(daemon: &Daemon) -> Vec<serde_json::Value> {
    daemon.get("/api/events?camera=yard")["events"].as_array().expect("a list").clone()
}

#[test]
fn who_moves_at_the_restart_is_seen_at_once() {
    let still = Clip::spec().seconds(60.0).gop_seconds(1.0).make();
    let moving = Clip::spec().seconds(60.0).gop_seconds(1.0).motion(0.4, 5.0).make();
    let server = RtspServer::start(&[Mount::new("still", &still), Mount::new("moving", &moving)]);
    let mut daemon = Daemon::builder().camera("yard", &camera(&server.url("still"))).start();
    look_for(&daemon, 12.0);
    assert_eq!(events(&daemon), Vec::<serde_json::Value>::new());
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
    look_for(&daemon, 12.0);
    // What was kept is damaged in the end, too.
    for (mount, is_damaged) in [("still", false), ("other", false), ("still", true)] {
        assert_eq!(daemon.terminate(secs(6)), Some(0));
        if is_damaged {
            fs::write(daemon.archive().join(".background/yard"), b"nothing").unwrap();
        }
        daemon.write_camera("yard", &camera(&server.url(mount)));
        daemon.restart();
        look_for(&daemon, 7.0);
        assert_eq!(events(&daemon), Vec::<serde_json::Value>::new(), "{mount}");
    }
}
