//! What is counted, and how much of it.

use std::borrow::Cow;
use std::fmt;
use std::num::IntErrorKind;

use super::money::Money;
use super::text;
use crate::error::{Error, Result};

/// What is counted: money, tokens, requests, or anything else by name. Always in whole units.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Meter(Cow<'static, str>);

impl Meter {
    /// Money, in nano-dollars; the amounts are [`Money`].
    pub const COST: Meter = Meter(Cow::Borrowed("cost"));
    /// Tokens, of whatever kind the caller counts.
    pub const TOKENS: Meter = Meter(Cow::Borrowed("tokens"));
    /// Requests; a request counts as one unless it says otherwise.
    pub const REQUESTS: Meter = Meter(Cow::Borrowed("requests"));
    /// Calls that are open at once, over [`Window::open`](crate::Window::open); a request is one unless it says otherwise.
    pub const CONCURRENCY: Meter = Meter(Cow::Borrowed("concurrency"));
    /// What a block counts in: nothing. It names a block among the limits of a denial.
    pub const BLOCK: Meter = Meter(Cow::Borrowed("block"));

    /// A meter of any name. It stands in keys, so `:`, `{`, `}`, `%`, control and white-space characters are
    /// percent-encoded there.
    ///
    /// # Errors
    /// `Invalid` when the name is empty, longer than 200 bytes, or names other keys: `receipt`, `hold`, `rules`, `ruled`,
    /// `block`.
    pub fn new(name: &str) -> Result<Self> {
        match text::encode("meter", name)?.as_str() {
            "receipt" | "hold" | "rules" | "ruled" | "block" => {
                Err(Error::invalid(format!("`{name}` names keys of another kind; call the meter something else")))
            }
            encoded => Ok(Self::of_key(encoded)),
        }
    }

    /// The meter whose name stands in a key.
    pub(crate) fn of_key(name: &str) -> Self {
        match name {
            "cost" => Self::COST,
            "tokens" => Self::TOKENS,
            "requests" => Self::REQUESTS,
            "concurrency" => Self::CONCURRENCY,
            other => Self(Cow::Owned(other.to_owned())),
        }
    }

    /// Whether a request that says nothing counts as one.
    pub(crate) fn is_one_each(&self) -> bool {
        *self == Self::REQUESTS || *self == Self::CONCURRENCY
    }

    /// The name, as it stands in keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads an amount of this meter: decimal dollars for `cost` (`"0.12"`), a whole number elsewhere.
    ///
    /// # Errors
    /// `Invalid` when the text is no such number, is negative, or does not fit 64 bits.
    pub fn parse_amount(&self, text: &str) -> Result<i64> {
        let amount = if *self == Self::COST {
            text.parse::<Money>()?.nanos()
        } else {
            text.parse::<i64>().map_err(|err| {
                Error::invalid(match err.kind() {
                    IntErrorKind::PosOverflow => {
                        format!("the amount {text} of {self} is too large: the most is {}", i64::MAX)
                    }
                    _ => format!("`{text}` is not an amount of {self}: write a whole number, like 1000"),
                })
            })?
        };
        if amount < 0 {
            return Err(Error::invalid(format!("the amount `{text}` of {self} is negative; write 0 or more")));
        }
        Ok(amount)
    }

    /// Prints an amount of this meter for people: dollars for `cost`, a plain number elsewhere.
    #[must_use]
    pub fn format_amount(&self, amount: i64) -> String {
        if *self == Self::COST { Money::from_nanos(amount).to_string() } else { amount.to_string() }
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an amount of one meter can be given as: a whole number in the meter's unit, and money as [`Money`].
///
/// It is no `Into<i64>`, for then a number that is written out would be an `i32`, and three dollars do not fit one in nano-dollars.
pub trait IntoAmount {
    /// The amount, in the meter's unit.
    fn into_amount(self) -> i64;
}

impl IntoAmount for i64 {
    fn into_amount(self) -> i64 {
        self
    }
}

impl IntoAmount for Money {
    fn into_amount(self) -> i64 {
        self.nanos()
    }
}

/// How much of each meter one request takes.
///
/// `requests` and `concurrency` are 1 unless set. Every other meter that the policy limits must be given: a meter that was
/// forgotten would never fill its budget.
///
/// ```
/// use costguard::{Amounts, Meter, Money};
///
/// let amounts = Amounts::cost("0.12".parse::<Money>()?).tokens(1_500).with(Meter::new("assessments")?, 1);
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    // Wider than an amount, so that what does not fit is refused where it is used and not here.
    entries: Vec<(Meter, i128)>,
}

impl Amounts {
    /// Nothing but one request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An amount of money.
    #[must_use]
    pub fn cost(cost: Money) -> Self {
        Self::new().with(Meter::COST, cost.nanos())
    }

    /// And that many tokens.
    #[must_use]
    pub fn tokens(self, tokens: u64) -> Self {
        self.with(Meter::TOKENS, tokens)
    }

    /// And that many requests, where it is not one.
    #[must_use]
    pub fn requests(self, requests: u64) -> Self {
        self.with(Meter::REQUESTS, requests)
    }

    /// And an amount of any meter, in its unit. A second amount of one meter replaces the first.
    #[must_use]
    pub fn with(mut self, meter: Meter, amount: impl Into<i128>) -> Self {
        let amount = amount.into();
        match self.entries.iter_mut().find(|(known, _)| *known == meter) {
            Some((_, known)) => *known = amount,
            None => self.entries.push((meter, amount)),
        }
        self
    }

    /// The amount of a meter.
    ///
    /// # Errors
    /// `Invalid` when the meter was not given, or its amount is negative or above the 64-bit range.
    pub fn of(&self, meter: &Meter) -> Result<i64> {
        match self.get(meter) {
            Some(amount) => fits(meter, amount),
            None if meter.is_one_each() => Ok(1),
            None => Err(Error::invalid(format!(
                "the policy limits {meter}, but the request gives no amount of it; add it to its Amounts, 0 if it has none"
            ))),
        }
    }

    /// The amount of a meter, or `other` when it was not given.
    pub(crate) fn of_or(&self, meter: &Meter, other: i64) -> Result<i64> {
        self.get(meter).map_or(Ok(other), |amount| fits(meter, amount))
    }

    /// The meters that were given.
    pub(crate) fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.entries.iter().map(|(meter, _)| meter)
    }

    fn get(&self, meter: &Meter) -> Option<i128> {
        self.entries.iter().find(|(known, _)| known == meter).map(|(_, amount)| *amount)
    }
}

fn fits(meter: &Meter, amount: i128) -> Result<i64> {
    i64::try_from(amount).ok().filter(|amount| *amount >= 0).ok_or_else(|| {
        Error::invalid(format!("the amount {amount} of {meter} is outside 0 to {}; charge what fits", i64::MAX))
    })
}

impl From<Money> for Amounts {
    fn from(cost: Money) -> Self {
        Self::cost(cost)
    }
}
