//! Showing results: files that nobody ever sees half of, one way to print, one style of tables.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use percent_encoding::percent_decode_str;

/// Columns apart by space, the header by a rule: reads well and copies well.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// A file that appears under its name once it is whole. Until then it is `NAME.partial`, removed when given up.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    /// `None` when the path is a device or a pipe, which is written as it is.
    partial: Option<PathBuf>,
    writer: BufWriter<File>,
}

impl OutputFile {
    /// Starts the file now, so that a folder that cannot be written to is noticed before the work.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let partial = (!special).then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".partial");
            PathBuf::from(name)
        });
        let file = File::create(partial.as_deref().unwrap_or(path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), partial, writer: BufWriter::new(file) })
    }

    pub(crate) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.writer.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// The file is whole: gives it its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let mut finished = self.writer.flush();
        if let (Ok(()), Some(partial)) = (&finished, &self.partial) {
            finished = std::fs::rename(partial, &self.path);
        }
        finished.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Gone already when the file was finished. Otherwise best effort: a left-over says by its name what it is.
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Refuses options by which an output would overwrite an input or another output. Each has the name of its option.
pub(crate) fn refuse_overwriting(
    inputs: &[(&'static str, Option<&Path>)],
    outputs: &[(&'static str, Option<&Path>)],
) -> Result<(), clap::Error> {
    let mut taken: Vec<_> = inputs.iter().filter_map(|(name, path)| Some((*name, file_of((*path)?)?))).collect();
    for (name, path) in outputs {
        let Some((path, file)) = path.and_then(|path| Some((path, file_of(path)?))) else { continue };
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == file) {
            let message = format!("{name} {} is the file of {other}, too: name another\n", path.display());
            return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message));
        }
        taken.push((name, file));
    }
    Ok(())
}

/// Where a file is, or would be; `None` of a device or a pipe.
fn file_of(path: &Path) -> Option<PathBuf> {
    if let Ok(file) = path.canonicalize() {
        return file.is_file().then_some(file);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

/// Prints to standard output, what would steer a terminal escaped. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    print_raw(&without_controls(text, &['\n', '\t']))
}

/// A name as options take it: in keys, and so in the library's scopes, meters and counters, it is percent-encoded.
pub(crate) fn decoded(name: &str) -> Cow<'_, str> {
    percent_decode_str(name).decode_utf8_lossy()
}

/// The same within a line.
pub(crate) fn readable(name: &str) -> String {
    shown(&decoded(name)).into_owned()
}

/// A name of somebody else's within a line.
pub(crate) fn shown(name: &str) -> Cow<'_, str> {
    without_controls(name, &[])
}

/// With control characters escaped but for some: a name may hold any, and a terminal obeys them.
pub(crate) fn without_controls<'a>(text: &'a str, but: &[char]) -> Cow<'a, str> {
    let is_escaped = |c: char| c.is_control() && !but.contains(&c);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    Cow::Owned(clean)
}

fn print_raw(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Shows what a change came to. It is done: when it cannot be shown, that is said on standard error, and is no failure, for a
/// script that takes it for one would do it again.
pub(crate) fn after(done: &str, shown: anyhow::Result<()>) {
    if let Err(error) = shown {
        let told = crate::told(&error);
        // Where standard error is closed, too, the exit code is all there is left.
        let _ = writeln!(std::io::stderr().lock(), "error: {done}, but the answer cannot be shown: {told}");
    }
}

/// Prints one JSON value to standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(value)?;
    // Within strings, where JSON itself escapes only those before the space.
    let is_left = |c: char| c.is_control() && c != '\n';
    if !json.contains(is_left) {
        return print_raw(&json);
    }
    let escaped = |c: char| if is_left(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    print_raw(&json.chars().map(escaped).collect::<String>())
}

/// A table whose first column is words and whose others are figures.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
