//! `tarsier import-pynvr` as pynvr's users meet it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PASSWORD: &str = "canary-p@ss:4711";

/// A configuration with every setting of pynvr's, in its own forms.
fn everything() -> String {
    format!(
        r##"import os, logging

APP_ROOT = os.path.dirname(os.path.abspath(__file__))

def folder_by_day(dts):
    return "{{:04}}/{{:02}}/{{:02}}".format(dts.year, dts.month, dts.day)

cam = "rtsp://viewer:{PASSWORD}@192.0.2.10:554/live"
LOG_FILE_PATH = os.path.normpath(os.path.join(APP_ROOT, './logs/nvr.log'))
APP_LOG_LEVEL = logging.DEBUG
MAIN_LOG_FILE_MAX_SIZE = 1024*1024*16
LOG_BACKUPS_COUNT = 7
LOG_FORMAT = '%(asctime)s %(message)s'
LOG_TO_CONSOLE = False
INITIAL_WAIT_INTERVAL_BEFORE_MOTION_DETECTION_SECS = 6
MINIMAL_MOTION_DURATION = 12
PRE_ALARM_RECORDING_SECONDS = 4
PATH_FOR_VIDEO = "./video"
subFolderNameGeneratorFunc = folder_by_day
scaleFrameTo = (640, 480)
FOURCC_CODEC = 'DIVX'
OUTPUT_FILES_EXTENSION = ".avi"
OUTPUT_FRAME_RATE = 20

if os.path.exists(os.path.join(APP_ROOT, "machine_specific_configuration.py")):
    from machine_specific_configuration import *
"##
    )
}

fn tarsier(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tarsier")).args(arguments).current_dir(folder).output().expect("tarsier starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

/// What `check --effective` says of the folder's configuration.
fn effective(folder: &Path) -> String {
    let output = tarsier(folder, &["check", "--effective"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[test]
fn the_printed_files_pass_the_check_and_hold_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("config.py"), everything()).unwrap();
    let output = tarsier(folder, &["import-pynvr", "config.py", "--camera", "front-door"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");

    let (global, camera) = stdout.split_once("\n---\n").expect("two documents");
    assert!(global.starts_with("# tarsier.yaml:") && camera.starts_with("# config.d/front-door.yaml:"), "{stdout}");
    assert!(camera.contains(&format!("source: \"rtsp://viewer:{PASSWORD}@192.0.2.10:554/live\"")), "{camera}");
    fs::create_dir(folder.join("config.d")).unwrap();
    fs::write(folder.join("tarsier.yaml"), global).unwrap();
    fs::write(folder.join("config.d/front-door.yaml"), camera).unwrap();
    let holds = effective(folder);
    for (key, value) in [
        ("path", "./video"),
        ("layout", "{camera}/%Y/%m/%d/video_%Y-%m-%dT%H%M%S"),
        ("path", "logs/nvr.log"),
        ("level", "debug"),
        ("max_size", "16MiB"),
        ("backups", "7"),
        ("console", "false"),
        ("warm_up", "6s"),
        ("minimal_duration", "12s"),
        ("pre_alarm", "4s"),
        ("container", "avi"),
        ("codec", "mpeg4"),
        ("scale_to", "640x480"),
        ("frame_rate", "20"),
        ("overlay", "true"),
    ] {
        for text in [stdout, &holds] {
            let line = format!("{key}: {value}");
            assert!(text.replace(['"', '\''], "").contains(&line), "{line} is not in\n{text}");
        }
    }

    // What has no place here is said twice: where the person looks now, and where they will look later.
    let name = "LOG_FORMAT";
    let line = stderr.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {stderr}"));
    assert!(line.starts_with("config.py:") && line.contains("not carried over"), "{line}");
    let comment = stdout.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {stdout}"));
    assert!(comment.starts_with("# - "), "{comment}");
    assert!(stderr.contains("encoded anew, as pynvr did"), "{stderr}");
    assert!(!stderr.contains("canary"), "{stderr}");
    assert_eq!(stdout.matches("canary").count(), 1, "the password stands in the source alone");
}

#[test]
fn a_machines_own_file_wins_and_the_files_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("config.py"), everything()).unwrap();
    fs::write(folder.join("machine_specific_configuration.py"), "cam = 0\nPATH_FOR_VIDEO = '/srv/video'\n").unwrap();
    let output = tarsier(folder, &["import-pynvr", "config.py", "--out", "new"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), ""), "{}", text(&output.stderr));
    let camera = folder.join("new/config.d/camera.yaml");
    assert!(fs::read_to_string(&camera).unwrap().contains("source: \"0\""));
    assert_eq!(fs::metadata(&camera).unwrap().permissions().mode() & 0o077, 0, "others can read a password");
    assert!(effective(&folder.join("new")).contains("/srv/video"));

    let again = tarsier(folder, &["import-pynvr", "config.py", "--out", "new"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
}

#[test]
fn what_is_wrong_is_said_and_the_exit_code_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (content, says) in [
        (Some("cam = 'rtsp://viewer:canary-1@h/\nx = 1"), "config.py:1: a string is not closed"),
        (Some("cam = address('rtsp://viewer:canary-1@h/')"), "config.py:1: `cam` can't be read"),
        (Some("cam = 'rtsp://viewer:canary-1@'"), "config.py:1: `cam` can't be taken"),
        (Some("x = 1"), "there is no `cam` in it"),
        (None, "No such file"),
    ] {
        match content {
            Some(content) => fs::write(folder.join("config.py"), content).unwrap(),
            None => fs::remove_file(folder.join("config.py")).unwrap(),
        }
        let output = tarsier(folder, &["import-pynvr", "config.py"]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{stderr}");
        assert!(stderr.contains(says) && !stderr.contains("canary"), "{stderr}");
    }
    assert_eq!(tarsier(folder, &["import-pynvr", "config.py", "--camera", "Front Door"]).status.code(), Some(2));
}
