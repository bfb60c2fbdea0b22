//! What may be spent: an ordered list of limits.

use std::fmt;
use std::sync::Arc;

use super::amount::Meter;
use super::money::Money;
use super::subject::{Scope, Subject};
use super::window::{Per, Window};
use crate::error::{Error, Result};

/// The most limits one policy can have; each is one counter of the deciding script.
pub const MAX_LIMITS: usize = 32;

/// Which counter: what is counted, against which kind of scope, over which window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    scope: Arc<str>,
    meter: Meter,
    window: Window,
}

impl Counter {
    /// The counter of a meter for a kind of scope: `Counter::new("user", Meter::COST, Window::day())`.
    #[must_use]
    pub fn new(scope_kind: &str, meter: Meter, window: Window) -> Self {
        Self { scope: scope_kind.into(), meter, window }
    }

    /// The kind of scope it counts against.
    #[must_use]
    pub fn scope_kind(&self) -> &str {
        &self.scope
    }

    /// What it counts.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// When it starts over.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The key for the window named `window`.
    pub(crate) fn key(&self, prefix: &str, subject: &Subject, scope: &Scope, window: &str) -> String {
        let meter = self.meter.as_str();
        let mut key = String::with_capacity(prefix.len() + meter.len() + scope.as_str().len() + window.len() + 24);
        key.extend([prefix, meter]);
        subject.write_scope(scope, &mut key);
        key.push_str(window);
        key
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = if self.window.per() == Per::Total { "" } else { "per " };
        write!(f, "{} {} {per}{}", self.scope, self.meter, self.window)
    }
}

/// A share of a limit, above 0 and at most 1, exact to nine decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fraction {
    billionths: i64,
}

impl Fraction {
    /// Reads decimal text: `"0.8"`.
    ///
    /// # Errors
    /// `Invalid` when it is no number above 0 and up to 1.
    pub fn parse(text: &str) -> Result<Self> {
        match text.parse::<Money>().map(Money::nanos) {
            Ok(billionths @ 1..=1_000_000_000) => Ok(Self { billionths }),
            _ => Err(Error::invalid(format!(
                "`{text}` is not a share of a limit: write a number like 0.8, above 0, at most 1"
            ))),
        }
    }

    /// The least amount that is this share of `limit`.
    #[must_use]
    pub fn of(self, limit: i64) -> i64 {
        let share = (i128::from(limit) * i128::from(self.billionths) + 999_999_999) / 1_000_000_000;
        i64::try_from(share).unwrap_or(limit)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}%",
            Money::from_nanos(self.billionths * 100).to_string().trim_end_matches('0').trim_end_matches('.')
        )
    }
}

/// A counter and how far it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    counter: Counter,
    limit: Option<i64>,
    warn_at: Arc<[Fraction]>,
}

impl Limit {
    /// A limit on any meter, in its unit; nano-dollars for [`Meter::COST`].
    #[must_use]
    pub fn new(counter: Counter, limit: i64) -> Self {
        Self { counter, limit: Some(limit), warn_at: Arc::new([]) }
    }

    /// A limit on money: `Limit::cost("user", "75.00".parse()?, Window::day())`.
    #[must_use]
    pub fn cost(scope_kind: &str, limit: Money, window: Window) -> Self {
        Self::new(Counter::new(scope_kind, Meter::COST, window), limit.nanos())
    }

    /// No limit: what passes is counted and never refused.
    #[must_use]
    pub fn count_only(counter: Counter) -> Self {
        Self { counter, limit: None, warn_at: Arc::new([]) }
    }

    /// Reports the request that brings the counter to a share of the limit; see [`LimitState::crossed`].
    ///
    /// [`LimitState::crossed`]: crate::LimitState::crossed
    #[must_use]
    pub fn warn_at(mut self, shares: impl IntoIterator<Item = Fraction>) -> Self {
        let mut shares: Vec<_> = shares.into_iter().collect();
        shares.sort_unstable();
        self.warn_at = shares.into();
        self
    }

    /// The counter.
    #[must_use]
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// How far it may go, in the meter's unit; `None` when it only counts.
    #[must_use]
    pub fn limit(&self) -> Option<i64> {
        self.limit
    }

    /// The shares of the limit that are reported, in rising order.
    #[must_use]
    pub fn warnings(&self) -> &[Fraction] {
        &self.warn_at
    }

    fn check(&self) -> Result<()> {
        match self.limit {
            Some(limit) if limit < 0 => Err(Error::invalid(format!(
                "the limit on {} is negative; write 0 to refuse everything, or leave the limit out",
                self.counter
            ))),
            None if !self.warn_at.is_empty() => Err(Error::invalid(format!(
                "{} has warnings but no limit to warn about; give it a limit",
                self.counter
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "{}: {}", self.counter, self.counter.meter.format_amount(limit)),
            None => write!(f, "{}: no limit", self.counter),
        }
    }
}

/// An ordered list of limits that are decided together: all of them take a request's amounts, or none does.
///
/// Cheap to clone.
///
/// ```
/// use costguard::{Counter, Limit, Meter, Policy, Window};
///
/// let policy = Policy::new([
///     Limit::cost("user", "75.00".parse()?, Window::day()),
///     Limit::new(Counter::new("org", Meter::TOKENS, Window::month()), 50_000_000),
/// ])?;
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    limits: Arc<[Limit]>,
}

impl Policy {
    /// A policy of these limits.
    ///
    /// # Errors
    /// `Invalid` when there are none or more than [`MAX_LIMITS`], when one is negative, or when two use one counter.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self> {
        let limits: Vec<_> = limits.into_iter().collect();
        if limits.is_empty() || limits.len() > MAX_LIMITS {
            return Err(Error::invalid(format!("a policy has 1 to {MAX_LIMITS} limits, this one {}", limits.len())));
        }
        for (place, limit) in limits.iter().enumerate() {
            limit.check()?;
            if let Some(first) = limits[..place].iter().position(|other| other.counter == limit.counter) {
                return Err(Error::invalid(format!(
                    "limits {} and {} both count {}; keep the smaller one",
                    first + 1,
                    place + 1,
                    limit.counter
                )));
            }
        }
        Ok(Self { limits: limits.into() })
    }

    /// The limits, in order.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }
}
