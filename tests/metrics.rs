//! What is counted and traced, and that the documents say so.

#![cfg(feature = "metrics")]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use costguard::metrics::{ALL, Kind, describe};
use costguard::store::redis::RedisConfig;
use costguard::{CostGuard, Counter, Decision, Fraction, Limit, Meter, Mode, Money, Policy, Subject, Window};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use support::{Logs, Proxy, Server};

const CENT: Money = Money::from_nanos(10_000_000);

fn policy() -> Policy {
    let daily =
        Limit::cost("user", Money::from_nanos(40_000_000), Window::day()).warn_at([Fraction::parse("0.5").unwrap()]);
    let shadow = Limit::cost("user", CENT, Window::month()).mode(Mode::Shadow);
    Policy::new([daily, shadow]).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

/// The value of a series: its name and labels as Prometheus reads them. 0 where there is none.
fn value(handle: &PrometheusHandle, series: &str) -> f64 {
    let text = handle.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn calls_decisions_and_faults_are_counted_by_names_that_hold_no_id() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // On this thread, which is the only one of this test's runtime.
    let _local = metrics::set_default_local_recorder(&recorder);
    describe();
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let (policy, alice) = (policy(), alice());
    for granted in [true, true, true, true, false] {
        assert_eq!(guard.admit(&policy, &alice, CENT).await.unwrap().is_granted(), granted);
    }
    let is =
        |series: &str, expected: f64| assert_eq!(value(&handle, series), expected, "{series}\n{}", handle.render());
    is(r#"costguard_calls_total{script="admit",outcome="granted"}"#, 4.0);
    is(r#"costguard_calls_total{script="admit",outcome="denied"}"#, 1.0);
    is(r#"costguard_call_duration_seconds_count{script="admit"}"#, 5.0);
    is(r#"costguard_decisions_total{decision="granted"}"#, 4.0);
    is(r#"costguard_denials_total{limit="user-cost-day"}"#, 1.0);
    is(r#"costguard_crossed_total{limit="user-cost-day",share="50%"}"#, 1.0);
    is(r#"costguard_shadowed_total{limit="user-cost-month"}"#, 3.0);
    is(r#"costguard_script_loads_total{script="admit"}"#, 1.0);
    is(r#"costguard_connects_total{outcome="opened"}"#, 1.0);
    is("costguard_connections", 1.0);
    is("costguard_calls_in_flight", 0.0);

    // A lost reply: the same call again, over another connection.
    guard.charge(&policy, &alice, CENT).await.unwrap();
    proxy.lose_next_reply();
    assert!(guard.charge(&policy, &alice, CENT).id("once").await.unwrap().replayed);
    is(r#"costguard_retries_total{script="charge"}"#, 1.0);
    is(r#"costguard_calls_total{script="charge",outcome="replay"}"#, 1.0);
    is(r#"costguard_connects_total{outcome="reopened"}"#, 1.0);
    is("costguard_connections", 1.0);
    assert!(!handle.render().contains("alice") && !handle.render().contains("acme"), "{}", handle.render());
    for metric in ALL.iter().filter(|metric| handle.render().contains(metric.name)) {
        assert!(handle.render().contains(&format!("# HELP {} {}", metric.name, metric.text)), "{}", metric.name);
    }
}

#[tokio::test]
async fn a_breaker_that_opens_and_a_store_that_lost_its_data_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let mut server = Server::start();
    let config = RedisConfig::from_url(&server.url()).unwrap().call_timeout(Duration::from_millis(200));
    let config = config.breaker_failures(1).reconnect(Duration::from_millis(10), Duration::from_millis(50));
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let (policy, alice) =
        (Policy::new([Limit::count_only(Counter::new("user", Meter::COST, Window::total()))]).unwrap(), alice());
    guard.charge(&policy, &alice, CENT).await.unwrap();
    guard.health().await;
    server.kill();
    while guard.charge(&policy, &alice, CENT).await.is_ok() {}
    assert!(value(&handle, "costguard_breaker_opened_total") >= 1.0, "{}", handle.render());
    assert_eq!(value(&handle, "costguard_breakers_open"), 1.0, "{}", handle.render());
    let failed = r#"costguard_connects_total{outcome="failed"}"#;
    let tried = async {
        while value(&handle, failed) < 1.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), tried).await.unwrap();
    server.restart();
    let back = async { while guard.charge(&policy, &alice, CENT).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
    guard.health().await;
    assert_eq!(value(&handle, "costguard_breakers_open"), 0.0, "{}", handle.render());
    assert_eq!(value(&handle, "costguard_data_losses_total"), 1.0, "{}", handle.render());
}

#[tokio::test]
async fn a_guard_that_is_dropped_leaves_no_breaker_open() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let mut server = Server::start();
    let config = RedisConfig::from_url(&server.url()).unwrap().call_timeout(Duration::from_millis(200));
    let guard = CostGuard::builder().connect_with(&config.breaker_failures(1)).await.unwrap();
    server.kill();
    while guard.charge(&policy(), &alice(), CENT).await.is_ok() {}
    assert_eq!(value(&handle, "costguard_breakers_open"), 1.0, "{}", handle.render());
    drop(guard);
    let closed = async {
        while value(&handle, "costguard_breakers_open") != 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("it is gone with its guard");
}

#[test]
fn what_has_no_labels_is_there_from_the_start() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    describe();
    for metric in ALL.iter().filter(|metric| metric.labels.is_empty()) {
        assert!(handle.render().lines().any(|line| line == format!("{} 0", metric.name)), "{}", handle.render());
    }
}

#[tokio::test]
async fn spans_say_what_ran_and_how_it_ended_and_name_users_only_when_asked() {
    let server = Server::start();
    for show in [false, true] {
        let logs = Logs::collect();
        let guard = CostGuard::builder().trace_keys(show).connect(&server.url()).await.unwrap();
        let Decision::Granted(mut hold) = guard.reserve(&policy(), &alice(), CENT).await.unwrap() else {
            panic!("there is room")
        };
        hold.settle(CENT).await.unwrap();
        let text = logs.text();
        for line in ["span costguard script=\"reserve\"", "span outcome=\"granted\"", "span outcome=\"settled\""] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(text.contains("alice"), show, "{text}");
    }
}

#[test]
fn the_document_lists_every_metric() {
    let mut table = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Seconds => "histogram, seconds",
            _ => "unknown",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.text).unwrap();
    }
    let document = std::fs::read_to_string("docs/metrics.md").unwrap();
    assert!(document.contains(&table), "docs/metrics.md should hold\n{table}");
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let text = std::fs::read_to_string("deploy/grafana-dashboard.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked = BTreeSet::new();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let query = target["expr"].as_str().unwrap();
        for word in query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("costguard_") {
                let name = word.strip_suffix("_bucket").unwrap_or(word);
                assert!(ALL.iter().any(|metric| metric.name == name), "{word} in {query}");
                asked.insert(name.to_owned());
            }
        }
    }
    let missing: Vec<_> = ALL.iter().filter(|metric| !asked.contains(metric.name)).map(|metric| metric.name).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}
