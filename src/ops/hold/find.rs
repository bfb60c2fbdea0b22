//! `hold`: a hold found by its id, from any process. Twin of `lua/hold.lua`.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Hold;
use crate::error::Result;
use crate::model::{Outage, Subject};
use crate::ops::away::Away;
use crate::ops::engine::Engine;
use crate::ops::request::awaits;
use crate::ops::time::injected_ms;

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
        let outage = self.engine.away.as_ref().map_or(Outage::Deny, Away::outage);
        let mut hold = Hold::of_key(self.engine, &key, at_ms).await?;
        (hold.id, hold.outage) = (self.id.to_owned(), outage);
        Ok(hold)
    }
}

awaits!(FindHold -> Hold);
