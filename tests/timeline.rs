//! The timeline in a browser: strips of what was recorded, and playing from any moment on, over the files' borders.

mod support;

use serde_json::Value;
use support::*;

/// JavaScript: waits for what the page comes to show; `v` is the player.
const PAGE: &str = r"
    const v = document.querySelector('#video');
    v.muted = true;
    const until = async (what, is) => {
        for (let tries = 0; tries < 400; tries++) {
            if (await is()) return;
            await new Promise(done => setTimeout(done, 50));
        }
        throw new Error('waited for ' + what + '; the page says ' + document.querySelector('main').innerText.slice(0, 600)
            + ' and plays ' + v.currentSrc + ' at ' + v.currentTime);
    };
    const strip = name => document.querySelector(`[data-camera=${name}] canvas`);
    const loaded = name => until('the strip of ' + name, () => strip(name)?.closest('[data-loaded]'));
    const shows = () => until('a picture', () => v.readyState >= 2 && !v.seeking);
    // Colours of a row of pixels, each with its share of the strip's width.
    const colours = (name, share) => {
        const canvas = strip(name);
        const pixels = canvas.getContext('2d').getImageData(0, Math.round(canvas.height * share), canvas.width, 1).data;
        const found = {};
        for (let at = 0; at < pixels.length; at += 4) {
            const colour = pixels.slice(at, at + 4).join();
            found[colour] = (found[colour] ?? 0) + 4 / pixels.length;
        }
        return found;
    };
";

#[track_caller]
fn on_page(browser: &mut Chromium, script: &str) -> Value {
    browser.evaluate(&format!("(async () => {{ {FRAME_NUMBER} {PAGE} {script} }})()"))
}

#[test]
fn what_was_recorded_is_seen_and_played_from_any_moment() {
    let clip = Clip::spec().seconds(16.0).gop_seconds(1.0).motion(6.0, 8.0).make();
    let source = format!("source: {}\n", clip.path.display());
    let daemon = Daemon::builder()
        .camera("yard", &format!("{source}detect: {{ warm_up: 1s, minimal_duration: 1s }}\nrecord: {{ mode: continuous, max_file: 5s }}\n"))
        .camera("door", &format!("{source}detect: {{ enabled: false }}\nrecord: {{ mode: off }}\n"))
        .start();
    for camera in ["yard", "door"] {
        daemon.wait_for_state(camera, "stopped", secs(60));
    }
    let mut rows = daemon.recordings("yard");
    rows.sort_by_key(|row| row.start);
    assert!(rows.len() >= 3, "{rows:?}");
    let second = &rows[1];
    let first_number = read_frames(&daemon.archive().join(&second.path))[0].number;

    // A link to a moment, 2 s into the second file.
    let moment = second.start + chrono::TimeDelta::milliseconds(2_033);
    let mut browser = Chromium::start();
    let link = format!("/timeline#camera=yard&at={}", moment.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
    browser.open(&daemon.url(&link));
    let number = on_page(&mut browser, "await loaded('yard'); await loaded('door'); await shows(); return number();");
    assert_eq!(number.as_u64(), Some(u64::from(first_number + 30)), "the picture of that moment");
    // One picture on, by the key.
    let number = on_page(
        &mut browser,
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: '.', bubbles: true}));
         await shows();
         await new Promise(done => setTimeout(done, 200));
         return number();",
    );
    assert_eq!(number.as_u64(), Some(u64::from(first_number + 31)));
    // To the end of the file, and on into the next.
    let next = rows[2].id;
    let over = on_page(
        &mut browser,
        &format!(
            "document.querySelector('#speed').value = '4';
             document.querySelector('#speed').dispatchEvent(new Event('change'));
             await v.play();
             await until('the next file', () => v.currentSrc.includes('/api/recordings/{next}/') && v.currentTime > 0.3);
             return v.playbackRate;"
        ),
    );
    assert_eq!(over.as_f64(), Some(4.0));

    // A minute around it: the strips say what there is, and a click plays from there.
    let played = on_page(
        &mut browser,
        "v.pause();
         for (let n = 0; n < 6; n++) {
             document.dispatchEvent(new KeyboardEvent('keydown', {key: '+', bubbles: true}));
         }
         await new Promise(done => setTimeout(done, 1000));
         await loaded('yard');
         const strips = {yard: colours('yard', 0.9), door: colours('door', 0.9), event: colours('yard', 0.06),
             motion: colours('yard', 0.6)};
         return {strips, span: document.querySelector('#span').textContent, label: strip('yard').ariaLabel};",
    );
    let kinds = |strip: &str| played["strips"][strip].as_object().map(|colours| colours.len());
    assert!(kinds("yard") >= Some(2) && kinds("door") == Some(1), "recorded and not: {played}");
    assert!(kinds("event") >= Some(2) && kinds("motion") >= Some(2), "an event and how much moved: {played}");
    assert!(played["label"].as_str().unwrap().contains("1 events"), "{played}");
    let clicked = on_page(
        &mut browser,
        "const canvas = strip('yard');
         const box = canvas.getBoundingClientRect();
         // The middle of the first stretch that is recorded.
         const pixels = canvas.getContext('2d').getImageData(0, Math.round(canvas.height * 0.9), canvas.width, 1).data;
         let [first, last] = [-1, -1];
         for (let x = 0; x < canvas.width; x++) {
             if (pixels[4 * x + 3] > 0) { if (first < 0) first = x; last = x; }
         }
         const x = box.left + (first + 0.1 * (last - first)) / canvas.width * box.width;
         const at = {clientX: x, clientY: box.top + 20, pointerId: 1, bubbles: true};
         canvas.setPointerCapture = () => {};
         const before = v.currentSrc;
         canvas.dispatchEvent(new PointerEvent('pointerdown', at));
         canvas.dispatchEvent(new PointerEvent('pointerup', at));
         await until('another file', () => v.currentSrc !== before);
         v.pause();
         await shows();
         return {number: number(), source: v.currentSrc};",
    );
    assert!(clicked["source"].as_str().unwrap().contains(&format!("/api/recordings/{}/", rows[0].id)), "{clicked}");
    // A tenth of 16 s, and how long it took to stop it.
    assert!((15..60).contains(&clicked["number"].as_u64().unwrap()), "{clicked}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
