//! Values with units, as people write them: `5s`, `32MiB`, `5%`.
//!
//! Each type parses itself from text, for the table's checks and for serde alike.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::config::{Area, MinFree, SyncCadence};

/// `5s`, `500ms`, `10min`, `1h30min`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub Duration);

/// `32MiB`, `200GB`, `512B`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Bytes(pub u64);

/// A number of pixels, or `1.2%` of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AreaText(pub Area);

/// `10GB`, or `5%` of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct FreeText(pub MinFree);

/// A duration, `fragment` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SyncText(pub SyncCadence);

/// `1280x720`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PictureSizeText(pub (u32, u32));

/// `12.5` pictures a second.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct RateText(pub f64);

/// How sure somebody is: `0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ScoreText(pub f32);

/// What to do about a text that is no such value, as far as it can be told.
pub(super) type Hint = Option<String>;

macro_rules! from_string {
    ($($name:ident: $expected:literal),*) => {$(
        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse().map_err(|_| $expected)
            }
        }
    )*};
}

from_string!(
    Span: "a duration",
    Bytes: "a size",
    AreaText: "an area",
    FreeText: "a size or a percentage",
    SyncText: "a duration",
    PictureSizeText: "a size in pixels",
    RateText: "a rate",
    ScoreText: "a number from 0 to 1"
);

impl FromStr for Span {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        let unit_s = |unit: &str| match unit {
            "ms" => Some(0.001),
            "s" => Some(1.0),
            "m" | "min" => Some(60.0),
            "h" => Some(3600.0),
            "d" => Some(86_400.0),
            "w" => Some(604_800.0),
            _ => None,
        };
        let mut seconds = 0.0;
        let mut rest = text.trim();
        if rest.parse::<f64>() == Ok(0.0) {
            return Ok(Span(Duration::ZERO));
        }
        loop {
            let (number, unit, after) = number_and_unit(rest)?;
            seconds += number * unit_s(unit).ok_or_else(|| no_unit(text, unit, "ms, s, min, h or d", "s"))?;
            rest = after;
            if rest.is_empty() {
                return Duration::try_from_secs_f64(seconds).map(Span).map_err(|_| None);
            }
        }
    }
}

impl FromStr for Bytes {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        let text = text.trim();
        if text.parse::<f64>() == Ok(0.0) {
            return Ok(Bytes(0));
        }
        let (number, unit, after) = number_and_unit(text)?;
        let factor: u64 = match unit {
            "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(no_unit(text, unit, "kB, MB, GB, TB, KiB, MiB, GiB or TiB", "MB")),
        };
        let bytes = number * factor as f64;
        // Above 2^53 an f64 skips whole bytes; nobody has such a disk.
        if after.is_empty() && bytes < 9e15 { Ok(Bytes(bytes as u64)) } else { Err(None) }
    }
}

impl FromStr for AreaText {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        match share(text) {
            Some(share) => Ok(AreaText(Area::Share(share?))),
            None => match text.trim().parse() {
                Ok(0) | Err(_) => Err(None),
                Ok(pixels) => Ok(AreaText(Area::Pixels(pixels))),
            },
        }
    }
}

impl FromStr for FreeText {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        match share(text) {
            Some(share) => Ok(FreeText(MinFree::Share(share?))),
            None => text.parse().map(|Bytes(bytes)| FreeText(MinFree::Bytes(bytes))),
        }
    }
}

impl FromStr for SyncText {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        match text {
            "fragment" => Ok(SyncText(SyncCadence::EveryFragment)),
            "never" => Ok(SyncText(SyncCadence::Never)),
            _ => match text.parse::<Span>()? {
                Span(every) if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&every) => {
                    Ok(SyncText(SyncCadence::Every(every)))
                }
                _ => Err(None),
            },
        }
    }
}

impl FromStr for PictureSizeText {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        let (width, height) = text.trim().split_once(['x', 'X']).ok_or(None)?;
        let side = |text: &str| match text.trim().parse::<u32>() {
            Ok(side) if side % 2 == 1 => Err(Some(format!("{side} is odd, and encoders take even sides"))),
            Ok(side) if (16..=8192).contains(&side) => Ok(side),
            _ => Err(None),
        };
        Ok(PictureSizeText((side(width)?, side(height)?)))
    }
}

impl FromStr for RateText {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        match text.trim().parse::<f64>() {
            Ok(rate) if (0.1..=60.0).contains(&rate) => Ok(RateText(rate)),
            _ => Err(None),
        }
    }
}

impl FromStr for ScoreText {
    type Err = Hint;

    fn from_str(text: &str) -> Result<Self, Hint> {
        match text.trim().parse::<f32>() {
            Ok(score) if (0.0..=1.0).contains(&score) => Ok(ScoreText(score)),
            _ if text.trim().ends_with('%') => Err(Some("write for example `0.5`".to_owned())),
            _ => Err(None),
        }
    }
}

/// `5%` as 0.05; None where there is no percent sign.
fn share(text: &str) -> Option<Result<f64, Hint>> {
    let share = percentage(text)?.filter(|share| *share > 0.0);
    Some(share.ok_or_else(|| Some("a percentage is more than 0% and at most 100%".to_owned())))
}

/// `5%` as 0.05. None: there is no percent sign; Some(None): before it is no number from 0 to 100.
pub(super) fn percentage(text: &str) -> Option<Option<f64>> {
    let percent = text.trim().strip_suffix('%')?.trim().parse::<f64>().ok();
    Some(percent.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent / 100.0))
}

/// The first number and its unit, and what follows them.
fn number_and_unit(text: &str) -> Result<(f64, &str, &str), Hint> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..number_end].parse().map_err(|_| None)?;
    let rest = text[number_end..].trim_start();
    let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Ok((number, &rest[..unit_end], rest[unit_end..].trim_start()))
}

fn no_unit(text: &str, unit: &str, units: &str, likely: &str) -> Hint {
    Some(match unit {
        "" => format!("add the unit: `{text}{likely}`"),
        _ => format!("the units are {units}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        text.parse::<Span>().ok().map(|span| span.0.as_secs_f64())
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", 5.0),
            ("500ms", 0.5),
            ("0.5s", 0.5),
            ("10min", 600.0),
            ("10m", 600.0),
            ("1h30min", 5400.0),
            ("1h 30min", 5400.0),
            ("30d", 2_592_000.0),
            ("2w", 1_209_600.0),
            ("0", 0.0),
            ("0s", 0.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "5", "-1s", "s", "5 parsecs", "1e9d", "5s5", "..s", "NaNs", "infs", "99999999999999999999w"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [("32MiB", 32 << 20), ("200GB", 200_000_000_000), ("1.5kB", 1500), ("7 B", 7), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(Bytes(expected)), "{text}");
        }
        for text in ["", "12", "-1GB", "GB", "1XB", "1GB2", "99999999TB", "5mb"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn areas_and_shares() {
        assert_eq!("1500".parse(), Ok(AreaText(Area::Pixels(1500))));
        assert_eq!("1.5%".parse(), Ok(AreaText(Area::Share(0.015))));
        for text in ["0", "-3", "0%", "101%", "NaN%", "%", "1.5"] {
            assert!(text.parse::<AreaText>().is_err(), "{text}");
        }
        assert_eq!("5%".parse(), Ok(FreeText(MinFree::Share(0.05))));
        assert_eq!("10GB".parse(), Ok(FreeText(MinFree::Bytes(10_000_000_000))));
    }

    #[test]
    fn picture_sizes_and_rates() {
        assert_eq!("1280x720".parse(), Ok(PictureSizeText((1280, 720))));
        for text in ["", "1280", "x", "1280x", "12x10", "1280x9000", "-2x4", "640x480x2"] {
            assert_eq!(text.parse::<PictureSizeText>(), Err(None), "{text}");
        }
        let odd = Err(Some("641 is odd, and encoders take even sides".to_owned()));
        assert_eq!("641x480".parse::<PictureSizeText>(), odd);
        assert_eq!("12.5".parse(), Ok(RateText(12.5)));
        for text in ["", "0", "-1", "61", "NaN", "inf", "ten"] {
            assert!(text.parse::<RateText>().is_err(), "{text}");
        }
        assert_eq!("0.25".parse(), Ok(ScoreText(0.25)));
        for text in ["", "-0.1", "1.1", "NaN", "half", "50%"] {
            assert!(text.parse::<ScoreText>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_unit_is_named() {
        assert_eq!("5".parse::<Span>(), Err(Some("add the unit: `5s`".to_owned())));
        assert_eq!("5".parse::<Bytes>(), Err(Some("add the unit: `5MB`".to_owned())));
    }
}
