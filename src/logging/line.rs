//! One line of the log: collected from an event and its spans, redacted, written as text or JSON.

use std::fmt::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

use crate::domain::source_url::redact_urls;

/// Named values of an event or a span; a name that comes again replaces its value.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    pub(super) fn extend(&mut self, other: &Fields) {
        for (name, value) in &other.0 {
            self.set(name, value.clone());
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        // `r#type` is a field named `type`.
        let name = name.strip_prefix("r#").unwrap_or(name);
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.set(field.name(), Value::String(redact_urls(text)));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.text(field, &text);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }
}

/// A line before it is written. Nothing in it is secret any more.
#[derive(Clone, Debug)]
pub(super) struct Line {
    time: DateTime<Utc>,
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) callsite: Option<Identifier>,
    pub(super) camera: String,
    pub(super) message: String,
    /// Camera and generation first.
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    pub(super) fn new(time: DateTime<Utc>, metadata: &'static Metadata<'static>, mut fields: Fields) -> Self {
        let message = fields.take("message").map(|value| plain(&value)).unwrap_or_default();
        let target = match fields.take("log.target") {
            Some(target) => plain(&target),
            None => metadata.target().to_owned(),
        };
        fields.0.retain(|(name, _)| !name.starts_with("log."));
        fields.0.sort_by_key(|(name, _)| match *name {
            "camera" => 0,
            "generation" => 1,
            _ => 2,
        });
        let camera = fields.0.iter().find(|(name, _)| *name == "camera").map(|(_, value)| plain(value));
        Line {
            time,
            level: *metadata.level(),
            target,
            callsite: Some(metadata.callsite()),
            camera: camera.unwrap_or_default(),
            message,
            fields: fields.0,
        }
    }

    /// A line of the log about itself.
    pub(super) fn own(time: DateTime<Utc>, message: String) -> Self {
        Line {
            time,
            level: Level::ERROR,
            target: module_path!().to_owned(),
            callsite: None,
            camera: String::new(),
            message,
            fields: Vec::new(),
        }
    }

    /// `2026-05-04T03:02:01.123Z  WARN camera=yard generation=2 message name=value`
    pub(super) fn to_text(&self) -> String {
        let mut out = String::with_capacity(160);
        let _ = write!(out, "{} {:>5}", self.time.to_rfc3339_opts(SecondsFormat::Millis, true), self.level);
        let (about, rest): (Vec<_>, Vec<_>) =
            self.fields.iter().partition(|(name, _)| matches!(*name, "camera" | "generation"));
        for (name, value) in about {
            let _ = write!(out, " {name}={}", quoted(&plain(value)));
        }
        if !self.target.starts_with("tarsier") {
            let _ = write!(out, " [{}]", printable(&self.target));
        }
        let _ = write!(out, " {}", printable(&self.message));
        for (name, value) in rest {
            let _ = write!(out, " {name}={}", quoted(&plain(value)));
        }
        out.push('\n');
        out
    }

    /// One JSON object: `time`, `level`, `message`, `target`, then the fields.
    pub(super) fn to_json(&self) -> String {
        let mut out = String::with_capacity(200);
        let time = self.time.to_rfc3339_opts(SecondsFormat::Micros, true);
        let level = self.level.as_str().to_ascii_lowercase();
        let _ = write!(
            out,
            "{{\"time\":\"{time}\",\"level\":\"{level}\",\"message\":{},\"target\":{}",
            Value::from(self.message.as_str()),
            Value::from(self.target.as_str())
        );
        for (name, value) in &self.fields {
            let name =
                if matches!(*name, "time" | "level" | "target") { format!("field_{name}") } else { (*name).into() };
            let _ = write!(out, ",{}:{value}", Value::from(name));
        }
        out.push_str("}\n");
        out
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Without control characters: what a camera says must not draw on a terminal or begin a line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn quoted(text: &str) -> String {
    let bare = !text.is_empty() && !text.contains([' ', '"', '=']) && !text.contains(char::is_control);
    if bare { text.to_owned() } else { format!("\"{}\"", printable(&text.replace('\\', "\\\\").replace('"', "\\\""))) }
}
