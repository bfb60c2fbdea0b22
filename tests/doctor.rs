//! What `guard.health()`, `costguard health` and `costguard doctor` say of servers that differ in their settings.

#![cfg(feature = "cli")]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::process::Command as Process;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin_cmd;
use costguard::service::{HealthStatus, ServerKind};
use costguard::store::redis::RedisConfig;
use costguard::{
    Correction, CostGuard, Counter, Decision, ErrorKind, Estimate, Limit, Meter, Money, Policy, Subject, Window,
};
use serde_json::Value;
use support::{Cluster, Server};

const KEPT: [&str; 2] = ["--appendonly", "yes"];

/// The exit code, and the report.
fn run(command: &str, url: &str, more: &[&str]) -> (i32, Value) {
    let mut program = cargo_bin_cmd!("costguard");
    for name in ["COSTGUARD_URL", "REDIS_URL", "REDIS_HOST", "REDIS_KEY_PREFIX"] {
        program.env_remove(name);
    }
    let output = program.args([command, "--url", url, "--json"]).args(more).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}")))
}

/// The level of one check, and what it found.
fn finding<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let findings = report["findings"].as_array().unwrap();
    let found =
        findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {report}"));
    (found["level"].as_str().unwrap(), found["found"].as_str().unwrap())
}

/// Whether nothing is wrong but that a busy machine may answer slowly, which is a warning.
fn is_well(code: i32, report: &Value) -> bool {
    let findings = report["findings"].as_array().unwrap();
    let is_slow = findings.iter().any(|finding| finding["check"] == "latency" && finding["level"] == "warning");
    code == i32::from(is_slow)
}

fn tell(server: &Server, words: &[&str]) {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut connection).unwrap();
}

/// Adds a user with these rights, and gives the URL with it.
fn user(server: &Server, name: &str, rule: &str) -> String {
    tell(server, &[&["ACL", "SETUSER", name, "on", ">secret"], &*rule.split(' ').collect::<Vec<_>>()].concat());
    format!("redis://{name}:secret@{}/0", server.addr())
}

#[test]
fn a_server_that_keeps_its_data_and_evicts_nothing_is_well() {
    let server = Server::start_with(&KEPT);
    let (code, report) = run("doctor", &server.url(), &["--prefix", "app:"]);
    assert!(is_well(code, &report), "{report}");
    for check in ["connection", "version", "scripting", "rights", "eviction", "persistence", "clock", "ttl"] {
        assert_eq!(finding(&report, check).0, "ok", "{report}");
    }
    assert!(finding(&report, "latency").1.contains("in the median of"), "{report}");
}

#[test]
fn a_probe_that_could_not_ask_does_not_look_like_one_that_did() {
    for command in ["health", "doctor"] {
        for (args, told) in [
            (&["--url", "redis://h:0"][..], "the URL is no Redis URL"),
            (&["--url", "memory:"], "an embedded store starts empty"),
            (&[], "which server?"),
            (&["--wrong"], "unexpected argument '--wrong'"),
        ] {
            let mut program = cargo_bin_cmd!("costguard");
            for name in ["COSTGUARD_URL", "REDIS_URL", "REDIS_HOST"] {
                program.env_remove(name);
            }
            let output = program.arg(command).args(args).output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(3) && output.stdout.is_empty(), "{:?}: {error}", output.status);
            assert!(error.starts_with("error: ") && error.contains(told), "{error}");
        }
    }
    cargo_bin_cmd!("costguard").args(["health", "--help"]).assert().success();
}

#[test]
fn what_would_lose_budgets_is_a_warning_with_advice() {
    let server = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    tell(&server, &["SET", "app:cost:stray", "1"]);
    tell(&server, &["SET", "elsewhere", "1"]);
    let (code, report) = run("doctor", &server.url(), &["--prefix", "app:"]);
    assert_eq!(code, 1, "{report}");
    for (check, word) in [("eviction", "allkeys-lru"), ("persistence", "nothing is kept"), ("ttl", "1 of 1 keys")] {
        let (level, found) = finding(&report, check);
        assert!(level == "warning" && found.contains(word), "{report}");
    }
    let warned = report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "warning");
    assert!(warned.into_iter().all(|finding| finding["advice"].is_string()), "{report}");
}

#[tokio::test]
async fn every_operation_works_with_the_printed_rights_and_nothing_more() {
    let server = Server::start_with(&KEPT);
    // A star in the prefix is no wildcard in the rule.
    let (_, report) = run("doctor", &server.url(), &["--prefix", "a*p:"]);
    let url = user(&server, "app", report["acl_rule"].as_str().unwrap());
    let guard = CostGuard::builder().prefix("a*p:").connect(&url).await.unwrap();
    let counter = Counter::new("user", Meter::COST, Window::day());
    let policy = Policy::new([
        Limit::cost("user", "1.00".parse().unwrap(), Window::day()),
        Limit::cost("user", "5.00".parse().unwrap(), Window::month()),
    ])
    .unwrap();
    let alice = Subject::new("acme").scope("user", "alice");
    let cost = |text: &str| text.parse::<Money>().unwrap();

    guard.charge(&policy, &alice, cost("0.10")).id("c1").await.unwrap();
    guard.charge(&policy, &alice, cost("0.10")).id("c1").await.unwrap();
    assert!(matches!(guard.admit(&policy, &alice, cost("0.10")).id("a1").await.unwrap(), Decision::Granted(_)));
    assert!(matches!(guard.admit(&policy, &alice, cost("2")).await.unwrap(), Decision::Denied(_)));
    for settle in [true, false] {
        let Decision::Granted(mut hold) =
            guard.reserve(&policy, &alice, Estimate::money("0.10").unwrap()).await.unwrap()
        else {
            panic!("there is room")
        };
        hold.extend(Duration::from_secs(900)).await.unwrap();
        let _ = hold.grow(cost("0.05")).await.unwrap();
        if settle {
            hold.settle(cost("0.12")).await.unwrap();
        } else {
            hold.release().await.unwrap();
        }
    }
    guard.refund(&policy, &alice, cost("0.02")).id("r1").await.unwrap();
    guard.adjust(&alice, &counter, Correction::Subtract(10_000_000), "a test").id("x1").await.unwrap();
    guard.adjustments(&alice, &counter).await.unwrap();
    let logins = Meter::new("logins").unwrap();
    assert_eq!(guard.count(&alice, "user", &logins, Duration::from_secs(60)).await.unwrap().count, 1);
    guard.block(&alice, "user", Duration::from_secs(60)).await.unwrap();
    guard.unblock(&alice, "user").await.unwrap();
    guard.set_limit(&alice, &counter, 5).await.unwrap();
    guard.rules(&alice).await.unwrap();
    // 0.10 + 0.10 + 0.12 - 0.02 - 0.01
    assert_eq!(guard.peek(&policy, &alice).await.unwrap()[0].used, 290_000_000);

    let elsewhere = CostGuard::builder().prefix("axp:").connect(&url).await.unwrap();
    assert!(elsewhere.charge(&policy, &alice, cost("0.10")).await.is_err(), "the rule holds for its prefix alone");
    let (code, report) = run("doctor", &url, &["--prefix", "a*p:"]);
    assert!(is_well(code, &report) && finding(&report, "rights").0 == "ok", "{report}");
    assert!(finding(&report, "persistence").1.contains("CONFIG cannot be read"), "{report}");
    assert!(!report.to_string().contains("secret"), "{report}");
}

#[test]
fn every_primary_of_a_cluster_is_looked_at() {
    let mut cluster = Cluster::start();
    for place in 0..3 {
        cluster.tell(place, &["CONFIG", "SET", "appendonly", "yes"]);
    }
    let (code, report) = run("doctor", &cluster.url(0), &["--prefix", "app:"]);
    assert!(is_well(code, &report), "{report}");
    assert!(
        finding(&report, "cluster").1.contains("all 3 primaries") && finding(&report, "eviction").0 == "ok",
        "{report}"
    );

    cluster.tell(1, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let (code, report) = run("doctor", &cluster.url(0), &["--prefix", "app:"]);
    let evicting: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == "eviction").collect();
    assert_eq!((code, evicting.len()), (1, 1), "{report}");
    let found = evicting[0]["found"].as_str().unwrap();
    assert!(found.starts_with(&format!("{}: ", cluster.addr(1))) && found.contains("allkeys-lru"), "{report}");

    // As if it were all.
    let (code, report) = run("doctor", &format!("redis://{}", cluster.addr(0)), &[]);
    assert_eq!((code, finding(&report, "cluster").0), (2, "problem"), "{report}");

    // One is down, and has no replica.
    let gone = cluster.addr(2).to_string();
    cluster.kill(2);
    let (code, report) = run("doctor", &cluster.url(0), &["--prefix", "app:"]);
    let told = report["findings"].as_array().unwrap().iter().any(|finding| {
        finding["check"] == "connection"
            && finding["level"] == "problem"
            && finding["found"].as_str().unwrap().contains(&gone)
    });
    assert!(code == 2 && told && finding(&report, "eviction").0 == "ok", "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_rights_are_enough_on_a_cluster() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let (_, report) = run("doctor", &cluster.url(0), &["--prefix", "app:"]);
    let rule = report["acl_rule"].as_str().unwrap();
    for place in 0..4 {
        let user = ["ACL", "SETUSER", "app", "on", ">secret"];
        cluster.tell(place, &[&user[..], &rule.split(' ').collect::<Vec<_>>()].concat());
    }
    let url = format!("redis+cluster://app:secret@{}", cluster.addr(0));
    let guard = CostGuard::builder().prefix("app:").connect(&url).await.unwrap();
    let policy = Policy::new([Limit::cost("user", "1.00".parse().unwrap(), Window::day())]).unwrap();
    for place in 0..3 {
        let (root, _) = cluster.root_on(place);
        let subject = Subject::new(&root).scope("user", "alice");
        let decision = guard.admit(&policy, &subject, "0.10".parse::<Money>().unwrap()).id("a1").await.unwrap();
        assert!(decision.is_granted());
    }
}

#[tokio::test]
async fn a_right_that_lacks_makes_no_counter_corrupt() {
    let server = Server::start();
    let guard = CostGuard::connect(&user(&server, "reader", "~* +@all -incrby")).await.unwrap();
    let (alice, logins) = (Subject::new("acme").scope("user", "alice"), Meter::new("logins").unwrap());
    let policy = Policy::new([Limit::cost("user", "1.00".parse().unwrap(), Window::day())]).unwrap();
    let charged = guard.charge(&policy, &alice, "0.10".parse::<Money>().unwrap()).await.unwrap_err();
    let counted = guard.count(&alice, "user", &logins, Duration::from_secs(60)).await.unwrap_err();
    let reserved = guard.reserve(&policy, &alice, "0.10".parse::<Money>().unwrap()).await.unwrap_err();
    for err in [charged, counted, reserved] {
        assert_eq!(err.kind(), ErrorKind::Store, "{err}");
        assert!(!err.to_string().contains("integer"), "{err}");
    }
    // What reserve had written before is taken back.
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    assert_eq!(redis::cmd("KEYS").arg("*acme*").query::<Vec<String>>(&mut connection).unwrap(), [""; 0]);
}

#[test]
fn rights_that_lack_are_named() {
    let server = Server::start_with(&KEPT);
    let url = user(&server, "less", "~app:* +@all -incrby -hset");
    let (code, report) = run("doctor", &url, &["--prefix", "app:"]);
    let (level, found) = finding(&report, "rights");
    assert_eq!((code, level), (2, "problem"), "{report}");
    assert!(found.ends_with(": HSET INCRBY"), "{found}");

    let url = user(&server, "mute", "~app:* +@all -@scripting");
    let (code, report) = run("doctor", &url, &["--prefix", "app:"]);
    assert_eq!((code, finding(&report, "scripting").0), (2, "problem"), "{report}");
}

#[tokio::test]
async fn health_tells_what_the_server_is_and_which_scripts_it_has() {
    let server = Server::start_with(&["--maxmemory", "100mb"]);
    let store = costguard::store::redis::RedisStore::connect(&server.url()).await.unwrap();
    store.load(&costguard::script::all()[0]).await.unwrap();
    let health = CostGuard::connect(&server.url()).await.unwrap().health().await;
    assert_eq!((health.status, &health.reasons), (HealthStatus::Connected, &Vec::new()));
    assert!(matches!(health.server.kind, Some(ServerKind::Redis | ServerKind::Valkey)));
    assert_eq!((health.server.role, health.server.max_memory_bytes), (Some("primary"), Some(100 << 20)));
    assert!(health.server.used_memory_bytes > Some(0) && health.server.uptime_s.is_some());
    assert!(health.ping_ms > Some(0.0));
    assert_eq!(health.scripts.unwrap().loaded, 1);
    let pool = health.pool.unwrap();
    assert_eq!((pool.connections, pool.connections_most, pool.calls_most), (1, 50, 50 * 128));

    let (code, report) = run("health", &server.url(), &[]);
    assert_eq!((code, report["status"].as_str(), report["role"].as_str()), (0, Some("connected"), Some("primary")));

    let embedded = CostGuard::embedded().health().await;
    assert_eq!((embedded.status, embedded.server.kind), (HealthStatus::Connected, Some(ServerKind::Embedded)));
}

#[test]
fn a_server_that_refuses_the_login_need_not_be_started() {
    let server = Server::start_with(&["--requirepass", "r1ght"]);
    for (url, refused) in [
        (format!("redis://:wr0ng@{}", server.addr()), "refused the login"),
        (format!("redis://:r1ght@{}/99", server.addr()), "refused database 99"),
    ] {
        let (code, report) = run("doctor", &url, &[]);
        let connection = &report["findings"][0];
        assert!(code == 2 && connection["found"].as_str().unwrap().contains(refused), "{report}");
        let advice = connection["advice"].as_str().unwrap();
        assert!(!advice.contains("start") && advice.contains("it runs"), "{report}");
        let (code, health) = run("health", &url, &[]);
        assert!(code == 2 && health["status"] == "disconnected", "{health}");
        assert!(health["reasons"][0].as_str().unwrap().contains(refused), "{health}");
        assert!(!format!("{report} {health}").contains("wr0ng"), "{report} {health}");
    }
    let (_, report) = run("doctor", "redis://127.0.0.1:1", &[]);
    assert!(report["findings"][0]["advice"].as_str().unwrap().contains("start the server"), "{report}");
}

#[test]
fn a_memory_that_is_full_is_called_full_and_can_be_raised() {
    let server = Server::start_with(&KEPT);
    tell(&server, &["CONFIG", "SET", "maxmemory", "100kb"]);
    for (policy, word) in [("noeviction", "refuses writes"), ("volatile-lru", "evicts keys")] {
        tell(&server, &["CONFIG", "SET", "maxmemory-policy", policy]);
        let (code, health) = run("health", &server.url(), &[]);
        let reason = health["reasons"][0].as_str().unwrap();
        assert!(code == 1 && reason.contains("its memory is full") && reason.contains(word), "{health}");
        assert!(!reason.contains("nearly"), "{reason}");
        let (code, report) = run("doctor", &server.url(), &[]);
        let connection = &report["findings"][0];
        assert!(code == 2 && connection["advice"].as_str().unwrap().contains("raise maxmemory"), "{report}");
    }
}

#[test]
fn a_replica_is_degraded() {
    let primary = Server::start();
    let replica = Server::start_replica_of(primary.addr());
    let (code, report) = run("health", &replica.url(), &[]);
    assert_eq!((code, report["status"].as_str(), report["role"].as_str()), (1, Some("degraded"), Some("replica")));
    assert!(report["reasons"][0].as_str().unwrap().contains("replica"), "{report}");
}

#[tokio::test]
async fn a_pool_that_is_mostly_in_use_is_degraded() {
    let server = Server::start();
    let config = RedisConfig::from_url(&server.url()).unwrap().max_connections(1);
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let policy = Policy::new([Limit::cost("user", "1".parse().unwrap(), Window::day())]).unwrap();
    // More at a time than the pool carries.
    for _ in 0..1000 {
        let (guard, policy) = (guard.clone(), policy.clone());
        tokio::spawn(async move {
            let alice = Subject::new("acme").scope("user", "alice");
            while guard.charge(&policy, &alice, Money::from_nanos(1)).await.is_ok() {}
        });
    }
    let mut health = guard.health().await;
    for _ in 0..100 {
        if health.status == HealthStatus::Degraded {
            break;
        }
        health = guard.health().await;
    }
    assert_eq!(health.status, HealthStatus::Degraded, "{health:?}");
    assert!(health.reasons[0].contains("of 128 calls at a time"), "{:?}", health.reasons);
    assert!(health.ping_ms.is_some());
}

#[tokio::test]
async fn a_server_that_is_gone_or_stands_still_is_disconnected_within_the_limit_and_tells_no_secret() {
    let server = Server::start();
    let url = user(&server, "app", "~* +@all");
    let guard = CostGuard::connect(&url).await.unwrap();
    assert!(Process::new("kill").args(["-STOP", &server.pid().to_string()]).status().unwrap().success());
    for stopped in [true, false] {
        let begun = Instant::now();
        let health = guard.health().await;
        assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
        assert_eq!(health.status, HealthStatus::Disconnected);
        let told = serde_json::to_string(&health).unwrap();
        assert!(!health.reasons.is_empty() && !told.contains("secret"), "{told}");
        if !stopped {
            break;
        }
        assert!(Process::new("kill").args(["-KILL", &server.pid().to_string()]).status().unwrap().success());
    }
    for command in ["health", "doctor"] {
        let (code, report) = run(command, &url, &[]);
        assert!(code == 2 && !report.to_string().contains("secret"), "{report}");
    }
}
