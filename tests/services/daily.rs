//! The daily cost guard and the limiter by the minute.

use costguard::service::{DailyLimit, DailyStart, HealthStatus};

use super::*;

#[tokio::test]
async fn keys_are_those_that_daily_counters_commonly_have() {
    on_every_store(async |store| {
        let daily = store.guard().daily().at(noon());
        assert_eq!(daily.cost("user_abc").await.unwrap(), 0);
        assert_eq!(daily.increment_cost("user_abc", 125).await.unwrap(), 125);
        assert_eq!(daily.increment_cost("user_abc", 0).await.unwrap(), 125);
        assert_eq!(daily.increment_count("user_abc").await.unwrap(), 1);
        assert!(store.guard().per_minute("ratelimit").at(noon()).check("assess", "a:b", 5).await.unwrap().granted);
        assert_eq!(store.value("cost:user_abc:2026-02-01").await.as_deref(), Some("125"));
        assert_eq!(store.value("assessments:user_abc:2026-02-01").await.as_deref(), Some("1"));
        assert_eq!(store.value("ratelimit:assess:a%3Ab:29499120").await.as_deref(), Some("1"));

        let tomorrow = daily.clone().at(noon() + TimeDelta::hours(12));
        assert_eq!((tomorrow.cost("user_abc").await.unwrap(), tomorrow.count("user_abc").await.unwrap()), (0, 0));
        let lives = lives(store).await;
        assert_eq!(lives.len(), 3);
        for (key, left) in lives {
            let most = if key.starts_with("ratelimit") { Duration::from_secs(60) } else { HOUR * 48 };
            assert!(left <= most && left > most / 2, "{key} lives for {left:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn counters_have_other_names_and_ends_by_choice() {
    on_every_store(async |store| {
        let daily = store.guard().daily().counters("usd", "runs").until_midnight().tagged().at(noon());
        assert!(daily.try_start("bob").await.unwrap().is_granted());
        daily.increment_cost("bob", 3).await.unwrap();
        let lives = lives(store).await;
        let keys: Vec<_> = lives.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["runs:{bob}:2026-02-01", "usd:{bob}:2026-02-01"]);
        assert!(lives.iter().all(|(_, left)| (HOUR * 11..=HOUR * 12).contains(left)), "{lives:?}");
    })
    .await;
}

#[tokio::test]
async fn a_start_keeps_to_both_limits_and_says_what_is_left() {
    on_every_store(async |store| {
        let daily = store.guard().daily().limit(2).at(noon());
        let first = daily.try_start("alice").await.unwrap();
        let state = first.state();
        assert_eq!((first.is_granted(), state.count, state.starts_left), (true, 1, 1));
        assert_eq!((state.cost_cents, state.cents_left), (0, 7500));
        assert_eq!(state.resets_at.to_rfc3339(), "2026-02-02T00:00:00+00:00");
        assert_eq!(state.resets_in, HOUR * 12);

        daily.increment_cost("alice", 7500).await.unwrap();
        let DailyStart::Denied { by, state } = daily.try_start("alice").await.unwrap() else { panic!("over the cap") };
        assert_eq!((by, state.starts_left, state.cents_left), (DailyLimit::Cost, 1, 0));
        daily.increment_count("alice").await.unwrap();
        let DailyStart::Denied { by, state } = daily.try_start("alice").await.unwrap() else { panic!("two started") };
        assert_eq!((by, state.count, state.starts_left), (DailyLimit::Starts, 2, 0));
        assert!(daily.clone().at(noon() + TimeDelta::days(1)).try_start("alice").await.unwrap().is_granted());
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_and_changes_nothing() {
    on_every_store(async |store| {
        let daily = store.guard().daily().at(noon());
        assert_eq!(daily.increment_cost("alice", i64::MAX).await.unwrap(), i64::MAX);
        assert_eq!(daily.cost("alice").await.unwrap(), i64::MAX);
        let kind = |result: costguard::Result<i64>| result.unwrap_err().kind();
        assert_eq!(kind(daily.increment_cost("alice", 1).await), ErrorKind::Overflow);
        assert_eq!(kind(daily.increment_cost("alice", -1).await), ErrorKind::Invalid);
        assert_eq!(kind(daily.increment_cost("", 1).await), ErrorKind::Invalid);
        assert_eq!(kind(daily.increment_cost(&"x".repeat(201), 1).await), ErrorKind::Invalid);
        store.command("SET", "assessments:alice:2026-02-01", &["many"]).await;
        assert_eq!(daily.try_start("alice").await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(daily.cost("alice").await.unwrap(), i64::MAX);
        store.command("DEL", "assessments:alice:2026-02-01", &[]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_that_start_at_once_as_many_do_as_may() {
    on_every_store(async |store| {
        let guards = [store.guard(), store.another_guard().await, store.another_guard().await];
        let mut tasks = JoinSet::new();
        for task in 0..100 {
            let daily = guards[task % guards.len()].daily().limit(7).at(noon());
            let limiter = guards[task % guards.len()].per_minute("ratelimit").at(noon());
            tasks.spawn(async move {
                let started = daily.try_start("alice").await.unwrap().is_granted();
                daily.increment_cost("alice", 3).await.unwrap();
                (started, limiter.check("assess", "alice", 30).await.unwrap().granted)
            });
        }
        let granted = tasks.join_all().await;
        assert_eq!(granted.iter().filter(|(started, _)| *started).count(), 7);
        assert_eq!(granted.iter().filter(|(_, allowed)| *allowed).count(), 30);
        let daily = guards[0].daily().at(noon());
        assert_eq!((daily.count("alice").await.unwrap(), daily.cost("alice").await.unwrap()), (7, 300));
    })
    .await;
}

#[tokio::test]
async fn days_and_minutes_are_those_of_the_store() {
    on_every_store(async |store| {
        // A process whose clock is a day ahead.
        let wrong = std::sync::Arc::new(costguard::store::ManualClock::new(store.now_ms().await + 86_400_000));
        let guard = store.builder().clock(wrong).store(store.store.clone()).unwrap();
        let before = DateTime::from_timestamp_millis(store.now_ms().await).unwrap().date_naive();
        guard.daily().increment_cost("alice", 1).await.unwrap();
        let after = DateTime::from_timestamp_millis(store.now_ms().await).unwrap().date_naive();
        let key = store.dump().await.remove(0).key;
        assert!([before, after].iter().any(|day| key == format!("cost:alice:{day}")), "{key}");
        let state = guard.daily().try_start("bob").await.unwrap();
        assert!(state.state().resets_in <= HOUR * 24, "{state:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_a_start_needs_keys_of_one_slot() {
    let cluster = Cluster::start();
    let guard = CostGuard::connect(&cluster.url(0)).await.unwrap();
    assert_eq!(guard.daily().increment_cost("alice", 5).await.unwrap(), 5);
    assert!(guard.per_minute("ratelimit").check("assess", "alice", 1).await.unwrap().granted);
    let err = guard.daily().try_start("alice").await.unwrap_err();
    assert!(err.kind() == ErrorKind::Invalid && err.to_string().contains(".tagged()"), "{err}");
    for user in ["alice", "bob", "carol", "dave"] {
        assert!(guard.daily().tagged().try_start(user).await.unwrap().is_granted());
    }
}

#[tokio::test]
async fn while_the_store_is_away_days_follow_the_outage_policy_and_what_was_granted_arrives_once() {
    let proxy = Proxy::start(&support::server_url()).await;
    let prefix = format!("daily-away-{}:", uuid::Uuid::now_v7().simple());
    let config = RedisConfig::from_url(&proxy.url()).unwrap().call_timeout(Duration::from_millis(300));
    let config = config.key_prefix(&prefix).reconnect(Duration::from_millis(20), Duration::from_millis(100));
    let half = Outage::Local(Fraction::parse("0.5").unwrap());
    let guard = CostGuard::builder().outage(half).connect_with(&config).await.unwrap();
    let strict = CostGuard::builder().connect_with(&config).await.unwrap();
    // A time of the test's own: the day of the store's clock may end on the way.
    let daily = guard.daily().limit(4).cap_cents(1000).at(noon());
    assert!(daily.try_start("alice").await.unwrap().is_granted());
    assert_eq!(daily.increment_cost("alice", 100).await.unwrap(), 100);

    proxy.cut();
    // A call that is sent before it is known that the connection is closed would be ambiguous, which is right but not the point.
    for guard in [&guard, &strict] {
        while guard.health().await.status != HealthStatus::Disconnected {}
    }
    let err = strict.daily().at(noon()).try_start("alice").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    for count in [1, 2] {
        let DailyStart::Granted(state) = daily.try_start("alice").await.unwrap() else { panic!("half of four is two") };
        assert_eq!((state.count, state.starts_left, state.decided), (count, 2 - count, Decided::WithoutStore));
    }
    let DailyStart::Denied { by, state } = daily.try_start("alice").await.unwrap() else {
        panic!("half of four is two")
    };
    assert_eq!((by, state.decided), (DailyLimit::Starts, Decided::WithoutStore));
    assert_eq!(daily.increment_cost("alice", 420).await.unwrap(), 420, "what this process knows");
    assert_eq!(daily.clone().tagged().increment_cost("alice", 1).await.unwrap_err().kind(), ErrorKind::Unavailable);

    proxy.mend();
    assert_eq!(guard.shutdown(Duration::from_secs(30)).await, 0);
    assert_eq!((daily.count("alice").await.unwrap(), daily.cost("alice").await.unwrap()), (3, 520));
}

#[tokio::test]
async fn what_is_left_of_a_day_is_the_same_without_the_store() {
    let proxy = Proxy::start(&support::server_url()).await;
    let config = RedisConfig::from_url(&proxy.url()).unwrap().call_timeout(Duration::from_millis(300));
    let config = config.key_prefix(&format!("daily-left-{}:", uuid::Uuid::now_v7().simple()));
    let allow = CostGuard::builder().outage(Outage::Allow).connect_with(&config).await.unwrap();
    let all = Outage::Local(Fraction::one_in(1).unwrap());
    let share = CostGuard::builder().outage(all).connect_with(&config).await.unwrap();
    let left = async |guard: &CostGuard, user| {
        let started = guard.daily().at(noon()).try_start(user).await.unwrap();
        (started.is_granted(), started.state().starts_left, started.state().cents_left)
    };
    assert_eq!(left(&allow, "online").await, (true, 0, 7500));
    proxy.cut();
    for guard in [&allow, &share] {
        while guard.health().await.status != HealthStatus::Disconnected {}
        assert_eq!(left(guard, "away").await, (true, 0, 7500));
        let daily = guard.daily().at(noon());
        daily.increment_cost("below", 7499).await.unwrap();
        assert_eq!(left(guard, "below").await, (true, 0, 1));
    }
    // At the cap nothing starts, but where all that the store would refuse is allowed.
    for (guard, starts) in [(&allow, true), (&share, false)] {
        guard.daily().at(noon()).increment_cost("at", 7500).await.unwrap();
        assert_eq!(left(guard, "at").await, (starts, i64::from(!starts), 0));
    }
}
