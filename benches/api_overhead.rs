//! What the typed API costs: its throughput beside that of the bare redis crate sending the same EVALSHA.
//!
//! 64 tasks share one multiplexed connection, on each side its own. The sides take turns for several rounds; the table
//! holds the medians, and the ratio is the median of the rounds' ratios. `--json` prints it as one object, `--calls N`
//! sets the calls per round and side. Same server as the other benches.

// A measuring program: set-up that fails should end it, and throughput is no amount.
#![allow(clippy::expect_used, clippy::panic, clippy::float_arithmetic)]

mod cases;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Instant;

use cases::{CASES, Case, Fixture, Recorder};
use costguard::store::ScriptCall;
use redis::Value;
use redis::aio::MultiplexedConnection;

const TASKS: u32 = 64;
const ROUNDS: usize = 11;

/// The operations without an id: the bare side repeats one call, which with an id would only be looked up.
const COMPARED: [(&str, usize); 4] = [("charge", 1), ("admit", 3), ("admit, denied", 3), ("peek", 3)];

#[tokio::main]
async fn main() {
    let mut calls_per_round = 60_000;
    let mut json = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--calls" => {
                calls_per_round = args.next().and_then(|text| text.parse().ok()).expect("--calls needs a number");
            }
            // What `cargo bench` adds.
            "--bench" => {}
            _ => panic!("unknown option {arg}: there are --calls N and --json"),
        }
    }
    let url = support::server_url();
    let mut rows = Vec::new();
    for (name, limits) in COMPARED {
        let case = CASES.iter().find(|case| case.name == name && case.limits == limits).expect("a known operation");
        rows.push(compare(case, &url, calls_per_round / TASKS).await);
    }
    if json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{}", serde_json::json!({ "tasks": TASKS, "rows": rows }));
        return;
    }
    println!("{TASKS} tasks, one connection, {ROUNDS} rounds of {calls_per_round} calls a side");
    println!("{:<28} {:>12} {:>12} {:>7}", "operation", "bare/s", "costguard/s", "ratio");
    for Row { case, bare_per_second, typed_per_second, ratio } in &rows {
        println!("{:<28} {bare_per_second:>12.0} {typed_per_second:>12.0} {ratio:>7.3}", case.label());
    }
}

struct Row {
    case: &'static Case,
    bare_per_second: f64,
    typed_per_second: f64,
    ratio: f64,
}

impl Row {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "operation": self.case.label(),
            "bare_per_second": self.bare_per_second.round(),
            "costguard_per_second": self.typed_per_second.round(),
            "ratio": (self.ratio * 1000.0).round() / 1000.0,
        })
    }
}

async fn compare(case: &'static Case, url: &str, calls_per_task: u32) -> Row {
    let fixture = Arc::new(Fixture::connect(url).await);
    case.prepare(&fixture).await;
    let call = Arc::new(recorded(case).await);
    let connection = redis::Client::open(url)
        .expect("a Redis URL")
        .get_multiplexed_async_connection()
        .await
        .expect("the server answers");

    let (mut bare, mut typed, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Whoever goes second finds warmer caches: take turns.
        let order = if round % 2 == 0 { [true, false] } else { [false, true] };
        for is_bare in order {
            let started = Instant::now();
            if is_bare {
                run_bare(&connection, &call, calls_per_task).await;
            } else {
                run_typed(case, &fixture, calls_per_task).await;
            }
            let per_second = f64::from(TASKS * calls_per_task) / started.elapsed().as_secs_f64();
            if is_bare { bare.push(per_second) } else { typed.push(per_second) }
        }
        ratios.push(typed[round] / bare[round]);
    }
    Row { case, bare_per_second: median(bare), typed_per_second: median(typed), ratio: median(ratios) }
}

/// The call that the typed API sends for this operation.
async fn recorded(case: &Case) -> ScriptCall {
    let (recorder, fixture) = Recorder::fixture();
    case.prepare(&fixture).await;
    recorder.take().pop().expect("the operation sends a call")
}

async fn run_bare(connection: &MultiplexedConnection, call: &Arc<ScriptCall>, calls: u32) {
    on_all_tasks(|| {
        let (mut connection, call) = (connection.clone(), Arc::clone(call));
        async move {
            for _ in 0..calls {
                let mut command = redis::cmd("EVALSHA");
                command.arg(call.script.sha1()).arg(call.keys.len()).arg(&call.keys).arg(&call.args);
                let _: Value = command.query_async(&mut connection).await.expect("the script runs");
            }
        }
    })
    .await;
}

async fn run_typed(case: &'static Case, fixture: &Arc<Fixture>, calls: u32) {
    on_all_tasks(|| {
        let fixture = Arc::clone(fixture);
        async move {
            for _ in 0..calls {
                (case.call)(&fixture).await.expect("the operation runs");
            }
        }
    })
    .await;
}

async fn on_all_tasks<F: Future<Output = ()> + Send + 'static>(task: impl Fn() -> F) {
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(task())).collect();
    for task in tasks {
        task.await.expect("the task ends well");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
