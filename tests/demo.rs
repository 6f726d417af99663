//! `make demo`, from the script on: a recording within a minute, and Ctrl-C ends it well.

mod support;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use support::*;

#[test]
fn the_demo_records_motion_within_a_minute_and_ends_on_ctrl_c() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("demo");
    fs::create_dir(&folder).unwrap();
    // Any port: this machine may have a real one running.
    fs::write(folder.join("tarsier.yaml"), "web: { listen: \"127.0.0.1:0\" }\n").unwrap();
    let output_path = scratch.path().join("output.txt");
    let output = File::create(&output_path).unwrap();
    let mut child = Command::new("deploy/demo.sh")
        .arg(env!("CARGO_BIN_EXE_tarsier"))
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&output_path).unwrap();
    // The clip is drawn first; then the minute begins.
    wait_for("the demo's first words", secs(120), || said().contains("Ctrl-C").then_some(()));
    let start = tarsier::clock::monotonic();
    let mut recording: Option<PathBuf> = None;
    while recording.is_none() && start.elapsed() < secs(60) && child.try_wait().unwrap().is_none() {
        recording = recordings_named_in(&said(), &folder).pop();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    send_signal(child.id(), libc::SIGINT);
    let ended = tarsier::clock::monotonic();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if ended.elapsed() > secs(10) => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(std::time::Duration::from_millis(25)),
        }
    };
    let recording = recording.unwrap_or_else(|| panic!("no recording was named within a minute:\n{}", said()));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", said());
    decodes_cleanly(&recording).unwrap();
    assert!(duration_s(&recording) > 5.0);
}

/// The recordings whose place was printed and that are there.
fn recordings_named_in(said: &str, folder: &std::path::Path) -> Vec<PathBuf> {
    let words = said.split(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | ',' | ';'));
    let names = words.filter(|word| word.ends_with(".mp4") && word.contains("video_"));
    names.flat_map(|name| [folder.join(name), folder.join("archive").join(name)]).filter(|path| path.exists()).collect()
}
