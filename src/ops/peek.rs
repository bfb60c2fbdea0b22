//! `peek`: where the limits stand. Twin of `lua/peek.lua`.

use std::future::IntoFuture;
use std::pin::Pin;

use chrono::{DateTime, Utc};

use super::engine::Engine;
use super::plan::{Plan, injected_ms};
use crate::error::Result;
use crate::model::{LimitState, Policy, Subject};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// A look at a policy's counters, made by [`CostGuard::peek`](crate::CostGuard::peek).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Peek<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) policy: &'a Policy,
    pub(crate) subject: &'a Subject,
    pub(crate) at: Option<DateTime<Utc>>,
}

impl Peek<'_> {
    /// Looks at the windows of this time and not of the store's now.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    fn call(&self, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let plan = Plan::new(self.engine, self.policy, self.subject, None, now_ms)?;
        let keys = plan.entries.iter().map(|entry| entry.key.clone()).collect();
        let mut args = vec![plan.span_ms.0.to_string(), plan.span_ms.1.to_string()];
        args.extend(self.at.map(|_| now_ms.to_string()));
        Ok((plan, ScriptCall { script: script::of(Op::Peek), keys, args, idempotent: true }))
    }

    async fn run(self) -> Result<Vec<LimitState>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let (plan, mut answer) = self.engine.run(at_ms, |now_ms| self.call(now_ms)).await?;
        let _now_ms = answer.int()?;
        plan.states(&mut answer, false)
    }
}

impl<'a> IntoFuture for Peek<'a> {
    type Output = Result<Vec<LimitState>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
