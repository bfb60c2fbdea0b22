//! What each script costs inside the server: microseconds per call and the ratio to `EVALSHA` of `return 1`.
//!
//! Run it as `scripts/script-cost [--runs N] [--rounds N] [--server PATH] [--json]`. It starts a private server, lets the
//! typed API write each call, sends those calls through one connection in pipelines, checks every reply, and reads
//! the server's own `INFO commandstats`. Nothing of the client or the network is in these numbers.
//!
//! The floor is measured right before and after the calls of an operation, as often as these, and a round's ratio is taken to
//! those two, so that a machine that slows down for a while moves both. The table holds the medians over the rounds. The server
//! is emptied before each operation, and each call with an id has an id of its own: its receipt is written, as in life.
//! Calls are recorded before they are sent, so that the server is as busy with them as it is with the floor.

// A measuring program: set-up that fails should end it, and microseconds are no amounts.
#![allow(clippy::expect_used, clippy::panic, clippy::float_arithmetic)]

mod cases;
#[path = "../tests/support/mod.rs"]
mod support;

use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cases::{CASES, Case, Fixture, Recorder};
use costguard::store::ScriptCall;
use redis::{Connection, Pipeline, Value};
use serde::Serialize;
use support::Server;

/// Commands per pipeline: enough to keep the server busy, few enough for its buffers.
const PIPELINE: usize = 500;

/// Calls that are recorded before they are sent. What pauses is slow at first, and the floor is measured without pauses.
const AHEAD: usize = 10 * PIPELINE;

/// How many other holds are open while the operations on holds are measured.
const HOLDS: [u64; 2] = [0, 100_000];

/// What [`ServerBench::holds`] measures.
const HOLD_OPERATIONS: [&str; 3] = ["reserve", "reserve, denied", "settle"];

struct Options {
    runs: u64,
    rounds: u64,
    server: Option<PathBuf>,
    json: bool,
}

/// One line of the table: an operation and its cost in each round.
struct Row {
    name: &'static str,
    limits: usize,
    holds: u64,
    us: Vec<f64>,
    ratios: Vec<f64>,
}

impl Row {
    fn new(name: &'static str, limits: usize, holds: u64) -> Self {
        Self { name, limits, holds, us: Vec::new(), ratios: Vec::new() }
    }

    fn add(&mut self, cost: Cost, runs: u64) {
        self.us.push(cost.us / runs as f64);
        self.ratios.push(cost.us / cost.floor_us);
    }
}

/// What some calls took in all, in microseconds, and what as many of the floor took around them.
#[derive(Clone, Copy, Default)]
struct Cost {
    us: f64,
    floor_us: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.us += other.us;
        self.floor_us += other.floor_us;
    }
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
    let mut rows: Vec<Row> = CASES.iter().map(|case| Row::new(case.name, case.limits, 0)).collect();
    let mut hold_rows = HOLDS.map(|holds| HOLD_OPERATIONS.map(|name| Row::new(name, 3, holds)));
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for (case, row) in CASES.iter().zip(&mut rows) {
            row.add(bench.case(case, per_round), per_round);
        }
        for (holds, rows) in HOLDS.into_iter().zip(&mut hold_rows) {
            let costs = bench.holds(holds, per_round);
            rows.iter_mut().zip(costs).for_each(|(row, cost)| row.add(cost, per_round));
        }
    }
    rows.extend(hold_rows.into_iter().flatten());
    let floor_us = median(&mut bench.floors);
    let report =
        Report { server: &bench.name, floor_us: rounded(floor_us), rows: rows.iter_mut().map(ReportRow::of).collect() };
    if options.json {
        println!("{}", serde_json::to_string(&report).expect("a report is JSON"));
    } else {
        print_table(&report, per_round * options.rounds);
    }
}

/// What this records, with time enough to send it before a window or a bucket that it names is over.
fn recorded<const N: usize>(record: impl Fn() -> [Vec<ScriptCall>; N]) -> [Vec<ScriptCall>; N] {
    loop {
        let calls = record();
        let left = calls.iter().flatten().map(time_left).min().unwrap_or(Duration::MAX);
        if left > Duration::from_secs(3) {
            return calls;
        }
        std::thread::sleep(left);
    }
}

/// For how long the windows and buckets of a call are the right ones.
fn time_left(call: &ScriptCall) -> Duration {
    let place = call.script.contract().args.split(", ").position(|arg| arg == "earliest_end_s");
    // A decision over no counters says no windows.
    let Some(place) = place.filter(|_| !call.args[0].is_empty()) else { return Duration::MAX };
    let end = Duration::from_secs(call.args[place].parse().expect("a window ends at a second"));
    end.saturating_sub(std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970"))
}

/// A private server and the connection that keeps it busy.
struct ServerBench {
    connection: Connection,
    name: String,
    runtime: tokio::runtime::Runtime,
    floor_sha1: String,
    knows_shebang: bool,
    /// What the floor took per call, each time.
    floors: Vec<f64>,
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
        Self { connection, name, runtime, floor_sha1, knows_shebang, floors: Vec::new() }
    }

    /// The microseconds of so many calls of the floor.
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
        let usec = self.usec(runs);
        self.floors.push(usec / runs as f64);
        usec
    }

    fn case(&mut self, case: &'static Case, runs: u64) -> Cost {
        let (recorder, fixture) = self.start_over();
        self.runtime.block_on(case.prepare(&fixture));
        self.run(None, &recorder.take());
        let mut cost = Cost::default();
        for first in (0..runs).step_by(AHEAD) {
            let record = || {
                for _ in first..runs.min(first + AHEAD as u64) {
                    self.runtime.block_on((case.call)(&fixture)).expect("the embedded store takes the operation");
                }
                [recorder.take()]
            };
            let [calls] = recorded(record);
            cost += self.run_measured(case.status, &calls);
        }
        cost
    }

    /// The operations on holds while `open` other holds are open, in the order of [`HOLD_OPERATIONS`]. Those that are measured
    /// are settled before there are more than [`AHEAD`] of them.
    fn holds(&mut self, open: u64, runs: u64) -> [Cost; 3] {
        let (recorder, fixture) = self.start_over();
        for first in (0..open).step_by(AHEAD) {
            let record = || {
                for n in first..open.min(first + AHEAD as u64) {
                    // 10 to 40 minutes: they end in many buckets.
                    let ttl = Duration::from_secs(600 + 60 * (n % 30));
                    self.runtime.block_on(fixture.reserve(ttl)).forget();
                }
                [recorder.take()]
            };
            let [calls] = recorded(record);
            self.run(Some("GRANTED"), &calls);
        }
        let mut costs = [Cost::default(); 3];
        for first in (0..runs).step_by(AHEAD) {
            let calls = runs.min(first + AHEAD as u64) - first;
            let record = || {
                let ttl = Duration::from_secs(600);
                let held: Vec<_> = (0..calls).map(|_| self.runtime.block_on(fixture.reserve(ttl))).collect();
                let reserves = recorder.take();
                (0..calls).for_each(|_| self.runtime.block_on(fixture.reserve_denied()));
                let denials = recorder.take();
                held.into_iter().for_each(|hold| self.runtime.block_on(fixture.settle(hold)));
                [reserves, denials, recorder.take()]
            };
            let [reserves, denials, mut settlements] = recorded(record);
            let before = self.held(&reserves[0]);
            costs[0] += self.run_measured("GRANTED", &reserves);
            costs[1] += self.run_measured("DENIED", &denials);
            self.take_over_records(&mut settlements);
            costs[2] += self.run_measured("SETTLED", &settlements);
            // A settlement that misses its hold's bucket is answered alike, and costs something else.
            assert_eq!(self.held(&reserves[0]), before, "a settled hold is held no more");
        }
        costs
    }

    /// What is held beside the counters of a reservation over three limits.
    fn held(&mut self, reserve: &ScriptCall) -> Vec<u64> {
        let held: Vec<Option<u64>> =
            redis::cmd("MGET").arg(&reserve.keys[3..6]).query(&mut self.connection).expect("amounts are integers");
        held.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// A settlement sends the record that its handle knows; the server's own differs from the recorder's in its times.
    fn take_over_records(&mut self, calls: &mut [ScriptCall]) {
        let holds: Vec<_> = calls.iter().map(|call| call.keys[(call.keys.len() - 1) / 3 * 2].as_str()).collect();
        let records: Vec<String> =
            redis::cmd("MGET").arg(holds).query(&mut self.connection).expect("every hold is there");
        for (call, record) in calls.iter_mut().zip(records) {
            let words: Vec<_> = record.split(' ').collect();
            let number = |word: &str| word.parse::<u64>().expect("a time in a record is a number");
            let expires_ms = number(words[2]) * 1000 + number(words[3]) / 1000 + number(words[4]);
            let bucket_ms = words[5].to_owned();
            call.args.splice(1..4, [record, bucket_ms, expires_ms.to_string()]);
        }
    }

    /// An empty server, and the fixture that writes the calls for it.
    fn start_over(&mut self) -> (Arc<Recorder>, Fixture) {
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut self.connection).expect("FLUSHALL answers");
        Recorder::fixture()
    }

    fn run_measured(&mut self, status: &str, calls: &[ScriptCall]) -> Cost {
        let runs = calls.len() as u64;
        let before = self.floor(runs);
        self.reset();
        self.run(Some(status), calls);
        let us = self.usec(runs);
        Cost { us, floor_us: (before + self.floor(runs)) / 2.0 }
    }

    /// Sends recorded calls and checks that each was answered as expected: the cost of an error is not the cost asked for.
    fn run(&mut self, status: Option<&str>, calls: &[ScriptCall]) {
        let pipeline = |calls: &[ScriptCall]| {
            let mut pipeline = Pipeline::new();
            for call in calls {
                let sha1 = if self.knows_shebang { call.script.sha1() } else { call.script.plain_sha1() };
                pipeline.cmd("EVALSHA").arg(sha1).arg(call.keys.len()).arg(&call.keys).arg(&call.args);
            }
            pipeline
        };
        let pipelines: Vec<_> = calls.chunks(PIPELINE).map(pipeline).collect();
        let replies = pipelines.iter().flat_map(|pipeline| self.send(pipeline)).collect::<Vec<_>>();
        for (reply, call) in replies.iter().zip(calls) {
            let word = status_word(reply);
            let is_right = word.is_some() && status.is_none_or(|status| word == Some(status));
            assert!(is_right, "{}: the server answered {reply:?}", call.script.name());
        }
    }

    fn send(&mut self, pipeline: &Pipeline) -> Vec<Value> {
        pipeline.query(&mut self.connection).expect("the server runs the pipeline")
    }

    fn reset(&mut self) {
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut self.connection).expect("CONFIG RESETSTAT answers");
    }

    /// The microseconds of the calls since the last reset.
    fn usec(&mut self, runs: u64) -> f64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connection).expect("INFO answers");
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).expect("EVALSHA was counted");
        let field = |name: &str| line.split(',').find_map(|field| field.strip_prefix(name)).expect("a known field");
        assert_eq!(field("calls="), runs.to_string(), "every call was counted");
        field("usec=").parse::<f64>().expect("a number")
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// What is printed, as a table or with `--json` as it is.
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
    holds: u64,
    us: f64,
    ratio: f64,
}

impl ReportRow {
    fn of(row: &mut Row) -> Self {
        let (us, ratio) = (rounded(median(&mut row.us)), rounded(median(&mut row.ratios)));
        Self { name: row.name, limits: row.limits, holds: row.holds, us, ratio }
    }
}

fn print_table(report: &Report<'_>, runs: u64) {
    println!("{}, {runs} calls each; floor: EVALSHA of `return 1`, {:.2} us", report.server, report.floor_us);
    println!("{:<24} {:>6} {:>7} {:>8} {:>7}", "operation", "limits", "holds", "us", "ratio");
    for ReportRow { name, limits, holds, us, ratio } in &report.rows {
        println!("{name:<24} {limits:>6} {holds:>7} {us:>8.2} {ratio:>7.2}");
    }
    println!("\nEvery call with an id, and every hold, has an id of its own: a repeated one would only be looked up.");
}

/// Three decimals: more would pretend to know more.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
