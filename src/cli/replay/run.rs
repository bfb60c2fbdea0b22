//! The replay itself: read a row, price it, decide it, add it up.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::Context as _;
use chrono::DateTime;
use costguard::{CostGuard, Decision, Policy};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::log::{self, BadRow, Log, LogError, LogOptions, LogRow, Need};
use super::options::ReplayArgs;
use super::plot::{self, Panel};
use super::pricing::{Priced, Pricing};
use super::report::Report;
use super::series::{LimitSeries, record};
use super::subjects::Subjects;
use super::tally::{Outcome, Tally};
use crate::cli::output::{OutputFile, print};
use crate::cli::target::own_prefix;

/// Replays a log against a policy, then reports. Until the last row is decided, nothing is.
pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    let policy = Policy::from_file(&args.policy)?;
    let pricing = Pricing::open(args.prices.as_deref(), args.unknown_model)?;
    let subjects = Subjects::new(&policy, &args.scopes, &args.amounts)?;
    let plot = args.plot.as_deref().map(OutputFile::create).transpose()?;
    let decisions = args.decisions.as_deref().map(OutputFile::create).transpose()?;
    let (bytes, size) = log::open(&args.log)?;
    let (guard, prefix) = connect(&args).await?;
    let progress = progress(size);
    let log = Log::new(&args.log, Box::new(progress.wrap_read(bytes)), log_options(&args, &subjects))?;

    let mut replay = Replay {
        guard,
        pricing,
        subjects,
        tally: Tally::new(&policy),
        series: plot.is_some().then(|| vec![LimitSeries::default(); policy.limits().len()]),
        policy,
        decisions,
        default_model: args.model.clone(),
        file: log.name().to_owned(),
        unknown_models: 0,
    };
    let started = Instant::now();
    let bad_rows = replay.all(log, args.skip_bad_rows, &progress).await?;
    let elapsed = started.elapsed();
    progress.finish_and_clear();

    let Replay { guard, tally, series, decisions, file, unknown_models, .. } = replay;
    if let (Some(mut plot), Some(series)) = (plot, series) {
        plot.write(&draw(&format!("{file} against {}", args.policy.display()), &tally, &series)?)?;
        plot.finish()?;
    }
    if let Some(decisions) = decisions {
        decisions.finish()?;
    }
    let report = Report {
        log: file,
        policy: args.policy.display().to_string(),
        store: guard.store().describe(),
        prefix,
        tally,
        bad_rows,
        unknown_models,
        elapsed,
    };
    print(&if args.json { report.to_json()? } else { report.to_table()? })
}

fn log_options(args: &ReplayArgs, subjects: &Subjects) -> LogOptions {
    let need = if args.prices.is_some() { Need::Tokens } else { Need::Cost };
    LogOptions {
        format: args.format,
        columns: args.columns.iter().map(|column| (column.role, column.name.clone())).collect(),
        cached: args.cached_tokens,
        extras: subjects.columns(),
        need,
        need_model: need == Need::Tokens && args.model.is_none(),
    }
}

/// The guard that decides, and the prefix of its keys: this run's own, so that no real budget is touched.
async fn connect(args: &ReplayArgs) -> anyhow::Result<(CostGuard, String)> {
    let prefix = args.prefix.clone().unwrap_or_else(|| own_prefix("replay"));
    let builder = CostGuard::builder().prefix(&prefix);
    let Some(url) = &args.url else {
        eprintln!("deciding on the embedded engine, which keeps nothing; --url decides on a server");
        return Ok((builder.embedded()?, prefix));
    };
    let guard = builder.connect(url).await?;
    eprintln!("deciding on {}, under keys that begin with {prefix} and expire by themselves", guard.store().describe());
    Ok((guard, prefix))
}

/// A bar on a terminal, nothing in a pipe.
fn progress(size: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:32} {percent:>3}%  {msg}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} read  {msg}  {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style).with_finish(ProgressFinish::AndClear),
        Err(_) => bar,
    }
}

fn draw(title: &str, tally: &Tally, series: &[LimitSeries]) -> anyhow::Result<String> {
    let panels: Vec<_> = tally.limits.iter().zip(series).map(|(tally, series)| Panel { tally, series }).collect();
    plot::draw(title, &panels, tally.first_ms.unwrap_or(0), tally.last_ms.unwrap_or(0))
}

/// A replay under way.
struct Replay {
    guard: CostGuard,
    policy: Policy,
    pricing: Pricing,
    subjects: Subjects,
    tally: Tally,
    series: Option<Vec<LimitSeries>>,
    decisions: Option<OutputFile>,
    default_model: Option<String>,
    file: String,
    unknown_models: u64,
}

/// What stops a replay, or skips a row.
enum RowError {
    Bad(BadRow),
    Fatal(anyhow::Error),
}

impl Replay {
    /// Decides every row, one after the other: each decision depends on those before it. Gives the count of bad rows.
    async fn all(&mut self, log: Log, skip_bad_rows: bool, progress: &ProgressBar) -> anyhow::Result<u64> {
        if let Some(decisions) = &mut self.decisions {
            decisions.write("line,decision,refused_by\n")?;
        }
        let mut bad_rows: u64 = 0;
        let mut first_bad = None;
        for row in log {
            let decided = match row {
                Ok(row) => self.one(&row).await,
                Err(LogError::Row(bad)) => Err(RowError::Bad(bad)),
                Err(LogError::Fatal(error)) => Err(RowError::Fatal(error)),
            };
            match decided {
                Ok(()) => {}
                Err(RowError::Bad(bad)) if skip_bad_rows => {
                    bad_rows += 1;
                    first_bad.get_or_insert(bad);
                }
                Err(RowError::Bad(bad)) => {
                    anyhow::bail!("{bad}\nFix the row, or count and skip such rows with --skip-bad-rows")
                }
                Err(RowError::Fatal(error)) => return Err(error),
            }
            let requests = self.tally.total.requests();
            if requests.is_multiple_of(512) {
                progress.set_message(format!("{requests} decisions"));
            }
        }
        if let (0, Some(bad)) = (self.tally.total.requests(), first_bad) {
            anyhow::bail!("no row could be used, {bad_rows} were bad; the first: {bad}");
        }
        Ok(bad_rows)
    }

    async fn one(&mut self, row: &LogRow) -> Result<(), RowError> {
        let model = Pricing::model(row, self.default_model.as_deref());
        let cost = match self.pricing.price(row, model) {
            Priced::Cost(cost) => cost,
            Priced::Skipped => {
                self.unknown_models += 1;
                return self.note(row.line, "skipped", &[]).map_err(RowError::Fatal);
            }
            Priced::UnknownModel(problem) => {
                return Err(RowError::Fatal(anyhow::anyhow!(
                    "{} line {}: {problem}\nGo on without such calls with --unknown-model skip, or charge each an \
                     amount with --unknown-model charge=0.05",
                    self.file,
                    row.line
                )));
            }
            Priced::Bad(problem) => return Err(self.bad(row, problem)),
        };
        let (subject, scopes) = self.subjects.subject(row, model).map_err(|problem| self.bad(row, problem))?;
        let amounts = self.subjects.amounts(row, cost).map_err(|problem| self.bad(row, problem))?;
        let Some(at) = DateTime::from_timestamp_millis(row.at_ms) else {
            return Err(self.bad(row, "the time is out of range".to_owned()));
        };
        let decision = self.guard.admit(&self.policy, &subject, amounts).at(at).await;
        let decision = decision.with_context(|| format!("{} line {}", self.file, row.line)).map_err(RowError::Fatal)?;
        let (granted, limits, refused_by) = match &decision {
            Decision::Granted(grant) => (true, &grant.limits, &[][..]),
            Decision::Denied(denial) => (false, &denial.limits, &denial.refused_by[..]),
        };
        let outcome = Outcome { at_ms: row.at_ms, model, scopes: &scopes, cost, granted, limits, refused_by };
        self.tally.add(&outcome).map_err(RowError::Fatal)?;
        if let Some(series) = &mut self.series {
            record(series, &outcome);
        }
        self.note(row.line, if granted { "granted" } else { "denied" }, refused_by).map_err(RowError::Fatal)
    }

    fn bad(&self, row: &LogRow, problem: String) -> RowError {
        RowError::Bad(BadRow { file: self.file.clone(), line: row.line, column: None, problem })
    }

    /// One line of `--decisions`. Limits are counted from 1.
    fn note(&mut self, line: u64, decision: &str, refused_by: &[usize]) -> anyhow::Result<()> {
        let Some(decisions) = &mut self.decisions else { return Ok(()) };
        let mut text = format!("{line},{decision},");
        for (position, place) in refused_by.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(text, "{space}{}", place + 1)?;
        }
        text.push('\n');
        decisions.write(&text)
    }
}
