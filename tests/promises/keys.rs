//! 9. One slot, and ids from strangers.

use super::*;

// 9. One slot.

#[tokio::test]
async fn one_slot_every_key_of_a_root_has_its_hash_tag() {
    on_every_store(async |store| {
        let guard = store.guard();
        let (day, ttl) = (Counter::new("user", Meter::COST, Window::day()), Duration::from_secs(60));
        guard.charge(&three_limits(), &alice(), nanos(1)).id("one").await.unwrap();
        guard.count(&alice(), "user", &Meter::REQUESTS, ttl).id("two").await.unwrap();
        guard.adjust(&alice(), &day, Correction::Add(1), "a test").id("three").await.unwrap();
        let dump = store.dump().await;
        assert_eq!(dump.len(), 8);
        for stored in dump {
            let tag = stored.key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
            assert_eq!(tag, Some("acme"), "{}", stored.key);
        }
    })
    .await;
}

#[test]
fn one_slot_the_embedded_engine_refuses_an_undeclared_key_and_a_second_slot() {
    let store = Embedded::new();
    let text = |text: &str| text.to_owned();
    let undeclared = store.eval("return redis.call('SET', KEYS[1] .. 'x', 1)", &[text("{a}:k")], &[]).unwrap();
    assert!(
        matches!(&undeclared, Reply::Error(error) if error.contains("non declared key '{a}:kx'")),
        "{undeclared:?}"
    );
    let slots = store.eval("return redis.call('SET', KEYS[1], 1)", &[text("{a}:k"), text("{b}:k")], &[]).unwrap_err();
    assert_eq!((slots.kind(), slots.to_string().starts_with("CROSSSLOT")), (ErrorKind::Store, true));
    assert_eq!(store.dump(), []);
}

// Hostile ids.

#[tokio::test]
async fn hostile_ids_reach_nobody_elses_key() {
    on_every_store(async |store| {
        let (guard, policy) = (store.guard(), Policy::new([Limit::cost("user", nanos(100), Window::day())]).unwrap());
        let ids = [
            "a",
            "a:2026-02-01",
            "a%3A2026-02-01",
            "{x}",
            "{acme}",
            "}",
            "a\n",
            "a ",
            "a\r\nDEL a",
            "a\u{0}",
            "*",
            "a\u{2028}",
            "alice:2026-02-01:adjustments",
            "../a",
            "A",
            "é",
            "%",
            "%25",
            "global",
            "total",
            "count",
            "'",
            "\"",
        ];
        let mut keys = BTreeSet::new();
        for (place, id) in ids.iter().enumerate() {
            for subject in [
                Subject::new("acme").scope("user", id),
                Subject::new(id).scope("user", "a"),
                Subject::plain("user", id),
            ] {
                let amount = i64::try_from(place).unwrap() + 1;
                let charged = guard.charge(&policy, &subject, nanos(amount)).at(noon()).id(id).await;
                match charged {
                    // Nobody else's money is in it, and nobody else's answer.
                    Ok(charged) => assert_eq!((charged.limits[0].used, charged.replayed), (amount, false), "{id:?}"),
                    Err(err) => panic!("{id:?}: {err}"),
                }
            }
            let now: BTreeSet<_> = store.dump().await.into_iter().map(|stored| stored.key).collect();
            let new: Vec<_> = now.difference(&keys).collect();
            assert_eq!(new.len(), 6, "{id:?} has its own counters and receipts, not {new:?}");
            for key in new {
                assert!(!key.contains(|c: char| c.is_control() || c.is_whitespace()), "{key:?}");
                assert!(key.matches('{').count() <= 1 && key.matches('}').count() <= 1, "{key:?}");
            }
            keys = now;
        }

        let before = store.dump().await;
        for id in ["", &"x".repeat(201), &"é".repeat(101)] {
            for subject in [
                Subject::new("acme").scope("user", id),
                Subject::new(id).scope("user", "a"),
                Subject::plain("user", id),
            ] {
                assert_eq!(kind_of(guard.charge(&policy, &subject, nanos(1)).at(noon()).await), ErrorKind::Invalid);
            }
            let one = guard.charge(&policy, &alice(), nanos(1)).at(noon()).id(id).await;
            assert_eq!(kind_of(one), ErrorKind::Invalid);
        }
        assert_eq!(store.dump().await, before);
        let longest = Subject::new(&"}".repeat(200)).scope("user", &"\u{0}".repeat(200));
        guard.charge(&policy, &longest, nanos(1)).at(noon()).id(&":".repeat(200)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn hostile_meters_prefixes_and_reasons_reach_nobody_elses_key() {
    on_every_store(async |store| {
        let guard = store.guard();
        let mut values = Vec::new();
        for name in ["cost", "cost:{acme}:user:alice", "{acme}", "cost ", "receipt:", "x\ny"] {
            let policy = limited(Meter::new(name).unwrap(), 100);
            let amounts = Amounts::new().with(Meter::new(name).unwrap(), 7);
            values.push(guard.charge(&policy, &alice(), amounts).await.unwrap().limits[0].used);
        }
        assert_eq!(values, [7; 6]);
        assert_eq!(store.dump().await.len(), 6);
        assert!(Meter::new("receipt").is_err());
        let counter = total(Meter::COST);
        for reason in ["", "  ", "a\nb", "a\u{0}b", &"x".repeat(501)] {
            let adjusted = guard.adjust(&alice(), &counter, Correction::Add(1), reason).await;
            assert_eq!(kind_of(adjusted), ErrorKind::Invalid, "{reason:?}");
        }
        let reason = "refund  of 'x' \"y\" {z} %s é 100%";
        guard.adjust(&alice(), &counter, Correction::Add(1), reason).await.unwrap();
        assert_eq!(guard.adjustments(&alice(), &counter).await.unwrap()[0].reason, reason);
    })
    .await;
}
