//! While the store is away: calls cost no timeouts, what is granted without it stays within its share, says so, and arrives
//! once when the store is back.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "outage/breaker.rs"]
mod breaker;
#[path = "outage/holds.rs"]
mod holds;
#[path = "outage/queue.rs"]
mod queue;
#[path = "outage/rates.rs"]
mod rates;
#[path = "outage/share.rs"]
mod share;
mod support;

use std::time::{Duration, Instant};

use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, Decided, Fraction, Limit, Meter, Money, Outage, Policy, Subject, Window};

use self::support::{Proxy, Server};

/// How long anything may take that should happen at once, on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// Gives up soon, and is back soon.
fn config(url: &str) -> RedisConfig {
    let ms = Duration::from_millis;
    RedisConfig::from_url(url).unwrap().call_timeout(ms(300)).socket_timeout(ms(300)).reconnect(ms(20), ms(100))
}

fn policy(limit: i64) -> Policy {
    Policy::new([Limit::new(Counter::new("user", Meter::COST, Window::total()), limit)]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

fn a_tenth() -> Outage {
    Outage::Local(Fraction::one_in(10).unwrap())
}

/// A server, a way to it that can be cut, and a guard that has no need of it.
struct Setting {
    server: Server,
    proxy: Proxy,
    /// Through the proxy.
    guard: CostGuard,
    /// Beside it.
    direct: CostGuard,
}

impl Setting {
    async fn new(outage: Outage) -> Self {
        let server = Server::start();
        let proxy = Proxy::start(&server.url()).await;
        let guard = connect(&proxy, outage).await;
        let direct = CostGuard::connect(&server.url()).await.unwrap();
        Self { server, proxy, guard, direct }
    }

    /// What the store has counted.
    async fn used(&self, policy: &Policy) -> i64 {
        self.direct.peek(policy, &alice()).await.unwrap()[0].used
    }

    async fn cut(&self) {
        cut(&self.proxy, &[&self.guard]).await;
    }

    /// Mends the way and waits until all is delivered.
    async fn deliver(&self) {
        self.proxy.mend();
        until("all is delivered", async || self.guard.undelivered().depth == 0).await;
    }
}

async fn connect(proxy: &Proxy, outage: Outage) -> CostGuard {
    CostGuard::builder().outage(outage).connect_with(&config(&proxy.url())).await.unwrap()
}

/// Cuts the way, and waits until these know it: a call that is under way may still arrive.
async fn cut(proxy: &Proxy, guards: &[&CostGuard]) {
    proxy.cut();
    for guard in guards {
        until("the way is cut", async || guard.peek(&policy(1), &alice()).await.is_err()).await;
    }
}

/// Has the server take a call whose answer never comes: the way is cut as soon as the answer is lost.
async fn lose<T>(proxy: &Proxy, call: impl IntoFuture<Output = T>) -> T {
    let struck = proxy.faults_struck();
    proxy.lose_next_reply();
    let cut = async {
        while proxy.faults_struck() == struck {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.cut();
    };
    tokio::join!(call.into_future(), cut).0
}

fn without(decided: Decided) -> bool {
    decided == Decided::WithoutStore
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
