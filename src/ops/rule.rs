//! Overrides of limits and blocks of scopes: what changes a decision without a deploy. Twin of `lua/rule.lua` and
//! `lua/rules.lua`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::engine::{Engine, unexpected};
use super::request::awaits;
use super::rulings::rule_name;
use super::time::{injected_ms, since_epoch_ms, time_text};
use crate::error::{Error, Result};
use crate::model::{Counter, Limit, Scope, Subject, Window};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// How long an override lasts that has no end: no key lives for ever.
const LASTING: Duration = Duration::from_secs(400 * 86_400);

/// A change of one rule, made by [`CostGuard::set_limit`](crate::CostGuard::set_limit), `clear_limit`, `block` or `unblock`.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct SetRule<'a> {
    engine: &'a Engine,
    subject: &'a Subject,
    scope_kind: &'a str,
    what: What<'a>,
    ends: Ends,
    at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug)]
enum What<'a> {
    Limit(&'a Counter, i64),
    Block,
    ClearLimit(&'a Counter),
    Unblock,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    After(Duration),
    At(DateTime<Utc>),
}

impl<'a> SetRule<'a> {
    fn new(engine: &'a Engine, subject: &'a Subject, scope_kind: &'a str, what: What<'a>) -> Self {
        Self { engine, subject, scope_kind, what, ends: Ends::After(LASTING), at: None }
    }

    pub(crate) fn limit(engine: &'a Engine, subject: &'a Subject, counter: &'a Counter, limit: i64) -> Self {
        Self::new(engine, subject, counter.scope_kind(), What::Limit(counter, limit))
    }

    pub(crate) fn clear(engine: &'a Engine, subject: &'a Subject, counter: &'a Counter) -> Self {
        Self::new(engine, subject, counter.scope_kind(), What::ClearLimit(counter))
    }

    pub(crate) fn block(engine: &'a Engine, subject: &'a Subject, scope_kind: &'a str, ttl: Duration) -> Self {
        Self { ends: Ends::After(ttl), ..Self::new(engine, subject, scope_kind, What::Block) }
    }

    pub(crate) fn unblock(engine: &'a Engine, subject: &'a Subject, scope_kind: &'a str) -> Self {
        Self::new(engine, subject, scope_kind, What::Unblock)
    }

    /// Until when it is to count. Without an end an override lasts 400 days.
    pub fn until(mut self, end: DateTime<Utc>) -> Self {
        self.ends = Ends::At(end);
        self
    }

    /// For how long it is to count, from the store's now.
    pub fn lasting(mut self, ttl: Duration) -> Self {
        self.ends = Ends::After(ttl);
        self
    }

    /// Goes by this time and not by the store's clock: for replays and tests.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    fn call(&self) -> Result<ScriptCall> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let scope = self.subject.scope_of(self.scope_kind)?;
        let (name, limit, sets) = match self.what {
            What::Limit(_, limit) if limit < 0 => {
                return Err(Error::invalid("a limit is 0 or more; clear it to go back to the policy's own"));
            }
            What::Limit(counter, limit) => {
                Limit::check_override(counter, limit)?;
                (rule_name(&scope, counter), limit.to_string(), true)
            }
            What::ClearLimit(counter) => (rule_name(&scope, counter), String::new(), false),
            What::Block => (format!("block {scope}"), String::new(), true),
            What::Unblock => (format!("block {scope}"), String::new(), false),
        };
        let until_ms = match self.ends {
            _ if !sets => String::new(),
            Ends::At(end) => since_epoch_ms(end)?.to_string(),
            // By the store's clock, which ours need not agree with.
            Ends::After(ttl) => format!("+{}", ttl.as_millis().min(MOST_MS)),
        };
        let prefix = &self.engine.prefix;
        let keys = vec![self.subject.own_key(prefix, "rules"), self.subject.own_key(prefix, "ruled")];
        let args = vec![name, limit, until_ms, at_ms.map(time_text).unwrap_or_default()];
        Ok(ScriptCall { script: script::of(Op::Rule), keys, args, idempotent: true })
    }

    async fn run(self) -> Result<()> {
        let call = self.call()?;
        self.engine.run_unclocked(&call).await?.expect("OK")
    }
}

awaits!(SetRule -> ());

/// The longest span that the scripts take; they end it in the year 5138.
const MOST_MS: u128 = 100_000_000_000_000;

/// A look at the rules of a root, made by [`CostGuard::rules`](crate::CostGuard::rules).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct ListRules<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) subject: &'a Subject,
    pub(crate) at: Option<DateTime<Utc>>,
}

/// A rule that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it concerns.
    pub scope: Scope,
    /// What it does.
    pub kind: RuleKind,
    /// When it ends, in milliseconds since the epoch by the store's clock.
    pub until_ms: i64,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Nothing is granted.
    Block,
    /// The limit on this counter is another one.
    Limit {
        /// The limit that is overridden.
        counter: Counter,
        /// What it is instead, in the meter's unit.
        limit: i64,
    },
}

impl ListRules<'_> {
    /// Lists the rules that count at this time and not at the store's now.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    async fn run(self) -> Result<Vec<Rule>> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        self.subject.check()?;
        let keys = vec![self.subject.own_key(&self.engine.prefix, "rules")];
        let args = vec![at_ms.map(time_text).unwrap_or_default()];
        let call = ScriptCall { script: script::of(Op::Rules), keys, args, idempotent: true };
        let mut answer = self.engine.run_unclocked(&call).await?;
        answer.expect("OK")?;
        answer.word()?;
        answer.rest().lines().map(|line| Rule::read(line).ok_or_else(|| unexpected(line))).collect()
    }
}

impl Rule {
    /// Reads `UNTIL_MS LIMIT SCOPE METER WINDOW` or `UNTIL_MS - block SCOPE`.
    fn read(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let (scope, kind) = match words[..] {
            [_, "-", "block", scope] => (Scope::of_key(scope), RuleKind::Block),
            [_, limit, scope, meter, window] => {
                let scope = Scope::of_key(scope);
                let window = window.parse::<Window>().ok()?;
                let counter = Counter::new(scope.kind(), crate::model::Meter::of_key(meter), window);
                (scope, RuleKind::Limit { counter, limit: limit.parse().ok()? })
            }
            _ => return None,
        };
        Some(Self { scope, kind, until_ms: words[0].parse().ok()? })
    }
}

awaits!(ListRules -> Vec<Rule>);
