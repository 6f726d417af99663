//! Live pictures: the camera's own video as fragmented MP4 over a WebSocket, and JPEGs for whoever can't decode it.
//!
//! Viewers read the ring that the recorder reads; nothing waits for them. What is made of a packet or of a keyframe is
//! made once for all viewers of a camera, and only while there are any. Belongs here: who looks at what, and how it
//! goes out. Does not belong here: the bytes of MP4 (`archive::mp4::live`), pictures as JPEGs (`media::jpeg`).

mod feed;
mod panes;
mod socket;
mod stills;

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use actix_web::dev::Extensions;
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::feed::{Feed, Viewer};
use self::panes::Inspection;
use self::socket::{AWAY, Close, Source, UNSUPPORTED};
use self::stills::{Stills, StillsViewer};
use super::doors::Who;
use super::{AppState, Problem, multipart};
use crate::actors::registry::CameraEntry;
use crate::media::PacketRing;
use crate::pool::Pool;

/// Viewers of all cameras together; each is a connection, and some are left for everything else.
pub(super) const MOST_VIEWERS: usize = 400;
/// Of those, who watch what detectors see: each camera's panes cost a drawing five times a second.
const MOST_INSPECTING: usize = 16;
/// What the kernel may hold of a viewer's pictures unsent, in bytes: whoever is slower is found out, and goes on with
/// newer ones, before seconds of old pictures lie in there.
const MOST_UNSENT: u32 = 128 << 10;

/// What is shared by those who look.
pub struct Lives {
    pool: Pool,
    places: Arc<Semaphore>,
    feeds: Mutex<HashMap<String, Weak<Feed>>>,
    stills: Mutex<HashMap<String, Weak<Stills>>>,
    /// Of those who watch detectors.
    inspecting: Arc<Semaphore>,
    inspections: Mutex<HashMap<String, Weak<Inspection>>>,
}

impl Lives {
    pub fn new(pool: Pool) -> Self {
        let places = Arc::new(Semaphore::new(MOST_VIEWERS));
        let inspecting = Arc::new(Semaphore::new(MOST_INSPECTING));
        let (feeds, stills, inspections) = Default::default();
        Lives { pool, places, feeds, stills, inspecting, inspections }
    }

    /// What all viewers of this ring share.
    fn feed(&self, camera: &str, ring: &Arc<PacketRing>) -> Arc<Feed> {
        shared(&self.feeds, camera, |feed| feed.is_of(ring), || Feed::new(Arc::clone(ring)))
    }

    fn stills(&self, camera: &str, entry: &Arc<CameraEntry>) -> Arc<Stills> {
        let start = || Stills::start(camera, Arc::clone(entry), self.pool.clone());
        shared(&self.stills, camera, |stills| stills.is_of(entry), start)
    }

    fn inspection(&self, camera: &str, entry: &Arc<CameraEntry>) -> Arc<Inspection> {
        let start = || Inspection::start(camera, Arc::clone(entry), self.pool.clone());
        shared(&self.inspections, camera, |inspection| inspection.is_of(entry), start)
    }

    fn place(&self, entry: Arc<CameraEntry>) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::unavailable("too many look at live pictures already (close some)"))?;
        entry.counters.viewers.fetch_add(1, Ordering::Relaxed);
        Ok(Place { entry, _permit: permit })
    }
}

/// The one that is there and fits, or a new one. Those that nobody holds any more are forgotten.
fn shared<T>(
    all: &Mutex<HashMap<String, Weak<T>>>,
    camera: &str,
    fits: impl Fn(&T) -> bool,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = all.get(camera).and_then(Weak::upgrade).filter(|there| fits(there)) {
        return there;
    }
    all.retain(|_, held| held.strong_count() > 0);
    let new = Arc::new(make());
    all.insert(camera.to_owned(), Arc::downgrade(&new));
    new
}

/// One viewer's place; it is counted as long as it is held.
struct Place {
    entry: Arc<CameraEntry>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entry.counters.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// For the server: sets what a new connection may hold unsent.
pub fn keep_little_unsent(connection: &dyn Any, _: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
        // A kernel without the option only holds more.
        let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(MOST_UNSENT);
    }
}

/// Live video: a WebSocket that sends fragmented MP4 without being asked, from the newest keyframe on. Each message
/// is binary; the first is `ftyp` and `moov`, and so is one behind which another stream begins (after a reconnect, or
/// with another size or codec). Whoever is too slow goes on at the next keyframe. `mime` of the camera says what comes.
#[utoipa::path(get, path = "/api/cameras/{name}/live", tag = "live", responses(
    (status = 101, description = "binary messages: `ftyp` and `moov`, then fragments"),
    (status = 404, description = "no such camera"),
    (status = 409, description = "the camera sends what no browser plays as MP4; `live.mjpeg` is there"),
    (status = 426, description = "not asked for as a WebSocket"),
    (status = 503, description = "the camera does not run, or too many look already"),
))]
pub async fn video(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    body: web::Payload,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let entry = state.camera(&who, &name)?;
    let ring = ring(&entry, &name)?;
    if !wants_socket(&request) {
        let detail = "live video goes over a WebSocket (`live.mjpeg` does not)";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, detail));
    }
    if ring.newest().is_some_and(|newest| newest.stream.mime().is_none()) {
        let codec = entry.status().codec.unwrap_or_else(|| "this stream".to_owned());
        return Err(Problem::conflict(format!("no browser plays {codec} as MP4 (ask for live.mjpeg)")));
    }
    let place = state.live.place(Arc::clone(&entry))?;
    let camera = name.into_inner();
    let viewer = Viewer::new(state.live.feed(&camera, &ring), entry);
    socket::answer(&request, body, &state, who, VideoSource { camera, viewer, state: state.clone(), _place: place })
}

/// A viewer of video, and where it finds its camera again.
struct VideoSource {
    camera: String,
    viewer: Viewer,
    state: web::Data<AppState>,
    _place: Place,
}

impl Source for VideoSource {
    fn next(&mut self) -> Result<Option<Bytes>, Close> {
        self.viewer.next().map_err(|error| Close(UNSUPPORTED, error.to_string()))
    }

    async fn arrival(&mut self) {
        self.viewer.arrival().await;
    }

    fn look_around(&mut self) -> Result<(), Close> {
        let now = self.state.registry.get(&self.camera);
        let Some(entry) = now.filter(|entry| Arc::ptr_eq(entry, self.viewer.entry())) else {
            return Err(Close(AWAY, format!("camera {} was removed", self.camera)));
        };
        if let Some(ring) = entry.ring() {
            self.viewer.be_in(&ring, || self.state.live.feed(&self.camera, &ring));
        }
        Ok(())
    }
}

/// Live stills: each keyframe of the camera as a JPEG, no wider than 1280 pixels, and all pictures of a camera that
/// sends JPEGs, as they are. Multipart, as `<img>` takes it; asked for as a WebSocket, each message is a JPEG.
#[utoipa::path(get, path = "/api/cameras/{name}/live.mjpeg", tag = "live", responses(
    (status = 101, description = "binary messages: JPEGs"),
    (status = 200, description = "JPEGs without an end", content_type = "multipart/x-mixed-replace", body = Vec<u8>),
    (status = 404, description = "no such camera"),
    (status = 503, description = "the camera does not run, or too many look already"),
))]
pub async fn stills(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    body: web::Payload,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let entry = state.camera(&who, &name)?;
    ring(&entry, &name)?;
    let place = state.live.place(Arc::clone(&entry))?;
    if *request.method() == Method::HEAD {
        return Ok(multipart::answer(futures_util::stream::empty()));
    }
    let stills = state.live.stills(&name, &entry);
    if wants_socket(&request) {
        return socket::answer(&request, body, &state, who, StillsViewer::new(stills, place));
    }
    Ok(endless(&state, who, stills.newest(), (stills, place)))
}

/// What the detector sees, live: four panes (the picture, what is compared, what differs, and where something moves,
/// with boxes, zones and masks) and a strip with its state and the cause of its decision. At most five pictures a second,
/// drawn while somebody looks.
#[utoipa::path(get, path = "/api/cameras/{name}/inspect.mjpeg", tag = "live", responses(
    (status = 200, description = "JPEGs without an end", content_type = "multipart/x-mixed-replace", body = Vec<u8>),
    (status = 404, description = "no such camera"),
    (status = 409, description = "the camera detects nothing"),
    (status = 503, description = "the camera does not run, or too many look already"),
))]
pub async fn panes(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let entry = state.camera(&who, &name)?;
    ring(&entry, &name)?;
    if entry.glimpses().is_none() {
        return Err(Problem::conflict(format!("camera {name} detects nothing (set detect.enabled: true)")));
    }
    let busy = || Problem::unavailable("too many watch what detectors see already (close some)");
    let permit = Arc::clone(&state.live.inspecting).try_acquire_owned().map_err(|_| busy())?;
    let place = state.live.place(Arc::clone(&entry))?;
    if *request.method() == Method::HEAD {
        return Ok(multipart::answer(futures_util::stream::empty()));
    }
    let inspection = state.live.inspection(&name, &entry);
    Ok(endless(&state, who, inspection.newest(), (inspection, place, permit)))
}

/// JPEGs until the server stops or `who` may look no longer; `held` is kept as long as somebody looks.
fn endless<T: 'static>(state: &AppState, who: Who, newest: watch::Receiver<Option<Bytes>>, held: T) -> HttpResponse {
    let mut stopping = state.stopping.clone();
    let parts = multipart::parts(newest).map(move |part| {
        let _ = &held;
        part
    });
    let end = state.doors.end_of(who);
    multipart::answer(parts.take_until(Box::pin(async move {
        tokio::select! { _ = stopping.wait_for(|stopping| *stopping) => {}, () = end => {} }
    })))
}

fn ring(entry: &CameraEntry, name: &str) -> Result<Arc<PacketRing>, Problem> {
    let none = || Problem::unavailable(format!("camera {name} does not run (its state says why)"));
    entry.ring().ok_or_else(none)
}

fn wants_socket(request: &HttpRequest) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
