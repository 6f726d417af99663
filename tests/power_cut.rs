//! A power cut at any moment: what was synced is whole, what was not harms nothing, and the index is sound.
//!
//! Real daemons run once, with a layer below them that writes down every write and every sync. Of that, the test makes
//! what a disk may hold after a cut at hundreds of moments, starts on each as the daemon does, and looks at what is
//! there.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use chrono::{DateTime, Utc};
use support::*;
use tarsier::archive::index::{Index, IndexReader};
use tarsier::archive::recovery;
use tarsier::clock::utc_now;
use tarsier::domain::recording::RecordingQuery;
use tarsier::domain::stream::Track;
use tarsier::media::packet::Session;
use tarsier::media::source::{self, Cancel, OpenOptions};

const FPS: u32 = 10;
const SECONDS: u64 = 26;
/// The camera whose recordings are deleted soon.
const SHORT_LIVED: &str = "short-lived";
/// The cadence of `archive.sync`, and how many cuts are tried.
const RUNS: [(&str, usize); 3] = [("1s", 150), ("fragment", 40), ("never", 30)];

/// The pictures of the clip, by what is in their packets.
struct Pictures {
    clip: Vec<u64>,
    /// What was read of a file with this content.
    known: Mutex<HashMap<u64, Held>>,
}

/// What a recording holds: the clip's pictures from `first` on, `intact` of them one after the other as they were
/// sent, and then others.
#[derive(Clone, Copy, Debug)]
struct Held {
    first: usize,
    intact: usize,
    others: usize,
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The hashes of a file's pictures, in decode order, as far as it can be read.
fn hashes(path: &Path) -> Vec<u64> {
    let session = Arc::new(Session::new(1));
    let Ok(mut source) = source::open(&OpenOptions::of_file(path), session, &Cancel::new()) else { return Vec::new() };
    std::iter::from_fn(|| source.next().ok().flatten())
        .filter(|packet| packet.track == Track::Video)
        .map(|packet| hash(packet.data()))
        .collect()
}

impl Pictures {
    fn of(clip: &Clip) -> Self {
        Pictures { clip: hashes(&clip.path), known: Mutex::default() }
    }

    fn in_file(&self, path: &Path) -> Held {
        let key = hash(&fs::read(path).unwrap());
        if let Some(known) = self.known.lock().unwrap().get(&key) {
            return *known;
        }
        let pictures = hashes(path);
        let intact_from = |first: usize| self.clip[first..].iter().zip(&pictures).take_while(|(a, b)| a == b).count();
        let (intact, first) = (0..self.clip.len()).map(|first| (intact_from(first), first)).max().unwrap();
        let held = Held { first, intact, others: pictures.len() - intact };
        self.known.lock().unwrap().insert(key, held);
        held
    }
}

/// What is there when Tarsier has started again.
#[derive(Debug, Default)]
struct Remains {
    /// By path, with their pictures.
    files: BTreeMap<String, Held>,
    rows: BTreeSet<(i64, String)>,
    events: BTreeSet<(String, DateTime<Utc>, i64)>,
    /// Camera, start, cause; those that were over.
    gaps: BTreeSet<(String, DateTime<Utc>, &'static str)>,
    protected: BTreeSet<String>,
    /// Files that no row speaks of.
    rowless: usize,
    /// What the start and `tarsier recordings verify` say is wrong; each names its file.
    complaints: Vec<String>,
}

fn all() -> RecordingQuery {
    RecordingQuery { limit: 1000, ..RecordingQuery::default() }
}

/// Starts on an archive as the daemon does, and reads everything back.
fn restart(root: &Path, pictures: &Pictures) -> Remains {
    if !root.join("index.db").exists() && fs::read_dir(root).map_or(0, Iterator::count) == 0 {
        return Remains::default();
    }
    let index = Index::open(root).unwrap_or_else(|error| panic!("the index opens: {error}"));
    let mut report = recovery::repair_open(root, &index);
    report = report.and(recovery::scan_all(root, &index, &AtomicBool::new(false)));
    assert!(index.flush(), "the index can be written");
    assert_eq!(index.trouble(), None);
    let mut remains = Remains { complaints: report.failures, ..Remains::default() };
    let protected = index.state().protected().expect("the state can be read");
    for row in index.recordings(&all()).unwrap().items {
        let path = root.join(&row.path);
        assert!(row.end.is_some() && path.exists(), "{row:?}");
        if protected.has(&row.path) {
            remains.protected.insert(row.path.clone());
        }
        remains.files.insert(row.path.clone(), pictures.in_file(&path));
        remains.rows.insert((row.id, row.path));
    }
    remains.rowless = recording_files(root).len() - remains.files.len();
    let events = index.events(&all()).unwrap().items;
    remains.events = events.into_iter().map(|(event, _)| (event.camera, event.start, event.id)).collect();
    let gaps = index.gaps(&all()).unwrap().items;
    remains.gaps = gaps.into_iter().map(|gap| (gap.camera, gap.start, gap.cause.name())).collect();
    assert!(index.close());
    let set_aside = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    let broken: Vec<_> = set_aside.filter(|name| name.to_string_lossy().contains("broken")).collect();
    assert!(broken.is_empty(), "the index was damaged: {broken:?}");
    let config = root.with_file_name("tarsier.yaml");
    fs::write(&config, format!("archive: {{ path: {} }}\n", root.display())).unwrap();
    remains.complaints.extend(verify(&config));
    remains
}

/// What `tarsier recordings verify` says is wrong.
fn verify(config: &Path) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tarsier"))
        .args(["recordings", "verify", "--no-decode", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Vec::new();
    }
    // The last line sums up.
    said.lines().rev().skip(1).map(str::to_owned).collect()
}

/// A daemon that ran, and what it did to the disk.
struct Run {
    sync: &'static str,
    log: Log,
    /// Paths that were protected, each with the moment after the answer.
    protected: Vec<(String, i64)>,
    /// The last that the daemon gave to a recording or an event.
    last_id: i64,
    daemon: Daemon,
}

fn cameras() -> [(&'static str, &'static str); 4] {
    [
        ("rolled", "mode: continuous, max_file: 3s"),
        ("moved", "mode: motion, container: mkv, pre_alarm: 2s"),
        (SHORT_LIVED, "mode: continuous, max_file: 1s"),
        ("edited", "mode: continuous, container: mkv, max_file: 7s"),
    ]
}

fn yaml(clip: &Clip, record: &str, retention: &str) -> String {
    format!(
        "source: {}\ndetect: {{ warm_up: 1s, minimal_duration: 1s, width: 160, min_area: 1% }}\n\
         record: {{ audio: off, {record} }}\n{retention}",
        clip.path.display()
    )
}

fn run(sync: &'static str, clip: &Clip) -> Run {
    let mut builder = Daemon::builder().global(&format!("archive: {{ min_free: 0, sync: {sync} }}"));
    let archive = builder.folder().join("archive");
    let recorder = Recorder::new(&archive, &builder.folder().join("deeds"));
    for (name, value) in recorder.environment() {
        builder = builder.env(name, &value);
    }
    for (camera, record) in cameras() {
        let retention = if camera == SHORT_LIVED { "retention: { max_size: 60kB }\n" } else { "" };
        builder = builder.camera(camera, &yaml(clip, record, retention));
    }
    let mut daemon = builder.start();
    let mut protected = Vec::new();
    for wait_s in [6, 6, 5] {
        thread::sleep(secs(wait_s));
        if protected.is_empty() {
            daemon.write_camera("edited", &yaml(clip, "mode: continuous, container: mkv, max_file: 8s", ""));
        }
        let kept = daemon.recordings("rolled").into_iter().find(|row| row.complete).expect("one is closed");
        assert_eq!(daemon.post(&format!("/api/recordings/{}/protect", kept.id)).0, 200);
        protected.push((kept.path, utc_now().timestamp_micros()));
    }
    thread::sleep(secs(SECONDS - 17));
    assert_eq!(daemon.terminate(secs(10)), Some(0));
    let index = IndexReader::open(&archive).unwrap();
    let rows = index.recordings(&all()).unwrap().items.into_iter().map(|row| row.id);
    let events = index.events(&all()).unwrap().items.into_iter().map(|(event, _)| event.id);
    let last_id = rows.chain(events).max().unwrap();
    Run { sync, log: recorder.read(), protected, last_id, daemon }
}

impl Run {
    /// Numbers of the deeds before which all is synced, each right after such a sync.
    fn syncs(&self) -> Vec<usize> {
        let is_sync = |n: &usize| self.log.deeds[*n].what == What::SyncAll;
        (0..self.log.deeds.len()).filter(is_sync).map(|n| n + 1).collect()
    }

    /// Cuts right before and after syncs, and anywhere.
    fn cuts(&self, count: usize, random: &mut fastrand::Rng) -> Vec<(usize, Loss)> {
        let mut places: Vec<usize> = self.syncs().into_iter().flat_map(|after| [after - 1, after]).collect();
        random.shuffle(&mut places);
        places.truncate(count / 3);
        places.extend((places.len()..count).map(|_| random.usize(1..=self.log.deeds.len())));
        let losses = [Loss::Tail, Loss::All, Loss::Some, Loss::Tail, Loss::Zeros, Loss::Some, Loss::None];
        places.into_iter().zip(losses.into_iter().cycle()).collect()
    }

    /// Names of recordings that were deleted before the cut.
    fn deleted_before(&self, cut: usize) -> BTreeSet<String> {
        let deeds = self.log.deeds[..cut].iter();
        deeds
            .filter_map(|deed| match &deed.what {
                What::Remove { path } => Some(path.to_str().unwrap().to_owned()),
                _ => None,
            })
            .collect()
    }

    /// Starts the daemon itself on what a cut left, and lets it record on.
    fn start_after_cut(&self, cut: usize, seed: u64, clip: &Clip, synced: &Synced) {
        let (camera, record) = cameras()[0];
        let mut daemon = Daemon::builder().global("archive: { min_free: 0 }").prepare();
        daemon.write_camera(camera, &yaml(clip, record, ""));
        self.log.left_by(cut, Loss::Tail, &mut fastrand::Rng::with_seed(seed), &daemon.archive());
        let old: BTreeSet<_> = recording_files(&daemon.archive()).into_iter().collect();
        daemon.restart();
        daemon.wait_for_recording(camera, secs(30), |row| {
            row.complete && !old.contains(&daemon.archive().join(&row.path))
        });
        assert_eq!((daemon.get_text("/readyz").0, daemon.alarms().len()), (200, 0));
        let rows: BTreeSet<i64> = daemon.recordings(camera).into_iter().map(|row| row.id).collect();
        let before = synced.before(cut).expect("something was synced").rows.iter();
        let before = before.filter(|(id, path)| path.starts_with(camera) && *id <= self.last_id);
        let missing: Vec<_> = before.filter(|(id, _)| !rows.contains(id)).collect();
        assert!(missing.is_empty(), "cut before deed {cut}, seed {seed}: {missing:?} of {rows:?}");
        assert_eq!(daemon.terminate(secs(10)), Some(0));
        // What is missing between what was recorded then and now has a gap that says why.
        let complaints = verify(&daemon.folder().join("tarsier.yaml"));
        assert!(complaints.is_empty(), "cut before deed {cut}, seed {seed}: {complaints:?}");
    }

    /// The layer missed nothing: what it wrote down is what is there.
    fn assert_all_was_written_down(&self) {
        let house = tempfile::tempdir().unwrap();
        let copy = house.path().join("archive");
        self.log.left_by(self.log.deeds.len(), Loss::None, &mut fastrand::Rng::with_seed(0), &copy);
        let (real, copied) = (contents(&self.daemon.archive()), contents(&copy));
        assert_eq!(real.keys().collect::<Vec<_>>(), copied.keys().collect::<Vec<_>>());
        // Shared memory of the processes that are there: SQLite makes it anew.
        let is_memory = |path: &Path| path == Path::new("index.db-shm");
        let differs: Vec<_> = real.keys().filter(|path| !is_memory(path) && real[*path] != copied[*path]).collect();
        assert!(differs.is_empty(), "{differs:?}");
    }

    /// Cuts, starts again, and holds what is there against what was synced.
    fn try_cut(&self, (cut, loss): (usize, Loss), seed: u64, pictures: &Pictures, synced: &Synced) {
        let house = tempfile::tempdir().unwrap();
        let root = house.path().join("archive");
        self.log.left_by(cut, loss, &mut fastrand::Rng::with_seed(seed), &root);
        if !root.exists() {
            return;
        }
        let remains = restart(&root, pictures);
        let before = synced.before(cut);
        let is_settled = |path: &String| {
            let whole = synced.by_sync.last().and_then(|(_, last)| last.files.get(path));
            let held = before.and_then(|before| before.files.get(path));
            held.zip(whole).is_some_and(|(held, whole)| held.intact == whole.intact)
        };
        // What was not synced may be damaged where the file system keeps no order; what was is never.
        let sound: Vec<&String> = remains.files.keys().filter(|path| loss.is_ordered() || is_settled(path)).collect();
        for path in &sound {
            let complaint = remains.complaints.iter().find(|complaint| complaint.contains(path.as_str()));
            assert!(complaint.is_none() && remains.files[*path].others == 0, "{path}: {complaint:?}");
        }
        if loss.is_ordered() {
            assert_eq!((remains.complaints.as_slice(), remains.rowless), (&[][..], 0));
        }
        let Some(before) = before else { return };
        let deleted = self.deleted_before(cut);
        for (path, held) in before.files.iter().filter(|(path, _)| !deleted.contains(*path)) {
            let now = remains.files.get(path).unwrap_or_else(|| panic!("{path} was synced and is gone"));
            assert!(now.first == held.first && now.intact >= held.intact, "{path} held {held:?} and holds {now:?}");
        }
        // A file whose row was not there yet gets one, with a new id, at each start.
        let missing = before.rows.difference(&remains.rows).filter(|row| row.0 <= self.last_id);
        let missing: Vec<_> = missing.filter(|row| !deleted.contains(&row.1)).collect();
        assert!(missing.is_empty(), "rows that were synced are gone: {missing:?}");
        // With a recording, retention forgets what else was known of its time.
        let is_kept = |camera: &str| camera != SHORT_LIVED || deleted.is_empty();
        let missing = before.events.difference(&remains.events).filter(|event| event.2 <= self.last_id);
        let missing: Vec<_> = missing.filter(|event| is_kept(&event.0)).collect();
        assert!(missing.is_empty(), "events that were synced are gone: {missing:?}");
        let missing = before.gaps.difference(&remains.gaps).filter(|gap| gap.2 != "down" && is_kept(&gap.0));
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "gaps that were synced are gone: {missing:?}");
        let at_us = self.log.deeds.get(cut).map_or(i64::MAX, |deed| deed.at_us);
        for (path, _) in self.protected.iter().filter(|(_, since_us)| *since_us < at_us) {
            assert!(remains.protected.contains(path), "{path} was protected, and that was answered");
        }
    }
}

/// All files below a folder, by their paths in it; of folders only the names.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let content = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), content);
            folders.extend(path.is_dir().then_some(path));
        }
    }
    found
}

/// What is there after a cut right after a sync: so much must be there at any cut after it.
struct Synced {
    by_sync: Vec<(usize, Remains)>,
}

impl Synced {
    fn of(run: &Run, pictures: &Pictures) -> Self {
        let by_sync = run.syncs().into_iter().map(|after| {
            let house = tempfile::tempdir().unwrap();
            let root = house.path().join("archive");
            run.log.left_by(after, Loss::All, &mut fastrand::Rng::with_seed(0), &root);
            (after, restart(&root, pictures))
        });
        Synced { by_sync: by_sync.collect() }
    }

    fn before(&self, cut: usize) -> Option<&Remains> {
        self.by_sync.iter().rfind(|(after, _)| *after <= cut).map(|(_, remains)| remains)
    }
}

/// Seconds from when a picture of the continuous cameras, one a container, was there until it was synced, in rising
/// order.
fn delays_s(run: &Run, synced: &Synced) -> Vec<f64> {
    let index = Index::open(&run.daemon.archive()).unwrap();
    let of = |camera: &str| index.recordings(&RecordingQuery { camera: Some(camera.into()), ..all() }).unwrap().items;
    let mut delays = Vec::new();
    for row in of("rolled").into_iter().chain(of("edited")) {
        let path = row.path;
        let whole = synced.by_sync.last().unwrap().1.files.get(&path).map_or(0, |held| held.intact);
        for n in 0..whole {
            let came_us = row.start.timestamp_micros() + n as i64 * 1_000_000 / i64::from(FPS);
            let holds = |remains: &Remains| remains.files.get(&path).is_some_and(|held| held.intact > n);
            let (after, _) = synced.by_sync.iter().find(|(_, remains)| holds(remains)).unwrap();
            delays.push((run.log.deeds[after - 1].at_us - came_us) as f64 / 1e6);
        }
    }
    delays.sort_by(f64::total_cmp);
    delays
}

#[test]
fn a_power_cut_costs_what_was_not_synced_and_harms_nothing_else() {
    let clip = Clip::spec().size(160, 120).fps(FPS).seconds(40.0).gop_seconds(1.0).motion(4.0, 6.0).motion(13.0, 15.0);
    let clip = clip.make();
    let pictures = Pictures::of(&clip);
    let runs: Vec<Run> = thread::scope(|scope| {
        let running = RUNS.map(|(sync, _)| scope.spawn(|| run(sync, &clip)));
        running.into_iter().map(|run| run.join().expect("it ran")).collect()
    });
    runs.iter().for_each(Run::assert_all_was_written_down);
    let seed =
        std::env::var("TARSIER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("TARSIER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (run, (_, count)) in runs.iter().zip(RUNS) {
        let synced = Synced::of(run, &pictures);
        let cuts: Vec<((usize, Loss), u64)> =
            run.cuts(count, &mut random).into_iter().map(|cut| (cut, random.u64(..))).collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(&(cut, seed)) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let trial = std::panic::AssertUnwindSafe(|| run.try_cut(cut, seed, &pictures, &synced));
                        if let Err(panic) = std::panic::catch_unwind(trial) {
                            println!(
                                "sync {}: cut before deed {} of {}, {:?}, seed {seed}",
                                run.sync,
                                cut.0,
                                run.log.deeds.len(),
                                cut.1
                            );
                            std::panic::resume_unwind(panic);
                        }
                    }
                });
            }
        });
        let kinds = |is: fn(&What) -> bool| run.log.deeds.iter().filter(|deed| is(&deed.what)).count();
        println!(
            "sync {}: {} cuts in {} deeds, of them {} writes, {} syncs of a file, {} of all, {} removals",
            run.sync,
            cuts.len(),
            run.log.deeds.len(),
            kinds(|what| matches!(what, What::Write { .. })),
            kinds(|what| matches!(what, What::Sync { .. })),
            kinds(|what| *what == What::SyncAll),
            kinds(|what| matches!(what, What::Remove { .. })),
        );
        if run.sync == "never" {
            continue;
        }
        let last = &synced.by_sync.last().expect("it synced").1;
        assert!(last.events.len() >= 2 && last.gaps.iter().any(|gap| gap.2 == "reload"), "{last:?}");
        assert!(run.deleted_before(run.log.deeds.len()).iter().any(|path| path.starts_with(SHORT_LIVED)));
        let later = run.log.deeds.len() / 2..run.log.deeds.len();
        let starts: Vec<_> = (0..2).map(|_| (random.usize(later.clone()), random.u64(..))).collect();
        thread::scope(|scope| {
            let (clip, synced) = (&clip, &synced);
            for (cut, seed) in starts {
                scope.spawn(move || run.start_after_cut(cut, seed, clip, synced));
            }
        });
        let delays = delays_s(run, &synced);
        let (most, longest) = (delays[delays.len() * 9 / 10], delays[delays.len() - 1]);
        println!(
            "sync {}: of {} pictures, nine in ten were safe after {most:.2} s, all after {longest:.2} s",
            run.sync,
            delays.len()
        );
        assert!(delays.len() > 150 && most < 2.0, "a picture is safe after {most} s");
    }
}
