//! The OpenAPI document, made from the handlers' own descriptions.

use actix_web::web;
use utoipa::OpenApi;

use super::{cameras, events, export, health, live, login, metrics, recordings, users};

/// The HTTP API.
#[derive(OpenApi)]
#[openapi(
    info(title = "Tarsier", description = "A network video recorder. Errors are problem+json (RFC 9457)."),
    paths(
        health::healthz,
        health::readyz,
        metrics::metrics,
        document,
        cameras::list,
        cameras::one,
        cameras::snapshot,
        cameras::score,
        live::video,
        live::stills,
        cameras::inspect,
        cameras::trigger,
        cameras::restart,
        cameras::alarms,
        recordings::list,
        recordings::one,
        recordings::delete,
        recordings::video,
        recordings::thumbnail,
        recordings::protect,
        recordings::unprotect,
        recordings::gaps,
        export::export,
        events::events,
        login::page,
        login::log_in,
        login::log_out,
        users::me,
        users::list,
        users::add,
        users::change,
        users::remove,
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
