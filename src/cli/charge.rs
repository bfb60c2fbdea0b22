//! `costguard charge`: one charge, by hand or from a shell script.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{bail, ensure};
use costguard::model::Money;
use costguard::{Amounts, Decision, Denial, LimitState, Meter, Policy};
use serde::Serialize;

use super::output::{print, print_json};
use super::states::{self, JsonState};
use super::target::TargetArgs;
use super::time::people_duration;

/// The exit code of a request that was denied.
const DENIED: u8 = 3;

/// Charge once, by hand or from a script
///
/// Adds the amounts to every counter of the policy, whatever the limits: it is for money that is spent. With --admit it
/// asks first, and charges all of them or none. Without a policy it adds to one counter without a limit (--per).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChargeArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// An amount of money, in dollars; short for --amount cost=0.12
    #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true)]
    cost: Option<Money>,

    /// An amount of any meter; may be repeated. A policy's `requests` count one unless given
    #[arg(long = "amount", value_name = "METER=N")]
    amounts: Vec<AmountArg>,

    /// An id of your own for this operation: however often it is sent, it happens once (for 24 hours)
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// Charge only if every limit allows it
    #[arg(long)]
    admit: bool,
}

const EXAMPLES: &str = "\
Exit codes:
  0  charged, or granted with --admit
  3  denied: nothing was charged
  1  an error: nothing was charged, unless its message says that this is not known
  2  an option that cannot be read

Examples:
  costguard charge --url redis://localhost:6379 --policy policy.toml --scope user=alice --cost 0.12 --admit
  costguard charge --scope user=alice --per day --amount tokens=500 --id call-4711     with $COSTGUARD_URL set";

/// One `--amount`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AmountArg {
    meter: Meter,
    amount: i64,
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

/// What came out. `retry_after_ms` is null where waiting does not help.
#[derive(Default, Serialize)]
struct Json<'a> {
    store: String,
    root: Option<&'a str>,
    /// `charged`, `granted` or `denied`.
    outcome: &'static str,
    /// Whether the id was used before: then nothing was charged now, and this is the first answer.
    replayed: bool,
    limits: Vec<JsonState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<JsonDenied>,
}

#[derive(Serialize)]
struct JsonDenied {
    /// The places in `limits` of those that refuse, from 0.
    refused_by: Vec<usize>,
    retry_after_ms: Option<u64>,
}

pub(crate) async fn run(args: ChargeArgs) -> anyhow::Result<ExitCode> {
    let target = &args.target;
    let amounts = args.amounts()?;
    let meters: Vec<_> = amounts.iter().map(|given| given.meter.clone()).collect();
    let subject = target.subject()?;
    let policy = target.policy(&meters)?;
    check(&policy, &meters)?;
    let given = amounts.into_iter().fold(Amounts::new(), |all, given| all.with(given.meter, given.amount));
    let guard = target.guard().await?;

    macro_rules! send {
        ($request:expr) => {{
            let mut request = $request;
            if let Some(id) = &args.id {
                request = request.id(id);
            }
            if let Some(at) = target.at {
                request = request.at(at);
            }
            request.await?
        }};
    }
    let outcome = if args.admit {
        match send!(guard.admit(&policy, &subject, given)) {
            Decision::Granted(grant) => {
                Outcome::Done { word: "granted", limits: grant.limits, replayed: grant.replayed }
            }
            Decision::Denied(denial) => Outcome::Denied(denial),
        }
    } else {
        let charged = send!(guard.charge(&policy, &subject, given));
        Outcome::Done { word: "charged", limits: charged.limits, replayed: charged.replayed }
    };
    if target.json {
        print_json(&Json { store: guard.store().describe(), root: target.root()?, ..outcome.to_json() })?;
    } else {
        print(&outcome.to_text(&target.place(&guard)?)?)?;
    }
    Ok(if matches!(outcome, Outcome::Denied(_)) { ExitCode::from(DENIED) } else { ExitCode::SUCCESS })
}

impl ChargeArgs {
    fn amounts(&self) -> anyhow::Result<Vec<AmountArg>> {
        let mut amounts = self.amounts.clone();
        if let Some(cost) = self.cost {
            ensure!(cost >= Money::ZERO, "--cost {cost} is negative; a charge adds 0 or more");
            amounts.insert(0, AmountArg { meter: Meter::COST, amount: cost.nanos() });
        }
        for (place, given) in amounts.iter().enumerate() {
            let twice = amounts[..place].iter().any(|other| other.meter == given.meter);
            ensure!(!twice, "two amounts of {} are given; give their sum", given.meter);
        }
        if amounts.is_empty() && self.target.counts_freely() {
            bail!("how much? Give --cost 0.12, or --amount tokens=500");
        }
        Ok(amounts)
    }
}

/// An amount that no limit counts would be lost, and one that is missing would never fill its budget.
fn check(policy: &Policy, given: &[Meter]) -> anyhow::Result<()> {
    let counted: Vec<_> = policy.limits().iter().map(|limit| limit.counter().meter()).collect();
    if let Some(meter) = given.iter().find(|meter| !counted.contains(meter)) {
        bail!(
            "nothing here counts {meter}, so that amount would be lost; leave it out, or add a limit on it to the policy"
        );
    }
    match counted.iter().find(|meter| **meter != &Meter::REQUESTS && !given.contains(meter)) {
        Some(meter) if **meter == Meter::COST => {
            bail!("the policy limits cost: give --cost DOLLARS (0 if there is none)")
        }
        Some(meter) => bail!("the policy limits {meter}: give --amount {meter}=N (0 if there are none)"),
        None => Ok(()),
    }
}

#[derive(Debug)]
enum Outcome {
    Done { word: &'static str, limits: Vec<LimitState>, replayed: bool },
    Denied(Denial),
}

impl Outcome {
    fn to_json(&self) -> Json<'static> {
        match self {
            Self::Done { word, limits, replayed } => {
                Json { outcome: word, replayed: *replayed, limits: JsonState::all(limits), ..Json::default() }
            }
            Self::Denied(denial) => {
                let retry_after_ms =
                    denial.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                let denied = Some(JsonDenied { refused_by: denial.refused_by.clone(), retry_after_ms });
                Json { outcome: "denied", limits: JsonState::all(&denial.limits), denied, ..Json::default() }
            }
        }
    }

    fn to_text(&self, place: &str) -> anyhow::Result<String> {
        let (headline, limits) = match self {
            Self::Done { word, limits, replayed: false } => (format!("{word} on {place}"), limits),
            Self::Done { word, limits, replayed: true } => {
                (format!("{word} before, under the same id, on {place}: the limits as they stood then"), limits)
            }
            Self::Denied(denial) => {
                let limit = states::name(&denial.limit);
                let again = match denial.retry_after {
                    Some(after) => format!("room may come in {}", people_duration(after)),
                    None => "waiting does not help".to_owned(),
                };
                (format!("denied by {limit} on {place}; nothing was charged; {again}"), &denial.limits)
            }
        };
        Ok(format!("{headline}\n\n{}", states::to_table(limits)?))
    }
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
    }
}
