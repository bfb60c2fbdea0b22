//! Overrides and blocks: seen by everyone at once, gone at their end, and free when lifted.

use std::sync::Arc;
use std::time::Duration;

use costguard::ops::RuleKind;
use costguard::store::ManualClock;
use costguard::store::embedded::Embedded;
use costguard::{Amounts, CostGuard, Counter, ErrorKind, Estimate, Limit, Meter, Money, Policy, Window};

use super::support::{START_MS, on_every_store};
use super::{alice, at, denied, granted, of_tokens, only, tokens};

const HOUR: Duration = Duration::from_secs(3600);

fn windows() -> [Window; 4] {
    [Window::day(), Window::rate(HOUR).unwrap(), Window::sliding(HOUR).unwrap(), Window::log(HOUR).unwrap()]
}

#[tokio::test]
async fn another_guard_sees_an_override_at_once_until_it_ends_or_is_cleared() {
    on_every_store(async |store| {
        let (guard, other) = (store.guard(), store.another_guard().await);
        let [day, _, sliding, log] = windows();
        for window in [day, sliding, log] {
            let policy = only(tokens(10, window));
            let counter = policy.limits()[0].counter();
            granted(other.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
            denied(other.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
            guard.set_limit(&alice(), counter, 20).until(at(1000)).at(at(0)).await.unwrap();
            let grant = granted(other.admit(&policy, &alice(), of_tokens(5)).at(at(0)).await.unwrap());
            assert_eq!(
                (grant.limits[0].limit, grant.limits[0].remaining().unwrap() >= 4),
                (Some(20), true),
                "{window}"
            );
            let seen = other.peek(&policy, &alice()).at(at(999)).await.unwrap();
            assert_eq!(seen[0].limit, Some(20));
            // At its end, and not a millisecond before.
            granted(other.admit(&policy, &alice(), of_tokens(1)).at(at(999)).await.unwrap());
            let denial = denied(other.admit(&policy, &alice(), of_tokens(5)).at(at(1000)).await.unwrap());
            assert_eq!(denial.limit.limit, Some(10));
            guard.set_limit(&alice(), counter, 0).until(at(5000)).at(at(1000)).await.unwrap();
            // A limit of nothing has room again when it is over.
            let denial = denied(other.reserve(&policy, &alice(), of_tokens(1)).at(at(1001)).await.unwrap());
            assert_eq!(denial.retry_after, Some(Duration::from_millis(3999)), "{window}");
            let denial = denied(other.admit(&policy, &alice(), of_tokens(11)).at(at(1001)).await.unwrap());
            assert_eq!(denial.retry_after, None, "{window}: more than the policy allows");
            guard.clear_limit(&alice(), counter).at(at(1001)).await.unwrap();
            assert_eq!(other.peek(&policy, &alice()).at(at(1001)).await.unwrap()[0].limit, Some(10));
        }
    })
    .await;
}

#[tokio::test]
async fn another_guard_sees_a_block_at_once_until_it_ends_or_is_lifted() {
    on_every_store(async |store| {
        let (guard, other) = (store.guard(), store.another_guard().await);
        for window in windows() {
            let policy = only(tokens(10, window));
            granted(other.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
            guard.block(&alice(), "org", Duration::from_secs(1)).at(at(0)).await.unwrap();
            let denial = denied(other.admit(&policy, &alice(), of_tokens(1)).at(at(250)).await.unwrap());
            assert_eq!((&denial.limit.meter, denial.limit.scope.kind()), (&Meter::BLOCK, "org"));
            assert_eq!(denial.retry_after, Some(Duration::from_millis(750)));
            assert_eq!(denial.limits[0].used, 1, "{window}");
            denied(other.reserve(&policy, &alice(), of_tokens(1)).at(at(999)).await.unwrap());
            granted(other.admit(&policy, &alice(), of_tokens(1)).at(at(1000)).await.unwrap());
            guard.block(&alice(), "user", HOUR).at(at(1000)).await.unwrap();
            denied(other.admit(&policy, &alice(), of_tokens(1)).at(at(1000)).await.unwrap());
            guard.unblock(&alice(), "user").at(at(1000)).await.unwrap();
            granted(other.admit(&policy, &alice(), of_tokens(1)).at(at(1000)).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn rules_that_were_lifted_leave_nothing_behind() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(10, Window::hour())));
        let counter = policy.limits()[0].counter();
        guard.set_limit(&alice(), counter, 20).at(at(0)).await.unwrap();
        guard.block(&alice(), "user", HOUR).at(at(0)).await.unwrap();
        let rules = guard.rules(&alice()).at(at(0)).await.unwrap();
        assert_eq!(rules.len(), 2);
        assert!(rules.iter().any(|rule| rule.kind == RuleKind::Limit { counter: counter.clone(), limit: 20 }));
        guard.unblock(&alice(), "user").at(at(1)).await.unwrap();
        guard.clear_limit(&alice(), counter).at(at(1)).await.unwrap();
        assert!(guard.rules(&alice()).at(at(1)).await.unwrap().is_empty());
        assert_eq!(store.dump().await, []);
    })
    .await;
}

#[tokio::test]
async fn a_fixed_limit_ignores_overrides() {
    on_every_store(async |store| {
        let guard = store.guard();
        for window in windows() {
            let policy = only(tokens(10, window).fixed());
            guard.set_limit(&alice(), policy.limits()[0].counter(), 20).at(at(0)).await.unwrap();
            let denial = denied(guard.admit(&policy, &alice(), of_tokens(11)).at(at(0)).await.unwrap());
            assert_eq!(denial.limit.limit, Some(10));
            assert_eq!(guard.peek(&policy, &alice()).at(at(0)).await.unwrap()[0].limit, Some(10));
        }
    })
    .await;
}

#[tokio::test]
async fn money_is_given_as_money_wherever_an_amount_of_a_meter_is() {
    on_every_store(async |store| {
        let (guard, dollars) = (store.guard(), |text: &str| text.parse::<Money>().unwrap());
        let counter = Counter::new("user", Meter::COST, Window::day());
        let policy = only(Limit::new(counter.clone(), dollars("75.00")).overdraft(dollars("5.00")));
        assert_eq!(policy, only(Limit::new(counter.clone(), 75_000_000_000).overdraft(5_000_000_000)));
        guard.set_limit(&alice(), &counter, dollars("100.00")).at(at(0)).await.unwrap();
        let most = Estimate::at_most(Meter::COST, dollars("200.00"));
        let mut hold = granted(guard.reserve(&policy, &alice(), most).at(at(0)).await.unwrap());
        assert_eq!(hold.held(&Meter::COST), i64::from(dollars("105.00")));
        hold.settle(Amounts::new().with(Meter::COST, dollars("0.07"))).await.unwrap();
        assert_eq!(guard.peek(&policy, &alice()).at(at(0)).await.unwrap()[0].used, 70_000_000);
    })
    .await;
}

#[tokio::test]
async fn an_override_concerns_its_own_limit_in_a_mixed_policy() {
    on_every_store(async |store| {
        let guard = store.guard();
        let [day, rate, sliding, log] = windows();
        let limits = [rate, day, log, sliding].map(|window| tokens(10, window));
        let policy = Policy::new(limits.into_iter().chain([Limit::concurrency("user", 5)])).unwrap();
        for place in 0..4 {
            let counter = policy.limits()[place].counter();
            guard.set_limit(&alice(), counter, 3).at(at(0)).await.unwrap();
            let denial = denied(guard.reserve(&policy, &alice(), of_tokens(4)).at(at(0)).await.unwrap());
            assert_eq!((denial.refused_by.as_slice(), denial.limit.limit), ([place].as_slice(), Some(3)));
            guard.clear_limit(&alice(), counter).at(at(0)).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_rate_that_is_overridden_waits_by_the_new_limit() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(7, Window::rate(Duration::from_secs(3600)).unwrap())));
        granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        guard.set_limit(&alice(), policy.limits()[0].counter(), 1).at(at(0)).await.unwrap();
        // A seventh of an hour is taken, rounded up to a microsecond, where an hour is all there is.
        let denial = denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        assert_eq!(denial.retry_after, Some(Duration::from_micros(514_285_715)));
    })
    .await;
}

#[tokio::test]
async fn a_rate_that_is_overridden_with_nothing_has_no_burst_either() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(10, Window::rate(HOUR).unwrap()).burst(5)));
        granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        guard.set_limit(&alice(), policy.limits()[0].counter(), 0).at(at(0)).await.unwrap();
        let denial = denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        for state in [&denial.limit, &guard.peek(&policy, &alice()).at(at(0)).await.unwrap()[0]] {
            assert_eq!((state.limit, state.burst, state.remaining()), (Some(0), Some(0), Some(0)));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_by_an_override_is_given_back_in_its_unit() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(10, Window::rate(HOUR).unwrap())));
        guard.set_limit(&alice(), policy.limits()[0].counter(), 100).at(at(0)).await.unwrap();
        let take = async |tokens| guard.admit(&policy, &alice(), of_tokens(tokens)).at(at(0)).await.unwrap();

        let mut hold = granted(guard.reserve(&policy, &alice(), of_tokens(60)).at(at(0)).await.unwrap());
        let grant = granted(take(40).await);
        denied(take(1).await);
        assert_eq!(hold.amounts()[0].limit, Some(100));
        hold.settle(of_tokens(50)).await.unwrap();
        granted(take(10).await);
        denied(take(1).await);
        guard.refund(&policy, &alice(), of_tokens(10)).of(&grant).at(at(0)).await.unwrap();
        granted(take(10).await);
        denied(take(1).await);
    })
    .await;
}

#[tokio::test]
async fn a_hold_grows_by_the_override_by_which_it_was_reserved() {
    on_every_store(async |store| {
        let guard = store.guard();
        let cost = Limit::new(costguard::Counter::new("user", Meter::COST, Window::day()), 75);
        let policy = Policy::new([tokens(10, Window::sliding(HOUR).unwrap()), cost]).unwrap();
        for (limit, fits) in [(5, 5), (500, 500)] {
            guard.set_limit(&alice(), policy.limits()[1].counter(), limit).at(at(0)).await.unwrap();
            let cost = |nanos| of_tokens(0).with(Meter::COST, nanos);
            denied(guard.reserve(&policy, &alice(), cost(fits + 1)).at(at(0)).await.unwrap());
            let mut hold = granted(guard.reserve(&policy, &alice(), cost(fits - 1)).at(at(0)).await.unwrap());
            assert_eq!(hold.grow(cost(1)).await.unwrap(), costguard::Growth::Granted);
            assert!(matches!(hold.grow(cost(1)).await.unwrap(), costguard::Growth::Denied { .. }));
            hold.release().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_rule_for_a_time_ends_by_the_clock_of_the_store() {
    let of_store: Arc<ManualClock> = Arc::new(ManualClock::new(START_MS));
    for off_ms in [-3_600_000, 3_600_000] {
        let store = Arc::new(Embedded::builder().clock(of_store.clone()).build());
        let ours = Arc::new(ManualClock::new(START_MS + off_ms));
        let guard = CostGuard::builder().clock(ours).store(store).unwrap();
        guard.block(&alice(), "user", Duration::from_secs(60)).await.unwrap();
        let policy = only(tokens(10, Window::day()));
        guard.set_limit(&alice(), policy.limits()[0].counter(), 20).await.unwrap();
        let ends: Vec<_> = guard.rules(&alice()).await.unwrap().into_iter().map(|rule| rule.until_ms).collect();
        assert_eq!(ends, [START_MS + 60_000, START_MS + 400 * 86_400_000]);
        guard.set_limit(&alice(), policy.limits()[0].counter(), 20).lasting(HOUR).await.unwrap();
        let rules = guard.rules(&alice()).await.unwrap();
        assert_eq!(rules.iter().map(|rule| rule.until_ms).max(), Some(START_MS + 3_600_000));
    }
}

#[tokio::test]
async fn an_override_is_none_that_a_policy_could_not_have() {
    on_every_store(async |store| {
        let (guard, day) = (store.guard(), Duration::from_secs(86_400));
        let (rate, sliding, log) = (Window::rate(day), Window::sliding(day), Window::log(day));
        for (window, most) in [(rate.unwrap(), 104_166), (sliding.unwrap(), 104_166), (log.unwrap(), 1000)] {
            let policy = only(tokens(10, window));
            let counter = policy.limits()[0].counter();
            assert!(Policy::new([tokens(most, window)]).is_ok() && Policy::new([tokens(most + 1, window)]).is_err());
            for refused in [most + 1, 1_000_000, i64::MAX] {
                let err = guard.set_limit(&alice(), counter, refused).at(at(0)).await.unwrap_err();
                assert_eq!(err.kind(), ErrorKind::Invalid, "{err}");
                assert!(err.to_string().contains("write a fixed window"), "{err}");
            }
            assert!(guard.rules(&alice()).at(at(0)).await.unwrap().is_empty());
            guard.set_limit(&alice(), counter, most).at(at(0)).await.unwrap();
            let quarter = of_tokens(u64::try_from(most).unwrap() / 4);
            for _ in 0..4 {
                granted(guard.admit(&policy, &alice(), quarter.clone()).at(at(0)).await.unwrap());
            }
            denied(guard.admit(&policy, &alice(), quarter).at(at(0)).await.unwrap());
            guard.clear_limit(&alice(), counter).at(at(0)).await.unwrap();
        }
    })
    .await;
}
