//! The circuit breaker.

use std::time::Instant;

use costguard::store::redis::BreakerState;
use costguard::{CostGuard, ErrorKind, Money};
use tokio::task::JoinSet;

use super::support::{Proxy, Server};
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
