//! Denials that cannot change before their window ends, remembered in this process: who asks again costs no round trip.

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::metrics;
use crate::model::Denial;

/// Denials by the keys and limits of the request that met them.
#[derive(Debug)]
pub(crate) struct Denials {
    cache: Cache<String, Remembered>,
    /// How often all was forgotten.
    generation: AtomicU64,
}

/// A denial and for whom it counts.
#[derive(Clone, Debug)]
struct Remembered {
    denial: Denial,
    /// The place of a limit that refuses, and the amount that it refused: as much or more is refused as well.
    place: usize,
    amount: i64,
    /// When its window ends, by this process's clock: what was left of it when the answer came, from when the request was sent.
    ends_ms: i64,
}

impl Denials {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { cache: Cache::new(capacity), generation: AtomicU64::new(0) }
    }

    /// What a request takes along that may be denied.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The denial of an earlier request of which this one would meet the same. `amount` gives what is asked of a limit.
    pub(crate) fn find(&self, key: &str, now_ms: i64, amount: impl Fn(usize) -> i64) -> Option<Denial> {
        let Remembered { mut denial, place, amount: refused, ends_ms } = self.cache.get(key)?;
        if now_ms >= ends_ms {
            self.cache.remove(key);
            return None;
        }
        if amount(place) < refused {
            return None;
        }
        let left_ms = u64::try_from(ends_ms - now_ms).unwrap_or(0);
        denial.retry_after = denial.retry_after.map(|_| std::time::Duration::from_millis(left_ms));
        denial.remembered = true;
        metrics::DECISIONS.count(["remembered"]);
        Some(denial)
    }

    /// Remembers a denial of this amount, that this place refuses until `ends_ms`, whatever is released, settled, raised or
    /// expires. Not when all was forgotten after the request was sent: the store may have denied it before.
    pub(crate) fn remember(
        &self,
        key: String,
        denial: &Denial,
        (place, amount): (usize, i64),
        ends_ms: i64,
        generation: u64,
    ) {
        if self.generation() != generation {
            return;
        }
        self.cache.insert(key.clone(), Remembered { denial: denial.clone(), place, amount, ends_ms });
        // Forgotten in between: that came before this, or takes this along.
        if self.generation() != generation {
            self.cache.remove(&key);
        }
    }

    /// Forgets all: something was given back by hand.
    pub(crate) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.cache.clear();
    }
}
