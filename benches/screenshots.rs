//! The pictures of the pages in the documents, taken anew: `make screenshots`.
//!
//! The cameras are the demo's scene seen in several ways, so that nobody's garden is shown.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Chromium, Clip, Daemon, Mount, RtspServer, secs};

/// No picture is larger, in bytes.
const LARGEST: usize = 300_000;

/// Each camera, and what of the demo's scene it sees.
const VIEWS: &[(&str, &str)] = &[
    ("front-door", "crop=640:360:600:180,scale=1280:720"),
    ("garden", "hflip,eq=saturation=1.3"),
    ("lamp", "crop=640:360:0:200,scale=1280:720,eq=brightness=0.04"),
    ("night", "hue=s=0,eq=brightness=-0.12:contrast=1.3"),
    ("street", "null"),
    ("window", "crop=480:270:620:220,scale=1280:720,eq=gamma=1.2"),
];

/// JavaScript for before a page's own: the recordings of `street` are those of a day, files of ten minutes at a rate that
/// follows the light.
const A_DAY: &str = "
    const asked = window.fetch;
    window.fetch = (address, ...rest) => {
        if (location.pathname !== '/cameras/street' || !address.startsWith('/api/recordings?')) return asked(address, ...rest);
        const step = 600000, last = Math.floor(Date.now() / step);
        const at = time => new Date(time).toISOString();
        const recordings = Array.from({length: 144}, (_, n) => {
            const start = (last - n) * step;
            const light = Math.max(0, Math.sin((start / 3600000 - 6) / 12 * Math.PI));
            const bytes = 75 * (700 + 900 * light + 250 * Math.abs(Math.sin(n * n)));
            return {id: n, camera: 'street', start: at(start), end: at(Math.min(start + step, Date.now())), bytes: bytes * 1000, complete: true};
        });
        return Promise.resolve(new Response(JSON.stringify({recordings, next: null}), {headers: {'Content-Type': 'application/json'}}));
    };
";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scene = root.join("target/test-clips/demo.mp4");
    if !scene.exists() {
        let drawn = Command::new(root.join("deploy/demo-clip.sh")).arg(&scene).status().expect("bash is there");
        assert!(drawn.success(), "the scene is drawn");
    }
    let mut builder = Daemon::builder().camera("shed", "source: rtsp://127.0.0.1:9/live\n");
    for (name, filter) in VIEWS {
        let clip = view(&scene, name, filter);
        let yaml = format!("source: {}\nloop: true\nrecord: {{ mode: continuous, max_file: 10s }}\n", clip.display());
        builder = builder.camera(name, &yaml);
    }
    let daemon = builder.start();
    // Somebody walks by then.
    for name in ["street", "garden"] {
        daemon.wait_for_camera(name, secs(90), |camera| camera["motion"] == true);
    }
    // A recording is over when it is long enough, so that events have their pictures.
    for name in ["street", "garden"] {
        daemon.wait_for_recording(name, secs(90), |recording| recording.complete);
    }
    let mut browser = Chromium::start();
    let shots =
        [("dark", 1120, 700, "wall-dark"), ("light", 1120, 700, "wall-light"), ("dark", 390, 780, "wall-phone")];
    for (scheme, width, height, name) in shots {
        browser.resize(width, height);
        browser.prefer(scheme);
        browser.open(&daemon.url("/"));
        let wanted = if width < 600 { 2 } else { VIEWS.len() };
        browser.evaluate(&format!(
            "new Promise(done => {{
                const look = () => document.querySelectorAll('.is-live').length >= {wanted} ? setTimeout(done, 500) : setTimeout(look, 50);
                look();
            }}).then(() => true)"
        ));
        save(root, name, &mut browser);
    }
    // A camera on the network, for the form.
    let street = view(&scene, "street", "null");
    let server = RtspServer::start(&[Mount::of_file("street", &street, 15)]);
    browser.resize(820, 1010);
    browser.prefer("light");
    browser.open(&daemon.url("/cameras#add"));
    browser.evaluate(&format!(
        "(async () => {{
            const field = name => document.querySelector('#add-' + name);
            field('source').value = '{}';
            field('look').click();
            while (!field('picture').naturalWidth) await new Promise(done => setTimeout(done, 50));
            field('source').value = 'rtsp://192.0.2.10:554/stream1';
            field('name').value = 'street';
            field('found').scrollIntoView({{block: 'end'}});
            await new Promise(done => setTimeout(done, 300));
        }})().then(() => true)",
        server.url("street")
    ));
    save(root, "camera-add", &mut browser);
    browser.resize(1120, 960);
    // As they would be for a camera on the network, and of a day: nobody waits that long for a picture.
    browser.before_scripts(A_DAY);
    browser.open(&daemon.url("/cameras/street"));
    let text = "# At the gate.\nsource: rtsp://192.0.2.10:554/stream1\nusername: viewer\npassword: '***'\nrecord:\n  mode: continuous\n";
    browser.evaluate(&format!(
        "new Promise(done => setTimeout(done, 1500)).then(() => {{
            const editor = document.querySelector('#config');
            editor.value = {text:?};
            editor.dispatchEvent(new Event('input'));
            return true;
        }})"
    ));
    save(root, "camera", &mut browser);
    browser.open(&daemon.url("/cameras/street/tune"));
    browser.evaluate(
        "new Promise(done => {
            const look = () => document.querySelector('#values input') && document.querySelector('#scene').naturalWidth ? done() : setTimeout(look, 50);
            look();
        }).then(() => document.querySelector('#add-zone').click())",
    );
    save(root, "tune", &mut browser);
    browser.resize(1120, 560);
    browser.prefer("dark");
    browser.open(&daemon.url("/timeline"));
    browser.evaluate(
        "(length => { length.value = '600'; length.dispatchEvent(new Event('change', {bubbles: true})); })(document.querySelector('#length')), true",
    );
    browser.evaluate("new Promise(done => setTimeout(done, 2500)).then(() => true)");
    save(root, "timeline", &mut browser);
    browser.resize(1120, 700);
    browser.open(&daemon.url("/events"));
    browser.evaluate(
        "new Promise(done => {
            const seen = () => [...document.images].filter(image => image.getBoundingClientRect().top < innerHeight);
            const look = () => seen().length > 3 && seen().every(image => image.naturalWidth) ? done() : setTimeout(look, 50);
            look();
        }).then(() => true)",
    );
    save(root, "event-list", &mut browser);
    browser.prefer("light");
    for (path, name) in [("/cameras", "cameras"), ("/system", "system")] {
        browser.resize(1280, 640);
        browser.open(&daemon.url(path));
        browser.evaluate("new Promise(done => setTimeout(done, 500)).then(() => true)");
        save(root, name, &mut browser);
    }
    // Last: from now on everyone has to log in.
    let as_json = [("Content-Type", "application/json")];
    let anna = r#"{"name": "anna", "password": "a long good word", "role": "admin"}"#;
    assert_eq!(daemon.send("POST", "/api/users", &as_json, anna).0, 201, "the first user");
    browser.resize(560, 480);
    browser.prefer("dark");
    browser.open(&daemon.url("/login"));
    save(root, "login", &mut browser);
    browser.evaluate(
        r#"(async () => {
            const send = (path, body) => fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
            await send('/api/login', {user: 'anna', password: 'a long good word'});
            await send('/api/users', {name: 'bert', password: 'a long good word', role: 'viewer', cameras: ['front-door', 'street']});
            await send('/api/tokens', {name: 'doorbell', role: 'viewer', cameras: ['front-door']});
            return true;
        })()"#,
    );
    browser.resize(1120, 480);
    browser.prefer("light");
    browser.open(&daemon.url("/users"));
    browser.evaluate("new Promise(done => setTimeout(done, 500)).then(() => true)");
    save(root, "users", &mut browser);
}

fn save(root: &Path, name: &str, browser: &mut Chromium) {
    let path = root.join(format!("docs/{name}.png"));
    let picture = browser.screenshot();
    assert!(picture.len() < LARGEST, "{name}: {} bytes are too many for the repository", picture.len());
    std::fs::write(&path, picture).expect("docs/ can be written to");
    println!("{}", path.display());
}

fn view(scene: &Path, name: &str, filter: &str) -> PathBuf {
    let encoding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-g", "30", "-bf", "0"];
    let source = ["-i", scene.to_str().expect("a path in UTF-8"), "-vf", filter];
    Clip::drawn_by_ffmpeg(name, &[&source[..], &encoding].concat())
}
