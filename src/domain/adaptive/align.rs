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
        let start = [guess, (0.0, 0.0)].map(|(dx, dy)| {
            let mut at = (dx / 4.0, dy / 4.0);
            for _ in 0..4 {
                at = step(&self.coarse_now, &self.coarse_before, at, 1);
            }
            (cost(&self.coarse_now, &self.coarse_before, at, 1), at)
        });
        let at = if start[1].0 <= start[0].0 { start[1].1 } else { start[0].1 };
        let mut at = (at.0 * 4.0, at.1 * 4.0);
        for _ in 0..2 {
            at = step(now, background, at, 2);
        }
        if !(at.0.abs() <= most && at.1.abs() <= most) {
            return (0.0, 0.0);
        }
        // A picture that fits as well unmoved is left alone: each shift smooths a little.
        let (moved, still) = (cost(now, background, at, 3), cost(now, background, (0.0, 0.0), 3));
        if moved < 0.93 * still { at } else { (0.0, 0.0) }
    }
}

/// Differences above this count as much as it.
const CLIP: f32 = 24.0;

fn sample(now: &Plane, x: usize, y: usize, shift: (i32, i32), part: (f32, f32)) -> f32 {
    let at = (y as i32 + shift.1) as usize * now.width + (x as i32 + shift.0) as usize;
    let (upper, lower) = (&now.data[at..at + 2], &now.data[at + now.width..at + now.width + 2]);
    let left = upper[0] + (lower[0] - upper[0]) * part.1;
    let right = upper[1] + (lower[1] - upper[1]) * part.1;
    left + (right - left) * part.0
}

/// Visits every `stride`-th pixel that lies inside both pictures, with the moved picture's value.
fn visit(now: &Plane, at: (f32, f32), stride: usize, mut each: impl FnMut(usize, f32)) {
    let (width, height) = (now.width as i32, now.height as i32);
    let whole = (at.0.floor() as i32, at.1.floor() as i32);
    let part = (at.0 - at.0.floor(), at.1 - at.1.floor());
    let range = |whole: i32, size: i32| {
        let first = (1 - whole).max(1);
        let end = (size - 2 - whole).min(size - 1);
        first as usize..end.max(first) as usize
    };
    for y in range(whole.1, height).step_by(stride) {
        for x in range(whole.0, width).step_by(stride) {
            each(y * now.width + x, sample(now, x, y, whole, part));
        }
    }
}

/// Mean of the clipped differences, less what the whole picture has become brighter.
fn cost(now: &Plane, background: &Plane, at: (f32, f32), stride: usize) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0);
    visit(now, at, stride, |n, value| {
        sum += (value - background.data[n]).abs().min(CLIP);
        count += 1.0;
    });
    if count > 0.0 { sum / count } else { f32::MAX }
}

fn step(now: &Plane, background: &Plane, at: (f32, f32), stride: usize) -> (f32, f32) {
    if at.0.abs() > now.width as f32 / 4.0 || at.1.abs() > now.height as f32 / 4.0 || !(at.0 + at.1).is_finite() {
        return (0.0, 0.0);
    }
    let width = background.width;
    let (mut xx, mut xy, mut yy, mut xe, mut ye) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
    visit(now, at, stride, |n, value| {
        let gx = (background.data[n + 1] - background.data[n - 1]) * 0.5;
        let gy = (background.data[n + width] - background.data[n - width]) * 0.5;
        let e = value - background.data[n];
        // Cauchy's weight: what differs much moves by itself.
        let weight = 1.0 / (1.0 + (e * (1.0 / 8.0)).powi(2));
        xx += weight * gx * gx;
        xy += weight * gx * gy;
        yy += weight * gy * gy;
        xe += weight * gx * e;
        ye += weight * gy * e;
    });
    let det = xx * yy - xy * xy;
    if det <= 1e-3 * (xx + yy) * (xx + yy) || det <= 0.0 {
        return at;
    }
    let (dx, dy) = ((yy * xe - xy * ye) / det, (xx * ye - xy * xe) / det);
    (at.0 - dx.clamp(-2.0, 2.0), at.1 - dy.clamp(-2.0, 2.0))
}
