//! How long until a limit has room.

use std::time::Duration;

use crate::model::LimitState;

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
