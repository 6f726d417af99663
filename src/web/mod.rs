//! What Tarsier says over HTTP: the JSON API, the metrics, live video, and the pages for people.
//!
//! Belongs here: requests, answers and who may ask. Does not belong here: deciding anything about a camera or a
//! file. Cameras are read from and asked through the [`Registry`], files are found through the [`Index`]; no
//! handler waits on an actor, and what may wait on a disk does so on the blocking pool.

mod body;
pub mod bounds;
mod cached;
mod camera_files;
mod cameras;
mod connections;
mod doors;
mod events;
mod export;
mod guard;
mod health;
mod live;
mod login;
mod metrics;
mod multipart;
mod openapi;
mod page;
mod panes;
mod probe;
mod problem;
mod query;
mod recordings;
mod routes;
pub mod secret;
mod server;
#[cfg(test)]
mod tests;
mod thumbnails;
pub mod tls;
mod tokens;
mod tune;
mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, Semaphore, watch};

use self::doors::{Doors, Who};
use self::tls::Tls;
use crate::actors::registry::{Alarm, CameraEntry, Registry};
use crate::archive::index::Index;
use crate::domain::config::WebConfig;
use crate::media::Packet;
use crate::pool::Pool;

pub use panes::PanesServer;
pub use problem::Problem;
pub use server::{RunningServer, WebError, serve};

/// Makes a JPEG of a video keyframe; runs on the blocking pool. An error is told to whoever asked, so it holds
/// no password.
pub type Snapshot = Arc<dyn Fn(Arc<Packet>) -> Result<Vec<u8>, String> + Send + Sync>;

/// Everything the server needs of the rest of the process.
#[derive(Clone)]
pub struct WebContext {
    pub registry: Arc<Registry>,
    pub index: Index,
    /// The folder that the index's paths are relative to.
    pub archive_root: PathBuf,
    /// Where it is remembered outside of the archive that there are users.
    pub note_folder: PathBuf,
    /// Other machines may reach it only where there are users.
    pub web: WebConfig,
    /// Its certificate, where `web.tls` names one.
    pub tls: Option<Arc<Tls>>,
    pub snapshot: Snapshot,
    /// Where pictures are decoded.
    pub pool: Pool,
}

/// What the handlers share.
struct AppState {
    registry: Arc<Registry>,
    index: Index,
    archive_root: PathBuf,
    snapshot: Snapshot,
    own: guard::Own,
    doors: Arc<Doors>,
    started: Instant,
    started_at: DateTime<Utc>,
    /// Becomes true when the server stops: streams end then.
    stopping: watch::Receiver<bool>,
    /// Open event streams; each holds a permit.
    listeners: Arc<Semaphore>,
    /// Exports that run; each holds a thread and a file.
    exports: Arc<Semaphore>,
    /// Snapshots that are decoded at one time: looking at cameras must not cost recording them its processor.
    snapshots: Arc<Semaphore>,
    /// Pictures out of files that are made at one time.
    thumbnails: Arc<Semaphore>,
    /// Stored video that is looked at again with other values.
    trials: Arc<Semaphore>,
    live: live::Lives,
    probes: probe::Probes,
    /// May admins set over the network what is this machine's?
    allow_local: bool,
    /// Held while a camera's file is changed.
    edits: Mutex<()>,
}

impl AppState {
    /// The camera called `name`, or a 404 that names the ones that `who` may see.
    fn camera(&self, who: &Who, name: &str) -> Result<Arc<CameraEntry>, Problem> {
        let entry = self.registry.get(name).filter(|_| who.sees(name));
        entry.ok_or_else(|| self.no_such_camera(who, name))
    }

    /// The cameras that `who` may see, in the order of their names.
    fn cameras(&self, who: &Who) -> Vec<Arc<CameraEntry>> {
        let all = self.registry.all().into_iter();
        if who.sees_all() { all.collect() } else { all.filter(|entry| who.sees(&entry.status().name)).collect() }
    }

    /// The alarms of those cameras, and those of none.
    fn alarms(&self, who: &Who) -> Vec<Alarm> {
        self.registry.alarms().into_iter().filter(|alarm| who.sees_of(alarm.camera.as_deref())).collect()
    }

    fn no_such_camera(&self, who: &Who, name: &str) -> Problem {
        let known: Vec<String> = self.cameras(who).iter().map(|entry| entry.status().name).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("known: {}", known.join(", ")) };
        Problem::not_found(format!("no camera is called {name:?} ({known})"))
    }

    /// Asks the index on the blocking pool.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Index) -> Result<T, crate::archive::index::IndexError> + Send + 'static,
    ) -> Result<T, Problem> {
        let index = self.index.clone();
        blocking(move || question(&index)).await?.map_err(Problem::from)
    }
}

/// Runs work that may wait on a disk or a decoder away from the server's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    actix_web::web::block(work).await.map_err(|error| Problem::internal(format!("the work was broken off: {error}")))
}
