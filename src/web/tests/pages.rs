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
    ] {
        let page = served.get(path).text();
        for part in parts.iter().chain(&[">1<span class=\"hidden\"> alarm<", "aria-current=\"page\""]) {
            assert!(page.contains(part), "{path}: {part}: {page}");
        }
        assert!(!page.contains("{{"), "{path}: everything is filled in: {page}");
    }
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
    for path in ["/", "/timeline", "/events", "/cameras", "/system"] {
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
