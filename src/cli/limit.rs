//! When a tool ends though its source does not: `--for` and `--until`.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Days, Local, NaiveTime, TimeZone, Utc};
use clap::Args;

use crate::clock;
use crate::config;

/// At most one of the two.
#[derive(Args)]
pub struct LimitArgs {
    /// End after so long, such as `10min`. A live source: from now on. A file, which is read faster than it plays: so
    /// much of its own time, from its beginning
    #[arg(long = "for", value_name = "DURATION", value_parser = config::duration)]
    at_most: Option<Duration>,
    /// End at this moment: `2026-03-29T22:30:00Z`, or `22:30`, the next one by this machine's clock. A file counts as
    /// if it played from now on
    #[arg(long, value_name = "TIME", value_parser = until_from_now, conflicts_with = "at_most")]
    until: Option<DateTime<Utc>>,
}

impl LimitArgs {
    /// How long from now; None: to the source's end.
    pub fn at_most(&self) -> Option<Duration> {
        let left = self.until.map(|end| (end - clock::utc_now()).to_std().unwrap_or_default());
        self.at_most.or(left)
    }
}

fn until_from_now(text: &str) -> Result<DateTime<Utc>, String> {
    until(text, &clock::utc_now().with_timezone(&Local))
}

/// The moment that is meant; a time of day is the next one of it.
fn until<Z: TimeZone>(text: &str, now: &DateTime<Z>) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return if moment > *now { Ok(moment.to_utc()) } else { Err("that is over".to_owned()) };
    }
    let time = NaiveTime::parse_from_str(text, "%H:%M").or_else(|_| NaiveTime::parse_from_str(text, "%H:%M:%S"));
    let time = time.map_err(|_| "a time is `2026-03-29T22:30:00Z` (RFC 3339) or `22:30`")?;
    let (zone, today) = (now.timezone(), now.date_naive());
    // In spring a time of day may be left out, in autumn it may come twice.
    let next = (0..=2).find_map(|days| {
        let local = zone.from_local_datetime(&today.checked_add_days(Days::new(days))?.and_time(time));
        [local.clone().earliest(), local.latest()].into_iter().flatten().find(|moment| moment > now)
    });
    next.map(|moment| moment.to_utc()).ok_or_else(|| "there is no such time".to_owned())
}

/// Runs `end` after so long, unless the process has ended by then.
pub fn after(limit: Duration, end: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("limit".into())
        .spawn(move || {
            thread::sleep(limit);
            end();
        })
        .context("cannot start a thread")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[track_caller]
    fn assert_next(text: &str, now: &str, expected: &str) {
        let zone: chrono_tz::Tz = "Europe/Berlin".parse().unwrap();
        assert_eq!(until(text, &at(now).with_timezone(&zone)), Ok(at(expected)), "{text} at {now}");
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        assert_next("22:30", "2026-07-01T12:00:00Z", "2026-07-01T20:30:00Z");
        assert_next("13:59:59", "2026-07-01T12:00:00Z", "2026-07-02T11:59:59Z");
        assert_next("14:00", "2026-07-01T12:00:00Z", "2026-07-02T12:00:00Z");
        assert_next("2026-07-29T22:30:00+02:00", "2026-07-01T12:00:00Z", "2026-07-29T20:30:00Z");
    }

    #[test]
    fn a_time_of_day_may_be_left_out_or_come_twice() {
        // The clocks of Berlin go from 2:00 to 3:00, and from 3:00 to 2:00.
        assert_next("02:30", "2026-03-29T00:00:00Z", "2026-03-30T00:30:00Z");
        assert_next("02:30", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z");
        assert_next("02:30", "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z");
    }

    #[test]
    fn what_is_over_or_no_time_is_refused() {
        let now = at("2026-01-01T00:00:00Z");
        assert_eq!(until("2020-01-01T00:00:00Z", &now), Err("that is over".to_owned()));
        for text in ["", "25:00", "noon", "2026-03-29", "10min"] {
            assert!(until(text, &now).is_err(), "{text}");
        }
    }
}
