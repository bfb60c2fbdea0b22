//! Drawing a snapshot, and what keys do to the view.

use costguard::service::HealthStatus;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::columns;
use super::view::{BlockRow, CounterRow, HoldRow, Snapshot, Sort, Tab};
use crate::cli::output::shown;
use crate::cli::time::{people_duration, people_time};

const HELP: &str = "q quit  tab or 1-5 view  s sort  r reverse  / filter  esc clear  up/down scroll";

/// The longest filter.
const MOST_FILTER: usize = 100;

/// What the user looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) tab: Tab,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    typing: bool,
    /// The first row that is shown.
    offset: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

impl Screen {
    pub(super) fn new(sort: Option<Sort>, filter: String) -> Self {
        let tab = Tab::default();
        Self { tab, sort: sort.unwrap_or(tab.sort()), reversed: false, filter, typing: false, offset: 0 }
    }

    /// Does what a key means.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control_c {
            return Next::Quit;
        }
        match key.code {
            KeyCode::Enter if self.typing => self.typing = false,
            KeyCode::Backspace if self.typing => drop(self.filter.pop()),
            KeyCode::Char(c) if self.typing && self.filter.len() < MOST_FILTER => self.filter.push(c),
            KeyCode::Char(_) if self.typing => {}
            KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('1') => self.show(Tab::Spend),
            KeyCode::Char('2') => self.show(Tab::Limits),
            KeyCode::Char('3') => self.show(Tab::Counters),
            KeyCode::Char('4') => self.show(Tab::Holds),
            KeyCode::Char('5') => self.show(Tab::Blocks),
            KeyCode::Tab => self.show(self.tab.next()),
            KeyCode::Up => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down => self.offset = self.offset.saturating_add(1),
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(20),
            KeyCode::PageDown => self.offset = self.offset.saturating_add(20),
            KeyCode::Home => self.offset = 0,
            _ => {}
        }
        Next::Stay
    }

    fn show(&mut self, tab: Tab) {
        (self.tab, self.sort, self.reversed, self.offset) = (tab, tab.sort(), false, 0);
    }

    /// Draws all of it; before the first turn is over there is no snapshot.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, snapshot: Option<&Snapshot>) {
        let areas = Layout::vertical([Constraint::Length(4), Constraint::Min(1), Constraint::Length(1)]);
        let [head, body, foot] = areas.areas(frame.area());
        let Some(snapshot) = snapshot else {
            frame.render_widget(Paragraph::new("looking at the store ..."), head);
            return;
        };
        frame.render_widget(Paragraph::new(self.head(snapshot)), head);
        match self.tab {
            Tab::Holds => self.draw_holds(frame, body, &snapshot.held(self.reversed, &self.filter)),
            Tab::Blocks => self.draw_blocks(frame, body, &snapshot.blocked(self.reversed, &self.filter)),
            tab => self.draw_counters(frame, body, &snapshot.rows(tab, self.sort, self.reversed, &self.filter)),
        }
        let foot_text = if self.typing { format!("filter: {}_", self.filter) } else { HELP.to_owned() };
        frame.render_widget(Paragraph::new(foot_text.dim()), foot);
    }

    fn head<'a>(&self, snapshot: &'a Snapshot) -> Vec<Line<'a>> {
        let health = &snapshot.health;
        let (status, colour) = match health.status {
            HealthStatus::Connected => ("connected", Color::Green),
            HealthStatus::Degraded => ("degraded", Color::Yellow),
            _ => ("disconnected", Color::Red),
        };
        let mut store = vec![Span::raw(format!("{}  ", health.store)), Span::styled(status, Style::new().fg(colour))];
        if let Some(ping_ms) = health.ping_ms {
            store.push(Span::raw(format!("  ping {ping_ms:.1} ms")));
        }
        match (health.server.used_memory_bytes, health.server.max_memory_bytes) {
            (Some(used), Some(most @ 1..)) => {
                store.push(Span::raw(format!("  memory {} of {} MiB", mib(used), mib(most))))
            }
            (Some(used), _) => store.push(Span::raw(format!("  memory {} MiB", mib(used)))),
            _ => {}
        }
        let why = snapshot.trouble.as_ref().or(health.reasons.first());
        let extent = match why {
            Some(why) => Span::styled(format!("{}; {why}", snapshot.extent()), Style::new().fg(Color::Yellow)),
            None => Span::raw(snapshot.extent()),
        };
        let time = Span::raw(format!("{} UTC  ", people_time(snapshot.now_ms)));
        let mut tabs = Vec::new();
        for (place, (tab, name)) in Tab::ALL.into_iter().enumerate() {
            let text = format!(" {} {name} ", place + 1);
            tabs.push(if tab == self.tab { text.reversed() } else { text.into() });
        }
        let order = match self.tab {
            Tab::Holds => "age",
            Tab::Blocks => "end",
            _ => self.sort.word(),
        };
        tabs.push(Span::raw(format!("  by {order}{}", if self.reversed { ", reversed" } else { "" })));
        if !self.filter.is_empty() {
            tabs.push(Span::raw(format!("  filter {}", self.filter)));
        }
        vec![Line::from(store), Line::from(snapshot.summary()), Line::from(vec![time, extent]), Line::from(tabs)]
    }

    fn draw_counters(&mut self, frame: &mut Frame<'_>, area: Rect, rows: &[&CounterRow]) {
        let shown = self.shown(rows.len(), area).map(|place| {
            let row = rows[place];
            let colour = match row.state() {
                "full" | "blocked" => Color::Red,
                "close" => Color::Yellow,
                _ => Color::Reset,
            };
            (row.cells(), Style::new().fg(colour))
        });
        frame.render_widget(columns::table(shown.collect(), area), area);
    }

    fn draw_holds(&mut self, frame: &mut Frame<'_>, area: Rect, rows: &[&HoldRow]) {
        let shown = self.shown(rows.len(), area).map(|place| {
            let HoldRow { root, id, age, expires_ms } = rows[place];
            [shown(id).into_owned(), shown(root).into_owned(), people_duration(*age), people_time(*expires_ms)]
        });
        let table = columns::names(["hold", "root", "age", "expires (UTC)"], shown.collect(), area);
        frame.render_widget(table, area);
    }

    fn draw_blocks(&mut self, frame: &mut Frame<'_>, area: Rect, rows: &[&BlockRow]) {
        let shown = self.shown(rows.len(), area).map(|place| {
            let BlockRow { root, scope, until_ms } = rows[place];
            [shown(scope).into_owned(), shown(root).into_owned(), people_time(*until_ms)]
        });
        frame.render_widget(columns::names(["blocked", "root", "until (UTC)"], shown.collect(), area), area);
    }

    /// The places of the rows that fit.
    fn shown(&mut self, rows: usize, area: Rect) -> std::ops::Range<usize> {
        let room = usize::from(area.height).saturating_sub(1);
        self.offset = self.offset.min(rows.saturating_sub(room));
        self.offset..rows.min(self.offset + room)
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
