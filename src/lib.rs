//! An atomic store for spend, counters and limits.

mod error;
pub mod model;
pub mod script;
pub mod store;

pub use error::{Error, ErrorKind, Result};
