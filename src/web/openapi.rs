//! The OpenAPI document, made from the handlers' own descriptions.

mod shared;

use actix_web::web;
use utoipa::OpenApi;

use self::shared::Shared;
use super::{
    camera_files, cameras, events, export, health, live, login, metrics, probe, problem, recordings, thumbnails,
    tokens, tune, users,
};

/// The HTTP API.
#[derive(OpenApi)]
#[openapi(
    modifiers(&Shared),
    components(schemas(problem::Problem)),
    info(title = "Tarsier", description = "A network video recorder. Errors are problem+json (RFC 9457)."),
    paths(
        health::healthz,
        health::readyz,
        metrics::metrics,
        document,
        cameras::list,
        cameras::one,
        camera_files::add,
        camera_files::remove,
        camera_files::config,
        camera_files::put_config,
        camera_files::patch_config,
        tune::keys,
        tune::try_values,
        camera_files::enable,
        camera_files::disable,
        probe::probe,
        cameras::snapshot,
        cameras::score,
        live::video,
        live::stills,
        live::panes,
        cameras::trigger,
        cameras::restart,
        cameras::alarms,
        recordings::list,
        recordings::one,
        recordings::delete,
        recordings::video,
        recordings::protect,
        recordings::unprotect,
        recordings::gaps,
        export::export,
        events::events,
        events::delete,
        thumbnails::of_recording,
        thumbnails::of_event,
        thumbnails::of_moment,
        events::label,
        events::unlabel,
        login::page,
        login::log_in,
        login::log_out,
        users::me,
        users::list,
        users::add,
        users::change,
        users::remove,
        tokens::list,
        tokens::add,
        tokens::remove,
    )
)]
pub struct Document;

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "health", responses(
    (status = 200, description = "this document", content_type = "application/json", body = Object),
))]
pub async fn document() -> web::Json<utoipa::openapi::OpenApi> {
    web::Json(Document::openapi())
}
