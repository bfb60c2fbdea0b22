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

use std::time::{Duration, Instant};

use costguard::store::redis::RedisConfig;
use costguard::{Builder, CostGuard, ErrorKind};

/// How long a call may take, retries and all: less than some of the faults last, so that calls fail too.
const CALL_TIMEOUT: Duration = Duration::from_millis(800);

/// How long clients try to connect before the fault.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Guards whose calls give up soon, and whose connections come back soon: several, each with connections of its own. To
/// connect may take a busy machine longer than a call may.
async fn clients_with(builder: &Builder, url: &str) -> Vec<CostGuard> {
    let (mut guards, latest) = (Vec::new(), Instant::now() + CONNECT_LIMIT);
    while guards.len() < 4 {
        match builder.clone().connect_with(&config(url)).await {
            Ok(guard) => guards.push(guard),
            Err(err) if err.kind() == ErrorKind::Unavailable && Instant::now() < latest => {}
            Err(err) => panic!("{err}"),
        }
    }
    guards
}

async fn clients(url: &str) -> Vec<CostGuard> {
    clients_with(&CostGuard::builder(), url).await
}

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap().call_timeout(CALL_TIMEOUT).socket_timeout(CALL_TIMEOUT)
}

/// A guard for the ledger. It waits, for were it to ask twice, the ledger could not tell its own attempt from the load's.
async fn auditor(url: &str) -> CostGuard {
    let patient = Duration::from_secs(20);
    CostGuard::builder().connect_with(&config(url).call_timeout(patient).socket_timeout(patient)).await.unwrap()
}

/// Lets the load run for so long.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
