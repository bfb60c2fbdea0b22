//! `costguard replay`: what would this policy have done to that traffic?

mod log;
mod options;
mod plot;
mod pricing;
mod report;
mod series;
mod tally;

/// Decide every call of a log against a policy, and report what it would have done.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {}

pub(crate) async fn run(_args: ReplayArgs) -> anyhow::Result<()> {
    Ok(())
}
