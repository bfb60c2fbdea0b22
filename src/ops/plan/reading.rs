//! Replies to requests under a policy, read back into its order.

use std::time::Duration;

use super::{Plan, is_rate};
use crate::error::Result;
use crate::metrics;
use crate::model::{Bucket, Decided, Denial, Fraction, Limit, LimitState, Per, Span};
use crate::ops::engine::{Answer, unexpected};
use crate::ops::rulings::Rulings;

/// A wait that never ends.
const NEVER_US: i64 = i64::MAX;

/// What the amounts of a request are to the counters in its reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// They were not taken.
    Nothing,
    /// They were added to `used` after it was read.
    Before,
    /// They are part of `used`.
    Included,
    /// They were added to `held` after it was read.
    Held,
}

impl Plan {
    /// Reads `part shadowed (state)... used... [held...]`, the end of the reply to a request that was granted. The amounts were
    /// added to what it says: to what is held, or to what is used. Also gives what a partial amount came to.
    pub(crate) fn granted(
        &mut self,
        answer: &mut Answer,
        now_us: i64,
        held: bool,
    ) -> Result<(Vec<LimitState>, Option<i64>)> {
        let rulings = Rulings::split_off(answer)?;
        let part = answer.word()?.parse().ok();
        if let Some(part) = part {
            self.fill_parts(part);
        }
        let shadowed = self.places(answer.word()?)?;
        let taken = if held { Taken::Held } else { Taken::Before };
        let mut states = self.states(answer, now_us, &rulings, taken, &shadowed)?;
        answer.end()?;
        for place in shadowed {
            states[place].shadowed = true;
        }
        metrics::DECISIONS.count(["granted"]);
        Ok((states, part))
    }

    /// Reads `[now_s us (state)...] used...`, the reply to a charge.
    pub(crate) fn charged(&self, answer: &mut Answer) -> Result<Vec<LimitState>> {
        let has_states = self.rates().next().is_some() || self.warned().next().is_some();
        let now_us = if has_states { answer.now_us()? } else { 0 };
        let states = self.states(answer, now_us, &Rulings::default(), Taken::Included, &[])?;
        answer.end()?;
        Ok(states)
    }

    /// Reads `(state)... used... [held...]`, which says of each limit where it stood, or of charges where it stands.
    fn states(
        &self,
        answer: &mut Answer,
        now_us: i64,
        rulings: &Rulings,
        taken: Taken,
        left_alone: &[usize],
    ) -> Result<Vec<LimitState>> {
        let mut states: Vec<_> = (0..self.entries.len()).map(|place| self.state(place, 0, 0)).collect();
        for (place, limit, entry) in self.rates() {
            rulings.apply(self, place, &mut states[place]);
            let was_taken = taken != Taken::Nothing && !left_alone.contains(&place);
            let amount = if was_taken { entry.amount } else { 0 };
            read_rate(&mut states[place], limit, answer, now_us, amount)?;
        }
        for (place, limit, _) in self.warned() {
            let most = limit.limit().unwrap_or_default();
            // What was refused has reached nothing.
            let reached = answer.word()?.parse::<i64>().ok().filter(|_| taken != Taken::Nothing);
            let share = |share: &&Fraction| Some(share.of(most)) == reached;
            states[place].crossed = limit.warnings().iter().rev().find(share).copied();
        }
        for (place, _, _) in self.counters() {
            states[place].used = answer.int()?;
        }
        let has_held = taken != Taken::Included && !answer.rest().is_empty();
        for (place, _, entry) in self.counters() {
            let state = &mut states[place];
            state.held = if has_held { answer.int()? } else { 0 };
            rulings.apply(self, place, state);
            let grown = match taken {
                Taken::Nothing | Taken::Included => continue,
                Taken::Before => &mut state.used,
                Taken::Held => &mut state.held,
            };
            *grown = grown.checked_add(entry.amount).ok_or_else(|| unexpected("an amount beyond 64 bits"))?;
        }
        Ok(states)
    }

    /// Places in the policy from positions in the scripts' order: `1,3`, or `-` for none.
    fn places(&self, positions: &str) -> Result<Vec<usize>> {
        let order: Vec<_> = self.counters().chain(self.rates()).map(|(place, _, _)| place).collect();
        let of = |position: &str| position.parse::<usize>().ok().and_then(|at| order.get(at.checked_sub(1)?).copied());
        let positions = positions.split(',').filter(|position| !matches!(*position, "-" | "0"));
        positions.map(|position| of(position).ok_or_else(|| unexpected(position))).collect()
    }

    /// The place in the scripts' order, from 1.
    pub(crate) fn position(&self, place: usize) -> usize {
        self.counters().chain(self.rates()).position(|(at, _, _)| at == place).unwrap_or_default() + 1
    }

    /// Reads `now_s us refusing (state)... used... [held... frees_ms...]`, the reply to a request that was refused.
    /// Also gives the store's time, in microseconds.
    pub(crate) fn denial(&self, answer: &mut Answer) -> Result<(Denial, i64)> {
        let rulings = Rulings::split_off(answer)?;
        answer.expect("DENIED")?;
        let now_us = answer.now_us()?;
        let refusing = answer.word()?.to_owned();
        let mut refused_by = self.places(&refusing)?;
        let rate_words = answer.rest().to_owned();
        let mut limits = self.states(answer, now_us, &rulings, Taken::Nothing, &[])?;
        let mut frees_ms = vec![-1; limits.len()];
        for (place, _, _) in self.counters() {
            frees_ms[place] = if answer.rest().is_empty() { -1 } else { answer.int()? };
        }

        let mut binding: Option<(i64, usize)> = None;
        for place in refused_by.clone() {
            let wait_us = self.wait_us(place, &limits[place], now_us, frees_ms[place], &rate_words)?;
            let relief_us = rulings.relief_us(self, place, self.entries[place].amount, now_us);
            let wait_us = relief_us.map_or(wait_us, |relief_us| wait_us.min(relief_us));
            if binding.is_none_or(|(longest_us, _)| wait_us > longest_us) {
                binding = Some((wait_us, place));
            }
        }
        for (scope, until_ms) in rulings.blocks {
            let wait_us = until_ms.saturating_mul(1000).saturating_sub(now_us);
            if binding.is_none_or(|(longest_us, _)| wait_us > longest_us) {
                binding = Some((wait_us, limits.len()));
            }
            refused_by.push(limits.len());
            limits.push(LimitState::block(scope, (now_us / 1000, until_ms)));
        }
        let (wait_us, place) = binding.ok_or_else(|| unexpected(&refusing))?;
        metrics::DECISIONS.count(["denied"]);
        if metrics::ON {
            refused_by.iter().for_each(|place| metrics::DENIALS.count([&limits[*place].name()]));
        }
        let retry_after = (wait_us < NEVER_US).then(|| Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)));
        Ok((
            Denial {
                limit: limits[place].clone(),
                retry_after,
                limits,
                refused_by,
                remembered: false,
                decided: Decided::ByStore,
            },
            now_us,
        ))
    }

    /// How long until a limit that refuses can have room; [`NEVER_US`] for never.
    fn wait_us(&self, place: usize, state: &LimitState, now_us: i64, frees_ms: i64, words: &str) -> Result<i64> {
        let (limit, entry) = (&self.limits()[place], &self.entries[place]);
        // A part was refused because there is nothing: one is enough.
        let amount = if entry.part.is_some() { 1 } else { entry.amount };
        if is_rate(limit) {
            let mut words = words.split(' ');
            for (at, limit, _) in self.rates() {
                if at == place {
                    return rate_wait_us(limit, state, &mut words, now_us, amount.max(1));
                }
                let _ = words.nth(width(limit) - 1);
            }
        }
        // A request above the whole limit stays refused in every window.
        let most = state.limit.unwrap_or(i64::MAX).saturating_add(limit.allowed_overdraft());
        let reset_ms = state.span_ms.1;
        let free_ms = match frees_ms {
            _ if amount > most => Span::NEVER_MS,
            frees_ms if frees_ms > 0 => reset_ms.min(frees_ms),
            _ => reset_ms,
        };
        Ok(if free_ms == Span::NEVER_MS { NEVER_US } else { free_ms.saturating_mul(1000).saturating_sub(now_us) })
    }
}

/// How many words a rate says.
fn width(limit: &Limit) -> usize {
    if matches!(limit.counter().window().per(), Per::Rate(_)) { 1 } else { 2 }
}

/// In place of a bucket's burst, how full the bucket was when something was taken that is given back: no more than what is left
/// of that by now is.
pub(crate) fn filled(taken: &LimitState) -> Option<String> {
    taken.parts.map(|parts| format!("={parts}"))
}

/// Reads what a rate says into its state; `amount` is what was taken from it after that.
pub(crate) fn read_rate(
    state: &mut LimitState,
    limit: &Limit,
    answer: &mut Answer,
    now_us: i64,
    amount: i64,
) -> Result<()> {
    let us = if width(limit) == 1 {
        let bucket = bucket(limit, state, answer.word()?, now_us)?.with(amount);
        (state.used, state.parts) = (bucket.used(), Some(bucket.parts()));
        bucket.empty_us()
    } else {
        let (used, us) = (answer.int()?, answer.int()?);
        state.used = used.saturating_add(amount);
        us
    };
    let now_ms = now_us / 1000;
    state.span_ms = (now_ms, now_ms + (us.max(0) + 999) / 1000);
    Ok(())
}

fn rate_wait_us<'a>(
    limit: &Limit,
    state: &LimitState,
    words: &mut impl Iterator<Item = &'a str>,
    now_us: i64,
    amount: i64,
) -> Result<i64> {
    let word = words.next().unwrap_or_default();
    if width(limit) == 1 {
        return Ok(bucket(limit, state, word, now_us)?.wait_us(amount).unwrap_or(NEVER_US));
    }
    let us = words.next().unwrap_or_default();
    let us = us.parse::<i64>().map_err(|_| unexpected(us))?;
    Ok(if us < 0 { NEVER_US } else { us })
}

fn bucket(limit: &Limit, state: &LimitState, word: &str, now_us: i64) -> Result<Bucket> {
    let span_us = limit.counter().window().per().rate_period().map_or(1, |period| period.us());
    let most = state.limit.unwrap_or(1);
    let burst = if most == 0 { 0 } else { limit.own_burst().unwrap_or(most) };
    Bucket::read(word, now_us, most, burst, span_us).ok_or_else(|| unexpected(word))
}
