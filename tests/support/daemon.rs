//! The real `tarsier run` in a scratch folder, seen as its users see it: API, log, files, exit code.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use tarsier::clock::monotonic;

use super::wait::{secs, wait_for};

/// A recording as `/api/recordings` lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordingRow {
    pub id: i64,
    pub camera: String,
    pub start: DateTime<Utc>,
    pub end: Option<DateTime<Utc>>,
    pub pre_alarm_s: Option<f64>,
    pub bytes: u64,
    pub path: String,
    pub motion_s: f64,
    pub complete: bool,
    pub reason: String,
}

/// What the daemon finds in its folder when it starts.
pub struct DaemonBuilder {
    scratch: tempfile::TempDir,
    global: String,
    environment: Vec<(String, String)>,
}

/// The machine's own defaults in the tests. Looking for tampering costs much in a build that is not optimised; the tests
/// of it switch it on.
pub const SEED: &str = "defaults: { detect: { algorithm: seed, tamper: false } }\n";

impl DaemonBuilder {
    /// Adds `config.d/NAME.yaml`.
    pub fn camera(self, name: &str, yaml: &str) -> Self {
        fs::write(self.scratch.path().join("config.d").join(format!("{name}.yaml")), yaml).unwrap();
        self
    }

    /// Adds to tarsier.yaml, whose `web:` is there already.
    pub fn global(mut self, yaml: &str) -> Self {
        self.global.push_str(yaml);
        self.global.push('\n');
        self
    }

    /// Sets a variable of the daemon's environment (`RUST_LOG`, `FAILPOINTS`, passwords).
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The folder, to put more into it before the start.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts the daemon and waits until its API answers.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let mut daemon = self.prepare();
        daemon.spawn();
        daemon
    }

    /// Writes the files and starts nothing; [`Daemon::restart`] does.
    pub fn prepare(self) -> Daemon {
        let mut yaml = "web: { listen: \"127.0.0.1:0\", address_file: web.address }\n".to_owned();
        if !self.global.lines().any(|line| line.starts_with("archive:")) {
            yaml.push_str("archive: { min_free: 10MB }\n");
        }
        yaml.push_str(&self.global);
        fs::write(self.scratch.path().join("tarsier.yaml"), yaml).unwrap();
        // Its events begin and end with the picture that moves, which is what most tests count by.
        fs::write(self.scratch.path().join("tarsier.local.yaml"), SEED).unwrap();
        Daemon {
            scratch: self.scratch,
            environment: self.environment,
            child: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            agent: agent(),
        }
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(secs(20)));
    config.max_redirects(0).max_redirects_will_error(false).build().into()
}

/// A running daemon; killed when it is dropped. If the test fails, the end of its log is printed.
pub struct Daemon {
    scratch: tempfile::TempDir,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Daemon {
    pub fn builder() -> DaemonBuilder {
        let scratch = tempfile::Builder::new().prefix("tarsier-test-").tempdir().unwrap();
        fs::create_dir(scratch.path().join("config.d")).unwrap();
        DaemonBuilder { scratch, global: String::new(), environment: Vec::new() }
    }

    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs `tarsier` beside it, with `input` in its pipe.
    pub fn tarsier(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tarsier"))
            .args(arguments)
            .current_dir(self.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that fails early has closed its pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub fn archive(&self) -> PathBuf {
        self.folder().join("archive")
    }

    pub fn camera_file(&self, name: &str) -> PathBuf {
        self.folder().join("config.d").join(format!("{name}.yaml"))
    }

    /// Writes a camera's file in place, as an editor may.
    pub fn write_camera(&self, name: &str, yaml: &str) {
        fs::write(self.camera_file(name), yaml).unwrap();
    }

    /// Writes a camera's file beside its name and renames it over, as an editor may.
    pub fn replace_camera(&self, name: &str, yaml: &str) {
        let beside = self.folder().join("config.d").join(format!(".{name}.yaml.new"));
        fs::write(&beside, yaml).unwrap();
        fs::rename(&beside, self.camera_file(name)).unwrap();
    }

    pub fn remove_camera(&self, name: &str) {
        fs::remove_file(self.camera_file(name)).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// A line of its `/proc/PID/status`: `VmRSS`, `VmHWM`.
    #[track_caller]
    pub fn memory_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    // ---- its life ----

    /// Sets a variable of its environment from the next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Starts the daemon again in the same folder.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "stop it first");
        self.spawn();
    }

    #[track_caller]
    fn spawn(&mut self) {
        let address_file = self.folder().join("web.address");
        let _ = fs::remove_file(&address_file);
        let output = OpenOptions::new().create(true).append(true).open(self.stderr_path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
        command.args(["run", "--config", "tarsier.yaml"]).current_dir(self.folder());
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.env("RUST_BACKTRACE", "1").envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        self.child = Some(command.spawn().expect("the daemon starts"));
        let start = monotonic();
        loop {
            if let Ok(text) = fs::read_to_string(&address_file)
                && let Ok(address) = text.trim().parse()
            {
                self.address = address;
                // It knows its cameras once it has read their folder.
                let knows = |body: &str| !body.contains("has not been read yet");
                if self.try_get("/readyz").is_some_and(|(_, body)| knows(&body)) {
                    return;
                }
            }
            if let Some(status) = self.try_wait() {
                panic!("the daemon ended with {status} at its start:\n{}", self.stderr());
            }
            assert!(start.elapsed() < secs(30), "the daemon serves nothing after 30 s:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.is_some() && self.try_wait().is_none()
    }

    /// Sends a signal (`libc::SIGHUP`).
    pub fn signal(&self, signal: i32) {
        send_signal(self.pid(), signal);
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; gives back the exit code, None if a signal ended it. Not ending within `deadline` fails the test.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.wait_for_exit(deadline)
    }

    #[track_caller]
    pub fn wait_for_exit(&mut self, deadline: Duration) -> Option<i32> {
        let status = wait_for("the daemon to end", deadline, || self.try_wait());
        self.child = None;
        status.code()
    }

    // ---- its output ----

    pub fn stderr_path(&self) -> PathBuf {
        self.folder().join("stderr.txt")
    }

    /// Everything the daemon has printed, over all its lives.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.stderr_path()).unwrap_or_default()).into_owned()
    }

    /// Waits until the daemon has printed `text`.
    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str, deadline: Duration) {
        wait_for(&format!("“{text}” in the log"), deadline, || self.stderr().contains(text).then_some(()));
    }

    // ---- its API ----

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut response = self.agent.get(self.url(path)).call().ok()?;
        let body = response.body_mut().with_config().limit(64 << 20).read_to_string().ok()?;
        Some((response.status().as_u16(), body))
    }

    /// Status and body of a GET.
    #[track_caller]
    pub fn get_text(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|| panic!("GET {path} gets an answer"))
    }

    /// The JSON of a GET that must be answered with 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.get_text(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("GET {path}: {e}: {body}"))
    }

    /// Status, headers and body, with headers of your own (`Host`, `Origin`, `Range`).
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<(String, String)>, Vec<u8>) {
        self.send(method, path, headers, "")
    }

    /// As [`Daemon::request`], with a body.
    #[track_caller]
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            "" => self.agent.run(request.body(()).unwrap()),
            body => self.agent.run(request.body(body.to_owned()).unwrap()),
        };
        let mut response = answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let found = response.headers().iter();
        let found = found.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        (response.status().as_u16(), found, body)
    }

    /// Status and body of a POST without a body.
    #[track_caller]
    pub fn post(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.request("POST", path, &[]);
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// All cameras as `/api/cameras` lists them.
    #[track_caller]
    pub fn cameras(&self) -> Vec<Value> {
        self.get("/api/cameras").as_array().expect("a list of cameras").clone()
    }

    /// One camera, if it is on the list.
    #[track_caller]
    pub fn camera(&self, name: &str) -> Option<Value> {
        self.cameras().into_iter().find(|camera| camera["name"] == name)
    }

    #[track_caller]
    pub fn wait_for_camera(&self, name: &str, deadline: Duration, fact: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let start = monotonic();
        loop {
            if let Some(camera) = self.camera(name) {
                if fact(&camera) {
                    return camera;
                }
                last = camera;
            }
            assert!(start.elapsed() < deadline, "camera {name} after {deadline:?}: {last}");
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    #[track_caller]
    pub fn wait_for_state(&self, name: &str, state: &str, deadline: Duration) -> Value {
        self.wait_for_camera(name, deadline, |camera| camera["state"] == state)
    }

    /// All recordings of a camera, oldest first, over all pages.
    #[track_caller]
    pub fn recordings(&self, camera: &str) -> Vec<RecordingRow> {
        let mut rows: Vec<RecordingRow> = self
            .pages(&format!("/api/recordings?camera={camera}&limit=500"), "recordings")
            .into_iter()
            .map(|row| serde_json::from_value(row.clone()).unwrap_or_else(|e| panic!("{e}: {row}")))
            .collect();
        rows.sort_by_key(|row| (row.start, row.id));
        rows
    }

    #[track_caller]
    pub fn wait_for_recording(
        &self,
        camera: &str,
        deadline: Duration,
        fact: impl Fn(&RecordingRow) -> bool,
    ) -> RecordingRow {
        let what = format!("a recording of {camera}");
        wait_for(&what, deadline, || self.recordings(camera).into_iter().find(&fact))
    }

    /// All gaps of a camera: objects with `camera`, `start`, `end`, `cause`.
    #[track_caller]
    pub fn gaps(&self, camera: &str) -> Vec<Value> {
        let mut gaps = self.pages(&format!("/api/gaps?camera={camera}&limit=500"), "gaps");
        gaps.retain(|gap| !gap["end"].is_null());
        gaps
    }

    /// The camera's gap that goes on, if any.
    pub fn open_gap(&self, camera: &str) -> Option<Value> {
        self.pages(&format!("/api/gaps?camera={camera}&limit=500"), "gaps").into_iter().find(|gap| gap["end"].is_null())
    }

    #[track_caller]
    pub fn alarms(&self) -> Vec<Value> {
        self.get("/api/alarms")["alarms"].as_array().expect("a list of alarms").clone()
    }

    /// The events that a query of the API finds.
    #[track_caller]
    pub fn listed_events(&self, query: &str) -> Vec<Value> {
        self.pages(&format!("/api/events?{query}"), "events")
    }

    #[track_caller]
    fn pages(&self, first: &str, key: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut path = first.to_owned();
        loop {
            let page = self.get(&path);
            all.extend(page[key].as_array().unwrap_or_else(|| panic!("{key} in {page}")).iter().cloned());
            match page["next"].as_str() {
                Some(next) => {
                    path = format!(
                        "{first}&cursor={}",
                        url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>()
                    )
                }
                None => return all,
            }
        }
    }

    /// A metric of one camera (`tarsier_packets_total`), if it is there.
    #[track_caller]
    pub fn metric(&self, name: &str, camera: &str) -> Option<f64> {
        let (_, text) = self.get_text("/metrics");
        let label = format!("camera=\"{camera}\"");
        let line = text.lines().find(|line| {
            let series = line.split_once('{');
            series.is_some_and(|(series, labels)| series == name && labels.contains(&label))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The API's event stream, from now on.
    #[track_caller]
    pub fn events(&self) -> EventStream {
        EventStream::open(&self.url("/api/events"))
    }
}

/// Sends a signal to a process that the test started, or its daemon, and that nobody has waited for.
#[track_caller]
pub fn send_signal(pid: u32, signal: i32) {
    // SAFETY: it asks the kernel for no more than that.
    let sent = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(sent, 0, "process {pid} takes signal {signal}");
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let output = self.stderr();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("---- the daemon's last words ----");
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
            eprintln!("---------------------------------");
        }
    }
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub struct ServerEvent {
    /// `event:`, "message" if there is none.
    pub kind: String,
    /// `data:` as JSON, or as a string where it is none.
    pub data: Value,
}

/// Reads server-sent events on a thread of its own.
pub struct EventStream {
    events: Receiver<ServerEvent>,
}

impl EventStream {
    #[track_caller]
    fn open(url: &str) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_connect(Some(secs(10))).build().into();
        let response = agent.get(url).header("Accept", "text/event-stream").call().expect("the event stream opens");
        let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        assert!(kind.starts_with("text/event-stream"), "{url} is {kind}");
        let (say, events) = channel();
        let reader = BufReader::new(response.into_body().into_reader());
        std::thread::spawn(move || {
            let (mut kind, mut data) = (String::from("message"), Vec::new());
            for line in reader.lines() {
                let Ok(line) = line else { return };
                if let Some(value) = line.strip_prefix("event:") {
                    kind = value.trim().to_owned();
                } else if let Some(value) = line.strip_prefix("data:") {
                    data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
                } else if line.is_empty() && !data.is_empty() {
                    let text = data.join("\n");
                    data.clear();
                    let data = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    let event = ServerEvent { kind: std::mem::replace(&mut kind, "message".into()), data };
                    if say.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        EventStream { events }
    }

    /// The next event that `fact` is true of; those before it are dropped.
    #[track_caller]
    pub fn wait_for(&self, what: &str, deadline: Duration, fact: impl Fn(&ServerEvent) -> bool) -> ServerEvent {
        let start = monotonic();
        loop {
            match self.events.recv_timeout(deadline.saturating_sub(start.elapsed())) {
                Ok(event) if fact(&event) => return event,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("waited {deadline:?} for the event: {what}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the event stream ended before: {what}"),
            }
        }
    }
}

/// Every place under `folder` whose content (or name) holds `needle`; for canary passwords. `except` are paths
/// relative to `folder` where it may be (`config.d`).
pub fn grep_all(folder: &Path, needle: &str, except: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(folder).unwrap();
            if except.iter().any(|place| relative == Path::new(place)) {
                continue;
            }
            let kind = fs::symlink_metadata(&path).unwrap();
            let named = relative.to_string_lossy().contains(needle);
            let holds = kind.is_file() && {
                let bytes = fs::read(&path).unwrap_or_default();
                bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
            };
            if named || holds {
                found.push(path.clone());
            }
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Every file with the extension of a recording under `folder`.
pub fn recording_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(recording_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "mp4" || extension == "mkv") {
            found.push(path);
        }
    }
    found.sort();
    found
}
