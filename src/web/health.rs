//! Is the daemon there, and does it record what it should? Neither answer waits longer than a moment on a disk.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::doors::Who;
use super::{AppState, Problem};
use crate::domain::camera::{CameraState, CameraStatus};

/// All is recorded that should be.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    ready: bool,
}

/// A problem, and the cameras it is about.
#[derive(Serialize, ToSchema)]
pub struct NotReady {
    #[serde(flatten)]
    problem: Problem,
    cameras: Vec<Unready>,
}

/// A camera that should record and cannot.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Unready {
    name: String,
    state: CameraState,
    /// Why.
    error: Option<String>,
}

/// 200 while the daemon serves.
#[utoipa::path(get, path = "/healthz", tag = "health", responses(
    (status = 200, description = "the daemon serves", content_type = "text/plain", body = String),
))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 while every enabled camera that should record does. Without a login it does not say which does not.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "all is recorded that should be", body = Ready),
    (status = 503, description = "some cameras do not record", body = NotReady, content_type = "application/problem+json"),
))]
pub async fn readyz(state: web::Data<AppState>, who: Who) -> HttpResponse {
    let cameras: Vec<Unready> = state.registry.all().iter().filter_map(|entry| unready(entry.status())).collect();
    if !state.registry.is_complete() {
        let problem = Problem::unavailable("starting: the cameras' folder has not been read yet");
        let cameras = cameras.into_iter().filter(|camera| who.sees(&camera.name)).collect();
        return problem.respond_with(&NotReady { problem: problem.clone(), cameras });
    }
    if cameras.is_empty() {
        return HttpResponse::Ok().json(Ready { ready: true });
    }
    let others = cameras.len();
    let cameras: Vec<Unready> = cameras.into_iter().filter(|camera| who.sees(&camera.name)).collect();
    let names: Vec<&str> = cameras.iter().map(|camera| camera.name.as_str()).collect();
    let problem = Problem::unavailable(match (names.len(), others - names.len()) {
        (_, 0) => format!("not recording: {}", names.join(", ")),
        (0, others) => format!("not recording: {others} (log in to see which)"),
        (_, others) => format!("not recording: {}, and {others} more", names.join(", ")),
    });
    problem.respond_with(&NotReady { problem: problem.clone(), cameras })
}

/// The camera, if it should record and cannot. One whose file is broken and that does not run should: nobody
/// breaks a file to switch a camera off.
fn unready(status: CameraStatus) -> Option<Unready> {
    let ready = match status.state {
        CameraState::Running | CameraState::Degraded => !status.expects_recording || status.recording_blocked.is_none(),
        CameraState::Starting | CameraState::Reconnecting | CameraState::Backoff => !status.expects_recording,
        CameraState::ConfigError => false,
        // Switched off, or a file that was played to its end.
        CameraState::Disabled | CameraState::Stopped => true,
    };
    let error = status.recording_blocked.or(status.error).or(status.config_error);
    (!ready).then_some(Unready { name: status.name, state: status.state, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::registry::Registry;

    fn status(state: CameraState, expects_recording: bool, blocked: Option<&str>) -> CameraStatus {
        let mut status = Registry::default().entry("yard").status();
        status.state = state;
        status.expects_recording = expects_recording;
        status.recording_blocked = blocked.map(str::to_owned);
        status
    }

    #[test]
    fn a_camera_that_should_record_and_cannot_is_not_ready() {
        use CameraState::*;
        for (state, expects, blocked, ready) in [
            (Running, true, None, true),
            (Running, true, Some("disk full"), false),
            (Running, false, Some("disk full"), true),
            (Degraded, true, None, true),
            (Degraded, true, Some("disk full"), false),
            (Starting, true, None, false),
            (Starting, false, None, true),
            (Reconnecting, true, None, false),
            (Backoff, true, None, false),
            (Backoff, false, None, true),
            (ConfigError, false, None, false),
            (Disabled, false, None, true),
            (Stopped, true, None, true),
        ] {
            let found = unready(status(state, expects, blocked));
            assert_eq!(found.is_none(), ready, "{state:?} {expects} {blocked:?}: {found:?}");
        }
    }
}
