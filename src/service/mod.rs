//! What a process adds around the store.

mod denials;
mod events;
mod health;
mod learned;
mod loss;

pub(crate) use denials::Denials;
pub use events::Event;
pub(crate) use events::Events;
pub use health::{Health, HealthStatus, LoadedScripts, ServerInfo, ServerKind};
pub use learned::Learned;
pub(crate) use loss::LossWatch;
