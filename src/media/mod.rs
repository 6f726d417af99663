//! Safe, small wrappers around what is foreign: libav, V4L2, OpenCV, container bytes. Every blocking call has
//! a deadline; no unsafe leaks out.

pub mod nal;
pub mod packet;
pub mod readback;
pub mod ring;

pub use packet::Packet;
pub use ring::PacketRing;
