//! Times as the scripts take them.

use crate::error::{Error, Result};

/// The end of windows that never end, as the scripts compare it: ten digits.
const NEVER_S: i64 = 9_999_999_999;

/// The second of a time: ten digits, for scripts compare seconds as texts.
pub(crate) fn second_text(ms: i64) -> String {
    match (ms / 1000).clamp(0, NEVER_S) {
        // Every time since 2001 has them.
        seconds @ 1_000_000_000.. => seconds.to_string(),
        seconds => format!("{seconds:010}"),
    }
}

/// An injected time as the scripts take it: thirteen digits, of which the first ten are the seconds.
pub(crate) fn time_text(at_ms: i64) -> String {
    format!("{at_ms:013}")
}

/// An injected time, as operations take it: milliseconds since the epoch. Scripts take ten digits of seconds, so one with more
/// would be another time for them; the last second is kept for what never ends.
pub(crate) fn injected_ms(at: chrono::DateTime<chrono::Utc>) -> Result<i64> {
    let at_ms = since_epoch_ms(at)?;
    if at_ms >= NEVER_S * 1000 {
        return Err(Error::invalid(format!("the time {at} is too far away; give one before 2286-11-20 17:46:39 UTC")));
    }
    Ok(at_ms)
}

/// A time in milliseconds since the epoch, where it may be any after that.
pub(crate) fn since_epoch_ms(at: chrono::DateTime<chrono::Utc>) -> Result<i64> {
    let at_ms = at.timestamp_millis();
    if at_ms < 0 { Err(Error::invalid(format!("the time {at} lies before 1970; give a later one"))) } else { Ok(at_ms) }
}
