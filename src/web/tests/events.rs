//! Events, gaps and alarms.

use super::*;
use crate::domain::finding::{Cause, Region};
use crate::domain::found::Found;

#[test]
fn events_are_listed_with_the_recordings_that_hold_them() {
    let served = Served::start();
    let rows: Vec<Recording> = (0..4).map(|minutes| served.record("yard", minutes)).collect();
    served.record("door", 0);
    let event = |id, camera: &str, from: i64, to: Option<i64>, reason, share| MotionEvent {
        end: to.map(|to| first_start() + TimeDelta::seconds(to)),
        max_score: Score::of(share),
        cause: Some(Cause::Motion).filter(|_| reason == Reason::Motion),
        ..MotionEvent::new(id, camera, first_start() + TimeDelta::seconds(from), reason)
    };
    served.index.put_event(event(100, "yard", 5, Some(65), Reason::Motion, 1.0));
    served.index.put_event(event(101, "yard", 30, Some(31), Reason::Manual, 0.0));
    served
        .index
        .put_event(MotionEvent { max_score: Score::UNSEEN, ..event(102, "yard", 190, None, Reason::Motion, 0.0) });
    served.index.put_event(event(103, "door", 7, Some(8), Reason::Motion, 0.0));
    let region = Region { left: 0.5, top: 0.25, width: 0.125, height: 0.5 };
    served.index.confirm_event(100, vec![Found { class: "person".to_owned(), score: 0.75, region }]);
    served.index.confirm_event(102, Vec::new());
    assert!(served.index.flush());
    let found =
        json!([{"class": "person", "score": 0.75, "box": {"left": 0.5, "top": 0.25, "width": 0.125, "height": 0.5}}]);
    for recording in &rows[..2] {
        assert_eq!(served.ask("POST", &format!("/api/recordings/{}/protect", recording.id), &[]).status, 200);
    }
    let page = served.json("/api/events?camera=yard");
    assert_eq!(
        page["events"],
        json!([
            {"event": "motion", "id": 102, "camera": "yard", "start": "2026-01-31T08:03:10Z", "end": null,
             "reason": "motion", "max_score": null, "cause": "motion", "zones": [], "boxes": [],
             "found": [], "label": null, "recordings": [rows[3].id], "protected": false},
            {"event": "motion", "id": 101, "camera": "yard", "start": "2026-01-31T08:00:30Z",
             "end": "2026-01-31T08:00:31Z", "reason": "manual", "max_score": 0.0, "cause": null,
             "zones": [], "boxes": [], "found": null, "label": null, "recordings": [], "protected": false},
            {"event": "motion", "id": 100, "camera": "yard", "start": "2026-01-31T08:00:05Z",
             "end": "2026-01-31T08:01:05Z", "reason": "motion", "max_score": 1.0, "cause": "motion", "zones": [],
             "boxes": [], "found": found, "label": null, "recordings": [rows[0].id, rows[1].id],
             "protected": true},
        ])
    );
    assert_eq!(page["next"], Value::Null);
    let ids = |query: &str| -> Vec<i64> {
        let page = served.json(&format!("/api/events?{query}"));
        page["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids("to=2026-01-31T08:00:06Z"), [100]);
    assert_eq!(ids("from=2026-01-31T08:01:00Z&to=2026-01-31T08:02:00Z"), [100]);
    assert_eq!(ids("from=2026-01-31T09:00:00Z"), [102], "one that goes on");
    assert_eq!(ids("min_s=1.5"), [100]);
    assert_eq!(ids("cause=manual"), [101]);
    assert_eq!(ids("cause=motion&camera=yard"), [102, 100]);
    assert_eq!(ids("zone=gate"), [0; 0]);
    assert_eq!(ids("found=person"), [100]);
    assert_eq!(ids("found=car"), [0; 0]);
    for (query, key, hint) in
        [("min_s=x", "min_s", "from 0"), ("min_s=-1", "min_s", "from 0"), ("cause=cat", "cause", "scene_change")]
    {
        let answer = served.get(&format!("/api/events?{query}"));
        assert!(answer.problem(400).contains(hint), "{query}");
        assert_eq!(answer.json()["key"], key);
    }
    // In pages.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = served.json(&format!("/api/events?limit=3{cursor}"));
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [102, 101, 103, 100]);
}

/// Puts an event of `yard` into the index, from and to so many seconds after the first recording's start.
fn happened(served: &Served, id: i64, from: i64, to: Option<i64>) {
    let at = |second| first_start() + TimeDelta::seconds(second);
    let event = MotionEvent { end: to.map(at), ..MotionEvent::new(id, "yard", at(from), Reason::Motion) };
    served.index.put_event(event);
    assert!(served.index.flush());
}

#[test]
fn a_deleted_event_takes_the_recordings_that_it_alone_made() {
    let served = Served::start();
    let (shared, alone) = (served.record("yard", 0), served.record("yard", 1));
    let continuous = served.record("yard", 2);
    served.put(Recording { reason: Reason::Continuous, ..continuous.clone() });
    happened(&served, 100, 2, Some(5));
    // In the first recording too, and on into the second and third.
    happened(&served, 101, 15, Some(125));
    happened(&served, 102, 300, None);
    let path = |id: i64| format!("/api/events/{id}");
    assert!(served.ask("DELETE", &path(102), &[]).problem(409).contains("goes on"));
    served.ask("DELETE", &path(7), &[]).problem(404);
    served.ask("DELETE", &path(101), &[("Origin", "http://example.com")]).problem(403);

    let protect = format!("/api/recordings/{}/protect", alone.id);
    assert_eq!(served.ask("POST", &protect, &[]).status, 200);
    assert!(served.ask("DELETE", &path(101), &[]).problem(409).contains(&protect));
    assert_eq!(served.ask("DELETE", &protect, &[]).status, 200);
    let answer = served.ask("DELETE", &path(101), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"deleted": [alone.id], "kept": [shared.id, continuous.id]}));
    served.ask("DELETE", &path(101), &[]).problem(404);
    let is_there = |recording: &Recording| served.archive().join(&recording.path).exists();
    assert_eq!([&shared, &alone, &continuous].map(is_there), [true, false, true]);

    // The last that is in it takes it away.
    assert_eq!(served.ask("DELETE", &path(100), &[]).json(), json!({"deleted": [shared.id], "kept": []}));
    assert!(!is_there(&shared));
    let left = served.json("/api/events");
    assert_eq!(
        left["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64()).collect::<Vec<_>>(),
        [Some(102)]
    );
}

#[test]
fn a_picture_that_cannot_be_taken_says_why() {
    let served = Served::start();
    served.registry.entry("yard");
    let recording = served.record("yard", 0);
    happened(&served, 100, 2, Some(5));
    happened(&served, 101, 200, Some(205));
    let broken = [
        format!("/api/recordings/{}/thumbnail.jpg", recording.id),
        "/api/events/100/thumbnail.jpg".to_owned(),
        "/api/cameras/yard/thumbnail.jpg?at=2026-01-31T08:00:10Z".to_owned(),
    ];
    for path in &broken {
        // Bytes that are no video.
        let detail = served.get(path).problem(409);
        assert!(detail.contains(&recording.path) && detail.contains("damaged"), "{detail}");
    }
    std::fs::remove_file(served.archive().join(&recording.path)).unwrap();
    for path in &broken {
        assert!(served.get(path).problem(404).contains("is gone"));
    }
    for (path, status, words) in [
        ("/api/events/101/thumbnail.jpg", 404, "nothing of event 101 is recorded"),
        ("/api/events/7/thumbnail.jpg", 404, "no event"),
        ("/api/events/x/thumbnail.jpg", 404, "no event"),
        ("/api/cameras/yard/thumbnail.jpg?at=2026-01-31T08:00:50Z", 404, "nothing of yard is recorded"),
        ("/api/cameras/yard/thumbnail.jpg", 400, "is missing"),
        ("/api/cameras/yard/thumbnail.jpg?at=noon", 400, "no time"),
        ("/api/cameras/shed/thumbnail.jpg?at=2026-01-31T08:00:10Z", 404, "no camera"),
    ] {
        let detail = served.get(path).problem(status);
        assert!(detail.contains(words), "{path}: {detail}");
    }
}

#[test]
fn what_a_person_says_of_an_event_is_kept_and_listed() {
    let served = Served::start();
    served.record("yard", 0);
    let event = |id, from: i64, to: Option<i64>| MotionEvent {
        end: to.map(|to| first_start() + TimeDelta::seconds(to)),
        ..MotionEvent::new(id, "yard", first_start() + TimeDelta::seconds(from), Reason::Motion)
    };
    served.index.put_event(event(100, 5, Some(65)));
    served.index.put_event(event(101, 90, None));
    assert!(served.index.flush());
    let json = [("Content-Type", "application/json")];
    let say = |id: &str, body: &str| served.send("PUT", &format!("/api/events/{id}/label"), &json, body);
    let said = say("100", r#"{"verdict": "not-event"}"#);
    assert_eq!((said.status, &said.json()["label"]), (200, &json!("not-event")));
    assert_eq!(say("100", r#"{"verdict": "event"}"#).json()["label"], "event");
    let labels = || served.json("/api/events?camera=yard")["events"].clone();
    assert_eq!([&labels()[0]["label"], &labels()[1]["label"]], [&Value::Null, &json!("event")]);
    let kept = served.index.state().labels().unwrap();
    let kept: Vec<_> = kept.of_camera("yard").map(|label| (label.to - label.from).num_seconds()).collect();
    assert_eq!(kept, [60]);
    assert!(say("101", r#"{"verdict": "event"}"#).problem(409).contains("still goes on"));
    say("102", r#"{"verdict": "event"}"#).problem(404);
    say("x", r#"{"verdict": "event"}"#).problem(404);
    say("100", r#"{"verdict": "maybe"}"#).problem(400);
    let taken_back = served.ask("DELETE", "/api/events/100/label", &[]);
    assert_eq!((taken_back.status, &taken_back.json()["label"]), (200, &Value::Null));
    assert_eq!(labels()[1]["label"], Value::Null);
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
    served.registry.tell(Event::MotionStarted {
        camera: "yard".into(),
        at,
        cause: Some(Cause::Motion),
        zones: vec!["gate".into()],
        boxes: vec![Region { left: 0.25, top: 0.5, width: 0.125, height: 0.5 }],
    });
    let motion = event_data(&mut stream, "motion_started");
    let expected = json!({
        "event": "motion_started", "camera": "yard", "at": "2026-01-31T08:00:00Z", "cause": "motion", "zones": ["gate"],
        "boxes": [{"left": 0.25, "top": 0.5, "width": 0.125, "height": 0.5}],
    });
    assert_eq!(motion, expected);
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
    for query in ["from=2026-01-31T08:00:00Z", "to=2026-01-31T08:00:00Z", "limit=5", "cursor=x", "zone=gate"] {
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
    served.index.add_gap(Gap { camera: "yard".into(), start, end: Some(end), cause: GapCause::Disconnected });
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
