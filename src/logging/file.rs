//! The log's file, rolled over by size.

use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};

/// `PATH`, and `PATH.1` (the newest) to `PATH.N` behind it.
pub(super) struct RolledFile {
    path: PathBuf,
    max_size_bytes: u64,
    backups: u32,
    file: FileRotate<AppendCount>,
    size_bytes: u64,
    /// The last write failed and was complained about.
    failing: bool,
}

impl RolledFile {
    pub(super) fn open(path: &Path, max_size_bytes: u64, backups: u32) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (file, size_bytes) = open(&path, backups)?;
        Ok(RolledFile { path, max_size_bytes: max_size_bytes.max(1), backups, file, size_bytes, failing: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn set_limits(&mut self, max_size_bytes: u64, backups: u32) {
        self.max_size_bytes = max_size_bytes.max(1);
        self.backups = backups;
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size_bytes) = open(&self.path, self.backups)?;
        Ok(())
    }

    /// Writes a whole line. Gives back what to complain about, once a failure.
    pub(super) fn write(&mut self, line: &[u8]) -> Option<String> {
        let written = self.roll(line.len() as u64).and_then(|()| self.file.write_all(line));
        match written {
            Ok(()) => {
                self.size_bytes += line.len() as u64;
                self.failing = false;
                None
            }
            Err(_) if self.failing => None,
            Err(error) => {
                self.failing = true;
                Some(format!("log file {} can't be written: {error}", self.path.display()))
            }
        }
    }

    fn roll(&mut self, more_bytes: u64) -> io::Result<()> {
        if self.size_bytes == 0 || self.size_bytes + more_bytes <= self.max_size_bytes {
            return Ok(());
        }
        if self.backups == 0 {
            std::fs::remove_file(&self.path)?;
            return self.reopen();
        }
        // The crate panics where the folder vanishes under it; the log's thread must live on.
        let rolled = std::panic::catch_unwind(AssertUnwindSafe(|| self.file.rotate()));
        rolled.unwrap_or_else(|_| Err(io::Error::other("rolling over failed")))?;
        self.size_bytes = 0;
        Ok(())
    }
}

/// Opens for appending, and makes sure that the file can be written, which the crate keeps to itself.
fn open(path: &Path, backups: u32) -> io::Result<(FileRotate<AppendCount>, u64)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let size_bytes = std::fs::OpenOptions::new().create(true).append(true).open(path)?.metadata()?.len();
    let scheme = AppendCount::new(backups.max(1) as usize);
    Ok((FileRotate::new(path, scheme, ContentLimit::None, Compression::None, None), size_bytes))
}
