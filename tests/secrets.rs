//! A password is nowhere but in the configuration: not in the log, whatever its level, not in any answer, not in
//! the archive.

mod support;

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use support::*;

/// Part of every password in here, the wrong ones too. Percent-encoding leaves it as it is.
const CANARY: &str = "c4naryZq7";

/// The canary, and what it looks like in the header of a request.
fn traces() -> Vec<String> {
    let user = |password: &str| base64(format!("viewer:{password}"));
    vec![CANARY.into(), user(CANARY), user(&odd()), user(&wrong())]
}

/// A right one with characters that mean something in an address.
fn odd() -> String {
    format!("{CANARY}/@:%?#& é")
}

fn wrong() -> String {
    format!("wrong-{CANARY}")
}

#[track_caller]
fn assert_clean(text: &str, what: &str) {
    for trace in traces() {
        if let Some(at) = text.find(&trace) {
            let start = text[..at].rfind('\n').map_or(0, |line| line + 1);
            let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
            panic!("a password in {what}: {}", &text[start..end]);
        }
    }
}

/// Answers with nonsense, which quotes the request: libraries like to repeat what they get.
fn echoing_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let _ = write!(stream, "RTSP/1.0 500 rtsp://viewer:{CANARY}@127.0.0.1/ is wrong\r\nCSeq: 1\r\n\r\n");
            });
        }
    });
    port
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Faults of every kind on lines that hold a password.
fn broken_cameras() -> Vec<(&'static str, String)> {
    let url = format!("rtsp://viewer:{CANARY}@127.0.0.1/live");
    [
        ("b-list", format!("source: rtsp://127.0.0.1/x\nusername: v\npassword: [{CANARY}]\n")),
        ("b-map", format!("source: rtsp://127.0.0.1/x\nusername: v\npassword: {{ {CANARY}: {CANARY} }}\n")),
        ("b-key", format!("source: rtsp://127.0.0.1/x\nusername: v\npasword: {CANARY}\n")),
        ("b-source-key", format!("sorce: {url}\n")),
        ("b-source-list", format!("source: [{url}]\n")),
        ("b-source-map", format!("source: {{ url: {url} }}\n")),
        ("b-port", format!("source: rtsp://viewer:{CANARY}@127.0.0.1:port/live\n")),
        ("b-slash", format!("source: rtsp://viewer:{CANARY}/more@127.0.0.1/live\n")),
        ("b-host", format!("source: rtsp://viewer:{CANARY}@/live\n")),
        ("b-scheme", format!("source: rtps://viewer:{CANARY}@127.0.0.1/live\n")),
        ("b-quote", format!("source: rtsp://127.0.0.1/x\npassword: \"{CANARY}\n")),
        ("b-single", format!("source: rtsp://127.0.0.1/x\npassword: '{CANARY}\n")),
        ("b-tab", format!("source: rtsp://127.0.0.1/x\n\tpassword: {CANARY}\n")),
        ("b-indent", format!("source: rtsp://127.0.0.1/x\n  password: {CANARY}\n")),
        ("b-no-colon", format!("source: rtsp://127.0.0.1/x\npassword {CANARY}\n")),
        ("b-no-space", format!("source: rtsp://127.0.0.1/x\npassword:{CANARY}\n")),
        ("b-twice", format!("source: rtsp://127.0.0.1/x\npassword: {CANARY}\npassword: {CANARY}2\n")),
        ("b-anchor", format!("source: rtsp://127.0.0.1/x\npassword: *{CANARY}\n")),
        ("b-tag", format!("source: rtsp://127.0.0.1/x\npassword: !{CANARY} x\n")),
        ("b-percent", format!("source: rtsp://127.0.0.1/x\npassword: %{CANARY}\n")),
        ("b-at", format!("source: rtsp://127.0.0.1/x\npassword: @{CANARY}\n")),
        ("b-nobody", format!("source: rtsp://127.0.0.1/x\npassword: {CANARY}\n")),
        ("b-variable", format!("source: rtsp://127.0.0.1/x\nusername: v\npassword: ${{{CANARY}\n")),
        ("b-both", format!("source: rtsp://127.0.0.1/x\nusername: v\npassword: {CANARY}\npassword_file: x\n")),
        ("b-twofold", format!("source: {url}\nusername: v\npassword: {CANARY}\n")),
        ("b-transport", format!("source: rtsp://127.0.0.1/x\ntransport: {url}\n")),
        ("b-place", format!("source: rtsp://127.0.0.1/x\ndetect: {{ password: {CANARY} }}\n")),
        ("b-detect-source", format!("source: rtsp://127.0.0.1/x\ndetect_source: {url}:x:\n")),
        ("b-text", format!("{url}\n")),
        ("b-file", "source: rtsp://127.0.0.1/x\nusername: v\npassword_file: two-lines.password\n".into()),
    ]
    .into()
}

#[test]
fn a_canary_password_is_nowhere_in_what_a_run_puts_out() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let mjpeg = Clip::spec().codec(Codec::Mjpeg).seconds(6.0).make();
    let server = RtspServer::start(&[
        Mount::new("url", &clip).basic_auth("viewer", CANARY),
        Mount::new("keys", &clip).basic_auth("viewer", &odd()),
        Mount::new("digest", &clip).digest_auth("viewer", &odd()),
        Mount::new("open", &clip),
    ]);
    let http = MjpegServer::start_with_password(&mjpeg, "viewer", CANARY);
    let at = |mount: &str| format!("127.0.0.1:{}/{mount}", server.port(mount));
    let continuous =
        "detect: { enabled: false }\nrecord: { mode: continuous }\nconnect_timeout: 3s\nread_timeout: 3s\n";
    let (echo, closed) = (echoing_server(), closed_port());
    let good = [
        ("url", format!("source: rtsp://viewer:{CANARY}@{}\n", at("url"))),
        ("keys", format!("source: rtsp://{}\nusername: viewer\npassword: \"{}\"\n", at("keys"), odd())),
        ("file", format!("source: rtsp://{}\nusername: viewer\npassword_file: camera.password\n", at("digest"))),
        ("variable", format!("source: rtsp://{}\nusername: viewer\npassword: ${{CAMERA_PASSWORD}}\n", at("url"))),
        ("in-url", format!("source: rtsp://viewer:${{CAMERA_PASSWORD}}@{}\n", at("url"))),
        ("http", format!("source: http://viewer:{CANARY}@127.0.0.1:{}/stream.mjpg\n", http.port())),
        ("sub", format!("source: rtsp://{}\ndetect_source: rtsp://viewer:{CANARY}@{}\n", at("open"), at("url"))),
    ];
    let failing = [
        ("wrong", format!("source: rtsp://{}\nusername: viewer\npassword: {}\n", at("url"), wrong())),
        ("wrong-digest", format!("source: rtsp://viewer:{}@{}\n", wrong(), at("digest"))),
        ("wrong-http", format!("source: http://viewer:{}@127.0.0.1:{}/x\n", wrong(), http.port())),
        ("missing", format!("source: rtsp://viewer:{CANARY}@127.0.0.1:{}/nothing\n", server.port("url"))),
        ("query", format!("source: http://127.0.0.1:{closed}/?user=viewer&password={CANARY}&channel=1\n")),
        ("pwd", format!("source: rtsp://127.0.0.1:{closed}/user=viewer&password={CANARY}&channel=1.sdp\n")),
        ("token", format!("source: http://127.0.0.1:{}/x?token={CANARY}\n", http.port())),
        ("closed", format!("source: rtsp://viewer:{CANARY}@127.0.0.1:{closed}/live\n")),
        ("echo", format!("source: rtsp://viewer:{CANARY}@127.0.0.1:{echo}/live\n")),
        ("host", format!("source: rtsp://viewer:{CANARY}@no-such-camera.invalid/live\n")),
        ("panics", format!("source: rtsp://viewer:{CANARY}@{}\n", at("url"))),
    ];
    let panic_text = format!("reader.open@panics=panic(cannot open rtsp://viewer:{CANARY}@127.0.0.1/live)");
    let mut builder = Daemon::builder()
        .global("log: { path: log/tarsier.log, level: trace }")
        .env("RUST_LOG", "trace,tarsier=trace")
        .env("CAMERA_PASSWORD", CANARY)
        .env("FAILPOINTS", &panic_text);
    std::fs::write(builder.folder().join("camera.password"), odd() + "\n").unwrap();
    std::fs::write(builder.folder().join("two-lines.password"), format!("\n{CANARY}\n")).unwrap();
    for (name, yaml) in good.iter().chain(&failing) {
        builder = builder.camera(name, &format!("{yaml}{continuous}"));
    }
    for (name, yaml) in broken_cameras() {
        builder = builder.camera(name, &yaml);
    }
    let mut daemon = builder.start();
    let heard = RefCell::new(String::new());
    let events = daemon.events();
    for (name, _) in &good {
        daemon.wait_for_state(name, "running", secs(60));
    }
    for (name, _) in &failing {
        daemon.wait_for_camera(name, secs(60), |camera| camera["state"] == "backoff" && !camera["error"].is_null());
    }
    for (name, _) in broken_cameras() {
        let camera = daemon.wait_for_state(name, "config_error", secs(20));
        assert!(camera["config_error"].as_str().unwrap().contains(&format!("{name}.yaml:")), "{camera}");
    }
    daemon.wait_for_stderr("panic: cannot open rtsp://", secs(20));
    // A broken file of a camera that runs, and a camera that is lost.
    daemon.write_camera("keys", &format!("source: rtsp://viewer:{CANARY}@127.0.0.1/x\npassword: [{CANARY}]\n"));
    daemon.wait_for_camera("keys", secs(20), |camera| !camera["config_error"].is_null());
    server.kick("url");
    events.wait_for("a camera that is lost", secs(30), |event| {
        heard.borrow_mut().push_str(&format!("{event:?}\n"));
        event.data["state"] == "backoff" && event.data["camera"] == "url"
    });
    daemon.wait_for_recording("url", secs(20), |recording| recording.complete);

    let mut paths: Vec<String> = [
        "/",
        "/api/cameras",
        "/api/recordings",
        "/api/gaps",
        "/api/alarms",
        "/api/events?from=2000-01-01T00:00:00Z",
        "/api/openapi.json",
        "/metrics",
        "/readyz",
        "/healthz",
        "/nothing",
    ]
    .map(String::from)
    .into();
    for camera in daemon.cameras() {
        let name = camera["name"].as_str().unwrap();
        paths.push(format!("/api/cameras/{name}"));
        paths.push(format!("/api/cameras/{name}/snapshot.jpg"));
        paths.push(format!("/api/cameras/{name}/config"));
        paths.push(format!("/cameras/{name}"));
    }
    for path in &paths {
        let (_, headers, body) = daemon.request("GET", path, &[]);
        assert_clean(&String::from_utf8_lossy(&body), path);
        assert_clean(&format!("{headers:?}"), path);
    }
    for path in ["/api/cameras/url/restart", "/api/cameras/closed/trigger", "/api/cameras/broken/restart"] {
        assert_clean(&daemon.post(path).1, path);
    }
    assert_clean(&heard.borrow(), "the event stream");
    assert!(heard.borrow().len() > 500);
    daemon.signal(libc::SIGHUP);
    daemon.wait_for_state("url", "running", secs(40));
    assert_eq!(daemon.terminate(secs(6)), Some(0));

    let log = daemon.stderr();
    assert_clean(&log, "stderr");
    for words in ["libav", "wrong user name or password", "TRACE", "b-quote"] {
        assert!(log.contains(words), "the log is as talkative as it can be: “{words}”");
    }
    for trace in traces() {
        let found = grep_all(daemon.folder(), &trace, &["config.d", "camera.password", "two-lines.password"]);
        assert!(found.is_empty(), "a password in {found:?}");
    }

    // The other commands, in the same folder. None goes on for long.
    let tarsier = |arguments: &[&str]| -> Output {
        Command::new("timeout")
            .args(["-s", "TERM", "20", env!("CARGO_BIN_EXE_tarsier")])
            .args(arguments)
            .current_dir(daemon.folder())
            .env("CAMERA_PASSWORD", CANARY)
            .env("RUST_LOG", "trace,tarsier=trace")
            .output()
            .unwrap()
    };
    let wrong_url = format!("rtsp://viewer:{}@{}", wrong(), at("url"));
    let closed_url = format!("rtsp://viewer:{CANARY}@127.0.0.1:{closed}/live");
    let from_environment = format!("rtsp://viewer:${{CAMERA_PASSWORD}}@127.0.0.1:{closed}/live");
    let key = format!("pasword={CANARY}");
    let list = format!("password=[{CANARY}]");
    let password = format!("password={CANARY}");
    for (arguments, code) in [
        (&["check"][..], 1),
        (&["check", "--effective"], 1),
        (&["detect", &wrong_url], 1),
        (&["detect", &from_environment, "--json"], 1),
        (&["detect", &closed_url, "--set", &key], 1),
        (&["detect", &closed_url, "--set", &list], 1),
        (&["detect", &closed_url, "--set", "username=v", "--set", &password], 1),
        (&["record", &wrong_url, "--out", "out"], 1),
        (&["record", &from_environment, "--out", "out"], 1),
        (&["recordings", "list"], 0),
        (&["recordings", "verify"], 0),
    ] {
        let output = tarsier(arguments);
        let what = arguments[..2.min(arguments.len())].join(" ").replace(CANARY, "***");
        assert_eq!(output.status.code(), Some(code), "{what}: {output:?}");
        assert_clean(&String::from_utf8_lossy(&output.stdout), &format!("what `{what}` prints"));
        assert_clean(&String::from_utf8_lossy(&output.stderr), &format!("what `{what}` complains"));
    }
    let effective = String::from_utf8(tarsier(&["check", "--effective"]).stdout).unwrap();
    assert!(effective.contains("password") && effective.contains("viewer"), "{effective}");

    // A global file that is wrong is told before there is a log.
    let global = format!("defaults:\n  password: [{CANARY}]\n  pasword: {CANARY}\n  source: rtsp://v:{CANARY}@h:x/\n");
    std::fs::write(daemon.folder().join("tarsier.yaml"), global).unwrap();
    for arguments in [&["run"][..], &["check"], &["check", "--effective"], &["recordings", "list"]] {
        let output = tarsier(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_clean(&String::from_utf8_lossy(&output.stdout), &format!("{arguments:?}"));
        assert_clean(&String::from_utf8_lossy(&output.stderr), &format!("{arguments:?}"));
    }
}
