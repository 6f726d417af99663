//! What the outside may know of and ask from the running cameras, without waiting on an actor.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use tokio::sync::{broadcast, watch};

use crate::config::Loaded;
use crate::domain::camera::{CameraState, CameraStatus, Counters, Event};
use crate::domain::config::DetectConfig;
use crate::domain::tamper::Tampering;
use crate::media::PacketRing;
use crate::media::glimpse::Glimpse;

/// All cameras that have a file in `config.d/`, by name, and the facts they tell.
pub struct Registry {
    cameras: RwLock<BTreeMap<String, Arc<CameraEntry>>>,
    /// Threads that did not keep their deadline and were left behind.
    abandoned_threads: AtomicU64,
    /// The cameras' folder was read once: what is not here has no file.
    is_complete: AtomicBool,
    /// What `tarsier.yaml` says; None before the Supervisor is there.
    configuration: RwLock<Option<Arc<Loaded>>>,
    look: RwLock<Option<LookSink>>,
    looks: watch::Sender<Looks>,
    events: broadcast::Sender<Event>,
    alarms: RwLock<BTreeMap<(String, Option<String>), Alarm>>,
}

/// Asks the Supervisor to look at the cameras' folder.
type LookSink = Box<dyn Fn() + Send + Sync>;

/// Looks at the cameras' folder, counted.
#[derive(Clone, Copy, Default)]
struct Looks {
    begun: u64,
    /// The newest that was acted on.
    done: u64,
}

/// Something that needs a person.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Alarm {
    pub kind: String,
    pub camera: Option<String>,
    /// What was done to the camera, of the kind `tamper`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Tampering>,
    pub since: DateTime<Utc>,
    pub message: String,
}

impl Alarm {
    fn event(self, active: bool) -> Event {
        let Alarm { kind, camera, cause, message, .. } = self;
        Event::Alarm { kind, camera, cause, message, active }
    }
}

/// One camera's published side.
pub struct CameraEntry {
    status: RwLock<CameraStatus>,
    pub counters: Arc<Counters>,
    /// The ring of the running session, for snapshots and viewers.
    ring: RwLock<Option<Arc<PacketRing>>>,
    /// What the running detector sees, for whoever wants to look.
    glimpses: RwLock<Option<Arc<Glimpses>>>,
    commands: RwLock<Option<CommandSink>>,
}

/// What a detector sees: it is copied while somebody listens only.
pub struct Glimpses {
    pub config: DetectConfig,
    pub newest: watch::Sender<Option<Arc<Glimpse>>>,
}

type CommandSink = Box<dyn Fn(CameraCommand) + Send + Sync>;

/// What a person or a rule may ask of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraCommand {
    /// An event by hand.
    Trigger,
    Restart,
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            cameras: RwLock::default(),
            abandoned_threads: AtomicU64::new(0),
            is_complete: AtomicBool::new(false),
            configuration: RwLock::default(),
            look: RwLock::default(),
            looks: watch::Sender::default(),
            events: broadcast::channel(1024).0,
            alarms: RwLock::default(),
        }
    }
}

impl Registry {
    /// The entry of `name`, made if it is new. Counters outlive restarts of the camera.
    pub fn entry(&self, name: &str) -> Arc<CameraEntry> {
        let mut cameras = self.cameras.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cameras.entry(name.to_owned()).or_insert_with(|| Arc::new(CameraEntry::new(name))))
    }

    pub fn get(&self, name: &str) -> Option<Arc<CameraEntry>> {
        self.cameras.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub fn remove(&self, name: &str) {
        self.cameras.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.alarms
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(_, camera), _| camera.as_deref() != Some(name));
        self.tell(Event::CameraRemoved { camera: name.to_owned() });
    }

    /// All entries in the order of their names.
    pub fn all(&self) -> Vec<Arc<CameraEntry>> {
        self.cameras.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The cameras' folder was read for the first time.
    pub fn completed(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Was the cameras' folder read yet?
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// What `tarsier.yaml` says now.
    pub fn configuration(&self) -> Option<Arc<Loaded>> {
        self.configuration.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_configuration(&self, loaded: Arc<Loaded>) {
        *self.configuration.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }

    /// Whom [`Registry::look_again`] asks.
    pub fn set_look(&self, sink: Option<LookSink>) {
        *self.look.write().unwrap_or_else(PoisonError::into_inner) = sink;
    }

    /// A look at the cameras' folder begins.
    pub fn look_begins(&self) {
        self.looks.send_modify(|looks| looks.begun += 1);
    }

    /// What the look found was acted on.
    pub fn look_is_done(&self) {
        self.looks.send_modify(|looks| looks.done = looks.begun);
    }

    /// Has the cameras' folder looked at now, without the wait for the system's hint, and waits until what a look found
    /// that began from now on was acted on. False: nobody looks.
    pub async fn look_again(&self) -> bool {
        let mut looks = self.looks.subscribe();
        let begun = looks.borrow_and_update().begun;
        match &*self.look.read().unwrap_or_else(PoisonError::into_inner) {
            Some(ask) => ask(),
            None => return false,
        }
        looks.wait_for(|looks| looks.done > begun).await.is_ok()
    }

    /// A thread past its deadline was left behind.
    pub fn thread_abandoned(&self) {
        self.abandoned_threads.fetch_add(1, Ordering::Relaxed);
    }

    /// Threads left behind since the start of the process.
    pub fn abandoned_threads(&self) -> u64 {
        self.abandoned_threads.load(Ordering::Relaxed)
    }

    /// Tells everyone who listens. Nobody listening is no fault.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Raises an alarm; one that is already up keeps its time and takes the new message. True if it says what it
    /// did not say before.
    pub fn raise_alarm(&self, kind: &str, camera: Option<&str>, now: DateTime<Utc>, message: String) -> bool {
        let (kind, camera) = (kind.to_owned(), camera.map(str::to_owned));
        self.raise(Alarm { kind, camera, cause: None, since: now, message })
    }

    /// As [`Registry::raise_alarm`], with a cause; another cause is told as another alarm.
    pub fn raise(&self, alarm: Alarm) -> bool {
        let key = (alarm.kind.clone(), alarm.camera.clone());
        let mut alarms = self.alarms.write().unwrap_or_else(PoisonError::into_inner);
        match alarms.get_mut(&key) {
            Some(there) if there.cause == alarm.cause => {
                let is_new = there.message != alarm.message;
                there.message = alarm.message;
                is_new
            }
            _ => {
                alarms.insert(key, alarm.clone());
                drop(alarms);
                self.tell(alarm.event(true));
                true
            }
        }
    }

    pub fn clear_alarm(&self, kind: &str, camera: Option<&str>) {
        let key = (kind.to_owned(), camera.map(str::to_owned));
        let removed = self.alarms.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        if let Some(alarm) = removed {
            self.tell(alarm.event(false));
        }
    }

    pub fn alarms(&self) -> Vec<Alarm> {
        self.alarms.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl CameraEntry {
    fn new(name: &str) -> Self {
        let never = DateTime::<Utc>::UNIX_EPOCH;
        CameraEntry {
            status: RwLock::new(CameraStatus {
                name: name.to_owned(),
                state: CameraState::Stopped,
                since: never,
                error: None,
                restarts: 0,
                reconnects: 0,
                fps: 0.0,
                bitrate: 0,
                resolution: None,
                codec: None,
                mime: None,
                motion: false,
                recording: false,
                tamper: None,
                started_at: None,
                generation: 0,
                config_error: None,
                expects_recording: false,
                recording_blocked: None,
            }),
            counters: Arc::default(),
            ring: RwLock::new(None),
            glimpses: RwLock::new(None),
            commands: RwLock::new(None),
        }
    }

    pub fn status(&self) -> CameraStatus {
        self.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the published status in place.
    pub fn update(&self, change: impl FnOnce(&mut CameraStatus)) {
        change(&mut self.status.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn ring(&self) -> Option<Arc<PacketRing>> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_ring(&self, ring: Option<Arc<PacketRing>>) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    pub fn glimpses(&self) -> Option<Arc<Glimpses>> {
        self.glimpses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_glimpses(&self, glimpses: Option<Arc<Glimpses>>) {
        *self.glimpses.write().unwrap_or_else(PoisonError::into_inner) = glimpses;
    }

    /// Takes `ring` away, unless it was replaced already.
    pub fn unset_ring(&self, ring: &Arc<PacketRing>) {
        let mut held = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, ring)) {
            *held = None;
            self.set_glimpses(None);
        }
    }

    /// Hands a command to the running camera. False where none runs (disabled, or its file is broken).
    pub fn command(&self, command: CameraCommand) -> bool {
        match &*self.commands.read().unwrap_or_else(PoisonError::into_inner) {
            Some(sink) => {
                sink(command);
                true
            }
            None => false,
        }
    }

    pub fn set_commands(&self, sink: Option<CommandSink>) {
        *self.commands.write().unwrap_or_else(PoisonError::into_inner) = sink;
    }
}
