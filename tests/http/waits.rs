//! How long clients are told to wait.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use costguard::http::{BudgetLayer, Gate, RateLimitLayer};
use costguard::store::ManualClock;
use costguard::{Amounts, CostGuard, Counter, Decision, Estimate, Hold, Limit, Meter, Policy, Window};
use http::Response;
use tower::{Layer, ServiceExt};

use super::support::START_MS;
use super::{alice, by_alice, counting, field, gate, limit, problem, usd};

fn clocked() -> (CostGuard, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START_MS));
    (CostGuard::builder().clock(clock.clone()).embedded().unwrap(), clock)
}

fn rate(limit: i64, period_ms: u64) -> Limit {
    Limit::requests("user", limit, Duration::from_millis(period_ms)).unwrap()
}

/// The answer to one more request.
async fn admit(gate: &Gate) -> Response<Body> {
    let service = RateLimitLayer::new(gate.clone()).layer(counting(&Arc::default()));
    service.oneshot(by_alice()).await.unwrap().map(Body::new)
}

/// The answer to one more request that reserves this much.
async fn reserve(gate: &Gate, estimate: impl Into<Estimate>) -> Response<Body> {
    let estimate = estimate.into();
    let layer = BudgetLayer::new(gate.clone(), move |_| Ok(estimate.clone()));
    layer.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap().map(Body::new)
}

async fn hold(guard: &CostGuard, policy: &Policy, estimate: impl Into<Estimate>) -> Hold {
    let decision = guard.reserve(policy, &alice(), estimate).await.unwrap();
    let Decision::Granted(hold) = decision else { panic!("{decision:?}") };
    hold
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_served() {
    let (guard, clock) = clocked();
    // One fits in every 1000.333 ms.
    let gate = gate(&guard, &Policy::new([rate(3, 3001).burst(1)]).unwrap()).openai_fields();
    assert_eq!(admit(&gate).await.status(), 200);
    let denied = admit(&gate).await;
    assert_eq!(field(denied.headers(), "retry-after"), "2");
    assert_eq!(field(denied.headers(), "ratelimit"), r#""user-requests-rate/3001ms";r=0;t=2"#);
    assert_eq!(field(denied.headers(), "x-ratelimit-reset-requests"), "1.001s");
    clock.advance_ms(1000);
    assert_eq!(field(admit(&gate).await.headers(), "retry-after"), "1", "a third of a millisecond is not nothing");
    clock.advance_ms(1000);
    assert_eq!(admit(&gate).await.status(), 200);
}

#[tokio::test]
async fn a_rate_with_nothing_left_says_when_there_is_one_granted_or_denied() {
    let (guard, _) = clocked();
    let gate = gate(&guard, &Policy::new([rate(20, 60_000).burst(5)]).unwrap()).openai_fields();
    for (left, full_s) in [(4, 3), (3, 6), (2, 9), (1, 12)] {
        let granted = admit(&gate).await;
        assert_eq!(field(granted.headers(), "ratelimit"), format!(r#""user-requests-rate/1m";r={left};t={full_s}"#));
    }
    for status in [200, 429] {
        let response = admit(&gate).await;
        assert_eq!(response.status(), status);
        assert_eq!(field(response.headers(), "ratelimit"), r#""user-requests-rate/1m";r=0;t=3"#);
        assert_eq!(field(response.headers(), "x-ratelimit-reset-requests"), "3s");
    }
}

#[tokio::test]
async fn a_rate_of_money_that_shows_nothing_says_when_there_is_a_millionth() {
    let (guard, _) = clocked();
    // A millionth a second, and half a millionth is left.
    let counter = Counter::new("user", Meter::COST, Window::rate(Duration::from_secs(1000)).unwrap());
    let policy = Policy::new([Limit::new(counter, usd("0.001").nanos())]).unwrap();
    let layer = RateLimitLayer::new(gate(&guard, &policy)).amounts(|_| Ok(Amounts::cost(usd("0.0009995"))));
    let granted = layer.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap();
    let fields = field(granted.headers(), "ratelimit");
    assert!(fields.ends_with(";r=0;t=1"), "{fields}");
}

#[tokio::test]
async fn a_denial_by_calls_that_are_open_does_not_send_clients_away_until_their_holds_expire() {
    let (guard, _) = clocked();
    let policy = Policy::new([Limit::concurrency("user", 2)]).unwrap();
    let gate = gate(&guard, &policy);
    let _open = (hold(&guard, &policy, Amounts::new()).await, hold(&guard, &policy, Amounts::new()).await);
    for (gate, wait_s) in [(gate.clone(), 5), (gate.clone().held_retry_after(Duration::from_millis(1500)), 2)] {
        let denied = reserve(&gate, Amounts::new()).await;
        assert_eq!(field(denied.headers(), "retry-after"), wait_s.to_string());
        assert_eq!(field(denied.headers(), "ratelimit"), format!(r#""user-concurrency-open";r=0;t={wait_s}"#));
        let problem = problem(denied).await;
        assert_eq!(problem["retry_after_s"], wait_s);
        let detail = format!("user:alice concurrency open, 0 of 2 used, 2 held; try again in {wait_s} s");
        assert_eq!(problem["detail"], detail);
    }
    let patient = gate.clone().held_retry_after(Duration::from_secs(3600));
    let wait_s: u64 = field(reserve(&patient, Amounts::new()).await.headers(), "retry-after").parse().unwrap();
    assert!((600..=675).contains(&wait_s), "never longer than the holds live: {wait_s}");
    let zero = gate.held_retry_after(Duration::ZERO);
    assert_eq!(field(reserve(&zero, Amounts::new()).await.headers(), "retry-after"), "1", "nobody asks in a loop");
}

#[tokio::test]
async fn a_denial_by_what_is_used_says_until_when_also_where_something_is_held() {
    let (guard, _) = clocked();
    let policy = Policy::new([Limit::cost("user", usd("1.00"), Window::day())]).unwrap();
    guard.charge(&policy, &alice(), usd("0.90")).await.unwrap();
    let _open = hold(&guard, &policy, usd("0.02")).await;
    let gate = gate(&guard, &policy);
    // 0.10 would fit but for what is held, 0.11 would not.
    assert_eq!(field(reserve(&gate, usd("0.10")).await.headers(), "retry-after"), "5");
    assert_eq!(field(reserve(&gate, usd("0.11")).await.headers(), "retry-after"), "43200");
    let never = reserve(&gate, usd("1.01")).await;
    assert!(!never.headers().contains_key("retry-after"));
    // All that is left: one would be enough.
    let _all = hold(&guard, &policy, usd("0.08")).await;
    assert_eq!(field(reserve(&gate, Estimate::remaining()).await.headers(), "retry-after"), "5");
    assert_eq!(field(reserve(&gate, Estimate::at_most(Meter::COST, 10)).await.headers(), "retry-after"), "5");
}

#[tokio::test]
async fn an_overdraft_is_room_too() {
    let (guard, _) = clocked();
    let policy = Policy::new([Limit::cost("user", usd("1.00"), Window::day()).overdraft(usd("0.50").nanos())]).unwrap();
    guard.charge(&policy, &alice(), usd("1.10")).await.unwrap();
    let _open = hold(&guard, &policy, usd("0.30")).await;
    let gate = gate(&guard, &policy);
    assert_eq!(field(reserve(&gate, usd("0.40")).await.headers(), "retry-after"), "5");
    assert_eq!(field(reserve(&gate, usd("0.41")).await.headers(), "retry-after"), "43200");
}

#[tokio::test]
async fn of_several_limits_that_refuse_the_one_with_the_longest_wait_is_told() {
    let (guard, _) = clocked();
    let limits =
        [Limit::concurrency("user", 1), limit("user", Meter::REQUESTS, Window::every(40).unwrap(), 3), rate(3, 60_000)];
    let [open, fixed, rate] = limits;
    let held = Policy::new([open.clone()]).unwrap();
    let _open = hold(&guard, &held, Amounts::new()).await;
    // The holds expire last of all, but nobody waits for that.
    let both = Policy::new([open.clone(), fixed.clone()]).unwrap();
    let used = Policy::new([fixed]).unwrap();
    guard.charge(&used, &alice(), Amounts::new().requests(3)).await.unwrap();
    let denied = reserve(&gate(&guard, &both), Amounts::new()).await;
    assert_eq!(field(denied.headers(), "retry-after"), "40");
    assert_eq!(
        field(denied.headers(), "ratelimit"),
        r#""user-concurrency-open";r=0;t=5, "user-requests-40s";r=0;t=40"#
    );
    let problem = problem(denied).await;
    assert_eq!((&problem["limit"]["policy"], &problem["retry_after_s"]), (&"user-requests-40s".into(), &40.into()));
    assert_eq!(problem["violated-policies"], serde_json::json!(["user-concurrency-open", "user-requests-40s"]));

    let both = Policy::new([open, rate.clone()]).unwrap();
    guard.charge(&Policy::new([rate]).unwrap(), &alice(), Amounts::new().requests(3)).await.unwrap();
    for (amount, wait_s) in [(1, 20), (2, 40)] {
        let denied = reserve(&gate(&guard, &both), Amounts::new().requests(amount)).await;
        assert_eq!(field(denied.headers(), "retry-after"), wait_s.to_string(), "the bucket has room then");
    }
}

#[tokio::test]
async fn a_block_is_waited_for_to_its_end() {
    let (guard, _) = clocked();
    let policy = Policy::new([Limit::concurrency("user", 1)]).unwrap();
    let _open = hold(&guard, &policy, Amounts::new()).await;
    guard.block(&alice(), "user", Duration::from_secs(90)).await.unwrap();
    let denied = reserve(&gate(&guard, &policy), Amounts::new()).await;
    assert_eq!(field(denied.headers(), "retry-after"), "90");
    let body = problem(denied).await;
    assert_eq!(body["detail"], "user:alice is blocked; try again in 90 s");
}
