//! `tarsier record`: one camera without a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, System};
use anyhow::Context as _;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::limit::LimitArgs;
use super::{DONE, INPUT_WRONG, OUR_FAULT, or_told};
use crate::actors::camera::{CameraActor, Parent};
use crate::actors::messages::{CameraStopped, PartFailed, StopCamera};
use crate::actors::registry::Registry;
use crate::actors::shared::{Playback, Shared};
use crate::archive::Archive;
use crate::archive::index::Index;
use crate::config;
use crate::domain::camera::CameraState;
use crate::domain::config::{CameraConfig, SyncCadence};
use crate::domain::source_url::SourceKind;
use crate::logging;
use crate::pool::Pool;

const TICK: Duration = Duration::from_millis(100);

/// What `tarsier record` takes.
#[derive(Args)]
pub struct RecordArgs {
    /// Address, device or file; ${NAME} is taken from the environment
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Folder for the recordings and their index
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Change a key of the camera's configuration
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    limit: LimitArgs,
}

/// Records until the source ends, the time is over or a signal comes.
pub fn run(arguments: &RecordArgs, config_path: &Path) -> anyhow::Result<u8> {
    let camera = config::load_global(config_path)
        .and_then(|loaded| Ok((config::camera_from_source(&arguments.source, &arguments.sets, &loaded)?, loaded)));
    let Some((camera, loaded)) = or_told(camera) else { return Ok(INPUT_WRONG) };
    let _log = logging::init_console(&loaded.global.log)?;
    crate::media::av::init();
    if let Err(error) = std::fs::create_dir_all(&arguments.out) {
        eprintln!("--out: cannot make {}: {error}", arguments.out.display());
        return Ok(INPUT_WRONG);
    }
    let index = Index::open(&arguments.out)?;
    let layout = loaded.global.archive.layout.clone();
    let archive = Archive::start(&arguments.out, layout, SyncCadence::Every(Duration::from_secs(1)), index)?;
    let mut shared = Shared::new(Arc::new(Registry::default()), Arc::clone(&archive), Pool::start(1)?);
    shared.playback = Playback { real_time: false, at_most: arguments.limit.at_most() };
    let shared = Arc::new(shared);
    let system = System::new();
    system.block_on(async {
        let solo = Solo { config: Arc::new(camera), shared, camera: None, failed: None }.start();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            for (number, signal) in signals.forever().enumerate() {
                if number > 0 {
                    std::process::exit(128 + signal);
                }
                solo.do_send(End);
            }
        })?;
        anyhow::Ok(())
    })?;
    let code = system.run_with_code().context("the actor system ended badly")?;
    archive.stop();
    Ok(u8::try_from(code).unwrap_or(OUR_FAULT))
}

/// The camera's only company: ends the process when its source has ended or can't be had.
struct Solo {
    config: Arc<CameraConfig>,
    shared: Arc<Shared>,
    camera: Option<Addr<CameraActor>>,
    failed: Option<String>,
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct End;

impl Actor for Solo {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let parent = Parent { failed: context.address().recipient(), stopped: context.address().recipient() };
        let camera = CameraActor::new(Arc::clone(&self.config), 1, Arc::clone(&self.shared), parent, None, None);
        self.camera = Some(camera.start());
        // Of a file so much is read; a camera has so much time.
        let at_most = self.shared.playback.at_most;
        if let Some(at_most) = at_most.filter(|_| self.config.source.kind() != SourceKind::File) {
            context.run_later(at_most, |actor, context| {
                if actor.shared.registry.entry(&actor.config.name).status().codec.is_none() {
                    actor.failed = Some(format!("{}: no picture came before the time was over", actor.config.source));
                }
                context.notify(End);
            });
        }
        context.run_interval(TICK, |actor, context| {
            let status = actor.shared.registry.entry(&actor.config.name).status();
            match status.state {
                CameraState::Stopped if !status.recording => context.notify(End),
                // A network camera that was there may come back; what can't be opened at first does not.
                CameraState::Backoff
                    if actor.failed.is_none()
                        && (status.codec.is_none()
                            || matches!(actor.config.source.kind(), SourceKind::File | SourceKind::Device)) =>
                {
                    actor.failed = Some(status.error.unwrap_or_default());
                    context.notify(End);
                }
                _ => {}
            }
        });
    }
}

impl Handler<End> for Solo {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut Self::Context) {
        if let Some(camera) = self.camera.take() {
            camera.do_send(StopCamera);
        }
    }
}

impl Handler<CameraStopped> for Solo {
    type Result = ();

    fn handle(&mut self, _: CameraStopped, _: &mut Self::Context) {
        if let Some(cause) = &self.failed {
            eprintln!("{cause}");
        }
        let code = if self.failed.is_some() { INPUT_WRONG } else { DONE };
        System::current().stop_with_code(code.into());
    }
}

impl Handler<PartFailed> for Solo {
    type Result = ();

    fn handle(&mut self, failed: PartFailed, _: &mut Self::Context) {
        eprintln!("the camera crashed: {}", failed.cause);
        System::current().stop_with_code(OUR_FAULT.into());
    }
}
