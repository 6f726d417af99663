//! Stretches of what the daemon has recorded, taken out over HTTP: packet by packet the camera's own.

mod support;

use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use support::*;

const FPS: f64 = 15.0;

struct Exported {
    path: PathBuf,
    headers: Vec<(String, String)>,
}

#[track_caller]
fn export(daemon: &Daemon, camera: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Exported {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let query = format!("/api/export?camera={camera}&from={}&to={}", time(from), time(to));
    let (status, headers, body) = daemon.request("GET", &query, &[]);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let path = daemon.folder().join(format!("{camera}-export.mp4"));
    fs::write(&path, body).unwrap();
    Exported { path, headers }
}

#[test]
fn a_stretch_over_many_files_is_the_cameras_own_packets_without_a_seam() {
    let plain = Clip::spec().seconds(40.0).gop_seconds(1.0).audio(AudioCodec::Aac).make();
    let reordered = Clip::spec().seconds(40.0).gop_seconds(1.0).bframes(2).make();
    let server = RtspServer::start(&[Mount::new("yard", &plain), Mount::new("gate", &reordered)]);
    let continuous = |name: &str, container: &str| {
        format!(
            "source: {}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous, max_file: 2s, container: {container} }}\n",
            server.url(name)
        )
    };
    let mut daemon = Daemon::builder()
        .camera("yard", &continuous("yard", "mp4"))
        .camera("gate", &continuous("gate", "mp4"))
        .camera("matroska", &continuous("yard", "mkv"))
        .start();
    for (camera, clip) in [("yard", &plain), ("gate", &reordered), ("matroska", &plain)] {
        let rows = wait_for("five files and an open one", secs(60), || {
            let rows = daemon.recordings(camera);
            let closed = rows.iter().filter(|row| row.complete).count();
            (closed >= 5 && rows.last().is_some_and(|last| !last.complete && last.bytes > 20_000)).then_some(rows)
        });
        let first = read_frames(&daemon.archive().join(&rows[0].path))[0].number;
        let from = rows[0].start + TimeDelta::microseconds(1_350_000);
        let to = rows[5].start + TimeDelta::seconds(20);
        let exported = export(&daemon, camera, from, to);

        // None is missing at the files' borders, and none is there twice.
        let units = vcl_units(&exported.path, Codec::H264);
        assert_run_of(&units, &vcl_units(&clip.path, Codec::H264));
        let mut frames = read_frames(&exported.path);
        // Of the file that is being written the last pictures may wait for those that are shown before them.
        frames.truncate(frames.len() - 3);
        assert_unbroken(&frames, clip.frames);
        assert!(frames.len() > 100, "{camera}: {}", frames.len());
        assert!(frames.windows(2).all(|pair| pair[0].pts_s < pair[1].pts_s));
        let longest = frames.windows(2).map(|pair| pair[1].pts_s - pair[0].pts_s).fold(0.0, f64::max);
        assert!(longest < 1.9 / FPS, "{camera}: a seam of {longest} s");
        // What is shown at 0 is the picture that was taken at `from`; those before are only there to decode it.
        let shown = frames.iter().rfind(|frame| frame.pts_s <= 0.001).unwrap();
        let wanted = first + (1.35 * FPS) as u32;
        assert_eq!(shown.number, wanted % clip.frames, "{camera}: {frames:?}");
        assert!(frames[0].pts_s > -1.01, "{camera}: it begins at the keyframe before: {:?}", frames[0]);
        let of = |name: &str| exported.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(of("tarsier-from").unwrap().parse::<DateTime<Utc>>().unwrap(), from);
        assert!(of("content-disposition").unwrap().starts_with("attachment; filename="));
        decodes_cleanly(&exported.path).unwrap();
    }

    let rows = daemon.recordings("gate");
    let from = rows[1].start + TimeDelta::microseconds(1_100_000);
    let first = read_frames(&daemon.archive().join(&rows[1].path))[0].number;
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let address = format!("/api/export?camera=gate&from={}&to={}", time(from), time(from + TimeDelta::seconds(6)));
    let mut browser = Chromium::start();
    // A page of ours that may show videos.
    browser.open(&daemon.url(&format!("/api/recordings/{}/video.mp4", rows[0].id)));
    let found = browser.evaluate(&format!(
        "(async () => {{
            const v = document.querySelector('video');
            v.muted = true;
            v.autoplay = false;
            v.src = '{address}';
            const until = (event, is) => new Promise((resolve, reject) => {{
                const look = () => v.error ? reject(new Error(v.error.message)) : is() && resolve();
                for (const name of [event, 'timeupdate', 'error']) v.addEventListener(name, look);
                setTimeout(() => reject(new Error(event + ' never comes; at ' + v.currentTime)), 20000);
                look();
            }});
            {FRAME_NUMBER}
            await until('canplay', () => v.readyState >= 3);
            const first = number();
            const duration = v.duration;
            await v.play();
            await until('ended', () => v.ended);
            return {{ first, duration, at: v.currentTime, last: number() }};
        }})()"
    ));
    let wanted = u64::from((first + (1.1 * FPS) as u32) % reordered.frames);
    assert_eq!(found["first"], wanted, "{found}");
    let at = found["at"].as_f64().unwrap();
    assert!((at - 6.0).abs() < 0.3, "{found}");
    assert!((found["duration"].as_f64().unwrap() - 6.0).abs() < 0.3, "{found}");
    let last = (found["last"].as_u64().unwrap() + u64::from(reordered.frames) - wanted) % u64::from(reordered.frames);
    assert!((86..=94).contains(&last), "{found}");
    assert_eq!(daemon.terminate(secs(5)), Some(0));
}
