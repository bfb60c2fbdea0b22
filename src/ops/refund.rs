//! `refund`: gives back what was admitted. Twin of `lua/refund.lua`.

use super::plan::{Plan, filled, limit_text, span_and_how};
use super::request::{Request, request};
use super::time::time_text;
use crate::error::Result;
use crate::model::{Grant, LimitState};
use crate::script::{self, Op};
use crate::store::ScriptCall;

request! {
    /// A refund, made by [`CostGuard::refund`](crate::CostGuard::refund).
    Refund { taken_us: Option<i64>, granted: Vec<LimitState> } -> Refunded
}

/// What a refund did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// What each counter holds after it, in the policy's order; rates are not among them.
    pub used: Vec<i64>,
    /// Whether this is the stored answer to an operation id that was used before.
    pub replayed: bool,
}

impl Refund<'_> {
    /// Gives back into the windows in which this was granted, be they over; otherwise into those of now.
    pub fn of(mut self, grant: &Grant) -> Self {
        self.taken_us = Some(grant.taken_us);
        self.granted.clone_from(&grant.limits);
        self
    }

    fn call(&self, now_ms: i64) -> Result<((), ScriptCall)> {
        let Request { engine, policy, subject, amounts, id, at, .. } = &self.request;
        let taken_ms = self.taken_us.map_or(now_ms, |taken_us| taken_us / 1000);
        let plan = Plan::of_amounts(engine, policy, subject, taken_ms, amounts)?;
        let mut args = vec![plan.letters()];
        // The windows of a grant are what they were, whatever the time is now.
        match self.taken_us {
            Some(_) => args.extend([String::new(), String::new()]),
            None => plan.write_span(&mut args),
        }
        args.extend(plan.counters().map(|(_, _, entry)| entry.amount.to_string()));
        for (place, limit, entry) in plan.rates() {
            let (granted, [span_us, how]) = (self.granted.get(place), span_and_how(limit));
            // By an override where it was granted by one: the unit of a rate is its limit.
            let by = granted.and_then(|state| state.limit).map_or_else(|| limit_text(limit), |limit| limit.to_string());
            let how = granted.and_then(filled).unwrap_or(how);
            // A shadow limit that would have refused took nothing.
            let taken = if granted.is_some_and(|state| state.shadowed) { 0 } else { entry.amount };
            args.extend([taken.saturating_neg().to_string(), by, span_us, how]);
        }
        let mut keys: Vec<_> = plan.counters().chain(plan.rates()).map(|(_, _, entry)| entry.key.clone()).collect();
        args.push(at.map(|_| time_text(now_ms)).unwrap_or_default());
        args.push(self.taken_us.map(|taken_us| taken_us.to_string()).unwrap_or_default());
        args.push(engine.receipt_ttl.as_millis().to_string());
        match id {
            Some(id) => {
                keys.push(subject.receipt_key(&engine.prefix, id)?);
                args.push(plan.fingerprint("refund"));
            }
            None => args.push("-".to_owned()),
        }
        Ok(((), ScriptCall { script: script::of(Op::Refund), keys, args, idempotent: id.is_some() }))
    }

    async fn run(self) -> Result<Refunded> {
        let engine = self.request.engine;
        let ((), mut answer) = engine.run(self.request.at_ms()?, |now_ms| self.call(now_ms)).await?;
        answer.expect("OK")?;
        engine.forget_denials();
        let used = (0..answer.len()).map(|_| answer.int()).collect::<Result<_>>()?;
        Ok(Refunded { used, replayed: answer.replayed })
    }
}
