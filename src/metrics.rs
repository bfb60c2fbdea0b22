//! What a process counts about costguard, through the [`metrics`](https://docs.rs/metrics) facade: every metric, its unit and
//! its labels.
//!
//! Install any recorder, for one `metrics-exporter-prometheus`, and call `describe` once so that it knows units and texts.
//! Labels have few values: scripts, outcomes, and limits by scope kind, meter and window, never an id of a scope.
//! `docs/metrics.md` is this list. Without the feature `metrics` nothing is counted, and nothing is paid for it.

/// Whether anything is counted: what is only needed for a label need not be made otherwise.
pub(crate) const ON: bool = cfg!(feature = "metrics");

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, as Prometheus likes it: with the unit, and `_total` when it only grows.
    pub name: &'static str,
    /// How it changes.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub text: &'static str,
}

/// How a metric changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution of durations, in seconds.
    Seconds,
}

/// Declares each metric as a constant, and the list of them all.
macro_rules! metrics {
    ($($const:ident: $kind:ident $name:literal [$($label:literal),*] $text:literal;)*) => {
        $(pub(crate) const $const: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], text: $text };)*

        /// Every metric.
        pub const ALL: &[Metric] = &[$($const),*];
    };
}

metrics! {
    CALLS: Counter "costguard_calls_total" ["script", "outcome"]
        "Script calls by how they ended: the status of the reply in small letters, `replay`, or the kind of the error";
    CALL_SECONDS: Seconds "costguard_call_duration_seconds" ["script"]
        "How long script calls took, with all attempts";
    RETRIES: Counter "costguard_retries_total" ["script"]
        "Calls that were sent again after a failure";
    SCRIPT_LOADS: Counter "costguard_script_loads_total" ["script"]
        "Scripts that a server did not have (NOSCRIPT) and was sent";
    DECISIONS: Counter "costguard_decisions_total" ["decision"]
        "Decisions of `admit` and `reserve`: `granted`, `denied`, or `remembered`, a denial out of the process's memory";
    DENIALS: Counter "costguard_denials_total" ["limit"]
        "Limits that refused a request; a request may be refused by several";
    CROSSED: Counter "costguard_crossed_total" ["limit", "share"]
        "Limits that are nearly full: thresholds of `warn_at` that were reached";
    SHADOWED: Counter "costguard_shadowed_total" ["limit"]
        "Requests that a limit in shadow mode would have refused";
    CONNECTIONS: Gauge "costguard_connections" []
        "Connections that are open";
    CONNECTS: Counter "costguard_connects_total" ["outcome"]
        "Attempts to connect: `opened`, `reopened` after one was lost, or `failed`";
    IN_FLIGHT: Gauge "costguard_calls_in_flight" []
        "Calls that wait for a server's answer";
    BREAKERS_OPEN: Gauge "costguard_breakers_open" []
        "Circuit breakers that are open: one for a server, one for each slot of a cluster that is called in vain";
    BREAKER_OPENED: Counter "costguard_breaker_opened_total" []
        "Circuit breakers that opened";
    UNDELIVERED: Gauge "costguard_undelivered" []
        "What was granted while the store was away and waits to be delivered";
    REJECTED: Counter "costguard_rejected_total" []
        "What was granted while the store was away and the store then refused for good";
    DATA_LOSSES: Counter "costguard_data_losses_total" []
        "Times that a store was found to have lost its data";
}

/// Tells the recorder what each metric is, and begins those without labels at 0: Prometheus sees no increase in a series whose
/// first value is 1. Call it once, after the recorder is installed.
#[cfg(feature = "metrics")]
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, ::metrics::Unit::Count, metric.text),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, ::metrics::Unit::Count, metric.text),
            Kind::Seconds => ::metrics::describe_histogram!(metric.name, ::metrics::Unit::Seconds, metric.text),
        }
        match metric.kind {
            Kind::Counter if metric.labels.is_empty() => ::metrics::counter!(metric.name).increment(0),
            Kind::Gauge if metric.labels.is_empty() => ::metrics::gauge!(metric.name).increment(0.0),
            _ => {}
        }
    }
}

#[cfg(feature = "metrics")]
impl Metric {
    /// One more.
    pub(crate) fn count<const N: usize>(&self, values: [&str; N]) {
        ::metrics::counter!(self.name, self.with(values)).increment(1);
    }

    pub(crate) fn rise(&self) {
        ::metrics::gauge!(self.name).increment(1.0);
    }

    pub(crate) fn fall(&self) {
        ::metrics::gauge!(self.name).decrement(1.0);
    }

    pub(crate) fn time<const N: usize>(&self, took: std::time::Duration, values: [&str; N]) {
        ::metrics::histogram!(self.name, self.with(values)).record(took);
    }

    fn with<const N: usize>(&self, values: [&str; N]) -> Vec<::metrics::Label> {
        let labels = self.labels.iter().zip(values);
        labels.map(|(label, value)| ::metrics::Label::new(*label, value.to_owned())).collect()
    }
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self)]
impl Metric {
    pub(crate) fn count<const N: usize>(&self, _: [&str; N]) {}

    pub(crate) fn rise(&self) {}

    pub(crate) fn fall(&self) {}

    pub(crate) fn time<const N: usize>(&self, _: std::time::Duration, _: [&str; N]) {}
}
