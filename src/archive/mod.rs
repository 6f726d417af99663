//! The archive: its files, the index over them, what is deleted when, and what a start does with a crash.
//!
//! Belongs here: everything that touches the archive's folder. Does not belong here: when to record (that is
//! `domain::recorder`) and who runs which thread (`actors`).

pub mod disk;
pub mod index;
pub mod paths;
pub mod recovery;
pub mod retention;
