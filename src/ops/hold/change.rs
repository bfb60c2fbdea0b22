//! `extend` and `grow`: a hold for longer, or for more. Twin of `lua/extend.lua` and `lua/grow.lua`.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use super::{Hold, ttl_and_width_ms};
use crate::error::Result;
use crate::model::{Amounts, Span};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// More time for a hold, made by [`Hold::extend`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Extend<'a> {
    pub(super) hold: &'a mut Hold,
    pub(super) ttl: Duration,
}

impl Extend<'_> {
    async fn run(self) -> Result<()> {
        let Self { hold, ttl } = self;
        let (ttl_ms, width_ms) = ttl_and_width_ms(ttl)?;
        let record_ttl_ms = u128::from(ttl_ms) + hold.engine.receipt_ttl.as_millis();
        let mut keys = vec![hold.key.clone()];
        keys.extend(hold.record.entries.iter().map(|entry| format!("{}:holds", entry.key)));
        let args = vec![ttl_ms.to_string(), width_ms.to_string(), record_ttl_ms.to_string(), hold.at_text()];
        let call = ScriptCall { script: script::of(Op::Extend), keys, args, idempotent: true };
        let mut answer = hold.engine.run_unclocked(&call).await?;
        answer.expect("EXTENDED")?;
        hold.record.expires_ms = answer.int()?;
        Ok(())
    }
}

/// More amounts for a hold, made by [`Hold::grow`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Grow<'a> {
    pub(super) hold: &'a mut Hold,
    pub(super) more: Amounts,
}

/// Whether a hold grew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a hold that did not grow covers no more than before"]
pub enum Growth {
    /// It holds more now.
    Granted,
    /// These keys of counters have no room for more; the hold is as it was.
    Denied {
        /// The keys of the counters whose limits refuse.
        refused_by: Vec<String>,
    },
}

impl Grow<'_> {
    async fn run(self) -> Result<Growth> {
        let Self { hold, more } = self;
        // The windows are the hold's, which may be over: no clock can be outside of them.
        let mut args = vec!["0".to_owned(), Span::NEVER_MS.to_string()];
        let mut amounts = Vec::with_capacity(hold.record.entries.len());
        for entry in &hold.record.entries {
            let amount = more.of_or(&entry.meter, 0)?;
            amounts.push(amount);
            let limit = entry.limit.map(|limit| limit.to_string()).unwrap_or_default();
            args.extend([amount.to_string(), "1".to_owned(), limit]);
        }
        let ttl_ms = u128::try_from(hold.record.expires_ms.saturating_sub(hold.record.reserved_ms)).unwrap_or(0);
        let record_ttl_ms = ttl_ms + hold.engine.receipt_ttl.as_millis();
        args.extend([hold.at_text(), hold.record.step.to_string(), record_ttl_ms.to_string()]);
        let call = ScriptCall { script: script::of(Op::Grow), keys: hold.keys(true), args, idempotent: true };
        let mut answer = hold.engine.run_unclocked(&call).await?;
        if answer.status() == "DENIED" {
            answer.expect("DENIED")?;
            let _now_ms = answer.int()?;
            let places = answer.word()?.split(',').filter_map(|place| place.parse::<usize>().ok()?.checked_sub(1));
            let entries = &hold.record.entries;
            let refused_by = places.filter_map(|place| entries.get(place)).map(|entry| entry.key.clone()).collect();
            return Ok(Growth::Denied { refused_by });
        }
        answer.expect("GRANTED")?;
        hold.record.step = answer.int()?;
        for (entry, amount) in hold.record.entries.iter_mut().zip(amounts) {
            entry.amount = entry.amount.saturating_add(amount);
        }
        Ok(Growth::Granted)
    }
}

impl<'a> IntoFuture for Extend<'a> {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<'a> IntoFuture for Grow<'a> {
    type Output = Result<Growth>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
