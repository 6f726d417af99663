//! Is there motion in a picture? The comparison of pictures, in OpenCV.
//!
//! Belongs here: the stages from a grey plane to a number of changed pixels, and the decision on it. Does not belong
//! here: decoding ([`super::decode`]), when an event starts and ends ([`crate::domain::motion`]).

mod area;
mod stages;

use std::sync::Once;

use thiserror::Error;

use self::stages::Stages;
pub use self::stages::{Stage, StageView};
use super::decode::LumaView;
use crate::domain::config::{Area, DetectConfig};

/// OpenCV refused a picture.
#[derive(Debug, Error)]
pub enum DetectError {
    #[error("the picture of {width}x{height} has a stride of {stride} and {bytes} bytes, which can't be")]
    Shape { width: u32, height: u32, stride: usize, bytes: usize },
    #[error("comparing pictures failed: {0}")]
    OpenCv(#[from] opencv::Error),
}

/// What a picture was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// Changed pixels of the scaled picture, after dilation and erosion.
    pub changed_pixels: u32,
    /// From so many changed pixels on it is motion.
    pub level_pixels: u32,
    pub moving: bool,
}

/// Compares the pictures of one stream with each other. A new session or another size begins anew.
pub struct Detector {
    stages: Stages,
    min_area: Area,
    session: Option<u64>,
}

impl Detector {
    pub fn new(config: &DetectConfig) -> Result<Self, DetectError> {
        use_one_thread()?;
        Ok(Detector { stages: Stages::new(config)?, min_area: config.min_area, session: None })
    }

    /// Looks at the next picture. The first one of a stream (the first two where three are compared) is never
    /// motion.
    pub fn look(&mut self, view: &LumaView) -> Result<Score, DetectError> {
        if self.session.replace(view.session) != Some(view.session) {
            self.stages.forget();
        }
        let changed_pixels = self.stages.look(view)?;
        let level_pixels = self.min_area.pixels_of(self.stages.pixels());
        Ok(Score { changed_pixels, level_pixels, moving: changed_pixels >= level_pixels })
    }

    /// Forgets the pictures before, after a jump in the stream.
    pub fn forget(&mut self) {
        self.stages.forget();
    }

    /// What a stage made of the last picture; None where the stage was not reached or is switched off.
    pub fn stage(&self, stage: Stage) -> Option<StageView<'_>> {
        self.stages.view(stage)
    }
}

/// Keeps OpenCV from starting threads of its own: many cameras share the cores already.
fn use_one_thread() -> Result<(), DetectError> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = opencv::core::set_num_threads(1));
    Ok(result?)
}
