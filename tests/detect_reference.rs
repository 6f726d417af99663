//! Tarsier's detector against the same stages in Python's OpenCV, on clips that ffmpeg draws, encodes and dumps.
//!
//! Planes are ffmpeg's, bit for bit. Every stage but scaling is the reference's, bit for bit, given the stage before.
//! Scaling is by Tarsier's own code, whose sums are taken in another order: a value may differ by one level, one in a
//! thousand at most. So may what follows from it; what is decided may not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tarsier::domain::config::{Algorithm, Area, DetectConfig};
use tarsier::media::detect::Stage;
use tarsier::media::packet::Session;
use tarsier::media::source::{self, Cancel, OpenOptions};
use tarsier::media::{Detector, LumaDecoder, LumaView};

const STAGES: [(Stage, &str); 7] = [
    (Stage::Scaled, "scaled"),
    (Stage::Blurred, "blurred"),
    (Stage::Prepared, "prepared"),
    (Stage::Difference, "difference"),
    (Stage::Changed, "changed"),
    (Stage::Dilated, "dilated"),
    (Stage::Area, "area"),
];

/// pynvr's own numbers.
fn seed() -> DetectConfig {
    DetectConfig { algorithm: Algorithm::Seed, min_area: Area::Pixels(1500), ..DetectConfig::default() }
}

/// A still fractal with the noise of a sensor, through which boxes move and stop, as a camera would encode it.
fn busy(size: &str, format: &str, seconds: &str) -> Vec<String> {
    let (width, height) = size.split_once('x').expect("a size");
    let scene = format!(
        "mandelbrot=size={size}:rate=15:start_scale=0.02:end_scale=0.02,trim=end_frame=1,loop=-1:1,setpts=N/15/TB[back];\
         color=white:size={width}x{height}:rate=15,format=yuv420p,crop=iw/9:ih/4[box];\
         color=gray:size={width}x{height}:rate=15,format=yuv420p,crop=iw/30:ih/20[small];\
         [back][box]overlay=x='min(t,2)*W/3':y=H/3:shortest=0[one];\
         [one][small]overlay=x=W/2:y='mod(t*H/2,H)'[two];\
         [two]noise=alls=6:allf=t,format={format}"
    );
    let args = [
        "-f", "lavfi", "-i", &scene, "-t", seconds, "-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-g", "30",
    ];
    args.iter().map(|&arg| arg.to_owned()).collect()
}

/// A dark, flat picture, all noise: what stretching to the full range makes most of.
fn night(size: &str) -> Vec<String> {
    let scene = format!(
        "color=0x181818:size={size}:rate=15,drawbox=x=iw/2:y=0:w=iw/4:h=ih:color=0x242424:t=fill,noise=alls=14:allf=t,\
         format=yuv420p"
    );
    let args =
        ["-f", "lavfi", "-i", &scene, "-t", "3", "-c:v", "libx264", "-preset", "veryfast", "-crf", "30", "-bf", "2"];
    args.iter().map(|&arg| arg.to_owned()).collect()
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(arguments)
        .output()
        .expect("the ffmpeg command line is installed (make setup)");
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

struct Planes {
    width: u32,
    height: u32,
    pictures: Vec<Vec<u8>>,
}

/// The clip through Tarsier's own source and decoder; checked to be what ffmpeg decodes.
fn planes(clip: &Path) -> Planes {
    let options = OpenOptions::of_file(clip);
    let mut source = source::open(&options, Arc::new(Session::new(1)), &Cancel::new()).expect("the clip opens");
    let mut decoder = LumaDecoder::new();
    let mut planes = Planes { width: 0, height: 0, pictures: Vec::new() };
    let mut keep = |view: LumaView| {
        (planes.width, planes.height) = (view.width, view.height);
        let mut picture = Vec::with_capacity((view.width * view.height) as usize);
        view.data.chunks(view.stride).for_each(|row| picture.extend_from_slice(&row[..view.width as usize]));
        planes.pictures.push(picture);
    };
    while let Some(packet) = source.next().expect("the clip is whole") {
        decoder.decode(&packet, &mut keep).expect("the packet is whole");
    }
    decoder.drain(&mut keep).expect("the decoder drains");
    let shown = clip.to_str().expect("the path is text");
    // Not `-pix_fmt gray`: that would stretch the levels of limited range.
    let expected = ffmpeg(&["-i", shown, "-vf", "extractplanes=y", "-fps_mode", "passthrough", "-f", "rawvideo", "-"]);
    assert!(planes.pictures.concat() == expected, "{shown}: other planes than ffmpeg's");
    planes
}

/// What Tarsier makes of the planes, stage by stage, for the reference to look at; and what it decides.
fn run_stages(folder: &Path, planes: &Planes, config: &DetectConfig) -> Vec<u32> {
    let mut detector = Detector::new(config).expect("opencv works");
    let mut stages = vec![Vec::new(); STAGES.len()];
    let mut counts = Vec::new();
    // Rows further apart than they are long, as a decoder has them.
    let stride = planes.width as usize + 40;
    for (n, picture) in planes.pictures.iter().enumerate() {
        let mut data = vec![0xee; stride * planes.height as usize];
        for (row, pixels) in data.chunks_mut(stride).zip(picture.chunks(planes.width as usize)) {
            row[..pixels.len()].copy_from_slice(pixels);
        }
        let view = LumaView {
            width: planes.width,
            height: planes.height,
            stride,
            data: &data,
            pts_us: n as i64 * 66_667,
            session: 1,
            full_range: false,
        };
        let score = detector.look(&view).expect("the picture is whole");
        assert_eq!(score.moving, score.changed_pixels >= score.level_pixels);
        counts.push(score.changed_pixels);
        for (bytes, (stage, _)) in stages.iter_mut().zip(STAGES) {
            if let Some(view) = detector.stage(stage) {
                bytes.extend_from_slice(view.data);
            }
        }
    }
    fs::write(folder.join("planes.raw"), planes.pictures.concat()).unwrap();
    for (bytes, (_, name)) in stages.iter().zip(STAGES) {
        fs::write(folder.join(format!("{name}.raw")), bytes).unwrap();
    }
    let parameters = json!({
        "source_width": planes.width, "source_height": planes.height, "width": config.width, "blur": config.blur,
        "normalize": config.normalize, "frames": config.frames, "threshold": config.threshold,
        "dilate": config.dilate, "erode": config.erode,
    });
    fs::write(folder.join("parameters.json"), parameters.to_string()).unwrap();
    counts
}

fn reference(folder: &Path) -> Value {
    // Made by deploy/setup-debian.sh beside the build.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the folder for tests is in the target folder");
    let python = target.join("opencv-reference/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/detect_reference.py");
    let output = Command::new(python).arg(script).arg(folder).output().expect("python runs");
    assert!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the reference prints JSON")
}

#[track_caller]
fn assert_agrees(name: &str, clip: &Path, config: &DetectConfig) {
    let folder = tempfile::tempdir().unwrap();
    let planes = planes(clip);
    let counts = run_stages(folder.path(), &planes, config);
    let reference = reference(folder.path());
    for (_, stage) in STAGES {
        let seen = &reference["stages"][stage];
        let number = |key: &str| seen[key].as_u64().expect("the reference counts");
        if stage == "blurred" && config.blur <= 1 {
            continue;
        }
        let lead = if matches!(stage, "scaled" | "blurred" | "prepared") { 0 } else { u64::from(config.frames) - 1 };
        assert_eq!(number("pictures"), planes.pictures.len() as u64 - lead, "{name}: {stage}");
        if stage == "scaled" {
            assert!(number("largest") <= 1, "{name}: scaling is off by {} levels", number("largest"));
            let (differ, values) = (number("differ"), number("values"));
            assert!(differ * 1000 <= values, "{name}: scaling differs in {differ} of {values} pixels");
        } else {
            assert_eq!(number("largest"), 0, "{name}: {stage} differs: {seen}");
        }
    }
    // Alone, from the planes on, the reference comes to the same decisions.
    let level = config.min_area.pixels_of(config.width * (planes.height * config.width / planes.width));
    let expected: Vec<u32> = serde_json::from_value(reference["counts"].clone()).expect("the reference counts");
    assert_eq!(counts.len(), expected.len());
    for (n, (count, expected)) in counts.iter().zip(&expected).enumerate() {
        assert_eq!(count >= &level, expected >= &level, "{name}: picture {n}: {count} and {expected} changed pixels");
        let allowed = 50 + expected / 50;
        assert!(count.abs_diff(*expected) <= allowed, "{name}: picture {n}: {count}, not {expected} changed pixels");
    }
    let moving = counts.iter().filter(|count| **count >= level).count();
    println!("{name}: {} pictures, {moving} moving; scaling: {}", counts.len(), reference["stages"]["scaled"]);
}

fn make(folder: &Path, name: &str, arguments: &[String]) -> PathBuf {
    let path = folder.join(name);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push(path.to_str().expect("the path is text"));
    ffmpeg(&arguments);
    path
}

#[test]
fn the_seeds_stages_agree() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("full_hd.mp4", busy("1920x1080", "yuv420p", "3")),
        ("hd.mkv", busy("1280x720", "yuv420p", "3")),
        ("full_range.mp4", busy("704x576", "yuvj420p", "3")),
        ("small.mp4", busy("320x180", "yuv420p", "3")),
        ("night.mp4", night("640x360")),
    ] {
        assert_agrees(name, &make(folder.path(), name, &arguments), &seed());
    }
}

#[test]
fn every_parameter_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let clip = make(folder.path(), "clip.mp4", &busy("1280x720", "yuv420p", "2.4"));
    for (name, config) in [
        ("frames: 3", DetectConfig { frames: 3, ..seed() }),
        ("width: 320", DetectConfig { width: 320, ..seed() }),
        ("width: 640, half", DetectConfig { width: 640, ..seed() }),
        ("width: 1280, all of it", DetectConfig { width: 1280, ..seed() }),
        ("blur: 0", DetectConfig { blur: 0, ..seed() }),
        ("blur: 21", DetectConfig { blur: 21, ..seed() }),
        ("normalize: false", DetectConfig { normalize: false, ..seed() }),
        ("threshold: 40", DetectConfig { threshold: 40, ..seed() }),
        ("dilate: 0", DetectConfig { dilate: 0, ..seed() }),
        ("erode: 0", DetectConfig { erode: 0, ..seed() }),
        ("dilate: 2, erode: 9", DetectConfig { dilate: 2, erode: 9, ..seed() }),
        ("min_area: 2%", DetectConfig { min_area: Area::Share(0.02), ..seed() }),
    ] {
        assert_agrees(name, &clip, &config);
    }
}
