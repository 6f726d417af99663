//! The part of an address after `?`, read strictly: unknown, doubled and impossible keys are refused by name.

use std::borrow::Cow;

use actix_web::HttpRequest;
use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

use super::Problem;
use super::doors::Who;
use crate::domain::finding::Cause;
use crate::domain::recording::{Began, EventFilter, RecordingQuery};

/// Most rows of a page.
pub const MAX_LIMIT: u32 = 1000;

/// No event is longer than a year, in seconds.
const LONGEST_S: f64 = 31_536_000.0;

/// The keys of one request, decoded. That they are known to the route was checked before.
pub struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Refuses keys that are not in `known` and keys that come twice.
pub fn check_keys(query: &str, known: &[&str]) -> Result<(), Problem> {
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (key, _) in url::form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&key.as_ref()) {
            let known = if known.is_empty() {
                "there are none here".to_owned()
            } else {
                format!("known: {}", known.join(", "))
            };
            return Err(Problem::bad_query(&key, format!("unknown ({known})")));
        }
        if seen.contains(&key) {
            return Err(Problem::bad_query(&key, "given twice"));
        }
        seen.push(key);
    }
    Ok(())
}

impl<'a> Query<'a> {
    pub fn of(request: &'a HttpRequest) -> Self {
        Query { pairs: url::form_urlencoded::parse(request.query_string().as_bytes()).collect() }
    }

    /// The same of a page's form: what was not filled in is left out, and times are as browsers write them, in UTC.
    pub fn of_form(request: &'a HttpRequest) -> Self {
        let mut query = Query::of(request);
        query.pairs.retain(|(_, value)| !value.is_empty());
        for (_, value) in query.pairs.iter_mut().filter(|(key, _)| ["from", "to"].contains(&key.as_ref())) {
            let read = |format| NaiveDateTime::parse_from_str(value, format).ok();
            if let Some(time) = read("%Y-%m-%dT%H:%M").or_else(|| read("%Y-%m-%dT%H:%M:%S")) {
                *value = time.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true).into();
            }
        }
        query
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    /// A camera's name.
    pub fn camera(&self) -> Result<Option<String>, Problem> {
        match self.text("camera") {
            Some(name) if !is_camera_name(name) => Err(Problem::bad_query(
                "camera",
                format!("{name:?} is no camera's name (small letters, digits, `-` and `_`)"),
            )),
            name => Ok(name.map(str::to_owned)),
        }
    }

    /// A moment.
    pub fn time(&self, key: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        let Some(text) = self.text(key) else { return Ok(None) };
        // An unescaped `+` of `+01:00` arrives as a space.
        let text = text.trim().replace(' ', "+");
        match DateTime::parse_from_rfc3339(&text) {
            Ok(time) => Ok(Some(time.to_utc())),
            Err(_) => {
                Err(Problem::bad_query(key, format!("{text:?} is no time (as RFC 3339 has it: 2026-01-31T08:30:00Z)")))
            }
        }
    }

    /// `min_s`, `cause`, `zone` and `found`.
    pub fn event_filter(&self) -> Result<EventFilter, Problem> {
        let least = match self.text("min_s") {
            None => None,
            Some(text) => match text.parse::<f64>() {
                Ok(seconds) if (0.0..=LONGEST_S).contains(&seconds) => {
                    Some(TimeDelta::milliseconds((seconds * 1000.0).round() as i64))
                }
                _ => {
                    let what = format!("{text:?} is not a number of seconds from 0 to {LONGEST_S}");
                    return Err(Problem::bad_query("min_s", what));
                }
            },
        };
        let began = match self.text("cause") {
            None => None,
            Some("manual") => Some(Began::ByHand),
            Some(name) => match Cause::from_name(name) {
                Some(cause) => Some(Began::By(cause)),
                None => {
                    let known = Cause::ALL.map(Cause::name).join(", ");
                    return Err(Problem::bad_query("cause", format!("{name:?} is none (there are {known}, manual)")));
                }
            },
        };
        let word = |key| self.text(key).map(str::to_owned);
        Ok(EventFilter { least, began, zone: word("zone"), found: word("found") })
    }

    /// `camera`, `from`, `to`, `limit` and `cursor`, of what `who` may see.
    pub fn rows(&self, who: &Who) -> Result<RecordingQuery, Problem> {
        let (from, to) = (self.time("from")?, self.time("to")?);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Problem::bad_query("to", "is before `from`"));
        }
        let limit = match self.text("limit") {
            None => 0,
            Some(text) => match text.parse() {
                Ok(limit @ 1..=MAX_LIMIT) => limit,
                _ => {
                    return Err(Problem::bad_query(
                        "limit",
                        format!("{text:?} is not a whole number from 1 to {MAX_LIMIT}"),
                    ));
                }
            },
        };
        let cursor = match self.text("cursor") {
            Some("") => return Err(Problem::bad_query("cursor", "is empty (leave it out for the first page)")),
            cursor => cursor.map(str::to_owned),
        };
        Ok(RecordingQuery { camera: self.camera()?, among: who.cameras().list(), from, to, limit, cursor })
    }
}

fn is_camera_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}
