//! The mistakes that limiters are known for, each under its name.

use std::time::Duration;

use costguard::{Amounts, Correction, Counter, Decision, ErrorKind, Fraction, Limit, Meter, Money, Policy, Window};

use super::support::{TestStore, on_every_store};
use super::{alice, at, denied, granted, of_tokens, only, stands, tokens};

/// Long enough that nothing ends on a server while a test with times of its own looks on.
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: i64 = 3_600_000;

/// Every way to keep 10 an hour.
fn ten_an_hour() -> [Policy; 4] {
    [
        only(tokens(10, Window::rate(HOUR).unwrap())),
        only(tokens(10, Window::sliding(HOUR).unwrap())),
        only(tokens(10, Window::log(HOUR).unwrap())),
        only(tokens(10, Window::hour())),
    ]
}

#[tokio::test]
async fn a_refused_call_consumes_nothing() {
    on_every_store(async |store| {
        let guard = store.guard();
        for policy in ten_an_hour() {
            assert!(guard.admit(&policy, &alice(), of_tokens(7)).at(at(0)).await.unwrap().is_granted());
            let before = store.dump().await;
            for _ in 0..20 {
                denied(guard.admit(&policy, &alice(), of_tokens(4)).at(at(0)).await.unwrap());
                denied(guard.reserve(&policy, &alice(), of_tokens(4)).at(at(0)).await.unwrap());
            }
            assert_eq!(values(&before), values(&store.dump().await));
            granted(guard.admit(&policy, &alice(), of_tokens(3)).at(at(0)).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn busy_traffic_that_is_replayed_slowly_is_decided_as_it_was() {
    let store = TestStore::embedded("replay:");
    let (guard, clock) = (store.guard(), store.clock().unwrap());
    let second = Duration::from_secs(1);
    for window in [Window::rate(second), Window::sliding(second), Window::log(second)] {
        let policy = only(tokens(10, window.unwrap()));
        // Two milliseconds of the log take the store two hours.
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(8)).at(at(0)).await.unwrap());
        clock.advance_ms(HOUR_MS - 1);
        guard.refund(&policy, &alice(), of_tokens(1)).of(&grant).at(at(1)).await.unwrap();
        clock.advance_ms(HOUR_MS - 1);
        granted(guard.admit(&policy, &alice(), of_tokens(3)).at(at(2)).await.unwrap());
        denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(2)).await.unwrap());
    }
}

fn values(dump: &[super::support::Stored]) -> Vec<(&str, &str)> {
    dump.iter().map(|stored| (stored.key.as_str(), stored.value.as_str())).collect()
}

#[tokio::test]
async fn a_full_refund_gives_back_a_full_bucket() {
    on_every_store(async |store| {
        let guard = store.guard();
        for policy in ten_an_hour() {
            let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
            assert_eq!(stands(&grant), (10, Some(0)));
            denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(1)).await.unwrap());
            guard.refund(&policy, &alice(), of_tokens(10)).of(&grant).at(at(1)).await.unwrap();
            let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(1)).await.unwrap());
            assert_eq!(stands(&grant), (10, Some(0)), "{policy:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refund_that_names_no_grant_gives_back_too() {
    on_every_store(async |store| {
        let guard = store.guard();
        for policy in ten_an_hour() {
            granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
            guard.refund(&policy, &alice(), of_tokens(4)).at(at(1)).await.unwrap();
            granted(guard.admit(&policy, &alice(), of_tokens(4)).at(at(1)).await.unwrap());
            denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(1)).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn a_refund_happens_once_under_its_id() {
    on_every_store(async |store| {
        let guard = store.guard();
        for policy in ten_an_hour() {
            let id = format!("{:?}", policy.limits()[0].counter().window());
            let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
            for replayed in [false, true, true] {
                let refunded = guard.refund(&policy, &alice(), of_tokens(2)).of(&grant).id(&id).at(at(1)).await;
                assert_eq!(refunded.unwrap().replayed, replayed);
            }
            assert_eq!(guard.peek(&policy, &alice()).at(at(1)).await.unwrap()[0].used, 8);
        }
    })
    .await;
}

#[tokio::test]
async fn a_refund_to_zero_does_not_restart_a_window() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), only(tokens(10, Window::hour())));
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
        let ends_at = grant.limits[0].resets_at();
        let before = store.dump().await;
        let refunded = guard.refund(&policy, &alice(), of_tokens(10)).of(&grant).at(at(1000)).await.unwrap();
        assert_eq!(refunded.used, [0]);
        let after = store.dump().await;
        assert_eq!((after.len(), after[0].expire_at_ms), (1, before[0].expire_at_ms));
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(1000)).await.unwrap());
        assert_eq!(grant.limits[0].resets_at(), ends_at);
    })
    .await;
}

/// On the embedded store, where the test owns the clock: what ends in milliseconds may end under a slow test.
#[tokio::test]
async fn windows_of_less_than_a_second_hold() {
    let store = TestStore::embedded("");
    let guard = store.guard();
    let period = Duration::from_millis(50);
    let windows = [Window::rate(period), Window::sliding(period), Window::log(period)];
    for window in windows.map(Result::unwrap) {
        let policy = only(tokens(5, window));
        for round in 0..4 {
            // Two periods on nothing is left of any of them.
            let now_ms = round * 100;
            let clock = store.clock().unwrap();
            clock.set_ms(super::support::START_MS + now_ms);
            for _ in 0..5 {
                granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(now_ms)).await.unwrap());
            }
            denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(now_ms + 1)).await.unwrap());
        }
    }
}

#[tokio::test]
async fn thousands_of_hits_in_one_millisecond_count_one_by_one() {
    on_every_store(async |store| {
        let guard = store.guard();
        for (limit, window) in [
            (3000, Window::rate(HOUR).unwrap()),
            (3000, Window::sliding(HOUR).unwrap()),
            (1000, Window::log(HOUR).unwrap()),
        ] {
            let policy = only(tokens(limit, window));
            for number in 1..=limit {
                let grant = granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
                assert_eq!(stands(&grant), (number, Some(limit - number)));
            }
            denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn no_key_is_left_without_a_ttl() {
    on_every_store(async |store| {
        let guard = store.guard();
        let limits = [
            tokens(100, Window::rate(HOUR).unwrap()),
            tokens(100, Window::sliding(HOUR).unwrap()),
            tokens(100, Window::log(HOUR).unwrap()),
            tokens(100, Window::total()).warn_at([Fraction::parse("0.1").unwrap()]),
        ];
        let policy = Policy::new(limits.iter().cloned()).unwrap();
        let counter = policy.limits()[3].counter();
        let grant = granted(guard.admit(&policy, &alice(), of_tokens(20)).id("a").at(at(0)).await.unwrap());
        guard.refund(&policy, &alice(), of_tokens(1)).of(&grant).id("r").at(at(0)).await.unwrap();
        guard.penalty(&policy, &alice(), of_tokens(3)).at(at(0)).await.unwrap();
        guard.charge(&policy, &alice(), of_tokens(3)).at(at(0)).await.unwrap();
        let with_open = Policy::new(limits.into_iter().chain([Limit::concurrency("user", 3)])).unwrap();
        let mut settled = granted(guard.reserve(&with_open, &alice(), of_tokens(2)).at(at(0)).await.unwrap());
        settled.settle(of_tokens(1)).await.unwrap();
        let mut released = granted(guard.reserve(&with_open, &alice(), of_tokens(2)).at(at(0)).await.unwrap());
        released.release().await.unwrap();
        granted(guard.reserve(&with_open, &alice(), of_tokens(2)).at(at(0)).await.unwrap()).forget();
        guard.set_limit(&alice(), counter, 5).at(at(0)).await.unwrap();
        guard.block(&alice(), "user", HOUR).at(at(0)).await.unwrap();
        let stored = store.dump().await;
        assert!(stored.len() > 10, "{stored:#?}");
        let lasting: Vec<_> = stored.iter().filter(|stored| stored.expire_at_ms.is_none()).collect();
        assert!(lasting.is_empty(), "{lasting:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_first_call_on_ten_per_second_leaves_nine() {
    on_every_store(async |store| {
        let (guard, second) = (store.guard(), Duration::from_secs(1));
        let requests = |window| only(Limit::new(Counter::new("user", Meter::REQUESTS, window), 10));
        for policy in [
            only(Limit::requests("user", 10, second).unwrap()),
            requests(Window::sliding(second).unwrap()),
            requests(Window::log(second).unwrap()),
            requests(Window::every(1).unwrap()),
        ] {
            let grant = granted(guard.admit(&policy, &alice(), Amounts::new()).at(at(0)).await.unwrap());
            assert_eq!(stands(&grant), (1, Some(9)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_denial_says_exactly_when_to_come_again() {
    on_every_store(async |store| {
        let guard = store.guard();
        for (policy, wait_ms) in [
            // 10 an hour: the next in 6 minutes; the log in an hour; the sliding window when a tenth has slid out.
            (only(tokens(10, Window::rate(HOUR).unwrap())), HOUR_MS / 10),
            (only(tokens(10, Window::sliding(HOUR).unwrap())), HOUR_MS + HOUR_MS / 10),
            (only(tokens(10, Window::log(HOUR).unwrap())), HOUR_MS),
            (only(tokens(10, Window::hour())), HOUR_MS),
        ] {
            granted(guard.admit(&policy, &alice(), of_tokens(10)).at(at(0)).await.unwrap());
            let denial = denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
            assert_eq!(denial.retry_after, Some(Duration::from_millis(wait_ms.unsigned_abs())));
            let early = denied(guard.admit(&policy, &alice(), of_tokens(1)).at(at(wait_ms - 1)).await.unwrap());
            assert_eq!(early.retry_after, Some(Duration::from_millis(1)));
            granted(guard.admit(&policy, &alice(), of_tokens(1)).at(at(wait_ms)).await.unwrap());
            let never = denied(guard.admit(&policy, &alice(), of_tokens(11)).at(at(wait_ms)).await.unwrap());
            assert_eq!(never.retry_after, None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_mixed_policy_is_all_or_nothing_whichever_limit_refuses() {
    on_every_store(async |store| {
        let guard = store.guard();
        let windows = [
            Window::rate(HOUR).unwrap(),
            Window::sliding(HOUR).unwrap(),
            Window::log(HOUR).unwrap(),
            Window::hour(),
            Window::total(),
        ];
        for (tight, window) in windows.iter().enumerate() {
            let limit = |place| if place == tight { 5 } else { 50 };
            let limits = windows.iter().enumerate().map(|(place, window)| tokens(limit(place), *window));
            let policy = Policy::new(limits.chain([Limit::concurrency("user", 9)])).unwrap();
            let subject = alice().scope("try", &tight.to_string());
            store.clean().await;
            granted(guard.reserve(&policy, &subject, of_tokens(4)).at(at(0)).await.unwrap()).forget();
            let before = store.dump().await;
            let denial = denied(guard.reserve(&policy, &subject, of_tokens(2)).at(at(0)).await.unwrap());
            assert_eq!((denial.refused_by.as_slice(), denial.limit.window), ([tight].as_slice(), *window));
            assert_eq!(values(&before), values(&store.dump().await));
        }
        let policy = Policy::new([tokens(50, windows[0]), Limit::concurrency("user", 1)]).unwrap();
        store.clean().await;
        granted(guard.reserve(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap()).forget();
        let before = store.dump().await;
        let denial = denied(guard.reserve(&policy, &alice(), of_tokens(1)).at(at(0)).await.unwrap());
        assert_eq!(denial.refused_by, [1]);
        assert_eq!(values(&before), values(&store.dump().await));
    })
    .await;
}

#[tokio::test]
async fn tokens_settle_into_the_window_in_which_they_were_taken() {
    on_every_store(async |store| {
        let guard = store.guard();
        for window in [Window::hour(), Window::sliding(HOUR).unwrap(), Window::log(HOUR).unwrap()] {
            let policy = only(tokens(100, window));
            let mut hold = granted(guard.reserve(&policy, &alice(), of_tokens(50)).at(at(0)).await.unwrap());
            // An hour later, by the end of the window: 40 of the 50 came to be used then, and none now.
            hold.set_time(at(HOUR_MS));
            hold.settle(of_tokens(40)).await.unwrap();
            let now = guard.peek(&policy, &alice()).at(at(HOUR_MS)).await.unwrap()[0].used;
            let share = if window == Window::sliding(HOUR).unwrap() { 40 } else { 0 };
            assert_eq!(now, share, "{window}");
            assert_eq!(guard.peek(&policy, &alice()).at(at(2 * HOUR_MS)).await.unwrap()[0].used, 0, "{window}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_slot_of_a_crashed_holder_comes_free() {
    on_every_store(async |store| {
        let (guard, policy, alice) = (store.guard(), only(Limit::concurrency("user", 2)), alice());
        let reserve = |ms| guard.reserve(&policy, &alice, Money::ZERO).ttl(Duration::from_secs(80)).at(at(ms));
        granted(reserve(0).await.unwrap()).forget();
        let mut other = granted(reserve(0).await.unwrap());
        let denial = denied(reserve(0).await.unwrap());
        let wait_ms = i64::try_from(denial.retry_after.unwrap().as_millis()).unwrap();
        assert!((80_000..=90_000).contains(&wait_ms), "{wait_ms}");
        // It ends up to an eighth late and never early.
        denied(reserve(79_999).await.unwrap());
        other.extend(Duration::from_secs(300)).await.unwrap();
        denied(reserve(wait_ms - 1).await.unwrap());
        granted(reserve(wait_ms).await.unwrap()).forget();
        assert!(matches!(reserve(wait_ms).await.unwrap(), Decision::Denied(_)));
        other.release().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_spent_lands_beside_a_log_that_is_full() {
    on_every_store(async |store| {
        let guard = store.guard();
        let log = Limit::new(Counter::new("user", Meter::TOKENS, Window::log(HOUR).unwrap()), 1000);
        let policy =
            Policy::new([Limit::new(Counter::new("user", Meter::COST, Window::day()), i64::MAX), log]).unwrap();
        let spent = |tokens| Amounts::new().with(Meter::COST, 5).with(Meter::TOKENS, tokens);
        for tokens in [100_000, 1, 50_000] {
            guard.charge(&policy, &alice(), spent(tokens)).at(at(0)).await.unwrap();
        }
        let stands = guard.peek(&policy, &alice()).at(at(0)).await.unwrap();
        assert_eq!([stands[0].used, stands[1].used], [15, 100_000]);
    })
    .await;
}

#[tokio::test]
async fn a_late_settlement_gives_back_nothing_that_has_leaked_out_since() {
    on_every_store(async |store| {
        let guard = store.guard();
        for policy in ten_an_hour() {
            let reserve = async |tokens, ms| {
                let ttl = Duration::from_secs(86_400);
                guard.reserve(&policy, &alice(), of_tokens(tokens)).ttl(ttl).at(at(ms)).await.unwrap()
            };
            let mut long = granted(reserve(10, 0).await);
            // An hour later it has left the bucket and the window, and others have taken its place.
            let mut other = granted(reserve(10, 2 * HOUR_MS).await);
            long.set_time(at(2 * HOUR_MS));
            long.settle(of_tokens(1)).await.unwrap();
            denied(reserve(1, 2 * HOUR_MS).await);
            other.release().await.unwrap();
            granted(reserve(10, 2 * HOUR_MS).await).release().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_shadow_rate_is_given_back_what_it_took_and_nothing_else() {
    on_every_store(async |store| {
        let guard = store.guard();
        for window in [Window::rate(HOUR), Window::sliding(HOUR), Window::log(HOUR)] {
            let policy = only(tokens(10, window.unwrap()).mode(costguard::Mode::Shadow));
            let used = async || guard.peek(&policy, &alice()).at(at(0)).await.unwrap()[0].used;
            let reserve =
                async |tokens| granted(guard.reserve(&policy, &alice(), of_tokens(tokens)).at(at(0)).await.unwrap());
            let mut taken = reserve(10).await;
            let mut refused = reserve(5).await;
            assert_eq!([taken.limits()[0].shadowed, refused.limits()[0].shadowed], [false, true]);
            let admitted = granted(guard.admit(&policy, &alice(), of_tokens(5)).at(at(0)).await.unwrap());
            assert!(admitted.limits[0].shadowed);
            guard.refund(&policy, &alice(), of_tokens(5)).of(&admitted).at(at(0)).await.unwrap();
            refused.release().await.unwrap();
            assert_eq!(used().await, 10, "{policy:?}");
            taken.settle(of_tokens(7)).await.unwrap();
            assert_eq!(used().await, 7, "{policy:?}");

            // Who finds a hold does not know, and most have taken.
            let hold = reserve(3).await;
            guard.hold(&alice(), hold.id()).at(at(0)).await.unwrap().release().await.unwrap();
            assert_eq!(used().await, 7, "{policy:?}");
            hold.forget();
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_open_at_once_is_calls_and_nothing_else() {
    on_every_store(async |store| {
        let (guard, per_day) = (store.guard(), Counter::new("user", Meter::CONCURRENCY, Window::day()));
        for counter in [Counter::new("user", Meter::REQUESTS, Window::open()), per_day] {
            let refused = guard.set_limit(&alice(), &counter, 2).await.unwrap_err();
            for limit in [Limit::new(counter.clone(), 2), Limit::count_only(counter)] {
                let faulty = Policy::new([limit]).unwrap_err();
                assert_eq!((faulty.kind(), refused.kind()), (ErrorKind::Invalid, ErrorKind::Invalid));
                assert!(faulty.to_string().contains("write `concurrency = 2"), "{faulty}");
            }
            assert!(refused.to_string().contains("write `concurrency = 2`"), "{refused}");
        }
        let policy = only(Limit::concurrency("user", 1));
        guard.set_limit(&alice(), policy.limits()[0].counter(), 2).await.unwrap();
        for _ in 0..2 {
            let hold = granted(guard.reserve(&policy, &alice(), Money::ZERO).await.unwrap());
            let mut other = granted(guard.reserve(&policy, &alice(), Money::ZERO).await.unwrap());
            other.settle(Money::ZERO).await.unwrap();
            guard.hold(&alice(), hold.id()).await.unwrap().release().await.unwrap();
            hold.forget();
        }
    })
    .await;
}

#[tokio::test]
async fn what_counts_in_no_window_is_not_corrected_by_hand() {
    on_every_store(async |store| {
        let guard = store.guard();
        let before = store.dump().await;
        let open = Counter::new("user", Meter::CONCURRENCY, Window::open());
        let windows = [Window::rate(HOUR), Window::sliding(HOUR), Window::log(HOUR)];
        let rates = windows.map(|window| Counter::new("user", Meter::TOKENS, window.unwrap()));
        for counter in rates.iter().chain([&open]) {
            for correction in [Correction::Add(1), Correction::Subtract(1), Correction::Reset] {
                let refused = guard.adjust(&alice(), counter, correction, "a test").await.unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Invalid, "{counter:?}");
            }
        }
        assert_eq!(values(&before), values(&store.dump().await));
    })
    .await;
}

#[tokio::test]
async fn what_is_charged_opens_no_call() {
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = Policy::new([tokens(100, Window::hour()), Limit::concurrency("user", 1)]).unwrap();
        for _ in 0..3 {
            let charged = guard.charge(&policy, &alice(), of_tokens(5)).at(at(0)).await.unwrap();
            assert_eq!((charged.limits[1].used, charged.limits[1].remaining()), (0, Some(1)));
        }
        granted(guard.reserve(&policy, &alice(), of_tokens(5)).at(at(0)).await.unwrap()).forget();
        denied(guard.reserve(&policy, &alice(), of_tokens(5)).at(at(0)).await.unwrap());
        let calls = Policy::new([Limit::concurrency("user", 1)]).unwrap();
        let nothing = guard.charge(&calls, &alice(), Amounts::new()).await.unwrap_err();
        assert!(nothing.to_string().contains("nothing to charge"), "{nothing}");
        // What is admitted would never end.
        let refused = guard.admit(&policy, &alice(), of_tokens(5)).await.unwrap_err();
        assert!(refused.to_string().contains("use reserve"), "{refused}");
    })
    .await;
}
