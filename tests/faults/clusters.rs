//! Faults of servers that stand in for one another.

use std::time::Duration;

use costguard::CostGuard;
use costguard::store::Durability;
use tokio::task::block_in_place;

use super::ledger::{Load, Loses};
use super::support::{Cluster, Sentinels};
use super::{auditor, clients, clients_with, pass};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_under_sentinel() {
    let mut sentinels = block_in_place(Sentinels::start);
    let load = Load::start(clients(&sentinels.url()).await, &["acme"]);
    pass(300).await;
    sentinels.kill_primary();
    block_in_place(|| sentinels.settle());
    let auditor = auditor(&sentinels.url()).await;
    load.settle_accounts("primary killed, replica promoted by Sentinel", Loses::Acknowledged, &auditor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_when_a_replica_has_what_was_acknowledged() {
    let mut sentinels = block_in_place(Sentinels::start);
    let wait = Durability::wait(1, Duration::from_millis(200)).unwrap();
    let guards = clients_with(&CostGuard::builder().durability(wait), &sentinels.url()).await;
    let load = Load::start_waiting(guards, &["acme"]);
    pass(300).await;
    sentinels.kill_primary();
    block_in_place(|| sentinels.settle());
    let auditor = auditor(&sentinels.url()).await;
    // Sentinel promotes the replica that has most.
    let fault = "primary killed (Sentinel), every operation waits for a replica (WAIT 1)";
    load.settle_accounts(fault, Loses::Nothing, &auditor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_demoted_under_sentinel() {
    let sentinels = block_in_place(Sentinels::start);
    let load = Load::start(clients(&sentinels.url()).await, &["acme"]);
    pass(300).await;
    block_in_place(|| sentinels.demote_primary());
    block_in_place(|| sentinels.settle());
    let auditor = auditor(&sentinels.url()).await;
    load.settle_accounts("failover asked for, primary alive (Sentinel)", Loses::Acknowledged, &auditor).await;
}

/// Three roots, one on each primary.
fn roots(cluster: &Cluster) -> [String; 3] {
    [0, 1, 2].map(|place| cluster.root_on(place).0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves() {
    let cluster = block_in_place(Cluster::start);
    let roots = block_in_place(|| roots(&cluster));
    let load = Load::start(clients(&cluster.url(2)).await, &roots.each_ref().map(String::as_str));
    pass(200).await;
    for (root, to) in [(0, 1), (1, 2), (2, 0)] {
        block_in_place(|| cluster.move_slot_of(&roots[root], root, to));
        pass(100).await;
    }
    let auditor = auditor(&cluster.url(1)).await;
    load.settle_accounts("slots moved between primaries (Cluster)", Loses::Nothing, &auditor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_in_a_cluster() {
    let mut cluster = block_in_place(Cluster::start);
    let roots = block_in_place(|| roots(&cluster));
    let load = Load::start(clients(&cluster.url(2)).await, &roots.each_ref().map(String::as_str));
    pass(300).await;
    let url = cluster.url(2);
    block_in_place(|| {
        cluster.kill(0);
        cluster.until_whole();
    });
    load.settle_accounts("primary killed, its replica takes over (Cluster)", Loses::Acknowledged, &auditor(&url).await)
        .await;
}
