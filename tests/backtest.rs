//! `tarsier backtest` as people and scripts meet it: files, a camera's archive, labels.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::*;
use tarsier::archive::state::StateDb;
use tarsier::domain::label::{Label, Verdict};

fn tarsier(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tarsier")).args(arguments).current_dir(folder).output().expect("tarsier starts")
}

#[track_caller]
fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = std::str::from_utf8(&output.stdout).expect("the output is text");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

fn changes(lines: &[Value]) -> Vec<(String, f64)> {
    let of = |line: &Value| Some((line["change"].as_str()?.to_owned(), line["start"].as_f64()?));
    lines.iter().filter_map(of).collect()
}

/// Motion from 8 s to 10 s and from 22 s to 24 s: two events.
fn clip() -> Clip {
    Clip::spec().seconds(34.0).motion(8.0, 10.0).motion(22.0, 24.0).make()
}

#[test]
fn changed_values_keep_gain_and_lose_events() {
    let (folder, clip) = (tempfile::tempdir().unwrap(), clip());
    let path = clip.path.to_str().unwrap();
    fs::write(folder.path().join("tarsier.yaml"), SEED).unwrap();
    let backtest = |more: &[&str]| tarsier(folder.path(), &[&["backtest", "--json", path], more].concat());

    // As `detect` finds them.
    let found = lines(&backtest(&[]));
    let detected = lines(&tarsier(folder.path(), &["detect", "--json", path]));
    assert_eq!(changes(&found).len(), 2, "{found:?}");
    for (of_backtest, of_detect) in found.iter().zip(&detected) {
        assert_eq!((&of_backtest["start"], &of_backtest["end"]), (&of_detect["start"], &of_detect["end"]));
    }
    assert_eq!(found.last().unwrap()["figures"], Value::Null);

    // A later begin costs the first event.
    let changed = lines(&backtest(&["--set", "detect.warm_up=15s", "--sheet", "changes"]));
    let kept: Vec<String> = changes(&changed).into_iter().map(|(change, _)| change).collect();
    assert_eq!(kept, ["lost", "kept"]);
    let sum = changed.last().unwrap();
    let counts = ["events", "kept", "gained", "lost"].map(|key| sum[key].as_u64().unwrap());
    assert_eq!((counts, &sum["parameters"]), ([1, 1, 0, 1], &json!("detect.warm_up=15s")));
    let size = |name: &str| {
        let sheet = folder.path().join("changes").join(name);
        let bytes = fs::read(&sheet).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        bytes.len()
    };
    assert!(size("lost.png") > 3 * size("gained.png"), "one picture, and none");
    assert_eq!(fs::read_dir(folder.path().join("changes")).unwrap().count(), 2);

    // The other way round it is gained.
    fs::write(folder.path().join("tarsier.yaml"), "defaults: { detect: { algorithm: seed, warm_up: 15s } }").unwrap();
    let changed = lines(&backtest(&["--set", "detect.warm_up=5s"]));
    let gained: Vec<String> = changes(&changed).into_iter().map(|(change, _)| change).collect();
    assert_eq!(gained, ["gained", "kept"]);
}

#[test]
fn labels_give_figures_a_sweep_is_a_table_and_the_best_values_are_proposed() {
    let (folder, clip) = (tempfile::tempdir().unwrap(), clip());
    let name = clip.path.file_name().unwrap().to_str().unwrap();
    fs::create_dir(folder.path().join("clips")).unwrap();
    fs::copy(&clip.path, folder.path().join("clips").join(name)).unwrap();
    // What moves first is a false alarm, says this person.
    let truth = json!({"one": {"file": name, "duration": 34.0, "events": [[22.0, 24.0]]}});
    fs::write(folder.path().join("truth.json"), truth.to_string()).unwrap();
    let defaults = "defaults: { detect: { algorithm: seed, width: 128 } }\n";
    fs::write(folder.path().join("tarsier.yaml"), defaults).unwrap();
    let sweep = ["--sweep", "detect.min_area=1%,60%", "--sweep", "detect.threshold=10,20"];
    let arguments = [&["backtest", "--json", "--labels", "truth.json", "--suggest"][..], &sweep].concat();
    let lines = lines(&tarsier(folder.path(), &arguments));
    let row = |parameters: &str| {
        let row = lines.iter().find(|line| line["parameters"] == parameters).unwrap_or_else(|| panic!("{lines:?}"));
        (row["figures"]["recall"].as_f64().unwrap(), row["figures"]["precision"].as_f64())
    };
    assert_eq!(row(""), (1.0, Some(0.5)));
    assert_eq!(row("detect.min_area=1% detect.threshold=10"), (1.0, Some(0.5)));
    assert_eq!(row("detect.min_area=60% detect.threshold=20"), (0.0, None));
    assert_eq!(lines.iter().filter(|line| line["parameters"].is_string()).count(), 1 + 4 + 16);
    // Both stretches look the same: nothing tells them apart.
    assert!(lines.last().unwrap().get("suggested").is_some());

    let text = tarsier(folder.path(), &[&["backtest", "--labels", "truth.json"][..], &sweep[..2]].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    for words in ["today's", "recall", "latency p90", "detect.min_area=60%", "34 s of video"] {
        assert!(text.contains(words), "{words}: {text}");
    }

    // Of a list only what is labelled counts.
    let labels = format!("- {{ file: {name}, from: 22, to: 24, verdict: event }}\n");
    fs::write(folder.path().join("labels.yaml"), labels).unwrap();
    let place = format!("clips/{name}");
    let of_list = self::lines(&tarsier(folder.path(), &["backtest", "--json", "--labels", "labels.yaml", &place]));
    assert_eq!(of_list.last().unwrap()["figures"]["precision"], 1.0);
}

#[test]
fn a_cameras_recordings_are_replayed_with_what_people_said_of_them() {
    let clip = clip();
    // Nobody looks while it is recorded.
    let yaml = format!(
        "source: {}\ndetect: {{ enabled: false, algorithm: seed, minimal_duration: 3s }}\n\
         record: {{ mode: continuous, max_file: 12s }}\n",
        clip.path.display()
    );
    let mut daemon = Daemon::builder().camera("yard", &yaml).start();
    daemon.wait_for_state("yard", "stopped", secs(90));
    wait_for("the recordings to be closed", secs(30), || {
        let rows = daemon.recordings("yard");
        (rows.len() >= 3 && rows.iter().all(|row| row.complete)).then_some(())
    });
    let start = daemon.recordings("yard").iter().map(|row| row.start).min().expect("a recording");
    let state = StateDb::of(&daemon.archive());
    for (from, verdict) in [(8, Verdict::NotEvent), (22, Verdict::Event)] {
        let (from, to) = (start + secs(from), start + secs(from + 2));
        state.label(&Label { camera: "yard".into(), from, to, verdict }, 1, start).unwrap();
    }
    // Beside the daemon that runs.
    let found = lines(&tarsier(daemon.folder(), &["backtest", "--json", "--camera", "yard"]));
    let starts: Vec<f64> = found
        .iter()
        .filter_map(|line| {
            Some(chrono::DateTime::parse_from_rfc3339(line["start"].as_str()?).unwrap().to_utc() - start)
        })
        .map(|after| after.num_milliseconds() as f64 / 1000.0)
        .collect();
    assert!(matches!(starts[..], [a, b] if (a - 8.0).abs() < 0.3 && (b - 22.0).abs() < 0.3), "{starts:?}: {found:?}");
    let figures = &found.last().unwrap()["figures"];
    assert_eq!((&figures["events"], &figures["recall"], &figures["precision"]), (&json!(1), &json!(1.0), &json!(0.5)));

    // Nothing of it is over in an hour from now.
    let later = (tarsier::clock::utc_now() + secs(3600)).to_rfc3339();
    let none = tarsier(daemon.folder(), &["backtest", "--camera", "yard", "--from", &later]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("holds nothing of yard"));
    daemon.terminate(secs(6));
}

#[test]
fn what_is_wrong_is_said_before_the_work() {
    let (folder, clip) = (tempfile::tempdir().unwrap(), clip());
    let path = clip.path.to_str().unwrap();
    fs::write(folder.path().join("bad.yaml"), "- { file: a.mp4, from: 3, to: 1, verdict: event }").unwrap();
    for (arguments, words) in [
        (&["backtest"][..], "name files"),
        (&["backtest", path, "--set", "detect.treshold=3"], "threshold"),
        (&["backtest", path, "--set", "record.pre_alarm=3s"], "changes nothing that is found"),
        (&["backtest", path, "--sweep", "detect.fps"], "has no `=`"),
        (&["backtest", path, "--suggest"], "nothing is labelled"),
        (&["backtest", path, "--labels", "bad.yaml"], "bad.yaml:1:1: label 1 ends before"),
        (&["backtest", path, "--labels", "gone.yaml"], "no such file"),
        (&["backtest", "--camera", "yard"], "there is no camera yard"),
        (&["backtest", "gone.mp4"], "gone.mp4"),
    ] {
        let output = tarsier(folder.path(), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.contains(words)), (Some(1), true), "{arguments:?}: {stderr}");
    }
    assert_eq!(tarsier(folder.path(), &["backtest", path, "--from", "2026-05-01"]).status.code(), Some(2));
}
