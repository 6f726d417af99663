//! The files that pages load: style sheet, scripts, icon. They are inside the program.

use std::hash::{DefaultHasher, Hash, Hasher};

use actix_web::http::header::{CACHE_CONTROL, ETAG, EntityTag, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::web::{Problem, cached};

/// Where they are.
pub const PATTERN: &str = "/assets/{name}";

/// One file.
pub struct Asset {
    pub name: &'static str,
    media_type: &'static str,
    pub bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal $media_type:literal,)*) => {
        /// All of them.
        pub const ASSETS: &[Asset] = &[$(Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../www/", $name)),
        },)*];
    };
}

assets! {
    "app.css" "text/css; charset=utf-8",
    "dark.css" "text/css; charset=utf-8",
    "login.css" "text/css; charset=utf-8",
    "icon.svg" "image/svg+xml",
    "no-picture.svg" "image/svg+xml",
    "theme.js" "text/javascript; charset=utf-8",
    "dom.js" "text/javascript; charset=utf-8",
    "api.js" "text/javascript; charset=utf-8",
    "keys.js" "text/javascript; charset=utf-8",
    "shell.js" "text/javascript; charset=utf-8",
    "live.js" "text/javascript; charset=utf-8",
    "wall.js" "text/javascript; charset=utf-8",
    "preview.js" "text/javascript; charset=utf-8",
    "canvas.js" "text/javascript; charset=utf-8",
    "rate.js" "text/javascript; charset=utf-8",
    "strip.js" "text/javascript; charset=utf-8",
    "users.js" "text/javascript; charset=utf-8",
    "events.js" "text/javascript; charset=utf-8",
    "rows.js" "text/javascript; charset=utf-8",
    "fresh.js" "text/javascript; charset=utf-8",
    "actions.js" "text/javascript; charset=utf-8",
    "cameras.js" "text/javascript; charset=utf-8",
    "camera.js" "text/javascript; charset=utf-8",
    "tune.js" "text/javascript; charset=utf-8",
    "places.js" "text/javascript; charset=utf-8",
    "timeline.js" "text/javascript; charset=utf-8",
}

pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

pub fn configure(config: &mut web::ServiceConfig) {
    config.route(PATTERN, web::get().to(serve));
    config.route(PATTERN, web::head().to(serve));
}

async fn serve(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let asset = find(&name).ok_or_else(|| Problem::not_found(format!("the pages have no file {name:?}")))?;
    // A browser asks each time and is told that nothing changed: an upgrade shows at once.
    let tag = EntityTag::new_strong(format!("{:016x}", hash(asset.bytes)));
    let mut response = cached::unchanged(&request, &tag).unwrap_or_else(|| {
        let mut response = HttpResponse::Ok();
        response.insert_header((ETAG, tag.to_string())).content_type(asset.media_type).body(asset.bytes)
    });
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
