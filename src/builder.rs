//! The settings of a guard.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guard::CostGuard;
use crate::model::{Outage, encode_prefix};
use crate::ops::{Away, Engine, MOST_TTL};
use crate::service::Denials;
use crate::store::embedded::Embedded;
use crate::store::redis::{RedisConfig, RedisStore, Target};
use crate::store::{Clock, Durability, Store, SystemClock};

/// Settings of a [`CostGuard`].
#[derive(Clone, Debug)]
pub struct Builder {
    prefix: String,
    retention: Duration,
    receipt_ttl: Duration,
    clock: Arc<dyn Clock>,
    denial_cache: usize,
    outage: Outage,
    outage_queue: usize,
    outage_file: Option<PathBuf>,
    durability: Option<Durability>,
    trace_keys: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            prefix: String::new(),
            retention: hours(48),
            receipt_ttl: hours(24),
            clock: Arc::new(SystemClock),
            denial_cache: 0,
            outage: Outage::Deny,
            outage_queue: 10_000,
            outage_file: None,
            durability: None,
            trace_keys: false,
        }
    }
}

impl Builder {
    /// What every key begins with: `app:` makes `app:cost:{acme}:…`. Default: nothing.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How long a counter outlives its window. Zero keeps it until the window ends. Default: 48 hours.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long an operation id is remembered, so that a repeat does nothing. Default: 24 hours.
    #[must_use]
    pub fn receipt_ttl(mut self, receipt_ttl: Duration) -> Self {
        self.receipt_ttl = receipt_ttl;
        self
    }

    /// The clock by which windows are named before the store is asked. It need not be right: the store's clock decides,
    /// and the guard learns from it. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Remembers up to so many denials in this process, so that who asks again before the window ends costs no round trip. Only
    /// denials that no release, settlement, raise or expiry can lift: by a limit that is [`fixed`](crate::Limit::fixed), over a
    /// calendar window or every N seconds, that what is used already leaves no room for. What another process corrects by
    /// hand or refunds is seen when the window ends; a store that has lost its data within seconds. Default: 0, none.
    #[must_use]
    pub fn denial_cache(mut self, capacity: usize) -> Self {
        self.denial_cache = capacity;
        self
    }

    /// What becomes of requests while the store is away, where a request does not say otherwise. Default: [`Outage::Deny`].
    ///
    /// With another than that the guard also comes up while the store is away: it connects [lazily](RedisConfig::lazy),
    /// whatever the configuration says, and only settings that cannot work are an error. A server that lets nobody in, for
    /// its password is another, is away as well: the log and [`CostGuard::health`] say why.
    #[must_use]
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// How much that was granted without the store may wait to be delivered. When it is full requests fail: nothing is
    /// granted that could be lost. A hold keeps a place as long as it is open. Default: 10,000.
    #[must_use]
    pub fn outage_queue(mut self, most: usize) -> Self {
        self.outage_queue = most;
        self
    }

    /// Keeps what waits to be delivered in this file too, so that it survives the end of the process, be it `kill -9`: a line
    /// is written before the request is answered, and brought to the disk about once a second. The next guard on the file
    /// delivers it, from when it is made, or from its first `admit`, `charge` or `reserve` where that is outside of a tokio
    /// runtime. Each guard needs a file of its own. Default: none, and what is undelivered ends with the guard.
    #[must_use]
    pub fn outage_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.outage_file = Some(path.into());
        self
    }

    /// Lets charges and settlements wait until replicas have them, those of dropped holds too. Each can say otherwise. Default:
    /// they do not wait.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Shows the first key of each call in the `tracing` spans, and with it the ids of users. Spans are called `costguard`,
    /// are of level debug, and have `script`, `outcome` and, where it was more than one, `attempts`. Default: no keys.
    #[must_use]
    pub fn trace_keys(mut self, show: bool) -> Self {
        self.trace_keys = show;
        self
    }

    /// A guard on the server at `url`: `redis://user:password@host:6379/0`, or `memory:` for an embedded store.
    /// [`RedisConfig::from_url`] says what else a URL may be.
    ///
    /// # Errors
    /// `Invalid` when the URL is none, `Unavailable` when no server answers there.
    pub async fn connect(self, url: &str) -> Result<CostGuard> {
        if url == "memory:" {
            return self.embedded();
        }
        self.connect_with(&RedisConfig::from_url(url)?).await
    }

    /// A guard on what the environment names: `REDIS_URL`, or `REDIS_HOST` and its kin; `.env.example` explains them all.
    /// Where they name nothing this is an error; an embedded store is taken only for `memory:`.
    ///
    /// # Errors
    /// As [`RedisConfig::from_env`] and [`connect_with`](Self::connect_with).
    pub async fn connect_from_env(self) -> Result<CostGuard> {
        match Target::from_env()? {
            Target::Memory => self.embedded(),
            Target::Server(config) => self.connect_with(&config).await,
        }
    }

    /// A guard on the server that `config` describes.
    ///
    /// # Errors
    /// `Invalid` when the settings cannot work, or name another prefix than this builder; `Unavailable` when no server
    /// answers, and neither the configuration is lazy nor [`outage`](Self::outage) other than to deny.
    pub async fn connect_with(mut self, config: &RedisConfig) -> Result<CostGuard> {
        if let Some(prefix) = &config.key_prefix {
            // Another prefix is another set of budgets, all of them at zero: nothing to guess about.
            if !self.prefix.is_empty() && self.prefix != *prefix {
                return Err(Error::invalid(format!(
                    "the key prefix is {prefix:?} by its configuration (REDIS_KEY_PREFIX) and {:?} in code: set one of them",
                    self.prefix
                )));
            }
            prefix.clone_into(&mut self.prefix);
        }
        // What goes on without the store begins without it, too.
        let lazy = (self.outage != Outage::Deny).then(|| config.clone().lazy(true));
        let store = RedisStore::connect_with(lazy.as_ref().unwrap_or(config)).await?;
        self.store(Arc::new(store))
    }

    /// A guard on an embedded store of its own, in this process. What it holds ends with it.
    ///
    /// # Errors
    /// `Invalid` when the settings are out of bounds.
    pub fn embedded(self) -> Result<CostGuard> {
        let store = Embedded::builder().clock(self.clock.clone()).build();
        self.store(Arc::new(store))
    }

    /// A guard on any store, which may be shared by several guards.
    ///
    /// # Errors
    /// `Invalid` when the settings are out of bounds; `Io` and `Corrupt` when the file of [`outage_file`](Self::outage_file)
    /// cannot be used.
    pub fn store(self, store: Arc<dyn Store>) -> Result<CostGuard> {
        if self.retention > MOST_TTL || self.receipt_ttl > MOST_TTL || self.receipt_ttl < Duration::from_millis(1) {
            return Err(Error::invalid(
                "retention and receipt_ttl are at most a year, and receipt_ttl is at least 1 ms",
            ));
        }
        let prefix = encode_prefix(&self.prefix)?;
        let mut engine = Engine::new(store, prefix, self.retention, self.receipt_ttl, self.clock);
        engine.durability = self.durability;
        engine.trace_keys = self.trace_keys;
        engine.denials = (self.denial_cache > 0).then(|| Denials::new(self.denial_cache, engine.loss.clone()));
        engine.away = Some(match &self.outage_file {
            Some(file) => Away::with_file(&engine, self.outage, self.outage_queue, file)?,
            None => Away::in_memory(&engine, self.outage, self.outage_queue),
        });
        let engine = Arc::new(engine);
        if let Some(away) = &engine.away {
            away.deliver(&engine);
        }
        Ok(CostGuard { engine })
    }
}

/// A guard with default settings on an embedded store: with these nothing can fail.
pub(crate) fn embedded_by_default() -> CostGuard {
    let Builder { prefix, retention, receipt_ttl, clock, outage, outage_queue, .. } = Builder::default();
    let store = Arc::new(Embedded::builder().clock(clock.clone()).build());
    let mut engine = Engine::new(store, prefix, retention, receipt_ttl, clock);
    engine.away = Some(Away::in_memory(&engine, outage, outage_queue));
    CostGuard { engine: Arc::new(engine) }
}
