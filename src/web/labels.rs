//! What people say of events: right, or a false alarm. `tarsier backtest` holds detectors against it.

use actix_web::http::StatusCode;
use actix_web::web;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::Json;
use super::doors::Who;
use super::events::{self, ListedEvent};
use super::{AppState, Problem, blocking};
use crate::clock;
use crate::domain::label::{Label, Verdict};
use crate::domain::recording::MotionEvent;

/// What a person says of an event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    /// `event`, or `not-event` for a false alarm.
    verdict: Verdict,
}

/// Says of an event that it is one, or a false alarm: `tarsier backtest` holds detectors against that. Outlives the
/// index, as protection does.
#[utoipa::path(put, path = "/api/events/{id}/label", tag = "events", request_body = NewLabel, params(
    ("id" = i64, Path, description = "the event's id"),
), responses(
    (status = 200, description = "it is kept", body = ListedEvent),
    (status = 404, description = "no such event", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "it still goes on", body = Problem, content_type = "application/problem+json"),
))]
pub async fn label(
    state: web::Data<AppState>,
    who: Who,
    id: web::Path<String>,
    body: Json<NewLabel>,
) -> Result<web::Json<ListedEvent>, Problem> {
    set_label(&state, &who, &id, Some(body.0.verdict)).await
}

/// Takes back what was said of an event.
#[utoipa::path(delete, path = "/api/events/{id}/label", tag = "events", params(
    ("id" = i64, Path, description = "the event's id"),
), responses(
    (status = 200, description = "nothing is said of it", body = ListedEvent),
    (status = 404, description = "no such event", body = Problem, content_type = "application/problem+json"),
))]
pub async fn unlabel(
    state: web::Data<AppState>,
    who: Who,
    id: web::Path<String>,
) -> Result<web::Json<ListedEvent>, Problem> {
    set_label(&state, &who, &id, None).await
}

async fn set_label(
    state: &AppState,
    who: &Who,
    id: &str,
    verdict: Option<Verdict>,
) -> Result<web::Json<ListedEvent>, Problem> {
    let none = || Problem::not_found(format!("there is no event {id:?}"));
    let number: i64 = id.parse().map_err(|_| none())?;
    let found = state.ask(move |index| index.event(number)).await?;
    let found = found.filter(|(event, _)| who.sees(&event.camera)).ok_or_else(none)?;
    let MotionEvent { camera, start, end, .. } = found.0.clone();
    let (index, of) = (state.index.clone(), camera.clone());
    let label = match (verdict, end) {
        (Some(verdict), Some(to)) => Some(Label { camera: camera.clone(), from: start, to, verdict }),
        (Some(_), None) => {
            let detail = format!("event {number} still goes on (say it when it is over)");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        (None, _) => None,
    };
    let set = move || match label {
        Some(label) => index.state().label(&label, number, clock::utc_now()),
        None => index.state().unlabel(&of, start),
    };
    blocking(set).await?.map_err(|error| Problem::internal(error.to_string()))?;
    tracing::info!(camera, event = number, label = verdict.map(Verdict::name), who = who.name(), "asked over HTTP");
    state.ask(move |index| Ok(events::all_listed(index, vec![found]))).await?.pop().map(web::Json).ok_or_else(none)
}
