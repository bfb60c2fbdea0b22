//! What each script costs inside the server: microseconds per call and the ratio to `EVALSHA` of `return 1`.
//!
//! Run it as `scripts/script-cost [--runs N] [--rounds N] [--server PATH] [--json]`. It starts a private server, lets the
//! typed API write each call, sends those calls through one connection in pipelines, checks every reply, and reads
//! the server's own `INFO commandstats`. Nothing of the client or the network is in these numbers.
//!
//! The floor is measured before and after each operation of each round, and a round's ratio is taken to those two, so
//! that a machine that slows down for a while moves both. The table holds the medians over the rounds. The server
//! is emptied before each operation, and each call with an id has an id of its own: its receipt is written, as in life.

// A measuring program: set-up that fails should end it, and microseconds are no amounts.
#![allow(clippy::expect_used, clippy::panic, clippy::float_arithmetic)]

mod cases;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use cases::{CASES, Case, Recorder};
use costguard::store::ScriptCall;
use redis::{Connection, Pipeline, Value};
use serde::Serialize;
use support::Server;

/// Commands per pipeline: enough to keep the server busy, few enough for its buffers.
const PIPELINE: usize = 500;

struct Options {
    runs: u64,
    rounds: u64,
    server: Option<PathBuf>,
    json: bool,
}

/// The medians over the rounds.
struct Row {
    case: &'static Case,
    us: f64,
    ratio: f64,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(options) => measure(&options),
        Err(message) => {
            eprintln!(
                "script-cost: {message}\nusage: scripts/script-cost [--runs N] [--rounds N] [--server PATH] [--json]"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { runs: 200_000, rounds: 10, server: None, json: false };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--runs" => options.runs = number(&value()?)?,
            "--rounds" => options.rounds = number(&value()?)?,
            "--server" => options.server = Some(PathBuf::from(value()?)),
            "--json" => options.json = true,
            // What `cargo bench` adds.
            "--bench" => {}
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or(format!("{text:?} is not a positive whole number"))
}

fn measure(options: &Options) {
    let server = match &options.server {
        Some(program) => Server::start_process(program, &[]),
        None => Server::start(),
    };
    let mut bench = ServerBench::connect(&server);
    let per_round = options.runs.div_ceil(options.rounds);
    let mut floors = Vec::new();
    let mut samples: Vec<Vec<(f64, f64)>> = CASES.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for (case, samples) in CASES.iter().zip(&mut samples) {
            let before = bench.floor(per_round);
            let us = bench.case(case, per_round);
            let after = bench.floor(per_round);
            floors.extend([before, after]);
            samples.push((us, us * 2.0 / (before + after)));
        }
    }
    let floor_us = median(floors);
    let rows: Vec<Row> = CASES
        .iter()
        .zip(samples)
        .map(|(case, samples)| {
            let (us, ratios) = samples.into_iter().unzip();
            Row { case, us: median(us), ratio: median(ratios) }
        })
        .collect();
    if options.json {
        print_json(&bench.name, floor_us, &rows);
    } else {
        print_table(&bench.name, floor_us, &rows, per_round * options.rounds);
    }
}

/// A private server and the connection that keeps it busy.
struct ServerBench {
    connection: Connection,
    name: String,
    runtime: tokio::runtime::Runtime,
    floor_sha1: String,
    knows_shebang: bool,
}

impl ServerBench {
    fn connect(server: &Server) -> Self {
        let client = redis::Client::open(server.url()).expect("the server's URL is well formed");
        let mut connection = client.get_connection().expect("the server accepts connections");
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection).expect("INFO answers");
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let version = field("valkey_version").map(|version| format!("Valkey {version}"));
        let compatible = field("redis_version").expect("INFO names the version");
        let name = version.unwrap_or_else(|| format!("Redis {compatible}"));
        let knows_shebang = compatible.split('.').next().and_then(|major| major.parse::<u32>().ok()) >= Some(7);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let floor_sha1 = load(&mut connection, "return 1");
        for script in costguard::script::all() {
            load(&mut connection, if knows_shebang { script.text() } else { script.plain_text() });
        }
        Self { connection, name, runtime, floor_sha1, knows_shebang }
    }

    fn floor(&mut self, runs: u64) -> f64 {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.floor_sha1).arg(0);
        self.reset();
        for first in (0..runs).step_by(PIPELINE) {
            let mut pipeline = Pipeline::new();
            for _ in first..runs.min(first + PIPELINE as u64) {
                pipeline.add_command(call.clone());
            }
            self.send(&pipeline);
        }
        self.usec_per_call(runs)
    }

    fn case(&mut self, case: &'static Case, runs: u64) -> f64 {
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut self.connection).expect("FLUSHALL answers");
        let (recorder, fixture) = Recorder::fixture();
        self.runtime.block_on(case.prepare(&fixture));
        self.run(case, None, &recorder.take());
        self.reset();
        for first in (0..runs).step_by(PIPELINE) {
            for _ in first..runs.min(first + PIPELINE as u64) {
                self.runtime.block_on((case.call)(&fixture)).expect("the embedded store takes the operation");
            }
            self.run(case, Some(case.status), &recorder.take());
        }
        self.usec_per_call(runs)
    }

    /// Sends recorded calls and checks that each was answered as expected: the cost of an error is not the cost asked for.
    fn run(&mut self, case: &Case, status: Option<&str>, calls: &[ScriptCall]) {
        let mut pipeline = Pipeline::new();
        for call in calls {
            let sha1 = if self.knows_shebang { call.script.sha1() } else { call.script.plain_sha1() };
            pipeline.cmd("EVALSHA").arg(sha1).arg(call.keys.len()).arg(&call.keys).arg(&call.args);
        }
        for reply in self.send(&pipeline) {
            let word = status_word(&reply).unwrap_or_else(|| panic!("{}: the server answered {reply:?}", case.name));
            assert!(status.is_none_or(|status| status == word), "{}: the server answered {reply:?}", case.name);
        }
    }

    fn send(&mut self, pipeline: &Pipeline) -> Vec<Value> {
        pipeline.query(&mut self.connection).expect("the server runs the pipeline")
    }

    fn reset(&mut self) {
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut self.connection).expect("CONFIG RESETSTAT answers");
    }

    fn usec_per_call(&mut self, runs: u64) -> f64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connection).expect("INFO answers");
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).expect("EVALSHA was counted");
        let field = |name: &str| line.split(',').find_map(|field| field.strip_prefix(name)).expect("a known field");
        assert_eq!(field("calls="), runs.to_string(), "every call was counted");
        field("usec=").parse::<f64>().expect("a number") / runs as f64
    }
}

/// The word that a reply begins with, be it a line or an array; `None` for an error.
fn status_word(reply: &Value) -> Option<&str> {
    match reply {
        Value::BulkString(line) => std::str::from_utf8(line).ok()?.split(' ').next(),
        Value::Array(parts) => parts.first().and_then(status_word),
        _ => None,
    }
}

fn load(connection: &mut Connection, text: &str) -> String {
    redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection).expect("the server takes the script")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn print_table(server: &str, floor_us: f64, rows: &[Row], runs: u64) {
    println!("{server}, {runs} calls each; floor: EVALSHA of `return 1`, {floor_us:.2} us");
    println!("{:<24} {:>6} {:>7} {:>8} {:>7}", "operation", "limits", "holds", "us", "ratio");
    for Row { case, us, ratio } in rows {
        println!("{:<24} {:>6} {:>7} {us:>8.2} {ratio:>7.2}", case.name, case.limits, case.holds);
    }
    println!(
        "\"with id\": every call has an id of its own, so each writes a receipt; a repeated id would only read one."
    );
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    server: &'a str,
    floor_us: f64,
    rows: Vec<ReportRow>,
}

#[derive(Serialize)]
struct ReportRow {
    name: &'static str,
    limits: usize,
    holds: usize,
    us: f64,
    ratio: f64,
}

fn print_json(server: &str, floor_us: f64, rows: &[Row]) {
    let rows = rows
        .iter()
        .map(|Row { case, us, ratio }| ReportRow {
            name: case.name,
            limits: case.limits,
            holds: case.holds,
            us: rounded(*us),
            ratio: rounded(*ratio),
        })
        .collect();
    let report = Report { server, floor_us: rounded(floor_us), rows };
    println!("{}", serde_json::to_string(&report).expect("a report is JSON"));
}

/// Three decimals: more would pretend to know more.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
