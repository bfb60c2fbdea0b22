//! Logs as JSON lines: flat objects, or whole responses of OpenAI and Anthropic.

use std::borrow::Cow;
use std::io::BufRead;

use costguard::model::Usage;
use serde_json::{Map, Value};

use super::columns::{plain, recognise, scope_names};
use super::counts::{CachedTokens, CellError, Cells};
use super::{BadRow, ExtraColumn, LogError, LogOptions, LogRow, Need, Role, RowResult, cell, convention};
use super::{missing_column, missing_extra, row_of_cells};

type Object = Map<String, Value>;

/// Where a log keeps the response object inside its own: at the top, or under one of these. `response.body` is
/// OpenAI's batch output, `message` Anthropic's stream and the session files of its tools.
const RESPONSE_PATHS: [&[&str]; 5] = [&[], &["response", "body"], &["response"], &["body"], &["message"]];

/// The rows of a JSON lines log, read one at a time.
pub(super) struct JsonlRows<R> {
    file: String,
    bytes: R,
    buffer: Vec<u8>,
    line: u64,
    options: LogOptions,
    needed: Vec<Role>,
}

impl<R: BufRead> JsonlRows<R> {
    pub(super) fn new(file: String, bytes: R, options: LogOptions) -> Self {
        let needed = options.needed();
        Self { file, bytes, buffer: Vec::new(), line: 0, options, needed }
    }

    fn row(&self) -> Result<LogRow, BadRow> {
        let bad = |column, problem| BadRow { file: self.file.clone(), line: self.line, column, problem };
        let text = std::str::from_utf8(&self.buffer).map_err(|error| bad(None, format!("not UTF-8 text: {error}")))?;
        let value = serde_json::from_str(text.trim_start_matches('\u{feff}').trim_end()).map_err(|error| {
            let place = error.column();
            bad(None, format!("not JSON, at character {place}: {}", without_place(&error)))
        })?;
        let Value::Object(object) = value else {
            return Err(bad(None, "not a JSON object: every line is one object".to_owned()));
        };
        row_of_object(&object, self.line, &self.options, &self.needed)
            .map_err(|error| bad(Some(error.column), error.problem))
    }
}

impl<R: BufRead> Iterator for JsonlRows<R> {
    type Item = Result<LogRow, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.buffer.clear();
            match self.bytes.read_until(b'\n', &mut self.buffer) {
                Ok(0) => return None,
                Ok(_) => self.line += 1,
                Err(error) => {
                    return Some(Err(LogError::Fatal(anyhow::anyhow!("cannot read {}: {error}", self.file))));
                }
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Some(self.row().map_err(LogError::Row));
            }
        }
    }
}

/// serde_json's words without its "at line 1 column 7": the line is the log's, and told already.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn row_of_object(object: &Object, line: u64, options: &LogOptions, needed: &[Role]) -> RowResult {
    let extras = options.extras.iter().map(|extra| extra_value(object, extra)).collect::<Result<_, _>>()?;
    let response = response_in(object);
    let mut cells = cells_of(object, response, options);
    let mapped_tokens = options.mapped(Role::Input).is_some() || options.mapped(Role::Output).is_some();
    let whole_response = response.filter(|_| !mapped_tokens);
    for &role in needed {
        let told_by_usage = whole_response.is_some() && matches!(role, Role::Input | Role::Output);
        if !told_by_usage {
            require(&cells, role, object, options)?;
        }
    }
    if let Some(response) = whole_response {
        let usage = Usage::from_json(&Value::Object(response.clone()));
        let usage = usage.map_err(|error| CellError::new("usage", error.to_string()))?;
        for role in [Role::Input, Role::Output] {
            cells.clear(role);
        }
        let row = row_of_cells(&cells, CachedTokens::Excluded, line, extras, Need::Cost)?;
        return Ok(LogRow { usage: Some(usage), ..row });
    }
    row_of_cells(&cells, convention(&cells, options.cached)?, line, extras, options.need)
}

fn require(cells: &Cells<'_>, role: Role, object: &Object, options: &LogOptions) -> Result<(), CellError> {
    if cells.get(role).is_some() {
        return Ok(());
    }
    if let Some(Some(path)) = options.mapped(role) {
        return Err(CellError::new(path, format!("no value here (asked for by --column {}={path})", role.word())));
    }
    let is_role = |name: &str| recognise(name).is_some_and(|(found, _)| found == role);
    if let Some((name, value)) = object.iter().find(|(name, _)| is_role(name)) {
        return Err(CellError::new(name, format!("the value is {}", kind_of(value))));
    }
    let present: Vec<&str> = object.keys().map(String::as_str).collect();
    Err(CellError::new(role.word(), missing_column(role, &present)))
}

/// The part of the object that is a provider's response or usage object in full, if there is one. Flat token fields
/// are not: they are read like columns.
fn response_in(object: &Object) -> Option<&Object> {
    const DETAILS: [&str; 5] = [
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens_details",
        "output_tokens_details",
        "cache_creation",
    ];
    let candidates = RESPONSE_PATHS.iter().filter_map(|path| walk(object, path));
    candidates
        .into_iter()
        .find(|candidate| candidate.get("usage").is_some_and(Value::is_object))
        .or_else(|| DETAILS.iter().any(|name| object.get(*name).is_some_and(Value::is_object)).then_some(object))
}

fn walk<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Object> {
    path.iter().try_fold(object, |object, name| object.get(*name)?.as_object())
}

/// The cells of the object by role: its own fields first, then those of the response inside it.
fn cells_of<'a>(object: &'a Object, response: Option<&'a Object>, options: &'a LogOptions) -> Cells<'a> {
    let mut cells = Cells::default();
    for source in [response.unwrap_or(object), object] {
        let mut ranks = [usize::MAX; Role::COUNT];
        for (name, value) in source {
            let Some((role, rank)) = recognise(name) else { continue };
            if rank < ranks[role.index()]
                && let Some(found) = text_of(value).and_then(|text| cell(name, text))
            {
                ranks[role.index()] = rank;
                cells.set(role, found);
            }
        }
    }
    for role in Role::all() {
        let Some(choice) = options.mapped(role) else { continue };
        cells.clear(role);
        let Some(path) = choice else { continue };
        if let Some(found) = look_up(object, path).and_then(|value| cell(path, text_of(value)?)) {
            cells.set(role, found);
        }
    }
    cells
}

fn extra_value(object: &Object, extra: &ExtraColumn) -> Result<String, CellError> {
    let wanted = extra.column.as_ref().map_or_else(|| scope_names(&extra.name), |path| vec![path.clone()]);
    let found = wanted.iter().find_map(|path| text_of(look_up(object, path)?).filter(|text| !text.trim().is_empty()));
    found.map(|text| text.trim().to_owned()).ok_or_else(|| {
        if let Some((path, value)) = wanted.iter().find_map(|path| Some((path, look_up(object, path)?))) {
            let ExtraColumn { option, name, .. } = extra;
            let advice = match value {
                Value::Object(_) => format!("; name a field of it with {option} {name}=@{path}.FIELD"),
                _ => String::new(),
            };
            return CellError::new(path, format!("the value is {}{advice}", kind_of(value)));
        }
        let present: Vec<&str> = object.keys().map(String::as_str).collect();
        CellError::new(extra.column.as_deref().unwrap_or(&extra.name), missing_extra(extra, &present))
    })
}

/// A field by name (exactly so, else without regard to case and separators) or by dotted path (`metadata.user_id`).
fn look_up<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    if let Some((first, rest)) = path.split_once('.') {
        return look_up(object.get(first)?.as_object()?, rest);
    }
    object.iter().find_map(|(name, value)| (plain(name) == plain(path)).then_some(value))
}

/// What a value is that is no text for a cell.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
        _ => "empty",
    }
}

/// A value as a cell's text. Numbers are printed as they were written, as far as JSON keeps it: no arithmetic.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
