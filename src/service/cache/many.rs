//! Many values at once.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use crate::error::{Error, Result};

/// How many calls are under way at once: half of what one connection carries.
pub(super) const AT_ONCE: usize = 64;

/// How far a warm-up has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmProgress {
    /// The values that were dealt with, those that failed included.
    pub done: usize,
    /// Those that were not stored.
    pub failed: usize,
}

/// What a warm-up did.
#[derive(Clone, Debug)]
#[must_use = "some may have failed"]
pub struct Warmed {
    /// How many values were stored.
    pub stored: usize,
    /// How many were not.
    pub failed: usize,
    /// Why the first of them was not.
    pub error: Option<Error>,
}

impl Cache {
    /// The values of several keys, in their order. Each is a call of its own, since each lies in a slot of its own, and up to 64
    /// are under way at once on the same connections.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_many<T: DeserializeOwned>(&self, keys: &[&str]) -> Result<Vec<Option<T>>> {
        stream::iter(keys).map(|key| self.get(key)).buffered(AT_ONCE).try_collect().await
    }

    /// Stores several values for the cache's TTL, as [`get_many`](Self::get_many) reads them: not in one step.
    ///
    /// # Errors
    /// As [`set`](Self::set); some may be stored then.
    pub async fn set_many<T: Serialize>(&self, entries: &[(&str, T)]) -> Result<()> {
        let writes = stream::iter(entries).map(|(key, value)| self.set(key, value)).buffer_unordered(AT_ONCE);
        writes.try_collect().await
    }

    /// Stores what an iterator gives, up to 64 at once, and tells after each how far it is. One that fails does not stop it.
    pub async fn warm<K: AsRef<str>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
        ttl: Duration,
        mut progress: impl FnMut(WarmProgress),
    ) -> Warmed {
        let strict = Self { away: super::OnTrouble::Fail, ..self.clone() };
        let writes = stream::iter(entries).map(|(key, value)| {
            let strict = &strict;
            async move { strict.set_for(key.as_ref(), &value, ttl).await }
        });
        let mut writes = std::pin::pin!(writes.buffer_unordered(AT_ONCE));
        let mut warmed = Warmed { stored: 0, failed: 0, error: None };
        while let Some(written) = writes.next().await {
            match written {
                Ok(()) => warmed.stored += 1,
                Err(err) => {
                    warmed.failed += 1;
                    warmed.error.get_or_insert(err);
                }
            }
            progress(WarmProgress { done: warmed.stored + warmed.failed, failed: warmed.failed });
        }
        warmed
    }
}
