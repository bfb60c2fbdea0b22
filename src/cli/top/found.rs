//! What was found in a store.

use costguard::model::{Per, Window};
use costguard::{Limit, LimitState};

/// What is known of a counter.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) window: Window,
    /// What was used; `None` for rates, of which the policy says how to read them.
    pub(super) used: Option<i64>,
    pub(super) held: i64,
    /// What the store said when it was asked with the policy.
    pub(super) state: Option<LimitState>,
    /// What the policy says of it.
    pub(super) policy: Option<Limit>,
    /// The pass that saw it, and the one that saw something held beside it.
    pub(super) pass: u64,
    pub(super) held_pass: u64,
}

/// A hold that is open.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) reserved_ms: i64,
    pub(super) expires_ms: i64,
    pub(super) frees_ms: i64,
    pub(super) pass: u64,
}

impl Counted {
    pub(super) fn new(window: Window) -> Self {
        Self { window, used: None, held: 0, state: None, policy: None, pass: 0, held_pass: 0 }
    }

    /// What was used, as far as it can be told.
    pub(super) fn used(&self) -> Option<i64> {
        self.state.as_ref().map(|state| state.used).or(self.used)
    }

    /// How far it may go.
    pub(super) fn limit(&self) -> Option<i64> {
        self.state.as_ref().and_then(|state| state.limit)
    }

    /// How many of a rate may come at once, where that is another number.
    pub(super) fn burst(&self) -> Option<i64> {
        self.state.as_ref().and_then(LimitState::own_burst)
    }

    /// By how much it may go further.
    pub(super) fn overdraft(&self) -> i64 {
        self.policy.as_ref().map_or(0, Limit::allowed_overdraft)
    }

    /// Whether its limit refuses nothing.
    pub(super) fn is_shadow(&self) -> bool {
        self.policy.as_ref().is_some_and(Limit::is_shadow)
    }

    pub(super) fn held(&self) -> i64 {
        self.state.as_ref().map_or(self.held, |state| state.held)
    }

    /// How full it is, in thousandths of the limit and the overdraft that it allows; of a rate, of what may come at once.
    pub(super) fn share(&self) -> Option<i64> {
        let limit = self.burst().or(self.limit())?.saturating_add(self.overdraft());
        let taken = i128::from(self.used()?) + i128::from(self.held());
        // Where nothing may be used it is full.
        let share = if limit > 0 { taken * 1000 / i128::from(limit) } else { 1000 };
        Some(i64::try_from(share).unwrap_or(i64::MAX))
    }

    /// Whether it counts calls that are open, of which none is ever used.
    pub(super) fn is_open(&self) -> bool {
        self.window.per() == Per::Open
    }
}

impl Held {
    /// Reads the record of a hold, `open STEP NOW_S US TTL_MS BUCKET_MS …`; `None` when it has ended.
    pub(super) fn read(record: &str, pass: u64) -> Option<Self> {
        let mut words = record.split(' ');
        if words.next() != Some("open") {
            return None;
        }
        let mut numbers = words.skip(1).map(|word| word.parse::<i64>().ok());
        let mut number = || numbers.next().flatten();
        let (seconds, us, ttl_ms, frees_ms) = (number()?, number()?, number()?, number()?);
        let reserved_ms = seconds.checked_mul(1000)?.checked_add(us / 1000)?;
        Some(Self { reserved_ms, expires_ms: reserved_ms.checked_add(ttl_ms)?, frees_ms, pass })
    }
}
