//! The background of a picture and its deviation, pixel by pixel, and what differs from them.
//!
//! Belongs here: what is learned of each pixel and how fast, thresholds, the noise. Does not belong here: what the
//! differences mean ([`super::tracks`]), the camera's movement ([`super::align`]) and the light ([`super::light`]).

use std::ops::Range;

use super::blobs::{Blob, Labels};
use super::light::Exposure;
use super::memory::Memory;
use super::plane::Plane;
use super::tracks::{Rect, Seen, Signs};

/// Whose a cell is: it says how fast its background is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Owner {
    #[default]
    Background,
    /// A blob that keeps coming and going, or has been in its place for long.
    Candidate,
    /// A blob that may yet turn out to move.
    Young,
    /// Only the light changed.
    Light,
    /// What has moved: behind it the background waits unchanged.
    Trusted,
}

/// How fast is learned from pixels.
struct Lesson {
    /// Rates of the background, and of the deviation where a pixel is background and where it differs.
    background: f32,
    same: f32,
    differs: f32,
    /// How much of a difference is remembered.
    share: f32,
}

/// Thresholds in levels: never less, never more from noise alone.
const LEAST: f32 = 5.0;
const MOST: f32 = 40.0;
/// A threshold by the deviation; by the noise's standard deviation.
const BY_DEVIATION: f32 = 4.0;
const BY_NOISE: f32 = 4.5;
/// Of Gaussian noise, the standard deviation by the median of absolute values.
const SIGMA: f32 = 1.48;
/// After so many looks a picture counts by its time alone.
const KNOWN_LOOKS: u32 = 1000;
/// Largest deviation that is learned from what comes and goes.
const COMES_AND_GOES: f32 = 40.0;

/// What is known of the picture.
#[derive(Default)]
pub(super) struct Model {
    pub width: usize,
    pub height: usize,
    /// The picture, smoothed.
    pub now: Plane,
    moved: Plane,
    pub background: Plane,
    /// Mean absolute difference of each pixel from its background.
    deviation: Plane,
    spread: Plane,
    /// The picture, averaged over the last half second.
    recent: Plane,
    pub difference: Plane,
    pub threshold: Plane,
    /// 1 where the pixel is background, 0 where it differs.
    pub same: Vec<f32>,
    /// How far a pixel that differs did so at the last look; 0 where it did not.
    was: Vec<u8>,
    line: Vec<f32>,
    /// Median absolute difference where nothing is, in levels.
    pub noise: f32,
    /// The least threshold there is now.
    least: f32,
    looks: u32,
    /// False where a mask covers a pixel: it never differs. None: there is no mask.
    unmasked: Option<Vec<bool>>,
    /// Pixels that no mask covers.
    pub pixels: usize,
    /// By how much each threshold is larger than it would be; None: by nothing.
    pub threshold_factors: Option<Vec<f32>>,
}

impl Model {
    pub fn new(bytes: &[u8], width: usize, height: usize) -> Self {
        let plane = || Plane::new(width, height);
        let mut model = Model {
            width,
            height,
            now: plane(),
            moved: plane(),
            background: plane(),
            deviation: plane(),
            spread: plane(),
            recent: plane(),
            difference: plane(),
            threshold: plane(),
            same: vec![0.0; width * height],
            was: vec![0; width * height],
            noise: 1.0,
            least: LEAST,
            looks: 1,
            pixels: width * height,
            ..Model::default()
        };
        model.take(bytes);
        model.deviation.data.fill(1.5);
        model.adopt();
        model
    }

    /// What is worth remembering.
    pub fn memory(&self) -> Memory {
        let (background, deviation) = (self.background.data.clone(), self.deviation.data.clone());
        Memory { width: self.width, height: self.height, background, deviation, noise: self.noise }
    }

    /// Takes what is remembered for what is known; it is of this size.
    pub fn recall(&mut self, memory: &Memory) {
        self.background.data.copy_from_slice(&memory.background);
        self.recent.data.copy_from_slice(&memory.background);
        self.deviation.data.copy_from_slice(&memory.deviation);
        self.noise = memory.noise;
        // No single picture may change much of it any more.
        self.looks = KNOWN_LOOKS;
    }

    /// Cells of 2x2 pixels: columns and rows.
    pub fn cells(&self) -> (usize, usize) {
        (self.width / 2, self.height / 2)
    }

    /// Leaves out what is masked; see [`crate::domain::zone::unmasked`].
    pub fn mask(&mut self, unmasked: Option<Vec<bool>>) {
        if let Some(unmasked) = &unmasked {
            self.pixels = unmasked.iter().filter(|open| **open).count();
        }
        self.unmasked = unmasked;
    }

    /// The next picture.
    pub fn take(&mut self, bytes: &[u8]) {
        Plane::smooth_bytes(bytes, &mut self.line, &mut self.now);
        self.looks = self.looks.saturating_add(1);
    }

    /// Moves the picture back by what the camera moved.
    pub fn undo_shift(&mut self, (dx, dy): (f32, f32)) {
        if (dx, dy) != (0.0, 0.0) {
            self.now.shifted(dx, dy, &mut self.moved);
            std::mem::swap(&mut self.now, &mut self.moved);
        }
    }

    /// Everything known is seen in another light now.
    pub fn expose(&mut self, exposure: Exposure) {
        if exposure == Exposure::SAME {
            return;
        }
        let Exposure { gain, offset } = exposure;
        for value in self.background.data.iter_mut().chain(self.recent.data.iter_mut()) {
            *value = *value * gain + offset;
        }
        if (gain - 1.0).abs() > 0.02 {
            let factor = gain.max(0.3);
            self.deviation.data.iter_mut().for_each(|value| *value *= factor);
        }
    }

    /// Takes the picture for the background.
    pub fn adopt(&mut self) {
        self.background.data.copy_from_slice(&self.now.data);
        self.recent.data.copy_from_slice(&self.now.data);
        self.deviation.data.iter_mut().for_each(|value| *value = value.clamp(2.0, 4.0));
        self.was.fill(0);
    }

    /// Takes the picture for the background where the labels are these, and right beside.
    pub fn adopt_blobs(&mut self, labels: &Labels, which: &[u16]) {
        for (cell, label) in labels.cells.iter().enumerate() {
            if !which.contains(label) {
                continue;
            }
            let (x, y) = (cell % labels.width, cell / labels.width);
            for row in (2 * y).saturating_sub(2)..(2 * y + 4).min(self.height) {
                let from = row * self.width + (2 * x).saturating_sub(2);
                let to = row * self.width + (2 * x + 4).min(self.width);
                self.background.data[from..to].copy_from_slice(&self.now.data[from..to]);
            }
        }
    }

    /// Compares picture and background. `shake` is how much the camera moves from look to look, in pixels. Returns
    /// how many pixels differ.
    pub fn compare(&mut self, owners: &[Owner], shake: f32, dt: f32) -> usize {
        for ((e, &c), &b) in self.difference.data.iter_mut().zip(&self.now.data).zip(&self.background.data) {
            *e = c - b;
        }
        self.measure_noise(owners, dt);
        self.deviation.spread_max(&mut self.line, &mut self.spread);
        // A moving camera leaves fractions of a pixel.
        self.least = (BY_NOISE * SIGMA * self.noise).clamp(LEAST, MOST) + (2.0 * shake).min(6.0);
        let least = self.least;
        for (t, &d) in self.threshold.data.iter_mut().zip(&self.spread.data) {
            let own = BY_DEVIATION * d;
            *t = if own > least { own } else { least };
        }
        if let Some(factors) = &self.threshold_factors {
            self.threshold.data.iter_mut().zip(factors).for_each(|(t, factor)| *t *= factor);
        }
        for ((same, &e), &t) in self.same.iter_mut().zip(&self.difference.data).zip(&self.threshold.data) {
            *same = if e.abs() > t { 0.0 } else { 1.0 };
        }
        if let Some(unmasked) = &self.unmasked {
            self.same.iter_mut().zip(unmasked).filter(|(_, open)| !**open).for_each(|(same, _)| *same = 1.0);
        }
        self.same.iter().filter(|same| **same == 0.0).count()
    }

    /// Cells of which half the pixels and more differ.
    pub fn mark_cells(&self, mask: &mut [bool], margin: usize) {
        let (columns, rows) = self.cells();
        for (y, mask) in mask.chunks_exact_mut(columns).enumerate() {
            let upper = &self.same[2 * y * self.width..][..2 * columns];
            let lower = &self.same[(2 * y + 1) * self.width..][..2 * columns];
            for (mask, (upper, lower)) in mask.iter_mut().zip(upper.chunks_exact(2).zip(lower.chunks_exact(2))) {
                *mask = upper[0] + upper[1] + lower[0] + lower[1] <= 2.0;
            }
            // Where the picture came in from beyond its edge there is nothing to compare.
            if y < margin || y + margin >= rows {
                mask.fill(false);
            }
            mask[..margin.min(columns)].fill(false);
            mask[columns.saturating_sub(margin)..].fill(false);
        }
    }

    /// The median of the differences where nothing is; it rises at once and falls slowly.
    fn measure_noise(&mut self, owners: &[Owner], dt: f32) {
        const STEPS: f32 = 8.0;
        let (columns, rows) = self.cells();
        let mut counts = [0u32; 256];
        let mut total = 0;
        for y in (1..2 * rows).step_by(3) {
            for x in (1..2 * columns).step_by(3) {
                if owners[(y / 2) * columns + x / 2] != Owner::Trusted {
                    let e = self.difference.data[y * self.width + x].abs();
                    counts[((e * STEPS) as usize).min(255)] += 1;
                    total += 1;
                }
            }
        }
        let mut below = 0;
        let median = counts.iter().position(|count| {
            below += count;
            below * 2 >= total
        });
        let median = median.unwrap_or(0) as f32 / STEPS;
        let seconds = if median > self.noise { 1.0 } else { 3.0 };
        self.noise += (median - self.noise) * (dt / seconds).min(1.0);
    }

    /// Learns from the picture. All rates are by seconds.
    pub fn learn(&mut self, owners: &[Owner], dt: f32) {
        let (width, (columns, rows)) = (self.width, self.cells());
        // The first pictures count as much as they are.
        let young = 1.0 / self.looks as f32;
        let rate = |seconds: f32| (dt / seconds).min(1.0);
        let (quiet, outlier, patient) = (rate(10.0).max(young), rate(12.0).max(young), rate(100.0).max(young));
        let background = |owner: Owner| match owner {
            Owner::Background => rate(8.0).max(young),
            Owner::Candidate => rate(5.0).max(young),
            Owner::Young => rate(40.0).max(young),
            Owner::Light => rate(0.6),
            Owner::Trusted => 0.0,
        };
        for y in 0..self.height {
            let owners = &owners[(y / 2).min(rows - 1) * columns..][..columns];
            let mut from = 0;
            for run in owners.chunk_by(|one, next| one == next) {
                let (owner, cells) = (run[0], from..from + run.len());
                from = cells.end;
                // The last cell has what is left of an uneven row.
                let end = if from == columns { width } else { 2 * from };
                let pixels = y * width + 2 * cells.start..y * width + end;
                let lesson = Lesson {
                    background: background(owner),
                    same: quiet,
                    differs: if owner == Owner::Young { patient } else { outlier },
                    share: if owner == Owner::Young { 0.1 } else { 1.0 },
                };
                match owner {
                    Owner::Trusted => self.was[pixels].fill(0),
                    _ => self.learn_run(pixels, &lesson),
                }
            }
        }
        let recent = rate(0.4);
        for (r, &c) in self.recent.data.iter_mut().zip(&self.now.data) {
            *r += (c - *r) * recent;
        }
    }

    /// The same of pixels in a row that are one owner's. Choices and no branches: so it is done many pixels at a time.
    fn learn_run(&mut self, pixels: Range<usize>, lesson: &Lesson) {
        let known = self.background.data[pixels.clone()].iter_mut().zip(&mut self.deviation.data[pixels.clone()]);
        let found = self.difference.data[pixels.clone()].iter().zip(&self.same[pixels.clone()]);
        for (((b, d), (&e, &same)), was) in known.zip(found).zip(&mut self.was[pixels]) {
            let (height, before, differs) = (e.abs(), f32::from(*was), same == 0.0);
            let (level, rate) = if differs { (height.min(60.0), lesson.differs) } else { (height, lesson.same) };
            let learned = *d + (level - *d) * rate;
            // It came and went: next time that is no news.
            let came_and_went = !differs && before > 0.0;
            *b += e * lesson.background;
            *d = if came_and_went { (learned + 0.15 * before).min(COMES_AND_GOES) } else { learned };
            *was = if differs { (lesson.share * height).clamp(1.0, 255.0) as u8 } else { 0 };
        }
    }

    /// What the pixels of a blob, and those right beside it, say.
    pub fn measure(&self, blob: &Blob, labels: &Labels) -> Seen {
        let (width, height) = (self.width, self.height);
        let (e, now, back) = (&self.difference.data, &self.now.data, &self.background.data);
        let within = |x: usize, y: usize| {
            x / 2 < labels.width && y / 2 < labels.height && labels.cells[(y / 2) * labels.width + x / 2] == blob.label
        };
        // By the background's own level: what the light does to a pattern has no edges then.
        let ratio = |n: usize| e[n] / (back[n].max(0.0) + 16.0);
        let changes = 2.5 + 3.0 * self.noise;
        let top = (2 * blob.top).saturating_sub(2).max(1);
        let bottom = (2 * blob.bottom + 2).min(height - 1);
        let left = (2 * blob.left).saturating_sub(2).max(1);
        let right = (2 * blob.right + 2).min(width - 1);
        // Large blobs are looked at on a coarser grid.
        let step = if (right.saturating_sub(left)) * (bottom.saturating_sub(top)) > 8000 { 2 } else { 1 };
        let mut sums = Sums::default();
        for y in (top..bottom).step_by(step) {
            for x in (left..right).step_by(step) {
                let inside = within(x, y);
                let beside = || {
                    within(x.saturating_sub(2), y)
                        || within(x + 2, y)
                        || within(x, y.saturating_sub(2))
                        || within(x, y + 2)
                };
                if !inside && !beside() {
                    continue;
                }
                let n = y * width + x;
                if inside {
                    sums.inside += 1.0;
                    sums.strength += e[n].abs() / self.threshold.data[n];
                    sums.threshold += self.threshold.data[n];
                    sums.ratio += ratio(n).abs();
                    sums.changed += f32::from(u8::from((now[n] - self.recent.data[n]).abs() > changes));
                }
                let slope = |p: &[f32]| ((p[n + 1] - p[n - 1]) * 0.5, (p[n + width] - p[n - width]) * 0.5);
                let dot = |a: (f32, f32), b: (f32, f32)| a.0 * b.0 + a.1 * b.1;
                let (of_e, of_now, of_back) = (slope(e), slope(now), slope(back));
                let of_ratio = ((ratio(n + 1) - ratio(n - 1)) * 0.5, (ratio(n + width) - ratio(n - width)) * 0.5);
                let steep = dot(of_ratio, of_ratio);
                sums.pixels += 1.0;
                sums.slopes += steep.sqrt();
                sums.steep += steep;
                sums.edges += dot(of_e, of_e);
                sums.now += dot(of_now, of_now);
                sums.back += dot(of_back, of_back);
                sums.both += dot(of_now, of_back);
                sums.own += dot(of_e, of_now);
            }
        }
        let rect =
            Rect { left: blob.left as f32, top: blob.top as f32, right: blob.right as f32, bottom: blob.bottom as f32 };
        let cells = blob.cells as f32;
        let (center, label) = ((blob.sum_x / cells, blob.sum_y / cells), blob.label);
        Seen { rect, cells, center, label, ..sums.seen(self.least) }
    }
}

/// Sums over the pixels of a blob.
#[derive(Default)]
struct Sums {
    inside: f32,
    strength: f32,
    threshold: f32,
    ratio: f32,
    changed: f32,
    pixels: f32,
    slopes: f32,
    steep: f32,
    /// Squares of the edges of the difference, the picture and the background, and products of two of them.
    edges: f32,
    now: f32,
    back: f32,
    both: f32,
    own: f32,
}

impl Sums {
    fn seen(&self, least: f32) -> Seen {
        let inside = self.inside.max(1.0);
        // How the difference's edges go with the background's: less than -0.8 and there is another surface.
        let with = self.both - self.back;
        let light = with > -0.8 * self.back.max(0.01);
        Seen {
            signs: Signs {
                strength: self.strength / inside,
                sharpness: self.steep / (self.slopes * self.ratio / inside).max(1e-6),
                sameness: self.both / (self.now * self.back).sqrt().max(0.01),
                ownness: self.own / self.edges.max(0.01),
                change: self.changed / inside,
                lit: if light { with * with / (self.edges * self.back).max(0.01) } else { 0.0 },
            },
            unrest: self.threshold / inside / least,
            grain: (self.back / self.pixels.max(1.0)).sqrt(),
            ..Seen::default()
        }
    }
}
