//! `tarsier run`: the daemon. Wires the parts together and translates signals.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::{Addr, Arbiter, System};
use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

use super::{DONE, INPUT_WRONG, or_told};
use crate::actors::confirmer::Confirmer;
use crate::actors::janitor::{self, Retention};
use crate::actors::registry::Registry;
use crate::actors::shared::Shared;
use crate::actors::supervisor::{Host, Reload, Shutdown, Supervisor};
use crate::archive::backgrounds::Backgrounds;
use crate::archive::home::Home;
use crate::archive::index::Index;
use crate::archive::{Archive, recovery};
use crate::clock;
use crate::config;
use crate::domain::config::{GlobalConfig, WebConfig};
use crate::logging::{self, LogHandle};
use crate::media::jpeg;
use crate::pool::Pool;
use crate::web::tls::Tls;
use crate::web::{self, WebContext};

/// Threads that carry the cameras' actors.
const ARBITERS: usize = 2;
/// After the signal that ends it the process lives no longer than this,
const LAST_MOMENT: Duration = Duration::from_millis(4700);
/// and these.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runs until a signal ends it.
pub fn run(config_path: &Path) -> anyhow::Result<u8> {
    let Some(loaded) = or_told(config::load_global(config_path)) else { return Ok(INPUT_WRONG) };
    let global = loaded.global.clone();
    let log = match logging::init(&global.log) {
        Ok(log) => Arc::new(log),
        Err(error) => {
            eprintln!("tarsier: {error}");
            return Ok(INPUT_WRONG);
        }
    };
    raise_open_files();
    crate::media::av::init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %config_path.display(), "tarsier starts");
    let archive = match open_archive(&global, config_path) {
        Ok(archive) => archive,
        Err(error) => {
            tracing::error!("{error:#}");
            return Ok(INPUT_WRONG);
        }
    };
    let tls = match global.web.tls.as_ref().map(Tls::load).transpose() {
        Ok(tls) => tls.map(Arc::new),
        Err(error) => {
            tracing::error!("{error}");
            return Ok(INPUT_WRONG);
        }
    };
    let registry = Arc::new(Registry::default());
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pool = Pool::start(cores).context("cannot start the detection threads")?;
    let backgrounds = Backgrounds::start(archive.root(), archive.index().clone())
        .context("cannot start the thread that keeps what is known of the cameras' scenes")?;
    let mut shared = Shared::new(Arc::clone(&registry), Arc::clone(&archive), pool.clone());
    shared.backgrounds = Some(Arc::clone(&backgrounds));
    let confirmer = Confirmer::start(archive.index().clone(), Arc::clone(&registry));
    let confirmer = Arc::new(confirmer.context("cannot start the thread that asks models")?);
    shared.confirmer = Some(Arc::clone(&confirmer));
    let shared = Arc::new(shared);
    let retention = Arc::new(Retention::new(&global.archive));
    janitor::start(Arc::clone(&archive), Arc::clone(&retention), Arc::clone(&registry))
        .context("cannot start the threads that keep the archive in order")?;
    let served = System::new().block_on(async {
        let context = WebContext {
            registry: Arc::clone(&registry),
            index: archive.index().clone(),
            archive_root: archive.root().to_owned(),
            note_folder: state_folder(config_path),
            web: global.web.clone(),
            tls: tls.clone(),
            snapshot: Arc::new(|packet| jpeg::snapshot(&packet, None).map_err(|error| error.to_string())),
            pool,
        };
        let server = web::serve(context).await?;
        let arbiters = (0..ARBITERS).map(|_| Arbiter::new()).collect();
        let end = Arc::new(Notify::new());
        let host = Daemon { log: Arc::clone(&log), end: Arc::clone(&end), tls, registry };
        let supervisor =
            Supervisor::start_with(config_path.to_owned(), loaded, shared, retention, Box::new(host), arbiters);
        listen_to_signals(supervisor)?;
        end.notified().await;
        server.stop().await;
        anyhow::Ok(())
    });
    backgrounds.stop();
    confirmer.stop();
    archive.stop();
    if let Err(error) = served {
        tracing::error!("{error:#}");
        return Ok(INPUT_WRONG);
    }
    tracing::info!("tarsier ends");
    Ok(DONE)
}

/// As many open files as the system allows: those who look must not take the ones that recordings need.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Opens the archive and its index, and finishes what the last run left open, before any camera records.
fn open_archive(global: &GlobalConfig, config_path: &Path) -> anyhow::Result<Arc<Archive>> {
    let root = &global.archive.path;
    let index = Index::open_at(root, Home::watched(root, &state_folder(config_path)))?;
    let report = recovery::repair_open(root, &index);
    tracing::info!(%report, "recordings that were open at the last end");
    Archive::start(root, global.archive.layout.clone(), global.archive.sync, index)
        .context("cannot start the archive's thread")
}

/// What has to be remembered outside of the archive is in the service's own folder, or beside `tarsier.yaml`.
pub(super) fn state_folder(config_path: &Path) -> PathBuf {
    let given = std::env::var_os("STATE_DIRECTORY").and_then(|folders| std::env::split_paths(&folders).next());
    given.unwrap_or_else(|| config_path.parent().unwrap_or(Path::new("")).to_owned())
}

/// SIGTERM and SIGINT end the process in order, a second one at once; SIGHUP reloads.
fn listen_to_signals(supervisor: Addr<Supervisor>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot listen to signals")?;
    let listen = move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => supervisor.do_send(Reload),
                _ if is_stopping => std::process::exit(128 + signal),
                _ => {
                    is_stopping = true;
                    supervisor.do_send(Shutdown);
                    end_in_time();
                }
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen).context("cannot listen to signals")?;
    Ok(())
}

/// Whatever hangs (a disk that stalls holds whoever writes to it): the process ends, and the next start repairs.
fn end_in_time() {
    let wait = || {
        thread::sleep(LAST_MOMENT);
        // From a thread of its own: the log may be on that disk.
        thread::spawn(|| tracing::error!("something hangs and is left behind; the next start repairs what is open"));
        thread::sleep(LAST_WORDS);
        std::process::exit(i32::from(DONE));
    };
    if let Err(error) = thread::Builder::new().name("last-moment".into()).spawn(wait) {
        tracing::error!(%error, "cannot watch over the end");
    }
}

/// What the Supervisor tells systemd and the log.
struct Daemon {
    log: Arc<LogHandle>,
    end: Arc<Notify>,
    tls: Option<Arc<Tls>>,
    registry: Arc<Registry>,
}

impl Daemon {
    /// A certificate that is no good is told, and the one before goes on.
    fn reload_certificate(&self, web: &WebConfig) {
        let (Some(tls), Some(files)) = (&self.tls, &web.tls) else { return };
        match tls.reload(files) {
            Ok(()) => self.registry.clear_alarm("tls", None),
            Err(error) => {
                let message = format!("{error}; the certificate before goes on");
                tracing::error!("{message}");
                self.registry.raise_alarm("tls", None, clock::utc_now(), message);
            }
        }
    }

    fn notify(&self, states: &[sd_notify::NotifyState<'_>]) {
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(states);
    }
}

impl Host for Daemon {
    fn ready(&self) {
        tracing::info!("ready");
        self.notify(&[sd_notify::NotifyState::Ready]);
    }

    fn alive(&self) {
        self.notify(&[sd_notify::NotifyState::Watchdog]);
    }

    fn reloading(&self) {
        if let Err(error) = self.log.reopen() {
            tracing::error!(%error, "cannot reopen the log");
        }
    }

    fn reloaded(&self, global: &GlobalConfig) {
        if let Err(error) = self.log.apply(&global.log) {
            tracing::error!(%error, "cannot change the log");
        }
        self.reload_certificate(&global.web);
    }

    fn stopping(&self) {
        self.notify(&[sd_notify::NotifyState::Stopping]);
    }

    fn stopped(&self) {
        self.end.notify_one();
    }
}
