//! The daily cost guard: two counters a user and day, and starts that keep to both.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Amounts, Counter, Decided, Decision, Limit, LimitState, Meter, Policy, Span, Subject, Window, encode,
};
use crate::ops::request::Request;
use crate::ops::{Admit, Away, Charge, Counters, Engine, Stand};

/// Two counters a user and UTC day, what was spent in cents and how many assessments were started, and a start that keeps to
/// a limit on each. Made by [`CostGuard::daily`](crate::CostGuard::daily).
///
/// ```
#[doc = include_str!("../../examples/daily.rs")]
/// ```
///
/// The keys are `cost:{user}:{YYYY-MM-DD}` and `assessments:{user}:{YYYY-MM-DD}` with the user's id in the place of `{user}`:
/// `cost:user_abc:2026-02-01`. They are plain integers, so whatever else reads Redis can read them. On a cluster two such
/// keys lie in different slots: everything works there but [`try_start`](Self::try_start), which needs both and is refused
/// as `Invalid`, unless keys are [`tagged`](Self::tagged).
///
/// While the store is away starts and amounts follow the guard's [outage policy](crate::Outage): they fail, or are granted here and
/// delivered later, each once. Not so on a cluster, and with [`tagged`](Self::tagged) keys: there they fail.
///
/// A policy on [`Meter::COST`](crate::Meter::COST) over [`Subject::plain`](crate::Subject::plain) has the same keys and counts
/// nano-dollars in them, where these are cents: who uses both gives one of them other names, by
/// [`counters`](Self::counters) or a prefix.
#[derive(Clone, Debug)]
pub struct Daily {
    engine: Arc<Engine>,
    cost: String,
    count: String,
    limit: i64,
    cap_cents: i64,
    ttl: Option<Duration>,
    tagged: bool,
    at: Option<DateTime<Utc>>,
}

/// Whether one more may start today.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a denied start must not go on"]
pub enum DailyStart {
    /// It may, and is counted.
    Granted(DailyState),
    /// It may not, and nothing was counted.
    Denied {
        /// What it would have passed; the limit on starts where it is both.
        by: DailyLimit,
        /// Where the day stands.
        state: DailyState,
    },
}

/// A limit of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DailyLimit {
    /// So many starts.
    Starts,
    /// So much spent.
    Cost,
}

/// Where a user's day stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyState {
    /// The starts of the day, one that was just granted included.
    pub count: i64,
    /// How many more are left.
    pub starts_left: i64,
    /// What the day has cost, in cents.
    pub cost_cents: i64,
    /// How much is left below the cap, in cents.
    pub cents_left: i64,
    /// When the day ends: the next midnight UTC.
    pub resets_at: DateTime<Utc>,
    /// How long until then, by the store's clock.
    pub resets_in: Duration,
    /// Who decided. Without the store the numbers are what this process granted meanwhile, against its share.
    pub decided: Decided,
}

impl DailyState {
    /// Of starts and of cents: what is used, and what there is.
    fn new(
        [count, limit]: [i64; 2],
        [cost_cents, cap_cents]: [i64; 2],
        resets_at: DateTime<Utc>,
        resets_in: Duration,
        decided: Decided,
    ) -> Self {
        let left = |used: i64, most: i64| most.saturating_sub(used).max(0);
        let (starts_left, cents_left) = (left(count, limit), left(cost_cents, cap_cents));
        Self { count, starts_left, cost_cents, cents_left, resets_at, resets_in, decided }
    }
}

impl DailyStart {
    /// Whether it may start.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }

    /// Where the day stands.
    #[must_use]
    pub fn state(&self) -> &DailyState {
        match self {
            Self::Granted(state) | Self::Denied { state, .. } => state,
        }
    }
}

impl Daily {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let (cost, count) = ("cost".to_owned(), "assessments".to_owned());
        let ttl = Some(Duration::from_secs(48 * 3600));
        Self { engine, cost, count, limit: 1, cap_cents: 7500, ttl, tagged: false, at: None }
    }

    /// Other names of the two counters, of what is spent and of what is started. Default: `cost` and `assessments`.
    #[must_use]
    pub fn counters(mut self, cost: &str, count: &str) -> Self {
        cost.clone_into(&mut self.cost);
        count.clone_into(&mut self.count);
        self
    }

    /// How many may start a day. Default: 1.
    #[must_use]
    pub fn limit(mut self, starts: u32) -> Self {
        self.limit = starts.into();
        self
    }

    /// What a day may cost, in cents: with that or more spent nothing starts. Default: 7500, 75 dollars.
    #[must_use]
    pub fn cap_cents(mut self, cents: i64) -> Self {
        self.cap_cents = cents;
        self
    }

    /// How long a counter lives from its first amount on; at least a day, or it would forget within it. Default: 48 hours.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl.max(Duration::from_secs(86_400)));
        self
    }

    /// Counters end with their day, at midnight UTC.
    #[must_use]
    pub fn until_midnight(mut self) -> Self {
        self.ttl = None;
        self
    }

    /// Keys with a hash tag, `cost:{user_abc}:2026-02-01` with the braces as they stand, so that both of a user lie in one
    /// slot of a cluster. They are other keys: choose once.
    #[must_use]
    pub fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// Counts by this time and not by the store's clock: for replays and tests.
    #[must_use]
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    /// Adds to what `user` spent today, whatever the cap, and gives what that is now, in cents.
    ///
    /// # Errors
    /// `Invalid` for a negative amount or an id that is none, `Overflow` and `Corrupt` when the counter cannot take it, with
    /// nothing changed; `Ambiguous` when the connection broke before the answer; `Unavailable` when the store is away.
    pub async fn increment_cost(&self, user: &str, cents: i64) -> Result<i64> {
        self.add(&self.cost, user, cents).await
    }

    /// What `user` spent today, in cents.
    ///
    /// # Errors
    /// As [`increment_cost`](Self::increment_cost).
    pub async fn cost(&self, user: &str) -> Result<i64> {
        let key = self.key(&self.cost, user)?;
        self.days().read(key).await
    }

    /// Counts one assessment of `user` today, whatever the limit, and gives how many there are.
    ///
    /// # Errors
    /// As [`increment_cost`](Self::increment_cost).
    pub async fn increment_count(&self, user: &str) -> Result<i64> {
        self.add(&self.count, user, 1).await
    }

    /// How many assessments `user` started today.
    ///
    /// # Errors
    /// As [`increment_cost`](Self::increment_cost).
    pub async fn count(&self, user: &str) -> Result<i64> {
        let key = self.key(&self.count, user)?;
        self.days().read(key).await
    }

    /// Counts one assessment of `user` if fewer than the limit were started today and less than the cap was spent: decided
    /// and counted in one step, however many ask at once. What it costs is added by
    /// [`increment_cost`](Self::increment_cost) when it is known.
    ///
    /// # Errors
    /// As [`increment_cost`](Self::increment_cost), and `Invalid` on a cluster unless keys are [`tagged`](Self::tagged).
    pub async fn try_start(&self, user: &str) -> Result<DailyStart> {
        let (count, cost) = (self.key(&self.count, user)?, self.key(&self.cost, user)?);
        match self.days().start(self.limit, Some(self.cap_cents), |day| vec![count(day), cost(day)]).await {
            Ok(stand) => Ok(self.start_of(&stand)),
            Err(err) if self.goes_on_without_store(&err) => self.start_without_store(user, err).await,
            Err(err) => Err(err),
        }
    }

    async fn add(&self, counter: &str, user: &str, amount: i64) -> Result<i64> {
        let key = self.key(counter, user)?;
        match self.days().add(amount, key).await {
            Err(err) if self.goes_on_without_store(&err) => self.add_without_store(counter, user, amount, err).await,
            sum => sum,
        }
    }

    /// By the guard's outage policy. A tagged key is no subject's, by which it could be delivered.
    fn goes_on_without_store(&self, err: &Error) -> bool {
        err.kind() == ErrorKind::Unavailable && !self.tagged && Away::of(&self.engine, None).is_some()
    }

    /// The day's counters are those of a policy over a plain subject, so they are kept and delivered as such.
    async fn add_without_store(&self, counter: &str, user: &str, amount: i64, cause: Error) -> Result<i64> {
        let (counter, subject) = (day_of(counter)?, Subject::plain("user", user));
        let amounts = Amounts::new().with(counter.meter().clone(), amount);
        let policy = Policy::new([Limit::count_only(counter)])?;
        let request = Request { at: self.at, ..Request::new(&self.engine, &policy, &subject, amounts) };
        let charged = Charge { request, penalty: false, durability: None }.await;
        // On a cluster such a subject has no operation ids, so nothing of it can be delivered.
        let charged = charged.map_err(|err| if err.kind() == ErrorKind::Invalid { cause } else { err })?;
        Ok(charged.limits.first().map_or(amount, |state| state.used))
    }

    async fn start_without_store(&self, user: &str, cause: Error) -> Result<DailyStart> {
        // Below the cap, and not at it.
        let most_cents = self.cap_cents.saturating_sub(1);
        if most_cents < 0 {
            return Err(cause);
        }
        let (count, cost, subject) = (day_of(&self.count)?, day_of(&self.cost)?, Subject::plain("user", user));
        let amounts = Amounts::new().with(count.meter().clone(), 1).with(cost.meter().clone(), 0);
        let policy = Policy::new([Limit::new(count, self.limit), Limit::new(cost, most_cents)])?;
        let request = Request { at: self.at, ..Request::new(&self.engine, &policy, &subject, amounts) };
        match (Admit { request, part: None, taken: None }).await {
            Ok(Decision::Granted(grant)) => Ok(DailyStart::Granted(self.state_of(&grant.limits, grant.decided))),
            Ok(Decision::Denied(denial)) => {
                let by = if denial.refused_by.contains(&0) { DailyLimit::Starts } else { DailyLimit::Cost };
                Ok(DailyStart::Denied { by, state: self.state_of(&denial.limits, denial.decided) })
            }
            Err(err) => Err(if err.kind() == ErrorKind::Invalid { cause } else { err }),
        }
    }

    /// Where the counters of starts and of cost stand.
    fn state_of(&self, limits: &[LimitState], decided: Decided) -> DailyState {
        let of = |place: usize| limits.get(place).map_or([0; 2], |state| [state.used, state.limit.unwrap_or(0)]);
        let [cents, most_cents] = of(1);
        let resets_at = limits.first().and_then(LimitState::resets_at).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let now = self.at.unwrap_or_else(|| DateTime::from_timestamp_millis(self.engine.now_ms()).unwrap_or_default());
        let resets_in = (resets_at - now).to_std().unwrap_or_default();
        // The limit is the last cent below the cap.
        DailyState::new(of(0), [cents, most_cents.saturating_add(1)], resets_at, resets_in, decided)
    }

    fn start_of(&self, stand: &Stand) -> DailyStart {
        let (starts, cents) = ([stand.used, self.limit], [stand.spent, self.cap_cents]);
        let state = DailyState::new(starts, cents, stand.resets_at(), stand.resets_in(), Decided::ByStore);
        if stand.granted {
            return DailyStart::Granted(state);
        }
        let by = if stand.used >= self.limit { DailyLimit::Starts } else { DailyLimit::Cost };
        DailyStart::Denied { by, state }
    }

    fn days(&self) -> Counters<'_> {
        Counters { engine: &self.engine, window: Window::day(), ttl: self.ttl, at: self.at }
    }

    fn key(&self, counter: &str, user: &str) -> Result<impl Fn(&Span) -> String + use<>> {
        let (counter, user) = (encode("counter", counter)?, encode("user", user)?);
        let user = if self.tagged { format!("{{{user}}}") } else { user };
        let start = format!("{}{counter}:{user}:", self.engine.prefix);
        Ok(move |day: &Span| format!("{start}{}", day.name))
    }
}

/// One of the two counters.
fn day_of(counter: &str) -> Result<Counter> {
    Ok(Counter::new("user", Meter::new(counter)?, Window::day()))
}
