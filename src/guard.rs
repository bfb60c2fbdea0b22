//! `CostGuard`, the front door.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::model::{Amounts, Counter, Estimate, Meter, Policy, Subject, encode_prefix};
use crate::ops::request::Request;
use crate::ops::{
    Adjust, Adjustments, Admit, Charge, Correction, Count, Engine, FindHold, ListHolds, Peek, Reserve, Statement,
};
use crate::store::embedded::Embedded;
use crate::store::redis::RedisStore;
use crate::store::{Clock, Store, SystemClock};

/// Charges, counts and checks on one store.
///
/// Cheap to clone and to share between tasks and threads: every clone is the same guard.
#[derive(Clone, Debug)]
pub struct CostGuard {
    engine: Arc<Engine>,
}

/// Settings of a [`CostGuard`].
#[derive(Clone, Debug)]
pub struct Builder {
    prefix: String,
    retention: Duration,
    receipt_ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl Default for Builder {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self { prefix: String::new(), retention: hours(48), receipt_ttl: hours(24), clock: Arc::new(SystemClock) }
    }
}

impl Builder {
    /// What every key begins with: `app:` makes `app:cost:{acme}:…`. Default: nothing.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How long a counter outlives its window. Zero keeps it until the window ends. Default: 48 hours.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long an operation id is remembered, so that a repeat does nothing. Default: 24 hours.
    #[must_use]
    pub fn receipt_ttl(mut self, receipt_ttl: Duration) -> Self {
        self.receipt_ttl = receipt_ttl;
        self
    }

    /// The clock by which windows are named before the store is asked. It need not be right: the store's clock decides,
    /// and the guard learns from it. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A guard on the server at `url`: `redis://user:password@host:6379/0`, or `memory:` for an embedded store.
    ///
    /// # Errors
    /// `Invalid` when the URL is none, `Unavailable` when no server answers there.
    pub async fn connect(self, url: &str) -> Result<CostGuard> {
        if url == "memory:" {
            return self.embedded();
        }
        let store = RedisStore::connect(url).await?;
        self.store(Arc::new(store))
    }

    /// A guard on an embedded store of its own, in this process. What it holds ends with it.
    ///
    /// # Errors
    /// `Invalid` when the settings are out of bounds.
    pub fn embedded(self) -> Result<CostGuard> {
        let store = Embedded::builder().clock(self.clock.clone()).build();
        self.store(Arc::new(store))
    }

    /// A guard on any store, which may be shared by several guards.
    ///
    /// # Errors
    /// `Invalid` when the settings are out of bounds.
    pub fn store(self, store: Arc<dyn Store>) -> Result<CostGuard> {
        const YEAR: Duration = Duration::from_secs(366 * 86_400);
        if self.retention > YEAR || self.receipt_ttl > YEAR || self.receipt_ttl < Duration::from_millis(1) {
            return Err(Error::invalid(
                "retention and receipt_ttl are at most a year, and receipt_ttl is at least 1 ms",
            ));
        }
        let prefix = encode_prefix(&self.prefix)?;
        let engine = Engine::new(store, prefix, self.retention, self.receipt_ttl, self.clock);
        Ok(CostGuard { engine: Arc::new(engine) })
    }
}

impl CostGuard {
    /// Settings to start from.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A guard on the server at `url`, with default settings; see [`Builder::connect`].
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }

    /// A guard on an embedded store of its own, with default settings: for tests, for one process, for trying things.
    #[must_use]
    pub fn embedded() -> Self {
        let Builder { prefix, retention, receipt_ttl, clock } = Builder::default();
        let store = Arc::new(Embedded::builder().clock(clock.clone()).build());
        Self { engine: Arc::new(Engine::new(store, prefix, retention, receipt_ttl, clock)) }
    }

    /// Charges `amounts` to `subject` if every limit of `policy` allows it: to all of them or to none.
    ///
    /// # Errors
    /// `Invalid` when the subject lacks a scope or the request an amount that the policy limits; `Conflict` when its id
    /// was used for another request; `Overflow` and `Corrupt` when a counter cannot take it; `Ambiguous` when it has no
    /// id and the connection broke before the answer; `Unavailable` when the store cannot be reached.
    pub fn admit<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: impl Into<Amounts>) -> Admit<'a> {
        Admit(self.request(policy, subject, amounts.into()))
    }

    /// Charges `amounts` to `subject` whatever the limits: for money that is already spent.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn charge<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: impl Into<Amounts>) -> Charge<'a> {
        Charge(self.request(policy, subject, amounts.into()))
    }

    /// Where the limits of `policy` stand for `subject`; changes nothing.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn peek<'a>(&'a self, policy: &'a Policy, subject: &'a Subject) -> Peek<'a> {
        Peek::new(&self.engine, policy, subject)
    }

    /// Where the limits of `policy` stand for `subject`, and how much of what is held comes free when; changes nothing.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn statement<'a>(&'a self, policy: &'a Policy, subject: &'a Subject) -> Statement<'a> {
        Statement::new(&self.engine, policy, subject)
    }

    /// Sets an estimate aside for `subject` if every limit of `policy` allows it, until the hold is settled with what the
    /// call really cost, released, or expires.
    ///
    /// # Errors
    /// As [`admit`](Self::admit); never `Ambiguous`, for a reservation always has an id.
    pub fn reserve<'a>(
        &'a self,
        policy: &'a Policy,
        subject: &'a Subject,
        estimate: impl Into<Estimate>,
    ) -> Reserve<'a> {
        Reserve::new(&self.engine, policy, subject, estimate.into())
    }

    /// Finds a hold by its id, from any process: for a webhook or a restarted worker to settle.
    ///
    /// # Errors
    /// `UnknownHold` when it was never made, or ended longer ago than the guard's `receipt_ttl`.
    pub fn hold<'a>(&'a self, subject: &'a Subject, id: &'a str) -> FindHold<'a> {
        FindHold { engine: &self.engine, subject, id, at: None }
    }

    /// Lists the open holds under the root of `subject`, whichever of its scopes they count against: for people who ask
    /// why there is no room. It looks through every key of the store, so it is slow where there are many, and no part of
    /// serving a request.
    ///
    /// # Errors
    /// `Invalid` when the subject is none; `Unavailable` when the store cannot be reached.
    pub fn holds<'a>(&'a self, subject: &'a Subject) -> ListHolds<'a> {
        ListHolds { engine: &self.engine, subject, at: None }
    }

    /// Waits until the holds that were dropped are settled or released, and gives how many were not when `timeout` was
    /// over: those expire. Call it before the runtime ends.
    pub async fn shutdown(&self, timeout: Duration) -> usize {
        self.engine.endings.drain(timeout).await
    }

    /// Counts one on a counter that lives for `ttl` from its first hit on: logins, retries, anything without a calendar.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn count<'a>(
        &'a self,
        subject: &'a Subject,
        scope_kind: &'a str,
        meter: &'a Meter,
        ttl: Duration,
    ) -> Count<'a> {
        Count { engine: &self.engine, subject, scope_kind, meter, ttl, amount: 1, extend: false, id: None }
    }

    /// Corrects one counter by hand and notes the reason.
    ///
    /// # Errors
    /// As [`admit`](Self::admit), and `Invalid` when it would fall below zero.
    pub fn adjust<'a>(
        &'a self,
        subject: &'a Subject,
        counter: &'a Counter,
        correction: Correction,
        reason: &'a str,
    ) -> Adjust<'a> {
        Adjust { engine: &self.engine, subject, counter, correction, reason, id: None, at: None }
    }

    /// The last 100 corrections of one counter in its current window, oldest first.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn adjustments<'a>(&'a self, subject: &'a Subject, counter: &'a Counter) -> Adjustments<'a> {
        Adjustments { engine: &self.engine, subject, counter, at: None }
    }

    /// Where this guard keeps its counters.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.engine.store
    }

    /// The store's time as far as this guard knows it, in milliseconds since the epoch.
    #[cfg(feature = "http")]
    pub(crate) fn now_ms(&self) -> i64 {
        self.engine.now_ms()
    }

    fn request<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: Amounts) -> Request<'a> {
        Request { engine: &self.engine, policy, subject, amounts, id: None, at: None }
    }
}
