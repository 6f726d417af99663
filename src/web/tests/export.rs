//! Stretches of recordings over HTTP: what is answered at once, and what becomes of a client that goes away.

use super::*;
use crate::archive::file::{FileMeta, RecordingFile};
use crate::archive::testing::{made_up_stream, packet};
use crate::domain::config::ContainerKind;
use crate::domain::stream::Track;

const FPS: i64 = 25;

impl Served {
    /// Real files without a gap, each so many seconds long.
    fn record_files(&self, files: i64, seconds: i64, bytes: usize) {
        let stream = made_up_stream();
        // The lengths of a picture's NAL units add up.
        let mut data = (bytes as u32 - 4).to_be_bytes().to_vec();
        data.push(0x65);
        data.resize(bytes, 0x55);
        for n in 0..files {
            let (id, start) = (self.index.next_id(), first_start() + TimeDelta::seconds(n * seconds));
            let path = format!("yard/{id}.mp4");
            let reason = Reason::Continuous;
            let meta = FileMeta { camera: "yard".into(), start, reason, onset: None, pre_alarm_s: None };
            let full = self.archive().join(&path);
            let mut file = RecordingFile::create(&full, ContainerKind::Mp4, &stream, true, &meta).unwrap();
            for picture in 0..seconds * FPS {
                let at = picture * 90_000 / FPS;
                let mut one = packet(&stream, Track::Video, at, at, picture % FPS == 0, &data);
                one.length_prefixed = true;
                file.write(&one).unwrap();
            }
            let bytes = file.finish().unwrap().bytes;
            let end = Some(start + TimeDelta::seconds(seconds));
            let camera = "yard".to_owned();
            let (pre_alarm_s, motion_s, complete) = (None, 0.0, true);
            self.put(Recording { id, camera, start, end, pre_alarm_s, bytes, path, motion_s, complete, reason });
        }
    }

    fn export(&self, from_s: i64, to_s: i64) -> String {
        let time = |s| (first_start() + TimeDelta::seconds(s)).format("%Y-%m-%dT%H:%M:%SZ");
        format!("/api/export?camera=yard&from={}&to={}", time(from_s), time(to_s))
    }
}

/// Threads that make exports.
fn exporting() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "export").count()
}

#[track_caller]
fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let began = clock::monotonic();
    while !fact() {
        assert!(began.elapsed() < DEADLINE, "{what} never comes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_export_says_what_it_is() {
    let served = Served::start();
    served.record_files(3, 4, 300);
    let path = served.export(1, 10);
    let whole = served.get(&path);
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"yard_2026-01-31T080001Z.mp4\"");
    assert_eq!(whole.header("tarsier-from"), "2026-01-31T08:00:01.000000Z");
    assert_eq!(whole.header("tarsier-to"), "2026-01-31T08:00:10.000000Z");
    assert!(!whole.headers.contains_key("tarsier-next"));
    assert_eq!(&whole.body[4..8], b"ftyp");
    let fragments = whole.body.windows(4).filter(|word| word == b"moof").count();
    assert!(fragments >= 9, "{fragments}");
    let head = served.ask("HEAD", &path, &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-disposition"), whole.header("content-disposition"));
}

#[test]
fn what_cannot_be_exported_is_refused_with_what_to_do() {
    let served = Served::start();
    served.record_files(1, 4, 300);
    let detail = served.get(&served.export(10, 20)).problem(404);
    assert!(detail.contains("/api/recordings?camera=yard"), "{detail}");
    for (query, key) in [
        ("", "camera"),
        ("?from=2026-01-31T08:00:00Z&to=2026-01-31T08:00:01Z", "camera"),
        ("?camera=yard&to=2026-01-31T08:00:01Z", "from"),
        ("?camera=yard&from=2026-01-31T08:00:01Z", "to"),
        ("?camera=yard&from=2026-01-31T08:00:01Z&to=2026-01-31T08:00:00Z", "to"),
        ("?camera=yard&from=2026-01-31T08:00:01Z&to=2026-01-31T08:00:01Z", "to"),
        ("?camera=yard&from=now&to=2026-01-31T08:00:01Z", "from"),
        ("?camera=../yard&from=2026-01-31T08:00:01Z&to=2026-01-31T08:00:02Z", "camera"),
    ] {
        let answer = served.get(&format!("/api/export{query}"));
        answer.problem(400);
        assert_eq!(answer.json()["key"], key, "{query}");
    }
    served.get("/api/export?camera=gone&from=2026-01-31T08:00:00Z&to=2026-01-31T08:00:01Z").problem(404);
}

#[test]
fn an_hour_begins_at_once_and_a_client_that_goes_away_ends_the_work() {
    let served = Served::start();
    served.record_files(6, 600, 1500);
    let path = served.export(300, 3600);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let began = clock::monotonic();
        let mut client = served.connect();
        client.write_all(request.as_bytes()).unwrap();
        let mut first = vec![0; 20_000];
        client.read_exact(&mut first).unwrap();
        quickest = quickest.min(began.elapsed());
        assert!(first.windows(4).any(|word| word == b"moof"));
        // What it does not read is not made.
        assert_eq!(exporting(), 1);
        drop(client);
        wait_until("the end of the work", || exporting() == 0);
    }
    assert!(quickest < Duration::from_millis(200), "the first pictures come after {quickest:?}");
    let whole = served.get(&path);
    assert!(whole.body.len() > 3300 * 25 * 1500, "{} bytes", whole.body.len());
}

#[test]
fn no_more_exports_run_than_may_and_a_stop_ends_them() {
    let mut served = Served::start();
    served.record_files(2, 600, 3000);
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", served.export(0, 1200), served.address);
    let clients: Vec<TcpStream> = (0..EXPORTS_AT_A_TIME)
        .map(|_| {
            let mut client = served.connect();
            client.write_all(request.as_bytes()).unwrap();
            client.read_exact(&mut [0; 1000]).unwrap();
            client
        })
        .collect();
    served.get(&served.export(0, 1200)).problem(503);
    assert!(served.stop().unwrap() < Duration::from_secs(4));
    wait_until("the end of the work", || exporting() == 0);
    drop(clients);
}
