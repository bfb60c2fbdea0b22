//! What the tests stand on: a Redis server of their own, a proxy that loses requests and replies, and every store there
//! is to run on, with a look behind the crate's back.
//!
//! Every file in `tests/` that needs one says `mod support;`.

// Each test binary compiles this module for itself and uses a part of it; a set-up that fails should stop the test.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

pub mod buckets;
pub mod cluster;
pub mod logs;
pub mod proxy;
pub mod sentinels;
pub mod server;
pub mod stores;
pub mod tls;
pub mod wording;

pub use cluster::Cluster;
pub use logs::Logs;
pub use proxy::{Fault, Proxy};
pub use sentinels::Sentinels;
pub use server::{Server, server_url};
pub use stores::{START_MS, Stored, TestStore, every_store, on_every_store};
pub use tls::{Certificates, TlsServer};
pub use wording::{shared_words, without_place};
