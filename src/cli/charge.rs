//! `costguard charge`: one charge, by hand or from a shell script.

use std::process::ExitCode;

use anyhow::ensure;
use costguard::{Decision, Denial, LimitState, Meter, Policy};
use serde::Serialize;

use super::amounts::{AmountArgs, amounts, check};
use super::output::{after, print, print_json};
use super::states::{self, Block, JsonBlock, JsonState, Standing};
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

    #[command(flatten)]
    amounts: AmountArgs,

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
With --json `refused_by` holds the places in `limits` of those that refuse, ascending and counted from 0.
When the answer cannot be printed, standard error says so, and the exit code is still that of what was done.

Examples:
  costguard charge --url redis://localhost:6379 --root acme --policy policy.toml --scope user=alice --cost 0.12 --admit
  costguard charge --scope user=alice --per day --amount tokens=500 --id call-4711     with $COSTGUARD_URL and $COSTGUARD_ROOT set";

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
    /// The places in `limits` of those that refuse, ascending, counted from 0 (`replay --decisions` counts from 1).
    refused_by: Vec<usize>,
    /// The blocks among them.
    blocked: Vec<JsonBlock>,
    retry_after_ms: Option<u64>,
}

pub(crate) async fn run(args: ChargeArgs) -> anyhow::Result<ExitCode> {
    let target = &args.target;
    let given = args.amounts.given()?;
    ensure!(!(given.is_empty() && target.counts_freely()), "how much? Give --cost 0.12, or --amount tokens=500");
    let meters: Vec<_> = given.iter().map(|given| given.meter.clone()).collect();
    ensure!(
        !(target.is_bare() && meters.contains(&Meter::COST)),
        "in what is cost counted under this plain key? Others count it in units of their own there, as the daily guard does in \
         cents; give --policy FILE for a limit in dollars, which counts in billionths"
    );
    let subject = target.whose.subject()?;
    let policy = target.policy(&meters)?;
    let counted: Vec<_> = policy.limits().iter().map(|limit| limit.counter().meter()).collect();
    check(&counted, &meters, "the policy limits")?;
    let given = amounts(given);
    let guard = target.whose.guard().await?;

    macro_rules! send {
        ($request:expr) => {{
            let mut request = $request;
            if let Some(id) = &args.id {
                request = request.id(id);
            }
            if let Some(at) = target.whose.under.at {
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
            Decision::Denied(denial) => Outcome::Denied(Box::new(denial)),
        }
    } else {
        let mut charged = send!(guard.charge(&policy, &subject, given));
        if !charged.replayed {
            // A charge does not look for overrides, and people want to know what is left. It is done, whatever comes of this.
            let peeked = target.peek(&guard, &policy, &subject).await.unwrap_or_default();
            for (charged, peeked) in charged.limits.iter_mut().zip(peeked) {
                charged.limit = peeked.limit;
            }
        }
        Outcome::Done { word: "charged", limits: charged.limits, replayed: charged.replayed }
    };
    let show = || {
        if target.whose.under.json {
            return print_json(&Json {
                store: guard.store().describe(),
                root: target.whose.root()?,
                ..outcome.to_json(&policy)
            });
        }
        print(&outcome.to_text(&target.whose.place(&guard)?, &policy)?)
    };
    after(&format!("it was {}", outcome.word()), show());
    Ok(if matches!(outcome, Outcome::Denied(_)) { ExitCode::from(DENIED) } else { ExitCode::SUCCESS })
}

/// The places of the limits that refuse, ascending.
fn refusing(denial: &Denial) -> Vec<usize> {
    let mut places = denial.refused_by.clone();
    places.sort_unstable();
    places
}

#[derive(Debug)]
enum Outcome {
    Done { word: &'static str, limits: Vec<LimitState>, replayed: bool },
    Denied(Box<Denial>),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Done { word, .. } => word,
            Self::Denied(_) => "denied",
        }
    }

    fn to_json(&self, policy: &Policy) -> Json<'static> {
        match self {
            Self::Done { word, limits, replayed } => {
                Json { outcome: word, replayed: *replayed, limits: JsonState::all(limits, policy), ..Json::default() }
            }
            Self::Denied(denial) => {
                let retry_after_ms =
                    denial.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                let blocked = JsonBlock::all(&Block::among(&denial.limits));
                let denied = Some(JsonDenied { refused_by: refusing(denial), blocked, retry_after_ms });
                Json { outcome: "denied", limits: JsonState::all(&denial.limits, policy), denied, ..Json::default() }
            }
        }
    }

    fn to_text(&self, place: &str, policy: &Policy) -> anyhow::Result<String> {
        let (headline, limits) = match self {
            Self::Done { word, limits, replayed: false } => (format!("{word} on {place}"), limits),
            Self::Done { word, limits, replayed: true } => {
                (format!("{word} before, under the same id, on {place}: the limits as they stood then"), limits)
            }
            Self::Denied(denial) => {
                let limits = refusing(denial).into_iter().filter_map(|place| denial.limits.get(place));
                let names: Vec<_> = limits.map(states::name).collect();
                let limits = match names.as_slice() {
                    [] => states::name(&denial.limit),
                    [one] => one.clone(),
                    [first @ .., last] => format!("{} and {last}", first.join(", ")),
                };
                let again = match denial.retry_after {
                    Some(after) => format!("room may come in {}", people_duration(after)),
                    None => "waiting does not help".to_owned(),
                };
                (format!("denied by {limits} on {place}; nothing was charged; {again}"), &denial.limits)
            }
        };
        let table = states::to_table(&Standing::all(limits, policy), &Block::among(limits))?;
        Ok(format!("{headline}\n\n{table}"))
    }
}
