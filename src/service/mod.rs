//! What a process adds around the store.

mod cache;
mod daily;
mod denials;
mod events;
mod health;
mod learned;
mod loss;
mod per_minute;
mod secret;
mod sessions;
mod tokens;

pub use cache::{Cache, CacheFormat, CacheStats, Invalidated, OnTrouble, WarmProgress, Warmed};
pub use daily::{Daily, DailyLimit, DailyStart, DailyState};
pub(crate) use denials::{Denials, Moment};
pub use events::Event;
pub(crate) use events::Events;
pub use health::{Health, HealthStatus, LoadedScripts, ServerInfo, ServerKind};
pub use learned::Learned;
pub(crate) use loss::LossWatch;
pub use per_minute::{MinuteCheck, PerMinute};
pub use secret::Token;
pub use sessions::{Session, Sessions};
pub use tokens::Tokens;
