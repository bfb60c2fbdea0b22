//! What a limit cannot be, and what to write instead.

use std::borrow::Cow;

use super::amount::Meter;
use super::policy::{Counter, Limit};
use super::window::Per;
use crate::error::{Error, Result};

/// The largest limit of a log.
const MAX_LOG: i64 = 1000;

/// How many requests times microseconds of its period a rate can count: Lua numbers are exact to 2^53.
const MAX_PARTS: i128 = 9_000_000_000_000_000;

/// What is said of a rate that lets nothing through.
const NOTHING: &str = "is a rate of nothing; give 1 or more, or block the scope";

/// How many calls may be open at once, in advice to whom gave no number.
const SOME_CALLS: i64 = 20;

/// What is wrong with a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The field of a policy's file: of the number `limit`, whatever it is called there.
    pub(super) field: &'static str,
    what: Cow<'static, str>,
}

impl Fault {
    fn new(field: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self { field, what: what.into() }
    }

    pub(super) fn error(&self, counter: &Counter) -> Error {
        Error::invalid(format!("the limit on {counter} {}", self.what))
    }
}

impl Limit {
    pub(super) fn check(&self) -> Result<()> {
        self.fault().map_or(Ok(()), |fault| Err(fault.error(self.counter())))
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<Fault> {
        let fault = |field, what: &'static str| Some(Fault::new(field, what));
        if super::text::check_kind(self.counter().scope_kind()).is_err() {
            return fault("scope", "has no kind of scope, or one that keys cannot have; use letters and digits");
        }
        if let Some(fault) = Self::open_fault(self.counter(), self.limit()) {
            return Some(fault);
        }
        let per = self.counter().window().per();
        let is_rate = per.rate_period().is_some();
        let has_warnings = !self.warnings().is_empty();
        let overdraft = self.allowed_overdraft();
        let Some(limit) = self.limit() else {
            return match (is_rate, per) {
                (true, _) => fault("limit", "is a rate without a number; say how many"),
                (_, Per::Open) => fault("limit", "needs a number; say how many may be open at once"),
                _ if has_warnings => fault("warn_at", "has warnings but nothing to warn about; give it a number"),
                _ if overdraft != 0 => fault("overdraft", "only counts; give it a number"),
                _ if self.is_shadow() => fault("mode", "only counts; give it a number"),
                _ => None,
            };
        };
        if limit < 0 {
            return fault("limit", "is negative; write 0 to refuse everything, or leave the limit out");
        }
        if overdraft < 0 || limit.checked_add(overdraft).is_none() {
            return fault("overdraft", "has an overdraft that is negative or leaves the 64-bit range");
        }
        let burst = self.own_burst();
        if !is_rate {
            return burst.and_then(|_| fault("burst", "has a burst, which only a rate has"));
        }
        match per {
            _ if limit == 0 => fault("limit", NOTHING),
            _ if burst.is_some_and(|burst| burst < 1) => fault("burst", NOTHING),
            _ if has_warnings => fault("warn_at", "is a rate, which has no warnings; leave them out"),
            _ if overdraft != 0 => fault("overdraft", "is a rate, which has no overdraft; leave it out"),
            Per::Sliding(_) | Per::Log(_) if burst.is_some() => {
                fault("burst", "has a burst, which a sliding window has not")
            }
            _ => Self::rate_fault(self.counter(), limit, burst),
        }
    }

    /// Whether a policy could have it, and the scripts count to it: of an override's.
    pub(crate) fn check_override(counter: &Counter, limit: i64) -> Result<()> {
        let fault = Self::open_fault(counter, Some(limit)).or_else(|| Self::rate_fault(counter, limit, None));
        fault.map_or(Ok(()), |fault| Err(fault.error(counter)))
    }

    /// Of calls nothing is charged when they end, and of everything else something is: what is charged to a window that does
    /// not end would never come free, and a window over calls would stay empty.
    fn open_fault(counter: &Counter, limit: Option<i64>) -> Option<Fault> {
        let calls = limit.unwrap_or(SOME_CALLS);
        let what = match (counter.window().per() == Per::Open, *counter.meter() == Meter::CONCURRENCY) {
            (true, false) => format!(
                "counts what is open at once, and only calls are; write `concurrency = {calls}` (Limit::concurrency), or \
                 another window"
            ),
            (false, true) => format!(
                "counts calls that are open, which never add up; write `concurrency = {calls}` (Limit::concurrency), or \
                 count `requests`"
            ),
            _ => return None,
        };
        Some(Fault::new("per", what))
    }

    fn rate_fault(counter: &Counter, limit: i64, burst: Option<i64>) -> Option<Fault> {
        let per = counter.window().per();
        let (field, most) = burst.filter(|burst| *burst > limit).map_or(("limit", limit), |burst| ("burst", burst));
        let what = match per.rate_period()? {
            _ if matches!(per, Per::Log(_)) && limit > MAX_LOG => {
                "keeps the time of each request, for up to 1,000; use a sliding window for more"
            }
            period if i128::from(most) * i128::from(period.us()) > MAX_PARTS => {
                "is too large for its period to be kept exactly; use a fixed window"
            }
            _ => return None,
        };
        Some(Fault::new(field, what))
    }
}
