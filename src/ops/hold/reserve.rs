//! `reserve`: sets amounts aside if every limit allows it. Twin of `lua/reserve.lua`.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::{Entry, Record, State, write_tags};
use super::{DEFAULT_TTL, Hold, ttl_and_width_ms};
use crate::error::{Error, Result};
use crate::model::{Decision, Estimate, Policy, Subject};
use crate::ops::engine::{Answer, Engine};
use crate::ops::plan::{Plan, Taken, injected_ms};
use crate::ops::request::limit_text;
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
        let touch = self.engine.touch() || plan.renews();
        let record_ttl_ms = u128::from(ttl_ms) + self.engine.receipt_ttl.as_millis();
        args.push(if self.at.is_some() { now_ms.to_string() } else { String::new() });
        args.push(if touch { "1".to_owned() } else { String::new() });
        args.extend([ttl_ms.to_string(), width_ms.to_string(), record_ttl_ms.to_string()]);
        let verb = if self.estimate.rest().is_some() { "reserve rest" } else { "reserve" };
        args.extend([plan.fingerprint(verb), write_tags(&self.tags)?]);
        let keys = plan.keys(Some(self.subject.hold_key(&self.engine.prefix, id)?));
        Ok((plan, ScriptCall { script: script::of(Op::Reserve), keys, args, idempotent: true }))
    }

    async fn run(self) -> Result<Decision<Hold>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let id = self.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        let (plan, mut answer) = self.engine.run(at_ms, |now_ms| self.call(&id, now_ms)).await?;
        if answer.status() == "DENIED" {
            return plan.denial(&mut answer).map(Decision::Denied);
        }
        let key = self.subject.hold_key(&self.engine.prefix, &id)?;
        let (record, limits) = match answer.status() {
            "HELD" => {
                answer.expect("HELD")?;
                (Record::read(answer.rest(), &self.engine.prefix)?, Vec::new())
            }
            _ => self.granted(plan, &mut answer)?,
        };
        let engine = self.engine.clone();
        Ok(Decision::Granted(Hold { engine, id, key, record, limits, observed: None, at_ms, ended: false }))
    }

    /// Reads `GRANTED expires_ms amount used... [held...]`.
    fn granted(&self, mut plan: Plan, answer: &mut Answer) -> Result<(Record, Vec<crate::model::LimitState>)> {
        answer.expect("GRANTED")?;
        let expires_ms = answer.int()?;
        if let (rest, Some(meter)) = (answer.word()?.to_owned(), self.estimate.rest()) {
            let rest = rest.parse().map_err(|_| crate::ops::engine::unexpected(&rest))?;
            plan.set_amounts(meter, rest);
        }
        let limits = plan.states(answer, Taken::Held)?;
        let entries = plan.entries.iter().zip(plan.limits()).map(|(entry, limit)| Entry {
            key: entry.key.clone(),
            meter: limit.counter().meter().clone(),
            amount: entry.amount,
            limit: limit.limit(),
        });
        let ttl_ms = i64::try_from(self.ttl.as_millis()).map_err(|_| Error::invalid("the TTL is too long"))?;
        let (state, reserved_ms, tags) = (State::Open, expires_ms.saturating_sub(ttl_ms), self.tags.clone());
        Ok((Record { state, step: 0, reserved_ms, expires_ms, tags, entries: entries.collect() }, limits))
    }
}

impl<'a> IntoFuture for Reserve<'a> {
    type Output = Result<Decision<Hold>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
