//! Small pictures of what was recorded: of a recording, of an event, of a moment.
//!
//! Each is one keyframe out of a file, decoded and made small on the blocking pool, few at a time: a page full of them
//! waits, and recording does not.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, ETAG, EntityTag, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::doors::Who;
use super::query::Query;
use super::recordings::{self, check_camera};
use super::{AppState, Problem, blocking, cached, events};
use crate::archive::still::{self, PlanError};
use crate::clock;
use crate::domain::recording::{MotionEvent, Recording, RecordingQuery};
use crate::media::jpeg;

/// Pictures that are made at one time.
pub const AT_A_TIME: usize = 2;
/// Widest picture, in pixels.
const WIDTH: u32 = 320;
/// A browser's clock may be ahead of ours by so much.
const AHEAD: TimeDelta = TimeDelta::seconds(10);

/// Which picture of a recording: see [`still::keyframe`].
struct Wanted {
    recording: Recording,
    within: RangeInclusive<DateTime<Utc>>,
    moment: DateTime<Utc>,
}

/// A small picture of the recording: the first keyframe after its trigger, or its first.
#[utoipa::path(get, path = "/api/recordings/{id}/thumbnail.jpg", tag = "recordings", responses(
    (status = 200, description = "a JPEG, 320 pixels wide at most", content_type = "image/jpeg", body = Vec<u8>, headers(
        ("X-Taken-At" = DateTime<Utc>, description = "when the picture was taken"),
    )),
    (status = 304, description = "unchanged since the ETag that was given"),
    (status = 404, description = "no such recording, it has no picture yet, or its file is gone"),
    (status = 409, description = "its file is damaged: no picture can be taken of it"),
))]
pub async fn of_recording(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let recording = recordings::find(&state, &who, &id).await?;
    let lead_ms = recording.pre_alarm_s.map_or(0, |seconds| (seconds * 1000.0) as i64);
    let moment = recording.start + TimeDelta::milliseconds(lead_ms);
    let within = moment..=recording.end.unwrap_or(moment).max(moment);
    answer(&state, &request, Wanted { recording, within, moment }).await
}

/// A small picture of the event: the keyframe in it that is nearest to the second in which most moved.
#[utoipa::path(get, path = "/api/events/{id}/thumbnail.jpg", tag = "events", responses(
    (status = 200, description = "a JPEG, 320 pixels wide at most", content_type = "image/jpeg", body = Vec<u8>, headers(
        ("X-Taken-At" = DateTime<Utc>, description = "when the picture was taken"),
    )),
    (status = 304, description = "unchanged since the ETag that was given"),
    (status = 404, description = "no such event, nothing of it is recorded (yet), or the file is gone"),
    (status = 409, description = "the file is damaged: no picture can be taken of it"),
))]
pub async fn of_event(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (event, ids) = events::find(&state, &who, &id).await?;
    let wanted = state.ask(move |index| {
        let rows = ids.into_iter().filter_map(|id| index.recording(id).transpose());
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let MotionEvent { camera, start, end, .. } = event;
        let moment = match end {
            // While it goes on the picture stays the same.
            None => start,
            Some(end) => index
                .scores(&camera, start, end + TimeDelta::seconds(1))?
                .peak_s()
                .and_then(|second| DateTime::from_timestamp(second, 500_000_000))
                .map_or(start, |peak| peak.clamp(start, end)),
        };
        let end = end.unwrap_or(start).max(start);
        let holds = |row: &Recording| row.start <= moment && row.end.is_none_or(|end| moment < end);
        let at = rows.iter().position(holds).unwrap_or(0);
        Ok(rows.into_iter().nth(at).map(|recording| Wanted { recording, within: start..=end, moment }))
    });
    let wanted = wanted.await?.ok_or_else(|| Problem::not_found(format!("nothing of event {id} is recorded")))?;
    answer(&state, &request, wanted).await
}

/// A small picture of what the camera saw at a moment: the keyframe at or before it, out of the file that holds it.
#[utoipa::path(get, path = "/api/cameras/{name}/thumbnail.jpg", tag = "cameras", params(
    ("at" = DateTime<Utc>, Query, description = "the moment"),
), responses(
    (status = 200, description = "a JPEG, 320 pixels wide at most", content_type = "image/jpeg", body = Vec<u8>, headers(
        ("X-Taken-At" = DateTime<Utc>, description = "when the picture was taken"),
    )),
    (status = 304, description = "unchanged since the ETag that was given"),
    (status = 400, description = "a query key is wrong or missing"),
    (status = 404, description = "no such camera, or nothing of it is recorded at this moment"),
    (status = 409, description = "the file is damaged: no picture can be taken of it"),
))]
pub async fn of_moment(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let camera = Some(name.to_string());
    check_camera(&state, &who, &RecordingQuery { camera: camera.clone(), ..RecordingQuery::default() }).await?;
    let moment = Query::of(&request).time("at")?;
    let moment = moment.ok_or_else(|| Problem::bad_query("at", "is missing (which moment?)"))?;
    // Pages know times to the millisecond.
    let to = Some(moment + TimeDelta::milliseconds(1));
    let query = RecordingQuery { camera, from: Some(moment), to, limit: 1, ..RecordingQuery::default() };
    let found = match moment > clock::utc_now() + AHEAD {
        true => None,
        false => state.ask(move |index| index.recordings(&query)).await?.items.pop(),
    };
    let recording = found.ok_or_else(|| {
        let at = moment.to_rfc3339_opts(SecondsFormat::Secs, true);
        Problem::not_found(format!("nothing of {name} is recorded at {at} (/api/gaps?camera={name} may say why)"))
    })?;
    answer(&state, &request, Wanted { recording, within: moment..=moment, moment }).await
}

async fn answer(state: &AppState, request: &HttpRequest, wanted: Wanted) -> Result<HttpResponse, Problem> {
    let Wanted { recording, within, moment } = wanted;
    // A closed file does not change any more, so that the same wish has the same picture; an upgrade may choose another.
    let tag = recording.complete.then(|| {
        let (from, to) = (within.start().timestamp_micros(), within.end().timestamp_micros());
        let (id, bytes, at) = (recording.id, recording.bytes, moment.timestamp_micros());
        EntityTag::new_strong(format!("{}-{id}-{bytes}-{from}-{to}-{at}", env!("CARGO_PKG_VERSION")))
    });
    // Whether it still exists, and whether this person may see it, was asked anew.
    let kept = (CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(mut response) = tag.as_ref().and_then(|tag| cached::unchanged(request, tag)) {
        response.headers_mut().insert(kept.0, kept.1);
        return Ok(response);
    }
    let turn = Arc::clone(&state.thumbnails).acquire_owned().await;
    let turn = turn.map_err(|_| Problem::unavailable("the server is stopping"))?;
    let root = state.archive_root.clone();
    let made = blocking(move || {
        let made = still::keyframe(&root, &recording, &within, moment)
            .map(|still| still.map(|still| (jpeg::snapshot(&still.packet, Some(WIDTH)), still.taken_at)));
        // Whoever does not wait any more leaves the place when the work is over, not before.
        drop(turn);
        (made, recording)
    });
    let (made, recording) = made.await?;
    let (jpeg, taken_at) = match made {
        Ok(Some(made)) => made,
        Ok(None) => return Err(Problem::not_found(format!("recording {} holds no picture yet", recording.id))),
        Err(PlanError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(recordings::of_file(&recording, &error));
        }
        Err(error) => return Err(damaged(&recording, &error.to_string())),
    };
    let taken_at = taken_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let jpeg = jpeg.map_err(|error| damaged(&recording, &format!("its picture of {taken_at}: {error}")))?;
    let mut response = HttpResponse::Ok();
    response.content_type("image/jpeg").insert_header(("X-Taken-At", taken_at));
    if let Some(tag) = tag {
        response.insert_header((ETAG, tag.to_string())).insert_header(kept);
    }
    Ok(response.body(jpeg))
}

/// Nothing is wrong with the server, and asking again does not help.
fn damaged(recording: &Recording, what: &str) -> Problem {
    let Recording { id, path, camera, .. } = recording;
    tracing::warn!(camera, path, what, "no picture can be taken of a recording");
    Problem::conflict(format!(
        "recording {id}: {path} is damaged, and no picture can be taken of it: {what} (tarsier recordings verify tells more)"
    ))
}
