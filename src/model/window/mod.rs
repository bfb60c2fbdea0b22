//! Windows: when a counter starts over, and what its window is called.

mod calendar;
mod per;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;

use crate::error::{Error, Result};

pub use per::{Interval, Per, Period};

/// The first instant that has no window: the year 10000, whose names would no longer sort.
const END_OF_NAMES_MS: i64 = 253_402_300_800_000;

/// Windows whose current span a thread remembers: more than policies in use have different ones.
const MOST_NAMED: usize = 64;

thread_local! {
    /// The spans this thread named last, one a window.
    static NAMED: RefCell<Vec<(Window, Span)>> = const { RefCell::new(Vec::new()) };
}

/// When a counter starts over, and on whose calendar.
///
/// Two windows that mean the same compare equal: all names of UTC are one zone, and windows that do not depend on a
/// zone ([`Per::Minute`], [`Per::Every`], [`Per::Total`]) drop it. Other aliases (`Asia/Calcutta` and `Asia/Kolkata`)
/// stay apart, because the IANA database moves names between them: choose one name and keep it.
///
/// The IANA rules are those compiled into `chrono-tz`, which end with the year 2099; after it a zone keeps its last
/// offset.
///
/// ```
/// use costguard::model::Window;
///
/// let day: Window = "day@Europe/Berlin".parse()?;
/// let span = day.span_at(1_774_746_000_000)?; // 2026-03-29T01:00:00Z, the hour in which clocks go forward
/// assert_eq!(span.name, "2026-03-29@Europe/Berlin");
/// assert_eq!(span.end_ms - span.start_ms, 23 * 60 * 60 * 1000);
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    per: Per,
    zone: Tz,
}

/// One run of a window: `start_ms <= t < end_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The last part of a counter's key. A stored format: see [`Window::span_at`].
    pub name: String,
    /// The first instant, in milliseconds since the Unix epoch. Negative for the window that holds the epoch in a zone
    /// or week that began before it.
    pub start_ms: i64,
    /// The first instant after the window, in milliseconds since the Unix epoch; [`Span::NEVER_MS`] for a total.
    pub end_ms: i64,
}

impl Span {
    /// The end of a window that never ends: 2^53 - 1, the largest integer that a Lua number and its neighbours hold
    /// exactly.
    pub const NEVER_MS: i64 = 9_007_199_254_740_991;

    /// Whether the instant lies in the window.
    #[must_use]
    pub const fn contains(&self, time_ms: i64) -> bool {
        self.start_ms <= time_ms && time_ms < self.end_ms
    }

    /// Whether the window never ends.
    #[must_use]
    pub const fn is_endless(&self) -> bool {
        self.end_ms == Self::NEVER_MS
    }
}

impl Window {
    /// A window in UTC.
    #[must_use]
    pub const fn new(per: Per) -> Self {
        Self { per, zone: Tz::UTC }
    }

    /// Each minute.
    #[must_use]
    pub const fn minute() -> Self {
        Self::new(Per::Minute)
    }

    /// Each hour, in UTC unless [`in_zone`](Self::in_zone) follows.
    #[must_use]
    pub const fn hour() -> Self {
        Self::new(Per::Hour)
    }

    /// Each calendar day, in UTC unless [`in_zone`](Self::in_zone) follows.
    #[must_use]
    pub const fn day() -> Self {
        Self::new(Per::Day)
    }

    /// Each ISO week, in UTC unless [`in_zone`](Self::in_zone) follows.
    #[must_use]
    pub const fn week() -> Self {
        Self::new(Per::Week)
    }

    /// Each calendar month, in UTC unless [`in_zone`](Self::in_zone) follows.
    #[must_use]
    pub const fn month() -> Self {
        Self::new(Per::Month)
    }

    /// Each quarter, in UTC unless [`in_zone`](Self::in_zone) follows.
    #[must_use]
    pub const fn quarter() -> Self {
        Self::new(Per::Quarter)
    }

    /// Each calendar year, in UTC unless [`in_zone`](Self::in_zone) follows.
    #[must_use]
    pub const fn year() -> Self {
        Self::new(Per::Year)
    }

    /// One window for all time.
    #[must_use]
    pub const fn total() -> Self {
        Self::new(Per::Total)
    }

    /// Windows of `seconds` each, aligned to the Unix epoch.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for 0 and for more than 366 days.
    pub fn every(seconds: u32) -> Result<Self> {
        Ok(Self::new(Per::Every(Interval::from_secs(seconds)?)))
    }

    /// GCRA: so many per `period`, evenly, and a burst at once; see [`Per::Rate`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for less than 1 ms, parts of one, and more than 366 days.
    pub fn rate(period: Duration) -> Result<Self> {
        Ok(Self::new(Per::Rate(Period::new(period)?)))
    }

    /// The `period` before each moment, by two fixed windows; see [`Per::Sliding`].
    ///
    /// # Errors
    /// As [`rate`](Self::rate).
    pub fn sliding(period: Duration) -> Result<Self> {
        Ok(Self::new(Per::Sliding(Period::new(period)?)))
    }

    /// The `period` before each moment, exactly, for limits up to 1,000; see [`Per::Log`].
    ///
    /// # Errors
    /// As [`rate`](Self::rate).
    pub fn log(period: Duration) -> Result<Self> {
        Ok(Self::new(Per::Log(Period::new(period)?)))
    }

    /// As long as a hold is open: of [`Meter::CONCURRENCY`](crate::Meter::CONCURRENCY), which has no other window.
    #[must_use]
    pub const fn open() -> Self {
        Self::new(Per::Open)
    }

    /// The same window on the calendar of `zone`. Windows that do not depend on a zone stay as they are.
    #[must_use]
    pub const fn in_zone(self, zone: Tz) -> Self {
        let zone = if self.per.has_zone() && !is_utc(zone) { zone } else { Tz::UTC };
        Self { per: self.per, zone }
    }

    /// The same window on the calendar of the zone with this IANA name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that the IANA database does not have.
    pub fn in_zone_named(self, name: &str) -> Result<Self> {
        let zone = name.parse().map_err(|_| {
            Error::invalid(format!(
                "{name:?} is not a time zone: use an IANA name such as Europe/Berlin, America/New_York or UTC"
            ))
        })?;
        Ok(self.in_zone(zone))
    }

    /// How often the window starts over.
    #[must_use]
    pub const fn per(&self) -> Per {
        self.per
    }

    /// The zone whose calendar counts; UTC where the window depends on none.
    #[must_use]
    pub const fn zone(&self) -> Tz {
        self.zone
    }

    /// The run of the window that holds `now_ms` (milliseconds since the Unix epoch).
    ///
    /// | window | name |
    /// |---|---|
    /// | minute | minutes since the epoch: `29486880` |
    /// | hour | `2026-02-01T13` |
    /// | day | `2026-02-01` |
    /// | week | `2026-W05`, in the ISO week's own year |
    /// | month, quarter, year | `2026-02`, `2026-Q1`, `2026` |
    /// | every N seconds | start second and length: `1700000010+90` |
    /// | total | `total` |
    /// | rates | `rate/60s`, `sliding/500ms`, `log/1m`: in the largest unit that divides the period |
    /// | open | `open` |
    ///
    /// A zone other than UTC follows: `2026-02-01@Europe/Berlin`. Its hours carry the offset from UTC, because the
    /// hour in which clocks go back comes twice: `2026-10-25T02+0200@Europe/Berlin`, then `…T02+0100@…`.
    ///
    /// Windows follow each other without gap or overlap. Where midnight does not exist, a day starts at the first
    /// instant that does; where it comes twice, at the first of the two.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for times outside the years 1970 to 9999.
    pub fn span_at(&self, now_ms: i64) -> Result<Span> {
        calendar::span_at(*self, now_ms)
    }

    /// Reads [`span_at`](Self::span_at), remembered from the last request: naming a calendar window anew is an eighth of what
    /// encoding a request costs, and nearly all requests fall into the window of the one before.
    pub(crate) fn with_span_at<R>(self, now_ms: i64, read: impl FnOnce(&Span) -> R) -> Result<R> {
        NAMED.with_borrow_mut(|named| {
            if let Some((_, span)) = named.iter_mut().find(|(window, _)| *window == self) {
                if !span.contains(now_ms) || !(0..END_OF_NAMES_MS).contains(&now_ms) {
                    *span = self.span_at(now_ms)?;
                }
                return Ok(read(span));
            }
            if named.len() >= MOST_NAMED {
                named.clear();
            }
            let span = self.span_at(now_ms)?;
            let result = read(&span);
            named.push((self, span));
            Ok(result)
        })
    }
}

impl FromStr for Window {
    type Err = Error;

    /// Reads what `Display` writes: [`Per`], and `@` and a zone where it is not UTC, as in `day@Europe/Berlin`.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('@') {
            None => Ok(Self::new(text.parse()?)),
            Some((per, zone)) => Self::new(per.parse()?).in_zone_named(zone),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.per.fmt(f)?;
        if self.zone == Tz::UTC { Ok(()) } else { write!(f, "@{}", self.zone.name()) }
    }
}

/// The IANA database has eighteen names for UTC; `chrono-tz` compares them as different zones.
const fn is_utc(zone: Tz) -> bool {
    matches!(
        zone,
        Tz::UTC
            | Tz::UCT
            | Tz::Universal
            | Tz::Zulu
            | Tz::GMT
            | Tz::GMT0
            | Tz::GMTMinus0
            | Tz::GMTPlus0
            | Tz::Greenwich
            | Tz::Etc__UTC
            | Tz::Etc__UCT
            | Tz::Etc__Universal
            | Tz::Etc__Zulu
            | Tz::Etc__GMT
            | Tz::Etc__GMT0
            | Tz::Etc__GMTMinus0
            | Tz::Etc__GMTPlus0
            | Tz::Etc__Greenwich
    )
}
