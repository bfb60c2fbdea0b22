//! What the store should do, told again in plain Rust: maps and wide integers, no Lua, no doubles, none of the crate's code.

use std::collections::BTreeMap;

use costguard::ErrorKind;

use super::operation::{Delta, Operation, Taken};
use super::policy::{ADJUSTED, CounterKind, LimitKind, POLICIES};

const HOUR_MS: i64 = 3_600_000;
const RETENTION_MS: i64 = 48 * HOUR_MS;
const TOTAL_TTL_MS: i64 = 400 * 24 * HOUR_MS;

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Nothing,
    Charged { used: Vec<i128>, replayed: bool },
    Granted { used: Vec<i128>, replayed: bool },
    Denied { used: Vec<i128>, refused_by: Vec<usize>, binding: usize, retry_after_ms: Option<i64> },
    Peeked { used: Vec<i128> },
    Counted { count: i128, left_ms: i64, replayed: bool },
    Adjusted { before: i128, after: i128, replayed: bool },
    Failed(ErrorKind),
}

impl Outcome {
    fn as_replay(&self) -> Self {
        let mut again = self.clone();
        match &mut again {
            Self::Charged { replayed, .. }
            | Self::Granted { replayed, .. }
            | Self::Counted { replayed, .. }
            | Self::Adjusted { replayed, .. } => *replayed = true,
            _ => {}
        }
        again
    }
}

/// Things that are kept for a while under a key.
#[derive(Debug)]
struct Shelf<T>(BTreeMap<String, (T, i64)>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Shelf<T> {
    fn get(&self, key: &str) -> Option<&T> {
        self.0.get(key).map(|(kept, _)| kept)
    }

    fn put(&mut self, key: &str, kept: T, ends_ms: i64) {
        self.0.insert(key.to_owned(), (kept, ends_ms));
    }

    fn ends_ms(&self, key: &str) -> Option<i64> {
        self.0.get(key).map(|(_, ends_ms)| *ends_ms)
    }

    /// A key still lives in the very millisecond it ends at.
    fn forget_before(&mut self, now_ms: i64) {
        self.0.retain(|_, (_, ends_ms)| *ends_ms >= now_ms);
    }
}

/// What makes one request the same as another under the same id.
type Fingerprint = (&'static str, Vec<(String, i128)>);

/// The last correction's number, and every note.
type Journal = Vec<String>;

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now_ms: i64,
    /// Whether the store's clock is the test's: then what is kept ends.
    owns_clock: bool,
    receipt_ttl_ms: i64,
    counters: Shelf<i128>,
    journals: Shelf<Journal>,
    receipts: Shelf<(Fingerprint, Outcome)>,
}

/// A counter of a request: its key, when it ends, the amount for it.
struct Part {
    key: String,
    window_ends_ms: Option<i64>,
    amount: i128,
    limit: Option<i64>,
}

impl Model {
    pub(crate) fn new(now_ms: i64, owns_clock: bool, receipt_ttl_ms: i64) -> Self {
        let (counters, journals, receipts) = Default::default();
        Self { now_ms, owns_clock, receipt_ttl_ms, counters, journals, receipts }
    }

    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
        match *operation {
            Operation::Advance { ms } => {
                self.now_ms += ms;
                if self.owns_clock {
                    self.counters.forget_before(self.now_ms);
                    self.journals.forget_before(self.now_ms);
                    self.receipts.forget_before(self.now_ms);
                }
                Outcome::Nothing
            }
            Operation::Charge { user, policy, amounts, id } => {
                let parts = self.parts(user, POLICIES[policy], Some(amounts));
                self.once(id, fingerprint("charge", user, POLICIES[policy], amounts), |model| model.charge(&parts))
            }
            Operation::Admit { user, policy, amounts, id } => {
                let parts = self.parts(user, POLICIES[policy], Some(amounts));
                self.once(id, fingerprint("admit", user, POLICIES[policy], amounts), |model| model.admit(&parts))
            }
            Operation::Peek { user, policy } => {
                let parts = self.parts(user, POLICIES[policy], None);
                Outcome::Peeked { used: self.used(&parts) }
            }
            Operation::Count { user, amount, ttl_ms, extend, id } => {
                let request = vec![(format!("u{user} {ttl_ms} {extend}"), i128::from(amount))];
                self.once(id, ("count", request), |model| model.count(user, amount, ttl_ms, extend))
            }
            Operation::Adjust { user, counter, delta, id } => {
                let counter = ADJUSTED[counter];
                let (verb, amount) = match delta {
                    Delta::Add(amount) => ("adjust", i128::from(amount)),
                    Delta::Subtract(amount) => ("adjust", -i128::from(amount)),
                    Delta::Reset => ("reset", 0),
                };
                let request = vec![(format!("{} {counter:?}", counter.scope(user)), amount)];
                self.once(id, (verb, request), |model| {
                    model.adjust(user, counter, (verb == "adjust").then_some(amount))
                })
            }
        }
    }

    /// Everything that is stored: key, value, end. Receipts without their value, whose form is the scripts' business.
    pub(crate) fn dump(&self) -> Vec<(String, String, i64)> {
        let counters = self.counters.0.iter().map(|(key, (value, ends_ms))| (key, format!("'{value}'"), ends_ms));
        let journals = self.journals.0.iter().map(|(key, (notes, ends_ms))| {
            let mut fields: Vec<_> =
                notes.iter().enumerate().map(|(field, note)| (field.to_string(), note.clone())).collect();
            fields.push(("n".to_owned(), notes.len().to_string()));
            fields.sort();
            let fields: Vec<_> = fields.into_iter().map(|(field, value)| format!("{field}='{value}'")).collect();
            (key, format!("{{{}}}", fields.join(" ")), ends_ms)
        });
        let receipts = self.receipts.0.iter().map(|(key, (_, ends_ms))| (key, String::new(), ends_ms));
        let all = counters.chain(journals).chain(receipts);
        let mut all: Vec<_> = all.map(|(key, value, ends_ms)| (key.clone(), value, *ends_ms)).collect();
        all.sort();
        all
    }

    fn parts(&self, user: u8, limits: &[LimitKind], amounts: Option<Taken>) -> Vec<Part> {
        let parts = limits.iter().map(|(counter, limit)| {
            let (name, window_ends_ms) = counter.2.run(self.now_ms);
            let key = format!("{}:{{acme}}:{}:{name}", counter.1, counter.scope(user));
            Part {
                key,
                window_ends_ms,
                amount: amounts.map_or(0, |amounts| amount_of(amounts, *counter)),
                limit: *limit,
            }
        });
        parts.collect()
    }

    fn used(&self, parts: &[Part]) -> Vec<i128> {
        parts.iter().map(|part| self.counters.get(&part.key).copied().unwrap_or(0)).collect()
    }

    /// Does what was not done yet under this id. What fails or is refused leaves nothing behind.
    fn once(&mut self, id: Option<u8>, fingerprint: Fingerprint, act: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        let Some(id) = id else { return act(self) };
        let key = format!("receipt:{{acme}}:id{id}");
        match self.receipts.get(&key) {
            Some((known, outcome)) if *known == fingerprint => outcome.as_replay(),
            Some(_) => Outcome::Failed(ErrorKind::Conflict),
            None => {
                let outcome = act(self);
                if !matches!(outcome, Outcome::Failed(_) | Outcome::Denied { .. }) {
                    self.receipts.put(&key, (fingerprint, outcome.clone()), self.now_ms + self.receipt_ttl_ms);
                }
                outcome
            }
        }
    }

    /// The sums, when each of them fits.
    fn sums(&self, parts: &[Part]) -> Option<Vec<i128>> {
        let sums = self.used(parts).into_iter().zip(parts).map(|(used, part)| used + part.amount);
        sums.map(|sum| (sum <= i128::from(i64::MAX)).then_some(sum)).collect()
    }

    fn take(&mut self, parts: &[Part], sums: &[i128]) {
        for (part, sum) in parts.iter().zip(sums) {
            let ends_ms = part.window_ends_ms.map_or(self.now_ms + TOTAL_TTL_MS, |ends_ms| ends_ms + RETENTION_MS);
            self.counters.put(&part.key, *sum, ends_ms);
        }
    }

    fn charge(&mut self, parts: &[Part]) -> Outcome {
        let Some(used) = self.sums(parts) else { return Outcome::Failed(ErrorKind::Overflow) };
        self.take(parts, &used);
        Outcome::Charged { used, replayed: false }
    }

    fn admit(&mut self, parts: &[Part]) -> Outcome {
        let Some(sums) = self.sums(parts) else { return Outcome::Failed(ErrorKind::Overflow) };
        let refuses = |place: &usize| parts[*place].limit.is_some_and(|limit| sums[*place] > i128::from(limit));
        let refused_by: Vec<_> = (0..parts.len()).filter(refuses).collect();
        if refused_by.is_empty() {
            self.take(parts, &sums);
            return Outcome::Granted { used: sums, replayed: false };
        }
        // A request that is above the whole limit by itself never fits, nor does one after the end of a total.
        let frees_ms = |place: usize| {
            let alone = parts[place].limit.is_some_and(|limit| parts[place].amount > i128::from(limit));
            if alone { None } else { parts[place].window_ends_ms }
        };
        let longest = refused_by.iter().map(|place| frees_ms(*place).unwrap_or(i64::MAX)).max();
        let binding = refused_by.iter().find(|place| frees_ms(**place).unwrap_or(i64::MAX) == longest.unwrap());
        let binding = *binding.unwrap();
        let retry_after_ms = frees_ms(binding).map(|ends_ms| ends_ms - self.now_ms);
        Outcome::Denied { used: self.used(parts), refused_by, binding, retry_after_ms }
    }

    fn count(&mut self, user: u8, amount: u64, ttl_ms: i64, extend: bool) -> Outcome {
        let key = format!("requests:{{acme}}:user:u{user}:count");
        let count = self.counters.get(&key).copied().unwrap_or(0) + i128::from(amount);
        if count > i128::from(i64::MAX) {
            return Outcome::Failed(ErrorKind::Overflow);
        }
        let store_ms = if self.owns_clock { self.now_ms } else { 0 };
        let ends_ms = self.counters.ends_ms(&key).filter(|_| !extend).unwrap_or(store_ms + ttl_ms);
        self.counters.put(&key, count, ends_ms);
        Outcome::Counted { count, left_ms: ends_ms - store_ms, replayed: false }
    }

    fn adjust(&mut self, user: u8, counter: CounterKind, delta: Option<i128>) -> Outcome {
        let part = self.parts(user, &[(counter, None)], None).remove(0);
        let before = self.counters.get(&part.key).copied().unwrap_or(0);
        let after = delta.map_or(0, |delta| before + delta);
        if after > i128::from(i64::MAX) {
            return Outcome::Failed(ErrorKind::Overflow);
        }
        if after < 0 {
            return Outcome::Failed(ErrorKind::Invalid);
        }
        self.take(std::slice::from_ref(&part), &[after]);
        let key = format!("{}:adjustments", part.key);
        let mut notes = self.journals.get(&key).cloned().unwrap_or_default();
        notes.push(format!("{} {} {before} {after} a test", notes.len() + 1, self.now_ms));
        let ends_ms = self.counters.ends_ms(&part.key).unwrap();
        self.journals.put(&key, notes, ends_ms);
        Outcome::Adjusted { before, after, replayed: false }
    }
}

fn amount_of(amounts: Taken, counter: CounterKind) -> i128 {
    match counter.1 {
        "cost" => amounts.cost.into(),
        "tokens" => amounts.tokens.into(),
        _ => 1,
    }
}

/// Neither the limits nor the windows' runs are in it: a repeat may come in the next window, and under a new limit.
fn fingerprint(verb: &'static str, user: u8, limits: &[LimitKind], amounts: Taken) -> Fingerprint {
    let parts = limits.iter().map(|(counter, _)| {
        let CounterKind(_, meter, window) = counter;
        (format!("{} {meter} {window:?}", counter.scope(user)), amount_of(amounts, *counter))
    });
    (verb, parts.collect())
}
