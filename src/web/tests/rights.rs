//! Who may ask what: each address there is, for nobody, for a viewer, for a viewer of one camera.

use super::*;
use crate::web::page::PAGES;

/// Every address, pages too, with its names filled in.
fn addresses(camera: &str, recording: i64) -> Vec<(String, String, Right)> {
    let fill = |path: &str| {
        let id = recording.to_string();
        path.replace("{name}", camera)
            .replace("{id}", &id)
            .replace("{user}", "anna")
            .replace("{token}", "doorbell")
            .replace("/{page}", "")
    };
    let routes = ROUTES.iter().map(|route| (route.method.to_string(), fill(route.path), route.right));
    let pages = PAGES.iter().map(|page| ("GET".to_owned(), fill(page.path), page.right));
    routes.chain(pages).collect()
}

#[test]
fn nobody_gets_anything_but_what_is_open_once_there_is_a_user() {
    let served = Served::start();
    served.registry.entry("yard");
    let id = served.record("yard", 0).id;
    assert_eq!(served.get("/api/cameras").status, 200, "without users everything is open");
    assert_eq!(served.json("/api/me"), json!({"user": null, "role": "admin", "cameras": null}));
    served.guard();
    let mut closed = 0;
    for (method, path, right) in addresses("yard", id) {
        let answer = served.ask(&method, &path, &[]);
        if right == Right::Open {
            assert!(![401, 403].contains(&answer.status) || path == "/api/login", "{method} {path}: {}", answer.text());
            continue;
        }
        closed += 1;
        assert!(answer.problem(401).contains("Bearer TOKEN"), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
        for (name, value) in [
            ("Authorization", "Bearer tarsier_wrong"),
            ("Cookie", "tarsier_session=wrong"),
            ("Authorization", "Basic YQ=="),
        ] {
            served.ask(&method, &path, &[(name, value)]).problem(401);
        }
        if method == "GET" {
            let page = served.raw(&format!(
                "GET {path}?a=1 HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
                served.address
            ));
            assert!(page.starts_with("HTTP/1.1 303"), "{page}");
            assert!(page.contains("location: /login?next=%2F") && page.contains("%3Fa%3D1\n"), "{page}");
        }
    }
    assert!(closed > 25);
    for path in ["/nothing", "/api/nothing", "/api/recordings/999999", "/api/cameras/none"] {
        served.get(path).problem(401);
    }
    for path in ["/healthz", "/login", "/assets/app.css", "/assets/login.css"] {
        assert_eq!(served.get(path).status, 200, "{path}");
    }
    assert!(served.archive().join(format!("yard/{id}.mp4")).exists());
    let ready = served.get("/readyz");
    assert!(!ready.text().contains("yard"), "{}", ready.text());
}

#[test]
fn a_viewer_looks_and_changes_nothing() {
    let served = Served::start();
    let asked = commands_of(&served, "yard");
    let id = served.record("yard", 0).id;
    served.guard();
    let viewer = served.token(Role::Viewer, Cameras::All);
    let headers = [("Authorization", viewer.as_str())];
    let mut refused = 0;
    for (method, path, right) in addresses("yard", id) {
        let answer = served.ask(&method, &path, &headers);
        if right == Right::Admin {
            assert!(answer.problem(403).contains("is a viewer"), "{path}");
            refused += 1;
        } else if path != "/api/login" {
            assert!(![401, 403].contains(&answer.status), "{method} {path}: {}", answer.text());
        }
        let changes = method != "GET" && !path.ends_with("/trigger") && !path.starts_with("/api/log");
        assert!(!changes || right == Right::Admin, "{method} {path} changes something");
    }
    assert!(refused >= 8);
    assert_eq!(*asked.lock().unwrap(), [CameraCommand::Trigger], "and nothing else");
    assert!(served.archive().join(format!("yard/{id}.mp4")).exists());
    let admin = served.token(Role::Admin, Cameras::All);
    assert_eq!(served.ask("POST", "/api/cameras/yard/restart", &[("Authorization", &admin)]).status, 202);
}

/// Everything there can be of a camera.
fn fill(served: &Served, camera: &str) -> i64 {
    served.registry.entry(camera).update(|status| {
        status.state = CameraState::Backoff;
        status.expects_recording = true;
        status.error = Some(format!("{camera} does not answer"));
    });
    served.registry.raise_alarm("disk", Some(camera), clock::utc_now(), format!("{camera} has trouble"));
    let recording = served.record(camera, 0);
    let (start, end) = (recording.start, recording.end);
    served.index.add_gap(Gap { camera: camera.to_owned(), start, end, cause: GapCause::Reload });
    // Of the same number, so that it is asked for by the addresses of events.
    served.index.put_event(MotionEvent { end, ..MotionEvent::new(recording.id, camera, start, Reason::Motion) });
    assert!(served.index.flush());
    recording.id
}

#[test]
fn a_viewer_of_one_camera_learns_nothing_of_the_others() {
    let served = Served::start();
    let own = fill(&served, "yard");
    let other = fill(&served, "vault");
    served.guard();
    let viewer = served.token(Role::Viewer, Cameras::Only(["yard".to_owned()].into()));
    let headers = [("Authorization", viewer.as_str())];
    let mut seen_own = 0;
    for (method, path, right) in addresses("yard", own) {
        if right == Right::Admin || method != "GET" {
            continue;
        }
        let answer = served.ask(&method, &path, &headers);
        let said = format!("{:?} {}", answer.headers, answer.text());
        assert!(!said.contains("vault"), "{path} tells of another camera: {said}");
        seen_own += usize::from(answer.text().contains("yard"));
    }
    assert!(seen_own >= 12, "and all of its own: {seen_own}");
    for ((method, path, right), (_, own_path, _)) in addresses("vault", other).into_iter().zip(addresses("yard", own)) {
        if right != Right::Admin && path != own_path {
            served.ask(&method, &path, &headers).problem(404);
        }
    }
    for route in ROUTES.iter().filter(|route| route.keys.contains(&"camera")) {
        let times = "from=2026-01-31T08:00:00Z&to=2026-01-31T08:00:10Z";
        let answer = served.ask("GET", &format!("{}?camera=vault&{times}", route.path), &headers);
        assert!(answer.problem(404).ends_with("(known: yard)"), "{}", route.path);
        let own = served.ask("GET", &format!("{}?camera=yard&{times}", route.path), &headers);
        assert!(own.status == 200 || route.path == "/api/export", "{}: {}", route.path, own.text());
    }
    assert!(served.ask("GET", "/readyz", &headers).problem(503).contains("not recording: yard, and 1 more"));
    assert!(served.get("/readyz").problem(503).contains("not recording: 2 (log in"));

    // A page of rows is filled from the rest of them, and the cursor goes on there.
    for minute in 1..=6 {
        served.record(if minute % 2 == 0 { "yard" } else { "vault" }, minute);
    }
    let first = served.ask("GET", "/api/recordings?limit=2", &headers).json();
    let next = format!("/api/recordings?limit=5&cursor={}", first["next"].as_str().unwrap());
    let rest = served.ask("GET", &next, &headers).json();
    assert_eq!((first["recordings"].as_array().unwrap().len(), rest["recordings"].as_array().unwrap().len()), (2, 2));
    assert_eq!(rest["next"], Value::Null);
}

#[test]
fn a_stream_of_events_tells_of_ones_own_cameras_and_ends_with_the_right_to_it() {
    let served = Served::start();
    served.registry.entry("yard");
    served.registry.entry("vault");
    served.guard();
    let viewer = served.token(Role::Viewer, Cameras::Only(["yard".to_owned()].into()));
    let mut stream = served.connect();
    let address = served.address;
    write!(
        stream,
        "GET /api/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nAuthorization: {viewer}\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut stream = BufReader::new(stream);
    until(&mut stream, "content-type: text/event-stream");
    for camera in ["vault", "yard"] {
        served.registry.raise_alarm("disk", Some(camera), clock::utc_now(), format!("{camera} has trouble"));
        served.registry.tell(Event::ConfigApplied { camera: camera.to_owned() });
    }
    let file = "vault 2.yaml".to_owned();
    served.registry.tell(Event::ConfigRefused { camera: None, file, error: "no name".to_owned() });
    let secret = viewer.split_once(' ').unwrap().1;
    served.people().remove_token(&secret[..20]).unwrap();
    // The next that is asked looks who there is; without anybody asking, a look comes every few seconds.
    served.get("/api/cameras").problem(401);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("yard has trouble") && rest.contains("config_applied"), "{rest}");
    assert!(!rest.contains("vault"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "it was ended: {rest}");
}

#[test]
fn users_that_are_out_of_reach_let_nobody_in() {
    let served = Served::start();
    served.guard();
    let admin = served.token(Role::Admin, Cameras::All);
    let headers = [("Authorization", admin.as_str())];
    let ask = |served: &Served| served.ask("GET", "/api/cameras", &headers);
    assert_eq!(ask(&served).status, 200);
    let state = served.archive().join("state.db");
    let away = served.folder.path().join("away.db");
    std::fs::rename(&state, &away).unwrap();
    assert_eq!(ask(&served).status, 200, "who was known when the disk went may look why");
    served.get("/api/cameras").problem(401);

    // One that starts without it knows nobody, but knows that there was somebody.
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("archive/state.db");
    std::fs::create_dir(folder.path().join("archive")).unwrap();
    std::fs::write(folder.path().join(".tarsier-users-seen"), format!("{}\n", state.display())).unwrap();
    let later = Served::start_in(folder, Arc::new(|_| Err("none".into())));
    assert!(ask(&later).problem(503).contains("state.db"));
    assert!(later.get("/api/cameras").problem(503).contains(".tarsier-users-seen"));
    assert_eq!(later.get("/healthz").status, 200);
    std::fs::rename(&away, &state).unwrap();
    assert_eq!(ask(&later).status, 200, "when the disk comes, so do its users");
}

#[test]
fn a_camera_with_the_name_of_a_route_is_guarded_as_any() {
    let served = Served::start();
    served.registry.entry("probe");
    served.guard();
    let viewer = served.token(Role::Viewer, Cameras::All);
    let headers = [("Authorization", viewer.as_str())];
    assert_eq!(served.ask("GET", "/api/cameras/probe", &headers).json()["name"], "probe");
    for method in ["DELETE", "POST"] {
        assert!(served.ask(method, "/api/cameras/probe", &headers).problem(403).contains("is a viewer"), "{method}");
    }
}
