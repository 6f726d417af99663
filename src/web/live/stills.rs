//! Keyframes as JPEGs: one decoder a camera, at work while somebody looks, its pictures shared by all who do.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use tokio::sync::{oneshot, watch};

use super::Place;
use super::socket::{AWAY, Close, Source};
use crate::actors::registry::CameraEntry;
use crate::domain::stream::VideoCodec;
use crate::media::{Packet, PacketRing, jpeg};
use crate::pool::Pool;

/// Stills are no wider, but for what a camera sent as JPEGs.
const MOST_WIDTH: u32 = 1280;
/// How often a quiet camera is looked at for a new ring.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The newest picture of one camera. Its work ends with the last who holds it.
pub struct Stills {
    entry: Arc<CameraEntry>,
    newest: watch::Receiver<Option<Bytes>>,
}

impl Stills {
    /// Must be called inside the running actix System.
    pub fn start(camera: &str, entry: Arc<CameraEntry>, pool: Pool) -> Self {
        let (sender, newest) = watch::channel(None);
        let maker = Maker { camera: camera.to_owned(), entry: Arc::clone(&entry), pool, sender };
        actix_web::rt::spawn(maker.run());
        Stills { entry, newest }
    }

    pub fn is_of(&self, entry: &Arc<CameraEntry>) -> bool {
        Arc::ptr_eq(&self.entry, entry)
    }

    pub fn newest(&self) -> watch::Receiver<Option<Bytes>> {
        self.newest.clone()
    }
}

/// A viewer of stills.
pub struct StillsViewer {
    newest: watch::Receiver<Option<Bytes>>,
    /// Held as long as somebody looks.
    _stills: Arc<Stills>,
    _place: Place,
}

impl StillsViewer {
    pub fn new(stills: Arc<Stills>, place: Place) -> Self {
        let mut newest = stills.newest();
        newest.mark_changed();
        StillsViewer { newest, _stills: stills, _place: place }
    }
}

impl Source for StillsViewer {
    fn next(&mut self) -> Result<Option<Bytes>, Close> {
        match self.newest.has_changed() {
            Ok(true) => Ok(self.newest.borrow_and_update().clone()),
            Ok(false) => Ok(None),
            Err(_) => Err(Close(AWAY, "the camera's stills have ended".to_owned())),
        }
    }

    async fn arrival(&mut self) {
        if self.newest.changed().await.is_ok() {
            self.newest.mark_changed();
        }
    }

    fn look_around(&mut self) -> Result<(), Close> {
        Ok(())
    }
}

struct Maker {
    camera: String,
    entry: Arc<CameraEntry>,
    pool: Pool,
    sender: watch::Sender<Option<Bytes>>,
}

impl Maker {
    async fn run(self) {
        tokio::select! {
            () = self.sender.closed() => {}
            () = self.make() => {}
        }
    }

    async fn make(&self) {
        loop {
            match self.entry.ring() {
                Some(ring) => self.follow(&ring).await,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Each newest keyframe, until the camera has another ring. Those that come while one is made are left out.
    async fn follow(&self, ring: &Arc<PacketRing>) {
        let mut arrivals = ring.arrivals();
        let mut done = None;
        while self.entry.ring().is_some_and(|now| Arc::ptr_eq(&now, ring)) {
            arrivals.mark_unchanged();
            let keyframe = ring.newest_keyframe().filter(|seq| Some(*seq) != done);
            let Some((seq, packet)) = keyframe.and_then(|seq| Some((seq, ring.get(seq)?))) else {
                let _ = tokio::time::timeout(LOOK_AGAIN, arrivals.changed()).await;
                continue;
            };
            done = Some(seq);
            match self.jpeg(packet).await {
                Ok(jpeg) => _ = self.sender.send_replace(Some(jpeg.into())),
                Err(error) => tracing::debug!(camera = self.camera, error, "a keyframe gives no still"),
            }
        }
    }

    async fn jpeg(&self, packet: Arc<Packet>) -> Result<Vec<u8>, String> {
        let (give, get) = oneshot::channel();
        let most_width = (packet.codec() != VideoCodec::Mjpeg).then_some(MOST_WIDTH);
        let work = move || jpeg::snapshot(&packet, most_width).map_err(|error| error.to_string());
        // Nobody waits for it any more where the last viewer has gone.
        self.pool.submit(work, move |made| _ = give.send(made.unwrap_or_else(Err)));
        get.await.unwrap_or_else(|_| Err("the threads that decode have ended".to_owned()))
    }
}
