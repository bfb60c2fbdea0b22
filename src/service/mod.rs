//! What a process adds around the store.

mod denials;
mod events;
mod learned;

pub(crate) use denials::Denials;
pub use events::Event;
pub(crate) use events::Events;
pub use learned::Learned;
