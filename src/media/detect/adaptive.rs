//! The adaptive algorithm on grey planes as they come, and its stages for whoever wants to see them.
//!
//! Belongs here: scaling, and how its answer is told. Does not belong here: the algorithm
//! ([`crate::domain::adaptive`]).

use std::cell::OnceCell;

use opencv::prelude::*;

use super::scale::Scaled;
use super::{DetectError, Score, Stage, StageView, compared_width};
use crate::domain::adaptive::{Adaptive, LEAST_SHARE, Settings};
use crate::domain::config::DetectConfig;
use crate::media::decode::LumaView;

/// Finer pictures show noise, not more of what moves.
pub(super) const WIDEST: u32 = 320;

pub(super) struct AdaptiveStages {
    scaled: Scaled,
    pub(super) adaptive: Adaptive,
    /// Drawn when somebody asks for them: difference, changed, followed, moving.
    drawn: [OnceCell<Vec<u8>>; 4],
}

impl AdaptiveStages {
    pub fn new(config: &DetectConfig) -> Self {
        AdaptiveStages {
            scaled: Scaled::to(compared_width(config)),
            adaptive: Adaptive::new(Settings {
                fps: config.fps,
                on_scene_change: config.on_scene_change,
                masks: config.masks.clone(),
                zones: config.zones.clone(),
            }),
            drawn: Default::default(),
        }
    }

    pub fn is_due(&self, pts_us: i64) -> bool {
        self.adaptive.is_due(pts_us)
    }

    pub fn forget(&mut self) {
        self.adaptive.forget();
        self.drawn = Default::default();
    }

    pub fn size(&self) -> (u32, u32) {
        (self.scaled.size.width as u32, self.scaled.size.height as u32)
    }

    pub fn look(&mut self, view: &LumaView) -> Result<Score, DetectError> {
        // Between two looks a picture is not even scaled.
        if self.is_due(view.pts_us) {
            self.scaled.take(view)?;
            let (width, height) = self.size();
            let bytes = self.scaled.picture.data_bytes()?;
            self.adaptive.look(bytes, width as usize, height as usize, view.pts_us);
            self.drawn = Default::default();
        }
        let verdict = self.adaptive.verdict();
        let (width, height) = self.size();
        let pixels = f64::from(width * height);
        Ok(Score {
            changed_pixels: (f64::from(verdict.changed) * pixels).round() as u32,
            level_pixels: ((f64::from(LEAST_SHARE) * pixels).ceil() as u32).max(1),
            moving: verdict.moving,
            finding: verdict.finding.clone(),
        })
    }

    /// The seed's names stand for what comes nearest: the difference from the background, the pixels above their
    /// threshold, the blobs that are followed, and what moves.
    pub fn view(&self, stage: Stage) -> Option<StageView<'_>> {
        let adaptive = &self.adaptive;
        let drawn = |n: usize, draw: fn(&Adaptive) -> Vec<u8>| -> Option<&[u8]> {
            let drawn = self.drawn.get(n)?;
            Some(drawn.get_or_init(|| draw(adaptive)))
        };
        let data = match stage {
            Stage::Scaled | Stage::Blurred | Stage::Prepared => self.scaled.picture.data_bytes().ok()?,
            Stage::Difference => drawn(0, Adaptive::difference)?,
            Stage::Changed => drawn(1, Adaptive::changed)?,
            Stage::Dilated => drawn(2, Adaptive::followed)?,
            Stage::Area => drawn(3, Adaptive::moving)?,
        };
        let (width, height) = self.size();
        (!data.is_empty()).then_some(StageView { width, height, data })
    }
}
