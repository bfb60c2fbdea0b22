//! What a replay found: a table for people, one JSON object for programs.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use super::estimate::EstimateBy;
use super::reserve::Sums;
use super::tally::{LimitTally, Tally, Totals};
use crate::cli::output::table;
use crate::cli::time::{people_duration, people_time, rfc3339};

/// How many scopes a report lists.
const TOP_SCOPES: usize = 10;

/// A finished replay.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) log: String,
    /// The policy's file.
    pub(crate) policy: String,
    /// Where the decisions were made: `embedded`, `redis://localhost:6379/0`.
    pub(crate) store: String,
    /// What this run's keys begin with.
    pub(crate) prefix: String,
    pub(crate) tally: Tally,
    /// With --reserve: how calls were estimated, and what their holds came to.
    pub(crate) reserved: Option<(EstimateBy, Sums)>,
    pub(crate) bad_rows: u64,
    /// Calls left out because their model has no price.
    pub(crate) unknown_models: u64,
    pub(crate) elapsed: Duration,
}

impl Report {
    fn decisions_per_second(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        u64::try_from(u128::from(self.tally.total.requests()) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// The report as one JSON object. Money is in integer nanos, times are RFC 3339 in UTC.
    pub(crate) fn to_json(&self) -> anyhow::Result<String> {
        let total = &self.tally.total;
        let json = Json {
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
            models: self.tally.models().into_iter().map(JsonTotals::new).collect(),
            scopes: self.tally.scopes().into_iter().take(TOP_SCOPES).map(JsonTotals::new).collect(),
            elapsed_ms: u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            decisions_per_second: self.decisions_per_second(),
        };
        Ok(serde_json::to_string_pretty(&json)?)
    }

    /// The report for people.
    pub(crate) fn to_table(&self) -> Result<String, std::fmt::Error> {
        let total = &self.tally.total;
        let mut text = String::new();
        writeln!(text, "{} against {} on {}", self.log, self.policy, self.store)?;
        if let (Some(first), Some(last)) = (self.tally.first_ms, self.tally.last_ms) {
            writeln!(text, "{} to {} UTC", people_time(first), people_time(last))?;
        }
        writeln!(text)?;
        let mut summary = table(&["", "requests", "USD"]);
        summary.add_row(["granted".to_owned(), total.granted.to_string(), total.spent.to_string()]);
        summary.add_row(["denied".to_owned(), total.denied.to_string(), total.refused.to_string()]);
        writeln!(text, "{summary}")?;

        let mut limits = table(&["limit", "at most", "used", "denials", "first denial (UTC)"]);
        for limit in &self.tally.limits {
            limits.add_row([
                limit.limit.counter().to_string(),
                limit.limit.limit().map_or_else(|| "-".to_owned(), |most| limit.amount(most)),
                used(limit),
                limit.denied.to_string(),
                limit.first_denied_ms.map_or_else(|| "-".to_owned(), people_time),
            ]);
        }
        writeln!(text, "\n{limits}")?;
        if let Some((by, sums)) = &self.reserved {
            write_reserved(&mut text, *by, sums, &self.tally)?;
        }
        writeln!(text, "\n{}", totals_table("model", self.tally.models()))?;
        let scopes = self.tally.scopes();
        let beyond = scopes.len().saturating_sub(TOP_SCOPES);
        writeln!(text, "\n{}", totals_table("scope", scopes.into_iter().take(TOP_SCOPES)))?;
        if beyond > 0 {
            writeln!(text, " and {beyond} scopes more")?;
        }
        writeln!(text)?;
        if self.bad_rows > 0 {
            writeln!(text, "{} bad rows skipped", self.bad_rows)?;
        }
        if self.unknown_models > 0 {
            writeln!(text, "{} calls of models without a price skipped", self.unknown_models)?;
        }
        let rate = self.decisions_per_second();
        write!(text, "{} decisions in {:.1?}, {rate} per second", total.requests(), self.elapsed)?;
        Ok(text)
    }
}

/// What the holds came to, for people.
fn write_reserved(text: &mut String, by: EstimateBy, sums: &Sums, tally: &Tally) -> std::fmt::Result {
    let mut holds = table(&["limit", "most held", "denied for holds alone", "passed by"]);
    for limit in &tally.limits {
        holds.add_row([
            limit.limit.counter().to_string(),
            limit.amount(limit.peak_held),
            limit.denied_by_holds.to_string(),
            limit.amount(limit.overdraft),
        ]);
    }
    writeln!(text, "\n{holds}")?;
    let longest = people_duration(Duration::from_millis(u64::try_from(sums.longest_ms).unwrap_or(0)));
    writeln!(text, "\nEach call held {} until it ended; the longest took {longest}.", by.words())?;
    let calls = if sums.peak_calls == 1 { "call" } else { "calls" };
    writeln!(
        text,
        "At most {} USD were held at once, and {} {calls} were under way.",
        sums.peak_held, sums.peak_calls
    )?;
    match sums.denied_by_holds {
        0 => writeln!(text, "No call was denied for holds alone.")?,
        1 => writeln!(text, "1 call was denied for holds alone: had nothing been held, it would have been granted.")?,
        denied => writeln!(
            text,
            "{denied} calls were denied for holds alone: had nothing been held, they would have been granted."
        )?,
    }
    match tally.overdrawn() {
        0 => writeln!(text, "No limit was passed.")?,
        1 => writeln!(text, "1 limit was passed, because calls cost more than they held.")?,
        limits => writeln!(text, "{limits} limits were passed, because calls cost more than they held.")?,
    }
    if sums.out_of_order > 0 {
        writeln!(
            text,
            "{} rows are earlier than a row above them: sort the log by time to see how those calls overlap.",
            sums.out_of_order
        )?;
    }
    Ok(())
}

/// The fullest window of a limit: how full, whose, which.
fn used(tally: &LimitTally) -> String {
    let amount = tally.amount(tally.used());
    match &tally.fullest {
        Some(fullest) if fullest.window == "total" => format!("{amount} {}", fullest.scope),
        Some(fullest) => format!("{amount} {} {}", fullest.scope, fullest.window),
        None => amount,
    }
}

fn totals_table<'a>(name: &str, rows: impl IntoIterator<Item = (&'a str, &'a Totals)>) -> Table {
    let mut totals = table(&[name, "requests", "granted", "denied", "USD spent", "USD refused"]);
    for (name, row) in rows {
        totals.add_row([
            name.to_owned(),
            row.requests().to_string(),
            row.granted.to_string(),
            row.denied.to_string(),
            row.spent.to_string(),
            row.refused.to_string(),
        ]);
    }
    totals
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
    models: Vec<JsonTotals<'a>>,
    scopes: Vec<JsonTotals<'a>>,
    elapsed_ms: u64,
    decisions_per_second: u64,
}

/// With --reserve. `denied_by_holds` counts the calls that would have been granted had nothing been held.
#[derive(Serialize)]
struct JsonReserve {
    estimate: String,
    peak_held_nanos: i64,
    peak_calls: usize,
    denied_by_holds: u64,
    limits_overdrawn: usize,
    longest_call_ms: i64,
    out_of_order_rows: u64,
}

impl JsonReserve {
    fn new(by: EstimateBy, sums: &Sums, tally: &Tally) -> Self {
        Self {
            estimate: by.words(),
            peak_held_nanos: sums.peak_held.nanos(),
            peak_calls: sums.peak_calls,
            denied_by_holds: sums.denied_by_holds,
            limits_overdrawn: tally.overdrawn(),
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
    overdraft: i64,
}

/// `limit` and `used` are in the meter's unit: nanos for `cost`. `used` is what the fullest window held, whose and which
/// is in `used_by` and `used_in`. `limit` is null where the policy only counts.
#[derive(Serialize)]
struct JsonLimit<'a> {
    scope: &'a str,
    meter: &'a str,
    per: String,
    limit: Option<i64>,
    used: i64,
    used_by: Option<&'a str>,
    used_in: Option<&'a str>,
    denied: u64,
    first_denied_at: Option<String>,
    #[serde(flatten)]
    holds: Option<JsonLimitHolds>,
}

impl<'a> JsonLimit<'a> {
    fn new(tally: &'a LimitTally, reserved: bool) -> Self {
        let counter = tally.limit.counter();
        Self {
            scope: counter.scope_kind(),
            meter: counter.meter().as_str(),
            per: counter.window().to_string(),
            limit: tally.limit.limit(),
            used: tally.used(),
            used_by: tally.fullest.as_ref().map(|fullest| fullest.scope.as_str()),
            used_in: tally.fullest.as_ref().map(|fullest| fullest.window.as_str()),
            denied: tally.denied,
            first_denied_at: tally.first_denied_ms.map(rfc3339),
            holds: reserved.then_some(JsonLimitHolds {
                peak_held: tally.peak_held,
                denied_by_holds: tally.denied_by_holds,
                overdraft: tally.overdraft,
            }),
        }
    }
}

#[derive(Serialize)]
struct JsonTotals<'a> {
    name: &'a str,
    requests: u64,
    granted: u64,
    denied: u64,
    spent_nanos: i64,
    refused_nanos: i64,
}

impl<'a> JsonTotals<'a> {
    fn new((name, totals): (&'a str, &'a Totals)) -> Self {
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
