//! An atomic store for spend, counters and limits, for services that pay per call.
//!
//! Every operation that must not race is one Lua script. The same scripts run on any Redis or Valkey and on an engine
//! inside the process that needs no server.
//!
//! ```
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! # The nouns
//! - [`Money`] is integer nano-dollars; a [`Meter`] is what is counted, and an amount of it is always an integer.
//! - A [`Subject`] is the set of scopes of one request, `org:acme` and `user:alice`, under one root.
//! - A [`Policy`] is an ordered list of [`Limit`]s: so much of a meter, per kind of scope and [`Window`].
//! - A [`Decision`] is `Granted` or `Denied`; a denial is a value that names the limit and says when to try again.
//! - A [`Hold`] keeps an [`Estimate`] aside while a call runs, and is settled with what the call cost.
//!
//! # The verbs
//! All are methods of [`CostGuard`]: [`admit`](CostGuard::admit) charges if every limit allows it,
//! [`charge`](CostGuard::charge) charges in any case, [`reserve`](CostGuard::reserve) sets aside,
//! [`peek`](CostGuard::peek) and [`statement`](CostGuard::statement) look, [`count`](CostGuard::count) counts with a TTL,
//! [`adjust`](CostGuard::adjust) corrects by hand. Each takes an operation id, so that a retry happens once.
//!
//! With the feature `http`, the layers of the module `http` put budgets and rate limits in front of a service.
//!
//! # What it does not do
//! It does not meter calls or talk to models, it is no Redis client for other data, and it does not keep an audit trail
//! beyond the window's counters and their corrections.

mod builder;
mod error;
mod guard;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "metrics")]
pub mod metrics;
// Declared all the same, and never recorded.
#[cfg(not(feature = "metrics"))]
#[allow(dead_code, unreachable_pub)]
mod metrics;
pub mod model;
pub mod ops;
pub mod script;
pub mod service;
pub mod store;

pub use builder::Builder;
pub use error::{Error, ErrorKind, Result};
pub use guard::CostGuard;
pub use model::{
    Amounts, Counter, Decided, Decision, Denial, Estimate, Fraction, Grant, Limit, LimitState, Meter, Mode, Money,
    Outage, Policy, PriceCatalogue, Scope, Subject, Usage, Window,
};
pub use ops::{Charged, Correction, Counted, Growth, Hold, JointHold, Refunded, Rule, RuleKind, Settled, Undelivered};
pub use service::Event;
pub use store::redis::RedisConfig;
