//! Script calls as the table writes them. Where a contract's keys and arguments stand is known here only.

use costguard::script::{self, Op};
use costguard::store::ScriptCall;

use super::{ALWAYS, BUCKET, EXPIRES, NONCE, RECEIPT_TTL, RECORD_TTL, TTL, WIDTH};

/// One call. Counters are `(name, arguments)`.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    op: Op,
    window: (String, String),
    counters: Vec<(String, Vec<String>)>,
    /// Rates and marks of warnings: their keys, and four arguments each.
    states: Vec<(String, Vec<String>)>,
    /// When the rates that are corrected were taken from.
    taken_us: Option<String>,
    /// What the rules are asked; empty for nothing.
    asked: String,
    /// Arguments that belong to no counter.
    rest: Vec<String>,
    now_ms: String,
    touch: bool,
    /// Its key, how long it is kept, and the fingerprint.
    receipt: Option<(String, String, String)>,
    /// Keys and arguments as they are, where a case is about them.
    raw: Option<(Vec<String>, Vec<String>)>,
}

fn call(op: Op, counters: Vec<(String, Vec<String>)>, rest: &[&str]) -> Call {
    Call {
        op,
        window: (ALWAYS.0.to_owned(), ALWAYS.1.to_owned()),
        counters,
        states: Vec::new(),
        taken_us: None,
        asked: String::new(),
        rest: owned(rest),
        now_ms: String::new(),
        touch: false,
        receipt: None,
        raw: None,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Counters as `(name, amount, expiry)`.
pub(crate) fn charge(counters: &[(&str, &str, &str)]) -> Call {
    let counters = counters.iter().map(|(key, amount, expiry)| ((*key).to_owned(), owned(&[amount, expiry])));
    call(Op::Charge, counters.collect(), &[])
}

/// Counters as `(name, amount, expiry, limit)`.
pub(crate) fn admit(counters: &[(&str, &str, &str, &str)]) -> Call {
    let counters =
        counters.iter().map(|(key, amount, expiry, limit)| ((*key).to_owned(), owned(&[amount, expiry, limit])));
    call(Op::Admit, counters.collect(), &[])
}

/// `extend` is `1` or empty.
pub(crate) fn count(key: &str, amount: &str, ttl_ms: &str, extend: &str) -> Call {
    call(Op::Count, vec![(key.to_owned(), Vec::new())], &[amount, ttl_ms, extend])
}

pub(crate) fn peek(keys: &[&str]) -> Call {
    call(Op::Peek, keys.iter().map(|key| ((*key).to_owned(), Vec::new())).collect(), &[])
}

/// A correction of the counter `a` with the journal `j`.
pub(crate) fn adjust(delta: &str, expiry: &str, journal_size: &str, reason: &str) -> Call {
    let keys = vec![("a".to_owned(), Vec::new()), ("j".to_owned(), Vec::new())];
    call(Op::Adjust, keys, &[delta, expiry, journal_size, reason])
}

pub(crate) fn adjustments(journal_size: &str) -> Call {
    call(Op::Adjustments, vec![("j".to_owned(), Vec::new())], &[journal_size])
}

/// The hold `h` on counters as `(name, amount, expiry, limit)`: for [`TTL`], in buckets of 100 s, under this fingerprint.
pub(crate) fn reserve(counters: &[(&str, &str, &str, &str)], fingerprint: &str) -> Call {
    reserve_with(counters, &[TTL, WIDTH, RECORD_TTL, &format!("{fingerprint} -")])
}

/// `rest` is `ttl_ms, bucket, record_ttl_ms, tail`.
pub(crate) fn reserve_with(counters: &[(&str, &str, &str, &str)], rest: &[&str]) -> Call {
    let counters =
        counters.iter().map(|(key, amount, expiry, limit)| ((*key).to_owned(), owned(&[amount, expiry, limit])));
    call(Op::Reserve, counters.collect(), rest)
}

/// Settles the hold `h`, whose record is this, on counters as `(name, held, amount)`.
pub(crate) fn settle(record: &str, counters: &[(&str, &str, &str)]) -> Call {
    let amounts: Vec<_> = counters.iter().map(|(_, _, amount)| *amount).collect();
    settle_as(record, &amounts.join(","), RECEIPT_TTL, counters)
}

pub(crate) fn settle_as(record: &str, word: &str, receipt_ttl_ms: &str, counters: &[(&str, &str, &str)]) -> Call {
    let counters = counters.iter().map(|(key, held, amount)| ((*key).to_owned(), owned(&[held, amount])));
    call(Op::Settle, counters.collect(), &[record, BUCKET, EXPIRES, receipt_ttl_ms, word])
}

/// Counters as `(name, held)`.
pub(crate) fn release(record: &str, receipt_ttl_ms: &str, counters: &[(&str, &str)]) -> Call {
    let counters = counters.iter().map(|(key, held)| ((*key).to_owned(), owned(&[held])));
    call(Op::Release, counters.collect(), &[record, BUCKET, receipt_ttl_ms])
}

/// Counters as `(name, held)`.
pub(crate) fn extend(record: &str, ttl_ms: &str, width_ms: &str, counters: &[(&str, &str)]) -> Call {
    let counters = counters.iter().map(|(key, held)| ((*key).to_owned(), owned(&[held])));
    call(Op::Extend, counters.collect(), &[record, ttl_ms, width_ms, RECORD_TTL])
}

/// Counters as `(name, amount, limit)`, by the request [`NONCE`].
pub(crate) fn grow(record: &str, tail: &str, counters: &[(&str, &str, &str)]) -> Call {
    let counters = counters.iter().map(|(key, amount, limit)| ((*key).to_owned(), owned(&[amount, "1", limit])));
    call(Op::Grow, counters.collect(), &[record, RECORD_TTL, NONCE, tail])
}

pub(crate) fn hold() -> Call {
    call(Op::Hold, Vec::new(), &[])
}

/// Gives back of counters, as `(name, amount)`, what was taken at `taken_us`.
pub(crate) fn refund(counters: &[(&str, &str)], taken_us: &str) -> Call {
    let counters = counters.iter().map(|(key, amount)| ((*key).to_owned(), owned(&[amount])));
    call(Op::Refund, counters.collect(), &[]).taken(taken_us)
}

/// A rule under the root: `limit` is empty for a block, `until_ms` to lift it.
pub(crate) fn rule(name: &str, limit: &str, until_ms: &str) -> Call {
    call(Op::Rule, vec![("rules".to_owned(), Vec::new()), ("ruled".to_owned(), Vec::new())], &[name, limit, until_ms])
}

pub(crate) fn rules() -> Call {
    call(Op::Rules, vec![("rules".to_owned(), Vec::new())], &[])
}

/// One rate alone, by the store's clock, of which this much is taken.
pub(crate) fn admit_rate(amount: &str, limit: &str, span_us: &str, burst: &str) -> Call {
    raw(Op::AdmitRate, &["s", "ruled"], &[amount, limit, span_us, burst])
}

/// Any keys and arguments.
pub(crate) fn raw(op: Op, keys: &[&str], args: &[&str]) -> Call {
    Call { raw: Some((owned(keys), owned(args))), ..call(op, Vec::new(), &[]) }
}

impl Call {
    /// The script's name.
    pub(crate) fn name(&self) -> &'static str {
        self.op.contract().name
    }

    pub(crate) fn window(mut self, latest_start_ms: &str, earliest_end_ms: &str) -> Self {
        self.window = (latest_start_ms.to_owned(), earliest_end_ms.to_owned());
        self
    }

    pub(crate) fn at(mut self, now_ms: &str) -> Self {
        now_ms.clone_into(&mut self.now_ms);
        self
    }

    /// With a rate, or a mark of warnings: `how` is the burst, `sliding`, `log` or `warn`.
    pub(crate) fn state(mut self, key: &str, amount: &str, limit: &str, span_us: &str, how: &str) -> Self {
        self.states.push((key.to_owned(), owned(&[amount, limit, span_us, how])));
        self
    }

    /// Corrects the rates that follow, from which it was taken then.
    pub(crate) fn taken(mut self, taken_us: &str) -> Self {
        self.taken_us = Some(taken_us.to_owned());
        self
    }

    /// Asks the rules, a line each.
    pub(crate) fn asks(mut self, asked: &str) -> Self {
        asked.clone_into(&mut self.asked);
        self
    }

    pub(crate) fn touch(mut self) -> Self {
        self.touch = true;
        self
    }

    /// With the receipt `r`, kept for a minute.
    pub(crate) fn id(self, fingerprint: &str) -> Self {
        self.receipt("60000", fingerprint)
    }

    pub(crate) fn receipt(mut self, ttl_ms: &str, fingerprint: &str) -> Self {
        self.receipt = Some(("r".to_owned(), ttl_ms.to_owned(), fingerprint.to_owned()));
        self
    }

    pub(crate) fn script_call(&self, prefix: &str) -> ScriptCall {
        let (keys, args) = self.raw.clone().unwrap_or_else(|| self.keys_and_args());
        let keys = keys.into_iter().map(|key| format!("{prefix}{key}")).collect();
        ScriptCall { script: script::of(self.op), keys, args, idempotent: true }
    }

    fn keys_and_args(&self) -> (Vec<String>, Vec<String>) {
        let own = |from: usize| self.counters.iter().map(move |(_, args)| args[from].clone());
        let letters = || "c".repeat(self.counters.len());
        let span = || [seconds(&self.window.0), seconds(&self.window.1)];
        let (now, touch) = (time(&self.now_ms), if self.touch { "1".to_owned() } else { String::new() });
        let receipt: Vec<_> =
            self.receipt.iter().flat_map(|(_, ttl, fingerprint)| [ttl.clone(), fingerprint.clone()]).collect();
        let has_options = !self.now_ms.is_empty() || self.touch || self.receipt.is_some() || !self.asked.is_empty();
        // `asked` comes last.
        let options = |blank: usize| {
            let mut options = vec![now.clone(), touch.clone()];
            options.extend(receipt.iter().cloned());
            options.resize(blank, String::new());
            if !self.asked.is_empty() {
                options[blank - 1] = self.asked.clone();
            }
            options.into_iter().filter(move |_| has_options)
        };
        let states = || self.states.iter().flat_map(|(_, args)| args.clone());
        let corrections = || self.taken_us.iter().cloned().chain(states());
        // `expiries` and `(amount, limit)...` from `(amount, expiry, limit)`.
        let expiries = || {
            own(1).map(|expiry| if expiry.is_empty() { "-".to_owned() } else { expiry }).collect::<Vec<_>>().join(" ")
        };
        let limits = || self.counters.iter().flat_map(|(_, args)| [args[0].clone(), args[2].clone()]);
        let rest = || self.rest.iter().cloned();
        let mut args: Vec<String> = Vec::new();
        match self.op {
            Op::Charge => {
                args.extend(span());
                args.extend(self.counters.iter().flat_map(|(_, args)| args.clone()));
                args.extend(states().chain(options(5)));
            }
            Op::Admit => {
                args.push(letters());
                if !self.counters.is_empty() {
                    args.extend(span().into_iter().chain([expiries()]).chain(limits()));
                }
                args.extend(states().chain(options(5)));
            }
            Op::Reserve => {
                args.push(letters());
                args.extend(span().into_iter().chain([expiries()]).chain(rest()));
                args.extend(limits().chain(states()).chain(options(3)));
            }
            Op::Peek => {
                args.push(letters());
                args.extend(span().into_iter().chain(states()).chain(options(2)));
            }
            Op::Count => args.extend(rest().chain(receipt)),
            Op::Adjust => {
                args.extend([self.window.0.clone(), self.window.1.clone()]);
                args.extend(rest().chain([self.now_ms.clone()]).chain(receipt));
            }
            Op::Adjustments => {
                args.extend([self.window.0.clone(), self.window.1.clone()]);
                args.extend(rest().chain((!self.now_ms.is_empty()).then(|| self.now_ms.clone())));
            }
            Op::Settle => {
                args.push(letters());
                args.extend(rest().chain([now]).chain(own(0)).chain(own(1)).chain(corrections()));
            }
            Op::Release => {
                args.push(letters());
                args.extend(rest().chain(own(0)));
                if self.taken_us.is_some() {
                    args.push(now);
                    args.extend(corrections());
                }
            }
            Op::Extend => args.extend(rest().chain([self.now_ms.clone()]).chain(own(0))),
            Op::Grow => {
                args.push(letters());
                args.extend(self.rest[..2].iter().cloned().chain([expiries()]).chain(limits()).chain(states()));
                args.extend([now, self.rest[2].clone(), self.rest[3].clone()]);
            }
            Op::Refund => {
                args.push(letters());
                // Bounds where it was taken now.
                args.extend(if self.taken_us.as_deref() == Some("") { span() } else { Default::default() });
                args.extend(own(0).chain(states()).chain([now]).chain(self.taken_us.clone()));
                args.extend(receipt);
                args.resize(self.counters.len() + 4 * self.states.len() + 7, String::new());
            }
            _ => args.extend(rest().chain((!self.now_ms.is_empty()).then(|| self.now_ms.clone()))),
        }
        (self.keys(), args)
    }

    fn keys(&self) -> Vec<String> {
        let counters = || self.counters.iter().map(|(key, _)| key.clone());
        let held = || self.counters.iter().map(|(key, _)| format!("{key}:held"));
        let holds = || self.counters.iter().map(|(key, _)| format!("{key}:holds"));
        let receipt = || self.receipt.iter().map(|(key, _, _)| key.clone());
        let hold = || std::iter::once("h".to_owned());
        let ruled = || std::iter::once("ruled".to_owned());
        let states = || self.states.iter().map(|(key, _)| key.clone());
        let rules = || (!self.asked.is_empty()).then(|| "rules".to_owned());
        match self.op {
            Op::Admit => {
                let before = counters().chain(held()).chain(states()).chain(ruled()).chain(receipt());
                before.chain(holds()).chain(rules()).collect()
            }
            Op::Charge | Op::Refund => counters().chain(states()).chain(receipt()).collect(),
            Op::Peek => counters().chain(states()).chain(ruled()).chain(holds()).chain(rules()).collect(),
            Op::Reserve => {
                let before = counters().chain(held()).chain(states()).chain(ruled());
                before.chain(hold()).chain(holds()).chain(rules()).collect()
            }
            Op::Settle => counters().chain(held()).chain(hold()).chain(holds()).chain(states()).collect(),
            Op::Grow => counters().chain(held()).chain(states()).chain(hold()).chain(holds()).collect(),
            Op::Release => held().chain(hold()).chain(holds()).chain(states()).collect(),
            Op::Extend => hold().chain(holds()).chain(held()).collect(),
            Op::Hold => hold().chain(holds()).collect(),
            _ => counters().chain(receipt()).collect(),
        }
    }

    /// A reply as the table writes it: times as milliseconds, and without the words `part` and `shadowed` where they say
    /// nothing.
    pub(crate) fn as_written(&self, given: &str) -> String {
        let words: Vec<_> = given.split(' ').collect();
        let ms = |seconds: &str, us: &str| {
            let (seconds, us) = (seconds.parse::<i64>().unwrap(), us.parse::<i64>().unwrap());
            (seconds * 1000 + us / 1000).to_string()
        };
        match (self.op, &words[..]) {
            (_, ["REPLAY", ..]) => format!("REPLAY {}", self.as_written(&given["REPLAY ".len()..])),
            (_, ["STALE", seconds]) => format!("STALE {seconds}000"),
            (Op::Admit, ["GRANTED", _, _, "-", "-", rest @ ..]) => format!("GRANTED {}", rest.join(" ")),
            (Op::AdmitRate, ["GRANTED", seconds, us, rest @ ..]) => {
                format!("GRANTED {} {}", ms(seconds, us), rest.join(" "))
            }
            (Op::AdmitRate, ["RULED", seconds]) => format!("RULED {seconds}000"),
            (Op::Reserve, ["GRANTED", seconds, us, bucket, part, "-", rest @ ..]) => {
                format!("GRANTED {} {bucket} {part} {}", ms(seconds, us), rest.join(" "))
            }
            (_, [status @ "DENIED", seconds, us, rest @ ..]) | (Op::Peek, [status @ "OK", seconds, us, rest @ ..]) => {
                format!("{status} {} {}", ms(seconds, us), rest.join(" "))
            }
            _ => given.to_owned(),
        }
    }
}

/// The seconds of a time in milliseconds, in ten digits; what is no number stays as it is.
fn seconds(ms: &str) -> String {
    ms.parse::<i64>().map_or_else(|_| ms.to_owned(), |ms| format!("{:010}", (ms / 1000).min(9_999_999_999)))
}

/// An injected time, in thirteen digits; none stays none.
fn time(ms: &str) -> String {
    ms.parse::<i64>().map_or_else(|_| ms.to_owned(), |ms| format!("{ms:013}"))
}

/// The words of an expected reply.
pub(crate) struct Words<'a>(pub(crate) &'a str);

impl Words<'_> {
    /// Whether a given reply is the expected one.
    pub(crate) fn fit(&self, given: &str, is_now: impl Fn(i64) -> bool) -> bool {
        let (expected, given): (Vec<_>, Vec<_>) = (self.0.split(' ').collect(), given.split(' ').collect());
        expected.len() == given.len()
            && expected.iter().zip(given).all(|(expected, given)| {
                match (expected.strip_prefix('~'), given.parse::<i64>()) {
                    (Some(left_ms), Ok(given_ms)) => {
                        let left_ms: i64 = left_ms.parse().unwrap();
                        left_ms.abs_diff(given_ms) <= 5000
                    }
                    (None, Ok(given_ms)) if *expected == "NOW" => is_now(given_ms),
                    _ => *expected == given,
                }
            })
    }
}
