//! Header fields that say where the limits stand: those of draft-ietf-httpapi-ratelimit-headers-11, and those of OpenAI.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::wait::{Told, until_reset, until_room};
use crate::model::{LimitState, Meter, whole_seconds};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// OpenAI's own clients try a 429 again unless it says `false`.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The meters that OpenAI has fields for, and their names: limit, remaining, reset.
/// Source: <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>
const OPENAI: [(Meter, [HeaderName; 3]); 2] = [
    (
        Meter::REQUESTS,
        [
            HeaderName::from_static("x-ratelimit-limit-requests"),
            HeaderName::from_static("x-ratelimit-remaining-requests"),
            HeaderName::from_static("x-ratelimit-reset-requests"),
        ],
    ),
    (
        Meter::TOKENS,
        [
            HeaderName::from_static("x-ratelimit-limit-tokens"),
            HeaderName::from_static("x-ratelimit-remaining-tokens"),
            HeaderName::from_static("x-ratelimit-reset-tokens"),
        ],
    ),
];

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_INTEGER: i64 = 999_999_999_999_999;

/// What must not stand in the string of a structured field (RFC 9651, section 3.3.3), and the escape itself.
const NOT_IN_STRING: &AsciiSet = &CONTROLS.add(b'"').add(b'\\');

/// Which limits are shown, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    pub(super) openai: bool,
    pub(super) hidden: Arc<[String]>,
}

/// Fields of one answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// Lists, which several layers add to.
    added: Vec<(HeaderName, HeaderValue)>,
    /// Single values, which the outermost layer sets.
    set: Vec<(HeaderName, HeaderValue)>,
}

/// A limit that is shown: how far it goes, what is left, and how long until there is more.
struct Shown<'a> {
    state: &'a LimitState,
    limit: i64,
    remaining: i64,
    reset: Option<Duration>,
}

impl Style {
    pub(super) fn shows(&self, state: &LimitState) -> bool {
        !self.hidden.iter().any(|kind| kind == state.scope.kind())
    }

    /// The fields of a granted request.
    pub(super) fn granted(&self, limits: &[LimitState], now_ms: i64) -> Fields {
        self.fields(limits.iter().filter_map(|state| shown(state, now_ms)))
    }

    /// The fields of a denied request. A limit that refuses has more when its client is told to come back, be it before its
    /// window ends.
    pub(super) fn denied(&self, told: &Told<'_>, now_ms: i64) -> Fields {
        let mut fields = self.fields(told.denial.limits.iter().enumerate().filter_map(|(place, state)| {
            let mut shown = shown(state, now_ms)?;
            shown.reset = told.wait_for(place).or(shown.reset);
            Some(shown)
        }));
        if self.openai && told.retry_after.is_none() {
            fields.set.push((SHOULD_RETRY, HeaderValue::from_static("false")));
        }
        fields
    }

    fn fields<'a>(&self, limits: impl Iterator<Item = Shown<'a>>) -> Fields {
        let limits: Vec<_> = limits.filter(|limit| self.shows(limit.state)).collect();
        let mut fields = Fields::default();
        if !limits.is_empty() {
            fields.add(RATE_LIMIT_POLICY, limits.iter().map(policy_item));
            fields.add(RATE_LIMIT, limits.iter().map(limit_item));
        }
        if self.openai {
            for (meter, names) in OPENAI {
                let tightest =
                    limits.iter().filter(|limit| limit.state.meter == meter).min_by_key(|limit| limit.remaining);
                tightest.into_iter().for_each(|limit| fields.set_openai(names.clone(), limit));
            }
        }
        fields
    }
}

impl Fields {
    pub(super) fn write(self, headers: &mut HeaderMap) {
        for (name, value) in self.added {
            headers.append(name, value);
        }
        for (name, value) in self.set {
            headers.insert(name, value);
        }
    }

    fn add(&mut self, name: HeaderName, items: impl Iterator<Item = String>) {
        let list = items.collect::<Vec<_>>().join(", ");
        // The items are ASCII.
        self.added.extend(HeaderValue::try_from(list).ok().map(|value| (name, value)));
    }

    fn set_openai(&mut self, [limit, remaining, reset]: [HeaderName; 3], shown: &Shown<'_>) {
        self.set.push((limit, shown.limit.into()));
        self.set.push((remaining, shown.remaining.into()));
        let text = shown.reset.map(go_duration).and_then(|text| HeaderValue::try_from(text).ok());
        self.set.extend(text.map(|text| (reset, text)));
    }
}

fn shown(state: &LimitState, now_ms: i64) -> Option<Shown<'_>> {
    let (limit, remaining) = (state.limit?, state.remaining()?);
    // With nothing left it matters when there is one, and not when there is all.
    let one = || until_room(state, one_shown(&state.meter), now_ms).filter(|_| quota(&state.meter, remaining) == 0);
    let reset = one().or_else(|| until_reset(state, now_ms));
    Some(Shown { state, limit, remaining, reset })
}

/// What the limit is called in fields and problems: `user-cost-day`.
pub(super) fn policy_name(state: &LimitState) -> String {
    utf8_percent_encode(&state.name(), NOT_IN_STRING).to_string()
}

/// `"user-requests-minute";q=60;w=60`
fn policy_item(shown: &Shown<'_>) -> String {
    let Shown { state, limit, .. } = shown;
    let mut item = format!("\"{}\";q={}", policy_name(state), quota(&state.meter, *limit));
    if state.meter == Meter::COST {
        item.push_str(";qu=\"micro-usd\"");
    } else if state.meter == Meter::CONCURRENCY {
        // Registered by the draft.
        item.push_str(";qu=\"concurrent-requests\"");
    } else if state.meter != Meter::REQUESTS {
        let unit = utf8_percent_encode(state.meter.as_str(), NOT_IN_STRING);
        item.extend([";qu=\"", &unit.to_string(), "\""]);
    }
    let window_ms = match state.window.per().rate_period() {
        Some(period) => Some(period.us() / 1000),
        None => state.resets_at().map(|_| state.span_ms.1.saturating_sub(state.span_ms.0)),
    };
    if let Some(window_ms) = window_ms {
        item.extend([";w=", &(window_ms / 1000).max(1).to_string()]);
    }
    item
}

/// `"user-requests-minute";r=59;t=12`
fn limit_item(shown: &Shown<'_>) -> String {
    let Shown { state, remaining, reset, .. } = shown;
    let mut item = format!("\"{}\";r={}", policy_name(state), quota(&state.meter, *remaining));
    if let Some(reset) = reset {
        item.extend([";t=", &whole_seconds(*reset).to_string()]);
    }
    item
}

/// An amount in the unit of the fields: millionths of a dollar for money.
fn quota(meter: &Meter, amount: i64) -> i64 {
    (amount / one_shown(meter)).min(MAX_INTEGER)
}

/// What is one in the fields.
fn one_shown(meter: &Meter) -> i64 {
    if *meter == Meter::COST { 1000 } else { 1 }
}

/// As Go prints durations, and LLM clients read them: `120ms`, `1s`, `6m0s`, `1h0m0.5s`. Rounded up to milliseconds.
fn go_duration(duration: Duration) -> String {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    match (seconds, ms) {
        (0, 0) => return "0s".to_owned(),
        (0, ms) => return format!("{ms}ms"),
        _ => {}
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let prefix = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    };
    let fraction = format!(".{ms:03}");
    format!("{prefix}{}{}s", seconds % 60, fraction.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (120_000, "120ms"),
            (999_001, "1s"),
            (1_000_000, "1s"),
            (1_000_333, "1.001s"),
            (1_500_000, "1.5s"),
            (59_999_000, "59.999s"),
            (59_999_001, "1m0s"),
            (90_951_000, "1m30.951s"),
            (360_000_000, "6m0s"),
            (3_600_010_000, "1h0m0.01s"),
            (86_400_000_000, "24h0m0s"),
        ];
        for (us, text) in cases {
            assert_eq!(go_duration(Duration::from_micros(us)), text);
        }
    }

    #[test]
    fn seconds_are_never_less_than_the_time() {
        for (us, seconds) in [(0, 0), (1, 1), (333, 1), (1_000_000, 1), (1_000_001, 2), (u64::MAX, 18_446_744_073_710)]
        {
            assert_eq!(whole_seconds(Duration::from_micros(us)), seconds);
        }
    }

    #[test]
    fn integers_of_a_field_end_at_fifteen_digits() {
        assert_eq!(quota(&Meter::COST, 1_999), 1);
        assert_eq!(quota(&Meter::COST, i64::MAX), MAX_INTEGER);
        assert_eq!(quota(&Meter::TOKENS, i64::MAX), MAX_INTEGER);
    }
}
