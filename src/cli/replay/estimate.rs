//! What `--reserve` takes, and what a call is estimated to cost.

use std::str::FromStr;

use costguard::model::{Money, Usage};

use super::log::LogRow;
use crate::cli::time::parse_duration_ms;

/// A call longer than this is a mistake in the log: longer than a hold can live.
const LONGEST_MS: i64 = 29 * 86_400_000;

/// Calls that hold what they may cost until they end.
#[derive(Debug, clap::Args)]
pub(crate) struct ReserveArgs {
    /// Let each call hold an estimate from its start to its end, and then charge what it cost: so that calls that
    /// overlap compete for room, as they do in production. The end comes from --latency, or else from a column like
    /// duration_ms or latency (in seconds, unless its name ends in _ms or the value has a unit). The
    /// estimate is what the call really cost, unless one of the --estimate options says otherwise
    #[arg(long)]
    pub(crate) reserve: bool,

    /// Estimate each call by its own input and this many output tokens (the max_tokens of your requests)
    #[arg(long, value_name = "N", requires = "reserve", requires = "prices", conflicts_with = "estimate_factor")]
    pub(crate) estimate_output: Option<u64>,

    /// Estimate each call by this many times the cost and tokens that it really had, like 1.5
    #[arg(long, value_name = "FACTOR", requires = "reserve")]
    pub(crate) estimate_factor: Option<Factor>,

    /// How long every call took, like 2s or 800ms, whatever a column of the log says
    #[arg(long, value_name = "DURATION", requires = "reserve", value_parser = parse_latency)]
    pub(crate) latency: Option<i64>,
}

/// A decimal number above zero, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factor {
    billionths: i64,
}

impl Factor {
    /// So many times as much, rounded up. What does not fit 64 bits is as much as does.
    fn of(self, amount: i128) -> i128 {
        let product = amount * i128::from(self.billionths);
        ((product + 999_999_999) / 1_000_000_000).min(i128::from(i64::MAX))
    }
}

impl FromStr for Factor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Money reads a decimal number into billionths, and exactly.
        let billionths = text.parse::<Money>().map_err(|_| "expected a number like 1.5")?.nanos();
        if billionths > 0 { Ok(Self { billionths }) } else { Err("expected a number above 0, like 1.5") }
    }
}

fn parse_latency(text: &str) -> Result<i64, String> {
    parse_duration_ms(text, None).filter(|&latency_ms| latency_ms <= LONGEST_MS).ok_or_else(|| {
        "expected a duration with its unit, ms, s, m or h, and 29 days at most, like 2s or 800ms".to_owned()
    })
}

/// How calls are estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EstimateBy {
    Truth,
    Factor(Factor),
    Output(u64),
}

impl ReserveArgs {
    pub(crate) fn estimate_by(&self) -> EstimateBy {
        match (self.estimate_output, self.estimate_factor) {
            (Some(tokens), _) => EstimateBy::Output(tokens),
            (None, Some(factor)) => EstimateBy::Factor(factor),
            (None, None) => EstimateBy::Truth,
        }
    }

    /// When a row's call ended.
    pub(crate) fn end_ms(&self, row: &LogRow) -> Result<i64, String> {
        let duration_ms = self
            .latency
            .or(row.duration_ms)
            .ok_or("the row does not say how long its call took; give --latency 2s for all of them")?;
        if duration_ms > LONGEST_MS {
            return Err(
                "the call took more than 29 days; is its duration in another unit? Milliseconds are told by a \
                        name that ends in _ms, or a value with its unit; other numbers are seconds"
                    .to_owned(),
            );
        }
        row.at_ms.checked_add(duration_ms).ok_or_else(|| "the call never ends".to_owned())
    }
}

impl EstimateBy {
    /// The usage that a row is priced by for its estimate; `None` when its estimate comes from its cost.
    pub(crate) fn usage(self, row: &LogRow) -> Option<Usage> {
        let Self::Output(output) = self else { return None };
        row.usage.map(|usage| Usage { output, reasoning: 0, audio_output: 0, ..usage })
    }

    /// What is made of the true cost.
    pub(crate) fn cost(self, cost: Money) -> Money {
        match self {
            Self::Factor(factor) => {
                Money::from_nanos(i64::try_from(factor.of(i128::from(cost.nanos()))).unwrap_or(i64::MAX))
            }
            Self::Truth | Self::Output(_) => cost,
        }
    }

    /// What is made of the true tokens.
    pub(crate) fn tokens(self, tokens: u64) -> u64 {
        match self {
            Self::Factor(factor) => u64::try_from(factor.of(i128::from(tokens))).unwrap_or(u64::MAX),
            Self::Truth | Self::Output(_) => tokens,
        }
    }

    /// For the report.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Truth => "what it cost".to_owned(),
            Self::Factor(factor) => format!("{} times what it cost", Money::from_nanos(factor.billionths)),
            Self::Output(tokens) => format!("its input and {tokens} output tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_exact_and_round_up() {
        let factor: Factor = "1.5".parse().unwrap();
        assert_eq!([factor.of(0), factor.of(1), factor.of(2)], [0, 2, 3]);
        assert_eq!(factor.of(i128::from(i64::MAX)), i128::from(i64::MAX));
        assert_eq!("0.1".parse::<Factor>().unwrap().of(3_000_000_001), 300_000_001);
        for text in ["0", "-1", "", "much"] {
            assert!(text.parse::<Factor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_latency_has_a_unit_and_an_end() {
        assert_eq!(parse_latency("1.5s"), Ok(1_500));
        for text in ["2", "s", "30 days", "-1s", "1000h"] {
            assert!(parse_latency(text).is_err(), "{text}");
        }
    }
}
