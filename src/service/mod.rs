//! What a process adds around the store.

mod events;
mod learned;

pub use events::Event;
pub(crate) use events::Events;
pub use learned::Learned;
