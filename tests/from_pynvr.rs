//! A user of pynvr comes over: their configuration, imported, records what pynvr would have recorded.

mod support;

use std::fs;
use std::process::Command;

use support::*;

#[test]
fn an_imported_configuration_records_as_pynvr_did() {
    let clip = Clip::spec().seconds(60.0).gop_seconds(1.0).motion(14.0, 16.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let old = tempfile::tempdir().unwrap();
    let config = format!(
        r#"import os, datetime
cam = "{}"
LOG_FILE_PATH = "./logs/nvr.log"
INITIAL_WAIT_INTERVAL_BEFORE_MOTION_DETECTION_SECS = 4
MINIMAL_MOTION_DURATION = 3
PRE_ALARM_RECORDING_SECONDS = 5
PATH_FOR_VIDEO = "./video"
def subFolderNameGenerator(dts):
    return "{{:04}}/{{:02}}/{{:02}}".format(dts.year, dts.month, dts.day)
subFolderNameGeneratorFunc = subFolderNameGenerator
scaleFrameTo = (640, 480)
FOURCC_CODEC = 'DIVX'
OUTPUT_FILES_EXTENSION = ".avi"
OUTPUT_FRAME_RATE = 20
"#,
        server.url("yard")
    );
    fs::write(old.path().join("config.py"), config).unwrap();
    let imported = Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .args(["import-pynvr", "config.py", "--camera", "yard", "--out", "new"])
        .current_dir(old.path())
        .output()
        .unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));

    let read = |path: &str| fs::read_to_string(old.path().join("new").join(path)).unwrap();
    let daemon = Daemon::builder().global(&read("tarsier.yaml")).camera("yard", &read("config.d/yard.yaml")).start();
    let row = daemon.wait_for_recording("yard", secs(60), |recording| recording.complete);
    assert!((5.0..6.1).contains(&row.pre_alarm_s.unwrap()), "{row:?}");
    let expected = row.start.format("yard/%Y/%m/%d/video_%Y-%m-%dT%H%M%S.avi").to_string();
    assert_eq!(row.path, expected);
    let path = daemon.folder().join("video").join(&row.path);
    decodes_cleanly(&path).unwrap();
    let video = &probe(&path)["streams"][0];
    let facts = ["codec_name", "codec_tag_string", "r_frame_rate"].map(|fact| video[fact].as_str().unwrap().to_owned());
    assert_eq!(facts, ["mpeg4", "DIVX", "20/1"]);
    assert_eq!((video["width"].as_u64(), video["height"].as_u64()), (Some(640), Some(480)));
    assert!(daemon.folder().join("logs/nvr.log").exists());
}
