//! Texts with a TTL, as the everyday services keep them. Twin of `lua/put.lua`, `lua/remove.lua`, `lua/session_create.lua`,
//! `lua/session_get.lua` and `lua/token_consume.lua`.

use std::time::Duration;

use super::engine::Engine;
use crate::error::{Error, Result};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// The longest TTL of anything that is kept.
pub(crate) const MOST_TTL: Duration = Duration::from_secs(366 * 86_400);

/// A TTL as scripts take it, in milliseconds.
pub(crate) fn ttl_text(ttl: Duration) -> Result<String> {
    if (Duration::from_millis(1)..=MOST_TTL).contains(&ttl) {
        return Ok(ttl.as_millis().to_string());
    }
    Err(Error::invalid(format!("the TTL is {ttl:?}; it is at least a millisecond and at most 366 days")))
}

/// Every one of these does the same when it is sent twice.
pub(crate) fn call(op: Op, keys: Vec<String>, args: Vec<String>) -> ScriptCall {
    ScriptCall { script: script::of(op), keys, args, idempotent: true }
}

impl Engine {
    /// Stores a text, and removes the lock under which it is being computed.
    pub(crate) async fn put(&self, key: String, lock: Option<String>, text: String, ttl: Duration) -> Result<()> {
        let keys = std::iter::once(key).chain(lock).collect();
        let mut answer = self.run_unclocked(&call(Op::Put, keys, vec![text, ttl_text(ttl)?])).await?;
        answer.expect("OK")
    }

    /// Removes keys, and gives how many were there.
    pub(crate) async fn remove(&self, keys: Vec<String>) -> Result<i64> {
        let mut answer = self.run_unclocked(&call(Op::Remove, keys, Vec::new())).await?;
        answer.expect("OK")?;
        answer.int()
    }

    /// Stores a session under its user's generation: `fresh` where there is none.
    pub(crate) async fn create_session(
        &self,
        keys: [String; 2],
        record: String,
        [ttl, most]: [Duration; 2],
        fresh: String,
    ) -> Result<()> {
        let args = vec![record, ttl_text(ttl)?, ttl_text(most)?, fresh];
        let mut answer = self.run_unclocked(&call(Op::SessionCreate, keys.into(), args)).await?;
        answer.expect("OK")
    }

    /// The record of a valid session and how long it lives, from now on for `ttl` if one is given.
    pub(crate) async fn get_session(
        &self,
        keys: [String; 2],
        ttl: Option<Duration>,
    ) -> Result<Option<(Duration, String)>> {
        let ttl = ttl.map(ttl_text).transpose()?.unwrap_or_default();
        let mut answer = self.run_unclocked(&call(Op::SessionGet, keys.into(), vec![ttl])).await?;
        if answer.status() == "NONE" {
            return Ok(None);
        }
        answer.expect("FOUND")?;
        let left = Duration::from_millis(u64::try_from(answer.int()?).unwrap_or(0));
        Ok(Some((left, answer.rest().to_owned())))
    }

    /// The record of a one-time token, for the first claim on it. It is kept for `kept`, for that claim to ask again.
    pub(crate) async fn consume_token(&self, key: String, claim: String, kept: Duration) -> Result<Option<String>> {
        let call = call(Op::TokenConsume, vec![key], vec![claim, ttl_text(kept)?]);
        let mut answer = self.run_unclocked(&call).await?;
        if answer.status() == "NONE" {
            return Ok(None);
        }
        answer.expect("TAKEN")?;
        Ok(Some(answer.rest().to_owned()))
    }
}
