//! What `record.encode` costs, codec by codec, beside decoding alone: `cargo bench --bench encode`.
//!
//! CPU time of the whole process, medians over rounds that take turns.

use std::process::Command;
use std::sync::Arc;

use tarsier::domain::config::{EncodeConfig, OverlayKind};
use tarsier::domain::stream::VideoCodec;
use tarsier::domain::timezone::Zone;
use tarsier::media::packet::Session;
use tarsier::media::source::{self, Cancel, OpenOptions};
use tarsier::media::transcode::{Transcoder, TranscoderSettings};
use tarsier::media::{LumaDecoder, Packet};

const SECONDS: u32 = 10;
const ROUNDS: usize = 5;

fn main() {
    println!("CPU ms a picture of 1080p H.264, median of {ROUNDS} rounds of {SECONDS} s at 15 pictures a second\n");
    println!("| recordings | CPU ms a picture | of decoding alone | Mbit/s |");
    println!("|---|--:|--:|--:|");
    let packets = packets();
    let plain = EncodeConfig {
        codec: VideoCodec::H264,
        scale_to: None,
        frame_rate: None,
        overlay: OverlayKind::Nothing,
        quality: 70,
    };
    let half = EncodeConfig { scale_to: Some((1280, 720)), overlay: OverlayKind::Words, ..plain };
    let jobs: Vec<(&str, Option<EncodeConfig>)> = vec![
        ("decoded only", None),
        ("h264", Some(plain)),
        ("h264, 1280x720, overlay", Some(half)),
        ("h264, 1280x720, overlay, 5 a second", Some(EncodeConfig { frame_rate: Some(5.0), ..half })),
        ("h265", Some(EncodeConfig { codec: VideoCodec::H265, ..plain })),
        ("mjpeg", Some(EncodeConfig { codec: VideoCodec::Mjpeg, ..plain })),
        ("mpeg4", Some(EncodeConfig { codec: VideoCodec::Mpeg4, ..plain })),
    ];
    let mut costs = vec![Vec::new(); jobs.len()];
    let mut bytes = vec![0; jobs.len()];
    for _ in 0..ROUNDS {
        for (at, (_, encode)) in jobs.iter().enumerate() {
            let before = cpu_s();
            bytes[at] = run(&packets, *encode);
            costs[at].push(cpu_s() - before);
        }
    }
    let pictures = f64::from(SECONDS * 15);
    let median = |costs: &mut Vec<f64>| {
        costs.sort_by(f64::total_cmp);
        costs[costs.len() / 2]
    };
    let base = median(&mut costs[0]);
    for (at, (name, _)) in jobs.iter().enumerate() {
        let cost = median(&mut costs[at]);
        let rate = bytes[at] as f64 * 8.0 / 1e6 / f64::from(SECONDS);
        println!("| {name} | {:.1} | {:.1} | {rate:.1} |", cost * 1000.0 / pictures, cost / base);
    }
}

/// Takes all packets; gives the bytes that come out.
fn run(packets: &[Arc<Packet>], encode: Option<EncodeConfig>) -> usize {
    let Some(encode) = encode else {
        let mut decoder = LumaDecoder::new();
        packets.iter().for_each(|packet| decoder.decode(packet, &mut |_| {}).expect("a whole clip"));
        return packets.iter().map(|packet| packet.data().len()).sum();
    };
    let settings = TranscoderSettings {
        encode,
        needs_rate: false,
        from_us: None,
        camera: "camera".to_owned(),
        zone: Zone::UTC,
        shows: None,
    };
    let mut transcoder = Transcoder::new(settings);
    let mut bytes = 0;
    for packet in packets {
        let made = transcoder.take(Arc::clone(packet), Some(5_000_000)).expect("a whole clip");
        bytes += made.iter().map(|packet| packet.data().len()).sum::<usize>();
    }
    bytes + transcoder.finish().expect("a whole clip").iter().map(|packet| packet.data().len()).sum::<usize>()
}

/// CPU seconds of this process so far.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes into the structure given and nowhere else.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A moving, noisy 1080p picture at 4 Mbit/s, as a camera would send it.
fn packets() -> Vec<Arc<Packet>> {
    let folder = std::env::temp_dir().join(format!("tarsier-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the clip");
    let path = folder.join("clip.mp4");
    let input = format!("testsrc2=size=1920x1080:rate=15:duration={SECONDS},noise=alls=6:allf=t");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i", &input])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-b:v", "4M", "-g", "30", "-bf", "0", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(made.success(), "ffmpeg makes the clip");
    let options = OpenOptions::of_file(&path);
    let mut source =
        source::open(&options, Arc::new(Session::new(1)), &Cancel::default()).expect("the clip can be read");
    let packets = std::iter::from_fn(|| source.next().expect("the clip is whole")).map(Arc::new).collect();
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    packets
}
