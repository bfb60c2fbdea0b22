//! `costguard peek`: where the limits stand.

use costguard::Meter;
use serde::Serialize;

use super::output::{print, print_json};
use super::states::{self, JsonBlock, JsonState};
use super::target::TargetArgs;

/// Show where limits stand; changes nothing
///
/// Reads the counters that the policy limits for these scopes, or without a policy one counter: what is counted
/// (--meter, by default cost) in each window (--per).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PeekArgs {
    #[command(flatten)]
    target: TargetArgs,
}

const EXAMPLES: &str = "\
Examples:
  costguard peek --url redis://localhost:6379 --root acme --policy policy.toml --scope user=alice
  costguard peek --scope org=acme --per month --at 2026-01-15     with $COSTGUARD_URL set";

#[derive(Serialize)]
struct Json<'a> {
    store: String,
    root: Option<&'a str>,
    limits: Vec<JsonState>,
    /// Scopes that are refused whatever is left.
    blocked: Vec<JsonBlock>,
}

pub(crate) async fn run(args: PeekArgs) -> anyhow::Result<()> {
    let target = &args.target;
    let subject = target.whose.subject()?;
    let policy = target.policy(&[Meter::COST])?;
    let guard = target.whose.guard().await?;
    let limits = target.peek(&guard, &policy, &subject).await?;
    let blocks = target.blocks(&guard, &subject).await?;
    if target.whose.under.json {
        let store = guard.store().describe();
        let (limits, blocked) = (JsonState::all(&limits, &policy), JsonBlock::all(&blocks));
        return print_json(&Json { store, root: target.whose.root()?, limits, blocked });
    }
    let limits = states::to_table(&target.standings(&limits, &policy), &blocks)?;
    print(&format!("on {}\n\n{limits}", target.whose.place(&guard)?))
}
