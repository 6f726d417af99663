//! The page of events: a list with pictures, and a form that says which.
//!
//! Its script puts in what happens meanwhile by asking for the page again, so that a row is rendered here and nowhere
//! else.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use url::form_urlencoded::Serializer;

use super::html::{Text, Time};
use super::tables::refused;
use crate::domain::access::Right;
use crate::domain::camera::Reason;
use crate::domain::finding::Cause;
use crate::domain::found::classes_of;
use crate::domain::label::Verdict;
use crate::domain::recording::{MotionEvent, Page, RecordingQuery};
use crate::web::doors::Who;
use crate::web::events::{self, EventRow};
use crate::web::query::Query;
use crate::web::{AppState, Problem};

const ROWS: u32 = 50;
/// A download begins so much before the event.
const LEAD: TimeDelta = TimeDelta::seconds(5);
/// Keys of the form.
const KEYS: [&str; 7] = ["camera", "from", "to", "min_s", "cause", "zone", "found"];

/// What can begin an event: for the form, with the words for it.
const CAUSES: [(&str, &str); 4] =
    [("motion", "Motion"), ("scene_change", "Scene change"), ("weather", "Weather"), ("manual", "By hand")];
/// Least lengths that the form offers, in seconds.
const LENGTHS: [u32; 6] = [5, 10, 20, 30, 60, 300];

/// The form: which events to show.
pub fn filter(state: &AppState, who: &Who, query: &Query<'_>) -> String {
    let said = |key: &str| query.text(key).unwrap_or_default().to_owned();
    let cameras = state.cameras(who).iter().map(|entry| entry.status().name).collect::<Vec<_>>();
    let cameras = cameras.iter().map(|name| (name.clone(), name.clone()));
    let lengths = LENGTHS.map(|seconds| (seconds.to_string(), format!("{seconds} s")));
    let causes = CAUSES.map(|(name, words)| (name.to_owned(), words.to_owned()));
    let mut out = String::from("<form class=\"filter\" id=\"filter\" method=\"get\" action=\"/events\">\n");
    choice(&mut out, "Camera", "camera", "All", cameras, &said("camera"));
    choice(&mut out, "Cause", "cause", "Any", causes, &said("cause"));
    choice(&mut out, "At least", "min_s", "Any length", lengths, &said("min_s"));
    for (label, key) in [("Zone", "zone"), ("Shows", "found")] {
        let _ = writeln!(
            out,
            "<label>{label}<input type=\"text\" name=\"{key}\" value=\"{}\" placeholder=\"Any\" \
             autocapitalize=\"none\" spellcheck=\"false\"></label>",
            Text(&said(key))
        );
    }
    for (label, key) in [("From", "from"), ("To", "to")] {
        let at = query.time(key).ok().flatten();
        let at = at.map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string()).unwrap_or_default();
        let _ = writeln!(
            out,
            "<label>{label} <span class=\"zone\">(UTC)</span><input type=\"datetime-local\" step=\"1\" name=\"{key}\" \
             value=\"{at}\"></label>"
        );
    }
    out.push_str("<button class=\"button primary\" type=\"submit\">Show</button>\n");
    if KEYS.iter().any(|key| query.text(key).is_some()) {
        out.push_str("<a class=\"button\" href=\"/events\">Show all</a>\n");
    }
    out + "</form>\n"
}

fn choice(
    out: &mut String,
    label: &str,
    key: &str,
    none: &str,
    values: impl IntoIterator<Item = (String, String)>,
    chosen: &str,
) {
    let _ = write!(out, "<label>{label}<select name=\"{key}\"><option value=\"\">{none}</option>");
    let mut values: Vec<(String, String)> = values.into_iter().collect();
    if !chosen.is_empty() && !values.iter().any(|(value, _)| value == chosen) {
        // From an address that somebody wrote by hand.
        values.push((chosen.to_owned(), chosen.to_owned()));
    }
    for (value, words) in values {
        let selected = if value == chosen { " selected" } else { "" };
        let _ = write!(out, "<option value=\"{}\"{selected}>{}</option>", Text(&value), Text(&words));
    }
    out.push_str("</select></label>\n");
}

/// The list, and what is after it: the way to older ones, or why there is nothing.
pub async fn list(state: &AppState, who: &Who, query: &Query<'_>) -> String {
    let found = ask(state, who, query).await;
    let is_admin = Right::Admin.is_held_by(who.role());
    let mut out = String::from("<ol class=\"events\" id=\"events\">\n");
    let Page { items, next } = match found {
        Ok(page) => page,
        Err(problem) => return out + "</ol>\n<div id=\"more\">" + &refused(&problem) + "</div>\n",
    };
    items.iter().for_each(|event| row(&mut out, event, is_admin));
    out.push_str("</ol>\n<div id=\"more\">\n");
    let is_filtered = KEYS.iter().any(|key| query.text(key).is_some());
    let is_older = query.text("cursor").is_some();
    if items.is_empty() && next.is_none() {
        out.push_str(match (is_older, is_filtered) {
            (true, _) => "<p>No older events.</p>\n",
            (false, true) => {
                "<p class=\"empty\">No event fits. Choose a longer time or fewer conditions, or \
                 <a href=\"/events\">show all</a>.</p>\n"
            }
            (false, false) => EMPTY,
        });
    }
    if items.is_empty() && next.is_some() {
        out.push_str("<p>None so far; older ones may fit.</p>\n");
    }
    if is_older {
        let _ = writeln!(out, "<a class=\"button\" href=\"{}\">Newest</a>", Text(&address(query, None)));
    }
    if let Some(next) = next {
        let _ =
            writeln!(out, "<a class=\"button\" rel=\"next\" href=\"{}\">Older</a>", Text(&address(query, Some(&next))));
    }
    out + "</div>\n"
}

const EMPTY: &str = "<div class=\"empty\"><h2>Nothing has moved yet</h2>\
                     <p>Events appear here by themselves as soon as something moves before a camera that detects motion \
                     (<code>detect.enabled</code>, which is on unless its file says otherwise), or when somebody starts one \
                     by hand.</p>\
                     <p><a href=\"/cameras\">See whether the cameras run</a>.</p></div>\n";

async fn ask(state: &AppState, who: &Who, query: &Query<'_>) -> Result<Page<EventRow>, Problem> {
    let which = RecordingQuery { limit: ROWS, ..query.rows(who)? };
    events::rows(state, which, query.event_filter()?).await
}

/// This page's address, from a cursor on.
fn address(query: &Query<'_>, cursor: Option<&str>) -> String {
    let mut keys = Serializer::new(String::new());
    for key in KEYS {
        if let Some(value) = query.text(key) {
            keys.append_pair(key, value);
        }
    }
    keys.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
    let keys = keys.finish();
    if keys.is_empty() { "/events".to_owned() } else { format!("/events?{keys}") }
}

fn row(out: &mut String, row: &EventRow, is_admin: bool) {
    let EventRow { event, recordings, is_protected, label } = row;
    let MotionEvent { id, camera, start, end, zones, .. } = event;
    let ids = recordings.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    let length = end.map_or("goes on".to_owned(), |end| length(end - *start));
    let moment = moment(camera, *start);
    // `data-is` says all that the row may change in.
    let found = classes_of(event.found.as_deref().unwrap_or_default());
    let words = [zones.join(" "), found.join(", ")].join(", ");
    let is = format!("{length}, {ids}, {is_protected}, {label:?}, {:?}, {words}", event.cause);
    let name = Text(camera);
    let _ = writeln!(
        out,
        "<li class=\"event\" data-event=\"{id}\" data-camera=\"{name}\" data-recordings=\"{ids}\" data-is=\"{}\">",
        Text(&is)
    );
    match recordings.is_empty() {
        // What the picture shows is said beside it, and where it leads too.
        false => {
            let _ = writeln!(
                out,
                "<a class=\"event-picture\" href=\"{moment}\" tabindex=\"-1\" aria-hidden=\"true\">\
                 <img src=\"/api/events/{id}/thumbnail.jpg\" alt=\"\" width=\"160\" height=\"90\" loading=\"lazy\"></a>"
            );
        }
        true => out.push_str("<span class=\"event-picture\">not recorded</span>\n"),
    }
    let _ = write!(out, "<div class=\"event-words\"><a class=\"event-time\" href=\"{moment}\">{}</a> ", Time(*start));
    let _ = write!(
        out,
        "<strong>{name}</strong> <span class=\"event-length\">{length}</span> <span>{}</span>",
        cause(event)
    );
    for zone in zones {
        let _ = write!(out, " <span class=\"event-zone\">{}</span>", Text(zone));
    }
    for class in found {
        let _ = write!(out, " <span class=\"event-found\">{}</span>", Text(class));
    }
    if *is_protected {
        out.push_str(" <span class=\"event-kept\">Protected</span>");
    }
    out.push_str("</div>\n<div class=\"event-tools\">\n");
    if !recordings.is_empty() {
        let _ = writeln!(out, "<a class=\"button\" data-do=\"play\" href=\"{moment}\">Play</a>");
        if let Some(end) = end {
            let export = export(camera, *start - LEAD, *end);
            let _ = writeln!(out, "<a class=\"button\" href=\"{}\" download>Download</a>", Text(&export));
        }
        out.push_str("<button class=\"button\" type=\"button\" data-do=\"share\">Copy link</button>\n");
    }
    if is_admin && !recordings.is_empty() {
        let word = if *is_protected { "Unprotect" } else { "Protect" };
        let _ = writeln!(out, "<button class=\"button\" type=\"button\" data-do=\"protect\">{word}</button>");
    }
    if is_admin && end.is_some() {
        for (verdict, words) in [(Verdict::Event, "Right"), (Verdict::NotEvent, "False alarm")] {
            let (name, is_said) = (verdict.name(), *label == Some(verdict));
            let _ = writeln!(
                out,
                "<button class=\"button\" type=\"button\" data-do=\"{name}\" aria-pressed=\"{is_said}\">{words}</button>"
            );
        }
        out.push_str("<button class=\"button danger\" type=\"button\" data-do=\"delete\">Delete</button>\n");
    }
    out.push_str("</div></li>\n");
}

/// What began it, in a person's words.
fn cause(event: &MotionEvent) -> &'static str {
    let name = match event.reason {
        Reason::Manual => "manual",
        _ => event.cause.map_or("motion", Cause::name),
    };
    CAUSES.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words)
}

fn length(length: TimeDelta) -> String {
    match length.num_seconds() {
        0..60 => format!("{:.1} s", length.num_milliseconds() as f64 / 1000.0),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// The timeline at a moment.
fn moment(camera: &str, at: DateTime<Utc>) -> String {
    let hash = Serializer::new(String::new()).append_pair("camera", camera).append_pair("at", &time(at)).finish();
    Text(&format!("/timeline#{hash}")).to_string()
}

fn export(camera: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let mut keys = Serializer::new(String::new());
    keys.append_pair("camera", camera).append_pair("from", &time(from)).append_pair("to", &time(to));
    format!("/api/export?{}", keys.finish())
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
