//! Invalidation: by tag and by prefix.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Cache;
use super::entry::{Entry, Tag};
use super::many::AT_ONCE;
use crate::error::{ErrorKind, Result};
use crate::model::{encode_key, encode_tag};
use crate::ops::MOST_TTL;

/// What an invalidation by prefix removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it may not be complete"]
pub struct Invalidated {
    /// How many values.
    pub removed: usize,
    /// Whether these were all; false when there are more than were asked for.
    pub complete: bool,
}

impl Cache {
    /// Makes every value with this tag a miss, at once and for every process, also one that is just being computed; values with
    /// many tags need one of them only. It costs one call however many they are: each carries the generation of its tags at
    /// the time it was made, and this removes the tag's, which never comes again. What is left of the values goes with their
    /// TTLs.
    ///
    /// # Errors
    /// `Invalid` when the tag is none, `Unavailable` when the store is away.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.engine.remove(vec![self.tag_key(&encode_tag(tag)?)?]).await.map(drop)
    }

    /// Removes the values whose keys begin with `prefix`, up to `most` of them, also those that are being computed. It looks
    /// through every key of the store with `SCAN`: for people and for rare events, where a tag was not foreseen.
    ///
    /// # Errors
    /// `Invalid` when the prefix is none, `Unavailable` when the store is away; some may be removed then.
    pub async fn invalidate_prefix(&self, prefix: &str, most: usize) -> Result<Invalidated> {
        let start = self.start.clone()?;
        let prefix = encode_key(prefix)?;
        // Locks first: what is computed from here on is new, and what was before has been stored or is not.
        let (locks, locks_complete) = self.remove_all(&format!("{start}#lock:{{{prefix}"), most).await?;
        tracing::debug!(locks, "computations will not be stored");
        let (removed, complete) = self.remove_all(&format!("{start}:{{{prefix}"), most).await?;
        Ok(Invalidated { removed, complete: complete && locks_complete })
    }

    async fn remove_all(&self, prefix: &str, most: usize) -> Result<(usize, bool)> {
        let keys = self.engine.store.keys(prefix, most).await?;
        // One call a key, for each lies in a slot of its own.
        let removals = stream::iter(keys.names).map(|key| self.engine.remove(vec![key])).buffer_unordered(AT_ONCE);
        let removed = removals.try_fold(0, |sum, removed| async move { Ok(sum + usize::from(removed > 0)) }).await?;
        Ok((removed, keys.complete))
    }

    /// The generations of the tags that what is written now gets. They must be read before what is written is: a value that
    /// was made of what an invalidation made old then carries an old generation.
    pub(super) async fn generations(&self, ttl: Duration) -> Result<Vec<Tag>> {
        let mut tags = Vec::new();
        for tag in self.tags.clone()? {
            let fresh = uuid::Uuid::now_v7().simple().to_string();
            // Longer than the value's TTL, which begins later.
            let ttl = ttl.saturating_add(self.lock_ttl).min(MOST_TTL);
            let generation = self.engine.cache_tag(self.tag_key(&tag)?, fresh, ttl).await?;
            tags.push((tag, generation));
        }
        Ok(tags)
    }

    /// Lets the tags of a stored value live longer than a new TTL of it; whether none of them was invalidated.
    pub(super) async fn prolong_tags(&self, key: &str, ttl: Duration) -> Result<bool> {
        let stored = match self.engine.cache_get(key.to_owned()).await {
            // A hash, which has none.
            Err(err) if err.kind() == ErrorKind::Corrupt => None,
            stored => stored?,
        };
        let tags =
            stored.as_ref().and_then(|stored| Entry::read(&stored.text)).map_or_else(Vec::new, |entry| entry.tags);
        if tags.is_empty() {
            return Ok(true);
        }
        let of_value = Self { tags: Ok(tags.iter().map(|(tag, _)| (*tag).to_owned()).collect()), ..self.clone() };
        // A tag that was invalidated begins a generation here, another than this value's.
        let current = of_value.generations(ttl).await?;
        Ok(current.iter().zip(tags).all(|((_, current), (_, generation))| current == generation))
    }

    /// Whether these are the generations of their tags. They are read after the value was: so a value that an invalidation
    /// before that read made old is seen to be.
    pub(super) async fn are_current(&self, tags: &[(&str, &str)]) -> Result<bool> {
        for (tag, generation) in tags {
            let current = self.engine.cache_get(self.tag_key(tag)?).await.map(|text| text.map(|text| text.text));
            if self.or_miss(current, None)?.as_deref() != Some(*generation) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
