//! `admit`: adds amounts if every limit allows it. Twin of `lua/admit.lua`.

use super::plan::Taken;
use super::request::{Request, request};
use crate::error::Result;
use crate::model::{Decision, Grant};
use crate::script::Op;

request! {
    /// A conditional charge, made by [`CostGuard::admit`](crate::CostGuard::admit).
    Admit -> Decision
}

impl Admit<'_> {
    async fn run(self) -> Result<Decision> {
        let (plan, mut answer) = self.0.engine.run(self.0.at_ms()?, |now_ms| self.0.call(Op::Admit, now_ms)).await?;
        if answer.status() == "DENIED" {
            return plan.denial(&mut answer).map(Decision::Denied);
        }
        answer.expect("GRANTED")?;
        let limits = plan.states(&mut answer, Taken::Before)?;
        Ok(Decision::Granted(Grant { limits, replayed: answer.replayed }))
    }
}
