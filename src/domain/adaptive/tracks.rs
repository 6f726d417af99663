//! Blobs followed from look to look: which of them moves from its place, and what is kept because it did.
//!
//! Belongs here: what starts an event (a displacement) and what keeps it (being seen), and why something is neither.
//! Does not belong here: pixels ([`super::model`]) and how they make blobs ([`super::blobs`]).

use std::collections::VecDeque;

use super::super::finding::{Cause, ZoneSet};
use super::super::zone::Zone;

/// A box in cells; right and bottom lie outside.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Rect {
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    pub fn union(&self, other: &Rect) -> Rect {
        Rect {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    pub fn overlap(&self, other: &Rect) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    fn grown(&self, by: f32) -> Rect {
        Rect { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    fn moved(&self, dx: f32, dy: f32) -> Rect {
        Rect { left: self.left + dx, top: self.top + dy, right: self.right + dx, bottom: self.bottom + dy }
    }

    fn center(&self) -> (f32, f32) {
        ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0)
    }
}

/// What pixels say of what they may be of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// Mean of difference by threshold.
    pub strength: f32,
    /// The steepest edges of the difference by its height: a hard edge has a third and more, a soft light little.
    pub sharpness: f32,
    /// Correlation of the picture's edges with the background's: 1 where only the light changed.
    pub sameness: f32,
    /// Share of the difference's edges that are the picture's own; near 0 in a ghost.
    pub ownness: f32,
    /// Share of its pixels that changed within the last half second.
    pub change: f32,
    /// Share of the difference's edges that a change of light over the background's pattern explains.
    pub lit: f32,
}

/// A blob and what its pixels say.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub rect: Rect,
    pub cells: f32,
    pub center: (f32, f32),
    pub label: u16,
    pub signs: Signs,
    /// Its threshold by the least one: above 1 where things came and went before.
    pub unrest: f32,
    /// How steep the background's own edges are there, in levels a pixel.
    pub grain: f32,
}

impl Signs {
    /// Takes a look into the means, which come nearer to it by this part.
    fn follow(&mut self, look: &Signs, part: f32) {
        let mix = |mean: &mut f32, value: f32| *mean += (value - *mean) * part;
        mix(&mut self.strength, look.strength);
        mix(&mut self.sharpness, look.sharpness);
        mix(&mut self.sameness, look.sameness);
        mix(&mut self.ownness, look.ownness);
        mix(&mut self.change, look.change);
        mix(&mut self.lit, look.lit);
    }
}

#[derive(Clone, Debug)]
struct Place {
    at: f64,
    rect: Rect,
    center: (f32, f32),
}

/// Something that is followed.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub id: u32,
    pub born: f64,
    pub last_seen: f64,
    pub looks: u32,
    pub hits: u32,
    pub seen: Seen,
    pub labels: Vec<u16>,
    /// It has moved: while it is seen, the event goes on.
    pub trusted: bool,
    /// Since when none of its pixels changes.
    pub still_since: f64,
    ghost_since: Option<f64>,
    light_since: Option<f64>,
    velocity: (f32, f32),
    places: VecDeque<Place>,
    /// Means over its life, of recent looks.
    signs: Signs,
    /// Of its first look.
    pub unrest: f32,
    /// Cells that it has, or had: half of them are forgotten in two seconds. Who leaves the picture piece by piece is
    /// no smaller thing.
    size: f32,
    /// The zones that take it, each with the time since when.
    taken_since: Vec<(usize, f64)>,
    /// It stands in a zone, whether that takes it or not.
    in_zone: bool,
}

/// How strict a start is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Width and height of the picture in cells.
    pub width: f32,
    pub height: f32,
    /// Fewer cells never start an event.
    pub min_cells: f32,
    /// Pixels of 320 that a cell has.
    pub scale: f32,
    /// 0 calm .. 1 rain or snow everywhere.
    pub clutter: f32,
    /// Nothing starts now.
    pub hold: bool,
}

/// All that is followed.
#[derive(Default)]
pub(super) struct Tracks {
    pub all: Vec<Track>,
    next: u32,
    /// Blobs a second that did not live.
    pub short_lived: f32,
    /// Small things that are followed at once.
    crowd: f32,
}

/// Fewer cells are nothing, whatever a zone says.
pub(super) const LEAST_CELLS: f32 = 4.0;
/// How long places are remembered to tell a displacement.
const REMEMBERED_S: f64 = 3.0;
/// Share of the picture below which a thing is a speck.
const SPECK: f32 = 0.0015;
/// So many specks at once are weather.
const FLOCK: f32 = 9.0;
/// Some of them touch, and look like something larger.
const JOINED: f32 = 2.5;
/// What moved and then does not change any more for so long has become background.
const STILL_S: f64 = 20.0;

impl Tracks {
    /// Assigns the blobs of a look to tracks.
    pub fn follow(&mut self, now: f64, dt: f32, blobs: &[Seen], rules: &Rules, zones: &[Zone]) {
        let mut taken = vec![false; blobs.len()];
        self.all.sort_by(|a, b| b.trusted.cmp(&a.trusted).then(a.born.total_cmp(&b.born)).then(a.id.cmp(&b.id)));
        for track in &mut self.all {
            track.looks += 1;
            let lost = (now - track.last_seen) as f32;
            let expected = track.seen.rect.moved(track.velocity.0 * lost, track.velocity.1 * lost);
            let search = expected.grown(1.0).union(&track.seen.rect);
            let search = if track.trusted { search.grown(1.0) } else { search };
            // The best one first, then what may have broken off.
            let mut found: Vec<(f32, usize)> = blobs
                .iter()
                .enumerate()
                .filter(|(n, blob)| !taken[*n] && blob.rect.overlap(&search) > 0.0)
                .map(|(n, blob)| {
                    let overlap = blob.rect.overlap(&search.grown(1.0));
                    let ratio = (blob.cells / track.seen.cells.max(1.0)).min(track.seen.cells / blob.cells.max(1.0));
                    (overlap / (blob.rect.area() + track.seen.rect.area()) + 0.3 * ratio, n)
                })
                .collect();
            found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let Some(&(_, best)) = found.first() else { continue };
            // A speck that is suddenly a hundred times as big is something else.
            if !track.trusted && blobs[best].cells > 25.0 * track.seen.cells.max(2.0) {
                continue;
            }
            taken[best] = true;
            let mut seen = blobs[best].clone();
            let mut labels = vec![seen.label];
            let limit = (1.5 * track.seen.rect.area()).max(seen.rect.area()) + 20.0;
            for &(_, other) in &found[1..] {
                let blob = &blobs[other];
                let union = seen.rect.union(&blob.rect);
                if union.area() <= limit && (track.trusted || blob.cells < seen.cells) {
                    taken[other] = true;
                    labels.push(blob.label);
                    let share = blob.cells / (blob.cells + seen.cells);
                    seen.rect = union;
                    seen.cells += blob.cells;
                    seen.center.0 += (blob.center.0 - seen.center.0) * share;
                    seen.center.1 += (blob.center.1 - seen.center.1) * share;
                }
            }
            track.take(now, dt.max(lost), seen, labels);
        }
        for (blob, taken) in blobs.iter().zip(&taken) {
            if !taken {
                self.next = self.next.wrapping_add(1);
                self.all.push(Track::new(self.next, now, blob.clone()));
            }
        }
        let mut died = 0.0;
        self.all.retain(|track| {
            let patience = if track.trusted { 1.0 } else { 0.35 };
            let alive = now - track.last_seen <= patience;
            if !alive && !track.trusted && track.last_seen - track.born < 0.6 {
                died += 1.0;
            }
            alive
        });
        self.short_lived += (died / dt.max(0.02) - self.short_lived) * (dt / 2.0).min(1.0);
        let small = SPECK * rules.width * rules.height;
        let is_small = |track: &Track| track.seen.cells < small;
        let flock =
            self.all.iter().filter(|track| track.hits >= 3 && track.last_seen == now && is_small(track)).count();
        self.crowd += (flock as f32 - self.crowd) * dt.min(1.0);
        if self.is_flock() {
            // So many at once are flakes, however well each can be followed.
            let like_flakes = self.all.iter_mut().filter(|track| track.seen.cells < JOINED * small);
            like_flakes.for_each(|track| track.trusted = false);
        }
        let least = if self.is_flock() { JOINED * small } else { 0.0 };
        for track in &mut self.all {
            if track.last_seen == now {
                track.enter(now, rules, zones);
            }
            if !track.trusted
                && track.seen.cells >= least
                && !rules.hold
                && track.last_seen == now
                && track.starts(now, &track.rules(rules, zones))
            {
                track.trusted = true;
                track.still_since = now;
            }
        }
    }

    /// Are there more small things than ever walk about at once?
    pub fn is_flock(&self) -> bool {
        self.crowd > FLOCK
    }
}

impl Track {
    fn new(id: u32, now: f64, seen: Seen) -> Self {
        let place = Place { at: now, rect: seen.rect, center: seen.center };
        Track {
            id,
            born: now,
            last_seen: now,
            looks: 1,
            hits: 1,
            labels: vec![seen.label],
            trusted: false,
            still_since: now,
            ghost_since: None,
            light_since: None,
            velocity: (0.0, 0.0),
            places: VecDeque::from([place]),
            signs: seen.signs,
            unrest: seen.unrest,
            size: seen.cells,
            taken_since: Vec::new(),
            in_zone: false,
            seen,
        }
    }

    /// Where it stands: the middle of its lower edge, in shares of the picture.
    fn foot(&self, rules: &Rules) -> (f32, f32) {
        let Rect { left, right, bottom, .. } = self.seen.rect;
        ((left + right) / 2.0 / rules.width, (bottom - 0.5) / rules.height)
    }

    /// Notes which zones take it now.
    fn enter(&mut self, now: f64, rules: &Rules, zones: &[Zone]) {
        let ((x, y), share) = (self.foot(rules), self.size / (rules.width * rules.height));
        let before = std::mem::take(&mut self.taken_since);
        let since = |n: usize| before.iter().find(|(of, _)| *of == n).map_or(now, |(_, since)| *since);
        self.in_zone = false;
        for (n, zone) in zones.iter().enumerate().filter(|(_, zone)| zone.polygon.contains(x, y)) {
            self.in_zone = true;
            if zone.takes(share) {
                self.taken_since.push((n, since(n)));
            }
        }
    }

    /// The zones in which it counts: they take it, and it has been there for long enough.
    pub fn zones(&self, now: f64, zones: &[Zone]) -> ZoneSet {
        let mut counted = ZoneSet::default();
        for &(n, since) in &self.taken_since {
            if zones.get(n).is_some_and(|zone| now - since >= zone.dwell.as_secs_f64()) {
                counted.insert(n);
            }
        }
        counted
    }

    /// Does it count at all? What stands in no zone does.
    pub fn counts(&self, now: f64, zones: &[Zone]) -> bool {
        !self.in_zone || !self.zones(now, zones).is_empty()
    }

    /// The rules where it is: in a zone that takes it, what is large enough for that one is large enough.
    fn rules(&self, rules: &Rules, zones: &[Zone]) -> Rules {
        let least = self.taken_since.iter().filter_map(|(n, _)| zones.get(*n)).map(|zone| zone.min_area);
        let least = least.reduce(f32::min).map(|share| (share * rules.width * rules.height).max(LEAST_CELLS));
        Rules { min_cells: least.map_or(rules.min_cells, |least| least.min(rules.min_cells)), ..*rules }
    }

    fn take(&mut self, now: f64, dt: f32, seen: Seen, labels: Vec<u16>) {
        self.signs.follow(&seen.signs, (dt / 0.4).min(0.5));
        let (before, after) = (self.seen.rect.center(), seen.rect.center());
        let part = (dt / 0.3).min(0.5);
        self.velocity.0 += ((after.0 - before.0) / dt.max(0.02) - self.velocity.0) * part;
        self.velocity.1 += ((after.1 - before.1) / dt.max(0.02) - self.velocity.1) * part;
        // Two percent and two pixels: less is the coder at work.
        if seen.signs.change > 0.02 {
            self.still_since = now;
        }
        self.places.push_back(Place { at: now, rect: seen.rect, center: seen.center });
        while self.places.front().is_some_and(|place| now - place.at > REMEMBERED_S) {
            self.places.pop_front();
        }
        self.size = seen.cells.max(self.size * (-dt / 2.0).exp2());
        self.seen = seen;
        self.labels = labels;
        self.last_seen = now;
        self.hits += 1;
    }

    /// Is it what is left of something that went away, or a thing that does not move any more?
    pub fn absorbed(&mut self, now: f64, rules: &Rules) -> Option<Cause> {
        let still = now - self.still_since;
        let ghost = self.signs.ownness < 0.4 && still > 1.0;
        match (ghost, self.ghost_since) {
            (false, _) => self.ghost_since = None,
            (true, None) => self.ghost_since = Some(now),
            (true, Some(since)) if now - since > 1.5 => return Some(Cause::Ghost),
            _ => {}
        }
        // Nothing that stands before the background keeps the background's pattern: it was light after all.
        let share = self.seen.cells / (rules.width * rules.height);
        let light = self.is_surely_light()
            || share > 0.002
                && (self.signs.sameness > 0.97 && self.seen.signs.sameness > 0.97 && self.seen.grain > 2.0
                    || self.signs.lit > 0.45 && self.seen.signs.lit > 0.45 && self.seen.grain > 1.0
                    || share > 0.01 && self.signs.sharpness < 0.1);
        match (light, self.light_since) {
            (false, _) => self.light_since = None,
            (true, None) => self.light_since = Some(now),
            (true, Some(since)) if now - since > 0.6 => return Some(Cause::Light),
            _ => {}
        }
        (still > STILL_S).then_some(Cause::Ghost)
    }

    /// Does a change of light explain nearly all of it?
    fn is_surely_light(&self) -> bool {
        self.signs.lit.min(self.seen.signs.lit) > 0.8 && self.seen.grain > 3.0
    }

    /// Looks like light, not like a thing. Small blobs are never light.
    pub fn is_light(&self, rules: &Rules) -> bool {
        let share = self.seen.cells / (rules.width * rules.height);
        let (sharp, same) = (self.signs.sharpness.min(self.seen.signs.sharpness), self.signs.sameness);
        let faint =
            self.signs.strength.min(self.seen.signs.strength) < 2.3 && same.min(self.seen.signs.sameness) > 0.87;
        // An own edge would be between the picture's and the background's: here both have the same ones.
        let outside = |own: f32| !(0.0..=1.25).contains(&own);
        let shaded = same > 0.88 && outside(self.signs.ownness) && outside(self.seen.signs.ownness);
        let lit = self.signs.lit.max(self.seen.signs.lit) > 0.45 && self.seen.grain > 1.0;
        self.is_surely_light()
            || share > 0.001 && (lit || sharp < 0.12)
            || share > 0.002 && (faint || shaded) && self.signs.sharpness < 0.25
    }

    /// Is it in a place where things came and went before, and no stronger than they?
    pub fn is_masked(&self) -> bool {
        self.unrest > 1.35 && self.signs.strength < 2.0
    }

    /// Has it moved from its place, for long enough and far enough?
    fn starts(&self, now: f64, rules: &Rules) -> bool {
        let age = (now - self.born) as f32;
        let clutter = rules.clutter;
        let cells = self.seen.cells;
        if cells < rules.min_cells * (1.0 + clutter) || self.hits < 3 {
            return false;
        }
        if age < 0.18 + 0.4 * clutter || (self.hits as f32) < (0.6 + 0.2 * clutter) * self.looks as f32 {
            return false;
        }
        if self.signs.strength < 1.25 || self.signs.change < 0.15 || self.is_light(rules) {
            return false;
        }
        // Where leaves move and figures change, more is asked for.
        if self.is_masked() {
            return false;
        }
        // A speck has to be followed for longer.
        let longer = 0.38 + 0.5 * (5.0 * clutter).min(1.0);
        if age < longer && cells < SPECK * rules.width * rules.height {
            return false;
        }
        let size = self.seen.rect.area().sqrt();
        // In cells.
        let need = (1.5 / rules.scale).max(0.15 * size).min(12.0 / rules.scale) * (1.0 + clutter);
        let mut path = 0.0;
        let mut after = self.seen.center;
        for place in self.places.iter().rev().skip(1) {
            path += distance(place.center, after);
            after = place.center;
            let lasted = (now - place.at) as f32;
            if lasted < 0.18 {
                continue;
            }
            let (shift, growth) = displacement(&place.rect, &self.seen.rect, rules);
            let straight = distance(place.center, self.seen.center) / path.max(0.01);
            if straight < 0.5 + 0.2 * clutter {
                continue;
            }
            // One side alone: out from behind something, or a light that grows: more is asked for.
            let grown = growth >= (2.0 * need).max(0.35 * size) && self.signs.sharpness > 0.15 && lasted > 0.25;
            if shift >= need || grown {
                return true;
            }
        }
        false
    }
}

fn distance(a: (f32, f32), b: (f32, f32)) -> f32 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// How far a box has moved as a whole, and how far its freest side has moved alone. A side at the picture's edge
/// stays there while the thing comes in.
fn displacement(before: &Rect, after: &Rect, rules: &Rules) -> (f32, f32) {
    let axis = |low: (f32, f32), high: (f32, f32), size: f32| {
        let (a, b) = (low.1 - low.0, high.1 - high.0);
        let at_low = low.0.min(low.1) <= 0.5;
        let at_high = high.0.max(high.1) >= size - 0.5;
        let moved = match (at_low, at_high) {
            (true, true) => 0.0,
            (true, false) => b.abs(),
            (false, true) => a.abs(),
            _ if a * b > 0.0 => a.abs().min(b.abs()),
            _ => 0.0,
        };
        (moved, a.abs().max(b.abs()))
    };
    let x = axis((before.left, after.left), (before.right, after.right), rules.width);
    let y = axis((before.top, after.top), (before.bottom, after.bottom), rules.height);
    (x.0.hypot(y.0), x.1.max(y.1))
}
