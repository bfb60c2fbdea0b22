//! A policy resolved for one subject at one time: which counters and rates, which windows, how much.

mod reading;

pub(crate) use reading::{filled, read_rate};

use super::engine::Engine;
use super::rulings::rule_name;
use super::time::second_text;
use crate::error::{Error, Result};
use crate::model::{Amounts, Counter, Denial, Limit, LimitState, Meter, Per, Policy, Scope, Span, Subject};

/// How long a `total` counter lives after its last write.
const TOTAL_TTL_MS: i64 = 400 * 86_400_000;

/// How long what counts open holds lives after a hold came to a new bucket: twice the longest TTL of a hold.
const OPEN_TTL_MS: i64 = 60 * 86_400_000;

/// More than any sliding window has to keep.
const MOST_IN_WINDOW: &str = "1000000000000000";

/// A burst that no bucket comes to, whenever it is asked.
const BEYOND_ANY_BURST: &str = "1e99";

/// The limits of one request, in the policy's order. The scripts take the counters first, then rates, then marks of warnings.
#[derive(Debug)]
pub(crate) struct Plan {
    policy: Policy,
    pub(crate) entries: Vec<Entry>,
    /// The latest start and the earliest end among what is named for a time.
    span_ms: (i64, i64),
    renews: bool,
    rules: Rules,
    /// Whether no limit is to refuse.
    lifted: bool,
    /// Whether limits on calls open at once are left as they are.
    opens_none: bool,
}

/// Where the overrides and blocks of the root are; empty for what is no decision.
#[derive(Debug, Default)]
struct Rules {
    /// The key that is there while there are any.
    ruled_key: String,
    /// The key of the rules, and what to ask it, when the root is known to have some.
    asked: Option<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    scope: Scope,
    pub(crate) key: String,
    span_ms: (i64, i64),
    /// When the counter's key ends, as the scripts read it.
    pub(crate) expiry: String,
    pub(crate) amount: i64,
    /// The amount of the request, whatever part of it is taken.
    asked: i64,
    part: Option<Part>,
}

/// An amount that is decided by the store: what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Up to the amount that was asked for.
    UpTo,
    /// All of it.
    All,
}

impl Entry {
    /// The amount as the scripts read it.
    pub(crate) fn amount_text(&self) -> String {
        match self.part {
            None => self.amount.to_string(),
            Some(Part::UpTo) => format!("<{}", self.amount),
            Some(Part::All) => "<".to_owned(),
        }
    }
}

/// A counter of a subject at one time.
pub(crate) struct Named {
    pub(crate) scope: Scope,
    pub(crate) key: String,
    pub(crate) span_ms: (i64, i64),
    pub(crate) expiry: String,
}

impl Named {
    pub(crate) fn new(engine: &Engine, counter: &Counter, subject: &Subject, now_ms: i64) -> Result<Self> {
        let scope = subject.scope_of(counter.scope_kind())?;
        let (key, span_ms) = counter.window().with_span_at(now_ms, |span| {
            (counter.key(&engine.prefix, subject, &scope, &span.name), (span.start_ms, span.end_ms))
        })?;
        let expiry = match counter.window().per() {
            Per::Total => format!("+{TOTAL_TTL_MS}"),
            Per::Open => format!("+{OPEN_TTL_MS}"),
            _ => {
                let retention_ms = i64::try_from(engine.retention.as_millis()).unwrap_or(i64::MAX);
                span_ms.1.saturating_add(retention_ms).to_string()
            }
        };
        Ok(Self { scope, key, span_ms, expiry })
    }
}

impl Plan {
    /// Names the counters and rates of `policy` for `subject` at `now_ms`, with the amount that `amount` gives each meter.
    pub(crate) fn new(
        engine: &Engine,
        policy: &Policy,
        subject: &Subject,
        now_ms: i64,
        amount: impl Fn(&Meter) -> Result<i64>,
    ) -> Result<Self> {
        let mut entries = Vec::with_capacity(policy.limits().len());
        let (mut latest_start_ms, mut earliest_end_ms, mut renews) = (0, Span::NEVER_MS, false);
        for limit in policy.limits() {
            let counter = limit.counter();
            let Named { scope, key, span_ms, expiry } = Named::new(engine, counter, subject, now_ms)?;
            let amount = amount(counter.meter())?;
            latest_start_ms = latest_start_ms.max(span_ms.0);
            earliest_end_ms = earliest_end_ms.min(span_ms.1);
            renews |= counter.window().per() == Per::Total;
            entries.push(Entry { scope, key, span_ms, expiry, amount, asked: amount, part: None });
        }
        let span_ms = (latest_start_ms, earliest_end_ms);
        Ok(Self {
            policy: policy.clone(),
            entries,
            span_ms,
            renews,
            rules: Rules::default(),
            lifted: false,
            opens_none: false,
        })
    }

    /// For a decision: with the overrides and blocks of the root.
    pub(crate) fn with_rules(mut self, engine: &Engine, subject: &Subject) -> Self {
        self.rules.ruled_key = subject.own_key(&engine.prefix, "ruled");
        if engine.rules.are_under(&self.rules.ruled_key) {
            self.rules.asked = Some((subject.own_key(&engine.prefix, "rules"), self.questions(subject)));
        }
        self
    }

    /// Lets no limit refuse, and no rule: for what has been granted. Warnings are left to the next request.
    pub(crate) fn lift(&mut self, engine: &Engine, subject: &Subject) {
        self.lifted = true;
        // A key that never is.
        self.rules = Rules { ruled_key: subject.own_key(&engine.prefix, "unruled"), asked: None };
    }

    /// Leaves limits on calls open at once as they are: what is asked for is over.
    ///
    /// # Errors
    /// `Invalid` when there is no other limit.
    pub(crate) fn open_none(&mut self) -> Result<()> {
        self.opens_none = true;
        match (self.each().next(), self.limits().first()) {
            (None, Some(limit)) => Err(Error::invalid(format!(
                "`{}` counts what is open, and a charge is over: there is nothing to charge in this policy",
                limit.counter()
            ))),
            _ => Ok(()),
        }
    }

    /// A limit as the scripts read it. One that is lifted keeps what its state is reckoned by.
    fn limit_text(&self, limit: &Limit) -> String {
        match limit.counter().window().per() {
            _ if !self.lifted || limit.limit().is_none() => limit_text(limit),
            // One of nothing is reckoned as one of one.
            Per::Rate(_) => limit.limit().map_or(1, |most| most.max(1)).to_string(),
            Per::Sliding(_) | Per::Log(_) => MOST_IN_WINDOW.to_owned(),
            _ => i64::MAX.to_string(),
        }
    }

    fn span_and_how(&self, limit: &Limit) -> [String; 2] {
        let [span_us, how] = span_and_how(limit);
        match limit.counter().window().per() {
            Per::Rate(_) if self.lifted => [span_us, BEYOND_ANY_BURST.to_owned()],
            _ => [span_us, how],
        }
    }

    /// As [`new`](Self::new), with the amounts of a request.
    pub(crate) fn of_amounts(
        engine: &Engine,
        policy: &Policy,
        subject: &Subject,
        now_ms: i64,
        amounts: &Amounts,
    ) -> Result<Self> {
        Self::new(engine, policy, subject, now_ms, |meter| amounts.of(meter))
    }

    /// Whether it is one GCRA rate, of which a whole amount is asked, and nothing else.
    pub(crate) fn is_one_rate(&self) -> bool {
        let ([limit], [entry]) = (self.limits(), &self.entries[..]) else { return false };
        matches!(limit.counter().window().per(), Per::Rate(_)) && entry.part.is_none()
    }

    /// Whether it asks for what there is of something.
    pub(crate) fn takes_part(&self) -> bool {
        self.entries.iter().any(|entry| entry.part.is_some())
    }

    /// Asks for what there is of a meter.
    pub(crate) fn take_part(&mut self, meter: &Meter, part: Part) {
        for (entry, limit) in self.entries.iter_mut().zip(self.policy.limits()) {
            if limit.counter().meter() == meter {
                entry.part = Some(part);
            }
        }
    }

    /// Asks for no more than this of what is a part: it has been granted.
    pub(crate) fn set_part(&mut self, amount: i64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.part.is_some()) {
            (entry.amount, entry.part) = (amount, Some(Part::UpTo));
        }
    }

    /// Sets the amounts that the store decided on.
    fn fill_parts(&mut self, amount: i64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.part.is_some()) {
            (entry.amount, entry.part) = (amount, None);
        }
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        self.policy.limits()
    }

    pub(crate) fn renews(&self) -> bool {
        self.renews
    }

    /// The key by which the engine knows the root.
    pub(crate) fn root(&self) -> &str {
        &self.rules.ruled_key
    }

    fn each(&self) -> impl Iterator<Item = (usize, &Limit, &Entry)> {
        let all = self.policy.limits().iter().zip(&self.entries).enumerate();
        all.map(|(place, (limit, entry))| (place, limit, entry))
            .filter(|(_, limit, _)| !self.opens_none || limit.counter().window().per() != Per::Open)
    }

    /// What is kept in counters, with its place in the policy.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (usize, &Limit, &Entry)> {
        self.each().filter(|(_, limit, _)| !is_rate(limit))
    }

    /// What is kept as the state of a rate.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (usize, &Limit, &Entry)> {
        self.each().filter(|(_, limit, _)| is_rate(limit))
    }

    fn warned(&self) -> impl Iterator<Item = (usize, &Limit, &Entry)> {
        self.each().filter(|(_, limit, _)| !self.lifted && !limit.warnings().is_empty())
    }

    /// One letter a counter: how the scripts know where counters end.
    pub(crate) fn letters(&self) -> String {
        counter_letters(self.counters().count())
    }

    /// Holds for this span of time only, within that of the windows.
    pub(crate) fn narrow(&mut self, span_ms: (i64, i64)) {
        self.span_ms = (self.span_ms.0.max(span_ms.0), self.span_ms.1.min(span_ms.1));
    }

    /// `latest_start_s, earliest_end_s`: ten digits each.
    pub(crate) fn write_span(&self, args: &mut Vec<String>) {
        args.extend([second_text(self.span_ms.0), second_text(self.span_ms.1)]);
    }

    /// `counters, latest_start_s, earliest_end_s, expiries`
    pub(crate) fn write_windows(&self, args: &mut Vec<String>) {
        args.push(self.letters());
        self.write_span(args);
        let mut expiries = String::with_capacity(16 * self.entries.len());
        for (_, _, entry) in self.counters() {
            expiries.push_str(if expiries.is_empty() { "" } else { " " });
            expiries.push_str(&entry.expiry);
        }
        args.push(expiries);
    }

    /// `(amount, limit)..., (amount, limit, span_us, how)...`
    pub(crate) fn write_limits(&self, args: &mut Vec<String>) {
        for (_, limit, entry) in self.counters() {
            args.extend([entry.amount_text(), self.limit_text(limit)]);
        }
        self.write_states(args);
    }

    /// `(amount, limit, span_us, how)...`: rates, then marks of warnings.
    pub(crate) fn write_states(&self, args: &mut Vec<String>) {
        for (_, limit, entry) in self.rates() {
            args.extend([entry.amount_text(), self.limit_text(limit)]);
            args.extend(self.span_and_how(limit));
        }
        for (place, limit, entry) in self.warned() {
            let position = self.counters().position(|(at, _, _)| at == place).unwrap_or_default() + 1;
            let most = limit.limit().unwrap_or_default();
            let amounts: Vec<_> = limit.warnings().iter().map(|share| share.of(most).to_string()).collect();
            args.extend([position.to_string(), amounts.join(","), entry.expiry.clone(), "warn".to_owned()]);
        }
    }

    /// The keys of rates and of marks of warnings.
    pub(crate) fn state_keys(&self) -> impl Iterator<Item = String> {
        let marks = self.warned().map(|(_, _, entry)| [&entry.key, ":warned"].concat());
        self.rates().map(|(_, _, entry)| entry.key.clone()).chain(marks)
    }

    /// The keys of a decision: `counter..., held..., state..., ruled, middle, holds..., [rules]`.
    pub(crate) fn keys(&self, middle: Option<String>) -> Vec<String> {
        let counters = || self.counters().map(|(_, _, entry)| entry.key.as_str());
        let mut keys = Vec::with_capacity(self.entries.len() * 3 + 3);
        keys.extend(counters().map(str::to_owned));
        keys.extend(counters().map(|key| [key, ":held"].concat()));
        keys.extend(self.state_keys());
        keys.push(self.rules.ruled_key.clone());
        keys.extend(middle);
        keys.extend(counters().map(|key| [key, ":holds"].concat()));
        keys.extend(self.rules_key());
        keys
    }

    pub(crate) fn ruled_key(&self) -> String {
        self.rules.ruled_key.clone()
    }

    pub(crate) fn rules_key(&self) -> Option<String> {
        self.rules.asked.as_ref().map(|(key, _)| key.clone())
    }

    /// What to ask the rules: empty while there are none as far as we know.
    pub(crate) fn asked(&self) -> &str {
        self.rules.asked.as_ref().map_or("", |(_, asked)| asked)
    }

    fn questions(&self, subject: &Subject) -> String {
        let mut lines: Vec<_> = self
            .counters()
            .chain(self.rates())
            .map(|(_, limit, entry)| match limit.is_fixed() {
                true => "0 -".to_owned(),
                false => format!("{} {}", limit.allowed_overdraft(), rule_name(&entry.scope, limit.counter())),
            })
            .collect();
        lines.extend(subject.all_scopes().map(|scope| format!("block {scope}")));
        lines.join("\n")
    }

    /// Where a limit stands that nothing was taken from.
    pub(crate) fn state(&self, place: usize, used: i64, held: i64) -> LimitState {
        let (limit, entry) = (&self.limits()[place], &self.entries[place]);
        LimitState::new(limit, entry.scope.clone(), entry.span_ms, used, held)
    }

    /// What a denial is remembered under: who asks for what, in which windows, and which limits an override may lift.
    pub(crate) fn denial_key(&self) -> String {
        let mut key = String::with_capacity(64 * self.entries.len());
        for (_, limit, entry) in self.each() {
            let word = if limit.is_fixed() { " fixed " } else { " " };
            key.extend([entry.key.as_str(), word, &limit_text(limit), "\n"]);
        }
        key
    }

    /// The place of a limit that refuses until its window ends, whatever happens meanwhile, and when that is: one that no
    /// override changes, and that what is used already has no room beside.
    pub(crate) fn unliftable(&self, denial: &Denial) -> Option<(usize, i64)> {
        let refuses = |place: usize| {
            let (limit, state) = (self.limits().get(place)?, &denial.limits[place]);
            let most = limit.limit()?.checked_add(limit.allowed_overdraft())?;
            let is_window = !is_rate(limit) && !matches!(limit.counter().window().per(), Per::Open | Per::Total);
            let alone = state.used.checked_add(self.entries[place].amount).is_none_or(|sum| sum > most);
            (limit.is_fixed() && is_window && alone && self.entries[place].part.is_none())
                .then_some((place, state.span_ms.1))
        };
        denial.refused_by.iter().filter_map(|place| refuses(*place)).max_by_key(|(_, ends_ms)| *ends_ms)
    }
}

fn is_rate(limit: &Limit) -> bool {
    limit.counter().window().per().rate_period().is_some()
}

/// `span_us, how` of a rate.
pub(crate) fn span_and_how(limit: &Limit) -> [String; 2] {
    let per = limit.counter().window().per();
    let how = match per {
        Per::Sliding(_) => "sliding".to_owned(),
        Per::Log(_) => "log".to_owned(),
        _ => limit.own_burst().map(|burst| burst.to_string()).unwrap_or_default(),
    };
    [per.rate_period().map_or(0, |period| period.us()).to_string(), how]
}

/// A limit as the scripts read it: empty for none, with a plus when it refuses nothing.
pub(crate) fn limit_text(limit: &Limit) -> String {
    let most = limit.limit().map(|most| most.saturating_add(limit.allowed_overdraft()));
    match most {
        Some(most) if limit.is_shadow() => format!("+{most}"),
        Some(most) => most.to_string(),
        None => String::new(),
    }
}

/// One letter a counter.
pub(crate) fn counter_letters(count: usize) -> String {
    const LETTERS: &str = "cccccccccccccccccccccccccccccccc";
    const { assert!(LETTERS.len() == crate::model::MAX_LIMITS) };
    LETTERS[..count.min(LETTERS.len())].to_owned()
}

/// Text that is the same for a repeat of a request and differs for another request: what the receipt is checked by.
/// The windows are not in it, for a repeat may come in the next one.
pub(crate) fn fingerprint<'a>(verb: &str, parts: impl Iterator<Item = (&'a Scope, &'a Counter, i64)>) -> String {
    let mut sha1 = sha1_smol::Sha1::from(verb);
    for (scope, counter, amount) in parts {
        sha1.update(format!("\n{scope} {} {} {amount}", counter.meter(), counter.window()).as_bytes());
    }
    short_hex(&sha1)
}

/// The first 64 bits: enough to tell two requests under one id apart.
pub(crate) fn short_hex(sha1: &sha1_smol::Sha1) -> String {
    let mut hex = sha1.digest().to_string();
    hex.truncate(16);
    hex
}

impl Plan {
    /// The [`fingerprint`] of a request that does `verb` with this plan.
    pub(crate) fn fingerprint(&self, verb: &str) -> String {
        let parts = self.entries.iter().zip(self.limits());
        fingerprint(verb, parts.map(|(entry, limit)| (&entry.scope, limit.counter(), entry.asked)))
    }
}
