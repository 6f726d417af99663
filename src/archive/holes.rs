//! What is missing between two recordings of a camera that records continuously, and no gap tells why.
//!
//! Does not belong here: what was missing when it happened, which the recorder writes down.

use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};

use super::index::{Index, IndexError, IndexReader};
use crate::domain::camera::{GapCause, Reason};
use crate::domain::recording::{Gap, RecordingQuery};

/// Less than this is no hole: files that follow each other do so to the picture.
const LEAST: TimeDelta = TimeDelta::seconds(1);

/// Does a recording of this kind go on until something is wrong?
pub fn is_continuous(reason: Reason) -> bool {
    matches!(reason, Reason::Continuous | Reason::DetectorDown)
}

/// The stretches between two moments that no gap of the camera covers, in order.
pub fn untold(
    index: &IndexReader,
    camera: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Range<DateTime<Utc>>>, IndexError> {
    let query =
        RecordingQuery { camera: Some(camera.to_owned()), from: Some(from), to: Some(to), ..Default::default() };
    let mut told = index.gaps(&query)?.items;
    told.sort_by_key(|gap| gap.start);
    let mut stretches = Vec::new();
    let mut at = from;
    for gap in told {
        if gap.start > at {
            stretches.push(at..gap.start);
        }
        at = at.max(gap.end.unwrap_or(to));
    }
    if to > at {
        stretches.push(at..to);
    }
    Ok(stretches)
}

/// After a crash: what is missing between recordings that ended since then was there and was lost with it. Returns
/// how many gaps were written down.
pub fn fill(index: &Index, since: DateTime<Utc>) -> Result<u64, IndexError> {
    let mut filled = 0;
    for latest in index.latest()?.into_iter().filter(|row| row.end.is_none_or(|end| end >= since)) {
        let camera = latest.camera;
        let query =
            RecordingQuery { camera: Some(camera.clone()), from: Some(since), limit: 1000, ..Default::default() };
        let mut rows = index.recordings(&query)?.items;
        rows.sort_by_key(|row| row.start);
        for pair in rows.windows(2) {
            let [before, after] = pair else { continue };
            let both = is_continuous(before.reason) && is_continuous(after.reason);
            let Some(end) = before.end.filter(|_| both) else { continue };
            // What is missing since this process began is its own to tell.
            for Range { start, end } in untold(index, &camera, end, after.start.min(index.opened()))? {
                if end - start >= LEAST {
                    filled += 1;
                    index.add_gap(Gap { camera: camera.clone(), start, end: Some(end), cause: GapCause::Down });
                }
            }
        }
    }
    Ok(filled)
}
