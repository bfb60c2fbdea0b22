//! `reserve`: sets amounts aside if every limit allows it. Twin of `lua/reserve.lua`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::{Record, write_tags, write_tail};
use super::{DEFAULT_TTL, Hold, ttl_and_width_ms};
use crate::error::Result;
use crate::model::{Decision, Estimate, LimitState, Policy, Subject};
use crate::ops::engine::{Answer, Engine, unexpected};
use crate::ops::plan::{Plan, Taken, injected_ms};
use crate::ops::request::{awaits, limit_text};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// A reservation, made by [`CostGuard::reserve`](crate::CostGuard::reserve).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Reserve<'a> {
    engine: &'a Arc<Engine>,
    policy: &'a Policy,
    subject: &'a Subject,
    estimate: Estimate,
    id: Option<String>,
    ttl: Duration,
    tags: Vec<(String, String)>,
    at: Option<DateTime<Utc>>,
}

impl<'a> Reserve<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>, policy: &'a Policy, subject: &'a Subject, estimate: Estimate) -> Self {
        Self { engine, policy, subject, estimate, id: None, ttl: DEFAULT_TTL, tags: Vec::new(), at: None }
    }

    /// The hold's id, unique under the subject's root; up to 200 bytes. The same id again gives the same hold. Without one
    /// the crate makes one, of 128 bits and in order of time.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// How long the hold lives if nobody ends it, 1 second to 30 days. Default: 10 minutes.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// A name and a value to know the hold by: in [`CostGuard::holds`](crate::CostGuard::holds).
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Decides by this time and not by the store's clock: for replays and tests.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    fn call(&self, id: &str, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let amounts = self.estimate.amounts();
        let plan = Plan::new(self.engine, self.policy, self.subject, Some(amounts), now_ms)?;
        let (ttl_ms, width_ms) = ttl_and_width_ms(self.ttl)?;
        let mut args = Vec::with_capacity(plan.entries.len() * 3 + 9);
        args.extend([plan.span_ms.0.to_string(), plan.span_ms.1.to_string()]);
        for (entry, limit) in plan.entries.iter().zip(plan.limits()) {
            let is_rest = self.estimate.rest() == Some(limit.counter().meter());
            let amount = if is_rest { "rest".to_owned() } else { entry.amount.to_string() };
            args.extend([amount, entry.expiry.clone(), limit_text(limit)]);
        }
        let record_ttl_ms = u128::from(ttl_ms) + self.engine.receipt_ttl.as_millis();
        args.extend([ttl_ms.to_string(), width_ms.to_string(), record_ttl_ms.to_string()]);
        args.extend([self.fingerprint(&plan), self.tail(&plan, "rest")?]);
        let touch = self.engine.touch() || plan.renews();
        if self.at.is_some() || touch {
            args.push(if self.at.is_some() { now_ms.to_string() } else { String::new() });
            args.push(if touch { "1".to_owned() } else { String::new() });
        }
        let keys = plan.keys(Some(self.subject.hold_key(&self.engine.prefix, id)?));
        Ok((plan, ScriptCall { script: script::of(Op::Reserve), keys, args, idempotent: true }))
    }

    fn fingerprint(&self, plan: &Plan) -> String {
        plan.fingerprint(if self.estimate.rest().is_some() { "reserve rest" } else { "reserve" })
    }

    /// The end of the hold's record, with `rest` in the place of an amount that the store decides.
    fn tail(&self, plan: &Plan, rest: &str) -> Result<String> {
        let entries = plan.entries.iter().zip(plan.limits()).map(|(entry, limit)| {
            let is_rest = self.estimate.rest() == Some(limit.counter().meter());
            let amount = if is_rest { rest.to_owned() } else { entry.amount.to_string() };
            (entry.key.as_str(), amount, limit.limit())
        });
        Ok(write_tail(&write_tags(&self.tags)?, entries))
    }

    async fn run(self) -> Result<Decision<Hold>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let id = self.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        let (plan, mut answer) = self.engine.run(at_ms, |now_ms| self.call(&id, now_ms)).await?;
        let (line, limits) = match answer.status() {
            "DENIED" => return plan.denial(&mut answer).map(Decision::Denied),
            "HELD" => {
                answer.expect("HELD")?;
                (answer.rest().to_owned(), Vec::new())
            }
            _ => self.granted(plan, &mut answer)?,
        };
        let record = Record::read(&line, &self.engine.prefix)?;
        let (engine, key) = (self.engine.clone(), self.subject.hold_key(&self.engine.prefix, &id)?);
        Ok(Decision::Granted(Hold { engine, id, key, record, limits, observed: None, at_ms, ended: false }))
    }

    /// Reads `GRANTED reserved_ms expires_ms bucket_ms rest used... [held...]`, and gives the record that was stored.
    fn granted(&self, mut plan: Plan, answer: &mut Answer) -> Result<(String, Vec<LimitState>)> {
        answer.expect("GRANTED")?;
        let (reserved_ms, expires_ms, bucket_ms) = (answer.int()?, answer.int()?, answer.int()?);
        let fingerprint = self.fingerprint(&plan);
        let rest = answer.word()?.to_owned();
        let tail = self.tail(&plan, &rest)?;
        if let Some(meter) = self.estimate.rest() {
            plan.set_amounts(meter, rest.parse().map_err(|_| unexpected(&rest))?);
        }
        let line = format!("open {fingerprint} 0 {reserved_ms} {expires_ms} {bucket_ms} {tail}");
        Ok((line, plan.states(answer, Taken::Held)?))
    }
}

awaits!(Reserve -> Decision<Hold>);
