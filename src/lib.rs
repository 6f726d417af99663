//! Tarsier, a network video recorder.
//!
//! A packet enters at [`media::Source`], is kept in a camera's [`media::PacketRing`], is looked at by the
//! detector, and leaves through the writer into the [`archive`]. `docs/architecture.md` draws the way.
//!
//! Layers, an import points only down: [`domain`] (values in, values out), then [`media`], [`config`] and
//! [`archive`] (safe wrappers around the outside), then [`actors`] (who restarts whom), then [`web`] and
//! [`cli`].

pub mod actors;
pub mod archive;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod logging;
pub mod media;
pub mod pool;
pub mod web;
