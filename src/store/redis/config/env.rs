//! The environment. Everything is looked up once and first, so that `.env.example` can be compared with what is read.

use super::settings::{Found, Parts, Setting};
use super::{Address, Credentials, RedisConfig, SERVER_PORT, Topology, url};
use crate::error::{Error, Result};

/// What the environment asks for.
pub(crate) enum Target {
    /// `memory:`, the embedded engine, asked for by name.
    Memory,
    /// A server.
    Server(Box<RedisConfig>),
}

/// The variables that say where the server is, beside the URL.
struct Place {
    host: Option<Found>,
    port: Option<Found>,
    username: Option<Found>,
    password: Option<Found>,
    db: Option<Found>,
    tls: Option<Found>,
}

impl Target {
    /// What the process's environment asks for.
    pub(crate) fn from_env() -> Result<Self> {
        read(|name| std::env::var(name).ok())
    }
}

pub(super) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Target> {
    // Compose files and shells commonly set what they do not know to nothing.
    let find = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(|value| Found::new(name, value));
    let (own_url, shared_url) = (find("COSTGUARD_URL"), find("REDIS_URL"));
    let place = Place {
        host: find("REDIS_HOST"),
        port: find("REDIS_PORT"),
        username: find("REDIS_USERNAME"),
        password: find("REDIS_PASSWORD"),
        db: find("REDIS_DB"),
        tls: find("REDIS_TLS"),
    };
    let sentinel = (find("COSTGUARD_SENTINEL_USERNAME"), find("COSTGUARD_SENTINEL_PASSWORD"));
    let settings = Setting::ALL.map(|(setting, variable, _)| find(variable).map(|found| (setting, found)));

    let mut parts = match (own_url, shared_url) {
        (Some(url), _) if url.value == "memory:" => return Ok(Target::Memory),
        // It replaces all that says where the shared server is.
        (Some(url), shared) => place.with_own(url::read(&url.value, &url.source)?, shared),
        (None, Some(url)) if url.value == "memory:" => {
            return place.refuse_beside_memory().map_or(Ok(Target::Memory), Err);
        }
        (None, Some(url)) => place.beside(url::read(&url.value, &url.source)?)?,
        (None, None) => place.alone()?,
    };
    if let Some(username) = sentinel.0 {
        parts.sentinel_credentials.username = Some(username.value);
    }
    if let Some(password) = sentinel.1 {
        parts.sentinel_credentials.password = Some(password.value);
    }
    for (setting, found) in settings.into_iter().flatten() {
        parts.set(setting, found)?;
    }
    Ok(Target::Server(Box::new(parts.into_config()?)))
}

impl Place {
    /// What the variables say without a URL.
    fn alone(self) -> Result<Parts> {
        let Some(host) = &self.host else {
            return Err(Error::invalid(
                "nothing says where Redis is: set REDIS_URL (redis://localhost:6379), or REDIS_HOST, or memory: as \
                 REDIS_URL for an embedded store in this process",
            ));
        };
        let is_v6 = host.value.parse::<std::net::Ipv6Addr>().is_ok();
        if !is_v6 && host.value.contains([':', '/', '@', ' ']) {
            // It may be a URL with a password, so it is not shown.
            return Err(Error::invalid(
                "REDIS_HOST holds more than a host: put a port into REDIS_PORT, and a URL into REDIS_URL",
            ));
        }
        let port = self.port()?.unwrap_or(SERVER_PORT);
        let mut parts = Parts::new(Topology::Server(Address::tcp(&host.value, port)), self.tls()?.unwrap_or(false));
        parts.db = self.db()?;
        parts.credentials = Credentials {
            username: self.username.map(|found| found.value),
            password: self.password.map(|found| found.value),
        };
        Ok(parts)
    }

    /// The credentials that the variables add to costguard's own URL. A password goes to the server it belongs to: not to this
    /// one when the URL names another user, or `REDIS_URL` or `REDIS_HOST` another server.
    fn with_own(self, mut parts: Parts, shared: Option<Found>) -> Parts {
        let credentials = &parts.credentials;
        let others_user = credentials.username.is_some()
            && self.username.as_ref().is_some_and(|found| credentials.username.as_ref() != Some(&found.value));
        let is_shared = |found: &Found| {
            url::read(&found.value, &found.source).is_ok_and(|shared| shared.topology == parts.topology)
        };
        let has_host = |found: &Found| match &parts.topology {
            Topology::Server(Address::Tcp { host, .. }) => *host == found.value,
            _ => false,
        };
        let others_server = match (&shared, &self.host) {
            (Some(url), _) => !is_shared(url),
            (None, Some(host)) => !has_host(host),
            (None, None) => false,
        };
        if let Some(password) = self.password
            && credentials.password.is_none()
            && !others_user
            && !others_server
        {
            parts.credentials.password = Some(password.value);
            parts.credentials.username = parts.credentials.username.or(self.username.map(|found| found.value));
        }
        parts
    }

    /// What the variables add to a URL, which may repeat it but not contradict it.
    fn beside(self, mut parts: Parts) -> Result<Parts> {
        let (host, port, db, tls) = (self.host.clone(), self.port()?, self.db()?, self.tls()?);
        match &parts.topology {
            Topology::Server(Address::Tcp { host: its_host, port: its_port }) => {
                if host.as_ref().is_some_and(|host| host.value != *its_host) {
                    return Err(contradicts("REDIS_HOST", "another host"));
                }
                if port.is_some_and(|port| port != *its_port) {
                    return Err(contradicts("REDIS_PORT", "another port"));
                }
            }
            _ if host.is_some() => return Err(contradicts("REDIS_HOST", "something other than one host")),
            _ if port.is_some() => return Err(contradicts("REDIS_PORT", "something other than one host")),
            _ => {}
        }
        if tls.is_some_and(|tls| tls != parts.tls) {
            return Err(contradicts("REDIS_TLS", if parts.tls { "TLS by its scheme" } else { "no TLS by its scheme" }));
        }
        if db.is_some() && parts.db.is_some() && db != parts.db {
            return Err(contradicts("REDIS_DB", "another database"));
        }
        parts.db = parts.db.or(db);
        let credentials = &mut parts.credentials;
        for (name, found, its) in [
            ("REDIS_USERNAME", self.username, &mut credentials.username),
            ("REDIS_PASSWORD", self.password, &mut credentials.password),
        ] {
            let Some(found) = found else { continue };
            if its.as_ref().is_some_and(|its| *its != found.value) {
                return Err(contradicts(name, "another"));
            }
            *its = Some(found.value);
        }
        Ok(parts)
    }

    fn refuse_beside_memory(&self) -> Option<Error> {
        let host = self.host.as_ref()?;
        Some(Error::invalid(format!(
            "REDIS_URL asks for an embedded store (memory:), and {} names a server: unset one of them",
            host.source
        )))
    }

    fn port(&self) -> Result<Option<u16>> {
        let Some(found) = &self.port else { return Ok(None) };
        if found.value.starts_with("tcp://") {
            return Err(found.refuse(
                "that is what Kubernetes sets for a service named redis; set enableServiceLinks: false, or REDIS_PORT to the \
                 number",
            ));
        }
        const WANTED: &str = "give a number from 1 to 65535";
        let port = found.parse(WANTED)?;
        if port == 0 { Err(found.refuse(WANTED)) } else { Ok(Some(port)) }
    }

    fn db(&self) -> Result<Option<u32>> {
        self.db.as_ref().map(|found| found.parse("give the number of the database, 0 or more")).transpose()
    }

    fn tls(&self) -> Result<Option<bool>> {
        self.tls.as_ref().map(Found::switch).transpose()
    }
}

/// Neither value is shown: beside a URL any of them may be a secret.
fn contradicts(name: &str, what: &str) -> Error {
    Error::invalid(format!("{name} contradicts REDIS_URL, which says {what}: change or unset one of them"))
}
