//! What the detector sees, as one drawing: made while somebody watches, once for all who do, away from the detector.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use tokio::sync::{oneshot, watch};

use crate::actors::registry::{CameraEntry, Glimpses};
use crate::media::glimpse::Glimpse;
use crate::media::jpeg;
use crate::media::panes::Panes;
use crate::pool::Pool;

/// How often a camera that does not run is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The newest drawing of one camera. Its work ends with the last who holds it.
pub struct Inspection {
    entry: Arc<CameraEntry>,
    newest: watch::Receiver<Option<Bytes>>,
}

impl Inspection {
    /// Must be called inside the running actix System.
    pub fn start(camera: &str, entry: Arc<CameraEntry>, pool: Pool) -> Self {
        let (sender, newest) = watch::channel(None);
        let maker = Maker { camera: camera.to_owned(), entry: Arc::clone(&entry), pool, sender };
        actix_web::rt::spawn(async move {
            tokio::select! {
                () = maker.sender.closed() => {}
                () = maker.make() => {}
            }
        });
        Inspection { entry, newest }
    }

    pub fn is_of(&self, entry: &Arc<CameraEntry>) -> bool {
        Arc::ptr_eq(&self.entry, entry)
    }

    pub fn newest(&self) -> watch::Receiver<Option<Bytes>> {
        self.newest.clone()
    }
}

struct Maker {
    camera: String,
    entry: Arc<CameraEntry>,
    pool: Pool,
    sender: watch::Sender<Option<Bytes>>,
}

/// The panes of a stream, with the size and the turns that they were begun for.
type Begun = ((u32, u32), u8, Panes);

impl Maker {
    async fn make(&self) {
        loop {
            match self.entry.glimpses() {
                Some(glimpses) => self.follow(&glimpses).await,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Each newest glimpse, until the camera has another detector. Those that come while one is drawn are left out.
    async fn follow(&self, glimpses: &Arc<Glimpses>) {
        let mut newest = glimpses.newest.subscribe();
        newest.mark_changed();
        let mut begun = None;
        while self.entry.glimpses().is_some_and(|now| Arc::ptr_eq(&now, glimpses)) {
            if !matches!(tokio::time::timeout(LOOK_AGAIN, newest.changed()).await, Ok(Ok(()))) {
                continue;
            }
            let Some(glimpse) = newest.borrow_and_update().clone() else { continue };
            match self.draw(glimpse, glimpses, begun.take()).await {
                Ok((panes, jpeg)) => {
                    begun = Some(panes);
                    self.sender.send_replace(Some(jpeg.into()));
                }
                Err(error) => tracing::debug!(camera = self.camera, error, "what the detector sees can't be drawn"),
            }
        }
    }

    async fn draw(
        &self,
        glimpse: Arc<Glimpse>,
        glimpses: &Arc<Glimpses>,
        begun: Option<Begun>,
    ) -> Result<(Begun, Vec<u8>), String> {
        let (give, get) = oneshot::channel();
        let glimpses = Arc::clone(glimpses);
        let work = move || {
            let (size, turns) = (glimpse.size, glimpse.quarter_turns);
            let mut panes = match begun {
                Some((begun_size, begun_turns, panes)) if (begun_size, begun_turns) == (size, turns) => panes,
                _ => Panes::new(size.0, size.1, turns, &glimpses.config).map_err(|error| error.to_string())?,
            };
            let drawing = glimpse.draw(&mut panes).map_err(|error| error.to_string())?;
            let jpeg = jpeg::of_drawing(drawing).map_err(|error| error.to_string())?;
            Ok(((size, turns, panes), jpeg))
        };
        self.pool.submit(work, move |made| _ = give.send(made.unwrap_or_else(Err)));
        get.await.unwrap_or_else(|_| Err("the threads that draw have ended".to_owned()))
    }
}
