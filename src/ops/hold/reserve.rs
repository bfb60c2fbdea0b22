//! `reserve`: sets amounts aside if every limit allows it. Twin of `lua/reserve.lua`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::bucket::{Bucket, ttl_and_width_ms};
use super::record::{Bound, Record, write_tags, write_tail};
use super::{DEFAULT_TTL, Endings, Hold, Lent};
use crate::error::{ErrorKind, Result};
use crate::model::{Decided, Decision, Denial, Estimate, Limit, LimitState, Meter, Outage, Policy, Subject};
use crate::ops::away::{Away, Sent, policy_without_store};
use crate::ops::engine::{Answer, Engine};
use crate::ops::plan::{Part, Plan};
use crate::ops::request::awaits;
use crate::ops::time::{injected_ms, time_text};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// A reservation, made by [`CostGuard::reserve`](crate::CostGuard::reserve).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Reserve<'a> {
    engine: &'a Arc<Engine>,
    policy: &'a Policy,
    subject: &'a Subject,
    estimate: Estimate,
    id: Option<String>,
    ttl: Duration,
    tags: Vec<(String, String)>,
    at: Option<DateTime<Utc>>,
    outage: Option<Outage>,
    /// Of what has been granted: no limit is to refuse it.
    lifted: bool,
    /// What a part came to that has been granted.
    taken: Option<i64>,
    /// Whether the id is the crate's all the same.
    pub(super) made_id: bool,
}

/// Releases what was reserved under an id of the crate's, should nobody come to know it: the request was given up, or has no
/// answer.
struct Unclaimed<'a> {
    engine: &'a Arc<Engine>,
    subject: &'a Subject,
    id: &'a str,
    at: Option<DateTime<Utc>>,
    ttl: Duration,
    is_claimed: bool,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if !self.is_claimed
            && let Ok(key) = self.subject.hold_key(&self.engine.prefix, self.id)
        {
            let at_ms = self.at.map(|time| time.timestamp_millis());
            Endings::release_in_background(self.engine, key, at_ms, self.ttl);
        }
    }
}

impl<'a> Reserve<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>, policy: &'a Policy, subject: &'a Subject, estimate: Estimate) -> Self {
        let (id, ttl, tags, at, outage, taken) = (None, DEFAULT_TTL, Vec::new(), None, None, None);
        Self { engine, policy, subject, estimate, id, ttl, tags, at, outage, lifted: false, taken, made_id: false }
    }

    /// The hold's id, unique under the subject's root; up to 200 bytes. The same id again gives the same hold, also when it
    /// has ended or expired meanwhile ([`Hold::state`], [`Hold::expires_ms`]). Without one the crate makes one, of 128 bits
    /// and in order of time, and releases in the background what a request reserved that was given up or has no answer.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// How long the hold lives if nobody ends it, 1 second to 30 days. Default: 10 minutes.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// A name and a value to know the hold by: in [`CostGuard::holds`](crate::CostGuard::holds).
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Decides by this time and not by the store's clock: for replays and tests.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    /// What to do while the store is away, now and at the hold's end, where that is not what the guard says. All the rest of a
    /// limit ([`Estimate::remaining`]) is nothing that [`Outage::Allow`] could grant: it fails.
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = Some(outage);
        self
    }

    fn call(&self, id: &str, now_ms: i64) -> Result<(Plan, ScriptCall)> {
        let plan = Plan::of_amounts(self.engine, self.policy, self.subject, now_ms, self.estimate.amounts())?;
        let mut plan = plan.with_rules(self.engine, self.subject);
        if let Some((meter, part)) = self.part() {
            plan.take_part(meter, part);
        }
        if self.lifted {
            plan.lift(self.engine, self.subject);
        }
        if let Some(taken) = self.taken {
            plan.set_part(taken);
        }
        let (ttl_ms, width_ms) = ttl_and_width_ms(self.ttl)?;
        let bucket = match Bucket::at(now_ms, ttl_ms) {
            Some(Bucket { end_ms, span_ms }) => {
                plan.narrow(span_ms);
                format!("{end_ms:013}")
            }
            None => width_ms.to_string(),
        };
        let record_ttl_ms = u128::from(ttl_ms) + self.engine.receipt_ttl.as_millis();
        let tail = self.tail(&plan, plan.limits().iter().map(Limit::limit))?;
        let mut args = Vec::with_capacity(plan.entries.len() * 4 + 11);
        plan.write_windows(&mut args);
        args.extend([ttl_ms.to_string(), bucket, record_ttl_ms.to_string(), tail]);
        plan.write_limits(&mut args);
        let touch = self.engine.touch() || plan.renews();
        if self.at.is_some() || touch || !plan.asked().is_empty() {
            args.push(if self.at.is_some() { time_text(now_ms) } else { String::new() });
            args.push(if touch { "1".to_owned() } else { String::new() });
            args.push(plan.asked().to_owned());
        }
        let keys = plan.keys(Some(self.subject.hold_key(&self.engine.prefix, id)?));
        Ok((plan, ScriptCall { script: script::of(Op::Reserve), keys, args, idempotent: true }))
    }

    /// Whether the id is the caller's.
    fn is_known(&self) -> bool {
        self.id.is_some() && !self.made_id
    }

    /// The meter of which the store decides the amount.
    fn part(&self) -> Option<(&Meter, Part)> {
        let (meter, bounded) = self.estimate.part()?;
        Some((meter, if bounded { Part::UpTo } else { Part::All }))
    }

    fn fingerprint(&self, plan: &Plan) -> String {
        plan.fingerprint(if self.part().is_some() { "reserve part" } else { "reserve" })
    }

    /// The hold's record from the fingerprint on, with the amounts as they are asked for, and with these limits.
    fn tail(&self, plan: &Plan, limits: impl Iterator<Item = Option<i64>>) -> Result<String> {
        let bounds = plan.limits().iter().zip(limits).map(|(limit, now)| Bound::of(limit).with_limit(now));
        let entries = plan.entries.iter().zip(bounds);
        let entries = entries.map(|(entry, bound)| (entry.key.as_str(), entry.amount_text(), bound));
        let tail = write_tail(&write_tags(&self.tags)?, entries);
        Ok([&self.fingerprint(plan), " ", &tail].concat())
    }

    async fn run(self) -> Result<Decision<Hold>> {
        let id = self.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        let Self { engine, subject, at, ttl, .. } = self;
        // Who gave the id can ask again.
        let is_claimed = self.is_known();
        let mut unclaimed = Unclaimed { engine, subject, id: &id, at, ttl, is_claimed };
        let decided = match Away::of(self.engine, self.outage) {
            None => self.decide(&id).await,
            // Boxed, like all that is rare, to keep small what every call carries.
            Some((away, outage)) => Box::pin(self.run_or_decide_alone(&id, away, outage)).await,
        };
        unclaimed.is_claimed |= !matches!(&decided, Err(err) if err.may_have_happened());
        decided
    }

    async fn run_or_decide_alone(mut self, id: &str, away: &Away, outage: Outage) -> Result<Decision<Hold>> {
        away.deliver(self.engine);
        let cause = match self.decide(id).await {
            Err(cause) if cause.kind() == ErrorKind::Unavailable => cause,
            Ok(Decision::Granted(mut hold)) => {
                hold.outage = outage;
                return Ok(Decision::Granted(hold));
            }
            decided => return decided,
        };
        if outage == Outage::Allow && matches!(self.part(), Some((_, Part::All))) {
            return Err(cause);
        }
        let slot = away.queue.slot(Some(&cause))?;
        // A repeat has the same id.
        self.id = Some(id.to_owned());
        Ok(match self.decide_without_store(id, away, outage).await? {
            Decision::Granted(mut hold) => {
                // Should the store have it, it holds no longer than the record lives, and is settled once.
                let reserve = Sent::new(hold.key.clone(), self.granted_call(id, &hold)?);
                let lent = Lent { engine: self.engine.clone(), reserve, slot: Some(slot) };
                (hold.lent, hold.outage) = (Some(Box::new(lent)), outage);
                Decision::Granted(hold)
            }
            // The store may have granted it: its id will tell, and a denial would be wrong.
            Decision::Denied(_) if cause.may_have_happened() => return Err(cause),
            Decision::Denied(denial) => Decision::Denied(Denial { decided: Decided::WithoutStore, ..denial }),
        })
    }

    async fn decide_without_store(&self, id: &str, away: &Away, outage: Outage) -> Result<Decision<Hold>> {
        let (policy, lifted) = policy_without_store(outage, self.policy);
        Reserve { engine: &away.local, policy: &policy, lifted, ..self.clone() }.decide(id).await
    }

    /// The call that brings to the store what was reserved without it.
    fn granted_call(&self, id: &str, hold: &Hold) -> Result<ScriptCall> {
        let reserved_ms = hold.reserved_ms();
        let taken = self.part().map(|(meter, _)| hold.held(meter));
        let at = DateTime::from_timestamp_millis(reserved_ms);
        let (_, call) = Reserve { at, lifted: true, taken, ..self.clone() }.call(id, reserved_ms)?;
        Ok(call)
    }

    async fn decide(&self, id: &str) -> Result<Decision<Hold>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let (engine, sent) = (self.engine, self.engine.sending());
        // An id of the caller's may have been granted before, and an injected time is no time of ours.
        let may_remember = engine.denials.is_some() && at_ms.is_none() && self.id.is_none();
        if may_remember && let Some(denial) = engine.remembered(&self.call(id, engine.now_ms())?.0) {
            return Ok(Decision::Denied(denial));
        }
        let (plan, mut answer) = engine.run(at_ms, |now_ms| self.call(id, now_ms)).await?;
        // An id of the crate's is known to nobody else.
        let is_shared = answer.status() == "HELD" && self.is_known();
        let (line, limits) = match answer.status() {
            "DENIED" => {
                let (denial, now_us) = plan.denial(&mut answer)?;
                if may_remember {
                    engine.remember(&plan, &denial, sent, now_us);
                }
                return Ok(Decision::Denied(denial));
            }
            "HELD" => {
                answer.expect("HELD")?;
                (answer.rest().to_owned(), Vec::new())
            }
            _ => self.granted(plan, &mut answer)?,
        };
        let record = Record::read(&line, &self.engine.prefix)?;
        let (engine, key) = (self.engine.clone(), self.subject.hold_key(&self.engine.prefix, id)?);
        let (id, ended, outage, lent) = (id.to_owned(), false, Outage::Deny, None);
        let (observed, growing) = (None, None);
        let hold = Hold { engine, id, key, record, limits, observed, growing, at_ms, ended, is_shared, outage, lent };
        Ok(Decision::Granted(hold))
    }

    /// Reads `GRANTED now_s us bucket_ms part shadowed (state)... used... [held...]`, and gives the record that was stored.
    fn granted(&self, mut plan: Plan, answer: &mut Answer) -> Result<(String, Vec<LimitState>)> {
        answer.expect("GRANTED")?;
        let (now_us, (ttl_ms, _)) = (answer.now_us()?, ttl_and_width_ms(self.ttl)?);
        let bucket_ms = answer.word()?.to_owned();
        let (limits, _) = plan.granted(answer, now_us, true)?;
        let (from_s, us) = (now_us / 1_000_000, now_us % 1_000_000);
        let tail = self.tail(&plan, limits.iter().map(|state| state.limit))?;
        let line = format!("open 0 {from_s} {us} {ttl_ms} {bucket_ms} {tail}");
        self.engine.events.tell(&limits);
        Ok((line, limits))
    }
}

awaits!(Reserve -> Decision<Hold>);
