//! The server as its clients see it: a real one on a port of the system's choice, asked over real sockets.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use utoipa::OpenApi;

use super::routes::ROUTES;
use super::{Snapshot, WebContext, WebError, openapi, serve};
use crate::actors::registry::{CameraCommand, Registry};
use crate::archive::index::Index;
use crate::clock;
use crate::domain::camera::{CameraState, Event, GapCause, Reason};
use crate::domain::recording::{Gap, Recording};
use crate::domain::ring::RingBounds;
use crate::media::{PacketRing, testing};

const CANARY: &str = "canary-hunter2";
const DEADLINE: Duration = Duration::from_secs(10);

/// A server at work, with everything it serves.
struct Served {
    address: SocketAddr,
    registry: Arc<Registry>,
    index: Index,
    folder: tempfile::TempDir,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Duration>>,
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Vec<u8>,
}

impl Served {
    fn start() -> Self {
        Served::start_with(Arc::new(|packet| Ok(packet.data().to_vec())))
    }

    fn start_with(snapshot: Snapshot) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive_root = folder.path().join("archive");
        std::fs::create_dir(&archive_root).unwrap();
        let index = Index::open(&archive_root).unwrap();
        let registry = Arc::new(Registry::default());
        let context = WebContext {
            registry: Arc::clone(&registry),
            index: index.clone(),
            archive_root,
            listen: "127.0.0.1:0".parse().unwrap(),
            address_file: Some(folder.path().join("address")),
            snapshot,
        };
        let (started, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let server = serve(context).await.unwrap();
                started.send(server.address()).unwrap();
                let _ = stopped.await;
                let began = clock::monotonic();
                server.stop().await;
                clock::monotonic().duration_since(began)
            })
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .allow_non_standard_methods(true)
            .build();
        let address = address.recv_timeout(DEADLINE).expect("the server starts");
        let agent = ureq::Agent::new_with_config(config);
        Served { address, registry, index, folder, agent, stop: Some(stop), thread: Some(thread) }
    }

    /// Stops the server and says how long that took.
    fn stop(&mut self) -> Option<Duration> {
        let _ = self.stop.take()?.send(());
        Some(self.thread.take()?.join().unwrap())
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(()).unwrap()).unwrap();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
        answer.json()
    }

    /// Sends bytes as they are and reads the answer's head.
    fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        for line in BufReader::new(stream).lines() {
            match line {
                Ok(line) if !line.is_empty() => head += &format!("{line}\n"),
                _ => break,
            }
        }
        head
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn listen(&self, query: &str) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        let address = self.address;
        write!(stream, "GET /api/events{query} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")
            .unwrap();
        let mut stream = BufReader::new(stream);
        until(&mut stream, "content-type: text/event-stream");
        stream
    }

    /// A closed recording of 20 s with a file, `minutes` after the first.
    fn record(&self, camera: &str, minutes: i64) -> Recording {
        let id = self.index.next_id();
        let start = first_start() + TimeDelta::minutes(minutes);
        let path = format!("{camera}/{id}.mp4");
        let file = self.archive().join(&path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content()).unwrap();
        let recording = Recording {
            id,
            camera: camera.to_owned(),
            start,
            end: Some(start + TimeDelta::seconds(20)),
            pre_alarm_s: Some(5.0),
            bytes: content().len() as u64,
            path,
            motion_s: 5.0,
            complete: true,
            reason: Reason::Motion,
        };
        self.put(recording)
    }

    fn put(&self, recording: Recording) -> Recording {
        self.index.put(recording.clone());
        assert!(self.index.flush());
        recording
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Checks that this is a problem with this status, and gives its detail.
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn first_start() -> DateTime<Utc> {
    "2026-01-31T08:00:00Z".parse().unwrap()
}

/// What the test's recordings hold: bytes that differ everywhere.
fn content() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_be_bytes).collect()
}

/// Reads lines until one holds `wanted`, and gives it.
fn until(stream: &mut impl BufRead, wanted: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(1..) if line.contains(wanted) => return line,
            Ok(1..) => seen += &line,
            end => panic!("{wanted:?} did not come ({end:?}) after:\n{}", &seen[..seen.len().min(2000)]),
        }
    }
}

fn event_data(stream: &mut impl BufRead, name: &str) -> Value {
    until(stream, &format!("event: {name}"));
    let line = until(stream, "data: ");
    serde_json::from_str(line.trim_start_matches("data: ")).unwrap()
}

// Who may ask.

#[test]
fn a_foreign_host_gets_nothing_anywhere() {
    let served = Served::start();
    let port = served.address.port();
    for path in ["/", "/healthz", "/readyz", "/metrics", "/api/cameras", "/api/events", "/nothing/here"] {
        for (host, status) in [
            (format!("Host: evil.example:{port}\r\n"), "403"),
            ("Host: localhost:1\r\n".to_owned(), "403"),
            ("Host: \r\n".to_owned(), "403"),
            (String::new(), "400"),
            (format!("Host: localhost:{port}\r\nHost: evil.example:{port}\r\n"), "400"),
        ] {
            let head = served.raw(&format!("GET {path} HTTP/1.1\r\n{host}\r\n"));
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path} {host}: {head}");
        }
    }
    let evil_line = format!("GET http://evil.example:{port}/healthz HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert!(served.raw(&evil_line).starts_with("HTTP/1.1 403"));
    for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"] {
        let head = served.raw(&format!("GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200"), "{host}: {head}");
    }
    let own_line = format!("GET http://localhost:{port}/healthz HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert!(served.raw(&own_line).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_foreign_page_changes_nothing() {
    let served = Served::start();
    let asked = commands_of(&served, "yard");
    let recording = served.record("yard", 0);
    let (port, id) = (served.address.port(), recording.id);
    let delete = format!("/api/recordings/{id}");
    for origin in ["null", "http://evil.example", &format!("https://localhost:{port}"), "http://localhost:1", ""] {
        let headers = [("Origin", origin)];
        for (method, path) in [
            ("POST", "/api/cameras/yard/trigger"),
            ("POST", "/api/cameras/yard/restart"),
            ("DELETE", delete.as_str()),
            ("PUT", "/api/cameras/yard"),
        ] {
            served.ask(method, path, &headers).problem(403);
        }
        let reading = served.ask("GET", "/api/cameras", &headers);
        assert_eq!(reading.status, 200, "reading changes nothing");
        assert_eq!(reading.header("access-control-allow-origin"), "", "and tells the foreign page nothing");
    }
    assert!(asked.lock().unwrap().is_empty());
    assert!(served.archive().join(&recording.path).exists());
    let upgrade = [("Origin", "http://evil.example"), ("Upgrade", "websocket"), ("Connection", "Upgrade")];
    served.ask("GET", "/api/cameras/yard/live", &upgrade).problem(403);

    for origin in
        [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}"), format!("http://[::1]:{port}")]
    {
        assert_eq!(served.ask("POST", "/api/cameras/yard/trigger", &[("Origin", &origin)]).status, 202, "{origin}");
    }
    assert_eq!(served.ask("POST", "/api/cameras/yard/trigger", &[]).status, 202, "as from curl");
}

#[test]
fn every_answer_keeps_other_pages_out() {
    let served = Served::start();
    for path in ["/", "/style.css", "/healthz", "/metrics", "/api/cameras", "/nothing", "/api/cameras/none"] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = served.ask(method, path, &[]);
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
        }
    }
    let refused = served.raw("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(refused.contains("x-content-type-options: nosniff"), "{refused}");
}

#[test]
fn malformed_requests_harm_nobody() {
    let served = Served::start();
    let long = "a".repeat(200_000);
    for request in [
        "\r\n\r\n\r\n\r\nrubbish\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /%zz%00%ff HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rubbish\r\n\r\n",
        &format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        &format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
    ] {
        let mut stream = served.connect();
        // The server may have answered and closed before all was written.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.take(20_000).read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let mut cut = served.connect();
    cut.write_all(b"GET / HTT").unwrap();
    drop(cut);
    for path in ["/api/recordings/%00", "/api/cameras/..%2f..%2fetc%2fpasswd", "/api/cameras/%ff", "/%2e%2e/x"] {
        assert!([400, 404].contains(&served.get(path).status), "{path}");
    }
    assert_eq!(served.get("/healthz").text(), "ok\n");
}

#[test]
fn a_client_that_never_finishes_its_request_is_let_go() {
    let served = Served::start();
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

// What is there.

#[test]
fn the_document_lists_the_routes_and_nothing_else() {
    let document = serde_json::to_value(openapi::Document::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let keys: BTreeSet<String> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            documented.insert((method.to_uppercase(), path.clone(), keys));
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
        let filled = path.replace("{name}", "yard").replace("{id}", &id);
        let answer = served.ask(&method, &filled, &[]);
        assert!(![404, 405, 500].contains(&answer.status), "{method} {filled}: {}", answer.text());
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
    assert_eq!(served.ask("DELETE", "/api/cameras", &[]).header("allow"), "GET, HEAD");
    for path in ["", "/snapshot.jpg", "/score", "/live", "/inspect.mjpeg"] {
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
        served.ask("DELETE", &format!("/api/recordings/{id}"), &[]).problem(404);
    }
    for list in ["recordings", "events", "gaps"] {
        served.get(&format!("/api/{list}?camera=shed")).problem(404);
    }
}

#[test]
fn what_comes_later_says_so() {
    let served = Served::start();
    served.registry.entry("yard");
    let id = served.record("yard", 0).id;
    for path in ["score?from=2026-01-31T08:00:00Z", "live", "inspect.mjpeg"] {
        served.get(&format!("/api/cameras/yard/{path}")).problem(501);
    }
    served.get(&format!("/api/recordings/{id}/thumbnail.jpg")).problem(501);
    served.ask("POST", &format!("/api/recordings/{id}/protect"), &[]).problem(501);
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

// Cameras.

#[test]
fn cameras_are_listed_as_they_are() {
    let served = Served::start();
    assert_eq!(served.json("/api/cameras"), json!([]));
    served.registry.entry("yard").update(|status| {
        status.state = CameraState::Running;
        status.since = first_start();
        status.started_at = first_start();
        status.fps = 15.0;
        status.bitrate = 2_000_000;
        status.resolution = Some("1920x1080".into());
        status.codec = Some("h264".into());
        status.recording = true;
        status.generation = 3;
        status.expects_recording = true;
    });
    let fault = "config.d/attic.yaml:7:3: unknown key `recrod` (did you mean `record`?)";
    served.registry.entry("attic").update(|status| status.config_error = Some(fault.into()));
    let cameras = served.json("/api/cameras");
    assert_eq!(
        cameras[1],
        json!({
            "name": "yard", "state": "running", "since": "2026-01-31T08:00:00Z", "error": null, "restarts": 0,
            "reconnects": 0, "fps": 15.0, "bitrate": 2_000_000, "resolution": "1920x1080", "codec": "h264",
            "motion": false, "recording": true, "started_at": "2026-01-31T08:00:00Z", "generation": 3,
        })
    );
    assert_eq!((&cameras[0]["name"], &cameras[0]["config_error"]), (&json!("attic"), &json!(fault)));
    assert_eq!(served.json("/api/cameras/yard"), cameras[1]);
    served.registry.remove("attic");
    assert_eq!(served.json("/api/cameras").as_array().unwrap().len(), 1);
    served.get("/api/cameras/attic").problem(404);
}

/// Lets a camera run that only notes what it is asked.
fn commands_of(served: &Served, camera: &str) -> Arc<Mutex<Vec<CameraCommand>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    served.registry.entry(camera).set_commands(Some(Box::new(move |command| note.lock().unwrap().push(command))));
    asked
}

#[test]
fn commands_reach_the_camera_that_runs() {
    let served = Served::start();
    let asked = commands_of(&served, "yard");
    served.registry.entry("attic");
    for path in ["trigger", "restart"] {
        let answer = served.ask("POST", &format!("/api/cameras/yard/{path}"), &[]);
        assert_eq!((answer.status, answer.json()), (202, json!({"camera": "yard", "command": path})));
        let detail = served.ask("POST", &format!("/api/cameras/attic/{path}"), &[]).problem(409);
        assert!(detail.contains("attic"), "{detail}");
        served.get(&format!("/api/cameras/yard/{path}")).problem(405);
    }
    assert_eq!(*asked.lock().unwrap(), [CameraCommand::Trigger, CameraCommand::Restart]);
}

#[test]
fn a_panic_in_a_handler_is_answered_and_ends_nothing() {
    let served = Served::start();
    served.registry.entry("yard").set_commands(Some(Box::new(|_| panic!("a fault in the camera's commands"))));
    for _ in 0..5 {
        let answer = served.ask("POST", "/api/cameras/yard/trigger", &[]);
        assert!(answer.problem(500).contains("POST /api/cameras/yard/trigger"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(served.get("/api/cameras/yard").status, 200);
}

/// A ring that holds a clip; in MJPEG each picture is a JPEG already.
fn ring(folder: &Path, encode: &[&str], name: &str) -> (Arc<PacketRing>, Vec<Vec<u8>>) {
    let clip = testing::clip(folder, name, "320x240", 2, encode);
    let ring = PacketRing::new(RingBounds { keep_us: 10_000_000, max_bytes: 64 << 20 });
    let producer = ring.admit();
    let mut keyframes = Vec::new();
    for packet in testing::packets(&clip, 1) {
        if packet.keyframe {
            keyframes.push(packet.data().to_vec());
        }
        ring.push(producer, Arc::new(packet)).unwrap();
    }
    (Arc::new(ring), keyframes)
}

#[test]
fn a_snapshot_is_the_newest_keyframe() {
    let served = Served::start();
    let entry = served.registry.entry("yard");
    let answer = served.get("/api/cameras/yard/snapshot.jpg");
    assert!(answer.problem(503).contains("yard"));
    assert_eq!(answer.header("retry-after"), "2");

    let empty = PacketRing::new(RingBounds { keep_us: 1, max_bytes: 1 });
    entry.set_ring(Some(Arc::new(empty)));
    served.get("/api/cameras/yard/snapshot.jpg").problem(503);

    let (filled, pictures) = ring(served.folder.path(), &["-c:v", "mjpeg"], "clip.mkv");
    entry.set_ring(Some(filled));
    let answer = served.get("/api/cameras/yard/snapshot.jpg");
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/jpeg"));
    assert_eq!(answer.body, *pictures.last().unwrap());
    assert!(answer.body.starts_with(&[0xff, 0xd8]));

    // Of a GOP's pictures it is the first: the others cannot be decoded alone.
    let encode = ["-c:v", "libx264", "-g", "10", "-sc_threshold", "0"];
    let (filled, keyframes) = ring(served.folder.path(), &encode, "clip.mp4");
    assert_eq!(keyframes.len(), 3);
    entry.set_ring(Some(filled));
    assert_eq!(served.get("/api/cameras/yard/snapshot.jpg").body, keyframes[2]);
}

#[test]
fn a_failing_snapshot_tells_no_secret_and_ends_nothing() {
    let served = Served::start_with(Arc::new(|packet| {
        assert_ne!(packet.session.id, 2, "a fault in the decoder");
        Err(format!("cannot decode rtsp://viewer:{CANARY}@192.0.2.1/ch1"))
    }));
    let (filled, _) = ring(served.folder.path(), &["-c:v", "mjpeg"], "clip.mkv");
    served.registry.entry("yard").set_ring(Some(filled));
    let detail = served.get("/api/cameras/yard/snapshot.jpg").problem(500);
    assert!(detail.contains("rtsp://***@192.0.2.1/ch1") && !detail.contains(CANARY), "{detail}");

    let panics = PacketRing::new(RingBounds { keep_us: 10_000_000, max_bytes: 64 << 20 });
    let producer = panics.admit();
    for packet in testing::packets(&served.folder.path().join("clip.mkv"), 2) {
        panics.push(producer, Arc::new(packet)).unwrap();
    }
    served.registry.entry("shed").set_ring(Some(Arc::new(panics)));
    for _ in 0..20 {
        served.get("/api/cameras/shed/snapshot.jpg").problem(500);
    }
    assert_eq!(served.get("/healthz").status, 200);
}

// Recordings.

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
            "reason": "motion",
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

// Events, gaps, alarms.

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
        served.registry.tell(Event::ConfigRefused { file, error: error.clone() });
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
    let mut streams: Vec<_> = (0..super::server::EVENT_STREAMS).map(|_| served.listen("")).collect();
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

// Health.

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

#[test]
fn the_page_shows_cameras_and_recordings() {
    let served = Served::start();
    let page = served.get("/");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("config.d/"));
    served.registry.entry("yard").update(|status| {
        status.state = CameraState::Reconnecting;
        status.error = Some("<b>no route</b>".into());
    });
    let recording = served.record("yard", 0);
    let page = served.get("/").text();
    for part in [
        "reconnecting",
        "&lt;b&gt;no route&lt;/b&gt;",
        &format!("href=\"/api/recordings/{}/video.mp4\"", recording.id),
        "2026-01-31 08:00:00",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(served.get("/style.css").header("content-type"), "text/css; charset=utf-8");
}

// Start and end.

#[test]
fn the_address_is_written_and_taken_away() {
    let mut served = Served::start();
    let file = served.folder.path().join("address");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", served.address));
    let others: Vec<_> = std::fs::read_dir(served.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("address."))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    served.stop();
    assert!(!file.exists());
}

#[test]
fn stops_within_two_seconds_whoever_is_still_there() {
    let mut served = Served::start();
    let recording = served.record("yard", 0);
    std::fs::write(served.archive().join(&recording.path), vec![7; 64 << 20]).unwrap();
    let mut listener = served.listen("");
    // One that sends nothing, one that is half way through its request, one that reads no answer.
    let _silent = served.connect();
    let mut halfway = served.connect();
    halfway.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    let mut unread = served.connect();
    let (id, address) = (recording.id, served.address);
    write!(unread, "GET /api/recordings/{id}/video.mp4 HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    unread.read_exact(&mut [0; 8]).unwrap();

    let took = served.stop().unwrap();
    assert!(took <= Duration::from_millis(2200), "{took:?}");
    let mut rest = String::new();
    listener.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream was ended, not cut: {rest:?}");
    assert!(TcpStream::connect(served.address).is_err());
}

fn refusal(served: &Served, listen: SocketAddr, address_file: Option<PathBuf>) -> WebError {
    let context = WebContext {
        registry: Arc::clone(&served.registry),
        index: served.index.clone(),
        archive_root: served.archive(),
        listen,
        address_file,
        snapshot: Arc::new(|_| Err("none".into())),
    };
    let result = actix::System::new().block_on(serve(context));
    result.err().expect("it does not start")
}

#[test]
fn what_cannot_be_served_is_refused_with_the_key() {
    let served = Served::start();
    let error = refusal(&served, "0.0.0.0:0".parse().unwrap(), None);
    assert!(error.to_string().starts_with("web.listen: 0.0.0.0:0 can be reached"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refusal(&served, taken.local_addr().unwrap(), None);
    assert!(error.to_string().starts_with("web.listen: cannot listen on 127.0.0.1:"), "{error}");
    let folder = served.folder.path().to_owned();
    let error = refusal(&served, "127.0.0.1:0".parse().unwrap(), Some(folder));
    assert!(error.to_string().starts_with("web.address_file: cannot write"), "{error}");
}
