//! Places where the tests make Tarsier fail on purpose. Compiled to nothing without the `failpoints` feature.

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
