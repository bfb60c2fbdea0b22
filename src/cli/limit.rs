//! `costguard limit`: other limits than policies say, for one scope and for a time.

use clap::Subcommand;
use costguard::ops::RuleKind;
use costguard::{Counter, Meter, Subject, Window};

use super::output::decoded;
use super::rules::{EndArgs, RuleArgs, list, of_scope, parse_scope, subject_with};
use super::target::{RootArgs, ScopeArg};

/// Set another limit for one scope, without a deploy
///
/// It takes the place of what policies say about that counter of that scope, for every process at once, until it ends or is
/// cleared. It lies in the store, and the script that decides reads it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LimitArgs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  costguard limit set user:alice cost 100.00 --per day --until 2026-12-01 --url redis://localhost:6379 --root acme
  costguard limit set user:alice requests 600 --per rate/1m --for 8h --root acme     with $COSTGUARD_URL set
  costguard limit show --root acme
  costguard limit clear user:alice cost --per day --root acme

Once a limit is set or cleared the exit code is 0, also when the answer cannot be printed; standard error says so.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a limit; without an end it lasts 400 days. Setting it again replaces it
    Set {
        #[command(flatten)]
        of: RuleArgs,
        #[command(flatten)]
        counter: CounterArgs,
        /// The limit, in the meter's unit: dollars for cost, a whole number elsewhere
        #[arg(value_name = "LIMIT", allow_negative_numbers = true, value_parser = not_negative)]
        limit: String,
        #[command(flatten)]
        end: EndArgs,
    },
    /// List the limits and blocks that are in force under a root; changes nothing
    Show {
        /// Only those of one scope
        #[arg(value_name = "KIND:ID", value_parser = parse_scope)]
        scope: Option<ScopeArg>,
        #[command(flatten)]
        under: RootArgs,
    },
    /// Go back to what policies say
    Clear {
        #[command(flatten)]
        of: RuleArgs,
        #[command(flatten)]
        counter: CounterArgs,
    },
}

#[derive(Debug, clap::Args)]
struct CounterArgs {
    /// What is counted: cost, tokens, requests, or a name of your own
    #[arg(value_name = "METER", value_parser = Meter::new)]
    meter: Meter,

    /// Over what the policy counts it: minute hour day week month quarter year total, 90s, 15m; day@Europe/Berlin for
    /// another time zone than UTC; rate/1m, sliding/1m, log/1m; open for calls at once
    #[arg(long, value_name = "WINDOW")]
    per: Window,
}

/// What else it has to be its meter says.
fn not_negative(text: &str) -> Result<String, String> {
    if text.starts_with('-') { Err("a limit is 0 or more".to_owned()) } else { Ok(text.to_owned()) }
}

impl CounterArgs {
    fn counter(&self, kind: &str) -> Counter {
        Counter::new(kind, self.meter.clone(), self.per)
    }
}

pub(crate) async fn run(args: LimitArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Set { of, counter, limit, end } => {
            let limit = counter.meter.parse_amount(&limit)?;
            let (subject, counter) = (of.subject()?, counter.counter(of.kind()));
            let guard = of.under.guard().await?;
            end.end(guard.set_limit(&subject, &counter, limit), of.under.at)?.await?;
            let most = counter.meter().format_amount(limit);
            let meter = decoded(counter.meter().as_str());
            of.report(&guard, "set", &format!("has {most} of {meter} per {}", counter.window())).await;
            Ok(())
        }
        Command::Show { scope, under } => show(scope, &under).await,
        Command::Clear { of, counter } => {
            let (subject, counter) = (of.subject()?, counter.counter(of.kind()));
            let guard = of.under.guard().await?;
            let is_it = |kind: &RuleKind| matches!(kind, RuleKind::Limit { counter: other, .. } if *other == counter);
            let was_set = of.has(&guard, is_it).await?;
            let rule = guard.clear_limit(&subject, &counter);
            of.under.at.into_iter().fold(rule, |rule, at| rule.at(at)).await?;
            if !was_set {
                let (meter, window) = (decoded(counter.meter().as_str()), counter.window());
                let words = format!("had no other limit of {meter} per {window}; what is in force under this root");
                return of.report_nothing(&guard, &words).await;
            }
            let meter = decoded(counter.meter().as_str());
            let words = format!("has what policies say of {meter} per {}", counter.window());
            of.report(&guard, "cleared", &words).await;
            Ok(())
        }
    }
}

async fn show(scope: Option<ScopeArg>, under: &RootArgs) -> anyhow::Result<()> {
    let root = under.root_of_rule()?;
    let guard = under.guard().await?;
    let subject = scope.as_ref().map_or_else(|| Subject::new(root), |scope| subject_with(root, scope));
    let mut rules = under.rules(&guard, &subject).await?;
    if let Some(scope) = &scope {
        rules = of_scope(rules, &subject, scope)?;
    }
    list(&guard, under, "shown", &format!("{} in force", rules.len()), &rules)
}
