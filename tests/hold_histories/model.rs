//! What becomes of holds, told again in plain Rust: maps and wide integers, buckets that end at once, none of the crate's code.

use std::collections::BTreeMap;

use costguard::ErrorKind;
use proptest::prelude::*;

use super::policy::{CounterKind, LimitKind, WindowKind};
use super::support::buckets::{bucket_of, bucket_of_reserved};

const HOUR_MS: i64 = 3_600_000;
const RETENTION_MS: i64 = 48 * HOUR_MS;
const TOTAL_TTL_MS: i64 = 400 * 24 * HOUR_MS;
/// Short, so that on the embedded store records end in mid-history.
pub(crate) const RECEIPT_TTL_MS: i64 = 6 * HOUR_MS + 1;

pub(crate) const USERS: u8 = 2;
const IDS: u8 = 12;
const USER_DAY: CounterKind = CounterKind("user", "cost", WindowKind::BerlinDay);

pub(crate) const POLICIES: [&[LimitKind]; 4] = [
    // Two windows of one meter on one scope.
    &[(CounterKind("user", "cost", WindowKind::Hour), Some(2500)), (USER_DAY, Some(6000))],
    &[(USER_DAY, Some(4000)), (CounterKind("org", "tokens", WindowKind::Month), Some(9000))],
    &[
        (CounterKind("user", "cost", WindowKind::Minute), Some(1500)),
        (CounterKind("global", "cost", WindowKind::Total), Some(30_000)),
        (CounterKind("org", "tokens", WindowKind::Every90s), None),
    ],
    &[(CounterKind("user", "cost", WindowKind::Month), Some(9_007_199_254_740_993))],
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) cost: i64,
    pub(crate) tokens: i64,
}

impl Amount {
    fn of(self, meter: &str) -> i128 {
        if meter == "cost" { self.cost.into() } else { self.tokens.into() }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Advance {
        ms: i64,
    },
    /// The process that has the handle dies.
    Forget {
        id: u8,
    },
    Charge {
        user: u8,
        policy: usize,
        amount: Amount,
    },
    Admit {
        user: u8,
        policy: usize,
        amount: Amount,
    },
    Reserve {
        user: u8,
        policy: usize,
        amount: Amount,
        id: u8,
        ttl_ms: i64,
    },
    Settle {
        id: u8,
        amount: Amount,
        elsewhere: bool,
    },
    Release {
        id: u8,
        elsewhere: bool,
    },
    Extend {
        id: u8,
        ttl_ms: i64,
        elsewhere: bool,
    },
    Grow {
        id: u8,
        amount: Amount,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Nothing,
    Done,
    Denied(Vec<usize>),
    /// By so many limits.
    Refused(usize),
    Reserved {
        ended: bool,
        expires_ms: i64,
    },
    Settled {
        used: Vec<i128>,
        over: Vec<bool>,
        late: bool,
        replayed: bool,
    },
    Failed(ErrorKind),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Open,
    Settled(Vec<i128>, Outcome),
    Released,
}

#[derive(Clone, Debug)]
struct Part {
    key: String,
    meter: &'static str,
    /// When the counter ends.
    ends_ms: i64,
    amount: i128,
    limit: Option<i128>,
}

#[derive(Clone, Debug)]
struct Held {
    /// What makes a repeat the same.
    request: Vec<(String, WindowKind, i128)>,
    parts: Vec<Part>,
    reserved_ms: i64,
    expires_ms: i64,
    bucket_ms: i64,
    state: State,
    forgotten_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now_ms: i64,
    /// Whether the store's clock is the test's: then what is kept ends.
    owns_clock: bool,
    counters: BTreeMap<String, (i128, i64)>,
    buckets: BTreeMap<(String, i64), i128>,
    holds: BTreeMap<u8, Held>,
}

impl Model {
    pub(crate) fn new(now_ms: i64, owns_clock: bool) -> Self {
        let (counters, buckets, holds) = Default::default();
        Self { now_ms, owns_clock, counters, buckets, holds }
    }

    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
        match *operation {
            Operation::Advance { ms } => {
                self.advance(ms);
                Outcome::Nothing
            }
            Operation::Forget { .. } => Outcome::Nothing,
            Operation::Charge { user, policy, amount } => {
                let parts = self.parts(user, policy, amount);
                self.spend(&parts);
                Outcome::Done
            }
            Operation::Admit { user, policy, amount } => {
                let parts = self.parts(user, policy, amount);
                let refused_by = self.refuse(&parts);
                if refused_by.is_empty() {
                    self.spend(&parts);
                    return Outcome::Done;
                }
                Outcome::Denied(refused_by)
            }
            Operation::Reserve { user, policy, amount, id, ttl_ms } => self.reserve(user, policy, amount, id, ttl_ms),
            Operation::Settle { id, amount, .. } => self.settle(id, amount),
            Operation::Release { id, .. } => self.release(id),
            Operation::Extend { id, ttl_ms, .. } => self.extend(id, ttl_ms),
            Operation::Grow { id, amount } => self.grow(id, amount),
        }
    }

    /// Used and held of each limit.
    pub(crate) fn stands(&self, user: u8, policy: usize) -> Vec<(i128, i128)> {
        let parts = self.parts(user, policy, Amount { cost: 0, tokens: 0 });
        parts.iter().map(|part| (self.used(&part.key), self.held(&part.key))).collect()
    }

    pub(crate) fn spent(&self) -> BTreeMap<String, i128> {
        self.counters.iter().map(|(key, (spent, _))| (key.clone(), *spent)).collect()
    }

    fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        self.buckets.retain(|(_, ends_ms), _| *ends_ms > now_ms);
        if self.owns_clock {
            // A key still lives in the very millisecond it ends at.
            self.counters.retain(|_, (_, ends_ms)| *ends_ms >= now_ms);
            self.holds.retain(|_, hold| hold.forgotten_ms >= now_ms);
        }
    }

    fn parts(&self, user: u8, policy: usize, amount: Amount) -> Vec<Part> {
        let parts = POLICIES[policy].iter().map(|(counter, limit)| {
            let (name, ends_ms) = counter.2.run(self.now_ms);
            Part {
                key: format!("{}:{{acme}}:{}:{name}", counter.1, counter.scope(user)),
                meter: counter.1,
                ends_ms: ends_ms.map_or(self.now_ms + TOTAL_TTL_MS, |ends_ms| ends_ms + RETENTION_MS),
                amount: amount.of(counter.1),
                limit: limit.map(i128::from),
            }
        });
        parts.collect()
    }

    fn used(&self, key: &str) -> i128 {
        self.counters.get(key).map_or(0, |(spent, _)| *spent)
    }

    fn held(&self, key: &str) -> i128 {
        self.buckets.iter().filter(|((of, _), _)| of == key).map(|(_, amount)| amount).sum()
    }

    fn refuse(&self, parts: &[Part]) -> Vec<usize> {
        let over = |part: &Part| {
            part.limit.is_some_and(|limit| self.used(&part.key) + self.held(&part.key) + part.amount > limit)
        };
        (0..parts.len()).filter(|place| over(&parts[*place])).collect()
    }

    fn spend(&mut self, parts: &[Part]) {
        for part in parts {
            let counter = self.counters.entry(part.key.clone()).or_insert((0, part.ends_ms));
            counter.0 += part.amount;
        }
    }

    fn reserve(&mut self, user: u8, policy: usize, amount: Amount, id: u8, ttl_ms: i64) -> Outcome {
        let request = POLICIES[policy]
            .iter()
            .map(|(counter, _)| (format!("{} {}", counter.scope(user), counter.1), counter.2, amount.of(counter.1)));
        let request: Vec<_> = request.collect();
        if let Some(hold) = self.holds.get(&id) {
            if hold.request != request {
                return Outcome::Failed(ErrorKind::Conflict);
            }
            return Outcome::Reserved { ended: hold.state != State::Open, expires_ms: hold.expires_ms };
        }
        let parts = self.parts(user, policy, amount);
        let refused_by = self.refuse(&parts);
        if !refused_by.is_empty() {
            return Outcome::Denied(refused_by);
        }
        let expires_ms = self.now_ms + ttl_ms;
        let bucket_ms = bucket_of_reserved(self.now_ms, ttl_ms);
        for part in &parts {
            self.counters.entry(part.key.clone()).or_insert((0, part.ends_ms));
            *self.buckets.entry((part.key.clone(), bucket_ms)).or_insert(0) += part.amount;
        }
        let forgotten_ms = expires_ms + RECEIPT_TTL_MS;
        self.holds.insert(
            id,
            Held { request, parts, reserved_ms: self.now_ms, expires_ms, bucket_ms, state: State::Open, forgotten_ms },
        );
        Outcome::Reserved { ended: false, expires_ms }
    }

    /// Takes the amounts of a hold out of its buckets, where those have not ended.
    fn unhold(&mut self, hold: &Held) {
        for part in &hold.parts {
            if let Some(bucket) = self.buckets.get_mut(&(part.key.clone(), hold.bucket_ms)) {
                *bucket -= part.amount;
            }
        }
    }

    fn settle(&mut self, id: u8, amount: Amount) -> Outcome {
        let Some(mut hold) = self.holds.get(&id).cloned() else { return Outcome::Failed(ErrorKind::UnknownHold) };
        let amounts: Vec<_> = hold.parts.iter().map(|part| amount.of(part.meter)).collect();
        match &hold.state {
            State::Released => return Outcome::Failed(ErrorKind::HoldEnded),
            State::Settled(known, outcome) if *known == amounts => {
                let mut again = outcome.clone();
                if let Outcome::Settled { replayed, .. } = &mut again {
                    *replayed = true;
                }
                return again;
            }
            State::Settled(..) => return Outcome::Failed(ErrorKind::Conflict),
            State::Open => {}
        }
        self.unhold(&hold);
        let (mut used, mut over) = (Vec::new(), Vec::new());
        for (part, amount) in hold.parts.iter().zip(&amounts) {
            let ends_ms = self.now_ms + RECEIPT_TTL_MS;
            let counter = self.counters.entry(part.key.clone()).or_insert((0, ends_ms));
            counter.0 += amount;
            used.push(counter.0);
            over.push(part.limit.is_some_and(|limit| counter.0 > limit));
        }
        let outcome = Outcome::Settled { used, over, late: self.now_ms >= hold.expires_ms, replayed: false };
        hold.state = State::Settled(amounts, outcome.clone());
        hold.forgotten_ms = self.now_ms + RECEIPT_TTL_MS;
        self.holds.insert(id, hold);
        outcome
    }

    fn release(&mut self, id: u8) -> Outcome {
        let Some(mut hold) = self.holds.get(&id).cloned() else { return Outcome::Failed(ErrorKind::UnknownHold) };
        match hold.state {
            State::Released => return Outcome::Done,
            State::Settled(..) => return Outcome::Failed(ErrorKind::HoldEnded),
            State::Open => {}
        }
        self.unhold(&hold);
        hold.state = State::Released;
        hold.forgotten_ms = self.now_ms + RECEIPT_TTL_MS;
        self.holds.insert(id, hold);
        Outcome::Done
    }

    /// A hold that can still be changed.
    fn changeable(&self, id: u8) -> Result<Held, Outcome> {
        let Some(hold) = self.holds.get(&id) else { return Err(Outcome::Failed(ErrorKind::UnknownHold)) };
        if hold.state != State::Open || self.now_ms >= hold.expires_ms {
            return Err(Outcome::Failed(ErrorKind::HoldEnded));
        }
        Ok(hold.clone())
    }

    fn extend(&mut self, id: u8, ttl_ms: i64) -> Outcome {
        let mut hold = match self.changeable(id) {
            Ok(hold) => hold,
            Err(outcome) => return outcome,
        };
        self.unhold(&hold);
        hold.expires_ms = hold.expires_ms.max(self.now_ms + ttl_ms);
        hold.bucket_ms = hold.bucket_ms.max(bucket_of(hold.expires_ms, ttl_ms));
        for part in &hold.parts {
            *self.buckets.entry((part.key.clone(), hold.bucket_ms)).or_insert(0) += part.amount;
        }
        // Not earlier than before, as it does not end earlier.
        hold.forgotten_ms = hold.forgotten_ms.max(self.now_ms + ttl_ms + RECEIPT_TTL_MS);
        let expires_ms = hold.expires_ms;
        self.holds.insert(id, hold);
        Outcome::Reserved { ended: false, expires_ms }
    }

    fn grow(&mut self, id: u8, amount: Amount) -> Outcome {
        let mut hold = match self.changeable(id) {
            Ok(hold) => hold,
            Err(outcome) => return outcome,
        };
        let more: Vec<_> =
            hold.parts.iter().map(|part| Part { amount: amount.of(part.meter), ..part.clone() }).collect();
        // A limit of which no more is asked does not refuse.
        let refused_by: Vec<_> = self.refuse(&more).into_iter().filter(|place| more[*place].amount > 0).collect();
        if !refused_by.is_empty() {
            return Outcome::Refused(refused_by.len());
        }
        for (part, more) in hold.parts.iter_mut().zip(more) {
            part.amount += more.amount;
            *self.buckets.entry((more.key, hold.bucket_ms)).or_insert(0) += more.amount;
        }
        hold.forgotten_ms = self.now_ms + hold.expires_ms - hold.reserved_ms + RECEIPT_TTL_MS;
        self.holds.insert(id, hold);
        Outcome::Done
    }
}

fn amount() -> impl Strategy<Value = Amount> + Clone {
    let one = || prop_oneof![4 => Just(0_i64), 20 => 0..1500_i64, 2 => Just(4_000_000_000_000_001)];
    (one(), one()).prop_map(|(cost, tokens)| Amount { cost, tokens })
}

fn operation() -> impl Strategy<Value = Operation> {
    const MINUTE_MS: i64 = 60_000;
    let ms = prop_oneof![6 => 0..2 * MINUTE_MS, 3 => 0..180 * MINUTE_MS, 1 => 0..2 * 24 * 60 * MINUTE_MS];
    let ttl_ms = || prop_oneof![1000..10_000_i64, MINUTE_MS..15 * MINUTE_MS, Just(2 * HOUR_MS), Just(24 * HOUR_MS)];
    let (users, policies) = (0..USERS, 0..POLICIES.len());
    let spend = (users.clone(), policies.clone(), amount());
    prop_oneof![
        4 => ms.prop_map(|ms| Operation::Advance { ms }),
        1 => (0..IDS).prop_map(|id| Operation::Forget { id }),
        1 => spend.clone().prop_map(|(user, policy, amount)| Operation::Charge { user, policy, amount }),
        2 => spend.prop_map(|(user, policy, amount)| Operation::Admit { user, policy, amount }),
        8 => (users, policies, amount(), 0..IDS, ttl_ms()).prop_map(|(user, policy, amount, id, ttl_ms)| {
            Operation::Reserve { user, policy, amount, id, ttl_ms }
        }),
        5 => (0..IDS, amount(), any::<bool>())
            .prop_map(|(id, amount, elsewhere)| Operation::Settle { id, amount, elsewhere }),
        2 => (0..IDS, any::<bool>()).prop_map(|(id, elsewhere)| Operation::Release { id, elsewhere }),
        3 => (0..IDS, ttl_ms(), any::<bool>())
            .prop_map(|(id, ttl_ms, elsewhere)| Operation::Extend { id, ttl_ms, elsewhere }),
        3 => (0..IDS, amount()).prop_map(|(id, amount)| Operation::Grow { id, amount }),
    ]
}

/// A long hold that is extended by less than is left, and settled hours later.
fn outlasting() -> impl Strategy<Value = Vec<Operation>> {
    let hold = (0..USERS, 0..POLICIES.len(), amount(), 0..IDS);
    (hold, 1000..10_000_i64, 8 * HOUR_MS..23 * HOUR_MS).prop_map(|((user, policy, amount, id), ttl_ms, ms)| {
        vec![
            Operation::Reserve { user, policy, amount, id, ttl_ms: 24 * HOUR_MS },
            Operation::Extend { id, ttl_ms, elsewhere: false },
            Operation::Advance { ms },
            Operation::Settle { id, amount, elsewhere: true },
        ]
    })
}

/// A time to begin at, near changes of the clocks in Berlin and ends of months, and what happens then; every seventh step is
/// an earlier one once more.
pub(crate) fn history(most: usize) -> impl Strategy<Value = (i64, Vec<Operation>)> {
    let begin = prop_oneof![Just(1_774_699_200_000_i64), Just(1_792_843_200_000), Just(1_830_254_400_000)];
    let begin = (begin, 0..36 * HOUR_MS).prop_map(|(begin_ms, later_ms)| begin_ms + later_ms);
    let operations = prop_oneof![30 => operation().prop_map(|it| vec![it]), 1 => outlasting()];
    let step = (operations, proptest::option::weighted(0.15, 0..6_usize));
    (begin, proptest::collection::vec(step, 1..most)).prop_map(|(begin_ms, steps)| {
        let mut history: Vec<Operation> = Vec::with_capacity(steps.len());
        for (operations, repeats) in steps {
            let timeless = |it: &&Operation| !matches!(it, Operation::Advance { .. });
            let earlier = repeats.and_then(|back| history.iter().rev().filter(timeless).nth(back)).cloned();
            history.extend(earlier.map_or(operations, |earlier| vec![earlier]));
        }
        (begin_ms, history)
    })
}
