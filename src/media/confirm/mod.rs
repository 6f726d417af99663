//! A closer look at a picture with a model, in a process of its own: one that crashes, hangs or takes memory without
//! end harms nobody who records, and is ended.
//!
//! Belongs here: starting that process, asking it, and what goes on inside it. Does not belong here: what a model's
//! output means ([`crate::domain::found`]), which pictures are worth a look ([`crate::domain::picks`]), and who waits
//! for whom (`actors::confirmer`).
//!
//! The process is this program again, as `tarsier confirm`. It is asked by a line of JSON in its standard input, which
//! the bytes of a picture follow, and answers with a line in its standard output.

mod helper;
mod models;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::helper::Helper;
pub use self::models::serve;
use super::picture::BgrView;
use crate::clock;
use crate::domain::config::ConfirmConfig;
use crate::domain::found::Found;

/// Longest time for a picture, reading the model among it.
pub const LOOK_WITHIN: Duration = Duration::from_secs(20);
/// Longest time for reading a model and running it once.
const EXAMINE_WITHIN: Duration = Duration::from_secs(20);
/// A model that gave no answer is tried again after so long.
const DOUBTED_AFTER: Duration = Duration::from_secs(600);
/// Pictures are handed over with no side longer than this, in pixels: models take no larger ones.
pub const LONGEST_SIDE: u32 = 1280;

/// Why nothing is known of a picture, or of a model.
#[derive(Debug, Error)]
pub enum ConfirmError {
    #[error("the process that looks cannot be started: {0}")]
    Start(io::Error),
    /// The model does not work.
    #[error("{0}")]
    Model(String),
    #[error("no answer within {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("the process that looks {0}")]
    Crashed(String),
}

/// What the process is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// Does this model run, and what does it put out?
    Examine(PathBuf),
    Look(Look),
}

/// The picture follows: rows of blue, green and red bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Look {
    config: ConfirmConfig,
    width: u32,
    height: u32,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Examined(Examined),
    Found(Vec<Found>),
    Failed(String),
}

/// A model that works.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Examined {
    /// Of its output.
    pub shape: Vec<i64>,
    /// Of what it knows, by their numbers, where its file says so.
    pub names: Option<Vec<String>>,
}

impl Helper {
    /// What is found in a picture.
    ///
    /// # Errors
    /// After [`ConfirmError::TooSlow`] and [`ConfirmError::Crashed`] the process is gone.
    pub fn look(
        &mut self,
        picture: BgrView,
        config: &ConfirmConfig,
        within: Duration,
    ) -> Result<Vec<Found>, ConfirmError> {
        let BgrView { width, height, data } = picture;
        match self.ask(&Question::Look(Look { config: config.clone(), width, height }), data, within)? {
            Answer::Found(found) => Ok(found),
            Answer::Failed(cause) => Err(ConfirmError::Model(cause)),
            Answer::Examined(_) => Err(ConfirmError::Model("it answers something else".to_owned())),
        }
    }

    fn examine(&mut self, model: &Path) -> Result<Examined, ConfirmError> {
        match self.ask(&Question::Examine(model.to_owned()), &[], EXAMINE_WITHIN)? {
            Answer::Examined(examined) => Ok(examined),
            Answer::Failed(cause) => Err(ConfirmError::Model(cause)),
            Answer::Found(_) => Err(ConfirmError::Model("it answers something else".to_owned())),
        }
    }
}

/// What was found out of a model's file.
struct Known {
    /// Its size and age then.
    stamp: (u64, Option<SystemTime>),
    at: Instant,
    /// It was found out by an answer, and not for want of one: that may be the machine's fault.
    is_sure: bool,
    told: Result<Examined, String>,
}

#[derive(Default)]
struct Examinations {
    known: HashMap<PathBuf, Known>,
    /// Those that are under way where nobody waits.
    under_way: HashSet<PathBuf>,
}

static EXAMINATIONS: LazyLock<Mutex<Examinations>> = LazyLock::new(Mutex::default);

fn examinations() -> MutexGuard<'static, Examinations> {
    EXAMINATIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries the model in an ONNX file: it is read and run once. Asked again of a file that did not change, it is told at
/// once. None, where nobody is to `wait`: it is being tried.
///
/// # Errors
/// Of the file, or of the model in it, in words that follow its name.
pub fn examine(model: &Path, wait: bool) -> Option<Result<Examined, String>> {
    match (known(model), wait) {
        (Ok(Some(told)), _) => Some(told),
        (Err(what), _) => Some(Err(what)),
        (Ok(None), true) => Some(examine_now(model)),
        (Ok(None), false) => {
            if examinations().under_way.insert(model.to_owned()) {
                let path = model.to_owned();
                let examine = move || {
                    let _ = examine_now(&path);
                    examinations().under_way.remove(&path);
                };
                if thread::Builder::new().name("examine".into()).spawn(examine).is_err() {
                    examinations().under_way.remove(model);
                }
            }
            None
        }
    }
}

/// What is known of a file already; an error of the file itself.
fn known(model: &Path) -> Result<Option<Result<Examined, String>>, String> {
    let stamp = stamp(model)?;
    let examinations = examinations();
    let known = examinations.known.get(model).filter(|known| known.stamp == stamp);
    let is_old = |known: &Known| !known.is_sure && clock::monotonic() - known.at > DOUBTED_AFTER;
    Ok(known.filter(|known| !is_old(known)).map(|known| known.told.clone()))
}

fn stamp(model: &Path) -> Result<(u64, Option<SystemTime>), String> {
    let metadata = fs::metadata(model).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    fs::File::open(model).map_err(|error| format!("cannot be read: {error}"))?;
    Ok((metadata.len(), metadata.modified().ok()))
}

fn examine_now(model: &Path) -> Result<Examined, String> {
    // One at a time: a model takes much memory.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Somebody else may have asked meanwhile.
    if let Some(told) = known(model)? {
        return told;
    }
    let stamp = stamp(model)?;
    let told = match Helper::start().and_then(|mut helper| helper.examine(model)) {
        // Of this machine and this moment, not of the model.
        Err(error @ ConfirmError::Start(_)) => return Err(format!("cannot be tried: {error}")),
        told => told,
    };
    let is_sure = matches!(told, Ok(_) | Err(ConfirmError::Model(_)));
    let told = told.map_err(|error| format!("is no model that works: {error}"));
    examinations().known.insert(model.to_owned(), Known { stamp, at: clock::monotonic(), is_sure, told: told.clone() });
    told
}
