//! Where the server is and how to talk to it: one value, from a URL, from the environment, or built in code.

mod env;
mod settings;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::env::Target;
use super::pool::CALLS_PER_CONNECTION;
pub use super::tls::Tls;
use crate::error::{Error, Result};
use crate::script;

/// The port of a server, and that of a sentinel.
const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What settings may be.
const MOST_CONNECTIONS: usize = 10_000;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// A connection to one server, to the primary that sentinels name, or to a cluster.
///
/// Made [from a URL](Self::from_url), [from the environment](Self::from_env), or [in code](Self::server); the methods
/// that take `self` change one setting each. `Debug` and `Display` never show a password.
///
/// ```
/// # use std::time::Duration;
/// # use costguard::store::redis::RedisConfig;
/// let config = RedisConfig::from_url("rediss://app:secret@db.example.com/0")?.call_timeout(Duration::from_millis(250));
/// assert_eq!(config.to_string(), "rediss://db.example.com:6379/0");
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub(super) topology: Topology,
    pub(super) credentials: Credentials,
    pub(super) sentinel_credentials: Credentials,
    pub(super) db: u32,
    pub(super) tls: Option<Tls>,
    pub(super) max_connections: usize,
    pub(super) calls_per_connection: usize,
    pub(super) socket_timeout: Duration,
    pub(super) call_timeout: Option<Duration>,
    pub(super) reconnect_base: Duration,
    pub(super) reconnect_max: Duration,
    pub(super) breaker_failures: u32,
    pub(super) lazy: bool,
    pub(crate) key_prefix: Option<String>,
}

/// What kind of deployment it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    Server(Address),
    Sentinel { sentinels: Vec<Address>, primary: String },
    Cluster { seeds: Vec<Address> },
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// User and password, neither of them shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl RedisConfig {
    fn new(topology: Topology) -> Self {
        Self {
            topology,
            credentials: Credentials::default(),
            sentinel_credentials: Credentials::default(),
            db: 0,
            tls: None,
            max_connections: 50,
            calls_per_connection: CALLS_PER_CONNECTION,
            socket_timeout: Duration::from_secs(5),
            call_timeout: None,
            reconnect_base: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            breaker_failures: 3,
            lazy: false,
            key_prefix: None,
        }
    }

    /// One server, with default settings.
    #[must_use]
    pub fn server(host: &str, port: u16) -> Self {
        Self::new(Topology::Server(Address::tcp(host, port)))
    }

    /// What a URL says:
    ///
    /// - `redis://[[user]:password@]host[:6379][/0]`, `rediss://…` for TLS, `redis+unix:///path?db=0`
    /// - `redis+sentinel://[user:password@]host[:26379],host2/primary-name[/0]`, `rediss+sentinel://…`
    /// - `redis+cluster://host[:6379],host2`, `rediss+cluster://…`
    ///
    /// After a `?` come settings by the names that the methods here have: `max_connections`, `socket_timeout` and
    /// `call_timeout`, `reconnect_base` and `reconnect_max` (seconds), `breaker_failures`, `lazy_connect`, `key_prefix`,
    /// `tls_ca`, `tls_cert`, `tls_key` (paths) and `tls_insecure`. User, password, host and settings are percent-decoded.
    ///
    /// # Errors
    /// `Invalid` with what is wrong and what is expected, without the URL, for it may hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        url::read(url, "the URL")?.into_config()
    }

    /// What the environment says; `.env.example` explains every variable. `COSTGUARD_URL` names the server, else
    /// `REDIS_URL`, else `REDIS_HOST` and its kin; the last two may be mixed as long as they do not contradict. A `COSTGUARD_URL`
    /// without a password takes that of `REDIS_PASSWORD`, unless another server is named beside it.
    ///
    /// # Errors
    /// `Invalid` when nothing names a server, when a variable cannot be read, and when two contradict; and for `memory:`,
    /// which is no server: [`CostGuard::connect_from_env`](crate::CostGuard::connect_from_env) takes that.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// The same from any source of variables: a file, a test, the environment with a difference.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        match env::read(lookup)? {
            Target::Server(config) => Ok(*config),
            Target::Memory => Err(Error::invalid(
                "memory: asks for an embedded store in this process, and a server is needed here: redis://localhost:6379",
            )),
        }
    }

    /// The user, and the password. Default: neither.
    #[must_use]
    pub fn credentials(mut self, username: Option<&str>, password: &str) -> Self {
        self.credentials = Credentials::new(username, Some(password));
        self
    }

    /// User and password of the sentinels, which have their own. Default: neither.
    #[must_use]
    pub fn sentinel_credentials(mut self, username: Option<&str>, password: &str) -> Self {
        self.sentinel_credentials = Credentials::new(username, Some(password));
        self
    }

    /// The number of the database. Default: 0.
    #[must_use]
    pub fn db(mut self, db: u32) -> Self {
        self.db = db;
        self
    }

    /// Encrypts, and says whom to trust. Default: no encryption.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The most connections to one server, 1 to 10,000. They are opened as they are needed: one carries 128 calls at a
    /// time, and when all are that busy calls wait. Default: 50.
    #[must_use]
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections.clamp(1, MOST_CONNECTIONS);
        self
    }

    /// How long a connection may take to open, and one answer to come: 1 ms to an hour. Default: 5 seconds.
    #[must_use]
    pub fn socket_timeout(mut self, timeout: Duration) -> Self {
        self.socket_timeout = bounded(timeout);
        self
    }

    /// How long a call may take in all: waiting for its turn, for a connection, and being repeated where that is safe.
    /// At most an hour. Default: the socket timeout.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = Some(bounded(timeout));
        self
    }

    /// The pauses between attempts to reconnect: the first attempts come at once and after 50 ms, then after up to `base`,
    /// doubled each time up to `max`; each pause is cut by a random part, at most half. Default: 1 and 30 seconds.
    #[must_use]
    pub fn reconnect(mut self, base: Duration, max: Duration) -> Self {
        (self.reconnect_base, self.reconnect_max) = (bounded(base), bounded(max.max(base)));
        self
    }

    /// After so many calls in a row without an answer, calls fail at once until the server answers a probe; 0 is never. Calls
    /// that fail together count as one. Default: 3.
    #[must_use]
    pub fn breaker_failures(mut self, failures: u32) -> Self {
        self.breaker_failures = failures;
        self
    }

    /// Whether to come up without waiting for the server: the first calls fail when there is none, and it heals by itself.
    /// Default: no, connecting to no server is an error.
    #[must_use]
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.lazy = lazy;
        self
    }

    /// What every key begins with, for a guard that is not told otherwise in code. Default: nothing.
    #[must_use]
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        self.key_prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
        self
    }

    /// Whether it is a cluster: `redis+cluster://`.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster { .. })
    }

    /// The least rights with which every operation on keys that match `pattern` works here, as `ACL SETUSER` takes them:
    /// [`script::acl_rule`](crate::script::acl_rule) and what is needed to find the server.
    ///
    /// ```
    /// # use costguard::store::redis::RedisConfig;
    /// let config = RedisConfig::from_url("redis+cluster://node-1,node-2")?;
    /// assert!(config.acl_rule("app:*").ends_with(" +cluster|slots"));
    /// # Ok::<(), costguard::Error>(())
    /// ```
    #[must_use]
    pub fn acl_rule(&self, pattern: &str) -> String {
        let find = match self.topology {
            Topology::Server(_) => "",
            Topology::Sentinel { .. } => " +role",
            Topology::Cluster { .. } => " +cluster|slots",
        };
        let select = if self.db == 0 { "" } else { " +select" };
        format!("{}{find}{select}", script::acl_rule(pattern))
    }

    pub(super) fn deadline_after(&self) -> Duration {
        self.call_timeout.unwrap_or(self.socket_timeout)
    }
}

impl fmt::Display for RedisConfig {
    /// Where it leads: a URL without user, password and settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        match &self.topology {
            Topology::Server(Address::Unix(path)) => write!(f, "redis+unix://{}?db={}", path.display(), self.db),
            Topology::Server(address) => write!(f, "{scheme}://{address}/{}", self.db),
            Topology::Sentinel { sentinels, primary } => {
                write!(f, "{scheme}+sentinel://{}/{primary}/{}", list(sentinels), self.db)
            }
            Topology::Cluster { seeds } => write!(f, "{scheme}+cluster://{}", list(seeds)),
        }
    }
}

/// Longer than any wait that makes sense, and short enough to be added to any instant.
fn bounded(duration: Duration) -> Duration {
    duration.clamp(SHORTEST, LONGEST)
}

fn list(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

impl Address {
    pub(super) fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp { host: host.to_owned(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Credentials {
    pub(super) fn new(username: Option<&str>, password: Option<&str>) -> Self {
        Self { username: username.map(str::to_owned), password: password.map(str::to_owned) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |value: &Option<String>| value.as_ref().map(|_| "<hidden>");
        f.debug_struct("Credentials")
            .field("username", &hidden(&self.username))
            .field("password", &hidden(&self.password))
            .finish()
    }
}
