//! Places where the tests make Tarsier fail on purpose. Compiled to nothing without the `failpoints` feature.

use chrono::TimeDelta;

/// Reads the environment's fail points; called once, as the process starts.
#[cfg(feature = "failpoints")]
pub fn set_up() {
    // The scenario lasts as long as the process.
    std::mem::forget(fail::FailScenario::setup());
}

/// Without the feature: nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn set_up() {}

/// Reaches the fail point `place@camera` (such as `writer.frame@yard`). What happens there is set by the
/// environment variable `FAILPOINTS`, in the syntax of the `fail` crate.
#[cfg(feature = "failpoints")]
pub fn reach(place: &str, camera: &str) {
    let _ = fail::eval(&format!("{place}@{camera}"), |_| ());
}

/// Without the feature: nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_place: &str, _camera: &str) {}

/// By how much the tests let the wall clock be wrong: the fail point `clock`, which returns seconds.
#[cfg(feature = "failpoints")]
pub fn clock_is_off_by() -> TimeDelta {
    let seconds = fail::eval("clock", |seconds| seconds.and_then(|text| text.parse().ok()).unwrap_or(0));
    seconds.and_then(TimeDelta::try_seconds).unwrap_or_default()
}

/// Without the feature: nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn clock_is_off_by() -> TimeDelta {
    TimeDelta::zero()
}
