//! The pool: few connections, bounded calls, deadlines, and a server that goes away and comes back.

use std::time::{Duration, Instant};

use costguard::ops::Charge;
use costguard::store::Durability;
use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, ErrorKind, Limit, Meter, Money, Policy, Subject, Window};
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::support::server::free_addr;
use crate::support::{Logs, Proxy, Server};

const CENT: Money = Money::from_nanos(10_000_000);

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap()
}

fn policy() -> Policy {
    Policy::new([Limit::count_only(Counter::new("user", Meter::COST, Window::total()))]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

async fn guard(config: &RedisConfig) -> CostGuard {
    CostGuard::builder().connect_with(config).await.unwrap()
}

async fn direct(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// How many connections the server has, this one not counted.
async fn clients(direct: &mut MultiplexedConnection) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(direct).await.unwrap();
    list.lines().count() - 1
}

async fn charged(guard: &CostGuard) -> i64 {
    guard.peek(&policy(), &alice()).await.unwrap()[0].used / CENT.nanos()
}

async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_share_one_connection() {
    let server = Server::start();
    let guard = guard(&config(&server.url())).await;
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let guard = guard.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                guard.charge(&policy(), &alice(), CENT).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(charged(&guard).await, 64 * 20);
    assert_eq!(clients(&mut direct(&server).await).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_one_connection_carries_open_others_up_to_the_maximum() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = guard(&config(&proxy.url()).max_connections(3)).await;
    guard.charge(&policy(), &alice(), CENT).await.unwrap();
    proxy.stall();
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let guard = guard.clone();
        tasks.spawn(async move { guard.charge(&policy(), &alice(), CENT).await.unwrap() });
    }
    let mut direct = direct(&server).await;
    // Connecting needs answers, too, so the others are opened when it flows again.
    proxy.resume();
    tasks.join_all().await;
    assert_eq!(charged(&guard).await, 1001);
    let open = clients(&mut direct).await;
    assert!((2..=3).contains(&open), "{open} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_gets_no_turn_in_time_was_not_sent() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let settings = config(&proxy.url()).max_connections(1).call_timeout(Duration::from_millis(400));
    let guard = guard(&settings).await;
    guard.charge(&policy(), &alice(), CENT).await.unwrap();
    // Waits for what the guard looks at in the background, which takes a turn, too.
    guard.health().await;
    proxy.stall();
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let guard = guard.clone();
        tasks.spawn(async move { guard.charge(&policy(), &alice(), CENT).await.unwrap_err() });
    }
    let errors = tasks.join_all().await;
    let of = |kind| errors.iter().filter(|err| err.kind() == kind).count();
    // As many as a connection carries had been sent; the others never were, and may be repeated.
    assert_eq!((of(ErrorKind::Ambiguous), of(ErrorKind::Unavailable)), (128, 72), "{:?}", errors[0]);
    assert!(errors.iter().any(|err| err.to_string().contains("had no turn in time")));
    proxy.resume();
    until("the guard heals", || async { guard.peek(&policy(), &alice()).await.is_ok() }).await;
    assert!(charged(&guard).await <= 1 + 128);
}

#[tokio::test]
async fn a_server_that_stops_to_answer_costs_a_call_its_deadline_and_no_more() {
    let server = Server::start();
    let settings =
        config(&server.url()).call_timeout(Duration::from_millis(200)).socket_timeout(Duration::from_secs(1));
    let guard = guard(&settings).await;
    guard.charge(&policy(), &alice(), CENT).await.unwrap();
    server.signal("STOP");
    let began = Instant::now();
    assert_eq!(guard.charge(&policy(), &alice(), CENT).await.unwrap_err().kind(), ErrorKind::Ambiguous);
    let with_id = guard.charge(&policy(), &alice(), CENT).id("one").await.unwrap_err();
    assert_eq!(with_id.kind(), ErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.signal("CONT");
    until("it heals", || async { guard.charge(&policy(), &alice(), CENT).id("one").await.is_ok() }).await;
    // The first, the ambiguous one or not, and the one with an id, however often it was sent.
    let charged = charged(&guard).await;
    assert!((2..=3).contains(&charged), "{charged}");
}

#[tokio::test]
async fn a_connection_that_is_silent_for_long_is_replaced() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let settings =
        config(&proxy.url()).call_timeout(Duration::from_millis(50)).socket_timeout(Duration::from_millis(200));
    let guard = guard(&settings).await;
    let mut direct = direct(&server).await;
    let id_of = |list: String| list.lines().next().unwrap().split(' ').next().unwrap().to_owned();
    let first: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut direct).await.unwrap();
    proxy.stall();
    // Deadlines shorter than the silence that counts: several calls find it out together.
    until("the silence is noticed", || async {
        guard
            .peek(&policy(), &alice())
            .await
            .unwrap_err()
            .to_string()
            .contains("no connection to Redis was open in time")
    })
    .await;
    proxy.resume();
    until("a new connection serves", || async { guard.peek(&policy(), &alice()).await.is_ok() }).await;
    until("the old one is closed", || async {
        let mut direct = direct.clone();
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut direct).await.unwrap();
        !list.contains(&id_of(first.clone()))
    })
    .await;
}

#[tokio::test]
async fn callers_that_wait_for_less_than_a_silence_find_it_out_together() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let settings = config(&proxy.url()).socket_timeout(Duration::from_secs(1)).call_timeout(Duration::from_secs(10));
    let guard = guard(&settings).await;
    let wait = Durability::wait(1, Duration::from_millis(1)).unwrap();
    let (policy, alice) = (policy(), alice());
    let plain = || guard.charge(&policy, &alice, CENT);
    let durable = || plain().durability(wait);
    plain().await.unwrap();
    durable().await.unwrap();
    proxy.strand();
    let soon = async |call: Charge<'_>| {
        let answer = tokio::time::timeout(Duration::from_millis(100), call.into_future()).await;
        answer.is_ok_and(|answer| answer.is_ok())
    };
    until("service returns", || soon(plain())).await;
    until("also for who waits for replicas", || soon(durable())).await;
}

#[tokio::test]
async fn a_lazy_store_comes_up_without_its_server_and_heals_by_itself() {
    let addr = free_addr();
    let (base, max) = (Duration::from_millis(20), Duration::from_millis(100));
    let settings = RedisConfig::server("127.0.0.1", addr.port())
        .lazy(true)
        .reconnect(base, max)
        .call_timeout(Duration::from_millis(150));
    let guard = guard(&settings).await;
    let err = guard.charge(&policy(), &alice(), CENT).await.unwrap_err();
    assert_eq!((err.kind(), err.is_retry_safe()), (ErrorKind::Unavailable, true));
    assert!(err.to_string().contains(&format!("no Redis answers at {addr}")), "{err}");

    for _ in 0..20 {
        guard.charge(&policy(), &alice(), CENT).await.unwrap_err();
    }

    let server = Server::start_at(addr, &[]);
    until("it heals", || async { guard.charge(&policy(), &alice(), CENT).await.is_ok() }).await;
    assert_eq!(charged(&guard).await, 1, "what was refused never landed");
    assert_eq!(clients(&mut direct(&server).await).await, 1, "one connection, however many calls waited for it");
}

#[tokio::test]
async fn a_call_fails_at_once_when_the_next_attempt_comes_after_its_deadline() {
    let addr = free_addr();
    let settings = RedisConfig::server("127.0.0.1", addr.port())
        .lazy(true)
        .reconnect(Duration::from_secs(600), Duration::from_secs(600))
        .call_timeout(Duration::from_secs(20));
    let guard = guard(&settings).await;
    // The first waits for the attempt that comes soon; then the next one is minutes away.
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(guard.charge(&policy(), &alice(), CENT).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_noticed_before_the_next_call() {
    let server = Server::start();
    let guard = guard(&config(&server.url())).await;
    let mut direct = direct(&server).await;
    for round in 1..=20 {
        guard.charge(&policy(), &alice(), CENT).await.unwrap();
        let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).to_owned();
        kill.exec_async(&mut direct).await.unwrap();
        until("the connection is gone", || {
            let mut direct = direct.clone();
            async move { clients(&mut direct).await == 0 }
        })
        .await;
        // Time for the news to be read; a call sent before would be ambiguous, which is right but not the point.
        tokio::time::sleep(Duration::from_millis(10)).await;
        guard.charge(&policy(), &alice(), CENT).await.unwrap();
        assert_eq!(charged(&guard).await, 2 * round);
    }
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_and_asked_again() {
    let server = Server::start();
    let guard = guard(&config(&server.url())).await;
    guard.charge(&policy(), &alice(), CENT).await.unwrap();
    let mut direct = direct(&server).await;
    let replica_of = |host: &str, port: &str| redis::cmd("REPLICAOF").arg(host).arg(port).to_owned();
    replica_of("127.0.0.1", "1").exec_async(&mut direct).await.unwrap();
    let waiting = tokio::spawn({
        let guard = guard.clone();
        // No id: it is refused before anything happens, so it may be sent again.
        async move { guard.charge(&policy(), &alice(), CENT).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    replica_of("NO", "ONE").exec_async(&mut direct).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(charged(&guard).await, 2);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_say_what_to_set_and_no_log_holds_any() {
    let server = Server::start_with(&["--requirepass", "r1ght@/:%"]);
    let logs = Logs::collect();
    let with = |password: &str| server.url().replace("://", &format!("://{password}"));
    for (password, hint) in [("", "set REDIS_PASSWORD"), (":wr0ng@", "check user and password")] {
        let err = CostGuard::connect(&with(password)).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unavailable);
        assert!(err.to_string().contains(hint), "{err}");
        assert!(!format!("{err} {err:?}").contains("wr0ng"), "{err:?}");
        // In the background the reason is logged, again and again.
        let lazy = config(&with(password)).lazy(true).call_timeout(Duration::from_millis(100));
        guard(&lazy).await.charge(&policy(), &alice(), CENT).await.unwrap_err();
    }
    let right = guard(&config(&with(":r1ght%40%2F%3A%25@"))).await;
    right.charge(&policy(), &alice(), CENT).await.unwrap();
    drop(server);
    right.charge(&policy(), &alice(), CENT).id("one").await.unwrap_err();

    assert!(logs.text().contains("cannot connect to Redis"), "{}", logs.text());
    let all = format!("{} {right:?} {}", logs.text(), right.store().describe());
    assert!(!all.contains("wr0ng") && !all.contains("r1ght"), "{all}");
}

#[tokio::test]
async fn a_server_that_answers_and_refuses_is_not_called_away() {
    let server = Server::start_with(&["--requirepass", "r1ght"]);
    let mut direct =
        redis::Client::open(format!("redis://:r1ght@{}", server.addr())).unwrap().get_connection().unwrap();
    let app = ["SETUSER", "app", "on", ">s3cret", "~*", "+@all", "-select"];
    redis::cmd("ACL").arg(&app).exec(&mut direct).unwrap();
    let login = "refused the login";
    for (user, database, refused, hint) in [
        ("", 0, login, "put it into the URL, or set REDIS_PASSWORD"),
        ("", 1, login, "put it into the URL, or set REDIS_PASSWORD"),
        (":wr0ng@", 0, login, "those of the URL, or else REDIS_USERNAME"),
        ("nobody:wr0ng@", 0, login, "those of the URL, or else REDIS_USERNAME"),
        (":r1ght@", 99, "refused database 99 (DB index is out of range)", "has fewer"),
        ("app:s3cret@", 1, "refused database 1", "allow +select to this user, or use database 0"),
    ] {
        let url = format!("redis://{user}{}/{database}", server.addr());
        let err = CostGuard::connect(&url).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unavailable);
        let told = format!("Redis at {} {refused}", server.addr());
        assert!(err.to_string().starts_with(&told) && err.to_string().contains(hint), "{err}");
        let all = format!("{err} {err:?}");
        assert!(!["wr0ng", "r1ght", "s3cret", "start one"].iter().any(|word| all.contains(word)), "{all}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_serves_like_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock").to_string_lossy().into_owned();
    let _server = Server::start_with(&["--unixsocket", &socket]);
    let guard = CostGuard::connect(&format!("unix:{socket}")).await.unwrap();
    guard.charge(&policy(), &alice(), CENT).await.unwrap();
    assert_eq!(charged(&guard).await, 1);
}

#[tokio::test]
async fn the_connection_beneath_serves_other_commands() {
    let server = Server::start();
    let guard = guard(&config(&server.url())).await;
    let mut raw = guard.raw().await.unwrap();
    redis::cmd("LPUSH").arg("jobs").arg("one").exec_async(&mut raw).await.unwrap();
    let job: String = redis::cmd("RPOP").arg("jobs").query_async(&mut raw).await.unwrap();
    assert_eq!(job, "one");
    assert_eq!(clients(&mut direct(&server).await).await, 1);
    assert_eq!(CostGuard::embedded().raw().await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_store_outlives_the_runtime_it_was_opened_on() {
    let server = Server::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime().block_on(guard(&config(&server.url())));
    for _ in 0..2 {
        runtime().block_on(guard.charge(&policy(), &alice(), CENT).into_future()).unwrap();
    }
}
