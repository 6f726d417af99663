//! Errors as the client sees them: `application/problem+json` (RFC 9457), without a password.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::guard;
use crate::archive::index::IndexError;
use crate::config;
use crate::domain::source_url::redact_urls;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong with a request, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says which kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// The cause, for the person who reads it.
    detail: String,
    /// The query key that was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// All that is wrong with a camera's file; left out where it is not about one.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty", default)]
    #[schema(value_type = Vec<Fault>)]
    faults: Box<[Fault]>,
    /// Seconds after which it is worth to ask again.
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

/// One fault of a camera's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// What is wrong.
    what: String,
    /// What to do about it.
    hint: Option<String>,
}

impl From<config::Problem> for Fault {
    fn from(problem: config::Problem) -> Self {
        let config::Problem { line, column, what, hint, .. } = problem;
        Fault { line, column, what, hint }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl AsRef<str>) -> Self {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: redact_urls(detail.as_ref()),
            key: None,
            faults: Box::default(),
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2),
        }
    }

    /// It is worth to ask again after so many seconds.
    pub fn retry_after(self, seconds: u64) -> Self {
        Problem { retry_after_s: Some(seconds), ..self }
    }

    /// It is about a camera's file, in which this is wrong.
    pub fn with_faults(self, faults: Vec<config::Problem>) -> Self {
        Problem { faults: faults.into_iter().map(Fault::from).collect(), ..self }
    }

    /// 400 that names the query key.
    pub fn bad_query(key: &str, detail: impl AsRef<str>) -> Self {
        let detail = detail.as_ref();
        Problem {
            key: Some(key.to_owned()),
            ..Problem::new(StatusCode::BAD_REQUEST, format!("query key {key:?}: {detail}"))
        }
    }

    pub fn not_found(detail: impl AsRef<str>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn conflict(detail: impl AsRef<str>) -> Self {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    pub fn unavailable(detail: impl AsRef<str>) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 500, which also goes to the log.
    pub fn internal(detail: impl AsRef<str>) -> Self {
        let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
        tracing::error!(detail = problem.detail, "a request failed");
        problem
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// An answer with this problem's status and `body`, which may say more than the problem itself.
    pub fn respond_with(&self, body: &impl Serialize) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.insert_header((CONTENT_TYPE, MEDIA_TYPE));
        let mut response = response.body(serde_json::to_vec(body).unwrap_or_default());
        guard::harden(response.headers_mut());
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.respond_with(self)
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::BadCursor => Problem::bad_query("cursor", "is none that this archive gave out"),
            error => Problem::internal(error.to_string()),
        }
    }
}
