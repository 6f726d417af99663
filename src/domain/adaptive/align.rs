//! How far the camera has moved against its background, to a fraction of a pixel: Lucas and Kanade's least squares
//! on a coarse picture first, then on the fine one, with what moves by itself weighted out.
//!
//! Belongs here: estimating the shift. Does not belong here: undoing it ([`super::plane`]).

use super::plane::Plane;

/// Shifts beyond this many pixels (of 320) are no shaking of the camera.
const MOST: f32 = 12.0;

/// Estimates shifts; its buffers are used again.
#[derive(Default)]
pub(super) struct Aligner {
    coarse_now: Plane,
    coarse_before: Plane,
}

impl Aligner {
    /// (dx, dy) such that `now(x + dx, y + dy)` fits `background(x, y)` best. `guess` is where to begin.
    pub fn shift(&mut self, now: &Plane, background: &Plane, guess: (f32, f32)) -> (f32, f32) {
        let most = MOST * now.width as f32 / 320.0;
        now.quarter(&mut self.coarse_now);
        background.quarter(&mut self.coarse_before);
        // Where it was at the last look, and at rest: the better one goes on.
        let rest = self.coarse((0.0, 0.0));
        let moved = if guess == (0.0, 0.0) { rest } else { self.coarse((guess.0 / 4.0, guess.1 / 4.0)) };
        let at = if rest.0 <= moved.0 { rest.1 } else { moved.1 };
        let mut at = (at.0 * 4.0, at.1 * 4.0);
        for _ in 0..2 {
            at = step::<2>(now, background, at);
        }
        if !(at.0.abs() <= most && at.1.abs() <= most) {
            return (0.0, 0.0);
        }
        // A picture that fits as well unmoved is left alone: each shift smooths a little.
        let (moved, still) = (cost::<3>(now, background, at), cost::<3>(now, background, (0.0, 0.0)));
        if moved < 0.93 * still { at } else { (0.0, 0.0) }
    }

    /// The shift of the coarse pictures, found from `at` on, and what it costs.
    fn coarse(&self, mut at: (f32, f32)) -> (f32, (f32, f32)) {
        for _ in 0..4 {
            at = step::<1>(&self.coarse_now, &self.coarse_before, at);
        }
        (cost::<1>(&self.coarse_now, &self.coarse_before, at), at)
    }
}

/// Differences above this count as much as it.
const CLIP: f32 = 24.0;

/// Sums are taken over so many pixels at a time.
const LANES: usize = 8;

/// A row of pixels that lie inside both pictures. The pixel in the middle of `here` is the first one; each next one lies
/// a stride further right.
struct Row<'a> {
    /// The moved picture's rows that the pixels lie between, from the first pixel on.
    upper: &'a [f32],
    lower: &'a [f32],
    /// The background, from one pixel left of the first.
    above: &'a [f32],
    here: &'a [f32],
    below: &'a [f32],
    /// How far right of the pixel, and below it, the moved picture's lies.
    part: (f32, f32),
}

impl Row<'_> {
    /// Gives `count` pixels to `each`, with their lanes.
    #[inline(always)]
    fn visit<const STRIDE: usize>(&self, count: usize, mut each: impl FnMut(usize, Pixel)) {
        let length = (count - 1) * STRIDE + 1;
        let row = Row {
            upper: &self.upper[..length + 1],
            lower: &self.lower[..length + 1],
            above: &self.above[..length + 2],
            here: &self.here[..length + 2],
            below: &self.below[..length + 2],
            part: self.part,
        };
        for first in (0..count / LANES).map(|n| n * LANES) {
            for lane in 0..LANES {
                each(lane, row.pixel((first + lane) * STRIDE));
            }
        }
        for n in count / LANES * LANES..count {
            each(n % LANES, row.pixel(n * STRIDE));
        }
    }

    #[inline(always)]
    fn pixel(&self, at: usize) -> Pixel {
        let left = self.upper[at] + (self.lower[at] - self.upper[at]) * self.part.1;
        let right = self.upper[at + 1] + (self.lower[at + 1] - self.upper[at + 1]) * self.part.1;
        let here = self.here;
        Pixel {
            moved: left + (right - left) * self.part.0,
            background: here[at + 1],
            slope: ((here[at + 2] - here[at]) * 0.5, (self.below[at + 1] - self.above[at + 1]) * 0.5),
        }
    }
}

struct Pixel {
    /// The moved picture's value, and the background's, and how steep the background is there.
    moved: f32,
    background: f32,
    slope: (f32, f32),
}

/// Shows `each` every `STRIDE`-th row, and how many of its pixels, a stride apart, lie inside both pictures.
#[inline(always)]
fn rows<const STRIDE: usize>(now: &Plane, background: &Plane, at: (f32, f32), mut each: impl FnMut(Row, usize)) {
    let whole = (at.0.floor() as i32, at.1.floor() as i32);
    let part = (at.0 - at.0.floor(), at.1 - at.1.floor());
    let range = |whole: i32, size: usize| {
        let size = size as i32;
        let first = (1 - whole).max(1);
        let end = (size - 2 - whole).min(size - 1);
        first as usize..end.max(first) as usize
    };
    let columns = range(whole.0, now.width);
    if columns.is_empty() {
        return;
    }
    let moved_left = (columns.start as i32 + whole.0) as usize;
    for y in range(whole.1, now.height).step_by(STRIDE) {
        let moved = (y as i32 + whole.1) as usize;
        let (upper, lower) = (&now.row(moved)[moved_left..], &now.row(moved + 1)[moved_left..]);
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &background.row(y)[columns.start - 1..]);
        each(Row { upper, lower, above, here, below, part }, columns.len().div_ceil(STRIDE));
    }
}

/// Mean of the clipped differences.
fn cost<const STRIDE: usize>(now: &Plane, background: &Plane, at: (f32, f32)) -> f32 {
    let (mut sums, mut pixels) = ([0.0; LANES], 0);
    rows::<STRIDE>(now, background, at, |row, count| {
        row.visit::<STRIDE>(count, |lane, pixel| sums[lane] += (pixel.moved - pixel.background).abs().min(CLIP));
        pixels += count;
    });
    if pixels > 0 { sums.iter().sum::<f32>() / pixels as f32 } else { f32::MAX }
}

fn step<const STRIDE: usize>(now: &Plane, background: &Plane, at: (f32, f32)) -> (f32, f32) {
    if at.0.abs() > now.width as f32 / 4.0 || at.1.abs() > now.height as f32 / 4.0 || !(at.0 + at.1).is_finite() {
        return (0.0, 0.0);
    }
    let [mut xx, mut xy, mut yy, mut xe, mut ye] = [[0.0f32; LANES]; 5];
    rows::<STRIDE>(now, background, at, |row, count| {
        row.visit::<STRIDE>(count, |lane, pixel| {
            let (gx, gy) = pixel.slope;
            let e = pixel.moved - pixel.background;
            // Cauchy's weight: what differs much moves by itself.
            let weight = 1.0 / (1.0 + (e * (1.0 / 8.0)).powi(2));
            xx[lane] += weight * gx * gx;
            xy[lane] += weight * gx * gy;
            yy[lane] += weight * gy * gy;
            xe[lane] += weight * gx * e;
            ye[lane] += weight * gy * e;
        });
    });
    let [xx, xy, yy, xe, ye] = [xx, xy, yy, xe, ye].map(|lanes| lanes.iter().sum::<f32>());
    let det = xx * yy - xy * xy;
    if det <= 1e-3 * (xx + yy) * (xx + yy) || det <= 0.0 {
        return at;
    }
    let (dx, dy) = ((yy * xe - xy * ye) / det, (xx * ye - xy * xe) / det);
    (at.0 - dx.clamp(-2.0, 2.0), at.1 - dy.clamp(-2.0, 2.0))
}
