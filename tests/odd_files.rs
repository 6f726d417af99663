//! Every tool on files that are cut, empty, no video, tiny, huge, fast, uneven or turned: a clear error or a right
//! result, and never a panic.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::*;

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];

/// A folder to work in.
struct Bench {
    folder: tempfile::TempDir,
}

/// What a file is, for the tools.
#[derive(Clone, Copy)]
enum Expect<'a> {
    /// Nothing can be done with it; the error has these words.
    Nothing(&'a str),
    /// It ends with an error that has these words; what comes before is good, if not complete.
    Part(&'a str),
    /// So many pictures.
    All(usize),
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tarsier.yaml"), "archive: { path: out }\n").unwrap();
        fs::create_dir(folder.path().join("config.d")).unwrap();
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Another container, or another head, around the same video.
    fn copied(&self, clip: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y", "-i", clip.to_str().unwrap(), "-c", "copy"])
            .args(arguments)
            .arg(&path)
            .output()
            .expect("the ffmpeg command line is installed (make setup)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    }

    /// The first `share` of a file.
    fn cut(&self, whole: &Path, name: &str, share: f64) -> PathBuf {
        let bytes = fs::read(whole).unwrap();
        self.write(name, &bytes[..(bytes.len() as f64 * share) as usize])
    }

    #[track_caller]
    fn tarsier(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
        let output = command.args(arguments).current_dir(self.folder.path()).output().expect("tarsier starts");
        let words = said(&output);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {}: {words}", output.status);
        assert!(!words.contains("panicked"), "{arguments:?}: {words}");
        output
    }

    /// Runs every tool on the file. Returns what was recorded.
    #[track_caller]
    fn all_tools(&self, file: &Path, expect: Expect) -> Vec<PathBuf> {
        let source = file.to_str().unwrap();
        let settings = ["--set", "detect.warm_up=0s", "--set", "detect.minimal_duration=1s"];
        let continuous = ["--set", "record.mode=continuous", "--set", "record.audio=off"];
        for (name, output) in [("sheet.png", self.path("sheet.png")), ("panes.mp4", self.path("panes.mp4"))] {
            assert!(!output.exists(), "{name} is from another file");
        }
        let runs = [
            self.tarsier(&[&["detect", "--json", source, "--sheet", "sheet.png"], &settings[..]].concat()),
            // Drawing takes time: the beginning is enough.
            self.tarsier(&[&["inspect", source, "--out", "panes.mp4", "--for", "300ms"], &settings[..]].concat()),
            self.tarsier(&[&["record", source, "--out", "out"], &continuous[..]].concat()),
        ];
        let files = recording_files(&self.path("out"));
        for output in &runs {
            let (code, words) = (output.status.code(), said(output));
            match expect {
                Expect::All(_) => assert_eq!(code, Some(0), "{source}: {words}"),
                // In its beginning a file's end is not seen.
                Expect::Part(_) if code == Some(0) && std::ptr::eq(output, &runs[1]) => {}
                Expect::Nothing(why) | Expect::Part(why) => {
                    assert!(code == Some(1) && words.contains(why), "{source}: {code:?}: {words}");
                }
            }
        }
        let lines = String::from_utf8_lossy(&runs[0].stdout);
        assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
        match expect {
            Expect::Nothing(_) => assert!(files.is_empty(), "{source}: {files:?}"),
            Expect::Part(_) => assert_eq!(files.len(), 1, "{source}"),
            Expect::All(pictures) => {
                let recorded: usize = files.iter().map(|file| times_ms(file).len()).sum();
                assert_eq!(recorded, pictures, "{source}: {files:?}");
            }
        }
        for name in ["sheet.png", "panes.mp4"] {
            let is_there = fs::remove_file(self.path(name)).is_ok();
            assert_eq!(is_there, !matches!(expect, Expect::Nothing(_)), "{name} of {source}");
        }
        let verified = self.tarsier(&["recordings", "verify"]);
        assert_eq!(verified.status.code(), Some(0), "{source}: {}", said(&verified));
        files
    }

    fn forget_recordings(&self) {
        fs::remove_dir_all(self.path("out")).unwrap();
    }
}

/// Both outputs.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// Presentation times of the pictures, from the first on.
fn times_ms(path: &Path) -> Vec<i64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed (make setup)");
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| line.trim_end_matches(',').parse::<f64>().ok();
    let mut times: Vec<f64> = text.lines().filter_map(parse).collect();
    times.sort_by(f64::total_cmp);
    times.iter().map(|time| ((time - times[0]) * 1000.0).round() as i64).collect()
}

fn clip() -> Clip {
    Clip::spec().size(160, 120).seconds(8.0).bframes(2).motion(1.0, 2.0).motion(5.0, 7.0).make()
}

#[test]
fn what_is_no_video_is_said() {
    let bench = Bench::new();
    let audio = Clip::drawn_by_ffmpeg("sound", &["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"]);
    let png = bench.path("still.png");
    let drawn = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1"])
        .arg(&png)
        .status()
        .unwrap();
    assert!(drawn.success());
    let noise: Vec<u8> = (0..50_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (file, why) in [
        (bench.write("empty.mp4", b""), "the file is empty"),
        (bench.write("empty.mkv", b""), "the file is empty"),
        (bench.write("text.txt", b"no video at all\n"), "this is no video file"),
        (bench.write("text.mp4", b"no video at all\n"), "this is no video file"),
        (bench.write("noise.mp4", &noise), "this is no video file"),
        (audio, "there is no video in it, only aac"),
        (png, "its video is png"),
        (bench.path("config.d"), "this is a folder"),
        (bench.path("missing.mp4"), "there is no such file"),
        (bench.cut(&clip().path, "without-moov.mp4", 0.5), "cut off"),
        (bench.cut(&bench.copied(&clip().path, "whole.mkv", &[]), "head.mkv", 0.01), ""),
    ] {
        bench.all_tools(&file, Expect::Nothing(why));
    }
}

#[test]
fn what_is_cut_off_is_good_up_to_there() {
    let bench = Bench::new();
    let whole = clip();
    let mkv = bench.copied(&whole.path, "whole.mkv", &[]);
    let front = bench.copied(&whole.path, "front.mp4", &["-movflags", "+faststart"]);
    let pieces = bench.copied(&whole.path, "pieces.mp4", &["-movflags", "+frag_keyframe+empty_moov"]);
    for (file, name) in [(&mkv, "cut.mkv"), (&front, "cut.mp4"), (&pieces, "pieces-cut.mp4")] {
        let cut = bench.cut(file, name, 0.7);
        let files = bench.all_tools(&cut, Expect::Part("the file ends in the middle"));
        let frames = read_frames(&files[0]);
        assert!((40..120).contains(&frames.len()), "{name}: {} pictures", frames.len());
        assert_eq!(frames[0].number, 0, "{name}");
        assert_unbroken(&frames[..frames.len() - 3], whole.frames);
        bench.forget_recordings();
    }
    // A transport stream has no end that could be missing, and its last picture may be half there.
    let stream = bench.copied(&whole.path, "whole.ts", &[]);
    let cut = bench.cut(&stream, "cut.ts", 0.7);
    let source = cut.to_str().unwrap();
    assert_eq!(bench.tarsier(&["detect", source]).status.code(), Some(0));
    let recorded = bench.tarsier(&["record", source, "--out", "out", "--set", "record.mode=continuous"]);
    assert_eq!(recorded.status.code(), Some(0), "{}", said(&recorded));
    let files = recording_files(&bench.path("out"));
    assert_eq!(times_ms(&files[0]).len(), times_ms(&cut).len());
}

#[test]
fn tiny_and_huge_pictures_are_pictures() {
    let bench = Bench::new();
    let drawn = |name: &str, size: &str, seconds: &str, how: &[&str]| {
        let input = format!("testsrc2=size=640x360:rate=5:duration={seconds},scale={size}");
        let mut arguments = vec!["-f", "lavfi", "-i", &input[..]];
        arguments.extend(how);
        Clip::drawn_by_ffmpeg(name, &arguments)
    };
    let still = bench.path("still.jpg");
    let mjpeg = ["-c:v", "mjpeg", "-pix_fmt", "yuvj444p"];
    for (name, size, seconds, how, pictures) in [
        ("one-pixel", "1:1", "2", &mjpeg[..], 10),
        ("two-pixels", "2:2", "2", &H264[..], 10),
        ("line", "2000:2", "1", &H264[..], 5),
        ("eight-k", "7680:4320", "1", &[&H264[..], &["-crf", "45"]].concat()[..], 5),
    ] {
        bench.all_tools(&drawn(name, size, seconds, how), Expect::All(pictures));
        bench.forget_recordings();
    }
    let one = drawn("one-picture", "320:240", "1", &mjpeg);
    bench.copied(&one, "still.jpg", &["-frames:v", "1"]);
    bench.all_tools(&still, Expect::All(1));
}

#[test]
fn pictures_keep_their_times_whatever_the_rate() {
    let bench = Bench::new();
    let drawn = |name: &str, rate: u32, how: &[&str]| {
        let input = format!("testsrc2=size=160x120:rate={rate}:duration=2");
        Clip::drawn_by_ffmpeg(name, &[&["-f", "lavfi", "-i", &input], &H264[..], how].concat())
    };
    let fast = drawn("fast", 240, &[]);
    // Now every picture, now every seventh, and a long pause.
    let select = "select=lt(n\\,10)+not(mod(n\\,7))*lt(n\\,30)+gt(n\\,50)";
    let uneven = drawn("uneven", 30, &["-vf", select, "-fps_mode", "vfr"]);
    for file in [fast, uneven] {
        let expected = times_ms(&file);
        let files = bench.all_tools(&file, Expect::All(expected.len()));
        let [recorded] = &files[..] else { panic!("{files:?}") };
        let times = times_ms(recorded);
        let is_near = |(a, b): (&i64, &i64)| (a - b).abs() <= 1;
        assert!(times.iter().zip(&expected).all(is_near), "{}: {times:?}, not {expected:?}", file.display());
        bench.forget_recordings();
    }
}

#[test]
fn recordings_are_turned_as_their_file_is() {
    let bench = Bench::new();
    let rotation = |path: &Path| {
        let stream = &probe(path)["streams"][0];
        stream["side_data_list"].as_array().and_then(|list| list.first()?["rotation"].as_i64())
    };
    let whole = clip();
    for turn in ["90", "180", "270"] {
        let name = format!("turned-{turn}.mp4");
        let file = bench.copied(&whole.path, &name, &["-metadata:s:v:0", &format!("rotate={turn}")]);
        assert!(rotation(&file).is_some_and(|rotation| rotation != 0), "ffmpeg turns it");
        let files = bench.all_tools(&file, Expect::All(whole.frames as usize));
        assert_eq!(rotation(&files[0]), rotation(&file), "{name}");
        bench.forget_recordings();
    }
    let files = bench.all_tools(&whole.path, Expect::All(whole.frames as usize));
    assert_eq!(rotation(&files[0]), None);
}

#[test]
fn what_is_no_camera_is_said() {
    let bench = Bench::new();
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    for (device, why) in [
        ("/dev/null", "this device is no camera"),
        (file.path().to_str().unwrap(), "this device is no camera"),
        ("/dev", "this is a folder"),
        ("/dev/no/such/device", "there is no /dev/no/such/device"),
        ("/dev/video9797", "there is no /dev/video9797"),
        ("9797", "9797: there is no /dev/video9797"),
        ("99999999999999999999", "there is no /dev/video99999999999999999999"),
    ] {
        bench.all_tools(Path::new(device), Expect::Nothing(why));
    }
}

#[test]
fn no_file_is_mistaken_for_a_configuration() {
    let bench = Bench::new();
    let video = clip().path;
    for file in [bench.write("empty.py", b""), bench.cut(&video, "cut.py", 0.3)] {
        let output = bench.tarsier(&["import-pynvr", file.to_str().unwrap()]);
        assert!(!said(&output).is_empty());
    }
    // A source is opened by those who look at it, not by `check`.
    fs::copy(&video, bench.path("config.d/video.yaml")).unwrap();
    let output = bench.tarsier(&["check"]);
    assert!(output.status.code() == Some(1) && said(&output).contains("config.d/video.yaml"), "{}", said(&output));
    fs::write(bench.path("config.d/video.yaml"), "source: empty.mp4\n").unwrap();
    assert_eq!(bench.tarsier(&["check"]).status.code(), Some(0));
}
