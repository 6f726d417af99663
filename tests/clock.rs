//! A wall clock that is wrong, at the start or suddenly: nothing is deleted by age for it, and it is said.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::*;

const TEN_YEARS_S: i64 = 10 * 365 * 86_400;

fn clock_alarm(daemon: &Daemon) -> Option<Value> {
    daemon.alarms().into_iter().find(|alarm| alarm["kind"] == "clock_stepped")
}

fn paths(daemon: &Daemon) -> BTreeSet<String> {
    daemon.recordings("yard").into_iter().map(|row| row.path).collect()
}

/// Waits until retention has looked twice, and more has been recorded.
#[track_caller]
fn nothing_goes(daemon: &Daemon, before: &BTreeSet<String>) {
    let alarm = wait_for("an alarm", secs(40), || clock_alarm(daemon));
    assert!(alarm["message"].as_str().unwrap().contains("nothing is deleted by age"), "{alarm}");
    let recorded = paths(daemon).len();
    wait_for("two looks of retention and some more recordings", secs(60), || {
        (paths(daemon).len() >= recorded + 11).then_some(())
    });
    assert!(paths(daemon).is_superset(before), "what was there is gone: {before:?} {:?}", paths(daemon));
    // In the order in which they were recorded, whatever the clock said.
    let page = daemon.get("/api/recordings?camera=yard&limit=500");
    let ids: Vec<i64> = page["recordings"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "{ids:?}");
    assert_eq!(daemon.camera("yard").unwrap()["state"], "running");
}

#[test]
fn a_clock_that_is_wrong_or_steps_deletes_nothing_and_is_said() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let mut daemon = Daemon::builder()
        .camera(
            "yard",
            &format!(
                "source: {}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous, max_file: 2s }}\nretention: {{ max_age: 5min }}\n",
                server.url("yard")
            ),
        )
        // Right for its first readings, and then ten years ahead.
        .env("FAILPOINTS", &format!("clock=350*off->return({TEN_YEARS_S})"))
        .start();
    wait_for("two files", secs(30), || (paths(&daemon).len() >= 2).then_some(()));
    let first = paths(&daemon);
    nothing_goes(&daemon, &first);
    assert_eq!(daemon.terminate(secs(5)), Some(0));

    // It starts in 1970.
    let before = paths_of_index(&daemon);
    daemon.set_env("FAILPOINTS", &format!("clock=return({})", -tarsier::clock::utc_now().timestamp()));
    daemon.restart();
    nothing_goes(&daemon, &before);
    assert_eq!(daemon.terminate(secs(5)), Some(0));

    // The clock is right again. It says that until a person says that it is.
    let before = paths_of_index(&daemon);
    daemon.set_env("FAILPOINTS", "");
    daemon.restart();
    wait_for("an alarm", secs(20), || clock_alarm(&daemon));
    daemon.signal(libc::SIGHUP);
    wait_for("no alarm", secs(30), || clock_alarm(&daemon).is_none().then_some(()));
    wait_for("another file", secs(30), || (paths(&daemon).len() > before.len()).then_some(()));
    assert!(paths(&daemon).is_superset(&before), "what was recorded in 1970 is no older than what came before it");
    assert_eq!(daemon.terminate(secs(5)), Some(0));
}

/// What is there while no daemon runs.
fn paths_of_index(daemon: &Daemon) -> BTreeSet<String> {
    let archive = daemon.archive();
    let files = recording_files(&archive);
    files.iter().map(|path| path.strip_prefix(&archive).unwrap().to_str().unwrap().to_owned()).collect()
}
