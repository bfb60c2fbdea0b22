//! While the store is away: calls cost no timeouts, what is granted without it stays within its share, says so, and arrives
//! once when the store is back.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "outage/breaker.rs"]
mod breaker;
mod support;

use std::time::{Duration, Instant};

use costguard::store::redis::RedisConfig;
use costguard::{Counter, Limit, Meter, Policy, Subject, Window};

/// How long anything may take that should happen at once, on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// Gives up soon, and is back soon.
fn config(url: &str) -> RedisConfig {
    let ms = Duration::from_millis;
    RedisConfig::from_url(url).unwrap().call_timeout(ms(300)).socket_timeout(ms(300)).reconnect(ms(20), ms(100))
}

fn policy(limit: i64) -> Policy {
    Policy::new([Limit::new(Counter::new("user", Meter::COST, Window::total()), limit)]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
