//! The numbers that go wrong elsewhere: holds, settlement and expiry, on every store.

// What cannot be set up should stop the test.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "holds/dropped.rs"]
mod dropped;
#[path = "holds/growth.rs"]
mod growth;
#[path = "holds/joint.rs"]
mod joint;
mod support;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use costguard::ops::Hold;
use costguard::store::embedded::Embedded;
use costguard::store::redis::RedisStore;
use costguard::store::{ManualClock, Store};
use costguard::{
    Amounts, CostGuard, Counter, Decision, Denial, ErrorKind, Estimate, Growth, Limit, Meter, Money, Policy, Subject,
    Window,
};

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn noon() -> DateTime<Utc> {
    time("2026-02-01T12:00:00Z")
}

/// A guard on each store; nobody else uses its prefix.
async fn guards(test: &str) -> Vec<CostGuard> {
    let redis = RedisStore::connect(&support::server_url()).await.unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(Embedded::new()), Arc::new(redis)];
    let prefix = format!("{test}:{}:", uuid());
    stores.into_iter().map(|store| CostGuard::builder().prefix(&prefix).store(store).unwrap()).collect()
}

fn uuid() -> String {
    format!("{:x}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos())
}

fn daily(limit: &str) -> Policy {
    Policy::new([Limit::cost("user", usd(limit), Window::day())]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

fn granted(decision: Decision<Hold>) -> Hold {
    match decision {
        Decision::Granted(hold) => hold,
        Decision::Denied(denial) => panic!("denied: {denial:?}"),
    }
}

fn denied(decision: Decision<Hold>) -> Denial {
    match decision {
        Decision::Granted(hold) => panic!("granted: {hold:?}"),
        Decision::Denied(denial) => denial,
    }
}

/// Used and held of the only limit.
async fn stands(guard: &CostGuard, policy: &Policy, at: DateTime<Utc>) -> (i64, i64) {
    let states = guard.peek(policy, &alice()).at(at).await.unwrap();
    (states[0].used / 1_000_000_000, states[0].held / 1_000_000_000)
}

#[tokio::test]
async fn settling_above_the_hold_and_the_limit_records_all_of_it() {
    for guard in guards("above").await {
        let (policy, alice) = (daily("100"), alice());
        let mut hold = granted(guard.reserve(&policy, &alice, usd("90")).at(noon()).await.unwrap());
        assert_eq!(hold.limits()[0].remaining(), Some(10_000_000_000));
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 90));
        let settled = hold.settle(usd("250")).await.unwrap();
        assert_eq!(settled.limits[0].used, 250_000_000_000);
        assert_eq!(settled.limits[0].overdraft(), 150_000_000_000);
        assert!(!settled.late && !settled.replayed);
        assert_eq!(stands(&guard, &policy, noon()).await, (250, 0));
    }
}

#[tokio::test]
async fn settling_what_was_spent_leaves_the_requests_as_they_were_reserved() {
    for guard in guards("requests").await {
        let requests = Counter::new("user", Meter::REQUESTS, Window::day());
        let a_minute = Limit::requests("user", 10, Duration::from_secs(60)).unwrap();
        let cost = Limit::cost("user", usd("100"), Window::day());
        let (policy, alice) = (Policy::new([cost, a_minute, Limit::new(requests, 10)]).unwrap(), alice());
        let mut hold = granted(guard.reserve(&policy, &alice, usd("90")).at(noon()).await.unwrap());
        hold.settle(usd("1")).await.unwrap();
        let states = guard.peek(&policy, &alice).at(noon()).await.unwrap();
        assert_eq!((states[1].used, states[2].used), (1, 1));
    }
}

#[tokio::test]
async fn settling_after_expiry_records_all_of_it_once() {
    for guard in guards("late").await {
        let (policy, alice) = (daily("100"), alice());
        let reserve = guard.reserve(&policy, &alice, usd("60")).ttl(Duration::from_secs(60)).at(noon());
        let mut hold = granted(reserve.await.unwrap());
        let later = noon() + TimeDelta::minutes(2);
        // Expired: the room is free again, and taken.
        let other = granted(guard.reserve(&policy, &alice, usd("100")).at(later).await.unwrap());
        assert_eq!(stands(&guard, &policy, later).await, (0, 100));
        hold.set_time(later);
        let settled = hold.settle(usd("60")).await.unwrap();
        assert!(settled.late);
        assert_eq!(stands(&guard, &policy, later).await, (60, 100), "only what was still held is given back");
        assert!(hold.settle(usd("60")).await.unwrap().replayed);
        assert_eq!(hold.settle(usd("61")).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(stands(&guard, &policy, later).await, (60, 100));
        other.forget();
    }
}

#[tokio::test]
async fn a_hold_frees_at_most_an_eighth_of_its_ttl_late_and_never_early() {
    for guard in guards("bucket").await {
        let (policy, alice) = (daily("100"), alice());
        for (place, ttl_secs) in [1_u64, 7, 60, 600, 3600, 86_400].into_iter().enumerate() {
            let at = noon() + TimeDelta::milliseconds(137 * i64::try_from(place).unwrap());
            let subject = Subject::new("acme").scope("user", &format!("user{ttl_secs}"));
            let ttl = Duration::from_secs(ttl_secs);
            let window = Policy::new([Limit::cost("user", usd("100"), Window::total())]).unwrap();
            granted(guard.reserve(&window, &subject, usd("100")).ttl(ttl).at(at).await.unwrap()).forget();
            let held = async |after_ms: i64| {
                guard.peek(&window, &subject).at(at + TimeDelta::milliseconds(after_ms)).await.unwrap()[0].held != 0
            };
            let ttl_ms = i64::try_from(ttl.as_millis()).unwrap();
            assert!(held(ttl_ms - 1).await, "{ttl_secs} s: freed early");
            assert!(!held(ttl_ms + ttl_ms / 8).await, "{ttl_secs} s: freed late");
        }
        let _ = (policy, alice);
    }
}

#[tokio::test]
async fn settling_lands_in_the_window_of_the_reservation() {
    for guard in guards("rollover").await {
        let (policy, alice) = (daily("100"), alice());
        let before = time("2026-02-01T23:59:59Z");
        let after = time("2026-02-02T00:00:01Z");
        let mut hold = granted(guard.reserve(&policy, &alice, usd("40")).at(before).await.unwrap());
        hold.set_time(after);
        hold.settle(usd("30")).await.unwrap();
        assert_eq!(stands(&guard, &policy, before).await, (30, 0));
        assert_eq!(stands(&guard, &policy, after).await, (0, 0));
    }
}

#[tokio::test]
async fn releasing_twice_frees_once_and_settling_after_release_changes_nothing() {
    for guard in guards("release").await {
        let (policy, alice) = (daily("100"), alice());
        let mut hold = granted(guard.reserve(&policy, &alice, usd("40")).at(noon()).await.unwrap());
        let other = granted(guard.reserve(&policy, &alice, usd("50")).at(noon()).await.unwrap());
        hold.release().await.unwrap();
        hold.release().await.unwrap();
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 50));
        assert_eq!(hold.settle(usd("40")).await.unwrap_err().kind(), ErrorKind::HoldEnded);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 50));
        other.forget();
    }
}

#[tokio::test]
async fn a_denial_changes_nothing_and_says_when_holds_free_enough() {
    for guard in guards("denial").await {
        let (policy, alice) = (daily("100"), alice());
        let hold = granted(guard.reserve(&policy, &alice, usd("80")).at(noon()).await.unwrap());
        for amount in ["21", "90", "100", "5000"] {
            let denial = denied(guard.reserve(&policy, &alice, usd(amount)).at(noon()).await.unwrap());
            let waits = denial.retry_after.map(|wait| wait.as_secs());
            match amount {
                "5000" => assert_eq!(waits, None, "never"),
                _ => assert!((600..=675).contains(&waits.unwrap()), "{waits:?}"),
            }
            assert_eq!((denial.limit.used, denial.limit.held), (0, 80_000_000_000));
            let admitted = guard.admit(&policy, &alice, usd(amount)).at(noon()).await.unwrap();
            assert!(!admitted.is_granted());
        }
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 80));
        hold.forget();
    }
}

#[tokio::test]
async fn a_denial_says_when_holds_expire_that_are_open_still() {
    for guard in guards("settled-next").await {
        let (policy, alice) = (daily("100"), alice());
        let reserve = |amount: &str, ttl: u64| {
            guard.reserve(&policy, &alice, usd(amount)).ttl(Duration::from_secs(ttl)).at(noon())
        };
        let mut short = granted(reserve("60", 10).await.unwrap());
        granted(reserve("40", 600).await.unwrap()).forget();
        short.settle(usd("60")).await.unwrap();
        for _ in 0..2 {
            let wait = denied(reserve("1", 10).await.unwrap()).retry_after.unwrap();
            assert!(wait >= Duration::from_secs(600) && wait <= Duration::from_secs(675), "{wait:?}");
        }
    }
}

#[tokio::test]
async fn the_same_id_is_the_same_hold_and_another_amount_a_conflict() {
    for guard in guards("id").await {
        let (policy, alice) = (daily("100"), alice());
        let reserve = |amount: &str| guard.reserve(&policy, &alice, usd(amount)).id("call-1").at(noon());
        let first = granted(reserve("40").await.unwrap());
        let again = granted(reserve("40").await.unwrap());
        assert_eq!((again.id(), again.held(&Meter::COST)), ("call-1", 40_000_000_000));
        assert_eq!(reserve("41").await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 40));
        let mut found = guard.hold(&alice, "call-1").at(noon()).await.unwrap();
        found.settle(usd("35")).await.unwrap();
        let mut found = guard.hold(&alice, "call-1").at(noon()).await.unwrap();
        assert!(found.has_ended() && found.settle(usd("35")).await.unwrap().replayed, "from another process too");
        assert_eq!(stands(&guard, &policy, noon()).await, (35, 0));
        assert_eq!(guard.hold(&alice, "call-2").await.unwrap_err().kind(), ErrorKind::UnknownHold);
        first.forget();
        again.forget();
    }
}

#[tokio::test]
async fn a_hold_grows_and_lives_longer_only_while_it_is_open() {
    for guard in guards("grow").await {
        let (policy, alice) = (daily("100"), alice());
        let mut hold = granted(guard.reserve(&policy, &alice, usd("40")).at(noon()).await.unwrap());
        assert_eq!(hold.grow(usd("60")).await.unwrap(), Growth::Granted);
        assert!(matches!(hold.grow(usd("0.01")).await.unwrap(), Growth::Denied { .. }));
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 100));
        hold.set_time(noon() + TimeDelta::minutes(9));
        hold.extend(Duration::from_secs(600)).await.unwrap();
        let later = noon() + TimeDelta::minutes(15);
        assert_eq!(stands(&guard, &policy, later).await, (0, 100));
        hold.set_time(noon() + TimeDelta::minutes(30));
        assert_eq!(hold.extend(Duration::from_secs(600)).await.unwrap_err().kind(), ErrorKind::HoldEnded);
        assert_eq!(hold.grow(usd("1")).await.unwrap_err().kind(), ErrorKind::HoldEnded);
        hold.settle(usd("99")).await.unwrap();
        assert_eq!(stands(&guard, &policy, later).await, (99, 0));
    }
}

#[tokio::test]
async fn a_bucket_lives_as_long_as_the_last_hold_that_came_to_it() {
    let clock = Arc::new(ManualClock::new(noon().timestamp_millis()));
    let store = Arc::new(Embedded::builder().clock(clock.clone()).build());
    let second = Duration::from_secs(1);
    let guard = CostGuard::builder().clock(clock.clone()).retention(second).receipt_ttl(second).store(store).unwrap();
    let policy = Policy::new([Limit::cost("user", usd("100"), Window::minute())]).unwrap();
    let reserve = async || granted(guard.reserve(&policy, &alice(), usd("0.01")).await.unwrap());
    for round in 0..20 {
        let mut first = reserve().await;
        if round % 2 == 0 {
            clock.advance_ms(30_000);
            first.extend(Duration::from_secs(600)).await.unwrap();
        }
        clock.advance_ms(20_000);
        // Most times into the bucket that the first began. Their window is over long before they are.
        let mut second = reserve().await;
        clock.advance_ms(599_999);
        second.extend(Duration::from_secs(600)).await.unwrap();
        second.settle(usd("0.01")).await.unwrap();
        first.forget();
        clock.advance_ms(3_600_001 - 619_999);
    }
}

#[tokio::test]
async fn a_hold_that_is_extended_by_less_than_is_left_is_known_as_long_as_before() {
    let clock = Arc::new(ManualClock::new(noon().timestamp_millis()));
    let guard = CostGuard::builder().clock(clock.clone()).embedded().unwrap();
    let (policy, alice) = (Policy::new([Limit::cost("user", usd("100"), Window::month())]).unwrap(), alice());
    let reserve = || guard.reserve(&policy, &alice, usd("60")).id("job").ttl(Duration::from_secs(7 * 86_400));
    let mut hold = granted(reserve().await.unwrap());
    let expires_ms = hold.expires_ms();
    hold.extend(Duration::from_secs(60)).await.unwrap();
    assert_eq!(hold.expires_ms(), expires_ms);
    clock.set_ms(expires_ms - 1);
    assert_eq!(granted(reserve().await.unwrap()).expires_ms(), expires_ms, "the same id is the same hold");
    hold.settle(usd("50")).await.unwrap();
    let state = guard.peek(&policy, &alice).await.unwrap().remove(0);
    assert_eq!((state.used, state.held), (50_000_000_000, 0));
}

#[tokio::test]
async fn a_time_that_the_scripts_cannot_take_is_refused() {
    for guard in guards("time").await {
        let (policy, alice) = (daily("100"), alice());
        let mut hold = granted(guard.reserve(&policy, &alice, usd("40")).at(noon()).await.unwrap());
        for at in ["1969-12-31T23:59:59Z", "2286-11-20T17:46:39Z"] {
            hold.set_time(time(at));
            assert_eq!(hold.extend(Duration::from_secs(60)).await.unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(hold.grow(usd("1")).await.unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(hold.settle(usd("1")).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
        hold.set_time(noon());
        hold.settle(usd("30")).await.unwrap();
        assert_eq!(stands(&guard, &policy, noon()).await, (30, 0));
    }
}

#[tokio::test]
async fn all_that_is_left_can_be_reserved_and_then_nothing() {
    for guard in guards("rest").await {
        let alice = alice();
        let policy = Policy::new([
            Limit::cost("user", usd("100"), Window::day()),
            Limit::cost("user", usd("50"), Window::hour()),
            Limit::new(Counter::new("user", Meter::REQUESTS, Window::day()), 9),
        ])
        .unwrap();
        guard.charge(&policy, &alice, usd("12")).at(noon()).await.unwrap();
        let hold = granted(guard.reserve(&policy, &alice, Estimate::remaining()).at(noon()).await.unwrap());
        assert_eq!(hold.held(&Meter::COST), 38_000_000_000);
        let denial = denied(guard.reserve(&policy, &alice, Estimate::remaining()).at(noon()).await.unwrap());
        assert_eq!(denial.refused_by, [1]);
        hold.forget();
    }
}

#[tokio::test]
async fn amounts_above_two_to_the_53_are_held_and_settled_exactly() {
    let most = i64::MAX - 10;
    for guard in guards("exact").await {
        let alice = alice();
        let policy =
            Policy::new([Limit::new(Counter::new("user", Meter::TOKENS, Window::day()), i64::MAX - 1)]).unwrap();
        let tokens = |amount: i64| Amounts::new().with(Meter::TOKENS, amount);
        let mut hold = granted(guard.reserve(&policy, &alice, tokens(most)).at(noon()).await.unwrap());
        let small = granted(guard.reserve(&policy, &alice, tokens(9)).at(noon()).await.unwrap());
        denied(guard.reserve(&policy, &alice, tokens(1)).at(noon()).await.unwrap());
        assert_eq!(hold.settle(tokens(most - 1)).await.unwrap().limits[0].used, most - 1);
        granted(guard.reserve(&policy, &alice, tokens(1)).at(noon()).await.unwrap()).forget();
        denied(guard.reserve(&policy, &alice, tokens(1)).at(noon()).await.unwrap());
        small.forget();
    }
}

#[tokio::test]
async fn a_statement_says_what_frees_when() {
    for guard in guards("statement").await {
        let (policy, alice) = (daily("100"), alice());
        guard.charge(&policy, &alice, usd("5")).at(noon()).await.unwrap();
        for (amount, minutes) in [("10", 1), ("20", 60)] {
            let ttl = Duration::from_secs(60 * minutes);
            granted(guard.reserve(&policy, &alice, usd(amount)).ttl(ttl).at(noon()).await.unwrap()).forget();
        }
        let lines = guard.statement(&policy, &alice).at(noon()).await.unwrap();
        assert_eq!(lines[0].state.remaining(), Some(65_000_000_000));
        assert_eq!(lines[0].frees.iter().map(|(_, amount)| amount / 1_000_000_000).collect::<Vec<_>>(), [10, 20]);
    }
}

#[tokio::test]
async fn open_holds_are_listed_under_their_root_whatever_their_ids_and_until_they_free() {
    for guard in guards("list").await {
        let policy = daily("100");
        // A pattern that another root would match, too.
        let (root, other_root) = ("a*[b]?\\", "axb?\\");
        let subject = |root: &str| Subject::new(root).scope("user", "alice");
        let ids = ["*", "[a-z]", "?", "back\\slash", "a:b{c} d%"];
        for (place, id) in ids.iter().enumerate() {
            let at = noon() + TimeDelta::milliseconds(i64::try_from(place).unwrap());
            let reserve = |root| {
                let subject = subject(root);
                let (guard, policy) = (guard.clone(), policy.clone());
                async move {
                    let reserve = guard.reserve(&policy, &subject, usd("2")).id(id).tag("model", "m=1;x").at(at);
                    granted(reserve.await.unwrap()).forget();
                }
            };
            reserve(root).await;
            reserve(other_root).await;
        }
        let list = async |at: DateTime<Utc>| {
            let open = guard.holds(&subject(root)).at(at).await.unwrap();
            assert!(open.complete && open.now_ms == at.timestamp_millis());
            open.holds
        };
        let later = noon() + TimeDelta::minutes(1);
        let open = list(later).await;
        assert_eq!(open.iter().map(|hold| hold.id.as_str()).collect::<Vec<_>>(), ids);
        assert_eq!(open[0].tags, [("model".to_owned(), "m=1;x".to_owned())]);
        assert_eq!((open[0].amounts[0].amount, open[0].amounts[0].limit), (2_000_000_000, Some(100_000_000_000)));
        assert_eq!(
            (open[1].reserved_ms, open[1].expires_ms - open[1].reserved_ms),
            (noon().timestamp_millis() + 1, 600_000)
        );

        guard.hold(&subject(root), "?").at(later).await.unwrap().release().await.unwrap();
        guard.hold(&subject(root), "*").at(later).await.unwrap().settle(usd("1")).await.unwrap();
        assert_eq!(list(later).await.iter().map(|hold| hold.id.as_str()).collect::<Vec<_>>(), [ids[1], ids[3], ids[4]]);

        // A hold is listed exactly as long as it counts.
        for at_ms in [open[1].expires_ms, open[1].frees_ms - 1, open[1].frees_ms] {
            let at = DateTime::from_timestamp_millis(at_ms).unwrap();
            let sum: i64 = list(at).await.iter().map(|hold| hold.amounts[0].amount).sum();
            assert_eq!(sum, guard.peek(&policy, &subject(root)).at(at).await.unwrap()[0].held, "at {at}");
        }
        assert_eq!(guard.holds(&Subject::new("nobody")).await.unwrap().holds, []);
    }
}

#[tokio::test]
async fn a_search_for_keys_ends_at_its_bound_and_says_so() {
    for guard in guards("bound").await {
        let (policy, alice) = (daily("100"), alice());
        for id in 0..5 {
            granted(guard.reserve(&policy, &alice, usd("1")).id(&id.to_string()).await.unwrap()).forget();
        }
        let open = guard.holds(&alice).await.unwrap().holds;
        assert_eq!(open.len(), 5, "by the store's own clock");
        let (prefix, _) = open[0].amounts[0].key.split_once("cost:").unwrap();
        let prefix = format!("{prefix}hold:{{acme}}:");
        for (most, found, complete) in [(4, 4, false), (5, 5, true)] {
            let keys = guard.store().keys(&prefix, most).await.unwrap();
            assert_eq!((keys.names.len(), keys.complete), (found, complete));
        }
    }
}
