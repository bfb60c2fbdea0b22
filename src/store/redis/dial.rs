//! Opens one connection: socket, TLS, greeting.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind as Kind, RedisConnectionInfo, RedisError, ServerErrorKind as Server};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::config::{Address, Credentials, RedisConfig};
use super::failure::NotSent;
use super::pool::{CALLS_PER_CONNECTION, Open, Opening};
use crate::error::Result;

/// How to open connections to any server of one deployment.
pub(super) struct Dialer {
    tls: Option<TlsConnector>,
    user: RedisConnectionInfo,
    timeout: Duration,
}

/// A connection, and the task that moves its bytes. When one ends, so does the other.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Task,
    /// Ends when the next calls belong to another server, although this one may still answer.
    pub(super) moved: Option<Moved>,
}

/// The future of [`Opened::moved`].
pub(super) type Moved = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that is ended with this value.
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Task {
    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Dialer {
    /// For the servers; files of TLS are read now.
    pub(super) fn new(config: &RedisConfig) -> Result<Self> {
        Self::with(config, &config.credentials, config.db)
    }

    /// For the sentinels.
    pub(super) fn with(config: &RedisConfig, credentials: &Credentials, db: u32) -> Result<Self> {
        let tls = config.tls.as_ref().map(super::tls::Tls::connector).transpose()?;
        let mut user = RedisConnectionInfo::default().set_db(db.into());
        if let Some(username) = &credentials.username {
            user = user.set_username(username);
        }
        if let Some(password) = &credentials.password {
            user = user.set_password(password);
        }
        Ok(Self { tls, user, timeout: config.socket_timeout })
    }

    /// Opens a connection.
    pub(super) async fn open(&self, address: &Address) -> Result<Opened, NotSent> {
        let opened = match tokio::time::timeout(self.timeout, self.greet(address)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        };
        opened.map_err(|err| {
            let message = match refusal(&err, self.user.db()) {
                Some((refused, hint)) => format!("Redis at {address} {refused}; {hint}"),
                None => format!("no Redis answers at {address} ({err}); {}", hint(&err, self.tls.is_some())),
            };
            NotSent::new(message, err)
        })
    }

    async fn greet(&self, address: &Address) -> Result<Opened, RedisError> {
        let stream = self.stream(address).await?;
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(CALLS_PER_CONNECTION);
        let (mut connection, driver) = MultiplexedConnection::new_with_config(&self.user, stream, config).await?;
        let driver = Task(tokio::spawn(driver));
        // A server that is loading its data or wants a password says so to the first command, and only to that.
        let pong = connection.send_packed_command(&redis::cmd("PING")).await?.extract_error();
        match pong {
            Err(err) if err.kind() != Kind::Server(Server::NoPerm) => Err(err),
            _ => Ok(Opened { connection, driver, moved: None }),
        }
    }

    async fn stream(&self, address: &Address) -> Result<Box<dyn Stream>, RedisError> {
        let (host, port) = match address {
            Address::Tcp { host, port } => (host.as_str(), *port),
            #[cfg(unix)]
            Address::Unix(path) => return Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        };
        // No TCP_NODELAY: while one packet is under way the next calls gather. With it 64 tasks admitted 13 % less.
        let tcp = TcpStream::connect((host, port)).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, tcp).await?))
    }
}

/// What a server that answered refused, and what may help; `None` where none did. The redis crate says of a refused `SELECT` only
/// in its text what it was, and of a refused login nothing more.
fn refusal(err: &RedisError, db: i64) -> Option<(String, &'static str)> {
    let detail = err.detail().unwrap_or_default();
    let is_select = err.to_string().contains("refused to switch database");
    let lacks_password = err.code() == Some("NOAUTH") || (is_select && detail.starts_with("Authentication required"));
    Some(match err.kind() {
        _ if lacks_password => (
            format!("refused the login ({err})"),
            "it wants a password: put it into the URL, or set REDIS_PASSWORD (where the environment names another server, it \
             goes to that one alone)",
        ),
        Kind::AuthenticationFailed => (
            format!("refused the login ({err})"),
            "check user and password: those of the URL, or else REDIS_USERNAME and REDIS_PASSWORD",
        ),
        _ if is_select => (format!("refused database {db} ({detail})"), database_hint(detail)),
        Kind::Server(Server::BusyLoading) => (format!("cannot serve yet ({err})"), "it is loading its data; try again"),
        Kind::Server(_) => (format!("refused the connection ({err})"), "see its settings and its log"),
        _ => return None,
    })
}

fn database_hint(detail: &str) -> &'static str {
    if detail.contains("out of range") {
        "it has fewer: use database 0, or raise its setting `databases`"
    } else if detail.contains("permission") {
        "allow +select to this user, or use database 0"
    } else {
        "use database 0, the only one of a cluster"
    }
}

/// What may help where no server answered.
fn hint(err: &RedisError, tls: bool) -> &'static str {
    let text = err.to_string();
    let holds = |part: &str| text.contains(part);
    match err.is_timeout() {
        true if tls => "check host and port, whether it speaks TLS there, and whether a firewall is between",
        true => "check host and port, and whether a firewall is between",
        false if holds("UnknownIssuer") || holds("CaUsedAsEndEntity") => {
            "who signed its certificate is not trusted here: name the file of that CA in COSTGUARD_TLS_CA"
        }
        false if holds("not valid for name") || holds("NotValidForName") => {
            "its certificate is made out to another name: connect by that name"
        }
        false if holds("CertificateRequired") => {
            "it wants a client certificate: set COSTGUARD_TLS_CERT and COSTGUARD_TLS_KEY"
        }
        false if holds("InvalidContentType") || holds("corrupt message") => {
            "it does not speak TLS there: check the port, or connect without TLS"
        }
        false if err.is_connection_dropped() && !err.is_connection_refusal() && !tls => {
            "the connection was closed at once: where the server speaks TLS, use rediss or REDIS_TLS=true"
        }
        false => "start one there, or check host and port",
    }
}

/// Opens connections to one address.
pub(super) struct Direct {
    pub(super) dialer: Arc<Dialer>,
    pub(super) address: Address,
}

impl Open for Direct {
    fn open(&self) -> Opening<'_> {
        Box::pin(self.dialer.open(&self.address))
    }
}
