//! `settle` and `release`: the ends of a hold, also in the background. Twin of `lua/settle.lua` and `lua/release.lua`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::record::Entry;
use super::{HeldAmount, Hold};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Amounts, Decided, Meter};
use crate::ops::away::{Delivery, LONGEST_PAUSE, pauses};
use crate::ops::engine::Engine;
use crate::ops::request::awaits;
use crate::script::{self, Op};
use crate::store::{Durability, ScriptCall};

/// How often the store is asked again for a hold that it does not know, of a request that may be on its way.
const MOST_LOOKS: u32 = 3;

/// The end of a hold by what was spent, made by [`Hold::settle`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Settle<'a> {
    pub(super) hold: &'a mut Hold,
    pub(super) actual: Amounts,
    pub(super) durability: Option<Durability>,
}

/// What a settlement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Every counter of the hold, in the policy's order, after the settlement. Rates are corrected and not among them.
    pub limits: Vec<SettledLimit>,
    /// Whether the hold had expired before. All was charged all the same.
    pub late: bool,
    /// Whether it had been settled with these amounts before; then nothing was charged again.
    pub replayed: bool,
    /// Whether the store has it. Where it was away the settlement is kept until it is back; `limits` is empty then, or has the
    /// counters of this process when it had reserved the hold alone.
    pub decided: Decided,
    /// How many replicas have it too, where they were [waited for](Settle::durability): fewer than that when the time was over.
    pub replicas: Option<u64>,
}

/// One counter that a hold was settled into. Amounts are in the meter's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledLimit {
    /// The counter's key.
    pub key: String,
    /// What it counts.
    pub meter: Meter,
    /// The limit by which it was reserved, an override's where there was one; `None` when it only counts.
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
    /// Waits until replicas have the settlement. Default: the guard's, and that is not to wait.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    async fn run(self) -> Result<Settled> {
        let Self { hold, actual, durability } = self;
        hold.observe_end(&actual)?;
        let had_ended = hold.begin_end();
        let settled = hold.settle_now(&actual, durability).await;
        hold.finish_end(had_ended, &settled);
        settled
    }
}

impl Hold {
    /// Notes what a settlement is about to charge.
    ///
    /// # Errors
    /// `Invalid` when it cannot be settled with that; what was observed before stays.
    pub(super) fn observe_end(&mut self, actual: &Amounts) -> Result<()> {
        for entry in &self.record.entries {
            charged(entry, actual)?;
        }
        self.observed = Some(actual.clone());
        Ok(())
    }

    /// Whatever comes between, a drop then ends it like this, also where it was only found. Gives whether it had ended.
    fn begin_end(&mut self) -> bool {
        self.is_shared = false;
        std::mem::replace(&mut self.ended, false)
    }

    fn finish_end<T>(&mut self, had_ended: bool, end: &Result<T>) {
        self.ended = match end {
            Ok(_) => true,
            Err(err) => had_ended && err.kind() != ErrorKind::Unavailable,
        };
    }

    /// One attempt to settle, or to leave that to the queue; a drop ends the hold as before.
    pub(crate) async fn settle_now(&mut self, actual: &Amounts, durability: Option<Durability>) -> Result<Settled> {
        let durability = durability.or(self.engine.durability);
        match self.settle_in_store(actual, durability).await {
            Ok(settled) if self.lent.is_some() => {
                let (key, at_ms) = (self.key.clone(), self.at_ms);
                self.bring(|reserve| Delivery::settle(&key, Some(reserve.clone()), actual, at_ms))?;
                Ok(Settled { decided: Decided::WithoutStore, ..settled })
            }
            Err(cause) if self.lent.is_none() => {
                self.end_later(Delivery::settle(&self.key, None, actual, self.at_ms)?, cause)?;
                let late = self.at_ms.unwrap_or_else(|| self.engine.now_ms()) >= self.record.expires_ms;
                Ok(Settled {
                    limits: Vec::new(),
                    late,
                    replayed: false,
                    replicas: None,
                    decided: Decided::WithoutStore,
                })
            }
            settled => settled,
        }
    }

    async fn settle_in_store(&mut self, actual: &Amounts, durability: Option<Durability>) -> Result<Settled> {
        let mut answer = self.run_waiting(durability, |hold| settle_call(hold, actual)).await?;
        answer.expect("SETTLED")?;
        let late = answer.int()? == 1;
        let limits = self.record.counters().map(|entry| {
            let (key, meter, limit) = (entry.key.clone(), entry.meter.clone(), entry.bound.limit);
            Ok(SettledLimit { key, amount: charged(entry, actual)?, meter, limit, used: answer.int()? })
        });
        let limits = limits.collect::<Result<_>>()?;
        Ok(Settled { limits, late, replayed: answer.replayed, replicas: answer.replicas, decided: Decided::ByStore })
    }
}

fn settle_call(hold: &Hold, actual: &Amounts) -> Result<ScriptCall> {
    let record = &hold.record;
    let amounts: Vec<_> =
        record.counters().map(|entry| Ok(charged(entry, actual)?.to_string())).collect::<Result<_>>()?;
    let (rate_keys, corrections) =
        hold.corrections(|entry| Ok(charged(entry, actual)?.saturating_sub(entry.amount)))?;
    // A repeat is known by everything that it settles.
    let mut all = amounts.clone();
    all.extend(
        record
            .rates()
            .map(|entry| charged(entry, actual).map(|amount| amount.to_string()))
            .collect::<Result<Vec<_>>>()?,
    );
    let mut args = vec![record.letters(), record.line.clone(), record.bucket(), record.expires_ms.to_string()];
    args.extend([hold.engine.receipt_ttl.as_millis().to_string(), all.join(","), hold.at_text()?]);
    args.extend(record.counters().map(|entry| entry.amount.to_string()));
    args.extend(amounts);
    if !rate_keys.is_empty() {
        args.push(record.reserved_us.to_string());
        args.extend(corrections);
    }
    let mut keys = hold.keys(true);
    keys.extend(rate_keys);
    Ok(ScriptCall { script: script::of(Op::Settle), keys, args, idempotent: true })
}

/// What a settlement charges: nothing stays open, and requests are what they were unless it says otherwise.
fn charged(entry: &Entry, actual: &Amounts) -> Result<i64> {
    match &entry.meter {
        meter if *meter == Meter::CONCURRENCY => Ok(0),
        meter if *meter == Meter::REQUESTS => actual.of_or(meter, entry.amount),
        meter => actual.of(meter),
    }
}

/// What was observed, completed by what is held, for a settlement takes every meter.
pub(crate) fn completed(observed: &Amounts, held: &[HeldAmount], id: &str) -> Amounts {
    held.iter().fold(Amounts::new(), |amounts, held| {
        let amount = observed.of_or(&held.meter, held.amount).unwrap_or_else(|err| {
            tracing::error!(hold = id, error = %err, "what was observed cannot be charged; charging what is held");
            held.amount
        });
        amounts.with(held.meter.clone(), amount)
    })
}

/// The end of a hold by giving all back, made by [`Hold::release`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Release<'a> {
    pub(super) hold: &'a mut Hold,
}

impl Release<'_> {
    async fn run(self) -> Result<()> {
        let hold = self.hold;
        hold.observed = None;
        let had_ended = hold.begin_end();
        let released = hold.release_now().await;
        hold.finish_end(had_ended, &released);
        released
    }
}

impl Hold {
    /// One attempt to release, or to leave that to the queue; a drop ends the hold as before.
    pub(crate) async fn release_now(&mut self) -> Result<()> {
        let release = Delivery::Release { hold: self.key.clone(), at_ms: self.at_ms };
        match self.run(release_call).await {
            Ok(mut answer) => {
                answer.expect("RELEASED")?;
                // The store may have it as well: its answer to the reservation could have been lost.
                self.bring(|_| Ok(release))
            }
            Err(cause) if self.lent.is_none() => self.end_later(release, cause),
            Err(err) => Err(err),
        }
    }
}

fn release_call(hold: &Hold) -> Result<ScriptCall> {
    let record = &hold.record;
    let (rate_keys, corrections) = hold.corrections(|entry| Ok(-entry.amount))?;
    let receipt_ttl_ms = hold.engine.receipt_ttl.as_millis().to_string();
    let mut args = vec![record.letters(), record.line.clone(), record.bucket(), receipt_ttl_ms];
    args.extend(record.counters().map(|entry| entry.amount.to_string()));
    if !rate_keys.is_empty() {
        args.extend([hold.at_text()?, record.reserved_us.to_string()]);
        args.extend(corrections);
    }
    let mut keys = hold.keys(false);
    keys.extend(rate_keys);
    Ok(ScriptCall { script: script::of(Op::Release), keys, args, idempotent: true })
}

awaits!(Settle -> Settled);

awaits!(Release -> ());

impl Hold {
    /// How long the store knows it.
    fn left(&self) -> Duration {
        let now_ms = self.at_ms.unwrap_or_else(|| self.engine.now_ms());
        let left_ms = u64::try_from(self.record.expires_ms.saturating_sub(now_ms)).unwrap_or(0);
        Duration::from_millis(left_ms) + self.engine.receipt_ttl
    }
}

/// What is to be ended in the background.
enum Left {
    /// A dropped hold, by what it observed.
    Hold(Box<Hold>, Option<Amounts>),
    /// A hold that nobody knows, should the store have it or be about to.
    Unclaimed { engine: Arc<Engine>, key: String, at_ms: Option<i64>, looks: u32 },
}

impl Left {
    /// One attempt.
    async fn end(&mut self) -> Result<()> {
        match self {
            Self::Hold(hold, Some(observed)) => hold.settle_now(observed, None).await.map(drop),
            Self::Hold(hold, None) => hold.release_now().await,
            Self::Unclaimed { engine, key, at_ms, .. } => Hold::of_key(engine, key, *at_ms).await?.release_now().await,
        }
    }

    /// Whether another attempt may come to more than this error.
    fn may_repeat(&mut self, err: &Error) -> bool {
        match (self, err.kind()) {
            (_, ErrorKind::Unavailable) => true,
            // What was sent may not have arrived.
            (Self::Unclaimed { looks, .. }, ErrorKind::UnknownHold) => {
                *looks += 1;
                *looks <= MOST_LOOKS
            }
            _ => false,
        }
    }

    /// Whether it has ended elsewhere, and there is nothing to charge.
    fn is_over(&self, err: &Error) -> bool {
        let charges = matches!(self, Self::Hold(_, Some(_)));
        !charges && matches!(err.kind(), ErrorKind::HoldEnded | ErrorKind::UnknownHold)
    }

    fn id(&self) -> &str {
        match self {
            Self::Hold(hold, _) => &hold.id,
            Self::Unclaimed { key, .. } => key.rsplit(':').next().unwrap_or_default(),
        }
    }
}

/// Holds that are being ended in the background.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    tasks: Mutex<JoinSet<()>>,
    /// How many are under way.
    open: Arc<watch::Sender<usize>>,
    /// Those that could not be ended and that nobody was told of yet.
    failed: AtomicUsize,
}

/// One end more that is under way, as long as it lives.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(open: &Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Endings {
    /// Settles what a dropped hold observed, or releases it, for as long as the store knows it.
    pub(super) fn end_in_background(hold: &mut Hold) {
        let (engine, id, key, record) = (hold.engine.clone(), hold.id.clone(), hold.key.clone(), hold.record.clone());
        let observed = hold.observed.take().map(|observed| completed(&observed, &record.amounts(), &id));
        let (at_ms, outage, lent) = (hold.at_ms, hold.outage, hold.lent.take());
        let guard = lent.as_ref().map_or_else(|| engine.clone(), |lent| lent.engine.clone());
        let owned = Hold {
            engine,
            id,
            key,
            record,
            limits: std::mem::take(&mut hold.limits),
            observed: None,
            growing: None,
            at_ms,
            ended: true,
            is_shared: false,
            outage,
            lent,
        };
        let ttl = owned.left();
        Self::spawn(guard, Left::Hold(Box::new(owned), observed), ttl);
    }

    /// Releases a hold that nobody knows: for no longer than it lives.
    pub(super) fn release_in_background(engine: &Arc<Engine>, key: String, at_ms: Option<i64>, ttl: Duration) {
        let left = Left::Unclaimed { engine: Arc::clone(engine), key, at_ms, looks: 0 };
        Self::spawn(Arc::clone(engine), left, ttl);
    }

    /// Tries for so long. Outside a runtime what is left expires.
    fn spawn(guard: Arc<Engine>, mut left: Left, ttl: Duration) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (counted, engine) = (Counted::new(&guard.endings.open), Arc::clone(&guard));
        let end = async move {
            let _counted = counted;
            let (mut pauses, until) = (pauses(), Instant::now() + ttl);
            while let Err(err) = left.end().await {
                if left.may_repeat(&err) && Instant::now() < until {
                    tracing::debug!(hold = left.id(), error = %err, "a hold cannot be ended yet");
                    tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                    continue;
                }
                if !left.is_over(&err) {
                    engine.endings.failed.fetch_add(1, Ordering::SeqCst);
                    tracing::error!(hold = left.id(), error = %err, "a hold could not be ended; it is left to expire");
                }
                return;
            }
        };
        let mut tasks = guard.endings.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(end, &runtime);
    }

    /// Waits until all are ended; gives how many were not when the time was up, and how many failed since it was asked last.
    pub(crate) async fn drain(&self, timeout: Duration) -> usize {
        let mut open = self.open.subscribe();
        let is_up = tokio::time::timeout(timeout, open.wait_for(|open| *open == 0)).await.is_err();
        let left = *self.open.borrow();
        if is_up {
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        }
        left + self.failed.swap(0, Ordering::SeqCst)
    }
}
