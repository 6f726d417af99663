//! What Tarsier costs beside bare decoding: `make bench`.
//!
//! For 1 and 8 cameras (1080p15 H.264 over RTSP, TCP) the daemon, with detection on and recording motion, takes
//! turns with `ffmpeg -threads 1 -rtsp_transport tcp -i URL -f null -`, one a camera. CPU seconds are those of the
//! whole process tree from /proc, without the server; stream seconds are those that the server sent. Memory is the
//! peak of resident memory. `BENCH_SECONDS` and `BENCH_ROUNDS` change how long and how often.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Clip, Daemon, Mount, RtspServer, secs};
use tarsier::clock::monotonic;

const FPS: u32 = 15;
const CLIP_SECONDS: u32 = 24;
/// The presets, which the tests' daemon does not take.
const DETECT: &str = "detect: { algorithm: adaptive, tamper: true }\n";
const BAR_RATIO: f64 = 1.3;
const BAR_MB_A_CAMERA: f64 = 40.0;

/// One program over one stretch of time.
#[derive(Clone, Copy)]
struct Cost {
    cpu_per_stream_s: f64,
    peak_mb: f64,
}

fn main() {
    let seconds = number("BENCH_SECONDS", 20);
    let rounds = number("BENCH_ROUNDS", 3).max(1);
    let clip = camera_clip();
    println!("{rounds} rounds of {seconds} s each, medians; 1080p{FPS} H.264, 4 Mbit/s, over RTSP (TCP)\n");
    println!(
        "| cameras | tarsier CPU s per stream s | ffmpeg decode-only | ratio | tarsier peak MB | ffmpeg peak MB |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    let mut peaks = Vec::new();
    let mut worst_ratio = 0f64;
    for cameras in [1usize, 8] {
        let names: Vec<String> = (1..=cameras).map(|n| format!("camera-{n}")).collect();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let server = serve(&clip, &names);
            ours.push(run_tarsier(&server, &names, seconds));
            drop(server);
            let server = serve(&clip, &names);
            theirs.push(run_ffmpeg(&server, &names, seconds));
        }
        let (ours, theirs) = (median(&ours), median(&theirs));
        let ratio = ours.cpu_per_stream_s / theirs.cpu_per_stream_s;
        worst_ratio = worst_ratio.max(ratio);
        peaks.push((cameras, ours.peak_mb));
        println!(
            "| {cameras} | {:.4} | {:.4} | {ratio:.2} | {:.0} | {:.0} |",
            ours.cpu_per_stream_s, theirs.cpu_per_stream_s, ours.peak_mb, theirs.peak_mb
        );
    }
    let added = (peaks[1].1 - peaks[0].1) / (peaks[1].0 - peaks[0].0) as f64;
    println!(
        "\nEach added camera takes {added:.1} MB (bar: {BAR_MB_A_CAMERA}). Worst ratio {worst_ratio:.2} (bar: {BAR_RATIO})."
    );
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A camera's picture: grain everywhere, a box that moves in a quarter of the time.
fn camera_clip() -> PathBuf {
    Clip::drawn_by_ffmpeg(
        "bench-1080p15",
        &[
            "-f",
            "lavfi",
            "-i",
            &format!("gradients=s=1920x1080:r={FPS}:d={CLIP_SECONDS}:n=3:seed=4:speed=0.00001"),
            "-f",
            "lavfi",
            "-i",
            &format!("color=c=white:s=200x300:r={FPS}:d={CLIP_SECONDS}"),
            "-filter_complex",
            "[0:v][1:v]overlay=x='40+if(between(t,10,16),(t-10)*250,0)':y=600,noise=alls=7:allf=t,format=yuv420p[out]",
            "-map",
            "[out]",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-tune",
            "zerolatency",
            "-profile:v",
            "main",
            "-b:v",
            "4M",
            "-maxrate",
            "4M",
            "-bufsize",
            "4M",
            "-g",
            "30",
            "-bf",
            "0",
        ],
    )
}

fn serve(clip: &std::path::Path, names: &[String]) -> RtspServer {
    let mounts: Vec<Mount> = names.iter().map(|name| Mount::of_file(name, clip, FPS)).collect();
    RtspServer::start(&mounts)
}

fn run_tarsier(server: &RtspServer, names: &[String], seconds: u64) -> Cost {
    let mut builder = Daemon::builder();
    for name in names {
        let yaml = format!("source: {}\n{DETECT}record: {{ pre_alarm: 5s }}\n", server.url(name));
        builder = builder.camera(name, &yaml);
    }
    let mut daemon = builder.start();
    for name in names {
        daemon.wait_for_state(name, "running", secs(60));
    }
    let cost = measure(server, names, seconds, &[daemon.pid()]);
    for name in names {
        let looked = daemon.metric("tarsier_frames_decoded_total", name).unwrap_or(0.0);
        assert!(looked > 0.0, "{name} was not looked at: detection is part of what is measured");
        let skipped = daemon.metric("tarsier_frames_skipped_total", name).unwrap_or(0.0);
        if skipped > 0.0 {
            eprintln!("{name}: {skipped} of {} pictures were not looked at: the machine is too busy", looked + skipped);
        }
    }
    daemon.terminate(secs(30));
    cost
}

fn run_ffmpeg(server: &RtspServer, names: &[String], seconds: u64) -> Cost {
    struct Running(Vec<Child>);
    impl Drop for Running {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
    let mut running = Running(Vec::new());
    for name in names {
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "quiet", "-threads", "1", "-rtsp_transport", "tcp", "-i", &server.url(name)])
            .args(["-f", "null", "-"])
            .stdin(Stdio::null())
            .spawn()
            .expect("the ffmpeg command line is installed (make setup)");
        running.0.push(child);
    }
    for name in names {
        support::wait_for("ffmpeg to play", secs(60), || (server.stats(name).plays > 0).then_some(()));
    }
    let pids: Vec<u32> = running.0.iter().map(Child::id).collect();
    measure(server, names, seconds, &pids)
}

/// Lets connecting, probing and warm-up pass, then measures for so many seconds.
fn measure(server: &RtspServer, names: &[String], seconds: u64, roots: &[u32]) -> Cost {
    let sent = || names.iter().map(|name| server.stats(name).sent).sum::<u64>();
    until(Duration::from_secs(10));
    let (sent_before, cpu_before) = (sent(), cpu_seconds(roots));
    until(Duration::from_secs(seconds));
    let (sent_after, cpu_after) = (sent(), cpu_seconds(roots));
    let stream_seconds = (sent_after - sent_before) as f64 / f64::from(FPS);
    let peak_mb = tree(roots).iter().map(|pid| peak_kb(*pid)).sum::<f64>() / 1024.0;
    Cost { cpu_per_stream_s: (cpu_after - cpu_before) / stream_seconds, peak_mb }
}

fn until(duration: Duration) {
    let start = monotonic();
    std::thread::sleep(duration.saturating_sub(start.elapsed()));
}

/// The processes and all their descendants.
fn tree(roots: &[u32]) -> Vec<u32> {
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(fields) = stat(pid)
        {
            parents.entry(fields[1].parse().unwrap_or(0)).or_default().push(pid);
        }
    }
    let mut all = roots.to_vec();
    let mut at = 0;
    while at < all.len() {
        all.extend(parents.get(&all[at]).into_iter().flatten());
        at += 1;
    }
    all
}

/// User and system time of the tree, of ended children too.
fn cpu_seconds(roots: &[u32]) -> f64 {
    // SAFETY: asks for a number.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let ticks = |pid: &u32| stat(*pid).map_or(0.0, |f| f[11..=14].iter().filter_map(|t| t.parse::<f64>().ok()).sum());
    tree(roots).iter().map(ticks).sum::<f64>() / ticks_per_s
}

/// The fields of /proc/PID/stat behind the name: state, parent and so on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn peak_kb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost { cpu_per_stream_s: middle(|cost| cost.cpu_per_stream_s), peak_mb: middle(|cost| cost.peak_mb) }
}
