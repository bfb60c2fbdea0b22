//! The layers in front of a service: what clients see, and what becomes of the holds.

#![cfg(feature = "http")]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "http/cache.rs"]
mod cache;
#[path = "http/health.rs"]
mod health;
mod support;
#[path = "http/waits.rs"]
mod waits;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Extension;
use costguard::http::{
    BudgetLayer, Gate, RateLimitLayer, Rejection, SharedHold, Unobserved, WhenAway, subject_from_headers,
};
use costguard::store::ManualClock;
use costguard::{Amounts, CostGuard, Counter, Estimate, Limit, Meter, Money, Policy, Subject, Window};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use support::{Logs, Proxy, START_MS, Server, server_url};
use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceExt, service_fn};

/// A guard whose time is 2026-02-01T12:00:00Z, half a day before the day ends.
fn guard() -> CostGuard {
    CostGuard::builder().clock(Arc::new(ManualClock::new(START_MS))).embedded().unwrap()
}

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

fn limit(kind: &str, meter: Meter, window: Window, limit: i64) -> Limit {
    Limit::new(Counter::new(kind, meter, window), limit)
}

/// A dollar a day.
fn daily() -> Policy {
    Policy::new([Limit::cost("user", usd("1.00"), Window::day())]).unwrap()
}

fn gate(guard: &CostGuard, policy: &Policy) -> Gate {
    Gate::new(guard.clone(), policy.clone(), subject_from_headers("acme", [("user", "x-user")]))
}

fn by_alice() -> Request<Body> {
    Request::builder().header("x-user", "alice").body(Body::empty()).unwrap()
}

fn alice() -> Subject {
    Subject::new("acme").scope("user", "alice")
}

/// Used and held of the first limit, when all holds that were dropped have ended.
async fn stands(guard: &CostGuard, policy: &Policy) -> (Money, Money) {
    assert_eq!(guard.shutdown(Duration::from_secs(10)).await, 0);
    let state = &guard.peek(policy, &alice()).await.unwrap()[0];
    (Money::from_nanos(state.used), Money::from_nanos(state.held))
}

/// A service that counts its calls and answers 200 with a body.
fn counting(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<Body>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone + use<> {
    let calls = calls.clone();
    service_fn(move |_: Request<Body>| {
        calls.fetch_add(1, Ordering::Relaxed);
        async { Ok(Response::new(Full::from("served"))) }
    })
}

/// The values of a field, one a line.
fn field(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    values.join("\n")
}

async fn problem<B>(response: Response<B>) -> Value
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(problem["status"], status);
    problem
}

#[tokio::test]
async fn a_granted_answer_carries_the_fields_of_the_draft_for_every_limit() {
    let policy = Policy::new([
        Limit::cost("user", usd("1.00"), Window::day()),
        limit("user", Meter::REQUESTS, Window::minute(), 60),
        limit("user", Meter::TOKENS, Window::month(), 1_000_000),
        limit("global", Meter::new("assess\u{e9}d").unwrap(), Window::total(), 7),
        Limit::count_only(Counter::new("user", Meter::TOKENS, Window::year())),
    ])
    .unwrap();
    let layer = RateLimitLayer::new(gate(&guard(), &policy))
        .amounts(|_| Ok(Amounts::cost("0.0000025".parse()?).tokens(1500).with(Meter::new("assess\u{e9}d")?, 2)));
    let calls = Arc::default();
    let response = layer.layer(counting(&calls)).oneshot(by_alice()).await.unwrap();
    assert_eq!((response.status(), calls.load(Ordering::Relaxed)), (StatusCode::OK, 1));
    assert_eq!(
        field(response.headers(), "ratelimit-policy"),
        r#""user-cost-day";q=1000000;qu="micro-usd";w=86400, "user-requests-minute";q=60;w=60, "#.to_owned()
            + r#""user-tokens-month";q=1000000;qu="tokens";w=2419200, "#
            + r#""global-assess%C3%A9d-total";q=7;qu="assess%C3%A9d""#
    );
    assert_eq!(
        field(response.headers(), "ratelimit"),
        r#""user-cost-day";r=999997;t=43200, "user-requests-minute";r=59;t=60, "#.to_owned()
            + r#""user-tokens-month";r=998500;t=2376000, "global-assess%C3%A9d-total";r=5"#
    );
    assert_eq!(response.headers().len(), 2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "served");
}

#[tokio::test]
async fn a_denied_request_is_not_served_and_told_which_limit_and_until_when() {
    let (guard, policy) = (guard(), daily());
    guard.charge(&policy, &alice(), usd("0.95")).await.unwrap();
    let layer = BudgetLayer::new(gate(&guard, &policy), |_| Ok(Estimate::money("0.06")?));
    let calls = Arc::default();
    let response = layer.layer(counting(&calls)).oneshot(by_alice()).await.unwrap();
    assert_eq!((response.status(), calls.load(Ordering::Relaxed)), (StatusCode::TOO_MANY_REQUESTS, 0));
    assert_eq!(field(response.headers(), "retry-after"), "43200");
    assert_eq!(field(response.headers(), "ratelimit"), r#""user-cost-day";r=50000;t=43200"#);
    assert_eq!(field(response.headers(), "ratelimit-policy"), r#""user-cost-day";q=1000000;qu="micro-usd";w=86400"#);
    let expected = json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "user:alice cost per day, 0.95 of 1.00 used; try again in 43200 s",
        "violated-policies": ["user-cost-day"],
        "limit": {
            "policy": "user-cost-day", "scope": "user:alice", "meter": "cost", "per": "day",
            "limit": "1.00", "used": "0.95", "held": "0.00", "resets_at": "2026-02-02T00:00:00Z",
        },
        "retry_after_s": 43200,
    });
    assert_eq!(problem(response).await, expected);
}

#[tokio::test]
async fn a_denial_by_holds_says_to_come_back_soon_and_one_for_good_says_nothing() {
    let (guard, policy) = (guard(), daily());
    let layer = |estimate: &'static str| {
        BudgetLayer::new(gate(&guard, &policy).openai_fields(), move |_| Ok(Estimate::money(estimate)?))
            .layer(counting(&Arc::default()))
    };
    let open = layer("0.90").oneshot(by_alice()).await.unwrap();
    assert_eq!(field(open.headers(), "ratelimit"), r#""user-cost-day";r=100000;t=43200"#);
    let denied = layer("0.20").oneshot(by_alice()).await.unwrap();
    assert_eq!(field(denied.headers(), "retry-after"), "5");
    assert_eq!(field(denied.headers(), "ratelimit"), r#""user-cost-day";r=100000;t=5"#);
    assert_eq!(field(denied.headers(), "x-should-retry"), "");
    assert_eq!(problem(denied).await["limit"]["held"], "0.90");
    let never = layer("1.01").oneshot(by_alice()).await.unwrap();
    assert_eq!(never.status(), 429);
    assert!(!never.headers().contains_key("retry-after"));
    assert_eq!(field(never.headers(), "x-should-retry"), "false");
    assert_eq!(
        problem(never).await["detail"],
        "user:alice cost per day, 0.00 of 1.00 used, 0.90 held; trying again will not help"
    );
    drop(open);
}

#[tokio::test]
async fn openai_fields_show_the_tightest_limit_of_requests_and_of_tokens() {
    let policy = Policy::new([
        limit("user", Meter::REQUESTS, Window::day(), 1000),
        limit("user", Meter::REQUESTS, Window::every(360).unwrap(), 60),
        limit("user", Meter::TOKENS, Window::total(), 150_000),
        Limit::cost("user", usd("1.00"), Window::day()),
    ])
    .unwrap();
    let amounts = |_: &_| Ok(Amounts::cost(usd("0.01")).tokens(16));
    let service = RateLimitLayer::new(gate(&guard(), &policy).openai_fields()).amounts(amounts).layer(service_fn(
        |_: Request<Body>| async {
            // A provider's own fields are not the client's limits.
            let answer = Response::builder().header("x-ratelimit-remaining-requests", "9999");
            Ok::<_, Infallible>(answer.body(Body::empty()).unwrap())
        },
    ));
    let response = service.oneshot(by_alice()).await.unwrap();
    let shown = |name: &str| field(response.headers(), &format!("x-ratelimit-{name}"));
    assert_eq!([shown("limit-requests"), shown("remaining-requests"), shown("reset-requests")], ["60", "59", "6m0s"]);
    assert_eq!([shown("limit-tokens"), shown("remaining-tokens"), shown("reset-tokens")], ["150000", "149984", ""]);
}

#[tokio::test]
async fn a_hidden_scope_shows_nowhere() {
    let policy = Policy::new([
        Limit::cost("global", usd("0.50"), Window::day()),
        Limit::cost("user", usd("1.00"), Window::day()),
    ])
    .unwrap();
    let gate = gate(&guard(), &policy).hide_scope("global");
    let layer = BudgetLayer::new(gate, |_| Ok(Estimate::money("0.40")?));
    let granted = layer.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap();
    assert_eq!(field(granted.headers(), "ratelimit"), r#""user-cost-day";r=600000;t=43200"#);
    let denied = layer.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap();
    assert_eq!(field(denied.headers(), "ratelimit"), r#""user-cost-day";r=600000;t=43200"#);
    let wait_s: u64 = field(denied.headers(), "retry-after").parse().unwrap();
    let problem = problem(denied).await;
    assert_eq!(problem["detail"], format!("a limit is reached; try again in {wait_s} s"));
    assert_eq!((&problem["violated-policies"], problem.get("limit")), (&json!([]), None));
}

#[tokio::test]
async fn two_layers_show_the_limits_of_both() {
    let guard = guard();
    let requests = Policy::new([limit("user", Meter::REQUESTS, Window::minute(), 60)]).unwrap();
    let budget = BudgetLayer::new(gate(&guard, &daily()), |_| Ok(Estimate::money("0.10")?));
    let rate = RateLimitLayer::new(gate(&guard, &requests));
    let service = rate.layer(budget.layer(counting(&Arc::default())));
    let response = service.oneshot(by_alice()).await.unwrap();
    assert_eq!(
        field(response.headers(), "ratelimit"),
        "\"user-cost-day\";r=900000;t=43200\n\"user-requests-minute\";r=59;t=60"
    );
}

#[tokio::test]
async fn a_request_without_a_subject_is_answered_as_the_closure_says() {
    let (guard, policy, calls) = (guard(), daily(), Arc::default());
    let headers = RateLimitLayer::new(gate(&guard, &policy)).amounts(|_| Ok(Amounts::cost(usd("0.01"))));
    let ask = |request: Request<Body>| headers.layer(counting(&calls)).oneshot(request);
    let missing = ask(Request::new(Body::empty())).await.unwrap();
    assert_eq!((missing.status().as_u16(), field(missing.headers(), "www-authenticate")), (401, "Bearer".to_owned()));
    assert_eq!(problem(missing).await["detail"], "the header x-user is missing");
    for bad in [&b""[..], b"\xff", &[b'x'; 201]] {
        let request = Request::builder().header("x-user", bad).body(Body::empty()).unwrap();
        assert_eq!(ask(request).await.unwrap().status(), 400, "{bad:?}");
    }

    let teapot = |_: &_| Err(Rejection::new(StatusCode::IM_A_TEAPOT, "short and stout"));
    let layer = RateLimitLayer::new(Gate::new(guard.clone(), policy.clone(), teapot));
    let response = layer.layer(counting(&calls)).oneshot(by_alice()).await.unwrap();
    assert_eq!(
        problem(response).await,
        json!({
            "type": "about:blank", "title": "I'm a teapot", "status": 418, "detail": "short and stout",
        })
    );

    // A closure that does not look whether the id is one.
    let unchecked = |_: &_| Ok(Subject::new("acme").scope("user", ""));
    let layer = RateLimitLayer::new(Gate::new(guard.clone(), policy.clone(), unchecked));
    let response = layer.layer(counting(&calls)).oneshot(by_alice()).await.unwrap();
    assert_eq!(response.status(), 400);

    // A policy that counts money, and a layer that does not say how much: nothing that a client can mend.
    let response =
        RateLimitLayer::new(gate(&guard, &policy)).layer(counting(&calls)).oneshot(by_alice()).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(problem(response).await["detail"], "the limits of this request could not be checked");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_sends_a_header_twice_does_not_choose_whose_budget_pays() {
    let (guard, policy, calls) = (guard(), daily(), Arc::default());
    let layer = RateLimitLayer::new(gate(&guard, &policy)).amounts(|_| Ok(Amounts::cost(usd("0.01"))));
    let ask = |proxys: &str| {
        let request = Request::builder().header("x-user", "alice").header("x-user", proxys).body(Body::empty());
        layer.layer(counting(&calls)).oneshot(request.unwrap())
    };
    let refused = ask("bob").await.unwrap();
    assert_eq!((refused.status().as_u16(), calls.load(Ordering::Relaxed)), (400, 0));
    assert_eq!(problem(refused).await["detail"], "the header x-user comes more than once, with different values");
    assert_eq!(ask("alice").await.unwrap().status(), 200);
}

/// Counts the errors that are logged on this thread.
struct ErrorLog(Arc<AtomicUsize>);

impl tracing::Subscriber for ErrorLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR && metadata.target().starts_with("costguard::http")
    }
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn while_the_store_is_away_requests_are_refused_or_let_through_by_choice_and_never_silently() {
    let errors: Arc<AtomicUsize> = Arc::default();
    let _logged = tracing::subscriber::set_default(ErrorLog(errors.clone()));
    let server = Server::start();
    let (guard, policy, calls) = (CostGuard::connect(&server.url()).await.unwrap(), daily(), Arc::default());
    let address = server.addr().to_string();
    drop(server);
    let ids = service_fn(|request: Request<Body>| async move {
        let hold = request.extensions().get::<SharedHold>().unwrap();
        hold.observe(usd("0.01"));
        Ok::<_, Infallible>(Response::new(Body::from(format!("{:?} {}", hold.id(), hold.held(&Meter::COST)))))
    });
    let budget = |gate| BudgetLayer::new(gate, |_| Ok(Estimate::money("0.01")?));
    let rate = |gate| RateLimitLayer::new(gate).amounts(|_| Ok(Amounts::cost(usd("0.01"))));
    let (closed, open) = (gate(&guard, &policy), gate(&guard, &policy).when_away(WhenAway::LetThrough));
    let (refused, let_through, not_admitted, admitted) = tokio::join!(
        budget(closed.clone()).layer(counting(&calls)).oneshot(by_alice()),
        budget(open.clone()).layer(ids).oneshot(by_alice()),
        rate(closed).layer(counting(&calls)).oneshot(by_alice()),
        rate(open).layer(counting(&calls)).oneshot(by_alice()),
    );
    for refused in [refused.unwrap(), not_admitted.unwrap()] {
        assert_eq!(refused.status(), 503);
        assert_eq!(field(refused.headers(), "retry-after"), "5");
        let problem = problem(refused).await;
        assert_eq!(problem["title"], "Service Unavailable");
        assert!(!problem.to_string().contains(&address), "where the store is, is not the client's to know: {problem}");
    }
    let let_through = let_through.unwrap();
    assert!(let_through.status().is_success() && let_through.headers().is_empty());
    assert_eq!(let_through.into_body().collect().await.unwrap().to_bytes(), "None 0");
    assert_eq!((admitted.unwrap().status().as_u16(), calls.load(Ordering::Relaxed)), (200, 1));
    assert_eq!(errors.load(Ordering::Relaxed), 4, "one error in the log for each");
}

/// A guard on the shared server, behind a proxy.
async fn proxied() -> (Proxy, CostGuard) {
    let proxy = Proxy::start(&server_url()).await;
    let builder = CostGuard::builder().prefix(&format!("http-{}:", uuid::Uuid::now_v7().simple()));
    let guard = builder.connect(&proxy.url()).await.unwrap();
    (proxy, guard)
}

#[tokio::test]
async fn the_last_of_a_body_comes_after_its_settlement() {
    let (proxy, guard) = proxied().await;
    let budget = BudgetLayer::new(gate(&guard, &daily()), |_| Ok(Estimate::money("0.30")?));
    let mut body = budget.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap().into_body();
    proxy.stall();
    let early = tokio::time::timeout(Duration::from_millis(1), body.frame()).await;
    assert!(early.is_err() && !body.is_end_stream(), "not while it is being settled");
    proxy.resume();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "served");
    let state = &guard.peek(&daily(), &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held, body.is_end_stream()), (300_000_000, 0, true));
}

#[tokio::test]
async fn a_store_that_hangs_does_not_hold_back_the_end_of_a_stream_nor_lose_what_it_cost() {
    let (proxy, guard) = proxied().await;
    let (mut body, sender, hold) = streaming(&guard).await;
    hold.observe(usd("0.02"));
    proxy.stall();
    drop(sender);
    let end = tokio::time::timeout(Duration::from_secs(4), body.frame()).await;
    assert!(end.expect("the body ends before the client's time is up").is_none());
    proxy.resume();
    assert_eq!(stands(&guard, &daily()).await, (usd("0.02"), Money::ZERO));
}

/// A handler that observes this much, if anything, and answers with this status.
async fn ask(guard: &CostGuard, unobserved: Unobserved, observed: Option<Money>, status: u16) -> Response<Body> {
    let budget = BudgetLayer::new(gate(guard, &daily()), |_| Ok(Estimate::money("0.30")?)).unobserved(unobserved);
    let handler = move |Extension(hold): Extension<SharedHold>| async move {
        assert_eq!(hold.held(&Meter::COST), 300_000_000);
        observed.into_iter().for_each(|money| hold.observe(money));
        (StatusCode::from_u16(status).unwrap(), "answer")
    };
    axum::Router::new().route("/", axum::routing::get(handler)).layer(budget).oneshot(by_alice()).await.unwrap()
}

#[tokio::test]
async fn a_hold_is_settled_with_what_was_observed_and_otherwise_by_the_response() {
    use Unobserved::{Release, Settle};
    let cases = [
        (Settle, Some("0.12"), 200, "0.12"),
        (Settle, Some("1.50"), 200, "1.50"),
        (Release, Some("0.12"), 200, "0.12"),
        (Settle, Some("0.12"), 500, "0.12"),
        (Settle, Some("0.00"), 200, "0.00"),
        (Settle, None, 200, "0.30"),
        (Settle, None, 302, "0.30"),
        (Release, None, 200, "0.00"),
        (Settle, None, 500, "0.00"),
        (Settle, None, 404, "0.00"),
    ];
    for (unobserved, observed, status, charged) in cases {
        let guard = guard();
        let response = ask(&guard, unobserved, observed.map(usd), status).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
        // Settled before the end of the body was given out, so there is nothing to wait for.
        let state = &guard.peek(&daily(), &alice()).await.unwrap()[0];
        let case = format!("{unobserved:?}, observed {observed:?}, {status}");
        assert_eq!((state.used, state.held), (usd(charged).nanos(), 0), "{case}");
    }
}

#[tokio::test]
async fn a_meter_that_was_not_observed_is_settled_with_what_is_held() {
    let guard = guard();
    let policy = Policy::new([
        Limit::cost("user", usd("1.00"), Window::day()),
        limit("user", Meter::TOKENS, Window::day(), 1000),
        limit("user", Meter::REQUESTS, Window::day(), 10),
    ])
    .unwrap();
    let budget = BudgetLayer::new(gate(&guard, &policy), |_| Ok(Amounts::cost(usd("0.30")).tokens(400).into()));
    let service = budget.layer(service_fn(|request: Request<Body>| async move {
        request.extensions().get::<SharedHold>().unwrap().observe(usd("0.20"));
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let _empty = service.oneshot(by_alice()).await.unwrap();
    let states = guard.peek(&policy, &alice()).await.unwrap();
    let used: Vec<_> = states.iter().map(|state| (state.used, state.held)).collect();
    assert_eq!(used, [(200_000_000, 0), (400, 0), (1, 0)]);
}

/// A response whose body the test writes, and its hold.
async fn streaming(
    guard: &CostGuard,
) -> (impl http_body::Body<Data = Bytes, Error = Infallible>, Sender<Bytes>, SharedHold) {
    let budget = BudgetLayer::new(gate(guard, &daily()), |_| Ok(Estimate::money("0.30")?));
    let (give, mut given) = mpsc::channel(1);
    let service = budget.layer(service_fn(move |request: Request<Body>| {
        let give = give.clone();
        async move {
            let hold = request.extensions().get::<SharedHold>().unwrap().clone();
            let (sender, body) = Channel::new(4);
            give.send((sender, hold)).await.unwrap();
            Ok::<_, Infallible>(Response::new(body))
        }
    }));
    let response = service.oneshot(by_alice()).await.unwrap();
    let (sender, hold) = given.recv().await.unwrap();
    (response.into_body(), sender, hold)
}

#[tokio::test]
async fn a_stream_is_settled_at_its_end_with_what_was_observed_last() {
    let guard = guard();
    let (mut body, mut sender, hold) = streaming(&guard).await;
    for (so_far, word) in [("0.01", "one"), ("0.02", "two")] {
        hold.observe(usd(so_far));
        sender.send_data(word.into()).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), word);
        assert_eq!(stands(&guard, &daily()).await, (Money::ZERO, usd("0.30")), "not before its end");
    }
    hold.observe(usd("0.025"));
    drop(sender);
    assert!(body.frame().await.is_none());
    let state = &guard.peek(&daily(), &alice()).await.unwrap()[0];
    assert_eq!((state.used, state.held), (usd("0.025").nanos(), 0));
    hold.observe(usd("0.99"));
    drop(body);
    assert_eq!(stands(&guard, &daily()).await, (usd("0.025"), Money::ZERO), "once");
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_charged_what_was_observed_and_the_estimate_when_nothing_was() {
    for (observed, charged) in [(Some("0.02"), "0.02"), (None, "0.30")] {
        let guard = guard();
        let (mut body, mut sender, hold) = streaming(&guard).await;
        sender.send_data("one".into()).await.unwrap();
        body.frame().await.unwrap().unwrap();
        observed.into_iter().for_each(|so_far| hold.observe(usd(so_far)));
        drop(body);
        assert_eq!(stands(&guard, &daily()).await, (usd(charged), Money::ZERO));
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_charged_and_a_service_that_fails_charges_nothing() {
    let guard = guard();
    let budget = BudgetLayer::new(gate(&guard, &daily()), |_| Ok(Estimate::money("0.30")?));
    let (entered, mut is_entered) = mpsc::channel(1);
    let never = service_fn(move |_: Request<Body>| {
        let entered = entered.clone();
        async move {
            entered.send(()).await.unwrap();
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }
    });
    let call = tokio::spawn(budget.layer(never).oneshot(by_alice()));
    is_entered.recv().await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(stands(&guard, &daily()).await, (usd("0.30"), Money::ZERO));

    let broken = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("broken") });
    assert_eq!(budget.layer(broken).oneshot(by_alice()).await.unwrap_err(), "broken");
    assert_eq!(stands(&guard, &daily()).await, (usd("0.30"), Money::ZERO));
}

#[tokio::test]
async fn an_estimate_that_cannot_be_made_is_the_clients_to_hear() {
    let prices = costguard::PriceCatalogue::new();
    let budget = BudgetLayer::new(gate(&guard(), &daily()), move |_| {
        Ok(Estimate::priced(&prices, "gpt-9", &costguard::Usage::new(10, 0), 10)?)
    });
    let response = budget.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(problem(response).await["detail"].as_str().unwrap().contains("gpt-9"));
    let budget = BudgetLayer::new(gate(&guard(), &daily()), |_| Ok(Estimate::money("99999999999999999999")?));
    let response = budget.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap();
    assert_eq!(response.status(), 400, "more than anybody can ask for");
}

#[tokio::test]
async fn a_fault_of_the_services_own_is_logged_and_not_told() {
    let logs = Logs::collect();
    let budget = BudgetLayer::new(gate(&guard(), &daily()), |_| {
        let prices = costguard::PriceCatalogue::from_file("/nowhere/prices.json")?;
        Ok(Estimate::priced(&prices, "gpt-9", &costguard::Usage::new(10, 0), 10)?)
    });
    let response = budget.layer(counting(&Arc::default())).oneshot(by_alice()).await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(!problem(response).await.to_string().contains("nowhere"));
    let text = logs.text();
    assert!(text.lines().any(|line| line.starts_with("ERROR") && line.contains("/nowhere/prices.json")), "{text}");
}

#[tokio::test]
async fn a_rate_is_full_when_its_burst_is_and_a_limit_of_nothing_leaves_nothing() {
    let guard = guard();
    let policy = Policy::new([Limit::requests("user", 20, Duration::from_secs(60)).unwrap().burst(5)]).unwrap();
    let service = RateLimitLayer::new(gate(&guard, &policy).openai_fields()).layer(counting(&Arc::default()));
    for left in ["4", "3", "2", "1", "0"] {
        let granted = service.clone().oneshot(by_alice()).await.unwrap();
        assert_eq!(field(granted.headers(), "x-ratelimit-remaining-requests"), left);
    }
    let sixth = problem(service.clone().oneshot(by_alice()).await.unwrap()).await;
    assert_eq!(sixth["detail"], "user:alice requests rate/1m, 5 of 5 at once used (20 per 1m); try again in 3 s");
    assert_eq!((&sixth["limit"]["limit"], &sixth["limit"]["burst"]), (&json!(20), &json!(5)));

    let counter = policy.limits()[0].counter();
    guard.set_limit(&Subject::new("acme").scope("user", "bob"), counter, 0).await.unwrap();
    let by_bob = Request::builder().header("x-user", "bob").body(Body::empty()).unwrap();
    let denied = service.oneshot(by_bob).await.unwrap();
    assert_eq!(field(denied.headers(), "x-ratelimit-remaining-requests"), "0");
    assert!(field(denied.headers(), "ratelimit").starts_with(r#""user-requests-rate/1m";r=0;"#));
    let problem = problem(denied).await;
    assert_eq!(problem["detail"], "user:bob requests rate/1m, 0 of 0 used; trying again will not help");
}
