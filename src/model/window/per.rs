//! How often a counter starts over, and its text form.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 60 * MINUTE_S;
const DAY_S: u32 = 24 * HOUR_S;

/// How often a counter starts over.
///
/// As text: `minute`, `hour`, `day`, `week`, `month`, `quarter`, `year`, `total`, or the length of a fixed window in
/// whole seconds, minutes, hours or days: `90s`, `15m`, `36h`, `7d`. `day` follows the calendar of a time zone; `1d`
/// is 86,400 seconds counted from the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Per {
    /// Each minute. All zones share it: offsets from UTC are whole minutes (in Liberia since 1972).
    Minute,
    /// Each hour of the local clock. The hour that repeats when clocks go back is two windows.
    Hour,
    /// Each local calendar day: 23 or 25 hours long where clocks change.
    Day,
    /// Each ISO 8601 week, from Monday.
    Week,
    /// Each calendar month.
    Month,
    /// Each quarter: January, April, July and October start one.
    Quarter,
    /// Each calendar year.
    Year,
    /// Windows of a fixed length, aligned to the Unix epoch.
    Every(Interval),
    /// Never: one counter for all time.
    Total,
    /// GCRA: so many per period, evenly, and a burst at once. It never starts over, it leaks.
    Rate(Period),
    /// The period before each moment, by two fixed windows: the older one counts by the share of it that is still inside.
    Sliding(Period),
    /// The period before each moment, exactly: the time of each request is kept. For limits up to 1,000.
    Log(Period),
    /// As long as a hold is open: what is open at once.
    Open,
}

impl Per {
    /// Whether the window depends on a time zone.
    #[must_use]
    pub const fn has_zone(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Week | Self::Month | Self::Quarter | Self::Year)
    }

    /// What stands before its name in a sentence: `per day`, but `total` and `rate/60s`.
    pub(crate) const fn preposition(self) -> &'static str {
        if matches!(self, Self::Total | Self::Open) || self.rate_period().is_some() { "" } else { "per " }
    }

    /// The period of a rate; `None` for what is kept in a counter.
    #[must_use]
    pub const fn rate_period(self) -> Option<Period> {
        match self {
            Self::Rate(period) | Self::Sliding(period) | Self::Log(period) => Some(period),
            _ => None,
        }
    }
}

impl FromStr for Per {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other text, naming what is accepted.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            "total" => Self::Total,
            "open" => Self::Open,
            _ if text.contains('/') => parse_rate(text).ok_or_else(|| unknown(text))?,
            _ => Self::Every(parse_interval(text).ok_or_else(|| unknown(text))?),
        })
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
            Self::Total => "total",
            Self::Open => "open",
            Self::Every(interval) => return interval.fmt(f),
            Self::Rate(period) => return write!(f, "rate/{period}"),
            Self::Sliding(period) => return write!(f, "sliding/{period}"),
            Self::Log(period) => return write!(f, "log/{period}"),
        })
    }
}

/// The length of a fixed window: 1 second to 366 days, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    seconds: NonZeroU32,
}

impl Interval {
    /// The longest interval, in seconds: 366 days.
    pub const MAX_SECS: u32 = 366 * DAY_S;

    /// An interval of `seconds`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for 0 and for more than 366 days.
    pub fn from_secs(seconds: u32) -> Result<Self> {
        Self::checked(seconds).ok_or_else(|| {
            Error::invalid(format!(
                "a window of {seconds} seconds is not possible: give 1 to {} seconds (366 days)",
                Self::MAX_SECS
            ))
        })
    }

    /// The length in seconds.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.seconds.get()
    }

    fn checked(seconds: u32) -> Option<Self> {
        NonZeroU32::new(seconds).filter(|seconds| seconds.get() <= Self::MAX_SECS).map(|seconds| Self { seconds })
    }
}

impl fmt::Display for Interval {
    /// In the largest unit that divides the length: 900 seconds are `15m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.secs();
        let (unit_s, unit) = [(DAY_S, 'd'), (HOUR_S, 'h'), (MINUTE_S, 'm')]
            .into_iter()
            .find(|(unit_s, _)| seconds.is_multiple_of(*unit_s))
            .unwrap_or((1, 's'));
        write!(f, "{}{unit}", seconds / unit_s)
    }
}

/// How far back a rate looks: 1 millisecond to 366 days, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    ms: NonZeroU64,
}

impl Period {
    /// A period of this length.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is no whole number of milliseconds, or out of bounds.
    pub fn new(length: Duration) -> Result<Self> {
        let whole = length.subsec_nanos().is_multiple_of(1_000_000);
        u64::try_from(length.as_millis()).ok().filter(|_| whole).and_then(Self::from_ms).ok_or_else(|| {
            Error::invalid(format!(
                "a rate per {length:?} is not possible: give 1 ms to 366 days, in whole milliseconds"
            ))
        })
    }

    fn from_ms(ms: u64) -> Option<Self> {
        let most_ms = u64::from(Interval::MAX_SECS) * 1000;
        NonZeroU64::new(ms).filter(|ms| ms.get() <= most_ms).map(|ms| Self { ms })
    }

    /// The length in microseconds, in which rates are kept.
    #[must_use]
    pub const fn us(self) -> i64 {
        // At most 366 days.
        self.ms.get().cast_signed() * 1000
    }
}

impl fmt::Display for Period {
    /// In the largest unit that divides the length: 90,000 ms are `90s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.ms.get();
        match u32::try_from(ms / 1000).ok().filter(|_| ms.is_multiple_of(1000)).and_then(Interval::checked) {
            Some(interval) => interval.fmt(f),
            None => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for Period {
    type Err = Error;

    /// `minute`, `hour`, `day`, `second`, or a length: `500ms`, `10s`, `15m`, `36h`, `7d`.
    fn from_str(text: &str) -> Result<Self> {
        let named = match text {
            "second" => Some("1s"),
            "minute" => Some("1m"),
            "hour" => Some("1h"),
            "day" => Some("1d"),
            _ => None,
        };
        let ms = match text.strip_suffix("ms") {
            Some(ms) => ms.parse().ok().filter(|_| ms.bytes().all(|byte| byte.is_ascii_digit())),
            None => parse_interval(named.unwrap_or(text)).map(|interval| u64::from(interval.secs()) * 1000),
        };
        ms.and_then(Self::from_ms).ok_or_else(|| {
            Error::invalid(format!(
                "{text:?} is not the period of a rate: use second, minute, hour, day, or a length from 1ms to 366d, such as \
                 500ms, 10s or 15m"
            ))
        })
    }
}

fn parse_rate(text: &str) -> Option<Per> {
    let (kind, period) = text.split_once('/')?;
    let period = period.parse().ok()?;
    match kind {
        "rate" => Some(Per::Rate(period)),
        "sliding" => Some(Per::Sliding(period)),
        "log" => Some(Per::Log(period)),
        _ => None,
    }
}

fn parse_interval(text: &str) -> Option<Interval> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "s" => 1,
        "m" => MINUTE_S,
        "h" => HOUR_S,
        "d" => DAY_S,
        _ => return None,
    };
    Interval::checked(count.parse::<u32>().ok()?.checked_mul(unit_s)?)
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!(
        "{text:?} is not a window: use minute, hour, day, week, month, quarter, year, total, or a length in whole \
         seconds, minutes, hours or days from 1s to 366d, such as 90s, 15m, 36h or 7d"
    ))
}
