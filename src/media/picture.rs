//! Whole pictures with their colours: from a decoder to a screen, and from a drawing to an encoder.
//!
//! Belongs here: other sizes and pixel formats of a picture. Does not belong here: decoding ([`super::decode`]),
//! encoding ([`super::encode`]), what is drawn ([`super::panes`]).

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::software::scaling;

/// A decoded picture, borrowed from the decoder.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    frame: &'a frame::Video,
}

impl<'a> Picture<'a> {
    pub(super) fn new(frame: &'a frame::Video) -> Self {
        Picture { frame }
    }

    pub(super) fn frame(&self) -> &'a frame::Video {
        self.frame
    }
}

/// A decoded picture that outlives the decoder. It shares the picture's memory: keeping one copies nothing, but
/// holds that memory.
pub struct KeptPicture {
    frame: frame::Video,
}

impl Picture<'_> {
    pub fn keep(&self) -> Result<KeptPicture, ffmpeg::Error> {
        let mut frame = frame::Video::empty();
        // SAFETY: both are frames that are alive; libav makes the empty one hold the other's buffers, too.
        match unsafe { ffmpeg::ffi::av_frame_ref(frame.as_mut_ptr(), self.frame.as_ptr()) } {
            0.. => Ok(KeptPicture { frame }),
            error => Err(error.into()),
        }
    }
}

impl KeptPicture {
    pub fn picture(&self) -> Picture<'_> {
        Picture { frame: &self.frame }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.frame.width(), self.frame.height())
    }
}

/// Rows of blue, green and red bytes, one after the other, without a gap.
#[derive(Clone, Copy)]
pub struct BgrView<'a> {
    pub width: u32,
    pub height: u32,
    pub data: &'a [u8],
}

/// Makes decoded pictures small and blue, green and red.
pub struct ToBgr {
    scaler: Scaler,
    scaled: frame::Video,
    data: Vec<u8>,
}

impl Default for ToBgr {
    fn default() -> Self {
        ToBgr { scaler: Scaler::new(Pixel::BGR24), scaled: frame::Video::empty(), data: Vec::new() }
    }
}

impl ToBgr {
    /// `picture` in this size.
    pub fn run(&mut self, picture: Picture, width: u32, height: u32) -> Result<BgrView<'_>, ffmpeg::Error> {
        if (self.scaled.width(), self.scaled.height()) != (width, height) {
            self.scaled = frame::Video::empty();
        }
        self.scaler.run(picture.frame, width, height, &mut self.scaled)?;
        self.data.clear();
        let rows = self.scaled.data(0).chunks(self.scaled.stride(0)).take(height as usize);
        rows.for_each(|row| self.data.extend_from_slice(&row[..3 * width as usize]));
        Ok(BgrView { width, height, data: &self.data })
    }
}

/// A drawing as a picture of this pixel format.
pub(super) struct FromBgr {
    scaler: Scaler,
    drawing: frame::Video,
}

impl FromBgr {
    pub fn new(to: Pixel) -> Self {
        FromBgr { scaler: Scaler::new(to), drawing: frame::Video::empty() }
    }

    pub fn run(&mut self, drawing: BgrView) -> Result<frame::Video, ffmpeg::Error> {
        let BgrView { width, height, data } = drawing;
        let row_bytes = 3 * width as usize;
        if width == 0 || height == 0 || data.len() != row_bytes * height as usize {
            return Err(ffmpeg::Error::InvalidData);
        }
        if (self.drawing.width(), self.drawing.height()) != (width, height) {
            self.drawing = frame::Video::new(Pixel::BGR24, width, height);
        }
        let stride = self.drawing.stride(0);
        let rows = self.drawing.data_mut(0).chunks_mut(stride);
        rows.zip(data.chunks_exact(row_bytes)).for_each(|(to, from)| to[..row_bytes].copy_from_slice(from));
        let mut converted = frame::Video::empty();
        self.scaler.run(&self.drawing, width, height, &mut converted)?;
        Ok(converted)
    }
}

/// libav's scaler, opened anew where the pictures change.
pub(super) struct Scaler {
    to: Pixel,
    context: Option<scaling::Context>,
}

// SAFETY: libav's scaler belongs to no thread; whoever uses it has it for itself (`&mut`).
unsafe impl Send for Scaler {}

impl Scaler {
    pub(super) fn new(to: Pixel) -> Self {
        Scaler { to, context: None }
    }

    pub(super) fn run(
        &mut self,
        from: &frame::Video,
        width: u32,
        height: u32,
        to: &mut frame::Video,
    ) -> Result<(), ffmpeg::Error> {
        let input = scaling::context::Definition { format: from.format(), width: from.width(), height: from.height() };
        let output = scaling::context::Definition { format: self.to, width, height };
        let fits = |context: &scaling::Context| *context.input() == input && *context.output() == output;
        if !self.context.as_ref().is_some_and(fits) {
            let flags = scaling::Flags::AREA | scaling::Flags::ACCURATE_RND;
            let (input_size, output_size) = ((input.width, input.height), (width, height));
            self.context = Some(scaling::Context::get(
                input.format,
                input_size.0,
                input_size.1,
                output.format,
                output_size.0,
                output_size.1,
                flags,
            )?);
        }
        match &mut self.context {
            Some(context) => context.run(from, to),
            None => Err(ffmpeg::Error::Bug),
        }
    }
}
