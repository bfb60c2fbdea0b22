//! `peek`: where the limits stand, and when what is held comes free. Twin of `lua/peek.lua`.

use std::future::IntoFuture;
use std::pin::Pin;

use chrono::{DateTime, Utc};

use super::engine::{Answer, Engine, unexpected};
use super::plan::{Plan, injected_ms};
use crate::error::Result;
use crate::model::{LimitState, Policy, Subject};
use crate::script::{self, Op};
use crate::store::ScriptCall;

#[derive(Clone, Debug)]
struct Look<'a> {
    engine: &'a Engine,
    policy: &'a Policy,
    subject: &'a Subject,
    at: Option<DateTime<Utc>>,
}

/// One limit of a statement: spent, held and free, and how much of the held comes free when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLine {
    /// Where the limit stands: `used`, `held`, [`remaining`](LimitState::remaining), [`resets_at`](LimitState::resets_at).
    pub state: LimitState,
    /// What comes free when, if nobody ends those holds before: milliseconds since the epoch and amount, soonest first. A
    /// time is up to an eighth of the hold's TTL later than the hold's expiry, never earlier.
    pub frees: Vec<(i64, i64)>,
}

impl Look<'_> {
    fn call(&self, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let mut plan = Plan::new(self.engine, self.policy, self.subject, None, now_ms)?;
        let mut keys = Vec::with_capacity(2 * plan.entries.len());
        // The plan needs the keys no more.
        keys.extend(plan.entries.iter_mut().map(|entry| std::mem::take(&mut entry.key)));
        for counter in 0..keys.len() {
            keys.push([keys[counter].as_str(), ":holds"].concat());
        }
        let mut args = vec![plan.span_ms.0.to_string(), plan.span_ms.1.to_string()];
        args.extend(self.at.map(|_| now_ms.to_string()));
        Ok((plan, ScriptCall { script: script::of(Op::Peek), keys, args, idempotent: true }))
    }

    async fn run(self) -> Result<Vec<StatementLine>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let (plan, mut answer) = self.engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        answer.expect("OK")?;
        let _now_ms = answer.int()?;
        (0..plan.entries.len()).map(|place| read_line(&plan, place, &mut answer)).collect()
    }
}

/// Reads `used buckets (bucket_ms held)...`.
fn read_line(plan: &Plan, place: usize, answer: &mut Answer) -> Result<StatementLine> {
    let (used, buckets) = (answer.int()?, answer.int()?);
    let frees: Vec<_> = (0..buckets).map(|_| Ok((answer.int()?, answer.int()?))).collect::<Result<_>>()?;
    let held = frees.iter().try_fold(0_i64, |sum, (_, amount)| sum.checked_add(*amount));
    let held = held.ok_or_else(|| unexpected("holds beyond 64 bits"))?;
    Ok(StatementLine { state: plan.state(place, used, held), frees })
}

macro_rules! look {
    ($(#[$doc:meta])* $name:ident -> $output:ty, $lines:ident => $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "a request does nothing until it is awaited"]
        pub struct $name<'a>(Look<'a>);

        impl<'a> $name<'a> {
            pub(crate) fn new(engine: &'a Engine, policy: &'a Policy, subject: &'a Subject) -> Self {
                Self(Look { engine, policy, subject, at: None })
            }

            /// Looks at the windows of this time and not of the store's now.
            pub fn at(mut self, time: DateTime<Utc>) -> Self {
                self.0.at = Some(time);
                self
            }
        }

        impl<'a> IntoFuture for $name<'a> {
            type Output = Result<$output>;
            type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async move {
                    let $lines = self.0.run().await?;
                    Ok($read)
                })
            }
        }
    };
}

look! {
    /// A look at a policy's counters, made by [`CostGuard::peek`](crate::CostGuard::peek).
    Peek -> Vec<LimitState>, lines => lines.into_iter().map(|line| line.state).collect()
}

look! {
    /// A look with all that is held, made by [`CostGuard::statement`](crate::CostGuard::statement).
    Statement -> Vec<StatementLine>, lines => lines
}
