//! Never more than the limit in any window, over random schedules.

use std::time::Duration;

use chrono::{DateTime, Utc};
use costguard::{CostGuard, Counter, Decision, ErrorKind, Hold, Limit, Meter, Policy, Window};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::support::{START_MS, TestStore};
use super::{alice, at, granted, of_tokens, only, tokens};

const SCHEDULES: u64 = 40;
const CALLS: u32 = 150;

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn below(rng: &mut TestRng, bound: i64) -> i64 {
    i64::from(rng.next_u32()) % bound
}

/// What was granted of `policy` when, in milliseconds, by calls that come in bursts, and the clock.
async fn schedule(rng: &mut TestRng, policy: &Policy, period_ms: i64) -> Vec<(i64, i64)> {
    let store = TestStore::embedded("");
    let (guard, mut now_ms, mut taken) = (store.guard(), 0, Vec::new());
    for _ in 0..CALLS {
        now_ms += if below(rng, 3) == 0 { below(rng, period_ms) } else { below(rng, 3) };
        store.clock().unwrap().set_ms(START_MS + now_ms);
        let amount = 1 + below(rng, 3);
        let decision = guard.admit(policy, &alice(), of_tokens(amount.unsigned_abs())).at(at(now_ms)).await.unwrap();
        if decision.is_granted() {
            taken.push((now_ms, amount));
        }
    }
    taken
}

#[tokio::test]
async fn a_rate_passes_its_burst_and_what_leaks_and_no_more_in_any_interval() {
    for seed in 0..SCHEDULES {
        let mut rng = rng(seed);
        let (limit, burst, period_ms) = (1 + below(&mut rng, 30), 3 + below(&mut rng, 10), 1 + below(&mut rng, 900));
        let policy =
            only(tokens(limit, Window::rate(Duration::from_millis(period_ms.unsigned_abs())).unwrap()).burst(burst));
        let taken = schedule(&mut rng, &policy, period_ms).await;
        assert!(!taken.is_empty());
        for (first, (from_ms, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (to_ms, amount) in &taken[first..] {
                sum += amount;
                assert!(sum * period_ms <= burst * period_ms + limit * (to_ms - from_ms), "seed {seed}: {sum}");
            }
        }
    }
}

#[tokio::test]
async fn a_log_passes_its_limit_and_no_more_in_any_half_open_window() {
    for seed in 0..SCHEDULES {
        let mut rng = rng(seed);
        let (limit, period_ms) = (3 + below(&mut rng, 20), 1 + below(&mut rng, 300));
        let policy = only(tokens(limit, Window::log(Duration::from_millis(period_ms.unsigned_abs())).unwrap()));
        let taken = schedule(&mut rng, &policy, period_ms).await;
        for (from_ms, _) in &taken {
            let window = taken.iter().filter(|(ms, _)| (*from_ms..from_ms + period_ms).contains(ms));
            assert!(window.map(|(_, amount)| amount).sum::<i64>() <= limit, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_sliding_window_of_two_passes_at_most_twice_its_limit_and_its_limit_in_each_of_its_own() {
    for seed in 0..SCHEDULES {
        let mut rng = rng(seed);
        let (limit, period_ms) = (3 + below(&mut rng, 20), 1 + below(&mut rng, 300));
        let policy = only(tokens(limit, Window::sliding(Duration::from_millis(period_ms.unsigned_abs())).unwrap()));
        let taken = schedule(&mut rng, &policy, period_ms).await;
        for (from_ms, _) in &taken {
            let own = |ms: i64| (START_MS + ms).div_euclid(period_ms);
            let sum = |within: &dyn Fn(i64) -> bool| {
                taken.iter().filter(|(ms, _)| within(*ms)).map(|(_, amount)| amount).sum::<i64>()
            };
            assert!(sum(&|ms| own(ms) == own(*from_ms)) <= limit, "seed {seed}");
            assert!(sum(&|ms| (*from_ms..from_ms + period_ms).contains(&ms)) <= 2 * limit, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn no_more_calls_are_open_than_allowed_whatever_becomes_of_them() {
    for seed in 0..SCHEDULES {
        let mut rng = rng(seed);
        let store = TestStore::embedded("");
        let (guard, alice, most, mut now_ms) = (store.guard(), alice(), 1 + below(&mut rng, 6), 0);
        let policy = only(Limit::concurrency("user", most));
        // Until when a call is open: it may be open an eighth of its TTL longer for the limit, never shorter.
        let mut open: Vec<(i64, Hold)> = Vec::new();
        for _ in 0..CALLS {
            now_ms += below(&mut rng, 1500);
            if below(&mut rng, 3) == 0 && !open.is_empty() {
                let place = usize::try_from(below(&mut rng, i64::try_from(open.len()).unwrap())).unwrap();
                let (_, mut hold) = open.swap_remove(place);
                hold.set_time(at(now_ms));
                hold.release().await.unwrap();
            }
            let ttl_ms = 1000 + below(&mut rng, 9000);
            let ttl = Duration::from_millis(ttl_ms.unsigned_abs());
            let reserve = guard.reserve(&policy, &alice, of_tokens(0)).ttl(ttl);
            if let Decision::Granted(hold) = reserve.at(at(now_ms)).await.unwrap() {
                open.push((now_ms + ttl_ms, hold));
            }
            let count = open.iter().filter(|(end_ms, _)| *end_ms > now_ms).count();
            assert!(i64::try_from(count).unwrap() <= most, "seed {seed}: {count} of {most}");
        }
        open.into_iter().for_each(|(_, hold)| hold.forget());
    }
}

#[tokio::test]
async fn tokens_spent_and_held_stay_within_each_fixed_window() {
    for seed in 0..SCHEDULES {
        let mut rng = rng(seed);
        let store = TestStore::embedded("");
        let (guard, alice, limit, mut now_ms) = (store.guard(), alice(), 20 + below(&mut rng, 50), 0);
        let policy = only(Limit::new(Counter::new("user", Meter::TOKENS, Window::minute()), limit));
        let (mut spent, mut open) = (std::collections::BTreeMap::<i64, i64>::new(), Vec::new());
        for _ in 0..CALLS {
            now_ms += below(&mut rng, 9000);
            let minute = (START_MS + now_ms) / 60_000;
            if below(&mut rng, 2) == 0 && !open.is_empty() {
                let (minute, held, mut hold): (i64, i64, Hold) = open.swap_remove(0);
                let actual = below(&mut rng, held + 1);
                hold.set_time(at(now_ms));
                hold.settle(of_tokens(actual.unsigned_abs())).await.unwrap();
                *spent.entry(minute).or_default() -= held - actual;
            }
            let amount = 1 + below(&mut rng, 15);
            let reserve = guard.reserve(&policy, &alice, of_tokens(amount.unsigned_abs()));
            if let Decision::Granted(hold) = reserve.at(at(now_ms)).await.unwrap() {
                open.push((minute, amount, hold));
                *spent.entry(minute).or_default() += amount;
            }
            assert!(spent.values().all(|spent| *spent <= limit), "seed {seed}: {spent:?} of {limit}");
            let seen = guard.peek(&policy, &alice).at(at(now_ms)).await.unwrap().remove(0);
            assert_eq!(seen.used + seen.held, spent.get(&minute).copied().unwrap_or(0), "seed {seed}");
        }
        open.into_iter().for_each(|(_, _, hold)| hold.forget());
    }
}

#[tokio::test]
async fn a_time_is_booked_in_its_own_window_or_refused() {
    let guard = CostGuard::embedded();
    for window in [Window::year(), Window::day()] {
        let policy = only(tokens(10, window));
        for (at, is_taken) in [
            ("1970-01-01T00:00:00Z", true),
            ("2001-09-09T01:46:39Z", true),
            ("2286-11-20T17:46:38Z", true),
            ("2286-11-20T17:46:39Z", false),
            ("2300-01-01T00:00:00Z", false),
            ("1969-12-31T23:59:59Z", false),
        ] {
            let at: DateTime<Utc> = at.parse().unwrap();
            match guard.admit(&policy, &alice(), of_tokens(1)).at(at).await {
                Ok(decision) => {
                    let (start_ms, end_ms) = granted(decision).limits[0].span_ms;
                    assert!(is_taken && (start_ms..end_ms).contains(&at.timestamp_millis()), "{at}");
                }
                Err(err) => assert!(!is_taken && err.kind() == ErrorKind::Invalid, "{at}: {err}"),
            }
        }
    }
}
