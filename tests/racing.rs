//! Many at once, on a network that breaks: totals are exact, no budget is passed, every settlement lands once, and holds that
//! are open cost nothing.

// What cannot be set up should stop the test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use costguard::{CostGuard, Decision, ErrorKind, Limit, Money, Policy, Subject, Window};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use support::{Fault, Proxy, Server};
use tokio::task::JoinSet;

const TASKS: u64 = 64;
const HOLDS_A_TASK: u64 = 40;
const GUARDS: usize = 8;
/// After so many faults the network holds: the last racers alone would meet one at every try.
const MOST_FAULTS: usize = 150;
/// An amount of 1 is 100 dollars and a nano: sums pass 2^53.
const UNIT_NANOS: i64 = 100_000_000_001;
/// 3.5 million dollars: what is wanted is more.
const LIMIT_NANOS: i64 = 35_000 * UNIT_NANOS;

fn budget() -> Policy {
    let limit = Money::from_nanos(LIMIT_NANOS);
    Policy::new([Limit::cost("user", limit, Window::total()), Limit::cost("org", limit, Window::month())]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("org", "acme").scope("user", "alice")
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Tries until it is answered.
macro_rules! answered {
    ($attempt:expr) => {
        loop {
            match $attempt.await {
                Ok(answer) => break answer,
                Err(err) => assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}"),
            }
        }
    };
}

#[derive(Default)]
struct Tally {
    settled_nanos: i64,
    ended: u32,
    denied: u32,
}

/// Reserves, and ends what it got in each of the ways there are.
async fn race(task: u64, guard: CostGuard, other: CostGuard) -> Tally {
    let (policy, alice, mut rng, mut tally) = (budget(), alice(), rng(task), Tally::default());
    for turn in 0..HOLDS_A_TASK {
        let id = format!("t{task}-{turn}");
        let held = i64::from(rng.next_u32() % 100 + 1);
        let estimate = Money::from_nanos(held * UNIT_NANOS);
        let decision = answered!(guard.reserve(&policy, &alice, estimate).id(&id));
        let Decision::Granted(mut hold) = decision else {
            tally.denied += 1;
            continue;
        };
        let actual = held - i64::from(rng.next_u32()) % (held + 1);
        match rng.next_u32() % 4 {
            0 => {
                answered!(hold.release());
            }
            1 => {
                // The process dies; another one finds the hold by its id.
                hold.forget();
                let mut found = answered!(other.hold(&alice, &id));
                answered!(found.settle(Money::from_nanos(actual * UNIT_NANOS)));
                tally.settled_nanos += actual * UNIT_NANOS;
            }
            _ => {
                answered!(hold.settle(Money::from_nanos(actual * UNIT_NANOS)));
                answered!(hold.settle(Money::from_nanos(actual * UNIT_NANOS)));
                tally.settled_nanos += actual * UNIT_NANOS;
            }
        }
        tally.ended += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn holds_that_race_on_a_breaking_network_pass_no_budget_and_settle_once() {
    let server = Server::start();
    let proxy = Arc::new(Proxy::start(&server.url()).await);
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let mut guards = Vec::new();
    for _ in 0..GUARDS {
        guards.push(CostGuard::connect(&proxy.url()).await.unwrap());
    }
    let done = Arc::new(AtomicBool::new(false));
    let breaking = tokio::spawn({
        let (proxy, done) = (proxy.clone(), done.clone());
        async move {
            let mut rng = rng(1_000);
            while !done.load(Ordering::Relaxed) && proxy.faults_struck() < MOST_FAULTS {
                let fault = if rng.next_u32().is_multiple_of(2) { Fault::DropRequest } else { Fault::LoseReply };
                proxy.fail_next(fault, b"EVALSHA");
                tokio::time::sleep(Duration::from_millis(u64::from(rng.next_u32() % 16))).await;
            }
        }
    });
    let watching = tokio::spawn({
        let (direct, done) = (direct.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                for limit in direct.peek(&budget(), &alice()).await.unwrap() {
                    assert!(limit.used + limit.held <= LIMIT_NANOS, "{limit:?}");
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });

    let mut racers = JoinSet::new();
    for (task, turn) in (0..TASKS).zip((0..GUARDS).cycle()) {
        racers.spawn(race(task, guards[turn].clone(), guards[(turn + 1) % GUARDS].clone()));
    }
    let tallies = racers.join_all().await;
    done.store(true, Ordering::Relaxed);
    breaking.await.unwrap();
    watching.await.unwrap();

    let settled_nanos: i64 = tallies.iter().map(|tally| tally.settled_nanos).sum();
    let (ended, denied) = tallies.iter().fold((0, 0), |sum, it| (sum.0 + it.ended, sum.1 + it.denied));
    println!("{ended} ended, {denied} denied, {} faults, {settled_nanos} nanos", proxy.faults_struck());
    for limit in direct.peek(&budget(), &alice()).await.unwrap() {
        assert_eq!((limit.used, limit.held), (settled_nanos, 0));
    }
    assert!(proxy.faults_struck() > 20, "{} faults", proxy.faults_struck());
    assert!(ended > 500 && denied > 50, "{ended} ended, {denied} denied: the budget should bind, but not at once");
}

/// Calls and microseconds of every command, by name.
async fn commands(connection: &mut redis::aio::MultiplexedConnection) -> BTreeMap<String, (u64, u64)> {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    let number = |stats: &str, name: &str| {
        stats.split(',').find_map(|stat| stat.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or_default()
    };
    lines.map(|(name, stats)| (name.to_owned(), (number(stats, "calls="), number(stats, "usec=")))).collect()
}

/// What 2,000 reservations that are settled, and as many denials, cost inside the server: commands, microseconds.
async fn cost(guard: &CostGuard, connection: &mut redis::aio::MultiplexedConnection) -> (u64, u64) {
    let policy = Policy::new([Limit::cost("user", Money::from_nanos(1 << 60), Window::total())]).unwrap();
    let narrow = Policy::new([Limit::cost("user", Money::from_nanos(10_000_000), Window::total())]).unwrap();
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(connection).await.unwrap();
    for _ in 0..2_000 {
        let Decision::Granted(mut hold) = guard.reserve(&policy, &alice(), Money::from_nanos(7)).await.unwrap() else {
            panic!("denied")
        };
        hold.settle(Money::from_nanos(0)).await.unwrap();
        let denied = guard.reserve(&narrow, &alice(), Money::from_nanos(10_000_000)).await.unwrap();
        assert!(!denied.is_granted());
    }
    let stats = commands(connection).await;
    let inside = stats.iter().filter(|(name, _)| !matches!(&***name, "evalsha" | "eval" | "info" | "config|resetstat"));
    (inside.map(|(_, (calls, _))| calls).sum(), stats["evalsha"].1)
}

#[tokio::test]
async fn open_holds_cost_what_none_cost() {
    let server = Server::start();
    let guard = CostGuard::connect(&server.url()).await.unwrap();
    let mut connection = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    // One hold that stays, so that the narrow limit binds in both.
    let policy = Policy::new([Limit::cost("user", Money::from_nanos(1 << 60), Window::total())]).unwrap();
    let open = async |guard: CostGuard, holds: u64, ttl_secs: u64| {
        for turn in 0..holds {
            let ttl = Duration::from_secs(ttl_secs + turn % 2_000);
            match guard.reserve(&policy, &alice(), Money::from_nanos(1)).ttl(ttl).await.unwrap() {
                Decision::Granted(hold) => hold.forget(),
                Decision::Denied(denial) => panic!("{denial:?}"),
            }
        }
    };
    open(guard.clone(), 1, 3_600).await;
    cost(&guard, &mut connection).await;
    let (few_calls, few_us) = cost(&guard, &mut connection).await;
    futures_of(8, |_| open(guard.clone(), 2_500, 600)).await;
    let (many_calls, many_us) = cost(&guard, &mut connection).await;
    println!("commands {few_calls} and {many_calls}, us {few_us} and {many_us}");
    // A write in 40 looks after TTLs, and a bucket is made now and then.
    assert!(many_calls <= few_calls + few_calls / 20, "{few_calls} commands, and {many_calls} with 20,000 holds open");
    assert!(many_us <= few_us * 2, "{few_us} us, and {many_us} us with 20,000 holds open");
}

/// Runs several of a future at once.
async fn futures_of<F: Future<Output = ()>>(count: usize, make: impl Fn(usize) -> F) {
    let mut all: Vec<_> = (0..count).map(|at| Box::pin(make(at))).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|it| it.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
