//! Random histories of holds, with a moving clock, through several handles and guards. After every step: decisions, what is
//! spent and what is held are those of a model in plain Rust that lets buckets end at once; the stored totals are the sums of
//! the stored buckets; and every key has a TTL. In the end nothing is held, and nothing is left.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "hold_histories/model.rs"]
mod model;
#[path = "properties/policy.rs"]
#[allow(dead_code)]
mod policy;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use costguard::ops::Hold;
use costguard::{Amounts, CostGuard, Decision, Error, Growth, Meter, Money, Policy, Subject};
use model::{Amount, Model, Operation, Outcome, POLICIES, RECEIPT_TTL_MS, USERS};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use support::{Stored, TestStore, every_store};

#[test]
fn every_history_of_holds_is_the_models_on_the_embedded_store() {
    run("embedded", 256, 60, |store| store.clock().is_some());
}

#[test]
fn every_history_of_holds_is_the_models_on_a_server() {
    run("server", 24, 40, |store| store.clock().is_none());
}

fn run(name: &str, cases: u32, most: usize, wanted: impl Fn(&TestStore) -> bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores: Vec<_> = runtime.block_on(every_store()).into_iter().filter(wanted).collect();
    let regressions: &'static str = format!("tests/hold_histories/{name}.regressions").leak();
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&model::history(most), |(begin_ms, history)| {
        for store in &stores {
            let played = runtime.block_on(async {
                let fresh = store.clock().map(|_| TestStore::embedded(&store.prefix));
                let store = fresh.as_ref().unwrap_or(store);
                let played = play(store, begin_ms, &history).await;
                store.clean().await;
                played
            });
            played.map_err(|difference| TestCaseError::fail(format!("on {}: {difference}", store.name)))?;
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

async fn play(store: &TestStore, begin_ms: i64, history: &[Operation]) -> Result<(), String> {
    let guard = || {
        let guard = store.builder().receipt_ttl(Duration::from_millis(RECEIPT_TTL_MS.unsigned_abs()));
        guard.store(store.store.clone()).unwrap()
    };
    let policies = POLICIES.iter().map(|limits| policy::policy(limits)).collect();
    let mut driver = Driver { guard: guard(), other: guard(), policies, handles: BTreeMap::new() };
    let mut model = Model::new(begin_ms, store.clock().is_some());
    for (step, operation) in history.iter().enumerate() {
        let expected = model.apply(operation);
        if let Some(clock) = store.clock() {
            clock.set_ms(model.now_ms);
        }
        let given = driver.apply(operation, time(model.now_ms)).await;
        if given != expected {
            return Err(format!("step {step}, {operation:?}\n  gives   {given:?}\n  and not {expected:?}"));
        }
        let dump = store.dump().await;
        let wrong = stands(&driver, &model).await.or_else(|| stored(&model, &dump));
        if let Some(wrong) = wrong {
            return Err(format!("after step {step}, {operation:?}: {wrong}"));
        }
    }
    for (_, hold) in driver.handles {
        hold.forget();
    }
    let Some(clock) = store.clock() else { return Ok(()) };
    clock.set_ms(model.now_ms + 500 * 24 * 3_600_000);
    let left = store.dump().await;
    if left.is_empty() { Ok(()) } else { Err(format!("after all TTLs {left:?}")) }
}

/// Used and held of every limit, asked one by one.
async fn stands(driver: &Driver, model: &Model) -> Option<String> {
    for user in 0..USERS {
        for (number, policy) in driver.policies.iter().enumerate() {
            let peek = driver.guard.peek(policy, &subject(user)).at(time(model.now_ms)).await;
            let given =
                peek.map(|it| it.iter().map(|limit| (limit.used.into(), limit.held.into())).collect::<Vec<_>>());
            let expected = model.stands(user, number);
            if given.as_ref().ok() != Some(&expected) {
                return Some(format!("u{user} and policy {number} stand at {given:?} and not {expected:?}"));
            }
        }
    }
    None
}

/// What is wrong with the stored state.
fn stored(model: &Model, dump: &[Stored]) -> Option<String> {
    let value = |key: &str| dump.iter().find(|it| it.key == key).map(|it| it.value.trim_matches('\''));
    let mut counters = BTreeMap::new();
    for it in dump {
        if it.expire_at_ms.is_none() {
            return Some(format!("{} has no TTL", it.key));
        }
        if let Some(counter) = it.key.strip_suffix(":holds") {
            let fields = it.value.trim_matches(['{', '}']).split(' ').filter_map(|field| field.split_once('='));
            let amounts = fields.filter(|(field, _)| *field != "next").map(|(_, value)| value.trim_matches('\''));
            let sum: i128 = amounts.map(|amount| amount.parse::<i128>().unwrap()).sum();
            let total: i128 = value(&format!("{counter}:held")).unwrap_or("0").parse().unwrap();
            if sum != total {
                return Some(format!("{counter} holds {total}, and its buckets {}", it.value));
            }
        } else if !it.key.ends_with(":held") && !it.key.contains(":hold:") && !it.key.starts_with("hold:") {
            counters.insert(it.key.clone(), it.value.trim_matches('\'').parse::<i128>().unwrap());
        }
    }
    let expected = model.spent();
    (counters != expected).then(|| format!("counters are {counters:#?} and not {expected:#?}"))
}

/// The operations through the crate.
struct Driver {
    guard: CostGuard,
    other: CostGuard,
    policies: Vec<Policy>,
    handles: BTreeMap<u8, Hold>,
}

impl Driver {
    async fn apply(&mut self, operation: &Operation, at: DateTime<Utc>) -> Outcome {
        self.try_apply(operation, at).await.unwrap_or_else(|err| Outcome::Failed(err.kind()))
    }

    async fn try_apply(&mut self, operation: &Operation, at: DateTime<Utc>) -> Result<Outcome, Error> {
        Ok(match *operation {
            Operation::Advance { .. } => Outcome::Nothing,
            Operation::Forget { id } => {
                if let Some(hold) = self.handles.remove(&id) {
                    hold.forget();
                }
                Outcome::Nothing
            }
            Operation::Charge { user, policy, amount } => {
                self.guard.charge(&self.policies[policy], &subject(user), amounts(amount)).at(at).await?;
                Outcome::Done
            }
            Operation::Admit { user, policy, amount } => {
                let (policy, subject) = (&self.policies[policy], subject(user));
                match self.guard.admit(policy, &subject, amounts(amount)).at(at).await? {
                    Decision::Granted(_) => Outcome::Done,
                    Decision::Denied(denial) => Outcome::Denied(denial.refused_by),
                }
            }
            Operation::Reserve { user, policy, amount, id, ttl_ms } => {
                let (policy, subject, name) = (&self.policies[policy], subject(user), format!("id{id}"));
                let reserve = self.guard.reserve(policy, &subject, amounts(amount)).id(&name).ttl(millis(ttl_ms));
                match reserve.at(at).await? {
                    Decision::Granted(hold) => {
                        let (ended, expires_ms) = (hold.has_ended(), hold.expires_ms());
                        if let Some(before) = self.handles.insert(id, hold) {
                            before.forget();
                        }
                        Outcome::Reserved { ended, expires_ms }
                    }
                    Decision::Denied(denial) => Outcome::Denied(denial.refused_by),
                }
            }
            Operation::Settle { id, amount, elsewhere } => {
                let settled = self.hold(id, elsewhere, at).await?.settle(amounts(amount)).await?;
                let over = settled.limits.iter().map(|limit| limit.overdraft() > 0).collect();
                let used = settled.limits.iter().map(|limit| limit.used.into()).collect();
                Outcome::Settled { used, over, late: settled.late, replayed: settled.replayed }
            }
            Operation::Release { id, elsewhere } => {
                self.hold(id, elsewhere, at).await?.release().await?;
                Outcome::Done
            }
            Operation::Extend { id, ttl_ms, elsewhere } => {
                let hold = self.hold(id, elsewhere, at).await?;
                hold.extend(millis(ttl_ms)).await?;
                Outcome::Reserved { ended: false, expires_ms: hold.expires_ms() }
            }
            Operation::Grow { id, amount } => match self.hold(id, true, at).await?.grow(amounts(amount)).await? {
                Growth::Granted => Outcome::Done,
                Growth::Denied { refused_by } => Outcome::Refused(refused_by.len()),
            },
        })
    }

    /// A hold by its handle, which may not know what became of it; or found by another guard, as after a crash.
    async fn hold(&mut self, id: u8, elsewhere: bool, at: DateTime<Utc>) -> Result<&mut Hold, Error> {
        if elsewhere || !self.handles.contains_key(&id) {
            let found = self.other.hold(&subject(0), &format!("id{id}")).at(at).await?;
            // Others go on with what they know.
            if elsewhere && self.handles.contains_key(&id) {
                self.handles.insert(200 + id, found);
                return Ok(self.handles.get_mut(&(200 + id)).expect("just found"));
            }
            self.handles.insert(id, found);
        }
        let hold = self.handles.get_mut(&id).expect("found or known");
        hold.set_time(at);
        Ok(hold)
    }
}

fn subject(user: u8) -> Subject {
    Subject::new("acme").scope("org", "acme").scope("user", &format!("u{user}"))
}

fn amounts(amount: Amount) -> Amounts {
    Amounts::cost(Money::from_nanos(amount.cost)).with(Meter::TOKENS, amount.tokens)
}

fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap()
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}
