//! How fast stored video is replayed through the detector: `make bench-backtest` (or `cargo bench --bench backtest --
//! FILE ...`, for videos of your own).
//!
//! One thread, and as many as there are cores. Times are the process's CPU seconds, which other work on the machine
//! changes less than the clock's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tarsier::clock;
use tarsier::domain::config::{Algorithm, DetectConfig};
use tarsier::media::LumaDecoder;
use tarsier::media::backtest::{self, Options, Reel};
use tarsier::media::packet::Session;
use tarsier::media::source::{self, Cancel, OpenOptions};

const SECONDS: u32 = 30;

fn main() {
    let folder = std::env::temp_dir().join(format!("tarsier-bench-backtest-{}", std::process::id()));
    let given: Vec<PathBuf> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").map(PathBuf::from).collect();
    let clips = if given.is_empty() { make(&folder) } else { given };
    println!("| video | what | CPU s | of decoding alone | times real time, one core | times real time, all cores |");
    println!("|---|---|--:|--:|--:|--:|");
    for clip in &clips {
        measure(clip);
    }
    fs::remove_dir_all(&folder).ok();
}

fn measure(clip: &Path) {
    let name = clip.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let adaptive = DetectConfig { algorithm: Algorithm::Adaptive, ..DetectConfig::default() };
    let seed = DetectConfig { algorithm: Algorithm::Seed, ..DetectConfig::default() };
    let (video_s, bare_s) = decode_all(clip);
    let row = |what: &str, cpu_s: f64, took_s: Option<f64>| {
        let all = took_s.map_or("–".to_owned(), |took_s| format!("{:.1}", video_s / took_s));
        println!("| {name} | {what} | {cpu_s:.2} | {:.2} | {:.1} | {all} |", cpu_s / bare_s, video_s / cpu_s);
    };
    row("all pictures decoded, no detector", bare_s, None);
    let grid = vec![adaptive.clone(); 16];
    for (what, configs, without_loop_filter) in [
        ("`adaptive`", vec![adaptive.clone()], false),
        ("`adaptive`, --quick", vec![adaptive.clone()], true),
        ("`seed`", vec![seed], false),
        ("today's and changed values", vec![adaptive.clone(), DetectConfig { fps: 5, ..adaptive }], false),
        ("16 sets of values", grid, false),
    ] {
        let (cpu_s, _) = replay(clip, &configs, Options { threads: 1, without_loop_filter });
        let (_, took_s) = replay(clip, &configs, Options { threads: 0, without_loop_filter });
        row(what, cpu_s, Some(took_s));
    }
}

/// CPU seconds, and seconds by the clock.
fn replay(clip: &Path, configs: &[DetectConfig], options: Options) -> (f64, f64) {
    let (began, before_s) = (clock::monotonic(), cpu_s());
    let reels = [Reel::of_file(clip.to_owned())];
    let played = backtest::run(&reels, configs, options, &Cancel::new(), &|_| {}).expect("the detector works");
    assert_eq!(played[0].faults, Vec::<String>::new());
    (cpu_s() - before_s, began.elapsed().as_secs_f64())
}

/// Seconds of video, and CPU seconds that decoding all of it takes.
fn decode_all(clip: &Path) -> (f64, f64) {
    let before_s = cpu_s();
    let session = std::sync::Arc::new(Session::new(1));
    let mut source = source::open(&OpenOptions::of_file(clip), session, &Cancel::new()).expect("the clip opens");
    let mut decoder = LumaDecoder::new();
    let (mut first_us, mut last_us) = (i64::MAX, 0);
    while let Some(packet) = source.next().expect("the clip is whole") {
        (first_us, last_us) = (first_us.min(packet.pts_us()), last_us.max(packet.pts_us()));
        decoder.decode(&packet, &mut |_| {}).expect("the clip decodes");
    }
    decoder.drain(&mut |_| {}).expect("the clip decodes");
    ((last_us - first_us) as f64 / 1e6, cpu_s() - before_s)
}

/// CPU seconds of this process, of threads that have ended too.
fn cpu_s() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux tells of processes");
    // Behind the name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields[11..13].iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

/// A camera's picture at 1920x1080, as cameras send it: a still scene with noise, through which something goes, with a
/// keyframe every 2 s at a bit rate that does not vary. One with pictures that no other needs.
fn make(folder: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(folder).expect("a folder for the clips");
    let x264 = |bit_rate: &str, b_pictures: &str| {
        format!(
            "-c:v libx264 -preset veryfast -bf {b_pictures} -x264-params scenecut=0 -b:v {bit_rate} -maxrate {bit_rate} \
             -bufsize {bit_rate}"
        )
    };
    let x265 = "-c:v libx265 -preset ultrafast -b:v 2M -x265-params \
                log-level=none:bframes=0:scenecut=0:vbv-maxrate=2000:vbv-bufsize=2000";
    [
        ("1080p15 H.264 2 Mbit", 15, x264("2M", "0")),
        ("1080p15 H.264 2 Mbit with B", 15, x264("2M", "3")),
        ("1080p25 H.264 4 Mbit", 25, x264("4M", "0")),
        ("1080p15 H.265 2 Mbit", 15, x265.to_owned()),
    ]
    .map(|(name, rate, encode)| {
        let clip = folder.join(format!("{name}.mp4"));
        let scene = format!(
            "gradients=s=1920x1080:r={rate}:c0=gray:c1=white:n=6:speed=0.00001:seed=3,noise=alls=6:allf=t[wall];\
             testsrc2=s=160x360:r={rate}[thing];[wall][thing]overlay=x='mod(t*90,2400)-200':y=500,format=yuv420p"
        );
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &scene, "-t", &SECONDS.to_string()])
            .args(["-g", &(2 * rate).to_string()])
            .args(encode.split_whitespace())
            .arg(&clip)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success());
        clip
    })
    .to_vec()
}
