//! `CostGuard`, the front door.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::builder::Builder;
use crate::error::{Error, Result};
use crate::model::{Amounts, Counter, Estimate, IntoAmount, Meter, Policy, Subject};
use crate::ops::request::Request;
use crate::ops::{
    Adjust, Adjustments, Admit, Charge, Correction, Count, Engine, FindHold, ListHolds, ListRules, Peek, Refund,
    Reserve, ReserveAcross, SetRule, Statement, Undelivered,
};
use crate::service::{Cache, Daily, Event, Health, PerMinute, Sessions, Tokens};
use crate::store::Store;
use crate::store::redis::{MultiplexedConnection, RedisStore, escape_glob};

/// Charges, counts and checks on one store.
///
/// Cheap to clone and to share between tasks and threads: every clone is the same guard.
#[derive(Clone, Debug)]
pub struct CostGuard {
    pub(crate) engine: Arc<Engine>,
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

    /// A guard on what the environment names, with default settings; see [`Builder::connect_from_env`].
    ///
    /// # Errors
    /// As [`Builder::connect_from_env`].
    pub async fn connect_from_env() -> Result<Self> {
        Self::builder().connect_from_env().await
    }

    /// A guard on an embedded store of its own, with default settings: for tests, for one process, for trying things.
    #[must_use]
    pub fn embedded() -> Self {
        crate::builder::embedded_by_default()
    }

    /// Charges `amounts` to `subject` if every limit of `policy` allows it: to all of them or to none.
    ///
    /// # Errors
    /// `Invalid` when the subject lacks a scope or the request an amount that the policy limits; `Conflict` when its id
    /// was used for another request; `Overflow` and `Corrupt` when a counter cannot take it; `Ambiguous` when it has no
    /// id and the connection broke before the answer; `Unavailable` when the store cannot be reached.
    pub fn admit<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: impl Into<Amounts>) -> Admit<'a> {
        Admit { request: self.request(policy, subject, amounts.into()), part: None, taken: None }
    }

    /// Charges `amounts` to `subject` whatever the limits: for money that is already spent. Limits on calls open at once are left
    /// as they are, for what is charged is over.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn charge<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: impl Into<Amounts>) -> Charge<'a> {
        Charge { request: self.request(policy, subject, amounts.into()), penalty: false, durability: None }
    }

    /// Takes `amounts` from the rates and counters of `policy` whatever the limits, and nothing of the meters that are not
    /// given: a wrong password that costs five tries.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn penalty<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: impl Into<Amounts>) -> Charge<'a> {
        Charge { request: self.request(policy, subject, amounts.into()), penalty: true, durability: None }
    }

    /// Gives back `amounts` that were admitted and not used: counters down to zero at most, rates too.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn refund<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: impl Into<Amounts>) -> Refund<'a> {
        Refund { request: self.request(policy, subject, amounts.into()), taken_us: None, granted: Vec::new() }
    }

    /// Sets another limit in the place of what policies say about this counter of this scope, in the meter's unit, for every
    /// process at once and until a time. Limits that are [`fixed`](crate::Limit::fixed) stay, and so does what
    /// [`warn_at`](crate::Limit::warn_at) reports.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use costguard::{CostGuard, Counter, Meter, Money, Subject, Window};
    ///
    /// # async fn example(guard: CostGuard) -> costguard::Result<()> {
    /// let alice = Subject::new("acme").scope("user", "alice");
    /// let cost = Counter::new("user", Meter::COST, Window::day());
    /// guard.set_limit(&alice, &cost, "100.00".parse::<Money>()?).lasting(Duration::from_secs(8 * 3600)).await?;
    /// guard.set_limit(&alice, &Counter::new("user", Meter::TOKENS, Window::day()), 2_000_000).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Invalid` when the subject lacks the scope, the time is over, or no policy could have such a limit.
    pub fn set_limit<'a>(&'a self, subject: &'a Subject, counter: &'a Counter, limit: impl IntoAmount) -> SetRule<'a> {
        SetRule::limit(&self.engine, subject, counter, limit.into_amount())
    }

    /// Goes back to what policies say about this counter of this scope.
    ///
    /// # Errors
    /// As [`set_limit`](Self::set_limit).
    pub fn clear_limit<'a>(&'a self, subject: &'a Subject, counter: &'a Counter) -> SetRule<'a> {
        SetRule::clear(&self.engine, subject, counter)
    }

    /// Refuses everything to a scope for a time: `admit` and `reserve` of any subject that has it, under the same root.
    ///
    /// # Errors
    /// As [`set_limit`](Self::set_limit).
    pub fn block<'a>(&'a self, subject: &'a Subject, scope_kind: &'a str, ttl: Duration) -> SetRule<'a> {
        SetRule::block(&self.engine, subject, scope_kind, ttl)
    }

    /// Lifts a block.
    ///
    /// # Errors
    /// As [`set_limit`](Self::set_limit).
    pub fn unblock<'a>(&'a self, subject: &'a Subject, scope_kind: &'a str) -> SetRule<'a> {
        SetRule::unblock(&self.engine, subject, scope_kind)
    }

    /// The overrides and blocks under the root of `subject` that are in force.
    ///
    /// # Errors
    /// `Invalid` when the subject is none.
    pub fn rules<'a>(&'a self, subject: &'a Subject) -> ListRules<'a> {
        ListRules { engine: &self.engine, subject, at: None }
    }

    /// What happens to limits by requests of this guard: thresholds that were reached, and what shadow limits would have
    /// refused. A listener that is more than 1,024 events behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.engine.events.listen()
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

    /// Sets an estimate aside under several roots, each with its own policy, for limits that cannot share one: a user who
    /// works for several organisations, with a budget of their own. All of them take it, or none keeps it.
    ///
    /// It is a reservation at each root, one after the other, and what was reserved is released when one refuses. So no limit
    /// is ever passed, as with [`reserve`](Self::reserve), but it is not one step: until the refusal is known others find the
    /// first roots fuller than they stay, and may be refused; and where the process dies in between, what was reserved
    /// frees by its TTL. Put first the root that is most likely to refuse.
    ///
    /// ```
    /// use costguard::{CostGuard, Decision, Limit, Money, Policy, Subject, Window};
    ///
    /// # async fn example(guard: CostGuard) -> costguard::Result<()> {
    /// let personal = Policy::new([Limit::cost("user", "5.00".parse()?, Window::day())])?;
    /// let company = Policy::new([Limit::cost("org", "100.00".parse()?, Window::day())])?;
    /// let (alice, acme) = (Subject::new("alice").scope("user", "alice"), Subject::new("acme").scope("org", "acme"));
    /// let parts = [(&personal, &alice), (&company, &acme)];
    /// if let Decision::Granted(mut hold) = guard.reserve_across(&parts, "0.12".parse::<Money>()?).await? {
    ///     hold.settle("0.07".parse::<Money>()?).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); `Invalid` when two subjects have one root, or the amount is what is left; `HoldEnded` when
    /// the id was refused before.
    pub fn reserve_across<'a>(
        &'a self,
        parts: &'a [(&'a Policy, &'a Subject)],
        estimate: impl Into<Estimate>,
    ) -> ReserveAcross<'a> {
        ReserveAcross::new(&self.engine, parts, estimate.into())
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

    /// Waits until the holds that were dropped are settled or released and what was granted without the store is delivered,
    /// and gives how many were not when `timeout` was over, with the dropped holds that could not be ended before, each told once:
    /// those holds expire, and the rest is lost where no [file](Builder::outage_file) keeps it. Call it before the runtime ends.
    /// Given up before its time is over it changes nothing, and it can be called again.
    pub async fn shutdown(&self, timeout: Duration) -> usize {
        let begun = Instant::now();
        let dropped = self.engine.endings.drain(timeout).await;
        let Some(away) = &self.engine.away else { return dropped };
        away.deliver(&self.engine);
        // The time is up, or nothing waits.
        let _ = tokio::time::timeout(timeout.saturating_sub(begun.elapsed()), away.queue.emptied()).await;
        dropped + away.queue.depth()
    }

    /// How much of what was granted without the store is not delivered yet; see [`Outage`](crate::Outage).
    #[must_use]
    pub fn undelivered(&self) -> Undelivered {
        self.engine.away.as_ref().map(|away| away.queue.undelivered()).unwrap_or_default()
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

    /// Two counters a user and UTC day, cost in cents and assessments, with a start that keeps to a limit on each.
    #[must_use]
    pub fn daily(&self) -> Daily {
        Daily::new(Arc::clone(&self.engine))
    }

    /// So many requests a calendar minute, per endpoint and user, under keys that begin with `name`.
    #[must_use]
    pub fn per_minute(&self, name: &str) -> PerMinute {
        PerMinute::new(Arc::clone(&self.engine), name)
    }

    /// Typed values with a TTL, shared by all processes, under keys that begin with `name`.
    #[must_use]
    pub fn cache(&self, name: &str) -> Cache {
        Cache::new(Arc::clone(&self.engine), name)
    }

    /// Sessions of users: unguessable, stored as hashes, ended one by one or all at once.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(Arc::clone(&self.engine))
    }

    /// Tokens that work once, under keys that begin with these words: `&["oauth", "google", "state"]`.
    #[must_use]
    pub fn tokens(&self, purpose: &[&str]) -> Tokens {
        Tokens::new(Arc::clone(&self.engine), purpose)
    }

    /// Corrects one counter by hand and notes the reason.
    ///
    /// # Errors
    /// As [`admit`](Self::admit), and `Invalid` when it would fall below zero, or is of a rate or of calls open at once.
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

    /// What every key of this guard begins with, as it is stored.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.engine.prefix
    }

    /// The glob pattern of every key of this guard, for `SCAN` and ACL rules: `app:*`.
    #[must_use]
    pub fn key_pattern(&self) -> String {
        format!("{}*", escape_glob(self.key_prefix()))
    }

    /// How the store is: for health endpoints. It takes 2 seconds at most and never fails; a server that is away is an answer.
    pub async fn health(&self) -> Health {
        Health::of(&**self.store(), self.engine.loss.as_deref()).await.with_undelivered(self.undelivered())
    }

    /// A connection to the server for anything else, job queues for one; see [`RedisStore::raw`].
    ///
    /// # Errors
    /// `Invalid` when this guard is not on a server, `Unavailable` when it does not answer.
    pub async fn raw(&self) -> Result<MultiplexedConnection> {
        let store: &dyn Any = &**self.store();
        match store.downcast_ref::<RedisStore>() {
            Some(store) => store.raw().await,
            None => Err(Error::invalid("an embedded store has no connection: only a guard on a server gives one")),
        }
    }

    /// The store's time as far as this guard knows it, in milliseconds since the epoch.
    #[cfg(feature = "http")]
    pub(crate) fn now_ms(&self) -> i64 {
        self.engine.now_ms()
    }

    fn request<'a>(&'a self, policy: &'a Policy, subject: &'a Subject, amounts: Amounts) -> Request<'a> {
        Request::new(&self.engine, policy, subject, amounts)
    }
}
