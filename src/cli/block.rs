//! `costguard block` and `unblock`: nothing more for one scope, for a time.

use anyhow::ensure;
use costguard::ops::RuleKind;

use super::rules::{EndArgs, RuleArgs};

/// Refuse everything to one scope for a time
///
/// Whatever asks for it under this root is denied, in every process at once, until it ends or is lifted. What is charged or
/// settled still lands.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BlockArgs {
    #[command(flatten)]
    of: RuleArgs,
    #[command(flatten)]
    end: EndArgs,
}

/// Lift a block
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UnblockArgs {
    #[command(flatten)]
    of: RuleArgs,
}

const EXAMPLES: &str = "\
Examples:
  costguard block user:mallory --for 1h --root acme --url redis://localhost:6379
  costguard unblock user:mallory --root acme     with $COSTGUARD_URL set
  costguard limit show --root acme               lists blocks, too

Once a block is set or lifted the exit code is 0, also when the answer cannot be printed; standard error says so.";

pub(crate) async fn block(args: BlockArgs) -> anyhow::Result<()> {
    let BlockArgs { of, end } = args;
    ensure!(end.is_given(), "for how long? Give --for 1h, or --until 2026-12-01");
    let ttl = end.ttl(of.under.at)?.unwrap_or_default();
    let subject = of.subject()?;
    let guard = of.under.guard().await?;
    end.end(guard.block(&subject, of.kind(), ttl), of.under.at)?.await?;
    of.report(&guard, "blocked", "is blocked").await;
    Ok(())
}

pub(crate) async fn unblock(args: UnblockArgs) -> anyhow::Result<()> {
    let of = args.of;
    let subject = of.subject()?;
    let guard = of.under.guard().await?;
    let was_blocked = of.has(&guard, |kind| *kind == RuleKind::Block).await?;
    let rule = guard.unblock(&subject, of.kind());
    of.under.at.into_iter().fold(rule, |rule, at| rule.at(at)).await?;
    if !was_blocked {
        return of.report_nothing(&guard, "was not blocked; what is in force under this root").await;
    }
    of.report(&guard, "unblocked", "is not blocked").await;
    Ok(())
}
