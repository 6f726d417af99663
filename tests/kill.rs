//! `kill -9` at any instant costs at most a second of what the camera had sent, and the next start makes whole what
//! was open.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use support::*;
use tarsier::clock::monotonic;

const KILLS: usize = 50;
const FPS: u32 = 10;
/// Killed at any time up to so long after it began to serve.
const LONGEST_LIFE_MS: u64 = 2400;
/// May be lost.
const LOSS: Duration = Duration::from_secs(1);
const CAMERAS: [(&str, &str); 2] = [("yard", "mp4"), ("door", "mkv")];

/// What one life of the daemon left of one camera.
struct Remains {
    camera: &'static str,
    files: Vec<PathBuf>,
    /// The server's count of the first picture it sent, and of those sent a second before the end.
    sent: Option<(u64, u64)>,
}

fn files_of(archive: &Path, camera: &str) -> BTreeSet<PathBuf> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![archive.join(camera)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { _ = files.insert(path) }
        }
    }
    files
}

/// A copy of what is being written at this moment decodes.
fn check_open_files(daemon: &Daemon) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (camera, container) in CAMERAS {
        for row in daemon.recordings(camera).into_iter().filter(|row| !row.complete) {
            let copy = scratch.path().join(format!("{camera}.{container}"));
            fs::copy(daemon.archive().join(&row.path), &copy).unwrap();
            // Nothing is in it before the first fragment is.
            if fs::metadata(&copy).unwrap().len() > 0 {
                decodes_cleanly(&copy).unwrap();
                checked += 1;
            }
        }
    }
    checked
}

/// Everything that was broken off is whole in the index, and the gap after it lasts till the first picture that came
/// again. Recordings whose row did not reach the index before the kill are found by the scan, later.
fn check_after_restart(daemon: &Daemon, camera: &str, began: DateTime<Utc>) -> Option<PathBuf> {
    let row = daemon.recordings(camera).into_iter().filter(|row| row.complete).max_by_key(|row| row.id)?;
    let end = row.end.expect("a complete recording has an end");
    let time = |gap: &serde_json::Value, key: &str| gap[key].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let is_of = |gap: &serde_json::Value| (time(gap, "start") - end).abs() < TimeDelta::milliseconds(5);
    // The server sends what it has since its last keyframe: that may be all that came since. Each connection's clock is
    // its own, to some milliseconds, and of a recording that goes on the index knows the start to a tenth of a second.
    let at_most = end + TimeDelta::milliseconds(105);
    let is_all_there = || daemon.recordings(camera).iter().any(|next| next.id > row.id && next.start <= at_most);
    let gap = wait_for(&format!("the end of {camera}'s gap that begins at {end}"), secs(20), || {
        let gap = daemon.gaps(camera).into_iter().rfind(|gap| is_of(gap));
        gap.map(Some).or_else(|| is_all_there().then_some(None))
    });
    if let Some(gap) = gap {
        assert_eq!(gap["cause"], "down");
        assert!(time(&gap, "end") <= began + TimeDelta::seconds(30) && time(&gap, "end") > end, "{gap}");
    }
    Some(daemon.archive().join(&row.path))
}

#[test]
fn kill_9_costs_at_most_a_second() {
    let clip = Clip::spec().size(160, 120).fps(FPS).seconds(40.0).gop_seconds(8.0).make();
    let server = RtspServer::start(&CAMERAS.map(|(camera, _)| Mount::new(camera, &clip)));
    let mut builder = Daemon::builder();
    for (camera, container) in CAMERAS {
        let yaml = format!(
            "source: {}\ndetect: {{ enabled: false }}\nrecord: {{ mode: continuous, container: {container} }}\n",
            server.url(camera)
        );
        builder = builder.camera(camera, &yaml);
    }
    let mut daemon = builder.prepare();
    let archive = daemon.archive();
    let mut random = fastrand::Rng::with_seed(20);
    let mut remains: Vec<Remains> = Vec::new();
    let mut known = CAMERAS.map(|_| BTreeSet::new());
    let (mut open_checked, mut restarts_checked) = (0, 0);
    for life in 0..KILLS {
        let plays_before = CAMERAS.map(|(camera, _)| server.stats(camera).plays);
        let began = tarsier::clock::utc_now();
        daemon.restart();
        let life_began = monotonic();
        let wait_until =
            |at: Duration| wait_for("the instant", secs(20), || (life_began.elapsed() >= at).then_some(()));
        let end = Duration::from_millis(random.u64(0..LONGEST_LIFE_MS));
        if life % 5 == 1 {
            for (camera, _) in CAMERAS {
                let last = remains.iter().rev().find(|remains| remains.camera == camera).unwrap();
                let found = check_after_restart(&daemon, camera, began);
                restarts_checked += usize::from(found.is_some_and(|path| last.files.contains(&path)));
            }
        }
        wait_until(end.saturating_sub(LOSS));
        let before = monotonic();
        // What a server sends while the connection is still being made has not come yet.
        let runs = CAMERAS.map(|(camera, _)| daemon.camera(camera).is_some_and(|camera| camera["state"] == "running"));
        let stats = CAMERAS.map(|(camera, _)| server.stats(camera));
        if life % 5 == 2 {
            open_checked += check_open_files(&daemon);
        }
        wait_until(end.max(before - life_began + LOSS));
        daemon.kill();
        for (at, (camera, _)) in CAMERAS.into_iter().enumerate() {
            let files = files_of(&archive, camera);
            let new = files.difference(&known[at]).cloned().collect();
            known[at] = files;
            let connected = runs[at] && stats[at].plays > plays_before[at];
            let sent = stats[at].first.last().filter(|_| connected).map(|first| (*first, stats[at].sent));
            remains.push(Remains { camera, files: new, sent });
        }
    }

    daemon.restart();
    daemon.wait_for_stderr("the archive was looked through", secs(60));
    for (camera, _) in CAMERAS {
        daemon.wait_for_camera(camera, secs(20), |status| status["recording"] == true);
    }
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    daemon.restart();
    let mut judged = 0;
    let mut longest_loss = 0;
    for Remains { camera, files, sent } in &remains {
        for file in files.iter().filter(|file| !file.exists()) {
            // It held no packet: as good as never begun.
            assert!(sent.is_none(), "{} is gone", file.display());
        }
        let files: Vec<&PathBuf> = files.iter().filter(|file| file.exists()).collect();
        assert!(files.len() <= 1, "{files:?}");
        let Some(file) = files.first() else {
            assert!(sent.is_none(), "{camera} left nothing of {sent:?}");
            continue;
        };
        let frames = read_frames(file);
        assert_unbroken(&frames, clip.frames);
        let seconds = f64::from(u32::try_from(frames.len()).unwrap()) / f64::from(FPS);
        assert!((duration_s(file) - seconds).abs() < 0.2, "{}: {seconds} s by its pictures", file.display());
        if let Some((first, sent)) = sent {
            assert_eq!(u64::from(frames[0].number), first % u64::from(clip.frames), "{}", file.display());
            let stored = first + frames.len() as u64;
            assert!(stored >= *sent, "{}: holds {stored} of {sent} sent a second before", file.display());
            longest_loss = longest_loss.max((sent + u64::from(FPS)).saturating_sub(stored));
            judged += 1;
        }
    }
    for (camera, _) in CAMERAS {
        let rows = daemon.recordings(camera);
        let listed: BTreeSet<PathBuf> =
            rows.iter().filter(|row| row.complete).map(|row| archive.join(&row.path)).collect();
        let stored = remains.iter().filter(|remains| remains.camera == camera).flat_map(|remains| &remains.files);
        for file in stored.filter(|file| file.exists()) {
            assert!(listed.contains(file), "{} is not complete in the index", file.display());
        }
    }
    eprintln!(
        "{judged} ends judged, {open_checked} open files, {restarts_checked} restarts; lost {longest_loss} pictures"
    );
    assert!(
        judged * 2 >= KILLS && open_checked >= 5 && restarts_checked >= 5,
        "{judged} {open_checked} {restarts_checked}"
    );
}
