//! The folder of cameras, by content: which names are cameras, and what each file holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::camera;
use super::problem::{Mark, Problem};
use super::settings::Settings;
use super::table::CAMERA;
use super::tree::{self, Content};
use super::{Loaded, in_order, text};
use crate::domain::config::CameraConfig;

/// What one look at the folder found, with where each value came from.
pub(super) struct Found {
    pub cameras: BTreeMap<String, Result<(CameraConfig, Settings), Vec<Problem>>>,
    pub problems: Vec<Problem>,
    pub listed: bool,
}

pub(super) fn scan(loaded: &Loaded) -> Found {
    let mut found = Found { cameras: BTreeMap::new(), problems: Vec::new(), listed: true };
    let files = match list(&loaded.global.cameras_dir) {
        Ok(files) => files,
        Err(problem) => {
            found.problems.push(problem);
            found.listed = false;
            return found;
        }
    };
    let mut by_stem: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if is_camera_name(&stem) {
            by_stem.entry(stem).or_default().push(path);
        } else {
            let what = "a camera's file is named with a-z, 0-9, `-` and `_`, and begins with a letter or a digit";
            let better = suggest_name(&stem).map(|name| format!("rename it to `{name}.yaml`"));
            found.problems.push(Mark::top(&path).problem(what, better));
        }
    }
    for (stem, paths) in by_stem {
        let result = match paths.as_slice() {
            [path] => read_camera(&stem, path, loaded),
            _ => Err(paths
                .iter()
                .map(|path| {
                    let what = format!("two files for one camera, `{stem}`");
                    Mark::top(path).problem(what, "rename or remove one of them".to_owned())
                })
                .collect()),
        };
        match result {
            Ok(Some(camera)) => found.cameras.insert(stem, Ok(camera)),
            Ok(None) => None,
            Err(problems) => found.cameras.insert(stem, Err(problems)),
        };
    }
    found
}

/// The files that mean to be cameras, in order of their names.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let fault = |error: std::io::Error| {
        let at = Mark::top(folder);
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                let hint = "create it, or set `cameras` in tarsier.yaml";
                at.problem("the folder of the cameras is missing", hint.to_owned())
            }
            std::io::ErrorKind::NotADirectory => {
                at.problem("is a file, not a folder", "set `cameras` in tarsier.yaml to a folder".to_owned())
            }
            _ => at.problem(text::describe(&error).0, None),
        }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        let hidden = name.as_bytes().starts_with(b".") || name.as_bytes().starts_with(b"_");
        let yaml = matches!(Path::new(&name).extension().map(OsStr::as_bytes), Some(b"yaml" | b"yml"));
        if yaml && !hidden {
            files.push(folder.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// None: the file is gone by now.
fn read_camera(name: &str, path: &Path, loaded: &Loaded) -> Result<Option<(CameraConfig, Settings)>, Vec<Problem>> {
    match text::read(path).map_err(|problem| vec![problem])? {
        Some(text) => camera_of(name, path, &text, loaded).map(Some),
        None => Ok(None),
    }
}

/// The camera that `text` is, or would be, as the file at `path`.
pub(super) fn camera_of(
    name: &str,
    path: &Path,
    text: &str,
    loaded: &Loaded,
) -> Result<(CameraConfig, Settings), Vec<Problem>> {
    let (own, mut problems) = own_of(path, text, loaded)?;
    let settings = camera::merge(loaded.defaults.clone(), own);
    let camera = camera::build(name, &settings, &Mark::top(path), &loaded.folder, loaded.models, &mut problems);
    in_order(&mut problems);
    match camera {
        Some(camera) if problems.is_empty() => Ok((camera, settings)),
        _ => Err(problems),
    }
}

/// What a camera's file itself gives, and what is wrong with it. None: there is no such file.
pub(super) fn read_own(path: &Path, loaded: &Loaded) -> Result<Option<(Settings, Vec<Problem>)>, Vec<Problem>> {
    match text::read(path).map_err(|problem| vec![problem])? {
        Some(text) => own_of(path, &text, loaded).map(Some),
        None => Ok(None),
    }
}

fn own_of(path: &Path, text: &str, loaded: &Loaded) -> Result<(Settings, Vec<Problem>), Vec<Problem>> {
    let (tree, mut problems) = tree::parse(path, text, &*loaded.environment);
    let tree = match tree {
        Some(tree) if !matches!(tree.content, Content::Null) => tree,
        _ => {
            if problems.is_empty() {
                let hint = "add `source: rtsp://HOST/PATH`, or put `_` before its name".to_owned();
                problems.push(Mark::top(path).problem("the file is empty", hint));
            }
            return Err(problems);
        }
    };
    let broken = !problems.is_empty() && !matches!(tree.content, Content::Map(_));
    let own = Settings::read(CAMERA, &tree, &mut problems);
    if broken || !matches!(tree.content, Content::Map(_)) {
        return Err(problems);
    }
    Ok((own, problems))
}

/// Can a camera be called this? `[a-z0-9][a-z0-9_-]*`
pub fn is_camera_name(stem: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    stem.bytes().next().is_some_and(plain) && stem.bytes().all(|b| plain(b) || b == b'_' || b == b'-')
}

fn suggest_name(stem: &str) -> Option<String> {
    let lower = stem.to_lowercase();
    let name: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '_']);
    is_camera_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "0", "front-door", "cam_1", "9-"] {
            assert!(is_camera_name(name), "{name}");
        }
        for name in ["", "-a", "_a", "A", "a b", "ä", "a.b", "a/b"] {
            assert!(!is_camera_name(name), "{name}");
        }
        assert_eq!(suggest_name("Front Door").as_deref(), Some("front-door"));
        assert_eq!(suggest_name("ä"), None);
    }
}
