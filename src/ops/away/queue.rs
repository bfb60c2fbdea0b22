//! What was granted without the store and is not delivered yet: bounded, in order, each under its name once.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::delivery::Delivery;
use super::journal::Journal;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics;

/// How much of what was granted without the store is not delivered yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Undelivered {
    /// What waits for the store.
    pub depth: usize,
    /// What the queue has room for, that which waits and that which holds will need included. When it is full requests fail;
    /// ends of holds that the store granted are taken all the same.
    pub most: usize,
    /// What the store refused for good, since the guard was made: a conflict of ids, a counter that would overflow. Each was
    /// logged as an error, and is kept in the file's `.rejected` neighbor where there is a file.
    pub rejected: u64,
}

#[derive(Debug)]
pub(crate) struct Queue {
    most: usize,
    /// How many wait.
    depth: watch::Sender<usize>,
    // Held for a line in a file at most, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Their numbers by name.
    names: HashMap<String, u64>,
    /// Places that are promised.
    slots: usize,
    next: u64,
    rejected: u64,
    journal: Option<Journal>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    number: u64,
    pub(crate) delivery: Delivery,
}

impl Queue {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, depth: watch::Sender::new(0), state: Mutex::default() }
    }

    /// With what the file says was not delivered.
    pub(crate) fn with_file(most: usize, path: &Path) -> Result<(Self, Vec<Delivery>)> {
        let (journal, lines) = Journal::open(path)?;
        let mut state = State { journal: Some(journal), ..State::default() };
        for (number, body) in lines {
            let delivery: Delivery = serde_json::from_str(&body).map_err(|err| {
                let told = format!("{}: entry {number} is none of this version's: {err}", path.display());
                Error::new(ErrorKind::Corrupt, told)
            })?;
            state.next = state.next.max(number + 1);
            state.names.insert(delivery.name().to_owned(), number);
            state.entries.push_back(Entry { number, delivery });
        }
        let undelivered: Vec<_> = state.entries.iter().map(|entry| entry.delivery.clone()).collect();
        undelivered.iter().for_each(|_| metrics::UNDELIVERED.rise());
        let depth = watch::Sender::new(undelivered.len());
        Ok((Self { most, depth, state: Mutex::new(state) }, undelivered))
    }

    pub(crate) fn depth(&self) -> usize {
        *self.depth.borrow()
    }

    pub(crate) fn undelivered(&self) -> Undelivered {
        let state = self.lock();
        Undelivered { depth: state.entries.len(), most: self.most, rejected: state.rejected }
    }

    /// Whether something of this name waits.
    pub(crate) fn has(&self, name: impl FnOnce() -> Result<String>) -> Result<bool> {
        if self.depth() == 0 {
            return Ok(false);
        }
        let name = name()?;
        Ok(self.lock().names.contains_key(&name))
    }

    /// A place for what is about to be granted because of `cause`.
    ///
    /// # Errors
    /// `Unavailable` when there is none left.
    pub(crate) fn slot(self: &Arc<Self>, cause: Option<&Error>) -> Result<Slot> {
        let mut state = self.lock();
        if state.entries.len() + state.slots >= self.most {
            let told = format!(
                "the store is away and {} grants wait to be delivered, which is the most that the queue takes \
                 (Builder::outage_queue)",
                self.most
            );
            return Err(match cause {
                Some(cause) if cause.may_have_happened() => {
                    Error::unanswered(format!("{told}: {cause}"), cause.clone())
                }
                cause => {
                    let cause = cause
                        .map_or_else(|| "the store has not taken what was granted".to_owned(), ToString::to_string);
                    Error::new(ErrorKind::Unavailable, format!("{told}; nothing was granted: {cause}"))
                }
            });
        }
        state.slots += 1;
        Ok(Slot(Arc::clone(self)))
    }

    /// A place for the end of a hold that the store granted: there is always one, for no more can end than are open.
    pub(crate) fn slot_of_end(self: &Arc<Self>) -> Slot {
        self.lock().slots += 1;
        Slot(Arc::clone(self))
    }

    pub(super) fn first(&self) -> Option<Entry> {
        self.lock().entries.front().cloned()
    }

    /// The first was delivered, or will never be.
    pub(super) fn done(&self, entry: &Entry, rejected: Option<&Error>) {
        let mut state = self.lock();
        let State { entries, names, journal, rejected: count, .. } = &mut *state;
        if entries.front().is_some_and(|first| first.number == entry.number) {
            entries.pop_front();
            metrics::UNDELIVERED.fall();
            names.remove(entry.delivery.name());
        }
        if let Some(err) = rejected {
            *count += 1;
            metrics::REJECTED.count([]);
            tracing::error!(
                operation = entry.delivery.operation(),
                error = %err,
                "the store refuses for good what was granted while it was away"
            );
        }
        if let Some(journal) = journal {
            // What is not marked as done is delivered again after a restart, under its id: nothing counts twice.
            let marked = match rejected {
                Some(_) => journal.reject(entry.number),
                None => journal.done(entry.number),
            };
            if let Err(err) = marked {
                tracing::warn!(error = %err, "the queue's file does not know that an entry was delivered");
            }
        }
        self.depth.send_replace(state.entries.len());
    }

    /// Has the disk take what the operating system has, as far as there is a file.
    pub(super) fn sync(&self) {
        let file = self.lock().journal.as_mut().and_then(Journal::unsynced);
        if let Some(Err(err)) = file.map(|file| file.sync_data()) {
            tracing::warn!(error = %err, "the queue's file could not be brought to the disk");
        }
    }

    /// Waits until nothing waits.
    pub(crate) async fn emptied(&self) {
        // It cannot fail: the sender is here.
        let _ = self.depth.subscribe().wait_for(|depth| *depth == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let state = self.lock();
        state.entries.iter().for_each(|_| metrics::UNDELIVERED.fall());
        if state.journal.is_none() && !state.entries.is_empty() {
            tracing::error!(
                grants = state.entries.len(),
                "the guard ended before what it granted without the store was delivered: call shutdown before, or give the \
                 queue a file"
            );
        }
    }
}

/// A place in the queue: whoever has one can keep what he grants.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Queue>);

impl Slot {
    /// Puts something into the queue, unless it is there.
    ///
    /// # Errors
    /// `Conflict` when something else is there under the same name; `Io` when the file cannot be written.
    pub(crate) fn push(&self, delivery: Delivery) -> Result<()> {
        let mut state = self.0.lock();
        let name = delivery.name();
        let known = state.names.get(name).and_then(|number| {
            let place = state.entries.binary_search_by_key(number, |entry| entry.number).ok()?;
            state.entries.get(place)
        });
        if let Some(known) = known {
            if known.delivery.is_same(&delivery) {
                return Ok(());
            }
            return Err(Error::new(
                ErrorKind::Conflict,
                "this id has been granted another request that is not delivered yet; nothing was changed",
            ));
        }
        let number = state.next;
        if let Some(journal) = &mut state.journal {
            let body = serde_json::to_string(&delivery);
            journal.add(number, &body.map_err(|err| Error::invalid(err.to_string()))?)?;
        }
        state.next += 1;
        state.names.insert(name.to_owned(), number);
        state.entries.push_back(Entry { number, delivery });
        metrics::UNDELIVERED.rise();
        self.0.depth.send_replace(state.entries.len());
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().slots -= 1;
    }
}
