//! The nouns, without I/O.

mod catalogue;
mod money;
mod price;
mod price_field;
mod usage;
mod usage_json;
mod window;

pub use catalogue::{PriceCatalogue, Unpriced};
pub use money::Money;
pub use price::{Cost, Price};
pub use usage::{ServiceTier, TokenKind, Usage};
pub use window::{Interval, Per, Span, Window};
