//! When motion starts, is prolonged and ends: a state machine in the stream's own time.
//!
//! Belongs here: warm-up after a connect, the minimal duration of an event, what a new session does. Does not
//! belong here: pictures and how they are compared (`media::detect`), the wall clock, what is recorded of an event
//! ([`super::recorder`]).
//!
//! All time is pts. Elapsed time is the sum of the steps forward from one picture to the next, so a pts that jumps
//! back neither ends an event nor lets it last for ever.

/// What a picture changed. Times are pts in microseconds of the session they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionChange {
    /// The picture at `onset_us` decided: an event begins.
    Started { onset_us: i64 },
    /// One more picture with motion within the event.
    Prolonged { onset_us: i64, last_motion_us: i64 },
    /// `minimal_duration` went by without motion, or the session is over. Where a new session ended the event, these
    /// times belong to the session before.
    Ended { onset_us: i64, last_motion_us: i64 },
}

/// What a stream is at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionState {
    /// Motion starts no event for so long yet.
    WarmUp {
        left_us: i64,
    },
    Idle,
    /// An event is open; without more motion it ends in so long.
    Motion {
        left_us: i64,
    },
}

/// The motion of one stream.
#[derive(Clone, Debug)]
pub struct Motion {
    warm_up_us: i64,
    minimal_duration_us: i64,
    session: Option<SessionTime>,
    event: Option<Event>,
}

#[derive(Clone, Copy, Debug)]
struct SessionTime {
    id: u64,
    last_pts_us: i64,
    /// Since the session's first picture.
    elapsed_us: i64,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    onset_us: i64,
    last_motion_us: i64,
    /// Since the last picture with motion.
    quiet_us: i64,
}

impl Motion {
    /// No event begins before `warm_up_us` of a session have gone by; an event ends with the first quiet picture
    /// that is at least `minimal_duration_us` after its last motion.
    pub fn new(warm_up_us: i64, minimal_duration_us: i64) -> Self {
        Motion {
            warm_up_us: warm_up_us.max(0),
            minimal_duration_us: minimal_duration_us.max(0),
            session: None,
            event: None,
        }
    }

    /// Takes the next picture in order of presentation. Motion while an event is open always prolongs it, however
    /// long nobody looked. A picture of a new session ends the event of the one before and starts none itself: there
    /// is nothing yet to compare it with.
    pub fn look(&mut self, session: u64, pts_us: i64, moving: bool) -> Option<MotionChange> {
        let Some(time) = self.session.as_mut().filter(|time| time.id == session) else {
            self.session = Some(SessionTime { id: session, last_pts_us: pts_us, elapsed_us: 0 });
            let ended = self.end();
            if ended.is_some() || !moving || self.warm_up_us > 0 {
                return ended;
            }
            return Some(self.start(pts_us));
        };
        let step_us = pts_us.saturating_sub(time.last_pts_us).max(0);
        time.last_pts_us = pts_us;
        time.elapsed_us = time.elapsed_us.saturating_add(step_us);
        let warm = time.elapsed_us >= self.warm_up_us;

        let Some(event) = &mut self.event else {
            return (moving && warm).then(|| self.start(pts_us));
        };
        if moving {
            event.quiet_us = 0;
            event.last_motion_us = event.last_motion_us.max(pts_us);
            return Some(MotionChange::Prolonged { onset_us: event.onset_us, last_motion_us: event.last_motion_us });
        }
        event.quiet_us = event.quiet_us.saturating_add(step_us);
        if event.quiet_us >= self.minimal_duration_us { self.end() } else { None }
    }

    /// The session needs no more warm-up: what it shows is known from before.
    pub fn settle(&mut self) {
        if let Some(time) = &mut self.session {
            time.elapsed_us = time.elapsed_us.max(self.warm_up_us);
        }
    }

    /// Ends the open event, if there is one: the stream is over or detection is switched off.
    pub fn end(&mut self) -> Option<MotionChange> {
        let event = self.event.take()?;
        Some(MotionChange::Ended { onset_us: event.onset_us, last_motion_us: event.last_motion_us })
    }

    /// Is an event open?
    pub fn active(&self) -> bool {
        self.event.is_some()
    }

    /// Has the session settled, so that motion would start an event?
    pub fn warm(&self) -> bool {
        self.session.is_some_and(|time| time.elapsed_us >= self.warm_up_us)
    }

    /// What the stream is at, after the last picture.
    pub fn state(&self) -> MotionState {
        if let Some(event) = &self.event {
            return MotionState::Motion { left_us: (self.minimal_duration_us - event.quiet_us).max(0) };
        }
        let elapsed_us = self.session.map_or(0, |time| time.elapsed_us);
        match self.warm_up_us.saturating_sub(elapsed_us) {
            left_us if left_us > 0 => MotionState::WarmUp { left_us },
            _ => MotionState::Idle,
        }
    }

    fn start(&mut self, pts_us: i64) -> MotionChange {
        self.event = Some(Event { onset_us: pts_us, last_motion_us: pts_us, quiet_us: 0 });
        MotionChange::Started { onset_us: pts_us }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000;

    /// Looks at `pictures` of (seconds, moving) of one session and returns the changes.
    fn changes(motion: &mut Motion, session: u64, pictures: &[(i64, bool)]) -> Vec<MotionChange> {
        pictures.iter().filter_map(|&(at_s, moving)| motion.look(session, at_s * S, moving)).collect()
    }

    #[test]
    fn nothing_starts_during_warm_up_and_the_first_warm_picture_may() {
        let mut motion = Motion::new(5 * S, 10 * S);
        let pictures = [(100, true), (102, true), (104, true), (105, true)];
        assert_eq!(changes(&mut motion, 1, &pictures), [MotionChange::Started { onset_us: 105 * S }]);
    }

    #[test]
    fn an_event_ends_when_the_minimal_duration_has_passed_since_its_last_motion() {
        let mut motion = Motion::new(0, 10 * S);
        let pictures = [(0, false), (1, true), (8, true), (17, false), (18, false), (19, false)];
        assert_eq!(
            changes(&mut motion, 1, &pictures),
            [
                MotionChange::Started { onset_us: S },
                MotionChange::Prolonged { onset_us: S, last_motion_us: 8 * S },
                MotionChange::Ended { onset_us: S, last_motion_us: 8 * S },
            ]
        );
        assert!(!motion.active());
    }

    #[test]
    fn a_new_session_ends_the_event_and_warms_up_again() {
        let mut motion = Motion::new(5 * S, 10 * S);
        changes(&mut motion, 1, &[(0, false), (6, true)]);
        let pictures = [(50, true), (54, true), (55, true)];
        assert_eq!(
            changes(&mut motion, 2, &pictures),
            [
                MotionChange::Ended { onset_us: 6 * S, last_motion_us: 6 * S },
                MotionChange::Started { onset_us: 55 * S },
            ]
        );
    }

    #[test]
    fn a_session_that_is_known_from_before_needs_no_warm_up() {
        let mut motion = Motion::new(5 * S, 10 * S);
        motion.settle();
        assert_eq!(motion.look(1, 0, true), None, "nothing is known of a session that has not begun");
        motion.settle();
        assert_eq!(motion.look(1, S, true), Some(MotionChange::Started { onset_us: S }));
        assert_eq!(changes(&mut motion, 2, &[(0, true), (1, true)]).len(), 1, "another one does");
    }

    #[test]
    fn a_jump_back_counts_as_no_time() {
        let mut motion = Motion::new(5 * S, 10 * S);
        // Back by a minute in the warm-up, and again in the event.
        let pictures = [(60, true), (64, true), (0, true), (1, true), (0, false), (9, false), (10, false)];
        assert_eq!(
            changes(&mut motion, 1, &pictures),
            [MotionChange::Started { onset_us: S }, MotionChange::Ended { onset_us: S, last_motion_us: S },]
        );
    }

    #[test]
    fn the_state_says_how_long_it_lasts() {
        let mut motion = Motion::new(5 * S, 10 * S);
        assert_eq!(motion.state(), MotionState::WarmUp { left_us: 5 * S });
        let mut state_after = |at_s: i64, moving| {
            motion.look(1, at_s * S, moving);
            motion.state()
        };
        assert_eq!(state_after(100, true), MotionState::WarmUp { left_us: 5 * S });
        assert_eq!(state_after(103, true), MotionState::WarmUp { left_us: 2 * S });
        assert_eq!(state_after(106, false), MotionState::Idle);
        assert_eq!(state_after(107, true), MotionState::Motion { left_us: 10 * S });
        assert_eq!(state_after(110, false), MotionState::Motion { left_us: 7 * S });
        assert_eq!(state_after(117, false), MotionState::Idle);
    }

    #[test]
    fn the_end_of_the_stream_ends_the_event() {
        let mut motion = Motion::new(0, 10 * S);
        changes(&mut motion, 1, &[(0, false), (1, true), (2, true)]);
        assert_eq!(motion.end(), Some(MotionChange::Ended { onset_us: S, last_motion_us: 2 * S }));
        assert_eq!(motion.end(), None);
    }

    /// Pictures of a stream in order: (step to the next in ms, moving).
    fn pictures() -> impl Strategy<Value = Vec<(i64, bool)>> {
        prop::collection::vec((1i64..4000, prop::bool::weighted(0.3)), 1..80)
    }

    proptest! {
        /// The events are what a look at the whole stream at once gives.
        #[test]
        fn agrees_with_a_look_at_the_whole_stream(
            pictures in pictures(), start_us in -1_000_000_000i64..1_000_000_000, warm_ms in 0i64..8000, hold_ms in 0i64..12_000,
        ) {
            let mut pts_us = start_us;
            let timed: Vec<(i64, bool)> = pictures.iter().map(|&(step_ms, moving)| {
                let at = pts_us;
                pts_us += step_ms * 1000;
                (at, moving)
            }).collect();

            // Oracle: motion from the end of the warm-up on; two motions belong to one event unless a quiet picture
            // lies between them at least the minimal duration after the first.
            let mut expected: Vec<(i64, i64)> = Vec::new();
            for &(at, moving) in &timed {
                if !moving || at - start_us < warm_ms * 1000 {
                    continue;
                }
                match expected.last_mut() {
                    Some((_, last)) if !timed.iter().any(|&(quiet, m)| !m && quiet < at && quiet - *last >= hold_ms * 1000) => *last = at,
                    _ => expected.push((at, at)),
                }
            }

            let mut motion = Motion::new(warm_ms * 1000, hold_ms * 1000);
            let mut seen = Vec::new();
            for &(at, moving) in &timed {
                match motion.look(7, at, moving) {
                    Some(MotionChange::Started { onset_us }) => prop_assert_eq!(onset_us, at),
                    Some(MotionChange::Ended { onset_us, last_motion_us }) => seen.push((onset_us, last_motion_us)),
                    Some(MotionChange::Prolonged { last_motion_us, .. }) => prop_assert_eq!(last_motion_us, at),
                    None => {}
                }
            }
            if let Some(MotionChange::Ended { onset_us, last_motion_us }) = motion.end() {
                seen.push((onset_us, last_motion_us));
            }
            prop_assert_eq!(seen, expected);
        }

        /// Whatever the times and sessions, changes come in order: start, prolongings, end.
        #[test]
        fn changes_come_in_order(
            looks in prop::collection::vec((1u64..4, any::<i64>(), any::<bool>()), 0..100),
            warm_us in any::<i64>(), hold_us in any::<i64>(),
        ) {
            let mut motion = Motion::new(warm_us, hold_us);
            let mut open = false;
            for (session, pts_us, moving) in looks {
                match motion.look(session, pts_us, moving) {
                    Some(MotionChange::Started { .. }) => {
                        prop_assert!(!open && moving && motion.warm());
                        open = true;
                    }
                    Some(MotionChange::Prolonged { onset_us, last_motion_us }) => {
                        prop_assert!(open && moving && last_motion_us >= onset_us);
                    }
                    Some(MotionChange::Ended { onset_us, last_motion_us }) => {
                        prop_assert!(open && last_motion_us >= onset_us);
                        open = false;
                    }
                    None => {}
                }
                prop_assert_eq!(motion.active(), open);
            }
        }
    }
}
