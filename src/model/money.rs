//! Money, exact: integer nano-dollars, read from and written as decimal text, never through a float.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

const NANOS_PER_USD: u64 = 1_000_000_000;
const NANOS_PER_CENT: i64 = 10_000_000;
const DECIMALS: usize = 9;

/// An amount of US dollars, in whole nano-dollars (1 USD = 1,000,000,000).
///
/// The range is that of `i64`: about nine thousand million dollars either way. It is read from decimal text, printed
/// as decimal text, and serialised as a decimal string, so nothing is ever rounded on the way.
///
/// ```
/// use costguard::model::Money;
///
/// let limit: Money = "75.00".parse()?;
/// assert_eq!(limit.nanos(), 75_000_000_000);
/// assert_eq!(Money::from_nanos(10_500).to_string(), "0.0000105");
/// assert!("0.1234567891".parse::<Money>().is_err()); // finer than a nano-dollar
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    nanos: i64,
}

impl Money {
    /// No money.
    pub const ZERO: Self = Self { nanos: 0 };
    /// The largest amount, 9223372036.854775807 USD.
    pub const MAX: Self = Self { nanos: i64::MAX };
    /// The smallest amount, -9223372036.854775808 USD.
    pub const MIN: Self = Self { nanos: i64::MIN };

    /// An amount from nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// The amount in nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.nanos
    }

    /// The sum, or `None` when it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.nanos.checked_add(other.nanos) {
            Some(nanos) => Some(Self { nanos }),
            None => None,
        }
    }

    /// The difference, or `None` when it does not fit.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.nanos.checked_sub(other.nanos) {
            Some(nanos) => Some(Self { nanos }),
            None => None,
        }
    }

    /// The amount `factor` times, or `None` when it does not fit.
    #[must_use]
    pub const fn checked_mul(self, factor: i64) -> Option<Self> {
        match self.nanos.checked_mul(factor) {
            Some(nanos) => Some(Self { nanos }),
            None => None,
        }
    }

    /// The amount with the opposite sign, or `None` for [`Money::MIN`], which has no opposite.
    #[must_use]
    pub const fn checked_neg(self) -> Option<Self> {
        match self.nanos.checked_neg() {
            Some(nanos) => Some(Self { nanos }),
            None => None,
        }
    }

    /// Whole cents, rounded up (towards positive infinity): 0.0000105 USD is 1 cent, -0.019 USD is -1 cent.
    #[must_use]
    pub const fn cents_rounded_up(self) -> i64 {
        let whole = self.nanos.div_euclid(NANOS_PER_CENT);
        if self.nanos.rem_euclid(NANOS_PER_CENT) == 0 { whole } else { whole + 1 }
    }
}

/// In nano-dollars, as [`Meter::COST`](crate::Meter::COST) counts.
impl From<Money> for i64 {
    fn from(money: Money) -> Self {
        money.nanos
    }
}

/// In nano-dollars, as [`Meter::COST`](crate::Meter::COST) counts.
impl From<Money> for i128 {
    fn from(money: Money) -> Self {
        money.nanos.into()
    }
}

impl fmt::Display for Money {
    /// Plain decimal dollars: at least two decimals, no trailing zeros beyond them, no currency sign.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.nanos.unsigned_abs();
        let decimals = format!("{:09}", magnitude % NANOS_PER_USD);
        let kept = decimals.trim_end_matches('0').len().max(2);
        let text = format!("{}.{}", magnitude / NANOS_PER_USD, &decimals[..kept]);
        // `pad_integral` honours width and alignment, so that amounts line up in tables.
        f.pad_integral(self.nanos >= 0, "", &text)
    }
}

impl FromStr for Money {
    type Err = Error;

    /// Reads `75`, `75.00`, `-1.5`, `$0.12` or `-$0.12`: digits, then at most nine decimals.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for anything else (spaces, exponents, separators, more decimals), and
    /// [`ErrorKind::Overflow`] for an amount beyond the range of [`Money`].
    fn from_str(text: &str) -> Result<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let unsigned = unsigned.strip_prefix('$').unwrap_or(unsigned);
        let (whole, decimals) = match unsigned.split_once('.') {
            Some((whole, decimals)) if is_digits(decimals) => (whole, decimals),
            Some(_) => return Err(not_money(text)),
            None => (unsigned, ""),
        };
        if !is_digits(whole) {
            return Err(not_money(text));
        }
        if decimals.len() > DECIMALS {
            return Err(Error::invalid(format!(
                "the amount {} has more than {DECIMALS} decimals: write it in whole nano-dollars (0.000000001)",
                quoted(text)
            )));
        }
        let padding = &"000000000"[decimals.len()..];
        // Gathered on the side of its sign, because i64::MIN has no positive counterpart.
        let nanos = whole.bytes().chain(decimals.bytes()).chain(padding.bytes()).try_fold(0_i64, |nanos, digit| {
            let digit = i64::from(digit - b'0');
            nanos.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
        });
        nanos.map(Self::from_nanos).ok_or_else(|| {
            Error::new(
                ErrorKind::Overflow,
                format!("the amount {} is out of range: {} to {}", quoted(text), Self::MIN, Self::MAX),
            )
        })
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// Reads a decimal string. A bare number is refused: most formats would pass it through a float.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn not_money(text: &str) -> Error {
    Error::invalid(format!("{} is not an amount of money: write plain decimal dollars such as \"75.00\"", quoted(text)))
}

/// The offending text, escaped and short enough for a message.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str) -> i64 {
        text.parse::<Money>().unwrap().nanos()
    }

    #[test]
    fn decimal_text_is_read_exactly() {
        assert_eq!(nanos("75.00"), 75_000_000_000);
        assert_eq!(nanos("0.12"), 120_000_000);
        assert_eq!(nanos("-1.5"), -1_500_000_000);
        assert_eq!(nanos("0.000000001"), 1);
        assert_eq!(nanos("7"), 7_000_000_000);
        assert_eq!(nanos("$0.12"), 120_000_000);
        assert_eq!(nanos("-$0.12"), -120_000_000);
        assert_eq!(nanos("-0"), 0);
        assert_eq!(nanos("000000000000000000000000000001.5"), 1_500_000_000);
        assert_eq!(nanos("9223372036.854775807"), i64::MAX);
        assert_eq!(nanos("-9223372036.854775808"), i64::MIN);
    }

    #[test]
    fn junk_is_refused_with_a_hint() {
        for text in [
            "", " ", "-", "$", ".", "1.", ".5", "1 ", " 1", "+1", "1_000", "1,5", "1e3", "--1", "$-1", "1$", "0x1",
            "١", "NaN", "inf", "1.2.3", "1.-5", "€5",
        ] {
            let error = text.parse::<Money>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
            assert!(error.to_string().contains("75.00"), "{error}");
        }
    }

    #[test]
    fn a_tenth_decimal_is_refused() {
        let error = "0.0000000001".parse::<Money>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("more than 9 decimals"), "{error}");
    }

    #[test]
    fn an_amount_out_of_range_is_an_overflow() {
        for text in ["9223372036.854775808", "-9223372036.854775809", "99999999999999999999999999999999999999999999"] {
            assert_eq!(text.parse::<Money>().unwrap_err().kind(), ErrorKind::Overflow, "{text}");
        }
    }

    #[test]
    fn it_prints_two_decimals_or_as_many_as_needed() {
        for (nanos, text) in [
            (0, "0.00"),
            (75_000_000_000, "75.00"),
            (10_500, "0.0000105"),
            (57_868_362_000, "57.868362"),
            (100_000_000, "0.10"),
            (-1, "-0.000000001"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Money::from_nanos(nanos).to_string(), text);
        }
        assert_eq!(format!("{:>8}|", Money::from_nanos(-1_500_000_000)), "   -1.50|");
    }

    #[test]
    fn cents_round_towards_positive_infinity() {
        for (nanos, cents) in [
            (0, 0),
            (1, 1),
            (10_500, 1),
            (10_000_000, 1),
            (10_000_001, 2),
            (-1, 0),
            (-10_000_000, -1),
            (-19_000_000, -1),
            (i64::MAX, 922_337_203_686),
            (i64::MIN, -922_337_203_685),
        ] {
            assert_eq!(Money::from_nanos(nanos).cents_rounded_up(), cents, "{nanos}");
        }
    }

    #[test]
    fn arithmetic_beyond_the_range_gives_nothing() {
        assert_eq!(Money::MAX.checked_add(Money::from_nanos(1)), None);
        assert_eq!(Money::MIN.checked_sub(Money::from_nanos(1)), None);
        assert_eq!(Money::MAX.checked_mul(2), None);
        assert_eq!(Money::MIN.checked_neg(), None);
        assert_eq!(Money::MIN.checked_add(Money::MAX), Some(Money::from_nanos(-1)));
        assert_eq!(Money::from_nanos(7).checked_mul(-3), Some(Money::from_nanos(-21)));
    }

    #[test]
    fn it_is_serialised_as_a_decimal_string_only() {
        let money = Money::from_nanos(57_868_362_000);
        assert_eq!(serde_json::to_string(&money).unwrap(), r#""57.868362""#);
        assert_eq!(serde_json::from_str::<Money>(r#""57.868362""#).unwrap(), money);
        assert_eq!(serde_json::from_str::<Money>(r#""\u0031.5""#).unwrap(), Money::from_nanos(1_500_000_000));
        assert!(serde_json::from_str::<Money>("57.868362").is_err());
        assert!(serde_json::from_str::<Money>(r#""lots""#).is_err());
    }

    proptest! {
        #[test]
        fn what_it_prints_it_reads_back(nanos: i64) {
            let money = Money::from_nanos(nanos);
            prop_assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            drop(text.parse::<Money>());
        }
    }
}
