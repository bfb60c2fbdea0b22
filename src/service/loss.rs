//! Whether a store still has what it had: a name is written into it once, and looked for now and then.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Event, Events};
use crate::error::Result;
use crate::metrics;
use crate::store::Store;
use crate::store::redis::RedisStore;

/// How often one of the names is looked for while the store is in use: one small command a second.
const PERIOD_S: u64 = 1;

/// How long a name lives when nobody looks for it.
const NAME_TTL: Duration = Duration::from_secs(86_400);

/// Watches one server, or the nodes of a cluster, for data that is gone.
#[derive(Debug)]
pub(crate) struct LossWatch {
    store: Arc<dyn Store>,
    events: Events,
    /// One; for a cluster several, so that each of its nodes has one at least.
    keys: Vec<String>,
    started: Instant,
    /// When to look again, in seconds since `started`.
    next_s: AtomicU64,
    /// The key that was looked at last. One look at a time: an answer that comes late would seem to be another name.
    turn: tokio::sync::Mutex<usize>,
    state: Mutex<State>,
    losses: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// What each key was seen to hold, and when.
    names: Vec<Option<(String, Instant)>>,
    noticed_ms: Option<i64>,
}

impl LossWatch {
    /// A watch over keys under this prefix; none for a store that lives as long as this process.
    pub(crate) fn new(store: &Arc<dyn Store>, prefix: &str, events: &Events) -> Option<Arc<Self>> {
        let any: &dyn Any = &**store;
        let tags = any.downcast_ref::<RedisStore>()?.node_tags();
        let keys: Vec<_> = tags.iter().map(|tag| format!("{prefix}epoch:{{{tag}}}")).collect();
        let state = State { names: vec![None; keys.len()], ..State::default() };
        Some(Arc::new(Self {
            store: Arc::clone(store),
            events: events.clone(),
            keys,
            started: Instant::now(),
            next_s: AtomicU64::new(0),
            turn: tokio::sync::Mutex::new(0),
            state: Mutex::new(state),
            losses: AtomicU64::new(0),
        }))
    }

    /// Looks at the next key in the background, when it is time to.
    pub(crate) fn tick(self: &Arc<Self>) {
        let now_s = self.started.elapsed().as_secs();
        if now_s < self.next_s.load(Ordering::Relaxed) {
            return;
        }
        let due = self.next_s.swap(now_s + PERIOD_S, Ordering::Relaxed) <= now_s;
        if let (true, Ok(runtime)) = (due, tokio::runtime::Handle::try_current()) {
            let watch = Arc::clone(self);
            runtime.spawn(async move {
                // Whoever is still looking waits for a store that is away.
                if let Ok(mut turn) = watch.turn.try_lock() {
                    *turn = (*turn + 1) % watch.keys.len();
                    watch.look(*turn).await;
                }
            });
        }
    }

    /// Looks at every key now. A guard that was not used has nothing to compare with, and writes nothing.
    pub(crate) async fn look_at_all(&self) {
        if self.next_s.load(Ordering::Relaxed) == 0 {
            return;
        }
        let _turn = self.turn.lock().await;
        for at in 0..self.keys.len() {
            self.look(at).await;
        }
    }

    /// When a loss was noticed last, in milliseconds since the epoch.
    pub(crate) fn noticed_ms(&self) -> Option<i64> {
        self.state().noticed_ms
    }

    /// How many losses were noticed.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    async fn look(&self, at: usize) {
        match self.name_of(&self.keys[at]).await {
            Ok(name) => self.seen(at, name),
            // A store that is away has lost nothing yet; one that forbids this cannot be watched.
            Err(err) => tracing::debug!(key = self.keys[at], error = %err, "the store's name cannot be read"),
        }
    }

    async fn name_of(&self, key: &str) -> Result<String> {
        let any: &dyn Any = &*self.store;
        match any.downcast_ref::<RedisStore>() {
            Some(store) => store.name_by(key, &uuid::Uuid::now_v7().simple().to_string(), NAME_TTL).await,
            None => Ok(String::new()),
        }
    }

    fn seen(&self, at: usize, name: String) {
        let mut state = self.state();
        // A name that nobody has looked for in a long time has ended by itself.
        let lost =
            state.names[at].as_ref().is_some_and(|(known, seen)| *known != name && seen.elapsed() < NAME_TTL / 2);
        state.names[at] = Some((name, Instant::now()));
        if !lost {
            return;
        }
        let noticed_ms = chrono::Utc::now().timestamp_millis();
        state.noticed_ms = Some(noticed_ms);
        drop(state);
        // Who hears of it finds nothing remembered.
        self.losses.fetch_add(1, Ordering::SeqCst);
        metrics::DATA_LOSSES.count([]);
        tracing::error!(
            store = self.store.describe(),
            key = self.keys[at],
            "the store has lost its data: budgets, holds and receipts start from nothing; see what it keeps on disk, and \
             whether somebody flushed it"
        );
        self.events.send(Event::DataLost { noticed_ms });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
