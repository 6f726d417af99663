//! Who starts, stops and restarts whom: Supervisor, CameraActor, DetectorActor, WriterActor, and their
//! messages. Thin: decisions live in `domain`, work in `media` and `archive`.

pub mod registry;
