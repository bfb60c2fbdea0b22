//! `adjust` and `adjustments`: corrections by hand, and the journal of them. Twin of `lua/adjust.lua` and
//! `lua/adjustments.lua`.

use chrono::{DateTime, Utc};

use super::engine::{Engine, unexpected};
use super::plan::{Named, fingerprint};
use super::request::awaits;
use super::time::injected_ms;
use crate::error::{Error, Result};
use crate::model::{Counter, Per, Subject};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// Corrections kept beside a counter; an older one makes room for a newer.
const JOURNAL_SIZE: &str = "100";

/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// How to correct a counter, in its meter's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Adds an amount, whatever the limits.
    Add(i64),
    /// Takes an amount back. A counter never falls below zero: more than it holds is an error that changes nothing.
    Subtract(i64),
    /// Back to zero.
    Reset,
}

/// A correction, made by [`CostGuard::adjust`](crate::CostGuard::adjust).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Adjust<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) subject: &'a Subject,
    pub(crate) counter: &'a Counter,
    pub(crate) correction: Correction,
    pub(crate) reason: &'a str,
    pub(crate) id: Option<String>,
    pub(crate) at: Option<DateTime<Utc>>,
}

/// What a correction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// The counter before.
    pub before: i64,
    /// The counter after.
    pub after: i64,
    /// Whether this is the stored answer to an operation id that was used before.
    pub replayed: bool,
}

impl Adjust<'_> {
    /// Gives the operation an id, unique under the subject's root: it happens once, and a repeat gets the first answer.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Corrects the counter of the window of this time and not of the store's now: a day that is over, say.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    fn delta(&self) -> Result<Option<i64>> {
        match self.correction {
            Correction::Add(amount) if amount >= 0 => Ok(Some(amount)),
            Correction::Subtract(amount) if amount >= 0 => Ok(Some(-amount)),
            Correction::Reset => Ok(None),
            _ => {
                Err(Error::invalid("a correction adds or subtracts 0 or more; use the other one for a negative amount"))
            }
        }
    }

    fn call(&self, now_ms: i64) -> Result<((), ScriptCall)> {
        let reason = self.reason.trim();
        if reason.is_empty() || reason.len() > MAX_REASON_BYTES || reason.contains(char::is_control) {
            return Err(Error::invalid(format!(
                "a correction needs a reason of 1 to {MAX_REASON_BYTES} bytes on one line: who asked for it, and why"
            )));
        }
        let per = self.counter.window().per();
        if per == Per::Open || per.rate_period().is_some() {
            return Err(Error::invalid(
                "a correction is of what a window has counted; `refund` and `penalty` correct a rate, and open calls end with \
                 their holds",
            ));
        }
        let delta = self.delta()?;
        let Named { scope, key, span_ms, expiry } = Named::new(self.engine, self.counter, self.subject, now_ms)?;
        let mut keys = vec![key.clone(), format!("{key}:adjustments")];
        let delta_text = delta.map(|delta| delta.to_string()).unwrap_or_default();
        let injected = self.at.map(|_| now_ms.to_string()).unwrap_or_default();
        let mut args = vec![span_ms.0.to_string(), span_ms.1.to_string(), delta_text, expiry];
        args.extend([JOURNAL_SIZE.to_owned(), reason.to_owned(), injected]);
        if let Some(id) = &self.id {
            keys.push(self.subject.receipt_key(&self.engine.prefix, id)?);
            let verb = if delta.is_none() { "reset" } else { "adjust" };
            let parts = std::iter::once((&scope, self.counter, delta.unwrap_or(0)));
            args.extend([self.engine.receipt_ttl.as_millis().to_string(), fingerprint(verb, parts)]);
        }
        Ok(((), ScriptCall { script: script::of(Op::Adjust), keys, args, idempotent: self.id.is_some() }))
    }

    async fn run(self) -> Result<Adjusted> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let ((), mut answer) = self.engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        answer.expect("OK")?;
        self.engine.forget_denials();
        Ok(Adjusted { before: answer.int()?, after: answer.int()?, replayed: answer.replayed })
    }
}

awaits!(Adjust -> Adjusted);

/// One correction, as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Which correction of this counter it was, from 1.
    pub number: u64,
    /// When, by the store's clock or the injected time, to the second.
    pub at_ms: i64,
    /// The counter before.
    pub before: i64,
    /// The counter after.
    pub after: i64,
    /// Why.
    pub reason: String,
}

/// A look at a counter's journal, made by [`CostGuard::adjustments`](crate::CostGuard::adjustments).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Adjustments<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) subject: &'a Subject,
    pub(crate) counter: &'a Counter,
    pub(crate) at: Option<DateTime<Utc>>,
}

impl Adjustments<'_> {
    /// Looks at the window of this time and not of the store's now.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    fn call(&self, now_ms: i64) -> Result<((), ScriptCall)> {
        let Named { key, span_ms, .. } = Named::new(self.engine, self.counter, self.subject, now_ms)?;
        let mut args = vec![span_ms.0.to_string(), span_ms.1.to_string(), JOURNAL_SIZE.to_owned()];
        args.extend(self.at.map(|_| now_ms.to_string()));
        let keys = vec![format!("{key}:adjustments")];
        Ok(((), ScriptCall { script: script::of(Op::Adjustments), keys, args, idempotent: true }))
    }

    async fn run(self) -> Result<Vec<Adjustment>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let ((), answer) = self.engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        answer.rest().lines().skip(1).map(read_note).collect()
    }
}

awaits!(Adjustments -> Vec<Adjustment>);

fn read_note(note: &str) -> Result<Adjustment> {
    let mut words = note.splitn(5, ' ');
    let mut int = || words.next().and_then(|word| word.parse::<i64>().ok()).ok_or_else(|| unexpected(note));
    let (number, at_ms, before, after) = (int()?, int()?, int()?, int()?);
    let reason = words.next().unwrap_or_default().to_owned();
    Ok(Adjustment { number: u64::try_from(number).unwrap_or(0), at_ms, before, after, reason })
}
