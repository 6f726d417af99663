//! Every address of the API, in one table. The OpenAPI document is checked against it. The pages have a table of
//! their own ([`page`]).

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, guard, web};

use super::doors::Who;
use super::{
    AppState, Problem, camera_files, cameras, events, export, health, live, login, metrics, openapi, page, probe,
    recordings, thumbnails, tokens, tune, users,
};
use crate::domain::access::Right;

/// One method of one address.
pub struct Route {
    pub method: Method,
    /// What it takes to ask it.
    pub right: Right,
    pub path: &'static str,
    /// The query keys it knows.
    pub keys: &'static [&'static str],
}

macro_rules! routes {
    ($($method:ident $right:ident $path:literal ($($key:literal)*) => $handler:path,)*) => {
        pub const ROUTES: &[Route] =
            &[$(Route { method: Method::$method, right: Right::$right, path: $path, keys: &[$($key),*] }),*];

        /// Registers all routes, and the pages.
        pub fn configure(config: &mut web::ServiceConfig) {
            page::configure(config);
            $(config.route($path, web::route().guard(method_guard(Method::$method)).to($handler));)*
        }
    };
}

routes! {
    GET Open "/healthz" () => health::healthz,
    GET Open "/readyz" () => health::readyz,
    GET View "/metrics" () => metrics::metrics,
    GET View "/api/openapi.json" () => openapi::document,
    GET View "/api/cameras" () => cameras::list,
    POST Admin "/api/cameras" () => camera_files::add,
    POST Admin "/api/cameras/probe" () => probe::probe,
    GET View "/api/cameras/{name}" () => cameras::one,
    DELETE Admin "/api/cameras/{name}" () => camera_files::remove,
    GET Admin "/api/cameras/{name}/config" () => camera_files::config,
    PUT Admin "/api/cameras/{name}/config" () => camera_files::put_config,
    PATCH Admin "/api/cameras/{name}/config" () => camera_files::patch_config,
    GET Admin "/api/cameras/{name}/tune" () => tune::keys,
    POST Admin "/api/cameras/{name}/tune" () => tune::try_values,
    POST Admin "/api/cameras/{name}/enable" () => camera_files::enable,
    POST Admin "/api/cameras/{name}/disable" () => camera_files::disable,
    GET View "/api/cameras/{name}/snapshot.jpg" () => cameras::snapshot,
    GET View "/api/cameras/{name}/thumbnail.jpg" ("at") => thumbnails::of_moment,
    GET View "/api/cameras/{name}/score" ("from" "to") => cameras::score,
    GET View "/api/cameras/{name}/live" () => live::video,
    GET View "/api/cameras/{name}/live.mjpeg" () => live::stills,
    GET View "/api/cameras/{name}/inspect.mjpeg" () => live::panes,
    POST View "/api/cameras/{name}/trigger" () => cameras::trigger,
    POST Admin "/api/cameras/{name}/restart" () => cameras::restart,
    GET View "/api/recordings" ("camera" "from" "to" "limit" "cursor") => recordings::list,
    GET View "/api/recordings/{id}" () => recordings::one,
    DELETE Admin "/api/recordings/{id}" () => recordings::delete,
    GET View "/api/recordings/{id}/video.mp4" () => recordings::video,
    GET View "/api/recordings/{id}/thumbnail.jpg" () => thumbnails::of_recording,
    POST Admin "/api/recordings/{id}/protect" () => recordings::protect,
    DELETE Admin "/api/recordings/{id}/protect" () => recordings::unprotect,
    GET View "/api/export" ("camera" "from" "to") => export::export,
    GET View "/api/events" ("camera" "from" "to" "limit" "cursor" "min_s" "cause" "zone" "found") => events::events,
    DELETE Admin "/api/events/{id}" () => events::delete,
    GET View "/api/events/{id}/thumbnail.jpg" () => thumbnails::of_event,
    PUT Admin "/api/events/{id}/label" () => events::label,
    DELETE Admin "/api/events/{id}/label" () => events::unlabel,
    GET View "/api/gaps" ("camera" "from" "to" "limit" "cursor") => recordings::gaps,
    GET View "/api/alarms" () => cameras::alarms,
    GET Open "/login" ("next") => login::page,
    POST Open "/api/login" () => login::log_in,
    POST Open "/api/logout" () => login::log_out,
    GET View "/api/me" () => users::me,
    GET Admin "/api/users" () => users::list,
    POST Admin "/api/users" () => users::add,
    PATCH Admin "/api/users/{user}" () => users::change,
    DELETE Admin "/api/users/{user}" () => users::remove,
    GET Admin "/api/tokens" () => tokens::list,
    POST Admin "/api/tokens" () => tokens::add,
    DELETE Admin "/api/tokens/{token}" () => tokens::remove,
}

/// HEAD is answered wherever GET is.
fn method_guard(method: Method) -> impl guard::Guard {
    let head_too = method == Method::GET;
    guard::fn_guard(move |context| {
        let asked = &context.head().method;
        *asked == method || (head_too && *asked == Method::HEAD)
    })
}

/// What it takes to ask this address: a login even where there is nothing, so that nobody finds out what there is.
pub fn right(path: Option<&str>, method: &Method) -> Right {
    let route = path.and_then(|path| find(path, method)).map(|route| route.right);
    route.or_else(|| path.and_then(page::right)).unwrap_or_else(|| {
        // Who may see an address may be told which methods it takes.
        let is_open = ROUTES.iter().any(|route| Some(route.path) == path && route.right == Right::Open);
        if is_open { Right::Open } else { Right::View }
    })
}

/// The route with this path that takes `method`. A name may be that of another route (a camera called `probe`): what
/// that one does not take is the name's.
pub fn find(path: &str, method: &Method) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let with = |fits: &dyn Fn(&str) -> bool| ROUTES.iter().find(|route| route.method == *method && fits(route.path));
    let folder = path.rsplit_once('/').map(|(folder, _)| folder);
    let is_name =
        |route: &str| route.rsplit_once("/{").is_some_and(|(above, rest)| Some(above) == folder && !rest.contains('/'));
    with(&|route| route == path).or_else(|| with(&is_name))
}

/// What is no route: 404, for a person as a page, or 405 with the methods that there are.
pub async fn unknown(state: web::Data<AppState>, who: Who, request: HttpRequest) -> HttpResponse {
    let pattern = request.match_pattern();
    let mut allowed: Vec<&str> = ROUTES
        .iter()
        .filter(|route| pattern.as_deref() == Some(route.path))
        .flat_map(|route| if route.method == Method::GET { vec!["GET", "HEAD"] } else { vec![route.method.as_str()] })
        .collect();
    if pattern.as_deref().and_then(page::right).is_some() {
        allowed = vec!["GET", "HEAD"];
    }
    if allowed.is_empty() {
        if login::wants_page(request.headers()) && !request.path().starts_with("/api") {
            return page::refused(&Problem::not_found("there is nothing at this address"), &state, &who);
        }
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
