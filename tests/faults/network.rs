//! Faults of the network: between a client and a server that is well.

use super::ledger::{Load, Loses};
use super::support::{Fault, Proxy, Server};
use super::{auditor, clients, pass};

/// Load through a proxy, and what goes wrong meanwhile.
async fn through(fault: &'static str, breaks: impl AsyncFn(&Proxy)) -> super::ledger::Row {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let load = Load::start(clients(&proxy.url()).await, &["acme"]);
    pass(200).await;
    breaks(&proxy).await;
    load.settle_accounts(fault, Loses::Nothing, &auditor(&server.url()).await).await
}

/// The same fault to many calls, each with all that its connection carries.
async fn repeatedly(proxy: &Proxy, fault: Fault) {
    for _ in 0..40 {
        proxy.fail_next(fault, b"EVALSHA");
        pass(15).await;
    }
    assert!(proxy.faults_struck() > 20, "{} faults struck", proxy.faults_struck());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_never_arrive() {
    through("requests lost on the way, 40 times", async |proxy| repeatedly(proxy, Fault::DropRequest).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_never_arrive() {
    through("replies lost after the script ran, 40 times", async |proxy| repeatedly(proxy, Fault::LoseReply).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_stands_still() {
    let row = through("nothing passes for 2 s, connections stay open", async |proxy| {
        proxy.stall();
        pass(2_000).await;
        proxy.resume();
    })
    .await;
    assert!(row.failed > 0, "it stood still for longer than a call waits: {row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset() {
    through("all connections reset, 10 times", async |proxy| {
        for _ in 0..10 {
            proxy.cut();
            proxy.mend();
            pass(60).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut() {
    let row = through("connections cut and refused for 3 s", async |proxy| {
        proxy.cut();
        pass(3_000).await;
        proxy.mend();
    })
    .await;
    assert!(row.failed > 0, "{row:?}");
}
