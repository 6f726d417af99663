//! pynvr's stages, one after the other, in buffers that are used again for every picture.

use std::collections::VecDeque;

use opencv::core::{BORDER_CONSTANT, BORDER_DEFAULT, Mat, NORM_MINMAX, Point, Scalar, Size, absdiff, bitwise_and};
use opencv::core::{count_non_zero, no_array, normalize};
use opencv::imgproc::threshold;
use opencv::imgproc::{MORPH_RECT, THRESH_BINARY};
use opencv::imgproc::{dilate, erode, gaussian_blur, get_structuring_element, morphology_default_border_value};
use opencv::prelude::*;

use super::DetectError;
use super::scale::Scaled;
use crate::domain::config::DetectConfig;
use crate::domain::zone;
use crate::media::decode::LumaView;

/// The middle of a kernel, as OpenCV wants it written.
const CENTER: Point = Point::new(-1, -1);

/// One step from the grey plane to the changed area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Scaled to `detect.width`.
    Scaled,
    /// After the Gaussian blur.
    Blurred,
    /// After the stretch to the full range: what is compared with the pictures before.
    Prepared,
    /// Absolute difference to the picture before; of three pictures, both differences, bit by bit.
    Difference,
    /// Pixels above the threshold, 255.
    Changed,
    /// After dilation.
    Dilated,
    /// After erosion: what is counted.
    Area,
}

/// Rows of bytes, one after the other, without a gap.
#[derive(Clone, Copy, Debug)]
pub struct StageView<'a> {
    pub width: u32,
    pub height: u32,
    pub data: &'a [u8],
}

pub(super) struct Stages {
    config: DetectConfig,
    border: Scalar,
    kernel: Mat,
    scaled: Scaled,
    blurred: Mat,
    /// Prepared pictures, the newest first: as many as are compared, used in turn.
    prepared: VecDeque<Mat>,
    /// How many of them hold pictures of this stream.
    filled: usize,
    newer_difference: Mat,
    older_difference: Mat,
    difference: Mat,
    changed: Mat,
    /// False where a mask covers a pixel of the scaled picture; None: there is no mask.
    unmasked: Option<Vec<bool>>,
    dilated: Mat,
    area: Mat,
}

impl Stages {
    pub fn new(config: &DetectConfig) -> Result<Self, DetectError> {
        Ok(Stages {
            config: config.clone(),
            border: morphology_default_border_value()?,
            kernel: get_structuring_element(MORPH_RECT, Size::new(3, 3), CENTER)?,
            scaled: Scaled::to(config.width),
            blurred: Mat::default(),
            prepared: (0..config.frames.max(2)).map(|_| Mat::default()).collect(),
            filled: 0,
            newer_difference: Mat::default(),
            older_difference: Mat::default(),
            difference: Mat::default(),
            changed: Mat::default(),
            unmasked: None,
            dilated: Mat::default(),
            area: Mat::default(),
        })
    }

    /// Pixels of the scaled picture.
    pub fn pixels(&self) -> u32 {
        let (width, height) = self.size();
        width * height
    }

    pub fn size(&self) -> (u32, u32) {
        (self.scaled.size.width as u32, self.scaled.size.height as u32)
    }

    pub fn forget(&mut self) {
        self.filled = 0;
    }

    /// Takes the next picture and returns how many pixels changed.
    pub fn look(&mut self, view: &LumaView) -> Result<u32, DetectError> {
        if self.scaled.take(view)? {
            self.filled = 0;
            let (width, height) = self.size();
            self.unmasked = zone::unmasked(&self.config.masks, width as usize, height as usize);
        }
        self.prepare()?;
        if self.filled < self.prepared.len() {
            return Ok(0);
        }
        self.compare()
    }

    fn prepare(&mut self) -> Result<(), DetectError> {
        let blurred = match self.config.blur {
            0 | 1 => &self.scaled.picture,
            side => {
                let kernel = Size::new(side as i32, side as i32);
                gaussian_blur(&self.scaled.picture, &mut self.blurred, kernel, 0.0, 0.0, BORDER_DEFAULT)?;
                &self.blurred
            }
        };
        // The oldest picture's buffer takes the newest.
        self.prepared.rotate_right(1);
        let newest = &mut self.prepared[0];
        match self.config.normalize {
            true => normalize(blurred, newest, 0.0, 255.0, NORM_MINMAX, -1, &no_array())?,
            false => blurred.copy_to(newest)?,
        }
        self.filled = (self.filled + 1).min(self.prepared.len());
        Ok(())
    }

    fn compare(&mut self) -> Result<u32, DetectError> {
        let (newest, before) = (&self.prepared[0], &self.prepared[1]);
        match self.prepared.get(2) {
            None => absdiff(newest, before, &mut self.difference)?,
            Some(oldest) => {
                absdiff(newest, before, &mut self.newer_difference)?;
                absdiff(before, oldest, &mut self.older_difference)?;
                bitwise_and(&self.newer_difference, &self.older_difference, &mut self.difference, &no_array())?;
            }
        }
        threshold(&self.difference, &mut self.changed, f64::from(self.config.threshold), 255.0, THRESH_BINARY)?;
        if let Some(unmasked) = &self.unmasked {
            let changed = self.changed.data_bytes_mut()?;
            changed.iter_mut().zip(unmasked).filter(|(_, open)| !**open).for_each(|(changed, _)| *changed = 0);
        }
        // OpenCV itself makes one large rectangle of many rounds with a small one.
        let (dilations, erosions) = (self.config.dilate as i32, self.config.erode as i32);
        dilate(&self.changed, &mut self.dilated, &self.kernel, CENTER, dilations, BORDER_CONSTANT, self.border)?;
        erode(&self.dilated, &mut self.area, &self.kernel, CENTER, erosions, BORDER_CONSTANT, self.border)?;
        Ok(count_non_zero(&self.area)? as u32)
    }

    pub fn view(&self, stage: Stage) -> Option<StageView<'_>> {
        let compared = self.filled == self.prepared.len();
        let mat = match stage {
            Stage::Scaled => &self.scaled.picture,
            Stage::Blurred => &self.blurred,
            Stage::Prepared => &self.prepared[0],
            Stage::Difference if compared => &self.difference,
            Stage::Changed if compared => &self.changed,
            Stage::Dilated if compared => &self.dilated,
            Stage::Area if compared => &self.area,
            _ => return None,
        };
        let data = mat.data_bytes().ok().filter(|data| !data.is_empty())?;
        Some(StageView { width: mat.cols() as u32, height: mat.rows() as u32, data })
    }
}
