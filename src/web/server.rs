//! Starts and stops the server: its address, its limits, its end.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use tokio::sync::{Mutex, Semaphore, watch};

use super::doors::Doors;
use super::guard::{self, Own};
use super::{AppState, WebContext, connections, live, probe, routes, thumbnails};
use crate::archive::state::people::PeopleDb;
use crate::clock;
use crate::domain::config::WebConfig;

/// How long a stop waits for answers under way, in seconds, before it cuts them off.
const STOP_GRACE_S: u64 = 1;
const STOP_DEADLINE: Duration = Duration::from_secs(2);
pub(super) const EVENT_STREAMS: usize = 64;
const SNAPSHOTS_AT_A_TIME: usize = 2;
pub(super) const EXPORTS_AT_A_TIME: usize = 16;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(
        "web.listen: {0} can be reached from other machines, and there are no users: whoever reaches it would see all \
         cameras (add one first: tarsier user add NAME; or listen on 127.0.0.1)"
    )]
    NoUsers(SocketAddr),
    #[error("web.listen: cannot listen on {address} (is another program there? port 0 lets the system pick)")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("web.address_file: cannot write {}", path.display())]
    AddressFile { path: PathBuf, source: io::Error },
}

/// The server at work. Dropping it ends the server at once; [`RunningServer::stop`] lets answers finish.
pub struct RunningServer {
    address: SocketAddr,
    address_file: Option<PathBuf>,
    handle: ServerHandle,
    stopping: watch::Sender<bool>,
}

/// Starts the server. Must be called inside the running actix System.
pub async fn serve(context: WebContext) -> Result<RunningServer, WebError> {
    let WebContext { registry, index, archive_root, note_folder, web, tls, snapshot, pool } = context;
    let WebConfig { listen, address_file, names, allow_local, .. } = web;
    let people = PeopleDb::of(&archive_root, &note_folder);
    let doors = Arc::new(Doors::new(people, listen.ip().is_loopback()));
    if !doors.are_guarded().await && !listen.ip().is_loopback() {
        return Err(WebError::NoUsers(listen));
    }
    let bind_error = |source| WebError::Bind { address: listen, source };
    // Bound before the state is made, because the state knows the port.
    let listener = bind(listen).map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let (stopping, stopped) = watch::channel(false);
    let state = web::Data::new(AppState {
        registry,
        index,
        archive_root,
        snapshot,
        own: Own::new(address).with(names, tls.is_some()),
        doors: Arc::clone(&doors),
        started: clock::monotonic(),
        started_at: clock::utc_now(),
        stopping: stopped.clone(),
        listeners: Arc::new(Semaphore::new(EVENT_STREAMS)),
        exports: Arc::new(Semaphore::new(EXPORTS_AT_A_TIME)),
        snapshots: Arc::new(Semaphore::new(SNAPSHOTS_AT_A_TIME)),
        thumbnails: Arc::new(Semaphore::new(thumbnails::AT_A_TIME)),
        trials: Arc::new(Semaphore::new(1)),
        live: live::Lives::new(pool),
        probes: probe::Probes::default(),
        allow_local,
        edits: Mutex::new(()),
    });
    let app = move || {
        App::new()
            .app_data(state.clone())
            .wrap(from_fn(guard::gate))
            .configure(routes::configure)
            .default_service(web::to(routes::unknown))
    };
    let server = connections::serve(listener, tls.as_deref(), STOP_GRACE_S, live::keep_little_unsent, app);
    let server = server.map_err(bind_error)?;
    let handle = server.handle();
    actix_web::rt::spawn(doors.keep_looking(stopped));
    actix_web::rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the web server ended");
        }
    });
    if let Some(path) = &address_file
        && let Err(source) = write_address(path, address)
    {
        handle.stop(false).await;
        return Err(WebError::AddressFile { path: path.clone(), source });
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!(%address, "web server listens on {scheme}://{address}");
    if tls.is_none() && !address.ip().is_loopback() {
        tracing::warn!("passwords and pictures go over the network as they are, for anyone on the way (set web.tls)");
    }
    Ok(RunningServer { address, address_file, handle, stopping })
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // The standard library sets SO_REUSEADDR on Unix, so that a restart need not wait for old connections.
    std::net::TcpListener::bind(address)
}

/// Writes the address so that a reader sees all of it or none.
fn write_address(path: &Path, address: SocketAddr) -> io::Result<()> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = path.with_file_name(name);
    std::fs::write(&unfinished, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&unfinished, path))
        .inspect_err(|_| _ = std::fs::remove_file(&unfinished))
}

impl RunningServer {
    /// The address it listens on, with the port that the system picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: no new connections, event streams end, answers under way get a second. Returns within 2 s. Must be
    /// called before the System ends, which ends the server without waiting for anyone.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(STOP_DEADLINE, self.handle.stop(true)).await.is_err() {
            tracing::warn!("the web server did not stop in time and was left behind");
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        // Told at once; only waiting for its end would be asynchronous.
        drop(self.handle.stop(false));
        let Some(path) = &self.address_file else { return };
        // Only where it still names this server: another one may have started meanwhile.
        let is_ours = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == self.address.to_string());
        if is_ours && let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "the web server's address file stays behind");
        }
    }
}
