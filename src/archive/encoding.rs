//! One recording that is encoded anew: its packets wait here for the shared threads, and what these make of them
//! waits here for the archive's thread.
//!
//! Belongs here: the two queues and the turns between them. Does not belong here: encoding
//! ([`crate::media::transcode`]), what is recorded and into which file ([`super::recorder`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::failpoint;
use crate::media::Packet;
use crate::media::transcode::{Transcoder, TranscoderSettings};
use crate::pool::Pool;

/// Packets a turn takes before another camera gets its turn.
const PACKETS_A_TURN: usize = 4;
/// No more packets are taken than that: what waits longer waits in the camera's ring.
const MOST_WAITING: usize = 64;

/// A recording under way. Dropped, it is given up.
pub(super) struct Encoding {
    /// Where the recording begins in the ring.
    pub begin_seq: u64,
    shared: Arc<Shared>,
}

struct Shared {
    camera: String,
    queues: Mutex<Queues>,
    /// Only one turn is under way at a time.
    transcoder: Mutex<Transcoder>,
    pool: Pool,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queues {
    input: VecDeque<(Arc<Packet>, Option<i64>)>,
    no_more_input: bool,
    output: VecDeque<Packet>,
    turn_is_due: bool,
    /// Nothing more is done.
    end: Option<Progress>,
}

/// How far an encoding is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    /// All its packets have been taken.
    Finished,
    /// Nothing more can be done: why.
    Failed(String),
    /// A panic's text.
    Crashed(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Encoding {
    /// `wake` is called, from another thread, when there is something to take.
    pub fn start(
        begin_seq: u64,
        settings: TranscoderSettings,
        pool: Pool,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            camera: settings.camera.clone(),
            queues: Mutex::default(),
            transcoder: Mutex::new(Transcoder::new(settings)),
            pool,
            wake: Box::new(wake),
        };
        Encoding { begin_seq, shared: Arc::new(shared) }
    }

    /// Should no more packets be given to it for now?
    pub fn is_full(&self) -> bool {
        lock(&self.shared.queues).input.len() >= MOST_WAITING
    }

    /// Queues a packet; see [`Transcoder::take`].
    pub fn push(&self, packet: Arc<Packet>, motion_left_us: Option<i64>) {
        let mut queues = lock(&self.shared.queues);
        queues.input.push_back((packet, motion_left_us));
        self.shared.ask_for_turn(&mut queues);
    }

    /// No more packets come.
    pub fn end(&self) {
        let mut queues = lock(&self.shared.queues);
        if !std::mem::replace(&mut queues.no_more_input, true) {
            self.shared.ask_for_turn(&mut queues);
        }
    }

    /// The next encoded packet that is ready.
    pub fn pop(&self) -> Option<Packet> {
        lock(&self.shared.queues).output.pop_front()
    }

    pub fn progress(&self) -> Progress {
        let queues = lock(&self.shared.queues);
        match &queues.end {
            Some(end) if queues.output.is_empty() => end.clone(),
            _ => Progress::Running,
        }
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        let mut queues = lock(&self.shared.queues);
        queues.input.clear();
        queues.end.get_or_insert(Progress::Finished);
    }
}

impl Shared {
    fn ask_for_turn(self: &Arc<Self>, queues: &mut Queues) {
        if queues.end.is_some() || std::mem::replace(&mut queues.turn_is_due, true) {
            return;
        }
        let (working, done) = (Arc::clone(self), Arc::clone(self));
        self.pool.submit(move || working.turn(), move |result| done.after_turn(result));
    }

    /// Encodes some packets. True: the recording is whole.
    fn turn(&self) -> Result<bool, String> {
        failpoint::reach("worker.encoder", &self.camera);
        let mut transcoder = lock(&self.transcoder);
        for _ in 0..PACKETS_A_TURN {
            let mut queues = lock(&self.queues);
            let Some((packet, motion_left_us)) = queues.input.pop_front() else {
                let is_over = queues.no_more_input;
                drop(queues);
                if is_over {
                    let last = transcoder.finish().map_err(|error| error.to_string())?;
                    lock(&self.queues).output.extend(last);
                }
                return Ok(is_over);
            };
            drop(queues);
            let made = transcoder.take(packet, motion_left_us).map_err(|error| error.to_string())?;
            lock(&self.queues).output.extend(made);
        }
        Ok(false)
    }

    fn after_turn(self: &Arc<Self>, result: Result<Result<bool, String>, String>) {
        let mut queues = lock(&self.queues);
        queues.turn_is_due = false;
        let end = match result {
            Ok(Ok(false)) => None,
            Ok(Ok(true)) => Some(Progress::Finished),
            Ok(Err(cause)) => Some(Progress::Failed(cause)),
            Err(panic) => Some(Progress::Crashed(panic)),
        };
        queues.end = queues.end.take().or(end);
        if !queues.input.is_empty() || queues.no_more_input {
            self.ask_for_turn(&mut queues);
        }
        drop(queues);
        (self.wake)();
    }
}
