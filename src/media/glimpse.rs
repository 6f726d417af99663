//! What the detector made of one picture, kept for whoever draws it elsewhere and later.
//!
//! Belongs here: copying what is in the detector's hands only while it looks. Does not belong here: drawing it
//! ([`super::panes`]), and who wants to see it (`web`).

use ffmpeg_next as ffmpeg;

use super::decode::LumaView;
use super::detect::{DetectError, Detector, Score, Stage, StageView};
use super::panes::{Facts, Panes, first_source_size};
use super::picture::{BgrView, Picture, ToBgr};
use crate::domain::motion::MotionState;
use crate::domain::tamper::Tampering;

/// What the panes show.
const STAGES: [Stage; 5] = [Stage::Prepared, Stage::Difference, Stage::Changed, Stage::Dilated, Stage::Area];

/// One picture, as the detector saw it.
pub struct Glimpse {
    /// Of the picture as it was decoded.
    pub size: (u32, u32),
    /// By which it is shown upright, clockwise.
    pub quarter_turns: u8,
    source: Bytes,
    stages: [Option<Bytes>; 5],
    score: Score,
    state: MotionState,
    tampering: Option<Tampering>,
    at_us: i64,
    time: String,
}

struct Bytes {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Glimpse {
    /// Copies what `detector` made of `picture`, which it looked at last. `time` is the picture's, in words.
    pub fn take(
        picture: Picture,
        view: &LumaView,
        quarter_turns: u8,
        to_bgr: &mut ToBgr,
        detector: &Detector,
        (score, state): (Score, MotionState),
        time: String,
    ) -> Result<Self, ffmpeg::Error> {
        let size = (view.width, view.height);
        let (width, height) = first_source_size(size, quarter_turns);
        let source = to_bgr.run(picture, width, height)?;
        let source = Bytes { width, height, data: source.data.to_vec() };
        let stages = STAGES.map(|stage| {
            let StageView { width, height, data } = detector.stage(stage)?;
            Some(Bytes { width, height, data: data.to_vec() })
        });
        let tampering = detector.tampering();
        Ok(Glimpse { size, quarter_turns, source, stages, score, state, tampering, at_us: view.pts_us, time })
    }

    /// Draws it into `panes`.
    pub fn draw<'a>(&self, panes: &'a mut Panes) -> Result<BgrView<'a>, DetectError> {
        let Bytes { width, height, data } = &self.source;
        let source = BgrView { width: *width, height: *height, data };
        let stage = |stage: Stage| {
            let n = STAGES.iter().position(|kept| *kept == stage)?;
            let Bytes { width, height, data } = self.stages[n].as_ref()?;
            Some(StageView { width: *width, height: *height, data })
        };
        let Glimpse { score, state, tampering, at_us, time, .. } = self;
        panes.draw(source, stage, &Facts { score, state: *state, tampering: *tampering, at_us: *at_us, time })
    }
}
