//! Adding up what a replay decided.

use std::collections::{BTreeMap, HashMap};

use costguard::model::Per;
use costguard::{Fraction, Limit, LimitState, Money, Policy, Scope};

use super::binding::Binding;
use crate::cli::output::readable;
use crate::cli::states;
use crate::cli::time::HOUR_MS;

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
    /// The one of them that would refuse longest.
    pub(crate) bound_by: Option<usize>,
}

/// How full a limit is: what was used, or of calls open at once, how many are.
pub(crate) fn level(state: &LimitState) -> i64 {
    if state.window.per() == Per::Open { state.held } else { state.used }
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
    /// The calls that it refused, or would have in shadow mode, where it does not know of calls that another refused.
    pub(crate) binding: Binding,
    /// How often each share of `warn_at` was crossed, and when first.
    pub(crate) warnings: BTreeMap<Fraction, (u64, i64)>,
    /// The most that was held in any one window of any one scope.
    pub(crate) peak_held: i64,
    /// The calls that it refused for what was held, and would not have for what was used.
    pub(crate) denied_by_holds: u64,
    /// By how much it was passed at most.
    pub(crate) overdraft: i64,
}

/// The calls of one hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hour {
    pub(crate) totals: Totals,
    /// How many calls each limit refused for longest, by its place.
    bound: BTreeMap<usize, u64>,
}

impl Hour {
    /// The limit that bound most calls, by its place; the first of several.
    pub(crate) fn most_bound_by(&self) -> Option<usize> {
        self.bound.iter().min_by_key(|(_, calls)| std::cmp::Reverse(**calls)).map(|(place, _)| *place)
    }
}

impl LimitTally {
    /// Its counter, and whether it only says what it would refuse.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}{}",
            readable(&self.limit.counter().to_string()),
            if self.limit.is_shadow() { " (shadow)" } else { "" }
        )
    }

    /// The amount above which it refuses: the burst of a rate, its overdraft counted in.
    pub(crate) fn refuses_from(&self) -> Option<i64> {
        let most = self.limit.own_burst().or(self.limit.limit())?;
        Some(most.saturating_add(self.limit.allowed_overdraft()))
    }

    /// How far it may go, for people.
    pub(crate) fn at_most(&self) -> String {
        let limit = &self.limit;
        states::at_most(limit.counter().meter(), limit.limit(), limit.own_burst(), limit.allowed_overdraft())
    }

    /// The calls that it refused.
    pub(crate) fn denied(&self) -> u64 {
        if self.limit.is_shadow() { 0 } else { self.binding.calls }
    }

    /// The calls that it would have refused in another mode.
    pub(crate) fn shadowed(&self) -> u64 {
        self.binding.calls - self.denied()
    }

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
        let used = level(state);
        if self.fullest.as_ref().is_none_or(|fullest| used > fullest.used) {
            let window = state.window.span_at(at_ms)?.name;
            self.fullest = Some(Fullest { used, scope: state.scope.clone(), window });
        }
        if let Some(share) = state.crossed {
            let (times, first_ms) = self.warnings.entry(share).or_insert((0, at_ms));
            *times += 1;
            *first_ms = at_ms.min(*first_ms);
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
    /// By the hour of UTC.
    hours: HashMap<i64, Hour>,
}

impl Tally {
    pub(crate) fn new(policy: &Policy) -> Self {
        let limits = policy.limits().iter().map(|limit| LimitTally {
            limit: limit.clone(),
            fullest: None,
            binding: Binding::default(),
            warnings: BTreeMap::new(),
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
        let hour = self.hours.entry(call.at_ms.div_euclid(HOUR_MS)).or_default();
        hour.totals.add(call.granted, call.cost)?;
        if let Some(place) = call.bound_by {
            *hour.bound.entry(place).or_default() += 1;
        }
        for (place, (tally, state)) in self.limits.iter_mut().zip(call.limits).enumerate() {
            tally.add(state, call.at_ms)?;
            if call.refused_by.contains(&place) || state.shadowed {
                let longest = call.bound_by == Some(place);
                tally.binding.refused(&state.scope, call.at_ms, state.span_ms.1, longest);
            } else if call.granted || !tally.limit.is_shadow() {
                tally.binding.passed(&state.scope);
            }
        }
        Ok(())
    }

    /// Takes in where the limits stand after a call of the time `at_ms` was settled.
    pub(crate) fn settled(&mut self, limits: &[(usize, LimitState)], at_ms: i64) -> anyhow::Result<()> {
        limits.iter().try_for_each(|(place, state)| match self.limits.get_mut(*place) {
            Some(tally) => tally.add(state, at_ms),
            None => Ok(()),
        })
    }

    /// Takes in which limits had room for a refused call but for what was held.
    pub(crate) fn denied_by_holds(&mut self, places: &[usize]) {
        for &place in places {
            if let Some(tally) = self.limits.get_mut(place) {
                tally.denied_by_holds += 1;
            }
        }
    }

    /// How many limits were passed within the overdraft they allow, and how many by more than that.
    pub(crate) fn passed(&self) -> (usize, usize) {
        let enforced = self.limits.iter().filter(|tally| !tally.limit.is_shadow() && tally.overdraft > 0);
        let (beyond, within): (Vec<_>, Vec<_>) =
            enforced.partition(|tally| tally.overdraft > tally.limit.allowed_overdraft());
        (within.len(), beyond.len())
    }

    /// The hours with most calls, most first, and when each began.
    pub(crate) fn busiest_hours(&self, most: usize) -> Vec<(i64, &Hour)> {
        let mut hours: Vec<_> = self.hours.iter().map(|(hour, calls)| (hour * HOUR_MS, calls)).collect();
        hours.sort_by_key(|(at_ms, hour)| (std::cmp::Reverse(hour.totals.requests()), *at_ms));
        hours.truncate(most);
        hours
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
