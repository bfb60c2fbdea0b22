//! One reservation under several roots.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use costguard::ops::{HoldState, JointHold};
use costguard::{Decision, ErrorKind, Estimate, Subject};

use super::{daily, granted, guards, noon, usd};

fn bob(root: &str) -> Subject {
    Subject::new(root).scope("user", "bob")
}

fn jointly(decision: Decision<JointHold>) -> JointHold {
    match decision {
        Decision::Granted(joint) => joint,
        Decision::Denied(denial) => panic!("denied: {denial:?}"),
    }
}

/// As far as it comes without waiting.
async fn step<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[tokio::test]
async fn all_roots_take_a_reservation_or_none_keeps_it() {
    for guard in guards("joint").await {
        let (wide, tight) = (daily("100"), daily("10"));
        let (acme, bolt) = (bob("acme"), bob("bolt"));
        let parts = [(&wide, &acme), (&tight, &bolt)];
        let stands = async || {
            let mut all = Vec::new();
            for (policy, subject) in parts {
                let state = guard.peek(policy, subject).at(noon()).await.unwrap()[0].clone();
                all.push((state.used / 1_000_000_000, state.held / 1_000_000_000));
            }
            all
        };
        let mut first = jointly(guard.reserve_across(&parts, usd("8")).at(noon()).await.unwrap());
        assert_eq!(stands().await, [(0, 8), (0, 8)]);
        let Decision::Denied(denial) = guard.reserve_across(&parts, usd("8")).at(noon()).await.unwrap() else {
            panic!("ten is the limit")
        };
        assert_eq!(denial.limit.limit, Some(10_000_000_000));
        assert_eq!(stands().await, [(0, 8), (0, 8)], "what the first root granted is given back");
        first.settle(usd("9")).await.unwrap();
        first.settle(usd("9")).await.unwrap();
        assert_eq!(stands().await, [(9, 0), (9, 0)]);
        let mut second = jointly(guard.reserve_across(&parts, usd("1")).at(noon()).await.unwrap());
        second.release().await.unwrap();
        assert_eq!(stands().await, [(9, 0), (9, 0)]);
    }
}

#[tokio::test]
async fn the_same_id_gives_the_same_holds_and_makes_those_that_are_missing() {
    for guard in guards("joint-id").await {
        let policy = daily("10");
        let (acme, bolt) = (bob("acme"), bob("bolt"));
        let parts = [(&policy, &acme), (&policy, &bolt)];
        // As a process leaves it that dies in between.
        granted(guard.reserve(&policy, &acme, usd("4")).id("call").at(noon()).await.unwrap()).forget();
        for _ in 0..2 {
            jointly(guard.reserve_across(&parts, usd("4")).id("call").at(noon()).await.unwrap()).forget();
        }
        for (policy, subject) in parts {
            assert_eq!(guard.peek(policy, subject).at(noon()).await.unwrap()[0].held, 4_000_000_000);
            let mut hold = guard.hold(subject, "call").await.unwrap();
            hold.settle(usd("3")).await.unwrap();
        }
        let mut again = jointly(guard.reserve_across(&parts, usd("4")).id("call").at(noon()).await.unwrap());
        assert!(again.settle(usd("3")).await.unwrap().iter().all(|settled| settled.replayed));
    }
}

#[tokio::test]
async fn a_reservation_that_was_given_up_goes_on_under_its_id() {
    // The embedded engine answers at once: nothing can come between.
    let [_, guard] = &guards("joint-given-up").await[..] else { panic!() };
    let policy = daily("10");
    let subjects = ["acme", "bolt", "crow"].map(bob);
    let parts = subjects.each_ref().map(|subject| (&policy, subject));
    let held = async |place: usize| guard.peek(&policy, &subjects[place]).at(noon()).await.unwrap()[0].held;
    {
        let reserve = guard.reserve_across(&parts, usd("4")).id("call").at(noon());
        let mut reserving = pin!(reserve.into_future());
        // The second root is asked when the first has answered.
        while held(1).await == 0 {
            assert!(step(reserving.as_mut()).await.is_pending());
        }
    }
    assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
    assert_eq!((held(0).await, held(1).await), (4_000_000_000, 4_000_000_000));
    let joint = jointly(guard.reserve_across(&parts, usd("4")).id("call").at(noon()).await.unwrap());
    assert!(joint.holds().iter().all(|hold| hold.state() == HoldState::Open), "{joint:?}");
    assert_eq!(held(2).await, 4_000_000_000);
}

#[tokio::test]
async fn a_settlement_that_was_given_up_lands_under_every_root() {
    for guard in guards("joint-settle").await {
        let policy = daily("10");
        let subjects = ["acme", "bolt", "crow"].map(bob);
        let parts = subjects.each_ref().map(|subject| (&policy, subject));
        let mut joint = jointly(guard.reserve_across(&parts, usd("4")).at(noon()).await.unwrap());
        // On a server the first settlement is under way then.
        let _ = step(pin!(joint.settle(usd("3")))).await;
        drop(joint);
        assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
        for subject in &subjects {
            let state = &guard.peek(&policy, subject).at(noon()).await.unwrap()[0];
            assert_eq!((state.used, state.held), (3_000_000_000, 0));
        }
    }
}

#[tokio::test]
async fn a_refused_id_is_used_up_and_says_so() {
    for guard in guards("joint-refused").await {
        let (wide, tight) = (daily("100"), daily("1"));
        let (acme, bolt) = (bob("acme"), bob("bolt"));
        let parts = [(&wide, &acme), (&tight, &bolt)];
        assert!(!guard.reserve_across(&parts, usd("2")).id("call").at(noon()).await.unwrap().is_granted());
        let err = guard.reserve_across(&parts, usd("2")).id("call").at(noon()).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::HoldEnded);
        assert!(err.to_string().contains("another id"), "{err}");
        for (policy, subject) in parts {
            assert_eq!(guard.peek(policy, subject).at(noon()).await.unwrap()[0].held, 0);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_reserved_across_roots_is_refused_before_anything_happens() {
    for guard in guards("joint-invalid").await {
        let policy = daily("10");
        let (acme, bolt) = (bob("acme"), bob("bolt"));
        let kind = async |parts: &[_], estimate: Estimate| {
            guard.reserve_across(parts, estimate).at(noon()).await.unwrap_err().kind()
        };
        assert_eq!(kind(&[], usd("1").into()).await, ErrorKind::Invalid);
        assert_eq!(kind(&[(&policy, &acme), (&policy, &acme)], usd("1").into()).await, ErrorKind::Invalid);
        assert_eq!(kind(&[(&policy, &acme), (&policy, &bolt)], Estimate::remaining()).await, ErrorKind::Invalid);
        // The second subject lacks the scope.
        let nobody = Subject::new("bolt");
        assert_eq!(kind(&[(&policy, &acme), (&policy, &nobody)], usd("1").into()).await, ErrorKind::Invalid);
        assert_eq!(guard.peek(&policy, &acme).at(noon()).await.unwrap()[0].held, 0);
    }
}
