//! Whole files in, configurations and error texts out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::config::{
    Area, AudioMode, ContainerKind, DetectConfig, MinFree, RecordMode, SyncCadence, Transport,
};
use crate::domain::timezone::Zone;

const CANARY: &str = "canary-p@ss/w0rd";

/// A folder with configuration files, read with an environment of its own.
struct House {
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let house = House { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(house.dir.path().join("config.d")).unwrap();
        house
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn load(&self) -> (Loaded, Vec<Problem>) {
        let environment = |name: &str| -> Option<OsString> {
            match name {
                "PASSWORD" => Some(CANARY.into()),
                "WIDTH" => Some("320".into()),
                "NAME_LIKE" => Some("a: b # c".into()),
                _ => None,
            }
        };
        load_with(&self.dir.path().join("tarsier.yaml"), Arc::new(environment))
    }

    fn scan(&self) -> Scan {
        let (loaded, problems) = self.load();
        assert_eq!(problems, [], "of tarsier.yaml");
        scan_cameras(&loaded)
    }

    fn camera(&self, name: &str) -> CameraConfig {
        let mut scan = self.scan();
        scan.cameras.remove(name).expect("no such camera").unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// All faults, one a line, without the folder of this test.
    fn faults(&self) -> String {
        let (loaded, mut problems) = self.load();
        problems.extend(scan_cameras(&loaded).all_problems());
        let prefix = format!("{}/", self.dir.path().display());
        problems.iter().map(|problem| format!("{}\n", problem.to_string().replace(&prefix, ""))).collect()
    }
}

fn camera_faults(text: &str) -> String {
    House::new().with("config.d/cam.yaml", text).faults()
}

fn global_faults(text: &str) -> String {
    House::new().with("tarsier.yaml", text).faults()
}

#[test]
fn nothing_at_all_is_a_working_set_up() {
    for house in
        [House::new(), House::new().with("tarsier.yaml", ""), House::new().with("tarsier.yaml", "# none\n---\n")]
    {
        let (loaded, problems) = house.load();
        assert_eq!(problems, []);
        let global = loaded.global;
        assert_eq!(global.cameras_dir, house.dir.path().join("config.d"));
        assert_eq!(global.archive.path, house.dir.path().join("archive"));
        assert_eq!(global.archive.layout.as_str(), "{camera}/%Y/%m/%d/video_%Y-%m-%dT%H%M%S");
        assert_eq!(global.archive.layout.zone(), Zone::UTC);
        assert_eq!(global.archive.max_size_bytes, None);
        assert_eq!(global.archive.min_free, MinFree::Share(0.05));
        assert_eq!(global.archive.sync, SyncCadence::Every(Duration::from_secs(1)));
        assert_eq!(global.log.path, Some(house.dir.path().join("log/tarsier.log")));
        assert_eq!((global.log.max_size_bytes, global.log.backups), (32 << 20, 20));
        assert_eq!(global.web.listen.to_string(), "127.0.0.1:8787");
    }
}

#[test]
fn the_table_and_the_type_have_the_same_defaults_of_detection() {
    let house = House::new().with("config.d/a.yaml", "source: a.mp4\n");
    assert_eq!(house.camera("a").detect, DetectConfig::default());
}

#[test]
fn a_zone_for_the_names_of_files() {
    let zone = |text: &str| {
        let house = House::new().with("tarsier.yaml", format!("archive: {{ timezone: {text} }}\n"));
        let (loaded, problems) = house.load();
        assert_eq!(problems, []);
        loaded.global.archive.layout.zone()
    };
    assert_eq!(zone("Europe/Berlin"), "Europe/Berlin".parse().unwrap());
    assert_eq!(zone("local"), Zone::Local);
    assert_eq!(zone("UTC"), Zone::UTC);
}

#[test]
fn a_camera_of_its_source_alone() {
    let camera = House::new().with("config.d/front-door.yaml", "source: rtsp://192.0.2.10/ch1\n").camera("front-door");
    assert_eq!(camera.name, "front-door");
    assert_eq!(camera.source.expose(), "rtsp://192.0.2.10/ch1");
    assert_eq!(camera.transport, Transport::Tcp);
    assert_eq!(camera.connect_timeout, Duration::from_secs(10));
    assert_eq!(camera.detect.min_area.pixels_of(500 * 281), 1500, "what pynvr took for motion in a 16:9 picture");
    assert!(matches!(camera.detect.min_area, Area::Share(_)), "the same for every resolution");
    assert_eq!((camera.detect.width, camera.detect.blur, camera.detect.threshold), (500, 11, 10));
    assert_eq!((camera.detect.dilate, camera.detect.erode, camera.detect.frames), (8, 4, 2));
    assert_eq!(camera.record.mode, RecordMode::Motion);
    assert_eq!(camera.record.pre_alarm, Duration::from_secs(5));
    assert_eq!(camera.record.container, ContainerKind::Mp4);
    assert_eq!(camera.record.audio, AudioMode::Auto);
    assert_eq!(camera.retention.max_age, None);
}

#[test]
fn local_over_global_and_camera_over_defaults_key_by_key() {
    let house = House::new()
        .with(
            "tarsier.yaml",
            "log: { level: warn, backups: 3 }\narchive: { max_size: 1GB }\ndefaults:\n  transport: udp\n  record: { \
             pre_alarm: 7s, mode: continuous }\n  retention: { max_age: 30d }\n",
        )
        .with(
            "tarsier.local.yaml",
            "log:\n  level: debug\narchive:\n  max_size: none\ndefaults: { record: { mode: off } }\n",
        )
        .with("config.d/a.yml", "source: a.mp4\nrecord:\n  pre_alarm: 1s\nretention: { max_age: null }\n");
    let (loaded, problems) = house.load();
    assert_eq!(problems, []);
    assert_eq!((loaded.global.log.level.as_str(), loaded.global.log.backups), ("debug", 3));
    assert_eq!(loaded.global.archive.max_size_bytes, None);
    let camera = house.camera("a");
    assert_eq!(camera.transport, Transport::Udp);
    assert_eq!((camera.record.mode, camera.record.pre_alarm), (RecordMode::Off, Duration::from_secs(1)));
    assert_eq!(camera.retention.max_age, None);
    assert_eq!(camera.source.expose(), house.dir.path().join("a.mp4").to_str().unwrap());
}

#[test]
fn the_example_is_the_defaults_and_has_every_key() {
    let text = include_str!("../../config.d/_example.yaml");
    let source = text.lines().find(|line| line.starts_with("source:")).unwrap();
    let house = House::new().with("config.d/a.yaml", text).with("config.d/b.yaml", source);
    assert_eq!(house.camera("a"), CameraConfig { name: "a".to_owned(), ..house.camera("b") });
    let (tree, _) = tree::parse(Path::new("x"), text, &|_: &str| None);
    let given = Settings::read(CAMERA, &tree.unwrap(), &mut Vec::new());
    for key in CAMERA {
        assert!(given.get(key.path).is_some(), "{} is not in _example.yaml", key.path);
    }
}

#[test]
fn the_demo_and_the_global_example_can_be_loaded() {
    let house = House::new()
        .with("tarsier.yaml", include_str!("../../deploy/tarsier.yaml"))
        .with("config.d/demo.yaml", include_str!("../../config.d/demo.yaml"));
    let demo = house.camera("demo");
    assert!(demo.repeat && demo.source.expose().ends_with("/demo.mp4"));
    let (example, bare) = (house.load().0.global, House::new().load().0.global);
    assert_eq!(example.archive.layout, bare.archive.layout);
    assert_eq!(
        (&example.log.level, example.log.backups, example.web.listen, example.archive.min_free),
        (&bare.log.level, bare.log.backups, bare.web.listen, bare.archive.min_free)
    );
    for key in GLOBAL {
        assert!(house.load().0.settings.get(key.path).is_some(), "{} is not in deploy/tarsier.yaml", key.path);
    }
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let text = include_str!("../../docs/configuration.md");
    let rows: Vec<String> = text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    assert_eq!(rows, reference(), "the tables of docs/configuration.md should be:\n{}", reference().join("\n"));
}

#[test]
fn credentials_go_into_the_source_and_the_own_ones_win() {
    let house = House::new()
        .with("tarsier.yaml", "defaults: { username: everyone, password: shared }\n")
        .with("secret.txt", "from file\r\nsecond line\n")
        .with("config.d/a.yaml", "source: rtsp://h/1\ndetect_source: rtsp://h/2\n")
        .with("config.d/b.yaml", "source: rtsp://me:mine@h/1\n")
        .with("config.d/c.yaml", "source: rtsp://h/1\nusername: c\npassword: ${PASSWORD}\n")
        .with("config.d/d.yaml", "source: rtsp://h/1\npassword_file: secret.txt\n")
        .with("config.d/e.yaml", "source: clip.mp4\n")
        .with("config.d/f.yaml", "source: rtsp://h/1\nusername: null\npassword: null\n");
    let source = |name: &str| house.camera(name).source.expose().to_owned();
    assert_eq!(source("a"), "rtsp://everyone:shared@h/1");
    assert_eq!(house.camera("a").detect_source.unwrap().expose(), "rtsp://everyone:shared@h/2");
    assert_eq!(source("b"), "rtsp://me:mine@h/1");
    assert_eq!(source("c"), "rtsp://c:canary-p%40ss%2Fw0rd@h/1");
    assert_eq!(source("d"), "rtsp://everyone:from%20file@h/1");
    assert!(source("e").ends_with("/clip.mp4"));
    assert_eq!(source("f"), "rtsp://h/1");
}

#[test]
fn variables_are_filled_into_values_only() {
    let house = House::new()
        .with(
            "config.d/a.yaml",
            "# ${NOT_SET}\nsource: \"${NAME_LIKE}.mp4\" # ${NOT_SET}\ndetect: { width: \"${WIDTH}\" }\n",
        )
        .with("config.d/b.yaml", "source: $${NAME}.mp4\n");
    let a = house.camera("a");
    assert!(a.source.expose().ends_with("/a: b # c.mp4"), "{}", a.source);
    assert_eq!(a.detect.width, 320);
    assert!(house.camera("b").source.expose().ends_with("/${NAME}.mp4"));
}

#[test]
fn equal_values_are_equal_configurations() {
    let one = House::new().with("config.d/a.yaml", "source: rtsp://h/1\nrecord: { pre_alarm: 60s, buffer: 1GiB }\n");
    let two = House::new().with(
        "config.d/a.yml",
        "# comment\nrecord:\n    buffer: \"1024MiB\"\n    pre_alarm: 1min\n\nsource:    'rtsp://h/1'\ndetect:\n",
    );
    assert_eq!(one.camera("a"), two.camera("a"));
    let aliased = House::new().with("config.d/a.yaml", "source: &s rtsp://h/1\ndetect_source: *s\n").camera("a");
    assert_eq!(aliased.detect_source, Some(aliased.source));
}

#[test]
fn golden_faults_of_a_camera() {
    let files = [
        ("unknown key", "source: a.mp4\ndetekt: {}\n"),
        ("unknown key inside", "source: a.mp4\nrecord:\n  pre_alarms: 5s\n"),
        ("key of another section", "source: a.mp4\npre_alarm: 5s\n"),
        ("nothing like it", "source: a.mp4\nxylophone: 1\nrecord: { xylophone: 1 }\n"),
        ("missing source", "enabled: true\n"),
        ("misspelt source", "sorce: a.mp4\n"),
        ("wrong types", "source: a.mp4\nenabled: 7\nloop: yes\ndetect: { width: wide, frames: [2], warm_up: {} }\n"),
        ("impossible", "source: a.mp4\ndetect: { width: 0 }\nrecord: { pre_alarm: -1s, max_file: 0, buffer: 1kB }\n"),
        ("no unit", "source: a.mp4\nread_timeout: 10\nretention: { max_size: 5, max_age: 3 moons }\n"),
        ("choices", "source: a.mp4\ntransport: tpc\nrecord: { mode: always, container: mov }\n"),
        (
            "not yet",
            "source: a.mp4\ndetect: { algorithm: adaptive, effort: eco }\nrecord: { container: avi, encode: { codec: h264 } }\n",
        ),
        ("numbers", "source: a.mp4\ndetect: { blur: 10, threshold: 256, dilate: 1.5, min_area: 0, erode: -1 }\n"),
        ("twice", "source: a.mp4\nenabled: true\nsource: b.mp4\nrecord: { mode: off, mode: off }\n"),
        ("no values", "source:\ntransport:\nrecord:\n"),
        ("sections", "source: a.mp4\nrecord: motion\ndetect: [1]\n"),
        ("a list", "- source: a.mp4\n"),
        ("a word", "rtsp\n"),
        ("variable", "source: ${CAMERA_URL}\npassword: ${}\nusername: ${OPEN\n"),
        ("syntax", "source: a.mp4\n  enabled: true\n"),
        ("syntax, unclosed", "source: \"a.mp4\nrecord: { mode: off\n"),
        ("syntax, variable", "source: a.mp4\ndetect: { width: ${WIDTH} }\n"),
        ("syntax, tab", "source: a.mp4\nrecord:\n\tmode: off\n"),
        ("two documents", "source: a.mp4\n---\nsource: b.mp4\n"),
        ("tag", "source: !file a.mp4\n"),
        ("merge key", "record: &r { mode: off }\nsource: a.mp4\ndetect:\n  <<: *r\n"),
        ("no key", "source: a.mp4\n? [1]\n: 2\n"),
        ("sources", "source: ftp://h/x\ndetect_source: rtsp:///x\n"),
        ("sources, more", "source: rtsp://user:pa/ss@h/x\ndetect_source: \" \"\n"),
        ("file address", "source: file:///a.mp4\n"),
        ("loop of a stream", "source: rtsp://h/x\nloop: true\n"),
        ("credentials", "source: rtsp://me:a@h/x\nusername: you\npassword: b\npassword_file: nowhere.txt\n"),
        ("password alone", "source: rtsp://h/x\npassword: b\n"),
        ("password file", "source: rtsp://h/x\nusername: me\npassword_file: nowhere.txt\ndetect: { width: 1 }\n"),
        ("several", "sorce: x\nenabled: maybe\nrecord:\n  pre_alarm: 5\n  mode: of\n"),
    ];
    let texts: Vec<String> = files.iter().map(|(title, text)| format!("[{title}]\n{}", camera_faults(text))).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn golden_faults_of_the_global_file() {
    let files = [
        ("unknown", "archve: { path: x }\nlog: { levle: info }\nsource: a.mp4\nrecord: { mode: off }\n"),
        ("layout", "archive: { layout: \"{camera}/%Q\" }\n"),
        ("zone", "archive: { timezone: europe/berln }\n"),
        ("zone by its short name", "archive: { timezone: \"+01:00\" }\n"),
        (
            "values",
            "archive: { min_free: lots, sync: sometimes, max_size: 0 }\nlog: { level: infoo, backups: -1, format: xml }\n",
        ),
        ("a certificate alone", "web: { tls: { certificate: a.pem } }\n"),
        ("a name with a port", "web: { names: \"nvr.lan, nvr.lan:443\" }\n"),
        ("listen", "web: { listen: 8787 }\n"),
        ("log filter", "log: { level: \"info,tarsier=loud\" }\n"),
        ("defaults", "defaults:\n  record: { pre_alarm: -1s }\n  detct: {}\n"),
        ("defaults, no section", "defaults: 5s\n"),
        ("a word", "tarsier\n"),
    ];
    let texts: Vec<String> = files.iter().map(|(title, text)| format!("[{title}]\n{}", global_faults(text))).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn golden_faults_of_files() {
    let house = House::new()
        .with("config.d/empty.yaml", "")
        .with("config.d/comments.yaml", "# source: a.mp4\n")
        .with("config.d/binary.yaml", [0x7f, b'E', b'L', b'F', 0, 0xff])
        .with("config.d/zeros.yaml", [0; 40])
        .with("config.d/large.yaml", vec![b'#'; 10_000_000])
        .with("config.d/twice.yaml", "source: a.mp4\n")
        .with("config.d/twice.yml", "source: b.mp4\n")
        .with("config.d/Front Door.yaml", "source: a.mp4\n")
        .with("config.d/ü.yml", "source: a.mp4\n")
        .with("config.d/good.yaml", "source: a.mp4\n")
        .with("config.d/.hidden.yaml", "source: [\n")
        .with("config.d/_off.yaml", "source: [\n")
        .with("config.d/notes.txt", "source: [\n")
        .with("config.d/editor.yaml~", "source: [\n")
        .with("config.d/noextension", "source: [\n");
    let folder = house.dir.path().join("config.d");
    fs::create_dir(folder.join("folder.yaml")).unwrap();
    symlink("loop.yaml", folder.join("loop.yaml")).unwrap();
    symlink("nowhere", folder.join("broken.yaml")).unwrap();
    symlink("/dev/zero", folder.join("device.yaml")).unwrap();
    symlink("good.yaml", folder.join("linked.yaml")).unwrap();
    insta::assert_snapshot!(house.faults());
    let good: Vec<String> =
        house.scan().cameras.into_iter().filter(|(_, camera)| camera.is_ok()).map(|(name, _)| name).collect();
    assert_eq!(good, ["good", "linked"]);
}

#[test]
fn a_fifo_is_refused_without_waiting_for_it() {
    let house = House::new();
    let path = house.dir.path().join("config.d/pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(house.faults().contains("config.d/pipe.yaml:1:1: can't be read: not a regular file"));
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    // Tests may run as root, who may read everything: so the text alone.
    let (what, hint) = text::describe(&std::io::ErrorKind::PermissionDenied.into());
    assert_eq!((what.as_str(), hint), ("may not be read by this user", Some("change its owner or its permissions")));
}

#[test]
fn a_missing_folder_is_told_from_an_empty_one() {
    let house = House::new();
    let scan = house.scan();
    assert!(scan.listed && scan.cameras.is_empty() && scan.problems.is_empty());
    fs::remove_dir(house.dir.path().join("config.d")).unwrap();
    let scan = house.scan();
    assert!(!scan.listed);
    assert!(scan.problems[0].to_string().contains("the folder of the cameras is missing (create it"));
}

#[test]
fn bombs_are_bounded() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let long_word = format!("a: &a {}\n", "x".repeat(500_000));
    let repeated: String = (0..5000).map(|n| format!("b{n}: *a\n")).collect();
    let answers = [
        (long_word + &repeated, "too many or too large values"),
        (laughs, "too many or too large values"),
        ("[".repeat(100_000), "recursion limit exceeded"),
        ("{a: ".repeat(200), "nested too deeply"),
        ("- ".repeat(100_000), "nested too deeply"),
        ("x: 1\n".repeat(100_000), "too many or too large values"),
        ("a: &a [*a]\n".to_owned(), "an alias of the value it is part of"),
    ];
    for (text, answer) in answers {
        let faults = camera_faults(&text);
        assert!(faults.contains(answer), "{answer}: {}", faults.chars().take(300).collect::<String>());
    }
}

#[test]
fn a_flood_of_faults_is_cut() {
    let text: String = (0..4000).map(|n| format!("x{n}: 1\n")).collect();
    let faults = camera_faults(&text);
    assert_eq!(faults.lines().count(), MOST_PROBLEMS + 1, "{}", faults.lines().last().unwrap());
    assert!(faults.lines().last().unwrap().contains("more faults in this file"));
}

#[test]
fn no_fault_and_no_print_holds_a_password() {
    for text in [
        "source: rtsp://u:${PASSWORD}@h/x\npassword: ${PASSWORD}\n",
        "source: rtsp://h/x\npassword: [\"${PASSWORD}\"]\nusername: { ${PASSWORD}: 1 }\n",
        "source: rtsp://h/x\npassword: canary-p@ss/w0rd\n",
        "source: rtsp://h/x\npassword: { canary-p@ss/w0rd }\n",
        "source: rtsp://h/x\npassword:canary-p@ss/w0rd\n",
        "source: rtsp://h/x\npassword:canary-p@ss/w0rd: 1\n",
        "source: rtsp://h/x\npassword: !canary-p@ss/w0rd x\n",
        "source: rtsp://u:canary-p@ss/w0rd@h/x\ntransport: rtsp://u:canary-p@ss/w0rd@h/x\n",
        "source: rtsp://u:canary-w0rd@h:port/x\n",
        "source: xyz://u:canary-p@ss/w0rd@h/x\n",
        "source: rtsp://h/x\ntransport: ${PASSWORD}\ndetect: { width: \"${PASSWORD}\", warm_up: \"${PASSWORD}\" }\n",
        "source: rtsp://h/x\nusername: u\npassword_file: ${PASSWORD}\nrecord: { mode: ${PASSWORD} }\n",
        "source: rtsp://h/x\nretention: { max_size: ${PASSWORD}, max_age: ${PASSWORD} }\ndetect: { min_area: ${PASSWORD} }\n",
    ] {
        let faults = camera_faults(text);
        assert!(!faults.contains("w0rd"), "{text}\n{faults}");
        assert!(!faults.is_empty(), "{text}");
    }
    for text in
        ["web: { listen: \"${PASSWORD}\" }", "archive: { layout: \"{camera}%Y${PASSWORD}/\", path: [\"${PASSWORD}\"] }"]
    {
        let faults = global_faults(text);
        assert!(!faults.contains("w0rd"), "{text}\n{faults}");
        assert!(!faults.is_empty(), "{text}");
    }
    let house = House::new()
        .with("tarsier.yaml", "defaults: { password: \"${PASSWORD}\" }\n")
        .with("config.d/a.yaml", "source: rtsp://h/x\nusername: u\ndetect_source: rtsp://q:canary-p%40ss%2Fw0rd@h/x\n");
    let (loaded, _) = house.load();
    let (text, scan) = effective(&loaded);
    assert!(scan.cameras["a"].is_ok());
    for printed in [text, format!("{loaded:?}{scan:?}")] {
        assert!(!printed.contains("w0rd"), "{printed}");
    }
}

#[test]
fn golden_effective() {
    let house = House::new()
        .with("tarsier.yaml", "log: { level: debug, console: false }\ndefaults:\n  record: { pre_alarm: 7s }\n")
        .with("tarsier.local.yaml", "# here\nlog:\n  path: none\n")
        .with(
            "config.d/a.yaml",
            "source: rtsp://u:secret@h/${PASSWORD}\ndetect:\n  width: ${WIDTH}\nretention:\n  max_age: 30d\n",
        );
    let (text, _) = effective(&house.load().0);
    let text = text.replace(&format!("{}/", house.dir.path().display()), "");
    insta::assert_snapshot!(text);
    // It is YAML again.
    for document in text.split("---").skip(1) {
        serde_yaml::from_str::<serde_yaml::Value>(document).unwrap();
    }
}

#[test]
fn cameras_of_the_command_line() {
    let house = House::new().with("tarsier.yaml", "defaults: { detect: { width: 640, blur: 9 } }\n");
    let loaded = house.load().0;
    let sets = ["detect.threshold=15".to_owned(), "detect.width=${WIDTH}".to_owned()];
    let camera = camera_from_source("clip.mp4", &sets, &loaded).unwrap();
    assert_eq!(camera.source.expose(), "clip.mp4");
    assert_eq!((camera.detect.threshold, camera.detect.width, camera.detect.blur), (15, 320, 9));
    let with_password = camera_from_source("rtsp://u:${PASSWORD}@h/x", &[], &loaded);
    assert!(!format!("{with_password:?}").contains("w0rd"));

    let sets = ["threshold=15".to_owned(), "detect.treshold=1".to_owned(), "x".to_owned(), "loop=maybe".to_owned()];
    let problems = camera_from_source("${NOPE}", &sets, &loaded).unwrap_err();
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_possible_choice_and_preset_has_a_type() {
    for key in GLOBAL.iter().chain(CAMERA) {
        if let table::Kind::Choice { now, .. } = &key.kind {
            for choice in *now {
                let text = match key.path.split_once('.') {
                    Some((section, name)) => format!("{section}: {{ {name}: {choice} }}\n"),
                    None => format!("{}: {choice}\n", key.path),
                };
                let house = match GLOBAL.iter().any(|global| global.path == key.path) {
                    true => House::new().with("tarsier.yaml", text),
                    false => House::new().with("config.d/a.yaml", format!("source: a.mp4\n{text}")),
                };
                assert_eq!(house.faults(), "", "{} {choice}", key.path);
            }
        }
    }
}

/// Some keys of a camera, each with two values.
const SOME: [(&str, [&str; 2]); 6] = [
    ("transport", ["tcp", "udp"]),
    ("read_timeout", ["3s", "4s"]),
    ("record.pre_alarm", ["1s", "2s"]),
    ("record.mode", ["off", "continuous"]),
    ("detect.width", ["100", "200"]),
    ("retention.max_age", ["1d", "2d"]),
];

/// Nested YAML of chosen values, `choice` an index into the two or nothing.
fn yaml_of(choices: &[Option<usize>], indent: &str) -> String {
    let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((path, values), choice) in SOME.iter().zip(choices) {
        if let Some(choice) = choice {
            let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
            sections.entry(section).or_default().push(format!("{name}: {}", values[*choice]));
        }
    }
    let mut out = String::new();
    for (section, lines) in sections {
        let deeper = if section.is_empty() { "" } else { "  " };
        if !section.is_empty() {
            out.push_str(&format!("{indent}{section}:\n"));
        }
        lines.iter().for_each(|line| out.push_str(&format!("{indent}{deeper}{line}\n")));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_key_comes_from_the_nearest_file_that_has_it(
        global in prop::collection::vec(prop::option::of(0usize..2), SOME.len()),
        local in prop::collection::vec(prop::option::of(0usize..2), SOME.len()),
        own in prop::collection::vec(prop::option::of(0usize..2), SOME.len()),
    ) {
        let house = House::new()
            .with("tarsier.yaml", format!("defaults:\n{}", yaml_of(&global, "  ")))
            .with("tarsier.local.yaml", format!("defaults:\n{}", yaml_of(&local, "  ")))
            .with("config.d/a.yaml", format!("source: a.mp4\n{}", yaml_of(&own, "")));
        let merged: Vec<Option<usize>> =
            (0..SOME.len()).map(|at| own[at].or(local[at]).or(global[at])).collect();
        let flat = House::new().with("config.d/a.yaml", format!("source: a.mp4\n{}", yaml_of(&merged, "")));
        let (mut one, mut two) = (house.camera("a"), flat.camera("a"));
        one.source = crate::domain::source_url::SourceUrl::new("x");
        two.source = one.source.clone();
        prop_assert_eq!(one, two);
    }
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_is_answered(text in prop_oneof![
        ".{0,80}",
        "[a-z: \n\\-\\[\\]{}&*!|>'\"%@`#?,<$\t0-9]{0,120}",
        "(source|record|detect|: |\n|  |- |\\{|\\}|\\[|\\]|&a|\\*a|mode|off|\"|'|\\||>|\\?|<<|---|#|!){0,30}",
    ]) {
        let (tree, mut problems) = tree::parse(Path::new("x.yaml"), &text, &|_: &str| None);
        if let Some(tree) = tree {
            let settings = Settings::read(CAMERA, &tree, &mut problems);
            let _ = camera::build("x", &settings, &Mark::top(Path::new("x.yaml")), Path::new(""), Models::Leave, &mut problems);
        }
        for problem in problems {
            prop_assert!(problem.line >= 1 && problem.column >= 1);
            prop_assert!(problem.line as usize <= text.split(['\n', '\r']).count() + 1, "{problem}");
            prop_assert_eq!(problem.to_string().lines().count(), 1);
        }
    }
}

#[test]
fn places_in_the_picture_are_read_and_their_faults_told_at_their_place() {
    let zones = "detect:\n  masks:\n    - [[0, 0], [0.5, 0], [0.5, 0.25]]\n  zones:\n    - name: drive\n      polygon: [[0, \
                 0.5], [1, 0.5], [1, 1]]\n      min_area: 0.5%\n      sensitivity: 70\n      dwell: 2s\n    - {name: gate, \
                 polygon: [[0, 0], [1, 0], [1, 1]]}\nrecord: {zones: [gate]}\n";
    let camera = House::new().with("config.d/a.yaml", format!("source: a.mp4\n{zones}")).camera("a");
    assert_eq!(camera.detect.masks[0].corners(), [(0.0, 0.0), (0.5, 0.0), (0.5, 0.25)]);
    let drive = &camera.detect.zones[0];
    assert_eq!((drive.name.as_str(), drive.min_area, drive.max_area, drive.sensitivity), ("drive", 0.005, 1.0, 70));
    assert_eq!(drive.dwell, Duration::from_secs(2));
    assert_eq!(camera.detect.zone_names(camera.detect.zone_set(&camera.record.zones)), ["gate"]);
    // The same as an option, and back from what `check --effective` says.
    let (loaded, _) = House::new().load();
    let masks = "detect.masks=[[[0, 0], [0.5, 0], [0.5, 0.25]]]".to_owned();
    let set = camera_from_source("a.mp4", &[masks], &loaded).expect("it is possible");
    assert_eq!(set.detect.masks, camera.detect.masks);

    let fault = |text: &str| {
        let house = House::new().with("config.d/a.yaml", format!("source: a.mp4\n{text}"));
        let scan = scan_cameras(&house.load().0);
        let problems = scan.cameras["a"].as_ref().expect_err("a fault");
        let first = problems[0].to_string();
        first.rsplit_once('/').map_or(first.clone(), |(_, name)| name.to_owned())
    };
    for (text, expected) in [
        ("detect: {masks: yes}", "a.yaml:2:17: `detect.masks` must be a list of polygons"),
        ("detect:\n  masks:\n    - [[0, 0], [1, 0]]", "a.yaml:4:7: `detect.masks`: a place has at least 3 corners"),
        ("detect:\n  masks:\n    - [[0, 0], [1, 0], [1, 1.5]]", "a.yaml:4:7: `detect.masks`: the corner [1, 1.5] is"),
        ("detect:\n  masks:\n    - [[0, 0], [1, 0], [1, x]]", "a.yaml:4:24: `detect.masks`: a corner is two numbers"),
        ("detect: {zones: [{name: a}]}", "a.yaml:2:18: a zone of `detect.zones` has no `polygon`"),
        ("detect: {zones: [{nmae: a}]}", "a.yaml:2:19: unknown key `detect.zones.nmae` (did you mean `name`?)"),
        ("detect: {zones: [{name: A b}]}", "a.yaml:2:25: `detect.zones.name` is no name of a zone"),
        ("detect: {zones: [{min_area: 5}]}", "a.yaml:2:29: `detect.zones.min_area` must be a percentage"),
        ("detect: {zones: [{dwell: 5}]}", "a.yaml:2:26: `detect.zones.dwell` must be a duration"),
        ("detect: {zones: [{sensitivity: 0}]}", "a.yaml:2:32: `detect.zones.sensitivity` must be a number from 1"),
        ("record: {zones: [gate]}", "a.yaml:2:17: no zone is called `gate` (there are no `detect.zones`)"),
    ] {
        let fault = fault(text);
        assert!(fault.starts_with(expected), "{fault}");
    }
    assert!(fault(&zones.replace("[gate]", "[gaet]")).contains("(did you mean `gate`?)"));
    assert!(fault(&zones.replace("name: drive", "name: gate")).contains("two zones have the same name"));
    assert!(fault(&zones.replace("detect:\n", "detect:\n  algorithm: seed\n")).contains("`seed` knows no zones"));
    let many = format!("detect: {{masks: [{}]}}", "[[0, 0], [1, 0], [1, 1]], ".repeat(65));
    assert!(fault(&many).contains("holds at most 64"));
}
