//! The log: what is said, in which form, where it goes and how often.
//!
//! Everything passes redaction before it is kept, and nobody who logs waits for a disk: lines go through a
//! bounded queue to a thread that writes them. Belongs here: the tracing subscriber, its console and file, the
//! panic hook. Not here: what is worth saying, and to whom in the API.

mod file;
mod fold;
mod line;

use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::clock;
use crate::domain::config::{LogConfig, LogFormat};
use crate::domain::source_url::redact_urls;
use file::RolledFile;
use fold::{Admission, Folder};
use line::{Fields, Line};

/// Lines that wait for the writing thread; more are counted as lost.
const QUEUE_LINES: usize = 4096;

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is neither a level nor a filter.
    #[error(
        "log level `{level}` can't be used: {reason} (use error, warn, info, debug, trace, or a filter such as `info,tarsier::media=debug`)"
    )]
    Level { level: String, reason: String },
    /// The file can't be opened for writing.
    #[error("log file {} can't be opened: {source} (check that its folder may be written, or set `log.path`)", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The system gives no thread.
    #[error("the log's thread can't be started: {0}")]
    Thread(std::io::Error),
    /// The writing thread does not get rid of its lines.
    #[error("the log is stuck: its console or disk takes nothing")]
    Stuck,
    /// A log is set up already.
    #[error("the log is set up already")]
    Twice,
}

/// Holds the log's thread; what is queued is written when it is dropped.
#[must_use = "the log ends with its handle"]
pub struct LogHandle {
    shared: Arc<Shared>,
    filter: reload::Handle<EnvFilter, Registry>,
    /// `RUST_LOG` wins over the configuration's level.
    level_from_environment: bool,
    thread: Option<JoinHandle<()>>,
}

/// What those who log share with the thread that writes.
struct Shared {
    folder: Mutex<Folder>,
    queue: SyncSender<Job>,
    lost: AtomicU64,
}

enum Job {
    Line(Box<Line>),
    /// Look after the folder: something waits in it now.
    Wake,
    Reopen,
    Apply(LogConfig),
    Flush(SyncSender<()>),
    Stop,
}

/// Sets up the process's log as `config` says, or `RUST_LOG` for the level, and logs panics from now on.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|level| !level.trim().is_empty());
    let (subscriber, handle) = build(config, from_environment, Box::new(std::io::stderr()))?;
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    log_panics(handle.shared.clone());
    Ok(handle)
}

/// The log of a command that is not the daemon: on stderr only, whatever `config` says of a file.
pub fn init_console(config: &LogConfig) -> Result<LogHandle, LogError> {
    init(&LogConfig { path: None, console: true, ..config.clone() })
}

impl LogHandle {
    /// Opens the file again, for one that was moved away.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.shared.queue.try_send(Job::Reopen).map_err(|_| LogError::Stuck)
    }

    /// Takes over all of `config` but its path, and opens the file again.
    pub fn apply(&self, config: &LogConfig) -> Result<(), LogError> {
        if !self.level_from_environment {
            let filter = filter_of(&config.level)?;
            // Fails only when the subscriber is gone, and then nothing is logged anyway.
            let _ = self.filter.reload(filter);
        }
        self.shared.queue.try_send(Job::Apply(config.clone())).map_err(|_| LogError::Stuck)
    }

    /// Waits until everything said so far is written, `deadline` at most.
    pub fn flush(&self, deadline: Duration) {
        self.shared.flush(deadline);
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        let _ = self.shared.queue.try_send(Job::Stop);
        if let Some(thread) = self.thread.take()
            && self.shared.flush(Duration::from_secs(1))
        {
            let _ = thread.join();
        }
    }
}

fn build(
    config: &LogConfig,
    level_from_environment: Option<String>,
    console: Box<dyn Write + Send>,
) -> Result<(impl Subscriber + Send + Sync + for<'a> LookupSpan<'a> + 'static, LogHandle), LogError> {
    let (filter, filter_handle) =
        reload::Layer::new(filter_of(level_from_environment.as_deref().unwrap_or(&config.level))?);
    let file = match &config.path {
        Some(path) => Some(
            RolledFile::open(path, config.max_size_bytes, config.backups)
                .map_err(|source| LogError::File { path: path.clone(), source })?,
        ),
        None => None,
    };
    let (queue, jobs) = sync_channel(QUEUE_LINES);
    let shared = Arc::new(Shared { folder: Mutex::new(Folder::default()), queue, lost: AtomicU64::new(0) });
    let mut writer =
        Writer { shared: shared.clone(), jobs, console, to_console: config.console, format: config.format, file };
    let thread =
        std::thread::Builder::new().name("log".into()).spawn(move || writer.run()).map_err(LogError::Thread)?;
    let layer = LogLayer { shared: shared.clone() };
    let handle = LogHandle {
        shared,
        filter: filter_handle,
        level_from_environment: level_from_environment.is_some(),
        thread: Some(thread),
    };
    Ok((tracing_subscriber::registry().with(filter).with(layer), handle))
}

/// A plain level is Tarsier's; libraries speak from `warn` on. Anything else is a filter as `RUST_LOG` takes it.
fn filter_of(level: &str) -> Result<EnvFilter, LogError> {
    let directives = match level.trim().parse::<Level>() {
        Ok(plain) => format!("{},tarsier={plain}", plain.min(Level::WARN)),
        Err(_) => level.to_owned(),
    };
    EnvFilter::try_new(directives)
        .map_err(|error| LogError::Level { level: level.to_owned(), reason: error.to_string() })
}

/// Turns events into lines, folds storms, and queues the rest.
struct LogLayer {
    shared: Arc<Shared>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        event.record(&mut fields);
        let line = Line::new(clock::utc_now(), event.metadata(), fields);
        logging_here(|| self.shared.say(line));
    }
}

impl Shared {
    fn say(&self, line: Line) {
        if line.level <= Level::WARN {
            match lock(&self.folder).admit(&line, clock::monotonic()) {
                Admission::Write => {}
                Admission::Folded { first } => {
                    if first {
                        let _ = self.queue.try_send(Job::Wake);
                    }
                    return;
                }
            }
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Job::Line(Box::new(line))) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// False at the deadline.
    fn flush(&self, deadline: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        // A full queue means that the writer is stuck: then nothing is gained by waiting.
        match self.queue.try_send(Job::Flush(done)) {
            Ok(()) => !matches!(wait.recv_timeout(deadline), Err(RecvTimeoutError::Timeout)),
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => true,
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    console: Box<dyn Write + Send>,
    to_console: bool,
    format: LogFormat,
    file: Option<RolledFile>,
}

impl Writer {
    fn run(&mut self) {
        let mut stopping = false;
        loop {
            let due = lock(&self.shared.folder).next_due();
            let wait = due.map(|due| due.saturating_duration_since(clock::monotonic()));
            let job = match wait {
                _ if stopping => self.jobs.try_recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.jobs.recv_timeout(wait),
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match job {
                Ok(Job::Line(line)) => self.write(&line),
                Ok(Job::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Job::Reopen) => self.reopen(),
                Ok(Job::Apply(config)) => self.apply(&config),
                Ok(Job::Flush(done)) => {
                    self.write_folded(true);
                    let _ = done.try_send(());
                }
                Ok(Job::Stop) => stopping = true,
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_folded(true);
                    return;
                }
            }
            self.write_folded(false);
            let lost = self.shared.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                self.write(&Line::own(
                    clock::utc_now(),
                    format!("{lost} lines of the log were lost: it is read or written too slowly"),
                ));
            }
        }
    }

    fn write_folded(&mut self, all: bool) {
        let folded = lock(&self.shared.folder).take_due(clock::monotonic(), all);
        for line in folded {
            self.write(&line);
        }
    }

    fn write(&mut self, line: &Line) {
        let text = match self.format {
            LogFormat::Text => line.to_text(),
            LogFormat::Json => line.to_json(),
        };
        if self.to_console {
            // Nobody can be told that the console is gone.
            let _ = self.console.write_all(text.as_bytes());
        }
        if let Some(file) = &mut self.file
            && let Some(complaint) = file.write(text.as_bytes())
        {
            let _ = self.console.write_all(Line::own(clock::utc_now(), complaint).to_text().as_bytes());
        }
    }

    fn reopen(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.reopen()
        {
            let complaint = format!("log file {} can't be opened again: {error}", file.path().display());
            let _ = self.console.write_all(Line::own(clock::utc_now(), complaint).to_text().as_bytes());
        }
    }

    fn apply(&mut self, config: &LogConfig) {
        self.to_console = config.console;
        self.format = config.format;
        if let Some(file) = &mut self.file {
            file.set_limits(config.max_size_bytes, config.backups);
        }
        self.reopen();
    }
}

thread_local! {
    /// This thread is inside the log: a panic from there must not come back to it.
    static LOGGING: Cell<bool> = const { Cell::new(false) };
}

fn logging_here(work: impl FnOnce()) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let _ = LOGGING.try_with(|logging| logging.set(false));
        }
    }
    let _ = LOGGING.try_with(|logging| logging.set(true));
    let _leave = Leave;
    work();
}

/// Panics go to the log, redacted, with the camera of the span they happened in.
fn log_panics(shared: Arc<Shared>) {
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        if LOGGING.try_with(Cell::get).unwrap_or(true) {
            let text = redact_urls(&format!("panic in thread {thread} while logging, at {location}: {message}\n"));
            let _ = std::io::stderr().write_all(text.as_bytes());
            return;
        }
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            tracing::error!(thread, location, %backtrace, "panic: {message}");
        } else {
            tracing::error!(thread, location, "panic: {message}");
        }
        // A second panic may end the process at once.
        shared.flush(Duration::from_millis(200));
    }));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
