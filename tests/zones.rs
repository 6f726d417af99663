//! Masks and zones: where something moves decides whether it is an event, what the event says, and whether it is
//! recorded.

mod support;

use support::*;

/// The clip's box moves in the middle of the picture, with its lower edge at three quarters of the height.
const ZONES: &str = "zones: [{name: sky, polygon: [[0, 0], [1, 0], [1, 0.6], [0, 0.6]]}, \
                     {name: ground, polygon: [[0, 0.6], [1, 0.6], [1, 1], [0, 1]]}]";

fn yaml(clip: &Clip, detect: &str, record: &str) -> String {
    format!(
        "source: {}\ndetect: {{ algorithm: adaptive, width: 160, warm_up: 2s, minimal_duration: 2s, {detect} }}\n\
         record: {{ pre_alarm: 2s, {record} }}\n",
        clip.path.display()
    )
}

#[test]
fn where_something_moves_decides_what_is_recorded() {
    let clip = Clip::spec().size(320, 240).seconds(16.0).gop_seconds(1.0).motion(7.0, 10.0).make();
    let daemon = Daemon::builder()
        .camera("plain", &yaml(&clip, ZONES, ""))
        .camera("ground", &yaml(&clip, ZONES, "zones: [ground]"))
        .camera("sky", &yaml(&clip, ZONES, "zones: [sky]"))
        .camera("masked", &yaml(&clip, "masks: [[[0, 0.4], [1, 0.4], [1, 0.85], [0, 0.85]]]", ""))
        .camera("beside", &yaml(&clip, "masks: [[[0, 0], [1, 0], [1, 0.4], [0, 0.4]]]", ""))
        .start();
    let stream = daemon.events();
    let started = stream.wait_for("motion", secs(60), |event| event.kind == "motion_started");
    assert_eq!((&started.data["cause"], started.data["boxes"].as_array().map(Vec::len)), (&"motion".into(), Some(1)));
    for camera in ["plain", "ground", "sky", "masked", "beside"] {
        daemon.wait_for_state(camera, "stopped", secs(60));
    }

    let event_of = |camera: &str| {
        let page = daemon.get(&format!("/api/events?camera={camera}"));
        let events = page["events"].as_array().expect("a list").clone();
        assert!(events.len() <= 1, "{camera}: {events:?}");
        events.into_iter().next()
    };
    assert!(event_of("masked").is_none() && daemon.recordings("masked").is_empty());
    for (camera, zones) in [("plain", &["ground"][..]), ("ground", &["ground"]), ("sky", &["ground"]), ("beside", &[])]
    {
        let event = event_of(camera).unwrap_or_else(|| panic!("{camera} saw nothing"));
        assert_eq!((&event["cause"], &event["zones"]), (&"motion".into(), &zones.into()), "{camera}");
        let boxes = event["boxes"].as_array().expect("a list");
        let side = |name: &str| boxes[0][name].as_f64().expect("a share");
        let (top, bottom) = (side("top"), side("top") + side("height"));
        assert!((top - 0.5).abs() < 0.05 && (bottom - 0.75).abs() < 0.05, "{camera}: {boxes:?}");
        let recorded = daemon.recordings(camera).len();
        assert_eq!(recorded, usize::from(camera != "sky"), "{camera}");
        assert_eq!(event["recordings"].as_array().map(Vec::len), Some(recorded), "{camera}");
    }
}
