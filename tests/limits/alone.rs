//! One rate alone has a script of its own: it answers and stores, word for word, what the script of all limits does.

use std::sync::Arc;
use std::time::Duration;

use costguard::script::{self, Op};
use costguard::store::embedded::{DumpEntry, Embedded};
use costguard::store::{ManualClock, Reply, ScriptCall};
use costguard::{Amounts, CostGuard, Decision, Limit};
use proptest::prelude::*;

use super::support::{START_MS, every_store};
use super::{alice, only};

const STATE: &str = "requests:{acme}:user:alice:rate";
const RULED: &str = "ruled:{acme}";

fn call(op: Op, args: &[&str]) -> ScriptCall {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    ScriptCall { script: script::of(op), keys: owned(&[STATE, RULED]), args: owned(args), idempotent: false }
}

/// Two stores under one clock: one asks the script of all limits, one that of a rate.
struct Pair {
    clock: Arc<ManualClock>,
    stores: [Embedded; 2],
}

impl Pair {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        let store = || Embedded::builder().clock(clock.clone()).build();
        Self { stores: [store(), store()], clock }
    }

    fn put(&self, command: &str) {
        for store in &self.stores {
            store.eval(command, &[STATE.to_owned(), RULED.to_owned()], &[]).unwrap();
        }
    }

    /// The replies and what is stored after them, of the script of all limits first.
    fn ask(&self, [amount, limit, span_us, burst]: [&str; 4]) -> [(Reply, Vec<DumpEntry>); 2] {
        let all = call(Op::Admit, &["", amount, limit, span_us, burst]);
        let alone = call(Op::AdmitRate, &[amount, limit, span_us, burst]);
        let [general, own] = &self.stores;
        [(general.run_now(&all).unwrap(), general.dump()), (own.run_now(&alone).unwrap(), own.dump())]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_rate_alone_is_decided_as_among_others(
        limit in prop_oneof![Just("0"), Just("1"), Just("7"), Just("+3"), Just("1000")],
        span_us in prop_oneof![Just("500"), Just("1000000"), Just("60000000")],
        burst in prop_oneof![Just(""), Just("1"), Just("20")],
        steps in prop::collection::vec((0_i64..5_000, prop_oneof![Just("0"), Just("1"), Just("3"), Just("25"), Just("-1"), Just("x")]), 1..30),
    ) {
        let pair = Pair::new();
        for (pause_ms, amount) in steps {
            pair.clock.advance_ms(pause_ms);
            let [all, alone] = pair.ask([amount, limit, span_us, burst]);
            prop_assert_eq!(all, alone);
        }
    }
}

#[test]
fn a_rate_alone_names_what_is_wrong_as_among_others() {
    for (put, expected) in [
        ("return redis.call('SET', KEYS[1], 'soon')", "COSTGUARD_CORRUPT"),
        ("return redis.call('SET', KEYS[1], '12+')", "COSTGUARD_CORRUPT"),
        ("return redis.call('HSET', KEYS[1], 'a', 'b')", "COSTGUARD_CORRUPT"),
        ("return redis.call('SET', KEYS[2], '1')", "RULED "),
    ] {
        let pair = Pair::new();
        pair.put(put);
        let [all, alone] = pair.ask(["1", "10", "1000000", ""]);
        assert_eq!(all, alone, "{put}");
        let (Reply::Text(text) | Reply::Error(text)) = &alone.0 else { panic!("{alone:?}") };
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn a_rate_alone_by_the_stores_clock_learns_of_rules_and_of_their_end() {
    for store in every_store().await {
        let guard: CostGuard = store.guard();
        let (policy, alice) = (only(Limit::requests("user", 2, Duration::from_secs(3600)).unwrap()), alice());
        let ask = async |amount: u64| {
            let decision = guard.admit(&policy, &alice, Amounts::new().requests(amount)).await.unwrap();
            match decision {
                Decision::Granted(grant) => (true, grant.limits[0].used),
                Decision::Denied(denial) => (false, denial.limits[0].used),
            }
        };
        assert_eq!([ask(1).await, ask(1).await, ask(1).await], [(true, 1), (true, 2), (false, 2)], "{}", store.name);
        guard.block(&alice, "user", Duration::from_secs(60)).await.unwrap();
        assert!(!ask(0).await.0, "{}: a block refuses", store.name);
        guard.unblock(&alice, "user").await.unwrap();
        assert!(ask(0).await.0 && !ask(1).await.0, "{}: and is lifted", store.name);
        store.clean().await;
    }
}
