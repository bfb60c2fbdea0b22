//! The promises of the crate, each held on every store by a test that is named after it.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "promises/keys.rs"]
mod keys;
#[path = "promises/lasting.rs"]
mod lasting;
#[path = "promises/never_over.rs"]
mod never_over;
#[path = "promises/once.rs"]
mod once;
#[path = "promises/server.rs"]
mod server;
mod support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use costguard::store::embedded::Embedded;
use costguard::store::{ManualClock, Reply};
use costguard::{
    Amounts, Correction, CostGuard, Counter, Decision, Error, ErrorKind, Limit, Meter, Money, Policy, Subject, Window,
};
use redis::aio::MultiplexedConnection;
use support::{Proxy, START_MS, Server, Stored, TestStore, on_every_store};
use tokio::task::JoinSet;

/// A time at which windows are named, wherever the test gives one. After it comes the store's own.
fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(START_MS).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("org", "acme").scope("user", "alice")
}

fn total(meter: Meter) -> Counter {
    Counter::new("user", meter, Window::total())
}

/// One limit on what a user counts of a meter, for all time.
fn limited(meter: Meter, limit: i64) -> Policy {
    Policy::new([Limit::new(total(meter), limit)]).unwrap()
}

fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

/// Three limits on cost: the user's day, the organisation's month, everyone's total.
fn three_limits() -> Policy {
    Policy::new([
        Limit::cost("user", nanos(1000), Window::day()),
        Limit::cost("org", nanos(2000), Window::month()),
        Limit::cost("global", nanos(3000), Window::total()),
    ])
    .unwrap()
}

const THREE_KEYS: [&str; 3] =
    ["cost:{acme}:user:alice:2026-02-01", "cost:{acme}:org:acme:2026-02", "cost:{acme}:global:total"];

async fn used(guard: &CostGuard, policy: &Policy, subject: &Subject) -> Vec<i64> {
    guard.peek(policy, subject).await.unwrap().iter().map(|state| state.used).collect()
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("an error").kind()
}

async fn connect(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}
