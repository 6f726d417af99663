//! What the light does to a picture: one gain and offset for all of it, and a drift that is smooth over tiles.
//!
//! Belongs here: telling the light of the whole picture, and of its parts, from what is in it.

use std::ops::Range;

use super::plane::Plane;

/// Side of a tile in pixels.
const TILE: usize = 16;
/// Share of the drift that a look follows.
const SPEED: f32 = 0.7;

/// The straight line that leads from the background's levels to the picture's: `gain * b + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exposure {
    pub gain: f32,
    pub offset: f32,
}

impl Exposure {
    pub const SAME: Exposure = Exposure { gain: 1.0, offset: 0.0 };

    /// Fits the line to most pixels; objects count for little (iteratively reweighted least squares).
    pub fn fit(now: &Plane, background: &Plane) -> Exposure {
        let step = 4;
        let mut pairs = Vec::with_capacity(now.data.len() / (step * step) + 1);
        for y in (step / 2..now.height).step_by(step) {
            for x in (step / 2..now.width).step_by(step) {
                let n = y * now.width + x;
                let (b, c) = (background.data[n], now.data[n]);
                // What is clipped says nothing.
                if c < 253.0 && b < 253.0 {
                    pairs.push((b, c));
                }
            }
        }
        if pairs.len() < 50 {
            return Exposure::SAME;
        }
        // A line that fits hardly better is none: its errors would add up from look to look.
        let same_cost = cost(&pairs, Exposure::SAME);
        let gated = |line: Exposure, line_cost: f32| {
            if line_cost < 0.9 * same_cost && same_cost - line_cost > 0.15 { line } else { Exposure::SAME }
        };
        let from_rest = refine(&pairs, Exposure::SAME);
        let rest_cost = cost(&pairs, from_rest);
        if rest_cost < 2.5 {
            return gated(from_rest, rest_cost);
        }
        // A switched light: begin where both pictures have the same quantiles.
        let quantile = |mut values: Vec<f32>, share: f32| {
            let place = ((values.len() - 1) as f32 * share) as usize;
            *values.select_nth_unstable_by(place, f32::total_cmp).1
        };
        let values = |which: fn(&(f32, f32)) -> f32| pairs.iter().map(which).collect::<Vec<f32>>();
        let (b25, b75) = (quantile(values(|p| p.0), 0.2), quantile(values(|p| p.0), 0.8));
        let (c25, c75) = (quantile(values(|p| p.1), 0.2), quantile(values(|p| p.1), 0.8));
        if b75 - b25 < 4.0 {
            return gated(from_rest, rest_cost);
        }
        let gain = ((c75 - c25) / (b75 - b25)).clamp(0.1, 10.0);
        let switched = refine(&pairs, Exposure { gain, offset: c25 - gain * b25 });
        let switched_cost = cost(&pairs, switched);
        if switched_cost < 0.8 * rest_cost { gated(switched, switched_cost) } else { gated(from_rest, rest_cost) }
    }

    /// Was the light switched, or the exposure changed at a stroke?
    pub fn is_step(&self) -> bool {
        const LEVELS: f32 = 20.0;
        // Of a middle grey, and of the contrast at it.
        let contrast = (self.gain - 1.0) * 100.0;
        contrast.abs().max((contrast + self.offset).abs()) > LEVELS
    }
}

fn cost(pairs: &[(f32, f32)], line: Exposure) -> f32 {
    let sum: f32 = pairs.iter().map(|(b, c)| (line.gain * b + line.offset - c).abs().min(24.0)).sum();
    sum / pairs.len() as f32
}

fn refine(pairs: &[(f32, f32)], mut line: Exposure) -> Exposure {
    for _ in 0..4 {
        let (mut s, mut sb, mut sc, mut sbb, mut sbc) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for &(b, c) in pairs {
            let e = (line.gain * b + line.offset - c) * 0.25;
            let w = f64::from(1.0 / (1.0 + e * e));
            let (b, c) = (f64::from(b), f64::from(c));
            s += w;
            sb += w * b;
            sc += w * c;
            sbb += w * b * b;
            sbc += w * b * c;
        }
        // Pulled towards a gain of one where the picture has hardly any contrast.
        let (mean_b, mean_c) = (sb / s, sc / s);
        let (var, cov) = (sbb / s - mean_b * mean_b, sbc / s - mean_b * mean_c);
        let gain = (cov + 4.0) / (var + 4.0);
        if !(0.05..=20.0).contains(&gain) {
            return Exposure::SAME;
        }
        line = Exposure { gain: gain as f32, offset: (mean_c - gain * mean_b) as f32 };
    }
    line
}

/// The slow change of light from place to place: cloud edges, dusk, a lamp that warms up.
#[derive(Default)]
pub(super) struct Drift {
    columns: usize,
    rows: usize,
    sums: Vec<f32>,
    weights: Vec<f32>,
    field: Vec<f32>,
}

impl Drift {
    /// Adds to `background` the mean difference of the tiles around each pixel, over the pixels that `weight` lets
    /// count.
    pub fn follow(&mut self, difference: &mut Plane, weight: &[f32], background: &mut Plane) {
        let (width, height) = (difference.width, difference.height);
        self.columns = width.div_ceil(TILE);
        self.rows = height.div_ceil(TILE);
        let tiles = self.columns * self.rows;
        self.sums.clear();
        self.sums.resize(tiles, 0.0);
        self.weights.clear();
        self.weights.resize(tiles, 0.0);
        let mut line = vec![(0.0, 0.0); width];
        for (row, (tiles, weights)) in
            self.sums.chunks_exact_mut(self.columns).zip(self.weights.chunks_exact_mut(self.columns)).enumerate()
        {
            // Down the columns first, many of them at a time; then along the tile.
            line.fill((0.0, 0.0));
            for at in (row * TILE..height.min((row + 1) * TILE)).map(|y| y * width) {
                let pixels = difference.data[at..at + width].iter().zip(&weight[at..at + width]);
                for ((sum, count), (e, w)) in line.iter_mut().zip(pixels) {
                    *sum += e * w;
                    *count += w;
                }
            }
            for ((sum, weight), columns) in tiles.iter_mut().zip(weights).zip(line.chunks(TILE)) {
                *sum = columns.iter().map(|(sum, _)| sum).sum();
                *weight = columns.iter().map(|(_, count)| count).sum();
            }
        }
        self.field.clear();
        for row in 0..self.rows as isize {
            for column in 0..self.columns as isize {
                let (mut sum, mut weight) = (0.0, 0.0);
                for y in (row - 1).max(0)..(row + 2).min(self.rows as isize) {
                    for x in (column - 1).max(0)..(column + 2).min(self.columns as isize) {
                        let tile = y as usize * self.columns + x as usize;
                        // One, two, one: a plain mean answers some patterns with their opposite, which would grow.
                        let near = if y == row { 0.5 } else { 0.25 } * if x == column { 0.5 } else { 0.25 };
                        sum += near * self.sums[tile];
                        weight += near * self.weights[tile];
                    }
                }
                // As if a quarter of a tile had not changed at all.
                self.field.push(SPEED * sum / (weight + (TILE * TILE / 8) as f32));
            }
        }
        let columns = Columns::new(width, self.columns);
        let mut line = vec![0.0; self.columns];
        for y in 0..height {
            let (upper, lower, part) = between(y, self.rows);
            for (column, value) in line.iter_mut().enumerate() {
                let (a, b) = (self.field[upper * self.columns + column], self.field[lower * self.columns + column]);
                *value = a + (b - a) * part;
            }
            let row = &mut background.data[y * width..][..width];
            let differences = &mut difference.data[y * width..][..width];
            columns.each(|pixels, (left, right), parts| {
                let (from, step) = (line[left], line[right] - line[left]);
                let pixels = row[pixels.clone()].iter_mut().zip(&mut differences[pixels]);
                for ((value, e), part) in pixels.zip(parts) {
                    let drift = from + step * part;
                    *value += drift;
                    *e -= drift;
                }
            });
        }
    }
}

/// Between the middles of which two tiles a pixel lies, and how far from the first.
fn between(at: usize, count: usize) -> (usize, usize, f32) {
    let place = (at as f32 + 0.5) / TILE as f32 - 0.5;
    let first = (place.floor().max(0.0) as usize).min(count - 1);
    (first, (first + 1).min(count - 1), (place - first as f32).clamp(0.0, 1.0))
}

/// The same for all pixels of a row, in runs that lie between the same tiles.
struct Columns {
    runs: Vec<(Range<usize>, (usize, usize))>,
    parts: Vec<f32>,
}

impl Columns {
    fn new(width: usize, count: usize) -> Self {
        let mut columns = Columns { runs: Vec::new(), parts: Vec::with_capacity(width) };
        for x in 0..width {
            let (left, right, part) = between(x, count);
            columns.parts.push(part);
            match columns.runs.last_mut() {
                Some((run, tiles)) if *tiles == (left, right) => run.end = x + 1,
                _ => columns.runs.push((x..x + 1, (left, right))),
            }
        }
        columns
    }

    fn each(&self, mut run: impl FnMut(Range<usize>, (usize, usize), &[f32])) {
        for (pixels, tiles) in &self.runs {
            run(pixels.clone(), *tiles, &self.parts[pixels.clone()]);
        }
    }
}
