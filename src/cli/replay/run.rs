//! The replay itself: read a row, price it, decide it, add it up.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use costguard::model::Per;
use costguard::{Amounts, CostGuard, Decision, Denial, LimitState, Money, Policy, Subject, Usage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::estimate::{EstimateBy, ReserveArgs};
use super::log::{self, BadRow, Log, LogError, LogOptions, LogRow, Need, Role};
use super::options::ReplayArgs;
use super::plot::{self, Panel};
use super::pricing::{Priced, Pricing};
use super::report::Report;
use super::reserve::{Call, Ended, Reserved, Reserving, receipt_ttl};
use super::series::{LimitSeries, record, record_settled};
use super::subjects::Subjects;
use super::tally::{Outcome, Tally};
use crate::cli::output::{OutputFile, print, print_json, refuse_overwriting};
use crate::cli::target::{END_S, config_of, own_prefix};
use crate::cli::time::people_time;

/// Replays a log against a policy, then reports. Until the last row is decided, nothing is.
pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.reserve.reserve || args.columns.iter().all(|column| column.role != Role::Duration),
        "--column duration is for --reserve, which lets calls hold room until they end"
    );
    refuse_overwriting(
        &[("LOG", Some(&args.log)), ("--policy", Some(&args.policy)), ("--prices", args.prices.as_deref())],
        &[("--plot", args.plot.as_deref()), ("--decisions", args.decisions.as_deref())],
    )?;
    let policy = Policy::from_file(&args.policy)?;
    if let Some(limit) = policy.limits().iter().find(|limit| limit.counter().window().per() == Per::Open)
        && !args.reserve.reserve
    {
        anyhow::bail!(
            "the policy limits how many calls are open at once ({}), and without --reserve none is: add --reserve, and \
             --latency 2s where the log does not say how long calls took",
            limit.counter()
        );
    }
    let pricing = Pricing::open(args.prices.as_deref(), args.unknown_model)?;
    let subjects = Subjects::new(&policy, &args.scopes, &args.amounts)?;
    anyhow::ensure!(
        subjects.needs_tokens() || args.columns.iter().all(|column| column.role != Role::Total),
        "--column total is for policies that limit tokens, where --amount does not say how many"
    );
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
        reserving: args.reserve.reserve.then(|| Reserving::new(args.reserve.estimate_by())),
        reserve: args.reserve,
        series: plot.is_some().then(|| vec![LimitSeries::default(); policy.limits().len()]),
        policy,
        decisions,
        default_model: args.model.as_deref().map(Arc::from),
        file: log.name().to_owned(),
        unknown_models: 0,
    };
    let started = Instant::now();
    let bad_rows = replay.all(log, args.skip_bad_rows, &progress).await?;
    let elapsed = started.elapsed();
    progress.finish_and_clear();

    let Replay { guard, tally, series, decisions, file, unknown_models, reserving, .. } = replay;
    if let (Some(mut plot), Some(series)) = (plot, series) {
        let policy = args.policy.display().to_string();
        let title = format!("{} against {}", plot::path_end(&file), plot::path_end(&policy));
        plot.write(&draw(&title, &tally, &series)?)?;
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
        reserved: reserving.map(|reserving| (reserving.by, reserving.sums)),
        bad_rows,
        unknown_models,
        elapsed,
    };
    if args.json { print_json(&report.to_json()) } else { print(&report.to_table()?) }
}

fn log_options(args: &ReplayArgs, subjects: &Subjects) -> LogOptions {
    let need = if args.prices.is_some() { Need::Tokens } else { Need::Cost };
    LogOptions {
        format: args.format,
        columns: args.columns.iter().map(|column| (column.role, column.name.clone())).collect(),
        cached: args.cached_tokens,
        extras: subjects.columns(),
        total_tokens: subjects.needs_tokens(),
        need,
        need_model: need == Need::Tokens && args.model.is_none(),
        need_duration: args.reserve.reserve && args.reserve.latency.is_none(),
    }
}

/// The guard that decides, and the prefix of its keys: this run's own, so that no real budget is touched.
async fn connect(args: &ReplayArgs) -> anyhow::Result<(CostGuard, String)> {
    let prefix = args.prefix.clone().unwrap_or_else(|| own_prefix("replay"));
    let mut builder = CostGuard::builder().prefix(&prefix);
    if args.reserve.reserve {
        builder = builder.receipt_ttl(receipt_ttl(args.url.is_some()));
    }
    let Some(url) = args.url.as_ref().filter(|url| *url != "memory:") else {
        eprintln!("deciding on the embedded engine, which keeps nothing; --url decides on a server");
        return Ok((builder.embedded()?, prefix));
    };
    let config = config_of(url)?.key_prefix(&prefix);
    let guard = builder.connect_with(&config).await?;
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
    default_model: Option<Arc<str>>,
    file: String,
    unknown_models: u64,
    reserve: ReserveArgs,
    /// With --reserve.
    reserving: Option<Reserving>,
}

/// What was decided of a call.
struct Decided {
    granted: bool,
    /// Every limit after that.
    limits: Vec<LimitState>,
    /// The places of those that refused, and of the one that would refuse longest.
    refused_by: Vec<usize>,
    bound_by: Option<usize>,
}

impl Decided {
    fn granted(limits: Vec<LimitState>) -> Self {
        Self { granted: true, limits, refused_by: Vec::new(), bound_by: None }
    }

    fn denied(denial: Denial) -> Self {
        let bound_by = denial.refused_by.iter().copied().find(|place| denial.limits.get(*place) == Some(&denial.limit));
        Self { granted: false, limits: denial.limits, refused_by: denial.refused_by, bound_by }
    }
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
            decisions.write("line,decision,refused_by,shadowed_by\n")?;
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
        self.settle_until(i64::MAX).await?;
        match (self.tally.total.requests(), first_bad, self.unknown_models) {
            (0, Some(bad), _) => anyhow::bail!("no row could be used, {bad_rows} were bad; the first: {bad}"),
            (0, None, 0) => anyhow::bail!("no row could be used: {} has none", self.file),
            (0, None, calls) => {
                anyhow::bail!("no row could be used: there is no price for the models of all {calls} calls")
            }
            _ => {}
        }
        Ok(bad_rows)
    }

    async fn one(&mut self, row: &LogRow) -> Result<(), RowError> {
        let default_model = self.default_model.clone();
        let model = Pricing::model(row, default_model.as_deref());
        let Some(cost) = self.price(row, model, None)? else {
            self.unknown_models += 1;
            return self.note(row.line, "skipped", &[], &[]).map_err(RowError::Fatal);
        };
        let (subject, scopes) = self.subjects.subject(row, model).map_err(|problem| self.bad(row, problem))?;
        let amounts = self.subjects.amounts(row, cost, row.tokens()).map_err(|problem| self.bad(row, problem))?;
        let Some(at) = DateTime::from_timestamp_millis(row.at_ms).filter(|at| at.timestamp() < END_S) else {
            return Err(
                self.bad(row, format!("the time is too far away: it is not before {} UTC", people_time(END_S * 1000)))
            );
        };
        let decided = if let Some(by) = self.reserving.as_ref().map(|reserving| reserving.by) {
            let (estimate, estimate_cost) = self.estimate(row, model, cost, by)?;
            let end_ms = self.reserve.end_ms(row).map_err(|problem| self.bad(row, problem))?;
            let times_ms = (row.at_ms, end_ms);
            self.hold(&subject, times_ms, (estimate, estimate_cost), amounts).await
        } else {
            self.admit(&subject, amounts, at).await
        };
        let decided = decided.with_context(|| format!("{} line {}", self.file, row.line)).map_err(RowError::Fatal)?;
        let Decided { granted, limits, refused_by, bound_by } = &decided;
        let (granted, bound_by) = (*granted, *bound_by);
        let outcome = Outcome { at_ms: row.at_ms, model, scopes: &scopes, cost, granted, limits, refused_by, bound_by };
        self.tally.add(&outcome).map_err(RowError::Fatal)?;
        if let Some(series) = &mut self.series {
            record(series, &outcome);
        }
        let shadowed = limits.iter().enumerate().filter(|(_, state)| state.shadowed).map(|(place, _)| place);
        let decision = if granted { "granted" } else { "denied" };
        self.note(row.line, decision, refused_by, &shadowed.collect::<Vec<_>>()).map_err(RowError::Fatal)
    }

    /// What a row costs, by another usage than its own where one is given; `None` when it is to be skipped.
    fn price(&self, row: &LogRow, model: &str, usage: Option<Usage>) -> Result<Option<Money>, RowError> {
        match self.pricing.price(row, model, usage) {
            Priced::Cost(cost) => Ok(Some(cost)),
            Priced::Skipped => Ok(None),
            Priced::UnknownModel(problem) => Err(RowError::Fatal(anyhow::anyhow!(
                "{} line {}: {problem}\nGo on without such calls with --unknown-model skip, or charge each an amount \
                 with --unknown-model charge=0.05",
                self.file,
                row.line
            ))),
            Priced::Bad(problem) => Err(self.bad(row, problem)),
        }
    }

    /// What a row holds, and the money of it.
    fn estimate(&self, row: &LogRow, model: &str, cost: Money, by: EstimateBy) -> Result<(Amounts, Money), RowError> {
        let usage = by.usage(row);
        let cost = match usage {
            Some(_) => self.price(row, model, usage)?.unwrap_or(cost),
            None => by.cost(cost),
        };
        let tokens = usage.map(|usage| usage.total_tokens()).or(row.tokens()).map(|tokens| by.tokens(tokens));
        let amounts = self.subjects.amounts(row, cost, tokens).map_err(|problem| self.bad(row, problem))?;
        Ok((amounts, cost))
    }

    async fn admit(&self, subject: &Subject, amounts: Amounts, at: DateTime<Utc>) -> anyhow::Result<Decided> {
        Ok(match self.guard.admit(&self.policy, subject, amounts).at(at).await? {
            Decision::Granted(grant) => Decided::granted(grant.limits),
            Decision::Denied(denial) => Decided::denied(denial),
        })
    }

    /// Reserves an estimate, after the calls that ended before.
    async fn hold(
        &mut self,
        subject: &Subject,
        (at_ms, end_ms): (i64, i64),
        (estimate, estimate_cost): (Amounts, Money),
        actual: Amounts,
    ) -> anyhow::Result<Decided> {
        self.settle_until(at_ms).await?;
        let Self { guard, policy, reserving: Some(reserving), tally, .. } = self else {
            anyhow::bail!("a call is held without --reserve");
        };
        let call = Call { guard, policy, subject, at_ms, end_ms, estimate, estimate_cost, actual };
        Ok(match reserving.reserve(call).await? {
            Reserved::Granted(limits) => Decided::granted(limits),
            Reserved::Denied(denial, by_holds) => {
                tally.denied_by_holds(&by_holds);
                Decided::denied(*denial)
            }
        })
    }

    /// Settles the calls that end until then, soonest first.
    async fn settle_until(&mut self, until_ms: i64) -> anyhow::Result<()> {
        let Some(reserving) = &mut self.reserving else { return Ok(()) };
        while let Some(Ended { at_ms, end_ms, limits, calls }) = reserving.settle_next(until_ms).await? {
            self.tally.settled(&limits, at_ms)?;
            if let Some(series) = &mut self.series {
                record_settled(series, &limits, end_ms, calls);
            }
        }
        Ok(())
    }

    fn bad(&self, row: &LogRow, problem: String) -> RowError {
        RowError::Bad(BadRow { file: self.file.clone(), line: row.line, column: None, problem })
    }

    /// One line of `--decisions`. Limits are counted from 1, ascending.
    fn note(&mut self, line: u64, decision: &str, refused_by: &[usize], shadowed_by: &[usize]) -> anyhow::Result<()> {
        let Some(decisions) = &mut self.decisions else { return Ok(()) };
        let numbers = |places: &[usize]| {
            let mut numbers: Vec<_> = places.iter().map(|place| place + 1).collect();
            numbers.sort_unstable();
            numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
        };
        decisions.write(&format!("{line},{decision},{},{}\n", numbers(refused_by), numbers(shadowed_by)))
    }
}
