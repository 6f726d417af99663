//! Trying values for a camera's detection: its keys as a form takes them, and the last minutes of its video looked at
//! again with other values. Nothing is written here: who likes what they see changes the camera's file
//! ([`super::camera_files`]).

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::body::Json;
use super::camera_files::{self, ChangedConfig};
use super::{AppState, Problem, blocking};
use crate::archive::index::Index;
use crate::archive::stretches::{self, Stretch};
use crate::clock;
use crate::config::store;
use crate::config::tunable::Tunable;
use crate::domain::finding::Cause;
use crate::domain::judge;
use crate::media::backtest::{self, Options, Run};
use crate::media::source::Cancel;

/// Longest time back, in minutes.
const MOST_MINUTES: u32 = 60;
/// One core: whoever records has the others.
const OPTIONS: Options = Options { threads: 1, without_loop_filter: false };
/// Who waits for their turn asks again after so many seconds.
const TURN_S: u64 = 5;

/// The keys of a camera's detection.
#[derive(Serialize, ToSchema)]
pub struct Keys {
    pub camera: String,
    pub keys: Vec<Tunable>,
}

/// Values to be tried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Keys of detection with dots (`detect.width`) and their values.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// Keys that go back to what they are by default.
    #[serde(default)]
    remove: Vec<String>,
    /// So many of the last minutes are looked at.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 60)]
    minutes: u32,
}

fn ten() -> u32 {
    10
}

/// What was found in a camera's last minutes with its values, and with those that were tried.
#[derive(Serialize, ToSchema)]
pub struct Tried {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// So much video there was, in seconds.
    seconds: f64,
    /// With the values that the camera has.
    now: Vec<TriedEvent>,
    /// With those that were tried.
    then: Vec<TriedEvent>,
    /// What could not be looked at.
    faults: Vec<String>,
}

/// A motion event that was found.
#[derive(Serialize, ToSchema)]
pub struct TriedEvent {
    start: DateTime<Utc>,
    /// Of its last motion.
    end: DateTime<Utc>,
    cause: Option<Cause>,
    zones: Vec<String>,
    /// Found both ways, or only with the values tried (`gained`), or only with those of now (`lost`).
    change: Change,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Change {
    Kept,
    Gained,
    Lost,
}

/// The keys of a camera's detection, what they may be, and what they are.
#[utoipa::path(get, path = "/api/cameras/{name}/tune", tag = "cameras", responses(
    (status = 200, description = "the keys", body = Keys),
    (status = 404, description = "no such file"),
    (status = 422, description = "all that is wrong with the file"),
))]
pub async fn keys(state: web::Data<AppState>, name: web::Path<String>) -> Result<web::Json<Keys>, Problem> {
    let loaded = camera_files::loaded(&state)?;
    let camera = name.into_inner();
    let asked = camera.clone();
    let keys = blocking(move || -> Result<Vec<Tunable>, Problem> {
        let file = store::find(&asked, &loaded)?;
        let text = file.text.as_deref().ok_or_else(|| camera_files::no_file(&file))?;
        let (_, keys) = file.camera(text, &loaded).map_err(|faults| camera_files::faulty(&file, faults))?;
        Ok(keys)
    });
    Ok(web::Json(Keys { camera, keys: keys.await?? }))
}

/// Looks at the last minutes of a camera's recordings, with its own values and with these. Writes nothing.
///
/// Where only motion is recorded, only that can be looked at. One trial at a time; it ends with the request.
#[utoipa::path(post, path = "/api/cameras/{name}/tune", tag = "cameras", request_body = Trial, responses(
    (status = 200, description = "what was found, both ways", body = Tried),
    (status = 400, description = "a key is none of detection, or the minutes are not 1 to 60"),
    (status = 404, description = "no such file, or nothing was recorded in that time"),
    (status = 422, description = "all that would be wrong with the file"),
    (status = 429, description = "another trial runs"),
))]
pub async fn try_values(
    state: web::Data<AppState>,
    name: web::Path<String>,
    Json(trial): Json<Trial>,
) -> Result<web::Json<Tried>, Problem> {
    let Trial { set, remove, minutes } = trial;
    let change = ChangedConfig { set, remove };
    let refused = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    if !(1..=MOST_MINUTES).contains(&minutes) {
        return Err(refused(format!("minutes must be 1 to {MOST_MINUTES}, not {minutes}")));
    }
    if let Some(key) = change.set.keys().chain(&change.remove).find(|key| !key.starts_with("detect.")) {
        return Err(refused(format!("{key:?} is no key of detection (only `detect.…` can be tried)")));
    }
    let Ok(turn) = state.trials.clone().try_acquire_owned() else {
        let detail = "another trial runs (try again in a moment)";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(TURN_S));
    };
    let loaded = camera_files::loaded(&state)?;
    let to = clock::utc_now();
    let from = to - TimeDelta::minutes(minutes.into());
    let (index, root, allow_local) = (state.index.clone(), state.archive_root.clone(), state.allow_local);
    let ends_with_request = Ends(Cancel::new());
    let cancel = ends_with_request.0.clone();
    let tried = blocking(move || -> Result<Tried, Problem> {
        let _turn = turn;
        let file = store::find(&name, &loaded)?;
        let text = file.text.as_deref().ok_or_else(|| camera_files::no_file(&file))?;
        let changed = change.applied_to(text)?;
        let then = camera_files::judge(&file, &changed, allow_local, &loaded)?;
        let (now, _) = file.camera(text, &loaded).map_err(|faults| camera_files::faulty(&file, faults))?;
        let configs = [now.detect, then.detect];
        let stretches = stretches_of(&index, &root, &name, from, to)?;
        let reels: Vec<_> = stretches.iter().map(|stretch| stretch.reel.clone()).collect();
        let played = backtest::run(&reels, &configs, OPTIONS, &cancel, &|_| ())
            .map_err(|error| Problem::internal(error.to_string()))?;
        let mut tried = Tried { from, to, seconds: 0.0, now: Vec::new(), then: Vec::new(), faults: Vec::new() };
        for (stretch, played) in stretches.iter().zip(played) {
            tried.seconds += (played.last_us - stretch.reel.from_us).max(0) as f64 / 1e6;
            tried.faults.extend(played.faults);
            if let [now, then] = &played.runs[..] {
                tried.add(stretch, now, then);
            }
        }
        Ok(tried)
    });
    Ok(web::Json(tried.await??))
}

/// Cancels when it goes: nobody waits for the answer any more.
struct Ends(Cancel);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn stretches_of(
    index: &Index,
    root: &std::path::Path,
    camera: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Stretch>, Problem> {
    let stretches = stretches::of(index, root, camera, Some(from), Some(to));
    let stretches = stretches.map_err(|error| Problem::unavailable(error.to_string()))?;
    if stretches.is_empty() {
        let detail = format!("nothing of {camera} was recorded in that time (ask for more minutes, or record more)");
        return Err(Problem::not_found(detail));
    }
    Ok(stretches)
}

impl Tried {
    fn add(&mut self, stretch: &Stretch, now: &Run, then: &Run) {
        let seconds = |run: &Run| -> Vec<judge::Seconds> {
            run.events.iter().map(|event| (event.start_us as f64 / 1e6, event.last_motion_us as f64 / 1e6)).collect()
        };
        let changes = judge::compare(&seconds(now), &seconds(then));
        let told = |run: &Run, changed: &[usize], change: Change| -> Vec<TriedEvent> {
            let events = run.events.iter().enumerate().map(|(n, event)| TriedEvent {
                start: stretch.utc(event.start_us),
                end: stretch.utc(event.last_motion_us),
                cause: event.cause,
                zones: event.zones.clone(),
                change: if changed.contains(&n) { change } else { Change::Kept },
            });
            events.collect()
        };
        self.now.extend(told(now, &changes.lost, Change::Lost));
        self.then.extend(told(then, &changes.gained, Change::Gained));
    }
}
