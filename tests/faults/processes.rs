//! Faults of the server's process.

use super::data::noticed;
use super::ledger::{Load, Loses};
use super::support::Server;
use super::{auditor, clients, pass};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_with_its_log() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let load = Load::start(clients(&server.url()).await, &["acme"]);
    pass(200).await;
    server.kill();
    pass(1_500).await;
    server.restart();
    load.settle_accounts("killed, back after 1.5 s (AOF, fsync always)", Loses::Nothing, &auditor(&server.url()).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_empty() {
    let mut server = Server::start();
    let guards = clients(&server.url()).await;
    let mut events = guards[0].events();
    let watched = guards[0].clone();
    let load = Load::start(guards, &["acme"]);
    pass(300).await;
    assert_eq!(watched.health().await.data_lost_ms, None);
    server.kill();
    server.restart();
    noticed(&mut events).await;
    let row =
        load.settle_accounts("killed, back without its data", Loses::Acknowledged, &auditor(&server.url()).await).await;
    assert!(row.lost > 0, "the ledger sees what a server forgets: {row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_frozen() {
    let server = Server::start();
    let load = Load::start(clients(&server.url()).await, &["acme"]);
    pass(200).await;
    server.signal("STOP");
    pass(2_500).await;
    server.signal("CONT");
    let row = load.settle_accounts("frozen for 2.5 s (SIGSTOP)", Loses::Nothing, &auditor(&server.url()).await).await;
    assert!(row.failed > 0, "{row:?}");
}
