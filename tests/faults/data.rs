//! Faults of what a server keeps, and of who may ask it.

use costguard::service::HealthStatus;
use costguard::{CostGuard, store::redis::RedisConfig};
use costguard::{ErrorKind, Event};

use super::ledger::{Load, Loses};
use super::support::Server;
use super::{CALL_TIMEOUT, auditor, clients, pass};

async fn tell(server: &Server, command: &[&str]) {
    let mut connection = direct(server).await;
    redis::cmd(command[0]).arg(&command[1..]).exec_async(&mut connection).await.unwrap();
}

async fn direct(server: &Server) -> redis::aio::MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_are_flushed() {
    let server = Server::start();
    let load = Load::start(clients(&server.url()).await, &["acme"]);
    for _ in 0..20 {
        pass(25).await;
        tell(&server, &["SCRIPT", "FLUSH"]).await;
    }
    let row = load.settle_accounts("SCRIPT FLUSH, 20 times", Loses::Nothing, &auditor(&server.url()).await).await;
    assert_eq!(row.failed, 0, "nobody notices: {row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_is_flushed() {
    let server = Server::start();
    let guards = clients(&server.url()).await;
    let (watched, mut events) = (guards[0].clone(), guards[0].events());
    let load = Load::start(guards, &["acme"]);
    pass(300).await;
    assert_eq!(watched.health().await.data_lost_ms, None);
    tell(&server, &["FLUSHALL"]).await;
    noticed(&mut events).await;
    let health = watched.health().await;
    assert!(health.data_lost_ms.is_some() && health.status == HealthStatus::Degraded, "{health:?}");
    let row = load.settle_accounts("FLUSHALL", Loses::Acknowledged, &auditor(&server.url()).await).await;
    assert!(row.lost > 0, "the ledger sees what a server forgets: {row:?}");
}

/// Waits until a client in use says that the data is gone.
pub(crate) async fn noticed(events: &mut tokio::sync::broadcast::Receiver<Event>) {
    let lost = async { while !matches!(events.recv().await.unwrap(), Event::DataLost { .. }) {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), lost).await.expect("a loss that is noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_that_is_full() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let load = Load::start(clients(&server.url()).await, &["acme"]);
    pass(200).await;
    tell(&server, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    pass(1_000).await;
    tell(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    let row =
        load.settle_accounts("memory full for 1 s (noeviction)", Loses::Nothing, &auditor(&server.url()).await).await;
    assert!(row.failed > 0, "{row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_rotated() {
    let server = Server::start_with(&["--requirepass", "old-secret"]);
    let admin = redis::Client::open(server.url().replace("redis://", "redis://:old-secret@")).unwrap();
    let mut admin = admin.get_multiplexed_async_connection().await.unwrap();
    let url = |password: &str| server.url().replace("redis://", &format!("redis://:{password}@"));
    let load = Load::start(clients(&url("old-secret")).await, &["acme"]);
    pass(200).await;
    // Both are right for a while, then only the new one is, and who has the old one is sent away.
    redis::cmd("ACL").arg(&["SETUSER", "default", ">new-secret"]).exec_async(&mut admin).await.unwrap();
    redis::cmd("ACL").arg(&["SETUSER", "default", "<old-secret"]).exec_async(&mut admin).await.unwrap();
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec_async(&mut admin).await.unwrap();
    pass(1_000).await;
    let config = RedisConfig::from_url(&url("old-secret")).unwrap().call_timeout(CALL_TIMEOUT);
    let err = CostGuard::builder().connect_with(&config).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(err.to_string().contains("password") && !err.to_string().contains("secret"), "{err}");
    let auditor = auditor(&url("new-secret")).await;
    // The old one is let in again: the same clients go on.
    redis::cmd("ACL").arg(&["SETUSER", "default", ">old-secret"]).exec_async(&mut admin).await.unwrap();
    let row = load.settle_accounts("password refused for 1 s, connections closed", Loses::Nothing, &auditor).await;
    assert!(row.failed > 0, "{row:?}");
}
