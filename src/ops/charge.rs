//! `charge`: adds amounts, whatever the limits. Twin of `lua/charge.lua`.

use chrono::DateTime;

use super::away::{Asked, Away, Delivery, Sent};
use super::plan::Plan;
use super::request::{Request, request};
use crate::error::Result;
use crate::model::{Decided, LimitState, Outage};
use crate::script::{self, Op};
use crate::store::{Durability, ScriptCall};

request! {
    /// A charge, made by [`CostGuard::charge`](crate::CostGuard::charge) or [`penalty`](crate::CostGuard::penalty).
    Charge { penalty: bool, durability: Option<Durability> } -> Charged
}

/// What was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// Every limit of the policy, in its order, after the charge. A limit that was passed says so:
    /// [`LimitState::overdraft`]. A charge does not look for overrides; [`peek`](crate::CostGuard::peek) does.
    pub limits: Vec<LimitState>,
    /// Whether this is the stored answer to an operation id that was used before.
    pub replayed: bool,
    /// Who counted it. What was charged without the store is delivered to it when it is back.
    pub decided: Decided,
    /// How many replicas have it too, where they were [waited for](Charge::durability): fewer than that when the time was over.
    pub replicas: Option<u64>,
}

impl Charge<'_> {
    /// What to do while the store is away, where that is not what the guard says: a charge is refused by no limit, so that
    /// [`Outage::Allow`] and [`Outage::Local`] both keep it until the store is back.
    pub fn outage(mut self, outage: Outage) -> Self {
        self.request.outage = Some(outage);
        self
    }

    /// Waits until replicas have the charge. Default: the guard's, and that is not to wait.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    fn call(&self, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let Request { engine, policy, subject, amounts, .. } = &self.request;
        let amount = |meter: &_| if self.penalty { amounts.of_or(meter, 0) } else { amounts.of(meter) };
        let mut plan = Plan::new(engine, policy, subject, now_ms, amount)?;
        plan.open_none()?;
        if self.request.lifted {
            plan.lift(engine, subject);
        }
        let mut args = Vec::with_capacity(plan.entries.len() * 4 + 9);
        plan.write_span(&mut args);
        for (_, _, entry) in plan.counters() {
            args.extend([entry.amount.to_string(), entry.expiry.clone()]);
        }
        plan.write_states(&mut args);
        let verb = if self.penalty { "penalty" } else { "charge" };
        let receipt = self.request.write_options(&plan, verb, now_ms, &mut args)?;
        let counters = plan.counters().map(|(_, _, entry)| entry.key.clone());
        let (keys, idempotent) =
            (counters.chain(plan.state_keys()).chain(receipt).collect(), self.request.id.is_some());
        Ok((plan, ScriptCall { script: script::of(Op::Charge), keys, args, idempotent }))
    }

    async fn run(self) -> Result<Charged> {
        match self.request.away() {
            None => self.charge().await,
            // Boxed, like all that is rare, to keep small what every call carries.
            Some((away, _)) => Box::pin(self.run_or_keep(away)).await,
        }
    }

    async fn run_or_keep(mut self, away: &Away) -> Result<Charged> {
        self.request.make_id();
        away.deliver(self.request.engine);
        let (slot, cause) = match away.ask(&self.request, self.charge()).await? {
            Asked::Answered(charged) => return Ok(charged),
            Asked::Alone(slot, cause) => (slot, cause),
        };
        let now_ms = self.request.at_ms()?.unwrap_or_else(|| self.request.engine.now_ms());
        (self.request.at, self.request.lifted) = (DateTime::from_timestamp_millis(now_ms), true);
        let (_, call) = self.call(now_ms)?;
        // It counts against the share of this process as well.
        let request = Request { engine: &away.local, ..self.request.clone() };
        let charged = Charge { request, ..self.clone() }.charge().await?;
        let sent = Sent::new(self.request.receipt_key()?, call).granted(now_ms, cause.as_ref());
        slot.push(Delivery::Call(sent))?;
        away.deliver(self.request.engine);
        Ok(Charged { decided: Decided::WithoutStore, ..charged })
    }

    async fn charge(&self) -> Result<Charged> {
        let engine = self.request.engine;
        let (plan, mut answer) = engine
            .run_waiting(self.request.at_ms()?, self.durability.or(engine.durability), |now_ms| self.call(now_ms))
            .await?;
        answer.expect("OK")?;
        let limits = match plan.charged(&mut answer) {
            Err(_) if answer.replayed => self.request.stand().await?,
            charged => charged?,
        };
        if !answer.replayed {
            engine.events.tell(&limits);
        }
        Ok(Charged { limits, replayed: answer.replayed, replicas: answer.replicas, decided: Decided::ByStore })
    }
}
