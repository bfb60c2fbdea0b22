//! Rates, concurrency and soft limits through the typed API: every step of random histories is that of an independent model,
//! no window ever holds more than its limit, and the classic mistakes are not made, on the embedded store and on a server.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "limits/alone.rs"]
mod alone;
#[path = "limits/histories.rs"]
mod histories;
#[path = "limits/mistakes.rs"]
mod mistakes;
#[path = "limits/model.rs"]
mod model;
#[path = "limits/rules.rs"]
mod rules;
#[path = "limits/soft.rs"]
mod soft;
mod support;
#[path = "limits/windows.rs"]
mod windows;

use chrono::{DateTime, Utc};
use costguard::{Amounts, Counter, Decision, Denial, Grant, Limit, Meter, Policy, Subject, Window};

/// A time of its own: 2026-02-01T12:00:00Z and so many milliseconds.
fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(support::START_MS + ms).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("org", "acme").scope("user", "alice")
}

/// A limit on the user's tokens.
fn tokens(limit: i64, window: Window) -> Limit {
    Limit::new(Counter::new("user", Meter::TOKENS, window), limit)
}

fn only(limit: Limit) -> Policy {
    Policy::new([limit]).unwrap()
}

fn of_tokens(tokens: u64) -> Amounts {
    Amounts::new().tokens(tokens)
}

#[track_caller]
fn granted<G: std::fmt::Debug>(decision: Decision<G>) -> G {
    match decision {
        Decision::Granted(grant) => grant,
        Decision::Denied(denial) => panic!("refused: {denial:?}"),
    }
}

#[track_caller]
fn denied<G: std::fmt::Debug>(decision: Decision<G>) -> Denial {
    match decision {
        Decision::Denied(denial) => denial,
        Decision::Granted(grant) => panic!("granted: {grant:?}"),
    }
}

/// What is used and what remains of the first limit.
fn stands(grant: &Grant) -> (i64, Option<i64>) {
    (grant.limits[0].used, grant.limits[0].remaining())
}
