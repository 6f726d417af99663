//! What those who look cost those who record: `make bench-viewers`.
//!
//! 8 cameras (720p15 H.264, 2 Mbit/s over RTSP) are recorded while nobody looks, while 200 viewers take live video
//! over WebSockets, and while nobody looks again. CPU seconds are the daemon's own; the viewers are threads of this
//! program. Then a page of 100 events is looked at: all its pictures, by as many connections as a browser has, and once
//! more by whoever has seen them. `BENCH_SECONDS` changes how long each stretch is.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Clip, Daemon, Mount, RtspServer, WebSocket, secs};
use tarsier::clock::monotonic;

const CAMERAS: usize = 8;
const VIEWERS: usize = 200;
const FPS: u32 = 15;

/// The daemon over one stretch.
struct Stretch {
    cpu_per_s: f64,
    packets: f64,
    resident_mb: f64,
}

fn main() {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let names: Vec<String> = (1..=CAMERAS).map(|number| format!("camera-{number}")).collect();
    let scene =
        format!("gradients=s=1280x720:r={FPS}:d=20:n=3:seed=4:speed=0.00001,noise=alls=7:allf=t,format=yuv420p");
    let encoding = "-c:v libx264 -preset veryfast -b:v 2M -maxrate 2M -bufsize 2M -g 30 -bf 0";
    let arguments = [&["-f", "lavfi", "-i", &scene], &encoding.split(' ').collect::<Vec<_>>()[..]].concat();
    let clip = Clip::drawn_by_ffmpeg("bench-720p15", &arguments);
    let mounts: Vec<Mount> = names.iter().map(|name| Mount::of_file(name, &clip, FPS)).collect();
    let server = RtspServer::start(&mounts);
    let mut builder = Daemon::builder();
    for name in &names {
        let yaml = format!(
            "source: {}\ndetect: {{ enabled: false, minimal_duration: 1s }}\nrecord: {{ mode: continuous, max_file: 20s }}\n",
            server.url(name)
        );
        builder = builder.camera(name, &yaml);
    }
    let daemon = builder.start();
    for name in &names {
        daemon.wait_for_camera(name, secs(60), |camera| camera["recording"] == true && camera["mime"].is_string());
    }

    println!("| viewers | CPU s per s | packets recorded per s | resident MB |\n|--:|--:|--:|--:|");
    let print = |viewers: usize, stretch: &Stretch| {
        println!("| {viewers} | {:.3} | {:.0} | {:.0} |", stretch.cpu_per_s, stretch.packets, stretch.resident_mb);
    };
    let before = measure(&daemon, &names, seconds);
    print(0, &before);

    let stop = Arc::new(AtomicBool::new(false));
    let viewers: Vec<_> =
        (0..VIEWERS).map(|number| view(&daemon, &names[number % CAMERAS], Arc::clone(&stop))).collect();
    wait_for_viewers(&daemon, &names, VIEWERS);
    let pictures = || viewers.iter().map(|viewer| viewer.pictures.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let (began, seen_before) = (monotonic(), pictures());
    let during = measure(&daemon, &names, seconds);
    let (watched_s, seen) = (began.elapsed().as_secs_f64(), pictures());
    print(VIEWERS, &during);
    stop.store(true, Ordering::Relaxed);
    viewers.into_iter().for_each(|viewer| viewer.thread.join().unwrap());
    wait_for_viewers(&daemon, &names, 0);

    let after = measure(&daemon, &names, seconds);
    print(0, &after);

    let per_s = seen.iter().zip(&seen_before).map(|(after, before)| (after - before) as f64 / watched_s);
    let slowest = per_s.fold(f64::INFINITY, f64::min);
    let sum = |metric: &str| names.iter().map(|name| daemon.metric(metric, name).unwrap_or(f64::NAN)).sum::<f64>();
    println!(
        "\nThe slowest viewer saw {slowest:.1} pictures a second of {FPS}; {} skips. Packets lost to the recorder: {} \
         dropped, {} by the network, {:.1} s of gaps. Without viewers again: {:+.0} % CPU (bar: 10).",
        sum("tarsier_viewer_skips_total"),
        sum("tarsier_packets_dropped_total"),
        sum("tarsier_packets_lost_total"),
        sum("tarsier_gap_seconds_total"),
        (after.cpu_per_s / before.cpu_per_s - 1.0) * 100.0,
    );
    look_at_events(&daemon, &names);
}

/// The events of a page, and the connections of a browser.
const EVENTS: usize = 100;
const CONNECTIONS: usize = 6;

fn look_at_events(daemon: &Daemon, names: &[String]) {
    let events = || daemon.get("/api/events?limit=1000")["events"].as_array().expect("a list").clone();
    support::wait_for("events", secs(180), || {
        let over = events().iter().filter(|event| !event["end"].is_null()).count();
        names.iter().for_each(|name| _ = daemon.post(&format!("/api/cameras/{name}/trigger")));
        std::thread::sleep(Duration::from_secs(2));
        (over >= EVENTS).then_some(())
    });
    // The oldest, and until their files are closed, which browsers keep the pictures of.
    std::thread::sleep(Duration::from_secs(25));
    let over = events().into_iter().rev().filter(|event| !event["end"].is_null()).take(EVENTS);
    let paths: Vec<String> = over.map(|event| format!("/api/events/{}/thumbnail.jpg", event["id"])).collect();
    println!("\n| {EVENTS} pictures | ms | CPU s | answers | resident MB |\n|---|--:|--:|---|--:|");
    let mut tags = vec![String::new(); paths.len()];
    for what in ["never seen", "seen before"] {
        let (began, cpu) = (monotonic(), process(daemon, "process_cpu_seconds_total"));
        let answers = look(daemon, &paths, &tags);
        let (took, cpu) = (began.elapsed(), process(daemon, "process_cpu_seconds_total") - cpu);
        let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        statuses.dedup();
        let memory_mb = process(daemon, "process_resident_memory_bytes") / 1e6;
        println!("| {what} | {} | {cpu:.2} | {statuses:?} | {memory_mb:.0} |", took.as_millis());
        tags = answers.into_iter().map(|(_, tag)| tag).collect();
    }
    let sum = |metric: &str| names.iter().map(|name| daemon.metric(metric, name).unwrap_or(f64::NAN)).sum::<f64>();
    println!(
        "\nPackets lost to the recorder: {} dropped, {:.1} s of gaps.",
        sum("tarsier_packets_dropped_total"),
        sum("tarsier_gap_seconds_total")
    );
}

/// Status and ETag of each path, asked for by so many connections as a browser has.
fn look(daemon: &Daemon, paths: &[String], tags: &[String]) -> Vec<(u16, String)> {
    let next = AtomicU64::new(0);
    let answers: Vec<Mutex<(u16, String)>> = paths.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(path) = paths.get(at) else { return };
                    let known = [("If-None-Match", tags[at].as_str())];
                    let (status, headers, _) =
                        daemon.request("GET", path, if tags[at].is_empty() { &[] } else { &known });
                    let tag = headers.into_iter().find(|(name, _)| name == "etag").map(|(_, tag)| tag);
                    *answers[at].lock().expect("no thread panics") = (status, tag.unwrap_or_default());
                }
            });
        }
    });
    answers.into_iter().map(|answer| answer.into_inner().expect("no thread panics")).collect()
}

struct Watching {
    pictures: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

/// A viewer that takes all it gets.
fn view(daemon: &Daemon, camera: &str, stop: Arc<AtomicBool>) -> Watching {
    let mut socket = WebSocket::open(daemon.address(), &format!("/api/cameras/{camera}/live"), 0);
    let pictures = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&pictures);
    let thread = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let message = socket.message().expect("pictures go on");
            seen.fetch_add(fragments(&message), Ordering::Relaxed);
        }
    });
    Watching { pictures, thread }
}

/// How many `moof` boxes a message holds.
fn fragments(message: &[u8]) -> u64 {
    let (mut count, mut rest) = (0, message);
    while let [a, b, c, d, kind @ ..] = rest {
        count += u64::from(kind.starts_with(b"moof"));
        rest = rest.get(u32::from_be_bytes([*a, *b, *c, *d]).max(8) as usize..).unwrap_or_default();
    }
    count
}

fn wait_for_viewers(daemon: &Daemon, names: &[String], count: usize) {
    support::wait_for("the viewers", secs(60), || {
        let looking: f64 = names.iter().filter_map(|name| daemon.metric("tarsier_viewers", name)).sum();
        (looking == count as f64).then_some(())
    });
}

fn measure(daemon: &Daemon, names: &[String], seconds: u64) -> Stretch {
    // What begins or ends has passed.
    std::thread::sleep(Duration::from_secs(3));
    let packets = || names.iter().filter_map(|name| daemon.metric("tarsier_packets_total", name)).sum::<f64>();
    let (began, cpu, packets_before) = (monotonic(), process(daemon, "process_cpu_seconds_total"), packets());
    std::thread::sleep(Duration::from_secs(seconds));
    let took_s = began.elapsed().as_secs_f64();
    Stretch {
        cpu_per_s: (process(daemon, "process_cpu_seconds_total") - cpu) / took_s,
        packets: (packets() - packets_before) / took_s,
        resident_mb: process(daemon, "process_resident_memory_bytes") / 1e6,
    }
}

fn process(daemon: &Daemon, metric: &str) -> f64 {
    let (_, text) = daemon.get_text("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}
