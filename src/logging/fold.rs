//! Storms folded: the same complaint at most once a second, with a count.
//!
//! The first is written at once. Those that follow within a second are counted; at its end the last of them is
//! written with the count and the next second begins. Pure: time is a value.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

use super::line::Line;

const WINDOW: Duration = Duration::from_secs(1);
/// Different texts a second from one place about one camera; what goes beyond is folded into one.
const MOST_TEXTS: usize = 10;

#[derive(PartialEq, Eq, Hash)]
struct Place {
    callsite: Option<Identifier>,
    target: String,
    camera: String,
}

struct Window {
    end: Instant,
    /// The last line that was not written, and how many there were.
    held: Option<(Line, u32)>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    Write,
    /// Counted instead; `first`: it is the first in its window.
    Folded {
        first: bool,
    },
}

#[derive(Default)]
pub(super) struct Folder {
    places: HashMap<Place, HashMap<String, Window>>,
}

impl Folder {
    pub(super) fn admit(&mut self, line: &Line, now: Instant) -> Admission {
        let place = Place { callsite: line.callsite.clone(), target: line.target.clone(), camera: line.camera.clone() };
        let texts = self.places.entry(place).or_default();
        // Windows that held nothing are over by themselves.
        texts.retain(|_, window| window.held.is_some() || window.end > now);
        let crowded = texts.len() >= MOST_TEXTS && !texts.contains_key(&line.message);
        let key = if crowded { String::new() } else { line.message.clone() };
        match texts.get_mut(&key) {
            None => {
                texts.insert(key, Window { end: now + WINDOW, held: None });
                Admission::Write
            }
            Some(window) => {
                let count = window.held.as_ref().map_or(0, |(_, count)| *count);
                window.held = Some((line.clone(), count + 1));
                Admission::Folded { first: count == 0 }
            }
        }
    }

    /// When something that is held is to be written.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let windows = self.places.values().flat_map(HashMap::values);
        windows.filter(|window| window.held.is_some()).map(|window| window.end).min()
    }

    /// Lines whose window has ended (or `all`), with their counts in the message.
    pub(super) fn take_due(&mut self, now: Instant, all: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for texts in self.places.values_mut() {
            for window in texts.values_mut().filter(|window| all || window.end <= now) {
                if let Some((mut line, count)) = window.held.take() {
                    if count > 1 {
                        line.message.push_str(&format!(" ({count} times in the last second)"));
                    }
                    lines.push(line);
                    window.end = now + WINDOW;
                }
            }
            texts.retain(|_, window| window.end > now);
        }
        self.places.retain(|_, texts| !texts.is_empty());
        lines
    }
}
