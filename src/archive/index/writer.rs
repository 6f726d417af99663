//! The one thread that writes the index. It takes all that waits in one transaction; where the disk fails the
//! changes go back into the queue and it tries again; a broken database makes way for a new one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::db::{Db, DbError, Found, move_aside, salvage_gaps};
use super::journal::Journals;
use super::queue::Queue;
use super::{Ask, Shared, State};
use crate::clock;

/// Between two tries while the disk fails.
const RETRY: Duration = Duration::from_secs(1);
/// How often an idle writer looks whether its file is still there and whether a reader met damage.
const LOOK: Duration = Duration::from_secs(2);

pub(super) struct Writer {
    pub db: Option<Db>,
    /// There was a database, and nobody has noticed yet that it is gone.
    pub was_open: bool,
    /// Nothing is known of the whole file yet, or a reader met damage.
    pub unchecked: bool,
    pub journals: Journals,
}

impl Writer {
    pub fn run(mut self, shared: &Shared) {
        loop {
            let (mut queue, ask, up_to) = self.wait(shared);
            let now = clock::utc_now();
            // A panic here must not end the only thread that writes: it counts as a failed try.
            let written = catch_unwind(AssertUnwindSafe(|| self.write(shared, &mut queue, ask))).unwrap_or_else(|_| {
                self.db = None;
                Err("a fault of tarsier's own, see the log".to_owned())
            });
            if ask == Ask::End {
                // Before anybody is told: the last connection tidies its journal up.
                shared.reader.renew();
                self.db = None;
            }
            if written.is_ok() && shared.notes_alive.load(Ordering::SeqCst) {
                shared.home.note(now);
            }
            let mut state = shared.lock();
            match written {
                Ok(()) => {
                    state.written = up_to;
                    state.failing = None;
                }
                Err(what) => {
                    state.queue.give_back(queue);
                    let waiting = state.queue.len();
                    let trouble = format!(
                        "the index {} cannot be written: {what} ({waiting} changes wait in memory)",
                        shared.path.display()
                    );
                    if state.failing.is_none() || ask == Ask::End {
                        tracing::error!("{trouble}");
                    }
                    state.failing = Some(trouble);
                }
            }
            state.ended = ask == Ask::End;
            drop(state);
            shared.changed.notify_all();
            if ask == Ask::End {
                return;
            }
        }
    }

    /// Waits for something to do: what is queued, whether this is the end, and how far it goes.
    fn wait(&self, shared: &Shared) -> (Queue, Ask, u64) {
        let mut state = shared.lock();
        if state.failing.is_some() {
            // Changes that come meanwhile are no reason to hurry.
            let waited = shared.changed.wait_timeout_while(state, RETRY, |state| state.ask == Ask::Nothing);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else if !self.has_own_work(shared) {
            let idle = |state: &mut State| state.queue.is_empty() && state.ask == Ask::Nothing;
            let waited = shared.changed.wait_timeout_while(state, LOOK, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let ask = std::mem::take(&mut state.ask);
        state.settle_minutes(clock::utc_now(), ask != Ask::Nothing);
        (std::mem::take(&mut state.queue), ask, state.queued)
    }

    fn has_own_work(&self, shared: &Shared) -> bool {
        let next_id = shared.next_id.load(Ordering::SeqCst);
        self.unchecked || self.db.as_ref().is_none_or(|db| db.wants_write(next_id))
    }

    fn write(&mut self, shared: &Shared, queue: &mut Queue, ask: Ask) -> Result<(), String> {
        if shared.reader.suspect.swap(false, Ordering::SeqCst) {
            self.unchecked = true;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_write(shared, queue, ask) {
                Ok(()) => return Ok(()),
                Err(DbError::Broken(what)) if tries == 1 => self.replace(shared, &what)?,
                Err(DbError::Broken(what) | DbError::Failing(what)) => {
                    // A connection that met an error of the disk may keep it: the next try has a new one.
                    self.db = None;
                    return Err(what);
                }
            }
        }
    }

    fn try_write(&mut self, shared: &Shared, queue: &mut Queue, ask: Ask) -> Result<(), DbError> {
        shared.home.check().map_err(|error| DbError::Failing(error.to_string()))?;
        if self.db.as_ref().is_some_and(|db| !db.in_place()) {
            self.db = None;
            self.was_open = false;
            shared.taken_away();
        }
        let db = match &mut self.db {
            Some(db) => db,
            None => {
                let (db, found) = Db::open(&shared.path)?;
                shared.learn(&found);
                // While the disk failed, nobody looked.
                if std::mem::replace(&mut self.was_open, true) && found.new {
                    shared.taken_away();
                }
                self.db.insert(db)
            }
        };
        if self.unchecked {
            db.check()?;
            self.unchecked = false;
        }
        let next_id = shared.next_id.load(Ordering::SeqCst);
        if !queue.is_empty() || db.wants_write(next_id) {
            db.write(queue, next_id, &self.journals)?;
            shared.unsynced.store(true, Ordering::SeqCst);
        }
        match ask {
            Ask::Nothing => Ok(()),
            Ask::Mark | Ask::End => db.mark_closed(next_id, clock::utc_now()),
        }
    }

    /// Puts a new database in the place of a broken one.
    fn replace(&mut self, shared: &Shared, what: &str) -> Result<(), String> {
        self.db = None;
        let (db, aside) = make_way(&shared.path, what)?;
        self.db = Some(db);
        self.unchecked = false;
        let mut state = shared.lock();
        for gap in salvage_gaps(&aside) {
            state.queue.add_gap(gap);
        }
        state.begun_anew(rebuilding(&shared.path, what, &aside));
        drop(state);
        shared.renewed();
        Ok(())
    }
}

/// Moves a broken database aside and makes a new one.
pub(super) fn make_way(path: &Path, what: &str) -> Result<(Db, std::path::PathBuf), String> {
    let aside = move_aside(path, clock::utc_now())
        .map_err(|error| format!("it is broken ({what}) and cannot be moved aside: {error}"))?;
    tracing::error!("{}", rebuilding(path, what, &aside));
    match Db::open(path) {
        Ok((db, Found { .. })) => Ok((db, aside)),
        Err(DbError::Broken(error) | DbError::Failing(error)) => Err(error),
    }
}

pub(super) fn rebuilding(path: &Path, what: &str, aside: &Path) -> String {
    format!(
        "the index {} was broken ({what}); it is kept as {} and a new one is made from the journals and the files",
        path.display(),
        aside.display()
    )
}
