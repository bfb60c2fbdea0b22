//! How a store is, in one look that never fails.

use std::any::Any;
use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use redis::{ErrorKind as Kind, RedisError, ServerErrorKind, Value};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::LossWatch;
use crate::error::Error;
use crate::ops::Undelivered;
use crate::script;
use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::store::redis::{BreakerState, MultiplexedConnection, PoolUse, RedisStore};

/// The longest that a look takes.
const LIMIT: Duration = Duration::from_secs(2);

/// How a store is just now. What the server does not tell is `None`: managed ones often forbid `INFO` and `SCRIPT`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Which store: `redis://host:6379/0`, never with a password.
    pub store: String,
    /// Whether it serves.
    pub status: HealthStatus,
    /// Why it is not `connected`.
    pub reasons: Vec<String>,
    /// How long a `PING` took, in milliseconds.
    pub ping_ms: Option<f64>,
    /// What the server says of itself. Of a cluster it is the node that holds slot 0.
    #[serde(flatten)]
    pub server: ServerInfo,
    /// How many of the crate's scripts the server has loaded. It may be none: they are sent when they are needed.
    pub scripts: Option<LoadedScripts>,
    /// How much of the connections is in use; an embedded store has none.
    pub pool: Option<PoolUse>,
    /// When this guard noticed that the store had lost its data, in milliseconds since the epoch; `None` when it has not.
    pub data_lost_ms: Option<i64>,
    /// Whether calls are sent, or refused because nobody answers; an embedded store has no breaker.
    pub breaker: Option<BreakerState>,
    /// What was granted while the store was away and is not delivered yet.
    pub undelivered: Undelivered,
}

/// Whether a store serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HealthStatus {
    /// It serves.
    Connected,
    /// It answers, but requests may be refused or have to wait.
    Degraded,
    /// It does not answer, or refuses the login.
    Disconnected,
}

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerKind {
    /// Redis, or what says it is.
    Redis,
    /// Valkey.
    Valkey,
    /// The engine in this process.
    Embedded,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerInfo {
    /// What it is.
    pub kind: Option<ServerKind>,
    /// Its version; of an embedded store the crate's.
    pub version: Option<String>,
    /// `primary` or `replica`.
    pub role: Option<&'static str>,
    /// How long it has been running, in seconds.
    pub uptime_s: Option<u64>,
    /// The memory that it uses, in bytes.
    pub used_memory_bytes: Option<u64>,
    /// The memory that it may use, in bytes; 0 is no limit.
    pub max_memory_bytes: Option<u64>,
}

/// How many of the crate's scripts a server has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LoadedScripts {
    /// Those it has.
    pub loaded: usize,
    /// All there are.
    pub known: usize,
}

impl Health {
    pub(crate) async fn of(store: &dyn Store, loss: Option<&LossWatch>) -> Self {
        let mut health = Self {
            store: store.describe(),
            status: HealthStatus::Connected,
            reasons: Vec::new(),
            ping_ms: None,
            server: ServerInfo::default(),
            scripts: None,
            pool: None,
            data_lost_ms: None,
            breaker: None,
            undelivered: Undelivered::default(),
        };
        let deadline = Instant::now() + LIMIT;
        let any: &dyn Any = store;
        if let Some(store) = any.downcast_ref::<RedisStore>() {
            health.look(store, deadline).await;
        } else if any.is::<Embedded>() {
            let known = script::all().len();
            health.scripts = Some(LoadedScripts { loaded: known, known });
            health.server.kind = Some(ServerKind::Embedded);
            health.server.version = Some(env!("CARGO_PKG_VERSION").to_owned());
            health.server.role = Some("primary");
        }
        if let Some(loss) = loss {
            if health.status == HealthStatus::Connected {
                let _ = timeout_at(deadline, loss.look_at_all()).await;
            }
            health.data_lost_ms = loss.noticed_ms();
        }
        if health.data_lost_ms.is_some() {
            health.degrade("it has lost its data: budgets have counted from zero since then".to_owned());
        }
        health
    }

    pub(crate) fn with_undelivered(mut self, undelivered: Undelivered) -> Self {
        self.undelivered = undelivered;
        if undelivered.depth > 0 && self.status == HealthStatus::Connected {
            self.degrade(format!("{} grants made without the store wait to be delivered", undelivered.depth));
        }
        self
    }

    async fn look(&mut self, store: &RedisStore, deadline: Instant) {
        let connection = store.raw_by(deadline).await;
        let pool = store.usage();
        self.pool = Some(pool);
        self.breaker = Some(store.breaker());
        // From four fifths on a burst would have to wait.
        if pool.calls * 5 >= pool.calls_most * 4 && pool.calls_most > 0 {
            self.degrade(format!("{} of {} calls at a time are under way", pool.calls, pool.calls_most));
        }
        match connection {
            Ok(mut connection) => self.ask(&mut connection, deadline).await,
            Err(err) if is_loading(&err) => self.degrade(err.to_string()),
            Err(err) => self.disconnect(err.to_string()),
        }
    }

    async fn ask(&mut self, connection: &mut MultiplexedConnection, deadline: Instant) {
        let sent_at = Instant::now();
        match timeout_at(deadline, redis::cmd("PING").query_async::<Value>(connection)).await {
            Err(_) => return self.disconnect(format!("no answer to PING within {} seconds", LIMIT.as_secs())),
            Ok(Err(err)) if err.is_io_error() => return self.disconnect(format!("the connection broke: {err}")),
            // An answer as well: the user lacks the right to PING, and PING alone.
            Ok(Err(err)) if err.kind() == Kind::Server(ServerErrorKind::NoPerm) => {}
            Ok(Err(err)) => self.degrade(format!("PING is answered with {err}")),
            Ok(Ok(_)) => {}
        }
        self.ping_ms = Some(sent_at.elapsed().div_duration_f64(Duration::from_millis(1)));
        match timeout_at(deadline, redis::cmd("INFO").query_async::<String>(connection)).await {
            Ok(Ok(info)) => self.read(&fields(&info)),
            // Forbidden: the server serves nevertheless.
            Ok(Err(_)) => {}
            Err(_) => self.degrade("no answer to INFO in time".to_owned()),
        }
        if let Ok(Ok(scripts)) = timeout_at(deadline, loaded_scripts(connection)).await {
            self.scripts = Some(scripts);
        }
    }

    fn read(&mut self, info: &HashMap<&str, &str>) {
        self.server = ServerInfo::read(info);
        let is = |name, value| info.get(name) == Some(&value);
        if is("loading", "1") {
            self.degrade("it is loading its data".to_owned());
        }
        if is("role", "slave") && !is("slave_read_only", "0") {
            self.degrade("it is a replica, which refuses writes: connect to the primary".to_owned());
        }
        if is("rdb_last_bgsave_status", "err") || is("aof_last_write_status", "err") {
            self.degrade("it could not save its data, and may refuse writes: see its log and its disk".to_owned());
        }
        let (used, most) = (self.server.used_memory_bytes, self.server.max_memory_bytes);
        if let (Some(used), Some(most @ 1..)) = (used, most) {
            // Buffers of replicas and of the append-only file are no reason to refuse anything.
            let uncounted = info.get("mem_not_counted_for_evict").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
            let evicts = info.get("maxmemory_policy").is_some_and(|policy| *policy != "noeviction");
            if used.saturating_sub(uncounted) >= most {
                let then = if evicts { "it evicts keys" } else { "it refuses writes" };
                self.degrade(format!("its memory is full, {used} of {most} bytes, and {then}: raise maxmemory"));
            } else if used / 9 >= most / 10 {
                self.degrade(format!("its memory is nearly full: {used} of {most} bytes"));
            }
        }
    }

    fn degrade(&mut self, reason: String) {
        if self.status == HealthStatus::Connected {
            self.status = HealthStatus::Degraded;
        }
        self.reasons.push(reason);
    }

    fn disconnect(&mut self, reason: String) {
        self.status = HealthStatus::Disconnected;
        self.reasons.push(reason);
    }
}

impl ServerInfo {
    fn read(info: &HashMap<&str, &str>) -> Self {
        let number = |name| info.get(name).and_then(|value| value.parse().ok());
        let (kind, version) = match info.get("valkey_version") {
            Some(version) => (Some(ServerKind::Valkey), Some(version)),
            None => {
                let version = info.get("redis_version");
                (version.map(|_| ServerKind::Redis), version)
            }
        };
        let role = match info.get("role") {
            Some(&"master") => Some("primary"),
            Some(&"slave") => Some("replica"),
            _ => None,
        };
        Self {
            kind,
            version: version.map(ToString::to_string),
            role,
            uptime_s: number("uptime_in_seconds"),
            used_memory_bytes: number("used_memory"),
            max_memory_bytes: number("maxmemory"),
        }
    }
}

/// The lines `name:value` of `INFO`.
fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.split_once(':')).collect()
}

/// A script counts by either of its names: with `#!lua`, or as servers before Redis 7 know it.
async fn loaded_scripts(connection: &mut MultiplexedConnection) -> Result<LoadedScripts, RedisError> {
    let mut command = redis::cmd("SCRIPT");
    command.arg("EXISTS");
    for script in script::all() {
        command.arg(script.sha1()).arg(script.plain_sha1());
    }
    let exist: Vec<i64> = command.query_async(connection).await?;
    let loaded = exist.chunks(2).filter(|names| names.contains(&1)).count();
    Ok(LoadedScripts { loaded, known: script::all().len() })
}

/// A server that is loading its data is there, and says so to whoever connects.
fn is_loading(err: &Error) -> bool {
    let cause = err.source().and_then(|cause| cause.downcast_ref::<RedisError>());
    cause.is_some_and(|cause| cause.kind() == Kind::Server(ServerErrorKind::BusyLoading))
}
