//! The pure core: values in, values and actions out.
//!
//! Belongs here: configuration types, stream descriptions, time arithmetic, ring arithmetic, the adaptive motion
//! detector and how well one does, what a model's output says, tampering, the motion and recorder state machines, what is missing, backoff. Does
//! not belong here: actix, libav, OpenCV, files, sockets, the wall
//! clock.

pub mod access;
pub mod adaptive;
pub mod backoff;
pub mod camera;
pub mod config;
pub mod finding;
pub mod found;
pub mod judge;
pub mod label;
pub mod layout;
pub mod missing;
pub mod motion;
pub mod onnx;
pub mod picks;
pub mod recorder;
pub mod recording;
pub mod retention;
pub mod ring;
pub mod schedule;
pub mod score;
pub mod separation;
pub mod source_url;
pub mod stream;
pub mod tamper;
pub mod throttle;
pub mod timeline;
pub mod timezone;
pub mod utc_map;
pub mod zone;
