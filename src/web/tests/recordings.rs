//! Recordings: rows and files.

use super::*;

#[test]
fn recordings_are_listed_newest_first_in_pages() {
    let served = Served::start();
    served.registry.entry("yard");
    assert_eq!(served.json("/api/recordings"), json!({"recordings": [], "next": null}));
    let all: Vec<Recording> = (0..5).map(|minutes| served.record("yard", minutes)).collect();
    let gone = served.record("gone", 10);

    let mut found = Vec::new();
    let mut cursor = String::new();
    for pages in 1.. {
        let page = served.json(&format!("/api/recordings?camera=yard&limit=2{cursor}"));
        let rows = page["recordings"].as_array().unwrap();
        assert!(rows.len() <= 2 && pages <= 3);
        found.extend(rows.iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        let escaped: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        cursor = format!("&cursor={escaped}");
    }
    let newest_first: Vec<i64> = all.iter().rev().map(|recording| recording.id).collect();
    assert_eq!(found, newest_first);

    let ids = |query: &str| -> Vec<i64> {
        let page = served.json(&format!("/api/recordings?{query}"));
        page["recordings"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids("camera=gone"), [gone.id], "a removed camera's recordings are still found");
    let minute_2 = "from=2026-01-31T08:02:00Z&to=2026-01-31T08:02:30Z";
    assert_eq!(ids(minute_2), [all[2].id]);
    // The same in another zone, its `+` unescaped as people type it.
    assert_eq!(ids("from=2026-01-31T09:02:00+01:00&to=2026-01-31T09:02:30%2B01:00"), [all[2].id]);

    let row = served.json(&format!("/api/recordings/{}", all[0].id));
    assert_eq!(
        row,
        json!({
            "id": all[0].id, "camera": "yard", "start": "2026-01-31T08:00:00Z", "end": "2026-01-31T08:00:20Z",
            "pre_alarm_s": 5.0, "bytes": 400_000, "path": all[0].path, "motion_s": 5.0, "complete": true,
            "reason": "motion", "protected": false,
        })
    );
}

#[test]
fn a_recording_is_served_in_ranges() {
    let served = Served::start();
    let recording = served.record("yard", 0);
    let path = format!("/api/recordings/{}/video.mp4", recording.id);
    let whole = served.get(&path);
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert!(whole.body == content());
    for (range, from, to) in [
        ("bytes=0-0", 0, 0),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=399990-", 399_990, 399_999),
        ("bytes=-5", 399_995, 399_999),
    ] {
        let part = served.ask("GET", &path, &[("Range", range)]);
        assert_eq!((part.status, part.header("content-range")), (206, format!("bytes {from}-{to}/400000").as_str()));
        assert!(part.body == content()[from..=to], "{range}");
    }
    let beyond = served.ask("GET", &path, &[("Range", "bytes=400000-")]);
    beyond.problem(416);
    assert_eq!(beyond.header("content-range"), "bytes */400000");
    let etag = whole.header("etag");
    assert_eq!(served.ask("GET", &path, &[("If-None-Match", etag)]).status, 304);
    let head = served.ask("HEAD", &path, &[]);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "400000", 0));
}

#[test]
fn an_open_recording_is_served_as_far_as_it_is_written() {
    let served = Served::start();
    let mut recording = served.record("yard", 0);
    recording.complete = false;
    recording.end = None;
    let recording = served.put(recording);
    let row = served.json(&format!("/api/recordings/{}", recording.id));
    assert_eq!((&row["complete"], &row["end"]), (&json!(false), &Value::Null));
    let answer = served.get(&format!("/api/recordings/{}/video.mp4", recording.id));
    assert!(answer.status == 200 && answer.body == content());
    assert_eq!(answer.header("cache-control"), "no-store");
    let detail = served.ask("DELETE", &format!("/api/recordings/{}", recording.id), &[]).problem(409);
    assert!(detail.contains("still open"), "{detail}");
    assert!(served.archive().join(&recording.path).exists());
}

#[test]
fn a_row_that_leads_out_of_the_archive_opens_and_removes_nothing() {
    let served = Served::start();
    let secret = served.folder.path().join("secret");
    std::fs::write(&secret, CANARY).unwrap();
    std::os::unix::fs::symlink(&secret, served.archive().join("link.mp4")).unwrap();
    for path in ["../secret", secret.to_str().unwrap(), "yard/../../secret", "link.mp4", "."] {
        let mut recording = served.record("yard", 0);
        recording.path = path.to_owned();
        let id = served.put(recording).id;
        let answer = served.get(&format!("/api/recordings/{id}/video.mp4"));
        answer.problem(500);
        assert!(!answer.text().contains(CANARY));
        if path != "link.mp4" {
            served.ask("DELETE", &format!("/api/recordings/{id}"), &[]).problem(500);
        }
    }
    assert_eq!(std::fs::read_to_string(secret).unwrap(), CANARY);
}

#[test]
fn a_protected_recording_is_not_deleted_until_that_is_taken_back() {
    let served = Served::start();
    let (kept, other) = (served.record("yard", 0), served.record("yard", 1));
    let path = format!("/api/recordings/{}", kept.id);
    let protect = format!("{path}/protect");
    for _ in 0..2 {
        let answer = served.ask("POST", &protect, &[]);
        assert_eq!((answer.status, &answer.json()["protected"]), (200, &json!(true)));
    }
    let rows = served.json("/api/recordings");
    let protected: Vec<_> = rows["recordings"].as_array().unwrap().iter().map(|row| &row["protected"]).collect();
    assert_eq!(protected, [&json!(false), &json!(true)]);
    let detail = served.ask("DELETE", &path, &[]).problem(409);
    assert!(detail.contains(&format!("DELETE {protect}")), "{detail}");
    assert!(served.archive().join(&kept.path).exists());
    served.ask("POST", &protect, &[("Origin", "http://example.com")]).problem(403);
    served.ask("DELETE", &protect, &[("Origin", "http://example.com")]).problem(403);

    assert_eq!(served.ask("DELETE", &protect, &[]).json()["protected"], false);
    assert_eq!(served.ask("DELETE", &path, &[]).status, 204);
    assert_eq!(served.ask("DELETE", &format!("/api/recordings/{}", other.id), &[]).status, 204);
}

#[test]
fn a_deleted_recording_is_gone() {
    let served = Served::start();
    let (kept, deleted) = (served.record("yard", 0), served.record("yard", 1));
    let path = format!("/api/recordings/{}", deleted.id);
    assert_eq!(served.ask("DELETE", &path, &[]).status, 204);
    assert!(!served.archive().join(&deleted.path).exists());
    served.get(&path).problem(404);
    served.get(&format!("{path}/video.mp4")).problem(404);
    served.ask("DELETE", &path, &[]).problem(404);
    let left = served.json("/api/recordings");
    assert_eq!(left["recordings"].as_array().unwrap().len(), 1);
    assert_eq!(left["recordings"][0]["id"], kept.id);

    // A file that somebody removed by hand: said so, and the row can be deleted.
    std::fs::remove_file(served.archive().join(&kept.path)).unwrap();
    let path = format!("/api/recordings/{}", kept.id);
    assert!(served.get(&format!("{path}/video.mp4")).problem(404).contains("is gone"));
    assert_eq!(served.ask("DELETE", &path, &[]).status, 204);
    served.get(&path).problem(404);
}
