//! A little server that shows drawings as they are made: one page, one endless stream of JPEGs. Loopback only.
//!
//! It runs beside work that knows nothing of actix: on a thread of its own, and whoever is too slow to look misses
//! pictures.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::Bytes;
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use tokio::sync::watch;

use super::guard::{self, Own};
use super::multipart;

const MOST_VIEWERS: usize = 16;

/// The server at work; dropping it ends it.
pub struct PanesServer {
    address: SocketAddr,
    newest: Option<Arc<watch::Sender<Option<Bytes>>>>,
    viewer_came: mpsc::Receiver<()>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// What the handlers share.
struct Shown {
    own: Own,
    newest: watch::Receiver<Option<Bytes>>,
    viewer_came: mpsc::Sender<()>,
}

impl PanesServer {
    /// Listens on the loopback; port 0 lets the system pick.
    pub fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let (newest, receiver) = watch::channel(None);
        let (came, viewer_came) = mpsc::channel();
        let shown = web::Data::new(Shown { own: Own::new(address), newest: receiver, viewer_came: came });
        let (started, start) = mpsc::channel();
        let thread = thread::Builder::new().name("panes".into()).spawn(move || {
            let served = actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(shown.clone())
                        .wrap(from_fn(gate))
                        .route("/", web::get().to(page))
                        .route("/panes.mjpeg", web::get().to(pictures))
                })
                .workers(1)
                .max_connections(MOST_VIEWERS)
                .shutdown_timeout(1)
                .disable_signals()
                .listen(listener)?
                .run();
                started.send(server.handle()).ok();
                server.await
            });
            if let Err(error) = served {
                tracing::error!(%error, "the server of the panes ended");
            }
        })?;
        let handle = start.recv().map_err(|_| io::Error::other("the server of the panes did not start"))?;
        Ok(PanesServer { address, newest: Some(Arc::new(newest)), viewer_came, handle, thread: Some(thread) })
    }

    /// Where a browser finds it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits for somebody to look, at most this long.
    pub fn wait_for_viewer(&self, limit: Duration) -> bool {
        self.viewer_came.recv_timeout(limit).is_ok()
    }

    /// Is anybody looking?
    pub fn is_watched(&self) -> bool {
        // The handlers hold one receiver themselves.
        self.newest.as_ref().is_some_and(|newest| newest.receiver_count() > 1)
    }

    /// Shows the next picture.
    pub fn show(&self, jpeg: Vec<u8>) {
        if let Some(newest) = &self.newest {
            newest.send_replace(Some(Bytes::from(jpeg)));
        }
    }
}

impl Drop for PanesServer {
    fn drop(&mut self) {
        // Ends the streams, so that the server need not cut them off.
        self.newest = None;
        drop(self.handle.stop(true));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn gate(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let allowed = match request.app_data::<web::Data<Shown>>() {
        Some(shown) => guard::check_host(&request, &shown.own),
        None => Err(super::Problem::internal("the server has no pictures")),
    };
    let mut response = match allowed {
        Ok(()) => next.call(request).await?,
        Err(problem) => request.error_response(problem),
    };
    guard::harden(response.headers_mut());
    Ok(response)
}

async fn page() -> HttpResponse {
    const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
        <title>Tarsier inspect</title>\
        <style>body{margin:0;background:#141518}img{display:block;margin:auto;max-width:100%;max-height:100vh}</style>\
        </head><body><img src=\"/panes.mjpeg\" alt=\"what the detector sees\"></body></html>\n";
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(PAGE)
}

async fn pictures(shown: web::Data<Shown>) -> HttpResponse {
    let newest = shown.newest.clone();
    shown.viewer_came.send(()).ok();
    multipart::answer(multipart::parts(newest))
}
