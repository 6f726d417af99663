//! The time zone in which file names tell the time. Everything else tells it in UTC.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Local, NaiveDateTime, Utc};
use chrono_tz::Tz;

/// A zone of the time zone database, or the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    Named(Tz),
    /// As `TZ` or `/etc/localtime` give it.
    Local,
}

impl Zone {
    pub const UTC: Zone = Zone::Named(Tz::UTC);

    /// The instant's time of day and date there, by one strftime specifier.
    pub fn format(self, instant: DateTime<Utc>, specifier: &str) -> String {
        match self {
            Zone::Named(zone) => instant.with_timezone(&zone).format(specifier).to_string(),
            Zone::Local => instant.with_timezone(&Local).format(specifier).to_string(),
        }
    }

    /// What the clock on the wall says there.
    pub fn local(self, instant: DateTime<Utc>) -> NaiveDateTime {
        match self {
            Zone::Named(zone) => instant.with_timezone(&zone).naive_local(),
            Zone::Local => instant.with_timezone(&Local).naive_local(),
        }
    }

    /// Every name that can be written, for hints.
    pub fn names() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).chain(["local"])
    }
}

/// `UTC`, `local` or a name such as `Europe/Berlin`.
impl FromStr for Zone {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "local" => Ok(Zone::Local),
            _ => text.parse().map(Zone::Named).map_err(|_| ()),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Zone::Named(zone) => zone.name(),
            Zone::Local => "local",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_zones() {
        for name in ["UTC", "local", "Europe/Berlin", "America/St_Johns", "Etc/GMT+5"] {
            assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
        }
        for name in ["", "Berlin", "Europe/Berln", "+01:00", "europe/berlin", "../etc/localtime"] {
            assert_eq!(name.parse::<Zone>(), Err(()), "{name}");
        }
    }

    #[test]
    fn the_machines_zone_is_what_the_machine_says() {
        let instant = DateTime::from_timestamp(1_711_846_800, 0).unwrap();
        let offset_s = instant.with_timezone(&Local).offset().local_minus_utc();
        let there = instant + chrono::TimeDelta::seconds(offset_s.into());
        assert_eq!(Zone::Local.format(instant, "%H%M%S"), Zone::UTC.format(there, "%H%M%S"));
    }
}
