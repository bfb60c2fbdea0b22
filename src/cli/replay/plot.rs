//! A picture of a replay: for each limit, how full it was over time and which calls it refused.

use std::collections::HashMap;

use chrono::DateTime;
use costguard::model::Per;
use costguard::{Meter, Scope};
use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints as _;
use plotters::prelude::*;

use super::series::LimitSeries;
use super::tally::LimitTally;
use crate::cli::output::readable;

const WIDTH: u32 = 1100;
const TITLE_HEIGHT: u32 = 50;
const PANEL_HEIGHT: u32 = 290;
const LEGEND_WIDTH: u32 = 180;
/// Of a line about the limits that are not shown.
const MORE_HEIGHT: u32 = 30;
/// The most characters of a path in the title.
const PATH_ROOM: usize = 40;
/// The most limits and scopes shown: those that refused, or held, the most.
const MAX_PANELS: usize = 8;
const MAX_SCOPES: usize = 5;
const DENIED: RGBColor = RGBColor(200, 30, 30);
const WARNED: RGBColor = RGBColor(120, 94, 0);
/// Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008; the last two Tol's, 2021).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(153, 153, 51),
    RGBColor(136, 34, 85),
];
const FONT: &str = "sans-serif";

/// One limit with what happened to it.
pub(crate) struct Panel<'a> {
    pub(crate) tally: &'a LimitTally,
    pub(crate) series: &'a LimitSeries,
}

/// Draws the panels one below the other, over the time from `from_ms` to `until_ms`, as SVG text.
pub(crate) fn draw(title: &str, panels: &[Panel<'_>], from_ms: i64, until_ms: i64) -> anyhow::Result<String> {
    let mut shown: Vec<&Panel<'_>> = panels.iter().collect();
    shown.sort_by_key(|panel| std::cmp::Reverse(panel.tally.binding.calls));
    shown.truncate(MAX_PANELS);
    let rows = u32::try_from(shown.len().max(1))?;
    let left_out = panels.len() - shown.len();
    let head_height = TITLE_HEIGHT + if left_out > 0 { MORE_HEIGHT } else { 0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, head_height + rows * PANEL_HEIGHT)).into_drawing_area();
        root.fill(&WHITE).map_err(cannot_draw)?;
        let mut root = root.titled(title, (FONT, 20)).map_err(cannot_draw)?;
        if left_out > 0 {
            let limits = if left_out == 1 { "limit" } else { "limits" };
            let more = format!("the {MAX_PANELS} limits that refused most, and {left_out} {limits} more");
            root = root.titled(&more, (FONT, 14)).map_err(cannot_draw)?;
        }
        let areas = root.split_evenly((shown.len().max(1), 1));
        // A log of one instant still gets an axis.
        let until_ms = until_ms.max(from_ms.saturating_add(1000));
        let colours = colours(&shown);
        for (area, panel) in areas.iter().zip(shown) {
            draw_panel(area, panel, &colours, from_ms, until_ms).map_err(cannot_draw)?;
        }
        root.present().map_err(cannot_draw)?;
    }
    Ok(svg)
}

fn cannot_draw(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("cannot draw the plot: {error}")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

type Colours<'a> = HashMap<&'a Scope, RGBColor>;

/// A colour for each scope that is drawn, the same in all panels: one that no other has, or if all are taken the one that fewest
/// have, and none of this panel.
fn colours<'a>(panels: &[&Panel<'a>]) -> Colours<'a> {
    let mut colours = Colours::new();
    for panel in panels {
        let drawn: Vec<_> = panel.series.fullest().into_iter().map(|(scope, _)| scope).take(MAX_SCOPES).collect();
        for scope in &drawn {
            let times = |colour: &RGBColor| {
                let beside = drawn.iter().filter(|other| colours.get(*other) == Some(colour)).count();
                (beside, colours.values().filter(|other| *other == colour).count())
            };
            if let (false, Some(colour)) = (colours.contains_key(scope), COLOURS.into_iter().min_by_key(times)) {
                colours.insert(scope, colour);
            }
        }
    }
    colours
}

fn draw_panel<'a>(
    area: &Area<'a>,
    panel: &Panel<'_>,
    colours: &Colours<'_>,
    from_ms: i64,
    until_ms: i64,
) -> DrawResult<'a> {
    let Panel { tally, series } = panel;
    let (counter, limit) = (tally.limit.counter(), tally.refuses_from());
    let is_rate = counter.window().per().rate_period().is_some();
    let top = top_of(limit, tally.used());
    let at_most = match limit {
        Some(limit) if limit > top => format!("at most {}, above this picture", tally.at_most()),
        Some(_) => format!("at most {}", tally.at_most()),
        None => "no limit".to_owned(),
    };
    let refused = if tally.limit.is_shadow() { "would be denied" } else { "denied" };
    let caption = format!("{}: {at_most}, {} {refused}", tally.name(), tally.binding.calls);
    let meter = counter.meter();
    let unit = if *meter == Meter::COST { "USD".to_owned() } else { readable(meter.as_str()) };
    let unit = match counter.window().per() {
        Per::Open => "calls open at once".to_owned(),
        Per::Rate(_) => format!("{unit} in the bucket"),
        _ => format!("{unit} in the window"),
    };
    let ticks = time_ticks(from_ms, until_ms);
    let (area, legend) = area.split_horizontally(WIDTH - LEGEND_WIDTH);
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, (FONT, 15))
        .margin(10)
        .margin_right(35)
        .x_label_area_size(45)
        .y_label_area_size(75)
        .build_cartesian_2d((from_ms..until_ms).with_key_points(ticks.at_ms), 0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .y_labels(6)
        .x_label_formatter(&|at_ms| tick_text(*at_ms, ticks.format))
        .y_label_formatter(&|amount| tally.amount(*amount))
        .x_desc(format!("time (UTC) from {}", tick_text(from_ms, "%Y-%m-%d %H:%M")))
        .y_desc(unit)
        .label_style((FONT, 12))
        .axis_desc_style((FONT, 13))
        .draw()?;

    let mut marks: Vec<(Mark, String)> = Vec::new();
    let scopes = series.fullest();
    for (scope, series) in scopes.iter().take(MAX_SCOPES) {
        let Some(&colour) = colours.get(scope) else { continue };
        chart.draw_series(LineSeries::new(series.steps(until_ms, is_rate), colour.stroke_width(2)))?;
        marks.push((Mark::Line(colour), shortened(&readable(scope.as_str()))));
    }
    if scopes.len() > MAX_SCOPES {
        marks.push((Mark::Nothing, format!("and {} more", scopes.len() - MAX_SCOPES)));
    }
    if let Some(limit) = limit.filter(|limit| *limit <= top) {
        let line = [(from_ms, limit), (until_ms, limit)];
        chart.draw_series(DashedLineSeries::new(line, 6, 4, DENIED.stroke_width(1)))?;
        marks.push((Mark::Dashes, "limit".to_owned()));
    }
    if !tally.warnings.is_empty() {
        let warnings = series.warnings.levels();
        chart.draw_series(warnings.map(|level| TriangleMarker::new((level.at_ms, level.used), 6, WARNED.filled())))?;
        marks.push((Mark::Triangle, "warning".to_owned()));
    }
    if tally.binding.calls > 0 {
        let height = limit.unwrap_or(top).min(top);
        let crosses = series.denials.levels().map(|level| Cross::new((level.at_ms, height), 4, DENIED));
        chart.draw_series(crosses)?;
        marks.push((Mark::Cross, refused.to_owned()));
    }
    draw_legend(&legend, &marks)
}

/// What a line of the legend explains.
enum Mark {
    Line(RGBColor),
    Dashes,
    Cross,
    Triangle,
    Nothing,
}

/// Beside the picture and not in it, where it would hide lines.
fn draw_legend<'a>(area: &Area<'a>, marks: &[(Mark, String)]) -> DrawResult<'a> {
    let mut y = 45;
    for (mark, text) in marks {
        match mark {
            Mark::Line(colour) => area.draw(&PathElement::new([(0, y), (20, y)], colour.stroke_width(2)))?,
            Mark::Dashes => {
                for x in [0, 8, 16] {
                    area.draw(&PathElement::new([(x, y), (x + 5, y)], DENIED.stroke_width(1)))?;
                }
            }
            Mark::Cross => area.draw(&Cross::new((10, y), 4, DENIED))?,
            Mark::Triangle => area.draw(&TriangleMarker::new((10, y), 6, WARNED.filled()))?,
            Mark::Nothing => {}
        }
        area.draw(&Text::new(text.as_str(), (28, y - 6), (FONT, 13)))?;
        y += 20;
    }
    Ok(())
}

/// A path for the title: its end, which tells files apart, where it is long.
pub(crate) fn path_end(path: &str) -> String {
    let beyond = path.chars().count().saturating_sub(PATH_ROOM);
    if beyond == 0 {
        return path.to_owned();
    }
    ['…'].into_iter().chain(path.chars().skip(beyond + 1)).collect()
}

/// A scope's name, cut to what the legend has room for.
fn shortened(name: &str) -> String {
    const ROOM: usize = 20;
    if name.chars().count() <= ROOM {
        return name.to_owned();
    }
    name.chars().take(ROOM - 1).chain(['…']).collect()
}

/// The top of the vertical axis: a tenth above the limit, unless what was used would then be a thin line at the bottom.
fn top_of(limit: Option<i64>, used: i64) -> i64 {
    let highest = limit.filter(|limit| limit / 5 <= used).map_or(used, |limit| limit.max(used));
    highest.saturating_add((highest / 10).max(1))
}

struct TimeTicks {
    at_ms: Vec<i64>,
    format: &'static str,
}

/// At most ten ticks at round times.
fn time_ticks(from_ms: i64, until_ms: i64) -> TimeTicks {
    const SECOND: i64 = 1000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const STEPS: [(i64, &str); 20] = [
        (SECOND, "%H:%M:%S"),
        (5 * SECOND, "%H:%M:%S"),
        (15 * SECOND, "%H:%M:%S"),
        (MINUTE, "%H:%M"),
        (2 * MINUTE, "%H:%M"),
        (5 * MINUTE, "%H:%M"),
        (10 * MINUTE, "%H:%M"),
        (30 * MINUTE, "%b %d %H:%M"),
        (HOUR, "%b %d %H:%M"),
        (2 * HOUR, "%b %d %H:%M"),
        (6 * HOUR, "%b %d %H:%M"),
        (12 * HOUR, "%b %d %H:%M"),
        (DAY, "%b %d"),
        (2 * DAY, "%b %d"),
        (7 * DAY, "%Y-%m-%d"),
        (14 * DAY, "%Y-%m-%d"),
        (30 * DAY, "%Y-%m-%d"),
        (90 * DAY, "%Y-%m-%d"),
        (365 * DAY, "%Y-%m-%d"),
        (3650 * DAY, "%Y-%m-%d"),
    ];
    let span_ms = until_ms.saturating_sub(from_ms);
    let (step_ms, format) =
        STEPS.into_iter().find(|(step_ms, _)| span_ms / step_ms <= 10).unwrap_or((span_ms / 10 + 1, "%Y"));
    let first = from_ms.div_euclid(step_ms) * step_ms;
    let at_ms = (0..=12).map(|step| first + step * step_ms).filter(|at_ms| (from_ms..=until_ms).contains(at_ms));
    TimeTicks { at_ms: at_ms.collect(), format }
}

fn tick_text(at_ms: i64, format: &str) -> String {
    DateTime::from_timestamp_millis(at_ms).map_or_else(String::new, |time| time.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::series::{Level, LimitSeries, record};
    use costguard::{Limit, LimitState, Meter, Money, Policy, Subject, Window};

    use super::super::tally::{LimitTally, Outcome, Tally};
    use super::{Panel, colours, draw, path_end, time_ticks};

    const HOUR_MS: i64 = 3_600_000;
    const FROM_MS: i64 = 1_767_225_600_000;

    /// Three users who call every ten minutes for two days, and each may spend 5.00 a day.
    fn two_days() -> (Vec<LimitTally>, Vec<LimitSeries>) {
        let most = 5_000_000_000;
        let policy = Policy::new([Limit::cost("user", Money::from_nanos(most), Window::day())]).expect("policy");
        let (mut tally, mut series) = (Tally::new(&policy), vec![LimitSeries::default()]);
        let mut used = [[0_i64; 3]; 2];
        for step in 0..288 {
            let at_ms = FROM_MS + step * HOUR_MS / 6;
            let span = Window::day().span_at(at_ms).expect("span");
            for (user, cost) in [20_000_000, 40_000_000, 60_000_000].into_iter().enumerate() {
                let counter = &mut used[usize::try_from(step / 144).expect("day")][user];
                let granted = *counter + cost <= most;
                *counter += if granted { cost } else { 0 };
                let scope = Subject::new("r").scope("user", ["alice", "bob", "carol"][user]).scope_of("user");
                let scopes = [scope.expect("scope")];
                let state = LimitState {
                    scope: scopes[0].clone(),
                    meter: Meter::COST,
                    window: Window::day(),
                    limit: Some(most),
                    used: *counter,
                    parts: None,
                    held: 0,
                    span_ms: (span.start_ms, span.end_ms),
                    crossed: None,
                    burst: None,
                    shadowed: false,
                };
                let call = Outcome {
                    at_ms,
                    model: "m",
                    scopes: &scopes,
                    cost: Money::from_nanos(cost),
                    granted,
                    limits: &[state],
                    refused_by: if granted { &[] } else { &[0] },
                    bound_by: (!granted).then_some(0),
                };
                tally.add(&call).expect("sums fit");
                record(&mut series, &call);
            }
        }
        (tally.limits, series)
    }

    #[test]
    fn a_plot_names_its_limit_its_scopes_and_its_denials() {
        let (tallies, series) = two_days();
        let panel = Panel { tally: &tallies[0], series: &series[0] };
        let until_ms = FROM_MS + 48 * HOUR_MS;
        let svg = draw("sample.csv against policy.toml", &[panel], FROM_MS, until_ms).expect("drawn");
        for part in [
            "sample.csv against policy.toml",
            "at most 5.00",
            "denied",
            "user:alice",
            "time (UTC)",
            "USD in the window",
        ] {
            assert!(svg.contains(part), "{part:?} is not in the plot");
        }
    }

    #[test]
    fn a_scope_has_one_colour_in_all_panels_and_no_other_one_of_a_panel_has_it() {
        let scope = |user: &str| Subject::new("r").scope("user", user).scope_of("user").expect("scope");
        let of_users = |users: &[&str]| {
            let mut series = LimitSeries::default();
            for (place, user) in users.iter().enumerate() {
                let used = 100 - i64::try_from(place).expect("few");
                series.scopes.entry(scope(user)).or_default().add(Level { at_ms: 0, used, window_end_ms: 1 });
            }
            series
        };
        let (tallies, _) = two_days();
        let users = [&["a", "b", "c"][..], &["c", "b", "a"], &["d", "e", "f", "g", "a"], &["h", "i", "j", "a", "k"]];
        let series = users.map(of_users);
        let panels: Vec<_> = series.iter().map(|series| Panel { tally: &tallies[0], series }).collect();
        let colours = colours(&panels.iter().collect::<Vec<_>>());
        assert_eq!(colours.len(), 11);
        for users in users {
            let drawn: std::collections::HashSet<_> =
                users.iter().map(|user| colours[&scope(user)]).map(|colour| (colour.0, colour.1, colour.2)).collect();
            assert_eq!(drawn.len(), users.len(), "{users:?}");
        }
    }

    #[test]
    fn limits_that_are_not_drawn_are_counted() {
        let (tallies, series) = two_days();
        let panels = |count| (0..count).map(|_| Panel { tally: &tallies[0], series: &series[0] }).collect::<Vec<_>>();
        let drawn = |count| draw("title", &panels(count), FROM_MS, FROM_MS + HOUR_MS).expect("drawn");
        assert!(drawn(32).contains("the 8 limits that refused most, and 24 limits more"));
        assert!(drawn(9).contains("and 1 limit more") && !drawn(8).contains("more"));
    }

    #[test]
    fn of_a_long_path_the_end_is_in_the_title() {
        assert_eq!(path_end("logs/calls.csv"), "logs/calls.csv");
        let long = format!("/{}/calls.csv", "folder".repeat(30));
        let end = path_end(&long);
        assert!(end.starts_with("…older") && end.ends_with("folder/calls.csv") && end.chars().count() == 40, "{end}");
    }

    #[test]
    fn time_ticks_are_round_and_few_for_any_span() {
        for span_ms in [1000, 60_000, 3_400_000, 86_400_000, 40 * 86_400_000, 4000 * 86_400_000] {
            let ticks = time_ticks(1_767_225_601_234, 1_767_225_601_234 + span_ms);
            assert!((1..=11).contains(&ticks.at_ms.len()), "{span_ms}: {:?}", ticks.at_ms);
        }
    }
}
