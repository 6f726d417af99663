use std::time::Instant;

use tracing::subscriber::with_default;
use tracing::{error, error_span, info, warn};

use super::*;

#[derive(Clone, Default)]
struct Console(Arc<Mutex<Vec<u8>>>);

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn config(path: Option<PathBuf>) -> LogConfig {
    LogConfig {
        path,
        level: "info".into(),
        max_size_bytes: 1 << 20,
        backups: 3,
        format: LogFormat::Text,
        console: true,
    }
}

/// What `work` puts on the console, without the times.
fn console_of(config: &LogConfig, work: impl FnOnce(&LogHandle)) -> Vec<String> {
    let console = Console::default();
    let (subscriber, handle) = build(config, None, Box::new(console.clone())).unwrap();
    with_default(subscriber, || work(&handle));
    drop(handle);
    let text = String::from_utf8(lock(&console.0).clone()).unwrap();
    text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
}

#[test]
fn a_line_about_a_camera_carries_its_name_and_generation() {
    let lines = console_of(&config(None), |_| {
        let span = error_span!("camera", camera = "yard", generation = 3u64);
        let _in_it = span.enter();
        info!(fps = 15, path = "a b", "recording opened");
        info!(camera = "door", "of another");
        tracing::debug!("too fine");
    });
    assert_eq!(
        lines,
        [
            " INFO camera=yard generation=3 recording opened fps=15 path=\"a b\"",
            " INFO camera=door generation=3 of another",
        ]
    );
}

#[test]
fn json_lines_are_json_with_typed_values() {
    let console = Console::default();
    let config = LogConfig { format: LogFormat::Json, ..config(None) };
    let (subscriber, handle) = build(&config, None, Box::new(console.clone())).unwrap();
    with_default(subscriber, || error!(camera = "yard", generation = 2u64, ok = false, "a \"quoted\"\nmessage"));
    drop(handle);
    let text = String::from_utf8(lock(&console.0).clone()).unwrap();
    assert_eq!(text.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["message"], "a \"quoted\"\nmessage");
    assert_eq!((&line["camera"], &line["generation"]), (&"yard".into(), &2.into()));
    assert_eq!(line["ok"], false);
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn credentials_are_redacted_in_messages_fields_spans_and_errors() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = console_of(&LogConfig { format, ..config(None) }, |_| {
            let url = "rtsp://viewer:canary7@192.0.2.1/live";
            let span = error_span!("camera", camera = "yard", source = url);
            let _in_it = span.enter();
            let outer = Outer(std::io::Error::other(url));
            error!(%url, cause = &outer as &dyn std::error::Error, debug = ?url, "no answer from {url}");
        });
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains("canary7"), "{}", lines[0]);
        assert!(lines[0].contains("192.0.2.1"), "{}", lines[0]);
    }
}

#[test]
fn what_a_camera_says_cannot_forge_a_line() {
    let lines = console_of(&config(None), |_| info!(said = "\x1b[2J\nx", "hello\r\nforged"));
    assert_eq!(lines, [r#" INFO hello\r\nforged said="\u{1b}[2J\nx""#]);
}

#[test]
fn a_storm_is_folded_with_its_count() {
    let lines = console_of(&config(None), |handle| {
        for round in 0..13 {
            warn!(camera = "yard", round, "packet is corrupt");
        }
        for _ in 0..3 {
            info!("not a complaint");
        }
        handle.flush(Duration::from_secs(5));
    });
    assert_eq!(lines[0], " WARN camera=yard packet is corrupt round=0");
    assert_eq!(lines.iter().filter(|line| line.contains("not a complaint")).count(), 3);
    assert_eq!(lines[4], " WARN camera=yard packet is corrupt (12 times in the last second) round=12");
    assert_eq!(lines.len(), 5);
}

fn complaint(camera: &'static str, message: &str) -> Line {
    let mut line = Line::own(clock::utc_now(), message.to_owned());
    line.camera = camera.to_owned();
    line
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.message.as_str()).collect()
}

#[test]
fn a_storm_that_goes_on_speaks_once_a_second_and_ends() {
    let mut folder = Folder::default();
    let start: Instant = clock::monotonic();
    let at = |ms: u64| start + Duration::from_millis(ms);
    assert_eq!(folder.admit(&complaint("yard", "bad"), at(0)), Admission::Write);
    assert_eq!(folder.next_due(), None);
    assert_eq!(folder.admit(&complaint("yard", "bad"), at(100)), Admission::Folded { first: true });
    assert_eq!(folder.admit(&complaint("door", "bad"), at(100)), Admission::Write, "another camera");
    assert_eq!(folder.admit(&complaint("yard", "worse"), at(100)), Admission::Write, "another complaint");
    assert_eq!(folder.admit(&complaint("yard", "bad"), at(900)), Admission::Folded { first: false });
    assert_eq!(folder.next_due(), Some(at(1000)));
    assert!(folder.take_due(at(999), false).is_empty());
    assert_eq!(texts(&folder.take_due(at(1000), false)), ["bad (2 times in the last second)"]);
    assert_eq!(folder.admit(&complaint("yard", "bad"), at(1500)), Admission::Folded { first: true });
    assert_eq!(texts(&folder.take_due(at(2000), false)), ["bad"]);
    assert!(folder.take_due(at(3000), false).is_empty());
    assert_eq!(folder.admit(&complaint("yard", "bad"), at(3001)), Admission::Write);
}

#[test]
fn a_storm_of_ever_new_texts_is_bounded() {
    let mut folder = Folder::default();
    let start: Instant = clock::monotonic();
    let written = (0..10_000)
        .filter(|n| folder.admit(&complaint("yard", &format!("packet {n} is bad")), start) == Admission::Write)
        .count();
    assert_eq!(written, 11);
    assert_eq!(
        texts(&folder.take_due(start + Duration::from_secs(1), false)),
        ["packet 9999 is bad (9989 times in the last second)"]
    );
}

#[test]
fn the_file_rolls_over_and_keeps_so_many() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log/tarsier.log");
    let config = LogConfig { max_size_bytes: 1000, backups: 2, console: false, ..config(Some(path.clone())) };
    let lines = console_of(&config, |handle| {
        for n in 0..100 {
            info!("line {n} of a hundred that together are too long");
        }
        handle.flush(Duration::from_secs(5));
    });
    assert!(lines.is_empty(), "nothing on the console");
    let mut names: Vec<String> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["tarsier.log", "tarsier.log.1", "tarsier.log.2"]);
    for name in &names {
        let bytes = std::fs::metadata(path.with_file_name(name)).unwrap().len();
        assert!(bytes <= 1000, "{name} has {bytes} bytes");
    }
    assert!(std::fs::read_to_string(&path).unwrap().contains("line 99 "));
}

#[test]
fn a_file_that_was_moved_away_is_opened_again() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("tarsier.log");
    console_of(&config(Some(path.clone())), |handle| {
        info!("before");
        handle.flush(Duration::from_secs(5));
        std::fs::rename(&path, scratch.path().join("moved")).unwrap();
        handle.reopen().unwrap();
        info!("after");
    });
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now.contains("after") && !now.contains("before"), "{now}");
}

#[test]
fn a_changed_configuration_applies() {
    let lines = console_of(&config(None), |handle| {
        tracing::debug!("one");
        handle.apply(&LogConfig { level: "debug".into(), ..config(None) }).unwrap();
        tracing::debug!("two");
        assert!(handle.apply(&LogConfig { level: "no=such=level".into(), ..config(None) }).is_err());
    });
    assert_eq!(lines, ["DEBUG two"]);
}

#[test]
fn a_log_that_cannot_be_opened_says_why() {
    let scratch = tempfile::tempdir().unwrap();
    let blocker = scratch.path().join("file");
    std::fs::write(&blocker, "").unwrap();
    let error = build(&config(Some(blocker.join("tarsier.log"))), None, Box::new(Console::default())).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("file/tarsier.log can't be opened") && text.contains("log.path"), "{text}");
}

#[test]
fn a_console_that_is_stuck_holds_up_nobody() {
    struct Stuck(Arc<Mutex<()>>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            drop(lock(&self.0));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let gate = Arc::new(Mutex::new(()));
    let (subscriber, handle) = build(&config(None), None, Box::new(Stuck(gate.clone()))).unwrap();
    let closed = lock(&gate);
    with_default(subscriber, || {
        for n in 0..2 * QUEUE_LINES {
            info!("line {n}");
        }
    });
    assert!(handle.shared.lost.load(Ordering::Relaxed) >= QUEUE_LINES as u64 - 1);
    drop(closed);
}
