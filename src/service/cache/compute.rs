//! Values that are computed where they are missing, once for all who ask.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::entry::{Entry, Tag};
use super::stats::{count, count_bytes};
use super::{Cache, Found, OnTrouble};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Lease;

/// The first and the longest pause of one who waits for another's computation.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The right to compute a value, or the claim to it, until it is used, dropped, or over.
struct Right<'a> {
    cache: &'a Cache,
    keys: [String; 2],
    token: String,
    is_held: bool,
}

/// How to go on for one who wants a value.
enum Next<'a, T> {
    Value(T),
    Compute(Option<Right<'a>>),
}

impl Cache {
    /// The value of a key; where there is none it is computed and stored for `ttl`, once, however many ask in however many
    /// processes. The others wait for it, but no longer than [`lock_ttl`](Self::lock_ttl): then they compute for themselves.
    ///
    /// Who computes holds a lock with a token of its own, which expires after `lock_ttl`, so that a process that dies keeps
    /// nobody; and stores only while it still holds it, so that one who was late, or whose value was deleted or set
    /// meanwhile, does not write over what is newer. It gets its value all the same.
    ///
    /// A value is computed anew before it ends by one of those who ask, with a probability that rises as the end comes
    /// near, and the earlier the longer it took: optimal probabilistic early expiration, `XFetch` (Vattani, Chierichetti,
    /// Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015), in a request that waits for it. When that
    /// fails the value that there is serves. [`early_refresh`](Self::early_refresh) sets how eager that is.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # use std::time::Duration;
    /// # async fn ask_the_provider() -> costguard::Result<Vec<String>> { Ok(vec!["a".to_owned()]) }
    /// let models = costguard::CostGuard::embedded().cache("api");
    /// let list = models.get_or_compute("models:list", Duration::from_secs(300), || ask_the_provider()).await?;
    /// # assert_eq!(list, ["a"]);
    /// # Ok::<(), costguard::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// What `compute` fails with, which is not stored: the next one computes again. Others as [`get`](Self::get). A value
    /// that is too large is given and not stored, counted and logged.
    pub async fn get_or_compute<T, E, F, Fut>(&self, key: &str, ttl: Duration, compute: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.get_or(key, ttl, |_| Some(ttl), None, compute).await
    }

    /// The same for something that may not be there. That there is nothing is computed by everyone anew, or remembered for
    /// the time that [`remember_none`](Self::remember_none) says.
    ///
    /// # Errors
    /// As [`get_or_compute`](Self::get_or_compute).
    pub async fn get_or_find<T, E, F, Fut>(&self, key: &str, ttl: Duration, find: F) -> Result<Option<T>, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<T>, E>>,
    {
        let longest = ttl.max(self.none_ttl.unwrap_or_default());
        let ttl_of = |found: &Option<T>| if found.is_some() { Some(ttl) } else { self.none_ttl };
        self.get_or(key, longest, ttl_of, None, find).await
    }

    /// `ttl_of` says how long a value is kept, if it is; `longest` is the longest that it may say. `instead` is kept in place of
    /// one that is too large.
    pub(crate) async fn get_or<T, E, F, Fut>(
        &self,
        key: &str,
        longest: Duration,
        ttl_of: impl Fn(&T) -> Option<Duration>,
        instead: Option<&T>,
        compute: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let keys = self.keys(key)?;
        let found = self.find::<T>(&keys[0]).await?;
        let mut old = None;
        if let Some(found) = found {
            count(&self.counts.hits);
            if !is_early(found.left, found.took_ms, self.beta, random()) {
                return Ok(found.value);
            }
            old = Some(found.value);
        } else {
            count(&self.counts.misses);
        }
        let refreshes = old.is_some();
        let right = match self.right_or_value(&keys, refreshes).await? {
            Next::Value(Some(value)) => return Ok(value),
            Next::Compute(right) => right,
            // Another one refreshes it.
            Next::Value(None) => match old {
                Some(value) => return Ok(value),
                None => None,
            },
        };
        // Before the computation reads anything: what makes its tags old then makes it old.
        let tags = match &right {
            Some(_) => self.unless_away(self.generations(longest).await.map(Some), None)?,
            None => None,
        };
        count(&self.counts.computes);
        if refreshes {
            count(&self.counts.early);
        }
        let began = Instant::now();
        let value = match (compute().await, old) {
            (Ok(value), _) => value,
            // Better than nothing, if it is still valid.
            (Err(err), Some(_)) => {
                let Ok(Some(found)) = self.find(&keys[0]).await else { return Err(err) };
                tracing::warn!(
                    cache = self.start.as_deref().unwrap_or_default(),
                    "a value could not be refreshed early"
                );
                return Ok(found.value);
            }
            (Err(err), None) => return Err(err),
        };
        // At least 1, by which it is known to have been computed.
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        if let (Some(right), Some(tags), Some(ttl)) = (right, tags, ttl_of(&value)) {
            let text = self.text_of(&value).map(|text| (text, ttl));
            if let Some(kept) = text.or_else(|| Some((self.text_of(instead?)?, ttl_of(instead?)?))) {
                self.keep(right, &tags, took_ms, kept).await?;
            }
        }
        Ok(value)
    }

    /// The text of a value that was computed; `None` when it is too large.
    fn text_of<T: Serialize>(&self, value: &T) -> Option<String> {
        let text = self.encode(value);
        if let Err(err) = &text {
            count(&self.counts.too_large);
            let cache = self.start.as_deref().unwrap_or_default();
            tracing::warn!(cache, error = %err, "a computed value was not stored");
        }
        text.ok()
    }

    /// Stores what was computed, if the right to is still held.
    async fn keep(&self, right: Right<'_>, tags: &[Tag], took_ms: u64, (text, ttl): (String, Duration)) -> Result<()> {
        let stored = Entry::write(took_ms, tags, text);
        let bytes = stored.len();
        let is_stored = self.unless_away(right.finish(Some((stored, ttl))).await.map(Some), None)?;
        match is_stored {
            Some(true) => count_bytes(&self.counts.bytes_written, bytes),
            Some(false) => count(&self.counts.fenced),
            None => {}
        }
        Ok(())
    }

    /// Waits for a value or for the right to compute it. Who `refreshes` has a value: then nobody waits, and no value means that
    /// another one has the right.
    async fn right_or_value<T: DeserializeOwned>(
        &self,
        keys: &[String; 2],
        refreshes: bool,
    ) -> Result<Next<'_, Option<T>>> {
        let token = uuid::Uuid::now_v7().simple().to_string();
        let mut right = Right { cache: self, keys: keys.clone(), token, is_held: false };
        let gives_up_at = Instant::now() + self.lock_ttl;
        let (first, longest) = LOOK_AFTER;
        let pauses = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).with_factor(2.0);
        let mut pauses = pauses.without_max_times().with_jitter().build();
        // Whether what is stored is known to be no good.
        let (mut force, mut waits) = (refreshes, false);
        loop {
            // From the call on, and not from its answer: who stops waiting for that may have the lock.
            right.is_held = true;
            let lease = self.engine.cache_lease(keys.clone(), &right.token, self.lock_ttl, force).await;
            right.is_held = !matches!(lease, Ok(Lease::Hit(_) | Lease::Busy));
            match lease {
                Err(err) if matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous) => {
                    if self.away == OnTrouble::Fail {
                        return Err(err);
                    }
                    count(&self.counts.away_reads);
                    return Ok(if refreshes { Next::Value(None) } else { Next::Compute(None) });
                }
                // Another type lies there: it is written over.
                Err(err) if err.kind() == ErrorKind::Corrupt && self.undecodable == OnTrouble::Miss && !force => {
                    force = true;
                    continue;
                }
                Err(err) => return Err(err),
                Ok(Lease::Leased) => return Ok(Next::Compute(Some(right))),
                Ok(Lease::Hit(stored)) => match self.accept::<T>(&stored).await? {
                    Some(Found { value, .. }) => return Ok(Next::Value(Some(value))),
                    None => {
                        force = true;
                        continue;
                    }
                },
                Ok(Lease::Busy) if refreshes => return Ok(Next::Value(None)),
                Ok(Lease::Busy) => {}
            }
            if !waits {
                waits = true;
                count(&self.counts.waits);
            }
            if Instant::now() >= gives_up_at {
                return Ok(Next::Compute(None));
            }
            sleep(pauses.next().unwrap_or(longest)).await;
            force = false;
        }
    }
}

impl Right<'_> {
    /// Stores a text, if one is given, and gives the right back; whether it was still held.
    async fn finish(mut self, text: Option<(String, Duration)>) -> Result<bool> {
        let finished = self.cache.engine.cache_finish(self.keys.clone(), &self.token, text).await;
        // A failure leaves it to its expiry, or to the drop: whichever comes first.
        self.is_held = finished.is_err();
        finished
    }
}

impl Drop for Right<'_> {
    /// The computation failed, or nobody waits for it any more: the next one need not wait for the lock to expire.
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.is_held, Handle::try_current()) else { return };
        let (engine, keys, token) = (self.cache.engine.clone(), self.keys.clone(), self.token.clone());
        runtime.spawn(async move {
            if let Err(err) = engine.cache_finish(keys, &token, None).await {
                tracing::debug!(error = %err, "a lock of the cache is left to its expiry");
            }
        });
    }
}

/// Whether to compute a value that lives for `left` anew: when `left <= took * beta * -ln(u)`, u evenly in (0, 1].
#[expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "a probability, of times and not of amounts")]
fn is_early(left: Duration, took_ms: u64, beta: f64, random: u64) -> bool {
    // 53 bits are what a double holds.
    let uniform = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    took_ms > 0 && left.as_secs_f64() * 1000.0 <= took_ms as f64 * beta * -uniform.ln()
}

/// Without random numbers nothing is early.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_end_the_more_likely_a_refresh() {
        let share = |left_ms: u64, beta: f64| {
            let early = |n: u64| is_early(Duration::from_millis(left_ms), 100, beta, n * (u64::MAX / 10_000));
            (0..10_000).filter(|n| early(*n)).count()
        };
        // exp(-left / (took * beta)), by the paper.
        for (left_ms, beta, expected) in [(0, 1.0, 10_000), (100, 1.0, 3679), (200, 1.0, 1353), (200, 2.0, 3679)] {
            assert!(share(left_ms, beta).abs_diff(expected) <= 2, "{left_ms} ms, {beta}: {}", share(left_ms, beta));
        }
        assert_eq!(share(2_000, 1.0), 1, "and only the least of random numbers refreshes so early");
        assert!(!is_early(Duration::from_millis(1), 100, 0.0, 0), "0 is never");
        assert!(!is_early(Duration::ZERO, 0, 1.0, 0), "what was not computed is not refreshed");
        assert!(!is_early(Duration::MAX, 100, 1.0, 5));
    }
}
