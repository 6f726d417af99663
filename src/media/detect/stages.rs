//! pynvr's stages, one after the other, in buffers that are used again for every picture.

use std::collections::VecDeque;

use super::area::AreaScaler;
use opencv::boxed_ref::BoxedRef;
use opencv::core::{
    BORDER_CONSTANT, BORDER_DEFAULT, CV_8UC1, Mat, NORM_MINMAX, Point, Scalar, Size, absdiff, bitwise_and,
};
use opencv::core::{count_non_zero, no_array, normalize};
use opencv::imgproc::{INTER_AREA, MORPH_RECT, THRESH_BINARY};
use opencv::imgproc::{dilate, erode, gaussian_blur, get_structuring_element, morphology_default_border_value};
use opencv::imgproc::{resize, threshold};
use opencv::prelude::*;

use super::DetectError;
use crate::domain::config::DetectConfig;
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
    /// Size of the pictures that come in and of the scaled ones.
    source: Size,
    size: Size,
    /// None: the size stays, grows or shrinks to almost nothing, which OpenCV does.
    scaler: Option<AreaScaler>,
    scaled: Mat,
    blurred: Mat,
    /// Prepared pictures, the newest first: as many as are compared, used in turn.
    prepared: VecDeque<Mat>,
    /// How many of them hold pictures of this stream.
    filled: usize,
    newer_difference: Mat,
    older_difference: Mat,
    difference: Mat,
    changed: Mat,
    dilated: Mat,
    area: Mat,
}

impl Stages {
    pub fn new(config: &DetectConfig) -> Result<Self, DetectError> {
        Ok(Stages {
            config: config.clone(),
            border: morphology_default_border_value()?,
            kernel: get_structuring_element(MORPH_RECT, Size::new(3, 3), CENTER)?,
            source: Size::default(),
            size: Size::default(),
            scaler: None,
            scaled: Mat::default(),
            blurred: Mat::default(),
            prepared: (0..config.frames.max(2)).map(|_| Mat::default()).collect(),
            filled: 0,
            newer_difference: Mat::default(),
            older_difference: Mat::default(),
            difference: Mat::default(),
            changed: Mat::default(),
            dilated: Mat::default(),
            area: Mat::default(),
        })
    }

    /// Pixels of the scaled picture.
    pub fn pixels(&self) -> u32 {
        (self.size.width * self.size.height) as u32
    }

    pub fn size(&self) -> (u32, u32) {
        (self.size.width as u32, self.size.height as u32)
    }

    pub fn forget(&mut self) {
        self.filled = 0;
    }

    /// Takes the next picture and returns how many pixels changed.
    pub fn look(&mut self, view: &LumaView) -> Result<u32, DetectError> {
        self.scale(view)?;
        self.prepare()?;
        if self.filled < self.prepared.len() {
            return Ok(0);
        }
        self.compare()
    }

    fn scale(&mut self, view: &LumaView) -> Result<(), DetectError> {
        let plane = borrow(view)?;
        let source = plane.size()?;
        if source != self.source {
            self.filled = 0;
            self.source = source;
            self.size = scaled_size(source, self.config.width);
            let size = |size: Size| (size.width as usize, size.height as usize);
            self.scaler = AreaScaler::new(size(source), size(self.size));
        }
        if let Some(scaler) = &mut self.scaler {
            if self.scaled.size()? != self.size {
                self.scaled = Mat::new_size_with_default(self.size, CV_8UC1, Scalar::default())?;
            }
            if scaler.scale(view.data, view.stride, self.scaled.data_bytes_mut()?) {
                return Ok(());
            }
        }
        resize(&plane, &mut self.scaled, self.size, 0.0, 0.0, INTER_AREA)?;
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), DetectError> {
        let blurred = match self.config.blur {
            0 | 1 => &self.scaled,
            side => {
                let kernel = Size::new(side as i32, side as i32);
                gaussian_blur(&self.scaled, &mut self.blurred, kernel, 0.0, 0.0, BORDER_DEFAULT)?;
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
        // OpenCV itself makes one large rectangle of many rounds with a small one.
        let (dilations, erosions) = (self.config.dilate as i32, self.config.erode as i32);
        dilate(&self.changed, &mut self.dilated, &self.kernel, CENTER, dilations, BORDER_CONSTANT, self.border)?;
        erode(&self.dilated, &mut self.area, &self.kernel, CENTER, erosions, BORDER_CONSTANT, self.border)?;
        Ok(count_non_zero(&self.area)? as u32)
    }

    pub fn view(&self, stage: Stage) -> Option<StageView<'_>> {
        let compared = self.filled == self.prepared.len();
        let mat = match stage {
            Stage::Scaled => &self.scaled,
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

/// The size to which pictures of `source` are scaled: `width`, the height in proportion, rounded down.
fn scaled_size(source: Size, width: u32) -> Size {
    let ratio = f64::from(width) / f64::from(source.width);
    Size::new(width as i32, ((f64::from(source.height) * ratio) as i32).max(1))
}

/// The plane as OpenCV sees it, without a copy.
fn borrow<'a>(view: &LumaView<'a>) -> Result<BoxedRef<'a, Mat>, DetectError> {
    let (width, height) = (view.width as usize, view.height as usize);
    let needed = view.stride.checked_mul(height.saturating_sub(1)).and_then(|rows| rows.checked_add(width));
    let fits = needed.is_some_and(|needed| needed <= view.data.len());
    let (Ok(rows), Ok(columns)) = (i32::try_from(height), i32::try_from(width)) else {
        return Err(shape_error(view));
    };
    if rows == 0 || columns == 0 || view.stride < width || !fits {
        return Err(shape_error(view));
    }
    let data = view.data.as_ptr().cast_mut().cast();
    // SAFETY: `rows` rows of `columns` bytes, `stride` apart, lie within `view.data` (checked above) and stay borrowed
    // as long as the Mat lives; it is handed out as a shared reference only, so nobody writes through it.
    let mat = unsafe { Mat::new_rows_cols_with_data_unsafe(rows, columns, CV_8UC1, data, view.stride)? };
    Ok(BoxedRef::from(mat))
}

fn shape_error(view: &LumaView) -> DetectError {
    DetectError::Shape { width: view.width, height: view.height, stride: view.stride, bytes: view.data.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plane of noise with flat parts and hard edges, in rows `stride` apart.
    fn plane(width: usize, height: usize, stride: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut bytes = vec![0; stride * height];
        for (n, byte) in bytes.iter_mut().enumerate() {
            let (x, y) = (n % stride, n / stride);
            *byte = match (x * 4 / width, y * 3 / height) {
                (0, _) => random.u8(..),
                (1, 0) => 255,
                (1, _) => 0,
                (_, 1) => 254 * ((x ^ y) & 1) as u8,
                _ => (x * 255 / width) as u8,
            };
        }
        bytes
    }

    #[test]
    fn scaling_is_that_of_opencv_to_one_level() {
        for (width, height, target) in [
            (1920, 1080, 500),
            (1280, 720, 500),
            (640, 360, 500),
            (704, 576, 500),
            (2560, 1440, 500),
            (3840, 2160, 500),
            (1500, 900, 500),
            (2000, 1000, 500),
            (501, 333, 500),
            (1920, 1080, 64),
            (1920, 1080, 1919),
            (900, 9, 500),
            (97, 3, 33),
        ] {
            let stride = width + 24;
            let data = plane(width, height, stride);
            let (source, size) =
                (Size::new(width as i32, height as i32), scaled_size(Size::new(width as i32, height as i32), target));
            let view = LumaView {
                width: width as u32,
                height: height as u32,
                stride,
                data: &data,
                pts_us: 0,
                session: 0,
                full_range: false,
            };
            let mut expected = Mat::default();
            resize(&borrow(&view).unwrap(), &mut expected, size, 0.0, 0.0, INTER_AREA).unwrap();
            let mut scaled = vec![0; (size.width * size.height) as usize];
            let mut scaler = AreaScaler::new(
                (source.width as usize, source.height as usize),
                (size.width as usize, size.height as usize),
            )
            .expect("it is scaling down");
            assert!(scaler.scale(&data, stride, &mut scaled));
            let expected = expected.data_bytes().unwrap();
            let off = expected.iter().zip(&scaled).filter(|(a, b)| a != b).count();
            let most = expected.iter().zip(&scaled).map(|(a, b)| a.abs_diff(*b)).max();
            println!(
                "{width}x{height} to {}x{}: {off} of {} pixels differ, by {most:?}",
                size.width,
                size.height,
                scaled.len()
            );
            assert!(most <= Some(1), "{width}x{height} to {size:?}: off by {most:?}");
            assert!(
                off * 1000 <= scaled.len(),
                "{width}x{height} to {size:?}: {off} of {} pixels differ",
                scaled.len()
            );
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

        #[test]
        fn scaling_from_any_size_to_any_is_that_of_opencv_to_one_level(
            width in 1usize..200, height in 1usize..120, target in (1usize..200, 1usize..120), seed in proptest::prelude::any::<u64>(),
        ) {
            let target = (target.0.min(width), target.1.min(height));
            let Some(mut scaler) = AreaScaler::new((width, height), target) else { return Ok(()) };
            let mut random = fastrand::Rng::with_seed(seed);
            let data: Vec<u8> = (0..width * height).map(|_| random.u8(..)).collect();
            let view = LumaView {
                width: width as u32,
                height: height as u32,
                stride: width,
                data: &data,
                pts_us: 0,
                session: 0,
                full_range: false,
            };
            let mut expected = Mat::default();
            let size = Size::new(target.0 as i32, target.1 as i32);
            resize(&borrow(&view).unwrap(), &mut expected, size, 0.0, 0.0, INTER_AREA).unwrap();
            let mut scaled = vec![0; target.0 * target.1];
            proptest::prop_assert!(scaler.scale(&data, width, &mut scaled));
            let most = expected.data_bytes().unwrap().iter().zip(&scaled).map(|(a, b)| a.abs_diff(*b)).max();
            proptest::prop_assert!(most <= Some(1), "off by {:?}", most);
        }
    }
}
