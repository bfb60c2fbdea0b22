//! Counters of one calendar window each, as the everyday services keep them. Twin of `lua/window_add.lua`,
//! `lua/window_read.lua` and `lua/window_start.lua`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::engine::{Answer, Engine};
use super::keep::MOST_TTL;
use super::time::{injected_ms, second_text, time_text};
use crate::error::{Error, Result};
use crate::model::{Span, Window};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// How counters of one window are kept.
#[derive(Clone, Debug)]
pub(crate) struct Counters<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) window: Window,
    /// From the first amount on; `None` until the window ends.
    pub(crate) ttl: Option<Duration>,
    pub(crate) at: Option<DateTime<Utc>>,
}

/// Where counters stand, by the store's clock.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    pub(crate) granted: bool,
    pub(crate) used: i64,
    /// The second counter, where one was asked about.
    pub(crate) spent: i64,
    pub(crate) now_us: i64,
    pub(crate) span: Span,
}

impl Stand {
    /// How long until the window ends.
    pub(crate) fn resets_in(&self) -> Duration {
        let left_us = self.span.end_ms.saturating_mul(1000).saturating_sub(self.now_us);
        Duration::from_micros(u64::try_from(left_us).unwrap_or(0))
    }

    /// When the window ends.
    pub(crate) fn resets_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.span.end_ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl Counters<'_> {
    /// Adds to the counter of a key that is named by its window, and gives what it holds.
    pub(crate) async fn add(&self, amount: i64, key: impl Fn(&Span) -> String) -> Result<i64> {
        let amount = amount_text("amount", amount)?;
        let args = [amount, self.ttl_text()?];
        let (_, mut answer) = self.run(Op::WindowAdd, false, &args, &[], |span| vec![key(span)]).await?;
        answer.expect("OK")?;
        answer.now_us()?;
        answer.int()
    }

    /// What the counter holds; changes nothing.
    pub(crate) async fn read(&self, key: impl Fn(&Span) -> String) -> Result<i64> {
        let (_, mut answer) = self.run(Op::WindowRead, true, &[], &[], |span| vec![key(span)]).await?;
        answer.expect("OK")?;
        answer.now_us()?;
        answer.int()
    }

    /// Counts one on the first key if that keeps to `limit` and the second, if any, is below `cap`.
    pub(crate) async fn start(
        &self,
        limit: i64,
        cap: Option<i64>,
        keys: impl Fn(&Span) -> Vec<String>,
    ) -> Result<Stand> {
        let args = [amount_text("limit", limit)?, self.ttl_text()?];
        let cap = cap.map(|cap| amount_text("cap", cap)).transpose()?;
        let (span, mut answer) = self.run(Op::WindowStart, false, &args, cap.as_slice(), keys).await?;
        let granted = answer.status() == "GRANTED";
        if !granted && answer.status() != "DENIED" {
            answer.expect("GRANTED")?;
        }
        answer.word()?;
        let now_us = answer.now_us()?;
        let used = answer.int()?;
        let spent = if cap.is_some() { answer.int()? } else { 0 };
        Ok(Stand { granted, used, spent, now_us, span })
    }

    /// Runs a script on the keys of the window that the store's clock is in. `more` follows the injected time.
    async fn run(
        &self,
        op: Op,
        idempotent: bool,
        args: &[String],
        more: &[String],
        keys: impl Fn(&Span) -> Vec<String>,
    ) -> Result<(Span, Answer)> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let (span, answer) = self
            .engine
            .run(at_ms, |now_ms| {
                let span = self.window.span_at(now_ms)?;
                let mut all = vec![second_text(span.start_ms), second_text(span.end_ms)];
                all.extend_from_slice(args);
                all.push(self.at.map(|_| time_text(now_ms)).unwrap_or_default());
                all.extend_from_slice(more);
                let call = ScriptCall { script: script::of(op), keys: keys(&span), args: all, idempotent };
                Ok((span, call))
            })
            .await?;
        Ok((span, answer))
    }

    fn ttl_text(&self) -> Result<String> {
        match self.ttl {
            None => Ok(String::new()),
            Some(ttl) if (Duration::from_secs(1)..=MOST_TTL).contains(&ttl) => Ok(ttl.as_millis().to_string()),
            Some(_) => Err(Error::invalid("the TTL of a counter is at least a second and at most 366 days")),
        }
    }
}

fn amount_text(what: &str, amount: i64) -> Result<String> {
    if amount < 0 {
        return Err(Error::invalid(format!("the {what} is {amount}; give zero or more")));
    }
    Ok(amount.to_string())
}
