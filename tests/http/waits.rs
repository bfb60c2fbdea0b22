//! How long clients are told to wait.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use costguard::http::{Gate, RateLimitLayer};
use costguard::store::ManualClock;
use costguard::{CostGuard, Limit, Policy};
use http::Response;
use tower::{Layer, ServiceExt};

use super::support::START_MS;
use super::{by_alice, counting, field, gate};

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
