//! When a camera is recorded in which way: a week of rules on the clock of some zone.
//!
//! A rule speaks of the clock on the wall. Where that is put forward the hour that is missing belongs to no rule, and
//! where it is put back the hour that comes twice belongs to its rule both times.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveTime, Timelike, Utc};

use super::config::RecordMode;
use super::timezone::Zone;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_A_DAY: u32 = 24 * 60;

/// A week of rules. The first that holds counts; where none does, there is no opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub zone: Zone,
    pub rules: Vec<Rule>,
}

/// One line: on these days, from then until then, in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Monday is the lowest bit.
    days: u8,
    /// Minutes after midnight.
    from: u32,
    /// Left out itself. Not after `from`: on the next day.
    to: u32,
    mode: RecordMode,
}

impl Schedule {
    /// Reads the lines, one behind the other with `;` or a line break between; what is wrong names its line.
    pub fn parse(text: &str, zone: Zone) -> Result<Self, String> {
        let lines = text.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty());
        let rule = |line: &str| line.parse().map_err(|error| format!("`{line}`: {error}"));
        let rules = lines.map(rule).collect::<Result<Vec<Rule>, String>>()?;
        if rules.is_empty() { Err("it has no line".to_owned()) } else { Ok(Schedule { zone, rules }) }
    }

    /// The mode at this moment, if any rule speaks of it.
    pub fn mode(&self, at: DateTime<Utc>) -> Option<RecordMode> {
        let local = self.zone.local(at);
        let (day, time) = (local.date().weekday().num_days_from_monday(), local.time());
        self.rules.iter().find(|rule| rule.holds(day, time)).map(|rule| rule.mode)
    }
}

impl Rule {
    /// `day`: 0 is Monday.
    fn holds(&self, day: u32, time: NaiveTime) -> bool {
        let minute = time.num_seconds_from_midnight() / 60;
        let is_on = |day: u32| self.days >> day & 1 == 1;
        if self.from < self.to {
            return is_on(day) && (self.from..self.to).contains(&minute);
        }
        (is_on(day) && minute >= self.from) || (is_on((day + 6) % 7) && minute < self.to)
    }
}

/// Such as `mon-fri 08:00-18:00 continuous`, `sat,sun off` or `22:00-06:00 motion`: days, hours and a mode, where
/// either days or hours may be left out. An end that is not after the beginning is on the next day.
impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let mode = match words.pop() {
            Some("motion") => RecordMode::Motion,
            Some("continuous") => RecordMode::Continuous,
            Some("off") => RecordMode::Off,
            _ => return Err("it ends with no mode (motion, continuous or off)".to_owned()),
        };
        let (mut days, mut hours) = (None, None);
        for word in &words {
            if word.starts_with(|first: char| first.is_ascii_digit()) {
                if hours.replace(parse_hours(word)?).is_some() {
                    return Err(format!("{word:?} is a second pair of times (write another line)"));
                }
            } else if hours.is_some() || days.replace(parse_days(word)?).is_some() {
                return Err(format!("{word:?} stands where no days can (as in `mon-fri 08:00-18:00 continuous`)"));
            }
        }
        if words.is_empty() {
            return Err("it has neither days nor times (a mode for all of the week is `record.mode`)".to_owned());
        }
        let (from, to) = hours.unwrap_or((0, MINUTES_A_DAY));
        Ok(Rule { days: days.unwrap_or(0x7f), from, to, mode })
    }
}

fn parse_days(text: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let at = DAYS.iter().position(|day| *day == name);
        at.ok_or_else(|| format!("{name:?} is no day (they are {})", DAYS.join(", ")))
    };
    let mut days = 0u8;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `sat-mon` goes over the end of the week.
        let length = (last + 7 - first) % 7;
        for n in 0..=length {
            days |= 1 << ((first + n) % 7);
        }
    }
    Ok(days)
}

fn parse_hours(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text:?} is no pair of times (as in 08:00-18:00)");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let minutes = |time: &str| -> Option<u32> {
        let (hours, minutes) = time.split_once(':')?;
        let is_plain = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_plain(hours, 2) || !is_plain(minutes, 2) || minutes.len() != 2 {
            return None;
        }
        let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
        (minutes < 60 && hours * 60 + minutes <= MINUTES_A_DAY).then_some(hours * 60 + minutes)
    };
    let (from, to) = minutes(from).zip(minutes(to)).ok_or_else(wrong)?;
    if from == to {
        return Err(format!("{text:?} begins when it ends (leave the times out for the whole day)"));
    }
    if from == MINUTES_A_DAY {
        return Err(format!("{text:?} begins at the end of the day (write 00:00)"));
    }
    Ok((from, to))
}

/// As it can be written.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = DAYS.iter().enumerate().filter(|(day, _)| self.days >> day & 1 == 1).map(|(_, name)| *name);
        let days: Vec<&str> = days.collect();
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let mode = match self.mode {
            RecordMode::Motion => "motion",
            RecordMode::Continuous => "continuous",
            RecordMode::Off => "off",
        };
        write!(f, "{} {}-{} {mode}", days.join(","), time(self.from), time(self.to))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn schedule(zone: &str, rules: &[&str]) -> Schedule {
        Schedule::parse(&rules.join("; "), zone.parse().unwrap()).unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_read_as_they_are_meant() {
        for (line, written) in [
            ("mon-fri 08:00-18:00 continuous", "mon,tue,wed,thu,fri 08:00-18:00 continuous"),
            ("sat,sun off", "sat,sun 00:00-24:00 off"),
            ("22:00-6:00 motion", "mon,tue,wed,thu,fri,sat,sun 22:00-06:00 motion"),
            ("sat-mon,wed 0:00-24:00 off", "mon,wed,sat,sun 00:00-24:00 off"),
            ("  fri   18:00-00:00   motion ", "fri 18:00-00:00 motion"),
        ] {
            let rule: Rule = line.parse().unwrap();
            assert_eq!(rule.to_string(), written);
            assert_eq!(written.parse::<Rule>().unwrap(), rule);
        }
    }

    #[test]
    fn what_is_no_line_says_why() {
        for (line, why) in [
            ("", "no mode"),
            ("mon 08:00-18:00", "no mode"),
            ("continuous", "neither days nor times"),
            ("monday 08:00-18:00 off", "\"monday\" is no day"),
            ("mon-fry off", "\"fry\" is no day"),
            ("mon 8-18 off", "no pair of times"),
            ("mon 08:00-24:01 off", "no pair of times"),
            ("mon 08:60-09:00 off", "no pair of times"),
            ("mon 08:00-08:00 off", "begins when it ends"),
            ("mon 24:00-08:00 off", "write 00:00"),
            ("08:00-09:00 mon off", "no days can"),
            ("mon tue off", "no days can"),
            ("08:00-09:00 10:00-11:00 off", "another line"),
        ] {
            let error = line.parse::<Rule>().unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        let error = Schedule::parse("mon off;\nsun of", Zone::UTC).unwrap_err();
        assert!(error.starts_with("`sun of`: "), "{error}");
        assert!(Schedule::parse(" ;\n", Zone::UTC).is_err());
    }

    #[test]
    fn the_first_rule_that_holds_counts_and_none_says_nothing() {
        let week = schedule("Europe/Berlin", &["sat,sun off", "08:00-18:00 continuous", "mon 20:00-02:00 motion"]);
        // A Monday in winter, an hour behind.
        for (at, mode) in [
            ("2026-01-26T06:59:59Z", None),
            ("2026-01-26T07:00:00Z", Some(RecordMode::Continuous)),
            ("2026-01-26T16:59:59Z", Some(RecordMode::Continuous)),
            ("2026-01-26T17:00:00Z", None),
            ("2026-01-26T19:00:00Z", Some(RecordMode::Motion)),
            ("2026-01-27T00:59:59Z", Some(RecordMode::Motion)),
            ("2026-01-27T01:00:00Z", None),
            ("2026-01-31T12:00:00Z", Some(RecordMode::Off)),
            ("2026-01-31T23:00:00Z", Some(RecordMode::Off)),
            ("2026-02-01T23:00:00Z", None),
            // And in summer, two hours.
            ("2026-07-27T05:59:59Z", None),
            ("2026-07-27T06:00:00Z", Some(RecordMode::Continuous)),
        ] {
            assert_eq!(week.mode(utc(at)), mode, "{at}");
        }
    }

    /// How many minutes of so many from `from` on a rule holds.
    fn minutes_held(week: &Schedule, from: &str, minutes: i64) -> usize {
        (0..minutes).filter(|n| week.mode(utc(from) + TimeDelta::minutes(*n)).is_some()).count()
    }

    #[test]
    fn the_clock_on_the_wall_counts_where_it_is_put_forward_or_back() {
        let night = schedule("Europe/Berlin", &["sat 22:00-06:00 off"]);
        assert_eq!(minutes_held(&night, "2026-03-21T12:00:00Z", 1440), 8 * 60);
        assert_eq!(minutes_held(&night, "2026-03-28T12:00:00Z", 1440), 7 * 60, "an hour is missing");
        assert_eq!(minutes_held(&night, "2026-10-24T12:00:00Z", 1440), 9 * 60, "an hour comes twice");
        let gone = schedule("Europe/Berlin", &["02:00-03:00 off"]);
        assert_eq!(minutes_held(&gone, "2026-03-28T23:00:00Z", 23 * 60), 0);
        assert_eq!(minutes_held(&gone, "2026-10-24T22:00:00Z", 25 * 60), 120);
        // Half an hour, on the other side of the world.
        let half = schedule("Australia/Lord_Howe", &["sun 01:00-03:00 off"]);
        assert_eq!(minutes_held(&half, "2026-04-04T12:00:00Z", 1440), 150);
        assert_eq!(minutes_held(&half, "2026-10-03T12:00:00Z", 1440), 90);
    }

    const ZONES: [&str; 5] =
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"];

    proptest! {
        /// Two rules that share out the day leave no moment out and have none in common, in any zone and at any time.
        #[test]
        fn a_day_that_is_shared_out_is_shared_out_always(
            zone in 0..ZONES.len(),
            from in 0u32..1440,
            length in 1u32..1440,
            seconds in 0i64..4 * 366 * 86_400,
        ) {
            let to = (from + length) % 1440;
            let rule = |from: u32, to: u32| Rule { days: 0x7f, from, to, mode: RecordMode::Off };
            let one = Schedule { zone: ZONES[zone].parse().unwrap(), rules: vec![rule(from, to)] };
            let other = Schedule { rules: vec![rule(to, from)], ..one.clone() };
            let at = utc("2024-01-01T00:00:00Z") + TimeDelta::seconds(seconds);
            prop_assert_ne!(one.mode(at).is_some(), other.mode(at).is_some());
        }

        /// What a rule says is what the clock on the wall says, read as text.
        #[test]
        fn a_rule_is_as_the_clock_on_the_wall(
            zone in 0..ZONES.len(),
            days in 1u8..128,
            from in 0u32..1440,
            to in 1u32..1441,
            seconds in 0i64..4 * 366 * 86_400,
        ) {
            prop_assume!(from != to);
            let rule = Rule { days, from, to, mode: RecordMode::Off };
            let read: Rule = rule.to_string().parse().unwrap();
            prop_assert_eq!(read, rule);
            let week = Schedule { zone: ZONES[zone].parse().unwrap(), rules: vec![read] };
            let at = utc("2024-01-01T00:00:00Z") + TimeDelta::seconds(seconds);
            let wall = week.zone.format(at, "%H:%M");
            let day: u32 = week.zone.format(at, "%u").parse::<u32>().unwrap() - 1;
            let text = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
            let today = days >> day & 1 == 1;
            let yesterday = days >> ((day + 6) % 7) & 1 == 1;
            let holds = if from < to {
                today && wall >= text(from) && wall < text(to)
            } else {
                (today && wall >= text(from)) || (yesterday && wall < text(to))
            };
            prop_assert_eq!(week.mode(at).is_some(), holds);
        }
    }
}
