//! The keys of detection as a form asks for them: what each may be, what it is now, what it means.
//!
//! The table of keys says it all; nothing here knows a key by name.

use serde::Serialize;
use utoipa::ToSchema;

use super::settings::Settings;
use super::table::{CAMERA, Items, Key, Kind, Preset};

/// Keys of a camera that are tuned.
const SECTION: &str = "detect.";
/// Not tuned: whoever tunes wants it.
const SWITCH: &str = "detect.enabled";
/// Nor what comes after detection.
const AFTERWARDS: &str = "detect.confirm.";

/// One key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tunable {
    /// With its section: `detect.width`.
    pub key: &'static str,
    pub meaning: &'static str,
    #[serde(flatten)]
    pub kind: TunableKind,
    /// What holds now, as it would be written; null for nothing.
    pub value: serde_json::Value,
    /// The camera's file or a default of `tarsier.yaml` says so, and not Tarsier itself.
    pub given: bool,
}

/// What a key may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TunableKind {
    Flag,
    Choice {
        values: Vec<&'static str>,
    },
    /// A whole number within these bounds.
    Whole {
        least: u32,
        most: u32,
    },
    /// A list of polygons.
    Masks,
    /// A list of zones.
    Zones,
    /// Anything else, such as `10s` or `0.5%`.
    Text,
}

impl TunableKind {
    fn of(kind: &Kind) -> Self {
        match *kind {
            Kind::Flag => TunableKind::Flag,
            Kind::Choice { now, .. } => TunableKind::Choice { values: now.to_vec() },
            Kind::Whole(least, most) => TunableKind::Whole { least, most },
            Kind::Kernel(most) => TunableKind::Whole { least: 0, most },
            Kind::List(Items::Masks) => TunableKind::Masks,
            Kind::List(Items::Zones) => TunableKind::Zones,
            _ => TunableKind::Text,
        }
    }

    /// A value as a form takes it.
    fn read(&self, text: &str) -> serde_json::Value {
        match self {
            TunableKind::Flag => (text == "true").into(),
            TunableKind::Whole { .. } => text.parse::<u32>().map_or_else(|_| text.into(), serde_json::Value::from),
            TunableKind::Masks | TunableKind::Zones => serde_json::from_str(text).unwrap_or_default(),
            TunableKind::Choice { .. } | TunableKind::Text => text.into(),
        }
    }
}

/// All keys that are tuned, in the table's order.
pub(super) fn of(settings: &Settings) -> Vec<Tunable> {
    let keys = CAMERA.iter().filter(|key| key.path.starts_with(SECTION) && key.path != SWITCH);
    let keys = keys.filter(|key| !key.path.starts_with(AFTERWARDS));
    keys.map(|key| tunable(key, settings)).collect()
}

fn tunable(key: &Key, settings: &Settings) -> Tunable {
    let kind = TunableKind::of(&key.kind);
    let given = settings.get(key.path);
    let value = match (given, key.preset) {
        (Some(setting), _) if setting.value.is_null() => serde_json::Value::Null,
        (Some(setting), _) => kind.read(&setting.shown),
        (None, Preset::Is(text) | Preset::OrNone(text)) => kind.read(text),
        (None, Preset::Nothing | Preset::Required) => serde_json::Value::Null,
    };
    Tunable { key: key.path, meaning: key.meaning, kind, value, given: given.is_some() }
}
