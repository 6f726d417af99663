//! A contact sheet: one small picture of each motion event, for people who look rather than read.
//!
//! Belongs here: choosing an event's picture, the grid, and the image file's bytes. Does not belong here: when an event
//! begins and ends ([`crate::domain::motion`]), the words below a picture.

use opencv::core::{CV_8UC3, Mat, Point, Rect, Size};
use opencv::imgproc::{LINE_AA, draw_contours, rectangle_points};
use opencv::prelude::*;

use super::decode::{DecodeError, LumaView};
use super::detect::{DetectError, Detector, Stage};
use super::jpeg;
use super::panes::{BACKGROUND, FAINT, GREEN, WORDS, fit, say, scalar, scaled_contours, turn, turned};
use super::picture::{BgrView, Picture, ToBgr};
use crate::domain::finding::Region;

/// A picture fits into this.
const TILE: (u32, u32) = (320, 240);
const COLUMNS: usize = 5;
/// More events than that are only counted: what is kept of one is at most 225 KiB.
const MOST_TILES: usize = 100;
const GAP: i32 = 6;
const CAPTION_HEIGHT: i32 = 22;
const FOOT_HEIGHT: i32 = 30;

/// The events of one stream.
pub struct Sheet {
    quarter_turns: u8,
    to_bgr: ToBgr,
    /// Of the event that is open: the picture with the largest change, and how large.
    best: Option<(u32, Mat)>,
    tiles: Vec<Tile>,
    left_out: u64,
}

struct Tile {
    picture: Mat,
    caption: String,
}

/// In which format the sheet is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SheetFormat {
    Png,
    Jpeg,
}

impl Sheet {
    /// For pictures that are to be shown by so many quarter turns clockwise.
    pub fn new(quarter_turns: u8) -> Self {
        Sheet { quarter_turns, to_bgr: ToBgr::default(), best: None, tiles: Vec::new(), left_out: 0 }
    }

    /// A picture of the open event, which `detector` looked at last. Kept, with the outlines of what changed, if no
    /// other of this event changed by more.
    pub fn offer(
        &mut self,
        view: &LumaView,
        picture: Picture,
        detector: &Detector,
        changed_pixels: u32,
    ) -> Result<(), DetectError> {
        let is_larger = self.best.as_ref().is_none_or(|(best, _)| changed_pixels > *best);
        if self.tiles.len() >= MOST_TILES || !is_larger {
            return Ok(());
        }
        let Some(mut tile) = self.small(view, picture)? else { return Ok(()) };
        if let Some(area) = detector.stage(Stage::Area) {
            let contours = scaled_contours(area, tile.cols() as u32, tile.rows() as u32)?;
            let none = opencv::core::no_array();
            draw_contours(&mut tile, &contours, -1, scalar(GREEN), 1, LINE_AA, &none, i32::MAX, Point::default())?;
        }
        self.best = Some((changed_pixels, turn(tile, self.quarter_turns)?));
        Ok(())
    }

    /// The picture that stands for an event, with outlines of these places. `caption` is for below it: a short line in
    /// ASCII.
    pub fn put(
        &mut self,
        view: &LumaView,
        picture: Picture,
        places: &[Region],
        caption: String,
    ) -> Result<(), DetectError> {
        if self.tiles.len() < MOST_TILES
            && let Some(mut tile) = self.small(view, picture)?
        {
            let (width, height) = (tile.cols() as f32, tile.rows() as f32);
            for place in places {
                let corner = |x: f32, y: f32| Point::new((x * width) as i32, (y * height) as i32);
                let (from, to) =
                    (corner(place.left, place.top), corner(place.left + place.width, place.top + place.height));
                rectangle_points(&mut tile, from, to, scalar(GREEN), 1, LINE_AA, 0)?;
            }
            self.best = Some((0, turn(tile, self.quarter_turns)?));
        }
        self.close(caption);
        Ok(())
    }

    /// The picture in the size of a tile. None: libav can't scale it (a picture of one pixel), which is told as what it
    /// is: nothing to see.
    fn small(&mut self, view: &LumaView, picture: Picture) -> Result<Option<Mat>, DetectError> {
        let (width, height) = fit((view.width, view.height), turned(TILE, self.quarter_turns));
        let Ok(BgrView { data, .. }) = self.to_bgr.run(picture, width, height) else { return Ok(None) };
        let line = Mat::new_rows_cols_with_data(height as i32, 3 * width as i32, data)?;
        Ok(Some(line.reshape(3, height as i32)?.try_clone()?))
    }

    /// The event is over. `caption` is for below its picture: a short line in ASCII.
    pub fn close(&mut self, caption: String) {
        let picture = self.best.take().map(|(_, picture)| picture).unwrap_or_default();
        if self.tiles.len() < MOST_TILES {
            self.tiles.push(Tile { picture, caption });
        } else {
            self.left_out += 1;
        }
    }

    /// How many events are on the sheet, and how many found no place.
    pub fn counts(&self) -> (usize, u64) {
        (self.tiles.len(), self.left_out)
    }

    /// The sheet as an image file, with `foot` and what was left out below.
    pub fn encode(&self, format: SheetFormat, foot: &str) -> Result<Vec<u8>, SheetError> {
        let canvas = self.draw(foot)?;
        let (width, height) = (canvas.cols() as u32, canvas.rows() as u32);
        let drawing = BgrView { width, height, data: canvas.data_bytes().map_err(DetectError::from)? };
        Ok(match format {
            SheetFormat::Png => jpeg::png_of_drawing(drawing)?,
            SheetFormat::Jpeg => jpeg::of_drawing(drawing)?,
        })
    }

    fn draw(&self, foot: &str) -> Result<Mat, DetectError> {
        let columns = self.tiles.len().clamp(1, COLUMNS);
        let rows = self.tiles.len().div_ceil(columns);
        // All pictures have one shape, unless the stream changes its own.
        let tallest = self.tiles.iter().map(|tile| tile.picture.rows()).max().unwrap_or(0);
        let (step_x, step_y) = (TILE.0 as i32 + GAP, tallest + CAPTION_HEIGHT + GAP);
        // Even, as encoders like it.
        let width = (columns as i32 * step_x + GAP) & !1;
        let height = (rows as i32 * step_y + GAP + FOOT_HEIGHT + 1) & !1;
        let mut canvas = Mat::new_size_with_default(Size::new(width, height), CV_8UC3, scalar(BACKGROUND))?;
        for (at, Tile { picture, caption }) in self.tiles.iter().enumerate() {
            let (left, top) = (GAP + (at % columns) as i32 * step_x, GAP + (at / columns) as i32 * step_y);
            if !picture.empty() {
                let middle = left + (TILE.0 as i32 - picture.cols()) / 2;
                let place = Rect::new(middle, top, picture.cols(), picture.rows());
                picture.copy_to(&mut Mat::roi_mut(&mut canvas, place)?)?;
            }
            say(&mut canvas, caption, left + 2, top + tallest + 16, 0.45, WORDS)?;
        }
        let foot = match self.left_out {
            0 => foot.to_owned(),
            more => format!("{foot}; the last {more} are not shown"),
        };
        say(&mut canvas, &foot, GAP + 2, height - 11, 0.45, FAINT)?;
        Ok(canvas)
    }
}

/// Why there is no sheet.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    #[error(transparent)]
    Draw(#[from] DetectError),
    #[error(transparent)]
    Encode(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_bounded_and_says_what_it_leaves_out() {
        let mut sheet = Sheet::new(0);
        let empty = sheet.draw("no events").unwrap();
        for event in 0..MOST_TILES + 7 {
            sheet.close(format!("event {event}"));
        }
        assert_eq!(sheet.counts(), (MOST_TILES, 7));
        let full = sheet.draw("107 events").unwrap();
        assert!(full.cols() > empty.cols() && full.rows() > empty.rows());
        for (format, magic) in [(SheetFormat::Png, &b"\x89PNG"[..]), (SheetFormat::Jpeg, &[0xff, 0xd8])] {
            assert!(sheet.encode(format, "107 events").unwrap().starts_with(magic), "{format:?}");
        }
    }
}
