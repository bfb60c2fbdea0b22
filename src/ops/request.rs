//! What the requests of a policy have in common: an operation id, an injected time, and how both are encoded.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::away::Away;
use super::engine::Engine;
use super::peek::Peek;
use super::plan::Plan;
use super::time::{injected_ms, time_text};
use crate::error::{Error, Result};
use crate::model::{Amounts, LimitState, Outage, Policy, Subject};

/// A request of amounts under a policy.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) policy: &'a Policy,
    pub(crate) subject: &'a Subject,
    pub(crate) amounts: Amounts,
    pub(crate) id: Option<String>,
    pub(crate) at: Option<DateTime<Utc>>,
    /// What to do while the store is away, if not what the guard says.
    pub(crate) outage: Option<Outage>,
    /// Whether the id is the crate's.
    pub(crate) made_id: bool,
    /// Whether it has been granted, and no limit is to refuse it.
    pub(crate) lifted: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>, policy: &'a Policy, subject: &'a Subject, amounts: Amounts) -> Self {
        let (id, at, outage, made_id, lifted) = (None, None, None, false, false);
        Self { engine, policy, subject, amounts, id, at, outage, made_id, lifted }
    }

    /// How to go on while the store is away, and by which policy; `None` when that is to fail.
    pub(crate) fn away(&self) -> Option<(&'a Away, Outage)> {
        Away::of(self.engine, self.outage)
    }

    /// What is sent twice, now or when the store is back, needs an id.
    pub(crate) fn make_id(&mut self) {
        if self.id.is_none() {
            (self.id, self.made_id) = (Some(uuid::Uuid::now_v7().simple().to_string()), true);
        }
    }

    /// Whether the caller gave it none.
    pub(crate) fn has_no_id(&self) -> bool {
        self.id.is_none() || self.made_id
    }

    /// An error as the caller is to have it.
    pub(crate) fn told(&self, err: Error) -> Error {
        if self.made_id { err.of_unknown_id() } else { err }
    }

    pub(crate) fn receipt_key(&self) -> Result<String> {
        self.subject.receipt_key(&self.engine.prefix, self.id.as_deref().unwrap_or_default())
    }
}

impl Request<'_> {
    /// Where the limits stand now: what can be told of a first answer that was given under other warnings than the policy has
    /// by now, and that says more or less than expected.
    pub(crate) async fn stand(&self) -> Result<Vec<LimitState>> {
        let peek = Peek::new(self.engine, self.policy, self.subject);
        self.at.into_iter().fold(peek, Peek::at).await
    }

    pub(crate) fn at_ms(&self) -> Result<Option<i64>> {
        self.at.map(injected_ms).transpose()
    }

    /// Whether it has no id, no time and no rules of its own.
    pub(crate) fn is_plain(&self, plan: &Plan) -> bool {
        self.id.is_none() && self.at.is_none() && plan.asked().is_empty()
    }

    /// `now_ms, touch, receipt_ttl_ms, fingerprint, asked`, where any of them is needed, and the receipt's key.
    pub(crate) fn write_options(
        &self,
        plan: &Plan,
        verb: &str,
        now_ms: i64,
        args: &mut Vec<String>,
    ) -> Result<Option<String>> {
        // Only counters lose a TTL.
        let touch = plan.counters().next().is_some() && (self.engine.touch() || plan.renews());
        if self.is_plain(plan) && !touch {
            return Ok(None);
        }
        args.push(if self.at.is_some() { time_text(now_ms) } else { String::new() });
        args.push(if touch { "1".to_owned() } else { String::new() });
        let (receipt, receipt_ttl_ms, fingerprint) = match &self.id {
            Some(id) => (
                Some(self.subject.receipt_key(&self.engine.prefix, id)?),
                self.engine.receipt_ttl.as_millis().to_string(),
                plan.fingerprint(verb),
            ),
            None => Default::default(),
        };
        args.extend([receipt_ttl_ms, fingerprint, plan.asked().to_owned()]);
        Ok(receipt)
    }
}

/// The options and the `await` of a request under a policy.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* } -> $output:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "a request does nothing until it is awaited"]
        pub struct $name<'a> {
            pub(crate) request: Request<'a>,
            $(pub(crate) $field: $type,)*
        }

        impl $name<'_> {
            /// Gives the operation an id, unique under the subject's root: however often it is sent, it happens once, and
            /// a repeat gets the first answer back. Up to 200 bytes. It is remembered for the guard's `receipt_ttl`.
            pub fn id(mut self, id: &str) -> Self {
                self.request.id = Some(id.to_owned());
                self
            }

            /// Decides by this time and not by the store's clock: for replays and tests.
            pub fn at(mut self, time: chrono::DateTime<chrono::Utc>) -> Self {
                self.request.at = Some(time);
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
