//! Holds that begin or end without the store.

use costguard::ops::HoldState;
use costguard::{Decision, ErrorKind, Hold, Outage, Policy};

use super::{Setting, a_tenth, alice, nanos, policy, until, without};

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
