//! The pages: one shell around all of them, rendered here, so that what there is to see is in the first answer.
//!
//! A page is a fragment of HTML in `www/`, a script beside it, and a row in [`PAGES`]. Names in double braces in a
//! fragment are filled by [`fill`]. Belongs here: which pages there are and the shell around them. Does not belong
//! here: what a page's tables say ([`tables`],
//! [`cameras`]), the files that go out as they are ([`assets`]).

mod assets;
mod cameras;
mod events;
mod html;
mod people;
mod tables;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

pub use self::html::Text;
use super::doors::Who;
use super::query::Query;
use super::{AppState, Problem, login};
use crate::domain::access::Right;

/// One page.
pub struct Page {
    /// As actix has it: `/cameras/{name}`.
    pub path: &'static str,
    pub right: Right,
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
    Page {
        path: "/",
        right: Right::View,
        title: "Wall",
        nav: "wall",
        html: include_str!("../www/wall.html"),
        script: "wall.js",
    },
    Page {
        path: "/timeline",
        right: Right::View,
        title: "Timeline",
        nav: "timeline",
        html: include_str!("../www/timeline.html"),
        script: "timeline.js",
    },
    Page {
        path: "/events",
        right: Right::View,
        title: "Events",
        nav: "events",
        html: include_str!("../www/events.html"),
        script: "events.js",
    },
    Page {
        path: "/cameras",
        right: Right::View,
        title: "Cameras",
        nav: "cameras",
        html: include_str!("../www/cameras.html"),
        script: "cameras.js",
    },
    Page {
        path: "/cameras/{name}",
        right: Right::View,
        title: "Camera",
        nav: "cameras",
        html: "{{camera}}",
        script: "camera.js",
    },
    Page {
        path: "/cameras/{name}/tune",
        right: Right::Admin,
        title: "Tune detection",
        nav: "cameras",
        html: "{{tune}}",
        script: "tune.js",
    },
    Page {
        path: "/system",
        right: Right::View,
        title: "System",
        nav: "system",
        html: include_str!("../www/system.html"),
        script: "shell.js",
    },
    Page {
        path: "/users",
        right: Right::Admin,
        title: "Users",
        nav: "system",
        html: include_str!("../www/users.html"),
        script: "users.js",
    },
];

const SHELL: &str = include_str!("../www/shell.html");

/// Registers the pages and the files they load.
pub fn configure(config: &mut web::ServiceConfig) {
    for page in PAGES {
        config.route(page.path, web::get().to(move |state, who, request| show(page, state, who, request)));
        config.route(page.path, web::head().to(move |state, who, request| show(page, state, who, request)));
    }
    assets::configure(config);
}

/// What it takes to see this page, or to load this file of one; None: it is neither. The files show nothing of anyone.
pub fn right(path: &str) -> Option<Right> {
    let page = PAGES.iter().find(|page| page.path == path).map(|page| page.right);
    page.or_else(|| (path == assets::PATTERN).then_some(Right::Open))
}

/// What an address says beside the page's name.
struct Asked<'a> {
    query: Query<'a>,
    /// Empty where the address names no camera: then nobody asks for it.
    camera: &'a str,
}

async fn show(
    page: &'static Page,
    state: web::Data<AppState>,
    who: Who,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let camera = request.match_info().get("name").unwrap_or_default();
    let asked = Asked { query: Query::of_form(&request), camera };
    let html = match fill(page.html, &state, &who, &asked).await {
        Ok(main) => shell(page.title, page.nav, page.script, &state, &who, &main),
        Err(problem) if login::wants_page(request.headers()) => return Ok(refused(&problem, &state, &who)),
        Err(problem) => return Err(problem),
    };
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html))
}

/// The shell, with `main` in it.
fn shell(title: &str, nav: &str, script: &str, state: &AppState, who: &Who, main: &str) -> String {
    let lit = format!("data-nav=\"{nav}\"");
    SHELL
        .replace("{{title}}", title)
        .replace("{{script}}", script)
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{who}}", &who.name().map(log_out).unwrap_or_default())
        .replace("{{alarms}}", &tables::alarm_count(&state.alarms(who)))
        .replace(&lit, &format!("{lit} aria-current=\"page\""))
        // Last: nothing in it is taken for a name of the shell's.
        .replacen("{{main}}", main, 1)
}

/// A problem as a person's browser shows it: what is wrong, and the ways on from there.
pub fn refused(problem: &Problem, state: &AppState, who: &Who) -> HttpResponse {
    let title = match problem.status() {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        _ => "This page can’t be shown",
    };
    let main = format!(
        "<h1>{title}</h1>\n{}<p><a class=\"button\" href=\"/\">To the wall</a></p>\n",
        tables::refused(problem)
    );
    let html = shell(title, "", "shell.js", state, who, &main);
    HttpResponse::build(problem.status()).content_type("text/html; charset=utf-8").body(html)
}

/// The way out for somebody who is logged in.
fn log_out(name: &str) -> String {
    let name = Text(name);
    format!(
        "<form id=\"log-out\" method=\"post\" action=\"/api/logout\">\
         <button class=\"icon\" type=\"submit\" aria-label=\"Log out {name}\" title=\"Log out {name}\">\
         <svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M10 4H5v16h5M9 12h11M16 8l4 4-4 4\"/></svg></button></form>"
    )
}

/// Fills the names in a page's fragment.
async fn fill(fragment: &str, state: &AppState, who: &Who, asked: &Asked<'_>) -> Result<String, Problem> {
    let mut out = String::with_capacity(2 * fragment.len());
    let mut rest = fragment;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        out.push_str(before);
        out.push_str(&part(name, state, who, asked).await?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// What a name in a fragment stands for.
async fn part(name: &str, state: &AppState, who: &Who, asked: &Asked<'_>) -> Result<String, Problem> {
    let all = || state.cameras(who).iter().map(|entry| entry.status()).collect::<Vec<_>>();
    Ok(match name {
        "tiles" => tables::tiles(&all()),
        "cameras" => tables::cameras(&all(), cameras::is_admin(who)),
        "camera-list" => cameras::list(state, who).await,
        "camera-form" => cameras::form(who).to_owned(),
        "camera" => cameras::one(state, who, asked.camera).await?,
        "tune" => cameras::tune(state, who, asked.camera)?,
        "first" => cameras::first(who).to_owned(),
        "alarms" => tables::alarms(&state.alarms(who)),
        "recordings" => tables::recordings(&tables::newest_recordings(state, who).await),
        "people" => people::tables(state, who).await,
        "users-link" => people::link(who).to_owned(),
        "event-filter" => events::filter(state, who, &asked.query),
        "events" => events::list(state, who, &asked.query).await,
        _ => format!("<p class=\"error\">no part is called {}</p>", Text(name)),
    })
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
