//! More for a hold: once, by whichever handle.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use costguard::store::embedded::Embedded;
use costguard::store::{KeysFuture, RunFuture, ScriptCall, Store};
use costguard::{Amounts, CostGuard, Counter, ErrorKind, Growth, Limit, Meter, Policy, Subject, Window};

use super::{alice, daily, granted, guards, noon, stands, usd};

/// An embedded store whose answers do not come while it is silent.
#[derive(Debug, Default)]
struct Silent {
    store: Embedded,
    is_silent: AtomicBool,
}

impl Store for Silent {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        Box::pin(async move {
            let answer = self.store.run(call).await;
            if self.is_silent.load(Ordering::SeqCst) { future::pending().await } else { answer }
        })
    }

    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a> {
        self.store.keys(prefix, most)
    }

    fn describe(&self) -> String {
        "silent".to_owned()
    }
}

#[tokio::test]
async fn two_handles_that_grow_a_hold_by_the_same_are_told_which_of_them_did() {
    for guard in guards("grow-two").await {
        let (policy, alice) = (daily("100"), alice());
        granted(guard.reserve(&policy, &alice, usd("40")).id("job").at(noon()).await.unwrap()).forget();
        let find = async || guard.hold(&alice, "job").at(noon()).await.unwrap();
        let (mut one, mut two) = (find().await, find().await);
        assert_eq!(one.grow(usd("10")).await.unwrap(), Growth::Granted);
        assert_eq!(two.grow(usd("10")).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 50));
        // It knows now what became of the hold, and so does what it asks for.
        assert_eq!(two.held(&Meter::COST), 50_000_000_000);
        assert_eq!(two.grow(usd("10")).await.unwrap(), Growth::Granted);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 60));
    }
}

#[tokio::test]
async fn a_growth_whose_answer_is_lost_happens_once_however_often_it_is_asked_for() {
    for is_extended in [false, true] {
        let store = Arc::new(Silent::default());
        let guard = CostGuard::builder().store(store.clone()).unwrap();
        let (policy, alice) = (daily("100"), alice());
        let mut one = granted(guard.reserve(&policy, &alice, usd("20")).id("job").at(noon()).await.unwrap());
        store.is_silent.store(true, Ordering::SeqCst);
        assert!(tokio::time::timeout(Duration::ZERO, one.grow(usd("10"))).await.is_err(), "it is given up");
        store.is_silent.store(false, Ordering::SeqCst);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 30));

        let mut two = guard.hold(&alice, "job").at(noon()).await.unwrap();
        assert_eq!(two.grow(usd("10")).await.unwrap(), Growth::Granted, "of another handle: another request");
        if is_extended {
            one.extend(Duration::from_secs(900)).await.unwrap();
        }
        assert_eq!(one.grow(usd("10")).await.unwrap(), Growth::Granted);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 40));
        assert_eq!(one.grow(usd("10")).await.unwrap(), Growth::Granted, "and the next one is new");
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 50));
        one.forget();
    }
}

#[tokio::test]
async fn a_hold_grows_whatever_stands_at_a_limit_of_which_it_asks_no_more() {
    for guard in guards("grow-none").await {
        let alice = alice();
        let policy = Policy::new([
            Limit::new(Counter::new("user", Meter::TOKENS, Window::day()), 100),
            Limit::cost("user", usd("10"), Window::day()),
            Limit::requests("user", 5, Duration::from_secs(3600)).unwrap(),
        ])
        .unwrap();
        let amounts = |tokens| Amounts::new().with(Meter::TOKENS, tokens);
        let reserve = guard.reserve(&policy, &alice, amounts(50).with(Meter::COST, 1).with(Meter::REQUESTS, 1));
        let mut hold = granted(reserve.at(noon()).await.unwrap());
        let spent = Amounts::cost(usd("20")).with(Meter::REQUESTS, 9);
        guard.penalty(&policy, &alice, spent).at(noon()).await.unwrap();
        assert_eq!(hold.grow(amounts(50)).await.unwrap(), Growth::Granted);
        let Growth::Denied { refused_by } = hold.grow(amounts(1)).await.unwrap() else { panic!("100 are held") };
        assert_eq!(refused_by.len(), 1);
        assert!(matches!(hold.grow(Amounts::new().with(Meter::REQUESTS, 1)).await.unwrap(), Growth::Denied { .. }));
        hold.forget();
    }
}

#[tokio::test]
async fn a_hold_of_nothing_grows_wherever_its_limits_stand_in_the_policy() {
    for guard in guards("grow-order").await {
        let rate = || Limit::requests("user", 5, Duration::from_secs(60)).unwrap();
        let cost = || Limit::cost("user", usd("100"), Window::day());
        for (name, limits) in [("first", [rate(), cost()]), ("last", [cost(), rate()])] {
            let (policy, alice) = (Policy::new(limits).unwrap(), Subject::new(name).scope("user", "alice"));
            let reserve = |amount: &str| guard.reserve(&policy, &alice, usd(amount)).at(noon());
            let mut nothing = granted(reserve("0").await.unwrap());
            // Its bucket goes with the last hold that had something in it.
            granted(reserve("5").await.unwrap()).settle(usd("5")).await.unwrap();
            assert_eq!(nothing.grow(usd("5")).await.unwrap(), Growth::Granted, "the rate comes {name}");
            assert_eq!(nothing.held(&Meter::COST), usd("5").nanos());
            nothing.forget();
        }
    }
}
