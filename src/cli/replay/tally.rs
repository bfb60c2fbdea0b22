//! Adding up what a replay decided.

use std::collections::HashMap;

use costguard::model::Money;

/// One limit of the policy, as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitLabel {
    /// The kind of scope it counts against: `user`.
    pub(crate) scope: String,
    /// What it counts: `cost`.
    pub(crate) meter: String,
    /// How often it starts over: `day`, `90s`, `day Europe/Berlin`.
    pub(crate) per: String,
    /// The most that fits, in the meter's unit; nanos for `cost`.
    pub(crate) limit: i64,
}

impl LimitLabel {
    /// An amount of this limit's meter, for people: money with its decimals, other meters plain.
    pub(crate) fn amount(&self, amount: i64) -> String {
        if self.meter == "cost" { Money::from_nanos(amount).to_string() } else { amount.to_string() }
    }
}

/// What one limit said to one call.
#[derive(Clone, Debug)]
pub(crate) struct LimitState {
    /// Whose counter it is: `user:alice`.
    pub(crate) scope: String,
    /// Which window: `2026-02-01`.
    pub(crate) window: String,
    /// When that window ends, in milliseconds since the Unix epoch.
    pub(crate) window_end_ms: i64,
    /// What the counter stands at after the decision.
    pub(crate) used: i64,
    /// Whether this limit refused the call.
    pub(crate) refused: bool,
}

/// One call and what was decided.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) at_ms: i64,
    pub(crate) model: &'a str,
    /// The call's scopes, as `user:alice`.
    pub(crate) scopes: &'a [String],
    pub(crate) cost: Money,
    pub(crate) granted: bool,
    /// One state for each limit, in the policy's order.
    pub(crate) limits: &'a [LimitState],
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

/// What one limit did over the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitTally {
    pub(crate) label: LimitLabel,
    /// The most any one window of any one scope held, and which that was.
    pub(crate) peak: i64,
    pub(crate) peak_scope: String,
    pub(crate) peak_window: String,
    pub(crate) denied: u64,
    /// When the earliest refused call happened.
    pub(crate) first_denied_ms: Option<i64>,
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
    pub(crate) fn new(limits: &[LimitLabel]) -> Self {
        let limits = limits.iter().map(|label| LimitTally {
            label: label.clone(),
            peak: 0,
            peak_scope: String::new(),
            peak_window: String::new(),
            denied: 0,
            first_denied_ms: None,
        });
        Self { limits: limits.collect(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, call: &Outcome<'_>) -> anyhow::Result<()> {
        self.total.add(call.granted, call.cost)?;
        self.models.entry(call.model.to_owned()).or_default().add(call.granted, call.cost)?;
        for scope in call.scopes {
            self.scopes.entry(scope.clone()).or_default().add(call.granted, call.cost)?;
        }
        self.first_ms = Some(self.first_ms.map_or(call.at_ms, |first| first.min(call.at_ms)));
        self.last_ms = Some(self.last_ms.map_or(call.at_ms, |last| last.max(call.at_ms)));
        for (tally, state) in self.limits.iter_mut().zip(call.limits) {
            if state.used > tally.peak || tally.peak_scope.is_empty() {
                tally.peak = state.used;
                state.scope.clone_into(&mut tally.peak_scope);
                state.window.clone_into(&mut tally.peak_window);
            }
            if state.refused {
                tally.denied += 1;
                tally.first_denied_ms = Some(tally.first_denied_ms.map_or(call.at_ms, |first| first.min(call.at_ms)));
            }
        }
        Ok(())
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
