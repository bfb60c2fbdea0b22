//! Scripts on a Redis or Valkey server.

mod breaker;
mod cluster;
mod config;
mod dial;
mod failure;
mod pool;
mod reply;
mod route;
mod sentinel;
mod silence;
mod slot;
mod tls;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
pub use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use self::breaker::BreakerState;
use self::breaker::Breakers;
pub(crate) use self::config::Target;
pub use self::config::{RedisConfig, Tls};
use self::failure::{CallError, Failure};
use self::pool::Message;
pub use self::pool::PoolUse;
use self::route::{Route, Server};
use super::{Durability, DurableFuture, Keys, KeysFuture, Reply, RunFuture, ScriptCall, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics;
use crate::script::Script;

/// The first and the longest pause before a call that may be sent again is.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How many keys one SCAN looks at: about a millisecond of the server's time.
const SCAN_COUNT: usize = 1000;

/// One server, the primary that sentinels name, or a cluster, over pools of multiplexed connections that reconnect by themselves.
pub struct RedisStore {
    route: Arc<Route>,
    breakers: Arc<Breakers>,
    address: String,
    call_timeout: Duration,
    /// Set when the server turns out not to know `#!lua`: a Redis before 7.
    plain: AtomicBool,
    /// Connections of their own for calls that wait for replicas, which hold up whatever is behind them.
    waiting: OnceCell<Route>,
    waiting_config: RedisConfig,
}

impl RedisStore {
    /// Connects to the server at `url`; [`RedisConfig::from_url`] says what it may hold.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(&RedisConfig::from_url(url)?).await
    }

    /// Connects as `config` says. A [lazy](RedisConfig::lazy) store is there at once and connects in the background.
    ///
    /// # Errors
    /// `Invalid` when the settings cannot work, `Unavailable` when no server answers.
    pub async fn connect_with(config: &RedisConfig) -> Result<Self> {
        let address = config.to_string();
        if config.tls.as_ref().is_some_and(|tls| tls.insecure) {
            tracing::warn!(
                store = address,
                "certificates are NOT verified: whoever answers can read and change everything; use COSTGUARD_TLS_CA to \
                 trust a private CA instead"
            );
        }
        let route = Arc::new(Route::open(config).await?);
        let breakers = Arc::new(Breakers::new(config.breaker_failures, config.reconnect_base));
        let (call_timeout, plain) = (config.deadline_after(), AtomicBool::new(false));
        // Whoever needs them first waits for a connection as any call does: until its deadline, and beside the others.
        let waiting_config = RedisConfig { calls_per_connection: 1, lazy: true, ..config.clone() };
        Ok(Self { route, breakers, address, call_timeout, plain, waiting: OnceCell::new(), waiting_config })
    }

    /// An open connection for anything else that this server should do, job queues for one: it is shared with this store,
    /// so no blocking commands, no `SELECT`, `SUBSCRIBE` or `WATCH`. It does not reconnect; ask for it each time. Of a
    /// cluster it is the node that holds slot 0: see [`raw_for`](Self::raw_for).
    ///
    /// # Errors
    /// `Unavailable` when no server answers in time.
    pub async fn raw(&self) -> Result<MultiplexedConnection> {
        self.raw_by(self.deadline()).await
    }

    /// The same with another deadline than that of calls.
    pub(crate) async fn raw_by(&self, deadline: Instant) -> Result<MultiplexedConnection> {
        // `{06S}` is the shortest tag whose slot is 0.
        Ok(self.route.connection("{06S}", deadline).await?)
    }

    /// How much of the pool is in use just now.
    #[must_use]
    pub fn usage(&self) -> PoolUse {
        self.route.usage()
    }

    /// Whether calls are sent, or refused because nobody answers.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.breakers.state()
    }

    /// The same, to the node of a cluster that holds `key` now. It does not follow the key when that moves.
    ///
    /// # Errors
    /// As [`raw`](Self::raw).
    pub async fn raw_for(&self, key: &str) -> Result<MultiplexedConnection> {
        Ok(self.route.connection(key, self.deadline()).await?)
    }

    /// A connection to every server that holds keys of its own, and where it is: one, or each primary of a cluster as it is now.
    ///
    /// # Errors
    /// As [`raw`](Self::raw).
    pub async fn raw_all(&self) -> Result<Vec<(String, MultiplexedConnection)>> {
        let deadline = self.deadline();
        let mut connections = Vec::new();
        for server in self.route.primaries(deadline).await? {
            let address = server.address().map_or_else(|| self.address.clone(), ToString::to_string);
            connections.push((address, server.connection(deadline).await?));
        }
        Ok(connections)
    }

    /// Loads a script into every server and checks that it names it as we do. Loading again changes nothing.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn load(&self, script: &Script) -> Result<String> {
        for server in self.route.primaries(self.deadline()).await? {
            let loaded = match self.load_text(&server, script.text()).await {
                Err(err) if err.knows_no_shebang() => {
                    self.plain.store(true, Ordering::Relaxed);
                    self.load_text(&server, script.plain_text()).await
                }
                loaded => loaded,
            };
            match loaded.map_err(|err| err.error(&self.address, true))? {
                Value::BulkString(sha1) if sha1 == self.sha1(script).as_bytes() => {}
                other => {
                    return Err(Error::new(
                        ErrorKind::Store,
                        format!(
                            "{} loaded `{}` under another name than its SHA-1: {other:?}",
                            self.address,
                            script.name()
                        ),
                    ));
                }
            }
        }
        Ok(self.sha1(script).to_owned())
    }

    async fn load_text(&self, server: &Server<'_>, text: &str) -> Result<Value, CallError> {
        server.send(redis::cmd("SCRIPT").arg("LOAD").arg(text), self.deadline()).await
    }

    /// Whether every server has the script in its cache. One on which only `EVALSHA` is allowed can tell, too.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn has(&self, script: &Script) -> Result<bool> {
        for server in self.route.primaries(self.deadline()).await? {
            if !self.is_on(&server, script).await.map_err(|err| err.error(&self.address, true))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_on(&self, server: &Server<'_>, script: &Script) -> Result<bool, CallError> {
        // Called without keys and arguments every script stops before it touches anything.
        for sha1 in [script.sha1(), script.plain_sha1()] {
            match server.send(redis::cmd("EVALSHA").arg(sha1).arg(0), self.deadline()).await {
                Err(err) if err.is_noscript() => {}
                Err(err) if err.script_answer().is_none() => return Err(err),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The name that `key` holds; where it holds none it gets this one, until nobody has asked for so long.
    pub(crate) async fn name_by(&self, key: &str, name: &str, ttl: Duration) -> Result<String> {
        let ttl_s = ttl.as_secs();
        let (slot, deadline) = (self.route.slot_of(&[key.to_owned()])?, self.deadline());
        let mut ask = redis::cmd("GETEX");
        ask.arg(key).arg("EX").arg(ttl_s);
        let mut give = redis::cmd("SET");
        give.arg(key).arg(name).arg("NX").arg("EX").arg(ttl_s);
        // Whoever comes first gives the name; asking again tells who that was.
        for command in [&ask, &give, &ask] {
            let value = self.route.send(slot, Message::new(command), deadline).await;
            if let Value::BulkString(known) = value.map_err(|err| err.error(&self.address, true))? {
                return Ok(String::from_utf8_lossy(&known).into_owned());
            }
        }
        Err(Error::new(ErrorKind::Store, format!("{key} is gone as soon as it is written; is it evicted?")))
    }

    /// Hash tags of which every node that holds a sixteenth of the slots in one piece has one; where there are no slots, one.
    pub(crate) fn node_tags(&self) -> Vec<String> {
        match *self.route {
            Route::Pool(_) => vec!["0".to_owned()],
            Route::Cluster(_) => slot::spread_tags(),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.call_timeout
    }

    fn sha1<'a>(&self, script: &'a Script) -> &'a str {
        if self.plain.load(Ordering::Relaxed) { script.plain_sha1() } else { script.sha1() }
    }

    /// EVALSHA, and EVAL when the server does not have the script: after a restart, a failover, a flush.
    async fn evaluate(&self, way: Way<'_>, call: &ScriptCall, deadline: Instant) -> Result<Value, CallError> {
        let command = eval("EVALSHA", self.sha1(call.script), call);
        match way.send(&command, deadline).await {
            // Boxed, like all that is rare, to keep small what every call carries.
            Err(err) if err.is_noscript() => Box::pin(self.evaluate_text(way, call, deadline)).await,
            result => result,
        }
    }

    async fn evaluate_text(&self, way: Way<'_>, call: &ScriptCall, deadline: Instant) -> Result<Value, CallError> {
        metrics::SCRIPT_LOADS.count([call.script.name()]);
        tracing::debug!(script = call.script.name(), "the server does not have the script; sending its text");
        if !self.plain.load(Ordering::Relaxed) {
            match way.send(&eval("EVAL", call.script.text(), call), deadline).await {
                Err(err) if err.knows_no_shebang() => self.plain.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        way.send(&eval("EVAL", call.script.plain_text(), call), deadline).await
    }

    async fn scan(&self, prefix: &str, most: usize) -> Result<Keys, CallError> {
        let pattern = format!("{}*", escape_glob(prefix));
        let mut names = BTreeSet::new();
        for server in self.route.primaries(self.deadline()).await? {
            let mut cursor = 0;
            loop {
                let mut command = redis::cmd("SCAN");
                command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
                let page = server.send(&command, self.deadline()).await?;
                let page: (u64, Vec<Vec<u8>>) = redis::from_redis_value(page).map_err(redis::RedisError::from)?;
                cursor = page.0;
                // A name that is not UTF-8 is none that we gave.
                names.extend(page.1.into_iter().filter_map(|name| String::from_utf8(name).ok()));
                if cursor == 0 || names.len() > most {
                    break;
                }
            }
        }
        let complete = names.len() <= most;
        Ok(Keys { names: names.into_iter().take(most).collect(), complete })
    }

    async fn run_call(&self, call: &ScriptCall) -> Result<Reply> {
        let way = Way { route: &self.route, slot: self.route.slot_of(&call.keys)?, wait: None };
        match self.run_on(way, call).await? {
            Ok(value) => reply::read(value),
            Err(text) => Ok(Reply::Error(text)),
        }
    }

    async fn run_waiting(&self, call: &ScriptCall, wait: Durability) -> Result<(Reply, u64)> {
        let open = || Route::open(&self.waiting_config);
        let route = self.waiting.get_or_try_init(open).await?;
        let way = Way { route, slot: route.slot_of(&call.keys)?, wait: Some(wait) };
        match self.run_on(way, call).await? {
            Ok(Value::Array(mut both)) if both.len() == 2 => {
                let replicas = both.pop().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or(0);
                Ok((reply::read(both.pop().unwrap_or(Value::Nil))?, replicas))
            }
            Ok(value) => Ok((reply::read(value)?, 0)),
            Err(text) => Ok((Reply::Error(text), 0)),
        }
    }

    /// The server's answer, or the error that the script answered with.
    async fn run_on(&self, way: Way<'_>, call: &ScriptCall) -> Result<Result<Value, String>> {
        if let Err(refused) = self.breakers.check(way.slot) {
            // Whoever tries again at once leaves the runtime to the probe.
            tokio::task::yield_now().await;
            return Err(refused.into());
        }
        let began = Instant::now();
        let deadline = began + self.call_timeout + way.patience();
        let answered = match self.evaluate(way, call, deadline).await {
            Ok(value) => Ok(value),
            Err(err) => Box::pin(self.repeat(way, call, deadline, err)).await,
        };
        match answered {
            Err(err) if !err.is_answer() => {
                self.breakers.failed(way.slot, began, &err, &self.route);
                Err(err.error(&self.address, call.idempotent))
            }
            answered => {
                self.breakers.answered(way.slot);
                match answered {
                    Ok(value) => Ok(Ok(value)),
                    Err(err) => match err.failure() {
                        Failure::Answered(text) => Ok(Err(text)),
                        _ => Err(err.error(&self.address, call.idempotent)),
                    },
                }
            }
        }
    }

    /// The call again where that is safe, until the deadline.
    async fn repeat(
        &self,
        way: Way<'_>,
        call: &ScriptCall,
        deadline: Instant,
        mut err: CallError,
    ) -> Result<Value, CallError> {
        let (mut pauses, mut attempts, mut broken) = (retries(), 1_u64, None);
        loop {
            let may_repeat = match err.failure() {
                Failure::Answered(_) | Failure::Final => false,
                // Refused before anything happened: sending it again is the first time.
                Failure::Passing => true,
                Failure::Unreachable => way.route.may_move(),
                // It may have happened. Only what happens once however often it is sent is sent again.
                Failure::Broken => call.idempotent,
            };
            let pause = pauses.next().unwrap_or(RETRY_AFTER.1);
            if matches!(err.failure(), Failure::Broken) {
                broken = Some(err.clone());
            }
            if !may_repeat || Instant::now() + pause >= deadline {
                // That a later attempt was not sent, or refused, says nothing of the one that may have happened.
                return Err(match err.failure() {
                    Failure::Answered(_) => err,
                    _ => broken.unwrap_or(err),
                });
            }
            tracing::warn!(script = call.script.name(), error = %err, "the call failed; sending it again");
            tokio::time::sleep(pause).await;
            way.route.relearn(deadline).await;
            attempts += 1;
            tracing::Span::current().record("attempts", attempts);
            metrics::RETRIES.count([call.script.name()]);
            match self.evaluate(way, call, deadline).await {
                Ok(value) => return Ok(value),
                Err(again) => err = again,
            }
        }
    }
}

/// Where a call goes, and whether it waits there for replicas.
#[derive(Clone, Copy)]
struct Way<'a> {
    route: &'a Route,
    slot: usize,
    wait: Option<Durability>,
}

impl Way<'_> {
    fn patience(self) -> Duration {
        self.wait.map_or(Duration::ZERO, Durability::timeout)
    }

    async fn send(self, command: &Cmd, deadline: Instant) -> Result<Value, CallError> {
        self.route.send(self.slot, Message::new(command).waiting(self.wait), deadline).await
    }
}

fn retries() -> impl Iterator<Item = Duration> + Send {
    let (first, longest) = RETRY_AFTER;
    let pauses = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).with_factor(3.0);
    pauses.without_max_times().with_jitter().build()
}

impl Store for RedisStore {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        Box::pin(self.run_call(call))
    }

    fn run_durably<'a>(&'a self, call: &'a ScriptCall, durability: Durability) -> DurableFuture<'a> {
        Box::pin(self.run_waiting(call, durability))
    }

    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a> {
        Box::pin(async move { self.scan(prefix, most).await.map_err(|err| err.error(&self.address, true)) })
    }

    fn describe(&self) -> String {
        self.address.clone()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Text that as a pattern matches itself only.
pub(crate) fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn eval(command: &str, script: &str, call: &ScriptCall) -> Cmd {
    let words = || call.keys.iter().chain(&call.args);
    // Room for all of it at once; 20 digits are the longest number of keys.
    let bytes = command.len() + script.len() + 20 + words().map(String::len).sum::<usize>();
    let mut eval = Cmd::with_capacity(3 + words().count(), bytes);
    eval.arg(command).arg(script).arg(call.keys.len());
    for word in words() {
        eval.arg(word);
    }
    eval
}
