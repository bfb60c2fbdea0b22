//! 6. Nothing is immortal, 7. Exact, 8. One clock.

use super::*;

// 6. Nothing is immortal.

#[tokio::test]
async fn nothing_is_immortal_every_key_of_a_mixed_workload_ends() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        let day = Counter::new("user", Meter::COST, Window::day());
        let ttl = Duration::from_secs(60);
        for round in 0..100 {
            let subject = Subject::new("acme").scope("org", "acme").scope("user", &format!("u{}", round % 7));
            let at = DateTime::from_timestamp_millis(START_MS + round * 3_600_000).unwrap();
            let id = format!("id{round}");
            match round % 6 {
                0 => drop(guard.charge(&policy, &subject, nanos(round)).at(at).id(&id).await.unwrap()),
                1 => drop(guard.admit(&policy, &subject, nanos(round)).at(at).id(&id).await.unwrap()),
                2 => drop(guard.charge(&policy, &subject, nanos(0)).await.unwrap()),
                3 => drop(guard.admit(&policy, &subject, nanos(0)).await.unwrap()),
                4 => drop(guard.count(&subject, "user", &Meter::REQUESTS, ttl).id(&id).await.unwrap()),
                _ => drop(guard.adjust(&subject, &day, Correction::Add(round), "a test").at(at).id(&id).await.unwrap()),
            }
        }
        let dump = store.dump().await;
        assert!(dump.len() > 80, "the workload stores more than {} keys", dump.len());
        assert_eq!(without_ttl(&dump), Vec::<&str>::new());
    })
    .await;
}

fn without_ttl(dump: &[Stored]) -> Vec<&str> {
    dump.iter().filter(|stored| stored.expire_at_ms.is_none()).map(|stored| &*stored.key).collect()
}

#[tokio::test]
async fn nothing_is_immortal_a_lost_ttl_is_healed_within_64_writes() {
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = Policy::new([
            Limit::cost("user", nanos(1_000_000), Window::day()),
            Limit::cost("org", nanos(1_000_000), Window::month()),
        ])
        .unwrap();
        guard.charge(&policy, &alice(), nanos(1)).at(noon()).await.unwrap();
        let ended = store.dump().await;
        for admits in [false, true] {
            for key in &THREE_KEYS[..2] {
                store.command("PERSIST", key, &[]).await;
            }
            assert_eq!(without_ttl(&store.dump().await).len(), 2);
            for _ in 0..64 {
                if admits {
                    assert!(guard.admit(&policy, &alice(), nanos(1)).at(noon()).await.unwrap().is_granted());
                } else {
                    guard.charge(&policy, &alice(), nanos(1)).at(noon()).await.unwrap();
                }
            }
            let healed = store.dump().await;
            assert_eq!(without_ttl(&healed), Vec::<&str>::new());
            // To where it would have ended: on a server the injected past counts from its now, to the second.
            for (healed, ended) in healed.iter().zip(&ended) {
                let late_ms = healed.expire_at_ms.unwrap() - ended.expire_at_ms.unwrap();
                assert!((0..60_000).contains(&late_ms), "{} ends {late_ms} ms late", healed.key);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_immortal_in_whatever_turn_counters_are_written() {
    // When every second, third, … write is another user's, each of them is healed all the same.
    on_every_store(async |store| {
        let guard = store.guard();
        let policy = Policy::new([Limit::cost("user", nanos(1_000_000), Window::day())]).unwrap();
        for users in [2, 3, 5, 8] {
            let subjects: Vec<_> =
                (0..users).map(|user| Subject::new("acme").scope("user", &format!("{users}-{user}"))).collect();
            for (user, subject) in subjects.iter().enumerate() {
                guard.charge(&policy, subject, nanos(1)).at(noon()).await.unwrap();
                store.command("PERSIST", &format!("cost:{{acme}}:user:{users}-{user}:2026-02-01"), &[]).await;
            }
            for _ in 0..4 * 64 {
                for subject in &subjects {
                    guard.charge(&policy, subject, nanos(1)).at(noon()).await.unwrap();
                }
            }
            assert_eq!(without_ttl(&store.dump().await), Vec::<&str>::new(), "{users} users in turn");
            store.clean().await;
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_immortal_a_counted_counter_is_healed_by_the_next_hit() {
    on_every_store(async |store| {
        let (guard, ttl) = (store.guard(), Duration::from_secs(60));
        guard.count(&alice(), "user", &Meter::REQUESTS, ttl).await.unwrap();
        store.command("PERSIST", "requests:{acme}:user:alice:count", &[]).await;
        let counted = guard.count(&alice(), "user", &Meter::REQUESTS, ttl).await.unwrap();
        assert_eq!((counted.count, counted.left), (2, ttl));
        assert_eq!(without_ttl(&store.dump().await), Vec::<&str>::new());
    })
    .await;
}

// 7. Exact.

#[tokio::test]
async fn exact_over_the_whole_range_and_overflow_changes_nothing() {
    on_every_store(async |store| {
        let guard = store.guard();
        let interesting = [
            (99_999_999_999_999, 1),
            (100_000_000_000_000, 1),
            (9_007_199_254_740_992, 1),
            (9_007_199_254_740_993, 9_007_199_254_740_993),
            (4_611_686_018_427_387_904, 4_611_686_018_427_387_903),
            (i64::MAX - 1, 1),
            (i64::MAX, 0),
        ];
        for (first, second) in interesting {
            let policy = limited(Meter::COST, first + second);
            guard.charge(&policy, &alice(), nanos(first)).id(&format!("{first}")).await.unwrap();
            if first + second < i64::MAX {
                let over = guard.admit(&policy, &alice(), nanos(second + 1)).await.unwrap();
                assert!(!over.is_granted(), "{first} + {second} + 1 is over the limit");
            } else {
                let before = store.dump().await;
                assert_eq!(kind_of(guard.admit(&policy, &alice(), nanos(second + 1)).await), ErrorKind::Overflow);
                assert_eq!(kind_of(guard.charge(&policy, &alice(), nanos(second + 1)).await), ErrorKind::Overflow);
                let adjusted = guard.adjust(&alice(), &total(Meter::COST), Correction::Add(second + 1), "a test").await;
                assert_eq!(kind_of(adjusted), ErrorKind::Overflow);
                let values = |dump: Vec<Stored>| dump.into_iter().map(|stored| stored.value).collect::<Vec<_>>();
                assert_eq!(values(store.dump().await), values(before));
            }
            let Decision::Granted(grant) = guard.admit(&policy, &alice(), nanos(second)).await.unwrap() else {
                panic!("{first} + {second} is not over the limit")
            };
            assert_eq!((grant.limits[0].used, grant.limits[0].remaining()), (first + second, Some(0)));
            assert_eq!(used(&guard, &policy, &alice()).await, [first + second]);
            let repeat = guard.charge(&policy, &alice(), nanos(first)).id(&format!("{first}")).await.unwrap();
            assert_eq!((repeat.limits[0].used, repeat.replayed), (first, true));
            let adjusted = guard.adjust(&alice(), &total(Meter::COST), Correction::Subtract(first), "a test").await;
            let adjusted = adjusted.unwrap();
            assert_eq!((adjusted.before, adjusted.after), (first + second, second));
            store.clean().await;
        }
    })
    .await;
}

#[tokio::test]
async fn exact_when_counting() {
    on_every_store(async |store| {
        let (guard, ttl) = (store.guard(), Duration::from_secs(60));
        let max = u64::try_from(i64::MAX).unwrap();
        let counted = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(max - 1).id("one").await.unwrap();
        assert_eq!(counted.count, i64::MAX - 1);
        let counted = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(1).await.unwrap();
        assert_eq!(counted.count, i64::MAX);
        let over = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(1).extend().await;
        assert_eq!(kind_of(over), ErrorKind::Overflow);
        assert_eq!(kind_of(guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(max + 1).await), ErrorKind::Invalid);
        let repeat = guard.count(&alice(), "user", &Meter::TOKENS, ttl).by(max - 1).id("one").await.unwrap();
        assert_eq!((repeat.count, repeat.replayed), (i64::MAX - 1, true));
    })
    .await;
}

// 8. One clock.

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn one_clock_a_client_whose_clock_is_wrong_gets_the_same_answers() {
    on_every_store(async |store| {
        let policy = Policy::new([
            Limit::cost("user", nanos(100), Window::hour()),
            Limit::cost("user", nanos(200), Window::day().in_zone_named("Europe/Berlin").unwrap()),
            Limit::cost("org", nanos(300), Window::month()),
            Limit::cost("global", nanos(1000), Window::total()),
        ])
        .unwrap();
        let day = Counter::new("user", Meter::COST, Window::day().in_zone_named("Europe/Berlin").unwrap());
        let mut tries = 0;
        let answers = loop {
            let hour = store.now_ms().await / HOUR_MS;
            let mut answers = Vec::new();
            for off_ms in
                [0, -300 * 24 * HOUR_MS, -40 * 24 * HOUR_MS, -HOUR_MS, HOUR_MS, 24 * HOUR_MS, 400 * 24 * HOUR_MS]
            {
                let clock = Arc::new(ManualClock::new(store.now_ms().await + off_ms));
                let new_guard = || store.builder().clock(clock.clone()).store(store.store.clone()).unwrap();
                let guard = new_guard();
                let charged = guard.charge(&policy, &alice(), nanos(60)).await.unwrap().limits;
                let admitted = guard.admit(&policy, &alice(), nanos(50)).await.unwrap();
                let Decision::Denied(denial) = admitted else { panic!("60 and 50 are over 100") };
                let adjusted = guard.adjust(&alice(), &day, Correction::Subtract(1), "a test").await.unwrap();
                let noted: Vec<_> =
                    guard.adjustments(&alice(), &day).await.unwrap().into_iter().map(|note| note.after).collect();
                // By a guard that has not learned what time it is.
                let refunded = new_guard().refund(&policy, &alice(), nanos(10)).id("refund").await.unwrap();
                let keys: BTreeSet<_> = store.dump().await.into_iter().map(|stored| stored.key).collect();
                answers.push((charged, denial.limits, denial.limit, adjusted, noted, refunded, keys));
                store.clean().await;
            }
            // The hour may have ended in between: then the answers differ rightly, and it is done once more.
            if store.now_ms().await / HOUR_MS == hour {
                break answers;
            }
            tries += 1;
            assert!(tries < 3);
        };
        for answer in &answers {
            assert_eq!(answer, &answers[0]);
        }
    })
    .await;
}

#[tokio::test]
async fn one_clock_a_hold_of_a_client_whose_clock_is_wrong_frees_when_it_should() {
    on_every_store(async |store| {
        // No window but the bucket's is named for a time.
        let policy = limited(Meter::COST, 100);
        let ttl = Duration::from_secs(600);
        for off_ms in [0, -24 * HOUR_MS, -70_000, -999, -1, 1, 999, 70_000, 24 * HOUR_MS] {
            let clock = Arc::new(ManualClock::new(store.now_ms().await + off_ms));
            let guard = store.builder().clock(clock).store(store.store.clone()).unwrap();
            let before_ms = store.now_ms().await;
            let Decision::Granted(mut hold) = guard.reserve(&policy, &alice(), nanos(60)).ttl(ttl).await.unwrap()
            else {
                panic!("60 are not over 100")
            };
            let frees = guard.statement(&policy, &alice()).await.unwrap()[0].frees.clone();
            let after_ms = store.now_ms().await;
            let [(frees_ms, 60)] = frees[..] else { panic!("{frees:?}") };
            assert!((before_ms..=after_ms).contains(&(hold.expires_ms() - 600_000)), "{off_ms}");
            assert!((0..=75_000).contains(&(frees_ms - hold.expires_ms())), "{off_ms}: {frees_ms}");
            hold.release().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn one_clock_a_denial_says_until_when_by_the_stores_clock() {
    let store = TestStore::embedded("");
    let wrong = Arc::new(ManualClock::new(START_MS + 77 * 24 * HOUR_MS));
    let guard = store.builder().clock(wrong).store(store.store.clone()).unwrap();
    let policy = Policy::new([Limit::cost("user", nanos(100), Window::day())]).unwrap();
    for (after_ms, granted) in [(0, true), (12 * HOUR_MS - 1, false), (12 * HOUR_MS, true), (36 * HOUR_MS, true)] {
        store.clock().unwrap().set_ms(START_MS + after_ms);
        match guard.admit(&policy, &alice(), nanos(60)).await.unwrap() {
            Decision::Granted(grant) => assert!(granted, "{after_ms} {grant:?}"),
            Decision::Denied(denial) => {
                assert!(!granted, "{after_ms} {denial:?}");
                assert_eq!(denial.retry_after, Some(Duration::from_millis(1)));
            }
        }
    }
}

#[tokio::test]
async fn one_clock_ttls_count_from_the_stores_now_however_old_the_log() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), three_limits());
        let log = DateTime::parse_from_rfc3339("2023-11-16T18:00:00Z").unwrap().to_utc();
        guard.charge(&policy, &alice(), nanos(5)).at(log).await.unwrap();
        let now_ms = store.now_ms().await;
        let left_ms: Vec<_> =
            store.dump().await.into_iter().map(|stored| (stored.key, stored.expire_at_ms.unwrap() - now_ms)).collect();
        let expected = [
            ("cost:{acme}:global:total", 400 * 24),
            ("cost:{acme}:org:acme:2023-11", 14 * 24 + 6 + 48),
            ("cost:{acme}:user:alice:2023-11-16", 6 + 48),
        ];
        assert_eq!(left_ms.len(), expected.len());
        for ((key, left_ms), (expected_key, hours)) in left_ms.into_iter().zip(expected) {
            assert_eq!(key, expected_key);
            // And what passed since the charge.
            assert!((-60_000..=0).contains(&(left_ms - hours * HOUR_MS)), "{key} lives {left_ms} ms");
        }
    })
    .await;
}

#[tokio::test]
async fn one_clock_a_counter_of_an_old_log_lasts_until_its_window_ends_there() {
    on_every_store(async |store| {
        let guard = store.builder().retention(Duration::ZERO).store(store.store.clone()).unwrap();
        let (policy, alice) = (Policy::new([Limit::cost("user", nanos(1), Window::hour())]).unwrap(), alice());
        for tenth in 0..10 {
            // Late in a second of the store's, and half a second before the hour ends; a server's clock goes on by itself.
            let left = if store.clock().is_some() { "59.5" } else { "30" };
            if let Some(clock) = store.clock() {
                clock.set_ms(START_MS + tenth * 100);
            }
            let log = DateTime::parse_from_rfc3339(&format!("2023-11-{}T17:59:{left}Z", 10 + tenth)).unwrap().to_utc();
            let admit = || guard.admit(&policy, &alice, nanos(1)).at(log);
            assert!(admit().await.unwrap().is_granted());
            assert!(!admit().await.unwrap().is_granted(), "{tenth} tenths into a second");
        }
    })
    .await;
}
