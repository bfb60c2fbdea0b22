//! What overrides and blocks did to a request, and which roots are known to have some. Twin of `lua/lib/ruled.lua`.

use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::engine::{Answer, unexpected};
use super::plan::Plan;
use crate::error::Result;
use crate::model::{Counter, LimitState, Scope};

/// How many roots a guard remembers to have rules. Beyond that it forgets them, and is told again.
const MOST_ROOTS: usize = 10_000;

/// An override without an end lasts 400 days: nobody is to wait for that.
const SOONEST_NEVER_US: i64 = 366 * 86_400_000_000;

/// The roots that have overrides or blocks as far as this guard knows: requests under them say which rules concern them.
#[derive(Debug, Default)]
pub(crate) struct RuledRoots {
    any: AtomicBool,
    roots: RwLock<HashSet<String>>,
}

impl RuledRoots {
    /// Whether there are rules under a root, by the key that says so in the store.
    pub(crate) fn are_under(&self, root: &str) -> bool {
        self.any.load(Ordering::Relaxed) && self.roots.read().is_ok_and(|roots| roots.contains(root))
    }

    /// The store said that there are.
    pub(crate) fn learn(&self, root: &str) {
        if let Ok(mut roots) = self.roots.write() {
            if roots.len() >= MOST_ROOTS {
                roots.clear();
            }
            roots.insert(root.to_owned());
            self.any.store(true, Ordering::Relaxed);
        }
    }
}

/// The rule that overrides a limit: scope, meter and window, one name for all its windows.
pub(crate) fn rule_name(scope: &Scope, counter: &Counter) -> String {
    format!("{scope} {} {}", counter.meter(), counter.window())
}

/// The end of a reply: ` | POSITION LIMIT UNTIL_MS...` for overrides, ` ! SCOPE UNTIL_MS...` for blocks.
#[derive(Debug, Default)]
pub(crate) struct Rulings {
    overrides: Vec<Override>,
    pub(crate) blocks: Vec<(Scope, i64)>,
}

/// Another limit at this place in the scripts' order.
#[derive(Clone, Copy, Debug)]
struct Override {
    position: usize,
    limit: i64,
    until_ms: i64,
}

impl Rulings {
    /// Takes them off the end of a reply.
    pub(crate) fn split_off(answer: &mut Answer) -> Result<Self> {
        let mut rulings = Self::default();
        if let Some(blocks) = answer.split_off(" !") {
            for pair in blocks.split_whitespace().collect::<Vec<_>>().chunks(2) {
                let [scope, until_ms] = pair else { return Err(unexpected(&blocks)) };
                let until_ms = until_ms.parse().map_err(|_| unexpected(&blocks))?;
                rulings.blocks.push((Scope::of_key(scope), until_ms));
            }
        }
        if let Some(overrides) = answer.split_off(" |") {
            for words in overrides.split_whitespace().collect::<Vec<_>>().chunks(3) {
                let [position, limit, until_ms] = words else { return Err(unexpected(&overrides)) };
                let int = |word: &str| word.parse().map_err(|_| unexpected(&overrides));
                let position = position.parse().map_err(|_| unexpected(&overrides))?;
                rulings.overrides.push(Override { position, limit: int(limit)?, until_ms: int(until_ms)? });
            }
        }
        Ok(rulings)
    }

    /// Sets the limit of a state to what it is overridden with.
    pub(crate) fn apply(&self, plan: &Plan, place: usize, state: &mut LimitState) {
        if let Some(Override { limit, .. }) = self.of(plan, place) {
            state.limit = Some(limit);
            // A rate of nothing lets nothing through at once either.
            if limit == 0 || plan.limits()[place].own_burst().is_none() {
                state.burst = state.burst.map(|_| limit);
            }
        }
    }

    /// How long until the limit at this place goes further again, far enough for `amount`; `None` where it never did.
    pub(crate) fn relief_us(&self, plan: &Plan, place: usize, amount: i64, now_us: i64) -> Option<i64> {
        let Override { limit, until_ms, .. } = self.of(plan, place)?;
        let policy = &plan.limits()[place];
        let own = policy.limit().map(|own| own.saturating_add(policy.allowed_overdraft()));
        let goes_further = policy.limit().is_none_or(|own| own > limit) && own.is_none_or(|own| own >= amount);
        let wait_us = until_ms.saturating_mul(1000).saturating_sub(now_us);
        (goes_further && wait_us <= SOONEST_NEVER_US).then_some(wait_us)
    }

    fn of(&self, plan: &Plan, place: usize) -> Option<Override> {
        if self.overrides.is_empty() {
            return None;
        }
        let position = plan.position(place);
        self.overrides.iter().find(|rule| rule.position == position).copied()
    }
}
