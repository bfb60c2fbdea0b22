//! Estimates from what calls really cost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::model::{Estimate, Fraction, Money, Scope};

/// The last costs remembered of one model and scope: enough for a quantile, few enough to follow a change.
const LAST: usize = 128;
/// Fewer than these tell nothing yet.
const FEWEST: usize = 8;
/// The most models times scopes remembered; one more takes the place of another.
const MOST_KEYS: usize = 10_000;

/// A running quantile, per model and scope, of what calls really cost: so that a worst case of `max_tokens` need not block
/// an agent whose calls cost a tenth of it. Kept in this process only.
///
/// The quantile is that of the last 128 calls, by the nearest-rank method: the least cost that at least the given share of
/// them did not exceed.
///
/// ```
/// use costguard::service::Learned;
/// use costguard::{Estimate, Fraction, Money, Subject};
///
/// let learned = Learned::new(Fraction::parse("0.9")?);
/// let user = Subject::new("acme").scope("user", "alice").scope_of("user")?;
/// for nanos in 1..=10 {
///     learned.record("gpt-4o", &user, Money::from_nanos(nanos));
/// }
/// let worst_case = Estimate::money("2.00")?;
/// assert_eq!(learned.estimate("gpt-4o", &user, worst_case), Estimate::from(Money::from_nanos(9)));
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Debug)]
pub struct Learned {
    quantile: Fraction,
    // Held for a push or a copy of 128 numbers, never across an await.
    costs: Mutex<HashMap<(String, Scope), VecDeque<i64>>>,
}

impl Learned {
    /// Learns this quantile: 0.9 covers nine calls of ten in full. What a call costs above its estimate is an overdraft.
    #[must_use]
    pub fn new(quantile: Fraction) -> Self {
        Self { quantile, costs: Mutex::default() }
    }

    /// Remembers what a call really cost: what its hold was settled with.
    pub fn record(&self, model: &str, scope: &Scope, cost: Money) {
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (model.to_owned(), scope.clone());
        if costs.len() >= MOST_KEYS && !costs.contains_key(&key) {
            let other = costs.keys().next().cloned();
            other.and_then(|other| costs.remove(&other));
        }
        let last = costs.entry(key).or_default();
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(cost.nanos());
    }

    /// What the next call may cost; `otherwise` until 8 calls of the model and scope are known.
    #[must_use]
    pub fn estimate(&self, model: &str, scope: &Scope, otherwise: Estimate) -> Estimate {
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = costs.get(&(model.to_owned(), scope.clone())).filter(|last| last.len() >= FEWEST);
        let Some(mut last) = known.map(|last| last.iter().copied().collect::<Vec<_>>()) else { return otherwise };
        drop(costs);
        let rank = self.quantile.of(i64::try_from(last.len()).unwrap_or(i64::MAX));
        let place = usize::try_from(rank - 1).unwrap_or(0).min(last.len() - 1);
        let (_, quantile, _) = last.select_nth_unstable(place);
        Money::from_nanos(*quantile).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subject;

    fn alice() -> Scope {
        Subject::new("acme").scope("user", "alice").scope_of("user").unwrap()
    }

    #[test]
    fn little_known_is_not_enough_and_models_learn_apart() {
        let learned = Learned::new(Fraction::parse("0.5").unwrap());
        let otherwise = Estimate::money("2").unwrap();
        for _ in 0..FEWEST - 1 {
            learned.record("a", &alice(), Money::from_nanos(5));
        }
        assert_eq!(learned.estimate("a", &alice(), otherwise.clone()), otherwise);
        learned.record("a", &alice(), Money::from_nanos(5));
        assert_eq!(learned.estimate("a", &alice(), otherwise.clone()), Money::from_nanos(5).into());
        assert_eq!(learned.estimate("b", &alice(), otherwise.clone()), otherwise);
    }

    #[test]
    fn old_calls_are_forgotten_and_memory_is_bounded() {
        let learned = Learned::new(Fraction::parse("1").unwrap());
        learned.record("a", &alice(), Money::from_nanos(1_000_000));
        for _ in 0..LAST {
            learned.record("a", &alice(), Money::from_nanos(7));
        }
        assert_eq!(learned.estimate("a", &alice(), Money::ZERO.into()), Money::from_nanos(7).into());
        for key in 0..MOST_KEYS + 10 {
            learned.record(&key.to_string(), &alice(), Money::ZERO);
        }
        assert_eq!(learned.costs.lock().unwrap().len(), MOST_KEYS);
    }
}
