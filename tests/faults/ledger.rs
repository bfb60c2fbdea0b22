//! Steady load from several clients, and a ledger of what became of each operation.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use costguard::{CostGuard, Counter, Decision, Error, ErrorKind, Limit, Meter, Money, Policy, Subject, Window};
use tokio::task::JoinSet;

use super::pass;

/// Tasks at work for each client.
const TASKS: usize = 4;

/// How long service may take to return once all is well again: the longest pause between attempts to connect is 30 s.
const RETURN_LIMIT: Duration = Duration::from_secs(40);

/// Held before a settlement of 3, so that a lost release of the rest would show.
const ESTIMATE: i64 = 5;

/// What a scope may spend: more than most runs do, so that denials come at the end of long ones only.
const LIMIT: i64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Charge,
    Admit,
    /// Reserve and settle, under one id.
    Settle,
}

impl Op {
    fn amount(self) -> i64 {
        match self {
            Op::Charge => 1,
            Op::Admit => 2,
            Op::Settle => 3,
        }
    }

    /// Each is counted against a user of its own.
    fn user(self) -> &'static str {
        match self {
            Op::Charge => "charged",
            Op::Admit => "admitted",
            Op::Settle => "held",
        }
    }

    fn policy(self) -> Policy {
        let counter = Counter::new("user", Meter::COST, Window::total());
        let limit = if self == Op::Charge { Limit::count_only(counter) } else { Limit::new(counter, LIMIT) };
        Policy::new([limit]).unwrap()
    }
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done { replayed: bool },
    Denied,
    Failed(ErrorKind),
}

impl Told {
    /// What was waited for in vain is not safe, so for the ledger it has failed.
    fn done(replayed: bool, replicas: Option<u64>) -> Self {
        if replicas == Some(0) {
            return Self::Failed(ErrorKind::Unavailable);
        }
        Self::Done { replayed }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    root: String,
    id: String,
    op: Op,
    told: Told,
}

/// What a fault may do beyond failing calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loses {
    /// Everything that was acknowledged stays.
    Nothing,
    /// The store forgets, as it was told to do or as asynchronous replication does: counted, not asserted.
    Acknowledged,
}

/// Clients at work.
pub(crate) struct Load {
    guards: Vec<CostGuard>,
    roots: Vec<String>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Entry>>,
    /// When the latest success was, in ms since the start.
    last_success_ms: Arc<AtomicI64>,
    slowest_ms: Arc<AtomicI64>,
    started: Instant,
}

/// What became of the operations under one fault: a row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) operations: usize,
    pub(crate) done: usize,
    pub(crate) denied: usize,
    pub(crate) failed: usize,
    pub(crate) failed_but_landed: usize,
    pub(crate) lost: usize,
    pub(crate) slowest_ms: i64,
    pub(crate) back_ms: i64,
}

impl Load {
    /// Starts the load on subjects under these roots.
    pub(crate) fn start(guards: Vec<CostGuard>, roots: &[&str]) -> Self {
        Self::start_with(guards, roots, &[Op::Charge, Op::Admit, Op::Settle])
    }

    /// The same with what can wait for replicas. It is done when one has it.
    pub(crate) fn start_waiting(guards: Vec<CostGuard>, roots: &[&str]) -> Self {
        Self::start_with(guards, roots, &[Op::Charge, Op::Settle])
    }

    fn start_with(guards: Vec<CostGuard>, roots: &[&str], ops: &'static [Op]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (last_success_ms, slowest_ms) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicI64::new(0)));
        let roots: Vec<_> = roots.iter().map(|root| (*root).to_owned()).collect();
        let (mut tasks, started) = (JoinSet::new(), Instant::now());
        for (number, guard) in guards.iter().cycle().take(guards.len() * TASKS).enumerate() {
            let (guard, stop, roots) = (guard.clone(), Arc::clone(&stop), roots.clone());
            let (last_success_ms, slowest_ms) = (Arc::clone(&last_success_ms), Arc::clone(&slowest_ms));
            tasks.spawn(async move {
                let mut entries = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let turn = entries.len();
                    let op = ops[turn % ops.len()];
                    let (root, id) = (roots[turn / ops.len() % roots.len()].clone(), format!("{number}-{turn}"));
                    let sent = Instant::now();
                    let told = perform(&guard, &root, &id, op).await;
                    slowest_ms.fetch_max(ms(sent.elapsed()), Ordering::Relaxed);
                    if !matches!(told, Told::Failed(_)) {
                        last_success_ms.store(ms(started.elapsed()), Ordering::Relaxed);
                    }
                    entries.push(Entry { root, id, op, told });
                    // Steady, and not as fast as it goes: the fault is to meet many operations, not one burst.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                entries
            });
        }
        Self { guards, roots, stop, tasks, last_success_ms, slowest_ms, started }
    }

    /// Waits until an operation succeeds that ended after now, and gives how long that took.
    async fn returns(&self) -> Duration {
        let well = Instant::now();
        let from_ms = ms(self.started.elapsed());
        while self.last_success_ms.load(Ordering::Relaxed) <= from_ms {
            assert!(well.elapsed() < RETURN_LIMIT, "service did not return within {RETURN_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        well.elapsed()
    }

    /// To be called when all is well again: waits for service to return, stops the load, and holds the ledger against the
    /// store, through a client of its own.
    pub(crate) async fn settle_accounts(mut self, fault: &'static str, loses: Loses, auditor: &CostGuard) -> Row {
        let back_ms = ms(self.returns().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.stop.store(true, Ordering::Relaxed);
        let tasks = std::mem::take(&mut self.tasks);
        let entries: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert!(entries.len() > 100, "{fault}: a load of {} operations shows nothing", entries.len());
        let mut row = Row {
            fault,
            operations: entries.len(),
            done: 0,
            denied: 0,
            failed: 0,
            failed_but_landed: 0,
            lost: 0,
            slowest_ms: self.slowest_ms.load(Ordering::Relaxed),
            back_ms,
        };
        let before = Stand::read(auditor, &self.roots).await;
        let (mut landed, mut all) = (Stand::new(&self.roots), Stand::new(&self.roots));
        for entry in &entries {
            row.count(entry, loses);
            if entry.told == Told::Denied {
                continue;
            }
            // The same again: an operation that landed answers with its receipt, one that did not lands now.
            match answered(auditor, entry).await {
                Told::Done { replayed: true } => {
                    row.failed_but_landed += usize::from(matches!(entry.told, Told::Failed(_)));
                    landed.add(entry);
                    all.add(entry);
                }
                Told::Done { replayed: false } => {
                    row.lost += usize::from(matches!(entry.told, Told::Done { .. }));
                    all.add(entry);
                }
                Told::Denied => row.lost += usize::from(matches!(entry.told, Told::Done { .. })),
                Told::Failed(kind) => panic!("{fault}: {entry:?} fails for good: {kind:?}"),
            }
        }
        // Totals as they were: each that landed did so once.
        assert_eq!(before, landed, "{fault}: what is stored is what landed");
        assert_eq!(Stand::read(auditor, &self.roots).await, all, "{fault}: and what was repeated came once");
        if loses == Loses::Nothing {
            assert_eq!(row.lost, 0, "{fault}: what is acknowledged stays");
        }
        drop(self.guards);
        row.report();
        row
    }
}

/// What is used and held, by root and user.
#[derive(Debug, PartialEq, Eq)]
struct Stand(Vec<(String, &'static str, i64, i64)>);

impl Stand {
    fn new(roots: &[String]) -> Self {
        let each = |root: &String| [Op::Charge, Op::Admit, Op::Settle].map(|op| (root.clone(), op.user(), 0, 0));
        Self(roots.iter().flat_map(each).collect())
    }

    fn add(&mut self, entry: &Entry) {
        let it = self.0.iter_mut().find(|it| it.0 == entry.root && it.1 == entry.op.user()).unwrap();
        it.2 += entry.op.amount();
    }

    /// From the store; what holds of failed reservations set aside is released first, and no budget may be passed.
    async fn read(auditor: &CostGuard, roots: &[String]) -> Self {
        let mut stand = Self::new(roots);
        for (at, op) in [Op::Charge, Op::Admit, Op::Settle].into_iter().cycle().take(stand.0.len()).enumerate() {
            let state = auditor.peek(&op.policy(), &subject(&roots[at / 3], op)).await.unwrap()[0].clone();
            let most = if op == Op::Charge { i64::MAX } else { LIMIT };
            assert!(state.used + state.held <= most, "{} {}: {state:?}", roots[at / 3], op.user());
            stand.0[at].2 = state.used;
        }
        stand
    }
}

impl Row {
    fn count(&mut self, entry: &Entry, loses: Loses) {
        match entry.told {
            Told::Done { .. } => self.done += 1,
            Told::Denied => self.denied += 1,
            Told::Failed(kind) => {
                self.failed += 1;
                // Never ambiguous: it has an id.
                let was_forgotten = kind == ErrorKind::UnknownHold && loses == Loses::Acknowledged;
                assert!(was_forgotten || [ErrorKind::Unavailable, ErrorKind::Store].contains(&kind), "{entry:?}");
            }
        }
    }

    /// Prints the row, and keeps it for `scripts/faults` where that asks for it.
    fn report(&self) {
        let mut line = String::new();
        let numbers = [self.operations, self.done, self.denied, self.failed, self.failed_but_landed, self.lost];
        write!(line, "| {} |", self.fault).unwrap();
        numbers.iter().for_each(|number| write!(line, " {number} |").unwrap());
        writeln!(line, " {} | {} |", self.slowest_ms, self.back_ms).unwrap();
        print!("{line}");
        if let Some(dir) = std::env::var_os("COSTGUARD_FAULTS_DIR") {
            let name: String = self.fault.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            std::fs::write(std::path::Path::new(&dir).join(name), line).unwrap();
        }
    }
}

fn subject(root: &str, op: Op) -> Subject {
    Subject::new(root).scope("user", op.user())
}

async fn perform(guard: &CostGuard, root: &str, id: &str, op: Op) -> Told {
    let (policy, subject, amount) = (op.policy(), subject(root, op), Money::from_nanos(op.amount()));
    let told = match op {
        Op::Charge => {
            guard.charge(&policy, &subject, amount).id(id).await.map(|done| Told::done(done.replayed, done.replicas))
        }
        Op::Admit => guard.admit(&policy, &subject, amount).id(id).await.map(|decision| match decision {
            Decision::Granted(grant) => Told::Done { replayed: grant.replayed },
            Decision::Denied(_) => Told::Denied,
        }),
        Op::Settle => reserve_and_settle(guard, &policy, &subject, id, amount).await,
    };
    told.unwrap_or_else(|err| Told::Failed(err.kind()))
}

async fn reserve_and_settle(
    guard: &CostGuard,
    policy: &Policy,
    subject: &Subject,
    id: &str,
    amount: Money,
) -> Result<Told, Error> {
    match guard.reserve(policy, subject, Money::from_nanos(ESTIMATE)).id(id).await? {
        Decision::Denied(_) => Ok(Told::Denied),
        Decision::Granted(mut hold) => {
            let settled = hold.settle(amount).await.map(|settled| Told::done(settled.replayed, settled.replicas));
            // Where that failed nobody ends it: the process might have died. It expires, or the ledger ends it.
            hold.forget();
            settled
        }
    }
}

/// Repeats an operation until it is answered.
async fn answered(auditor: &CostGuard, entry: &Entry) -> Told {
    let until = Instant::now() + RETURN_LIMIT;
    loop {
        match perform(auditor, &entry.root, &entry.id, entry.op).await {
            Told::Failed(ErrorKind::Unavailable) if Instant::now() < until => pass(50).await,
            told => return told,
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}
