//! The cache: values, hashes, invalidation.

use costguard::Error;
use costguard::service::{Cache, OnTrouble};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) price: Option<u64>,
}

pub(crate) fn model(name: &str) -> Model {
    Model { name: name.to_owned(), price: Some(7) }
}

#[tokio::test]
async fn values_are_typed_and_live_for_an_hour_unless_told_otherwise() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api");
        assert_eq!(cache.get::<Model>("models:a").await.unwrap(), None);
        cache.set("models:a", &model("a b\nü\"")).await.unwrap();
        cache.set_for("models:b", &model("b"), Duration::from_secs(5)).await.unwrap();
        let other = store.another_guard().await.cache("api");
        assert_eq!(other.get("models:a").await.unwrap(), Some(model("a b\nü\"")));
        assert_eq!(store.value("api:{models:b}").await.as_deref(), Some(r#"{"name":"b","price":7}"#));

        let (one, two) = (other.ttl("models:a").await.unwrap().unwrap(), cache.ttl("models:b").await.unwrap().unwrap());
        assert!(one <= HOUR && one > HOUR * 9 / 10 && two <= Duration::from_secs(5));
        assert!(cache.expire("models:b", HOUR * 2).await.unwrap());
        assert!(cache.ttl("models:b").await.unwrap().unwrap() > HOUR);
        cache.delete("models:a").await.unwrap();
        assert!(!cache.exists("models:a").await.unwrap() && cache.exists("models:b").await.unwrap());
        assert_eq!(cache.ttl("models:a").await.unwrap(), None);
        assert!(!cache.expire("models:a", HOUR).await.unwrap());

        assert_eq!(cache.incr("hits", 5).await.unwrap(), 5);
        assert_eq!(other.incr("hits", 2).await.unwrap(), 7);
        assert_eq!(cache.get::<i64>("hits").await.unwrap(), Some(7));
        cache.set("hits", &i64::MAX).await.unwrap();
        assert_eq!(cache.incr("hits", 1).await.unwrap_err().kind(), ErrorKind::Overflow);
        assert_eq!(cache.incr("hits", -1).await.unwrap_err().kind(), ErrorKind::Invalid);
        lives(store).await;
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn many_at_once_and_hashes() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api").default_ttl(Duration::from_secs(60));
        cache.set_many(&[("a", 1), ("c", 3)]).await.unwrap();
        assert_eq!(cache.get_many::<i32>(&["c", "b", "a"]).await.unwrap(), [Some(3), None, Some(1)]);
        cache.hset("h", "x:y", &model("x")).await.unwrap();
        cache.hset("h", "a\n", &model("")).await.unwrap();
        assert_eq!(cache.hget::<Model>("h", "x:y").await.unwrap(), Some(model("x")));
        assert_eq!(cache.hget::<Model>("h", "z").await.unwrap(), None);
        let all = cache.hget_all::<Model>("h").await.unwrap();
        assert_eq!(all, [("a\n".to_owned(), model("")), ("x:y".to_owned(), model("x"))]);
        assert!(cache.hget_all::<Model>("none").await.unwrap().is_empty());

        let mut seen = Vec::new();
        let entries = (0..200).map(|n| (format!("w{n}"), if n == 50 { "x".repeat(2 << 20) } else { n.to_string() }));
        let warmed = cache.warm(entries, HOUR, |progress| seen.push((progress.done, progress.failed))).await;
        assert_eq!((warmed.stored, warmed.failed), (199, 1));
        assert_eq!(warmed.error.unwrap().kind(), ErrorKind::Invalid);
        assert!(seen.len() == 200 && seen[199] == (200, 1), "{:?}", seen.last());
        assert_eq!(cache.get::<String>("w199").await.unwrap().as_deref(), Some("199"));
        lives(store).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_or_no_name_is_refused() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api").most_bytes(10);
        cache.set("k", "12345678").await.unwrap();
        let err = cache.set("k", "123456789").await.unwrap_err();
        assert!(err.kind() == ErrorKind::Invalid && err.to_string().contains("11 bytes"), "{err}");
        assert_eq!(cache.get::<String>("k").await.unwrap().as_deref(), Some("12345678"));
        let kind = |result: costguard::Result<Option<i32>>| result.unwrap_err().kind();
        for key in ["", &"x".repeat(1025)] {
            assert_eq!(kind(cache.get(key).await), ErrorKind::Invalid);
        }
        for name in ["", "a#b", &"x".repeat(201)] {
            assert_eq!(kind(store.guard().cache(name).get("k").await), ErrorKind::Invalid);
        }
        assert!(cache.set_for("k", "1", Duration::ZERO).await.is_err());
        assert!(cache.tagged(&[""]).set("k", "1").await.is_err());
        assert!(cache.tagged(&["t"; 17]).set("k", "1").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn hostile_keys_reach_no_other_key() {
    on_every_store(async |store| {
        let (api, other) = (store.guard().cache("api"), store.guard().cache("api:x"));
        let keys = ["a", "a}", "{a}", "a:b", "a%7D", "*", "#lock:{a}", "a\r\nb", "}:{a"];
        for (n, key) in keys.iter().enumerate() {
            api.tagged(&["a", "b;c=d"]).set(key, &n).await.unwrap();
            other.set(key, &(n + 100)).await.unwrap();
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(api.get(key).await.unwrap(), Some(n), "{key:?}");
            assert_eq!(other.get(key).await.unwrap(), Some(n + 100), "{key:?}");
        }
        let epochs = store.dump().await.iter().filter(|it| it.key.starts_with("epoch")).count();
        // And two tags.
        assert_eq!(store.dump().await.len() - epochs, 2 * keys.len() + 2);
    })
    .await;
}

#[tokio::test]
async fn a_tag_invalidates_all_that_carries_it() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api");
        let (models, acme) = (cache.tagged(&["models"]), cache.tagged(&["models", "org:acme"]));
        models.set("a", &1).await.unwrap();
        acme.set("b", &2).await.unwrap();
        cache.set("c", &3).await.unwrap();
        let read = async || cache.get_many::<i32>(&["a", "b", "c"]).await.unwrap();
        assert_eq!(read().await, [Some(1), Some(2), Some(3)]);
        cache.invalidate_tag("org:acme").await.unwrap();
        assert_eq!(read().await, [Some(1), None, Some(3)]);
        acme.set("b", &4).await.unwrap();
        store.another_guard().await.cache("api").invalidate_tag("models").await.unwrap();
        assert_eq!(read().await, [None, None, Some(3)]);
        // A new generation is another one: the old values stay old.
        models.set("d", &5).await.unwrap();
        assert_eq!(read().await, [None, None, Some(3)]);
        assert_eq!(cache.get::<i32>("d").await.unwrap(), Some(5));
        lives(store).await;
    })
    .await;
}

#[tokio::test]
async fn a_value_that_lives_longer_has_tags_that_do_so_too() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api");
        let models = cache.tagged(&["models", "org:acme"]);
        models.set("a", &1).await.unwrap();
        models.set("b", &2).await.unwrap();
        assert!(cache.expire("a", HOUR * 5).await.unwrap());
        for (key, left) in lives(store).await {
            assert_eq!(left > HOUR * 4, !key.ends_with("{b}"), "{key} lives for {left:?}");
        }
        cache.invalidate_tag("org:acme").await.unwrap();
        assert!(!cache.expire("a", HOUR).await.unwrap(), "there is none");
        assert_eq!(cache.get::<i32>("a").await.unwrap(), None);
        cache.hset("hash", "field", &1).await.unwrap();
        assert!(cache.expire("hash", HOUR * 2).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn what_is_added_to_has_no_tags() {
    on_every_store(async |store| {
        let cache = store.guard().cache("api").tagged(&["models"]);
        assert_eq!(cache.incr("hits", 5).await.unwrap(), 5);
        cache.invalidate_tag("models").await.unwrap();
        assert_eq!((cache.get("hits").await.unwrap(), cache.incr("hits", 1).await.unwrap()), (Some(5), 6));
        cache.set("tagged", &5).await.unwrap();
        cache.get_or_compute("computed", HOUR, || async { Ok::<_, Error>(5) }).await.unwrap();
        for key in ["tagged", "computed"] {
            assert_eq!(cache.incr(key, 1).await.unwrap_err().kind(), ErrorKind::Invalid, "{key}");
            assert_eq!(cache.get(key).await.unwrap(), Some(5), "{key}");
        }
        store.guard().cache("api").set("text", "five").await.unwrap();
        assert_eq!(cache.incr("text", 1).await.unwrap_err().kind(), ErrorKind::Corrupt);
    })
    .await;
}

#[tokio::test]
async fn a_prefix_is_invalidated_within_bounds() {
    on_every_store(async |store| {
        let (cache, other) = (store.guard().cache("api"), store.guard().cache("api2"));
        for n in 0..20 {
            cache.set(&format!("users:{n}"), &n).await.unwrap();
        }
        cache.set("user", &1).await.unwrap();
        cache.set("user*", &1).await.unwrap();
        other.set("users:1", &1).await.unwrap();
        let some = cache.invalidate_prefix("users:", 5).await.unwrap();
        assert!(some.removed == 5 && !some.complete, "{some:?}");
        let rest = cache.invalidate_prefix("users:", 100).await.unwrap();
        assert!(rest.removed == 15 && rest.complete, "{rest:?}");
        assert_eq!(cache.invalidate_prefix("user*", 100).await.unwrap().removed, 1);
        assert_eq!((cache.get("user").await.unwrap(), other.get("users:1").await.unwrap()), (Some(1), Some(1)));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_a_miss_or_an_error_by_choice() {
    on_every_store(async |store| {
        let cache: Cache = store.guard().cache("api");
        let strict = cache.clone().when_undecodable(OnTrouble::Fail);
        cache.set("text", "no number").await.unwrap();
        store.command("HSET", "api:{hash}", &["f", "1"]).await;
        store.command("SET", "api:{torn}", &["{\"name\":"]).await;
        store.command("SET", "api:{head}", &["#torn"]).await;
        for key in ["text", "hash", "torn", "head"] {
            let before = cache.stats().undecodable;
            assert_eq!(cache.get::<i32>(key).await.unwrap(), None);
            assert_eq!(cache.stats().undecodable, before + 1, "{key}");
            assert_eq!(strict.get::<i32>(key).await.unwrap_err().kind(), ErrorKind::Corrupt);
            // The next one who computes it writes over it.
            let fixed: costguard::Result<_> = cache.get_or_compute(key, HOUR, || async { Ok(5) }).await;
            assert_eq!((fixed.unwrap(), cache.get::<i32>(key).await.unwrap()), (5, Some(5)), "{key}");
        }
        cache.set("x", "y").await.unwrap();
        assert!(cache.hget::<i32>("x", "f").await.unwrap().is_none());
    })
    .await;
}

#[cfg(feature = "msgpack")]
#[tokio::test]
async fn messagepack_by_choice() {
    on_every_store(async |store| {
        let cache = store.guard().cache("packed").format(costguard::service::CacheFormat::MessagePack);
        cache.set("a", &model("ü")).await.unwrap();
        assert_eq!(cache.get("a").await.unwrap(), Some(model("ü")));
        assert_eq!(store.value("packed:{a}").await.as_deref(), Some("gqRuYW1losO8pXByaWNlBw=="));
        assert_eq!(store.guard().cache("packed").get::<Model>("a").await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_all_of_it_works_as_it_is() {
    let cluster = Cluster::start();
    let guard = CostGuard::connect(&cluster.url(0)).await.unwrap();
    let cache = guard.cache("api").tagged(&["models", "org:acme"]);
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    for (n, key) in keys.iter().enumerate() {
        let computed: costguard::Result<_> = cache.get_or_compute(key, HOUR, || async { Ok(n) }).await;
        assert_eq!(computed.unwrap(), n);
    }
    assert_eq!(cache.get_many::<usize>(&keys).await.unwrap().into_iter().flatten().count(), 30);
    cache.invalidate_tag("models").await.unwrap();
    assert_eq!(cache.get_many::<usize>(&keys).await.unwrap().into_iter().flatten().count(), 0);
    cache.hset("h", "f", &1).await.unwrap();
    assert_eq!(cache.hget::<i32>("h", "f").await.unwrap(), Some(1));
    let removed = cache.invalidate_prefix("k", 100).await.unwrap();
    assert!(removed.removed == 30 && removed.complete, "{removed:?}");
}
