//! How long each operation takes through the typed API: on the embedded engine, and on Redis when one can be had.
//!
//! `COSTGUARD_TEST_REDIS_URL` names the server, else `redis-server` or `valkey-server` on the PATH is started.

// A measuring program: set-up that fails should end it.
#![allow(clippy::expect_used, missing_docs)]

mod cases;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use cases::{CASES, Fixture};
use costguard::CostGuard;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

fn embedded(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    operations(criterion, "embedded", &runtime, &Fixture::new(CostGuard::embedded()));
}

fn redis(criterion: &mut Criterion) {
    let is_given = std::env::var("COSTGUARD_TEST_REDIS_URL").is_ok_and(|url| !url.is_empty());
    if !is_given && support::server::server_program().is_none() {
        println!("no Redis to measure on: set COSTGUARD_TEST_REDIS_URL or put redis-server on the PATH");
        return;
    }
    // The connection works on a thread of its own while the bench waits on this one.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let fixture = runtime.block_on(Fixture::connect(&support::server_url()));
    println!("redis: {}", fixture.guard.store().describe());
    operations(criterion, "redis", &runtime, &fixture);
}

fn operations(criterion: &mut Criterion, store: &str, runtime: &Runtime, fixture: &Fixture) {
    let mut group = criterion.benchmark_group(store);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for case in CASES {
        runtime.block_on(case.prepare(fixture));
        group.bench_function(case.label(), |bencher| bencher.to_async(runtime).iter(|| (case.call)(fixture)));
    }
    group.finish();
}

criterion_group!(benches, embedded, redis);
criterion_main!(benches);
