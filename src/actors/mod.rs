//! Who starts, stops and restarts whom: Supervisor, CameraActor, DetectorActor, WriterActor, and their
//! messages. Thin: decisions live in `domain`, work in `media` and `archive`.

pub mod camera;
pub mod confirmer;
pub mod detector;
mod feed;
mod gaps;
mod guard;
pub mod janitor;
mod looker;
pub mod messages;
mod reader;
pub mod registry;
pub mod shared;
mod shots;
pub mod supervisor;
mod watch;
pub mod writer;
