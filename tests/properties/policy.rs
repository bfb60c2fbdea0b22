//! The counters and policies of the property tests, told twice: as the model knows them, and as the crate does.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeZone, Timelike, Utc};
use chrono_tz::Europe::Berlin;
use costguard::{Counter, Limit, Meter, Policy, Window};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Minute,
    Hour,
    BerlinDay,
    Month,
    Every90s,
    Total,
}

/// A counter: scope kind, meter, window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CounterKind(pub(crate) &'static str, pub(crate) &'static str, pub(crate) WindowKind);

/// A counter and its limit.
pub(crate) type LimitKind = (CounterKind, Option<i64>);

const USER_DAY: CounterKind = CounterKind("user", "cost", WindowKind::BerlinDay);
const ALL_TOTAL: CounterKind = CounterKind("global", "cost", WindowKind::Total);
const ORG_MONTH: CounterKind = CounterKind("org", "tokens", WindowKind::Month);

pub(crate) const POLICIES: [&[LimitKind]; 6] = [
    &[(CounterKind("user", "cost", WindowKind::Minute), Some(1500)), (USER_DAY, Some(6000)), (ALL_TOTAL, Some(30_000))],
    &[(CounterKind("user", "cost", WindowKind::Hour), Some(3000)), (ORG_MONTH, Some(10_000))],
    &[
        (CounterKind("user", "requests", WindowKind::Every90s), Some(3)),
        (CounterKind("user", "requests", WindowKind::Total), None),
    ],
    &[
        (CounterKind("user", "cost", WindowKind::Month), Some(i64::MAX)),
        (CounterKind("org", "cost", WindowKind::Total), None),
    ],
    // A counter of the first policy under another limit, and one counter alone.
    &[(USER_DAY, Some(4000))],
    &[(CounterKind("user", "tokens", WindowKind::Every90s), Some(9_007_199_254_740_993))],
];

/// Counters that are corrected by hand.
pub(crate) const ADJUSTED: [CounterKind; 3] = [USER_DAY, ALL_TOTAL, ORG_MONTH];

impl WindowKind {
    fn window(self) -> Window {
        match self {
            Self::Minute => Window::minute(),
            Self::Hour => Window::hour(),
            Self::BerlinDay => Window::day().in_zone(Berlin),
            Self::Month => Window::month(),
            Self::Every90s => Window::every(90).unwrap(),
            Self::Total => Window::total(),
        }
    }

    /// The name of the run that holds a time, and its end; `None` for a total.
    pub(crate) fn run(self, time_ms: i64) -> (String, Option<i64>) {
        let time = DateTime::<Utc>::from_timestamp_millis(time_ms).unwrap();
        match self {
            Self::Minute => (format!("{}", time_ms / 60_000), Some((time_ms / 60_000 + 1) * 60_000)),
            Self::Hour => {
                let name = format!("{}T{:02}", time.date_naive(), time.hour());
                (name, Some((time_ms / 3_600_000 + 1) * 3_600_000))
            }
            Self::BerlinDay => {
                let date = time.with_timezone(&Berlin).date_naive();
                let next = Berlin.from_local_datetime(&(date + Days::new(1)).and_time(NaiveTime::MIN)).unwrap();
                (format!("{date}@Europe/Berlin"), Some(next.timestamp_millis()))
            }
            Self::Month => {
                let next = if time.month() == 12 { (time.year() + 1, 1) } else { (time.year(), time.month() + 1) };
                let next = NaiveDate::from_ymd_opt(next.0, next.1, 1).unwrap().and_time(NaiveTime::MIN).and_utc();
                (format!("{}-{:02}", time.year(), time.month()), Some(next.timestamp_millis()))
            }
            Self::Every90s => {
                let start_ms = time_ms / 90_000 * 90_000;
                (format!("{}+90", start_ms / 1000), Some(start_ms + 90_000))
            }
            Self::Total => ("total".to_owned(), None),
        }
    }
}

impl CounterKind {
    pub(crate) fn counter(self) -> Counter {
        Counter::new(self.0, Meter::new(self.1).unwrap(), self.2.window())
    }

    /// Whom it counts against, for a user.
    pub(crate) fn scope(self, user: u8) -> String {
        match self.0 {
            "user" => format!("user:u{user}"),
            "org" => "org:acme".to_owned(),
            other => other.to_owned(),
        }
    }
}

pub(crate) fn policy(limits: &[LimitKind]) -> Policy {
    let limits = limits.iter().map(|(counter, limit)| match limit {
        Some(limit) => Limit::new(counter.counter(), *limit),
        None => Limit::count_only(counter.counter()),
    });
    Policy::new(limits).unwrap()
}
