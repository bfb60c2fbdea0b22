//! Holds: money set aside before a call, ended by what the call really cost. Twins of `lua/reserve.lua`, `settle.lua`,
//! `release.lua`, `extend.lua`, `grow.lua`, `hold.lua` and `holds.lua`.

mod bucket;
mod change;
mod end;
mod find;
mod joint;
mod list;
mod record;
mod reserve;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use change::{Extend, Grow, Growth};
pub(crate) use end::Endings;
#[cfg(feature = "http")]
pub(crate) use end::completed;
pub use end::{Release, Settle, Settled, SettledLimit};
pub use find::FindHold;
pub use joint::{JointHold, ReserveAcross};
pub use list::{HeldAmount, ListHolds, OpenHold, OpenHolds};
pub use record::HoldState;
pub(crate) use record::Record;
pub use reserve::Reserve;

use super::away::{Away, Delivery, Sent, Slot};
use super::engine::{Answer, Engine};
use super::plan::filled;
use super::time::{injected_ms, time_text};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Amounts, Decided, LimitState, Meter, Outage};
use crate::script::{self, Op};
use crate::store::{Durability, ScriptCall};

/// How long a hold lives unless told otherwise.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(600);

/// How often a call is made anew when the hold was changed elsewhere in between.
const MOST_CHANGED: u32 = 3;

/// Bounds of a hold's TTL.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// Amounts that are set aside, until exactly one of [`settle`](Self::settle), [`release`](Self::release) or expiry.
///
/// A hold that is dropped without an end settles what was [observed](Self::observe), or releases if nothing was, in the
/// background; [`CostGuard::shutdown`](crate::CostGuard::shutdown) waits for that. Dropped outside a tokio runtime, or with
/// the process, it expires. Losing it is no loss: [`CostGuard::hold`](crate::CostGuard::hold) finds it by its id.
///
/// A handle that a repeat of a reservation gave, under an id of the caller's, is one of several: dropped without having observed
/// anything it leaves the hold to the others.
#[must_use = "a hold keeps its amounts from others until it is settled or released; dropped at once it is released"]
pub struct Hold {
    engine: Arc<Engine>,
    id: String,
    key: String,
    record: Record,
    limits: Vec<LimitState>,
    observed: Option<Amounts>,
    /// By how much it was to grow when no answer came, and that request's nonce.
    growing: Option<Box<(Amounts, String)>>,
    /// Injected time, for every further step.
    at_ms: Option<i64>,
    ended: bool,
    /// Whether the hold was there before this handle: whoever has the other one may be about to settle it.
    is_shared: bool,
    /// What to do when the store is away at its end.
    outage: Outage,
    /// Of a hold that was reserved without the store.
    lent: Option<Box<Lent>>,
}

/// What a hold needs that this process granted alone: it is on the process's own store, and goes to that of the guard when it
/// is settled.
#[derive(Debug)]
struct Lent {
    engine: Arc<Engine>,
    reserve: Sent,
    /// Until its end is in the queue.
    slot: Option<Slot>,
}

impl Hold {
    /// As the store has it now. Found is not owned: dropping what was only looked at ends nothing.
    pub(crate) async fn of_key(engine: &Arc<Engine>, key: &str, at_ms: Option<i64>) -> Result<Self> {
        let keys = vec![key.to_owned()];
        let call = ScriptCall { script: script::of(Op::Hold), keys, args: Vec::new(), idempotent: true };
        let mut answer = engine.run_unclocked(&call).await?;
        answer.expect("HELD")?;
        let record = Record::read(answer.rest(), &engine.prefix)?;
        let (engine, key) = (engine.clone(), key.to_owned());
        let (id, limits, outage) = (key.clone(), Vec::new(), Outage::Deny);
        let (observed, growing, ended, is_shared) = (None, None, true, true);
        Ok(Self { engine, id, key, record, limits, observed, growing, at_ms, ended, is_shared, outage, lent: None })
    }

    /// Who reserved it.
    #[must_use]
    pub fn decided(&self) -> Decided {
        if self.lent.is_some() { Decided::WithoutStore } else { Decided::ByStore }
    }

    /// What to do when the store is away at its end, and the guard that has the queue for it.
    fn away(&self) -> Option<(&Arc<Engine>, &Away)> {
        let engine = self.lent.as_ref().map_or(&self.engine, |lent| &lent.engine);
        let (away, _) = Away::of(engine, Some(self.outage))?;
        Some((engine, away))
    }

    /// Leaves the end of a hold that is on the store to the queue, because of `cause`.
    fn end_later(&self, delivery: Delivery, cause: Error) -> Result<()> {
        match self.away() {
            Some((engine, away)) if cause.kind() == ErrorKind::Unavailable => {
                away.queue.slot_of_end().push(delivery)?;
                away.deliver(engine);
                Ok(())
            }
            _ => Err(cause),
        }
    }

    /// Brings a hold that this process granted alone to the store: its end, or itself when it is forgotten.
    fn bring(&mut self, delivery: impl FnOnce(&Sent) -> Result<Delivery>) -> Result<()> {
        let Some(lent) = &mut self.lent else { return Ok(()) };
        // It has one end, and that is in the queue when the place is given up.
        if let Some(slot) = &lent.slot {
            slot.push(delivery(&lent.reserve)?)?;
            lent.slot = None;
        }
        if let Some(away) = &lent.engine.away {
            away.deliver(&lent.engine);
        }
        Ok(())
    }

    /// The id under which [`CostGuard::hold`](crate::CostGuard::hold) finds it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is held of a meter, in its unit; the most where several limits hold different amounts of it.
    #[must_use]
    pub fn held(&self, meter: &Meter) -> i64 {
        let entries = self.record.entries.iter().filter(|entry| entry.meter == *meter);
        entries.map(|entry| entry.amount).max().unwrap_or(0)
    }

    /// What is held of each counter, and what was taken from each rate, in the policy's order.
    #[must_use]
    pub fn amounts(&self) -> Vec<HeldAmount> {
        self.record.amounts()
    }

    /// When it ends by itself, in milliseconds since the epoch by the store's clock.
    #[must_use]
    pub fn expires_ms(&self) -> i64 {
        self.record.expires_ms
    }

    /// When it was reserved, in milliseconds since the epoch by the store's clock.
    #[must_use]
    pub fn reserved_ms(&self) -> i64 {
        self.record.reserved_us / 1000
    }

    /// What it was tagged with.
    #[must_use]
    pub fn tags(&self) -> Vec<(String, String)> {
        record::read_tags(&self.record.tags)
    }

    /// Whether it was settled or released before this handle was made: by an earlier attempt with the same id, or by
    /// another process.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.record.state != HoldState::Open
    }

    /// How it stood when this handle was made: `settle` and `release` of this handle do not show.
    #[must_use]
    pub fn state(&self) -> HoldState {
        self.record.state
    }

    /// Every limit of the policy, in its order, with this hold in `held`; a rate has it in `used`. Empty for a hold that was
    /// found by its id.
    #[must_use]
    pub fn limits(&self) -> &[LimitState] {
        &self.limits
    }

    /// Notes what has been spent so far, in memory only: what a dropped hold is settled with. A meter that is not given is
    /// settled with what is held of it.
    pub fn observe(&mut self, so_far: impl Into<Amounts>) {
        self.observed = Some(so_far.into());
    }

    /// Charges what the call really cost: in full, once, in the windows in which it was reserved, whether it is more or
    /// less than was held, and also when the hold has expired. Settling again with the same amounts gives the same answer.
    ///
    /// # Errors
    /// `Conflict` when it was settled with other amounts; `HoldEnded` when it was released; `UnknownHold` when it ended so
    /// long ago that it was forgotten; `Invalid` when the amounts lack a meter of the hold. `Unavailable` when the store
    /// cannot be reached: the amounts are then settled when the hold is dropped, and the same call can be made again. With an
    /// [`Outage`] policy other than `Deny` it is kept until the store is back instead, and [`Settled::decided`] says so.
    pub fn settle(&mut self, actual: impl Into<Amounts>) -> Settle<'_> {
        Settle { hold: self, actual: actual.into(), durability: None }
    }

    /// Gives everything back, whatever was observed. Releasing again does nothing.
    ///
    /// # Errors
    /// `HoldEnded` when it was settled; `UnknownHold` when it ended so long ago that it was forgotten. `Unavailable` when the
    /// store cannot be reached: it is then released when the hold is dropped, and the same call can be made again.
    pub fn release(&mut self) -> Release<'_> {
        Release { hold: self }
    }

    /// Lets the hold end `ttl` from now, by the store's clock, and not earlier than before.
    ///
    /// # Errors
    /// `HoldEnded` when it was settled, was released or has expired; `Invalid` when the TTL is out of bounds.
    pub fn extend(&mut self, ttl: Duration) -> Extend<'_> {
        Extend { hold: self, ttl }
    }

    /// Sets more aside, checked like a new reservation: all limits take it, or none does and the hold stays as it was. A
    /// meter that is not given grows by nothing. The limits are those by which it was reserved, overrides of then included; a
    /// block that came since does not stop a call that is under way.
    ///
    /// # Errors
    /// As [`extend`](Self::extend), and `Conflict` when the hold has grown through another handle. `Unavailable` when the store
    /// cannot be reached: the same call can be made again, and grows the hold once.
    pub fn grow(&mut self, more: impl Into<Amounts>) -> Grow<'_> {
        Grow { hold: self, more: more.into() }
    }

    /// Runs a call on the hold; when the hold was changed through another handle, once more as it is now.
    async fn run(&mut self, call: impl Fn(&Self) -> Result<ScriptCall>) -> Result<Answer> {
        self.run_waiting(None, call).await
    }

    /// The same, and waits for replicas where it should.
    async fn run_waiting(
        &mut self,
        durability: Option<Durability>,
        call: impl Fn(&Self) -> Result<ScriptCall>,
    ) -> Result<Answer> {
        for _ in 0..MOST_CHANGED {
            let answer = self.engine.send(&call(self)?, durability).await?;
            if answer.status() != "CHANGED" {
                return Ok(answer);
            }
            self.reread(&answer)?;
        }
        Err(Error::new(ErrorKind::Conflict, "the hold keeps being changed through other handles; use one"))
    }

    /// Takes over what the store says became of the hold elsewhere.
    fn reread(&mut self, answer: &Answer) -> Result<()> {
        let line = answer.rest().split_once(' ').map_or("", |(_, line)| line);
        self.record = Record::read(line, &self.engine.prefix)?;
        Ok(())
    }

    /// The keys of a call: counters, totals held, the record, buckets; without the counters for `release`.
    fn keys(&self, counters: bool) -> Vec<String> {
        let entries = || self.record.counters().map(|entry| entry.key.as_str());
        let mut keys = Vec::with_capacity(self.record.entries.len() * 3 + 1);
        if counters {
            keys.extend(entries().map(str::to_owned));
        }
        keys.extend(entries().map(|key| [key, ":held"].concat()));
        keys.push(self.key.clone());
        keys.extend(entries().map(|key| [key, ":holds"].concat()));
        keys
    }

    /// The keys of the rates, and `(change, limit, span_us, how)...` for those of which `change` is not nothing.
    fn corrections(&self, change: impl Fn(&record::Entry) -> Result<i64>) -> Result<(Vec<String>, Vec<String>)> {
        let (mut keys, mut args) = (Vec::new(), Vec::new());
        for (place, entry) in self.record.entries.iter().enumerate().filter(|(_, entry)| entry.rate.is_some()) {
            let change = change(entry)?;
            // A shadow limit that would have refused took nothing, so nothing is given back. A handle that was found does not
            // know, and most have taken.
            let shadowed = self.limits.get(place).is_some_and(|state| state.shadowed);
            if change > 0 || (change < 0 && !shadowed) {
                keys.push(entry.key.clone());
                args.extend([change.to_string(), entry.bound.limit.unwrap_or(1).to_string()]);
                let [span_us, how] = entry.span_and_how();
                // A handle that was found, or that grew, does not know how full the bucket was.
                let taken = self.limits.get(place).filter(|_| !self.record.has_grown());
                let how = taken.and_then(filled).unwrap_or(how);
                args.extend([span_us, how]);
            }
        }
        Ok((keys, args))
    }

    /// The injected time as the scripts take it, if they can.
    fn at_text(&self) -> Result<String> {
        let at_ms = self.at_ms.and_then(DateTime::from_timestamp_millis).map(injected_ms).transpose()?;
        Ok(at_ms.map(time_text).unwrap_or_default())
    }

    /// Moves the injected time of a hold that was reserved with one: for replays and tests. What is done at a time before 1970, or
    /// after 2286, is `Invalid`.
    pub fn set_time(&mut self, time: DateTime<Utc>) {
        self.at_ms = Some(time.timestamp_millis());
    }

    /// Forgets the handle and leaves the hold as it is, to be found by its id or to expire.
    pub fn forget(mut self) {
        self.ended = true;
        // The store is to know it by its id, too.
        if let Err(err) = self.bring(|reserve| Ok(Delivery::reserve(reserve))) {
            tracing::error!(hold = %self.id, error = %err, "a forgotten hold that was reserved without the store is lost");
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, record, ended, .. } = self;
        f.debug_struct("Hold").field("id", id).field("record", record).field("ended", ended).finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let is_left = self.is_shared && self.observed.is_none();
        if !self.ended && !is_left && self.record.state == HoldState::Open {
            Endings::end_in_background(self);
        }
    }
}
