//! Events: those that were recorded as a list, and those that happen as a stream (server-sent events).

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::ToSchema;

use super::query::Query;
use super::recordings::check_camera;
use super::{AppState, Problem};
use crate::domain::camera::{Event, Reason};
use crate::domain::recording::{Recording, RecordingQuery};

/// How often a quiet stream says that it is alive; this also finds listeners that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Rows asked of the index at a time, and of a page without `limit`.
const ROWS: u32 = 100;

/// A motion event, or one by hand, as it was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct MotionEvent {
    /// Always `motion`.
    event: &'static str,
    camera: String,
    /// The trigger; for the second and further files of a long event, the start of the file.
    start: DateTime<Utc>,
    /// The end of the event; null while it goes on.
    end: Option<DateTime<Utc>>,
    reason: Reason,
    /// It began in an earlier file.
    continued: bool,
    /// The id of the recording that holds it.
    recording: i64,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    events: Vec<MotionEvent>,
    /// `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// Motion events that were recorded; with `Accept: text/event-stream`, what happens from now on.
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
pub async fn events(state: web::Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let keys = Query::of(&request);
    let query = keys.rows()?;
    if wants_stream(&request) {
        if let Some(key) = ["from", "to", "limit", "cursor"].into_iter().find(|key| keys.text(key).is_some()) {
            return Err(Problem::bad_query(key, "does not go with a stream, which begins now"));
        }
        check_camera(&state, &query).await?;
        return listen(&state, &request, query.camera);
    }
    check_camera(&state, &query).await?;
    Ok(HttpResponse::Ok().json(recorded(&state, query).await?))
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

async fn recorded(state: &AppState, mut query: RecordingQuery) -> Result<EventPage, Problem> {
    let wanted = if query.limit == 0 { ROWS } else { query.limit } as usize;
    let mut events = Vec::new();
    loop {
        // Rows that hold no event are passed over, so a page may need more than one look at the index.
        query.limit = (wanted - events.len()) as u32;
        let rows = query.clone();
        let page = state.ask(move |index| index.recordings(&rows)).await?;
        events.extend(page.items.iter().filter_map(event_of));
        if page.next.is_none() || events.len() >= wanted {
            return Ok(EventPage { events, next: page.next });
        }
        query.cursor = page.next;
    }
}

/// The event that made this recording, if one did.
fn event_of(recording: &Recording) -> Option<MotionEvent> {
    if !matches!(recording.reason, Reason::Motion | Reason::Manual) {
        return None;
    }
    let before_us = recording.pre_alarm_s.map(|seconds| (seconds * 1e6).round() as i64);
    Some(MotionEvent {
        event: "motion",
        camera: recording.camera.clone(),
        start: recording.start + TimeDelta::microseconds(before_us.unwrap_or(0)),
        end: recording.end,
        reason: recording.reason,
        continued: before_us.is_none(),
        recording: recording.id,
    })
}

/// What a listener is told that could not keep up.
#[derive(Serialize)]
struct Lagged {
    event: &'static str,
    missed: u64,
}

fn listen(state: &AppState, request: &HttpRequest, camera: Option<String>) -> Result<HttpResponse, Problem> {
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
        .filter(|event| concerns(event, camera.as_deref()))
        .collect();
    let now = stream::iter(states).map(|event| Ok(message(&event)));
    let listener = Listener { events, camera, stopping: state.stopping.clone(), _permit: permit };
    Ok(response.streaming(now.chain(listener.stream())))
}

struct Listener {
    events: broadcast::Receiver<Event>,
    camera: Option<String>,
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
                Ok(Ok(event)) if concerns(&event, self.camera.as_deref()) => return Some(message(&event)),
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

/// Is this event of the camera that the listener asked for? Those of no camera go to everyone.
fn concerns(event: &Event, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
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
    of.is_none_or(|camera| camera == wanted)
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

    #[test]
    fn an_event_starts_at_its_trigger() {
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let mut recording = Recording {
            id: 7,
            camera: "yard".into(),
            start,
            end: Some(start + TimeDelta::seconds(20)),
            pre_alarm_s: Some(5.25),
            bytes: 1,
            path: "yard/a.mp4".into(),
            motion_s: 4.0,
            complete: true,
            reason: Reason::Motion,
        };
        let event = event_of(&recording).unwrap();
        assert_eq!((event.start - start, event.continued), (TimeDelta::milliseconds(5250), false));
        recording.pre_alarm_s = None;
        let event = event_of(&recording).unwrap();
        assert_eq!((event.start, event.continued), (start, true));
        recording.reason = Reason::Continuous;
        assert!(event_of(&recording).is_none());
    }
}
