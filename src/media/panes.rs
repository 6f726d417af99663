//! What the detector sees, as one picture: four panes and a strip.
//!
//! Belongs here: drawing, on pixels only. Does not belong here: where pictures come from and go to, what motion is
//! ([`super::detect`], [`crate::domain::motion`]).
//!
//! ```text
//! source                                  first stage: grey, blurred; difference
//! second stage: threshold, dilate, erode  contours of all movement, with a trace; boxes, zones and masks
//! state, time, changed area               changed area of the last half minute against the level
//! ```

use std::collections::VecDeque;

use opencv::core::{CV_8UC1, CV_8UC3, Mat, Point, Rect, Scalar, Size, Vector, rotate};
use opencv::core::{ROTATE_90_CLOCKWISE, ROTATE_90_COUNTERCLOCKWISE, ROTATE_180};
use opencv::imgproc::{
    CHAIN_APPROX_SIMPLE, FONT_HERSHEY_SIMPLEX, INTER_AREA, INTER_LINEAR, INTER_NEAREST, LINE_AA, RETR_EXTERNAL,
};
use opencv::imgproc::{draw_contours, find_contours, get_text_size, polylines, put_text, rectangle_points, resize};
use opencv::prelude::*;

use super::detect::{DetectError, Score, Stage, StageView};
use super::picture::BgrView;
use crate::domain::config::DetectConfig;
use crate::domain::finding::{Cause, Region};
use crate::domain::motion::MotionState;
use crate::domain::tamper::Tampering;
use crate::domain::zone::Polygon;

/// A pane fits into this, and is no smaller than that.
const LARGEST_PANE: (u32, u32) = (640, 480);
const SMALLEST_PANE: (u32, u32) = (320, 120);
const GAP: i32 = 4;
const STRIP_HEIGHT: i32 = 112;
/// Of the strip, for words; the rest is the graph.
const WORDS_WIDTH: i32 = 250;
/// What the graph shows.
const HISTORY_US: i64 = 30_000_000;
/// In so long the trace fades to half.
const TRACE_HALF_US: f32 = 700_000.0;

/// Blue, green, red.
pub(super) type Colour = [u8; 3];
pub(super) const BACKGROUND: Colour = [24, 21, 20];
const GRAPH: Colour = [38, 33, 31];
pub(super) const WORDS: Colour = [225, 225, 225];
pub(super) const FAINT: Colour = [150, 145, 140];
const AMBER: Colour = [40, 170, 255];
const WHITE: Colour = [255, 255, 255];
const BLUE: Colour = [230, 140, 60];
pub(super) const GREEN: Colour = [90, 230, 60];
const RED: Colour = [70, 70, 245];

/// What there is to tell of one picture.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub score: &'a Score,
    pub state: MotionState,
    /// What is wrong with the camera.
    pub tampering: Option<Tampering>,
    /// Since the first picture.
    pub at_us: i64,
    /// The time, in words.
    pub time: &'a str,
}

/// Draws a stream's pictures. The drawing keeps the size that the first picture gave it.
pub struct Panes {
    pane: Size,
    /// Clockwise.
    quarter_turns: u8,
    masks: Vec<Polygon>,
    /// With their names.
    zones: Vec<(String, Polygon)>,
    canvas: Mat,
    trace: Trace,
    history: VecDeque<Sample>,
}

/// One picture in the graph.
#[derive(Clone, Copy)]
struct Sample {
    at_us: i64,
    changed_pixels: u32,
    moving: bool,
    state: MotionState,
}

impl Panes {
    /// For pictures of this size, to be shown by so many quarter turns clockwise, with this configuration's places.
    pub fn new(width: u32, height: u32, quarter_turns: u8, config: &DetectConfig) -> Result<Self, DetectError> {
        let pane = pane_size((width, height), quarter_turns);
        let size = Size::new(2 * pane.width + GAP, 2 * (pane.height + GAP) + STRIP_HEIGHT);
        let canvas = Mat::new_size_with_default(size, CV_8UC3, scalar(BACKGROUND))?;
        let zones = config.zones.iter().map(|zone| (zone.name.clone(), zone.polygon.clone())).collect();
        let (masks, trace, history) = (config.masks.clone(), Trace::default(), VecDeque::new());
        Ok(Panes { pane, quarter_turns, masks, zones, canvas, trace, history })
    }

    /// Width and height of the drawing; both are even.
    pub fn size(&self) -> (u32, u32) {
        (self.canvas.cols() as u32, self.canvas.rows() as u32)
    }

    /// In which size [`Panes::draw`] wants a source picture of this size.
    pub fn source_size(&self, width: u32, height: u32) -> (u32, u32) {
        fit_pane((width, height), self.pane, self.quarter_turns)
    }

    /// Draws what the detector made of the picture that it looked at last: `source` is that picture, `stage` what each
    /// stage made of it.
    pub fn draw<'a>(
        &mut self,
        source: BgrView,
        stage: impl Fn(Stage) -> Option<StageView<'a>>,
        facts: &Facts,
    ) -> Result<BgrView<'_>, DetectError> {
        self.canvas.set_scalar(scalar(BACKGROUND))?;
        let (width, height) = (source.width as usize, source.height as usize);
        self.put(0, width, height, source.data, INTER_AREA)?;
        self.label(0, &[("source", WORDS)])?;

        let scaled = stage(Stage::Prepared);
        if let Some(prepared) = scaled {
            let difference = stage(Stage::Difference);
            let pixels = first_stage(prepared, difference);
            self.put(1, prepared.width as usize, prepared.height as usize, &pixels, INTER_LINEAR)?;
        }
        self.label(1, &[("first stage: grey, blurred;", WORDS), ("difference", AMBER)])?;

        let [changed, dilated, area] = [Stage::Changed, Stage::Dilated, Stage::Area].map(&stage);
        if let (Some(changed), Some(dilated), Some(area)) = (changed, dilated, area) {
            let pixels = second_stage(changed, dilated, area);
            self.put(2, area.width as usize, area.height as usize, &pixels, INTER_NEAREST)?;
        }
        self.label(2, &[("second stage:", WORDS), ("threshold,", WHITE), ("dilate,", BLUE), ("erode", AMBER)])?;

        let mut marked = source.data.to_vec();
        let contours = self.trace.draw(source, &mut marked, area, facts.at_us)?;
        self.put(3, width, height, &marked, INTER_AREA)?;
        self.mark(source, facts)?;
        let count = format!("{contours} {}", if contours == 1 { "area" } else { "areas" });
        self.label(3, &[("all movement:", WORDS), (&count, GREEN), ("now,", GREEN), ("before", AMBER)])?;

        let picture_pixels = scaled.map_or(1, |view| view.width * view.height);
        self.words(facts, picture_pixels)?;
        self.remember(facts);
        self.graph(facts, picture_pixels)?;
        let (width, height) = self.size();
        Ok(BgrView { width, height, data: self.canvas.data_bytes()? })
    }

    /// Puts a picture in the middle of a pane, as large as it fits.
    fn put(&mut self, pane: i32, width: usize, height: usize, data: &[u8], how: i32) -> Result<(), DetectError> {
        let (left, top) = self.place(pane);
        let (width, height) = (width as i32, height as i32);
        let line = Mat::new_rows_cols_with_data(height, 3 * width, data)?;
        let picture = line.reshape(3, height)?;
        let (fit_width, fit_height) = self.source_size(width as u32, height as u32);
        let fitted = Size::new(fit_width as i32, fit_height as i32);
        let mut scaled = Mat::default();
        match (width, height) == (fitted.width, fitted.height) {
            true => picture.copy_to(&mut scaled)?,
            false => resize(&picture, &mut scaled, fitted, 0.0, 0.0, how)?,
        }
        let shown = turn(scaled, self.quarter_turns)?;
        let (left, top) = (left + (self.pane.width - shown.cols()) / 2, top + (self.pane.height - shown.rows()) / 2);
        let mut target = Mat::roi_mut(&mut self.canvas, Rect::new(left, top, shown.cols(), shown.rows()))?;
        shown.copy_to(&mut target)?;
        Ok(())
    }

    /// The left upper corner of a pane.
    fn place(&self, pane: i32) -> (i32, i32) {
        ((pane % 2) * (self.pane.width + GAP), (pane / 2) * (self.pane.height + GAP))
    }

    /// Masks, zones and boxes over the last pane.
    fn mark(&mut self, source: BgrView, facts: &Facts) -> Result<(), DetectError> {
        let (left, top) = self.place(3);
        let shown = turned(self.source_size(source.width, source.height), self.quarter_turns);
        let (width, height) = (shown.0 as i32, shown.1 as i32);
        let (left, top) = (left + (self.pane.width - width) / 2, top + (self.pane.height - height) / 2);
        let turns = self.quarter_turns;
        let at = |share: (f32, f32)| {
            let (x, y) = turned_share(share, turns);
            let along = |share: f32, side: i32| (share * (side - 1) as f32).round() as i32;
            Point::new(left + along(x, width), top + along(y, height))
        };
        let outlines = self.masks.iter().map(|mask| (FAINT, None, mask));
        let zones = self.zones.iter().map(|(name, zone)| (BLUE, Some(name), zone));
        for (colour, name, place) in outlines.chain(zones) {
            let corners: Vector<Point> = place.corners().iter().map(|corner| at(*corner)).collect();
            polylines(&mut self.canvas, &corners, true, scalar(colour), 1, LINE_AA, 0)?;
            if let (Some(name), Ok(first)) = (name, corners.get(0)) {
                say(&mut self.canvas, name, first.x + 4, first.y + 14, 0.4, colour)?;
            }
        }
        let Score { finding, changed_pixels, .. } = facts.score;
        for (n, Region { left, top, width, height }) in finding.regions.iter().enumerate() {
            let corners = (at((*left, *top)), at((left + width, top + height)));
            rectangle_points(&mut self.canvas, corners.0, corners.1, scalar(GREEN), 1, LINE_AA, 0)?;
            if n == 0 {
                let words = format!("{} {changed_pixels} px", finding.cause.map_or("", Cause::name));
                let (x, y) = (corners.0.x.min(corners.1.x), corners.0.y.min(corners.1.y));
                say(&mut self.canvas, &words, x, y - 5, 0.4, GREEN)?;
            }
        }
        Ok(())
    }

    fn label(&mut self, pane: i32, words: &[(&str, Colour)]) -> Result<(), DetectError> {
        let (left, top) = self.place(pane);
        let mut x = left + 7;
        for (word, colour) in words {
            x += self.say(word, x, top + 18, 0.45, *colour)? + 7;
        }
        Ok(())
    }

    fn say(&mut self, text: &str, x: i32, y: i32, size: f64, colour: Colour) -> Result<i32, DetectError> {
        say(&mut self.canvas, text, x, y, size, colour)
    }

    fn words(&mut self, facts: &Facts, picture_pixels: u32) -> Result<(), DetectError> {
        let top = 2 * (self.pane.height + GAP);
        let (state, colour) = match facts.state {
            MotionState::WarmUp { left_us } => (format!("warm-up {:.1} s", seconds(left_us)), AMBER),
            MotionState::Idle => ("idle".to_owned(), GREEN),
            MotionState::Motion { left_us } => (format!("MOTION {:.1} s", seconds(left_us)), RED),
        };
        self.say(&state, 10, top + 28, 0.75, colour)?;
        self.say(facts.time, 10, top + 54, 0.5, WORDS)?;
        let share = |pixels: u32| 100.0 * f64::from(pixels) / f64::from(picture_pixels.max(1));
        let &Score { changed_pixels, level_pixels, moving, ref finding } = facts.score;
        let changed = format!("changed {changed_pixels} px  {:.2} %", share(changed_pixels));
        self.say(&changed, 10, top + 78, 0.45, if moving { RED } else { WORDS })?;
        let why_not = finding.cause.filter(|cause| *cause != Cause::Motion).map(Cause::name);
        let why_not = facts.tampering.map(Tampering::name).or(why_not).unwrap_or_default();
        let level = format!("level {level_pixels} px  {:.2} %  {why_not}", share(level_pixels));
        self.say(&level, 10, top + 100, 0.45, FAINT)?;
        Ok(())
    }

    fn remember(&mut self, facts: &Facts) {
        let Facts { score, state, at_us, .. } = *facts;
        // Times that jump back begin a new graph from there.
        while self.history.back().is_some_and(|last| last.at_us >= at_us) {
            self.history.pop_back();
        }
        let (changed_pixels, moving) = (score.changed_pixels, score.moving);
        self.history.push_back(Sample { at_us, changed_pixels, moving, state });
        // One that is older remains: it holds from the graph's left edge on.
        while self.history.get(1).is_some_and(|second| second.at_us <= at_us - HISTORY_US) {
            self.history.pop_front();
        }
    }

    fn graph(&mut self, facts: &Facts, picture_pixels: u32) -> Result<(), DetectError> {
        let (total_width, _) = self.size();
        let top = (2 * (self.pane.height + GAP) + 8) as usize;
        let (left, width) = (WORDS_WIDTH as usize, total_width as usize - WORDS_WIDTH as usize - 8);
        let height = STRIP_HEIGHT as usize - 16;
        let rows_of = |pixels: u32| rows_of(pixels, picture_pixels, height);
        let level = height - rows_of(facts.score.level_pixels).clamp(1, height);
        // Of each column: how many rows are filled, with what, and what is behind it.
        let columns: Vec<(usize, Colour, Colour)> = (self.columns(facts.at_us, width).into_iter())
            .map(|sample| match sample {
                None => (0, GRAPH, GRAPH),
                Some(Sample { changed_pixels, moving, state, .. }) => {
                    let behind = match state {
                        MotionState::Motion { .. } => [44, 40, 84],
                        MotionState::WarmUp { .. } => [34, 60, 76],
                        MotionState::Idle => GRAPH,
                    };
                    (rows_of(changed_pixels), if moving { RED } else { BLUE }, behind)
                }
            })
            .collect();
        let row_bytes = 3 * total_width as usize;
        let canvas = self.canvas.data_bytes_mut()?;
        for (y, row) in canvas.chunks_exact_mut(row_bytes).skip(top).take(height).enumerate() {
            let pixels = row[3 * left..].as_chunks_mut::<3>().0;
            for (pixel, (filled, colour, behind)) in pixels.iter_mut().zip(&columns) {
                *pixel = match height - y <= *filled {
                    _ if y == level => FAINT,
                    true => *colour,
                    false => *behind,
                };
            }
        }
        Ok(())
    }

    /// For each column of the graph the picture with the largest change, the newest at the right edge.
    fn columns(&self, now_us: i64, width: usize) -> Vec<Option<Sample>> {
        let mut columns: Vec<Option<Sample>> = vec![None; width];
        let column = |at_us: i64| {
            let ago_us = now_us.saturating_sub(at_us).clamp(0, HISTORY_US);
            ((HISTORY_US - ago_us) * (width as i64 - 1) / HISTORY_US) as usize
        };
        let ends = self.history.iter().skip(1).map(|next| column(next.at_us)).chain([width]);
        for (sample, end) in self.history.iter().zip(ends) {
            let from = column(sample.at_us);
            for place in &mut columns[from..end.max(from + 1)] {
                if place.is_none_or(|other| other.changed_pixels <= sample.changed_pixels) {
                    *place = Some(*sample);
                }
            }
        }
        columns
    }
}

/// Rows of the graph for so many changed pixels: a scale that shows a few as well as all.
fn rows_of(pixels: u32, picture_pixels: u32, height: usize) -> usize {
    let log = |pixels: u32| (1.0 + f64::from(pixels)).ln();
    (log(pixels) / log(picture_pixels.max(1)) * height as f64).round() as usize
}

/// What is compared, dark, and over it the difference, as bright as it is large.
fn first_stage(prepared: StageView, difference: Option<StageView>) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * prepared.data.len());
    for (at, &grey) in prepared.data.iter().enumerate() {
        let change = difference.map_or(0, |view| u32::from(view.data[at]));
        let dark = u32::from(grey) * 150 / 255;
        if change == 0 {
            out.extend_from_slice(&[dark as u8; 3]);
            continue;
        }
        // A difference of a quarter of the range is as bright as it gets.
        let share = (change * 4).min(255);
        out.extend(AMBER.map(|amber| ((dark * (255 - share) + u32::from(amber) * share) / 255) as u8));
    }
    out
}

/// What is above the threshold white, what erosion left of the dilated area amber, what it took away blue.
fn second_stage(changed: StageView, dilated: StageView, area: StageView) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * area.data.len());
    for ((&changed, &dilated), &area) in changed.data.iter().zip(dilated.data).zip(area.data) {
        out.extend_from_slice(&match (changed > 0, area > 0, dilated > 0) {
            (true, ..) => WHITE,
            (false, true, _) => AMBER.map(|part| part / 4 * 3),
            (false, false, true) => BLUE.map(|part| part / 2),
            (false, false, false) => BACKGROUND,
        });
    }
    out
}

/// Where movement was, from 255 (now) down to 0 (long ago).
#[derive(Default)]
struct Trace {
    size: (u32, u32),
    last_us: i64,
    strength: Vec<f32>,
}

impl Trace {
    /// Draws the contours of `area` and of those before into `marked`, a copy of `source`. Returns how many there
    /// are now.
    fn draw(
        &mut self,
        source: BgrView,
        marked: &mut [u8],
        area: Option<StageView>,
        at_us: i64,
    ) -> Result<usize, DetectError> {
        let (width, height) = (source.width, source.height);
        if self.size != (width, height) {
            *self = Trace { size: (width, height), last_us: at_us, strength: vec![0.0; (width * height) as usize] };
        }
        let faded = 0.5f32.powf(at_us.saturating_sub(self.last_us).max(0) as f32 / TRACE_HALF_US);
        self.last_us = at_us;

        let mut now = Mat::new_size_with_default(Size::new(width as i32, height as i32), CV_8UC1, Scalar::default())?;
        let contours = match area {
            Some(area) => scaled_contours(area, width, height)?,
            None => Vector::new(),
        };
        if !contours.is_empty() {
            let white = Scalar::all(255.0);
            let no_hierarchy = opencv::core::no_array();
            draw_contours(&mut now, &contours, -1, white, 2, LINE_AA, &no_hierarchy, i32::MAX, Point::default())?;
        }
        let now = now.data_bytes()?;
        let (pixels, _) = marked.as_chunks_mut::<3>();
        for ((pixel, strength), &now) in pixels.iter_mut().zip(&mut self.strength).zip(now) {
            if now == 0 && *strength < 1.0 {
                continue;
            }
            *strength = (*strength * faded).max(f32::from(now));
            let share = *strength / 255.0;
            let colour = if now > 0 { GREEN } else { AMBER };
            for (part, to) in pixel.iter_mut().zip(colour) {
                *part = (f32::from(*part) * (1.0 - share) + f32::from(to) * share) as u8;
            }
        }
        Ok(contours.len())
    }
}

/// Writes on a dark edge, readable on whatever is below. Returns the width.
pub(super) fn say(canvas: &mut Mat, text: &str, x: i32, y: i32, size: f64, colour: Colour) -> Result<i32, DetectError> {
    let at = Point::new(x, y);
    put_text(canvas, text, at, FONT_HERSHEY_SIMPLEX, size, scalar([0, 0, 0]), 3, LINE_AA, false)?;
    put_text(canvas, text, at, FONT_HERSHEY_SIMPLEX, size, scalar(colour), 1, LINE_AA, false)?;
    Ok(get_text_size(text, FONT_HERSHEY_SIMPLEX, size, 1, &mut 0)?.width)
}

/// `picture` by so many quarter turns clockwise.
pub(super) fn turn(picture: Mat, quarter_turns: u8) -> Result<Mat, DetectError> {
    let code = match quarter_turns % 4 {
        0 => return Ok(picture),
        1 => ROTATE_90_CLOCKWISE,
        2 => ROTATE_180,
        _ => ROTATE_90_COUNTERCLOCKWISE,
    };
    let mut turned = Mat::default();
    rotate(&picture, &mut turned, code)?;
    Ok(turned)
}

/// The outlines of `area` in a picture of this size.
pub(super) fn scaled_contours(area: StageView, width: u32, height: u32) -> Result<Vector<Vector<Point>>, DetectError> {
    let line = Mat::new_rows_cols_with_data(area.height as i32, area.width as i32, area.data)?;
    let mut found: Vector<Vector<Point>> = Vector::new();
    find_contours(&line, &mut found, RETR_EXTERNAL, CHAIN_APPROX_SIMPLE, Point::default())?;
    let along = |at: i32, from: u32, to: u32| ((f64::from(at) + 0.5) * f64::from(to) / f64::from(from)) as i32;
    let scaled = found.iter().map(|contour| {
        let point = |point: Point| Point::new(along(point.x, area.width, width), along(point.y, area.height, height));
        contour.iter().map(point).collect::<Vector<Point>>()
    });
    Ok(scaled.collect())
}

/// How large a pane is for pictures of this size.
fn pane_size(picture: (u32, u32), quarter_turns: u8) -> Size {
    let fitted = fit(turned(picture, quarter_turns), LARGEST_PANE);
    let even = |side: u32, least: u32| (side.max(least).next_multiple_of(2)) as i32;
    Size::new(even(fitted.0, SMALLEST_PANE.0), even(fitted.1, SMALLEST_PANE.1))
}

/// The size in which a picture goes into such a pane, before it is turned.
fn fit_pane(picture: (u32, u32), pane: Size, quarter_turns: u8) -> (u32, u32) {
    fit(picture, turned((pane.width as u32, pane.height as u32), quarter_turns))
}

/// In which size the first panes of a stream want a picture of this size.
pub(super) fn first_source_size(picture: (u32, u32), quarter_turns: u8) -> (u32, u32) {
    fit_pane(picture, pane_size(picture, quarter_turns), quarter_turns)
}

/// Where a place in shares of the picture is after so many quarter turns clockwise.
fn turned_share((x, y): (f32, f32), quarter_turns: u8) -> (f32, f32) {
    match quarter_turns % 4 {
        0 => (x, y),
        1 => (1.0 - y, x),
        2 => (1.0 - x, 1.0 - y),
        _ => (y, 1.0 - x),
    }
}

/// A size after so many quarter turns.
pub(super) fn turned((width, height): (u32, u32), quarter_turns: u8) -> (u32, u32) {
    if quarter_turns % 2 == 1 { (height, width) } else { (width, height) }
}

/// The largest size of the same shape within `room`; no side is 0.
pub(super) fn fit((width, height): (u32, u32), room: (u32, u32)) -> (u32, u32) {
    let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (room_width, room_height) = (u64::from(room.0), u64::from(room.1));
    let (fit_width, fit_height) = match width * room_height >= height * room_width {
        true => (room_width, height * room_width / width),
        false => (width * room_height / height, room_height),
    };
    (fit_width.max(1) as u32, fit_height.max(1) as u32)
}

pub(super) fn scalar([blue, green, red]: Colour) -> Scalar {
    Scalar::new(f64::from(blue), f64::from(green), f64::from(red), 0.0)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
