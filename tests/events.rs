//! Where recordings begin and end: events close to each other, by hand, of all lengths, and what else begins a file.
//!
//! All cameras run in one daemon at the same time. What a recording should hold is counted in frames.

mod support;

use std::path::Path;

use support::*;

const FPS: u32 = 15;
const PRE_ALARM_S: u32 = 4;
const MINIMAL_S: u32 = 2;

fn small() -> ClipSpec {
    Clip::spec().size(160, 120).fps(FPS).seconds(60.0).gop_seconds(1.0)
}

fn yaml(source: &str, record: &str) -> String {
    format!(
        "source: {source}\ndetect: {{ warm_up: 2s, minimal_duration: {MINIMAL_S}s, width: 160, min_area: 1% }}\n\
         record: {{ pre_alarm: {PRE_ALARM_S}s, audio: off, {record} }}\n"
    )
}

/// The frame numbers of a recording, which follow each other.
fn numbers(archive: &Path, row: &RecordingRow, clip: &Clip) -> Vec<u32> {
    let frames = read_frames(&archive.join(&row.path));
    assert_unbroken(&frames, clip.frames);
    frames.iter().map(|frame| frame.number).collect()
}

fn frames_in(seconds: f64) -> u32 {
    (seconds * f64::from(FPS)).round() as u32
}

/// A recording begins at the keyframe at or before (trigger - pre-alarm). Returns the frame that triggered.
fn assert_begins_well(row: &RecordingRow, numbers: &[u32], clip: &Clip) -> u32 {
    let trigger = numbers[0] + frames_in(row.pre_alarm_s.expect("it was triggered"));
    let wanted = trigger - PRE_ALARM_S * FPS;
    assert_eq!(numbers[0], wanted / clip.gop * clip.gop, "the keyframe at or before frame {wanted}");
    trigger
}

#[test]
fn recordings_begin_and_end_where_they_should() {
    // The second event's pre-alarm begins before the first event ends; after it, but its keyframe before; after it.
    let closer = small().motion(7.0, 8.0).motion(12.0, 13.0).make();
    let touching = small().gop_seconds(5.0).motion(6.0, 7.0).motion(13.4, 14.4).make();
    let apart = small().motion(7.0, 8.0).motion(17.0, 18.0).make();
    // Pauses that are shorter than the minimal duration.
    let prolonged = small().motion(7.0, 8.0).motion(9.0, 10.0).motion(11.0, 12.0).make();
    let still = small().make();
    let hevc = small().codec(Codec::H265).seconds(30.0).motion(6.0, 8.0).make();
    let short = |width, height| small().size(width, height).seconds(5.0).make();
    let parts = [short(320, 240), short(160, 120)];
    let resized = concat(&[&parts[0], &parts[1]]);
    let server = RtspServer::start(&[
        Mount::new("closer", &closer),
        Mount::new("touching", &touching),
        Mount::new("apart", &apart),
        Mount::new("prolonged", &prolonged),
        Mount::new("manual", &still),
        Mount::new("crashed", &still),
        Mount::new("rolled", &still),
        Mount::new("hevc", &hevc),
        Mount::new("resized", &resized),
    ]);
    let mut builder = Daemon::builder().env("FAILPOINTS", "worker.detector@crashed=100*off->1*panic(boom)");
    for camera in ["closer", "touching", "apart", "prolonged", "manual", "crashed"] {
        builder = builder.camera(camera, &yaml(&server.url(camera), "mode: motion"));
    }
    let mut daemon = builder
        .camera("rolled", &yaml(&server.url("rolled"), "mode: continuous, max_file: 3s"))
        .camera("hevc", &yaml(&server.url("hevc"), "mode: continuous"))
        .camera("resized", &yaml(&server.url("resized"), "mode: continuous"))
        .start();
    let archive = daemon.archive();

    // An event by hand, once its pre-alarm is there.
    daemon.wait_for_state("manual", "running", secs(30));
    wait_for("enough video", secs(30), || (server.stats("manual").sent > u64::from(6 * FPS + 7)).then_some(()));
    assert_eq!(daemon.post("/api/cameras/manual/trigger").0 / 100, 2);
    assert_eq!(daemon.post("/api/cameras/nobody/trigger").0, 404);

    let by_hand = daemon.wait_for_recording("manual", secs(40), |row| row.complete);
    assert_eq!(by_hand.reason, "manual");
    let held = numbers(&archive, &by_hand, &still);
    let trigger = assert_begins_well(&by_hand, &held, &still);
    assert_eq!(held[held.len() - 1], trigger + MINIMAL_S * FPS, "it ends with the minimal duration, to the frame");

    // Nobody looked, so everything was recorded, from the pre-alarm before the crash to the return and a bit.
    let down = daemon.wait_for_recording("crashed", secs(40), |row| row.complete);
    assert_eq!(down.reason, "detector_down");
    let held = numbers(&archive, &down, &still);
    assert!(held.len() as u32 >= (PRE_ALARM_S + MINIMAL_S) * FPS, "{} frames", held.len());
    let camera = daemon.wait_for_state("crashed", "running", secs(20));
    assert_eq!(camera["restarts"], 1);
    assert!(daemon.gaps("crashed").is_empty());

    // One file for events whose pre-alarm reaches back into the one before.
    for (camera, clip) in [("closer", &closer), ("touching", &touching), ("prolonged", &prolonged)] {
        let row = daemon.wait_for_recording(camera, secs(60), |row| row.complete);
        assert_eq!(row.reason, "motion");
        let held = numbers(&archive, &row, clip);
        assert_begins_well(&row, &held, clip);
        // The picture after the box's last step is the same as the one before.
        let last_motion = clip.motion_frames().last().unwrap().end - 1;
        let end = held[held.len() - 1];
        assert!(
            (last_motion..=last_motion + 2).contains(&(end - MINIMAL_S * FPS)),
            "{camera}: motion ends at {last_motion}, the file at {end}"
        );
    }

    // Two files for events that are further apart, and each ends to the frame.
    let rows = wait_for("both events", secs(60), || {
        let rows = daemon.recordings("apart");
        (rows.iter().filter(|row| row.complete).count() >= 2).then_some(rows)
    });
    let held = [0, 1].map(|at| numbers(&archive, &rows[at], &apart));
    for (row, held) in rows.iter().zip(&held) {
        let trigger = assert_begins_well(row, held, &apart);
        assert_eq!(held[held.len() - 1], trigger + frames_in(row.motion_s) + MINIMAL_S * FPS);
    }
    assert!(held[0][held[0].len() - 1] < held[1][0], "nothing is stored twice");

    // Cut at keyframes, with nothing missing between.
    wait_for("some files", secs(40), || {
        (daemon.recordings("rolled").iter().filter(|row| row.complete).count() >= 4).then_some(())
    });
    wait_for("motion in a continuous recording", secs(40), || (server.stats("hevc").sent > 12 * 15).then_some(()));
    wait_for("both sizes twice", secs(40), || {
        (daemon.recordings("resized").iter().filter(|row| row.complete).count() >= 4).then_some(())
    });
    let gaps = ["rolled", "hevc", "resized"].map(|camera| daemon.gaps(camera).len());
    assert_eq!(gaps, [0, 0, 0]);
    let before = ["rolled", "hevc", "resized"].map(|camera| daemon.recordings(camera));
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    daemon.restart();
    // What was closed by the end, too; not what has begun since.
    let now = |row: &RecordingRow| serde_json::from_value(daemon.get(&format!("/api/recordings/{}", row.id))).unwrap();
    let [rolled, in_hevc, resized_rows] = before.map(|rows| rows.iter().map(now).collect::<Vec<RecordingRow>>());

    let rows = rolled;
    let rows: Vec<&RecordingRow> = rows.iter().filter(|row| row.complete).collect();
    let files: Vec<Vec<u32>> = rows.iter().map(|row| numbers(&archive, row, &still)).collect();
    for (row, held) in rows.iter().zip(&files).take(files.len() - 1) {
        assert_eq!((held[0] % still.gop, held.len() as u32), (0, 3 * FPS), "{}", row.path);
    }
    for pair in files.windows(2) {
        assert_eq!(pair[1][0], (pair[0][pair[0].len() - 1] + 1) % still.frames, "nothing is missing between two files");
    }
    for pair in rows.windows(2) {
        let between = (pair[1].start - pair[0].end.unwrap()).num_milliseconds();
        assert!(between.abs() < 50, "{between} ms between the times of two files");
    }

    let row = &in_hevc[0];
    assert!(row.complete);
    let path = archive.join(&row.path);
    assert_eq!(row.reason, "continuous");
    assert!((1.5..3.0).contains(&row.motion_s), "two seconds of motion, and it says {}", row.motion_s);
    numbers(&archive, row, &hevc);
    assert_eq!(probe(&path)["streams"][0]["codec_tag_string"], "hvc1");
    assert_run_of(&vcl_units(&path, Codec::H265), &vcl_units(&hevc.path, Codec::H265));

    // A file has one size, and the next begins with the first picture of the other.
    let rows = resized_rows;
    let rows: Vec<&RecordingRow> = rows.iter().filter(|row| row.complete).collect();
    let mut sizes = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let held = numbers(&archive, row, &parts[0]);
        if at > 0 {
            assert_eq!(held[0], 0);
        }
        if at + 1 < rows.len() {
            assert_eq!(held[held.len() - 1], parts[0].frames - 1);
        }
        sizes.push(probe(&archive.join(&row.path))["streams"][0]["width"].as_u64().unwrap());
    }
    assert!(sizes.windows(2).all(|pair| pair[0] != pair[1]), "{sizes:?}");
    assert!(sizes.iter().all(|width| [320, 160].contains(width)), "{sizes:?}");
}
