//! A recording's file and the samples in it, whatever its container.
//!
//! Belongs here: opening a file of the archive and finding its samples. Does not belong here: boxes and blocks
//! ([`super::mp4`], [`super::mkv`], [`super::avi`]), and what the samples are wanted for ([`super::export`], [`super::still`]).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::container::{Contents, PlanError};
use super::{avi, mkv, mp4, paths};
use crate::domain::recording::Recording;
use crate::domain::stream::{StreamInfo, rescale};

/// A file and its samples.
pub(super) struct Footage {
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) contents: Contents,
}

impl Footage {
    /// The samples of a recording from the keyframe before `from` to `to`, at least; None where there are none.
    pub(super) fn read(
        root: &Path,
        row: &Recording,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Option<Self>, PlanError> {
        let file = open(root, &row.path)?;
        let wanted = Range { start: us_between(row.start, from), end: us_between(row.start, to) };
        let contents = match first_byte(&file)? {
            Some(mkv::FIRST_BYTE) => mkv::contents(&file, &wanted)?,
            Some(avi::FIRST_BYTE) => avi::contents(&file)?,
            _ => mp4::contents(&file)?,
        };
        let bytes = file.metadata()?.len();
        Ok(contents.map(|contents| Footage { file, bytes, contents }))
    }

    /// Puts `size` bytes that lie at `at` of the file behind `data`; an end before that is an error.
    pub(super) fn append(&self, data: &mut Vec<u8>, at: u64, size: u32) -> io::Result<()> {
        if at.saturating_add(size.into()) > self.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = data.len();
        data.resize(before + size as usize, 0);
        self.file.read_exact_at(&mut data[before..], at)
    }
}

/// What a recording's stream is; None where its file holds nothing yet.
pub(super) fn describe(root: &Path, relative: &str) -> Result<Option<StreamInfo>, PlanError> {
    let file = open(root, relative)?;
    match first_byte(&file)? {
        Some(mkv::FIRST_BYTE) => mkv::describe(&file),
        Some(avi::FIRST_BYTE) => avi::describe(&file),
        _ => mp4::describe(&file),
    }
}

fn open(root: &Path, relative: &str) -> Result<File, PlanError> {
    let path = paths::inside(root, relative)?;
    if !path.metadata()?.is_file() {
        return Err(PlanError::NotARecording("not a file".to_owned()));
    }
    Ok(File::open(path)?)
}

/// It tells the kinds of files apart; None where a file is empty.
fn first_byte(file: &File) -> io::Result<Option<u8>> {
    let mut first = [0];
    Ok((file.read_at(&mut first, 0)? == 1).then_some(first[0]))
}

/// Microseconds from one moment to a later one.
pub(super) fn us_between(earlier: DateTime<Utc>, later: DateTime<Utc>) -> i64 {
    (later - earlier).num_microseconds().unwrap_or(0)
}

/// Microseconds as ticks of a clock.
pub(super) fn us_to_ticks(us: i64, timescale: u32) -> i64 {
    rescale(us, 1_000_000, timescale)
}
