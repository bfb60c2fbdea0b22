//! `admit`: adds amounts if every limit allows it. Twin of `lua/admit.lua` and `lua/admit_rate.lua`.

use chrono::DateTime;

use super::away::{Asked, Away, Delivery, Sent, policy_without_store};
use super::plan::{Part, Plan};
use super::request::{Request, request};
use crate::error::{Error, Result};
use crate::model::{Decided, Decision, Grant, Meter, Outage, Per};
use crate::script::{self, Op};
use crate::store::ScriptCall;

request! {
    /// A conditional charge, made by [`CostGuard::admit`](crate::CostGuard::admit).
    Admit { part: Option<Meter>, taken: Option<i64> } -> Decision
}

impl Admit<'_> {
    /// Takes what there is of this meter, up to the amount that was asked for: [`Grant::part`] says how much. Refused when there
    /// is nothing.
    pub fn at_most(mut self, meter: Meter) -> Self {
        self.part = Some(meter);
        self
    }

    /// What to do while the store is away, where that is not what the guard says.
    pub fn outage(mut self, outage: Outage) -> Self {
        self.request.outage = Some(outage);
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
        if self.request.lifted {
            plan.lift(engine, subject);
        }
        if let Some(taken) = self.taken {
            plan.set_part(taken);
        }
        let mut args = Vec::with_capacity(plan.entries.len() * 4 + 9);
        plan.write_windows(&mut args);
        if args[0].is_empty() {
            // Where nothing has a window no time is compared.
            args.truncate(1);
        }
        plan.write_limits(&mut args);
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
        match self.request.away() {
            None => self.decide().await,
            // Boxed, like all that is rare, to keep small what every call carries.
            Some((away, outage)) => Box::pin(self.run_or_decide_alone(away, outage)).await,
        }
    }

    async fn run_or_decide_alone(mut self, away: &Away, outage: Outage) -> Result<Decision> {
        self.request.make_id();
        away.deliver(self.request.engine);
        let (slot, cause) = match away.ask(&self.request, self.decide()).await? {
            Asked::Answered(decision) => return Ok(decision),
            Asked::Alone(slot, cause) => (slot, cause),
        };
        let mut decision = self.decide_without_store(away, outage).await?;
        match &mut decision {
            Decision::Granted(grant) => {
                grant.decided = Decided::WithoutStore;
                let (call, granted_ms) = (self.granted_call(grant)?, grant.taken_us / 1000);
                let sent = Sent::new(self.request.receipt_key()?, call).granted(granted_ms, cause.as_ref());
                slot.push(Delivery::Call(sent))?;
                away.deliver(self.request.engine);
            }
            // The store may have granted it: its id will tell, and a denial would be wrong.
            Decision::Denied(denial) => match cause.filter(Error::may_have_happened) {
                Some(cause) => return Err(self.request.told(cause)),
                None => denial.decided = Decided::WithoutStore,
            },
        }
        Ok(decision)
    }

    async fn decide_without_store(&self, away: &Away, outage: Outage) -> Result<Decision> {
        let (policy, lifted) = policy_without_store(outage, self.request.policy);
        let request = Request { engine: &away.local, policy: &policy, lifted, ..self.request.clone() };
        Admit { request, ..self.clone() }.decide().await
    }

    /// The call that brings to the store what was granted without it.
    fn granted_call(&self, grant: &Grant) -> Result<ScriptCall> {
        let taken_ms = grant.taken_us / 1000;
        let request = Request { at: DateTime::from_timestamp_millis(taken_ms), lifted: true, ..self.request.clone() };
        let (_, call) = Admit { request, taken: grant.part, ..self.clone() }.call(taken_ms)?;
        Ok(call)
    }

    async fn decide(&self) -> Result<Decision> {
        let engine = self.request.engine;
        let (at_ms, sent) = (self.request.at_ms()?, engine.sending());
        // What has an id may have been granted before, and an injected time is no time of ours.
        let may_remember = engine.denials.is_some() && at_ms.is_none() && self.request.has_no_id();
        if may_remember && let Some(denial) = engine.remembered(&self.call(engine.now_ms())?.0) {
            return Ok(Decision::Denied(denial));
        }
        let (mut plan, mut answer) = engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        if answer.status() == "DENIED" {
            let (denial, now_us) = plan.denial(&mut answer)?;
            if may_remember {
                engine.remember(&plan, &denial, sent, now_us);
            }
            return Ok(Decision::Denied(denial));
        }
        answer.expect("GRANTED")?;
        let taken_us = answer.now_us()?;
        let part = answer.status().parse().ok();
        let (limits, part) = match plan.granted(&mut answer, taken_us, false) {
            Err(_) if answer.replayed => (self.request.stand().await?, part),
            granted => granted?,
        };
        if !answer.replayed {
            engine.events.tell(&limits);
        }
        Ok(Decision::Granted(Grant { limits, replayed: answer.replayed, part, taken_us, decided: Decided::ByStore }))
    }
}
