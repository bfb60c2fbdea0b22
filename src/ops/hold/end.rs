//! `settle` and `release`: the ends of a hold, also in the background. Twin of `lua/settle.lua` and `lua/release.lua`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{Hold, Record};
use crate::error::Result;
use crate::model::{Amounts, Meter};
use crate::ops::request::awaits;
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// The end of a hold by what was spent, made by [`Hold::settle`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Settle<'a> {
    pub(super) hold: &'a mut Hold,
    pub(super) actual: Amounts,
}

/// What a settlement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Every counter of the hold, in the policy's order, after the settlement.
    pub limits: Vec<SettledLimit>,
    /// Whether the hold had expired before. All was charged all the same.
    pub late: bool,
    /// Whether it had been settled with these amounts before; then nothing was charged again.
    pub replayed: bool,
}

/// One counter that a hold was settled into. Amounts are in the meter's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledLimit {
    /// The counter's key.
    pub key: String,
    /// What it counts.
    pub meter: Meter,
    /// The limit at the time of the reservation; `None` when it only counts.
    pub limit: Option<i64>,
    /// What was charged.
    pub amount: i64,
    /// The counter after the charge.
    pub used: i64,
}

impl SettledLimit {
    /// By how much the limit is passed; 0 when it is not.
    #[must_use]
    pub fn overdraft(&self) -> i64 {
        self.limit.map_or(0, |limit| self.used.saturating_sub(limit).max(0))
    }
}

impl Settle<'_> {
    async fn run(self) -> Result<Settled> {
        let Self { hold, actual } = self;
        // Whatever comes between, a drop then settles this.
        hold.observed = Some(actual.clone());
        let mut answer = hold.run(|hold| settle_call(hold, &actual)).await?;
        answer.expect("SETTLED")?;
        let late = answer.int()? == 1;
        let limits = hold.record.entries.iter().map(|entry| {
            let (key, meter, limit) = (entry.key.clone(), entry.meter.clone(), entry.limit);
            Ok(SettledLimit { key, amount: actual.of(&meter)?, meter, limit, used: answer.int()? })
        });
        let limits = limits.collect::<Result<_>>()?;
        hold.ended = true;
        Ok(Settled { limits, late, replayed: answer.replayed })
    }
}

fn settle_call(hold: &Hold, actual: &Amounts) -> Result<ScriptCall> {
    let Record { line, bucket_ms, expires_ms, entries, .. } = &hold.record;
    let amounts: Vec<_> =
        entries.iter().map(|entry| Ok(actual.of(&entry.meter)?.to_string())).collect::<Result<_>>()?;
    let mut args = vec![line.clone(), bucket_ms.to_string(), expires_ms.to_string()];
    args.extend([hold.engine.receipt_ttl.as_millis().to_string(), amounts.join(","), hold.at_text()]);
    args.extend(entries.iter().map(|entry| entry.amount.to_string()));
    args.extend(amounts);
    Ok(ScriptCall { script: script::of(Op::Settle), keys: hold.keys(true), args, idempotent: true })
}

/// The end of a hold by giving all back, made by [`Hold::release`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Release<'a> {
    pub(super) hold: &'a mut Hold,
}

impl Release<'_> {
    async fn run(self) -> Result<()> {
        let mut answer = self.hold.run(|hold| Ok(release_call(hold))).await?;
        answer.expect("RELEASED")?;
        self.hold.ended = true;
        Ok(())
    }
}

fn release_call(hold: &Hold) -> ScriptCall {
    let Record { line, bucket_ms, entries, .. } = &hold.record;
    let mut args = vec![line.clone(), bucket_ms.to_string(), hold.engine.receipt_ttl.as_millis().to_string()];
    args.extend(entries.iter().map(|entry| entry.amount.to_string()));
    ScriptCall { script: script::of(Op::Release), keys: hold.keys(false), args, idempotent: true }
}

awaits!(Settle -> Settled);

awaits!(Release -> ());

/// Holds that were dropped and are being ended in the background.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    tasks: Mutex<JoinSet<()>>,
}

impl Endings {
    /// Settles what a dropped hold observed, or releases it. Outside a runtime the hold is left to expire.
    pub(super) fn end_in_background(hold: &mut Hold) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (engine, id, key, record) = (hold.engine.clone(), hold.id.clone(), hold.key.clone(), hold.record.clone());
        let (observed, at_ms) = (hold.observed.take(), hold.at_ms);
        let mut owned = Hold { engine, id, key, record, limits: Vec::new(), observed: None, at_ms, ended: true };
        let end = async move {
            let ended = match observed {
                Some(observed) => owned.settle(observed).await.map(|_| ()),
                None => owned.release().await,
            };
            if let Err(err) = ended {
                tracing::error!(hold = %owned.id, error = %err, "a dropped hold could not be ended; it is left to expire");
            }
        };
        let mut tasks = hold.engine.endings.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(end, &runtime);
    }

    /// Waits until all are ended; gives how many were not when the time was up.
    pub(crate) async fn drain(&self, timeout: Duration) -> usize {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        // What is left when the time is up is aborted with the set.
        let _ = tokio::time::timeout(timeout, all).await;
        tasks.len()
    }
}
