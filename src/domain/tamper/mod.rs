//! Has somebody, or the weather, put the camera out of action? A lens that is covered, sprayed or out of focus, a camera that
//! was turned away, a picture that stands still, is black, or is the recorder's "no signal".
//!
//! Belongs here: what a look at a grey picture says of the camera, and when that lasts long enough to tell. Arithmetic
//! only, the same for the same pictures and times. Does not belong here: what moves before the camera
//! ([`super::adaptive`]), and who is told (`actors`).
//!
//! All causes are told by comparison with a *reference*: a slow mean (half a minute) of the picture, which dusk and seasons
//! change, too. What is compared with it is the mean of the last second, in
//! which rain, snow and what runs through the picture fade. A short-term and a long-term memory are the idea of
//! E. Ribnick and others, *Real-Time Detection of Camera Tampering*, AVSS 2006; edges of the background that are lost,
//! that of P. Gil-Jiménez and others, *Automatic Control of Video Surveillance Camera Sabotage*, IWINAC 2007; fine
//! detail that is lost while the coarse one stays, for a defocused lens, that of A. Aksay, A. Temizel, A. E. Çetin,
//! *Camera Tamper Detection Using Wavelet Analysis for Video Surveillance*, AVSS 2007.
//!
//! Edges are compared by their direction, and blocks by the ratio of fine to coarse: neither changes with the light.

mod measure;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::measure::{BLOCK, Energy, Measured, blocks, correlation, displacement, measure, median, slope_at, slopes};

/// Looks a second are enough for what has to last for seconds.
const STEP_US: i64 = 250_000;
/// What is wrong is told when it has lasted for so long, longer than a lorry takes to pass; and is over when it has
/// been well for so long.
const LASTS_S: f32 = 6.5;
const WELL_S: f32 = 2.5;
/// Nothing is told before so many seconds of reference.
const KNOWN_S: f32 = 8.0;
/// Time constants of the mean that is compared, of the reference, and of how often pictures repeat.
const RECENT_S: f32 = 0.7;
const REFERENCE_S: f32 = 30.0;
const REPEATS_S: f32 = 1.5;
const USUAL_REPEATS_S: f32 = 300.0;
/// While something may be wrong the reference learns nothing for so long, and then so much more slowly.
const WARY_S: f32 = 12.0;
const WARY: f32 = 0.1;
/// A camera that was turned and stays so for so long looks at what it should.
const NEW_VIEW_S: f32 = 1800.0;

/// A slope, in levels a pixel, from which a pixel of the reference is an edge, if so much of all slopes that were seen
/// there is its own, and not of what passed by; edges from which a block has some.
const EDGE: f32 = 2.0;
const LASTING: f32 = 0.5;
const EDGES_A_BLOCK: usize = 8;
/// As many of them are compared.
const MOST_EDGES: usize = 1500;
/// Pixels by which the view may shift, each way; edges are as wide as the steps between.
const SMALL_SHIFTS: [i32; 5] = [-4, -2, 0, 2, 4];
/// Blocks with edges below which nothing can be said of edges: a bare wall, a night.
const LEAST_BLOCKS: usize = 6;
/// An edge is there if it runs within 37 degrees of where it did, with so much of its height.
const ALONG: f32 = 0.8;
const LEFT_OF_EDGE: f32 = 0.2;
/// Share of a block's edges below which they are lost; of blocks, from which the view is, and from which it may be.
const LOST_IN_BLOCK: f32 = 0.5;
const LOST: f32 = 0.65;
/// As many will do where the levels of the blocks are others, too.
const LOST_IF_UNLIKE: f32 = 0.5;
const UNLIKE: f32 = 0.4;
const WARY_LOST: f32 = 0.3;
/// Levels: no brighter, and no wider, is black. Limited range begins at 16.
const BLACK: f32 = 45.0;
const BLACK_RANGE: f32 = 16.0;

/// What was done to a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// Something is before the lens, or on it.
    Covered,
    /// The picture has lost its fine detail.
    Defocused,
    /// The camera looks elsewhere.
    Moved,
    /// The same picture comes again and again, without the noise that there was.
    Frozen,
    Black,
    /// A picture that was drawn: "no signal", a test card.
    Overlay,
}

impl Tampering {
    /// The word for it in the API, the log and drawings.
    pub fn name(self) -> &'static str {
        match self {
            Tampering::Covered => "covered",
            Tampering::Defocused => "defocused",
            Tampering::Moved => "moved",
            Tampering::Frozen => "frozen",
            Tampering::Black => "black",
            Tampering::Overlay => "overlay",
        }
    }

    /// What is wrong and what to do, for people.
    pub fn message(self) -> &'static str {
        match self {
            Tampering::Covered => {
                "the lens is covered or sprayed: the edges of the usual view are gone (look at the camera)"
            }
            Tampering::Defocused => "the picture is out of focus: its fine detail is gone (clean or refocus the lens)",
            Tampering::Moved => {
                "the camera looks elsewhere than before (turn it back; if it is meant to, restart the camera)"
            }
            Tampering::Frozen => {
                "the picture is frozen: it repeats exactly, without its usual noise (restart the camera)"
            }
            Tampering::Black => "the picture has gone black (look at the lens, the light and the camera's infrared)",
            Tampering::Overlay => {
                "the picture is a drawn one, such as a \"no signal\" card (look at the camera's input)"
            }
        }
    }
}

/// What a look changed. Times are pts in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TamperChange {
    /// It is told, and goes on since `since_us`. Where another cause was told before, this one takes its place.
    Began {
        cause: Tampering,
        since_us: i64,
    },
    Over {
        at_us: i64,
    },
}

/// Watches one camera's pictures for tampering.
#[derive(Default)]
pub struct Tamper {
    state: Option<State>,
}

/// Of pictures of one size.
struct State {
    width: usize,
    height: usize,
    /// The last picture, byte by byte; and as numbers.
    before: Vec<u8>,
    plane: Vec<f32>,
    energy: Energy,
    /// The mean of the last second.
    recent: Vec<f32>,
    reference: Reference,
    noise: f32,
    /// Share of blocks that repeat: now, and usually.
    repeats: f32,
    usual_repeats: f32,
    last_us: i64,
    due_us: i64,
    /// A new session: the step to its first picture is none.
    is_new_session: bool,
    /// Seconds of reference.
    known_s: f32,
    /// Something may have been wrong for so long.
    wary_s: f32,
    suspicion: Option<Suspicion>,
    told: Option<Tampering>,
    told_s: f32,
    well_s: f32,
}

/// Something is wrong, and may last.
struct Suspicion {
    since_us: i64,
    lasted_s: f32,
}

/// What the camera usually sees.
struct Reference {
    picture: Vec<f32>,
    energy: Energy,
    /// Mean squared slopes of each pixel.
    slopes: Vec<f32>,
    measured: Measured,
}

/// How a picture compares with the reference.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// Share of the blocks with edges that have lost them; None: there are too few.
    lost: Option<f32>,
    /// Most of them are elsewhere, all as far from where they were.
    displaced: bool,
    /// Median over these blocks of the energy of edges that is left; of that of the fine ones, by the coarse ones'.
    left: f32,
    sharpness: f32,
    /// Correlation of the blocks' levels.
    alike: f32,
}

impl Tamper {
    /// A new connection of the same camera: what it usually sees is still known.
    pub fn new_session(&mut self) {
        if let Some(state) = &mut self.state {
            state.is_new_session = true;
            state.suspicion = None;
        }
    }

    /// Is there a look due at `pts_us`?
    pub fn is_due(&self, pts_us: i64) -> bool {
        const BACK_US: i64 = 1_000_000;
        self.state.as_ref().is_none_or(|state| {
            state.is_new_session || pts_us >= state.due_us || pts_us < state.last_us.saturating_sub(BACK_US)
        })
    }

    /// What is wrong, as it was told last.
    pub fn told(&self) -> Option<Tampering> {
        self.state.as_ref().and_then(|state| state.told)
    }

    /// Looks at a picture of `width` times `height` bytes. Another size than before begins anew.
    pub fn look(&mut self, bytes: &[u8], width: usize, height: usize, pts_us: i64) -> Option<TamperChange> {
        if !self.is_due(pts_us) || width < 2 * BLOCK || height < 2 * BLOCK || bytes.len() != width * height {
            return None;
        }
        match &mut self.state {
            Some(state) if (state.width, state.height) == (width, height) => state.look(bytes, pts_us),
            state => {
                let was_told = state.as_ref().is_some_and(|state| state.told.is_some());
                *state = Some(State::new(bytes, width, height, pts_us));
                was_told.then_some(TamperChange::Over { at_us: pts_us })
            }
        }
    }
}

impl State {
    fn new(bytes: &[u8], width: usize, height: usize, pts_us: i64) -> Self {
        let plane: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        let mut energy = Energy::default();
        energy.take(&plane, width, height, 0.0);
        let measured = measure(bytes, bytes, &energy.pixels, width, height);
        let slopes = energy.pixels.clone();
        let reference = Reference { picture: plane.clone(), energy: energy.clone(), slopes, measured };
        State {
            width,
            height,
            before: bytes.to_vec(),
            recent: plane.clone(),
            plane,
            energy,
            reference,
            noise: 0.0,
            repeats: 0.0,
            usual_repeats: 0.0,
            last_us: pts_us,
            due_us: pts_us.saturating_add(STEP_US),
            is_new_session: false,
            known_s: 0.0,
            wary_s: 0.0,
            suspicion: None,
            told: None,
            told_s: 0.0,
            well_s: 0.0,
        }
    }

    fn look(&mut self, bytes: &[u8], pts_us: i64) -> Option<TamperChange> {
        // Pictures may be rare: then each stands for a longer time.
        let step_us = if self.is_new_session { STEP_US } else { pts_us.saturating_sub(self.last_us) };
        let dt = step_us.clamp(10_000, 4_000_000) as f32 / 1e6;
        self.is_new_session = false;
        self.last_us = pts_us;
        self.due_us = pts_us.saturating_add(STEP_US);

        self.plane.iter_mut().zip(bytes).for_each(|(level, &byte)| *level = f32::from(byte));
        let (width, height) = (self.width, self.height);
        // The noise changes slowly: that of the look before will do.
        self.energy.take(&self.plane, width, height, self.noise);
        let measured = measure(bytes, &self.before, &self.energy.pixels, width, height);
        self.noise = measured.noise;
        self.before.copy_from_slice(bytes);
        let rate = 1.0 - (-dt / RECENT_S).exp();
        self.recent.iter_mut().zip(&self.plane).for_each(|(recent, level)| *recent += (level - *recent) * rate);
        self.repeats += (measured.repeated - self.repeats) * (1.0 - (-dt / REPEATS_S).exp());

        let compared = self.reference.compare(&self.recent, &self.energy, measured.noise, width, height);
        let cause = if self.known_s < KNOWN_S { None } else { self.cause(&measured, compared) };
        let change = self.decide(cause, dt, pts_us);
        self.learn(&measured, compared, cause, dt);
        change
    }

    /// What this look alone says.
    fn cause(&self, now: &Measured, compared: Compared) -> Option<Tampering> {
        // What was told holds until it is clearly over.
        let lost_from = match self.told {
            Some(_) => WARY_LOST,
            None if compared.alike < UNLIKE => LOST_IF_UNLIKE,
            None => LOST,
        };
        let usual = &self.reference.measured;
        let is_black = |measured: &Measured| measured.bright < BLACK && measured.bright - measured.dark < BLACK_RANGE;
        if is_black(now) && !(usual.bright < BLACK || usual.bright - usual.dark < 1.5 * BLACK_RANGE) {
            return Some(Tampering::Black);
        }
        let lost = compared.lost.is_some_and(|lost| lost > lost_from);
        if lost && now.flat > 0.6 && usual.flat < 0.4 && self.repeats > 0.55 && now.bright - now.dark > 50.0 {
            return Some(Tampering::Overlay);
        }
        let blurred_below = if self.told == Some(Tampering::Defocused) { 0.6 } else { 0.45 };
        let is_known = compared.lost.is_some();
        if is_known && compared.left < blurred_below && compared.sharpness < blurred_below && compared.alike > 0.75 {
            return Some(Tampering::Defocused);
        }
        if lost || compared.displaced {
            return Some(if compared.displaced || compared.left > 0.25 {
                Tampering::Moved
            } else {
                Tampering::Covered
            });
        }
        // A coder that leaves still blocks as they are, and a drawn source, repeat all the time: of them it says nothing.
        (self.repeats > 0.55 && self.usual_repeats < 0.1).then_some(Tampering::Frozen)
    }

    fn decide(&mut self, cause: Option<Tampering>, dt: f32, pts_us: i64) -> Option<TamperChange> {
        self.told_s += dt;
        let Some(cause) = cause else {
            self.suspicion = None;
            self.well_s += dt;
            if self.well_s < WELL_S {
                return None;
            }
            return self.told.take().map(|_| TamperChange::Over { at_us: pts_us });
        };
        self.well_s = 0.0;
        if self.told == Some(cause) {
            self.suspicion = None;
            if cause == Tampering::Moved && self.told_s > NEW_VIEW_S {
                self.known_s = 0.0;
                self.told = None;
                return Some(TamperChange::Over { at_us: pts_us });
            }
            return None;
        }
        let suspicion = self.suspicion.get_or_insert(Suspicion { since_us: pts_us, lasted_s: -dt });
        suspicion.lasted_s += dt;
        if suspicion.lasted_s < LASTS_S {
            return None;
        }
        let since_us = suspicion.since_us;
        self.suspicion = None;
        self.told = Some(cause);
        self.told_s = 0.0;
        Some(TamperChange::Began { cause, since_us })
    }

    fn learn(&mut self, measured: &Measured, compared: Compared, cause: Option<Tampering>, dt: f32) {
        if self.told.is_some() {
            return;
        }
        // The first seconds count as much as they are.
        self.known_s += dt;
        let rate = |seconds: f32| dt / seconds.min(self.known_s).max(dt);
        let is_wary = cause.is_some()
            || compared.lost.is_some_and(|lost| lost > WARY_LOST)
            || compared.sharpness < 0.6
            || (self.repeats > 0.3 && self.usual_repeats < 0.1);
        self.wary_s = if is_wary && self.known_s > KNOWN_S { self.wary_s + dt } else { 0.0 };
        let trust = match self.wary_s {
            0.0 => 1.0,
            WARY_S.. => WARY,
            _ => return,
        };
        self.usual_repeats += (measured.repeated - self.usual_repeats) * rate(USUAL_REPEATS_S) * trust;
        let rate = rate(REFERENCE_S) * trust;
        self.reference.learn(&self.plane, &self.energy, measured, (self.width, self.height), rate);
    }
}

impl Reference {
    fn learn(
        &mut self,
        plane: &[f32],
        energy: &Energy,
        measured: &Measured,
        (width, height): (usize, usize),
        rate: f32,
    ) {
        self.picture.iter_mut().zip(plane).for_each(|(to, from)| *to += (from - *to) * rate);
        self.slopes.iter_mut().zip(&energy.pixels).for_each(|(to, from)| *to += (from - *to) * rate);
        self.energy.take(&self.picture, width, height, 0.0);
        let mine = &mut self.measured;
        for (to, from) in [
            (&mut mine.dark, measured.dark),
            (&mut mine.bright, measured.bright),
            (&mut mine.flat, measured.flat),
            (&mut mine.noise, measured.noise),
        ] {
            *to += (from - *to) * rate;
        }
    }

    fn compare(&self, recent: &[f32], energy: &Energy, noise: f32, width: usize, height: usize) -> Compared {
        let grid = blocks(width, height);
        // Three deviations of what a second leaves of the noise. An edge that is not well above it may get lost in it.
        let least = (0.55 * noise).max(0.6);
        let edges = self.edges(EDGE.max(2.0 * least), width, height);
        let mut counts = vec![0usize; grid.0 * grid.1];
        edges.iter().for_each(|edge| counts[edge.block] += 1);
        let with_edges: Vec<usize> = (0..counts.len()).filter(|&block| counts[block] >= EDGES_A_BLOCK).collect();

        let lost_at = |reach: (i32, i32)| {
            let mut there = vec![0usize; counts.len()];
            let found = edges.iter().filter(|edge| edge.is_there(recent, (width, height), reach, least));
            found.for_each(|edge| there[edge.block] += 1);
            let lost = with_edges.iter().filter(|&&block| (there[block] as f32) < LOST_IN_BLOCK * counts[block] as f32);
            lost.count() as f32 / with_edges.len() as f32
        };
        // In the dark there is little but noise, from -2.3 to 2.3 of its deviations.
        let is_noise = self.measured.bright - self.measured.dark < 6.0 * noise + 12.0;
        let lost = (with_edges.len() >= LEAST_BLOCKS && !is_noise).then(|| {
            let here = lost_at((0, 0));
            if here <= WARY_LOST {
                return (here, false);
            }
            // A mast that leans a little looks at what it should.
            let reaches = SMALL_SHIFTS.iter().flat_map(|&dx| SMALL_SHIFTS.iter().map(move |&dy| (dx, dy)));
            let near = reaches.map(lost_at).fold(here, f32::min);
            let displaced =
                near > WARY_LOST && lost_at(displacement(recent, &self.picture, width, height)) < near / 2.0;
            (near, displaced)
        });
        let usual = &self.energy;
        let fine = |block: usize| energy.fine[block] / usual.fine[block].max(0.01);
        let coarse = |block: usize| energy.coarse[block] / usual.coarse[block].max(0.01);
        Compared {
            lost: lost.map(|(lost, _)| lost),
            displaced: lost.is_some_and(|(_, displaced)| displaced),
            left: median(with_edges.iter().map(|&block| fine(block)).collect()).unwrap_or(1.0),
            sharpness: median(with_edges.iter().map(|&block| fine(block) / coarse(block).max(0.001)).collect())
                .unwrap_or(1.0),
            alike: correlation(&energy.levels, &usual.levels),
        }
    }

    /// Pixels with slopes of this height that are usually there.
    fn edges(&self, height_least: f32, width: usize, height: usize) -> Vec<Edge> {
        let (columns, rows) = blocks(width, height);
        let of_noise = self.measured.noise * self.measured.noise / 3.0;
        let mut edges = Vec::new();
        for y in 1..(rows * BLOCK).min(height - 1) {
            let seen = &self.slopes[y * width + 1..];
            let here = slopes(&self.picture, width, y).zip(seen).take(columns * BLOCK - 1).enumerate();
            edges.extend(here.filter_map(|(x, ((across, down), seen))| {
                let squared = across * across + down * down;
                let is_edge = squared >= height_least * height_least && squared >= LASTING * (seen - of_noise);
                let block = y / BLOCK * columns + (x + 1) / BLOCK;
                is_edge.then(|| Edge { x: x as i32 + 1, y: y as i32, across, down, height: squared.sqrt(), block })
            }));
        }
        // More would only take longer.
        let step = edges.len().div_ceil(MOST_EDGES).max(1);
        edges.into_iter().step_by(step).collect()
    }
}

/// A pixel of an edge of the reference, with its slopes.
struct Edge {
    x: i32,
    y: i32,
    across: f32,
    down: f32,
    height: f32,
    block: usize,
}

impl Edge {
    /// Does it run through `picture`, so far from where it was?
    fn is_there(&self, picture: &[f32], (width, height): (usize, usize), (dx, dy): (i32, i32), least: f32) -> bool {
        let x = (self.x + dx).clamp(1, width as i32 - 2) as usize;
        let y = (self.y + dy).clamp(1, height as i32 - 2) as usize;
        let (across, down) = slope_at(picture, width, x, y);
        // Light from elsewhere may turn an edge's sign around.
        let along = (across * self.across + down * self.down).abs() / self.height;
        along > least.max(LEFT_OF_EDGE * self.height) && along > ALONG * across.hypot(down)
    }
}

#[cfg(test)]
mod tests;
