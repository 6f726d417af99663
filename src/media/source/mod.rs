//! Where packets come in: one seam for network cameras, USB cameras and files.
//!
//! Belongs here: opening, reading and closing a source, each with a deadline; what a source's packets are to
//! the rest of the house (stamps, keyframes, descriptions). Does not belong here: reconnecting, backoff, the
//! ring: those are the caller's.
//!
//! Name resolution and some drivers cannot be interrupted. A caller that waits longer than a deadline and a
//! second leaves the thread behind; nothing here holds a lock meanwhile.

mod audio;
mod deadline;
mod device;
mod intake;
mod libav;
mod raw;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use deadline::Cancel;

use super::packet::{Packet, Session};
use crate::domain::config::{AudioMode, Transport};
use crate::domain::source_url::{SourceKind, SourceUrl};

/// Closing a source (RTSP: telling the camera so) takes at most this long, cancelled or not.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The usual [`OpenOptions::keyframe_timeout`].
pub const KEYFRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// An open connection to a camera, or an open file.
pub trait Source: Send {
    /// The next packet in arrival order; Ok(None): the source has ended (a file).
    ///
    /// Blocks at most `read_timeout`, but for one case: a live stream that sends pictures of which none is a
    /// keyframe is waited for up to `keyframe_timeout`; [`Cancel::progress`] rises meanwhile.
    fn next(&mut self) -> Result<Option<Packet>, SourceError>;

    /// Packets that the network lost, so far.
    fn lost_packets(&self) -> u64;

    /// How long a file is, as it says itself.
    fn duration_us(&self) -> Option<i64> {
        None
    }

    /// By how many quarter turns, clockwise, its pictures are to be shown: 0 to 3.
    fn quarter_turns(&self) -> u8 {
        0
    }
}

/// How to open a source.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub url: SourceUrl,
    pub transport: Transport,
    /// For all of opening: name, connection, log-in, and (RTSP) the first packet.
    pub connect_timeout: Duration,
    /// For each packet.
    pub read_timeout: Duration,
    /// For the first keyframe of a live stream, see [`Source::next`].
    pub keyframe_timeout: Duration,
    /// A file starts again at its end, as one session.
    pub repeat: bool,
    /// A file is read at the pace of its timestamps; false: as fast as it can.
    pub real_time: bool,
    /// A file ends after so much of its own time.
    pub at_most: Option<Duration>,
    pub audio: AudioMode,
}

impl OpenOptions {
    /// A file's pictures, once, as fast as they can be read.
    pub fn of_file(path: &Path) -> Self {
        OpenOptions {
            url: SourceUrl::new(path.to_string_lossy()),
            transport: Transport::Tcp,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            keyframe_timeout: KEYFRAME_TIMEOUT,
            repeat: false,
            real_time: false,
            at_most: None,
            audio: AudioMode::Off,
        }
    }
}

/// What kind of trouble a source is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// Nobody answers there.
    Unreachable,
    /// User name or password are wrong, or missing.
    Unauthorized,
    /// There is no such stream, file or device.
    NotFound,
    /// The stream holds no video.
    NoVideo,
    /// It went silent.
    Timeout,
    /// Something Tarsier does not handle.
    Unsupported,
    /// The caller wanted it to stop.
    Cancelled,
    /// What came makes no sense, or ended where it should not.
    Broken,
}

/// Why a source could not be opened or read. The message says what was wrong and what to do, and never holds
/// a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    pub kind: SourceErrorKind,
    pub message: String,
}

impl SourceError {
    fn new(kind: SourceErrorKind, source: &SourceUrl, what: impl AsRef<str>) -> Self {
        SourceError { kind, message: format!("{source}: {}", source.redact_in(what.as_ref())) }
    }
}

/// Opens a source. Returns within `connect_timeout`, or at once when cancelled, but for what cannot be
/// interrupted (see the head of this module).
pub fn open(options: &OpenOptions, session: Arc<Session>, cancel: &Cancel) -> Result<Box<dyn Source>, SourceError> {
    match options.url.kind() {
        SourceKind::Device => device::open(options, session, cancel),
        SourceKind::Rtsp | SourceKind::Http | SourceKind::File => libav::open(options, session, cancel),
    }
}
