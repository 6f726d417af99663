//! A camera whose every picture carries its own number, however many of them it sends, and which knows when each was
//! taken: who holds the numbers in the recordings against it knows exactly what is missing and what is there twice.
//!
//! It is taken and sent whether anybody is connected or not; who connects gets it from the next keyframe on. The
//! number is beside the picture and not in it (H.264: a message of user data in each access unit; MJPEG: a comment in
//! each JPEG), so that it is read without decoding.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tarsier::clock::{monotonic, utc_now};

use super::clips::{Clip, Codec};
use super::http_mjpeg::base64;
use super::units::{jpegs, nal_units};

/// Before each number; also the identifier of the user data.
const MARK: &[u8; 16] = b"tarsier's number";
const DIGITS: usize = 16;
/// Pictures are sent in little groups, as many as were taken meanwhile.
const TURN: Duration = Duration::from_millis(10);
/// A client that is further behind is hung up on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the wall clock is looked at.
const ANCHOR: Duration = Duration::from_secs(1);
const RTP_HZ: u64 = 90_000;
const SSRC: u32 = 0x7461_7273;

/// One picture of the clip, without its number.
struct Unit {
    is_key: bool,
    /// H.264: NAL units without start codes; MJPEG: one JPEG.
    parts: Vec<Vec<u8>>,
}

struct Shared {
    codec: Codec,
    units: Vec<Unit>,
    /// Pictures from one keyframe to the next.
    gop: u64,
    /// Pictures a second.
    rate: u64,
    began: Instant,
    stop: AtomicBool,
    /// Numbers of pictures, and when they were taken.
    anchors: Mutex<Vec<(u64, DateTime<Utc>)>>,
    sent: Mutex<Vec<Range<u64>>>,
}

/// The camera. It ends when it is dropped.
pub struct NumberedCamera {
    port: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl NumberedCamera {
    /// Plays the clip (H.264 over RTSP by TCP, or MJPEG over HTTP) again and again from now on.
    pub fn start(clip: &Clip) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let units = units_of(clip);
        let gop = if clip.codec == Codec::Mjpeg { 1 } else { u64::from(clip.gop) };
        assert!(units.iter().zip(0u64..).all(|(unit, number)| unit.is_key == (number % gop == 0)));
        assert_eq!(units.len() as u64 % gop, 0, "whole GOPs only");
        let shared = Arc::new(Shared {
            codec: clip.codec,
            units,
            gop,
            rate: u64::from(clip.fps),
            began: monotonic(),
            stop: AtomicBool::new(false),
            anchors: Mutex::new(vec![(0, utc_now())]),
            sent: Mutex::default(),
        });
        let (accepting, looking) = (Arc::clone(&shared), Arc::clone(&shared));
        let acceptor = std::thread::spawn(move || {
            while !accepting.stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let shared = Arc::clone(&accepting);
                        std::thread::spawn(move || {
                            // The client's trouble is no fault of the camera.
                            let _ = serve(&client, &shared);
                            let _ = client.shutdown(Shutdown::Both);
                        });
                    }
                    Err(_) => std::thread::sleep(TURN),
                }
            }
        });
        let clock = std::thread::spawn(move || {
            while !looking.stop.load(Ordering::SeqCst) {
                std::thread::park_timeout(ANCHOR);
                looking.anchors.lock().unwrap().push((looking.taken(), utc_now()));
            }
        });
        NumberedCamera { port, shared, threads: vec![acceptor, clock] }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address behind a port of this machine, its own or a relay's.
    pub fn url_at(&self, port: u16) -> String {
        match self.shared.codec {
            Codec::Mjpeg => format!("http://127.0.0.1:{port}/stream.mjpg"),
            _ => format!("rtsp://127.0.0.1:{port}/stream"),
        }
    }

    /// Pictures a second.
    pub fn rate(&self) -> u64 {
        self.shared.rate
    }

    /// Pictures taken so far: the number of the next.
    pub fn taken(&self) -> u64 {
        self.shared.taken()
    }

    /// When the picture was taken.
    pub fn taken_at(&self, number: u64) -> DateTime<Utc> {
        let anchors = self.shared.anchors.lock().unwrap();
        let after = anchors.partition_point(|(at, _)| *at <= number);
        let (at, utc) = anchors[after.saturating_sub(1)];
        utc + TimeDelta::microseconds((number as i64 - at as i64) * 1_000_000 / self.shared.rate as i64)
    }

    /// Pictures that were sent to somebody, a stretch for each connection.
    pub fn sent(&self) -> Vec<Range<u64>> {
        self.shared.sent.lock().unwrap().clone()
    }
}

impl Drop for NumberedCamera {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn taken(&self) -> u64 {
        self.began.elapsed().as_micros() as u64 * self.rate / 1_000_000
    }

    /// Sends from the next keyframe on, till the client goes.
    fn play(&self, mut send: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let mut next = self.taken().next_multiple_of(self.gop);
        let connection = {
            let mut sent = self.sent.lock().unwrap();
            sent.push(next..next);
            sent.len() - 1
        };
        let (first, mut sequence) = (next, 0);
        let mut bytes = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let taken = self.taken();
            if taken.saturating_sub(next) > self.rate * PATIENCE.as_secs() {
                return Ok(());
            }
            bytes.clear();
            while next < taken {
                self.picture(next, next - first, &mut sequence, &mut bytes);
                next += 1;
            }
            send(&bytes)?;
            self.sent.lock().unwrap()[connection].end = next;
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    /// The bytes of a picture on the wire; `sequence` counts the packets of RTP.
    fn picture(&self, number: u64, since_first: u64, sequence: &mut u16, out: &mut Vec<u8>) {
        let unit = &self.units[(number % self.units.len() as u64) as usize];
        if self.codec == Codec::Mjpeg {
            let jpeg = &unit.parts[0];
            let comment = tag(number);
            let length = jpeg.len() + 4 + comment.len();
            write!(out, "--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n").unwrap();
            out.extend_from_slice(&jpeg[..2]);
            out.extend_from_slice(&[0xff, 0xfe]);
            out.extend_from_slice(&(2 + comment.len() as u16).to_be_bytes());
            out.extend_from_slice(&comment);
            out.extend_from_slice(&jpeg[2..]);
            out.extend_from_slice(b"\r\n");
            return;
        }
        // A message of unregistered user data.
        let mut message = vec![6, 5, (MARK.len() + DIGITS) as u8];
        message.extend_from_slice(&tag(number));
        message.push(0x80);
        let slices_from = unit.parts.iter().position(|part| matches!(part[0] & 0x1f, 1..=5)).unwrap();
        let (sets, slices) = unit.parts.split_at(slices_from);
        let all: Vec<&Vec<u8>> = sets.iter().chain([&message]).chain(slices).collect();
        let time = (since_first * RTP_HZ / self.rate) as u32;
        for (at, part) in all.iter().enumerate() {
            // A packet a NAL unit, which TCP has room for.
            let length = u16::try_from(12 + part.len()).expect("small pictures");
            out.extend_from_slice(&[b'$', 0]);
            out.extend_from_slice(&length.to_be_bytes());
            let is_last = at + 1 == all.len();
            out.extend_from_slice(&[0x80, 96 | if is_last { 0x80 } else { 0 }]);
            out.extend_from_slice(&sequence.to_be_bytes());
            out.extend_from_slice(&time.to_be_bytes());
            out.extend_from_slice(&SSRC.to_be_bytes());
            out.extend_from_slice(part);
            *sequence = sequence.wrapping_add(1);
        }
    }

    fn description(&self) -> String {
        let sets: Vec<String> =
            self.units[0].parts.iter().filter(|part| matches!(part[0] & 0x1f, 7 | 8)).map(base64).collect();
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=numbered\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
             a=rtpmap:96 H264/{RTP_HZ}\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={}\r\na=control:track\r\n",
            sets.join(",")
        )
    }
}

/// One client, from its first word to its last.
fn serve(mut client: &TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_nodelay(true)?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(client);
    if shared.codec == Codec::Mjpeg {
        request(&mut reader)?;
        client.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n")?;
        return shared.play(|bytes| client.write_all(bytes));
    }
    // Answers go between pictures, never into one.
    let wire = Arc::new(Mutex::new(client.try_clone()?));
    loop {
        let (method, sequence) = request(&mut reader)?;
        let ok = |more: &str| {
            let answer = format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nSession: 1\r\n{more}\r\n");
            wire.lock().unwrap().write_all(answer.as_bytes())
        };
        match method.as_str() {
            "" => return Ok(()),
            "OPTIONS" => ok("Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n")?,
            "DESCRIBE" => {
                let sdp = shared.description();
                ok(format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
                    .trim_end_matches("\r\n"))?
            }
            "SETUP" => ok("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")?,
            "PLAY" => {
                ok("Range: npt=now-\r\n")?;
                let (shared, wire, client) = (Arc::clone(shared), Arc::clone(&wire), client.try_clone()?);
                std::thread::spawn(move || {
                    let _ = shared.play(|bytes| wire.lock().unwrap().write_all(bytes));
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
            "TEARDOWN" => return ok(""),
            _ => ok("")?,
        }
    }
}

/// The next request's method and `CSeq`; an empty method: the client is gone. What it sends by RTCP is passed over.
fn request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<(String, String)> {
    while let Some(b'$') = reader.fill_buf()?.first() {
        let mut head = [0; 4];
        reader.read_exact(&mut head)?;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        reader.read_exact(&mut rest)?;
    }
    let (mut method, mut sequence) = (String::new(), String::new());
    for line in reader.lines() {
        let line = line?;
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("cseq") => sequence = value.to_owned(),
            _ if method.is_empty() => method = line.split(' ').next().unwrap_or_default().to_owned(),
            _ => {}
        }
    }
    Ok((method, sequence))
}

/// The clip's pictures in their order.
fn units_of(clip: &Clip) -> Vec<Unit> {
    let muxer = if clip.codec == Codec::Mjpeg { "mjpeg" } else { "h264" };
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&clip.path)
        .args(["-map", "0:v", "-c", "copy", "-f", muxer, "pipe:1"])
        .output()
        .expect("the ffmpeg command line is installed (make setup)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if clip.codec == Codec::Mjpeg {
        return jpegs(&output.stdout).map(|jpeg| Unit { is_key: true, parts: vec![jpeg.to_vec()] }).collect();
    }
    assert_eq!(clip.codec, Codec::H264, "a numbered camera plays H.264 or MJPEG");
    let mut units: Vec<Unit> = Vec::new();
    let mut before = Vec::new();
    for nal in nal_units(&output.stdout) {
        match nal[0] & 0x1f {
            kind @ (1 | 5) => {
                // The first slice of a picture says so with its first bit.
                if nal[1] & 0x80 != 0 {
                    units.push(Unit { is_key: kind == 5, parts: std::mem::take(&mut before) });
                }
                units.last_mut().expect("a first slice").parts.push(nal.to_vec());
            }
            7 | 8 => before.push(nal.to_vec()),
            _ => {}
        }
    }
    units
}

/// The numbers of the pictures in a recording, in the file's order.
pub fn numbers_in(path: &Path) -> Result<Vec<u64>, String> {
    let failed = |error: ffmpeg_next::Error| format!("{}: {error}", path.display());
    ffmpeg_next::init().map_err(failed)?;
    let mut input = ffmpeg_next::format::input(path).map_err(failed)?;
    let video = input.streams().best(ffmpeg_next::media::Type::Video).map(|stream| stream.index());
    let mut numbers = Vec::new();
    for (stream, packet) in input.packets() {
        if Some(stream.index()) != video {
            continue;
        }
        let data = packet.data().unwrap_or_default();
        let at = data.windows(MARK.len()).position(|window| window == MARK);
        let digits = at.and_then(|at| data.get(at + MARK.len()..at + MARK.len() + DIGITS));
        let number = digits.and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        numbers.push(number.ok_or_else(|| format!("{}: a picture without a number", path.display()))?);
    }
    Ok(numbers)
}

fn tag(number: u64) -> Vec<u8> {
    [&MARK[..], format!("{number:0DIGITS$x}").as_bytes()].concat()
}
