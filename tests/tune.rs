//! Tuning a camera's detection in the page: values and masks tried on what was recorded, and saved into its file.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::*;

/// A mask over the shares of the picture's width, drawn with the pointer.
fn draw_mask(browser: &mut Chromium, from: f64, to: f64) {
    browser.evaluate(&format!(
        "(() => {{
            document.querySelector('#add-mask').click();
            const drawing = document.querySelector('#drawing');
            const box = drawing.getBoundingClientRect();
            for (const [x, y] of [[{from}, 0], [{to}, 0], [{to}, 1], [{from}, 1]]) {{
                const at = {{clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1, bubbles: true}};
                drawing.dispatchEvent(new PointerEvent('pointerdown', at));
                drawing.dispatchEvent(new PointerEvent('pointerup', at));
            }}
            document.querySelector('#done').click();
        }})()"
    ));
}

/// Tries the values on the last minute, and gives what the page says.
#[track_caller]
fn verdict(browser: &mut Chromium) -> String {
    browser.evaluate(
        "document.querySelector('#verdict').textContent = ''; document.querySelector('#minutes').value = '1'",
    );
    browser.evaluate("document.querySelector('#try').click()");
    browser.wait_until(secs(180), "a verdict", "document.querySelector('#verdict').textContent");
    browser.evaluate("document.querySelector('#verdict').textContent").as_str().unwrap().to_owned()
}

#[test]
fn values_are_tried_on_what_was_recorded_and_saved_into_the_file() {
    let clip = Clip::spec().seconds(12.0).gop_seconds(1.0).motion(6.0, 8.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip), Mount::new("gate", &clip)]);
    let yaml = |name: &str| {
        format!(
            "# Seen from the door.\nsource: {}\ndetect:\n  minimal_duration: 1s # short\n  warm_up: 1s\nrecord: {{ mode: continuous }}\n",
            server.url(name)
        )
    };
    let daemon = Daemon::builder().camera("yard", &yaml("yard")).camera("gate", &yaml("gate")).start();
    let started = |name: &str| daemon.wait_for_state(name, "running", secs(30))["started_at"].clone();
    let (yard_began, gate_began) = (started("yard"), started("gate"));
    wait_for("an event that is over", secs(60), || {
        let events = daemon.get("/api/events?camera=yard")["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| !event["end"].is_null()).then_some(())
    });

    let mut browser = Chromium::start();
    browser.open(&daemon.url("/cameras/yard/tune"));
    browser.wait_until(
        secs(180),
        "the values",
        "document.querySelector('#value-detect-minimal_duration')?.value == '1s'",
    );
    browser.wait_until(secs(180), "the picture", "document.querySelector('#scene').naturalWidth");
    let wide = "document.documentElement.scrollWidth - innerWidth";
    for width in [390, 1280] {
        browser.resize(width, 900);
        assert!(browser.evaluate(wide).as_i64().unwrap() <= 0, "at {width}");
    }

    // As it is, nothing changes; behind a mask nothing is left.
    let same = verdict(&mut browser);
    assert!(same.contains("0 gained, 0 lost") && !same.contains("0 events"), "{same}");
    draw_mask(&mut browser, 0.0, 1.0);
    let masked = verdict(&mut browser);
    assert!(masked.contains("With these, 0 events") && !masked.contains(" 0 lost"), "{masked}");
    let lost =
        browser.evaluate("document.querySelectorAll('#found [data-change=lost] a[href^=\"/timeline#\"]').length");
    assert!(lost.as_i64().unwrap() > 0);
    assert_eq!(fs::read_to_string(daemon.camera_file("yard")).unwrap(), yaml("yard"), "nothing is written by trying");

    // What is wrong is told, and nothing is written.
    browser.evaluate(
        "(() => { const it = document.querySelector('#value-detect-warm_up'); it.value = 'soon'; it.dispatchEvent(new Event('change')); })()",
    );
    browser.evaluate("document.querySelector('#save').click()");
    browser.wait_until(
        secs(180),
        "the fault",
        "/warm_up.*duration/.test(document.querySelector('#faults').textContent)",
    );
    assert_eq!(fs::read_to_string(daemon.camera_file("yard")).unwrap(), yaml("yard"));

    browser.evaluate(
        "(() => { const it = document.querySelector('#value-detect-warm_up'); it.value = '2s'; it.dispatchEvent(new Event('change')); })()",
    );
    browser.evaluate("document.querySelector('#save').click()");
    browser.wait_until(secs(180), "success", "document.querySelector('.toast.good')");
    let written = fs::read_to_string(daemon.camera_file("yard")).unwrap();
    assert!(
        written.starts_with("# Seen from the door.\n") && written.contains("minimal_duration: 1s # short"),
        "{written}"
    );
    let parsed: Value = serde_yaml::from_str(&written).unwrap();
    assert_eq!(parsed["detect"]["warm_up"], "2s");
    assert_eq!(parsed["detect"]["masks"], json!([[[0, 0], [1, 0], [1, 1], [0, 1]]]), "{written}");
    daemon
        .wait_for_camera("yard", secs(20), |camera| camera["state"] == "running" && camera["started_at"] != yard_began);
    assert_eq!(started("gate"), gate_began, "the other one goes on");
    browser.wait_until(secs(180), "the mask again", "document.querySelectorAll('#drawing .mask').length == 1");
}

#[test]
fn what_can_not_be_tried_is_said() {
    let clip = Clip::spec().seconds(8.0).make();
    let yaml = format!("source: {}\nloop: true\nrecord: {{ mode: motion }}\n", clip.path.display());
    let daemon = Daemon::builder().camera("yard", &yaml).start();
    let refused = |name: &str, body: Value| {
        let json = [("Content-Type", "application/json")];
        let (status, _, text) = daemon.send("POST", &format!("/api/cameras/{name}/tune"), &json, &body.to_string());
        let problem: Value = serde_json::from_slice(&text).unwrap();
        (status, problem["detail"].as_str().unwrap().to_owned())
    };
    let (status, detail) = refused("yard", json!({"set": {"detect.width": 320}}));
    assert_eq!((status, detail.starts_with("nothing of yard was recorded")), (404, true), "{detail}");
    let (status, detail) = refused("yard", json!({"set": {"source": "rtsp://h/"}}));
    assert_eq!((status, detail.contains("no key of detection")), (400, true), "{detail}");
    let (status, detail) = refused("yard", json!({"set": {"detect.widht": 320}}));
    assert_eq!((status, detail.contains("did you mean `detect.width`")), (422, true), "{detail}");
    assert_eq!(refused("yard", json!({"minutes": 0})).0, 400);
    assert_eq!(refused("shed", json!({})).0, 404);
}
