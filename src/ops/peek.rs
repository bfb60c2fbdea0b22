//! `peek`: where the limits stand, and when what is held comes free. Twin of `lua/peek.lua`.

use std::future::IntoFuture;
use std::pin::Pin;

use chrono::{DateTime, Utc};

use super::engine::{Answer, Engine, unexpected};
use super::plan::{Plan, limit_text, read_rate, span_and_how};
use super::rulings::Rulings;
use super::time::{injected_ms, time_text};
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
        let plan = Plan::new(self.engine, self.policy, self.subject, now_ms, |_| Ok(0))?;
        let plan = plan.with_rules(self.engine, self.subject);
        let counters = || plan.counters().map(|(_, _, entry)| entry.key.as_str());
        let mut keys = Vec::with_capacity(2 * plan.entries.len() + 2);
        keys.extend(counters().map(str::to_owned));
        keys.extend(plan.rates().map(|(_, _, entry)| entry.key.clone()));
        keys.push(plan.ruled_key());
        keys.extend(counters().map(|key| [key, ":holds"].concat()));
        keys.extend(plan.rules_key());
        let mut args = vec![plan.letters()];
        plan.write_span(&mut args);
        for (_, limit, entry) in plan.rates() {
            args.extend([entry.amount_text(), limit_text(limit)]);
            args.extend(span_and_how(limit));
        }
        if self.at.is_some() || !plan.asked().is_empty() {
            args.push(self.at.map(|_| time_text(now_ms)).unwrap_or_default());
            args.push(plan.asked().to_owned());
        }
        Ok((plan, ScriptCall { script: script::of(Op::Peek), keys, args, idempotent: true }))
    }

    async fn run(self) -> Result<Vec<StatementLine>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let (plan, mut answer) = self.engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        let rulings = Rulings::split_off(&mut answer)?;
        answer.expect("OK")?;
        let now_us = answer.now_us()?;
        let line = |place| StatementLine { state: plan.state(place, 0, 0), frees: Vec::new() };
        let mut lines: Vec<_> = (0..plan.entries.len()).map(line).collect();
        for (place, limit, _) in plan.rates() {
            rulings.apply(&plan, place, &mut lines[place].state);
            read_rate(&mut lines[place].state, limit, &mut answer, now_us, 0)?;
        }
        for (place, _, _) in plan.counters() {
            lines[place] = read_line(&plan, place, &mut answer)?;
            rulings.apply(&plan, place, &mut lines[place].state);
        }
        Ok(lines)
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
