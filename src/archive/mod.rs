//! The archive: recordings on disk.

mod container;
pub mod file;
pub mod mkv;
pub mod mp4;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
