//! The program's subcommands, a module each, and what they share.

mod amounts;
mod bench;
mod block;
mod charge;
mod doctor;
mod health;
mod hold;
mod holds;
mod limit;
mod output;
mod peek;
mod replay;
mod rules;
mod scripts;
mod statement;
mod states;
mod target;
mod time;
mod top;

use std::process::ExitCode;

pub(crate) use self::output::without_controls;

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
    Charge(charge::ChargeArgs),
    Peek(peek::PeekArgs),
    Statement(statement::StatementArgs),
    Holds(holds::HoldsArgs),
    Top(top::TopArgs),
    Hold(hold::HoldArgs),
    Limit(limit::LimitArgs),
    Block(block::BlockArgs),
    Unblock(block::UnblockArgs),
    Scripts(scripts::ScriptsArgs),
    Health(health::HealthArgs),
    Doctor(doctor::DoctorArgs),
    Bench(bench::BenchArgs),
}

/// The subcommands whose exit code says how a server is, and the code that says nothing of it: they could not ask.
const PROBES: [&str; 2] = ["health", "doctor"];
const NOT_PROBED: u8 = 3;

/// Parses the command line and does what it says.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Err(error) if error.use_stderr() && std::env::args().nth(1).is_some_and(|name| PROBES.contains(&&*name)) => {
            error.print()?;
            return Ok(ExitCode::from(NOT_PROBED));
        }
        parsed => parsed.unwrap_or_else(|error| error.exit()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Replay(args) => replay::run(args).await.map(done),
            Command::Charge(args) => charge::run(args).await,
            Command::Peek(args) => peek::run(args).await.map(done),
            Command::Statement(args) => statement::run(args).await.map(done),
            Command::Holds(args) => holds::run(args).await.map(done),
            Command::Top(args) => top::run(args).await.map(done),
            Command::Hold(args) => hold::run(args).await.map(done),
            Command::Limit(args) => limit::run(args).await.map(done),
            Command::Block(args) => block::block(args).await.map(done),
            Command::Unblock(args) => block::unblock(args).await.map(done),
            Command::Scripts(args) => scripts::run(args).await.map(done),
            Command::Health(args) => Ok(health::run(args).await.unwrap_or_else(not_probed)),
            Command::Doctor(args) => Ok(doctor::run(args).await.unwrap_or_else(not_probed)),
            Command::Bench(args) => bench::run(args).await.map(done),
        }
    });
    // Options that do not go together end the program as those do that cannot be read.
    outcome.or_else(|error| error.downcast::<clap::Error>().map_or_else(Err, |error| error.exit()))
}

fn not_probed(error: anyhow::Error) -> ExitCode {
    crate::failed(&error, ExitCode::from(NOT_PROBED))
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
