//! Where windows start and end: local calendars laid on the one line of instants.
//!
//! A local time is an instant plus the zone's offset at it. All seconds are whole, and named `_local` where they are
//! read off a local clock rather than counted from the epoch.

use chrono::{DateTime, Datelike, Days, NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;

use super::{END_OF_NAMES_MS, Per, Span, Window};
use crate::error::{Error, Result};

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// More than any offset from UTC since 1970 (-12 h to +14 h), and short enough that no zone changes its offset twice
/// within two of them.
const OFFSET_BOUND_S: i64 = 15 * HOUR_S;

pub(super) fn span_at(window: Window, now_ms: i64) -> Result<Span> {
    if !(0..END_OF_NAMES_MS).contains(&now_ms) {
        return Err(out_of_range(now_ms));
    }
    let now_s = now_ms / 1_000;
    let span = match window.per {
        Per::Total => Some(Span { name: "total".to_owned(), start_ms: 0, end_ms: Span::NEVER_MS }),
        // They have no start and no end, and their name says how they forget.
        Per::Rate(_) | Per::Sliding(_) | Per::Log(_) | Per::Open => {
            Some(Span { name: window.per.to_string(), start_ms: 0, end_ms: Span::NEVER_MS })
        }
        Per::Minute => {
            let minute = now_s / 60;
            Some(span(minute.to_string(), minute * 60, minute * 60 + 60))
        }
        Per::Every(interval) => {
            let start_s = now_s - now_s % i64::from(interval.secs());
            let end_s = start_s + i64::from(interval.secs());
            // The length keeps two windows apart that start at the same second.
            Some(span(format!("{start_s}+{}", interval.secs()), start_s, end_s))
        }
        Per::Hour => hour_at(window.zone, now_s),
        Per::Day | Per::Week | Per::Month | Per::Quarter | Per::Year => period_at(window.per, window.zone, now_s),
    };
    span.ok_or_else(|| out_of_range(now_ms))
}

fn out_of_range(now_ms: i64) -> Error {
    Error::invalid(format!(
        "the time {now_ms} ms has no window: give milliseconds since the Unix epoch, from 1970 to the end of 9999"
    ))
}

fn span(name: String, start_s: i64, end_s: i64) -> Span {
    Span { name, start_ms: start_s * 1_000, end_ms: end_s * 1_000 }
}

/// The day, week, month, quarter or year that holds `now_s`. None only where a date leaves chrono's range.
fn period_at(per: Per, zone: Tz, now_s: i64) -> Option<Span> {
    let mut first = first_day(per, local_date(now_s + offset_s(zone, now_s))?)?;
    let mut next = next_first_day(per, first)?;
    let mut end_s = first_instant(zone, midnight_local_s(next));
    // Clocks that go back across midnight show the old date again; it belongs to the window that began already.
    while end_s <= now_s {
        first = next;
        next = next_first_day(per, first)?;
        end_s = first_instant(zone, midnight_local_s(next));
    }
    let start_s = first_instant(zone, midnight_local_s(first));
    Some(span(period_name(per, zone, first), start_s, end_s))
}

fn first_day(per: Per, date: NaiveDate) -> Option<NaiveDate> {
    match per {
        Per::Week => date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into())),
        Per::Month => date.with_day(1),
        Per::Quarter => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1),
        Per::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        _ => Some(date),
    }
}

fn next_first_day(per: Per, first: NaiveDate) -> Option<NaiveDate> {
    let months = match per {
        Per::Week => return first.checked_add_days(Days::new(7)),
        Per::Month => 1,
        Per::Quarter => 3,
        Per::Year => 12,
        _ => return first.succ_opt(),
    };
    match first.month() + months {
        month @ 1..=12 => NaiveDate::from_ymd_opt(first.year(), month, 1),
        month => NaiveDate::from_ymd_opt(first.year() + 1, month - 12, 1),
    }
}

fn period_name(per: Per, zone: Tz, first: NaiveDate) -> String {
    let mut name = name_for(zone);
    match per {
        Per::Week => {
            let week = first.iso_week();
            push_year(&mut name, week.year());
            name.push_str("-W");
            push_digits(&mut name, week.week(), 2);
        }
        Per::Month => push_month(&mut name, first),
        Per::Quarter => {
            push_year(&mut name, first.year());
            name.push_str("-Q");
            push_digits(&mut name, first.month0() / 3 + 1, 1);
        }
        Per::Year => push_year(&mut name, first.year()),
        _ => push_date(&mut name, first),
    }
    push_zone(&mut name, zone);
    name
}

/// The local hour that holds `now_s`, cut short where the clock is changed within it.
fn hour_at(zone: Tz, now_s: i64) -> Option<Span> {
    let offset = offset_s(zone, now_s);
    let start_local_s = (now_s + offset).div_euclid(HOUR_S) * HOUR_S;
    let mut start_s = start_local_s - offset;
    let mut end_s = start_s + HOUR_S;
    if offset_s(zone, start_s) != offset {
        start_s = offset_change(zone, start_s, now_s);
    }
    if offset_s(zone, end_s - 1) != offset {
        end_s = offset_change(zone, now_s, end_s - 1);
    }

    let mut name = name_for(zone);
    push_date(&mut name, local_date(start_local_s)?);
    name.push('T');
    push_digits(&mut name, u32::try_from(start_local_s.rem_euclid(DAY_S) / HOUR_S).ok()?, 2);
    if zone != Tz::UTC {
        push_offset(&mut name, offset);
        push_zone(&mut name, zone);
    }
    Some(span(name, start_s, end_s))
}

/// The first instant at which the zone's clocks show `local_s` or later: the first of two where they show it twice,
/// the end of the gap where they never do.
fn first_instant(zone: Tz, local_s: i64) -> i64 {
    if zone == Tz::UTC {
        return local_s;
    }
    let (before_s, after_s) = (local_s - OFFSET_BOUND_S, local_s + OFFSET_BOUND_S);
    let (offset_before, offset_after) = (offset_s(zone, before_s), offset_s(zone, after_s));
    let instant_s = local_s - offset_before;
    if offset_before == offset_after {
        return instant_s;
    }
    let change_s = offset_change(zone, before_s, after_s);
    if instant_s < change_s { instant_s } else { change_s.max(local_s - offset_after) }
}

/// The instant after `before_s` and up to `after_s` at which the offset becomes that of `after_s`.
fn offset_change(zone: Tz, mut before_s: i64, mut after_s: i64) -> i64 {
    let offset_after = offset_s(zone, after_s);
    while after_s - before_s > 1 {
        let middle_s = before_s + (after_s - before_s) / 2;
        if offset_s(zone, middle_s) == offset_after {
            after_s = middle_s;
        } else {
            before_s = middle_s;
        }
    }
    after_s
}

/// How far the zone's clocks are ahead of UTC, in seconds.
fn offset_s(zone: Tz, instant_s: i64) -> i64 {
    if zone == Tz::UTC {
        return 0;
    }
    DateTime::from_timestamp(instant_s, 0)
        .map_or(0, |instant| i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()))
}

/// None from the year 10000, which begins earlier in zones ahead of UTC.
fn local_date(local_s: i64) -> Option<NaiveDate> {
    let date = NaiveDate::from_epoch_days(i32::try_from(local_s.div_euclid(DAY_S)).ok()?)?;
    (date.year() <= 9_999).then_some(date)
}

fn midnight_local_s(date: NaiveDate) -> i64 {
    i64::from(date.to_epoch_days()) * DAY_S
}

/// Room for the longest name before the zone, `2026-10-25T02+0200`, and for `@` and the zone.
fn name_for(zone: Tz) -> String {
    String::with_capacity(if zone == Tz::UTC { 13 } else { 19 + zone.name().len() })
}

fn push_year(name: &mut String, year: i32) {
    push_digits(name, year.unsigned_abs(), 4);
}

fn push_month(name: &mut String, date: NaiveDate) {
    push_year(name, date.year());
    name.push('-');
    push_digits(name, date.month(), 2);
}

fn push_date(name: &mut String, date: NaiveDate) {
    push_month(name, date);
    name.push('-');
    push_digits(name, date.day(), 2);
}

/// The offset as `+hhmm`, with seconds where a zone has them (Liberia until 1972).
fn push_offset(name: &mut String, offset_s: i64) {
    name.push(if offset_s < 0 { '-' } else { '+' });
    let offset_s = u32::try_from(offset_s.unsigned_abs()).unwrap_or(0);
    push_digits(name, offset_s / 3_600, 2);
    push_digits(name, offset_s / 60 % 60, 2);
    if offset_s % 60 != 0 {
        push_digits(name, offset_s % 60, 2);
    }
}

fn push_zone(name: &mut String, zone: Tz) {
    if zone != Tz::UTC {
        name.push('@');
        name.push_str(zone.name());
    }
}

/// The last `width` digits of a number with leading zeros: several times faster than the formatter.
fn push_digits(name: &mut String, number: u32, width: u32) {
    for place in (0..width).rev() {
        name.push(char::from_digit(number / 10_u32.pow(place) % 10, 10).unwrap_or('0'));
    }
}
