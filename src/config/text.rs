//! Reading a configuration file: what may be wrong with a file before its first character is looked at.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::problem::{Mark, Problem};

/// More than this is no configuration.
const LARGEST_BYTES: u64 = 1024 * 1024;

/// The text of a file; None where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Problem> {
    let at = Mark::top(path);
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes,
        // A name that exists and leads nowhere is a fault; a name that is gone is not.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            return Ok(None);
        }
        Err(error) => {
            let (what, hint) = describe(&error);
            return Err(at.problem(what, hint.map(str::to_owned)));
        }
    };
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(at.problem(
            "the file is larger than 1 MiB",
            "a configuration is a few kilobytes; is this another kind of file?".to_owned(),
        ));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => return Err(at.problem("the file is not text", "it must be YAML in UTF-8".to_owned())),
    };
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}

/// The bytes of a regular file, one more than allowed at most. Never waits, whatever the name leads to.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is said of a file or folder that can't be read, and what to do about it.
pub(super) fn describe(error: &io::Error) -> (String, Option<&'static str>) {
    let (what, hint) = match error.kind() {
        _ if error.raw_os_error() == Some(libc::ELOOP) => ("its symbolic links lead in a circle", "mend or remove it"),
        io::ErrorKind::NotFound => ("the symbolic link leads nowhere", "mend or remove it"),
        io::ErrorKind::IsADirectory => ("is a folder, not a file", "rename it, or put `_` before its name"),
        io::ErrorKind::PermissionDenied => ("may not be read by this user", "change its owner or its permissions"),
        _ => return (format!("can't be read: {error}"), None),
    };
    (what.to_owned(), Some(hint))
}
