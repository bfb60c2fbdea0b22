//! Waiting for replicas.

use std::time::Duration;

use costguard::store::Durability;
use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, Decision, ErrorKind, Limit, Meter, Money, Policy, Subject, Window};

use super::support::Server;
use super::support::server::until;

const CENT: Money = Money::from_nanos(10_000_000);

fn policy() -> Policy {
    Policy::new([Limit::count_only(Counter::new("user", Meter::COST, Window::total()))]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

fn wait(replicas: u8, ms: u64) -> Durability {
    Durability::wait(replicas, Duration::from_millis(ms)).unwrap()
}

/// A primary and a replica that follows it.
fn pair() -> (Server, Server) {
    let primary = Server::start();
    let replica = Server::start_replica_of(primary.addr());
    until("the replica follows", || stored(&replica, "INFO", "REPLICATION").contains("master_link_status:up"));
    (primary, replica)
}

fn stored(server: &Server, command: &str, word: &str) -> String {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd(command).arg(word).query::<Option<String>>(&mut connection).unwrap().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_and_a_settlement_that_wait_are_on_the_replica_when_they_answer() {
    let (primary, replica) = tokio::task::block_in_place(pair);
    let guard = CostGuard::builder().durability(wait(1, 10_000)).connect(&primary.url()).await.unwrap();
    let (policy, alice) = (policy(), alice());
    let spent = || tokio::task::block_in_place(|| stored(&replica, "GET", "cost:{acme}:user:alice:total"));
    for turn in 1..=20 {
        // Two scripts that the server does not know at first: what is waited for is the one that ran.
        let charged = guard.charge(&policy, &alice, CENT).await.unwrap();
        assert_eq!((charged.replicas, spent()), (Some(1), (turn * 20_000_000 - 10_000_000).to_string()));
        let Decision::Granted(mut hold) = guard.reserve(&policy, &alice, CENT).await.unwrap() else {
            panic!("nothing is limited")
        };
        let settled = hold.settle(CENT).await.unwrap();
        assert_eq!((settled.replicas, spent()), (Some(1), (turn * 20_000_000).to_string()));
    }
    // There is one: two cannot be reached, and the answer says so.
    let charged = guard.charge(&policy, &alice, CENT).durability(wait(2, 20)).id("two").await.unwrap();
    assert_eq!((charged.replicas, charged.replayed), (Some(1), false));
    let repeated = guard.charge(&policy, &alice, CENT).durability(wait(1, 10_000)).id("two").await.unwrap();
    assert_eq!((repeated.replicas, repeated.replayed), (Some(1), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_replica_holds_up_nobody_else() {
    let (primary, replica) = tokio::task::block_in_place(pair);
    let guard = CostGuard::connect(&primary.url()).await.unwrap();
    replica.signal("STOP");
    let waiting = tokio::spawn({
        let guard = guard.clone();
        async move { guard.charge(&policy(), &alice(), CENT).durability(wait(1, 60_000)).await }
    });
    // The charge has happened; it is the replica that has not heard of it.
    let mut charges = 0;
    while guard.peek(&policy(), &alice()).await.unwrap()[0].used < 11 * CENT.nanos() {
        if charges < 10 {
            assert_eq!(guard.charge(&policy(), &alice(), CENT).await.unwrap().replicas, None);
            charges += 1;
        }
    }
    assert!(!waiting.is_finished());
    replica.signal("CONT");
    assert_eq!(waiting.await.unwrap().unwrap().replicas, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gave_up_to_wait_for_a_replica_holds_up_nobody_else() {
    let server = Server::start();
    let config = RedisConfig::from_url(&server.url()).unwrap().call_timeout(Duration::from_secs(1));
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let given_up = tokio::spawn({
        let guard = guard.clone();
        async move { guard.charge(&policy(), &alice(), CENT).durability(wait(1, 60_000)).await }
    });
    tokio::task::block_in_place(|| {
        until("the server waits", || stored(&server, "CLIENT", "LIST").contains("cmd=wait"));
    });
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    let charged = guard.charge(&policy(), &alice(), CENT).durability(wait(1, 1)).await.unwrap();
    assert_eq!((charged.replicas, charged.limits[0].used), (Some(0), 2 * CENT.nanos()));
}

#[tokio::test]
async fn a_store_without_replicas_says_that_none_has_it() {
    let server = Server::start();
    for guard in [CostGuard::embedded(), CostGuard::connect(&server.url()).await.unwrap()] {
        let charged = guard.charge(&policy(), &alice(), CENT).durability(wait(1, 1)).await.unwrap();
        assert_eq!((charged.replicas, charged.limits[0].used), (Some(0), CENT.nanos()));
    }
    for (replicas, timeout) in [(0, Duration::from_secs(1)), (1, Duration::ZERO), (1, Duration::from_secs(61))] {
        assert_eq!(Durability::wait(replicas, timeout).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
