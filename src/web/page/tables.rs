//! What the pages' lists and tables say before any script runs.

use std::fmt::Write;

use super::html::{Text, Time};
use crate::actors::registry::Alarm;
use crate::domain::camera::{CameraState, CameraStatus};
use crate::domain::recording::{Recording, RecordingQuery};
use crate::web::doors::Who;
use crate::web::{AppState, Problem};

const NEWEST: u32 = 50;

/// The newest recordings.
pub async fn newest_recordings(state: &AppState, who: &Who) -> Result<Vec<Recording>, Problem> {
    let query = RecordingQuery { among: who.cameras().list(), limit: NEWEST, ..RecordingQuery::default() };
    state.ask(move |index| index.recordings(&query)).await.map(|page| page.items)
}

/// The number beside "System", where there are alarms.
pub fn alarm_count(alarms: &[Alarm]) -> String {
    match alarms.len() {
        0 => String::new(),
        1 => "<span class=\"count\">1<span class=\"hidden\"> alarm</span></span>".to_owned(),
        more => format!("<span class=\"count\">{more}<span class=\"hidden\"> alarms</span></span>"),
    }
}

/// The tiles of the wall.
pub fn tiles(cameras: &[CameraStatus]) -> String {
    let mut out = String::new();
    for camera in cameras {
        let (name, state) = (Text(&camera.name), camera.state.name());
        let _ = writeln!(
            out,
            "<li class=\"tile\" id=\"{name}\" data-camera=\"{name}\" data-state=\"{state}\"{}{}>\
             <a class=\"tile-link\" href=\"#{name}\"><span class=\"tile-name\">{name}</span>\
             <span class=\"badge\" data-state=\"{state}\">{}</span></a>\
             <p class=\"tile-error\">{}</p>\
             <noscript><img src=\"/api/cameras/{name}/snapshot.jpg\" alt=\"{name}, its newest picture\"></noscript></li>",
            if camera.motion { " data-motion" } else { "" },
            if camera.recording { " data-recording" } else { "" },
            words(camera.state),
            Text(trouble(camera).unwrap_or_default()),
        );
    }
    out
}

/// A state in a person's words.
pub fn words(state: CameraState) -> &'static str {
    match state {
        CameraState::Starting => "Starting",
        CameraState::Running => "Live",
        CameraState::Degraded => "Degraded",
        CameraState::Reconnecting => "Reconnecting",
        CameraState::Backoff => "No connection",
        CameraState::Disabled => "Off",
        CameraState::ConfigError => "Config error",
        CameraState::Stopped => "Stopped",
    }
}

/// What is wrong with a camera, said once.
fn trouble(camera: &CameraStatus) -> Option<&str> {
    camera.error.as_deref().or(camera.config_error.as_deref())
}

/// The cameras as a table.
pub fn cameras(cameras: &[CameraStatus], is_admin: bool) -> String {
    if cameras.is_empty() {
        return empty(is_admin);
    }
    let mut out = head("Cameras", &["Camera", "State", "Since", "Picture", "fps", "kbit/s", "Motion", "Recording"]);
    for camera in cameras {
        let (name, state) = (Text(&camera.name), camera.state.name());
        let _ = write!(
            out,
            "<tr data-camera=\"{name}\"><th scope=\"row\"><a href=\"/cameras/{name}\">{name}</a></th>\
             <td><span class=\"badge\" data-state=\"{state}\">{}</span>",
            words(camera.state)
        );
        let config_error = camera.config_error.as_ref().filter(|error| camera.error.as_ref() != Some(error));
        for error in camera.error.iter().chain(config_error) {
            let _ = write!(out, "<br><span class=\"error\">{}</span>", Text(error));
        }
        let _ = writeln!(
            out,
            "</td><td>{}</td><td>{} {}</td><td class=\"number\">{:.1}</td><td class=\"number\">{}</td>\
             <td>{}</td><td>{}</td></tr>",
            Time(camera.since),
            Text(camera.codec.as_deref().unwrap_or("")),
            Text(camera.resolution.as_deref().unwrap_or("")),
            camera.fps,
            camera.bitrate / 1000,
            if camera.motion { "yes" } else { "" },
            if camera.recording { "yes" } else { "" },
        );
    }
    out + "</tbody></table></div>\n"
}

/// What there is to say without cameras.
pub fn empty(is_admin: bool) -> String {
    let add = if is_admin { "<a href=\"/cameras#add\">Add the first one</a>, or put" } else { "An admin can put" };
    format!("<p>No cameras yet. {add} a file with a <code>source:</code> into <code>config.d/</code>.</p>\n")
}

/// The alarms as a list.
pub fn alarms(alarms: &[Alarm]) -> String {
    if alarms.is_empty() {
        return "<p class=\"good\">No alarms.</p>\n".to_owned();
    }
    let mut out = String::from("<ul class=\"alarms\">\n");
    for alarm in alarms {
        let of = alarm.camera.as_deref().map(|camera| format!("{camera}: ")).unwrap_or_default();
        let _ = writeln!(
            out,
            "<li class=\"alarm\">{}{} <span class=\"muted\">since {}</span></li>",
            Text(&of),
            Text(&alarm.message),
            Time(alarm.since)
        );
    }
    out + "</ul>\n"
}

/// Recordings as a table.
pub fn recordings(rows: &Result<Vec<Recording>, Problem>) -> String {
    let rows = match rows {
        Ok(rows) if rows.is_empty() => return "<p>Nothing is recorded yet.</p>\n".to_owned(),
        Ok(rows) => rows,
        Err(problem) => return refused(problem),
    };
    let mut out = head("Recordings", &["Start", "Camera", "Seconds", "MB", "Reason", "File"]);
    for recording in rows {
        let seconds = recording.end.map_or("open".to_owned(), |end| {
            format!("{:.1}", (end - recording.start).num_milliseconds() as f64 / 1000.0)
        });
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{seconds}</td><td class=\"number\">{:.1}</td><td>{}</td>\
             <td><a href=\"/api/recordings/{}/video.mp4\">{}</a></td></tr>",
            Time(recording.start),
            Text(&recording.camera),
            recording.bytes as f64 / 1e6,
            recording.reason.name(),
            recording.id,
            Text(&recording.path),
        );
    }
    out + "</tbody></table></div>\n"
}

/// A table of `what` up to its first row, which may be wider than the page.
pub fn head(what: &str, columns: &[&str]) -> String {
    let mut out =
        format!("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{what}\"><table><thead><tr>");
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out + "</tr></thead><tbody>\n"
}

/// A part that could not be filled.
pub fn refused(problem: &Problem) -> String {
    format!("<p class=\"error\">{}</p>\n", Text(&problem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::registry::Registry;

    #[test]
    fn nothing_of_a_camera_becomes_markup() {
        let mut camera = Registry::default().entry("yard").status();
        camera.state = CameraState::Backoff;
        camera.error = Some("<script>alert(1)</script> & \"more\"".into());
        for html in [tiles(std::slice::from_ref(&camera)), cameras(std::slice::from_ref(&camera), true)] {
            assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"), "{html}");
            assert!(!html.contains("<script"), "{html}");
            assert!(html.contains("data-state=\"backoff\">No connection<"), "{html}");
        }
    }
}
