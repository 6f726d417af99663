//! `tarsier inspect` as people and scripts meet it.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use support::*;

/// A folder to work in, and what was written there.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn inspect(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tarsier"))
            .args(["inspect", "--set", "detect.algorithm=seed"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("tarsier starts")
    }

    /// What it says of `clip`, drawn into `panes.mp4`.
    #[track_caller]
    fn draw(&self, clip: &Path, arguments: &[&str]) -> String {
        let mut all = vec![clip.to_str().unwrap(), "--out", "panes.mp4"];
        all.extend(arguments);
        let output = self.inspect(&all);
        assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
        decodes_cleanly(&self.path("panes.mp4")).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// It fails, says why, and leaves nothing behind.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], why: &str) {
        let before = fs::read_dir(self.folder.path()).unwrap().count();
        let output = self.inspect(arguments);
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(why) && !words.contains("panicked"), "{words}");
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), before, "something stayed behind");
    }

    /// Makes a clip with ffmpeg.
    fn clip(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let made = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(&path).output();
        let made = made.expect("ffmpeg is installed (make setup)");
        assert!(made.status.success(), "{}", stderr(&made));
        path
    }

    fn video(&self) -> serde_json::Value {
        probe(&self.path("panes.mp4"))["streams"][0].clone()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Blue, green and red of one picture of `panes.mp4`.
struct Shot {
    width: usize,
    data: Vec<u8>,
}

impl Shot {
    fn take(bench: &Bench, number: u32) -> Shot {
        Shot::of(&bench.path("panes.mp4"), number)
    }

    /// Picture `number` of a video.
    fn of(path: &Path, number: u32) -> Shot {
        let video = probe(path)["streams"][0].clone();
        let select = format!("select=eq(n\\,{number})");
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(path)
            .args(["-vf", &select, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "bgr24", "-"])
            .output()
            .expect("ffmpeg is installed (make setup)");
        let width = video["width"].as_u64().unwrap() as usize;
        assert_eq!(output.data_len(), 3 * width * video["height"].as_u64().unwrap() as usize);
        Shot { width, data: output.stdout }
    }

    /// Share of the pixels of a rectangle for which `is` holds.
    fn share(&self, (left, top): (usize, usize), (width, height): (usize, usize), is: impl Fn(&[u8]) -> bool) -> f64 {
        let rows = self.data.chunks(3 * self.width).skip(top).take(height);
        let hits: usize =
            rows.map(|row| row[3 * left..3 * (left + width)].chunks(3).filter(|pixel| is(pixel)).count()).sum();
        hits as f64 / (width * height) as f64
    }
}

trait DataLen {
    fn data_len(&self) -> usize;
}

impl DataLen for Output {
    fn data_len(&self) -> usize {
        self.stdout.len()
    }
}

/// Amber, as the trace, the difference and the eroded area are drawn.
fn amber(pixel: &[u8]) -> bool {
    pixel[2] > 130 && pixel[1] > 70 && pixel[0] < 90 && pixel[2] > pixel[1]
}

fn green(pixel: &[u8]) -> bool {
    pixel[1] > 170 && pixel[2] < 140 && pixel[0] < 150
}

/// Of a clip of 320x240: panes of 640x480, and below their labels.
const PANES: [(usize, usize); 4] = [(0, 30), (644, 30), (0, 514), (644, 514)];
const BELOW_LABEL: (usize, usize) = (640, 440);

#[test]
fn the_video_has_every_picture_at_its_time_and_shows_where_motion_is() {
    let clip = Clip::spec().seconds(12.0).motion(6.0, 8.0).make();
    let bench = Bench::new();
    let report = bench.draw(&clip.path, &["--set", "detect.minimal_duration=2s"]);

    let video = bench.video();
    assert_eq!((video["codec_name"].as_str(), video["pix_fmt"].as_str()), (Some("h264"), Some("yuv420p")));
    assert_eq!((video["width"].as_u64(), video["height"].as_u64()), (Some(1284), Some(1080)));
    assert_eq!((video["nb_frames"].as_str(), video["avg_frame_rate"].as_str()), (Some("180"), Some("15/1")));
    assert!((duration_s(&bench.path("panes.mp4")) - 12.0).abs() < 0.05);

    let still = Shot::take(&bench, 5 * 15);
    let moving = Shot::take(&bench, 7 * 15);
    let after = Shot::take(&bench, 8 * 15 + 8);
    for (pane, at) in PANES.iter().enumerate() {
        let (before, now) = (still.share(*at, BELOW_LABEL, amber), moving.share(*at, BELOW_LABEL, amber));
        match pane {
            0 => assert!(now < 0.001, "the source is as it came: {now}"),
            _ => assert!(before < 0.001 && now > 0.005, "pane {pane}: {before} before and {now} in motion"),
        }
    }
    let contours = |shot: &Shot| shot.share(PANES[3], BELOW_LABEL, green);
    assert!(contours(&still) == 0.0 && contours(&moving) > 0.002 && contours(&after) == 0.0);
    let trace = |shot: &Shot| shot.share(PANES[3], BELOW_LABEL, |pixel| pixel[2] > pixel[0].saturating_add(25));
    assert!(trace(&after) > 0.005, "the trace is still there: {}", trace(&after));
    assert!(trace(&Shot::take(&bench, 179)) < trace(&after) / 3.0, "and fades");

    for part in ["180 pictures in 11.9 s, compared at 500x375", "events: 1", "level: 2001 px (1.07%)"] {
        assert!(report.contains(part), "{part} is missing:\n{report}");
    }
    assert!(report.contains("  warm-up        5.0 s") && report.contains("two groups:"), "{report}");
}

#[test]
fn the_level_that_it_proposes_finds_the_motion() {
    let clip = Clip::spec().seconds(12.0).motion(6.0, 8.0).make();
    let bench = Bench::new();
    let report = bench.inspect(&[clip.path.to_str().unwrap(), "--set", "detect.min_area=100%"]);
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("events: 0"), "{report}");
    let level = report.split("--set ").nth(1).unwrap_or_else(|| panic!("{report}")).trim();
    let report = bench.inspect(&[clip.path.to_str().unwrap(), "--set", level]);
    assert!(String::from_utf8_lossy(&report.stdout).contains("events: 1"));
}

#[test]
fn the_adaptive_algorithm_shows_its_own_stages_and_proposes_no_level() {
    let bench = Bench::new();
    let clip = Clip::spec().seconds(12.0).motion(6.0, 8.0).make();
    let report = bench.draw(&clip.path, &["--set", "detect.algorithm=adaptive"]);
    assert!(report.contains("events: 1\n") && report.contains("compared at 320x"), "{report}");
    assert!(!report.contains("min_area") && !report.contains("level"), "{report}");
}

#[test]
fn a_cameras_file_gives_source_and_settings() {
    let clip = Clip::spec().seconds(12.0).motion(6.0, 8.0).make();
    let bench = Bench::new();
    let camera = format!("source: {}\ndetect: {{ warm_up: 1s, width: 160 }}\n", clip.path.display());
    fs::write(bench.path("yard.yaml"), camera).unwrap();
    let said = |arguments: &[&str]| String::from_utf8(bench.inspect(arguments).stdout).unwrap();
    let report = said(&["--camera", "yard.yaml"]);
    assert!(report.contains("compared at 160x120") && report.contains("warm-up        1.0 s"), "{report}");
    let report = said(&["--camera", "yard.yaml", "--set", "detect.width=200"]);
    assert!(report.contains("compared at 200x150") && report.contains("warm-up        1.0 s"), "{report}");
    // Another source with the same settings.
    let other = Clip::spec().seconds(3.0).fps(10).make();
    let report = said(&[other.path.to_str().unwrap(), "--camera", "yard.yaml"]);
    assert!(report.contains("30 pictures") && report.contains("compared at 160x120"), "{report}");

    bench.refuses(&["--camera", "no.yaml"], "no.yaml:1:1: there is no such file");
    bench.refuses(&["--camera", "yard.yaml", "--set", "detect.treshold=1"], "treshold");
}

#[test]
fn times_sizes_and_rotation_are_those_of_the_source() {
    let bench = Bench::new();
    let source = |size: &str, rate: &str| format!("testsrc2=size={size}:rate={rate}:duration=1");
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let make = |name: &str, input: &str, how: &[&str]| {
        let mut arguments = vec!["-f", "lavfi", "-i", input];
        arguments.extend(how);
        bench.clip(name, &arguments)
    };

    let fast = make("fast.mp4", &source("320x240", "240"), &[&h264[..], &["-t", "0.5"]].concat());
    bench.draw(&fast, &[]);
    let video = bench.video();
    assert_eq!((video["nb_frames"].as_str(), video["avg_frame_rate"].as_str()), (Some("120"), Some("240/1")));

    // Every third picture is missing.
    let skips = [&h264[..], &["-vf", "select=mod(n\\,3)", "-fps_mode", "vfr"]].concat();
    let uneven = make("uneven.mp4", &source("320x240", "30"), &skips);
    bench.draw(&uneven, &[]);
    let times = |path: &Path| {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
            .arg(path)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let times: Vec<f64> = text.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect();
        times.iter().map(|time| ((time - times[0]) * 1000.0).round() as i64).collect::<Vec<_>>()
    };
    let (mut expected, drawn) = (times(&uneven), times(&bench.path("panes.mp4")));
    expected.sort_unstable(); // they have B-frames
    let first = expected[0];
    assert_eq!(drawn, expected.iter().map(|time| time - first).collect::<Vec<_>>());

    let wide = make("wide.mp4", &source("640x360", "10"), &h264);
    bench.draw(&wide, &[]);
    assert_eq!((bench.video()["width"].as_u64(), bench.video()["height"].as_u64()), (Some(1284), Some(840)));
    let upright =
        bench.clip("upright.mp4", &["-i", wide.to_str().unwrap(), "-c", "copy", "-metadata:s:v:0", "rotate=90"]);
    bench.draw(&upright, &[]);
    // A pane of 320x480 holds 270x480.
    assert_eq!((bench.video()["width"].as_u64(), bench.video()["height"].as_u64()), (Some(644), Some(1080)));

    for (name, size, how) in [
        ("one.mov", "1x1", &["-c:v", "mjpeg", "-pix_fmt", "yuvj444p"][..]),
        ("two.mp4", "2x2", &h264),
        ("odd.mov", "321x241", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
        ("deep.mp4", "322x182", &["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"]),
        ("line.mp4", "1600x2", &h264),
        ("tower.mp4", "16x1600", &h264),
    ] {
        // ffmpeg's test picture has a least size.
        let clip =
            make(name, &format!("color=gray:size=64x64:rate=5:duration=1,scale={}", size.replace('x', ":")), how);
        bench.draw(&clip, &[]);
        assert_eq!(bench.video()["nb_frames"].as_str(), Some("5"), "{name}");
    }
}

#[test]
fn a_stream_that_changes_its_size_stays_one_video() {
    let parts = [Clip::spec().seconds(2.0).make(), Clip::spec().seconds(2.0).size(640, 360).make()];
    let bench = Bench::new();
    bench.draw(&concat(&[&parts[0], &parts[1]]).path, &[]);
    assert_eq!(bench.video()["nb_frames"].as_str(), Some("60"));
}

#[test]
fn what_is_broken_is_said() {
    let bench = Bench::new();
    let clip = Clip::spec().seconds(4.0).make();
    let whole = fs::read(&clip.path).unwrap();
    fs::write(bench.path("truncated.mp4"), &whole[..whole.len() / 2]).unwrap();
    fs::write(bench.path("empty.mp4"), "").unwrap();
    fs::write(bench.path("text.mp4"), "no video in here\n".repeat(100)).unwrap();
    bench.clip("sound.mp4", &["-f", "lavfi", "-i", "sine=duration=1"]);
    let refuses = |name: &str, why: &str| bench.refuses(&[name, "--out", "panes.mp4"], why);
    refuses("truncated.mp4", "truncated.mp4");
    refuses("empty.mp4", "empty.mp4");
    refuses("text.mp4", "text.mp4");
    refuses("sound.mp4", "no video");
    refuses("missing.mp4", "missing.mp4");
    refuses("rtsp://viewer:canary-7319@127.0.0.1:1/live", "127.0.0.1:1");

    // What was readable of a stream that ends in the middle is drawn.
    let stream = bench.clip("a.ts", &["-i", clip.path.to_str().unwrap(), "-c", "copy"]);
    let half = fs::read(&stream).unwrap();
    fs::write(&stream, &half[..half.len() / 2]).unwrap();
    bench.draw(&stream, &[]);
    let drawn: u32 = bench.video()["nb_frames"].as_str().unwrap().parse().unwrap();
    assert!((20..50).contains(&drawn), "{drawn} of 60 pictures");
}

#[test]
fn it_writes_where_it_may() {
    let bench = Bench::new();
    let clip = Clip::spec().seconds(1.0).make();
    fs::copy(&clip.path, bench.path("clip.mp4")).unwrap();
    bench.refuses(&["clip.mp4", "--out", "clip.mp4"], "the source itself");
    bench.refuses(&["clip.mp4", "--out", "no/such/panes.mp4"], "cannot write no/such/panes.mp4");
    assert_eq!(bench.inspect(&["clip.mp4", "--out", "panes.avi"]).status.code(), Some(2));
    assert_eq!(bench.inspect(&[]).status.code(), Some(2));
    let help = bench.inspect(&["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("tarsier inspect clip.mp4 --out panes.mp4"), "{help}");
    // In a pipe: the report, and nothing of a progress bar.
    let output = bench.inspect(&["clip.mp4"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

/// Starts a command that serves; gives it with its output, and the address that comes first in that.
fn serving(command: &mut Command) -> (Child, BufReader<ChildStdout>, String) {
    let mut tarsier = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tarsier starts");
    let mut stdout = BufReader::new(tarsier.stdout.take().unwrap());
    let mut url = String::new();
    stdout.read_line(&mut url).unwrap();
    let address = url.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    let address = address.expect("a URL comes first").to_owned();
    (tarsier, stdout, address)
}

/// Asks for what may have no end.
fn ask(address: &str, path: &str, host: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(secs(30))).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    connection
}

/// The next picture of a multipart answer.
fn next_jpeg(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            let mut jpeg = vec![0; length.trim().parse::<usize>().unwrap() + 2];
            stream.read_exact(&mut jpeg).unwrap();
            return jpeg.split_off(2);
        }
    }
}

#[test]
fn the_daemon_shows_what_its_detector_sees_to_a_few_at_a_time() {
    // The box moves in the middle, between half and three quarters of the height.
    let clip = Clip::spec().seconds(12.0).gop_seconds(1.0).motion(6.0, 9.0).make();
    let yaml = |detect: &str| {
        let source = clip.path.display();
        format!("source: {source}\nloop: true\ndetect: {{ warm_up: 2s, {detect} }}\nrecord: {{ mode: off }}\n")
    };
    let zone = "algorithm: adaptive, zones: [{name: top, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.4], [0.1, 0.4]]}]";
    let daemon = Daemon::builder().camera("yard", &yaml(zone)).camera("blind", &yaml("enabled: false")).start();
    daemon.wait_for_state("yard", "running", secs(30));
    daemon.wait_for_state("blind", "running", secs(30));
    let address = daemon.address().to_string();
    let path = "/api/cameras/yard/inspect.mjpeg";
    assert_eq!(daemon.get_text("/api/cameras/blind/inspect.mjpeg").0, 409);

    let mut stream = BufReader::new(ask(&address, path, &address));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panes.jpg");
    let (height_above, height_around) = (BELOW_LABEL.1 * 2 / 5, BELOW_LABEL.1 / 2);
    let (left, top) = PANES[3];
    let (mut still, mut moving) = (None, None);
    let shots = wait_for("pictures without and with something that moves", secs(120), || {
        fs::write(&file, next_jpeg(&mut stream)).unwrap();
        let shot = Shot::of(&file, 0);
        let around = shot.share((left, top + height_above), (BELOW_LABEL.0, height_around), green);
        *(if around > 0.002 { &mut moving } else { &mut still }) = Some(shot);
        let is_both = still.is_some() && moving.is_some();
        is_both.then(|| still.take().zip(moving.take())).flatten()
    });
    let blue = |pixel: &[u8]| pixel[0] > 150 && pixel[1] > 80 && pixel[2] < 110;
    for shot in [&shots.0, &shots.1] {
        assert!(shot.share((left, top), (BELOW_LABEL.0, height_above - 40), green) == 0.0, "nothing moves up there");
        assert!(shot.share((left, top), (BELOW_LABEL.0, height_above), blue) > 0.002, "the zone is drawn");
    }

    let status_of = |connection: &TcpStream| {
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line).unwrap();
        line
    };
    let others: Vec<TcpStream> = (1..16).map(|_| ask(&address, path, &address)).collect();
    assert!(others.iter().all(|other| status_of(other).starts_with("HTTP/1.1 200")));
    assert!(status_of(&ask(&address, path, &address)).starts_with("HTTP/1.1 503"), "one more than there may be");
}

#[test]
fn a_browser_on_this_machine_sees_the_panes() {
    let clip = Clip::spec().seconds(30.0).motion(1.0, 3.0).make();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
    let (mut tarsier, mut stdout, address) =
        serving(command.args(["inspect", "--serve", "--set", "detect.algorithm=seed"]).arg(&clip.path));
    let address = address.as_str();
    assert!(address.starts_with("127.0.0.1:"), "{address}");

    let ask = |path: &str, host: &str| ask(address, path, host);
    let mut page = String::new();
    ask("/", address).read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("/panes.mjpeg"), "{page}");
    let mut refused = String::new();
    ask("/panes.mjpeg", "evil.example").read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");

    let mut stream = BufReader::new(ask("/panes.mjpeg", address));
    let jpegs = [(); 3].map(|()| next_jpeg(&mut stream));
    let bench = Bench::new();
    fs::write(bench.path("a.jpg"), &jpegs[2]).unwrap();
    decodes_cleanly(&bench.path("a.jpg")).unwrap();
    assert_eq!(probe(&bench.path("a.jpg"))["streams"][0]["width"].as_u64(), Some(1284));

    send_signal(tarsier.id(), libc::SIGTERM);
    let status = wait_for("tarsier to end", secs(5), || tarsier.try_wait().expect("it can be waited for"));
    assert_eq!(status.code(), Some(0));
    let mut report = String::new();
    stdout.read_to_string(&mut report).unwrap();
    assert!(report.contains("level: 2001 px"), "{report}");
}

#[test]
fn a_live_stream_is_shown_and_drawn_for_as_long_as_is_said() {
    // Few pictures: they are drawn as they come.
    let clip = Clip::spec().fps(5).seconds(30.0).gop_seconds(1.0).motion(0.0, 30.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let bench = Bench::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
    command
        .args(["inspect", &server.url("yard"), "--serve", "--out", "panes.mp4", "--for", "8s"])
        .args(["--set", "detect.warm_up=1s", "--set", "detect.algorithm=seed"])
        .current_dir(bench.folder.path());
    let (mut tarsier, mut stdout, address) = serving(&mut command);
    let mut viewer = TcpStream::connect(&address).unwrap();
    viewer.set_read_timeout(Some(secs(30))).unwrap();
    write!(viewer, "GET /panes.mjpeg HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    // To the end: the time ends the stream, too.
    let mut shown = Vec::new();
    viewer.read_to_end(&mut shown).ok();
    let jpegs = shown.windows(3).filter(|bytes| **bytes == [0xff, 0xd8, 0xff]).count();
    assert!(jpegs >= 5, "{jpegs} pictures were shown");

    let output = wait_for("tarsier to end", secs(20), || tarsier.try_wait().expect("it can be waited for"));
    assert_eq!(output.code(), Some(0));
    let mut report = String::new();
    stdout.read_to_string(&mut report).unwrap();
    assert!(report.contains("events: 1\n") && report.contains("open at the end"), "{report}");
    decodes_cleanly(&bench.path("panes.mp4")).unwrap();
    let (video, pictures) = (bench.video(), report.split_once(' ').unwrap().0);
    assert_eq!(video["nb_frames"].as_str(), Some(pictures), "every picture is in the video");
    assert!((10..=45).contains(&pictures.parse::<u32>().unwrap()), "{report}");
    let seconds = duration_s(&bench.path("panes.mp4"));
    assert!((2.0..=9.0).contains(&seconds), "{seconds} s");
    assert_eq!(server.stats("yard").connections, 1);
}
