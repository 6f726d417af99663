//! Logging in and out: by a form that needs no script, or by JSON.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, HeaderMap, LOCATION, RETRY_AFTER, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{self, Body};
use super::doors::{Refused, Who, cookie, no_cookie};
use super::page::Text;
use super::query::Query;
use super::{AppState, Problem};

const PAGE: &str = include_str!("www/login.html");

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    user: String,
    password: String,
    /// Where a form leads afterwards: a path of this server.
    #[serde(default)]
    next: Option<String>,
}

/// The page to log in.
#[utoipa::path(get, path = "/login", tag = "users", params(
    ("next" = Option<String>, Query, description = "the path to go on to"),
), responses(
    (status = 200, description = "a form", content_type = "text/html", body = String),
    (status = 303, description = "logged in already, or there are no users"),
))]
pub async fn page(who: Who, request: HttpRequest) -> HttpResponse {
    let query = Query::of(&request);
    let next = local(query.text("next"));
    if !who.is_nobody() {
        return see_other(next);
    }
    form(StatusCode::OK, next, "", "")
}

/// Logs a person in. The answer to JSON has no body; a form (`application/x-www-form-urlencoded`) leads on to `next`.
#[utoipa::path(post, path = "/api/login", tag = "users", request_body(content(
    (Login = "application/json"),
    (Login = "application/x-www-form-urlencoded"),
)), responses(
    (status = 204, description = "logged in; the cookie `tarsier_session` goes with further requests"),
    (status = 303, description = "logged in by a form"),
    (status = 400, description = "user and password are not there; a form is answered with the page", content(
        (Problem = "application/problem+json"),
        (String = "text/html"),
    )),
    (status = 401, description = "user and password do not fit; a form is answered with the page", content(
        (Problem = "application/problem+json"),
        (String = "text/html"),
    )),
    (status = 409, description = "there are no users"),
    (status = 429, description = "too many attempts; `Retry-After` says when to try again", content(
        (Problem = "application/problem+json"),
        (String = "text/html"),
    )),
))]
pub async fn log_in(state: web::Data<AppState>, request: HttpRequest, Body(sent): Body) -> HttpResponse {
    let is_form = body::is(request.headers(), "application/x-www-form-urlencoded");
    let login = match is_form {
        true => of_form(&sent),
        false if body::is(request.headers(), "application/json") => body::parse(&sent),
        false => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "user and password have to come as JSON or as a form (Content-Type: application/json)",
        )),
    };
    let Login { user, password, next } = match login {
        Ok(login) => login,
        Err(problem) if is_form => return form_again(&problem, "/", ""),
        Err(problem) => return problem.error_response(),
    };
    let Some(address) = request.peer_addr() else {
        return Problem::internal("the connection has no address").error_response();
    };
    let next = local(next.as_deref());
    match state.doors.log_in(address.ip(), &user, password).await {
        Ok(secret) => {
            let mut response = if is_form { see_other(next) } else { HttpResponse::NoContent().finish() };
            set_cookie(&mut response, &cookie(&secret, state.own.is_secure()));
            response
        }
        Err(Refused::NoUsers) if is_form => see_other(next),
        Err(refused) => {
            let problem = Problem::from(refused);
            if is_form { form_again(&problem, next, &user) } else { problem.error_response() }
        }
    }
}

/// The page once more, with what was wrong.
fn form_again(problem: &Problem, next: &str, user: &str) -> HttpResponse {
    let mut response = form(problem.status(), next, user, &problem.to_string());
    for (name, value) in problem.error_response().headers().iter().filter(|(name, _)| **name == RETRY_AFTER) {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

/// Ends the login.
#[utoipa::path(post, path = "/api/logout", tag = "users", responses(
    (status = 204, description = "logged out, or was not logged in"),
    (status = 303, description = "as asked by a page's form"),
))]
pub async fn log_out(state: web::Data<AppState>, who: Who, request: HttpRequest) -> Result<HttpResponse, Problem> {
    state.doors.log_out(&who).await?;
    let is_page = wants_page(request.headers());
    let mut response = if is_page { see_other("/login") } else { HttpResponse::NoContent().finish() };
    set_cookie(&mut response, &no_cookie(state.own.is_secure()));
    Ok(response)
}

/// Does a person's browser ask for a page?
pub fn wants_page(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).filter_map(|accept| accept.to_str().ok()).any(|accept| accept.contains("text/html"))
}

/// To the page to log in, and from there on to `next`.
pub fn redirect(next: &str) -> HttpResponse {
    let next: String = url::form_urlencoded::byte_serialize(local(Some(next)).as_bytes()).collect();
    see_other(&format!("/login?next={next}"))
}

fn of_form(sent: &[u8]) -> Result<Login, Problem> {
    let (mut user, mut password, mut next) = (None, None, None);
    for (name, value) in url::form_urlencoded::parse(sent) {
        let field = match &*name {
            "user" => &mut user,
            "password" => &mut password,
            "next" => &mut next,
            _ => {
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "the form has a field that is none of user, password, next",
                ));
            }
        };
        *field = Some(value.into_owned());
    }
    match (user, password) {
        (Some(user), Some(password)) => Ok(Login { user, password, next }),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "user or password is missing in the form")),
    }
}

/// A path of this server, or its first page: nobody is led to another one.
fn local(next: Option<&str>) -> &str {
    let is_local = |next: &&str| {
        let mut bytes = next.bytes();
        bytes.next() == Some(b'/')
            && !matches!(bytes.next(), Some(b'/' | b'\\'))
            && next.bytes().all(|byte| byte.is_ascii_graphic())
    };
    next.filter(is_local).unwrap_or("/")
}

fn see_other(to: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, to)).finish()
}

fn set_cookie(response: &mut HttpResponse, cookie: &str) {
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

fn form(status: StatusCode, next: &str, user: &str, error: &str) -> HttpResponse {
    let error =
        if error.is_empty() { String::new() } else { format!("<p class=\"error\" role=\"alert\">{}</p>", Text(error)) };
    let page = PAGE.replace("{{error}}", &error).replace("{{next}}", &Text(next).to_string()).replacen(
        "{{user}}",
        &Text(user).to_string(),
        1,
    );
    HttpResponse::build(status).content_type("text/html; charset=utf-8").body(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_server() {
        for next in ["/", "/timeline?from=2026-01-31T08:00:00Z#x", "/a//b"] {
            assert_eq!(local(Some(next)), next);
        }
        for next in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\r\nX: y", "/a b", "\\"]
        {
            assert_eq!(local(Some(next)), "/", "{next:?}");
        }
        assert_eq!(local(None), "/");
    }
}
