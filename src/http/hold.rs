//! The hold of a request, between the layer that reserved it and the handler that knows what is spent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::budget::Unobserved;
use crate::model::{Amounts, Meter};
use crate::ops::{HeldAmount, Hold, completed};

/// How long the end of a response waits for its settlement, which then goes on in the background.
const SETTLE_WAIT: Duration = Duration::from_secs(1);

/// What a request has set aside, for its handler and the body of its response: a request extension that
/// [`BudgetLayer`](super::BudgetLayer) adds. Cheap to clone; every clone is the same hold.
#[derive(Clone, Debug)]
pub struct SharedHold {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: Option<String>,
    held: Vec<HeldAmount>,
    // Held for a copy, never across an await.
    observed: Mutex<Option<Amounts>>,
}

impl SharedHold {
    fn new(id: Option<String>, held: Vec<HeldAmount>) -> Self {
        Self { shared: Arc::new(Shared { id, held, observed: Mutex::default() }) }
    }

    /// The hold of a request that was let through while the store was away: nothing is held and nothing will be settled.
    pub(super) fn none() -> Self {
        Self::new(None, Vec::new())
    }

    /// The id under which [`CostGuard::hold`](crate::CostGuard::hold) finds the hold; `None` when the request was let through
    /// while the store was away, so that nothing is held.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.shared.id.as_deref()
    }

    /// What is held of a meter, in its unit; 0 when nothing is.
    #[must_use]
    pub fn held(&self, meter: &Meter) -> i64 {
        self.shared.held.iter().filter(|held| held.meter == *meter).map(|held| held.amount).max().unwrap_or(0)
    }

    /// Notes what has been spent so far, in all, in memory only. What was noted last is settled when the body of the response
    /// ends or is dropped; after that a note does nothing. A meter that is not given is settled with what is held of it.
    pub fn observe(&self, so_far: impl Into<Amounts>) {
        *self.shared.observed.lock().unwrap_or_else(PoisonError::into_inner) = Some(so_far.into());
    }

    /// What was observed, completed by what is held, for a settlement takes every meter.
    fn observed(&self) -> Option<Amounts> {
        let observed = self.shared.observed.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(completed(&observed, &self.shared.held, self.id().unwrap_or_default()))
    }

    fn held_amounts(&self) -> Amounts {
        let held = self.shared.held.iter();
        held.fold(Amounts::new(), |amounts, held| amounts.with(held.meter.clone(), held.amount))
    }
}

/// A hold on its way to its end. Dropped before that, it ends in the background.
pub(super) struct Ending {
    hold: Option<Hold>,
    shared: SharedHold,
    unobserved: Unobserved,
}

impl Ending {
    pub(super) fn new(hold: Hold, unobserved: Unobserved) -> Self {
        let shared = SharedHold::new(Some(hold.id().to_owned()), hold.amounts());
        Self { hold: Some(hold), shared, unobserved }
    }

    pub(super) fn shared(&self) -> SharedHold {
        self.shared.clone()
    }

    /// From now on the request has failed: where nothing was observed, nothing was spent.
    pub(super) fn fail(&mut self) {
        self.unobserved = Unobserved::Release;
    }

    /// Settles or releases the hold.
    pub(super) async fn end(mut self) {
        let amounts = self.amounts();
        let Some(mut hold) = self.hold.take() else { return };
        let ending = async {
            match amounts {
                Some(amounts) => hold.settle(amounts).await.map(|_| ()),
                None => hold.release().await,
            }
        };
        // What has not ended by now ends in the background, when `hold` is dropped.
        match tokio::time::timeout(SETTLE_WAIT, ending).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => {
                tracing::warn!(hold = hold.id(), error = %err, "a hold could not be ended; trying once more")
            }
            Err(_) => tracing::warn!(hold = hold.id(), "ending a hold takes long; leaving it to the background"),
        }
    }

    /// What to settle; `None` to release.
    fn amounts(&self) -> Option<Amounts> {
        let estimate = || (self.unobserved == Unobserved::Settle).then(|| self.shared.held_amounts());
        self.shared.observed().or_else(estimate)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(mut hold) = self.hold.take()
            && let Some(amounts) = self.amounts()
        {
            hold.observe(amounts);
        }
    }
}
