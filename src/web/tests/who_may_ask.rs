//! Who may ask: Host, Origin, headers, malformed requests.

use super::*;

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
    for path in
        ["/", "/assets/app.css", "/system", "/healthz", "/metrics", "/api/cameras", "/nothing", "/api/cameras/none"]
    {
        for method in ["GET", "HEAD", "POST"] {
            let answer = served.ask(method, path, &[]);
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{path}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
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
