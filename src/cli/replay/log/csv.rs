//! Logs as comma-separated values.

use std::io::Read;

use anyhow::Context as _;

use super::columns::{plain, recognise, scope_names};
use super::counts::{CachedTokens, CellError, Cells};
use super::lines::{LineCounter, Lines};
use super::{BadRow, LogError, LogOptions, LogRow, Need, Role, RowResult, cell, convention, missing_column};
use super::{missing_extra, row_of_cells};

/// The rows of a CSV log, read one at a time.
pub(super) struct CsvRows<R> {
    file: String,
    reader: csv::Reader<LineCounter<R>>,
    lines: Lines,
    record: csv::StringRecord,
    layout: Layout,
}

/// Where in a record everything is; settled once, from the header.
struct Layout {
    header: Vec<String>,
    roles: [Option<usize>; Role::COUNT],
    extras: Vec<usize>,
    cached: CachedTokens,
    need: Need,
    needed: Vec<Role>,
}

impl<R: Read> CsvRows<R> {
    pub(super) fn new(file: String, bytes: R, options: LogOptions) -> anyhow::Result<Self> {
        let (bytes, lines) = LineCounter::new(bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
        let header = reader.headers().with_context(|| format!("cannot read the header of {file}"))?;
        anyhow::ensure!(!header.is_empty(), "{file} is empty: a CSV log starts with a line that names its columns");
        let header = header.iter().map(str::to_owned).collect();
        let layout = Layout::new(header, &options).map_err(|problem| anyhow::anyhow!("{file} line 1: {problem}"))?;
        Ok(Self { file, reader, lines, record: csv::StringRecord::new(), layout })
    }

    fn bad(&self, line: u64, error: CellError) -> LogError {
        LogError::Row(BadRow { file: self.file.clone(), line, column: Some(error.column), problem: error.problem })
    }

    /// The line on which the record just read ends.
    fn last_line(&self) -> u64 {
        self.lines.at(self.reader.position().byte().saturating_sub(1))
    }

    fn unreadable(&self, error: &csv::Error) -> LogError {
        let line = self.last_line();
        let problem = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("the header has {expected_len} columns, this row has {len}")
            }
            csv::ErrorKind::Utf8 { err, .. } => format!("not UTF-8 text: {err}"),
            _ => return LogError::Fatal(anyhow::anyhow!("cannot read {}: {error}", self.file)),
        };
        LogError::Row(BadRow { file: self.file.clone(), line, column: None, problem })
    }
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<LogRow, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let within = self.record.iter().flat_map(str::bytes).filter(|byte| *byte == b'\n').count();
                let line = self.last_line().saturating_sub(u64::try_from(within).unwrap_or(0));
                Some(self.layout.row(&self.record, line).map_err(|error| self.bad(line, error)))
            }
            Err(error) => Some(Err(self.unreadable(&error))),
        }
    }
}

impl Layout {
    fn new(header: Vec<String>, options: &LogOptions) -> Result<Self, String> {
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut roles = recognised_roles(&names);
        for role in Role::all() {
            let Some(choice) = options.mapped(role) else { continue };
            roles[role.index()] = match choice {
                None => None,
                Some(name) => Some(find(&names, name).ok_or_else(|| {
                    format!(
                        "no column {name} (asked for by --column {}={name}); found {}",
                        role.word(),
                        names.join(", ")
                    )
                })?),
            };
        }
        let needed = options.needed();
        if let Some(&role) = needed.iter().find(|role| roles[role.index()].is_none()) {
            return Err(missing_column(role, &names));
        }
        let extras = options.extras.iter().map(|extra| {
            let wanted = extra.column.as_ref().map_or_else(|| scope_names(&extra.name), |name| vec![name.clone()]);
            wanted.iter().find_map(|name| find(&names, name)).ok_or_else(|| missing_extra(extra, &names))
        });
        let extras = extras.collect::<Result<Vec<_>, _>>()?;
        let mut used = roles.iter().flatten().chain(&extras);
        if let Some(&twice) = used.find(|&&index| names.iter().filter(|name| **name == names[index]).count() > 1) {
            return Err(format!("two columns are named {}: rename one, for nobody knows which is meant", names[twice]));
        }
        let mut columns = Cells::default();
        for role in Role::all() {
            if let Some(column) = roles[role.index()].and_then(|index| cell(names[index], names[index])) {
                columns.set(role, column);
            }
        }
        let cached = convention(&columns, options.cached).map_err(|error| error.problem)?;
        Ok(Self { header, roles, extras, cached, need: options.need, needed })
    }

    fn row(&self, record: &csv::StringRecord, line: u64) -> RowResult {
        let mut cells = Cells::default();
        for role in Role::all() {
            let Some(index) = self.roles[role.index()] else { continue };
            match cell(&self.header[index], record.get(index).unwrap_or_default()) {
                Some(found) => cells.set(role, found),
                None if self.needed.contains(&role) => {
                    return Err(CellError::new(&self.header[index], "the cell is empty"));
                }
                None => {}
            }
        }
        let extras = self.extras.iter().map(|&index| {
            let value = record.get(index).map(str::trim).unwrap_or_default();
            if value.is_empty() {
                return Err(CellError::new(&self.header[index], "the cell is empty"));
            }
            Ok(value.to_owned())
        });
        row_of_cells(&cells, self.cached, line, extras.collect::<Result<_, _>>()?, self.need)
    }
}

/// The best column for every role among the header's names.
fn recognised_roles(names: &[&str]) -> [Option<usize>; Role::COUNT] {
    let mut best: [Option<(usize, usize)>; Role::COUNT] = [None; Role::COUNT];
    for (index, name) in names.iter().enumerate() {
        let Some((role, rank)) = recognise(name) else { continue };
        let current = &mut best[role.index()];
        if current.is_none_or(|(best_rank, _)| rank < best_rank) {
            *current = Some((rank, index));
        }
    }
    best.map(|found| found.map(|(_, index)| index))
}

/// A column by its name: exactly so, else without regard to case and separators.
fn find(names: &[&str], wanted: &str) -> Option<usize> {
    let exact = names.iter().position(|name| *name == wanted);
    exact.or_else(|| names.iter().position(|name| plain(name) == plain(wanted)))
}
