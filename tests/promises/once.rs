//! 3. Once.

use super::*;

// 3. Once.

#[tokio::test]
async fn once_a_repeated_id_charges_once_and_replays_the_answer() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        let first = guard.charge(&policy, &alice(), nanos(10)).at(noon()).id("one").await.unwrap();
        assert!(!first.replayed);
        guard.charge(&policy, &alice(), nanos(1)).at(noon()).await.unwrap();
        let before = store.dump().await;
        // The repeat may come from another process, and in another window.
        for at in [noon(), noon() + chrono::Days::new(1)] {
            let repeat = store.another_guard().await;
            let repeat = repeat.charge(&policy, &alice(), nanos(10)).at(at).id("one").await.unwrap();
            assert!(repeat.replayed);
            assert_eq!(repeat.limits.iter().map(|state| state.used).collect::<Vec<_>>(), [10, 10, 10]);
        }
        assert_eq!(store.dump().await, before);

        let Decision::Granted(first) = guard.admit(&policy, &alice(), nanos(20)).at(noon()).id("two").await.unwrap()
        else {
            panic!("there is room")
        };
        guard.charge(&policy, &alice(), nanos(5000)).at(noon()).await.unwrap();
        let Decision::Granted(repeat) = guard.admit(&policy, &alice(), nanos(20)).at(noon()).id("two").await.unwrap()
        else {
            panic!("it was granted, whatever came later")
        };
        assert_eq!(repeat.limits, first.limits);
        assert_eq!((first.replayed, repeat.replayed), (false, true));

        let ttl = Duration::from_secs(60);
        let first = guard.count(&alice(), "user", &Meter::REQUESTS, ttl).by(3).id("three").await.unwrap();
        let repeat = guard.count(&alice(), "user", &Meter::REQUESTS, ttl).by(3).id("three").await.unwrap();
        assert_eq!((first.count, first.replayed, repeat.count, repeat.replayed), (3, false, 3, true));

        let counter = Counter::new("user", Meter::COST, Window::day());
        for replayed in [false, true] {
            let subject = alice();
            let taken = guard.adjust(&subject, &counter, Correction::Subtract(7), "a test").at(noon()).id("four");
            let taken = taken.await.unwrap();
            assert_eq!((taken.before, taken.after, taken.replayed), (5031, 5024, replayed));
        }
    })
    .await;
}

#[tokio::test]
async fn once_the_same_id_for_another_request_is_a_conflict_that_changes_nothing() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        guard.charge(&policy, &alice(), nanos(10)).at(noon()).id("one").await.unwrap();
        let before = store.dump().await;
        let conflict = ErrorKind::Conflict;
        assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(11)).at(noon()).id("one").await), conflict);
        assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(10)).at(noon()).id("one").await), conflict);
        let bob = Subject::new("acme").scope("org", "acme").scope("user", "bob");
        assert_eq!(kind_of(guard.charge(&policy, &bob, nanos(10)).at(noon()).id("one").await), conflict);
        let hour = Policy::new([Limit::cost("user", nanos(1000), Window::hour())]).unwrap();
        assert_eq!(kind_of(guard.charge(&hour, &alice(), nanos(10)).at(noon()).id("one").await), conflict);
        let ttl = Duration::from_secs(60);
        assert_eq!(kind_of(guard.count(&alice(), "user", &Meter::REQUESTS, ttl).id("one").await), conflict);
        let counter = Counter::new("user", Meter::COST, Window::day());
        for correction in [Correction::Add(10), Correction::Reset] {
            let adjusted = guard.adjust(&alice(), &counter, correction, "a test").at(noon()).id("one").await;
            assert_eq!(kind_of(adjusted), conflict);
        }
        assert_eq!(store.dump().await, before);

        // Under another root it is another id.
        let other = Subject::new("umbrella").scope("org", "acme").scope("user", "alice");
        assert!(!guard.charge(&policy, &other, nanos(11)).at(noon()).id("one").await.unwrap().replayed);
    })
    .await;
}

#[tokio::test]
async fn once_a_denied_id_may_try_again() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), limited(Meter::COST, 10));
        guard.charge(&policy, &alice(), nanos(8)).await.unwrap();
        assert!(!guard.admit(&policy, &alice(), nanos(5)).id("one").await.unwrap().is_granted());
        guard.adjust(&alice(), &total(Meter::COST), Correction::Subtract(6), "a refund").await.unwrap();
        for _ in 0..2 {
            assert!(guard.admit(&policy, &alice(), nanos(5)).id("one").await.unwrap().is_granted());
        }
        assert_eq!(used(&guard, &policy, &alice()).await, [7]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_when_64_tasks_send_the_same_id_at_once() {
    on_every_store(async |store| {
        let policy = limited(Meter::COST, 1000);
        let mut racers = JoinSet::new();
        for _ in 0..4 {
            let guard = store.another_guard().await;
            for _ in 0..16 {
                let (guard, policy) = (guard.clone(), policy.clone());
                racers.spawn(async move { guard.charge(&policy, &alice(), nanos(7)).id("one").await.unwrap() });
            }
        }
        let answers = racers.join_all().await;
        assert!(answers.iter().all(|answer| answer.limits[0].used == 7));
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        assert_eq!(used(&store.guard(), &policy, &alice()).await, [7]);
    })
    .await;
}

#[tokio::test]
async fn once_when_the_reply_is_lost_after_the_commit() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = limited(Meter::COST, 1000);
    let (subject, counter, ttl) = (alice(), total(Meter::COST), Duration::from_secs(60));
    // So that the guard knows the server: one before Redis 7 is sent the first script twice.
    guard.peek(&policy, &subject).await.unwrap();

    proxy.lose_next_reply();
    let charged = guard.charge(&policy, &subject, nanos(10)).id("charge").await.unwrap();
    assert_eq!((charged.limits[0].used, charged.replayed, proxy.faults_struck()), (10, true, 1));
    proxy.lose_next_reply();
    let Decision::Granted(grant) = guard.admit(&policy, &subject, nanos(20)).id("admit").await.unwrap() else {
        panic!("there is room")
    };
    assert_eq!((grant.limits[0].used, grant.replayed, proxy.faults_struck()), (30, true, 2));
    proxy.lose_next_reply();
    let counted = guard.count(&subject, "user", &Meter::REQUESTS, ttl).by(5).id("count").await.unwrap();
    assert_eq!((counted.count, counted.replayed, proxy.faults_struck()), (5, true, 3));
    proxy.lose_next_reply();
    let adjusted = guard.adjust(&subject, &counter, Correction::Add(4), "a test").id("adjust").await.unwrap();
    assert_eq!((adjusted.before, adjusted.after, adjusted.replayed, proxy.faults_struck()), (30, 34, true, 4));

    // A request that was lost on its way happens once, too.
    proxy.drop_next_request();
    let charged = guard.charge(&policy, &subject, nanos(6)).id("dropped").await.unwrap();
    assert_eq!((charged.limits[0].used, charged.replayed, proxy.faults_struck()), (40, false, 5));

    // What only reads is sent again without an id.
    proxy.lose_next_reply();
    assert_eq!(used(&guard, &policy, &subject).await, [40]);
    assert_eq!(proxy.faults_struck(), 6);
    assert_eq!(used(&direct, &policy, &subject).await, [40]);
    let counted = direct.count(&subject, "user", &Meter::REQUESTS, ttl).by(0).await.unwrap();
    assert_eq!(counted.count, 5);
}

#[tokio::test]
async fn once_without_an_id_an_ambiguous_failure_is_told_and_never_sent_again() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let direct = CostGuard::connect(&server.url()).await.unwrap();
    let policy = limited(Meter::COST, 1000);
    let (subject, counter, ttl) = (alice(), total(Meter::COST), Duration::from_secs(60));
    // So that the server knows the scripts and the first call runs.
    guard.charge(&policy, &subject, nanos(1)).await.unwrap();
    assert!(guard.admit(&policy, &subject, nanos(1)).await.unwrap().is_granted());
    guard.count(&subject, "user", &Meter::REQUESTS, ttl).await.unwrap();
    guard.adjust(&subject, &counter, Correction::Add(1), "a test").await.unwrap();
    guard.refund(&policy, &subject, nanos(0)).await.unwrap();

    let calls = proxy.script_calls_seen();
    proxy.lose_next_reply();
    let lost = guard.charge(&policy, &subject, nanos(10)).await.unwrap_err();
    assert_eq!((lost.kind(), lost.is_retry_safe()), (ErrorKind::Ambiguous, false));
    assert_eq!(proxy.script_calls_seen(), calls + 1);
    proxy.lose_next_reply();
    assert_eq!(kind_of(guard.admit(&policy, &subject, nanos(100)).await), ErrorKind::Ambiguous);
    // An answer in between: a third failure in a row would open the breaker.
    assert_eq!(used(&guard, &policy, &subject).await, [113]);
    let calls = proxy.script_calls_seen();
    proxy.lose_next_reply();
    assert_eq!(kind_of(guard.count(&subject, "user", &Meter::REQUESTS, ttl).await), ErrorKind::Ambiguous);
    proxy.lose_next_reply();
    let adjusted = guard.adjust(&subject, &counter, Correction::Add(500), "a test").await;
    assert_eq!(kind_of(adjusted), ErrorKind::Ambiguous);
    assert_eq!(proxy.script_calls_seen(), calls + 2);
    assert_eq!(used(&guard, &policy, &subject).await, [613]);
    let calls = proxy.script_calls_seen();
    proxy.lose_next_reply();
    assert_eq!(kind_of(guard.refund(&policy, &subject, nanos(13)).await), ErrorKind::Ambiguous);
    assert_eq!(proxy.script_calls_seen(), calls + 1);
    assert_eq!(proxy.faults_struck(), 5);
    assert_eq!(used(&direct, &policy, &subject).await, [600]);
    assert_eq!(direct.count(&subject, "user", &Meter::REQUESTS, ttl).by(0).await.unwrap().count, 2);
}
