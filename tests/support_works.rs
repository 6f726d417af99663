//! The tests' own tools, tested: a tool that is wrong makes every other test worthless.

mod support;

use std::path::Path;
use std::process::Command;

use support::*;

/// Records `seconds` of a stream with ffmpeg, packets copied.
fn copy_stream(url: &str, transport: &str, seconds: u32, to: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-rtsp_transport", transport, "-i", url])
        .args(["-map", "0:v", "-t", &seconds.to_string(), "-c", "copy"])
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg records {url}");
}

#[test]
fn clips_carry_their_frame_numbers_in_every_codec() {
    for (codec, bframes) in [(Codec::H264, 0), (Codec::H264, 2), (Codec::H265, 0), (Codec::Mjpeg, 0)] {
        let clip = Clip::spec().codec(codec).bframes(bframes).seconds(4.0).motion(1.0, 2.0).make();
        let frames = read_frames(&clip.path);
        let numbers: Vec<u32> = frames.iter().map(|f| f.number).collect();
        assert_eq!(numbers, (0..clip.frames).collect::<Vec<u32>>(), "{codec:?} with {bframes} B-frames");
    }
}

#[test]
fn keyframes_come_at_the_gop() {
    let clip = Clip::spec().seconds(9.0).gop_seconds(2.0).motion(3.0, 4.0).make();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=flags", "-of", "csv=p=0"])
        .arg(&clip.path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let keys: Vec<usize> = text.lines().enumerate().filter(|(_, l)| l.starts_with('K')).map(|(n, _)| n).collect();
    assert_eq!(keys, [0, 30, 60, 90, 120]);
}

#[test]
fn the_rtsp_server_sends_what_the_clip_holds() {
    let scratch = tempfile::tempdir().unwrap();
    for codec in [Codec::H264, Codec::H265, Codec::Mjpeg] {
        let clip = Clip::spec().codec(codec).seconds(4.0).make();
        let server = RtspServer::start(&[Mount::new("yard", &clip).digest_auth("me", "pass")]);
        for (count, transport) in [(1, "tcp"), (2, "udp")] {
            let copy = scratch.path().join(format!("{codec:?}-{transport}.mov"));
            // Longer than the clip, so that it starts again.
            copy_stream(&server.url("yard"), transport, 5, &copy);
            let units = vcl_units(&copy, codec);
            assert!(units.len() >= 60, "{} units of {codec:?}", units.len());
            assert_run_of(&units, &vcl_units(&clip.path, codec));
            assert_unbroken(&read_frames(&copy), clip.frames);
            assert_eq!(server.stats("yard").connections, count);
        }
        assert!(server.stats("yard").sent >= 75);
    }
}

#[test]
fn an_access_unit_that_is_missing_is_noticed() {
    let clip = Clip::spec().seconds(4.0).make();
    let all = vcl_units(&clip.path, Codec::H264);
    assert_eq!(assert_run_of(&all[10..20], &all), 10);
    let broken = [&all[10..14], &all[15..20]].concat();
    assert!(std::panic::catch_unwind(|| assert_run_of(&broken, &all)).is_err());
}

#[test]
fn the_relay_counts_and_cuts_and_heals() {
    use std::io::{Read, Write};
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = echo.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in echo.incoming() {
            let mut client = client.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0u8; 1];
                while client.read(&mut byte).is_ok_and(|n| n == 1) && client.write_all(&byte).is_ok() {}
            });
        }
    });
    let relay = Relay::to(port);
    let connect = || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", relay.port()))?;
        stream.set_read_timeout(Some(std::time::Duration::from_millis(400)))?;
        Ok::<_, std::io::Error>(stream)
    };
    let say = |stream: &mut std::net::TcpStream| {
        let mut byte = [0u8; 1];
        stream.write_all(b"x")?;
        stream.read_exact(&mut byte)?;
        Ok::<_, std::io::Error>(byte[0])
    };
    let mut first = connect().unwrap();
    assert_eq!(say(&mut first).unwrap(), b'x');
    assert_eq!((relay.accepted(), relay.open(), relay.bytes()), (1, 1, 1));
    relay.stall();
    assert!(say(&mut first).is_err(), "nothing passes a stalled relay");
    relay.cut();
    wait_for("the connection to close", secs(5), || (relay.open() == 0).then_some(()));
    assert!(connect().is_err(), "a cut relay refuses");
    relay.heal();
    let mut second = connect().unwrap();
    assert_eq!(say(&mut second).unwrap(), b'x');
    relay.corrupt(1);
    assert_ne!(say(&mut second).unwrap(), b'x');
    assert_eq!(relay.accepted(), 2);
}

#[test]
fn the_mjpeg_server_sends_the_clips_jpegs() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::spec().codec(Codec::Mjpeg).seconds(4.0).make();
    let server = MjpegServer::start_with_password(&clip, "me", "pass");
    let copy = scratch.path().join("copy.mov");
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-i", &server.url(), "-t", "2", "-c", "copy"])
        .arg(&copy)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(assert_run_of(&vcl_units(&copy, Codec::Mjpeg), &vcl_units(&clip.path, Codec::Mjpeg)), 0);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_stream_can_change_its_size() {
    let scratch = tempfile::tempdir().unwrap();
    let small = Clip::spec().seconds(2.0).make();
    let large = Clip::spec().size(640, 360).seconds(2.0).make();
    let both = concat(&[&small, &large]);
    let server = RtspServer::start(&[Mount::new("yard", &both)]);
    let copy = scratch.path().join("copy.h264");
    copy_stream(&server.url("yard"), "tcp", 3, &copy);
    assert_run_of(&vcl_units(&copy, Codec::H264), &vcl_units(&both.path, Codec::H264));
}

/// Times and keyframe flags of a stream's packets, read by ffprobe on a thread until it ends.
fn packets(url: &str) -> std::thread::JoinHandle<Vec<(f64, bool)>> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-rtsp_transport", "tcp", "-select_streams", "v:0"]);
    command.args(["-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", url]);
    std::thread::spawn(move || {
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let fields = text.lines().filter_map(|line| line.split_once(','));
        fields.filter_map(|(time, flags)| Some((time.parse().ok()?, flags.starts_with('K')))).collect()
    })
}

#[test]
fn the_rtsp_server_misbehaves_when_told() {
    let clip = Clip::spec().seconds(30.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[
        Mount::new("jumps", &clip),
        Mount::new("keyless", &clip),
        Mount::new("stalls", &clip),
        Mount::new("kicks", &clip),
    ]);
    let units_more = |mount: &str, more: u64| {
        let before = server.stats(mount).sent;
        wait_for(mount, secs(30), || (server.stats(mount).sent >= before + more).then_some(()));
    };
    let all = ["jumps", "keyless", "stalls", "kicks"];
    let [jumping, keyless, stalling, kicked] = all.map(|mount| packets(&server.url(mount)));
    for mount in all {
        wait_for(mount, secs(30), || (server.stats(mount).plays > 0).then_some(()));
        units_more(mount, 45);
    }
    server.kick("kicks");
    assert!(kicked.join().unwrap().len() < 250, "a kicked client ends");
    server.drop_keyframes("keyless", true);
    server.stall("stalls", true);
    server.shift_timestamps("jumps", 100.0);
    units_more("stalls", 30);
    server.stall("stalls", false);
    server.shift_timestamps("jumps", -50.0);
    units_more("keyless", 45);
    all.iter().for_each(|mount| server.kick(mount));
    let steps: Vec<f64> = jumping.join().unwrap().windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(steps.iter().any(|step| (step - 100.0).abs() < 1.0), "forward: {steps:?}");
    assert!(steps.iter().any(|step| (step + 50.0).abs() < 1.0), "back: {steps:?}");
    let keys: Vec<bool> = keyless.join().unwrap().iter().map(|(_, key)| *key).collect();
    assert!(keys.iter().filter(|key| **key).count() >= 3 && !keys.iter().rev().take(30).any(|key| *key), "{keys:?}");
    let times: Vec<f64> = stalling.join().unwrap().iter().map(|(time, _)| *time).collect();
    assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 1.5), "a stall leaves a hole: {times:?}");
    assert!(server.stats("stalls").skipped >= 25);
}

#[test]
fn the_rtsp_server_has_sound_passwords_and_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let aac = Clip::spec().seconds(4.0).audio(AudioCodec::Aac).make();
    let alaw = Clip::spec().seconds(4.0).audio(AudioCodec::Alaw).make();
    let server = RtspServer::start(&[
        Mount::new("aac", &aac).once(),
        Mount::new("alaw", &alaw).basic_auth("me", "pass"),
        Mount::new("deaf", &aac).without_audio(),
        Mount::new("blind", &aac).without_video(),
    ]);
    let codecs = |mount: &str, file: &str| {
        let copy = scratch.path().join(file);
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", &server.url(mount)])
            .args(["-map", "0", "-t", "6", "-c", "copy"])
            .arg(&copy)
            .output()
            .unwrap();
        assert!(output.status.success(), "{mount}: {}", String::from_utf8_lossy(&output.stderr));
        let probed = probe(&copy);
        let streams = probed["streams"].as_array().unwrap();
        streams.iter().map(|s| s["codec_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(codecs("aac", "aac.mp4"), ["h264", "aac"]);
    assert!(server.stats("aac").ended);
    assert_eq!(vcl_units(&scratch.path().join("aac.mp4"), Codec::H264), vcl_units(&aac.path, Codec::H264));
    assert_eq!(codecs("alaw", "alaw.mov"), ["h264", "pcm_alaw"]);
    assert_eq!(codecs("deaf", "deaf.mp4"), ["h264"]);
    assert_eq!(codecs("blind", "blind.mp4"), ["aac"]);
    for wrong in ["me:wrong@", ""] {
        let url = server.url("alaw").replace("me:pass@", wrong);
        let output = Command::new("ffprobe").args(["-v", "error", "-rtsp_transport", "tcp", &url]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("401 Unauthorized"), "with `{wrong}`");
    }
    let missing = server.url("deaf").replace("/deaf", "/nowhere");
    let output = Command::new("ffprobe").args(["-v", "error", "-rtsp_transport", "tcp", &missing]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("404"), "{output:?}");
}
