//! `count`: a counter that lives for a TTL. Twin of `lua/count.lua`.

use std::time::Duration;

use super::engine::Engine;
use super::plan::short_hex;
use super::request::awaits;
use crate::error::{Error, Result};
use crate::model::{Meter, Subject};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// A count, made by [`CostGuard::count`](crate::CostGuard::count).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Count<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) subject: &'a Subject,
    pub(crate) scope_kind: &'a str,
    pub(crate) meter: &'a Meter,
    pub(crate) ttl: Duration,
    pub(crate) amount: u64,
    pub(crate) extend: bool,
    pub(crate) id: Option<String>,
}

/// Where a counter with a TTL stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The count, this hit included.
    pub count: i64,
    /// How long until it starts over.
    pub left: Duration,
    /// Whether this is the stored answer to an operation id that was used before.
    pub replayed: bool,
}

impl Count<'_> {
    /// Counts by more than 1, or by 0 to read.
    pub fn by(mut self, amount: u64) -> Self {
        self.amount = amount;
        self
    }

    /// Starts the TTL anew at every hit, so that the counter ends one TTL after the last one. Otherwise it ends one TTL
    /// after the first.
    pub fn extend(mut self) -> Self {
        self.extend = true;
        self
    }

    /// Gives the operation an id, unique under the subject's root: it happens once, and a repeat gets the first answer.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    fn call(&self) -> Result<ScriptCall> {
        let ttl_ms = self.ttl.as_millis();
        if !(1..=366 * 86_400_000 * 10).contains(&ttl_ms) {
            return Err(Error::invalid("the TTL of a counter is at least 1 ms and at most ten years"));
        }
        let amount = i64::try_from(self.amount).map_err(|_| Error::invalid("a count fits 64 bits with a sign"))?;
        let scope = self.subject.scope_of(self.scope_kind)?;
        let mut key = format!("{}{}", self.engine.prefix, self.meter);
        self.subject.write_scope(&scope, &mut key);
        key.push_str("count");
        let mut keys = vec![key];
        let extend = if self.extend { "1" } else { "" };
        let mut args = vec![amount.to_string(), ttl_ms.to_string(), extend.to_owned()];
        if let Some(id) = &self.id {
            keys.push(self.subject.receipt_key(&self.engine.prefix, id)?);
            let request = format!("count\n{scope} {} {amount} {ttl_ms} {extend}", self.meter);
            let fingerprint = short_hex(&sha1_smol::Sha1::from(request));
            args.extend([self.engine.receipt_ttl.as_millis().to_string(), fingerprint]);
        }
        Ok(ScriptCall { script: script::of(Op::Count), keys, args, idempotent: self.id.is_some() })
    }

    async fn run(self) -> Result<Counted> {
        let mut answer = self.engine.run_unclocked(&self.call()?).await?;
        answer.expect("OK")?;
        let count = answer.int()?;
        let left = Duration::from_millis(u64::try_from(answer.int()?).unwrap_or(0));
        Ok(Counted { count, left, replayed: answer.replayed })
    }
}

awaits!(Count -> Counted);
