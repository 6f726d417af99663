//! Paths of the archive: never out of its root, never through a symbolic link.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, open, openat, unlinkat};
use rustix::io::Errno;

/// The folders and the name of a path below the archive's root; None where it would leave it.
fn parts(relative: &str) -> Option<(Vec<&str>, &str)> {
    let mut parts = Vec::new();
    for component in Path::new(relative).components() {
        let Component::Normal(part) = component else { return None };
        parts.push(part.to_str()?);
    }
    let name = parts.pop()?;
    Some((parts, name))
}

fn outside(relative: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{relative} is no path inside the archive"))
}

/// The whole path of a recording, if it leads to something inside the archive without a symbolic link.
pub fn inside(root: &Path, relative: &str) -> io::Result<PathBuf> {
    let (folders, name) = parts(relative).ok_or_else(|| outside(relative))?;
    let mut path = root.to_owned();
    for part in folders.into_iter().chain([name]) {
        path.push(part);
        if std::fs::symlink_metadata(&path)?.is_symlink() {
            return Err(outside(relative));
        }
    }
    Ok(path)
}

/// Deletes a file of the archive and then the folders above it that are empty, up to the one named `keep`. A file
/// that is missing is fine. Folders are opened one below the other, so that nobody can put a link in between.
pub fn delete(root: &Path, relative: &str, keep: &str) -> io::Result<()> {
    let (folders, name) = parts(relative).ok_or_else(|| outside(relative))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut opened: Vec<OwnedFd> = vec![open(root, flags, Mode::empty())?];
    for folder in &folders {
        match openat(&opened[opened.len() - 1], *folder, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => opened.push(fd),
            Err(Errno::NOENT) => break,
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(outside(relative)),
            Err(error) => return Err(error.into()),
        }
    }
    if opened.len() == folders.len() + 1 {
        match unlinkat(&opened[folders.len()], name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let kept = folders.iter().position(|folder| *folder == keep).map_or(0, |depth| depth + 1);
    for depth in (kept..folders.len()).rev().filter(|depth| *depth < opened.len()) {
        match unlinkat(&opened[depth], folders[depth], AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Not empty, or not ours to remove: the recording is gone, which is what counts.
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn file(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }

    #[test]
    fn empty_folders_go_with_the_last_file_but_not_the_cameras() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        file(&root.join("yard/2024/05/06/a.mp4"));
        file(&root.join("yard/2024/05/07/b.mp4"));
        delete(root, "yard/2024/05/06/a.mp4", "yard").unwrap();
        assert!(!root.join("yard/2024/05/06").exists() && root.join("yard/2024/05/07/b.mp4").exists());
        delete(root, "yard/2024/05/07/b.mp4", "yard").unwrap();
        assert!(!root.join("yard/2024").exists() && root.join("yard").is_dir());
    }

    #[test]
    fn a_missing_file_is_fine_and_its_empty_folder_goes() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("yard/2024")).unwrap();
        delete(root.path(), "yard/2024/gone.mp4", "yard").unwrap();
        assert!(!root.path().join("yard/2024").exists());
        delete(root.path(), "never/there/gone.mp4", "never").unwrap();
    }

    #[test]
    fn nothing_outside_the_root_is_touched() {
        let place = tempfile::tempdir().unwrap();
        let (root, other) = (place.path().join("archive"), place.path().join("other"));
        file(&other.join("kept.mp4"));
        fs::create_dir(&root).unwrap();
        symlink(&other, root.join("link")).unwrap();
        symlink(other.join("kept.mp4"), root.join("link.mp4")).unwrap();
        let absolute = other.join("kept.mp4").to_str().unwrap().to_owned();
        for escape in ["../other/kept.mp4", "link/kept.mp4", "link/../../other/kept.mp4", &absolute, "", "."] {
            assert!(delete(&root, escape, "x").is_err(), "{escape}");
            assert!(inside(&root, escape).is_err(), "{escape}");
        }
        assert!(inside(&root, "link.mp4").is_err());
        // A link in the archive is only a name there.
        delete(&root, "link.mp4", "x").unwrap();
        assert!(!root.join("link.mp4").exists() && other.join("kept.mp4").exists());
    }

    #[test]
    fn a_folder_is_not_deleted_as_a_file() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a.mp4")).unwrap();
        assert!(delete(root.path(), "a.mp4", "yard").is_err());
        assert!(root.path().join("a.mp4").is_dir());
    }
}
