//! A look at a camera before it is added: what it sends, and a picture of it. For admins, and of cameras only
//! ([`bounds::check_source`]).
//!
//! A probe is a thread with a deadline, of which there are few at a time: one that hangs in something that can't be
//! interrupted keeps its place until it is back, so that they never pile up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::web;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use utoipa::ToSchema;

use super::body::Json;
use super::doors::Who;
use super::{AppState, Problem, bounds};
use crate::clock;
use crate::domain::config::{AudioMode, Transport};
use crate::domain::source_url::SourceUrl;
use crate::domain::stream::{AudioCodec, Track};
use crate::media::packet::Session;
use crate::media::source::{self, Cancel, OpenOptions, SourceError, SourceErrorKind};
use crate::media::{Packet, jpeg};

const AT_A_TIME: usize = 2;
/// So many in a minute: nobody looks through a network with them.
const A_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// For a keyframe: some cameras send one every ten seconds.
const KEYFRAME_TIMEOUT: Duration = Duration::from_secs(12);
/// So much video tells how many pictures a second come.
const ENOUGH_US: i64 = 1_000_000;
/// After this nobody waits any more, and the thread is left behind.
const DEADLINE: Duration = Duration::from_secs(22);
/// Of the picture.
const WIDTH: u32 = 960;

/// A camera to look at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// `rtsp://`, `rtsps://`, `http://` or `https://`.
    source: String,
    /// As the camera knows it.
    #[serde(default)]
    username: Option<String>,
    /// As the camera knows it; never shown again.
    #[serde(default)]
    password: Option<String>,
    /// `tcp` without it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    transport: Option<Transport>,
}

/// What a camera sends.
#[derive(Serialize, ToSchema)]
pub struct Probed {
    codec: &'static str,
    width: u32,
    height: u32,
    /// Pictures a second, as they came.
    fps: Option<f64>,
    /// What of its sound would be recorded; null: none.
    audio: Option<&'static str>,
    /// A keyframe as a JPEG, in base64.
    picture: String,
}

/// Bounds on probes.
pub struct Probes {
    places: Arc<Semaphore>,
    /// Since when it is counted, and how many there were.
    recent: Mutex<(Instant, u32)>,
}

impl Default for Probes {
    fn default() -> Self {
        Probes { places: Arc::new(Semaphore::new(AT_A_TIME)), recent: Mutex::new((clock::monotonic(), 0)) }
    }
}

impl Probes {
    /// A place among those that look now.
    fn begin(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let too_many = |why: String, seconds| Problem::new(StatusCode::TOO_MANY_REQUESTS, why).retry_after(seconds);
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| too_many(format!("{AT_A_TIME} cameras are being looked at now (wait for one of them)"), 5))?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let since = clock::monotonic().duration_since(recent.0);
        if since >= MINUTE {
            *recent = (clock::monotonic(), 0);
        }
        if recent.1 >= A_MINUTE {
            let wait_s = (MINUTE - since).as_secs() + 1;
            return Err(too_many(format!("too many cameras were looked at (wait {wait_s} s)"), wait_s));
        }
        recent.1 += 1;
        Ok(place)
    }
}

/// Looks at a camera without adding it.
#[utoipa::path(post, path = "/api/cameras/probe", tag = "cameras", request_body = ProbeRequest, responses(
    (status = 200, description = "what it sends, and a picture", body = Probed),
    (status = 400, description = "no camera's address"),
    (status = 422, description = "it can't be reached, it refuses, or it sends no video: what, and what to do"),
    (status = 429, description = "too many at a time"),
))]
pub async fn probe(
    state: web::Data<AppState>,
    who: Who,
    Json(request): Json<ProbeRequest>,
) -> Result<web::Json<Probed>, Problem> {
    let options = options(request)?;
    let place = state.probes.begin()?;
    tracing::info!(source = %options.url, who = who.name(), "a camera is looked at over HTTP");
    let cancel = Cancel::new();
    let (answer, answered) = oneshot::channel();
    let own_cancel = cancel.clone();
    let work = move || {
        let found = look(&options, &own_cancel);
        let _ = answer.send(found);
        drop(place);
    };
    let started = std::thread::Builder::new().name("probe".into()).spawn(work);
    started.map_err(|error| Problem::internal(format!("cannot start a thread: {error}")))?;
    // Whoever goes away stops it.
    let _cancelled = CancelOnDrop(cancel);
    match tokio::time::timeout(DEADLINE, answered).await {
        Ok(Ok(found)) => found.map(web::Json),
        Ok(Err(_)) => Err(Problem::internal("the look at the camera crashed")),
        Err(_) => {
            state.registry.thread_abandoned();
            Err(unusable("it did not answer in time (is the address right? does it answer a ping?)"))
        }
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn unusable(what: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what)
}

fn options(request: ProbeRequest) -> Result<OpenOptions, Problem> {
    let ProbeRequest { source, username, password, transport } = request;
    let bad = |what: &str| Problem::new(StatusCode::BAD_REQUEST, format!("`source`: {what}"));
    bounds::check_source(&source).map_err(bad)?;
    // Nothing of the text is quoted: it may hold a password.
    let host = url::Url::parse(&source).ok().and_then(|url| url.host_str().map(str::to_owned));
    if host.is_none_or(|host| host.is_empty()) {
        return Err(bad(
            "no possible address (write rtsp://HOST:PORT/PATH; user and password have fields of their own)",
        ));
    }
    let url = SourceUrl::new(source);
    let url = match username.filter(|name| !name.is_empty()) {
        Some(name) => url.with_credentials(&name, password.as_deref()),
        None => url,
    };
    Ok(OpenOptions {
        url,
        transport: transport.unwrap_or(Transport::Tcp),
        connect_timeout: CONNECT_TIMEOUT,
        read_timeout: READ_TIMEOUT,
        keyframe_timeout: KEYFRAME_TIMEOUT,
        repeat: false,
        real_time: true,
        at_most: None,
        audio: AudioMode::Auto,
    })
}

/// Reads until there is a picture and enough to count.
fn look(options: &OpenOptions, cancel: &Cancel) -> Result<Probed, Problem> {
    let refused = |error: SourceError| unusable(&format!("{error}{}", advice(&error)));
    let mut source = source::open(options, Arc::new(Session::new(0)), cancel).map_err(refused)?;
    let mut keyframe: Option<Arc<Packet>> = None;
    let mut span: Option<(i64, i64)> = None;
    let mut pictures = 0u32;
    let is_enough = |span: Option<(i64, i64)>| span.is_some_and(|(first, last)| last - first >= ENOUGH_US);
    while keyframe.is_none() || !is_enough(span) {
        let packet = match source.next() {
            Ok(Some(packet)) => Arc::new(packet),
            // It ended, or fell silent: what came says enough.
            Ok(None) => break,
            Err(_) if keyframe.is_some() => break,
            Err(error) => return Err(refused(error)),
        };
        if packet.track != Track::Video {
            continue;
        }
        pictures += 1;
        let at = packet.dts_us();
        span = Some(span.map_or((at, at), |(first, _)| (first, at)));
        if packet.keyframe && keyframe.is_none() {
            keyframe = Some(packet);
        }
    }
    let Some(keyframe) = keyframe else { return Err(unusable("it sent no picture (is this its video's address?)")) };
    let picture = jpeg::snapshot(&keyframe, Some(WIDTH))
        .map_err(|error| unusable(&format!("its picture can't be shown: {error}")))?;
    let stream = &keyframe.stream;
    let fps = span.map(|(first, last)| last - first).filter(|&us| us > 0);
    Ok(Probed {
        codec: stream.video.codec.name(),
        width: stream.video.width,
        height: stream.video.height,
        fps: fps.map(|us| (f64::from(pictures - 1) * 1e7 / us as f64).round() / 10.0),
        audio: stream.audio.as_ref().map(|audio| match audio.codec {
            AudioCodec::Aac => "aac",
            // What G.711 is recorded as.
            AudioCodec::Flac => "flac",
        }),
        picture: STANDARD.encode(picture),
    })
}

/// What to do, where the error alone does not say.
fn advice(error: &SourceError) -> &'static str {
    if error.message.contains('(') {
        return "";
    }
    match error.kind {
        SourceErrorKind::Unreachable => " (are address and port right, and is the camera on?)",
        SourceErrorKind::Unauthorized => " (check user and password)",
        SourceErrorKind::NotFound => " (the camera's manual has the path of its stream)",
        SourceErrorKind::NoVideo => " (is this its video's address?)",
        SourceErrorKind::Timeout => " (try again, or another transport)",
        SourceErrorKind::Unsupported | SourceErrorKind::Cancelled | SourceErrorKind::Broken => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_at_a_time_and_a_minute() {
        let probes = Probes::default();
        let places: Vec<_> = (0..AT_A_TIME).map(|_| probes.begin().unwrap()).collect();
        assert_eq!(probes.begin().unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        drop(places);
        for _ in AT_A_TIME as u32..A_MINUTE {
            drop(probes.begin().unwrap());
        }
        assert!(probes.begin().unwrap_err().to_string().contains("too many"));
        probes.recent.lock().unwrap().0 -= MINUTE;
        assert!(probes.begin().is_ok(), "and then again");
    }

    #[test]
    fn only_cameras_and_no_password_is_quoted() {
        for source in
            ["/etc/passwd", "0", "file:///etc/passwd", "rtsp://u:canary@:x/", "rtsp:", "http://169.254.169.254/latest"]
        {
            let request = ProbeRequest { source: source.into(), username: None, password: None, transport: None };
            let problem = options(request).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{source}");
            assert!(!problem.to_string().contains("canary"), "{problem}");
        }
        let request = ProbeRequest {
            source: "rtsp://192.0.2.1/live".into(),
            username: Some("v".into()),
            password: Some("canary${HOME}".into()),
            transport: None,
        };
        let options = options(request).unwrap();
        assert_eq!(options.url.to_string(), "rtsp://***@192.0.2.1/live");
        assert!(options.url.expose().contains("canary$%7BHOME%7D"), "nothing is filled in");
    }
}
