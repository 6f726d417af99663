//! Grey planes as they come, scaled to the size in which they are compared.
//!
//! Belongs here: which size that is, and who scales: our own code where it can, else OpenCV.

use opencv::boxed_ref::BoxedRef;
use opencv::core::{CV_8UC1, Mat, Scalar, Size};
use opencv::imgproc::{INTER_AREA, resize};
use opencv::prelude::*;

use super::DetectError;
use super::area::AreaScaler;
use crate::media::decode::LumaView;

/// Scales the planes of one stream, into a buffer that is used again for every picture.
pub(super) struct Scaled {
    width: u32,
    /// Size of the pictures that come in and of the scaled ones.
    source: Size,
    pub size: Size,
    /// None: the size stays, grows or shrinks to almost nothing, which OpenCV does.
    scaler: Option<AreaScaler>,
    pub picture: Mat,
}

impl Scaled {
    /// To `width` pixels, the height in proportion.
    pub fn to(width: u32) -> Self {
        Scaled { width, source: Size::default(), size: Size::default(), scaler: None, picture: Mat::default() }
    }

    /// Takes the next picture; true: it is of another size than the one before.
    pub fn take(&mut self, view: &LumaView) -> Result<bool, DetectError> {
        let plane = borrow(view)?;
        let source = plane.size()?;
        let is_other = source != self.source;
        if is_other {
            self.source = source;
            self.size = scaled_size(source, self.width);
            let size = |size: Size| (size.width as usize, size.height as usize);
            self.scaler = AreaScaler::new(size(source), size(self.size));
        }
        if let Some(scaler) = &mut self.scaler {
            if self.picture.size()? != self.size {
                self.picture = Mat::new_size_with_default(self.size, CV_8UC1, Scalar::default())?;
            }
            if scaler.scale(view.data, view.stride, self.picture.data_bytes_mut()?) {
                return Ok(is_other);
            }
        }
        resize(&plane, &mut self.picture, self.size, 0.0, 0.0, INTER_AREA)?;
        Ok(is_other)
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
