//! What is installed around the binary: the systemd unit, the set-up script, the Dockerfile.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

#[test]
fn the_systemd_unit_is_sound() {
    let scratch = tempfile::tempdir().unwrap();
    // The program must exist for the verifier.
    let unit = read("deploy/tarsier.service").replace("/usr/local/bin/tarsier", env!("CARGO_BIN_EXE_tarsier"));
    let path = scratch.path().join("tarsier.service");
    let verify = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output()
            .expect("systemd-analyze is installed (make setup)");
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&words).into_owned())
    };
    assert_eq!(verify(&unit), (true, String::new()));
    let (_, words) = verify(&unit.replace("WatchdogSec=", "WatchdogSecs="));
    assert!(words.contains("WatchdogSecs"), "the verifier would say what is wrong: {words:?}");
}

#[test]
fn the_systemd_unit_keeps_its_promises() {
    let unit = read("deploy/tarsier.service");
    for line in ["Type=notify", "Restart=always", "ExecReload=/bin/kill -HUP $MAINPID", "StartLimitIntervalSec=0"] {
        assert!(unit.lines().any(|l| l == line), "{line}");
    }
    assert!(unit.lines().any(|l| l.starts_with("WatchdogSec=")));
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=25", "--no-pager"])
        .arg(repository().join("deploy/tarsier.service"))
        .output()
        .expect("systemd-analyze is installed (make setup)");
    assert!(output.status.success(), "exposure is above 2.5:\n{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_is_installed_already_is_not_installed_again() {
    // Whatever ran this test has run the set-up; an installer that is called all the same says so.
    let scratch = tempfile::tempdir().unwrap();
    for installer in ["apt-get", "sudo"] {
        let path = scratch.path().join(installer);
        std::fs::write(&path, "#!/bin/sh\necho called: $0 \"$@\"\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("deploy/setup-debian.sh")
        .arg("test")
        .current_dir(repository())
        .env("PATH", format!("{}:{path}", scratch.path().display()))
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    assert!(output.status.success() && words.is_empty(), "make setup comes first, and then has nothing to do: {words}");
}

#[test]
fn shell_scripts_parse_and_stop_at_errors() {
    for script in ["deploy/setup-debian.sh", "deploy/demo.sh", "deploy/demo-clip.sh", ".ci/run"] {
        assert!(read(script).contains("set -eu"), "{script}");
        let status = Command::new("bash").args(["-n", script]).current_dir(repository()).status().unwrap();
        assert!(status.success(), "{script}");
    }
}
