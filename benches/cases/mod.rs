//! The operations that the benches measure, each written once, as a user of the crate writes it.

// Each bench uses a part of this; set-up that fails should end it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::panic)]

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use costguard::store::embedded::Embedded;
use costguard::store::{KeysFuture, RunFuture, ScriptCall, Store};
use costguard::{
    Amounts, Builder, Correction, CostGuard, Counter, Decision, Hold, Limit, Meter, Money, Policy, Subject, Window,
};

/// One operation under measurement.
pub struct Case {
    /// What it is called in tables.
    pub name: &'static str,
    /// Over how many limits it decides, or how many counters it touches.
    pub limits: usize,
    /// The status word that its script answers.
    pub status: &'static str,
    /// Does it once.
    pub call: for<'a> fn(&'a Fixture) -> Call<'a>,
}

/// The future of [`Case::call`].
pub type Call<'a> = Pin<Box<dyn Future<Output = costguard::Result<()>> + Send + 'a>>;

/// Every operation, in the order of the tables.
pub static CASES: &[Case] = &[
    case("charge", 1, "OK", |f| Box::pin(async { f.guard.charge(&f.one, &f.subject, amounts()).await.map(drop) })),
    case("charge with id", 1, "OK", |f| {
        Box::pin(async { f.guard.charge(&f.one, &f.subject, amounts()).id(&fresh_id()).await.map(drop) })
    }),
    case("charge", 3, "OK", |f| Box::pin(async { f.guard.charge(&f.three, &f.subject, amounts()).await.map(drop) })),
    case("count", 1, "OK", |f| Box::pin(async { f.guard.count(&f.subject, "user", &f.logins, HOUR).await.map(drop) })),
    case("count with id", 1, "OK", |f| {
        Box::pin(async { f.guard.count(&f.subject, "user", &f.logins, HOUR).id(&fresh_id()).await.map(drop) })
    }),
    case("admit", 3, "GRANTED", |f| Box::pin(async { f.guard.admit(&f.three, &f.subject, amounts()).await.map(drop) })),
    case("admit with id", 3, "GRANTED", |f| {
        Box::pin(async { f.guard.admit(&f.three, &f.subject, amounts()).id(&fresh_id()).await.map(drop) })
    }),
    case("admit, denied", 3, "DENIED", |f| {
        Box::pin(async { f.guard.admit(&f.last_refuses, &f.subject, amounts()).await.map(drop) })
    }),
    case("admit, denied by all", 3, "DENIED", |f| {
        Box::pin(async { f.guard.admit(&f.all_refuse, &f.subject, amounts()).await.map(drop) })
    }),
    case("admit with id, denied", 3, "DENIED", |f| {
        Box::pin(async { f.guard.admit(&f.last_refuses, &f.subject, amounts()).id(&fresh_id()).await.map(drop) })
    }),
    case("admit, a rate", 1, "GRANTED", |f| {
        Box::pin(async { f.guard.admit(&f.rate, &f.subject, Amounts::new()).await.map(drop) })
    }),
    case("admit, a rate, denied", 1, "DENIED", |f| {
        Box::pin(async { f.guard.admit(&f.spent_rate, &f.subject, Amounts::new()).await.map(drop) })
    }),
    case("reserve, mixed", 3, "GRANTED", |f| Box::pin(async { f.reserve_mixed(&f.mixed).await })),
    case("reserve, mixed, denied", 3, "DENIED", |f| Box::pin(async { f.reserve_mixed(&f.spent_mixed).await })),
    case("reserve, mixed", 5, "GRANTED", |f| Box::pin(async { f.reserve_mixed(&f.mixed_five).await })),
    case("peek", 3, "OK", |f| Box::pin(async { f.guard.peek(&f.three, &f.subject).await.map(drop) })),
    case("adjust", 1, "OK", |f| {
        Box::pin(async {
            f.guard.adjust(&f.subject, &f.counter, Correction::Add(1_000), "invoice 4711").await.map(drop)
        })
    }),
    case("daily cost", 1, "OK", |f| Box::pin(async { f.guard.daily().increment_cost("alice", 1).await.map(drop) })),
    case("daily start", 2, "GRANTED", |f| {
        Box::pin(async { f.guard.daily().limit(u32::MAX).cap_cents(i64::MAX).try_start("alice").await.map(drop) })
    }),
    case("cache, a hit", 1, "HIT", |f| {
        Box::pin(async { f.guard.cache("bench").get_or_compute("key", HOUR, || async { Ok(1) }).await.map(drop) })
    }),
];

const HOUR: Duration = Duration::from_secs(3600);

const fn case(
    name: &'static str,
    limits: usize,
    status: &'static str,
    call: for<'a> fn(&'a Fixture) -> Call<'a>,
) -> Case {
    Case { name, limits, status, call }
}

impl Case {
    /// Brings the counters into the state of every day: there, and not at zero.
    pub async fn prepare(&self, fixture: &Fixture) {
        fixture.guard.charge(&fixture.three, &fixture.subject, amounts()).await.expect("the store takes a charge");
        (self.call)(fixture).await.expect("the store takes the operation");
    }

    /// Name and limits in one, for ids and tables without a column for them.
    pub fn label(&self) -> String {
        format!("{}, {} limit{}", self.name, self.limits, if self.limits == 1 { "" } else { "s" })
    }
}

/// A guard with the policies and the subject that the operations use.
pub struct Fixture {
    pub guard: CostGuard,
    subject: Subject,
    one: Policy,
    three: Policy,
    last_refuses: Policy,
    all_refuse: Policy,
    rate: Policy,
    spent_rate: Policy,
    mixed: Policy,
    spent_mixed: Policy,
    mixed_five: Policy,
    counter: Counter,
    logins: Meter,
}

impl Fixture {
    pub fn new(guard: CostGuard) -> Self {
        let counter = |kind, window| Counter::new(kind, Meter::COST, window);
        let three = |limits: [i64; 3]| {
            let counters =
                [counter("user", Window::day()), counter("org", Window::month()), counter("model", Window::hour())];
            Policy::new(counters.into_iter().zip(limits).map(|(counter, limit)| Limit::new(counter, limit)))
                .expect("a valid policy")
        };
        Self {
            guard,
            subject: Subject::new("acme").scope("org", "acme").scope("user", "alice").scope("model", "gpt-4o"),
            one: Policy::new([Limit::new(counter("user", Window::day()), AMPLE)]).expect("a valid policy"),
            three: three([AMPLE, AMPLE, AMPLE]),
            last_refuses: three([AMPLE, AMPLE, 1]),
            all_refuse: three([1, 1, 1]),
            rate: policy([requests(1_000_000, 1)]),
            spent_rate: policy([requests(1, 86_400)]),
            mixed: policy([
                money("user", Window::day()),
                requests(1_000_000, 1),
                Limit::concurrency("org", 10_000_000),
            ]),
            spent_mixed: policy([
                money("user", Window::day()),
                requests(1, 86_400),
                Limit::concurrency("org", 10_000_000),
            ]),
            mixed_five: policy([
                money("user", Window::day()),
                money("org", Window::month()),
                Limit::new(Counter::new("user", Meter::TOKENS, Window::minute()), AMPLE),
                requests(1_000_000, 1),
                Limit::concurrency("org", 10_000_000),
            ]),
            counter: counter("user", Window::day()),
            logins: Meter::new("logins").expect("a valid meter"),
        }
    }

    /// A fixture on the server at `url`.
    pub async fn connect(url: &str) -> Self {
        // Keys that nobody else has: the server may be one that others use too.
        let prefix = format!("bench-{}:", std::process::id());
        Self::new(settings().prefix(&prefix).connect(url).await.expect("the server answers"))
    }
}

fn policy<const N: usize>(limits: [Limit; N]) -> Policy {
    Policy::new(limits).expect("a valid policy")
}

fn money(kind: &str, window: Window) -> Limit {
    Limit::new(Counter::new(kind, Meter::COST, window), AMPLE)
}

fn requests(limit: i64, seconds: u64) -> Limit {
    Limit::requests("user", limit, Duration::from_secs(seconds)).expect("a valid period")
}

impl Fixture {
    /// Reserves money, tokens, a request and a place among the open calls, and leaves the hold open.
    async fn reserve_mixed(&self, policy: &Policy) -> costguard::Result<()> {
        if let Decision::Granted(hold) = self.guard.reserve(policy, &self.subject, amounts().tokens(1_500)).await? {
            hold.forget();
        }
        Ok(())
    }
}

/// The life of a hold: its operations need one another, so they are no [`Case`]s.
impl Fixture {
    /// Reserves over three limits, with an id of its own, as every hold has.
    pub async fn reserve(&self, ttl: Duration) -> Hold {
        match self.guard.reserve(&self.three, &self.subject, amounts()).ttl(ttl).await.expect("the store takes a hold")
        {
            Decision::Granted(hold) => hold,
            Decision::Denied(denial) => panic!("an ample limit refused: {denial:?}"),
        }
    }

    /// Settles a hold for less than it held.
    pub async fn settle(&self, mut hold: Hold) {
        hold.settle(Amounts::cost(Money::from_nanos(1_000_000))).await.expect("the store settles a hold");
    }

    /// Asks for a hold that the last of three limits refuses.
    pub async fn reserve_denied(&self) {
        let decision = self.guard.reserve(&self.last_refuses, &self.subject, amounts()).await;
        assert!(!decision.expect("the store decides").is_granted(), "a spent limit granted");
    }
}

/// Receipts that do not stay.
fn settings() -> Builder {
    CostGuard::builder().receipt_ttl(Duration::from_secs(60))
}

/// 100,000 dollars: no measurement spends it.
const AMPLE: i64 = 100_000_000_000_000;

/// What a small call to a language model costs.
fn amounts() -> Amounts {
    Amounts::cost(Money::from_nanos(1_234_567))
}

/// An id that no call had before, as long as a UUID: a repeated one would only be looked up.
fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:036x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A store that notes each call and lets an embedded store answer it: it gives the exact calls that operations send.
#[derive(Debug, Default)]
pub struct Recorder {
    answering: Embedded,
    calls: Mutex<Vec<ScriptCall>>,
}

impl Recorder {
    /// A fixture on a new recorder, with the default names of keys.
    pub fn fixture() -> (Arc<Self>, Fixture) {
        let recorder = Arc::new(Self::default());
        let guard = settings().store(recorder.clone()).expect("valid settings");
        (recorder, Fixture::new(guard))
    }

    /// The calls since the last time.
    pub fn take(&self) -> Vec<ScriptCall> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Recorder {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        self.answering.run(call)
    }

    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a> {
        self.answering.keys(prefix, most)
    }

    fn describe(&self) -> String {
        "recorder".to_owned()
    }
}
