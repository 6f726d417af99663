//! What is known of a scene, so that it can be gone on with after a restart.
//!
//! Belongs here: what is remembered, and how that is written in few bytes. Does not belong here: files, and how old a
//! memory may be (`archive::backgrounds`); whether it still fits ([`super::Adaptive`]).

/// The background of a scene, with the deviation of each of its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Levels; in steps of 1/128.
    pub(super) background: Vec<f32>,
    /// Levels; in steps of 1/4.
    pub(super) deviation: Vec<f32>,
    /// Of the whole picture, in levels.
    pub(super) noise: f32,
}

const BACKGROUND_STEPS: f32 = 128.0;
const DEVIATION_STEPS: f32 = 4.0;
const HEAD: usize = 8;
const BYTES_A_PIXEL: usize = 3;

impl Memory {
    /// Three bytes a pixel, and eight.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + BYTES_A_PIXEL * self.background.len());
        // The widest picture that is compared has 320 pixels.
        bytes.extend((self.width as u16).to_le_bytes());
        bytes.extend((self.height as u16).to_le_bytes());
        bytes.extend(self.noise.to_le_bytes());
        // A float that is no such number becomes the nearest one that is.
        bytes
            .extend(self.background.iter().flat_map(|level| ((level * BACKGROUND_STEPS).round() as u16).to_le_bytes()));
        bytes.extend(self.deviation.iter().map(|level| (level * DEVIATION_STEPS).round() as u8));
        bytes
    }

    /// None: they are not what [`Memory::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [w0, w1, h0, h1, noise @ ..] = *head;
        let (width, height) = (u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into());
        let pixels: usize = usize::checked_mul(width, height)?;
        if rest.len() != pixels.checked_mul(BYTES_A_PIXEL)? {
            return None;
        }
        let (background, deviation) = rest.split_at(2 * pixels);
        let level = |bytes: &[u8; 2]| f32::from(u16::from_le_bytes(*bytes)) / BACKGROUND_STEPS;
        let noise = Some(f32::from_le_bytes(noise)).filter(|noise| (0.0..=255.0).contains(noise))?;
        Some(Memory {
            width,
            height,
            background: background.as_chunks::<2>().0.iter().map(level).collect(),
            deviation: deviation.iter().map(|byte| f32::from(*byte) / DEVIATION_STEPS).collect(),
            noise,
        })
    }
}
