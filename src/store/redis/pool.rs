//! A few multiplexed connections to one server, opened as they are needed, and reopened when they break.
//!
//! One connection is the fast case: its driver writes many commands with one system call. So another is opened only when
//! all are busy, and nobody waits for it. Calls beyond what all connections may carry wait for their turn.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::RedisConfig;
use super::dial::{Opened, Task};
use super::failure::{CallError, NotSent, is_topology_news, unwrapped};
use super::silence::Silence;
use crate::metrics;
use crate::store::Durability;

/// How many calls one connection carries before another is opened, where nobody waits for replicas.
pub(super) const CALLS_PER_CONNECTION: usize = 128;

/// How much longer than it should `WAIT` may take to answer.
const WAIT_GRACE: Duration = Duration::from_secs(1);

/// The pause after a first attempt to connect that failed: a restart is often over by then.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Opens connections: to an address, or to whoever the sentinels say.
pub(super) trait Open: Send + Sync {
    fn open(&self) -> Opening<'_>;
}

/// The future of [`Open::open`].
pub(super) type Opening<'a> = Pin<Box<dyn Future<Output = Result<Opened, NotSent>> + Send + 'a>>;

pub(super) struct Pool {
    links: Box<[Arc<Link>]>,
    in_flight: Semaphore,
    /// How many calls one connection carries before another is opened.
    per_connection: usize,
    socket_timeout: Duration,
    /// Whether calls wait for a server that is away. They do not where another may have taken its place.
    patient: bool,
}

/// How much of a pool is in use, of a cluster all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PoolUse {
    /// Connections that are open.
    pub connections: usize,
    /// Connections that may be open.
    pub connections_most: usize,
    /// Calls under way.
    pub calls: usize,
    /// Calls that may be under way; more have to wait.
    pub calls_most: usize,
}

/// What is sent in one go.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    command: &'a Cmd,
    /// With `ASKING` before it: for a slot that is moving to this node.
    asking: bool,
    /// With `WAIT` behind it. The answer is then an array of the command's and how many replicas have it.
    wait: Option<Durability>,
}

/// A place for a connection.
struct Link {
    opener: Arc<dyn Open>,
    pauses: Pauses,
    state: watch::Sender<State>,
    calls: AtomicUsize,
    was_up: AtomicBool,
}

#[derive(Clone)]
enum State {
    /// Nobody has asked for it since it was made or lost.
    Idle,
    Opening,
    /// The last attempt failed; the next comes by itself.
    Down {
        error: NotSent,
        next: Instant,
    },
    Up(Arc<Live>),
}

/// An open connection.
struct Live {
    connection: MultiplexedConnection,
    id: u64,
    silence: Silence,
    /// Closes the connection with this value, also when the server has stopped to answer.
    _watch: Task,
}

#[derive(Clone, Copy)]
struct Pauses {
    base: Duration,
    max: Duration,
}

impl Pool {
    /// A pool that connects when it is first used.
    pub(super) fn new(config: &RedisConfig, opener: Arc<dyn Open>) -> Self {
        let pauses = Pauses { base: config.reconnect_base, max: config.reconnect_max };
        let link = |_| {
            let state = watch::Sender::new(State::Idle);
            Arc::new(Link {
                opener: Arc::clone(&opener),
                pauses,
                state,
                calls: AtomicUsize::new(0),
                was_up: AtomicBool::new(false),
            })
        };
        Self {
            links: (0..config.max_connections).map(link).collect(),
            in_flight: Semaphore::new(config.max_connections * config.calls_per_connection),
            per_connection: config.calls_per_connection,
            socket_timeout: config.socket_timeout,
            patient: true,
        }
    }

    /// The same, but calls fail at once while the server is away.
    pub(super) fn impatient(self) -> Self {
        Self { patient: false, ..self }
    }

    /// Starts to connect, and goes on trying by itself.
    pub(super) fn start(&self) {
        self.links[0].start();
    }

    /// Connects once, so that a wrong address or password shows at once.
    pub(super) async fn connect(&self) -> Result<(), NotSent> {
        let link = &self.links[0];
        match link.opener.open().await {
            Ok(opened) => link.up(opened),
            Err(error) => {
                metrics::CONNECTS.count(["failed"]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// A connection that is open, shared with everybody who uses this pool.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<MultiplexedConnection, NotSent> {
        let (_, live) = self.choose(deadline).await?;
        Ok(live.connection.clone())
    }

    /// How much of it is in use just now.
    pub(super) fn usage(&self) -> PoolUse {
        let calls_most = self.links.len() * self.per_connection;
        PoolUse {
            connections: self.links.iter().filter(|link| matches!(&*link.state.borrow(), State::Up(_))).count(),
            connections_most: self.links.len(),
            calls: calls_most - self.in_flight.available_permits(),
            calls_most,
        }
    }

    /// Sends once and waits for the answer until the deadline.
    pub(super) async fn send(&self, message: Message<'_>, deadline: Instant) -> Result<Value, CallError> {
        let _turn = self.turn(deadline).await?;
        let (link, live) = self.choose(deadline).await?;
        let _counted = link.count();
        let waiting = Waiting::begin(link, &live, self.socket_timeout, message.wait.is_some());
        let latest = deadline.min(waiting.since + self.socket_timeout + message.patience());
        let mut connection = live.connection.clone();
        let Ok(answer) = timeout_at(latest, message.send(&mut connection)).await else {
            return Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut)).into());
        };
        waiting.end();
        let answer = match answer {
            Ok(value) => {
                live.silence.end();
                // A raw answer is a value also where the server answered with an error.
                value.extract_error()
            }
            Err(err) => {
                link.lose(live.id);
                return Err(err.into());
            }
        };
        answer.map_err(unwrapped).map_err(|err| {
            if is_topology_news(&err) {
                link.lose(live.id);
            }
            err.into()
        })
    }

    async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, NotSent> {
        match self.in_flight.try_acquire() {
            Ok(turn) => Ok(turn),
            Err(_) => Box::pin(self.wait_for_turn(deadline)).await,
        }
    }

    async fn wait_for_turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, NotSent> {
        // Half of the time is left for the answer: a call sent at the last moment would only end ambiguous.
        let now = Instant::now();
        let latest = now + deadline.saturating_duration_since(now) / 2;
        match timeout_at(latest, self.in_flight.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(NotSent::busy(format!(
                "the call had no turn in time: {} are under way, which is the most that {} connections carry; nothing was \
                 sent",
                self.links.len() * self.per_connection,
                self.links.len()
            ))),
        }
    }

    /// The first connection with room. When none has any another is opened, one at a time, and the least busy one takes the
    /// call meanwhile.
    async fn choose(&self, deadline: Instant) -> Result<(&Arc<Link>, Arc<Live>), NotSent> {
        let mut best: Option<(usize, &Arc<Link>, Arc<Live>)> = None;
        let (mut idle, mut opening) = (None, false);
        for link in &self.links {
            match &*link.state.borrow() {
                State::Up(live) => {
                    let calls = link.calls.load(Ordering::Relaxed);
                    if calls < self.per_connection {
                        return Ok((link, Arc::clone(live)));
                    }
                    if best.as_ref().is_none_or(|(fewest, ..)| calls < *fewest) {
                        best = Some((calls, link, Arc::clone(live)));
                    }
                }
                State::Idle => idle = idle.or(Some(link)),
                State::Opening | State::Down { .. } => opening = true,
            }
        }
        let Some((_, link, live)) = best else {
            let live = Box::pin(self.links[0].wait(deadline, self.patient)).await?;
            return Ok((&self.links[0], live));
        };
        if let (Some(idle), false) = (idle, opening) {
            idle.start();
        }
        Ok((link, live))
    }
}

impl<'a> Message<'a> {
    pub(super) fn new(command: &'a Cmd) -> Self {
        Self { command, asking: false, wait: None }
    }

    pub(super) fn waiting(self, wait: Option<Durability>) -> Self {
        Self { wait, ..self }
    }

    pub(super) fn asking(self, asking: bool) -> Self {
        Self { asking, ..self }
    }

    async fn send(self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        match self.wait {
            None => self.send_command(connection).await,
            Some(wait) => Box::pin(self.send_and_wait(wait, connection)).await,
        }
    }

    async fn send_command(self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        if !self.asking {
            return connection.send_packed_command(self.command).await;
        }
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(self.command.clone());
        let mut answers = Box::pin(connection.send_packed_commands(&both, 1, 1)).await?;
        Ok(answers.pop().unwrap_or(Value::Nil))
    }

    /// One after the other: behind a command that was refused nobody should wait.
    async fn send_and_wait(
        self,
        wait: Durability,
        connection: &mut MultiplexedConnection,
    ) -> Result<Value, RedisError> {
        let answer = self.send_command(connection).await?;
        if matches!(answer, Value::ServerError(_)) {
            return Ok(answer);
        }
        let mut command = redis::cmd("WAIT");
        command.arg(wait.replicas()).arg(wait.timeout().as_millis());
        // The command has happened, whatever becomes of the waiting.
        let waited = timeout(wait.timeout() + WAIT_GRACE / 2, command.query_async::<i64>(connection)).await;
        let replicas = waited.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        let replicas = replicas.unwrap_or_else(|err| {
            tracing::warn!(error = %err, "the server could not be asked how many replicas have a write");
            0
        });
        Ok(Value::Array(vec![answer, Value::Int(replicas)]))
    }

    /// How much longer than others the answer may take.
    fn patience(self) -> Duration {
        self.wait.map_or(Duration::ZERO, |wait| wait.timeout() + WAIT_GRACE)
    }
}

impl Link {
    /// Begins to connect unless that is under way: attempts follow each other until one succeeds or the pool is gone.
    fn start(self: &Arc<Self>) {
        let begun = self.state.send_if_modified(|state| {
            let idle = matches!(state, State::Idle);
            if idle {
                *state = State::Opening;
            }
            idle
        });
        if !begun {
            return;
        }
        let (opener, pauses) = (Arc::clone(&self.opener), self.pauses.iter());
        // Should the runtime end in between, another one may begin anew.
        let attempts = Attempts(Arc::downgrade(self));
        tokio::spawn(async move {
            for pause in pauses {
                let opened = opener.open().await;
                let Some(link) = attempts.0.upgrade() else { return };
                match opened {
                    Ok(opened) => return link.up(opened),
                    Err(error) => {
                        metrics::CONNECTS.count(["failed"]);
                        tracing::warn!(error = error.message(), retry_in = ?pause, "cannot connect to Redis");
                        link.state.send_replace(State::Down { error, next: Instant::now() + pause });
                    }
                }
                drop(link);
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Waits for the connection. Gives up at once when the next attempt comes after the deadline.
    async fn wait(self: &Arc<Self>, deadline: Instant, patient: bool) -> Result<Arc<Live>, NotSent> {
        let mut states = self.state.subscribe();
        loop {
            self.start();
            let last = match &*states.borrow_and_update() {
                State::Up(live) => return Ok(Arc::clone(live)),
                State::Down { error, next } if !patient || *next >= deadline => return Err(error.clone()),
                State::Down { error, .. } => Some(error.clone()),
                State::Idle | State::Opening => None,
            };
            if timeout_at(deadline, states.changed()).await.is_err() {
                return Err(
                    last.unwrap_or_else(|| NotSent::busy("no connection to Redis was open in time; nothing was sent"))
                );
            }
        }
    }

    fn up(self: &Arc<Self>, opened: Opened) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Opened { connection, mut driver, moved } = opened;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        metrics::CONNECTIONS.rise();
        metrics::CONNECTS.count([if self.was_up.swap(true, Ordering::Relaxed) { "reopened" } else { "opened" }]);
        let ending = Ending { link: Arc::downgrade(self), id };
        // The server may close an idle connection: better to know before a call is sent into the void.
        let watch = Task(tokio::spawn(async move {
            let ending = ending;
            let Some(moved) = moved else { return driver.ended().await };
            tokio::select! {
                () = driver.ended() => {}
                () = moved => {
                    drop(ending);
                    // Who waits for an answer holds the connection, and may still get it.
                    driver.ended().await;
                }
            }
        }));
        let live = Live { connection, id, silence: Silence::new(), _watch: watch };
        self.state.send_replace(State::Up(Arc::new(live)));
    }

    /// Forgets this connection, if it is still the one here. Calls that wait on it may still be answered.
    fn lose(&self, id: u64) {
        self.state.send_if_modified(|state| {
            let lost = matches!(state, State::Up(live) if live.id == id);
            if lost {
                *state = State::Idle;
            }
            lost
        });
    }

    fn count(&self) -> Counted<'_> {
        metrics::IN_FLIGHT.rise();
        self.calls.fetch_add(1, Ordering::Relaxed);
        Counted(&self.calls)
    }
}

/// One call more on a link, as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        metrics::IN_FLIGHT.fall();
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that was sent. Without an answer it was in vain, whether its time is up or its caller gave it up.
struct Waiting<'a> {
    link: &'a Link,
    live: &'a Live,
    since: Instant,
    answers_before: u64,
    socket_timeout: Duration,
    /// Whether the server may be in `WAIT` for it: then whoever comes behind it waits as well.
    holds_up: bool,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    fn begin(link: &'a Link, live: &'a Live, socket_timeout: Duration, holds_up: bool) -> Self {
        let (since, answers_before) = (Instant::now(), live.silence.answers());
        Self { link, live, since, answers_before, socket_timeout, holds_up, is_answered: false }
    }

    fn end(mut self) {
        self.is_answered = true;
    }

    /// Whether the connection is dead although nobody has closed it.
    fn is_silent(&self) -> bool {
        self.live.silence.in_vain(self.answers_before, self.since, Instant::now()) >= self.socket_timeout / 2
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered && (self.holds_up || self.is_silent()) {
            self.link.lose(self.live.id);
        }
    }
}

/// Attempts to connect; when they end without a connection the link is idle again.
struct Attempts(Weak<Link>);

impl Drop for Attempts {
    fn drop(&mut self) {
        let Some(link) = self.0.upgrade() else { return };
        link.state.send_if_modified(|state| {
            let unfinished = matches!(state, State::Opening | State::Down { .. });
            if unfinished {
                *state = State::Idle;
            }
            unfinished
        });
    }
}

/// Forgets a connection when its driver has ended, or the runtime that it ran on.
struct Ending {
    link: Weak<Link>,
    id: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        metrics::CONNECTIONS.fall();
        if let Some(link) = self.link.upgrade() {
            link.lose(self.id);
        }
    }
}

impl Pauses {
    /// Doubling pauses without end, each from half to the whole of what it is due.
    fn iter(self) -> impl Iterator<Item = Duration> + Send {
        // The jitter of backon adds up to as much again.
        let doubling = ExponentialBuilder::default()
            .with_min_delay(self.base / 2)
            .with_max_delay(self.max / 2)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter()
            .build();
        std::iter::once(FIRST_PAUSE.min(self.base)).chain(doubling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_short_double_to_the_maximum_and_are_cut_by_half_at_most() {
        let pauses = Pauses { base: Duration::from_secs(1), max: Duration::from_secs(30) };
        let mut all = pauses.iter();
        assert_eq!(all.next(), Some(FIRST_PAUSE));
        for due in [1, 2, 4, 8, 16, 30, 30, 30].map(Duration::from_secs) {
            let pause = all.next().unwrap();
            assert!((due / 2..=due).contains(&pause), "{pause:?} where {due:?} is due");
        }
        assert!(all.nth(10_000).is_some(), "it never gives up");
    }

    #[test]
    fn clients_that_lost_the_same_server_do_not_come_back_together() {
        let pauses = Pauses { base: Duration::from_secs(1), max: Duration::from_secs(30) };
        let tenth: std::collections::HashSet<_> = (0..20).filter_map(|_| pauses.iter().nth(9)).collect();
        assert!(tenth.len() > 10, "{tenth:?}");
    }
}
