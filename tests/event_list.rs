//! The list of events and the small pictures, in a browser: what happens appears, is found, kept and deleted.

mod support;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::*;

const PASSWORD: &str = "canary battery staple";

/// JavaScript: `row(camera)` is its newest row; `picture(img)` waits for one and has `number()` read it.
const PAGE: &str = r"
    const until = async (what, is) => {
        for (let tries = 0; tries < 600; tries++) {
            const found = await is();
            if (found) return found;
            await new Promise(done => setTimeout(done, 50));
        }
        throw new Error('waited for ' + what + '; the page is ' + document.querySelector('main').innerHTML.slice(0, 3000));
    };
    const rows = () => [...document.querySelectorAll('.event')];
    const row = camera => rows().find(row => row.dataset.camera == camera);
    const named = text => [...document.querySelectorAll('dialog button')].find(button => button.textContent == text);
    let v;
    const picture = async image => {
        v = image;
        await until('the picture ' + v.src, () => v.complete && v.naturalWidth > 0);
        [v.videoWidth, v.videoHeight] = [v.naturalWidth, v.naturalHeight];
        return {number: number(), width: v.naturalWidth, height: v.naturalHeight};
    };
    const load = address => { const image = new Image(); image.src = address; return picture(image); };
";

#[track_caller]
fn on_page(browser: &mut Chromium, script: &str) -> Value {
    browser.evaluate(&format!("(async () => {{ {FRAME_NUMBER} {PAGE} {script} }})()"))
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// `yard` has one event behind it and nothing more to see; `gate` goes on, and has one when somebody asks for it.
fn start() -> (Daemon, Clip) {
    let moving = Clip::spec().size(640, 360).seconds(14.0).gop_seconds(1.0).motion(6.0, 8.0).make();
    let still = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let record = "record: { mode: motion, pre_alarm: 2s }\n";
    let daemon = Daemon::builder()
        .camera(
            "yard",
            &format!("source: {}\ndetect: {{ warm_up: 1s, minimal_duration: 1s }}\n{record}", moving.path.display()),
        )
        .camera(
            "gate",
            &format!("source: {}\nloop: true\ndetect: {{ minimal_duration: 1s }}\n{record}", still.path.display()),
        )
        .start();
    daemon.wait_for_state("yard", "stopped", secs(60));
    daemon.wait_for_recording("yard", secs(20), |row| row.complete);
    (daemon, moving)
}

fn event_of(daemon: &Daemon, camera: &str) -> Option<Value> {
    daemon.get(&format!("/api/events?camera={camera}"))["events"].get(0).cloned()
}

#[test]
fn events_appear_with_their_pictures_and_are_found_kept_and_deleted() {
    let (daemon, clip) = start();
    let event = event_of(&daemon, "yard").expect("something moved");
    let recording = daemon.recordings("yard").remove(0);
    let held = read_frames(&daemon.archive().join(&recording.path));
    let first = held[0].number;
    let mut browser = Chromium::start();
    browser.resize(1024, 768);
    browser.open(&daemon.url("/events"));

    // The picture is a keyframe of the motion, of the event and no other, small.
    let shown = on_page(&mut browser, "return picture(row('yard').querySelector('img'));");
    let motion = &clip.motion_frames()[0];
    let number = shown["number"].as_u64().unwrap() as u32;
    assert!(number.is_multiple_of(clip.gop) && (motion.start..=motion.end).contains(&number), "{shown} of {motion:?}");
    assert_eq!((&shown["width"], &shown["height"]), (&json!(320), &json!(180)));
    // That of any other moment is the keyframe at or before it.
    for ms in [0, 900, 1_100, 3_500] {
        let at = stamp(recording.start + TimeDelta::milliseconds(ms));
        let shown = on_page(&mut browser, &format!("return load('/api/cameras/yard/thumbnail.jpg?at={at}');"));
        let expected = first + (ms as u32 / 1000) * clip.gop;
        assert_eq!(shown["number"], expected, "{ms} ms after the start");
    }
    let path = format!("/api/recordings/{}/thumbnail.jpg", recording.id);
    let shown = on_page(&mut browser, &format!("return load('{path}');"));
    let trigger = first + (recording.pre_alarm_s.unwrap() * 15.0).round() as u32;
    assert_eq!(shown["number"], trigger.next_multiple_of(clip.gop), "the first keyframe after the trigger");
    let (_, headers, _) = daemon.request("GET", &path, &[]);
    let etag = &headers.iter().find(|(name, _)| name == "etag").expect("a closed file does not change").1;
    assert_eq!(daemon.request("GET", &path, &[("If-None-Match", etag)]).0, 304);

    // What happens appears by itself, and gets its length and its picture when it is over.
    assert_eq!(on_page(&mut browser, "return rows().length;"), 1);
    assert_eq!(daemon.post("/api/cameras/gate/trigger").0, 202);
    let words = on_page(
        &mut browser,
        "await until('the new event', () => row('gate') == rows()[0]);
         await until('its end', () => row('gate').querySelector('[data-do=delete]'));
         await picture(await until('its picture', () => row('gate').querySelector('img')));
         return [row('gate').innerText, document.querySelector('#news').textContent];",
    );
    assert!(words[0].as_str().unwrap().contains("By hand"), "{words}");
    assert!(words[1].as_str().unwrap().contains("gate"), "whoever listens is told: {words}");

    // Which: by the form, with times of the reader's own.
    let found = |browser: &mut Chromium, fill: &str| {
        browser.open(&daemon.url("/events"));
        on_page(
            browser,
            &format!(
                "const form = document.querySelector('#filter');
                 const local = text => {{ const at = new Date(text); at.setMinutes(at.getMinutes() - at.getTimezoneOffset()); return at.toISOString().slice(0, 19); }};
                 {fill};
                 const data = new FormData(form);
                 return new URLSearchParams(data).toString();"
            ),
        )
        .as_str()
        .unwrap()
        .to_owned()
    };
    for (fill, wanted) in [
        ("form.cause.value = 'manual'".to_owned(), vec!["gate"]),
        ("form.camera.value = 'yard'".to_owned(), vec!["yard"]),
        ("form.zone.value = 'nowhere'".to_owned(), vec![]),
        (format!("form.to.value = local('{}')", stamp(recording.end.unwrap())), vec!["yard"]),
        (format!("form.from.value = local('{}')", stamp(recording.end.unwrap() + TimeDelta::seconds(2))), vec!["gate"]),
        ("form.min_s.value = '5'".to_owned(), vec![]),
    ] {
        let query = found(&mut browser, &fill);
        browser.open(&daemon.url(&format!("/events?{query}")));
        let cameras = on_page(&mut browser, "return rows().map(row => row.dataset.camera);");
        assert_eq!(cameras, json!(wanted), "{query}");
    }
    let says = on_page(&mut browser, "return document.querySelector('#more').innerText;");
    assert!(says.as_str().unwrap().contains("No event fits"), "{says}");

    // By the keyboard: kept, and then not deleted until that is taken back.
    browser.open(&daemon.url("/events"));
    let there = |recording: &RecordingRow| daemon.archive().join(&recording.path).exists();
    for _ in 0..2 {
        browser.press("j");
    }
    assert_eq!(on_page(&mut browser, "return document.activeElement.closest('.event').dataset.camera;"), "yard");
    browser.press("s");
    on_page(&mut browser, "await until('the mark', () => row('yard').querySelector('.event-kept'));");
    assert_eq!(event_of(&daemon, "yard").unwrap()["protected"], true);
    browser.press("x");
    on_page(&mut browser, "(await until('the question', () => named('Delete'))).click();");
    on_page(
        &mut browser,
        "await until('why not', () => document.querySelector('.toast.bad')?.innerText.includes('protected'));",
    );
    assert!(there(&recording) && event_of(&daemon, "yard").is_some());
    on_page(
        &mut browser,
        "row('yard').querySelector('[data-do=protect]').click();
         await until('no mark', () => !row('yard').querySelector('.event-kept'));
         row('yard').querySelector('[data-do=delete]').click();
         (await until('the question', () => named('Cancel'))).click();
         await until('no question', () => !document.querySelector('dialog'));",
    );
    assert!(there(&recording), "whoever cancels deletes nothing");
    on_page(
        &mut browser,
        "row('yard').querySelector('[data-do=delete]').click();
         (await until('the question', () => named('Delete'))).click();
         await until('it to be gone', () => !row('yard'));",
    );
    assert!(!there(&recording) && event_of(&daemon, "yard").is_none());
    assert_eq!(daemon.recordings("yard").len(), 0);
    assert_eq!(event["recordings"], json!([recording.id]));

    // Whoever only looks can change nothing. The page would lead to the login by itself meanwhile.
    browser.open("about:blank");
    let user = |name: &str, role: &str| json!({"name": name, "password": PASSWORD, "role": role}).to_string();
    let as_json = [("Content-Type", "application/json")];
    assert_eq!(daemon.send("POST", "/api/users", &as_json, &user("anna", "admin")).0, 201);
    let log_in = |browser: &mut Chromium, name: &str| {
        browser.open(&daemon.url("/login?next=/events"));
        browser.evaluate(&format!(
            "fetch('/api/login', {{method: 'POST', headers: {{'Content-Type': 'application/json'}},
                body: JSON.stringify({{user: '{name}', password: '{PASSWORD}'}})}}).then(answer => answer.status)"
        ))
    };
    assert_eq!(log_in(&mut browser, "anna"), 204);
    let added = on_page(
        &mut browser,
        &format!(
            "return fetch('/api/users', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: '{}'}}).then(answer => answer.status);",
            user("bert", "viewer")
        ),
    );
    assert_eq!(added, 201);
    assert_eq!(log_in(&mut browser, "bert"), 204);
    browser.open(&daemon.url("/events"));
    let seen = on_page(
        &mut browser,
        "await picture(row('gate').querySelector('img'));
         const tools = [...row('gate').querySelectorAll('.event-tools > *')].map(tool => tool.textContent);
         const refused = (await fetch('/api/events/' + row('gate').dataset.event, {method: 'DELETE'})).status;
         return {tools, refused};",
    );
    assert_eq!(seen, json!({"tools": ["Play", "Download", "Copy link"], "refused": 403}));
}

#[test]
fn a_page_full_of_pictures_harms_nobody_who_records() {
    let clip = Clip::spec().size(1280, 720).seconds(20.0).gop_seconds(1.0).motion(6.0, 8.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let daemon = Daemon::builder()
        .camera(
            "yard",
            &format!(
                "source: {}\ndetect: {{ warm_up: 1s, minimal_duration: 1s }}\nrecord: {{ mode: continuous, max_file: 3s }}\n",
                server.url("yard")
            ),
        )
        .start();
    daemon.wait_for_recording("yard", secs(60), |row| row.complete);
    assert_eq!(daemon.post("/api/cameras/yard/trigger").0, 202);
    let event = wait_for("an event whose recordings are closed", secs(60), || {
        let event = event_of(&daemon, "yard").filter(|event| !event["end"].is_null())?;
        let ids = event["recordings"].as_array()?.clone();
        let is_closed = |id: &Value| daemon.recordings("yard").iter().any(|row| json!(row.id) == *id && row.complete);
        (!ids.is_empty() && ids.iter().all(is_closed)).then_some(event)
    });
    let path = format!("/api/events/{}/thumbnail.jpg", event["id"]);
    let (_, headers, picture) = daemon.request("GET", &path, &[]);
    let etag = headers.into_iter().find(|(name, _)| name == "etag").expect("a closed file does not change").1;
    // As many pictures as a page has, at once and made anew each time, by more connections than a browser opens.
    let ask_all = |headers: &[(&str, &str)]| -> Vec<(u16, usize)> {
        std::thread::scope(|scope| {
            let askers: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        let ask = |_| {
                            let (status, _, body) = daemon.request("GET", &path, headers);
                            (status, body.len())
                        };
                        (0..5).map(ask).collect::<Vec<_>>()
                    })
                })
                .collect();
            askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
        })
    };
    assert_eq!(ask_all(&[]), vec![(200, picture.len()); 100]);
    assert_eq!(ask_all(&[("If-None-Match", &etag)]), vec![(304, 0); 100], "who has them is answered without a picture");
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    assert!(threads < 60, "{threads} threads");
    let before = daemon.recordings("yard").len();
    wait_for("more recordings", secs(30), || (daemon.recordings("yard").len() > before + 1).then_some(()));
    assert_eq!(daemon.metric("tarsier_packets_dropped_total", "yard"), Some(0.0));
    assert_eq!(daemon.gaps("yard"), Vec::<Value>::new());
    let files: Vec<_> = daemon.recordings("yard").into_iter().filter(|row| row.complete).collect();
    let frames: Vec<Frame> = files.iter().flat_map(|row| read_frames(&daemon.archive().join(&row.path))).collect();
    assert!(
        frames.windows(2).all(|pair| pair[1].number == (pair[0].number + 1) % clip.frames),
        "no picture is missing"
    );
}

#[test]
fn the_timeline_shows_the_picture_of_the_moment_that_is_pointed_at() {
    let (daemon, clip) = start();
    let recording = daemon.recordings("yard").remove(0);
    let first = read_frames(&daemon.archive().join(&recording.path))[0].number;
    let mut browser = Chromium::start();
    browser.resize(1024, 768);
    // A few seconds around the recording.
    let middle = recording.start + (recording.end.unwrap() - recording.start) / 2;
    browser.open(&daemon.url(&format!("/timeline#camera=yard&at={}", stamp(middle))));
    let strip = on_page(
        &mut browser,
        "await until('the strip', () => document.querySelector('[data-camera=yard][data-loaded]'));
         for (let n = 0; n < 8; n++) document.dispatchEvent(new KeyboardEvent('keydown', {key: '+', bubbles: true}));
         await new Promise(done => setTimeout(done, 1000));
         window.strip = document.querySelector('[data-camera=yard] canvas');
         window.canvas = strip.getBoundingClientRect();
         strip.scrollIntoView({block: 'end'});
         const box = strip.getBoundingClientRect();
         return {left: box.left, top: box.top, width: box.width, height: box.height};",
    );
    let at = |share: f64| {
        let number = |key: &str| strip[key].as_f64().unwrap();
        (number("left") + share * number("width"), number("top") + number("height") / 2.0)
    };
    let seen = |browser: &mut Chromium| {
        on_page(
            browser,
            "const card = document.querySelector('#preview');
             const image = card.querySelector('img');
             await until('the picture of the moment', () => !card.hidden && image.matches('.is-there:not(.is-old)'));
             const found = await picture(image);
             return {...found, at: new URL(image.src).searchParams.get('at'), words: card.innerText};",
        )
    };
    let check = |shown: &Value| {
        let moment: DateTime<Utc> = shown["at"].as_str().unwrap().parse().unwrap();
        let ms = (moment - recording.start).num_milliseconds() as u32;
        assert_eq!(shown["number"], first + ms / 1000 * clip.gop, "{ms} ms after the start: {shown}");
        ms
    };
    let mut places = Vec::new();
    // Over the strip and back: few of these places are asked for, one after the other.
    for n in 0..40 {
        let (x, y) = at(0.4 + f64::from(n % 20) * 0.01);
        browser.point_at(x, y);
    }
    places.push(check(&seen(&mut browser)));
    let (x, y) = at(0.44);
    browser.point_at(x, y);
    places.push(check(&seen(&mut browser)));
    assert_ne!(places[0], places[1]);
    let asked = on_page(
        &mut browser,
        "return performance.getEntriesByType('resource').filter(entry => entry.name.includes('thumbnail'))
            .map(entry => [entry.startTime, entry.responseEnd]);",
    );
    let asked: Vec<(f64, f64)> = serde_json::from_value(asked).unwrap();
    assert!((2..20).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|two| two[0].1 <= two[1].0), "never two at a time: {asked:?}");
    // Where nothing is recorded it says so, and asks nothing.
    let (x, y) = at(0.01);
    browser.point_at(x, y);
    let words = on_page(
        &mut browser,
        "const card = document.querySelector('#preview');
         await until('nothing', () => card.innerText.includes('not recorded'));
         await new Promise(done => setTimeout(done, 500));
         return performance.getEntriesByType('resource').filter(entry => entry.name.includes('thumbnail')).length;",
    );
    assert_eq!(words, asked.len());
    browser.point_at(1.0, 1.0);
    assert_eq!(browser.evaluate("document.querySelector('#preview').hidden"), true);
    // The keyboard's place has it too.
    browser.press("Tab");
    on_page(&mut browser, "strip.focus({focusVisible: true});");
    check(&seen(&mut browser));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
