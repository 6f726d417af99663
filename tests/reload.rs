//! Hot reload: only what changed restarts. Real cameras, the real daemon, edits as editors and orchestrators make
//! them. What a camera is spared is seen at its server (connections) and in its recordings (every picture).

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::*;
use tarsier::clock::monotonic;

const FPS: u64 = 15;
/// What the server has sent and the recorder may not have got yet when the daemon is told to end.
const ON_THE_WAY: u64 = 2 * FPS;

/// A camera that records all the time and detects nothing.
fn continuous(source: &str) -> String {
    format!("source: {source}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous }}\n")
}

fn clip(width: u32, height: u32) -> Clip {
    Clip::spec().size(width, height).seconds(60.0).gop_seconds(1.0).make()
}

fn records(camera: &Value) -> bool {
    camera["state"] == "running" && camera["recording"] == true
}

fn generation(daemon: &Daemon, name: &str) -> u64 {
    daemon.camera(name).unwrap_or_else(|| panic!("camera {name} is there"))["generation"].as_u64().unwrap()
}

fn newest_generation(daemon: &Daemon) -> u64 {
    daemon.cameras().iter().filter_map(|camera| camera["generation"].as_u64()).max().unwrap()
}

fn names(daemon: &Daemon) -> Vec<String> {
    daemon.cameras().iter().map(|camera| camera["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the daemon has read everything that is in the folder now: a scan reads all files, and the newest
/// one shows in the API.
#[track_caller]
fn wait_until_read(daemon: &Daemon) {
    let marker = "zz-marker";
    daemon.replace_camera(marker, "source: nothing.mp4\nenabled: false\n");
    daemon.wait_for_state(marker, "disabled", secs(30));
    daemon.remove_camera(marker);
    wait_for("the marker to leave", secs(30), || daemon.camera(marker).is_none().then_some(()));
}

/// Edits a camera's file and waits for the one restart that it must make.
#[track_caller]
fn restarts_once(daemon: &Daemon, name: &str, edit: impl FnOnce()) {
    let before = daemon.wait_for_camera(name, secs(40), records);
    let newest = newest_generation(daemon);
    edit();
    let after = daemon
        .wait_for_camera(name, secs(40), |camera| camera["generation"] != before["generation"] && records(camera));
    wait_until_read(daemon);
    // Generations are counted over all cameras, so any other start would show here too.
    assert_eq!(generation(daemon, name), newest + 1, "one restart, of {name} alone");
    assert_eq!(newest_generation(daemon), newest + 1, "nothing else started");
    assert_ne!(after["started_at"], before["started_at"]);
    // The life before has taken nothing away from this one.
    assert_eq!(daemon.request("GET", &format!("/api/cameras/{name}/snapshot.jpg"), &[]).0, 200);
}

/// Edits a camera's file and sees that nothing restarts.
#[track_caller]
fn restarts_nothing(daemon: &Daemon, name: &str, edit: impl FnOnce()) {
    let before = daemon.wait_for_camera(name, secs(40), records);
    edit();
    wait_until_read(daemon);
    let after = daemon.camera(name).unwrap();
    for key in ["generation", "started_at", "since", "state", "config_error"] {
        assert_eq!(after[key], before[key], "{key} of {name}");
    }
}

/// A camera that nobody touched: one connection, one file, and in it every VCL NAL unit of the source in order,
/// from the first to the last. Ends the daemon.
#[track_caller]
fn assert_untouched(daemon: &mut Daemon, server: &RtspServer, cameras: &[(&str, &str, &Clip)]) {
    let mut expected = Vec::new();
    for (name, mount, clip) in cameras {
        let stats = server.stats(mount);
        assert_eq!((stats.connections, stats.plays), (1, 1), "{name} was never connected to again");
        assert!(daemon.gaps(name).is_empty(), "gaps of {name}: {:?}", daemon.gaps(name));
        let rows = daemon.recordings(name);
        assert_eq!(rows.len(), 1, "one recording of {name}: {rows:?}");
        expected.push((rows[0].path.clone(), stats, clip));
    }
    assert_eq!(daemon.terminate(secs(15)), Some(0));
    for (path, stats, clip) in expected {
        let path = daemon.archive().join(path);
        let units = vcl_units(&path, clip.codec);
        let start = assert_run_of(&units, &vcl_units(&clip.path, clip.codec)) as u64;
        assert_eq!(start, stats.first[0] % u64::from(clip.frames), "it begins with the first picture sent");
        let sent = stats.sent - stats.first[0];
        assert!(units.len() as u64 + ON_THE_WAY >= sent, "{sent} pictures were sent, {} stored", units.len());
        decodes_cleanly(&path).unwrap();
    }
}

#[test]
fn an_edit_restarts_its_own_camera_and_no_other() {
    let clip = clip(320, 240);
    let server = RtspServer::start(&[Mount::new("edited", &clip).join_now(), Mount::new("other", &clip)]);
    let yaml = |record: &str| {
        format!("source: {}\ndetect: {{ enabled: false }}\nrecord: {{ {record} }}\n", server.url("edited"))
    };
    let first = yaml("mode: continuous, pre_alarm: 5s");
    let mut daemon =
        Daemon::builder().camera("edited", &first).camera("other", &continuous(&server.url("other"))).start();
    daemon.wait_for_camera("other", secs(40), records);
    let file = daemon.camera_file("edited");

    // What means the same restarts nothing, however it is written.
    restarts_nothing(&daemon, "edited", || daemon.write_camera("edited", &format!("# a comment\n\n{first}\n\n")));
    restarts_nothing(&daemon, "edited", || {
        daemon.replace_camera("edited", &yaml("pre_alarm:   \"5000ms\"  ,   mode: continuous"));
    });
    restarts_nothing(&daemon, "edited", || {
        // A preset, given by itself.
        daemon.write_camera("edited", &format!("{}enabled: true\ntransport: tcp\n", yaml("mode: continuous")));
    });
    restarts_nothing(&daemon, "edited", || fs::rename(&file, file.with_extension("yml")).unwrap());
    restarts_nothing(&daemon, "edited", || fs::rename(file.with_extension("yml"), &file).unwrap());

    // What means something else restarts it once, however it is saved.
    restarts_once(&daemon, "edited", || daemon.write_camera("edited", &yaml("mode: continuous, pre_alarm: 4s")));
    restarts_once(&daemon, "edited", || daemon.replace_camera("edited", &yaml("mode: continuous, pre_alarm: 3s")));
    restarts_once(&daemon, "edited", || {
        // As editors do that keep the old file.
        fs::rename(&file, daemon.folder().join("config.d/edited.yaml~")).unwrap();
        fs::write(&file, yaml("mode: continuous, pre_alarm: 2s")).unwrap();
        fs::remove_file(daemon.folder().join("config.d/edited.yaml~")).unwrap();
    });

    // Each restart is written down.
    let gaps_are = |count: usize| {
        wait_for(&format!("{count} gaps"), secs(10), || (daemon.gaps("edited").len() >= count).then_some(()));
        let gaps = daemon.gaps("edited");
        assert_eq!(gaps.len(), count, "{gaps:#?}");
    };
    gaps_are(3);
    assert!(daemon.metric("tarsier_gap_seconds_total", "edited").unwrap() > 0.0);

    // A fault leaves the camera as it is, and says where it lies.
    let before = daemon.wait_for_camera("edited", secs(40), records);
    let good = fs::read_to_string(&file).unwrap();
    daemon.write_camera("edited", &good.replace("record: {", "record: { pre_alrm: 7s,"));
    let broken = daemon.wait_for_camera("edited", secs(30), |camera| !camera["config_error"].is_null());
    let error = broken["config_error"].as_str().unwrap().to_owned();
    assert_eq!(error, "config.d/edited.yaml:3:11: unknown key `record.pre_alrm` (did you mean `record.pre_alarm`?)");
    daemon.wait_for_stderr(&error, secs(10));
    let log = fs::read_to_string(daemon.folder().join("log/tarsier.log")).unwrap();
    assert!(log.contains(&error), "the file of the log has it too");
    // Another fault takes its place.
    daemon.write_camera("edited", &good.replace("source:", "source"));
    daemon.wait_for_camera("edited", secs(30), |camera| {
        camera["config_error"].as_str().is_some_and(|text| text.contains("edited.yaml:2:7: not valid YAML"))
    });
    assert_eq!(broken["state"], "running");
    // Mended as it was: the complaint is gone and nothing restarts.
    daemon.write_camera("edited", &good);
    let mended = daemon.wait_for_camera("edited", secs(30), |camera| camera["config_error"].is_null());
    assert_eq!(mended["generation"], before["generation"]);
    assert_eq!(mended["started_at"], before["started_at"]);
    // Broken, and mended as something else: one restart.
    daemon.write_camera("edited", "source: [\n");
    daemon.wait_for_camera("edited", secs(30), |camera| !camera["config_error"].is_null());
    restarts_once(&daemon, "edited", || daemon.write_camera("edited", &yaml("mode: continuous, pre_alarm: 1s")));
    assert!(daemon.camera("edited").unwrap()["config_error"].is_null());

    // Switched off and on: what lies between is no gap, because nothing should have been recorded.
    gaps_are(4);
    daemon.write_camera("edited", &format!("{good}enabled: false\n"));
    daemon.wait_for_state("edited", "disabled", secs(30));
    daemon.write_camera("edited", &good);
    daemon.wait_for_camera("edited", secs(40), records);
    wait_until_read(&daemon);

    // Removed: it leaves the list, its connection is closed and its last recording is whole.
    daemon.remove_camera("edited");
    wait_for("the camera to leave the list", secs(30), || daemon.camera("edited").is_none().then_some(()));
    assert_eq!(daemon.get_text("/api/cameras/edited").0, 404);
    wait_for("its connection to end", secs(20), || (server.stats("edited").open == 0).then_some(()));
    let rows = daemon.recordings("edited");
    assert_eq!(rows.len(), 6, "{rows:?}");
    // A gap lies exactly between two recordings.
    gaps_are(4);
    let time = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    for gap in daemon.gaps("edited") {
        assert_eq!(gap["cause"], "reload");
        let (start, end) = (time(&gap["start"]), time(&gap["end"]));
        assert!(start < end, "{gap}");
        let fits = rows.windows(2).any(|pair| {
            (pair[0].end.unwrap() - start).num_milliseconds().abs() < 300
                && (pair[1].start - end).num_milliseconds().abs() < 300
        });
        assert!(fits, "{gap} between {rows:#?}");
    }
    let source = vcl_units(&clip.path, clip.codec);
    for row in &rows {
        assert!(row.complete && row.end.is_some(), "{row:?}");
        let path = daemon.archive().join(&row.path);
        assert_run_of(&vcl_units(&path, clip.codec), &source);
        assert_unbroken(&read_frames(&path), clip.frames);
    }
    assert_untouched(&mut daemon, &server, &[("other", "other", &clip)]);
}

#[test]
fn a_file_that_is_broken_at_the_start_leaves_a_gap_until_it_is_mended() {
    let clip = clip(320, 240);
    let server = RtspServer::start(&[Mount::new("yard", &clip), Mount::new("gate", &clip)]);
    let [yard, gate] = ["yard", "gate"].map(|name| continuous(&server.url(name)));
    let mut daemon = Daemon::builder().camera("yard", &yard).camera("gate", &gate).start();
    for name in ["yard", "gate"] {
        let bytes = || daemon.metric("tarsier_recorded_bytes_total", name).filter(|bytes| *bytes > 10_000.0);
        wait_for("pictures on the disk", secs(40), bytes);
    }
    daemon.kill();
    daemon.write_camera("yard", "source: [\n");
    daemon.write_camera("gate", &format!("{gate}enabled: false\n"));
    daemon.restart();
    daemon.wait_for_state("yard", "config_error", secs(20));
    let down = daemon.open_gap("yard").expect("it goes on");
    // The next process knows no more, and the other camera is not to record.
    daemon.kill();
    daemon.restart();
    daemon.wait_for_state("yard", "config_error", secs(20));
    daemon.wait_for_state("gate", "disabled", secs(20));
    assert_eq!(daemon.open_gap("yard").as_ref(), Some(&down));
    assert_eq!(daemon.open_gap("gate"), None);
    assert_eq!(daemon.gaps("gate").len(), 1, "{:?}", daemon.gaps("gate"));

    daemon.write_camera("yard", &yard);
    daemon.wait_for_camera("yard", secs(40), records);
    wait_for("the gap's end", secs(20), || (!daemon.gaps("yard").is_empty()).then_some(()));
    let (rows, gaps) = (daemon.recordings("yard"), daemon.gaps("yard"));
    assert_eq!((rows.len(), gaps.len(), daemon.open_gap("yard")), (2, 1, None), "{rows:#?} {gaps:#?}");
    let time = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((&gaps[0]["cause"], time(&gaps[0]["start"])), (&"down".into(), rows[0].end.unwrap()));
    assert!((time(&gaps[0]["end"]) - rows[1].start).num_milliseconds().abs() < 300, "{rows:#?} {gaps:#?}");
}

/// Cameras' files as a careless night of editing leaves them.
struct Editor<'a> {
    daemon: &'a Daemon,
    server: &'a RtspServer,
    random: fastrand::Rng,
    /// What each file should make of its camera: the mount that it leads to, or nothing (it is broken).
    files: BTreeMap<String, Option<usize>>,
    /// The mount of the camera `mapped`, which comes from a ConfigMap, and the version of that.
    mapped: Option<usize>,
    revision: u32,
}

const MOUNTS: [(&str, u32, u32); 3] = [("m0", 320, 240), ("m1", 352, 288), ("m2", 400, 304)];
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

impl Editor<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.daemon.camera_file(name)
    }

    fn yaml(&mut self, mount: usize) -> String {
        let pre_alarm = self.random.u32(1..9);
        let source = self.server.url(MOUNTS[mount].0);
        format!(
            "source: {source}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous, pre_alarm: {pre_alarm}s }}\n"
        )
    }

    fn existing(&mut self) -> Option<String> {
        let names: Vec<String> = self.files.keys().cloned().collect();
        self.random.choice(names)
    }

    fn free(&mut self) -> Option<String> {
        let names: Vec<&str> = NAMES.into_iter().filter(|name| !self.files.contains_key(*name)).collect();
        self.random.choice(names).map(str::to_owned)
    }

    /// Lets the untouched camera send so many pictures: a pause that the machine's speed does not change.
    fn pause(&self, pictures: u64) {
        let until = self.server.stats("still").sent + pictures;
        wait_for("pictures", secs(30), || (self.server.stats("still").sent >= until).then_some(()));
    }

    fn edit(&mut self) {
        let mount = self.random.usize(0..MOUNTS.len());
        let kind = self.random.u32(0..10);
        match (kind, self.existing(), self.free()) {
            (0 | 1, _, Some(name)) => {
                let yaml = self.yaml(mount);
                self.daemon.write_camera(&name, &yaml);
                self.files.insert(name, Some(mount));
            }
            (2, Some(name), _) if self.files.len() > 2 => {
                self.daemon.remove_camera(&name);
                self.files.remove(&name);
            }
            (3, Some(name), Some(other)) => {
                fs::rename(self.path(&name), self.path(&other)).unwrap();
                let state = self.files.remove(&name).unwrap();
                self.files.insert(other, state);
            }
            (4, Some(name), _) => {
                let broken = self.random.choice(["source: [\n", "sorce: x\n", "", "\u{0}", "record: { mode: 7 }\n"]);
                self.daemon.write_camera(&name, broken.unwrap());
                self.files.insert(name, None);
            }
            (5, Some(name), _) => {
                // Truncated, half, whole.
                let yaml = self.yaml(mount);
                let (half, rest) = yaml.split_at(self.random.usize(1..yaml.len()));
                let mut file = fs::File::create(self.path(&name)).unwrap();
                self.pause(1);
                std::io::Write::write_all(&mut file, half.as_bytes()).unwrap();
                self.pause(2);
                std::io::Write::write_all(&mut file, rest.as_bytes()).unwrap();
                self.files.insert(name, Some(mount));
            }
            (6, Some(name), _) => {
                let (path, yaml) = (self.path(&name), self.yaml(mount));
                let kept = path.with_extension("yaml~");
                fs::rename(&path, &kept).unwrap();
                fs::write(&path, yaml).unwrap();
                fs::remove_file(kept).unwrap();
                self.files.insert(name, Some(mount));
            }
            (7, Some(name), _) => {
                let yaml = self.yaml(mount);
                self.daemon.replace_camera(&name, &yaml);
                self.files.insert(name, Some(mount));
            }
            (8, Some(name), _) => {
                let text = fs::read_to_string(self.path(&name)).unwrap();
                self.daemon.write_camera(&name, &format!("{text}# {kind}\n"));
            }
            _ => self.swap(mount),
        }
    }

    /// The next version of a Kubernetes ConfigMap, which holds the camera `mapped`: files are symbolic links to
    /// `..data/`, which is one to a folder of its own and is renamed over.
    fn swap(&mut self, mount: usize) {
        self.revision += 1;
        let folder = self.daemon.folder().join("config.d");
        let yaml = self.yaml(mount);
        let revision = format!("..revision_{}", self.revision);
        fs::create_dir(folder.join(&revision)).unwrap();
        fs::write(folder.join(&revision).join("mapped.yaml"), yaml).unwrap();
        symlink(&revision, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if self.revision == 1 {
            symlink("..data/mapped.yaml", folder.join("mapped.yaml")).unwrap();
        } else {
            fs::remove_dir_all(folder.join(format!("..revision_{}", self.revision - 1))).unwrap();
        }
        self.mapped = Some(mount);
    }
}

#[test]
fn fifty_edits_leave_what_the_folder_says_and_an_untouched_camera_alone() {
    let still = clip(320, 240);
    let clips = MOUNTS.map(|(_, width, height)| clip(width, height));
    let mut mounts: Vec<Mount> = MOUNTS.iter().zip(&clips).map(|((name, ..), clip)| Mount::new(name, clip)).collect();
    mounts.push(Mount::new("still", &still));
    let server = RtspServer::start(&mounts);
    let mut builder = Daemon::builder().camera("still", &continuous(&server.url("still")));
    for (name, (mount, ..)) in ["a", "b", "c"].iter().zip(MOUNTS) {
        builder = builder.camera(name, &continuous(&server.url(mount)));
    }
    let mut daemon = builder.start();
    for name in ["a", "b", "c", "still"] {
        daemon.wait_for_camera(name, secs(60), records);
    }

    // Another night: EDIT_SEED=7 cargo test --test reload fifty
    let seed = std::env::var("EDIT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(31_313);
    let files = ["a", "b", "c"].into_iter().enumerate().map(|(mount, name)| (name.to_owned(), Some(mount))).collect();
    let random = fastrand::Rng::with_seed(seed);
    let mut editor = Editor { daemon: &daemon, server: &server, random, files, mapped: None, revision: 0 };
    for _ in 0..50 {
        editor.edit();
        let pictures = editor.random.u64(0..8);
        editor.pause(pictures);
    }
    if editor.mapped.is_none() {
        editor.swap(1);
    }

    // Exactly the cameras of the folder, each as its file says.
    let mut expected = editor.files.clone();
    expected.insert("mapped".to_owned(), editor.mapped);
    let wanted: Vec<String> = expected.keys().cloned().chain(["still".to_owned()]).collect();
    let resolution = |mount: usize| format!("{}x{}", MOUNTS[mount].1, MOUNTS[mount].2);
    let as_expected = |camera: &Value| match expected.get(camera["name"].as_str().unwrap()) {
        Some(Some(mount)) => {
            records(camera) && camera["config_error"].is_null() && camera["resolution"] == resolution(*mount)
        }
        Some(None) => !camera["config_error"].is_null() && (records(camera) || camera["state"] == "config_error"),
        None => records(camera),
    };
    let start = monotonic();
    let cameras = loop {
        let cameras = daemon.cameras();
        if names(&daemon) == wanted && cameras.iter().all(as_expected) {
            break cameras;
        }
        assert!(start.elapsed() < secs(90), "expected {expected:?}, there is {cameras:#?}");
        editor.pause(1);
    };
    // Nothing that was removed or replaced is still connected.
    for (mount, (name, ..)) in MOUNTS.iter().enumerate() {
        let running = cameras.iter().filter(|c| c["state"] == "running" && c["resolution"] == resolution(mount));
        let running = running.filter(|c| c["name"] != "still").count() as u64;
        let what = format!("{running} connections to {name}");
        wait_for(&what, secs(20), || (server.stats(name).open == running).then_some(()));
    }
    assert!(editor.revision > 1, "the ConfigMap was swapped at least once");

    assert_untouched(&mut daemon, &server, &[("still", "still", &still)]);
    // Whatever else was recorded is unbroken and whole.
    let sources: BTreeMap<u64, Vec<u64>> =
        clips.iter().map(|clip| (u64::from(clip.width), vcl_units(&clip.path, clip.codec))).collect();
    let mut files = 0;
    for path in recordings_below(&daemon.archive()) {
        let streams = probe(&path);
        let width = streams["streams"][0]["width"].as_u64().unwrap();
        assert_run_of(&vcl_units(&path, Codec::H264), &sources[&width]);
        assert!(duration_s(&path) > 0.0);
        files += 1;
    }
    assert!(files > wanted.len(), "the edits made more than one recording of a camera");
}

fn recordings_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(recordings_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "mp4") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_folder_may_be_replaced_be_gone_and_be_seen_without_a_hint() {
    let clip = clip(320, 240);
    let server = RtspServer::start(&[
        Mount::new("kept", &clip),
        Mount::new("changed", &clip),
        Mount::new("dropped", &clip),
        Mount::new("linked", &clip),
    ]);
    let url = |mount: &str| server.url(mount);
    let builder = Daemon::builder()
        .camera("kept", &continuous(&url("kept")))
        .camera("changed", &continuous(&url("changed")))
        .camera("dropped", &continuous(&url("dropped")));
    // A link to a file elsewhere: changes of it send no hint to the folder.
    let elsewhere = builder.folder().join("elsewhere.yaml");
    fs::write(&elsewhere, continuous(&url("linked"))).unwrap();
    symlink(&elsewhere, builder.folder().join("config.d/linked.yaml")).unwrap();
    let mut daemon = builder.start();
    for name in ["kept", "changed", "dropped", "linked"] {
        daemon.wait_for_camera(name, secs(60), records);
    }
    restarts_once(&daemon, "linked", || {
        fs::write(&elsewhere, format!("{}read_timeout: 9s\n", continuous(&url("linked")))).unwrap()
    });

    // While the folder is gone all cameras go on.
    let before = daemon.cameras();
    let folder = daemon.folder().join("config.d");
    fs::rename(&folder, daemon.folder().join("config.old")).unwrap();
    daemon.wait_for_stderr("config.d:1:1: the folder of the cameras is missing", secs(30));
    // Long enough for more than one look.
    let until = server.stats("kept").sent + 4 * FPS;
    wait_for("pictures", secs(30), || (server.stats("kept").sent >= until).then_some(()));
    assert_eq!(names(&daemon).len(), before.len());
    for camera in before {
        let now = daemon.camera(camera["name"].as_str().unwrap()).unwrap();
        assert_eq!((&now["generation"], &now["state"]), (&camera["generation"], &camera["state"]));
    }

    // Another folder in its place: what is the same goes on, the rest follows.
    let prepared = daemon.folder().join("config.new");
    fs::create_dir(&prepared).unwrap();
    fs::write(prepared.join("kept.yaml"), continuous(&url("kept"))).unwrap();
    fs::write(prepared.join("changed.yaml"), format!("{}connect_timeout: 9s\n", continuous(&url("changed")))).unwrap();
    fs::write(prepared.join("added.yaml"), continuous(&url("linked"))).unwrap();
    let (kept, changed) = (generation(&daemon, "kept"), generation(&daemon, "changed"));
    fs::rename(&prepared, &folder).unwrap();
    wait_for("the cameras of the new folder", secs(40), || {
        (names(&daemon) == ["added", "changed", "kept"]).then_some(())
    });
    daemon.wait_for_camera("changed", secs(40), |camera| camera["generation"] != changed && records(camera));
    daemon.wait_for_camera("added", secs(40), records);
    assert_eq!(generation(&daemon, "kept"), kept);

    // The new folder is watched as the old one was: four changes are seen sooner than by looking every 10 s.
    let start = monotonic();
    wait_until_read(&daemon);
    wait_until_read(&daemon);
    assert!(start.elapsed() < secs(20), "hints of the new folder arrive: {:?}", start.elapsed());

    // SIGHUP takes over another folder as a whole.
    fs::create_dir(daemon.folder().join("cameras")).unwrap();
    fs::copy(folder.join("kept.yaml"), daemon.folder().join("cameras/kept.yaml")).unwrap();
    let global = daemon.folder().join("tarsier.yaml");
    fs::write(&global, format!("{}cameras: cameras\n", fs::read_to_string(&global).unwrap())).unwrap();
    daemon.signal(libc::SIGHUP);
    wait_for("the cameras of the other folder", secs(40), || (names(&daemon) == ["kept"]).then_some(()));
    fs::write(daemon.folder().join("cameras/late.yaml"), continuous(&url("linked"))).unwrap();
    daemon.wait_for_camera("late", secs(40), records);
    assert_untouched(&mut daemon, &server, &[("kept", "kept", &clip)]);
}

#[test]
fn sighup_rereads_retries_and_reopens() {
    let clip = clip(320, 240);
    let server =
        RtspServer::start(&[Mount::new("own", &clip), Mount::new("by-default", &clip), Mount::new("dead", &clip)]);
    let relay = Relay::to(server.port("dead"));
    relay.refuse();
    let mut daemon = Daemon::builder()
        .global("defaults: { record: { pre_alarm: 5s } }")
        .camera("own", &continuous(&server.url("own")).replace("continuous", "continuous, pre_alarm: 5s"))
        .camera("by-default", &continuous(&server.url("by-default")))
        .camera("dead", &continuous(&server.url_through("dead", &relay)).replace("mode", "pre_alarm: 1s, mode"))
        .start();
    daemon.wait_for_camera("own", secs(60), records);
    daemon.wait_for_camera("by-default", secs(60), records);
    let global = daemon.folder().join("tarsier.yaml");
    let good = fs::read_to_string(&global).unwrap();

    // A moved log is opened anew under its name.
    let log = daemon.folder().join("log/tarsier.log");
    fs::rename(&log, log.with_extension("moved")).unwrap();
    daemon.signal(libc::SIGHUP);
    wait_for("the log under its name", secs(20), || {
        fs::read_to_string(&log).ok().filter(|text| text.contains("reload"))
    });

    // Another default restarts the cameras that take it, and no other; from the machine's own file too.
    let own = generation(&daemon, "own");
    restarts_once(&daemon, "by-default", || {
        fs::write(&global, good.replace("pre_alarm: 5s", "pre_alarm: 4s")).unwrap();
        daemon.signal(libc::SIGHUP);
    });
    restarts_once(&daemon, "by-default", || {
        let local = daemon.folder().join("tarsier.local.yaml");
        fs::write(local, "defaults: { record: { pre_alarm: 3s }, detect: { algorithm: seed, tamper: false } }\n")
            .unwrap();
        daemon.signal(libc::SIGHUP);
    });
    assert_eq!(generation(&daemon, "own"), own);

    // A broken tarsier.yaml changes nothing, and is told of.
    let events = daemon.events();
    let by_default = generation(&daemon, "by-default");
    fs::write(&global, good.replace("pre_alarm: 5s", "pre_alrm: 2s")).unwrap();
    daemon.signal(libc::SIGHUP);
    daemon.wait_for_stderr("tarsier.yaml:3:23: unknown key `record.pre_alrm`", secs(20));
    events.wait_for("the refusal", secs(20), |event| {
        event.kind == "config_refused" && event.data["file"] == "tarsier.yaml"
    });
    wait_until_read(&daemon);
    assert_eq!((generation(&daemon, "own"), generation(&daemon, "by-default")), (own, by_default));

    // What needs a restart of the process is said each time, and changes nothing now.
    let moved = good
        .replace("archive: {", "archive: { path: elsewhere,")
        .replace("127.0.0.1:0", "127.0.0.1:9")
        .replace("defaults:", "log: { path: log/other.log }\ndefaults:");
    for round in 1..=2 {
        fs::write(&global, &moved).unwrap();
        daemon.signal(libc::SIGHUP);
        for key in ["archive.path", "web.listen", "log.path"] {
            wait_for(&format!("{key} in the log"), secs(20), || {
                let text = daemon.stderr();
                let told = text
                    .lines()
                    .filter(|line| line.contains(&format!("{key} was changed; that needs a restart")))
                    .count();
                (told >= round).then_some(())
            });
        }
    }
    wait_until_read(&daemon);
    assert_eq!((generation(&daemon, "own"), generation(&daemon, "by-default")), (own, by_default));
    assert!(!daemon.folder().join("elsewhere").exists() && !daemon.folder().join("log/other.log").exists());

    // A camera that waits is tried at once. Its own wait is longer than what is allowed here.
    let waits = |text: &str| {
        let waits = text.lines().filter(|line| line.contains("camera=dead") && line.contains("tries again"));
        waits.filter_map(|line| line.split("wait_s=").nth(1)?.split(' ').next()?.parse::<f64>().ok()).next_back()
    };
    wait_for("a long wait", secs(120), || waits(&daemon.stderr()).filter(|wait| *wait > 11.0));
    assert_eq!(daemon.camera("dead").unwrap()["state"], "backoff");
    let taken = relay.accepted();
    relay.heal();
    daemon.signal(libc::SIGHUP);
    wait_for("the retry", secs(8), || (relay.accepted() > taken).then_some(()));
    daemon.wait_for_camera("dead", secs(30), records);
    assert_untouched(&mut daemon, &server, &[("own", "own", &clip)]);
}

/// Runs `tarsier check` in the daemon's folder: exit code, stdout, stderr.
fn check(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .arg("check")
        .args(arguments)
        .current_dir(folder)
        .env_remove("NO_SUCH_VARIABLE")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn bad_files_beside_a_running_camera_are_told_of_and_harm_nothing() {
    let clip = clip(320, 240);
    let server = RtspServer::start(&[Mount::new("good", &clip)]);
    let mut daemon = Daemon::builder().camera("good", &continuous(&server.url("good"))).start();
    daemon.wait_for_camera("good", secs(60), records);
    let canary = "canary5813";

    let folder = daemon.folder().join("config.d");
    let mut noise = vec![0u8; 4096];
    fastrand::Rng::with_seed(3).fill(&mut noise);
    let texts: [(&str, &[u8]); 12] = [
        ("unknown-key.yaml", b"source: x.mp4\nrecord: { pre_alrm: 5s }\n"),
        ("wrong-type.yaml", b"source: x.mp4\nrecord: [1, 2]\n"),
        ("width.yaml", b"source: x.mp4\ndetect:\n  width: 0\n"),
        ("negative.yaml", b"source: x.mp4\nrecord: { pre_alarm: -1s }\n"),
        ("max-file.yaml", b"source: x.mp4\nrecord: { max_file: 0 }\n"),
        ("twice.yaml", b"source: x.mp4\nsource: y.mp4\n"),
        // Broken by itself too, so that it never runs.
        ("two.yaml", b"sorce: x.mp4\n"),
        ("two.yml", b"source: x.mp4\n"),
        ("Front Door.yaml", b"source: x.mp4\n"),
        ("empty.yaml", b""),
        ("variable.yaml", b"source: rtsp://me:canary5813${NO_SUCH_VARIABLE}@192.0.2.1/live\n"),
        ("binary.yaml", &noise),
    ];
    for (name, text) in texts {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("large.yaml"), "# 10 MB\n".repeat(10 * 1024 * 1024 / 8)).unwrap();
    fs::create_dir(folder.join("folder.yaml")).unwrap();
    symlink("circle.yaml", folder.join("circle.yaml")).unwrap();
    symlink("nowhere", folder.join("dangling.yaml")).unwrap();
    // Not cameras, whatever they hold.
    for name in ["_draft.yaml", ".hidden.yaml", "notes.txt", "good.yaml~"] {
        fs::write(folder.join(name), "source: [").unwrap();
    }

    let two = "two files for one camera, `two` (rename or remove one of them)";
    let expected = [
        ("binary", "config.d/binary.yaml:1:1: the file is not text (it must be YAML in UTF-8)".to_owned()),
        ("circle", "config.d/circle.yaml:1:1: its symbolic links lead in a circle (mend or remove it)".to_owned()),
        ("dangling", "config.d/dangling.yaml:1:1: the symbolic link leads nowhere (mend or remove it)".to_owned()),
        (
            "empty",
            "config.d/empty.yaml:1:1: the file is empty (add `source: rtsp://HOST/PATH`, or put `_` before its name)"
                .to_owned(),
        ),
        (
            "folder",
            "config.d/folder.yaml:1:1: is a folder, not a file (rename it, or put `_` before its name)".to_owned(),
        ),
        (
            "large",
            "config.d/large.yaml:1:1: the file is larger than 1 MiB (a configuration is a few kilobytes; is this \
             another kind of file?)"
                .to_owned(),
        ),
        (
            "max-file",
            "config.d/max-file.yaml:2:21: `record.max_file` must be a duration from 1s to 1d, not `0` (the default \
             is `10min`)"
                .to_owned(),
        ),
        (
            "negative",
            "config.d/negative.yaml:2:22: `record.pre_alarm` must be a duration from 0s to 10min, not `-1s` (the \
             default is `5s`)"
                .to_owned(),
        ),
        (
            "twice",
            "config.d/twice.yaml:2:1: the key `source` is given twice (it is given in line 1 already; keep one of \
             the two)"
                .to_owned(),
        ),
        ("two", format!("config.d/two.yaml:1:1: {two}; config.d/two.yml:1:1: {two}")),
        (
            "unknown-key",
            "config.d/unknown-key.yaml:2:11: unknown key `record.pre_alrm` (did you mean `record.pre_alarm`?)"
                .to_owned(),
        ),
        (
            "variable",
            "config.d/variable.yaml:1:9: the environment variable `NO_SUCH_VARIABLE` is not set (set \
             `NO_SUCH_VARIABLE`, or write `$${` for a plain `${`)"
                .to_owned(),
        ),
        (
            "width",
            "config.d/width.yaml:3:10: `detect.width` must be a whole number from 16 to 4096, not `0` (the default \
             is `500`)"
                .to_owned(),
        ),
        (
            "wrong-type",
            "config.d/wrong-type.yaml:2:9: `record` is a section, not a value (it holds keys such as `mode` and `zones`)".to_owned(),
        ),
    ];
    for (name, text) in &expected {
        let camera = daemon.wait_for_state(name, "config_error", secs(40));
        assert_eq!((camera["config_error"].as_str(), camera["error"].as_str()), (Some(&**text), Some(&**text)));
        daemon.wait_for_stderr(&format!("{text}; the camera does not start"), secs(10));
    }
    let name_refused = "config.d/Front Door.yaml:1:1: a camera's file is named with a-z, 0-9, `-` and `_`, and begins \
                        with a letter or a digit (rename it to `front-door.yaml`)";
    daemon.wait_for_stderr(name_refused, secs(10));
    let mut all: Vec<&str> = expected.iter().map(|(name, _)| *name).chain(["good"]).collect();
    all.sort_unstable();
    assert_eq!(names(&daemon), all);

    // `check` says the same, all at once.
    let (code, out, err) = check(daemon.folder(), &[]);
    let mut lines: Vec<String> =
        expected.iter().flat_map(|(_, text)| text.split("; config.d/two.yml").map(str::to_owned)).collect();
    for line in lines.iter_mut().filter(|line| line.starts_with(":1:1: two files")) {
        line.insert_str(0, "config.d/two.yml");
    }
    lines.push(name_refused.to_owned());
    lines.sort_unstable();
    assert_eq!((code, err.as_str()), (Some(1), ""));
    assert_eq!(out.lines().collect::<Vec<_>>(), lines);
    let (code, out, err) = check(daemon.folder(), &["--effective"]);
    assert_eq!(code, Some(1));
    assert_eq!(err.lines().collect::<Vec<_>>(), lines);
    assert!(out.contains("# camera good") && out.contains("mode: continuous"), "{out}");
    assert_eq!(check(daemon.folder(), &["--efective"]).0, Some(2));
    assert!(grep_all(daemon.folder(), canary, &["config.d"]).is_empty(), "no piece of a password is quoted");

    // All of them gone: all is well again.
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().unwrap().to_str().unwrap() {
            "good.yaml" => {}
            "folder.yaml" => fs::remove_dir(path).unwrap(),
            _ => fs::remove_file(path).unwrap(),
        }
    }
    wait_for("the others to leave", secs(40), || (names(&daemon) == ["good"]).then_some(()));
    assert_eq!(check(daemon.folder(), &[]), (Some(0), "1 camera, no problems\n".to_owned(), String::new()));
    assert_untouched(&mut daemon, &server, &[("good", "good", &clip)]);
}

/// What a life of a camera had in memory goes with it: the ring, and who reads from it.
#[test]
fn lives_that_are_over_keep_no_memory() {
    const RING_KB: u64 = 4000;
    const LIVES: u64 = 20;
    // A client gets at once what came since the last keyframe: eight seconds on average.
    let noise = "-f lavfi -i testsrc2=size=640x360:rate=15:duration=32,noise=alls=60:allf=t";
    let encoder = "-c:v libx264 -preset ultrafast -g 240 -bf 0 -b:v 6M";
    let clip = Clip::drawn_by_ffmpeg("noise", &format!("{noise} {encoder}").split(' ').collect::<Vec<_>>());
    assert!(fs::metadata(&clip).unwrap().len() / 1024 > 4 * RING_KB, "the ring is worth weighing");
    let server = RtspServer::start(&[Mount::of_file("cam", &clip, 15)]);
    let daemon = Daemon::builder()
        .camera("cam", &format!("source: {}\nrecord: {{ mode: continuous }}\n", server.url("cam")))
        // Each thread's own heap would keep the most that it ever had.
        .env("MALLOC_ARENA_MAX", "1")
        .start();
    let memory_kb = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let live_on = |lives: u64| {
        for _ in 0..lives {
            let before = daemon.wait_for_camera("cam", secs(40), |camera| {
                records(camera) && daemon.metric("tarsier_ring_bytes", "cam").unwrap() > (RING_KB * 1024) as f64
            });
            assert_eq!(daemon.post("/api/cameras/cam/restart").0, 202);
            daemon.wait_for_camera("cam", secs(40), |camera| camera["generation"] != before["generation"]);
        }
        memory_kb()
    };
    let (before, after) = (live_on(5), live_on(LIVES));
    let grown = after.saturating_sub(before);
    assert!(grown < LIVES * RING_KB / 2, "{LIVES} lives left {grown} kB in {after} kB");
}
