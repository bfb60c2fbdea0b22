//! How much: the options that subcommands share, so that they agree.

use std::str::FromStr;

use anyhow::{bail, ensure};
use costguard::model::Money;
use costguard::{Amounts, Meter};

use super::output::decoded;

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct AmountArgs {
    /// An amount of money, in dollars; short for --amount cost=0.12
    #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true, value_parser = parse_cost)]
    cost: Option<Money>,

    /// An amount of any meter; may be repeated. `requests` count one unless given
    #[arg(long = "amount", value_name = "METER=N")]
    amounts: Vec<AmountArg>,
}

/// One `--amount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AmountArg {
    pub(crate) meter: Meter,
    pub(crate) amount: i64,
}

impl FromStr for AmountArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (meter, amount) = text.split_once('=').ok_or("expected METER=N, like tokens=500")?;
        let meter = Meter::new(meter).map_err(|error| error.to_string())?;
        let amount = meter.parse_amount(amount).map_err(|error| error.to_string())?;
        Ok(Self { meter, amount })
    }
}

fn parse_cost(text: &str) -> Result<Money, String> {
    let cost: Money = text.parse().map_err(|error: costguard::Error| error.to_string())?;
    if cost < Money::ZERO { Err(format!("{cost} is negative; a charge adds 0 or more")) } else { Ok(cost) }
}

impl AmountArgs {
    /// What is given, each meter once.
    pub(crate) fn given(&self) -> anyhow::Result<Vec<AmountArg>> {
        let mut amounts = self.amounts.clone();
        if let Some(cost) = self.cost {
            amounts.insert(0, AmountArg { meter: Meter::COST, amount: cost.nanos() });
        }
        for (place, given) in amounts.iter().enumerate() {
            let twice = amounts[..place].iter().any(|other| other.meter == given.meter);
            ensure!(!twice, "two amounts of {} are given; give their sum", decoded(given.meter.as_str()));
        }
        Ok(amounts)
    }
}

/// As the library takes them.
pub(crate) fn amounts(given: Vec<AmountArg>) -> Amounts {
    given.into_iter().fold(Amounts::new(), |all, given| all.with(given.meter, given.amount))
}

/// An amount that nothing counts would be lost, and one that is missing would never fill its budget. `who` counts:
/// `the policy limits`.
pub(crate) fn check(counted: &[&Meter], given: &[Meter], who: &str) -> anyhow::Result<()> {
    given.iter().try_for_each(|meter| check_counted(counted, meter))?;
    let told = |meter: &Meter| given.contains(meter) || [Meter::REQUESTS, Meter::CONCURRENCY].contains(meter);
    match counted.iter().find(|meter| !told(meter)) {
        Some(meter) if **meter == Meter::COST => {
            bail!("{who} cost: give --cost DOLLARS (0 if there is none)")
        }
        Some(meter) => {
            let meter = decoded(meter.as_str());
            bail!("{who} {meter}: give --amount {meter}=N (0 if there are none)")
        }
        None => Ok(()),
    }
}

/// An amount that nothing counts would be lost.
pub(crate) fn check_counted(counted: &[&Meter], given: &Meter) -> anyhow::Result<()> {
    ensure!(
        counted.contains(&given),
        "nothing here counts {}, so that amount would be lost; leave it out, or add a limit on it to the policy",
        decoded(given.as_str())
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_the_unit_of_their_meter() {
        assert_eq!("cost=0.12".parse(), Ok(AmountArg { meter: Meter::COST, amount: 120_000_000 }));
        assert_eq!("tokens=500".parse(), Ok(AmountArg { meter: Meter::TOKENS, amount: 500 }));
        for text in ["tokens", "tokens=", "tokens=0.5", "tokens=-1", "=5", "cost=much"] {
            assert!(text.parse::<AmountArg>().is_err(), "{text}");
        }
        let error = "tokens=99999999999999999999".parse::<AmountArg>().unwrap_err();
        assert!(error.contains("is too large: the most is 9223372036854775807"), "{error}");
    }
}
