//! One table of cases, run on every store: each reply and all stored state are what the table says, byte for byte, and so
//! the same everywhere.
//!
//! The table works on the level of script calls. Counters are named by a letter, which stands for a key with the test's
//! prefix and one hash tag. An operation is added by a builder in `conformance/call.rs` and a file of cases.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "conformance/adjust.rs"]
mod adjust;
#[path = "conformance/admit.rs"]
mod admit;
#[path = "conformance/cache.rs"]
mod cache;
#[path = "conformance/call.rs"]
mod call;
#[path = "conformance/charge.rs"]
mod charge;
#[path = "conformance/count.rs"]
mod count;
#[path = "conformance/elsewhere.rs"]
mod elsewhere;
#[path = "conformance/ends.rs"]
mod ends;
#[path = "conformance/keep.rs"]
mod keep;
#[path = "conformance/peek.rs"]
mod peek;
#[path = "conformance/rates.rs"]
mod rates;
#[path = "conformance/refund.rs"]
mod refund;
#[path = "conformance/reserve.rs"]
mod reserve;
#[path = "conformance/rules.rs"]
mod rules;
#[path = "conformance/soft.rs"]
mod soft;
mod support;
#[path = "conformance/window.rs"]
mod window;

use std::collections::BTreeSet;

use call::{Call, Words};
use costguard::script::Op;
use costguard::store::Reply;
use support::{TestStore, every_store, shared_words, without_place};

/// A time to inject, 2096-10-02T07:06:40Z: later than any server's, so that TTLs are absolute and can be compared exactly.
const NOW: &str = "4000000000000";
/// When counters end.
const END: &str = "4100000000000";
/// A window that holds every time.
const ALWAYS: (&str, &str) = ("0", "9007199254740991");

/// A hold made at [`NOW`]: how long it lives, the width of its buckets, when it ends, and when its bucket does.
const TTL: &str = "550000";
const WIDTH: &str = "100000";
const EXPIRES: &str = "4000000550000";
const BUCKET: &str = "4000000600000";
/// How long the record of a hold lives while it is open, and after.
const RECORD_TTL: &str = "700000";
const RECEIPT_TTL: &str = "60000";
/// The request by which a hold grows.
const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// How long a rate is kept at least that was written at an injected time.
const KEPT: Ttl = In(3_600_000);

const MAX: &str = "9223372036854775807";
const MIN: &str = "-9223372036854775808";

/// What no script of ours writes into a counter, and what it is taken for.
const CORRUPT: [&str; 14] = [
    "abc",
    "",
    "05",
    " 5",
    "5 ",
    "1.5",
    "+5",
    "-",
    "-0",
    "1e3",
    "0x10",
    "5\n",
    "99999999999999999999",
    "9223372036854775808",
];

/// What is not an amount.
const NO_AMOUNT: [&str; 12] = ["", "-1", "-0", "05", "00", "1.5", "+5", " 5", "5 ", "abc", "0x10", "1e3"];

/// What is not an expiry.
const NO_EXPIRY: [&str; 11] =
    ["", "abc", "0", "+0", "-5", "nan", "inf", "-inf", "9100000000000000", "+9100000000000000", "+"];

/// When a key of the expected state ends.
#[derive(Clone, Copy, Debug)]
enum Ttl {
    Never,
    /// At this time, in milliseconds since the epoch.
    At(&'static str),
    /// Within 5 s of this time: by the store's clock, to which no time was injected.
    About(&'static str),
    /// This long after the store's now, in milliseconds. Where a time was injected scripts count from the last whole second.
    In(i64),
}
use Ttl::{About, At, In, Never};

enum Step {
    /// A command behind the scripts' back.
    Put(&'static str, &'static str, Vec<String>),
    Run(Box<Call>, String),
}

/// A row of the table.
struct Case {
    name: String,
    steps: Vec<Step>,
    state: Vec<(String, String, Ttl)>,
}

fn case(name: impl Into<String>) -> Case {
    Case { name: name.into(), steps: Vec::new(), state: Vec::new() }
}

impl Case {
    /// Before or between the calls: a command on one key.
    fn put(mut self, command: &'static str, key: &'static str, args: &[&str]) -> Self {
        self.steps.push(Step::Put(command, key, args.iter().map(|arg| (*arg).to_owned()).collect()));
        self
    }

    /// A call and its reply, as [`words`] shows it: `~60000` stands for a time left that differs by 5 s at most, `NOW` for
    /// the store's now.
    fn run(mut self, call: Call, reply: impl Into<String>) -> Self {
        self.steps.push(Step::Run(Box::new(call), reply.into()));
        self
    }

    /// A key that is there in the end, beside those of other calls of this: strings in quotes, hashes in braces.
    fn holds(mut self, key: &str, value: impl Into<String>, ttl: Ttl) -> Self {
        self.state.push((key.to_owned(), value.into(), ttl));
        self
    }
}

fn table() -> Vec<Case> {
    let simple = [charge::cases(), admit::cases(), count::cases(), peek::cases(), adjust::cases()];
    let limits = [rates::cases(), soft::cases(), rules::cases(), refund::cases()];
    let services = [window::cases(), keep::cases(), cache::cases()];
    simple.into_iter().chain([reserve::cases(), ends::cases()]).chain(limits).chain(services).flatten().collect()
}

#[tokio::test]
async fn same_everywhere_replies_and_stored_state_byte_for_byte() {
    let stores = every_store().await;
    let (mut failures, mut seen) = (Vec::new(), BTreeSet::new());
    let table = table();
    for case in &table {
        let mut shapes: Option<Vec<String>> = None;
        for store in &stores {
            let outcome = play(case, store).await;
            seen.extend(outcome.seen.iter().cloned());
            let shapes = shapes.get_or_insert_with(|| outcome.shapes.clone());
            if *shapes != outcome.shapes {
                failures.push(format!("{}\n  embedded {shapes:?}\n  {} {:?}", case.name, store.name, outcome.shapes));
            }
            failures.extend(outcome.failures.iter().map(|it| format!("{}, on {}\n{it}", case.name, store.name)));
            store.clean().await;
        }
    }
    println!("{} cases on {} stores", table.len(), stores.len());
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    let missing: Vec<_> = promised().into_iter().filter(|answer| !seen.contains(answer)).collect();
    assert!(missing.is_empty(), "no case has these answers: {missing:?}");
}

/// Every answer of every contract, as `admit GRANTED`, and every error, as `admit COSTGUARD_OVERFLOW`.
fn promised() -> Vec<String> {
    let of = |op: &Op| {
        let contract = op.contract();
        let replies = contract.reply.iter().filter_map(|reply| reply.split(' ').next().map(str::to_owned));
        let errors =
            contract.errors.split(' ').filter(|code| *code != "(none)").map(|code| format!("COSTGUARD_{code}"));
        replies.chain(errors).map(|word| format!("{} {word}", contract.name)).collect::<Vec<_>>()
    };
    Op::ALL.iter().flat_map(of).collect()
}

#[derive(Default)]
struct Outcome {
    failures: Vec<String>,
    /// How each reply is built: which of its words are numbers and which are text.
    shapes: Vec<String>,
    /// The first word of each reply after the script's name.
    seen: Vec<String>,
}

async fn play(case: &Case, store: &TestStore) -> Outcome {
    let mut outcome = Outcome::default();
    let before_ms = store.now_ms().await;
    for step in &case.steps {
        match step {
            Step::Put(command, key, args) => {
                let args: Vec<_> = args.iter().map(String::as_str).collect();
                store.command(command, &format!("{{c}}:{key}"), &args).await;
            }
            Step::Run(call, expected) => {
                let reply = store.store.run(&call.script_call(&format!("{}{{c}}:", store.prefix))).await.unwrap();
                let given = call.as_written(&words(&reply, &format!("{}{{c}}:", store.prefix)));
                let word = given.trim_start_matches('!').split(' ').next().unwrap_or_default();
                outcome.seen.push(format!("{} {word}", call.name()));
                let now_s = (before_ms / 1000)..=(store.now_ms().await / 1000);
                if !Words(expected).fit(&given, |now_ms| now_s.contains(&(now_ms / 1000))) {
                    outcome.failures.push(format!("  {call:?}\n    gives    {given}\n    and not  {expected}"));
                }
                outcome.shapes.push(shape(&reply));
            }
        }
    }
    let dump = store.dump().await;
    let after_ms = store.now_ms().await;
    // A server's clock may be set while it runs.
    let slack_ms = if store.clock().is_some() { 0 } else { 2000 };
    let values: Vec<_> = dump.iter().map(|it| receipt_as_written(&it.value)).collect();
    let given: Vec<_> =
        dump.iter().zip(&values).map(|(it, value)| (it.key.trim_start_matches("{c}:"), &**value)).collect();
    let mut expected: Vec<_> = case.state.iter().map(|(key, value, _)| (&**key, &**value)).collect();
    expected.sort_unstable();
    if given != expected {
        outcome.failures.push(format!("  stored   {given:?}\n  and not  {expected:?}"));
        return outcome;
    }
    for stored in &dump {
        let key = stored.key.trim_start_matches("{c}:");
        let (_, _, ttl) = case.state.iter().find(|(expected, _, _)| expected == key).unwrap();
        let right = match (ttl, stored.expire_at_ms) {
            (Never, None) => true,
            (At(at), Some(given_ms)) => at.parse() == Ok(given_ms),
            (About(at), Some(given_ms)) => at.parse::<i64>().unwrap().abs_diff(given_ms) <= 5000,
            (In(ms), Some(given_ms)) => {
                (before_ms - 999 - slack_ms + ms..=after_ms + slack_ms + ms).contains(&given_ms)
            }
            _ => false,
        };
        if !right {
            let given_ms = stored.expire_at_ms;
            outcome.failures.push(format!("  {key} ends at {given_ms:?} and not {ttl:?}; the time is {before_ms}"));
        }
    }
    outcome
}

/// A stored value as the table writes it: the receipt of a grant without its time and what else a plain one leaves out.
fn receipt_as_written(value: &str) -> String {
    let words: Vec<_> = value.split(' ').collect();
    match &words[..] {
        [fingerprint, "GRANTED", _, _, "-", "-", rest @ ..] => format!("{fingerprint} GRANTED {}", rest.join(" ")),
        _ => value.to_owned(),
    }
}

/// A reply as the table writes it: its words, an error after `!`, keys without the prefix. What a server adds to a raised
/// error, which script it was, is left out.
fn words(reply: &Reply, prefix: &str) -> String {
    match reply {
        Reply::Null => "nil".to_owned(),
        Reply::Int(int) => int.to_string(),
        Reply::Text(text) => text.replace('\n', " "),
        Reply::Status(text) => format!("+{text}"),
        Reply::Array(items) => items.iter().map(|item| words(item, prefix)).collect::<Vec<_>>().join(" "),
        Reply::Error(text) => {
            format!("!{}", without_line(without_place(text)).replace(prefix, ""))
        }
    }
}

/// Which line of a script it was is the script's business.
fn without_line(error: &str) -> String {
    let mut parts = error.split("user_script:");
    let first = parts.next().unwrap_or_default();
    parts.fold(first.to_owned(), |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn shape(reply: &Reply) -> String {
    match reply {
        Reply::Null => "nil".to_owned(),
        Reply::Int(_) => "int".to_owned(),
        Reply::Text(_) => "text".to_owned(),
        Reply::Status(_) => "status".to_owned(),
        Reply::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(" ")),
        Reply::Error(text) => shared_words(text),
    }
}

// Errors that several operations give.
const CONFLICT: &str = "!COSTGUARD_CONFLICT this operation id was used for a different request; use a new id";
const CORRUPT_A: &str = "!COSTGUARD_CORRUPT a does not hold an integer";
const CORRUPT_B: &str = "!COSTGUARD_CORRUPT b does not hold an integer";
const CORRUPT_B_64: &str = "!COSTGUARD_CORRUPT b does not hold a 64-bit integer";
const OVERFLOW_B: &str = "!COSTGUARD_OVERFLOW b would leave the 64-bit range";
const INVALID_AMOUNT_1: &str = "!COSTGUARD_INVALID amount 1";
const INVALID_AMOUNT_2: &str = "!COSTGUARD_INVALID amount 2";
const INVALID_FINGERPRINT: &str = "!COSTGUARD_INVALID the fingerprint is not one word";
const INVALID_RECEIPT_TTL: &str = "!COSTGUARD_INVALID receipt_ttl_ms";
const WRONG_TYPE: &str = "!WRONGTYPE Operation against a key holding the wrong kind of value";
const HOLD_CONFLICT: &str = "!COSTGUARD_CONFLICT this hold id was used for a different request; use a new id";
const CORRUPT_A_HOLDS: &str = "!COSTGUARD_CORRUPT a:holds does not hold amounts by time";
const CORRUPT_B_HELD: &str = "!COSTGUARD_CORRUPT b:held does not hold an amount";
const OVERFLOW_A: &str = "!COSTGUARD_OVERFLOW a would leave the 64-bit range";
const WAS_SETTLED: &str = "!COSTGUARD_SETTLED this hold was settled";
const WAS_RELEASED: &str = "!COSTGUARD_RELEASED this hold was released";
const SETTLED_OTHERWISE: &str = "!COSTGUARD_CONFLICT this hold was settled with other amounts";
const NO_HOLD: &str = "!COSTGUARD_CORRUPT h does not hold a hold";
const NO_START: &str = "!ERR : attempt to perform arithmetic on local 'latest_start_ms' (a string value)";
const NO_END: &str = "!ERR : attempt to perform arithmetic on local 'earliest_end_ms' (a string value)";
/// What is not a TTL in milliseconds.
const NO_TTL: [&str; 9] = ["", "0", "-1", "05", "1.5", " 5", "abc", "1e3", "1000000000000000"];
