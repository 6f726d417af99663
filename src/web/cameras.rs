//! Cameras: what they are doing, a picture of now, and asking them to do something.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::doors::Who;
use super::query::Query;
use super::recordings::check_camera;
use super::{AppState, Problem, blocking};
use crate::actors::registry::{Alarm, CameraCommand};
use crate::clock;
use crate::domain::camera::{CameraState, CameraStatus};
use crate::domain::recording::RecordingQuery;

/// A command was handed to the camera.
#[derive(Serialize, ToSchema)]
pub struct Accepted {
    camera: String,
    /// `trigger` or `restart`.
    command: &'static str,
}

/// What needs a person.
#[derive(Serialize, ToSchema)]
pub struct AlarmList {
    alarms: Vec<Alarm>,
}

/// All cameras that have a file, by name.
#[utoipa::path(get, path = "/api/cameras", tag = "cameras", responses(
    (status = 200, description = "all cameras, in the order of their names", body = Vec<CameraStatus>),
))]
pub async fn list(state: web::Data<AppState>, who: Who) -> web::Json<Vec<CameraStatus>> {
    web::Json(state.cameras(&who).iter().map(|entry| entry.status()).collect())
}

/// One camera.
#[utoipa::path(get, path = "/api/cameras/{name}", tag = "cameras", responses(
    (status = 200, description = "what the camera is doing", body = CameraStatus),
    (status = 404, description = "no such camera"),
))]
pub async fn one(
    state: web::Data<AppState>,
    who: Who,
    name: web::Path<String>,
) -> Result<web::Json<CameraStatus>, Problem> {
    Ok(web::Json(state.camera(&who, &name)?.status()))
}

/// The newest keyframe as a JPEG.
#[utoipa::path(get, path = "/api/cameras/{name}/snapshot.jpg", tag = "cameras", responses(
    (status = 200, description = "the newest keyframe", content_type = "image/jpeg", body = Vec<u8>),
    (status = 404, description = "no such camera"),
    (status = 503, description = "the camera has no picture now"),
))]
pub async fn snapshot(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let entry = state.camera(&who, &name)?;
    let _turn = state.snapshots.acquire().await.map_err(|_| Problem::unavailable("the server is stopping"))?;
    let keyframe = entry.ring().and_then(|ring| ring.newest_keyframe().and_then(|seq| ring.get(seq)));
    let Some(keyframe) = keyframe else {
        return Err(Problem::unavailable(format!("camera {name} has no picture now (its state says why)")));
    };
    let taken_at = keyframe.session.utc(keyframe.pts_us());
    let make = state.snapshot.clone();
    let jpeg = blocking(move || make(keyframe))
        .await?
        .map_err(|cause| Problem::internal(format!("camera {name}: the newest picture cannot be shown: {cause}")))?;
    Ok(HttpResponse::Ok()
        .content_type("image/jpeg")
        .insert_header(("X-Taken-At", taken_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)))
        .body(jpeg))
}

/// Starts a motion event by hand, by a rule, by a doorbell.
#[utoipa::path(post, path = "/api/cameras/{name}/trigger", tag = "cameras", responses(
    (status = 202, description = "handed to the camera", body = Accepted),
    (status = 404, description = "no such camera"),
    (status = 409, description = "the camera does not run"),
))]
pub async fn trigger(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let status = state.camera(&who, &name)?.status();
    if status.state == CameraState::Running && !status.expects_recording {
        return Err(Problem::conflict(format!("camera {name} records nothing (`record.mode: off`)")));
    }
    command(&state, &who, &name, CameraCommand::Trigger, "trigger")
}

/// Restarts the camera.
#[utoipa::path(post, path = "/api/cameras/{name}/restart", tag = "cameras", responses(
    (status = 202, description = "handed to the camera", body = Accepted),
    (status = 404, description = "no such camera"),
    (status = 409, description = "the camera does not run"),
))]
pub async fn restart(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    command(&state, &who, &name, CameraCommand::Restart, "restart")
}

fn command(
    state: &AppState,
    who: &Who,
    name: &str,
    command: CameraCommand,
    word: &'static str,
) -> Result<HttpResponse, Problem> {
    let entry = state.camera(who, name)?;
    if !entry.command(command) {
        return Err(Problem::conflict(format!("camera {name} does not run (its state says why)")));
    }
    tracing::info!(camera = name, command = word, who = who.name(), "asked over HTTP");
    Ok(HttpResponse::build(StatusCode::ACCEPTED).json(Accepted { camera: name.to_owned(), command: word }))
}

/// Alarms that are up.
#[utoipa::path(get, path = "/api/alarms", tag = "events", responses(
    (status = 200, description = "what needs a person", body = AlarmList),
))]
pub async fn alarms(state: web::Data<AppState>, who: Who) -> web::Json<AlarmList> {
    web::Json(AlarmList { alarms: state.alarms(&who) })
}

/// How much of the picture changed over a time.
#[derive(Serialize, ToSchema)]
pub struct ScoreSeries {
    camera: String,
    /// The first second of the first point.
    from: DateTime<Utc>,
    /// Seconds from one point to the next.
    step_s: i64,
    /// For each step the largest share of the picture, 0 to 1, that changed from one picture to the next; null where
    /// nobody looked.
    score: Vec<Option<f64>>,
}

/// The motion score over a time, in a few thousand points at most: how much of the picture changed.
#[utoipa::path(get, path = "/api/cameras/{name}/score", tag = "cameras", params(
    ("from" = Option<DateTime<Utc>>, Query, description = "an hour before `to` without it"),
    ("to" = Option<DateTime<Utc>>, Query, description = "now without it"),
), responses(
    (status = 200, description = "the largest score of each step", body = ScoreSeries),
    (status = 400, description = "a query key is wrong"),
    (status = 404, description = "no such camera"),
))]
pub async fn score(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<web::Json<ScoreSeries>, Problem> {
    let RecordingQuery { from, to, .. } = Query::of(&request).rows(&who)?;
    let camera = name.into_inner();
    let trace = RecordingQuery { camera: Some(camera.clone()), ..RecordingQuery::default() };
    check_camera(&state, &who, &trace).await?;
    let to = to.unwrap_or_else(clock::utc_now);
    let from = from.unwrap_or(to - TimeDelta::hours(1)).min(to);
    let asked = camera.clone();
    let series = state.ask(move |index| index.scores(&asked, from, to)).await?;
    Ok(web::Json(ScoreSeries {
        camera,
        from: DateTime::from_timestamp(series.from_s, 0).unwrap_or(from),
        step_s: series.step_s,
        score: series.points.iter().map(|score| score.short_share()).collect(),
    }))
}
