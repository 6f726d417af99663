//! Which files hold a camera's time, as stretches that go on from file to file.
//!
//! Belongs here: what the index says. Does not belong here: what is seen in them ([`crate::media::backtest`]).

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::index::{IndexError, IndexReader};
use super::paths;
use crate::domain::recording::{Recording, RecordingQuery};
use crate::media::backtest::{Part, Reel};

/// Between two files of one stretch: clocks are slewed, and the last picture's length is a guess.
const JOIN: TimeDelta = TimeDelta::milliseconds(500);

/// A stretch, and when its first picture was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub start: DateTime<Utc>,
    pub reel: Reel,
}

impl Stretch {
    /// The moment of a time of the reel.
    pub fn utc(&self, at_us: i64) -> DateTime<Utc> {
        self.start.checked_add_signed(TimeDelta::microseconds(at_us)).unwrap_or(self.start)
    }

    /// The time in the reel of a moment.
    pub fn at_us(&self, utc: DateTime<Utc>) -> i64 {
        (utc - self.start).num_microseconds().unwrap_or(if utc < self.start { i64::MIN } else { i64::MAX })
    }
}

/// What the archive holds of this camera between these times, oldest first.
pub fn of(
    index: &IndexReader,
    root: &Path,
    camera: &str,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<Vec<Stretch>, IndexError> {
    let mut query = RecordingQuery { camera: Some(camera.to_owned()), from, to, limit: 1000, ..Default::default() };
    let mut recordings = Vec::new();
    loop {
        let page = index.recordings(&query)?;
        recordings.extend(page.items);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    recordings.sort_by_key(|recording| (recording.start, recording.id));
    let mut stretches = joined(root, recordings);
    for stretch in &mut stretches {
        let (from_us, to_us) = (from.map(|from| stretch.at_us(from)), to.map(|to| stretch.at_us(to)));
        stretch.reel.from_us = from_us.unwrap_or(0).max(0);
        stretch.reel.to_us = to_us.unwrap_or(i64::MAX);
        stretch.reel.length_us = stretch.reel.length_us.min(stretch.reel.to_us) - stretch.reel.from_us;
    }
    Ok(stretches)
}

fn joined(root: &Path, recordings: Vec<Recording>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut end: Option<DateTime<Utc>> = None;
    for recording in recordings {
        // What leads out of the archive is none of its recordings.
        let Ok(path) = paths::inside(root, &recording.path) else { continue };
        let goes_on = end.is_some_and(|end| (recording.start - end).abs() <= JOIN);
        end = recording.end;
        let length_us = |from: DateTime<Utc>| end.map_or(0, |end| (end - from).num_microseconds().unwrap_or(0));
        match stretches.last_mut().filter(|_| goes_on) {
            Some(stretch) => {
                let start_us = stretch.at_us(recording.start);
                stretch.reel.parts.push(Part { path, start_us });
                stretch.reel.length_us = length_us(stretch.start).max(stretch.reel.length_us);
            }
            None => {
                let reel = Reel { length_us: length_us(recording.start), ..Reel::of_file(path) };
                stretches.push(Stretch { start: recording.start, reel });
            }
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::at;
    use super::*;
    use crate::domain::camera::Reason;

    fn recording(root: &Path, id: i64, start_s: i64, end_s: Option<i64>) -> Recording {
        let path = format!("yard/{id}.mp4");
        std::fs::create_dir_all(root.join("yard")).unwrap();
        std::fs::write(root.join(&path), b"").unwrap();
        let (camera, end) = ("yard".to_owned(), end_s.map(at));
        let (reason, complete) = (Reason::Motion, end.is_some());
        let start = at(start_s);
        Recording { id, camera, start, end, pre_alarm_s: None, bytes: 0, path, motion_s: 0.0, complete, reason }
    }

    #[test]
    fn files_that_touch_are_one_stretch_and_a_gap_begins_another() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let rows = [(1, 0, Some(60)), (2, 60, Some(90)), (3, 100, Some(130)), (4, 130, None)];
        let rows = rows.map(|(id, start, end)| recording(root, id, start, end));
        let stretches = joined(root, rows.to_vec());
        let starts = |stretch: &Stretch| stretch.reel.parts.iter().map(|part| part.start_us).collect::<Vec<_>>();
        assert_eq!(stretches.iter().map(starts).collect::<Vec<_>>(), [[0, 60_000_000], [0, 30_000_000]]);
        assert_eq!(stretches.iter().map(|stretch| stretch.start).collect::<Vec<_>>(), [at(0), at(100)]);
        assert_eq!(stretches[0].reel.length_us, 90_000_000);
        assert_eq!(stretches[0].utc(stretches[0].at_us(at(70))), at(70));
    }

    #[test]
    fn what_leads_out_of_the_archive_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut row = recording(folder.path(), 1, 0, Some(60));
        row.path = "../elsewhere.mp4".to_owned();
        assert_eq!(joined(folder.path(), vec![row]), []);
    }
}
