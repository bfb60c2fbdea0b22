//! What a replay found: tables for people, one JSON object for programs.

mod json;
mod text;

use std::time::Duration;

use super::estimate::EstimateBy;
use super::reserve::Sums;
use super::tally::Tally;

/// How many scopes a report lists.
const TOP_SCOPES: usize = 10;

/// How many hours a report lists.
const TOP_HOURS: usize = 5;

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
}
