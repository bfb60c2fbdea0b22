//! What is done while the store is away: decide in this process, and deliver what was granted when the store is back.

mod delivery;
mod journal;
mod queue;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

pub(crate) use delivery::{Delivery, LONGEST_PAUSE, Sent, pauses};
pub use queue::Undelivered;
pub(crate) use queue::{Queue, Slot};

use super::engine::Engine;
use super::request::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Outage, Policy};

/// How a guard goes on without its store.
#[derive(Debug)]
pub(crate) struct Away {
    /// For requests that do not say.
    outage: Outage,
    /// Decides meanwhile. It remembers what it granted until the windows end, so that all outages of a window share one share.
    pub(crate) local: Arc<Engine>,
    pub(crate) queue: Arc<Queue>,
    turn: Arc<Turn>,
}

/// Who delivers.
#[derive(Debug, Default)]
struct Turn {
    is_taken: AtomicBool,
    /// Whether somebody who had it has ended, and may have left something: outside a runtime, or with his runtime.
    was_given_up: AtomicBool,
}

/// What became of asking the store.
pub(crate) enum Asked<T> {
    Answered(T),
    /// This process is to decide, with a place for what it grants; and why the store did not, where it was asked.
    Alone(Slot, Option<Error>),
}

impl Away {
    /// For this engine; `file` keeps what is undelivered beyond the process.
    ///
    /// # Errors
    /// `Io` when the file cannot be opened, read or locked; `Corrupt` when it holds something else.
    pub(crate) fn with_file(engine: &Engine, outage: Outage, most: usize, file: &Path) -> Result<Self> {
        let (queue, undelivered) = Queue::with_file(most, file)?;
        let away = Self::new(engine, outage, queue);
        for delivery in undelivered {
            // What was granted before the restart is a part of this process's share.
            if let Err(err) = at_once(delivery.count(&away.local)) {
                tracing::warn!(error = %err, "what an outage before the restart granted is not counted against the share");
            }
        }
        Ok(away)
    }

    pub(crate) fn in_memory(engine: &Engine, outage: Outage, most: usize) -> Self {
        Self::new(engine, outage, Queue::new(most))
    }

    fn new(engine: &Engine, outage: Outage, queue: Queue) -> Self {
        let local = Arc::new(engine.in_process());
        Self { outage, local, queue: Arc::new(queue), turn: Arc::default() }
    }

    /// How this engine goes on without its store; `None` when requests are to fail. Whatever they are to do, what was left
    /// undelivered is taken up; that costs a look at one flag where there is nothing.
    pub(crate) fn of(engine: &Arc<Engine>, outage: Option<Outage>) -> Option<(&Self, Outage)> {
        let away = engine.away.as_ref()?;
        if away.turn.was_given_up.load(Ordering::Relaxed) {
            // Before the queue is looked at: what comes later is given up later, too.
            away.turn.was_given_up.store(false, Ordering::SeqCst);
            away.deliver(engine);
        }
        let outage = outage.unwrap_or(away.outage);
        (outage != Outage::Deny).then_some((away, outage))
    }

    /// For requests that do not say.
    pub(crate) fn outage(&self) -> Outage {
        self.outage
    }

    /// Asks the store, unless the same request waits to be delivered: who asks again before that gets the answer of before.
    ///
    /// # Errors
    /// What the store answers, other than that it is away. When the queue is full `Unavailable`, or `Ambiguous` where the store
    /// may have done it and the caller has no id to ask again with.
    pub(crate) async fn ask<T>(
        &self,
        request: &Request<'_>,
        asked: impl Future<Output = Result<T>>,
    ) -> Result<Asked<T>> {
        let mut cause = None;
        if !self.queue.has(|| request.receipt_key())? {
            match asked.await {
                Err(err) if err.kind() == ErrorKind::Unavailable => cause = Some(err),
                answered => return answered.map(Asked::Answered),
            }
        }
        let slot = self.queue.slot(cause.as_ref()).map_err(|err| request.told(err))?;
        Ok(Asked::Alone(slot, cause))
    }

    /// Delivers in the background until the queue is empty, unless that is under way. Outside a runtime it waits for the next
    /// request.
    pub(crate) fn deliver(&self, engine: &Arc<Engine>) {
        if self.queue.depth() == 0 || self.turn.is_taken.swap(true, Ordering::SeqCst) {
            return;
        }
        // Should the runtime end in between, another one may go on.
        let delivering = Delivering(Arc::clone(&self.turn));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(delivery::deliver_all(Arc::downgrade(engine), Arc::clone(&self.queue), delivering));
        }
    }
}

/// The end of what waits for nothing: a store in this process answers at once.
fn at_once(future: impl Future<Output = Result<()>>) -> Result<()> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => end,
        Poll::Pending => Err(Error::new(ErrorKind::Store, "the store in this process does not answer at once")),
    }
}

/// As long as it lives the queue is being delivered.
#[derive(Debug)]
pub(crate) struct Delivering(Arc<Turn>);

impl Drop for Delivering {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::SeqCst);
        self.0.was_given_up.store(true, Ordering::SeqCst);
    }
}

/// The policy by which this process decides alone, and whether its limits are lifted.
pub(crate) fn policy_without_store(outage: Outage, policy: &Policy) -> (Policy, bool) {
    match outage {
        Outage::Local(share) => (policy.share(share), false),
        _ => (policy.clone(), true),
    }
}
