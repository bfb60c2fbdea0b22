//! The program's subcommands, a module each.

mod replay;

use clap::{Parser, Subcommand};

/// Keep count of what model calls cost, and hold it to limits.
#[derive(Debug, Parser)]
#[command(name = "costguard", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Replay(replay::ReplayArgs),
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Replay(args) => replay::run(args).await,
        }
    })
}
