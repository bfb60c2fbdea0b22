//! Calls to the node that holds their slot.
//!
//! The routing is ours: the redis crate's cluster client repeats commands after a broken connection, also those that must
//! not happen twice. `MOVED`, `ASK` and `TRYAGAIN` come before anything happened, so those are followed for every call.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use redis::{ErrorKind as Kind, FromRedisValue, RedisError, ServerErrorKind as Server, Value};
use tokio::time::{Instant, timeout_at};

use super::config::{Address, RedisConfig};
use super::dial::{Dialer, Direct};
use super::failure::{CallError, NotSent};
use super::pool::{Message, Pool, PoolUse};
use super::slot::SLOTS;
use crate::error::Result;

/// How often one attempt is sent on before it is left to the pauses between attempts.
const MOST_REDIRECTIONS: usize = 5;

/// How long the map of the slots is believed after it was read, and how long one node may take to tell it.
const MAP_AGE: Duration = Duration::from_millis(100);
const MAP_LIMIT: Duration = Duration::from_secs(1);

/// How many nodes are asked for the map at once: one that is silent holds up nobody.
const ASKED_AT_ONCE: usize = 3;

/// A node that is away is tried again this often at least: another may have its slots by then, or it may be back.
const RECONNECT_MAX: Duration = Duration::from_secs(1);

pub(super) struct Cluster {
    config: RedisConfig,
    dialer: Arc<Dialer>,
    seeds: Vec<Address>,
    map: RwLock<Arc<Map>>,
    /// When the map was read; held while it is read anew, so that one call does so for all.
    read_at: tokio::sync::Mutex<Option<Instant>>,
}

/// Which node holds which slot.
#[derive(Clone)]
struct Map {
    nodes: Vec<Arc<Node>>,
    /// For each slot the place of its node.
    slots: Box<[Option<usize>]>,
}

pub(super) struct Node {
    pub(super) address: Address,
    pub(super) pool: Pool,
    /// Whether it answered last that the cluster is down: it may have lost sight of the others, and its map be of before.
    is_cut_off: AtomicBool,
}

/// A range of slots and the primary that holds it, as the cluster tells it.
struct Range {
    first: usize,
    last: usize,
    address: Address,
}

impl Cluster {
    pub(super) fn new(config: &RedisConfig, seeds: &[Address]) -> Result<Self> {
        let max = config.reconnect_max.min(RECONNECT_MAX);
        let config = config.clone().reconnect(config.reconnect_base.min(max), max);
        let map = Map { nodes: Vec::new(), slots: vec![None; SLOTS].into_boxed_slice() };
        Ok(Self {
            dialer: Arc::new(Dialer::new(&config)?),
            config,
            seeds: seeds.to_vec(),
            map: RwLock::new(Arc::new(map)),
            read_at: tokio::sync::Mutex::new(None),
        })
    }

    /// Sends a command to the node that holds the slot, and on to where that node says.
    pub(super) async fn send(
        &self,
        slot: usize,
        mut message: Message<'_>,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        let mut node = self.node_of(slot, deadline).await?;
        for _ in 0..MOST_REDIRECTIONS {
            let answer = node.pool.send(message, deadline).await;
            node.note(&answer);
            let err = match answer {
                Err(CallError::Sent(err)) => err,
                answer => return answer,
            };
            let Some((address, moved)) = redirection(&err, &node.address) else { return Err(err.into()) };
            tracing::debug!(slot, %address, moved, "the cluster sends the call on");
            // A slot that has moved stays there; one that is asked for once is still on its way.
            node = self.node_at(&address, moved.then_some(slot));
            message = message.asking(!moved);
        }
        node.pool.send(message, deadline).await
    }

    /// The node that holds the slot.
    pub(super) async fn node_of(&self, slot: usize, deadline: Instant) -> Result<Arc<Node>, NotSent> {
        if let Some(node) = self.map().node_of(slot) {
            return Ok(node);
        }
        self.refresh(deadline).await?;
        self.map().node_of(slot).ok_or_else(|| NotSent::busy(format!("no node of the cluster holds slot {slot}")))
    }

    /// Every node that holds slots.
    pub(super) async fn primaries(&self, deadline: Instant) -> Result<Vec<Arc<Node>>, NotSent> {
        self.refresh(deadline).await?;
        Ok(self.map().nodes.clone())
    }

    /// How much of the pools of all known nodes is in use.
    pub(super) fn usage(&self) -> PoolUse {
        self.map().nodes.iter().map(|node| node.pool.usage()).fold(PoolUse::default(), |all, one| PoolUse {
            connections: all.connections + one.connections,
            connections_most: all.connections_most + one.connections_most,
            calls: all.calls + one.calls,
            calls_most: all.calls_most + one.calls_most,
        })
    }

    /// Reads the map of the slots anew, from whichever node tells it first, unless that was just done.
    pub(super) async fn refresh(&self, deadline: Instant) -> Result<(), NotSent> {
        let late = |_| NotSent::busy("the cluster did not tell in time where its slots are");
        timeout_at(deadline, self.read()).await.map_err(late)?
    }

    /// A node that has lost sight of the others tells what it knows all the same. So the first map that has every slot is taken,
    /// and the one with the most where none has.
    async fn read(&self) -> Result<(), NotSent> {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.elapsed() < MAP_AGE) {
            return Ok(());
        }
        let map = self.map();
        let known = map.nodes.iter().map(Arc::clone);
        let seeds = self.seeds.iter().filter(|seed| map.find(seed).is_none());
        let (last, first): (Vec<_>, Vec<_>) =
            known.chain(seeds.map(|seed| self.node(seed))).partition(|node| node.is_cut_off.load(Ordering::Relaxed));
        let ask = |nodes| stream::iter(nodes).map(ranges_from).buffer_unordered(ASKED_AT_ONCE);
        let mut answers = pin!(ask(first).chain(ask(last)));
        let (mut best, mut failures) = (Vec::new(), Vec::new());
        while slots_of(&best) < SLOTS
            && let Some(answer) = answers.next().await
        {
            match answer {
                Ok(ranges) if slots_of(&ranges) > slots_of(&best) => best = ranges,
                Ok(_) => {}
                Err(err) => failures.push(err.to_string()),
            }
        }
        if best.is_empty() {
            let told = format!("no node of the cluster tells where the slots are: {}", failures.join("; "));
            return Err(NotSent::busy(told));
        }
        self.set(&map, &best);
        *read_at = Some(Instant::now());
        Ok(())
    }

    fn set(&self, old: &Map, ranges: &[Range]) {
        let mut map = Map { nodes: Vec::new(), slots: vec![None; SLOTS].into_boxed_slice() };
        for range in ranges {
            let place =
                map.place_of(&range.address, || old.find(&range.address).unwrap_or_else(|| self.node(&range.address)));
            map.slots[range.first..=range.last].fill(Some(place));
        }
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }

    /// The node that another named; `slot` is its from now on.
    fn node_at(&self, address: &Address, slot: Option<usize>) -> Arc<Node> {
        let mut current = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map::clone(&current);
        let place = map.place_of(address, || self.node(address));
        if let Some(slot) = slot {
            map.slots[slot] = Some(place);
        }
        let node = Arc::clone(&map.nodes[place]);
        *current = Arc::new(map);
        node
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let opener = Direct { dialer: Arc::clone(&self.dialer), address: address.clone() };
        let pool = Pool::new(&self.config, Arc::new(opener)).impatient();
        Arc::new(Node { address: address.clone(), pool, is_cut_off: AtomicBool::new(false) })
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Node {
    fn note(&self, answer: &Result<Value, CallError>) {
        let is_cut_off = match answer {
            Ok(_) => false,
            Err(CallError::Sent(err)) if err.kind() == Kind::Server(Server::ClusterDown) => true,
            Err(_) => return,
        };
        // Read by every call, and so written only where it changes.
        if self.is_cut_off.load(Ordering::Relaxed) != is_cut_off {
            self.is_cut_off.store(is_cut_off, Ordering::Relaxed);
        }
    }
}

impl Map {
    fn node_of(&self, slot: usize) -> Option<Arc<Node>> {
        self.slots[slot].map(|place| Arc::clone(&self.nodes[place]))
    }

    fn find(&self, address: &Address) -> Option<Arc<Node>> {
        self.nodes.iter().find(|node| node.address == *address).map(Arc::clone)
    }

    fn place_of(&mut self, address: &Address, node: impl FnOnce() -> Arc<Node>) -> usize {
        self.nodes.iter().position(|node| node.address == *address).unwrap_or_else(|| {
            self.nodes.push(node());
            self.nodes.len() - 1
        })
    }
}

/// Where the answer sends the call, and whether for good.
fn redirection(err: &RedisError, from: &Address) -> Option<(Address, bool)> {
    let moved = match err.kind() {
        Kind::Server(Server::Moved) => true,
        Kind::Server(Server::Ask) => false,
        _ => return None,
    };
    let (host, port) = err.redirect_node()?.0.rsplit_once(':')?;
    Some((node_address(host, port.parse().ok()?, from), moved))
}

/// A node that does not know its own address names none: it is reached as the one that was asked.
fn node_address(host: &str, port: u16, from: &Address) -> Address {
    match from {
        Address::Tcp { host: asked, .. } if host.is_empty() || host == "?" => Address::tcp(asked, port),
        _ => Address::tcp(host, port),
    }
}

async fn ranges_from(node: Arc<Node>) -> Result<Vec<Range>, CallError> {
    let mut command = redis::cmd("CLUSTER");
    let answer = node.pool.send(Message::new(command.arg("SLOTS")), Instant::now() + MAP_LIMIT).await?;
    let rows = Vec::<Vec<Value>>::from_redis_value(answer).map_err(RedisError::from)?;
    let ranges: Vec<_> = rows.into_iter().filter_map(|row| range(row, &node.address)).collect();
    if ranges.is_empty() {
        return Err(NotSent::busy(format!("{} holds no slots and knows nobody who does", node.address)).into());
    }
    Ok(ranges)
}

fn slots_of(ranges: &[Range]) -> usize {
    ranges.iter().map(|range| range.last - range.first + 1).sum()
}

/// `first last [host port id …] [replica …]…`
fn range(row: Vec<Value>, from: &Address) -> Option<Range> {
    let mut row = row.into_iter();
    let first = usize::from_redis_value(row.next()?).ok()?;
    let last = usize::from_redis_value(row.next()?).ok()?;
    let mut primary = Vec::<Value>::from_redis_value(row.next()?).ok()?.into_iter();
    let host = Option::<String>::from_redis_value(primary.next()?).ok()?;
    let port = u16::from_redis_value(primary.next()?).ok()?;
    let address = node_address(host.as_deref().unwrap_or_default(), port, from);
    (first <= last && last < SLOTS).then_some(Range { first, last, address })
}
