//! Asks models what the best pictures of events show, one picture at a time for all cameras, and writes down what they
//! say. A thread of its own waits for them, and a process of its own runs them: who detects and records waits for
//! neither.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::registry::{CameraEntry, Registry};
use crate::archive::index::Index;
use crate::clock;
use crate::domain::backoff::Backoff;
use crate::domain::camera::{Counters, Event};
use crate::domain::config::ConfirmConfig;
use crate::domain::found::{Found, classes_of, merge};
use crate::domain::picks::MOST_PICKS;
use crate::media::confirm::{ConfirmError, Helper, LONGEST_SIDE, LOOK_WITHIN};
use crate::media::picture::{KeptPicture, ToBgr};
use crate::pool::panic_text;

/// Pictures that wait. Each is as large as the decoder made it.
const MOST_WAITING: usize = 16;
/// Of one camera: as many as one event has.
const MOST_OF_A_CAMERA: usize = MOST_PICKS;
/// A model that nobody has asked for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(60);
/// Events of which it is remembered what was found: their pictures come one by one.
const REMEMBERED: usize = 256;
/// The kind of alarm that is raised while a camera's model fails.
const ALARM: &str = "confirm";

/// Nobody asks this camera's model any more.
pub fn clear_alarms(registry: &Registry, camera: &str) {
    registry.clear_alarm(ALARM, Some(camera));
}

/// A picture of an event, and what to ask of it.
pub struct Request {
    pub camera: String,
    pub entry: Arc<CameraEntry>,
    pub config: ConfirmConfig,
    /// The event's id, and when it began.
    pub event: i64,
    pub start: DateTime<Utc>,
    pub picture: KeptPicture,
    /// The life of the camera that asks.
    pub generation: u64,
}

impl Request {
    fn counters(&self) -> &Counters {
        &self.entry.counters
    }

    fn is_dropped(&self) {
        self.counters().pictures_unconfirmed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes pictures, and has them looked at. The thread ends when this is dropped.
pub struct Confirmer {
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    is_over: bool,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next picture; None: there was none for a while, or this is the end.
    fn next(&self) -> (Option<Request>, bool) {
        let is_idle = |queue: &mut Queue| queue.requests.is_empty() && !queue.is_over;
        let waited = self.changed.wait_timeout_while(self.lock(), IDLE, is_idle);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        (queue.requests.pop_front(), queue.is_over)
    }
}

impl Confirmer {
    /// Starts the thread. What is found goes into the index and to whoever listens.
    pub fn start(index: Index, registry: Arc<Registry>) -> io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let worker = Worker {
            waiting: Arc::clone(&waiting),
            index,
            registry,
            helper: None,
            to_bgr: ToBgr::default(),
            found: BTreeMap::new(),
            failing: HashMap::new(),
        };
        thread::Builder::new().name("confirm".into()).spawn(move || worker.run())?;
        Ok(Confirmer { waiting })
    }

    /// Never waits: where too many pictures wait already, this one is left out, which is counted and said.
    pub fn ask(&self, request: Request) {
        let mut queue = self.waiting.lock();
        let of_camera = queue.requests.iter().filter(|waiting| waiting.camera == request.camera).count();
        if queue.is_over {
            return;
        }
        if queue.requests.len() >= MOST_WAITING || of_camera >= MOST_OF_A_CAMERA {
            drop(queue);
            request.is_dropped();
            let (camera, event) = (&request.camera, request.event);
            tracing::warn!(camera, event, "a picture of an event is not looked at: the model is behind");
            return;
        }
        queue.requests.push_back(request);
        drop(queue);
        self.waiting.changed.notify_all();
    }

    /// Nothing is asked or written down any more. Does not wait for a model that is at work.
    pub fn stop(&self) {
        let mut queue = self.waiting.lock();
        queue.requests.clear();
        queue.is_over = true;
        drop(queue);
        self.waiting.changed.notify_all();
    }
}

impl Drop for Confirmer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own.
struct Worker {
    waiting: Arc<Waiting>,
    index: Index,
    registry: Arc<Registry>,
    /// The process that runs the models; None: nobody has asked for a while.
    helper: Option<Helper>,
    to_bgr: ToBgr,
    /// What was found in an event's pictures so far, by its id.
    found: BTreeMap<i64, Vec<Found>>,
    /// Cameras whose model failed, and when it is asked again.
    failing: HashMap<String, (Backoff, Instant)>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let (request, is_over) = self.waiting.next();
            if is_over {
                return;
            }
            match request {
                Some(request) => self.take(&request),
                None => self.helper = None,
            }
        }
    }

    fn take(&mut self, request: &Request) {
        let camera = request.camera.as_str();
        let now = clock::monotonic();
        if self.failing.get(camera).is_some_and(|(_, until)| now < *until) {
            return request.is_dropped();
        }
        // A panic here must not end the only thread that asks.
        let looked = catch_unwind(AssertUnwindSafe(|| self.look(request)))
            .unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
        match looked {
            Ok(found) => {
                request.counters().pictures_confirmed.fetch_add(1, Ordering::Relaxed);
                if self.failing.remove(camera).is_some() {
                    tracing::info!(camera, "the model that looks at events works again");
                }
                self.registry.clear_alarm(ALARM, Some(camera));
                self.write_down(request, &found);
            }
            Err(cause) => {
                request.is_dropped();
                let (backoff, until) = self.failing.entry(camera.to_owned()).or_insert((Backoff::default(), now));
                let wait = backoff.failed(Duration::ZERO, fastrand::f64());
                *until = clock::monotonic() + wait;
                let message = format!("the model of `detect.confirm` does not look at events: {cause}");
                tracing::warn!(camera, event = request.event, wait_s = wait.as_secs_f64(), "{message}");
                // Another life of the camera may have another model.
                if request.entry.status().generation == request.generation {
                    self.registry.raise_alarm(ALARM, Some(camera), clock::utc_now(), message);
                }
            }
        }
    }

    fn look(&mut self, request: &Request) -> Result<Vec<Found>, String> {
        let (width, height) = bounded(request.picture.size());
        let picture = self.to_bgr.run(request.picture.picture(), width, height).map_err(|error| error.to_string())?;
        loop {
            let (helper, is_new) = match self.helper.take() {
                Some(helper) => (self.helper.insert(helper), false),
                None => (self.helper.insert(Helper::start().map_err(|error| error.to_string())?), true),
            };
            match helper.look(picture, &request.config, LOOK_WITHIN) {
                Err(error @ (ConfirmError::Crashed(_) | ConfirmError::TooSlow(_))) => {
                    self.helper = None;
                    // One that was ended while it had nothing to do, by who needed its memory, says nothing of the model.
                    if is_new || matches!(error, ConfirmError::TooSlow(_)) {
                        return Err(error.to_string());
                    }
                }
                looked => return looked.map_err(|error| error.to_string()),
            }
        }
    }

    /// Adds what a picture holds to what its event's others do.
    fn write_down(&mut self, request: &Request, picture: &[Found]) {
        let Request { camera, event, start, .. } = request;
        let is_first = !self.found.contains_key(event);
        let known = self.found.entry(*event).or_default();
        if !merge(known, picture) && !is_first {
            return;
        }
        let found = known.clone();
        while self.found.len() > REMEMBERED {
            self.found.pop_first();
        }
        tracing::info!(camera, event, found = classes_of(&found).join(","), "a model looked at an event");
        // The index that was closed in order stays so.
        let queue = self.waiting.lock();
        if queue.is_over {
            return;
        }
        self.index.confirm_event(*event, found.clone());
        drop(queue);
        self.registry.tell(Event::Found { camera: camera.clone(), id: *event, start: *start, found });
    }
}

/// The size in which a picture is handed over: its own, or smaller.
fn bounded((width, height): (u32, u32)) -> (u32, u32) {
    let longest = width.max(height).max(1);
    let side = |side: u32| match longest {
        ..=LONGEST_SIDE => side.max(1),
        _ => ((u64::from(side) * u64::from(LONGEST_SIDE) / u64::from(longest)) as u32).max(1),
    };
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_made_smaller_and_keep_their_shape() {
        assert_eq!(bounded((640, 360)), (640, 360));
        assert_eq!(bounded((3840, 2160)), (1280, 720));
        assert_eq!(bounded((1080, 1920)), (720, 1280));
        assert_eq!(bounded((9000, 1)), (1280, 1));
        assert_eq!(bounded((0, 0)), (1, 1));
    }
}
