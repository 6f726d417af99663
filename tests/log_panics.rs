//! Panics end in the log. The hook belongs to the whole process, so this test has one of its own.

use std::time::Duration;

use tarsier::domain::config::{LogConfig, LogFormat};

#[test]
fn a_panic_is_logged_redacted_with_its_thread_place_and_camera() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("tarsier.log");
    let config = LogConfig {
        path: Some(path.clone()),
        level: "info".into(),
        max_size_bytes: 1 << 20,
        backups: 1,
        format: LogFormat::Text,
        console: false,
    };
    let handle = tarsier::logging::init(&config).unwrap();
    assert!(tarsier::logging::init(&config).is_err(), "a second log is refused");
    let ended = std::thread::Builder::new().name("reader yard".into()).spawn(|| {
        let _in_it = tracing::error_span!("camera", camera = "yard", generation = 4u64).entered();
        panic!("no answer from rtsp://me:canary7@192.0.2.1/live");
    });
    assert!(ended.unwrap().join().is_err());
    log::warn!("a library's words about rtsp://me:canary7@192.0.2.1/live");
    handle.flush(Duration::from_secs(5));
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.contains("panic")).expect("the panic is in the log");
    assert!(line.contains("ERROR camera=yard generation=4 panic: no answer from rtsp://***@192.0.2.1/live"), "{line}");
    assert!(line.contains("thread=\"reader yard\"") && line.contains("tests/log_panics.rs:"), "{line}");
    assert!(text.contains("a library's words"), "lines of the `log` crate are taken too: {text}");
    assert!(!text.contains("canary7"), "{text}");
}
