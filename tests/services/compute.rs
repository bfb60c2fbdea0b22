//! Values that are computed once for all who ask, whatever happens meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use costguard::Error;
use costguard::service::{Cache, OnTrouble};
use tokio::sync::oneshot;

use super::cache::model;
use super::*;

/// How long a lock of these tests lives, where one is to expire.
const LOCK_TTL: Duration = Duration::from_millis(300);

/// Lets a lock of [`LOCK_TTL`] expire: by the store's clock where the test owns it; a server's goes on by itself.
fn expire_lock(store: &TestStore) {
    if let Some(clock) = store.clock() {
        clock.advance_ms(301);
    }
}

async fn compute<T>(cache: &Cache, key: &str, value: T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let computed: Result<T, Error> = cache.get_or_compute(key, HOUR, || async { Ok(value) }).await;
    computed.unwrap()
}

/// Starts a computation and waits until it is under way; it ends, with `value`, when the sender is used.
async fn begin(cache: &Cache, key: &'static str, value: i32) -> (oneshot::Sender<()>, tokio::task::JoinHandle<i32>) {
    let ((begun, has_begun), (end, ends)) = (oneshot::channel(), oneshot::channel());
    let cache = cache.clone();
    let task = tokio::spawn(async move {
        let computed: Result<i32, Error> = cache
            .get_or_compute(key, HOUR, || async move {
                begun.send(()).unwrap();
                ends.await.unwrap();
                Ok(value)
            })
            .await;
        computed.unwrap()
    });
    has_begun.await.unwrap();
    (end, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_that_ask_one_computes() {
    on_every_store(async |store| {
        let guards = [store.guard(), store.another_guard().await, store.another_guard().await];
        let caches = guards.map(|guard| guard.cache("api"));
        for key in ["a", "b", "c"] {
            let (computes, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
            for task in 0..100 {
                let (cache, computes) = (caches[task % 3].clone(), computes.clone());
                tasks.spawn(async move {
                    let computed: Result<_, Error> = cache
                        .get_or_compute(key, HOUR, || async {
                            computes.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            Ok(model(key))
                        })
                        .await;
                    computed.unwrap()
                });
            }
            assert!(tasks.join_all().await.iter().all(|value| *value == model(key)));
            assert_eq!(computes.load(Ordering::SeqCst), 1);
        }
        let stats = caches.map(|cache| cache.stats());
        assert_eq!(stats.iter().map(|it| it.computes).sum::<u64>(), 3);
        assert!(stats.iter().map(|it| it.waits).sum::<u64>() > 0, "{stats:?}");
        lives(store).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_it_computes_keeps_nobody() {
    on_every_store(async |store| {
        let (cache, other) = (store.guard().cache("api").lock_ttl(LOCK_TTL), store.another_guard().await.cache("api"));
        // A runtime of its own that ends at once and runs nothing any more, as a process does.
        let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (begun, has_begun) = oneshot::channel();
        dying.spawn(async move {
            let never: Result<i32, Error> = cache
                .get_or_compute("a", HOUR, || async move {
                    begun.send(()).unwrap();
                    std::future::pending().await
                })
                .await;
            never
        });
        has_begun.await.unwrap();
        dying.shutdown_background();
        expire_lock(store);
        assert_eq!(compute(&other, "a", 2).await, 2);
        assert_eq!(other.get::<i32>("a").await.unwrap(), Some(2), "it had the lock, and stored it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_late_does_not_write_over_what_is_newer() {
    on_every_store(async |store| {
        let (slow, other) = (store.guard().cache("api").lock_ttl(LOCK_TTL), store.another_guard().await.cache("api"));
        let (end, late) = begin(&slow, "a", 1).await;
        expire_lock(store);
        assert_eq!(compute(&other, "a", 2).await, 2);
        end.send(()).unwrap();
        assert_eq!(late.await.unwrap(), 1, "its caller has it all the same");
        assert_eq!(other.get::<i32>("a").await.unwrap(), Some(2));
        assert_eq!((slow.stats().fenced, other.stats().fenced), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_set_or_invalidated_meanwhile_stays_so() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api");
        for (key, after) in [("delete", None), ("set", Some(2)), ("prefix", None)] {
            let (end, computed) = begin(&cache, key, 1).await;
            match key {
                "delete" => cache.delete(key).await.unwrap(),
                "set" => cache.set(key, &2).await.unwrap(),
                _ => assert!(cache.invalidate_prefix("pre", 10).await.unwrap().complete),
            }
            end.send(()).unwrap();
            assert_eq!(computed.await.unwrap(), 1);
            assert_eq!(cache.get::<i32>(key).await.unwrap(), after, "{key}");
        }
        assert_eq!(cache.stats().fenced, 3);
        let tagged = cache.tagged(&["models"]);
        let (end, computed) = begin(&tagged, "tagged", 1).await;
        cache.invalidate_tag("models").await.unwrap();
        end.send(()).unwrap();
        assert_eq!(computed.await.unwrap(), 1);
        assert_eq!(cache.get::<i32>("tagged").await.unwrap(), None);
        assert_eq!(compute(&tagged, "tagged", 3).await, 3);
        assert_eq!(cache.get::<i32>("tagged").await.unwrap(), Some(3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_computation_that_fails_or_is_dropped_leaves_the_next_one_to_compute() {
    on_every_store(async |store| {
        // Locks that do not expire while the test runs.
        let cache = store.guard().cache("api").lock_ttl(HOUR);
        let failed: Result<i32, Error> =
            cache.get_or_compute("a", HOUR, || async { Err("x".parse::<costguard::Money>().unwrap_err()) }).await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(compute(&cache, "a", 2).await, 2);
        assert_eq!(cache.get::<i32>("a").await.unwrap(), Some(2));

        let (_end, dropped) = begin(&cache, "b", 1).await;
        dropped.abort();
        assert_eq!(compute(&cache, "b", 2).await, 2);
        assert_eq!(cache.get::<i32>("b").await.unwrap(), Some(2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_longer_than_a_lock_computes_for_itself() {
    on_every_store(async |store| {
        let (slow, hasty) = (store.guard().cache("api").lock_ttl(HOUR), store.guard().cache("api").lock_ttl(LOCK_TTL));
        let (end, computed) = begin(&slow, "a", 1).await;
        assert_eq!(compute(&hasty, "a", 2).await, 2);
        assert_eq!(hasty.get::<i32>("a").await.unwrap(), None, "it had no right to store it");
        end.send(()).unwrap();
        assert_eq!(computed.await.unwrap(), 1);
        assert_eq!(hasty.get::<i32>("a").await.unwrap(), Some(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refreshes_early_and_the_others_have_the_old_value() {
    on_every_store(async |store| {
        let eager = store.guard().cache("api").early_refresh(1e12);
        let calm = store.guard().cache("api").early_refresh(0.0);
        assert_eq!(compute(&eager, "a", 1).await, 1);
        let (end, refreshed) = begin(&eager, "a", 2).await;
        assert_eq!((compute(&eager, "a", 3).await, compute(&calm, "a", 4).await), (1, 1));
        end.send(()).unwrap();
        assert_eq!(refreshed.await.unwrap(), 2);
        assert_eq!(compute(&calm, "a", 5).await, 2);
        let stats = eager.stats();
        assert_eq!((stats.computes, stats.early, stats.waits), (2, 1, 0));

        let failed: Result<i32, Error> =
            eager.get_or_compute("a", HOUR, || async { Err("x".parse::<costguard::Money>().unwrap_err()) }).await;
        assert_eq!(failed.unwrap(), 2, "the old value serves");
        // What was set and not computed has taken no time, and is not refreshed.
        eager.set("a", &6).await.unwrap();
        assert_eq!(compute(&eager, "a", 7).await, 6);
    })
    .await;
}

#[tokio::test]
async fn a_refresh_that_fails_gives_no_value_that_is_gone_by_then() {
    on_every_store(async |store| {
        let eager = store.guard().cache("api").tagged(&["models"]).early_refresh(1e12);
        for is_invalidated in [false, true] {
            assert_eq!(compute(&eager, "a", 1).await, 1);
            let (meanwhile, failure) = (eager.clone(), || "x".parse::<costguard::Money>().unwrap_err());
            let refreshed: Result<i32, Error> = eager
                .get_or_compute("a", HOUR, || async move {
                    match is_invalidated {
                        true => meanwhile.invalidate_tag("models").await?,
                        false => meanwhile.delete("a").await?,
                    }
                    Err(failure())
                })
                .await;
            assert_eq!(refreshed.unwrap_err().kind(), failure().kind());
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_remembered_by_choice() {
    on_every_store(async |store| {
        let finds = AtomicUsize::new(0);
        let look = async |cache: &Cache, key: &str| {
            let found: Result<Option<i32>, Error> = cache
                .get_or_find(key, HOUR, || async {
                    finds.fetch_add(1, Ordering::SeqCst);
                    Ok(None)
                })
                .await;
            assert_eq!(found.unwrap(), None);
            finds.load(Ordering::SeqCst)
        };
        let cache = store.guard().cache("api");
        assert_eq!((look(&cache, "a").await, look(&cache, "a").await), (1, 2));
        let remembers = cache.clone().remember_none(Duration::from_secs(20));
        assert_eq!((look(&remembers, "a").await, look(&remembers, "a").await), (3, 3));
        assert!(remembers.ttl("a").await.unwrap().unwrap() <= Duration::from_secs(20));
        let found: Result<_, Error> = remembers.get_or_find("b", HOUR, || async { Ok(Some(5)) }).await;
        assert_eq!(found.unwrap(), Some(5));
        assert!(remembers.ttl("b").await.unwrap().unwrap() > HOUR / 2);
    })
    .await;
}

#[tokio::test]
async fn a_value_too_large_to_store_is_given_and_counted() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api").most_bytes(5);
        assert_eq!(compute(&cache, "a", "123456".to_owned()).await, "123456");
        assert_eq!((cache.stats().too_large, cache.exists("a").await.unwrap()), (1, false));
        assert_eq!(compute(&cache.clone().lock_ttl(HOUR), "a", "1".to_owned()).await, "1");
        assert!(cache.exists("a").await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_before_he_knows_that_he_has_the_lock_gives_it_back() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let cache = CostGuard::connect(&proxy.url()).await.unwrap().cache("api").lock_ttl(HOUR);
    // The server has the scripts then.
    compute(&cache, "warm", 1).await;
    proxy.fail_next(Fault::HoldReply, b"api#lock:{a}");
    let leaving = cache.clone();
    let task = tokio::spawn(async move { compute(&leaving, "a", 1).await });
    while proxy.faults_struck() == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    proxy.resume();
    let next = tokio::time::timeout(Duration::from_secs(20), compute(&cache, "a", 2)).await;
    assert_eq!(next.expect("the lock is free"), 2);
    assert_eq!(cache.get::<i32>("a").await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_messages_change_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let cache = CostGuard::connect(&proxy.url()).await.unwrap().cache("api").tagged(&["t"]).lock_ttl(HOUR);
    let keys = ["a", "b", "c", "d", "e", "f"];
    for (n, key) in keys.iter().enumerate() {
        let fault = if n % 2 == 0 { Fault::LoseReply } else { Fault::DropRequest };
        proxy.fail_next(fault, if n < 4 { b"api#lock:" } else { b"api#tag:" });
        assert_eq!(compute(&cache, key, n).await, n);
        assert_eq!(cache.get::<usize>(key).await.unwrap(), Some(n));
        proxy.fail_next(fault, b"api:");
        cache.set(key, &n).await.unwrap();
        proxy.fail_next(fault, b"api:");
        assert_eq!(cache.get::<usize>(key).await.unwrap(), Some(n));
    }
    assert_eq!((proxy.faults_struck(), cache.stats().computes), (18, 6));
    assert_eq!((cache.stats().away_reads, cache.stats().away_writes), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_reads_are_misses_and_writes_do_nothing_or_fail() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let config = RedisConfig::from_url(&proxy.url()).unwrap().call_timeout(Duration::from_millis(300));
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let cache = guard.cache("api");
    let strict = cache.clone().when_away(OnTrouble::Fail);
    cache.set("a", &1).await.unwrap();
    proxy.cut();

    assert_eq!(cache.get::<i32>("a").await.unwrap(), None);
    assert!(!cache.exists("a").await.unwrap() && !cache.expire("a", HOUR).await.unwrap());
    cache.set("a", &2).await.unwrap();
    cache.tagged(&["t"]).hset("h", "f", &2).await.unwrap();
    assert_eq!(compute(&cache, "a", 3).await, 3);
    let stats = cache.stats();
    assert_eq!((stats.away_reads, stats.away_writes, stats.computes), (4, 3, 1), "{stats:?}");

    let away = |kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Ambiguous);
    assert!(away(strict.get::<i32>("a").await.unwrap_err().kind()));
    assert!(away(strict.set("a", &2).await.unwrap_err().kind()));
    let computed: Result<i32, Error> = strict.get_or_compute("a", HOUR, || async { Ok(3) }).await;
    assert!(away(computed.unwrap_err().kind()));
    // What must not be lost fails in any case.
    assert!(away(cache.delete("a").await.unwrap_err().kind()));
    assert!(away(cache.invalidate_tag("t").await.unwrap_err().kind()));
    assert!(away(cache.invalidate_prefix("a", 10).await.unwrap_err().kind()));
    assert!(away(cache.incr("n", 1).await.unwrap_err().kind()));
    let warmed = cache.warm([("w", 1)], HOUR, |_| {}).await;
    assert_eq!((warmed.stored, warmed.failed), (0, 1));

    proxy.mend();
    let mut back = None;
    for _ in 0..400 {
        back = cache.get::<i32>("a").await.unwrap();
        if back.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(back, Some(1), "what was written before is there, and what was not is not");
}
