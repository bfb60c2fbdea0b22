//! The memory of denials: what cannot change is not asked again, and everything else is.

// What cannot be set up should stop the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use costguard::store::embedded::Embedded;
use costguard::store::{KeysFuture, ManualClock, RunFuture, ScriptCall, Store};
use costguard::{
    Amounts, Correction, CostGuard, Counter, Decision, Denial, Estimate, Event, Limit, Meter, Money, Policy, Subject,
    Window,
};
use support::Server;
use support::stores::START_MS;
use tokio::sync::Semaphore;

const HOUR_MS: i64 = 3_600_000;

/// An embedded store that counts the calls it gets.
#[derive(Debug)]
struct Counted {
    store: Embedded,
    calls: AtomicU32,
    /// Answers to `admit` come when this is given back.
    way_back: Semaphore,
}

impl Store for Counted {
    fn run<'a>(&'a self, call: &'a ScriptCall) -> RunFuture<'a> {
        Box::pin(async move {
            let answer = self.store.run(call).await;
            self.calls.fetch_add(1, Ordering::SeqCst);
            if call.script.name() == "admit" {
                drop(self.way_back.acquire().await);
            }
            answer
        })
    }

    fn keys<'a>(&'a self, prefix: &'a str, most: usize) -> KeysFuture<'a> {
        self.store.keys(prefix, most)
    }

    fn describe(&self) -> String {
        "counted".to_owned()
    }
}

struct World {
    guard: CostGuard,
    store: Arc<Counted>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        let store = Embedded::builder().clock(clock.clone()).build();
        let store = Arc::new(Counted { store, calls: AtomicU32::new(0), way_back: Semaphore::new(1) });
        let guard = CostGuard::builder().denial_cache(100).clock(clock.clone()).store(store.clone()).unwrap();
        Self { guard, store, clock }
    }

    async fn admit(&self, policy: &Policy, amounts: impl Into<Amounts>) -> Option<Denial> {
        match self.guard.admit(policy, &alice(), amounts).await.unwrap() {
            Decision::Granted(_) => None,
            Decision::Denied(denial) => Some(denial),
        }
    }

    /// Whether the same request, denied just now, is denied again without asking the store.
    async fn remembers(&self, policy: &Policy, amounts: Amounts) -> bool {
        assert!(self.admit(policy, amounts.clone()).await.is_some(), "the first request is denied");
        let before = self.calls();
        let again = self.admit(policy, amounts).await.expect("denied again");
        assert_eq!(again.remembered, self.calls() == before);
        again.remembered
    }

    fn calls(&self) -> u32 {
        self.store.calls.load(Ordering::SeqCst)
    }
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

fn fixed_day(limit: i64) -> Limit {
    Limit::cost("user", nanos(limit), Window::day()).fixed()
}

fn policy(limit: Limit) -> Policy {
    Policy::new([limit]).unwrap()
}

#[tokio::test]
async fn a_denial_that_cannot_change_costs_no_round_trip_until_its_window_ends() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    assert!(world.admit(&policy, nanos(80)).await.is_none());
    let first = world.admit(&policy, nanos(30)).await.unwrap();
    assert!(!first.remembered);
    let calls = world.calls();
    world.clock.advance_ms(HOUR_MS);
    let again = world.admit(&policy, nanos(31)).await.unwrap();
    assert!(again.remembered && again.limits == first.limits);
    assert_eq!(world.calls(), calls);
    let left = again.retry_after.unwrap();
    assert!(left <= Duration::from_secs(11 * 3600) && left > Duration::from_secs(11 * 3600 - 1), "{left:?}");
    // Never beyond the reset, by what the store's clock said.
    world.clock.advance_ms(11 * HOUR_MS);
    assert!(world.admit(&policy, nanos(30)).await.is_none());
}

#[tokio::test]
async fn what_may_fit_is_asked() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    assert!(world.admit(&policy, nanos(80)).await.is_none());
    assert!(world.remembers(&policy, Amounts::cost(nanos(30))).await);
    assert!(world.admit(&policy, nanos(20)).await.is_none(), "20 fits beside 80");
    let other = Subject::new("acme").scope("user", "bob");
    assert!(world.guard.admit(&policy, &other, nanos(30)).await.unwrap().is_granted());
}

#[tokio::test]
async fn nothing_is_remembered_that_a_release_settle_raise_or_expiry_could_lift() {
    let spent = |limit| async {
        let world = World::new();
        let policy = policy(limit);
        world.guard.charge(&policy, &alice(), nanos(100)).await.unwrap();
        (world, policy)
    };
    let cost = || Amounts::cost(nanos(1));

    // An override may raise what is not fixed.
    let (world, raised) = spent(Limit::cost("user", nanos(100), Window::day())).await;
    assert!(!world.remembers(&raised, cost()).await);
    let day = Counter::new("user", Meter::COST, Window::day());
    world.guard.set_limit(&alice(), &day, 101).await.unwrap();
    assert!(world.admit(&raised, nanos(1)).await.is_none());

    // A total does not end.
    let (world, total) = spent(Limit::cost("user", nanos(100), Window::total()).fixed()).await;
    assert!(!world.remembers(&total, cost()).await);

    // A hold stands in the way: it may be released, settled for less, or expire.
    let world = World::new();
    let held = policy(fixed_day(100));
    let Decision::Granted(mut hold) = world.guard.reserve(&held, &alice(), nanos(100)).await.unwrap() else {
        panic!("a free limit grants")
    };
    assert!(!world.remembers(&held, cost()).await);
    hold.release().await.unwrap();
    assert!(world.admit(&held, nanos(1)).await.is_none());

    // A rate has room again before anyone could say when for sure: a release gives back to it.
    let world = World::new();
    let rate = policy(Limit::requests("user", 1, Duration::from_secs(60)).unwrap().fixed());
    assert!(world.admit(&rate, Amounts::new()).await.is_none());
    assert!(!world.remembers(&rate, Amounts::new()).await);

    // A block may be lifted.
    let world = World::new();
    let blocked = policy(fixed_day(100));
    world.guard.block(&alice(), "user", Duration::from_secs(60)).await.unwrap();
    assert!(!world.remembers(&blocked, cost()).await);
    world.guard.unblock(&alice(), "user").await.unwrap();
    assert!(world.admit(&blocked, nanos(1)).await.is_none());
}

#[tokio::test]
async fn what_has_an_id_or_a_time_of_its_own_is_asked() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    let first = world.guard.admit(&policy, &alice(), nanos(100)).id("one").await.unwrap();
    assert!(first.is_granted());
    assert!(world.remembers(&policy, Amounts::cost(nanos(100))).await);
    // The repeat of what was granted is granted.
    assert!(world.guard.admit(&policy, &alice(), nanos(100)).id("one").await.unwrap().is_granted());
    let tomorrow = chrono::DateTime::from_timestamp_millis(START_MS + 24 * HOUR_MS).unwrap();
    assert!(world.guard.admit(&policy, &alice(), nanos(100)).at(tomorrow).await.unwrap().is_granted());
}

#[tokio::test]
async fn a_reservation_is_denied_from_memory_too_and_a_correction_by_hand_forgets() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    world.guard.charge(&policy, &alice(), nanos(100)).await.unwrap();
    assert!(!world.guard.reserve(&policy, &alice(), nanos(5)).await.unwrap().is_granted());
    let calls = world.calls();
    assert!(!world.guard.reserve(&policy, &alice(), nanos(5)).await.unwrap().is_granted());
    assert_eq!(world.calls(), calls);
    let day = Counter::new("user", Meter::COST, Window::day());
    world.guard.adjust(&alice(), &day, Correction::Subtract(50), "a credit").await.unwrap();
    assert!(world.guard.reserve(&policy, &alice(), nanos(5)).await.unwrap().is_granted());
}

#[tokio::test]
async fn a_refund_forgets() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    assert!(world.admit(&policy, nanos(100)).await.is_none());
    assert!(world.remembers(&policy, Amounts::cost(nanos(5))).await);
    world.guard.refund(&policy, &alice(), nanos(50)).await.unwrap();
    assert!(world.admit(&policy, nanos(5)).await.is_none());
}

#[tokio::test]
async fn a_part_is_asked_where_the_whole_was_denied() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    world.guard.charge(&policy, &alice(), nanos(40)).await.unwrap();
    assert!(world.remembers(&policy, Amounts::cost(nanos(100))).await);
    let Decision::Granted(grant) = world.guard.admit(&policy, &alice(), nanos(100)).at_most(Meter::COST).await.unwrap()
    else {
        panic!("there are 60 left")
    };
    assert_eq!(grant.part, Some(60));
    world.guard.refund(&policy, &alice(), nanos(60)).await.unwrap();
    assert!(world.remembers(&policy, Amounts::cost(nanos(100))).await);
    let rest = Estimate::remaining();
    let Decision::Granted(hold) = world.guard.reserve(&policy, &alice(), rest).await.unwrap() else {
        panic!("there are 60 left")
    };
    assert_eq!(hold.held(&Meter::COST), 60);
}

#[tokio::test]
async fn a_denial_from_before_a_correction_that_arrives_after_it_is_not_remembered() {
    let world = World::new();
    let policy = policy(fixed_day(100));
    world.guard.charge(&policy, &alice(), nanos(100)).await.unwrap();
    let answers = world.store.way_back.acquire().await.unwrap();
    let calls = world.calls();
    let denied = tokio::spawn({
        let (guard, policy) = (world.guard.clone(), policy.clone());
        async move { guard.admit(&policy, &alice(), nanos(5)).await.unwrap().is_granted() }
    });
    while world.calls() == calls {
        tokio::task::yield_now().await;
    }
    let day = Counter::new("user", Meter::COST, Window::day());
    world.guard.adjust(&alice(), &day, Correction::Subtract(50), "a credit").await.unwrap();
    drop(answers);
    assert!(!denied.await.unwrap());
    assert!(world.admit(&policy, nanos(5)).await.is_none(), "there are 50 left");
}

#[tokio::test]
async fn what_a_fixed_limit_refused_says_nothing_of_one_that_may_be_raised() {
    let world = World::new();
    let (fixed, raised) = (policy(fixed_day(100)), policy(Limit::cost("user", nanos(100), Window::day())));
    world.guard.charge(&fixed, &alice(), nanos(100)).await.unwrap();
    assert!(world.remembers(&fixed, Amounts::cost(nanos(1))).await);
    world.guard.set_limit(&alice(), raised.limits()[0].counter(), 1000).await.unwrap();
    assert!(world.admit(&raised, nanos(1)).await.is_none());
    assert!(world.remembers(&fixed, Amounts::cost(nanos(1))).await);
}

#[tokio::test]
async fn a_remembered_denial_says_when_to_come_again_as_the_store_did() {
    let world = World::new();
    let hour = Limit::cost("user", nanos(100), Window::hour()).fixed();
    let policy = Policy::new([hour, Limit::cost("user", nanos(100), Window::month())]).unwrap();
    world.guard.charge(&policy, &alice(), nanos(100)).await.unwrap();
    let first = world.admit(&policy, nanos(1)).await.unwrap();
    assert_eq!(first.limit.window, Window::month());
    let passed = Duration::from_secs(1800);
    world.clock.advance_ms(i64::try_from(passed.as_millis()).unwrap());
    let again = world.admit(&policy, nanos(1)).await.unwrap();
    assert!(again.remembered && again.limit == first.limit);
    let off = again.retry_after.unwrap().abs_diff(first.retry_after.unwrap() - passed);
    assert!(off < Duration::from_secs(1), "{off:?}");
    // It is remembered as long as the hour is full, and no longer.
    world.clock.advance_ms(HOUR_MS / 2);
    assert!(!world.admit(&policy, nanos(1)).await.unwrap().remembered);
}

#[tokio::test]
async fn denials_are_forgotten_with_the_data_of_the_store() {
    let server = Server::start();
    let guard = CostGuard::builder().denial_cache(100).connect(&server.url()).await.unwrap();
    let (policy, mut events) = (policy(fixed_day(100)), guard.events());
    guard.charge(&policy, &alice(), nanos(100)).await.unwrap();
    assert!(guard.health().await.data_lost_ms.is_none(), "it has looked at the store's name");
    for _ in 0..2 {
        assert!(!guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
    }
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
    // Nothing but what is denied from memory is asked: it hears of it all the same.
    let noticed = async {
        while guard.admit(&policy, &alice(), nanos(1)).await.is_ok_and(|decision| !decision.is_granted()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noticed).await.unwrap();
    assert!(matches!(events.recv().await.unwrap(), Event::DataLost { .. }));
    assert_eq!(guard.peek(&policy, &alice()).await.unwrap()[0].used, 1);
}
