//! What the requests of a policy have in common: an operation id, an injected time, and how both are encoded.

use chrono::{DateTime, Utc};

use super::engine::Engine;
use super::plan::{Plan, injected_ms};
use crate::error::Result;
use crate::model::{Amounts, Limit, Policy, Subject};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// A request of amounts under a policy.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) policy: &'a Policy,
    pub(crate) subject: &'a Subject,
    pub(crate) amounts: Amounts,
    pub(crate) id: Option<String>,
    pub(crate) at: Option<DateTime<Utc>>,
}

impl Request<'_> {
    pub(crate) fn at_ms(&self) -> Result<Option<i64>> {
        self.at.map(injected_ms).transpose()
    }

    /// The call of `charge` or `admit` at a time: `admit` also takes the limits.
    pub(crate) fn call(&self, op: Op, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let mut plan = Plan::new(self.engine, self.policy, self.subject, Some(&self.amounts), now_ms)?;
        let mut args = Vec::with_capacity(plan.entries.len() * 3 + 6);
        args.extend([plan.span_ms.0.to_string(), plan.span_ms.1.to_string()]);
        let limits = self.policy.limits();
        for (entry, limit) in plan.entries.iter_mut().zip(limits) {
            // The plan needs the expiry no more.
            args.extend([entry.amount.to_string(), std::mem::take(&mut entry.expiry)]);
            if op == Op::Admit {
                args.push(limit_text(limit));
            }
        }
        let touch = self.engine.touch() || plan.renews();
        let mut receipt = None;
        if self.id.is_some() || self.at.is_some() || touch {
            args.push(if self.at.is_some() { now_ms.to_string() } else { String::new() });
            args.push(if touch { "1".to_owned() } else { String::new() });
            let (receipt_ttl_ms, fingerprint) = match &self.id {
                Some(id) => {
                    receipt = Some(self.subject.receipt_key(&self.engine.prefix, id)?);
                    (self.engine.receipt_ttl.as_millis().to_string(), plan.fingerprint(op.contract().name))
                }
                None => Default::default(),
            };
            args.extend([receipt_ttl_ms, fingerprint]);
        }
        let keys = match op {
            Op::Admit => plan.keys(receipt),
            // Nor the keys.
            _ => plan.entries.iter_mut().map(|entry| std::mem::take(&mut entry.key)).chain(receipt).collect(),
        };
        Ok((plan, ScriptCall { script: script::of(op), keys, args, idempotent: self.id.is_some() }))
    }
}

/// A limit as the scripts read it: empty for none.
pub(crate) fn limit_text(limit: &Limit) -> String {
    limit.limit().map(|limit| limit.to_string()).unwrap_or_default()
}

/// The options and the `await` of a request under a policy.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident -> $output:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "a request does nothing until it is awaited"]
        pub struct $name<'a>(pub(crate) Request<'a>);

        impl $name<'_> {
            /// Gives the operation an id, unique under the subject's root: however often it is sent, it happens once, and
            /// a repeat gets the first answer back. Up to 200 bytes. It is remembered for the guard's `receipt_ttl`.
            pub fn id(mut self, id: &str) -> Self {
                self.0.id = Some(id.to_owned());
                self
            }

            /// Decides by this time and not by the store's clock: for replays and tests.
            pub fn at(mut self, time: chrono::DateTime<chrono::Utc>) -> Self {
                self.0.at = Some(time);
                self
            }
        }

        $crate::ops::request::awaits!($name -> $output);
    };
}
pub(crate) use request;

/// The `await` of a request: its `run`.
macro_rules! awaits {
    ($name:ident -> $output:ty) => {
        impl<'a> std::future::IntoFuture for $name<'a> {
            type Output = $crate::Result<$output>;
            type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.run())
            }
        }
    };
}
pub(crate) use awaits;
