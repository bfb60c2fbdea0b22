//! Remembers which servers are away, so that a call to one fails at once and not after its whole deadline.
//!
//! A breaker belongs to a slot of a cluster, or to all of a single server. It is made by a failure, and forgotten by the
//! first answer. It opens after some failures in a row: then calls are refused, and a probe waits for the pool to have a
//! connection and sends a PING on it. An answer makes it half-open: calls go their way, and the first of them to end
//! closes it, or opens it again. So a store that is well is refused for the time of one PING after it came back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::dial::Task;
use super::failure::{CallError, Failure, NotSent};
use super::pool::Message;
use super::route::Route;
use crate::metrics;

/// The pause before the second probe; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longer than any pause of the pool: a probe takes the connection when it is there, not when it is due.
const PROBE_LIMIT: Duration = Duration::from_secs(7200);

/// Whether calls are sent, or refused because nobody answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls are sent.
    #[default]
    Closed,
    /// The server answered a probe: calls are sent, and the next that fails is taken as a sign that it is away again.
    HalfOpen,
    /// Calls are refused at once. Of a cluster: those to some of its slots.
    Open,
}

pub(super) struct Breakers {
    /// So many failures in a row open one; 0 is never.
    after: u32,
    longest_pause: Duration,
    /// How many there are, to be looked at without the lock: mostly none.
    count: AtomicUsize,
    by_slot: Mutex<HashMap<usize, Breaker>>,
}

struct Breaker {
    state: BreakerState,
    failures: u32,
    /// When the last failure was counted. What began before that is no further failure in a row: 64 calls that one broken
    /// connection carried fail together, and say the same thing.
    failed_at: Instant,
    last: NotSent,
    /// How often it was opened.
    opened: u32,
    _probe: Option<Task>,
}

impl Breakers {
    pub(super) fn new(after: u32, longest_pause: Duration) -> Self {
        Self { after, longest_pause, count: AtomicUsize::new(0), by_slot: Mutex::default() }
    }

    /// The worst of them.
    pub(super) fn state(&self) -> BreakerState {
        self.lock().values().map(|breaker| breaker.state).max().unwrap_or_default()
    }

    /// Whether a call may be sent.
    pub(super) fn check(&self, slot: usize) -> Result<(), NotSent> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.lock().get(&slot) {
            Some(breaker) if breaker.state == BreakerState::Open => Err(breaker.last.clone().not_tried()),
            _ => Ok(()),
        }
    }

    /// The server answered, be it with an error.
    pub(super) fn answered(&self, slot: usize) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let gone = {
            let mut by_slot = self.lock();
            let gone = by_slot.remove(&slot);
            self.count.store(by_slot.len(), Ordering::Relaxed);
            gone
        };
        if gone.as_ref().is_some_and(|breaker| breaker.state == BreakerState::Open) {
            metrics::BREAKERS_OPEN.fall();
        }
        if gone.is_some_and(|breaker| breaker.state != BreakerState::Closed) {
            tracing::info!("the store answers again; its circuit breaker is closed");
        }
    }

    /// A call that began then got no answer.
    pub(super) fn failed(self: &Arc<Self>, slot: usize, began: Instant, err: &CallError, route: &Arc<Route>) {
        if self.after == 0 {
            return;
        }
        let last = err.reason();
        let mut by_slot = self.lock();
        let breaker = by_slot.entry(slot).or_insert_with(|| Breaker {
            state: BreakerState::Closed,
            failures: 0,
            failed_at: began,
            last: last.clone(),
            opened: 0,
            _probe: None,
        });
        if began >= breaker.failed_at && breaker.state != BreakerState::Open {
            breaker.failures = breaker.failures.saturating_add(1);
            (breaker.failed_at, breaker.last) = (Instant::now(), last);
            if breaker.failures >= self.after {
                tracing::warn!(error = %err, "the store does not answer; its circuit breaker is open, calls fail at once");
                breaker.state = BreakerState::Open;
                metrics::BREAKER_OPENED.count([]);
                metrics::BREAKERS_OPEN.rise();
                let pause = self.pause(breaker.opened);
                breaker.opened = breaker.opened.saturating_add(1);
                breaker._probe = Some(self.probe(slot, Arc::clone(route), pause));
            }
        }
        self.count.store(by_slot.len(), Ordering::Relaxed);
    }

    /// The pause before a probe: none before the first.
    fn pause(&self, number: u32) -> Duration {
        let doubled = |number: u32| FIRST_PAUSE.saturating_mul(1 << number.min(16));
        number.checked_sub(1).map_or(Duration::ZERO, doubled).min(self.longest_pause)
    }

    fn probe(self: &Arc<Self>, slot: usize, route: Arc<Route>, first_pause: Duration) -> Task {
        // Should the runtime end before the answer, calls on another one find the way open.
        let answered = Answered { breakers: Arc::downgrade(self), slot };
        let pauses: Vec<_> = (1..16).map(|number| self.pause(number)).collect();
        let last_pause = self.longest_pause;
        Task(tokio::spawn(async move {
            let _answered = answered;
            tokio::time::sleep(first_pause).await;
            let mut pauses = pauses.into_iter();
            loop {
                let deadline = Instant::now() + PROBE_LIMIT;
                match route.send(slot, Message::new(&redis::cmd("PING")), deadline).await {
                    Err(err) if !err.is_answer() => {}
                    _ => return,
                }
                tokio::time::sleep(pauses.next().unwrap_or(last_pause)).await;
                route.relearn(Instant::now() + last_pause).await;
            }
        }))
    }

    // Held for a look into a map, never across an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Breaker>> {
        self.by_slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Breakers {
    /// Nobody closes those that are open any more, for the probes end with them.
    fn drop(&mut self) {
        let by_slot = self.by_slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        let open = by_slot.values().filter(|breaker| breaker.state == BreakerState::Open);
        open.for_each(|_| metrics::BREAKERS_OPEN.fall());
    }
}

/// Opens a breaker by half when the probe has ended.
struct Answered {
    breakers: Weak<Breakers>,
    slot: usize,
}

impl Drop for Answered {
    fn drop(&mut self) {
        let Some(breakers) = self.breakers.upgrade() else { return };
        if let Some(breaker) = breakers.lock().get_mut(&self.slot)
            && breaker.state == BreakerState::Open
        {
            breaker.state = BreakerState::HalfOpen;
            metrics::BREAKERS_OPEN.fall();
        }
    }
}

impl CallError {
    /// Whether the server answered, be it to refuse the call for good.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.failure(), Failure::Answered(_) | Failure::Final)
    }
}
