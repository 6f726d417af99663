//! Cameras that are added, changed and removed in the page and over the API, against real cameras and in Chromium.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::*;

/// Part of every password in here.
const CANARY: &str = "c4naryZq7";

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn etag(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == "etag").map(|(_, value)| value.as_str()).expect("an ETag")
    }

    /// The refusal's words, which hold no password.
    #[track_caller]
    fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(!self.text.contains(CANARY), "{}", self.text);
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

#[track_caller]
fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let (status, headers, body) = daemon.send(method, path, headers, body);
    Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
}

#[track_caller]
fn send(daemon: &Daemon, method: &str, path: &str, body: Value) -> Answer {
    ask(daemon, method, path, &[("Content-Type", "application/json")], &body.to_string())
}

#[track_caller]
fn put(daemon: &Daemon, name: &str, etag: &str, text: &str) -> Answer {
    let headers = [("Content-Type", "application/yaml"), ("If-Match", etag)];
    ask(daemon, "PUT", &format!("/api/cameras/{name}/config"), &headers, text)
}

fn config(daemon: &Daemon, name: &str) -> Answer {
    ask(daemon, "GET", &format!("/api/cameras/{name}/config"), &[], "")
}

fn file(daemon: &Daemon, name: &str) -> String {
    fs::read_to_string(daemon.camera_file(name)).unwrap()
}

/// Without user and password.
fn address(server: &RtspServer, mount: &str) -> String {
    format!("rtsp://127.0.0.1:{}/{mount}", server.port(mount))
}

fn fill(browser: &mut Chromium, selector: &str, value: &str) {
    browser.evaluate(&format!(
        "(field => {{ field.value = {}; field.dispatchEvent(new Event('input', {{bubbles: true}})); }})(document.querySelector('{selector}')), true",
        json!(value)
    ));
}

fn click(browser: &mut Chromium, selector: &str) {
    browser.evaluate(&format!("document.querySelector('{selector}').click(), true"));
}

/// What is too small to be touched.
const TOO_SMALL: &str =
    "[...document.querySelectorAll('main :is(a.button, th a, .crumb a, button, input, select)')].filter(it => it.checkVisibility())
    .map(it => [it.outerHTML.slice(0, 90), it.getBoundingClientRect()]).filter(([, box]) => box.height < 43.5)
    .map(([of, box]) => [of, box.width, box.height])";

#[test]
fn the_first_camera_is_added_in_the_page() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let password = format!("{CANARY} ${{HOME}}");
    let server = RtspServer::start(&[Mount::new("yard", &clip).digest_auth("viewer", &password)]);
    let daemon = Daemon::builder().start();
    let mut browser = Chromium::start();
    browser.resize(390, 844);
    browser.open(&daemon.url("/"));
    click(&mut browser, "#empty a");
    browser.wait_until(secs(40), "the form",
        "location.pathname == '/cameras' && document.querySelector('#add-look') && document.activeElement.id == 'add-source'",
    );
    fill(&mut browser, "#add-source", &address(&server, "yard"));
    click(&mut browser, "#add-look");
    browser.wait_until(secs(40), "a refusal", "/password/.test(document.querySelector('#add-error').textContent)");
    fill(&mut browser, "#add-username", "viewer");
    fill(&mut browser, "#add-password", &password);
    click(&mut browser, "#add-look");
    browser.wait_until(secs(40), "a picture",
        "document.querySelector('#add-picture').checkVisibility() && document.querySelector('#add-picture').naturalWidth",
    );
    let says = browser.evaluate("document.querySelector('#add-says').textContent");
    let says = says.as_str().unwrap();
    assert!(says.starts_with(&format!("h264, {}x{}, 15 pictures a second", clip.width, clip.height)), "{says}");
    let wide = browser.evaluate("document.documentElement.scrollWidth - innerWidth");
    assert!(wide.as_i64().unwrap() <= 0, "{wide}");
    assert_eq!(browser.evaluate(TOO_SMALL), json!([]));
    fill(&mut browser, "#add-name", "front-door");
    click(&mut browser, "#add-save");
    browser.wait_until(
        secs(40),
        "the wall with the camera",
        "location.pathname == '/' && location.hash == '#front-door' && document.querySelector('#front-door.is-live')",
    );
    daemon.wait_for_state("front-door", "running", secs(20));
    let written = file(&daemon, "front-door");
    assert!(written.contains("$${HOME}") && written.contains(CANARY), "{written}");
    let mode = fs::metadata(daemon.camera_file("front-door")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a password");
    for path in ["/cameras", "/cameras/front-door", "/api/cameras/front-door", "/api/cameras/front-door/config"] {
        let (status, text) = daemon.get_text(path);
        assert_eq!(status, 200);
        assert!(!text.contains(CANARY), "{path}: {text}");
    }
    assert!(!daemon.stderr().contains(CANARY));
}

#[test]
fn an_edit_in_the_page_restarts_its_camera_only_and_faults_are_told_at_their_line() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip).basic_auth("v", CANARY), Mount::new("gate", &clip)]);
    let yard = format!(
        "# The yard.\nsource: {}\nusername: v\npassword: {CANARY}\nrecord: {{ mode: continuous }}\n",
        address(&server, "yard")
    );
    let daemon = Daemon::builder()
        .camera("yard", &yard)
        .camera("gate", &format!("source: {}\nrecord: {{ mode: continuous }}\n", address(&server, "gate")))
        .start();
    let started = |name: &str| daemon.wait_for_state(name, "running", secs(30))["started_at"].clone();
    let (yard_began, gate_began) = (started("yard"), started("gate"));
    let mut browser = Chromium::start();
    browser.open(&daemon.url("/cameras/yard"));
    browser.wait_until(secs(40), "the editor", "document.querySelector('#config-lines span')");
    assert_eq!(browser.evaluate(TOO_SMALL), json!([]));
    let shown = browser.evaluate("document.querySelector('#config').value");
    let shown = shown.as_str().unwrap().to_owned();
    assert_eq!(shown, yard.replace(CANARY, "'***'"));

    fill(&mut browser, "#config", &format!("{shown}detect:\n  widht: 5\n"));
    click(&mut browser, "#editor [type=submit]");
    browser.wait_until(secs(40), "the fault", "document.querySelector('#config-faults li')");
    let fault = browser.evaluate(
        "[document.querySelector('#config-faults').textContent, document.querySelector('#config-lines .bad').textContent.trim(), document.querySelector('#config').selectionStart]",
    );
    let at = shown.len() + "detect:\n  ".len();
    assert_eq!((&fault[1], &fault[2]), (&"7".into(), &at.into()), "{fault}");
    assert!(
        fault[0]
            .as_str()
            .unwrap()
            .contains("line 7, column 3: unknown key `detect.widht` (did you mean `detect.width`?)"),
        "{fault}"
    );
    assert_eq!(file(&daemon, "yard"), yard, "nothing was written");

    fill(&mut browser, "#config", &format!("{shown}detect:\n  width: 320\n"));
    click(&mut browser, "#editor [type=submit]");
    browser.wait_until(secs(40), "success", "document.querySelector('.toast.good')");
    assert_eq!(file(&daemon, "yard"), format!("{yard}detect:\n  width: 320\n"), "with its password");
    let again = daemon
        .wait_for_camera("yard", secs(20), |camera| camera["state"] == "running" && camera["started_at"] != yard_began);
    assert_eq!(started("gate"), gate_began, "the other one goes on");

    // Comments are no change of the camera.
    let text = config(&daemon, "yard");
    let etag = text.etag().to_owned();
    let answer = put(&daemon, "yard", &etag, &format!("{}# done\n", text.text));
    assert_eq!((answer.status, &answer.json()["applied"]), (200, &true.into()), "{}", answer.text);
    assert_eq!(started("yard"), again["started_at"]);
    put(&daemon, "yard", &etag, &text.text).refused(412);

    // What the buttons do.
    browser.open(&daemon.url("/cameras"));
    browser.wait_until(secs(40), "buttons", "document.querySelector('[data-act=restart][data-of=gate]')");
    assert_eq!(browser.evaluate(TOO_SMALL), json!([]));
    click(&mut browser, "[data-act=restart][data-of=gate]");
    daemon
        .wait_for_camera("gate", secs(20), |camera| camera["state"] == "running" && camera["started_at"] != gate_began);
    click(&mut browser, "[data-act=disable][data-of=gate]");
    daemon.wait_for_state("gate", "disabled", secs(20));
    assert!(file(&daemon, "gate").ends_with("enabled: false\n"));
    browser.wait_until(
        secs(40),
        "a button to switch it on",
        "document.querySelector('[data-act=enable][data-of=gate]')",
    );
    click(&mut browser, "[data-act=enable][data-of=gate]");
    daemon.wait_for_state("gate", "running", secs(20));
    let recorded = daemon.wait_for_recording("gate", secs(20), |recording| recording.complete);
    browser.open(&daemon.url("/cameras/gate"));
    click(&mut browser, "[data-act=remove]");
    browser.wait_until(secs(40), "the question", "document.querySelector('dialog [value=yes]')");
    click(&mut browser, "dialog [value=yes]");
    browser.wait_until(
        secs(40),
        "the list",
        "location.pathname == '/cameras' && !document.querySelector('[data-of=gate]')",
    );
    assert!(!daemon.camera_file("gate").exists());
    assert!(daemon.archive().join(&recorded.path).exists(), "what was recorded stays");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // A viewer sees all that and changes nothing.
    let tarsier = |arguments: &[&str], input: &str| {
        let output = daemon.tarsier(arguments, input);
        assert!(output.status.success(), "{output:?}");
        format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim())
    };
    tarsier(&["user", "add", "anna"], "battery staple 1\n");
    let viewer = tarsier(&["token", "add", "bert"], "");
    let as_viewer = [("Authorization", viewer.as_str()), ("Content-Type", "application/json")];
    for path in ["/cameras", "/cameras/yard", "/"] {
        let page = ask(&daemon, "GET", path, &as_viewer, "");
        assert_eq!(page.status, 200);
        for part in ["data-act", "<textarea", "add-form", "Add a camera"] {
            assert!(!page.text.contains(part), "{path}: {part}");
        }
    }
    let before = file(&daemon, "yard");
    for (method, path) in [
        ("POST", "/api/cameras"),
        ("POST", "/api/cameras/probe"),
        ("GET", "/api/cameras/yard/config"),
        ("PUT", "/api/cameras/yard/config"),
        ("PATCH", "/api/cameras/yard/config"),
        ("POST", "/api/cameras/yard/disable"),
        ("POST", "/api/cameras/yard/restart"),
        ("DELETE", "/api/cameras/yard"),
    ] {
        assert!(ask(&daemon, method, path, &as_viewer, "").refused(403).contains("takes an admin"), "{method} {path}");
    }
    assert_eq!(file(&daemon, "yard"), before);
}

#[test]
fn files_are_changed_over_the_api_within_bounds() {
    let daemon = Daemon::builder().start();
    let new = |name: &str, more: Value| {
        let mut body = json!({"name": name, "source": "rtsp://127.0.0.1:9/live"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        send(&daemon, "POST", "/api/cameras", body)
    };
    let made = new(
        "yard",
        json!({"username": "v", "password": CANARY, "set": {"record.mode": "continuous", "detect.width": 320}}),
    );
    assert_eq!((made.status, made.json()["applied"].clone()), (201, json!(true)), "{}", made.text);
    assert!(daemon.camera("yard").is_some(), "it is there as soon as that is answered");
    let written = format!(
        "source: rtsp://127.0.0.1:9/live\nusername: v\npassword: {CANARY}\ndetect:\n  width: 320\nrecord:\n  mode: continuous\n"
    );
    assert_eq!(file(&daemon, "yard"), written);

    assert!(new("yard", json!({})).refused(409).contains("already"));
    for name in ["", "Yard", "../yard", "a/b", ".a"] {
        assert!(new(name, json!({})).refused(400).contains("no name of a camera"));
    }
    for (more, words) in [
        (json!({"source": "/etc/passwd"}), "files and devices of this machine"),
        (json!({"source": "file:///etc/passwd"}), "files and devices"),
        (json!({"source": "0"}), "files and devices"),
        (json!({"source": "http://169.254.169.254/latest/"}), "no camera"),
        (json!({"source": "rtsp://${HOME}/"}), "variables of this machine"),
        (json!({"set": {"username": "v", "password_file": "/etc/hostname"}}), "files of this machine are not named"),
    ] {
        let why = new("other", more).refused(403);
        assert!(why.contains(words), "{why}");
    }
    let faults = new("other", json!({"set": {"detect.widht": 5, "record.mode": "always"}}));
    faults.refused(422);
    let told: Vec<Value> =
        faults.json()["faults"].as_array().unwrap().iter().map(|fault| fault["line"].clone()).collect();
    assert_eq!(told, [json!(3), json!(5)], "{}", faults.text);
    assert!(new("other", json!({"password": CANARY})).refused(422).contains("username"), "a password of nobody");
    assert!(!daemon.camera_file("other").exists());

    // Key by key: all else stays.
    let text = format!(
        "# My yard.\nsource: rtsp://127.0.0.1:9/live # main\nusername: v\npassword: {CANARY}   # secret\ndetect: {{ width: 320 }}\n"
    );
    daemon.write_camera("yard", &text);
    let patch = |body: Value| send(&daemon, "PATCH", "/api/cameras/yard/config", body);
    let answer = patch(
        json!({"set": {"detect.width": 400, "detect.masks": [[[0, 0], [1, 0], [1, 0.5]]], "enabled": false}, "remove": ["record"]}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    let expected =
        text.replace("{ width: 320 }", "{ width: 400, masks: [[[0, 0], [1, 0], [1, 0.5]]] }") + "enabled: false\n";
    assert_eq!(file(&daemon, "yard"), expected);
    daemon.wait_for_state("yard", "disabled", secs(10));
    patch(json!({"set": {"detect.width": 5}})).refused(422);
    assert!(patch(json!({"set": {"source": "rtsp://evil.example/live"}})).refused(403).contains("another host"));
    patch(json!({"set": {"password": "***"}})).refused(422);
    patch(json!({"set": {"a..b": 1}})).refused(400);
    patch(json!({"sett": {}})).refused(400);
    assert_eq!(file(&daemon, "yard"), expected);

    // The whole text.
    let shown = config(&daemon, "yard");
    assert_eq!(shown.text, expected.replace(&format!("{CANARY}   # secret"), "'***'   # secret"));
    let path = "/api/cameras/yard/config";
    ask(&daemon, "PUT", path, &[("Content-Type", "application/yaml")], "loop: true\n").refused(428);
    ask(&daemon, "PUT", path, &[("Content-Type", "text/plain"), ("If-Match", "*")], "loop: true\n").refused(415);
    put(&daemon, "yard", "\"0\"", &shown.text).refused(412);
    for (from, to) in [("127.0.0.1:9/live", "evil.example/live"), ("127.0.0.1:9/live", "v:***@127.0.0.1:9/live")] {
        let answer = put(&daemon, "yard", shown.etag(), &shown.text.replace(from, to));
        assert!([403, 422].contains(&answer.status), "{}", answer.text);
    }
    put(&daemon, "yard", shown.etag(), "").refused(422);
    assert_eq!(put(&daemon, "yard", shown.etag(), &shown.text).status, 200);
    assert_eq!(file(&daemon, "yard"), expected, "what came back as it was shown is what it was");
    put(&daemon, "none", "*", &shown.text).refused(404);

    // A broken file is shown, without its password, and can be mended.
    daemon.write_camera(
        "yard",
        &format!("source: rtsp://127.0.0.1:9/live\nusername: v\npassword: {CANARY}\ndetect: [\n"),
    );
    daemon.wait_for_camera("yard", secs(20), |camera| !camera["config_error"].is_null());
    assert!(patch(json!({"set": {"detect.width": 320}})).refused(409).contains("not valid YAML"));
    let broken = config(&daemon, "yard");
    assert!(!broken.text.contains(CANARY) && broken.text.contains("detect: ["), "{}", broken.text);
    assert!(daemon.get_text("/cameras/yard").1.contains("data-line=\""));
    let mended = put(&daemon, "yard", broken.etag(), &broken.text.replace("detect: [\n", "enabled: false\n"));
    assert_eq!(mended.status, 200, "{}", mended.text);
    assert!(file(&daemon, "yard").contains(&format!("password: {CANARY}\nenabled: false")));
    assert!(daemon.camera("yard").unwrap()["config_error"].is_null(), "it is taken up when that is answered");

    // What others look after.
    fs::rename(daemon.camera_file("yard"), daemon.folder().join("elsewhere.yaml")).unwrap();
    std::os::unix::fs::symlink("../elsewhere.yaml", daemon.camera_file("yard")).unwrap();
    assert!(patch(json!({"set": {"detect.width": 400}})).refused(409).contains("symbolic link"));
    assert_eq!(config(&daemon, "yard").status, 200);
    ask(&daemon, "DELETE", "/api/cameras/yard", &[], "").refused(409);
    fs::remove_file(daemon.camera_file("yard")).unwrap();
    daemon.write_camera("yard", "source: rtsp://127.0.0.1:9/live\n");
    wait_for("the camera to be good", secs(20), || (daemon.camera("yard")?["config_error"].is_null()).then_some(()));
    let gone = ask(&daemon, "DELETE", "/api/cameras/yard", &[], "");
    assert_eq!((gone.status, gone.json()["applied"].clone()), (200, json!(true)), "{}", gone.text);
    assert!(daemon.camera("yard").is_none());
    ask(&daemon, "DELETE", "/api/cameras/yard", &[], "").refused(404);
    assert!(!daemon.stderr().contains(CANARY));
}

#[test]
fn a_probe_tells_what_is_wrong_and_is_bounded() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).audio(AudioCodec::Aac).make();
    let server = RtspServer::start(&[
        Mount::new("yard", &clip).basic_auth("v", CANARY),
        Mount::new("sound", &clip).without_video(),
    ]);
    let daemon = Daemon::builder().start();
    let probe = |body: Value| send(&daemon, "POST", "/api/cameras/probe", body);
    for source in
        ["/etc/passwd", "0", "/dev/video0", "file:///etc/passwd", "http://169.254.169.254/", "rtsp://", "concat:a|b"]
    {
        probe(json!({"source": source})).refused(400);
    }
    let found = probe(json!({"source": address(&server, "yard"), "username": "v", "password": CANARY}));
    assert_eq!(found.status, 200, "{}", found.text);
    let seen = found.json();
    assert_eq!((&seen["codec"], &seen["width"], &seen["audio"]), (&json!("h264"), &json!(clip.width), &json!("aac")));
    assert!((seen["fps"].as_f64().unwrap() - 15.0).abs() < 1.0, "{}", seen["fps"]);
    let picture = daemon.folder().join("probed.jpg");
    fs::write(&picture, from_base64(seen["picture"].as_str().unwrap())).unwrap();
    assert_eq!(read_frames(&picture).len(), 1);
    assert!(!found.text.contains(CANARY));
    for (body, words) in [
        (json!({"source": address(&server, "yard"), "username": "v", "password": format!("{CANARY}x")}), "password"),
        (json!({"source": "rtsp://127.0.0.1:9/live"}), "127.0.0.1:9"),
        (json!({"source": address(&server, "sound")}), "video"),
    ] {
        let why = probe(body).refused(422);
        assert!(why.contains(words) && why.contains('('), "what is wrong, and what to do: {why}");
    }

    // A camera that takes connections and says nothing: two may be waited for at a time.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("rtsp://{}/live", mute.local_addr().unwrap());
    let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let hold = Arc::clone(&held);
    std::thread::spawn(move || mute.incoming().flatten().for_each(|stream| hold.lock().unwrap().push(stream)));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| probe(json!({"source": source})))).collect();
        wait_for("two to be waited for", secs(20), || (held.lock().unwrap().len() >= 2).then_some(()));
        assert!(probe(json!({"source": source})).refused(429).contains("wait"));
        held.lock().unwrap().clear();
        for answer in waiting {
            answer.join().unwrap().refused(422);
        }
    });
    assert!(!daemon.stderr().contains(CANARY));
}

fn from_base64(text: &str) -> Vec<u8> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn a_cameras_page_shows_how_much_was_recorded_and_what_is_missing() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let yaml = |max_file: &str| {
        format!("source: {}\nloop: true\nrecord: {{ mode: continuous, max_file: {max_file} }}\n", clip.path.display())
    };
    let daemon = Daemon::builder().camera("yard", &yaml("2s")).camera("off", "source: none\nenabled: false\n").start();
    daemon.wait_for_recording("yard", secs(30), |row| row.complete);
    daemon.write_camera("yard", &yaml("3s"));
    wait_for("what was not recorded meanwhile", secs(30), || daemon.gaps("yard").pop());
    let after = daemon.recordings("yard").len();
    wait_for("more recordings", secs(30), || (daemon.recordings("yard").len() > after + 1).then_some(()));
    let mut browser = Chromium::start();
    browser.resize(390, 844);
    browser.open(&daemon.url("/cameras/yard"));
    browser.wait_until(secs(40), "the rates", "/on average/.test(document.querySelector('#rate-says').textContent)");
    // Of the whole files, held against their bytes on the disk and their length.
    let [said, kbit, drawn, missing, wide] = browser
        .evaluate(
            "(async () => {
                const says = document.querySelector('#rate-says').textContent;
                const { recordings } = await (await fetch('/api/recordings?camera=yard')).json();
                const whole = recordings.filter(row => row.complete);
                const s = row => (Date.parse(row.end) - Date.parse(row.start)) / 1000;
                const rates = whole.map(row => row.bytes * 8 / 1000 / s(row));
                const canvas = document.querySelector('#rate');
                const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                const accent = getComputedStyle(canvas).getPropertyValue('--accent').match(/[0-9a-f]{2}/g).map(hex => parseInt(hex, 16));
                let drawn = 0;
                for (let at = 0; at < pixels.length; at += 4) drawn += accent.every((of, n) => pixels[at + n] === of);
                return [says, [Math.min(...rates), Math.max(...rates)], drawn, document.querySelector('#gaps').innerText,
                    document.documentElement.scrollWidth - innerWidth];
            })()",
        )
        .as_array()
        .unwrap()
        .clone()
        .try_into()
        .unwrap();
    let average: f64 = {
        let words = said.as_str().unwrap();
        let number = words.split(": ").nth(1).unwrap().split(" kbit/s on average").next().unwrap();
        number.replace(',', "").parse().unwrap_or_else(|_| panic!("{words}"))
    };
    let (least, most) = (kbit[0].as_f64().unwrap(), kbit[1].as_f64().unwrap());
    assert!((least * 0.9..=most * 1.1).contains(&average), "{said}, and the files have {least} to {most} kbit/s");
    assert!(drawn.as_i64().unwrap() > 50, "{drawn} pixels");
    assert!(missing.as_str().unwrap().contains("its file was changed"), "{missing}");
    assert_eq!(wide, json!(0), "a phone shows all of its width");
    // Without anything recorded, it says so.
    browser.open(&daemon.url("/cameras/off"));
    browser.wait_until(
        secs(40),
        "words",
        "/Nothing was recorded/.test(document.querySelector('#rate-says').textContent)",
    );
    let words = browser.evaluate("document.querySelector('#gaps').innerText");
    assert!(words.as_str().unwrap().contains("Nothing is missing"), "{words}");
}
