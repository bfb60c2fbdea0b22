//! `admit`: adds amounts if every limit allows it. Twin of `lua/admit.lua`.

use std::time::Duration;

use super::engine::{Answer, unexpected};
use super::plan::Plan;
use super::request::{Request, request};
use crate::error::Result;
use crate::model::{Decision, Denial, Grant, Span};
use crate::script::Op;

request! {
    /// A conditional charge, made by [`CostGuard::admit`](crate::CostGuard::admit).
    Admit -> Decision
}

impl Admit<'_> {
    async fn run(self) -> Result<Decision> {
        let (plan, mut answer) = self.0.engine.run(self.0.at_ms()?, |now_ms| self.0.call(Op::Admit, now_ms)).await?;
        match answer.status.as_str() {
            "GRANTED" => {
                let replayed = answer.replayed;
                Ok(Decision::Granted(Grant { limits: plan.states(&mut answer, true)?, replayed }))
            }
            "DENIED" => denial(plan, answer).map(Decision::Denied),
            other => Err(unexpected(other)),
        }
    }
}

fn denial(plan: Plan, mut answer: Answer) -> Result<Denial> {
    let now_ms = answer.int()?;
    let refusing = answer.text()?;
    let amounts: Vec<_> = plan.entries.iter().map(|entry| entry.amount).collect();
    let limits = plan.states(&mut answer, false)?;

    let mut refused_by = Vec::new();
    let mut binding: Option<(i64, usize)> = None;
    for place in refusing.split(',') {
        let place = place.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
        let place = place.filter(|place| *place < limits.len()).ok_or_else(|| unexpected(&refusing))?;
        // A request above the whole limit stays refused in every window.
        let alone = limits[place].limit.is_some_and(|limit| amounts[place] > limit);
        let free_ms = if alone { Span::NEVER_MS } else { limits[place].span_ms.1 };
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
