//! `costguard replay`, run as its users run it.
#![cfg(feature = "cli")]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Output;

use assert_cmd::cargo::cargo_bin_cmd;
use serde_json::Value;

const SAMPLE: [&str; 6] =
    ["examples/sample-log.csv", "--policy", "examples/policy.toml", "--prices", "examples/prices.json", "--json"];

fn replay<'a>(args: impl IntoIterator<Item = &'a str>) -> Output {
    replay_with_input(args, "")
}

fn replay_with_input<'a>(args: impl IntoIterator<Item = &'a str>, input: &str) -> Output {
    let mut command = cargo_bin_cmd!("costguard");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("replay").args(args).write_stdin(input.to_owned());
    command.output().expect("the program runs")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("one JSON object")
}

/// A replay that must fail: nothing on standard output, and the error told.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "half a report: {}", String::from_utf8_lossy(&output.stdout));
    stderr(output)
}

/// A folder with a policy of one limit, and the log and prices that a test writes there.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(limit: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("folder"));
        folder.write(
            "policy.toml",
            &format!("[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '{limit}'\nper = 'day'\n"),
        );
        folder.write("prices.json", r#"{"m": {"input_cost_per_token": 1e-3, "output_cost_per_token": 2e-3}}"#);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("written");
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn replay(&self, log: &str, input: &str, more: &[&str]) -> Output {
        let (log, policy, prices) = (
            if log == "-" { log.to_owned() } else { self.path(log) },
            self.path("policy.toml"),
            self.path("prices.json"),
        );
        let args = [log.as_str(), "--policy", &policy, "--prices", &prices, "--json"];
        replay_with_input(args.into_iter().chain(more.iter().copied()), input)
    }
}

const FOUR_CALLS: &str = "ts,user,model,input_tokens,output_tokens\n\
    1700000000,alice,m,100,50\n\
    1700000001,bob,m,100,0\n\
    1700000002,alice,m,500,0\n\
    1700100000,alice,m,500,0\n";

#[test]
fn the_sample_is_replayed_from_a_bare_clone() {
    let table = stdout(&replay(SAMPLE[..5].iter().copied()));
    let (table, speed) = table.trim_end().rsplit_once('\n').expect("several lines");
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(table.join("\n"));
    assert!(speed.starts_with("169 decisions in ") && speed.ends_with(" per second"), "{speed}");
}

#[test]
fn json_has_every_promised_field() {
    let report = json(&replay(SAMPLE));
    for field in ["requests", "granted", "denied", "spent_nanos", "refused_nanos", "elapsed_ms", "decisions_per_second"]
    {
        assert!(report[field].is_u64(), "{field}: {}", report[field]);
    }
    assert_eq!(report["store"], "embedded");
    assert_eq!(report["requests"].as_u64(), Some(169));
    let sum = |field: &str| {
        report["models"].as_array().expect("models").iter().map(|m| m[field].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!(Some(sum("spent_nanos")), report["spent_nanos"].as_i64());
    assert_eq!(Some(sum("refused_nanos")), report["refused_nanos"].as_i64());
    let limits = report["limits"].as_array().expect("limits");
    assert_eq!(limits.len(), 3);
    for limit in limits {
        assert!(limit["used"].as_i64() <= limit["limit"].as_i64(), "{limit}");
        assert!(limit["first_denied_at"].as_str() <= limit["last_denied_at"].as_str(), "{limit}");
        assert!(limit["first_denied_at"].is_string() && limit["longest_stretch"]["calls"].is_u64(), "{limit}");
    }
}

#[test]
fn a_limit_is_never_passed_and_starts_over_with_its_window() {
    let folder = Folder::new("0.65");
    folder.write("log.csv", FOUR_CALLS);
    let decisions = folder.path("decisions.csv");
    let report = json(&folder.replay("log.csv", "", &["--decisions", &decisions]));
    assert_eq!(
        std::fs::read_to_string(decisions).unwrap(),
        "line,decision,refused_by,shadowed_by\n2,granted,,\n3,granted,,\n4,denied,1,\n5,granted,,\n"
    );
    assert_eq!(
        (report["spent_nanos"].as_i64(), report["refused_nanos"].as_i64()),
        (Some(800_000_000), Some(500_000_000))
    );
    let limit = &report["limits"][0];
    assert_eq!((limit["used"].as_i64(), limit["denied"].as_i64()), (Some(500_000_000), Some(1)));
    assert_eq!((&limit["used_by"], &limit["used_in"]), (&"user:alice".into(), &"2023-11-16".into()));
    assert_eq!(limit["first_denied_at"], "2023-11-14T22:13:22.000Z");
}

#[test]
fn json_lines_are_read_from_standard_input() {
    let folder = Folder::new("1");
    let input = "{\"created\":1700000000,\"model\":\"m\",\"user\":\"a\",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n";
    let report = json(&folder.replay("-", input, &[]));
    assert_eq!((&report["log"], report["spent_nanos"].as_i64()), (&"<stdin>".into(), Some(11_000_000)));
}

#[test]
fn a_bad_row_stops_the_replay_and_leaves_nothing_behind() {
    let folder = Folder::new("1");
    folder.write("log.csv", &FOUR_CALLS.replace("500,0\n1700100000", "5oo,0\n1700100000"));
    let outputs = [folder.path("plot.svg"), folder.path("decisions.csv")];
    let error = failure(&folder.replay("log.csv", "", &["--plot", &outputs[0], "--decisions", &outputs[1]]));
    for part in [&folder.path("log.csv"), "line 4, column \"input_tokens\"", "\"5oo\"", "--skip-bad-rows"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    let mut left: Vec<_> =
        std::fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["log.csv", "policy.toml", "prices.json"]);
}

#[test]
fn bad_rows_are_counted_and_skipped_on_request() {
    let folder = Folder::new("1");
    folder.write("log.csv", &FOUR_CALLS.replace("500,0\n1700100000", "5oo,0\nlater"));
    let report = json(&folder.replay("log.csv", "", &["--skip-bad-rows"]));
    assert_eq!((report["requests"].as_u64(), report["bad_rows"].as_u64()), (Some(2), Some(2)));
    folder.write("log.csv", "ts,user,model,input_tokens,output_tokens\nx,x,x,x,x\n");
    assert!(failure(&folder.replay("log.csv", "", &["--skip-bad-rows"])).contains("no row could be used, 1 were bad"));
}

#[test]
fn an_unknown_model_is_an_error_that_names_the_nearest_or_is_skipped_or_charged() {
    let folder = Folder::new("10");
    folder.write("prices.json", r#"{"gpt-4o": {"input_cost_per_token": 1e-3, "output_cost_per_token": 2e-3}}"#);
    folder.write("log.csv", &FOUR_CALLS.replace("bob,m,", "bob,gpt-4oo,").replace(",m,", ",gpt-4o,"));
    let error = failure(&folder.replay("log.csv", "", &[]));
    for part in ["line 3", "gpt-4oo", "gpt-4o", "--unknown-model skip"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    let skipped = json(&folder.replay("log.csv", "", &["--unknown-model", "skip"]));
    assert_eq!((skipped["requests"].as_u64(), skipped["unknown_models"].as_u64()), (Some(3), Some(1)));
    let charged = json(&folder.replay("log.csv", "", &["--unknown-model", "charge=0.05"]));
    let plain = skipped["spent_nanos"].as_i64().unwrap();
    assert_eq!(charged["spent_nanos"].as_i64(), Some(plain + 50_000_000));
}

#[test]
fn costs_come_from_the_log_when_no_prices_are_given() {
    let folder = Folder::new("1");
    let policy = folder.path("policy.toml");
    let log = "time,user,cost\n2024-01-01 00:00:00,a,0.4\n2024-01-01 00:00:01,a,0.6\n2024-01-01 00:00:02,a,1e-9\n";
    let report = json(&replay_with_input(["-", "--policy", &policy, "--json"], log));
    assert_eq!((report["granted"].as_u64(), report["refused_nanos"].as_i64()), (Some(2), Some(1)));
}

#[test]
fn tokens_may_come_as_one_number() {
    let folder = Folder::new("1");
    let policy = folder.path("policy.toml");
    folder.write("policy.toml", "[[limit]]\nscope = 'user'\nmeter = 'tokens'\nlimit = 100\nper = 'day'\n");
    let replayed = |args: &[&str], log: &str| {
        let args = [&["-", "--policy", &policy, "--json"], args].concat();
        replay_with_input(args, log)
    };
    let counts = |report: Value| (report["granted"].as_u64(), report["denied"].as_u64());
    for column in ["total_tokens", "tokens", "Total Tokens"] {
        let log = format!(
            "time,user,cost,{column}\n2024-01-01 00:00:00,a,0.4,60\n2024-01-01 00:00:01,a,0.4,60\n\
             2024-01-01 00:00:02,a,0.4,40\n"
        );
        assert_eq!(counts(json(&replayed(&[], &log))), (Some(2), Some(1)), "{column}");
        assert_eq!(counts(json(&replayed(&["--reserve", "--latency", "0s"], &log))), (Some(2), Some(1)), "{column}");
        let other = log.replace(column, "size");
        assert_eq!(counts(json(&replayed(&["--column", "total=size"], &other))), (Some(2), Some(1)));
        let error = failure(&replayed(&[], &other));
        assert!(error.contains("--amount tokens=@COLUMN"), "{error}");
        let error = failure(&replayed(&[], &log.replace(",40", ",many")));
        assert!(error.contains("line 4") && error.contains("not a whole number of tokens"), "{error}");
    }
    let object = "{\"time\":\"2024-01-01 00:00:00\",\"user\":\"a\",\"cost\":0.4,\"total_tokens\":60}\n";
    assert_eq!(counts(json(&replayed(&[], &object.repeat(2)))), (Some(1), Some(1)));
    // Input and output say more, and where nobody counts tokens nobody reads them.
    let split = "time,user,cost,input_tokens,output_tokens,total_tokens\n2024-01-01 00:00:00,a,0.4,60,30,900\n";
    assert_eq!(counts(json(&replayed(&[], split))), (Some(1), Some(0)));
    let folder = Folder::new("1");
    let log = "time,user,cost,tokens\n2024-01-01 00:00:00,a,0.4,secret\n";
    let policy = folder.path("policy.toml");
    let args = ["-", "--policy", &policy, "--json"];
    assert_eq!(counts(json(&replay_with_input(args, log))), (Some(1), Some(0)));
    let unread = failure(&replay_with_input([&args[..], &["--column", "total=tokens"]].concat(), log));
    assert!(unread.contains("--column total is for policies that limit tokens"), "{unread}");
}

#[test]
fn scopes_and_amounts_come_from_options_and_columns() {
    let folder = Folder::new("1");
    folder.write(
        "policy.toml",
        "[[limit]]\nscope = 'team'\nmeter = 'assessments'\nlimit = 3\nper = 'total'\n\
         [[limit]]\nscope = 'model'\nmeter = 'tokens'\nper = 'day'\n",
    );
    folder.write("log.csv", "ts,squad,done,input_tokens,output_tokens\n1,red,2,1,1\n2,red,2,1,1\n3,blue,2,1,1\n");
    let needs = failure(&folder.replay("log.csv", "", &["--model", "m", "--scope", "team=@squad"]));
    assert!(needs.contains("--amount assessments=1"), "{needs}");
    let needs = failure(&folder.replay("log.csv", "", &["--model", "m", "--amount", "assessments=1"]));
    assert!(needs.contains("--scope team=@COLUMN"), "{needs}");
    let both = ["--model", "m", "--scope", "team=@squad", "--amount", "assessments=@done"];
    let lost = failure(&folder.replay("log.csv", "", &[&both[..], &["--amount", "pages=5"]].concat()));
    assert!(lost.contains("nothing here counts pages, so that amount would be lost"), "{lost}");
    let report = json(&folder.replay("log.csv", "", &both));
    assert_eq!((report["granted"].as_u64(), report["denied"].as_u64()), (Some(2), Some(1)));
    assert_eq!(report["limits"][1]["limit"], Value::Null);
    assert_eq!((&report["limits"][1]["used_by"], report["limits"][1]["used"].as_u64()), (&"model:m".into(), Some(4)));
}

#[test]
fn a_plot_is_drawn_where_it_is_asked_for() {
    let folder = Folder::new("1");
    let plot = folder.path("plot.svg");
    assert!(replay(SAMPLE.into_iter().chain(["--plot", &plot])).status.success());
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("user cost per day: at most 1.25, 5 denied"));
}

#[test]
fn no_output_overwrites_an_input_or_another_output() {
    let folder = Folder::new("1");
    folder.write("log.csv", FOUR_CALLS);
    std::fs::create_dir(folder.0.path().join("sub")).unwrap();
    let detour = |name: &str| folder.path(&format!("sub/../{name}"));
    for (more, told) in [
        (["--plot", &folder.path("log.csv")].to_vec(), "is the file of LOG, too: name another"),
        (["--decisions", &detour("policy.toml")].to_vec(), "is the file of --policy, too"),
        (["--decisions", &detour("prices.json")].to_vec(), "is the file of --prices, too"),
        (["--plot", &folder.path("new"), "--decisions", &detour("new")].to_vec(), "is the file of --plot, too"),
    ] {
        let before = std::fs::read_to_string(folder.path("log.csv")).unwrap();
        let output = folder.replay("log.csv", "", &more);
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(std::fs::read_to_string(folder.path("log.csv")).unwrap(), before);
    }
    assert!(folder.replay("log.csv", "", &["--plot", "/dev/null", "--decisions", "/dev/null"]).status.success());
}

#[test]
fn scopes_that_are_not_listed_are_counted() {
    let folder = Folder::new("1");
    let users: String = (0..13).map(|user| format!("1700000000,user{user},m,1,0\n")).collect();
    folder.write("log.csv", &format!("ts,user,model,input_tokens,output_tokens\n{users}"));
    let report = json(&folder.replay("log.csv", "", &[]));
    assert_eq!((report["scopes"].as_array().unwrap().len(), &report["scopes_left_out"]), (10, &3.into()));
}

#[test]
fn a_pipe_gets_no_progress_bar_and_is_told_the_store() {
    let output = replay(SAMPLE);
    assert!(!output.stderr.contains(&0x1b) && !output.stdout.contains(&0x1b));
    assert!(stderr(&output).contains("embedded engine"));
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    for (args, expected) in [
        (vec!["examples/none.csv", "--policy", "examples/policy.toml"], "examples/none.csv"),
        (vec!["examples/sample-log.csv", "--policy", "examples/none.toml"], "examples/none.toml"),
        (vec!["examples/sample-log.csv", "--policy", "examples/policy.toml"], "give --prices FILE"),
        (vec!["examples", "--policy", "examples/policy.toml"], "is a folder"),
    ] {
        let error = failure(&replay(args));
        assert!(error.contains(expected), "{expected:?} is not in: {error}");
    }
}

#[test]
fn embedded_and_server_decide_the_same_on_every_row_of_the_sample() {
    same_decisions(&SAMPLE[..5], 169);
}

#[test]
#[ignore = "set COSTGUARD_REAL_DATA to the folder with the traces"]
fn real_data_costs_exactly_what_it_costs_and_both_stores_decide_the_same_on_every_row() {
    let data = std::env::var("COSTGUARD_REAL_DATA").expect("COSTGUARD_REAL_DATA names a folder");
    let data = Path::new(&data).canonicalize().expect("COSTGUARD_REAL_DATA names a folder that exists");
    let (log, prices) = (data.join("azure-llm-code-2023.csv"), data.join("model-prices.json"));
    let (log, prices) = (log.to_str().unwrap(), prices.to_str().unwrap());
    for (limit, spent_nanos) in [("1000.00", 57_868_362_000), ("10.00", 9_999_999_000)] {
        let folder = Folder::new(limit);
        let policy = folder.path("policy.toml");
        let args =
            [log, "--prices", prices, "--policy", &policy, "--model", "claude-sonnet-4-5", "--scope", "user=alice"];
        for report in same_decisions(&args, 8819) {
            assert_eq!(report["spent_nanos"].as_i64(), Some(spent_nanos));
        }
    }
}

/// Every kind of limit there is. The sample's calls come minutes apart, so rates are by the hour.
const MIXED: &str = "\
    [[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '0.50'\nper = 'day'\noverdraft = '0.05'\nwarn_at = [0.5, 0.9]\n\
    [[limit]]\nscope = 'user'\nrequests = 4\nper = 'hour'\nburst = 2\n\
    [[limit]]\nscope = 'model'\nmeter = 'tokens'\nlimit = 90000\nper = '2h'\nalgorithm = 'sliding'\n\
    [[limit]]\nscope = 'user'\nmeter = 'requests'\nlimit = 4\nper = '90m'\nalgorithm = 'log'\n\
    [[limit]]\nscope = 'user'\ntokens = 40000\nper = 'hour'\n\
    [[limit]]\nscope = 'global'\nmeter = 'requests'\nlimit = 6\nper = 'hour'\nmode = 'shadow'\n";

const CALLS_AT_ONCE: &str = "[[limit]]\nscope = 'user'\nconcurrency = 1\n";

fn sample_against(policy: &str) -> [&str; 5] {
    ["examples/sample-log.csv", "--policy", policy, "--prices", "examples/prices.json"]
}

#[test]
fn embedded_and_server_decide_the_same_by_limits_of_every_kind() {
    let folder = Folder::new("1");
    let policy = folder.path("policy.toml");
    folder.write("policy.toml", MIXED);
    let [report, _] = same_decisions(&sample_against(&policy), 169);
    for limit in report["limits"].as_array().unwrap() {
        let refused = limit["denied"].as_u64().unwrap() + limit["shadowed"].as_u64().unwrap();
        assert!(refused > 0, "every limit has a say: {limit}");
    }
    folder.write("policy.toml", &[MIXED, CALLS_AT_ONCE].concat());
    let args: Vec<_> = sample_against(&policy).into_iter().chain(["--reserve", "--latency", "10min"]).collect();
    let [report, server] = same_decisions(&args, 169);
    let calls = &report["limits"][6];
    assert!(calls["denied"].as_u64() > Some(0) && calls["used"] == 1, "{calls}");
    assert_eq!(calls["denied"], calls["denied_by_holds"], "nothing else stands in its way: {calls}");
    assert_eq!(report["reserve"], server["reserve"]);
}

#[test]
fn a_report_says_which_limit_bound_when_in_words_as_well() {
    let folder = Folder::new("1");
    let policy = folder.path("policy.toml");
    folder.write("policy.toml", &[MIXED, CALLS_AT_ONCE].concat());
    let plot = folder.path("plot.svg");
    let more = ["--reserve", "--latency", "10min", "--estimate-factor", "1.5", "--plot", &plot];
    let table = stdout(&replay(sample_against(&policy).into_iter().chain(more)));
    let (table, _) = table.trim_end().rsplit_once('\n').expect("several lines");
    let table = table.replace(&policy, "policy.toml");
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(table.join("\n"));
    let svg = std::fs::read_to_string(plot).unwrap();
    for part in [
        "at most 0.50 and 0.05, 2 denied",
        "4, 2 at once",
        "would be denied",
        "warning",
        "calls open at once",
        "in the bucket",
    ] {
        assert!(svg.contains(part), "{part:?} is not in the plot");
    }
}

/// A call every minute, of 0.10 and 100 tokens each.
fn minutely(calls: u32) -> String {
    let rows = (0..calls).map(|call| format!("{},alice,m,100,0\n", 1_700_000_040 + call * 60));
    ["ts,user,model,input_tokens,output_tokens\n".to_owned()].into_iter().chain(rows).collect()
}

#[test]
fn a_limit_that_bound_says_how_often_when_and_how_long_in_one_stretch() {
    let folder = Folder::new("1");
    // One leaks out every 6 minutes: calls 0, 1, 6, 12 and so on fit. The day allows five calls, and refuses for longer.
    folder.write(
        "policy.toml",
        "[[limit]]\nscope = 'user'\nrequests = 10\nper = 'hour'\nburst = 2\n\
         [[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '0.50'\nper = 'day'\nwarn_at = [0.6]\n",
    );
    folder.write("log.csv", &minutely(30));
    let report = json(&folder.replay("log.csv", "", &[]));
    let (rate, day) = (&report["limits"][0], &report["limits"][1]);
    assert_eq!((report["granted"].as_u64(), report["denied"].as_u64()), (Some(5), Some(25)));
    // Call 24 and the 5 after it are the day's; the rate refuses nothing of the bucket that nobody fills any more.
    assert_eq!((day["denied"].as_u64(), day["bound"].as_u64()), (Some(11), Some(11)));
    assert_eq!(day["longest_stretch"]["calls"].as_u64(), Some(11));
    assert_eq!(
        (&day["first_denied_at"], &day["last_denied_at"]),
        (&day["longest_stretch"]["from"], &day["longest_stretch"]["until"])
    );
    assert_eq!(rate["longest_stretch"]["calls"].as_u64(), Some(5));
    assert_eq!((&rate["used"], &rate["burst"]), (&2.into(), &2.into()));
    assert_eq!(rate["denied"].as_u64().unwrap() + day["bound"].as_u64().unwrap(), 25 + 5);
    let warning = &day["warnings"][0];
    assert_eq!((&warning["at"], &warning["crossed"]), (&"60%".into(), &1.into()));
    let hours: Vec<_> =
        report["busiest_hours"].as_array().unwrap().iter().map(|hour| hour["requests"].as_u64().unwrap()).collect();
    assert_eq!(hours, [30]);
}

#[test]
fn a_limit_in_shadow_mode_refuses_nothing_and_says_what_it_would_have() {
    let folder = Folder::new("1");
    folder.write(
        "policy.toml",
        "[[limit]]\nscope = 'user'\nmeter = 'requests'\nlimit = 4\nper = 'day'\nmode = 'shadow'\n",
    );
    folder.write("log.csv", &minutely(6));
    let decisions = folder.path("decisions.csv");
    let report = json(&folder.replay("log.csv", "", &["--decisions", &decisions]));
    let limit = &report["limits"][0];
    assert_eq!((report["granted"].as_u64(), &limit["denied"], &limit["shadowed"]), (Some(6), &0.into(), &2.into()));
    assert_eq!((&limit["mode"], &limit["longest_stretch"]["calls"]), (&"shadow".into(), &2.into()));
    let decisions = std::fs::read_to_string(decisions).unwrap();
    assert!(decisions.ends_with("5,granted,,\n6,granted,,1\n7,granted,,1\n"), "{decisions}");
}

#[test]
fn calls_open_at_once_need_an_end() {
    let folder = Folder::new("1");
    folder.write("policy.toml", CALLS_AT_ONCE);
    folder.write("log.csv", OVERLAPPING);
    let error = failure(&folder.replay("log.csv", "", &[]));
    assert!(error.contains("user concurrency open") && error.contains("add --reserve"), "{error}");
    let report = json(&folder.replay("log.csv", "", &["--reserve"]));
    assert_eq!((report["granted"].as_u64(), report["limits"][0]["denied"].as_u64()), (Some(2), Some(1)));
}

/// Replays on the embedded engine and on a server, compares every decision, and gives both reports.
fn same_decisions(args: &[&str], requests: u64) -> [Value; 2] {
    let folder = tempfile::tempdir().expect("folder");
    let url = support::server_url();
    let run = |name: &str, store: &[&str]| {
        let decisions = folder.path().join(name).to_str().unwrap().to_owned();
        let more = ["--json", "--decisions", &decisions];
        let report = json(&replay(args.iter().copied().chain(more).chain(store.iter().copied())));
        assert_eq!(report["requests"].as_u64(), Some(requests));
        (report, std::fs::read_to_string(decisions).unwrap())
    };
    let (embedded, embedded_decisions) = run("embedded.csv", &[]);
    let (server, server_decisions) = run("server.csv", &["--url", &url]);
    assert!(server["store"].as_str().unwrap().starts_with("redis://"), "{}", server["store"]);
    assert_eq!(embedded_decisions, server_decisions);
    for field in ["granted", "denied", "spent_nanos", "refused_nanos", "limits", "models", "scopes"] {
        assert_eq!(embedded[field], server[field], "{field}");
    }
    [embedded, server]
}

/// Calls of 0.10 each: alice's first two overlap for a second, the third begins as the second ends.
const OVERLAPPING: &str = "ts,user,model,input_tokens,output_tokens,duration_ms\n\
    1700000000,alice,m,100,0,2000\n\
    1700000001,alice,m,100,0,2000\n\
    1700000003,alice,m,100,0,2000\n";

#[test]
fn calls_that_overlap_compete_for_room_and_a_call_that_ends_makes_room_for_one_that_begins_then() {
    let folder = Folder::new("0.30");
    folder.write("log.csv", OVERLAPPING);
    let report = json(&folder.replay("log.csv", "", &["--reserve", "--estimate-factor", "2"]));
    assert_eq!((report["granted"].as_u64(), report["denied"].as_u64()), (Some(2), Some(1)));
    let reserve = &report["reserve"];
    assert_eq!((reserve["peak_held_nanos"].as_i64(), reserve["peak_calls"].as_u64()), (Some(200_000_000), Some(1)));
    assert_eq!((reserve["denied_by_holds"].as_u64(), reserve["longest_call_ms"].as_u64()), (Some(1), Some(2_000)));
    let limit = &report["limits"][0];
    assert_eq!((limit["peak_held"].as_i64(), limit["denied_by_holds"].as_u64()), (Some(200_000_000), Some(1)));
    assert_eq!((limit["overdraft"].as_i64(), limit["used"].as_i64()), (Some(0), Some(200_000_000)));

    // By what they cost: all fit, and two are under way at once, never three.
    let report = json(&folder.replay("log.csv", "", &["--reserve"]));
    assert_eq!((report["granted"].as_u64(), report["reserve"]["peak_calls"].as_u64()), (Some(3), Some(2)));
    assert_eq!(report["reserve"]["peak_held_nanos"].as_i64(), Some(200_000_000));
    let at_once = json(&folder.replay("log.csv", "", &["--reserve", "--latency", "1h"]));
    assert_eq!(at_once["reserve"]["peak_calls"].as_u64(), Some(3), "--latency counts and not the column");
    // A denial that nothing held has part in is not one by holds.
    let too_much = json(&folder.replay("log.csv", "", &["--reserve", "--estimate-factor", "4"]));
    assert_eq!((too_much["denied"].as_u64(), too_much["reserve"]["denied_by_holds"].as_u64()), (Some(3), Some(0)));
    // Without --reserve nobody looks at durations.
    folder.write("log.csv", &OVERLAPPING.replace("2000", "soon"));
    let plain = json(&folder.replay("log.csv", "", &[]));
    assert_eq!((plain.get("reserve"), plain["limits"][0].get("peak_held")), (None, None));
}

#[test]
fn only_estimates_below_the_truth_can_pass_a_limit() {
    let folder = Folder::new("0.25");
    folder.write("log.csv", OVERLAPPING);
    let overdraft = |more: &[&str]| {
        let report = json(&folder.replay("log.csv", "", &[&["--reserve"], more].concat()));
        (report["limits"][0]["overdraft"].as_i64().unwrap(), report["reserve"]["limits_overdrawn"].as_u64().unwrap())
    };
    for factor in ["1", "1.000000001", "1.5", "10"] {
        assert_eq!(overdraft(&["--estimate-factor", factor]), (0, 0), "{factor}");
    }
    assert_eq!(overdraft(&["--estimate-factor", "0.1", "--latency", "60s"]), (50_000_000, 1));
    assert_eq!(overdraft(&["--estimate-output", "0"]), (0, 0));
    let sample = SAMPLE.into_iter().chain(["--reserve", "--latency", "20min", "--estimate-output", "100000"]);
    let report = json(&replay(sample));
    assert_eq!(report["reserve"]["limits_overdrawn"].as_u64(), Some(0));
    assert!(report["reserve"]["denied_by_holds"].as_u64() > Some(0), "{}", report["reserve"]);
}

#[test]
fn a_limit_that_was_passed_within_its_overdraft_is_told_apart() {
    let folder = Folder::new("0.25");
    folder.write("log.csv", OVERLAPPING);
    let told = |overdraft: &str| {
        let policy = format!("[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '0.25'\nper = 'day'\n{overdraft}");
        folder.write("policy.toml", &policy);
        let more = ["--reserve", "--estimate-factor", "0.1", "--latency", "60s"];
        let report = json(&folder.replay("log.csv", "", &more));
        let (log, policy, prices) = (folder.path("log.csv"), folder.path("policy.toml"), folder.path("prices.json"));
        let text = stdout(&replay([&*log, "--policy", &policy, "--prices", &prices].into_iter().chain(more)));
        let of = |name: &str| report["reserve"][name].as_u64().unwrap();
        (of("limits_passed_within_overdraft"), of("limits_overdrawn"), text)
    };
    let (within, beyond, text) = told("overdraft = '0.10'");
    assert_eq!((within, beyond), (1, 0));
    assert!(text.contains("\n1 limit was passed, within the overdraft allowed.\n"), "{text}");
    let (within, beyond, text) = told("overdraft = '0.04'");
    assert_eq!((within, beyond), (0, 1));
    assert!(text.contains("\n1 limit was passed, because calls cost more than they held.\n"), "{text}");
}

#[test]
fn a_log_without_a_row_that_can_be_used_is_an_error() {
    let folder = Folder::new("1");
    let header = "ts,user,model,input_tokens,output_tokens\n";
    folder.write("log.csv", header);
    assert!(failure(&folder.replay("log.csv", "", &[])).contains("no row could be used: "));
    folder.write("log.csv", &format!("{header}1700000000,alice,x,100,50\n"));
    let error = failure(&folder.replay("log.csv", "", &["--unknown-model", "skip"]));
    assert!(error.contains("no price for the models of all 1 calls"), "{error}");
    folder.write("log.csv", &format!("{header}2300-01-01,alice,m,100,50\n"));
    assert!(failure(&folder.replay("log.csv", "", &["--skip-bad-rows"])).contains("1 were bad; the first: "));
    assert!(failure(&folder.replay("log.csv", "", &[])).contains("is too far away"));
}

#[test]
fn a_call_is_charged_in_the_day_in_which_it_began() {
    let folder = Folder::new("0.10");
    folder.write("log.csv", "ts,user,model,input_tokens,output_tokens,latency\n\
        2024-01-01T23:59:59Z,alice,m,100,0,2.5\n2024-01-02T00:00:00Z,alice,m,100,0,2.5\n2024-01-02T00:00:01Z,alice,m,1,0,2.5\n");
    let report = json(&folder.replay("log.csv", "", &["--reserve"]));
    assert_eq!((report["granted"].as_u64(), report["reserve"]["denied_by_holds"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn embedded_and_server_decide_the_same_with_holds_open() {
    let more = ["--reserve", "--latency", "20min", "--estimate-factor", "3"];
    let args: Vec<_> = SAMPLE[..5].iter().copied().chain(more).collect();
    let [embedded, server] = same_decisions(&args, 169);
    assert_eq!(embedded["reserve"], server["reserve"]);
    assert!(embedded["reserve"]["denied_by_holds"].as_u64() > Some(0), "{}", embedded["reserve"]);
}

#[test]
fn what_a_replay_with_holds_lacks_is_named_with_what_to_do() {
    for (more, code, expected) in [
        (&["--reserve"][..], 1, "give --latency 2s for all of them"),
        (&["--column", "duration=ms"], 1, "is for --reserve"),
        (&["--latency", "2s"], 2, "--reserve"),
        (&["--reserve", "--latency", "2"], 2, "like 2s or 800ms"),
        (&["--reserve", "--estimate-factor", "0", "--latency", "2s"], 2, "a number above 0, like 1.5"),
        (&["--reserve", "--column", "duration=-"], 1, "--latency 2s"),
    ] {
        let output = replay(SAMPLE.into_iter().chain(more.iter().copied()));
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{expected:?} is not in: {}", stderr(&output));
    }
}
