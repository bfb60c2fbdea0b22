//! Limits on endpoints, by the minute.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::model::{Window, encode};
use crate::ops::{Counters, Engine};

/// So many requests a minute, per endpoint and user, counted in calendar minutes: the plain limiter that many services have.
/// Made by [`CostGuard::per_minute`](crate::CostGuard::per_minute). Policies have finer ones: bursts, sliding windows, many
/// limits at once.
///
/// The keys are `ratelimit:{endpoint}:{user}:{minute}`, the minute counted from the epoch, and end with their minute. Each call
/// touches one, so it works on a cluster as it is.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let guard = costguard::CostGuard::embedded();
/// let limiter = guard.per_minute("ratelimit");
/// assert!(limiter.check("assess", "user_abc", 1).await?.granted);
/// let taken = limiter.check("assess", "user_abc", 1).await?;
/// println!("try again in {:?}", taken.resets_in);
/// # Ok::<(), costguard::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct PerMinute {
    engine: Arc<Engine>,
    name: String,
    at: Option<DateTime<Utc>>,
}

/// What a limiter said, and where the minute stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a request that was not granted must not go on"]
pub struct MinuteCheck {
    /// Whether the request may go on. Then it is counted.
    pub granted: bool,
    /// The requests of this minute, one that was granted included.
    pub count: i64,
    /// How many more are left in this minute.
    pub left: i64,
    /// How long until the minute ends, by the store's clock: when to try again.
    pub resets_in: Duration,
}

impl PerMinute {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Self {
        Self { engine, name: name.to_owned(), at: None }
    }

    /// Counts by this time and not by the store's clock: for replays and tests.
    #[must_use]
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    /// Counts one request of `user` to `endpoint` if fewer than `limit` were counted in this minute.
    ///
    /// # Errors
    /// `Invalid` for a name that is none, `Corrupt` when the counter is none, with nothing changed; `Ambiguous` when the
    /// connection broke before the answer; `Unavailable` when the store is away.
    pub async fn check(&self, endpoint: &str, user: &str, limit: u32) -> Result<MinuteCheck> {
        let (name, endpoint) = (encode("limiter", &self.name)?, encode("endpoint", endpoint)?);
        let start = format!("{}{name}:{endpoint}:{}:", self.engine.prefix, encode("user", user)?);
        let minutes = Counters { engine: &self.engine, window: Window::minute(), ttl: None, at: self.at };
        let stand = minutes.start(limit.into(), None, |minute| vec![format!("{start}{}", minute.name)]).await?;
        let left = i64::from(limit).saturating_sub(stand.used).max(0);
        Ok(MinuteCheck { granted: stand.granted, count: stand.used, left, resets_in: stand.resets_in() })
    }
}
