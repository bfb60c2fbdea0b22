//! Showing where limits stand.

use std::fmt::Write as _;

use costguard::{Counter, LimitState};
use serde::Serialize;

use super::output::table;
use super::time::{people_time, rfc3339};

/// A limit by name: `user:alice cost per day`.
pub(crate) fn name(state: &LimitState) -> String {
    let counter = Counter::new(state.scope.as_str(), state.meter.clone(), state.window);
    counter.to_string()
}

/// A table of limits, and below it what is remarkable about them.
pub(crate) fn to_table(states: &[LimitState]) -> Result<String, std::fmt::Error> {
    let mut limits = table(&["limit", "used", "held", "at most", "left", "starts over (UTC)"]);
    for state in states {
        let amount = |amount: Option<i64>| amount.map_or_else(|| "-".to_owned(), |n| state.meter.format_amount(n));
        limits.add_row([
            name(state),
            amount(Some(state.used)),
            amount(Some(state.held)),
            amount(state.limit),
            amount(state.remaining()),
            state.resets_at().map_or_else(|| "never".to_owned(), |at| people_time(at.timestamp_millis())),
        ]);
    }
    Ok(format!("{limits}\n{}", remarks(states)?).trim_end().to_owned())
}

/// What is remarkable about limits, a line each.
pub(crate) fn remarks<'a>(states: impl IntoIterator<Item = &'a LimitState>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for state in states {
        if let Some(share) = state.crossed {
            write!(text, "\n  {} reached {share} of its limit with this request", name(state))?;
        }
        if state.overdraft() > 0 {
            let over = state.meter.format_amount(state.overdraft());
            write!(text, "\n  {} is {over} over its limit", name(state))?;
        }
    }
    Ok(text)
}

/// One limit for programs. Amounts are in the meter's unit: nanos for `cost`. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
pub(crate) struct JsonState {
    scope: String,
    meter: String,
    per: String,
    limit: Option<i64>,
    used: i64,
    held: i64,
    remaining: Option<i64>,
    overdraft: i64,
    /// The share of the limit that this request reached, where the policy asks for it: `80%`.
    crossed: Option<String>,
    starts_at: Option<String>,
    resets_at: Option<String>,
}

impl JsonState {
    pub(crate) fn all(states: &[LimitState]) -> Vec<Self> {
        states.iter().map(Self::new).collect()
    }

    pub(crate) fn new(state: &LimitState) -> Self {
        let resets_at = state.resets_at().map(|at| rfc3339(at.timestamp_millis()));
        Self {
            scope: state.scope.to_string(),
            meter: state.meter.to_string(),
            per: state.window.to_string(),
            limit: state.limit,
            used: state.used,
            held: state.held,
            remaining: state.remaining(),
            overdraft: state.overdraft(),
            crossed: state.crossed.map(|share| share.to_string()),
            starts_at: resets_at.is_some().then(|| rfc3339(state.span_ms.0)),
            resets_at,
        }
    }
}
