//! The adaptive motion detector: a background that knows its own deviation, blobs that differ from it, and tracks of
//! what moves from its place.
//!
//! Belongs here: one look, from a grey picture to a verdict with its cause; arithmetic only, the same for the same
//! pictures and times. Does not belong here: decoding and scaling (`media`), when an event ends
//! ([`super::motion`]). `docs/detection.md` says why each step is there, and where it comes from.

mod align;
mod blobs;
mod light;
mod memory;
mod model;
mod plane;
mod tracks;

use self::align::Aligner;
use self::blobs::{Blob, Labels};
use self::light::{Drift, Exposure};
pub use self::memory::Memory;
use self::model::{Model, Owner};
use self::tracks::{Rules, Seen, Tracks};
use super::config::OnSceneChange;
use super::finding::{Cause, Finding, Region, ZoneSet};
use super::zone::{self, Polygon, Zone};

/// Side in pixels below which a picture holds nothing to follow.
const SMALLEST: usize = 16;
/// Blobs that are followed in one look; where there are more, the largest.
const MOST_BLOBS: usize = 300;
/// Share of the picture from which a blob may start an event.
pub const LEAST_SHARE: f32 = 0.0004;
/// Share of the picture from which a change is another scene.
const SCENE_SHARE: f32 = 0.5;
/// Nothing starts before so many seconds of a stream are known.
const LEARN_S: f64 = 2.5;
/// Nothing starts for so long after a switched light or another scene.
const SETTLE_S: f64 = 1.5;

/// A scene is worth remembering when it is known for so long.
const KNOWN_S: f64 = 4.0;
/// A scene that is remembered begins with so many seconds: it is not new, and not all that may happen to it has.
const RECALLED_S: f64 = 1.5;
/// A picture of which a larger share differs is not the scene that is remembered; nor one that has moved by more pixels
/// of 320.
const FIT_SHARE: f32 = 0.25;
const FIT_SHIFT: f32 = 3.0;

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub moving: bool,
    /// Share of the picture, as far as it is not masked, that differs from its background, 0..=1.
    pub changed: f32,
    pub finding: Finding,
}

/// What of the configuration it goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Looks a second, at most.
    pub fps: u32,
    pub on_scene_change: OnSceneChange,
    pub masks: Vec<Polygon>,
    pub zones: Vec<Zone>,
}

/// Which pictures are looked at: a grid in the stream's time, so that looks keep their rate whatever the pictures' is.
/// It goes by the times alone, so whoever has packets can tell which of their pictures nobody will look at.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    step_us: i64,
    last_us: i64,
    due_us: i64,
}

impl Grid {
    /// Of so many looks a second at most; the picture at `first_us` is the first one.
    pub fn new(fps: u32, first_us: i64) -> Self {
        let step_us = 1_000_000 / i64::from(fps.max(1));
        Grid { step_us, last_us: first_us, due_us: first_us.saturating_add(step_us) }
    }

    /// Is there a look due at `pts_us`?
    pub fn is_due(&self, pts_us: i64) -> bool {
        // A picture that comes a little early is taken: times are rounded on their way. One that jumps back is, too.
        const EARLY_US: i64 = 2_000;
        const BACK_US: i64 = 1_000_000;
        pts_us >= self.due_us.saturating_sub(EARLY_US) || pts_us <= self.last_us.saturating_sub(BACK_US)
    }

    /// Goes on to a picture that is looked at; returns the microseconds since the last look.
    pub fn advance(&mut self, pts_us: i64) -> i64 {
        let behind_us = pts_us.saturating_sub(self.due_us).saturating_abs();
        self.due_us = if behind_us > self.step_us { pts_us } else { self.due_us }.saturating_add(self.step_us);
        let since_us = pts_us.saturating_sub(self.last_us);
        self.last_us = pts_us;
        since_us
    }
}

/// Watches one stream of grey pictures.
pub struct Adaptive {
    settings: Settings,
    state: Option<State>,
    /// What the next picture is held against that begins anew.
    remembered: Option<Memory>,
    verdict: Verdict,
}

/// Of pictures of one size.
struct State {
    model: Model,
    aligner: Aligner,
    drift: Drift,
    labels: Labels,
    tracks: Tracks,
    owners: Vec<Owner>,
    /// Cells that differ at this look and at the two before.
    marked: [Vec<bool>; 3],
    grid: Grid,
    /// Seconds of the stream that were looked at, all steps forward added up.
    now: f64,
    shift: (f32, f32),
    /// How far the shift goes from look to look, in pixels.
    shake: f32,
    /// No start before.
    hold_until: f64,
    relearn_until: f64,
    /// An event that another scene interrupted goes on until then.
    latch_until: f64,
    is_recalled: bool,
}

impl Adaptive {
    pub fn new(settings: Settings) -> Self {
        Adaptive { settings, state: None, remembered: None, verdict: Verdict::default() }
    }

    /// Begins anew with the next picture.
    pub fn forget(&mut self) {
        self.state = None;
        self.verdict = Verdict::default();
    }

    /// What is known of the scene, once it is known well.
    pub fn memory(&self) -> Option<Memory> {
        let state = self.state.as_ref()?;
        let is_known = state.now >= KNOWN_S && state.now >= state.hold_until.max(state.relearn_until);
        is_known.then(|| state.model.memory())
    }

    /// The next picture that begins anew goes on with this scene, if it shows it. If it does not, or has another size,
    /// nothing is lost.
    pub fn recall(&mut self, memory: Memory) {
        self.remembered = Some(memory);
    }

    /// Does it go on with a scene that it remembered? Then nothing has to settle.
    pub fn has_recalled(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_recalled)
    }

    /// Is there a look due at `pts_us`? If not, what was found last still holds.
    pub fn is_due(&self, pts_us: i64) -> bool {
        self.state.as_ref().is_none_or(|state| state.grid.is_due(pts_us))
    }

    /// What was found last.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Looks at a picture of `width` times `height` bytes; others are never motion. Times are pts in microseconds.
    pub fn look(&mut self, bytes: &[u8], width: usize, height: usize, pts_us: i64) -> &Verdict {
        if width < SMALLEST || height < SMALLEST || bytes.len() != width * height {
            self.forget();
            return &self.verdict;
        }
        if !self.is_due(pts_us) {
            return &self.verdict;
        }
        match &mut self.state {
            Some(state) if (state.model.width, state.model.height) == (width, height) => {
                let dt = state.advance(pts_us);
                self.verdict = state.look(bytes, dt, &self.settings);
            }
            state => {
                let new = || State::new(bytes, width, height, pts_us, &self.settings);
                let remembered =
                    self.remembered.take().filter(|memory| (memory.width, memory.height) == (width, height));
                let recalled = remembered.and_then(|memory| new().recalled(&memory, bytes, &self.settings));
                let (begun, verdict) = recalled.unwrap_or_else(|| (new(), Verdict::default()));
                *state = Some(begun);
                self.verdict = verdict;
            }
        }
        &self.verdict
    }

    /// For whoever wants to see it: the difference from the background, in levels.
    pub fn difference(&self) -> Vec<u8> {
        self.picture(|state| state.model.difference.data.iter().map(|e| e.abs().min(255.0) as u8).collect())
    }

    /// Pixels that differ by more than their threshold, 255.
    pub fn changed(&self) -> Vec<u8> {
        self.picture(|state| state.model.same.iter().map(|&same| if same == 0.0 { 255 } else { 0 }).collect())
    }

    /// Pixels of blobs that are followed, 255.
    pub fn followed(&self) -> Vec<u8> {
        self.picture(|state| state.owned_by(&[Owner::Candidate, Owner::Young, Owner::Light, Owner::Trusted]))
    }

    /// Pixels of what moves, 255.
    pub fn moving(&self) -> Vec<u8> {
        self.picture(|state| state.owned_by(&[Owner::Trusted]))
    }

    fn picture(&self, make: impl Fn(&State) -> Vec<u8>) -> Vec<u8> {
        self.state.as_ref().map(make).unwrap_or_default()
    }
}

impl State {
    fn new(bytes: &[u8], width: usize, height: usize, pts_us: i64, settings: &Settings) -> Self {
        let mut model = Model::new(bytes, width, height);
        model.mask(zone::unmasked(&settings.masks, width, height));
        model.threshold_factors = zone::threshold_factors(&settings.zones, width, height);
        let (columns, rows) = model.cells();
        State {
            model,
            aligner: Aligner::default(),
            drift: Drift::default(),
            labels: Labels::default(),
            tracks: Tracks::default(),
            owners: vec![Owner::Background; columns * rows],
            marked: [(); 3].map(|()| vec![false; columns * rows]),
            grid: Grid::new(settings.fps, pts_us),
            now: 0.0,
            shift: (0.0, 0.0),
            shake: 0.0,
            hold_until: LEARN_S,
            relearn_until: 0.0,
            latch_until: 0.0,
            is_recalled: false,
        }
    }

    /// Goes on with what is remembered, from the first picture on; None: the picture shows something else.
    fn recalled(mut self, memory: &Memory, bytes: &[u8], settings: &Settings) -> Option<(Self, Verdict)> {
        self.model.recall(memory);
        (self.now, self.hold_until, self.is_recalled) = (RECALLED_S, 0.0, true);
        let dt = 1.0 / settings.fps.max(1) as f32;
        let verdict = self.look(bytes, dt, settings);
        let moved = self.shift.0.hypot(self.shift.1) * 320.0 / self.model.width as f32;
        let is_other = verdict.finding.cause == Some(Cause::SceneChange) || verdict.changed > FIT_SHARE;
        (!is_other && moved <= FIT_SHIFT).then_some((self, verdict))
    }

    /// Goes on to `pts_us`; returns the seconds since the last look.
    fn advance(&mut self, pts_us: i64) -> f32 {
        let step_us = self.grid.advance(pts_us).clamp(10_000, 1_000_000);
        self.now += step_us as f64 / 1e6;
        step_us as f32 / 1e6
    }

    fn look(&mut self, bytes: &[u8], dt: f32, settings: &Settings) -> Verdict {
        self.model.take(bytes);
        let shift = self.aligner.shift(&self.model.now, &self.model.background, self.shift);
        let jump = (shift.0 - self.shift.0).hypot(shift.1 - self.shift.1);
        self.shake += (jump - self.shake) * (dt / 3.0).min(1.0);
        self.shift = shift;
        self.model.undo_shift(shift);

        let exposure = Exposure::fit(&self.model.now, &self.model.background);
        self.model.expose(exposure);
        let switched = exposure.is_step() && self.now > 1.0;
        if switched {
            self.hold_until = self.hold_until.max(self.now + SETTLE_S);
        }

        let differ = self.model.compare(&self.owners, self.shake, dt);
        let changed = differ as f32 / self.model.pixels.max(1) as f32;
        if changed > SCENE_SHARE && self.now > self.relearn_until {
            self.relearn_until = self.now + 0.6;
            self.hold_until = self.hold_until.max(self.now + SETTLE_S);
            if self.tracks.all.iter().any(|track| track.trusted) {
                self.latch_until = self.now + SETTLE_S;
            }
        }
        let other_scene = self.now < self.relearn_until;
        let mut absorbed = None;
        if other_scene {
            self.tracks.all.clear();
            self.owners.fill(Owner::Background);
            self.marked.iter_mut().for_each(|mask| mask.fill(false));
            self.model.adopt();
        } else {
            let Model { difference, same, background, .. } = &mut self.model;
            self.drift.follow(difference, same, background);
            absorbed = self.follow_blobs(dt, &settings.zones);
            self.model.learn(&self.owners, dt);
        }
        let scene_change = other_scene || switched;
        self.verdict(changed, scene_change, absorbed, settings)
    }

    fn rules(&self) -> Rules {
        let (columns, rows) = self.model.cells();
        Rules {
            width: columns as f32,
            height: rows as f32,
            min_cells: (LEAST_SHARE * (columns * rows) as f32).max(tracks::LEAST_CELLS),
            scale: 320.0 / self.model.width as f32,
            clutter: ((self.tracks.short_lived - 3.0) / 15.0).clamp(0.0, 1.0),
            hold: self.now < self.hold_until,
        }
    }

    /// Blobs of this look become tracks or go on with them. Returns why something was taken into the background.
    fn follow_blobs(&mut self, dt: f32, zones: &[Zone]) -> Option<Cause> {
        let (columns, rows) = self.model.cells();
        let rules = self.rules();
        self.marked.rotate_right(1);
        let reach = self.shift.0.abs().max(self.shift.1.abs());
        let margin = if reach > 0.0 { ((reach + 1.5) / 2.0).ceil() as usize } else { 0 };
        self.model.mark_cells(&mut self.marked[0], margin);
        let mut mask = self.marked[0].clone();
        if rules.clutter > 0.3 {
            // Two looks of three: what falls is gone by then.
            for ((mask, &before), &earlier) in mask.iter_mut().zip(&self.marked[1]).zip(&self.marked[2]) {
                *mask = *mask && (before || earlier);
            }
        }
        blobs::close(&mut mask, columns, rows);
        let found = self.labels.find(&mask, columns, rows);
        let seen = self.measure(&found);
        self.tracks.follow(self.now, dt, &seen, &rules, zones);
        self.own(found.len(), &rules);

        let mut absorbed = None;
        let now = self.now;
        let (model, labels) = (&mut self.model, &self.labels);
        self.tracks.all.retain_mut(|track| {
            if !track.trusted || track.last_seen != now {
                return true;
            }
            let Some(cause) = track.absorbed(now, &rules) else { return true };
            model.adopt_blobs(labels, &track.labels);
            absorbed = Some(cause);
            false
        });
        absorbed
    }

    fn measure(&self, found: &[Blob]) -> Vec<Seen> {
        let least = if self.model.width >= 256 { 3 } else { 2 };
        let mut blobs: Vec<&Blob> = found.iter().filter(|blob| blob.cells >= least).collect();
        if blobs.len() > MOST_BLOBS {
            blobs.sort_by_key(|blob| std::cmp::Reverse(blob.cells));
            blobs.truncate(MOST_BLOBS);
        }
        blobs.into_iter().map(|blob| self.model.measure(blob, &self.labels)).collect()
    }

    /// Says of each cell whose it is.
    fn own(&mut self, blobs: usize, rules: &Rules) {
        let (columns, rows) = self.model.cells();
        let mut owner_of = vec![Owner::Candidate; blobs + 1];
        for track in self.tracks.all.iter().filter(|track| track.last_seen == self.now) {
            let steady = self.now - track.born < 2.5 && track.hits as f32 > 0.75 * track.looks as f32;
            let owner = match () {
                () if track.trusted => Owner::Trusted,
                () if track.is_light(rules) => Owner::Light,
                () if steady => Owner::Young,
                () => continue,
            };
            track.labels.iter().for_each(|&label| owner_of[usize::from(label)] = owner);
        }
        self.owners.fill(Owner::Background);
        for y in 0..rows {
            for x in 0..columns {
                let label = self.labels.cells[y * columns + x];
                if label == 0 {
                    continue;
                }
                let owner = owner_of[usize::from(label)];
                let beside = usize::from(matches!(owner, Owner::Trusted | Owner::Young));
                for row in y.saturating_sub(beside)..(y + beside + 1).min(rows) {
                    for place in
                        &mut self.owners[row * columns..][x.saturating_sub(beside)..(x + beside + 1).min(columns)]
                    {
                        if owner == Owner::Trusted || *place == Owner::Background {
                            *place = owner;
                        }
                    }
                }
            }
        }
    }

    fn verdict(&self, changed: f32, scene_change: bool, absorbed: Option<Cause>, settings: &Settings) -> Verdict {
        let rules = self.rules();
        let seen = || self.tracks.all.iter().filter(|track| track.last_seen == self.now);
        let counts = |track: &&tracks::Track| track.trusted && track.counts(self.now, &settings.zones);
        let mut zones = ZoneSet::default();
        let regions: Vec<Region> = seen()
            .filter(counts)
            .map(|track| {
                zones = zones.union(track.zones(self.now, &settings.zones));
                let rect = track.seen.rect;
                let (width, height) = (rect.width() / rules.width, rect.height() / rules.height);
                Region { left: rect.left / rules.width, top: rect.top / rules.height, width, height }
            })
            .collect();
        let kept = scene_change && settings.on_scene_change == OnSceneChange::Record && self.now > LEARN_S;
        let moving = !regions.is_empty() || self.now < self.latch_until || kept;
        let large = |track: &&tracks::Track| track.seen.cells >= rules.min_cells;
        let cause = match () {
            () if scene_change => Some(Cause::SceneChange),
            () if moving => Some(Cause::Motion),
            () if seen().any(|track| track.trusted) => Some(Cause::Zone),
            () if rules.clutter > 0.0 || self.tracks.is_flock() => Some(Cause::Weather),
            () if absorbed.is_some() => absorbed,
            () if seen().filter(large).any(|track| track.is_light(&rules)) => Some(Cause::Light),
            () if seen().filter(large).any(|track| track.is_masked()) => Some(Cause::Masked),
            () => None,
        };
        Verdict { moving, changed, finding: Finding { cause, regions, zones } }
    }

    fn owned_by(&self, which: &[Owner]) -> Vec<u8> {
        let (columns, rows) = self.model.cells();
        let mut out = vec![0; self.model.width * self.model.height];
        for (y, row) in out.chunks_exact_mut(self.model.width).enumerate().take(2 * rows) {
            for (x, pixel) in row.iter_mut().enumerate().take(2 * columns) {
                if which.contains(&self.owners[(y / 2) * columns + x / 2]) {
                    *pixel = 255;
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
