//! The file of one camera, for who changes cameras through the program: found, judged, replaced as a whole, removed.
//!
//! A file is replaced in one step, so that whoever reads it sees the one or the other. What others look after (a
//! symbolic link, a ConfigMap) is left alone. Does not belong here: who may (`web::bounds`), what changes in a text
//! ([`super::edit`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::tunable::{self, Tunable};
use super::{Loaded, is_camera_name, scan, text, veil};
use crate::domain::config::CameraConfig;

/// Who may read a new file: its owner and group; where it holds a password, its owner alone.
const MODE: u32 = 0o640;
const MODE_WITH_PASSWORD: u32 = 0o600;

/// Why a camera's file can't be changed here. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0:?} is no name of a camera (use a-z, 0-9, `-` and `_`, and begin with a letter or a digit)")]
    NoName(String),
    #[error("there are two files for the camera {0} (remove one of them)")]
    TwoFiles(String),
    #[error("{0}")]
    Unreadable(Problem),
    #[error("{} is a symbolic link, so that others look after it (change what it leads to)", .0.display())]
    Link(PathBuf),
    #[error("{} is kept by another program, such as Kubernetes from a ConfigMap (change it there)", .0.display())]
    Managed(PathBuf),
    #[error("{} can't be written: {source} ({})", path.display(), advice(source))]
    Write { path: PathBuf, source: io::Error },
}

/// What to do about a file that can't be written.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that Tarsier runs as write into this folder",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: change the file where it comes from",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room",
        _ => "look at the folder's disk and permissions",
    }
}

/// The file of a camera, as it was read.
#[derive(Debug)]
pub struct CameraFile {
    name: String,
    path: PathBuf,
    /// None: there is no file yet.
    pub text: Option<String>,
}

/// Finds and reads the file of the camera called `name`, or says where it would be.
pub fn find(name: &str, loaded: &Loaded) -> Result<CameraFile, StoreError> {
    if !is_camera_name(name) || name.len() > LONGEST_NAME {
        return Err(StoreError::NoName(name.chars().take(LONGEST_NAME).collect()));
    }
    let folder = &loaded.global.cameras_dir;
    let [yaml, yml] = ["yaml", "yml"].map(|extension| folder.join(format!("{name}.{extension}")));
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let path = match (is_there(&yaml), is_there(&yml)) {
        (true, true) => return Err(StoreError::TwoFiles(name.to_owned())),
        (false, true) => yml,
        (_, false) => yaml,
    };
    let text = text::read(&path).map_err(StoreError::Unreadable)?;
    Ok(CameraFile { name: name.to_owned(), path, text })
}

/// Longer is no file's name, with its extension and what is put before it while it is written.
const LONGEST_NAME: usize = 200;

impl CameraFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that is wrong with `text` as this camera's file.
    pub fn faults(&self, text: &str, loaded: &Loaded) -> Vec<Problem> {
        scan::camera_of(&self.name, &self.path, text, loaded).err().unwrap_or_default()
    }

    /// The camera that `text` would be, and the keys of its detection; or all that is wrong with it.
    pub fn camera(&self, text: &str, loaded: &Loaded) -> Result<(CameraConfig, Vec<Tunable>), Vec<Problem>> {
        let (camera, settings) = scan::camera_of(&self.name, &self.path, text, loaded)?;
        Ok((camera, tunable::of(&settings)))
    }

    /// Puts `text` in the file's place.
    pub fn write(&self, text: &str) -> Result<(), StoreError> {
        self.check_is_ours()?;
        let failed = |source| StoreError::Write { path: self.path.clone(), source };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if self.text.is_none() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mode = fs::metadata(&self.path).map_or(MODE, |before| before.mode() & 0o777);
        let mode = if veil::has_secret(text) { mode & MODE_WITH_PASSWORD } else { mode };
        // What begins with a dot is no camera.
        let unfinished = folder.join(format!(".{}.{}.new", self.name, std::process::id()));
        replace(&unfinished, &self.path, text, mode).inspect_err(|_| _ = fs::remove_file(&unfinished)).map_err(failed)
    }

    /// Removes the file.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.check_is_ours()?;
        fs::remove_file(&self.path).map_err(|source| StoreError::Write { path: self.path.clone(), source })
    }

    fn check_is_ours(&self) -> Result<(), StoreError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if fs::symlink_metadata(folder.join("..data")).is_ok() {
            return Err(StoreError::Managed(self.path.clone()));
        }
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_symlink() => Err(StoreError::Link(self.path.clone())),
            _ => Ok(()),
        }
    }
}

/// Writes `unfinished`, and then it is `path`, after a power cut too.
fn replace(unfinished: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(unfinished)?;
    // Whatever the process's mask is.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn house() -> (tempfile::TempDir, Loaded) {
        let folder = tempfile::tempdir().unwrap();
        let loaded = super::super::load_global(&folder.path().join("tarsier.yaml")).unwrap();
        (folder, loaded)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_is_made_replaced_and_removed() {
        let (folder, loaded) = house();
        let file = find("yard", &loaded).unwrap();
        assert_eq!((file.path(), &file.text), (folder.path().join("config.d/yard.yaml").as_path(), &None));
        file.write("source: rtsp://h/\n").unwrap();
        assert_eq!(mode(file.path()), 0o640);
        let file = find("yard", &loaded).unwrap();
        assert_eq!(file.text.as_deref(), Some("source: rtsp://h/\n"));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        file.write("source: rtsp://h/1\n").unwrap();
        assert_eq!(mode(file.path()), 0o644, "as a person set it");
        file.write("source: rtsp://v:secret@h/\n").unwrap();
        assert_eq!(mode(file.path()), 0o600, "it holds a password now");
        let names: Vec<_> =
            fs::read_dir(folder.path().join("config.d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["yard.yaml"], "nothing is left behind");
        file.remove().unwrap();
        assert_eq!(find("yard", &loaded).unwrap().text, None);
        fs::write(folder.path().join("config.d/yard.yml"), "source: a\n").unwrap();
        assert!(find("yard", &loaded).unwrap().path().ends_with("yard.yml"), "under the name it has");
    }

    #[test]
    fn faults_are_told_before_anything_is_written() {
        let (_folder, loaded) = house();
        let file = find("yard", &loaded).unwrap();
        let faults = file.faults("source: rtsp://h/\ndetect:\n  width: 5\n  blur: 2\n", &loaded);
        let places: Vec<_> = faults.iter().map(|fault| (fault.line, fault.column)).collect();
        assert_eq!(places, [(3, 10), (4, 9)]);
        assert_eq!(file.faults("source: rtsp://h/\n", &loaded), []);
        assert_eq!(file.faults("", &loaded).len(), 1);
    }

    #[test]
    fn what_others_look_after_is_left_alone() {
        let (folder, loaded) = house();
        let config_d = folder.path().join("config.d");
        fs::create_dir(&config_d).unwrap();
        fs::write(folder.path().join("real.yaml"), "source: rtsp://h/\n").unwrap();
        symlink("../real.yaml", config_d.join("yard.yaml")).unwrap();
        let file = find("yard", &loaded).unwrap();
        assert!(matches!(file.write("source: rtsp://h/2\n"), Err(StoreError::Link(_))));
        assert!(matches!(file.remove(), Err(StoreError::Link(_))));
        fs::create_dir(config_d.join("..2026")).unwrap();
        symlink("..2026", config_d.join("..data")).unwrap();
        let new = find("gate", &loaded).unwrap();
        assert!(new.write("source: rtsp://h/2\n").unwrap_err().to_string().contains("ConfigMap"));
        assert_eq!(fs::read_to_string(folder.path().join("real.yaml")).unwrap(), "source: rtsp://h/\n");
        fs::write(config_d.join("yard.yml"), "").unwrap();
        assert!(matches!(find("yard", &loaded), Err(StoreError::TwoFiles(_))));
        for name in ["", "Yard", "../x", "a/b", ".a", &"a".repeat(300)] {
            assert!(matches!(find(name, &loaded), Err(StoreError::NoName(_))), "{name}");
        }
        fs::remove_dir_all(&config_d).unwrap();
        fs::write(&config_d, "").unwrap();
        assert!(matches!(find("gate", &loaded), Err(StoreError::Unreadable(_))), "its folder is a file");
    }
}
