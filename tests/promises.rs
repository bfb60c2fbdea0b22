//! The promises of the crate, each held on every store by a test that is named after it.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use costguard::store::embedded::Embedded;
use costguard::store::{ManualClock, Reply};
use costguard::{
    Amounts, Correction, CostGuard, Counter, Decision, Error, ErrorKind, Limit, Meter, Money, Policy, Subject, Window,
};
use redis::aio::MultiplexedConnection;
use support::{Proxy, START_MS, Server, Stored, TestStore, on_every_store};
use tokio::task::JoinSet;

/// A time at which windows are named, wherever the test gives one. After it comes the store's own.
fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(START_MS).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("org", "acme").scope("user", "alice")
}

fn total(meter: Meter) -> Counter {
    Counter::new("user", meter, Window::total())
}

/// One limit on what a user counts of a meter, for all time.
fn limited(meter: Meter, limit: i64) -> Policy {
    Policy::new([Limit::new(total(meter), limit)]).unwrap()
}

fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

/// Three limits on cost: the user's day, the organisation's month, everyone's total.
fn three_limits() -> Policy {
    Policy::new([
        Limit::cost("user", nanos(1000), Window::day()),
        Limit::cost("org", nanos(2000), Window::month()),
        Limit::cost("global", nanos(3000), Window::total()),
    ])
    .unwrap()
}

const THREE_KEYS: [&str; 3] =
    ["cost:{acme}:user:alice:2026-02-01", "cost:{acme}:org:acme:2026-02", "cost:{acme}:global:total"];

async fn used(guard: &CostGuard, policy: &Policy, subject: &Subject) -> Vec<i64> {
    guard.peek(policy, subject).await.unwrap().iter().map(|state| state.used).collect()
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("an error").kind()
}

// 1. Never over.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_over_however_many_race_for_the_last_dollar() {
    on_every_store(async |store| {
        // 64 want 0.03 of the 1.00 that is left, on four connections: 33 of them fit.
        let policy = limited(Meter::COST, 10_000_000_000);
        let guard = store.guard();
        guard.charge(&policy, &alice(), "9.00".parse::<Money>().unwrap()).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn({
            let (guard, policy, done) = (store.another_guard().await, policy.clone(), done.clone());
            async move {
                while !done.load(Ordering::Relaxed) {
                    let used = used(&guard, &policy, &alice()).await[0];
                    assert!(used <= 10_000_000_000, "{used} is over the limit");
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut racers = JoinSet::new();
        for _ in 0..4 {
            let guard = store.another_guard().await;
            for _ in 0..16 {
                let (guard, policy) = (guard.clone(), policy.clone());
                racers.spawn(async move {
                    guard.admit(&policy, &alice(), "0.03".parse::<Money>().unwrap()).await.unwrap().is_granted()
                });
            }
        }
        let granted = racers.join_all().await.into_iter().filter(|granted| *granted).count();
        done.store(true, Ordering::Relaxed);
        watch.await.unwrap();
        assert_eq!(granted, 33);
        assert_eq!(used(&guard, &policy, &alice()).await, [9_990_000_000]);

        // One nano is still too much after the last cent, and the last cent still fits.
        let cent = guard.admit(&policy, &alice(), "0.010000001".parse::<Money>().unwrap()).await.unwrap();
        assert!(!cent.is_granted());
        let cent = guard.admit(&policy, &alice(), "0.01".parse::<Money>().unwrap()).await.unwrap();
        assert!(cent.is_granted());
        assert_eq!(used(&guard, &policy, &alice()).await, [10_000_000_000]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_over_when_many_limits_bind_different_racers() {
    on_every_store(async |store| {
        // Each of four users may have 10, all together 25.
        let policy = Policy::new([
            Limit::new(Counter::new("user", Meter::REQUESTS, Window::total()), 10),
            Limit::new(Counter::new("org", Meter::REQUESTS, Window::total()), 25),
        ])
        .unwrap();
        let mut racers = JoinSet::new();
        for user in 0..4 {
            let (guard, policy) = (store.another_guard().await, policy.clone());
            for _ in 0..16 {
                let (guard, policy) = (guard.clone(), policy.clone());
                racers.spawn(async move {
                    let subject = Subject::new("acme").scope("org", "acme").scope("user", &format!("u{user}"));
                    guard.admit(&policy, &subject, Amounts::new()).await.unwrap().is_granted()
                });
            }
        }
        let granted = racers.join_all().await.into_iter().filter(|granted| *granted).count();
        assert_eq!(granted, 25);
        let mut of_users = 0;
        for user in 0..4 {
            let user: i64 =
                store.value(&format!("requests:{{acme}}:user:u{user}:total")).await.map_or(0, |v| v.parse().unwrap());
            assert!(user <= 10);
            of_users += user;
        }
        assert_eq!(of_users, 25);
        assert_eq!(store.value("requests:{acme}:org:acme:total").await.unwrap(), "25");
    })
    .await;
}

#[tokio::test]
async fn never_over_silently_a_charge_that_passes_the_limit_says_so() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), limited(Meter::COST, 100));
        let charged = guard.charge(&policy, &alice(), nanos(90)).await.unwrap();
        assert_eq!((charged.limits[0].used, charged.limits[0].overdraft()), (90, 0));
        let charged = guard.charge(&policy, &alice(), nanos(30)).await.unwrap();
        assert_eq!((charged.limits[0].used, charged.limits[0].overdraft()), (120, 20));
        let Decision::Denied(denial) = guard.admit(&policy, &alice(), nanos(0)).await.unwrap() else {
            panic!("nothing more fits, not even nothing")
        };
        assert_eq!((denial.limit.used, denial.limit.remaining(), denial.retry_after), (120, Some(0), None));
    })
    .await;
}

// 2. All or nothing.

/// What third counter makes a request of three limits fail, and how: command, arguments, kind of error.
const BROKEN_THIRD: [(&str, &[&str], ErrorKind); 9] = [
    ("SET", &["abc"], ErrorKind::Corrupt),
    ("SET", &[""], ErrorKind::Corrupt),
    ("SET", &["05"], ErrorKind::Corrupt),
    ("SET", &[" 5"], ErrorKind::Corrupt),
    ("SET", &["1.5"], ErrorKind::Corrupt),
    ("SET", &["-0"], ErrorKind::Corrupt),
    ("SET", &["99999999999999999999"], ErrorKind::Corrupt),
    ("HSET", &["field", "5"], ErrorKind::Corrupt),
    ("SET", &["9223372036854775807"], ErrorKind::Overflow),
];

#[tokio::test]
async fn all_or_nothing_a_broken_third_counter_leaves_the_first_two_untouched() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        for (command, args, kind) in BROKEN_THIRD {
            guard.charge(&policy, &alice(), nanos(10)).at(noon()).await.unwrap();
            store.command("DEL", THREE_KEYS[2], &[]).await;
            store.command(command, THREE_KEYS[2], args).await;
            let before = store.dump().await;
            assert_eq!(before.len(), 3);

            assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(5)).at(noon()).await), kind, "{args:?}");
            assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(5)).at(noon()).await), kind, "{args:?}");
            let with_id = guard.charge(&policy, &alice(), nanos(5)).at(noon()).id("one").await;
            assert_eq!(kind_of(with_id), kind, "{args:?}");
            let counter = Counter::new("global", Meter::COST, Window::total());
            let added = guard.adjust(&alice(), &counter, Correction::Add(5), "a test").at(noon()).await;
            assert_eq!(kind_of(added), kind, "{args:?}");
            if kind == ErrorKind::Corrupt {
                assert_eq!(kind_of(guard.peek(&policy, &alice()).at(noon()).await), kind, "{args:?}");
                let reset = guard.adjust(&alice(), &counter, Correction::Reset, "a test").at(noon()).await;
                assert_eq!(kind_of(reset), kind, "{args:?}");
            }
            assert_eq!(store.dump().await, before, "{args:?}");
            store.clean().await;
        }
    })
    .await;
}

#[tokio::test]
async fn all_or_nothing_a_denial_by_the_last_limit_takes_nothing_from_the_others() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        guard.charge(&policy, &alice(), nanos(999)).at(noon()).await.unwrap();
        store.command("SET", THREE_KEYS[2], &["3000", "PX", "1000000"]).await;
        let before = store.dump().await;
        let Decision::Denied(denial) = guard.admit(&policy, &alice(), nanos(1)).at(noon()).id("one").await.unwrap()
        else {
            panic!("the total is used up")
        };
        assert_eq!(denial.refused_by, [2]);
        assert_eq!(store.dump().await, before);
    })
    .await;
}

#[tokio::test]
async fn all_or_nothing_a_server_out_of_memory_changes_nothing() {
    let server = Server::start();
    let store = TestStore::redis(&server.url(), "").await;
    let (guard, policy) = (store.guard(), three_limits());
    guard.charge(&policy, &alice(), nanos(10)).at(noon()).await.unwrap();
    let before = store.dump().await;
    configure(&server, "maxmemory", "1").await;
    for id in ["one", "two"] {
        assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(5)).at(noon()).id(id).await), ErrorKind::Unavailable);
        assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(5)).at(noon()).await), ErrorKind::Unavailable);
    }
    assert_eq!(store.dump().await, before);
    configure(&server, "maxmemory", "0").await;
    guard.charge(&policy, &alice(), nanos(5)).at(noon()).id("one").await.unwrap();
    assert_eq!(store.value(THREE_KEYS[0]).await.unwrap(), "15");
}

async fn connect(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn configure(server: &Server, setting: &str, value: &str) {
    redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).exec_async(&mut connect(server).await).await.unwrap();
}

// 3. Once.

#[tokio::test]
async fn once_a_repeated_id_charges_once_and_replays_the_answer() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        let first = guard.charge(&policy, &alice(), nanos(10)).at(noon()).id("one").await.unwrap();
        assert!(!first.replayed);
        guard.charge(&policy, &alice(), nanos(1)).at(noon()).await.unwrap();
        let before = store.dump().await;
        // The repeat may come from another process, and in another window.
        for at in [noon(), noon() + chrono::Days::new(1)] {
            let repeat = store.another_guard().await;
            let repeat = repeat.charge(&policy, &alice(), nanos(10)).at(at).id("one").await.unwrap();
            assert!(repeat.replayed);
            assert_eq!(repeat.limits.iter().map(|state| state.used).collect::<Vec<_>>(), [10, 10, 10]);
        }
        assert_eq!(store.dump().await, before);

        let Decision::Granted(first) = guard.admit(&policy, &alice(), nanos(20)).at(noon()).id("two").await.unwrap()
        else {
            panic!("there is room")
        };
        guard.charge(&policy, &alice(), nanos(5000)).at(noon()).await.unwrap();
        let Decision::Granted(repeat) = guard.admit(&policy, &alice(), nanos(20)).at(noon()).id("two").await.unwrap()
        else {
            panic!("it was granted, whatever came later")
        };
        assert_eq!(repeat.limits, first.limits);
        assert_eq!((first.replayed, repeat.replayed), (false, true));

        let ttl = Duration::from_secs(60);
        let first = guard.count(&alice(), "user", &Meter::REQUESTS, ttl).by(3).id("three").await.unwrap();
        let repeat = guard.count(&alice(), "user", &Meter::REQUESTS, ttl).by(3).id("three").await.unwrap();
        assert_eq!((first.count, first.replayed, repeat.count, repeat.replayed), (3, false, 3, true));

        let counter = Counter::new("user", Meter::COST, Window::day());
        for replayed in [false, true] {
            let subject = alice();
            let taken = guard.adjust(&subject, &counter, Correction::Subtract(7), "a test").at(noon()).id("four");
            let taken = taken.await.unwrap();
            assert_eq!((taken.before, taken.after, taken.replayed), (5031, 5024, replayed));
        }
    })
    .await;
}

#[tokio::test]
async fn once_the_same_id_for_another_request_is_a_conflict_that_changes_nothing() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        guard.charge(&policy, &alice(), nanos(10)).at(noon()).id("one").await.unwrap();
        let before = store.dump().await;
        let conflict = ErrorKind::Conflict;
        assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(11)).at(noon()).id("one").await), conflict);
        assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(10)).at(noon()).id("one").await), conflict);
        let bob = Subject::new("acme").scope("org", "acme").scope("user", "bob");
        assert_eq!(kind_of(guard.charge(&policy, &bob, nanos(10)).at(noon()).id("one").await), conflict);
        let hour = Policy::new([Limit::cost("user", nanos(1000), Window::hour())]).unwrap();
        assert_eq!(kind_of(guard.charge(&hour, &alice(), nanos(10)).at(noon()).id("one").await), conflict);
        let ttl = Duration::from_secs(60);
        assert_eq!(kind_of(guard.count(&alice(), "user", &Meter::REQUESTS, ttl).id("one").await), conflict);
        let counter = Counter::new("user", Meter::COST, Window::day());
        for correction in [Correction::Add(10), Correction::Reset] {
            let adjusted = guard.adjust(&alice(), &counter, correction, "a test").at(noon()).id("one").await;
            assert_eq!(kind_of(adjusted), conflict);
        }
        assert_eq!(store.dump().await, before);

        // Under another root it is another id.
        let other = Subject::new("umbrella").scope("org", "acme").scope("user", "alice");
        assert!(!guard.charge(&policy, &other, nanos(11)).at(noon()).id("one").await.unwrap().replayed);
    })
    .await;
}

#[tokio::test]
async fn once_a_denied_id_may_try_again() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), limited(Meter::COST, 10));
        guard.charge(&policy, &alice(), nanos(8)).await.unwrap();
        assert!(!guard.admit(&policy, &alice(), nanos(5)).id("one").await.unwrap().is_granted());
        guard.adjust(&alice(), &total(Meter::COST), Correction::Subtract(6), "a refund").await.unwrap();
        for _ in 0..2 {
            assert!(guard.admit(&policy, &alice(), nanos(5)).id("one").await.unwrap().is_granted());
        }
        assert_eq!(used(&guard, &policy, &alice()).await, [7]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_when_64_tasks_send_the_same_id_at_once() {
    on_every_store(async |store| {
        let policy = limited(Meter::COST, 1000);
        let mut racers = JoinSet::new();
        for _ in 0..4 {
            let guard = store.another_guard().await;
            for _ in 0..16 {
                let (guard, policy) = (guard.clone(), policy.clone());
                racers.spawn(async move { guard.charge(&policy, &alice(), nanos(7)).id("one").await.unwrap() });
            }
        }
        let answers = racers.join_all().await;
        assert!(answers.iter().all(|answer| answer.limits[0].used == 7));
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        assert_eq!(used(&store.guard(), &policy, &alice()).await, [7]);
    })
    .await;
}

#[tokio::test]
async fn once_when_the_reply_is_lost_after_the_commit() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = limited(Meter::COST, 1000);
    let (subject, counter, ttl) = (alice(), total(Meter::COST), Duration::from_secs(60));

    proxy.lose_next_reply();
    let charged = guard.charge(&policy, &subject, nanos(10)).id("charge").await.unwrap();
    assert_eq!((charged.limits[0].used, charged.replayed, proxy.faults_struck()), (10, true, 1));
    proxy.lose_next_reply();
    let Decision::Granted(grant) = guard.admit(&policy, &subject, nanos(20)).id("admit").await.unwrap() else {
        panic!("there is room")
    };
    assert_eq!((grant.limits[0].used, grant.replayed, proxy.faults_struck()), (30, true, 2));
    proxy.lose_next_reply();
    let counted = guard.count(&subject, "user", &Meter::REQUESTS, ttl).by(5).id("count").await.unwrap();
    assert_eq!((counted.count, counted.replayed, proxy.faults_struck()), (5, true, 3));
    proxy.lose_next_reply();
    let adjusted = guard.adjust(&subject, &counter, Correction::Add(4), "a test").id("adjust").await.unwrap();
    assert_eq!((adjusted.before, adjusted.after, adjusted.replayed, proxy.faults_struck()), (30, 34, true, 4));

    // A request that was lost on its way happens once, too.
    proxy.drop_next_request();
    let charged = guard.charge(&policy, &subject, nanos(6)).id("dropped").await.unwrap();
    assert_eq!((charged.limits[0].used, charged.replayed, proxy.faults_struck()), (40, false, 5));

    // What only reads is sent again without an id.
    proxy.lose_next_reply();
    assert_eq!(used(&guard, &policy, &subject).await, [40]);
    assert_eq!(proxy.faults_struck(), 6);
    assert_eq!(used(&direct, &policy, &subject).await, [40]);
    let counted = direct.count(&subject, "user", &Meter::REQUESTS, ttl).by(0).await.unwrap();
    assert_eq!(counted.count, 5);
}

#[tokio::test]
async fn once_without_an_id_an_ambiguous_failure_is_told_and_never_sent_again() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = limited(Meter::COST, 1000);
    let (subject, counter, ttl) = (alice(), total(Meter::COST), Duration::from_secs(60));
    // So that the server knows the scripts and the first call runs.
    guard.charge(&policy, &subject, nanos(1)).await.unwrap();
    assert!(guard.admit(&policy, &subject, nanos(1)).await.unwrap().is_granted());
    guard.count(&subject, "user", &Meter::REQUESTS, ttl).await.unwrap();
    guard.adjust(&subject, &counter, Correction::Add(1), "a test").await.unwrap();

    let calls = proxy.script_calls_seen();
    proxy.lose_next_reply();
    let lost = guard.charge(&policy, &subject, nanos(10)).await.unwrap_err();
    assert_eq!((lost.kind(), lost.is_retry_safe()), (ErrorKind::Ambiguous, false));
    assert_eq!(proxy.script_calls_seen(), calls + 1);
    proxy.lose_next_reply();
    assert_eq!(kind_of(guard.admit(&policy, &subject, nanos(100)).await), ErrorKind::Ambiguous);
    proxy.lose_next_reply();
    assert_eq!(kind_of(guard.count(&subject, "user", &Meter::REQUESTS, ttl).await), ErrorKind::Ambiguous);
    proxy.lose_next_reply();
    let adjusted = guard.adjust(&subject, &counter, Correction::Add(500), "a test").await;
    assert_eq!(kind_of(adjusted), ErrorKind::Ambiguous);
    assert_eq!(proxy.script_calls_seen(), calls + 4);
    assert_eq!(proxy.faults_struck(), 4);
    assert_eq!(used(&direct, &policy, &subject).await, [613]);
    assert_eq!(direct.count(&subject, "user", &Meter::REQUESTS, ttl).by(0).await.unwrap().count, 2);
}

// 6. Nothing is immortal.

#[tokio::test]
async fn nothing_is_immortal_every_key_of_a_mixed_workload_ends() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        let day = Counter::new("user", Meter::COST, Window::day());
        let ttl = Duration::from_secs(60);
        for round in 0..100 {
            let subject = Subject::new("acme").scope("org", "acme").scope("user", &format!("u{}", round % 7));
            let at = DateTime::from_timestamp_millis(START_MS + round * 3_600_000).unwrap();
            let id = format!("id{round}");
            match round % 6 {
                0 => drop(guard.charge(&policy, &subject, nanos(round)).at(at).id(&id).await.unwrap()),
                1 => drop(guard.admit(&policy, &subject, nanos(round)).at(at).id(&id).await.unwrap()),
                2 => drop(guard.charge(&policy, &subject, nanos(0)).await.unwrap()),
                3 => drop(guard.admit(&policy, &subject, nanos(0)).await.unwrap()),
                4 => drop(guard.count(&subject, "user", &Meter::REQUESTS, ttl).id(&id).await.unwrap()),
                _ => drop(guard.adjust(&subject, &day, Correction::Add(round), "a test").at(at).id(&id).await.unwrap()),
            }
        }
        let dump = store.dump().await;
        assert!(dump.len() > 80, "the workload stores more than {} keys", dump.len());
        assert_eq!(without_ttl(&dump), Vec::<&str>::new());
    })
    .await;
}

fn without_ttl(dump: &[Stored]) -> Vec<&str> {
    dump.iter().filter(|stored| stored.expire_at_ms.is_none()).map(|stored| &*stored.key).collect()
}

#[tokio::test]
async fn nothing_is_immortal_a_lost_ttl_is_healed_within_64_writes() {
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = Policy::new([
            Limit::cost("user", nanos(1_000_000), Window::day()),
            Limit::cost("org", nanos(1_000_000), Window::month()),
        ])
        .unwrap();
        guard.charge(&policy, &alice(), nanos(1)).at(noon()).await.unwrap();
        let ended = store.dump().await;
        for admits in [false, true] {
            for key in &THREE_KEYS[..2] {
                store.command("PERSIST", key, &[]).await;
            }
            assert_eq!(without_ttl(&store.dump().await).len(), 2);
            for _ in 0..64 {
                if admits {
                    assert!(guard.admit(&policy, &alice(), nanos(1)).at(noon()).await.unwrap().is_granted());
                } else {
                    guard.charge(&policy, &alice(), nanos(1)).at(noon()).await.unwrap();
                }
            }
            let healed = store.dump().await;
            assert_eq!(without_ttl(&healed), Vec::<&str>::new());
            // To where it would have ended: on a server the injected past counts from its now, to the second.
            for (healed, ended) in healed.iter().zip(&ended) {
                let late_ms = healed.expire_at_ms.unwrap() - ended.expire_at_ms.unwrap();
                assert!((0..60_000).contains(&late_ms), "{} ends {late_ms} ms late", healed.key);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_immortal_in_whatever_turn_counters_are_written() {
    // When every second, third, … write is another user's, each of them is healed all the same.
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = Policy::new([Limit::cost("user", nanos(1_000_000), Window::day())]).unwrap();
        for users in [2, 3, 5, 8] {
            let subjects: Vec<_> =
                (0..users).map(|user| Subject::new("acme").scope("user", &format!("{users}-{user}"))).collect();
            for (user, subject) in subjects.iter().enumerate() {
                guard.charge(&policy, subject, nanos(1)).at(noon()).await.unwrap();
                store.command("PERSIST", &format!("cost:{{acme}}:user:{users}-{user}:2026-02-01"), &[]).await;
            }
            for _ in 0..4 * 64 {
                for subject in &subjects {
                    guard.charge(&policy, subject, nanos(1)).at(noon()).await.unwrap();
                }
            }
            assert_eq!(without_ttl(&store.dump().await), Vec::<&str>::new(), "{users} users in turn");
            store.clean().await;
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_immortal_a_counted_counter_is_healed_by_the_next_hit() {
    on_every_store(async |store| {
        let (guard, ttl) = (store.guard(), Duration::from_secs(60));
        guard.count(&alice(), "user", &Meter::REQUESTS, ttl).await.unwrap();
        store.command("PERSIST", "requests:{acme}:user:alice:count", &[]).await;
        let counted = guard.count(&alice(), "user", &Meter::REQUESTS, ttl).await.unwrap();
        assert_eq!((counted.count, counted.left), (2, ttl));
        assert_eq!(without_ttl(&store.dump().await), Vec::<&str>::new());
    })
    .await;
}

// 7. Exact.

#[tokio::test]
async fn exact_over_the_whole_range_and_overflow_changes_nothing() {
    on_every_store(async |store| {
        let guard = store.guard();
        let interesting = [
            (99_999_999_999_999, 1),
            (100_000_000_000_000, 1),
            (9_007_199_254_740_992, 1),
            (9_007_199_254_740_993, 9_007_199_254_740_993),
            (4_611_686_018_427_387_904, 4_611_686_018_427_387_903),
            (i64::MAX - 1, 1),
            (i64::MAX, 0),
        ];
        for (first, second) in interesting {
            let policy = limited(Meter::COST, first + second);
            guard.charge(&policy, &alice(), nanos(first)).id(&format!("{first}")).await.unwrap();
            if first + second < i64::MAX {
                let over = guard.admit(&policy, &alice(), nanos(second + 1)).await.unwrap();
                assert!(!over.is_granted(), "{first} + {second} + 1 is over the limit");
            } else {
                let before = store.dump().await;
                assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(second + 1)).await), ErrorKind::Overflow);
                assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(second + 1)).await), ErrorKind::Overflow);
                let adjusted = guard.adjust(&alice(), &total(Meter::COST), Correction::Add(second + 1), "a test").await;
                assert_eq!(kind_of(adjusted), ErrorKind::Overflow);
                let values = |dump: Vec<Stored>| dump.into_iter().map(|stored| stored.value).collect::<Vec<_>>();
                assert_eq!(values(store.dump().await), values(before));
            }
            let Decision::Granted(grant) = guard.admit(&policy, &alice(), nanos(second)).await.unwrap() else {
                panic!("{first} + {second} is not over the limit")
            };
            assert_eq!((grant.limits[0].used, grant.limits[0].remaining()), (first + second, Some(0)));
            assert_eq!(used(&guard, &policy, &alice()).await, [first + second]);
            let repeat = guard.charge(&policy, &alice(), nanos(first)).id(&format!("{first}")).await.unwrap();
            assert_eq!((repeat.limits[0].used, repeat.replayed), (first, true));
            let adjusted = guard.adjust(&alice(), &total(Meter::COST), Correction::Subtract(first), "a test").await;
            let adjusted = adjusted.unwrap();
            assert_eq!((adjusted.before, adjusted.after), (first + second, second));
            store.clean().await;
        }
    })
    .await;
}

#[tokio::test]
async fn exact_when_counting() {
    on_every_store(async |store| {
        let (guard, ttl) = (store.guard(), Duration::from_secs(60));
        let max = u64::try_from(i64::MAX).unwrap();
        let counted = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(max - 1).id("one").await.unwrap();
        assert_eq!(counted.count, i64::MAX - 1);
        let counted = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(1).await.unwrap();
        assert_eq!(counted.count, i64::MAX);
        let over = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(1).extend().await;
        assert_eq!(kind_of(over), ErrorKind::Overflow);
        assert_eq!(kind_of(guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(max + 1).await), ErrorKind::Invalid);
        let repeat = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(max - 1).id("one").await.unwrap();
        assert_eq!((repeat.count, repeat.replayed), (i64::MAX - 1, true));
    })
    .await;
}

// 8. One clock.

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn one_clock_a_client_whose_clock_is_wrong_gets_the_same_answers() {
    on_every_store(async |store| {
        let policy = Policy::new([
            Limit::cost("user", nanos(100), Window::hour()),
            Limit::cost("user", nanos(200), Window::day().in_zone_named("Europe/Berlin").unwrap()),
            Limit::cost("org", nanos(300), Window::month()),
            Limit::cost("global", nanos(1000), Window::total()),
        ])
        .unwrap();
        let day = Counter::new("user", Meter::COST, Window::day().in_zone_named("Europe/Berlin").unwrap());
        let mut tries = 0;
        let answers = loop {
            let hour = store.now_ms().await / HOUR_MS;
            let mut answers = Vec::new();
            for off_ms in
                [0, -300 * 24 * HOUR_MS, -40 * 24 * HOUR_MS, -HOUR_MS, HOUR_MS, 24 * HOUR_MS, 400 * 24 * HOUR_MS]
            {
                let clock = Arc::new(ManualClock::new(store.now_ms().await + off_ms));
                let guard = store.builder().clock(clock).store(store.store.clone()).unwrap();
                let charged = guard.charge(&policy, &alice(), nanos(60)).await.unwrap().limits;
                let admitted = guard.admit(&policy, &alice(), nanos(50)).await.unwrap();
                let Decision::Denied(denial) = admitted else { panic!("60 and 50 are over 100") };
                let adjusted = guard.adjust(&alice(), &day, Correction::Subtract(1), "a test").await.unwrap();
                let noted: Vec<_> =
                    guard.adjustments(&alice(), &day).await.unwrap().into_iter().map(|note| note.after).collect();
                let keys: BTreeSet<_> = store.dump().await.into_iter().map(|stored| stored.key).collect();
                answers.push((charged, denial.limits, denial.limit, adjusted, noted, keys));
                store.clean().await;
            }
            // The hour may have ended in between: then the answers differ rightly, and it is done once more.
            if store.now_ms().await / HOUR_MS == hour {
                break answers;
            }
            tries += 1;
            assert!(tries < 3);
        };
        for answer in &answers {
            assert_eq!(answer, &answers[0]);
        }
    })
    .await;
}

#[tokio::test]
async fn one_clock_a_denial_says_until_when_by_the_stores_clock() {
    let store = TestStore::embedded("");
    let wrong = Arc::new(ManualClock::new(START_MS + 77 * 24 * HOUR_MS));
    let guard = store.builder().clock(wrong).store(store.store.clone()).unwrap();
    let policy = Policy::new([Limit::cost("user", nanos(100), Window::day())]).unwrap();
    for (after_ms, granted) in [(0, true), (12 * HOUR_MS - 1, false), (12 * HOUR_MS, true), (36 * HOUR_MS, true)] {
        store.clock().unwrap().set_ms(START_MS + after_ms);
        match guard.admit(&policy, &alice(), nanos(60)).await.unwrap() {
            Decision::Granted(grant) => assert!(granted, "{after_ms} {grant:?}"),
            Decision::Denied(denial) => {
                assert!(!granted, "{after_ms} {denial:?}");
                // Scripts look at whole seconds.
                assert_eq!(denial.retry_after, Some(Duration::from_secs(1)));
            }
        }
    }
}

#[tokio::test]
async fn one_clock_ttls_count_from_the_stores_now_however_old_the_log() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        let log = DateTime::parse_from_rfc3339("2023-11-16T18:00:00Z").unwrap().to_utc();
        guard.charge(&policy, &alice(), nanos(5)).at(log).await.unwrap();
        let now_ms = store.now_ms().await;
        let left_ms: Vec<_> =
            store.dump().await.into_iter().map(|stored| (stored.key, stored.expire_at_ms.unwrap() - now_ms)).collect();
        let expected = [
            ("cost:{acme}:global:total", 400 * 24),
            ("cost:{acme}:org:acme:2023-11", 14 * 24 + 6 + 48),
            ("cost:{acme}:user:alice:2023-11-16", 6 + 48),
        ];
        assert_eq!(left_ms.len(), expected.len());
        for ((key, left_ms), (expected_key, hours)) in left_ms.into_iter().zip(expected) {
            assert_eq!(key, expected_key);
            // Whole seconds, and what passed since the charge.
            assert!((-60_000..=0).contains(&(left_ms - hours * HOUR_MS)), "{key} lives {left_ms} ms");
        }
    })
    .await;
}

// 9. One slot.

#[tokio::test]
async fn one_slot_every_key_of_a_root_has_its_hash_tag() {
    on_every_store(async |store| {
        let guard = store.guard();
        let (day, ttl) = (Counter::new("user", Meter::COST, Window::day()), Duration::from_secs(60));
        guard.charge(&three_limits(), &alice(), nanos(1)).id("one").await.unwrap();
        guard.count(&alice(), "user", &Meter::REQUESTS, ttl).id("two").await.unwrap();
        guard.adjust(&alice(), &day, Correction::Add(1), "a test").id("three").await.unwrap();
        let dump = store.dump().await;
        assert_eq!(dump.len(), 8);
        for stored in dump {
            let tag = stored.key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
            assert_eq!(tag, Some("acme"), "{}", stored.key);
        }
    })
    .await;
}

#[test]
fn one_slot_the_embedded_engine_refuses_an_undeclared_key_and_a_second_slot() {
    let store = Embedded::new();
    let text = |text: &str| text.to_owned();
    let undeclared = store.eval("return redis.call('SET', KEYS[1] .. 'x', 1)", &[text("{a}:k")], &[]).unwrap();
    assert!(
        matches!(&undeclared, Reply::Error(error) if error.contains("non declared key '{a}:kx'")),
        "{undeclared:?}"
    );
    let slots = store.eval("return redis.call('SET', KEYS[1], 1)", &[text("{a}:k"), text("{b}:k")], &[]).unwrap_err();
    assert_eq!((slots.kind(), slots.to_string().starts_with("CROSSSLOT")), (ErrorKind::Store, true));
    assert_eq!(store.dump(), []);
}

// Hostile ids.

#[tokio::test]
async fn hostile_ids_reach_nobody_elses_key() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), Policy::new([Limit::cost("user", nanos(100), Window::day())]).unwrap());
        let ids = [
            "a",
            "a:2026-02-01",
            "a%3A2026-02-01",
            "{x}",
            "{acme}",
            "}",
            "a\n",
            "a ",
            "a\r\nDEL a",
            "a\u{0}",
            "*",
            "a\u{2028}",
            "alice:2026-02-01:adjustments",
            "../a",
            "A",
            "é",
            "%",
            "%25",
            "global",
            "total",
            "count",
            "'",
            "\"",
        ];
        let mut keys = BTreeSet::new();
        for (place, id) in ids.iter().enumerate() {
            for subject in [
                Subject::new("acme").scope("user", id),
                Subject::new(id).scope("user", "a"),
                Subject::plain("user", id),
            ] {
                let amount = i64::try_from(place).unwrap() + 1;
                let charged = guard.charge(&policy, &subject, nanos(amount)).at(noon()).id(id).await;
                match charged {
                    // Nobody else's money is in it, and nobody else's answer.
                    Ok(charged) => assert_eq!((charged.limits[0].used, charged.replayed), (amount, false), "{id:?}"),
                    Err(err) => panic!("{id:?}: {err}"),
                }
            }
            let now: BTreeSet<_> = store.dump().await.into_iter().map(|stored| stored.key).collect();
            let new: Vec<_> = now.difference(&keys).collect();
            assert_eq!(new.len(), 6, "{id:?} has its own counters and receipts, not {new:?}");
            for key in new {
                assert!(!key.contains(|c: char| c.is_control() || c.is_whitespace()), "{key:?}");
                assert!(key.matches('{').count() <= 1 && key.matches('}').count() <= 1, "{key:?}");
            }
            keys = now;
        }

        let before = store.dump().await;
        for id in ["", &"x".repeat(201), &"é".repeat(101)] {
            for subject in [
                Subject::new("acme").scope("user", id),
                Subject::new(id).scope("user", "a"),
                Subject::plain("user", id),
            ] {
                assert_eq!(kind_of(guard.charge(&policy, &subject, nanos(1)).at(noon()).await), ErrorKind::Invalid);
            }
            let one = guard.charge(&policy, &alice(), nanos(1)).at(noon()).id(id).await;
            assert_eq!(kind_of(one), ErrorKind::Invalid);
        }
        assert_eq!(store.dump().await, before);
        let longest = Subject::new(&"}".repeat(200)).scope("user", &"\u{0}".repeat(200));
        guard.charge(&policy, &longest, nanos(1)).at(noon()).id(&":".repeat(200)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn hostile_meters_prefixes_and_reasons_reach_nobody_elses_key() {
    on_every_store(async |store| {
        let guard = store.guard();
        let mut values = Vec::new();
        for name in ["cost", "cost:{acme}:user:alice", "{acme}", "cost ", "receipt:", "x\ny"] {
            let policy = limited(Meter::new(name).unwrap(), 100);
            let amounts = Amounts::new().with(Meter::new(name).unwrap(), 7);
            values.push(guard.charge(&policy, &alice(), amounts).await.unwrap().limits[0].used);
        }
        assert_eq!(values, [7; 6]);
        assert_eq!(store.dump().await.len(), 6);
        assert!(Meter::new("receipt").is_err());
        let counter = total(Meter::COST);
        for reason in ["", "  ", "a\nb", "a\u{0}b", &"x".repeat(501)] {
            let adjusted = guard.adjust(&alice(), &counter, Correction::Add(1), reason).await;
            assert_eq!(kind_of(adjusted), ErrorKind::Invalid, "{reason:?}");
        }
        let reason = "refund  of 'x' \"y\" {z} %s é 100%";
        guard.adjust(&alice(), &counter, Correction::Add(1), reason).await.unwrap();
        assert_eq!(guard.adjustments(&alice(), &counter).await.unwrap()[0].reason, reason);
    })
    .await;
}

// The script cache.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn script_flush_in_mid_run_goes_unnoticed() {
    let server = Server::start();
    let guard = CostGuard::connect(&server.url()).await.unwrap();
    let policy = limited(Meter::COST, 1_000_000);
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (guard, policy) = (guard.clone(), policy.clone());
        tasks.spawn(async move {
            for round in 0..32 {
                if round % 2 == 0 {
                    guard.charge(&policy, &alice(), nanos(1)).await.unwrap();
                } else {
                    assert!(guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
                }
            }
        });
    }
    let mut direct = connect(&server).await;
    for _ in 0..50 {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut direct).await.unwrap();
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut direct).await.unwrap();
    assert_eq!(used(&guard, &policy, &alice()).await, [16 * 32]);
}

// 11. Never silently local.

/// Everything that a program may print of an error.
fn all_texts(err: &Error) -> String {
    let mut texts = format!("{err} {err:?} {err:#?}");
    let mut source = std::error::Error::source(err);
    while let Some(cause) = source {
        texts.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    texts
}

#[tokio::test]
async fn never_silently_local_a_server_that_does_not_answer_is_an_error_without_the_password() {
    // Bound and closed again, so nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("redis://alice:hunter2secret@127.0.0.1:{port}/0");
    let err = CostGuard::connect(&url).await.unwrap_err();
    assert_eq!((err.kind(), err.is_retry_safe()), (ErrorKind::Unavailable, true));
    assert!(!all_texts(&err).contains("hunter2secret"), "{}", all_texts(&err));
    assert!(err.to_string().contains(&format!("127.0.0.1:{port}")), "{err}");

    for url in ["", "nonsense:hunter2secret", "http://x:hunter2secret@h", "redis://x:hunter2secret@:port/"] {
        let err = CostGuard::connect(url).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{url}");
        assert!(!all_texts(&err).contains("hunter2secret"), "{}", all_texts(&err));
    }
    assert_eq!(CostGuard::connect("memory:").await.unwrap().store().describe(), "embedded");
}

#[tokio::test]
async fn never_silently_local_when_the_server_goes_away_later() {
    let server = Server::start_with(&["--requirepass", "hunter2secret"]);
    let url = server.url().replace("://", "://:hunter2secret@");
    let wrong = server.url().replace("://", "://:wrong2secret@");
    let err = CostGuard::connect(&wrong).await.unwrap_err();
    assert!(!all_texts(&err).contains("wrong2secret"), "{}", all_texts(&err));

    let guard = CostGuard::connect(&url).await.unwrap();
    assert!(!guard.store().describe().contains("hunter2secret"));
    assert!(!format!("{guard:?}").contains("hunter2secret"));
    let policy = limited(Meter::COST, 100);
    guard.charge(&policy, &alice(), nanos(1)).await.unwrap();
    drop(server);
    let err = guard.charge(&policy, &alice(), nanos(1)).id("one").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(!all_texts(&err).contains("hunter2secret"), "{}", all_texts(&err));
    let err = guard.charge(&policy, &alice(), nanos(1)).await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous), "{err:?}");
}
