//! Which changed area tells motion from quiet: what a look at all pictures of a stream says of the level.
//!
//! Belongs here: statistics of changed areas. Does not belong here: the decision on one picture (the detector's).

/// Bins an octave: finer than the areas of two pictures of the same thing differ.
const BINS_AN_OCTAVE: f64 = 4.0;
/// Below the least area that is left of a changed pixel after the usual dilation and erosion (81).
const NOTHING_PIXELS: f64 = 32.0;
/// Part of all variance that lies between the two groups, above which they are two. An even spread has 0.75.
const CLEAR: f64 = 0.85;

/// The changed areas of a stream's pictures, as many as there are, in little memory.
#[derive(Clone, Debug, Default)]
pub struct Separation {
    /// By the logarithm of the area.
    bins: Vec<Bin>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    pictures: u64,
    least: u32,
    most: u32,
}

/// Two groups of pictures, and what lies between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// From so many changed pixels on it is motion: in the middle between the groups.
    pub level_pixels: u32,
    pub quiet_pictures: u64,
    /// The largest changed area of the quiet group.
    pub quiet_most: u32,
    pub moving_pictures: u64,
    /// The smallest changed area of the moving group.
    pub moving_least: u32,
}

impl Separation {
    /// Adds a picture.
    pub fn add(&mut self, changed_pixels: u32) {
        let at = (octaves(changed_pixels) * BINS_AN_OCTAVE) as usize;
        if self.bins.len() <= at {
            self.bins.resize(at + 1, Bin::default());
        }
        let bin = &mut self.bins[at];
        bin.least = if bin.pictures == 0 { changed_pixels } else { bin.least.min(changed_pixels) };
        bin.most = bin.most.max(changed_pixels);
        bin.pictures += 1;
    }

    /// The two groups into which the pictures fall by themselves (Otsu's method, on the logarithm of the area); None
    /// where they are not clearly two.
    pub fn split(&self) -> Option<Split> {
        let places = (0u32..).map(f64::from).zip(&self.bins);
        let used: Vec<(f64, &Bin)> = places.filter(|(_, bin)| bin.pictures > 0).collect();
        let total: f64 = used.iter().map(|(_, bin)| bin.pictures as f64).sum();
        let mean = used.iter().map(|(at, bin)| at * bin.pictures as f64).sum::<f64>() / total;
        let variance = used.iter().map(|(at, bin)| (at - mean).powi(2) * bin.pictures as f64).sum::<f64>() / total;
        let (mut below, mut below_sum) = (0.0, 0.0);
        let mut best: Option<(f64, usize)> = None;
        for (place, (at, bin)) in used.iter().enumerate().take(used.len().saturating_sub(1)) {
            below += bin.pictures as f64;
            below_sum += at * bin.pictures as f64;
            let above = total - below;
            let apart = below_sum / below - (mean * total - below_sum) / above;
            let between = below * above * apart.powi(2) / total.powi(2);
            if best.is_none_or(|(most, _)| between > most) {
                best = Some((between, place + 1));
            }
        }
        let (between, border) = best?;
        if between < CLEAR * variance {
            return None;
        }
        let (quiet, moving) = used.split_at(border);
        let count = |group: &[(f64, &Bin)]| group.iter().map(|(_, bin)| bin.pictures).sum();
        let (quiet_most, moving_least) = (quiet.last()?.1.most, moving.first()?.1.least);
        Some(Split {
            level_pixels: middle(quiet_most, moving_least),
            quiet_pictures: count(quiet),
            quiet_most,
            moving_pictures: count(moving),
            moving_least,
        })
    }
}

/// The level with as much room below as above, as a factor: more than `quiet_most`, at most `moving_least`.
pub fn middle(quiet_most: u32, moving_least: u32) -> u32 {
    let middle = (f64::from(quiet_most + 1) * f64::from(moving_least.max(1))).sqrt().round() as u32;
    middle.clamp(quiet_most + 1, moving_least.max(quiet_most + 1))
}

/// Doublings; areas much smaller than [`NOTHING_PIXELS`] are all the same.
fn octaves(pixels: u32) -> f64 {
    (1.0 + f64::from(pixels) / NOTHING_PIXELS).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(areas: impl IntoIterator<Item = u32>) -> Option<Split> {
        let mut separation = Separation::default();
        areas.into_iter().for_each(|area| separation.add(area));
        separation.split()
    }

    #[test]
    fn two_groups_are_told_apart_however_rare_one_is() {
        let quiet = (0..990).map(|n| n % 13);
        let moving = (0..10).map(|n| 4000 + 300 * n);
        let split = split(quiet.chain(moving)).unwrap();
        assert_eq!((split.quiet_pictures, split.quiet_most), (990, 12));
        assert_eq!((split.moving_pictures, split.moving_least), (10, 4000));
        assert_eq!(split.level_pixels, 228); // the root of 13 times 4000
    }

    #[test]
    fn one_group_is_not_two() {
        assert_eq!(split([]), None);
        assert_eq!(split([0; 100]), None);
        assert_eq!(split([7]), None);
        assert_eq!(split((0..12).map(|octave| 16 << octave)), None, "an even spread");
    }

    #[test]
    fn the_middle_is_above_what_is_quiet_and_no_more_than_what_moves() {
        for (quiet, moving) in [(0, 1), (0, 2), (5, 6), (99, 10_000), (9, 3)] {
            let level = middle(quiet, moving);
            assert!(level > quiet && (level <= moving || moving <= quiet), "{quiet} {level} {moving}");
        }
        assert_eq!(middle(99, 10_000), 1000);
    }
}
