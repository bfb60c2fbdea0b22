//! The circuit breaker.

use std::time::{Duration, Instant};

use costguard::store::Durability;
use costguard::store::redis::BreakerState;
use costguard::{CostGuard, ErrorKind, Money, Subject};
use tokio::task::{JoinSet, block_in_place};

use super::support::{Cluster, Proxy, Server};
use super::{LIMIT, alice, config, policy, until};

const NANO: Money = Money::from_nanos(1);

async fn breaker(guard: &CostGuard) -> BreakerState {
    guard.health().await.breaker.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_costs_a_few_timeouts_and_not_one_a_call() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    // One that answers nothing: every attempt takes its whole time.
    let guard = CostGuard::builder().connect_with(&config(&proxy.url())).await.unwrap();
    let (policy, alice) = (policy(1000), alice());
    guard.charge(&policy, &alice, NANO).id("before").await.unwrap();
    assert_eq!(breaker(&guard).await, BreakerState::Closed);

    proxy.stall();
    let mut failed = 0;
    while breaker_of(&guard) != BreakerState::Open {
        let err = guard.charge(&policy, &alice, NANO).id("during").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
        failed += 1;
        assert!(failed <= 3, "the breaker is closed after {failed} failures in a row");
    }
    let (begun, calls) = (Instant::now(), 500);
    for _ in 0..calls {
        let err = guard.charge(&policy, &alice, NANO).id("during").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
        assert!(err.to_string().contains("nothing was sent"), "{err}");
    }
    // With a timeout each they would take 150 seconds.
    assert!(begun.elapsed() < LIMIT / 2, "{calls} calls took {:?}", begun.elapsed());

    proxy.resume();
    until("service returns", async || guard.charge(&policy, &alice, NANO).id("after").await.is_ok()).await;
    assert_eq!(breaker(&guard).await, BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_restarted_is_served_at_once() {
    let server = Server::start();
    let addr = server.addr();
    let guard = CostGuard::builder().connect_with(&config(&server.url())).await.unwrap();
    let (policy, alice) = (policy(1000), alice());
    guard.peek(&policy, &alice).await.unwrap();
    drop(server);
    until("the breaker opens", async || {
        assert!(guard.peek(&policy, &alice).await.is_err());
        breaker_of(&guard) == BreakerState::Open
    })
    .await;
    let _server = Server::start_at(addr, &[]);
    until("service returns", async || guard.peek(&policy, &alice).await.is_ok()).await;
    assert_eq!(breaker_of(&guard), BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_fail_together_are_one_failure() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::builder().connect_with(&config(&proxy.url())).await.unwrap();
    let (policy, alice) = (policy(1000), alice());
    guard.peek(&policy, &alice).await.unwrap();

    proxy.stall();
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let (guard, policy, alice) = (guard.clone(), policy.clone(), alice.clone());
        calls.spawn(async move { guard.charge(&policy, &alice, NANO).await.map(|_| ()).map_err(|err| err.kind()) });
    }
    while let Some(call) = calls.join_next().await {
        assert!(matches!(call.unwrap(), Err(ErrorKind::Ambiguous | ErrorKind::Unavailable)));
    }
    assert_eq!(breaker_of(&guard), BreakerState::Closed, "64 calls said once that the store is away");
    proxy.resume();
    until("service returns", async || guard.peek(&policy, &alice).await.is_ok()).await;
}

/// Without a look at the server.
fn breaker_of(guard: &CostGuard) -> BreakerState {
    let store: &dyn std::any::Any = &**guard.store();
    store.downcast_ref::<costguard::store::redis::RedisStore>().unwrap().breaker()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_is_away_closes_the_way_to_no_other() {
    let mut cluster = block_in_place(Cluster::start);
    let guard = CostGuard::builder().connect_with(&config(&cluster.url(0))).await.unwrap();
    let (dead, other) = block_in_place(|| (cluster.root_on(1).0, cluster.root_on(0).0));
    let user = |root: &str| Subject::new(root).scope("user", "alice");
    let (policy, dead, other) = (policy(1000), user(&dead), user(&other));
    guard.peek(&policy, &dead).await.unwrap();
    block_in_place(|| {
        for place in [0, 2] {
            cluster.tell(place, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
        }
        // It has no replica.
        cluster.kill(1);
    });
    until("the breaker opens", async || {
        assert!(guard.peek(&policy, &dead).await.is_err());
        breaker_of(&guard) == BreakerState::Open
    })
    .await;
    let begun = Instant::now();
    for _ in 0..200 {
        assert!(guard.peek(&policy, &dead).await.is_err());
        guard.peek(&policy, &other).await.unwrap();
    }
    // With a timeout each they would take 60 seconds.
    assert!(begun.elapsed() < LIMIT / 2, "200 calls took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_replicas_is_told_by_the_breaker_too() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::builder().connect_with(&config(&proxy.url())).await.unwrap();
    let (policy, alice) = (policy(1000), alice());
    let durability = Durability::wait(1, Duration::from_millis(1)).unwrap();
    let charge = |id| guard.charge(&policy, &alice, NANO).id(id).durability(durability);
    proxy.stall();
    let mut failed = 0;
    // The first of them opens the connections for those that wait.
    while breaker_of(&guard) != BreakerState::Open {
        assert_eq!(charge("during").await.unwrap_err().kind(), ErrorKind::Unavailable);
        failed += 1;
        assert!(failed <= 3, "the breaker is closed after {failed} failures in a row");
    }
    proxy.resume();
    until("service returns", async || charge("after").await.is_ok()).await;
}
