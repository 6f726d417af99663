//! The file system under the archive: how much room it has, and making what was written survive a power cut.

use std::fs::File;
use std::io;
use std::path::Path;

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What an ordinary user may still write.
    pub free_bytes: u64,
}

/// The room on the file system that holds `path`, or the nearest folder above it that exists.
pub fn space(path: &Path) -> io::Result<Space> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(if existing.as_os_str().is_empty() { Path::new(".") } else { existing })?;
    Ok(Space {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

/// Did this fail because there is no room (a full disk or a used-up quota)?
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What an ordinary user may still write to the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    space(path).map(|space| space.free_bytes)
}

/// Makes all that was written to the file system of `path` survive a power cut. Blocks until it is on the disk.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_yet_has_the_room_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let here = space(folder.path()).unwrap();
        assert!(here.total_bytes > 0 && here.free_bytes <= here.total_bytes);
        let below = space(&folder.path().join("not/yet/there")).unwrap();
        assert_eq!(below.total_bytes, here.total_bytes);
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        // /dev/full answers every write as a full disk does.
        let error = std::fs::write("/dev/full", b"x").unwrap_err();
        assert!(is_full(&error));
        assert!(!is_full(&io::Error::from(io::ErrorKind::PermissionDenied)));
    }

    #[test]
    fn a_sync_of_what_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        sync_file_system(folder.path()).unwrap();
        assert!(sync_file_system(&folder.path().join("gone")).is_err());
    }
}
