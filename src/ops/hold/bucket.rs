//! The buckets in which holds lie by the time at which they end.

use std::time::Duration;

use super::TTL;
use crate::error::{Error, Result};

/// Buckets that are narrower are not named beforehand: they would be the wrong ones too often by the time that a call arrives.
const LEAST_NAMED_MS: u64 = 8_192;

/// The bucket of a hold that is reserved within a span of whole seconds. It is named as windows are: by the caller's idea of the
/// store's clock, which the script checks. So the script need not reckon with times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) end_ms: i64,
    /// When it is the right one.
    pub(super) span_ms: (i64, i64),
}

impl Bucket {
    /// The one in which a hold of `ttl_ms` ends that is reserved in the second of `now_ms`, be it at its end. So it frees late
    /// by a bucket's width and a second at most, which is never more than an eighth of its TTL; `None` where that leaves no room.
    pub(super) fn at(now_ms: i64, ttl_ms: u64) -> Option<Self> {
        let width_ms = largest_power_of_two((ttl_ms / 8).saturating_sub(1_000)).filter(|ms| *ms >= LEAST_NAMED_MS)?;
        let (width_ms, ttl_ms) = (i64::try_from(width_ms).ok()?, i64::try_from(ttl_ms).ok()?);
        let whole_s = |ms: i64| ms.div_euclid(1000) * 1000;
        let latest_ms = whole_s(now_ms) + 1000 + ttl_ms;
        let end_ms = latest_ms + (-latest_ms).rem_euclid(width_ms);
        Some(Self { end_ms, span_ms: (whole_s(end_ms - width_ms - ttl_ms), whole_s(end_ms - ttl_ms)) })
    }
}

/// A TTL in ms and the width of its buckets: the largest power of two up to an eighth of it. So a hold frees at most an
/// eighth of its TTL late, and holds of like TTLs share few buckets.
pub(super) fn ttl_and_width_ms(ttl: Duration) -> Result<(u64, u64)> {
    if !TTL.contains(&ttl) {
        return Err(Error::invalid("a hold lives at least 1 second and at most 30 days"));
    }
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    Ok((ttl_ms, largest_power_of_two(ttl_ms / 8).unwrap_or(1)))
}

/// The largest power of two up to a number; `None` below one.
fn largest_power_of_two(number: u64) -> Option<u64> {
    number.checked_ilog2().map(|exponent| 1 << exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A second of any year that a guard takes.
    fn second() -> impl Strategy<Value = i64> {
        prop_oneof![0..10_000_000_000_i64, 1_700_000_000..1_900_000_000_i64]
    }

    proptest! {
        #[test]
        fn a_hold_frees_never_early_and_an_eighth_late_at_most(
            second in second(),
            ms in 0..1000_i64,
            ttl_ms in prop_oneof![73_536..100_000_u64, 73_536..=2_592_000_000_u64],
        ) {
            let bucket = Bucket::at(second * 1000, ttl_ms).unwrap();
            let ttl_ms = i64::try_from(ttl_ms).unwrap();
            let late_ms = bucket.end_ms - (second * 1000 + ms + ttl_ms);
            prop_assert!((0..=ttl_ms / 8).contains(&late_ms), "{late_ms} ms late");
        }

        /// Or a request would be asked for anew for ever.
        #[test]
        fn every_second_has_one_bucket(second in second(), ttl_ms in 73_536..=2_592_000_000_u64) {
            let bucket = Bucket::at(second * 1000, ttl_ms).unwrap();
            let (from_ms, until_ms) = bucket.span_ms;
            prop_assert!((from_ms..until_ms).contains(&(second * 1000)));
            for within_ms in [from_ms, until_ms - 1] {
                prop_assert_eq!(Bucket::at(within_ms, ttl_ms), Some(bucket));
            }
            prop_assert_eq!(Bucket::at(until_ms, ttl_ms).unwrap().span_ms.0, until_ms);
            prop_assert_eq!(Bucket::at(from_ms - 1, ttl_ms).unwrap().span_ms.1, from_ms);
        }
    }

    #[test]
    fn a_short_hold_has_no_named_bucket() {
        assert_eq!(Bucket::at(0, 73_535), None);
        assert_eq!(Bucket::at(0, 1_000), None);
        assert_eq!(ttl_and_width_ms(Duration::from_secs(1)).unwrap(), (1_000, 64));
        assert_eq!(ttl_and_width_ms(Duration::from_secs(600)).unwrap(), (600_000, 65_536));
    }
}
