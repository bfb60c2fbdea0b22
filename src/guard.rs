//! `CostGuard`, the front door.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::{Amounts, Counter, Estimate, Meter, Outage, Policy, Subject, encode_prefix};
use crate::ops::request::Request;
use crate::ops::{
    Adjust, Adjustments, Admit, Away, Charge, Correction, Count, Engine, FindHold, ListHolds, ListRules, Peek, Refund,
    Reserve, ReserveAcross, SetRule, Statement, Undelivered,
};
use crate::service::{Cache, Daily, Denials, Event, Health, PerMinute, Sessions, Tokens};
use crate::store::embedded::Embedded;
use crate::store::redis::{MultiplexedConnection, RedisConfig, RedisStore, Target, escape_glob};
use crate::store::{Clock, Durability, Store, SystemClock};

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
    denial_cache: usize,
    outage: Outage,
    outage_queue: usize,
    outage_file: Option<PathBuf>,
    durability: Option<Durability>,
    trace_keys: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            prefix: String::new(),
            retention: hours(48),
            receipt_ttl: hours(24),
            clock: Arc::new(SystemClock),
            denial_cache: 0,
            outage: Outage::Deny,
            outage_queue: 10_000,
            outage_file: None,
            durability: None,
            trace_keys: false,
        }
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

    /// Remembers up to so many denials in this process, so that who asks again before the window ends costs no round trip. Only
    /// denials that no release, settlement, raise or expiry can lift: by a limit that is [`fixed`](crate::Limit::fixed), over a
    /// calendar window or every N seconds, that what is used already leaves no room for. What another process corrects by
    /// hand or refunds is seen when the window ends. Default: 0, none.
    #[must_use]
    pub fn denial_cache(mut self, capacity: usize) -> Self {
        self.denial_cache = capacity;
        self
    }

    /// What becomes of requests while the store is away, where a request does not say otherwise. Default: [`Outage::Deny`].
    #[must_use]
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// How much that was granted without the store may wait to be delivered. When it is full requests fail: nothing is
    /// granted that could be lost. A hold keeps a place as long as it is open. Default: 10,000.
    #[must_use]
    pub fn outage_queue(mut self, most: usize) -> Self {
        self.outage_queue = most;
        self
    }

    /// Keeps what waits to be delivered in this file too, so that it survives the end of the process, be it `kill -9`: a line
    /// is written before the request is answered, and brought to the disk about once a second. The next guard on the file
    /// delivers it. Each guard needs a file of its own. Default: none, and what is undelivered ends with the guard.
    #[must_use]
    pub fn outage_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.outage_file = Some(path.into());
        self
    }

    /// Lets charges and settlements wait until replicas have them, those of dropped holds too. Each can say otherwise. Default:
    /// they do not wait.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Shows the first key of each call in the `tracing` spans, and with it the ids of users. Spans are called `costguard`,
    /// are of level debug, and have `script`, `outcome` and, where it was more than one, `attempts`. Default: no keys.
    #[must_use]
    pub fn trace_keys(mut self, show: bool) -> Self {
        self.trace_keys = show;
        self
    }

    /// A guard on the server at `url`: `redis://user:password@host:6379/0`, or `memory:` for an embedded store.
    /// [`RedisConfig::from_url`] says what else a URL may be.
    ///
    /// # Errors
    /// `Invalid` when the URL is none, `Unavailable` when no server answers there.
    pub async fn connect(self, url: &str) -> Result<CostGuard> {
        if url == "memory:" {
            return self.embedded();
        }
        self.connect_with(&RedisConfig::from_url(url)?).await
    }

    /// A guard on what the environment names: `REDIS_URL`, or `REDIS_HOST` and its kin; `.env.example` explains them all.
    /// Where they name nothing this is an error; an embedded store is taken only for `memory:`.
    ///
    /// # Errors
    /// As [`RedisConfig::from_env`] and [`connect_with`](Self::connect_with).
    pub async fn connect_from_env(self) -> Result<CostGuard> {
        match Target::from_env()? {
            Target::Memory => self.embedded(),
            Target::Server(config) => self.connect_with(&config).await,
        }
    }

    /// A guard on the server that `config` describes.
    ///
    /// # Errors
    /// `Invalid` when the settings cannot work, or name another prefix than this builder; `Unavailable` when no server
    /// answers.
    pub async fn connect_with(mut self, config: &RedisConfig) -> Result<CostGuard> {
        if let Some(prefix) = &config.key_prefix {
            // Another prefix is another set of budgets, all of them at zero: nothing to guess about.
            if !self.prefix.is_empty() && self.prefix != *prefix {
                return Err(Error::invalid(format!(
                    "the key prefix is {prefix:?} by its configuration (REDIS_KEY_PREFIX) and {:?} in code: set one of them",
                    self.prefix
                )));
            }
            prefix.clone_into(&mut self.prefix);
        }
        let store = RedisStore::connect_with(config).await?;
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
    /// `Invalid` when the settings are out of bounds; `Io` and `Corrupt` when the file of [`outage_file`](Self::outage_file)
    /// cannot be used.
    pub fn store(self, store: Arc<dyn Store>) -> Result<CostGuard> {
        const YEAR: Duration = Duration::from_secs(366 * 86_400);
        if self.retention > YEAR || self.receipt_ttl > YEAR || self.receipt_ttl < Duration::from_millis(1) {
            return Err(Error::invalid(
                "retention and receipt_ttl are at most a year, and receipt_ttl is at least 1 ms",
            ));
        }
        let prefix = encode_prefix(&self.prefix)?;
        let mut engine = Engine::new(store, prefix, self.retention, self.receipt_ttl, self.clock);
        engine.durability = self.durability;
        engine.trace_keys = self.trace_keys;
        engine.denials = (self.denial_cache > 0).then(|| Denials::new(self.denial_cache));
        engine.away = Some(match &self.outage_file {
            Some(file) => Away::with_file(&engine, self.outage, self.outage_queue, file)?,
            None => Away::in_memory(&engine, self.outage, self.outage_queue),
        });
        let engine = Arc::new(engine);
        if let Some(away) = &engine.away {
            away.deliver(&engine);
        }
        Ok(CostGuard { engine })
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
        let Builder { prefix, retention, receipt_ttl, clock, outage, outage_queue, .. } = Builder::default();
        let store = Arc::new(Embedded::builder().clock(clock.clone()).build());
        let mut engine = Engine::new(store, prefix, retention, receipt_ttl, clock);
        engine.away = Some(Away::in_memory(&engine, outage, outage_queue));
        Self { engine: Arc::new(engine) }
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

    /// Charges `amounts` to `subject` whatever the limits: for money that is already spent.
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
    /// # Errors
    /// `Invalid` when the subject lacks the scope, or the time is over.
    pub fn set_limit<'a>(&'a self, subject: &'a Subject, counter: &'a Counter, limit: i64) -> SetRule<'a> {
        SetRule::limit(&self.engine, subject, counter, limit)
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

    /// How much of what was granted without the store is not delivered yet; see [`Outage`].
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
