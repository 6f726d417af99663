//! Readiness, metrics, the page.

use super::*;

#[test]
fn ready_while_all_that_should_record_can() {
    let served = Served::start();
    assert_eq!(served.json("/readyz"), json!({"ready": true}));
    let entry = served.registry.entry("yard");
    entry.update(|status| {
        status.state = CameraState::Backoff;
        status.error = Some("192.0.2.10 does not answer".into());
        status.expects_recording = true;
    });
    served.registry.entry("attic").update(|status| status.state = CameraState::Disabled);
    let answer = served.get("/readyz");
    assert_eq!(answer.problem(503), "not recording: yard");
    let cameras = json!([{"name": "yard", "state": "backoff", "error": "192.0.2.10 does not answer"}]);
    assert_eq!(answer.json()["cameras"], cameras);
    assert_eq!(served.get("/healthz").status, 200);
    entry.update(|status| status.state = CameraState::Running);
    assert_eq!(served.get("/readyz").status, 200);
}

#[test]
fn metrics_are_there_from_the_start() {
    const NAMES: [&str; 12] = [
        "tarsier_camera_up",
        "tarsier_packets_total",
        "tarsier_packets_dropped_total",
        "tarsier_packets_lost_total",
        "tarsier_frames_decoded_total",
        "tarsier_frames_skipped_total",
        "tarsier_motion_events_total",
        "tarsier_restarts_total",
        "tarsier_reconnects_total",
        "tarsier_recorded_bytes_total",
        "tarsier_gap_seconds_total",
        "tarsier_ring_bytes",
    ];
    let served = Served::start();
    let yard = served.registry.entry("yard");
    served.registry.entry("attic");
    let answer = served.get("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    for name in NAMES {
        for camera in ["attic", "yard"] {
            let line = format!("{name}{{camera=\"{camera}\"}} 0\n");
            assert!(answer.text().contains(&line), "{line}{}", answer.text());
        }
    }
    yard.update(|status| status.state = CameraState::Degraded);
    yard.counters.packets.store(7, Ordering::Relaxed);
    yard.counters.gap_ms.store(1500, Ordering::Relaxed);
    served.registry.thread_abandoned();
    let (filled, _) = ring(served.folder.path(), &["-c:v", "mjpeg"], "clip.mkv");
    let ring_line = format!("tarsier_ring_bytes{{camera=\"yard\"}} {}\n", filled.bytes());
    yard.set_ring(Some(filled));
    let text = served.get("/metrics").text();
    for line in [
        "tarsier_camera_up{camera=\"yard\"} 1\n",
        "tarsier_packets_total{camera=\"yard\"} 7\n",
        "tarsier_gap_seconds_total{camera=\"yard\"} 1.5\n",
        "tarsier_abandoned_threads 1\n",
        &ring_line,
        &format!("tarsier_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION")),
        "\nprocess_cpu_seconds_total ",
        "\nprocess_resident_memory_bytes ",
        "\ntarsier_uptime_seconds ",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    // Each family is described once, and each line of it follows its description.
    let mut family = "";
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(described) => {
                family = described.split(' ').next().unwrap();
                assert!(seen.insert(family), "{family} is described twice");
            }
            None if line.starts_with('#') => {}
            None => assert_eq!(line.split(['{', ' ']).next().unwrap(), family),
        }
    }
}
