//! Grey pictures of real numbers: smoothing, halving, shifting.
//!
//! Belongs here: arithmetic on whole pictures that knows nothing of motion.

/// A picture of real grey levels, row after row.
#[derive(Clone, Debug, Default)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub data: Vec<f32>,
}

impl Plane {
    pub fn new(width: usize, height: usize) -> Self {
        Plane { width, height, data: vec![0.0; width * height] }
    }

    pub fn row(&self, y: usize) -> &[f32] {
        &self.data[y * self.width..][..self.width]
    }

    /// Mean of each pixel's 3x3 neighbourhood, into `out`; `line` is room for one row.
    pub fn smooth_bytes(bytes: &[u8], line: &mut Vec<f32>, out: &mut Plane) {
        let (width, height) = (out.width, out.height);
        if width < 3 || height < 3 {
            out.data.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(byte));
            return;
        }
        line.resize(width, 0.0);
        let row = |y: usize| &bytes[y * width..][..width];
        for (y, out) in out.data.chunks_exact_mut(width).enumerate() {
            let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
            for ((sum, &a), (&b, &c)) in line.iter_mut().zip(above).zip(here.iter().zip(below)) {
                *sum = f32::from(u16::from(a) + u16::from(b) + u16::from(c));
            }
            for (out, three) in out[1..].iter_mut().zip(line.windows(3)) {
                *out = (three[0] + three[1] + three[2]) * (1.0 / 9.0);
            }
            out[0] = (2.0 * line[0] + line[1]) * (1.0 / 9.0);
            out[width - 1] = (2.0 * line[width - 1] + line[width - 2]) * (1.0 / 9.0);
        }
    }

    /// Greatest value of each pixel's 3x3 neighbourhood.
    pub fn spread_max(&self, line: &mut Vec<f32>, out: &mut Plane) {
        let (width, height) = (self.width, self.height);
        line.resize(width, 0.0);
        for y in 0..height {
            let (above, here, below) = (self.row(y.saturating_sub(1)), self.row(y), self.row((y + 1).min(height - 1)));
            for ((most, &a), (&b, &c)) in line.iter_mut().zip(above).zip(here.iter().zip(below)) {
                *most = if a > b { a } else { b };
                *most = if c > *most { c } else { *most };
            }
            let out = &mut out.data[y * width..][..width];
            out.copy_from_slice(line);
            for (out, &left) in out[1..].iter_mut().zip(line.iter()) {
                *out = if left > *out { left } else { *out };
            }
            for (out, &right) in out.iter_mut().zip(&line[1..]) {
                *out = if right > *out { right } else { *out };
            }
        }
    }

    /// Means of 4x4 pixels.
    pub fn quarter(&self, out: &mut Plane) {
        out.width = self.width / 4;
        out.height = self.height / 4;
        out.data.resize(out.width * out.height, 0.0);
        if out.width == 0 {
            return;
        }
        for (y, out) in out.data.chunks_exact_mut(out.width).enumerate() {
            out.fill(0.0);
            for row in 0..4 {
                let (fours, _) = self.row(4 * y + row).as_chunks::<4>();
                out.iter_mut().zip(fours).for_each(|(sum, four)| *sum += four.iter().sum::<f32>());
            }
            out.iter_mut().for_each(|sum| *sum /= 16.0);
        }
    }

    /// The picture moved by (`dx`, `dy`) pixels: `out(x, y) = self(x + dx, y + dy)`, between pixels in proportion.
    /// Beyond the edge the edge goes on.
    pub fn shifted(&self, dx: f32, dy: f32, out: &mut Plane) {
        let (width, height) = (self.width as i32, self.height as i32);
        let (whole_x, whole_y) = (dx.floor() as i32, dy.floor() as i32);
        let (part_x, part_y) = (dx - dx.floor(), dy - dy.floor());
        let clamp_y = |y: i32| y.clamp(0, height - 1) as usize;
        for y in 0..height {
            let (upper, lower) = (self.row(clamp_y(y + whole_y)), self.row(clamp_y(y + whole_y + 1)));
            let out = &mut out.data[(y * width) as usize..][..width as usize];
            let mix = |x: i32| {
                let x = x.clamp(0, width - 1) as usize;
                upper[x] + (lower[x] - upper[x]) * part_y
            };
            let first = (-whole_x).clamp(0, width);
            let end = (width - 1 - whole_x).clamp(first, width);
            for x in (0..first).chain(end..width) {
                let (left, right) = (mix(x + whole_x), mix(x + whole_x + 1));
                out[x as usize] = left + (right - left) * part_x;
            }
            if end > first {
                let from = (first + whole_x) as usize;
                let count = (end - first) as usize;
                let (upper, lower) = (&upper[from..][..count + 1], &lower[from..][..count + 1]);
                let out = &mut out[first as usize..][..count];
                for x in 0..count {
                    let left = upper[x] + (lower[x] - upper[x]) * part_y;
                    let right = upper[x + 1] + (lower[x + 1] - upper[x + 1]) * part_y;
                    out[x] = left + (right - left) * part_x;
                }
            }
        }
    }
}
