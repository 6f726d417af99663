//! Who may ask: the Host of every request, the Origin of those that change something, and the headers that
//! tell a browser to keep other pages out.
//!
//! A page on the internet may point its own name at 127.0.0.1 (DNS rebinding) or post a form to it (CSRF).
//! The first is known by its Host, the second by its Origin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;

use actix_http::ConnectionType;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use futures_util::FutureExt;

use super::body::{self, Unread};
use super::doors::Who;
use super::{AppState, Problem, login, page, problem, query, routes};
use crate::clock;

/// The names under which this server may be asked for.
#[derive(Clone, Debug)]
pub struct Own {
    address: SocketAddr,
    /// In small letters, besides the address.
    names: Vec<String>,
    is_secure: bool,
}

impl Own {
    /// `address` is the one the server is bound to.
    pub fn new(address: SocketAddr) -> Self {
        Own { address, names: Vec::new(), is_secure: false }
    }

    /// Reached by these names too, and by TLS where `is_secure`.
    pub fn with(self, names: Vec<String>, is_secure: bool) -> Self {
        Own { names, is_secure, ..self }
    }

    /// Is it reached by TLS?
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }

    /// Is `authority` (`host`, `host:port`, `[v6]:port`) this server?
    pub fn is_host(&self, authority: &str) -> bool {
        let Some((name, port)) = split_authority(authority) else { return false };
        let usual = if self.is_secure { 443 } else { 80 };
        port.unwrap_or(usual) == self.address.port() && self.is_name(name)
    }

    /// Is the Host header's `authority` this server? A page's name gives it away; the port may be left out.
    fn is_asked(&self, authority: &str) -> bool {
        self.is_host(authority) || self.is_name(authority) || self.is_given(authority)
    }

    /// Is `origin` (`http://host:port`) a page of this server, which was asked for as `host`? `null` is not.
    pub fn is_origin(&self, origin: &str, host: &str) -> bool {
        match origin.split_once("://") {
            Some((scheme, authority)) if scheme == self.scheme() && self.is_host(authority) => true,
            // Behind a proxy its scheme and port are the proxy's.
            Some(("http" | "https", authority)) => authority == host && self.is_given(host),
            _ => false,
        }
    }

    /// Is this, with any port, one of the names that the configuration gives?
    fn is_given(&self, authority: &str) -> bool {
        split_authority(authority).is_some_and(|(name, _)| self.names.iter().any(|own| own.eq_ignore_ascii_case(name)))
    }

    fn is_name(&self, name: &str) -> bool {
        let address = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None if name.eq_ignore_ascii_case("localhost") => return true,
            None if self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) => return true,
            None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        // What is bound to all of the machine's addresses is asked for by any: a page's name is no address.
        address.is_some_and(|address| {
            self.address.ip().is_unspecified()
                || address == self.address.ip()
                || address == Ipv4Addr::LOCALHOST
                || address == Ipv6Addr::LOCALHOST
        })
    }
}

/// Host and port of an authority.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let name_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, rest) = authority.split_at(name_end);
    match rest.strip_prefix(':') {
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((name, Some(port.parse().ok()?)))
        }
        None if rest.is_empty() => Some((name, None)),
        _ => None,
    }
}

/// Stands before every route, and before the 404 and 405 of what is none.
pub async fn gate(mut request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = clock::monotonic();
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let is_secure = state.as_ref().is_some_and(|state| state.own.is_secure());
    let (gathered, unread) = match body::gather(&mut request).await {
        Ok(()) => (Ok(()), None),
        Err((problem, unread)) => (Err(problem), Some(unread)),
    };
    let allowed = match (gathered, &state) {
        (Err(problem), _) => Err(problem),
        (Ok(()), Some(state)) => admit(&request, state).await,
        (Ok(()), None) => Err(Problem::internal("the server has no state")),
    };
    let response = match allowed {
        Err(problem) => refuse(request, problem),
        // A panic would close the connection without a word.
        Ok(()) => match AssertUnwindSafe(next.call(request)).catch_unwind().await {
            Ok(response) => response?,
            Err(_) => return Err(Problem::internal(format!("a fault of ours in {method} {path}")).into()),
        },
    };
    let mut response = as_problem(response);
    harden(response.headers_mut());
    if is_refused(response.status()) {
        // Nobody holds a connection by what is refused, such as a body that never ends.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if is_secure {
        let hsts = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    if let Some(unread) = unread {
        response = response.map_body(|_, answer| Unread::answer(answer, unread));
    }
    let took_ms = clock::monotonic().duration_since(began).as_millis() as u64;
    tracing::debug!(%method, path, status = response.status().as_u16(), took_ms, "request");
    Ok(response)
}

/// Is whoever gets this better let go?
fn is_refused(status: StatusCode) -> bool {
    const REFUSALS: [StatusCode; 5] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    REFUSALS.contains(&status)
}

/// May this be asked, by whoever asks it? Who that is goes along with the request.
async fn admit(request: &ServiceRequest, state: &AppState) -> Result<(), Problem> {
    check_host(request, &state.own)?;
    check_origin(request, &state.own)?;
    let right = routes::right(request.match_pattern().as_deref(), request.method());
    let who = state.doors.who(request.headers(), right).await?;
    let is_allowed = who.check(right);
    request.extensions_mut().insert(who);
    is_allowed?;
    check_query(request)
}

/// The problem, for a person who wants a page as one; who has to log in first is led there, and then to where they
/// wanted to go.
fn refuse(request: ServiceRequest, problem: Problem) -> ServiceResponse<BoxBody> {
    let is_page = request.method() == Method::GET && login::wants_page(request.headers());
    if problem.status() == StatusCode::UNAUTHORIZED && is_page {
        let to_login = login::redirect(request.uri().path_and_query().map_or("/", |next| next.as_str()));
        return request.into_response(to_login);
    }
    let is_of_page = is_page && request.match_pattern().as_deref().and_then(page::right).is_some();
    let who = request.extensions().get::<Who>().cloned();
    if let (true, Some(state), Some(who)) = (is_of_page, request.app_data::<web::Data<AppState>>().cloned(), who) {
        return request.into_response(page::refused(&problem, &state, &who));
    }
    request.error_response(problem)
}

pub(super) fn check_host(request: &ServiceRequest, own: &Own) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "a request needs exactly one Host header"));
    };
    let host = host.to_str().unwrap_or_default();
    // A request line with a whole address in it overrides the header.
    let in_line = request.uri().authority().map(|authority| authority.as_str());
    match [Some(host), in_line].into_iter().flatten().find(|name| !own.is_asked(name)) {
        None => Ok(()),
        Some(name) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!(
                "{name:?} is not a name of this server (ask for {}://{}; web.names adds names)",
                own.scheme(),
                own.address
            ),
        )),
    }
}

fn check_origin(request: &ServiceRequest, own: &Own) -> Result<(), Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if reads && !request.headers().contains_key(header::UPGRADE) {
        return Ok(());
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut origins = request.headers().get_all(header::ORIGIN);
    match origins.find(|origin| !origin.to_str().is_ok_and(|origin| own.is_origin(origin, host))) {
        None => Ok(()),
        Some(origin) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("a page of {:?} may not change anything here", String::from_utf8_lossy(origin.as_bytes())),
        )),
    }
}

/// Refuses query keys that the route does not know.
fn check_query(request: &ServiceRequest) -> Result<(), Problem> {
    let Some(pattern) = request.match_pattern() else { return Ok(()) };
    match routes::find(&pattern, request.method()) {
        Some(route) => query::check_keys(request.query_string(), route.keys),
        None => Ok(()),
    }
}

/// Gives an error that came without one a problem as its body; other headers stay.
fn as_problem(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    // A page's form is answered with a page.
    let kind = response.headers().get(header::CONTENT_TYPE);
    let has_words = kind.is_some_and(|kind| kind == problem::MEDIA_TYPE || kind.as_bytes().starts_with(b"text/html"));
    if !(status.is_client_error() || status.is_server_error()) || has_words {
        return response;
    }
    let detail = match status {
        StatusCode::RANGE_NOT_SATISFIABLE => "the file does not hold the bytes that were asked for",
        StatusCode::PRECONDITION_FAILED => "the file is not the one that was asked for",
        _ => "the request could not be answered",
    };
    let (request, old) = response.into_parts();
    let mut new = Problem::new(status, detail).respond_with(&Problem::new(status, detail));
    for (name, value) in old.headers() {
        let of_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_DISPOSITION].contains(name);
        if !of_body && !new.headers().contains_key(name) {
            new.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, new)
}

/// What a page may load and do: its own files, pictures and video that its scripts make, and nothing from elsewhere.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Sets the headers that every answer has, where the handler has not set its own.
pub fn harden(headers: &mut HeaderMap) {
    let set: [(HeaderName, &'static str); 7] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that a browser sends `Origin: null` from our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in set {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own::new("127.0.0.1:8787".parse().unwrap())
    }

    #[test]
    fn the_loopbacks_names_are_own_with_the_right_port() {
        for host in ["localhost:8787", "LocalHost:8787", "127.0.0.1:8787", "[::1]:8787", "[0:0:0:0:0:0:0:1]:8787"] {
            assert!(own().is_host(host), "{host}");
            assert!(own().is_origin(&format!("http://{host}"), host), "{host}");
        }
    }

    #[test]
    fn every_other_name_is_foreign() {
        for host in [
            "",
            "localhost",
            "localhost:",
            "localhost:+8787",
            "localhost:8788",
            "localhost.:8787",
            "localhost:8787.evil.example",
            "evil.example:8787",
            "localhost.evil.example:8787",
            "127.0.0.1.evil.example:8787",
            "me@localhost:8787",
            "127.1:8787",
            "2130706433:8787",
            "127.0.0.2:8787",
            "0.0.0.0:8787",
            "::1:8787",
            "[::1]8787",
            "[::1:8787",
            "[localhost]:8787",
            "[]:8787",
            "[",
            "192.0.2.1:8787",
        ] {
            assert!(!own().is_host(host), "{host}");
        }
        for origin in ["null", "", "https://localhost:8787", "http://localhost:8787/", "localhost:8787", "file://"] {
            assert!(!own().is_origin(origin, "localhost:8787"), "{origin}");
        }
    }

    #[test]
    fn the_port_may_be_left_out_of_a_host_but_not_of_an_origin() {
        for host in ["localhost", "127.0.0.1", "[::1]", "localhost:8787"] {
            assert!(own().is_asked(host), "{host}");
        }
        for host in ["", "evil.example", "localhost:", "localhost:8788", "localhost.evil.example", "[]", "::1"] {
            assert!(!own().is_asked(host), "{host}");
        }
        assert!(!own().is_origin("http://localhost", "localhost"));
    }

    #[test]
    fn on_port_80_a_name_alone_is_enough() {
        assert!(Own::new("127.0.0.1:80".parse().unwrap()).is_host("localhost"));
    }

    #[test]
    fn names_of_the_configuration_are_own_with_any_port_of_a_proxy() {
        let own = own().with(vec!["nvr.example.org".to_owned()], false);
        for host in ["nvr.example.org", "NVR.example.org:8787", "nvr.example.org:443"] {
            assert!(own.is_asked(host), "{host}");
            assert!(own.is_origin(&format!("https://{host}"), host), "{host}");
        }
        assert!(!own.is_asked("evil.nvr.example.org") && !own.is_asked("nvr.example.org.evil.example"));
        assert!(!own.is_origin("https://nvr.example.org:1", "nvr.example.org"), "another port's page");
        assert!(!own.is_origin("https://localhost:8787", "localhost:8787"));
        assert!(!own.is_origin("ftp://nvr.example.org", "nvr.example.org"));
    }

    #[test]
    fn what_is_bound_to_all_addresses_is_asked_for_by_any_and_by_no_name() {
        let own = Own::new("0.0.0.0:8787".parse().unwrap()).with(Vec::new(), true);
        for host in ["192.0.2.1:8787", "[2001:db8::1]:8787", "localhost:8787", "192.0.2.1"] {
            assert!(own.is_asked(host), "{host}");
        }
        assert!(own.is_origin("https://192.0.2.1:8787", "192.0.2.1:8787"));
        assert!(!own.is_origin("http://192.0.2.1:8787", "192.0.2.1:8787"));
        assert!(!own.is_asked("evil.example:8787"));
        assert!(Own::new("0.0.0.0:443".parse().unwrap()).with(Vec::new(), true).is_host("192.0.2.1"));
    }

    #[test]
    fn the_bound_address_is_own() {
        assert!(Own::new("127.0.0.9:8787".parse().unwrap()).is_host("127.0.0.9:8787"));
    }
}
