//! Connected parts of a mask.
//!
//! Belongs here: which cells belong together. Does not belong here: what a blob is ([`super::tracks`]).

/// A connected part of the mask, in cells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blob {
    /// Left, top, right, bottom; right and bottom lie outside.
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
    pub cells: usize,
    pub sum_x: f32,
    pub sum_y: f32,
    /// Its number in the label picture, from 1.
    pub label: u16,
}

/// Finds connected parts (8 neighbours) of masks.
#[derive(Default)]
pub(super) struct Labels {
    pub width: usize,
    pub height: usize,
    /// 0, or the blob's number.
    pub cells: Vec<u16>,
    parents: Vec<u16>,
}

impl Labels {
    /// The mask's connected parts, in the order of their first cells.
    pub fn find(&mut self, mask: &[bool], width: usize, height: usize) -> Vec<Blob> {
        self.width = width;
        self.height = height;
        self.cells.clear();
        self.cells.resize(width * height, 0);
        self.parents.clear();
        self.parents.push(0);
        for y in 0..height {
            for x in 0..width {
                let at = y * width + x;
                if !mask[at] {
                    continue;
                }
                let mut label = 0;
                let mut join = |labels: &mut Vec<u16>, other: u16| {
                    if other == 0 {
                        return;
                    }
                    let other = root(labels, other);
                    if label == 0 {
                        label = other;
                    } else if label != other {
                        let (low, high) = (label.min(other), label.max(other));
                        labels[high as usize] = low;
                        label = low;
                    }
                };
                if x > 0 {
                    join(&mut self.parents, self.cells[at - 1]);
                }
                if y > 0 {
                    let above = at - width;
                    join(&mut self.parents, self.cells[above]);
                    if x > 0 {
                        join(&mut self.parents, self.cells[above - 1]);
                    }
                    if x + 1 < width {
                        join(&mut self.parents, self.cells[above + 1]);
                    }
                }
                if label == 0 {
                    if self.parents.len() == usize::from(u16::MAX) {
                        continue;
                    }
                    label = self.parents.len() as u16;
                    self.parents.push(label);
                }
                self.cells[at] = label;
            }
        }
        let mut numbers = vec![0u16; self.parents.len()];
        let mut blobs: Vec<Blob> = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let at = y * width + x;
                if self.cells[at] == 0 {
                    continue;
                }
                let root = root(&mut self.parents, self.cells[at]) as usize;
                if numbers[root] == 0 {
                    blobs.push(Blob {
                        left: x,
                        top: y,
                        right: x + 1,
                        bottom: y + 1,
                        cells: 0,
                        sum_x: 0.0,
                        sum_y: 0.0,
                        label: blobs.len() as u16 + 1,
                    });
                    numbers[root] = blobs.len() as u16;
                }
                let label = numbers[root];
                self.cells[at] = label;
                let blob = &mut blobs[label as usize - 1];
                blob.left = blob.left.min(x);
                blob.right = blob.right.max(x + 1);
                blob.bottom = blob.bottom.max(y + 1);
                blob.cells += 1;
                blob.sum_x += x as f32 + 0.5;
                blob.sum_y += y as f32 + 0.5;
            }
        }
        blobs
    }
}

fn root(parents: &mut [u16], mut label: u16) -> u16 {
    while parents[label as usize] != label {
        let up = parents[parents[label as usize] as usize];
        parents[label as usize] = up;
        label = up;
    }
    label
}

/// Fills gaps of one cell: a cell between two that are set, left and right or above and below.
pub(super) fn close(mask: &mut [bool], width: usize, height: usize) {
    let before = mask.to_vec();
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let at = y * width + x;
            if before[at - 1] && before[at + 1] || before[at - width] && before[at + width] {
                mask[at] = true;
            }
        }
    }
}
