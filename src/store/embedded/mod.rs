//! The embedded engine: the same scripts on an in-memory keyspace, in this process, without a server.
//!
//! It runs PUC Lua 5.1, which is what Redis runs, and the commands and libraries the crate's scripts use; anything else is
//! a clear error. What it holds is gone with the process. It is stricter than one Redis node in two ways, so that every run
//! is also a check for Redis Cluster: a key a script touches must be among its KEYS, and all KEYS must share one hash tag.

mod bridge;
mod bytes;
mod commands;
mod keyspace;
mod reply;
mod session;
mod shebang;
mod vm;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use self::keyspace::Value;
use self::session::Session;
use self::vm::{Source, Vm, lock};
use super::{Clock, Keys, KeysFuture, Reply, RunFuture, ScriptCall, Store, SystemClock};
use crate::error::{Error, ErrorKind, Result};

/// An in-memory store that runs scripts in this process.
///
/// Keys with different hash tags (`{acme}`) live in different shards and run in parallel; keys without a tag share one.
pub struct Embedded {
    shards: Vec<Shard>,
    tag_hasher: RandomState,
    clock: Arc<dyn Clock>,
}

/// One Lua VM and its keyspace. The lock is a std one: a run is microseconds of work and never waits for anything, so
/// giving a thread back to an async runtime would cost more than it frees.
#[derive(Default)]
struct Shard {
    /// Set up by the first call that needs it.
    vm: Mutex<Option<Vm>>,
    session: Arc<Mutex<Session>>,
}

/// Settings of an [`Embedded`] store.
#[derive(Debug)]
pub struct Builder {
    shards: usize,
    clock: Arc<dyn Clock>,
}

impl Builder {
    /// How many scripts can run at once; at least 1. Default: as many as the machine has processors.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// The store's clock. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The store, empty.
    #[must_use]
    pub fn build(self) -> Embedded {
        let shards = std::iter::repeat_with(Shard::default).take(self.shards).collect();
        Embedded { shards, tag_hasher: RandomState::new(), clock: self.clock }
    }
}

/// One key as [`Embedded::dump`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpEntry {
    /// The key.
    pub key: String,
    /// What it holds.
    pub value: DumpValue,
    /// When it ends, in milliseconds since the epoch; `None` without a TTL.
    pub expire_at_ms: Option<i64>,
}

/// A value as [`Embedded::dump`] shows it; bytes that are not UTF-8 as U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpValue {
    /// A string.
    String(String),
    /// A hash, sorted by field.
    Hash(Vec<(String, String)>),
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl Embedded {
    /// An empty store on the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings to start from.
    #[must_use]
    pub fn builder() -> Builder {
        let shards = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Builder { shards, clock: Arc::new(SystemClock) }
    }

    /// [`Store::run`] without a future: it never waits for anything but other runs on the same shard.
    ///
    /// # Errors
    /// `Store` when the script cannot be compiled, its keys do not share one hash tag, or its reply is no reply.
    pub fn run_now(&self, call: &ScriptCall) -> Result<Reply> {
        let source = Source { text: call.script.text(), sha1: call.script.sha1() };
        self.run_source(source, &call.keys, &call.args)
    }

    /// Runs any script text, as `EVAL` does: to try how the engine behaves.
    ///
    /// # Errors
    /// As [`run_now`](Self::run_now).
    pub fn eval(&self, text: &str, keys: &[String], args: &[String]) -> Result<Reply> {
        let sha1 = sha1_smol::Sha1::from(text).digest().to_string();
        self.run_source(Source { text, sha1: &sha1 }, keys, args)
    }

    fn run_source(&self, source: Source<'_>, keys: &[String], args: &[String]) -> Result<Reply> {
        let shard = self.shard(keys)?;
        let mut vm = lock(&shard.vm);
        let vm = match &mut *vm {
            Some(vm) => vm,
            empty => empty.insert(Vm::new(shard.session.clone())?),
        };
        vm.run(source, keys, args, self.clock.now_ms())
    }

    /// Everything in the store, sorted by key: for tests and people.
    #[must_use]
    pub fn dump(&self) -> Vec<DumpEntry> {
        let now_ms = self.clock.now_ms();
        let mut entries = Vec::new();
        for shard in &self.shards {
            // A run in progress holds the VM, not the session.
            let _running = lock(&shard.vm);
            let session = lock(&shard.session);
            entries.extend(session.keyspace().iter(now_ms).map(|(key, value, expire_at_ms)| DumpEntry {
                key: shown(key),
                value: dump_value(value),
                expire_at_ms,
            }));
        }
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        entries
    }

    fn keys_now(&self, prefix: &str, most: usize) -> Keys {
        let now_ms = self.clock.now_ms();
        let mut names = Vec::new();
        for shard in &self.shards {
            let _running = lock(&shard.vm);
            let session = lock(&shard.session);
            let keys = session.keyspace().iter(now_ms).map(|(key, ..)| key);
            names.extend(keys.filter(|key| key.starts_with(prefix.as_bytes())).map(shown));
        }
        names.sort();
        let complete = names.len() <= most;
        names.truncate(most);
        Keys { names, complete }
    }

    fn shard(&self, keys: &[String]) -> Result<&Shard> {
        let tag = keys.first().and_then(|key| hash_tag(key));
        if keys.iter().skip(1).any(|key| hash_tag(key) != tag) {
            return Err(Error::new(
                ErrorKind::Store,
                "CROSSSLOT Keys in request don't hash to the same slot: give all keys of one call the same {hash tag}",
            ));
        }
        let at = match tag {
            // The remainder is below a usize.
            Some(tag) => self.tag_hasher.hash_one(tag) % u64::try_from(self.shards.len()).unwrap_or(1),
            None => 0,
        };
        let shard = usize::try_from(at).ok().and_then(|at| self.shards.get(at));
        shard.ok_or_else(|| Error::new(ErrorKind::Store, "the embedded store has no shards"))
    }
}

impl Store for Embedded {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        Box::pin(std::future::ready(self.run_now(call)))
    }

    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a> {
        Box::pin(std::future::ready(Ok(self.keys_now(prefix, most))))
    }

    fn describe(&self) -> String {
        "embedded".to_owned()
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("shards", &self.shards.len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// The part of a key that decides its slot on a Cluster: between the first `{` and the next `}`, unless empty.
fn hash_tag(key: &str) -> Option<&str> {
    let (_, after) = key.split_once('{')?;
    let (tag, _) = after.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn dump_value(value: &Value) -> DumpValue {
    match value {
        Value::Text(text) => DumpValue::String(shown(&text.as_bytes())),
        Value::Hash(hash) => {
            let mut fields: Vec<_> =
                hash.iter().map(|(field, value)| (shown(field), shown(&value.as_bytes()))).collect();
            fields.sort();
            DumpValue::Hash(fields)
        }
    }
}

#[cfg(test)]
mod tests;
