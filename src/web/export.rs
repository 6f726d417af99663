//! Any stretch of a camera's recordings as one MP4, streamed while it is made.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_DISPOSITION, ContentDisposition, DispositionParam, DispositionType};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::doors::Who;
use super::query::Query;
use super::recordings::check_camera;
use super::{AppState, Problem, blocking};
use crate::archive::export::{Export, ExportError};

/// Pieces that are made ahead of a client; each has a few megabytes at most.
const AHEAD: usize = 1;

/// One MP4 of everything recorded in a stretch of time, from the picture at `from` on. Nothing is encoded anew, and
/// where nothing was recorded the time goes on.
#[utoipa::path(get, path = "/api/export", tag = "recordings", params(
    ("camera" = String, Query, pattern = "^[a-z0-9][a-z0-9_-]*$", description = "the camera's name"),
    ("from" = DateTime<Utc>, Query, description = "the first picture that is shown"),
    ("to" = DateTime<Utc>, Query, description = "the end"),
), responses(
    (status = 200, description = "the pictures and sound of this stretch, as a fragmented MP4", content_type = "video/mp4", body = Vec<u8>, headers(
        ("Tarsier-From" = DateTime<Utc>, description = "when the first picture was taken that is shown"),
        ("Tarsier-To" = DateTime<Utc>, description = "the end"),
        ("Tarsier-Next" = DateTime<Utc>, description = "only where the pictures change their kind (codec, size, parameters) before `to`, at which the file ends: ask again from here"),
    )),
    (status = 400, description = "a query key is wrong or missing"),
    (status = 404, description = "no such camera, or nothing is recorded in this stretch"),
    (status = 503, description = "too many exports run already"),
))]
pub async fn export(state: web::Data<AppState>, who: Who, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request).rows(&who)?;
    let (Some(camera), Some(from), Some(to)) = (query.camera.clone(), query.from, query.to) else {
        let missing = [("camera", query.camera.is_none()), ("from", query.from.is_none()), ("to", query.to.is_none())];
        let key = missing.iter().find(|(_, missing)| *missing).map_or("to", |(key, _)| key);
        return Err(Problem::bad_query(key, "is missing (an export needs camera, from and to)"));
    };
    if from == to {
        return Err(Problem::bad_query("to", "is `from`, and nothing is between them"));
    }
    check_camera(&state, &who, &query).await?;
    let permit = Arc::clone(&state.exports)
        .try_acquire_owned()
        .map_err(|_| Problem::unavailable("too many exports run already (wait for one to end)"))?;
    let (root, index, name) = (state.archive_root.clone(), state.index.clone(), camera.clone());
    let export = blocking(move || Export::plan(&root, &index, &name, from, to)).await?;
    let export = export.map_err(|error| problem(error, &camera, from, to))?;
    let mut response = HttpResponse::Ok();
    response.content_type("video/mp4");
    response.insert_header(("Tarsier-From", time(export.from())));
    response.insert_header(("Tarsier-To", time(export.to())));
    if let Some(next) = export.next() {
        response.insert_header(("Tarsier-Next", time(next)));
    }
    let file_name = format!("{camera}_{}.mp4", export.from().format("%Y-%m-%dT%H%M%SZ"));
    response.insert_header((
        CONTENT_DISPOSITION,
        ContentDisposition {
            disposition: DispositionType::Attachment,
            parameters: vec![DispositionParam::Filename(file_name)],
        },
    ));
    if *request.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let pieces = start(export, camera, permit)?;
    Ok(response.streaming(until_stopped(pieces, state.stopping.clone())))
}

/// Makes the export on a thread of its own, which waits for the client and ends with it.
fn start(
    export: Export,
    camera: String,
    permit: OwnedSemaphorePermit,
) -> Result<mpsc::Receiver<io::Result<Bytes>>, Problem> {
    let (pieces, receiver) = mpsc::channel(AHEAD);
    let work = move || {
        let _permit = permit;
        let made = export.write(&mut |piece| match pieces.blocking_send(Ok(Bytes::from(piece))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        if let Err(error) = made {
            tracing::warn!(camera, %error, "an export broke off");
            // The connection is cut, so that the client does not take the file for whole.
            let _ = pieces.blocking_send(Err(error));
        }
    };
    let thread = std::thread::Builder::new().name("export".into()).spawn(work);
    thread.map_err(|error| Problem::internal(format!("the export's thread cannot be started: {error}")))?;
    Ok(receiver)
}

fn until_stopped(
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    stopping: watch::Receiver<bool>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold((pieces, stopping), |(mut pieces, mut stopping)| async move {
        let piece = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => Some(Err(io::Error::other("the server stops"))),
            piece = pieces.recv() => piece,
        };
        piece.map(|piece| (piece, (pieces, stopping)))
    })
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn problem(error: ExportError, camera: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Problem {
    match error {
        ExportError::Index(error) => error.into(),
        ExportError::TooMany => Problem::bad_query("to", error.to_string()),
        ExportError::Nothing => Problem::not_found(format!(
            "nothing of {camera:?} is recorded from {} to {} (/api/recordings?camera={camera} lists what there is, \
             /api/gaps?camera={camera} why something is missing)",
            time(from),
            time(to)
        )),
        ExportError::Unreadable(_) => Problem::internal(format!("export of {camera:?}: {error}")),
    }
}
