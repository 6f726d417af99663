//! Every address of the API, in one table. The OpenAPI document is checked against it. The pages have a table of
//! their own ([`page`]).

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, guard, web};

use super::{Problem, cameras, events, export, health, live, metrics, openapi, page, recordings};

/// One method of one address.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    /// The query keys it knows.
    pub keys: &'static [&'static str],
}

macro_rules! routes {
    ($($method:ident $path:literal ($($key:literal)*) => $handler:path,)*) => {
        pub const ROUTES: &[Route] =
            &[$(Route { method: Method::$method, path: $path, keys: &[$($key),*] }),*];

        /// Registers all routes, and the pages.
        pub fn configure(config: &mut web::ServiceConfig) {
            page::configure(config);
            $(config.route($path, web::route().guard(method_guard(Method::$method)).to($handler));)*
        }
    };
}

routes! {
    GET "/healthz" () => health::healthz,
    GET "/readyz" () => health::readyz,
    GET "/metrics" () => metrics::metrics,
    GET "/api/openapi.json" () => openapi::document,
    GET "/api/cameras" () => cameras::list,
    GET "/api/cameras/{name}" () => cameras::one,
    GET "/api/cameras/{name}/snapshot.jpg" () => cameras::snapshot,
    GET "/api/cameras/{name}/score" ("from" "to") => cameras::score,
    GET "/api/cameras/{name}/live" () => live::video,
    GET "/api/cameras/{name}/live.mjpeg" () => live::stills,
    GET "/api/cameras/{name}/inspect.mjpeg" () => cameras::inspect,
    POST "/api/cameras/{name}/trigger" () => cameras::trigger,
    POST "/api/cameras/{name}/restart" () => cameras::restart,
    GET "/api/recordings" ("camera" "from" "to" "limit" "cursor") => recordings::list,
    GET "/api/recordings/{id}" () => recordings::one,
    DELETE "/api/recordings/{id}" () => recordings::delete,
    GET "/api/recordings/{id}/video.mp4" () => recordings::video,
    GET "/api/recordings/{id}/thumbnail.jpg" () => recordings::thumbnail,
    POST "/api/recordings/{id}/protect" () => recordings::protect,
    DELETE "/api/recordings/{id}/protect" () => recordings::unprotect,
    GET "/api/export" ("camera" "from" "to") => export::export,
    GET "/api/events" ("camera" "from" "to" "limit" "cursor") => events::events,
    GET "/api/gaps" ("camera" "from" "to" "limit" "cursor") => recordings::gaps,
    GET "/api/alarms" () => cameras::alarms,
}

/// HEAD is answered wherever GET is.
fn method_guard(method: Method) -> impl guard::Guard {
    let head_too = method == Method::GET;
    guard::fn_guard(move |context| {
        let asked = &context.head().method;
        *asked == method || (head_too && *asked == Method::HEAD)
    })
}

/// The route with this path that takes `method`.
pub fn find(path: &str, method: &Method) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|route| route.path == path && route.method == method)
}

/// What is no route: 404, or 405 with the methods that there are.
pub async fn unknown(request: HttpRequest) -> HttpResponse {
    let pattern = request.match_pattern();
    let mut allowed: Vec<&str> = ROUTES
        .iter()
        .filter(|route| pattern.as_deref() == Some(route.path))
        .flat_map(|route| if route.method == Method::GET { vec!["GET", "HEAD"] } else { vec![route.method.as_str()] })
        .collect();
    if pattern.as_deref().is_some_and(page::is_known) {
        allowed = vec!["GET", "HEAD"];
    }
    if allowed.is_empty() {
        return Problem::not_found("there is nothing at this address (see /api/openapi.json)").error_response();
    }
    let allowed = allowed.join(", ");
    let detail = format!("{} does not work here ({allowed} would)", request.method());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).error_response();
    if let Ok(allowed) = header::HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
