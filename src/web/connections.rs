//! How connections come in: counted, with TLS or without, and turned away with a word where there are too many.
//!
//! Built of the parts that actix-web's own server is built of: that one lets what is too much wait without an answer,
//! and speaks HTTP/2 wherever it speaks TLS.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Request, Response};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, map_config};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::rt::net::TcpStream;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::tls::Tls;

/// Threads that answer; what may block goes to the blocking pool.
const WORKERS: usize = 2;
/// Connections at one time, those that still shake hands among them.
pub(super) const MOST_CONNECTIONS: usize = 512;
/// Further ones that are told so at one time; those beyond are closed without a word.
const MOST_REFUSALS: usize = 64;
/// For telling them.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
const BLOCKING_THREADS_PER_WORKER: usize = 8;
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const REFUSAL: &str = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
                       \"detail\":\"too many are connected already (try again later)\"}";

/// Starts to serve `app` to whoever connects to `listener`. Its end has `stop_grace_s` seconds.
pub fn serve<F, I, S, B>(
    listener: TcpListener,
    tls: Option<&Tls>,
    stop_grace_s: u64,
    on_connect: fn(&dyn Any, &mut Extensions),
    app: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let builder = ServerBuilder::new()
        .workers(WORKERS)
        .worker_max_blocking_threads(BLOCKING_THREADS_PER_WORKER)
        .max_concurrent_connections(MOST_CONNECTIONS + 2 * MOST_REFUSALS)
        .shutdown_timeout(stop_grace_s)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let stopping = move || {
        let stopping = stopping.clone();
        async move { stopping.notified().await }
    };
    let app = move || {
        let app = app().into_factory().map_err(|error| error.into().error_response());
        map_config(app, |()| AppConfig::default())
    };
    let config = tls.map(Tls::config);
    let doorman = Doorman {
        places: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        refusals: Arc::new(Semaphore::new(MOST_REFUSALS)),
        tls: config.clone().map(TlsAcceptor::from),
    };
    macro_rules! http {
        ($stream_of:expr) => {
            HttpService::build()
                .graceful_shutdown_signal(stopping.clone())
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(REQUEST_HEAD_TIMEOUT)
                .client_disconnect_timeout(DISCONNECT_TIMEOUT)
                .on_connect_ext(move |stream, extensions| on_connect($stream_of(stream), extensions))
                .h1(app())
        };
    }
    let builder = match config {
        None => builder.listen("web", listener, move || doorman.clone().before(http!(plain).tcp())),
        Some(config) => builder.listen("web", listener, move || {
            let config = rustls::ServerConfig::clone(&config);
            doorman.clone().before(http!(under_tls).rustls_0_23(config))
        }),
    };
    Ok(builder?.run())
}

fn plain(stream: &TcpStream) -> &dyn Any {
    stream
}

fn under_tls(stream: &TlsStream<TcpStream>) -> &dyn Any {
    stream.get_ref().0
}

/// Stands before the server and counts.
#[derive(Clone)]
struct Doorman {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tls: Option<TlsAcceptor>,
}

impl Doorman {
    /// `http` serves a connection from its first byte to its last.
    fn before<S>(
        self,
        http: S,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = S::Error, InitError = S::InitError>
    where
        S: ServiceFactory<TcpStream, Config = (), Response = ()>,
        S::Service: 'static,
        S::Error: 'static,
        <S::Service as Service<TcpStream>>::Future: 'static,
    {
        apply_fn_factory(
            http,
            move |stream: TcpStream, http: &S::Service| -> LocalBoxFuture<'static, Result<(), S::Error>> {
                match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => {
                        let served = http.call(stream);
                        Box::pin(async move {
                            let done = served.await;
                            drop(place);
                            done
                        })
                    }
                    Err(_) => {
                        let refused = self.clone().refuse(stream);
                        Box::pin(async move {
                            refused.await;
                            Ok(())
                        })
                    }
                }
            },
        )
    }

    async fn refuse(self, stream: TcpStream) {
        let Ok(_turn) = self.refusals.try_acquire_owned() else { return };
        let tell = async {
            match self.tls {
                None => tell(stream).await,
                Some(tls) => tell(tls.accept(stream).await?).await,
            }
        };
        // Whoever does not listen is not told.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, tell).await;
    }
}

async fn tell(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Retry-After: 5\r\nConnection: close\r\n\r\n{REFUSAL}",
        REFUSAL.len()
    );
    // A connection that is closed with a request unread takes the answer with it.
    let _length = stream.read(&mut [0; 16 << 10]).await?;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
