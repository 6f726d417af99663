//! The server as its clients see it: a real one on a port of the system's choice, asked over real sockets.

mod addresses;
mod cameras;
mod events;
mod export;
mod health;
mod pages;
mod recordings;
mod rights;
mod start_and_end;
mod who_may_ask;

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
use super::server::{EVENT_STREAMS, EXPORTS_AT_A_TIME};
use super::{Snapshot, WebContext, WebError, openapi, secret, serve};
use crate::actors::registry::{CameraCommand, Registry};
use crate::archive::index::Index;
use crate::archive::state::people::{PeopleDb, Token, User};
use crate::clock;
use crate::domain::access::{Cameras, Right, Role};
use crate::domain::camera::{CameraState, Event, GapCause, Reason};
use crate::domain::config::WebConfig;
use crate::domain::recording::{Gap, MotionEvent, Recording};
use crate::domain::ring::RingBounds;
use crate::domain::score::Score;
use crate::media::{PacketRing, testing};
use crate::pool::Pool;

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
        std::fs::create_dir(folder.path().join("archive")).unwrap();
        Served::start_in(folder, snapshot)
    }

    fn start_in(folder: tempfile::TempDir, snapshot: Snapshot) -> Self {
        let archive_root = folder.path().join("archive");
        let index = Index::open(&archive_root).unwrap();
        let registry = Arc::new(Registry::default());
        registry.completed();
        let context = WebContext {
            registry: Arc::clone(&registry),
            index: index.clone(),
            archive_root,
            note_folder: folder.path().to_owned(),
            web: web("127.0.0.1:0", Some(folder.path().join("address"))),
            tls: None,
            snapshot,
            pool: Pool::start(1).unwrap(),
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
            .max_redirects(0)
            .max_redirects_will_error(false)
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
        self.send(method, path, headers, "")
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            "" => self.agent.run(request.body(()).unwrap()).unwrap(),
            body => self.agent.run(request.body(body.to_owned()).unwrap()).unwrap(),
        };
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    /// The users of this server, as the command line changes them.
    fn people(&self) -> PeopleDb {
        PeopleDb::of(&self.archive(), self.folder.path())
    }

    /// Adds an admin, so that everyone has to show who they are.
    fn guard(&self) {
        let name = "anna".to_owned();
        let user =
            User { name, role: Role::Admin, cameras: Cameras::All, password: String::new(), since: first_start() };
        self.people().add_user(&user).unwrap();
    }

    /// The value of `Authorization` of a new token.
    fn token(&self, role: Role, cameras: Cameras) -> String {
        let secret = secret::random_token();
        let token = Token { name: secret[..20].to_owned(), role, cameras, since: first_start(), expires: None };
        self.people().add_token(&secret::digest(&secret), &token).unwrap();
        format!("Bearer {secret}")
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

fn web(listen: &str, address_file: Option<PathBuf>) -> WebConfig {
    WebConfig { listen: listen.parse().unwrap(), address_file, names: Vec::new(), tls: None, allow_local: false }
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

/// Lets a camera run that only notes what it is asked.
fn commands_of(served: &Served, camera: &str) -> Arc<Mutex<Vec<CameraCommand>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    served.registry.entry(camera).set_commands(Some(Box::new(move |command| note.lock().unwrap().push(command))));
    asked
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
