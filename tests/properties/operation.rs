//! What a property test does: operations, and how they are drawn. A new operation is a variant here, an arm in the model
//! and one in the driver.

use proptest::prelude::*;

/// Policies of the tests, by number; see `policy::POLICIES`.
pub(crate) type PolicyNumber = usize;

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Time goes on.
    Advance {
        ms: i64,
    },
    Charge {
        user: u8,
        policy: PolicyNumber,
        amounts: Taken,
        id: Option<u8>,
    },
    Admit {
        user: u8,
        policy: PolicyNumber,
        amounts: Taken,
        id: Option<u8>,
    },
    Peek {
        user: u8,
        policy: PolicyNumber,
    },
    Count {
        user: u8,
        amount: u64,
        ttl_ms: i64,
        extend: bool,
        id: Option<u8>,
    },
    Adjust {
        user: u8,
        counter: usize,
        delta: Delta,
        id: Option<u8>,
    },
}

/// What a request takes; it is always one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) cost: i64,
    pub(crate) tokens: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Delta {
    Add(i64),
    Subtract(i64),
    Reset,
}

pub(crate) const USERS: u8 = 3;

/// Small amounts that meet the limits, and now and then one from where numbers break.
fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => 0..1500_i64,
        1 => Just(99_999_999_999_999),
        1 => Just(9_007_199_254_740_993),
        1 => (1..100_i64).prop_map(|less| i64::MAX - less),
        1 => any::<i64>().prop_map(|any| any.saturating_abs()),
    ]
}

fn taken() -> impl Strategy<Value = Taken> {
    (amount(), amount()).prop_map(|(cost, tokens)| Taken { cost, tokens })
}

/// Few ids, so that they meet again for something else; repeats are made below.
fn id() -> impl Strategy<Value = Option<u8>> {
    proptest::option::weighted(0.4, 0..20_u8)
}

fn delta() -> impl Strategy<Value = Delta> {
    prop_oneof![3 => amount().prop_map(Delta::Add), 5 => amount().prop_map(Delta::Subtract), 1 => Just(Delta::Reset)]
}

fn operation(policies: usize, counters: usize) -> impl Strategy<Value = Operation> {
    const MINUTE_MS: i64 = 60_000;
    let ms = prop_oneof![6 => 0..2 * MINUTE_MS, 3 => 0..180 * MINUTE_MS, 1 => 0..4 * 24 * 60 * MINUTE_MS];
    let ttl_ms = prop_oneof![Just(20 * MINUTE_MS), Just(60 * MINUTE_MS), Just(1440 * MINUTE_MS + 1)];
    let count = prop_oneof![5 => 0..5_u64, 1 => Just(u64::try_from(i64::MAX).unwrap() - 3)];
    prop_oneof![
        4 => ms.prop_map(|ms| Operation::Advance { ms }),
        5 => (0..USERS, 0..policies, taken(), id())
            .prop_map(|(user, policy, amounts, id)| Operation::Charge { user, policy, amounts, id }),
        7 => (0..USERS, 0..policies, taken(), id())
            .prop_map(|(user, policy, amounts, id)| Operation::Admit { user, policy, amounts, id }),
        1 => (0..USERS, 0..policies).prop_map(|(user, policy)| Operation::Peek { user, policy }),
        3 => (0..USERS, count, ttl_ms, any::<bool>(), id())
            .prop_map(|(user, amount, ttl_ms, extend, id)| Operation::Count { user, amount, ttl_ms, extend, id }),
        3 => (0..USERS, 0..counters, delta(), id())
            .prop_map(|(user, counter, delta, id)| Operation::Adjust { user, counter, delta, id }),
    ]
}

/// A time to begin at, near changes of the clocks in Berlin and ends of months, and what happens then.
pub(crate) fn history(policies: usize, counters: usize, most: usize) -> impl Strategy<Value = (i64, Vec<Operation>)> {
    // 2026-03-28T12:00Z, 2026-10-24T12:00Z, 2027-12-31T12:00Z
    let begin = prop_oneof![Just(1_774_699_200_000_i64), Just(1_792_843_200_000), Just(1_830_254_400_000)];
    let begin = (begin, 0..36 * 3_600_000_i64).prop_map(|(begin_ms, later_ms)| begin_ms + later_ms);
    // Every sixth is an earlier one with an id once more.
    let step = (operation(policies, counters), proptest::option::weighted(0.15, 0..4_usize));
    (begin, proptest::collection::vec(step, 1..most)).prop_map(|(begin_ms, steps)| {
        let mut history: Vec<Operation> = Vec::with_capacity(steps.len());
        for (operation, repeats) in steps {
            let earlier = repeats.and_then(|back| history.iter().rev().filter(|it| it.has_id()).nth(back)).cloned();
            history.push(earlier.unwrap_or(operation));
        }
        (begin_ms, history)
    })
}

impl Operation {
    fn has_id(&self) -> bool {
        match self {
            Self::Advance { .. } | Self::Peek { .. } => false,
            Self::Charge { id, .. } | Self::Admit { id, .. } | Self::Count { id, .. } | Self::Adjust { id, .. } => {
                id.is_some()
            }
        }
    }
}
