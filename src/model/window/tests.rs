use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn ms(rfc3339: &str) -> i64 {
    DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_millis()
}

fn span(window: &str, at: &str) -> Span {
    window.parse::<Window>().unwrap().span_at(ms(at)).unwrap()
}

/// Every row is one span: window, an instant in it, name, start and end.
#[track_caller]
fn assert_spans(rows: &[(&str, &str, &str, &str, &str)]) {
    for (window, at, name, start, end) in rows {
        let expected = Span { name: (*name).to_owned(), start_ms: ms(start), end_ms: ms(end) };
        assert_eq!(span(window, at), expected, "{window} at {at}");
    }
}

/// The span and its neighbours meet, and are told apart by name.
fn check_tiling(window: Window, now_ms: i64) -> Result<(), TestCaseError> {
    let here = window.span_at(now_ms).unwrap();
    prop_assert!(here.contains(now_ms), "{here:?} does not hold {now_ms}");
    prop_assert_eq!(&window.span_at(here.start_ms).unwrap(), &here);
    if here.is_endless() {
        return Ok(());
    }
    prop_assert_eq!(&window.span_at(here.end_ms - 1).unwrap(), &here);
    let after = window.span_at(here.end_ms).unwrap();
    prop_assert_eq!(after.start_ms, here.end_ms, "gap or overlap after {:?}: {:?}", here, after);
    let before = window.span_at(here.start_ms - 1).unwrap();
    prop_assert_eq!(before.end_ms, here.start_ms, "gap or overlap before {:?}: {:?}", here, before);
    prop_assert!(before.name != here.name && here.name != after.name && before.name != after.name);
    Ok(())
}

#[test]
fn utc_windows_have_the_names_of_the_stored_format() {
    let at = "2026-02-01T13:37:42.5Z";
    assert_spans(&[
        ("minute", at, "29499217", "2026-02-01T13:37:00Z", "2026-02-01T13:38:00Z"),
        ("hour", at, "2026-02-01T13", "2026-02-01T13:00:00Z", "2026-02-01T14:00:00Z"),
        ("day", at, "2026-02-01", "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"),
        ("week", at, "2026-W05", "2026-01-26T00:00:00Z", "2026-02-02T00:00:00Z"),
        ("month", at, "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("quarter", at, "2026-Q1", "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        ("year", at, "2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("90s", "2023-11-14T22:14:00Z", "1700000010+90", "2023-11-14T22:13:30Z", "2023-11-14T22:15:00Z"),
    ]);
    assert_eq!(span("total", at), Span { name: "total".into(), start_ms: 0, end_ms: Span::NEVER_MS });
    assert!(span("total", at).is_endless() && !span("year", at).is_endless());
}

#[test]
fn the_end_of_a_total_is_exact_as_a_double() {
    assert_eq!(Span::NEVER_MS, (1 << 53) - 1);
}

#[test]
fn a_berlin_day_has_23_or_25_hours_when_clocks_change() {
    assert_spans(&[
        (
            "day@Europe/Berlin",
            "2026-03-29T01:00:00Z",
            "2026-03-29@Europe/Berlin",
            "2026-03-29T00:00:00+01:00",
            "2026-03-30T00:00:00+02:00",
        ),
        (
            "day@Europe/Berlin",
            "2026-10-25T01:00:00Z",
            "2026-10-25@Europe/Berlin",
            "2026-10-25T00:00:00+02:00",
            "2026-10-26T00:00:00+01:00",
        ),
    ]);
    let length = |at| span("day@Europe/Berlin", at).end_ms - span("day@Europe/Berlin", at).start_ms;
    assert_eq!(length("2026-03-29T01:00:00Z"), 23 * HOUR_MS);
    assert_eq!(length("2026-10-25T01:00:00Z"), 25 * HOUR_MS);
    assert_eq!(length("2026-07-25T01:00:00Z"), 24 * HOUR_MS);
}

#[test]
fn the_hour_that_repeats_is_two_windows() {
    assert_spans(&[
        (
            "hour@Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T02+0200@Europe/Berlin",
            "2026-10-25T00:00:00Z",
            "2026-10-25T01:00:00Z",
        ),
        (
            "hour@Europe/Berlin",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02+0100@Europe/Berlin",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
        ),
    ]);
}

#[test]
fn a_day_without_midnight_starts_at_its_first_instant() {
    assert_spans(&[
        (
            "day@America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "2018-11-04@America/Sao_Paulo",
            "2018-11-04T01:00:00-02:00",
            "2018-11-05T00:00:00-02:00",
        ),
        (
            "day@Africa/Cairo",
            "2026-04-24T12:00:00Z",
            "2026-04-24@Africa/Cairo",
            "2026-04-24T01:00:00+03:00",
            "2026-04-25T00:00:00+03:00",
        ),
        (
            "day@Asia/Beirut",
            "2026-03-29T12:00:00Z",
            "2026-03-29@Asia/Beirut",
            "2026-03-29T01:00:00+03:00",
            "2026-03-30T00:00:00+03:00",
        ),
    ]);
    let before = span("day@America/Sao_Paulo", "2018-11-03T12:00:00Z");
    assert_eq!(before.end_ms, ms("2018-11-04T00:00:00-03:00"));
}

#[test]
fn a_day_with_two_midnights_starts_at_the_first() {
    // Havana goes back from 01:00 to 00:00: the first hour of the day comes twice.
    assert_spans(&[(
        "day@America/Havana",
        "2026-11-01T12:00:00Z",
        "2026-11-01@America/Havana",
        "2026-11-01T00:00:00-04:00",
        "2026-11-02T00:00:00-05:00",
    )]);
}

#[test]
fn a_day_that_comes_back_across_midnight_stays_in_one_piece() {
    // St. John's went back at 00:01 to 23:01 of the day before: the second 23:01 to 24:00 belongs to the new day.
    let new_day = (
        "2006-10-29@America/St_Johns",
        "2006-10-29T00:00:00-02:30", // the first midnight
        "2006-10-30T00:00:00-03:30",
    );
    for at in ["2006-10-29T00:00:30-02:30", "2006-10-28T23:30:00-03:30", "2006-10-29T00:30:00-03:30"] {
        assert_spans(&[("day@America/St_Johns", at, new_day.0, new_day.1, new_day.2)]);
    }
    // Sao Paulo went back at midnight sharp to 23:00: the old day is an hour longer.
    assert_spans(&[(
        "day@America/Sao_Paulo",
        "2018-02-17T23:30:00-03:00",
        "2018-02-17@America/Sao_Paulo",
        "2018-02-17T00:00:00-02:00",
        "2018-02-18T00:00:00-03:00",
    )]);
}

#[test]
fn a_day_that_was_skipped_has_no_window() {
    // Samoa crossed the date line: 29 December 2011 was followed by the 31st.
    let eve = span("day@Pacific/Apia", "2011-12-30T09:59:59Z");
    let next = span("day@Pacific/Apia", "2011-12-30T10:00:00Z");
    assert_eq!(eve.name, "2011-12-29@Pacific/Apia");
    assert_eq!(next.name, "2011-12-31@Pacific/Apia");
    assert_eq!((eve.end_ms, next.start_ms), (ms("2011-12-30T10:00:00Z"), ms("2011-12-30T10:00:00Z")));
    assert_eq!(next.end_ms - next.start_ms, DAY_MS);
}

#[test]
fn hours_start_at_local_hours_in_zones_with_odd_offsets() {
    assert_spans(&[
        (
            "hour@Asia/Kolkata",
            "2026-02-01T12:10:00Z",
            "2026-02-01T17+0530@Asia/Kolkata",
            "2026-02-01T17:00:00+05:30",
            "2026-02-01T18:00:00+05:30",
        ),
        (
            "hour@Asia/Kathmandu",
            "2026-02-01T12:10:00Z",
            "2026-02-01T17+0545@Asia/Kathmandu",
            "2026-02-01T17:00:00+05:45",
            "2026-02-01T18:00:00+05:45",
        ),
        (
            "hour@America/St_Johns",
            "2026-02-01T12:10:00Z",
            "2026-02-01T08-0330@America/St_Johns",
            "2026-02-01T08:00:00-03:30",
            "2026-02-01T09:00:00-03:30",
        ),
    ]);
}

#[test]
fn a_half_hour_clock_change_cuts_hours_in_half() {
    let zone = "hour@Australia/Lord_Howe";
    assert_spans(&[
        // Back at 02:00+11:00 to 01:30+10:30.
        (
            zone,
            "2026-04-05T01:59:00+11:00",
            "2026-04-05T01+1100@Australia/Lord_Howe",
            "2026-04-05T01:00:00+11:00",
            "2026-04-05T02:00:00+11:00",
        ),
        (
            zone,
            "2026-04-05T01:40:00+10:30",
            "2026-04-05T01+1030@Australia/Lord_Howe",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T02:00:00+10:30",
        ),
        // Forward at 02:00+10:30 to 02:30+11:00.
        (
            zone,
            "2026-10-04T02:40:00+11:00",
            "2026-10-04T02+1100@Australia/Lord_Howe",
            "2026-10-04T02:30:00+11:00",
            "2026-10-04T03:00:00+11:00",
        ),
    ]);
}

#[test]
fn weeks_belong_to_their_iso_year() {
    let row = |at, name, start, end| ("week", at, name, start, end);
    let turn = ("2026-W53", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z");
    assert_spans(&[
        row("2026-12-31T12:00:00Z", turn.0, turn.1, turn.2),
        row("2027-01-01T12:00:00Z", turn.0, turn.1, turn.2),
        row("2027-01-04T00:00:00Z", "2027-W01", "2027-01-04T00:00:00Z", "2027-01-11T00:00:00Z"),
        row("2024-12-30T00:00:00Z", "2025-W01", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"),
    ]);
}

#[test]
fn leap_years_and_quarters_have_their_true_lengths() {
    assert_spans(&[
        ("month", "2028-02-29T23:59:59Z", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("day", "2028-02-29T12:00:00Z", "2028-02-29", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("month", "2100-02-28T12:00:00Z", "2100-02", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
        ("quarter", "2026-06-30T23:59:59Z", "2026-Q2", "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z"),
        ("quarter", "2026-07-01T00:00:00Z", "2026-Q3", "2026-07-01T00:00:00Z", "2026-10-01T00:00:00Z"),
        ("quarter", "2026-12-31T23:59:59Z", "2026-Q4", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        (
            "quarter@Europe/Berlin",
            "2026-03-31T22:30:00Z",
            "2026-Q2@Europe/Berlin",
            "2026-04-01T00:00:00+02:00",
            "2026-07-01T00:00:00+02:00",
        ),
    ]);
}

#[test]
fn times_without_a_name_are_errors() {
    let zones = [Tz::UTC, Tz::Pacific__Kiritimati, Tz::Pacific__Pago_Pago, Tz::Africa__Monrovia];
    for zone in zones {
        for window in every_per().map(|per| Window::new(per).in_zone(zone)) {
            for now_ms in [-1, i64::MIN, END_OF_NAMES_MS, i64::MAX] {
                let error = window.span_at(now_ms).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.to_string().contains("from 1970"), "{error}");
            }
            for now_ms in [0, END_OF_NAMES_MS - DAY_MS] {
                assert!(window.span_at(now_ms).unwrap().contains(now_ms), "{window} at {now_ms}");
            }
        }
    }
    // The year 10000 has begun in Kiritimati.
    assert!(Window::year().in_zone(Tz::Pacific__Kiritimati).span_at(END_OF_NAMES_MS - 1).is_err());
    assert_eq!(Window::year().span_at(END_OF_NAMES_MS - 1).unwrap().name, "9999");
}

#[test]
fn names_of_two_zones_or_lengths_never_meet() {
    let at = "2026-02-01T13:00:00Z";
    assert_ne!(span("day@Europe/Berlin", at).name, span("day@Europe/Paris", at).name);
    assert_ne!(span("day@Europe/London", at).name, span("day", at).name);
    let (short, long) = (span("1h", at), span("30m", at));
    assert_eq!(short.start_ms, long.start_ms);
    assert_ne!(short.name, long.name);
}

#[test]
fn all_names_of_utc_are_one_zone() {
    for name in ["UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "UCT", "Universal", "Greenwich", "Etc/GMT0", "GMT+0"] {
        assert_eq!(Window::day().in_zone_named(name).unwrap(), Window::day(), "{name}");
    }
    // The list is complete: every other zone at UTC for good is a place, or `Etc` with an hour.
    for zone in TZ_VARIANTS {
        let short = zone.name().strip_prefix("Etc/").unwrap_or(zone.name());
        let by_name =
            ["UTC", "UCT", "Universal", "Zulu", "GMT", "GMT0", "GMT-0", "GMT+0", "Greenwich"].contains(&short);
        assert_eq!(is_utc(zone), by_name, "{zone}");
    }
}

#[test]
fn windows_that_need_no_zone_drop_it() {
    for window in [Window::minute(), Window::every(90).unwrap(), Window::total()] {
        assert_eq!(window.in_zone(Tz::Asia__Kolkata), window);
    }
    assert_ne!(Window::hour().in_zone(Tz::Asia__Kolkata), Window::hour());
}

#[test]
fn an_unknown_zone_is_an_error_that_shows_a_known_one() {
    for name in ["Europe/Berln", "europe/berlin", "", "CEST", "+02:00"] {
        let error = Window::day().in_zone_named(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("Europe/Berlin"), "{error}");
    }
}

#[test]
fn text_of_a_window_reads_back() {
    let texts =
        ["minute", "hour", "day", "week", "month", "quarter", "year", "total", "1s", "90s", "15m", "36h", "7d", "366d"];
    for text in texts {
        assert_eq!(text.parse::<Per>().unwrap().to_string(), text);
        assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
    }
    assert_eq!("day@Europe/Berlin".parse::<Window>().unwrap().to_string(), "day@Europe/Berlin");
    assert_eq!("900s".parse::<Per>().unwrap(), "15m".parse().unwrap());
    assert_ne!("1d".parse::<Per>().unwrap(), Per::Day);
}

#[test]
fn text_that_is_no_window_is_an_error_that_says_what_is() {
    let texts = [
        "",
        "0s",
        "0d",
        "1.5h",
        "day ",
        " day",
        "Day",
        "13x",
        "s",
        "90",
        "-5s",
        "+5s",
        "15 m",
        "15M",
        "1h30m",
        "367d",
        "31622401s",
        "4294967296s",
        "99999999999999999999d",
        "٣s",
        "1w",
        "daily",
    ];
    for text in texts {
        let error = text.parse::<Per>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.to_string();
        assert!(message.contains(&format!("{text:?}")) && message.contains("90s, 15m, 36h or 7d"), "{message}");
    }
    assert!(Window::every(0).is_err() && Window::every(Interval::MAX_SECS + 1).is_err());
    assert_eq!(Window::every(Interval::MAX_SECS).unwrap().to_string(), "366d");
}

fn every_per() -> impl Iterator<Item = Per> {
    let fixed = [1, 90, 7 * 86_400, Interval::MAX_SECS].map(|secs| Per::Every(Interval::from_secs(secs).unwrap()));
    [Per::Minute, Per::Hour, Per::Day, Per::Week, Per::Month, Per::Quarter, Per::Year, Per::Total]
        .into_iter()
        .chain(fixed)
}

/// Around every change of every zone's offset, where windows go wrong if they do.
#[test]
fn windows_tile_around_every_clock_change() {
    let offset = |zone: Tz, at_s: i64| {
        let instant = DateTime::from_timestamp(at_s, 0).unwrap().naive_utc();
        zone.offset_from_utc_datetime(&instant).fix().local_minus_utc()
    };
    let mut changes = 0;
    for zone in TZ_VARIANTS {
        let step_s = 8 * 86_400;
        let mut at_s = ms("1971-06-01T00:00:00Z") / 1_000;
        let until_s = ms("2040-01-01T00:00:00Z") / 1_000;
        while at_s < until_s {
            let (mut before_s, mut after_s) = (at_s, at_s + step_s);
            at_s += step_s;
            if offset(zone, before_s) == offset(zone, after_s) {
                continue;
            }
            let old = offset(zone, before_s);
            while after_s - before_s > 1 {
                let middle_s = before_s.midpoint(after_s);
                if offset(zone, middle_s) == old { before_s = middle_s } else { after_s = middle_s }
            }
            changes += 1;
            for per in [Per::Hour, Per::Day] {
                let window = Window::new(per).in_zone(zone);
                for shift_s in [-1, 0, 3_599] {
                    check_tiling(window, (after_s + shift_s) * 1_000).unwrap();
                }
            }
        }
    }
    assert!(changes > 10_000, "only {changes} clock changes found");
}

fn any_per() -> impl Strategy<Value = Per> {
    let every = (1..=Interval::MAX_SECS).prop_map(|secs| Per::Every(Interval::from_secs(secs).unwrap()));
    prop_oneof![8 => prop::sample::select(every_per().collect::<Vec<_>>()), 1 => every]
}

#[test]
fn a_remembered_span_is_the_one_that_is_named_anew() {
    let windows: Vec<Window> = ["minute", "day@Europe/Berlin", "90s", "total"].map(|text| text.parse().unwrap()).into();
    let many = (1..=MOST_NAMED).map(|secs| Window::every(u32::try_from(secs).unwrap()).unwrap());
    let times = [0, 59_999, 60_000, 1_774_746_000_000, 1_774_745_999_999, -1, END_OF_NAMES_MS, 0];
    for window in windows.iter().copied().chain(many).chain(windows.iter().copied()) {
        for now_ms in times {
            let remembered = window.with_span_at(now_ms, Span::clone);
            assert_eq!(remembered.ok(), window.span_at(now_ms).ok(), "{window} at {now_ms}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn windows_tile_the_line_of_time(
        now_ms in 946_684_800_000_i64..4_102_444_800_000,
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
        per in any_per(),
    ) {
        check_tiling(Window::new(per).in_zone(zone), now_ms)?;
    }

    #[test]
    fn a_name_stands_for_one_span(
        first_ms in 946_684_800_000_i64..4_102_444_800_000,
        apart_ms in 0..800 * DAY_MS,
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
        per in any_per(),
    ) {
        let window = Window::new(per).in_zone(zone);
        let (first, second) = (window.span_at(first_ms).unwrap(), window.span_at(first_ms + apart_ms).unwrap());
        prop_assert_eq!(first.name == second.name, first == second);
    }

    #[test]
    fn names_are_what_the_local_calendar_shows_at_the_start(
        now_ms in 946_684_800_000_i64..4_102_444_800_000,
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
        (per, format) in prop::sample::select(vec![
            (Per::Hour, "%Y-%m-%dT%H"),
            (Per::Day, "%Y-%m-%d"),
            (Per::Week, "%G-W%V"),
            (Per::Month, "%Y-%m"),
            (Per::Quarter, "%Y-Q%q"),
            (Per::Year, "%Y"),
        ]),
    ) {
        let window = Window::new(per).in_zone(zone);
        let span = window.span_at(now_ms).unwrap();
        let local = zone.timestamp_millis_opt(span.start_ms).unwrap();
        let mut name = local.format(format).to_string();
        if window.zone() != Tz::UTC {
            let offset = if per == Per::Hour { local.format("%z").to_string() } else { String::new() };
            name = format!("{name}{offset}@{zone}");
        }
        prop_assert_eq!(span.name, name);
    }

    #[test]
    fn intervals_read_back(secs in 1..=Interval::MAX_SECS) {
        let per = Per::Every(Interval::from_secs(secs).unwrap());
        prop_assert_eq!(per.to_string().parse::<Per>().unwrap(), per);
        prop_assert_eq!(format!("{secs}s").parse::<Per>().unwrap(), per);
    }
}
