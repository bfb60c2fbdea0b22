//! Hashes: fields with a TTL in common.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::stats::{count, count_bytes};
use crate::error::{Error, Result};

/// The longest name of a field. It is no part of a key, and stands as it is.
const MOST_FIELD_BYTES: usize = 1024;

impl Cache {
    /// One field of a hash, `None` when there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn hget<T: DeserializeOwned>(&self, key: &str, field: &str) -> Result<Option<T>> {
        let fields = self.read_fields(key, Some(field)).await?;
        Ok(fields.into_iter().next().map(|(_, value)| value))
    }

    /// Every field of a hash and its value, sorted; empty when there is no hash.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn hget_all<T: DeserializeOwned>(&self, key: &str) -> Result<Vec<(String, T)>> {
        let mut fields = self.read_fields(key, None).await?;
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(fields)
    }

    /// Sets one field of a hash, which lives for the cache's TTL from now on, all of it. A hash has 10,000 fields at most,
    /// and no tags.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn hset<T: Serialize + ?Sized>(&self, key: &str, field: &str, value: &T) -> Result<()> {
        let (key, text) = (self.value_key(key)?, self.encode(value)?);
        if field.len() > MOST_FIELD_BYTES {
            return Err(Error::invalid(format!("the field is {} bytes long; at most {MOST_FIELD_BYTES}", field.len())));
        }
        count_bytes(&self.counts.bytes_written, text.len());
        let set = self.engine.cache_hset(key, self.ttl, vec![(field.to_owned(), text)]).await;
        self.unless_away(set, ())
    }

    async fn read_fields<T: DeserializeOwned>(&self, key: &str, field: Option<&str>) -> Result<Vec<(String, T)>> {
        let read = self.engine.cache_hget(self.value_key(key)?, field.map(str::to_owned)).await;
        let read = read.and_then(|fields| {
            let decoded = fields.into_iter().map(|(field, text)| {
                count_bytes(&self.counts.bytes_read, text.len());
                Ok::<_, Error>((field, self.format.decode(&text)?))
            });
            decoded.collect::<Result<Vec<_>>>()
        });
        let fields = self.or_miss(read, Vec::new())?;
        count(if fields.is_empty() { &self.counts.misses } else { &self.counts.hits });
        Ok(fields)
    }
}
