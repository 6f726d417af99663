//! The pages: one shell around all of them, rendered here, so that what there is to see is in the first answer.
//!
//! A page is a fragment of HTML in `www/`, a script beside it, and a row in [`PAGES`]. Names in double braces in a
//! fragment are filled by [`fill`]. Belongs here: which pages there are and the shell around them. Does not belong
//! here: what a page's tables say ([`tables`]), the files that go out as they are ([`assets`]).

mod assets;
mod html;
mod tables;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::{HttpResponse, web};

use self::html::Text;
use super::AppState;

/// What a page may load and do: its own files, pictures and video that its scripts make, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'self'";

/// One page.
pub struct Page {
    /// As actix has it: `/cameras/{name}`.
    path: &'static str,
    title: &'static str,
    /// The `data-nav` of the link in the shell that is lit on this page.
    nav: &'static str,
    /// The fragment that the shell is put around.
    html: &'static str,
    /// The module in `/assets/` that brings it to life.
    script: &'static str,
}

/// All pages.
pub const PAGES: &[Page] = &[
    Page { path: "/", title: "Wall", nav: "wall", html: include_str!("../www/wall.html"), script: "wall.js" },
    Page {
        path: "/timeline",
        title: "Timeline",
        nav: "timeline",
        html: include_str!("../www/timeline.html"),
        script: "timeline.js",
    },
    Page {
        path: "/events",
        title: "Events",
        nav: "events",
        html: include_str!("../www/events.html"),
        script: "shell.js",
    },
    Page {
        path: "/cameras",
        title: "Cameras",
        nav: "cameras",
        html: include_str!("../www/cameras.html"),
        script: "shell.js",
    },
    Page {
        path: "/system",
        title: "System",
        nav: "system",
        html: include_str!("../www/system.html"),
        script: "shell.js",
    },
];

const SHELL: &str = include_str!("../www/shell.html");

/// Registers the pages and the files they load.
pub fn configure(config: &mut web::ServiceConfig) {
    for page in PAGES {
        config.route(page.path, web::get().to(move |state| show(page, state)));
        config.route(page.path, web::head().to(move |state| show(page, state)));
    }
    assets::configure(config);
}

/// Is this a page, or a file that one loads?
pub fn is_known(path: &str) -> bool {
    PAGES.iter().any(|page| page.path == path) || path == assets::PATTERN
}

async fn show(page: &'static Page, state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(render(page, &state).await)
}

/// The shell, with the page in it.
async fn render(page: &Page, state: &AppState) -> String {
    let main = fill(page.html, state).await;
    let lit = format!("data-nav=\"{}\"", page.nav);
    SHELL
        .replace("{{title}}", page.title)
        .replace("{{script}}", page.script)
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{alarms}}", &tables::alarm_count(&state.registry.alarms()))
        .replace(&lit, &format!("{lit} aria-current=\"page\""))
        // Last: nothing in it is taken for a name of the shell's.
        .replacen("{{main}}", &main, 1)
}

/// Fills the names in a page's fragment.
async fn fill(fragment: &str, state: &AppState) -> String {
    let mut out = String::with_capacity(2 * fragment.len());
    let mut rest = fragment;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        out.push_str(before);
        out.push_str(&part(name, state).await);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a name in a fragment stands for.
async fn part(name: &str, state: &AppState) -> String {
    let cameras = || state.registry.all().iter().map(|entry| entry.status()).collect::<Vec<_>>();
    match name {
        "tiles" => tables::tiles(&cameras()),
        "cameras" => tables::cameras(&cameras()),
        "alarms" => tables::alarms(&state.registry.alarms()),
        "recordings" => tables::recordings(&tables::newest_recordings(state).await),
        "events" => tables::events(&tables::newest_events(state).await),
        _ => format!("<p class=\"error\">no part is called {}</p>", Text(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_script_and_a_link_that_is_lit() {
        for page in PAGES {
            assert!(assets::find(page.script).is_some(), "{}: {}", page.path, page.script);
            assert_eq!(SHELL.matches(&format!("data-nav=\"{}\"", page.nav)).count(), 1, "{}", page.path);
        }
    }
}
