//! What a model finds in the pictures of events: in the API, the stream, the page and a rebuilt index. A model that is
//! broken is told of before it is used; one that hangs or crashes holds nobody up.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::*;
use tarsier::domain::config::{ConfirmConfig, Model};
use tarsier::media::confirm::{ConfirmError, Helper};
use tarsier::media::picture::BgrView;

/// A grey wall, and a thing of a colour that moves from the fourth second to the seventh of twelve, within one of the
/// model's squares.
fn clip(colour: &str) -> PathBuf {
    let scene = format!(
        "color=gray:s=320x240:r=10[wall];color={colour}:s=60x60:r=10[thing];\
         [wall][thing]overlay=x='90+if(between(t,4,7),8*sin(6*t),0)':y=50"
    );
    let arguments =
        ["-f", "lavfi", "-i", &scene, "-t", "12", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", "6", "-g", "10"];
    Clip::drawn_by_ffmpeg(&format!("confirm-{colour}"), &arguments)
}

fn yaml(colour: &str, confirm: &str) -> String {
    format!(
        "source: {}\nloop: true\ndetect:\n  warm_up: 2s\n  minimal_duration: 2s\n  threshold: 25\n  min_area: 0.5%\n  confirm: {confirm}\n\
         record: {{ pre_alarm: 1s }}\n",
        clip(colour).display()
    )
}

fn write_models(folder: &Path) {
    for (name, layout) in [("v5.onnx", Layout::Yolov5), ("v8.onnx", Layout::Yolov8), ("v10.onnx", Layout::Yolov10)] {
        write_colour_model(&folder.join(name), layout);
    }
    fs::write(folder.join("colours.txt"), "red\nblue\n").unwrap();
}

/// The first event of a camera that a model has looked at, when it is over.
fn event_of(daemon: &Daemon, camera: &str) -> Value {
    let looked = |event: &Value| !event["found"].is_null() && !event["end"].is_null();
    wait_for(&format!("what {camera} shows"), secs(60), || {
        daemon.listed_events(&format!("camera={camera}")).into_iter().rfind(looked)
    })
}

/// The process that looks, of this daemon.
fn helper_of(daemon: &Daemon) -> Option<u32> {
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let arguments = fs::read(entry.path().join("cmdline")).ok()?;
        (parent == daemon.pid() && arguments.ends_with(b"confirm\0")).then_some(pid)
    });
    children.last()
}

fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn an_event_says_what_a_model_found_in_its_pictures() {
    let builder = Daemon::builder();
    write_models(builder.folder());
    write_strange_model(&builder.folder().join("strange.onnx"));
    let mut daemon = builder
        .camera("broken", &yaml("red", "{ model: strange.onnx, classes: [red, blue] }"))
        .camera("red-5", &yaml("red", "{ model: v5.onnx, classes: colours.txt }"))
        .camera("red-8", &yaml("red", "{ model: v8.onnx, classes: [red, blue] }"))
        .camera("red-10", &yaml("red", "{ model: v10.onnx, format: yolov10, classes: [red, blue] }"))
        .camera("blue", &yaml("blue", "{ model: v8.onnx, classes: colours.txt }"))
        .camera("not-blue", &yaml("blue", "{ model: v8.onnx, classes: colours.txt, only: [red] }"))
        .camera("green", &yaml("green", "{ model: v8.onnx, classes: colours.txt }"))
        .camera("alone", &yaml("red", "{ enabled: false, model: v8.onnx }"))
        .start();
    let stream = daemon.events();
    let told =
        stream.wait_for("what was found", secs(60), |event| event.kind == "found" && event.data["camera"] == "blue");
    assert_eq!(told.data["found"][0]["class"], "blue", "{:?}", told.data);

    for (camera, class) in [("red-5", "red"), ("red-8", "red"), ("red-10", "red"), ("blue", "blue")] {
        let event = event_of(&daemon, camera);
        let found = event["found"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{camera}: {event}");
        assert_eq!(found[0]["class"], class, "{camera}");
        let score = found[0]["score"].as_f64().unwrap();
        assert!((0.5..0.95).contains(&score), "{camera}: {score}");
        // The second square of the second row: 16 to 32 pixels of 64, of which the picture has 8 to 56 in height.
        for (side, expected) in [("left", 0.25), ("top", 8.0 / 48.0), ("width", 0.25), ("height", 16.0 / 48.0)] {
            let share = found[0]["box"][side].as_f64().unwrap();
            assert!((share - expected).abs() < 0.001, "{camera}: {side} is {share}");
        }
    }
    for camera in ["not-blue", "green"] {
        assert_eq!(event_of(&daemon, camera)["found"], json!([]), "{camera}");
    }
    let alone = wait_for("an event", secs(60), || daemon.listed_events("camera=alone").pop());
    assert_eq!(alone["found"], Value::Null);
    // Nobody waited for the model to be tried: it records, and what is wrong is told meanwhile.
    let fault = daemon.wait_for_camera("broken", secs(30), |status| status["config_error"].is_string());
    let fault = fault["config_error"].as_str().unwrap();
    assert!(fault.contains("broken.yaml:8:21: `detect.confirm.model`: strange.onnx is no model that works"), "{fault}");
    let alarm = |alarm: &Value| alarm["kind"] == "confirm" && alarm["camera"] == "broken";
    wait_for("the alarm", secs(20), || daemon.alarms().into_iter().find(alarm));
    daemon.wait_for_recording("broken", secs(30), |row| row.complete && row.motion_s > 1.0);
    assert_eq!(daemon.listed_events("camera=broken")[0]["found"], Value::Null);
    assert!(daemon.metric("tarsier_confirm_dropped_total", "broken") >= Some(1.0));
    assert_eq!(daemon.metric("tarsier_confirm_dropped_total", "blue"), Some(0.0));
    assert!(daemon.metric("tarsier_confirm_pictures_total", "blue") >= Some(1.0));

    let names = |daemon: &Daemon, query: &str| -> Vec<String> {
        let mut names: Vec<String> =
            daemon.listed_events(query).iter().map(|event| event["camera"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(&daemon, "found=red"), ["red-10", "red-5", "red-8"]);
    assert_eq!(names(&daemon, "found=blue"), ["blue"]);
    assert_eq!(names(&daemon, "found=person"), [""; 0]);
    let (status, _, page) = daemon.request("GET", "/events?found=blue", &[]);
    let page = String::from_utf8(page).unwrap();
    assert_eq!((status, page.contains("class=\"event-found\">blue<")), (200, true), "{page}");
    assert!(page.contains("data-camera=\"blue\"") && !page.contains("data-camera=\"red-8\""), "{page}");

    // It is in the journals, too.
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    let before = index_rows(&daemon.archive());
    lose_index(&daemon.archive());
    let repaired = daemon.tarsier(&["recordings", "repair"], "");
    assert!(repaired.status.success());
    assert_eq!(differences(&index_rows(&daemon.archive()), &before), [""; 0]);
    daemon.restart();
    assert_eq!(names(&daemon, "found=red"), ["red-10", "red-5", "red-8"]);
}

#[test]
fn a_model_that_hangs_holds_up_neither_recordings_nor_the_end() {
    let builder = Daemon::builder();
    write_models(builder.folder());
    let confirm = "{ model: v8.onnx, classes: [red, blue] }";
    let mut daemon = builder.camera("one", &yaml("red", confirm)).camera("other", &yaml("blue", confirm)).start();
    let stream = daemon.events();
    stream.wait_for("a first look", secs(60), |event| event.kind == "found");
    let helper = helper_of(&daemon).expect("a process looks");
    send_signal(helper, libc::SIGSTOP);
    let stopped = tarsier::clock::utc_now();
    for camera in ["one", "other"] {
        let ended = |row: &RecordingRow| row.complete && row.motion_s > 1.0 && row.end > Some(stopped);
        daemon.wait_for_recording(camera, secs(60), ended);
    }
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    wait_for("the process that looked to be gone", secs(5), || is_gone(helper).then_some(()));
}

/// A figure that stands before a wall, `height` pixels high, its head's top in the middle of the picture's width.
fn standing(width: usize, height: usize, top: f64, tall: f64) -> Vec<u8> {
    let is_figure = |x: usize, y: usize| {
        let (x, y) = ((x as f64 - width as f64 / 2.0) / tall * 180.0, (y as f64 - top) / tall * 180.0);
        let head = (x / 11.0).powi(2) + ((y - 14.0) / 14.0).powi(2) <= 1.0;
        let body = x.abs() <= 24.0 && (30.0..=95.0).contains(&y);
        let legs = (3.0..=20.0).contains(&x.abs()) && (90.0..=180.0).contains(&y);
        head || body || legs
    };
    let mask: Vec<bool> = (0..height).flat_map(|y| (0..width).map(move |x| is_figure(x, y))).collect();
    // Soft edges, as lenses make them.
    let near = |at: usize, side: usize| at.saturating_sub(2)..(at + 3).min(side);
    let share = |x: usize, y: usize| {
        let inside = near(y, height).flat_map(|y| near(x, width).map(move |x| y * width + x)).filter(|at| mask[*at]);
        inside.count() as f64 / 25.0
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    pixels.flat_map(|(x, y)| [(150.0 - 90.0 * share(x, y)) as u8; 3]).collect()
}

#[test]
fn people_are_found_without_a_model_of_ones_own() {
    let config = ConfirmConfig { model: Model::Hog, threshold: 0.5, only: Vec::new() };
    let mut helper = Helper::of(Path::new(env!("CARGO_BIN_EXE_tarsier"))).unwrap();
    let mut look = |data: &[u8]| helper.look(BgrView { width: 640, height: 480, data }, &config, secs(20)).unwrap();
    let found = look(&standing(640, 480, 130.0, 150.0));
    assert_eq!(found.iter().map(|found| found.class.as_str()).collect::<Vec<_>>(), ["person"], "{found:?}");
    let region = found[0].region;
    let (middle, bottom) = (region.left + region.width / 2.0, region.top + region.height);
    assert!((middle - 0.5).abs() < 0.05 && region.top < 0.3 && bottom > 0.55, "{found:?}");
    assert_eq!(look(&[150; 3 * 640 * 480]), []);
}

#[test]
fn a_helper_that_hangs_or_crashes_is_told_of_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    write_models(folder.path());
    let classes = vec!["red".to_owned(), "blue".to_owned()];
    let model = |path: &str| Model::Onnx { path: folder.path().join(path), format: None, classes: classes.clone() };
    let config = |path: &str| ConfirmConfig { model: model(path), threshold: 0.5, only: Vec::new() };
    let blue: Vec<u8> = [255, 0, 0].repeat(64 * 48);
    let picture = BgrView { width: 64, height: 48, data: &blue };
    let start = || Helper::of(Path::new(env!("CARGO_BIN_EXE_tarsier"))).unwrap();
    let look = |helper: &mut Helper, path: &str, within| helper.look(picture, &config(path), within);

    let mut helper = start();
    let found = look(&mut helper, "v8.onnx", secs(20)).unwrap();
    assert!(!found.is_empty() && found.iter().all(|found| found.class == "blue"), "{found:?}");
    // A model that is gone is no crash: the next one is asked as ever.
    fs::rename(folder.path().join("v8.onnx"), folder.path().join("other.onnx")).unwrap();
    assert!(matches!(look(&mut helper, "v8.onnx", secs(20)), Err(ConfirmError::Model(_))));
    assert_eq!(look(&mut helper, "other.onnx", secs(20)).unwrap(), found);

    send_signal(helper.pid(), libc::SIGKILL);
    let crashed = look(&mut helper, "other.onnx", secs(20)).unwrap_err().to_string();
    assert_eq!(crashed, "the process that looks was ended by signal 9");

    let mut helper = start();
    look(&mut helper, "other.onnx", secs(20)).unwrap();
    send_signal(helper.pid(), libc::SIGSTOP);
    let hangs = look(&mut helper, "other.onnx", Duration::from_millis(300));
    assert!(matches!(hangs, Err(ConfirmError::TooSlow(_))), "{hangs:?}");
    assert!(is_gone(helper.pid()));
}

#[test]
fn what_is_wrong_with_a_model_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_models(folder.path());
    write_strange_model(&at("strange.onnx"));
    write_model_with_names(&at("named.onnx"));
    let whole = fs::read(at("v8.onnx")).unwrap();
    fs::write(at("cut.onnx"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at("text.onnx"), "no model at all").unwrap();
    fs::write(at("empty.onnx"), "").unwrap();
    fs::create_dir(at("folder.onnx")).unwrap();
    fs::write(at("three.txt"), "red\nblue\ngreen\n").unwrap();
    fs::create_dir(at("config.d")).unwrap();
    let check = |confirm: &str| {
        let yaml = format!("source: clip.mp4\ndetect:\n  confirm:\n    {confirm}\n");
        fs::write(at("config.d/yard.yaml"), yaml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tarsier")).arg("check").current_dir(&folder).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for good in [
        "enabled: true",
        "model: hog",
        "{ model: v8.onnx, classes: [red, blue] }",
        "{ model: named.onnx, only: [blue] }",
        "{ model: v5.onnx, classes: colours.txt, only: [blue], threshold: 0 }",
        "{ model: v10.onnx, format: yolov10, classes: [red], threshold: 1.0 }",
        "{ enabled: false, model: gone.onnx }",
    ] {
        assert_eq!(check(good), (Some(0), "1 camera, no problems\n".to_owned()), "{good}");
    }
    for (bad, column, words) in [
        ("model: gone.onnx", 12, "gone.onnx is not there"),
        ("model: folder.onnx", 12, "is no file"),
        ("model: text.onnx", 12, "it is no ONNX file"),
        ("model: empty.onnx", 12, "it is no ONNX file"),
        ("model: cut.onnx", 12, "is no model that works"),
        ("model: strange.onnx", 12, "is no model that works"),
        ("model: v8.onnx", 12, "knows 2 classes, which have no names"),
        ("{ model: named.onnx, only: [green] }", 32, "it knows red, blue"),
        ("{ model: v8.onnx, classes: three.txt }", 32, "v8.onnx knows 2 classes, and 3 are named"),
        ("{ model: v8.onnx, classes: [red] }", 32, "v8.onnx knows 2 classes, and 1 are named"),
        ("{ model: v8.onnx, classes: gone.txt }", 32, "gone.txt is not there"),
        ("{ model: v8.onnx, classes: v8.onnx }", 32, "is no list of names"),
        ("{ model: v8.onnx, classes: [red, blue], only: [rde] }", 51, "did you mean `red`?"),
        ("{ model: v8.onnx, format: yolov10, classes: [red, blue] }", 31, "which is no output of yolov10"),
        ("{ classes: [red] }", 16, "`hog` knows people only"),
        ("only: [car]", 11, "the model knows no `car`"),
        ("threshold: 1.5", 16, "must be a number from 0 to 1, not `1.5`"),
        ("format: yolo", 13, "did you mean `yolov5`?"),
        ("modl: hog", 5, "did you mean `detect.confirm.model`?"),
    ] {
        let (code, told) = check(bad);
        let place = format!("config.d/yard.yaml:4:{column}: ");
        assert!(code == Some(1) && told.lines().count() == 1, "{bad}: {told}");
        assert!(told.starts_with(&place) && told.contains(words), "{bad}: {told}");
    }
}
