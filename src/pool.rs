//! The threads on which all cameras' pictures are decoded, looked at and encoded.
//!
//! Turns are fair because each camera has at most one job waiting and the queue is first come, first served.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use crate::domain::source_url::redact_urls;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the threads; they end when the last handle is gone.
#[derive(Clone)]
pub struct Pool {
    jobs: mpsc::Sender<Job>,
}

impl Pool {
    pub fn start(threads: usize) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..threads.max(1) {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new().name(format!("pool-{number}")).spawn(move || {
                loop {
                    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        Ok(job) => job(),
                        Err(mpsc::RecvError) => break,
                    }
                }
            })?;
        }
        Ok(Pool { jobs })
    }

    /// Queues work; `done` gets its result, or the text of its panic.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Result<T, String>) + Send + 'static,
    ) {
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(panic.as_ref()));
            done(result);
        });
        // Without threads the process is ending.
        let _ = self.jobs.send(job);
    }
}

/// The text of a caught panic, redacted: it goes to the log and the API.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    redact_urls(text.unwrap_or("panic without a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_job_alone() {
        let pool = Pool::start(1).unwrap();
        let (results, got) = mpsc::channel();
        let other = results.clone();
        pool.submit(
            || panic!("broken picture"),
            move |result: Result<(), _>| results.send(result.unwrap_err()).unwrap(),
        );
        pool.submit(|| 7, move |result| other.send(result.unwrap().to_string()).unwrap());
        assert_eq!(got.recv().unwrap(), "broken picture");
        assert_eq!(got.recv().unwrap(), "7");
    }
}
