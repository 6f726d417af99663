//! Is there motion in a picture? The comparison of pictures, by the algorithm that is configured.
//!
//! Belongs here: scaling a grey plane, the seed's stages in OpenCV, and what both algorithms answer. Does not belong
//! here: decoding ([`super::decode`]), the arithmetic of the adaptive one ([`crate::domain::adaptive`]), when an event
//! starts and ends ([`crate::domain::motion`]).

mod adaptive;
mod area;
mod scale;
mod stages;

use std::sync::Once;

use opencv::prelude::*;
use thiserror::Error;

use self::adaptive::AdaptiveStages;
use self::scale::Scaled;
use self::stages::Stages;
pub use self::stages::{Stage, StageView};
use super::decode::LumaView;
use crate::domain::adaptive::Memory;
use crate::domain::config::{Algorithm, Area, DetectConfig};
use crate::domain::finding::{Cause, Finding};
use crate::domain::tamper::{Tamper, TamperChange, Tampering};

/// OpenCV refused a picture.
#[derive(Debug, Error)]
pub enum DetectError {
    #[error("the picture of {width}x{height} has a stride of {stride} and {bytes} bytes, which can't be")]
    Shape { width: u32, height: u32, stride: usize, bytes: usize },
    #[error("comparing pictures failed: {0}")]
    OpenCv(#[from] opencv::Error),
}

/// What a picture was found to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Changed pixels of the scaled picture; of `seed` after dilation and erosion.
    pub changed_pixels: u32,
    /// From so many changed pixels on it is motion; of `adaptive` it only may be.
    pub level_pixels: u32,
    pub moving: bool,
    /// Why, and where; `seed` doesn't say where.
    pub finding: Finding,
}

/// Compares the pictures of one stream with each other. A new session or another size begins anew.
pub struct Detector {
    kind: Kind,
    session: Option<u64>,
    /// None: nobody wants to know.
    tamper: Option<Tamper>,
    tamper_change: Option<TamperChange>,
}

enum Kind {
    Seed { stages: Box<Stages>, min_area: Area },
    Adaptive(Box<AdaptiveStages>),
}

impl Detector {
    pub fn new(config: &DetectConfig) -> Result<Self, DetectError> {
        use_one_thread()?;
        let kind = match config.algorithm {
            Algorithm::Seed => Kind::Seed { stages: Box::new(Stages::new(config)?), min_area: config.min_area },
            Algorithm::Adaptive => Kind::Adaptive(Box::new(AdaptiveStages::new(config))),
        };
        Ok(Detector { kind, session: None, tamper: None, tamper_change: None })
    }

    /// Looks for tampering too, where the camera's configuration wants it: for live cameras, not for stored video.
    pub fn with_tamper(mut self, config: &DetectConfig) -> Self {
        self.tamper = config.tamper.then(Tamper::default);
        self
    }

    /// Looks at the next picture. The first one of a stream (the first two where three are compared, the first
    /// seconds of `adaptive`) is never motion.
    pub fn look(&mut self, view: &LumaView) -> Result<Score, DetectError> {
        if self.session.replace(view.session) != Some(view.session) {
            self.forget();
            if let Some(tamper) = &mut self.tamper {
                tamper.new_session();
            }
        }
        let is_new = self.kind.is_due(view.pts_us);
        let score = self.compare(view)?;
        if is_new {
            self.look_for_tampering(view.pts_us);
        }
        Ok(score)
    }

    fn compare(&mut self, view: &LumaView) -> Result<Score, DetectError> {
        match &mut self.kind {
            Kind::Seed { stages, min_area } => {
                let changed_pixels = stages.look(view)?;
                let level_pixels = min_area.pixels_of(stages.pixels());
                let moving = changed_pixels >= level_pixels;
                let finding = Finding { cause: moving.then_some(Cause::Motion), ..Finding::default() };
                Ok(Score { changed_pixels, level_pixels, moving, finding })
            }
            Kind::Adaptive(stages) => stages.look(view),
        }
    }

    fn look_for_tampering(&mut self, pts_us: i64) {
        let Some(tamper) = self.tamper.as_mut().filter(|tamper| tamper.is_due(pts_us)) else { return };
        let Some(view) = self.kind.view(Stage::Scaled) else { return };
        let change = tamper.look(view.data, view.width as usize, view.height as usize, pts_us);
        self.tamper_change = change.or(self.tamper_change);
    }

    /// What the pictures since it was asked last changed about the camera's being tampered with.
    pub fn take_tamper_change(&mut self) -> Option<TamperChange> {
        self.tamper_change.take()
    }

    /// What is wrong with the camera now.
    pub fn tampering(&self) -> Option<Tampering> {
        self.tamper.as_ref().and_then(Tamper::told)
    }

    /// Is there more to do for a picture at this time of the session than to say again what was found last?
    pub fn is_due(&self, pts_us: i64) -> bool {
        self.kind.is_due(pts_us)
    }

    /// What is known of the scene, where that is worth remembering (`adaptive`).
    pub fn memory(&self) -> Option<Memory> {
        match &self.kind {
            Kind::Seed { .. } => None,
            Kind::Adaptive(stages) => stages.adaptive.memory(),
        }
    }

    /// The next session goes on with this scene, if its first picture shows it (`adaptive`).
    pub fn recall(&mut self, memory: Memory) {
        if let Kind::Adaptive(stages) = &mut self.kind {
            stages.adaptive.recall(memory);
        }
    }

    /// Does the session go on with a scene that was known before it? Then it needs no warm-up.
    pub fn has_recalled(&self) -> bool {
        match &self.kind {
            Kind::Seed { .. } => false,
            Kind::Adaptive(stages) => stages.adaptive.has_recalled(),
        }
    }

    /// Forgets the pictures before, after a jump in the stream.
    pub fn forget(&mut self) {
        match &mut self.kind {
            Kind::Seed { stages, .. } => stages.forget(),
            Kind::Adaptive(stages) => stages.forget(),
        }
    }

    /// Width and height of the pictures that are compared.
    pub fn picture_size(&self) -> (u32, u32) {
        match &self.kind {
            Kind::Seed { stages, .. } => stages.size(),
            Kind::Adaptive(stages) => stages.size(),
        }
    }

    /// What a stage made of the last picture; None where the stage was not reached, is switched off or is not one of
    /// this algorithm.
    pub fn stage(&self, stage: Stage) -> Option<StageView<'_>> {
        self.kind.view(stage)
    }
}

impl Kind {
    /// Will the picture at `pts_us` be looked at?
    fn is_due(&self, pts_us: i64) -> bool {
        match self {
            Kind::Seed { .. } => true,
            Kind::Adaptive(stages) => stages.is_due(pts_us),
        }
    }

    fn view(&self, stage: Stage) -> Option<StageView<'_>> {
        match self {
            Kind::Seed { stages, .. } => stages.view(stage),
            Kind::Adaptive(stages) => stages.view(stage),
        }
    }
}

/// Scales pictures for several detectors that compare pictures of the same width: to each of them it is as if it had
/// scaled them itself.
pub struct SharedScaler(Scaled);

impl SharedScaler {
    /// For the detectors with configurations of this [`compared_width`].
    pub fn to(width: u32) -> Self {
        SharedScaler(Scaled::to(width))
    }

    pub fn scale<'a>(&'a mut self, view: &LumaView<'_>) -> Result<LumaView<'a>, DetectError> {
        self.0.take(view)?;
        let (width, height) = (self.0.size.width as u32, self.0.size.height as u32);
        let data = self.0.picture.data_bytes()?;
        let LumaView { pts_us, session, full_range, .. } = *view;
        Ok(LumaView { width, height, stride: width as usize, data, pts_us, session, full_range })
    }
}

/// Width in pixels of the pictures that a detector compares.
pub fn compared_width(config: &DetectConfig) -> u32 {
    match config.algorithm {
        Algorithm::Seed => config.width,
        Algorithm::Adaptive => config.width.min(adaptive::WIDEST),
    }
}

/// Keeps OpenCV from starting threads of its own: many cameras share the cores already.
fn use_one_thread() -> Result<(), DetectError> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = opencv::core::set_num_threads(1));
    Ok(result?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DetectConfig {
        DetectConfig {
            algorithm: Algorithm::Seed,
            width: 100,
            blur: 5,
            dilate: 2,
            erode: 1,
            min_area: Area::Pixels(50),
            ..DetectConfig::default()
        }
    }

    /// A slope with a white box whose left edge is at `left`.
    fn picture(width: u32, height: u32, left: u32) -> Vec<u8> {
        let pixel = |n: u32| match (n % width, n / width) {
            (x, y) if x >= left && x < left + width / 5 && y > height / 3 && y < height / 2 => 255,
            (x, _) => (x * 100 / width) as u8,
        };
        (0..width * height).map(pixel).collect()
    }

    fn look(detector: &mut Detector, session: u64, (width, height): (u32, u32), left: u32) -> Score {
        let data = picture(width, height, left);
        let stride = width as usize;
        let view = LumaView { width, height, stride, data: &data, pts_us: 0, session, full_range: false };
        detector.look(&view).expect("the picture is whole")
    }

    #[test]
    fn a_box_that_moves_is_motion_and_one_that_stays_is_not() {
        let mut detector = Detector::new(&config()).unwrap();
        let size = (200, 120);
        let moving = [20, 20, 60, 60].map(|left| look(&mut detector, 1, size, left).moving);
        assert_eq!(moving, [false, false, true, false]);
    }

    #[test]
    fn three_pictures_tell_a_move_from_a_flash() {
        let mut detector = Detector::new(&DetectConfig { frames: 3, ..config() }).unwrap();
        let size = (200, 120);
        // Changed once; then changed from picture to picture.
        let moving = [20, 20, 20, 60, 60, 60, 70, 80].map(|left| look(&mut detector, 1, size, left).moving);
        assert_eq!(moving, [false, false, false, false, false, false, false, true]);
    }

    #[test]
    fn a_new_session_another_size_and_a_jump_begin_anew() {
        let mut detector = Detector::new(&config()).unwrap();
        look(&mut detector, 1, (200, 120), 20);
        assert!(!look(&mut detector, 2, (200, 120), 60).moving, "another session");
        assert!(!look(&mut detector, 2, (300, 180), 20).moving, "another size");
        detector.forget();
        assert!(!look(&mut detector, 2, (300, 180), 120).moving, "a jump");
        assert!(look(&mut detector, 2, (300, 180), 20).moving, "and then as ever");
    }

    #[test]
    fn the_area_is_pixels_or_a_share_of_the_scaled_picture() {
        let mut detector = Detector::new(&DetectConfig { min_area: Area::Share(0.5), ..config() }).unwrap();
        look(&mut detector, 1, (200, 120), 20);
        let score = look(&mut detector, 1, (200, 120), 60);
        assert_eq!((score.level_pixels, score.moving), (3000, false));
        assert!(score.changed_pixels > 200, "{score:?}");
    }

    #[test]
    fn buffers_are_used_again() {
        let mut detector = Detector::new(&config()).unwrap();
        let mut places = Vec::new();
        for n in 0..6 {
            look(&mut detector, 1, (200, 120), 10 * n);
            let stages =
                [Stage::Scaled, Stage::Blurred, Stage::Difference, Stage::Changed, Stage::Dilated, Stage::Area];
            places.push(stages.map(|stage| detector.stage(stage).map(|view| view.data.as_ptr())));
        }
        assert!(places[1].iter().all(Option::is_some));
        assert!(places[1..].iter().all(|now| *now == places[1]));
    }

    #[test]
    fn a_view_that_is_too_short_is_an_error() {
        let mut detector = Detector::new(&config()).unwrap();
        let data = picture(200, 120, 0);
        let view =
            LumaView { width: 200, height: 120, stride: 200, data: &data, pts_us: 0, session: 1, full_range: false };
        for wrong in [
            LumaView { height: 121, ..view },
            LumaView { stride: 199, ..view },
            LumaView { stride: usize::MAX, ..view },
            LumaView { data: &data[1..], ..view },
            LumaView { width: 0, ..view },
            LumaView { height: 0, ..view },
            LumaView { width: u32::MAX, ..view },
        ] {
            assert!(matches!(detector.look(&wrong), Err(DetectError::Shape { .. })));
        }
        detector.look(&view).expect("the whole one is taken");
    }
}
