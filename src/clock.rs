//! The only place that asks what time it is. Everything else takes time as a value.

use std::time::Instant;

use chrono::{DateTime, Utc};

use crate::failpoint;

/// A clock that never goes back, for deadlines and durations.
#[allow(clippy::disallowed_methods)]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The wall clock, for names of files, rows and log lines.
#[allow(clippy::disallowed_methods)]
pub fn utc_now() -> DateTime<Utc> {
    let now = Utc::now();
    now.checked_add_signed(failpoint::clock_is_off_by()).unwrap_or(now)
}
