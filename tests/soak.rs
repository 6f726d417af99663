//! Hours of bad luck in minutes: many cameras, each of which sends several times as many pictures as a usual one, while
//! the daemon is killed, its disk filled, its index deleted, its configuration edited and its network cut. At the end
//! every picture is in a file or in a gap, or its recording was deleted to make room, and none is there twice.
//!
//! The times of gaps and those at which the cameras took their pictures may be half a second apart (`TOLERANCE`); the
//! table says how many pictures needed that ("at edges"). "In both" are pictures that are stored though a gap says that
//! nothing was: a kill that comes right after a full disk had room again may take the word that it had.
//!
//! The long one is `make soak MINUTES=20 CAMERAS=16 SPEED=8` (and SEED): SPEED times
//! 25 pictures a second come from each camera, with timestamps of real time and a keyframe a second. That is SPEED
//! times the packets, fragments and index work of a usual camera in the same time; no clock is cheated.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use support::*;
use tarsier::clock::{monotonic, utc_now};

const READ_TIMEOUT: &str = "2s";
const PRE_ALARM_S: i64 = 2;
const EVENT_S: i64 = 3;
/// A camera that is enabled has started by then.
const STARTS_WITHIN: TimeDelta = TimeDelta::seconds(2);
/// A kill costs so much of what had come (see `tests/kill.rs`), of an event by hand its beginning; and an event that a full
/// disk could not be told of leaves no trace where a kill comes before it has room.
const KILL_COSTS: TimeDelta = TimeDelta::seconds(1);
const TICK: Duration = Duration::from_millis(50);

/// How long, how much, and by which dice.
struct Course {
    seconds: u64,
    cameras: usize,
    speed: u32,
    seed: u64,
    disk_mb: u32,
    /// Between two deeds, on average.
    pause_ms: u64,
}

/// What a camera's file says now.
#[derive(Clone)]
struct Settings {
    is_event: bool,
    is_jpeg: bool,
    detects: bool,
    container: &'static str,
    max_file_s: u64,
    enabled: bool,
    comment: u64,
    source: String,
}

impl Settings {
    fn yaml(&self) -> String {
        let Settings { is_event, detects, container, max_file_s, enabled, comment, source, .. } = self;
        let mode = if *is_event { "motion" } else { "continuous" };
        format!(
            "# {comment}\nsource: {source}\nenabled: {enabled}\nread_timeout: {READ_TIMEOUT}\nconnect_timeout: 5s\n\
             detect: {{ enabled: {detects}, minimal_duration: {EVENT_S}s, warm_up: 1s }}\n\
             record: {{ mode: {mode}, container: {container}, pre_alarm: {PRE_ALARM_S}s, max_file: {max_file_s}s, audio: off }}\n"
        )
    }
}

struct Camera {
    name: String,
    source: NumberedCamera,
    relay: Relay,
    settings: Settings,
    /// When it was not to be recorded.
    disabled: Vec<Range<DateTime<Utc>>>,
    triggers: Vec<DateTime<Utc>>,
}

/// What is put right again later.
enum Mend {
    Heal(usize),
    Enable(usize),
    Repair(usize),
    MakeRoom,
}

/// Resident memory of one life of the daemon, in kB.
struct Life {
    began: Instant,
    settled_kb: u64,
    last_kb: u64,
    most_kb: u64,
}

impl Life {
    fn begins() -> Self {
        Life { began: monotonic(), settled_kb: 0, last_kb: 0, most_kb: 0 }
    }
}

struct Soak {
    daemon: Daemon,
    disk: SmallDisk,
    cameras: Vec<Camera>,
    ledger: Ledger,
    random: fastrand::Rng,
    deeds: BTreeMap<&'static str, u64>,
    mends: Vec<(Instant, Mend)>,
    is_full: bool,
    /// When it was.
    full: Vec<Range<DateTime<Utc>>>,
    kills: Vec<DateTime<Utc>>,
    lives: Vec<Life>,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn a_short_soak_loses_nothing() {
    if in_own_mounts("a_short_soak_loses_nothing") {
        run(&Course {
            seconds: 30,
            cameras: 4,
            speed: 4,
            // The same deeds each time; their moments are the machine's.
            seed: number("SEED", 4711),
            disk_mb: 48,
            pause_ms: 700,
        });
    }
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak() {
    if in_own_mounts("soak") {
        let cameras = number("CAMERAS", 16);
        run(&Course {
            seconds: 60 * number("MINUTES", 20),
            cameras: cameras as usize,
            speed: number("SPEED", 8) as u32,
            seed: number("SEED", fastrand::u64(..1_000_000)),
            disk_mb: 64 + 16 * cameras as u32,
            pause_ms: 1500,
        });
    }
}

fn run(course: &Course) {
    let Course { seconds, cameras, speed, seed, .. } = course;
    println!("soak: {seconds} s, {cameras} cameras at {speed} x 25 pictures a second, SEED={seed}");
    let mut soak = Soak::start(course);
    soak.rage(course);
    soak.end();
}

impl Soak {
    fn start(course: &Course) -> Self {
        let spec = || Clip::spec().fps(25 * course.speed).seconds(2.0).gop_seconds(1.0);
        let (h264, jpeg) = (spec().size(320, 180).make(), spec().size(160, 90).codec(Codec::Mjpeg).make());
        let mut builder = Daemon::builder().global("archive: { min_free: 16MB }");
        let mut cameras = Vec::new();
        for at in 0..course.cameras {
            let is_jpeg = at % 8 == 2;
            let source = NumberedCamera::start(if is_jpeg { &jpeg } else { &h264 });
            let relay = Relay::to(source.port());
            let settings = Settings {
                is_event: at % 4 == 3,
                is_jpeg,
                detects: at % 8 == 1,
                container: if at % 2 == 1 { "mkv" } else { "mp4" },
                max_file_s: 10,
                enabled: true,
                comment: 0,
                source: source.url_at(relay.port()),
            };
            let name = format!("camera-{at}");
            builder = builder.camera(&name, &settings.yaml());
            cameras.push(Camera { name, source, relay, settings, disabled: Vec::new(), triggers: Vec::new() });
        }
        let disk = SmallDisk::mount(&builder.folder().join("archive"), course.disk_mb);
        let daemon = builder.start();
        Soak {
            ledger: Ledger::of(&daemon.archive()),
            daemon,
            disk,
            cameras,
            random: fastrand::Rng::with_seed(course.seed),
            deeds: BTreeMap::new(),
            mends: Vec::new(),
            is_full: false,
            full: Vec::new(),
            kills: Vec::new(),
            lives: vec![Life::begins()],
        }
    }

    /// One deed after another, at random. In the last third the daemon lives on, so that its memory can be watched.
    fn rage(&mut self, course: &Course) {
        let began = monotonic();
        let (all, calm_from) = (Duration::from_secs(course.seconds), Duration::from_secs(course.seconds * 2 / 3));
        let mut next = Duration::from_secs(5).min(all / 8);
        let mut looked = began;
        while began.elapsed() < all {
            self.mend(false);
            if looked.elapsed() > Duration::from_millis(200) {
                self.ledger.look();
                self.weigh();
                looked = monotonic();
            }
            if self.is_full {
                self.disk.fill_up_to(0);
            }
            if began.elapsed() >= next {
                self.do_something(began.elapsed() >= calm_from);
                next = began.elapsed() + Duration::from_millis(self.random.u64(0..2 * course.pause_ms));
            }
            std::thread::sleep(TICK);
        }
        self.mend(true);
    }

    /// Puts right what is due, or all.
    fn mend(&mut self, all: bool) {
        let now = monotonic();
        let (due, later) = std::mem::take(&mut self.mends).into_iter().partition(|(at, _)| all || *at <= now);
        self.mends = later;
        for (_, mend) in due {
            match mend {
                Mend::Heal(at) => self.cameras[at].relay.heal(),
                Mend::Repair(at) => self.write(at),
                Mend::MakeRoom => {
                    self.is_full = false;
                    self.full.last_mut().expect("it was full").end = utc_now();
                    self.disk.make_room();
                }
                Mend::Enable(at) => {
                    let camera = &mut self.cameras[at];
                    camera.settings.enabled = true;
                    camera.disabled.last_mut().expect("it was disabled").end = utc_now() + STARTS_WITHIN;
                    self.write(at);
                }
            }
        }
    }

    fn write(&self, at: usize) {
        let Camera { name, settings, .. } = &self.cameras[at];
        self.daemon.replace_camera(name, &settings.yaml());
    }

    fn later(&mut self, ms: Range<u64>, mend: Mend) {
        let wait = Duration::from_millis(self.random.u64(ms));
        self.mends.push((monotonic() + wait, mend));
    }

    fn do_something(&mut self, is_calm: bool) {
        let at = self.random.usize(0..self.cameras.len());
        let deed = match self.random.u32(0..36) {
            0..3 if !is_calm => self.kill(false),
            3 if !is_calm => self.kill(true),
            4 if !is_calm => {
                assert_eq!(self.daemon.terminate(secs(8)), Some(0), "an end in order");
                self.daemon.restart();
                self.lives.push(Life::begins());
                "clean restarts"
            }
            5..8 => self.fill(),
            8 => {
                lose_index(&self.daemon.archive());
                "index deletions, running"
            }
            9..12 => {
                // The least that restarts a camera.
                self.cameras[at].settings.max_file_s = self.random.u64(6..12);
                self.write(at);
                "config edits"
            }
            12 => {
                self.cameras[at].settings.comment += 1;
                self.write(at);
                "config edits"
            }
            13 => {
                self.daemon.write_camera(&self.cameras[at].name, "source: [\n");
                self.later(300..2000, Mend::Repair(at));
                "broken configs"
            }
            14 if self.cameras[at].settings.enabled => {
                let camera = &mut self.cameras[at];
                camera.settings.enabled = false;
                camera.disabled.push(utc_now()..DateTime::<Utc>::MAX_UTC);
                self.write(at);
                self.later(500..3000, Mend::Enable(at));
                "cameras disabled"
            }
            15 => {
                self.daemon.post(&format!("/api/cameras/{}/restart", self.cameras[at].name));
                "restarts by hand"
            }
            16..20 => {
                self.cameras[at].relay.cut();
                self.later(200..6000, Mend::Heal(at));
                "network cuts"
            }
            20..22 => {
                self.cameras[at].relay.drop_connections();
                "connections dropped"
            }
            22..24 => {
                self.cameras[at].relay.stall();
                self.later(300..5000, Mend::Heal(at));
                "network stalls"
            }
            24 => {
                for at in 0..self.cameras.len() {
                    self.cameras[at].relay.cut();
                    self.mends.push((monotonic() + secs(1), Mend::Heal(at)));
                }
                "network cuts"
            }
            _ => {
                let events: Vec<usize> =
                    (0..self.cameras.len()).filter(|at| self.cameras[*at].settings.is_event).collect();
                let Some(at) = self.random.choice(&events).copied() else { return };
                let now = utc_now();
                if self.daemon.post(&format!("/api/cameras/{}/trigger", self.cameras[at].name)).0 < 300 {
                    self.cameras[at].triggers.push(now);
                }
                "triggers"
            }
        };
        *self.deeds.entry(deed).or_default() += 1;
    }

    fn kill(&mut self, loses_index: bool) -> &'static str {
        self.kills.push(utc_now());
        self.daemon.kill();
        if loses_index {
            lose_index(&self.daemon.archive());
        }
        std::thread::sleep(Duration::from_millis(self.random.u64(0..1500)));
        self.ledger.look();
        self.daemon.restart();
        self.lives.push(Life::begins());
        if loses_index { "kills, index deleted" } else { "kills" }
    }

    /// Somebody takes all the room, and all that retention frees, for a while.
    fn fill(&mut self) -> &'static str {
        if !self.is_full {
            self.is_full = true;
            self.full.push(utc_now()..DateTime::<Utc>::MAX_UTC);
            // Some for longer than the rings reach back.
            let ms = if self.random.u32(0..4) == 0 { 14_000..18_000 } else { 200..4000 };
            self.later(ms, Mend::MakeRoom);
        }
        "disk fills"
    }

    fn weigh(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let now_kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        let life = self.lives.last_mut().expect("it lives");
        (life.last_kb, life.most_kb) = (now_kb, life.most_kb.max(now_kb));
        // The rings are full by then.
        if life.began.elapsed() < secs(15) {
            life.settled_kb = now_kb;
        }
    }

    /// Lets all come to rest, ends the daemon, and holds what the cameras took against what is there.
    fn end(mut self) {
        // No backoff is waited for.
        self.daemon.signal(libc::SIGHUP);
        for camera in &self.cameras {
            self.daemon.wait_for_state(&camera.name, "running", secs(40));
        }
        let rest = monotonic();
        while rest.elapsed() < secs(3) {
            self.ledger.look();
            std::thread::sleep(TICK);
        }
        wait_for("the index to be whole", secs(60), || self.has_whole_index().then_some(()));
        self.weigh();
        let ends: Vec<u64> = self.cameras.iter().map(|c| c.source.taken().saturating_sub(c.source.rate())).collect();
        assert_eq!(self.daemon.terminate(secs(8)), Some(0));
        self.ledger.look();
        let mut wrong = self.ledger.unreadable.clone();
        let mut all = Verdict::default();
        let stands: Vec<String> = self
            .cameras
            .iter()
            .zip(&ends)
            .map(|(camera, end)| self.judge(camera, *end, &mut all, &mut wrong))
            .collect();
        self.print(&stands, &all);
        wrong.extend(self.check_archive());
        for line in &wrong {
            println!("WRONG: {line}");
        }
        if !wrong.is_empty() {
            let kept = std::env::temp_dir().join(format!("tarsier-soak-{}", std::process::id()));
            let status = Command::new("cp").arg("-a").arg(self.daemon.folder()).arg(&kept).status();
            println!("the archive is kept in {} ({status:?})", kept.display());
        }
        assert!(wrong.is_empty(), "{} things are wrong", wrong.len());
    }

    /// Has the archive been looked through since its index was taken away?
    fn has_whole_index(&self) -> bool {
        let log = self.daemon.stderr();
        let last = |words: &str| {
            log.lines()
                .enumerate()
                .filter(|(_, line)| line.contains(words) && !line.contains("stopped"))
                .last()
                .map(|(at, _)| at)
        };
        last("the archive was looked through") > last("was taken away")
    }

    fn judge(&self, camera: &Camera, end: u64, all: &mut Verdict, wrong: &mut Vec<String>) -> String {
        let Camera { name, source, settings, disabled, triggers, .. } = camera;
        let first = self.ledger.first(name).unwrap_or(end);
        let judged = match settings.is_event {
            false => std::iter::once(first..end).collect(),
            // Before the first line about it, it is new: a crash that takes the index takes that with it.
            true => match self.ledger.known_since(name) {
                Some(known) => self.windows(source, triggers.iter().filter(|at| **at > known + TOLERANCE)),
                None => Vec::new(),
            },
        };
        let verdict = self.ledger.judge(name, source, &judged, disabled);
        for (what, runs) in [("MISSING", &verdict.missing), ("DOUBLED", &verdict.doubled)] {
            for run in runs.iter() {
                let (from, to) = (source.taken_at(run.start), source.taken_at(run.end));
                wrong.push(format!("{name}: {what} {} pictures {run:?}, {from} to {to}", run.end - run.start));
            }
        }
        let in_gaps: u64 = verdict.in_gaps.values().sum();
        let kind = match (settings.is_event, settings.is_jpeg) {
            (true, _) => "motion",
            (_, true) => "continuous, MJPEG",
            _ => "continuous",
        };
        all.add(&verdict);
        format!(
            "| {name} | {kind} | {} | {} | {} | {} | {in_gaps} | {} | {} | {} | {} | {} |",
            verdict.taken,
            verdict.unsent,
            verdict.in_files,
            verdict.deleted,
            verdict.at_edges,
            count(&verdict.belied),
            verdict.unwanted,
            count(&verdict.missing),
            count(&verdict.doubled)
        )
    }

    /// The pictures of a camera's events by hand: from pre-alarm to end, of the connection that was there.
    fn windows<'a>(
        &self,
        source: &NumberedCamera,
        triggers: impl Iterator<Item = &'a DateTime<Utc>>,
    ) -> Vec<Range<u64>> {
        let is_killed = |at: DateTime<Utc>| {
            let full_to = self.full.iter().find(|full| full.contains(&at)).map_or(at, |full| full.end);
            self.kills.iter().any(|kill| at <= *kill && *kill < full_to.max(at + KILL_COSTS))
        };
        let rate = source.rate() as i64;
        let began = source.taken_at(0);
        let number = |at: DateTime<Utc>| ((at - began).num_milliseconds().max(0) * rate / 1000) as u64;
        let sent = source.sent();
        let mut windows: Vec<Range<u64>> = Vec::new();
        for at in triggers.filter(|at| !is_killed(**at)) {
            let (middle, moment) = (number(*at - TOLERANCE), number(*at));
            // Of two connections either may be the event's, where the second had just begun.
            let Some(run) = sent.iter().find(|run| run.contains(&middle)) else { continue };
            if run.end < moment && sent.iter().any(|run| (middle..=moment).contains(&run.start)) {
                continue;
            }
            let from = number(*at - TimeDelta::seconds(PRE_ALARM_S)).max(run.start);
            let to = number(*at + TimeDelta::seconds(EVENT_S) - TOLERANCE).min(run.end);
            // Events that touch are one.
            let from = windows.last().map_or(from, |last| from.max(last.end));
            if from < to {
                windows.push(from..to);
            }
        }
        windows
    }

    fn print(&self, stands: &[String], all: &Verdict) {
        println!(
            "\n| camera | records | pictures | sent to nobody | in files | deleted by retention | in gaps | at edges | in both | unwanted | MISSING | DOUBLED |"
        );
        println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        stands.iter().for_each(|line| println!("{line}"));
        println!(
            "| all | | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            all.taken,
            all.unsent,
            all.in_files,
            all.deleted,
            all.in_gaps.values().sum::<u64>(),
            all.at_edges,
            count(&all.belied),
            all.unwanted,
            count(&all.missing),
            count(&all.doubled)
        );
        let (deleted, recordings) = self.ledger.deleted();
        println!("\nin gaps by cause: {:?}", all.in_gaps);
        println!(
            "recordings: {recordings}, {deleted} of them deleted by retention; {} pictures of those were not read before",
            all.deleted_unread
        );
        println!("deeds: {:?}", self.deeds);
        if let (Some(first), Some(last)) = (self.lives.first(), self.lives.last()) {
            let mb = |kb: u64| kb / 1024;
            let most = self.lives.iter().map(|life| life.most_kb).max().unwrap_or(0);
            println!(
                "resident memory: {} MB in the first life, {} MB in the last of {} after 15 s and {} MB at its end {} s later; never more than {} MB",
                mb(first.last_kb),
                mb(last.settled_kb),
                self.lives.len(),
                mb(last.last_kb),
                last.began.elapsed().as_secs(),
                mb(most)
            );
        }
    }

    /// What the tools say of the archive, and whether its index is what a new one would be.
    fn check_archive(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (archive, config) = (self.daemon.archive(), self.daemon.folder().join("tarsier.yaml"));
        let (is_well, said) = tarsier(&config, &["recordings", "verify"]);
        println!("verify: {}", said.lines().last().unwrap_or_default());
        if !is_well {
            wrong.push(format!("`tarsier recordings verify`:\n{said}"));
        }
        let before = index_rows(&archive);
        lose_index(&self.daemon.archive());
        let (is_well, said) = tarsier(&config, &["recordings", "repair"]);
        if !is_well {
            wrong.push(format!("`tarsier recordings repair`:\n{said}"));
        }
        wrong.extend(
            differences(&before, &index_rows(&archive))
                .into_iter()
                .map(|line| format!("the index and a new one: {line}")),
        );
        wrong
    }
}

fn tarsier(config: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
    let output = command.args(arguments).arg("--config").arg(config).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
