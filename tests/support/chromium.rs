//! A headless browser, told what to do over a pipe in the DevTools protocol.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::wait::{secs, wait_for};

/// JavaScript: `number()` reads the frame number that is burnt into the picture of the video `v` (see `clips.rs`).
pub const FRAME_NUMBER: &str = "
    const number = () => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [v.videoWidth, v.videoHeight];
        const paint = canvas.getContext('2d');
        paint.drawImage(v, 0, 0);
        const side = Math.floor(v.videoWidth / 17) & ~1;
        const grey = at => {
            const [x, y] = [(at % 13) * side, Math.floor(at / 13) * side];
            const pixels = paint.getImageData(x + side / 4, y + side / 4, side / 2, side / 2).data;
            return pixels.filter((_, at) => at % 4 == 1).reduce((sum, green) => sum + green, 0);
        };
        const middle = (grey(0) + grey(1)) / 2;
        let bits = 0;
        for (let at = 2; at < 26; at++) bits = bits << 1 | (grey(at) > middle ? 1 : 0);
        const [found, check] = [bits >> 8, bits & 0xff];
        const wanted = (Math.imul(found, 2654435761) >>> 16) & 0xff ^ 0x5a;
        if (check != wanted) throw new Error('no frame number in the picture at ' + v.currentTime);
        return found;
    };
";

/// A browser with one page; ended when it is dropped.
pub struct Chromium {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last_id: u64,
    /// Of the page.
    session: Value,
    /// Events that came while an answer was waited for.
    events: Vec<Value>,
    profile: tempfile::TempDir,
}

impl Chromium {
    #[track_caller]
    pub fn start() -> Self {
        let profile = tempfile::Builder::new().prefix("tarsier-browser-").tempdir().unwrap();
        let words = File::create(profile.path().join("stderr.txt")).unwrap();
        // The browser hears on descriptor 3 and speaks on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "sh", "chromium"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args([
                "--window-size=1024,768",
                "--disable-dev-shm-usage",
                "--autoplay-policy=no-user-gesture-required",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(words)
            .spawn()
            .expect("chromium is installed (make setup)");
        let to = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (say, from) = channel();
        std::thread::spawn(move || {
            loop {
                let mut message = Vec::new();
                if stdout.read_until(0, &mut message).unwrap_or(0) == 0 {
                    return;
                }
                message.pop();
                if say.send(serde_json::from_slice(&message).unwrap_or(Value::Null)).is_err() {
                    return;
                }
            }
        });
        let (last_id, session, events) = (0, Value::Null, Vec::new());
        let mut browser = Chromium { child, to, from, last_id, session, events, profile };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}), secs(60));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.ask("Target.attachToTarget", attach, secs(20))["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}), secs(20));
        }
        browser
    }

    /// Goes to an address and waits until its page is there and its scripts have run.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        let answer = self.ask("Page.navigate", json!({"url": url}), secs(30));
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
        let loader = answer["loaderId"].clone();
        self.wait_for_event("the page to come", |event| {
            event["method"] == "Page.frameNavigated" && event["params"]["frame"]["loaderId"] == loader
        });
        // Modules run between `interactive` and the end of this event; a stream of pictures is never `complete`.
        self.evaluate(
            "new Promise(done => {
               const look = () => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd > 0
                 ? done(true) : setTimeout(look, 5);
               look();
             })",
        );
    }

    /// Runs a script in every page from now on, before the page's own.
    #[track_caller]
    pub fn before_scripts(&mut self, script: &str) {
        self.ask("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}), secs(20));
    }

    /// What an expression, or the promise that it is, comes to.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let question = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", question, secs(90));
        assert!(answer.get("exceptionDetails").is_none(), "{}", answer["exceptionDetails"]["exception"]["description"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression of the page is true.
    #[track_caller]
    pub fn wait_until(&mut self, within: Duration, what: &str, expression: &str) {
        wait_for(what, within, || {
            let is_there = self.evaluate(&format!("Boolean({expression})")) == true;
            if !is_there {
                let page = "[location.href, document.activeElement?.outerHTML.slice(0, 200), document.querySelector('main')?.innerText.slice(0, 600)]";
                println!("{} {:?}", self.evaluate(page), self.complaints());
            }
            is_there.then_some(())
        });
    }

    /// Makes the page so large, in CSS pixels, as a phone's where it is narrow.
    #[track_caller]
    pub fn resize(&mut self, width: u32, height: u32) {
        let is_phone = width < 600;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone});
        self.ask("Emulation.setDeviceMetricsOverride", size, secs(20));
        self.ask("Emulation.setTouchEmulationEnabled", json!({"enabled": is_phone}), secs(20));
    }

    /// What the person's system prefers: `dark` or `light`.
    #[track_caller]
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features, secs(20));
    }

    /// What is seen now, as a PNG.
    #[track_caller]
    pub fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.ask("Page.captureScreenshot", json!({"format": "png"}), secs(60));
        let data = shot["data"].as_str().expect("the picture's data");
        base64::prelude::BASE64_STANDARD.decode(data).expect("base64")
    }

    /// Moves the pointer to a place of what is seen, in CSS pixels.
    #[track_caller]
    pub fn point_at(&mut self, x: f64, y: f64) {
        self.ask("Input.dispatchMouseEvent", json!({"type": "mouseMoved", "x": x, "y": y}), secs(20));
    }

    /// Presses a key: its name as events have it.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 {
            key
        } else if key == "Enter" {
            "\r"
        } else {
            ""
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            if key == "Enter" {
                event["windowsVirtualKeyCode"] = 13.into();
            }
            self.ask("Input.dispatchKeyEvent", event, secs(20));
        }
    }

    /// What the browser has complained of since the last [`Chromium::open`].
    pub fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| {
            event["method"] == "Log.entryAdded" && event["params"]["entry"]["level"] == "error"
                || event["method"] == "Runtime.exceptionThrown"
        };
        self.events.iter().filter(is_complaint).map(|event| event["params"].to_string()).collect()
    }

    #[track_caller]
    fn wait_for_event(&mut self, what: &str, is: impl Fn(&Value) -> bool) {
        while !self.events.iter().any(&is) {
            let event = self.from.recv_timeout(secs(30));
            let event = event.unwrap_or_else(|_| panic!("waited for {what}:\n{}", self.last_words()));
            self.events.push(event);
        }
    }

    #[track_caller]
    fn ask(&mut self, method: &str, parameters: Value, deadline: Duration) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let sent = write!(self.to, "{message}\0").and_then(|()| self.to.flush());
        sent.unwrap_or_else(|error| panic!("chromium hears nothing ({error}):\n{}", self.last_words()));
        loop {
            let heard = self.from.recv_timeout(deadline);
            let heard = heard.unwrap_or_else(|_| panic!("{method} gets no answer:\n{}", self.last_words()));
            if heard["id"] == self.last_id {
                assert!(heard.get("error").is_none(), "{method}: {heard}");
                return heard["result"].clone();
            }
            self.events.push(heard);
        }
    }

    fn last_words(&self) -> String {
        std::fs::read_to_string(self.profile.path().join("stderr.txt")).unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = write!(self.to, "{}\0", json!({"id": 0, "method": "Browser.close"}));
        let began = tarsier::clock::monotonic();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > secs(5) {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
