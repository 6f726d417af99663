//! Words in the corner of a picture that is going to be encoded, and outlines in it.
//!
//! Belongs here: drawing them. Does not belong here: what they say and show ([`super::transcode`]).

use ffmpeg_next::frame;
use opencv::core::{CV_8UC1, Mat, Point, Scalar, Vector};
use opencv::imgproc::{FONT_HERSHEY_SIMPLEX, LINE_8, LINE_AA, get_text_size, polylines, put_text};
use opencv::prelude::*;

/// Height of a capital letter of the font at scale 1, in pixels.
const CAPITAL_PIXELS: f64 = 22.0;
/// Grey values of the words and of what is behind them; both are black and white enough in either range.
const WORDS: f64 = 235.0;
const BEHIND: f64 = 16.0;

/// Draws lines of words into the upper left corner. What they look like is kept while they stay the same.
#[derive(Default)]
pub struct Overlay {
    lines: Vec<Line>,
}

/// A line as it is drawn: grey values, rows one after the other.
struct Line {
    words: String,
    colour: Colour,
    /// Of the picture it was drawn for.
    picture: (u32, u32),
    width: usize,
    height: usize,
    grey: Vec<u8>,
}

/// What is behind the words, or of what an outline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Black,
    Red,
    Green,
    Blue,
}

impl Colour {
    /// Grey value of an outline.
    fn y(self) -> u8 {
        match self {
            Colour::Black => BEHIND as u8,
            Colour::Red => 90,
            Colour::Green => 180,
            Colour::Blue => 130,
        }
    }

    fn u_and_v(self) -> [u8; 2] {
        match self {
            Colour::Black => [128, 128],
            Colour::Red => [100, 212],
            Colour::Green => [70, 60],
            Colour::Blue => [190, 90],
        }
    }
}

/// Draws a closed line through `corners`, which are shares of the width and height, into a picture of planar 4:2:0 YUV.
pub fn outline(picture: &mut frame::Video, corners: &[(f32, f32)], colour: Colour) -> opencv::Result<()> {
    let thickness = (picture.height() as i32 / 270).max(1);
    let [u, v] = colour.u_and_v();
    for (plane, value) in [colour.y(), u, v].into_iter().enumerate() {
        let (width, height) = (picture.plane_width(plane) as f32, picture.plane_height(plane) as i32);
        let pixel = |share: f32, size: f32| ((share * size) as i32).clamp(0, (size as i32 - 1).max(0));
        let points = corners.iter().map(|&(x, y)| Point::new(pixel(x, width), pixel(y, height as f32)));
        let points: Vector<Vector<Point>> = Vector::from_iter([Vector::from_iter(points)]);
        // Whole strides: what lies behind a row's last pixel is nobody's.
        let stride = picture.stride(plane);
        let length = stride * height as usize;
        let Some(rows) = picture.data_mut(plane).get_mut(..length) else { continue };
        let mut rows = Mat::new_rows_cols_with_data_mut(height, stride as i32, rows)?;
        // A line on a colour plane is twice as thick in the picture.
        let thickness = if plane == 0 { thickness } else { (thickness + 1) / 2 };
        polylines(&mut rows, &points, true, Scalar::all(f64::from(value)), thickness, LINE_8, 0)?;
    }
    Ok(())
}

impl Overlay {
    /// Draws `lines`, one below the other, into a picture of planar 4:2:0 YUV. What does not fit is cut off.
    pub fn draw(&mut self, picture: &mut frame::Video, lines: &[(&str, Colour)]) -> opencv::Result<()> {
        let size = (picture.width(), picture.height());
        self.lines.truncate(lines.len());
        let mut top = 0;
        for (number, (words, colour)) in lines.iter().enumerate() {
            let is_drawn = self
                .lines
                .get(number)
                .is_some_and(|line| line.words == *words && line.colour == *colour && line.picture == size);
            if !is_drawn {
                let line = Line::new(words, *colour, size)?;
                match self.lines.get_mut(number) {
                    Some(old) => *old = line,
                    None => self.lines.push(line),
                }
            }
            let line = &self.lines[number];
            line.put(picture, top);
            top += line.height;
        }
        Ok(())
    }
}

impl Line {
    fn new(words: &str, colour: Colour, picture: (u32, u32)) -> opencv::Result<Self> {
        let scale = (f64::from(picture.1) / 30.0).clamp(8.0, 40.0) / CAPITAL_PIXELS;
        let thickness = if scale > 0.8 { 2 } else { 1 };
        let mut baseline = 0;
        let text = get_text_size(words, FONT_HERSHEY_SIMPLEX, scale, thickness, &mut baseline)?;
        let margin = (text.height / 2).max(3);
        // Even, so that the colour planes have whole rows and columns of it.
        let width = (text.width + 2 * margin + 1) & !1;
        let height = (text.height + baseline / 2 + 2 * margin + 1) & !1;
        let mut drawn = Mat::new_rows_cols_with_default(height, width, CV_8UC1, Scalar::all(BEHIND))?;
        let origin = Point::new(margin, margin + text.height);
        let ink = Scalar::all(WORDS);
        put_text(&mut drawn, words, origin, FONT_HERSHEY_SIMPLEX, scale, ink, thickness, LINE_AA, false)?;
        Ok(Line {
            words: words.to_owned(),
            colour,
            picture,
            width: width as usize,
            height: height as usize,
            grey: drawn.data_bytes()?.to_vec(),
        })
    }

    fn put(&self, picture: &mut frame::Video, top: usize) {
        let (picture_width, picture_height) = (picture.width() as usize, picture.height() as usize);
        let width = self.width.min(picture_width);
        let height = self.height.min(picture_height.saturating_sub(top));
        let stride = picture.stride(0);
        let rows = picture.data_mut(0).chunks_mut(stride).skip(top).take(height);
        rows.zip(self.grey.chunks(self.width)).for_each(|(to, from)| to[..width].copy_from_slice(&from[..width]));
        for (plane, value) in (1..).zip(self.colour.u_and_v()) {
            let stride = picture.stride(plane);
            let rows = picture.data_mut(plane).chunks_mut(stride).skip(top / 2).take(height.div_ceil(2));
            rows.for_each(|row| row[..width.div_ceil(2)].fill(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;

    fn grey(width: u32, height: u32) -> frame::Video {
        let mut picture = frame::Video::new(Pixel::YUV420P, width, height);
        (0..3).for_each(|plane| picture.data_mut(plane).fill(128));
        picture
    }

    fn values(picture: &frame::Video, plane: usize) -> Vec<u8> {
        let (width, height) = (picture.plane_width(plane) as usize, picture.plane_height(plane) as usize);
        let rows = picture.data(plane).chunks(picture.stride(plane)).take(height);
        rows.flat_map(|row| row[..width].to_vec()).collect()
    }

    #[test]
    fn words_are_white_on_black_and_leave_the_rest_alone() {
        let mut picture = grey(640, 360);
        Overlay::default().draw(&mut picture, &[("front-door 12:00:00", Colour::Black)]).unwrap();
        let luma = values(&picture, 0);
        let corner: Vec<u8> = luma.chunks(640).take(20).flat_map(|row| row[..100].to_vec()).collect();
        assert!(corner.iter().filter(|grey| **grey > 200).count() > 50);
        assert!(corner.iter().filter(|grey| **grey < 30).count() > 500);
        assert!(luma[640 * 60..].iter().all(|grey| *grey == 128));
        assert!(values(&picture, 1).iter().all(|u| *u == 128));
    }

    #[test]
    fn the_second_line_is_below_the_first_in_its_own_colour() {
        let mut picture = grey(320, 240);
        let mut overlay = Overlay::default();
        overlay.draw(&mut picture, &[("a", Colour::Black), ("MOTION 9 s", Colour::Red)]).unwrap();
        let red = values(&picture, 2).iter().filter(|v| **v == 212).count();
        assert!(red > 100, "{red}");
        let mut without = grey(320, 240);
        overlay.draw(&mut without, &[("a", Colour::Black)]).unwrap();
        assert!(values(&without, 2).iter().all(|v| *v == 128));
    }

    #[test]
    fn a_picture_smaller_than_the_words_is_no_trouble() {
        for (width, height) in [(1, 1), (2, 2), (16, 4), (17, 9)] {
            let lines = [("a long line of words", Colour::Black), ("and another", Colour::Red)];
            Overlay::default().draw(&mut grey(width, height), &lines).unwrap();
        }
    }
}
