//! How often a counter starts over, and its text form.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

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
}

impl Per {
    /// Whether the window depends on a time zone.
    #[must_use]
    pub const fn has_zone(self) -> bool {
        !matches!(self, Self::Minute | Self::Every(_) | Self::Total)
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
            Self::Every(interval) => return interval.fmt(f),
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
