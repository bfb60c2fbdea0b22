//! Times: reading them in the ways logs and people write them, and showing them.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

/// An hour in milliseconds.
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// Reads a timestamp into milliseconds since the Unix epoch; finer digits are cut off.
///
/// Taken: RFC 3339; a date and time with a space or `T` between them, with or without a zone (none means UTC), with
/// any number of fraction digits; a date alone (midnight UTC); Unix time in seconds, milliseconds, microseconds or
/// nanoseconds, told apart by magnitude. No float is involved, so `1700000000.123` is exact.
pub(crate) fn parse_time_ms(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the time is empty".to_owned());
    }
    match parse_unix(text).or_else(|| parse_calendar(text)) {
        Some(time_ms @ 0..) => Ok(time_ms),
        Some(_) => Err(format!("the time {text:?} lies before 1970")),
        None => Err(format!(
            "not a time: {text:?} (expected like 2024-05-01T12:00:00Z, 2024-05-01 12:00:00 or Unix seconds)"
        )),
    }
}

/// Reads a duration into whole milliseconds, rounded up: `2s`, `800ms`, `1.5 min`. A number without a unit is in units of
/// `plain_unit_ms`, where there is one. No float is involved.
pub(crate) fn parse_duration_ms(text: &str, plain_unit_ms: Option<i64>) -> Option<i64> {
    let text = text.trim();
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_len);
    let unit_ms = match unit.trim() {
        "" => plain_unit_ms?,
        "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" => HOUR_MS,
        "d" => 86_400_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Twelve digits are finer than anybody measures; the product of the last two fits.
    let digits: String = fraction.chars().chain("000000000000".chars()).take(12).collect();
    let part_ms = (digits.parse::<i128>().ok()? * i128::from(unit_ms) + 999_999_999_999) / 1_000_000_000_000;
    whole.parse::<i64>().ok()?.checked_mul(unit_ms)?.checked_add(i64::try_from(part_ms).ok()?)
}

/// A duration in its two largest units, rounded up to the second: `3 h 12 min`.
pub(crate) fn people_duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left_s = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let mut parts = Vec::new();
    for (unit_s, unit) in UNITS {
        if left_s >= unit_s && parts.len() < 2 {
            parts.push(format!("{} {unit}", left_s / unit_s));
            left_s %= unit_s;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A time for people, in UTC, to the second.
pub(crate) fn people_time(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms)
        .map_or_else(|| at_ms.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// A time for programs: RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms)
        .map_or_else(|| at_ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn parse_calendar(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let text = text.strip_suffix("UTC").map_or(text, str::trim_end);
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.timestamp_millis());
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc().timestamp_millis());
        }
    }
    let midnight = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
    Some(midnight.and_utc().timestamp_millis())
}

/// Unix time. The unit follows from the magnitude: seconds below 10^11 (the year 5138), milliseconds below 10^14
/// (the same year), then microseconds, then nanoseconds. Logs of model calls are all well inside these bounds.
fn parse_unix(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    if whole >= 100_000_000_000 {
        return Some(match whole {
            ..100_000_000_000_000 => whole,
            100_000_000_000_000..100_000_000_000_000_000 => whole / 1000,
            _ => whole / 1_000_000,
        });
    }
    let fraction_ms = (0..3).fold(0, |millis, position| {
        let digit = fraction.as_bytes().get(position).map_or(0, |byte| i64::from(byte - b'0'));
        millis * 10 + digit
    });
    Some(whole * 1000 + fraction_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_time_is_read_to_the_millisecond() {
        for (text, expected_ms) in [
            ("2023-11-16 18:17:03.9799600", 1_700_158_623_979),
            ("2023-11-16T18:17:03.979Z", 1_700_158_623_979),
            ("2023-11-16T19:17:03.9799999+01:00", 1_700_158_623_979),
            ("2023-11-16 18:17:03", 1_700_158_623_000),
            ("2023-11-16T18:17:03", 1_700_158_623_000),
            ("2023-11-16 18:17:03+00", 1_700_158_623_000),
            ("2023-11-16 19:17:03 +0100", 1_700_158_623_000),
            ("2023-11-16 18:17:03.123456789123 UTC", 1_700_158_623_123),
            ("2023-11-16", 1_700_092_800_000),
            ("1700158623", 1_700_158_623_000),
            ("1700158623.9", 1_700_158_623_900),
            ("1700000000.123999", 1_700_000_000_123),
            ("1700158623979", 1_700_158_623_979),
            ("1700158623979960", 1_700_158_623_979),
            ("1700158623979960000", 1_700_158_623_979),
            ("  2023-11-16 18:17  ", 1_700_158_620_000),
        ] {
            assert_eq!(parse_time_ms(text), Ok(expected_ms), "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_their_unit_and_rounded_up() {
        let read = |text| parse_duration_ms(text, Some(1_000));
        for (text, expected_ms) in [
            ("2s", 2_000),
            ("800ms", 800),
            ("1.5 min", 90_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
            ("0.0001", 1),
            ("2.843000001", 2_844),
            ("0", 0),
        ] {
            assert_eq!(read(text), Some(expected_ms), "{text}");
        }
        for text in ["", "s", "-1s", "1.2.3s", "2 weeks", ".5s", "99999999999999999999s"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(parse_duration_ms("2", None), None);
    }

    #[test]
    fn durations_are_shown_in_their_two_largest_units() {
        let shown = |ms| people_duration(Duration::from_millis(ms));
        assert_eq!(shown(0), "0 s");
        assert_eq!(shown(1), "1 s");
        assert_eq!(shown(61_000), "1 min 1 s");
        assert_eq!(shown(11_520_000), "3 h 12 min");
        assert_eq!(shown(86_405_000), "1 d 5 s");
    }

    #[test]
    fn what_is_not_a_time_is_an_error_that_quotes_it() {
        for text in
            ["", "yesterday", "2023-13-01 00:00:00", "1.7e9", "-5", "12:30", "1969-12-31", "99999999999999999999"]
        {
            let message = parse_time_ms(text).expect_err(text);
            assert!(message.contains(text), "{message}");
        }
    }
}
