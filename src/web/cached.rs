//! Answers that a browser keeps: it asks each time whether they still hold, and is told so without them.

use actix_web::http::header::{ETAG, EntityTag, Header, IF_NONE_MATCH, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse};

/// The 304 for who knows this answer already.
pub fn unchanged(request: &HttpRequest, tag: &EntityTag) -> Option<HttpResponse> {
    let is_known = request.headers().contains_key(IF_NONE_MATCH)
        && IfNoneMatch::parse(request).is_ok_and(|known| match known {
            IfNoneMatch::Any => true,
            IfNoneMatch::Items(tags) => tags.iter().any(|known| known.weak_eq(tag)),
        });
    is_known.then(|| HttpResponse::NotModified().insert_header((ETAG, tag.to_string())).finish())
}
