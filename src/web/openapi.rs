//! The OpenAPI document, made from the handlers' own descriptions.

use actix_web::http::Method;
use actix_web::web;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::doors::COOKIE_NAME;
use super::{
    camera_files, cameras, events, export, health, live, login, metrics, probe, problem, recordings, routes,
    thumbnails, tokens, tune, users,
};
use crate::domain::access::Right;

/// The HTTP API.
#[derive(OpenApi)]
#[openapi(
    modifiers(&Rights),
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

/// Writes into the document what the table of routes says of each: who may ask, and how they are refused.
struct Rights;

impl Modify for Rights {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let session = ApiKey::Cookie(ApiKeyValue::with_description(COOKIE_NAME, "of POST /api/login"));
        let token = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("of `tarsier token add NAME`"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("session", SecurityScheme::ApiKey(session));
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
        for (path, item) in &mut document.paths.paths {
            let methods = [
                (Method::GET, &mut item.get),
                (Method::POST, &mut item.post),
                (Method::PATCH, &mut item.patch),
                (Method::PUT, &mut item.put),
                (Method::DELETE, &mut item.delete),
            ];
            for (method, operation) in methods {
                let Some(operation) = operation else { continue };
                let right = routes::right(Some(path), &method);
                let mut refused = |status: &str, why: &str| {
                    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(why).into());
                };
                if right != Right::Open {
                    refused("401", "not logged in");
                }
                match (right, method == Method::GET) {
                    (Right::Admin, _) => refused("403", "no admin, or asked by a foreign page"),
                    (_, false) => refused("403", "asked by a foreign page"),
                    (_, true) => {}
                }
                if right != Right::Open {
                    let either = ["session", "token"].map(|name| SecurityRequirement::new(name, [""; 0]));
                    operation.security = Some(either.into());
                }
            }
        }
    }
}

fn problem(why: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(why).content(problem::MEDIA_TYPE, content).build()
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "health", responses(
    (status = 200, description = "this document", content_type = "application/json", body = Object),
))]
pub async fn document() -> web::Json<utoipa::openapi::OpenApi> {
    web::Json(Document::openapi())
}
