//! How a counter moved over time, kept small enough to draw.

use std::collections::BTreeMap;

use costguard::{LimitState, Scope};

use super::tally::Outcome;

/// The most points kept of one series: more than a plot has pixels across.
const MAX_POINTS: usize = 1500;

/// A counter's level at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) at_ms: i64,
    pub(crate) used: i64,
    pub(crate) window_end_ms: i64,
}

/// Points in time, thinned as they grow: each span of `bucket_ms` keeps its highest.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    bucket_ms: i64,
    points: BTreeMap<i64, Level>,
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
            for level in std::mem::take(&mut self.points).into_values() {
                self.keep(level);
            }
        }
    }

    fn keep(&mut self, level: Level) {
        let kept = self.points.entry(level.at_ms.div_euclid(self.bucket_ms)).or_insert(level);
        if level.used >= kept.used {
            *kept = level;
        }
    }

    pub(crate) fn levels(&self) -> impl Iterator<Item = &Level> {
        self.points.values()
    }

    pub(crate) fn peak(&self) -> i64 {
        self.points.values().map(|level| level.used).max().unwrap_or(0)
    }

    /// The series as a line: level until the next call, and back to nothing where a window ends.
    pub(crate) fn steps(&self, until_ms: i64) -> Vec<(i64, i64)> {
        let mut line = Vec::new();
        let mut before: Option<&Level> = None;
        for level in self.levels() {
            match before {
                Some(last) if level.at_ms < last.window_end_ms => line.push((level.at_ms, last.used)),
                Some(last) => {
                    line.extend([(last.window_end_ms, last.used), (last.window_end_ms, 0), (level.at_ms, 0)]);
                }
                None => line.push((level.at_ms, 0)),
            }
            line.push((level.at_ms, level.used));
            before = Some(level);
        }
        if let Some(last) = before {
            line.push((last.window_end_ms.min(until_ms), last.used));
        }
        line
    }
}

/// What a plot shows of one limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitSeries {
    /// Usage by scope.
    pub(crate) scopes: BTreeMap<Scope, Series>,
    /// The calls this limit refused.
    pub(crate) denials: Series,
}

/// Takes in one call.
pub(crate) fn record(series: &mut [LimitSeries], call: &Outcome<'_>) {
    for (place, (series, state)) in series.iter_mut().zip(call.limits).enumerate() {
        let level = Level { at_ms: call.at_ms, used: state.used, window_end_ms: state.span_ms.1 };
        if call.refused_by.contains(&place) {
            series.denials.add(level);
        }
        series.scopes.entry(state.scope.clone()).or_default().add(level);
    }
}

/// Takes in where the limits stand after a call was settled. What it cost counts in the windows in which it began, also
/// when they have ended since.
pub(crate) fn record_settled(series: &mut [LimitSeries], limits: &[LimitState], end_ms: i64) {
    for (series, state) in series.iter_mut().zip(limits) {
        let window_end_ms = state.span_ms.1;
        let level = Level { at_ms: end_ms.min(window_end_ms - 1), used: state.used, window_end_ms };
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
        assert_eq!(series.steps(150), expected);
    }

    #[test]
    fn a_long_series_stays_small_and_keeps_its_peak() {
        let mut series = Series::default();
        for at in 0..100_000 {
            series.add(level(at * 7, if at == 54_321 { 1_000_000 } else { at }, i64::MAX));
        }
        assert!(series.levels().count() <= MAX_POINTS);
        assert_eq!(series.peak(), 1_000_000);
    }
}
