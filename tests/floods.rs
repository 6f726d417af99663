//! What a network may do to the web server, and that the recorder does not notice.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::*;

/// What the server takes at one time.
const MOST_CONNECTIONS: usize = 512;

/// One connection, which has asked for something already.
struct Client(TcpStream);

impl Client {
    fn ask(daemon: &Daemon, request: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(daemon.address()).ok()?;
        stream.set_read_timeout(Some(secs(30))).unwrap();
        // It may be closed already.
        let _ = stream.write_all(request.as_bytes());
        Some(Client(stream))
    }

    /// The status of its answer; None where the connection was closed without one.
    fn status(&mut self) -> Option<u16> {
        let mut start = [0; 12];
        self.0.read_exact(&mut start).ok()?;
        std::str::from_utf8(&start).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }

    /// All it gets until the server closes.
    fn rest(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut all) {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "held on to after {}",
                String::from_utf8_lossy(&all)
            );
        }
        all
    }
}

fn get(daemon: &Daemon, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", daemon.address())
}

fn token(daemon: &Daemon) -> String {
    let run = |arguments: &[&str], input: &str| {
        let output = daemon.tarsier(arguments, input);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    run(&["user", "add", "anna"], "correct battery staple\n");
    run(&["token", "add", "test", "--role", "admin"], "")
}

#[test]
fn floods_meet_a_bound_and_the_recorder_does_not_notice() {
    let clip = Clip::spec().size(160, 120).fps(15).seconds(60.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let yaml = format!("source: {}\nrecord: {{ mode: continuous, max_file: 5s }}\n", server.url("yard"));
    let daemon = Daemon::builder().camera("yard", &yaml).start();
    daemon.wait_for_state("yard", "running", secs(60));
    let recording = daemon.wait_for_recording("yard", secs(60), |recording| recording.complete);
    let before = daemon.camera("yard").unwrap();

    many_connections(&daemon);
    slow_requests(&daemon);
    ranges(&daemon, &recording);
    paths(&daemon);
    let bearer = format!("Authorization: Bearer {}\r\n", token(&daemon));
    let headers = [("Authorization", bearer.trim()["Authorization: ".len()..].to_owned())];
    web_sockets(&daemon, &bearer);

    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ask = |path: &str| {
        let (status, _, body) = daemon.request("GET", path, &headers);
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).unwrap()
    };
    let after: serde_json::Value = serde_json::from_str(&ask("/api/cameras/yard")).unwrap();
    for fact in ["state", "reconnects", "restarts", "generation", "started_at"] {
        assert_eq!(after[fact], before[fact], "{fact}: {after}");
    }
    assert!(ask("/api/gaps").contains("\"gaps\":[]"), "{}", ask("/api/gaps"));
    let metrics = ask("/metrics");
    for line in ["tarsier_packets_dropped_total{camera=\"yard\"} 0", "tarsier_packets_lost_total{camera=\"yard\"} 0"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

/// Six hundred at one time, each with its answer: those beyond what it takes are told so.
fn many_connections(daemon: &Daemon) {
    let request = get(daemon, "/healthz", "");
    let mut clients: Vec<Client> = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..600 {
        let mut client = Client::ask(daemon, &request).expect("nobody waits for a place");
        statuses.push(client.status());
        clients.push(client);
    }
    let count = |wanted: u16| statuses.iter().filter(|status| **status == Some(wanted)).count();
    // Of those before, some are still there that the test's own client keeps.
    assert!((MOST_CONNECTIONS - 10..=MOST_CONNECTIONS).contains(&count(200)), "{} are served", count(200));
    assert_eq!(count(503), 600 - count(200), "and all others are told so");
    drop(clients);
    wait_for("the places to be free", secs(20), || {
        (Client::ask(daemon, &request)?.status() == Some(200)).then_some(())
    });
}

/// Requests that never end, are much too long, or do not come at all.
fn slow_requests(daemon: &Daemon) {
    let address = daemon.address();
    let post = |head: &str| format!("POST /api/login HTTP/1.1\r\nHost: {address}\r\n{head}\r\n\r\n");
    let mut slow: Vec<Client> = (0..40)
        .filter_map(|at| match at % 4 {
            0 => Client::ask(daemon, ""),
            1 => Client::ask(daemon, "GET / HTTP/1.1\r\nX-Slow: "),
            2 => Client::ask(daemon, &post("Content-Type: application/json\r\nContent-Length: 100")),
            _ => Client::ask(daemon, &post("Content-Type: application/json\r\nTransfer-Encoding: chunked")),
        })
        .collect();
    let many: String = (0..5000).map(|at| format!("X-{at}: {at}\r\n")).collect();
    let large = format!("X: {}\r\n", "a".repeat(1 << 20));
    for headers in [&many, &large] {
        let mut flood = Client::ask(daemon, &get(daemon, "/healthz", headers)).unwrap();
        assert!(flood.status().is_none_or(|status| (400..500).contains(&status)));
    }
    for client in &mut slow {
        // A byte now and then does not help.
        let _ = client.0.write_all(b"a");
    }
    for client in slow {
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

/// Ranges that are many, large, backwards or no ranges.
fn ranges(daemon: &Daemon, recording: &RecordingRow) {
    let path = format!("/api/recordings/{}/video.mp4", recording.id);
    let many: Vec<String> = (0..5000).map(|at| format!("{at}-{at}")).collect();
    for range in [
        format!("bytes={}", many.join(",")),
        format!("bytes={}", vec!["0-"; 5000].join(",")),
        "bytes=0-99999999999999999999999999".to_owned(),
        "bytes=18446744073709551615-".to_owned(),
        "bytes=-18446744073709551616".to_owned(),
        "bytes=9-1".to_owned(),
        "bytes=-".to_owned(),
        "bytes=".to_owned(),
        "lines=1-2".to_owned(),
    ] {
        let (status, _, body) = daemon.request("GET", &path, &[("Range", &range)]);
        let shown = &range[..range.len().min(40)];
        assert!([200, 206, 400, 416].contains(&status), "{shown}: {status}");
        assert!(body.len() as u64 <= recording.bytes.max(1000), "{shown}: {} bytes", body.len());
    }
}

/// Ways out of the archive and of the pages' files.
fn paths(daemon: &Daemon) {
    for path in [
        "/../tarsier.yaml",
        "/assets/../../tarsier.yaml",
        "/assets/..%2f..%2ftarsier.yaml",
        "/assets/%2e%2e/tarsier.yaml",
        "/assets//etc/passwd",
        "/api/recordings/..%2f..%2f..%2fetc%2fpasswd/video.mp4",
        "/api/recordings/1%00/video.mp4",
        "/api/cameras/..%2f..%2ftarsier/snapshot.jpg",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/\\..\\tarsier.yaml",
        "/api/export?camera=..%2f..&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
        "/api/cameras?../../etc/passwd",
    ] {
        let request = get(daemon, path, "Connection: close\r\n");
        let answer = String::from_utf8_lossy(&Client::ask(daemon, &request).unwrap().rest()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("min_free"), "{path}: {answer}");
    }
}

/// More viewers than there are places, who also send rubbish.
fn web_sockets(daemon: &Daemon, bearer: &str) {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGFyc2llciB0YXJzaWVyIA==\r\n";
    let path = "/api/cameras/yard/live";
    let mut nobody = Client::ask(daemon, &get(daemon, path, upgrade)).unwrap();
    assert_eq!(nobody.status(), Some(401));
    let request = get(daemon, path, &format!("{bearer}{upgrade}"));
    let mut viewers: Vec<Client> = (0..450).filter_map(|_| Client::ask(daemon, &request)).collect();
    let statuses: Vec<Option<u16>> = viewers.iter_mut().map(Client::status).collect();
    let looking = statuses.iter().filter(|status| **status == Some(101)).count();
    let refused = statuses.iter().filter(|status| **status == Some(503)).count();
    assert_eq!((looking, refused), (400, 50), "{statuses:?}");
    assert_eq!(daemon.get_text("/healthz").0, 200, "there are places for others");
    for viewer in &mut viewers {
        // A frame that says it is 2^62 bytes long.
        let _ = viewer.0.write_all(&[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    }
    drop(viewers);
    wait_for("the viewers to be gone", secs(30), || {
        (Client::ask(daemon, &request)?.status() == Some(101)).then_some(())
    });
}
