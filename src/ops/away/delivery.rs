//! One thing to deliver, and the task that does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::{Deserialize, Serialize};

use super::queue::Queue;
use super::{Delivering, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Amounts, Meter};
use crate::ops::hold::Hold;
use crate::script::{self, Script};
use crate::store::ScriptCall;

/// The first and the longest pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What was granted or ended without the store. Each happens once however often it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Delivery {
    /// A charge, or an admission with its limits lifted, under its receipt.
    Call(Sent),
    /// The settlement of a hold.
    Settle {
        /// The key of its record.
        hold: String,
        /// The reservation, where the store has not seen it: with its limits lifted.
        reserve: Option<Sent>,
        /// By meter.
        amounts: Vec<(String, i64)>,
        at_ms: Option<i64>,
    },
    /// The release of a hold.
    Release { hold: String, at_ms: Option<i64> },
}

/// A call as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// What happens once under it: a receipt, or a hold's record.
    name: String,
    script: String,
    /// What the arguments are, in the words of the script's contract: another version may have another.
    contract: String,
    keys: Vec<String>,
    args: Vec<String>,
    /// When it was granted, where the store may have it all the same: in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsure_since_ms: Option<i64>,
}

impl Sent {
    pub(crate) fn new(name: String, call: ScriptCall) -> Self {
        let ScriptCall { script, keys, args, .. } = call;
        let (script, contract) = (script.name().to_owned(), contract(script));
        Self { name, script, contract, keys, args, unsure_since_ms: None }
    }

    /// Granted at this time because of `cause`.
    pub(crate) fn granted(self, granted_ms: i64, cause: Option<&Error>) -> Self {
        let unsure_since_ms = cause.filter(|cause| cause.may_have_happened()).map(|_| granted_ms);
        Self { unsure_since_ms, ..self }
    }

    fn call(&self) -> Result<ScriptCall> {
        let script = script::all().iter().find(|script| script.name() == self.script);
        let Some(script) = script.filter(|script| contract(script) == self.contract) else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the script `{}` takes other arguments than when this was granted", self.script),
            ));
        };
        Ok(ScriptCall { script, keys: self.keys.clone(), args: self.args.clone(), idempotent: true })
    }

    async fn run(&self, engine: &Engine) -> Result<()> {
        let age_ms = self.unsure_since_ms.map_or(0, |since_ms| engine.now_ms().saturating_sub(since_ms));
        if u128::try_from(age_ms).is_ok_and(|age_ms| age_ms >= engine.receipt_ttl.as_millis()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the store may have counted it when it was granted, and remembers ids no longer than since then: it is not \
                 counted again (Builder::receipt_ttl)",
            ));
        }
        let answer = engine.run_unclocked(&self.call()?).await?;
        match answer.status() {
            "OK" | "GRANTED" | "HELD" => Ok(()),
            other => Err(Error::new(ErrorKind::Conflict, format!("the store answers {other} to what was granted"))),
        }
    }
}

fn contract(script: &Script) -> String {
    let words = [script.contract().keys, script.contract().args].join("\n");
    crate::ops::plan::short_hex(&sha1_smol::Sha1::from(words))
}

impl Delivery {
    pub(crate) fn settle(hold: &str, reserve: Option<Sent>, amounts: &Amounts, at_ms: Option<i64>) -> Result<Self> {
        let amounts = amounts.meters().map(|meter| Ok((meter.as_str().to_owned(), amounts.of(meter)?)));
        Ok(Self::Settle { hold: hold.to_owned(), reserve, amounts: amounts.collect::<Result<_>>()?, at_ms })
    }

    /// A reservation whose end comes later, by its id: so it has another name than the end, which is the hold's.
    pub(crate) fn reserve(reserve: &Sent) -> Self {
        Self::Call(Sent { name: format!("{} reserve", reserve.name), ..reserve.clone() })
    }

    /// What happens once.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Call(sent) => &sent.name,
            Self::Settle { hold, .. } | Self::Release { hold, .. } => hold,
        }
    }

    /// For logs: without ids.
    pub(super) fn operation(&self) -> &str {
        match self {
            Self::Call(sent) => &sent.script,
            Self::Settle { .. } => "settle",
            Self::Release { .. } => "release",
        }
    }

    /// Whether it says the same as another of its name. What a receipt stands for was compared where it was granted.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Call(_), Self::Call(_)) | (Self::Release { .. }, Self::Release { .. }) => true,
            (Self::Settle { amounts, .. }, Self::Settle { amounts: others, .. }) => amounts == others,
            _ => false,
        }
    }

    async fn deliver(&self, engine: &Arc<Engine>) -> Result<()> {
        match self {
            Self::Call(sent) => sent.run(engine).await,
            Self::Settle { hold, reserve, amounts, at_ms } => {
                if let Some(reserve) = reserve {
                    reserve.run(engine).await?;
                }
                let amounts =
                    amounts.iter().fold(Amounts::new(), |all, (meter, amount)| all.with(Meter::of_key(meter), *amount));
                // Whatever comes of it, this queue tries again and no drop.
                Hold::of_key(engine, hold, *at_ms).await?.settle_now(&amounts, None).await.map(|_| ())
            }
            Self::Release { hold, at_ms } => {
                let released = match Hold::of_key(engine, hold, *at_ms).await {
                    Ok(mut hold) => hold.release_now().await,
                    Err(err) => Err(err),
                };
                match released {
                    // The store never made it, or has forgotten it.
                    Err(err) if err.kind() == ErrorKind::UnknownHold => Ok(()),
                    released => released,
                }
            }
        }
    }

    /// Counts it in the process as well.
    pub(super) async fn count(&self, local: &Arc<Engine>) -> Result<()> {
        match self {
            Self::Settle { reserve: None, .. } | Self::Release { .. } => Ok(()),
            granted => granted.deliver(local).await,
        }
    }
}

/// Delivers one after the other, each until the store has it, until nothing is left or the guard is gone.
pub(super) async fn deliver_all(engine: Weak<Engine>, queue: Arc<Queue>, delivering: Delivering) {
    let mut pauses = pauses();
    while let Some(entry) = queue.first() {
        let delivered = match engine.upgrade() {
            Some(engine) => entry.delivery.deliver(&engine).await,
            None => return,
        };
        match delivered {
            Ok(()) => queue.done(&entry, None),
            Err(err) if is_final(&err) => queue.done(&entry, Some(&err)),
            Err(err) => {
                tracing::debug!(error = %err, waiting = queue.depth(), "what was granted cannot be delivered yet");
                let synced = Arc::clone(&queue);
                let _ = tokio::task::spawn_blocking(move || synced.sync()).await;
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                continue;
            }
        }
        pauses = self::pauses();
    }
    drop(delivering);
    // What came between the last look and that line found the delivery still under way.
    if let (Some(engine), true) = (engine.upgrade(), queue.depth() > 0)
        && let Some(away) = &engine.away
    {
        away.deliver(&engine);
    }
}

/// Whether sending it again would only be refused again.
fn is_final(err: &Error) -> bool {
    use ErrorKind::{Conflict, Corrupt, HoldEnded, Invalid, Overflow, UnknownHold};
    matches!(err.kind(), Conflict | Corrupt | HoldEnded | Invalid | Overflow | UnknownHold)
}

/// Between attempts to bring something to a store that is away.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
