//! Keeps the best pictures of an event while the detector has them in hand, for a model to look at elsewhere and later.

use crate::domain::motion::MotionChange;
use crate::domain::picks::Picks;
use crate::media::picture::{KeptPicture, Picture};

/// A picture of an event.
pub struct Shot {
    /// The event's session and its first picture's time in it.
    pub session: u64,
    pub onset_us: i64,
    pub picture: KeptPicture,
}

/// Of one camera. Keeps at most one picture until it is taken.
#[derive(Default)]
pub struct Shots {
    /// Of the event that goes on.
    event: Option<(u64, Picks<KeptPicture>)>,
    taken: Vec<Shot>,
}

impl Shots {
    /// What became of motion with the picture that comes next, or at the end of the session.
    pub fn follow(&mut self, session: u64, change: Option<&MotionChange>) {
        match change {
            Some(MotionChange::Started { onset_us }) => self.event = Some((session, Picks::new(*onset_us))),
            Some(MotionChange::Ended { .. }) => {
                if let Some((session, mut picks)) = self.event.take() {
                    let onset_us = picks.onset_us();
                    self.taken.extend(picks.end().map(|picture| Shot { session, onset_us, picture }));
                }
            }
            Some(MotionChange::Prolonged { .. }) | None => {}
        }
    }

    /// Looks at a picture with motion; `share` of it differs.
    pub fn see(&mut self, pts_us: i64, share: f64, picture: Picture) {
        if let Some((session, picks)) = &mut self.event {
            // One that can't be kept is no worse than one that was not seen.
            let over = picks.see(pts_us, share, || picture.keep().ok());
            let onset_us = picks.onset_us();
            self.taken.extend(over.map(|picture| Shot { session: *session, onset_us, picture }));
        }
    }

    /// Those that are ready.
    pub fn take(&mut self) -> Vec<Shot> {
        std::mem::take(&mut self.taken)
    }
}
