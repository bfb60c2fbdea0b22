//! `costguard health`: whether a server serves.

use std::fmt::Write as _;
use std::process::ExitCode;

use costguard::CostGuard;
use costguard::service::{Health, HealthStatus};
use costguard::store::redis::BreakerState;

use super::output::{print, print_json};
use super::target::ServerArgs;

/// Tell whether a server serves, in 2 seconds at most; changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// Print one JSON object; times in milliseconds, memory in bytes
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  it serves
  1  it is degraded
  2  it does not answer
  3  an error: an option or a variable cannot be read, none names a server, or the answer cannot be printed";

pub(crate) async fn run(args: HealthArgs) -> anyhow::Result<ExitCode> {
    // Lazy, so that a server that is away is an answer like others.
    let guard = CostGuard::builder().connect_with(&args.server.config()?.lazy(true)).await?;
    let health = guard.health().await;
    if args.json {
        print_json(&health)?;
    } else {
        print(to_text(&health)?.trim_end())?;
    }
    Ok(match health.status {
        HealthStatus::Connected => ExitCode::SUCCESS,
        HealthStatus::Disconnected => ExitCode::from(2),
        _ => ExitCode::from(1),
    })
}

fn to_text(health: &Health) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let status = format!("{:?}", health.status).to_lowercase();
    writeln!(text, "{} is {status}", health.store)?;
    for reason in &health.reasons {
        writeln!(text, "  {reason}")?;
    }
    let server = &health.server;
    if let (Some(kind), Some(version)) = (server.kind, &server.version) {
        writeln!(text, "  server   {kind:?} {version}, {}", server.role.unwrap_or("role unknown"))?;
    }
    if let Some(uptime_s) = server.uptime_s {
        writeln!(text, "  uptime   {uptime_s} s")?;
    }
    if let Some(ping_ms) = health.ping_ms {
        writeln!(text, "  ping     {ping_ms:.3} ms")?;
    }
    match (server.used_memory_bytes, server.max_memory_bytes) {
        (Some(used), Some(most @ 1..)) => writeln!(text, "  memory   {used} of {most} bytes")?,
        (Some(used), _) => writeln!(text, "  memory   {used} bytes, no limit")?,
        _ => {}
    }
    if let Some(scripts) = health.scripts {
        writeln!(text, "  scripts  {} of {} loaded", scripts.loaded, scripts.known)?;
    }
    if let Some(pool) = health.pool {
        let [connections, most, calls, calls_most] =
            [pool.connections, pool.connections_most, pool.calls, pool.calls_most];
        writeln!(text, "  pool     {connections} of {most} connections, {calls} of {calls_most} calls")?;
    }
    if let Some(breaker) = health.breaker.filter(|breaker| *breaker != BreakerState::Closed) {
        writeln!(text, "  breaker  {breaker:?}")?;
    }
    Ok(text)
}
