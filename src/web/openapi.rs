//! The OpenAPI document, made from the handlers' own descriptions.

use actix_web::web;
use utoipa::OpenApi;

use super::{cameras, events, export, health, live, metrics, recordings};

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
