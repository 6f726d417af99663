//! A plain page of what is going on: cameras, alarms, the newest recordings. No scripts; it asks again by itself.

use std::fmt::{self, Display, Write};

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};

use super::{AppState, Problem};
use crate::actors::registry::Alarm;
use crate::domain::camera::{CameraState, CameraStatus};
use crate::domain::recording::{Recording, RecordingQuery};

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";
const RECORDINGS: u32 = 20;

/// The status page.
#[utoipa::path(get, path = "/", tag = "page", responses(
    (status = 200, description = "a page for people", content_type = "text/html", body = String),
))]
pub async fn index(state: web::Data<AppState>) -> HttpResponse {
    let cameras: Vec<CameraStatus> = state.registry.all().iter().map(|entry| entry.status()).collect();
    let query = RecordingQuery { limit: RECORDINGS, ..RecordingQuery::default() };
    let recordings = state.ask(move |index| index.recordings(&query)).await.map(|page| page.items);
    let mut html = String::new();
    let _ = render(&mut html, &cameras, &state.registry.alarms(), &recordings);
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .body(html)
}

/// The page's style sheet.
#[utoipa::path(get, path = "/style.css", tag = "page", responses(
    (status = 200, description = "the page's style sheet", content_type = "text/css", body = String),
))]
pub async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(include_str!("style.css"))
}

fn render(
    out: &mut String,
    cameras: &[CameraStatus],
    alarms: &[Alarm],
    recordings: &Result<Vec<Recording>, Problem>,
) -> fmt::Result {
    out.push_str(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"15\">\
         <title>Tarsier</title><link rel=\"stylesheet\" href=\"/style.css\">\
         </head><body><h1>Tarsier</h1>\n",
    );
    if !alarms.is_empty() {
        out.push_str("<h2>Alarms</h2><ul>\n");
        for alarm in alarms {
            let of = alarm.camera.as_deref().map(|camera| format!("{camera}: ")).unwrap_or_default();
            writeln!(
                out,
                "<li class=\"alarm\">{}{} (since {})</li>",
                Text(&of),
                Text(&alarm.message),
                time(alarm.since)
            )?;
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<h2>Cameras</h2>\n");
    if cameras.is_empty() {
        out.push_str("<p>None yet: put a file with a <code>source:</code> into <code>config.d/</code>.</p>\n");
    } else {
        out.push_str(
            "<table><tr><th>now<th>camera<th>state<th>since<th>picture<th>fps<th>kbit/s<th>motion<th>recording</tr>\n",
        );
        cameras.iter().try_for_each(|camera| camera_row(out, camera))?;
        out.push_str("</table>\n");
    }
    out.push_str("<h2>Newest recordings</h2>\n");
    match recordings {
        Err(problem) => writeln!(out, "<p class=\"error\">{}</p>", Text(&problem.to_string()))?,
        Ok(rows) if rows.is_empty() => out.push_str("<p>None yet.</p>\n"),
        Ok(rows) => {
            out.push_str("<table><tr><th>start<th>camera<th>seconds<th>MB<th>reason<th>file</tr>\n");
            rows.iter().try_for_each(|recording| recording_row(out, recording))?;
            out.push_str("</table>\n");
        }
    }
    out.push_str(
        "<footer>Times are UTC. <a href=\"/api/cameras\">cameras</a>, <a href=\"/api/recordings\">recordings</a>, \
         <a href=\"/api/events\">events</a>, <a href=\"/api/gaps\">gaps</a> as JSON; \
         <a href=\"/metrics\">metrics</a>, <a href=\"/api/openapi.json\">OpenAPI</a></footer></body></html>\n",
    );
    Ok(())
}

fn camera_row(out: &mut String, camera: &CameraStatus) -> fmt::Result {
    let name = Text(&camera.name);
    out.push_str("<tr><td>");
    if matches!(camera.state, CameraState::Running | CameraState::Degraded) {
        write!(
            out,
            "<a href=\"/api/cameras/{name}/snapshot.jpg\">\
             <img src=\"/api/cameras/{name}/snapshot.jpg\" alt=\"{name} now\"></a>"
        )?;
    }
    let state = serde_json::to_value(camera.state).ok();
    let state = state.as_ref().and_then(|state| state.as_str()).unwrap_or_default();
    write!(out, "<td><a href=\"/api/cameras/{name}\">{name}</a><td><span class=\"state {state}\">{state}</span>")?;
    let config_error = camera.config_error.as_ref().filter(|error| camera.error.as_ref() != Some(error));
    for error in camera.error.iter().chain(config_error) {
        write!(out, "<br><span class=\"error\">{}</span>", Text(error))?;
    }
    writeln!(
        out,
        "<td>{}<td>{} {}<td class=\"number\">{:.1}<td class=\"number\">{}<td>{}<td>{}</tr>",
        time(camera.since),
        Text(camera.codec.as_deref().unwrap_or("")),
        Text(camera.resolution.as_deref().unwrap_or("")),
        camera.fps,
        camera.bitrate / 1000,
        if camera.motion { "yes" } else { "" },
        if camera.recording { "yes" } else { "" },
    )
}

fn recording_row(out: &mut String, recording: &Recording) -> fmt::Result {
    let seconds = recording
        .end
        .map_or("open".to_owned(), |end| format!("{:.1}", (end - recording.start).num_milliseconds() as f64 / 1000.0));
    writeln!(
        out,
        "<tr><td>{}<td>{}<td class=\"number\">{seconds}<td class=\"number\">{:.1}<td>{}\
         <td><a href=\"/api/recordings/{}/video.mp4\">{}</a></tr>",
        time(recording.start),
        Text(&recording.camera),
        recording.bytes as f64 / 1e6,
        recording.reason.name(),
        recording.id,
        Text(&recording.path),
    )
}

fn time(time: DateTime<Utc>) -> impl Display {
    time.format("%Y-%m-%d %H:%M:%S")
}

/// Text inside HTML, attributes too.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
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
        let mut html = String::new();
        render(&mut html, &[camera], &[], &Ok(Vec::new())).unwrap();
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"));
        assert!(!html.contains("<script"));
        assert!(html.contains("class=\"state backoff\">backoff<"));
    }
}
