//! Holds under several roots, for one call: a hold each, all or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{DEFAULT_TTL, Hold, HoldState, Reserve, Settled};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Amounts, Decision, Estimate, Policy, Subject};
use crate::ops::engine::Engine;
use crate::ops::request::awaits;

/// The most roots that one reservation may span: each costs a round trip.
const MOST_ROOTS: usize = 8;

/// A reservation under several roots, made by [`CostGuard::reserve_across`](crate::CostGuard::reserve_across).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct ReserveAcross<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) parts: &'a [(&'a Policy, &'a Subject)],
    pub(crate) estimate: Estimate,
    pub(crate) id: Option<String>,
    pub(crate) ttl: Duration,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) at: Option<DateTime<Utc>>,
}

/// The holds of one call, one under each root, in the order in which they were asked for.
///
/// Dropped without an end each of them ends as a [`Hold`] does.
#[derive(Debug)]
#[must_use = "holds keep their amounts from others until they are settled or released; dropped at once they are released"]
pub struct JointHold {
    id: String,
    holds: Vec<Hold>,
}

/// The holds of a reservation that is under way.
struct Gathering {
    holds: Vec<Hold>,
    /// Whether the caller knows the id: he goes on where the reservation was given up, or lets the holds expire.
    is_known: bool,
}

impl Gathering {
    /// Gives back what is still open; what cannot be reached now is released in the background, or expires.
    async fn undo(mut self) {
        self.is_known = false;
        for hold in self.holds.iter_mut().filter(|hold| !hold.has_ended()) {
            if let Err(err) = hold.release().await {
                tracing::warn!(error = %err, "a part of a reservation that was refused could not be released at once");
            }
        }
    }

    fn complete(mut self) -> Vec<Hold> {
        std::mem::take(&mut self.holds)
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if self.is_known {
            self.holds.drain(..).for_each(Hold::forget);
        }
    }
}

impl<'a> ReserveAcross<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>, parts: &'a [(&'a Policy, &'a Subject)], estimate: Estimate) -> Self {
        Self { engine, parts, estimate, id: None, ttl: DEFAULT_TTL, tags: Vec::new(), at: None }
    }

    /// The id of every one of the holds, each under its own root; see [`Reserve::id`]. The same id again gives the same
    /// holds, and makes those that were left out because of a failure or because the request was given up; those that were made
    /// stay until then, or expire. Once it was refused it is used up: ask again with another.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// How long the holds live if nobody ends them; see [`Reserve::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// A name and a value to know the holds by; see [`Reserve::tag`].
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Decides by this time and not by the store's clock: for replays and tests.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    fn check(&self, id: &str) -> Result<()> {
        if self.parts.is_empty() || self.parts.len() > MOST_ROOTS {
            return Err(Error::invalid(format!(
                "a reservation spans 1 to {MOST_ROOTS} roots, and these are {}",
                self.parts.len()
            )));
        }
        if self.estimate.part().is_some() {
            return Err(Error::invalid(
                "what is left differs from root to root: reserve a known amount across roots, or under one root only",
            ));
        }
        let mut keys = BTreeSet::new();
        for (_, subject) in self.parts {
            if !keys.insert(subject.hold_key(&self.engine.prefix, id)?) {
                return Err(Error::invalid("two subjects have one root: put their limits into one policy and subject"));
            }
        }
        Ok(())
    }

    fn part(&self, id: &str, policy: &'a Policy, subject: &'a Subject) -> Reserve<'a> {
        let mut reserve = Reserve::new(self.engine, policy, subject, self.estimate.clone()).id(id).ttl(self.ttl);
        for (name, value) in &self.tags {
            reserve = reserve.tag(name, value);
        }
        reserve.made_id = self.id.is_none();
        match self.at {
            Some(time) => reserve.at(time),
            None => reserve,
        }
    }

    async fn run(self) -> Result<Decision<JointHold>> {
        let id = self.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        self.check(&id)?;
        let mut made = Gathering { holds: Vec::with_capacity(self.parts.len()), is_known: self.id.is_some() };
        for (policy, subject) in self.parts {
            match self.part(&id, policy, subject).await {
                Ok(Decision::Granted(hold)) if hold.state() == HoldState::Released => {
                    made.undo().await;
                    return Err(Error::new(
                        ErrorKind::HoldEnded,
                        format!("the reservation `{id}` was refused or released before; ask again with another id"),
                    ));
                }
                Ok(Decision::Granted(hold)) => made.holds.push(hold),
                Ok(Decision::Denied(denial)) => {
                    made.undo().await;
                    return Ok(Decision::Denied(denial));
                }
                Err(err) if made.is_known && err.kind() == ErrorKind::Unavailable => return Err(err),
                Err(err) => {
                    made.undo().await;
                    return Err(err);
                }
            }
        }
        Ok(Decision::Granted(JointHold { id, holds: made.complete() }))
    }
}

awaits!(ReserveAcross -> Decision<JointHold>);

impl JointHold {
    /// The id under which [`CostGuard::hold`](crate::CostGuard::hold) finds each of them under its root.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The holds.
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// Notes what has been spent so far, in memory only: what dropped holds are settled with.
    pub fn observe(&mut self, so_far: impl Into<Amounts>) {
        let so_far = so_far.into();
        self.holds.iter_mut().for_each(|hold| hold.observe(so_far.clone()));
    }

    /// Charges what the call really cost under every root, once; see [`Hold::settle`]. When one root fails the others are
    /// settled all the same, and settling again ends the rest; given up in between, they are settled when they are dropped.
    ///
    /// # Errors
    /// The first of [`Hold::settle`].
    pub async fn settle(&mut self, actual: impl Into<Amounts>) -> Result<Vec<Settled>> {
        let actual = actual.into();
        for hold in &mut self.holds {
            // One that cannot be settled with that says so in its turn.
            let _ = hold.observe_end(&actual);
        }
        let mut all = Vec::with_capacity(self.holds.len());
        for hold in &mut self.holds {
            all.push(hold.settle(actual.clone()).await);
        }
        all.into_iter().collect()
    }

    /// Gives everything back, under every root; releasing again releases what a failure left.
    ///
    /// # Errors
    /// The first of [`Hold::release`].
    pub async fn release(&mut self) -> Result<()> {
        let mut all = Vec::with_capacity(self.holds.len());
        for hold in &mut self.holds {
            all.push(hold.release().await);
        }
        all.into_iter().collect()
    }

    /// Lets every hold end `ttl` from now; see [`Hold::extend`].
    ///
    /// # Errors
    /// The first of [`Hold::extend`]; the others last longer all the same.
    pub async fn extend(&mut self, ttl: Duration) -> Result<()> {
        let mut all = Vec::with_capacity(self.holds.len());
        for hold in &mut self.holds {
            all.push(hold.extend(ttl).await.map(drop));
        }
        all.into_iter().collect()
    }

    /// Forgets the handles and leaves the holds as they are, to be found by their id or to expire.
    pub fn forget(self) {
        self.holds.into_iter().for_each(Hold::forget);
    }
}
