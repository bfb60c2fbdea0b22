//! One pool, or a cluster of them: whichever the configuration says, a call finds its way by its slot.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::cluster::{Cluster, Node};
use super::config::{Address, RedisConfig, Topology};
use super::dial::{Dialer, Direct};
use super::failure::{CallError, NotSent};
use super::pool::{Message, Open, Pool, PoolUse};
use super::sentinel::Sentinels;
use super::slot;
use crate::error::Result;

pub(super) enum Route {
    Pool(Pool),
    Cluster(Box<Cluster>),
}

/// A server to which something is sent for its own sake.
pub(super) enum Server<'a> {
    Pool(&'a Pool),
    Node(Arc<Node>),
}

impl Route {
    /// The way that the configuration describes, tried once unless it is lazy.
    pub(super) async fn open(config: &RedisConfig) -> Result<Self> {
        let opener: Arc<dyn Open> = match &config.topology {
            Topology::Server(address) => {
                Arc::new(Direct { dialer: Arc::new(Dialer::new(config)?), address: address.clone() })
            }
            Topology::Sentinel { sentinels, primary } => Arc::new(Sentinels::new(config, sentinels, primary)?),
            Topology::Cluster { seeds } => {
                let cluster = Cluster::new(config, seeds)?;
                if !config.lazy {
                    cluster.refresh(Instant::now() + config.socket_timeout).await?;
                }
                return Ok(Self::Cluster(Box::new(cluster)));
            }
        };
        let pool = Pool::new(config, opener);
        if config.lazy {
            pool.start();
        } else {
            pool.connect().await?;
        }
        Ok(Self::Pool(pool))
    }

    /// The slot of these keys, where slots matter.
    ///
    /// # Errors
    /// `Invalid` when they lie in several slots of a cluster.
    pub(super) fn slot_of(&self, keys: &[String]) -> Result<usize> {
        match self {
            Self::Pool(_) => Ok(0),
            Self::Cluster(_) => slot::of_all(keys),
        }
    }

    pub(super) async fn send(&self, slot: usize, message: Message<'_>, deadline: Instant) -> Result<Value, CallError> {
        match self {
            Self::Pool(pool) => pool.send(message, deadline).await,
            // Boxed, like all that is rare, to keep small what every call carries.
            Self::Cluster(cluster) => Box::pin(cluster.send(slot, message, deadline)).await,
        }
    }

    /// Whether a call that reached nobody may reach somebody else a moment later. A pool has waited for that itself.
    pub(super) fn may_move(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Learns where things are now, after a call failed.
    pub(super) async fn relearn(&self, deadline: Instant) {
        if let Self::Cluster(cluster) = self
            && let Err(err) = cluster.refresh(deadline).await
        {
            tracing::debug!(error = err.message(), "the slots of the cluster are not known anew");
        }
    }

    /// Every server that holds keys of its own.
    pub(super) async fn primaries(&self, deadline: Instant) -> Result<Vec<Server<'_>>, NotSent> {
        match self {
            Self::Pool(pool) => Ok(vec![Server::Pool(pool)]),
            Self::Cluster(cluster) => Ok(cluster.primaries(deadline).await?.into_iter().map(Server::Node).collect()),
        }
    }

    /// How much of all pools is in use.
    pub(super) fn usage(&self) -> PoolUse {
        match self {
            Self::Pool(pool) => pool.usage(),
            Self::Cluster(cluster) => cluster.usage(),
        }
    }

    /// A connection to the server that holds this key.
    pub(super) async fn connection(&self, key: &str, deadline: Instant) -> Result<MultiplexedConnection, NotSent> {
        match self {
            Self::Pool(pool) => pool.connection(deadline).await,
            Self::Cluster(cluster) => cluster.node_of(slot::of(key), deadline).await?.pool.connection(deadline).await,
        }
    }
}

impl Server<'_> {
    fn pool(&self) -> &Pool {
        match self {
            Self::Pool(pool) => pool,
            Self::Node(node) => &node.pool,
        }
    }

    /// Where a node of a cluster listens; `None` for the one server that there is.
    pub(super) fn address(&self) -> Option<&Address> {
        match self {
            Self::Pool(_) => None,
            Self::Node(node) => Some(&node.address),
        }
    }

    pub(super) async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Value, CallError> {
        self.pool().send(Message::new(command), deadline).await
    }

    pub(super) async fn connection(&self, deadline: Instant) -> Result<MultiplexedConnection, NotSent> {
        self.pool().connection(deadline).await
    }
}
