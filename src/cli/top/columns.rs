//! How columns share a line: names give way, and numbers become short, but lose no leading digit.

use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::view::COLUMNS;

/// From `used` to `full`: they end below one another.
const NUMBERS: std::ops::Range<usize> = 4..8;

/// The place of `full`, which is a share.
const FULL: usize = 7;

/// What each column keeps while others can still give way: at first, when that is too much, and to the last.
const KEPT: [[usize; 9]; 3] = [[24, 8, 8, 6, 7, 7, 7, 6, 7], [18, 4, 5, 5, 7, 7, 7, 6, 7], [0, 0, 0, 0, 7, 7, 7, 6, 0]];

/// Who gives way first: the root, the names of windows and meters, numbers, and after them the scope.
const GIVE_WAY: [usize; 9] = [1, 3, 2, 6, 4, 5, FULL, 0, 8];

/// The suffixes of numbers of which three digits were cut off, six, and so on.
const SUFFIXES: [&str; 6] = ["k", "M", "G", "T", "P", "E"];

/// A table of the cells of counters, in this room.
pub(super) fn table(rows: Vec<([String; 9], ratatui::style::Style)>, area: Rect) -> Table<'static> {
    let widths = widths(rows.iter().map(|(cells, _)| cells), usize::from(area.width));
    let shown = rows.into_iter().map(|(cells, style)| Row::new(fitted(cells, &widths)).style(style));
    let header = Row::new(fitted(COLUMNS.map(str::to_owned), &widths)).style(ratatui::style::Modifier::BOLD);
    Table::new(shown, lengths(widths)).header(header)
}

/// A table of whatever begins with a name and its root, in this room: the root gives way first, and then the name.
pub(super) fn names<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, area: Rect) -> Table<'static> {
    const KEPT: usize = 8;
    let mut widths = header.map(str::len);
    for (place, cell) in rows.iter().flat_map(|cells| cells.iter().enumerate()) {
        widths[place] = widths[place].max(Line::raw(cell).width());
    }
    let room = usize::from(area.width).saturating_sub(N - 1);
    for place in [1, 0] {
        let over = widths.iter().sum::<usize>().saturating_sub(room);
        widths[place] -= over.min(widths[place].saturating_sub(KEPT));
    }
    let header = Row::new(header.map(str::to_owned)).style(ratatui::style::Modifier::BOLD);
    Table::new(rows.into_iter().map(Row::new), lengths(widths)).header(header)
}

fn lengths<const N: usize>(widths: [usize; N]) -> [Constraint; N] {
    widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)))
}

/// How wide the columns are in a line of `room` cells.
fn widths<'a>(rows: impl Iterator<Item = &'a [String; 9]>, room: usize) -> [usize; 9] {
    let mut widths = COLUMNS.map(str::len);
    // The state comes and goes, and the others are not to move for it.
    widths[8] = "blocked".len();
    for cells in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(Line::raw(cell).width());
        }
    }
    let room = room.saturating_sub(widths.len() - 1);
    for kept in KEPT {
        for place in GIVE_WAY {
            let over = widths.iter().sum::<usize>().saturating_sub(room);
            widths[place] -= over.min(widths[place].saturating_sub(kept[place]));
        }
    }
    // What is left keeps the names apart.
    let left = room.saturating_sub(widths.iter().sum());
    widths[0] += left * 3 / 5;
    widths[1] += left - left * 3 / 5;
    widths
}

fn fitted(cells: [String; 9], widths: &[usize; 9]) -> impl Iterator<Item = Cell<'static>> {
    cells.into_iter().zip(*widths).enumerate().map(|(place, (text, width))| {
        if !NUMBERS.contains(&place) {
            return Cell::from(text);
        }
        let text = if place == FULL { short_share(text, width) } else { short_amount(text, width) };
        Cell::from(Text::from(text).right_aligned())
    })
}

/// A share in so many cells: without its decimals, or as more than another.
fn short_share(text: String, width: usize) -> String {
    let Some((whole, _)) = text.split_once('.').filter(|_| text.len() > width) else { return text };
    if whole.len() < width { format!("{whole}%") } else { ">9999%".to_owned() }
}

/// An amount in so many cells: without its decimals, or in thousands, cut off and not rounded. Of `10, 3 at once` the words go
/// first, and then what is not at once; of `10.00 and 5.00`, which may be overdrawn, the overdraft.
fn short_amount(text: String, width: usize) -> String {
    if text.len() <= width || !text.contains(|c: char| c.is_ascii_digit()) {
        return text;
    }
    if let Some((most, burst)) = text.split_once(", ") {
        let burst = burst.strip_suffix(" at once").unwrap_or(burst);
        let both = format!("{most}, {burst}");
        return if both.len() <= width { both } else { short_amount(burst.to_owned(), width) };
    }
    if let Some((most, _)) = text.split_once(" and ") {
        return short_amount(most.to_owned(), width);
    }
    let whole = text.split_once('.').map_or(&*text, |(whole, _)| whole);
    let digits = whole.trim_start_matches('-').len();
    let thousands = SUFFIXES.iter().zip(1..).map(|(suffix, times)| (*suffix, 3 * times));
    let mut shorter = std::iter::once(("", 0)).chain(thousands).filter(|(_, cut)| *cut < digits);
    let short = shorter.find(|(suffix, cut)| whole.len() - cut + suffix.len() <= width);
    short.map_or_else(|| whole.to_owned(), |(suffix, cut)| format!("{}{suffix}", &whole[..whole.len() - cut]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_short_and_keeps_its_leading_digits() {
        for (text, width, short) in [
            ("9.00", 7, "9.00"),
            ("9223372036.85", 13, "9223372036.85"),
            ("9223372036.85", 10, "9223372036"),
            ("9223372036.85", 8, "9223372k"),
            ("9223372036.854775807", 7, "9223M"),
            ("-9223372036.85", 7, "-9223M"),
            ("9223372036854775807", 7, "9223P"),
            ("10, 3 at once", 13, "10, 3 at once"),
            ("10, 3 at once", 7, "10, 3"),
            ("100000, 30000 at once", 7, "30000"),
            ("10.00 and 5.00", 14, "10.00 and 5.00"),
            ("10.00 and 5.00", 13, "10.00"),
            ("100000 and 5", 5, "100k"),
            ("-", 0, "-"),
        ] {
            assert_eq!(short_amount(text.to_owned(), width), short, "{text} in {width}");
        }
        for (text, short) in [("100.0%", "100.0%"), ("98765.4%", "98765%"), ("9876543.2%", ">9999%"), ("-", "-")] {
            assert_eq!(short_share(text.to_owned(), 6), short);
        }
    }

    #[test]
    fn the_scope_gives_way_last() {
        let row = |scope: &str, used: &str| {
            let cells = [
                scope,
                "a-rather-long-root",
                "concurrency",
                "day@Europe/Berlin",
                used,
                "0.00",
                "10.00",
                "98765.4%",
                "",
            ];
            cells.map(str::to_owned)
        };
        let rows = [row("user:0123456789abcdef0123456789", "9223372036.85")];
        let at = |room| widths(rows.iter(), room);
        assert_eq!(at(80)[0], 24);
        assert_eq!(at(72)[0], 19);
        for room in [40, 60, 80, 100, 130, 200] {
            let widths = at(room);
            assert_eq!(widths.iter().sum::<usize>() + 8, room, "{widths:?}");
            assert!(widths[NUMBERS].iter().zip([7, 4, 7, 6]).all(|(width, least)| *width >= least), "{widths:?}");
        }
        assert_eq!(at(123)[0], "user:0123456789abcdef0123456789".len());
    }
}
