//! Connections to whoever the sentinels say is the primary.
//!
//! The redis crate's own sentinel client repeats commands behind its caller's back; here nothing but a lookup is needed,
//! before each connection that is opened. A lost connection and `READONLY` both lead to a new one, and so to a new lookup, and so
//! does a sentinel that names another primary meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind as Kind, RedisError, ServerErrorKind as Server, Value};

use super::config::{Address, RedisConfig};
use super::dial::{Dialer, Opened};
use super::failure::NotSent;
use super::pool::{Open, Opening};
use crate::error::Result;

/// How long one sentinel may take: there are others.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How often a sentinel is asked whether the primary is still the one.
///
/// A primary that was replaced on purpose goes on to answer until a sentinel tells it, eight seconds later (Redis 7.0), and
/// what it takes meanwhile is lost.
const NEWS_EVERY: Duration = Duration::from_millis(500);

pub(super) struct Sentinels {
    addresses: Vec<Address>,
    primary: String,
    to_sentinels: Arc<Dialer>,
    to_servers: Dialer,
    /// The one that answered last is asked first.
    first: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(config: &RedisConfig, addresses: &[Address], primary: &str) -> Result<Self> {
        Ok(Self {
            addresses: addresses.to_vec(),
            primary: primary.to_owned(),
            to_sentinels: Arc::new(Dialer::with(config, &config.sentinel_credentials, 0)?),
            to_servers: Dialer::new(config)?,
            first: AtomicUsize::new(0),
        })
    }

    async fn find(&self) -> Result<Opened, NotSent> {
        let first = self.first.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for turn in 0..self.addresses.len() {
            let place = (first + turn) % self.addresses.len();
            match self.through(&self.addresses[place]).await {
                Ok(opened) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok(opened);
                }
                Err(err) => failures.push(err),
            }
        }
        let all: Vec<_> = failures.iter().map(NotSent::message).collect();
        Err(NotSent::busy(format!("no sentinel leads to the primary {:?}: {}", self.primary, all.join("; "))))
    }

    /// Asks one sentinel and connects to the server that it names.
    async fn through(&self, sentinel: &Address) -> Result<Opened, NotSent> {
        let (address, asked) = within(sentinel, async {
            let mut asked = self.to_sentinels.open(sentinel).await?;
            Ok((ask(sentinel, &mut asked, &self.primary).await?, asked))
        })
        .await?;
        let mut opened = self.to_servers.open(&address).await?;
        // A sentinel that was away names the old primary until it hears the news.
        if is_primary(&mut opened.connection).await.map_err(|err| failed(&address, err))? {
            let news = News {
                sentinel: sentinel.clone(),
                primary: self.primary.clone(),
                dialer: Arc::clone(&self.to_sentinels),
            };
            opened.moved = Some(Box::pin(news.of_another(address, asked)));
            return Ok(opened);
        }
        Err(NotSent::busy(format!("{sentinel} names {address}, which is not the primary: a failover may be under way")))
    }
}

/// The sentinel that led to a primary, asked again and again.
struct News {
    sentinel: Address,
    primary: String,
    dialer: Arc<Dialer>,
}

impl News {
    /// Ends when the sentinel names another primary. While it is away nothing is new: others may be behind the times.
    async fn of_another(self, primary: Address, asked: Opened) {
        let mut asked = Some(asked);
        loop {
            tokio::time::sleep(NEWS_EVERY).await;
            let answer = within(&self.sentinel, async {
                let mut opened = match asked.take() {
                    Some(opened) => opened,
                    None => self.dialer.open(&self.sentinel).await?,
                };
                let named = ask(&self.sentinel, &mut opened, &self.primary).await?;
                asked = Some(opened);
                Ok(named)
            })
            .await;
            if let Ok(named) = answer
                && named != primary
            {
                tracing::warn!(sentinel = %self.sentinel, from = %primary, to = %named, "the sentinel names another primary");
                return;
            }
        }
    }
}

/// Whom the sentinel names.
async fn ask(sentinel: &Address, opened: &mut Opened, primary: &str) -> Result<Address, NotSent> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
    let answer: Result<Option<(String, u16)>, _> = command.query_async(&mut opened.connection).await;
    match answer.map_err(|err| failed(sentinel, err))? {
        Some((host, port)) => Ok(Address::tcp(&host, port)),
        None => Err(NotSent::busy(format!("{sentinel} knows no primary {primary:?}: check the name"))),
    }
}

/// An answer, or that there is none in time.
async fn within<T>(sentinel: &Address, answer: impl Future<Output = Result<T, NotSent>>) -> Result<T, NotSent> {
    let answer = tokio::time::timeout(ANSWER_LIMIT, answer).await;
    answer.unwrap_or_else(|_| Err(NotSent::busy(format!("{sentinel} does not answer"))))
}

fn failed(address: &Address, err: RedisError) -> NotSent {
    NotSent::new(format!("{address} answers with an error: {err}"), err)
}

async fn is_primary(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    match redis::cmd("ROLE").query_async(connection).await {
        Ok(Value::Array(role)) => Ok(matches!(role.first(), Some(Value::BulkString(name)) if name == b"master")),
        Ok(_) => Ok(false),
        // The user has no right to ask; a replica will answer READONLY.
        Err(err) if err.kind() == Kind::Server(Server::NoPerm) => Ok(true),
        Err(err) => Err(err),
    }
}

impl Open for Sentinels {
    fn open(&self) -> Opening<'_> {
        Box::pin(self.find())
    }
}
