//! Which server, and whose counters: the options that subcommands share, so that they agree.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use costguard::model::GLOBAL;
use costguard::ops::{Peek, Rule, RuleKind};
use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, Limit, LimitState, Meter, Policy, Subject, Window};

use super::output::shown;
use super::states::{Block, Standing};
use super::time::{parse_time_ms, people_time};

/// What names a server when `--url` does not, in this order.
const SERVER_VARIABLES: [&str; 3] = ["COSTGUARD_URL", "REDIS_URL", "REDIS_HOST"];

/// The root where `--root` does not name one.
static ROOT: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("COSTGUARD_ROOT").ok().filter(|root| !root.is_empty()));

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The Redis or Valkey server, sentinels or cluster [default: $COSTGUARD_URL, $REDIS_URL or $REDIS_HOST]
    ///
    /// A URL without a password takes $REDIS_PASSWORD (and $REDIS_USERNAME), which stays out of process lists, unless
    /// the environment names another server.
    #[arg(long, value_name = "redis://HOST:PORT")]
    url: Option<String>,
}

impl ServerArgs {
    /// Where the server is. An embedded store is refused: it would be empty now and gone when the program ends.
    pub(crate) fn config(&self) -> anyhow::Result<RedisConfig> {
        let variable = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(place) = self.url.clone().or_else(|| SERVER_VARIABLES.iter().find_map(variable)) else {
            bail!(
                "which server? Give --url redis://localhost:6379 or set {}; there is no embedded default here, because \
                 such a store starts empty and ends with this command",
                SERVER_VARIABLES.join(" or ")
            );
        };
        ensure!(
            place != "memory:",
            "an embedded store starts empty and ends with this command; name a server: --url redis://localhost:6379"
        );
        match &self.url {
            Some(url) => config_of(url),
            None => Ok(RedisConfig::from_env()?),
        }
    }
}

/// The server at this URL, with everything but its place from the environment: certificates, timeouts, the prefix.
pub(crate) fn config_of(url: &str) -> anyhow::Result<RedisConfig> {
    // Read alone first, for an error that does not speak of a variable.
    RedisConfig::from_url(url)?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(RedisConfig::from_vars(|name| match name {
        "COSTGUARD_URL" => Some(url.to_owned()),
        // The server that a password in the environment belongs to, where it names one.
        "REDIS_URL" => variable("COSTGUARD_URL").or_else(|| variable("REDIS_URL")),
        _ => variable(name),
    })?)
}

/// Under which root, on which server, at what time.
#[derive(Debug, clap::Args)]
pub(crate) struct RootArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// The hash tag of every key, as the service that counts has set it; budgets are kept per root [default: $COSTGUARD_ROOT;
    /// to charge and to look also the id of the org, else of the user, else of the only scope]
    #[arg(long, value_name = "ID")]
    root: Option<String>,

    /// What every key begins with, as the service that counts has set it [default: $REDIS_KEY_PREFIX]
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// The time that decides windows and expiry, like 2026-02-01 or 2026-02-01T13:00:00Z [default: the server's now]
    #[arg(long, value_name = "TIME", value_parser = parse_at)]
    pub(crate) at: Option<DateTime<Utc>>,

    /// Print one JSON object; amounts in the meter's unit, cost in billionths of a dollar
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whose counters, on which server.
#[derive(Debug, clap::Args)]
pub(crate) struct SubjectArgs {
    /// Whose counter: a kind that the policy limits, and its id; may be repeated
    #[arg(long = "scope", value_name = "KIND=ID")]
    scopes: Vec<ScopeArg>,

    /// Keys without kind and hash tag, like cost:alice:2026-02-01; takes one scope
    ///
    /// A policy counts cost in billionths of a dollar there as everywhere, but under such keys others count, too, as the daily
    /// guard does in cents. So without a policy amounts are shown as they are stored.
    #[arg(long, conflicts_with = "root")]
    plain: bool,

    #[command(flatten)]
    pub(crate) under: RootArgs,
}

/// Which limits, and whose.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// The policy: a TOML file of limits
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Without a policy: how often the counter starts over (minute hour day week month quarter year total, 90s, 15m;
    /// day@Europe/Berlin for another time zone than UTC)
    #[arg(long, value_name = "WINDOW", conflicts_with = "policy")]
    per: Option<Window>,

    /// Without a policy: what is counted; may be repeated
    #[arg(long = "meter", value_name = "NAME", value_parser = Meter::new, conflicts_with = "policy")]
    meters: Vec<Meter>,

    #[command(flatten)]
    pub(crate) whose: SubjectArgs,
}

impl TargetArgs {
    /// The policy to ask for; without a file a counter for each scope and meter, without limits.
    pub(crate) fn policy(&self, default_meters: &[Meter]) -> anyhow::Result<Policy> {
        let policy = match (&self.policy, self.per) {
            (Some(path), _) => Policy::from_file(path)?,
            (None, Some(window)) => {
                let meters = if self.meters.is_empty() { default_meters } else { &self.meters };
                let mut kinds: Vec<_> = self.whose.scopes.iter().map(|scope| scope.kind.as_str()).collect();
                if kinds.is_empty() {
                    kinds.push(GLOBAL);
                }
                let counters =
                    kinds.iter().flat_map(|kind| meters.iter().map(|meter| Counter::new(kind, meter.clone(), window)));
                Policy::new(counters.map(Limit::count_only))?
            }
            (None, None) => bail!("give --policy FILE, or --per day for a counter without a limit"),
        };
        for limit in policy.limits() {
            let kind = limit.counter().scope_kind();
            ensure!(
                kind == GLOBAL || self.whose.scopes.iter().any(|scope| scope.kind == kind),
                "the policy limits per {kind}: say which, --scope {kind}=ID"
            );
            ensure!(
                kind != GLOBAL || self.whose.plain || self.whose.under.named_root().is_some(),
                "the policy limits global, which is all that is under one root: say which, --root ID or $COSTGUARD_ROOT"
            );
        }
        Ok(policy)
    }

    /// Where the limits stand at the time that is asked for.
    pub(crate) fn peek<'a>(&self, guard: &'a CostGuard, policy: &'a Policy, subject: &'a Subject) -> Peek<'a> {
        let peek = guard.peek(policy, subject);
        match self.whose.under.at {
            Some(at) => peek.at(at),
            None => peek,
        }
    }

    /// The blocks of these scopes, which refuse whatever room there is.
    pub(crate) async fn blocks(&self, guard: &CostGuard, subject: &Subject) -> anyhow::Result<Vec<Block>> {
        let ours = |rule: &Rule| {
            rule.kind == RuleKind::Block && subject.scope_of(rule.scope.kind()).is_ok_and(|own| own == rule.scope)
        };
        let blocks = self.whose.under.rules(guard, subject).await?.into_iter().filter(ours);
        Ok(blocks.map(|rule| Block { scope: rule.scope, until_ms: rule.until_ms }).collect())
    }

    /// Where the limits stand, to be shown. Only a policy tells in what a plain counter counts.
    pub(crate) fn standings<'a>(
        &self,
        states: impl IntoIterator<Item = &'a LimitState>,
        policy: &'a Policy,
    ) -> Vec<Standing<'a>> {
        let mut standings = Standing::all(states, policy);
        for standing in &mut standings {
            standing.is_bare = self.is_bare();
        }
        standings
    }

    /// Whether nobody says in what the counters count.
    pub(crate) fn is_bare(&self) -> bool {
        self.whose.plain && self.policy.is_none()
    }

    /// Whether it is the amounts that say what is counted: there is neither a policy nor a meter.
    pub(crate) fn counts_freely(&self) -> bool {
        self.policy.is_none() && self.meters.is_empty()
    }
}

impl RootArgs {
    /// The root that is named, by option or variable.
    fn named_root(&self) -> Option<&str> {
        self.root.as_deref().or(ROOT.as_deref())
    }

    /// The root of a rule: one under another root would be obeyed by nobody, and nobody would notice.
    pub(crate) fn root_of_rule(&self) -> anyhow::Result<&str> {
        self.named_root().ok_or_else(|| {
            anyhow!(
                "which root? Give --root ID or set COSTGUARD_ROOT, as the service has it (`Subject::new`): under another a \
                 rule would have no effect"
            )
        })
    }

    /// The root of the keys of these scopes.
    pub(crate) fn root_of<'a>(
        &'a self,
        scopes: impl IntoIterator<Item = &'a ScopeArg, IntoIter: Clone>,
    ) -> anyhow::Result<&'a str> {
        let scopes = scopes.into_iter().map(|scope| (scope.kind.as_str(), scope.id.as_str()));
        let root = self.named_root().or_else(|| default_root(scopes));
        root.ok_or_else(|| {
            anyhow!("which root? Give --root ID: there is neither an org nor a user nor a single other scope")
        })
    }

    /// The rules that are in force under the root of this subject.
    pub(crate) async fn rules(&self, guard: &CostGuard, subject: &Subject) -> anyhow::Result<Vec<Rule>> {
        Ok(self.at.into_iter().fold(guard.rules(subject), |search, at| search.at(at)).await?)
    }

    /// A guard on the server.
    pub(crate) async fn guard(&self) -> anyhow::Result<CostGuard> {
        let mut config = self.server.config()?;
        if let Some(prefix) = &self.prefix {
            config = config.key_prefix(prefix);
        }
        Ok(CostGuard::builder().connect_with(&config).await?)
    }
}

impl SubjectArgs {
    /// The root of their keys; `None` for plain ones.
    pub(crate) fn root(&self) -> anyhow::Result<Option<&str>> {
        if self.plain { Ok(None) } else { self.under.root_of(&self.scopes).map(Some) }
    }

    /// Whose counters they are.
    pub(crate) fn subject(&self) -> anyhow::Result<Subject> {
        for (place, scope) in self.scopes.iter().enumerate() {
            let twice = self.scopes[..place].iter().any(|other| other.kind == scope.kind);
            ensure!(!twice, "two scopes of kind {} are given; give one", scope.kind);
        }
        let subject = match (self.root()?, self.scopes.as_slice()) {
            (Some(root), _) => Subject::new(root),
            (None, [scope]) => return Ok(Subject::plain(&scope.kind, &scope.id)),
            (None, scopes) => bail!("--plain keys hold one id: give one --scope, not {}", scopes.len()),
        };
        Ok(self.scopes.iter().fold(subject, |subject, scope| subject.scope(&scope.kind, &scope.id)))
    }

    /// Where the counters are, for people: `redis://localhost:6379/0, root acme`.
    pub(crate) fn place(&self, guard: &CostGuard) -> anyhow::Result<String> {
        let store = guard.store().describe();
        Ok(match self.root()? {
            Some(root) => format!("{store}, root {}", shown(root)),
            None => store,
        })
    }

    /// A guard on the server.
    pub(crate) async fn guard(&self) -> anyhow::Result<CostGuard> {
        self.under.guard().await
    }
}

/// The root of a subject that does not name one: what is billed. The id of its org, else of its user, else of its only
/// scope. It does not depend on the order of the scopes, for under another root are other counters.
pub(crate) fn default_root<'a>(mut scopes: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Option<&'a str> {
    let id_of = |wanted| scopes.clone().find(|(kind, _)| *kind == wanted).map(|(_, id)| id);
    id_of("org").or_else(|| id_of("user")).or_else(|| match (scopes.next(), scopes.next()) {
        (Some((_, id)), None) => Some(id),
        _ => None,
    })
}

/// A key prefix of this run's own, so that it touches no real budget.
pub(crate) fn own_prefix(word: &str) -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{word}-{}-{}:", since_epoch.as_millis(), std::process::id())
}

/// One scope: `user=alice`, or as it stands in keys, `user:alice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopeArg {
    pub(crate) kind: String,
    pub(crate) id: String,
}

impl FromStr for ScopeArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(['=', ':']) {
            Some((kind, id)) if !kind.is_empty() && !id.is_empty() => Ok(Self { kind: kind.into(), id: id.into() }),
            _ => Err("expected KIND=ID, like user=alice"),
        }
    }
}

/// The first second that operations refuse.
pub(crate) const END_S: i64 = 9_999_999_999;

/// The time of an operation.
fn parse_at(text: &str) -> Result<DateTime<Utc>, String> {
    let at = parse_time(text)?;
    if at.timestamp() >= END_S {
        return Err(format!("{text:?} is too far away: give a time before {} UTC", people_time(END_S * 1000)));
    }
    Ok(at)
}

/// Any time.
pub(crate) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let at_ms = parse_time_ms(text)?;
    DateTime::from_timestamp_millis(at_ms).ok_or_else(|| format!("{text:?} is too far away"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_what_is_billed_whatever_the_order_of_the_scopes() {
        let root = |scopes: &[(&'static str, &'static str)]| default_root(scopes.iter().copied());
        assert_eq!(root(&[("user", "alice"), ("org", "acme")]), Some("acme"));
        assert_eq!(root(&[("key", "k1"), ("user", "alice")]), Some("alice"));
        assert_eq!(root(&[("key", "k1")]), Some("k1"));
        assert_eq!(root(&[("key", "k1"), ("model", "gpt-4o")]), None);
        assert_eq!(root(&[]), None);
    }

    #[test]
    fn the_time_of_an_operation_is_one_that_the_scripts_can_take() {
        for text in ["1970-01-01", "2000-02-29", "2286-11-20T17:46:38.999Z"] {
            assert!(parse_at(text).is_ok(), "{text}");
        }
        for text in ["2286-11-20T17:46:39Z", "2300-01-01", "1969-12-31"] {
            assert!(parse_at(text).is_err(), "{text}");
        }
        assert!(parse_time("2300-01-01").is_ok(), "a rule may end later");
    }

    #[test]
    fn scopes_are_a_kind_and_an_id() {
        assert_eq!("user=a=b".parse(), Ok(ScopeArg { kind: "user".into(), id: "a=b".into() }));
        assert_eq!("user:a=b".parse(), Ok(ScopeArg { kind: "user".into(), id: "a=b".into() }));
        for text in ["user", "user=", "=alice", ""] {
            assert!(text.parse::<ScopeArg>().is_err(), "{text}");
        }
    }
}
