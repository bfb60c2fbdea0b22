//! How long clients are told to wait.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use costguard::http::{Gate, RateLimitLayer};
use costguard::store::ManualClock;
use costguard::{Amounts, CostGuard, Counter, Limit, Meter, Policy, Window};
use http::Response;
use tower::{Layer, ServiceExt};

use super::support::START_MS;
use super::{by_alice, counting, field, gate, usd};

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
