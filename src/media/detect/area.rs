//! Scaling grey pictures down by averaging areas: what OpenCV's `INTER_AREA` does, several times as fast.
//!
//! OpenCV has vector code for factors that are whole numbers only; for all others (1920 to 500 pixels) its scaling alone
//! costs more than all other stages together. Here rows are summed first, which every processor does many pixels at a
//! time. The sums are taken in another order than OpenCV's, so a value may round the other way: at most one level.

/// Larger factors would overflow the sums, and are left to OpenCV.
const MAX_FACTOR: usize = 128;

/// Scales pictures down from one size to another one.
pub struct AreaScaler {
    source: (usize, usize),
    target: (usize, usize),
    rows: Vec<Cell>,
    taps: Taps,
    /// One row of the target with the columns of the source.
    line: Vec<f32>,
}

/// The source rows that one target row covers.
struct Cell {
    /// Rows that are covered whole.
    first: usize,
    end: usize,
    /// The part that is covered of the row before `first`, and of the row at `end`.
    before: f32,
    after: f32,
}

/// For each target column the source columns it covers, by weight; as many for all.
struct Taps {
    each: usize,
    first: Vec<usize>,
    weights: Vec<f32>,
}

impl AreaScaler {
    /// Sizes are (width, height). None where it is no scaling down, one too strong for these sums, or the halving for
    /// which OpenCV has code of its own (that rounds ties up).
    pub fn new(source: (usize, usize), target: (usize, usize)) -> Option<Self> {
        let fits = |source: usize, target: usize| target > 0 && source >= target && source <= target * MAX_FACTOR;
        let halved = source == (2 * target.0, 2 * target.1);
        if !fits(source.0, target.0) || !fits(source.1, target.1) || source == target || halved {
            return None;
        }
        let rows = cells(source.1, target.1);
        let columns = cells(source.0, target.0);
        let share = (target.0 as f64 / source.0 as f64 * (target.1 as f64 / source.1 as f64)) as f32;
        Some(AreaScaler { source, target, rows, taps: Taps::new(&columns, source.0, share), line: vec![0.0; source.0] })
    }

    /// `plane` has rows `stride` bytes apart; `scaled` has none between its rows. False where they are too short.
    #[must_use]
    pub fn scale(&mut self, plane: &[u8], stride: usize, scaled: &mut [u8]) -> bool {
        let (width, height) = self.source;
        if stride < width
            || plane.len() < stride * (height - 1) + width
            || scaled.len() != self.target.0 * self.target.1
        {
            return false;
        }
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, which is all that this function asks for beyond the portable one.
            unsafe { self.scale_avx2(plane, stride, scaled) };
            return true;
        }
        self.scale_portable(plane, stride, scaled);
        true
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn scale_avx2(&mut self, plane: &[u8], stride: usize, scaled: &mut [u8]) {
        self.scale_portable(plane, stride, scaled);
    }

    #[inline(always)]
    fn scale_portable(&mut self, plane: &[u8], stride: usize, scaled: &mut [u8]) {
        let row = |y: usize| &plane[y * stride..][..self.source.0];
        for (cell, target) in self.rows.iter().zip(scaled.chunks_exact_mut(self.target.0)) {
            let before = (row(cell.first.saturating_sub(1)), cell.before);
            let after = (row(cell.end.min(self.source.1 - 1)), cell.after);
            let line = &mut self.line[..];
            match cell.end - cell.first {
                0 => sum::<0>(line, before, after, []),
                1 => sum(line, before, after, [row(cell.first)]),
                2 => sum(line, before, after, [row(cell.first), row(cell.first + 1)]),
                3 => sum(line, before, after, [row(cell.first), row(cell.first + 1), row(cell.first + 2)]),
                _ => {
                    let four = [0, 1, 2, 3].map(|n| row(cell.first + n));
                    sum(line, before, after, four);
                    for y in cell.first + 4..cell.end {
                        line.iter_mut().zip(row(y)).for_each(|(sum, &value)| *sum += f32::from(value));
                    }
                }
            }
            self.taps.apply(line, target);
        }
    }
}

/// Puts the sum of `whole` rows and of shares of the rows before and after them into `line`.
#[inline(always)]
fn sum<const N: usize>(line: &mut [f32], before: (&[u8], f32), after: (&[u8], f32), whole: [&[u8]; N]) {
    let width = line.len();
    let (first, last) = (&before.0[..width], &after.0[..width]);
    let whole = whole.map(|row| &row[..width]);
    for x in 0..width {
        // At most four rows: no overflow, and no check for it that would keep this from being done many at a time.
        let between = whole.iter().fold(0u16, |sum, row| sum.wrapping_add(u16::from(row[x])));
        line[x] = f32::from(between) + f32::from(first[x]) * before.1 + f32::from(last[x]) * after.1;
    }
}

impl Taps {
    /// `share` is what one source pixel counts in a target pixel.
    fn new(columns: &[Cell], source: usize, share: f32) -> Self {
        let each = columns.iter().map(|cell| cell.end - cell.first + 2).max().unwrap_or(2).min(source);
        let mut taps = Taps { each, first: Vec::new(), weights: Vec::new() };
        for cell in columns {
            let first = cell.first.saturating_sub(1).min(source - each);
            taps.first.push(first);
            taps.weights.extend((first..first + each).map(|x| match x {
                x if x + 1 == cell.first => cell.before * share,
                x if (cell.first..cell.end).contains(&x) => share,
                x if x == cell.end => cell.after * share,
                _ => 0.0,
            }));
        }
        taps
    }

    #[inline(always)]
    fn apply(&self, line: &[f32], target: &mut [u8]) {
        match self.each {
            3 => self.apply_each::<3>(line, target),
            4 => self.apply_each::<4>(line, target),
            5 => self.apply_each::<5>(line, target),
            6 => self.apply_each::<6>(line, target),
            each => {
                for ((value, &first), weights) in target.iter_mut().zip(&self.first).zip(self.weights.chunks(each)) {
                    *value = round(line[first..first + each].iter().zip(weights).map(|(v, weight)| v * weight).sum());
                }
            }
        }
    }

    #[inline(always)]
    fn apply_each<const N: usize>(&self, line: &[f32], target: &mut [u8]) {
        let (weights, _) = self.weights.as_chunks::<N>();
        for ((value, &first), weights) in target.iter_mut().zip(&self.first).zip(weights) {
            let line = &line[first..first + N];
            let mut sum = 0.0;
            for n in 0..N {
                sum += line[n] * weights[n];
            }
            *value = round(sum);
        }
    }
}

/// The nearest level, of two that are as near the even one: so OpenCV rounds.
#[inline(always)]
fn round(value: f32) -> u8 {
    // Above 2^23 a float has no place for a fraction.
    const NO_FRACTION: f32 = 8_388_608.0;
    (value.min(255.0) + NO_FRACTION).to_bits() as u8
}

fn cells(source: usize, target: usize) -> Vec<Cell> {
    // In units of 1/target of a source pixel all is whole.
    (0..target)
        .map(|n| {
            let (from, to) = (n * source, (n + 1) * source);
            let (first, end) = (from.div_ceil(target), to / target);
            let part = |units: usize| units as f32 / target as f32;
            match first <= end {
                true => Cell { first, end, before: part(first * target - from), after: part(to - end * target) },
                // Cannot be: a cell is at least one source pixel wide. It would lie within one pixel.
                false => Cell { first: end, end, before: 0.0, after: part(to - from) },
            }
        })
        .collect()
}
