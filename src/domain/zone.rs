//! Places in the picture: polygons, what is masked and the zones that have names.
//!
//! Belongs here: geometry in shares of the picture, the same at any resolution. Does not belong here: what moves there
//! ([`super::adaptive`]), and how a place is written in a file (`config`).

use std::time::Duration;

/// Corners that a place may have.
pub const MOST_CORNERS: usize = 64;

/// A closed shape. Corners are shares of the picture's width and height, from its upper left.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    corners: Vec<(f32, f32)>,
}

impl Polygon {
    /// # Errors
    /// What is wrong with the shape.
    pub fn new(corners: Vec<(f32, f32)>) -> Result<Self, String> {
        if corners.len() < 3 {
            return Err(format!("a place has at least 3 corners, not {}", corners.len()));
        }
        if corners.len() > MOST_CORNERS {
            return Err(format!("a place has at most {MOST_CORNERS} corners, not {}", corners.len()));
        }
        if let Some((x, y)) = corners.iter().find(|(x, y)| !((0.0..=1.0).contains(x) && (0.0..=1.0).contains(y))) {
            return Err(format!("the corner [{x}, {y}] is outside the picture"));
        }
        let after = corners.iter().cycle().skip(1);
        let twice: f32 = corners.iter().zip(after).map(|((ax, ay), (bx, by))| ax * by - bx * ay).sum();
        if twice.abs() < 1e-6 {
            return Err("the place is no more than a line".to_owned());
        }
        Ok(Polygon { corners })
    }

    /// The corners in order.
    pub fn corners(&self) -> &[(f32, f32)] {
        &self.corners
    }

    /// Does the point lie inside, by the even-odd rule? Of two places that touch, a point on their common edge is in
    /// exactly one.
    pub fn contains(&self, x: f32, y: f32) -> bool {
        let after = self.corners.iter().cycle().skip(1);
        let crossings = self
            .corners
            .iter()
            .zip(after)
            .filter(|((ax, ay), (bx, by))| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
        crossings.count() % 2 == 1
    }

    /// Which pixels of a picture of this size have their middle inside, row by row.
    pub fn pixels(&self, width: usize, height: usize) -> impl Iterator<Item = bool> + '_ {
        (0..width * height).map(move |n| {
            let (x, y) = ((n % width) as f32 + 0.5, (n / width) as f32 + 0.5);
            self.contains(x / width as f32, y / height as f32)
        })
    }
}

/// Which pixels of a picture of this size no mask covers, row by row; None where there is no mask.
pub fn unmasked(masks: &[Polygon], width: usize, height: usize) -> Option<Vec<bool>> {
    let mut open = (!masks.is_empty()).then(|| vec![true; width * height])?;
    for mask in masks {
        open.iter_mut().zip(mask.pixels(width, height)).for_each(|(open, covered)| *open &= !covered);
    }
    Some(open)
}

/// A place with a name, and what of that which moves there counts (`detect.zones`).
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    pub name: String,
    pub polygon: Polygon,
    /// Shares of the picture between which a thing has to be.
    pub min_area: f32,
    pub max_area: f32,
    /// 1 (only what is very different) to 100 (the slightest difference); 50 is as everywhere else.
    pub sensitivity: u32,
    /// A thing counts when it has been there for so long.
    pub dwell: Duration,
}

impl Zone {
    /// By how much the thresholds in the zone are larger than elsewhere: 2 at most, 1/2 at least.
    pub fn threshold_factor(&self) -> f32 {
        ((50.0 - self.sensitivity as f32) / 50.0).exp2()
    }

    /// May a thing count that stands in the zone and takes this share of the picture?
    pub fn takes(&self, share: f32) -> bool {
        (self.min_area..=self.max_area).contains(&share)
    }
}

/// By how much the thresholds of each pixel are larger than elsewhere, row by row: where zones overlap, by the most
/// sensitive one. None where they are the same everywhere.
pub fn threshold_factors(zones: &[Zone], width: usize, height: usize) -> Option<Vec<f32>> {
    if zones.iter().all(|zone| zone.sensitivity == 50) {
        return None;
    }
    let mut factors: Vec<Option<f32>> = vec![None; width * height];
    for zone in zones {
        let own = zone.threshold_factor();
        for (factor, inside) in factors.iter_mut().zip(zone.polygon.pixels(width, height)) {
            if inside {
                *factor = Some(factor.map_or(own, |factor| factor.min(own)));
            }
        }
    }
    Some(factors.into_iter().map(|factor| factor.unwrap_or(1.0)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn polygon(corners: &[(f32, f32)]) -> Polygon {
        Polygon::new(corners.to_vec()).expect("a shape")
    }

    fn zone(left: f32, right: f32, sensitivity: u32) -> Zone {
        Zone {
            name: "gate".to_owned(),
            polygon: polygon(&[(left, 0.0), (right, 0.0), (right, 1.0), (left, 1.0)]),
            min_area: 0.01,
            max_area: 0.2,
            sensitivity,
            dwell: Duration::ZERO,
        }
    }

    #[test]
    fn a_shape_has_an_inside_within_the_picture() {
        for wrong in [
            vec![],
            vec![(0.0, 0.0), (1.0, 1.0)],
            vec![(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)],
            vec![(0.0, 0.0), (1.1, 0.0), (1.0, 1.0)],
            vec![(0.0, 0.0), (f32::NAN, 0.0), (1.0, 1.0)],
            vec![(0.0, 0.0); MOST_CORNERS + 1],
        ] {
            assert!(Polygon::new(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_hollow_is_outside_whichever_way_the_corners_go() {
        // A U.
        let mut corners =
            vec![(0.1, 0.1), (0.3, 0.1), (0.3, 0.7), (0.7, 0.7), (0.7, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)];
        for _ in 0..2 {
            let shape = polygon(&corners);
            assert!(shape.contains(0.2, 0.2) && shape.contains(0.8, 0.2) && shape.contains(0.5, 0.8));
            assert!(!shape.contains(0.5, 0.3) && !shape.contains(0.05, 0.5) && !shape.contains(0.5, 0.95));
            corners.reverse();
        }
    }

    #[test]
    fn a_mask_of_the_left_half_covers_half_the_pixels_at_any_size() {
        let half = polygon(&[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]);
        for (width, height) in [(16, 16), (320, 180), (501, 281)] {
            let open = unmasked(std::slice::from_ref(&half), width, height).expect("there is a mask");
            for (n, open) in open.into_iter().enumerate() {
                assert_eq!(open, (n % width) as f32 + 0.5 >= width as f32 / 2.0, "{n} of {width}x{height}");
            }
        }
        assert_eq!(unmasked(&[], 16, 16), None);
    }

    #[test]
    fn a_zone_takes_what_has_its_size() {
        assert_eq!([0.005, 0.05, 0.3].map(|share| zone(0.0, 0.5, 50).takes(share)), [false, true, false]);
    }

    #[test]
    fn the_most_sensitive_of_two_zones_wins() {
        assert_eq!(threshold_factors(&[zone(0.0, 1.0, 50)], 20, 20), None);
        let factors = threshold_factors(&[zone(0.0, 0.6, 100), zone(0.4, 1.0, 25)], 10, 1).expect("they differ");
        assert_eq!(factors[..6], [0.5; 6]);
        assert!(factors[6..].iter().all(|factor| (factor - 2f32.sqrt()).abs() < 1e-6), "{factors:?}");
    }

    proptest! {
        /// Cut along any line, each point is in exactly one of the parts, on the cut itself too.
        #[test]
        fn two_halves_share_no_point_and_miss_none(cut in 1u8..16, x in 0u8..32, y in 0u8..32) {
            let cut = f32::from(cut) / 16.0;
            let (x, y) = (f32::from(x) / 32.0, f32::from(y) / 32.0);
            let left = polygon(&[(0.0, 0.0), (cut, 0.0), (cut, 1.0), (0.0, 1.0)]);
            let right = polygon(&[(cut, 0.0), (1.0, 0.0), (1.0, 1.0), (cut, 1.0)]);
            prop_assert!(left.contains(x, y) != right.contains(x, y));
        }
    }
}
