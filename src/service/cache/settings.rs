//! What a cache is told once, and what its keys are.

use std::sync::Arc;
use std::time::Duration;

use super::{Cache, CacheFormat, Counts};
use crate::error::{Error, Result};
use crate::model::{encode, encode_key, encode_tag};
use crate::ops::Engine;

/// What a cache does when it cannot do what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnTrouble {
    /// A read finds nothing, a write does nothing; both are counted and logged.
    #[default]
    Miss,
    /// The call fails.
    Fail,
}

impl Cache {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Self {
        let start = encode("cache name", name).and_then(|encoded| {
            // What follows it in keys of locks and tags.
            if encoded.contains('#') {
                return Err(Error::invalid(format!("the cache name {name:?} has a #; name it without")));
            }
            Ok(format!("{}{encoded}", engine.prefix))
        });
        Self {
            engine,
            start,
            ttl: Duration::from_secs(3600),
            most_bytes: 1 << 20,
            format: CacheFormat::Json,
            lock_ttl: Duration::from_secs(30),
            beta: 1.0,
            none_ttl: None,
            away: OnTrouble::Miss,
            undecodable: OnTrouble::Miss,
            tags: Ok(Vec::new()),
            counts: Arc::new(Counts::default()),
        }
    }

    /// How long values live where nothing else is said: from a millisecond to 366 days. Default: an hour.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The largest value that is stored, in bytes as it is written. Default: 1 MiB.
    #[must_use]
    pub fn most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// How values are written; all that share a cache's name must agree. Default: JSON.
    #[must_use]
    pub fn format(mut self, format: CacheFormat) -> Self {
        self.format = format;
        self
    }

    /// How long one may compute a value before another one does: longer than it takes. Default: 30 seconds.
    #[must_use]
    pub fn lock_ttl(mut self, lock_ttl: Duration) -> Self {
        self.lock_ttl = lock_ttl;
        self
    }

    /// How eagerly a value is computed anew before it ends: 1 is right for most, more is earlier, 0 never; see
    /// [`get_or_compute`](Self::get_or_compute). Default: 1.
    #[must_use]
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.beta = if beta.is_finite() { beta.max(0.0) } else { 0.0 };
        self
    }

    /// Remembers for this long that there is nothing: what [`get_or_find`](Self::get_or_find) does not find is not looked for
    /// again before. Default: not at all.
    #[must_use]
    pub fn remember_none(mut self, ttl: Duration) -> Self {
        self.none_ttl = Some(ttl);
        self
    }

    /// What to do while the store is away. Default: reads are misses, writes do nothing, and what is to be computed is. A
    /// value that is deleted or invalidated is an error in any case: it would come back.
    #[must_use]
    pub fn when_away(mut self, choice: OnTrouble) -> Self {
        self.away = choice;
        self
    }

    /// What to do with a value that is of another type than asked for. Default: it is a miss.
    #[must_use]
    pub fn when_undecodable(mut self, choice: OnTrouble) -> Self {
        self.undecodable = choice;
        self
    }

    /// The same cache, whose values get these tags when they are stored or computed: see
    /// [`invalidate_tag`](Self::invalidate_tag). Each costs a call more when a value is written, and when it is read.
    #[must_use]
    pub fn tagged(&self, tags: &[&str]) -> Self {
        const MOST_TAGS: usize = 16;
        let encoded = if tags.len() > MOST_TAGS {
            Err(Error::invalid(format!("a value has {MOST_TAGS} tags at most, not {}", tags.len())))
        } else {
            tags.iter().map(|tag| encode_tag(tag)).collect()
        };
        Self { tags: encoded, ..self.clone() }
    }

    /// The keys of a value and of the lock under which it is computed: in one slot.
    pub(super) fn keys(&self, key: &str) -> Result<[String; 2]> {
        let (start, key) = (self.start.as_ref().map_err(Clone::clone)?, encode_key(key)?);
        Ok([format!("{start}:{{{key}}}"), format!("{start}#lock:{{{key}}}")])
    }

    pub(super) fn value_key(&self, key: &str) -> Result<String> {
        let [value, _] = self.keys(key)?;
        Ok(value)
    }

    /// The key of a tag, which is encoded.
    pub(super) fn tag_key(&self, tag: &str) -> Result<String> {
        let start = self.start.as_ref().map_err(Clone::clone)?;
        Ok(format!("{start}#tag:{{{tag}}}"))
    }
}
