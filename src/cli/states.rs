//! Showing where limits stand.

use std::fmt::Write as _;

use costguard::{Counter, Limit, LimitState, Meter, Policy, Scope};
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

/// How far a limit goes, for people: `10, 3 at once`, or with the overdraft that it allows `10.00 and 5.00`.
pub(crate) fn at_most(meter: &Meter, limit: Option<i64>, burst: Option<i64>, overdraft: i64) -> String {
    let Some(limit) = limit else { return "-".to_owned() };
    let limit = meter.format_amount(limit);
    match (burst, overdraft) {
        (Some(burst), _) => format!("{limit}, {} at once", meter.format_amount(burst)),
        (None, 0) => limit,
        (None, overdraft) => format!("{limit} and {}", meter.format_amount(overdraft)),
    }
}

/// Whether a limit refuses, in a word.
pub(crate) fn mode(is_shadow: bool) -> &'static str {
    if is_shadow { "shadow" } else { "enforce" }
}

/// Where a limit stands, and what the policy says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) state: &'a LimitState,
    /// `None` of a block.
    limit: Option<&'a Limit>,
    /// Whether its amounts are shown as they are stored: nobody knows their unit.
    pub(crate) is_bare: bool,
}

impl<'a> Standing<'a> {
    /// The states that a policy came to; blocks follow its limits.
    pub(crate) fn all(states: impl IntoIterator<Item = &'a LimitState>, policy: &'a Policy) -> Vec<Self> {
        let limits = policy.limits().iter().map(Some).chain(std::iter::repeat(None));
        states.into_iter().zip(limits).map(|(state, limit)| Self { state, limit, is_bare: false }).collect()
    }

    /// `user:alice cost per day (shadow)`.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", name(self.state), if self.is_shadow() { " (shadow)" } else { "" })
    }

    pub(crate) fn at_most(&self) -> String {
        at_most(&self.state.meter, self.state.limit, self.state.own_burst(), self.allowed_overdraft())
    }

    /// What a request would find, the overdraft that it may have counted in.
    pub(crate) fn remaining(&self) -> Option<i64> {
        let LimitState { limit, used, held, .. } = *self.state;
        match self.allowed_overdraft() {
            0 => self.state.remaining(),
            overdraft => {
                limit.map(|limit| limit.saturating_add(overdraft).saturating_sub(used).saturating_sub(held).max(0))
            }
        }
    }

    /// An amount of it, for people.
    pub(crate) fn amount(&self, amount: Option<i64>) -> String {
        match amount {
            None => "-".to_owned(),
            Some(amount) if self.is_bare => amount.to_string(),
            Some(amount) => self.state.meter.format_amount(amount),
        }
    }

    fn is_shadow(&self) -> bool {
        self.limit.is_some_and(Limit::is_shadow)
    }

    fn allowed_overdraft(&self) -> i64 {
        self.limit.map_or(0, Limit::allowed_overdraft)
    }
}

/// A table of limits, and below it what is remarkable about them.
pub(crate) fn to_table(standings: &[Standing<'_>], blocks: &[Block]) -> Result<String, std::fmt::Error> {
    let mut limits = table(&["limit", "used", "held", "at most", "left", "starts over (UTC)"]);
    for standing in standings.iter().filter(|standing| standing.state.meter != Meter::BLOCK) {
        let state = standing.state;
        limits.add_row([
            standing.name(),
            standing.amount(Some(state.used)),
            standing.amount(Some(state.held)),
            standing.at_most(),
            standing.amount(standing.remaining()),
            state.resets_at().map_or_else(|| "never".to_owned(), |at| people_time(at.timestamp_millis())),
        ]);
    }
    Ok(format!("{limits}\n{}{}", remarks(standings)?, block_lines(blocks)).trim_end().to_owned())
}

/// What is remarkable about limits, a line each.
pub(crate) fn remarks(standings: &[Standing<'_>]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for standing in standings {
        let (name, state) = (standing.name(), standing.state);
        if let Some(share) = state.crossed {
            write!(text, "\n  {name} reached {share} of its limit with this request")?;
        }
        if state.shadowed {
            write!(text, "\n  {name} would have refused this request")?;
        }
        if state.overdraft() > 0 {
            let over = state.meter.format_amount(state.overdraft());
            let allowed = state.overdraft() <= standing.allowed_overdraft();
            let words = if allowed { ", within the overdraft that it allows" } else { "" };
            write!(text, "\n  {name} is {over} over its limit{words}")?;
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
    /// `enforce`, or `shadow` where it only says what it would refuse.
    mode: &'static str,
    limit: Option<i64>,
    /// How many of a rate may come at once, where that is another number: what `remaining` is left of.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<i64>,
    /// By how much it may be passed: `remaining` counts that in.
    allowed_overdraft: i64,
    used: i64,
    held: i64,
    remaining: Option<i64>,
    overdraft: i64,
    /// Whether a limit in shadow mode would have refused this request.
    shadowed: bool,
    /// The share of the limit that this request reached, where the policy asks for it: `80%`.
    crossed: Option<String>,
    starts_at: Option<String>,
    resets_at: Option<String>,
}

impl JsonState {
    pub(crate) fn all(states: &[LimitState], policy: &Policy) -> Vec<Self> {
        Standing::all(states, policy).iter().map(Self::new).collect()
    }

    pub(crate) fn new(standing: &Standing<'_>) -> Self {
        let state = standing.state;
        let resets_at = state.resets_at().map(|at| rfc3339(at.timestamp_millis()));
        Self {
            scope: decoded(state.scope.as_str()).into_owned(),
            meter: decoded(state.meter.as_str()).into_owned(),
            per: state.window.to_string(),
            mode: mode(standing.is_shadow()),
            limit: state.limit,
            burst: state.own_burst(),
            allowed_overdraft: standing.allowed_overdraft(),
            used: state.used,
            held: state.held,
            remaining: standing.remaining(),
            overdraft: state.overdraft(),
            shadowed: state.shadowed,
            crossed: state.crossed.map(|share| share.to_string()),
            starts_at: resets_at.is_some().then(|| rfc3339(state.span_ms.0)),
            resets_at,
        }
    }
}
