//! Showing where limits stand.

use std::fmt::Write as _;

use costguard::{Counter, LimitState, Meter, Scope};
use serde::Serialize;

use super::output::{decoded, readable, table};
use super::time::{people_time, rfc3339};

/// A block of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) scope: Scope,
    pub(crate) until_ms: i64,
}

impl Block {
    /// Those among the limits of a denial.
    pub(crate) fn among(states: &[LimitState]) -> Vec<Self> {
        let blocks = states.iter().filter(|state| state.meter == Meter::BLOCK);
        blocks.map(|state| Self { scope: state.scope.clone(), until_ms: state.span_ms.1 }).collect()
    }
}

/// Blocks for people, a line each.
pub(crate) fn block_lines(blocks: &[Block]) -> String {
    let line = |Block { scope, until_ms }: &Block| {
        format!("\n  {} is blocked until {} UTC", readable(scope.as_str()), people_time(*until_ms))
    };
    blocks.iter().map(line).collect()
}

/// A block for programs.
#[derive(Debug, Serialize)]
pub(crate) struct JsonBlock {
    scope: String,
    until: String,
    until_ms: i64,
}

impl JsonBlock {
    pub(crate) fn all(blocks: &[Block]) -> Vec<Self> {
        let json = |Block { scope, until_ms }: &Block| Self {
            scope: decoded(scope.as_str()).into_owned(),
            until: rfc3339(*until_ms),
            until_ms: *until_ms,
        };
        blocks.iter().map(json).collect()
    }
}

/// A limit by name: `user:alice cost per day`.
pub(crate) fn name(state: &LimitState) -> String {
    if state.meter == Meter::BLOCK {
        return format!("the block of {}", readable(state.scope.as_str()));
    }
    let counter = Counter::new(state.scope.as_str(), state.meter.clone(), state.window);
    readable(&counter.to_string())
}

/// How many of a rate may come at once, where that is another number than its limit.
pub(crate) fn own_burst(state: &LimitState) -> Option<i64> {
    state.burst.filter(|burst| Some(*burst) != state.limit)
}

/// How far a limit goes, for people: `10, 3 at once`.
pub(crate) fn at_most(meter: &Meter, limit: Option<i64>, burst: Option<i64>) -> String {
    let Some(limit) = limit else { return "-".to_owned() };
    let limit = meter.format_amount(limit);
    burst.map_or_else(|| limit.clone(), |burst| format!("{limit}, {} at once", meter.format_amount(burst)))
}

/// A table of limits, and below it what is remarkable about them.
pub(crate) fn to_table(states: &[LimitState], blocks: &[Block]) -> Result<String, std::fmt::Error> {
    let mut limits = table(&["limit", "used", "held", "at most", "left", "starts over (UTC)"]);
    for state in states.iter().filter(|state| state.meter != Meter::BLOCK) {
        let amount = |amount: Option<i64>| amount.map_or_else(|| "-".to_owned(), |n| state.meter.format_amount(n));
        limits.add_row([
            name(state),
            amount(Some(state.used)),
            amount(Some(state.held)),
            at_most(&state.meter, state.limit, own_burst(state)),
            amount(state.remaining()),
            state.resets_at().map_or_else(|| "never".to_owned(), |at| people_time(at.timestamp_millis())),
        ]);
    }
    Ok(format!("{limits}\n{}{}", remarks(states)?, block_lines(blocks)).trim_end().to_owned())
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
    /// How many of a rate may come at once, where that is another number: what `remaining` is left of.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<i64>,
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
            scope: decoded(state.scope.as_str()).into_owned(),
            meter: decoded(state.meter.as_str()).into_owned(),
            per: state.window.to_string(),
            limit: state.limit,
            burst: own_burst(state),
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
