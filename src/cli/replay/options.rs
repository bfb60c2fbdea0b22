//! What `costguard replay` takes.

use std::path::PathBuf;
use std::str::FromStr;

use costguard::Meter;
use costguard::model::Money;

use super::estimate::ReserveArgs;
use super::log::{CachedTokens, Format, Role};

/// What would this policy have done to that traffic?
///
/// Reads a log of model calls, prices each call exactly, decides each one against the policy through the atomic
/// store at the time the log says, and reports what was granted, what was denied and by which limit.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// The log: CSV with a header, or JSON lines; `-` reads standard input
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,

    /// The policy: a TOML file of limits
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,

    /// Prices by model, in LiteLLM's JSON layout; without it the log's own cost column counts
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,

    /// The model of rows that do not name one
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Whose call it is: a fixed id (`user=alice`) or a column of the log (`user=@user_id`, in JSON also
    /// `user=@metadata.user_id`); may be repeated. A kind that the policy limits and that is not given is taken from
    /// the column of its name (user, user_id, org, ...)
    #[arg(long = "scope", value_name = "KIND=ID|KIND=@COLUMN")]
    pub(crate) scopes: Vec<SourceArg>,

    /// How much of a meter of your own each call takes: a fixed amount (`assessments=1`) or a column
    /// (`assessments=@done`); may be repeated. cost, tokens and requests are known without it
    #[arg(long = "amount", value_name = "METER=N|METER=@COLUMN", value_parser = parse_source_of_amount)]
    pub(crate) amounts: Vec<SourceArg>,

    /// Decide on this Redis or Valkey instead of the embedded engine, under keys of this run's own; without a password in it
    /// that of $REDIS_PASSWORD
    #[arg(long, value_name = "redis://HOST:PORT")]
    pub(crate) url: Option<String>,

    /// What the keys begin with; counters that are there already count on [default: `replay-` and a unique number]
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,

    /// How the log is written [default: by its extension or first byte]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Use this column for that role (`timestamp=ts`); `ROLE=-` leaves the role out. Roles: timestamp, model, input,
    /// output, cache-read, cache-write, cache-write-5m, cache-write-1h, reasoning, total, service-tier, cost, duration
    #[arg(long = "column", value_name = "ROLE=NAME")]
    pub(crate) columns: Vec<ColumnArg>,

    /// Whether the input column already counts cached tokens [default: by the columns' names]
    #[arg(long, value_enum)]
    pub(crate) cached_tokens: Option<CachedTokens>,

    /// Count and skip rows that cannot be read, instead of stopping at the first
    #[arg(long)]
    pub(crate) skip_bad_rows: bool,

    /// What to do with a model that has no price: `skip` the call, or `charge=AMOUNT` in USD for it [default: stop]
    #[arg(long, value_name = "skip|charge=AMOUNT")]
    pub(crate) unknown_model: Option<UnknownModel>,

    #[command(flatten)]
    pub(crate) reserve: ReserveArgs,

    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Draw usage over time against the limits, with denials and warnings marked
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,

    /// Write each decision as CSV: line, decision, and by their place in the policy, ascending and counted from 1, the limits
    /// that refused, and those in shadow mode that would have (`charge --json` counts from 0)
    #[arg(long, value_name = "FILE")]
    pub(crate) decisions: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  costguard replay examples/sample-log.csv --policy examples/policy.toml --prices examples/prices.json
  costguard replay calls.csv --policy p.toml --prices prices.json --reserve --estimate-output 4096 --latency 8s
  costguard replay calls.jsonl --policy p.toml --prices prices.json --scope user=@metadata.user_id --json
  zcat logs/*.gz | costguard replay - --format jsonl --policy p.toml --prices prices.json --scope org=acme";

/// One `--scope` or `--amount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceArg {
    pub(crate) name: String,
    pub(crate) source: Source,
}

/// Where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Fixed(String),
    Column(String),
}

impl FromStr for SourceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = two_parts(text, "NAME=VALUE or NAME=@COLUMN, like user=alice or user=@user_id")?;
        let source = match value.strip_prefix('@') {
            Some("") => return Err("name the column after the @, like user=@user_id".to_owned()),
            Some(column) => Source::Column(column.to_owned()),
            None => Source::Fixed(value.to_owned()),
        };
        Ok(Self { name: name.to_owned(), source })
    }
}

/// One `--amount`: what is fixed is an amount.
fn parse_source_of_amount(text: &str) -> Result<SourceArg, String> {
    let arg: SourceArg = text.parse()?;
    if let Source::Fixed(amount) = &arg.source {
        let meter = Meter::new(&arg.name).map_err(|error| error.to_string())?;
        meter.parse_amount(amount).map_err(|error| error.to_string())?;
    }
    Ok(arg)
}

/// One `--column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnArg {
    pub(crate) role: Role,
    pub(crate) name: String,
}

impl FromStr for ColumnArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, name) = two_parts(text, "ROLE=NAME, like timestamp=ts")?;
        let role = Role::from_word(word).ok_or_else(|| {
            let words: Vec<&str> = Role::all().map(Role::word).collect();
            format!("no role {word:?}: use one of {}", words.join(", "))
        })?;
        if role == Role::Timestamp && name == "-" {
            return Err("a replay needs the time of every call".to_owned());
        }
        Ok(Self { role, name: name.to_owned() })
    }
}

/// What to do with a model that has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownModel {
    Skip,
    Charge(Money),
}

impl FromStr for UnknownModel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "skip" {
            return Ok(Self::Skip);
        }
        let amount = text.strip_prefix("charge=").ok_or("use skip or charge=AMOUNT, like charge=0.05")?;
        let amount: Money = amount.parse().map_err(|error| format!("{error}"))?;
        if amount < Money::ZERO {
            return Err("the amount cannot be negative".to_owned());
        }
        Ok(Self::Charge(amount))
    }
}

fn two_parts<'a>(text: &'a str, expected: &str) -> Result<(&'a str, &'a str), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left, right)),
        _ => Err(format!("expected {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{ColumnArg, Money, Role, Source, SourceArg, UnknownModel};

    #[test]
    fn scopes_are_fixed_or_taken_from_a_column() {
        let fixed = SourceArg { name: "user".into(), source: Source::Fixed("a=b".into()) };
        assert_eq!("user=a=b".parse(), Ok(fixed));
        let column = SourceArg { name: "user".into(), source: Source::Column("metadata.user_id".into()) };
        assert_eq!("user=@metadata.user_id".parse(), Ok(column));
        for text in ["user", "user=", "=alice", "user=@"] {
            assert!(text.parse::<SourceArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn columns_are_named_by_role() {
        let column = ColumnArg { role: Role::CacheRead, name: "hits".into() };
        assert_eq!("cache-read=hits".parse(), Ok(column));
        assert!("cached=hits".parse::<ColumnArg>().expect_err("no such role").contains("cache-read"));
        assert!("timestamp=-".parse::<ColumnArg>().is_err());
    }

    #[test]
    fn unknown_models_are_skipped_or_charged() {
        assert_eq!("skip".parse(), Ok(UnknownModel::Skip));
        assert_eq!("charge=0.05".parse(), Ok(UnknownModel::Charge(Money::from_nanos(50_000_000))));
        for text in ["", "charge", "charge=-1", "charge=cheap"] {
            assert!(text.parse::<UnknownModel>().is_err(), "{text}");
        }
    }
}
