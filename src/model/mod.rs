//! The nouns, without I/O.

mod window;

pub use window::{Interval, Per, Span, Window};
