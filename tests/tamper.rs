//! A camera that is covered, blurred, turned away, frozen, black or unplugged is told of within ten seconds, by an alarm
//! that ends when it is over.

mod support;

use std::collections::BTreeMap;

use support::*;

/// A wall of random tiles with a camera's noise. From the tenth second on something is done to it for ten seconds: an
/// alarm that is told at all is told within these.
fn clip(name: &str, done: &str) -> String {
    let wall = "life=s=20x12:seed=5:ratio=0.35:mold=0:life_color=#b8b8b8:death_color=#585858,trim=end_frame=1,\
                scale=160:96:flags=neighbor,loop=-1:size=1,fps=10,setpts=N/10/TB,noise=alls=9:allf=t";
    let scene = if done.is_empty() { wall.to_owned() } else { format!("{wall},{done}") };
    let arguments =
        ["-f", "lavfi", "-i", &scene, "-t", "26", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", "12", "-g", "10"];
    Clip::drawn_by_ffmpeg(&format!("tamper-{name}"), &arguments).display().to_string()
}

/// "No signal", as far as it matters: strokes on a bare ground.
fn card(when: &str) -> String {
    let strokes = (0..9).map(|n| format!(",drawbox=c=white:t=fill:x={}:y=42:w=5:h=11:{when}", 40 + 9 * n));
    format!("drawbox=c=0x202080:t=fill:{when}") + &strokes.collect::<String>()
}

#[test]
fn what_is_done_to_a_camera_is_told_within_ten_seconds_and_until_it_is_over() {
    const WHILE: &str = "enable='between(t,10,19.95)'";
    let done = [
        ("blurred", "defocused", format!("boxblur=6:{WHILE}"), "adaptive"),
        ("black", "black", format!("drawbox=c=black:t=fill:{WHILE}"), "seed"),
        ("frozen", "frozen", "split[a][b];[a][b]freezeframes=first=100:last=199:replace=99".to_owned(), "adaptive"),
        ("turned", "moved", format!("split[a][b];[a][b]overlay=x=-20:y=-10:{WHILE}"), "seed"),
        // Paint on the lens, behind which the noise goes on; and a card without any.
        ("painted", "covered", format!("drawbox=c=0x303030:t=fill:w=150:{WHILE},noise=alls=9:allf=t"), "adaptive"),
        ("unplugged", "overlay", card(WHILE), "seed"),
        ("off", "", format!("drawbox=c=black:t=fill:{WHILE}"), "adaptive"),
        ("calm", "", String::new(), "seed"),
    ];
    let mut daemon = Daemon::builder();
    for (name, _, done, algorithm) in &done {
        let tamper = *name != "off";
        let source = clip(name, done);
        let detect = format!("algorithm: {algorithm}, width: 160, fps: 4, tamper: {tamper}");
        let yaml = format!("source: {source}\ndetect: {{ {detect} }}\nrecord: {{ mode: off }}\n");
        daemon = daemon.camera(name, &yaml);
    }
    let daemon = daemon.start();
    let stream = daemon.events();
    let mut causes: BTreeMap<&str, &str> =
        done.iter().filter(|done| !done.1.is_empty()).map(|done| (done.0, done.1)).collect();
    let all = causes.len();
    for n in 0..2 * all {
        let event = stream.wait_for("an alarm", secs(60), |event| event.kind == "alarm").data;
        let camera = event["camera"].as_str().expect("a camera's").to_owned();
        assert_eq!((&event["kind"], &event["cause"]), (&"tamper".into(), &causes[camera.as_str()].into()), "{camera}");
        if n < all {
            assert_eq!(event["active"], true, "{camera}");
            let alarm = daemon.alarms().into_iter().find(|alarm| alarm["camera"] == camera).expect("it is up");
            assert_eq!((&alarm["cause"], &alarm["message"]), (&event["cause"], &event["message"]));
            assert_eq!(daemon.camera(&camera).expect("it is there")["tamper"], event["cause"]);
            assert_eq!(daemon.metric("tarsier_alarm", &camera), Some(1.0));
        } else {
            assert_eq!(event["active"], false, "{camera}");
            assert!(daemon.camera(&camera).expect("it is there").get("tamper").is_none(), "{camera}");
            causes.remove(camera.as_str());
        }
    }
    assert!(causes.is_empty() && daemon.alarms().is_empty());
    for (name, ..) in &done {
        daemon.wait_for_state(name, "stopped", secs(60));
    }
    assert!(daemon.alarms().is_empty());
}
