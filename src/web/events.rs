//! Events: those that were recorded as a list, and those that happen as a stream (server-sent events).

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::ToSchema;

use super::doors::Who;
use super::query::Query;
use super::recordings::check_camera;
use super::{AppState, Problem};
use crate::archive::index::Index;
use crate::domain::camera::{Event, Reason};
use crate::domain::finding::{Cause, Region};
use crate::domain::label::Verdict;
use crate::domain::recording::MotionEvent;

/// How often a quiet stream says that it is alive; this also finds listeners that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A motion event, or one by hand, recorded or not. In `mode: continuous` it is a mark on the timeline.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedEvent {
    /// Always `motion`.
    event: &'static str,
    id: i64,
    camera: String,
    /// The trigger.
    start: DateTime<Utc>,
    /// The last motion + `detect.minimal_duration`; null while it goes on.
    end: Option<DateTime<Utc>>,
    /// `motion` or `manual`.
    reason: Reason,
    /// The largest share of the picture that changed, 0 to 1; null while the event goes on, and where nobody looked.
    max_score: Option<f64>,
    /// What began it; null where it was asked for by hand, and where nobody knows any more.
    cause: Option<Cause>,
    /// The zones that it touched, those of the whole event once that is over.
    zones: Vec<String>,
    /// Where something moved in its strongest picture, in shares of the picture, the largest first.
    boxes: Vec<Region>,
    /// What a person said of it: `event`, or `not-event` for a false alarm; null where nobody has.
    label: Option<Verdict>,
    /// The ids of the recordings that hold some of it, oldest first.
    recordings: Vec<i64>,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    events: Vec<ListedEvent>,
    /// `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// Motion events, newest first; with `Accept: text/event-stream`, what happens from now on.
#[utoipa::path(get, path = "/api/events", tag = "events", params(
    ("camera" = Option<String>, Query, description = "of this camera only"),
    ("from" = Option<String>, Query, description = "RFC 3339; not for the stream"),
    ("to" = Option<String>, Query, description = "RFC 3339; not for the stream"),
    ("limit" = Option<u32>, Query, description = "rows a page, 1 to 1000; 100 without it; not for the stream"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before; not for the stream"),
), responses(
    (status = 200, description = "a page of events, or a stream of them", content(
        (EventPage = "application/json"),
        (Event = "text/event-stream"),
    )),
    (status = 400, description = "a query key is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "no such camera", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "too many listen already", body = Problem, content_type = "application/problem+json"),
))]
pub async fn events(state: web::Data<AppState>, who: Who, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let keys = Query::of(&request);
    let query = keys.rows(&who)?;
    if wants_stream(&request) {
        if let Some(key) = ["from", "to", "limit", "cursor"].into_iter().find(|key| keys.text(key).is_some()) {
            return Err(Problem::bad_query(key, "does not go with a stream, which begins now"));
        }
        check_camera(&state, &who, &query).await?;
        return listen(&state, who, &request, query.camera);
    }
    check_camera(&state, &who, &query).await?;
    let page = state.ask(move |index| {
        let page = index.events(&query)?;
        Ok(EventPage { events: all_listed(index, page.items), next: page.next })
    });
    Ok(HttpResponse::Ok().json(page.await?))
}

/// Does the client accept a stream by name?
fn wants_stream(request: &HttpRequest) -> bool {
    request
        .headers()
        .get_all(header::ACCEPT)
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}

/// As they are listed, with what people said of them.
pub fn all_listed(index: &Index, events: Vec<(MotionEvent, Vec<i64>)>) -> Vec<ListedEvent> {
    // While nobody knows what was said, nothing was.
    let labels = index.state().labels().unwrap_or_default();
    let listed = |(event, recordings): (MotionEvent, Vec<i64>)| {
        let MotionEvent { id, camera, start, end, reason, max_score, cause, zones, boxes } = event;
        let (label, max_score) = (labels.verdict(&camera, start), max_score.short_share());
        ListedEvent {
            event: "motion",
            id,
            camera,
            start,
            end,
            reason,
            max_score,
            cause,
            zones,
            boxes,
            label,
            recordings,
        }
    };
    events.into_iter().map(listed).collect()
}

/// What a listener is told that could not keep up.
#[derive(Serialize)]
struct Lagged {
    event: &'static str,
    missed: u64,
}

fn listen(state: &AppState, who: Who, request: &HttpRequest, camera: Option<String>) -> Result<HttpResponse, Problem> {
    let permit = Arc::clone(&state.listeners)
        .try_acquire_owned()
        .map_err(|_| Problem::unavailable("too many listen to events already (close some)"))?;
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    // Proxies that collect answers would hold events back.
    response.insert_header(("X-Accel-Buffering", "no"));
    if *request.method() == Method::HEAD {
        return Ok(response.finish());
    }
    // Listening begins before the states are read, so that no change falls between.
    let events = state.registry.listen();
    let states: Vec<Event> = state
        .registry
        .all()
        .iter()
        .map(|entry| entry.status())
        .map(|status| Event::CameraState { camera: status.name, state: status.state, error: status.error })
        .filter(|event| concerns(event, camera.as_deref(), &who))
        .collect();
    let now = stream::iter(states).map(|event| Ok(message(&event)));
    let end = Box::pin(state.doors.end_of(who.clone()));
    let listener = Listener { events, camera, who, stopping: state.stopping.clone(), _permit: permit };
    Ok(response.streaming(now.chain(listener.stream()).take_until(end)))
}

struct Listener {
    events: broadcast::Receiver<Event>,
    camera: Option<String>,
    who: Who,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    fn stream(self) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
        stream::unfold(self, |mut listener| async move {
            let text = listener.next().await?;
            Some((Ok(text), listener))
        })
    }

    /// The next thing to say; None when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let received = tokio::select! {
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                received = tokio::time::timeout(KEEP_ALIVE, self.events.recv()) => received,
            };
            match received {
                Ok(Ok(event)) if concerns(&event, self.camera.as_deref(), &self.who) => return Some(message(&event)),
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(missed))) => {
                    let told = Lagged { event: "lagged", missed };
                    return Some(text("lagged", &told));
                }
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }
}

/// Is this event of the camera that the listener asked for, and may they see it? Those of no camera go to everyone, but
/// for files that are no camera's: their names may be those of cameras to be.
fn concerns(event: &Event, wanted: Option<&str>, who: &Who) -> bool {
    let of = match event {
        Event::CameraState { camera, .. }
        | Event::CameraRemoved { camera }
        | Event::MotionStarted { camera, .. }
        | Event::MotionEnded { camera, .. }
        | Event::RecordingOpened { camera, .. }
        | Event::RecordingClosed { camera, .. }
        | Event::ConfigApplied { camera }
        | Event::Gap { camera, .. } => Some(camera.as_str()),
        Event::Alarm { camera, .. } | Event::ConfigRefused { camera, .. } => camera.as_deref(),
    };
    if matches!(event, Event::ConfigRefused { camera: None, .. }) && !who.sees_all() {
        return false;
    }
    who.sees_of(of) && of.zip(wanted).is_none_or(|(of, wanted)| of == wanted)
}

fn message(event: &Event) -> Bytes {
    let name = match event {
        Event::CameraState { .. } => "camera_state",
        Event::CameraRemoved { .. } => "camera_removed",
        Event::MotionStarted { .. } => "motion_started",
        Event::MotionEnded { .. } => "motion_ended",
        Event::RecordingOpened { .. } => "recording_opened",
        Event::RecordingClosed { .. } => "recording_closed",
        Event::ConfigApplied { .. } => "config_applied",
        Event::ConfigRefused { .. } => "config_refused",
        Event::Gap { .. } => "gap",
        Event::Alarm { .. } => "alarm",
    };
    text(name, event)
}

/// One event of a stream. JSON has no line breaks, which would end it.
fn text(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_names_each_event_as_its_data_does() {
        let event = Event::ConfigRefused {
            camera: Some("a".into()),
            file: "a.yaml".into(),
            error: "a.yaml:1:1: line\nbreak".into(),
        };
        assert_eq!(
            message(&event),
            "event: config_refused\ndata: {\"event\":\"config_refused\",\"camera\":\"a\",\"file\":\"a.yaml\",\
             \"error\":\"a.yaml:1:1: line\\nbreak\"}\n\n"
        );
    }
}
