//! A policy resolved for one subject at one time: which counters, which windows, how much.

use std::time::Duration;

use super::engine::{Answer, Engine, unexpected};
use crate::error::{Error, Result};
use crate::model::{Amounts, Counter, Denial, Limit, LimitState, Meter, Per, Policy, Scope, Span, Subject};

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
    pub(crate) span_ms: (i64, i64),
    pub(crate) expiry: String,
}

impl Named {
    pub(crate) fn new(engine: &Engine, counter: &Counter, subject: &Subject, now_ms: i64) -> Result<Self> {
        let scope = subject.scope_of(counter.scope_kind())?;
        let (key, span_ms) = counter.window().with_span_at(now_ms, |span| {
            (counter.key(&engine.prefix, subject, &scope, &span.name), (span.start_ms, span.end_ms))
        })?;
        let expiry = if counter.window().per() == Per::Total {
            format!("+{TOTAL_TTL_MS}")
        } else {
            let retention_ms = i64::try_from(engine.retention.as_millis()).unwrap_or(i64::MAX);
            span_ms.1.saturating_add(retention_ms).to_string()
        };
        Ok(Self { scope, key, span_ms, expiry })
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
            let Named { scope, key, span_ms, expiry } = Named::new(engine, counter, subject, now_ms)?;
            let amount = amounts.map_or(Ok(0), |amounts| amounts.of(counter.meter()))?;
            latest_start_ms = latest_start_ms.max(span_ms.0);
            earliest_end_ms = earliest_end_ms.min(span_ms.1);
            renews |= counter.window().per() == Per::Total;
            entries.push(Entry { scope, key, span_ms, expiry, amount });
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

    /// The keys of the counters, then those of what is held beside them, `middle`, and those of the holds.
    pub(crate) fn keys(&self, middle: Option<String>) -> Vec<String> {
        let mut keys = Vec::with_capacity(self.entries.len() * 3 + 1);
        keys.extend(self.entries.iter().map(|entry| entry.key.clone()));
        keys.extend(self.entries.iter().map(|entry| [&entry.key, ":held"].concat()));
        keys.extend(middle);
        keys.extend(self.entries.iter().map(|entry| [&entry.key, ":holds"].concat()));
        keys
    }

    /// Where a limit stands that nothing was taken from.
    pub(crate) fn state(&self, place: usize, used: i64, held: i64) -> LimitState {
        let (limit, entry) = (&self.limits()[place], &self.entries[place]);
        LimitState::new(limit, entry.scope.clone(), entry.span_ms, used, held, 0)
    }

    /// Sets the amount of a meter to what the store made of it.
    pub(crate) fn set_amounts(&mut self, meter: &Meter, amount: i64) {
        for (entry, limit) in self.entries.iter_mut().zip(self.policy.limits()) {
            if limit.counter().meter() == meter {
                entry.amount = amount;
            }
        }
    }

    /// Reads `used... [held...]` from a reply, one of each a limit. `taken` says what the request's amounts are to these.
    pub(crate) fn states(&self, answer: &mut Answer, taken: Taken) -> Result<Vec<LimitState>> {
        let count = self.entries.len();
        // With room from the start: collecting results would let them grow.
        let (mut all_used, mut states) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            all_used.push(answer.int()?);
        }
        let has_held = !answer.rest().is_empty();
        for ((limit, entry), used) in self.policy.limits().iter().zip(&self.entries).zip(all_used) {
            let held = if has_held { answer.int()? } else { 0 };
            let beyond = |sum: i64| sum.checked_add(entry.amount).ok_or_else(|| unexpected("an amount beyond 64 bits"));
            let (used, held, added) = match taken {
                Taken::Nothing => (used, held, 0),
                Taken::Before => (beyond(used)?, held, entry.amount),
                Taken::Included => (used, held, entry.amount),
                Taken::Held => (used, beyond(held)?, entry.amount),
            };
            states.push(LimitState::new(limit, entry.scope.clone(), entry.span_ms, used, held, added));
        }
        Ok(states)
    }

    /// Reads `now_ms refusing used... [held... frees_ms...]`, the reply to a request that was refused.
    pub(crate) fn denial(&self, answer: &mut Answer) -> Result<Denial> {
        answer.expect("DENIED")?;
        let now_ms = answer.int()?;
        let refusing = answer.word()?.to_owned();
        let limits = self.states(answer, Taken::Nothing)?;
        let frees_ms: Vec<i64> = (0..answer.len()).map(|_| answer.int()).collect::<Result<_>>()?;

        let mut refused_by = Vec::new();
        let mut binding: Option<(i64, usize)> = None;
        for place in refusing.split(',') {
            let place = place.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
            let place = place.filter(|place| *place < limits.len()).ok_or_else(|| unexpected(&refusing))?;
            // A request above the whole limit stays refused in every window.
            let alone = limits[place].limit.is_some_and(|limit| self.entries[place].amount > limit);
            let reset_ms = limits[place].span_ms.1;
            let free_ms = match frees_ms.get(place) {
                _ if alone => Span::NEVER_MS,
                Some(frees_ms) if *frees_ms > 0 => reset_ms.min(*frees_ms),
                _ => reset_ms,
            };
            if binding.is_none_or(|(longest_ms, _)| free_ms > longest_ms) {
                binding = Some((free_ms, place));
            }
            refused_by.push(place);
        }
        let (free_ms, place) = binding.ok_or_else(|| unexpected(&refusing))?;
        let retry_after = (free_ms != Span::NEVER_MS)
            .then(|| Duration::from_millis(u64::try_from(free_ms.saturating_sub(now_ms)).unwrap_or(0)));
        Ok(Denial { limit: limits[place].clone(), retry_after, limits, refused_by })
    }
}

/// What the amounts of a request are to the counters in its reply.
#[derive(Clone, Copy)]
pub(crate) enum Taken {
    /// They were not taken.
    Nothing,
    /// They were added to `used` after it was read.
    Before,
    /// They are part of `used`.
    Included,
    /// They were added to `held` after it was read.
    Held,
}

/// Text that is the same for a repeat of a request and differs for another request: what the receipt is checked by.
/// The windows are not in it, for a repeat may come in the next one.
pub(crate) fn fingerprint<'a>(verb: &str, parts: impl Iterator<Item = (&'a Scope, &'a Counter, i64)>) -> String {
    let mut sha1 = sha1_smol::Sha1::from(verb);
    for (scope, counter, amount) in parts {
        sha1.update(format!("\n{scope} {} {} {amount}", counter.meter(), counter.window()).as_bytes());
    }
    short_hex(&sha1)
}

/// The first 64 bits: enough to tell two requests under one id apart.
pub(crate) fn short_hex(sha1: &sha1_smol::Sha1) -> String {
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
