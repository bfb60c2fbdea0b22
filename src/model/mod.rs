//! The nouns, without I/O.

mod amount;
mod catalogue;
mod decision;
mod estimate;
mod fault;
mod money;
mod outage;
mod policy;
mod policy_toml;
mod price;
mod price_field;
mod rate;
mod subject;
mod text;
mod usage;
mod usage_json;
mod window;

pub use amount::{Amounts, IntoAmount, Meter};
pub use catalogue::{PriceCatalogue, Unpriced};
pub use decision::{Decision, Denial, Grant, LimitState};
#[cfg(feature = "http")]
pub(crate) use decision::{advice, whole_seconds};
pub use estimate::Estimate;
pub use money::Money;
pub use outage::{Decided, Outage};
pub use policy::{Counter, Fraction, Limit, MAX_LIMITS, Mode, Policy};
pub use price::{Cost, Price};
pub(crate) use rate::Bucket;
pub use subject::{GLOBAL, Scope, Subject};
pub(crate) use text::{encode, encode_key, encode_prefix, encode_tag};
pub use usage::{ServiceTier, TokenKind, Usage};
pub use window::{Interval, Per, Period, Span, Window};
