//! Cluster, with real processes: calls find their slot, wherever it is and while it moves.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, Decision, Error, ErrorKind, Limit, Meter, Money, Policy, Subject, Window};
use support::Cluster;
use support::server::until;
use tokio::task::{JoinSet, block_in_place};

/// One counter: a call with one key.
fn one() -> Policy {
    Policy::new([Limit::count_only(Counter::new("user", Meter::COST, Window::total()))]).unwrap()
}

fn user(root: &str) -> Subject {
    Subject::new(root).scope("user", "alice")
}

async fn charge(guard: &CostGuard, root: &str) -> Result<(), Error> {
    guard.charge(&one(), &user(root), Money::from_nanos(1)).await.map(drop)
}

async fn charged(guard: &CostGuard, root: &str) -> i64 {
    guard.peek(&one(), &user(root)).await.unwrap()[0].used
}

async fn connect(cluster: &Cluster) -> CostGuard {
    // Named by its last node only, so that the others have to be found.
    CostGuard::connect(&cluster.url(2)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_works_wherever_its_root_lies() {
    let cluster = block_in_place(Cluster::start);
    let guard = connect(&cluster).await;
    assert_eq!(guard.store().describe(), cluster.url(2));
    let policy = Policy::new([
        Limit::cost("user", Money::from_nanos(1000), Window::day()),
        Limit::cost("org", Money::from_nanos(2000), Window::month()),
    ])
    .unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let (guard, policy) = (guard.clone(), policy.clone());
        tasks.spawn(async move {
            let subject = Subject::new(&format!("org{n}")).scope("org", "acme").scope("user", "alice");
            assert!(guard.admit(&policy, &subject, Money::from_nanos(100)).id("once").await.unwrap().is_granted());
            assert!(guard.admit(&policy, &subject, Money::from_nanos(100)).id("once").await.unwrap().is_granted());
            let held = guard.reserve(&policy, &subject, Money::from_nanos(500)).await.unwrap();
            let Decision::Granted(mut hold) = held else { panic!("there is room") };
            hold.settle(Money::from_nanos(400)).await.unwrap();
            let used: Vec<_> = guard.peek(&policy, &subject).await.unwrap().iter().map(|state| state.used).collect();
            assert_eq!(used, [500, 500]);
            assert!(guard.holds(&subject).await.unwrap().holds.is_empty());
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed_on_the_way_and_afterwards() {
    let cluster = block_in_place(Cluster::start);
    let guard = connect(&cluster).await;
    let (root, slot) = cluster.root_on(0);
    let slot = slot.to_string();
    let (from, to) = (cluster.id(0), cluster.id(1));
    let set_slot = |place: usize, what: &str, id: &str| cluster.tell(place, &["CLUSTER", "SETSLOT", &slot, what, id]);

    // ASK: the slot is on its way, and the key is not at its old home. The new one does not know the script either.
    block_in_place(|| {
        set_slot(1, "IMPORTING", &from);
        set_slot(0, "MIGRATING", &to);
    });
    for _ in 0..3 {
        charge(&guard, &root).await.unwrap();
    }
    let asked = block_in_place(|| cluster.ask(1, &["CLUSTER", "COUNTKEYSINSLOT", &slot]));
    assert_eq!(asked, "1", "the key was made at its new home");

    // TRYAGAIN: of several keys some are here and some nowhere; the call waits until the slot has arrived.
    let waiting = tokio::spawn({
        let (guard, root) = (guard.clone(), root.clone());
        async move { guard.charge(&one(), &user(&root), Money::from_nanos(1)).id("one").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    block_in_place(|| {
        for place in [1, 0, 2] {
            set_slot(place, "NODE", &to);
        }
    });
    waiting.await.unwrap().unwrap();

    // MOVED: the map still names the old home.
    for _ in 0..3 {
        charge(&guard, &root).await.unwrap();
    }
    assert_eq!(charged(&guard, &root).await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_know_the_script_gets_its_text() {
    let cluster = block_in_place(Cluster::start);
    let guard = connect(&cluster).await;
    for place in 0..3 {
        let (root, _) = block_in_place(|| cluster.root_on(place));
        charge(&guard, &root).await.unwrap();
        block_in_place(|| cluster.tell(place, &["SCRIPT", "FLUSH"]));
        charge(&guard, &root).await.unwrap();
        assert_eq!(charged(&guard, &root).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_gives_errors_of_the_right_kind_and_service_returns() {
    let mut cluster = block_in_place(Cluster::start);
    let config = RedisConfig::from_url(&cluster.url(2)).unwrap().call_timeout(Duration::from_millis(300));
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let (dead, other) = block_in_place(|| (cluster.root_on(0).0, cluster.root_on(1).0));
    charge(&guard, &dead).await.unwrap();
    charge(&guard, &other).await.unwrap();
    // What is acknowledged and not yet with the replica would be lost.
    while block_in_place(|| cluster.ask(3, &["EVAL", "return #redis.call('KEYS', 'cost:*')", "0"])) != "1" {}
    block_in_place(|| cluster.kill(0));
    // Time to read that the connection is closed; a call sent before would be ambiguous, which is right but not the point.
    tokio::time::sleep(Duration::from_millis(50)).await;

    let (mut refused, mut landed) = (0, 1);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while refused == 0 || landed == 1 {
        assert!(std::time::Instant::now() < deadline, "service never returned");
        match charge(&guard, &dead).await {
            Ok(()) => landed += 1,
            Err(err) => {
                // Without an id: the connection was closed before the call, so it is known that nothing was sent.
                assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
                refused += 1;
            }
        }
    }
    assert_eq!(charged(&guard, &dead).await, landed);
    charge(&guard, &other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_several_slots_are_refused_with_what_to_do() {
    let cluster = block_in_place(Cluster::start);
    let guard = connect(&cluster).await;
    let policy = Policy::new([
        Limit::cost("user", Money::from_nanos(1000), Window::day()),
        Limit::cost("user", Money::from_nanos(2000), Window::month()),
    ])
    .unwrap();
    let err = guard.admit(&policy, &Subject::plain("user", "alice"), Money::from_nanos(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("CROSSSLOT") && err.to_string().contains("Subject::new"), "{err}");

    // Connected to as if it were one server, the node itself says so.
    let plain = CostGuard::connect(&format!("redis://{}", cluster.addr(0))).await.unwrap();
    let err = plain.admit(&policy, &Subject::plain("user", "alice"), Money::from_nanos(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid, "{err}");
    assert!(err.to_string().contains("Subject::new"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_found_through_any_node_that_answers() {
    let cluster = block_in_place(Cluster::start);
    let guard = CostGuard::connect(&format!("redis+cluster://127.0.0.1:1,{}", cluster.addr(1))).await.unwrap();
    for place in 0..3 {
        charge(&guard, &block_in_place(|| cluster.root_on(place)).0).await.unwrap();
    }
    let err = CostGuard::connect("redis+cluster://127.0.0.1:1").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(err.to_string().contains("no Redis answers at 127.0.0.1:1"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_sight_of_the_others_is_not_believed() {
    let cluster = block_in_place(Cluster::start);
    let guard = CostGuard::connect(&cluster.url(0)).await.unwrap();
    let roots = block_in_place(|| [0, 1, 2].map(|place| cluster.root_on(place).0));
    for root in &roots {
        charge(&guard, root).await.unwrap();
    }
    block_in_place(|| {
        let replica = cluster.id(3);
        cluster.cut_off(0);
        cluster.tell(3, &["CLUSTER", "FAILOVER", "TAKEOVER"]);
        let is_new = |line: &str| line.starts_with(&replica) && line.contains("0-5460");
        until("the replica has taken over", || {
            (1..3).all(|place| cluster.ask(place, &["CLUSTER", "NODES"]).lines().any(is_new))
                && cluster.ask(0, &["CLUSTER", "INFO"]).contains("cluster_state:fail")
        });
    });
    for root in &roots {
        charge(&guard, root).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_the_cluster_is_down_is_asked_last() {
    // Two halves of what was one cluster: both have a map of every slot.
    let mut halves = block_in_place(|| [Cluster::start(), Cluster::start()]);
    let seeds = halves.each_ref().map(|half| half.addr(0).to_string()).join(",");
    let guard = CostGuard::connect(&format!("redis+cluster://{seeds}")).await.unwrap();
    let root = block_in_place(|| halves[0].root_on(0).0);
    charge(&guard, &root).await.unwrap();
    block_in_place(|| {
        let used = halves.iter_mut().find(|half| half.ask(0, &["DBSIZE"]) != "0").expect("one was charged");
        used.kill(2);
        used.kill(1);
        until("the half is down", || used.ask(0, &["CLUSTER", "INFO"]).contains("cluster_state:fail"));
        assert_eq!(used.ask(0, &["CLUSTER", "COUNTKEYSINSLOT", &used.slot_of(&root).to_string()]), "1");
    });
    charge(&guard, &root).await.unwrap();
    assert_eq!(charged(&guard, &root).await, 1, "in the other half");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_over_two_slots_never_pass_either_limit_and_leave_nothing_behind() {
    let cluster = block_in_place(Cluster::start);
    let guard = connect(&cluster).await;
    let roots = block_in_place(|| [cluster.root_on(0).0, cluster.root_on(1).0]);
    // The second is the tighter one, so that what the first granted has to be undone.
    let limits = [50, 30];
    let policies =
        limits.map(|most| Policy::new([Limit::cost("user", Money::from_nanos(most), Window::total())]).unwrap());
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let (guard, roots, policies) = (guard.clone(), roots.clone(), policies.clone());
        tasks.spawn(async move {
            let subjects = roots.each_ref().map(|root| user(root));
            let parts = [(&policies[0], &subjects[0]), (&policies[1], &subjects[1])];
            match guard.reserve_across(&parts, Money::from_nanos(2)).await.unwrap() {
                Decision::Denied(_) => (0, 0),
                Decision::Granted(mut joint) if n % 3 == 0 => {
                    joint.release().await.unwrap();
                    (1, 0)
                }
                Decision::Granted(mut joint) => {
                    let settled = joint.settle(Money::from_nanos(1)).await.unwrap();
                    assert!(settled.iter().all(|settled| settled.limits[0].overdraft() == 0), "{settled:?}");
                    (1, 1)
                }
            }
        });
    }
    let ends = tasks.join_all().await;
    let spent: i64 = ends.iter().map(|(_, spent)| spent).sum();
    assert!(spent > 0);
    for (root, policy) in roots.iter().zip(&policies) {
        let state = guard.peek(policy, &user(root)).await.unwrap()[0].clone();
        assert_eq!((state.used, state.held), (spent, 0), "{root}: {ends:?}");
    }
}
