//! `costguard top`: what a store holds, live.

mod columns;
mod found;
mod key;
mod once;
mod screen;
mod survey;
mod view;

use std::io::{IsTerminal as _, Stdout};
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use costguard::service::{Health, HealthStatus};
use costguard::{CostGuard, Policy};
use ratatui::crossterm::SynchronizedUpdate as _;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use self::screen::{Next, Screen};
use self::survey::Survey;
use self::view::{Snapshot, Sort};
use super::output::{print, print_json};
use super::target::ServerArgs;

/// How often the view is made anew.
const REFRESH: Duration = Duration::from_secs(1);

/// Watch what is spent, held and nearly used up, live; changes nothing
///
/// Looks through the keys bit by bit, so many a second, so that a large store is not held up; the view says when it is
/// partial. With a policy it shows how full limits are, overrides and rates too. A store does not count denials: a limit
/// that is full, or a scope that is blocked, refuses what comes next. Plain keys, those without a root, do not tell in what
/// they count: what they hold is shown as it is stored, cents of the daily guard for one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// What every key begins with, as the service that counts has set it [default: $REDIS_KEY_PREFIX]
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// The policy: a TOML file of limits, to show how full they are
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The most keys to look at in a second
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys_per_second: u64,

    /// What to sort by at first
    #[arg(long, value_enum)]
    sort: Option<Sort>,

    /// Show only what has this in its scope, root, meter, window or state
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,

    /// Print one look and end
    #[arg(long)]
    once: bool,

    /// With --once: print one JSON object; amounts in the meter's unit, cost in billionths of a dollar
    #[arg(long, requires = "once")]
    json: bool,

    /// With --once: how many counters and holds to print
    #[arg(long, value_name = "N", default_value_t = 100, requires = "once")]
    rows: usize,

    /// With --once: how many seconds to look at most, in one turn at least; what was not seen by then is not shown
    #[arg(long, value_name = "S", default_value_t = 10, requires = "once")]
    wait: u64,
}

const EXAMPLES: &str = "\
Examples:
  costguard top --url redis://localhost:6379 --policy policy.toml
  costguard top --filter org:acme                       with $COSTGUARD_URL set
  costguard top --once --json --policy policy.toml | jq '.counters[] | select(.state == \"full\")'";

pub(crate) async fn run(args: TopArgs) -> anyhow::Result<()> {
    let policy = args.policy.as_ref().map(Policy::from_file).transpose()?;
    ensure!(
        args.once || (std::io::stdout().is_terminal() && std::io::stdin().is_terminal()),
        "top draws on a terminal, and this is none: add --once for a single look, --json for programs"
    );
    let mut config = args.server.config()?;
    if let Some(prefix) = &args.prefix {
        config = config.key_prefix(prefix);
    }
    // Lazy while it is watched: a server that is away now may come back.
    let guard = CostGuard::builder().connect_with(&config.lazy(!args.once)).await?;
    let survey = Survey::new(guard.clone(), policy.as_ref(), args.keys_per_second)?;
    if args.once { look_once(&args, guard, survey).await } else { watch(&args, guard, survey).await }
}

async fn look_once(args: &TopArgs, guard: CostGuard, mut survey: Survey) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let mut turns = tokio::time::interval(REFRESH);
    loop {
        turns.tick().await;
        survey.turn().await?;
        if survey.progress.complete || Instant::now() >= deadline {
            break;
        }
    }
    let snapshot = Snapshot::of(&survey, guard.health().await, None);
    let sort = args.sort.unwrap_or(Sort::Used);
    if args.json {
        print_json(&once::Json::new(&snapshot, sort, &args.filter, args.rows))
    } else {
        print(&once::to_text(&snapshot, sort, &args.filter, args.rows)?)
    }
}

async fn watch(args: &TopArgs, guard: CostGuard, survey: Survey) -> anyhow::Result<()> {
    let (show, mut shown) = watch::channel(None);
    let looking = tokio::spawn(look(guard, survey, show));
    let mut keys = read_keys();
    let mut screen = Screen::new(args.sort, args.filter.clone());
    let mut stopped = pin!(stopped());
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let drawn = loop {
        let snapshot: Option<Snapshot> = shown.borrow_and_update().clone();
        // A terminal that knows how shows a picture when all of it is there.
        let draw = |_: &mut Stdout| terminal.draw(|frame| screen.draw(frame, snapshot.as_ref())).map(|_| ());
        if let Err(err) = std::io::stdout().sync_update(draw).and_then(|drawn| drawn) {
            break Err(err).context("cannot draw on this terminal");
        }
        tokio::select! {
            () = &mut stopped => break Ok(()),
            changed = shown.changed() => if changed.is_err() { break Err(anyhow::anyhow!("the look at the store broke off")) },
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if screen.press(key) == Next::Quit {
                        break Ok(());
                    }
                }
                // Another size, for one: it is drawn anew.
                Some(_) => {}
                None => break Ok(()),
            },
        }
    };
    ratatui::restore();
    looking.abort();
    drawn
}

/// Waits until the program is asked to end by a signal: the terminal is to be left as it was found.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminated), Ok(mut hung_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            tokio::select! {
                _ = terminated.recv() => {},
                _ = hung_up.recv() => {},
            }
            return;
        }
    }
    std::future::pending().await
}

/// Makes a snapshot every second, as long as somebody looks.
async fn look(guard: CostGuard, mut survey: Survey, show: watch::Sender<Option<Snapshot>>) {
    let mut turns = tokio::time::interval(REFRESH);
    // After a slow turn the server gets its second of rest all the same.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let health: Health = guard.health().await;
        let trouble = match health.status {
            HealthStatus::Disconnected => None,
            _ => survey.turn().await.err().map(|err| crate::told(&err)),
        };
        if show.send(Some(Snapshot::of(&survey, health, trouble))).is_err() {
            return;
        }
    }
}

/// The keys that are pressed. The thread ends with the program: a terminal cannot be asked to stop waiting.
fn read_keys() -> mpsc::Receiver<Event> {
    let (give, keys) = mpsc::channel(16);
    std::thread::spawn(move || while event::read().is_ok_and(|event| give.blocking_send(event).is_ok()) {});
    keys
}
