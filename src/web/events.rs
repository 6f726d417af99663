//! Events: those that were recorded as a list, and those that happen as a stream (server-sent events).

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::ToSchema;

use super::body::Json;
use super::doors::Who;
use super::query::Query;
use super::recordings::{self, check_camera, check_unprotected, is_protected};
use super::{AppState, Problem, blocking};
use crate::archive::index::{Index, IndexError};
use crate::archive::state::Labels;
use crate::clock;
use crate::domain::camera::{Event, Reason};
use crate::domain::finding::{Cause, Region};
use crate::domain::found::Found;
use crate::domain::label::{Label, Verdict};
use crate::domain::recording::{EventFilter, MotionEvent, Page, Recording, RecordingQuery};

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
    /// What a model found in its best pictures (`detect.confirm`), the surest first, with a `score` of 0 to 1 and a
    /// `box` in shares of the picture; null where none was asked, or has not answered yet.
    found: Option<Vec<Found>>,
    /// What a person said of it: `event`, or `not-event` for a false alarm; null where nobody has.
    label: Option<Verdict>,
    /// The ids of the recordings that hold some of it, oldest first.
    recordings: Vec<i64>,
    /// All of them are protected.
    protected: bool,
}

/// What became of a deleted event's recordings.
#[derive(Serialize, ToSchema)]
pub struct DeletedEvent {
    /// Those that went with it.
    deleted: Vec<i64>,
    /// Those that hold other events too, or are recorded without motion.
    kept: Vec<i64>,
}

/// An event as it is listed, for the API and the page.
pub struct EventRow {
    pub event: MotionEvent,
    /// The ids of the recordings that hold some of it, oldest first.
    pub recordings: Vec<i64>,
    pub is_protected: bool,
    /// What a person said of it.
    pub label: Option<Verdict>,
}

impl EventRow {
    fn of(index: &Index, labels: &Labels, (event, recordings): (MotionEvent, Vec<i64>)) -> Result<Self, IndexError> {
        let is_protected = !recordings.is_empty() && are_protected(index, &recordings)?;
        let label = labels.verdict(&event.camera, event.start);
        Ok(EventRow { event, recordings, is_protected, label })
    }
}

/// What a person says of an event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    /// `event`, or `not-event` for a false alarm.
    verdict: Verdict,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    events: Vec<ListedEvent>,
    /// `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// Motion events, newest first; with `Accept: text/event-stream`, what happens from now on, of all cameras or of
/// `camera`: no other key goes with the stream.
#[utoipa::path(get, path = "/api/events", tag = "events", params(
    ("min_s" = Option<f64>, Query, description = "at least so many seconds long; those that go on are left out"),
    ("cause" = Option<String>, Query, description = "what began it (`motion`, `scene_change`, …), or `manual`"),
    ("zone" = Option<String>, Query, description = "that touched this zone"),
    ("found" = Option<String>, Query, description = "in which a model found something of this class, such as `person`"),
), responses(
    (status = 200, description = "a page of events (where few fit it may have less than `limit`, and still a next one), or a stream of them", content(
        (EventPage = "application/json"),
        (Event = "text/event-stream"),
    )),
    (status = 400, description = "a query key is wrong"),
    (status = 404, description = "no such camera"),
    (status = 503, description = "too many listen already"),
))]
pub async fn events(state: web::Data<AppState>, who: Who, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let keys = Query::of(&request);
    let query = keys.rows(&who)?;
    if wants_stream(&request) {
        let of_lists = ["from", "to", "limit", "cursor", "min_s", "cause", "zone", "found"];
        if let Some(key) = of_lists.into_iter().find(|key| keys.text(key).is_some()) {
            return Err(Problem::bad_query(key, "does not go with a stream, which begins now"));
        }
        check_camera(&state, &who, &query).await?;
        return listen(&state, who, &request, query.camera);
    }
    check_camera(&state, &who, &query).await?;
    let page = rows(&state, query, keys.event_filter()?).await?;
    Ok(HttpResponse::Ok().json(EventPage { events: page.items.into_iter().map(listed).collect(), next: page.next }))
}

/// Says of an event that it is one, or a false alarm: `tarsier backtest` holds detectors against that. Outlives the
/// index, as protection does.
#[utoipa::path(put, path = "/api/events/{id}/label", tag = "events", request_body = NewLabel, responses(
    (status = 200, description = "it is kept", body = ListedEvent),
    (status = 404, description = "no such event"),
    (status = 409, description = "it still goes on"),
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
#[utoipa::path(delete, path = "/api/events/{id}/label", tag = "events", responses(
    (status = 200, description = "nothing is said of it", body = ListedEvent),
    (status = 404, description = "no such event"),
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
    let found = find(state, who, id).await?;
    let MotionEvent { id, camera, start, end, .. } = found.0.clone();
    let (index, of) = (state.index.clone(), camera.clone());
    let label = match (verdict, end) {
        (Some(verdict), Some(to)) => Some(Label { camera: camera.clone(), from: start, to, verdict }),
        (Some(_), None) => {
            return Err(Problem::conflict(format!("event {id} still goes on (say it when it is over)")));
        }
        (None, _) => None,
    };
    let set = move || match label {
        Some(label) => index.state().label(&label, id, clock::utc_now()),
        None => index.state().unlabel(&of, start),
    };
    blocking(set).await?.map_err(|error| Problem::internal(error.to_string()))?;
    tracing::info!(camera, event = id, label = verdict.map(Verdict::name), who = who.name(), "asked over HTTP");
    let row = state.ask(move |index| EventRow::of(index, &index.state().labels().unwrap_or_default(), found)).await?;
    Ok(web::Json(listed(row)))
}

/// A page of events.
pub async fn rows(state: &AppState, query: RecordingQuery, filter: EventFilter) -> Result<Page<EventRow>, Problem> {
    let page = state.ask(move |index| {
        let Page { items, next } = index.events_that(&query, &filter)?;
        // While nobody knows what was said, nothing was.
        let labels = index.state().labels().unwrap_or_default();
        let items = items.into_iter().map(|found| EventRow::of(index, &labels, found));
        Ok(Page { items: items.collect::<Result<Vec<_>, IndexError>>()?, next })
    });
    page.await
}

fn are_protected(index: &Index, recordings: &[i64]) -> Result<bool, IndexError> {
    for id in recordings {
        match index.recording(*id)? {
            Some(recording) if !is_protected(index, &recording.path) => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

/// The event with this id and its recordings; 404 for one that `who` may not see, as for one that is not there.
pub async fn find(state: &AppState, who: &Who, id: &str) -> Result<(MotionEvent, Vec<i64>), Problem> {
    let none = || Problem::not_found(format!("there is no event {id:?}"));
    let number: i64 = id.parse().map_err(|_| none())?;
    let found = state.ask(move |index| index.event(number)).await?;
    found.filter(|(event, _)| who.sees(&event.camera)).ok_or_else(none)
}

/// Deletes an event: its mark, and the recordings that it alone made.
///
/// A recording that also holds another event stays until that is deleted too, and what a camera records without motion
/// (`record.mode: continuous`) stays anyway.
#[utoipa::path(delete, path = "/api/events/{id}", tag = "events", responses(
    (status = 200, description = "deleted", body = DeletedEvent),
    (status = 404, description = "no such event"),
    (status = 409, description = "the event goes on, or its recording is still open or protected"),
))]
pub async fn delete(
    state: web::Data<AppState>,
    who: Who,
    id: web::Path<String>,
) -> Result<web::Json<DeletedEvent>, Problem> {
    let (event, recordings) = find(&state, &who, &id).await?;
    if event.end.is_none() {
        return Err(Problem::conflict(format!("event {id} goes on (delete it when it is over)")));
    }
    let of = event.id;
    let its_own = state.ask(move |index| {
        let mut its_own = Vec::new();
        for id in recordings {
            if let Some(recording) = index.recording(id)? {
                let goes = is_made_by_events(&recording) && !holds_other(index, &recording, of)?;
                its_own.push((recording, goes));
            }
        }
        Ok(its_own)
    });
    let (going, kept): (Vec<_>, Vec<_>) = its_own.await?.into_iter().partition(|(_, goes)| *goes);
    // All or none: nobody is left with half of what they asked for.
    for (recording, _) in &going {
        if !recording.complete {
            let id = recording.id;
            return Err(Problem::conflict(format!("its recording {id} is still open (delete it when that is closed)")));
        }
        check_unprotected(&state, recording).await?;
    }
    let ids = |rows: &[(Recording, bool)]| rows.iter().map(|(recording, _)| recording.id).collect();
    let (deleted, kept) = (ids(&going), ids(&kept));
    for (recording, _) in going {
        recordings::remove(&state, &who, recording).await?;
    }
    let index = state.index.clone();
    blocking(move || {
        index.remove_event(of);
        index.flush();
    })
    .await?;
    tracing::info!(camera = event.camera, event = of, who = who.name(), "event deleted over HTTP");
    Ok(web::Json(DeletedEvent { deleted, kept }))
}

/// Was it begun by an event, and not recorded anyway?
fn is_made_by_events(recording: &Recording) -> bool {
    matches!(recording.reason, Reason::Motion | Reason::Manual)
}

/// Is there some of another event in it?
fn holds_other(index: &Index, recording: &Recording, event: i64) -> Result<bool, IndexError> {
    let query = RecordingQuery {
        camera: Some(recording.camera.clone()),
        from: Some(recording.start),
        to: recording.end,
        limit: 2,
        ..RecordingQuery::default()
    };
    Ok(index.events(&query)?.items.iter().any(|(other, _)| other.id != event))
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

fn listed(row: EventRow) -> ListedEvent {
    let EventRow { event, recordings, is_protected: protected, label } = row;
    let MotionEvent { id, camera, start, end, reason, max_score, cause, zones, boxes, found } = event;
    let max_score = max_score.short_share();
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
        found,
        label,
        recordings,
        protected,
    }
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
        | Event::Found { camera, .. }
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
        Event::Found { .. } => "found",
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
