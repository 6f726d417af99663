//! How long questions to a large index take: a page of a day's list, of one camera and of all, at any place.
//! `BENCH_RECORDINGS` changes how many recordings there are.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tarsier::archive::index::Index;
use tarsier::clock::monotonic;
use tarsier::domain::camera::Reason;
use tarsier::domain::recording::{MotionEvent, Recording, RecordingQuery};
use tarsier::domain::score::Score;

const CAMERAS: i64 = 40;
const DAYS: i64 = 100;
const ROUNDS: usize = 200;

fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("in range")
}

/// Recordings of 40 cameras over 100 days, one in two with an event; not one has a file.
fn fill(index: &Index, recordings: i64) {
    let step = TimeDelta::milliseconds(DAYS * 86_400_000 / recordings);
    for id in 1..=recordings {
        let (camera, start) =
            (format!("camera-{:02}", id % CAMERAS), begin() + step * i32::try_from(id).unwrap_or(i32::MAX));
        let recording = Recording {
            id,
            camera: camera.clone(),
            start,
            end: Some(start + TimeDelta::seconds(60)),
            pre_alarm_s: Some(5.0),
            bytes: 30_000_000,
            path: format!("{camera}/2023/{id}.mp4"),
            motion_s: 12.5,
            complete: true,
            reason: Reason::Motion,
        };
        index.restore(recording, id << 20);
        if id % 2 == 0 {
            let (start, end) = (start + TimeDelta::seconds(5), Some(start + TimeDelta::seconds(60)));
            let event = MotionEvent::new(recordings + id, camera, start, Reason::Motion);
            index.restore_event(MotionEvent { end, max_score: Score::of(0.1), ..event });
        }
        if id % 10_000 == 0 {
            while !index.flush() {}
        }
    }
    while !index.flush() {}
}

fn measure(what: &str, mut ask: impl FnMut(&mut fastrand::Rng) -> usize) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut took: Vec<Duration> = Vec::with_capacity(ROUNDS);
    let mut rows = 0;
    for _ in 0..ROUNDS {
        let began: Instant = monotonic();
        rows += ask(&mut random);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let ms = |at: usize| took[at].as_secs_f64() * 1000.0;
    println!(
        "| {what} | {} | {:.2} | {:.2} | {:.2} |",
        rows / ROUNDS,
        ms(ROUNDS / 2),
        ms(ROUNDS * 99 / 100),
        ms(ROUNDS - 1)
    );
}

fn day_of(random: &mut fastrand::Rng) -> RecordingQuery {
    let from = begin() + TimeDelta::days(random.i64(0..DAYS));
    RecordingQuery { from: Some(from), to: Some(from + TimeDelta::days(1)), ..RecordingQuery::default() }
}

fn camera_of(random: &mut fastrand::Rng) -> Option<String> {
    Some(format!("camera-{:02}", random.i64(0..CAMERAS)))
}

fn main() {
    let recordings = std::env::var("BENCH_RECORDINGS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let index = Index::open(folder.path()).expect("an index");
    let began = monotonic();
    fill(&index, recordings);
    let bytes = std::fs::metadata(folder.path().join("index.db")).map_or(0, |metadata| metadata.len());
    let seconds = began.elapsed().as_secs_f64();
    println!("{recordings} recordings and half as many events: {} MB, filled in {seconds:.0} s\n", bytes / 1_000_000);
    println!("| a page of 100 | rows | median ms | 99 % ms | longest ms |\n|---|--:|--:|--:|--:|");

    let list = |query: &RecordingQuery| index.recordings(query).expect("an answer");
    measure("the newest recordings", |_| list(&RecordingQuery::default()).items.len());
    measure("a camera's newest", |random| {
        list(&RecordingQuery { camera: camera_of(random), ..RecordingQuery::default() }).items.len()
    });
    measure("a day of all cameras", |random| list(&day_of(random)).items.len());
    measure("a day of a camera", |random| {
        list(&RecordingQuery { camera: camera_of(random), ..day_of(random) }).items.len()
    });
    measure("the second page of a day of all", |random| {
        let query = day_of(random);
        let cursor = list(&query).next;
        list(&RecordingQuery { cursor, ..query }).items.len()
    });
    measure("what is older than a time", |random| list(&RecordingQuery { from: None, ..day_of(random) }).items.len());
    measure("what is newer than a time", |random| list(&RecordingQuery { to: None, ..day_of(random) }).items.len());
    measure("a day's events of a camera, with their recordings", |random| {
        let query = RecordingQuery { camera: camera_of(random), ..day_of(random) };
        index.events(&query).expect("an answer").items.len()
    });
}
