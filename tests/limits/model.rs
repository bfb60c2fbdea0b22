//! What each algorithm is, from its definition: exact, slow, and without a thought for how it is stored.

use std::collections::BTreeMap;

use super::support::buckets::bucket_of_reserved;

/// How a rate forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rate { burst: Option<i64> },
    Sliding,
    Log,
}

/// One rate. Times are microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    kind: Kind,
    limit: i128,
    span: i128,
    /// GCRA: when the next request is expected, in `limit`ths of a microsecond.
    expected: i128,
    /// Sliding: what was taken in each window, and the last window that was written.
    windows: BTreeMap<i128, i128>,
    newest: i128,
    /// Log: when each request came, in order.
    times: Vec<i128>,
}

/// What a request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted {
        used: i64,
        remaining: i64,
    },
    /// `wait_us` until it would be granted, `None` for never.
    Denied {
        used: i64,
        remaining: i64,
        wait_us: Option<u64>,
    },
}

impl Model {
    pub(crate) fn new(kind: Kind, limit: i64, span_us: i64) -> Self {
        let (limit, span) = (limit.into(), span_us.into());
        Self { kind, limit, span, expected: 0, windows: BTreeMap::new(), newest: 0, times: Vec::new() }
    }

    fn most(&self) -> i128 {
        match self.kind {
            Kind::Rate { burst: Some(burst) } => burst.into(),
            _ => self.limit,
        }
    }

    /// The time between two requests, in `limit`ths of a microsecond.
    fn interval(&self) -> i128 {
        self.span
    }

    /// The window that counts as the current one, and how far it has gone: a clock that went back stands still.
    fn window_at(&self, now: i128) -> (i128, i128) {
        let index = now / self.span;
        if self.newest > index { (self.newest, 0) } else { (index, now % self.span) }
    }

    fn used_at(&self, now: i128) -> i128 {
        match self.kind {
            Kind::Rate { .. } => ceil((self.expected - now * self.limit).max(0), self.interval()),
            Kind::Sliding => {
                let (index, into) = self.window_at(now);
                let of = |index| self.windows.get(&index).copied().unwrap_or(0);
                ceil(of(index - 1) * (self.span - into), self.span) + of(index)
            }
            Kind::Log => count(self.times.iter().filter(|time| **time > now - self.span)),
        }
    }

    pub(crate) fn stands(&self, now: i64) -> (i64, i64) {
        let used = self.used_at(now.into());
        (int(used), int((self.most() - used).max(0)))
    }

    /// Whether `amount` more may pass.
    fn fits(&self, now: i128, amount: i128) -> bool {
        match self.kind {
            Kind::Rate { .. } => {
                let expected = self.expected.max(now * self.limit) + amount * self.interval();
                expected - now * self.limit <= self.most() * self.interval()
            }
            _ => self.used_at(now) + amount <= self.limit,
        }
    }

    /// The first time from `now` on at which it fits, when nobody else comes.
    fn wait(&self, now: i128, amount: i128) -> Option<u64> {
        if amount > self.most() {
            return None;
        }
        let (mut low, mut high) = (now, now + 1);
        while !self.fits(high, amount) {
            high = now + (high - now) * 2;
        }
        while high - low > 1 {
            let middle = i128::midpoint(low, high);
            if self.fits(middle, amount) { high = middle } else { low = middle }
        }
        Some(u64::try_from(high - now).unwrap())
    }

    pub(crate) fn take(&mut self, now: i64, amount: i64, forced: bool) -> Verdict {
        let (now_us, amount) = (i128::from(now), i128::from(amount));
        if !forced && !self.fits(now_us, amount) {
            let (used, remaining) = self.stands(now);
            return Verdict::Denied { used, remaining, wait_us: self.wait(now_us, amount) };
        }
        let came = match self.kind {
            Kind::Log => {
                self.forget(now_us);
                self.times.last().copied().unwrap_or(now_us).max(now_us)
            }
            Kind::Sliding => self.window_at(now_us).0 * self.span,
            Kind::Rate { .. } => now_us,
        };
        self.change(now_us, amount, came, 0);
        let (used, remaining) = self.stands(now);
        Verdict::Granted { used, remaining }
    }

    /// How much is in a bucket, in `interval`ths of a request.
    pub(crate) fn level(&self, now: i64) -> i128 {
        (self.expected - i128::from(now) * self.limit).max(0)
    }

    /// What was taken at `came` turns out to be so much more, or less; the bucket's level then came to that.
    pub(crate) fn correct(&mut self, now: i64, change: i64, came: i64, level: i128) {
        if change != 0 {
            self.forget(now.into());
            self.change(now.into(), change.into(), came.into(), level);
        }
    }

    fn change(&mut self, now: i128, change: i128, came: i128, level: i128) {
        match self.kind {
            Kind::Rate { .. } => {
                // What has leaked out since it came is gone.
                let left = level - (now - came).max(0) * self.limit;
                let more = (change * self.interval()).max(-left.max(0));
                let now = now * self.limit;
                let expected = self.expected.max(now) + more;
                // An empty bucket is empty at any time.
                self.expected = if expected > now { expected } else { 0 };
            }
            Kind::Sliding => {
                let index = self.window_at(now).0;
                self.windows.retain(|kept, _| *kept >= index - 1);
                let came = (came / self.span).min(index);
                if came >= index - 1 {
                    let count = self.windows.entry(came).or_default();
                    *count = (*count + change).max(0);
                }
                self.newest = if self.windows.values().any(|count| *count > 0) { index } else { 0 };
            }
            Kind::Log if change < 0 => {
                // The newest that had come by then.
                let place = self.times.partition_point(|time| *time <= came);
                let first = place.saturating_sub(usize::try_from(-change).unwrap());
                self.times.drain(first..place);
            }
            Kind::Log => {
                let more = (0..change).map(|_| came).filter(|came| *came > now - self.span);
                self.times.extend(more);
                self.times.sort_unstable();
            }
        }
    }

    fn forget(&mut self, now: i128) {
        self.times.retain(|time| *time > now - self.span);
    }
}

/// The calls that are open, each until the end of its bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenCalls {
    ends_ms: BTreeMap<usize, i64>,
}

impl OpenCalls {
    pub(crate) fn open(&self, now_ms: i64) -> i64 {
        i64::try_from(self.ends_ms.values().filter(|end_ms| **end_ms > now_ms).count()).unwrap()
    }

    /// When the next comes free by itself.
    pub(crate) fn next_ms(&self, now_ms: i64) -> Option<i64> {
        self.ends_ms.values().copied().filter(|end_ms| *end_ms > now_ms).min()
    }

    /// It ends up to an eighth of its TTL late, with all others of its bucket.
    pub(crate) fn begin(&mut self, id: usize, now_ms: i64, ttl_ms: i64) {
        self.ends_ms.insert(id, bucket_of_reserved(now_ms, ttl_ms));
    }

    pub(crate) fn end(&mut self, id: usize) {
        self.ends_ms.remove(&id);
    }
}

fn ceil(number: i128, by: i128) -> i128 {
    (number + by - 1).div_euclid(by)
}

fn count(items: impl Iterator) -> i128 {
    i128::try_from(items.count()).unwrap()
}

fn int(number: i128) -> i64 {
    i64::try_from(number).unwrap()
}
