//! The report for people.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::Table;

use super::{Report, TOP_HOURS, TOP_SCOPES};
use crate::cli::output::{readable, shown, table};
use crate::cli::replay::binding::Stretch;
use crate::cli::replay::estimate::EstimateBy;
use crate::cli::replay::reserve::Sums;
use crate::cli::replay::tally::{LimitTally, Tally, Totals};
use crate::cli::time::{people_duration, people_time};

impl Report {
    /// The report for people.
    pub(crate) fn to_table(&self) -> Result<String, std::fmt::Error> {
        let (total, tally) = (&self.tally.total, &self.tally);
        let mut text = String::new();
        writeln!(text, "{} against {} on {}", self.log, self.policy, self.store)?;
        if let (Some(first), Some(last)) = (tally.first_ms, tally.last_ms) {
            writeln!(text, "{} to {} UTC", people_time(first), people_time(last))?;
        }
        writeln!(text)?;
        let mut summary = table(&["", "requests", "USD"]);
        summary.add_row(["granted".to_owned(), total.granted.to_string(), total.spent.to_string()]);
        summary.add_row(["denied".to_owned(), total.denied.to_string(), total.refused.to_string()]);
        writeln!(text, "{summary}\n\n{}", limits(tally))?;
        if tally.limits.iter().any(|limit| limit.binding.calls > 0) {
            writeln!(text, "\n{}", bindings(tally))?;
        }
        if tally.limits.iter().any(|limit| !limit.warnings.is_empty()) {
            writeln!(text, "\n{}", warnings(tally))?;
        }
        if let Some((by, sums)) = &self.reserved {
            write_reserved(&mut text, *by, sums, tally)?;
        }
        writeln!(text, "\n{}", hours(tally))?;
        writeln!(
            text,
            "\n{}",
            totals_table("model", tally.models().into_iter().map(|(name, totals)| (shown(name).into_owned(), totals)))
        )?;
        let scopes = tally.scopes();
        let beyond = scopes.len().saturating_sub(TOP_SCOPES);
        let scopes = scopes.into_iter().take(TOP_SCOPES).map(|(name, totals)| (readable(name), totals));
        writeln!(text, "\n{}", totals_table("scope", scopes))?;
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

fn limits(tally: &Tally) -> Table {
    let shadow = tally.limits.iter().any(|limit| limit.limit.is_shadow());
    let mut limits = table(&["limit", "at most", "used", "denials", "would deny"]);
    if !shadow {
        limits = table(&["limit", "at most", "used", "denials"]);
    }
    for limit in &tally.limits {
        let mut row = vec![limit.name(), limit.at_most(), used(limit), limit.denied().to_string()];
        row.extend(shadow.then(|| limit.shadowed().to_string()));
        limits.add_row(row);
    }
    limits
}

/// When the limits bound that did.
fn bindings(tally: &Tally) -> Table {
    let mut bindings = table(&["bound", "denials it decided", "first (UTC)", "last (UTC)", "longest stretch"]);
    for limit in tally.limits.iter().filter(|limit| limit.binding.calls > 0) {
        let binding = &limit.binding;
        let time = |at_ms: Option<i64>| at_ms.map_or_else(String::new, people_time);
        bindings.add_row([
            limit.name(),
            if limit.limit.is_shadow() { "-".to_owned() } else { binding.longest_calls.to_string() },
            time(binding.first_ms),
            time(binding.last_ms),
            binding.stretch.as_ref().map_or_else(String::new, stretch_text),
        ]);
    }
    bindings
}

/// `2 h 5 min, 12 calls of user:alice`.
fn stretch_text(Stretch { scope, span_ms, calls }: &Stretch) -> String {
    // Between the seconds that are printed of its ends: a stretch of calls 0.2 s apart may be over in another second.
    let length_s = span_ms.1.div_euclid(1000) - span_ms.0.div_euclid(1000);
    let length = people_duration(Duration::from_secs(u64::try_from(length_s).unwrap_or(0)));
    let scope = readable(scope.as_str());
    match calls {
        1 => format!("1 call of {scope}"),
        _ => format!("{length}, {calls} calls of {scope}"),
    }
}

fn warnings(tally: &Tally) -> Table {
    let mut warnings = table(&["warning", "at", "crossed", "first (UTC)"]);
    for limit in &tally.limits {
        for (share, (times, first_ms)) in &limit.warnings {
            warnings.add_row([limit.name(), share.to_string(), times.to_string(), people_time(*first_ms)]);
        }
    }
    warnings
}

/// The hours with most calls.
fn hours(tally: &Tally) -> Table {
    let mut hours = table(&["busiest hours (UTC)", "requests", "granted", "denied", "USD spent", "bound most by"]);
    for (at_ms, hour) in tally.busiest_hours(TOP_HOURS) {
        let bound_by = hour.most_bound_by().and_then(|place| tally.limits.get(place));
        hours.add_row([
            hour_text(at_ms),
            hour.totals.requests().to_string(),
            hour.totals.granted.to_string(),
            hour.totals.denied.to_string(),
            hour.totals.spent.to_string(),
            bound_by.map_or_else(|| "-".to_owned(), LimitTally::name),
        ]);
    }
    hours
}

/// An hour that begins then: `2026-01-05 17:00`.
fn hour_text(at_ms: i64) -> String {
    let time = people_time(at_ms);
    time.strip_suffix(":00").map_or_else(|| time.clone(), str::to_owned)
}

/// What the holds came to, for people.
fn write_reserved(text: &mut String, by: EstimateBy, sums: &Sums, tally: &Tally) -> std::fmt::Result {
    let mut holds = table(&["limit", "most held", "denied for holds alone", "passed by"]);
    for limit in &tally.limits {
        holds.add_row([
            limit.name(),
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
        1 => writeln!(
            text,
            "1 call was denied for holds alone: had nothing been held just then, it would have had room."
        )?,
        denied => writeln!(
            text,
            "{denied} calls were denied for holds alone: had nothing been held just then, each by itself would have had room."
        )?,
    }
    let limits = |count: usize, more: &str| match count {
        1 => format!("1 {more}limit was"),
        count => format!("{count} {more}limits were"),
    };
    match tally.passed() {
        (0, 0) => writeln!(text, "No limit was passed.")?,
        (within, 0) => writeln!(text, "{} passed, within the overdraft allowed.", limits(within, ""))?,
        (0, beyond) => writeln!(text, "{} passed, because calls cost more than they held.", limits(beyond, ""))?,
        (within, beyond) => writeln!(
            text,
            "{} passed, because calls cost more than they held; {} passed within the overdraft allowed.",
            limits(beyond, ""),
            limits(within, "other ")
        )?,
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
        Some(fullest) if fullest.window == "total" => format!("{amount} {}", readable(fullest.scope.as_str())),
        Some(fullest) => format!("{amount} {} {}", readable(fullest.scope.as_str()), fullest.window),
        None => amount,
    }
}

fn totals_table<'a>(name: &str, rows: impl IntoIterator<Item = (String, &'a Totals)>) -> Table {
    let mut totals = table(&[name, "requests", "granted", "denied", "USD spent", "USD refused"]);
    for (name, row) in rows {
        totals.add_row([
            name,
            row.requests().to_string(),
            row.granted.to_string(),
            row.denied.to_string(),
            row.spent.to_string(),
            row.refused.to_string(),
        ]);
    }
    totals
}
