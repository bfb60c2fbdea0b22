//! `extend` and `grow`: a hold for longer, or for more. Twin of `lua/extend.lua` and `lua/grow.lua`.

use std::time::Duration;

use super::Hold;
use super::bucket::ttl_and_width_ms;
use super::record::{Record, write_tail};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Amounts;
use crate::ops::request::awaits;
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
        let mut answer = hold.run(|hold| extend_call(hold, ttl_ms, width_ms)).await?;
        answer.expect("EXTENDED")?;
        hold.record = Record::read(answer.rest(), &hold.engine.prefix)?;
        Ok(())
    }
}

fn extend_call(hold: &Hold, ttl_ms: u64, width_ms: u64) -> Result<ScriptCall> {
    let Record { line, .. } = &hold.record;
    let entries: Vec<_> = hold.record.counters().collect();
    let record_ttl_ms = u128::from(ttl_ms) + hold.engine.receipt_ttl.as_millis();
    let mut keys = vec![hold.key.clone()];
    keys.extend(entries.iter().map(|entry| format!("{}:holds", entry.key)));
    keys.extend(entries.iter().map(|entry| format!("{}:held", entry.key)));
    let mut args = vec![line.clone(), ttl_ms.to_string(), width_ms.to_string(), record_ttl_ms.to_string()];
    args.push(hold.at_text()?);
    args.extend(entries.iter().map(|entry| entry.amount.to_string()));
    Ok(ScriptCall { script: script::of(Op::Extend), keys, args, idempotent: true })
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
        // Asked for again after a lost answer it is the same request.
        let nonce = match hold.growing.take() {
            Some(growing) if growing.0 == more => growing.1,
            _ => uuid::Uuid::now_v7().simple().to_string(),
        };
        if hold.record.grew_by(&nonce) {
            return Ok(Growth::Granted);
        }
        hold.growing = Some(Box::new((more.clone(), nonce.clone())));
        let call = grow_call(hold, &more, &nonce)?;
        let mut answer = hold.engine.run_unclocked(&call).await?;
        hold.growing = None;
        match answer.status() {
            "DENIED" => {
                answer.expect("DENIED")?;
                let _now_us = answer.now_us()?;
                let places = answer.word()?.split(',').filter_map(|place| place.parse::<usize>().ok()?.checked_sub(1));
                let entries: Vec<_> = hold.record.counters().chain(hold.record.rates()).collect();
                let refused_by = places.filter_map(|place| entries.get(place)).map(|entry| entry.key.clone()).collect();
                Ok(Growth::Denied { refused_by })
            }
            "CHANGED" => {
                hold.reread(&answer)?;
                // An earlier sending of this request has arrived.
                if hold.record.grew_by(&nonce) {
                    return Ok(Growth::Granted);
                }
                Err(Error::new(
                    ErrorKind::Conflict,
                    "the hold has grown or was extended through another handle; try again",
                ))
            }
            _ => {
                answer.expect("GRANTED")?;
                hold.record = Record::read(answer.rest(), &hold.engine.prefix)?;
                Ok(Growth::Granted)
            }
        }
    }
}

fn grow_call(hold: &Hold, more: &Amounts, nonce: &str) -> Result<ScriptCall> {
    let record = &hold.record;
    let ttl_ms = u128::try_from(record.expires_ms.saturating_sub(record.reserved_us / 1000)).unwrap_or(0);
    let record_ttl_ms = (ttl_ms + hold.engine.receipt_ttl.as_millis()).to_string();
    // The counters and their TTLs are there since the reservation.
    let expiries = vec!["1"; record.counters().count()].join(" ");
    let mut args = vec![record.letters(), record.line.clone(), record_ttl_ms, expiries];
    for entry in record.counters().chain(record.rates()) {
        let (amount, mut bound) = (more.of_or(&entry.meter, 0)?, entry.bound);
        // A limit of which no more is asked refuses nothing.
        bound.is_shadow |= amount == 0;
        args.extend([amount.to_string(), bound.text()]);
        if entry.rate.is_some() {
            args.extend(entry.span_and_how());
        }
    }
    let mut grown = Vec::with_capacity(record.entries.len());
    for entry in &record.entries {
        let sum = entry.amount.checked_add(more.of_or(&entry.meter, 0)?);
        let sum = sum.ok_or_else(|| Error::new(ErrorKind::Overflow, "the hold would leave the 64-bit range"))?;
        grown.push((entry.key.as_str(), sum.to_string(), entry.bound));
    }
    args.extend([hold.at_text()?, nonce.to_owned(), write_tail(&record.tags, grown.into_iter())]);
    let mut keys: Vec<_> = record.counters().map(|entry| entry.key.clone()).collect();
    keys.extend(record.counters().map(|entry| [&entry.key, ":held"].concat()));
    keys.extend(record.rates().map(|entry| entry.key.clone()));
    keys.push(hold.key.clone());
    keys.extend(record.counters().map(|entry| [&entry.key, ":holds"].concat()));
    Ok(ScriptCall { script: script::of(Op::Grow), keys, args, idempotent: true })
}

awaits!(Extend -> ());

awaits!(Grow -> Growth);
