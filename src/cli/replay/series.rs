//! How a counter moved over time, kept small enough to draw.

use std::collections::BTreeMap;

use costguard::model::{Per, Span};
use costguard::{LimitState, Scope};

use super::tally::{Outcome, level};

/// The most spans of time kept of one series: more than a plot has pixels across.
const MAX_POINTS: usize = 1500;

/// A counter's level at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) at_ms: i64,
    pub(crate) used: i64,
    pub(crate) window_end_ms: i64,
}

impl Level {
    fn of(state: &LimitState, at_ms: i64) -> Self {
        let window_end_ms = if state.window.per() == Per::Open { Span::NEVER_MS } else { state.span_ms.1 };
        Self { at_ms, used: level(state), window_end_ms }
    }

    /// Where a rate stands at a later time, for it runs dry evenly: a bucket exactly, the sliding windows about so.
    fn leaked(&self, at_ms: i64) -> i64 {
        let (left_ms, all_ms) = (self.window_end_ms - at_ms, self.window_end_ms - self.at_ms);
        if left_ms <= 0 || all_ms <= 0 {
            return 0;
        }
        let used = i128::from(self.used) * i128::from(left_ms) / i128::from(all_ms);
        i64::try_from(used).unwrap_or(self.used)
    }
}

/// Points in time, thinned as they grow: each span of `bucket_ms` keeps its highest and its last.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    bucket_ms: i64,
    points: BTreeMap<i64, [Level; 2]>,
}

impl Default for Series {
    fn default() -> Self {
        Self { bucket_ms: 1, points: BTreeMap::new() }
    }
}

impl Series {
    pub(crate) fn add(&mut self, level: Level) {
        self.keep(level);
        while self.points.len() > MAX_POINTS {
            self.bucket_ms *= 2;
            for level in std::mem::take(&mut self.points).into_values().flatten() {
                self.keep(level);
            }
        }
    }

    fn keep(&mut self, level: Level) {
        let [highest, last] = self.points.entry(level.at_ms.div_euclid(self.bucket_ms)).or_insert([level; 2]);
        if level.used >= highest.used {
            *highest = level;
        }
        if level.at_ms >= last.at_ms {
            *last = level;
        }
    }

    pub(crate) fn levels(&self) -> impl Iterator<Item = &Level> {
        self.points.values().flat_map(|[highest, last]| [Some(highest), (highest != last).then_some(last)]).flatten()
    }

    pub(crate) fn peak(&self) -> i64 {
        self.levels().map(|level| level.used).max().unwrap_or(0)
    }

    /// The series as a line: level until the next call, and back to nothing where a window ends; of a rate falling until then.
    pub(crate) fn steps(&self, until_ms: i64, is_rate: bool) -> Vec<(i64, i64)> {
        let at = |level: &Level, at_ms| if is_rate { level.leaked(at_ms) } else { level.used };
        let mut line = Vec::new();
        let mut before: Option<&Level> = None;
        for level in self.levels() {
            match before {
                Some(last) if level.at_ms < last.window_end_ms => line.push((level.at_ms, at(last, level.at_ms))),
                Some(last) => {
                    let end_ms = last.window_end_ms;
                    line.extend([(end_ms, at(last, end_ms)), (end_ms, 0), (level.at_ms, 0)]);
                }
                None => line.push((level.at_ms, 0)),
            }
            line.push((level.at_ms, level.used));
            before = Some(level);
        }
        if let Some(last) = before {
            let end_ms = last.window_end_ms.min(until_ms);
            line.push((end_ms, at(last, end_ms)));
        }
        line
    }
}

/// What a plot shows of one limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitSeries {
    /// Usage by scope.
    pub(crate) scopes: BTreeMap<Scope, Series>,
    /// The calls this limit refused, or would have.
    pub(crate) denials: Series,
    /// Where a share of the limit was crossed.
    pub(crate) warnings: Series,
    /// Calls that are open just now, by scope.
    open: BTreeMap<Scope, i64>,
}

impl LimitSeries {
    /// By scope, the fullest first.
    pub(crate) fn fullest(&self) -> Vec<(&Scope, &Series)> {
        let mut scopes: Vec<_> = self.scopes.iter().collect();
        scopes.sort_by_key(|(_, series)| std::cmp::Reverse(series.peak()));
        scopes
    }
}

/// Takes in one call.
pub(crate) fn record(series: &mut [LimitSeries], call: &Outcome<'_>) {
    for (place, (series, state)) in series.iter_mut().zip(call.limits).enumerate() {
        let level = Level::of(state, call.at_ms);
        let refuses = call.refused_by.contains(&place) || state.shadowed;
        if refuses {
            series.denials.add(level);
        }
        if (refuses || !call.granted) && state.window.per().rate_period().is_some() {
            // Nothing was taken, and where there is no room a rate says when there will be, not when it is empty.
            continue;
        }
        if state.crossed.is_some() {
            series.warnings.add(level);
        }
        if state.window.per() == Per::Open {
            series.open.insert(state.scope.clone(), level.used);
        }
        series.scopes.entry(state.scope.clone()).or_default().add(level);
    }
}

/// Takes in where the limits stand after a call was settled that counted as so many. What it cost counts in the windows in
/// which it began, also when they have ended since.
pub(crate) fn record_settled(series: &mut [LimitSeries], limits: &[(usize, LimitState)], end_ms: i64, calls: i64) {
    for (place, state) in limits {
        let Some(series) = series.get_mut(*place) else { continue };
        let mut level = Level::of(state, end_ms);
        level.at_ms = end_ms.min(level.window_end_ms - 1);
        if state.window.per() == Per::Open {
            let open = series.open.entry(state.scope.clone()).or_default();
            *open = (*open - calls).max(0);
            level.used = *open;
        }
        series.scopes.entry(state.scope.clone()).or_default().add(level);
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, MAX_POINTS, Series};

    fn level(at_ms: i64, used: i64, window_end_ms: i64) -> Level {
        Level { at_ms, used, window_end_ms }
    }

    #[test]
    fn a_line_stays_level_between_calls_and_falls_where_a_window_ends() {
        let mut series = Series::default();
        for point in [level(10, 5, 100), level(40, 8, 100), level(130, 2, 200)] {
            series.add(point);
        }
        let expected = [(10, 0), (10, 5), (40, 5), (40, 8), (100, 8), (100, 0), (130, 0), (130, 2), (150, 2)];
        assert_eq!(series.steps(150, false), expected);
        let expected = [(10, 0), (10, 5), (40, 3), (40, 8), (100, 0), (100, 0), (130, 0), (130, 2), (150, 1)];
        assert_eq!(series.steps(150, true), expected, "a rate runs dry");
    }

    #[test]
    fn a_long_series_stays_small_and_keeps_its_peak() {
        let mut series = Series::default();
        for at in 0..100_000 {
            series.add(level(at * 7, if at == 54_321 { 1_000_000 } else { at }, i64::MAX));
        }
        assert!(series.levels().count() <= 2 * MAX_POINTS);
        assert_eq!(series.peak(), 1_000_000);
    }
}
