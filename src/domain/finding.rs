//! What a look at a picture found, and why: the words that events, the API and drawings share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a look was taken for motion, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Something has moved from its place and is still there.
    Motion,
    /// More than half the picture is another one, or the light was switched.
    SceneChange,
    /// Many small things that come and go: rain, snow, insects.
    Weather,
    /// Something that has gone, or has not moved for long, was taken into the background.
    Ghost,
    /// Something differs where things come and go all the time: leaves, clocks, screens.
    Masked,
    /// Something differs by its light alone: a shadow, a cloud, a headlight.
    Light,
    /// Something moves in a zone that does not take it: too small, too large, or not for long enough yet.
    Zone,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 7] =
        [Cause::Motion, Cause::SceneChange, Cause::Weather, Cause::Ghost, Cause::Masked, Cause::Light, Cause::Zone];

    /// The word for it in events and drawings.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Motion => "motion",
            Cause::SceneChange => "scene_change",
            Cause::Weather => "weather",
            Cause::Ghost => "ghost",
            Cause::Masked => "masked",
            Cause::Light => "light",
            Cause::Zone => "zone",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// Where something moves, in shares of the picture's width and height.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Region {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

/// Zones of a camera: the bit n is the n-th of `detect.zones`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneSet(pub u64);

impl ZoneSet {
    /// As many zones as a set can hold.
    pub const MOST: usize = 64;

    pub fn insert(&mut self, n: usize) {
        if n < Self::MOST {
            self.0 |= 1 << n;
        }
    }

    pub fn contains(self, n: usize) -> bool {
        n < Self::MOST && self.0 >> n & 1 == 1
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: ZoneSet) -> ZoneSet {
        ZoneSet(self.0 | other.0)
    }

    pub fn meets(self, other: ZoneSet) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// None: nothing differs.
    pub cause: Option<Cause>,
    /// Where something moves.
    pub regions: Vec<Region>,
    /// The zones that it moves in.
    pub zones: ZoneSet,
}
