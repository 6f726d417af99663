//! A file that has its name only when it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The name to be; the file is beside it until [`NewFile::finish`]. Dropped before that, nothing stays behind.
pub struct NewFile {
    path: PathBuf,
    unfinished: PathBuf,
}

impl NewFile {
    /// Fails now where the file could not be written later. What is to be in it is written into the file given.
    pub fn create(path: &Path) -> io::Result<(Self, File)> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let unfinished = path.with_file_name(name);
        let file = File::create(&unfinished)?;
        Ok((NewFile { path: path.to_owned(), unfinished }, file))
    }

    /// All is written: gives it its name.
    pub fn finish(self) -> io::Result<()> {
        fs::rename(&self.unfinished, &self.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Gone already where it has its name.
        fs::remove_file(&self.unfinished).ok();
    }
}
