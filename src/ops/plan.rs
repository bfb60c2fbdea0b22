//! A policy resolved for one subject at one time: which counters, which windows, how much.

use super::engine::{Answer, Engine};
use crate::error::{Error, Result};
use crate::model::{Amounts, Counter, Limit, LimitState, Per, Policy, Scope, Span, Subject};

/// How long a `total` counter lives after its last write.
const TOTAL_TTL_MS: i64 = 400 * 86_400_000;

/// The counters of one request, in the policy's order.
#[derive(Debug)]
pub(crate) struct Plan {
    policy: Policy,
    pub(crate) entries: Vec<Entry>,
    /// The latest start and the earliest end among the windows.
    pub(crate) span_ms: (i64, i64),
    renews: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    scope: Scope,
    pub(crate) key: String,
    span_ms: (i64, i64),
    /// When the counter's key ends, as the scripts read it.
    pub(crate) expiry: String,
    pub(crate) amount: i64,
}

/// A counter of a subject at one time.
pub(crate) struct Named {
    pub(crate) scope: Scope,
    pub(crate) key: String,
    pub(crate) span: Span,
    pub(crate) expiry: String,
}

impl Named {
    pub(crate) fn new(engine: &Engine, counter: &Counter, subject: &Subject, now_ms: i64) -> Result<Self> {
        let scope = subject.scope_of(counter.scope_kind())?;
        let span = counter.window().span_at(now_ms)?;
        let key = counter.key(&engine.prefix, subject, &scope, &span.name);
        let expiry = if counter.window().per() == Per::Total {
            format!("+{TOTAL_TTL_MS}")
        } else {
            let retention_ms = i64::try_from(engine.retention.as_millis()).unwrap_or(i64::MAX);
            span.end_ms.saturating_add(retention_ms).to_string()
        };
        Ok(Self { scope, key, span, expiry })
    }
}

impl Plan {
    /// Names the counters of `policy` for `subject` at `now_ms`, with what `amounts` adds to each; `None` reads only.
    pub(crate) fn new(
        engine: &Engine,
        policy: &Policy,
        subject: &Subject,
        amounts: Option<&Amounts>,
        now_ms: i64,
    ) -> Result<Self> {
        let mut entries = Vec::with_capacity(policy.limits().len());
        let (mut latest_start_ms, mut earliest_end_ms, mut renews) = (0, Span::NEVER_MS, false);
        for limit in policy.limits() {
            let counter = limit.counter();
            let Named { scope, key, span, expiry } = Named::new(engine, counter, subject, now_ms)?;
            let amount = amounts.map_or(Ok(0), |amounts| amounts.of(counter.meter()))?;
            latest_start_ms = latest_start_ms.max(span.start_ms);
            earliest_end_ms = earliest_end_ms.min(span.end_ms);
            renews |= counter.window().per() == Per::Total;
            entries.push(Entry { scope, key, span_ms: (span.start_ms, span.end_ms), expiry, amount });
        }
        let span_ms = (latest_start_ms, earliest_end_ms);
        Ok(Self { policy: policy.clone(), entries, span_ms, renews })
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        self.policy.limits()
    }

    pub(crate) fn renews(&self) -> bool {
        self.renews
    }

    /// Reads one `used` a limit from the reply. `added` says whether the request's amounts are in them.
    pub(crate) fn states(self, answer: &mut Answer, added: bool) -> Result<Vec<LimitState>> {
        if answer.len() != self.entries.len() {
            return Err(super::engine::unexpected("a number of counters that differs from the request's"));
        }
        let states = self.policy.limits().iter().zip(self.entries).map(|(limit, entry)| {
            let amount = if added { entry.amount } else { 0 };
            Ok(LimitState::new(limit, entry.scope, entry.span_ms, answer.int()?, amount))
        });
        states.collect()
    }
}

/// Text that is the same for a repeat of a request and differs for another request: what the receipt is checked by.
/// The windows are not in it, for a repeat may come in the next one.
pub(crate) fn fingerprint<'a>(verb: &str, parts: impl Iterator<Item = (&'a Scope, &'a Counter, i64)>) -> String {
    let mut sha1 = sha1_smol::Sha1::from(verb);
    for (scope, counter, amount) in parts {
        sha1.update(format!("\n{scope} {} {} {amount}", counter.meter(), counter.window()).as_bytes());
    }
    let mut hex = sha1.digest().to_string();
    hex.truncate(16);
    hex
}

impl Plan {
    /// The [`fingerprint`] of a request that does `verb` with this plan.
    pub(crate) fn fingerprint(&self, verb: &str) -> String {
        let parts = self.entries.iter().zip(self.limits());
        fingerprint(verb, parts.map(|(entry, limit)| (&entry.scope, limit.counter(), entry.amount)))
    }
}

/// An injected time, as operations take it: milliseconds since the epoch.
pub(crate) fn injected_ms(at: chrono::DateTime<chrono::Utc>) -> Result<i64> {
    let at_ms = at.timestamp_millis();
    if at_ms < 0 { Err(Error::invalid(format!("the time {at} lies before 1970; give a later one"))) } else { Ok(at_ms) }
}
