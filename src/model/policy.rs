//! What may be spent: an ordered list of limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::amount::{IntoAmount, Meter};
use super::money::Money;
use super::subject::{Scope, Subject};
use super::window::Window;
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
        write!(f, "{} {} {}{}", self.scope, self.meter, self.window.per().preposition(), self.window)
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

    /// One in so many: a tenth is `one_in(10)`. Rounded down to nine decimals.
    ///
    /// # Errors
    /// `Invalid` when it is none in anything: 0, or more than a billion.
    pub fn one_in(count: u32) -> Result<Self> {
        match 1_000_000_000_i64.checked_div(count.into()) {
            Some(billionths @ 1..) => Ok(Self { billionths }),
            _ => Err(Error::invalid(format!("one in {count} is no share of a limit: give 1 to 1000000000"))),
        }
    }

    /// The largest amount that is at most this share of `limit`.
    pub(crate) fn floor_of(self, limit: i64) -> i64 {
        let share = i128::from(limit) * i128::from(self.billionths) / 1_000_000_000;
        i64::try_from(share).unwrap_or(limit)
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

/// A counter, or a rate, and how far it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    counter: Counter,
    limit: Option<i64>,
    burst: Option<i64>,
    overdraft: i64,
    warn_at: Arc<[Fraction]>,
    mode: Mode,
    fixed: bool,
}

/// What a limit does to a request that it has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It refuses it.
    #[default]
    Enforce,
    /// It says that it would have refused it, in [`LimitState::shadowed`](crate::LimitState::shadowed), and refuses nothing.
    Shadow,
}

impl Limit {
    /// A limit on any meter, in its unit; [`Money`], or nano-dollars, for [`Meter::COST`].
    ///
    /// ```
    /// use costguard::{Counter, Limit, Meter, Money, Window};
    ///
    /// let tokens = Limit::new(Counter::new("user", Meter::TOKENS, Window::day()), 50_000_000);
    /// let cost = Limit::new(Counter::new("user", Meter::COST, Window::day()), "75.00".parse::<Money>()?);
    /// assert_eq!(cost.limit(), Some(75_000_000_000));
    /// # Ok::<(), costguard::Error>(())
    /// ```
    #[must_use]
    pub fn new(counter: Counter, limit: impl IntoAmount) -> Self {
        Self { limit: Some(limit.into_amount()), ..Self::count_only(counter) }
    }

    /// A limit on money: `Limit::cost("user", "75.00".parse()?, Window::day())`.
    #[must_use]
    pub fn cost(scope_kind: &str, limit: Money, window: Window) -> Self {
        Self::new(Counter::new(scope_kind, Meter::COST, window), limit)
    }

    /// So many requests per `period`, evenly (GCRA), with a [`burst`](Self::burst) of as many at once.
    ///
    /// # Errors
    /// `Invalid` as [`Window::rate`].
    pub fn requests(scope_kind: &str, limit: i64, period: Duration) -> Result<Self> {
        Ok(Self::new(Counter::new(scope_kind, Meter::REQUESTS, Window::rate(period)?), limit))
    }

    /// So many calls open at once: what `reserve` counts until the hold is settled, released or has expired.
    #[must_use]
    pub fn concurrency(scope_kind: &str, limit: i64) -> Self {
        Self::new(Counter::new(scope_kind, Meter::CONCURRENCY, Window::open()), limit)
    }

    /// No limit: what passes is counted and never refused.
    #[must_use]
    pub fn count_only(counter: Counter) -> Self {
        let warn_at = Arc::new([]);
        Self { counter, limit: None, burst: None, overdraft: 0, warn_at, mode: Mode::Enforce, fixed: false }
    }

    /// How many of a rate may come at once, where that is not as many as the limit.
    #[must_use]
    pub fn burst(mut self, burst: impl IntoAmount) -> Self {
        self.burst = Some(burst.into_amount());
        self
    }

    /// By how much the limit may be passed, in the meter's unit; what is passed shows in
    /// [`LimitState::overdraft`](crate::LimitState::overdraft).
    ///
    /// ```
    /// use costguard::{Limit, Money, Window};
    ///
    /// let limit = Limit::cost("user", "75.00".parse()?, Window::day()).overdraft("5.00".parse::<Money>()?);
    /// assert_eq!(limit.allowed_overdraft(), 5_000_000_000);
    /// # Ok::<(), costguard::Error>(())
    /// ```
    #[must_use]
    pub fn overdraft(mut self, amount: impl IntoAmount) -> Self {
        self.overdraft = amount.into_amount();
        self
    }

    /// Whether the limit refuses, or only says that it would.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// No override changes this limit: [`CostGuard::set_limit`](crate::CostGuard::set_limit) does nothing to it.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// Reports the request that brings the counter to a share of the limit; see [`LimitState::crossed`]. The share is of this
    /// limit, also while [`set_limit`](crate::CostGuard::set_limit) has another in its place.
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

    /// How many of a rate may come at once, where it was said.
    #[must_use]
    pub fn own_burst(&self) -> Option<i64> {
        self.burst
    }

    /// By how much it may be passed.
    #[must_use]
    pub fn allowed_overdraft(&self) -> i64 {
        self.overdraft
    }

    /// Whether it only says that it would refuse.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.mode == Mode::Shadow
    }

    /// Whether no override changes it.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// A share of it, rounded down, without warnings. A rate of nothing is what `check` keeps from policies, and refuses
    /// everything.
    fn share(&self, share: Fraction) -> Self {
        let down = |amount| share.floor_of(amount);
        let mut limit = Self { warn_at: Arc::new([]), overdraft: down(self.overdraft), ..self.clone() };
        (limit.limit, limit.burst) = (self.limit.map(down), self.burst.map(down));
        if let (Some(0), Some(_)) | (_, Some(0)) = (limit.limit, limit.burst) {
            (limit.limit, limit.burst) = (Some(0), None);
        }
        limit
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
    /// `Invalid` when there are none or more than [`MAX_LIMITS`], when one is negative, counts against a kind of scope that no key
    /// can have, or counts over a window that its meter has not, or when two use one counter.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self> {
        let limits: Vec<_> = limits.into_iter().collect();
        limits.iter().try_for_each(Limit::check)?;
        match Self::excess(&limits) {
            Some((_, error)) => Err(error),
            None => Ok(Self { limits: limits.into() }),
        }
    }

    /// The first limit that is one too many, by its place, and why; none are too few.
    pub(super) fn excess(limits: &[Limit]) -> Option<(usize, Error)> {
        if limits.is_empty() || limits.len() > MAX_LIMITS {
            let error = format!("a policy has 1 to {MAX_LIMITS} limits, this one {}", limits.len());
            return Some((MAX_LIMITS.min(limits.len()), Error::invalid(error)));
        }
        limits.iter().enumerate().find_map(|(place, limit)| {
            let first = limits[..place].iter().position(|other| other.counter == limit.counter)?;
            let (first, second) = (first + 1, place + 1);
            let counter = &limit.counter;
            let error = format!("limits {first} and {second} both count {counter}; keep the smaller one");
            Some((place, Error::invalid(error)))
        })
    }

    /// The same with a share of each limit.
    pub(crate) fn share(&self, share: Fraction) -> Self {
        Self { limits: self.limits.iter().map(|limit| limit.share(share)).collect() }
    }

    /// The limits, in order.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_policy_is_never_more_than_that() {
        let share = Fraction::one_in(10).unwrap();
        let minute = Duration::from_secs(60);
        let policy = Policy::new([
            Limit::cost("user", Money::from_nanos(109), Window::day()).overdraft(19),
            Limit::new(Counter::new("user", Meter::TOKENS, Window::day()), 9),
            Limit::requests("user", 600, minute).unwrap().burst(25),
            Limit::requests("org", 600, minute).unwrap().burst(5),
            Limit::requests("key", 9, minute).unwrap().burst(50),
        ])
        .unwrap();
        let shares = policy.share(share);
        let of = |place: usize| {
            let limit = &shares.limits()[place];
            (limit.limit(), limit.own_burst(), limit.allowed_overdraft())
        };
        assert_eq!([of(0), of(1)], [(Some(10), None, 1), (Some(0), None, 0)]);
        // A burst of nothing lets nothing through, and so does a rate of nothing.
        assert_eq!([of(2), of(3), of(4)], [(Some(60), Some(2), 0), (Some(0), None, 0), (Some(0), None, 0)]);
        assert_eq!(Fraction::one_in(1).unwrap().floor_of(i64::MAX), i64::MAX);
        assert!(Fraction::one_in(0).is_err());
    }
}
