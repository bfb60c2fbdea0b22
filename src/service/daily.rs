//! The daily cost guard: two counters a user and day, and starts that keep to both.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::model::{Span, Window, encode};
use crate::ops::{Counters, Engine, Stand};

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
        let key = self.key(&self.cost, user)?;
        self.days().add(cents, key).await
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
        let key = self.key(&self.count, user)?;
        self.days().add(1, key).await
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
        let stand = self.days().start(self.limit, Some(self.cap_cents), |day| vec![count(day), cost(day)]).await?;
        Ok(self.start_of(&stand))
    }

    fn start_of(&self, stand: &Stand) -> DailyStart {
        let state = DailyState {
            count: stand.used,
            starts_left: self.limit.saturating_sub(stand.used).max(0),
            cost_cents: stand.spent,
            cents_left: self.cap_cents.saturating_sub(stand.spent).max(0),
            resets_at: stand.resets_at(),
            resets_in: stand.resets_in(),
        };
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
