//! The report for programs.

use std::borrow::Cow;

use serde::Serialize;

use super::{Report, TOP_HOURS, TOP_SCOPES};
use crate::cli::output::decoded;
use crate::cli::replay::binding::Stretch;
use crate::cli::replay::estimate::EstimateBy;
use crate::cli::replay::reserve::Sums;
use crate::cli::replay::tally::{Hour, LimitTally, Tally, Totals};
use crate::cli::states::mode;
use crate::cli::time::rfc3339;

impl Report {
    /// The report as one JSON object. Money is in integer nanos, times are RFC 3339 in UTC.
    pub(crate) fn to_json(&self) -> impl Serialize {
        let total = &self.tally.total;
        let (models, scopes) = (self.tally.models().into_iter(), self.tally.scopes().into_iter());
        Json {
            log: &self.log,
            policy: &self.policy,
            store: &self.store,
            prefix: &self.prefix,
            requests: total.requests(),
            granted: total.granted,
            denied: total.denied,
            spent_nanos: total.spent.nanos(),
            refused_nanos: total.refused.nanos(),
            bad_rows: self.bad_rows,
            unknown_models: self.unknown_models,
            first_at: self.tally.first_ms.map(rfc3339),
            last_at: self.tally.last_ms.map(rfc3339),
            reserve: self.reserved.map(|(by, sums)| JsonReserve::new(by, &sums, &self.tally)),
            limits: self.tally.limits.iter().map(|tally| JsonLimit::new(tally, self.reserved.is_some())).collect(),
            busiest_hours: self
                .tally
                .busiest_hours(TOP_HOURS)
                .into_iter()
                .map(|hour| JsonHour::new(hour, &self.tally))
                .collect(),
            models: models.map(|(name, totals)| JsonTotals::new(name.into(), totals)).collect(),
            scopes: scopes.take(TOP_SCOPES).map(|(name, totals)| JsonTotals::new(decoded(name), totals)).collect(),
            scopes_left_out: self.tally.scopes().len().saturating_sub(TOP_SCOPES),
            elapsed_ms: u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            decisions_per_second: self.decisions_per_second(),
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    log: &'a str,
    policy: &'a str,
    store: &'a str,
    prefix: &'a str,
    requests: u64,
    granted: u64,
    denied: u64,
    spent_nanos: i64,
    refused_nanos: i64,
    bad_rows: u64,
    unknown_models: u64,
    first_at: Option<String>,
    last_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve: Option<JsonReserve>,
    limits: Vec<JsonLimit<'a>>,
    /// The hours with most calls.
    busiest_hours: Vec<JsonHour>,
    models: Vec<JsonTotals<'a>>,
    scopes: Vec<JsonTotals<'a>>,
    /// How many scopes there are beside those that are listed.
    scopes_left_out: usize,
    elapsed_ms: u64,
    decisions_per_second: u64,
}

/// With --reserve. `denied_by_holds` counts the calls of which each by itself, not all together, would have had room had nothing
/// been held just then, `limits_passed_within_overdraft` the limits that were passed by no more than the overdraft they allow, and
/// `limits_overdrawn` those that were passed by more.
#[derive(Serialize)]
struct JsonReserve {
    estimate: String,
    peak_held_nanos: i64,
    peak_calls: usize,
    denied_by_holds: u64,
    limits_passed_within_overdraft: usize,
    limits_overdrawn: usize,
    longest_call_ms: i64,
    out_of_order_rows: u64,
}

impl JsonReserve {
    fn new(by: EstimateBy, sums: &Sums, tally: &Tally) -> Self {
        let (within, beyond) = tally.passed();
        Self {
            estimate: by.words(),
            peak_held_nanos: sums.peak_held.nanos(),
            peak_calls: sums.peak_calls,
            denied_by_holds: sums.denied_by_holds,
            limits_passed_within_overdraft: within,
            limits_overdrawn: beyond,
            longest_call_ms: sums.longest_ms,
            out_of_order_rows: sums.out_of_order,
        }
    }
}

/// What one limit's holds came to, in the meter's unit.
#[derive(Serialize)]
struct JsonLimitHolds {
    peak_held: i64,
    denied_by_holds: u64,
}

/// Amounts are in the meter's unit: nanos for `cost`. `used` is what the fullest window held, whose and which is in `used_by`
/// and `used_in`; of calls open at once it is how many were. `limit` is null where the policy only counts. `denied` counts the
/// calls that it refused, `bound` those among them that no other limit would have refused for longer, and `shadowed` those that
/// it would have refused in another mode; the times are those of either.
#[derive(Serialize)]
struct JsonLimit<'a> {
    scope: &'a str,
    meter: Cow<'a, str>,
    per: String,
    mode: &'static str,
    limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<i64>,
    allowed_overdraft: i64,
    used: i64,
    used_by: Option<Cow<'a, str>>,
    used_in: Option<&'a str>,
    /// By how much it was passed at most.
    overdraft: i64,
    denied: u64,
    bound: u64,
    shadowed: u64,
    first_denied_at: Option<String>,
    last_denied_at: Option<String>,
    /// The longest time over which it refused every call of one scope, in one window.
    longest_stretch: Option<JsonStretch<'a>>,
    /// Those in which it refused most.
    busiest_hours: Vec<JsonDenials>,
    warnings: Vec<JsonWarning>,
    #[serde(flatten)]
    holds: Option<JsonLimitHolds>,
}

#[derive(Serialize)]
struct JsonStretch<'a> {
    scope: Cow<'a, str>,
    from: String,
    until: String,
    calls: u64,
}

/// The refused calls of an hour.
#[derive(Serialize)]
struct JsonDenials {
    at: String,
    denied: u64,
}

/// A share of `warn_at`, and in how many windows it was crossed.
#[derive(Serialize)]
struct JsonWarning {
    at: String,
    crossed: u64,
    first_crossed_at: Option<String>,
}

impl<'a> JsonLimit<'a> {
    fn new(tally: &'a LimitTally, reserved: bool) -> Self {
        let (limit, counter, binding) = (&tally.limit, tally.limit.counter(), &tally.binding);
        let warnings = limit.warnings().iter().map(|share| {
            let crossed = tally.warnings.get(share);
            JsonWarning {
                at: share.to_string(),
                crossed: crossed.map_or(0, |(times, _)| *times),
                first_crossed_at: crossed.map(|(_, first_ms)| rfc3339(*first_ms)),
            }
        });
        let hours = binding.busiest_hours().into_iter();
        Self {
            scope: counter.scope_kind(),
            meter: decoded(counter.meter().as_str()),
            per: counter.window().to_string(),
            mode: mode(limit.is_shadow()),
            limit: limit.limit(),
            burst: limit.own_burst(),
            allowed_overdraft: limit.allowed_overdraft(),
            used: tally.used(),
            used_by: tally.fullest.as_ref().map(|fullest| decoded(fullest.scope.as_str())),
            used_in: tally.fullest.as_ref().map(|fullest| fullest.window.as_str()),
            overdraft: tally.overdraft,
            denied: tally.denied(),
            bound: binding.longest_calls,
            shadowed: tally.shadowed(),
            first_denied_at: binding.first_ms.map(rfc3339),
            last_denied_at: binding.last_ms.map(rfc3339),
            longest_stretch: binding.stretch.as_ref().map(JsonStretch::new),
            busiest_hours: hours.map(|(at_ms, denied)| JsonDenials { at: rfc3339(at_ms), denied }).collect(),
            warnings: warnings.collect(),
            holds: reserved
                .then_some(JsonLimitHolds { peak_held: tally.peak_held, denied_by_holds: tally.denied_by_holds }),
        }
    }
}

impl<'a> JsonStretch<'a> {
    fn new(Stretch { scope, span_ms, calls }: &'a Stretch) -> Self {
        Self { scope: decoded(scope.as_str()), from: rfc3339(span_ms.0), until: rfc3339(span_ms.1), calls: *calls }
    }
}

/// The calls of an hour, and the limit that bound most of those that were denied.
#[derive(Serialize)]
struct JsonHour {
    at: String,
    requests: u64,
    granted: u64,
    denied: u64,
    spent_nanos: i64,
    refused_nanos: i64,
    bound_most_by: Option<String>,
}

impl JsonHour {
    fn new((at_ms, hour): (i64, &Hour), tally: &Tally) -> Self {
        let totals = &hour.totals;
        Self {
            at: rfc3339(at_ms),
            requests: totals.requests(),
            granted: totals.granted,
            denied: totals.denied,
            spent_nanos: totals.spent.nanos(),
            refused_nanos: totals.refused.nanos(),
            bound_most_by: hour.most_bound_by().and_then(|place| tally.limits.get(place)).map(LimitTally::name),
        }
    }
}

#[derive(Serialize)]
struct JsonTotals<'a> {
    name: Cow<'a, str>,
    requests: u64,
    granted: u64,
    denied: u64,
    spent_nanos: i64,
    refused_nanos: i64,
}

impl<'a> JsonTotals<'a> {
    fn new(name: Cow<'a, str>, totals: &Totals) -> Self {
        Self {
            name,
            requests: totals.requests(),
            granted: totals.granted,
            denied: totals.denied,
            spent_nanos: totals.spent.nanos(),
            refused_nanos: totals.refused.nanos(),
        }
    }
}
