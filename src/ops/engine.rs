//! What every operation shares: the store, the clock it is named by, keys' prefix and TTLs, and the way of one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::away::Away;
use super::hold::Endings;
use super::plan::Plan;
use super::rulings::RuledRoots;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics;
use crate::model::Denial;
use crate::service::{Denials, Events, LossWatch, Moment};
use crate::store::embedded::Embedded;
use crate::store::{Clock, Durability, Reply, ScriptCall, Store};

/// How often a call is named anew when the store says that its windows are not the current ones. Once sets the clock
/// right; more can only be needed by windows shorter than a round trip.
const MOST_STALE: u32 = 3;

/// The share of writes that look for a counter that lost its TTL, in 2^32nds: one in 40.
const TOUCH_SHARE: u32 = u32::MAX / 40;

/// 2^32 over the golden ratio. Its multiples modulo 2^32 spread evenly, and so does every second, third, … of them: some
/// write in any 55 looks, and however counters take turns, none is always written when nobody looks.
const GOLDEN: u32 = 0x9E37_79B9;

/// Runs operations on a store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    /// Encoded.
    pub(crate) prefix: String,
    /// How long a counter outlives its window.
    pub(crate) retention: Duration,
    /// How long an operation id is remembered.
    pub(crate) receipt_ttl: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    /// The store's clock less ours, as far as known.
    offset_ms: Arc<AtomicI64>,
    writes: AtomicU32,
    pub(crate) events: Events,
    /// Denials that are remembered, when that was asked for.
    pub(crate) denials: Option<Denials>,
    /// The roots with overrides or blocks.
    pub(crate) rules: RuledRoots,
    /// Dropped holds on their way to an end.
    pub(crate) endings: Endings,
    /// Whether spans show keys.
    pub(crate) trace_keys: bool,
    /// Whether the store has lost its data, where it can.
    pub(crate) loss: Option<Arc<LossWatch>>,
    /// How safe charges and settlements should be unless they say otherwise.
    pub(crate) durability: Option<Durability>,
    /// What is done while the store is away.
    pub(crate) away: Option<Away>,
}

/// The store's time as far as an engine knows it.
#[derive(Debug)]
struct StoreClock {
    clock: Arc<dyn Clock>,
    offset_ms: Arc<AtomicI64>,
}

impl Clock for StoreClock {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }
}

/// When a request was sent whose denial may be remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    at: Moment,
    generation: u64,
}

/// A reply: a line of words, read one by one. The first is its status.
#[derive(Debug)]
pub(crate) struct Answer {
    line: String,
    at: usize,
    /// Whether this is the stored answer to an operation id.
    pub(crate) replayed: bool,
    /// How many replicas have what was written, where they were waited for.
    pub(crate) replicas: Option<u64>,
}

/// What a call was planned with, as far as the engine needs to know it.
pub(crate) trait Rooted {
    /// The key by which it is known whether there are rules under the root.
    fn root(&self) -> &str;
}

impl Rooted for Plan {
    fn root(&self) -> &str {
        self.root()
    }
}

impl Rooted for crate::model::Span {
    fn root(&self) -> &str {
        ""
    }
}

impl Rooted for () {
    fn root(&self) -> &str {
        ""
    }
}

impl Engine {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        prefix: String,
        retention: Duration,
        receipt_ttl: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (offset_ms, writes, away) = (Arc::default(), AtomicU32::new(0), None);
        let (events, rules, endings) = (Events::default(), RuledRoots::default(), Endings::default());
        let loss = LossWatch::new(&store, &prefix, &events);
        Self {
            store,
            prefix,
            retention,
            receipt_ttl,
            clock,
            offset_ms,
            writes,
            events,
            denials: None,
            rules,
            endings,
            away,
            loss,
            durability: None,
            trace_keys: false,
        }
    }

    /// An engine like this one on a store in this process, which has the time that this one's store has.
    pub(crate) fn in_process(&self) -> Self {
        let clock: Arc<dyn Clock> =
            Arc::new(StoreClock { clock: self.clock.clone(), offset_ms: Arc::clone(&self.offset_ms) });
        let store = Arc::new(Embedded::builder().clock(clock.clone()).build());
        Self::new(store, self.prefix.clone(), self.retention, self.receipt_ttl, clock)
    }

    /// Runs the call that `name` makes for a time: the injected one, or the store's as far as we know it. When the store
    /// answers that its clock says otherwise, we believe it and ask again.
    pub(crate) async fn run<P: Rooted>(
        &self,
        at_ms: Option<i64>,
        name: impl Fn(i64) -> Result<(P, ScriptCall)>,
    ) -> Result<(P, Answer)> {
        self.run_waiting(at_ms, None, name).await
    }

    /// The same, and waits for replicas where it should.
    pub(crate) async fn run_waiting<P: Rooted>(
        &self,
        at_ms: Option<i64>,
        durability: Option<Durability>,
        name: impl Fn(i64) -> Result<(P, ScriptCall)>,
    ) -> Result<(P, Answer)> {
        let mut now_ms = at_ms.unwrap_or_else(|| self.now_ms());
        for _ in 0..MOST_STALE {
            let (plan, call) = name(now_ms)?;
            let sent_ms = self.clock.now_ms();
            let mut answer = self.send(&call, durability).await?;
            match answer.status() {
                "STALE" => {}
                // The script asks which of them concern the request; the call is made anew, knowing that there are some.
                "RULED" => {
                    self.rules.learn(plan.root());
                    continue;
                }
                _ => {
                    if at_ms.is_none() {
                        self.learn_time(sent_ms, &answer);
                    }
                    return Ok((plan, answer));
                }
            }
            answer.word()?;
            // Any time of that second: the nearest to what we believed.
            let second_ms = answer.int()?.saturating_mul(1000);
            now_ms = self.now_ms().clamp(second_ms, second_ms.saturating_add(999));
            self.offset_ms.store(now_ms.saturating_sub(self.clock.now_ms()), Ordering::Relaxed);
            tracing::debug!(
                script = call.script.name(),
                now_ms,
                "the store's clock says otherwise; naming windows anew"
            );
        }
        Err(Error::new(
            ErrorKind::Clock,
            "the store's clock left the window of the request before it arrived, three times: its windows are shorter than \
             the way to the store, or its clock jumps",
        ))
    }

    /// Sets the clock right where the store decided at a time that was not between the sending of the request and now. Windows
    /// are checked by the scripts; but rates have none, and what is decided without the store goes by this clock alone. `sent_ms`
    /// is by our clock: another answer may have set the offset since.
    fn learn_time(&self, sent_ms: i64, answer: &Answer) {
        let Some(store_us) = answer.decided_us() else { return };
        let (store_ms, offset_ms) = (store_us / 1000, self.offset_ms.load(Ordering::Relaxed));
        let sent_ms = sent_ms.saturating_add(offset_ms);
        let received_ms = self.clock.now_ms().saturating_add(offset_ms);
        let wrong_by_ms = match store_ms {
            early if early < sent_ms => early - sent_ms,
            late if late > received_ms => late - received_ms,
            _ => return,
        };
        self.offset_ms.store(offset_ms.saturating_add(wrong_by_ms), Ordering::Relaxed);
    }

    /// A remembered denial of what this plan asks for.
    pub(crate) fn remembered(&self, plan: &Plan) -> Option<Denial> {
        let denials = self.denials.as_ref()?;
        // Whoever takes what there is may be granted less than was refused.
        if plan.takes_part() {
            return None;
        }
        denials.find(&plan.denial_key(), self.moment(), |place| plan.entries[place].amount)
    }

    /// When a request is sent: by our clock, and by how often denials were forgotten.
    pub(crate) fn sending(&self) -> Sending {
        let generation = self.denials.as_ref().map_or(0, Denials::generation);
        Sending { at: self.moment(), generation }
    }

    /// Remembers a denial that cannot change, of a request that was answered at `now_us` of the store's clock.
    pub(crate) fn remember(&self, plan: &Plan, denial: &Denial, sent: Sending, now_us: i64) {
        if let (Some(denials), Some((place, ends_ms))) = (&self.denials, plan.unliftable(denial)) {
            let ends = sent.at.after(ends_ms.saturating_sub(now_us / 1000 + 1));
            let amount = plan.entries[place].amount;
            denials.remember(plan.denial_key(), denial, (place, amount), ends, sent.generation);
        }
    }

    fn moment(&self) -> Moment {
        Moment { at_ms: self.clock.now_ms(), instant: Instant::now() }
    }

    /// Something was given back: nothing that is remembered need be true any more.
    pub(crate) fn forget_denials(&self) {
        if let Some(denials) = &self.denials {
            denials.clear();
        }
    }

    /// Runs a call that needs no window.
    pub(crate) async fn run_unclocked(&self, call: &ScriptCall) -> Result<Answer> {
        self.send(call, None).await
    }

    /// The way of every call.
    pub(crate) async fn send(&self, call: &ScriptCall, durability: Option<Durability>) -> Result<Answer> {
        if let Some(loss) = &self.loss {
            loss.tick();
        }
        let span = self.span(call);
        let began = metrics::ON.then(Instant::now);
        let answer = match span.is_disabled() {
            true => self.ask(call, durability).await,
            // Boxed, like all that is rare, to keep small what every call carries.
            false => Box::pin(self.ask(call, durability).instrument(span.clone())).await,
        };
        if let Some(began) = began {
            metrics::CALL_SECONDS.time(began.elapsed(), [call.script.name()]);
            metrics::CALLS.count([call.script.name(), &outcome(&answer)]);
        }
        if !span.is_disabled() {
            span.record("outcome", outcome(&answer));
        }
        answer
    }

    async fn ask(&self, call: &ScriptCall, durability: Option<Durability>) -> Result<Answer> {
        let Some(durability) = durability else { return Answer::read(self.store.run(call).await?) };
        let (reply, replicas) = Box::pin(self.store.run_durably(call, durability)).await?;
        Ok(Answer { replicas: Some(replicas), ..Answer::read(reply)? })
    }

    /// A span for one call. Keys name users, so they are in it only where that was asked for.
    fn span(&self, call: &ScriptCall) -> tracing::Span {
        let span = tracing::debug_span!(
            "costguard",
            script = call.script.name(),
            outcome = tracing::field::Empty,
            attempts = tracing::field::Empty,
            key = tracing::field::Empty,
        );
        if self.trace_keys
            && let Some(key) = call.keys.first()
        {
            span.record("key", key.as_str());
        }
        span
    }

    /// Whether this write should look after TTLs: `1` now and then, otherwise empty.
    pub(crate) fn touch(&self) -> bool {
        looks(self.writes.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }
}

impl Answer {
    fn read(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Text(line) => {
                let at = if line.starts_with("REPLAY ") { "REPLAY ".len() } else { 0 };
                Ok(Self { line, at, replayed: at > 0, replicas: None })
            }
            Reply::Error(text) => Err(script_error(&text)),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// The next word, not taken: at first the status.
    pub(crate) fn status(&self) -> &str {
        let rest = self.rest();
        // Words are short: looking at byte after byte beats the search that `split_once` sets up.
        let len = rest.bytes().position(|byte| byte == b' ').unwrap_or(rest.len());
        &rest[..len]
    }

    /// Takes the next word.
    pub(crate) fn word(&mut self) -> Result<&str> {
        let from = self.at;
        let len = self.status().len();
        if len == 0 {
            return Err(unexpected(&self.line));
        }
        self.at = (from + len + 1).min(self.line.len());
        Ok(&self.line[from..from + len])
    }

    /// Takes the next word, an integer.
    pub(crate) fn int(&mut self) -> Result<i64> {
        let int = self.word()?.parse();
        int.map_err(|_| unexpected(&self.line))
    }

    /// Takes the status, which must be this.
    pub(crate) fn expect(&mut self, status: &str) -> Result<()> {
        if self.word()? == status { Ok(()) } else { Err(unexpected(&self.line)) }
    }

    /// Takes `now_s us`: microseconds since the epoch.
    pub(crate) fn now_us(&mut self) -> Result<i64> {
        let (now_s, us) = (self.int()?, self.int()?);
        Ok(now_s.saturating_mul(1_000_000).saturating_add(us))
    }

    /// When it was decided, in microseconds since the epoch, of what says so: a decision, and no repeat of one. Nothing is taken.
    fn decided_us(&self) -> Option<i64> {
        let mut words = self.rest().split(' ');
        let is_new = !self.replayed && matches!(words.next()?, "GRANTED" | "DENIED");
        let (now_s, us) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
        is_new.then(|| now_s.saturating_mul(1_000_000).saturating_add(us))
    }

    /// Takes what follows a mark off the end; `None` when it is not there.
    pub(crate) fn split_off(&mut self, mark: &str) -> Option<String> {
        let at = self.at + self.rest().find(mark)?;
        let end = self.line.split_off(at);
        Some(end[mark.len()..].to_owned())
    }

    /// That all has been taken.
    pub(crate) fn end(&self) -> Result<()> {
        if self.rest().is_empty() { Ok(()) } else { Err(unexpected(&self.line)) }
    }

    /// What has not been taken.
    pub(crate) fn rest(&self) -> &str {
        &self.line[self.at..]
    }

    /// How many words have not been taken.
    pub(crate) fn len(&self) -> usize {
        self.rest().split(' ').filter(|word| !word.is_empty()).count()
    }
}

/// How a call ended, in one word.
fn outcome(answer: &Result<Answer>) -> String {
    match answer {
        Ok(answer) if answer.replayed => "replay".to_owned(),
        Ok(answer) => answer.status().to_ascii_lowercase(),
        Err(err) => err.kind().name().to_owned(),
    }
}

fn looks(write: u32) -> bool {
    write.wrapping_mul(GOLDEN) < TOUCH_SHARE
}

pub(crate) fn unexpected(what: &str) -> Error {
    Error::new(
        ErrorKind::Store,
        format!(
            "the store's answer is not one of the script's: {what}; does another version of the scripts run there?"
        ),
    )
}

/// The error that a script answered, `COSTGUARD_<CODE> text`, or a command in it raised.
fn script_error(text: &str) -> Error {
    let (code, message) = text.split_once(' ').unwrap_or((text, ""));
    let kind = match code {
        "COSTGUARD_CONFLICT" => ErrorKind::Conflict,
        "COSTGUARD_OVERFLOW" => ErrorKind::Overflow,
        "COSTGUARD_CORRUPT" => ErrorKind::Corrupt,
        "COSTGUARD_INVALID" | "COSTGUARD_BELOW_ZERO" => ErrorKind::Invalid,
        "COSTGUARD_UNKNOWN_HOLD" => ErrorKind::UnknownHold,
        "COSTGUARD_EXPIRED" | "COSTGUARD_RELEASED" | "COSTGUARD_SETTLED" => ErrorKind::HoldEnded,
        "WRONGTYPE" => {
            return Error::new(ErrorKind::Corrupt, format!("a key of the operation has another type: {text}"));
        }
        _ => return Error::new(ErrorKind::Store, format!("the script failed: {text}")),
    };
    Error::new(kind, format!("{message}; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest run of writes, each `turns` after the other, that do not look.
    fn longest_blind_run(turns: u32, most: u32) -> u32 {
        let (mut run, mut longest) = (0, 0);
        for turn in 0..most {
            run = if looks(turn.wrapping_mul(turns)) { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        longest
    }

    #[test]
    fn some_write_in_any_64_looks_for_lost_ttls() {
        assert_eq!(longest_blind_run(1, 1_000_000), 54);
        assert!(looks(0), "a process that writes once looks, too");
    }

    #[test]
    fn a_counter_that_is_written_every_nth_time_is_looked_at() {
        for turns in 1..=64 {
            let longest = longest_blind_run(turns, 100_000);
            assert!(longest < 1500, "every {turns}th write: {longest} in a row do not look");
        }
    }
}
