//! `tarsier detect --sheet`: the image file, and what stands below each event's picture.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::look::{Trouble, is_same_file};
use crate::domain::config::CameraConfig;
use crate::domain::source_url::SourceKind;
use crate::media::new_file::NewFile;
use crate::media::packet::Session;
use crate::media::picture::Picture;
use crate::media::sheet::{Sheet, SheetFormat};
use crate::media::{DetectError, Detector, LumaView};

/// What `--sheet` takes.
pub fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match format_of(&path) {
        Some(_) => Ok(path),
        None => Err("the sheet is an image: let its name end in .png or .jpg".to_owned()),
    }
}

fn format_of(path: &Path) -> Option<SheetFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => Some(SheetFormat::Png),
        "jpg" | "jpeg" => Some(SheetFormat::Jpeg),
        _ => None,
    }
}

/// Where the sheet is drawn.
pub struct Paper {
    sheet: Sheet,
    format: SheetFormat,
    path: PathBuf,
    name: NewFile,
    file: File,
    /// A live source's events are told by the clock.
    clock: Option<Arc<Session>>,
    is_file: bool,
    first_us: Option<i64>,
}

impl Paper {
    /// An error says why nothing can be written there.
    pub fn at(path: &Path, camera: &CameraConfig) -> Result<Self, String> {
        let url = camera.detect_source.as_ref().unwrap_or(&camera.source);
        let is_file = url.kind() == SourceKind::File;
        if is_file && is_same_file(path, Path::new(url.expose())) {
            return Err(format!("{}: is the source itself; name another file", path.display()));
        }
        let cannot = |error: io::Error| format!("cannot write {}: {error}", path.display());
        if path.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        let (name, file) = NewFile::create(path).map_err(cannot)?;
        let format = format_of(path).unwrap_or(SheetFormat::Png);
        let (sheet, path) = (Sheet::new(0), path.to_owned());
        Ok(Paper { sheet, format, path, name, file, clock: None, is_file, first_us: None })
    }

    pub fn opened(&mut self, session: &Arc<Session>, quarter_turns: u8) {
        self.sheet = Sheet::new(quarter_turns);
        self.clock = Some(Arc::clone(session)).filter(|_| !self.is_file);
    }

    /// The next picture; `in_event`: it moves, in the event that is open.
    pub fn look(
        &mut self,
        view: &LumaView,
        picture: Picture,
        detector: &Detector,
        changed_pixels: u32,
        in_event: bool,
    ) -> Result<(), DetectError> {
        self.first_us.get_or_insert(view.pts_us);
        if in_event { self.sheet.offer(view, picture, detector, changed_pixels) } else { Ok(()) }
    }

    /// The event is over; its times are seconds from the first picture.
    pub fn close(&mut self, start: f64, end: f64, open: bool) {
        let caption = self.caption(start, end, open);
        self.sheet.close(caption);
    }

    fn caption(&self, start: f64, end: f64, open: bool) -> String {
        let open = if open { ", open" } else { "" };
        match (&self.clock, self.first_us) {
            (Some(session), Some(first_us)) => {
                let at = session.utc(first_us + (start * 1e6) as i64).format("%Y-%m-%d %H:%M:%S");
                format!("{at} UTC, {:.1} s{open}", end - start)
            }
            _ => format!("{start:.1} s to {end:.1} s{open}"),
        }
    }

    /// Writes the sheet. Returns what to say of it.
    pub fn finish(self, foot: &str) -> Result<String, Trouble> {
        let Paper { sheet, format, path, name, file, .. } = self;
        write(&sheet, format, foot, &path, name, file)
    }
}

/// Writes a sheet into its file. Returns what to say of it.
pub fn write(
    sheet: &Sheet,
    format: SheetFormat,
    foot: &str,
    path: &Path,
    name: NewFile,
    mut file: File,
) -> Result<String, Trouble> {
    let bytes = sheet.encode(format, foot).map_err(|error| Trouble::Ours(error.into()))?;
    let written = file.write_all(&bytes).and_then(|()| name.finish());
    written.map_err(|error| Trouble::Input(format!("cannot write {}: {error}", path.display())))?;
    Ok(match sheet.counts() {
        (shown, 0) => format!("{}: {shown} events", path.display()),
        (shown, more) => format!("{}: the first {shown} events; {more} more had no place", path.display()),
    })
}
