//! What cameras' detectors know of their scenes, kept over restarts: a small file a camera in `.background` below the
//! archive's root.
//!
//! Belongs here: the files, how old one may be, and the thread that reads and writes them, so that no detector waits for
//! a disk. Does not belong here: what is in them ([`crate::domain::adaptive`]). A file that is no good is none: the
//! camera warms up as ever.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::index::Index;
use crate::clock;
use crate::domain::adaptive::Memory;
use crate::media::new_file::NewFile;

const FOLDER: &str = ".background";
/// Another format has another one.
const MAGIC: &[u8; 8] = b"TARSBG\0\x01";
const HEAD: usize = 16;
const DIGEST: usize = 32;
/// A scene that was seen longer ago has other shadows, and other cars.
const MOST_AGE: TimeDelta = TimeDelta::hours(1);
/// A camera that nobody heard of for so long is gone.
const FORGOTTEN: TimeDelta = TimeDelta::days(30);
const LARGEST_BYTES: u64 = 4 << 20;
const MOST_FILES: usize = 1000;
/// A camera's file is written so often, and at the end.
const EVERY: Duration = Duration::from_secs(60);
/// The end waits no longer for the disk.
const END: Duration = Duration::from_millis(500);

/// The backgrounds of one archive's cameras.
pub struct Backgrounds {
    folder: PathBuf,
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    kept: BTreeMap<String, Kept>,
    stopping: bool,
    ended: bool,
}

struct Kept {
    at: DateTime<Utc>,
    memory: Arc<Memory>,
    is_written: bool,
    /// When its file was written last by this process.
    written: Option<Instant>,
}

impl Kept {
    /// How long its file may wait; None: it says all.
    fn due_in(&self, now: Instant) -> Option<Duration> {
        let left = |written: Instant| EVERY.saturating_sub(now.saturating_duration_since(written));
        (!self.is_written).then(|| self.written.map_or(Duration::ZERO, left))
    }
}

impl Backgrounds {
    /// Starts the thread, which reads what there is first.
    pub fn start(root: &Path, index: Index) -> io::Result<Arc<Self>> {
        let folder = root.join(FOLDER);
        let backgrounds = Arc::new(Backgrounds { folder, held: Mutex::default(), changed: Condvar::new() });
        let working = Arc::clone(&backgrounds);
        thread::Builder::new().name("backgrounds".into()).spawn(move || working.work(index))?;
        Ok(backgrounds)
    }

    /// What this camera's detector knew, if that is not too long ago. Never waits for a disk.
    pub fn of(&self, camera: &str) -> Option<Arc<Memory>> {
        let held = self.held();
        let kept = held.kept.get(camera)?;
        let age = clock::utc_now() - kept.at;
        if !(TimeDelta::zero()..=MOST_AGE).contains(&age) {
            tracing::debug!(
                camera,
                age_s = age.num_seconds(),
                "what is known of the scene is too old; it is learned anew"
            );
            return None;
        }
        Some(Arc::clone(&kept.memory))
    }

    /// Keeps what this camera's detector knows now. Never waits for a disk.
    pub fn keep(&self, camera: &str, memory: Memory) {
        let mut held = self.held();
        let written = held.kept.get(camera).and_then(|kept| kept.written);
        let kept = Kept { at: clock::utc_now(), memory: Arc::new(memory), is_written: false, written };
        held.kept.insert(camera.to_owned(), kept);
        drop(held);
        self.changed.notify_all();
    }

    /// Writes what is not written yet, and ends; a disk that stalls is not waited for.
    pub fn stop(&self) {
        self.held().stopping = true;
        self.changed.notify_all();
        drop(self.changed.wait_timeout_while(self.held(), END, |held| !held.ended));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, index: Index) {
        for (camera, kept) in self.read_all() {
            // What a detector has said meanwhile is newer.
            self.held().kept.entry(camera).or_insert(kept);
        }
        while let Some((camera, at, memory)) = self.next() {
            // Where the disk is missing, another one must not get it.
            let written = index.home().check().and_then(|()| self.write(&camera, at, &memory));
            if let Err(error) = written {
                tracing::debug!(camera, %error, "what is known of the scene could not be written");
            }
        }
        // Whoever waits for the end may open the archive again.
        drop(index);
        self.held().ended = true;
        self.changed.notify_all();
    }

    /// Waits for something to write; None at the end.
    fn next(&self) -> Option<(String, DateTime<Utc>, Arc<Memory>)> {
        let mut held = self.held();
        loop {
            let (now, stopping) = (clock::monotonic(), held.stopping);
            let due_in = |kept: &Kept| kept.due_in(now).map(|wait| if stopping { Duration::ZERO } else { wait });
            let next = held.kept.iter_mut().filter_map(|(camera, kept)| Some((due_in(kept)?, camera, kept)));
            let wait = match next.min_by_key(|(wait, ..)| *wait) {
                Some((Duration::ZERO, camera, kept)) => {
                    (kept.is_written, kept.written) = (true, Some(now));
                    return Some((camera.clone(), kept.at, Arc::clone(&kept.memory)));
                }
                Some((wait, ..)) => wait,
                None if stopping => return None,
                None => EVERY,
            };
            held = self.changed.wait_timeout(held, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write(&self, camera: &str, at: DateTime<Utc>, memory: &Memory) -> io::Result<()> {
        // What is in them is a picture.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (name, mut file) = NewFile::create(&self.folder.join(camera))?;
        file.write_all(&sealed(at, memory))?;
        name.finish()
    }

    fn read_all(&self) -> Vec<(String, Kept)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut found = Vec::new();
        for entry in entries.flatten().take(MOST_FILES) {
            let path = entry.path();
            let Some(camera) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
            match read(&path) {
                Ok((at, memory)) if clock::utc_now() - at <= FORGOTTEN => {
                    found.push((camera, Kept { at, memory: Arc::new(memory), is_written: true, written: None }));
                }
                Ok(_) => drop(fs::remove_file(&path)),
                Err(cause) => {
                    let path = path.display();
                    tracing::debug!("{path}: {cause}; the scene is learned anew");
                }
            }
        }
        found
    }
}

fn sealed(at: DateTime<Utc>, memory: &Memory) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(at.timestamp_micros().to_le_bytes());
    bytes.extend(memory.to_bytes());
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    bytes
}

fn opened(bytes: &[u8]) -> Option<(DateTime<Utc>, Memory)> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    let (head, memory) = body.split_first_chunk::<HEAD>()?;
    let (magic, at) = head.split_first_chunk::<8>()?;
    if magic != MAGIC || Sha256::digest(body)[..] != *digest {
        return None;
    }
    let at = DateTime::from_timestamp_micros(i64::from_le_bytes(at.try_into().ok()?))?;
    Some((at, Memory::from_bytes(memory)?))
}

fn read(path: &Path) -> Result<(DateTime<Utc>, Memory), String> {
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Err("is no plain file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    opened(&bytes).ok_or_else(|| "is damaged, or of another version".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(width: u8) -> Memory {
        let pixels = usize::from(width) * 3;
        let bytes = [&[width, 0, 3, 0], &1f32.to_le_bytes()[..], &vec![7; 3 * pixels]].concat();
        Memory::from_bytes(&bytes).expect("a memory")
    }

    fn start(root: &Path) -> Arc<Backgrounds> {
        Backgrounds::start(root, Index::open(root).unwrap()).unwrap()
    }

    /// What is known once the files are read.
    fn read_by_now(backgrounds: &Backgrounds, camera: &str) -> Option<Arc<Memory>> {
        backgrounds.stop();
        backgrounds.of(camera)
    }

    #[test]
    fn what_is_known_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let backgrounds = start(folder.path());
        backgrounds.keep("yard", memory(4));
        backgrounds.keep("yard", memory(5));
        assert_eq!(backgrounds.of("yard").as_deref(), Some(&memory(5)), "at once");
        backgrounds.stop();
        drop(backgrounds);
        let backgrounds = start(folder.path());
        assert_eq!(read_by_now(&backgrounds, "yard").as_deref(), Some(&memory(5)));
        assert_eq!(backgrounds.of("door"), None);
    }

    #[test]
    fn what_is_damaged_of_another_version_or_too_old_is_nothing() {
        let now = clock::utc_now();
        let good = sealed(now, &memory(4));
        assert!(opened(&good).is_some());
        for n in 0..good.len() {
            let mut bytes = good.clone();
            bytes[n] ^= 1;
            assert!(opened(&bytes).is_none(), "byte {n}");
            assert!(opened(&good[..n]).is_none(), "{n} bytes");
        }
        for (at, is_known) in [
            (now - TimeDelta::minutes(50), true),
            (now - TimeDelta::hours(2), false),
            (now + TimeDelta::minutes(5), false),
            (now - TimeDelta::days(40), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join(FOLDER)).unwrap();
            let path = folder.path().join(FOLDER).join("yard");
            fs::write(&path, sealed(at, &memory(4))).unwrap();
            fs::write(path.with_file_name("door"), b"no background").unwrap();
            let backgrounds = start(folder.path());
            assert_eq!(read_by_now(&backgrounds, "yard").is_some(), is_known, "{at}, now {now}");
            assert_eq!(backgrounds.of("door"), None);
            assert_eq!(path.exists(), at > now - FORGOTTEN, "of a camera that is gone for long nothing is kept");
        }
    }
}
