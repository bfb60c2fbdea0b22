//! What happens to operations while something breaks: each with an id lands exactly once, or says that it failed and can be
//! repeated; no budget is passed; service returns by itself. A ledger counts them all.
//!
//! `scripts/faults` runs these tests and writes what they counted into `docs/faults.md`.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "faults/clusters.rs"]
mod clusters;
#[path = "faults/data.rs"]
mod data;
#[path = "faults/ledger.rs"]
mod ledger;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/processes.rs"]
mod processes;
mod support;

use std::time::Duration;

use costguard::CostGuard;
use costguard::store::redis::RedisConfig;

/// How long a call may take, retries and all: less than some of the faults last, so that calls fail too.
const CALL_TIMEOUT: Duration = Duration::from_millis(800);

/// A guard whose calls give up soon, and whose connections come back soon.
async fn connect(url: &str) -> CostGuard {
    CostGuard::builder().connect_with(&config(url)).await.unwrap()
}

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap().call_timeout(CALL_TIMEOUT).socket_timeout(CALL_TIMEOUT)
}

/// A guard for the ledger. It waits, for were it to ask twice, the ledger could not tell its own attempt from the load's.
async fn auditor(url: &str) -> CostGuard {
    let patient = Duration::from_secs(20);
    CostGuard::builder().connect_with(&config(url).call_timeout(patient).socket_timeout(patient)).await.unwrap()
}

/// Several, each with connections of its own.
async fn clients(url: &str) -> Vec<CostGuard> {
    let mut guards = Vec::new();
    for _ in 0..4 {
        guards.push(connect(url).await);
    }
    guards
}

/// Lets the load run for so long.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
