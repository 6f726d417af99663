//! JPEGs one after the other in an answer that does not end, as `<img>` and many programs take them.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

/// Between two pictures.
const BOUNDARY: &str = "tarsier-picture";
/// Where no new one comes, the last picture is sent again: this also finds viewers that are gone.
const REPEAT: Duration = Duration::from_secs(15);

/// The answer around such a stream.
pub fn answer(parts: impl Stream<Item = Result<Bytes, Infallible>> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(format!("multipart/x-mixed-replace; boundary={BOUNDARY}"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(parts)
}

/// Each picture that is there when the one before has gone out. The boundary comes right behind a picture, because a
/// browser shows it only then.
pub fn parts(mut newest: watch::Receiver<Option<Bytes>>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    newest.mark_changed();
    let first = Some(Bytes::from(format!("--{BOUNDARY}\r\n")));
    stream::unfold((newest, first), |(mut newest, first)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (newest, None)));
        }
        loop {
            if let Ok(changed) = tokio::time::timeout(REPEAT, newest.changed()).await {
                changed.ok()?;
            }
            let jpeg = newest.borrow_and_update().clone();
            let Some(jpeg) = jpeg else { continue };
            let head = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
            let part = [head.as_bytes(), &jpeg, format!("\r\n--{BOUNDARY}\r\n").as_bytes()].concat();
            return Some((Ok(part.into()), (newest, None)));
        }
    })
}
