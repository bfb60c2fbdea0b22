//! How long until a limit has room, and how long a client is told to wait for it.

use std::time::Duration;

use crate::model::{Denial, Limit, LimitState, Meter, Policy};

/// A denial as a client is told of it.
///
/// What is held is room as soon as its call ends, and when that is nobody knows: `Denial::retry_after` says when holds expire,
/// which is the latest. So a limit that would have had room but for what is held is waited for a short time, and then asked
/// again; one that refuses by what is used, for as long as that lasts.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) denial: &'a Denial,
    /// Of the limits that refuse the one that is waited for longest.
    pub(super) limit: &'a LimitState,
    /// How long that is; `None` when no waiting helps.
    pub(super) retry_after: Option<Duration>,
    /// The same of each limit that refuses, by its place.
    waits: Vec<(usize, Option<Duration>)>,
}

impl<'a> Told<'a> {
    /// A denial of a request that asked by `policy` for `asked` of a meter, at `now_ms`. What is held is waited for at most
    /// `held_wait`.
    pub(super) fn new(
        denial: &'a Denial,
        policy: &Policy,
        asked: impl Fn(&Meter) -> i64,
        held_wait: Duration,
        now_ms: i64,
    ) -> Self {
        let wait = |place: usize, state: &LimitState| {
            let (asked, overdraft) =
                (asked(&state.meter), policy.limits().get(place).map_or(0, Limit::allowed_overdraft));
            let wait = own_wait(denial, state, asked, now_ms)?;
            Some(if is_held_alone(state, asked, overdraft) { wait.min(held_wait) } else { wait })
        };
        let refusing = denial.refused_by.iter().filter_map(|place| Some((*place, denial.limits.get(*place)?)));
        let waits: Vec<_> = refusing.map(|(place, state)| (place, wait(place, state))).collect();
        // Of equal ones the first.
        let longest = waits.iter().rev().max_by_key(|(_, wait)| *wait).filter(|_| denial.retry_after.is_some());
        let limit = longest.and_then(|(place, _)| denial.limits.get(*place)).unwrap_or(&denial.limit);
        Self { denial, limit, retry_after: longest.and_then(|(_, wait)| *wait), waits }
    }

    /// How long the limit at this place is waited for, where it refuses and that is known.
    pub(super) fn wait_for(&self, place: usize) -> Option<Duration> {
        self.waits.iter().find(|(at, _)| *at == place).and_then(|(_, wait)| *wait)
    }
}

/// How long a limit that refuses is waited for, by what the store said. That was said only of the one that binds longest: of
/// others it is at most as long.
fn own_wait(denial: &Denial, state: &LimitState, asked: i64, now_ms: i64) -> Option<Duration> {
    if *state == denial.limit {
        return denial.retry_after;
    }
    let own = until_room(state, asked, now_ms).or_else(|| until_reset(state, now_ms));
    [own, denial.retry_after].into_iter().flatten().min()
}

/// Whether a limit would have room for what was asked but for what is held.
fn is_held_alone(state: &LimitState, asked: i64, overdraft: i64) -> bool {
    let most = state.limit.unwrap_or(i64::MAX).saturating_add(overdraft);
    state.held > 0 && state.used.saturating_add(asked) <= most
}

/// How long until the window of a limit ends, or a rate is full again; `None` when it never does.
pub(super) fn until_reset(state: &LimitState, now_ms: i64) -> Option<Duration> {
    state.resets_at()?;
    // Clocks differ: no window has more left than its length.
    let left_ms = state.span_ms.1.saturating_sub(now_ms.max(state.span_ms.0));
    Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)))
}

/// How long until `amount` fits into a rate with a burst (GCRA), of which the time when it is full again tells that; `None` for
/// all others, and when it never will.
pub(super) fn until_room(state: &LimitState, amount: i64, now_ms: i64) -> Option<Duration> {
    let (burst, limit) = (state.burst?, state.limit.filter(|limit| *limit > 0)?);
    let period_us = i128::from(state.window.per().rate_period()?.us());
    let spare = i128::from(burst.checked_sub(amount).filter(|spare| *spare >= 0)?);
    // What is spared of the way to full is rounded down, so the wait is rounded up.
    let sooner_us = u64::try_from(spare * period_us / i128::from(limit)).unwrap_or(u64::MAX);
    Some(until_reset(state, now_ms)?.saturating_sub(Duration::from_micros(sooner_us)))
}
