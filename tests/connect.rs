//! Connecting: what URLs and the environment say, TLS, the pool, and a server that is away.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

#[path = "connect/config.rs"]
mod config;
#[path = "connect/durability.rs"]
mod durability;
#[path = "connect/pool.rs"]
mod pool;
#[path = "connect/tls.rs"]
mod tls;
