//! URLs. They hold passwords, so an error shows a part of one only where that cannot be a piece of a password.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::settings::{Found, Parts, Setting};
use super::{Address, Credentials, SENTINEL_PORT, SERVER_PORT, Topology};
use crate::error::{Error, Result};

const SHAPES: &str = "write redis://[[user]:password@]host[:6379][/0], rediss:// for TLS, redis+unix:///path, \
                      redis+sentinel://host[:26379],host2/primary-name, redis+cluster://host,host2, or memory:";

/// Reads a URL; `source` is what errors call it.
pub(super) fn read(url: &str, source: &str) -> Result<Parts> {
    let refuse = |why: &str| Error::invalid(format!("{source} is no Redis URL: {why}"));
    let (scheme, rest) = url.split_once(':').ok_or_else(|| refuse(SHAPES))?;
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let place = place.strip_prefix("//").unwrap_or(place);
    let has_slashes = rest.starts_with("//");

    let kind = Kind::of(&scheme.to_ascii_lowercase()).ok_or_else(|| refuse(SHAPES))?;
    if kind.name != Name::Unix && !has_slashes {
        return Err(refuse(SHAPES));
    }
    let (authority, path) = match kind.name {
        Name::Unix => ("", place),
        _ => place.split_once('/').unwrap_or((place, "")),
    };
    let stray = |text: &str| kind.name != Name::Unix && text.contains('@');
    if url.contains('#') || stray(path) || query.is_some_and(stray) {
        return Err(refuse("in user and password, write : / ? # @ and % percent-encoded, like %2F for a slash"));
    }
    let (userinfo, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    let credentials = userinfo.map_or(Ok(Credentials::default()), read_userinfo).map_err(refuse)?;
    let mut db = None;
    let topology = match kind.name {
        Name::Unix if path.is_empty() => return Err(refuse("it names no socket: redis+unix:///run/redis.sock")),
        Name::Unix => Topology::Server(Address::Unix(PathBuf::from(decode(path).map_err(refuse)?))),
        Name::Server => {
            db = read_db(path).map_err(refuse)?;
            match <[Address; 1]>::try_from(read_hosts(hosts, SERVER_PORT).map_err(refuse)?) {
                Ok([address]) => Topology::Server(address),
                Err(_) => return Err(refuse("it names several hosts: use redis+sentinel:// or redis+cluster://")),
            }
        }
        Name::Sentinel => {
            let (primary, number) = path.split_once('/').unwrap_or((path, ""));
            db = read_db(number).map_err(refuse)?;
            let primary = decode(primary).map_err(refuse)?;
            if primary.is_empty() {
                return Err(refuse(
                    "after the sentinels comes the primary's name: redis+sentinel://host:26379/mymaster",
                ));
            }
            Topology::Sentinel { sentinels: read_hosts(hosts, SENTINEL_PORT).map_err(refuse)?, primary }
        }
        Name::Cluster => {
            db = read_db(path).map_err(refuse)?;
            Topology::Cluster { seeds: read_hosts(hosts, SERVER_PORT).map_err(refuse)? }
        }
    };
    let mut parts = Parts { db, credentials, ..Parts::new(topology, kind.tls) };
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        read_pair(&mut parts, pair, kind.name, source)?;
    }
    Ok(parts)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Server,
    Unix,
    Sentinel,
    Cluster,
}

struct Kind {
    name: Name,
    tls: bool,
}

impl Kind {
    fn of(scheme: &str) -> Option<Self> {
        let (base, name) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            "unix" if name.is_empty() => return Some(Self { name: Name::Unix, tls: false }),
            _ => return None,
        };
        let name = match name {
            "" => Name::Server,
            "unix" if !tls => Name::Unix,
            "sentinel" => Name::Sentinel,
            "cluster" => Name::Cluster,
            _ => return None,
        };
        Some(Self { name, tls })
    }
}

fn read_userinfo(userinfo: &str) -> Result<Credentials, &'static str> {
    let (username, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, pass)| (user, Some(pass)));
    let username = Some(decode(username)?).filter(|name| !name.is_empty());
    let password = password.map(decode).transpose()?.filter(|password| !password.is_empty());
    Ok(Credentials { username, password })
}

/// `host`, `host:port` or `[v6]:port`, and more of them after commas.
fn read_hosts(hosts: &str, default_port: u16) -> Result<Vec<Address>, &'static str> {
    let address = |text: &str| {
        let (host, port) = match text.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or("a host in [ lacks its ]")?,
            None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            None => return Err("after a host in [ ] comes :port or nothing"),
            Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or(
                "a port is not a number from 1 to 65535; or the password lacks its @host, or holds a character that must be \
                 percent-encoded",
            )?,
        };
        let host = decode(host)?;
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control() || "/@?#".contains(c)) {
            return Err("it names no host, or an impossible one");
        }
        Ok(Address::Tcp { host, port })
    };
    hosts.split(',').map(address).collect()
}

fn read_db(path: &str) -> Result<Option<u32>, &'static str> {
    if path.is_empty() {
        return Ok(None);
    }
    path.parse().map(Some).map_err(|_| "after the last slash comes the number of the database, like /0")
}

fn read_pair(parts: &mut Parts, pair: &str, name: Name, source: &str) -> Result<()> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let value = decode(value).map_err(|why| Error::invalid(format!("{source}, {key}: {why}")))?;
    let found = Found::new(format!("{source}, {key}"), value);
    // A socket's URL has no place for them before the path.
    match (name, key) {
        (Name::Unix, "db") => parts.db = Some(found.parse("give the number of the database")?),
        (Name::Unix, "user") => parts.credentials.username = Some(found.value),
        (Name::Unix, "pass") => parts.credentials.password = Some(found.value),
        _ => {
            let known = Setting::ALL.iter().find(|(_, _, query)| *query == key);
            let Some((setting, ..)) = known else {
                let names: Vec<_> = Setting::ALL.iter().map(|(_, _, query)| *query).collect();
                return Err(Error::invalid(format!(
                    "{source} has the setting {key:?}, which there is not: {}",
                    names.join(", ")
                )));
            };
            parts.set(*setting, found)?;
        }
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, &'static str> {
    // A `%` that begins no code would pass as it stands: a password cut wrongly, refused by the server for no clear reason.
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if !after.bytes().take(2).filter(u8::is_ascii_hexdigit).count().eq(&2) {
            return Err("a % is not followed by two hexadecimal digits: write it %25");
        }
        rest = after;
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| "what is percent-encoded is no UTF-8")
}
