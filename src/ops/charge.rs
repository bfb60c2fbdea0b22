//! `charge`: adds amounts, whatever the limits. Twin of `lua/charge.lua`.

use super::plan::Taken;
use super::request::{Request, request};
use crate::error::Result;
use crate::model::LimitState;
use crate::script::Op;

request! {
    /// A charge, made by [`CostGuard::charge`](crate::CostGuard::charge).
    Charge -> Charged
}

/// What was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// Every limit of the policy, in its order, after the charge. A limit that was passed says so:
    /// [`LimitState::overdraft`].
    pub limits: Vec<LimitState>,
    /// Whether this is the stored answer to an operation id that was used before.
    pub replayed: bool,
}

impl Charge<'_> {
    async fn run(self) -> Result<Charged> {
        let (plan, mut answer) = self.0.engine.run(self.0.at_ms()?, |now_ms| self.0.call(Op::Charge, now_ms)).await?;
        answer.expect("OK")?;
        Ok(Charged { limits: plan.states(&mut answer, Taken::Included)?, replayed: answer.replayed })
    }
}
