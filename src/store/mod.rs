//! Where scripts run: one small trait, an embedded engine and Redis behind it.

mod clock;
mod durability;
pub mod embedded;
pub mod redis;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use clock::{Clock, ManualClock, SystemClock};
pub use durability::Durability;

use crate::error::Result;
use crate::script::Script;

/// One call of one script: what `EVALSHA` takes.
#[derive(Clone, Debug)]
pub struct ScriptCall {
    /// The script to run.
    pub script: &'static Script,
    /// Every key the script touches, in the order of its contract.
    pub keys: Vec<String>,
    /// Its arguments, in the order of its contract.
    pub args: Vec<String>,
    /// Whether sending it twice does what sending it once does: it only reads, or it carries an operation id.
    pub idempotent: bool,
}

/// What a script answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Lua `nil` or `false`.
    Null,
    /// A Lua number, always whole.
    Int(i64),
    /// A Lua string.
    Text(String),
    /// `{ok = …}`.
    Status(String),
    /// A Lua array.
    Array(Vec<Reply>),
    /// An error the script returned or a command in it raised: `CODE text`.
    Error(String),
}

/// The future of [`Store::run`].
pub type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>;

/// The future of [`Store::run_durably`].
pub type DurableFuture<'a> = Pin<Box<dyn Future<Output = Result<(Reply, u64)>> + Send + 'a>>;

/// The keys that [`Store::keys`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Their names, sorted, each once.
    pub names: Vec<String>,
    /// Whether these are all; false when there are more than were asked for.
    pub complete: bool,
}

/// The future of [`Store::keys`].
pub type KeysFuture<'a> = Pin<Box<dyn Future<Output = Result<Keys>> + Send + 'a>>;

/// Runs script calls. It knows keys and arguments, not what they mean.
pub trait Store: Any + fmt::Debug + Send + Sync {
    /// Runs one call atomically and gives its reply.
    ///
    /// # Errors
    /// `Unavailable` when the call cannot have reached the store, `Ambiguous` when it may have and no reply came,
    /// `Store` when the store refused to run it, `Invalid` when its keys lie in several slots of a cluster. What the
    /// script itself answers, errors too, is a [`Reply`].
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a>;

    /// Runs one call, and waits for replicas; gives how many have it too. A store without any gives 0.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn run_durably<'a>(&'a self, call: &'a ScriptCall, durability: Durability) -> DurableFuture<'a> {
        let _ = durability;
        Box::pin(async move { Ok((self.run(call).await?, 0)) })
    }

    /// Looks through every key of the store for those that begin with `prefix`, and gives `most` of them at most. For
    /// people who look for something: its time grows with all that the store holds, whomever it belongs to. Keys that are
    /// made or removed meanwhile may be there or not.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be reached, `Store` when it refuses.
    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a>;

    /// What this store is, for people and logs: `embedded`, `redis://host:6379/0`. Never a password.
    fn describe(&self) -> String;
}
