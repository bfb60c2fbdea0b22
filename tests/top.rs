//! `costguard top`: driven in a pseudo-terminal, its screen read as a user sees it; and one look for scripts.

#![cfg(all(feature = "cli", unix))]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use assert_cmd::cargo::{cargo_bin, cargo_bin_cmd};
use costguard::{Amounts, CostGuard, Decision, Policy, Subject};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use serde_json::Value;
use support::{Cluster, Server};

/// The longest that the screen may take to show something.
const LIMIT: Duration = Duration::from_secs(60);

/// What a terminal is told when it may show what was drawn (synchronized output, mode 2026).
const END_OF_PICTURE: &[u8] = b"\x1b[?2026l";

/// Every kind of limit, over windows that no test sees the end of.
const POLICY: &str = "[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '10.00'\nper = 'total'\n\
    [[limit]]\nscope = 'user'\nrequests = 4\nper = '30d'\n\
    [[limit]]\nscope = 'user'\nconcurrency = 5\n\
    [[limit]]\nscope = 'org'\nmeter = 'cost'\nper = 'total'\n";

/// The program in a terminal of its own.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    drawing: Option<JoinHandle<()>>,
    _pty: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        Self::of_width(130, args)
    }

    fn of_width(cols: u16, args: &[&str]) -> Self {
        let rows = 24;
        let pty = native_pty_system().openpty(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        let mut command = CommandBuilder::new(cargo_bin!("costguard"));
        command.args([&["top"], args].concat());
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command).unwrap();
        // The program has the only one left: reading ends when it does.
        drop(pty.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows.try_into().unwrap(), cols.try_into().unwrap(), 0)));
        let (mut output, drawn) = (pty.master.try_clone_reader().unwrap(), screen.clone());
        let drawing = std::thread::spawn(move || {
            let (mut bytes, mut undrawn) = ([0; 4096], Vec::new());
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                undrawn.extend_from_slice(&bytes[..len]);
                // A picture is looked at when all of it is there.
                if let Some(end) = undrawn.windows(END_OF_PICTURE.len()).rposition(|part| part == END_OF_PICTURE) {
                    drawn.lock().unwrap().process(&undrawn[..end]);
                    undrawn.drain(..end);
                }
            }
            drawn.lock().unwrap().process(&undrawn);
        });
        Self { child, keys: pty.master.take_writer().unwrap(), screen, drawing: Some(drawing), _pty: pty.master }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until the screen is as it should be, and gives its text.
    fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(began.elapsed() < LIMIT, "{what} is not to be seen:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn until_shown(&self, part: &str) -> String {
        self.until(part, |text| text.contains(part))
    }

    /// Waits for the end, and for all that was drawn until then, and gives whether it was a good one.
    fn ended(mut self) -> bool {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.drawing.take().unwrap().join().unwrap();
                return status.success();
            }
            assert!(began.elapsed() < LIMIT, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// The line of the screen that shows this.
fn line<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} is not in\n{text}"))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A server where alice has spent 9.00 and bob 2.50, alice's requests are used up, and carol is blocked.
struct Spent {
    server: Server,
    guard: CostGuard,
    policy: String,
    _folder: tempfile::TempDir,
}

fn subject(user: &str) -> Subject {
    Subject::new("acme").scope("user", user).scope("org", "acme")
}

async fn spent() -> Spent {
    let server = Server::start();
    let guard = CostGuard::builder().prefix("app:").connect(&server.url()).await.unwrap();
    let policy = Policy::from_toml(POLICY).unwrap();
    for (user, cost, requests) in [("alice", "9.00", 4), ("bob", "2.50", 1), ("carol", "0.10", 0)] {
        let amounts = Amounts::cost(cost.parse().unwrap()).requests(requests);
        let _ = guard.charge(&policy, &subject(user), amounts).await.unwrap();
    }
    guard.block(&subject("carol"), "user", Duration::from_secs(3600)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, POLICY).unwrap();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    // What is not ours, under the same prefix: of another kind, and made to trick a terminal.
    for (key, value) in
        [("app:cost:{acme}:user:\u{1b}[31mred:total", "7"), ("app:else", "x"), ("other:cost:{a}:user:b:total", "9")]
    {
        redis::cmd("SET").arg(key).arg(value).exec(&mut connection).unwrap();
    }
    redis::cmd("RPUSH").arg("app:cost:{acme}:user:list:total").arg("1").exec(&mut connection).unwrap();
    Spent { server, guard, policy: path.to_str().unwrap().to_owned(), _folder: folder }
}

impl Spent {
    fn args<'a>(&'a self, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["--url", url, "--prefix", "app:", "--policy", &self.policy], more].concat()
    }

    fn once(&self, more: &[&str]) -> Value {
        let url = self.server.url();
        let mut command = cargo_bin_cmd!("costguard");
        let output = command.arg("top").args(self.args(&url, &["--once", "--json"])).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_who_spends_what_is_full_and_what_is_held_and_follows_it() {
    let spent = spent().await;
    let url = spent.server.url();
    let mut top = Terminal::start(&spent.args(&url, &[]));

    let text = top.until_shown("1 limit full");
    assert!(text.contains("connected") && text.contains("ping") && text.contains("all keys"), "{text}");
    assert!(text.contains("1 scope blocked") && !text.contains("31m") && !text.contains("other"), "{text}");
    // Biggest spenders first.
    let place = |text: &str, part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"));
    assert!(place(&text, "org:acme") < place(&text, "user:alice"), "{text}");
    assert!(place(&text, "user:alice") < place(&text, "user:bob"), "{text}");
    let alice = words(line(&text, "user:alice"));
    assert_eq!(alice, ["user:alice", "acme", "cost", "total", "9.00", "0.00", "10.00", "90.0%", "close"]);
    assert!(line(&text, "user:carol").contains("blocked"), "{text}");

    // The other way round.
    top.press("r");
    top.until("the smallest first", |text| {
        matches!((text.find("user:carol"), text.find("user:alice")), (Some(carol), Some(alice)) if carol < alice)
    });
    // Limits, the fullest first: a rate that only the policy tells how to read.
    top.press("2");
    let text = top.until_shown("by full");
    let rate = words(line(&text, "rate/30d"));
    assert_eq!(rate[..2], ["user:alice", "acme"], "{text}");
    assert!(rate.ends_with(&["4", "0", "4", "100.0%", "full"]), "{text}");
    assert!(!text.contains("org:acme"), "what has no limit is not among the limits:\n{text}");
    // A filter that is typed, and cleared.
    top.press("/bob\r");
    let text = top.until("bob alone", |text| text.contains("filter bob") && !text.contains("user:alice"));
    assert!(text.contains("user:bob"), "{text}");
    top.press("\u{1b}");
    top.until_shown("user:alice");

    // What happens meanwhile is seen.
    let policy = Policy::from_toml(POLICY).unwrap();
    let estimate = Amounts::cost("1.00".parse().unwrap()).requests(0);
    let Decision::Granted(hold) = spent.guard.reserve(&policy, &subject("bob"), estimate).id("job-7").await.unwrap()
    else {
        panic!("there is room for bob");
    };
    top.press("4");
    let text = top.until_shown("job-7");
    assert!(text.contains("1 hold open"), "{text}");
    top.press("3");
    let text = top.until("what bob holds", |text| text.contains("concurrency") && text.contains("by used"));
    assert!(
        words(line(&text, "concurrency")).starts_with(&["user:bob", "acme", "concurrency", "open", "0", "1", "5"]),
        "{text}"
    );
    hold.forget();

    // A server that goes away, and quitting all the same.
    let Spent { server, .. } = spent;
    drop(server);
    top.until_shown("disconnected");
    top.press("q");
    assert!(top.ended());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_terminal_cuts_no_leading_digit_and_the_scope_last() {
    let spent = spent().await;
    let policy = Policy::from_toml(&POLICY.replace("concurrency = 5", "meter = 'cost'\nper = 'year'")).unwrap();
    let user = "0123456789abcdef0123456789abcdef";
    let amounts = Amounts::cost("9223372.036854775".parse().unwrap()).requests(0);
    let _ = spent.guard.charge(&policy, &subject(user), amounts).await.unwrap();
    let url = spent.server.url();
    let top = Terminal::of_width(80, &spent.args(&url, &["--filter", user]));
    let text = top.until_shown("full");
    let row = words(line(&text, "total"));
    let scope = &format!("user:{user}")[..27];
    assert_eq!(row, [scope, "acme", "cost", "total", "9223372", "0.00", "10.00", ">9999%", "full"], "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_terminal_shows_whole_ids_of_holds_and_every_block() {
    let spent = spent().await;
    // Nothing is counted of her.
    spent.guard.block(&subject("dora"), "user", Duration::from_secs(1800)).await.unwrap();
    let policy = Policy::from_toml(POLICY).unwrap();
    let estimate = Amounts::cost("1.00".parse().unwrap()).requests(0);
    let Decision::Granted(hold) = spent.guard.reserve(&policy, &subject("bob"), estimate).await.unwrap() else {
        panic!("there is room for bob");
    };
    let url = spent.server.url();
    let mut top = Terminal::of_width(80, &spent.args(&url, &[]));
    let text = top.until_shown("2 scopes blocked");
    assert!(text.contains("1 hold open") && text.contains(" UTC  all keys"), "{text}");
    top.press("4");
    let text = top.until_shown("by age");
    assert!(hold.id().len() >= 32 && line(&text, hold.id()).contains("acme"), "{text}");
    top.press("5");
    let text = top.until_shown("by end");
    let (dora, carol) = (text.find("user:dora").unwrap(), text.find("user:carol").unwrap());
    assert!(dora < carol && line(&text, "user:dora").contains("acme"), "{text}");
    hold.forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_look_is_an_object_for_programs() {
    let spent = spent().await;
    let look = spent.once(&[]);
    assert_eq!((look["complete"].as_bool(), look["health"]["status"].as_str()), (Some(true), Some("connected")));
    let row = |look: &Value, scope: &str, meter: &str| {
        let rows = look["counters"].as_array().unwrap();
        rows.iter().find(|row| row["scope"] == scope && row["meter"] == meter).cloned().unwrap_or_default()
    };
    let alice = row(&look, "user:alice", "cost");
    assert_eq!((alice["used"].as_i64(), alice["limit"].as_i64()), (Some(9_000_000_000), Some(10_000_000_000)));
    assert_eq!((alice["full_permille"].as_i64(), alice["state"].as_str()), (Some(900), Some("close")));
    assert_eq!(
        (&row(&look, "org:acme", "cost")["limit"], &row(&look, "org:acme", "cost")["state"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(row(&look, "user:alice", "requests")["limit"], 4);
    assert_eq!(look["blocks"][0]["scope"], "user:carol");
    assert_eq!(row(&look, "user:list", "cost"), Value::Null, "what has another type is no counter");
    let now = spent.once(&["--wait", "0"]);
    assert!(now["complete"] == true && !now["at"].as_str().unwrap().starts_with("1970"), "{now}");

    // An override counts, and a limit of how many rows.
    let policy = Policy::from_toml(POLICY).unwrap();
    let raised = policy.limits()[0].counter();
    spent.guard.set_limit(&subject("alice"), raised, 90_000_000_000).await.unwrap();
    let look = spent.once(&["--rows", "1", "--filter", "user:alice"]);
    let first = &look["counters"][0];
    assert_eq!((&first["scope"], &first["full_permille"]), (&"user:alice".into(), &100.into()));
    assert!(look["counters"].as_array().unwrap().len() == 1 && look["counters_left_out"].as_u64() > Some(0), "{look}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_store_is_looked_through_bit_by_bit_and_the_view_says_that_it_is_partial() {
    let spent = spent().await;
    let mut connection = redis::Client::open(spent.server.url()).unwrap().get_connection().unwrap();
    for thousand in 0..20 {
        let mut command = redis::cmd("MSET");
        for key in 0..1000 {
            command.arg(format!("noise:{thousand}:{key}")).arg("1");
        }
        command.exec(&mut connection).unwrap();
    }
    let scans = |connection: &mut redis::Connection| -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(connection).unwrap();
        let scan = info.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls=")).unwrap_or("0,");
        scan.split(',').next().unwrap().parse().unwrap()
    };
    // 1000 keys a second are two calls a second: three turns in two seconds.
    let look = spent.once(&["--keys-per-second", "1000", "--wait", "2"]);
    assert_eq!(look["complete"], false);
    let few = scans(&mut connection);
    assert!((2..=8).contains(&few), "{few} calls");
    let url = spent.server.url();
    let mut top = Terminal::start(&spent.args(&url, &["--keys-per-second", "1000"]));
    top.until_shown("partial: still looking");
    top.press("\u{3}");
    assert!(top.ended());

    // The terminal is given back also where the program is told to end.
    let top = Terminal::start(&spent.args(&url, &[]));
    top.until_shown("connected");
    let screen = top.screen.clone();
    let is_drawn_on = || screen.lock().unwrap().screen().alternate_screen();
    assert!(is_drawn_on());
    assert!(Command::new("kill").arg(top.child.process_id().unwrap().to_string()).status().unwrap().success());
    assert!(top.ended() && !is_drawn_on());

    let look = spent.once(&["--keys-per-second", "1000000"]);
    assert_eq!(look["complete"], true);
    assert!(scans(&mut connection) > 40, "20,000 keys in pages of 500");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_cluster_is_looked_through() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let guard = CostGuard::connect(&cluster.url(2)).await.unwrap();
    let policy =
        Policy::from_toml("[[limit]]\nscope = 'global'\nmeter = 'tokens'\nlimit = 10\nper = 'total'\n").unwrap();
    // Thirty roots lie on three nodes.
    for root in 0..30 {
        let tokens = Amounts::new().tokens(root);
        let _ = guard.charge(&policy, &Subject::new(&format!("root-{root:02}")), tokens).await.unwrap();
    }
    let output = cargo_bin_cmd!("costguard")
        .args(["top", "--once", "--json", "--sort", "name", "--url", &cluster.url(2)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let look: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = look["counters"].as_array().unwrap().iter();
    let used: Vec<_> =
        rows.map(|row| (row["root"].as_str().unwrap().to_owned(), row["used"].as_u64().unwrap())).collect();
    let expected: Vec<_> = (0..30).map(|root| (format!("root-{root:02}"), root)).collect();
    assert_eq!((used, look["complete"].as_bool()), (expected, Some(true)));
}

#[test]
fn a_pipe_is_no_terminal_and_a_server_that_is_away_is_an_error() {
    let run = |args: &[&str]| {
        let output = cargo_bin_cmd!("costguard").arg("top").args(args).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&["--url", "redis://127.0.0.1:1"]).contains("add --once for a single look"));
    assert!(run(&["--url", "redis://127.0.0.1:1", "--once"]).contains("127.0.0.1:1"));
    assert!(run(&["--json"]).contains("--once"));
    let server = Server::start();
    let mut admin = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("ACL").arg(&["SETUSER", "app", "on", ">secret", "~*", "+@all", "-scan"]).exec(&mut admin).unwrap();
    let refused = run(&["--url", &format!("redis://app:secret@{}", server.addr()), "--once"]);
    assert_eq!(refused.to_lowercase().matches("no permissions").count(), 1, "{refused}");
    assert!(run(&["--url", "memory:", "--once"]).contains("name a server"));
}
