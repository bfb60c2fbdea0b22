//! Random histories against the model, on both stores.

use std::time::Duration;

use costguard::{CostGuard, Decision, Grant, Hold, Limit, LimitState, Policy, Window};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use super::model::{Kind, Model, OpenCalls, Verdict};
use super::support::{START_MS, TestStore, every_store};
use super::{alice, at, of_tokens, only, tokens};

#[derive(Clone, Debug)]
enum Step {
    /// The clock goes on, or back, by so many ticks.
    Tick(i64),
    Admit(i64),
    Charge(i64),
    /// Gives an earlier grant back, whole or in part.
    Refund(usize, i64),
    Reserve(i64),
    Settle(usize, i64),
    Release(usize),
}

#[derive(Clone, Debug)]
struct History {
    kind: Kind,
    limit: i64,
    period_ms: i64,
    /// Whether the clock may go back. Where it does not the store's goes with it, so that keys end as they would.
    goes_back: bool,
    steps: Vec<Step>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (-40_i64..90).prop_map(Step::Tick),
        5 => (1_i64..8).prop_map(Step::Admit),
        1 => (1_i64..8).prop_map(Step::Charge),
        2 => (any::<usize>(), 1_i64..8).prop_map(|(which, amount)| Step::Refund(which, amount)),
        2 => (1_i64..8).prop_map(Step::Reserve),
        2 => (any::<usize>(), 0_i64..10).prop_map(|(which, amount)| Step::Settle(which, amount)),
        1 => any::<usize>().prop_map(Step::Release),
    ]
}

fn history(most: usize) -> impl Strategy<Value = History> {
    let kind = prop_oneof![
        Just(Kind::Rate { burst: None }),
        (1_i64..9).prop_map(|burst| Kind::Rate { burst: Some(burst) }),
        Just(Kind::Sliding),
        Just(Kind::Log),
    ];
    let steps = prop::collection::vec(step(), 1..most);
    (kind, 1_i64..14, 1_i64..200, any::<bool>(), steps).prop_map(|(kind, limit, period_ms, goes_back, steps)| History {
        kind,
        limit,
        period_ms,
        goes_back,
        steps,
    })
}

#[test]
fn every_rate_is_the_models_on_the_embedded_store() {
    run("rates-embedded", 1024, history(60), |store| store.clock().is_some(), play);
}

/// A server's time goes on by itself. With hours for milliseconds nothing ends while the test looks on.
#[test]
fn every_rate_is_the_models_on_a_server() {
    let long = history(40).prop_map(|history| History { period_ms: history.period_ms % 40 + 1, ..history });
    run("rates-server", 64, long, |store| store.clock().is_none(), play);
}

fn run<H: std::fmt::Debug>(
    name: &str,
    cases: u32,
    histories: impl Strategy<Value = H>,
    wanted: impl Fn(&TestStore) -> bool,
    play: impl AsyncFn(&TestStore, &H) -> Result<(), String>,
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores: Vec<_> = runtime.block_on(every_store()).into_iter().filter(wanted).collect();
    let regressions: &'static str = format!("tests/limits/{name}.regressions").leak();
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct(regressions)) as _);
    let outcome =
        TestRunner::new(Config { cases, failure_persistence, ..Config::default() }).run(&histories, |history| {
            for store in &stores {
                let played = runtime.block_on(async {
                    // A store of its own where that is cheap.
                    let fresh = store.clock().map(|_| TestStore::embedded(&store.prefix));
                    let store = fresh.as_ref().unwrap_or(store);
                    let played = play(store, &history).await;
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

struct Player {
    guard: CostGuard,
    policy: Policy,
    model: Model,
    now_ms: i64,
    /// With how full the model's bucket was then.
    grants: Vec<(Grant, i128)>,
    holds: Vec<Reserved>,
}

struct Reserved {
    hold: Hold,
    amount: i64,
    taken_us: i64,
    /// How full the model's bucket was then.
    level: i128,
}

async fn play(store: &TestStore, history: &History) -> Result<(), String> {
    let tick_ms = if store.clock().is_some() { 1 } else { 3_600_000 };
    let period = Duration::from_millis((history.period_ms * tick_ms).unsigned_abs());
    let limit = match history.kind {
        Kind::Rate { burst: None } => tokens(history.limit, Window::rate(period).unwrap()),
        Kind::Rate { burst: Some(burst) } => tokens(history.limit, Window::rate(period).unwrap()).burst(burst),
        Kind::Sliding => tokens(history.limit, Window::sliding(period).unwrap()),
        Kind::Log => tokens(history.limit, Window::log(period).unwrap()),
    };
    let model = Model::new(history.kind, history.limit, history.period_ms * tick_ms * 1000);
    let (grants, holds) = (Vec::new(), Vec::new());
    let mut player = Player { guard: store.guard(), policy: only(limit), model, now_ms: 0, grants, holds };
    for (place, step) in history.steps.iter().enumerate() {
        if let Step::Tick(ticks) = *step {
            player.now_ms += if history.goes_back { ticks } else { ticks.abs() } * tick_ms;
            if let Some(clock) = store.clock().filter(|_| !history.goes_back) {
                clock.set_ms(START_MS + player.now_ms);
            }
        }
        player.step(step).await.map_err(|difference| format!("step {place}, {step:?}: {difference}"))?;
    }
    for reserved in player.holds {
        reserved.hold.forget();
    }
    Ok(())
}

impl Player {
    fn now_us(&self) -> i64 {
        (START_MS + self.now_ms) * 1000
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let (now, now_us, alice) = (at(self.now_ms), self.now_us(), alice());
        match *step {
            Step::Tick(_) => {}
            Step::Admit(amount) => {
                let decision = self.guard.admit(&self.policy, &alice, of_tokens(amount.unsigned_abs())).at(now);
                let decision = decision.await.unwrap();
                same(&verdict(&decision, |grant| &grant.limits[0]), &self.model.take(now_us, amount, false))?;
                if let Decision::Granted(grant) = decision {
                    self.grants.push((grant, self.model.level(now_us)));
                }
            }
            Step::Charge(amount) => {
                let charged = self.guard.charge(&self.policy, &alice, of_tokens(amount.unsigned_abs())).at(now);
                let charged = charged.await.unwrap();
                same(&standing(&charged.limits[0]), &self.model.take(now_us, amount, true))?;
            }
            Step::Refund(which, amount) => {
                if let Some(place) = which.checked_rem(self.grants.len()) {
                    let (grant, level) = self.grants.swap_remove(place);
                    let refund = self.guard.refund(&self.policy, &alice, of_tokens(amount.unsigned_abs()));
                    refund.of(&grant).at(now).await.unwrap();
                    self.model.correct(now_us, -amount, grant.taken_us, level);
                }
            }
            Step::Reserve(amount) => {
                let decision = self.guard.reserve(&self.policy, &alice, of_tokens(amount.unsigned_abs())).at(now);
                let decision = decision.await.unwrap();
                same(&verdict(&decision, |hold| &hold.limits()[0]), &self.model.take(now_us, amount, false))?;
                if let Decision::Granted(hold) = decision {
                    self.holds.push(Reserved { hold, amount, taken_us: now_us, level: self.model.level(now_us) });
                }
            }
            Step::Settle(which, actual) => {
                if let Some(Reserved { mut hold, amount, taken_us, level }) = self.take_hold(which) {
                    hold.set_time(now);
                    hold.settle(of_tokens(actual.unsigned_abs())).await.unwrap();
                    self.model.correct(now_us, actual - amount, taken_us, level);
                }
            }
            Step::Release(which) => {
                if let Some(Reserved { mut hold, amount, taken_us, level }) = self.take_hold(which) {
                    hold.set_time(now);
                    hold.release().await.unwrap();
                    self.model.correct(now_us, -amount, taken_us, level);
                }
            }
        }
        let seen = self.guard.peek(&self.policy, &alice).at(now).await.unwrap();
        let (used, remaining) = self.model.stands(now_us);
        same(&standing(&seen[0]), &Verdict::Granted { used, remaining })
    }

    fn take_hold(&mut self, which: usize) -> Option<Reserved> {
        which.checked_rem(self.holds.len()).map(|place| self.holds.swap_remove(place))
    }
}

fn standing(state: &LimitState) -> Verdict {
    Verdict::Granted { used: state.used, remaining: state.remaining().unwrap() }
}

fn verdict<G>(decision: &Decision<G>, state: impl Fn(&G) -> &LimitState) -> Verdict {
    match decision {
        Decision::Granted(grant) => standing(state(grant)),
        Decision::Denied(denial) => Verdict::Denied {
            used: denial.limit.used,
            remaining: denial.limit.remaining().unwrap(),
            wait_us: denial.retry_after.map(|wait| u64::try_from(wait.as_micros()).unwrap()),
        },
    }
}

fn same(given: &Verdict, expected: &Verdict) -> Result<(), String> {
    if given == expected { Ok(()) } else { Err(format!("gives {given:?} and not {expected:?}")) }
}

/// A call begins with this TTL, ends, or time goes on.
#[derive(Clone, Debug)]
enum Call {
    Begin(i64),
    Settle(usize),
    Release(usize),
    Wait(i64),
}

fn calls() -> impl Strategy<Value = (i64, Vec<Call>)> {
    let call = prop_oneof![
        4 => (1_000_i64..20_000).prop_map(Call::Begin),
        1 => any::<usize>().prop_map(Call::Settle),
        1 => any::<usize>().prop_map(Call::Release),
        2 => (0_i64..8_000).prop_map(Call::Wait),
    ];
    (1_i64..6, prop::collection::vec(call, 1..50))
}

#[test]
fn open_calls_are_the_models_on_the_embedded_store() {
    run("open-embedded", 256, calls(), |store| store.clock().is_some(), play_calls);
}

#[test]
fn open_calls_are_the_models_on_a_server() {
    run("open-server", 32, calls(), |store| store.clock().is_none(), play_calls);
}

async fn play_calls(store: &TestStore, (most, calls): &(i64, Vec<Call>)) -> Result<(), String> {
    let (guard, policy, alice) = (store.guard(), only(Limit::concurrency("user", *most)), alice());
    let (mut model, mut open, mut now_ms): (_, Vec<(usize, Hold)>, _) = (OpenCalls::default(), Vec::new(), 0);
    for (id, call) in calls.iter().enumerate() {
        let store_ms = START_MS + now_ms;
        match *call {
            Call::Wait(ms) => now_ms += ms,
            Call::Begin(ttl_ms) => {
                let ttl = Duration::from_millis(ttl_ms.unsigned_abs());
                let decision = guard.reserve(&policy, &alice, of_tokens(0)).ttl(ttl).at(at(now_ms)).await.unwrap();
                let fits = model.open(store_ms) < *most;
                if decision.is_granted() != fits {
                    return Err(format!("step {id}, {call:?}: {decision:?} with {} open", model.open(store_ms)));
                }
                match decision {
                    Decision::Granted(hold) => {
                        model.begin(id, store_ms, ttl_ms);
                        open.push((id, hold));
                    }
                    // A bucket may have been emptied since: then it is to be tried earlier, and never later.
                    Decision::Denied(denial) => {
                        let wait_ms = i64::try_from(denial.retry_after.unwrap().as_millis()).unwrap();
                        let exact_ms = model.next_ms(store_ms).unwrap() - store_ms;
                        if wait_ms < 1 || wait_ms > exact_ms {
                            return Err(format!("step {id}: to be tried in {wait_ms} ms, free in {exact_ms}"));
                        }
                    }
                }
            }
            Call::Settle(which) | Call::Release(which) => {
                let Some(place) = which.checked_rem(open.len()) else { continue };
                let (begun, mut hold) = open.swap_remove(place);
                hold.set_time(at(now_ms));
                if matches!(call, Call::Settle(_)) {
                    hold.settle(of_tokens(0)).await.unwrap();
                } else {
                    hold.release().await.unwrap();
                }
                model.end(begun);
            }
        }
        let state = guard.peek(&policy, &alice).at(at(now_ms)).await.unwrap().remove(0);
        let is = model.open(START_MS + now_ms);
        if (state.used, state.held, state.remaining()) != (0, is, Some(most - is)) {
            return Err(format!("after step {id}, {call:?}: {state:?} with {is} open"));
        }
    }
    for (_, hold) in open {
        hold.forget();
    }
    Ok(())
}
