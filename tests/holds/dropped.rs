//! Handles that are dropped: what they observed is charged, what they own is given back.

use std::time::Duration;

use costguard::{Amounts, Counter, ErrorKind, Limit, Meter, Policy, Window};

use super::{alice, daily, granted, guards, noon, stands, usd};

/// A policy on cost and tokens.
fn both_meters() -> Policy {
    let tokens = Limit::new(Counter::new("user", Meter::TOKENS, Window::day()), 1000);
    Policy::new([Limit::cost("user", usd("100"), Window::day()), tokens]).unwrap()
}

#[tokio::test]
async fn a_dropped_hold_settles_what_was_observed_or_is_released() {
    for guard in guards("drop").await {
        let (policy, alice) = (daily("100"), alice());
        let mut hold = granted(guard.reserve(&policy, &alice, usd("40")).at(noon()).await.unwrap());
        hold.observe(usd("7"));
        drop(hold);
        drop(granted(guard.reserve(&policy, &alice, usd("50")).at(noon()).await.unwrap()));
        assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
        assert_eq!(stands(&guard, &policy, noon()).await, (7, 0));
    }
}

#[tokio::test]
async fn a_settlement_that_lacks_a_meter_leaves_what_was_observed() {
    for guard in guards("lacking").await {
        let (policy, alice) = (both_meters(), alice());
        let both = |dollars: &str| Amounts::cost(usd(dollars)).with(Meter::TOKENS, 10);
        let mut hold = granted(guard.reserve(&policy, &alice, both("40")).at(noon()).await.unwrap());
        hold.observe(both("7"));
        assert_eq!(hold.settle(usd("8")).await.unwrap_err().kind(), ErrorKind::Invalid);
        drop(hold);
        assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
        assert_eq!(stands(&guard, &policy, noon()).await, (7, 0));
    }
}

#[tokio::test]
async fn what_was_observed_is_charged_with_what_is_held_of_the_other_meters() {
    for guard in guards("observed-less").await {
        let (policy, alice) = (both_meters(), alice());
        let amounts = Amounts::cost(usd("40")).with(Meter::TOKENS, 10);
        let mut hold = granted(guard.reserve(&policy, &alice, amounts).at(noon()).await.unwrap());
        hold.observe(usd("7"));
        drop(hold);
        assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
        let states = guard.peek(&policy, &alice).at(noon()).await.unwrap();
        assert_eq!((states[0].used, states[0].held), (7_000_000_000, 0));
        assert_eq!((states[1].used, states[1].held), (10, 0));
    }
}

#[tokio::test]
async fn a_repeat_that_is_given_up_leaves_the_hold_to_whoever_made_it() {
    for guard in guards("repeat").await {
        let (policy, alice) = (daily("100"), alice());
        let reserve = || guard.reserve(&policy, &alice, usd("40")).id("job").at(noon());
        let mut first = granted(reserve().await.unwrap());
        drop(granted(reserve().await.unwrap()));
        assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
        assert_eq!(stands(&guard, &policy, noon()).await, (0, 40));
        first.settle(usd("30")).await.unwrap();
        assert_eq!(stands(&guard, &policy, noon()).await, (30, 0));

        // What a repeat has observed was spent.
        let reserve = || guard.reserve(&policy, &alice, usd("40")).id("other").at(noon());
        granted(reserve().await.unwrap()).forget();
        let mut again = granted(reserve().await.unwrap());
        again.observe(usd("5"));
        drop(again);
        assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
        assert_eq!(stands(&guard, &policy, noon()).await, (35, 0));
    }
}
