//! What people see in their browser: recordings play and seek, and the page of the system shows them.

mod support;

use serde_json::Value;
use support::*;
use tarsier::clock::utc_now;

/// Looks at the video that the page shows: waits for facts, seeks, and reads the frame number that is burnt into
/// the picture (see `support/clips.rs`: two squares to compare with, 16 bits of number, 8 bits of check).
const VIDEO: &str = r"
    const v = document.querySelector('video');
    if (!v) throw new Error('no video in ' + document.documentElement.outerHTML.slice(0, 500));
    v.muted = true;
    const until = (event, is) => new Promise((resolve, reject) => {
        const look = () => v.error ? reject(new Error(event + ': ' + v.error.message)) : is() && resolve();
        const late = () => reject(new Error(event + ' never comes; at ' + v.currentTime + ' of ' + v.duration));
        for (const name of [event, 'timeupdate', 'error']) v.addEventListener(name, look);
        setTimeout(late, 20000);
        look();
    });
    const seek = async to => {
        v.pause();
        v.currentTime = to;
        await until('seeked', () => !v.seeking && v.readyState >= 2 && Math.abs(v.currentTime - to) < 0.001);
        return number();
    };
    await until('loadedmetadata', () => v.readyState >= 1);
";

/// Runs `script` behind [`VIDEO`] in a page that shows the recording.
#[track_caller]
fn in_player(browser: &mut Chromium, daemon: &Daemon, id: i64, script: &str) -> Value {
    browser.open(&daemon.url(&format!("/api/recordings/{id}/video.mp4")));
    browser.evaluate(&format!("(async () => {{ {FRAME_NUMBER} {VIDEO} {script} }})()"))
}

#[test]
fn recordings_play_and_seek_in_a_browser_and_the_page_shows_them() {
    let clip = Clip::spec().seconds(30.0).gop_seconds(2.0).motion(8.4, 10.4).make();
    let reordered = Clip::spec().seconds(30.0).gop_seconds(2.0).bframes(2).audio(AudioCodec::Alaw).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip), Mount::new("gate", &reordered)]);
    let daemon = Daemon::builder()
        .camera(
            "yard",
            &format!(
                "source: {}\ndetect: {{ warm_up: 2s, minimal_duration: 4s }}\nrecord: {{ pre_alarm: 3s }}\n",
                server.url("yard")
            ),
        )
        .camera(
            "gate",
            &format!(
                "source: {}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous, max_file: 7s }}\n",
                server.url("gate")
            ),
        )
        .camera("broken", "source: rtsp://127.0.0.1:9/live\nrecrod: {}\n")
        .start();
    let event = daemon.wait_for_recording("yard", secs(60), |recording| recording.complete);
    let rolled = daemon.wait_for_recording("gate", secs(60), |recording| recording.complete);
    let mut browser = Chromium::start();
    for (recording, clip) in [(&event, &clip), (&rolled, &reordered)] {
        let path = daemon.archive().join(&recording.path);
        let frames = read_frames(&path);
        let (count, first) = (frames.len() as u32, frames[0].number);
        assert!(count > 60, "{count} frames");
        let seconds = f64::from(count) / 15.0;
        // The middle of each of these frames: back and forth, between keyframes, the first and the last.
        let asked: Vec<u32> = vec![count / 2, 3, count - 1, 0, 37, 36, count - 20];
        let found = in_player(
            &mut browser,
            &daemon,
            recording.id,
            &format!(
                "const found = [];
                 for (const at of {asked:?}) found.push(await seek((at + 0.5) / 15));
                 await seek(0);
                 await v.play();
                 await until('timeupdate', () => v.currentTime > 1.5);
                 const playing = number();
                 await seek(v.duration - 0.7);
                 await v.play();
                 await until('ended', () => v.ended);
                 return {{
                    found, playing, duration: v.duration, width: v.videoWidth,
                    ranges: v.seekable.length, end: v.seekable.end(0), last: number(),
                 }};"
            ),
        );
        let numbers: Vec<u64> = asked.iter().map(|at| u64::from((first + at) % clip.frames)).collect();
        assert_eq!(found["found"], Value::from(numbers), "{asked:?} from {first} on");
        let playing = found["playing"].as_u64().unwrap() as u32;
        let shown = (playing + clip.frames - first) % clip.frames;
        assert!((20..45).contains(&shown), "it plays: {found}");
        assert_eq!(found["last"], u64::from((first + count - 1) % clip.frames), "{found}");
        // Sound may go on for a moment after the last picture.
        let duration = found["duration"].as_f64().unwrap();
        assert!((duration - seconds).abs() < 0.25, "{duration} s for {seconds} s");
        assert!((duration - duration_s(&path)).abs() < 0.05);
        assert_eq!((&found["width"], &found["ranges"]), (&320.into(), &1.into()), "{found}");
        assert!((found["end"].as_f64().unwrap() - duration).abs() < 0.05, "all of it can be sought in: {found}");
    }
    // One that is still being written plays as far as it is.
    let open = daemon.wait_for_recording("gate", secs(20), |recording| {
        !recording.complete && utc_now() - recording.start > chrono::TimeDelta::seconds(3)
    });
    let found = in_player(
        &mut browser,
        &daemon,
        open.id,
        "await v.play(); await until('timeupdate', () => v.currentTime > 1); return number();",
    );
    assert!(found.as_u64().is_some());

    browser.open(&daemon.url("/system"));
    let page = browser.evaluate(
        "({
            text: document.body.innerText,
            videos: document.querySelectorAll('a[href$=\"/video.mp4\"]').length,
            styled: getComputedStyle(document.querySelector('.badge')).display == 'inline-flex',
            fits: document.documentElement.scrollWidth <= innerWidth,
        })",
    );
    let text = page["text"].as_str().unwrap();
    for words in ["Tarsier", "yard", "gate", "Live", "broken", "Config error", "did you mean", &event.path] {
        assert!(text.contains(words), "“{words}” in {text}");
    }
    assert_eq!(text.matches("did you mean").count(), 1, "told once: {text}");
    assert!(page["videos"].as_u64().unwrap() >= 2, "{page}");
    assert_eq!((&page["styled"], &page["fits"]), (&true.into(), &true.into()), "{page}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
