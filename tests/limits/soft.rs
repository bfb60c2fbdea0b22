//! Limits that warn, watch, or give way.

use std::sync::Arc;
use std::time::Duration;

use costguard::service::Event;
use costguard::{
    Amounts, Counter, Decision, ErrorKind, Estimate, Fraction, Limit, LimitState, Meter, Mode, Policy, Subject, Window,
};
use tokio::task::JoinSet;

use super::support::{TestStore, on_every_store};
use super::{alice, at, denied, granted, of_tokens, only, stands, tokens};

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: i64 = 3_600_000;

fn share(text: &str) -> Fraction {
    Fraction::parse(text).unwrap()
}

fn warning() -> Policy {
    only(tokens(100, Window::hour()).warn_at(["0.5", "0.8"].map(share)))
}

fn crossed(limits: &[LimitState]) -> Option<String> {
    limits[0].crossed.map(|share| share.to_string())
}

/// 64 tasks of 4 guards take 2 each, admitted, charged or held; what they report.
async fn race(store: &TestStore, now_ms: i64) -> Vec<String> {
    let mut guards = Vec::new();
    for _ in 0..4 {
        guards.push(store.another_guard().await);
    }
    let (policy, alice) = (warning(), Arc::new(alice()));
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let (guard, policy, alice) = (guards[task % 4].clone(), policy.clone(), alice.clone());
        tasks.spawn(async move {
            match task % 3 {
                0 => match guard.admit(&policy, &alice, of_tokens(2)).at(at(now_ms)).await.unwrap() {
                    Decision::Granted(grant) => crossed(&grant.limits),
                    Decision::Denied(denial) => crossed(&denial.limits),
                },
                1 => match guard.reserve(&policy, &alice, of_tokens(2)).at(at(now_ms)).await.unwrap() {
                    Decision::Granted(mut hold) => {
                        let crossed = crossed(hold.limits());
                        hold.settle(of_tokens(2)).await.unwrap();
                        crossed
                    }
                    Decision::Denied(denial) => crossed(&denial.limits),
                },
                _ => crossed(&guard.charge(&policy, &alice, of_tokens(2)).at(at(now_ms)).await.unwrap().limits),
            }
        });
    }
    let mut reports: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    reports.sort();
    reports
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_warning_is_reported_exactly_once_a_window_by_64_tasks_of_several_guards() {
    on_every_store(async |store| {
        assert_eq!(race(store, 0).await, ["50%", "80%"]);
        assert!(race(store, 1).await.is_empty());
        assert_eq!(race(store, HOUR_MS).await, ["50%", "80%"]);
    })
    .await;
}

#[tokio::test]
async fn a_warning_is_not_repeated_when_holds_are_released_and_reserved_again() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), warning());
        for round in 0..4 {
            let mut hold = granted(guard.reserve(&policy, &alice(), of_tokens(60)).at(at(0)).await.unwrap());
            assert_eq!(crossed(hold.limits()).is_some(), round == 0);
            hold.release().await.unwrap();
        }
        let hold = granted(guard.reserve(&policy, &alice(), of_tokens(90)).at(at(0)).await.unwrap());
        assert_eq!(crossed(hold.limits()).as_deref(), Some("80%"));
        hold.forget();
    })
    .await;
}

#[tokio::test]
async fn a_settlement_that_passed_a_share_is_reported_by_the_next_request() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), warning());
        let mut hold = granted(guard.reserve(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
        assert_eq!(crossed(hold.limits()), None);
        hold.settle(of_tokens(90)).await.unwrap();
        let next = granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(1)).await.unwrap());
        assert_eq!(crossed(&next.limits).as_deref(), Some("80%"));
        let after = granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(2)).await.unwrap());
        assert_eq!(crossed(&after.limits), None);
    })
    .await;
}

#[tokio::test]
async fn a_repeat_is_known_also_when_the_policy_has_other_warnings_by_now() {
    on_every_store(async |store| {
        let (guard, plain) = (store.guard(), only(tokens(100, Window::hour())));
        for (name, [before, after]) in [("more", [plain.clone(), warning()]), ("fewer", [warning(), plain])] {
            let subject = Subject::new(name).scope("org", "acme").scope("user", "alice");
            let ids = ["admitted", "charged"].map(|verb| format!("{name} {verb}"));
            for (policy, replayed) in [(before, false), (after, true)] {
                let admit = guard.admit(&policy, &subject, of_tokens(7)).id(&ids[0]).at(at(0));
                assert_eq!(granted(admit.await.unwrap()).replayed, replayed, "{name} warnings");
                let charge = guard.charge(&policy, &subject, of_tokens(7)).id(&ids[1]).at(at(0));
                let charged = charge.await.unwrap();
                assert_eq!((charged.replayed, charged.limits[0].used), (replayed, 14), "{name} warnings");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_refused_reports_no_warning() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), warning());
        granted(guard.admit(&policy, &alice(), of_tokens(40)).at(at(0)).await.unwrap());
        let denial = denied(guard.admit(&policy, &alice(), of_tokens(61)).at(at(0)).await.unwrap());
        assert_eq!((denial.limit.used, crossed(&denial.limits)), (40, None));
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
        assert_eq!(crossed(&grant.limits).as_deref(), Some("50%"));
    })
    .await;
}

#[tokio::test]
async fn what_a_hold_kept_that_has_expired_warns_of_nothing() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), warning());
        granted(guard.reserve(&policy, &alice(), of_tokens(45)).at(at(0)).await.unwrap()).forget();
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(1_000_000)).await.unwrap());
        assert_eq!(crossed(&grant.limits), None);
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(40)).at(at(1_000_001)).await.unwrap());
        assert_eq!(crossed(&grant.limits).as_deref(), Some("50%"));
    })
    .await;
}

#[tokio::test]
async fn a_shadow_limit_counts_and_says_so_and_refuses_nothing() {
    on_every_store(async |store| {
        let guard = store.guard();
        for window in
            [Window::hour(), Window::rate(HOUR).unwrap(), Window::sliding(HOUR).unwrap(), Window::log(HOUR).unwrap()]
        {
            let policy = Policy::new([tokens(5, window).mode(Mode::Shadow), tokens(7, Window::total())]).unwrap();
            let subject = alice().scope("try", &window.to_string());
            store.clean().await;
            let grant = granted(guard.admit(&policy, &subject, of_tokens(5)).at(at(0)).await.unwrap());
            assert!(!grant.limits[0].shadowed);
            assert_eq!(stands(&grant), (5, Some(0)));
            let grant = granted(guard.admit(&policy, &subject, of_tokens(1)).at(at(0)).await.unwrap());
            assert!(grant.limits[0].shadowed && !grant.limits[1].shadowed);
            let hold = granted(guard.reserve(&policy, &subject, of_tokens(1)).at(at(0)).await.unwrap());
            assert!(hold.limits()[0].shadowed);
            hold.forget();
            let denial = denied(guard.admit(&policy, &subject, of_tokens(1)).at(at(0)).await.unwrap());
            assert_eq!(denial.refused_by, [1]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_shadow_limit_on_open_calls_refuses_nothing() {
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = only(Limit::concurrency("user", 1).mode(Mode::Shadow));
        for (place, shadowed) in [false, true, true].into_iter().enumerate() {
            let hold = granted(guard.reserve(&policy, &alice(), Amounts::new()).at(at(0)).await.unwrap());
            let held = i64::try_from(place).unwrap() + 1;
            assert_eq!((hold.limits()[0].shadowed, hold.limits()[0].held), (shadowed, held));
            hold.forget();
        }
    })
    .await;
}

#[tokio::test]
async fn an_overdraft_lets_pass_by_that_much_and_says_so() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(100, Window::hour()).overdraft(10)));
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(100)).at(at(0)).await.unwrap());
        assert_eq!(grant.limits[0].overdraft(), 0);
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
        assert_eq!((grant.limits[0].limit, grant.limits[0].overdraft()), (Some(100), 10));
        let denial = denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        assert_eq!(denial.limit.overdraft(), 10);
    })
    .await;
}

#[tokio::test]
async fn a_hold_grows_by_the_same_limits_by_which_it_was_reserved() {
    on_every_store(async |store| {
        let guard = store.guard();
        for (limit, grows_to) in [
            (tokens(10, Window::hour()), 10),
            (tokens(10, Window::hour()).overdraft(3), 13),
            (tokens(10, Window::hour()).mode(Mode::Shadow), 1000),
            (tokens(10, Window::rate(HOUR).unwrap()).burst(4), 4),
        ] {
            store.clean().await;
            let policy = only(limit);
            let mut hold = granted(guard.reserve(&policy, &alice(), of_tokens(2)).at(at(0)).await.unwrap());
            let more = hold.grow(of_tokens(grows_to - 2)).await.unwrap();
            assert_eq!(more, costguard::Growth::Granted, "{policy:?}");
            let more = hold.grow(of_tokens(1)).await.unwrap();
            assert_eq!(more == costguard::Growth::Granted, policy.limits()[0].is_shadow(), "{policy:?}");
            hold.release().await.unwrap();
            assert_eq!(guard.peek(&policy, &alice()).at(at(0)).await.unwrap()[0].used, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_hold_of_rates_alone_that_has_expired_neither_grows_nor_lasts() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(10, Window::rate(HOUR).unwrap())));
        let mut hold = granted(guard.reserve(&policy, &alice(), of_tokens(2)).ttl(HOUR / 60).at(at(0)).await.unwrap());
        hold.set_time(at(HOUR_MS / 60));
        assert_eq!(hold.grow(of_tokens(1)).await.unwrap_err().kind(), ErrorKind::HoldEnded);
        assert_eq!(hold.extend(HOUR).await.unwrap_err().kind(), ErrorKind::HoldEnded);
        assert_eq!(hold.settle(of_tokens(5)).await.unwrap().limits, []);
        assert_eq!(guard.peek(&policy, &alice()).at(at(HOUR_MS / 60)).await.unwrap()[0].used, 5);
    })
    .await;
}

#[tokio::test]
async fn a_penalty_takes_what_is_named_and_passes_the_limit() {
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = Policy::new([Limit::requests("user", 10, HOUR).unwrap(), tokens(10, Window::hour())]).unwrap();
        let charged = guard.penalty(&policy, &alice(), Amounts::new().requests(12)).at(at(0)).await.unwrap();
        assert_eq!((charged.limits[0].used, charged.limits[1].used), (12, 0));
        let denial = denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        // 12 + 1 of 10: three intervals of six minutes.
        assert_eq!((denial.refused_by, denial.retry_after), (vec![0], Some(3 * HOUR / 10)));
    })
    .await;
}

#[tokio::test]
async fn a_part_is_what_there_is_and_a_refusal_says_when_there_is_some() {
    on_every_store(async |store| {
        let guard = store.guard();
        for (window, wait) in [
            (Window::hour(), HOUR),
            (Window::rate(HOUR).unwrap(), HOUR / 10),
            (Window::sliding(HOUR).unwrap(), HOUR + HOUR / 10),
            (Window::log(HOUR).unwrap(), HOUR),
        ] {
            let policy = only(tokens(10, window));
            let admit = |tokens| guard.admit(&policy, subject(), of_tokens(tokens)).at_most(Meter::TOKENS).at(at(0));
            store.clean().await;
            assert_eq!(granted(admit(4).await.unwrap()).part, Some(4));
            let grant = granted(admit(500).await.unwrap());
            assert_eq!((grant.part, stands(&grant)), (Some(6), (10, Some(0))));
            let denial = denied(admit(500).await.unwrap());
            assert_eq!(denial.retry_after, Some(wait), "{window}");
            guard.refund(&policy, subject(), of_tokens(6)).of(&grant).at(at(0)).await.unwrap();
            let estimate = Estimate::at_most(Meter::TOKENS, 500);
            let mut hold = granted(guard.reserve(&policy, subject(), estimate).at(at(0)).await.unwrap());
            let held = hold.limits()[0].used + hold.limits()[0].held;
            assert_eq!((hold.held(&Meter::TOKENS), held), (6, 10), "{window}");
            hold.release().await.unwrap();
        }
    })
    .await;
}

fn subject() -> &'static costguard::Subject {
    static ALICE: std::sync::LazyLock<costguard::Subject> = std::sync::LazyLock::new(alice);
    &ALICE
}

#[tokio::test]
async fn a_listener_is_told_what_was_crossed_and_shadowed_once() {
    on_every_store(async |store| {
        let guard = store.guard();
        let shadow = Limit::new(Counter::new("org", Meter::TOKENS, Window::hour()), 10).mode(Mode::Shadow);
        let policy = Policy::new([tokens(100, Window::hour()).warn_at([share("0.5")]), shadow]).unwrap();
        let mut events = guard.events();
        for _ in 0..2 {
            let admit = guard.admit(&policy, &alice(), of_tokens(50)).id("once").at(at(0)).await.unwrap();
            assert!(admit.is_granted());
        }
        granted(guard.reserve(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap()).forget();
        let (crossed, shadowed, again) = (events.try_recv(), events.try_recv(), events.try_recv());
        assert!(matches!(crossed.unwrap(), Event::Crossed(state) if state.crossed == Some(share("0.5"))));
        assert!(matches!(shadowed.unwrap(), Event::Shadowed(state) if state.scope.kind() == "org"));
        assert!(matches!(again.unwrap(), Event::Shadowed(_)));
        assert!(events.try_recv().is_err());
    })
    .await;
}
