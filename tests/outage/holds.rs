//! Holds that begin or end without the store.

use std::time::Duration;

use costguard::ops::HoldState;
use costguard::{CostGuard, Decision, ErrorKind, Hold, Outage, Policy};

use super::support::{Proxy, Server};
use super::{LIMIT, Setting, a_tenth, alice, config, lose, nanos, policy, until, without};

async fn reserve(set: &Setting, policy: &Policy, id: &str, amount: i64) -> Hold {
    match set.guard.reserve(policy, &alice(), nanos(amount)).id(id).await.unwrap() {
        Decision::Granted(hold) => hold,
        Decision::Denied(denial) => panic!("denied by {}", denial.limit),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_reserved_without_the_store_is_settled_in_it_once() {
    let set = Setting::new(a_tenth()).await;
    let policy = policy(1000);
    set.cut().await;
    let mut spent = reserve(&set, &policy, "spent", 60).await;
    let mut unused = reserve(&set, &policy, "unused", 40).await;
    assert!(without(spent.decided()) && without(unused.decided()));
    let Decision::Denied(denial) = set.guard.reserve(&policy, &alice(), nanos(1)).await.unwrap() else { panic!() };
    assert!(without(denial.decided));
    assert_eq!((denial.limit.limit, denial.limit.held), (Some(100), 100));

    let settled = spent.settle(nanos(50)).await.unwrap();
    assert!(without(settled.decided));
    // Once more is the same, and other amounts are another settlement.
    assert!(spent.settle(nanos(50)).await.unwrap().replayed);
    assert_eq!(spent.settle(nanos(51)).await.unwrap_err().kind(), ErrorKind::Conflict);
    unused.release().await.unwrap();
    let mut dropped = reserve(&set, &policy, "dropped", 50).await;
    dropped.observe(nanos(20));
    drop(dropped);
    until("the dropped hold is settled", async || set.guard.undelivered().depth == 3).await;

    set.deliver().await;
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (70, 0));
    assert_eq!(set.guard.undelivered().rejected, 0);
    // From now on the store knows it: the id happens once.
    let found = set.direct.hold(&alice(), "spent").await.unwrap();
    assert_eq!((found.state(), found.held(&costguard::Meter::COST)), (HoldState::Settled, 60));
    let again = reserve(&set, &policy, "spent", 60).await;
    assert!(again.has_ended() && !without(again.decided()));
    assert_eq!(set.used(&policy).await, 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_whose_answer_was_lost_is_settled_as_the_store_has_it() {
    let set = Setting::new(Outage::Allow).await;
    let policy = policy(1000);
    // As if the answers had been lost.
    for id in ["spent", "unused"] {
        let Decision::Granted(hold) = set.direct.reserve(&policy, &alice(), nanos(60)).id(id).await.unwrap() else {
            panic!()
        };
        hold.forget();
    }
    set.cut().await;
    reserve(&set, &policy, "spent", 60).await.settle(nanos(70)).await.unwrap();
    reserve(&set, &policy, "unused", 60).await.release().await.unwrap();
    set.deliver().await;
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (70, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_of_the_store_ends_also_while_it_is_away() {
    let set = Setting::new(Outage::Allow).await;
    let policy = policy(1000);
    let mut spent = reserve(&set, &policy, "spent", 60).await;
    let mut unused = reserve(&set, &policy, "unused", 60).await;
    let strict = set.guard.reserve(&policy, &alice(), nanos(60)).outage(Outage::Deny).await.unwrap();
    let Decision::Granted(mut strict) = strict else { panic!() };
    assert!(!without(spent.decided()));
    set.cut().await;
    let settled = spent.settle(nanos(50)).await.unwrap();
    assert!(without(settled.decided) && settled.limits.is_empty());
    assert!(without(spent.settle(nanos(50)).await.unwrap().decided));
    assert_eq!(spent.settle(nanos(51)).await.unwrap_err().kind(), ErrorKind::Conflict);
    unused.release().await.unwrap();
    assert_eq!(strict.settle(nanos(9)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(set.guard.undelivered().depth, 2);
    set.deliver().await;
    until("service returns", async || strict.settle(nanos(9)).await.is_ok()).await;
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (59, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_dropped_in_an_outage_is_settled_when_the_store_is_back() {
    let set = Setting::new(Outage::Deny).await;
    let policy = policy(1000);
    let mut owned = reserve(&set, &policy, "owned", 60).await;
    reserve(&set, &policy, "found", 60).await.forget();
    let mut found = set.guard.hold(&alice(), "found").await.unwrap();
    let unused = reserve(&set, &policy, "unused", 60).await;
    set.cut().await;
    for hold in [&mut owned, &mut found] {
        assert_eq!(hold.settle(nanos(50)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    drop((owned, found, unused));
    // The breaker is open: an attempt costs nothing, and one is not enough.
    tokio::time::sleep(Duration::from_millis(100)).await;
    set.proxy.mend();
    assert_eq!(set.guard.shutdown(LIMIT).await, 0);
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (100, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_tells_how_many_holds_were_not_ended() {
    let set = Setting::new(Outage::Deny).await;
    let policy = policy(1000);
    let mut late = reserve(&set, &policy, "late", 60).await;
    late.observe(nanos(50));
    let mut refused = reserve(&set, &policy, "refused", 60).await;
    refused.observe(nanos(50));
    // Not what it observed: the drop is refused for good.
    set.direct.hold(&alice(), "refused").await.unwrap().settle(nanos(40)).await.unwrap();
    drop(refused);
    assert_eq!(set.guard.shutdown(LIMIT).await, 1);
    // What has ended elsewhere needs no release.
    let unused = reserve(&set, &policy, "unused", 60).await;
    set.direct.hold(&alice(), "unused").await.unwrap().settle(nanos(1)).await.unwrap();
    drop(unused);
    assert_eq!(set.guard.shutdown(LIMIT).await, 0, "each is told once");
    set.cut().await;
    drop(late);
    assert_eq!(set.guard.shutdown(Duration::from_millis(100)).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdowns_wait_beside_each_other_and_one_that_is_given_up_ends_nothing() {
    let set = Setting::new(Outage::Deny).await;
    let policy = policy(1000);
    let mut dropped = reserve(&set, &policy, "dropped", 60).await;
    dropped.observe(nanos(50));
    let late = reserve(&set, &policy, "late", 60).await;
    set.cut().await;
    drop(dropped);
    tokio::select! {
        biased;
        left = set.guard.shutdown(LIMIT) => panic!("{left} left, and nothing could be ended"),
        left = set.guard.shutdown(LIMIT) => panic!("{left} left, and nothing could be ended"),
        () = tokio::time::sleep(Duration::from_millis(20)) => {}
    }
    set.proxy.mend();
    // Also for what is dropped meanwhile.
    let (first, second, ()) = tokio::join!(set.guard.shutdown(LIMIT), set.guard.shutdown(LIMIT), async { drop(late) });
    assert_eq!((first, second), (0, 0));
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (50, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_hold_finds_a_place_in_a_full_queue() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let builder = CostGuard::builder().outage(Outage::Allow).outage_queue(1);
    let guard = builder.connect_with(&config(&proxy.url())).await.unwrap();
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let set = Setting { server, proxy, guard, direct };
    let policy = policy(1000);
    let mut spent = reserve(&set, &policy, "spent", 60).await;
    let mut unused = reserve(&set, &policy, "unused", 60).await;
    set.cut().await;
    assert!(set.guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
    assert_eq!(set.guard.admit(&policy, &alice(), nanos(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(without(spent.settle(nanos(50)).await.unwrap().decided));
    unused.release().await.unwrap();
    assert_eq!(set.guard.undelivered().depth, 3);
    set.deliver().await;
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (51, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_reserved_without_the_store_and_forgotten_is_found_by_its_id() {
    let set = Setting::new(Outage::Allow).await;
    let (policy, bob) = (policy(1000), costguard::Subject::new("umbrella").scope("user", "bob"));
    set.cut().await;
    let hold = reserve(&set, &policy, "forgotten", 60).await;
    assert!(without(hold.decided()));
    hold.forget();
    // The same reservation, ended by its handle, comes after it.
    reserve(&set, &policy, "ended", 60).await.forget();
    reserve(&set, &policy, "ended", 60).await.settle(nanos(7)).await.unwrap();
    let alice_too = alice();
    let parts = [(&policy, &alice_too), (&policy, &bob)];
    let Decision::Granted(joint) = set.guard.reserve_across(&parts, nanos(20)).id("joint").await.unwrap() else {
        panic!()
    };
    joint.forget();
    set.deliver().await;
    assert_eq!(set.guard.undelivered().rejected, 0);
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (7, 80));
    for (subject, id) in [(alice(), "forgotten"), (alice(), "joint"), (bob, "joint")] {
        set.direct.hold(&subject, id).await.unwrap().settle(nanos(10)).await.unwrap();
    }
    assert_eq!(set.used(&policy).await, 27);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reserved_and_nobody_knows_of_is_released() {
    let set = Setting::new(Outage::Deny).await;
    let policy = policy(1000);
    let held = async || set.direct.peek(&policy, &alice()).await.unwrap()[0].held;
    let back = async || until("service returns", async || set.guard.peek(&policy, &alice()).await.is_ok()).await;
    back().await;
    // The answer was lost.
    let err = lose(&set.proxy, set.guard.reserve(&policy, &alice(), nanos(60))).await.unwrap_err();
    assert_eq!((err.kind(), held().await), (ErrorKind::Unavailable, 60));
    set.proxy.mend();
    assert_eq!((set.guard.shutdown(LIMIT).await, held().await), (0, 0));

    back().await;
    let alice_too = alice();
    let parts = [(&policy, &alice_too)];
    lose(&set.proxy, set.guard.reserve_across(&parts, nanos(60))).await.unwrap_err();
    assert_eq!(held().await, 60);
    set.proxy.mend();
    assert_eq!((set.guard.shutdown(LIMIT).await, held().await), (0, 0));

    // Nobody waits for the answer any more.
    back().await;
    let struck = set.proxy.faults_struck();
    set.proxy.lose_next_reply();
    let lost = until("the answer is lost", async || set.proxy.faults_struck() > struck);
    tokio::select! {
        biased;
        () = lost => {}
        _ = set.guard.reserve(&policy, &alice_too, nanos(60)).into_future() => panic!("it was answered"),
    }
    assert_eq!((set.guard.shutdown(LIMIT).await, held().await), (0, 0));

    // Who gave the id decides.
    back().await;
    lose(&set.proxy, set.guard.reserve(&policy, &alice(), nanos(60)).id("mine")).await.unwrap_err();
    set.proxy.mend();
    assert_eq!((set.guard.shutdown(LIMIT).await, held().await), (0, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_may_have_reserved_is_not_denied() {
    let set = Setting::new(a_tenth()).await;
    let policy = policy(100);
    let held = async || set.direct.peek(&policy, &alice()).await.unwrap()[0].held;
    set.guard.peek(&policy, &alice()).await.unwrap();
    // Its share has no room for it.
    let err = lose(&set.proxy, set.guard.reserve(&policy, &alice(), nanos(20))).await.unwrap_err();
    assert_eq!((err.kind(), held().await), (ErrorKind::Unavailable, 20));
    set.proxy.mend();
    assert_eq!((set.guard.shutdown(LIMIT).await, held().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_for_now_is_away() {
    let set = Setting::new(Outage::Allow).await;
    let policy = policy(1000);
    let mut hold = reserve(&set, &policy, "spent", 60).await;
    let client = redis::Client::open(set.server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut replicas = |count: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("min-replicas-to-write").arg(count).exec(&mut connection).unwrap();
    };
    replicas("1");
    assert!(without(hold.settle(nanos(50)).await.unwrap().decided));
    let err = set.direct.charge(&policy, &alice(), nanos(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
    assert!(err.to_string().contains("nothing was changed"), "{err}");
    replicas("0");
    set.deliver().await;
    let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (50, 0));

    // A script of somebody else's does not end.
    redis::cmd("CONFIG").arg("SET").arg("lua-time-limit").arg("1").exec(&mut connection).unwrap();
    let endless = std::thread::spawn(move || {
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<redis::Value>(&mut connection).unwrap_err()
    });
    until("the server is busy", async || set.guard.peek(&policy, &alice()).await.is_err()).await;
    assert!(without(set.guard.charge(&policy, &alice(), nanos(5)).await.unwrap().decided));
    redis::cmd("SCRIPT").arg("KILL").exec(&mut client.get_connection().unwrap()).unwrap();
    endless.join().unwrap();
    set.deliver().await;
    assert_eq!(set.used(&policy).await, 55);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_failed_is_no_charge_when_the_hold_is_dropped() {
    let set = Setting::new(Outage::Deny).await;
    let policy = policy(1000);
    for is_found in [false, true] {
        let mut hold = reserve(&set, &policy, &format!("found {is_found}"), 60).await;
        if is_found {
            let found = set.guard.hold(&alice(), hold.id()).await.unwrap();
            std::mem::replace(&mut hold, found).forget();
        }
        hold.observe(nanos(50));
        set.cut().await;
        assert_eq!(hold.release().await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(hold);
        set.proxy.mend();
        assert_eq!(set.guard.shutdown(LIMIT).await, 0);
        let state = &set.direct.peek(&policy, &alice()).await.unwrap()[0];
        assert_eq!((state.used, state.held), (0, 0), "found: {is_found}");
    }
}
