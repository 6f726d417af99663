//! Live pictures: what viewers get over the WebSocket, and what the wall shows of it in Chromium.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::*;

/// JavaScript: `tile(name)`, `picture(name)` (its video or canvas, once it shows something) and `numberOf(name)`.
const WALL: &str = r"
    const tile = name => document.getElementById(name);
    const until = async (what, is) => {
        for (let tries = 0; tries < 600; tries++) {
            const found = await is();
            if (found) return found;
            await new Promise(done => setTimeout(done, 50));
        }
        throw new Error('waited for ' + what + '; the wall is ' + document.querySelector('#wall').outerHTML);
    };
    const picture = name => until('a picture of ' + name, () => {
        const shown = tile(name)?.querySelector('video, canvas');
        const there = shown && (shown.localName == 'video' ? shown.readyState >= 2 : shown.dataset.shown || tile(name).dataset.shows);
        if (!there) return null;
        shown.videoWidth ??= shown.width;
        shown.videoHeight ??= shown.height;
        return shown;
    });
    let v;
    const numberOf = async name => { v = await picture(name); v.videoWidth ||= v.width; return number(); };
";

#[track_caller]
fn on_wall(browser: &mut Chromium, script: &str) -> Value {
    browser.evaluate(&format!("(async () => {{ {FRAME_NUMBER} {WALL} {script} }})()"))
}

fn continuous(url: &str) -> String {
    format!("source: {url}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous }}\n")
}

/// The number of the newest keyframe that the camera's ring holds.
fn newest_keyframe(daemon: &Daemon, camera: &str) -> u32 {
    let (status, _, jpeg) = daemon.request("GET", &format!("/api/cameras/{camera}/snapshot.jpg"), &[]);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&jpeg));
    let path = daemon.folder().join(format!("{camera}.jpg"));
    std::fs::write(&path, jpeg).unwrap();
    read_frames(&path)[0].number
}

/// Takes what a viewer gets until `enough` of the messages so far; gives the file that they make.
#[track_caller]
fn save(daemon: &Daemon, socket: &mut WebSocket, name: &str, enough: impl Fn(usize, usize) -> bool) -> PathBuf {
    let (mut messages, mut bytes) = (0, Vec::new());
    while !enough(messages, bytes.len()) {
        let message = socket.message().expect("pictures go on");
        if messages == 0 {
            assert_eq!((&message[4..8], bytes.len()), (&b"ftyp"[..], 0), "the description comes first");
        }
        messages += 1;
        bytes.extend_from_slice(&message);
    }
    let path = daemon.folder().join(format!("{name}.mp4"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_viewer_gets_a_file_that_begins_at_the_newest_keyframe() {
    let long = Clip::spec().seconds(40.0).gop_seconds(20.0).make();
    let reordered = Clip::spec().seconds(20.0).gop_seconds(2.0).bframes(2).audio(AudioCodec::Aac).make();
    let server = RtspServer::start(&[Mount::new("yard", &long), Mount::new("gate", &reordered)]);
    let daemon = Daemon::builder()
        .camera("yard", &continuous(&server.url("yard")))
        .camera("gate", &continuous(&server.url("gate")))
        .start();
    for (camera, clip, mime) in
        [("yard", &long, "video/mp4; codecs=\"avc1."), ("gate", &reordered, "video/mp4; codecs=\"avc1.")]
    {
        let status = daemon.wait_for_camera(camera, secs(30), |camera| camera["mime"].is_string());
        assert!(status["mime"].as_str().unwrap().starts_with(mime), "{status}");
        // A GOP that goes on for a while: the viewer gets all of it at once.
        let sent = daemon.metric("tarsier_packets_total", camera).unwrap();
        wait_for("some of a GOP", secs(30), || {
            (daemon.metric("tarsier_packets_total", camera)? > sent + 25.0).then_some(())
        });
        let keyframe = newest_keyframe(&daemon, camera);
        let mut socket = WebSocket::open(daemon.address(), &format!("/api/cameras/{camera}/live"), 0);
        let path = save(&daemon, &mut socket, camera, |messages, _| messages > 40);
        let mut frames = read_frames(&path);
        // What ends anywhere may end before a picture that is shown earlier.
        frames.truncate(frames.len() - 3);
        assert_eq!(frames[0].number % clip.gop, 0, "it begins at a keyframe");
        assert!((frames[0].number + clip.frames - keyframe) % clip.frames < clip.gop * 2, "and no older one");
        assert_unbroken(&frames, clip.frames);
        assert!(frames.len() > 30, "{} frames", frames.len());
        assert_eq!(decodes_cleanly(&path), Ok(()));
        let streams: Vec<Value> =
            probe(&path)["streams"].as_array().unwrap().iter().map(|stream| stream["codec_name"].clone()).collect();
        let with_sound = status["mime"].as_str().unwrap().contains("mp4a.40.2");
        assert_eq!(streams, if camera == "gate" { vec!["h264", "aac"] } else { vec!["h264"] });
        assert_eq!(with_sound, camera == "gate", "{status}");
    }
    let long_keyframe = newest_keyframe(&daemon, "yard");
    let mut first = WebSocket::open(daemon.address(), "/api/cameras/yard/live", 0);
    let path = save(&daemon, &mut first, "first", |messages, _| messages == 2);
    let shown: Vec<u32> = read_frames(&path).iter().map(|frame| frame.number).collect();
    assert_eq!(shown, [long_keyframe], "the first picture is the newest keyframe, alone and at once");
}

#[test]
fn a_viewer_that_stalls_goes_on_at_a_keyframe_and_harms_nobody() {
    // Noise, of which a second is more than a connection's buffers hold; a keyframe each second.
    let noise = "testsrc2=size=640x360:rate=15,noise=alls=60:allf=t";
    let encoding = "-t 10 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 15 -b:v 6M -maxrate 6M -bufsize 1M";
    let arguments = [&["-f", "lavfi", "-i", noise], &encoding.split(' ').collect::<Vec<_>>()[..]].concat();
    let clip = Clip::drawn_by_ffmpeg("noise", &arguments);
    let server = RtspServer::start(&[Mount::of_file("yard", &clip, 15)]);
    let units = vcl_units(&clip, Codec::H264);
    let mut daemon = Daemon::builder().camera("yard", &continuous(&server.url("yard"))).start();
    daemon.wait_for_camera("yard", secs(30), |camera| camera["mime"].is_string());
    let mut stalled = WebSocket::open(daemon.address(), "/api/cameras/yard/live", 16 << 10);
    let mut other = WebSocket::open(daemon.address(), "/api/cameras/yard/live", 0);
    wait_for("both to look", secs(10), || (daemon.metric("tarsier_viewers", "yard")? == 2.0).then_some(()));
    // The other one looks on for far more than the stalled one's connection holds.
    let seen = save(&daemon, &mut other, "other", |_, bytes| bytes > 4 << 20);
    assert_run_of(&vcl_units(&seen, Codec::H264), &units);

    let seen = save(&daemon, &mut stalled, "stalled", |_, bytes| bytes > 2 << 20);
    let place = |unit| units.iter().position(|other| *other == unit).expect("a unit of the camera's");
    let places: Vec<usize> = vcl_units(&seen, Codec::H264).into_iter().map(place).collect();
    let jumps: Vec<&[usize]> = places.windows(2).filter(|two| two[1] != (two[0] + 1) % units.len()).collect();
    assert_eq!(jumps.len(), 1, "{places:?}");
    assert_eq!(jumps[0][1] % 15, 0, "it went on at a keyframe: {jumps:?}");
    assert_eq!(daemon.metric("tarsier_viewer_skips_total", "yard"), Some(1.0));
    assert_eq!(daemon.metric("tarsier_packets_dropped_total", "yard"), Some(0.0));
    assert_eq!(daemon.gaps("yard"), Vec::<Value>::new());
    drop(other);
    wait_for("one to be gone", secs(20), || (daemon.metric("tarsier_viewers", "yard")? == 1.0).then_some(()));
    assert_eq!(daemon.terminate(secs(5)), Some(0), "nor does it hold up the end");
}

#[test]
fn a_viewer_stays_through_reconnects_and_restarts_and_is_told_of_a_removal() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let daemon = Daemon::builder().camera("yard", &continuous(&server.url("yard"))).start();
    daemon.wait_for_camera("yard", secs(30), |camera| camera["mime"].is_string());
    let mut socket = WebSocket::open(daemon.address(), "/api/cameras/yard/live", 0);
    let is_description = |message: &[u8]| &message[4..8] == b"ftyp";
    assert!(is_description(&socket.message().unwrap()));
    let mut next_stream = |what: &str| {
        while !is_description(&socket.message().unwrap_or_else(|why| panic!("{what}: {why}"))) {}
    };
    server.kick("yard");
    next_stream("after a reconnect");
    daemon.replace_camera("yard", &(continuous(&server.url("yard")) + "retention: { max_age: 3d }\n"));
    next_stream("after a restart");
    daemon.remove_camera("yard");
    let words = loop {
        if let Err(words) = socket.message() {
            break words;
        }
    };
    assert_eq!(words, "camera yard was removed");
}

#[test]
fn what_browsers_cannot_play_comes_as_stills_that_are_made_once() {
    let hevc = Clip::spec().codec(Codec::H265).seconds(20.0).gop_seconds(1.0).make();
    let jpegs = Clip::spec().codec(Codec::Mjpeg).seconds(20.0).make();
    let server = RtspServer::start(&[Mount::new("gate", &hevc)]);
    let camera = MjpegServer::start(&jpegs);
    let daemon = Daemon::builder()
        .camera("gate", &continuous(&server.url("gate")))
        .camera("shed", &continuous(&camera.url()))
        .start();
    let gate = daemon.wait_for_camera("gate", secs(30), |camera| camera["mime"].is_string());
    assert!(gate["mime"].as_str().unwrap().starts_with("video/mp4; codecs=\"hvc1.1.6.L"), "{gate}");
    let shed = daemon.wait_for_camera("shed", secs(30), |camera| camera["codec"] == "mjpeg");
    assert_eq!(shed["mime"], Value::Null);
    let refused =
        daemon.request("GET", "/api/cameras/shed/live", &[("Upgrade", "websocket"), ("Connection", "Upgrade")]);
    assert_eq!(refused.0, 409, "{}", String::from_utf8_lossy(&refused.2));

    for (name, clip, step) in [("gate", &hevc, hevc.gop), ("shed", &jpegs, 1)] {
        let path = format!("/api/cameras/{name}/live.mjpeg");
        let mut viewers = [0, 0].map(|window| WebSocket::open(daemon.address(), &path, window));
        let seen = viewers.each_mut().map(|viewer| {
            [0, 1, 2].map(|at| {
                let file = daemon.folder().join(format!("{name}-{at}.jpg"));
                std::fs::write(&file, viewer.message().unwrap()).unwrap();
                read_frames(&file)[0].number
            })
        });
        for numbers in seen {
            assert!(numbers.iter().all(|number| number % step == 0), "{name}: keyframes: {numbers:?}");
            let rises = numbers
                .windows(2)
                .all(|two| (1..clip.frames / 2).contains(&((two[1] + clip.frames - two[0]) % clip.frames)));
            assert!(rises, "{name}: each is newer than the one before: {numbers:?}");
        }
    }
}

/// Four cameras of all kinds, one that can't be read, and one whose file is wrong.
struct Cameras {
    clips: [(&'static str, Clip); 4],
    server: RtspServer,
    _mjpeg: MjpegServer,
    daemon: Daemon,
}

impl Cameras {
    #[track_caller]
    fn start() -> Self {
        let spec = || Clip::spec().size(640, 360);
        let yard = spec().seconds(40.0).gop_seconds(20.0).make();
        let gate = spec().seconds(20.0).gop_seconds(2.0).bframes(2).audio(AudioCodec::Aac).make();
        let hall = spec().codec(Codec::H265).seconds(20.0).gop_seconds(1.0).make();
        let shed = spec().codec(Codec::Mjpeg).seconds(20.0).make();
        let server =
            RtspServer::start(&[Mount::new("yard", &yard), Mount::new("gate", &gate), Mount::new("hall", &hall)]);
        let mjpeg = MjpegServer::start(&shed);
        let daemon = Daemon::builder()
            .camera("yard", &continuous(&server.url("yard")))
            .camera("gate", &continuous(&server.url("gate")))
            .camera("hall", &continuous(&server.url("hall")))
            .camera("shed", &continuous(&mjpeg.url()))
            .camera("away", "source: rtsp://127.0.0.1:9/live\n")
            .camera("broken", "source: rtsp://127.0.0.1:9/live\nrecrod: {}\n")
            .start();
        for name in ["yard", "gate", "hall", "shed"] {
            daemon
                .wait_for_camera(name, secs(30), |camera| camera["state"] == "running" && camera["recording"] == true);
        }
        daemon.wait_for_state("away", "backoff", secs(30));
        let clips = [("yard", yard), ("gate", gate), ("hall", hall), ("shed", shed)];
        Cameras { clips, server, _mjpeg: mjpeg, daemon }
    }
}

#[test]
fn the_wall_shows_what_the_cameras_show_now() {
    let cameras = Cameras::start();
    let daemon = &cameras.daemon;
    let mut browser = Chromium::start();
    // All tiles are in sight.
    browser.resize(1280, 800);
    let long_keyframe = newest_keyframe(daemon, "yard");
    browser.open(&daemon.url("/"));
    // 20 s from one keyframe to the next: shown before that comes, from the one that was there.
    let shown = on_wall(&mut browser, "return [await numberOf('yard'), performance.now()];");
    let first = shown[0].as_u64().unwrap() as u32;
    println!("a first picture {} ms after the page was asked for", shown[1]);
    let after = (first + 600 - long_keyframe) % 600;
    assert!(after < 300, "picture {first} first, with the newest keyframe {long_keyframe}");
    for (name, clip) in &cameras.clips {
        let is_video = ["yard", "gate"].contains(name);
        let seen = on_wall(
            &mut browser,
            &format!(
                "const seen = [await numberOf('{name}')];
                 await until('new pictures of {name}', async () => {{
                    const now = await numberOf('{name}');
                    if (now != seen.at(-1)) seen.push(now);
                    return seen.length > 4;
                 }});
                 const lag = v.buffered?.length ? v.buffered.end(v.buffered.length - 1) - v.currentTime : 0;
                 return {{
                    seen, lag, kind: v.localName, shows: tile('{name}').dataset.shows,
                    badge: tile('{name}').querySelector('.badge').textContent,
                    rec: getComputedStyle(tile('{name}').querySelector('.recording')).display,
                 }};"
            ),
        );
        let numbers: Vec<u64> = seen["seen"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let half = u64::from(clip.frames) / 2;
        let rises = numbers.windows(2).all(|two| (two[1] + 2 * half - two[0]) % (2 * half) < half);
        assert!(rises, "{name}: each is newer than the one before: {numbers:?}");
        let (kind, shows, badge) = match is_video {
            true => ("video", "video", "Live"),
            false if *name == "shed" => ("canvas", "stills", "Live"),
            false => ("canvas", "stills", "Live, stills"),
        };
        assert_eq!((&seen["kind"], &seen["shows"], &seen["badge"]), (&kind.into(), &shows.into(), &badge.into()));
        assert_eq!(seen["rec"], "flex", "it is marked as recording: {seen}");
        assert!(seen["lag"].as_f64().unwrap() < 1.5, "{name}: near the newest picture: {seen}");
        let viewers = daemon.metric("tarsier_viewers", name);
        assert_eq!(viewers, Some(1.0), "{name}");
    }
    // The camera's newest picture is this one; asking for both takes time too, so this is more than the lag is.
    let shown = on_wall(&mut browser, "return numberOf('yard');").as_u64().unwrap();
    let sent = cameras.server.stats("yard").sent;
    println!("yard is shown {} pictures of 15 a second behind its camera", (sent + 599 - shown) % 600);
    let trouble = on_wall(
        &mut browser,
        "const told = name => [tile(name).querySelector('.badge').textContent, tile(name).querySelector('.tile-error').innerText];
         return {away: told('away'), broken: told('broken'), summary: document.querySelector('#summary').innerText};",
    );
    assert_eq!(trouble["away"][0], "No connection", "{trouble}");
    assert!(trouble["away"][1].as_str().unwrap().contains("127.0.0.1:9"), "{trouble}");
    assert_eq!(trouble["broken"][0], "Config error", "{trouble}");
    assert!(trouble["broken"][1].as_str().unwrap().contains("did you mean"), "{trouble}");
    assert!(trouble["summary"].as_str().unwrap().starts_with("4 of 6 live"), "{trouble}");

    // Old pictures are let go up to a keyframe, so the page must know one: a second of gate's is 15 pictures, one of
    // 30 a keyframe, and the first of all.
    let keys = on_wall(
        &mut browser,
        "const {beginsWithKey} = await import('/assets/live.js');
         const socket = new WebSocket(`ws://${location.host}/api/cameras/gate/live`);
         socket.binaryType = 'arraybuffer';
         const found = [];
         await new Promise(done => socket.onmessage = ({data}) => found.push(beginsWithKey(new Uint8Array(data))) > 60 && done());
         socket.close();
         return [found[0], found[1], found.filter(is => is).length];",
    );
    let count = keys[2].as_u64().unwrap();
    assert_eq!((&keys[0], &keys[1]), (&false.into(), &true.into()), "the description, then a keyframe: {keys}");
    assert!((2..=4).contains(&count), "of about 60 pictures: {keys}");
    let part = on_wall(
        &mut browser,
        "const still = new Image();
         still.src = '/api/cameras/hall/live.mjpeg';
         await until('a part of the multipart answer', () => still.naturalWidth);
         const width = still.naturalWidth;
         still.src = '';
         return width;",
    );
    assert_eq!(part, 640, "an <img> shows the stills too");

    // Keys: from tile to tile, one large, which leaves the others without a viewer, and back.
    let focus = "return document.activeElement.closest('.tile')?.id ?? null;";
    browser.press("ArrowRight");
    assert_eq!(on_wall(&mut browser, focus), "away");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    assert_eq!(on_wall(&mut browser, focus), "gate");
    browser.press("Enter");
    on_wall(&mut browser, "await until('gate large', () => tile('gate').offsetWidth > innerWidth * 0.9);");
    let alone = || ["yard", "hall", "shed"].iter().all(|name| daemon.metric("tarsier_viewers", name) == Some(0.0));
    wait_for("the others to cost nothing", secs(20), || alone().then_some(()));
    assert_eq!(daemon.metric("tarsier_viewers", "gate"), Some(1.0));
    browser.press("Escape");
    let back = || ["yard", "hall", "shed"].iter().all(|name| daemon.metric("tarsier_viewers", name) == Some(1.0));
    wait_for("the others to be back", secs(20), || back().then_some(()));
    browser.press("?");
    let card = on_wall(&mut browser, "return document.querySelector('dialog').innerText;");
    assert!(card.as_str().unwrap().contains("Whole screen"), "{card}");
    browser.press("Escape");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // A camera that is added and one that is removed come and go by themselves.
    daemon.write_camera("attic", "source: rtsp://127.0.0.1:9/live\n");
    daemon.remove_camera("broken");
    on_wall(&mut browser, "await until('attic, and broken gone', () => tile('attic') && !tile('broken'));");
    let order = on_wall(&mut browser, "return [...document.querySelectorAll('.tile')].map(tile => tile.id);");
    assert_eq!(order, json!(["attic", "away", "gate", "hall", "shed", "yard"]));
}

/// JavaScript: `wall()` is what the tiles do: names of those in sight, of those with a decoder (a video with a source,
/// or a canvas that gets stills), and how many sockets are open.
const COUNT: &str = r"
    const wall = () => {
        const tiles = [...document.querySelectorAll('.tile')];
        const names = is => tiles.filter(is).map(tile => tile.id);
        return {
            sight: names(tile => { const box = tile.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; }),
            decoders: names(tile => tile.querySelector('video[src]')),
            shown: names(tile => tile.dataset.shows),
            sockets: sockets.filter(socket => socket.readyState < 2).length,
        };
    };
";

/// JavaScript for before the page's own: `sockets` are all that it opens.
const SOCKETS: &str = "window.sockets = []; window.WebSocket = class extends WebSocket {
    constructor(...all) { super(...all); window.sockets.push(this); }
};";

#[test]
fn of_sixty_four_cameras_only_those_in_sight_cost_anything() {
    let spec = || Clip::spec().size(320, 180).fps(5).seconds(20.0).gop_seconds(1.0);
    let clips = [spec().make(), spec().codec(Codec::H265).make()];
    let server = RtspServer::start(&[
        Mount::new("one", &clips[0]),
        Mount::new("two", &clips[0]),
        Mount::new("three", &clips[0]),
        Mount::new("four", &clips[1]),
    ]);
    let names: Vec<String> = (0..64).map(|n| format!("camera-{n:02}")).collect();
    let mut builder = Daemon::builder();
    for (n, name) in names.iter().enumerate() {
        let url = server.url(["one", "two", "three", "four"][n % 4]);
        let yaml = format!("source: {url}\ndetect: {{ enabled: false }}\nrecord: {{ mode: off }}\n");
        builder = builder.camera(name, &yaml);
    }
    let daemon = builder.start();
    for name in &names {
        daemon.wait_for_state(name, "running", secs(60));
    }
    let viewers = || -> Vec<&String> {
        let (_, metrics) = daemon.get_text("/metrics");
        let is_watched = |name: &&String| {
            let line = metrics.lines().find(|line| line.starts_with(&format!("tarsier_viewers{{camera=\"{name}\"}}")));
            line.expect("a metric of each camera").ends_with(" 1")
        };
        names.iter().filter(is_watched).collect()
    };
    let mut browser = Chromium::start();
    browser.before_scripts(SOCKETS);
    for (width, height, place) in [
        (1280, 760, "0"),
        (1280, 760, "document.body.scrollHeight"),
        (390, 844, "document.body.scrollHeight / 2"),
        (2560, 1600, "0"),
    ] {
        browser.resize(width, height);
        let is_first = place == "0";
        if is_first {
            browser.open(&daemon.url("/"));
        }
        browser.evaluate(&format!("scrollTo(0, {place})"));
        let seen = on_wall(
            &mut browser,
            &format!(
                "{COUNT} return until('pictures of all in sight, and of no other', () => {{
                    const now = wall();
                    const shows = now.sight.every(name => now.shown.includes(name));
                    const videos = now.sight.filter(name => tile(name).querySelector('video'));
                    const is = shows && now.sockets == now.sight.length && `${{now.decoders}}` == `${{videos}}`;
                    return is && now;
                }}).catch(error => {{ throw new Error(JSON.stringify(wall())); }});"
            ),
        );
        let sight: Vec<String> = serde_json::from_value(seen["sight"].clone()).unwrap();
        assert!((4..=64).contains(&sight.len()), "{sight:?}");
        wait_for("a viewer each, and none of the others", secs(20), || {
            (viewers() == sight.iter().collect::<Vec<_>>()).then_some(())
        });
        println!("{} of 64 in sight at {width} x {height}", sight.len());
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_light(&daemon, &mut browser);
}

/// JavaScript: the least contrast of visible text on what is behind it, by WCAG's formula, and what it is of.
const CONTRAST: &str = r"
    const parse = text => {
        const parts = text.match(/[\d.]+/g).map(Number);
        const scale = text.startsWith('color(') ? 255 : 1;
        return {rgb: parts.slice(0, 3).map(part => part * scale), alpha: parts[3] ?? 1};
    };
    const over = (top, bottom) => top.rgb.map((part, at) => part * top.alpha + bottom[at] * (1 - top.alpha));
    const luminance = rgb => rgb.map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const contrast = (a, b) => {
        const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
        return (light + 0.05) / (dark + 0.05);
    };
    // What may be behind a text: the colours of what it lies in, down to a picture, which may be black or white.
    const grounds = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (at.matches('.tile') && at.querySelector('video, canvas, img')) {
                return [[0, 0, 0], [255, 255, 255]].map(picture => layers.reduceRight((below, layer) => over(layer, below), picture));
            }
            layers.push(colour);
            if (colour.alpha == 1) break;
        }
        return [layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255])];
    };
    const texts = [...document.querySelectorAll('body *')].filter(element =>
        element.checkVisibility({visibilityProperty: true}) && !element.closest('.hidden, .skip, noscript')
        && [...element.childNodes].some(node => node.nodeType == 3 && node.textContent.trim()));
    const found = texts.map(element => {
        const ink = parse(getComputedStyle(element).color);
        return [Math.min(...grounds(element).map(ground => contrast(over(ink, ground), ground))),
                `${element.localName}.${element.className}: ${element.textContent.trim().slice(0, 40)}`];
    });
    found.sort((a, b) => a[0] - b[0]);
    const worst = {texts: found.length, least: found[0][0], of: found[0][1]};
";

/// JavaScript: what somebody who does not see the page, or only has a keyboard, would miss.
const FAULTS: &str = r"
    const shown = selector => [...document.querySelectorAll(selector)].filter(it => it.checkVisibility({visibilityProperty: true}) && !it.closest('noscript'));
    const faults = [];
    const say = (what, it) => faults.push(`${what}: ${it.outerHTML.slice(0, 120)}`);
    const words = ids => (ids ?? '').split(' ').map(id => document.getElementById(id)?.textContent ?? '').join('').trim();
    const name = it => it.getAttribute('aria-label') || words(it.getAttribute('aria-labelledby')) || [...(it.labels ?? [])].map(label => label.textContent).join('').trim()
        || (it.matches('input, select, textarea, [role=region]') ? '' : it.textContent.trim() || it.querySelector('img')?.alt);
    for (const it of shown('a, button, input:not([type=hidden]), select, textarea, summary, video[controls], [tabindex]:not(main, video), [role=region]')) if (!name(it) && it.getAttribute('aria-hidden') != 'true') say('no name', it);
    for (const it of shown('canvas, svg')) if (it.getAttribute('aria-hidden') != 'true' && !name(it)) say('no words', it);
    for (const it of shown('img')) if (!it.hasAttribute('alt')) say('no alt', it);
    const ids = [...document.querySelectorAll('[id]')].map(it => it.id);
    ids.filter((id, n) => ids.indexOf(id) != n).forEach(id => faults.push(`twice: ${id}`));
    for (const it of document.querySelectorAll('[aria-describedby], [aria-labelledby], label[for]')) {
        const of = `${it.getAttribute('aria-describedby') ?? ''} ${it.getAttribute('aria-labelledby') ?? ''} ${it.getAttribute('for') ?? ''}`;
        for (const id of of.split(' ').filter(Boolean)) if (!document.getElementById(id)) say(`leads nowhere (${id})`, it);
    }
    if (document.querySelectorAll('h1').length != 1) faults.push(`${document.querySelectorAll('h1').length} h1`);
    let level = 1;
    for (const it of shown('h2, h3, h4')) {
        const is = Number(it.localName[1]);
        if (is > level + 1) say('a level is left out', it);
        level = is;
    }
    if (!document.documentElement.lang || !document.title) faults.push('no language or no title');
    const can = shown('a[href], button:not(:disabled), input:not([type=hidden]):not(:disabled), select, textarea, summary, [tabindex]').filter(it => it.tabIndex >= 0);
    for (const it of can) {
        it.focus({focusVisible: true, preventScroll: true});
        if (document.activeElement != it) { say('takes no focus', it); continue; }
        const marks = at => { const style = getComputedStyle(at); return style.outlineStyle != 'none' && parseFloat(style.outlineWidth) >= 2; };
        if (![it, it.closest('.editor-text')].filter(Boolean).some(marks)) say('focus is not seen', it);
    }
    document.activeElement.blur();
    if (innerWidth < 600) for (const it of shown('main :is(.button, button, input:not([type=checkbox], [type=range]), select, summary), .bar :is(a, button)')) {
        const box = it.getBoundingClientRect();
        if (box.height < 43.5 || box.width < 43.5) say(`${box.width} x ${box.height} is too small to touch`, it);
    }
";

#[test]
fn the_pages_are_light_fit_a_phone_and_can_be_read_in_both_themes() {
    let cameras = Cameras::start();
    let daemon = &cameras.daemon;
    let mut browser = Chromium::start();
    for (scheme, width, height) in [("dark", 1440, 900), ("light", 1280, 760), ("light", 390, 844), ("dark", 390, 844)]
    {
        browser.resize(width, height);
        browser.prefer(scheme);
        for path in [
            "/",
            "/system",
            "/cameras",
            "/cameras/yard",
            "/cameras/yard/tune",
            "/cameras/broken",
            "/timeline",
            "/events",
            "/users",
            "/login",
        ] {
            browser.open(&daemon.url(path));
            if path == "/" {
                // A phone shows some at a time.
                let seen = if width < 600 { "['gate']" } else { "['gate', 'hall', 'shed', 'yard']" };
                on_wall(&mut browser, &format!("for (const name of {seen}) await picture(name);"));
            }
            let page = browser.evaluate(&format!("(async () => {{ {CONTRAST} return {{worst, wide: document.documentElement.scrollWidth - innerWidth}}; }})()"));
            assert!(page["worst"]["texts"].as_u64().unwrap() > 5, "{path}: {page}");
            assert!(page["worst"]["least"].as_f64().unwrap() >= 4.5, "{path} {scheme}: {page}");
            assert!(page["wide"].as_i64().unwrap() <= 0, "{path} at {width}: {page}");
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
            if path == "/cameras" {
                let hidden = "(it => it.scrollWidth - it.clientWidth)(document.querySelector('#cameras .scroll'))";
                assert_eq!(browser.evaluate(hidden), 0, "all of the list is seen at {width}");
            }
            if width == 1440 || scheme == "light" {
                let faults = browser.evaluate(&format!("(async () => {{ {FAULTS} return faults; }})()"));
                assert_eq!(faults, json!([]), "{path} at {width}");
            }
        }
    }
    let found = browser.evaluate(&format!(
        "(async () => {{ document.body.append(document.createElement('button')); {FAULTS} return faults; }})()"
    ));
    assert!(found[0].as_str().is_some_and(|fault| fault.starts_with("no name: <button>")), "a fault is found: {found}");
    // Whoever touches finds 44 pixels; who came by hand to a theme finds it again.
    browser.open(&daemon.url("/"));
    let small = browser.evaluate(
        "[...document.querySelectorAll('a, button, input')].filter(it => it.checkVisibility() && !it.matches('.skip'))
            .map(it => [it.outerHTML.slice(0, 80), it.getBoundingClientRect()])
            .filter(([, box]) => box.width < 43.5 || box.height < 43.5).map(([of, box]) => [of, box.width, box.height])",
    );
    assert_eq!(small, json!([]), "too small to touch");
    let theme = "document.documentElement.dataset.theme ?? 'system'";
    browser.evaluate("document.querySelector('#theme-next').click(), document.querySelector('#theme-next').click()");
    assert_eq!(browser.evaluate(theme), "dark");
    browser.open(&daemon.url("/cameras"));
    assert_eq!(browser.evaluate(theme), "dark", "chosen by hand, kept");
    assert_eq!(browser.evaluate("getComputedStyle(document.body).colorScheme"), "dark");

    // Who has no camera yet is told how to begin, and sees the first as soon as it is there.
    let empty = Daemon::builder().start();
    browser.open(&empty.url("/"));
    let begins = "document.querySelector('#empty').checkVisibility()";
    assert_eq!(browser.evaluate(begins), true);
    assert_eq!(browser.evaluate("document.querySelector('#empty a').getAttribute('href')"), "/cameras#add");
    empty.write_camera("first", "source: rtsp://127.0.0.1:9/live\n");
    on_wall(&mut browser, "await until('the first camera', () => tile('first'));");
    assert_eq!(browser.evaluate(begins), false);

    // All that a first visit loads.
    browser.open(&daemon.url("/"));
    on_wall(&mut browser, "await picture('gate');");
    assert_light(daemon, &mut browser);
}

/// What the page loaded of the wall has to be little.
#[track_caller]
fn assert_light(daemon: &Daemon, browser: &mut Chromium) {
    let loaded = browser.evaluate(
        "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]
            .map(entry => new URL(entry.name).pathname).filter(path => !path.startsWith('/api/'))",
    );
    let paths: Vec<&str> = loaded.as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    for needed in ["/", "/assets/app.css", "/assets/wall.js", "/assets/live.js"] {
        assert!(paths.contains(&needed), "{needed} in {paths:?}");
    }
    let bytes: usize = paths.iter().map(|path| daemon.request("GET", path, &[]).2.len()).sum();
    assert!(bytes < 100_000, "{bytes} bytes for {paths:?}");
    let ready = browser.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd");
    println!("{bytes} bytes in {} files; interactive after {ready} ms", paths.len());
}
