//! How safe a write should be before it counts as done.

use std::time::Duration;

use crate::error::{Error, Result};

/// Waits after a write until replicas have it, as Redis's `WAIT` does.
///
/// What it promises: so many replicas have acknowledged that the write has arrived with them. If one of these takes over, the
/// write is there. What it does not promise: that one of them takes over, unless all were waited for; that anything is on disk;
/// that a primary which is cut off from all others learns in time that it is none any more. Where fewer have answered when the
/// time is over the write has happened all the same, and the answer says how many have it.
///
/// A guard has connections of their own for this, one call on each at a time, so that nobody else waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    replicas: u8,
    timeout_ms: u64,
}

impl Durability {
    /// Waits for `replicas`, up to `timeout`: 1 ms to a minute, on top of what the call may take.
    ///
    /// # Errors
    /// `Invalid` when it waits for none, or the timeout is out of bounds.
    pub fn wait(replicas: u8, timeout: Duration) -> Result<Self> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        if replicas == 0 || !(1..=60_000).contains(&timeout_ms) {
            return Err(Error::invalid("wait for 1 replica at least, and between 1 ms and a minute"));
        }
        Ok(Self { replicas, timeout_ms })
    }

    /// How many replicas are waited for.
    #[must_use]
    pub fn replicas(self) -> u8 {
        self.replicas
    }

    /// How long they are waited for at most.
    #[must_use]
    pub fn timeout(self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
