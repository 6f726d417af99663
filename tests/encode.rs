//! Recordings that are encoded anew: codec, container, size, rate and overlay as asked, and the pre-alarm in them,
//! decoded again from the ring.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::*;

const FPS: u32 = 15;
/// Good enough for the small difference of the greys that carry the pictures' numbers.
const READABLE: &str = "quality: 97";

fn yaml(url: &str, record: &str) -> String {
    format!(
        "source: {url}\ndetect: {{ warm_up: 2s, minimal_duration: 3s }}\nrecord:\n  pre_alarm: 4s\n{}",
        record.lines().map(|line| format!("  {line}\n")).collect::<String>()
    )
}

fn video(path: &Path) -> serde_json::Value {
    let probed = probe(path);
    let streams = probed["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["codec_type"] == "video").unwrap().clone()
}

fn count_frames(path: &Path) -> u64 {
    let arguments =
        ["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames"];
    let output = Command::new("ffprobe").args(arguments).args(["-of", "csv=p=0"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().trim_end_matches(',').parse().unwrap()
}

/// The picture at this second, as rows of red, green and blue.
fn picture(path: &Path, at_s: f64) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-ss", &at_s.to_string(), "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Pixels in these rows of the upper left corner that are the overlay's red.
fn red_pixels(picture: &[u8], width: usize) -> usize {
    let rows = picture.chunks(3 * width).take(80);
    let pixels = rows.flat_map(|row| row[..3 * 100].chunks(3));
    pixels.filter(|pixel| pixel[0] > 90 && pixel[1] < 60 && pixel[2] < 60).count()
}

fn black_pixels(picture: &[u8], width: usize) -> usize {
    let rows = picture.chunks(3 * width).take(30);
    rows.flat_map(|row| row[..3 * 200].chunks(3)).filter(|pixel| pixel.iter().all(|value| *value < 40)).count()
}

#[test]
fn recordings_are_encoded_as_asked_with_their_pre_alarm() {
    let clip = Clip::spec().seconds(60.0).gop_seconds(2.0).bframes(2).motion(13.4, 15.4).audio(AudioCodec::Aac).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let url = server.url("yard");
    let camera = |record: &str| yaml(&url, record);
    let daemon = Daemon::builder()
        .camera("plain", &camera(&format!("encode: {{ codec: h264, {READABLE} }}")))
        .camera(
            "large",
            &camera(&format!(
                "container: mkv\nencode: {{ codec: h265, scale_to: 640x480, frame_rate: 5, {READABLE} }}"
            )),
        )
        .camera("divx", &camera("encode: { codec: mpeg4, frame_rate: 20, scale_to: 640x480, overlay: true }"))
        .camera("jpeg", &camera(&format!("encode: {{ codec: mjpeg, {READABLE} }}")))
        .camera("marked", &marked(&camera(&format!("encode: {{ overlay: detection, {READABLE} }}"))))
        .start();
    let onset = clip.motion_frames()[0].start;
    let recorded = |camera: &str| -> (RecordingRow, PathBuf) {
        let row = daemon.wait_for_recording(camera, secs(60), |recording| recording.complete);
        let path = daemon.archive().join(&row.path);
        decodes_cleanly(&path).unwrap();
        assert_eq!(row.reason, "motion");
        (row, path)
    };

    for (camera, codec) in [("plain", "h264"), ("jpeg", "mjpeg")] {
        let (row, path) = recorded(camera);
        let video = video(&path);
        assert_eq!((video["codec_name"].as_str(), video["width"].as_u64()), (Some(codec), Some(320)), "{camera}");
        let frames = read_frames(&path);
        // The last picture may have come before two that are shown before it, and that the event leaves out.
        assert_unbroken(&frames[..frames.len() - 2], clip.frames);
        let (first, last) = (frames[0].number, frames[frames.len() - 1].number);
        let trigger = first + (row.pre_alarm_s.unwrap() * f64::from(FPS)).round() as u32;
        assert!((onset..onset + 5).contains(&trigger), "{camera}: trigger at {trigger}, motion at {onset}");
        assert_eq!(first, (trigger - 4 * FPS) / clip.gop * clip.gop, "{camera}: the keyframe before the pre-alarm");
        let end = clip.motion_frames()[0].end + 3 * FPS;
        assert!(last.abs_diff(end) <= FPS, "{camera}: the event ends near {end}, the file at {last}");
        let has_sound = probe(&path)["streams"].as_array().unwrap().iter().any(|stream| stream["codec_name"] == "aac");
        assert!(has_sound, "{camera}: sound is kept");
    }

    let (row, path) = recorded("large");
    let video_of_large = video(&path);
    assert_eq!(video_of_large["codec_name"], "hevc");
    assert_eq!((video_of_large["width"].as_u64(), video_of_large["height"].as_u64()), (Some(640), Some(480)));
    let frames = read_frames(&path);
    let steps: Vec<f64> = frames.windows(2).map(|pair| pair[1].pts_s - pair[0].pts_s).collect();
    assert!(steps.iter().all(|step| (step - 0.2).abs() < 0.001), "{steps:?}");
    assert!(frames.windows(2).all(|pair| pair[1].number == pair[0].number + 3));
    assert!(row.path.ends_with(".mkv"), "{}", row.path);

    let (row, path) = recorded("divx");
    let video_of_divx = video(&path);
    assert_eq!(video_of_divx["codec_name"], "mpeg4");
    assert_eq!(video_of_divx["codec_tag_string"], "DIVX");
    assert_eq!(video_of_divx["r_frame_rate"], "20/1");
    assert_eq!((video_of_divx["width"].as_u64(), video_of_divx["height"].as_u64()), (Some(640), Some(480)));
    assert!(row.path.ends_with(".avi"), "{}", row.path);
    let (status, _, small) = daemon.request("GET", &format!("/api/recordings/{}/thumbnail.jpg", row.id), &[]);
    assert!(status == 200 && small.starts_with(&[0xff, 0xd8]), "{}", String::from_utf8_lossy(&small));
    let seconds = (row.end.unwrap() - row.start).num_milliseconds() as f64 / 1000.0;
    assert!((duration_s(&path) - seconds).abs() < 0.1 && seconds > 7.0, "{seconds}");
    assert!((count_frames(&path) as f64 - 20.0 * seconds).abs() <= 3.0);
    let before = row.pre_alarm_s.unwrap();
    let (still, moving) = (picture(&path, before - 2.0), picture(&path, before + 1.0));
    assert!(black_pixels(&still, 640) > 2000 && black_pixels(&moving, 640) > 2000, "the first line is there");
    assert!(red_pixels(&still, 640) < 20, "nothing moves before the trigger");
    assert!(red_pixels(&moving, 640) > 500, "motion is written into the picture");

    // What the detector saw: nothing before the motion, and then a box around the white thing.
    let (row, path) = recorded("marked");
    let before = row.pre_alarm_s.unwrap();
    let (still, moving) = (picture(&path, before - 2.0), picture(&path, before + 1.0));
    let thing = |picture: &[u8]| columns(picture, |[red, green, blue]| red > 200 && green > 200 && blue > 200);
    let green = |picture: &[u8]| columns(picture, |[red, green, blue]| red < 150 && green > 170 && blue < 150);
    assert_eq!(green(&still), [0; 0]);
    let blue = columns(&still, |[red, green, blue]| red < 110 && green < 180 && blue > 190);
    assert!(blue.len() > 200, "the zone is drawn where nothing moves, too: {} columns", blue.len());
    let (thing, green) = (thing(&moving), green(&moving));
    let (left, right) = (thing[0], *thing.last().unwrap());
    let edge = |at: usize| green.iter().any(|column| column.abs_diff(at) <= 12);
    assert!(edge(left) && edge(right), "the thing is from {left} to {right}, green is in {green:?}");
    assert_eq!(server.stats("yard").connections, 5);
}

/// The camera with `adaptive` and a zone in which the clip's thing moves.
fn marked(yaml: &str) -> String {
    let zone = "zones: [{ name: path, polygon: [[0, 0.45], [0.99, 0.45], [0.99, 0.85], [0, 0.85]] }]";
    yaml.replace("detect: { ", &format!("detect: {{ algorithm: adaptive, {zone}, "))
}

/// Columns of the lower half of a picture of 320x240 that hold such a pixel more than once.
fn columns(picture: &[u8], is_such: impl Fn([u8; 3]) -> bool) -> Vec<usize> {
    let (pixels, _) = picture[3 * 320 * 112..].as_chunks::<3>();
    (0..320).filter(|x| pixels.iter().skip(*x).step_by(320).filter(|pixel| is_such(**pixel)).count() > 1).collect()
}

#[test]
fn long_recordings_roll_over_without_a_picture_missing() {
    let clip = Clip::spec().seconds(40.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let record = format!("mode: continuous\nmax_file: 3s\nencode: {{ {READABLE} }}");
    let mut daemon = Daemon::builder().camera("yard", &yaml(&server.url("yard"), &record)).start();
    wait_for("three whole recordings", secs(40), || {
        (daemon.recordings("yard").iter().filter(|row| row.complete).count() >= 3).then_some(())
    });
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    let mut files = recording_files(&daemon.archive());
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let frames: Vec<Frame> = files.iter().flat_map(|path| read_frames(path)).collect();
    for pair in frames.windows(2) {
        assert_eq!(pair[1].number, (pair[0].number + 1) % clip.frames);
    }
}

#[test]
fn what_does_not_fit_is_said_and_others_go_on() {
    let clip = Clip::spec().seconds(20.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let url = server.url("yard");
    let daemon = Daemon::builder()
        .camera("avi", &yaml(&url, "mode: continuous\ncontainer: avi"))
        .camera("good", &yaml(&url, "mode: continuous"))
        .camera("wrong", &yaml(&url, "container: avi\nencode: { codec: h264 }"))
        .start();
    let row = daemon.wait_for_state("wrong", "config_error", secs(10));
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("wrong.yaml:6:20: h264 does not go into avi (set `record.encode.codec`"), "{error}");
    let row = daemon.wait_for_camera("avi", secs(20), |camera| camera["state"] == "degraded");
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("avi takes no h264 (set record.container to mp4 or mkv"), "{error}");
    daemon.wait_for_camera("good", secs(20), |camera| camera["state"] == "running" && camera["recording"] == true);
}

/// The past is kept as it was sent: as pictures, it would take 300 MB.
#[test]
fn the_past_is_not_kept_as_pictures() {
    let clip = Clip::spec().size(1280, 720).seconds(40.0).gop_seconds(2.0).motion(18.0, 19.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let record = "  pre_alarm: 14s\n  encode: { scale_to: 640x360 }\n";
    let camera =
        format!("source: {}\ndetect: {{ warm_up: 2s, minimal_duration: 2s }}\nrecord:\n{record}", server.url("yard"));
    let daemon = Daemon::builder().camera("yard", &camera).start();
    let row = daemon.wait_for_recording("yard", secs(60), |recording| recording.complete);
    assert!(row.pre_alarm_s.unwrap() >= 14.0, "{row:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kb < 180_000, "{peak_kb} kB at the most");
}
