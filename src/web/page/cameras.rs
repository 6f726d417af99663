//! The pages of cameras: the list of all with what can be done, one with its day and its file, the form for a new one.
//!
//! Buttons and forms are there for admins only; what they do is `www/cameras.js` and `www/camera.js`.

use std::collections::HashMap;
use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};

use super::html::{Text, Time};
use super::tables::{empty, head, words};
use crate::clock;
use crate::domain::access::Right;
use crate::domain::camera::{CameraState, CameraStatus, GapCause};
use crate::domain::recording::{Gap, RecordingQuery};
use crate::web::doors::Who;
use crate::web::{AppState, Problem, camera_files};

const DAY: TimeDelta = TimeDelta::days(1);
/// Most gaps of a day that are counted.
const MOST_GAPS: u32 = 1000;
/// Most of them that a camera's page lists.
const MOST_LISTED: usize = 20;

/// May they change cameras?
pub fn is_admin(who: &Who) -> bool {
    Right::Admin.is_held_by(who.role())
}

/// All cameras, with what can be done about them.
pub async fn list(state: &AppState, who: &Who) -> String {
    let cameras: Vec<CameraStatus> = state.cameras(who).iter().map(|entry| entry.status()).collect();
    let is_admin = is_admin(who);
    if cameras.is_empty() {
        return empty(is_admin);
    }
    let now = clock::utc_now();
    let mut missing: HashMap<String, i64> = HashMap::new();
    for gap in gaps_of_day(state, who, None, now).await {
        *missing.entry(gap.camera.clone()).or_default() += seconds_within(&gap, now - DAY, now);
    }
    let mut columns =
        vec!["Camera", "State", "Picture", "fps", "kbit/s", "Crashes", "Reconnects", "Missing, 24 h", "Recording"];
    columns.extend(is_admin.then_some("Do"));
    let mut out = head("Cameras", &columns);
    for camera in &cameras {
        let name = Text(&camera.name);
        let picture = camera.codec.as_deref().zip(camera.resolution.as_deref());
        let picture = picture.map(|(codec, size)| format!("{codec} {size}")).unwrap_or_default();
        let _ = write!(
            out,
            "<tr data-camera=\"{name}\"><th scope=\"row\"><a href=\"/cameras/{name}\">{name}</a></th><td>{}</td>\
             <td>{}</td><td class=\"number\">{:.1}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td>",
            told(camera),
            Text(&picture),
            camera.fps,
            camera.bitrate / 1000,
            camera.restarts,
            camera.reconnects,
            duration(missing.get(&camera.name).copied().unwrap_or_default()),
            if camera.recording { "yes" } else { "" },
        );
        if is_admin {
            let _ = write!(
                out,
                "<td><div class=\"actions\">{}<a class=\"button\" href=\"/cameras/{name}#config\" \
                 aria-label=\"Edit {name}\">Edit</a></div></td>",
                buttons(camera)
            );
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

/// The state, and what is wrong, said once.
fn told(camera: &CameraStatus) -> String {
    let mut out =
        format!("<span class=\"badge\" data-state=\"{}\">{}</span>", camera.state.name(), words(camera.state));
    let config_error = camera.config_error.as_ref().filter(|error| camera.error.as_ref() != Some(error));
    for error in camera.error.iter().chain(config_error).chain(&camera.recording_blocked) {
        let _ = write!(out, "<br><span class=\"error\">{}</span>", Text(error));
    }
    out
}

fn buttons(camera: &CameraStatus) -> String {
    let name = Text(&camera.name);
    let button = |act: &str, words: &str| {
        format!(
            "<button type=\"button\" class=\"button\" data-act=\"{act}\" data-of=\"{name}\" \
             aria-label=\"{words} {name}\">{words}</button>"
        )
    };
    match camera.state {
        CameraState::Disabled => button("enable", "Switch on"),
        // Its file can't be changed key by key, and nothing runs that could restart.
        CameraState::ConfigError => String::new(),
        _ => button("restart", "Restart") + &button("disable", "Switch off"),
    }
}

/// What is missing of the day before `now`, the newest first.
async fn gaps_of_day(state: &AppState, who: &Who, camera: Option<&str>, now: DateTime<Utc>) -> Vec<Gap> {
    let query = RecordingQuery {
        camera: camera.map(str::to_owned),
        among: who.cameras().list(),
        from: Some(now - DAY),
        limit: MOST_GAPS,
        ..RecordingQuery::default()
    };
    state.ask(move |index| index.gaps(&query)).await.map(|page| page.items).unwrap_or_default()
}

/// What is missing of a camera's day, as a table.
fn gap_table(gaps: &[Gap], now: DateTime<Utc>) -> String {
    if gaps.is_empty() {
        return "<p class=\"good\">Nothing is missing of what should have been recorded.</p>\n".to_owned();
    }
    let mut out = head("What is missing", &["From", "Length", "Why"]);
    for gap in gaps.iter().take(MOST_LISTED) {
        let length = duration((gap.end.unwrap_or(now) - gap.start).num_seconds().max(1));
        let goes_on = if gap.end.is_none() { ", goes on" } else { "" };
        let _ =
            writeln!(out, "<tr><td>{}</td><td>{length}{goes_on}</td><td>{}</td></tr>", Time(gap.start), why(gap.cause));
    }
    out.push_str("</tbody></table></div>\n");
    if gaps.len() > MOST_LISTED {
        let _ = writeln!(out, "<p class=\"muted\">And {} more before.</p>", gaps.len() - MOST_LISTED);
    }
    out
}

/// A gap's cause in a person's words, and what to do.
fn why(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Reload => "its file was changed, and it started anew",
        GapCause::Disconnected => "no connection (the camera, its power, the network)",
        GapCause::DiskTooSlow => "the disk could not keep up",
        GapCause::DiskError => "the disk took nothing (full, read-only or broken)",
        GapCause::Encoder => "encoding failed, or could not keep up (record.encode)",
        GapCause::Crash => "a part of Tarsier crashed (the log says where)",
        GapCause::Down => "Tarsier did not run",
    }
}

fn seconds_within(gap: &Gap, from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    (gap.end.unwrap_or(to).min(to) - gap.start.max(from)).num_seconds().max(0)
}

/// `1 h 05 min`
fn duration(seconds: i64) -> String {
    match seconds {
        0 => String::new(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// One camera: state, picture, day, and for admins its file. Of a camera that runs no more, or never did, there may
/// still be a file.
pub async fn one(state: &AppState, who: &Who, name: &str) -> Result<String, Problem> {
    let entry = state.camera(who, name)?;
    let camera = entry.status();
    let now = clock::utc_now();
    let gaps = gaps_of_day(state, who, Some(name), now).await;
    let missing = gaps.iter().map(|gap| seconds_within(gap, now - DAY, now)).sum();
    let is_admin = is_admin(who);
    let shown = Text(name);
    let mut out = format!(
        "<p class=\"crumb\"><a href=\"/cameras\">Cameras</a></p>\n<h1>{shown}</h1>\n\
         <div class=\"camera\" id=\"camera\" data-camera=\"{shown}\">\n<section id=\"state\" aria-label=\"State\">\n\
         <p role=\"status\">{} <span class=\"muted\">since {}</span></p>\n",
        told(&camera),
        Time(camera.since)
    );
    if let Some(advice) = advice(&camera) {
        let _ = writeln!(out, "<p class=\"advice\">{advice}</p>");
    }
    out.push_str("<dl class=\"facts\">");
    let rate = format!("{:.1} fps, {} kbit/s", camera.fps, camera.bitrate / 1000);
    let picture = camera.codec.as_deref().zip(camera.resolution.as_deref());
    for (term, words) in [
        ("Picture", picture.map(|(codec, size)| format!("{codec}, {size}"))),
        ("Rate", picture.map(|_| rate)),
        ("Recording", Some(if camera.recording { "yes" } else { "no" }.to_owned())),
        ("Missing, 24 h", Some(duration(missing)).filter(|words| !words.is_empty())),
        ("Reconnects", Some(camera.reconnects.to_string())),
        ("Crashes", Some(camera.restarts.to_string())),
    ] {
        if let Some(words) = words {
            let _ = write!(out, "<dt>{term}</dt><dd>{}</dd>", Text(&words));
        }
    }
    if let Some(started) = camera.started_at {
        let _ = write!(out, "<dt>Started</dt><dd>{}</dd>", Time(started));
    }
    out.push_str("</dl>\n");
    if is_admin {
        let _ = writeln!(
            out,
            "<p class=\"actions\">{}<a class=\"button\" href=\"/cameras/{shown}/tune\">Tune detection</a>\
             <button type=\"button\" class=\"button danger\" data-act=\"remove\" data-of=\"{shown}\">Remove…</button></p>",
            buttons(&camera)
        );
    }
    out.push_str("</section>\n");
    if picture.is_some() {
        let _ = writeln!(
            out,
            "<a class=\"still\" href=\"/#{shown}\"><img id=\"still\" src=\"/api/cameras/{shown}/snapshot.jpg\" \
             alt=\"{shown}, its newest picture\"></a>"
        );
    }
    let _ = writeln!(
        out,
        "</div>\n<h2>The last 24 hours</h2>\n<div class=\"strips\"><canvas class=\"strip-canvas\" id=\"day\" role=\"img\" \
         aria-label=\"{shown}, the last 24 hours\"></canvas></div>\n<p class=\"legend\" aria-hidden=\"true\">\
         <span class=\"is-recording\">recorded</span><span class=\"is-motion\">how much moved</span>\
         <span class=\"is-event\">event</span><span class=\"is-gap\">missing</span></p>\n\
         <h3 id=\"rate-title\">Bit rate of the recordings</h3>\n\
         <div class=\"strips\"><canvas class=\"rate-canvas\" id=\"rate\" role=\"img\" aria-labelledby=\"rate-title\" \
         aria-describedby=\"rate-says\"></canvas></div>\n<p class=\"muted\" id=\"rate-says\"></p>\n\
         <h3>Missing</h3>\n<section id=\"gaps\" aria-label=\"Missing\">{}</section>",
        gap_table(&gaps, now)
    );
    if is_admin {
        out.push_str(&editor(state, name).await);
    }
    Ok(out)
}

/// What to do, where the cause does not say it already.
fn advice(camera: &CameraStatus) -> Option<&'static str> {
    match camera.state {
        CameraState::Disabled => Some("It is switched off: nothing is watched or recorded."),
        CameraState::ConfigError => Some("Its file can’t be used. Mend it, and the camera starts by itself."),
        _ if camera.config_error.is_some() => {
            Some("Its file can’t be used as it is now; the camera goes on as it was. Mend the file.")
        }
        CameraState::Stopped => Some("Its video has ended. A restart plays it again."),
        CameraState::Backoff | CameraState::Reconnecting => Some("It is tried again by itself, less and less often."),
        CameraState::Starting | CameraState::Running | CameraState::Degraded => None,
    }
}

/// The camera's file, to be edited.
async fn editor(state: &AppState, name: &str) -> String {
    let shown = match camera_files::shown(state, name).await {
        Ok(shown) => shown,
        Err(problem) => {
            return format!("<h2>Configuration</h2>\n<p class=\"error\">{}</p>\n", Text(&problem.to_string()));
        }
    };
    let mut faults = String::new();
    for fault in &shown.faults {
        let (line, column) = (fault.line, fault.column);
        let _ = write!(faults, "<li data-line=\"{line}\" data-column=\"{column}\">{}</li>", Text(&fault.to_string()));
    }
    // A browser drops the first line break in a textarea.
    format!(
        "<h2 id=\"config-title\">Configuration</h2>\n<form class=\"editor\" id=\"editor\" data-etag=\"{}\">\n\
         <div class=\"editor-text\"><pre class=\"editor-lines\" id=\"config-lines\" aria-hidden=\"true\"></pre>\
         <textarea id=\"config\" aria-labelledby=\"config-title\" aria-describedby=\"config-faults\" wrap=\"off\" \
         rows=\"16\" spellcheck=\"false\" autocapitalize=\"none\" autocomplete=\"off\">\n{}</textarea></div>\n\
         <ol class=\"faults\" id=\"config-faults\" role=\"alert\">{faults}</ol>\n\
         <p class=\"actions\"><button class=\"button primary\" type=\"submit\">Save</button>\
         <button class=\"button\" type=\"reset\">Undo changes</button>\
         <span class=\"muted\"><code>***</code> stands for a password, which stays as it is.</span></p>\n</form>\n",
        Text(&shown.etag),
        Text(&shown.text),
    )
}

/// The tuning of a camera's detection. All that is in it its script asks for.
pub fn tune(state: &AppState, who: &Who, name: &str) -> Result<String, Problem> {
    state.camera(who, name)?;
    Ok(include_str!("../www/tune.html").replace("{{name}}", &Text(name).to_string()))
}

/// The form for a new camera, for admins.
pub fn form(who: &Who) -> &'static str {
    if is_admin(who) { include_str!("../www/add.html") } else { "" }
}

/// How to begin, on the wall without cameras.
pub fn first(who: &Who) -> &'static str {
    if is_admin(who) {
        "<p><a class=\"button primary\" href=\"/cameras#add\">Add a camera</a></p>"
    } else {
        "<p>An admin can add some.</p>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_counts_within_the_day() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (from, to) = (at("2026-01-31T08:00:00Z"), at("2026-02-01T08:00:00Z"));
        let gap = |start: &str, end: Option<&str>| Gap {
            camera: "yard".into(),
            start: at(start),
            end: end.map(at),
            cause: GapCause::Disconnected,
        };
        for (start, end, seconds) in [
            ("2026-01-31T09:00:00Z", Some("2026-01-31T09:00:30Z"), 30),
            ("2026-01-31T07:00:00Z", Some("2026-01-31T08:00:10Z"), 10),
            ("2026-01-30T07:00:00Z", Some("2026-01-30T08:00:10Z"), 0),
            ("2026-02-01T07:00:00Z", None, 3600),
        ] {
            assert_eq!(seconds_within(&gap(start, end), from, to), seconds, "{start}");
        }
        assert_eq!([0, 30, 600, 3900, 7500].map(duration), ["", "30 s", "10 min", "65 min", "2 h 05 min"]);
    }
}
