//! Looking through a store bit by bit: so many keys a second, however many there are.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use costguard::store::redis::{MultiplexedConnection, RedisStore};
use costguard::{CostGuard, Policy};
use redis::{FromRedisValue, RedisError, Value};

use super::found::{Counted, Held};
use super::key::{CounterId, Key};
use crate::cli::output::decoded;

/// How many keys one SCAN looks at: a fraction of a millisecond of the server's time.
const SCAN_COUNT: u64 = 500;

/// The longest that one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The most counters, holds and blocks that are kept each. What lies beyond is not shown, and the view says so.
const MOST_KEPT: usize = 50_000;

/// The most scopes that are asked about in one turn where there is a policy.
const MOST_ASKED: usize = 200;

/// How far the look through the store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Keys looked at or read in the last turn.
    pub(super) keys: u64,
    /// Whether everything was seen at least once.
    pub(super) complete: bool,
    /// How long the last pass through everything took.
    pub(super) pass: Duration,
    /// Whether there is more than is kept.
    pub(super) overflowed: bool,
}

/// The look at one store.
pub(super) struct Survey {
    guard: CostGuard,
    policies: HashMap<String, Policy>,
    keys_per_turn: u64,
    pub(super) counters: BTreeMap<CounterId, Counted>,
    pub(super) holds: BTreeMap<(String, String), Held>,
    /// Blocked scopes by root, and until when.
    pub(super) blocks: BTreeMap<(String, String), (i64, u64)>,
    pub(super) progress: Progress,
    pub(super) now_ms: i64,
    /// The server that is looked through, and how far.
    server: usize,
    cursor: u64,
    pass: u64,
    pass_began: Instant,
    /// The scope that was asked about last.
    asked: Option<CounterId>,
}

impl Survey {
    pub(super) fn new(guard: CostGuard, policy: Option<&Policy>, keys_per_turn: u64) -> anyhow::Result<Self> {
        let mut policies = HashMap::new();
        for limit in policy.into_iter().flat_map(Policy::limits) {
            let kind = limit.counter().scope_kind();
            let all = policy.into_iter().flat_map(Policy::limits);
            let own = all.filter(|other| other.counter().scope_kind() == kind).cloned();
            policies.insert(kind.to_owned(), Policy::new(own)?);
        }
        Ok(Self {
            guard,
            policies,
            keys_per_turn,
            counters: BTreeMap::new(),
            holds: BTreeMap::new(),
            blocks: BTreeMap::new(),
            progress: Progress::default(),
            now_ms: 0,
            server: 0,
            cursor: 0,
            pass: 1,
            pass_began: Instant::now(),
            asked: None,
        })
    }

    /// Goes on for as many keys as one turn may take, or to the end of a pass.
    pub(super) async fn turn(&mut self) -> anyhow::Result<()> {
        let store: &dyn Any = &**self.guard.store();
        let store = store.downcast_ref::<RedisStore>().context("only a server can be looked through")?;
        let mut servers = store.raw_all().await?;
        self.progress.keys = 0;
        let (_, first) = servers.first_mut().context("the cluster has no node")?;
        let [seconds, us]: [i64; 2] = ask(first, &redis::cmd("TIME")).await?;
        self.now_ms = seconds * 1000 + us / 1000;
        while self.progress.keys < self.keys_per_turn {
            let Some((_, server)) = servers.get_mut(self.server) else {
                self.end_pass();
                break;
            };
            self.scan(server).await?;
        }
        self.forget_what_is_over();
        self.ask_with_policy().await
    }

    /// One SCAN, and what it found.
    async fn scan(&mut self, server: &mut MultiplexedConnection) -> anyhow::Result<()> {
        let left = self.keys_per_turn - self.progress.keys;
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(self.guard.key_pattern()).arg("COUNT").arg(SCAN_COUNT.min(left));
        let (cursor, names): (u64, Vec<Vec<u8>>) = ask(server, &scan).await?;
        self.progress.keys += SCAN_COUNT.min(left);
        let prefix = self.guard.key_prefix().to_owned();
        let keys: Vec<(String, Key)> = names
            .into_iter()
            .filter_map(|name| String::from_utf8(name).ok())
            .filter_map(|name| Key::read(name.strip_prefix(&prefix)?).map(|key| (name, key)))
            .filter(|(_, key)| match key {
                Key::Used(id) | Key::Holds(id) => id.window_at(self.now_ms).is_some(),
                Key::Hold(..) | Key::Rules(_) => true,
            })
            .collect();
        if !keys.is_empty() {
            let mut pipeline = redis::pipe();
            for (name, key) in &keys {
                let command = if matches!(key, Key::Used(_) | Key::Hold(..)) { "GET" } else { "HGETALL" };
                pipeline.cmd(command).arg(name);
            }
            // What has another type is an answer to its own command alone.
            pipeline.ignore_errors();
            let read =
                tokio::time::timeout(ANSWER_LIMIT, pipeline.query_async::<Vec<Result<Value, RedisError>>>(server));
            let values = read.await.context("no answer in time")??;
            self.progress.keys += u64::try_from(keys.len()).unwrap_or(u64::MAX);
            for ((_, key), value) in keys.into_iter().zip(values) {
                value.into_iter().for_each(|value| self.take(key.clone(), value));
            }
        }
        self.cursor = cursor;
        if cursor == 0 {
            self.server += 1;
        }
        Ok(())
    }

    fn take(&mut self, key: Key, value: Value) {
        match key {
            Key::Used(id) => {
                let text: Option<String> = FromRedisValue::from_redis_value(value).ok().flatten();
                let used = text.and_then(|text| text.parse().ok());
                if let Some(counted) = self.counted(id) {
                    // The state of a rate is no amount, be it a number.
                    counted.used = if counted.window.per().rate_period().is_some() { None } else { used };
                }
            }
            Key::Holds(id) => {
                let buckets: HashMap<String, String> = FromRedisValue::from_redis_value(value).unwrap_or_default();
                let now_ms = self.now_ms;
                let open = buckets.into_iter().filter_map(|(until_ms, amount)| {
                    until_ms.parse().is_ok_and(|until_ms: i64| until_ms > now_ms).then(|| amount.parse().ok())?
                });
                let (held, pass) = (open.fold(0_i64, i64::saturating_add), self.pass);
                if let Some(counted) = self.counted(id) {
                    (counted.held, counted.held_pass) = (held, pass);
                }
            }
            Key::Hold(root, id) => {
                let record: Option<String> = FromRedisValue::from_redis_value(value).ok().flatten();
                match record.and_then(|record| Held::read(&record, self.pass)) {
                    Some(held) if self.holds.len() < MOST_KEPT => drop(self.holds.insert((root, id), held)),
                    Some(_) => self.progress.overflowed = true,
                    None => drop(self.holds.remove(&(root, id))),
                }
            }
            Key::Rules(root) => {
                let rules: HashMap<String, String> = FromRedisValue::from_redis_value(value).unwrap_or_default();
                for (name, until_ms) in rules {
                    if let (Some(scope), Ok(until_ms)) = (name.strip_prefix("block "), until_ms.parse()) {
                        self.blocks.insert((root.clone(), decoded(scope).into_owned()), (until_ms, self.pass));
                    }
                }
            }
        }
    }

    fn counted(&mut self, id: CounterId) -> Option<&mut Counted> {
        let window = id.window_at(self.now_ms)?;
        if self.counters.len() >= MOST_KEPT && !self.counters.contains_key(&id) {
            self.progress.overflowed = true;
            return None;
        }
        let counted = self.counters.entry(id).or_insert_with(|| Counted::new(window));
        counted.pass = self.pass;
        Some(counted)
    }

    /// What a whole pass did not see is gone.
    fn end_pass(&mut self) {
        let pass = self.pass;
        self.counters.retain(|_, counted| counted.pass == pass);
        for counted in self.counters.values_mut().filter(|counted| counted.held_pass != pass) {
            counted.held = 0;
        }
        self.holds.retain(|_, held| held.pass == pass);
        self.blocks.retain(|_, (_, seen)| *seen == pass);
        let full = self.counters.len() >= MOST_KEPT || self.holds.len() >= MOST_KEPT;
        self.progress.overflowed = full;
        self.progress.complete = true;
        self.progress.pass = self.pass_began.elapsed();
        (self.server, self.cursor, self.pass, self.pass_began) = (0, 0, pass + 1, Instant::now());
    }

    fn forget_what_is_over(&mut self) {
        let now_ms = self.now_ms;
        self.counters.retain(|id, _| id.window_at(now_ms).is_some());
        self.holds.retain(|_, held| held.frees_ms > now_ms);
        self.blocks.retain(|_, (until_ms, _)| *until_ms > now_ms);
    }

    /// Asks the store where the policy's limits stand, overrides and rates too, for some scopes a turn.
    async fn ask_with_policy(&mut self) -> anyhow::Result<()> {
        if self.policies.is_empty() {
            return Ok(());
        }
        let after = self.asked.take();
        let mut scopes: Vec<&CounterId> =
            self.counters.keys().filter(|id| id.root.is_some() && self.policies.contains_key(id.kind())).collect();
        scopes.dedup_by(|one, other| (&one.root, &one.scope) == (&other.root, &other.scope));
        // Where the last turn ended, and then from the start.
        let from = scopes.iter().position(|id| after.as_ref().is_some_and(|after| *id > after)).unwrap_or(0);
        scopes.rotate_left(from);
        let scopes: Vec<CounterId> = scopes.into_iter().take(MOST_ASKED).cloned().collect();
        for id in &scopes {
            let (Some(subject), Some(policy)) = (id.subject(), self.policies.get(id.kind())) else { continue };
            let states = self.guard.peek(policy, &subject).await?;
            self.progress.keys += u64::try_from(states.len()).unwrap_or(u64::MAX);
            for (state, limit) in states.into_iter().zip(policy.limits()) {
                let name = state.window.span_at(self.now_ms)?.name;
                let key = CounterId { meter: state.meter.clone(), window: name, ..id.clone() };
                // Only what is there: a limit that nothing counts against yet is no news.
                if let Some(counted) = self.counters.get_mut(&key) {
                    (counted.state, counted.policy) = (Some(state), Some(limit.clone()));
                }
            }
        }
        self.asked = scopes.into_iter().next_back();
        Ok(())
    }
}

async fn ask<T: FromRedisValue>(server: &mut MultiplexedConnection, command: &redis::Cmd) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(ANSWER_LIMIT, command.query_async::<T>(server)).await;
    let answer: Result<T, RedisError> = answer.context("no answer in time")?;
    Ok(answer?)
}
