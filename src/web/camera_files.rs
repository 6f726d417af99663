//! Cameras added, changed and removed over HTTP, which is: their files in `config.d/`. For admins.
//!
//! A change is judged as a whole before anything is written, by what the Supervisor would say of the file
//! ([`store`]) and by what may be set over the network at all ([`bounds`]). Then the file is written, and the
//! Supervisor looks at it as at any editor's save. Passwords go in and never come out ([`veil`]).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ETAG, HeaderMap, IF_MATCH, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::body::{self, Body, Json};
use super::doors::Who;
use super::problem::Fault;
use super::{AppState, Problem, blocking, bounds, secret};
use crate::config::edit::{self, EditError};
use crate::config::store::{self, CameraFile, StoreError};
use crate::config::{self, Loaded, Models, veil};
use crate::domain::camera::Event;
use crate::domain::config::CameraConfig;

/// Longest wait for the Supervisor to take up what was written.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
const YAML: &str = "application/yaml";

/// A camera to be.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "front-door", "source": "rtsp://192.0.2.10:554/Streaming/Channels/101", "username": "viewer",
    "password": "a secret", "set": {"record.mode": "continuous", "record.pre_alarm": "5s"},
}))]
#[serde(deny_unknown_fields)]
pub struct NewCamera {
    /// The stem of its file: a-z, 0-9, `-` and `_`.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]*$", max_length = 200)]
    name: String,
    /// `rtsp://`, `rtsps://`, `http://` or `https://`.
    source: String,
    /// As the camera knows it.
    #[serde(default)]
    username: Option<String>,
    /// As the camera knows it; it goes into the file, which only Tarsier can read.
    #[serde(default)]
    password: Option<String>,
    /// Other keys of the file with dots (`record.mode`), and their values.
    #[serde(default)]
    set: BTreeMap<String, Value>,
}

/// What changes in a camera's file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedConfig {
    /// Keys with dots (`detect.width`) and their values, as they would stand in the file.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    /// Keys that go.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// The file is written, or gone.
#[derive(Serialize, ToSchema)]
pub struct Applied {
    camera: String,
    /// Has it been taken up? False: the Supervisor was not there in time; it looks every ten seconds.
    applied: bool,
    /// Of the file as it is now, for `If-Match`; null: it is gone.
    etag: Option<String>,
}

/// 422 for a text that can't be this camera's file.
pub fn faulty(file: &CameraFile, faults: Vec<config::Problem>) -> Problem {
    refused_with(StatusCode::UNPROCESSABLE_ENTITY, file, faults)
}

fn refused_with(status: StatusCode, file: &CameraFile, faults: Vec<config::Problem>) -> Problem {
    let name = file.path().file_name().unwrap_or_default().to_string_lossy();
    let told: Vec<String> = faults
        .iter()
        .map(|fault| config::Problem { file: name.as_ref().into(), ..fault.clone() }.to_string())
        .collect();
    Problem::new(status, format!("nothing was written: {}", told.join("; "))).with_faults(faults)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NoName(_) => StatusCode::BAD_REQUEST,
            StoreError::Write { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::CONFLICT,
        };
        Problem::new(status, error.to_string())
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        let status = match &error {
            EditError::NotAKey { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        Problem::new(status, error.to_string())
    }
}

/// Which text a change is of. A random key is in it: a password is not to be guessed from it.
fn tag(text: &str) -> String {
    static KEY: LazyLock<String> = LazyLock::new(secret::random);
    let digest = Sha256::new().chain_update(KEY.as_bytes()).chain_update(text.as_bytes()).finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Is the file still the one that the client has seen? Where there is none, that is the client's trouble.
fn check_tag(headers: &HeaderMap, stored: Option<&str>) -> Result<(), Problem> {
    let (Some(wanted), Some(stored)) = (headers.get(IF_MATCH), stored) else { return Ok(()) };
    let is = tag(stored);
    if wanted.to_str().unwrap_or_default().split(',').any(|wanted| [is.as_str(), "*"].contains(&wanted.trim())) {
        return Ok(());
    }
    let detail = "the file was changed meanwhile, by another page or an editor (load it again, and change that)";
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
}

/// The configuration that the Supervisor works with.
pub fn loaded(state: &AppState) -> Result<Arc<Loaded>, Problem> {
    state.registry.configuration().ok_or_else(|| Problem::unavailable("starting: tarsier.yaml has not been read yet"))
}

/// A camera's file as it may be shown.
pub struct Shown {
    pub text: String,
    pub etag: String,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// The file of a camera for who edits it.
pub async fn shown(state: &AppState, name: &str) -> Result<Shown, Problem> {
    let (loaded, name) = (loaded(state)?, name.to_owned());
    let shown = blocking(move || -> Result<Shown, Problem> {
        let file = store::find(&name, &loaded)?;
        let text = file.text.as_deref().ok_or_else(|| no_file(&file))?;
        let faults = file.faults(text, &loaded).into_iter().map(Fault::from).collect();
        Ok(Shown { text: veil::hide(text), etag: tag(text), faults })
    });
    shown.await?
}

pub fn no_file(file: &CameraFile) -> Problem {
    Problem::not_found(format!("there is no file {}", file.path().display()))
}

/// Changes a camera's file: `change` makes the new text of the one there is. All the rest is the same for everyone.
async fn change(
    state: &AppState,
    who: &Who,
    name: &str,
    headers: &HeaderMap,
    make: impl FnOnce(&CameraFile) -> Result<String, Problem> + Send + 'static,
) -> Result<Applied, Problem> {
    let loaded = loaded(state)?;
    // One after the other: none overwrites what it has not seen.
    let turn = state.edits.lock().await;
    let (asked, headers, allow_local) = (name.to_owned(), headers.clone(), state.allow_local);
    let written = blocking(move || -> Result<String, Problem> {
        let file = store::find(&asked, &loaded)?;
        check_tag(&headers, file.text.as_deref())?;
        let text = make(&file)?;
        judge(&file, &text, allow_local, &loaded)?;
        if file.text.as_deref() != Some(&text) {
            file.write(&text)?;
        }
        Ok(tag(&text))
    });
    let etag = written.await??;
    drop(turn);
    tracing::info!(camera = name, who = who.name(), "configuration changed over HTTP");
    let applied = tokio::time::timeout(LONGEST_LOOK, state.registry.look_again()).await.unwrap_or(false);
    Ok(Applied { camera: name.to_owned(), applied, etag: Some(etag) })
}

/// The camera that this text would be, if it may be in this file.
pub fn judge(file: &CameraFile, text: &str, allow_local: bool, loaded: &Loaded) -> Result<CameraConfig, Problem> {
    // First what may be there at all: judging a value reads variables and files.
    if !allow_local {
        let before = edit::written(file.text.as_deref().unwrap_or_default());
        let refusals = bounds::refusals(&before, &edit::written(text)).into_iter();
        let faults: Vec<config::Problem> = refusals
            .map(|refusal| {
                edit::fault_at(file.path(), text, &refusal.key, format!("`{}`: {}", refusal.key, refusal.why))
            })
            .collect();
        if !faults.is_empty() {
            return Err(refused_with(StatusCode::FORBIDDEN, file, faults));
        }
    }
    let mut faults = veil::left_over(file.path(), text);
    match file.camera(text, &loaded.with(Models::Try)) {
        Ok((camera, _)) if faults.is_empty() => Ok(camera),
        read => {
            faults.extend(read.err().unwrap_or_default());
            Err(faulty(file, faults))
        }
    }
}

impl ChangedConfig {
    /// The text with these changes.
    pub fn applied_to(&self, text: &str) -> Result<String, Problem> {
        let mut text = text.to_owned();
        for key in &self.remove {
            text = edit::remove(&text, key)?;
        }
        set_all(text, &self.set)
    }
}

/// The keys of `set` in a text, one after the other.
fn set_all(mut text: String, set: &BTreeMap<String, Value>) -> Result<String, Problem> {
    for (key, value) in set {
        text = edit::set(&text, key, value)?;
    }
    Ok(text)
}

/// The text that means these characters, whatever they are: no variables.
fn literal(text: &str) -> Value {
    text.replace("${", "$${").into()
}

/// Adds a camera: writes its file. It is watched and recorded from then on.
#[utoipa::path(post, path = "/api/cameras", tag = "cameras", request_body = NewCamera, responses(
    (status = 201, description = "its file is written", body = Applied),
    (status = 400, description = "the name is not possible"),
    (status = 403, description = "no admin, or more than is set over the network"),
    (status = 409, description = "there is a camera of this name, or others look after the files"),
    (status = 422, description = "some value is not possible"),
    (status = 507, description = "the folder can't be written"),
))]
pub async fn add(state: web::Data<AppState>, who: Who, Json(new): Json<NewCamera>) -> Result<HttpResponse, Problem> {
    let NewCamera { name, source, username, password, set } = new;
    let make = move |file: &CameraFile| {
        if file.text.is_some() {
            let detail = "there is a camera of this name already (choose another name, or change that camera)";
            return Err(Problem::conflict(detail));
        }
        let mut text = edit::set("", "source", &source.into())?;
        for (key, value) in [("username", username), ("password", password)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                text = edit::set(&text, key, &literal(&value))?;
            }
        }
        set_all(text, &set)
    };
    let applied = change(&state, &who, &name, &HeaderMap::new(), make).await?;
    Ok(HttpResponse::Created().insert_header((LOCATION, format!("/api/cameras/{name}"))).json(applied))
}

/// The text of a camera's file, for admins. `***` stands for what is secret in it.
#[utoipa::path(get, path = "/api/cameras/{name}/config", tag = "cameras", responses(
    (status = 200, description = "the text; its `ETag` is for `If-Match`", content_type = "application/yaml", body = Value),
    (status = 404, description = "no such file"),
    (status = 409, description = "the file can't be read"),
))]
pub async fn config(state: web::Data<AppState>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Shown { text, etag, .. } = shown(&state, &name).await?;
    let kind = format!("{YAML}; charset=utf-8");
    Ok(HttpResponse::Ok().content_type(kind).insert_header((ETAG, etag)).body(text))
}

/// Replaces the text of a camera's file; a faulty text changes nothing. `***` stands for the secret that is there.
#[utoipa::path(put, path = "/api/cameras/{name}/config", tag = "cameras", params(
    ("If-Match" = String, Header, description = "the `ETag` of the text that was changed, or `*`"),
), request_body(content = Value, content_type = "application/yaml"), responses(
    (status = 200, description = "it is written", body = Applied),
    (status = 403, description = "no admin, or more than is set over the network"),
    (status = 404, description = "no such file"),
    (status = 409, description = "others look after the files"),
    (status = 412, description = "the file was changed meanwhile"),
    (status = 422, description = "all that is wrong with the text"),
    (status = 428, description = "without `If-Match`"),
    (status = 507, description = "the folder can't be written"),
))]
pub async fn put_config(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    name: web::Path<String>,
    Body(bytes): Body,
) -> Result<HttpResponse, Problem> {
    // No foreign page can send that without asking first.
    if !body::is(request.headers(), YAML) {
        let detail = format!("the body has to be YAML (Content-Type: {YAML})");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if !request.headers().contains_key(header::IF_MATCH) {
        let detail = "say which text was changed (If-Match: its ETag), so that nobody's change is lost";
        return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail));
    }
    let sent = String::from_utf8(bytes.to_vec())
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "the text is not UTF-8"))?;
    let make = move |file: &CameraFile| {
        let stored = file.text.as_deref().ok_or_else(|| no_file(file))?;
        Ok(veil::restore(&sent, stored))
    };
    Ok(HttpResponse::Ok().json(change(&state, &who, &name, request.headers(), make).await?))
}

/// Sets and removes keys in a camera's file, and leaves all else in it as it is, comments too.
#[utoipa::path(patch, path = "/api/cameras/{name}/config", tag = "cameras", params(
    ("If-Match" = Option<String>, Header, description = "an `ETag` that the file must have"),
), request_body = ChangedConfig, responses(
    (status = 200, description = "it is written", body = Applied),
    (status = 400, description = "something is no key"),
    (status = 403, description = "no admin, or more than is set over the network"),
    (status = 404, description = "no such file"),
    (status = 409, description = "the file's layout does not allow it, or others look after it"),
    (status = 412, description = "the file was changed meanwhile"),
    (status = 422, description = "all that would be wrong with the file"),
    (status = 507, description = "the folder can't be written"),
))]
pub async fn patch_config(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    name: web::Path<String>,
    Json(changed): Json<ChangedConfig>,
) -> Result<HttpResponse, Problem> {
    let make = move |file: &CameraFile| changed.applied_to(file.text.as_deref().ok_or_else(|| no_file(file))?);
    Ok(HttpResponse::Ok().json(change(&state, &who, &name, request.headers(), make).await?))
}

/// Lets a camera run that was switched off.
#[utoipa::path(post, path = "/api/cameras/{name}/enable", tag = "cameras", responses(
    (status = 200, description = "its file says so", body = Applied),
    (status = 404, description = "no such file"),
    (status = 409, description = "others look after the file, or its layout does not allow it"),
))]
pub async fn enable(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    switch(&state, &who, &name, true).await
}

/// Switches a camera off; its recordings stay.
#[utoipa::path(post, path = "/api/cameras/{name}/disable", tag = "cameras", responses(
    (status = 200, description = "its file says so", body = Applied),
    (status = 404, description = "no such file"),
    (status = 409, description = "others look after the file, or its layout does not allow it"),
))]
pub async fn disable(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    switch(&state, &who, &name, false).await
}

async fn switch(state: &AppState, who: &Who, name: &str, on: bool) -> Result<HttpResponse, Problem> {
    let make = move |file: &CameraFile| {
        let text = file.text.as_deref().ok_or_else(|| no_file(file))?;
        Ok(edit::set(text, "enabled", &on.into())?)
    };
    Ok(HttpResponse::Ok().json(change(state, who, name, &HeaderMap::new(), make).await?))
}

/// Removes a camera: its file goes, its recordings stay.
#[utoipa::path(delete, path = "/api/cameras/{name}", tag = "cameras", params(
    ("If-Match" = Option<String>, Header, description = "an `ETag` that the file must have"),
), responses(
    (status = 200, description = "its file is gone", body = Applied),
    (status = 404, description = "no such file"),
    (status = 409, description = "others look after the file"),
    (status = 412, description = "the file was changed meanwhile"),
    (status = 507, description = "the folder can't be written"),
))]
pub async fn remove(
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let loaded = loaded(&state)?;
    let mut events = state.registry.listen();
    let turn = state.edits.lock().await;
    let (asked, headers) = (name.clone(), request.headers().clone());
    let removed = blocking(move || -> Result<(), Problem> {
        let file = store::find(&asked, &loaded)?;
        if file.text.is_none() {
            return Err(no_file(&file));
        }
        check_tag(&headers, file.text.as_deref())?;
        Ok(file.remove()?)
    });
    removed.await??;
    drop(turn);
    let name = name.into_inner();
    tracing::info!(camera = name, who = who.name(), "removed over HTTP; its recordings stay");
    // It finishes what it records first.
    let gone = async {
        state.registry.look_again().await;
        loop {
            match events.recv().await {
                Ok(Event::CameraRemoved { camera }) if camera == name => return true,
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return false,
                _ => {}
            }
        }
    };
    let applied = tokio::time::timeout(LONGEST_LOOK, gone).await.unwrap_or(false);
    Ok(HttpResponse::Ok().json(Applied { camera: name, applied, etag: None }))
}
