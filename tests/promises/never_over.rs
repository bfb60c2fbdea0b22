//! 1. Never over, and 2. All or nothing.

use super::*;

// 1. Never over.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_over_however_many_race_for_the_last_dollar() {
    on_every_store(async |store| {
        // 64 want 0.03 of the 1.00 that is left, on four connections: 33 of them fit.
        let policy = limited(Meter::COST, 10_000_000_000);
        let guard = store.guard();
        guard.charge(&policy, &alice(), "9.00".parse::<Money>().unwrap()).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn({
            let (guard, policy, done) = (store.another_guard().await, policy.clone(), done.clone());
            async move {
                while !done.load(Ordering::Relaxed) {
                    let used = used(&guard, &policy, &alice()).await[0];
                    assert!(used <= 10_000_000_000, "{used} is over the limit");
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut racers = JoinSet::new();
        for _ in 0..4 {
            let guard = store.another_guard().await;
            for _ in 0..16 {
                let (guard, policy) = (guard.clone(), policy.clone());
                racers.spawn(async move {
                    guard.admit(&policy, &alice(), "0.03".parse::<Money>().unwrap()).await.unwrap().is_granted()
                });
            }
        }
        let granted = racers.join_all().await.into_iter().filter(|granted| *granted).count();
        done.store(true, Ordering::Relaxed);
        watch.await.unwrap();
        assert_eq!(granted, 33);
        assert_eq!(used(&guard, &policy, &alice()).await, [9_990_000_000]);

        // One nano is still too much after the last cent, and the last cent still fits.
        let cent = guard.admit(&policy, &alice(), "0.010000001".parse::<Money>().unwrap()).await.unwrap();
        assert!(!cent.is_granted());
        let cent = guard.admit(&policy, &alice(), "0.01".parse::<Money>().unwrap()).await.unwrap();
        assert!(cent.is_granted());
        assert_eq!(used(&guard, &policy, &alice()).await, [10_000_000_000]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_over_when_many_limits_bind_different_racers() {
    on_every_store(async |store| {
        // Each of four users may have 10, all together 25.
        let policy = Policy::new([
            Limit::new(Counter::new("user", Meter::REQUESTS, Window::total()), 10),
            Limit::new(Counter::new("org", Meter::REQUESTS, Window::total()), 25),
        ])
        .unwrap();
        let mut racers = JoinSet::new();
        for user in 0..4 {
            let (guard, policy) = (store.another_guard().await, policy.clone());
            for _ in 0..16 {
                let (guard, policy) = (guard.clone(), policy.clone());
                racers.spawn(async move {
                    let subject = Subject::new("acme").scope("org", "acme").scope("user", &format!("u{user}"));
                    guard.admit(&policy, &subject, Amounts::new()).await.unwrap().is_granted()
                });
            }
        }
        let granted = racers.join_all().await.into_iter().filter(|granted| *granted).count();
        assert_eq!(granted, 25);
        let mut of_users = 0;
        for user in 0..4 {
            let user: i64 =
                store.value(&format!("requests:{{acme}}:user:u{user}:total")).await.map_or(0, |v| v.parse().unwrap());
            assert!(user <= 10);
            of_users += user;
        }
        assert_eq!(of_users, 25);
        assert_eq!(store.value("requests:{acme}:org:acme:total").await.unwrap(), "25");
    })
    .await;
}

#[tokio::test]
async fn never_over_silently_a_charge_that_passes_the_limit_says_so() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), limited(Meter::COST, 100));
        let charged = guard.charge(&policy, &alice(), nanos(90)).await.unwrap();
        assert_eq!((charged.limits[0].used, charged.limits[0].overdraft()), (90, 0));
        let charged = guard.charge(&policy, &alice(), nanos(30)).await.unwrap();
        assert_eq!((charged.limits[0].used, charged.limits[0].overdraft()), (120, 20));
        let Decision::Denied(denial) = guard.admit(&policy, &alice(), nanos(0)).await.unwrap() else {
            panic!("nothing more fits, not even nothing")
        };
        assert_eq!((denial.limit.used, denial.limit.remaining(), denial.retry_after), (120, Some(0), None));
    })
    .await;
}

// 2. All or nothing.

/// What third counter makes a request of three limits fail, and how: command, arguments, kind of error.
const BROKEN_THIRD: [(&str, &[&str], ErrorKind); 9] = [
    ("SET", &["abc"], ErrorKind::Corrupt),
    ("SET", &[""], ErrorKind::Corrupt),
    ("SET", &["05"], ErrorKind::Corrupt),
    ("SET", &[" 5"], ErrorKind::Corrupt),
    ("SET", &["1.5"], ErrorKind::Corrupt),
    ("SET", &["-0"], ErrorKind::Corrupt),
    ("SET", &["99999999999999999999"], ErrorKind::Corrupt),
    ("HSET", &["field", "5"], ErrorKind::Corrupt),
    ("SET", &["9223372036854775807"], ErrorKind::Overflow),
];

#[tokio::test]
async fn all_or_nothing_a_broken_third_counter_leaves_the_first_two_untouched() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        for (command, args, kind) in BROKEN_THIRD {
            guard.charge(&policy, &alice(), nanos(10)).at(noon()).await.unwrap();
            store.command("DEL", THREE_KEYS[2], &[]).await;
            store.command(command, THREE_KEYS[2], args).await;
            let before = store.dump().await;
            assert_eq!(before.len(), 3);

            assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(5)).at(noon()).await), kind, "{args:?}");
            assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(5)).at(noon()).await), kind, "{args:?}");
            let with_id = guard.charge(&policy, &alice(), nanos(5)).at(noon()).id("one").await;
            assert_eq!(kind_of(with_id), kind, "{args:?}");
            let counter = Counter::new("global", Meter::COST, Window::total());
            let added = guard.adjust(&alice(), &counter, Correction::Add(5), "a test").at(noon()).await;
            assert_eq!(kind_of(added), kind, "{args:?}");
            if kind == ErrorKind::Corrupt {
                assert_eq!(kind_of(guard.peek(&policy, &alice()).at(noon()).await), kind, "{args:?}");
                let reset = guard.adjust(&alice(), &counter, Correction::Reset, "a test").at(noon()).await;
                assert_eq!(kind_of(reset), kind, "{args:?}");
            }
            assert_eq!(store.dump().await, before, "{args:?}");
            store.clean().await;
        }
    })
    .await;
}

#[tokio::test]
async fn all_or_nothing_a_denial_by_the_last_limit_takes_nothing_from_the_others() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        guard.charge(&policy, &alice(), nanos(999)).at(noon()).await.unwrap();
        store.command("SET", THREE_KEYS[2], &["3000", "PX", "1000000"]).await;
        let before = store.dump().await;
        let Decision::Denied(denial) = guard.admit(&policy, &alice(), nanos(1)).at(noon()).id("one").await.unwrap()
        else {
            panic!("the total is used up")
        };
        assert_eq!(denial.refused_by, [2]);
        assert_eq!(store.dump().await, before);
    })
    .await;
}

#[tokio::test]
async fn all_or_nothing_a_server_out_of_memory_changes_nothing() {
    let server = Server::start();
    let store = TestStore::redis(&server.url(), "").await;
    let (guard, policy) = (store.guard(), three_limits());
    guard.charge(&policy, &alice(), nanos(10)).at(noon()).await.unwrap();
    let before = store.dump().await;
    configure(&server, "maxmemory", "1").await;
    for id in ["one", "two"] {
        assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(5)).at(noon()).id(id).await), ErrorKind::Unavailable);
        assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(5)).at(noon()).await), ErrorKind::Unavailable);
    }
    assert_eq!(store.dump().await, before);
    configure(&server, "maxmemory", "0").await;
    guard.charge(&policy, &alice(), nanos(5)).at(noon()).id("one").await.unwrap();
    assert_eq!(store.value(THREE_KEYS[0]).await.unwrap(), "15");
}

async fn configure(server: &Server, setting: &str, value: &str) {
    redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).exec_async(&mut connect(server).await).await.unwrap();
}
