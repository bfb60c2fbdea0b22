//! From the text of a row's cells to token counts and money.

use costguard::model::{Money, Usage};

use super::columns::{Role, duration_unit_ms};
use crate::cli::time::parse_duration_ms;

/// Whether a log's input count already holds its cached tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CachedTokens {
    /// The input count is the whole prompt, cached tokens and all (OpenAI).
    Included,
    /// The input count leaves out what was read from or written to the cache (Anthropic).
    Excluded,
}

/// One cell that means something: the column's name and its text.
#[derive(Clone, Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) column: &'a str,
    pub(crate) text: std::borrow::Cow<'a, str>,
}

/// What is wrong with a cell, and in which column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CellError {
    pub(crate) column: String,
    pub(crate) problem: String,
}

impl CellError {
    pub(crate) fn new(column: &str, problem: impl Into<String>) -> Self {
        Self { column: column.to_owned(), problem: problem.into() }
    }
}

/// The cells of one row by role; an empty cell is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells<'a> {
    cells: [Option<Cell<'a>>; Role::COUNT],
}

impl<'a> Cells<'a> {
    pub(crate) fn get(&self, role: Role) -> Option<&Cell<'a>> {
        self.cells[role.index()].as_ref()
    }

    pub(crate) fn set(&mut self, role: Role, cell: Cell<'a>) {
        self.cells[role.index()] = Some(cell);
    }

    pub(crate) fn clear(&mut self, role: Role) {
        self.cells[role.index()] = None;
    }

    /// The token counts of a row, disjoint as [`Usage`] wants them.
    ///
    /// Reasoning tokens are part of the output count (OpenAI, "Reasoning models":
    /// `completion_tokens_details.reasoning_tokens`, `output_tokens_details.reasoning_tokens`); a cache-write count is
    /// the sum over both lifetimes (Anthropic, "Prompt caching", 1-hour duration: `cache_creation_input_tokens` equals
    /// the sum of the values in `cache_creation`) and what is not said to live an hour lives five minutes.
    pub(crate) fn usage(&self, cached: CachedTokens) -> Result<Usage, CellError> {
        let cache_read = self.count(Role::CacheRead)?;
        let cache_write_1h = self.count(Role::CacheWrite1h)?;
        let cache_write_5m = match self.get(Role::CacheWrite) {
            Some(_) => self.part(Role::CacheWrite, &[Role::CacheWrite1h])?,
            None => self.count(Role::CacheWrite5m)?,
        };
        let input = match (cached, self.get(Role::CacheWrite)) {
            (CachedTokens::Excluded, _) => self.count(Role::Input)?,
            (CachedTokens::Included, Some(_)) => self.part(Role::Input, &[Role::CacheRead, Role::CacheWrite])?,
            (CachedTokens::Included, None) => {
                self.part(Role::Input, &[Role::CacheRead, Role::CacheWrite5m, Role::CacheWrite1h])?
            }
        };
        let reasoning = self.count(Role::Reasoning)?;
        let output = self.part(Role::Output, &[Role::Reasoning])?;
        let mut usage = Usage::new(input, output);
        usage.cache_read = cache_read;
        usage.cache_write_5m = cache_write_5m;
        usage.cache_write_1h = cache_write_1h;
        usage.reasoning = reasoning;
        if let Some(tier) = self.get(Role::ServiceTier) {
            usage.tier = tier.text.parse().map_err(|error| CellError::new(tier.column, format!("{error}")))?;
        }
        Ok(usage)
    }

    /// All tokens of a row in one number.
    pub(crate) fn total(&self) -> Result<Option<u64>, CellError> {
        self.get(Role::Total).map(|_| self.count(Role::Total)).transpose()
    }

    /// The recorded cost of a row, to the nearest nano: what a log says beyond that is float noise.
    pub(crate) fn cost(&self) -> Result<Option<Money>, CellError> {
        let Some(cell) = self.get(Role::Cost) else { return Ok(None) };
        let nanos = parse_cost_nanos(&cell.text)
            .map_err(|problem| CellError::new(cell.column, format!("{problem}: {:?}", cell.text)))?;
        Ok(Some(Money::from_nanos(nanos)))
    }

    /// How long the call took, in milliseconds.
    pub(crate) fn duration_ms(&self) -> Result<Option<i64>, CellError> {
        let Some(cell) = self.get(Role::Duration) else { return Ok(None) };
        let duration_ms = parse_duration_ms(&cell.text, Some(duration_unit_ms(cell.column)));
        duration_ms.map(Some).ok_or_else(|| {
            CellError::new(cell.column, format!("not a duration, like 1.25 (seconds) or 1250ms: {:?}", cell.text))
        })
    }

    /// A cell that must be there.
    pub(crate) fn require(&self, role: Role, column: &str) -> Result<&Cell<'a>, CellError> {
        self.get(role).ok_or_else(|| CellError::new(column, "the cell is empty"))
    }

    fn count(&self, role: Role) -> Result<u64, CellError> {
        let Some(cell) = self.get(role) else { return Ok(0) };
        parse_count(&cell.text).ok_or_else(|| {
            CellError::new(cell.column, format!("not a whole number of tokens, 0 or more: {:?}", cell.text))
        })
    }

    /// What is left of `whole` without `parts`, which it includes.
    fn part(&self, whole: Role, parts: &[Role]) -> Result<u64, CellError> {
        let mut rest = self.count(whole)?;
        for &role in parts {
            let Some(part) = self.get(role) else { continue };
            rest = rest.checked_sub(self.count(role)?).ok_or_else(|| {
                let (column, text) = self.get(whole).map_or((whole.word(), "0"), |cell| (cell.column, &cell.text));
                let remedy = match role {
                    Role::CacheRead | Role::CacheWrite | Role::CacheWrite5m => {
                        "; if the log counts them apart, pass --cached-tokens excluded".to_owned()
                    }
                    _ => format!("; to leave this column out, pass --column {}=-", role.word()),
                };
                CellError::new(
                    part.column,
                    format!("{} is more than what is left of {column} ({text}), which includes it{remedy}", part.text),
                )
            })?;
        }
        Ok(rest)
    }
}

/// A count of tokens; `4808.0`, as data frames with gaps write it, is 4808.
fn parse_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    if whole.starts_with('+') {
        return None;
    }
    whole.parse().ok()
}

/// Dollars as logs write them, exponents included (`1.2e-05`), to nanos, rounded half up.
fn parse_cost_nanos(text: &str) -> Result<i64, String> {
    let nanos = parse_nanos(text).ok_or_else(|| "not a cost in US dollars, 0 or more".to_owned())?;
    i64::try_from(nanos).map_err(|_| format!("too large a cost: the most is {} US dollars", Money::MAX))
}

/// The nanos of a number, or more than any cost where it is too large to say.
fn parse_nanos(text: &str) -> Option<i128> {
    /// Above which nothing is told apart: more digits than an amount has, and fewer than fit.
    const MOST_DIGITS: i64 = 30;
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The value is `digits` x 10^shift nanos.
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(9)?;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let kept = i64::try_from(digits.len()).ok()?.checked_add(i64::from(shift))?;
    if kept > MOST_DIGITS {
        return Some(i128::MAX);
    }
    if let Ok(shift) = u32::try_from(shift) {
        return digits.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(shift)?);
    }
    let Ok(kept) = usize::try_from(kept) else { return Some(0) };
    let (head, tail) = digits.split_at(kept);
    let head: i128 = if head.is_empty() { 0 } else { head.parse().ok()? };
    let round_up = tail.as_bytes().first().is_some_and(|&digit| digit >= b'5');
    head.checked_add(i128::from(round_up))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{CachedTokens, Cell, Cells, Role, parse_cost_nanos, parse_count};

    fn cells(pairs: &[(Role, &'static str, &'static str)]) -> Cells<'static> {
        let mut cells = Cells::default();
        for &(role, column, text) in pairs {
            cells.set(role, Cell { column, text: Cow::Borrowed(text) });
        }
        cells
    }

    #[test]
    fn cached_tokens_are_taken_out_of_an_input_count_that_includes_them() {
        let row = cells(&[
            (Role::Input, "prompt_tokens", "2006"),
            (Role::CacheRead, "cached_tokens", "1920"),
            (Role::Output, "completion_tokens", "300"),
            (Role::Reasoning, "reasoning_tokens", "100"),
        ]);
        let usage = row.usage(CachedTokens::Included).expect("usage");
        assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (86, 1920, 200, 100));
        assert_eq!(usage.total_tokens(), 2306);
    }

    #[test]
    fn cached_tokens_beside_an_input_count_are_left_beside_it() {
        let row = cells(&[
            (Role::Input, "input_tokens", "50"),
            (Role::CacheRead, "cache_read_input_tokens", "100000"),
            (Role::CacheWrite, "cache_creation_input_tokens", "248"),
            (Role::CacheWrite1h, "ephemeral_1h_input_tokens", "100"),
            (Role::Output, "output_tokens", "503"),
        ]);
        let usage = row.usage(CachedTokens::Excluded).expect("usage");
        assert_eq!(
            (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h),
            (50, 100_000, 148, 100)
        );
        assert_eq!(usage.total_tokens(), 50 + 100_000 + 248 + 503);
    }

    #[test]
    fn more_cached_tokens_than_input_is_an_error_that_names_the_column_and_the_remedy() {
        let row = cells(&[(Role::Input, "prompt_tokens", "10"), (Role::CacheRead, "cached_tokens", "11")]);
        let error = row.usage(CachedTokens::Included).expect_err("inconsistent");
        assert_eq!(error.column, "cached_tokens");
        assert!(error.problem.contains("prompt_tokens (10)"), "{}", error.problem);
        assert!(error.problem.contains("--cached-tokens excluded"), "{}", error.problem);
    }

    #[test]
    fn counts_are_whole_numbers() {
        assert_eq!(parse_count(" 4808 "), Some(4808));
        assert_eq!(parse_count("4808.0"), Some(4808));
        for text in ["", "-1", "12x", "1.5", "1e3", "+5", "18446744073709551616"] {
            assert_eq!(parse_count(text), None, "{text}");
        }
    }

    #[test]
    fn recorded_costs_are_read_to_the_nearest_nano_without_a_float() {
        for (text, nanos) in [
            ("0.0379055", Some(37_905_500)),
            ("0.03790550000000001", Some(37_905_500)),
            ("1.2e-05", Some(12_000)),
            ("1.25E2", Some(125_000_000_000)),
            ("$3", Some(3_000_000_000)),
            ("0.0000000005", Some(1)),
            ("0.00000000049", Some(0)),
            ("1e-30", Some(0)),
            ("0", Some(0)),
            ("9223372036.854775807", Some(i64::MAX)),
            ("9223372036.854775808", None),
            ("-1", None),
            ("free", None),
            ("", None),
            ("1e999999999999", None),
            ("1e2147483647", None),
        ] {
            assert_eq!(parse_cost_nanos(text).ok(), nanos, "{text}");
        }
        for text in ["9223372036.854775808", "9999999999", "1e20", "1e999999", "1e2147483000"] {
            let error = parse_cost_nanos(text).expect_err(text);
            assert!(error.contains("too large a cost: the most is 9223372036.854775807"), "{text}: {error}");
        }
    }
}
