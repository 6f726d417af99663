//! Events, gaps and alarms.

use super::*;

#[test]
fn recorded_events_are_listed() {
    let served = Served::start();
    let first = served.record("yard", 0);
    for minutes in 1..4 {
        let mut recording = served.record("yard", minutes);
        recording.reason = Reason::Continuous;
        served.put(recording);
    }
    let mut last = served.record("yard", 4);
    last.reason = Reason::Manual;
    last.end = None;
    last.complete = false;
    let last = served.put(last);
    let page = served.json("/api/events?camera=yard&limit=2");
    assert_eq!(
        page["events"],
        json!([
            {"event": "motion", "camera": "yard", "start": "2026-01-31T08:04:05Z", "end": null,
             "reason": "manual", "continued": false, "recording": last.id},
            {"event": "motion", "camera": "yard", "start": "2026-01-31T08:00:05Z", "end": "2026-01-31T08:00:20Z",
             "reason": "motion", "continued": false, "recording": first.id},
        ])
    );
    assert_eq!(page["next"], Value::Null);
    let earlier = served.json("/api/events?to=2026-01-31T08:03:00Z");
    assert_eq!(earlier["events"].as_array().unwrap().len(), 1);
}

#[test]
fn a_listener_hears_what_happens() {
    let served = Served::start();
    served.registry.entry("yard").update(|status| status.state = CameraState::Running);
    served.registry.entry("attic").update(|status| status.error = Some("unreachable".into()));
    let mut stream = served.listen("");
    let state = event_data(&mut stream, "camera_state");
    assert_eq!(state, json!({"event": "camera_state", "camera": "attic", "state": "stopped", "error": "unreachable"}));
    assert_eq!(event_data(&mut stream, "camera_state")["state"], "running");

    let at = first_start();
    served.registry.tell(Event::MotionStarted { camera: "yard".into(), at });
    let motion = event_data(&mut stream, "motion_started");
    assert_eq!(motion, json!({"event": "motion_started", "camera": "yard", "at": "2026-01-31T08:00:00Z"}));
    let gap = Event::Gap { camera: "yard".into(), start: at, end: at, cause: GapCause::DiskTooSlow };
    served.registry.tell(gap);
    assert_eq!(event_data(&mut stream, "gap")["cause"], "disk_too_slow");
    served.registry.raise_alarm("disk_full", None, at, "the disk is full".into());
    let alarm = event_data(&mut stream, "alarm");
    assert_eq!((&alarm["active"], &alarm["kind"]), (&json!(true), &json!("disk_full")));
    served.registry.remove("attic");
    assert_eq!(event_data(&mut stream, "camera_removed")["camera"], "attic");
}

#[test]
fn a_listener_may_ask_for_one_camera() {
    let served = Served::start();
    served.registry.entry("attic");
    served.registry.entry("yard");
    let mut stream = served.listen("?camera=yard");
    assert_eq!(event_data(&mut stream, "camera_state")["camera"], "yard");
    served.registry.tell(Event::ConfigApplied { camera: "attic".into() });
    served.registry.tell(Event::ConfigApplied { camera: "yard".into() });
    assert_eq!(event_data(&mut stream, "config_applied")["camera"], "yard");
    for query in ["from=2026-01-31T08:00:00Z", "to=2026-01-31T08:00:00Z", "limit=5", "cursor=x"] {
        let answer = served.ask("GET", &format!("/api/events?{query}"), &[("Accept", "text/event-stream")]);
        answer.problem(400);
        assert_eq!(answer.json()["key"], query.split('=').next().unwrap());
    }
    served.ask("GET", "/api/events?camera=shed", &[("Accept", "text/event-stream")]).problem(404);
    let head = served.ask("HEAD", "/api/events", &[("Accept", "text/event-stream")]);
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
}

#[test]
fn a_slow_listener_is_told_what_it_missed_and_goes_on() {
    let served = Served::start();
    served.registry.entry("yard");
    let mut stream = served.listen("");
    event_data(&mut stream, "camera_state");
    // More than the sockets' buffers hold, unread.
    let error = "x".repeat(4096);
    for _ in 0..10_000 {
        let file = "config.d/yard.yaml".to_owned();
        served.registry.tell(Event::ConfigRefused { camera: None, file, error: error.clone() });
    }
    let lagged = event_data(&mut stream, "lagged");
    assert!(lagged["missed"].as_u64().unwrap() > 0, "{lagged}");
    served.registry.tell(Event::ConfigApplied { camera: "yard".into() });
    event_data(&mut stream, "config_applied");
}

#[test]
fn listeners_are_counted_and_their_places_come_back() {
    let served = Served::start();
    let accept = [("Accept", "text/event-stream")];
    let mut streams: Vec<_> = (0..EVENT_STREAMS).map(|_| served.listen("")).collect();
    assert!(served.ask("GET", "/api/events", &accept).problem(503).contains("too many"));
    streams.clear();
    let began = clock::monotonic();
    // A place comes back when the next event cannot be written.
    while served.ask("HEAD", "/api/events", &accept).status == 503 {
        assert!(clock::monotonic().duration_since(began) < DEADLINE, "no place came back");
        served.registry.tell(Event::ConfigApplied { camera: "yard".into() });
    }
}

#[test]
fn gaps_and_alarms_are_listed() {
    let served = Served::start();
    let start = first_start();
    let end = start + TimeDelta::seconds(9);
    served.index.add_gap(Gap { camera: "yard".into(), start, end, cause: GapCause::Disconnected });
    assert!(served.index.flush());
    let gaps = served.json("/api/gaps?camera=yard");
    assert_eq!(
        gaps,
        json!({"gaps": [{"camera": "yard", "start": "2026-01-31T08:00:00Z", "end": "2026-01-31T08:00:09Z",
                         "cause": "disconnected"}], "next": null})
    );
    assert_eq!(served.json("/api/gaps?to=2026-01-31T07:00:00Z"), json!({"gaps": [], "next": null}));

    assert_eq!(served.json("/api/alarms"), json!({"alarms": []}));
    served.registry.raise_alarm("disk_full", Some("yard"), start, "the disk of archive is full".into());
    let alarm = json!({"kind": "disk_full", "camera": "yard", "since": "2026-01-31T08:00:00Z",
                       "message": "the disk of archive is full"});
    assert_eq!(served.json("/api/alarms"), json!({"alarms": [alarm]}));
    served.registry.clear_alarm("disk_full", Some("yard"));
    assert_eq!(served.json("/api/alarms"), json!({"alarms": []}));
}
