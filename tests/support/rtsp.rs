//! Cameras: `rtsp_server.py` as a child of the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::clips::Clip;
use super::relay::Relay;
use super::wait::secs;

/// One camera of a server: a clip under a name.
#[derive(Clone, Debug)]
pub struct Mount {
    name: String,
    config: Value,
    credentials: Option<(String, String)>,
}

impl Mount {
    /// The clip, looped, to anyone; a client gets everything since the last keyframe when it joins.
    pub fn new(name: &str, clip: &Clip) -> Self {
        Self::of_file(name, &clip.path, clip.fps)
    }

    /// Any mp4, mov, mkv or raw .h264 or .h265 file (`fps` counts for those without times).
    pub fn of_file(name: &str, file: &Path, fps: u32) -> Self {
        let config = json!({"name": name, "file": file, "fps": fps, "loop": true});
        Mount { name: name.into(), config, credentials: None }
    }

    /// Ends after one round instead of starting again.
    pub fn once(self) -> Self {
        self.with("loop", json!(false))
    }

    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        self.auth("basic", user, password)
    }

    pub fn digest_auth(self, user: &str, password: &str) -> Self {
        self.auth("digest", user, password)
    }

    /// A client gets just what comes next, in the middle of a GOP.
    pub fn join_now(self) -> Self {
        self.with("join", json!("now"))
    }

    pub fn without_video(self) -> Self {
        self.with("video", json!(false))
    }

    pub fn without_audio(self) -> Self {
        self.with("audio", json!(false))
    }

    pub fn without_keyframes(self) -> Self {
        self.with("drop_keyframes", json!(true))
    }

    fn auth(mut self, kind: &str, user: &str, password: &str) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self.with("auth", json!(kind)).with("user", json!(user)).with("password", json!(password))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }
}

/// What a server has counted of one mount.
#[derive(Clone, Debug)]
pub struct MountStats {
    /// TCP connections since the start.
    pub connections: u64,
    /// Of those, open now.
    pub open: u64,
    /// PLAY requests.
    pub plays: u64,
    /// Video access units whose time has come since the first client came; `sent % clip.frames` is the number
    /// of the next frame (without B-frames).
    pub sent: u64,
    /// Of those, held back by [`RtspServer::stall`] or missing keyframes.
    pub skipped: u64,
    /// For each client that plays: `sent` as it was at the first unit it got.
    pub first: Vec<u64>,
    /// The clip is over (only with [`Mount::once`]).
    pub ended: bool,
}

/// A running server, killed when it is dropped.
pub struct RtspServer {
    child: Child,
    pipe: Mutex<(ChildStdin, Receiver<Value>)>,
    ports: BTreeMap<String, u16>,
    mounts: BTreeMap<String, Mount>,
    _scratch: tempfile::TempDir,
}

impl RtspServer {
    #[track_caller]
    pub fn start(mounts: &[Mount]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let config = scratch.path().join("mounts.json");
        let list: Vec<&Value> = mounts.iter().map(|m| &m.config).collect();
        std::fs::write(&config, json!({"mounts": list}).to_string()).unwrap();
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rtsp_server.py");
        // Debian's own python: the gi module belongs to it.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("/usr/bin/python3 is installed (make setup)");
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (say, hear) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let value = serde_json::from_str(&line).unwrap_or_else(|_| json!({"error": line}));
                if say.send(value).is_err() {
                    return;
                }
            }
        });
        let hello: Value = hear.recv_timeout(secs(60)).unwrap_or(Value::Null);
        let mut server = RtspServer {
            child,
            pipe: Mutex::new((stdin, hear)),
            ports: BTreeMap::new(),
            mounts: mounts.iter().map(|m| (m.name.clone(), m.clone())).collect(),
            _scratch: scratch,
        };
        let ports =
            hello["ports"].as_object().expect("the RTSP server says its ports (make setup; see its words above)");
        server.ports = ports.iter().map(|(name, port)| (name.clone(), port.as_u64().unwrap() as u16)).collect();
        server
    }

    pub fn port(&self, mount: &str) -> u16 {
        self.ports[mount]
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The camera's address, with its credentials if it asks for any.
    pub fn url(&self, mount: &str) -> String {
        self.url_at(mount, self.port(mount))
    }

    /// The camera's address as seen through a relay.
    pub fn url_through(&self, mount: &str, relay: &Relay) -> String {
        self.url_at(mount, relay.port())
    }

    fn url_at(&self, mount: &str, port: u16) -> String {
        let userinfo = match &self.mounts[mount].credentials {
            Some((user, password)) => format!("{user}:{password}@"),
            None => String::new(),
        };
        format!("rtsp://{userinfo}127.0.0.1:{port}/{mount}")
    }

    #[track_caller]
    pub fn stats(&self, mount: &str) -> MountStats {
        let all = self.command(json!({"cmd": "stats"}));
        let one = &all[mount];
        let number = |key: &str| one[key].as_u64().unwrap_or_else(|| panic!("{key} of {mount} in {all}"));
        MountStats {
            connections: number("connections"),
            open: number("open"),
            plays: number("plays"),
            sent: number("sent"),
            skipped: number("skipped"),
            first: one["first"].as_array().unwrap().iter().filter_map(Value::as_u64).collect(),
            ended: one["ended"].as_bool().unwrap(),
        }
    }

    /// Sends nothing while `stalled`, and keeps the connections.
    pub fn stall(&self, mount: &str, stalled: bool) {
        self.command(json!({"cmd": "set", "mount": mount, "stalled": stalled}));
    }

    pub fn drop_keyframes(&self, mount: &str, drop: bool) {
        self.command(json!({"cmd": "set", "mount": mount, "drop_keyframes": drop}));
    }

    /// Adds to all timestamps from here on; negative: they go back.
    pub fn shift_timestamps(&self, mount: &str, seconds: f64) {
        self.command(json!({"cmd": "set", "mount": mount, "shift_s": seconds}));
    }

    /// Closes every connection from the server's side.
    pub fn kick(&self, mount: &str) {
        self.command(json!({"cmd": "kick", "mount": mount}));
    }

    #[track_caller]
    fn command(&self, command: Value) -> Value {
        let mut pipe = self.pipe.lock().unwrap();
        writeln!(pipe.0, "{command}").expect("the RTSP server lives");
        let answer = pipe.1.recv_timeout(secs(20)).expect("the RTSP server answers");
        let reply = answer["reply"].clone();
        assert!(reply.is_object() && reply.get("error").is_none(), "the RTSP server says {answer}");
        reply
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
