//! When a limit bound: the calls that it refused, or in shadow mode would have.

use std::collections::{BTreeMap, HashMap};

use costguard::Scope;

use crate::cli::time::HOUR_MS;

/// How many of the hours in which a limit refused most are told.
const TOP_HOURS: usize = 3;

/// The calls that one limit refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    /// How many.
    pub(crate) calls: u64,
    /// Those among them that no other limit would have refused for longer.
    pub(crate) longest_calls: u64,
    pub(crate) first_ms: Option<i64>,
    pub(crate) last_ms: Option<i64>,
    /// The longest time over which it refused every call of one scope, in one window.
    pub(crate) stretch: Option<Stretch>,
    /// The stretches that no call has ended yet, and when the limit starts over by itself.
    open: HashMap<Scope, (Stretch, i64)>,
    /// Refused calls by the hour of UTC.
    hours: BTreeMap<i64, u64>,
}

/// Calls of one scope, one after the other, that one limit refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) scope: Scope,
    /// The first of them and the last.
    pub(crate) span_ms: (i64, i64),
    pub(crate) calls: u64,
}

impl Stretch {
    /// By time first, for that is what users waited.
    fn length(&self) -> (i64, u64) {
        (self.span_ms.1 - self.span_ms.0, self.calls)
    }
}

impl Binding {
    /// Takes in a call of `scope` that the limit refused, which starts over at `reset_ms`; `longest` when none refused it for
    /// longer.
    pub(crate) fn refused(&mut self, scope: &Scope, at_ms: i64, reset_ms: i64, longest: bool) {
        self.calls += 1;
        self.longest_calls += u64::from(longest);
        self.first_ms = Some(self.first_ms.map_or(at_ms, |first_ms| first_ms.min(at_ms)));
        self.last_ms = self.last_ms.max(Some(at_ms));
        *self.hours.entry(at_ms.div_euclid(HOUR_MS)).or_default() += 1;
        let new = || Stretch { scope: scope.clone(), span_ms: (at_ms, at_ms), calls: 0 };
        let (stretch, ends_ms) = self.open.entry(scope.clone()).or_insert_with(|| (new(), reset_ms));
        if at_ms >= *ends_ms {
            *stretch = new();
        }
        *ends_ms = reset_ms;
        stretch.span_ms = (stretch.span_ms.0.min(at_ms), stretch.span_ms.1.max(at_ms));
        stretch.calls += 1;
        if self.stretch.as_ref().is_none_or(|longest| stretch.length() > longest.length()) {
            self.stretch = Some(stretch.clone());
        }
    }

    /// Takes in a call of `scope` that the limit did not refuse.
    pub(crate) fn passed(&mut self, scope: &Scope) {
        self.open.remove(scope);
    }

    /// The hours in which it refused most, with how many: most first, then the earlier.
    pub(crate) fn busiest_hours(&self) -> Vec<(i64, u64)> {
        let mut hours: Vec<_> = self.hours.iter().map(|(hour, calls)| (hour * HOUR_MS, *calls)).collect();
        hours.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        hours.truncate(TOP_HOURS);
        hours
    }
}

#[cfg(test)]
mod tests {
    use costguard::Subject;

    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;

    #[test]
    fn the_longest_stretch_is_of_one_scope_and_ends_with_a_call_that_passes() {
        let scope = |id| Subject::new("r").scope("user", id).scope_of("user").unwrap();
        let (alice, bob) = (scope("alice"), scope("bob"));
        let mut binding = Binding::default();
        for at_ms in [0, 10, 20] {
            binding.refused(&alice, at_ms, DAY_MS, true);
            binding.passed(&bob);
        }
        binding.passed(&alice);
        for at_ms in [HOUR_MS, HOUR_MS + 15] {
            binding.refused(&alice, at_ms, DAY_MS, false);
            binding.refused(&bob, at_ms, DAY_MS, false);
        }
        binding.refused(&bob, HOUR_MS + 20, DAY_MS, false);
        let stretch = binding.stretch.clone().unwrap();
        // As long as alice's, which came first, and as many calls.
        assert_eq!((stretch.scope, stretch.span_ms, stretch.calls), (alice, (0, 20), 3));
        assert_eq!((binding.calls, binding.longest_calls), (8, 3));
        assert_eq!((binding.first_ms, binding.last_ms), (Some(0), Some(HOUR_MS + 20)));
        assert_eq!(binding.busiest_hours(), [(HOUR_MS, 5), (0, 3)]);
    }
    #[test]
    fn no_stretch_goes_on_in_the_next_window() {
        let alice = Subject::new("r").scope("user", "alice").scope_of("user").unwrap();
        let mut binding = Binding::default();
        for at_ms in [DAY_MS - 5, DAY_MS - 1] {
            binding.refused(&alice, at_ms, DAY_MS, true);
        }
        for at_ms in [DAY_MS, DAY_MS + 3] {
            binding.refused(&alice, at_ms, 2 * DAY_MS, true);
        }
        assert_eq!(binding.stretch.unwrap().span_ms, (DAY_MS - 5, DAY_MS - 1));
    }
}
