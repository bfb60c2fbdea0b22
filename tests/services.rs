//! The everyday services, on every store.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "services/cache.rs"]
mod cache;
#[path = "services/compute.rs"]
mod compute;
#[path = "services/daily.rs"]
mod daily;
#[path = "services/sessions.rs"]
mod sessions;
mod support;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Decided, ErrorKind, Fraction, Outage};
use support::{Cluster, Fault, Proxy, START_MS, Server, TestStore, on_every_store};
use tokio::task::JoinSet;

/// 2026-02-01T12:00:00Z, wherever a test gives the time.
fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(START_MS).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

/// How long each key of a test still lives, by the store's clock.
async fn lives(store: &TestStore) -> Vec<(String, Duration)> {
    let now_ms = store.now_ms().await;
    let left = |at_ms: i64| Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0));
    // The mark by which a guard sees that a store lost its data is no service's.
    let dump = store.dump().await.into_iter().filter(|it| !it.key.starts_with("epoch:"));
    dump.map(|it| (it.key, left(it.expire_at_ms.expect("every key has a TTL")))).collect()
}
