//! What is measured of a grey picture: its levels, how sharp each block is, where its edges run.
//!
//! Belongs here: arithmetic on one picture, and on it and the one before. Does not belong here: what the figures mean
//! ([`super`]).

/// Side in pixels of the blocks that are judged one by one, and of the patches of their coarser picture.
pub(super) const BLOCK: usize = 16;
const PATCH: usize = 4;
/// Differences of levels within which all is flat.
const FLAT: f32 = 0.5;

/// The figures of one picture.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Levels that 1 % and 99 % of the pixels lie below.
    pub dark: f32,
    pub bright: f32,
    /// Share of the pixels beside which nothing differs.
    pub flat: f32,
    /// Standard deviation of the noise, in levels, by the picture before.
    pub noise: f32,
    /// Share of the blocks that are, pixel by pixel, those of the picture before.
    pub repeated: f32,
}

/// Slopes of a picture, squared: of its pixels, and their means in each block. (The mean of slopes would not tell: a
/// blurred edge is as high as it was, over more pixels.)
#[derive(Clone, Debug, Default)]
pub(super) struct Energy {
    pub pixels: Vec<f32>,
    /// Of each block: of its pixels, and of its patches.
    pub fine: Vec<f32>,
    pub coarse: Vec<f32>,
    /// The mean level of each block.
    pub levels: Vec<f32>,
    patches: Vec<f32>,
}

/// Blocks in a row, and rows of them.
pub(super) fn blocks(width: usize, height: usize) -> (usize, usize) {
    (width / BLOCK, height / BLOCK)
}

/// Prewitt's slopes of the pixels of row `y`, from its second to its last but one, in levels a pixel.
pub(super) fn slopes(plane: &[f32], width: usize, y: usize) -> impl Iterator<Item = (f32, f32)> {
    let row = |y: usize| plane[y * width..][..width].windows(3);
    row(y - 1).zip(row(y)).zip(row(y + 1)).map(|((a, b), c)| prewitt(a, b, c))
}

/// Those of one pixel, which is not at the border.
pub(super) fn slope_at(plane: &[f32], width: usize, x: usize, y: usize) -> (f32, f32) {
    let row = |y: usize| &plane[y * width + x - 1..][..3];
    prewitt(row(y - 1), row(y), row(y + 1))
}

fn prewitt(above: &[f32], here: &[f32], below: &[f32]) -> (f32, f32) {
    let across = (above[2] + here[2] + below[2]) - (above[0] + here[0] + below[0]);
    let down = (below[0] + below[1] + below[2]) - (above[0] + above[1] + above[2]);
    (across * (1.0 / 6.0), down * (1.0 / 6.0))
}

impl Energy {
    /// Of the picture `plane`, whose noise has this deviation.
    pub fn take(&mut self, plane: &[f32], width: usize, height: usize, noise: f32) {
        let grid = blocks(width, height);
        // Of two slopes, each of six pixels by a sixth.
        let of_noise = noise * noise / 3.0;
        squares(plane, width, height, &mut self.pixels);
        means(&self.pixels, width, BLOCK, grid, &mut self.fine);
        self.fine.iter_mut().for_each(|energy| *energy = (*energy - of_noise).max(0.0));

        let (patches_wide, patches_high) = (width / PATCH, height / PATCH);
        means(plane, width, PATCH, (patches_wide, patches_high), &mut self.patches);
        let mut of_patches = Vec::new();
        squares(&self.patches, patches_wide, patches_high, &mut of_patches);
        means(&of_patches, patches_wide, BLOCK / PATCH, grid, &mut self.coarse);
        let of_noise = of_noise / (PATCH * PATCH) as f32;
        self.coarse.iter_mut().for_each(|energy| *energy = (*energy - of_noise).max(0.0));

        means(plane, width, BLOCK, grid, &mut self.levels);
    }
}

/// Measures `now`, a picture of at least one block with these slopes.
pub(super) fn measure(now: &[u8], before: &[u8], energy: &[f32], width: usize, height: usize) -> Measured {
    let (dark, bright) = range(now);
    let flat = energy.iter().filter(|energy| **energy < FLAT * FLAT).count() as f32 / energy.len() as f32;
    Measured {
        dark,
        bright,
        flat,
        noise: noise(now, before),
        repeated: repeated(now, before, width, blocks(width, height)),
    }
}

/// Slopes squared, pixel by pixel; 0 at the border.
fn squares(plane: &[f32], width: usize, height: usize, out: &mut Vec<f32>) {
    out.resize(width * height, 0.0);
    for y in 1..height.saturating_sub(1) {
        let out = &mut out[y * width + 1..];
        for (out, (across, down)) in out.iter_mut().zip(slopes(plane, width, y)) {
            *out = across * across + down * down;
        }
    }
}

fn range(now: &[u8]) -> (f32, f32) {
    let mut counts = [0usize; 256];
    now.iter().for_each(|&level| counts[usize::from(level)] += 1);
    let percent = now.len() / 100;
    let mut passed = 0;
    let mut is_beyond = |count: &usize| {
        passed += count;
        passed > percent
    };
    let dark = counts.iter().position(&mut is_beyond).unwrap_or(0);
    let mut passed = 0;
    let bright = counts.iter().rposition(|count| {
        passed += count;
        passed > percent
    });
    (dark as f32, bright.unwrap_or(255) as f32)
}

/// The noise by the median of the differences between two pictures, most of which are of what stands still.
fn noise(now: &[u8], before: &[u8]) -> f32 {
    let mut counts = [0u32; 256];
    let mut total = 0;
    for (&a, &b) in now.iter().zip(before).step_by(3) {
        counts[usize::from(a.abs_diff(b))] += 1;
        total += 1;
    }
    let (mut below, half) = (0, total / 2);
    for (level, &count) in counts.iter().enumerate() {
        if below + count > half {
            // Differences are whole levels; within one, as if they were evenly spread.
            let part = (half - below) as f32 / count as f32;
            let median = if level == 0 { 0.5 * part } else { level as f32 - 0.5 + part };
            return median * 1.48 / std::f32::consts::SQRT_2;
        }
        below += count;
    }
    0.0
}

fn repeated(now: &[u8], before: &[u8], width: usize, (columns, rows): (usize, usize)) -> f32 {
    let mut same = vec![true; columns];
    let mut count = 0;
    for band in 0..rows {
        same.fill(true);
        for y in band * BLOCK..(band + 1) * BLOCK {
            let row = y * width..y * width + columns * BLOCK;
            let blocks = now[row.clone()].chunks_exact(BLOCK).zip(before[row].chunks_exact(BLOCK));
            same.iter_mut().zip(blocks).for_each(|(same, (now, before))| *same &= now == before);
        }
        count += same.iter().filter(|same| **same).count();
    }
    count as f32 / (columns * rows) as f32
}

/// Means of squares of `side` pixels.
fn means(plane: &[f32], width: usize, side: usize, (columns, rows): (usize, usize), out: &mut Vec<f32>) {
    out.clear();
    out.resize(columns * rows, 0.0);
    for (out, band) in out.chunks_exact_mut(columns).zip(plane.chunks_exact(width * side)) {
        for row in band.chunks_exact(width) {
            out.iter_mut().zip(row.chunks_exact(side)).for_each(|(out, square)| *out += square.iter().sum::<f32>());
        }
    }
    out.iter_mut().for_each(|sum| *sum /= (side * side) as f32);
}

/// How far the edges of `now` lie from those of `before`, by the sums of their slopes over columns and rows: the best
/// shift of each, within a quarter of the picture.
pub(super) fn displacement(now: &[f32], before: &[f32], width: usize, height: usize) -> (i32, i32) {
    let profiles = |plane: &[f32]| {
        let (mut columns, mut rows) = (vec![0.0; width], vec![0.0; height]);
        for y in 1..height - 1 {
            for (column, (across, down)) in columns[1..].iter_mut().zip(slopes(plane, width, y)) {
                *column += across.abs();
                rows[y] += down.abs();
            }
        }
        (columns, rows)
    };
    let (now, before) = (profiles(now), profiles(before));
    (best_shift(&now.0, &before.0), best_shift(&now.1, &before.1))
}

/// By how much `now` is moved against `before`.
fn best_shift(now: &[f32], before: &[f32]) -> i32 {
    let most = now.len() / 4;
    let fit = |shift: i32| {
        let (to, from) = (shift.max(0) as usize, (-shift).max(0) as usize);
        let length = now.len() - to.max(from);
        correlation(&now[to..][..length], &before[from..][..length])
    };
    let shifts = -(most as i32)..=most as i32;
    shifts.max_by(|&a, &b| fit(a).total_cmp(&fit(b))).unwrap_or(0)
}

/// How alike two pictures are, whatever gain and offset lie between them: 1 is the same.
pub(super) fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let count = a.len().max(1) as f32;
    let (mean_a, mean_b) = (a.iter().sum::<f32>() / count, b.iter().sum::<f32>() / count);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt().max(1e-3)
}

/// The median; None of nothing.
pub(super) fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}
