//! Denials that cannot change before their window ends, remembered in this process: who asks again costs no round trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::LossWatch;
use crate::metrics;
use crate::model::Denial;

/// Denials by the keys and limits of the request that met them.
#[derive(Debug)]
pub(crate) struct Denials {
    cache: Cache<String, Remembered>,
    /// How often something was given back by hand.
    given_back: AtomicU64,
    /// What was denied ends with the data by which it was.
    loss: Option<Arc<LossWatch>>,
}

/// A denial and for whom it counts.
#[derive(Clone, Debug)]
struct Remembered {
    denial: Denial,
    /// The place of a limit that refuses, and the amount that it refused: as much or more is refused as well.
    place: usize,
    amount: i64,
    /// When its window ends: what was left of it when the answer came, from when the request was sent.
    ends: Moment,
    /// How much longer the limit refuses that binds longest, where that is another.
    beyond: Duration,
    /// Of the request that met it.
    generation: u64,
}

/// A time by both clocks of this machine, of which one can be set back and the other may stand still while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at_ms: i64,
    pub(crate) instant: Instant,
}

impl Moment {
    pub(crate) fn after(self, left_ms: i64) -> Self {
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        Self { at_ms: self.at_ms.saturating_add(left_ms), instant: self.instant + left }
    }

    /// How long until then, by the clock that says less; `None` when it has come by either.
    fn until(self, then: Self) -> Option<Duration> {
        let left_ms = u64::try_from(then.at_ms.saturating_sub(self.at_ms)).ok()?;
        let left = Duration::from_millis(left_ms).min(then.instant.checked_duration_since(self.instant)?);
        (!left.is_zero()).then_some(left)
    }
}

impl Denials {
    pub(crate) fn new(capacity: usize, loss: Option<Arc<LossWatch>>) -> Self {
        Self { cache: Cache::new(capacity), given_back: AtomicU64::new(0), loss }
    }

    /// What a request takes along that may be denied: it is another one after all was forgotten.
    pub(crate) fn generation(&self) -> u64 {
        let losses = self.loss.as_ref().map_or(0, |loss| loss.losses());
        self.given_back.load(Ordering::SeqCst).wrapping_add(losses)
    }

    /// The denial of an earlier request of which this one would meet the same. `amount` gives what is asked of a limit.
    pub(crate) fn find(&self, key: &str, now: Moment, amount: impl Fn(usize) -> i64) -> Option<Denial> {
        let Remembered { mut denial, place, amount: refused, ends, beyond, generation } = self.cache.get(key)?;
        // Whoever is only ever denied from memory would not hear that the store has lost its data.
        if let Some(loss) = &self.loss {
            loss.tick();
        }
        let Some(left) = now.until(ends).filter(|_| generation == self.generation()) else {
            self.cache.remove(key);
            return None;
        };
        if amount(place) < refused {
            return None;
        }
        denial.retry_after = denial.retry_after.map(|_| left + beyond);
        denial.remembered = true;
        metrics::DECISIONS.count(["remembered"]);
        Some(denial)
    }

    /// Remembers a denial of this amount, that this place refuses until `ends`, whatever is released, settled, raised or
    /// expires. Not when all was forgotten after the request was sent: the store may have denied it before.
    pub(crate) fn remember(
        &self,
        key: String,
        denial: &Denial,
        (place, amount): (usize, i64),
        ends: Moment,
        generation: u64,
    ) {
        if self.generation() != generation {
            return;
        }
        let beyond = match denial.retry_after {
            Some(wait) if denial.limits.get(place) != Some(&denial.limit) => {
                wait.saturating_sub(ends.instant.saturating_duration_since(Instant::now()))
            }
            _ => Duration::ZERO,
        };
        self.cache.insert(key, Remembered { denial: denial.clone(), place, amount, ends, beyond, generation });
    }

    /// Forgets all: something was given back by hand.
    pub(crate) fn clear(&self) {
        self.given_back.fetch_add(1, Ordering::SeqCst);
        self.cache.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Decided, Limit, LimitState, Money, Scope, Window};

    #[test]
    fn a_denial_is_forgotten_when_its_window_has_ended_by_either_clock() {
        let limit = Limit::cost("user", Money::from_nanos(1), Window::hour());
        let state = LimitState::new(&limit, Scope::global(), (0, 3_600_000), 1, 0);
        let (retry_after, limits) = (Some(Duration::from_secs(60)), vec![state.clone()]);
        let (refused_by, remembered, decided) = (vec![0], false, Decided::ByStore);
        let denial = Denial { limit: state, retry_after, limits, refused_by, remembered, decided };
        let denials = Denials::new(10, None);
        let sent = Moment { at_ms: 0, instant: Instant::now() };
        let left_s = |wall_s: i64, passed_s: u64| {
            denials.remember("key".to_owned(), &denial, (0, 1), sent.after(60_000), 0);
            let now = Moment { at_ms: wall_s * 1000, instant: sent.instant + Duration::from_secs(passed_s) };
            let found = denials.find("key", now, |_| 1);
            found.map(|denial| denial.retry_after.unwrap().as_secs())
        };
        assert_eq!(left_s(10, 10), Some(50));
        // Set back by an hour.
        assert_eq!(left_s(-3590, 10), Some(50));
        assert_eq!(left_s(-3540, 60), None);
        // Set forward, or woken up.
        assert_eq!(left_s(55, 10), Some(5));
        assert_eq!(left_s(60, 10), None);
    }
}
