//! `Cache-Control`, `Expires` and `Age`, read strictly: an answer that cannot be understood is not stored.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderName};

/// What a larger number of seconds counts as (RFC 9111, section 1.2.2).
const MOST_S: u64 = 1 << 31;

/// What the lines of the header say together (RFC 9111, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheControl {
    /// `no-store`, `no-cache` or `private`, with an argument or without: nothing of a message is stored in part.
    pub(super) goes_past: bool,
    s_maxage: Option<Duration>,
    max_age: Option<Duration>,
}

impl CacheControl {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            match directives(&String::from_utf8_lossy(line.as_bytes())) {
                Some(directives) => directives.into_iter().for_each(|directive| control.take(directive)),
                None => control.goes_past = true,
            }
        }
        control
    }

    fn take(&mut self, directive: &str) {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" | "private" => self.goes_past = true,
            // Of several the first counts (section 4.2.1).
            "s-maxage" => self.s_maxage = self.s_maxage.or(Some(seconds(argument))),
            "max-age" => self.max_age = self.max_age.or(Some(seconds(argument))),
            _ => {}
        }
    }

    /// How long a shared cache may still keep the answer with these headers; `None` when they do not say.
    pub(super) fn left(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        match self.lifetime() {
            Some(lifetime) => Some(lifetime.saturating_sub(age(headers))),
            None => until_expires(headers, now),
        }
    }

    /// The same from when it was made.
    fn lifetime(&self) -> Option<Duration> {
        self.s_maxage.or(self.max_age)
    }
}

/// How long until `Expires`, from `Date` on, by the clock that wrote both, or from now; less what has gone by since (RFC 9111,
/// sections 4.2.1 and 4.2.3).
fn until_expires(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if !headers.contains_key(EXPIRES) {
        return None;
    }
    let date = date_of(headers, &DATE).unwrap_or(now);
    let lifetime = |expires: SystemTime| expires.duration_since(date).ok();
    // What is no date, most often `0`, is one that is over (section 5.3).
    let lifetime = date_of(headers, &EXPIRES).and_then(lifetime).unwrap_or_default();
    let gone = now.duration_since(date).unwrap_or_default();
    Some(lifetime.saturating_sub(age(headers).max(gone)))
}

/// The date in a header.
fn date_of(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok()
}

/// How old an answer is that comes out of another cache. What is no number counts as 0 (RFC 9111, section 5.1).
pub(super) fn age(headers: &HeaderMap) -> Duration {
    let ages = headers.get(AGE).and_then(|age| age.to_str().ok()).unwrap_or_default();
    seconds(ages.split(',').next().unwrap_or_default())
}

/// What stands between the commas that are not quoted (RFC 9110, section 5.6.4); `None` when a quotation does not end.
fn directives(line: &str) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let directives = line.split(|c| {
        match c {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        c == ',' && !is_quoted
    });
    let directives = directives.collect();
    (!is_quoted).then_some(directives)
}

/// A number of seconds, quoted or not. What is none counts as 0: stale (section 4.2.1).
fn seconds(text: &str) -> Duration {
    let digits = text.trim().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number that cannot be read is a large one.
    let most = |seconds: u64| seconds.min(MOST_S);
    Duration::from_secs(if is_number { digits.parse().map_or(MOST_S, most) } else { 0 })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&'static str]) -> CacheControl {
        let lines = lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_static(line)));
        CacheControl::read(&lines.collect())
    }

    #[test]
    fn what_must_not_be_stored_says_so_in_any_case_and_whatever_stands_beside_it() {
        let cases: &[&[&str]] = &[
            &["no-store"],
            &["No-Store"],
            &["PRIVATE"],
            &["max-age=60, no-cache"],
            &["no-store, max-age=-1"],
            &["private, max-age=3600.5"],
            &["private=\"set-cookie\""],
            &["no-cache=\"set-cookie, x-a\", max-age=60"],
            &["max-age=60,,\tNo-Cache "],
            &["max-age=60", "private"],
            &["x=\"a, \\\", b\", no-store"],
            &["x=\"never ends, no-store"],
            &["no-store = 1"],
        ];
        for lines in cases {
            assert!(read(lines).goes_past, "{lines:?}");
        }
        for lines in [&[][..], &[""], &["public, max-age=60"], &["x=\"a, no-store\""], &["not-private, no-storey"]] {
            assert!(!read(lines).goes_past, "{lines:?}");
        }
    }

    #[test]
    fn a_lifetime_is_that_of_shared_caches_and_one_that_cannot_be_read_is_over() {
        let cases: &[(&[&str], Option<u64>)] = &[
            (&["public"], None),
            (&["max-age=60"], Some(60)),
            (&["Max-Age=\"60\""], Some(60)),
            (&["max-age=60, s-maxage=7"], Some(7)),
            (&["S-MaxAge=7", "max-age=60"], Some(7)),
            (&["max-age=60, max-age=7"], Some(60)),
            (&["max-age=99999999999999999999"], Some(MOST_S)),
            (&["max-age"], Some(0)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=+1"], Some(0)),
            (&["max-age=3600.5"], Some(0)),
            (&["max-age=60, s-maxage=soon"], Some(0)),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines).lifetime(), expected.map(Duration::from_secs), "{lines:?}");
        }
    }

    #[test]
    fn an_answer_lives_until_it_expires_by_the_clock_that_says_so() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_947_200);
        let at = |time: &str| format!("Sun, 01 Feb 2026 {time} GMT");
        let cases = [
            (None, None, None, None),
            (Some(at("12:01:00")), None, None, Some(60)),
            (Some("Sunday, 01-Feb-26 12:01:00 GMT".to_owned()), None, None, Some(60)),
            (Some(at("12:01:00")), Some(at("12:00:00")), None, Some(60)),
            // Its clock is ahead.
            (Some(at("13:01:00")), Some(at("13:00:00")), None, Some(60)),
            // It was made before, elsewhere or here.
            (Some(at("12:01:00")), Some(at("11:59:30")), None, Some(60)),
            (Some(at("12:01:00")), Some(at("11:59:30")), Some("40"), Some(50)),
            (Some(at("12:01:00")), None, Some("40"), Some(20)),
            (Some(at("12:01:00")), Some("soon".to_owned()), None, Some(60)),
            (Some(at("12:00:00")), None, None, Some(0)),
            (Some(at("11:00:00")), Some(at("11:30:00")), None, Some(0)),
            (Some("0".to_owned()), None, None, Some(0)),
            (Some("-1".to_owned()), Some(at("12:00:00")), None, Some(0)),
            (Some(String::new()), None, None, Some(0)),
        ];
        for (expires, date, age, expected) in cases {
            let case = format!("{expires:?} {date:?} {age:?}");
            let values = [(EXPIRES, expires), (DATE, date), (AGE, age.map(str::to_owned))];
            let values = values.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap())));
            let headers: HeaderMap = values.collect();
            let left = CacheControl::read(&headers).left(&headers, noon);
            assert_eq!(left, expected.map(Duration::from_secs), "{case}");
        }
    }

    #[test]
    fn what_cache_control_says_comes_before_expires() {
        let expires = (EXPIRES, HeaderValue::from_static("0"));
        let headers = HeaderMap::from_iter([expires, (CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
        let left = CacheControl::read(&headers).left(&headers, SystemTime::now());
        assert_eq!(left, Some(Duration::from_secs(60)));
    }

    #[test]
    fn an_age_is_a_number_of_seconds_or_none() {
        for (text, expected) in [("59", 59), (" 7, 8", 7), ("-1", 0), ("soon", 0), ("", 0)] {
            let headers = HeaderMap::from_iter([(AGE, HeaderValue::from_static(text))]);
            assert_eq!(age(&headers), Duration::from_secs(expected), "{text:?}");
        }
        assert_eq!(age(&HeaderMap::new()), Duration::ZERO);
    }
}
