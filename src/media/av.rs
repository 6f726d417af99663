//! libav as a whole: it is set up once, and its log goes through tracing.
//!
//! Belongs here: what concerns all of libav. Does not belong here: demuxing, decoding.
//!
//! libav's log is also the only place where it tells of packets that the network lost, and often the only one
//! that says why something failed. A [`Watch`] that has been entered on a thread gets what libav says there.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use ffmpeg_next::ffi;

use crate::domain::source_url::{SourceUrl, redact_urls};

/// The tracing target of what libav says.
pub const LOG_TARGET: &str = "libav";

/// Sets libav up. Cheap after the first call; every room that uses libav calls it.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the callback has the type libav wants and lives as long as the process.
        unsafe { ffi::av_log_set_callback(Some(on_line)) };
        ffmpeg_next::format::network::init();
    });
}

/// Listens to what libav says about one source.
#[derive(Debug)]
pub struct Watch {
    source: SourceUrl,
    lost_packets: AtomicU64,
    ended_early: AtomicBool,
    last_error: Mutex<Option<String>>,
}

thread_local! {
    static CURRENT: RefCell<Listener> = const { RefCell::new(Listener { watch: None, line: String::new(), prefix: 1 }) };
}

/// What a thread knows of the libav call it is in.
struct Listener {
    watch: Option<Arc<Watch>>,
    /// libav may say a line in pieces.
    line: String,
    /// libav's own note of whether the next piece begins a line.
    prefix: c_int,
}

/// While it lives, what libav says on this thread belongs to its [`Watch`].
#[must_use]
pub struct Entered {
    before: Option<Arc<Watch>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let _ = CURRENT.try_with(|current| {
            if let Ok(mut current) = current.try_borrow_mut() {
                current.watch = before;
            }
        });
    }
}

impl Watch {
    pub fn new(source: &SourceUrl) -> Arc<Self> {
        Arc::new(Watch {
            source: source.clone(),
            lost_packets: AtomicU64::new(0),
            ended_early: AtomicBool::new(false),
            last_error: Mutex::new(None),
        })
    }

    /// Listens on this thread until the answer is dropped.
    pub fn enter(self: &Arc<Self>) -> Entered {
        let watch = Some(Arc::clone(self));
        Entered { before: CURRENT.with(|current| std::mem::replace(&mut current.borrow_mut().watch, watch)) }
    }

    /// RTP packets that never came, so far.
    pub fn lost_packets(&self) -> u64 {
        self.lost_packets.load(Ordering::Relaxed)
    }

    /// Did libav meet the end where more should have been?
    pub fn ended_early(&self) -> bool {
        self.ended_early.load(Ordering::Relaxed)
    }

    /// The last complaint, redacted; it is forgotten.
    pub fn take_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn hear(&self, level: c_int, text: &str) {
        if let Some(count) = lost_packets_in(text) {
            self.lost_packets.fetch_add(count, Ordering::Relaxed);
        }
        if text.contains("File ended prematurely") || text.contains("partial file") {
            self.ended_early.store(true, Ordering::Relaxed);
        }
        if level <= ffi::AV_LOG_ERROR {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        }
    }
}

/// How many packets a line of libav's RTP code says are lost.
fn lost_packets_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("RTP: missed ")?;
    rest.split_once(" packets")?.0.parse().ok()
}

#[cfg(target_arch = "x86_64")]
type VaList = *mut ffi::__va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type VaList = ffi::va_list;

/// libav calls this from any of its threads. Whatever happens in here, no panic crosses into C.
unsafe extern "C" fn on_line(object: *mut c_void, level: c_int, format: *const c_char, arguments: VaList) {
    // The level's upper bits are a colour. What is more detailed than this holds requests with credentials.
    let level = level & 0xff;
    if level > ffi::AV_LOG_VERBOSE {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut buffer: [c_char; 1024] = [0; 1024];
        let finished = CURRENT.try_with(|current| {
            let mut current = current.try_borrow_mut().ok()?;
            // SAFETY: libav's own arguments go back to it unchanged; the buffer is as long as said, and what is
            // written ends with a NUL.
            let piece = unsafe {
                ffi::av_log_format_line2(
                    object,
                    level,
                    format,
                    arguments,
                    buffer.as_mut_ptr(),
                    buffer.len() as c_int,
                    &mut current.prefix,
                );
                CStr::from_ptr(buffer.as_ptr())
            };
            current.line.push_str(&piece.to_string_lossy());
            if !current.line.ends_with('\n') && current.line.len() < 4096 {
                return None;
            }
            Some((std::mem::take(&mut current.line), current.watch.clone()))
        });
        if let Ok(Some((line, watch))) = finished {
            tell(level, line.trim_end(), watch.as_deref());
        }
    }));
}

fn tell(level: c_int, line: &str, watch: Option<&Watch>) {
    let text = match watch {
        Some(watch) => watch.source.redact_in(&without_address(line)),
        None => redact_urls(&without_address(line)),
    };
    if text.is_empty() || text.to_ascii_lowercase().contains("authorization:") {
        return;
    }
    if let Some(watch) = watch {
        watch.hear(level, &text);
    }
    // What matters comes back as an error of the call; the lines are for who looks closer.
    if level <= ffi::AV_LOG_FATAL {
        tracing::warn!(target: LOG_TARGET, "{text}");
    } else if level <= ffi::AV_LOG_INFO {
        tracing::debug!(target: LOG_TARGET, "{text}");
    } else {
        tracing::trace!(target: LOG_TARGET, "{text}");
    }
}

/// `[rtsp @ 0x55d0c8a0] text` as `rtsp: text`: an address in memory tells nobody anything.
fn without_address(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((name, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(" @ 0x"))
        && let Some((_, text)) = after.split_once("] ")
    {
        out.push_str(name);
        out.push_str(": ");
        rest = text;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &CStr) {
        // SAFETY: the format takes one string, and one is given.
        unsafe { ffi::av_log(std::ptr::null_mut(), ffi::AV_LOG_ERROR, c"%s".as_ptr(), text.as_ptr()) };
    }

    #[test]
    fn a_watch_hears_its_own_thread_only_and_redacted() {
        init();
        let watch = Watch::new(&SourceUrl::new("rtsp://u:hunter22@h/x"));
        say(c"before\n");
        {
            let _entered = watch.enter();
            say(c"RTP: missed 12 packets\n");
            say(c"cannot open rtsp://u:hunter22@h/x");
            say(c": hunter22 refused\n");
            std::thread::spawn(|| say(c"RTP: missed 100 packets\n")).join().unwrap();
        }
        say(c"after\n");
        assert_eq!(watch.lost_packets(), 12);
        assert_eq!(watch.take_error().as_deref(), Some("cannot open rtsp://***@h/x: *** refused"));
        assert_eq!(watch.take_error(), None);
    }

    #[test]
    fn addresses_in_memory_are_left_out() {
        assert_eq!(without_address("[rtsp @ 0x55d0] [tcp @ 0x77] no [x @ y"), "rtsp: tcp: no [x @ y");
        assert_eq!(without_address("[in] plain"), "[in] plain");
    }

    #[test]
    fn lost_packets_are_read_from_the_line() {
        assert_eq!(lost_packets_in("[rtsp @ 0x55] RTP: missed 7 packets"), Some(7));
        assert_eq!(lost_packets_in("max delay reached. need to consume packet"), None);
    }
}
