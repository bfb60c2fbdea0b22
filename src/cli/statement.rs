//! `costguard statement`: what is spent, held and free.

use std::fmt::Write as _;

use costguard::Meter;
use costguard::ops::StatementLine;
use serde::Serialize;

use super::output::{print, print_json, table};
use super::states::{self, Block, JsonBlock, JsonState, Standing};
use super::target::TargetArgs;
use super::time::{people_time, rfc3339};

/// Show what is spent, held and free of each limit, and when what is held comes free; changes nothing
///
/// What is held belongs to calls that have not ended: `costguard holds` lists them. It comes free when they are settled
/// or released, at the latest at the times shown here.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatementArgs {
    #[command(flatten)]
    target: TargetArgs,
}

const EXAMPLES: &str = "\
Examples:
  costguard statement --url redis://localhost:6379 --root acme --policy policy.toml --scope user=alice
  costguard statement --scope org=acme --per month     with $COSTGUARD_URL set";

#[derive(Serialize)]
struct Json<'a> {
    store: String,
    root: Option<&'a str>,
    limits: Vec<JsonLine>,
    /// Scopes that are refused whatever is left.
    blocked: Vec<JsonBlock>,
}

#[derive(Serialize)]
struct JsonLine {
    #[serde(flatten)]
    state: JsonState,
    /// What comes free by when, soonest first.
    frees: Vec<JsonFrees>,
}

#[derive(Serialize)]
struct JsonFrees {
    at: String,
    amount: i64,
}

pub(crate) async fn run(args: StatementArgs) -> anyhow::Result<()> {
    let (target, whose) = (&args.target, &args.target.whose);
    let subject = whose.subject()?;
    let policy = target.policy(&[Meter::COST])?;
    let guard = whose.guard().await?;
    let mut statement = guard.statement(&policy, &subject);
    if let Some(at) = whose.under.at {
        statement = statement.at(at);
    }
    let lines = statement.await?;
    let blocks = target.blocks(&guard, &subject).await?;
    let standings = target.standings(lines.iter().map(|line| &line.state), &policy);
    if whose.under.json {
        let limits = lines.iter().zip(standings).map(JsonLine::new).collect();
        let blocked = JsonBlock::all(&blocks);
        return print_json(&Json { store: guard.store().describe(), root: whose.root()?, limits, blocked });
    }
    print(&format!("on {}\n\n{}", whose.place(&guard)?, to_table(&lines, &standings, &blocks)?))
}

fn to_table(lines: &[StatementLine], standings: &[Standing<'_>], blocks: &[Block]) -> Result<String, std::fmt::Error> {
    let mut limits = table(&["limit", "at most", "spent", "held", "free", "starts over (UTC)"]);
    let mut frees = table(&["held of", "amount", "free by (UTC)"]);
    for (StatementLine { state, frees: buckets }, standing) in lines.iter().zip(standings) {
        limits.add_row([
            standing.name(),
            standing.at_most(),
            standing.amount(Some(state.used)),
            standing.amount(Some(state.held)),
            standing.amount(standing.remaining()),
            state.resets_at().map_or_else(|| "never".to_owned(), |at| people_time(at.timestamp_millis())),
        ]);
        for (at_ms, held) in buckets {
            frees.add_row([standing.name(), standing.amount(Some(*held)), people_time(*at_ms)]);
        }
    }
    let mut text = format!("{limits}\n{}{}", states::remarks(standings)?, states::block_lines(blocks));
    if frees.row_count() > 0 {
        write!(text, "\n{frees}")?;
    }
    Ok(text.trim_end().to_owned())
}

impl JsonLine {
    fn new((line, standing): (&StatementLine, Standing<'_>)) -> Self {
        let frees = line.frees.iter().map(|(at_ms, amount)| JsonFrees { at: rfc3339(*at_ms), amount: *amount });
        Self { state: JsonState::new(&standing), frees: frees.collect() }
    }
}
