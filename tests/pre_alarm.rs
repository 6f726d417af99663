//! The file of an event begins at the last keyframe at or before (trigger − pre-alarm), and holds everything
//! from there to the event's end.

mod support;

use support::*;

const FPS: u32 = 15;
const PRE_ALARM_S: u32 = 4;

fn record_one_event(gop_s: f64) {
    let clip = Clip::spec().seconds(60.0).gop_seconds(gop_s).motion(21.4, 24.4).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);
    let daemon = Daemon::builder()
        .camera(
            "yard",
            &format!(
                "source: {}\ndetect: {{ warm_up: 2s, minimal_duration: 3s }}\nrecord: {{ pre_alarm: {PRE_ALARM_S}s }}\n",
                server.url("yard")
            ),
        )
        .start();
    let events = daemon.events();
    let recording = daemon.wait_for_recording("yard", secs(50), |recording| recording.complete);
    let path = daemon.archive().join(&recording.path);
    let frames = read_frames(&path);
    assert_unbroken(&frames, clip.frames);
    assert_run_of(&vcl_units(&path, clip.codec), &vcl_units(&clip.path, clip.codec));

    let onset = clip.motion_frames()[0].start;
    let (first, last) = (frames[0].number, frames[frames.len() - 1].number);
    assert_eq!(first % clip.gop, 0, "it begins at a keyframe");
    // The detector may decide a few pictures late, and never before the box moves.
    let trigger = first + (recording.pre_alarm_s.unwrap() * f64::from(FPS)).round() as u32;
    assert!((onset..onset + 5).contains(&trigger), "the trigger is frame {trigger}, motion begins at {onset}");
    let wanted = trigger - PRE_ALARM_S * FPS;
    assert_eq!(first, wanted / clip.gop * clip.gop, "the last keyframe at or before frame {wanted}");
    let end = clip.motion_frames()[0].end + 3 * FPS;
    assert!(last.abs_diff(end) <= FPS, "the event ends near frame {end}, the file at {last}");
    assert_eq!(recording.reason, "motion");
    assert!((duration_s(&path) - f64::from(last + 1 - first) / f64::from(FPS)).abs() < 0.2);
    assert_eq!(server.stats("yard").connections, 1, "one connection is enough");
    assert!(daemon.gaps("yard").is_empty());
    assert!(daemon.metric("tarsier_packets_total", "yard").unwrap() > 300.0);
    events.wait_for("the recording's end", secs(10), |event| format!("{event:?}").contains(&recording.path));
}

#[test]
fn pre_alarm_with_a_keyframe_every_half_second() {
    record_one_event(0.5);
}

#[test]
fn pre_alarm_with_a_keyframe_every_two_seconds() {
    record_one_event(2.0);
}

#[test]
fn pre_alarm_with_a_keyframe_every_eight_seconds() {
    record_one_event(8.0);
}
