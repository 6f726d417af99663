//! A panic at the first line of every handler, of every `started` and `stopped`, of the reader and of the workers:
//! it ends that part alone, which comes back; no other camera notices.
//!
//! Each place has a camera of its own that crashes there, all in one daemon, beside cameras that must not notice.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use support::*;

/// Where the message of a panic says that it came from.
const BOOM: &str = "boom in";
const FPS: u32 = 10;

/// A camera that crashes at one place.
struct Victim {
    name: String,
    place: &'static str,
    /// Its fail points: (place, what happens there).
    points: Vec<(&'static str, String)>,
    source: Source,
    poke: Poke,
    /// Crashes that are answered with a restart.
    restarts: u64,
    /// What its `error` says.
    tells: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    File,
    /// A mount whose connections the server closes once.
    Kicked,
    Rtsp,
}

#[derive(Clone, Copy, PartialEq)]
enum Poke {
    Nothing,
    Restart,
    Trigger,
}

/// The first `after` times nothing, then one panic.
fn after(after: u32, place: &str) -> String {
    let panic = format!("1*panic({BOOM} {place})");
    if after == 0 { panic } else { format!("{after}*off->{panic}") }
}

impl Victim {
    /// How a crash at `place` is brought about.
    fn of(place: &'static str) -> Self {
        let mut victim = Victim {
            name: place.replace('.', "-"),
            place,
            points: vec![(place, after(0, place))],
            source: Source::File,
            poke: Poke::Nothing,
            restarts: 1,
            tells: format!("{BOOM} {place}"),
        };
        // A crash that makes another part meet `place` a second time, in the middle of a recording.
        let with = |other: &'static str| vec![(other, after(12, other)), (place, after(1, place))];
        match place {
            "camera.tick" | "writer.tick" | "detector.tick" => victim.points = vec![(place, after(12, place))],
            "writer.frame" | "writer.looked" | "detector.frame" | "detector.turn_done" | "worker.detector"
            | "worker.archive" | "worker.encoder" => victim.points = vec![(place, after(25, place))],
            "camera.started" => (victim.points, victim.restarts) = (with("camera.tick"), 2),
            "writer.started" | "detector.set_writer" => (victim.points, victim.restarts) = (with("writer.tick"), 2),
            "detector.started" | "writer.set_detector" => {
                (victim.points, victim.restarts) = (with("detector.tick"), 2);
            }
            "camera.stopped" | "writer.stopped" | "detector.stopped" => {
                let tick = match place {
                    "camera.stopped" => "camera.tick",
                    "writer.stopped" => "writer.tick",
                    _ => "detector.tick",
                };
                victim.points = vec![(tick, after(12, tick)), (place, after(0, place))];
                // What the second panic took down is down already.
                victim.tells = format!("{BOOM} {tick}");
            }
            "camera.part_failed" => {
                victim.points = vec![("writer.tick", after(12, "writer.tick")), (place, after(0, place))];
            }
            "camera.stop" | "camera.stopping" => victim.poke = Poke::Restart,
            "camera.trigger" => victim.poke = Poke::Trigger,
            "camera.feed_report" | "reader.open" => {
                (victim.source, victim.points) = (Source::Kicked, vec![(place, after(1, place))]);
            }
            "writer.session_ended" | "detector.session_ended" => victim.source = Source::Kicked,
            "reader.packet" => (victim.source, victim.points) = (Source::Rtsp, vec![(place, after(25, place))]),
            // The Supervisor does not hear of this camera's crash, and finds it.
            "supervisor.part_failed" => {
                victim.points =
                    vec![("camera.tick", after(0, "camera.tick")), ("supervisor.part_failed", String::new())];
                victim.tells = "ended without a word".to_owned();
            }
            _ => {}
        }
        victim
    }

    /// Does a session end with the crash? Else nothing of its video may be missing.
    fn is_cut(&self) -> bool {
        self.source != Source::File || self.place.starts_with("camera.") || self.place == "supervisor.part_failed"
    }

    fn yaml(&self, clip: &Clip, server: &RtspServer) -> String {
        let source = match self.source {
            Source::File => format!("{}\nloop: true", clip.path.display()),
            Source::Kicked => server.url("kicked"),
            Source::Rtsp => server.url("plain"),
        };
        // An event whose trigger the writer crashes at must be recorded all the same.
        let mode = if self.place == "writer.trigger" { "motion" } else { "continuous" };
        let encode = if self.place == "worker.encoder" { "  encode: { quality: 97 }\n" } else { "" };
        yaml(&source, mode) + encode
    }
}

fn yaml(source: &str, mode: &str) -> String {
    format!(
        "source: {source}\ndetect: {{ warm_up: 1s, minimal_duration: 2s, width: 160, min_area: 1% }}\n\
         record:\n  mode: {mode}\n  pre_alarm: 2s\n  audio: off\n"
    )
}

/// Every place in the actors that catches its panics, as the source has them.
fn places() -> BTreeSet<&'static str> {
    let mut places = BTreeSet::new();
    for (path, text) in sources() {
        for word in text.split('"').skip(1).step_by(2) {
            let is_place = word.split_once('.').is_some_and(|(part, what)| {
                ["supervisor", "camera", "writer", "detector", "reader", "worker"].contains(&part)
                    && what.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            if is_place {
                assert!(places.insert(&*String::leak(word.to_owned())), "{word} is twice in {}", path.display());
            }
        }
    }
    places
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root.join("actors")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.extend(["archive/recorder.rs", "archive/encoding.rs"].map(|path| root.join(path)));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_handler_catches_its_panics() {
    let mut handlers = 0;
    for (path, text) in sources() {
        let count = |needle: &str| text.matches(needle).count();
        let entries =
            ["fn handle(", "fn started(&mut self, context", "fn stopped(&mut self, context", ".run_interval("];
        let entries: usize = entries.into_iter().map(count).sum();
        let caught = ["guarded(self, ", "guarded(actor, ", "survived(self, ", "survived(actor, "].map(count);
        assert_eq!(entries, caught.iter().sum::<usize>(), "{}: entries, and those that catch panics", path.display());
        assert_eq!(count("run_later(") + count("notify_later("), 0, "{}: count these here, too", path.display());
        handlers += entries;
    }
    assert!(handlers > 30, "only {handlers} handlers found");
    assert!(places().len() > 35, "{:?}", places());
}

/// A camera's files in the order of their times.
fn files_of(archive: &Path, camera: &str) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![archive.join(camera)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|_| panic!("{camera} recorded something")) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Recordings that follow each other without a picture missing or stored twice; the number of pictures.
fn assert_continuous(files: &[PathBuf], clip: &Clip) -> usize {
    let numbers: Vec<u32> = files.iter().flat_map(|file| read_frames(file)).map(|frame| frame.number).collect();
    for (at, pair) in numbers.windows(2).enumerate() {
        assert_eq!(pair[1], (pair[0] + 1) % clip.frames, "after picture {at} of {files:?}");
    }
    numbers.len()
}

#[test]
fn a_panic_anywhere_ends_one_part_alone_and_it_comes_back() {
    let clip = Clip::spec().size(160, 120).fps(FPS).seconds(20.0).gop_seconds(1.0).motion(3.0, 20.0).make();
    // Who comes back to these misses something.
    let [kicked, plain] = ["kicked", "plain"].map(|name| Mount::new(name, &clip).join_now());
    let [north, south] = ["north", "south"].map(|name| Mount::new(name, &clip));
    let server = RtspServer::start(&[kicked, plain, north, south]);
    let (of_supervisor, of_cameras): (Vec<_>, Vec<_>) =
        places().into_iter().partition(|place| place.starts_with("supervisor."));
    let mut victims: Vec<Victim> = of_cameras.into_iter().map(Victim::of).collect();
    victims.push(Victim::of("supervisor.part_failed"));

    let mut points = BTreeMap::new();
    for place in &of_supervisor {
        // Not the first tick: something has to run by then.
        let quiet = if *place == "supervisor.tick" { 12 } else { 0 };
        points.insert(format!("{place}@supervisor"), after(quiet, place));
    }
    for victim in &victims {
        for (place, action) in victim.points.iter().filter(|(_, action)| !action.is_empty()) {
            points.insert(format!("{place}@{}", victim.name), action.clone());
        }
    }
    let text: Vec<String> = points.iter().map(|(point, action)| format!("{point}={action}")).collect();
    let mut builder = Daemon::builder().env("FAILPOINTS", &text.join(";"));
    for victim in &victims {
        builder = builder.camera(&victim.name, &victim.yaml(&clip, &server));
    }
    for witness in ["north", "south"] {
        builder = builder.camera(witness, &yaml(&server.url(witness), "continuous"));
    }
    let restarted = format!("{}\nloop: true", clip.path.display());
    let mut daemon = builder.camera("restarted", &yaml(&restarted, "continuous")).start();
    let pid = daemon.pid();

    // Everyone records; those that wait for something get it.
    for witness in ["north", "south", "restarted"] {
        daemon.wait_for_camera(witness, secs(30), |camera| camera["recording"] == true);
    }
    let started_at = |daemon: &Daemon, name: &str| daemon.camera(name).unwrap()["started_at"].clone();
    let witnesses_began = ["north", "south"].map(|name| started_at(&daemon, name));
    let crashed_at = |place: &str| daemon.wait_for_stderr(&format!("{BOOM} {place}"), secs(30));
    // The first restart is not heard of, the second's end is not.
    let began = started_at(&daemon, "restarted");
    for place in ["supervisor.restart_camera", "supervisor.camera_stopped"] {
        daemon.post("/api/cameras/restarted/restart");
        crashed_at(place);
    }
    daemon
        .wait_for_camera("restarted", secs(30), |camera| camera["started_at"] != began && camera["state"] == "running");

    for victim in &victims {
        if victim.source == Source::Kicked {
            daemon.wait_for_camera(&victim.name, secs(30), |camera| camera["recording"] == true);
        }
    }
    server.kick("kicked");
    for victim in &victims {
        let poke = match victim.poke {
            Poke::Nothing => continue,
            Poke::Restart => "restart",
            Poke::Trigger => "trigger",
        };
        daemon.wait_for_camera(&victim.name, secs(30), |camera| camera["recording"] == true);
        let (status, body) = daemon.post(&format!("/api/cameras/{}/{poke}", victim.name));
        assert_eq!(status / 100, 2, "{body}");
    }
    // The first reload comes to nothing at once, the second after it has told the cameras.
    daemon.signal(libc::SIGHUP);
    crashed_at("supervisor.reload");
    daemon.signal(libc::SIGHUP);
    crashed_at("supervisor.global_read");
    for victim in &victims {
        crashed_at(victim.place);
        // Twice the longest wait after two crashes, and time for a slow machine.
        let camera = daemon.wait_for_camera(&victim.name, secs(30), |camera| {
            camera["state"] == "running" && camera["restarts"] == victim.restarts
        });
        let error = camera["error"].as_str().unwrap_or_default();
        assert!(error.contains(&victim.tells), "{}: its error is {error:?}", victim.name);
    }
    for place in of_supervisor.iter().filter(|place| **place != "supervisor.shutdown") {
        crashed_at(place);
    }
    // What came back records: the newest recording of each goes on.
    for victim in &victims {
        let newest = || daemon.recordings(&victim.name).pop();
        let open = wait_for(&format!("a recording of {}", victim.name), secs(30), newest);
        wait_for(&format!("more of {}", victim.name), secs(30), || {
            newest().filter(|row| row.id != open.id || !row.complete || row.reason == "motion")
        });
        let gaps = || daemon.gaps(&victim.name);
        // A gap is written down a moment after its end.
        let caused_by = |cause: &str| {
            let what = format!("a gap of {} by {cause}", victim.name);
            wait_for(&what, secs(20), || gaps().into_iter().find(|gap| gap["cause"] == cause));
        };
        match victim.place {
            // The next life begins at once: there may be no gap.
            "camera.stop" | "camera.stopping" => {}
            "writer.session_ended" | "detector.session_ended" => caused_by("disconnected"),
            _ if victim.is_cut() => caused_by("crash"),
            _ => assert!(gaps().is_empty(), "{}: nothing is missing, and gaps {:?}", victim.name, gaps()),
        }
    }

    // The others noticed nothing.
    assert!(daemon.is_alive());
    assert_eq!(daemon.pid(), pid);
    for (witness, began) in ["north", "south"].into_iter().zip(&witnesses_began) {
        let camera = daemon.camera(witness).unwrap();
        assert_eq!((&camera["state"], &camera["restarts"]), (&"running".into(), &0.into()), "{camera}");
        assert_eq!(camera["started_at"], *began);
        assert!(daemon.gaps(witness).is_empty());
        assert_eq!(server.stats(witness).connections, 1);
    }
    assert_eq!(daemon.get_text("/readyz").0, 200);

    // And the end comes in time though the Supervisor crashes at it.
    let sent = ["north", "south"].map(|name| server.stats(name).sent);
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    assert!(daemon.stderr().contains(&format!("{BOOM} supervisor.shutdown")));

    let archive = daemon.archive();
    for (witness, sent) in ["north", "south"].into_iter().zip(sent) {
        let pictures = assert_continuous(&files_of(&archive, witness), &clip);
        assert!(pictures as u64 + u64::from(FPS) >= sent, "{witness}: {pictures} of {sent} pictures");
    }
    for victim in &victims {
        let files = files_of(&archive, &victim.name);
        if victim.is_cut() {
            assert!(files.len() >= 2, "{}: {files:?}", victim.name);
            files.iter().for_each(|file| _ = assert_continuous(std::slice::from_ref(file), &clip));
        } else {
            assert_continuous(&files, &clip);
            // The clip plays from its beginning, and moves from its third second on.
            let from = if victim.place == "writer.trigger" { FPS } else { 0 };
            assert_eq!(read_frames(&files[0])[0].number, from, "{}", victim.name);
        }
    }
}
