//! What a URL or the environment says, as text with its source, and how it becomes a [`RedisConfig`].

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::{Credentials, LONGEST, MOST_CONNECTIONS, RedisConfig, SHORTEST, Tls, Topology};
use crate::error::{Error, Result};

/// A setting: its variable, and its name in a URL's query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    MaxConnections,
    SocketTimeout,
    CallTimeout,
    ReconnectBase,
    ReconnectMax,
    BreakerFailures,
    LazyConnect,
    KeyPrefix,
    TlsCa,
    TlsCert,
    TlsKey,
    TlsInsecure,
}

impl Setting {
    pub(super) const ALL: [(Self, &'static str, &'static str); 12] = [
        (Self::MaxConnections, "REDIS_MAX_CONNECTIONS", "max_connections"),
        (Self::SocketTimeout, "REDIS_SOCKET_TIMEOUT", "socket_timeout"),
        (Self::CallTimeout, "COSTGUARD_CALL_TIMEOUT", "call_timeout"),
        (Self::ReconnectBase, "COSTGUARD_RECONNECT_BASE", "reconnect_base"),
        (Self::ReconnectMax, "COSTGUARD_RECONNECT_MAX", "reconnect_max"),
        (Self::BreakerFailures, "COSTGUARD_BREAKER_FAILURES", "breaker_failures"),
        (Self::LazyConnect, "COSTGUARD_LAZY_CONNECT", "lazy_connect"),
        (Self::KeyPrefix, "REDIS_KEY_PREFIX", "key_prefix"),
        (Self::TlsCa, "COSTGUARD_TLS_CA", "tls_ca"),
        (Self::TlsCert, "COSTGUARD_TLS_CERT", "tls_cert"),
        (Self::TlsKey, "COSTGUARD_TLS_KEY", "tls_key"),
        (Self::TlsInsecure, "COSTGUARD_TLS_INSECURE", "tls_insecure"),
    ];
}

/// A value and where it was found.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) source: String,
    pub(super) value: String,
}

impl Found {
    pub(super) fn new(source: impl Into<String>, value: impl Into<String>) -> Self {
        Self { source: source.into(), value: value.into() }
    }

    /// The value as a number or an address; `wanted` says what would be right. Not for secrets: the error shows it.
    pub(super) fn parse<T: FromStr>(&self, wanted: &str) -> Result<T> {
        self.value.parse().map_err(|_| self.refuse(wanted))
    }

    pub(super) fn refuse(&self, wanted: &str) -> Error {
        Error::invalid(format!("{} is {:?}: {wanted}", self.source, self.value))
    }

    fn seconds(&self) -> Result<Duration> {
        const WANTED: &str = "give seconds, more than 0 and at most 3600, like 5 or 0.25";
        let seconds: f64 = self.parse(WANTED)?;
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| self.refuse(WANTED))?;
        if (SHORTEST..=LONGEST).contains(&duration) { Ok(duration) } else { Err(self.refuse(WANTED)) }
    }

    pub(super) fn switch(&self) -> Result<bool> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(self.refuse("give true or false")),
        }
    }
}

/// What was found so far.
pub(super) struct Parts {
    pub(super) topology: Topology,
    pub(super) tls: bool,
    pub(super) db: Option<u32>,
    pub(super) credentials: Credentials,
    pub(super) sentinel_credentials: Credentials,
    pub(super) settings: BTreeMap<Setting, Found>,
}

impl Parts {
    pub(super) fn new(topology: Topology, tls: bool) -> Self {
        Self {
            topology,
            tls,
            db: None,
            credentials: Credentials::default(),
            sentinel_credentials: Credentials::default(),
            settings: BTreeMap::new(),
        }
    }

    /// Adds a setting; another value for it elsewhere is a contradiction.
    pub(super) fn set(&mut self, setting: Setting, found: Found) -> Result<()> {
        match self.settings.get(&setting) {
            Some(other) if other.value != found.value => Err(Error::invalid(format!(
                "{} is {:?}, and {} is {:?}: set one of them",
                other.source, other.value, found.source, found.value
            ))),
            Some(_) => Ok(()),
            None => {
                self.settings.insert(setting, found);
                Ok(())
            }
        }
    }

    pub(super) fn into_config(self) -> Result<RedisConfig> {
        let mut config = RedisConfig::new(self.topology);
        config.credentials = self.credentials;
        config.sentinel_credentials = self.sentinel_credentials;
        config.db = self.db.unwrap_or(0);
        config.tls = self.tls.then(Tls::new);
        for (setting, found) in &self.settings {
            config.apply(*setting, found)?;
        }
        if config.db > 0 && matches!(config.topology, Topology::Cluster { .. }) {
            return Err(Error::invalid(format!("a cluster has database 0 only, not {}", config.db)));
        }
        let key_without_cert = |tls: &Tls| tls.cert.is_some() != tls.key.is_some();
        if config.tls.as_ref().is_some_and(key_without_cert) {
            return Err(Error::invalid(
                "a client certificate and its key belong together: set both COSTGUARD_TLS_CERT and COSTGUARD_TLS_KEY",
            ));
        }
        if config.reconnect_base > config.reconnect_max {
            return Err(Error::invalid(format!(
                "COSTGUARD_RECONNECT_BASE, the first pause to reconnect ({:?}), is above COSTGUARD_RECONNECT_MAX ({:?}): \
                 lower one or raise the other",
                config.reconnect_base, config.reconnect_max
            )));
        }
        Ok(config)
    }
}

impl RedisConfig {
    fn apply(&mut self, setting: Setting, found: &Found) -> Result<()> {
        match setting {
            Setting::MaxConnections => {
                const WANTED: &str = "give a whole number from 1 to 10000";
                let count = found.parse(WANTED)?;
                if !(1..=MOST_CONNECTIONS).contains(&count) {
                    return Err(found.refuse(WANTED));
                }
                self.max_connections = count;
            }
            Setting::SocketTimeout => self.socket_timeout = found.seconds()?,
            Setting::CallTimeout => self.call_timeout = Some(found.seconds()?),
            Setting::ReconnectBase => self.reconnect_base = found.seconds()?,
            Setting::ReconnectMax => self.reconnect_max = found.seconds()?,
            Setting::BreakerFailures => {
                self.breaker_failures = found.parse("give a whole number, or 0 for never")?;
            }
            Setting::LazyConnect => self.lazy = found.switch()?,
            Setting::KeyPrefix => self.key_prefix = Some(found.value.clone()),
            Setting::TlsCa => self.tls_of(found)?.ca = Some(found.value.clone().into()),
            Setting::TlsCert => self.tls_of(found)?.cert = Some(found.value.clone().into()),
            Setting::TlsKey => self.tls_of(found)?.key = Some(found.value.clone().into()),
            Setting::TlsInsecure => {
                let insecure = found.switch()?;
                if insecure || self.tls.is_some() {
                    self.tls_of(found)?.insecure = insecure;
                }
            }
        }
        Ok(())
    }

    fn tls_of(&mut self, found: &Found) -> Result<&mut Tls> {
        self.tls.as_mut().ok_or_else(|| {
            Error::invalid(format!(
                "{} is set, but the connection is not encrypted: use a URL with rediss, or REDIS_TLS=true",
                found.source
            ))
        })
    }
}
