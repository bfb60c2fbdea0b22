//! Scripts on a Redis or Valkey server.

mod failure;
mod reply;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, RedisError, Value};

use self::failure::Failure;
use super::{Reply, RunFuture, ScriptCall, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::script::Script;

/// How long a connection may take to open, and a reply to come.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a call that may be sent again is sent, and the pauses between.
const RETRY_AFTER: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(150), Duration::from_millis(1000)];

/// One server, over one multiplexed connection that reconnects by itself.
pub struct RedisStore {
    connection: ConnectionManager,
    address: String,
    /// Set when the server turns out not to know `#!lua`: a Redis before 7.
    plain: AtomicBool,
}

impl RedisStore {
    /// Connects to the server at `url`: `redis://user:password@host:6379/0`, `redis+unix:///path`.
    ///
    /// # Errors
    /// `Invalid` when the URL is none, `Unavailable` when no server answers there.
    pub async fn connect(url: &str) -> Result<Self> {
        // The URL may hold a password, so no message repeats it.
        let client = Client::open(url).map_err(|err| {
            Error::invalid(format!(
                "this is no Redis URL: write redis://[[user]:password@]host[:6379][/0], or memory: ({})",
                err.category()
            ))
        })?;
        let address = address(&client);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(2);
        let connection = ConnectionManager::new_with_config(client, config).await.map_err(|err| {
            Error::with_source(
                ErrorKind::Unavailable,
                format!("no Redis answers at {address} ({err}); start one there, or check host, port and password"),
                err,
            )
        })?;
        Ok(Self { connection, address, plain: AtomicBool::new(false) })
    }

    /// Loads a script and checks that the server names it as we do. Loading again changes nothing.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn load(&self, script: &Script) -> Result<String> {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script.text());
        let loaded = match self.send(&command).await {
            Err(err) if failure::knows_no_shebang(&err) => {
                self.plain.store(true, Ordering::Relaxed);
                self.send(redis::cmd("SCRIPT").arg("LOAD").arg(script.plain_text())).await
            }
            loaded => loaded,
        };
        match loaded.map_err(|err| failure::error(&err, &self.address, true))? {
            Value::BulkString(sha1) if sha1 == self.sha1(script).as_bytes() => Ok(self.sha1(script).to_owned()),
            other => Err(Error::new(
                ErrorKind::Store,
                format!("{} loaded `{}` under another name than its SHA-1: {other:?}", self.address, script.name()),
            )),
        }
    }

    /// Whether the server has the script in its cache. A server on which only `EVALSHA` is allowed can tell, too.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn has(&self, script: &Script) -> Result<bool> {
        // Called without keys and arguments every script stops before it touches anything.
        for sha1 in [script.sha1(), script.plain_sha1()] {
            match self.send(redis::cmd("EVALSHA").arg(sha1).arg(0)).await {
                Err(err) if failure::is_noscript(&err) => {}
                Err(err) if failure::script_answer(&err).is_none() => {
                    return Err(failure::error(&err, &self.address, true));
                }
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        // A raw reply is a value also where the server answered with an error.
        self.connection.clone().req_packed_command(command).await?.extract_error()
    }

    fn sha1<'a>(&self, script: &'a Script) -> &'a str {
        if self.plain.load(Ordering::Relaxed) { script.plain_sha1() } else { script.sha1() }
    }

    /// EVALSHA, and EVAL when the server does not have the script: after a restart, a failover, a flush.
    async fn evaluate(&self, call: &ScriptCall) -> Result<Value, RedisError> {
        let result = self.send(&eval("EVALSHA", self.sha1(call.script), call)).await;
        match result {
            Err(err) if failure::is_noscript(&err) => {}
            result => return result,
        }
        tracing::debug!(script = call.script.name(), "the server does not have the script; sending its text");
        if !self.plain.load(Ordering::Relaxed) {
            match self.send(&eval("EVAL", call.script.text(), call)).await {
                Err(err) if failure::knows_no_shebang(&err) => self.plain.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        self.send(&eval("EVAL", call.script.plain_text(), call)).await
    }

    async fn run_call(&self, call: &ScriptCall) -> Result<Reply> {
        let mut retries = RETRY_AFTER.iter();
        loop {
            let err = match self.evaluate(call).await {
                Ok(value) => return reply::read(value),
                Err(err) => err,
            };
            match failure::of(&err) {
                Failure::Answered(text) => return Ok(Reply::Error(text)),
                // Not sent, or refused before anything happened: sending it again is the first time.
                Failure::Passing => {}
                // It may have happened. Only what happens once however often it is sent is sent again.
                Failure::Broken if call.idempotent => {}
                Failure::Broken | Failure::Final => return Err(failure::error(&err, &self.address, call.idempotent)),
            }
            let Some(pause) = retries.next() else {
                return Err(failure::error(&err, &self.address, call.idempotent));
            };
            tracing::warn!(script = call.script.name(), error = %err, "the call failed; sending it again");
            tokio::time::sleep(*pause).await;
        }
    }
}

impl Store for RedisStore {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        Box::pin(self.run_call(call))
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

/// Where the client connects to, without user and password.
fn address(client: &Client) -> String {
    let info = client.get_connection_info();
    format!("redis://{}/{}", info.addr(), info.redis_settings().db())
}
