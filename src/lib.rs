//! An atomic store for spend, counters and limits.

mod error;
mod guard;
pub mod model;
pub mod ops;
pub mod script;
pub mod store;

pub use error::{Error, ErrorKind, Result};
pub use guard::{Builder, CostGuard};
pub use model::{
    Amounts, Counter, Decision, Denial, Estimate, Fraction, Grant, Limit, LimitState, Meter, Money, Policy,
    PriceCatalogue, Scope, Subject, Usage, Window,
};
pub use ops::{Charged, Correction, Counted, Growth, Hold, Settled};
