//! What `tarsier user` and `tarsier token` share: the archive's users, and who is told what went wrong.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::run::state_folder;
use super::{DONE, INPUT_WRONG, or_told};
use crate::archive::home::Home;
use crate::archive::state::people::{People, PeopleDb, PeopleError};
use crate::config::{self, Loaded};
use crate::domain::access::Cameras;

/// What was asked for can't be done; the text says why and what to do.
pub type Asked = Result<(), String>;

/// The users of the archive that this configuration names, for reading and changing. Runs beside the daemon, which
/// sees each change at once.
pub fn with_people(config_path: &Path, work: impl FnOnce(&PeopleDb, &Loaded) -> Asked) -> anyhow::Result<u8> {
    let Some(loaded) = or_told(config::load_global(config_path)) else { return Ok(INPUT_WRONG) };
    let root = &loaded.global.archive.path;
    let note_folder = state_folder(config_path);
    let done = prepare(root, &note_folder).and_then(|()| work(&PeopleDb::of(root, &note_folder), &loaded));
    match done {
        Ok(()) => Ok(DONE),
        Err(why) => {
            eprintln!("tarsier: {why}");
            Ok(INPUT_WRONG)
        }
    }
}

/// Makes the archive's folder, unless its disk is missing, or root would make what the recorder could not write to.
fn prepare(root: &Path, note_folder: &Path) -> Asked {
    let above = root.ancestors().skip(1).find(|folder| folder.exists());
    let owner = above.and_then(|folder| folder.metadata().ok()).map(|metadata| metadata.uid());
    if !root.exists() && rustix::process::geteuid().is_root() && owner.is_some_and(|owner| owner != 0) {
        return Err(format!(
            "{} is not there yet, and root would make it for itself (run this as the user that runs the recorder: \
             sudo -u USER tarsier ...)",
            root.display()
        ));
    }
    Home::watched(root, note_folder).check_place().map_err(|error| format!("{}: {error}", root.display()))
}

/// The cameras of `--camera`, all without it. A name that is no camera's is most likely a typing error.
pub fn cameras(names: &[String], loaded: &Loaded) -> Result<Cameras, String> {
    if names.is_empty() {
        return Ok(Cameras::All);
    }
    if let Some(wrong) = names.iter().find(|name| !config::is_camera_name(name)) {
        return Err(format!("{wrong:?} is no camera's name (small letters, digits, `-` and `_`)"));
    }
    let there = config::scan_cameras(loaded).cameras;
    for name in names.iter().filter(|name| !there.contains_key(*name)) {
        eprintln!("note: there is no camera {name} now");
    }
    Ok(Cameras::from_list(Some(names.to_vec())))
}

/// Everyone there is; nobody where nobody was ever added.
pub fn everyone(people: &PeopleDb) -> Result<Arc<People>, String> {
    Ok(people.read().map_err(|error| error.to_string())?.unwrap_or_default())
}

/// For a table.
pub fn cameras_text(cameras: &Cameras) -> String {
    cameras.list().map_or("all".to_owned(), |names| names.join(","))
}

/// Prints a line. Whoever closed the pipe has seen enough.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The reason as it is told.
pub fn why(error: PeopleError) -> String {
    error.to_string()
}
