//! Recordings and gaps: rows of the index, and the files behind them.
//!
//! A path comes from the index, yet is checked again before a file is opened or removed: it stays inside the
//! archive, whatever the row or a symbolic link says.

use std::io;
use std::path::{Component, Path, PathBuf};

use actix_files::NamedFile;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::doors::Who;
use super::query::Query;
use super::{AppState, Problem, blocking};
use crate::archive::index::Index;
use crate::archive::paths;
use crate::clock;
use crate::domain::recording::{Gap, ListedRecording, Recording, RecordingQuery};

/// A page of recordings, newest first.
#[derive(Serialize, ToSchema)]
pub struct RecordingPage {
    recordings: Vec<ListedRecording>,
    /// `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// A page of gaps, newest first.
#[derive(Serialize, ToSchema)]
pub struct GapPage {
    gaps: Vec<Gap>,
    /// `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// Recordings, newest first; open ones are among them.
#[utoipa::path(get, path = "/api/recordings", tag = "recordings", responses(
    (status = 200, description = "a page of recordings", body = RecordingPage),
    (status = 400, description = "a query key is wrong"),
    (status = 404, description = "no such camera"),
))]
pub async fn list(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
) -> Result<web::Json<RecordingPage>, Problem> {
    let query = Query::of(&request).rows(&who)?;
    check_camera(&state, &who, &query).await?;
    let root = state.archive_root.clone();
    let page = state
        .ask(move |index| {
            let mut page = index.recordings(&query)?;
            page.items.iter_mut().for_each(|recording| measure(&root, recording));
            let recordings = page.items.into_iter().map(|recording| listed(index, recording)).collect();
            Ok(RecordingPage { recordings, next: page.next })
        })
        .await?;
    Ok(web::Json(page))
}

/// Gaps, newest first.
#[utoipa::path(get, path = "/api/gaps", tag = "recordings", responses(
    (status = 200, description = "stretches that should have been recorded and were not", body = GapPage),
    (status = 400, description = "a query key is wrong"),
    (status = 404, description = "no such camera"),
))]
pub async fn gaps(state: web::Data<AppState>, who: Who, request: HttpRequest) -> Result<web::Json<GapPage>, Problem> {
    let query = Query::of(&request).rows(&who)?;
    check_camera(&state, &who, &query).await?;
    let page = state.ask(move |index| index.gaps(&query)).await?;
    Ok(web::Json(GapPage { gaps: page.items, next: page.next }))
}

/// 404 for a camera that neither runs nor has left anything in the index, and for one that `who` may not see.
pub async fn check_camera(state: &AppState, who: &Who, query: &RecordingQuery) -> Result<(), Problem> {
    let Some(name) = &query.camera else { return Ok(()) };
    if !who.sees(name) {
        return Err(state.no_such_camera(who, name));
    }
    if state.registry.get(name).is_some() {
        return Ok(());
    }
    let trace = RecordingQuery { camera: Some(name.clone()), limit: 1, ..RecordingQuery::default() };
    let left = state
        .ask(move |index| Ok(!index.recordings(&trace)?.items.is_empty() || !index.gaps(&trace)?.items.is_empty()))
        .await?;
    if left { Ok(()) } else { Err(state.no_such_camera(who, name)) }
}

/// One recording.
#[utoipa::path(get, path = "/api/recordings/{id}", tag = "recordings", responses(
    (status = 200, description = "the recording's row", body = ListedRecording),
    (status = 404, description = "no such recording"),
))]
pub async fn one(
    state: web::Data<AppState>,
    who: Who,
    id: web::Path<String>,
) -> Result<web::Json<ListedRecording>, Problem> {
    let recording = find(&state, &who, &id).await?;
    state.ask(move |index| Ok(listed(index, recording))).await.map(web::Json)
}

/// The recording's file, with byte ranges. One that is still open is served as far as it is written.
#[utoipa::path(get, path = "/api/recordings/{id}/video.mp4", tag = "recordings", params(
    ("Range" = Option<String>, Header, description = "bytes"),
), responses(
    (status = 200, description = "the file", content_type = "video/mp4", body = Vec<u8>),
    (status = 206, description = "the bytes that were asked for", content_type = "video/mp4", body = Vec<u8>),
    (status = 304, description = "unchanged since the ETag that was given"),
    (status = 404, description = "no such recording, or its file is gone"),
    (status = 416, description = "the file does not hold these bytes"),
))]
pub async fn video(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let recording = find(&state, &who, &id).await?;
    let (root, path) = (state.archive_root.clone(), recording.path.clone());
    let file = blocking(move || open_inside(&root, &path)).await?.map_err(|error| of_file(&recording, &error))?;
    let mut response = file.into_response(&request);
    if recording.complete {
        // It does not change any more; whether it still exists is asked each time.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    Ok(response)
}

/// Deletes a recording: its file and its row.
#[utoipa::path(delete, path = "/api/recordings/{id}", tag = "recordings", responses(
    (status = 204, description = "deleted"),
    (status = 404, description = "no such recording"),
    (status = 409, description = "the recording is still open, or protected"),
))]
pub async fn delete(state: web::Data<AppState>, who: Who, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let recording = find(&state, &who, &id).await?;
    if !recording.complete {
        return Err(Problem::conflict(format!("recording {id} is still open (delete it when it is closed)")));
    }
    check_unprotected(&state, &recording).await?;
    remove(&state, &who, recording).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// 409 for a recording that somebody wants kept.
pub async fn check_unprotected(state: &AppState, recording: &Recording) -> Result<(), Problem> {
    let (id, path) = (recording.id, recording.path.clone());
    if state.ask(move |index| Ok(is_protected(index, &path))).await? {
        let how = format!("take that back first: DELETE /api/recordings/{id}/protect");
        return Err(Problem::conflict(format!("recording {id} is protected ({how})")));
    }
    Ok(())
}

/// Deletes a closed recording's file and row.
pub async fn remove(state: &AppState, who: &Who, recording: Recording) -> Result<(), Problem> {
    let (root, path) = (state.archive_root.clone(), recording.path.clone());
    // The file first: a row without a file is found and dropped by the next scan, a file without a row would
    // come back.
    match blocking(move || remove_inside(&root, &path)).await? {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(of_file(&recording, &error)),
        _ => {}
    }
    let removed = recording.id;
    let index = state.index.clone();
    blocking(move || {
        index.remove(removed);
        index.flush();
    })
    .await?;
    tracing::info!(
        camera = recording.camera,
        recording = removed,
        path = recording.path,
        who = who.name(),
        "deleted over HTTP"
    );
    Ok(())
}

/// Keeps a recording: neither retention nor a request deletes it until this is taken back.
#[utoipa::path(post, path = "/api/recordings/{id}/protect", tag = "recordings", responses(
    (status = 200, description = "it is protected", body = ListedRecording),
    (status = 404, description = "no such recording"),
))]
pub async fn protect(
    state: web::Data<AppState>,
    who: Who,
    id: web::Path<String>,
) -> Result<web::Json<ListedRecording>, Problem> {
    set_protected(&state, &who, &id, true).await
}

/// Leaves a protected recording to retention again.
#[utoipa::path(delete, path = "/api/recordings/{id}/protect", tag = "recordings", responses(
    (status = 200, description = "it is not protected", body = ListedRecording),
    (status = 404, description = "no such recording"),
))]
pub async fn unprotect(
    state: web::Data<AppState>,
    who: Who,
    id: web::Path<String>,
) -> Result<web::Json<ListedRecording>, Problem> {
    set_protected(&state, &who, &id, false).await
}

async fn set_protected(
    state: &AppState,
    who: &Who,
    id: &str,
    wanted: bool,
) -> Result<web::Json<ListedRecording>, Problem> {
    let Recording { path, camera, id: number, .. } = find(state, who, id).await?;
    let (index, of) = (state.index.clone(), path.clone());
    let set = move || match wanted {
        true => index.state().protect(&of, number, clock::utc_now()),
        false => index.state().unprotect(&of),
    };
    blocking(set).await?.map_err(|error| Problem::internal(error.to_string()))?;
    // Retention may have been quicker.
    let recording = find(state, who, id).await?;
    tracing::info!(camera, recording = number, path, protected = wanted, who = who.name(), "asked over HTTP");
    state.ask(move |index| Ok(listed(index, recording))).await.map(web::Json)
}

fn listed(index: &Index, recording: Recording) -> ListedRecording {
    ListedRecording { protected: is_protected(index, &recording.path), recording }
}

/// While nobody knows what is protected, everything is.
pub fn is_protected(index: &Index, path: &str) -> bool {
    index.state().protected().map_or(true, |protected| protected.has(path))
}

/// The recording with this id; 404 for one that `who` may not see, as for one that is not there.
pub async fn find(state: &AppState, who: &Who, id: &str) -> Result<Recording, Problem> {
    let none = || Problem::not_found(format!("there is no recording {id:?}"));
    let number: i64 = id.parse().map_err(|_| none())?;
    let root = state.archive_root.clone();
    let found = state.ask(move |index| {
        let mut found = index.recording(number)?;
        found.iter_mut().for_each(|recording| measure(&root, recording));
        Ok(found)
    });
    found.await?.filter(|recording| who.sees(&recording.camera)).ok_or_else(none)
}

/// The row of an open recording does not know how far its file has come; the disk does.
fn measure(root: &Path, recording: &mut Recording) {
    if recording.end.is_none()
        && let Ok(path) = paths::inside(root, &recording.path)
        && let Ok(file) = path.metadata()
    {
        recording.bytes = file.len();
    }
}

/// Why a recording's file could not be used.
pub fn of_file(recording: &Recording, error: &io::Error) -> Problem {
    let Recording { id, path, .. } = recording;
    match error.kind() {
        io::ErrorKind::NotFound => Problem::not_found(format!("the file of recording {id} ({path}) is gone")),
        io::ErrorKind::InvalidInput => Problem::internal(format!("recording {id}: {error}")),
        _ => Problem::internal(format!("recording {id}: cannot use {path}: {error}")),
    }
}

/// The file that `path` names below `root`, opened. Anything else than a plain file inside the archive is
/// refused (opening a pipe would wait for ever).
fn open_inside(root: &Path, path: &str) -> io::Result<NamedFile> {
    let (root, joined) = (root.canonicalize()?, joined(root, path)?);
    let file = joined.canonicalize()?;
    if !file.starts_with(root) {
        return Err(outside(path));
    }
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path} is not a plain file")));
    }
    NamedFile::open(file)
}

/// Removes what `path` names below `root`; a symbolic link is removed itself and not what it points to.
fn remove_inside(root: &Path, path: &str) -> io::Result<()> {
    let (root, joined) = (root.canonicalize()?, joined(root, path)?);
    let folder = joined.parent().ok_or_else(|| outside(path))?.canonicalize()?;
    let name = joined.file_name().ok_or_else(|| outside(path))?;
    if !folder.starts_with(root) {
        return Err(outside(path));
    }
    std::fs::remove_file(folder.join(name))
}

fn joined(root: &Path, path: &str) -> io::Result<PathBuf> {
    let plain = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if plain { Ok(root.join(path)) } else { Err(outside(path)) }
}

fn outside(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} leads out of the archive"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_of_the_archive_are_opened() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("archive");
        std::fs::create_dir_all(root.join("yard")).unwrap();
        std::fs::write(root.join("yard/a.mp4"), "inside").unwrap();
        std::fs::write(outer.path().join("secret"), "outside").unwrap();
        symlink(outer.path().join("secret"), root.join("yard/link.mp4")).unwrap();
        symlink(outer.path(), root.join("up")).unwrap();
        let absolute = root.join("yard/a.mp4").display().to_string();

        assert!(open_inside(&root, "yard/a.mp4").is_ok());
        for path in ["", "yard", "../secret", "yard/../../secret", "yard/link.mp4", "up/secret", &absolute, "./x"] {
            assert!(open_inside(&root, path).is_err(), "{path}");
        }
        for path in ["", "yard", "../secret", "up/secret", &absolute] {
            assert!(remove_inside(&root, path).is_err(), "{path}");
        }
        remove_inside(&root, "yard/link.mp4").unwrap();
        assert!(outer.path().join("secret").exists());
        assert!(!root.join("yard/link.mp4").exists());
    }
}
