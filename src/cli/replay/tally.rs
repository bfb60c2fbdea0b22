//! Adding up what a replay decided.

use std::collections::HashMap;

use costguard::{Limit, LimitState, Money, Policy, Scope};

/// One call and what was decided.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) at_ms: i64,
    pub(crate) model: &'a str,
    pub(crate) scopes: &'a [Scope],
    pub(crate) cost: Money,
    pub(crate) granted: bool,
    /// Every limit of the policy, in its order, after the decision.
    pub(crate) limits: &'a [LimitState],
    /// The limits that refused, by their place in `limits`.
    pub(crate) refused_by: &'a [usize],
}

/// Calls and money of one model, one scope, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) granted: u64,
    pub(crate) denied: u64,
    pub(crate) spent: Money,
    pub(crate) refused: Money,
}

impl Totals {
    pub(crate) fn requests(&self) -> u64 {
        self.granted + self.denied
    }

    fn add(&mut self, granted: bool, cost: Money) -> anyhow::Result<()> {
        let (count, sum) =
            if granted { (&mut self.granted, &mut self.spent) } else { (&mut self.denied, &mut self.refused) };
        *count += 1;
        *sum = sum.checked_add(cost).ok_or_else(|| {
            anyhow::anyhow!("the log's costs add up to more than {}: replay a part of it", Money::MAX)
        })?;
        Ok(())
    }
}

/// The most that any one window of any one scope held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fullest {
    pub(crate) used: i64,
    pub(crate) scope: Scope,
    /// The window's name: `2026-02-01`.
    pub(crate) window: String,
}

/// What one limit did over the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitTally {
    pub(crate) limit: Limit,
    /// The window that held the most.
    pub(crate) fullest: Option<Fullest>,
    pub(crate) denied: u64,
    /// When the earliest refused call happened.
    pub(crate) first_denied_ms: Option<i64>,
    /// The most that was held in any one window of any one scope.
    pub(crate) peak_held: i64,
    /// The calls that it refused for what was held, and would not have for what was used.
    pub(crate) denied_by_holds: u64,
    /// By how much a settlement passed it at most.
    pub(crate) overdraft: i64,
}

impl LimitTally {
    /// The most that was in one window, in the meter's unit.
    pub(crate) fn used(&self) -> i64 {
        self.fullest.as_ref().map_or(0, |fullest| fullest.used)
    }

    /// An amount of this limit's meter, for people.
    pub(crate) fn amount(&self, amount: i64) -> String {
        self.limit.counter().meter().format_amount(amount)
    }

    fn add(&mut self, state: &LimitState, at_ms: i64) -> anyhow::Result<()> {
        self.peak_held = self.peak_held.max(state.held);
        self.overdraft = self.overdraft.max(state.overdraft());
        if self.fullest.as_ref().is_none_or(|fullest| state.used > fullest.used) {
            let window = state.window.span_at(at_ms)?.name;
            self.fullest = Some(Fullest { used: state.used, scope: state.scope.clone(), window });
        }
        Ok(())
    }
}

/// All sums of a replay.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) total: Totals,
    pub(crate) limits: Vec<LimitTally>,
    pub(crate) first_ms: Option<i64>,
    pub(crate) last_ms: Option<i64>,
    models: HashMap<String, Totals>,
    scopes: HashMap<String, Totals>,
}

impl Tally {
    pub(crate) fn new(policy: &Policy) -> Self {
        let limits = policy.limits().iter().map(|limit| LimitTally {
            limit: limit.clone(),
            fullest: None,
            denied: 0,
            first_denied_ms: None,
            peak_held: 0,
            denied_by_holds: 0,
            overdraft: 0,
        });
        Self { limits: limits.collect(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, call: &Outcome<'_>) -> anyhow::Result<()> {
        self.total.add(call.granted, call.cost)?;
        self.models.entry(call.model.to_owned()).or_default().add(call.granted, call.cost)?;
        for scope in call.scopes {
            self.scopes.entry(scope.to_string()).or_default().add(call.granted, call.cost)?;
        }
        self.first_ms = Some(self.first_ms.map_or(call.at_ms, |first| first.min(call.at_ms)));
        self.last_ms = Some(self.last_ms.map_or(call.at_ms, |last| last.max(call.at_ms)));
        for (tally, state) in self.limits.iter_mut().zip(call.limits) {
            tally.add(state, call.at_ms)?;
        }
        for &place in call.refused_by {
            let Some(tally) = self.limits.get_mut(place) else { continue };
            tally.denied += 1;
            tally.first_denied_ms = Some(tally.first_denied_ms.map_or(call.at_ms, |first| first.min(call.at_ms)));
        }
        Ok(())
    }

    /// Takes in where the limits stand after a call of the time `at_ms` was settled.
    pub(crate) fn settled(&mut self, limits: &[LimitState], at_ms: i64) -> anyhow::Result<()> {
        self.limits.iter_mut().zip(limits).try_for_each(|(tally, state)| tally.add(state, at_ms))
    }

    /// Takes in which limits had room for a refused call but for what was held.
    pub(crate) fn denied_by_holds(&mut self, places: &[usize]) {
        for &place in places {
            if let Some(tally) = self.limits.get_mut(place) {
                tally.denied_by_holds += 1;
            }
        }
    }

    /// How many limits a settlement has passed.
    pub(crate) fn overdrawn(&self) -> usize {
        self.limits.iter().filter(|limit| limit.overdraft > 0).count()
    }

    /// Models by spend, the largest first.
    pub(crate) fn models(&self) -> Vec<(&str, &Totals)> {
        largest_first(&self.models)
    }

    /// Scopes by spend, the largest first.
    pub(crate) fn scopes(&self) -> Vec<(&str, &Totals)> {
        largest_first(&self.scopes)
    }
}

/// Largest spend first, then most requests, then by name, so that equal logs give equal reports.
fn largest_first(totals: &HashMap<String, Totals>) -> Vec<(&str, &Totals)> {
    let mut sorted: Vec<_> = totals.iter().map(|(name, totals)| (name.as_str(), totals)).collect();
    sorted.sort_by(|(a_name, a), (b_name, b)| {
        (b.spent, b.requests()).cmp(&(a.spent, a.requests())).then_with(|| a_name.cmp(b_name))
    });
    sorted
}
