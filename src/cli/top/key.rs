//! What a key of the store is, by its name.

use chrono_tz::Tz;
use costguard::model::{GLOBAL, Per, Window};
use costguard::{Meter, Subject};

use crate::cli::output::decoded;

/// One counter or rate in one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CounterId {
    /// What stands in the hash tag, as it was given; `None` in the plain layout.
    pub(super) root: Option<String>,
    /// `user:alice`, as it was given; in the plain layout the id alone.
    pub(super) scope: String,
    pub(super) meter: Meter,
    /// The window's name, like `2026-02-01`.
    pub(super) window: String,
}

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// What was used.
    Used(CounterId),
    /// What is held beside it, by buckets of time.
    Holds(CounterId),
    /// The record of a hold: its root and its id.
    Hold(String, String),
    /// The overrides and blocks of a root.
    Rules(String),
}

impl Key {
    /// Reads a name, of which the prefix was taken off; `None` for what is nothing to show. Ours hold no control characters,
    /// and others are not to reach a terminal.
    pub(super) fn read(name: &str) -> Option<Self> {
        if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let (meter, rest) = name.split_once(':')?;
        let (root, rest) = match rest.strip_prefix('{') {
            Some(tagged) => {
                let (root, rest) = tagged.split_once('}')?;
                (Some(decoded(root).into_owned()), rest.strip_prefix(':').unwrap_or(rest))
            }
            None => (None, rest),
        };
        match (meter, &root) {
            ("hold", Some(root)) => return Some(Self::Hold(root.clone(), decoded(rest).into_owned())),
            ("rules", Some(root)) => return rest.is_empty().then(|| Self::Rules(root.clone())),
            ("hold" | "rules" | "ruled" | "receipt", _) => return None,
            _ => {}
        }
        let segments: Vec<_> = rest.split(':').collect();
        // In the plain layout an id stands alone, and so does `global`.
        let scope_len = if root.is_none() || segments[0] == GLOBAL { 1 } else { 2 };
        let id = CounterId {
            scope: decoded(&segments.get(..scope_len)?.join(":")).into_owned(),
            window: (*segments.get(scope_len)?).to_owned(),
            meter: Meter::new(&decoded(meter)).ok()?,
            root,
        };
        match segments.get(scope_len + 1..)? {
            [] => Some(Self::Used(id)),
            ["holds"] => Some(Self::Holds(id)),
            _ => None,
        }
    }
}

impl CounterId {
    /// The window that has this name now; `None` when it is over, or none of ours.
    pub(super) fn window_at(&self, now_ms: i64) -> Option<Window> {
        let (name, zone) = match self.window.split_once('@') {
            Some((name, zone)) => (name, zone.parse::<Tz>().ok()?),
            None => (self.window.as_str(), Tz::UTC),
        };
        if let Some((start_s, length_s)) = name.split_once('+').filter(|_| !name.contains('T')) {
            let window = Window::every(length_s.parse().ok()?).ok()?;
            return (window.span_at(now_ms).ok()?.name == format!("{start_s}+{length_s}")).then_some(window);
        }
        if let Ok(per @ (Per::Rate(_) | Per::Sliding(_) | Per::Log(_) | Per::Open | Per::Total)) = name.parse() {
            return Some(Window::new(per));
        }
        let pers = [Per::Minute, Per::Hour, Per::Day, Per::Week, Per::Month, Per::Quarter, Per::Year];
        let mut windows = pers.into_iter().map(|per| Window::new(per).in_zone(zone));
        windows.find(|window| window.span_at(now_ms).is_ok_and(|span| span.name == self.window))
    }

    /// Whose counter it is, to ask the store about; `None` in the plain layout, whose keys do not tell the kind.
    pub(super) fn subject(&self) -> Option<Subject> {
        let subject = Subject::new(self.root.as_deref()?);
        Some(match self.scope.split_once(':') {
            Some((kind, id)) => subject.scope(kind, id),
            None => subject,
        })
    }

    /// The kind of scope; the whole id in the plain layout.
    pub(super) fn kind(&self) -> &str {
        self.scope.split_once(':').map_or(self.scope.as_str(), |(kind, _)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-02-01T13:30:00Z.
    const NOW_MS: i64 = 1_769_952_600_000;

    fn id(root: Option<&str>, scope: &str, meter: &Meter, window: &str) -> CounterId {
        CounterId { root: root.map(str::to_owned), scope: scope.into(), meter: meter.clone(), window: window.into() }
    }

    #[test]
    fn keys_are_known_by_their_names() {
        let alice = id(Some("acme"), "user:alice", &Meter::COST, "2026-02-01");
        assert_eq!(Key::read("cost:{acme}:user:alice:2026-02-01"), Some(Key::Used(alice.clone())));
        assert_eq!(Key::read("cost:{acme}:user:alice:2026-02-01:holds"), Some(Key::Holds(alice)));
        let all = id(Some("acme"), "global", &Meter::REQUESTS, "rate/1m");
        assert_eq!(Key::read("requests:{acme}:global:rate/1m"), Some(Key::Used(all)));
        let plain = id(None, "alice", &Meter::COST, "2026-02-01");
        assert_eq!(Key::read("cost:alice:2026-02-01"), Some(Key::Used(plain)));
        let given = id(Some("a b"), "user:google:1", &Meter::COST, "total");
        assert_eq!(Key::read("cost:{a%20b}:user:google%3A1:total"), Some(Key::Used(given)));
        assert_eq!(Key::read("hold:{acme}:a%3Ab"), Some(Key::Hold("acme".into(), "a:b".into())));
        assert_eq!(Key::read("rules:{acme}"), Some(Key::Rules("acme".into())));
        for other in [
            "ruled:{acme}",
            "receipt:{acme}:f",
            "cost:{acme}:user:alice:2026-02-01:held",
            "cost:{acme}:user:alice:2026-02-01:warned",
            "cost:{acme}:user",
            "cost:{acme",
            "other",
            "cost:{acme}:user:al\u{1b}ice:2026-02-01",
            "",
        ] {
            assert_eq!(Key::read(other), None, "{other}");
        }
    }

    #[test]
    fn only_windows_that_go_on_are_current() {
        for (name, window) in [
            ("2026-02-01", "day"),
            ("2026-02-01T13", "hour"),
            ("29499210", "minute"),
            ("2026-W05", "week"),
            ("2026-02", "month"),
            ("2026-Q1", "quarter"),
            ("2026", "year"),
            ("total", "total"),
            ("open", "open"),
            ("rate/1m", "rate/1m"),
            ("2026-02-01@Europe/Berlin", "day@Europe/Berlin"),
            ("2026-02-01T14+0100@Europe/Berlin", "hour@Europe/Berlin"),
            ("1769952600+90", "90s"),
        ] {
            let current = id(None, "a", &Meter::COST, name).window_at(NOW_MS).map(|window| window.to_string());
            assert_eq!(current.as_deref(), Some(window), "{name}");
        }
        for name in ["2026-01-31", "2026-02-01T12", "1769952510+90", "2026-02-02@Europe/Berlin", "soon", "held", "5+x"]
        {
            assert_eq!(id(None, "a", &Meter::COST, name).window_at(NOW_MS), None, "{name}");
        }
    }
}
