//! `costguard bench`: how fast is this store, from here?

mod operation;
mod run;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use costguard::CostGuard;
use costguard::store::Store;
use costguard::store::embedded::Embedded;
use costguard::store::redis::RedisStore;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::operation::Operation;
use self::run::{Effort, Measured, measure};
use super::output::{print, print_json, table};
use super::target::{config_of, own_prefix};

/// Operation ids are forgotten after this time, so that a long run does not fill the store.
const RECEIPT_TTL: Duration = Duration::from_secs(2);

/// With --operations, the longest time for one row.
const ROW_LIMIT: Duration = Duration::from_secs(60);

/// Measure throughput and latency of every operation on a store
///
/// Each task sends one request after the other, under a root of its own. Latencies are seen by the caller. The holds that
/// settle and release end are reserved in between, outside the time that is measured. A run takes
/// about --seconds for each of the 10 operations and each number of tasks: 20 seconds by default.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Measure this Redis or Valkey instead of the embedded store, under keys of this run's own that end within an
    /// hour
    #[arg(long, value_name = "redis://HOST:PORT")]
    url: Option<String>,

    /// How many tasks at once; several numbers are measured one after the other
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,64",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    tasks: Vec<u16>,

    /// How long to measure each operation
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How often to run each operation instead, shared among the tasks; a minute at the longest
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    operations: Option<u64>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  costguard bench
  costguard bench --url redis://localhost:6379 --tasks 1,16,256 --seconds 5 --json";

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    store: String,
    rows: Vec<Row>,
}

/// One operation with one number of tasks. Latencies are in microseconds.
#[derive(Debug, Serialize)]
struct Row {
    operation: &'static str,
    tasks: u16,
    per_second: u64,
    p50_us: f64,
    p99_us: f64,
}

pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: the numbers say little; use cargo run --release");
    }
    let server = match &args.url {
        Some(url) if url != "memory:" => Some(Arc::new(RedisStore::connect_with(&config_of(url)?).await?)),
        _ => None,
    };
    let effort = match args.operations {
        Some(operations) => Effort { operations, time: ROW_LIMIT },
        None => Effort { operations: u64::MAX, time: Duration::from_secs(args.seconds) },
    };
    let prefix = own_prefix("bench");
    let rows_ahead = args.tasks.len() * Operation::ALL.len();
    let progress = ProgressBar::new(u64::try_from(rows_ahead)?);
    progress.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}")?);
    progress.enable_steady_tick(Duration::from_millis(100));

    let mut rows = Vec::with_capacity(rows_ahead);
    let mut store_name = String::new();
    for operation in Operation::ALL {
        for &tasks in &args.tasks {
            progress.set_message(format!("{}, {tasks} tasks", operation.name()));
            // An embedded store of its own for each row: what one leaves behind does not slow the next.
            let store: Arc<dyn Store> = match &server {
                Some(server) => server.clone(),
                None => Arc::new(Embedded::new()),
            };
            store_name = store.describe();
            let guard =
                CostGuard::builder().prefix(&prefix).retention(Duration::ZERO).receipt_ttl(RECEIPT_TTL).store(store)?;
            let measured = measure(&guard, operation, tasks, effort)
                .await
                .with_context(|| format!("{} with {tasks} tasks", operation.name()))?;
            rows.push(Row::new(operation, tasks, &measured)?);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let report = Report { store: store_name, rows };
    if args.json { print_json(&report) } else { print(&report.to_table(server.is_some().then_some(&prefix))?) }
}

impl Row {
    fn new(operation: Operation, tasks: u16, measured: &Measured) -> anyhow::Result<Self> {
        let at = |share| micros(measured.latencies_ns.value_at_quantile(share)).parse();
        Ok(Self {
            operation: operation.name(),
            tasks,
            per_second: measured.per_second(),
            p50_us: at(0.5)?,
            p99_us: at(0.99)?,
        })
    }
}

impl Report {
    fn to_table(&self, prefix: Option<&String>) -> Result<String, std::fmt::Error> {
        let mut text = format!("on {}\n\n", self.store);
        let mut rows = table(&["operation", "tasks", "per second", "p50 µs", "p99 µs"]);
        for row in &self.rows {
            rows.add_row([
                row.operation.to_owned(),
                row.tasks.to_string(),
                row.per_second.to_string(),
                format!("{:.2}", row.p50_us),
                format!("{:.2}", row.p99_us),
            ]);
        }
        write!(text, "{rows}")?;
        if let Some(prefix) = prefix {
            write!(text, "\n\nThe keys of this run begin with {prefix} and end within an hour.")?;
        }
        Ok(text)
    }
}

/// Nanoseconds as the decimal text of microseconds, to a hundredth.
fn micros(ns: u64) -> String {
    let hundredths = ns.saturating_add(5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn nanoseconds_are_shown_as_microseconds_rounded_to_a_hundredth() {
        assert_eq!([micros(0), micros(2_414), micros(2_415), micros(1_000_000)], ["0.00", "2.41", "2.42", "1000.00"]);
    }
}
