//! The nouns, without I/O.

mod money;
mod usage;
mod usage_json;

pub use money::Money;
pub use usage::{ServiceTier, Usage};
