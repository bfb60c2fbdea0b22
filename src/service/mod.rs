//! What a process adds around the store.

mod learned;

pub use learned::Learned;
