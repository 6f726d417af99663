//! The archive: its files, the index over them, what is deleted when, and what a start does with a crash.
//!
//! Belongs here: everything that touches the archive's folder. Does not belong here: when to record (that is
//! `domain::recorder`) and who runs which thread (`actors`).

mod container;
pub mod disk;
pub mod file;
pub mod index;
pub mod mp4;
pub mod paths;
pub mod recovery;
pub mod retention;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
