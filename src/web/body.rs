//! What a request brings along: read within a size and a time, and as the JSON it should be.
//!
//! Of a body that does not say how long it is, actix-http reads on after the answer, for as long as its client sends.
//! Such a one is read before anything else ([`gather`]), and let go where it does not end ([`Unread`]).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use super::Problem;

/// Largest body, in bytes.
const LARGEST: usize = 64 << 10;
/// Longest wait for all of it: whoever sends a byte now and then holds no connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// All of a body.
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move { read_in_time(&mut payload).await.map(Body) })
    }
}

/// Reads a body that does not say how long it is, and puts what it was in its place. Where that can't be done, gives
/// the problem and what is left.
pub async fn gather(request: &mut ServiceRequest) -> Result<(), (Problem, Payload)> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut payload = request.take_payload();
    match read_in_time(&mut payload).await {
        Ok(bytes) => {
            let (_, mut all) = actix_http::h1::Payload::create(true);
            all.unread_data(bytes);
            request.set_payload(all.into());
            Ok(())
        }
        Err(problem) => Err((problem, payload)),
    }
}

async fn read_in_time(payload: &mut Payload) -> Result<Bytes, Problem> {
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time");
    tokio::time::timeout(TIMEOUT, read(payload)).await.map_err(|_| late())?
}

/// The body of an answer to a request whose own body nobody reads: the connection is closed behind it.
pub struct Unread {
    answer: BoxBody,
    _request: Payload,
}

impl Unread {
    pub fn answer(answer: BoxBody, request: Payload) -> BoxBody {
        BoxBody::new(Unread { answer, _request: request })
    }
}

impl MessageBody for Unread {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}

async fn read(payload: &mut Payload) -> Result<Bytes, Problem> {
    let mut all = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the request's body broke off"))?;
        if all.len() + piece.len() > LARGEST {
            let detail = format!("the request's body is larger than {LARGEST} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// A body that is JSON and says so: no foreign page can send that without asking first.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is(request.headers(), "application/json");
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                let detail = "the body has to be JSON (Content-Type: application/json)";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
            }
            parse(&body.await?.0).map(Json)
        })
    }
}

/// Is the body of this media type?
pub fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok());
    given.and_then(|given| given.split(';').next()).is_some_and(|given| given.trim().eq_ignore_ascii_case(media_type))
}

/// Quotes no value: it may be a password.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list of values would be taken for the fields of a struct, in their order.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body has to be a JSON object, and is a list"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.inner());
        let text = error.to_string();
        let names_a_key = ["unknown field", "missing field"].iter().any(|words| text.starts_with(words));
        Problem::new(
            StatusCode::BAD_REQUEST,
            match error.is_data() {
                false => format!("the body is no JSON (line {}, column {})", error.line(), error.column()),
                true if names_a_key => format!("the body is not as expected: {text}"),
                true => format!("`{path}` of the body is not possible (see /api/openapi.json)"),
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        #[serde(rename = "password")]
        _password: String,
    }

    #[test]
    fn what_is_wrong_is_said_without_a_value() {
        for (body, words) in [
            ("{\"password\": 5512345}", "`password` of the body is not possible"),
            ("{\"password\": [\"5512345\"]}", "`password` of the body is not possible"),
            ("{\"pasword\": \"5512345\"}", "unknown field `pasword`"),
            ("{}", "missing field `password`"),
            ("{\"password\": \"5512345", "is no JSON (line 1"),
            ("5512345", "of the body is not possible"),
            (" [\"5512345\"]", "is a list"),
            ("", "is no JSON"),
        ] {
            let problem = parse::<Login>(body.as_bytes()).unwrap_err().to_string();
            assert!(problem.contains(words) && !problem.contains("5512345"), "{body}: {problem}");
        }
    }
}
