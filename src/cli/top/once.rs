//! One look, for scripts and pipes.

use std::borrow::Cow;
use std::fmt::Write as _;

use costguard::service::Health;
use serde::Serialize;

use super::view::{BlockRow, COLUMNS, CounterRow, HoldRow, Snapshot, Sort, Tab};
use crate::cli::output::{decoded, shown, table};
use crate::cli::states::mode;
use crate::cli::time::{people_duration, people_time, rfc3339};

/// Amounts are in the meter's unit: nanos for `cost`.
#[derive(Serialize)]
pub(super) struct Json<'a> {
    /// The server's time.
    at: String,
    health: &'a Health,
    /// Whether all of the store was seen, and all of it fits.
    complete: bool,
    /// How many counters there are beside those that are listed.
    counters_left_out: usize,
    counters: Vec<JsonCounter<'a>>,
    holds_left_out: usize,
    holds: Vec<JsonHold<'a>>,
    blocks: Vec<JsonBlock<'a>>,
}

#[derive(Serialize)]
struct JsonCounter<'a> {
    /// Null in the plain layout.
    root: Option<&'a str>,
    scope: &'a str,
    meter: Cow<'a, str>,
    per: &'a str,
    window: &'a str,
    /// Null of a rate without a policy.
    used: Option<i64>,
    held: i64,
    limit: Option<i64>,
    /// How many of a rate may come at once, where that is another number: what `full_permille` is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<i64>,
    /// By how much the limit may be passed.
    allowed_overdraft: i64,
    /// `enforce` or `shadow`; null where there is no limit.
    mode: Option<&'static str>,
    /// How full, in thousandths of the limit and the overdraft that it allows.
    full_permille: Option<i64>,
    /// `close`, `full` or `blocked`; `shadow` of a limit that refuses nothing, however full.
    state: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonHold<'a> {
    root: &'a str,
    id: &'a str,
    age_ms: u128,
    expires_at: String,
}

#[derive(Serialize)]
struct JsonBlock<'a> {
    root: &'a str,
    scope: &'a str,
    until: String,
}

impl<'a> Json<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, sort: Sort, filter: &str, most: usize) -> Self {
        let (rows, holds) = (snapshot.rows(Tab::Counters, sort, false, filter), snapshot.held(false, filter));
        Self {
            at: rfc3339(snapshot.now_ms),
            health: &snapshot.health,
            complete: snapshot.progress.complete && !snapshot.progress.overflowed,
            counters_left_out: rows.len().saturating_sub(most),
            counters: rows.into_iter().take(most).map(JsonCounter::new).collect(),
            holds_left_out: holds.len().saturating_sub(most),
            holds: holds.into_iter().take(most).map(JsonHold::new).collect(),
            blocks: snapshot.blocks.iter().map(JsonBlock::new).collect(),
        }
    }
}

impl<'a> JsonCounter<'a> {
    fn new(row: &'a CounterRow) -> Self {
        Self {
            root: row.root.as_deref(),
            scope: &row.scope,
            meter: decoded(row.meter.as_str()),
            per: &row.per,
            window: &row.window,
            used: row.used,
            held: row.held,
            limit: row.limit,
            burst: row.burst,
            allowed_overdraft: row.overdraft,
            mode: row.limit.map(|_| mode(row.is_shadow)),
            full_permille: row.share,
            state: Some(row.state()).filter(|state| !state.is_empty()),
        }
    }
}

impl<'a> JsonHold<'a> {
    fn new(row: &'a HoldRow) -> Self {
        Self { root: &row.root, id: &row.id, age_ms: row.age.as_millis(), expires_at: rfc3339(row.expires_ms) }
    }
}

impl<'a> JsonBlock<'a> {
    fn new(row: &'a BlockRow) -> Self {
        Self { root: &row.root, scope: &row.scope, until: rfc3339(row.until_ms) }
    }
}

/// The same for people.
pub(super) fn to_text(snapshot: &Snapshot, sort: Sort, filter: &str, most: usize) -> Result<String, std::fmt::Error> {
    let mut text = format!("{} at {} UTC\n", snapshot.health.store, people_time(snapshot.now_ms));
    writeln!(text, "{}\n{}\n", snapshot.summary(), snapshot.extent())?;
    let mut counters = table(&COLUMNS);
    let rows = snapshot.rows(Tab::Counters, sort, false, filter);
    for row in rows.iter().take(most) {
        counters.add_row(row.cells());
    }
    write!(text, "{counters}")?;
    if rows.len() > most {
        write!(text, "\n and {} more", rows.len() - most)?;
    }
    let held = snapshot.held(false, filter);
    if let Some(oldest) = held.first() {
        let age = people_duration(oldest.age);
        write!(
            text,
            "\n\nThe oldest of {} open holds is {}, under {}, held for {age}.",
            held.len(),
            shown(&oldest.id),
            shown(&oldest.root)
        )?;
    }
    for BlockRow { root, scope, until_ms } in &snapshot.blocks {
        let (scope, root) = (shown(scope), shown(root));
        write!(text, "\n{scope} under {root} is blocked until {} UTC.", people_time(*until_ms))?;
    }
    Ok(text)
}
