//! What `limit`, `block` and `unblock` share: whom a rule concerns, until when, and the list of those in force.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::ensure;
use chrono::{DateTime, Utc};
use costguard::model::GLOBAL;
use costguard::ops::{Rule, RuleKind, SetRule};
use costguard::{CostGuard, Subject};
use serde::Serialize;

use super::output::{after, decoded, print, print_json, readable, shown, table};
use super::target::{RootArgs, ScopeArg, parse_time};
use super::time::{parse_duration_ms, people_duration, people_time, rfc3339};

/// Whom it concerns.
#[derive(Debug, clap::Args)]
pub(crate) struct RuleArgs {
    /// Whom it concerns: a kind that policies limit, and its id, like user:alice; or global
    #[arg(value_name = "KIND:ID", value_parser = parse_scope)]
    scope: ScopeArg,

    #[command(flatten)]
    pub(crate) under: RootArgs,
}

/// Until when.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct EndArgs {
    /// For how long: 90s, 15m, 8h, 30d
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,

    /// Until when, like 2026-02-01 or 2026-02-01T13:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<DateTime<Utc>>,
}

impl EndArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.ttl.is_some() || self.until.is_some()
    }

    /// How long from now, by this machine's clock unless a time was given.
    pub(crate) fn ttl(&self, at: Option<DateTime<Utc>>) -> anyhow::Result<Option<Duration>> {
        let Some(until) = self.until else { return Ok(self.ttl) };
        let left = (until - at.unwrap_or_else(Utc::now)).to_std();
        ensure!(left.is_ok(), "--until {} is over", people_time(until.timestamp_millis()));
        Ok(left.ok())
    }

    /// The rule with its end.
    pub(crate) fn end<'a>(&self, rule: SetRule<'a>, at: Option<DateTime<Utc>>) -> anyhow::Result<SetRule<'a>> {
        let rule = at.into_iter().fold(rule, SetRule::at);
        let Some(ttl) = self.ttl(at)? else { return Ok(rule) };
        Ok(match self.until {
            Some(until) => rule.until(until),
            // By the store's clock, which this machine's need not agree with.
            None => rule.lasting(ttl),
        })
    }
}

/// `user:alice` or `global`.
pub(crate) fn parse_scope(text: &str) -> Result<ScopeArg, String> {
    if text == GLOBAL {
        return Ok(ScopeArg { kind: GLOBAL.to_owned(), id: String::new() });
    }
    text.parse().map_err(|_| format!("expected KIND:ID like user:alice, or global, not {text:?}"))
}

/// A subject with that scope.
pub(crate) fn subject_with(root: &str, scope: &ScopeArg) -> Subject {
    let subject = Subject::new(root);
    if scope.kind == GLOBAL { subject } else { subject.scope(&scope.kind, &scope.id) }
}

/// The rules of this scope.
pub(crate) fn of_scope(rules: Vec<Rule>, subject: &Subject, scope: &ScopeArg) -> anyhow::Result<Vec<Rule>> {
    let own = subject.scope_of(&scope.kind)?;
    Ok(rules.into_iter().filter(|rule| rule.scope == own).collect())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let ms = parse_duration_ms(text, None).and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| format!("expected a duration like 90s, 15m, 8h or 30d, not {text:?}"))
}

impl RuleArgs {
    pub(crate) fn kind(&self) -> &str {
        &self.scope.kind
    }

    pub(crate) fn subject(&self) -> anyhow::Result<Subject> {
        Ok(subject_with(self.under.root_of_rule()?, &self.scope))
    }

    /// The rules that are in force under the root.
    pub(crate) async fn in_force(&self, guard: &CostGuard) -> anyhow::Result<Vec<Rule>> {
        self.under.rules(guard, &self.subject()?).await
    }

    /// Whether such a rule of this scope is in force.
    pub(crate) async fn has(&self, guard: &CostGuard, is_it: impl Fn(&RuleKind) -> bool) -> anyhow::Result<bool> {
        let own = of_scope(self.in_force(guard).await?, &self.subject()?, &self.scope)?;
        Ok(own.iter().any(|rule| is_it(&rule.kind)))
    }

    /// Says that there was nothing to take away, and what is in force under the root.
    pub(crate) async fn report_nothing(&self, guard: &CostGuard, words: &str) -> anyhow::Result<()> {
        let rules = self.in_force(guard).await?;
        list(guard, &self.under, "nothing", &format!("{} {words}", self.scope_text()), &rules)
    }

    /// Says what was done, and what is in force for this scope now.
    pub(crate) async fn report(&self, guard: &CostGuard, done: &str, words: &str) {
        let shown = self.show(guard, done, words).await;
        let what = if done.ends_with("blocked") { "the scope" } else { "the limit" };
        after(&format!("{what} was {done}"), shown);
    }

    async fn show(&self, guard: &CostGuard, done: &str, words: &str) -> anyhow::Result<()> {
        let own = of_scope(self.in_force(guard).await?, &self.subject()?, &self.scope)?;
        list(guard, &self.under, done, &format!("{} {words}", self.scope_text()), &own)
    }

    fn scope_text(&self) -> String {
        let colon = if self.scope.id.is_empty() { "" } else { ":" };
        format!("{}{colon}{}", self.scope.kind, self.scope.id)
    }
}

#[derive(Serialize)]
struct Json<'a> {
    store: String,
    root: &'a str,
    /// `set`, `cleared`, `blocked`, `unblocked` or `shown`; `nothing` where what was to be taken away was not there, and then
    /// the rules are all of the root.
    outcome: &'a str,
    rules: Vec<JsonRule<'a>>,
}

/// A limit has a counter and is in the meter's unit; a block has neither.
#[derive(Serialize)]
struct JsonRule<'a> {
    scope: Cow<'a, str>,
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
    until: String,
}

impl<'a> JsonRule<'a> {
    fn new(rule: &'a Rule) -> Self {
        let (scope, until) = (decoded(rule.scope.as_str()), rfc3339(rule.until_ms));
        match &rule.kind {
            RuleKind::Block => Self { scope, rule: "block", meter: None, per: None, limit: None, until },
            RuleKind::Limit { counter, limit } => Self {
                scope,
                rule: "limit",
                meter: Some(decoded(counter.meter().as_str())),
                per: Some(counter.window().to_string()),
                limit: Some(*limit),
                until,
            },
        }
    }
}

/// Prints rules.
pub(crate) fn list(
    guard: &CostGuard,
    under: &RootArgs,
    outcome: &str,
    words: &str,
    rules: &[Rule],
) -> anyhow::Result<()> {
    let (store, root) = (guard.store().describe(), under.root_of_rule()?);
    if under.json {
        return print_json(&Json { store, root, outcome, rules: rules.iter().map(JsonRule::new).collect() });
    }
    let mut rows = table(&["scope", "rule", "until (UTC)", "ends in"]);
    let now_ms = under.at.unwrap_or_else(Utc::now).timestamp_millis();
    for rule in rules {
        let what = match &rule.kind {
            RuleKind::Block => "blocked".to_owned(),
            RuleKind::Limit { counter, limit } => {
                let limit = counter.meter().format_amount(*limit);
                format!("{} per {} at most {limit}", readable(counter.meter().as_str()), counter.window())
            }
        };
        let left = u64::try_from(rule.until_ms - now_ms).unwrap_or(0);
        rows.add_row([
            readable(rule.scope.as_str()),
            what,
            people_time(rule.until_ms),
            people_duration(Duration::from_millis(left)),
        ]);
    }
    let rows = if rules.is_empty() { "no rules are in force".to_owned() } else { rows.to_string() };
    print(&format!("{}, on {store}, root {}\n\n{rows}", shown(words), shown(root)))
}
