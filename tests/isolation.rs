//! A camera that hangs, floods or sends garbage delays and loses nothing of another camera.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::*;

const FPS: u32 = 15;
const WITNESSES: [&str; 2] = ["north", "south"];

/// Answers every connection with noise as fast as it is taken, behind `greeting`.
struct Flood {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Flood {
    fn start(greeting: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut client) = client else { return };
                let stopped = Arc::clone(&stopped);
                std::thread::spawn(move || {
                    let mut request = [0; 1024];
                    let _ = client.read(&mut request);
                    let _ = client.write_all(greeting.as_bytes());
                    let mut random = fastrand::Rng::with_seed(3);
                    let mut noise = vec![0; 64 << 10];
                    random.fill(&mut noise);
                    while !stopped.load(Ordering::SeqCst) && client.write_all(&noise).is_ok() {}
                });
            }
        });
        Flood { port, stop }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
    }
}

#[test]
fn hanging_flooding_and_garbled_cameras_harm_no_other() {
    let clip = Clip::spec().size(160, 120).fps(FPS).seconds(60.0).gop_seconds(2.0).motion(3.0, 60.0).make();
    let server =
        RtspServer::start(&["north", "south", "stalled", "garbled", "hung"].map(|name| Mount::new(name, &clip)));
    let relays = ["stalled", "garbled"].map(|name| Relay::to(server.port(name)));
    let noise = Flood::start("");
    let pictures = Flood::start(
        "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n\
         --picture\r\nContent-Type: image/jpeg\r\n\r\n",
    );
    let yaml = |source: &str| {
        format!(
            "source: {source}\nconnect_timeout: 3s\nread_timeout: 3s\n\
             detect: {{ warm_up: 1s, width: 160, min_area: 1% }}\nrecord: {{ mode: continuous }}\n"
        )
    };
    // The reader of `hung` hangs in a call that can't be interrupted.
    let mut builder = Daemon::builder().env("FAILPOINTS", "reader.packet@hung=40*off->1*sleep(25000)");
    for name in ["north", "south", "hung"] {
        builder = builder.camera(name, &yaml(&server.url(name)));
    }
    let mut daemon = builder
        .camera("stalled", &yaml(&server.url_through("stalled", &relays[0])))
        .camera("garbled", &yaml(&server.url_through("garbled", &relays[1])))
        .camera("noise", &yaml(&format!("rtsp://127.0.0.1:{}/x", noise.port)))
        .camera("pictures", &yaml(&format!("http://127.0.0.1:{}/x", pictures.port)))
        .start();
    for name in ["north", "south", "stalled", "garbled"] {
        daemon.wait_for_camera(name, secs(30), |camera| camera["recording"] == true);
    }
    relays[0].stall();
    relays[1].corrupt(300);

    // Each is told of, with its cause, and tried again.
    let is_down = |camera: &serde_json::Value| {
        ["backoff", "reconnecting"].contains(&camera["state"].as_str().unwrap()) && camera["error"].is_string()
    };
    for name in ["stalled", "noise"] {
        daemon.wait_for_camera(name, secs(30), is_down);
    }
    let hung = daemon.wait_for_camera("hung", secs(30), is_down);
    assert!(hung["error"].as_str().unwrap().contains("abandoned"), "{hung}");
    assert!(daemon.get_text("/metrics").1.contains("tarsier_abandoned_threads 1"), "it is counted");
    daemon.wait_for_camera("hung", secs(30), |camera| camera["state"] == "running" && camera["reconnects"] == 1);

    // Meanwhile the others' packets come as they are sent, and are looked at.
    for _ in 0..20 {
        let before = WITNESSES.map(|name| server.stats(name).sent);
        wait_for("what was sent to arrive", secs(2), || {
            let read = WITNESSES.map(|name| daemon.metric("tarsier_packets_total", name).unwrap() as u64);
            (read[0] >= before[0] && read[1] >= before[1]).then_some(())
        });
        wait_for("a little more", secs(5), || {
            WITNESSES.iter().zip(before).all(|(name, before)| server.stats(name).sent > before + 3).then_some(())
        });
    }
    for name in WITNESSES {
        let camera = daemon.camera(name).unwrap();
        assert_eq!((&camera["state"], &camera["motion"]), (&"running".into(), &true.into()), "{camera}");
        assert!(daemon.metric("tarsier_frames_decoded_total", name).unwrap() > 0.0);
        assert!(daemon.gaps(name).is_empty());
        assert_eq!(server.stats(name).connections, 1);
    }
    // The cable is whole again: they come back by themselves, and what is missing is written down.
    relays.iter().for_each(Relay::heal);
    for name in ["stalled", "garbled"] {
        daemon.wait_for_state(name, "running", secs(60));
    }
    for name in ["stalled", "hung"] {
        wait_for("the gap", secs(20), || daemon.gaps(name).pop().filter(|gap| gap["cause"] == "disconnected"));
    }
    let rows = WITNESSES.map(|name| daemon.recordings(name));
    let sent = WITNESSES.map(|name| server.stats(name).sent);
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    for ((name, rows), sent) in WITNESSES.into_iter().zip(rows).zip(sent) {
        assert_eq!(rows.len(), 1, "{name} has one recording, unbroken");
        let frames = read_frames(&daemon.archive().join(&rows[0].path));
        assert_unbroken(&frames, clip.frames);
        assert!(frames.len() as u64 + u64::from(FPS) >= sent, "{name}: {} of {sent} pictures", frames.len());
    }
}
