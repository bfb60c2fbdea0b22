//! What a decision says.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::amount::Meter;
use super::outage::Decided;
use super::policy::{Fraction, Limit};
use super::subject::Scope;
use super::window::{Per, Window};

/// The answer to a request: the amounts were taken from every limit, or from none.
#[derive(Clone, Debug, PartialEq, Eq)]
// Both are large with the states of all limits in them; a box would only move that.
#[allow(clippy::large_enum_variant)]
#[must_use = "a request that was denied must not be made"]
pub enum Decision<G = Grant> {
    /// Every limit allowed the request, and it has been counted.
    Granted(G),
    /// At least one limit refused the request; nothing was counted.
    Denied(Denial),
}

impl<G> Decision<G> {
    /// Whether the request may be made.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }
}

/// A request that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Every limit of the policy, in its order, after the request.
    pub limits: Vec<LimitState>,
    /// Whether this is the stored answer to an operation id that was used before. Then `used` is as it was at that time.
    pub replayed: bool,
    /// What a partial amount came to; `None` when none was asked for.
    pub part: Option<i64>,
    /// When it was counted, in microseconds since the epoch by the store's clock: what a refund goes by.
    pub taken_us: i64,
    /// Who decided. What was granted without the store is delivered to it when it is back.
    pub decided: Decided,
}

/// A request that was refused. Nothing was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The limit that binds longest.
    pub limit: LimitState,
    /// How long until that limit can have room again: until its window ends, until a rate has room for the request, until an
    /// override ends that had made it smaller, or until the next holds expire where holds stand in the way (`statement` says how
    /// much frees when). `None` when it never will: its window does not end, or the request alone is above the limit.
    pub retry_after: Option<Duration>,
    /// Every limit of the policy, in its order, and every block that stands in the way.
    pub limits: Vec<LimitState>,
    /// Which of them refuse, by their place in `limits`.
    pub refused_by: Vec<usize>,
    /// Whether it was answered from this process's memory: see [`Builder::denial_cache`](crate::Builder::denial_cache). The
    /// limits are then as they stood when the store was asked.
    pub remembered: bool,
    /// Who decided. Without the store `limit` is this process's share of it.
    pub decided: Decided,
}

/// Every limit that refuses, in the policy's order, and when to try again: `user:alice cost per day, 1.00 of 1.00 used; try again
/// in 3600 s`.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut places = self.refused_by.clone();
        places.sort_unstable();
        for limit in places.into_iter().filter_map(|place| self.limits.get(place)) {
            write!(f, "{limit}; ")?;
        }
        f.write_str(&advice(self.retry_after))
    }
}

/// When to try again, for whoever was refused.
pub(crate) fn advice(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(wait) => format!("try again in {} s", whole_seconds(wait)),
        None => "trying again will not help".to_owned(),
    }
}

/// Rounded up: who comes back a microsecond early is refused again.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

/// Where a limit stands. Amounts are in the meter's unit: nano-dollars for `cost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Whom it counts against.
    pub scope: Scope,
    /// What it counts.
    pub meter: Meter,
    /// When it starts over.
    pub window: Window,
    /// How far it may go, an override counted in; `None` when it only counts. After a charge it is the policy's own: a charge is
    /// refused by no limit, and does not look for overrides.
    pub limit: Option<i64>,
    /// How many of a rate may come at once; `None` for everything else.
    pub burst: Option<i64>,
    /// How far it has gone: what was charged and settled; of a rate what has not leaked or slid out.
    pub used: i64,
    /// How full the bucket of a rate (GCRA) is, exactly, where `used` is rounded up to whole requests: in parts, of which a request
    /// is as many as the rate's period has microseconds. `None` of everything else.
    pub parts: Option<i64>,
    /// What is held beside that, by holds that are open. A decision that was granted may count in some that have ended: they
    /// are looked for where a limit would refuse, and by one request in forty. [`peek`](crate::CostGuard::peek) leaves them out.
    pub held: i64,
    /// When the current window began and when it ends, in milliseconds since the epoch; of a rate now, and when at the latest
    /// nothing of it is left; of a block now, and when it ends.
    pub span_ms: (i64, i64),
    /// The highest share of `warn_at` that is reported with this very request: of all requests of the window, in all
    /// processes, one reports it. After several shares in one step it is the highest of them.
    pub crossed: Option<Fraction>,
    /// Whether a limit in shadow mode would have refused this request.
    pub shadowed: bool,
}

/// `user:alice cost per day, 1.00 of 1.00 used`; of a rate with a burst `5 of 5 at once used (20 per 1m)`.
impl fmt::Display for LimitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.meter == Meter::BLOCK {
            return write!(f, "{} is blocked", self.scope);
        }
        let Self { scope, meter, window, used, .. } = self;
        write!(f, "{scope} {meter} {}{window}, {}", window.per().preposition(), meter.format_amount(*used))?;
        let amount = |amount| meter.format_amount(amount);
        match (self.limit, self.own_burst(), window.per().rate_period()) {
            (Some(limit), Some(burst), Some(period)) => {
                write!(f, " of {} at once used ({} per {period})", amount(burst), amount(limit))?;
            }
            (Some(limit), ..) => write!(f, " of {} used", amount(limit))?,
            (None, ..) => f.write_str(" used")?,
        }
        if self.held > 0 {
            write!(f, ", {} held", self.meter.format_amount(self.held))?;
        }
        Ok(())
    }
}

impl LimitState {
    /// What the limit is called wherever it is told from others of its policy: scope kind, meter and window, `user-cost-day`. No
    /// id is in it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.scope.kind(), self.meter, self.window)
    }

    /// A limit of a policy, with nothing crossed and nothing shadowed.
    pub(crate) fn new(limit: &Limit, scope: Scope, span_ms: (i64, i64), used: i64, held: i64) -> Self {
        let (meter, window) = (limit.counter().meter().clone(), limit.counter().window());
        let burst = matches!(window.per(), Per::Rate(_)).then(|| limit.own_burst().or(limit.limit())).flatten();
        let (limit, parts, crossed, shadowed) = (limit.limit(), None, None, false);
        Self { scope, meter, window, limit, burst, used, parts, held, span_ms, crossed, shadowed }
    }

    /// A block of a scope, as one more limit.
    pub(crate) fn block(scope: Scope, span_ms: (i64, i64)) -> Self {
        let (meter, window, limit, burst, parts) = (Meter::BLOCK, Window::total(), Some(0), None, None);
        Self { scope, meter, window, limit, burst, used: 0, parts, held: 0, span_ms, crossed: None, shadowed: false }
    }

    /// How many of a rate may come at once, where that is another number than its limit.
    #[must_use]
    pub fn own_burst(&self) -> Option<i64> {
        self.burst.filter(|burst| Some(*burst) != self.limit)
    }

    /// How much is left, neither used nor held; 0 when the limit was reached or passed, `None` when there is no limit.
    #[must_use]
    pub fn remaining(&self) -> Option<i64> {
        self.burst.or(self.limit).map(|limit| limit.saturating_sub(self.used).saturating_sub(self.held).max(0))
    }

    /// By how much the limit was passed, by charges that are never refused or within the overdraft it allows; 0 when it was
    /// not.
    #[must_use]
    pub fn overdraft(&self) -> i64 {
        self.burst.or(self.limit).map_or(0, |limit| self.used.saturating_sub(limit).max(0))
    }

    /// When the counter starts over; `None` when it never does.
    #[must_use]
    pub fn resets_at(&self) -> Option<DateTime<Utc>> {
        (self.span_ms.1 != super::window::Span::NEVER_MS)
            .then(|| DateTime::from_timestamp_millis(self.span_ms.1))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Money;

    #[test]
    fn a_denial_reads_as_whoever_is_refused_would_log_it() {
        let dollar = Limit::cost("user", Money::from_nanos(1_000_000_000), Window::day());
        let calls = Limit::concurrency("org", 2);
        let of = |limit: &Limit, kind: &str, id: &str, used, held| {
            LimitState::new(limit, Scope::of_key(&format!("{kind}:{id}")), (0, 1), used, held)
        };
        let limits = vec![
            of(&dollar, "user", "alice", 900_000_000, 100_000_000),
            of(&calls, "org", "acme", 0, 1),
            LimitState::block(Scope::of_key("user:alice"), (0, 1)),
        ];
        let denial = |refused_by: &[usize], retry_after| Denial {
            limit: limits[refused_by[0]].clone(),
            retry_after,
            limits: limits.clone(),
            refused_by: refused_by.to_vec(),
            remembered: false,
            decided: Decided::ByStore,
        };
        assert_eq!(
            denial(&[0], Some(Duration::from_micros(3_599_000_001))).to_string(),
            "user:alice cost per day, 0.90 of 1.00 used, 0.10 held; try again in 3600 s"
        );
        assert_eq!(
            denial(&[2, 1], None).to_string(),
            "org:acme concurrency open, 0 of 2 used, 1 held; user:alice is blocked; trying again will not help"
        );
    }
}
