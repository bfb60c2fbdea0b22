//! What was granted without the store arrives whatever the store's rates have come to, and at the store's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use costguard::store::Clock;
use costguard::store::embedded::Embedded;
use costguard::store::{KeysFuture, ManualClock, RunFuture, ScriptCall, Store, SystemClock};
use costguard::{Amounts, CostGuard, Counter, Decision, Error, Limit, Meter, Money, Outage, Policy, Window};

use super::{LIMIT, Setting, a_tenth, alice, config, cut, until};

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

/// A thousand dollars in all, and so many of the meter evenly.
fn budget_and_rate(meter: Meter, limit: i64, period: Duration) -> Policy {
    let rate = Limit::new(Counter::new("user", meter, Window::rate(period).unwrap()), limit);
    Policy::new([Limit::cost("user", usd("1000"), Window::total()), rate]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_rate_refuses_nothing_that_was_granted() {
    let set = Setting::new(Outage::Allow).await;
    let policy = budget_and_rate(Meter::REQUESTS, 100_000, Duration::from_secs(86_400));
    let all = Amounts::cost(Money::ZERO).requests(100_000);
    assert!(set.direct.admit(&policy, &alice(), all).await.unwrap().is_granted());
    set.cut().await;
    for _ in 0..50 {
        let one = Amounts::cost(usd("1")).requests(10_000);
        assert!(set.guard.admit(&policy, &alice(), one).await.unwrap().is_granted(), "whatever the limits");
    }
    set.deliver().await;
    assert_eq!(set.used(&policy).await, usd("50").nanos());
    assert_eq!(set.guard.undelivered().rejected, 0);
}

/// A store on a clock of its own that can be away.
#[derive(Debug)]
struct Remote {
    store: Embedded,
    is_away: AtomicBool,
    error: Error,
}

impl Store for Remote {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(self.error.clone()) }),
            false => self.store.run(call),
        }
    }

    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a> {
        self.store.keys(prefix, most)
    }

    fn describe(&self) -> String {
        "remote".to_owned()
    }
}

#[tokio::test]
async fn what_was_granted_arrives_however_long_the_outage_and_leaves_a_rate_as_full_as_it_is() {
    let clock = Arc::new(ManualClock::new(1_790_000_000_000));
    let error = CostGuard::connect("redis://127.0.0.1:1").await.unwrap_err();
    let store = Embedded::builder().clock(clock.clone()).build();
    let remote = Arc::new(Remote { store, is_away: AtomicBool::new(false), error });
    let guard = |outage| CostGuard::builder().clock(clock.clone()).outage(outage).store(remote.clone()).unwrap();
    let (alone, held, other) = (guard(Outage::Allow), guard(a_tenth()), guard(Outage::Deny));
    let policy = budget_and_rate(Meter::TOKENS, 1_000_000, Duration::from_secs(60));
    let amounts = || Amounts::cost(usd("5")).tokens(1_000);

    remote.is_away.store(true, Ordering::SeqCst);
    assert!(alone.admit(&policy, &alice(), amounts()).await.unwrap().is_granted());
    let Decision::Granted(mut hold) = held.reserve(&policy, &alice(), amounts()).await.unwrap() else { panic!() };
    hold.settle(amounts()).await.unwrap();
    // Others go on meanwhile.
    clock.advance_ms(3 * 3_600_000);
    remote.is_away.store(false, Ordering::SeqCst);
    let full = Amounts::cost(Money::ZERO).tokens(1_000_000);
    assert!(other.admit(&policy, &alice(), full).await.unwrap().is_granted());
    for guard in [alone, held] {
        assert_eq!((guard.shutdown(LIMIT).await, guard.undelivered().rejected), (0, 0));
    }
    let states = other.peek(&policy, &alice()).await.unwrap();
    assert_eq!((states[0].used, states[1].remaining()), (usd("10").nanos(), Some(0)));
}

/// A machine whose clock is wrong by an hour.
#[derive(Debug)]
struct HourAhead;

impl Clock for HourAhead {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + 3_600_000
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_is_set_right_before_the_store_is_away() {
    let set = Setting::new(Outage::Allow).await;
    let policy = Policy::new([Limit::requests("user", 60, Duration::from_secs(60)).unwrap()]).unwrap();
    let builder = CostGuard::builder().clock(Arc::new(HourAhead)).outage(Outage::Allow);
    let guard = builder.connect_with(&config(&set.proxy.url())).await.unwrap();
    assert!(guard.admit(&policy, &alice(), Amounts::new()).await.unwrap().is_granted());
    cut(&set.proxy, &[&guard]).await;
    assert!(guard.admit(&policy, &alice(), Amounts::new()).await.unwrap().is_granted());
    set.proxy.mend();
    until("it is delivered", async || guard.undelivered().depth == 0).await;
    let used = set.used(&policy).await;
    assert!(used <= 2, "{used} of 60 used: as if they had come an hour from now");
}
