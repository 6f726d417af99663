//! Which addresses there are, and what a wrong one or a bad query gets.

use super::*;

#[test]
fn the_document_lists_the_routes_and_nothing_else() {
    let document = serde_json::to_value(openapi::Document::openapi()).unwrap();
    let (mut documented, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let keys: BTreeSet<String> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|parameter| match parameter["$ref"].as_str() {
                    Some(shared) => document.pointer(shared.trim_start_matches('#')).expect("it is there"),
                    None => parameter,
                })
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            documented.insert((method.to_uppercase(), path.clone(), keys));
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: another is called so");
        }
    }
    let routed: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| {
            let keys: BTreeSet<String> = route.keys.iter().map(|key| (*key).to_owned()).collect();
            (route.method.to_string(), route.path.to_owned(), keys)
        })
        .collect();
    assert_eq!(documented, routed);
}

#[test]
fn every_documented_address_answers() {
    let served = Served::start();
    served.registry.entry("yard");
    let id = served.record("yard", 0).id.to_string();
    let (start, end) = (first_start(), Some(first_start() + TimeDelta::seconds(9)));
    served.index.put_event(MotionEvent { end, ..MotionEvent::new(100, "yard", start, Reason::Motion) });
    assert!(served.index.flush());
    let document = served.json("/api/openapi.json");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for schema in ["CameraStatus", "Recording", "RecordingPage", "Gap", "Alarm", "Event", "Problem"] {
        assert!(schemas.contains_key(schema), "{schema}");
    }
    let mut asked = 0;
    // Deleting comes last, so that the others find the recording.
    let mut all: Vec<(String, &String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |m| (m.to_uppercase(), path)))
        .collect();
    all.sort_by_key(|(method, _)| method == "DELETE");
    for (method, path) in all {
        let id = if path.starts_with("/api/events/") { "100" } else { &id };
        let filled =
            path.replace("{name}", "yard").replace("{id}", id).replace("{user}", "anna").replace("{token}", "doorbell");
        let answer = served.ask(&method, &filled, &[]);
        // Nobody of this name, no such event, and a recording that is no video.
        let lacks = ["no user", "no token", "no event", "is damaged"].iter().any(|words| answer.text().contains(words));
        assert!(lacks || ![404, 405, 500].contains(&answer.status), "{method} {filled}: {}", answer.text());
        let unknown = served.ask(&method, &format!("{filled}?surprise=1"), &[]);
        assert_eq!(unknown.problem(400), unknown.json()["detail"], "{filled}");
        assert_eq!(unknown.json()["key"], "surprise", "{filled}");
        asked += 1;
    }
    assert_eq!(asked, ROUTES.len());
}

#[test]
fn what_is_not_there_is_said_so() {
    let served = Served::start();
    served.registry.entry("yard");
    for path in ["/api", "/api/", "/API/cameras", "/api/cameras/", "/favicon.ico", "//", "/api/recordings/1/x"] {
        served.get(path).problem(404);
    }
    let answer = served.ask("PATCH", "/api/recordings/1", &[]);
    assert!(answer.problem(405).contains("PATCH"));
    assert_eq!(answer.header("allow"), "GET, HEAD, DELETE");
    assert_eq!(served.ask("DELETE", "/api/cameras", &[]).header("allow"), "GET, HEAD, POST");
    for path in ["", "/snapshot.jpg", "/thumbnail.jpg", "/score", "/live", "/live.mjpeg", "/inspect.mjpeg"] {
        let detail = served.get(&format!("/api/cameras/shed{path}")).problem(404);
        assert_eq!(detail, "no camera is called \"shed\" (known: yard)");
    }
    for path in ["trigger", "restart"] {
        served.ask("POST", &format!("/api/cameras/shed/{path}"), &[]).problem(404);
    }
    for id in ["1", "-1", "one", "99999999999999999999", "1.5"] {
        for path in ["", "/video.mp4", "/thumbnail.jpg"] {
            served.get(&format!("/api/recordings/{id}{path}")).problem(404);
        }
        for (method, path) in [("DELETE", ""), ("POST", "/protect"), ("DELETE", "/protect")] {
            served.ask(method, &format!("/api/recordings/{id}{path}"), &[]).problem(404);
        }
    }
    for list in ["recordings", "events", "gaps"] {
        served.get(&format!("/api/{list}?camera=shed")).problem(404);
    }
}

#[test]
fn a_bad_query_is_refused_by_the_name_of_its_key() {
    let served = Served::start();
    served.registry.entry("yard");
    for list in ["recordings", "events", "gaps"] {
        for (query, key) in [
            ("camera=Yard", "camera"),
            ("camera=", "camera"),
            ("camera=..%2f", "camera"),
            ("camera=yard&camera=yard", "camera"),
            ("from=yesterday", "from"),
            ("from=2026-02-30T00:00:00Z", "from"),
            ("from=2026-01-31", "from"),
            ("from=", "from"),
            ("to=1700000000", "to"),
            ("from=2026-01-31T08:00:00Z&to=2026-01-31T07:59:59Z", "to"),
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("limit=1e2", "limit"),
            ("limit=99999999999", "limit"),
            ("cursor=", "cursor"),
            ("cursor=rubbish", "cursor"),
            ("cursor=%ff%00", "cursor"),
            ("Camera=yard", "Camera"),
            ("form=2026-01-31T08:00:00Z", "form"),
            ("=", ""),
        ] {
            let answer = served.get(&format!("/api/{list}?{query}"));
            let detail = answer.problem(400);
            assert_eq!(answer.json()["key"], key, "{list} {query}");
            assert!(detail.contains(&format!("{key:?}")), "{detail}");
        }
    }
}
