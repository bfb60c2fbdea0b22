//! Reading logs of model calls: CSV with a header, or JSON lines.

mod columns;
mod counts;
mod csv;
mod jsonl;
mod lines;

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use costguard::model::{Money, Usage};

use crate::cli::time;

pub(crate) use columns::Role;
pub(crate) use counts::CachedTokens;
use counts::{Cell, CellError, Cells};

/// One model call as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRow {
    /// The line it starts on; the first line of a file is 1.
    pub(crate) line: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    /// The model, where the row names one.
    pub(crate) model: Option<String>,
    /// Its tokens, where the log has them.
    pub(crate) usage: Option<Usage>,
    /// All its tokens in one number, where that was asked for.
    pub(crate) total_tokens: Option<u64>,
    /// What the log says it cost, where it does.
    pub(crate) cost: Option<Money>,
    /// How long it took, where that was asked for.
    pub(crate) duration_ms: Option<i64>,
    /// The values of [`LogOptions::extras`], in that order.
    pub(crate) extras: Vec<String>,
}

impl LogRow {
    /// How many tokens it took: by kind, or else in one number.
    pub(crate) fn tokens(&self) -> Option<u64> {
        self.usage.map(|usage| usage.total_tokens()).or(self.total_tokens)
    }
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values, the first line naming the columns.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// What a replay must know of each call beside its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Need {
    /// Token counts, to price them.
    #[default]
    Tokens,
    /// The cost as the log recorded it.
    Cost,
}

/// A column beside those that every log has: the id of a scope, or the amount of a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraColumn {
    /// The option that asks for it: `--scope`.
    pub(crate) option: &'static str,
    /// What is taken from it: the scope kind `user`, the meter `assessments`.
    pub(crate) name: String,
    /// Its own name; without one, the usual names for a scope kind are looked for.
    pub(crate) column: Option<String>,
}

/// How to read a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOptions {
    /// The format; by default told from the file's extension or its first byte.
    pub(crate) format: Option<Format>,
    /// Columns named by the user; the name `-` leaves a role out.
    pub(crate) columns: Vec<(Role, String)>,
    /// Whether input counts include cached tokens; by default told from the columns' names.
    pub(crate) cached: Option<CachedTokens>,
    /// Further columns to read from every row.
    pub(crate) extras: Vec<ExtraColumn>,
    /// What is needed of each call.
    pub(crate) need: Need,
    /// Whether every row must name its model.
    pub(crate) need_model: bool,
    /// Whether tokens in one number are of use; otherwise nobody looks.
    pub(crate) total_tokens: bool,
    /// Whether every row must say how long its call took; otherwise nobody looks.
    pub(crate) need_duration: bool,
}

impl LogOptions {
    /// The user's choice for a role: `None` none was made, `Some(None)` leave it out, `Some(Some(name))` a column.
    fn mapped(&self, role: Role) -> Option<Option<&str>> {
        if (role == Role::Duration && !self.need_duration) || (role == Role::Total && !self.total_tokens) {
            return Some(None);
        }
        let (_, name) = self.columns.iter().rev().find(|(mapped, _)| *mapped == role)?;
        Some((name != "-").then_some(name))
    }

    /// The roles without which a row cannot be used, but for those that the user left out.
    fn needed(&self) -> Vec<Role> {
        let mut needed = match self.need {
            Need::Tokens => vec![Role::Timestamp, Role::Input, Role::Output],
            Need::Cost => vec![Role::Timestamp, Role::Cost],
        };
        if self.need_model {
            needed.push(Role::Model);
        }
        if self.need_duration {
            needed.push(Role::Duration);
        }
        needed.retain(|&role| role == Role::Timestamp || self.mapped(role) != Some(None));
        needed
    }
}

/// A row that cannot be used: where it is and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) column: Option<String>,
    pub(crate) problem: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column:?}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for BadRow {}

/// Why there is no next row.
#[derive(Debug)]
pub(crate) enum LogError {
    /// This row is unusable; the next may be fine.
    Row(BadRow),
    /// The log cannot be read any further.
    Fatal(anyhow::Error),
}

/// A row's own error, before the reader adds the file and the line.
type RowResult = Result<LogRow, CellError>;

/// Opens a log, `-` being standard input. Gives its bytes and, for a plain file, how many there are.
pub(crate) fn open(path: &Path) -> anyhow::Result<(Box<dyn Read>, Option<u64>)> {
    use anyhow::Context as _;
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin().lock()), None));
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot open the log {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("cannot read the log {}", path.display()))?;
    anyhow::ensure!(!metadata.is_dir(), "{} is a folder: name one log file, or pipe several into `-`", path.display());
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// A log being read: an iterator over its rows.
pub(crate) struct Log {
    name: String,
    rows: Box<dyn Iterator<Item = Result<LogRow, LogError>>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Log {
    /// Starts reading `bytes`. A CSV header is read and judged here.
    pub(crate) fn new(path: &Path, bytes: Box<dyn Read>, options: LogOptions) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let name = if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
        let mut bytes = BufReader::with_capacity(1 << 16, bytes);
        let first = first_byte(&mut bytes).with_context(|| format!("cannot read {name}"))?;
        let by_extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let format = options.format.unwrap_or(match by_extension.as_deref() {
            Some("csv") => Format::Csv,
            Some("jsonl" | "ndjson") => Format::Jsonl,
            _ if matches!(first, Some(b'{' | b'[')) => Format::Jsonl,
            _ => Format::Csv,
        });
        let rows: Box<dyn Iterator<Item = _>> = match format {
            Format::Csv => Box::new(csv::CsvRows::new(name.clone(), bytes, options)?),
            Format::Jsonl if first == Some(b'[') => anyhow::bail!(
                "{name} is one JSON array: write one object per line (`jq -c '.[]' {name}`) and replay that"
            ),
            Format::Jsonl => Box::new(jsonl::JsonlRows::new(name.clone(), bytes, options)),
        };
        Ok(Self { name, rows })
    }

    /// The file's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Iterator for Log {
    type Item = Result<LogRow, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next()
    }
}

/// The first byte that is not white space or a byte order mark, of what is buffered.
fn first_byte(bytes: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    let buffered = bytes.fill_buf()?;
    let buffered = buffered.strip_prefix(b"\xef\xbb\xbf").unwrap_or(buffered);
    Ok(buffered.iter().copied().find(|byte| !byte.is_ascii_whitespace()))
}

/// Makes a row of its cells: the part that both formats share.
fn row_of_cells(cells: &Cells<'_>, cached: CachedTokens, line: u64, extras: Vec<String>, need: Need) -> RowResult {
    let timestamp = cells.require(Role::Timestamp, "timestamp")?;
    let at_ms = time::parse_time_ms(&timestamp.text).map_err(|problem| CellError::new(timestamp.column, problem))?;
    let has_tokens = cells.get(Role::Input).is_some() && (need == Need::Tokens || cells.get(Role::Output).is_some());
    let usage = if has_tokens { Some(cells.usage(cached)?) } else { None };
    let model = cells.get(Role::Model).map(|cell| cell.text.trim().to_owned());
    let (total_tokens, cost, duration_ms) = (cells.total()?, cells.cost()?, cells.duration_ms()?);
    Ok(LogRow { line, at_ms, model, usage, total_tokens, cost, duration_ms, extras })
}

/// Which convention the cells' columns follow, unless the user said.
fn convention(cells: &Cells<'_>, chosen: Option<CachedTokens>) -> Result<CachedTokens, CellError> {
    let cached: Vec<&str> = [Role::CacheRead, Role::CacheWrite, Role::CacheWrite5m, Role::CacheWrite1h]
        .into_iter()
        .filter_map(|role| Some(cells.get(role)?.column))
        .collect();
    let Some(input) = cells.get(Role::Input) else { return Ok(CachedTokens::Excluded) };
    chosen.or_else(|| columns::cached_tokens_convention(input.column, &cached)).ok_or_else(|| {
        let problem = format!(
            "the names do not tell whether {} already counts {}: pass --cached-tokens included (OpenAI's way) or \
             --cached-tokens excluded (Anthropic's)",
            input.column,
            cached.join(" and ")
        );
        CellError::new(input.column, problem)
    })
}

/// Says which column was looked for in vain, and what there is instead.
fn missing_column(role: Role, present: &[&str]) -> String {
    let meaning = match role {
        Role::Timestamp => "the time of a call",
        Role::Input => "its input tokens",
        Role::Output => "its output tokens",
        Role::Model => "the model (or give --model NAME for rows without one)",
        Role::Cost => "its cost (or give --prices FILE to compute it from tokens)",
        Role::Duration => "how long it took (or give --latency 2s for all of them)",
        _ => role.word(),
    };
    format!(
        "no column for {meaning}; looked for {}; found {}. Name yours with --column {}=NAME",
        role.names().join(", "),
        if present.is_empty() { "none".to_owned() } else { present.join(", ") },
        role.word()
    )
}

fn missing_extra(extra: &ExtraColumn, present: &[&str]) -> String {
    let ExtraColumn { option, name, column } = extra;
    let looked_for = match column {
        Some(column) => format!("no column {column} (asked for by {option} {name}=@{column})"),
        None => format!("no column for {name}; looked for {}", columns::scope_names(name).join(", ")),
    };
    let found = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
    format!(
        "{looked_for}; found {found}. Take it from a column with {option} {name}=@COLUMN, or give all rows the same \
         with {option} {name}=VALUE"
    )
}

/// A cell, unless it is empty.
fn cell<'a>(column: &'a str, text: impl Into<Cow<'a, str>>) -> Option<Cell<'a>> {
    let text = text.into();
    (!text.trim().is_empty()).then_some(Cell { column, text })
}

#[cfg(test)]
mod tests;
