//! The verbs: each encodes its arguments, runs one script and decodes the reply. A file here is the twin of one in `lua/`.

mod adjust;
mod admit;
mod away;
mod cache;
mod charge;
mod count;
mod engine;
mod hold;
mod keep;
mod peek;
mod plan;
mod refund;
pub(crate) mod request;
mod rule;
mod rulings;
mod time;
mod window;

pub(crate) use away::Away;
pub(crate) use cache::{Lease, Text};
pub(crate) use engine::Engine;
#[cfg(feature = "http")]
pub(crate) use hold::completed;
pub(crate) use keep::MOST_TTL;
pub(crate) use window::{Counters, Stand};

pub use adjust::{Adjust, Adjusted, Adjustment, Adjustments, Correction};
pub use admit::Admit;
pub use away::Undelivered;
pub use charge::{Charge, Charged};
pub use count::{Count, Counted};
pub use hold::{
    Extend, FindHold, Grow, Growth, HeldAmount, Hold, HoldState, JointHold, ListHolds, OpenHold, OpenHolds, Release,
    Reserve, ReserveAcross, Settle, Settled, SettledLimit,
};
pub use peek::{Peek, Statement, StatementLine};
pub use refund::{Refund, Refunded};
pub use rule::{ListRules, Rule, RuleKind, SetRule};
