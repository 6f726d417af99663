//! The pages as they are served, before any script runs.

use super::*;

#[test]
fn the_pages_show_cameras_recordings_and_alarms_without_scripts() {
    let served = Served::start();
    let page = served.get("/");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("config.d/"), "an empty wall says how to begin");
    served.registry.entry("yard").update(|status| {
        status.state = CameraState::Reconnecting;
        status.error = Some("<b>no route</b>".into());
    });
    served.registry.raise_alarm("disk", None, clock::utc_now(), "the disk is full".into());
    let recording = served.record("yard", 0);
    let video = format!("href=\"/api/recordings/{}/video.mp4\"", recording.id);
    let trouble = ["data-state=\"reconnecting\">Reconnecting<", "&lt;b&gt;no route&lt;/b&gt;"];
    let recorded = [video.as_str(), "2026-01-31 08:00:00 UTC"];
    for (path, parts) in [
        ("/", &trouble[..]),
        ("/cameras", &trouble),
        ("/system", &[trouble, recorded].concat()),
        ("/system", &["the disk is full"]),
        ("/timeline", &recorded),
        ("/events", &["Nothing has moved yet"]),
        ("/events?zone=gate&camera=", &["No event fits", "value=\"gate\"", "Show all"]),
        ("/events?cause=cat", &["there are motion"]),
        ("/users", &["There are no users"]),
    ] {
        let page = served.get(path).text();
        for part in parts.iter().chain(&[">1<span class=\"hidden\"> alarm<", "aria-current=\"page\""]) {
            assert!(page.contains(part), "{path}: {part}: {page}");
        }
        assert!(!page.contains("{{"), "{path}: everything is filled in: {page}");
    }
}

#[test]
fn events_are_a_list_without_scripts_and_its_tools_are_for_those_who_may() {
    let served = Served::start();
    let rows: Vec<Recording> = (0..2).map(|minutes| served.record("yard", minutes)).collect();
    served.put(Recording { path: "x.mp4".into(), ..served.record("vault", 0) });
    let event = |id: i64, camera: &str, second: i64| {
        let start = first_start() + TimeDelta::seconds(second);
        let end = Some(start + TimeDelta::seconds(75));
        let zones = vec!["<gate> & \"drive\"".to_owned()];
        served.index.put_event(MotionEvent { end, zones, ..MotionEvent::new(id, camera, start, Reason::Motion) });
    };
    event(900, "vault", 5);
    (0..51).for_each(|id| event(1000 + id, "yard", id * 1000));
    assert!(served.index.flush());
    let page = served.get("/events").text();
    assert_eq!(page.matches("<li class=\"event\"").count(), 50, "a page");
    let cursor = page.split("cursor=").nth(1).and_then(|rest| rest.split('"').next()).expect("a way to older ones");
    let older = served.get(&format!("/events?cursor={cursor}")).text();
    assert_eq!(older.matches("<li class=\"event\"").count(), 2);
    let ids = format!("data-recordings=\"{} {}\"", rows[0].id, rows[1].id);
    for part in [
        ids.as_str(),
        "href=\"/timeline#camera=yard&amp;at=2026-01-31T08%3A00%3A00.000Z\"",
        "href=\"/api/export?camera=yard&amp;from=2026-01-31T07%3A59%3A55.000Z&amp;to=2026-01-31T08%3A01%3A15.000Z\"",
        "src=\"/api/events/1000/thumbnail.jpg\"",
        "1 min 15 s",
        "&lt;gate&gt; &amp; &quot;drive&quot;",
        "data-do=\"delete\"",
        "data-do=\"protect\"",
        "data-camera=\"vault\"",
    ] {
        assert!(older.contains(part), "{part}: {older}");
    }

    served.guard();
    let viewer = served.token(Role::Viewer, Cameras::Only(["yard".to_owned()].into()));
    let headers = [("Authorization", viewer.as_str())];
    let seen = served.ask("GET", &format!("/events?cursor={cursor}"), &headers).text();
    assert_eq!(seen.matches("<li class=\"event\"").count(), 1, "and not the vault's: {seen}");
    assert!(!seen.contains("data-do=\"delete\"") && !seen.contains("data-do=\"protect\""), "{seen}");
    assert!(!served.ask("GET", "/system", &headers).text().contains("/users"), "no way where they may not go");
    served.ask("GET", "/users", &headers).problem(403);
}

#[test]
fn a_pages_files_come_once() {
    let served = Served::start();
    let first = served.get("/assets/app.css");
    assert_eq!((first.status, first.header("content-type")), (200, "text/css; charset=utf-8"));
    assert_eq!(first.header("cache-control"), "no-cache");
    let known = [("If-None-Match", first.header("etag"))];
    let again = served.ask("GET", "/assets/app.css", &known);
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(served.ask("GET", "/assets/wall.js", &known).status, 200, "another file is another");
    served.get("/assets/none.js").problem(404);
    assert_eq!(served.ask("POST", "/system", &[]).header("allow"), "GET, HEAD");
}

#[test]
fn pages_load_nothing_from_elsewhere_and_no_script_is_inside_them() {
    let served = Served::start();
    served.registry.entry("yard");
    for path in ["/", "/timeline", "/events", "/cameras", "/system", "/users"] {
        let page = served.get(path);
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && !policy.contains("script-src") && !policy.contains("unsafe"),
            "{policy}"
        );
        let text = page.text();
        for wrong in ["<script>", "style=\"", " onclick=", "http://", "https://"] {
            assert!(!text.contains(wrong), "{path}: {wrong}: {text}");
        }
    }
}

#[test]
fn what_cannot_be_shown_is_told_to_a_person_on_a_page_and_to_a_program_as_a_problem() {
    let served = Served::start();
    served.registry.entry("yard");
    let as_browser = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for (path, status, words) in [
        ("/cameras/shed", 404, "no camera is called &quot;shed&quot; (known: yard)"),
        ("/cameras/shed/tune", 404, "no camera is called &quot;shed&quot;"),
        ("/nowhere", 404, "there is nothing at this address"),
    ] {
        let page = served.ask("GET", path, &[as_browser]);
        assert_eq!((page.status, page.header("content-type")), (status, "text/html; charset=utf-8"), "{path}");
        assert!(page.text().contains(words) && page.text().contains("To the wall"), "{path}: {}", page.text());
        assert!(!page.header("content-security-policy").is_empty());
        served.get(path).problem(status);
    }
    served.ask("GET", "/api/nowhere", &[as_browser]).problem(404);
    served.guard();
    let viewer = served.token(Role::Viewer, Cameras::Only(["yard".to_owned()].into()));
    let page = served.ask("GET", "/users", &[("Authorization", viewer.as_str()), as_browser]);
    assert_eq!(page.status, 403);
    assert!(page.text().contains("this takes an admin"), "{}", page.text());
    assert!(!page.text().contains("/api/users"), "nothing of the page itself");
}
