//! What people said of stretches of video: something of interest moved there, or nothing did.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::judge::{Seconds, Truth};

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is one: it has to be found.
    Event,
    /// It is none: nothing may be found there.
    NotEvent,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Event => "event",
            Verdict::NotEvent => "not-event",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Verdict::Event, Verdict::NotEvent].into_iter().find(|verdict| verdict.name() == name)
    }
}

/// What a person said of a camera's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub camera: String,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub verdict: Verdict,
}

/// All that a file of labels says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFile {
    /// Clips that are labelled from their first second to their last, by their names.
    pub clips: BTreeMap<String, Truth>,
    /// Of cameras' time.
    pub of_cameras: Vec<Label>,
    /// Of some seconds of a clip, which is known by its file's name.
    pub of_files: Vec<(String, Seconds, Verdict)>,
}
