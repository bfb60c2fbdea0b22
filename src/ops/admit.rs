//! `admit`: adds amounts if every limit allows it. Twin of `lua/admit.lua` and `lua/admit_rate.lua`.

use super::plan::{Part, Plan};
use super::request::{Request, request};
use crate::error::{Error, Result};
use crate::model::{Decision, Grant, Meter, Per};
use crate::script::{self, Op};
use crate::store::ScriptCall;

request! {
    /// A conditional charge, made by [`CostGuard::admit`](crate::CostGuard::admit).
    Admit { part: Option<Meter> } -> Decision
}

impl Admit<'_> {
    /// Takes what there is of this meter, up to the amount that was asked for: [`Grant::part`] says how much. Refused when there
    /// is nothing.
    pub fn at_most(mut self, meter: Meter) -> Self {
        self.part = Some(meter);
        self
    }

    fn call(&self, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let Request { engine, policy, subject, amounts, .. } = &self.request;
        let mut plan = Plan::of_amounts(engine, policy, subject, now_ms, amounts)?.with_rules(engine, subject);
        if let Some(limit) = policy.limits().iter().find(|limit| limit.counter().window().per() == Per::Open) {
            return Err(Error::invalid(format!(
                "`{}` counts what is open, and what is admitted has no end; use reserve, and settle or release the hold",
                limit.counter()
            )));
        }
        if let Some(meter) = &self.part {
            plan.take_part(meter, Part::UpTo);
        }
        let mut args = Vec::with_capacity(plan.entries.len() * 4 + 9);
        plan.write_limits(&mut args);
        if args[0].is_empty() {
            // Where nothing has a window no time is compared.
            args.drain(1..4);
        }
        let verb = if self.part.is_some() { "admit part" } else { "admit" };
        let mut op = Op::Admit;
        if plan.is_one_rate() && self.request.is_plain(&plan) {
            // One script answers all; this one answers only that, in less time.
            op = Op::AdmitRate;
            args.remove(0);
        }
        let receipt = self.request.write_options(&plan, verb, now_ms, &mut args)?;
        let (keys, idempotent) = (plan.keys(receipt), self.request.id.is_some());
        Ok((plan, ScriptCall { script: script::of(op), keys, args, idempotent }))
    }

    async fn run(self) -> Result<Decision> {
        let engine = self.request.engine;
        let (at_ms, sent_ms) = (self.request.at_ms()?, engine.clock.now_ms());
        // What has an id may have been granted before, and an injected time is no time of ours.
        let may_remember = engine.denials.is_some() && at_ms.is_none() && self.request.id.is_none();
        if may_remember && let Some(denial) = engine.remembered(&self.call(engine.now_ms())?.0) {
            return Ok(Decision::Denied(denial));
        }
        let (mut plan, mut answer) = engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        if answer.status() == "DENIED" {
            let (denial, now_us) = plan.denial(&mut answer)?;
            if may_remember {
                engine.remember(&plan, &denial, sent_ms, now_us);
            }
            return Ok(Decision::Denied(denial));
        }
        answer.expect("GRANTED")?;
        let taken_us = answer.now_us()?;
        let (limits, part) = plan.granted(&mut answer, taken_us, false)?;
        if !answer.replayed {
            engine.events.tell(&limits);
        }
        Ok(Decision::Granted(Grant { limits, replayed: answer.replayed, part, taken_us }))
    }
}
