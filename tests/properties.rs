//! Random histories, a moving clock, and after every step: the decision and all stored state are those of an independent
//! model in plain Rust, on the embedded store and on a server.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "properties/model.rs"]
mod model;
#[path = "properties/operation.rs"]
mod operation;
#[path = "properties/policy.rs"]
mod policy;
mod support;

use std::time::Duration;

use chrono::{DateTime, Utc};
use costguard::{Amounts, Charged, Correction, CostGuard, Decision, Error, LimitState, Meter, Money, Policy, Subject};
use model::{Model, Outcome};
use operation::{Delta, Operation, Taken};
use policy::{ADJUSTED, POLICIES};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use support::{TestStore, every_store};

/// Short, so that on the embedded store, where the test owns the clock, receipts end in mid-history.
const RECEIPT_TTL_MS: i64 = 6 * 3_600_000 + 1;

#[test]
fn every_history_is_the_models_on_the_embedded_store() {
    run("embedded", 512, 60, |store| store.clock().is_some());
}

#[test]
fn every_history_is_the_models_on_a_server() {
    run("server", 48, 40, |store| store.clock().is_none());
}

fn run(name: &str, cases: u32, most: usize, wanted: impl Fn(&TestStore) -> bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores: Vec<_> = runtime.block_on(every_store()).into_iter().filter(wanted).collect();
    let regressions: &'static str = format!("tests/properties/{name}.regressions").leak();
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    };
    let histories = operation::history(POLICIES.len(), ADJUSTED.len(), most);
    let outcome = TestRunner::new(config).run(&histories, |(begin_ms, history)| {
        for store in &stores {
            let played = runtime.block_on(async {
                // A store of its own where that is cheap: a clock that goes back is not what this is about.
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
    let guard = store.builder().receipt_ttl(Duration::from_millis(RECEIPT_TTL_MS.unsigned_abs()));
    let driver = Driver {
        guard: guard.store(store.store.clone()).unwrap(),
        policies: POLICIES.iter().map(|limits| policy::policy(limits)).collect(),
    };
    let owns_clock = store.clock().is_some();
    let mut model = Model::new(begin_ms, owns_clock, RECEIPT_TTL_MS);
    for (step, operation) in history.iter().enumerate() {
        if let Some(clock) = store.clock() {
            clock.set_ms(model.now_ms);
        }
        let given = driver.apply(operation, DateTime::from_timestamp_millis(model.now_ms).unwrap()).await;
        let expected = model.apply(operation);
        if let Some(clock) = store.clock() {
            clock.set_ms(model.now_ms);
        }
        if !alike(&given, &expected, owns_clock) {
            return Err(format!("step {step}, {operation:?}\n  gives   {given:?}\n  and not {expected:?}"));
        }
        let (given, expected) = (dump(store, owns_clock).await, expected_dump(&model, owns_clock));
        if given != expected {
            return Err(format!("after step {step}, {operation:?}\n  stored  {given:#?}\n  and not {expected:#?}"));
        }
    }
    Ok(())
}

/// On a server time goes on by itself, and its clock may be set: what is left of a TTL, which is 20 minutes at least, may
/// differ a little.
fn alike(given: &Outcome, expected: &Outcome, owns_clock: bool) -> bool {
    match (given, expected) {
        (
            Outcome::Counted { count, left_ms, replayed },
            Outcome::Counted { count: expected_count, left_ms: expected_left_ms, replayed: expected_replayed },
        ) if !owns_clock => {
            (count, replayed) == (expected_count, expected_replayed) && (expected_left_ms - left_ms).abs() < 60_000
        }
        _ => given == expected,
    }
}

/// Key, value, end; on a server, which has its own time, only that there is an end.
type Dump = Vec<(String, String, Option<i64>)>;

async fn dump(store: &TestStore, owns_clock: bool) -> Dump {
    let stored = store.dump().await.into_iter().map(|stored| {
        let value = if stored.key.starts_with("receipt:") { String::new() } else { stored.value };
        (stored.key, value, if owns_clock { stored.expire_at_ms } else { stored.expire_at_ms.map(|_| 0) })
    });
    stored.collect()
}

fn expected_dump(model: &Model, owns_clock: bool) -> Dump {
    let kept = model.dump().into_iter();
    kept.map(|(key, value, ends_ms)| (key, value, Some(if owns_clock { ends_ms } else { 0 }))).collect()
}

/// The operations through the crate.
struct Driver {
    guard: CostGuard,
    policies: Vec<Policy>,
}

impl Driver {
    async fn apply(&self, operation: &Operation, at: DateTime<Utc>) -> Outcome {
        self.try_apply(operation, at).await.unwrap_or_else(|err| Outcome::Failed(err.kind()))
    }

    async fn try_apply(&self, operation: &Operation, at: DateTime<Utc>) -> Result<Outcome, Error> {
        let guard = &self.guard;
        Ok(match *operation {
            Operation::Advance { .. } => Outcome::Nothing,
            Operation::Charge { user, policy, amounts, id } => {
                let subject = subject(user);
                let mut charge = guard.charge(&self.policies[policy], &subject, taken(amounts)).at(at);
                if let Some(id) = id {
                    charge = charge.id(&format!("id{id}"));
                }
                let Charged { limits, replayed, .. } = charge.await?;
                Outcome::Charged { used: used(&limits), replayed }
            }
            Operation::Admit { user, policy, amounts, id } => {
                let subject = subject(user);
                let mut admit = guard.admit(&self.policies[policy], &subject, taken(amounts)).at(at);
                if let Some(id) = id {
                    admit = admit.id(&format!("id{id}"));
                }
                match admit.await? {
                    Decision::Granted(grant) => {
                        Outcome::Granted { used: used(&grant.limits), replayed: grant.replayed }
                    }
                    Decision::Denied(denial) => Outcome::Denied {
                        used: used(&denial.limits),
                        binding: denial.limits.iter().position(|limit| *limit == denial.limit).unwrap(),
                        refused_by: denial.refused_by,
                        retry_after_ms: denial.retry_after.map(|after| i64::try_from(after.as_millis()).unwrap()),
                    },
                }
            }
            Operation::Peek { user, policy } => {
                Outcome::Peeked { used: used(&guard.peek(&self.policies[policy], &subject(user)).at(at).await?) }
            }
            Operation::Count { user, amount, ttl_ms, extend, id } => {
                let (subject, ttl) = (subject(user), Duration::from_millis(ttl_ms.unsigned_abs()));
                let mut count = guard.count(&subject, "user", &Meter::REQUESTS, ttl).by(amount);
                if extend {
                    count = count.extend();
                }
                if let Some(id) = id {
                    count = count.id(&format!("id{id}"));
                }
                let counted = count.await?;
                let left_ms = i64::try_from(counted.left.as_millis()).unwrap();
                Outcome::Counted { count: counted.count.into(), left_ms, replayed: counted.replayed }
            }
            Operation::Adjust { user, counter, delta, id } => {
                let (subject, counter) = (subject(user), ADJUSTED[counter].counter());
                let correction = match delta {
                    Delta::Add(amount) => Correction::Add(amount),
                    Delta::Subtract(amount) => Correction::Subtract(amount),
                    Delta::Reset => Correction::Reset,
                };
                let mut adjust = guard.adjust(&subject, &counter, correction, "a test").at(at);
                if let Some(id) = id {
                    adjust = adjust.id(&format!("id{id}"));
                }
                let adjusted = adjust.await?;
                let (before, after) = (adjusted.before.into(), adjusted.after.into());
                Outcome::Adjusted { before, after, replayed: adjusted.replayed }
            }
        })
    }
}

fn subject(user: u8) -> Subject {
    Subject::new("acme").scope("org", "acme").scope("user", &format!("u{user}"))
}

fn taken(amounts: Taken) -> Amounts {
    Amounts::cost(Money::from_nanos(amounts.cost)).with(Meter::TOKENS, amounts.tokens)
}

fn used(limits: &[LimitState]) -> Vec<i128> {
    limits.iter().map(|limit| limit.used.into()).collect()
}
