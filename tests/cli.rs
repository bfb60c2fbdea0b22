//! The program, as a user runs it: `scripts`, `charge`, `peek`, `statement`, `holds`, `hold`, `limit`,
//! `block` and `bench`.

#![cfg(feature = "cli")]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "cli/names.rs"]
mod names;
#[path = "cli/states.rs"]
mod states;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin_cmd;
use costguard::{Amounts, CostGuard, Decision, Policy, Subject};
use redis::Commands as _;
use serde_json::{Value, json};
use support::{Server, server_url};

/// What one run did.
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("one JSON value on standard output")
    }

    fn failed(self, code: i32, message: &str) {
        assert_eq!(self.code, code, "{}", self.err);
        assert!(self.err.contains(message), "{} does not say {message}", self.err);
        assert_eq!(self.out, "", "an error prints no result");
    }
}

fn program() -> Command {
    let mut program = cargo_bin_cmd!("costguard");
    let redis = ["REDIS_URL", "REDIS_HOST", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_KEY_PREFIX"];
    for name in redis.iter().chain(&["COSTGUARD_URL", "COSTGUARD_ROOT"]) {
        program.env_remove(name);
    }
    program
}

fn run(args: &[&str]) -> Run {
    finish(program().args(args))
}

fn finish(program: &mut Command) -> Run {
    let output = program.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A noon, so that no window ends while a test runs.
const NOON: [&str; 2] = ["--at", "2026-02-01T12:00:00Z"];

/// What the keys of this test process begin with.
fn prefix() -> &'static str {
    static PREFIX: LazyLock<String> = LazyLock::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        format!("test-cli-{}:", since_epoch.as_nanos())
    });
    &PREFIX
}

/// Runs on the server that the tests of this file share; the roots differ.
fn on_server(args: &[&str]) -> Run {
    finish(program().args(args).args(["--url", &server_url(), "--prefix", prefix()]))
}

/// A folder with a policy of 1.00 a day for each user and 100 tokens in all for each org.
fn policy() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    let text = "[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '1.00'\nper = 'day'\nwarn_at = [0.5]\n\
                [[limit]]\nscope = 'org'\nmeter = 'tokens'\nlimit = 100\nper = 'total'\n";
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// The path of a policy of one limit, in this folder.
fn policy_of(folder: &Path, limit: &str) -> String {
    let path = folder.join("policy.toml");
    fs::write(&path, format!("[[limit]]\n{limit}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn connection(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

#[test]
fn scripts_are_listed_and_shown_as_the_library_runs_them() {
    let listed = run(&["scripts", "list"]).ok();
    let json = run(&["scripts", "list", "--json"]).json();
    assert_eq!(json.as_array().unwrap().len(), costguard::script::all().len());
    for (script, entry) in costguard::script::all().iter().zip(json.as_array().unwrap()) {
        assert_eq!((entry["name"].as_str(), entry["sha1"].as_str()), (Some(script.name()), Some(script.sha1())));
        assert!(listed.contains(script.name()) && listed.contains(script.sha1()));
        assert_eq!(run(&["scripts", "show", script.name()]).ok(), script.text());
    }
    run(&["scripts", "show", "nope"]).failed(2, "possible values: charge, admit");
}

#[test]
fn scripts_are_loaded_and_verified_where_only_evalsha_script_load_and_data_commands_are_allowed() {
    let server = Server::start();
    let mut admin = connection(&server.url());
    let allowed = "+evalsha +script|load +@string +@hash +exists +pexpire +pexpireat +pttl +time";
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("deployer")
        .arg(&["on", ">s3cret", "~*", "-@all"])
        .arg(allowed.split(' ').collect::<Vec<_>>());
    user.exec(&mut admin).unwrap();
    let url = format!("redis://deployer:s3cret@{}", server.addr());
    let refused = redis::cmd("EVAL").arg("return 1").arg(0).exec(&mut connection(&url)).unwrap_err();
    assert_eq!(refused.code(), Some("NOPERM"));

    let verify = || run(&["scripts", "verify", "--url", &url, "--json"]);
    let present = |run: &Run| {
        let scripts = run.json()["scripts"].as_array().unwrap().clone();
        scripts.iter().filter(|script| script["present"] == true).count()
    };
    let before = verify();
    assert_eq!((before.code, present(&before)), (1, 0), "{}", before.err);
    assert!(before.err.contains("scripts are missing; run `costguard scripts load`"), "{}", before.err);

    let loaded = run(&["scripts", "load", "--url", &url]).ok();
    assert_eq!(run(&["scripts", "load", "--url", &url]).ok(), loaded, "loading again changes nothing");
    assert!(costguard::script::all().iter().all(|script| loaded.contains(script.sha1())), "{loaded}");
    let after = verify();
    assert_eq!((after.code, present(&after)), (0, costguard::script::all().len()), "{}", after.err);

    let scope = ["--url", &url, "--scope", "user=alice", "--per", "total"];
    let charged = finish(program().args(["charge", "--cost", "0.25", "--admit", "--id", "once"]).args(scope));
    let peeked = finish(program().arg("peek").args(scope)).ok();
    assert!(peeked.contains("0.25"), "{peeked}");
    for shown in [loaded, before.out, before.err, after.out, charged.ok(), peeked] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn an_export_is_whole_can_be_repeated_and_overwrites_nobody_elses_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new");
    let export = |more: &[&str]| finish(program().args(["scripts", "export"]).arg(&dir).args(more));
    export(&[]).ok();
    let manifest: Value = serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    for entry in manifest["scripts"].as_array().unwrap() {
        let text = fs::read_to_string(dir.join(entry["file"].as_str().unwrap())).unwrap();
        let (_, plain) = text.split_once('\n').unwrap();
        let sha1 = |text: &str| sha1_smol::Sha1::from(text).digest().to_string();
        assert_eq!(
            (entry["sha1"].as_str().unwrap(), entry["plain_sha1"].as_str().unwrap()),
            (&*sha1(&text), &*sha1(plain))
        );
        let fields: BTreeSet<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        let named =
            ["args", "errors", "file", "flags", "keys", "name", "plain_sha1", "purpose", "reply", "sha1", "writes"];
        assert_eq!(fields, BTreeSet::from(named));
    }
    let files = fs::read_dir(&dir).unwrap().count();
    assert_eq!(files, costguard::script::all().len() + 1, "an export leaves nothing else behind");
    export(&[]).ok();

    // An older export: other text, and a manifest that knows it.
    let (peek, older) = (dir.join("peek.lua"), "return 'older'");
    let current = fs::read_to_string(&peek).unwrap();
    let known = sha1_smol::Sha1::from(older).digest().to_string();
    let manifest = fs::read_to_string(dir.join("manifest.json")).unwrap();
    let current_sha1 = sha1_smol::Sha1::from(&current).digest().to_string();
    fs::write(dir.join("manifest.json"), manifest.replace(&current_sha1, &known)).unwrap();
    fs::write(&peek, older).unwrap();
    export(&[]).ok();
    assert_eq!(fs::read_to_string(&peek).unwrap(), current);

    fs::write(&peek, "-- mine").unwrap();
    fs::remove_file(dir.join("admit.lua")).unwrap();
    export(&[]).failed(1, "peek.lua is not from an earlier export");
    assert_eq!(fs::read_to_string(&peek).unwrap(), "-- mine");
    assert!(!dir.join("admit.lua").exists(), "nothing was written");
    export(&["--force"]).ok();
    assert_eq!(fs::read_to_string(&peek).unwrap(), current);
}

#[test]
fn a_charge_exits_with_0_when_it_lands_and_with_3_when_it_is_denied() {
    let (_dir, policy) = policy();
    let charge = |more: &[&str]| {
        let args = ["charge", "--policy", &policy, "--scope", "user=alice", "--scope", "org=exit-codes"];
        on_server(&[&args[..], &NOON, more].concat())
    };
    let granted = charge(&["--cost", "0.60", "--amount", "tokens=40", "--admit"]).ok();
    assert!(granted.starts_with("granted on redis://") && granted.contains("root exit-codes"), "{granted}");
    assert!(granted.contains("user:alice cost per day reached 50% of its limit"), "{granted}");

    let denied = charge(&["--cost", "0.41", "--amount", "tokens=1", "--admit"]);
    assert_eq!(denied.code, 3, "{}", denied.err);
    assert!(denied.out.starts_with("denied by user:alice cost per day on redis://"), "{}", denied.out);
    assert!(denied.out.contains("nothing was charged; room may come in 12 h\n"), "{}", denied.out);
    let denied = charge(&["--cost", "0", "--amount", "tokens=61", "--admit", "--json"]);
    assert_eq!(denied.code, 3);
    assert_eq!(denied.json()["outcome"], "denied");
    assert_eq!(denied.json()["denied"], json!({"refused_by": [1], "blocked": [], "retry_after_ms": null}));
    let both = ["--cost", "0.41", "--amount", "tokens=61", "--admit"];
    let denied = charge(&both);
    assert!(
        denied.out.starts_with("denied by user:alice cost per day and org:exit-codes tokens total on"),
        "{}",
        denied.out
    );
    assert_eq!(charge(&[&both[..], &["--json"]].concat()).json()["denied"]["refused_by"], json!([0, 1]));

    let charged = charge(&["--cost", "0.41", "--amount", "tokens=1"]).ok();
    assert!(charged.contains("user:alice cost per day is 0.01 over its limit"), "{charged}");
}

#[test]
fn charge_and_peek_agree_on_whose_counters_they_mean() {
    let (_dir, policy) = policy();
    let scopes = ["--scope", "org=agree", "--scope", "user=alice", NOON[0], NOON[1]];
    let charged =
        on_server(&[&["charge", "--policy", &policy, "--cost", "0.1", "--amount", "tokens=5"], &scopes[..]].concat());
    charged.ok();
    let swapped =
        ["peek", "--policy", &policy, "--scope", "user=alice", "--scope", "org=agree", NOON[0], NOON[1], "--json"];
    let peeked = on_server(&swapped).json();
    let used: Vec<_> = peeked["limits"].as_array().unwrap().iter().map(|limit| limit["used"].as_i64()).collect();
    assert_eq!((peeked["root"].as_str(), used), (Some("agree"), vec![Some(100_000_000), Some(5)]));
    // One of the policy's counters, without the policy.
    let alone =
        on_server(&["peek", "--root", "agree", "--scope", "user=alice", "--per", "day", NOON[0], NOON[1], "--json"])
            .json();
    assert_eq!(alone["limits"][0]["used"], 100_000_000);
}

#[test]
fn amounts_are_exact_and_an_id_charges_once() {
    let most = i64::MAX.to_string();
    let amount = format!("tokens={most}");
    let args = ["charge", "--scope", "user=exact", "--per", "total", "--amount", &amount, "--id", "a", "--json"];
    for replayed in [false, true] {
        let charged = on_server(&args);
        assert_eq!(
            (charged.json()["limits"][0]["used"].as_i64(), charged.json()["replayed"].as_bool()),
            (Some(i64::MAX), Some(replayed))
        );
    }
    let other = ["charge", "--scope", "user=exact", "--per", "total", "--amount", "tokens=1", "--id", "a"];
    on_server(&other).failed(1, "used for a different request");
}

#[test]
fn a_time_and_the_plain_layout_name_the_key_that_is_charged() {
    let at = ["charge", "--scope", "user=plain:1", "--per", "day", "--plain", "--at", "2024-02-29"];
    on_server(&[&at[..], &["--amount", "tokens=5"]].concat()).ok();
    let stored: String = connection(&server_url()).get(format!("{}tokens:plain%3A1:2024-02-29", prefix())).unwrap();
    assert_eq!(stored, "5");
    // The daily guard counts cents there.
    on_server(&[&at[..], &["--cost", "0.5"]].concat()).failed(1, "in what is cost counted under this plain key?");
}

#[test]
fn the_root_comes_from_the_environment_and_a_global_limit_needs_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    fs::write(&path, "[[limit]]\nscope = 'global'\nmeter = 'cost'\nlimit = '1.00'\nper = 'day'\n").unwrap();
    let ask = ["charge", "--policy", path.to_str().unwrap(), "--scope", "user=gloria", "--cost", "0.5", "--json"];
    on_server(&ask).failed(1, "say which, --root ID or $COSTGUARD_ROOT");
    let at_server = ["--url", &server_url(), "--prefix", prefix()];
    let charged = finish(program().args(ask).args(at_server).env("COSTGUARD_ROOT", "everybody")).json();
    assert_eq!((&charged["root"], &charged["limits"][0]["used"]), (&json!("everybody"), &json!(500_000_000)));
    let block = ["block", "user:gloria", "--for", "1h", "--json"];
    let blocked = finish(program().args(block).args(at_server).env("COSTGUARD_ROOT", "everybody")).json();
    assert_eq!((&blocked["root"], &blocked["outcome"]), (&json!("everybody"), &json!("blocked")));
}

#[test]
fn the_server_comes_from_the_environment_where_no_option_names_it_and_is_never_embedded() {
    let args = ["peek", "--scope", "user=alice", "--per", "day"];
    run(&args).failed(1, "Give --url redis://localhost:6379 or set COSTGUARD_URL or REDIS_URL or REDIS_HOST");
    finish(program().args(args).args(["--url", "memory:"])).failed(1, "an embedded store starts empty");
    finish(program().args(args).env("REDIS_URL", server_url())).ok();
    finish(program().args(args).env("REDIS_URL", "redis://nowhere.invalid").env("COSTGUARD_URL", server_url())).ok();
    let addr = redis::Client::open(server_url()).unwrap().get_connection_info().addr().to_string();
    let (host, port) = addr.rsplit_once(':').unwrap();
    finish(program().args(args).env("REDIS_HOST", host).env("REDIS_PORT", port)).ok();
    finish(program().args(args).args(["--url", "redis://u:s3cret@h:0"]))
        .failed(1, "the URL is no Redis URL: a port is not");
    let unreachable = finish(program().args(args).env("COSTGUARD_URL", "redis://u:s3cret@127.0.0.1:1"));
    assert!(!unreachable.err.contains("s3cret"), "{}", unreachable.err);
    unreachable.failed(1, "no Redis answers at 127.0.0.1:1");
}

#[test]
fn a_url_without_a_password_takes_the_one_of_the_environment_unless_that_is_another_servers() {
    let server = Server::start();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "s3cret"]).exec(&mut connection(&server.url())).unwrap();
    let url = server.url();
    let peek = |args: &[&str], vars: &[(&str, &str)]| {
        let args = [&["peek", "--scope", "user=alice", "--per", "total"], args].concat();
        finish(program().args(args).envs(vars.iter().copied()))
    };
    let password = ("REDIS_PASSWORD", "s3cret");
    peek(&["--url", &url], &[password]).ok();
    peek(&["--url", &url], &[password, ("REDIS_URL", &url)]).ok();
    peek(&[], &[password, ("COSTGUARD_URL", &url)]).ok();
    peek(&[], &[password, ("REDIS_URL", &url)]).ok();
    peek(&["--url", &url], &[]).failed(1, "it wants a password: put it into the URL, or set REDIS_PASSWORD");
    for name in ["COSTGUARD_URL", "REDIS_URL", "REDIS_HOST"] {
        let other = if name == "REDIS_HOST" { "nowhere.invalid" } else { "redis://nowhere.invalid" };
        peek(&["--url", &url], &[password, (name, other)]).failed(1, "it wants a password");
    }
}

#[test]
fn what_is_missing_or_wrong_is_said_with_what_to_do() {
    let (_dir, policy) = policy();
    let policy = ["--policy", &policy];
    let user = ["--scope", "user=alice"];
    let org = ["--scope", "org=acme"];
    let charge: &[&str] = &["charge", "--url", "redis://127.0.0.1:1"];
    for (args, code, message) in [
        (&[][..], 1, "how much? Give --cost 0.12, or --amount tokens=500"),
        (&["--cost", "1"], 1, "which root? Give --root ID"),
        (&[&user[..], &["--cost", "1"]].concat(), 1, "give --policy FILE, or --per day"),
        (&[&user[..], &["--cost", "-1", "--per", "day"]].concat(), 2, "a charge adds 0 or more"),
        (&[&user[..], &["--amount", "tokens=-1", "--per", "day"]].concat(), 2, "is negative; write 0 or more"),
        (&["--amount", "tokens=99999999999999999999"], 2, "is too large: the most is 9223372036854775807"),
        (&[&user[..], &["--cost", "much", "--per", "day"]].concat(), 2, "for '--cost <DOLLARS>'"),
        (&[&user[..], &["--cost", "1", "--per", "fortnight"]].concat(), 2, "use minute, hour, day"),
        (&["--scope", "alice"], 2, "expected KIND=ID, like user=alice"),
        (&["--amount", "500"], 2, "expected METER=N, like tokens=500"),
        (&[&user[..], &user[..]].concat(), 1, "how much?"),
        (&[&user[..], &user[..], &["--cost", "1"]].concat(), 1, "two scopes of kind user"),
        (&[&user[..], &["--cost", "1", "--amount", "cost=1"]].concat(), 1, "two amounts of cost"),
        (&[&user[..], &policy[..], &["--cost", "1"]].concat(), 1, "say which, --scope org=ID"),
        (&[&user[..], &org[..], &policy[..], &["--cost", "1"]].concat(), 1, "give --amount tokens=N"),
        (&[&user[..], &org[..], &policy[..], &["--amount", "tokens=1"]].concat(), 1, "give --cost DOLLARS"),
        (&[&user[..], &org[..], &policy[..], &["--amount", "pages=1"]].concat(), 1, "nothing here counts pages"),
        (&[&user[..], &["--policy", "gone.toml"]].concat(), 1, "cannot read the policy gone.toml"),
        (&["--cost", "1", "--at", "yesterday"], 2, "expected like 2024-05-01"),
        (&["--cost", "1", "--at", "2286-11-20T17:46:40Z"], 2, "give a time before 2286-11-20 17:46:39 UTC"),
    ] {
        run(&[charge, args].concat()).failed(code, message);
    }
}

/// Reserves under a root, as a service does, at noon: 0.30 and 40 tokens, for ten minutes.
fn reserve(root: &str, policy: &str, id: &str) {
    let policy = Policy::from_file(policy).unwrap();
    let subject = Subject::new(root).scope("user", "alice").scope("org", root);
    let amounts = Amounts::cost("0.30".parse().unwrap()).tokens(40);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let guard = CostGuard::builder().prefix(prefix()).connect(&server_url()).await.unwrap();
        let reserve =
            guard.reserve(&policy, &subject, amounts).id(id).tag("model", "gpt-4o").at(NOON[1].parse().unwrap());
        match reserve.await.unwrap() {
            Decision::Granted(hold) => hold.forget(),
            Decision::Denied(denial) => panic!("{denial:?}"),
        }
    });
}

#[test]
fn a_statement_says_what_is_spent_held_and_free_and_when_what_is_held_comes_free() {
    let (_dir, policy) = policy();
    reserve("statement", &policy, "a");
    let args =
        ["statement", "--policy", &policy, "--scope", "user=alice", "--scope", "org=statement", NOON[0], NOON[1]];
    let shown = on_server(&args).ok();
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("limit at most spent held free starts over (UTC)"), "{shown}");
    assert!(words.contains("user:alice cost per day 1.00 0.00 0.30 0.70 2026-02-02 00:00:00"), "{shown}");
    assert!(words.contains("user:alice cost per day 0.30 2026-02-01 12:1"), "{shown}");
    let json = on_server(&[&args[..], &["--json"]].concat()).json();
    let limit = &json["limits"][0];
    assert_eq!((limit["used"].as_i64(), limit["held"].as_i64()), (Some(0), Some(300_000_000)));
    assert_eq!(
        (limit["remaining"].as_i64(), limit["frees"][0]["amount"].as_i64()),
        (Some(700_000_000), Some(300_000_000))
    );
    assert!(limit["frees"][0]["at"].as_str().unwrap().starts_with("2026-02-01T12:1"), "{limit}");
}

#[test]
fn open_holds_are_listed_with_age_amount_expiry_and_tags() {
    let (_dir, policy) = policy();
    reserve("listed", &policy, "call [1]*");
    let at = |at: &str, more: &[&str]| on_server(&[&["holds", "--root", "listed", "--at", at], more].concat());
    let shown = at("2026-02-01T12:03:00Z", &[]).ok();
    assert!(shown.contains("call [1]*   3 min   0.30 cost, 40 tokens") && shown.contains("model=gpt-4o"), "{shown}");
    let json = at("2026-02-01T12:03:00Z", &["--json"]).json();
    let hold = &json["holds"][0];
    assert_eq!(
        (&json["complete"], &hold["id"], hold["age_ms"].as_i64()),
        (&true.into(), &"call [1]*".into(), Some(180_000))
    );
    assert_eq!((&hold["expires_at"], &hold["tags"]["model"]), (&"2026-02-01T12:10:00.000Z".into(), &"gpt-4o".into()));
    assert_eq!(
        (hold["amounts"][0]["amount"].as_i64(), hold["amounts"][1]["amount"].as_i64()),
        (Some(300_000_000), Some(40))
    );
    assert!(
        at("2026-02-01T12:10:01Z", &[]).ok().contains("(expired)"),
        "its room is not free yet, so it is still listed"
    );
    assert!(at("2026-02-01T12:12:00Z", &[]).ok().ends_with("\n\nNothing is held.\n"));
    run(&["holds", "--url", "redis://127.0.0.1:1"]).failed(1, "which root? Give --root ID");
}

#[test]
fn a_hold_on_rates_and_open_calls_is_settled_with_what_it_took_from_them() {
    let (dir, _) = policy();
    let rates = dir.path().join("rates.toml").to_str().unwrap().to_owned();
    let text = "[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '1.00'\nper = 'day'\n\
                [[limit]]\nscope = 'user'\ntokens = 1000\nper = 'hour'\n\
                [[limit]]\nscope = 'user'\nconcurrency = 1\n";
    fs::write(&rates, text).unwrap();
    reserve("rates", &rates, "a");
    let settle = |more: &[&str]| {
        let args = ["hold", "settle", "a", "--root", "rates", "--cost", "0.10", NOON[0], NOON[1]];
        on_server(&[&args, more].concat())
    };
    settle(&[]).failed(1, "the hold covers tokens: give --amount tokens=N");
    assert!(settle(&["--amount", "tokens=7"]).ok().starts_with("a is settled, on "));
    // Charged as it was settled: counters and rates each with their own.
    let show = |more: &[&str]| on_server(&[&["hold", "show", "a", "--root", "rates", NOON[0], NOON[1]], more].concat());
    let amounts = show(&["--json"]).json()["amounts"].as_array().unwrap().clone();
    let of = |meter: &str| amounts.iter().find(|amount| amount["meter"] == meter).unwrap()["charged"].as_i64();
    assert_eq!((of("cost"), of("tokens"), of("concurrency")), (Some(100_000_000), Some(7), Some(0)));
    let shown = show(&[]).ok();
    assert!(
        shown.starts_with("a is settled, on ") && shown.contains("was held") && shown.contains("charged"),
        "{shown}"
    );
    reserve("rates", &rates, "b");
}

#[test]
fn a_hold_is_shown_released_and_settled_by_its_id_once() {
    let (_dir, policy) = policy();
    reserve("one", &policy, "a");
    reserve("one", &policy, "b");
    let hold = |verb: &str, id: &str, more: &[&str]| {
        on_server(&[&["hold", verb, id, "--root", "one", NOON[0], NOON[1]], more].concat())
    };
    let shown = hold("show", "a", &[]).ok();
    assert!(shown.starts_with("a is open, on redis://") && shown.contains("tag       model=gpt-4o"), "{shown}");
    assert!(shown.contains("expires   2026-02-01 12:10:00 UTC"), "{shown}");
    assert!(hold("release", "a", &[]).ok().starts_with("a is released, on "));
    assert!(hold("release", "a", &[]).ok().starts_with("a was released before, on "));
    assert_eq!(hold("show", "a", &["--json"]).json()["outcome"], "released");

    let enough = ["--cost", "1.05", "--amount", "tokens=7"];
    hold("settle", "a", &enough).failed(1, "this hold was released");
    hold("settle", "b", &["--cost", "1"]).failed(1, "the hold covers tokens: give --amount tokens=N");
    hold("settle", "b", &["--cost", "1", "--amount", "pages=7"]).failed(1, "nothing here counts pages");
    let settled = hold("settle", "b", &enough).ok();
    assert!(settled.starts_with("b is settled, on ") && settled.contains("is 0.05 over its limit"), "{settled}");
    let again = hold("settle", "b", &[&enough[..], &["--json"]].concat()).json();
    assert_eq!((again["replayed"].as_bool(), again["limits"][0]["used"].as_i64()), (Some(true), Some(1_050_000_000)));
    hold("settle", "b", &["--cost", "1", "--amount", "tokens=7"]).failed(1, "settled with other amounts");
    hold("release", "b", &[]).failed(1, "this hold was settled");
    hold("show", "c", &[]).failed(1, "there is no hold");
}

#[test]
fn a_limit_is_set_shown_and_cleared_and_decides_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    fs::write(&path, "[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '1.00'\nper = 'day'\n").unwrap();
    let policy = path.to_str().unwrap();
    let ask = |code: i32| {
        let run = on_server(&["charge", "--admit", "--policy", policy, "--scope", "user=rita", "--cost", "80"]);
        assert_eq!(run.code, code, "{}", run.out);
    };
    ask(3);
    let under = |args: &[&str]| on_server(&[args, &["--root", "rita"]].concat());
    let set = ["limit", "set", "user:rita", "cost", "100.00", "--per", "day", "--for", "8h"];
    let text = under(&set).ok();
    assert!(
        text.contains("user:rita has 100.00 of cost per day") && text.contains("cost per day at most 100.00"),
        "{text}"
    );
    ask(0);
    let charge = ["charge", "--policy", policy, "--scope", "user=rita", "--cost", "1", "--json"];
    assert_eq!(on_server(&charge).json()["limits"][0]["limit"], json!(100_000_000_000_i64));
    let shown = under(&["limit", "show", "user:rita", "--json"]).json();
    let rule = &shown["rules"][0];
    assert_eq!((&rule["scope"], &rule["limit"]), (&json!("user:rita"), &json!(100_000_000_000_i64)));
    assert_eq!(under(&["limit", "show", "user:sam", "--json"]).json()["rules"], json!([]));
    let text = under(&["limit", "clear", "user:rita", "cost", "--per", "day"]).ok();
    assert!(text.contains("has what policies say") && text.contains("no rules are in force"), "{text}");
    ask(3);

    under(&["limit", "set", "user:sam", "cost", "7", "--per", "day"]).ok();
    let text = under(&["limit", "clear", "user:rita", "cost", "--per", "day"]).ok();
    assert!(
        text.starts_with("user:rita had no other limit of cost per day; what is in force under this root, on redis://")
            && text.contains("user:sam   cost per day at most 7"),
        "{text}"
    );
    let text = under(&["unblock", "user:rita"]).ok();
    assert!(text.starts_with("user:rita was not blocked; ") && text.contains("user:sam"), "{text}");
    assert_eq!(under(&["unblock", "user:rita", "--json"]).json()["outcome"], "nothing");

    let past = under(&["limit", "set", "user:rita", "cost", "1", "--per", "day", "--until", "2020-01-01"]);
    past.failed(1, "--until 2020-01-01 00:00:00 is over");
    under(&["limit", "set", "user:rita", "cost", "1e3", "--per", "day"]).failed(1, "not an amount of money");
    under(&["limit", "set", "user:rita", "cost", "-1", "--per", "day"]).failed(2, "a limit is 0 or more");
    on_server(&["limit", "set", "rita", "cost", "1", "--per", "day"]).failed(2, "expected KIND:ID like user:alice");
    for args in [&["limit", "set", "user:rita", "cost", "1", "--per", "day"][..], &["limit", "show"]] {
        on_server(args).failed(1, "Give --root ID or set COSTGUARD_ROOT");
    }
}

#[test]
fn a_block_refuses_until_it_is_lifted() {
    let ask = |code: i32| {
        let run = on_server(&["charge", "--admit", "--per", "day", "--scope", "user=mal lory", "--cost", "1"]);
        assert_eq!(run.code, code, "{}", run.out);
    };
    ask(0);
    let under = |args: &[&str]| on_server(&[args, &["--root", "mal lory"]].concat());
    on_server(&["block", "user:mal lory"]).failed(1, "for how long?");
    on_server(&["block", "user:mal lory", "--for", "1h", "--until", "2040-01-01"]).failed(2, "cannot be used with");
    on_server(&["block", "user:mal lory", "--for", "soon"]).failed(2, "expected a duration like 90s");
    on_server(&["block", "user:mal lory", "--for", "1h"]).failed(1, "Give --root ID or set COSTGUARD_ROOT");
    let text = under(&["block", "user:mal lory", "--for", "1h"]).ok();
    assert!(text.contains("is blocked") && text.contains("1 h"), "{text}");
    ask(3);
    let until = |args: &[&str]| {
        let counter = ["--per", "day", "--scope", "user=mal lory"];
        let text = on_server(&[args, &counter].concat()).out;
        let line = text.lines().find(|line| line.starts_with("  user:mal lory is blocked until ")).expect(&text);
        assert!(line.ends_with(" UTC") && !text.contains("block total"), "{text}");
        let json = on_server(&[args, &counter, &["--json"]].concat()).json();
        let blocked = if json["denied"].is_null() { &json["blocked"][0] } else { &json["denied"]["blocked"][0] };
        assert_eq!(blocked["scope"], "user:mal lory");
        blocked["until_ms"].as_i64().unwrap()
    };
    let admit = ["charge", "--admit", "--cost", "1"];
    assert!(
        on_server(&[&admit[..], &["--per", "day", "--scope", "user=mal lory"]].concat())
            .out
            .starts_with("denied by the block of user:mal lory on ")
    );
    assert_eq!((until(&["peek"]), until(&["statement"])), (until(&admit), until(&admit)));
    assert_eq!(
        on_server(&["peek", "--per", "day", "--scope", "user=lory", "--root", "mal lory", "--json"]).json()["blocked"],
        json!([])
    );
    assert_eq!(under(&["unblock", "user:mal lory", "--json"]).json()["outcome"], "unblocked");
    ask(0);
}

#[test]
fn a_benchmark_reports_every_operation_on_either_store_and_leaves_no_key_without_an_end() {
    let bench =
        |more: &[&str]| run(&[&["bench", "--operations", "20", "--tasks", "1,3", "--json"], more].concat()).json();
    let server = Server::start();
    let embedded = bench(&[]);
    let redis = bench(&["--url", &server.url()]);
    assert_eq!((embedded["store"].as_str(), redis["store"].as_str()), (Some("embedded"), Some(&*server.url())));
    for report in [&embedded, &redis] {
        let rows = report["rows"].as_array().unwrap();
        let names: BTreeSet<_> = rows.iter().map(|row| row["operation"].as_str().unwrap()).collect();
        assert_eq!((names.len(), rows.len()), (10, 20));
        for row in rows {
            assert!(row["per_second"].as_u64() > Some(0), "{row}");
            assert!(row["p50_us"].as_f64() > Some(0.0) && row["p99_us"].as_f64() >= row["p50_us"].as_f64(), "{row}");
        }
    }
    let mut server = connection(&server.url());
    let keys: Vec<String> = server.keys("*").unwrap();
    assert!(keys.len() > 14);
    for key in keys {
        let ttl_ms: i64 = server.pttl(&key).unwrap();
        let most_ms = if key.contains(":epoch:") { 86_400_000 } else { 3_600_000 };
        // -2: a receipt that has ended since it was listed.
        assert!(key.starts_with("bench-") && (ttl_ms == -2 || (0..=most_ms).contains(&ttl_ms)), "{key}: {ttl_ms}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_done_does_not_look_undone_when_the_answer_cannot_be_printed() {
    let (_dir, policy) = policy();
    for id in ["a", "b"] {
        reserve("unprinted", &policy, id);
    }
    let full = |args: &[&str], code: i32, done: &str| {
        let file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("costguard"))
            .args(args)
            .args(["--root", "unprinted", "--url", &server_url(), "--prefix", prefix()])
            .stdout(file)
            .output()
            .unwrap();
        let err = String::from_utf8(command.stderr).unwrap();
        assert_eq!(command.status.code(), Some(code), "{err}");
        assert!(err.starts_with(&format!("error: {done}, but the answer cannot be shown: ")), "{err}");
    };
    let amounts = ["--cost", "0.40", "--amount", "tokens=1"];
    let scopes = ["--policy", &policy, "--scope", "user=alice", "--scope", "org=unprinted", NOON[0], NOON[1]];
    full(&[&["charge"], &amounts[..], &scopes].concat(), 0, "it was charged");
    full(&[&["charge", "--json", "--admit"], &amounts[..], &scopes].concat(), 3, "it was denied");
    full(&["hold", "release", "a", NOON[0], NOON[1]], 0, "the hold was released");
    full(&[&["hold", "settle", "b", NOON[0], NOON[1]], &amounts[..]].concat(), 0, "the hold was settled");
    full(&["limit", "set", "user:bob", "cost", "5", "--per", "day"], 0, "the limit was set");
    full(&["limit", "clear", "user:bob", "cost", "--per", "day"], 0, "the limit was cleared");
    full(&["block", "user:bob", "--for", "1h"], 0, "the scope was blocked");
    full(&["unblock", "user:bob"], 0, "the scope was unblocked");
}
