//! Gaps are always written down: in the index, in the counters, in the log and to those who listen.

use std::sync::atomic::Ordering;

use super::registry::{CameraEntry, Registry};
use crate::archive::Archive;
use crate::domain::camera::Event;
use crate::domain::recording::Gap;

/// Writes a gap down that is over.
pub fn write_down(archive: &Archive, entry: &CameraEntry, registry: &Registry, gap: Gap) {
    tell(entry, registry, &gap);
    archive.index().add_gap(gap);
}

/// Tells of a gap that is over and that the index knows.
pub fn tell(entry: &CameraEntry, registry: &Registry, gap: &Gap) {
    let Some(end) = gap.end.filter(|end| *end > gap.start) else { return };
    let length_ms = u64::try_from((end - gap.start).num_milliseconds()).unwrap_or(0);
    entry.counters.gap_ms.fetch_add(length_ms, Ordering::Relaxed);
    tracing::warn!(start = %gap.start, %end, cause = gap.cause.name(), "gap");
    registry.tell(Event::Gap { camera: gap.camera.clone(), start: gap.start, end, cause: gap.cause });
}
