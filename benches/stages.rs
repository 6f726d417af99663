//! What detection costs a picture, stage by stage: `cargo bench --bench stages`.
//!
//! Stages are told apart by switching them off one after the other.

use std::process::Command;

use tarsier::clock;
use tarsier::domain::config::{Algorithm, Area, DetectConfig};
use tarsier::media::{Detector, LumaView};

const PICTURES: usize = 60;
const ROUNDS: usize = 5;

fn main() {
    println!("ms a picture, best of {ROUNDS} rounds of {PICTURES} pictures");
    for (width, height) in [(1920, 1080), (1280, 720), (640, 360)] {
        let planes = planes(width, height);
        let all = config();
        let mut before = 0.0;
        for (name, config) in [
            ("scale", DetectConfig { blur: 0, normalize: false, dilate: 0, erode: 0, threshold: 254, ..all.clone() }),
            ("blur", DetectConfig { normalize: false, dilate: 0, erode: 0, threshold: 254, ..all.clone() }),
            ("normalize", DetectConfig { dilate: 0, erode: 0, ..all.clone() }),
            ("dilate, erode", all.clone()),
        ] {
            let total = cost_ms(&config, &planes, width, height);
            println!("{width}x{height} {name:14} {:6.3}  in all {total:6.3}", total - before);
            before = total;
        }
    }
}

fn config() -> DetectConfig {
    DetectConfig { algorithm: Algorithm::Seed, min_area: Area::Pixels(1500), ..DetectConfig::default() }
}

fn cost_ms(config: &DetectConfig, planes: &[u8], width: u32, height: u32) -> f64 {
    let mut detector = Detector::new(config).expect("opencv works");
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = clock::monotonic();
        for data in planes.chunks((width * height) as usize) {
            let view =
                LumaView { width, height, stride: width as usize, data, pts_us: 0, session: 1, full_range: false };
            detector.look(&view).expect("the picture is whole");
        }
        best = best.min(start.elapsed().as_secs_f64() * 1000.0 / PICTURES as f64);
    }
    best
}

/// Grey planes of a moving test picture.
fn planes(width: u32, height: u32) -> Vec<u8> {
    let input = format!("testsrc2=size={width}x{height}:rate=15");
    let pictures = PICTURES.to_string();
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &input, "-frames:v", &pictures])
        .args(["-vf", "format=yuv420p,extractplanes=y", "-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg is installed");
    assert_eq!(output.stdout.len(), PICTURES * (width * height) as usize, "ffmpeg made the pictures");
    output.stdout
}
