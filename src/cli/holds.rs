//! `costguard holds`: the calls that hold room.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::CellAlignment;
use costguard::ops::{HeldAmount, OpenHold, OpenHolds};
use serde::Serialize;

use super::output::{decoded, print, print_json, readable, shown, table};
use super::target::SubjectArgs;
use super::time::{people_duration, rfc3339};

/// List the open holds under a root: why is there no room? Changes nothing
///
/// A hold is what a call has set aside and neither settled nor released. All of the root are listed, whichever scopes
/// they count against. This looks through every key on the server: slow where there are many.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HoldsArgs {
    #[command(flatten)]
    whose: SubjectArgs,
}

const EXAMPLES: &str = "\
Examples:
  costguard holds --url redis://localhost:6379 --root acme
  costguard holds --json                        with $COSTGUARD_URL and $COSTGUARD_ROOT set
  costguard hold release ID --root acme         to give the room of one back";

#[derive(Serialize)]
struct Json<'a> {
    store: String,
    root: Option<&'a str>,
    /// The server's time.
    at: String,
    /// Whether these are all.
    complete: bool,
    holds: Vec<JsonHold<'a>>,
}

#[derive(Serialize)]
struct JsonHold<'a> {
    id: &'a str,
    age_ms: i64,
    reserved_at: String,
    expires_at: String,
    /// When its room is free if nobody ends it: at its expiry or a little later.
    frees_at: String,
    amounts: Vec<JsonAmount<'a>>,
    tags: BTreeMap<&'a str, &'a str>,
}

/// What is held of one counter, in the meter's unit.
#[derive(Serialize)]
pub(super) struct JsonAmount<'a> {
    counter: &'a str,
    meter: Cow<'a, str>,
    amount: i64,
    limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<i64>,
}

pub(crate) async fn run(args: HoldsArgs) -> anyhow::Result<()> {
    let whose = &args.whose;
    let subject = whose.subject()?;
    let guard = whose.guard().await?;
    let mut search = guard.holds(&subject);
    if let Some(at) = whose.under.at {
        search = search.at(at);
    }
    let open = search.await?;
    if whose.under.json {
        let holds = open.holds.iter().map(|hold| JsonHold::new(hold, open.now_ms)).collect();
        let (store, root, at) = (guard.store().describe(), whose.root()?, rfc3339(open.now_ms));
        return print_json(&Json { store, root, at, complete: open.complete, holds });
    }
    print(&format!("on {}\n\n{}", whose.place(&guard)?, to_table(&open)?))
}

fn to_table(open: &OpenHolds) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if open.holds.is_empty() {
        write!(text, "Nothing is held.")?;
    } else {
        let mut holds = table(&["hold", "age", "holds", "free in", "tags"]);
        if let Some(tags) = holds.column_mut(4) {
            tags.set_cell_alignment(CellAlignment::Left);
        }
        for hold in &open.holds {
            let free_in = span(open.now_ms, hold.frees_ms);
            holds.add_row([
                shown(&hold.id).into_owned(),
                span(hold.reserved_ms, open.now_ms),
                held(&hold.amounts),
                if hold.expires_ms > open.now_ms { free_in } else { format!("{free_in} (expired)") },
                hold.tags
                    .iter()
                    .map(|(name, value)| shown(&format!("{name}={value}")).into_owned())
                    .collect::<Vec<_>>()
                    .join(" "),
            ]);
        }
        write!(text, "{holds}")?;
    }
    if !open.complete {
        write!(text, "\n\nThere may be more: too many holds of this root ended lately to look at each.")?;
    }
    Ok(text)
}

/// The amounts of a hold by meter, for people; where limits hold different amounts of one, the most.
fn held(amounts: &[HeldAmount]) -> String {
    let mut meters: Vec<(&HeldAmount, i64)> = Vec::new();
    for held in amounts {
        match meters.iter_mut().find(|(known, _)| known.meter == held.meter) {
            Some((_, most)) => *most = held.amount.max(*most),
            None => meters.push((held, held.amount)),
        }
    }
    let words = meters
        .iter()
        .map(|(held, most)| format!("{} {}", held.meter.format_amount(*most), readable(held.meter.as_str())));
    words.collect::<Vec<_>>().join(", ")
}

fn span(from_ms: i64, until_ms: i64) -> String {
    people_duration(Duration::from_millis(u64::try_from(until_ms.saturating_sub(from_ms)).unwrap_or(0)))
}

impl<'a> JsonHold<'a> {
    fn new(hold: &'a OpenHold, now_ms: i64) -> Self {
        Self {
            id: &hold.id,
            age_ms: now_ms.saturating_sub(hold.reserved_ms),
            reserved_at: rfc3339(hold.reserved_ms),
            expires_at: rfc3339(hold.expires_ms),
            frees_at: rfc3339(hold.frees_ms),
            amounts: hold.amounts.iter().map(JsonAmount::new).collect(),
            tags: hold.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        }
    }
}

impl<'a> JsonAmount<'a> {
    pub(super) fn new(held: &'a HeldAmount) -> Self {
        let HeldAmount { key, meter, amount, limit, charged } = held;
        Self { counter: key, meter: decoded(meter.as_str()), amount: *amount, limit: *limit, charged: *charged }
    }
}
