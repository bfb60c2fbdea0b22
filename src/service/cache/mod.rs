//! A cache in front of expensive calls.

mod compute;
mod entry;
mod hash;
mod many;
mod settings;
mod stats;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::entry::Entry;
use self::stats::{Counts, count, count_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Engine, Text};

pub use entry::CacheFormat;
pub use many::{WarmProgress, Warmed};
pub use settings::OnTrouble;
pub use stats::CacheStats;
pub use tags::Invalidated;

/// Typed values with a TTL, shared by all processes. Made by [`CostGuard::cache`](crate::CostGuard::cache); clones share
/// their statistics.
///
/// ```
#[doc = include_str!("../../../examples/cache.rs")]
/// ```
///
/// The value of a key is stored under `{name}:{{key}}`, with the braces around the key as they stand: `api:{models:list}`. They
/// make the key its hash tag, so on a cluster keys spread over all slots, and a value lies with the lock under which it is
/// computed; tags are keys of their own. So all of it works on a cluster as it is. A value is its JSON, as every program can
/// read it; one that was computed or has tags has one line before it.
///
/// Every value has a TTL, an hour unless told otherwise.
#[derive(Clone, Debug)]
pub struct Cache {
    engine: Arc<Engine>,
    // A service that can be made in one line: what is wrong with its name is said where it is used.
    start: Result<String>,
    ttl: Duration,
    pub(crate) most_bytes: usize,
    format: CacheFormat,
    lock_ttl: Duration,
    beta: f64,
    none_ttl: Option<Duration>,
    away: OnTrouble,
    undecodable: OnTrouble,
    /// Those of what is written, encoded.
    tags: Result<Vec<String>>,
    counts: Arc<Counts>,
}

impl Cache {
    /// The value of a key, `None` when there is none.
    ///
    /// # Errors
    /// `Invalid` when the key is empty or longer than 1 KiB; others by choice:
    /// [`when_away`](Self::when_away), [`when_undecodable`](Self::when_undecodable).
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let found = self.find(&self.value_key(key)?).await?;
        count(if found.is_some() { &self.counts.hits } else { &self.counts.misses });
        Ok(found.map(|found| found.value))
    }

    /// Stores a value for the cache's TTL. What is being computed for the key is not stored then: this is newer.
    ///
    /// # Errors
    /// `Invalid` as [`get`](Self::get), and when the value is larger than [`most_bytes`](Self::most_bytes); others by choice,
    /// as there.
    pub async fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        self.set_for(key, value, self.ttl).await
    }

    /// Stores a value for another TTL.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_for<T: Serialize + ?Sized>(&self, key: &str, value: &T, ttl: Duration) -> Result<()> {
        let [value_key, lock] = self.keys(key)?;
        let text = self.encode(value)?;
        let put = async {
            let tags = self.generations(ttl).await?;
            let stored = Entry::write(0, &tags, text);
            count_bytes(&self.counts.bytes_written, stored.len());
            self.engine.put(value_key, Some(lock), stored, ttl).await
        };
        self.unless_away(put.await, ())
    }

    /// Removes a value, and keeps what is being computed for it from being stored.
    ///
    /// # Errors
    /// `Invalid` as [`get`](Self::get), `Unavailable` when the store is away, whatever was chosen: the value is still there.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.engine.remove(self.keys(key)?.into()).await.map(drop)
    }

    /// Whether there is a value, of whatever type.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.ttl(key).await?.is_some())
    }

    /// How long the value still lives, `None` when there is none. Tags are not looked at.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn ttl(&self, key: &str) -> Result<Option<Duration>> {
        let left = self.engine.cache_left(self.value_key(key)?).await;
        self.or_miss(left, None)
    }

    /// Lets a value live for this long from now on, and its tags at least; whether there is one.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn expire(&self, key: &str, ttl: Duration) -> Result<bool> {
        let value_key = self.value_key(key)?;
        let found = async {
            // First the tags: a value outlives none of its own.
            Ok(self.prolong_tags(&value_key, ttl).await? && self.engine.cache_expire(value_key, ttl).await?)
        };
        self.unless_away(found.await, false)
    }

    /// Adds to an integer that lives for the cache's TTL from its first amount on, and gives the sum. It has no tags, whatever the
    /// cache's are: no tag invalidates it, and what was set with tags or computed is no integer to add to.
    ///
    /// # Errors
    /// `Invalid` as [`get`](Self::get), for a negative amount, and for a value that has tags or was computed; `Overflow` and
    /// `Corrupt` when the value cannot take it. Nothing is changed then. `Ambiguous` and `Unavailable` when the store is away,
    /// whatever was chosen: there is no sum then.
    pub async fn incr(&self, key: &str, by: i64) -> Result<i64> {
        if by < 0 {
            return Err(Error::invalid(format!("the amount is {by}; give zero or more")));
        }
        let key = self.value_key(key)?;
        match self.engine.cache_incr(key.clone(), by, self.ttl).await {
            Err(err) if err.kind() == ErrorKind::Corrupt && self.has_head(key).await => Err(Error::invalid(
                "the value has tags or was computed, so it is no integer to add to; add to one under a key of its own",
            )),
            sum => sum,
        }
    }

    async fn has_head(&self, key: String) -> bool {
        matches!(self.engine.cache_get(key).await, Ok(Some(stored)) if Entry::has_head(&stored.text))
    }

    /// What this cache and its clones have done in this process.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.counts.stats()
    }

    /// A value, found and valid.
    async fn find<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Found<T>>> {
        let stored = self.engine.cache_get(key.to_owned()).await;
        match self.or_miss(stored, None)? {
            Some(stored) => self.accept(&stored).await,
            None => Ok(None),
        }
    }

    /// The value in a stored text: none when a tag of it was invalidated, or it cannot be read.
    async fn accept<T: DeserializeOwned>(&self, stored: &Text) -> Result<Option<Found<T>>> {
        count_bytes(&self.counts.bytes_read, stored.text.len());
        let unreadable = || Error::new(ErrorKind::Corrupt, "what is stored was not written by this cache");
        let read = Entry::read(&stored.text).ok_or_else(unreadable);
        let read = read.and_then(|entry| {
            let value = self.format.decode(entry.text)?;
            Ok((Found { value, left: stored.left, took_ms: entry.took_ms }, entry.tags))
        });
        let Some((found, tags)) = self.or_miss(read.map(Some), None)? else { return Ok(None) };
        Ok(self.are_current(&tags).await?.then_some(found))
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<String> {
        let text = self.format.encode(value)?;
        if text.len() > self.most_bytes {
            return Err(Error::invalid(format!(
                "the value is {} bytes long as it is stored; this cache takes {} at most: store less, or raise most_bytes",
                text.len(),
                self.most_bytes
            )));
        }
        Ok(text)
    }

    /// A read that is a miss where that was chosen.
    fn or_miss<T>(&self, read: Result<T>, miss: T) -> Result<T> {
        let err = match read {
            Err(err) => err,
            read => return read,
        };
        let (choice, counter) = match err.kind() {
            ErrorKind::Unavailable | ErrorKind::Ambiguous => (self.away, &self.counts.away_reads),
            ErrorKind::Corrupt => (self.undecodable, &self.counts.undecodable),
            _ => return Err(err),
        };
        count(counter);
        if choice == OnTrouble::Fail {
            return Err(err);
        }
        // Keys hold ids of users: they are not logged.
        tracing::warn!(cache = self.start.as_deref().unwrap_or_default(), error = %kind_of(&err), "a read is a miss");
        Ok(miss)
    }

    /// A write that does nothing while the store is away, where that was chosen.
    fn unless_away<T>(&self, write: Result<T>, nothing: T) -> Result<T> {
        match write {
            Err(err) if matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous) => {
                count(&self.counts.away_writes);
                if self.away == OnTrouble::Fail {
                    return Err(err);
                }
                let cache = self.start.as_deref().unwrap_or_default();
                tracing::warn!(cache, error = %kind_of(&err), "a value was not stored");
                Ok(nothing)
            }
            write => write,
        }
    }
}

/// A value that was found.
struct Found<T> {
    value: T,
    left: Duration,
    took_ms: u64,
}

fn kind_of(err: &Error) -> &'static str {
    match err.kind() {
        ErrorKind::Corrupt => "what is stored cannot be read",
        _ => "the store is away",
    }
}
