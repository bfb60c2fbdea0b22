//! `costguard hold`: one hold, by its id.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Subcommand;
use costguard::ops::{Hold, HoldState, Settled};
use costguard::{CostGuard, Meter};
use serde::Serialize;

use super::amounts::{AmountArgs, amounts, check};
use super::holds::JsonAmount;
use super::output::{after, decoded, print, print_json, shown, table};
use super::target::SubjectArgs;
use super::time::{people_time, rfc3339};

/// Show, release or settle one hold by its id
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HoldArgs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  costguard hold show call-4711 --url redis://localhost:6379 --root acme
  costguard hold release call-4711 --root acme                    with $COSTGUARD_URL set
  costguard hold settle call-4711 --root acme --cost 0.12 --amount tokens=500

Once a hold is settled or released the exit code is 0, also when the answer cannot be printed; standard error says so.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a hold holds, also when it has ended lately; changes nothing
    Show(OneHold),
    /// Give back what a hold holds: the call was not made, or cost nothing. Releasing again does nothing
    Release(OneHold),
    /// Charge what the call of a hold really cost, in the windows in which it began
    ///
    /// In full, once: above what was held, above the limit, and after the hold expired, too. Settling again with the same
    /// amounts does nothing.
    Settle {
        #[command(flatten)]
        hold: OneHold,
        #[command(flatten)]
        amounts: AmountArgs,
    },
}

#[derive(Debug, clap::Args)]
struct OneHold {
    /// Its id, as `costguard holds` lists it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    whose: SubjectArgs,
}

pub(crate) async fn run(args: HoldArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Show(one) => {
            let (guard, hold) = one.find().await?;
            one.print(&guard, &hold, state(&hold), &format!("is {}", state(&hold)))
        }
        Command::Release(one) => {
            let (guard, mut hold) = one.find().await?;
            let before = hold.state();
            hold.release().await?;
            let words = if before == HoldState::Released { "was released before" } else { "is released" };
            after("the hold was released", one.print(&guard, &hold, "released", words));
            Ok(())
        }
        Command::Settle { hold: one, amounts: given } => {
            let given = given.given()?;
            let (guard, mut hold) = one.find().await?;
            let held = hold.amounts();
            let (counted, meters): (Vec<&Meter>, Vec<_>) = (
                held.iter().map(|held| &held.meter).collect(),
                given.iter().map(|given| given.meter.clone()).collect(),
            );
            check(&counted, &meters, "the hold covers")?;
            let settled = hold.settle(amounts(given)).await?;
            after("the hold was settled", one.print_settled(&guard, &settled));
            Ok(())
        }
    }
}

impl OneHold {
    async fn find(&self) -> anyhow::Result<(CostGuard, Hold)> {
        let subject = self.whose.subject()?;
        let guard = self.whose.guard().await?;
        let mut search = guard.hold(&subject, &self.id);
        if let Some(at) = self.whose.under.at {
            search = search.at(at);
        }
        let hold = search.await?;
        Ok((guard, hold))
    }

    fn print(&self, guard: &CostGuard, hold: &Hold, outcome: &'static str, words: &str) -> anyhow::Result<()> {
        let (amounts, tags) = (hold.amounts(), hold.tags());
        if self.whose.under.json {
            return print_json(&Json {
                store: guard.store().describe(),
                root: self.whose.root()?,
                id: &self.id,
                outcome,
                reserved_at: rfc3339(hold.reserved_ms()),
                expires_at: rfc3339(hold.expires_ms()),
                amounts: amounts.iter().map(JsonAmount::new).collect(),
                tags: tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            });
        }
        let mut text = format!("{} {words}, on {}\n\n", shown(&self.id), self.whose.place(guard)?);
        writeln!(text, "reserved  {} UTC", people_time(hold.reserved_ms()))?;
        writeln!(text, "expires   {} UTC", people_time(hold.expires_ms()))?;
        for (name, value) in tags {
            writeln!(text, "tag       {}", shown(&format!("{name}={value}")))?;
        }
        let mut columns = vec!["counter", if outcome == "open" { "held" } else { "was held" }, "at most"];
        if hold.state() == HoldState::Settled {
            columns.push("charged");
        }
        let mut counters = table(&columns);
        for held in &amounts {
            let amount = |amount| held.meter.format_amount(amount);
            let mut row =
                vec![held.key.clone(), amount(held.amount), held.limit.map_or_else(|| "-".to_owned(), amount)];
            row.extend(held.charged.map(amount));
            counters.add_row(row);
        }
        print(&format!("{text}\n{counters}"))
    }

    fn print_settled(&self, guard: &CostGuard, settled: &Settled) -> anyhow::Result<()> {
        if self.whose.under.json {
            let limits = settled.limits.iter().map(|limit| JsonSettledLimit {
                counter: &limit.key,
                meter: decoded(limit.meter.as_str()),
                limit: limit.limit,
                charged: limit.amount,
                used: limit.used,
                overdraft: limit.overdraft(),
            });
            return print_json(&JsonSettled {
                store: guard.store().describe(),
                root: self.whose.root()?,
                id: &self.id,
                outcome: "settled",
                late: settled.late,
                replayed: settled.replayed,
                limits: limits.collect(),
            });
        }
        let (place, id) = (self.whose.place(guard)?, shown(&self.id));
        let mut text = match (settled.replayed, settled.late) {
            (true, _) => format!("{id} was settled before with these amounts, on {place}: the counters of then"),
            (false, true) => format!("{id} is settled, after it had expired, on {place}"),
            (false, false) => format!("{id} is settled, on {place}"),
        };
        let mut counters = table(&["counter", "charged", "used", "at most"]);
        let mut remarks = String::new();
        for limit in &settled.limits {
            let amount = |amount| limit.meter.format_amount(amount);
            counters.add_row([
                limit.key.clone(),
                amount(limit.amount),
                amount(limit.used),
                limit.limit.map_or_else(|| "-".to_owned(), amount),
            ]);
            if limit.overdraft() > 0 {
                write!(remarks, "\n  {} is {} over its limit", limit.key, amount(limit.overdraft()))?;
            }
        }
        write!(text, "\n\n{counters}")?;
        if !remarks.is_empty() {
            write!(text, "\n{remarks}")?;
        }
        print(&text)
    }
}

fn state(hold: &Hold) -> &'static str {
    match hold.state() {
        HoldState::Open => "open",
        HoldState::Settled => "settled",
        HoldState::Released => "released",
    }
}

#[derive(Serialize)]
struct Json<'a> {
    store: String,
    root: Option<&'a str>,
    id: &'a str,
    /// `open`, `settled` or `released`.
    outcome: &'static str,
    reserved_at: String,
    expires_at: String,
    amounts: Vec<JsonAmount<'a>>,
    tags: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct JsonSettled<'a> {
    store: String,
    root: Option<&'a str>,
    id: &'a str,
    outcome: &'static str,
    /// Whether the hold had expired; all was charged all the same.
    late: bool,
    /// Whether it had been settled before; then nothing was charged now.
    replayed: bool,
    limits: Vec<JsonSettledLimit<'a>>,
}

/// In the meter's unit.
#[derive(Serialize)]
struct JsonSettledLimit<'a> {
    counter: &'a str,
    meter: Cow<'a, str>,
    limit: Option<i64>,
    charged: i64,
    used: i64,
    overdraft: i64,
}
