//! Safe, small wrappers around what is foreign: libav, V4L2, OpenCV, container bytes. Every blocking call has
//! a deadline; no unsafe leaks out.

pub mod av;
pub mod backtest;
pub mod confirm;
pub mod decode;
pub mod detect;
pub mod encode;
pub mod glimpse;
pub mod jpeg;
pub mod looks;
pub mod nal;
pub mod new_file;
pub mod overlay;
pub mod packet;
pub mod panes;
pub mod picture;
pub mod readback;
pub mod ring;
pub mod sheet;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;
pub mod transcode;

pub use decode::{DecodeError, LumaDecoder, LumaView};
pub use detect::{DetectError, Detector, Score};
pub use packet::Packet;
pub use ring::PacketRing;
