//! Whose call a row is, and how much it takes.

use costguard::model::GLOBAL;
use costguard::{Amounts, Meter, Money, Policy, Scope, Subject};

use super::log::{ExtraColumn, LogRow};
use super::options::{Source, SourceArg};
use crate::cli::amounts::check_counted;
use crate::cli::output::decoded;

/// The root of all of a replay's subjects: the log's ids are taken as unique across it.
const ROOT: &str = "replay";

/// The scope kind that is a row's model unless the user says otherwise.
const MODEL: &str = "model";

/// How rows become subjects and amounts.
#[derive(Debug)]
pub(crate) struct Subjects {
    scopes: Vec<(String, From)>,
    amounts: Vec<(Meter, FromAmount)>,
    needs_tokens: bool,
    columns: Vec<ExtraColumn>,
}

/// Where a scope's id comes from: a column by its place in [`LogRow::extras`].
#[derive(Debug)]
enum From {
    Fixed(String),
    Column(usize),
    Model,
}

#[derive(Debug)]
enum FromAmount {
    Fixed(i64),
    Column(usize),
}

impl Subjects {
    /// Finds a source for everything the policy limits.
    pub(crate) fn new(policy: &Policy, scopes: &[SourceArg], amounts: &[SourceArg]) -> anyhow::Result<Self> {
        let mut subjects = Self { scopes: Vec::new(), amounts: Vec::new(), needs_tokens: false, columns: Vec::new() };
        for SourceArg { name, source } in scopes {
            anyhow::ensure!(
                subjects.scopes.iter().all(|(kind, _)| kind != name),
                "--scope {name} is given twice: a call has one {name}"
            );
            let from = match source {
                Source::Fixed(id) => {
                    Subject::new(ROOT).scope(name, id).scope_of(name)?;
                    From::Fixed(id.clone())
                }
                Source::Column(column) => From::Column(subjects.column("--scope", name, Some(column))),
            };
            subjects.scopes.push((name.clone(), from));
        }
        let counted: Vec<_> = policy.limits().iter().map(|limit| limit.counter().meter()).collect();
        for SourceArg { name, source } in amounts {
            let meter = Meter::new(name)?;
            anyhow::ensure!(
                meter != Meter::COST,
                "--amount cost is not needed: costs come from --prices, or from the log's cost column (--column cost=NAME)"
            );
            check_counted(&counted, &meter)?;
            let from = match source {
                Source::Fixed(amount) => FromAmount::Fixed(meter.parse_amount(amount)?),
                Source::Column(column) => FromAmount::Column(subjects.column("--amount", name, Some(column))),
            };
            subjects.amounts.push((meter, from));
        }
        for limit in policy.limits() {
            subjects.need(limit.counter().scope_kind(), limit.counter().meter())?;
        }
        Ok(subjects)
    }

    /// Makes sure that a limit's scope and meter have a source.
    fn need(&mut self, kind: &str, meter: &Meter) -> anyhow::Result<()> {
        if kind != GLOBAL && self.scopes.iter().all(|(known, _)| known != kind) {
            let from = if kind == MODEL { From::Model } else { From::Column(self.column("--scope", kind, None)) };
            self.scopes.push((kind.to_owned(), from));
        }
        let given = self.amounts.iter().any(|(known, _)| known == meter);
        self.needs_tokens |= *meter == Meter::TOKENS && !given;
        let name = decoded(meter.as_str());
        anyhow::ensure!(
            given || [Meter::COST, Meter::TOKENS, Meter::REQUESTS, Meter::CONCURRENCY].contains(meter),
            "the policy limits {name}, and a log tells only cost, tokens and requests by itself: say how much each \
             call takes with --amount {name}=1 or --amount {name}=@COLUMN"
        );
        Ok(())
    }

    fn column(&mut self, option: &'static str, name: &str, column: Option<&String>) -> usize {
        self.columns.push(ExtraColumn { option, name: name.to_owned(), column: column.cloned() });
        self.columns.len() - 1
    }

    /// The columns that rows must bring along.
    pub(crate) fn columns(&self) -> Vec<ExtraColumn> {
        self.columns.clone()
    }

    /// Whether tokens are counted that no option tells.
    pub(crate) fn needs_tokens(&self) -> bool {
        self.needs_tokens
    }

    /// The subject of a row, and its scopes for the report. What is wrong with it is wrong with the row.
    pub(crate) fn subject(&self, row: &LogRow, model: &str) -> Result<(Subject, Vec<Scope>), String> {
        let mut subject = Subject::new(ROOT);
        for (kind, from) in &self.scopes {
            let id = match from {
                From::Fixed(id) => id,
                From::Column(place) => row.extras.get(*place).map_or("", String::as_str),
                From::Model => model,
            };
            subject = subject.scope(kind, id);
        }
        let scopes = self.scopes.iter().map(|(kind, _)| subject.scope_of(kind)).collect::<Result<_, _>>();
        let scopes = scopes.map_err(|error| error.to_string())?;
        Ok((subject, scopes))
    }

    /// What a row takes of every meter, with this cost and these tokens.
    pub(crate) fn amounts(&self, row: &LogRow, cost: Money, tokens: Option<u64>) -> Result<Amounts, String> {
        let mut amounts = Amounts::cost(cost);
        match tokens {
            Some(tokens) => amounts = amounts.tokens(tokens),
            None if self.needs_tokens => {
                let problem = "the policy limits tokens, and the row has no token counts: name a column that has them with \
                     --amount tokens=@COLUMN";
                return Err(problem.to_owned());
            }
            None => {}
        }
        for (meter, from) in &self.amounts {
            let amount = match from {
                FromAmount::Fixed(amount) => *amount,
                FromAmount::Column(place) => {
                    let text = row.extras.get(*place).map_or("", String::as_str);
                    meter.parse_amount(text).map_err(|error| error.to_string())?
                }
            };
            amounts = amounts.with(meter.clone(), amount);
        }
        Ok(amounts)
    }
}
