//! What waits for the store, and how it gets there.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use costguard::service::HealthStatus;
use costguard::store::redis::RedisStore;
use costguard::{CostGuard, Decision, ErrorKind, Outage, RedisConfig, Subject};

use super::support::server::free_addr;
use super::support::{Proxy, Server};
use super::{Setting, alice, config, cut, lose, nanos, policy, until, without};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_loses_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = CostGuard::builder().outage(Outage::Allow).outage_queue(3);
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    let policy = policy(100);
    cut(&proxy, &[&guard]).await;
    assert!(guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
    guard.charge(&policy, &alice(), nanos(1)).await.unwrap();
    // A hold keeps a place for its settlement.
    let Decision::Granted(mut hold) = guard.reserve(&policy, &alice(), nanos(5)).await.unwrap() else { panic!() };
    for refused in [
        guard.admit(&policy, &alice(), nanos(1)).await.unwrap_err(),
        guard.charge(&policy, &alice(), nanos(1)).await.unwrap_err(),
        guard.reserve(&policy, &alice(), nanos(1)).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.to_string().contains("wait to be delivered"), "{refused}");
    }
    let health = guard.health().await;
    assert_eq!((health.undelivered.depth, health.undelivered.most), (2, 3));
    assert_eq!(health.status, HealthStatus::Disconnected);
    hold.settle(nanos(4)).await.unwrap();
    assert_eq!(guard.undelivered().depth, 3);

    assert_eq!(guard.shutdown(Duration::from_millis(20)).await, 3, "they were not delivered");
    proxy.mend();
    assert_eq!(guard.shutdown(super::LIMIT).await, 0);
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    assert_eq!(direct.peek(&policy, &alice()).await.unwrap()[0].used, 6);
    assert!(guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_that_was_killed_had_granted_is_delivered_once_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue");
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = || CostGuard::builder().outage(super::a_tenth()).outage_file(&path);
    let guard = builder().connect_with(&config(&proxy.url())).await.unwrap();
    let policy = policy(100);
    cut(&proxy, &[&guard]).await;
    for amount in 1..=3 {
        assert!(guard.admit(&policy, &alice(), nanos(amount)).await.unwrap().is_granted());
    }
    let Decision::Granted(mut hold) = guard.reserve(&policy, &alice(), nanos(3)).await.unwrap() else { panic!() };
    hold.settle(nanos(2)).await.unwrap();
    let err = builder().connect_with(&config(&server.url())).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Io, "{err}");

    // What the file holds at this moment is what a killed process leaves; the next line was being written.
    let left = dir.path().join("left");
    std::fs::copy(&path, &left).unwrap();
    let torn = b"1234abcd + 4 {\"call\":{\"name\":\"rec";
    std::fs::OpenOptions::new().append(true).open(&left).unwrap().write_all(torn).unwrap();

    // The store is away still: nothing is lost, and the share has been used.
    let lazy = config(&proxy.url()).lazy(true);
    let next = CostGuard::builder().outage(super::a_tenth()).outage_file(&left).connect_with(&lazy).await.unwrap();
    assert_eq!(next.undelivered().depth, 4);
    let decision = next.admit(&policy, &alice(), nanos(3)).await.unwrap();
    assert!(!decision.is_granted(), "8 of 10 are spent");
    assert!(next.admit(&policy, &alice(), nanos(2)).await.unwrap().is_granted());
    // Were it killed as well, the one after it would find what both have granted.
    let left_again = dir.path().join("left-again");
    std::fs::copy(&left, &left_again).unwrap();
    let after = CostGuard::builder().outage_file(&left_again).connect_with(&lazy).await.unwrap();
    assert_eq!(after.undelivered().depth, 5);

    proxy.mend();
    until("the next has delivered", async || next.undelivered().depth == 0).await;
    until("the first has delivered, too", async || guard.undelivered().depth == 0).await;
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    assert_eq!(direct.peek(&policy, &alice()).await.unwrap()[0].used, 1 + 2 + 3 + 2 + 2);
    assert_eq!((guard.undelivered().rejected, next.undelivered().rejected), (0, 0));
    assert_eq!(std::fs::metadata(&left).unwrap().len(), 0, "all is done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guard_found_in_its_file_outside_of_a_runtime_is_delivered_with_its_first_request() {
    let dir = tempfile::tempdir().unwrap();
    let (path, left) = (dir.path().join("queue"), dir.path().join("left"));
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = CostGuard::builder().outage(Outage::Allow).outage_file(&path);
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    let policy = policy(100);
    cut(&proxy, &[&guard]).await;
    assert!(guard.admit(&policy, &alice(), nanos(7)).await.unwrap().is_granted());
    std::fs::copy(&path, &left).unwrap();

    let store = RedisStore::connect_with(&config(&server.url())).await.unwrap();
    let next = CostGuard::builder().outage_file(&left);
    let next = std::thread::spawn(move || next.store(Arc::new(store)).unwrap()).join().unwrap();
    assert_eq!(next.undelivered().depth, 1);
    // It denies what comes in an outage, and delivers all the same.
    assert!(next.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
    until("it is delivered", async || next.undelivered().depth == 0).await;
    assert_eq!(next.peek(&policy, &alice()).await.unwrap()[0].used, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_while_the_store_is_away_goes_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, left) = (dir.path().join("queue"), dir.path().join("left"));
    let addr = free_addr();
    let (policy, away) = (policy(100), config(&format!("redis://{addr}")).lazy(false));
    let by_default = CostGuard::connect(&format!("redis://{addr}")).await.unwrap_err();
    assert_eq!(by_default.kind(), ErrorKind::Unavailable);
    let builder = |path| CostGuard::builder().outage(super::a_tenth()).outage_file(path);
    let first = builder(&path).connect_with(&away).await.unwrap();
    assert!(first.admit(&policy, &alice(), nanos(7)).await.unwrap().is_granted());
    std::fs::copy(&path, &left).unwrap();

    // The next one starts from what the first has left, the store being away still.
    let next = builder(&left).connect_with(&away).await.unwrap();
    assert_eq!(next.undelivered().depth, 1);
    assert!(!next.admit(&policy, &alice(), nanos(4)).await.unwrap().is_granted(), "7 of 10 are spent");
    assert!(next.admit(&policy, &alice(), nanos(3)).await.unwrap().is_granted());
    let _server = Server::start_at(addr, &[]);
    until("all is delivered", async || next.undelivered().depth == 0).await;
    let granted = next.admit(&policy, &alice(), nanos(4)).await.unwrap();
    assert!(granted.is_granted(), "the store decides again");
    assert_eq!(next.peek(&policy, &alice()).await.unwrap()[0].used, 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_work_are_an_error_at_once_also_with_an_outage_policy() {
    let builder = || CostGuard::builder().outage(Outage::Allow);
    let (server, nodes) = ("rediss://127.0.0.1:1", "rediss+cluster://127.0.0.1:1");
    let tls = |url: &str| RedisConfig::from_url(&format!("{url}?tls_ca=/no/such/ca.pem")).unwrap();
    let prefixed = config("redis://127.0.0.1:1").key_prefix("other:");
    for (err, what) in [
        (builder().connect("redis://").await.unwrap_err(), "URL"),
        (builder().connect_with(&tls(server)).await.unwrap_err(), "/no/such/ca.pem"),
        (builder().connect_with(&tls(nodes)).await.unwrap_err(), "/no/such/ca.pem"),
        (builder().prefix("app:").connect_with(&prefixed).await.unwrap_err(), "set one of them"),
    ] {
        assert!(err.kind() != ErrorKind::Unavailable && err.to_string().contains(what), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_an_error_and_not_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue");
    std::fs::write(&path, "00000000 + 0 {}\n00000000 + 1 {}\n").unwrap();
    let err = CostGuard::builder().outage_file(&path).embedded().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt);
    assert!(err.to_string().contains("line 1"), "{err}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 32, "it is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_refuses_for_good_is_kept_apart_and_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue");
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = CostGuard::builder().outage(Outage::Allow).outage_file(&path);
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = policy(100);
    direct.charge(&policy, &alice(), nanos(7)).id("taken").await.unwrap();
    cut(&proxy, &[&guard]).await;
    guard.charge(&policy, &alice(), nanos(5)).id("taken").await.unwrap();
    guard.charge(&policy, &alice(), nanos(1)).id("free").await.unwrap();
    proxy.mend();
    until("all is delivered", async || guard.undelivered().depth == 0).await;
    assert_eq!(guard.undelivered().rejected, 1);
    assert_eq!(direct.peek(&policy, &alice()).await.unwrap()[0].used, 8);
    let kept = std::fs::read_to_string(dir.path().join("queue.rejected")).unwrap();
    assert!(kept.lines().count() == 1 && kept.contains("taken"), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_refuses_for_now_waits_and_what_waits_is_not_asked_again() {
    let set = Setting::new(Outage::Allow).await;
    let (policy, bob) = (policy(10), Subject::new("umbrella").scope("user", "bob"));
    let mut connection = redis::Client::open(set.server.url()).unwrap().get_connection().unwrap();
    let mut may_use = |keys: &str| {
        let mut rule = redis::cmd("ACL");
        rule.arg("SETUSER").arg("default").arg("resetkeys").arg(keys).exec(&mut connection).unwrap();
    };
    set.cut().await;
    set.guard.charge(&policy, &bob, nanos(1)).await.unwrap();
    let above = async || set.guard.admit(&policy, &alice(), nanos(20)).id("above").await.unwrap();
    assert!(above().await.is_granted());

    // Somebody took too many rights away.
    may_use("~*{acme}*");
    let seen = set.proxy.script_calls_seen();
    set.proxy.mend();
    until("the first was refused", async || {
        set.proxy.script_calls_seen() >= seen + 2 || set.guard.undelivered().depth < 2
    })
    .await;
    let Decision::Granted(again) = above().await else { panic!("it was granted, and only the store does not know") };
    assert!(without(again.decided) && again.replayed);
    let waiting = set.guard.undelivered();
    assert_eq!((waiting.depth, waiting.rejected), (2, 0));

    may_use("~*");
    set.deliver().await;
    assert_eq!(set.guard.undelivered().rejected, 0);
    assert_eq!(set.used(&policy).await, 20);
    assert_eq!(set.direct.peek(&policy, &bob).await.unwrap()[0].used, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_while_a_server_restarts_is_delivered_to_it() {
    let server = Server::start();
    let addr = server.addr();
    let builder = CostGuard::builder().outage(super::a_tenth());
    let guard = builder.connect_with(&config(&server.url())).await.unwrap();
    let policy = policy(100);
    assert!(guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
    drop(server);
    for _ in 0..5 {
        assert!(guard.admit(&policy, &alice(), nanos(2)).await.unwrap().is_granted());
    }
    assert!(!guard.admit(&policy, &alice(), nanos(2)).await.unwrap().is_granted());
    // It has no persistence, and starts from zero.
    let _server = Server::start_at(addr, &[]);
    until("all is delivered", async || guard.undelivered().depth == 0).await;
    assert_eq!(guard.peek(&policy, &alice()).await.unwrap()[0].used, 10);
}

/// The store has forgotten the ids by the time it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_may_have_counted_is_not_counted_again_when_it_no_longer_knows_the_id() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = CostGuard::builder().outage(Outage::Allow).receipt_ttl(Duration::from_millis(1));
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    let policy = policy(100);
    let Decision::Granted(grant) = lose(&proxy, guard.admit(&policy, &alice(), nanos(7)).id("a")).await.unwrap() else {
        panic!()
    };
    assert!(without(grant.decided), "no answer came, and the store has it");
    let charged = guard.charge(&policy, &alice(), nanos(5)).id("b").await.unwrap();
    assert!(without(charged.decided));
    proxy.mend();
    assert_eq!(guard.shutdown(super::LIMIT).await, 0);
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    assert_eq!(direct.peek(&policy, &alice()).await.unwrap()[0].used, 12);
    assert_eq!(guard.undelivered().rejected, 1);
}
