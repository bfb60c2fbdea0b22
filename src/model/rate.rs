//! What the state of a rate says. Twin of `lua/lib/rate.lua`, which decides; here is what users read off it.

/// A bucket that leaks (GCRA), at one moment. It works in parts: a request is `span_us` parts, and `limit` parts leak out every
/// microsecond, so everything is a whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    parts: i128,
    limit: i128,
    span_us: i128,
    most: i128,
}

impl Bucket {
    /// Reads `EMPTY_US` or `EMPTY_US+REST`, `0` for empty; `None` when it is neither.
    pub(crate) fn read(word: &str, now_us: i64, limit: i64, burst: i64, span_us: i64) -> Option<Self> {
        let (empty_us, rest) = word.split_once('+').unwrap_or((word, "0"));
        let (empty_us, rest) = (empty_us.parse::<i64>().ok()?, rest.parse::<i64>().ok()?);
        let (limit, span_us) = (i128::from(limit.max(1)), i128::from(span_us));
        let parts = i128::from(empty_us.saturating_sub(now_us)) * limit + i128::from(rest).min(limit);
        Some(Self { parts: parts.max(0), limit, span_us, most: i128::from(burst) * span_us })
    }

    /// The bucket with `amount` more in it.
    pub(crate) fn with(self, amount: i64) -> Self {
        Self { parts: self.parts + i128::from(amount) * self.span_us, ..self }
    }

    /// How much is in it.
    pub(crate) fn parts(&self) -> i64 {
        int(self.parts)
    }

    /// How many requests are in it, rounded up.
    pub(crate) fn used(&self) -> i64 {
        int((self.parts + self.span_us - 1) / self.span_us)
    }

    /// How long until it is empty.
    pub(crate) fn empty_us(&self) -> i64 {
        int((self.parts + self.limit - 1) / self.limit)
    }

    /// How long until `amount` more fit in; 0 when they do, `None` when they never will.
    pub(crate) fn wait_us(&self, amount: i64) -> Option<i64> {
        let parts = i128::from(amount) * self.span_us;
        let over = (self.parts + parts - self.most).max(0);
        (parts <= self.most).then(|| int((over + self.limit - 1) / self.limit))
    }
}

fn int(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_says_what_is_in_it_and_when_more_fits() {
        // 7 a second: an interval of 142,857 us and 1/7.
        let bucket = Bucket::read("1142857+1", 1_000_000, 7, 7, 1_000_000).unwrap();
        assert_eq!((bucket.used(), bucket.empty_us(), bucket.wait_us(6)), (1, 142_858, Some(0)));
        let full = Bucket::read("2000000", 1_000_000, 7, 7, 1_000_000).unwrap();
        assert_eq!((full.used(), full.wait_us(1), full.wait_us(8)), (7, Some(142_858), None));
        assert!(Bucket::read("soon", 0, 1, 1, 1).is_none());
    }
}
