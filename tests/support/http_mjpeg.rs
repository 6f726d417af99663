//! A camera that speaks HTTP: a multipart stream of the JPEGs of a clip, in real time, looped.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clips::{Clip, Codec};
use super::units::jpegs;

struct Shared {
    jpegs: Vec<Vec<u8>>,
    fps: u32,
    /// `Authorization` that is asked for.
    authorization: Option<String>,
    stop: AtomicBool,
    connections: AtomicU64,
    sent: AtomicU64,
}

/// Serves `http://127.0.0.1:PORT/stream.mjpg`; every connection begins with the clip's first picture.
pub struct MjpegServer {
    port: u16,
    userinfo: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl MjpegServer {
    pub fn start(clip: &Clip) -> Self {
        Self::new(clip, None)
    }

    /// Asks for basic authentication.
    pub fn start_with_password(clip: &Clip, user: &str, password: &str) -> Self {
        Self::new(clip, Some((user, password)))
    }

    fn new(clip: &Clip, credentials: Option<(&str, &str)>) -> Self {
        assert_eq!(clip.codec, Codec::Mjpeg, "an MJPEG server plays MJPEG clips");
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(&clip.path)
            .args(["-map", "0:v", "-c", "copy", "-f", "mjpeg", "pipe:1"])
            .output()
            .expect("the ffmpeg command line is installed (make setup)");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            jpegs: jpegs(&output.stdout).map(<[u8]>::to_vec).collect(),
            fps: clip.fps,
            authorization: credentials
                .map(|(user, password)| format!("Basic {}", base64(format!("{user}:{password}")))),
            stop: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let userinfo = credentials.map(|(user, password)| format!("{user}:{password}@")).unwrap_or_default();
        let for_acceptor = shared.clone();
        let acceptor = std::thread::spawn(move || {
            while !for_acceptor.stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let shared = for_acceptor.clone();
                        std::thread::spawn(move || serve(&client, &shared));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        MjpegServer { port, userinfo, shared, acceptor: Some(acceptor) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://{}127.0.0.1:{}/stream.mjpg", self.userinfo, self.port)
    }

    /// Streams begun since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Pictures sent to all clients.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for MjpegServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut client: &TcpStream, shared: &Shared) {
    let _ = client.set_nonblocking(false);
    let _ = client.set_read_timeout(Some(Duration::from_secs(10)));
    let _ = client.set_write_timeout(Some(Duration::from_secs(10)));
    let mut request = Vec::new();
    for line in BufReader::new(client).lines() {
        match line {
            Ok(line) if line.is_empty() => break,
            Ok(line) => request.push(line),
            Err(_) => return,
        }
    }
    let path = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("");
    let authorization = request.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    if shared.authorization.is_some() && shared.authorization != authorization {
        let _ = client.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"camera\"\r\nContent-Length: 0\r\n\r\n",
        );
        return;
    }
    if path != "/stream.mjpg" {
        let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\nCache-Control: no-store\r\n\r\n";
    if client.write_all(head.as_bytes()).is_err() {
        return;
    }
    let start = tarsier::clock::monotonic();
    for (number, jpeg) in shared.jpegs.iter().cycle().enumerate() {
        let due = Duration::from_secs_f64(number as f64 / f64::from(shared.fps));
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let head = format!("--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
        let sent = client
            .write_all(head.as_bytes())
            .and_then(|()| client.write_all(jpeg))
            .and_then(|()| client.write_all(b"\r\n"));
        if sent.is_err() || shared.stop.load(Ordering::SeqCst) {
            break;
        }
        shared.sent.fetch_add(1, Ordering::SeqCst);
    }
    let _ = client.shutdown(Shutdown::Both);
}

pub fn base64(text: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_ref().chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = word >> (18 - 6 * digit) & 63;
            out.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    out
}
