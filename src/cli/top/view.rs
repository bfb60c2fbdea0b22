//! What is shown of a survey: rows in an order, those that a filter leaves.

use std::cmp::Reverse;
use std::time::Duration;

use costguard::Meter;
use costguard::service::Health;

use super::survey::{Progress, Survey};
use crate::cli::output::{decoded, readable, shown};
use crate::cli::states::at_most;

/// From here on a limit is close to full, in thousandths.
const CLOSE: i64 = 800;

/// A store as it was after one turn.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) health: Health,
    /// Why the last turn found nothing new.
    pub(super) trouble: Option<String>,
    pub(super) now_ms: i64,
    pub(super) progress: Progress,
    pub(super) counters: Vec<CounterRow>,
    pub(super) holds: Vec<HoldRow>,
    pub(super) blocks: Vec<BlockRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CounterRow {
    /// `None` in the plain layout.
    pub(super) root: Option<String>,
    pub(super) scope: String,
    pub(super) meter: Meter,
    pub(super) per: String,
    pub(super) window: String,
    /// `None` of a rate without a policy.
    pub(super) used: Option<i64>,
    pub(super) held: i64,
    pub(super) limit: Option<i64>,
    /// How many of a rate may come at once, where that is another number.
    pub(super) burst: Option<i64>,
    /// By how much the limit may be passed.
    pub(super) overdraft: i64,
    /// Whether the limit refuses nothing.
    pub(super) is_shadow: bool,
    /// How full, in thousandths.
    pub(super) share: Option<i64>,
    pub(super) blocked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HoldRow {
    pub(super) root: String,
    pub(super) id: String,
    pub(super) age: Duration,
    pub(super) expires_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockRow {
    pub(super) root: String,
    pub(super) scope: String,
    pub(super) until_ms: i64,
}

/// What the table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    /// Money by scope.
    #[default]
    Spend,
    /// What has a limit.
    Limits,
    /// Everything that is counted.
    Counters,
    Holds,
    /// Scopes that nothing is granted to, whether anything of them is counted or not.
    Blocks,
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    Used,
    Held,
    Full,
    Name,
}

impl Tab {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Spend, "spend"),
        (Self::Limits, "limits"),
        (Self::Counters, "counters"),
        (Self::Holds, "holds"),
        (Self::Blocks, "blocks"),
    ];

    pub(super) fn next(self) -> Self {
        let place = Self::ALL.iter().position(|(tab, _)| *tab == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()].0
    }

    /// What it is sorted by until somebody wants it otherwise.
    pub(super) fn sort(self) -> Sort {
        if self == Self::Limits { Sort::Full } else { Sort::Used }
    }
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Used => Self::Held,
            Self::Held => Self::Full,
            Self::Full => Self::Name,
            Self::Name => Self::Used,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Held => "held",
            Self::Full => "full",
            Self::Name => "name",
        }
    }
}

/// The columns of a [`CounterRow`].
pub(super) const COLUMNS: [&str; 9] = ["scope", "root", "meter", "per", "used", "held", "at most", "full", ""];

impl CounterRow {
    /// What stands under [`COLUMNS`].
    pub(super) fn cells(&self) -> [String; 9] {
        [
            shown(&self.scope).into_owned(),
            shown(self.root()).into_owned(),
            readable(self.meter.as_str()),
            self.per.clone(),
            self.amount(self.used),
            self.amount(Some(self.held)),
            at_most(&self.meter, self.limit, self.burst, self.overdraft),
            self.share_text(),
            self.state().to_owned(),
        ]
    }

    /// The state in a word: what a request would meet. A store does not count denials, so this is what can be told of them.
    pub(super) fn state(&self) -> &'static str {
        match self.share {
            _ if self.blocked => "blocked",
            Some(_) if self.is_shadow => "shadow",
            Some(1000..) => "full",
            Some(CLOSE..) => "close",
            _ => "",
        }
    }

    /// `80.5%`, cut off and not rounded, so that only what is full is 100%.
    pub(super) fn share_text(&self) -> String {
        self.share.map_or_else(|| "-".to_owned(), |share| format!("{}.{}%", share / 10, share % 10))
    }

    pub(super) fn amount(&self, amount: Option<i64>) -> String {
        match (amount, &self.root) {
            (None, _) => "-".to_owned(),
            (Some(amount), Some(_)) => self.meter.format_amount(amount),
            // Cents of the daily guard, or billionths of a dollar: the key does not tell.
            (Some(amount), None) => amount.to_string(),
        }
    }

    fn root(&self) -> &str {
        self.root.as_deref().unwrap_or("-")
    }

    fn has(&self, filter: &str) -> bool {
        [self.root(), &self.scope, &decoded(self.meter.as_str()), &self.per, self.state()]
            .iter()
            .any(|text| contains(text, filter))
    }
}

impl Snapshot {
    pub(super) fn of(survey: &Survey, health: Health, trouble: Option<String>) -> Self {
        let is_blocked = |root: &Option<String>, scope: &String| {
            root.as_ref().is_some_and(|root| survey.blocks.contains_key(&(root.clone(), scope.clone())))
        };
        let counters = survey.counters.iter().map(|(id, counted)| CounterRow {
            root: id.root.clone(),
            scope: id.scope.clone(),
            meter: id.meter.clone(),
            per: counted.window.to_string(),
            window: id.window.clone(),
            // Of what is open nothing is used: it is held.
            used: if counted.is_open() { Some(0) } else { counted.used() },
            held: counted.held(),
            limit: counted.limit(),
            burst: counted.burst(),
            overdraft: counted.overdraft(),
            is_shadow: counted.is_shadow(),
            share: counted.share(),
            blocked: is_blocked(&id.root, &id.scope),
        });
        let holds = survey.holds.iter().map(|((root, id), held)| HoldRow {
            root: root.clone(),
            id: id.clone(),
            age: Duration::from_millis(u64::try_from(survey.now_ms - held.reserved_ms).unwrap_or(0)),
            expires_ms: held.expires_ms,
        });
        let blocks = survey.blocks.iter().map(|((root, scope), (until_ms, _))| BlockRow {
            root: root.clone(),
            scope: scope.clone(),
            until_ms: *until_ms,
        });
        Self {
            health,
            trouble,
            now_ms: survey.now_ms,
            progress: survey.progress,
            counters: counters.collect(),
            holds: holds.collect(),
            blocks: blocks.collect(),
        }
    }

    /// The counters of a view in its order.
    pub(super) fn rows(&self, tab: Tab, sort: Sort, reversed: bool, filter: &str) -> Vec<&CounterRow> {
        let belongs = |row: &&CounterRow| match tab {
            Tab::Spend => row.meter == Meter::COST,
            Tab::Limits => row.limit.is_some(),
            Tab::Counters => true,
            Tab::Holds | Tab::Blocks => false,
        };
        let mut rows: Vec<_> = self.counters.iter().filter(belongs).filter(|row| row.has(filter)).collect();
        // They come sorted by name, which stays where two are equal.
        match sort {
            Sort::Used => rows.sort_by_key(|row| Reverse(row.used)),
            Sort::Held => rows.sort_by_key(|row| Reverse(row.held)),
            Sort::Full => rows.sort_by_key(|row| Reverse(row.share)),
            Sort::Name => rows.sort_by_key(|row| (&row.scope, &row.root, &row.meter)),
        }
        if reversed {
            rows.reverse();
        }
        rows
    }

    /// The open holds, the oldest first.
    pub(super) fn held(&self, reversed: bool, filter: &str) -> Vec<&HoldRow> {
        let has = |row: &&HoldRow| contains(&row.root, filter) || contains(&row.id, filter);
        let mut rows: Vec<_> = self.holds.iter().filter(has).collect();
        rows.sort_by_key(|row| Reverse(row.age));
        if reversed {
            rows.reverse();
        }
        rows
    }

    /// The blocked scopes, the next to end first.
    pub(super) fn blocked(&self, reversed: bool, filter: &str) -> Vec<&BlockRow> {
        let has = |row: &&BlockRow| contains(&row.root, filter) || contains(&row.scope, filter);
        let mut rows: Vec<_> = self.blocks.iter().filter(has).collect();
        rows.sort_by_key(|row| row.until_ms);
        if reversed {
            rows.reverse();
        }
        rows
    }

    /// All there is to see at a glance: `12 counters, 2 limits full, 1 close, 3 holds open, 1 scope blocked`. Where no limit is
    /// known, for want of a policy, nothing is said of them.
    pub(super) fn summary(&self) -> String {
        let limits = self.counters.iter().filter(|row| row.limit.is_some() && !row.is_shadow);
        let full = limits.clone().filter(|row| row.share >= Some(1000)).count();
        let close = limits.filter(|row| row.share >= Some(CLOSE)).count() - full;
        let knows_limits = self.counters.iter().any(|row| row.limit.is_some());
        let limits =
            if knows_limits { format!(", {} full, {close} close", counted(full, "limit")) } else { String::new() };
        let counters = counted(self.counters.len(), "counter");
        let (holds, blocks) = (counted(self.holds.len(), "hold"), counted(self.blocks.len(), "scope"));
        format!("{counters}{limits}, {holds} open, {blocks} blocked")
    }

    /// How much of the store this shows.
    pub(super) fn extent(&self) -> String {
        let Progress { keys, complete, pass, overflowed } = self.progress;
        match (complete, overflowed) {
            (_, true) => format!("partial: more than can be kept; about {keys} keys in the last turn"),
            (false, _) => format!("partial: still looking, about {keys} keys in the last turn"),
            (true, _) if pass > Duration::from_secs(2) => {
                format!("all keys, each looked at every {} s", pass.as_secs())
            }
            (true, _) => "all keys".to_owned(),
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn contains(text: &str, filter: &str) -> bool {
    text.to_lowercase().contains(&filter.to_lowercase())
}
