//! `hold`: a hold found by its id, from any process. Twin of `lua/hold.lua`.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Hold, Record};
use crate::error::Result;
use crate::model::Subject;
use crate::ops::engine::Engine;
use crate::ops::plan::injected_ms;
use crate::ops::request::awaits;
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// A search for a hold, made by [`CostGuard::hold`](crate::CostGuard::hold).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct FindHold<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) subject: &'a Subject,
    pub(crate) id: &'a str,
    pub(crate) at: Option<DateTime<Utc>>,
}

impl FindHold<'_> {
    /// Decides by this time and not by the store's clock in what is done with the hold: for replays and tests.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    async fn run(self) -> Result<Hold> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let key = self.subject.hold_key(&self.engine.prefix, self.id)?;
        let keys = vec![key.clone()];
        let call = ScriptCall { script: script::of(Op::Hold), keys, args: Vec::new(), idempotent: true };
        let mut answer = self.engine.run_unclocked(&call).await?;
        answer.expect("HELD")?;
        let record = Record::read(answer.rest(), &self.engine.prefix)?;
        let (engine, id) = (self.engine.clone(), self.id.to_owned());
        // Found is not owned: dropping what was only looked at ends nothing.
        Ok(Hold { engine, id, key, record, limits: Vec::new(), observed: None, at_ms, ended: true })
    }
}

awaits!(FindHold -> Hold);
