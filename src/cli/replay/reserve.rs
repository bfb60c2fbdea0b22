//! `--reserve`: every call holds an estimate until it ends, so that calls that overlap show.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use anyhow::Context as _;
use chrono::DateTime;
use costguard::{Amounts, CostGuard, Decision, Denial, Hold, LimitState, Meter, Money, Policy, Subject};

use super::estimate::EstimateBy;

/// A hold lives at least so long, as it does by default: it is the end of the call that ends it.
const SHORTEST_TTL_MS: i64 = 600_000;

/// How long a settled hold is remembered on a server: for a repeat on a connection that broke, and no longer, so that a
/// long replay does not fill it. In this process no connection breaks.
pub(crate) fn receipt_ttl(on_server: bool) -> Duration {
    if on_server { Duration::from_secs(20) } else { Duration::from_millis(100) }
}

/// One call to decide.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) guard: &'a CostGuard,
    pub(crate) policy: &'a Policy,
    pub(crate) subject: &'a Subject,
    pub(crate) at_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) estimate: Amounts,
    pub(crate) estimate_cost: Money,
    pub(crate) actual: Amounts,
}

/// The calls that are under way, and what they came to.
#[derive(Debug)]
pub(crate) struct Reserving {
    pub(crate) by: EstimateBy,
    open: BinaryHeap<OpenCall>,
    held: Money,
    /// Reservations so far.
    reserved: u64,
    last_ms: Option<i64>,
    pub(crate) sums: Sums,
}

/// What only a replay with holds can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// The most money held at once, over all calls.
    pub(crate) peak_held: Money,
    /// The most calls under way at once.
    pub(crate) peak_calls: usize,
    /// Denials of which each, by itself, would have had room had nothing been held just then.
    pub(crate) denied_by_holds: u64,
    /// The longest call.
    pub(crate) longest_ms: i64,
    /// Rows before whose time a later call had been decided already.
    pub(crate) out_of_order: u64,
}

/// A call under way.
#[derive(Debug)]
struct OpenCall {
    end_ms: i64,
    /// Calls that end together end in the order in which they began.
    serial: u64,
    at_ms: i64,
    calls: i64,
    estimate_cost: Money,
    actual: Amounts,
    hold: Hold,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// When it began: its money lies in the windows of that time.
    pub(crate) at_ms: i64,
    pub(crate) end_ms: i64,
    /// Every limit but the rates after it was settled, with its place: rates are corrected, and told by the next call.
    pub(crate) limits: Vec<(usize, LimitState)>,
    /// What it counted as while it was open.
    pub(crate) calls: i64,
}

/// What was decided of a call.
#[derive(Debug)]
pub(crate) enum Reserved {
    Granted(Vec<LimitState>),
    /// And the limits, by their place, that had room but for what was held.
    Denied(Box<Denial>, Vec<usize>),
}

impl Reserving {
    pub(crate) fn new(by: EstimateBy) -> Self {
        Self { by, open: BinaryHeap::new(), held: Money::ZERO, reserved: 0, last_ms: None, sums: Sums::default() }
    }

    /// Settles the next call that ends until `until_ms`; `None` when there is none.
    pub(crate) async fn settle_next(&mut self, until_ms: i64) -> anyhow::Result<Option<Ended>> {
        if self.open.peek().is_none_or(|call| call.end_ms > until_ms) {
            return Ok(None);
        }
        let Some(OpenCall { end_ms, at_ms, calls, estimate_cost, actual, mut hold, .. }) = self.open.pop() else {
            return Ok(None);
        };
        hold.set_time(DateTime::from_timestamp_millis(end_ms).context("a call ends beyond all calendars")?);
        let settled = hold.settle(actual).await?;
        self.held = self.held.checked_sub(estimate_cost).context("more is settled than was held")?;
        let counters = hold.limits().iter().enumerate().filter(|(_, limit)| limit.window.per().rate_period().is_none());
        let limits = counters.zip(settled.limits).map(|((place, before), after)| {
            (place, LimitState { used: after.used, held: 0, crossed: None, shadowed: false, ..before.clone() })
        });
        Ok(Some(Ended { at_ms, end_ms, limits: limits.collect(), calls }))
    }

    /// Reserves for a call. Those that end until it begins must have been settled.
    pub(crate) async fn reserve(&mut self, call: Call<'_>) -> anyhow::Result<Reserved> {
        let Call { guard, policy, subject, at_ms, end_ms, estimate, estimate_cost, actual } = call;
        let duration_ms = end_ms - at_ms;
        // Longer than the call, so that the end of the call ends it.
        let ttl_ms = u64::try_from(SHORTEST_TTL_MS.max(duration_ms + 1))?;
        let at = DateTime::from_timestamp_millis(at_ms).context("the time is out of range")?;
        let reserve = guard.reserve(policy, subject, estimate.clone()).ttl(Duration::from_millis(ttl_ms)).at(at);
        self.sums.longest_ms = self.sums.longest_ms.max(duration_ms);
        self.sums.out_of_order += u64::from(self.last_ms.is_some_and(|last_ms| at_ms < last_ms));
        self.last_ms = self.last_ms.max(Some(at_ms));
        let hold = match reserve.await? {
            Decision::Granted(hold) => hold,
            Decision::Denied(denial) => {
                let by_holds = refused_for_holds(policy, &denial, &estimate)?;
                self.sums.denied_by_holds += u64::from(by_holds.len() == denial.refused_by.len());
                return Ok(Reserved::Denied(Box::new(denial), by_holds));
            }
        };
        let limits = hold.limits().to_vec();
        self.held = self.held.checked_add(estimate_cost).context("the estimates of calls under way do not fit")?;
        self.reserved += 1;
        let calls = estimate.of(&Meter::CONCURRENCY)?;
        self.open.push(OpenCall { end_ms, serial: self.reserved, at_ms, calls, estimate_cost, actual, hold });
        self.sums.peak_held = self.sums.peak_held.max(self.held);
        self.sums.peak_calls = self.sums.peak_calls.max(self.open.len());
        Ok(Reserved::Granted(limits))
    }
}

/// The limits that refuse but would not, had nothing been held.
fn refused_for_holds(policy: &Policy, denial: &Denial, estimate: &Amounts) -> anyhow::Result<Vec<usize>> {
    let mut places = Vec::new();
    for &place in &denial.refused_by {
        // A block is no limit of the policy.
        let (Some(limit), Some(state)) = (policy.limits().get(place), denial.limits.get(place)) else { continue };
        let after = state.used.checked_add(estimate.of(&state.meter)?);
        let most = state.limit.map(|most| most.saturating_add(limit.allowed_overdraft()));
        if state.held > 0 && after.zip(most).is_some_and(|(after, most)| after <= most) {
            places.push(place);
        }
    }
    Ok(places)
}

/// The heap gives its greatest first: that is the call that ends first.
impl Ord for OpenCall {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.end_ms, other.serial).cmp(&(self.end_ms, self.serial))
    }
}

impl PartialOrd for OpenCall {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for OpenCall {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OpenCall {}
