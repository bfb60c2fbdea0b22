//! What a limit cannot be, and what to write instead.

use std::borrow::Cow;

use super::amount::Meter;
use super::policy::{Counter, Limit};
use super::window::{Per, Period};
use crate::error::{Error, Result};

/// The largest limit of a log.
const MAX_LOG: i64 = 1000;

/// How many requests times microseconds of its period a rate can count: Lua numbers are exact to 2^53.
const MAX_PARTS: i64 = 9_000_000_000_000_000;

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
        let period = per.rate_period()?;
        let most = MAX_PARTS / period.us();
        let (field, given) = burst.filter(|burst| *burst > limit).map_or(("limit", limit), |burst| ("burst", burst));
        let what = match per {
            Per::Log(_) if limit > MAX_LOG && most >= MAX_LOG => {
                let slides = if limit <= most { "write `algorithm = \"sliding\"`, or " } else { "" };
                format!(
                    "keeps the time of each request, for up to 1,000; for more {slides}{}",
                    fixed_form(counter, limit, period)
                )
            }
            _ if given > most => format!(
                "{} too large for its period to be kept exactly: the most is {} per {period}; for more {}",
                if field == "burst" { "has a burst that is" } else { "is" },
                counter.meter().format_amount(most),
                fixed_form(counter, limit, period)
            ),
            _ => return None,
        };
        Some(Fault::new(field, what))
    }
}

/// The window that counts to any limit, as it is written in a policy's file.
fn fixed_form(counter: &Counter, limit: i64, period: Period) -> String {
    let limit = match (counter.meter(), counter.meter().format_amount(limit)) {
        (meter, dollars) if *meter == Meter::COST => format!("\"{dollars}\""),
        (_, number) => number,
    };
    let per = match period.us() {
        60_000_000 => "minute".to_owned(),
        3_600_000_000 => "hour".to_owned(),
        86_400_000_000 => "day".to_owned(),
        us if us % 1_000_000 != 0 => return "use a fixed window, of whole seconds".to_owned(),
        _ => period.to_string(),
    };
    format!("write a fixed window: `meter = \"{}\"`, `limit = {limit}`, `per = \"{per}\"`", counter.meter())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Policy, Window};

    /// What is said of a limit.
    fn told(meter: Meter, limit: i64, window: Window) -> String {
        Limit::new(Counter::new("user", meter, window), limit).fault().map(|fault| fault.what.into_owned()).unwrap()
    }

    #[test]
    fn what_a_rate_cannot_count_to_has_the_most_that_it_can_and_the_window_to_write() {
        let (day, minute) = (Duration::from_secs(86_400), Duration::from_secs(60));
        for (told, most, fixed) in [
            (
                told(Meter::TOKENS, 5_000_000, Window::rate(day).unwrap()),
                "the most is 104166 per 1d; for more write a fixed window",
                "`meter = \"tokens\"`, `limit = 5000000`, `per = \"day\"`",
            ),
            (
                told(Meter::COST, 75_000_000_000, Window::sliding(day).unwrap()),
                "the most is 0.000104166 per 1d; for more write a fixed window",
                "`meter = \"cost\"`, `limit = \"75.00\"`, `per = \"day\"`",
            ),
            (
                told(Meter::REQUESTS, 5000, Window::log(minute).unwrap()),
                "for up to 1,000; for more write `algorithm = \"sliding\"`, or write a fixed window",
                "`meter = \"requests\"`, `limit = 5000`, `per = \"minute\"`",
            ),
            (
                told(Meter::TOKENS, 5_000_000, Window::log(day * 2).unwrap()),
                "for up to 1,000; for more write a fixed window",
                "`meter = \"tokens\"`, `limit = 5000000`, `per = \"2d\"`",
            ),
            (
                told(Meter::TOKENS, 1000, Window::log(day * 366).unwrap()),
                "the most is 284 per 366d",
                "`meter = \"tokens\"`, `limit = 1000`, `per = \"366d\"`",
            ),
            (
                told(Meter::TOKENS, i64::MAX, Window::rate(Duration::from_millis(500)).unwrap()),
                "the most is 18000000000 per 500ms",
                "use a fixed window, of whole seconds",
            ),
        ] {
            assert!(told.contains(most) && told.contains(fixed), "{told}");
            // It is taken as it is told.
            if let Some(fields) = fixed.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
                Policy::from_toml(&format!("[[limit]]\nscope = 'user'\n{}", fields.replace("`, `", "\n"))).unwrap();
            }
        }
    }

    #[test]
    fn the_most_that_is_told_is_taken() {
        let day = Counter::new("user", Meter::TOKENS, Window::rate(Duration::from_secs(86_400)).unwrap());
        let rate = |limit| Policy::new([Limit::new(day.clone(), limit)]);
        assert!(rate(104_166).is_ok() && rate(104_167).is_err());
        let burst = Limit::new(day, 5).burst(104_167).fault().unwrap();
        assert!(burst.field == "burst" && burst.what.contains("the most is 104166"), "{}", burst.what);
    }
}
