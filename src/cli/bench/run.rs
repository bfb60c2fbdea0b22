//! Running one operation with a number of tasks, and taking its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use costguard::CostGuard;
use hdrhistogram::Histogram;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::operation::{Operation, Requests};

/// When to stop: after so many operations or so much time, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) operations: u64,
    pub(super) time: Duration,
}

/// What all tasks together did.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) latencies_ns: Histogram<u64>,
    /// The share of the time that went into what is measured and not into preparing it.
    elapsed: Duration,
}

impl Measured {
    pub(super) fn per_second(&self) -> u64 {
        let done = u128::from(self.latencies_ns.len());
        u64::try_from(done * 1_000_000_000 / self.elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

/// Runs `operation` in `tasks` tasks at once.
pub(super) async fn measure(
    guard: &CostGuard,
    operation: Operation,
    tasks: u16,
    effort: Effort,
) -> anyhow::Result<Measured> {
    let all_tasks = u64::from(tasks);
    let start = Arc::new(Barrier::new(usize::from(tasks)));
    let mut running = JoinSet::new();
    for task in 0..tasks {
        // What does not divide goes to the first tasks.
        let extra = u64::from(u64::from(task) < effort.operations % all_tasks);
        let share = Effort { operations: effort.operations / all_tasks + extra, time: effort.time };
        let requests = Requests::new(operation, task)?;
        running.spawn(one_task(guard.clone(), requests, share, Arc::clone(&start)));
    }
    let mut latencies_ns = Histogram::new(3)?;
    let (mut began, mut ended, mut busy, mut preparing) = (None, None, Duration::ZERO, Duration::ZERO);
    while let Some(finished) = running.join_next().await {
        let (latencies, from, until, spent) = finished??;
        latencies_ns.add(latencies)?;
        busy += spent.0;
        preparing += spent.1;
        began = Some(began.map_or(from, |first: Instant| first.min(from)));
        ended = Some(ended.map_or(until, |last: Instant| last.max(until)));
    }
    let elapsed = began.zip(ended).map_or(Duration::ZERO, |(from, until)| until.duration_since(from));
    let elapsed = match preparing.as_nanos() {
        0 => elapsed,
        preparing => share_of(elapsed, busy.as_nanos(), preparing),
    };
    Ok(Measured { latencies_ns, elapsed })
}

async fn one_task(
    guard: CostGuard,
    mut requests: Requests,
    share: Effort,
    start: Arc<Barrier>,
) -> anyhow::Result<(Histogram<u64>, Instant, Instant, (Duration, Duration))> {
    let mut latencies_ns = Histogram::new(3)?;
    // The first request brings the script to the store, and is not counted. The others wait for it even when it fails.
    let first = async {
        requests.prepare(&guard).await?;
        requests.send(&guard).await
    };
    let first = first.await;
    start.wait().await;
    first?;
    let began = Instant::now();
    let (mut now, mut busy, mut preparing) = (began, Duration::ZERO, Duration::ZERO);
    for _ in 0..share.operations {
        if now.duration_since(began) >= share.time {
            break;
        }
        if requests.prepare(&guard).await? {
            let prepared = Instant::now();
            preparing += prepared.duration_since(now);
            now = prepared;
        }
        requests.send(&guard).await?;
        let after = Instant::now();
        busy += after.duration_since(now);
        latencies_ns.record(u64::try_from(after.duration_since(now).as_nanos())?)?;
        // The embedded store answers at once: without this, one task would keep a thread until it is done.
        tokio::task::coop::consume_budget().await;
        now = Instant::now();
    }
    Ok((latencies_ns, began, now, (busy, preparing)))
}

/// The part of a time that falls to the first of two parts of the work.
fn share_of(time: Duration, first: u128, second: u128) -> Duration {
    let share_ns = time.as_nanos() * first / (first + second).max(1);
    Duration::from_nanos(u64::try_from(share_ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_operation_asked_for_is_run_and_timed_however_many_tasks_share_them() {
        let guard = CostGuard::embedded();
        for (tasks, operations) in [(1, 5), (4, 10), (8, 3)] {
            let effort = Effort { operations, time: Duration::from_secs(60) };
            let measured = measure(&guard, Operation::Charge, tasks, effort).await.unwrap();
            assert_eq!(measured.latencies_ns.len(), operations);
            assert!(measured.per_second() > 0);
        }
    }

    #[test]
    fn what_is_prepared_takes_its_share_of_the_time() {
        assert_eq!(share_of(Duration::from_secs(9), 1, 2), Duration::from_secs(3));
        assert_eq!(share_of(Duration::from_secs(9), 0, 0), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_time_ends_a_run_that_has_operations_left() {
        let effort = Effort { operations: u64::MAX, time: Duration::from_millis(1) };
        let measured = measure(&CostGuard::embedded(), Operation::Charge, 2, effort).await.unwrap();
        assert!(!measured.latencies_ns.is_empty());
    }
}
