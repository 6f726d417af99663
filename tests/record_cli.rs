//! `tarsier record` as people meet it.

mod support;

use std::fs;
use std::process::Command;

use support::*;

#[test]
fn it_ends_after_its_time_and_names_the_file_as_the_layout_says() {
    // Longer than it takes to record: the time ends it, not the clip.
    let clip = Clip::spec().seconds(20.0).make();
    let folder = tempfile::tempdir().unwrap();
    let layout = "archive: { layout: \"{camera}/{trigger}/%Y-%m-%dT%H%M%S%z\", timezone: local }\n";
    fs::write(folder.path().join("tarsier.yaml"), layout).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .args(["record", clip.path.to_str().unwrap(), "--out", "out", "--for", "3s"])
        .args(["--set", "record.mode=continuous"])
        .current_dir(folder.path())
        .env("TZ", "America/Phoenix")
        .output()
        .expect("tarsier starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let files = recording_files(&folder.path().join("out"));
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.strip_prefix(folder.path()).unwrap().to_str().unwrap();
    // No daylight saving there.
    assert!(name.starts_with("out/camera/continuous/") && name.ends_with("-0700.mp4"), "{name}");
    let seconds = duration_s(file);
    assert!((1.0..=6.0).contains(&seconds), "{seconds} s");
}

#[test]
fn a_time_that_is_none_is_exit_code_2() {
    for time in ["5", "soon", ""] {
        let output = Command::new(env!("CARGO_BIN_EXE_tarsier"))
            .args(["record", "clip.mp4", "--out", "out", "--for", time])
            .current_dir(tempfile::tempdir().unwrap().path())
            .output()
            .expect("tarsier starts");
        assert_eq!(output.status.code(), Some(2), "{time}");
    }
}
