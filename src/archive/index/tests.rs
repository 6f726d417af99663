use super::*;
use crate::domain::camera::{GapCause, Reason};
pub(super) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).expect("in range")
}

/// A closed recording of a minute that starts at `second`.
pub(super) fn recording(id: i64, camera: &str, second: i64) -> Recording {
    Recording {
        id,
        camera: camera.to_owned(),
        start: at(second),
        end: Some(at(second + 60)),
        pre_alarm_s: Some(5.0),
        bytes: 1000,
        path: format!("{camera}/{id}.mp4"),
        motion_s: 12.5,
        complete: true,
        reason: Reason::Motion,
    }
}
