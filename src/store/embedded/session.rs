//! One script run as its commands see it: the keyspace, one moment, the declared keys.

use super::commands::{self, Arg, Command, Refusal};
use super::keyspace::{Keyspace, Value};

/// A shard's keyspace and what holds for the script run in progress.
#[derive(Debug, Default)]
pub(super) struct Session {
    keyspace: Keyspace,
    now_ms: i64,
    read_only: bool,
    /// The run's KEYS; the buffers are used again by the next run.
    keys: Vec<Vec<u8>>,
    key_count: usize,
    /// Where the last key was found: scripts use their keys in order, so the next one is usually right behind.
    last_key: usize,
    /// Commands by the spelling scripts use; a handful, so a list.
    commands: Vec<(Vec<u8>, &'static Command)>,
    /// The buffer for a command's arguments.
    args: Vec<Arg>,
}

impl Session {
    /// Starts a run: fixes its moment and its keys, and frees a few ended keys.
    pub(super) fn begin(&mut self, keys: &[impl AsRef<[u8]>], now_ms: i64, read_only: bool) {
        self.now_ms = now_ms;
        self.read_only = read_only;
        self.key_count = keys.len();
        self.last_key = 0;
        if self.keys.len() < keys.len() {
            self.keys.resize_with(keys.len(), Vec::new);
        }
        for (buffer, key) in self.keys.iter_mut().zip(keys) {
            buffer.clear();
            buffer.extend_from_slice(key.as_ref());
        }
        self.keyspace.reclaim(now_ms);
    }

    /// The one moment of this run, in milliseconds since the epoch.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Whether the script declared `no-writes`.
    pub(super) fn read_only(&self) -> bool {
        self.read_only
    }

    /// Refuses a key that is not among the run's KEYS: on a Cluster it could live on another node.
    pub(super) fn declared(&mut self, key: &[u8]) -> Result<(), Refusal> {
        let keys = &self.keys[..self.key_count];
        let (before, from_last) = keys.split_at(self.last_key.min(keys.len()));
        let found = from_last.iter().position(|declared| declared == key).map(|at| at + before.len());
        match found.or_else(|| before.iter().position(|declared| declared == key)) {
            Some(at) => {
                self.last_key = at;
                Ok(())
            }
            None => Err(Refusal::owned(format!(
                "ERR Script attempted to access a non declared key '{}'; pass every key in KEYS",
                String::from_utf8_lossy(key)
            ))),
        }
    }

    /// Finds a command by name.
    pub(super) fn command(&mut self, name: &[u8]) -> Result<&'static Command, Refusal> {
        if let Some((_, command)) = self.commands.iter().find(|(known, _)| known == name) {
            return Ok(command);
        }
        let command = commands::find(name)?;
        self.commands.push((name.to_vec(), command));
        Ok(command)
    }

    /// The empty buffer for a command's arguments.
    pub(super) fn take_args(&mut self) -> Vec<Arg> {
        std::mem::take(&mut self.args)
    }

    /// Keeps the buffer for the next command.
    pub(super) fn give_back_args(&mut self, mut args: Vec<Arg>) {
        args.clear();
        self.args = args;
    }

    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.keyspace.get(key, self.now_ms)
    }

    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        self.keyspace.get_mut(key, self.now_ms)
    }

    #[expect(clippy::option_option, reason = "no key and no TTL are different answers")]
    pub(super) fn end_ms(&self, key: &[u8]) -> Option<Option<i64>> {
        self.keyspace.end_ms(key, self.now_ms)
    }

    pub(super) fn insert(&mut self, key: &[u8], value: Value) {
        self.keyspace.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.keyspace.remove(key, self.now_ms)
    }

    pub(super) fn set_end(&mut self, key: &[u8], end_ms: Option<i64>) {
        self.keyspace.set_end(key, end_ms);
    }
}
