//! The Supervisor: compares what `config.d/` says with what runs, and starts, stops and restarts CameraActors.
//!
//! Good news (a new or changed configuration) is acted on at once. Bad news (a file that is gone or broken) is
//! believed when a second look agrees a moment later, because an editor's save may show either for that long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, Arbiter, AsyncContext, Context, Handler, Message};

use super::camera::{CameraActor, Parent};
use super::guard::caught;
use super::janitor::Retention;
use super::messages::{CameraStopped, PartFailed, RetryNow, StopCamera, TriggerByHand};
use super::registry::CameraCommand;
use super::shared::Shared;
use super::watch::Watch;
use crate::archive::Archive;
use crate::clock;
use crate::config::{self, Loaded, Models, Problem, Scan};
use crate::domain::backoff::Backoff;
use crate::domain::camera::{CameraState, Event, GapCause};
use crate::domain::config::{CameraConfig, GlobalConfig, RecordMode};
use crate::domain::missing::{OpenGap, known_to};
use crate::domain::recording::Gap;

const TICK: Duration = Duration::from_millis(250);
/// How often the folder is read without any hint.
const POLL: Duration = Duration::from_secs(10);
/// When bad news is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(400);
/// A camera that does not report its end is left behind.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// The process ends after this, whatever still stalls.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(4500);

/// Read the folder.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Look;

/// Re-read everything, retry everything, reopen the log.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Reload;

/// Finish all recordings and end the process.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Shutdown;

/// Restart one camera, from a person.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct RestartCamera(pub String);

#[derive(Message)]
#[rtype(result = "()")]
struct Scanned {
    scan: Scan,
    loaded: Arc<Loaded>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct GlobalRead(Result<Loaded, Vec<Problem>>);

/// What the Supervisor tells the process it runs in.
pub trait Host: Send {
    /// The first scan is done: cameras are starting.
    fn ready(&self);
    /// All is well with supervision; called on every tick.
    fn alive(&self);
    /// A reload begins; the log is to be reopened.
    fn reloading(&self);
    /// `tarsier.yaml` was read again.
    fn reloaded(&self, global: &GlobalConfig);
    fn stopping(&self);
    /// All cameras have ended, or are left behind.
    fn stopped(&self);
}

/// The Supervisor.
pub struct Supervisor {
    config_path: PathBuf,
    loaded: Arc<Loaded>,
    /// What holds for what can't be changed while the process runs.
    started_with: GlobalConfig,
    watch: Watch,
    shared: Arc<Shared>,
    retention: Arc<Retention>,
    host: Box<dyn Host>,
    arbiters: Vec<Arbiter>,
    cameras: BTreeMap<String, Camera>,
    scanning: Scanning,
    next_generation: u64,
    last_scan: Option<Instant>,
    second_look_at: Option<Instant>,
    /// Problems that are reported already.
    reported: BTreeSet<String>,
    shutdown_since: Option<Instant>,
    ready: bool,
    backoff: Backoff,
    began: Instant,
}

#[derive(PartialEq)]
enum Scanning {
    Idle,
    UnderWay,
    /// Another hint came meanwhile.
    Again,
}

/// One camera's file, and what runs for it.
struct Camera {
    config: Option<Arc<CameraConfig>>,
    run: Run,
    backoff: Backoff,
    /// The bad news of the last scan, and since when it has been the same.
    doubt: Option<(Doubt, Instant)>,
    open_gap: Option<OpenGap>,
    /// Why its last CameraActor crashed, for the next to tell.
    crash: Option<String>,
}

#[derive(Clone, PartialEq)]
enum Doubt {
    Gone,
    Broken(String),
}

enum Run {
    Idle,
    Running {
        address: Addr<CameraActor>,
        generation: u64,
        began: Instant,
    },
    Stopping {
        generation: u64,
        since: Instant,
        cause: GapCause,
    },
    /// Crashed.
    Waiting {
        until: Instant,
    },
}

impl Supervisor {
    /// Starts it on the arbiter of the caller; cameras run on `arbiters`.
    pub fn start_with(
        config_path: PathBuf,
        loaded: Loaded,
        shared: Arc<Shared>,
        retention: Arc<Retention>,
        host: Box<dyn Host>,
        arbiters: Vec<Arbiter>,
    ) -> Addr<Self> {
        Supervisor {
            config_path,
            started_with: loaded.global.clone(),
            watch: Watch::default(),
            loaded: Arc::new(loaded),
            shared,
            retention,
            host,
            arbiters,
            cameras: BTreeMap::new(),
            scanning: Scanning::Idle,
            next_generation: 1,
            last_scan: None,
            second_look_at: None,
            reported: BTreeSet::new(),
            shutdown_since: None,
            ready: false,
            backoff: Backoff::default(),
            began: clock::monotonic(),
        }
        .start()
    }

    fn look(&mut self, context: &mut Context<Self>) {
        if self.scanning != Scanning::Idle {
            self.scanning = Scanning::Again;
            return;
        }
        self.scanning = Scanning::UnderWay;
        self.shared.registry.look_begins();
        self.last_scan = Some(clock::monotonic());
        let (loaded, address) = (Arc::clone(&self.loaded), context.address());
        // Nobody waits for a model before they record.
        let models = if self.ready { Models::Try } else { Models::TryMeanwhile };
        // Files may be on a slow disk: read elsewhere.
        actix::spawn(async move {
            let read = loaded.with(models);
            let scanned = tokio::task::spawn_blocking(move || config::scan_cameras(&read)).await;
            let scan = scanned.unwrap_or_else(|error| {
                tracing::error!(%error, "reading the cameras' folder crashed");
                Scan { cameras: BTreeMap::new(), problems: Vec::new(), listed: false }
            });
            address.do_send(Scanned { scan, loaded });
        });
    }

    /// Acts on what a scan found.
    fn apply(&mut self, scan: Scan, context: &mut Context<Self>) {
        self.report_others(&scan.problems);
        let mut doubts = false;
        let names: BTreeSet<String> = self.cameras.keys().chain(scan.cameras.keys()).cloned().collect();
        let mut found = scan.cameras;
        for name in names {
            match found.remove(&name) {
                Some(Ok(config)) => self.configured(&name, config, context),
                Some(Err(problems)) => {
                    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                    doubts |= self.doubted(&name, Doubt::Broken(text), context);
                }
                // A folder that can't be read says nothing about its files.
                None if !scan.listed => {
                    if let Some(camera) = self.cameras.get_mut(&name) {
                        camera.doubt = None;
                    }
                }
                None => doubts |= self.doubted(&name, Doubt::Gone, context),
            }
        }
        self.second_look_at = doubts.then(|| clock::monotonic() + SECOND_LOOK);
        if !self.ready && !doubts {
            self.ready = true;
            self.know_gaps_of_others();
            self.shared.archive.index().note_alive();
            self.shared.registry.completed();
            self.host.ready();
        }
    }

    /// Problems that belong to no camera: told once.
    fn report_others(&mut self, problems: &[Problem]) {
        let mut reported = BTreeSet::new();
        for problem in problems {
            let text = problem.to_string();
            let file = problem.file.display().to_string();
            if !self.reported.contains(&text) {
                tracing::error!(file, "{text}");
                self.shared.registry.tell(Event::ConfigRefused { camera: None, file, error: text.clone() });
            }
            reported.insert(text);
        }
        self.reported = reported;
    }

    /// A camera's file is good.
    fn configured(&mut self, name: &str, config: CameraConfig, context: &mut Context<Self>) {
        let camera = self.cameras.entry(name.to_owned()).or_insert_with(Camera::new);
        camera.doubt = None;
        let entry = self.shared.registry.entry(name);
        let had_error = entry.status().config_error.is_some();
        entry.update(|status| status.config_error = None);
        if camera.config.as_deref() == Some(&config) {
            if had_error {
                tracing::info!(camera = name, "the file is good again; nothing changed");
            }
            return;
        }
        self.retention.set_camera(name, config.retention.clone());
        let is_first = camera.config.is_none();
        let config = Arc::new(config);
        camera.config = Some(Arc::clone(&config));
        entry.update(|status| status.expects_recording = should_record(&config));
        if !is_first || had_error {
            tracing::info!(camera = name, "new configuration");
        }
        self.shared.registry.tell(Event::ConfigApplied { camera: name.to_owned() });
        self.drive(name, GapCause::Reload, context);
    }

    /// A camera's file is gone or broken. True if that has to be looked at again before it is believed.
    fn doubted(&mut self, name: &str, doubt: Doubt, context: &mut Context<Self>) -> bool {
        let camera = self.cameras.entry(name.to_owned()).or_insert_with(Camera::new);
        let now = clock::monotonic();
        match &camera.doubt {
            Some((same, since)) if *same == doubt && now - *since >= SECOND_LOOK => {}
            Some((same, _)) if *same == doubt => return true,
            _ => {
                camera.doubt = Some((doubt, now));
                return true;
            }
        }
        match doubt {
            Doubt::Gone => {
                tracing::info!(camera = name, "its file is gone; the camera stops");
                camera.config = None;
                self.drive(name, GapCause::Reload, context);
            }
            Doubt::Broken(text) => {
                let entry = self.shared.registry.entry(name);
                if entry.status().config_error.as_deref() == Some(text.as_str()) {
                    return false;
                }
                let runs = camera.config.is_some();
                let goes_on = if runs { "the running camera goes on as it was" } else { "the camera does not start" };
                tracing::error!(camera = name, "{text}; {goes_on}");
                entry.update(|status| {
                    status.config_error = Some(text.clone());
                    if !runs {
                        status.state = CameraState::ConfigError;
                        status.since = clock::utc_now();
                        status.error = Some(text.clone());
                    }
                });
                let file = format!("{name}.yaml");
                self.shared.registry.tell(Event::ConfigRefused { camera: Some(name.to_owned()), file, error: text });
            }
        }
        false
    }

    /// Brings a camera from what runs nearer to what is wanted.
    fn drive(&mut self, name: &str, cause: GapCause, context: &mut Context<Self>) {
        let shutting_down = self.shutdown_since.is_some();
        let Some(camera) = self.cameras.get_mut(name) else { return };
        match &camera.run {
            Run::Running { address, generation, .. } => {
                address.do_send(StopCamera);
                camera.run = Run::Stopping { generation: *generation, since: clock::monotonic(), cause };
                self.shared.registry.entry(name).set_commands(None);
            }
            Run::Stopping { .. } => {}
            Run::Waiting { .. } if shutting_down => camera.run = Run::Idle,
            Run::Waiting { .. } | Run::Idle => {
                camera.run = Run::Idle;
                match &camera.config {
                    Some(_) if shutting_down => {}
                    Some(config) if config.enabled => self.start_camera(name, context),
                    Some(_) => {
                        self.end_gap(name);
                        self.shared.registry.entry(name).update(|status| {
                            (status.state, status.since, status.error) =
                                (CameraState::Disabled, clock::utc_now(), None);
                        });
                    }
                    // It came back while it stopped, and can't be used: another look says how.
                    None if matches!(camera.doubt, Some((Doubt::Broken(_), _))) => {}
                    None => {
                        self.end_gap(name);
                        self.cameras.remove(name);
                        self.shared.registry.remove(name);
                    }
                }
            }
        }
    }

    fn start_camera(&mut self, name: &str, context: &mut Context<Self>) {
        let Some(camera) = self.cameras.get_mut(name) else { return };
        let Some(config) = camera.config.clone() else { return };
        let generation = self.next_generation;
        self.next_generation += 1;
        let arbiter = &self.arbiters[generation as usize % self.arbiters.len()];
        let parent = Parent { failed: context.address().recipient(), stopped: context.address().recipient() };
        let shared = Arc::clone(&self.shared);
        let (gap, crash) = (camera.open_gap.take(), camera.crash.take());
        let gap = gap.or_else(|| {
            let is_new_to_us = !self.ready && should_record(&config);
            let is_continuous = config.record.mode_at(clock::utc_now()) == RecordMode::Continuous;
            is_new_to_us.then(|| missing_since_last_life(&shared.archive, name, is_continuous)).flatten()
        });
        if let Some(OpenGap { since, cause }) = gap {
            shared.archive.index().set_open_gap(name, Some((since, cause)));
        }
        let actor = CameraActor::new(config, generation, shared, parent, gap, crash);
        let address = CameraActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        let (to_camera, to_self, own_name) = (address.clone(), context.address(), name.to_owned());
        self.shared.registry.entry(name).set_commands(Some(Box::new(move |command| match command {
            CameraCommand::Trigger => to_camera.do_send(TriggerByHand),
            CameraCommand::Restart => to_self.do_send(RestartCamera(own_name.clone())),
        })));
        camera.run = Run::Running { address, generation, began: clock::monotonic() };
    }

    /// A CameraActor crashed.
    fn camera_failed(&mut self, name: &str, generation: u64, cause: &str, context: &mut Context<Self>) {
        let Some(camera) = self.cameras.get_mut(name) else { return };
        let now = clock::monotonic();
        let (wait, was_stopping) = match camera.run {
            Run::Running { generation: running, began, .. } if running == generation => {
                (camera.backoff.failed(now - began, fastrand::f64()), false)
            }
            Run::Stopping { generation: stopping, .. } if stopping == generation => (Duration::ZERO, true),
            _ => return,
        };
        tracing::error!(camera = name, generation, cause, wait_s = wait.as_secs_f64(), "crashed; restarts");
        let text = format!("the camera actor crashed: {cause}");
        camera.crash = Some(text.clone());
        let entry = self.shared.registry.entry(name);
        let restarts = entry.counters.restarts.fetch_add(1, Ordering::Relaxed) + 1;
        entry.update(|status| {
            status.state = CameraState::Backoff;
            status.since = clock::utc_now();
            status.error = Some(text);
            status.restarts = restarts;
        });
        if was_stopping {
            return self.camera_stopped(name, None, context);
        }
        camera.run = Run::Waiting { until: now + wait };
        let records = camera.config.as_deref().is_some_and(should_record);
        let gap = OpenGap { since: clock::utc_now(), cause: GapCause::Crash };
        self.missing(name, records.then_some(gap));
        entry.set_commands(None);
    }

    /// A CameraActor that was told to stop is gone: start the next, or leave it.
    fn camera_stopped(&mut self, name: &str, covered: Option<CameraStopped>, context: &mut Context<Self>) {
        let Some(camera) = self.cameras.get_mut(name) else { return };
        let Run::Stopping { cause, .. } = camera.run else { return };
        camera.run = Run::Idle;
        let records = camera.config.as_deref().is_some_and(should_record);
        let since = covered.and_then(|stopped| stopped.covered_to).unwrap_or_else(clock::utc_now);
        self.missing(name, records.then_some(OpenGap { since, cause }));
        self.drive(name, cause, context);
    }

    /// What is missing of a camera till its next life; the index has it, for the case that this comes after the
    /// process's own end.
    fn missing(&mut self, name: &str, gap: Option<OpenGap>) {
        let Some(camera) = self.cameras.get_mut(name) else { return };
        camera.open_gap = gap;
        if let Some(OpenGap { since, cause }) = gap {
            self.shared.archive.index().set_open_gap(name, Some((since, cause)));
        }
    }

    /// The first look is over: what is missing of cameras that have not been started goes on where their file is
    /// broken, and ends where they are not to record any more.
    fn know_gaps_of_others(&mut self) {
        for gap in self.shared.archive.index().live_gaps() {
            if !self.cameras.contains_key(&gap.camera) {
                self.end_gap(&gap.camera);
            }
        }
        let broken = self.cameras.iter().filter(|(_, camera)| camera.config.is_none() && camera.doubt.is_some());
        let broken: Vec<String> = broken.map(|(name, _)| name.clone()).collect();
        for name in broken {
            // If it is not recorded continuously, its gap begins some seconds too early at worst.
            let gap = missing_since_last_life(&self.shared.archive, &name, true);
            self.missing(&name, gap);
        }
    }

    /// What is missing of a camera that is not to record any more was missing till now.
    fn end_gap(&mut self, name: &str) {
        if let Some(camera) = self.cameras.get_mut(name) {
            camera.open_gap = None;
        }
        let index = self.shared.archive.index();
        if let Some(gap) = index.live_gap(name) {
            index.add_gap(Gap { end: Some(clock::utc_now().max(gap.start)), ..gap });
            index.set_open_gap(name, None);
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        self.host.alive();
        let now = clock::monotonic();
        let is_ending = self.shutdown_since.is_some();
        let names: Vec<String> = self.cameras.keys().cloned().collect();
        for name in names {
            let Some(camera) = self.cameras.get(&name) else { continue };
            match &camera.run {
                Run::Running { .. } | Run::Waiting { .. } if is_ending => self.drive(&name, GapCause::Down, context),
                Run::Running { address, generation, .. } if !address.connected() => {
                    let generation = *generation;
                    self.camera_failed(&name, generation, "it ended without a word", context);
                }
                Run::Stopping { since, .. } if now - *since > STOP_DEADLINE => {
                    tracing::error!(camera = name, "does not stop in time and is left behind");
                    self.camera_stopped(&name, None, context);
                }
                Run::Waiting { until } if now >= *until => self.drive(&name, GapCause::Crash, context),
                _ => {}
            }
        }
        if let Some(since) = self.shutdown_since {
            let all_stopped = self.cameras.values().all(|camera| matches!(camera.run, Run::Idle));
            if all_stopped || now - since > SHUTDOWN_DEADLINE {
                if !all_stopped {
                    tracing::error!("not everything could be finished in time; the next start repairs it");
                }
                context.stop();
                self.host.stopped();
            }
            return;
        }
        let poll_due = self.last_scan.is_none_or(|last| now - last >= POLL);
        if poll_due || self.second_look_at.is_some_and(|at| now >= at) {
            self.second_look_at = None;
            self.look(context);
        }
    }

    fn reload(&mut self, context: &mut Context<Self>) {
        self.host.reloading();
        tracing::info!("reload");
        for camera in self.cameras.values() {
            if let Run::Running { address, .. } = &camera.run {
                address.do_send(RetryNow);
            }
        }
        for camera in self.cameras.values_mut() {
            if let Run::Waiting { until } = &mut camera.run {
                *until = clock::monotonic();
            }
        }
        let (path, address) = (self.config_path.clone(), context.address());
        actix::spawn(async move {
            let read = tokio::task::spawn_blocking(move || config::load_global(&path)).await;
            if let Ok(read) = read {
                address.do_send(GlobalRead(read));
            }
        });
    }

    fn global_read(&mut self, read: Result<Loaded, Vec<Problem>>, context: &mut Context<Self>) {
        match read {
            Err(problems) => {
                for problem in problems {
                    tracing::error!("{problem}; nothing is changed");
                    let file = problem.file.display().to_string();
                    let error = problem.to_string();
                    self.shared.registry.tell(Event::ConfigRefused { camera: None, file, error });
                }
                self.host.reloaded(&self.loaded.global);
            }
            Ok(loaded) => {
                let (old, new) = (&self.started_with, &loaded.global);
                for (key, differs) in [
                    ("archive.path", old.archive.path != new.archive.path),
                    ("archive.layout", old.archive.layout.as_str() != new.archive.layout.as_str()),
                    ("archive.timezone", old.archive.layout.zone() != new.archive.layout.zone()),
                    ("archive.sync", old.archive.sync != new.archive.sync),
                    ("web.listen", old.web.listen != new.web.listen),
                    ("web.address_file", old.web.address_file != new.web.address_file),
                    ("web.names", old.web.names != new.web.names),
                    ("web.tls", old.web.tls.is_some() != new.web.tls.is_some()),
                    ("web.allow_local", old.web.allow_local != new.web.allow_local),
                    ("log.path", old.log.path != new.log.path),
                ] {
                    if differs {
                        tracing::warn!("{key} was changed; that needs a restart of the process");
                    }
                }
                self.retention.set_archive(&loaded.global.archive);
                self.watch.set_folder(&loaded.global.cameras_dir);
                self.loaded = Arc::new(loaded);
                self.shared.registry.set_configuration(Arc::clone(&self.loaded));
                self.host.reloaded(&self.loaded.global);
                self.look(context);
            }
        }
    }
}

/// Runs a handler's body. The Supervisor goes on in place after a panic: what it knows of running cameras must
/// not be lost, and every scan brings it back in step. One that panics on every tick feeds no watchdog.
fn survived(
    actor: &mut Supervisor,
    context: &mut Context<Supervisor>,
    place: &str,
    body: impl FnOnce(&mut Supervisor, &mut Context<Supervisor>),
) {
    if let Err(cause) = caught(place, "supervisor", || body(actor, context)) {
        let wait = actor.backoff.failed(clock::monotonic() - actor.began, fastrand::f64());
        tracing::error!(cause, wait_s = wait.as_secs_f64(), "the supervisor crashed; it looks at everything again");
        actor.began = clock::monotonic();
        actor.second_look_at = Some(clock::monotonic() + wait);
    }
}

/// What is missing of a camera at the first look of this process: since the last one ended.
fn missing_since_last_life(archive: &Archive, camera: &str, is_continuous: bool) -> Option<OpenGap> {
    let index = archive.index();
    if let Some(gap) = index.live_gap(camera) {
        return Some(OpenGap { since: gap.start, cause: gap.cause });
    }
    let covered_to = index.covered_to(camera).ok().flatten();
    let since = known_to(covered_to, index.alive_before(), is_continuous)?;
    Some(OpenGap { since, cause: GapCause::Down })
}

/// While it does not record, something is missing.
fn should_record(config: &CameraConfig) -> bool {
    config.enabled && config.record.mode_at(clock::utc_now()) != RecordMode::Off
}

impl Camera {
    fn new() -> Self {
        Camera { config: None, run: Run::Idle, backoff: Backoff::default(), doubt: None, open_gap: None, crash: None }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(TICK, |actor, context| {
            survived(actor, context, "supervisor.tick", Self::tick);
        });
        let address = context.address();
        self.shared.registry.set_configuration(Arc::clone(&self.loaded));
        let (registry, to_self) = (&self.shared.registry, address.clone());
        registry.set_look(Some(Box::new(move || to_self.do_send(Look))));
        self.watch.set_folder(&self.loaded.global.cameras_dir);
        if let Err(error) = self.watch.start(move || address.do_send(Look)) {
            tracing::warn!(%error, "cannot watch the cameras' folder; it is read every 10 s");
        }
        survived(self, context, "supervisor.started", Self::look);
    }
}

impl Handler<Look> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Look, context: &mut Self::Context) {
        survived(self, context, "supervisor.look", Self::look);
    }
}

impl Handler<Scanned> for Supervisor {
    type Result = ();

    fn handle(&mut self, scanned: Scanned, context: &mut Self::Context) {
        let again = self.scanning == Scanning::Again;
        self.scanning = Scanning::Idle;
        survived(self, context, "supervisor.scanned", |actor, context| {
            if actor.shutdown_since.is_some() {
                return;
            }
            let outdated = !Arc::ptr_eq(&scanned.loaded, &actor.loaded);
            if !outdated {
                actor.apply(scanned.scan, context);
                actor.shared.registry.look_is_done();
            }
            if again || outdated {
                actor.look(context);
            }
        });
    }
}

impl Handler<Reload> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Reload, context: &mut Self::Context) {
        survived(self, context, "supervisor.reload", Self::reload);
    }
}

impl Handler<GlobalRead> for Supervisor {
    type Result = ();

    fn handle(&mut self, read: GlobalRead, context: &mut Self::Context) {
        survived(self, context, "supervisor.global_read", |actor, context| actor.global_read(read.0, context));
    }
}

impl Handler<RestartCamera> for Supervisor {
    type Result = ();

    fn handle(&mut self, restart: RestartCamera, context: &mut Self::Context) {
        survived(self, context, "supervisor.restart_camera", |actor, context| {
            tracing::info!(camera = restart.0, "restart was asked for");
            actor.drive(&restart.0, GapCause::Reload, context);
        });
    }
}

impl Handler<PartFailed> for Supervisor {
    type Result = ();

    fn handle(&mut self, failed: PartFailed, context: &mut Self::Context) {
        survived(self, context, "supervisor.part_failed", |actor, context| {
            actor.camera_failed(&failed.camera, failed.generation, &failed.cause, context);
        });
    }
}

impl Handler<CameraStopped> for Supervisor {
    type Result = ();

    fn handle(&mut self, stopped: CameraStopped, context: &mut Self::Context) {
        survived(self, context, "supervisor.camera_stopped", |actor, context| {
            let name = stopped.camera.clone();
            let is_awaited = actor.cameras.get(&name).is_some_and(
                |camera| matches!(camera.run, Run::Stopping { generation, .. } if generation == stopped.generation),
            );
            if is_awaited {
                actor.camera_stopped(&name, Some(stopped), context);
            }
            if actor.shutdown_since.is_some() {
                actor.tick(context);
            }
        });
    }
}

impl Handler<Shutdown> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, context: &mut Self::Context) {
        // Outside: whatever crashes, the end is not forgotten, and every tick brings it nearer.
        self.shutdown_since.get_or_insert_with(clock::monotonic);
        survived(self, context, "supervisor.shutdown", |actor, context| {
            tracing::info!("stops: finishing all recordings");
            actor.host.stopping();
            actor.tick(context);
        });
    }
}
