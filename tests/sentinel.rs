//! Sentinel, with real processes: who is asked, and what a failover does to calls.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, Error, ErrorKind, Limit, Meter, Money, Policy, Subject, Window};
use redis::AsyncCommands;
use support::{Sentinels, Server};
use tokio::task::JoinSet;

const TASKS: usize = 16;

fn policy() -> Policy {
    Policy::new([Limit::count_only(Counter::new("user", Meter::COST, Window::total()))]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

async fn charge(guard: &CostGuard, id: &str) -> Result<(), Error> {
    guard.charge(&policy(), &alice(), Money::from_nanos(1)).id(id).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_found_although_the_first_sentinel_is_away() {
    let sentinels = Sentinels::start();
    let url = sentinels.url().replace("redis+sentinel://", "redis+sentinel://127.0.0.1:1,");
    let guard = CostGuard::connect(&url).await.unwrap();
    assert_eq!(guard.store().describe(), url);
    charge(&guard, "one").await.unwrap();
    let mut primary = redis::Client::open(sentinels.primary().url()).unwrap().get_connection().unwrap();
    let stored: i64 = redis::cmd("GET").arg("cost:{acme}:user:alice:total").query(&mut primary).unwrap();
    assert_eq!(stored, 1);

    let err = CostGuard::connect(&sentinels.url().replace("/main/", "/other/")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(err.to_string().contains("knows no primary \"other\": check the name"), "{err}");
}

#[tokio::test]
async fn a_sentinel_that_wants_a_password_gets_its_own_and_not_the_servers() {
    let server = Server::start_with(&["--requirepass", "of-the-server"]);
    let port = server.addr().port();
    let lines = format!(
        "requirepass of-the-sentinel\nsentinel monitor main 127.0.0.1 {port} 1\nsentinel auth-pass main of-the-server"
    );
    let sentinel = Server::start_sentinel(&lines);
    let url = format!("redis+sentinel://:of-the-server@{}/main", sentinel.addr());
    let config = RedisConfig::from_url(&url).unwrap();
    let err = CostGuard::builder().connect_with(&config).await.unwrap_err();
    assert!(err.to_string().contains("wants a password"), "{err}");
    let config = config.sentinel_credentials(None, "of-the-sentinel");
    charge(&CostGuard::builder().connect_with(&config).await.unwrap(), "one").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_demoted_gets_no_more_calls() {
    let sentinels = Sentinels::start();
    let guard = CostGuard::connect(&sentinels.url()).await.unwrap();
    charge(&guard, "before").await.unwrap();
    tokio::task::block_in_place(|| sentinels.demote_primary());
    // Without an id: the old primary has closed its connections, or refuses; nothing may be sent twice.
    guard.charge(&policy(), &alice(), Money::from_nanos(1)).await.unwrap();
    let mut primary = redis::Client::open(sentinels.primary().url()).unwrap().get_connection().unwrap();
    let stored: i64 = redis::cmd("GET").arg("cost:{acme}:user:alice:total").query(&mut primary).unwrap();
    assert_eq!(stored, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_lets_every_operation_land_once_or_says_that_it_did_not() {
    let mut sentinels = Sentinels::start();
    let config = RedisConfig::from_url(&sentinels.url()).unwrap().call_timeout(Duration::from_secs(10));
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (guard, stop) = (guard.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut outcomes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let id = format!("{task}-{}", outcomes.len());
                let outcome = charge(&guard, &id).await.map_err(|err| err.kind());
                outcomes.push((id, outcome));
            }
            outcomes
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    sentinels.kill_primary();
    tokio::task::block_in_place(|| sentinels.primary());
    // Served again by the new one: a fresh call, with as much time as the old ones have.
    charge(&guard, "after").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut outcomes: BTreeMap<String, _> = tasks.join_all().await.into_iter().flatten().collect();
    outcomes.insert("after".to_owned(), Ok(()));

    let primary = tokio::task::block_in_place(|| sentinels.primary().url());
    let mut direct = redis::Client::open(primary).unwrap().get_multiplexed_async_connection().await.unwrap();
    let (mut landed, mut lost, mut failed) = (0, 0, Vec::new());
    for (id, outcome) in &outcomes {
        let receipt: bool = direct.exists(format!("receipt:{{acme}}:{id}")).await.unwrap();
        landed += i64::from(receipt);
        match outcome {
            Ok(()) => lost += i64::from(!receipt),
            Err(kind) => {
                assert_eq!(*kind, ErrorKind::Unavailable, "an operation with an id is never ambiguous");
                failed.push((id, receipt));
            }
        }
    }
    let key = "cost:{acme}:user:alice:total";
    let stored: i64 = direct.get(key).await.unwrap();
    println!(
        "{} operations, {landed} on the surviving primary, {lost} acknowledged and lost by replication, {} failed",
        outcomes.len(),
        failed.len()
    );
    assert_eq!(stored, landed, "each that landed did so once");
    assert!(outcomes.values().filter(|outcome| outcome.is_ok()).count() > TASKS);
    // What failed may be sent again, and then it has happened once, whether the first attempt landed or not.
    for (id, receipt) in failed {
        charge(&guard, id).await.unwrap();
        landed += i64::from(!receipt);
    }
    assert_eq!(direct.get::<_, i64>(key).await.unwrap(), landed);
}
