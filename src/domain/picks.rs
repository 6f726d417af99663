//! Which pictures of an event are worth a closer look: the best of each of a few stretches, each longer than the one
//! before, so that something is known soon and a long event costs no more than a short one.

/// Where the stretches end, in microseconds from the event's begin; the last ends with the event.
const ENDS_US: [i64; 4] = [1_000_000, 4_000_000, 13_000_000, 40_000_000];
/// Pictures of an event at most.
pub const MOST_PICKS: usize = ENDS_US.len() + 1;

/// Picks from the pictures of one event. `P` is whatever keeps a picture.
#[derive(Debug)]
pub struct Picks<P> {
    onset_us: i64,
    stretch: usize,
    best: Option<(f64, P)>,
}

impl<P> Picks<P> {
    /// For an event that begins with the picture at this time of its session.
    pub fn new(onset_us: i64) -> Self {
        Picks { onset_us, stretch: 0, best: None }
    }

    pub fn onset_us(&self) -> i64 {
        self.onset_us
    }

    /// Takes the event's next picture. `weight` says how much there is to see in it; `keep` is called where it is the
    /// best so far. Returns the best of a stretch that is over.
    pub fn see(&mut self, pts_us: i64, weight: f64, keep: impl FnOnce() -> Option<P>) -> Option<P> {
        let elapsed_us = pts_us.saturating_sub(self.onset_us);
        let stretch = ENDS_US.iter().position(|end_us| elapsed_us < *end_us).unwrap_or(ENDS_US.len());
        let mut over = None;
        if stretch > self.stretch {
            self.stretch = stretch;
            over = self.end();
        }
        if self.best.as_ref().is_none_or(|(best, _)| weight > *best)
            && let Some(kept) = keep()
        {
            self.best = Some((weight, kept));
        }
        over
    }

    /// The event is over: the best of its last stretch.
    pub fn end(&mut self) -> Option<P> {
        self.best.take().map(|(_, kept)| kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times that are picked of pictures of (milliseconds, weight).
    fn picked(pictures: &[(i64, f64)]) -> Vec<i64> {
        let mut picks = Picks::new(7_000_000);
        let mut all: Vec<i64> = pictures
            .iter()
            .filter_map(|(ms, weight)| picks.see(7_000_000 + ms * 1000, *weight, || Some(*ms)))
            .collect();
        all.extend(picks.end());
        all
    }

    #[test]
    fn the_best_of_each_stretch_is_picked() {
        let pictures = [(0, 0.1), (400, 0.3), (900, 0.2), (1000, 0.1), (3900, 0.05), (4000, 0.2), (5000, 0.4)];
        assert_eq!(picked(&pictures), [400, 1000, 5000]);
        assert_eq!(picked(&[(0, 0.0)]), [0], "a short one has one");
        assert_eq!(picked(&[]), [0; 0]);
    }

    #[test]
    fn a_long_event_has_no_more_than_a_few_and_one_that_jumps_back_none_twice() {
        let hour: Vec<(i64, f64)> = (0..3600).map(|second| (second * 1000, f64::from(second as u32 % 100))).collect();
        let picked_of_hour = picked(&hour);
        assert_eq!((picked_of_hour.len(), picked_of_hour.last()), (MOST_PICKS, Some(&99_000)));
        assert_eq!(picked(&[(0, 0.1), (2000, 0.2), (-5000, 0.3), (500, 0.1)]), [0, -5000]);
    }

    #[test]
    fn what_cannot_be_kept_is_not_picked() {
        let mut picks: Picks<i64> = Picks::new(0);
        assert_eq!(picks.see(0, 0.5, || None), None);
        assert_eq!(picks.see(1, 0.1, || Some(1)), None);
        assert_eq!(picks.end(), Some(1));
    }
}
