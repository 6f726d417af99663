//! Every kind of source through the daemon: what comes out of the archive is what the camera sent.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::*;

fn continuous(source: &str) -> String {
    format!("source: {source}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous }}\n")
}

/// A stream of a file, as ffprobe sees it.
fn stream_of(path: &Path, kind: &str) -> Option<Value> {
    let probed = probe(path);
    probed["streams"].as_array().unwrap().iter().find(|stream| stream["codec_type"] == kind).cloned()
}

fn seconds_of(stream: &Value) -> f64 {
    stream["duration"].as_str().unwrap_or_else(|| panic!("a duration in {stream}")).parse().unwrap()
}

#[test]
fn every_kind_of_source_is_recorded_as_it_came() {
    let h264 = Clip::spec().seconds(12.0).gop_seconds(1.0).bframes(2).make();
    let h265 = Clip::spec().codec(Codec::H265).seconds(12.0).gop_seconds(1.0).make();
    let mjpeg = Clip::spec().codec(Codec::Mjpeg).seconds(6.0).make();
    let with_aac = Clip::spec().seconds(12.0).gop_seconds(1.0).audio(AudioCodec::Aac).make();
    let with_alaw = Clip::spec().seconds(12.0).gop_seconds(1.0).audio(AudioCodec::Alaw).make();
    let with_mulaw = Clip::spec().codec(Codec::H265).seconds(12.0).gop_seconds(1.0).audio(AudioCodec::Mulaw).make();
    let server = RtspServer::start(&[
        Mount::new("rtsp-h264", &h264),
        Mount::new("rtsp-h265", &h265),
        Mount::new("rtsp-mjpeg", &mjpeg),
        Mount::new("aac", &with_aac),
        Mount::new("alaw", &with_alaw),
        Mount::new("mulaw", &with_mulaw),
        Mount::new("mute", &with_aac),
        Mount::new("mkv", &with_alaw),
    ]);
    let http = MjpegServer::start_with_password(&mjpeg, "viewer", "s3cret");
    let http_plain = http.url().replace("viewer:s3cret@", "");
    let cameras: Vec<(&str, &Clip, String, Option<&str>)> = vec![
        ("rtsp-h264", &h264, continuous(&server.url("rtsp-h264")), None),
        ("rtsp-h265", &h265, continuous(&server.url("rtsp-h265")), None),
        ("rtsp-mjpeg", &mjpeg, continuous(&server.url("rtsp-mjpeg")), None),
        ("aac", &with_aac, continuous(&server.url("aac")), Some("aac")),
        ("alaw", &with_alaw, continuous(&server.url("alaw")), Some("flac")),
        ("mulaw", &with_mulaw, continuous(&server.url("mulaw")), Some("flac")),
        ("mute", &with_aac, continuous(&server.url("mute")).replace("continuous }", "continuous, audio: off }"), None),
        (
            "mkv",
            &with_alaw,
            continuous(&server.url("mkv")).replace("continuous }", "continuous, container: mkv }"),
            Some("flac"),
        ),
        ("http-mjpeg", &mjpeg, continuous(&http_plain) + "username: viewer\npassword: s3cret\n", None),
        ("file-h265", &h265, continuous(h265.path.to_str().unwrap()) + "loop: true\n", None),
        ("file-loop", &with_aac, continuous(with_aac.path.to_str().unwrap()) + "loop: true\n", Some("aac")),
    ];
    let mut builder = Daemon::builder();
    for (name, _, yaml, _) in &cameras {
        builder = builder.camera(name, yaml);
    }
    let mut daemon = builder.start();
    for (name, clip, ..) in &cameras {
        let camera = daemon.wait_for_state(name, "running", secs(60));
        assert_eq!(camera["resolution"], "320x240", "{camera}");
        // A file that is repeated goes on beyond its end.
        let wanted = if name.starts_with("file") { f64::from(clip.frames) * 1.3 } else { 90.0 };
        wait_for(&format!("video of {name}"), secs(60), || {
            daemon.metric("tarsier_packets_total", name).filter(|packets| *packets >= wanted)
        });
    }
    for (name, ..) in &cameras {
        assert!(daemon.gaps(name).is_empty(), "{name}");
    }
    assert_eq!(daemon.get_text("/readyz").0, 200);
    assert_eq!(daemon.terminate(secs(6)), Some(0));

    for (name, clip, _, sound) in &cameras {
        let files = recording_files(&daemon.archive().join(name));
        let [path] = &files[..] else { panic!("{name} has {files:?}") };
        decodes_cleanly(path).unwrap();
        let video = stream_of(path, "video").unwrap();
        let (codec, tag) = match clip.codec {
            Codec::H264 => ("h264", Some("avc1")),
            Codec::H265 => ("hevc", Some("hvc1")),
            Codec::Mjpeg => ("mjpeg", None),
        };
        assert_eq!(video["codec_name"], codec, "{name}");
        if let Some(tag) = tag.filter(|_| *name != "mkv") {
            assert_eq!(video["codec_tag_string"], tag, "{name}");
        }
        let units = vcl_units(path, clip.codec);
        assert!(units.len() >= 60, "{name} has {} pictures", units.len());
        assert_run_of(&units, &vcl_units(&clip.path, clip.codec));
        let frames = read_frames(path);
        assert_eq!(frames.len(), units.len(), "{name}");
        // Where pictures refer to later ones, the end may lack some that come before the last.
        let reordered = if *name == "rtsp-h264" { 3 } else { 0 };
        assert_unbroken(&frames[..frames.len() - reordered], clip.frames);
        // Shown at the pace at which it was sent.
        let shown = frames.last().unwrap().pts_s - frames[0].pts_s;
        let sent = (frames.len() - 1) as f64 / f64::from(clip.fps);
        assert!((shown - sent).abs() < 0.4, "{name}: {} frames in {shown} s", frames.len());
        let audio = stream_of(path, "audio");
        assert_eq!(audio.as_ref().and_then(|audio| audio["codec_name"].as_str()), *sound, "{name}");
        if let Some(audio) = audio.filter(|_| *name != "mkv") {
            let (heard, seen) = (seconds_of(&audio), seconds_of(&video));
            assert!((heard - seen).abs() < 0.7, "{name}: {audio} and {video}");
        }
    }
}

#[test]
fn a_file_is_played_once_and_its_recording_closed() {
    let clip = Clip::spec().seconds(6.0).gop_seconds(1.0).audio(AudioCodec::Aac).make();
    let moves = Clip::spec().seconds(14.0).gop_seconds(1.0).motion(6.4, 8.4).make();
    let mut daemon = Daemon::builder()
        .camera("once", &continuous(clip.path.to_str().unwrap()))
        .camera(
            "event",
            &format!(
                "source: {}\ndetect: {{ warm_up: 2s, minimal_duration: 30s }}\nrecord: {{ pre_alarm: 2s }}\n",
                moves.path.to_str().unwrap()
            ),
        )
        .camera("missing", &continuous("/nowhere/to/be/found.mp4"))
        .start();
    let row = daemon.wait_for_recording("once", secs(30), |recording| recording.complete);
    let camera = daemon.wait_for_state("once", "stopped", secs(5));
    assert_eq!((&camera["error"], &camera["recording"]), (&Value::Null, &false.into()), "{camera}");
    let path = daemon.archive().join(&row.path);
    decodes_cleanly(&path).unwrap();
    // All of it, to the last picture.
    let numbers: Vec<u32> = read_frames(&path).iter().map(|frame| frame.number).collect();
    assert_eq!(numbers, (0..clip.frames).collect::<Vec<_>>());
    assert!((duration_s(&path) - clip.seconds()).abs() < 0.1);
    assert!(((row.end.unwrap() - row.start).as_seconds_f64() - clip.seconds()).abs() < 0.1, "{row:?}");

    // An event that is still on when the file ends goes up to its end.
    let row = daemon.wait_for_recording("event", secs(30), |recording| recording.complete);
    daemon.wait_for_state("event", "stopped", secs(5));
    let frames = read_frames(&daemon.archive().join(&row.path));
    assert_unbroken(&frames, moves.frames);
    assert_eq!(frames.last().unwrap().number, moves.frames - 1);
    assert!(frames[0].number <= moves.motion_frames()[0].start - 30);

    let camera = daemon.camera("missing").unwrap();
    assert!(camera["error"].as_str().is_some_and(|error| error.contains("no such file")), "{camera}");
    for name in ["once", "event"] {
        assert!(daemon.gaps(name).is_empty(), "{name}: what has ended misses nothing");
        assert_eq!(daemon.recordings(name).len(), 1);
    }
    // It is not played again by itself, but it is when its file is edited.
    let edited = continuous(clip.path.to_str().unwrap()) + "connect_timeout: 9s\n";
    daemon.write_camera("once", &edited);
    wait_for("a second recording", secs(30), || {
        let rows: Vec<PathBuf> = recording_files(&daemon.archive().join("once"));
        (rows.len() == 2 && daemon.recordings("once").iter().all(|row| row.complete)).then_some(())
    });
    assert_eq!(daemon.terminate(secs(6)), Some(0));
}
