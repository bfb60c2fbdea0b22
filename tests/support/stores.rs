//! Every store that a promise is held on, with a way to look and to meddle behind the crate's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use costguard::store::embedded::{DumpValue, Embedded};
use costguard::store::redis::RedisStore;
use costguard::store::{Clock, ManualClock, Reply, Store};
use costguard::{Builder, CostGuard};
use redis::aio::MultiplexedConnection;

use super::server_url;

/// The embedded store's time when a test begins: 2026-02-01T12:00:00Z.
pub const START_MS: i64 = 1_769_947_200_000;

/// The variable with the user, `name:password`, as whom stores work on servers; tests look behind their back as they are.
pub const USER: &str = "COSTGUARD_TEST_USER";

/// One key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// The key, without the test's prefix.
    pub key: String,
    /// A string as it is, in quotes; a hash as its fields and values, sorted.
    pub value: String,
    /// When it ends, in milliseconds since the epoch; `None` without a TTL.
    pub expire_at_ms: Option<i64>,
}

/// A store and the part of it that belongs to one test.
pub struct TestStore {
    /// `embedded`, or the server's URL.
    pub name: String,
    /// What every key of this test begins with.
    pub prefix: String,
    pub store: Arc<dyn Store>,
    inner: Inner,
}

enum Inner {
    Embedded { store: Arc<Embedded>, clock: Arc<ManualClock> },
    Redis { url: String, connection: MultiplexedConnection },
}

/// Runs a test on the embedded store, on the shared server, and on every server in `COSTGUARD_TEST_SERVERS` (URLs, with
/// commas between).
pub async fn on_every_store(test: impl AsyncFn(&TestStore)) {
    for store in every_store().await {
        println!("on {}", store.name);
        test(&store).await;
        store.clean().await;
    }
}

/// The stores of [`on_every_store`], the embedded one first. They share one key prefix, so that errors, which name keys,
/// can be compared.
pub async fn every_store() -> Vec<TestStore> {
    let prefix = own_prefix();
    let mut stores = vec![TestStore::embedded(&prefix)];
    let more = std::env::var("COSTGUARD_TEST_SERVERS").unwrap_or_default();
    let more = more.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned);
    for url in std::iter::once(server_url()).chain(more) {
        stores.push(TestStore::redis(&url, &prefix).await);
    }
    stores
}

/// A prefix that no other test uses, in this process or another.
fn own_prefix() -> String {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let started_ns = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos();
    format!("test-{}-{started_ns}-{}:", std::process::id(), TESTS.fetch_add(1, Ordering::Relaxed))
}

impl TestStore {
    pub fn embedded(prefix: &str) -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        let store = Arc::new(Embedded::builder().clock(clock.clone()).build());
        let inner = Inner::Embedded { store: store.clone(), clock };
        Self { name: "embedded".to_owned(), prefix: prefix.to_owned(), store, inner }
    }

    pub async fn redis(url: &str, prefix: &str) -> Self {
        let connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let user = std::env::var(USER).unwrap_or_default();
        let as_user = url.replacen("://", &format!("://{user}{}", if user.is_empty() { "" } else { "@" }), 1);
        let store = Arc::new(RedisStore::connect(&as_user).await.unwrap());
        let inner = Inner::Redis { url: url.to_owned(), connection };
        Self { name: store.describe(), prefix: prefix.to_owned(), store, inner }
    }

    /// Settings for a guard on this test's part of the store.
    pub fn builder(&self) -> Builder {
        CostGuard::builder().prefix(&self.prefix)
    }

    pub fn guard(&self) -> CostGuard {
        self.builder().store(self.store.clone()).unwrap()
    }

    /// A guard that shares nothing with others but the data: on a server, a connection of its own.
    pub async fn another_guard(&self) -> CostGuard {
        match &self.inner {
            Inner::Embedded { .. } => self.guard(),
            Inner::Redis { url, .. } => self.builder().connect(url).await.unwrap(),
        }
    }

    /// The store's time.
    pub async fn now_ms(&self) -> i64 {
        match &self.inner {
            Inner::Embedded { clock, .. } => clock.now_ms(),
            Inner::Redis { connection, .. } => {
                let (s, us): (i64, i64) = redis::cmd("TIME").query_async(&mut connection.clone()).await.unwrap();
                s * 1000 + us / 1000
            }
        }
    }

    /// The store's clock, where the test owns it: on the embedded store.
    pub fn clock(&self) -> Option<&ManualClock> {
        match &self.inner {
            Inner::Embedded { clock, .. } => Some(clock),
            Inner::Redis { .. } => None,
        }
    }

    /// Runs one command on one key, named without the prefix: `command("SET", "a", &["5"])`.
    pub async fn command(&self, name: &str, key: &str, args: &[&str]) {
        let key = format!("{}{key}", self.prefix);
        match &self.inner {
            Inner::Embedded { store, .. } => {
                let script = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";
                let args: Vec<_> = std::iter::once(&name).chain(args).map(|arg| (*arg).to_owned()).collect();
                let reply = store.eval(script, &[key], &args).unwrap();
                assert!(!matches!(reply, Reply::Error(_)), "{name}: {reply:?}");
            }
            Inner::Redis { connection, .. } => {
                redis::cmd(name).arg(key).arg(args).exec_async(&mut connection.clone()).await.unwrap();
            }
        }
    }

    /// Everything that this test has stored, sorted by key. Without the store's own name, which comes when it comes.
    pub async fn dump(&self) -> Vec<Stored> {
        let mut dump = match &self.inner {
            Inner::Embedded { store, .. } => dump_embedded(store, &self.prefix),
            Inner::Redis { connection, .. } => dump_server(&mut connection.clone(), &self.prefix).await,
        };
        dump.retain(|stored| !stored.key.starts_with("epoch:"));
        dump.sort();
        dump
    }

    /// The value under a key named without the prefix.
    pub async fn value(&self, key: &str) -> Option<String> {
        let found = self.dump().await.into_iter().find(|stored| stored.key == key)?;
        Some(found.value.trim_matches('\'').to_owned())
    }

    /// Removes everything that this test has stored.
    pub async fn clean(&self) {
        for stored in self.dump().await {
            self.command("DEL", &stored.key, &[]).await;
        }
    }
}

fn dump_embedded(store: &Embedded, prefix: &str) -> Vec<Stored> {
    let entries = store.dump().into_iter().filter_map(|entry| {
        let value = match entry.value {
            DumpValue::String(text) => format!("'{text}'"),
            DumpValue::Hash(fields) => show_hash(fields),
            other => panic!("a value that the dump does not know: {other:?}"),
        };
        Some(Stored { key: entry.key.strip_prefix(prefix)?.to_owned(), value, expire_at_ms: entry.expire_at_ms })
    });
    entries.collect()
}

async fn dump_server(connection: &mut MultiplexedConnection, prefix: &str) -> Vec<Stored> {
    let (mut keys, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(10_000);
        let (next, found): (u64, Vec<String>) = scan.query_async(connection).await.unwrap();
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    // SCAN may name a key twice.
    keys.sort();
    keys.dedup();
    let mut dump = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(connection).await.unwrap();
        let expire_at_ms = expire_at_ms(connection, &key).await;
        let value = match kind.as_str() {
            "string" => {
                let text: Option<String> = redis::cmd("GET").arg(&key).query_async(connection).await.unwrap();
                text.map(|text| format!("'{text}'"))
            }
            "hash" => {
                let mut fields: Vec<(String, String)> =
                    redis::cmd("HGETALL").arg(&key).query_async(connection).await.unwrap();
                fields.sort();
                (!fields.is_empty()).then(|| show_hash(fields))
            }
            "none" => None,
            other => panic!("{key} is a {other}"),
        };
        // Ended since it was named.
        let Some(value) = value else { continue };
        let key = key.strip_prefix(prefix).unwrap().to_owned();
        dump.push(Stored { key, value, expire_at_ms: (expire_at_ms >= 0).then_some(expire_at_ms) });
    }
    dump
}

/// When a key ends, by the server's clock; negative where it does not.
async fn expire_at_ms(connection: &mut MultiplexedConnection, key: &str) -> i64 {
    match redis::cmd("PEXPIRETIME").arg(key).query_async(connection).await {
        Err(err) if err.to_string().contains("unknown command") => {}
        answer => return answer.unwrap(),
    }
    // Before Redis 7: the time that is left, of a millisecond that is the same before and after.
    let script = "local function now() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
        while true do
            local before, left = now(), redis.call('PTTL', KEYS[1])
            if left < 0 then return left elseif now() == before then return before + left end
        end";
    redis::cmd("EVAL").arg(script).arg(1).arg(key).query_async(connection).await.unwrap()
}

fn show_hash(fields: Vec<(String, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().map(|(field, value)| format!("{field}='{value}'")).collect();
    format!("{{{}}}", fields.join(" "))
}
