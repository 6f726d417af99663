//! An index that is lost comes back as it was, from the journals and the files that a real run left behind.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::*;

const FPS: u32 = 10;

fn tarsier(config: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
    let output = command.args(arguments).arg("--config").arg(config).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn an_outage_is_listed_while_it_goes_on_and_over_a_crash() {
    let clip = Clip::spec().size(160, 120).fps(FPS).seconds(30.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let relay = Relay::to(server.port("yard"));
    let source = server.url_through("yard", &relay);
    let yaml = format!(
        "source: {source}\nread_timeout: 2s\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous, audio: off }}\n"
    );
    let mut daemon = Daemon::builder().camera("yard", &yaml).start();
    daemon.wait_for_camera("yard", secs(20), |status| status["recording"] == true);
    daemon.wait_for_recording("yard", secs(20), |row| row.bytes > 0);
    assert_eq!(daemon.open_gap("yard"), None);
    relay.cut();
    let gap = wait_for("the gap that goes on", secs(20), || daemon.open_gap("yard"));
    assert_eq!(gap["cause"], "disconnected");
    assert!(daemon.gaps("yard").is_empty());
    daemon.kill();
    daemon.restart();
    assert_eq!(daemon.open_gap("yard").as_ref(), Some(&gap), "it goes on");
    relay.heal();
    let ended =
        wait_for("its end", secs(10), || daemon.gaps("yard").into_iter().find(|ended| ended["start"] == gap["start"]));
    assert_eq!(ended["cause"], "disconnected");
    assert_eq!(daemon.terminate(secs(5)), Some(0));
}

#[test]
fn a_lost_index_is_rebuilt_equal_after_an_end_in_order_and_after_a_kill() {
    let clip =
        Clip::spec().size(160, 120).fps(FPS).seconds(60.0).gop_seconds(1.0).motion(7.0, 8.0).motion(16.0, 17.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip), Mount::new("all", &clip)]);
    let yaml = |camera: &str, record: &str| {
        format!(
            "source: {}\ndetect: {{ warm_up: 2s, minimal_duration: 2s, width: 160, min_area: 1% }}\n\
             record: {{ pre_alarm: 2s, audio: off, {record} }}\n",
            server.url(camera)
        )
    };
    let mut daemon = Daemon::builder()
        .camera("yard", &yaml("yard", "mode: motion"))
        .camera("all", &yaml("all", "mode: continuous, max_file: 3s"))
        .start();
    let archive = daemon.archive();
    let config = daemon.folder().join("tarsier.yaml");

    let ended = |camera: &str, count: usize| {
        wait_for("the events", secs(60), || {
            let ended =
                daemon.listed_events(&format!("camera={camera}")).into_iter().filter(|event| !event["end"].is_null());
            let ended: Vec<Value> = ended.filter(|event| !event["recordings"].as_array().unwrap().is_empty()).collect();
            (ended.len() >= count).then_some(ended)
        })
    };
    // In `mode: continuous` an event is a mark on what is recorded anyway.
    for camera in ["yard", "all"] {
        let events = ended(camera, 2);
        assert!(
            events.iter().all(|event| event["reason"] == "motion" && event["max_score"].as_f64() > Some(0.005)),
            "{events:?}"
        );
    }
    let recording = daemon.wait_for_recording("yard", secs(20), |row| row.complete);
    assert!(recording.motion_s > 0.0);
    assert_eq!(daemon.post(&format!("/api/recordings/{}/protect", recording.id)).0, 200);
    let deleted = daemon.wait_for_recording("all", secs(20), |row| row.complete).id;
    assert_eq!(daemon.request("DELETE", &format!("/api/recordings/{deleted}"), &[]).0, 204);
    let score = daemon.get("/api/cameras/yard/score");
    let seen =
        |wanted: fn(f64) -> bool| score["score"].as_array().unwrap().iter().filter_map(Value::as_f64).any(wanted);
    assert!(seen(|share| share > 0.005) && seen(|share| share == 0.0), "{score}");
    // A gap, longer than the last picture is shown.
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    holds_for("it is down", secs(1), || !daemon.is_alive());
    daemon.restart();
    wait_for("the gap", secs(20), || daemon.gaps("all").into_iter().find(|gap| gap["cause"] == "down"));
    daemon.wait_for_camera("all", secs(20), |status| status["recording"] == true);

    assert_eq!(daemon.terminate(secs(5)), Some(0));
    let before = index_rows(&archive);
    assert!(before.iter().all(|table| !table.is_empty()), "{before:?}");
    lose_index(&archive);
    let told = tarsier(&config, &["recordings", "repair"]);
    assert!(told.contains("rows taken from the journals") && !told.contains("new to the index"), "{told}");
    assert_eq!(differences(&index_rows(&archive), &before), [""; 0]);
    let list = tarsier(&config, &["recordings", "list", "--json"]);
    let protected = list.lines().filter(|line| line.contains("\"protected\":true")).count();
    assert_eq!(protected, 1, "{list}");

    // And what a kill leaves: repaired with its index, and without.
    daemon.restart();
    daemon.wait_for_camera("all", secs(20), |status| status["recording"] == true);
    wait_for("motion goes on", secs(60), || {
        daemon.listed_events("camera=all").into_iter().find(|event| event["end"].is_null())
    });
    daemon.kill();
    let with_index = daemon.folder().join("kept");
    copy(&archive, &with_index);
    let repaired = |lost: bool| {
        if lost {
            fs::remove_dir_all(&archive).unwrap();
            fs::rename(&with_index, &archive).unwrap();
            lose_index(&archive);
        }
        tarsier(&config, &["recordings", "repair"]);
        index_rows(&archive)
    };
    let kept = repaired(false);
    assert!(kept[0].len() > before[0].len());
    assert_eq!(differences(&repaired(true), &kept), [""; 0]);
}
