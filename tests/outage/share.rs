//! What is decided without the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use costguard::store::ManualClock;
use costguard::{CostGuard, Decision, ErrorKind, Grant, Limit, Money, Outage, Policy, Subject, Window};
use tokio::task::JoinSet;

use super::support::{Proxy, Server};
use super::{Setting, a_tenth, alice, config, connect, cut, lose, nanos, policy, until, without};

fn granted(decision: Decision) -> Grant {
    match decision {
        Decision::Granted(grant) => grant,
        Decision::Denied(denial) => panic!("denied by {}", denial.limit),
    }
}

/// Admits until it is refused; gives how much was granted.
async fn spend_all(guard: &CostGuard, policy: &Policy, amount: i64) -> i64 {
    let mut spent = 0;
    loop {
        match guard.admit(policy, &alice(), nanos(amount)).await.unwrap() {
            Decision::Granted(grant) => {
                assert!(without(grant.decided));
                spent += amount;
            }
            Decision::Denied(denial) => {
                assert!(without(denial.decided));
                return spent;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_outage_policy_requests_fail() {
    let set = Setting::new(Outage::Deny).await;
    let policy = policy(100);
    granted(set.guard.admit(&policy, &alice(), nanos(1)).await.unwrap());
    set.cut().await;
    let bob = Subject::new("acme").scope("user", "bob");
    let err = set.guard.admit(&policy, &bob, nanos(1)).await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous), "{err}");
    let err = set.guard.admit(&policy, &bob, nanos(1)).id("a").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
    // A request may say otherwise.
    let grant = granted(set.guard.admit(&policy, &alice(), nanos(1)).outage(Outage::Allow).await.unwrap());
    assert!(without(grant.decided));
    set.deliver().await;
    assert_eq!(set.used(&policy).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n_processes_pass_a_limit_by_n_times_their_share_at_most() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = policy(1009);
    assert!(direct.admit(&policy, &alice(), nanos(1009)).await.unwrap().is_granted(), "all of it is spent");
    let mut guards = Vec::new();
    for _ in 0..3 {
        guards.push(connect(&proxy, a_tenth()).await);
    }
    cut(&proxy, &guards.iter().collect::<Vec<_>>()).await;
    let mut tasks = JoinSet::new();
    for guard in guards.iter().flat_map(|guard| std::iter::repeat_n(guard, 8)) {
        let (guard, policy) = (guard.clone(), policy.clone());
        tasks.spawn(async move { spend_all(&guard, &policy, 3).await });
    }
    let mut spent = 0;
    while let Some(task) = tasks.join_next().await {
        spent += task.unwrap();
    }
    // A tenth of 1,009, rounded down, is 100; 33 times 3 fit.
    assert_eq!(spent, 3 * 99);

    proxy.mend();
    for guard in &guards {
        until("all is delivered", async || guard.undelivered().depth == 0).await;
    }
    assert_eq!(direct.peek(&policy, &alice()).await.unwrap()[0].used, 1009 + spent);
    // The share of a window is one, however many outages it has.
    cut(&proxy, &[&guards[0]]).await;
    assert_eq!(spend_all(&guards[0], &policy, 1).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_counts_in_the_window_in_which_it_was_granted() {
    let set = Setting::new(a_tenth()).await;
    let policy = Policy::new([Limit::cost("user", nanos(1000), Window::day())]).unwrap();
    let late = "2026-02-01T23:59:59Z".parse().unwrap();
    let early = "2026-02-02T00:00:01Z".parse().unwrap();
    set.cut().await;
    granted(set.guard.admit(&policy, &alice(), nanos(90)).at(late).await.unwrap());
    let refused = set.guard.admit(&policy, &alice(), nanos(90)).at(late).await.unwrap();
    let Decision::Denied(denial) = refused else { panic!("the share of the day is 100") };
    assert_eq!((denial.limit.limit, denial.limit.used), (Some(100), 90));
    granted(set.guard.admit(&policy, &alice(), nanos(80)).at(early).await.unwrap());
    assert!(without(set.guard.charge(&policy, &alice(), nanos(500)).at(early).await.unwrap().decided));
    set.deliver().await;
    let used = async |at| set.direct.peek(&policy, &alice()).at(at).await.unwrap()[0].used;
    assert_eq!((used(late).await, used(early).await), (90, 580));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_those_of_the_store_also_while_it_is_away() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = Policy::new([Limit::cost("user", nanos(100), Window::day())]).unwrap();
    let day_ends = async || direct.peek(&policy, &alice()).await.unwrap()[0].resets_at().unwrap();
    // A process whose clock is a day ahead.
    let wrong = Arc::new(ManualClock::new(chrono::Utc::now().timestamp_millis() + 86_400_000));
    let builder = CostGuard::builder().outage(Outage::Allow).clock(wrong);
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    guard.peek(&policy, &alice()).await.unwrap();
    cut(&proxy, &[&guard]).await;

    let before = day_ends().await;
    let grant = granted(guard.admit(&policy, &alice(), nanos(7)).await.unwrap());
    let ends = grant.limits[0].resets_at().unwrap();
    assert!(without(grant.decided) && (before..=day_ends().await).contains(&ends), "{ends}");
    proxy.mend();
    until("all is delivered", async || guard.undelivered().depth == 0).await;
    let within = ends - chrono::TimeDelta::milliseconds(1);
    assert_eq!(direct.peek(&policy, &alice()).at(within).await.unwrap()[0].used, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_that_is_repeated_uses_the_share_once() {
    let set = Setting::new(a_tenth()).await;
    let policy = policy(100);
    set.cut().await;
    for _ in 0..2 {
        let charged = set.guard.charge(&policy, &alice(), nanos(6)).id("six").await.unwrap();
        assert!(without(charged.decided));
    }
    assert_eq!(spend_all(&set.guard, &policy, 1).await, 4);
    set.deliver().await;
    assert_eq!(set.used(&policy).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_had_taken_counts_once() {
    let set = Setting::new(Outage::Allow).await;
    let policy = policy(10);
    // As if the answer had been lost.
    granted(set.direct.admit(&policy, &alice(), nanos(7)).id("seven").await.unwrap());
    set.cut().await;
    for _ in 0..3 {
        let grant = granted(set.guard.admit(&policy, &alice(), nanos(7)).id("seven").await.unwrap());
        assert!(without(grant.decided));
    }
    assert_eq!(set.guard.undelivered().depth, 1, "a repeat is not delivered apart");
    // Above the limit, and allowed.
    granted(set.guard.admit(&policy, &alice(), nanos(9)).id("nine").await.unwrap());
    assert_eq!(set.guard.admit(&policy, &alice(), nanos(8)).id("nine").await.unwrap_err().kind(), ErrorKind::Conflict);
    set.deliver().await;
    assert_eq!(set.used(&policy).await, 16);
    let again = granted(set.guard.admit(&policy, &alice(), nanos(9)).id("nine").await.unwrap());
    assert!(again.replayed && !without(again.decided));
    assert_eq!(set.used(&policy).await, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_and_partial_amounts_have_their_share_too() {
    let set = Setting::new(a_tenth()).await;
    let minute = std::time::Duration::from_secs(60);
    let policy =
        Policy::new([Limit::requests("user", 50, minute).unwrap(), Limit::cost("user", nanos(1000), Window::total())])
            .unwrap();
    let at = "2026-02-01T12:00:00Z".parse().unwrap();
    set.cut().await;
    let part = granted(
        set.guard.admit(&policy, &alice(), nanos(250)).at_most(costguard::Meter::COST).id("part").at(at).await.unwrap(),
    );
    assert_eq!(part.part, Some(100));
    for _ in 0..4 {
        granted(set.guard.admit(&policy, &alice(), Money::ZERO).at(at).await.unwrap());
    }
    let Decision::Denied(denial) = set.guard.admit(&policy, &alice(), Money::ZERO).at(at).await.unwrap() else {
        panic!("a tenth of 50 requests are 5")
    };
    assert_eq!(denial.limit.limit, Some(5));
    set.deliver().await;
    let states = set.direct.peek(&policy, &alice()).at(at).await.unwrap();
    assert_eq!((states[0].used, states[1].used), (5, 100));
    let again = granted(
        set.guard.admit(&policy, &alice(), nanos(250)).at_most(costguard::Meter::COST).id("part").at(at).await.unwrap(),
    );
    assert_eq!((again.part, again.replayed), (Some(100), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_64_tasks_were_granted_while_the_way_was_cut_and_mended_is_what_the_store_has() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = CostGuard::builder().outage(Outage::Allow).outage_queue(10_000_000);
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    let policy = policy(1_000_000_000);
    let counts: Arc<[AtomicI64; 2]> = Arc::default();
    let [by_store, alone] = &*counts;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (guard, policy, counts, stop) = (guard.clone(), policy.clone(), Arc::clone(&counts), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let grant = granted(guard.admit(&policy, &alice(), nanos(3)).await.unwrap());
                counts[usize::from(without(grant.decided))].fetch_add(3, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    for round in 1..=3 {
        let (before, cut_at) = (by_store.load(Ordering::SeqCst), alone.load(Ordering::SeqCst));
        until("some are granted by the store", async || by_store.load(Ordering::SeqCst) >= before + 900).await;
        proxy.cut();
        until("some are granted without it", async || alone.load(Ordering::SeqCst) >= cut_at + 900).await;
        proxy.mend();
        assert_eq!(guard.undelivered().rejected, 0, "round {round}");
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    until("all is delivered", async || guard.undelivered().depth == 0).await;
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let used = direct.peek(&policy, &alice()).await.unwrap()[0].used;
    assert_eq!(used, by_store.load(Ordering::SeqCst) + alone.load(Ordering::SeqCst));
    assert_eq!(guard.undelivered().rejected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gave_no_id_is_not_told_to_repeat_what_the_store_may_have_taken() {
    let server = Server::start();
    let policy = policy(100);
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let used = async || direct.peek(&policy, &alice()).await.unwrap()[0].used;
    let set_up = async |outage, most| {
        let proxy = Proxy::start(&server.url()).await;
        let builder = CostGuard::builder().outage(outage).outage_queue(most);
        let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
        guard.peek(&policy, &alice()).await.unwrap();
        (proxy, guard)
    };
    let (proxy, guard) = set_up(Outage::Allow, 0).await;
    let admit = lose(&proxy, guard.admit(&policy, &alice(), nanos(20))).await.unwrap_err();
    let (proxy, guard) = set_up(Outage::Allow, 0).await;
    let charge = lose(&proxy, guard.charge(&policy, &alice(), nanos(20))).await.unwrap_err();
    // Its share has no room for it.
    let (proxy, guard) = set_up(a_tenth(), 10).await;
    let denied = lose(&proxy, guard.admit(&policy, &alice(), nanos(20))).await.unwrap_err();
    for err in [admit, charge, denied] {
        assert_eq!((err.kind(), err.is_retry_safe()), (ErrorKind::Ambiguous, false), "{err}");
        assert!(err.to_string().contains("may or may not have been applied"), "{err}");
        assert!(!err.to_string().contains("nothing was granted"), "{err}");
    }
    assert_eq!(used().await, 60);

    // Whose id it is can ask again.
    let (proxy, guard) = set_up(Outage::Allow, 0).await;
    let err = lose(&proxy, guard.admit(&policy, &alice(), nanos(20)).id("mine")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
    assert!(!err.to_string().contains("nothing was granted"), "{err}");
    proxy.mend();
    let again = async || guard.admit(&policy, &alice(), nanos(20)).id("mine").await;
    until("service returns", async || again().await.is_ok()).await;
    assert!(granted(again().await.unwrap()).replayed);
    assert_eq!(used().await, 80);
}
